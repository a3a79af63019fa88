"""Measure the prior at which pure noise gives false blocks, for the table in batx/block_priors.py.

A curve of n bins with unit errors is drawn, and the smallest prior at which its best division is one block
is found exactly: the best division at a prior gives the prior at which it is as good as one block, and so
on until it is one block. Evidence is taken with max x − min x = √(2π), so that the constant of a block is 0;
what other curves have in its place is added by `batx.block_priors.prior_for`.

Run ``python benchmarks/calibrate_blocks.py`` (some 15 minutes on one core); with ``rates`` it prints how many
curves of one band have a false block at each prior, their own range counted.
"""

from __future__ import annotations

import sys

import numpy as np

from batx.kernels.blocks import GAUSSIAN, best_partition, partition_values

CURVES = {30: 4000, 100: 4000, 300: 4000, 1000: 4000, 3000: 2500, 10000: 1000}
PRIORS = (2, 3, 4, 5, 6, 7, 8)
#: below every quantile that is asked for
LEAST = 1.5
RATES = (0.3, 0.1, 0.03, 0.01, 0.003)


def critical_prior(values: np.ndarray, own_range: bool = False) -> float:
    """Return the smallest prior at which the best division of a curve (band, bin) is one block.

    The constant of a block is 0, or that of the curve's own range.
    """
    n_bands, n = values.shape
    a = np.concatenate([np.zeros((n_bands, 1)), np.cumsum(values, axis=1)], axis=1)
    b = np.repeat(np.arange(n + 1.0)[np.newaxis], n_bands, axis=0)
    spread = np.ptp(values, axis=1) if own_range else np.full(n_bands, np.sqrt(2 * np.pi))
    constants = 0.5 * np.log(np.pi) - np.log(spread)
    whole = partition_values(GAUSSIAN, constants, a, b, np.zeros(1, dtype=np.int64))[0]
    prior = LEAST
    while True:
        starts = best_partition(GAUSSIAN, constants, a, b, prior, 0)
        if starts.size == 1:
            return prior
        gain = partition_values(GAUSSIAN, constants, a, b, starts).sum() - whole
        prior = gain / (starts.size - 1) + 1e-9


def false_rates() -> None:
    """Print the fraction of curves of noise with a false block for each number of bins and prior."""
    rng = np.random.default_rng(20260102)
    for n, n_curves in CURVES.items():
        found = np.array([critical_prior(rng.normal(size=(1, n)), own_range=True) for _ in range(n_curves)])
        rates = [f"{100 * np.mean(found > prior):.2f}" for prior in PRIORS]
        print(n, n_curves, *rates, flush=True)


def main() -> None:
    """Print the quantiles for each number of bands and bins."""
    if sys.argv[1:] == ["rates"]:
        false_rates()
        return
    rng = np.random.default_rng(20260101)
    for n_bands in map(int, sys.argv[1:] or ("1", "2", "4")):
        for n, most in CURVES.items():
            n_curves = most // n_bands
            found = np.array([critical_prior(rng.normal(size=(n_bands, n))) for _ in range(n_curves)])
            print(n_bands, n, n_curves, *np.round(np.quantile(found, 1 - np.array(RATES)), 2), flush=True)


if __name__ == "__main__":
    main()
