"""Times at which a cumulative light curve passes fractions of its rise, on plain arrays (algorithms 2.5)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = [
    "MAX_WINDOW_BINS",
    "SAME_TIME",
    "Interval",
    "Rise",
    "below_edge",
    "best_window",
    "crossing",
    "holding",
    "interval",
    "peak_rise",
    "rise",
]

#: times closer than this fraction of a bin are the same
SAME_TIME = 1e-5
#: bins among which a window is looked for; the work grows with their square
MAX_WINDOW_BINS = 8192


class Rise(NamedTuple):
    """The rise of a cumulative curve over a burst.

    Attributes
    ----------
    first, last
        Numbers of the bins between whose ends the curve rises.
    fluence
        How far it rises.
    fraction
        (last − first + 1,) the part that is reached at the end of each bin, from 0 to 1.
    rms
        Error of the fluence, relative.
    """

    first: int
    last: int
    fluence: float
    fraction: np.ndarray
    rms: float


class Interval(NamedTuple):
    """When a part of the fluence begins and ends, the error of its length, and a bin.

    `late_bin`, counted from `Rise.first`, is where the fraction passes the level of the beginning raised by
    its error.
    """

    start: float
    stop: float
    error: float
    late_bin: int


def rise(
    cumulative: np.ndarray, error: np.ndarray | None, centres: np.ndarray, start: float, stop: float
) -> Rise:
    """Return the rise of `cumulative` from before `start` until after `stop`.

    Parameters
    ----------
    cumulative
        (bin,) sum up to the end of each bin, without background.
    error
        (bin,) error of the increment of each bin; `None` for counts, where the relative error is 1/√fluence.
    centres
        (bin,) centre of each bin.
    start, stop
        Ends of the burst; there are bins before and after.
    """
    first = int(np.searchsorted(centres, start, side="left")) - 1
    last = int(np.searchsorted(centres, stop, side="left"))
    fluence = float(cumulative[last] - cumulative[first])
    fraction = np.clip((cumulative[first : last + 1] - cumulative[first]) / fluence, 0.0, 1.0)
    if error is None:
        rms = 1.0 / np.sqrt(abs(fluence))
    else:
        rms = float(np.sqrt(np.sum(error[first + 1 : last + 1] ** 2)) / abs(fluence))
    return Rise(first, last, fluence, fraction, float(rms))


def _between(fraction: np.ndarray, lower: np.ndarray | float, upper: np.ndarray | float) -> tuple[int, int]:
    """Return the first bin not below `lower`, and the one after the last later bin below `upper`."""
    first = int(np.argmax(fraction >= lower))
    below = np.flatnonzero((fraction < upper)[first + 1 :])
    last = first + 2 + int(below[-1]) if below.size else first
    return first, min(last, fraction.size - 1)


def crossing(
    fraction: np.ndarray, times: np.ndarray, level: float, spread: np.ndarray
) -> tuple[float, float, int]:
    """Return the time at which `fraction` passes `level` upwards, its error, and a bin.

    Parameters
    ----------
    fraction
        (bin,) from 0 to 1, not necessarily increasing.
    times
        (bin,) centres, decreasing for a curve that is read from its end.
    level
        The fraction that is passed.
    spread
        (bin,) error of `fraction`; the error of the time is the larger distance to the times at
        which `level` ∓ `spread` are passed, the later of which is in the bin that is returned.
    """
    first, last = _between(fraction, level, level)
    time = 0.5 * (times[first] + times[last])
    ends = _between(fraction, level - spread, level + spread)
    return float(time), float(np.abs(time - times[list(ends)]).max()), ends[1]


def interval(the_rise: Rise, centres: np.ndarray, part: float, method: str) -> Interval:
    """Return when the central `part` of the fluence begins and ends.

    Parameters
    ----------
    the_rise
        Result of `rise`.
    centres
        (bin,) of all bins.
    part
        Fraction of the fluence, between 0 and 1.
    method
        ``"totvar"``: the fraction is uncertain by the relative error of the fluence; ``"fracvar"``: by that
        times √(f (1 − f)), f the fraction itself.
    """
    times = centres[the_rise.first : the_rise.last + 1]
    level = (1.0 - part) / 2.0
    low, high = the_rise.fraction, 1.0 - the_rise.fraction[::-1]
    early, early_error, late_bin = crossing(low, times, level, _spread(low, the_rise.rms, method))
    late, late_error, _ = crossing(high, times[::-1], level, _spread(high, the_rise.rms, method))
    return Interval(early, late, float(np.hypot(early_error, late_error)), late_bin)


def _spread(fraction: np.ndarray, rms: float, method: str) -> np.ndarray:
    """Return the error of the fraction that is reached in each bin."""
    return rms * np.sqrt(fraction * (1.0 - fraction)) if method == "fracvar" else np.full(fraction.size, rms)


def holding(time: float, lower: np.ndarray, width: np.ndarray) -> int:
    """Return the bin that holds a time; on an edge, to rounding, the later one."""
    index = max(int(np.searchsorted(lower, time, side="right")) - 1, 0)
    later = index + 1
    if later < lower.size and lower[later] - time < SAME_TIME * width[later]:
        return later
    return index


def below_edge(time: float, lower: np.ndarray, width: np.ndarray) -> bool:
    """Return whether a time is on an edge of bins, but less than it by rounding."""
    index = holding(time, lower, width)
    return bool(-SAME_TIME * width[index] < time - lower[index] < 0.0)


def peak_rise(
    cumulative: np.ndarray, centres: np.ndarray, first: int, last: int, width: float
) -> tuple[int, int]:
    """Return the bins between whose ends `cumulative` rises most, about `width` apart.

    For a bin k from `first` to `last` these are the last ones with centres not after half of `width` before
    and after that of k, but none outside of `first` to `last`. Of equal rises the first is taken.
    """
    times = centres[first : last + 1]
    tolerance = SAME_TIME * width
    before = np.searchsorted(times, times - 0.5 * width + tolerance, side="right") - 1
    after = np.searchsorted(times, times + 0.5 * width + tolerance, side="right") - 1
    before = np.maximum(before, 0) + first
    after = after + first
    k = int(np.argmax(cumulative[after] - cumulative[before]))
    return int(before[k]), int(after[k])


@njit(cache=True, nogil=True)
def best_window(signal: np.ndarray, variance: np.ndarray) -> tuple[int, int, float]:
    """Return first bin, end and value of the largest Σ signal/√Σ variance of neighbouring bins."""
    best, first, end = -np.inf, 0, signal.size
    for start in range(signal.size):
        total, square = 0.0, 0.0
        for stop in range(start, signal.size):
            total += signal[stop]
            square += variance[stop]
            if total > 0.0 and square > 0.0 and total > best * math.sqrt(square):
                best, first, end = total / math.sqrt(square), start, stop + 1
    return first, end, best
