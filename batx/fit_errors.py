"""Intervals of parameters and of functions of them, by covariance and by the profile of the statistic.

Private to `batx.fitting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from batx.fit_problems import Interval, Minimum, Problem

__all__ = ["contour", "function_error", "function_interval", "gradient", "parameter_intervals"]


def parameter_intervals(
    problem: Problem, minuit: Any, minimum: Minimum, delta: float
) -> tuple[list[Interval], Minimum, Any]:
    """Return the interval of each free parameter in which its profile stays below the minimum plus `delta`.

    A better minimum that turns up on the way is taken, and everything begins again from there; the minimum
    that was used is returned too.
    """
    for _ in range(5):
        minuit.errordef = delta
        minuit.minos()
        minuit.errordef = 1.0
        merrors = list(minuit.merrors.values())
        if not any(entry.lower_new_min or entry.upper_new_min for entry in merrors):
            break
        minimum, minuit = problem.minimise(_better(problem, minuit, minimum))
    return [_interval(problem, minuit, k, entry, delta) for k, entry in enumerate(merrors)], minimum, minuit


def _better(problem: Problem, minuit: Any, minimum: Minimum) -> np.ndarray:
    """Return the values of the best point that the search of intervals met."""
    minuit.migrad()
    values = problem.full(np.array(minuit.values))
    return values if problem.statistic(values) < minimum.statistic else minimum.values


def _interval(problem: Problem, minuit: Any, place: int, entry: Any, delta: float) -> Interval:
    value = float(minuit.values[place])
    spec = problem.layout.parameters[problem.free[place]].spec
    ends, notes = [], []
    for side, step, good, limited, bound in (
        ("low", entry.lower, entry.lower_valid, entry.at_lower_limit, spec.minimum),
        ("high", entry.upper, entry.upper_valid, entry.at_upper_limit, spec.maximum),
    ):
        end = value + step
        if not good and not limited:
            end = _profile_end(problem, minuit, place, bound, delta)
            limited = end == bound
        ends.append(np.nan if limited else end)
        if limited:
            notes.append(f"{side} end at the limit {bound:g}")
        elif np.isnan(end):
            notes.append(f"{side} end not found")
    return Interval(ends[0], ends[1], "; ".join(notes))


def _profile_end(problem: Problem, minuit: Any, place: int, bound: float, delta: float) -> float:
    """Return where the profile of a parameter is `delta` above its minimum, towards a bound.

    Steps are doubled until the end is bracketed, which is then found by Brent's method; the bound if the
    profile does not rise that much before it, NaN if it does not within forty steps. For ends that MINOS
    does not find.
    """
    from scipy.optimize import brentq

    values = problem.full(np.array(minuit.values))
    best, value = float(minuit.fval), float(minuit.values[place])
    search = problem.minuit(values, np.array(minuit.errors))
    search.strategy = 0

    def rise(x: float) -> float:
        search.fixed[place] = False
        search.values[place] = x
        search.fixed[place] = True
        if problem.free.size > 1:
            search.migrad()
            return float(search.fval) - best - delta
        return problem.statistic(problem.full(np.array(search.values))) - best - delta

    step = np.copysign(max(float(minuit.errors[place]), 1e-6 * max(abs(value), 1e-30)), bound - value)
    inside = value
    for _ in range(40):
        x = inside + step
        if (x - bound) * np.sign(step) >= 0:
            if rise(bound) <= 0:
                return bound
            x = bound
        if rise(x) > 0:
            return float(brentq(rise, inside, x, xtol=1e-4 * abs(x - value), rtol=1e-6))
        inside, step = x, 2.0 * step
    return np.nan


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
    """Return the 1-sigma error of a function of all values, propagated from the covariance."""
    if problem.free.size == 0:
        return np.zeros_like(np.asarray(function(minimum.values), np.float64))
    slopes = gradient(problem, minimum, function)
    covariance = minimum.covariance[np.ix_(problem.free, problem.free)]
    return np.sqrt(np.einsum("i...,ij,j...->...", slopes, covariance, slopes))


def function_interval(
    problem: Problem,
    minimum: Minimum,
    function: Callable[[np.ndarray], float],
    delta: float,
) -> Interval:
    """Return the range of a positive function in which the statistic can stay below its minimum plus `delta`.

    At the ends, statistic + λ ln(function) is smallest for a λ that is searched for; the statistic rises as
    λ² near its minimum, which gives the first guess, each next one, and the last 2 % of the way.
    """
    best = function(minimum.values)
    error = float(function_error(problem, minimum, function)) / best if best > 0 else np.nan
    if not (error > 0 and np.isfinite(error)):
        return Interval(np.nan, np.nan, "no first guess from the covariance")
    ends = {side: _pulled(problem, minimum, function, delta, sign, error) for side, sign in _SIDES.items()}
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
) -> float:
    pull = 2.0 * np.sqrt(delta) / error
    best = math.log(function(minimum.values))
    values, last = minimum.values, np.inf
    errors = np.sqrt(np.diag(minimum.covariance))[problem.free]
    for _ in range(12):
        search = problem.minuit(values, errors, _logarithm(function, sign * pull))
        search.strategy, search.tol = 0, 0.05
        search.migrad()
        values = problem.full(np.array(search.values))
        rise = problem.statistic(values) - minimum.statistic
        if not (search.valid and 0 < rise < np.inf) or abs(rise - last) < 1e-9:
            return np.nan
        if abs(rise / delta - 1.0) < 0.02:
            return math.exp(best + (math.log(function(values)) - best) * math.sqrt(delta / rise))
        last = rise
        pull *= math.sqrt(delta / rise)
    return np.nan


def _logarithm(function: Callable[[np.ndarray], float], weight: float) -> Callable[[np.ndarray], float]:
    """Return the logarithm of a function times a weight, out of reach where it has none."""

    def weighted(values: np.ndarray) -> float:
        value = function(values)
        return weight * math.log(value) if value > 0 else 1e30

    return weighted


def contour(
    problem: Problem, minimum: Minimum, places: tuple[int, int], grids: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the statistic above its minimum on a grid of two parameters, minimised over the others."""
    first, second = (int(np.flatnonzero(problem.free == place)[0]) for place in places)
    made = np.empty((grids[0].size, grids[1].size))
    minuit = problem.minuit(minimum.values)
    others = problem.free.size > 2
    for i, x in enumerate(grids[0]):
        order = range(grids[1].size) if i % 2 == 0 else range(grids[1].size - 1, -1, -1)
        for j in order:
            minuit.fixed[first] = minuit.fixed[second] = False
            minuit.values[first], minuit.values[second] = x, grids[1][j]
            minuit.fixed[first] = minuit.fixed[second] = True
            if others:
                minuit.migrad()
                made[i, j] = minuit.fval
            else:
                made[i, j] = problem.statistic(problem.full(np.array(minuit.values)))
    return made - minimum.statistic
