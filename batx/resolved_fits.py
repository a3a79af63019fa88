"""Fits of one model to each of many spectra along time, and what follows from their indices and fluxes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.detector_responses import response as bat_response
from batx.errors import BatxError, BatxWarning, EmptySelectionError, KindError
from batx.fitting import fit
from batx.provenance import united, with_calibration
from batx.schema import build, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs

__all__ = ["fit_series", "peak_energy"]

#: of a fit, what has no place in a series: it may differ from spectrum to spectrum
_SINGLE = ("bin_spectrum", "bin_energy", "bin_energy_bnds", "bin_rate", "bin_rate_err", "bin_model")
#: log10 of the peak energy in keV = first - second * index, for indices between the limits
_PEAK, _PEAK_LIMITS = (3.258, 0.829), (1.3, 2.3)


def fit_series(
    spectra: xr.Dataset, model: Any = "powerlaw", *, response: Any = None, **options: Any
) -> xr.Dataset:
    """Return the fit of a model to each spectrum along time: parameters, fluxes and fluences against time.

    Parameters
    ----------
    spectra
        Kind ``spectrum`` with a time axis, as ``ev.bat.spectrum(time=edges)`` makes of edges or blocks.
    model, **options
        As for `fit`.
    response
        Kind ``response``, one for all or with the same time axis; a list of one for each spectrum; or a path.
        By default each has its own: the mean along the way of the source during its time.

    Returns
    -------
    xarray.Dataset
        Kind ``fit`` with dimension ``time`` before those of a single fit, without the bins of the data;
        with ``exposure``, ``fluence`` and ``fluence_err`` (erg/cm**2: flux times the length of the time bin).
        A spectrum that cannot be fitted has NaN and ``converged`` false, and ``message`` says why.

    Raises
    ------
    KindError
        If `spectra` has no time axis.
    EmptySelectionError
        If there are no spectra.
    ModelError, ValueRangeError
        If the model or a keyword makes no sense; if no spectrum can be fitted, the error of the first.

    Warns
    -----
    BatxWarning
        If some spectra could not be fitted.

    Notes
    -----
    The fits are tasks of dask: one after the other unless a scheduler is set or a cluster is connected.

    Examples
    --------
    >>> edges = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    >>> matrix = build("response", {"energy_in": edges.mean(axis=1), "energy_in_bnds": edges,
    ...     "channel": np.arange(3), "energy_bnds": edges,
    ...     "matrix": (("energy_in", "channel"), 10 * np.eye(3), {"units": "cm**2"})})
    >>> spectra = build("spectrum", {"channel": np.arange(3), "time": [5.0, 15.0],
    ...     "time_bnds": [[0.0, 10.0], [10.0, 20.0]], "exposure": [10.0, 10.0],
    ...     "counts": (("time", "channel"), [[40, 50, 50], [90, 60, 30]])},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> fit_series(spectra, response=matrix).sel(parameter="index").value.round(1).values
    array([1.1, 2.1])
    """
    from dask import base, compute, delayed

    require_kind(spectra, "spectrum", operation="fit_series")
    if "time" not in spectra.dims:
        raise KindError("fit_series: the spectrum has no time axis; use fit, or ev.bat.spectrum(time=edges)")
    count = spectra.sizes["time"]
    if not count:
        raise EmptySelectionError("fit_series: there are no spectra")
    singles = [spectra.isel(time=number) for number in range(count)]
    tasks = [
        delayed(_fitted)(one, model, own, options)
        for one, own in zip(singles, _responses(spectra, response), strict=True)
    ]
    found = compute(*tasks, scheduler=base.get_scheduler() or "synchronous")
    made = [entry for entry in found if isinstance(entry, xr.Dataset)]
    failed = [entry for entry in found if not isinstance(entry, xr.Dataset)]
    if not made:
        raise failed[0]
    if failed:
        warnings.warn(
            f"fit_series: {len(failed)} of {count} spectra not fitted, the first because: {failed[0]}",
            BatxWarning,
            stacklevel=2,
        )
    return _together(spectra, found, made[0])


def _fitted(
    spectrum: xr.Dataset, model: Any, response: Any, options: dict[str, Any]
) -> xr.Dataset | BatxError:
    try:
        return fit(spectrum, model, response=response, **options).drop_vars(_SINGLE, errors="ignore")
    except BatxError as error:
        return error


def _responses(spectra: xr.Dataset, response: Any) -> Sequence[Any]:
    """Return the response of each spectrum."""
    count = spectra.sizes["time"]
    knows = "trace_time" in spectra or "bat_xobj" in spectra
    if response is None and knows and spectra.attrs.get("weighting") == "mask":
        response = bat_response(spectra)
    if isinstance(response, xr.Dataset) and "time" in response.dims:
        if response.sizes["time"] != count:
            raise KindError(
                f"fit_series: {response.sizes['time']} responses along time for {count} spectra, expected as "
                "many"
            )
        return [response.isel(time=number, drop=True) for number in range(count)]
    if isinstance(response, list):
        if len(response) != count:
            raise KindError(
                f"fit_series: {len(response)} responses for {count} spectra; they must be as many"
            )
        return response
    return [response] * count


def _together(
    spectra: xr.Dataset, found: Sequence[xr.Dataset | BatxError], pattern: xr.Dataset
) -> xr.Dataset:
    """Return fits along time, NaN for those that failed."""
    rows = [_without_time(entry if isinstance(entry, xr.Dataset) else _unfitted(pattern)) for entry in found]
    same = [name for name in ("minimum", "maximum", "frozen", *rows[0].coords) if name in rows[0].variables]
    series = xr.concat([row.drop_vars(same) for row in rows], "time", combine_attrs="drop")
    variables = {
        str(name): var for name, var in [*series.variables.items(), *rows[0][same].variables.items()]
    }
    bounds = spectra["time_bnds"].values
    length = xr.Variable("time", bounds[:, 1] - bounds[:, 0])
    for name, fluence in (("flux", "fluence"), ("flux_err", "fluence_err")):
        product = (variables[name] * length).transpose(*variables[name].dims)
        variables[fluence] = xr.Variable(product.dims, product.values, {"units": "erg cm**-2"})
    notes = [
        str(entry) if isinstance(entry, BatxError) else entry.attrs.get("message", "") for entry in found
    ]
    variables["message"] = xr.Variable("time", np.array(notes, dtype=object))
    variables |= {name: spectra[name].variable for name in ("time", "time_bnds", "exposure")}
    attrs = kept_attrs(spectra.attrs, *ORIGIN) | kept_attrs(pattern.attrs, "model", "fit_statistic", "delta")
    served = united(entry.attrs for entry in found if isinstance(entry, xr.Dataset))
    return build("fit", variables, with_calibration(attrs, served))


def _without_time(one: xr.Dataset) -> xr.Dataset:
    return one.drop_vars(["time", "time_bnds"], errors="ignore")


def _unfitted(pattern: xr.Dataset) -> xr.Dataset:
    """Return a fit with nothing found: NaN, and not converged."""
    empty = xr.full_like(
        pattern.drop_vars([name for name in pattern if pattern[name].dtype.kind != "f"]), np.nan
    )
    return pattern.assign(empty.data_vars).assign(converged=False)


def peak_energy(index: Any, error: Any = None) -> xr.Dataset:
    """Return an estimate of the energy at which E² N peaks, from the index of a power law in 15-150 keV.

    Parameters
    ----------
    index
        Photon indices, an array or a DataArray.
    error
        Their 1-sigma errors.

    Returns
    -------
    xarray.Dataset
        ``peak_energy`` in keV, NaN where the index is not between 1.3 and 2.3; with `error`,
        ``peak_energy_low`` and ``peak_energy_high``: where the index is one sigma softer and harder.

    Notes
    -----
    log10(E_peak / keV) = 3.258 - 0.829 index for 1.3 ≤ index ≤ 2.3 (Sakamoto et al. 2009, ApJ 693, 922,
    equation 5), of bursts that are power laws within the band of BAT. The limits carry the error of the index
    only, not the scatter of bursts about the relation.

    Examples
    --------
    >>> peak_energy([1.5, 1.9, 3.0]).peak_energy.round(0).values
    array([103.,  48.,  nan])
    """
    given = xr.DataArray(index) if not isinstance(index, xr.DataArray) else index
    shifts = {"peak_energy": 0.0}
    sigma: Any = 0.0
    if error is not None:
        sigma = error if isinstance(error, xr.DataArray) else xr.DataArray(np.asarray(error), dims=given.dims)
        shifts |= {"peak_energy_low": 1.0, "peak_energy_high": -1.0}
    inside = (given >= _PEAK_LIMITS[0]) & (given <= _PEAK_LIMITS[1])
    made = {}
    for name, shift in shifts.items():
        value = 10 ** (_PEAK[0] - _PEAK[1] * (given + shift * sigma))
        made[name] = value.where(inside).assign_attrs(units="keV", long_name="estimate of the peak energy")
    return xr.Dataset(made)
