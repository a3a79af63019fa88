"""When the burst was, and when the spacecraft slewed."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import gti_of_slews
from batx.durations import OPEN_END, duration, duration_gti
from batx.engines import where_possible
from batx.errors import AttitudeError, BatxError, EmptySelectionError
from batx.intervals import gti_complement, gti_from_housekeeping, gti_intersection
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.lightcurves import lightcurve
from batx.pipelines.bursts.names import BANDS, Files, one, some
from batx.pipelines.frame import SkippedError, Work
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.timing import bayesian_blocks

__all__ = ["durations", "intervals"]

#: bins (s) of the curves in which the burst is looked for
_BINS = (0.004, 0.016, 0.064, 1.0, 16.0)
#: s that blocks look back, for bins shorter than the limit
_LOOKBACK, _FINE = 10.0, 0.5
#: T90 must exceed so many bins, and so many times the T90 found with shorter bins
_LEAST_BINS, _LONGER = 2.1, 1.3
#: s after the trigger's interval when the background begins again
_AFTER = 60.0


def intervals(work: Work) -> dict[str, Any]:
    """Write the intervals before, in and after the first slew after the trigger.

    Raises
    ------
    AttitudeError
        If there is no attitude.
    SkippedError
        If there is no trigger time.
    """
    trigger = work.before["fetch"].facts["trigger"].get("time")
    attitude = some(work, "fetch", "*.att")
    if attitude is None:
        raise AttitudeError("found no attitude (auxil/*sat.fits*); give attitude=")
    if trigger is None:
        raise SkippedError("there is no trigger time to tell before from after; give trigger=")
    pointed, slewing = _states(work, attitude)
    found = {
        "preslew": _of(pointed, lambda start, stop: (start < trigger) & (trigger < stop)),
        "slew": _of(slewing, lambda start, stop: start > trigger, first=True),
        "postslew": _of(pointed, lambda start, stop: start > trigger, first=True),
    }
    nodes, facts = {}, {}
    for name, pairs in found.items():
        facts[name] = pairs.tolist()
        if len(pairs):
            nodes[f"gti_{name}"] = _node(pairs, attitude)
        else:
            work.notes.append(f"there is no interval '{name}'")
    if nodes:
        to_fits(xr.DataTree.from_dict(nodes), work.output(Files.of(work).name("gti", "acs.gti")))
    return facts


def _states(work: Work, attitude: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return when the spacecraft pointed within ten arcmin of its target, and when it slewed."""
    if "ten_arcmin" in attitude and "settled" in attitude:
        near, settled = attitude["ten_arcmin"], attitude["settled"]
        return gti_from_housekeeping(attitude, near), gti_from_housekeeping(attitude, ~near & ~settled)
    work.notes.append(
        "the attitude has no flags (ACS_DATA): slews are told by the turning rate of the spacecraft"
    )
    slews = gti_of_slews(attitude)
    time = attitude["time"].values
    return gti_complement(slews, float(time.min()), float(time.max())), slews


def _of(gti: xr.Dataset, wanted: Any, first: bool = False) -> np.ndarray:
    start, stop = gti["start"].values, gti["stop"].values
    chosen = np.flatnonzero(wanted(start, stop))
    return np.stack([start, stop], axis=1)[chosen[:1] if first else chosen]


def _node(pairs: Any, like: xr.Dataset) -> xr.Dataset:
    """Return intervals with the attributes of an observation."""
    values = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    inner = values[np.abs(values) < OPEN_END]
    ends = {"tstart": float(inner.min()), "tstop": float(inner.max())} if inner.size else {}
    attrs = kept_attrs(like.attrs, *ORIGIN) | ends
    return build("gti", {"start": values[:, 0], "stop": values[:, 1]}, attrs)


