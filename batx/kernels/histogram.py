"""Sums of events over time bins and energy bands in one pass, on plain arrays.

Good time and time bins are merged beforehand into *cells*, stretches of time that lie in one bin and in
good time (or in neither), so that one comparison an event decides both. Energies are looked up on a grid.
No array of the length of the events is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = [
    "BACKWARD",
    "IN_BAND",
    "NAN_ENERGY",
    "N_TALLIES",
    "OFF_PLANE",
    "Cells",
    "count_events",
    "count_plane",
    "make_cells",
    "select_events",
    "sum_weights",
    "uniform_edges",
]

#: places in the tally array: events with NaN energy in good time, steps back in time, events on no detector,
#: and events that are accepted if they have a weight other than 0
NAN_ENERGY, BACKWARD, OFF_PLANE, IN_BAND = 0, 1, 2, 3
N_TALLIES = 4
#: every bit of EVENT_FLAGS but the one of 16
OTHER_FLAGS = ~16


class Cells(NamedTuple):
    """Stretches of time and the bin that each belongs to; made by `make_cells`.

    Attributes
    ----------
    edges
        (n_cells + 1,) increasing, the first -inf and the last +inf.
    bins
        (n_cells,) number of the bin, -1 for times that are in no bin or not in good time.
    first
        (n_slots + 1,) number of the first edge in each of the equal slots that [origin, end) is divided into.
    origin, scale
        Slot of a time: ``int((time - origin) * scale)``.
    """

    edges: np.ndarray
    bins: np.ndarray
    first: np.ndarray
    origin: float
    scale: float


def uniform_edges(start: float, width: float, n_bins: int) -> np.ndarray:
    """Return the smallest times t for which ``floor((t - start) / width)`` is 0, 1, ..., n_bins.

    These edges, n_bins + 1 of them, put every float64 time into the same bin as that division, which is how
    the BAT tools assign uniform bins (algorithms 2.2); the rounded products ``start + i * width`` do not.

    Examples
    --------
    >>> uniform_edges(0.0, 0.5, 3)
    array([0. , 0.5, 1. , 1.5])
    """
    number = np.arange(n_bins + 1, dtype=np.float64)
    edges = start + number * width
    while np.any(late := np.floor((edges - start) / width) < number):
        edges = np.where(late, np.nextafter(edges, np.inf), edges)
    while np.any(early := np.floor((np.nextafter(edges, -np.inf) - start) / width) >= number):
        edges = np.where(early, np.nextafter(edges, -np.inf), edges)
    return edges


def make_cells(lower: np.ndarray, upper: np.ndarray, gti_start: np.ndarray, gti_stop: np.ndarray) -> Cells:
    """Return the cells of disjoint, increasing bins [lower, upper) within disjoint, increasing good time.

    Examples
    --------
    >>> cells = make_cells(np.array([0.0, 5.0]), np.array([5.0, 9.0]), np.array([1.0]), np.array([8.0]))
    >>> cells.edges
    array([-inf,   0.,   1.,   5.,   8.,   9.,  inf])
    >>> cells.bins
    array([-1, -1,  0,  1, -1, -1])
    """
    inner = np.unique(np.concatenate([lower, upper, gti_start, gti_stop]).astype(np.float64))
    bins = _interval_of(inner, lower, upper)
    bins[_interval_of(inner, gti_start, gti_stop) < 0] = -1
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    origin, extent = inner[0], inner[-1] - inner[0]
    n_slots = 2 * inner.size
    scale = n_slots / extent if extent > 0 else 0.0
    slots = np.minimum(((inner - origin) * scale).astype(np.int64), n_slots - 1)
    first = np.searchsorted(slots, np.arange(n_slots + 1))
    return Cells(edges, np.concatenate([[-1], bins]), first, float(origin), float(scale))


def _interval_of(times: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the number of the interval [lower, upper) that each time is in, -1 for none."""
    number = np.searchsorted(lower, times, side="right") - 1
    number[(number >= 0) & (times >= upper[number])] = -1
    return number


