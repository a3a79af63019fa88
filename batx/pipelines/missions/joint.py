"""Spectra of a mission's tools with their links set and channels grouped, and fitted jointly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.channel_groups import group
from batx.errors import BatxError, BatxWarning, EmptySelectionError, ModelError
from batx.fit_tables import fit_table
from batx.fitting import fit as fit_spectra
from batx.io.open import open_dataset
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.io.write_fit import to_script
from batx.pipelines.frame import Work
from batx.pipelines.missions.toolbox import put
from batx.plots.fit import plot_fit
from batx.plots.page import save
from batx.spectral_models import spectral_model
from batx.spectrum_sums import spectrum_table

__all__ = ["FITTED", "Parts", "fit", "fit_jointly", "grouped", "merged_bins", "summary"]

#: names of parameters of absorption: the same for all observations of a source
_ABSORPTION = ("nh",)
#: by how much the sum of single fits is lower than the joint one if that is not in their minimum
_LOWER = 0.1
#: options of the step `fit`
FITTED = ("model", "energy", "tied", "parameters", "statistic", "errors", "least_counts")


@dataclass(frozen=True)
class Parts:
    """The files of a spectrum.

    Attributes
    ----------
    spectrum, background, redistribution, area
        Files; `None` where there is none. A redistribution that is in cm**2 needs no area.
    """

    spectrum: Path
    background: Path | None = None
    redistribution: Path | None = None
    area: Path | None = None


def grouped(
    work: Work, name: str, parts: Parts, *, min_counts: float, energy: Sequence[float], shared: bool = False
) -> dict[str, Any]:
    """Write a spectrum with groups and links as a product, with the files that it names beside it.

    Parameters
    ----------
    work
        Of the step.
    name
        Of the spectrum, without a suffix.
    parts
        Files of the tool.
    min_counts
        Least counts in a group; 0 for no groups.
    energy
        (low, high) keV: channels outside are marked as bad.
    shared
        Whether the redistribution is one for all, and keeps its name.

    Returns
    -------
    dict
        ``counts``, ``exposure``, ``channels`` (good ones).
    """
    links = {}
    for key, path, suffix in (
        ("backfile", parts.background, "_bkg.pha"),
        ("respfile", parts.redistribution, ".rmf"),
        ("ancrfile", parts.area, ".arf"),
    ):
        if path is None:
            links[key] = "none"
            continue
        ending = ".gz" if path.suffix == ".gz" else ""
        links[key] = path.name.removesuffix(".gz") if shared and key == "respfile" else f"{name}{suffix}"
        target = f"spectra/{links[key]}{ending}"
        if not work.output(target).exists():
            put(work, path, target)
    spectrum = open_dataset(parts.spectrum).load()
    spectrum = _outside_bad(spectrum, parts.redistribution, energy)
    if min_counts > 0:
        spectrum = group(spectrum, min_counts=min_counts)
    to_fits(spectrum.assign_attrs(links), work.output(f"spectra/{name}.pi"))
    good = spectrum["quality"].values == 0
    return {
        "counts": int(spectrum["counts"].values[good].sum()),
        "exposure": float(spectrum["exposure"]),
        "channels": int(good.sum()),
    }


def _outside_bad(spectrum: xr.Dataset, redistribution: Path | None, energy: Sequence[float]) -> xr.Dataset:
    """Mark channels outside a range of energies as bad (quality 1), by the energies of the response."""
    quality = (
        spectrum["quality"].values if "quality" in spectrum else np.zeros(spectrum.sizes["channel"], np.int16)
    )
    quality = np.broadcast_to(quality, spectrum.sizes["channel"]).astype(np.int16).copy()
    if redistribution is not None:
        response = open_dataset(redistribution)
        bounds = response["energy_bnds"].values
        if len(bounds) == len(quality):
            low, high = bounds.T
            quality[(low < energy[0] - 1e-6) | (high > energy[1] + 1e-6)] = 1
    return spectrum.assign(quality=("channel", quality, {"units": "1", "fits_name": "QUALITY"}))


def fit(work: Work) -> dict[str, Any]:
    """Fit a model to all spectra of the step ``group`` together, by the options `FITTED`."""
    names = work.before["group"].facts["spectra"]
    spectra = {name: work.path("group", f"spectra/{name}.pi") for name in names}
    return fit_jointly(work, spectra, **{name: work.options[name] for name in FITTED})


def fit_jointly(
    work: Work,
    spectra: Mapping[str, Path],
    *,
    model: str,
    energy: Sequence[float],
    tied: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    statistic: str = "cstat",
    least_counts: float = 0.0,
    errors: str = "covariance",
    flux: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Fit a model to spectra together; write the result, a table, commands for XSPEC and a figure.

    Parameters
    ----------
    work
        Of the step.
    spectra
        Label to file, with its links.
    model
        Expression.
    energy
        (low, high) keV.
    tied
        Parameters that all spectra share; by default those of absorption. Others are free for each.
    parameters
        Start values and limits, as for `batx.fit`.
    statistic
        As for `batx.fit`.
    least_counts
        Spectra with fewer counts in good channels are left out.
    errors
        As for `batx.fit`.
    flux
        Band of the fluxes, keV; by default `energy`.

    Returns
    -------
    dict
        ``statistic``, ``dof``, ``converged``, values and errors.
    """
    used = {}
    for label, path in spectra.items():
        counts = _counts(path)
        if counts < least_counts:
            work.notes.append(f"{label}: {counts:.0f} counts, fewer than {least_counts:g}, not fitted")
        else:
            used[label] = path
    if not used:
        raise EmptySelectionError(f"fit: none of {len(spectra)} spectra has at least {least_counts:g} counts")
    names = spectral_model(model).names
    shared = [name for name in names if name in _ABSORPTION] if tied is None else list(tied)
    if unknown := set(shared) - set(names):
        raise ModelError(f"tied: found {sorted(unknown)}, expected some of {', '.join(names)}")
    untied = [name for name in names if name not in shared] if len(used) > 1 else []
    how: dict[str, Any] = {
        "energy": (float(energy[0]), float(energy[1])),
        "statistic": statistic,
        "errors": errors,
        "flux": tuple(flux) if flux is not None else None,
    }
    given = _free_factor(used, names, parameters)
    found = fit_spectra(used, model, parameters=given, untied=untied, **how)
    if set(untied) - {"factor"}:
        found = _lower(work, found, used, model, given, untied, how)
    to_netcdf(found, work.output("fit/fit.nc"))
    work.output("fit/fit.txt").write_text(str(fit_table(found)) + "\n", encoding="utf-8")
    to_script(found, work.output("fit/fit.xcm"))
    shown = merged_bins(found)
    save(shown, work.output("figures/fit.png"), draw=plot_fit)
    save(shown, work.output("figures/unfolded.png"), draw=plot_fit, unfolded=True)
    return {
        "spectra": list(used),
        "statistic": float(found["statistic"]),
        "dof": int(found["dof"]),
        "converged": bool(found["converged"]),
        "values": _by_parameter(found, "value"),
        "errors": _by_parameter(found, "error"),
    }


