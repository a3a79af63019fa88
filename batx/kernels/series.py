"""What a search for periods sums: bins or events, what is expected of them, and their noise; plain arrays.

Times count from where the phase φ = f t + ½ ḟ t² is 0.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from batx.compiling import njit
from batx.kernels import gti
from batx.kernels.fourier import Frequencies, Terms, transform

__all__ = [
    "BinSeries",
    "EventSeries",
    "Lines",
    "Sums",
    "dispersion",
    "fold_lines",
    "fold_points",
    "slow_line",
]

#: bins per knot of slow changes, at least; straight pieces per knot; and how much knots without data are held
BINS_A_KNOT, PIECES, RIDGE = 4, 8, 1e-9


class Lines(NamedTuple):
    """A function of pieces of straight lines: (piece,) start, stop (s), value at the start, and slope.

    Pieces are in order and do not overlap; between them the function is 0.
    """

    start: np.ndarray
    stop: np.ndarray
    value: np.ndarray
    slope: np.ndarray

    def at(self, time: np.ndarray) -> np.ndarray:
        """Return the values at times, those before the first and after the last piece by its line."""
        piece = np.clip(np.searchsorted(self.start, time, side="right") - 1, 0, None)
        return self.value[piece] + self.slope[piece] * (time - self.start[piece])

    def within(self, start: np.ndarray, stop: np.ndarray) -> Lines:
        """Return the function within intervals, which the first and the last piece are prolonged to."""
        lower, upper = self.start.copy(), np.append(self.start[1:], np.inf)
        lower[0] = -np.inf
        begin, end = gti.intersection((lower, upper), (start, stop))
        piece = np.clip(np.searchsorted(self.start, begin, side="right") - 1, 0, None)
        return Lines(begin, end, self.at(begin), self.slope[piece])

    @property
    def integral(self) -> float:
        """Integral over all pieces."""
        length = self.stop - self.start
        return float(np.sum((self.value + 0.5 * self.slope * length) * length))

    @property
    def terms(self) -> Terms:
        """The function as steps and ramps."""
        end = self.value + self.slope * (self.stop - self.start)
        time = np.concatenate([self.start, self.stop, self.start, self.stop])
        order = np.repeat(np.array([1, 2], dtype=np.int8), 2 * self.start.size)
        return Terms(time, np.concatenate([self.value, -end, self.slope, -self.slope]), order)


class Sums(NamedTuple):
    """Σ x, Σ m and Σ v of the data, each times exp(ikφ) or by bin of phase (see `batx.kernels.periods`)."""

    data: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


class BinSeries(NamedTuple):
    """Bins: (bin,) time s, data x, what is expected of them, expectation of a constant m, and variance v.

    If `counted`, the data are counts, else values times 1/σ².
    """

    time: np.ndarray
    data: np.ndarray
    expected: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    counted: bool

    def moments(self, frequency: Frequencies, derivative: float, n: int) -> Sums:
        """Return the sums times exp(ikφ), k from 0: (frequency, n + 1) of data and mean, 2n + 1 of v.

        What is expected is taken off the data.
        """
        rows = ((self.data - self.expected, n), (self.mean, n), (self.variance, 2 * n))
        return Sums(
            *(_moments(Terms.points(self.time, x), float(x.sum()), frequency, derivative, k) for x, k in rows)
        )

    def folded(self, frequency: float, derivative: float, n_bins: int) -> Sums:
        """Return the sums in each bin of phase (phase,); a bin of time is where its middle is."""
        columns = np.stack([self.data - self.expected, self.mean, self.variance])
        return Sums(*fold_points(self.time, columns, frequency, 0.5 * derivative, n_bins))

    def measured(self, frequency: float, derivative: float, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the data and of their measured variance by bin of phase."""
        columns = np.stack([self.data, self.data if self.counted else self.variance])
        data, variance = fold_points(self.time, columns, frequency, 0.5 * derivative, n_bins)
        return data, variance

    @property
    def level(self) -> float:
        """Mean of what is expected, in units of m."""
        return float(self.expected.sum() / self.mean.sum())

    @property
    def spread(self) -> float:
        """Standard deviation of the times, weighted with the variance of the data, s."""
        return _spread(self.time, self.variance)


