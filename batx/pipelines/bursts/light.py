"""Events: calibrated, cut around the trigger, without bad detectors, weighted, binned in time."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.detector_masks import combine_masks, hot_pixels
from batx.detector_planes import detector_plane
from batx.energy_scales import calibrate_energy
from batx.engines import where_possible
from batx.errors import (
    AttitudeError,
    BatxError,
    CalibrationError,
    EmptySelectionError,
    GtiError,
    MissingFileError,
)
from batx.events import join_events
from batx.intervals import gti_intersection
from batx.io.observation import open_observation
from batx.io.open import open_dataset
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.lightcurves import lightcurve
from batx.pipelines.bursts.names import BANDS, Files, one, some
from batx.pipelines.frame import SkippedError, Work
from batx.provenance import calibration_of, with_calibration
from batx.weights import mask_weight, ray_trace

__all__ = ["calibrate", "lightcurves", "quality", "sky_parts", "weighted_events", "weights"]

#: s around the trigger that are used
_NEAR = 2000.0
_GOOD_FLAGS = (0, 16)
_CURVES = {
    "1chan_4ms": ("1chan", 0.004, "auto"),
    "1chan_64ms": ("1chan", 0.064, "auto"),
    "1chan_1s": ("1chan", 1.0, "auto"),
    "4chan_64ms": ("4chan", 0.064, "auto"),
    "4chan_1s": ("4chan", 1.0, "auto"),
}
_RAW = {"1chan_4ms_raw": ("1chan", 0.004, "none")}
#: what traces of weights are called on events
_TRACE = ("trace_time", "trace_imx", "trace_imy", "trace_pcode", "trace_norm")


def calibrate(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write the good events around the trigger, with energies and the trigger time.

    Parameters
    ----------
    work
        Of the step.
    engine
        What does that for which it has a counterpart (also of the other steps).

    Raises
    ------
    EmptySelectionError
        If no event is left.
    GtiError
        If the events have no good time.
    """
    facts = work.before["fetch"].facts
    parts = [open_dataset(path) for path in facts["events"]]
    events = parts[0] if len(parts) == 1 else join_events(*parts)
    if "gti_start" not in events:
        raise GtiError("the events have no good time (an extension STDGTI or GTI); add one to the file")
    events = _with_energies(work, events, engine).load()
    trigger = facts["trigger"].get("time")
    good = np.isin(events["event_flags"].values, _GOOD_FLAGS) if "event_flags" in events else True
    time = events["time"].values
    near = np.ones(time.size, bool) if trigger is None else np.abs(time - trigger) <= _NEAR
    kept = events.isel(event=np.flatnonzero(near & good)).drop_vars(["mask_weight", *_TRACE], errors="ignore")
    if not kept.sizes["event"]:
        raise EmptySelectionError(
            f"found {time.size} events, none of them good and within {_NEAR:g} s of the trigger"
        )
    attrs = dict(events.attrs)
    if trigger is not None:
        attrs["trigger_time"] = trigger
        cut = gti_intersection(kept, [(trigger - _NEAR, trigger + _NEAR)])
        kept = kept.drop_vars(["gti_start", "gti_stop"]).assign(
            {f"gti_{end}": ("gti", cut[end].values, {"units": "s"}) for end in ("start", "stop")}
        )
    kept = kept.assign_attrs(attrs, ontime=_length(kept), exposure=_length(kept))
    kept.encoding.pop("source", None)
    to_fits(kept, work.output(Files.of(work).name("events", "uf.evt")))
    return {
        "events": int(time.size),
        "kept": int(kept.sizes["event"]),
        "start": float(kept["gti_start"].min()),
        "stop": float(kept["gti_stop"].max()),
        "exposure": _length(kept),
        "gain": str(attrs.get("gainmeth", "")),
    }


def _with_energies(work: Work, events: xr.Dataset, engine: Any) -> xr.Dataset:
    """Return events with energies: as they are if the header says that these were worked out."""
    applied = events.attrs.get("gainapp")
    if applied and "energy" in events:
        return events
    if applied is None and "energy" in events and (events["energy"] > 0).any():
        work.notes.append("the header does not say whether energies were calibrated (GAINAPP): taken as such")
        return events
    return _calibrated(work, events, engine)


def _calibrated(work: Work, events: xr.Dataset, engine: Any) -> xr.Dataset:
    """Return events with energies, for which the gain map nearest in time serves."""
    options = work.options
    source: Any = events
    place = Path(work.before["fetch"].facts["place"])
    if place.is_dir():
        source = open_observation(place, calibration=options["calibration"])
    said = "the header says that energies were not calibrated (GAINAPP)"
    work_out = where_possible(engine, calibrate_energy)
    if work_out is calibrate_energy:
        work_out = partial(work_out, calibration=options["calibration"])
    try:
        made = work_out(source, options["gain_offset"])
    except MissingFileError as error:
        raise MissingFileError(f"{said}: {error}") from error
    work.notes.append(f"{said}: they were worked out")
    gap = made.attrs.get("gain_offset_gap")
    if gap is not None:
        work.notes.append(
            f"the gain map is of {abs(gap):.0f} s {'after' if gap > 0 else 'before'} the events"
        )
    usable = np.flatnonzero(np.isfinite(made["energy"].values))
    if usable.size < made.sizes["event"]:
        work.notes.append(f"{made.sizes['event'] - usable.size} events have no energy and are left out")
    return made.isel(event=usable)


def _length(events: xr.Dataset) -> float:
    return float((events["gti_stop"] - events["gti_start"]).sum())


