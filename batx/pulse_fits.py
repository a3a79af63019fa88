"""Pulses of bursts: sums of analytic shapes fitted to a light curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.band_curves import Bands, background_line, burst_span, cut, read_bands, result_attrs
from batx.errors import EmptySelectionError, ValueRangeError
from batx.kernels import pulse_models as models
from batx.kernels import pulses as kernel
from batx.met import to_met

__all__ = ["fit_pulses"]

#: the shape that begins at some time
SUDDEN = "norris2005"
#: most pulses that are looked for
MOST = 8
#: searches for the minimum; how far (in errors) intervals are followed, and in how many steps their end is
ATTEMPTS, FAR, HALVINGS = 4, 30.0, 7
#: time fitted before and after the burst, in units of its length
REACH = 1.0
#: part at either end of what is fitted in which only the baseline is expected, for the first guess
SIDES = 0.1
#: variables in seconds; of the others amplitude and fluence are in the unit of the rate
SECONDS = ("peak_time", "width", "rise", "decay", "start_time", "tau1", "tau2")


def fit_pulses(
    ds: xr.Dataset,
    *,
    peaks: Sequence[Any] | None = None,
    shape: str = "norris2005",
    interval: Any = None,
    baseline: int | None = None,
) -> xr.Dataset:
    """Return pulses whose sum describes a light curve, with errors.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with one band: rates with errors, or counts.
    peaks
        About when the pulses peak (MET, dates, Quantities), one for each. By default as many are taken as
        the Bayesian information criterion allows, at most 8.
    shape
        ``"norris2005"``: sudden rise and exponential decay (FRED) to Gaussian, four parameters;
        ``"norris1996"``: stretched exponentials of a rise and a decay with one power, five.
    interval
        Start and stop of what is fitted. By default the burst that `batx.bayesian_blocks` finds, or T100 of
        a result of `batx.duration`, and as much again on either side.
    baseline
        Degree of a polynomial in time under the pulses, 0 to 3; `None` for none. Counts need it.

    Returns
    -------
    xarray.Dataset
        Along ``pulse``, in the order of their peaks, fitted: ``amplitude`` (count/s, at the peak),
        ``peak_time`` (MET s), and ``width`` (s), ``asymmetry`` (``"norris2005"``), or ``rise``, ``decay``
        (s), ``peakedness`` (``"norris1996"``), each with ``_err_low``, ``_err_high`` to where the statistic
        rises by 1, and ``_err``, half of that interval; NaN where it is open. What follows from these, with
        ``_err`` from the covariance, NaN if an interval of the pulse is open: ``fluence`` (count), and
        ``rise``, ``decay``, ``start_time``, ``tau1``, ``tau2`` (s), or ``width``, ``asymmetry``. Along
        ``time``: ``rate``, ``rate_err``, ``model``, ``baseline_model`` and ``pulse_model`` (pulse, time) in
        count/s. ``statistic``, ``dof``, ``bic``, ``converged``; ``covariance`` (parameter, parameter2) of
        the parameters of `batx.kernels.pulse_models`.

    Raises
    ------
    KindError
        If there are several bands or sources.
    MissingVariableError
        If the light curve lacks bounds or exposure.
    EmptySelectionError
        If no burst is found and no `interval` given, no pulse is significant, or there are too few bins.
    ValueRangeError
        If counts have no baseline, or an argument is out of range; or as `batx.bayesian_blocks`.

    Notes
    -----
    The first guess is that of ``duration(method="pulses")``. Rates: χ² is minimised; counts: the Poisson
    likelihood (Cash 1979, ApJ 228, 939). Models are means over bins, by Gauss's rule on either side of the
    peaks. Minimum, covariance and intervals are those of iminuit (MIGRAD, HESSE, MINOS), intervals that it
    does not find are followed here. The fit finds the minimum that is next to the first guess. Bins with an
    error of 0 are left out.

    In the shape of Norris et al. 2005, ApJ 627, 324, A e^{2μ} exp(−τ₁/x − x/τ₂), x the time since the start
    and μ = √(τ₁/τ₂), start and τ₁ are not determined as the pulse becomes symmetric; peak, width
    w = τ₂ √(1 + 4μ) between where it is 1/e of the peak, and asymmetry κ = τ₂/w always are. Measured pulls:
    algorithms 2.12.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> t = np.arange(100) + 0.5
    >>> rate = np.random.default_rng(1).normal(20.0 * np.exp(-0.5 * ((t - 50.0) / 5.0) ** 2), 0.5)
    >>> lc = build("lightcurve", {"time": t, "time_bnds": (("time", "bnds"), t[:, None] + [-0.5, 0.5]),
    ...     "energy": [50.0], "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
    ...     "rate": (("time", "energy"), rate[:, None]),
    ...     "rate_err": (("time", "energy"), np.full((100, 1), 0.5)),
    ...     "exposure": np.ones(100), "fracexp": np.ones(100)},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> found = fit_pulses(lc)
    >>> found.sizes["pulse"], round(float(found.peak_time[0]), 1), round(float(found.width[0]), 1)
    (1, 50.0, 13.9)
    """
    if shape not in models.FITTED:
        raise ValueRangeError(
            f"shape: found {shape!r}, expected one of {', '.join(map(repr, models.FITTED))}"
        )
    if baseline is not None and baseline not in range(4):
        raise ValueRangeError(f"baseline: found {baseline!r}, expected None or a degree from 0 to 3")
    whole = read_bands(ds, "fit_pulses", one=True)
    if whole.counts is not None and baseline is None:
        raise ValueRangeError(
            "baseline: found None for counts, which have a background; expected a degree, baseline=1"
        )
    start, stop = burst_span(ds, interval, "fit_pulses")
    burst = (start, stop)
    if interval is None or isinstance(interval, xr.Dataset):
        start, stop = start - REACH * (stop - start), stop + REACH * (stop - start)
    bands = cut(whole, start, stop, len(models.FITTED[shape]) + 2, "fit_pulses")
    bands = bands.keep(bands.error[:, 0] > 0) if bands.counts is None else bands
    places = (
        None if peaks is None else np.array([float(to_met(peak, ds.attrs, name="peaks")) for peak in peaks])
    )
    problem = _Problem.of(bands, shape, baseline, _guess(bands, burst, shape, baseline, places))
    return _dataset(ds, problem, problem.solve())


# --- first guess -------------------------------------------------------------------------------------------


def _guess(
    bands: Bands, burst: tuple[float, float], shape: str, baseline: int | None, peaks: np.ndarray | None
) -> np.ndarray:
    """Return parameters of pulses (pulse, parameter) to begin with, times from the first bin."""
    rate, error = bands.rate[:, 0], bands.error[:, 0]
    if bands.counts is not None:
        error = np.sqrt(np.maximum(bands.counts[:, 0], 1.0)) / bands.exposure
    if baseline is not None:
        edge = SIDES * np.ptp(bands.centre)
        inner = (float(bands.centre[0] + edge), float(bands.centre[-1] - edge))
        rate = rate - background_line(bands, *inner, "fit_pulses")[0][:, 0]
    time = bands.lower - bands.lower[0]
    if peaks is None:
        found = kernel.fit_pulses(time, bands.width, rate, error, MOST)[0]
        if not len(found):
            raise EmptySelectionError(
                "fit_pulses: no pulse describes the light curve better than none; give peaks=, wider bins or "
                "another interval"
            )
        return models.first_guess(shape, found)
    centre = bands.centre - bands.lower[0]
    places = peaks - bands.lower[0]
    if not len(places) or np.any((places < centre[0]) | (places > centre[-1])):
        raise ValueRangeError(f"peaks: found {peaks.tolist()}, expected times within what is fitted")
    height = np.maximum(rate[np.abs(centre - places[:, np.newaxis]).argmin(axis=1)], np.median(error))
    apart = np.diff(np.sort(places)).min() if len(places) > 1 else burst[1] - burst[0]
    width = np.full(len(places), np.log(max(0.3 * min(apart, burst[1] - burst[0]), bands.width[0])))
    return models.first_guess(shape, np.column_stack([np.log(height), places, width, np.zeros(len(places))]))


# --- fit ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Solution:
    """Parameters (p,), covariance (p, p), distances to the ends of their intervals (p, 2), and goodness."""

    values: np.ndarray
    covariance: np.ndarray
    steps: np.ndarray
    statistic: float
    converged: bool


@dataclass(frozen=True)
class _Problem:
    """A light curve and the model that is fitted to it.

    Attributes
    ----------
    bands
        One band; times of parameters count from its first bin.
    shape
        That of `batx.kernels.pulse_models`.
    powers
        (bin, coefficient) of the baseline, Legendre polynomials over the bins.
    start
        Parameters to begin with: pulses, one after the other, then the baseline.
    n_pulses
        Their number.
    """

    bands: Bands
    shape: str
    powers: np.ndarray
    start: np.ndarray
    n_pulses: int

    @classmethod
    def of(cls, bands: Bands, shape: str, baseline: int | None, pulses: np.ndarray) -> _Problem:
        """Return the problem with a baseline that begins at what the pulses leave."""
        time = bands.lower - bands.lower[0]
        u = 2.0 * (bands.centre - bands.centre[0]) / (bands.centre[-1] - bands.centre[0]) - 1.0
        n = 0 if baseline is None else baseline + 1
        powers = np.polynomial.legendre.legvander(u, n - 1) if n else np.empty((u.size, 0))
        left = bands.rate[:, 0] - models.binned_shape(shape == SUDDEN, pulses, time, bands.width)
        coefficients = np.linalg.lstsq(powers, left, rcond=None)[0]
        return cls(bands, shape, powers, np.concatenate([pulses.ravel(), coefficients]), len(pulses))

    def pulses(self, values: np.ndarray) -> np.ndarray:
        """Return the parameters of the pulses (pulse, parameter)."""
        n = len(models.FITTED[self.shape])
        return values[: n * self.n_pulses].reshape(self.n_pulses, n)

    def baseline(self, values: np.ndarray) -> np.ndarray:
        """Return the rate under the pulses (bin,)."""
        return self.powers @ values[values.size - self.powers.shape[1] :]

    def model(self, pulses: np.ndarray) -> np.ndarray:
        """Return the rate of pulses (bin,)."""
        lower = self.bands.lower - self.bands.lower[0]
        return models.binned_shape(self.shape == SUDDEN, pulses, lower, self.bands.width)

    def statistic(self, values: np.ndarray) -> float:
        """Return χ², or −2 ln of the Poisson likelihood without a constant."""
        rate = self.model(self.pulses(values)) + self.baseline(values)
        if self.bands.counts is None:
            return float(np.sum(((self.bands.rate[:, 0] - rate) / self.bands.error[:, 0]) ** 2))
        from scipy.special import xlogy

        counts = self.bands.counts[:, 0]
        mean = np.maximum(rate * self.bands.exposure, 1e-10)
        return float(2.0 * np.sum(mean - counts - xlogy(counts, mean) + xlogy(counts, counts)))

    def minuit(self, start: np.ndarray) -> Any:
        """Return an ``iminuit.Minuit`` that begins at these parameters."""
        from iminuit import Minuit

        minuit = Minuit(self.statistic, start, name=self.names())
        minuit.errordef = 1.0
        minuit.tol = 1e-3
        stop = float(self.bands.lower[-1] + self.bands.width[-1] - self.bands.lower[0])
        step = float(np.median(self.bands.width))
        for k, pair in enumerate(models.limits(self.shape, 0.0, stop, step) * self.n_pulses):
            minuit.limits[k] = pair
            minuit.errors[k] = 0.1
        return minuit

    def solve(self) -> _Solution:
        """Return the minimum with covariance and intervals, where the search of these goes no lower."""
        minuit = self.minuit(self.start)
        for _ in range(ATTEMPTS):
            minuit.migrad()
            if not minuit.valid:
                minuit.simplex()
                minuit.strategy = 2
                minuit.migrad()
            minuit.hesse()
            if not minuit.valid:
                continue
            minuit.minos()
            entries = minuit.merrors.values()
            if not any(entry.lower_new_min or entry.upper_new_min for entry in entries):
                break
        values, size = np.array(minuit.values), self.start.size
        covariance = np.full((size, size), np.nan)
        if minuit.covariance is not None:
            covariance = np.array(minuit.covariance)
        steps = np.full((size, 2), np.nan)
        if minuit.valid:
            steps = np.array([self._steps(minuit, values, k) for k in range(size)])
        return _Solution(values, covariance, steps, self.statistic(values), bool(minuit.valid))

    def _steps(self, minuit: Any, values: np.ndarray, k: int) -> tuple[float, float]:
        """Return the distances to both ends of the interval of a parameter, NaN where it is open."""
        entry = minuit.merrors[minuit.parameters[k]]
        found = []
        for step, good, limited, sign in (
            (entry.lower, entry.lower_valid, entry.at_lower_limit, -1.0),
            (entry.upper, entry.upper_valid, entry.at_upper_limit, 1.0),
        ):
            if good and not limited:
                found.append(abs(step))
            else:
                found.append(np.nan if limited else self._far(values, k, sign, float(minuit.errors[k])))
        return found[0], found[1]

    def _far(self, values: np.ndarray, k: int, sign: float, step: float) -> float:
        """Return how far a parameter can go until the statistic, minimised by the others, rises by 1."""
        minuit = self.minuit(values)
        minuit.fixed[k] = True
        lowest = self.statistic(values)

        def rise(distance: float) -> float:
            minuit.values = values
            minuit.values[k] = values[k] + sign * distance
            minuit.migrad()
            return float(minuit.fval) - lowest - 1.0

        limit = minuit.limits[k][0 if sign < 0 else 1]
        furthest = min(abs(limit - values[k]), FAR * step)
        near, far = 0.0, min(step, furthest)
        while rise(far) < 0:
            if far >= furthest:
                return np.nan
            near, far = far, min(2.0 * far, furthest)
        for _ in range(HALVINGS):
            middle = 0.5 * (near + far)
            near, far = (middle, far) if rise(middle) < 0 else (near, middle)
        return 0.5 * (near + far)

    def names(self) -> list[str]:
        """Return the names of the parameters."""
        made = [f"pulse{k}_{name}" for k in range(self.n_pulses) for name in models.FITTED[self.shape]]
        return made + [f"baseline{k}" for k in range(self.powers.shape[1])]


# --- result ------------------------------------------------------------------------------------------------


def _dataset(ds: xr.Dataset, problem: _Problem, found: _Solution) -> xr.Dataset:
    """Return pulses, errors, models and goodness with units."""
    bands, values = problem.bands, found.values
    zero = bands.lower[0]
    pulses = problem.pulses(values)
    order = np.argsort(pulses[:, 1])
    rows = [_pulse(problem.shape, pulses[k], found, k * pulses.shape[1]) for k in order]
    per = {"per": "detector"} if ds.attrs.get("weighting") == "mask" else {}
    rate = {"units": "count/s", **per}
    variables: dict[str, Any] = {}
    for name in rows[0]:
        column = np.array([row[name] for row in rows]) + (
            zero if name in ("peak_time", "start_time") else 0.0
        )
        variables[name] = ("pulse", column, _units(name, per))
    own = np.array([problem.model(pulses[[k]]) for k in order])
    base = problem.baseline(values)
    one = {"units": "1"}
    variables |= {
        "pulse_model": (("pulse", "time"), own, rate),
        "baseline_model": ("time", base, rate),
        "model": ("time", own.sum(axis=0) + base, rate),
        "rate": ("time", bands.rate[:, 0], rate),
        "rate_err": ("time", bands.error[:, 0], rate),
        "covariance": (("parameter", "parameter2"), found.covariance),
        "statistic": ((), found.statistic, one),
        "dof": ((), bands.lower.size - values.size, one),
        "bic": ((), found.statistic + values.size * np.log(bands.lower.size), one),
        "converged": ((), found.converged),
    }
    s = {"units": "s"}
    bounds = np.column_stack([bands.lower, bands.lower + bands.width])
    coords = {
        "pulse": ("pulse", np.arange(len(rows))),
        "time": ("time", bands.centre, {**s, "bounds": "time_bnds"}),
        "time_bnds": (("time", "bnds"), bounds, s),
        "parameter": ("parameter", problem.names()),
        "energy_bnds": ("bnds", bands.energies[0], {"units": "keV"}),
    }
    attrs = {"pulse_shape": problem.shape, "fit_statistic": "chi2" if bands.counts is None else "cstat"}
    return xr.Dataset(variables, coords, result_attrs(ds) | attrs)


def _pulse(shape: str, pulse: np.ndarray, found: _Solution, first: int) -> dict[str, float]:
    """Return what is known of one pulse: values, errors, and intervals of what was fitted."""
    names = models.FITTED[shape]
    value = models.described(shape, pulse)
    row: dict[str, float] = {}
    for k, name in enumerate(names):
        ends = {}
        for side, sign, step in zip(("low", "high"), (-1.0, 1.0), found.steps[first + k], strict=True):
            moved = pulse + np.where(np.arange(pulse.size) == k, sign * step, 0.0)
            ends[f"{name}_err_{side}"] = abs(models.described(shape, moved)[name] - value[name])
        row |= {name: value[name], f"{name}_err": 0.5 * sum(ends.values())} | ends
    own = slice(first, first + len(names))
    error = models.propagated(shape, pulse, found.covariance[own, own])
    closed = np.isfinite(found.steps[own]).all()
    for name in [name for name in value if name not in names]:
        row |= {name: value[name], f"{name}_err": error[name] if closed else np.nan}
    return row


def _units(name: str, per: dict[str, str]) -> dict[str, str]:
    quantity = name.split("_err")[0]
    if quantity in SECONDS:
        return {"units": "s"}
    if quantity == "amplitude":
        return {"units": "count/s", **per}
    return {"units": "count", **per} if quantity == "fluence" else {"units": "1"}