def durations(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Find the burst in light curves of five bin widths; write its intervals, blocks and durations.

    Where no curve shows a burst, the intervals are those of the trigger message.
    """
    facts = work.before["fetch"].facts["trigger"]
    names, compat = Files.of(work), work.options["compat"]
    events = one(work, "weights", "*_all.evt") if work.before["weights"].state == "done" else None
    found, tried = (None, []) if events is None else _search(work, events, compat, engine)
    if events is None:
        work.notes.append(f"no light curves to look for the burst in: {work.before['weights'].reason}")
    if found is not None and events is not None:
        width, durations_found, blocks = found
        tree = duration_gti(durations_found)
        to_netcdf(durations_found, work.output(names.name("gti", "durations.nc")))
        to_fits(_node_of_bins(blocks), work.output(names.name("gti", "bb.gti")))
        for bands, edges in BANDS.items():
            curve = where_possible(engine, lightcurve)(events, time=blocks, energy=edges, compat=compat)
            to_fits(curve, work.output(names.name("lc", f"{bands}_bb.lc")))
        said = {"found": True, "bin": width} | _numbers(durations_found)
    else:
        like = one(work, "calibrate", "*_uf.evt")
        tree = _of_message(work, facts, like)
        said = {"found": False}
    to_fits(tree, work.output(names.name("gti", "battblocks.gti")))
    spans = {}
    for name, node in tree.children.items():
        ends = node.to_dataset()
        spans[name.removeprefix("gti_")] = [float(ends[end][0]) for end in ("start", "stop")]
    return said | {"tried": tried, "spans": spans}


def _search(
    work: Work, events: xr.Dataset, compat: str | None, engine: Any
) -> tuple[tuple[float, xr.Dataset, xr.Dataset] | None, list[dict[str, Any]]]:
    """Return bin width, durations and blocks of the last curve that shows a longer burst; what was tried."""
    accepted: tuple[float, xr.Dataset, xr.Dataset] | None = None
    longest, tried = 0.0, []
    bin_events, blocks_of, measure = (
        where_possible(engine, verb) for verb in (lightcurve, bayesian_blocks, duration)
    )
    for width in _BINS:
        work.progress(f"looking for the burst in bins of {width:g} s")
        said: dict[str, Any] = {"bin": width}
        tried.append(said)
        try:
            curve = bin_events(events, dt=width, energy=BANDS["1chan"], compat=compat)
            back = _LOOKBACK if width < _FINE else 0.0
            blocks = blocks_of(curve, lookback=back, compat=compat)
            # other engines find the blocks again
            known = {"blocks": blocks} if measure is duration else {"lookback": back}
            found = measure(curve, background=True, peak=1.0, compat=compat, **known)
        except BatxError as error:
            said["refused"] = str(error)
            continue
        t90 = float(found["t90"])
        said["t90"] = t90
        if not t90 > _LEAST_BINS * width:
            said["refused"] = f"T90 {t90:.3f} s is no more than {_LEAST_BINS} bins"
        elif not t90 > _LONGER * longest:
            said["refused"] = f"T90 {t90:.3f} s is not {_LONGER} times that of shorter bins"
        else:
            accepted, longest = (width, found, blocks), t90
    if accepted is None:
        work.notes.append("no burst was found in the light curves")
    return accepted, tried


def _numbers(found: xr.Dataset) -> dict[str, float]:
    names = [f"{txx}{end}" for txx in ("t90", "t50", "t100") for end in ("", "_err", "_start", "_stop")]
    names += ["peak_start", "peak_stop", "fluence", "fluence_err", "n_blocks"]
    return {name: float(found[name]) for name in names if name in found}


def _node_of_bins(blocks: xr.Dataset) -> xr.Dataset:
    return _node(blocks["time_bnds"].values, blocks)


def _of_message(work: Work, trigger: dict[str, Any], like: xr.Dataset) -> xr.DataTree:
    """Return the intervals that the trigger message gives, or all good time if there is none."""
    start, stop = trigger.get("start", trigger.get("time")), trigger.get("stop")
    good = float(like["gti_start"].min()), float(like["gti_stop"].max())
    pairs: dict[str, tuple[float, float]] = {}
    if start is not None and stop is not None and start < stop:
        pairs["tot"] = float(start), float(stop)
        if "background_stop" in trigger:
            pairs["bkg1"] = -OPEN_END, float(trigger["background_stop"])
        pairs["bkg2"] = float(stop) + _AFTER, OPEN_END
        work.notes.append("the intervals are those of the trigger message, or those given")
    else:
        pairs["tot"] = good
        work.notes.append(
            "no message says how long the burst was: all good time is taken; give foreground=(start, stop) "
            "and background=(start, stop)"
        )
    if not gti_intersection([pairs["tot"]], like).sizes["gti"]:
        raise EmptySelectionError(
            f"the interval of the burst, {pairs['tot'][0]:.3f} to {pairs['tot'][1]:.3f} s, has no good time"
        )
    return xr.DataTree.from_dict({f"gti_{name}": _node([pair], like) for name, pair in pairs.items()})
