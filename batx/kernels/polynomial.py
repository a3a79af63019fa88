"""Polynomials fitted to counts by their Poisson likelihood, and slopes, on plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Fit", "fit_counts", "legendre_means", "steady_slope"]

_STEPS = 200
#: the last step is the one that promises less than this
_CONVERGED = 1e-9
#: what bins without counts count as, one after the other
LEAST_COUNTS = (1e-2, 1e-4, 1e-6, 1e-8)


class Fit(NamedTuple):
    """A linear model of counts.

    Attributes
    ----------
    coefficients
        (term,) c; the expected counts are design · c.
    covariance
        (term, term) of the coefficients for Poisson counts, the inverse of their information.
    expected
        (bin,)
    deviance
        2 Σ n ln(n/μ) − (n − μ).
    pearson
        Σ (n − μ)²/μ.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    expected: np.ndarray
    deviance: float
    pearson: float


def legendre_means(
    lower: np.ndarray, width: np.ndarray, origin: float, scale: float, degree: int
) -> np.ndarray:
    """Return the means over bins of the Legendre polynomials of (t − origin)/scale.

    Exact, by Gauss's quadrature.

    Parameters
    ----------
    lower, width
        Edges and widths of the bins (bin,).
    origin, scale
        The polynomials are orthogonal from origin − scale to origin + scale.
    degree
        Highest degree.

    Returns
    -------
    numpy.ndarray
        (bin, degree + 1)

    Examples
    --------
    >>> legendre_means(np.array([-1.0, 0.0]), np.ones(2), 0.0, 1.0, 2).round(12) + 0.0
    array([[ 1. , -0.5,  0. ],
           [ 1. ,  0.5,  0. ]])
    """
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    means = np.zeros((lower.size, degree + 1))
    for node, weight in zip(nodes, weights, strict=True):
        x = (lower + 0.5 * width * (1.0 + node) - origin) / scale
        means += 0.5 * weight * np.polynomial.legendre.legvander(x, degree)
    return means


def fit_counts(design: np.ndarray, counts: np.ndarray) -> Fit | None:
    """Return the linear model of greatest Poisson likelihood, `None` if there is none.

    Σ n ln μ − μ is concave, and Newton's method finds its maximum, with steps shortened until every expected
    number is positive; weighted least squares with the weights 1/n of the data would make the model too low
    by about 1 count a bin. So that it stays positive where there are no counts, these count as little, at
    last as 1e-8. The information, Σ design²/μ, takes the expected number of a bin for no less than 1 over the
    number of bins.

    Parameters
    ----------
    design
        (bin, term) what a coefficient of 1 adds to each bin; the first term is positive everywhere.
    counts
        (bin,)

    Examples
    --------
    >>> made = fit_counts(np.column_stack([np.ones(4), [-1.5, -0.5, 0.5, 1.5]]), np.array([1, 2, 3, 4]))
    >>> made.coefficients.round(6), made.expected.round(6)
    (array([2.5, 1. ]), array([1., 2., 3., 4.]))
    """
    total = counts.sum()
    if not total > 0 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    c = np.zeros(design.shape[1])
    c[0] = total / design[:, 0].sum()
    for least in LEAST_COUNTS if counts.min() == 0 else (0.0,):
        found = _maximum(design, np.maximum(counts, least), c)
        if found is None:
            return None
        c = found
    expected = design @ c
    weight = 1.0 / np.maximum(expected, 1.0 / counts.size)
    covariance = np.linalg.inv(design.T @ (design * weight[:, np.newaxis]))
    pearson = float(np.sum((counts - expected) ** 2 / expected))
    return Fit(c, covariance, expected, _deviance(counts, expected), pearson)


def _maximum(design: np.ndarray, n: np.ndarray, c: np.ndarray) -> np.ndarray | None:
    """Return the coefficients of greatest likelihood, found from `c`; `None` if that takes too long."""
    expected = design @ c
    for _ in range(_STEPS):
        slope = design.T @ (n / expected - 1.0)
        step = np.linalg.solve(design.T @ (design * (n / expected**2)[:, np.newaxis]), slope)
        if slope @ step < _CONVERGED:
            return c + step
        length = _length(n, expected, design @ step, float(slope @ step))
        c, expected = c + length * step, expected + length * (design @ step)
    return None


def _length(n: np.ndarray, expected: np.ndarray, change: np.ndarray, gain: float) -> float:
    """Return the part of a step by which the likelihood rises and every expected number stays positive.

    `gain` is what the step would gain if the likelihood rose as it begins to.
    """
    length = 1.0
    while length > 1e-12:
        ratio = 1.0 + length * change / expected
        if ratio.min() > 0.0:
            risen = np.sum(n * np.log(ratio) - length * change)
            if risen >= 1e-4 * length * gain:
                break
        length *= 0.5
    return length


def _deviance(counts: np.ndarray, expected: np.ndarray) -> float:
    ratio = np.where(counts > 0, counts, 1.0) / np.where(counts > 0, expected, 1.0)
    return float(2.0 * np.sum(counts * np.log(ratio) - (counts - expected)))


def steady_slope(rate: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return level and slope of a series without its bursts.

    Level: median of five neighbours, as far as there are such. Slope: between the levels two to either side.
    Bursts shorter than two steps change neither.

    Parameters
    ----------
    rate
        (bin,) at least 4.
    dt
        Length of a bin.

    Examples
    --------
    >>> level, slope = steady_slope(np.array([1.0, 2, 3, 40, 5, 6, 7, 8]), 0.5)
    >>> level.tolist(), slope.round(2).tolist()
    ([2.0, 2.5, 3.0, 5.0, 6.0, 7.0, 6.5, 7.0], [2.0, 3.0, 2.67, 2.57, 2.0, 1.33, 1.0, 0.0])
    """
    number = np.arange(rate.size)
    first, last = np.maximum(number - 2, 0), np.minimum(number + 2, rate.size - 1)
    level = np.array([np.median(rate[i : j + 1]) for i, j in zip(first, last, strict=True)])
    middle = 0.5 * (first + last)
    return level, (level[last] - level[first]) / ((middle[last] - middle[first]) * dt)
