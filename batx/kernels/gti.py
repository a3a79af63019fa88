"""Good-time intervals as plain arrays: algebra, membership, exposure of bins, intervals from flagged rows.

A list of intervals is a pair of float64 arrays ``(start, stop)``; interval i holds the times start[i] <= t <
stop[i]. Overlapping or unsorted intervals count as their union everywhere; an interval with start == stop
holds nothing.
"""

from __future__ import annotations

import numpy as np

from batx.compiling import njit
from batx.errors import GtiError

__all__ = [
    "as_intervals",
    "complement",
    "gaps",
    "intersection",
    "maketime",
    "membership",
    "overlap",
    "pad",
    "union",
]

Intervals = tuple[np.ndarray, np.ndarray]


def as_intervals(start: np.ndarray, stop: np.ndarray, name: str = "GTI") -> Intervals:
    """Return start and stop as native float64 arrays, after a check; order and overlaps are left as they are.

    Raises
    ------
    GtiError
        If the two differ in shape or are not 1-dimensional, hold NaN, or an interval ends before it starts.

    Examples
    --------
    >>> as_intervals([0, 5], [1, 9])
    (array([0., 5.]), array([1., 9.]))
    """
    start = np.asarray(start, dtype=np.float64)
    stop = np.asarray(stop, dtype=np.float64)
    if start.ndim != 1 or start.shape != stop.shape:
        raise GtiError(
            f"{name}: found shapes {start.shape} and {stop.shape}, expected two equal 1-dimensional ones"
        )
    if bad := int(np.count_nonzero(np.isnan(start) | np.isnan(stop))):
        raise GtiError(f"{name}: found NaN in {bad} of {start.size} intervals; drop these rows")
    if np.any(backward := stop < start):
        first = int(np.argmax(backward))
        raise GtiError(
            f"{name}: found {np.count_nonzero(backward)} interval(s) that end before they start, the first "
            f"[{start[first]}, {stop[first]}) in row {first}; expected start <= stop"
        )
    return start, stop


def union(start: np.ndarray, stop: np.ndarray, max_gap: float = 0.0) -> Intervals:
    """Return sorted, disjoint intervals that hold the same times; empty ones dropped, touching ones joined.

    Parameters
    ----------
    start, stop
        Intervals in any order, overlapping or not.
    max_gap
        Intervals that are at most this far apart are joined too.

    Examples
    --------
    >>> union([30, 0, 8], [40, 10, 20])
    (array([ 0., 30.]), array([20., 40.]))
    """
    start, stop = as_intervals(start, stop)
    order = np.flatnonzero(stop > start)
    order = order[np.argsort(start[order], kind="stable")]
    start, stop = start[order], np.maximum.accumulate(stop[order])
    opens = np.ones(start.size, dtype=bool)
    opens[1:] = start[1:] - stop[:-1] > max_gap
    closes = np.roll(opens, -1)
    return start[opens], stop[closes]


def intersection(a: Intervals, b: Intervals) -> Intervals:
    """Return the intervals that hold the times in both lists; each is first reduced to its union.

    Examples
    --------
    >>> intersection(([0, 20], [10, 30]), ([5], [25]))
    (array([ 5., 20.]), array([10., 25.]))
    """
    a_start, a_stop = union(*a)
    b_start, b_stop = union(*b)
    first = np.searchsorted(b_stop, a_start, side="right")
    last = np.searchsorted(b_start, a_stop, side="left")
    pairs = last - first
    i = np.repeat(np.arange(a_start.size), pairs)
    j = np.arange(i.size) - np.repeat(np.cumsum(pairs) - pairs, pairs) + first[i]
    return np.maximum(a_start[i], b_start[j]), np.minimum(a_stop[i], b_stop[j])


def complement(start: np.ndarray, stop: np.ndarray, lo: float, hi: float) -> Intervals:
    """Return the intervals within [lo, hi) that hold the times in none of those given.

    Examples
    --------
    >>> complement([2], [5], 0, 10)
    (array([0., 5.]), array([ 2., 10.]))
    """
    start, stop = union(start, stop)
    outside = np.concatenate([[-np.inf], stop]), np.concatenate([start, [np.inf]])
    return intersection(outside, (np.array([lo]), np.array([hi])))


