"""Fit statistics: how far counts are from a model, each minus twice the logarithm of a likelihood.

All work in counts of a bin: ``observed`` and what the model says, ``expected``, of the source alone; the
background of the region of the source is ``ratio`` times that of its own spectrum. Sources: the statistics
appendix of the XSPEC manual; Cash (1979, ApJ 228, 939); Wachter, Leach & Kellogg (1979, ApJ 230, 274) for
the background profiled out.
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit

__all__ = [
    "chi_square",
    "chi_square_slope",
    "cstat",
    "cstat_slope",
    "gaussian",
    "pgstat",
    "profiled_background",
    "wstat",
]


@njit(cache=True, nogil=True)
def chi_square(net: np.ndarray, expected: np.ndarray, variance: np.ndarray, model_error: float) -> float:
    """Return Σ (net - expected)² / σ², σ² = variance + (model_error · expected)².

    ``net`` has the background subtracted; ``variance`` is that of the data: statistical, systematic
    (a fraction of the observed rate) and of the background.

    Examples
    --------
    >>> float(chi_square(np.array([4.0]), np.array([2.0]), np.array([1.0]), 0.0))
    4.0
    """
    total = 0.0
    for i in range(net.size):
        error = model_error * expected[i]
        total += (net[i] - expected[i]) ** 2 / (variance[i] + error * error)
    return total


@njit(cache=True, nogil=True)
def gaussian(net: np.ndarray, expected: np.ndarray, variance: np.ndarray, model_error: float) -> float:
    """Return -2 ln of the Gaussian likelihood: `chi_square` + Σ ln(2π σ²).

    It differs from `chi_square` in the fit only where σ depends on the model.

    Examples
    --------
    >>> float(gaussian(np.array([4.0]), np.array([2.0]), np.array([1 / (2 * np.pi)]), 0.0) / 8 / np.pi)
    1.0
    """
    total = 0.0
    for i in range(net.size):
        error = model_error * expected[i]
        total += math.log(2.0 * math.pi * (variance[i] + error * error))
    return total + chi_square(net, expected, variance, model_error)


@njit(cache=True, nogil=True)
def _cash(observed: float, expected: float) -> float:
    """Return 2 (m - S + S ln(S / m)), of which an S that is not above 0 leaves 2 m."""
    if observed > 0.0:
        return 2.0 * (expected - observed + observed * math.log(observed / expected))
    return 2.0 * expected


@njit(cache=True, nogil=True)
def cstat(observed: np.ndarray, expected: np.ndarray) -> float:
    """Return the Cash statistic as a deviance; what is expected counts at least 1e-5.

    Examples
    --------
    >>> float(cstat(np.array([0.0, 3.0]), np.array([0.5, 3.0])))
    1.0
    """
    total = 0.0
    for i in range(observed.size):
        total += _cash(observed[i], max(expected[i], 1e-5))
    return total


@njit(cache=True, nogil=True)
def profiled_background(observed: float, background: float, ratio: float, expected: float) -> float:
    """Return the counts of the background spectrum that are likeliest, given the model of the source.

    The root of (1 + r) f² - (S + B - (1 + r) m / r) f - B m / r = 0 with m = expected, r = ratio.
    """
    s = expected / ratio
    b = observed + background - (1.0 + ratio) * s
    root = math.sqrt(b * b + 4.0 * (1.0 + ratio) * background * s)
    if b >= 0.0:
        return (b + root) / (2.0 * (1.0 + ratio))
    return 2.0 * background * s / (root - b)


@njit(cache=True, nogil=True)
def wstat(observed: np.ndarray, background: np.ndarray, ratio: np.ndarray, expected: np.ndarray) -> float:
    """Return C for source and background region, with the Poisson background of each bin profiled out.

    Examples
    --------
    >>> one = np.ones(1)
    >>> abs(float(wstat(5 * one, 2 * one, 1.5 * one, 2 * one))) < 1e-12
    True
    """
    total = 0.0
    for i in range(observed.size):
        s, b, r = observed[i], background[i], ratio[i]
        m = max(expected[i], 1e-5)
        if s <= 0.0:
            total += 2.0 * (m + max(b, 0.0) * math.log(1.0 + r))
        elif b <= 0.0:
            if m <= s * r / (1.0 + r):
                total += 2.0 * (-m / r - s * math.log(r / (1.0 + r)))
            else:
                total += _cash(s, m)
        else:
            f = profiled_background(s, b, r, m)
            total += _cash(s, m + r * f) + _cash(b, f)
    return total


@njit(cache=True, nogil=True)
def _total_over_ratio(s: float, b: float, v: float, r: float, m: float) -> float:
    """Return x = f + m / r at the likeliest background f of `pgstat`."""
    q = r * v - b - m / r
    root = math.sqrt(q * q + 4.0 * s * v)
    return (root - q) / 2.0 if q < 0.0 else 2.0 * s * v / (root + q)


@njit(cache=True, nogil=True)
def pgstat(
    observed: np.ndarray,
    background: np.ndarray,
    background_variance: np.ndarray,
    ratio: np.ndarray,
    expected: np.ndarray,
) -> float:
    """Return C for counts of the source over a Gaussian background, profiled out bin by bin.

    2 Σ [m + r f - S ln(m + r f) - S (1 - ln S) + (B - f)² / 2V] at the likeliest background f; V is the
    variance of the counts B of the background spectrum.

    Examples
    --------
    >>> one = np.ones(1)
    >>> abs(float(pgstat(5 * one, 2 * one, 4 * one, 1.5 * one, 2 * one))) < 1e-12
    True
    """
    total = 0.0
    for i in range(observed.size):
        s, b, v, r = observed[i], background[i], background_variance[i], ratio[i]
        m = max(expected[i], 1e-5)
        if v <= 0.0:
            total += _cash(s, max(m + r * b, 1e-5))
        elif s <= 0.0:
            total += 2.0 * (m + r * b - v * r * r / 2.0)
        else:
            x = _total_over_ratio(s, b, v, r, m)
            f = x - m / r
            total += _cash(s, r * x) + (b - f) ** 2 / v
    return total


# ---------------------------------------------------------------- derivatives by what is expected


@njit(cache=True, nogil=True)
def chi_square_slope(
    net: np.ndarray, expected: np.ndarray, variance: np.ndarray, model_error: float, logarithm: bool
) -> np.ndarray:
    """Return the derivatives of `chi_square`, or with the logarithm those of `gaussian`.

    Examples
    --------
    >>> chi_square_slope(np.array([4.0]), np.array([2.0]), np.array([1.0]), 0.0, False)
    array([-4.])
    """
    made = np.empty(net.size)
    for i in range(net.size):
        square = variance[i] + (model_error * expected[i]) ** 2
        rise = 2.0 * model_error * model_error * expected[i]
        off = (net[i] - expected[i]) / square
        made[i] = -2.0 * off - off * off * rise + (rise / square if logarithm else 0.0)
    return made


@njit(cache=True, nogil=True)
def cstat_slope(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the derivatives of `cstat`.

    Examples
    --------
    >>> cstat_slope(np.array([0.0, 3.0]), np.array([0.5, 2.0]))
    array([ 2., -1.])
    """
    made = np.empty(observed.size)
    for i in range(observed.size):
        made[i] = _cash_slope(observed[i], max(expected[i], 1e-5))
    return made


