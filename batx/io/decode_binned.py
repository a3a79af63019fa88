"""Light curves and spectra."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError, MissingKeywordError
from batx.io.file import Bands, FitsFile, column_variable, table_variables, unit_factor
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword, time_zero
from batx.io.identify import is_mission_bat
from batx.io.lazy import StridedArray
from batx.schema import KINDS, build

__all__ = ["decode_lightcurve", "decode_spectrum"]

#: nominal bands of the on-board rates, keV (Swift BAT Software Guide 6.3, appendix A.5), by number of bands
NOMINAL_EDGES = {1: (15.0, 350.0), 4: (15.0, 25.0, 50.0, 100.0, 350.0)}
_QUADRANT = re.compile(r"QUAD(\d)[ _]?(COUNTS|CNTS|RATES?)$")
_SAME_EDGE = 1e-6  # s: time stamps are this exact at best (MET 6e8 in float64 has steps of 1.2e-7 s)


def decode_lightcurve(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a light curve with its time bins, bands, exposure and good time.

    TIME lies at the fraction TIMEPIXR of a bin of width TIMEDEL (keyword or column; OGIP 93-003). Bins whose
    edges agree within 1 µs share the edge. A file without FRACEXP is taken as fully exposed. Bands come from
    EBOUNDS, else from E_MINn and E_MAXn; on-board rates have the nominal ones.

    Raises
    ------
    MissingKeywordError
        If the width of the bins is not given.
    """
    start, width = _time_bins(hdu)
    stop = start + width
    joined = np.abs(start[1:] - stop[:-1]) <= _SAME_EDGE
    stop[:-1][joined] = start[1:][joined]
    bounds = np.stack([start, stop], axis=-1)
    variables: dict[str, Any] = {"time": bounds.mean(axis=-1), "time_bnds": bounds}
    values, used = _band_values(hdu)
    variables |= values
    count = next(iter(values.values())).sizes["energy"]
    variables |= _light_curve_bands(file, hdu, count).axis()
    fraction = hdu.values("FRACEXP", dtype=np.float64) if "FRACEXP" in hdu.columns else np.ones(len(start))
    variables |= {"fracexp": fraction, "exposure": fraction * width}
    used |= {"TIME", "TIMEDEL", "FRACEXP"}
    variables |= table_variables(hdu, "lightcurve", "time", skip=used & hdu.columns.keys())
    ds = build("lightcurve", variables | file.good_time(), file.attrs(hdu) | _statistics(file, hdu))
    return _per_detector(ds, "rate", "rate_err", "counts", "counts_err")


def _per_detector(ds: xr.Dataset, *names: str) -> xr.Dataset:
    """Say of mask-weighted values that they are per fully illuminated detector."""
    if ds.attrs["weighting"] == "mask":
        for name in names:
            if name in ds:
                ds[name].attrs["per"] = "detector"
    return ds


def _time_bins(hdu: Hdu) -> tuple[np.ndarray, np.ndarray]:
    """Return start and width of the bins."""
    factor = unit_factor(hdu, hdu.column("TIME"), "s")
    time = hdu.values("TIME", dtype=np.float64, factor=factor, shift=time_zero(hdu))
    width = keyword(hdu, "TIMEDEL")
    if "TIMEDEL" in hdu.columns:
        width = hdu.values("TIMEDEL", dtype=np.float64, factor=unit_factor(hdu, hdu.column("TIMEDEL"), "s"))
    elif not isinstance(width, (int, float)):
        raise MissingKeywordError(
            f"{hdu.label}: found no TIMEDEL (keyword or column), the width of the bins is unknown"
        )
    place = keyword(hdu, "TIMEPIXR", default=0.5)
    widths = np.broadcast_to(np.asarray(width, np.float64), time.shape).copy()
    return time - float(place) * widths, widths


