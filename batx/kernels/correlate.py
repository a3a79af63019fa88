"""Correlation of two curves against delay, and the place of its peak, on plain arrays.

Delays are positive where the second curve comes later: C(τ) = Σ a(t) b(t + τ).
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit

__all__ = [
    "discrete_correlation",
    "fit_gaussians",
    "fit_polynomials",
    "gaussian",
    "gaussian_response",
    "half_width",
    "linear_correlation",
    "moving_sum",
    "noise_shares",
    "polynomial",
    "polynomial_response",
]

#: parameters of a peak: level, height, place, and the logarithms of the widths before and after it
N_PEAK = 5
STEPS = 60
#: widths are at least this part of the range; narrower ones are steps of the noise
LEAST_WIDTH = 0.125
#: a fit has converged when no step changes the place by more than this part of the range
CONVERGED = 1e-6


def linear_correlation(a: np.ndarray, b: np.ndarray, n_lags: int) -> np.ndarray:
    """Return Σ_i a_i b_{i+d} for d from −n_lags to n_lags, (…, 2 n_lags + 1), of curves (…, bin)."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(a.shape[-1] + n_lags, real=True)
    product = irfft(np.conj(rfft(a, size)) * rfft(b, size), size)
    return np.concatenate([product[..., size - n_lags :], product[..., : n_lags + 1]], axis=-1)


