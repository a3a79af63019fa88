"""Checks of what the user asks to be simulated."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

from batx.errors import GtiError, ValueRangeError
from batx.units import to_value

__all__ = ["finite", "good_time", "positive", "stream"]


def finite(value: Any, unit: str, name: str) -> float:
    """Return a finite number in `unit`; raise `ValueRangeError` otherwise."""
    array = to_value(value, unit, name)
    if array.ndim or not np.isfinite(array):
        raise ValueRangeError(f"{name}: found {value!r}, expected one finite number in {unit}")
    return float(array)


def positive(value: Any, unit: str, name: str, zero: bool = False) -> float:
    """Return a finite number above zero (or not below it with `zero`); raise `ValueRangeError` otherwise."""
    number = finite(value, unit, name)
    if number < 0 or (number == 0 and not zero):
        raise ValueRangeError(
            f"{name}: found {number:g} {unit}, expected a value {'of at least' if zero else 'above'} 0"
        )
    return number


def good_time(gti: Any, start: float, stop: float) -> np.ndarray:
    """Return good time as ``(n, 2)`` float64 inside ``[start, stop)``; without `gti` all of it.

    Parameters
    ----------
    gti
        Dataset of kind ``gti``, a sequence of ``(start, stop)`` pairs in MET s, or `None`.
    start, stop
        The observation, MET s.

    Raises
    ------
    GtiError
        If the intervals are malformed, empty, overlapping, not in order, or outside the observation.
    """
    if gti is None:
        return np.array([[start, stop]])
    if hasattr(gti, "variables"):
        intervals = np.stack([gti["start"].values, gti["stop"].values], axis=1).astype(np.float64)
    else:
        intervals = np.asarray(gti, dtype=np.float64)
    if (
        intervals.ndim != 2
        or intervals.shape[1] != 2
        or not len(intervals)
        or not np.isfinite(intervals).all()
    ):
        raise GtiError(
            f"gti: found an array of shape {intervals.shape}, expected pairs of finite start and stop"
        )
    if (intervals[:, 1] <= intervals[:, 0]).any():
        raise GtiError("gti: an interval stops at or before its start; expected start < stop")
    if (intervals[1:, 0] < intervals[:-1, 1]).any():
        raise GtiError("gti: intervals overlap or are not in order; unite and sort them first")
    if intervals[0, 0] < start or intervals[-1, 1] > stop:
        raise GtiError(
            f"gti: found {intervals[0, 0]:.3f} to {intervals[-1, 1]:.3f} s, expected it inside the "
            f"observation, {start:.3f} to {stop:.3f} s"
        )
    return intervals


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of one component: adding a source leaves the others' photons as they are."""
    return np.random.default_rng([crc32(name.encode()), int(seed)])