class EventSeries(NamedTuple):
    """Events: (event,) time s and weight; good time, and the rate expected within it.

    If `counted`, weights are 1 and the variance is what is expected; else it is that of the weights.
    """

    time: np.ndarray
    weight: np.ndarray
    live: Lines
    expected: Lines
    counted: bool

    def moments(self, frequency: Frequencies, derivative: float, n: int) -> Sums:
        """As `BinSeries.moments`; the expected rate is taken off the data."""

        def lines(function: Lines, count: int) -> np.ndarray:
            return _moments(function.terms, function.integral, frequency, derivative, count)

        def points(weight: np.ndarray, count: int) -> np.ndarray:
            return _moments(
                Terms.points(self.time, weight), float(weight.sum()), frequency, derivative, count
            )

        background = lines(self.expected, 2 * n if self.counted else n)
        variance = background if self.counted else points(self.weight**2, 2 * n)
        return Sums(points(self.weight, n) - background[:, : n + 1], lines(self.live, n), variance)

    def folded(self, frequency: float, derivative: float, n_bins: int) -> Sums:
        """As `BinSeries.folded`; good time is divided exactly."""
        data, square = self.measured(frequency, derivative, n_bins)
        live, expected = (
            fold_lines(*function, frequency, derivative, n_bins) for function in (self.live, self.expected)
        )
        return Sums(data - expected, live, expected if self.counted else square)

    def measured(self, frequency: float, derivative: float, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
        """As `BinSeries.measured`: Σw and Σw²."""
        columns = np.stack([self.weight, self.weight**2])
        data, square = fold_points(self.time, columns, frequency, 0.5 * derivative, n_bins)
        return data, square

    @property
    def level(self) -> float:
        """Mean of the rate expected."""
        return self.expected.integral / self.live.integral

    @property
    def spread(self) -> float:
        """Standard deviation of the times, s."""
        return _spread(self.time, self.weight**2)


def _spread(time: np.ndarray, weight: np.ndarray) -> float:
    middle = np.average(time, weights=weight)
    return float(np.sqrt(np.average((time - middle) ** 2, weights=weight)))


def _moments(terms: Terms, total: float, frequency: Frequencies, derivative: float, count: int) -> np.ndarray:
    """Return the transform at 0, 1, … `count` times each frequency, (frequency, count + 1)."""
    made = np.empty((frequency.values.size, count + 1), dtype=np.complex128)
    made[:, 0] = total
    for k in range(1, count + 1):
        made[:, k] = transform(terms, frequency, derivative, k)
    return made


@njit(cache=True, nogil=True)
def fold_points(
    time: np.ndarray, columns: np.ndarray, frequency: float, half_derivative: float, n_bins: int
) -> np.ndarray:
    """Return the sums of columns (column, datum) in bins of phase (column, phase)."""
    sums = np.zeros((columns.shape[0], n_bins))
    for i in range(time.size):
        cycles = (frequency + half_derivative * time[i]) * time[i]
        k = min(int((cycles - np.floor(cycles)) * n_bins), n_bins - 1)
        for c in range(columns.shape[0]):
            sums[c, k] += columns[c, i]
    return sums


@njit(cache=True, nogil=True)
def fold_lines(
    start: np.ndarray,
    stop: np.ndarray,
    value: np.ndarray,
    slope: np.ndarray,
    frequency: float,
    derivative: float,
    n_bins: int,
) -> np.ndarray:
    """Return the integral of pieces of straight lines over the times of each bin of phase (phase,).

    A bin of phase begins at t = 2q/(f + √(f² + 2ḟq)), q its number of cycles.
    """
    made = np.zeros(n_bins)
    for i in range(start.size):
        time = start[i]
        q = np.floor((frequency + 0.5 * derivative * time) * time * n_bins)
        while time < stop[i]:
            cycles = (q + 1.0) / n_bins
            end = 2.0 * cycles / (frequency + np.sqrt(frequency**2 + 2.0 * derivative * cycles))
            end = max(min(end, stop[i]), time)
            middle = 0.5 * (time + end) - start[i]
            made[int(q % n_bins)] += (value[i] + slope[i] * middle) * (end - time)
            time = end
            q += 1.0
    return made


def slow_line(time: np.ndarray, data: np.ndarray, mean: np.ndarray, spacing: float) -> Lines:
    """Return the slow changes of a rate: the cubic spline L that minimises Σ (x − m L)²/m.

    Its knots are about `spacing` s apart. It begins anew after gaps longer than `spacing`, and is constant
    where there are few bins. It is returned as straight lines between `PIECES` places per spacing.

    Parameters
    ----------
    time, data, mean
        (bin,) middles in order, x and m.
    """
    breaks = np.flatnonzero(np.diff(time) > spacing) + 1
    ends = [0, *breaks.tolist(), time.size]
    runs = [
        _line_of_run(time[low:high], data[low:high], mean[low:high], spacing) for low, high in pairwise(ends)
    ]
    return Lines(*(np.concatenate(parts) for parts in zip(*runs, strict=True)))


def _line_of_run(time: np.ndarray, data: np.ndarray, mean: np.ndarray, spacing: float) -> Lines:
    """Return the slow changes within a run of bins without a long gap."""
    from scipy.interpolate import BSpline
    from scipy.linalg import solveh_banded

    level = data.sum() / mean.sum()
    count = min(round((time[-1] - time[0]) / spacing), time.size // BINS_A_KNOT)
    if count == 0:
        return Lines(time[:1], time[-1:], np.array([level]), np.zeros(1))
    inner = np.linspace(time[0], time[-1], count + 1)
    knots = np.concatenate([inner[[0] * 3], inner, inner[[-1] * 3]])
    shapes = BSpline.design_matrix(time, knots, 3)
    normal = (shapes.T @ shapes.multiply(mean[:, None])).todia()
    bands = np.zeros((4, count + 3))
    for offset, diagonal in zip(normal.offsets, normal.data, strict=True):
        if offset >= 0:
            bands[3 - offset, offset:] = diagonal[offset : count + 3]
    bands[3] += RIDGE * bands[3].mean()
    coefficients = level + solveh_banded(bands, shapes.T @ (data - level * mean))
    places = np.linspace(time[0], time[-1], count * PIECES + 1)
    values = BSpline(knots, coefficients, 3)(places)
    return Lines(places[:-1], places[1:], values[:-1], np.diff(values) / np.diff(places))


def dispersion(time: np.ndarray, residual: np.ndarray, variance: np.ndarray, width: np.ndarray) -> float:
    """Return the variance of residuals over the expected one, from differences to both neighbours.

    Of three touching bins the middle is compared with the mean of the others, so that changes that are slow
    against the bins do not count: of a wave of ten bins 2.4 % of its variance does. 1 where no three touch.
    """
    good = variance > 0.0
    time, width = time[good], width[good]
    scaled = residual[good] / np.sqrt(variance[good])
    touching = np.abs(np.diff(time) - 0.5 * (width[1:] + width[:-1])) < 0.01 * width[1:]
    triples = touching[1:] & touching[:-1]
    if not triples.any():
        return 1.0
    return float(np.mean(np.diff(scaled, 2)[triples] ** 2) / 6.0)
