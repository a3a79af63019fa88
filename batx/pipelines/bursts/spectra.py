"""Spectra of the intervals of a burst, their responses, fits and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.detector_responses import response
from batx.engines import where_possible
from batx.errors import BatxError
from batx.fitting import fit
from batx.intervals import gti_intersection
from batx.io.open import open_dataset
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.limits import significance, upper_limit
from batx.pipelines.bursts.light import weighted_events
from batx.pipelines.bursts.names import BANDS, FLUENCE, Files, interval, one
from batx.pipelines.frame import Work
from batx.spectra import spectrum
from batx.spectrum_errors import add_position, add_systematics

__all__ = ["MODELS", "fits", "spectra"]

#: product -> intervals whose intersection is taken
_RATES = {
    "total": ("tot",),
    "t90": ("t90",),
    "t50": ("t50",),
    "peak": ("peak",),
    "preslew": ("preslew", "tot"),
    "slew": ("slew",),
    "postslew": ("postslew", "tot"),
}
_FLUENCES = {"totflu": ("tot",), "peakflu": ("peak",)}
MODELS = ("powerlaw", "peakpl")
#: a peak is preferred to a power law if it lowers chi-square by more than this (Sakamoto et al. 2008)
_BETTER = 6.0
#: quality of channels that have no events, and so no error
_EMPTY = 5


def spectra(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write the spectra of the intervals, each with its response, and the fluences in four bands."""
    names, compat = Files.of(work), work.options["compat"]
    events, trace = weighted_events(work), one(work, "weights", "*.evaux")
    mask = one(work, "quality", "*_qmap.fits")
    spectrum_of, response_of, placed, with_errors = (
        where_possible(engine, verb) for verb in (spectrum, response, add_position, add_systematics)
    )
    facts: dict[str, Any] = {}
    for name, spans in _RATES.items():
        times = _times(work, name, spans, events)
        if times is None:
            continue
        work.progress(f"spectrum {name}")
        made = spectrum_of(events, gti=times, detector_mask=mask, quantity="rate", compat=compat)
        named = f"{names.name('pha', name)}.rsp".removeprefix("pha/")
        made = with_errors(placed(made, trace)).assign_attrs(respfile=named)
        facts[name] = _facts(made)
        try:
            matrix = response_of(made)
        except BatxError as error:
            work.notes.append(f"response of '{name}': {error}")
            made = made.drop_attrs(deep=False).assign_attrs(
                {key: value for key, value in made.attrs.items() if key != "respfile"}
            )
        else:
            to_fits(matrix, work.output(f"pha/{named}"))
        to_fits(made, work.output(f"{names.name('pha', name)}.pha"))
    for name, spans in _FLUENCES.items():
        times = _times(work, name, spans, events)
        if times is not None:
            made = spectrum_of(
                events,
                gti=times,
                detector_mask=mask,
                energy=BANDS["4chan"],
                quantity="counts",
                compat=compat,
            )
            made = with_errors(placed(made, trace))
            to_fits(made, work.output(f"{names.name('pha', name)}.pha"))
            facts[name] = _facts(made) | {
                "counts": made["counts"].values.tolist(),
                "counts_err": made["stat_err"].values.tolist(),
            }
    return facts


def _times(work: Work, name: str, spans: tuple[str, ...], events: xr.Dataset) -> xr.Dataset | None:
    """Return the good time of a spectrum, `None` with a note if there is none."""
    found = [interval(work, span) for span in spans]
    missing = [span for span, times in zip(spans, found, strict=True) if times is None]
    if missing:
        work.notes.append(f"no spectrum '{name}': there is no interval '{missing[0]}'")
        return None
    times = gti_intersection(*found, events)
    if not times.sizes["gti"]:
        named = " and ".join("the whole burst" if span == "tot" else span for span in spans)
        work.notes.append(f"no spectrum '{name}': no good time in {named}")
        return None
    return gti_intersection(*found)


