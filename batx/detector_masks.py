"""Which detectors are good: masks combined, and hot and cold detectors found in an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import load
from batx.engines import by_engine
from batx.errors import ValueRangeError
from batx.instrument.detector import DETECTOR, SHAPE
from batx.kernels.hotpix import count_limits
from batx.met import to_met
from batx.provenance import file_record, with_calibration
from batx.reduction import mask_array
from batx.schema import build, require_bat
from batx.schema.attributes import ORIGIN, kept_attrs, with_history

__all__ = ["COLD", "GAP", "HOT", "MASKED", "combine_masks", "hot_pixels"]

#: values of ``quality`` in the result of `hot_pixels`
GOOD, COLD, HOT, MASKED, GAP = range(5)


def combine_masks(*masks: Any, time: Any = None) -> xr.Dataset:
    """Return the detector mask that is good where all of these are: global, enabled/disabled, hot detectors.

    Parameters
    ----------
    *masks
        Datasets of kind ``detector_mask``, of kind ``detector_table`` with the variable ``enabled``, or
        bool arrays (173, 286), true = good; or ``"caldb"``, the detectors that the calibration database
        lists as bad (BADPIX).
    time
        For ``"caldb"``: when, MET, Quantity or Time; the start (`tstart`) of the first mask that says it if
        not given.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_mask``: ``good`` (dety, detx), false in the gaps of the plane; in memory.

    Raises
    ------
    KindError, ValueRangeError
        If there are no masks, or one is something else.
    CalibrationError
        If the calibration database has no list of bad detectors.

    Examples
    --------
    >>> import numpy as np
    >>> mask = combine_masks(np.ones((173, 286), bool))
    >>> int(mask.good.sum())
    32768
    """
    if not masks:
        raise ValueRangeError("combine_masks: found no masks, expected at least one")
    said = [mask.attrs for mask in masks if isinstance(mask, xr.Dataset)]
    listed: xr.Dataset | None = None
    good = DETECTOR.copy()
    for number, mask in enumerate(masks):
        if isinstance(mask, str):
            mask = listed = _listed_as_bad(mask, time, said)
        good &= mask_array(mask, f"mask {number}")
    attrs = _mask_attrs(said[0] if said else {}, f"combine_masks: {len(masks)} mask(s)")
    record = {} if listed is None else {"bad_pixels": file_record(listed)}
    return build("detector_mask", {"good": good}, with_calibration(attrs, record))


def _listed_as_bad(name: str, time: Any, said: list[dict[str, Any]]) -> xr.Dataset:
    """Return the mask of the calibration database at a time."""
    if name.lower() != "caldb":
        raise ValueRangeError(f"combine_masks: found {name!r}, expected masks, or 'caldb'")
    if time is None:
        time = next((attrs["tstart"] for attrs in said if "tstart" in attrs), None)
    return load("bad_pixels", None if time is None else to_met(time, said[0] if said else {}, name="time"))


@by_engine
def hot_pixels(
    plane: xr.Dataset,
    detector_mask: Any = None,
    *,
    keep_fraction: float = 0.98,
    guard_fraction: float = 0.25,
    guard_value: float = 5.0,
    zero_threshold: float = 20.0,
) -> xr.Dataset:
    """Return the detector mask without detectors that count far more or far less than the others.

    Parameters
    ----------
    plane
        Kind ``detector_plane``; several times and energies are summed.
    detector_mask
        Detectors already known to be bad: kind ``detector_mask`` or bool (173, 286), true = good. They stay
        bad.
    keep_fraction
        Fraction of the detectors that the limits are taken from, in the middle of the distribution.
    guard_fraction, guard_value
        Each limit is moved outwards by ``guard_fraction * limit + guard_value`` counts.
    zero_threshold
        If the median is below this many counts, no detector is cold.
    engine
        ``"native"``; ``"heasoft"`` for the tool bathotpix, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_mask``, in memory: ``good`` (dety, detx) and ``quality``: 0 good, 1 cold, 2 hot, 3
        bad in `detector_mask`, 4 no detector (gap). Attributes ``n_good``, ``n_cold``, ``n_hot``, and the
        limits ``lowest_counts`` and ``highest_counts``.

    Raises
    ------
    KindError
        If `plane` is no detector plane.
    ValueRangeError
        If a parameter is out of range, or the image has another shape.

    Notes
    -----
    Source: algorithms 2.6 (``bathotpix``).

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> counts = np.random.default_rng(1).poisson(50, (173, 286))
    >>> counts[3, 0] = 900
    >>> plane = build("detector_plane", {"counts": counts, "exposure": ((), 10.0)})
    >>> hot_pixels(plane).attrs["n_hot"]
    1
    """
    require_bat(plane, "detector_plane", operation="hot_pixels")
    if not 0 < keep_fraction <= 1:
        raise ValueRangeError(f"keep_fraction: found {keep_fraction}, expected more than 0 and at most 1")
    if min(guard_fraction, guard_value) < 0:
        raise ValueRangeError(f"guards: found {guard_fraction} and {guard_value}, expected none below 0")
    counts = _total_counts(plane)
    known = DETECTOR if detector_mask is None else DETECTOR & mask_array(detector_mask)
    lowest, highest = count_limits(counts[known], keep_fraction, guard_fraction, guard_value, zero_threshold)
    quality = np.select(
        [~DETECTOR, ~known, counts < lowest, counts > highest], [GAP, MASKED, COLD, HOT], GOOD
    ).astype(np.uint8)
    good = quality == GOOD
    attrs = _mask_attrs(plane.attrs, f"hot_pixels: counts {lowest:g} to {highest:g} are good") | {
        "n_good": int(good.sum()),
        "n_cold": int((quality == COLD).sum()),
        "n_hot": int((quality == HOT).sum()),
        "lowest_counts": float(lowest),
        "highest_counts": float(highest),
    }
    meanings = {
        "units": "1",
        "flag_values": list(range(5)),
        "flag_meanings": "good cold hot masked_before no_detector",
    }
    return build("detector_mask", {"good": good, "quality": (("dety", "detx"), quality, meanings)}, attrs)


def _total_counts(plane: xr.Dataset) -> np.ndarray:
    """Return the counts of each detector over all times and energies, float64 (173, 286)."""
    if "counts" in plane.variables:
        counts = plane["counts"]
    elif "rate" in plane.variables and "exposure" in plane.variables:
        # in the precision of the rates: 20 counts must not come out as 20.0000006
        counts = (plane["rate"] * plane["exposure"]).astype(plane["rate"].dtype)
    else:
        raise ValueRangeError(
            f"hot_pixels: found {sorted(map(str, plane.data_vars))}, expected counts, or rate and exposure"
        )
    others = [dim for dim in counts.dims if dim not in ("dety", "detx")]
    total = counts.sum(others, dtype=np.float64).transpose("dety", "detx").values
    if total.shape != SHAPE:
        raise ValueRangeError(f"hot_pixels: found an image of shape {total.shape}, expected {SHAPE}")
    return total


def _mask_attrs(attrs: dict[str, Any], line: str) -> dict[str, Any]:
    kept = kept_attrs(attrs, *ORIGIN, "tstart", "tstop", "provenance", "history")
    return with_history(kept, f"batx.{line}")