def _lower(
    work: Work,
    found: xr.Dataset,
    used: Mapping[str, Path],
    model: str,
    given: Mapping[str, Any],
    untied: Sequence[str],
    how: Mapping[str, Any],
) -> xr.Dataset:
    """Return a joint fit, or a lower one that starts where each spectrum alone is fitted best.

    A start is tried for all spectra together, which may lead one of them into another minimum than its own.
    Where a spectrum cannot be fitted alone the joint fit stays as it is, with a note.
    """
    try:
        starts, alone = _single_fits(work, found, used, model, given, untied, how)
        if not alone < float(found["statistic"]) - _LOWER:
            return found
        again = fit_spectra(used, model, parameters=starts, untied=untied, **how)
    except BatxError as error:
        work.notes.append(f"whether there is a lower minimum of the fit is not known: {error}")
        return found
    return again if float(again["statistic"]) < float(found["statistic"]) else found


def _single_fits(
    work: Work,
    found: xr.Dataset,
    used: Mapping[str, Path],
    model: str,
    given: Mapping[str, Any],
    untied: Sequence[str],
    how: Mapping[str, Any],
) -> tuple[dict[str, Any], float]:
    """Return start values where each spectrum alone is fitted best, and the sum of their statistics.

    What all share is held where the joint fit has it.
    """
    at = _by_parameter(found, "value")
    shared = {
        name: {**_settings(given.get(name)), "value": at[name], "frozen": True}
        for name in at
        if "[" not in name
    }
    starts, alone = dict(given), 0.0
    for number, (label, path) in enumerate(used.items(), 1):
        work.progress(f"looking for a lower minimum: {label}, {number} of {len(used)}")
        own = {name.removesuffix(f"[{label}]"): value for name, value in given.items()}
        own = {name: value for name, value in own.items() if "[" not in name} | shared
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BatxWarning)  # what is used in the end says what is wrong with it
            one = fit_spectra(path, model, parameters=own, **{**how, "errors": "covariance"})
        alone += float(one["statistic"])
        best = _by_parameter(one, "value")
        for name in untied:
            key = f"{name}[{label}]"
            starts[key] = {**_settings(given.get(key, given.get(name))), "value": best[name]}
    return starts, alone


