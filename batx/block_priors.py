"""The prior at which pure noise gives a false block as rarely as asked (algorithms 2.5)."""

from __future__ import annotations

import numpy as np

from batx.block_inputs import Cells
from batx.errors import ValueRangeError
from batx.kernels.blocks import GAUSSIAN

__all__ = ["prior_for"]

#: fractions of curves with a false block, for the columns of `QUANTILES`
RATES = np.array([0.3, 0.1, 0.03, 0.01, 0.003])
#: numbers of cells, for the rows of `QUANTILES`
LENGTHS = np.array([30, 100, 300, 1000, 3000, 10000])
#: measured by benchmarks/calibrate_blocks.py: prior for each number of bands, length and rate, where the
#: constant of a block is 0
QUANTILES: dict[int, list[list[float]]] = {
    1: [
        [2.13, 3.14, 4.18, 5.27, 6.34],
        [2.51, 3.45, 4.49, 5.62, 6.85],
        [2.78, 3.59, 4.59, 5.5, 6.89],
        [3.07, 3.85, 4.79, 5.77, 6.9],
        [3.41, 4.22, 5.15, 5.76, 6.44],
        [3.67, 4.41, 5.05, 6.08, 7.71],
    ],
    2: [
        [2.87, 4.0, 5.27, 6.37, 7.89],
        [3.07, 4.14, 5.37, 6.42, 7.97],
        [3.2, 4.08, 5.16, 6.4, 8.08],
        [3.28, 4.22, 5.28, 6.37, 7.83],
        [3.47, 4.31, 5.31, 6.44, 7.21],
        [3.53, 4.3, 5.44, 6.25, 7.63],
    ],
    4: [
        [4.21, 5.43, 6.89, 8.08, 10.09],
        [4.22, 5.48, 6.81, 8.1, 9.04],
        [4.17, 5.18, 6.67, 7.76, 8.74],
        [4.13, 5.27, 6.62, 8.11, 8.98],
        [4.15, 5.4, 6.7, 8.1, 9.05],
        [4.19, 5.34, 6.34, 7.4, 8.46],
    ],
}


def _line(x: float, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values (known, …) interpolated at `x`, beyond the ends along the outermost straight piece."""
    k = int(np.clip(np.searchsorted(known, x) - 1, 0, known.size - 2))
    share = (x - known[k]) / (known[k + 1] - known[k])
    return (1.0 - share) * values[k] + share * values[k + 1]


def _curve(n_bands: int, n_cells: int) -> np.ndarray:
    """Return the priors that belong to `RATES`, interpolated in bands and in the logarithm of length."""
    length = np.log(max(n_cells, 2))
    rows = np.array([_line(length, np.log(LENGTHS), np.array(table)) for table in QUANTILES.values()])
    return _line(n_bands, np.array(list(QUANTILES), dtype=np.float64), rows)


def _constant(cells: Cells) -> float:
    """Return what a further block of all cells' mean rate brings by its constant alone, of all bands.

    It is ½ ln(2π σ²/R²) for Gaussian bands, with σ the mean error and R the range, and ½ ln(2π μ/t²) for
    counts, with μ counts and t ticks in a cell.
    """
    n = cells.edges.size - 1
    mean_a, mean_b = cells.a[:, -1] / n, cells.b[:, -1] / n
    if cells.model == GAUSSIAN:
        return float(np.sum(cells.constants + 0.5 * np.log(2.0 / mean_b)))
    counted = mean_a > 0
    return float(np.sum(0.5 * np.log(2.0 * np.pi * mean_a[counted] / mean_b[counted] ** 2)))


def prior_for(cells: Cells, false_rate: float) -> float:
    """Return the prior at which this fraction of curves of noise, like this one, gets a false block.

    Raises
    ------
    ValueRangeError
        If `false_rate` is not between 1e-4 and 0.3, where it has been measured or nearly so.
    """
    if not 1e-4 <= false_rate <= RATES[0]:
        raise ValueRangeError(f"false_rate: found {false_rate}, expected from 0.0001 to {RATES[0]}")
    if cells.a.shape[0] == 0:
        return 0.0
    priors = _curve(cells.a.shape[0], cells.edges.size - 1)
    return float(_line(-np.log(false_rate), -np.log(RATES), priors) + _constant(cells))
