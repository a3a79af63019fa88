"""The result of a fit as a Dataset. Private to `batx.fitting`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.fit_data import FitData
from batx.fit_errors import function_error, function_interval, surroundings
from batx.fit_problems import NO_VALUE, Interval, Minimum, Problem
from batx.kernels.models import xspec_flux
from batx.schema import build

__all__ = ["fit_dataset", "flux_function"]

#: parameters that say where a spectrum bends
_BREAKS = ("e_cut", "e_peak", "e_fold")
#: points of the model curve
_CURVE = 120


def fit_dataset(
    problem: Problem,
    minimum: Minimum,
    intervals: Sequence[Interval] | None,
    bands: np.ndarray,
    delta: float,
    fluxes: Mapping[str, np.ndarray] | None = None,
    folded: Sequence[np.ndarray] | None = None,
) -> xr.Dataset:
    """Return the kind ``fit``.

    Parameters
    ----------
    problem, minimum
        What was fitted, and where its minimum is.
    intervals
        Of the free parameters; with them, fluxes have intervals too.
    bands
        (2,) or (band, 2) Edges of the band of the fluxes, or of several, in keV.
    delta
        Rise of the statistic at the ends of the intervals.
    fluxes, folded
        Fluxes (spectrum, band) by name, and counts of the model in the bins of each spectrum, where another
        program computed them.
    """
    layout = problem.layout
    specs = [entry.spec for entry in layout.parameters]
    variables: dict[str, Any] = {
        "parameter": np.array([entry.name for entry in layout.parameters]),
        "value": minimum.values,
        "error": np.sqrt(np.diag(minimum.covariance)),
        "unit": ("parameter", np.array([spec.unit for spec in specs])),
        "minimum": np.array([spec.minimum for spec in specs]),
        "maximum": np.array([spec.maximum for spec in specs]),
        "frozen": np.array([spec.frozen for spec in specs]),
        "covariance": (("parameter", "parameter2"), minimum.covariance),
        "statistic": ((), minimum.statistic if minimum.statistic < NO_VALUE else np.nan),
        "dof": ((), problem.dof),
        "converged": ((), minimum.converged),
        **_ends(problem, minimum, intervals),
        **(
            _fluxes(problem, minimum, bands, delta if intervals is not None else None)
            if fluxes is None
            else _flux_variables(problem, fluxes, bands)
        ),
        **_folded(problem, minimum, folded),
        **_curve(problem, minimum),
    }
    if len(problem.data) > 1:
        variables["spectrum"] = ("spectrum", np.array([data.label for data in problem.data]))
    made = build("fit", variables, _attrs(problem, minimum, intervals, delta))
    return made.set_coords("spectrum") if "spectrum" in made else made


def _attrs(
    problem: Problem, minimum: Minimum, intervals: Sequence[Interval] | None, delta: float
) -> dict[str, Any]:
    notes = [minimum.message] if minimum.message else []
    pegged = problem.at_limits(minimum.values)
    notes += [f"{name} is at a limit" for name in pegged]
    names = [problem.layout.parameters[i].name for i in problem.free]
    loose = np.isnan(np.diag(minimum.covariance)[problem.free]) & minimum.converged
    notes += [
        f"{name} is not determined"
        for name, is_loose in zip(names, loose, strict=True)
        if is_loose and name not in pegged
    ]
    notes += [
        f"{problem.layout.parameters[i].name}: {entry.status}"
        for i, entry in zip(problem.free, intervals or (), strict=False)
        if entry.status
    ]
    notes += _beyond(problem, minimum)
    statistics = [data.statistic for data in problem.data]
    first = problem.data[0].identity
    identity = {
        key: value
        for key, value in first.items()
        if all(data.identity.get(key) == value for data in problem.data)
    }
    identity |= {
        "model": problem.model.expression,
        "fit_statistic": statistics[0] if len(set(statistics)) == 1 else "+".join(statistics),
        "delta": float(delta),
        "message": "; ".join(notes),
        "model_error": problem.model_error,
        "compat": problem.compat,
        "tied": json.dumps(dict(problem.layout.tied)) if problem.layout.tied else None,
        "inputs": json.dumps([_input(data) for data in problem.data]),
    }
    return identity | problem.provenance


def _beyond(problem: Problem, minimum: Minimum) -> list[str]:
    """Return what is to be said of breaks of the spectrum that lie outside the energies of the data."""
    edges = np.concatenate([data.energies.ravel() for data in problem.data])
    low, high = edges.min(), edges.max()
    return [
        f"{entry.name} lies outside the energies used, {low:g} to {high:g} keV"
        for entry, value in zip(problem.layout.parameters, minimum.values, strict=True)
        if entry.name.rpartition(".")[2].partition("[")[0] in _BREAKS
        and not entry.spec.frozen
        and not low <= value <= high
    ]


def _input(data: FitData) -> dict[str, Any]:
    """Return what a spectrum is and how it was used."""
    return {
        "label": data.label,
        "statistic": data.statistic,
        "energy": data.limits,
        **({"keep_bad": True} if data.keep_bad else {}),
        **data.files,
    }


def _ends(problem: Problem, minimum: Minimum, intervals: Sequence[Interval] | None) -> dict[str, Any]:
    """Return errors to both sides: from the intervals, else from the covariance."""
    low = np.sqrt(np.diag(minimum.covariance))
    high = low.copy()
    for i, entry in zip(problem.free, intervals or (), strict=False):
        low[i], high[i] = minimum.values[i] - entry.low, entry.high - minimum.values[i]
    for values in (low, high):
        values[[entry.spec.frozen for entry in problem.layout.parameters]] = np.nan
    return {"error_low": low, "error_high": high}


def flux_function(
    problem: Problem, spectrum: int, band: np.ndarray, energy: bool = True
) -> Callable[[np.ndarray], float]:
    """Return the flux of a band as a function of the values of all parameters."""
    low, high = (float(edge) for edge in band)
    if not 0 < low < high:
        raise ValueRangeError(f"flux: found a band from {low:g} to {high:g} keV, expected 0 < lower < upper")
    place, data = problem.layout.places[spectrum], problem.data[spectrum]
    if problem.compat == "xspec":

        def counted(values: np.ndarray) -> float:
            photons = problem.model.photons(data.bins, values[place], "xspec")
            return xspec_flux(photons, data.bins.edges, low, high, energy)

        return counted
    return lambda values: problem.model.flux(low, high, values[place], energy)


def _fluxes(problem: Problem, minimum: Minimum, bands: np.ndarray, delta: float | None) -> dict[str, Any]:
    """Return fluxes with 1-sigma errors, and with intervals if `delta` is given."""
    names = ["flux", "flux_err", "photon_flux", "photon_flux_err"] + ["flux_low", "flux_high"] * (
        delta is not None
    )
    values: dict[str, list[list[float]]] = {name: [] for name in names}
    around = surroundings(problem, minimum) if delta is not None else None
    for k in range(len(problem.data)):
        rows: dict[str, list[float]] = {name: [] for name in names}
        for band in np.atleast_2d(bands):
            for name, energy in (("flux", True), ("photon_flux", False)):
                function = flux_function(problem, k, band, energy)
                rows[name].append(function(minimum.values))
                rows[f"{name}_err"].append(float(function_error(problem, minimum, function)))
            if delta is not None:
                function = flux_function(problem, k, band)
                interval = function_interval(problem, minimum, function, delta, around)
                rows["flux_low"].append(interval.low)
                rows["flux_high"].append(interval.high)
        for name, row in rows.items():
            values[name].append(row)
    return _flux_variables(problem, {name: np.array(rows) for name, rows in values.items()}, bands)


def _flux_variables(problem: Problem, values: Mapping[str, np.ndarray], bands: np.ndarray) -> dict[str, Any]:
    """Return fluxes (spectrum, band) with the dimensions that they need, and their bands."""
    joint, several = len(problem.data) > 1, bands.ndim == 2
    dims = ("spectrum",) * joint + ("band",) * several
    keep = (slice(None) if joint else 0, slice(None) if several else 0)
    made: dict[str, Any] = {name: (dims, rows[keep]) for name, rows in values.items()}
    centre = (("band",) * several, bands.mean(axis=-1))
    return {**made, "band": centre, "band_bnds": (("band",) * several + ("bnds",), bands)}


def _folded(problem: Problem, minimum: Minimum, folded: Sequence[np.ndarray] | None = None) -> dict[str, Any]:
    """Return data and model of the bins that were used, as rates."""
    net, error, model = [], [], []
    for k, data in enumerate(problem.data):
        expected = problem.expected(minimum.values, k) if folded is None else folded[k]
        net.append(data.net / data.exposure)
        error.append(np.sqrt(data.net_variance + (problem.model_error * expected) ** 2) / data.exposure)
        model.append(expected / data.exposure)
    bounds = np.concatenate([data.energies for data in problem.data])
    labels = np.repeat([data.label for data in problem.data], [data.observed.size for data in problem.data])
    return {
        "bin_spectrum": ("bin", labels),
        "bin_energy": bounds.mean(axis=1),
        "bin_energy_bnds": bounds,
        "bin_rate": np.concatenate(net),
        "bin_rate_err": np.concatenate(error),
        "bin_model": np.concatenate(model),
    }


def _curve(problem: Problem, minimum: Minimum) -> dict[str, Any]:
    """Return the photon spectrum of the model over the energies of the bins, with its error."""
    edges = np.concatenate([data.energies.ravel() for data in problem.data])
    low = max(edges.min(), min(data.bins.edges[0] for data in problem.data), 1e-3)
    energy = np.geomspace(low, edges.max(), _CURVE)
    curves = [_density(problem, k, energy) for k in range(len(problem.data))]
    values = np.stack([curve(minimum.values) for curve in curves])
    errors = np.stack([function_error(problem, minimum, curve) for curve in curves])
    joint = len(problem.data) > 1
    dims = ("spectrum", "curve_energy") if joint else ("curve_energy",)
    return {
        "curve_energy": energy,
        "curve": (dims, values if joint else values[0]),
        "curve_err": (dims, errors if joint else errors[0]),
    }


def _density(problem: Problem, spectrum: int, energy: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    place = problem.layout.places[spectrum]
    return lambda values: problem.model.density(energy, values[place]) * np.ones_like(energy)
