"""The detector image of a survey snapshot, and the detectors that are good in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from batx.calibration_inputs import records
from batx.detector_masks import COLD, HOT, combine_masks, hot_pixels
from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.instrument.detector import DETECTOR, DETID
from batx.intervals import gti_arrays
from batx.kernels import gti as intervals
from batx.provenance import with_calibration
from batx.schema import build, require_bat
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.survey_inputs import survey_histograms
from batx.units import to_value

__all__ = ["survey_mask", "survey_plane"]

#: histograms may share so much time, s
_SHARED = 1.0


def survey_plane(
    histograms: Any,
    gti: Any,
    *,
    min_overlap: float = 0.85,
    max_outside: Any = 35.0,
    flags: bool = True,
) -> xr.Dataset:
    """Return the detector image of the histograms that belong to good time.

    Histograms are taken whole or not at all: those that lie in good time for the most part.

    Parameters
    ----------
    histograms
        Kind ``detector_plane`` along time and energy, or a list of these; usually of
        `batx.calibrate_histogram`.
    gti
        Good time in any form, for instance of one snapshot.
    min_overlap
        Least part of the exposure that must be in good time.
    max_outside
        Greatest exposure that may be outside of it, s.
    flags
        Whether histograms that are not flagged as good (`data_flags`) are left out.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane``: ``rate`` (energy, dety, detx), float32, count/s of each detector;
        ``exposure``; the times of the histograms as good time, and as scalars ``time`` and ``time_bnds`` from
        the first to the last; ``quality`` of `batx.calibrate_histogram` if there is one. Attribute
        ``n_histograms``.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError, GtiError
        If arguments are of the wrong kind or malformed, or two histograms are of the same time.
    EmptySelectionError
        If no histogram belongs to good time.

    Notes
    -----
    Rates are those of the sum of the counts and of the exposures. The tool takes histograms with 0.75 and
    40 s to find the pointing with, and then these. Source: algorithms of the survey, 1.2.

    Examples
    --------
    >>> import batx, tempfile
    >>> folder = batx.simulate.observation(tempfile.mkdtemp(), duration=40.0, survey=20.0)
    >>> bands = batx.calibrate_histogram(batx.open_observation(folder))
    >>> plane = survey_plane(bands, bands.time_bnds.values[0])
    >>> plane.attrs["n_histograms"], dict(plane.rate.sizes)
    (1, {'energy': 8, 'dety': 173, 'detx': 286})
    """
    planes = survey_histograms(histograms, "survey_plane")
    _require_same_bands(planes)
    if not isinstance(min_overlap, (int, float, np.number)) or not 0 < min_overlap <= 1:
        raise ValueRangeError(f"min_overlap: found {min_overlap}, expected more than 0 and at most 1")
    most = float(to_value(max_outside, "s", "max_outside"))
    good = intervals.union(*gti_arrays(gti))
    total: Any = 0.0
    seconds, spans = 0.0, []
    for plane in planes:
        start, exposure = plane["time_bnds"].values[:, 0], plane["exposure"].values.astype(np.float64)
        inside = intervals.overlap(start, start + exposure, *good)
        taken = (exposure > 0) & (inside >= min_overlap * exposure) & (exposure - inside <= most)
        if flags and "data_flags" in plane:
            taken &= plane["data_flags"].values == 0
        for row in np.flatnonzero(taken):
            total = total + _counts(plane.isel(time=int(row)))
            seconds += float(exposure[row])
            spans.append((start[row], start[row] + exposure[row]))
    if not spans:
        raise EmptySelectionError(
            f"survey_plane: found no histogram that lies in the good time by {min_overlap:.0%} of its "
            f"exposure, with at most {most:g} s outside; good time is "
            f"{', '.join(f'{a:.3f} to {b:.3f} s' for a, b in list(zip(*good, strict=True))[:3]) or 'empty'}"
        )
    return _image(planes, np.asarray(total), seconds, _require_apart(np.array(spans)))


def _require_apart(spans: np.ndarray) -> np.ndarray:
    """Return spans of histograms, after a look whether one is there twice."""
    order = np.argsort(spans[:, 0], kind="stable")
    starts, stops = spans[order].T
    if (twice := np.flatnonzero(starts[1:] < stops[:-1] - _SHARED)).size:
        at = twice[0]
        raise ValueRangeError(
            f"survey_plane: found histograms of the same time, {starts[at]:.3f} to {stops[at]:.3f} s and "
            f"from {starts[at + 1]:.3f} s, which would be taken twice; is a file there twice, packed and not?"
        )
    return spans


def _require_same_bands(planes: list[xr.Dataset]) -> None:
    first = planes[0]["energy_bnds"].values
    for plane in planes[1:]:
        bounds = plane["energy_bnds"].values
        if bounds.shape != first.shape or not np.allclose(bounds, first):
            raise ValueRangeError(
                f"survey_plane: found histograms in bands from {first.min():g} to {first.max():g} keV "
                f"({len(first)}) and from {bounds.min():g} to {bounds.max():g} keV ({len(bounds)}), expected "
                "the same bands; batx.calibrate_histogram makes them of all files"
            )


def _counts(row: xr.Dataset) -> np.ndarray:
    quantity = "counts" if "counts" in row else "rate"
    values = row[quantity].transpose("energy", "dety", "detx").values.astype(np.float64)
    return values if quantity == "counts" else values * float(row["exposure"])


def _image(planes: list[xr.Dataset], total: np.ndarray, seconds: float, spans: np.ndarray) -> xr.Dataset:
    first = planes[0]
    ends = float(spans[:, 0].min()), float(spans[:, 1].max())
    variables: dict[str, Any] = {
        "rate": (("energy", "dety", "detx"), (total / seconds).astype(np.float32), {"units": "count/s"}),
        "exposure": ((), seconds),
        "time": ((), 0.5 * (ends[0] + ends[1])),
        "time_bnds": (("bnds",), np.array(ends)),
        "energy": first["energy"].variable,
        "energy_bnds": first["energy_bnds"].variable,
        "detid": DETID,
        "gti_start": spans[:, 0],
        "gti_stop": spans[:, 1],
    }
    known = [plane["quality"] for plane in planes if "quality" in plane]
    if known:
        bits = np.bitwise_or.reduce([quality.values.astype(np.int64) for quality in known])
        variables["quality"] = (("dety", "detx"), bits.astype(np.uint8), known[0].attrs)
    attrs = kept_attrs(first.attrs, *ORIGIN, "history", "provenance", "gainapp", "gainmeth")
    attrs |= {"tstart": ends[0], "tstop": ends[1], "n_histograms": len(spans)}
    line = f"batx.survey_plane: {len(spans)} histogram(s), {seconds:.6g} s"
    return build("detector_plane", variables, with_history(attrs, line))


def survey_mask(plane: xr.Dataset, *masks: Any, **options: Any) -> xr.Dataset:
    """Return the detectors that are good in a survey image: known as good, not noisy, not dead.

    Detectors that count far more or far less than the others are looked for in each band in turn, and then in
    the sum of the bands; detectors without any count, or with one that is not finite, are bad.

    Parameters
    ----------
    plane
        Kind ``detector_plane`` along energy. If it has ``quality`` (`batx.calibrate_histogram`), detectors
        where this is not 0 are bad.
    *masks
        What is known of the detectors: those that were enabled, bad ones of the calibration database, masks
        of your own; in any form that `batx.combine_masks` takes.
    **options
        Keywords of `batx.hot_pixels`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_mask``. Attributes ``n_good``, and ``n_cold``, ``n_hot``, ``n_dead`` that were found.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError
        If arguments are of the wrong kind.
    EmptySelectionError
        If no detector is good.

    Notes
    -----
    Source: definition of ``batsurvey-detmask`` (algorithms of the survey, 1.5), whose masks are met exactly.

    Examples
    --------
    >>> from batx.schema import build
    >>> rate = np.random.default_rng(1).poisson(80, (2, 173, 286)) / 40.0
    >>> rate[1, 3, 5], rate[:, 4, 6] = 30.0, 0.0
    >>> plane = build("detector_plane", {"rate": (("energy", "dety", "detx"), rate), "exposure": ((), 40.0),
    ...     "energy": [20.0, 30.0], "energy_bnds": [[14.0, 24.0], [24.0, 35.0]]})
    >>> mask = survey_mask(plane)
    >>> bool(mask.good[3, 5]), bool(mask.good[4, 6]), mask.attrs["n_hot"]
    (False, False, 1)
    """
    require_bat(plane, "detector_plane", operation="survey_mask")
    if "energy" not in plane.dims or "time" in plane.dims:
        raise ValueRangeError(
            f"survey_mask: found a plane along {', '.join(map(str, plane.sizes))}, expected one image for "
            "each of several energies (batx.survey_plane)"
        )
    name = next((name for name in ("counts", "rate") if name in plane), None)
    if name is None:
        raise MissingVariableError("survey_mask: found a detector plane without counts or rate")
    good = _known(plane, masks)
    found = {COLD: 0, HOT: 0}
    total = plane[name].sum("energy", dtype=plane[name].dtype).expand_dims("energy")
    bands = [plane[[name, "exposure"]].isel(energy=[band]) for band in range(plane.sizes["energy"])]
    summed = plane[["exposure"]].assign({name: total.assign_attrs(plane[name].attrs)})
    for image in (*bands, summed):
        looked = hot_pixels(image.assign_attrs(plane.attrs), good, **options)
        for code in found:
            found[code] += int((looked["quality"].values == code).sum())
        good = looked["good"].values
    dead = good & (total.isel(energy=0).transpose("dety", "detx").values == 0)
    good = good & ~dead
    if not good.any():
        raise EmptySelectionError("survey_mask: no detector is good; look at the masks that are given")
    attrs = kept_attrs(plane.attrs, *ORIGIN, "tstart", "tstop", "history", "provenance")
    attrs = with_calibration(attrs, _purposes(mask for mask in masks if isinstance(mask, xr.Dataset)))
    attrs |= {
        "n_good": int(good.sum()),
        "n_cold": found[COLD],
        "n_hot": found[HOT],
        "n_dead": int(dead.sum()),
    }
    return build("detector_mask", {"good": good}, with_history(attrs, f"batx.survey_mask: {good.sum()} good"))


def _purposes(masks: Iterable[xr.Dataset]) -> dict[str, dict[str, Any]]:
    """Return records of the files of masks: bad pixels are those of the calibration database."""
    found: dict[str, dict[str, Any]] = {}
    for mask in masks:
        known = "calibration_file" in mask.attrs or "badval" in mask.attrs
        found |= records(**{"bad_pixels" if known else "detector_mask": mask})
    return found


def _known(plane: xr.Dataset, masks: tuple[Any, ...]) -> np.ndarray:
    """Return the detectors that are good as far as is known before."""
    good = combine_masks(*masks)["good"].values if masks else DETECTOR.copy()
    name = "counts" if "counts" in plane else "rate"
    good = good & np.isfinite(plane[name].transpose("energy", "dety", "detx").values).all(axis=0)
    if "quality" in plane:
        good = good & (plane["quality"].transpose("dety", "detx").values == 0)
    return good