def _band_values(hdu: Hdu) -> tuple[dict[str, xr.Variable], set[str]]:
    """Return counts or rates with their errors on (time, energy), and the columns used."""
    quadrants = {name: match[1] for name in hdu.columns if (match := _QUADRANT.match(name))}
    if quadrants and not {"RATE", "COUNTS"} & hdu.columns.keys():
        each = np.stack([hdu.values(name) for name in sorted(quadrants)], axis=1)
        each = each[..., np.newaxis] if each.ndim == 2 else each
        kind = "rate" if "RATE" in next(iter(quadrants)) else "counts"
        dtype = np.float64 if kind == "rate" else np.int64
        unit = {"units": "count/s" if kind == "rate" else "count"}
        return {
            kind: xr.Variable(("time", "energy"), each.sum(axis=1, dtype=dtype)),
            f"quadrant_{kind}": xr.Variable(("time", "quadrant", "energy"), each, unit),
        }, set(quadrants)
    variables: dict[str, xr.Variable] = {}
    used: set[str] = set()
    for name in ("RATE", "COUNTS"):
        if name in hdu.columns:
            variables[name.lower()] = _banded(hdu, name, name.lower())
            used.add(name)
    main = "RATE" if "RATE" in used else "COUNTS"
    if "BACKGROUND" in hdu.columns and hdu.column("BACKGROUND").shape == hdu.column(main).shape:
        variables["background"] = _banded(hdu, "BACKGROUND", "background")
        used.add("BACKGROUND")
    error = next((name for name in ("ERROR", f"{main}_ERR", "STAT_ERR") if name in hdu.columns), None)
    if error is not None:
        variables[f"{main.lower()}_err"] = _banded(hdu, error, f"{main.lower()}_err")
        used.add(error)
    return variables, used


def _banded(hdu: Hdu, column: str, name: str) -> xr.Variable:
    """Return a column on (time, energy), also where it has a single band."""
    spec = KINDS["lightcurve"].by_name[name]
    if hdu.column(column).shape:
        return column_variable(hdu, column, ("time", "energy"), spec)
    dtype = np.float64 if spec.dtype == "float" else None
    array = hdu.array(column, dtype=dtype, factor=unit_factor(hdu, hdu.column(column), str(spec.units)))
    assert isinstance(array, StridedArray)
    return lazy_variable(("time", "energy"), array.split_rows(1), {"fits_name": column})


def _light_curve_bands(file: FitsFile, hdu: Hdu, count: int) -> Bands:
    keys = [(f"E_MIN{i}", f"E_MAX{i}") for i in range(1, count + 1)]
    if count == 1 and "E_MIN1" not in hdu.header:
        keys = [("E_MIN", "E_MAX")]
    edges = np.array([[keyword(hdu, key, default=np.nan) for key in pair] for pair in keys], np.float64)
    step = _keyword_step(hdu)
    bands = file.bands(count)
    if bands is not None:
        # batbinevt copies the edges of a curve in PI into EBOUNDS and calls them keV; EUNIT has the truth
        factor = step if np.allclose(np.stack([bands.low, bands.high], axis=-1), edges, rtol=1e-6) else 1.0
        return replace(bands, low=bands.low * factor, high=bands.high * factor)
    edges = edges * step
    if np.isnan(edges).any() and count in NOMINAL_EDGES and is_mission_bat(hdu, file.primary):
        nominal = np.array(NOMINAL_EDGES[count])
        edges = np.stack([nominal[:-1], nominal[1:]], axis=-1)
    return Bands(edges[:, 0], edges[:, 1])


def _keyword_step(hdu: Hdu) -> float:
    """Return the keV of one unit of E_MINn and E_MAXn (EUNIT: keV, or 0.1 keV for curves in PI)."""
    import astropy.units as u

    try:
        return float(u.Unit(str(keyword(hdu, "EUNIT", default="keV"))).to("keV"))
    except (ValueError, u.UnitConversionError):
        return 1.0


def _statistics(file: FitsFile, hdu: Hdu) -> dict[str, str]:
    """Return how the values are distributed: FLUXMETH and HDUCLAS2 say it, POISSERR where they do not."""
    method = str(keyword(hdu, "FLUXMETH", default="")).upper()
    net = str(keyword(hdu, "HDUCLAS2", default="")).upper() == "NET"
    weighted = method == "WEIGHTED" or (not method and net and is_mission_bat(hdu, file.primary))
    poisson = hdu.header.get("POISSERR")
    gaussian = weighted or net or (poisson is False and method != "RAW")
    return {"statistic": "gaussian" if gaussian else "poisson", "weighting": "mask" if weighted else "none"}


