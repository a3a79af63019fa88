"""A model against the data of one or several spectra: its statistic, minimum, errors and simulations.

Plain numbers only; private to the public functions of `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from batx.errors import ModelError
from batx.fit_data import FitData
from batx.kernels import fit_statistics as stat
from batx.kernels.fold import fold
from batx.model_components import Parameter
from batx.spectral_models import SpectralModel

__all__ = ["Interval", "Minimum", "Problem", "parameters_of"]

#: the statistic of a model that has no value
_BAD = 1e30


@dataclass(frozen=True)
class FitParameter:
    """One parameter of a fit: of all spectra, or of one.

    Attributes
    ----------
    name
        ``index``, or ``index[label]`` where spectra have their own.
    spec
        Start value, limits, whether it is frozen.
    given
        Whether the start value was given.
    """

    name: str
    spec: Parameter
    given: bool = False


@dataclass(frozen=True)
class Layout:
    """The parameters of a fit, and which of them each spectrum uses in the order of its model."""

    parameters: tuple[FitParameter, ...]
    places: tuple[np.ndarray, ...]
    tied: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """Start values."""
        return np.array([entry.spec.value for entry in self.parameters])

    @property
    def free(self) -> np.ndarray:
        """Places of the parameters that are fitted."""
        return np.flatnonzero([not entry.spec.frozen for entry in self.parameters])


def parameters_of(
    model: SpectralModel,
    labels: Sequence[str],
    settings: Mapping[str, Any],
    untied: Iterable[str],
    tied: Mapping[str, str],
) -> Layout:
    """Return the parameters of a fit of `model` to the spectra of these labels.

    Parameters
    ----------
    model, labels
        The model of all spectra, and their names.
    settings
        Parameter name to a value, or to a mapping of ``value``, ``min``, ``max`` and ``frozen``. The name may
        be short or full, and with ``[label]`` means that of one spectrum.
    untied
        Names of parameters that each spectrum has for itself.
    tied
        Name to the name whose value it takes.

    Raises
    ------
    ModelError
        If a name is unknown or ambiguous, limits or values make no sense, or ties go in a circle.
    """
    own = {_full_name(model, name) for name in untied}
    made: dict[str, FitParameter] = {}
    places = []
    for label in labels:
        names = [f"{name}[{label}]" if name in own and len(labels) > 1 else name for name in model.names]
        for name, spec in zip(names, model.parameters.values(), strict=True):
            made.setdefault(name, FitParameter(name, spec))
        places.append(names)
    for name, setting in settings.items():
        for full in _fit_names(model, name, made, labels):
            made[full] = _set(made[full], setting)
    links = {
        low: _fit_names(model, high, made, labels)[0]
        for name, high in tied.items()
        for low in _fit_names(model, name, made, labels)
    }
    for name in links:
        seen = {name}
        while (target := links.get(name)) is not None and target in links:
            if target in seen:
                raise ModelError(f"tied: {name!r} is tied to itself through {target!r}")
            seen.add(target)
            links[name] = links[target]
    kept = [entry for name, entry in made.items() if name not in links]
    number = {entry.name: i for i, entry in enumerate(kept)}
    return Layout(
        tuple(kept),
        tuple(np.array([number[links.get(name, name)] for name in names], np.int64) for names in places),
        links,
    )


def _full_name(model: SpectralModel, name: str) -> str:
    """Return the name of a parameter of a model for its short or full form."""
    if name in model.parameters:
        return name
    found = [
        full
        for component, names in model.components
        for short, full in names.items()
        if name in (short, f"{component.name}.{short}")
    ]
    if len(found) == 1:
        return found[0]
    problem = "several parameters are" if found else "no parameter is"
    raise ModelError(
        f"{problem} called {name!r}; the model {model.expression!r} has {', '.join(model.names)}"
    )


def _fit_names(
    model: SpectralModel, name: str, made: Mapping[str, FitParameter], labels: Sequence[str]
) -> list[str]:
    """Return the names of a fit that a name means: those of all spectra, or of the one in brackets."""
    plain, bracket, label = name.partition("[")
    full = _full_name(model, plain)
    if not bracket:
        return [full] if full in made else [f"{full}[{label}]" for label in labels]
    wanted = f"{full}[{label}"
    if wanted in made:
        return [wanted]
    raise ModelError(
        f"there is no parameter {name!r}: name it in untied=, and give one of the labels {', '.join(labels)}"
    )


_SETTINGS = {"value", "min", "max", "frozen"}


def _set(entry: FitParameter, setting: Any) -> FitParameter:
    """Return a parameter with a value, or with what a mapping says of it."""
    given = setting if isinstance(setting, Mapping) else {"value": setting}
    if unknown := given.keys() - _SETTINGS:
        raise ModelError(
            f"parameter {entry.name!r}: found {', '.join(map(repr, unknown))}, "
            f"expected {', '.join(sorted(_SETTINGS))}"
        )
    spec = replace(
        entry.spec,
        value=float(given.get("value", entry.spec.value)),
        minimum=float(given.get("min", entry.spec.minimum)),
        maximum=float(given.get("max", entry.spec.maximum)),
        frozen=bool(given.get("frozen", entry.spec.frozen)),
    )
    if not spec.minimum < spec.maximum or np.isnan(spec.value):
        raise ModelError(
            f"parameter {entry.name!r}: found the value {spec.value:g} and limits {spec.minimum:g} to "
            f"{spec.maximum:g}; expected a number between two increasing limits"
        )
    if not spec.frozen and not spec.minimum <= spec.value <= spec.maximum:
        if "value" in given:
            raise ModelError(
                f"parameter {entry.name!r}: the value {spec.value:g} lies outside its limits "
                f"{spec.minimum:g} to {spec.maximum:g}; move the limits (min, max) or the value"
            )
        spec = replace(spec, value=float(np.clip(spec.value, spec.minimum, spec.maximum)))
    return FitParameter(entry.name, spec, entry.given or "value" in given)


# ---------------------------------------------------------------- the problem


@dataclass(frozen=True)
class Minimum:
    """Where the statistic is smallest.

    Attributes
    ----------
    values, covariance
        Of all parameters; the covariance is 0 for frozen ones.
    statistic
        Its value.
    converged, message
        Whether the minimum was found, and what was wrong otherwise.
    calls
        How often the statistic was computed.
    """

    values: np.ndarray
    covariance: np.ndarray
    statistic: float
    converged: bool
    message: str
    calls: int


@dataclass(frozen=True)
class Interval:
    """Where the statistic, minimised over all other parameters, exceeds its minimum by some amount.

    An end at a limit of the parameter, or one that was not found, is NaN, and `status` says so.
    """

    low: float
    high: float
    status: str


class Problem:
    """The statistic of a model as a function of its free parameters.

    Parameters
    ----------
    model
        The model of all spectra.
    data
        The spectra.
    layout
        Their parameters.
    model_error
        Fraction of the model that is added to its errors (chi2 and gaussian).
    compat
        ``"xspec"`` for XSPEC's integrals over bins.
    """

    def __init__(
        self,
        model: SpectralModel,
        data: Sequence[FitData],
        layout: Layout,
        model_error: float = 0.0,
        compat: str | None = None,
    ) -> None:
        self.model, self.data, self.layout = model, tuple(data), layout
        self.model_error, self.compat = float(model_error), compat
        self.free = layout.free

    @property
    def dof(self) -> int:
        """Bins less free parameters."""
        return sum(entry.observed.size for entry in self.data) - self.free.size

    def expected(self, values: np.ndarray, spectrum: int) -> np.ndarray:
        """Return the counts of the source that the model says, in the bins of a spectrum."""
        data = self.data[spectrum]
        own = values[self.layout.places[spectrum]]
        return fold(data.matrix, self.model.photons(data.bins, own, self.compat))

    def statistic(self, values: np.ndarray) -> float:
        """Return the statistic for the values of all parameters."""
        total = 0.0
        with np.errstate(all="ignore"):
            for i, data in enumerate(self.data):
                total += statistic_of(data, self.expected(values, i), self.model_error)
        return total if np.isfinite(total) else _BAD

    def full(self, free: np.ndarray) -> np.ndarray:
        """Return the values of all parameters for those of the free ones."""
        values = self.layout.values
        values[self.free] = free
        return values

    # ------------------------------------------------------------ start

    def start(self) -> np.ndarray:
        """Return values to start from: scales by least squares, shapes not given from a few candidates."""
        values = self.layout.values
        best, lowest = values, np.inf
        for trial in self._candidates(values):
            scaled = self._scaled(trial)
            value = self.statistic(scaled)
            if value < lowest:
                best, lowest = scaled, value
        return best

    def _candidates(self, values: np.ndarray, most: int = 48) -> Iterable[np.ndarray]:
        """Return values with every combination of the start values of the shapes that were not given."""
        trials = [values]
        for i in self.free:
            entry = self.layout.parameters[i]
            inside = [value for value in entry.spec.starts if entry.spec.minimum < value < entry.spec.maximum]
            if entry.given or not inside or len(trials) * len(inside) > most:
                continue
            trials = [_with(trial, i, value) for trial in trials for value in inside]
        return trials

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Return values with scales that were not given fitted by least squares, none of them negative."""
        from scipy.optimize import nnls

        scales = [i for i in self.free if self._scale(i) and not self.layout.parameters[i].given]
        off = values.copy()
        off[scales] = [0.0 if self._scale(i) == "linear" else -100.0 for i in scales]
        columns, target = [], []
        for k, data in enumerate(self.data if scales else ()):
            error = np.sqrt(np.maximum(data.net_variance, 1e-3 * np.max(data.net_variance, initial=1e-30)))
            base = self._finite(off, k)
            alone = [self._finite(_with(off, i, values[i]), k) - base for i in scales]
            columns.append(np.stack(alone, axis=1) / error[:, np.newaxis])
            target.append((data.net - base) / error)
        try:
            factors, _ = nnls(np.concatenate(columns), np.concatenate(target))
        except (RuntimeError, ValueError):  # no scale, or no solution
            return values
        made = values.copy()
        for i, factor in zip(scales, np.maximum(factors, 1e-4), strict=True):
            spec = self.layout.parameters[i].spec
            scaled = values[i] * factor if spec.scale == "linear" else values[i] + np.log10(factor)
            made[i] = np.clip(scaled, spec.minimum, spec.maximum)
        return made

    def _scale(self, place: int) -> str:
        return self.layout.parameters[place].spec.scale

    def _finite(self, values: np.ndarray, spectrum: int) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.nan_to_num(self.expected(values, spectrum), posinf=0.0, neginf=0.0)

    # ------------------------------------------------------------ minimum

    def minuit(
        self,
        values: np.ndarray,
        errors: np.ndarray | None = None,
        extra: Callable[[np.ndarray], float] | None = None,
    ) -> Any:
        """Return an ``iminuit.Minuit`` of the free parameters, starting from values of all.

        It minimises the statistic, plus what `extra` gives for the values of all parameters.
        """
        from iminuit import Minuit

        buffer = values.copy()

        def statistic(free: np.ndarray) -> float:
            buffer[self.free] = free
            return self.statistic(buffer) + (extra(buffer) if extra is not None else 0.0)

        names = [self.layout.parameters[i].name for i in self.free]
        minuit = Minuit(statistic, values[self.free], name=names)
        minuit.errordef = 1.0
        minuit.tol = 1e-5
        for k, i in enumerate(self.free):
            spec = self.layout.parameters[i].spec
            low = spec.minimum if spec.minimum > -1e20 else None
            high = spec.maximum if spec.maximum < 1e20 else None
            minuit.limits[k] = (low, high)
            minuit.errors[k] = _step(values[i], spec) if errors is None else errors[k]
        return minuit

    def minimise(self, values: np.ndarray | None = None) -> tuple[Minimum, Any]:
        """Return the minimum, and the ``Minuit`` that found it.

        Where the first attempt fails, a simplex search and a more careful second one follow.
        """
        values = self.start() if values is None else values
        if self.free.size == 0:
            zero = np.zeros((values.size, values.size))
            return Minimum(values, zero, self.statistic(values), True, "", 1), None
        minuit = self.minuit(values)
        minuit.migrad()
        if not minuit.valid:
            minuit.simplex()
            minuit.strategy = 2
            minuit.migrad()
        minuit.hesse()
        return self.result(minuit), minuit

    def result(self, minuit: Any) -> Minimum:
        """Return what a ``Minuit`` found."""
        values = self.full(np.array(minuit.values))
        covariance = np.full((values.size, values.size), np.nan)
        frozen = np.setdiff1d(np.arange(values.size), self.free)
        covariance[frozen], covariance[:, frozen] = 0.0, 0.0
        if minuit.covariance is not None:
            covariance[np.ix_(self.free, self.free)] = np.array(minuit.covariance)
        message = self._complaint(minuit)
        return Minimum(values, covariance, float(minuit.fval), not message, message, int(minuit.nfcn))

    def _complaint(self, minuit: Any) -> str:
        """Return what is wrong with a minimum, nothing if it is good."""
        if minuit.fval >= _BAD:
            return "the model has no finite value at any parameters that were tried"
        if minuit.fmin.has_reached_call_limit:
            return "the minimiser gave up after too many steps"
        if not minuit.fmin.is_valid:
            return f"the minimum is not settled (estimated distance {minuit.fmin.edm:.3g} in the statistic)"
        if not minuit.accurate:
            return "the covariance is not positive definite: the data do not determine all free parameters"
        return ""

    def at_limits(self, values: np.ndarray) -> list[str]:
        """Return the names of free parameters that ended at a limit."""
        found = []
        for i in self.free:
            spec = self.layout.parameters[i].spec
            for limit in (spec.minimum, spec.maximum):
                if abs(limit) < 1e20 and abs(values[i] - limit) <= 1e-6 * max(abs(limit), abs(values[i])):
                    found.append(self.layout.parameters[i].name)
        return found

    # ------------------------------------------------------------ simulation

    def simulated(self, values: np.ndarray, rng: np.random.Generator) -> Problem:
        """Return the problem with counts drawn from the model of `values`, distributed as the data are."""
        drawn = [
            _drawn(data, self.expected(values, i), self.model_error, rng) for i, data in enumerate(self.data)
        ]
        layout = replace(
            self.layout,
            parameters=tuple(
                replace(entry, spec=replace(entry.spec, value=float(value)), given=True)
                for entry, value in zip(self.layout.parameters, values, strict=True)
            ),
        )
        return Problem(self.model, drawn, layout, self.model_error, self.compat)


