"""Bursts as sums of pulses, fitted, and how long such a sum lasts, on plain arrays.

The pulse is that of Norris et al. 2005, ApJ 627, 324, A e^{2μ} exp(−τ₁/x − x/τ₂), x > 0 the time since its
start, μ = √(τ₁/τ₂), in terms of its peak: with p the time of the peak and s = √(τ₁ τ₂), v = 1 + (t − p)/s, it
is A exp(−μ (v + 1/v − 2)) for v > 0. Width w = τ₂ √(1 + 4μ) and asymmetry κ = τ₂/w go from a Gaussian (κ → 0)
to a sudden rise and exponential decay (κ → 1). The parameters of a pulse are ln A, p, ln w, ln(κ/(1 − κ)).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["N_PARAMETERS", "central_interval", "fit_pulses", "posterior_intervals", "pulse_sum"]

N_PARAMETERS = 4
#: steps of a chain for each sample, and the largest variance along an axis of its steps
THINNING, MAX_VARIANCE = 10, 4.0
#: rounds in which steps are adapted, and their length
PILOTS, PILOT_STEPS = 5, 800
#: points of time within a bin at which pulses are evaluated
SUBBINS = 4
#: logarithms beyond these are taken to be these
LIMIT, ODDS_LIMIT = 50.0, 6.0
#: standard deviations of the priors of ln width and of the logarithm of the asymmetry's odds
PRIOR_WIDTHS = np.array([1.5, 2.0])


@njit(cache=True, nogil=True)
def pulse_sum(parameters: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the sum of pulses (pulse, 4) at times (time,)."""
    total = np.zeros(times.size)
    for k in range(parameters.shape[0]):
        height = math.exp(min(parameters[k, 0], LIMIT))
        peak, width = parameters[k, 1], math.exp(min(max(parameters[k, 2], -LIMIT), LIMIT))
        kappa = 1.0 / (1.0 + math.exp(-min(max(parameters[k, 3], -ODDS_LIMIT), ODDS_LIMIT)))
        mu = 0.25 * (1.0 / (kappa * kappa) - 1.0)
        scale = kappa * width * mu
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


@njit(cache=True, nogil=True)
def _misfit(
    parameters: np.ndarray,
    start: np.ndarray,
    lower: np.ndarray,
    width: np.ndarray,
    rate: np.ndarray,
    error: np.ndarray,
) -> float:
    """Return −2 ln posterior, without a constant."""
    model = binned_pulses(parameters, lower, width)
    total = np.sum(((rate - model) / error) ** 2)
    for k in range(parameters.shape[0]):
        for j in range(2):
            total += ((parameters[k, 2 + j] - start[k, 2 + j]) / PRIOR_WIDTHS[j]) ** 2
    return total


@njit(cache=True, nogil=True)
def sample_pulses(
    fitted: np.ndarray,
    start: np.ndarray,
    root: np.ndarray,
    lower: np.ndarray,
    width: np.ndarray,
    rate: np.ndarray,
    error: np.ndarray,
    normals: np.ndarray,
    uniforms: np.ndarray,
) -> np.ndarray:
    """Return (step, pulse, 4) a chain of Metropolis steps of root @ normals around the fit."""
    n_steps = normals.shape[0]
    chain = np.empty((n_steps, fitted.shape[0], fitted.shape[1]))
    here = fitted.copy()
    value = _misfit(here, start, lower, width, rate, error)
    for step in range(n_steps):
        there = here + (root @ normals[step]).reshape(here.shape)
        other = _misfit(there, start, lower, width, rate, error)
        if math.log(uniforms[step]) < 0.5 * (value - other):
            here, value = there, other
        chain[step] = here
    return chain


def central_interval(parameters: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return (part, 2) the times between which a sum of pulses has the central parts of its fluence."""
    width = np.exp(parameters[:, 2])
    grid = np.unique(
        np.concatenate(
            [p + w * np.linspace(-6.0, 15.0, 800) for p, w in zip(parameters[:, 1], width, strict=True)]
        )
    )
    rate = pulse_sum(parameters, grid)
    rise = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(grid))])
    rise /= rise[-1]
    levels = np.column_stack([0.5 * (1.0 - parts), 0.5 * (1.0 + parts)])
    return np.interp(levels, rise, grid)


def posterior_intervals(
    lower: np.ndarray,
    width: np.ndarray,
    rate: np.ndarray,
    error: np.ndarray,
    parts: np.ndarray,
    n_samples: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, int]:
    """Return (sample, part, 2) central intervals of pulses drawn from their posterior, and how many pulses.

    A chain of Metropolis steps begins at the fit, with steps of 2/√d of its covariance, d the number of
    parameters. Steps then follow the covariance of the chain itself, or shrink if they are hardly ever taken,
    in `PILOTS` rounds, which are dropped; of what follows every `THINNING`-th step is a sample. There are no
    samples if no pulse describes the data better than none.
    """
    fitted, start, covariance = fit_pulses(lower, width, rate, error)
    if not len(fitted):
        return np.empty((0, parts.size, 2)), 0
    data = (lower, width, rate, error)

    def walk(here: np.ndarray, root: np.ndarray, n_steps: int) -> np.ndarray:
        normals, uniforms = random.normal(size=(n_steps, fitted.size)), random.random(n_steps)
        return sample_pulses(here, start, root, *data, normals, uniforms)

    root = _root(covariance)
    here = fitted
    for _ in range(PILOTS):
        chain = walk(here, root, PILOT_STEPS)
        here = chain[-1]
        moved = np.mean(np.any(np.diff(chain, axis=0) != 0, axis=(1, 2)))
        root = _root(np.cov(chain.reshape(PILOT_STEPS, -1).T)) if moved > 0.1 else 0.4 * root
    drawn = walk(here, root, THINNING * n_samples)[THINNING - 1 :: THINNING]
    return np.array([central_interval(parameters, parts) for parameters in drawn]), len(fitted)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return what turns unit normals into steps of 2/√d of a covariance."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return vectors * np.sqrt(np.clip(values, 0.0, MAX_VARIANCE)) * 2.0 / np.sqrt(len(values))
