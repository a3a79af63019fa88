"""Ratios of two intensities with intervals that hold at any number of counts, on plain arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["fieller", "poisson_share"]

#: points at which a posterior is tabulated, nodes of an average over it, and over an uncertain background
N_GRID, N_NODES, N_BACKGROUND = 1500, 400, 48
#: how far a posterior is followed, in standard deviations and counts
REACH, FURTHER = 11.0, 40.0
BISECTIONS = 45


def poisson_share(
    soft: np.ndarray,
    hard: np.ndarray,
    background: np.ndarray,
    background_error: np.ndarray,
    prior: float,
    levels: np.ndarray,
) -> np.ndarray:
    """Return quantiles of x = λ_H/(λ_H + λ_S), the share of the hard band in the net intensity.

    Counts are Poisson with mean λ + b; λ has the prior λ^(prior − 1) (Park et al. 2006, ApJ 652, 610).

    Parameters
    ----------
    soft, hard
        (bin,) counts.
    background, background_error
        (2, bin) expected background of the soft and the hard band, and its error: b has the gamma
        distribution of this mean and standard deviation.
    prior
        ½ for that of Jeffreys, 1 for a flat one.
    levels
        (level,) between 0 and 1.

    Returns
    -------
    numpy.ndarray
        (level, bin).
    """
    from scipy.special import betaincinv

    clean = np.all(background == 0.0, axis=0)
    found = np.empty((levels.size, soft.size))
    found[:, clean] = betaincinv(hard[clean] + prior, soft[clean] + prior, levels[:, np.newaxis])
    for k in np.flatnonzero(~clean):
        tables = [
            _posterior(counts[k], mean[k], error[k], prior)
            for counts, mean, error in zip((soft, hard), background, background_error, strict=True)
        ]
        found[:, k] = _share_quantiles(tables[0], tables[1], levels)
    return found


def _posterior(counts: float, mean: float, error: float, prior: float) -> tuple[np.ndarray, np.ndarray]:
    """Return intensities and their cumulative probability, as a table.

    In u = λ^prior the density is E_b[(λ + b)^N exp(−λ − b)], without the singularity of the prior.
    """
    from scipy.special import gammaincinv, logsumexp, xlogy

    if error > 0:
        shape = (mean / error) ** 2
        part = (np.arange(N_BACKGROUND) + 0.5) / N_BACKGROUND
        values = gammaincinv(shape, part) * mean / shape
    else:
        values = np.array([mean])
    spread = np.sqrt(counts + 1.0 + error**2)
    lowest = max(counts - mean - REACH * spread - FURTHER, 0.0)
    highest = max(counts - mean, 0.0) + REACH * spread + FURTHER
    u = np.linspace(lowest**prior, highest**prior, N_GRID)
    mu = u[:, np.newaxis] ** (1.0 / prior) + values
    log_density = logsumexp(xlogy(counts, mu) - mu, axis=1)
    density = np.exp(log_density - log_density.max())
    rise = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return u ** (1.0 / prior), rise / rise[-1]


def _share_quantiles(
    soft: tuple[np.ndarray, np.ndarray], hard: tuple[np.ndarray, np.ndarray], levels: np.ndarray
) -> np.ndarray:
    """Return quantiles of the share: P(X < x) is the mean over λ_S of P(λ_H < λ_S x/(1 − x))."""
    nodes = np.interp((np.arange(N_NODES) + 0.5) / N_NODES, soft[1], soft[0])
    low, high = np.zeros(levels.size), np.ones(levels.size)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        limit = nodes[:, np.newaxis] * (middle / (1.0 - middle))
        below = np.interp(limit, *hard).mean(axis=0) < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def fieller(
    a: np.ndarray, b: np.ndarray, var_a: np.ndarray, var_b: np.ndarray, cov: np.ndarray, z: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the error of a/b to first order, and the ends of its interval by Fieller's theorem.

    The interval holds every θ with (a − θ b)² ≤ z² (σ_a² − 2 θ cov + θ² σ_b²). Where b is not z times its
    error, this is no finite interval; the ends are then ∓∞.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
        error = np.sqrt(var_a - 2.0 * ratio * cov + ratio**2 * var_b) / np.abs(b)
        square, product, leading = a**2 - z**2 * var_a, a * b - z**2 * cov, b**2 - z**2 * var_b
        root = np.sqrt(np.maximum(product**2 - leading * square, 0.0))
        low, high = (product - root) / leading, (product + root) / leading
    finite = leading > 0
    return error, np.where(finite, low, -np.inf), np.where(finite, high, np.inf)
