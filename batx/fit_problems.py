"""A model against the data of one or several spectra: its statistic, minimum and simulations.

Plain numbers only; private to the public functions of `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batx.fit_data import FitData
from batx.fit_parameters import Layout
from batx.fit_starts import approach, starting_values
from batx.kernels import fit_statistics as stat
from batx.kernels.fold import fold
from batx.kernels.minimise import Search
from batx.model_components import Parameter
from batx.spectral_models import SpectralModel

__all__ = ["Interval", "Minimum", "Problem"]

#: the statistic of a model that has no value
_BAD = 1e30


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

    # ------------------------------------------------------------ minimum

    def search(
        self,
        values: np.ndarray,
        steps: np.ndarray | None = None,
        extra: Callable[[np.ndarray], float] | None = None,
    ) -> Search:
        """Return a search for the minimum over the free parameters, starting from values of all.

        It is of the statistic, plus what `extra` gives for the values of all parameters.
        """
        buffer = values.copy()

        def function(free: np.ndarray) -> float:
            buffer[self.free] = free
            return self.statistic(buffer) + (extra(buffer) if extra is not None else 0.0)

        specs = [self.layout.parameters[i].spec for i in self.free]
        start = values[self.free]
        scaled = [spec.scale == "linear" and value > 0 for spec, value in zip(specs, start, strict=True)]
        return Search(
            function,
            start,
            _steps(start, specs, steps),
            np.array([spec.minimum for spec in specs]),
            np.array([spec.maximum for spec in specs]),
            np.where(scaled, np.abs(start), 1.0),
        )

    def minimise(self, values: np.ndarray | None = None) -> tuple[Minimum, Search | None]:
        """Return the minimum, and the search that found it; a failed attempt is followed by a second."""
        values = starting_values(self) if values is None else values
        if self.free.size == 0:
            zero = np.zeros((values.size, values.size))
            return Minimum(values, zero, self.statistic(values), True, "", 1), None
        values, steps = approach(self, values)
        search = self.search(values, steps)
        if not search.minimise():
            search.insist()
        search.curvature()
        return self.result(search), search

    def result(self, search: Search) -> Minimum:
        """Return what a search found."""
        values = self.full(search.values)
        covariance = np.zeros((values.size, values.size))
        covariance[np.ix_(self.free, self.free)] = search.covariance
        message = search.complaint()
        if search.lowest >= _BAD:
            message = "the model has no finite value at any parameters that were tried"
        return Minimum(values, covariance, search.lowest, not message, message, search.calls)

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


def _steps(start: np.ndarray, specs: Sequence[Parameter], given: np.ndarray | None) -> np.ndarray:
    """Return the first steps of parameters: those given that make sense, else a tenth of the parameter."""
    made = []
    for k, (value, spec) in enumerate(zip(start, specs, strict=True)):
        least = {"linear": 1e-6, "log10": 0.04}.get(spec.scale, 0.02)
        own = (
            least if spec.scale == "log10" else max(0.1 * abs(value), least * (value == 0 or not spec.scale))
        )
        if given is not None and 0 < given[k] < np.inf:
            own = given[k]
        made.append(min(own, 0.25 * (spec.maximum - spec.minimum)))
    return np.array(made)


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
