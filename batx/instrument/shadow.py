"""The loops of the shadow that a mask casts on detectors: overlaps, layers, balance; compiled."""

from __future__ import annotations

import numpy as np

from batx.compiling import njit

__all__ = ["TOUCHING", "add_layer", "correct_and_balance", "overlaps"]

#: overlaps of detector and cell below this fraction of a cell are rounding, not light
TOUCHING = 1e-12


@njit(cache=True, nogil=True)
def overlaps(
    n: int,
    first: float,
    pitch: float,
    size: float,
    mask_first: float,
    cell: float,
    n_cell: int,
    scale: float,
    shift: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first mask cell over each of `n` detectors and the fraction that each cell from there on
    covers.

    A mask edge at X casts its shadow at ``X scale + shift``. Cells that do not exist have fraction 0.
    """
    width = int(size / (cell * scale)) + 2
    start = np.zeros(n, np.int64)
    fraction = np.zeros((n, width))
    per_cell = cell * scale / size
    for i in range(n):
        low = first + pitch * i
        begin = ((low - shift) / scale - mask_first) / cell
        end = ((low + size - shift) / scale - mask_first) / cell
        index = int(np.floor(begin))
        start[i] = min(max(index, 0), max(n_cell - width, 0))
        for k in range(width):
            c = start[i] + k
            if c < n_cell:
                covered = min(end, c + 1.0) - max(begin, float(c))
                if covered > TOUCHING:
                    fraction[i, k] = covered * per_cell
    return start, fraction


@njit(cache=True, nogil=True)
def add_layer(
    cells: np.ndarray,
    unbalanced: bool,
    x_start: np.ndarray,
    x_fraction: np.ndarray,
    y_start: np.ndarray,
    y_fraction: np.ndarray,
    lit: np.ndarray,
) -> None:
    """Add to `lit` the illumination through one layer: overlap in Y times mask times overlap in X."""
    ny, nx = lit.shape
    n_row, n_col = cells.shape
    lowest, highest = n_row, -1
    for j in range(ny):
        for m in range(y_fraction.shape[1]):
            if y_fraction[j, m] > 0.0:
                lowest = min(lowest, y_start[j] + m)
                highest = max(highest, y_start[j] + m)
    if highest < lowest:
        return
    band = np.zeros((highest - lowest + 1, nx))
    for row in range(lowest, highest + 1):
        for i in range(nx):
            total = 0.0
            for k in range(x_fraction.shape[1]):
                c = x_start[i] + k
                if c < n_col:
                    a = cells[row, c]
                    if not (unbalanced and a < 0):
                        total += a * x_fraction[i, k]
            band[row - lowest, i] = total
    for j in range(ny):
        for m in range(y_fraction.shape[1]):
            part = y_fraction[j, m]
            if part > 0.0:
                row = y_start[j] + m - lowest
                for i in range(nx):
                    lit[j, i] += part * band[row, i]


@njit(cache=True, nogil=True)
def correct_and_balance(weight: np.ndarray, good: np.ndarray, correction: np.ndarray, rebalance: bool) -> int:
    """Apply the correction in place, zero what is not good, subtract the balance; return the number coded."""
    n_coded = 0
    total = 0.0
    norm = 0.0
    ny, nx = weight.shape
    for j in range(ny):
        for i in range(nx):
            if not good[j, i]:
                weight[j, i] = 0.0
            elif weight[j, i] != 0.0:
                weight[j, i] *= correction[j, i]
                n_coded += 1
                total += weight[j, i]
                norm += correction[j, i]
    if rebalance and n_coded:
        level = total / norm
        for j in range(ny):
            for i in range(nx):
                if weight[j, i] != 0.0:
                    weight[j, i] -= level * correction[j, i]
    return n_coded
