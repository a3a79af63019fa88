"""What else is asked of a fit: contours, goodness, comparison with other models, samples of the posterior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import ModelError, ValueRangeError
from batx.fit_errors import contour
from batx.fit_inputs import problem_of, settings_of
from batx.fit_problems import Minimum, Problem

__all__ = ["compare_models", "fit_contour", "fit_goodness", "fit_samples"]


@by_engine
def fit_contour(
    spectra: Any,
    model: Any,
    pair: tuple[str, str],
    *,
    grid: tuple[Any, Any] | None = None,
    size: int = 25,
    **settings: Any,
) -> xr.DataArray:
    """Return by how much the statistic exceeds its minimum on a grid of two parameters.

    Parameters
    ----------
    spectra, model
        As for `batx.fit`.
    pair
        Names of two free parameters.
    grid
        Their values; by default `size` of each over 3.5 standard deviations to both sides.
    size
        Number of values of each parameter.
    **settings
        Keywords of `batx.fit`: ``response``, ``energy``, ``statistic``, ``parameters`` ...
    engine
        ``"native"``; ``"xspec"`` or a `batx.xspec.Xspec` for the command steppar of XSPEC.

    Returns
    -------
    xarray.DataArray
        Dimensions and coordinates are the two parameters. The best fit is within 68.3, 90, 95.4 and 99.7 %
        confidence of both jointly where the value is below 2.30, 4.61, 6.18 and 11.83; its place is in
        ``attrs["best"]``.

    Raises
    ------
    ModelError
        If a name is not that of a free parameter.
    ValueRangeError
        If `grid` has no finite numbers, or `size` is below 2.

    Notes
    -----
    All other parameters are fitted at every point.
    """
    problem = problem_of(spectra, model, settings_of(settings, "fit_contour"))
    places = contour_places(problem, pair)
    minimum, _ = problem.minimise()
    axes = contour_axes(problem, minimum, places, grid, size)
    return contour_dataset(problem, minimum, places, axes, contour(problem, minimum, places, axes))


def contour_places(problem: Problem, pair: tuple[str, str]) -> tuple[int, int]:
    """Return where two free parameters are among all; raise `ModelError` if they are not there."""
    names = [problem.layout.parameters[i].name for i in problem.free]
    asked = list(pair) if isinstance(pair, (tuple, list)) else []
    if len(asked) != 2 or asked[0] == asked[1] or not set(asked) <= set(names):
        raise ModelError(f"fit_contour: found {pair}, expected two of the free parameters {', '.join(names)}")
    first, second = (int(problem.free[names.index(name)]) for name in asked)
    return first, second


def contour_axes(
    problem: Problem, minimum: Minimum, places: tuple[int, int], grid: tuple[Any, Any] | None, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of both parameters: those given, or `size` about the minimum."""
    if grid is not None:
        if len(grid) != 2:
            raise ValueRangeError(f"grid: found {len(grid)} axes, expected the values of two parameters")
        return _given_axis(grid[0]), _given_axis(grid[1])
    if not isinstance(size, (int, np.integer)) or size < 2:
        raise ValueRangeError(f"size: found {size!r}, expected a number of values of at least 2")
    return _axis(problem, minimum, places[0], size), _axis(problem, minimum, places[1], size)


def contour_dataset(
    problem: Problem,
    minimum: Minimum,
    places: tuple[int, int],
    axes: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
) -> xr.DataArray:
    """Return statistics above the minimum on a grid with their labels."""
    entries = [problem.layout.parameters[place] for place in places]
    coords = {
        entry.name: (entry.name, axis, {"units": entry.spec.unit})
        for entry, axis in zip(entries, axes, strict=True)
    }
    parameters = [entry.name for entry in entries]
    attrs = {
        "long_name": "statistic above its minimum",
        "units": "1",
        "best": [float(minimum.values[place]) for place in places],
        "model": problem.model.expression,
    }
    return xr.DataArray(values, coords, parameters, "delta_statistic", attrs | problem.provenance)