def decode_spectrum(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return an OGIP spectrum: one (type I), or one for every row (type II) along `time`, else along
    `source`. A single one is of TSTART to TSTOP.

    Scalar keywords SYS_ERR, QUALITY and GROUPING stand for a column of that value; zeros are left out. A
    spectrum whose exposure is not given has NaN.

    Raises
    ------
    FileFormatError
        If the rows of a type II file have different channels.
    """
    columns = hdu.columns
    main = "RATE" if "RATE" in columns else "COUNTS"
    vector = bool(columns[main].shape) or columns[main].code in "PQ"
    row_dim = "time" if "TIME" in columns else "source"
    dims = (row_dim, "channel") if vector else ("channel",)
    variables: dict[str, Any] = {}
    rename = {"STAT_ERR": "stat_err", "SYS_ERR": "sys_err", "ERROR": "stat_err"}
    for name, column in columns.items():
        if name in ("CHANNEL", "TIME", "TIME_STOP", "EXPOSURE") or column.width == 0:
            continue
        own = rename.get(name, name.lower())
        along = dims if hdu.array(name).shape[1:] == hdu.array(main).shape[1:] else (row_dim,)
        if not vector or along == dims or not hdu.array(name).shape[1:]:
            variables[own] = column_variable(hdu, name, along, KINDS["spectrum"].by_name.get(own))
    size = variables[main.lower()].sizes["channel"]
    variables["stat_err"] = _with_units(variables.get("stat_err"), "count/s" if main == "RATE" else "count")
    variables |= _channels(file, hdu, size, vector) | _keyword_columns(hdu, variables, size)
    attrs = file.attrs(hdu) | _statistics(file, hdu)
    if not vector:
        variables |= _keyword_times(attrs)
    elif row_dim == "time":
        variables |= _spectrum_times(hdu)
    variables["exposure"] = _spectrum_exposure(hdu, row_dim if vector else None)
    ds = build("spectrum", variables | file.good_time(), attrs)
    return _per_detector(ds, "rate", "counts", "stat_err")


def _with_units(variable: xr.Variable | None, unit: str) -> xr.Variable | None:
    """Return an error column with the unit of the values that it belongs to."""
    if variable is not None:
        variable.attrs["units"] = unit
    return variable


def _channels(file: FitsFile, hdu: Hdu, size: int, vector: bool) -> dict[str, Any]:
    bands = file.bands(size)
    if "CHANNEL" in hdu.columns:
        channel = hdu.values("CHANNEL")
        if vector and channel.ndim > 1:
            if len(channel) and (channel != channel[0]).any():
                raise FileFormatError(
                    f"{hdu.label}: the rows have different channels; they cannot share one axis"
                )
            channel = channel[0] if len(channel) else np.arange(size)
    elif bands is not None and bands.channel is not None:
        channel = bands.channel
    else:
        channel = np.arange(size)
    energy = bands.axis("energy", "channel") if bands is not None else {}
    return {"channel": channel.astype(np.int64)} | energy


def _keyword_columns(hdu: Hdu, variables: dict[str, Any], size: int) -> dict[str, Any]:
    made = {}
    for key, dtype in (("SYS_ERR", np.float64), ("QUALITY", np.int16), ("GROUPING", np.int16)):
        value = keyword(hdu, key, default=0)
        if key.lower() not in variables and isinstance(value, (int, float)) and value != 0:
            made[key.lower()] = (("channel",), np.full(size, value, dtype))
    return made


def _keyword_times(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return TSTART to TSTOP as the interval of a single spectrum, nothing where they are not given."""
    start, stop = attrs.get("tstart"), attrs.get("tstop")
    if start is None or stop is None or not start < stop:
        return {}
    return {"time": ((), (start + stop) / 2), "time_bnds": (("bnds",), [start, stop])}


def _spectrum_times(hdu: Hdu) -> dict[str, Any]:
    factor = unit_factor(hdu, hdu.column("TIME"), "s")
    start = hdu.values("TIME", dtype=np.float64, factor=factor, shift=time_zero(hdu))
    if "TIME_STOP" in hdu.columns:
        stop = hdu.values("TIME_STOP", dtype=np.float64, factor=factor, shift=time_zero(hdu))
    else:
        stop = start + (hdu.values("TELAPSE", dtype=np.float64) if "TELAPSE" in hdu.columns else 0.0)
    bounds = np.stack([start, stop], axis=-1)
    return {"time": (("time",), bounds.mean(axis=-1)), "time_bnds": (("time", "bnds"), bounds)}


def _spectrum_exposure(hdu: Hdu, row_dim: str | None) -> Any:
    value = keyword(hdu, "EXPOSURE", default=np.nan)
    if row_dim is None:
        return (), np.float64(value)
    if "EXPOSURE" in hdu.columns:
        return (row_dim,), hdu.values("EXPOSURE", dtype=np.float64)
    return (row_dim,), np.full(hdu.rows, float(value))
