"""Intervals of parameters and of functions of them, by covariance and by the profile of the statistic.

Private to `batx.fitting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from batx.fit_problems import Interval, Minimum, Problem
from batx.fit_profiles import Surroundings, end_of_profile
from batx.fit_starts import approach
from batx.kernels.minimise import End, Search

__all__ = [
    "contour",
    "function_error",
    "function_interval",
    "gradient",
    "parameter_intervals",
    "surroundings",
]

#: with more free parameters, as in fits of many spectra, profiles are found by Gauss-Newton steps
_MANY = 6


def parameter_intervals(
    problem: Problem, search: Search, minimum: Minimum, delta: float
) -> tuple[list[Interval], Minimum]:
    """Return the interval of each free parameter in which its profile stays below the minimum plus `delta`.

    A better minimum that turns up on the way is taken, and everything begins again from there; the minimum
    that was used is returned too.
    """
    for _ in range(5):
        many = problem.free.size > _MANY
        ends = _ends_of_many(problem, minimum, delta) if many else search.ends(delta)
        if not any(end.better for pair in ends for end in pair):
            break
        if many:
            start = next(end.values for pair in ends for end in pair if end.better)
        else:
            search.minimise()
            if search.lowest >= minimum.statistic:
                break
            start = problem.full(search.values)
        minimum, again = problem.minimise(start)
        search = again or search
    return [_interval(problem, search, k, pair, delta) for k, pair in enumerate(ends)], minimum


def _ends_of_many(problem: Problem, minimum: Minimum, delta: float) -> list[tuple[End, End]]:
    """Return the ends of the profiles of all free parameters; the search stops at a better minimum."""
    made: list[tuple[End, End]] = []
    around = Surroundings(problem, minimum)
    for place in range(problem.free.size):
        pair = tuple(end_of_profile(around, place, sign, delta) for sign in (-1.0, 1.0))
        made.append((pair[0], pair[1]))
        if any(end.better for end in pair):
            break
    return made


def _interval(problem: Problem, search: Search, place: int, ends: tuple[End, End], delta: float) -> Interval:
    spec = problem.layout.parameters[problem.free[place]].spec
    values, notes = [], []
    for side, end, bound in zip(("low", "high"), ends, (spec.minimum, spec.maximum), strict=True):
        value, limited = end.value, end.limited
        if not end.good and not limited:
            value = _profile_end(problem, search, place, bound, delta)
            limited = value == bound
        values.append(np.nan if limited else value)
        if limited:
            notes.append(f"{side} end at the limit {bound:g}")
        elif np.isnan(value):
            notes.append(f"{side} end not found")
    return Interval(values[0], values[1], "; ".join(notes))


def _profile_end(problem: Problem, search: Search, place: int, bound: float, delta: float) -> float:
    """Return where the profile of a parameter is `delta` above its minimum, towards a bound.

    Steps are doubled until the end is bracketed, which is then found by Brent's method; the bound if the
    profile does not rise that much before it, NaN if it does not within forty steps. For ends that MINOS
    does not find.
    """
    from scipy.optimize import brentq

    best, value, step = search.lowest, search.values[place], search.steps[place]
    known = {value: problem.full(search.values)}
    heights: dict[float, float] = {}

    def rise(x: float) -> float:
        """Return the profile less the level of the end: what it was before, where it was computed."""
        if x not in heights:
            heights[x] = climbed(x)
        return heights[x]

    def climbed(x: float) -> float:
        """Compute it from the point that is known nearest to x."""
        nearest = min(known, key=lambda other: abs(other - x))
        if problem.free.size > _MANY:
            trial = _with(known[nearest], int(problem.free[place]), x)
            known[x], _ = approach(problem.held(place), trial)
            return problem.statistic(known[x]) - best - delta
        profile = problem.search(known[nearest], search.steps)
        lowest = _held(problem, profile, {place: x})
        known[x] = problem.full(profile.values)
        return lowest - best - delta

    step = np.copysign(max(step, 1e-6 * max(abs(value), 1e-30)), bound - value)
    inside = value
    for _ in range(40):
        x = inside + step
        if (x - bound) * np.sign(step) >= 0:
            if rise(bound) <= 0:
                return bound
            x = bound
        if rise(x) > 0:
            if rise(inside) >= 0:  # the profile jumps
                return np.nan
            found, state = brentq(
                rise, inside, x, xtol=1e-4 * abs(x - value), rtol=1e-6, full_output=True, disp=False
            )
            return float(found) if state.converged else np.nan
        inside, step = x, 2.0 * step
    return np.nan


def _with(values: np.ndarray, place: int, value: float) -> np.ndarray:
    made = values.copy()
    made[place] = value
    return made


def _held(problem: Problem, search: Search, held: dict[int, float]) -> float:
    """Return the statistic with some free parameters held, smallest over all others."""
    for place, value in held.items():
        search.hold(place, value)
    if problem.free.size > len(held):
        search.minimise(tolerance=1e-3)
    return problem.statistic(problem.full(search.values))


def gradient(problem: Problem, minimum: Minimum, function: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Return central differences of a function of all values by the free ones, (free, ...)."""
    steps = np.sqrt(np.diag(minimum.covariance))[problem.free] * 0.05
    made = []
    for i, step in zip(problem.free, steps, strict=True):
        if not step > 0:
            step = 1e-4 * max(abs(minimum.values[i]), 1e-6)
        spec = problem.layout.parameters[i].spec
        up, down = minimum.values.copy(), minimum.values.copy()
        up[i] = min(up[i] + step, spec.maximum)
        down[i] = max(down[i] - step, spec.minimum)
        made.append((np.asarray(function(up)) - np.asarray(function(down))) / (up[i] - down[i]))
    return np.array(made)