def _facts(made: xr.Dataset) -> dict[str, Any]:
    return {
        "start": float(made["gti_start"].min()),
        "stop": float(made["gti_stop"].max()),
        "exposure": float(made["exposure"]),
        "pcode": float(made.attrs.get("pcodefr", np.nan)),
    }


def fits(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Fit every spectrum that is significant; give the others a limit.

    Each is fitted with a power law and with one that has a peak; the peak is preferred if it lowers
    chi-square by more than 6.
    """
    least = float(work.options["snr"])
    facts: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    for name in _RATES:
        for path in work.paths("spectra", f"*b_{name}.pha"):
            work.progress(f"fit {name}")
            try:
                facts[name] = _fitted(work, name, open_dataset(path).load(), least, left_out, engine)
            except BatxError as error:
                work.notes.append(f"no fit of '{name}': {_short(error)}")
    if left_out:
        counts = ", ".join(f"{name} {number}" for name, number in left_out.items())
        work.notes.append(f"channels without events, left out of the fits: {counts}")
    return facts


def _fitted(
    work: Work, name: str, made: xr.Dataset, least: float, left_out: dict[str, int], engine: Any
) -> dict[str, Any]:
    stem = Files.of(work).name("pha", name)
    empty = made["stat_err"].values == 0
    if empty.any():
        made = made.assign(quality=("channel", np.where(empty, _EMPTY, 0)))
        left_out[name] = int(empty.sum())
    snr = float(significance(made, FLUENCE)["snr"])
    facts: dict[str, Any] = {"snr": snr}
    if not snr >= least:
        limits: Any = upper_limit(made, sigma=least, index=[1.0, 2.0], energy=FLUENCE, flux=FLUENCE)
        to_netcdf(limits, work.output(f"{stem}_limit.nc"))
        work.notes.append(f"'{name}' is at {snr:.1f} sigma, less than {least:g}: a limit instead of a fit")
        return facts | {
            "limit": {"sigma": least, "index": [1.0, 2.0], "flux": limits["flux_limit"].values.tolist()}
        }
    statistic = {}
    for model in MODELS:
        try:
            found = where_possible(engine, fit)(made, model, energy=FLUENCE, flux=FLUENCE)
        except BatxError as error:
            work.notes.append(f"no fit of '{name}' with {model}: {_short(error)}")
            continue
        to_netcdf(_beside(found), work.output(f"{stem}_{model}.nc"))
        facts[model] = _described(found)
        statistic[model] = float(found["statistic"])
    if len(statistic) == len(MODELS):
        simple, peaked = (statistic[model] for model in MODELS)
        facts["preferred"] = MODELS[int(simple - peaked > _BETTER)]
    elif statistic:
        facts["preferred"] = next(iter(statistic))
    return facts


def _beside(found: xr.Dataset) -> xr.Dataset:
    """Return a fit whose inputs are named as the files beside it, wherever the folder is."""
    inputs = json.loads(found.attrs["inputs"])
    for named in inputs:
        named |= {key: Path(named[key]).name for key in ("data", "response") if named.get(key)}
    return found.assign_attrs(inputs=json.dumps(inputs))


def _described(found: xr.Dataset) -> dict[str, Any]:
    """Return parameters with their errors, statistic, flux and fluence of a fit."""
    parameters = {
        str(name): [
            float(found[column].sel(parameter=name)) for column in ("value", "error_low", "error_high")
        ]
        for name in found["parameter"].values
    }
    fluxes = {
        name: [float(found[name + end]) for end in ("", "_low", "_high") if name + end in found]
        for name in ("flux", "fluence")
        if name in found
    }
    return {
        "statistic": float(found["statistic"]),
        "dof": int(found["dof"]),
        "parameters": parameters,
        **fluxes,
    }


def _short(error: BatxError) -> str:
    return str(error).split(": /")[0]
