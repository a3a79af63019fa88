"""The calibration that energies are worked out with: gain map, pulsers and residuals, looked for in turn.

Private to the functions that calibrate energies.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import served
from batx.caldb.purposes import purpose_of
from batx.errors import BatxError, KindError, MissingFileError, ValueRangeError
from batx.gain_maps import GainMap, map_arrays, nearest_gain_map
from batx.grids import warn
from batx.kernels import gains

__all__ = ["CalibrationParts", "gain_map_for", "polynomial_table", "tree_nodes"]

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


def gain_map_for(given: Any, calibration: Any, nodes: Mapping[str, xr.Dataset], met: float) -> GainMap:
    """Return the on-board gain map nearest in time, of those given or of the nodes of an observation.

    Raises
    ------
    MissingFileError
        If there is none.
    """
    if given is None and isinstance(calibration, Mapping):
        given = calibration.get("gain_offset")
    if given is None and isinstance(calibration, xr.DataTree) and "gain_offset" in calibration:
        given = calibration["gain_offset"].to_dataset()
    if given is None:
        given = [ds for path, ds in nodes.items() if {"gain", "offset"} <= set(ds) and _is_onboard(path, ds)]
    if isinstance(given, list) and not given:
        raise MissingFileError(
            "energy calibration: found no gain map; give gain_offset=, the file bat/hk/sw*bgocb.hk* of the "
            "observation, or a folder with those of other observations, of which the nearest in time serves "
            "(failed triggers and GUANO data have none of their own). Without it, energies that are in the "
            "file (PI, ENERGY) can be used as they are"
        )
    return nearest_gain_map(given, met)


def _is_onboard(path: str, ds: xr.Dataset) -> bool:
    return path.endswith("gain_offset") or ("offpulse" in ds.attrs and "puls" not in path)


class CalibrationParts:
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
            return _meant(_opened(self.given[name], name), name)
        held = next((place[name] for place in self.places if name in place), None)
        return served(name, self.met) if held is None else held

    def method(self) -> str:
        """Return the method that the residual file names; what is possible without one."""
        lacking = [name for name in ("pulser", "flight_pulser") if self[name] is None]
        if lacking:
            warn(
                f"energy calibration: found no calibration of {' and '.join(lacking)}; the on-board gains "
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
        place = tree_nodes(place)
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


def tree_nodes(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the Datasets of a tree by path."""
    return {node.path.strip("/"): node.to_dataset() for node in tree.subtree if node.has_data}


def _meant(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Warn if the keywords of a calibration file say that it is for something else."""
    said = purpose_of(ds.attrs, (), "") or name
    if said != name:
        warn(f"{name}: found a file that is for {said} (CCNM0001, CBD10001); it is used as was asked for")
    return ds


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


def polynomial_table(
    method: str, onboard: GainMap, parts: CalibrationParts
) -> tuple[np.ndarray, dict[str, xr.Dataset]]:
    """Return the polynomials of all detectors, and the files that they were made from."""
    used: dict[str, xr.Dataset] = {}
    for name in _NEEDS[method]:
        ds = parts[name]
        if ds is not None:
            used[name] = ds
        elif name != "residual" or method == "directcubic":
            raise MissingFileError(
                f"energy calibration: found no {name} calibration, which method {method!r} needs; give "
                f"{name}=, calibration= (a folder with it), or set CALDB; batx.caldb.fetch gets it. "
                "method='linear' needs the on-board map alone"
            )
        else:
            warn("energy calibration: found no residuals of the energy scale (residual=); none are applied")

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