@njit(cache=True, nogil=True)
def _find(time: float, edges: np.ndarray, first: np.ndarray, origin: float, scale: float) -> int:
    """Return the number of the cell that a time is in; 0, which is in no bin, for NaN."""
    n_slots = first.size - 1
    n_inner = edges.size - 2
    if not time >= origin:
        return 0
    if time >= edges[n_inner]:
        return n_inner
    slot = int((time - origin) * scale)
    if slot >= n_slots:
        slot = n_slots - 1
    below, above = first[slot], first[slot + 1]
    while below < above:
        middle = (below + above) // 2
        if edges[middle + 1] <= time:
            below = middle + 1
        else:
            above = middle
    return below


@njit(cache=True, nogil=True)
def _band(energy, table, step):  # type: ignore[no-untyped-def]
    """Return the band of an energy from the grid index floor(E / step + 0.01) in float32; -1 for NaN.

    Where `step` is None the energy is the grid index itself. Energies in no band have the number that both
    ends of the table hold, one more than the last band: no branch is needed for them.
    Source: algorithms 2.2.
    """
    last = table.size - 2
    if step is None:
        return np.int64(table[np.uintp(min(max(np.int64(energy), -1), last) + 1)])
    position = np.float32(energy) / step + np.float32(0.01)
    if position != position:
        return np.int64(-1)
    index = np.int64(np.floor(min(max(position, np.float32(-1)), np.float32(last))))
    return np.int64(table[np.uintp(index + 1)])


@njit(cache=True, nogil=True)
def _status(i, flags, detx, dety, status):  # type: ignore[no-untyped-def]
    """Return whether event i is accepted (2), rejected by flag or detector (1) or on no detector (0).

    Flags 0 and 16 are accepted (algorithms 1). Where `flags` or `status` is None it is not asked.
    """
    if flags is not None and (flags[i] & OTHER_FLAGS) != 0:
        return 1
    if status is not None:
        x, y = np.int64(detx[i]), np.int64(dety[i])
        if x < 0 or y < 0 or y >= status.shape[0] or x >= status.shape[1]:
            return 0
        return np.int64(status[y, x])
    return 2


@njit(cache=True, nogil=True)
def count_events(
    time: np.ndarray,
    energy: np.ndarray,
    flags: np.ndarray | None,
    detx: np.ndarray | None,
    dety: np.ndarray | None,
    status: np.ndarray | None,
    cells: Cells,
    table: np.ndarray,
    step: np.float32 | None,
    counts: np.ndarray,
    tally: np.ndarray,
) -> None:
    """Add the number of accepted events to counts (bin, band); every argument but the last two is read only.

    Parameters
    ----------
    time, energy
        (event,) MET and energy in keV (or grid index where `step` is None).
    flags, detx, dety
        (event,) or None.
    status
        (dety, detx) 2 for a good detector, 1 for a masked one, 0 where there is none; or None.
    cells
        From `make_cells`.
    table
        (grid + 2,) band of each energy grid point, between two of the number that means none.
    step
        Grid spacing in keV as float32, or None.
    counts
        (bin, band + 1), integers; the last column takes the events in no band.
    tally
        (N_TALLIES,) int64.
    """
    edges, bins, first, origin, scale = cells
    none = table[0]
    high, bin_ = -np.inf, np.int64(-1)
    before = -np.inf
    for i in range(time.size):
        t = time[i]
        if not (before <= t < high):
            tally[BACKWARD] += t < before
            cell = _find(t, edges, first, origin, scale)
            high, bin_ = edges[cell + 1], bins[cell]
        before = t
        if bin_ < 0:
            continue
        band = _band(energy[i], table, step)
        accepted = _status(i, flags, detx, dety, status)
        if accepted != 2:
            tally[OFF_PLANE] += accepted == 0 and band != none
        elif band < 0:
            tally[NAN_ENERGY] += 1
        else:
            counts[np.uintp(bin_), np.uintp(band)] += 1


