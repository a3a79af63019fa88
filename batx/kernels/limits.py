"""Upper limits and intervals of one amplitude from its likelihood, and significances of counts.

Source of the formulae: algorithms, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq, minimize_scalar

__all__ = ["best_amplitude", "credible_limit", "li_ma", "over_gaussian", "profile_limit"]

Statistic = Callable[[float], float]


def best_amplitude(statistic: Statistic, start: float, step: float) -> float:
    """Return where a statistic (-2 ln L) of one amplitude is smallest.

    Parameters
    ----------
    statistic
        Convex function; infinite or very large where the amplitude is impossible.
    start, step
        A possible amplitude near the minimum, and a distance over which the statistic changes by about 1.

    Examples
    --------
    >>> round(best_amplitude(lambda a: (a - 3) ** 2, 1.0, 0.5), 6)
    3.0
    """
    low, high = start - step, start + step
    middle = statistic(start)
    width = step
    while statistic(high) < middle and width < 1e6 * step:
        width *= 2
        start, high = high, high + width
        middle = statistic(start)
    width = step
    while statistic(low) < middle and width < 1e6 * step:
        width *= 2
        start, low = low, low - width
        middle = statistic(start)
    return float(
        minimize_scalar(statistic, bounds=(low, high), method="bounded", options={"xatol": 1e-6 * step}).x
    )


def profile_limit(statistic: Statistic, best: float, step: float, sigma: float) -> float:
    """Return the amplitude above the best one at which the statistic has risen by sigma².

    Of Gaussian data it is best + sigma × error, which covers the truth with the one-sided probability of
    `sigma`.

    Examples
    --------
    >>> round(profile_limit(lambda a: ((a - 1) / 2) ** 2, 1.0, 2.0, 3.0), 6)
    7.0
    """
    wanted = statistic(best) + sigma**2
    high = best + sigma * step
    while statistic(high) < wanted:
        high += 2 * (high - best)
    return float(brentq(lambda value: statistic(value) - wanted, best, high, xtol=1e-9 * step, rtol=1e-12))


def credible_limit(statistic: Statistic, best: float, step: float, level: float) -> float:
    """Return the amplitude that holds a part `level` of the posterior, flat in amplitudes of at least 0.

    The likelihood is integrated by Gauss-Legendre quadrature in 100 pieces from its maximum up to where it is
    e^-50 of it, and in 50 below.

    Examples
    --------
    >>> round(credible_limit(lambda a: a**2, 0.0, 1.0, 0.9545), 2)
    2.0
    """
    top = max(best, 0.0)
    lowest = statistic(top)
    far = profile_limit(statistic, top, step, 10.0)
    near = max(top - 10 * step, 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(4)
    edges = np.concatenate(
        [np.linspace(near, top, 51)[:-1] if top > near else [], np.linspace(top, far, 101)]
    )
    half = 0.5 * np.diff(edges)
    points = 0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * nodes
    density = np.exp(-0.5 * (np.vectorize(statistic)(points) - lowest))
    below = np.concatenate([[0.0], np.cumsum((density * weights).sum(axis=1) * half)])
    return float(brentq(PchipInterpolator(edges, below / below[-1] - level), near, far, rtol=1e-12))


def li_ma(on: float, off: float, ratio: float) -> float:
    """Return the signed significance of counts over a background counted elsewhere.

    Parameters
    ----------
    on, off
        Counts with and without the source.
    ratio
        Background in `on` for one count of `off`.

    Notes
    -----
    Li & Ma 1983, ApJ 272, 317, equation 17; negative if there are fewer counts than expected.

    Examples
    --------
    >>> round(li_ma(140, 200, 0.5), 2)
    3.02
    """
    total = on + off
    first = on * np.log((1 + ratio) / ratio * on / total) if on > 0 else 0.0
    second = off * np.log((1 + ratio) * off / total) if off > 0 else 0.0
    return float(np.sign(on - ratio * off) * np.sqrt(max(2 * (first + second), 0.0)))


def over_gaussian(on: float, mean: float, sigma: float) -> float:
    """Return the signed significance of counts over a background that is known with a Gaussian error.

    Parameters
    ----------
    on
        Counts.
    mean, sigma
        Background that is expected in `on`, and its error.

    Notes
    -----
    The root of twice the logarithm of the likelihood ratio of the likeliest source to none; Vianello 2018,
    ApJS 236, 17; negative if there are fewer counts than expected.

    Examples
    --------
    >>> round(over_gaussian(140, 100, 7.0), 2)
    3.07
    """
    half = 0.5 * (mean - sigma**2)
    likeliest = half + np.sqrt(half**2 + on * sigma**2)
    if likeliest <= 0:
        likeliest = max(mean, 1e-300)
    poisson = likeliest - on + (on * np.log(on / likeliest) if on > 0 else 0.0)
    gaussian = ((likeliest - mean) / sigma) ** 2 if sigma > 0 else 0.0
    return float(np.sign(on - mean) * np.sqrt(max(2 * poisson + gaussian, 0.0)))
