"""Checks of what the user asks to be simulated."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

from batx.errors import GtiError, ValueRangeError
from batx.intervals import gti_arrays
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


def good_time(gti: Any, start: float, stop: float, attrs: dict[str, Any]) -> np.ndarray:
    """Return good time as ``(n, 2)`` float64 inside ``[start, stop)``; without `gti` all of it.

    Parameters
    ----------
    gti
        Good time in any form that `batx.intervals` takes, or `None`.
    start, stop
        The observation, MET s.
    attrs
        With ``utcf``, for dates.

    Raises
    ------
    GtiError
        If the intervals are malformed, empty, overlapping, not in order, or outside the observation.
    """
    if gti is None:
        return np.array([[start, stop]])
    first, last = gti_arrays(gti, attrs)
    intervals = np.stack([first, last], axis=1)
    if not len(intervals) or not np.isfinite(intervals).all() or (last <= first).any():
        raise GtiError(f"gti: found {intervals.tolist()}, expected intervals with finite start < stop")
    if (first[1:] < last[:-1]).any():
        raise GtiError("gti: intervals overlap or are not in order; unite them with batx.intervals.gti_union")
    if intervals[0, 0] < start or intervals[-1, 1] > stop:
        raise GtiError(
            f"gti: found {intervals[0, 0]:.3f} to {intervals[-1, 1]:.3f} s, expected it inside the "
            f"observation, {start:.3f} to {stop:.3f} s"
        )
    return intervals


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of one component: adding a source leaves the others' photons as they are."""
    if seed != int(seed) or seed < 0:
        raise ValueRangeError(f"seed: found {seed}, expected a whole number of at least 0")
    return np.random.default_rng([crc32(name.encode()), int(seed)])