def _settings(given: Any) -> dict[str, Any]:
    """Return what is said of a parameter beside its value: its limits, whether it is frozen."""
    return dict(given) if isinstance(given, Mapping) else {}


def merged_bins(found: xr.Dataset, snr: float = 4.0, widest: float = 0.15) -> xr.Dataset:
    """Return a fit with its bins merged for pictures, until each is significant or wide; the fit is the same.

    Parameters
    ----------
    found
        Kind ``fit``.
    snr
        Signal-to-noise ratio at which a bin is full.
    widest
        Width, as a fraction of its energy, at which it is full even so.
    """
    keys, rate = found["bin_spectrum"].values, found["bin_rate"].values
    variance, edges = found["bin_rate_err"].values ** 2, found["bin_energy_bnds"].values
    first = 0
    parts: list[slice] = []
    for last in range(len(rate)):
        ends = last + 1 == len(rate) or keys[last + 1] != keys[first]
        full = rate[first : last + 1].sum() >= snr * np.sqrt(variance[first : last + 1].sum())
        wide = edges[last, 1] - edges[first, 0] >= widest * edges[first, 0]
        if full or wide or ends:
            parts.append(slice(first, last + 1))
            first = last + 1
    bounds = np.array([[edges[part][0, 0], edges[part][-1, 1]] for part in parts])
    sums = {
        name: np.array([found[name].values[part].sum() for part in parts])
        for name in ("bin_rate", "bin_model")
    }
    error = np.sqrt([variance[part].sum() for part in parts])
    merged = {
        "bin_spectrum": keys[[part.start for part in parts]],
        "bin_energy": bounds.mean(axis=1),
        "bin_energy_bnds": bounds,
        "bin_rate": sums["bin_rate"],
        "bin_rate_err": error,
        "bin_model": sums["bin_model"],
    }
    bare = found.drop_vars(list(merged))
    made = {name: (found[name].dims, values, found[name].attrs) for name, values in merged.items()}
    coords = {name: entry for name, entry in made.items() if name in found.coords}
    data = {name: entry for name, entry in made.items() if name not in coords}
    return bare.assign_coords(coords).assign(data)


def _by_parameter(found: xr.Dataset, name: str) -> dict[str, float]:
    return dict(zip(map(str, found["parameter"].values), found[name].values.tolist(), strict=True))


def _free_factor(
    used: Mapping[str, Path], names: Sequence[str], parameters: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Freeze the constant of the first spectrum, to which those of the others are relative."""
    given = dict(parameters or {})
    first = f"factor[{next(iter(used))}]"
    if "factor" in names and len(used) > 1 and first not in given:
        given[first] = {"value": 1.0, "frozen": True}
    elif "factor" in names and len(used) == 1 and "factor" not in given:
        given["factor"] = {"value": 1.0, "frozen": True}
    return given


def _counts(path: Path) -> float:
    spectrum = open_dataset(path)
    good = spectrum["quality"].values == 0 if "quality" in spectrum else slice(None)
    return float(spectrum["counts"].values[good].sum())


def summary(work: Work, spectra: Sequence[Path], min_exposure: float) -> Any:
    """Write the table of spectra above an exposure as ``summary.csv``, and return it."""
    table = spectrum_table(spectra, min_exposure=min_exposure)
    table.to_csv(work.output("summary.csv"), index=False)
    return table
