"""Energies of events from their pulse heights, with the calibration nearest in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import single_time
from batx.energy_calibrations import CalibrationParts, gain_map_for, polynomial_table, tree_nodes
from batx.engines import by_engine
from batx.errors import KindError, MissingVariableError, ValueRangeError
from batx.grids import warn
from batx.instrument.detector import SHAPE, detid_to_xy
from batx.kernels import gains
from batx.provenance import file_record, with_calibration
from batx.reduction import compat_of
from batx.schema import require_bat
from batx.schema.attributes import with_history

__all__ = ["calibrate_energy"]


@by_engine
def calibrate_energy(
    events: xr.Dataset | xr.DataTree,
    gain_offset: Any = None,
    *,
    pulser: Any = None,
    flight_pulser: Any = None,
    residual: Any = None,
    calibration: Any = None,
    method: str | None = None,
    time: Any = None,
    rounded: bool = True,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the events with channel and energy worked out from their pulse heights.

    Parameters
    ----------
    events
        Kind ``events`` with ``pha`` and the detector (``detx``, ``dety`` or ``detid``); or the tree of an
        observation, whose nodes give what is not given here.
    gain_offset
        On-board gain map(s), keyword OFFPULSE included: Dataset of kind ``detector_table``, path, folder
        (searched for ``*bgoc*``), or a list of these. Of several the one nearest to `time` serves, however
        far: failed triggers and GUANO data come without a map of their own. How far it was is in the
        attributes, see below.
    pulser, flight_pulser
        Calibration of the pulser on ground and in flight (GAIN in DAC/keV, OFFSET), Dataset or path.
    residual
        What is left of the scale: Dataset or path with the columns OFFSET, GAIN, GAIN2, GAIN3, LIN_OFFSET,
        LIN_GAIN.
    calibration
        Where to look for those three: folder, files, mapping of these names, or a tree. What it does not
        have comes from the nodes of the tree, then from the calibration database (`batx.caldb`).
    method
        ``"fixeddac"``, ``"cubic"``, ``"quadratic"``, ``"linear"`` (on-board map alone) or ``"directcubic"``.
        Without it keyword GAINMETH of the residual file tells (FULLCUBIC is fixeddac); without pulser maps
        it is linear, with a warning.
    time
        Of the calibration: MET, Quantity or date; ``attrs["tstart"]`` or else the first event.
    rounded
        Whether ``energy`` is the channel × 0.1 keV, as the tool writes it, or the energy itself.
    compat
        ``"heasoft"``: directcubic does fixeddac, as the tool does without a word.
    engine
        ``"native"``; ``"heasoft"`` for the tool bateconvert, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        The events with ``pi`` (int16) and ``energy`` (float32, keV), dask-backed if ``pha`` is. An event
        whose energy would not lie in 0 to 500 keV, or whose detector has no calibration (an entry of the
        on-board map or of a pulser is null, or the gain 0), has ``pi`` -32768 and energy NaN; such events
        count in no band. A detector without residuals is converted with none. Attributes: ``gainapp`` 1,
        ``gainmeth`` (as in the keyword), ``gain_offset_time`` (MET of the map), ``gain_offset_gap`` (s that
        it is after `time`; negative before), and in ``provenance`` the file that served each purpose.

    Raises
    ------
    MissingFileError
        If there is no gain map, or no calibration for the method asked for.
    MissingVariableError, MissingKeywordError
        If a file lacks a column, or the map OFFPULSE.
    KindError
        If something is of another kind.
    ValueRangeError
        If there is no such method.

    Warns
    -----
    BatxWarning
        If no pulser maps are found and no method is given; if there is no residual file; if a file says that
        it is for another purpose; if more than 1 % of the events fell on detectors without calibration, or
        more than half of the others outside 0 to 500 keV (these two not for chunked columns).

    Notes
    -----
    Formulae: algorithms, section 8; `batx.kernels.gains.polynomials` has them. Source: definition of the tool
    ``bateconvert`` (Swift BAT Software Guide, D.6).

    Examples
    --------
    >>> from batx.schema import build
    >>> plane, flat = ("dety", "detx"), np.ones((173, 286), np.float32)
    >>> scale = {"gain": (plane, 0.2 * flat), "offset": (plane, 3200 * flat)}
    >>> maps = build("detector_table", scale, {"tstart": 50.0})
    >>> event = {"detx": [3], "dety": [4], "pha": [3000]}
    >>> events = build("events", {"time": [100.0], **{name: ("event", v) for name, v in event.items()}})
    >>> calibrated = calibrate_energy(events, maps, method="linear")
    >>> float(calibrated.energy[0]), int(calibrated.pi[0]), calibrated.attrs["gain_offset_gap"]
    (40.0, 400, -50.0)
    """
    compat = compat_of(compat)
    chosen = _method(method)
    nodes, ev = _nodes(events)
    require_bat(ev, "events", operation="calibrate_energy")
    if "pha" not in ev:
        raise MissingVariableError(
            "calibrate_energy: the events have no pulse heights (PHA), which are what energies are made of"
        )
    met = _time(ev, time)
    onboard = gain_map_for(gain_offset, calibration, nodes, met)
    given = {"pulser": pulser, "flight_pulser": flight_pulser, "residual": residual}
    parts = CalibrationParts(given, calibration, nodes, met)
    if chosen == "directcubic" and compat:
        chosen = "fixeddac"
    if chosen is None:
        chosen = parts.method()
    table, used = polynomial_table(chosen, onboard, parts)
    made = _converted(ev, table, rounded)
    record = {"gain_offset": file_record(onboard.maps, time=onboard.time, gap=onboard.gap)}
    record |= {name: file_record(ds) for name, ds in used.items()}
    attrs = {**made.attrs, "gainapp": 1, "gainmeth": chosen.upper()}
    if onboard.time is not None and onboard.gap is not None:
        attrs |= {"gain_offset_time": onboard.time, "gain_offset_gap": onboard.gap}
    line = f"batx.calibrate_energy: {chosen}" + (
        "" if onboard.gap is None else f", gain map {onboard.gap:+.0f} s from MET {met:.0f}"
    )
    made.attrs = with_calibration(with_history(attrs, line), record)
    return made


