"""Where a fit begins: scales by least squares, shapes from a few candidates, and a first approach.

Private to `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batx.fit_problems import Problem

__all__ = ["approach", "starting_values"]

#: combinations of start values of shapes that are tried
_TRIALS = 48


def starting_values(problem: Problem) -> np.ndarray:
    """Return values of all parameters to start from."""
    best, lowest = problem.layout.values, np.inf
    for trial in _candidates(problem):
        scaled = _scaled(problem, trial)
        value = problem.statistic(scaled)
        if value < lowest:
            best, lowest = scaled, value
    return best


def _candidates(problem: Problem) -> Iterable[np.ndarray]:
    """Return values with every combination of the start values of the shapes that were not given.

    What each of several spectra has for itself is moved together.
    """
    groups: dict[str, list[int]] = {}
    for i in problem.free:
        entry = problem.layout.parameters[i]
        if entry.spec.starts and not entry.given:
            groups.setdefault(entry.name.partition("[")[0], []).append(int(i))
    trials = [problem.layout.values]
    for places in groups.values():
        spec = problem.layout.parameters[places[0]].spec
        inside = [value for value in spec.starts if spec.minimum < value < spec.maximum]
        if inside and len(trials) * len(inside) <= _TRIALS:
            trials = [_with(trial, places, value) for trial in trials for value in inside]
    return trials


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


def approach(problem: Problem, values: np.ndarray, steps: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return values near the minimum, and the errors of the free parameters there.

    Damped Gauss-Newton steps (Levenberg-Marquardt) with the variance that the model gives to Poisson counts;
    each must lower the statistic. It stops when a step gains less than 1e-4.
    """
    specs = [problem.layout.parameters[i].spec for i in problem.free]
    low = np.array([spec.minimum for spec in specs])
    high = np.array([spec.maximum for spec in specs])
    scale = np.array([spec.scale == "linear" for spec in specs])
    values, lowest, damping = values.copy(), problem.statistic(values), 1e-3
    for _ in range(steps):
        curvature, slope = _normal_equations(problem, values)
        start, before = values[problem.free], lowest
        while damping < 1e10:
            damped = curvature + np.diag(damping * np.diag(curvature) + 1e-300)
            trial = start + np.linalg.lstsq(damped, slope, rcond=None)[0]
            trial = np.clip(trial, np.where(scale & (low >= 0), np.maximum(low, 0.1 * start), low), high)
            values[problem.free] = trial
            lowest = problem.statistic(values)
            if lowest < before:
                damping = max(0.1 * damping, 1e-8)
                break
            values[problem.free], lowest = start, before
            damping *= 10.0
        if before - lowest < 1e-4:
            break
    return values, np.sqrt(np.maximum(np.diag(np.linalg.pinv(curvature)), 0.0))


def _normal_equations(problem: Problem, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return JᵀJ and Jᵀr of residuals in units of their errors."""
    curvature, slope = np.zeros((problem.free.size,) * 2), np.zeros(problem.free.size)
    for k, data in enumerate(problem.data):
        with np.errstate(all="ignore"):
            expected, slopes = problem.slopes(values, k)
        expected, slopes = np.nan_to_num(expected), np.nan_to_num(slopes)
        variance = data.net_variance
        if data.statistic not in ("chi2", "gaussian"):
            variance = np.maximum(expected + data.ratio * np.maximum(data.background, 0.0), 1e-2)
        weight = 1.0 / (variance + (problem.model_error * expected) ** 2)
        curvature += (slopes * weight) @ slopes.T
        slope += slopes @ (weight * (data.net - expected))
    return curvature, slope


def _with(values: np.ndarray, place: int | list[int], value: float) -> np.ndarray:
    made = values.copy()
    made[place] = value
    return made


def _expected(problem: Problem, values: np.ndarray, spectrum: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.nan_to_num(problem.expected(values, spectrum), posinf=0.0, neginf=0.0)
