"""Light curves in tables of numbers: a time, then rate and error of each band, a row for each bin."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError, MissingFileError, ValueRangeError
from batx.grids import energy_bounds
from batx.met import to_met
from batx.schema import build

__all__ = ["is_text", "read_text"]

#: bins whose times depart from a uniform grid by less than this part of a bin have its width
UNIFORM = 0.05
#: characters read to see what a file is
HEAD = 2000


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether the first line of a file consists of at least three numbers."""
    try:
        with open(path, encoding="ascii") as file:
            return len([float(word) for word in file.read(HEAD).splitlines()[0].split()]) >= 3
    except (OSError, ValueError, IndexError):
        return False


def read_text(path: str | os.PathLike[str], energy: Any, t0: Any = None) -> xr.Dataset:
    """Return a light curve from a table of numbers; see `batx.open_dataset`."""
    if not os.path.exists(path):
        raise MissingFileError(f"{path}: there is no such file")
    lower, upper = energy_bounds(energy)
    try:
        table = np.loadtxt(path, ndmin=2, dtype=np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path}: found no table of numbers with rows of one length ({error})"
        ) from error
    wanted = 1 + 2 * lower.size
    if table.shape[1] != wanted:
        raise FileFormatError(
            f"{path}: found {table.shape[1]} columns, expected {wanted} for {lower.size} band(s): "
            "a time, then rate and error of each; give the bands that are in the file, energy="
        )
    bounds = _bounds(table[:, 0], str(path))
    attrs: dict[str, Any] = {"statistic": "gaussian", "weighting": "mask", "time_scale": "tt"}
    if t0 is not None:
        zero = float(to_met(t0, name="t0"))
        bounds += zero
        attrs["trigger_time"] = zero
    width, per = bounds[:, 1] - bounds[:, 0], {"per": "detector"}
    made = build(
        "lightcurve",
        {
            "time": bounds.mean(axis=1),
            "time_bnds": (("time", "bnds"), bounds),
            "energy": 0.5 * (lower + upper),
            "energy_bnds": (("energy", "bnds"), np.column_stack([lower, upper])),
            "rate": (("time", "energy"), table[:, 1::2], per),
            "rate_err": (("time", "energy"), table[:, 2::2], per),
            "exposure": width,
            "fracexp": np.ones(width.size),
        },
        attrs,
    )
    made.encoding["source"] = os.path.abspath(path)
    return made


def _bounds(time: np.ndarray, path: str) -> np.ndarray:
    """Return the edges of bins with these centres (bin, 2), which have one width."""
    step = np.diff(time)
    if not step.size or not np.all(step > 0):
        raise ValueRangeError(f"{path}: found times that do not increase, or one row; expected a light curve")
    width = float(np.median(step))
    whole = np.rint(step / width)
    if np.any(np.abs(step - whole * width) > UNIFORM * width):
        raise ValueRangeError(
            f"{path}: found bins of different widths, of which the table does not tell the edges; "
            "expected a uniform grid, in which rows may be missing"
        )
    place = np.concatenate([[0.0], np.cumsum(whole)])
    width = float((time[-1] - time[0]) / place[-1])
    edges = time[0] + width * (place[:, np.newaxis] + [-0.5, 0.5])
    return np.asarray(edges)
