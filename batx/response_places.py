"""Where a source was in the field while a spectrum came in, and for what part of it.

Private to `batx.response`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from batx.errors import MissingKeywordError, MissingVariableError, PositionError, ValueRangeError
from batx.grids import bounds_of
from batx.instrument.sky import FAR
from batx.intervals import gti_arrays
from batx.schema import build, require_bat, require_kind
from batx.units import to_value

__all__ = ["Places", "places"]

#: largest tangents (x, y) at which a source throws any shadow on the detectors
_FIELD = (1.95, 1.1)


class Places(NamedTuple):
    """Where a source was: directions, and the share of each in each response."""

    place: np.ndarray
    """x, y, z in cm, shape (direction, 3)."""
    norm: np.ndarray | None
    """MSKWTSQF, shape (direction,)."""
    weights: np.ndarray
    """Shape (response, direction)."""
    dims: tuple[str, ...]
    """Axis of the responses: ``()``, ``("source",)`` or ``("time",)``."""
    coords: dict[str, Any]


def places(
    spectrum: xr.Dataset | None, imx: Any, imy: Any, norm: Any, trace: xr.Dataset | None, weights: Any
) -> Places:
    """Return the directions that a response is the mean of, from what `batx.response` was given.

    Raises
    ------
    KindError, MissingKeywordError, MissingVariableError, PositionError, ValueRangeError
        As `batx.response` says.
    """
    if spectrum is not None:
        require_bat(spectrum, "spectrum", "lightcurve", operation="response")
    if (imx is None) != (imy is None):
        raise PositionError("response: imx and imy go together, found only one of them")
    if trace is not None:
        if imx is not None:
            raise PositionError("response: found both a place (imx, imy) and a trace; give one of them")
        found = _along(trace, spectrum, weights)
    elif imx is not None:
        found = _at(to_value(imx, "1", "imx"), to_value(imy, "1", "imy"))
    elif spectrum is not None and "trace_time" in spectrum:
        found = _along(_own_trace(spectrum), spectrum, weights)
    elif spectrum is not None:
        found = _of_spectrum(spectrum)
    else:
        raise PositionError("response: found no place; give imx and imy, a spectrum of a source, or a trace")
    if norm is not None:
        given = np.broadcast_to(to_value(norm, "1", "norm"), len(found.place))
        if not (np.isfinite(given) & (given > 0)).all():
            raise ValueRangeError(f"response: found norm {norm}, expected finite numbers above 0")
        found = found._replace(norm=given)
    return _checked(found)


def _each(
    place: np.ndarray, norm: np.ndarray | None, dims: tuple[str, ...], coords: dict[str, Any]
) -> Places:
    """Return places with a response each."""
    return Places(place, norm, np.eye(len(place)), dims, coords)


def _at(imx: np.ndarray, imy: np.ndarray) -> Places:
    try:
        imx, imy = np.broadcast_arrays(imx, imy)
    except ValueError as error:
        raise PositionError(f"response: imx has shape {imx.shape} and imy {imy.shape}") from error
    if imx.ndim > 1:
        raise PositionError(f"response: found imx of shape {imx.shape}, expected a number or a list")
    place = np.stack([imx.ravel() * FAR, imy.ravel() * FAR, np.full(imx.size, FAR)], axis=-1)
    return _each(place, None, ("source",) * imx.ndim, {})


def _of_spectrum(spectrum: xr.Dataset) -> Places:
    """Return the places that the spectrum names: for each source, for each time, or one in the header."""
    coords = {
        name: spectrum[name].variable for name in ("source", "time", "time_bnds") if name in spectrum.coords
    }
    names, dims = ("bat_xobj", "bat_yobj", "bat_zobj", "mskwtsqf"), tuple[str, ...]()
    if "source" in spectrum.dims:
        names, dims = ("x", "y", "z", "mask_weight_norm"), ("source",)
        coords = {name: var for name, var in coords.items() if var.dims == dims}
    elif names[0] in spectrum.variables and "time" in spectrum.dims:
        dims = ("time",)
    held: Any = spectrum.variables if dims else spectrum.attrs
    missing = [name for name in names[:3] if name not in held]
    if missing:
        raise MissingKeywordError(
            f"response: the spectrum does not say where its source was ({', '.join(missing)}); give imx and "
            "imy, or the ray trace of the source (trace=); sums of the survey have batx.survey_response()"
        )
    values = [np.atleast_1d(np.asarray(held[name], np.float64)) for name in names if name in held]
    return _each(np.stack(values[:3], axis=-1), values[3] if len(values) > 3 else None, dims, coords)


def _own_trace(spectrum: xr.Dataset) -> xr.Dataset:
    """Return the way of the source that a spectrum carries."""
    if "source" in spectrum["trace_time"].dims:
        raise PositionError("response: the spectra are of several sources; select one (isel(source=0))")
    names = {"imx": "trace_imx", "imy": "trace_imy", "pcode": "trace_pcode", "mask_weight_norm": "trace_norm"}
    known = np.isfinite(spectrum["trace_time"].values)
    columns = {name: spectrum[own].values[known] for name, own in names.items()}
    return build("ray_trace", {"time": spectrum["trace_time"].values[known], **columns})


def _along(trace: xr.Dataset, spectrum: xr.Dataset | None, weights: Any) -> Places:
    require_kind(trace, "ray_trace", operation="response: trace")
    if "source" in trace["imx"].dims:
        raise PositionError("response: the trace is of several sources; select one (trace.isel(source=0))")
    time = trace["time"].values.astype(np.float64)
    if not time.size or not np.isfinite(time).all() or (np.diff(time) <= 0).any():
        raise ValueRangeError("response: expected the times of the trace to be finite and to increase")
    share = _shares(time, spectrum, weights)
    coded = np.isfinite(trace["imx"].values) & (np.abs(trace["imx"].values) < _FIELD[0])
    coded &= np.abs(trace["imy"].values) < _FIELD[1]
    if "pcode" in trace:
        coded &= trace["pcode"].values > 0
    if not (share[:, coded] > 0).any(axis=1).all():
        raise PositionError("response: the source is never in the field during the spectrum, or one of them")
    coded &= (share != 0).any(axis=0)
    total = share.sum(axis=1, keepdims=True)
    if not (total > 0).all():
        raise ValueRangeError("response: the weights of the mean sum to 0 or less over a spectrum")
    place = np.stack([trace["imx"].values, trace["imy"].values, np.ones(time.size)], axis=-1)[coded] * FAR
    norm = trace["mask_weight_norm"].values[coded] if "mask_weight_norm" in trace else None
    weights = (share / total)[:, coded]
    if spectrum is None or "time" not in spectrum.dims:
        return Places(place, norm, weights, (), {})
    coords = {name: spectrum[name].variable for name in ("time", "time_bnds")}
    return Places(place, norm, weights, ("time",), coords)


def _shares(time: np.ndarray, spectrum: xr.Dataset | None, weights: Any) -> np.ndarray:
    """Return the weight of each time of a trace in each time bin: what has come in while it stands."""
    if not isinstance(weights, (str, xr.Dataset)):
        given = to_value(weights, "1", "weights")
        if given.shape != time.shape or not np.isfinite(given).all() or (given < 0).any():
            raise ValueRangeError(
                f"response: found weights of shape {given.shape}, expected {time.shape}, none negative"
            )
    cells = np.concatenate([[-np.inf], 0.5 * (time[1:] + time[:-1]), [np.inf]])
    bins = np.array([[-np.inf, np.inf]]) if spectrum is None else _bins(spectrum)
    lower = np.maximum(cells[:-1], bins[:, :1])
    upper = np.maximum(np.minimum(cells[1:], bins[:, 1:]), lower)
    if isinstance(weights, xr.Dataset):
        return _counts(weights, upper) - _counts(weights, lower)
    if isinstance(weights, str) and weights != "exposure":
        raise ValueRangeError(f"weights: found {weights!r}, expected 'exposure', a light curve or numbers")
    if spectrum is None:
        reach = (time[0], time[-1]) if time.size > 1 else (time[0] - 0.5, time[0] + 0.5)
        share = np.clip(upper, *reach) - np.clip(lower, *reach)
    else:
        share = _good_before(spectrum, upper) - _good_before(spectrum, lower)
    return share if isinstance(weights, str) else (share > 0) * given


def _bins(spectrum: xr.Dataset) -> np.ndarray:
    if "time_bnds" not in spectrum.variables:
        raise MissingVariableError(
            "response: the spectrum has no time_bnds, which the trace is averaged over"
        )
    return bounds_of(spectrum["time_bnds"].values.reshape(-1, 2), spectrum.attrs)


def _good_before(spectrum: xr.Dataset, when: np.ndarray) -> np.ndarray:
    """Return the good time before each time; all time is good if the spectrum has no good time."""
    if "gti_start" not in spectrum.variables:
        return when
    start, stop = gti_arrays(spectrum)
    edges = np.stack([start, stop], axis=-1).ravel()
    before = np.concatenate([[0.0], np.cumsum(stop - start)])
    return np.interp(when, edges, np.repeat(before, 2)[1:-1])


def _counts(curve: xr.Dataset, when: np.ndarray) -> np.ndarray:
    """Return the counts of a light curve before each time."""
    require_bat(curve, "lightcurve", operation="response: weights")
    values = curve["rate"] * curve["exposure"] if "rate" in curve else curve["counts"]
    counts = values.squeeze(drop=True).values.astype(np.float64)
    if counts.ndim != 1:
        raise ValueRangeError(
            f"response: the light curve for weights has axes {values.dims}, expected one band and one source"
        )
    edges = curve["time_bnds"].values.ravel()
    before = np.concatenate([[0.0], np.cumsum(np.nan_to_num(counts))])
    return np.interp(when, edges, np.repeat(before, 2)[1:-1])


def _checked(found: Places) -> Places:
    tangents = np.abs(found.place[:, :2] / found.place[:, 2:])
    if not np.isfinite(tangents).all() or (found.place[:, 2] <= 0).any() or (tangents > _FIELD).any():
        worst = np.argmax(np.nan_to_num(tangents, nan=np.inf).max(axis=1))
        imx, imy = found.place[worst, :2] / found.place[worst, 2]
        raise PositionError(
            f"response: found imx, imy = {imx:g}, {imy:g}, expected a source in the field, "
            f"|imx| < {_FIELD[0]} and |imy| < {_FIELD[1]}"
        )
    return found