def gaps(start: np.ndarray, stop: np.ndarray) -> Intervals:
    """Return the intervals between those given, from the first start to the last stop.

    Examples
    --------
    >>> gaps([0, 20], [10, 30])
    (array([10.]), array([20.]))
    """
    start, stop = union(start, stop)
    return stop[:-1], start[1:]


def pad(start: np.ndarray, stop: np.ndarray, before: float, after: float) -> Intervals:
    """Return every interval grown to [start - before, stop + after), or shrunk where these are negative.

    Intervals of which nothing is left are dropped; those that come to overlap are not joined (see `union`).

    Examples
    --------
    >>> pad([0, 20], [10, 21], -1, -1)
    (array([1.]), array([9.]))
    """
    start, stop = as_intervals(start, stop)
    start, stop = start - before, stop + after
    left = stop > start
    return start[left], stop[left]


def membership(times: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return for each time whether some interval holds it (start <= t < stop); NaN is in none.

    Parameters
    ----------
    times
        Times of any shape; sorted ones are fastest.

    Returns
    -------
    numpy.ndarray
        bool, of the shape of `times`.

    Examples
    --------
    >>> membership([0, 9, 10], [0], [10])
    array([ True,  True, False])
    """
    times = np.asarray(times, dtype=np.float64)
    return _membership(times.ravel(), *union(start, stop)).reshape(times.shape)


@njit(cache=True, nogil=True)
def _membership(times: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    good = np.zeros(times.size, dtype=np.bool_)
    if start.size == 0:
        return good
    i = 0
    for k in range(times.size):
        t = times[k]
        if t < start[i] or (i + 1 < start.size and t >= start[i + 1]):
            i = max(np.searchsorted(start, t, side="right") - 1, 0)
        good[k] = start[i] <= t < stop[i]
    return good


def overlap(lo: np.ndarray, hi: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return the good time in each bin [lo, hi): its overlap with the union of the intervals.

    A bin inside one interval gets exactly ``hi - lo``. Bins may overlap and be in any order.

    Parameters
    ----------
    lo, hi
        Edges of the bins, of equal shape.
    start, stop
        Intervals in any order.

    Returns
    -------
    numpy.ndarray
        float64, of the shape of the bins.

    Examples
    --------
    >>> overlap([0, 5, 10], [5, 10, 15], [3, 8], [7, 11])
    array([2., 4., 1.])
    """
    lo, hi = np.broadcast_arrays(np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64))
    return _overlap(lo.ravel(), hi.ravel(), *union(start, stop)).reshape(lo.shape)


@njit(cache=True, nogil=True)
def _overlap(lo: np.ndarray, hi: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    exposure = np.zeros(lo.size)
    for k in range(lo.size):
        i = np.searchsorted(stop, lo[k], side="right")
        while i < start.size and start[i] < hi[k]:
            exposure[k] += max(min(hi[k], stop[i]) - max(lo[k], start[i]), 0.0)
            i += 1
    return exposure


def maketime(times: np.ndarray, good: np.ndarray, prefr: float, postfr: float) -> Intervals:
    """Return intervals from rows of housekeeping that are flagged good, by the rule of the tool ``maketime``.

    A run i..j of good rows gives start = t[i] - prefr (t[i] - t[i-1]) and stop = t[j] + postfr (t[j+1] -
    t[j]), or t[i] and t[j] themselves at an end of the table. A step back in time ends a run as the end of
    the table does. Runs with start == stop are dropped.

    Parameters
    ----------
    times
        Time of each row (row,).
    good
        Flag of each row (row,), bool.
    prefr, postfr
        Fraction of the time to the row before and after that counts as good, 0 to 1.

    Examples
    --------
    >>> maketime([0, 1, 2, 3, 4], [0, 1, 1, 0, 0], 0.5, 0.5)
    (array([0.5]), array([2.5]))
    """
    times = np.asarray(times, dtype=np.float64)
    good = np.asarray(good, dtype=bool)
    steps = np.diff(times)
    ahead = np.where(steps >= 0, steps, 0.0)
    before = np.concatenate([[0.0], ahead])[: times.size]
    after = np.concatenate([ahead, [0.0]])[: times.size]
    joined = np.concatenate([[False], good[1:] & good[:-1] & (steps >= 0)])[: times.size]
    first = good & ~joined
    last = good & ~np.concatenate([joined[1:], [False]])[: times.size]
    start = times[first] - prefr * before[first]
    stop = times[last] + postfr * after[last]
    kept = start != stop
    return start[kept], stop[kept]
