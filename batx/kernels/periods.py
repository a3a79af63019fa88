"""Is there a period? Statistics of harmonics and of folded profiles, and how likely noise exceeds them.

Harmonics. With g = (cos φ, sin φ, cos 2φ, sin 2φ, …) at each datum, data x, expectation m of a constant and
variance v, the score of n harmonics against a constant is

    u = Σ x g − (Σ x / Σ m) Σ m g,   V = Σ v (g − ḡ)(g − ḡ)ᵀ,   ḡ = Σ m g / Σ m,   Z²ₙ = uᵀ V⁻¹ u,

which is χ² of 2n degrees of freedom in noise. For events without gaps V is N/2 on the diagonal and Z²ₙ that
of Buccheri et al. 1983, A&A 128, 245; for values with errors it is the χ² by which n harmonics improve a
constant (Palmer 2009, ApJ 695, 496). Gaps, uneven exposure and the ends of the data are in Σ m g and V, so
they make no false peaks.

The H statistic is the largest Z²ₘ − 4m + 4 of m ≤ n (de Jager, Raubenheimer & Swanepoel 1989, A&A 221, 180).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from batx.compiling import njit

__all__ = [
    "above_noise",
    "crossings",
    "expected_h",
    "expected_z2",
    "folded_power",
    "h_statistic",
    "harmonic_power",
    "probability_h",
    "survival",
    "threshold",
]

#: a direction of which less than this part is left besides the others tells nothing
DEGENERATE = 1e-9


@njit(cache=True, nogil=True)
def _product(variance: np.ndarray, a: int, b: int) -> float:
    """Return Σ v g_a g_b from Σ v exp(ikφ) (harmonic,)."""
    k, el = a // 2 + 1, b // 2 + 1
    plus, minus = variance[k + el], variance[abs(k - el)]
    sine = minus.imag if k >= el else -minus.imag  # Σ v sin (k − l)φ
    if a % 2 == 0 and b % 2 == 0:
        return 0.5 * (minus.real + plus.real)
    if a % 2 == 1 and b % 2 == 1:
        return 0.5 * (minus.real - plus.real)
    return 0.5 * (plus.imag + sine) if a % 2 == 1 else 0.5 * (plus.imag - sine)


@njit(cache=True, nogil=True)
def harmonic_power(data: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return Z² of 1, 2, … n harmonics (frequency, harmonic).

    Parameters
    ----------
    data
        Σ x exp(ikφ), (frequency, n + 1), k from 0.
    mean
        Σ m exp(ikφ), (frequency, n + 1).
    variance
        Σ v exp(ikφ), (frequency, 2n + 1).
    """
    n_frequencies, n = data.shape[0], data.shape[1] - 1
    size = 2 * n
    power = np.zeros((n_frequencies, n))
    u, average, first = np.zeros(size), np.zeros(size), np.zeros(size)
    lower = np.zeros((size, size))
    for j in range(n_frequencies):
        level, total = mean[j, 0].real, variance[j, 0].real
        for a in range(size):
            k = a // 2 + 1
            m, v, x = mean[j, k] / level, variance[j, k], data[j, k]
            average[a], first[a], u[a] = m.real, v.real, x.real
            if a % 2 == 1:
                average[a], first[a], u[a] = m.imag, v.imag, x.imag
            u[a] -= data[j, 0].real * average[a]
        sum_of_squares = 0.0
        for a in range(size):
            # a row of the Cholesky factor of V, and with it the next element of L⁻¹ u
            for b in range(a + 1):
                value = _product(variance[j], a, b) + total * average[a] * average[b]
                value -= average[a] * first[b] + first[a] * average[b]
                for c in range(b):
                    value -= lower[a, c] * lower[b, c]
                if b < a:
                    lower[a, b] = value / lower[b, b] if lower[b, b] > 0.0 else 0.0
                else:
                    lower[a, a] = math.sqrt(value) if value > DEGENERATE * total else 0.0
            rest = u[a]
            for c in range(a):
                rest -= lower[a, c] * u[c]
            u[a] = rest / lower[a, a] if lower[a, a] > 0.0 else 0.0
            sum_of_squares += u[a] * u[a]
            if a % 2 == 1:
                power[j, a // 2] = sum_of_squares
    return power


def h_statistic(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return H and the number of harmonics it is reached with, from Z² of 1 … n harmonics (…, harmonic)."""
    reduced = power - 4.0 * np.arange(power.shape[-1])
    return reduced.max(axis=-1), reduced.argmax(axis=-1) + 1


def folded_power(data: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """Return χ² of a folded profile against a constant, from Σ x, Σ m and Σ v by bin of phase.

    Bins of phase without variance count as nothing.
    """
    difference = data - data.sum() / mean.sum() * mean
    good = variance > 0.0
    return float(np.sum(difference[good] ** 2 / variance[good]))


def crossings(power: np.ndarray, harmonics: int, spread: float, width: float) -> np.ndarray:
    """Return how often Z² of noise rises above a level while the frequency runs over a range.

    Parameters
    ----------
    power
        Level of Z², of any shape.
    harmonics
        n.
    spread
        Standard deviation of the times of the data, s.
    width
        Of the range, Hz.

    Notes
    -----
    E = 2π s Δf E√Q z^((ν−1)/2) e^(−z/2) / (√π 2^(ν/2) Γ((ν+1)/2)) with ν = 2n and Q = Σ k² χ²₂, because
    the k-th harmonic changes by 2πk s per Hz (Davies 1987, Biometrika 74, 33; Baluev 2009, MNRAS 395, 1541).
    """
    from scipy.special import gammaln

    k = np.arange(1, harmonics + 1, dtype=np.float64)
    factors = k[:, None] ** 2 / (k[:, None] ** 2 - k**2 + np.eye(harmonics) * k**2)
    change = math.sqrt(0.5 * math.pi) * float(np.sum(k * factors.prod(axis=1)))
    nu = 2 * harmonics
    power = np.maximum(power, np.finfo(np.float64).tiny)
    logarithm = 0.5 * (nu - 1) * np.log(power) - 0.5 * power
    logarithm += -0.5 * math.log(math.pi) - 0.5 * nu * math.log(2.0) - gammaln(0.5 * (nu + 1))
    return 2.0 * math.pi * spread * width * change * np.exp(logarithm)


def survival(power: np.ndarray, dof: int) -> np.ndarray:
    """Return the probability that χ² of `dof` degrees of freedom exceeds a value."""
    from scipy.special import chdtrc

    return chdtrc(float(dof), np.maximum(power, 0.0))


def expected_z2(power: np.ndarray, harmonics: int, spread: float, width: float, count: int) -> np.ndarray:
    """Return how many times noise is expected to reach a level of Z² in a search of `count` frequencies.

    The smaller of two upper limits: single trials; and a beginning above the level or rises to it
    (`crossings`, which also has the parameters).
    """
    single = survival(power, 2 * harmonics)
    return np.minimum(count * single, single + crossings(power, harmonics, spread, width))


def expected_h(power: np.ndarray, harmonics: int, spread: float, width: float, count: int) -> np.ndarray:
    """Return how many times noise is expected to reach a level of H (see `expected_z2`).

    The smaller of single trials, exp(−0.4 H) each (de Jager & Büsching 2010, A&A 517, L9), and the sum over
    the numbers of harmonics of what is expected of their Z².
    """
    rises = sum(
        survival(level, 2 * m) + crossings(level, m, spread, width)
        for m, level in ((m, power + 4.0 * (m - 1)) for m in range(1, harmonics + 1))
    )
    return np.minimum(count * probability_h(power), rises)


def probability_h(power: np.ndarray) -> np.ndarray:
    """Return the probability of at least a value of H in noise."""
    return np.exp(-0.4 * np.maximum(power, 0.0))


def threshold(expected: Callable[[float], float], number: float) -> float:
    """Return the level of which a number is expected; `expected` falls with the level."""
    from scipy.optimize import brentq

    low, high = 1.0, 2.0
    while expected(high) > number:
        low, high = high, 2.0 * high
    while expected(low) < number and low > 1e-6:
        low, high = 0.5 * low, low
    return float(brentq(lambda level: np.log(max(expected(level), 1e-300) / number), low, high))


def above_noise(expected: np.ndarray) -> np.ndarray:
    """Return the probability that something happens of which a number is expected: 1 − exp(−expected)."""
    return -np.expm1(-expected)