def _with(values: np.ndarray, place: int, value: float) -> np.ndarray:
    made = values.copy()
    made[place] = value
    return made


def _step(value: float, spec: Parameter) -> float:
    """Return the first step of a parameter: a tenth of it, within its limits."""
    least = {"linear": 1e-6, "log10": 0.04}.get(spec.scale, 0.02)
    step = least if spec.scale == "log10" else max(0.1 * abs(value), least * (value == 0 or not spec.scale))
    return min(step, 0.25 * (spec.maximum - spec.minimum))


def statistic_of(data: FitData, expected: np.ndarray, model_error: float) -> float:
    """Return the statistic of one spectrum for the counts expected from its source."""
    if data.statistic == "chi2":
        return stat.chi_square(data.net, expected, data.net_variance, model_error)
    if data.statistic == "gaussian":
        return stat.gaussian(data.net, expected, data.net_variance, model_error)
    if data.statistic == "wstat":
        return stat.wstat(data.observed, data.background, data.ratio, expected)
    if data.statistic == "pgstat" and data.has_background:
        return stat.pgstat(data.observed, data.background, data.background_variance, data.ratio, expected)
    return stat.cstat(data.observed, expected)


def _drawn(data: FitData, expected: np.ndarray, model_error: float, rng: np.random.Generator) -> FitData:
    """Return data with counts drawn for an expected source: Poisson or Gaussian as the spectrum is.

    The background is the likeliest one for that source.
    """
    made: dict[str, Any] = {}
    mean = expected
    if data.has_background:
        level = data.background
        if data.background_poisson:
            triples = zip(data.observed, data.background, data.ratio, np.maximum(expected, 1e-5), strict=True)
            level = np.array([max(_likeliest(*entries), 0.0) for entries in triples])
            background = rng.poisson(level).astype(np.float64)
            made["background_variance"] = background
        else:
            background = rng.normal(level, np.sqrt(data.background_variance))
        made["background"] = background
        mean = expected + data.ratio * level
    if data.poisson:
        observed = rng.poisson(np.maximum(mean, 0.0)).astype(np.float64)
        if data.statistic in ("chi2", "gaussian"):
            made["variance"] = np.maximum(observed, 1.0)
    else:
        error = np.sqrt(data.variance + (model_error * expected) ** 2)
        observed = rng.normal(mean, error)
    return replace(data, observed=observed, **made)


def _likeliest(observed: float, background: float, ratio: float, expected: float) -> float:
    if observed <= 0:
        return background / (1.0 + ratio)
    if background <= 0:
        return max((observed - expected * (1.0 + 1.0 / ratio)) / (1.0 + ratio), 0.0)
    return stat.profiled_background(observed, background, ratio, expected)
