"""A model against the data of one or several spectra: its statistic, minimum and simulations.

Plain numbers only; private to the public functions of `batx.fitting`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batx.fit_data import FitData
from batx.fit_parameters import Layout
from batx.fit_starts import approach, starting_values, weights_of
from batx.kernels import fit_statistics as stat
from batx.kernels.minimise import Search
from batx.model_components import Parameter
from batx.provenance import united, with_calibration
from batx.spectral_models import SpectralModel

__all__ = ["NO_VALUE", "Interval", "Minimum", "Problem"]

#: the statistic of a model that has no value
NO_VALUE = 1e30
#: how many recent values of the statistic of each spectrum are kept
_REMEMBERED = 16


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
        self.used = [np.flatnonzero(np.isin(self.free, place)) for place in layout.places]
        self._memory: list[dict[bytes, float]] = [{} for _ in self.data]

    @property
    def provenance(self) -> dict[str, Any]:
        """Attributes that say which calibration served the spectra and their responses."""
        return with_calibration({}, united(data.provenance for data in self.data))

    @property
    def dof(self) -> int:
        """Bins less free parameters."""
        return sum(entry.observed.size for entry in self.data) - self.free.size

    def expected(self, values: np.ndarray, spectrum: int) -> np.ndarray:
        """Return the counts of the source that the model says, in the bins of a spectrum."""
        data = self.data[spectrum]
        own = values[self.layout.places[spectrum]]
        return data.fold(self.model.photons(data.bins, own, self.compat))

    def slopes(self, values: np.ndarray, spectrum: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected counts (bin,) of a spectrum and their derivatives (free, bin)."""
        expected, own = self.own_slopes(values, spectrum)
        made = np.zeros((self.free.size, expected.size))
        made[self.used[spectrum]] = own
        return expected, made

    def own_slopes(self, values: np.ndarray, spectrum: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected counts (bin,) of a spectrum and their derivatives (used, bin).

        Those by the free parameters that the spectrum uses: `used` has their places among the free ones.
        """
        place, data = self.layout.places[spectrum], self.data[spectrum]

        def photons(trial: np.ndarray) -> np.ndarray:
            return self.model.photons(data.bins, trial[place], self.compat)

        rows = [photons(values)]
        for k in self.used[spectrum]:
            i = int(self.free[k])
            low, high = _around(values[i], self.layout.parameters[i].spec)
            rows.append((photons(_with(values, i, high)) - photons(_with(values, i, low))) / (high - low))
        folded = data.fold(np.stack(rows))
        return folded[0], folded[1:]

    def gradient(self, values: np.ndarray) -> np.ndarray:
        """Return the derivatives of the statistic by the free parameters."""
        made = np.zeros(self.free.size)
        for spectrum, used in enumerate(self.used):
            made[used] += self.own_gradient(values, spectrum)
        return made

    def own_gradient(self, values: np.ndarray, spectrum: int) -> np.ndarray:
        """Return the derivatives of the statistic of a spectrum by the free parameters that it uses."""
        with np.errstate(all="ignore"):
            expected, slopes = self.own_slopes(values, spectrum)
            own = slopes @ slope_of(self.data[spectrum], expected, self.model_error)
        return np.nan_to_num(own, posinf=0.0, neginf=0.0)

    def own_equations(self, values: np.ndarray, spectrum: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `own_gradient`, and the second derivatives as Gauss and Newton have them, (used, used)."""
        data = self.data[spectrum]
        with np.errstate(all="ignore"):
            expected, slopes = self.own_slopes(values, spectrum)
            own = slopes @ slope_of(data, expected, self.model_error)
        slopes = np.nan_to_num(slopes)
        weight = weights_of(data, np.nan_to_num(expected), self.model_error)
        return np.nan_to_num(own, posinf=0.0, neginf=0.0), 2.0 * (slopes * weight) @ slopes.T

    def own_bends(self, values: np.ndarray, errors: np.ndarray, spectrum: int) -> np.ndarray:
        """Return the second derivatives of the counts expected in a spectrum, (used, used, bin).

        They are differences over a tenth of `errors`, which are rough errors of the free parameters.
        """
        used = self.used[spectrum]
        made = np.zeros((used.size, used.size, self.data[spectrum].observed.size))
        for row, k in enumerate(used):
            i = int(self.free[k])
            low, high = _around(values[i], self.layout.parameters[i].spec, 0.1 * errors[k])
            if high > low:
                above, below = (self.own_slopes(_with(values, i, x), spectrum)[1] for x in (high, low))
                made[row] = (above - below) / (high - low)
        return np.nan_to_num(0.5 * (made + made.transpose(1, 0, 2)))

    def own_curvature(self, values: np.ndarray, errors: np.ndarray, spectrum: int) -> np.ndarray:
        """Return the second derivatives of the statistic of a spectrum, (used, used).

        They are differences of `own_gradient` over a hundredth of `errors`, which are rough errors of the
        free parameters.
        """
        used = self.used[spectrum]
        made = np.zeros((used.size, used.size))
        for row, k in enumerate(used):
            i = int(self.free[k])
            low, high = _around(values[i], self.layout.parameters[i].spec, 0.01 * errors[k])
            if high > low:
                rise = self.own_gradient(_with(values, i, high), spectrum)
                rise = rise - self.own_gradient(_with(values, i, low), spectrum)
                made[row] = rise / (high - low)
        return 0.5 * (made + made.T)

    def covariance(self, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return the covariance of all parameters: twice the inverse of the second derivatives.

        Those are of `own_curvature`, with rough errors of the free parameters. NaN for parameters at a limit,
        and for those that nothing depends on; for all where the statistic is not curved upwards in all other
        directions.
        """
        curvature = np.zeros((self.free.size, self.free.size))
        for spectrum, used in enumerate(self.used):
            curvature[np.ix_(used, used)] += self.own_curvature(values, errors, spectrum)
        pegged = set(self.at_limits(values))
        held = np.array([self.layout.parameters[i].name in pegged for i in self.free], bool)
        made = np.zeros((values.size, values.size))
        made[np.ix_(self.free, self.free)] = _inverse(0.5 * curvature, held)
        return made

    def statistic(self, values: np.ndarray) -> float:
        """Return the statistic for the values of all parameters.

        A spectrum of several whose own parameters are those of a recent call is not folded again.
        """
        total = sum(self.own_statistic(values, i) for i in range(len(self.data)))
        return total if np.isfinite(total) else NO_VALUE

    def own_statistic(self, values: np.ndarray, spectrum: int) -> float:
        """Return the statistic of a spectrum."""
        with np.errstate(all="ignore"):
            if len(self.data) > 1:
                return self._remembered(values, spectrum)
            return self._statistic(values, spectrum)

    def _statistic(self, values: np.ndarray, spectrum: int) -> float:
        return statistic_of(self.data[spectrum], self.expected(values, spectrum), self.model_error)

    def _remembered(self, values: np.ndarray, spectrum: int) -> float:
        memory = self._memory[spectrum]
        key = values[self.layout.places[spectrum]].tobytes()
        if key not in memory:
            if len(memory) >= _REMEMBERED:
                memory.pop(next(iter(memory)))
            memory[key] = self._statistic(values, spectrum)
        return memory[key]

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

        def gradient(free: np.ndarray) -> np.ndarray:
            buffer[self.free] = free
            made = self.gradient(buffer)
            return made if extra is None else made + self.extra_gradient(buffer, extra)

        specs = [self.layout.parameters[i].spec for i in self.free]
        start = values[self.free]
        scaled = [spec.scale == "linear" and value > 0 for spec, value in zip(specs, start, strict=True)]
        return Search(
            function,
            gradient,
            start,
            _steps(start, specs, steps),
            np.array([spec.minimum for spec in specs]),
            np.array([spec.maximum for spec in specs]),
            np.where(scaled, np.abs(start), 1.0),
        )

    def extra_gradient(self, values: np.ndarray, extra: Callable[[np.ndarray], float]) -> np.ndarray:
        """Return the derivatives by the free parameters of a function of the values of all parameters."""
        made = []
        for i in self.free:
            low, high = _around(values[i], self.layout.parameters[i].spec)
            made.append((extra(_with(values, i, high)) - extra(_with(values, i, low))) / (high - low))
        return np.array(made)

    def held(self, place: int) -> Problem:
        """Return the problem with one of the free parameters, counted among these, kept where it is."""
        made = copy(self)  # with the same memory: the statistic is the same
        made.free = np.delete(self.free, place)
        made.used = [np.flatnonzero(np.isin(made.free, own)) for own in self.layout.places]
        return made

    def minimise(self, values: np.ndarray | None = None) -> tuple[Minimum, Search | None]:
        """Return the minimum, and the search that found it; a failed attempt is followed by a second."""
        values = starting_values(self) if values is None else values
        if self.free.size == 0:
            zero = np.zeros((values.size, values.size))
            return Minimum(values, zero, self.statistic(values), True, "", 1), None
        values, steps = approach(self, values)
        search = self.search(values, steps)
        if not search.minimise() and not search.minimise(strategy=1):
            search.insist()
        return self._result(search, steps), search

    def _result(self, search: Search, errors: np.ndarray) -> Minimum:
        values = self.full(search.values)
        covariance = self.covariance(values, errors)
        message = search.complaint()
        if not message and not np.isfinite(np.diag(covariance)[self.free]).any():
            message = "the data do not determine the free parameters: the covariance is singular"
        if search.lowest >= NO_VALUE:
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


def _around(value: float, spec: Parameter, step: float = 0.0) -> tuple[float, float]:
    """Return values to both sides of a parameter, within its limits, for a derivative."""
    step = min(step, 0.05 * max(abs(value), 0.0 if spec.scale == "linear" else 0.1))
    if not step > 1e-9 * abs(value):
        step = max(1e-3 * abs(value), 1e-12) if spec.scale == "linear" else 1e-5 * max(abs(value), 0.1)
    return max(value - step, spec.minimum), min(value + step, spec.maximum)


def _inverse(curvature: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the inverse of half the second derivatives.

    It is NaN in the rows and columns of parameters that are held, and of those that alone make up a direction
    in which there is no curvature; everywhere if several together do.
    """
    made = np.full_like(curvature, np.nan)
    held = held | ~(np.diag(curvature) > 0)
    while not held.all():
        used = np.flatnonzero(~held)
        scale = np.sqrt(np.diag(curvature)[used])
        correlation = curvature[np.ix_(used, used)] / np.outer(scale, scale)
        if not np.isfinite(correlation).all():
            return made
        value, vector = np.linalg.eigh(correlation)
        if value[0] > 1e-8:  # the differences are no better
            made[np.ix_(used, used)] = np.linalg.inv(correlation) / np.outer(scale, scale)
            return made
        flat = int(np.argmax(np.abs(vector[:, 0])))
        if vector[flat, 0] ** 2 < 0.9:
            return made
        held[used[flat]] = True
    return made


def _with(values: np.ndarray, place: int, value: float) -> np.ndarray:
    made = values.copy()
    made[place] = value
    return made


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


def slope_of(data: FitData, expected: np.ndarray, model_error: float) -> np.ndarray:
    """Return the derivatives of `statistic_of` by the counts expected in each bin."""
    if data.statistic in ("chi2", "gaussian"):
        logarithm = data.statistic == "gaussian"
        return stat.chi_square_slope(data.net, expected, data.net_variance, model_error, logarithm)
    if data.statistic == "wstat":
        return stat.wstat_slope(data.observed, data.background, data.ratio, expected)
    if data.statistic == "pgstat" and data.has_background:
        return stat.pgstat_slope(
            data.observed, data.background, data.background_variance, data.ratio, expected
        )
    return stat.cstat_slope(data.observed, expected)


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