@njit(cache=True, nogil=True)
def discrete_correlation(
    time: np.ndarray, a: np.ndarray, b: np.ndarray, step: float, n_lags: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return means of a_i b_j over pairs by t_j − t_i, and the number of pairs (Edelson & Krolik 1988).

    Parameters
    ----------
    time
        (bin,) increasing.
    a, b
        (curve, bin) less their means.
    step, n_lags
        Pair (i, j) belongs to delay d, −n_lags ≤ d ≤ n_lags, if (d − ½) step ≤ t_j − t_i < (d + ½) step.

    Returns
    -------
    tuple
        Means (curve, 2 n_lags + 1), NaN where there is no pair, and numbers (2 n_lags + 1,).
    """
    n_curves, n = a.shape
    total = np.zeros((n_curves, 2 * n_lags + 1))
    pairs = np.zeros(2 * n_lags + 1, dtype=np.int64)
    reach = (n_lags + 0.5) * step
    first = 0
    for i in range(n):
        while time[first] < time[i] - reach:
            first += 1
        for j in range(first, n):
            lag = int(np.floor((time[j] - time[i]) / step + 0.5)) + n_lags
            if lag > 2 * n_lags:
                break
            if lag >= 0:
                pairs[lag] += 1
                for k in range(n_curves):
                    total[k, lag] += a[k, i] * b[k, j]
    for lag in range(2 * n_lags + 1):
        for k in range(n_curves):
            total[k, lag] = total[k, lag] / pairs[lag] if pairs[lag] else np.nan
    return total, pairs


def half_width(correlation: np.ndarray) -> int:
    """Return the number of steps after which an autocorrelation falls below half of its peak.

    It is smoothed with ever longer windows until it stays above half for longer than half of the window.

    Parameters
    ----------
    correlation
        (2 n + 1,) for delays −n to n, without the variance of the noise at 0.
    """
    n = correlation.size // 2
    for half in [0, *(2**k for k in range(n.bit_length()))]:
        smooth = moving_sum(correlation, half)[n:]
        below = np.flatnonzero(smooth < 0.5 * smooth[0])
        width = int(below[0]) if below.size else n
        if smooth[0] > 0 and width > half:
            return width
    return n


def moving_sum(values: np.ndarray, half: int) -> np.ndarray:
    """Return sums over 2 half + 1 neighbours (…, n), of those that there are at the ends."""
    n = values.shape[-1]
    total = np.zeros((*values.shape[:-1], n + 1))
    np.cumsum(values, axis=-1, out=total[..., 1:])
    place = np.arange(n)
    return total[..., np.minimum(place + half + 1, n)] - total[..., np.maximum(place - half, 0)]


@njit(cache=True, nogil=True)
def noise_shares(
    time: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    variance_a: np.ndarray,
    variance_b: np.ndarray,
    response: np.ndarray,
    first_lag: int,
    step: float,
) -> tuple[float, float]:
    """Return how much noise in a or b, and in both, adds to the variance of Σ_d response_d C_d.

    With C_d the sum of a_i b_j over the pairs of `discrete_correlation`, the first is Σ_j σ²_bj (Σ_i r a_i)²
    + Σ_i σ²_ai (Σ_j r b_j)², which with measured curves contains the second, Σ_ij r² σ²_ai σ²_bj, twice.
    `response` is that to the delays from `first_lag` on.
    """
    n = a.size
    on_a, on_b = np.zeros(n), np.zeros(n)
    both = 0.0
    earliest = (first_lag - 0.5) * step
    first = 0
    for i in range(n):
        while first < n and time[first] - time[i] < earliest:
            first += 1
        for j in range(first, n):
            lag = int(np.floor((time[j] - time[i]) / step + 0.5)) - first_lag
            if lag >= response.size:
                break
            if lag >= 0:
                on_a[i] += response[lag] * b[j]
                on_b[j] += response[lag] * a[i]
                both += response[lag] ** 2 * variance_a[i] * variance_b[j]
    return np.sum(variance_a * on_a**2) + np.sum(variance_b * on_b**2), both


@njit(cache=True, nogil=True)
def gaussian(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return level + height exp(−(x − place)²/2 s²), s the width of that side, (x,) of (5,)."""
    level, height, place, before, after = parameters
    made = np.empty(x.size)
    for i in range(x.size):
        u = (x[i] - place) * math.exp(-before if x[i] < place else -after)
        made[i] = level + height * math.exp(-0.5 * u * u)
    return made


@njit(cache=True, nogil=True)
def _slopes(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the derivatives of `gaussian` by its parameters (x, 5)."""
    height, place, before, after = parameters[1:]
    made = np.zeros((x.size, N_PEAK))
    for i in range(x.size):
        side = 3 if x[i] < place else 4
        scale = math.exp(-(before if side == 3 else after))
        u = (x[i] - place) * scale
        bell = math.exp(-0.5 * u * u)
        made[i, 0] = 1.0
        made[i, 1] = bell
        made[i, 2] = height * bell * u * scale
        made[i, side] = height * bell * u * u
    return made


@njit(cache=True, nogil=True)
def _closest_gaussian(x: np.ndarray, values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the parameters (5,) of least squares, by the steps of Levenberg and Marquardt."""
    span = x[-1] - x[0]
    here = start.copy()
    misfit = values - gaussian(here, x)
    cost = np.sum(misfit**2)
    damping = 1e-2
    for _ in range(STEPS):
        slopes = _slopes(here, x)
        normal = slopes.T @ slopes
        pull = slopes.T @ misfit
        scale = np.diag(normal).copy()
        scale += 1e-12 * scale.max()
        step = np.linalg.solve(normal + damping * np.diag(scale), pull)
        there = here + step
        there[3:] = np.minimum(np.maximum(there[3:], math.log(LEAST_WIDTH * span)), math.log(1e3 * span))
        other = values - gaussian(there, x)
        other_cost = np.sum(other**2)
        gain = cost - other_cost
        if gain >= 0.0:
            here, misfit, cost = there, other, other_cost
            damping = max(0.3 * damping, 1e-12)
            if abs(step[2]) < CONVERGED * span and gain <= 1e-9 * cost:
                break
        else:
            damping *= 4.0
            if damping > 1e8:
                break
    return here


def fit_gaussians(x: np.ndarray, values: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the asymmetric Gaussians closest to curves, and which of them have their maximum in the range.

    Parameters
    ----------
    x
        (point,) at least six, increasing.
    values
        (curve, point).
    width
        First guess of both widths.

    Returns
    -------
    tuple
        Parameters (curve, 5): level, height, place, ln width before, ln width after; and whether this is a
        maximum between the first and the last point (curve,).
    """
    found = np.empty((len(values), N_PEAK))
    values = np.ascontiguousarray(values)
    guess = math.log(width)
    for k, curve in enumerate(values):
        low, top = curve.min(), int(curve.argmax())
        start = np.array([low, curve[top] - low, x[top], guess, guess])
        found[k] = _closest_gaussian(x, curve, start)
    good = np.isfinite(found).all(axis=1) & (found[:, 1] > 0)
    return found, good & (found[:, 2] > x[0]) & (found[:, 2] < x[-1])


def gaussian_response(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the change of the place of a fitted Gaussian (5,) with each point (x,)."""
    return np.asarray(np.linalg.pinv(_slopes(parameters, x))[2])


def fit_polynomials(
    x: np.ndarray, values: np.ndarray, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the polynomials closest to curves, their maxima, and which maxima are within the range.

    Returns
    -------
    tuple
        Coefficients (curve, order + 1) of powers of u = (x − middle)/half range, lowest first; places
        (curve,) in `x`; and whether each is a maximum inside (curve,).
    """
    middle, half = 0.5 * (x[0] + x[-1]), 0.5 * (x[-1] - x[0])
    powers = np.vander((x - middle) / half, order + 1, increasing=True)
    found = np.linalg.lstsq(powers, values.T, rcond=None)[0].T
    grid = np.linspace(-1.0, 1.0, 401)
    place = grid[np.argmax(found @ np.vander(grid, order + 1, increasing=True).T, axis=1)]
    for _ in range(4):
        slope, curvature = _derivatives(found, place)
        down = curvature < 0
        place = np.clip(place - np.where(down, slope, 0.0) / np.where(down, curvature, 1.0), -1.0, 1.0)
    return found, middle + half * place, np.abs(place) < 1.0


def _derivatives(coefficients: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivatives of polynomials (curve, order + 1) at u (curve,)."""
    order = coefficients.shape[1] - 1
    first = coefficients[:, 1:] * np.arange(1, order + 1)
    second = first[:, 1:] * np.arange(1, order)
    return (
        np.sum(first * np.vander(u, order, increasing=True), axis=1),
        np.sum(second * np.vander(u, order - 1, increasing=True), axis=1),
    )


def polynomial(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return a polynomial (order + 1,) of `fit_polynomials` at the points that it was fitted to."""
    u = (x - 0.5 * (x[0] + x[-1])) / (0.5 * (x[-1] - x[0]))
    return np.vander(u, coefficients.size, increasing=True) @ coefficients


def polynomial_response(coefficients: np.ndarray, place: float, x: np.ndarray) -> np.ndarray:
    """Return the change of the place of the maximum of a polynomial (order + 1,) with each point (x,)."""
    middle, half = 0.5 * (x[0] + x[-1]), 0.5 * (x[-1] - x[0])
    order = coefficients.size - 1
    u = (place - middle) / half
    solve = np.linalg.pinv(np.vander((x - middle) / half, order + 1, increasing=True))
    slope = np.arange(1, order + 1) * u ** np.arange(order)
    _, curvature = _derivatives(coefficients[np.newaxis], np.array([u]))
    return np.asarray(-half / curvature[0] * (slope @ solve[1:]))