def quality(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write which detectors are good: enabled, not known as bad, neither hot nor cold in all events.

    Raises
    ------
    EmptySelectionError
        If no detector is left.
    """
    events = one(work, "calibrate", "*_uf.evt")
    enabled = some(work, "fetch", "*_enabled.fits")
    counted = events.assign(energy=xr.ones_like(events["energy"]))
    counts = where_possible(engine, detector_plane)(counted, energy=[0.0, 2.0])
    before = combine_masks(_all() if enabled is None else enabled)
    n_enabled = int(before["good"].sum())
    before = _without_known_bad(work, before, float(events["gti_start"].min()))
    mask = where_possible(engine, hot_pixels)(counts, detector_mask=before)
    mask.attrs = with_calibration(mask.attrs, calibration_of(before))
    n_good = int(mask["good"].sum())
    if not n_good:
        raise EmptySelectionError(f"of {n_enabled} enabled detectors none is good")
    to_fits(mask, work.output(Files.of(work).name("auxil", "qmap.fits")))
    return {
        "enabled": n_enabled,
        "good": n_good,
        **_found_bad(counts, before["good"].values, mask["good"].values),
    }


def _found_bad(counts: xr.Dataset, before: np.ndarray, after: np.ndarray) -> dict[str, int]:
    """Return how many detectors were found that count far more, or far less, than the others."""
    total = counts["counts"].sum([dim for dim in counts["counts"].dims if dim not in ("dety", "detx")]).values
    many = total > np.median(total[after]) if after.any() else total > 0
    found = before & ~after
    return {"hot": int((found & many).sum()), "cold": int((found & ~many).sum())}


def _without_known_bad(work: Work, mask: xr.Dataset, time: float) -> xr.Dataset:
    """Return a mask without the bad detectors of the calibration database, as it is if there is no list."""
    try:
        return combine_masks(mask, "caldb", time=time)
    except CalibrationError:
        return mask
    except BatxError as error:
        work.notes.append(f"the bad detectors of the calibration database cannot be read: {error}")
        return mask


def _all() -> np.ndarray:
    return np.ones((173, 286), bool)


def sky_parts(work: Work) -> dict[str, Any]:
    """Return attitude, mask, alignment, good detectors and how near a source was, as functions of the sky
    want them.

    Raises
    ------
    AttitudeError, MissingFileError
        If attitude or mask are missing.
    """
    attitude = some(work, "fetch", "*.att")
    aperture = _calibration(work, "aperture", "*_aperture.fits")
    if attitude is None:
        raise AttitudeError("found no attitude (auxil/*sat.fits*); give attitude=")
    if aperture is None:
        raise MissingFileError("found no coded mask (aperture file); give aperture= or calibration=")
    return {
        "attitude": attitude,
        "aperture": aperture,
        "alignment": _calibration(work, "alignment", "*_teldef.fits"),
        "detector_mask": one(work, "quality", "*_qmap.fits"),
        **work.before["fetch"].facts["near"],
    }


def _calibration(work: Work, purpose: str, pattern: str) -> xr.Dataset | None:
    """Return a calibration file with the record of where it came from, which products take over."""
    held = some(work, "fetch", pattern)
    record = {} if held is None else calibration_of(held).get(purpose, {})
    return held if held is None else held.assign_attrs(calibration_file=json.dumps(record, sort_keys=True))


def weights(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write the events with mask weights for the position, and the way of the position through the field.

    Raises
    ------
    SkippedError
        If there is no position.
    """
    position = work.before["fetch"].facts["position"]
    if not position:
        raise SkippedError("there is no position to weight events for (images only)")
    names, parts = Files.of(work), sky_parts(work)
    events = one(work, "calibrate", "*_uf.evt")
    ra, dec = position["ra"], position["dec"]
    weigh, follow = (where_possible(engine, verb) for verb in (mask_weight, ray_trace))
    weighted = weigh(events, ra, dec, compat=work.options["compat"], **parts)
    trace = follow(events, ra, dec, compat=work.options["compat"], **parts)
    to_fits(weighted, work.output(names.name("events", "all.evt")))
    to_fits(trace, work.output(names.name("auxil", "all.evaux")))
    held = [name for name in _TRACE if name in weighted]
    to_netcdf(weighted[held].drop_vars("time", errors="ignore"), work.output(names.name("auxil", "trace.nc")))
    coding = trace["pcode"].values
    if (coding == 0).any():
        work.notes.append("the position is outside the field of view part of the time")
    return {
        "ra": ra,
        "dec": dec,
        "pcode_first": float(coding[0]),
        "pcode_last": float(coding[-1]),
        "pcode_max": float(coding.max()),
        "traces": int(coding.size),
    }


def weighted_events(work: Work) -> xr.Dataset:
    """Return the weighted events with the traces that responses need."""
    events = one(work, "weights", "*_all.evt")
    with xr.open_dataset(work.path("weights", "*_trace.nc"), engine="h5netcdf") as trace:
        return events.assign({name: variable.variable for name, variable in trace.load().data_vars.items()})


def lightcurves(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write the standard light curves."""
    names, compat = Files.of(work), work.options["compat"]
    events = one(work, "weights", "*_all.evt")
    facts = {}
    for name, (bands, width, weighting) in (_CURVES | _RAW).items():
        work.progress(f"light curve {name}")
        curve = where_possible(engine, lightcurve)(
            events,
            dt=width,
            energy=BANDS[bands],
            weighting=weighting,
            quantity="rate",
            compat=compat,
        )
        to_fits(curve, work.output(names.name("lc", f"{name}.lc")))
        facts[name] = int(curve.sizes["time"])
    return facts
