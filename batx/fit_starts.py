"""Where a fit begins: scales by least squares, shapes from a few candidates, and a first approach.

Private to `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from batx.model_components import Parameter

if TYPE_CHECKING:
    from batx.fit_data import FitData
    from batx.fit_problems import Problem

__all__ = ["approach", "reach", "starting_values", "weights_of"]

#: combinations of start values of shapes that are tried
_TRIALS = 96
#: a model with no more of them has one minimum
_SIMPLE = 8
#: first steps from each of several starts
_FIRST = 12


def starting_values(problem: Problem) -> np.ndarray:
    """Return values of all parameters to start from.

    The best of the candidates; of models with so many of them that they have several minima, the best that
    the first steps lead to from the best candidate for each start value of each shape.
    """
    trials, groups = _candidates(problem)
    starts = [_scaled(problem, trial) for trial in trials]
    heights = [problem.statistic(start) for start in starts]
    if len(starts) <= _SIMPLE:
        return starts[int(np.argmin(heights))]
    chosen = set()
    for places in groups:
        shapes = np.array([trial[places[0]] for trial in trials])
        for value in np.unique(shapes):
            alike = np.flatnonzero(shapes == value)
            chosen.add(int(alike[np.argmin(np.array(heights)[alike])]))
    ways = [approach(problem, starts[number], _FIRST)[0] for number in sorted(chosen)]
    return min(ways, key=problem.statistic)


def _candidates(problem: Problem) -> tuple[list[np.ndarray], list[list[int]]]:
    """Return values with every combination of the start values of the shapes that were not given.

    What each of several spectra has for itself is moved together; the places of each such group are returned
    too. Energies far outside those of the data are left out.
    """
    groups: dict[str, list[int]] = {}
    for i in problem.free:
        entry = problem.layout.parameters[i]
        if entry.spec.starts and not entry.given:
            groups.setdefault(entry.name.partition("[")[0], []).append(int(i))
    edges = np.concatenate([data.energies.ravel() for data in problem.data])
    trials, moved = [problem.layout.values], []
    for places in groups.values():
        spec = problem.layout.parameters[places[0]].spec
        inside = [value for value in spec.starts if spec.minimum < value < spec.maximum]
        if spec.unit == "keV":
            near = [value for value in inside if edges.min() / 6 <= value <= 3 * edges.max()]
            inside = near or inside
        if inside and len(trials) * len(inside) <= _TRIALS:
            trials = [_with(trial, places, value) for trial in trials for value in inside]
            moved.append(places)
    return trials, moved


def _scaled(problem: Problem, values: np.ndarray) -> np.ndarray:
    """Return values with scales that were not given fitted by least squares, none of them negative."""
    from scipy.optimize import nnls

    entries = problem.layout.parameters
    scales = [i for i in problem.free if entries[i].spec.scale and not entries[i].given]
    off = values.copy()
    off[scales] = [0.0 if entries[i].spec.scale == "linear" else -100.0 for i in scales]
    columns, target = [], []
    for k, data in enumerate(problem.data if scales else ()):
        error = np.sqrt(np.maximum(data.net_variance, 1e-3 * np.max(data.net_variance, initial=1e-30)))
        base = _expected(problem, off, k)
        used = set(problem.layout.places[k])
        alone = [
            _expected(problem, _with(off, i, values[i]), k) - base if i in used else np.zeros_like(base)
            for i in scales
        ]
        columns.append(np.stack(alone, axis=1) / error[:, np.newaxis])
        target.append((data.net - base) / error)
    try:
        factors, _ = nnls(np.concatenate(columns), np.concatenate(target))
    except (RuntimeError, ValueError):  # no scale, or no solution
        return values
    made = values.copy()
    for i, factor in zip(scales, np.maximum(factors, 1e-4), strict=True):
        spec = entries[i].spec
        scaled = values[i] * factor if spec.scale == "linear" else values[i] + np.log10(factor)
        made[i] = np.clip(scaled, spec.minimum, spec.maximum)
    return made


def approach(
    problem: Problem,
    values: np.ndarray,
    steps: int = 60,
    extra: Callable[[np.ndarray], float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return values near the minimum, and the errors of the free parameters there.

    Damped Gauss-Newton steps (Levenberg-Marquardt) with the variance that the model gives to Poisson counts;
    each must lower the statistic, or the sum of it and what `extra` gives for the values of all parameters.
    No step takes a norm below a tenth or an energy beyond three times what it was. It stops when a step gains
    less than 1e-4.
    """
    specs = [problem.layout.parameters[i].spec for i in problem.free]

    def sought(trial: np.ndarray) -> float:
        return problem.statistic(trial) + (extra(trial) if extra is not None else 0.0)

    values, lowest, damping = values.copy(), sought(values), 1e-3
    for _ in range(steps):
        curvature, slope = _normal_equations(problem, values)
        if extra is not None:
            slope = slope - 0.5 * problem.extra_gradient(values, extra)
        size = np.diag(curvature)  # parameters differ by many powers of ten
        scale = np.sqrt(np.where(size > 0.0, size, 1.0))
        curvature, slope = curvature / np.outer(scale, scale), slope / scale
        start, before = values[problem.free], lowest
        while damping < 1e10:
            step = np.linalg.lstsq(curvature + damping * np.eye(scale.size), slope, rcond=None)[0]
            if step @ (2.0 * slope - curvature @ step) < 5e-5:  # what it would gain
                break
            values[problem.free] = np.clip(start + step / scale, *reach(specs, start))
            lowest = sought(values)
            if lowest < before:
                damping = max(0.1 * damping, 1e-8)
                break
            values[problem.free], lowest = start, before
            damping *= 10.0
        if before - lowest < 1e-4:
            break
    return values, np.sqrt(np.maximum(np.diag(np.linalg.pinv(curvature)), 0.0)) / scale


