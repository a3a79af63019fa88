"""Fourier sums at any frequencies of points, steps and ramps in time, on plain arrays.

A function of time is a sum of terms, each with a time, a weight and an order: a point (order 0), a step (1)
or a ramp (2) that begins then. Counts are points, good time is steps up and down, a rate that changes along
straight lines is steps and ramps.

The sum of weight · exp(iφ) over points, φ = 2π (f t + ½ ḟ t²), is taken on a grid of equal steps in f by
spreading every point over a finer grid, one FFT, and division by the transform of the spreading kernel
exp(β (√(1 − z²) − 1)) (Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479). The transform
of a step or a ramp of f > 0 is i/ω or (i/ω)² times that of a point, ω = 2πf.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = ["Frequencies", "Terms", "frequencies", "transform"]

#: points of the fine grid that each point is spread over: sums are exact to about 1e-9 of the sum of |weight|
WIDTH = 10
#: form of the spreading kernel for a grid of twice the frequencies
BETA = 2.3 * WIDTH
#: steps of frequency are equal if they differ by less than this part of them
SAME_STEP = 1e-6


class Terms(NamedTuple):
    """A function of time: (term,) time in s, weight, and order 0 (point), 1 (step) or 2 (ramp)."""

    time: np.ndarray
    weight: np.ndarray
    order: np.ndarray

    @classmethod
    def points(cls, time: np.ndarray, weight: np.ndarray) -> Terms:
        """Return a sum of points."""
        return cls(time, weight, np.zeros(time.size, dtype=np.int8))


class Frequencies(NamedTuple):
    """Frequencies in Hz, and their step if it is the same everywhere, else 0."""

    values: np.ndarray
    step: float


def frequencies(values: np.ndarray) -> Frequencies:
    """Return frequencies with their step."""
    if values.size < 2:
        return Frequencies(values, 0.0)
    step = (values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    same = step != 0.0 and np.abs(values - even).max() < SAME_STEP * abs(step)
    return Frequencies(values, float(step) if same else 0.0)


def transform(terms: Terms, frequency: Frequencies, derivative: float, harmonic: int) -> np.ndarray:
    """Return the Fourier transform of a function at a multiple of each frequency, (frequency,) complex.

    Parameters
    ----------
    terms
        The function; times from where the phase is 0.
    frequency
        Of the fundamental.
    derivative
        ḟ in Hz/s.
    harmonic
        Multiple of the phase, from 0; at 0 only points can be summed.

    Notes
    -----
    With ḟ ≠ 0 the transform of steps and ramps takes the frequency to be the same at all times: it is exact
    to the part ḟ t/f.
    """
    total = np.zeros(frequency.values.size, dtype=np.complex128)
    omega = 2.0 * np.pi * harmonic * frequency.values
    for order in range(3):
        chosen = terms.order == order
        if chosen.any():
            sums = _points(terms.time[chosen], terms.weight[chosen], frequency, derivative, harmonic)
            total += sums if order == 0 else sums * (1j / omega) ** order
    return total


def _points(
    time: np.ndarray, weight: np.ndarray, frequency: Frequencies, derivative: float, harmonic: int
) -> np.ndarray:
    """Return Σ weight exp(i harmonic φ) at each frequency; on a grid unless that costs more."""
    values = harmonic * frequency.values
    half_derivative = 0.5 * harmonic * derivative
    if frequency.step == 0.0 or values.size <= WIDTH or time.size < WIDTH:
        return _direct(time, weight, values, half_derivative)
    step = harmonic * frequency.step
    return _gridded(time, weight, values[0], step, values.size, half_derivative)


@njit(cache=True, nogil=True)
def _direct(
    time: np.ndarray, weight: np.ndarray, frequency: np.ndarray, half_derivative: float
) -> np.ndarray:
    """Return the sums term by term."""
    total = np.zeros(frequency.size, dtype=np.complex128)
    for j in range(frequency.size):
        real, imaginary = 0.0, 0.0
        for i in range(time.size):
            cycles = (frequency[j] + half_derivative * time[i]) * time[i]
            angle = 2.0 * np.pi * (cycles - np.floor(cycles))
            real += weight[i] * np.cos(angle)
            imaginary += weight[i] * np.sin(angle)
        total[j] = complex(real, imaginary)
    return total


def _gridded(
    time: np.ndarray, weight: np.ndarray, first: float, step: float, count: int, half_derivative: float
) -> np.ndarray:
    """Return the sums at ``first + step * arange(count)``."""
    from scipy.fft import ifft, next_fast_len

    size = next_fast_len(max(2 * count, 2 * WIDTH))
    middle = count // 2
    grid = np.zeros(size, dtype=np.complex128)
    _spread(time, weight, first + middle * step, step, half_derivative, grid)
    mode = np.arange(count) - middle
    return ifft(grid)[mode] * size / _kernel_transform(mode / size)


@njit(cache=True, nogil=True)
def _spread(
    time: np.ndarray,
    weight: np.ndarray,
    centre: float,
    step: float,
    half_derivative: float,
    grid: np.ndarray,
) -> None:
    """Add every point, turned by its phase at the central frequency, to the cells of a periodic grid."""
    size = grid.size
    for i in range(time.size):
        cycles = (centre + half_derivative * time[i]) * time[i]
        angle = 2.0 * np.pi * (cycles - np.floor(cycles))
        value = weight[i] * complex(np.cos(angle), np.sin(angle))
        turns = step * time[i]
        place = (turns - np.floor(turns)) * size
        cell = int(np.ceil(place - 0.5 * WIDTH))
        for k in range(cell, cell + WIDTH):
            z = (k - place) * (2.0 / WIDTH)
            inside = 1.0 - z * z
            if inside > 0.0:
                grid[k % size] += value * np.exp(BETA * (np.sqrt(inside) - 1.0))


def _kernel_transform(frequency: np.ndarray) -> np.ndarray:
    """Return the Fourier transform of the spreading kernel, frequency in cycles per cell."""
    z, weight = np.polynomial.legendre.leggauss(4 * WIDTH)
    value = weight * np.exp(BETA * (np.sqrt(1.0 - z * z) - 1.0)) * (0.5 * WIDTH)
    return np.cos(np.pi * WIDTH * np.outer(frequency, z)) @ value
