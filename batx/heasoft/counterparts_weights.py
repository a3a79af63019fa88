"""What the tools of BAT make of single events and detectors: weights for a place, and energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, PositionError, ToolError, ValueRangeError
from batx.heasoft.engine import Bench, joined, number, yes
from batx.met import to_met
from batx.schema import build, require_kind

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["calibrate_energy", "mask_weight", "mask_weight_image", "ray_trace"]

_FRAMES = {"sky": "sky", "tangent": "tanxy", "thetaphi": "fswlonlat", "cartesian": "cartesian"}


def _place(ra: Any, dec: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return one position as the tools read it; what says where it is, is taken out of the options."""
    from batx.positions import source_positions

    frame, distance = options.pop("frame", "sky"), options.pop("distance", None)
    origin = options.pop("origin", 0.0)
    if frame not in _FRAMES:
        raise PositionError(f"frame: found {frame!r}, expected one of {', '.join(_FRAMES)}")
    positions = source_positions(ra, dec, frame, distance, origin)
    if positions.several:
        raise PositionError("the engine heasoft weighs for one position at a time; give one")
    if hasattr(ra, "icrs"):
        ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
    unit = {"tangent": "1", "cartesian": "cm"}.get(frame, "deg")
    values = {"ra": number(ra, unit, "ra"), "dec": number(dec, unit, "dec")}
    near = {"bat_z": number(distance, "cm", "distance"), "origin_z": positions.origin or None}
    return values | {"coord_type": _FRAMES[frame]} | near


