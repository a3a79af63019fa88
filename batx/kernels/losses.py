"""Events that a detector system does not record: dead time and limited throughput."""

from __future__ import annotations

import numpy as np

from batx.compiling import njit

__all__ = ["live", "within_capacity"]


@njit(cache=True, nogil=True)
def live(time: np.ndarray, group: np.ndarray, n_groups: int, dead_time: float) -> np.ndarray:
    """Return which events are recorded when each group is blind for `dead_time` after every recorded event.

    The non-paralysable model: events that come while the group is blind are lost and do not prolong it, so a
    true rate r is recorded as ``r / (1 + r dead_time)``.

    Parameters
    ----------
    time
        float64, ascending.
    group
        Number of the group of each event, 0 to ``n_groups - 1``.
    """
    free_at = np.full(n_groups, -np.inf)
    keep = np.zeros(len(time), dtype=np.bool_)
    for i in range(len(time)):
        if time[i] >= free_at[group[i]]:
            keep[i] = True
            free_at[group[i]] = time[i] + dead_time
    return keep


@njit(cache=True, nogil=True)
def within_capacity(time: np.ndarray, start: float, slot: float, capacity: int) -> np.ndarray:
    """Return which events are recorded when only the first `capacity` events of each slot of time are."""
    keep = np.zeros(len(time), dtype=np.bool_)
    current, used = -1, 0
    for i in range(len(time)):
        number = int(np.floor((time[i] - start) / slot))
        if number != current:
            current, used = number, 0
        if used < capacity:
            keep[i] = True
            used += 1
    return keep
