"""Shapes of pulses in parameters to fit, and what follows from these, on plain arrays.

* ``norris2005``: A e^{2μ} exp(−τ₁/x − x/τ₂), x > 0 (Norris et al. 2005, ApJ 627, 324), as in
  `batx.kernels.pulses`: ln A, time of the peak, ln w, ln(κ/(1 − κ)).
* ``norris1996``: A exp(−(|t − t_peak|/σ)^ν), σ that of the rise or the decay (Norris et al. 1996, ApJ 459,
  393): ln A, time of the peak, ln σ_rise, ln σ_decay, ln ν.
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit
from batx.kernels.pulses import LIMIT, ODDS_LIMIT

__all__ = ["FITTED", "binned_shape", "described", "first_guess", "limits", "propagated"]

#: shape -> what its parameters stand for
FITTED = {
    "norris2005": ("amplitude", "peak_time", "width", "asymmetry"),
    "norris1996": ("amplitude", "peak_time", "rise", "decay", "peakedness"),
}
#: Gauss's rule on (0, 1)
NODES, WEIGHTS = (0.5 * (np.polynomial.legendre.leggauss(6)[k] + (1 - k)) for k in range(2))
#: ν between these
POWERS = (0.3, 10.0)


@njit(cache=True, nogil=True)
def _sudden(pulse: np.ndarray, time: float) -> float:
    """Return a pulse of Norris et al. 2005 at a time."""
    width = math.exp(min(max(pulse[2], -LIMIT), LIMIT))
    kappa = 1.0 / (1.0 + math.exp(-min(max(pulse[3], -ODDS_LIMIT), ODDS_LIMIT)))
    mu = 0.25 * (1.0 / (kappa * kappa) - 1.0)
    v = 1.0 + (time - pulse[1]) / (kappa * width * mu)
    return math.exp(min(pulse[0], LIMIT) - mu * (v + 1.0 / v - 2.0)) if v > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _start(pulse: np.ndarray) -> float:
    """Return when a pulse of Norris et al. 2005 begins."""
    kappa = 1.0 / (1.0 + math.exp(-min(max(pulse[3], -ODDS_LIMIT), ODDS_LIMIT)))
    scale = 0.25 * (1.0 / kappa - kappa) * math.exp(min(max(pulse[2], -LIMIT), LIMIT))
    return float(pulse[1] - scale)


@njit(cache=True, nogil=True)
def _stretched(pulse: np.ndarray, time: float) -> float:
    """Return a pulse of Norris et al. 1996 at a time."""
    apart = time - pulse[1]
    u = -apart * math.exp(-pulse[2]) if apart < 0 else apart * math.exp(-pulse[3])
    return math.exp(min(pulse[0], LIMIT) - u ** math.exp(pulse[4]))


@njit(cache=True, nogil=True)
def binned_shape(sudden: bool, parameters: np.ndarray, lower: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the mean of a sum of pulses in each bin (bin,), by Gauss's rule on either side of their peaks.

    Parameters
    ----------
    sudden
        Whether the shape is ``norris2005``; it is integrated from its start on.
    parameters
        (pulse, parameter).
    lower, width
        (bin,).
    """
    total = np.zeros(lower.size)
    for k in range(parameters.shape[0]):
        pulse = parameters[k]
        start = _start(pulse) if sudden else -np.inf
        for i in range(lower.size):
            first, last = max(lower[i], start), lower[i] + width[i]
            middle = min(max(pulse[1], first), last)
            for side in range(2):
                low, high = (first, middle) if side == 0 else (middle, last)
                if high > low:
                    for j in range(NODES.size):
                        time = low + (high - low) * NODES[j]
                        value = _sudden(pulse, time) if sudden else _stretched(pulse, time)
                        total[i] += WEIGHTS[j] * value * (high - low) / width[i]
    return total


def limits(shape: str, start: float, stop: float, step: float) -> list[tuple[float | None, float | None]]:
    """Return the limits of the parameters of a pulse within a stretch of time, seen in bins of a width."""
    place, width = (start, stop), (math.log(0.1 * step), math.log(10.0 * (stop - start)))
    if shape == "norris2005":
        return [(None, None), place, width, (-ODDS_LIMIT, ODDS_LIMIT)]
    return [(None, None), place, width, width, (math.log(POWERS[0]), math.log(POWERS[1]))]


def first_guess(shape: str, parameters: np.ndarray) -> np.ndarray:
    """Return parameters of a shape that resemble pulses of Norris et al. 2005 (pulse, 4)."""
    if shape == "norris2005":
        return parameters.copy()
    height, place, width, odds = parameters.T
    kappa = 1.0 / (1.0 + np.exp(-odds))
    rise, decay = 0.5 * np.exp(width) * (1.0 - kappa), 0.5 * np.exp(width) * (1.0 + kappa)
    return np.column_stack([height, place, np.log(rise), np.log(decay), np.full(height.size, np.log(1.5))])


def described(shape: str, pulse: np.ndarray) -> dict[str, float]:
    """Return what the parameters of a pulse mean, in the units of the light curve.

    For ``norris2005`` the widths are those between where the pulse is 1/e of its peak, with κ = τ₂/w,
    w = τ₂ √(1 + 4μ), rise = w (1 − κ)/2, decay = w (1 + κ)/2; the fluence is 2 A e^{2μ} √(τ₁τ₂) K₁(2μ).
    """
    from scipy.special import gamma, kve

    if shape == "norris2005":
        amplitude, width = math.exp(pulse[0]), math.exp(pulse[2])
        kappa = 1.0 / (1.0 + math.exp(-min(max(pulse[3], -ODDS_LIMIT), ODDS_LIMIT)))
        mu = 0.25 * (1.0 / kappa**2 - 1.0)
        tau2 = kappa * width
        return {
            "amplitude": amplitude,
            "peak_time": pulse[1],
            "width": width,
            "asymmetry": kappa,
            "rise": 0.5 * width * (1.0 - kappa),
            "decay": 0.5 * width * (1.0 + kappa),
            "start_time": pulse[1] - mu * tau2,
            "tau1": mu**2 * tau2,
            "tau2": tau2,
            "fluence": 2.0 * amplitude * mu * tau2 * float(kve(1, 2.0 * mu)),
        }
    amplitude, rise, decay, power = (math.exp(pulse[k]) for k in (0, 2, 3, 4))
    return {
        "amplitude": amplitude,
        "peak_time": pulse[1],
        "rise": rise,
        "decay": decay,
        "peakedness": power,
        "width": rise + decay,
        "asymmetry": (decay - rise) / (decay + rise),
        "fluence": amplitude * (rise + decay) * float(gamma(1.0 + 1.0 / power)),
    }


def propagated(shape: str, pulse: np.ndarray, covariance: np.ndarray) -> dict[str, float]:
    """Return the errors of what `described` gives, from the covariance of the parameters, to first order."""
    steps = np.where(np.diag(covariance) > 0, 0.01 * np.sqrt(np.abs(np.diag(covariance))), 1e-6)
    slopes = []
    for k, step in enumerate(steps):
        move = np.where(np.arange(pulse.size) == k, step, 0.0)
        up, down = (np.array(list(described(shape, pulse + sign * move).values())) for sign in (1.0, -1.0))
        slopes.append((up - down) / (2.0 * step))
    variance = np.einsum("ki,kl,li->i", slopes, covariance, slopes)
    return dict(zip(described(shape, pulse), np.sqrt(variance), strict=True))
