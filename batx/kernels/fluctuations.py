"""Measures of how much a curve varies beyond its noise, on plain arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["excess_variance", "fast_power", "shortest_part"]


def shortest_part(net: np.ndarray, width: np.ndarray, fraction: float) -> float:
    """Return the least time in which a fraction of the net signal is collected, brightest bins first.

    Parameters
    ----------
    net, width
        (bin,) rate and s.
    fraction
        Between 0 and 1.
    """
    order = np.argsort(net)[::-1]
    reached = np.cumsum((net * width)[order])
    goal = fraction * float(np.sum(net * width))
    k = int(np.argmax(reached >= goal))
    before = reached[k - 1] if k else 0.0
    return float(width[order[:k]].sum() + width[order[k]] * (goal - before) / (reached[k] - before))


def fast_power(
    net: np.ndarray, variance: np.ndarray, inside: np.ndarray, smoothing: float
) -> tuple[float, float]:
    """Return the part of the power of a curve that is faster than a moving mean, and its error.

    V = Σ [(C_i − S_i)² − var(C_i − S_i)] / Σ [C_i² − σ_i²], S the mean over `smoothing` bins (Reichart et al.
    2001, ApJ 552, 57, without redshift). With d = C − S = A C the error is that of the quadratic form
    K = (AᵀA − V)/Σ[…] at fixed V: its variance is 4 Σ σ²(KC)² − 2 Σ K² σ² σ², where measured C hold the noise
    once more than true ones.

    Parameters
    ----------
    net, variance
        (bin,) of one width.
    inside
        (bin,) which bins are summed over; those outside are only smoothed with.
    smoothing
        Length of the moving mean in bins, whole or not.
    """
    from scipy.sparse import diags_array, eye_array

    n = net.size
    half = 0.5 * max(smoothing, 1.0)
    reach = min(int(np.ceil(half - 0.5)), n - 1)
    offsets = np.arange(-reach, reach + 1)
    weights = np.clip(half + 0.5 - np.abs(offsets), 0.0, 1.0)
    kernel = diags_array(
        [np.full(n - abs(k), w) for k, w in zip(offsets, weights, strict=True)], offsets=offsets
    )
    mean = diags_array(1.0 / kernel.sum(axis=1)) @ kernel
    rows = diags_array(inside.astype(np.float64))
    fast = rows @ (eye_array(n) - mean)
    form = (fast.T @ fast).tocsr()
    total = float(np.sum((net**2 - variance)[inside]))
    value = float(net @ (form @ net) - form.diagonal() @ variance) / total
    form = (form - value * rows) / total
    gradient = form @ net
    spread = 4.0 * np.sum(variance * gradient**2) - 2.0 * float(variance @ (form.power(2) @ variance))
    return value, float(np.sqrt(spread)) if spread > 0 else np.nan


def excess_variance(rate: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Return the normalised excess variance x = (S² − ⟨σ²⟩)/r̄² of rates, and its error.

    Source: Nandra et al. 1997, ApJ 476, 70. With g_i = 2 (r_i − r̄)/((n − 1) r̄²) − 2 x/(n r̄), the change with
    each rate, its variance is Σ σ² g² − 2 Σ σ⁴/((n − 1)² r̄⁴), where measured rates hold the noise once more
    than true ones. (The formula of Vaughan et al. 2003, MNRAS 345, 1271, leaves out the error of the mean; on
    bursts it is too small by a third.)
    """
    n, mean = rate.size, float(np.mean(rate))
    value = float((np.var(rate, ddof=1) - np.mean(error**2)) / mean**2)
    slope = 2.0 * (rate - mean) / ((n - 1) * mean**2) - 2.0 * value / (n * mean)
    spread = np.sum((error * slope) ** 2) - 2.0 * np.sum(error**4) / ((n - 1) ** 2 * mean**4)
    return value, float(np.sqrt(spread)) if spread > 0 else np.nan