@njit(cache=True, nogil=True)
def _cash_slope(observed: float, expected: float) -> float:
    return 2.0 * (1.0 - observed / expected) if observed > 0.0 else 2.0


@njit(cache=True, nogil=True)
def wstat_slope(
    observed: np.ndarray, background: np.ndarray, ratio: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Return the derivatives of `wstat`: those of C at the profiled background, which does not add any.

    Examples
    --------
    >>> one = np.ones(1)
    >>> np.abs(wstat_slope(5 * one, 2 * one, 1.5 * one, 2 * one)) < 1e-12
    array([ True])
    """
    made = np.empty(observed.size)
    for i in range(observed.size):
        s, b, r = observed[i], background[i], ratio[i]
        m = max(expected[i], 1e-5)
        if s > 0.0 and b <= 0.0 and m <= s * r / (1.0 + r):
            made[i] = -2.0 / r
        elif s > 0.0 and b > 0.0:
            made[i] = _cash_slope(s, m + r * profiled_background(s, b, r, m))
        else:
            made[i] = _cash_slope(s, m)
    return made


@njit(cache=True, nogil=True)
def pgstat_slope(
    observed: np.ndarray,
    background: np.ndarray,
    background_variance: np.ndarray,
    ratio: np.ndarray,
    expected: np.ndarray,
) -> np.ndarray:
    """Return the derivatives of `pgstat`.

    Examples
    --------
    >>> one = np.ones(1)
    >>> np.abs(pgstat_slope(5 * one, 2 * one, 4 * one, 1.5 * one, 2 * one)) < 1e-12
    array([ True])
    """
    made = np.empty(observed.size)
    for i in range(observed.size):
        s, b, v, r = observed[i], background[i], background_variance[i], ratio[i]
        m = max(expected[i], 1e-5)
        if v <= 0.0:
            made[i] = _cash_slope(s, max(m + r * b, 1e-5))
        elif s <= 0.0:
            made[i] = 2.0
        else:
            made[i] = _cash_slope(s, r * _total_over_ratio(s, b, v, r, m))
    return made
