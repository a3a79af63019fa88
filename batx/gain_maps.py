"""Gain and offset maps of the detectors: which one served nearest in time, and their plain arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxError, KindError, MissingFileError, MissingKeywordError, MissingVariableError
from batx.grids import warn
from batx.instrument.detector import SHAPE
from batx.schema import require_kind

__all__ = ["GainMap", "map_arrays", "nearest_gain_map"]


@dataclass(frozen=True)
class GainMap:
    """The on-board gain map that is nearest to some time.

    Attributes
    ----------
    maps
        Dataset of kind ``detector_table`` with ``gain`` and ``offset`` (dety, detx).
    time
        MET of the map, `None` if it does not say.
    gap
        Time of the map less the time asked for, s; negative for a map from before.
    """

    maps: xr.Dataset
    time: float | None
    gap: float | None

    @property
    def dac(self) -> float:
        """DAC setting that fixes the scale.

        Raises
        ------
        MissingKeywordError
            If the map has no OFFPULSE.
        """
        if "offpulse" not in self.maps.attrs:
            raise MissingKeywordError(
                "gain_offset: the map has no keyword OFFPULSE, which all methods but 'linear' need; set "
                'attrs["offpulse"] or use method="linear"'
            )
        return float(self.maps.attrs["offpulse"])


def nearest_gain_map(candidates: Any, time: float) -> GainMap:
    """Return the map nearest in time; of maps equally near the earlier one.

    Parameters
    ----------
    candidates
        Dataset of kind ``detector_table`` (with several rows in ``time`` or one), path of a file, folder that
        is searched for gain maps, or a list of such.
    time
        MET, s.

    Raises
    ------
    MissingFileError
        If there is no such path, or no gain map among the files.
    KindError, MissingVariableError
        If a Dataset is no gain map.

    Warns
    -----
    BatxWarning
        For files of a folder that cannot be read.
    """
    rows: list[GainMap] = []
    for ds in _datasets(candidates):
        rows += _rows(ds, time)
    if not rows:
        raise MissingFileError(
            "gain_offset: found no gain map; expected a file sw*bgocb.hk* of the observation (bat/hk), or of "
            "the same days (trend data, bgainoffs)"
        )
    return min(rows, key=lambda row: (np.inf, np.inf) if row.gap is None else (abs(row.gap), row.gap))


def _datasets(candidates: Any) -> Iterator[xr.Dataset]:
    if isinstance(candidates, xr.Dataset):
        yield candidates
    elif isinstance(candidates, (str, os.PathLike)):
        yield from _opened(Path(candidates))
    elif isinstance(candidates, Iterable):
        for candidate in candidates:
            yield from _datasets(candidate)
    else:
        raise KindError(
            f"gain_offset: found {type(candidates).__name__}, expected a Dataset of kind detector_table, a "
            "path, or a list of such"
        )


def _opened(path: Path) -> Iterator[xr.Dataset]:
    if path.is_file():
        yield xr.open_dataset(path, engine="batx")
        return
    if not path.is_dir():
        raise MissingFileError(f"gain_offset: {path}: no such file or folder")
    for file in sorted(path.rglob("*bgoc*")):
        if not file.is_file():
            continue
        try:
            ds = xr.open_dataset(file, engine="batx")
        except BatxError as error:
            warn(f"left out a gain map that cannot be read: {error}")
            continue
        if {"gain", "offset"} <= set(map(str, ds.variables)):
            yield ds


def _rows(ds: xr.Dataset, time: float) -> list[GainMap]:
    """Return every map of a Dataset with its distance in time."""
    require_kind(ds, "detector_table", operation="reading a gain map")
    missing = [name for name in ("gain", "offset") if name not in ds]
    if missing:
        raise MissingVariableError(
            f"gain_offset: found a detector_table without {' and '.join(missing)}, expected a gain map"
        )
    if "time" in ds["gain"].dims:
        count = ds.sizes["time"]
        parts = [ds.isel(time=row) for row in range(count)]
    else:
        parts = [ds]
    made = []
    for part in parts:
        part.encoding = dict(ds.encoding)
        met = _time_of(part)
        made.append(GainMap(part, met, None if met is None else met - time))
    return made


def _time_of(part: xr.Dataset) -> float | None:
    value = part["time"].values if "time" in part.variables else part.attrs.get("tstart")
    if value is None or np.size(value) != 1:
        return None
    met = float(np.asarray(value).reshape(()))
    return met if np.isfinite(met) else None


def map_arrays(maps: xr.Dataset, *names: str, what: str) -> dict[str, np.ndarray]:
    """Return columns of a detector table as float64 arrays (detector,), rows after each other.

    Raises
    ------
    MissingVariableError
        If a column is absent.
    KindError
        If it is not of the shape of the detector plane.
    """
    made = {}
    for name in names:
        if name not in maps:
            raise MissingVariableError(
                f"{what}: found no column {name.upper()}, expected a calibration file with "
                f"{', '.join(names).upper()}"
            )
        variable = maps[name]
        if "time" in variable.dims:
            variable = variable.isel(time=0)
        if set(variable.dims) != {"dety", "detx"} or variable.transpose("dety", "detx").shape != SHAPE:
            raise KindError(
                f"{what}: found {name} with dimensions {dict(variable.sizes)}, expected the detector plane, "
                f"dety {SHAPE[0]} and detx {SHAPE[1]}"
            )
        made[name] = variable.transpose("dety", "detx").values.astype(np.float64).ravel()
    return made
