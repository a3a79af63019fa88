"""The best division of cells into blocks of constant rate, on plain arrays.

Cells carry two numbers that add up over a block, ``a`` and ``b`` (band, cell):

===========  =====================  =================  ===========================================
model        a                      b                  evidence of a block, A = Σa and B = Σb
===========  =====================  =================  ===========================================
`GAUSSIAN`   Σx/σ²                  Σ1/σ²              A²/(2B) − ½ ln(B/2) + ½ ln π − ln R
`POISSON`    counts                 ticks of exposure  ln Γ(A + 1) − (A + 1) ln B
`BERNOULLI`  counts, at most ``b``  ticks of exposure  ln Γ(A + 1) + ln Γ(B − A + 1) − ln Γ(B + 2)
===========  =====================  =================  ===========================================

R is max x − min x of all cells. Each is the logarithm of the likelihood of a constant rate, integrated over
that rate, without factors that are the same for every division. Sources: algorithms 2.5; Scargle 1998,
ApJ 504, 405 (Bernoulli, Poisson) and Scargle et al. 2013, ApJ 764, 167 (Gaussian; the dynamic programme).
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit

__all__ = ["BERNOULLI", "GAUSSIAN", "POISSON", "best_partition", "partition_values"]

GAUSSIAN, POISSON, BERNOULLI = 0, 1, 2
#: candidates of neighbouring cells per tile, and tiles per tile of the next level
FAN = 16
#: bounds are raised by this fraction, above what rounding can take away from them
SAFETY = 1e-9


@njit(cache=True, nogil=True)
def _evidence(model: int, constant: float, a: float, b: float) -> float:
    """Return the evidence of one band of a block; not a number of use where the block holds nothing."""
    if model == GAUSSIAN:
        return 0.5 * a * a / b - 0.5 * math.log(0.5 * b) + constant
    if model == POISSON:
        return math.lgamma(a + 1.0) - (a + 1.0) * math.log(b)
    return math.lgamma(a + 1.0) + math.lgamma(b - a + 1.0) - math.lgamma(b + 2.0)


@njit(cache=True, nogil=True)
def _maximum(model: int, a: float, b: float) -> float:
    """Return the logarithm of the likelihood of one band of a block at its best rate."""
    if b <= 0.0:
        return 0.0
    if model == GAUSSIAN:
        return 0.5 * a * a / b
    if a <= 0.0:
        return 0.0
    if model == POISSON:
        return a * math.log(a / b) - a
    off = b - a
    return a * math.log(a / b) + (off * math.log(off / b) if off > 0.0 else 0.0)


@njit(cache=True, nogil=True)
def _block_evidence(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, start: int, stop: int
) -> float:
    """Return the evidence of cells [start, stop) over all bands; −inf if no band holds anything."""
    total, informed = 0.0, False
    for band in range(a.shape[0]):
        width = b[band, stop] - b[band, start]
        if width > 0.0:
            total += _evidence(model, constants[band], a[band, stop] - a[band, start], width)
            informed = True
    return total if informed else -np.inf


@njit(cache=True, nogil=True)
def _rest_evidence(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, start: int, stop: int
) -> float:
    """Return the evidence of cells [start, stop), +inf if any band holds nothing, so that it bounds."""
    total = 0.0
    for band in range(a.shape[0]):
        width = b[band, stop] - b[band, start]
        if width <= 0.0:
            return np.inf
        total += _evidence(model, constants[band], a[band, stop] - a[band, start], width)
    return total


@njit(cache=True, nogil=True)
def best_partition(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, prior: float, lookback: int
) -> np.ndarray:
    """Return the first cells of the blocks of the division with the largest Σ(evidence − prior).

    The dynamic programme is best[i] = max over j < i of best[j] + evidence(j..i) − prior, where best[j] is
    the value of the first j cells; of equal candidates the smallest j is taken. Candidates are tested by
    tiles of `FAN`, `FAN`² … neighbouring j, and a tile that cannot hold the maximum is passed over. This
    changes no result, by the following bound.

    *Bound.* Let a tile end at cell e < i. The evidence of the block j..i is ln ∫ L(j..e | λ) L(e..i | λ) dλ,
    with L the likelihood of cells at rate λ, because the likelihood of independent cells is a product. As
    L(j..e | λ) ≤ max over λ of L(j..e | λ) =: exp g(j, e), and L ≥ 0,

        best[j] + evidence(j..i) ≤ best[j] + g(j, e) + evidence(e..i) ≤ M + evidence(e..i),

    M the largest best[j] + g(j, e) of the tile, which does not depend on i. For several bands the integrals
    multiply, and the bounds add. A band in which e..i holds nothing has no finite integral; then nothing is
    passed over. Bounds are raised by `SAFETY` of their size for the rounding of sums. In noise g exceeds the
    gain that is lost by the integral over j..e by a few units only, less than what a further block costs, so
    that whole tiles go: the work then grows as n log n, and does so on both sides of a burst.

    Parameters
    ----------
    model
        `GAUSSIAN`, `POISSON` or `BERNOULLI`.
    constants
        (band,) ½ ln π − ln(max x − min x) of each band for `GAUSSIAN`; not used otherwise.
    a, b
        (band, n + 1) sums over the cells before each, from 0 on.
    prior
        What each block costs.
    lookback
        Blocks have at most this many cells; 0 for no limit.

    Returns
    -------
    numpy.ndarray
        (block,) int64, increasing, the first is 0.
    """
    last, _ = _programme(model, constants, a, b, prior, lookback)
    n = last.size
    n_blocks, stop = 0, n
    while stop > 0:
        n_blocks += 1
        stop = last[stop - 1]
    starts = np.zeros(n_blocks, dtype=np.int64)
    stop = n
    for block in range(n_blocks - 1, -1, -1):
        stop = last[stop - 1]
        starts[block] = stop
    return starts


@njit(cache=True, nogil=True)
def _programme(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, prior: float, lookback: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) the start of the last block up to each cell, and (n + 1,) the value of the division."""
    n = a.shape[1] - 1
    n_levels, size = 1, FAN
    while size < n:
        size *= FAN
        n_levels += 1
    bounds = np.empty((n_levels, n // FAN + 1))
    best = np.empty(n + 1)
    best[0] = 0.0
    last = np.zeros(n, dtype=np.int64)
    for stop in range(1, n + 1):
        _close_tiles(model, a, b, best, bounds, stop - 1, lookback)
        first = max(0, stop - lookback) if lookback > 0 else 0
        winner = max(last[stop - 2], first) if stop > 1 else 0
        top = best[winner] + _block_evidence(model, constants, a, b, winner, stop) - prior
        start = first
        while start < stop:
            size = FAN**n_levels
            level = n_levels
            passed = False
            while level > 0:
                if start % size == 0 and start + size < stop:
                    bound = bounds[level - 1, start // size]
                    bound += _rest_evidence(model, constants, a, b, start + size, stop) - prior
                    if bound + SAFETY * (1.0 + abs(bound)) < top:
                        passed = True
                        break
                level -= 1
                size //= FAN
            if passed:
                start += size
                continue
            value = best[start] + _block_evidence(model, constants, a, b, start, stop) - prior
            if value > top or (value == top and start < winner):
                top, winner = value, start
            start += 1
        best[stop] = top
        last[stop - 1] = winner
    return last, best


@njit(cache=True, nogil=True)
def _close_tiles(
    model: int, a: np.ndarray, b: np.ndarray, best: np.ndarray, bounds: np.ndarray, end: int, lookback: int
) -> None:
    """Write the largest best[j] + g(j, end) of every tile that ends at `end`."""
    size = FAN
    for level in range(bounds.shape[0]):
        if end == 0 or end % size or (lookback > 0 and size > lookback):
            return
        largest = -np.inf
        for j in range(end - size, end):
            value = best[j]
            for band in range(a.shape[0]):
                value += _maximum(model, a[band, end] - a[band, j], b[band, end] - b[band, j])
            largest = max(largest, value)
        bounds[level, end // size - 1] = largest
        size *= FAN


@njit(cache=True, nogil=True)
def partition_values(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Return (block,) the evidence of each block of a division, without the prior."""
    values = np.empty(starts.size)
    for block in range(starts.size):
        stop = starts[block + 1] if block + 1 < starts.size else a.shape[1] - 1
        values[block] = _block_evidence(model, constants, a, b, starts[block], stop)
    return values
