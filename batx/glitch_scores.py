"""How much a detector image looks like a glitch, and not like light through the mask."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import batx.instrument
from batx.errors import ValueRangeError
from batx.instrument.detector import SHAPE
from batx.kernels.morphology import Judgement, judge
from batx.provenance import calibration_of, with_calibration
from batx.reduction import mask_array
from batx.schema import require_kind

__all__ = ["SERVED", "glitch_score", "packaged_judgement", "score_images"]

_FILE = "glitch_score.json"
#: what judges, for the provenance
SERVED = {"glitch_score": {"file": _FILE, "database": "batx"}}


def glitch_score(images: Any, detector_mask: Any = None) -> Any:
    """Return how much detector images look like a glitch: 0 for a burst, 1 for a glitch.

    It goes by the place of the counts on the plane: an excess at the edge, few detectors with many counts,
    no strip of light. It was found from 45 glitches and 99 bursts seen in flight, 64 ms each, and simulated
    ones; of the 45, 95 % have more than 0.5.

    Parameters
    ----------
    images
        Kind ``glitches`` or ``detector_plane`` (counts, of which all energies are summed), or an array of
        counts ``(..., 173, 286)``.
    detector_mask
        Kind ``detector_mask`` or bool (173, 286), true = on. Without it the pattern of detectors that are
        off counts too, and bursts with those off that were off in the known glitches get too high a score.

    Returns
    -------
    xarray.DataArray or numpy.ndarray
        float64, without the axes of the plane; NaN for an image without counts.

    Raises
    ------
    KindError, ValueRangeError
        If `images` are something else, of another shape, negative, or rates.

    Notes
    -----
    A logistic of six numbers of the image (`batx.kernels.morphology.features`). It does not know glitches of
    other places than those that were seen, which are at the edge of smallest DETX. How often it errs:
    algorithms, section 2.11.

    Examples
    --------
    >>> import numpy as np
    >>> flat = np.random.default_rng(1).poisson(0.01, (173, 286))
    >>> surge = flat.copy()
    >>> surge[10:90, 0] += 1
    >>> glitch_score(np.stack([flat, surge])).round(1)
    array([0.1, 0.9])
    """
    if not isinstance(images, xr.Dataset):
        return score_images(_counts(np.asarray(images)), _mask(detector_mask))
    kind = require_kind(images, "glitches", "detector_plane", operation="glitch_score")
    name = "image" if kind == "glitches" else "counts"
    if name not in images:
        raise ValueRangeError(
            f"glitch_score: found {sorted(map(str, images.data_vars))}, expected counts; rates have no score"
        )
    array = images[name]
    if "energy" in array.dims:
        array = array.sum("energy")
    array = array.transpose(..., "dety", "detx").compute()
    values = score_images(_counts(array.values), _mask(detector_mask))
    attrs = {"units": "1", "long_name": "from 0, a burst, to 1, a glitch, by the image alone"}
    score = array.isel(dety=0, detx=0, drop=True).copy(data=values)
    score.attrs, score.name = with_calibration(attrs, calibration_of(images) | SERVED), "score"
    return score


def score_images(images: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
    """Return the score of images ``(..., 173, 286)``; `active` as in `batx.kernels.morphology.features`."""
    flat = images.reshape(-1, *SHAPE)
    return judge(flat, packaged_judgement(), active).reshape(images.shape[:-2])


@cache
def packaged_judgement() -> Judgement:
    """Return the numbers that ``benchmarks/train_glitch_score.py`` found."""
    path = Path(batx.instrument.__path__[0]) / _FILE
    return Judgement.from_numbers(json.loads(path.read_text(encoding="utf-8")))


def _mask(detector_mask: Any) -> np.ndarray | None:
    return None if detector_mask is None else mask_array(detector_mask)


def _counts(values: np.ndarray) -> np.ndarray:
    if values.ndim < 2 or values.shape[-2:] != SHAPE or values.dtype.kind not in "iuf":
        raise ValueRangeError(
            f"glitch_score: found {values.dtype} of shape {values.shape}, expected counts (..., 173, 286)"
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueRangeError("glitch_score: found negative or undefined values, expected counts")
    return values
