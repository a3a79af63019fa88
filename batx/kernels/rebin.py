"""Sums of neighbouring bins, and which bins cover the same time, on plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = ["Overlaps", "keep_disjoint", "overlaps", "sum_bins"]


class Overlaps(NamedTuple):
    """Which old bin goes into which new one, and what fraction of it: three arrays of equal length."""

    old: np.ndarray
    new: np.ndarray
    fraction: np.ndarray


def overlaps(
    lower: np.ndarray, upper: np.ndarray, new_lower: np.ndarray, new_upper: np.ndarray, tolerance: np.ndarray
) -> Overlaps:
    """Return the overlaps of old bins with new ones; both lists increase and neither overlaps itself.

    Parameters
    ----------
    lower, upper
        Edges of the old bins (old,).
    new_lower, new_upper
        Edges of the new bins (new,).
    tolerance
        (old,) An old bin whose edge lies no further than this beyond an edge of a new bin is inside it:
        fraction 1.

    Examples
    --------
    >>> edges = np.arange(5.0)
    >>> overlaps(edges[:-1], edges[1:], np.array([0.0, 2.0]), np.array([2.0, 4.0]), np.full(4, 1e-6)).new
    array([0, 0, 1, 1])
    """
    first = np.searchsorted(new_upper, lower + tolerance, side="right")
    last = np.searchsorted(new_lower, upper - tolerance, side="left")
    repeats = np.maximum(last - first, 0)
    old = np.repeat(np.arange(lower.size), repeats)
    new = np.arange(old.size) - np.repeat(np.cumsum(repeats) - repeats, repeats) + first[old]
    inside = (lower[old] >= new_lower[new] - tolerance[old]) & (upper[old] <= new_upper[new] + tolerance[old])
    shared = np.minimum(upper[old], new_upper[new]) - np.maximum(lower[old], new_lower[new])
    fraction = np.where(inside, 1.0, shared / (upper[old] - lower[old]))
    return Overlaps(old, new, fraction)


def sum_bins(values: np.ndarray, parts: Overlaps, n_new: int) -> np.ndarray:
    """Return sums over the last axis of values (..., old) as (..., new).

    Integers stay integers if nothing is split.

    Examples
    --------
    >>> sum_bins(np.array([1, 2, 3]), Overlaps(np.arange(3), np.array([0, 0, 1]), np.ones(3)), 2)
    array([3, 3])
    """
    whole = bool(np.all(parts.fraction == 1.0))
    integer = values.dtype.kind in "iu" and whole
    rows = np.ascontiguousarray(
        values.reshape(-1, values.shape[-1]), dtype=np.int64 if integer else np.float64
    )
    sums = np.zeros((rows.shape[0], n_new), rows.dtype)
    _add(rows, parts.old, parts.new, parts.fraction.astype(rows.dtype), sums)
    return sums.reshape(*values.shape[:-1], n_new)


@njit(cache=True, nogil=True)
def _add(rows: np.ndarray, old: np.ndarray, new: np.ndarray, fraction: np.ndarray, sums: np.ndarray) -> None:
    for row in range(rows.shape[0]):
        for k in range(old.size):
            sums[row, new[k]] += fraction[k] * rows[row, old[k]]


@njit(cache=True, nogil=True)
def keep_disjoint(
    lower: np.ndarray, upper: np.ndarray, exposure: np.ndarray, tolerance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which bins to keep so that none overlap, and which bins are the same twice.

    Of the same bin twice the one with more exposure is kept, or else the first; of bins that overlap in part
    the one that begins first.

    Parameters
    ----------
    lower, upper
        Edges (bin,), the lower ones in order.
    exposure
        (bin,) s.
    tolerance
        (bin,) Edges closer than this (s) are the same.

    Returns
    -------
    kept : numpy.ndarray
        (bin,) bool.
    twin : numpy.ndarray
        (bin,) number of the bin that has the same edges as this one, which is not kept; -1 for others.

    Examples
    --------
    >>> edges = np.array([0.0, 0.0, 0.5, 1.0])
    >>> keep_disjoint(edges, edges + 1, np.array([0.9, 1.0, 1.0, 1.0]), np.full(4, 1e-6))
    (array([False,  True, False,  True]), array([ 1, -1, -1, -1]))
    """
    kept = np.ones(lower.size, dtype=np.bool_)
    twin = np.full(lower.size, -1, dtype=np.int64)
    last = 0
    for k in range(1, lower.size):
        if lower[k] >= upper[last] - tolerance[k]:
            last = k
            continue
        same = abs(lower[k] - lower[last]) <= tolerance[k] and abs(upper[k] - upper[last]) <= tolerance[k]
        drop, stay = k, last
        if same and exposure[k] > exposure[last]:
            drop, stay = last, k
        kept[drop] = False
        if same:
            twin[drop] = stay
        last = stay
    return kept, twin
