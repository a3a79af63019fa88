"""Bursts as sums of pulses, fitted, on plain arrays.

The pulse is that of Norris et al. 2005, ApJ 627, 324, A e^{2μ} exp(−τ₁/x − x/τ₂), x > 0 the time since its
start, μ = √(τ₁/τ₂), in terms of its peak: with p the time of the peak and s = √(τ₁ τ₂), v = 1 + (t − p)/s, it
is A exp(−μ (v + 1/v − 2)) for v > 0. Width w = τ₂ √(1 + 4μ) and asymmetry κ = τ₂/w go from a Gaussian (κ → 0)
to a sudden rise and exponential decay (κ → 1). The parameters of a pulse are ln A, p, ln w, ln(κ/(1 − κ)).
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit

__all__ = ["N_PARAMETERS", "binned_pulses", "fit_pulses", "pulse_sum", "shape_of"]

N_PARAMETERS = 4
#: points of time within a bin at which pulses are evaluated
SUBBINS = 4
#: logarithms beyond these are taken to be these
LIMIT, ODDS_LIMIT = 50.0, 6.0
#: standard deviations of the priors of ln width and of the logarithm of the asymmetry's odds
PRIOR_WIDTHS = np.array([1.5, 2.0])


@njit(cache=True, nogil=True)
def shape_of(pulse: np.ndarray) -> tuple[float, float, float]:
    """Return the width w, μ and s of a pulse (4,)."""
    width = math.exp(min(max(pulse[2], -LIMIT), LIMIT))
    kappa = 1.0 / (1.0 + math.exp(-min(max(pulse[3], -ODDS_LIMIT), ODDS_LIMIT)))
    mu = 0.25 * (1.0 / (kappa * kappa) - 1.0)
    return width, mu, kappa * width * mu


@njit(cache=True, nogil=True)
def pulse_sum(parameters: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the sum of pulses (pulse, 4) at times (time,)."""
    total = np.zeros(times.size)
    for k in range(parameters.shape[0]):
        height = math.exp(min(parameters[k, 0], LIMIT))
        peak = parameters[k, 1]
        _, mu, scale = shape_of(parameters[k])
        for i in range(times.size):
            v = 1.0 + (times[i] - peak) / scale
            if v > 0.0:
                total[i] += height * math.exp(-mu * (v + 1.0 / v - 2.0))
    return total


@njit(cache=True, nogil=True)
def binned_pulses(parameters: np.ndarray, lower: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the mean of the sum of pulses in each bin."""
    total = np.zeros(lower.size)
    for part in range(SUBBINS):
        total += pulse_sum(parameters, lower + width * ((part + 0.5) / SUBBINS))
    return total / SUBBINS


def _residuals(
    flat: np.ndarray,
    lower: np.ndarray,
    width: np.ndarray,
    rate: np.ndarray,
    error: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Return (rate − model)/error, and the distances from the broad priors of width and asymmetry."""
    parameters = flat.reshape(-1, N_PARAMETERS)
    misfit = (rate - binned_pulses(parameters, lower, width)) / error
    prior = (parameters[:, 2:] - start[:, 2:]) / PRIOR_WIDTHS
    return np.concatenate([misfit, prior.ravel()])


def _next_pulse(lower: np.ndarray, width: np.ndarray, excess: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return a pulse where a stretch of bins exceeds the model the most significantly."""
    best, found = -np.inf, np.zeros(N_PARAMETERS)
    total = np.concatenate([[0.0], np.cumsum(excess)])
    square = np.concatenate([[0.0], np.cumsum(error**2)])
    length = 1
    while length <= excess.size // 2:
        signal = total[length:] - total[:-length]
        snr = signal / np.sqrt(square[length:] - square[:-length])
        k = int(np.argmax(snr))
        if snr[k] > best:
            best = float(snr[k])
            span = lower[k + length - 1] + width[k + length - 1] - lower[k]
            height = max(signal[k] / length, 1e-12)
            found = np.array([np.log(height), lower[k] + 0.5 * span, np.log(0.5 * span), 0.0])
        length = max(length + 1, int(1.3 * length))
    return found


def fit_pulses(
    lower: np.ndarray, width: np.ndarray, rate: np.ndarray, error: np.ndarray, most: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fewest pulses that describe a light curve, by the Bayesian information criterion.

    Parameters
    ----------
    lower, width, rate, error
        (bin,) without background; errors positive.
    most
        Largest number of pulses.

    Returns
    -------
    tuple
        Parameters (pulse, 4), where their priors are centred (pulse, 4), and the covariance of the flattened
        parameters.
    """
    from scipy.optimize import least_squares

    start = np.empty((0, N_PARAMETERS))
    fitted, cost, solution = start, float(np.sum((rate / error) ** 2)), None
    while len(fitted) < most:
        excess = rate - binned_pulses(fitted, lower, width)
        pulse = _next_pulse(lower, width, excess, error)
        trial_start = np.vstack([start, pulse])
        trial = least_squares(
            _residuals,
            np.vstack([fitted, pulse]).ravel(),
            args=(lower, width, rate, error, trial_start),
            x_scale="jac",
            max_nfev=60,
        )
        if cost - 2.0 * trial.cost < N_PARAMETERS * np.log(rate.size):
            break
        start, fitted, cost, solution = (
            trial_start,
            trial.x.reshape(-1, N_PARAMETERS),
            2.0 * trial.cost,
            trial,
        )
    if solution is None:
        return fitted, start, np.empty((0, 0))
    return fitted, start, np.linalg.pinv(solution.jac.T @ solution.jac)
