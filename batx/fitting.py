"""Fits of models to spectra: the best parameters, their errors, fluxes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import call_engine
from batx.errors import BatxWarning, ValueRangeError
from batx.fit_data import limits_of
from batx.fit_errors import parameter_intervals
from batx.fit_inputs import Settings, is_pair, problem_of
from batx.fit_problems import Problem
from batx.fit_results import fit_dataset
from batx.units import to_value

__all__ = ["fit", "flux_bands", "warn_of"]


def fit(
    spectra: Any,
    model: Any = "powerlaw",
    *,
    response: Any = None,
    background: Any = None,
    energy: Any = None,
    statistic: Any = "auto",
    parameters: Mapping[str, Any] | None = None,
    untied: Sequence[str] = (),
    tied: Mapping[str, str] | None = None,
    errors: str = "profile",
    delta: float = 1.0,
    flux: Any = None,
    model_error: float = 0.0,
    ignore_bad: bool = True,
    compat: str | None = None,
    engine: Any = "native",
) -> xr.Dataset:
    """Return the fit of a model to a spectrum, or to several spectra jointly.

    Parameters
    ----------
    spectra
        Kind ``spectrum``, or a path; a list of these, or a mapping from a label to each, for a joint fit.
    model
        What `batx.spectral_model` takes: an expression such as ``"powerlaw"`` or ``"tbabs*(bbody+bremss)"``,
        a function, or a model.
    response
        Kind ``response``, a path, or a pair (redistribution, effective area); by default the files that the
        spectrum names, or for mask-weighted spectra the packaged response (`batx.response`).
    background
        Kind ``spectrum`` or a path; by default the file that the spectrum names, if it names one. `False` for
        none.
    energy
        (low, high) in keV. Bins that contain or end at a limit are left out, as with XSPEC's
        ``ignore **-low high-**``; the last bin too if it ends at `high`.
    statistic
        ``"chi2"``, ``"cstat"`` (with a background this is W), ``"wstat"``, ``"pgstat"`` (Poisson over a
        Gaussian background), ``"gaussian"`` (chi-square with the logarithms of the errors). ``"auto"``: chi2
        for rates with errors; for counts cstat, wstat, or pgstat, by their background.
    parameters
        Name to start value, or to a mapping of ``value``, ``min``, ``max``, ``frozen``.
    untied
        In a joint fit, names of parameters that each spectrum has for itself: ``norm[label]`` for each, with
        the labels 0, 1 ... for a list. All others are shared.
    tied
        Name to the name of the parameter whose value it takes.
    errors
        ``"profile"``: where the statistic, minimised over all other parameters, is `delta` above its
        minimum. ``"covariance"``: from its second derivatives, symmetric.
    delta
        1 for 68.3 %, 2.706 for 90 % of one parameter.
    flux
        Bands in keV: one (low, high), or a list of them for a dimension ``band``. By default `energy`, or
        what the bins span.
    model_error
        Systematic error of the model, a fraction of it, added to the errors (chi2 and gaussian).
    ignore_bad
        Leave out all channels with a quality other than 0; otherwise only those of quality 1.
    compat
        ``"xspec"`` integrates black bodies, bremsstrahlung and Band functions by two points to a bin, sums
        fluxes over the bins of the response, and takes one count for an error of zero, as XSPEC does.
    engine
        ``"native"``; ``"xspec"`` for pyXspec where it is installed, in a process of its own; or a
        `batx.xspec.Xspec`, which keeps that process for the next fit.

    For `response`, `background`, `energy` and `statistic`, a list or a mapping by label gives each spectrum
    its own.

    Returns
    -------
    xarray.Dataset
        Kind ``fit``: ``value``, ``error`` (1 sigma, from the covariance), ``error_low``, ``error_high`` (the
        intervals), ``covariance``, ``statistic``, ``dof``, ``flux`` and ``photon_flux`` of each band with
        errors, data and folded model bin by bin, the model curve; ``converged`` and ``attrs["message"]``.

    Raises
    ------
    ModelError
        If the model or its parameters make no sense.
    ResponseError, MissingFileError
        If there is no response, or it is not that of the spectrum.
    EmptySelectionError
        If all channels are bad or outside `energy`.
    MissingPackageError, EngineError
        If another engine is not there, or fails.
    ValueRangeError
        If the exposure is not positive, values are not finite, errors are zero, or a keyword is out of range.
    KindError
        If a spectrum is none, or is many along a dimension.

    Warns
    -----
    BatxWarning
        If the fit did not converge, there are more parameters than bins, a Poisson statistic is used on data
        that are not counts, the background of a net spectrum would be subtracted again, or the spectrum names
        a correction file, which is not used.

    Notes
    -----
    Minimised by MIGRAD (iminuit) from a start that least squares give; intervals by MINOS, those of fluxes
    by a Lagrange multiplier. Statistics and rules: algorithms, "Fits of spectra".

    Examples
    --------
    >>> from batx.schema import build
    >>> edges = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    >>> response = build("response", {"energy_in": edges.mean(axis=1), "energy_in_bnds": edges,
    ...     "channel": np.arange(3), "energy_bnds": edges,
    ...     "matrix": (("energy_in", "channel"), 10 * np.eye(3), {"units": "cm**2"})})
    >>> counts = build("spectrum", {"channel": np.arange(3), "counts": [40, 50, 50], "exposure": ((), 10.0)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> result = fit(counts, "powerlaw", response=response)
    >>> result.sel(parameter="index").value.round(2).item(), result.dof.item()
    (1.06, 1)
    """
    if errors not in ("profile", "covariance"):
        raise ValueRangeError(f"errors: found {errors!r}, expected 'profile' or 'covariance'")
    if not delta > 0:
        raise ValueRangeError(f"delta: found {delta}, expected a rise of the statistic above 0")
    if engine != "native":
        return call_engine(
            engine,
            "fit",
            spectra,
            model,
            errors=errors,
            delta=delta,
            flux=flux,
            response=response,
            background=background,
            energy=energy,
            statistic=statistic,
            parameters=parameters,
            untied=untied,
            tied=tied,
            model_error=model_error,
            ignore_bad=ignore_bad,
            compat=compat,
        )
    settings = Settings(
        response, background, energy, statistic, parameters, untied, tied, model_error, ignore_bad, compat
    )
    problem = problem_of(spectra, model, settings)
    warn_of(problem)
    minimum, search = problem.minimise()
    intervals = None
    if errors == "profile" and search is not None and minimum.converged:
        intervals, minimum = parameter_intervals(problem, search, minimum, delta)
    if not minimum.converged:
        warnings.warn(
            f"fit: {minimum.message}; see attrs['message'] of the result", BatxWarning, stacklevel=2
        )
    return fit_dataset(problem, minimum, intervals, flux_bands(flux, energy, problem), delta)


def flux_bands(flux: Any, energy: Any, problem: Problem) -> np.ndarray:
    """Return the band of the fluxes as (2,), or several as (band, 2)."""
    if flux is None and is_pair(energy):
        flux = limits_of(energy)
    if flux is None:
        edges = np.concatenate([data.energies.ravel() for data in problem.data])
        flux = (max(edges.min(), 1e-3), edges.max())
    bands = np.asarray(to_value(flux, "keV", "flux"), np.float64)
    shaped = bands.ndim in (1, 2) and bands.shape[-1] == 2
    if not shaped or not (bands > 0).all() or not (bands[..., 0] < bands[..., 1]).all():
        raise ValueRangeError(f"flux: found {flux}, expected (low, high) in keV, or a list of them")
    return bands


def warn_of(problem: Problem) -> None:
    """Warn of what makes the numbers of a fit mean less than they seem to."""
    if problem.dof < 0:
        warnings.warn(
            f"fit: {problem.free.size} free parameters, {problem.dof + problem.free.size} bins; freeze some",
            BatxWarning,
            stacklevel=3,
        )
    for data in problem.data:
        if data.has_background and data.is_net:
            warnings.warn(
                f"fit: spectrum {data.label!r} says that its background is subtracted (HDUCLAS2 NET), and is "
                "given one that is subtracted again; pass background=False if that is not meant",
                BatxWarning,
                stacklevel=3,
            )
        if data.correction:
            warnings.warn(
                f"fit: spectrum {data.label!r} names a correction file ({data.correction}, CORRFILE), which "
                "is not subtracted",
                BatxWarning,
                stacklevel=3,
            )
        if data.statistic in ("cstat", "wstat", "pgstat") and not data.poisson:
            warnings.warn(
                f"fit: spectrum {data.label!r} is not of Poisson counts; {data.statistic} takes rate times "
                "exposure for counts and leaves its errors aside; use statistic='chi2'",
                BatxWarning,
                stacklevel=3,
            )