def _geometry(bench: Bench, obj: Any, given: dict[str, Any]) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return what is to be weighed, and the files that say where the mask is."""
    from batx.weight_inputs import WeightInputs

    names = ("attitude", "aperture", "detector_mask", "alignment")
    inputs = WeightInputs.gather(obj, *(given.pop(name, None) for name in names))
    alignment = inputs.alignment
    if alignment is not None and not isinstance(alignment, xr.Dataset):
        alignment = build("alignment", {"matrix": np.asarray(alignment, float)})
    files = {
        "attitude": bench.write_optional(inputs.attitude, "attitude.fits") or "NONE",
        "aperture": bench.write_optional(inputs.aperture, "aperture.fits"),
        "teldef": bench.write_optional(alignment, "teldef.fits"),
        "detmask": bench.write_mask(inputs.detector_mask),
    }
    distortion = given.pop("distortion", None)
    if distortion is not None:
        if not isinstance(distortion, xr.Dataset):
            raise KindError("the engine heasoft takes a distortion map that was read from a file")
        files["distfile"] = distortion.encoding.get("source")
    given.pop("compat", None)
    given.pop("extrapolate", None)
    return inputs.target, files


def _technique(options: dict[str, Any]) -> dict[str, Any]:
    """Return how the weights are made."""
    if options.pop("normalisation", "tool") != "tool":
        raise ValueRangeError('normalisation: the engine heasoft has "tool" only')
    return {
        "corrections": joined(options.pop("corrections", None)),
        "rebalance": yes(options.pop("rebalance", None)),
        "maskwtswgain": options.pop("gain", None),
    }


def _weigh(engine: Engine, verb: str, obj: Any, place: dict[str, Any], options: dict[str, Any]) -> Any:
    """Run batmaskwtevt; return the events, their weights, and the ray trace."""
    with engine.bench(verb) as bench:
        events, files = _geometry(bench, obj, options)
        require_kind(events, "events", operation=f"{verb} by the engine heasoft")
        technique = _technique(options)
        technique["angtoler"] = options.pop("tolerance", None)
        technique["pcodethresh"] = options.pop("pcode_min", None)
        bench.refuse(options)
        plain = events.drop_vars("mask_weight", errors="ignore")
        result = bench.run(
            "batmaskwtevt",
            infile=bench.write(plain, "events.fits"),
            outputs={"infile": bench.path("weighted.fits")},
            auxfile=bench.path("aux.fits"),
            **place,
            **files,
            **technique,
        )
        made = bench.read(result["infile"])
        trace = bench.done(bench.read(result["auxfile"], "ray_trace"))
        return events, bench.done(made), trace


def mask_weight(
    engine: Engine,
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return the events with weights made by batmaskwtevt; arguments as for `batx.mask_weight`.

    Examples
    --------
    >>> import batx
    >>> events = batx.schema.build("events", {"time": [0.0], "detx": [3], "dety": [3]})
    >>> batx.mask_weight(events, 10.0, 20.0, engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    place = _place(ra, dec, options)
    events, made, trace = _weigh(engine, "mask_weight", obj, place, options)
    weights = made["mask_weight"].values.astype(np.float32)
    if weights.shape != (events.sizes["event"],):
        raise ToolError(
            f"mask_weight: batmaskwtevt gave {weights.size} weights for {events.sizes['event']} events"
        )
    attrs = {"units": "1", "long_name": "mask weight", "fits_name": "MASK_WEIGHT"}
    result = events.drop_dims(["source", "trace"], errors="ignore")
    result = result.assign(mask_weight=("event", weights, attrs))
    last = trace.isel(time=-1)
    carried = {"imx": "imx", "imy": "imy", "pcode": "pcode", "norm": "mask_weight_norm"}
    result = result.assign(
        trace_time=("trace", trace["time"].values, dict(trace["time"].attrs)),
        **{
            f"trace_{name}": ("trace", trace[other].values, dict(trace[other].attrs))
            for name, other in carried.items()
        },
    )
    summary = {"pcodefr": "pcode", "mskwtsqf": "mask_weight_norm", "ngoodpix": "n_good"}
    summary |= {"bat_xobj": "x", "bat_yobj": "y", "bat_zobj": "z"}
    # the place at the last event is in the header; what is not is that of the last trace
    values = {name: made.attrs.get(name, last[other].item()) for name, other in summary.items()}
    if place["coord_type"] == "sky":
        values |= {"ra_obj": place["ra"], "dec_obj": place["dec"]}
    return result.assign_attrs(values, history=made.attrs["history"])


def ray_trace(
    engine: Engine,
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return the ray trace that batmaskwtevt makes for events; arguments as for `batx.ray_trace`.

    Examples
    --------
    >>> import batx
    >>> events = batx.schema.build("events", {"time": [0.0], "detx": [3], "dety": [3]})
    >>> batx.ray_trace(events, 10.0, 20.0, engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    return _weigh(engine, "ray_trace", obj, _place(ra, dec, options), options)[2]


def mask_weight_image(
    engine: Engine,
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    time: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return the weights of all detectors made by batmaskwtimg; arguments as for `batx.mask_weight_image`.

    Examples
    --------
    >>> import batx
    >>> batx.mask_weight_image(batx.simulate.aperture(), 0.1, 0.0, frame="tangent", engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    place = _place(ra, dec, options)
    with engine.bench("mask_weight_image") as bench:
        target, files = _geometry(bench, obj, options)
        technique = _technique(options)
        bench.refuse(options)
        attrs = target.attrs
        if time is not None:
            place["time"] = repr(float(to_met(time, attrs, name="time")))
        elif place["coord_type"] == "sky" and {"tstart", "tstop"} <= attrs.keys():
            place["time"] = repr((float(attrs["tstart"]) + float(attrs["tstop"])) / 2)
        result = bench.run("batmaskwtimg", outfile=bench.path("weights.fits"), **place, **files, **technique)
        return bench.done(bench.read(result["outfile"], "detector_plane"))


def calibrate_energy(
    engine: Engine,
    events: xr.Dataset | xr.DataTree,
    gain_offset: Any = None,
    *,
    pulser: Any = None,
    flight_pulser: Any = None,
    residual: Any = None,
    method: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the events with energies made by bateconvert; arguments as for `batx.calibrate_energy`.

    What is not given is looked for by the tool in its own CALDB; the gain map must be given, or be in the
    tree of the observation.

    Examples
    --------
    >>> import batx
    >>> events = batx.schema.build("events", {"time": [0.0], "pha": ("event", [9])})
    >>> batx.calibrate_energy(events, "gain.fits", engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    ev = events["events"].to_dataset() if isinstance(events, xr.DataTree) else events
    if gain_offset is None and isinstance(events, xr.DataTree) and "gain_offset" in events:
        gain_offset = events["gain_offset"].to_dataset()
    with engine.bench("calibrate_energy") as bench:
        options.pop("compat", None)
        bench.refuse(options)
        if gain_offset is None:
            raise ValueRangeError("calibrate_energy: the engine heasoft needs the gain map (gain_offset)")
        maps = {"calfile": gain_offset, "pulserfile": pulser, "fltpulserfile": flight_pulser}
        files = {
            name: bench.write(one, f"{name}.fits") if isinstance(one, xr.Dataset) else one or "CALDB"
            for name, one in {**maps, "residfile": residual}.items()
        }
        result = bench.run(
            "bateconvert",
            infile=bench.write(ev, "events.fits"),
            outputs={"infile": bench.path("energies.fits")},
            calmode=method.upper() if method else None,
            **files,
        )
        made = bench.done(bench.read(result["infile"]))
    columns = {name: made[name].values for name in ("pi", "energy") if name in made}
    if "energy" not in columns or columns["energy"].shape != (ev.sizes["event"],):
        raise ToolError("calibrate_energy: bateconvert gave no energy for each of the events")
    result_events = ev.assign(
        {name: ("event", values, dict(made[name].attrs)) for name, values in columns.items()}
    )
    return result_events.assign_attrs(history=made.attrs["history"])