@njit(cache=True, nogil=True)
def sum_weights(
    time: np.ndarray,
    energy: np.ndarray,
    weight: np.ndarray,
    flags: np.ndarray | None,
    detx: np.ndarray | None,
    dety: np.ndarray | None,
    status: np.ndarray | None,
    cells: Cells,
    table: np.ndarray,
    step: np.float32 | None,
    sums: np.ndarray,
    tally: np.ndarray,
) -> None:
    """Add weights, their squares and the number of events to sums (source, bin, band + 1, 3).

    Events of weight 0 are not accepted; the last band takes those in no band. Arguments as for
    `count_events`, and ``weight`` (source, event).
    """
    edges, bins, first, origin, scale = cells
    none = table[0]
    high, bin_ = -np.inf, np.int64(-1)
    before = -np.inf
    in_band = 0
    for i in range(time.size):
        t = time[i]
        if not (before <= t < high):
            tally[BACKWARD] += t < before
            cell = _find(t, edges, first, origin, scale)
            high, bin_ = edges[cell + 1], bins[cell]
        before = t
        if bin_ < 0:
            continue
        band = _band(energy[i], table, step)
        accepted = _status(i, flags, detx, dety, status)
        if accepted != 2:
            tally[OFF_PLANE] += accepted == 0 and band != none
            continue
        if band < 0:
            tally[NAN_ENERGY] += 1
            continue
        in_band += band != none
        row, column = np.uintp(bin_), np.uintp(band)
        for source in range(weight.shape[0]):
            w = np.float64(weight[source, i])
            if w != 0.0:
                sums[source, row, column, 0] += w
                sums[source, row, column, 1] += w * w
                sums[source, row, column, 2] += 1.0
    tally[IN_BAND] += in_band


@njit(cache=True, nogil=True)
def count_plane(
    time: np.ndarray,
    energy: np.ndarray,
    flags: np.ndarray | None,
    detx: np.ndarray,
    dety: np.ndarray,
    status: np.ndarray,
    cells: Cells,
    table: np.ndarray,
    step: np.float32 | None,
    counts: np.ndarray,
    tally: np.ndarray,
) -> None:
    """Add the number of accepted events to counts (bin, band, dety, detx); arguments as for `count_events`.

    `status` is needed here, and of the shape of the detector plane.
    """
    edges, bins, first, origin, scale = cells
    none = table[0]
    high, bin_ = -np.inf, np.int64(-1)
    before = -np.inf
    for i in range(time.size):
        t = time[i]
        if not (before <= t < high):
            tally[BACKWARD] += t < before
            cell = _find(t, edges, first, origin, scale)
            high, bin_ = edges[cell + 1], bins[cell]
        before = t
        if bin_ < 0:
            continue
        band = _band(energy[i], table, step)
        if band == none:
            continue
        accepted = _status(i, flags, detx, dety, status)
        if accepted == 0:
            tally[OFF_PLANE] += 1
        elif accepted == 2:
            if band < 0:
                tally[NAN_ENERGY] += 1
            else:
                counts[bin_, band, np.int64(dety[i]), np.int64(detx[i])] += 1


@njit(cache=True, nogil=True)
def select_events(
    time: np.ndarray,
    energy: np.ndarray,
    weight: np.ndarray | None,
    flags: np.ndarray | None,
    detx: np.ndarray | None,
    dety: np.ndarray | None,
    status: np.ndarray | None,
    table: np.ndarray,
    step: np.float32 | None,
    tally: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return index (int64) and band of the events of one block that are in a band, good and of weight not 0.

    Good time is not asked. Arguments as for `sum_weights`; ``weight`` is (event,) or None.
    """
    none = table[0]
    index = np.empty(time.size, np.int64)
    bands = np.empty(time.size, np.int64)
    n = 0
    before = -np.inf
    for i in range(time.size):
        if time[i] < before:
            tally[BACKWARD] += 1
        before = time[i]
        band = _band(energy[i], table, step)
        if band == none:
            continue
        accepted = _status(i, flags, detx, dety, status)
        if accepted != 2:
            tally[OFF_PLANE] += accepted == 0
            continue
        if band < 0:
            tally[NAN_ENERGY] += 1
            continue
        tally[IN_BAND] += 1
        if weight is not None and weight[i] == 0.0:
            continue
        index[n] = i
        bands[n] = band
        n += 1
    return index[:n], bands[:n]
