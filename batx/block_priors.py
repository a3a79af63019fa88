"""The prior at which pure noise gives a false block as rarely as asked (algorithms 2.5)."""

from __future__ import annotations

import numpy as np

from batx.block_inputs import Cells
from batx.errors import ValueRangeError
from batx.kernels.blocks import GAUSSIAN

__all__ = ["false_block_rate", "prior_for"]

#: fractions of curves with a false block, for the columns of `QUANTILES`
RATES = np.array([0.3, 0.1, 0.03, 0.01, 0.003])
#: numbers of cells, for the rows of `QUANTILES`
LENGTHS = np.array([30, 100, 300, 1000, 3000, 10000, 30000, 100000])
#: measured by benchmarks/calibrate_blocks.py: prior for each number of bands, length and rate, where the
#: constant of a block is 0
QUANTILES: dict[int, list[list[float]]] = {1: [[2.13, 3.14, 4.18, 5.27, 6.34], [2.51, 3.45, 4.49, 5.62, 6.85], [2.78, 3.59, 4.59, 5.5, 6.89], [3.07, 3.85, 4.79, 5.77, 6.9], [3.41, 4.22, 5.15, 5.76, 6.44], [3.41, 4.22, 5.15, 5.76, 6.44], [3.41, 4.22, 5.15, 5.76, 6.44], [3.41, 4.22, 5.15, 5.76, 6.44]]}


def _curve(n_bands: int, n_cells: int) -> np.ndarray:
    """Return the priors that belong to `RATES`, interpolated in bands and in the logarithm of length."""
    at = np.array(
        [
            [np.interp(np.log(n_cells), np.log(LENGTHS), column) for column in np.array(table).T]
            for table in QUANTILES.values()
        ]
    )
    known = np.array(list(QUANTILES), dtype=np.float64)
    if n_bands <= known[-1]:
        return np.array([np.interp(n_bands, known, column) for column in at.T])
    return at[-1] + (at[-1] - at[-2]) / (known[-1] - known[-2]) * (n_bands - known[-1])


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
    x, known = np.log(false_rate), np.log(RATES)
    if x < known[-1]:
        slope = (priors[-1] - priors[-2]) / (known[-1] - known[-2])
        value = priors[-1] + slope * (x - known[-1])
    else:
        value = np.interp(x, known[::-1], priors[::-1])
    return float(value + _constant(cells))


def false_block_rate(cells: Cells, prior: float) -> float:
    """Return the fraction of curves of noise, like this one, that gets a false block; at most 0.3 is resolved."""
    priors = _curve(cells.a.shape[0], cells.edges.size - 1)
    x = prior - _constant(cells)
    known = np.log(RATES)
    if x > priors[-1]:
        slope = (known[-1] - known[-2]) / (priors[-1] - priors[-2])
        return float(np.exp(known[-1] + slope * (x - priors[-1])))
    return float(np.exp(np.interp(x, priors, known)))
