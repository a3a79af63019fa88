"""Descents to minima and profiles of the statistic of many spectra, which share few of their parameters.

Where a profile moves a parameter of one of many spectra, the others hardly move: only through what they
share. The counts that the model says for these are then taken from their expansion to second order around the
minimum; they are computed where a spectrum is moved further than `_NEAR`. The rise of the statistic after a
descent is always that of the computed one, and at the ends of profiles no expansion takes part in the last
descent. Private to `batx.fitting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from batx.fit_problems import Minimum, Problem, slope_of, statistic_of
from batx.fit_starts import reach
from batx.kernels.minimise import NO_END, End

__all__ = ["Surroundings", "end_of_profile"]

#: a spectrum whose model moved by less than this many squared standard deviations is near its expansion
_NEAR = 0.1
#: with less than this its curvature is that of the minimum
_ALIKE = 0.3
#: no descent takes more steps
_STEPS = 60


class Surroundings:
    """The statistic around a minimum, with expansions of what the model says for single spectra.

    Parameters
    ----------
    problem, minimum
        What was fitted, and where its minimum is.
    """

    def __init__(self, problem: Problem, minimum: Minimum) -> None:
        self.problem, self.minimum = problem, minimum
        values, spectra = minimum.values, range(len(problem.data))
        errors = np.sqrt(np.diag(minimum.covariance))[problem.free]
        self._slopes = [problem.own_slopes(values, k) for k in spectra]
        self._bends = [problem.own_bends(values, errors, k) for k in spectra]
        self._sizes = [problem.own_equations(values, k)[1] for k in spectra]
        self._curvatures = [problem.own_curvature(values, errors, k) for k in spectra]
        specs = [problem.layout.parameters[i].spec for i in problem.free]
        self.low, self.high = (
            np.array([getattr(spec, name) for spec in specs]) for name in ("minimum", "maximum")
        )

    def moved(self, place: int, distance: float, free: np.ndarray) -> np.ndarray:
        """Return values with the free parameters given within their limits, one so far from the minimum."""
        made, free = self.minimum.values.copy(), free.copy()
        free[place] = made[self.problem.free[place]] + distance
        made[self.problem.free] = np.clip(free, self.low, self.high)
        return made

    def height(self, values: np.ndarray) -> float:
        """Return the statistic, of the spectra that are near their expansions from these."""
        return self._height(values, self._near(values), None)

    def descend(
        self,
        values: np.ndarray,
        held: int | None = None,
        extra: Callable[[np.ndarray], float] | None = None,
        tolerance: float = 1e-4,
        exact: bool = False,
    ) -> np.ndarray:
        """Return values near the smallest statistic, with one of the free parameters kept where it is.

        Damped Newton steps, each of which must lower the statistic, or the sum of it and what `extra` gives
        for the values of all parameters. It stops when a step gains less than `tolerance`, or would
        gain less than a tenth of it; the next would gain much less. `exact`: no
        spectrum is taken from its expansion.
        """
        free, damping = self.problem.free, 1e-3
        specs = [self.problem.layout.parameters[i].spec for i in free]
        values, near = values.copy(), self._near(values) & (not exact)
        lowest = self._height(values, near, extra)
        for _ in range(_STEPS):
            slope, curvature = self._sums(values, near, extra)
            before, start = lowest, values[free]
            moved = ~((start <= self.low) & (slope > 0.0) | (start >= self.high) & (slope < 0.0))
            if held is not None:
                moved[held] = False
            while damping < 1e10:
                step = _newton(curvature, slope, moved, damping)
                if step is not None:
                    if -step @ (slope + 0.5 * curvature @ step) < 0.1 * tolerance:  # what it would gain
                        break
                    values[free] = np.where(moved, np.clip(start + step, *reach(specs, start)), start)
                    lowest = self._height(values, near, extra)
                    if lowest < before:
                        damping = max(0.1 * damping, 1e-8)
                        break
                    values[free], lowest = start, before
                damping *= 10.0
            left = near & ~self._near(values)
            if left.any():
                near &= ~left
                lowest = self._height(values, near, extra)
            elif before - lowest < tolerance:
                break
        return values

    def _shift(self, values: np.ndarray, spectrum: int) -> np.ndarray:
        place = self.problem.free[self.problem.used[spectrum]]
        return values[place] - self.minimum.values[place]

    def _expanded(self, values: np.ndarray, spectrum: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what `Problem.own_slopes` does, by its expansion to second order."""
        expected, slopes = self._slopes[spectrum]
        shift = self._shift(values, spectrum)
        change = np.tensordot(shift, self._bends[spectrum], 1)
        return expected + shift @ (slopes + 0.5 * change), slopes + change

    def _near(self, values: np.ndarray, limit: float | None = None) -> np.ndarray:
        """Return which spectra are near their expansions."""
        limit = _NEAR if limit is None else limit
        made = []
        for k, size in enumerate(self._sizes):
            shift = self._shift(values, k)
            squares = (0.5 * abs(shift @ matrix @ shift) for matrix in (size, self._curvatures[k]))
            made.append(max(squares) < limit)
        return np.array(made)

    def _height(
        self, values: np.ndarray, near: np.ndarray, extra: Callable[[np.ndarray], float] | None
    ) -> float:
        """Return the statistic, of the spectra that are `near` from their expansions."""
        total = extra(values) if extra is not None else 0.0
        for k, data in enumerate(self.problem.data):
            if near[k]:
                total += statistic_of(data, self._expanded(values, k)[0], self.problem.model_error)
            else:
                total += self.problem.own_statistic(values, k)
        return total if np.isfinite(total) else np.inf

    def _sums(
        self, values: np.ndarray, near: np.ndarray, extra: Callable[[np.ndarray], float] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the second derivatives of `_height` by the free parameters."""
        size = self.problem.free.size
        slope = np.zeros(size) if extra is None else self.problem.extra_gradient(values, extra)
        curvature = np.zeros((size, size))
        alike = near | self._near(values, _ALIKE)
        for k, used in enumerate(self.problem.used):
            second = self._curvatures[k]
            if near[k]:
                expected, slopes = self._expanded(values, k)
                first = slopes @ slope_of(self.problem.data[k], expected, self.problem.model_error)
            else:
                first, rough = self.problem.own_equations(values, k)
                second = second if alike[k] else rough
            slope[used] += first
            curvature[np.ix_(used, used)] += second
        return slope, curvature


def _newton(curvature: np.ndarray, slope: np.ndarray, moved: np.ndarray, damping: float) -> np.ndarray | None:
    """Return a damped Newton step of the parameters that are moved; None where there is no way down."""
    size = np.diag(curvature)[moved]  # parameters differ by many powers of ten
    scale = np.sqrt(np.where(size > 0.0, size, 1.0))
    matrix = curvature[np.ix_(moved, moved)] / np.outer(scale, scale) + damping * np.eye(scale.size)
    try:
        root = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:  # not curved upwards in all directions
        return None
    step = np.zeros(slope.size)
    step[moved] = -np.linalg.solve(root.T, np.linalg.solve(root, slope[moved] / scale)) / scale
    return step


def end_of_profile(around: Surroundings, place: int, sign: float, delta: float) -> End:
    """Return where the profile of a free parameter is `delta` above its minimum, on one side.

    The distance over the root of the rise changes slowly along a profile: at the minimum it is that of the
    covariance, and what it will be at the end is seen from its last two values. The other parameters begin
    where the statistic is smallest: along the direction that the covariance gives, from the minimum or from
    the last point, or at the parabola through both.
    """
    problem, minimum = around.problem, around.minimum
    i, free = int(problem.free[place]), problem.free
    variance = minimum.covariance[i, i]
    if not variance > 0:
        return NO_END
    way = np.nan_to_num(minimum.covariance[free, i] / variance)
    bound = (around.low if sign < 0 else around.high)[place] - minimum.values[i]
    goal = math.sqrt(delta)
    roots, ratios = [0.0], [sign * math.sqrt(variance)]  # of rises, and distances over them
    x, inside, outside = ratios[0] * goal, 0.0, np.inf * sign
    last, values = 0.0, minimum.values
    for _ in range(20):
        x = sign * min(sign * x, sign * bound)
        starts = _starts(minimum.values[free], values[free], way, last, x)
        trial = min((around.moved(place, x, start) for start in starts), key=around.height)
        values = around.descend(trial, held=place, tolerance=1e-3 * delta)
        rise = problem.statistic(values) - minimum.statistic
        if abs(rise / delta - 1.0) < 0.1:
            values = around.descend(values, held=place, tolerance=1e-2 * delta, exact=True)
            rise = problem.statistic(values) - minimum.statistic
        if rise < -1e-3 * delta - 1e-7 * abs(minimum.statistic):
            return End(trial[i], False, False, True, values)
        if x == bound and rise <= delta:
            return End(trial[i], True, True, False)
        inside, outside = (x, outside) if rise < delta else (inside, x)
        last, x = x, 3.0 * x
        if rise > 0:
            roots, ratios = [roots[-1], math.sqrt(rise)], [ratios[-1], last / math.sqrt(rise)]
            change = (ratios[1] - ratios[0]) / (roots[1] - roots[0]) if roots[1] != roots[0] else 0.0
            x = goal * (ratios[1] + change * (goal - roots[1]))
            if abs(rise / delta - 1.0) < 0.1 and abs(x / last - 1.0) < 0.03:
                return End(minimum.values[i] + x, True, False, False)
        if abs(outside - inside) < 0.005 * abs(last):  # the profile jumps over the level
            return End(minimum.values[i] + 0.5 * (inside + outside), True, False, False)
        x = last * min(max(x / last, 0.3), 3.0)
        if not sign * inside < sign * x < sign * outside:
            x = 0.5 * (inside + outside)
    return NO_END


def _starts(
    lowest: np.ndarray, values: np.ndarray, way: np.ndarray, last: float, x: float
) -> list[np.ndarray]:
    """Return guesses of the free parameters at a distance from the minimum, from those at the last one."""
    made = [lowest + x * way]
    if last != 0.0:
        bend = (values - lowest - last * way) / last**2
        made += [values + (x - last) * way, lowest + x * (way + x * bend)]
    return made
