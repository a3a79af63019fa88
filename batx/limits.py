"""Is there a source in a spectrum, and if not, how bright may it be: significances, limits, sensitivities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ModelError, ValueRangeError
from batx.fit_data import FitData
from batx.fit_inputs import problem_of, settings_of
from batx.fit_problems import Problem, statistic_of
from batx.fitting import fit
from batx.kernels.limits import best_amplitude, credible_limit, li_ma, over_gaussian, profile_limit
from batx.provenance import calibration_of, united, with_calibration
from batx.schema import build, require_kind
from batx.sources import position_limit
from batx.units import to_value

__all__ = ["TEMPLATES", "sensitivity", "significance", "upper_limit"]

#: spectra of bursts as searches use them (Goldstein et al. 2019, arXiv:1903.12597, table 1)
TEMPLATES: dict[str, tuple[str, dict[str, float]]] = {
    "soft": ("band", {"alpha": -1.9, "beta": -3.7, "e_peak": 70.0}),
    "normal": ("band", {"alpha": -1.0, "beta": -2.3, "e_peak": 230.0}),
    "hard": ("peakpl", {"index": 1.5, "e_peak": 1500.0}),
}
METHODS = ("bayesian", "profile", "rate")


def upper_limit(
    ds: xr.Dataset, ra: Any = None, dec: Any = None, *, sigma: float = 3.0, **options: Any
) -> xr.Dataset | xr.DataArray:
    """Return how bright a source may be that is not seen: a rate in an image, a flux from a spectrum.

    Parameters
    ----------
    ds
        Kind ``sky_image``, with a position; or kind ``spectrum``, single or against time.
    ra, dec
        Position in an image, as for `photometry`.
    sigma
        Confidence as that of a Gaussian, one-sided: 3 means 99.865 %.
    **options
        For an image, further keywords of `photometry`. For a spectrum:

        index, template, model
            Shape of the source: the index of a power law (2 if nothing is said), or a list of them; one or a
            list of ``"soft"``, ``"normal"``, ``"hard"`` (bursts) and indices; or a model as for `fit`, whose
            start values (`parameters`) are the shape.
        flux
            (low, high) in keV of the flux that is limited; the channels used by default.
        method
            ``"bayesian"``: holds that part of the posterior of the amplitude, flat from 0 on. ``"profile"``:
            where -2 ln L is sigma² above its minimum; the minimum may be at a negative amplitude where the
            data allow it. ``"rate"``: sigma times the error of the rate in the band, Σσ² over the channels,
            whatever the rate is.
        response, background, energy, statistic, parameters, ignore_bad
            As for `fit`.
        compat
            ``"batanalysis"``: the flux of a power law fitted to sigma times the error in every channel at
            once.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Of an image: the rate (source, energy). Of a spectrum kind ``limit``: ``flux_limit`` (erg/cm**2/s),
        ``photon_flux_limit``, ``rate_limit`` (count/s in the channels used); ``flux``, ``flux_err`` and
        ``snr`` of the likeliest amplitude; with dimensions ``([time,] [template])``.

    Raises
    ------
    KindError
        If `ds` is neither.
    ValueRangeError, ModelError
        If a keyword makes no sense, or the shape gives no counts in the channels.
    PositionError, ResponseError, MissingFileError, EmptySelectionError
        As for `photometry` and `fit`.

    Notes
    -----
    Image: with the fitted rate r and its error e, L = r - e Φ⁻¹((1 - Φ(sigma)) Φ(r / e)), the Bayesian
    limit.

    Spectrum: the likelihood of an amplitude, the shape being fixed, with the background as in a fit. For
    Gaussian data the profile limit is r + sigma e of the matched rate and covers exactly; the Bayesian limit
    covers more for sources that are faint compared with the noise. A spectrum with every channel at sigma
    times its error, as the peer's limit takes it, is √n times brighter than the limit of n equal channels.

    Examples
    --------
    >>> from batx.schema import build
    >>> edges = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    >>> response = build("response", {"energy_in": edges.mean(axis=1), "energy_in_bnds": edges,
    ...     "channel": np.arange(3), "energy_bnds": edges,
    ...     "matrix": (("energy_in", "channel"), 0.1 * np.eye(3), {"units": "cm**2"})})
    >>> spectrum = build("spectrum", {"channel": np.arange(3), "rate": [0.01, -0.02, 0.01],
    ...     "stat_err": [0.02, 0.02, 0.02], "exposure": ((), 100.0)},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> limit = upper_limit(spectrum, index=1.0, sigma=5, method="rate", response=response)
    >>> round(float(limit.rate_limit), 4)
    0.1732
    """
    kind = require_kind(ds, "sky_image", "spectrum", operation="upper_limit")
    if not sigma > 0:
        raise ValueRangeError(f"sigma: found {sigma}, expected a positive number")
    if kind == "sky_image":
        return position_limit(ds, ra, dec, sigma=sigma, **options)
    if ra is not None or dec is not None:
        raise ValueRangeError("upper_limit: a spectrum is that of its source; give no position")
    compat = options.pop("compat", None)
    if compat not in (None, "batanalysis"):
        raise ValueRangeError(f"compat: found {compat!r}, expected None or 'batanalysis'")
    if compat:
        return _peers_limit(ds, sigma, **options)
    return _of_each(ds, lambda one: _flux_limits(one, sigma, **options))


def significance(spectrum: xr.Dataset, energy: Any = (15.0, 150.0), **options: Any) -> xr.Dataset:
    """Return the significance of the source of a spectrum, by the rate in a band.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``, single or against time.
    energy
        (low, high) in keV.
    **options
        `response`, `background`, `ignore_bad` as for `fit`.

    Returns
    -------
    xarray.Dataset
        ``rate``, ``rate_err`` (count/s, net), ``snr``, ``p_value`` (probability of as much from noise),
        with dimension ``time`` if `spectrum` has it.

    Raises
    ------
    KindError, EmptySelectionError, ResponseError, MissingFileError
        As for `fit`.
    ValueRangeError
        If the counts are Poisson and there is no background to compare them with.

    Notes
    -----
    Gaussian rates: Σr / √Σσ², statistical errors alone. Counts over counts of a background: equation 17 of
    Li & Ma (1983, ApJ 272, 317); over rates of a background the likelihood ratio of Vianello (2018, ApJS 236,
    17). With a minus where there are fewer than expected.

    Examples
    --------
    >>> from batx.schema import build
    >>> edges = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    >>> spectrum = build("spectrum", {"channel": np.arange(3), "energy": edges.mean(axis=1),
    ...     "energy_bnds": edges, "rate": [0.1, 0.1, 0.1], "stat_err": [0.02, 0.02, 0.02],
    ...     "exposure": ((), 100.0)}, {"statistic": "gaussian", "weighting": "mask"})
    >>> response = build("response", {"energy_in": [50.0], "energy_in_bnds": [[10.0, 90.0]],
    ...     "channel": np.arange(3), "energy_bnds": edges,
    ...     "matrix": (("energy_in", "channel"), np.ones((1, 3)), {"units": "cm**2"})})
    >>> round(float(significance(spectrum, (10, 120), response=response).snr), 2)
    8.66
    """
    require_kind(spectrum, "spectrum", operation="significance")
    return _of_each(spectrum, lambda one: _significance(one, energy, options))


def sensitivity(
    spectrum: xr.Dataset, pcode: Any, *, exposure: Any = None, sigma: float = 5.0, **options: Any
) -> xr.Dataset:
    """Return the flux that a source needs to be sigma times its error, against coded fraction.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``, mask-weighted, of a faint source; its errors are those of the background.
    pcode
        Coded fractions, a number or 1-D.
    exposure
        Seconds; that of `spectrum` by default.
    sigma
        Times the error of the rate in the band.
    **options
        As for `upper_limit` of a spectrum. Give `response` for the place that has the coded fraction where
        that matters: the response of `spectrum` is used for all of them.

    Returns
    -------
    xarray.Dataset
        As for `upper_limit`, with dimension ``pcode``.

    Raises
    ------
    ValueRangeError
        If a fraction is not in (0, 1], or `spectrum` does not say its own (``pcodefr``).

    Notes
    -----
    The error of a mask-weighted rate per detector goes as 1/√(pcode × exposure) as long as the background
    dominates.

    Examples
    --------
    >>> from batx.schema import build
    >>> edges = np.array([[15.0, 50.0], [50.0, 150.0]])
    >>> response = build("response", {"energy_in": edges.mean(axis=1), "energy_in_bnds": edges,
    ...     "channel": np.arange(2), "energy_bnds": edges,
    ...     "matrix": (("energy_in", "channel"), 0.1 * np.eye(2), {"units": "cm**2"})})
    >>> spectrum = build("spectrum", {"channel": np.arange(2), "rate": [0.0, 0.0],
    ...     "stat_err": [0.02, 0.02], "exposure": ((), 100.0)},
    ...     {"statistic": "gaussian", "weighting": "mask", "pcodefr": 1.0})
    >>> found = sensitivity(spectrum, [1.0, 0.25], response=response)
    >>> (found.flux_limit[1] / found.flux_limit[0]).round(3).item()
    2.0
    """
    require_kind(spectrum, "spectrum", operation="sensitivity")
    fractions = np.atleast_1d(to_value(pcode, "1", "pcode"))
    own = spectrum.attrs.get("pcodefr")
    if not ((fractions > 0) & (fractions <= 1)).all() or own is None or not float(own) > 0:
        raise ValueRangeError(
            f"sensitivity: found coded fractions {fractions.tolist()} and {own} for the spectrum (pcodefr), "
            "expected them above 0 and at most 1"
        )
    longer = (
        1.0 if exposure is None else float(to_value(exposure, "s", "exposure")) / float(spectrum["exposure"])
    )
    options = {"method": "rate", **options}
    made: list[xr.Dataset] = []
    for fraction in fractions:
        error = spectrum["stat_err"] * np.sqrt(float(own) / fraction / longer)
        scaled = spectrum.assign(stat_err=error)
        made.append(_of_each(scaled, lambda one: _flux_limits(one, sigma, **options)))
    return xr.concat(made, xr.Variable("pcode", fractions, {"units": "1", "long_name": "coded fraction"}))


# --- one spectrum ------------------------------------------------------------------------------------------


def _of_each(spectrum: xr.Dataset, function: Callable[[xr.Dataset], xr.Dataset]) -> xr.Dataset:
    """Return results for a spectrum, or for each along time."""
    if "time" not in spectrum.dims:
        return function(spectrum)
    if spectrum.sizes["time"] == 0:
        raise EmptySelectionError("there are no spectra along time")
    made = [function(spectrum.isel(time=number)) for number in range(spectrum.sizes["time"])]
    time = {name: spectrum[name] for name in ("time", "time_bnds") if name in spectrum.coords}
    together = xr.concat(
        [one.drop_vars(["time", "time_bnds"], errors="ignore") for one in made],
        "time",
        combine_attrs="override",
    )
    served = united(one.attrs for one in made)
    return together.assign_coords(time).assign_attrs(with_calibration(together.attrs, served))


@dataclass(frozen=True)
class _Shape:
    """A source of fixed shape: what it gives for an amplitude of 1."""

    name: str
    problem: Problem
    counts: np.ndarray
    flux: float
    photon_flux: float
    band: tuple[float, float]


def _shapes(spectrum: xr.Dataset, options: dict[str, Any]) -> list[_Shape]:
    """Return the shapes that are asked for, and take what says so out of the options."""
    index, template, model = (options.pop(name, None) for name in ("index", "template", "model"))
    if sum(entry is not None for entry in (index, template, model)) > 1:
        raise ValueRangeError("upper_limit: index, template and model are one choice; give one of them")
    band = options.pop("flux", None)
    parameters = dict(options.pop("parameters", None) or {})
    settings = settings_of(options, "upper_limit")
    if model is None:
        wanted = template if template is not None else (2.0 if index is None else index)
        names = np.atleast_1d(np.array(wanted, dtype=object)).tolist()
        several = [(str(name), *_template(name)) for name in names]
    else:
        several = [(str(model), model, {})]
    return [
        _shape(spectrum, name, expression, parameters | values, settings, band)
        for name, expression, values in several
    ]


def _template(name: Any) -> tuple[str, dict[str, float]]:
    if isinstance(name, str):
        if name not in TEMPLATES:
            raise ValueRangeError(f"template: found {name!r}, expected {', '.join(TEMPLATES)} or an index")
        return TEMPLATES[name]
    return "powerlaw", {"index": float(name)}


def _shape(
    spectrum: xr.Dataset, name: str, model: Any, parameters: Mapping[str, Any], settings: Any, band: Any
) -> _Shape:
    from dataclasses import replace

    problem = problem_of(spectrum, model, replace(settings, parameters=parameters))
    data = problem.data[0]
    values = problem.layout.values
    counts = problem.expected(values, 0)
    low, high = _band(band, data)
    flux, photons = (problem.model.flux(low, high, values, energy=energy) for energy in (True, False))
    if not (np.isfinite(counts).all() and counts.sum() > 0 and np.isfinite(flux) and flux > 0):
        raise ModelError(
            f"upper_limit: {name} gives no counts in the channels, or no flux in {low:g}-{high:g} keV"
        )
    return _Shape(name, problem, counts, flux, photons, (low, high))


def _band(band: Any, data: FitData) -> tuple[float, float]:
    if band is None:
        return float(data.energies.min()), float(data.energies.max())
    limits = to_value(band, "keV", "flux")
    if limits.shape != (2,) or not 0 < limits[0] < limits[1]:
        raise ValueRangeError(f"flux: found {band}, expected (low, high) in keV")
    return float(limits[0]), float(limits[1])


def _flux_limits(spectrum: xr.Dataset, sigma: float, method: str = "bayesian", **options: Any) -> xr.Dataset:
    if method not in METHODS:
        raise ValueRangeError(f"method: found {method!r}, expected one of {', '.join(METHODS)}")
    listed = any(isinstance(options.get(name), (list, tuple, np.ndarray)) for name in ("index", "template"))
    shapes = _shapes(spectrum, options)
    rows = [_limited(shape, sigma, method) for shape in shapes]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    made: dict[str, Any] = {
        name: (("template",), values) if listed else ((), values[0]) for name, values in columns.items()
    }
    if listed:
        made["template"] = np.array([shape.name for shape in shapes], dtype=object)
    attrs = {
        key: spectrum.attrs[key]
        for key in ("object", "obs_id", "telescope", "instrument")
        if key in spectrum.attrs
    }
    attrs |= shapes[0].problem.provenance
    low, high = shapes[0].band
    return build("limit", made, attrs | {"sigma": float(sigma), "method": method, "emin": low, "emax": high})


def _limited(shape: _Shape, sigma: float, method: str) -> dict[str, float]:
    data = shape.problem.data[0]
    weight = np.where(data.net_variance > 0, 1.0 / np.maximum(data.net_variance, 1e-300), 0.0)
    if not weight.any():
        weight = np.ones_like(shape.counts)
    # amplitude 1 is as bright as the error of the matched rate
    unit = 1.0 / np.sqrt(np.sum(shape.counts**2 * weight))
    counts = shape.counts * unit

    def statistic(amplitude: float) -> float:
        with np.errstate(all="ignore"):
            value = statistic_of(data, amplitude * counts, 0.0)
        return value if np.isfinite(value) else 1e300

    lowest = None if data.statistic in ("chi2", "gaussian") else 0.0
    best = best_amplitude(statistic if lowest is None else _from_zero(statistic), 0.5, 1.0)
    snr = np.sign(best) * np.sqrt(max(statistic(0.0 if lowest is None else 1e-9) - statistic(best), 0.0))
    if method == "rate":
        amplitude = sigma * float(np.sqrt(data.net_variance.sum()) / counts.sum())
    elif method == "profile":
        amplitude = profile_limit(statistic, best, 1.0, sigma)
    else:
        amplitude = credible_limit(statistic, best, 1.0, _level(sigma))
    error = profile_limit(statistic, best, 1.0, 1.0) - best
    per = unit / data.exposure
    return {
        "flux_limit": amplitude * unit * shape.flux,
        "photon_flux_limit": amplitude * unit * shape.photon_flux,
        "rate_limit": amplitude * float(shape.counts.sum()) * per,
        "flux": best * unit * shape.flux,
        "flux_err": error * unit * shape.flux,
        "snr": float(snr),
    }


def _from_zero(statistic: Callable[[float], float]) -> Callable[[float], float]:
    """Return a statistic that grows below an amplitude of 0, where counts would be negative."""
    return lambda amplitude: statistic(max(amplitude, 1e-9)) + max(1e-9 - amplitude, 0.0) ** 2 * 1e3


def _level(sigma: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(sigma))


def _significance(spectrum: xr.Dataset, energy: Any, options: Mapping[str, Any]) -> xr.Dataset:
    from scipy.stats import norm

    settings = settings_of({**options, "energy": energy}, "significance")
    bare = spectrum.drop_vars("sys_err", errors="ignore")
    bare.attrs = {key: value for key, value in spectrum.attrs.items() if key != "sys_err"}
    data = problem_of(bare, "powerlaw", settings).data[0]
    if data.poisson and not data.has_background:
        raise ValueRangeError(
            "significance: the counts are Poisson and there is no background to compare them with; give "
            "background=, or subtract it"
        )
    net, error = float(data.net.sum()), float(np.sqrt(data.net_variance.sum()))
    if data.poisson and data.background_poisson:
        snr = li_ma(float(data.observed.sum()), float(data.background.sum()), _mean_ratio(data))
    elif data.poisson:
        behind = float(np.sum(data.ratio**2 * data.background_variance))
        snr = over_gaussian(
            float(data.observed.sum()), float(np.sum(data.ratio * data.background)), behind**0.5
        )
    else:
        snr = net / error
    return xr.Dataset(
        {
            "rate": ((), net / data.exposure, {"units": "count/s", "long_name": "net rate in the band"}),
            "rate_err": ((), error / data.exposure, {"units": "count/s", "long_name": "its 1-sigma error"}),
            "snr": ((), snr, {"units": "1", "long_name": "significance"}),
            "p_value": ((), norm.sf(snr), {"units": "1", "long_name": "probability of as much from noise"}),
        },
        attrs=with_calibration(
            {"emin": float(data.energies.min()), "emax": float(data.energies.max())}, calibration_of(spectrum)
        ),
    )


def _mean_ratio(data: FitData) -> float:
    total = data.background.sum()
    return float(np.sum(data.ratio * data.background) / total) if total > 0 else float(data.ratio.mean())


def _peers_limit(
    spectrum: xr.Dataset, sigma: float, index: float = 2.0, flux: Any = None, **options: Any
) -> xr.Dataset:
    """Return the flux of a power law fitted to a spectrum with sigma times the error in every channel."""
    raised = spectrum.assign(
        rate=(spectrum["stat_err"] * sigma).assign_attrs(units="count/s"),
        stat_err=xr.zeros_like(spectrum["stat_err"]),
    ).drop_vars("counts", errors="ignore")
    fixed = {"index": {"value": float(index), "frozen": True}}
    made = fit(
        raised, "powerlaw", parameters=fixed, statistic="cstat", errors="covariance", flux=flux, **options
    )
    values = {
        "flux_limit": float(np.squeeze(made["flux"])),
        "photon_flux_limit": float(np.squeeze(made["photon_flux"])),
    }
    attrs = with_calibration({"sigma": float(sigma), "method": "batanalysis"}, calibration_of(made))
    return build("limit", {name: ((), value) for name, value in values.items()}, attrs)