def _given_axis(values: Any) -> np.ndarray:
    try:
        axis = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        axis = np.empty(0)
    if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all():
        raise ValueRangeError(f"grid: found {values!r}, expected the values of a parameter, finite numbers")
    return axis


def _axis(problem: Problem, minimum: Minimum, place: int, size: int) -> np.ndarray:
    """Return values of a parameter over 3.5 standard deviations to both sides, within its limits."""
    spec = problem.layout.parameters[place].spec
    value, error = minimum.values[place], np.sqrt(minimum.covariance[place, place])
    if not error > 0:
        raise ModelError(
            f"fit_contour: {problem.layout.parameters[place].name} has no error "
            f"({minimum.message or 'no fit'}); give grid="
        )
    low, high = max(value - 3.5 * error, spec.minimum), min(value + 3.5 * error, spec.maximum)
    return np.linspace(low, high, size)


def fit_goodness(
    spectra: Any,
    model: Any,
    *,
    simulations: int = 1000,
    seed: int | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Return how usual the statistic of a fit is among fits of data simulated from its model.

    Parameters
    ----------
    spectra, model
        As for `batx.fit`.
    simulations
        Number of simulated data sets; each is fitted like the data.
    seed
        Of the random numbers.
    **settings
        Keywords of `batx.fit`.

    Returns
    -------
    xarray.Dataset
        ``simulated(simulation)``, the statistics of the simulations; ``statistic``, that of the data;
        ``p_value``, the part of the simulations with a larger one: (larger + 1) / (all + 1); ``failed``, how
        many simulations had no converged fit and are left out.

    Notes
    -----
    Counts are drawn from the Poisson or the Gaussian distribution, as the data are, and so are those of the
    background.
    """
    problem = problem_of(spectra, model, settings_of(settings, "fit_goodness"))
    minimum, _ = problem.minimise()
    simulated, failed = [], 0
    for copy in _simulations(problem, minimum, simulations, seed):
        found, _ = copy.minimise(minimum.values)
        failed += not found.converged
        if found.converged:
            simulated.append(found.statistic)
    return xr.Dataset(
        {
            "simulated": ("simulation", np.array(simulated)),
            "statistic": minimum.statistic,
            "p_value": _p_value(np.array(simulated), minimum.statistic),
            "failed": failed,
        },
        attrs={"model": problem.model.expression} | problem.provenance,
    )


def _simulations(problem: Problem, minimum: Minimum, number: int, seed: int | None) -> Iterable[Problem]:
    if number < 1:
        raise ValueRangeError(f"simulations: found {number}, expected at least 1")
    rng = np.random.default_rng(seed)
    for _ in range(number):
        yield problem.simulated(minimum.values, rng)


def _p_value(simulated: np.ndarray, observed: float) -> float:
    return float((np.sum(simulated >= observed) + 1) / (simulated.size + 1))


def compare_models(
    spectra: Any,
    models: Sequence[Any] | Mapping[str, Any],
    *,
    simulations: int = 0,
    seed: int | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Return the fits of several models to the same data side by side.

    Parameters
    ----------
    spectra
        As for `batx.fit`.
    models
        Models as for `batx.fit`, or pairs of a model and its ``parameters``; a mapping names them. The first
        one is the simplest: the others are compared with it.
    simulations
        How many data sets are simulated from the first model, to see what improvement chance brings to each
        of the others; 0 for none.
    seed
        Of the random numbers.
    **settings
        Keywords of `batx.fit`.

    Returns
    -------
    xarray.Dataset
        For each ``model``: ``statistic``, ``free`` (parameters), ``dof``, ``aic`` (statistic + 2 free),
        ``bic`` (statistic + free · ln bins), ``improvement`` on the first, ``p_chi2`` (of a chi-square of as
        many degrees as there are more free parameters: valid for nested models away from limits),
        ``p_simulated``.

    Notes
    -----
    All statistics are minus twice a logarithm of a likelihood up to what the data alone decide, so that
    differences between models mean the same for each of them.
    """
    from scipy.stats import chi2

    named = _named(models)
    common = settings.pop("parameters", None) or {}
    problems = [
        problem_of(
            spectra, model, settings_of({**settings, "parameters": {**common, **own}}, "compare_models")
        )
        for model, own in named.values()
    ]
    minima = [problem.minimise()[0] for problem in problems]
    statistic = np.array([minimum.statistic for minimum in minima])
    free = np.array([problem.free.size for problem in problems])
    bins = problems[0].dof + free[0]
    improvement = statistic[0] - statistic
    more = free - free[0]
    with np.errstate(invalid="ignore"):
        p_chi2 = np.where(more > 0, chi2.sf(np.maximum(improvement, 0.0), np.maximum(more, 1)), np.nan)
    made = {
        "statistic": statistic,
        "free": free,
        "dof": bins - free,
        "aic": statistic + 2 * free,
        "bic": statistic + free * np.log(bins),
        "improvement": improvement,
        "p_chi2": p_chi2,
        "converged": np.array([minimum.converged for minimum in minima]),
    }
    if simulations:
        made["p_simulated"] = _chance(problems, minima, improvement, simulations, seed)
    coords = {"model": list(named)}
    attrs = problems[0].provenance
    return xr.Dataset({name: ("model", values) for name, values in made.items()}, coords, attrs)


def _named(models: Sequence[Any] | Mapping[str, Any]) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Return models with their own settings of parameters, by name."""
    if not isinstance(models, Mapping):
        models = {_name(entry): entry for entry in models}
    if len(models) < 2:
        raise ModelError(
            "compare_models: found fewer than two models of different names; pass a mapping to name them"
        )
    return {name: entry if isinstance(entry, tuple) else (entry, {}) for name, entry in models.items()}


def _name(entry: Any) -> str:
    model = entry[0] if isinstance(entry, tuple) else entry
    return (
        model if isinstance(model, str) else getattr(model, "expression", getattr(model, "__name__", "model"))
    )


def _chance(
    problems: Sequence[Problem],
    minima: Sequence[Minimum],
    improvement: np.ndarray,
    number: int,
    seed: int | None,
) -> np.ndarray:
    """Return how often the first model's simulations are improved as much as the data are."""
    gains: list[list[float]] = [[] for _ in problems]
    for copy in _simulations(problems[0], minima[0], number, seed):
        first, _ = copy.minimise(minima[0].values)
        for k in range(1, len(problems)):
            other = Problem(problems[k].model, copy.data, problems[k].layout, copy.model_error, copy.compat)
            starts = (None, minima[k].values)
            best = min((other.minimise(start)[0] for start in starts), key=lambda found: found.statistic)
            if first.converged:
                gains[k].append(first.statistic - best.statistic)
    made = np.full(len(problems), np.nan)
    for k in range(1, len(problems)):
        made[k] = _p_value(np.array(gains[k]), improvement[k])
    return made


def fit_samples(
    spectra: Any,
    model: Any,
    *,
    draws: int = 4000,
    walkers: int | None = None,
    burn: int = 200,
    seed: int | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Return samples of the posterior of the free parameters, for flat priors between their limits.

    Parameters
    ----------
    spectra, model
        As for `batx.fit`.
    draws
        Number of samples, all walkers together.
    walkers
        Size of the ensemble, even; by default four for each parameter and at least 20.
    burn
        Steps at the beginning that are not kept.
    seed
        Of the random numbers.
    **settings
        Keywords of `batx.fit`.

    Returns
    -------
    xarray.Dataset
        ``value(draw, parameter)``, ``statistic(draw)``, ``acceptance`` of the steps, ``autocorrelation`` of
        each parameter in steps: independent samples are draws / (walkers · autocorrelation).

    Notes
    -----
    The likelihood is exp(-statistic / 2). Stretch moves of an ensemble (Goodman & Weare 2010, CAMCoS 5, 65),
    from a ball of the size of the covariance around the best fit.
    """
    problem = problem_of(spectra, model, settings_of(settings, "fit_samples"))
    minimum, _ = problem.minimise()
    number = problem.free.size
    size = walkers or max(20, 4 * number)
    if size % 2 or size < 2 * number:
        raise ValueRangeError(f"walkers: found {size}, expected an even number of at least {2 * number}")
    rng = np.random.default_rng(seed)
    steps = -(-draws // size)
    chain, statistic, accepted = _stretch(problem, _ball(problem, minimum, size, rng), burn + steps, rng)
    kept = chain[burn:]
    return xr.Dataset(
        {
            "value": (("draw", "parameter"), kept.reshape(-1, number)[:draws]),
            "statistic": ("draw", statistic[burn:].ravel()[:draws]),
            "acceptance": accepted,
            "autocorrelation": ("parameter", _autocorrelation(kept)),
        },
        {"parameter": [problem.layout.parameters[i].name for i in problem.free]},
        {"model": problem.model.expression, "walkers": size} | problem.provenance,
    )


def _ball(problem: Problem, minimum: Minimum, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return starting points around the minimum, within all limits."""
    free = problem.free
    covariance = minimum.covariance[np.ix_(free, free)]
    unknown = ~np.isfinite(np.diag(covariance))
    if unknown.all():
        raise ModelError(f"fit_samples: the fit has no covariance to start from: {minimum.message}")
    covariance = np.nan_to_num(covariance)
    covariance[unknown, unknown] = (0.1 * np.maximum(np.abs(minimum.values[free]), 0.1))[unknown] ** 2
    low, high = (
        np.array([getattr(problem.layout.parameters[i].spec, name) for i in free])
        for name in ("minimum", "maximum")
    )
    points = rng.multivariate_normal(minimum.values[free], covariance, size, method="eigh")
    outside = (points <= low) | (points >= high)
    inside = np.clip(minimum.values[free], low, high)
    return np.where(outside, inside * (1 + 1e-3 * rng.random(points.shape)), points)


def _stretch(
    problem: Problem, start: np.ndarray, steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the chain (step, walker, parameter), its statistics and the part of accepted moves."""
    size, number = start.shape
    specs = [problem.layout.parameters[i].spec for i in problem.free]
    low = np.array([spec.minimum for spec in specs])
    high = np.array([spec.maximum for spec in specs])

    def statistic(point: np.ndarray) -> float:
        inside = bool(np.all((point >= low) & (point <= high)))
        return problem.statistic(problem.full(point)) if inside else np.inf

    points = start.copy()
    values = np.array([statistic(point) for point in points])
    chain, history, accepted = np.empty((steps, size, number)), np.empty((steps, size)), 0
    halves = np.array_split(np.arange(size), 2)
    for step in range(steps):
        for moving, resting in (halves, halves[::-1]):
            stretch = (1.0 + rng.random(moving.size)) ** 2 / 2.0  # g(z) ~ 1/sqrt(z) between 1/2 and 2
            partner = rng.choice(resting, moving.size)
            trial = points[partner] + stretch[:, np.newaxis] * (points[moving] - points[partner])
            for k, walker in enumerate(moving):
                value = statistic(trial[k])
                gain = (number - 1) * np.log(stretch[k]) - 0.5 * (value - values[walker])
                if np.log(rng.random()) < gain:
                    points[walker], values[walker] = trial[k], value
                    accepted += 1
        chain[step], history[step] = points, values
    return chain, history, accepted / (steps * size)


def _autocorrelation(chain: np.ndarray) -> np.ndarray:
    """Return the integrated autocorrelation time of each parameter, summed up to five times itself."""
    steps = chain.shape[0]
    centred = chain - chain.mean(axis=(0, 1))
    power = np.abs(np.fft.rfft(centred, 2 * steps, axis=0)) ** 2
    correlation = np.fft.irfft(power, axis=0)[:steps].mean(axis=1)
    summed = 2.0 * np.cumsum(correlation / correlation[0], axis=0) - 1.0
    made = []
    for column in summed.T:
        window = np.flatnonzero(np.arange(steps) >= 5.0 * column)
        made.append(column[window[0]] if window.size else column[-1])
    return np.array(made)