def _method(method: str | None) -> str | None:
    if method is None:
        return None
    name = str(method).lower()
    if name not in gains.METHODS:
        raise ValueRangeError(f"method: found {method!r}, expected one of {', '.join(gains.METHODS)}")
    return name


def _nodes(obj: Any) -> tuple[dict[str, xr.Dataset], Any]:
    """Return the Datasets of a tree by path, and its events."""
    if not isinstance(obj, xr.DataTree):
        return {}, obj
    nodes = tree_nodes(obj)
    if "events" not in nodes:
        raise KindError(f"tree: found the nodes {sorted(nodes) or 'none'}, expected one named events")
    return nodes, nodes["events"]


def _time(events: xr.Dataset, time: Any) -> float:
    if time is not None:
        return single_time(time, events.attrs)
    if "tstart" in events.attrs:
        return float(events.attrs["tstart"])
    if not events.sizes["event"]:
        return 0.0
    return float(events["time"][0])


def _converted(events: xr.Dataset, table: np.ndarray, rounded: bool) -> xr.Dataset:
    detx, dety = _places(events)
    pha = events["pha"].variable
    arrays = [pha, detx, dety]
    lazy = any(hasattr(variable.data, "dask") for variable in arrays)

    def convert(heights: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns, rows, pha = (
            np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")) for array in (x, y, heights)
        )
        return gains.energies(table, columns, rows, pha, SHAPE[1], rounded)

    pi, energy = xr.apply_ufunc(
        convert,
        *arrays,
        input_core_dims=[[], [], []],
        output_core_dims=[[], []],
        dask="parallelized",
        output_dtypes=[np.int16, np.float32],
    )
    if not lazy:
        _report(np.asarray(detx.values), np.asarray(dety.values), table, pi.values)
    made = events.copy()
    attrs = {"units": "0.1 keV", "long_name": "energy channel", "fits_name": "PI"}
    old = events["pi"].attrs if "pi" in events else {}
    made["pi"] = (("event",), pi.data, attrs | {k: v for k, v in old.items() if k == "units"})
    made["energy"] = (
        ("event",),
        energy.data,
        {"units": "keV", "long_name": "energy", "fits_name": "ENERGY"},
    )
    made.encoding = dict(events.encoding)
    return made


def _places(events: xr.Dataset) -> tuple[xr.Variable, xr.Variable]:
    if {"detx", "dety"} <= set(events):
        return events["detx"].variable, events["dety"].variable
    if "detid" not in events:
        raise MissingVariableError(
            "calibrate_energy: the events have neither detx and dety nor detid; read them with all columns"
        )
    detx, dety = xr.apply_ufunc(
        detid_to_xy,
        events["detid"].variable,
        output_core_dims=[[], []],
        dask="parallelized",
        output_dtypes=[np.int64, np.int64],
    )
    return detx, dety


def _report(detx: np.ndarray, dety: np.ndarray, table: np.ndarray, pi: np.ndarray) -> None:
    """Warn if many events fell on detectors that have no calibration, or most of the others are off scale."""
    inside = (detx >= 0) & (dety >= 0) & (detx < SHAPE[1]) & (dety < SHAPE[0])
    index = np.where(inside, dety.astype(np.int64) * SHAPE[1] + detx, 0)
    lost = int(np.count_nonzero(~inside | np.isnan(table[:, 0])[index]))
    if lost > 0.01 * detx.size:
        warn(
            f"calibrate_energy: {lost} of {detx.size} events fell on detectors without calibration and have "
            "no energy"
        )
    beyond = int(np.count_nonzero(pi == gains.NULL_PI)) - lost
    if beyond > 0.5 * (detx.size - lost):
        warn(
            f"calibrate_energy: {beyond} of the {detx.size - lost} events on detectors with a calibration "
            "would lie outside 0 to 500 keV and have no energy; see whether the maps are what they should be "
            "(columns GAIN and OFFSET, pulser and on-board map) and whether PHA is filled"
        )
