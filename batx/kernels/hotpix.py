"""Hot and cold detectors from the distribution of counts, on plain arrays (algorithms 2.6, ``bathotpix``)."""

from __future__ import annotations

import numpy as np

__all__ = ["count_limits"]

MAX_COUNTS = 2**20


def count_limits(
    counts: np.ndarray, keep_fraction: float, guard_fraction: float, guard_value: float, zero_threshold: float
) -> tuple[float, float]:
    """Return the lowest and the highest number of counts of a detector in order; (-inf, inf) if all are.

    The histogram of the integer counts, without zeros and without the largest value, is cut at the two ends
    so that `keep_fraction` of it remains; both cuts are then moved outwards by ``guard_fraction * cut +
    guard_value``. The lower limit is at least 1, or 0 where the median is below `zero_threshold`.

    Parameters
    ----------
    counts
        Counts of the good detectors (detector,).
    keep_fraction, guard_fraction, guard_value, zero_threshold
        As above.

    Examples
    --------
    >>> count_limits(np.arange(20.0, 60.0), 0.98, 0.25, 5, 20)
    (10.0, 76.25)
    """
    n = int(min(counts.max(initial=0), MAX_COUNTS))
    if n < 5:
        return -np.inf, np.inf
    histogram = np.bincount(counts[counts < n].clip(0).astype(np.int64), minlength=n)
    histogram[0] = 0
    cumulative = np.cumsum(histogram)
    total = cumulative[-1]
    tail = total * (1 - keep_fraction) / 2
    inner = np.arange(1, n)
    low = _first(inner, cumulative[1:] >= tail)
    high = _last(inner, cumulative[1:] < total - tail)
    median = _first(inner, cumulative[1:] >= total / 2)
    if low >= high:
        low, high = 1, n - 1
    lowest = max(low - (guard_fraction * low + guard_value), 1.0)
    highest = high + (guard_fraction * high + guard_value)
    return (0.0 if median < zero_threshold else lowest), highest


def _first(values: np.ndarray, condition: np.ndarray) -> int:
    return int(values[np.argmax(condition)]) if condition.any() else int(values[-1])


def _last(values: np.ndarray, condition: np.ndarray) -> int:
    return int(values[condition][-1]) if condition.any() else 0
