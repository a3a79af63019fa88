"""Energies of events from their pulse heights, with the calibration nearest in time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import served, single_time
from batx.caldb.purposes import purpose_of
from batx.engines import by_engine
from batx.errors import BatxError, KindError, MissingFileError, MissingVariableError, ValueRangeError
from batx.gain_maps import GainMap, map_arrays, nearest_gain_map
from batx.grids import warn
from batx.instrument.detector import SHAPE, detid_to_xy
from batx.kernels import gains
from batx.provenance import file_record, with_calibration
from batx.reduction import compat_of
from batx.schema import require_bat
from batx.schema.attributes import with_history

__all__ = ["calibrate_energy"]

_FULL = "fullcubic"
_PARTS = ("pulser", "flight_pulser", "residual")
#: what each method needs beside the on-board map
_NEEDS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "quadratic": _PARTS,
    "cubic": _PARTS,
    "fixeddac": _PARTS,
    "directcubic": ("pulser", "residual"),
}
_COLUMNS = {
    "pulser": ("gain", "offset"),
    "flight_pulser": ("gain", "offset"),
    "quadratic": ("offset", "gain", "gain2"),
    "cubic": ("offset", "gain", "gain2", "gain3"),
    "directcubic": ("offset", "gain", "gain2", "gain3"),
    "fixeddac": ("offset", "gain", "gain2", "gain3", "lin_offset", "lin_gain"),
}


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
        If no pulser maps are found and no method is given; if there is no residual file; if more than 1 % of
        the events fell on detectors without calibration.

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
    onboard = _gain_map(gain_offset, calibration, nodes, met)
    given = {"pulser": pulser, "flight_pulser": flight_pulser, "residual": residual}
    parts = _Parts(given, calibration, nodes, met)
    if chosen == "directcubic" and compat:
        chosen = "fixeddac"
    if chosen is None:
        chosen = parts.method()
    table, used = _table(chosen, onboard, parts)
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
    nodes = {node.path.strip("/"): node.to_dataset() for node in obj.subtree if node.has_data}
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


def _gain_map(given: Any, calibration: Any, nodes: Mapping[str, xr.Dataset], met: float) -> GainMap:
    if given is None and isinstance(calibration, Mapping):
        given = calibration.get("gain_offset")
    if given is None and isinstance(calibration, xr.DataTree) and "gain_offset" in calibration:
        given = calibration["gain_offset"].to_dataset()
    if given is None:
        given = [ds for path, ds in nodes.items() if {"gain", "offset"} <= set(ds) and _is_onboard(path, ds)]
    if isinstance(given, list) and not given:
        raise MissingFileError(
            "calibrate_energy: found no gain map; give gain_offset=, the file bat/hk/sw*bgocb.hk* of the "
            "observation, or a folder with those of other observations, of which the nearest in time serves "
            "(failed triggers and GUANO data have none of their own). Without it, energies that are in the "
            "file (PI, ENERGY) can be used as they are"
        )
    return nearest_gain_map(given, met)


def _is_onboard(path: str, ds: xr.Dataset) -> bool:
    return path.endswith("gain_offset") or ("offpulse" in ds.attrs and "puls" not in path)


class _Parts:
    """The pulser and residual maps: looked for on first use, in the places given, in their order."""

    def __init__(
        self, given: Mapping[str, Any], calibration: Any, nodes: Mapping[str, xr.Dataset], met: float
    ) -> None:
        self.given = given
        self.places = [_recognised(calibration), _recognised(nodes)]
        self.met = met
        self.found: dict[str, xr.Dataset | None] = {}

    def __getitem__(self, name: str) -> xr.Dataset | None:
        if name not in self.found:
            self.found[name] = self._look(name)
        return self.found[name]

    def _look(self, name: str) -> xr.Dataset | None:
        if self.given[name] is not None:
            return _opened(self.given[name], name)
        held = next((place[name] for place in self.places if name in place), None)
        return served(name, self.met) if held is None else held

    def method(self) -> str:
        """Return the method that the residual file names; what is possible without one."""
        lacking = [name for name in ("pulser", "flight_pulser") if self[name] is None]
        if lacking:
            warn(
                f"calibrate_energy: found no calibration of {' and '.join(lacking)}; the on-board gains "
                "alone are used (method 'linear'), with errors of up to some keV. Give pulser=, "
                "flight_pulser= and residual=, calibration= (a folder with them), or set CALDB; "
                "batx.caldb.fetch gets them"
            )
            return "linear"
        residual = self["residual"]
        if residual is None:
            return "fixeddac"
        named = str(residual.attrs.get("gainmeth", _FULL)).strip().lower()
        if named == _FULL:
            return "fixeddac"
        if named not in gains.METHODS:
            raise ValueRangeError(
                f"residual: found GAINMETH {named.upper()!r}, expected FULLCUBIC, CUBIC or QUADRATIC; give "
                "method="
            )
        return named


def _recognised(place: Any) -> dict[str, xr.Dataset]:
    """Return the calibration in a place, by purpose."""
    if place is None:
        return {}
    if isinstance(place, Mapping) and not isinstance(place, xr.Dataset) and set(place) & set(_PARTS):
        return {name: _opened(place[name], name) for name in _PARTS if place.get(name) is not None}
    made: dict[str, xr.Dataset] = {}
    for ds, name in _listed(place):
        keywords = {**ds.attrs}
        purpose = purpose_of(keywords, [str(column) for column in ds.variables], name)
        if purpose in _PARTS and purpose not in made:
            made[purpose] = ds
    return made


def _listed(place: Any) -> Iterator[tuple[xr.Dataset, str]]:
    """Yield per-detector tables of a tree, a mapping, a folder or files, each with a name."""
    if isinstance(place, xr.DataTree):
        place = _nodes_of(place)
    elif isinstance(place, xr.Dataset):
        place = {str(place.encoding.get("source", "")): place}
    if isinstance(place, Mapping) and (not place or any(isinstance(ds, xr.Dataset) for ds in place.values())):
        for path, ds in place.items():
            if isinstance(ds, xr.Dataset) and {"gain", "offset"} <= set(ds):
                yield ds, Path(str(ds.encoding.get("source") or path)).name
        return
    items: Any = [place] if isinstance(place, (str, os.PathLike)) else place
    if not isinstance(items, (list, tuple)) or not all(isinstance(i, (str, os.PathLike)) for i in items):
        raise KindError(
            f"calibration: found {type(place).__name__}, expected a folder, files, a mapping of "
            f"{', '.join(_PARTS)}, or a tree"
        )
    for item in items:
        path = Path(item)
        if not path.exists():
            raise MissingFileError(f"calibration: {path}: no such file or folder")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            try:
                ds = xr.open_dataset(file, engine="batx")
            except BatxError:
                if file == path:
                    raise
                continue
            if {"gain", "offset"} <= set(ds):
                yield ds, file.name


def _nodes_of(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {node.path.strip("/"): node.to_dataset() for node in tree.subtree if node.has_data}


def _opened(item: Any, what: str) -> xr.Dataset:
    if isinstance(item, (str, os.PathLike)):
        if not Path(item).is_file():
            raise MissingFileError(f"{what}: {item}: no such file")
        return xr.open_dataset(item, engine="batx")
    if not isinstance(item, xr.Dataset):
        raise KindError(
            f"{what}: found {type(item).__name__}, expected a Dataset of kind detector_table or a path"
        )
    return item


def _table(method: str, onboard: GainMap, parts: _Parts) -> tuple[np.ndarray, dict[str, xr.Dataset]]:
    """Return the polynomials of all detectors, and the files that they were made from."""
    used: dict[str, xr.Dataset] = {}
    for name in _NEEDS[method]:
        ds = parts[name]
        if ds is not None:
            used[name] = ds
        elif name != "residual" or method == "directcubic":
            raise MissingFileError(
                f"calibrate_energy: found no {name} calibration, which method {method!r} needs; give "
                f"{name}=, calibration= (a folder with it), or set CALDB; batx.caldb.fetch gets it. "
                "method='linear' needs the on-board map alone"
            )
        else:
            warn("calibrate_energy: found no residuals of the energy scale (residual=); none are applied")

    def maps(ds: xr.Dataset, what: str) -> gains.Maps:
        return gains.Maps(**map_arrays(ds, "gain", "offset", what=what))

    residual = (
        map_arrays(used["residual"], *_COLUMNS[method], what="residual") if "residual" in used else None
    )
    table = gains.polynomials(
        method,
        maps(onboard.maps, "gain_offset"),
        0.0 if method in ("linear", "directcubic") else onboard.dac,
        maps(used["flight_pulser"], "flight_pulser") if "flight_pulser" in used else None,
        maps(used["pulser"], "pulser") if "pulser" in used else None,
        residual,
    )
    return table, used


def _converted(events: xr.Dataset, table: np.ndarray, rounded: bool) -> xr.Dataset:
    detx, dety = _places(events)
    pha = events["pha"].variable
    arrays = [pha, detx, dety]
    lazy = any(hasattr(variable.data, "dask") for variable in arrays)
    if not lazy:
        _report(np.asarray(detx.values), np.asarray(dety.values), table)

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


def _report(detx: np.ndarray, dety: np.ndarray, table: np.ndarray) -> None:
    """Warn if many events fell on detectors that have no calibration."""
    inside = (detx >= 0) & (dety >= 0) & (detx < SHAPE[1]) & (dety < SHAPE[0])
    index = np.where(inside, dety.astype(np.int64) * SHAPE[1] + detx, 0)
    lost = int(np.count_nonzero(~inside | np.isnan(table[:, 0])[index]))
    if lost > 0.01 * detx.size:
        warn(
            f"calibrate_energy: {lost} of {detx.size} events fell on detectors without calibration and have "
            "no energy"
        )