def reach(specs: list[Parameter], start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return between which values a step may end."""
    low, high = [], []
    for spec, value in zip(specs, start, strict=True):
        energy = spec.unit == "keV"
        shrunk = value / 3.0 if energy else 0.1 * value if spec.scale == "linear" else -np.inf
        low.append(max(spec.minimum, shrunk) if spec.minimum >= 0.0 else spec.minimum)
        high.append(min(spec.maximum, 3.0 * value) if energy else spec.maximum)
    return np.array(low), np.array(high)


def _normal_equations(problem: Problem, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return JᵀJ and Jᵀr of residuals in units of their errors."""
    curvature, slope = np.zeros((problem.free.size,) * 2), np.zeros(problem.free.size)
    for k, data in enumerate(problem.data):
        with np.errstate(all="ignore"):
            expected, slopes = problem.own_slopes(values, k)
        expected, slopes = np.nan_to_num(expected), np.nan_to_num(slopes)
        weight = weights_of(data, expected, problem.model_error)
        used = problem.used[k]
        curvature[np.ix_(used, used)] += (slopes * weight) @ slopes.T
        slope[used] += slopes @ (weight * (data.net - expected))
    return curvature, slope


def weights_of(data: FitData, expected: np.ndarray, model_error: float) -> np.ndarray:
    """Return 1 / variance of the bins of a spectrum; that of Poisson counts is what the model says."""
    variance = data.net_variance
    if data.statistic not in ("chi2", "gaussian"):
        variance = np.maximum(expected + data.ratio * np.maximum(data.background, 0.0), 1e-2)
    return 1.0 / (variance + (model_error * expected) ** 2)


def _with(values: np.ndarray, place: int | list[int], value: float) -> np.ndarray:
    made = values.copy()
    made[place] = value
    return made


def _expected(problem: Problem, values: np.ndarray, spectrum: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.nan_to_num(problem.expected(values, spectrum), posinf=0.0, neginf=0.0)