def function_error(problem: Problem, minimum: Minimum, function: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Return the 1-sigma error of a function of all values, propagated from the covariance.

    Parameters without an error, those at a limit, count as fixed.
    """
    if problem.free.size == 0:
        return np.zeros_like(np.asarray(function(minimum.values), np.float64))
    slopes = gradient(problem, minimum, function)
    covariance = minimum.covariance[np.ix_(problem.free, problem.free)]
    if not np.isfinite(np.diag(covariance)).any():
        return np.full(slopes.shape[1:], np.nan)
    covariance = np.nan_to_num(covariance)
    return np.sqrt(np.einsum("i...,ij,j...->...", slopes, covariance, slopes))


def surroundings(problem: Problem, minimum: Minimum) -> Surroundings | None:
    """Return what intervals of many parameters are found with."""
    known = minimum.converged and np.isfinite(minimum.covariance).any()
    return Surroundings(problem, minimum) if problem.free.size > _MANY and known else None


def function_interval(
    problem: Problem,
    minimum: Minimum,
    function: Callable[[np.ndarray], float],
    delta: float,
    around: Surroundings | None = None,
) -> Interval:
    """Return the range of a positive function in which the statistic can stay below its minimum plus `delta`.

    At the ends, statistic + λ function, or - λ ln(function) for the upper one, is smallest for a λ that is
    searched for; the statistic rises as λ² near its minimum, which gives the first guess, each next one, and
    the last 2 % of the way. (The logarithm has no bottom at 0, and counts have no ceiling.) `around` is what
    `surroundings` returns.
    """
    best = function(minimum.values)
    error = float(function_error(problem, minimum, function)) / best if best > 0 else np.nan
    if not (error > 0 and np.isfinite(error)):
        return Interval(np.nan, np.nan, "no first guess from the covariance")
    ends = {
        side: _pulled(problem, minimum, function, delta, sign, error, around) for side, sign in _SIDES.items()
    }
    missing = [f"{side} end not found" for side, value in ends.items() if np.isnan(value)]
    return Interval(ends["low"], ends["high"], "; ".join(missing))


_SIDES = {"low": 1.0, "high": -1.0}


def _pulled(
    problem: Problem,
    minimum: Minimum,
    function: Callable[[np.ndarray], float],
    delta: float,
    sign: float,
    error: float,
    around: Surroundings | None,
) -> float:
    pull = 2.0 * np.sqrt(delta) / error
    best = math.log(function(minimum.values))
    values, last = minimum.values, np.inf
    steps = np.sqrt(np.diag(minimum.covariance))[problem.free]
    for _ in range(12):
        weighted = _pull(function, pull / math.exp(best) if sign > 0 else -pull, logarithm=sign < 0)
        values = (
            around.descend(values, extra=weighted)
            if around is not None
            else _lowest_of(problem, values, steps, weighted)
        )
        rise = problem.statistic(values) - minimum.statistic
        if not 0 < rise < np.inf or abs(rise - last) < 1e-9:
            return np.nan
        if abs(rise / delta - 1.0) < 0.02:
            return math.exp(best + (math.log(function(values)) - best) * math.sqrt(delta / rise))
        last = rise
        pull *= math.sqrt(delta / rise)
    return np.nan


def _lowest_of(
    problem: Problem, values: np.ndarray, steps: np.ndarray, weighted: Callable[[np.ndarray], float]
) -> np.ndarray:
    """Return where the statistic plus a function of all values is smallest."""
    if problem.free.size <= _MANY:
        search = problem.search(values, steps, weighted)
        if search.minimise(tolerance=0.05):
            return problem.full(search.values)
    return approach(problem, values, extra=weighted)[0]


def _pull(
    function: Callable[[np.ndarray], float], weight: float, logarithm: bool
) -> Callable[[np.ndarray], float]:
    """Return a function, or its logarithm, times a weight, out of reach where it has none."""

    def weighted(values: np.ndarray) -> float:
        value = function(values)
        if not value > 0:
            return 1e30
        return weight * (math.log(value) if logarithm else value)

    return weighted


def contour(
    problem: Problem, minimum: Minimum, places: tuple[int, int], grids: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the statistic above its minimum on a grid of two parameters, minimised over the others."""
    first, second = sorted(int(np.flatnonzero(problem.free == place)[0]) for place in places)
    others = problem.held(second).held(first)
    made = np.empty((grids[0].size, grids[1].size))
    near = minimum.values
    for i, x in enumerate(grids[0]):
        order = range(grids[1].size) if i % 2 == 0 else range(grids[1].size - 1, -1, -1)
        for j in order:
            held = {places[0]: x, places[1]: grids[1][j]}
            made[i, j], near = _lowest(others, (near, minimum.values), held)
    return made - minimum.statistic


def _lowest(
    problem: Problem, starts: Sequence[np.ndarray], held: dict[int, float]
) -> tuple[float, np.ndarray]:
    """Return the smallest statistic with these values held, and where, going from the better start."""
    trials = []
    for start in starts:
        values = start.copy()
        values[list(held)] = list(held.values())
        trials.append((problem.statistic(values), values))
    lowest, values = min(trials, key=lambda trial: trial[0])
    if not problem.free.size:
        return lowest, values
    found, _ = problem.minimise(values)
    return found.statistic, found.values
