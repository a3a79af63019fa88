"""What the tools of BAT make of events: weights, energies, light curves, spectra, images, blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, PositionError, ToolError, ValueRangeError
from batx.grids import bounds_of, energy_bounds
from batx.heasoft.engine import Bench, edges_of, joined, number, yes
from batx.intervals import gti_arrays
from batx.met import to_met
from batx.schema import build, identify, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = [
    "bayesian_blocks",
    "calibrate_energy",
    "detector_plane",
    "duration",
    "lightcurve",
    "mask_weight",
    "mask_weight_image",
    "ray_trace",
    "spectrum",
]

_FRAMES = {"sky": "sky", "tangent": "tanxy", "thetaphi": "fswlonlat", "cartesian": "cartesian"}


# --- light curves, spectra, images -------------------------------------------------------------------------


def _met(value: Any, events: xr.Dataset, t0: Any, name: str) -> str | None:
    return None if value is None else repr(float(to_met(value, events.attrs, t0, name=name)))


def _write_gti(bench: Bench, lower: np.ndarray, upper: np.ndarray, events: xr.Dataset) -> Path:
    attrs = kept_attrs(events.attrs, "mjdref_int", "mjdref_frac")
    ends = {"tstart": float(lower[0]), "tstop": float(upper[-1])}
    return bench.write(build("gti", {"start": lower, "stop": upper}, {**attrs, **ends}), "bins.gti")


def _bands(bench: Bench, energy: Any, scale: float = 1.0) -> str | Path:
    """Return bands as a text, or as a file where there are many."""
    lower, upper = energy_bounds(energy)
    texts = edges_of(np.asarray(lower) * scale, np.asarray(upper) * scale)
    if len(texts) <= 8:
        return ",".join(texts)
    path = bench.path("energybins.txt")
    path.write_text(",\n".join(texts) + "\n")
    return path


def _binned(
    bench: Bench, events: xr.Dataset, energy: Any, weighted: bool | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters of batbinevt that light curves, spectra and images have in common."""
    take = options.pop
    column, t0, gti = take("energy_column", "energy"), take("t0", None), take("gti", None)
    if column not in ("energy", "pi"):
        raise ValueRangeError(f'energy_column: found {column!r}, expected "energy" or "pi"')
    parameters: dict[str, Any] = {
        "infile": bench.write(events, "events.fits"),
        "energybins": _bands(bench, energy, 10.0 if column == "pi" else 1.0),
        "ecol": "PI" if column == "pi" else None,
        "weighted": yes(weighted),
        "tstart": _met(take("tstart", None), events, t0, "tstart"),
        "tstop": _met(take("tstop", None), events, t0, "tstop"),
        "detmask": bench.write_mask(take("detector_mask", None)),
    }
    bins = [one for one in (take("time", None), take("blocks", None)) if one is not None]
    if gti is not None and bins:
        raise ValueRangeError(f"{bench.verb}: the engine heasoft takes either gti or bins, not both")
    if bins:
        bounds = bounds_of(bins[0], events.attrs, t0)
        parameters |= {"timebinalg": "gti", "timedel": 0.0}
        parameters["gtifile"] = _write_gti(bench, bounds[:, 0], bounds[:, 1], events)
    elif gti is not None:
        parameters["gtifile"] = _write_gti(bench, *gti_arrays(gti, events.attrs), events)
    options.pop("compat", None)
    return parameters


def _weighted(events: xr.Dataset, weighting: str) -> bool:
    from batx.products import weighting_of

    return weighting_of(events, weighting)


def _units(quantity: str, weighted: bool) -> str:
    if quantity not in ("auto", "rate", "counts"):
        raise ValueRangeError(f'quantity: found {quantity!r}, expected "auto", "rate" or "counts"')
    return "COUNTS" if quantity == "counts" or (quantity == "auto" and not weighted) else "RATE"


def lightcurve(
    engine: Engine,
    events: xr.Dataset,
    *,
    dt: Any = None,
    snr: float | None = None,
    high_snr: float | None = None,
    energy: Any = (15, 25, 50, 100, 350),
    weighting: str = "auto",
    quantity: str = "auto",
    min_fracexp: float | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return a light curve made by batbinevt; arguments as for `batx.lightcurve`.

    Examples
    --------
    >>> import batx
    >>> events = batx.schema.build("events", {"time": [0.0]})
    >>> batx.lightcurve(events, dt=1.0, weighting="none", engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    weighted = _weighted(events, weighting)
    with engine.bench("lightcurve") as bench:
        binned = _binned(bench, events, energy, weighted, options)
        bench.refuse(options)
        if "timebinalg" not in binned:
            way = "s" if snr is not None else "h" if high_snr is not None else "u"
            binned |= {"timebinalg": way, "timedel": number(dt, "s", "dt"), "snrthresh": snr or high_snr}
        elif dt is not None:
            raise ValueRangeError("lightcurve: found dt and bins, expected one of them")
        result = bench.run(
            "batbinevt",
            outfile=bench.path("out.lc"),
            outtype="LC",
            outunits=_units(quantity, weighted),
            minfracexp=min_fracexp,
            **binned,
        )
        return bench.done(bench.read(result["outfile"], "lightcurve"))


def spectrum(
    engine: Engine,
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    energy: Any = None,
    weighting: str = "auto",
    quantity: str = "auto",
    **options: Any,
) -> xr.Dataset:
    """Return a spectrum made by batbinevt; arguments as for `batx.spectrum`.

    The place of the source is not in it; `batx.add_position` with the ray trace adds it.

    Examples
    --------
    >>> import batx
    >>> batx.spectrum(batx.schema.build("events", {"time": [0.0]}), weighting="none", engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    from batx.spectra import STANDARD_EDGES

    weighted = _weighted(events, weighting)
    several = options.get("time") is not None
    with engine.bench("spectrum") as bench:
        options |= {"tstart": tstart, "tstop": tstop}
        binned = _binned(bench, events, STANDARD_EDGES if energy is None else energy, weighted, options)
        bench.refuse(options)
        result = bench.run(
            "batbinevt",
            outfile=bench.path("out.pha"),
            outtype="PHA2" if several else "PHA",
            outunits=_units(quantity, weighted),
            **({"timedel": 0.0, "timebinalg": "u"} | binned),
        )
        made = bench.done(bench.read(result["outfile"], "spectrum"))
    # the tool writes an empty column that its next tool fills
    if "sys_err" in made and not made["sys_err"].values.any():
        made = made.drop_vars("sys_err")
    return made


def detector_plane(
    engine: Engine,
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    dt: Any = None,
    energy: Any = (15.0, 150.0),
    quantity: str = "counts",
    **options: Any,
) -> xr.Dataset:
    """Return detector images made by batbinevt; arguments as for `batx.detector_plane`.

    Examples
    --------
    >>> import batx
    >>> batx.detector_plane(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    with engine.bench("detector_plane") as bench:
        options |= {"tstart": tstart, "tstop": tstop}
        one = dt is None and options.get("time") is None
        binned = _binned(bench, events, energy, False, options)
        bench.refuse(options)
        result = bench.run(
            "batbinevt",
            outfile=bench.path("out.dpi"),
            outtype="DPI",
            outunits=_units(quantity, False),
            **({"timedel": number(dt, "s", "dt") or 0.0, "timebinalg": "u"} | binned),
        )
        made = bench.done(bench.read(result["outfile"], "detector_plane"))
    return made.isel(time=0) if one and "time" in made.dims else made


# --- weights -----------------------------------------------------------------------------------------------


def _place(ra: Any, dec: Any, frame: str, distance: Any, origin: Any) -> dict[str, Any]:
    """Return a position as the tools read it; only one at a time."""
    from batx.positions import source_positions

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
    *,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
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
    place = _place(ra, dec, frame, distance, origin)
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
    if frame == "sky":
        values |= {"ra_obj": place["ra"], "dec_obj": place["dec"]}
    return result.assign_attrs(values, history=made.attrs["history"])


def ray_trace(
    engine: Engine,
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
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
    return _weigh(engine, "ray_trace", obj, _place(ra, dec, frame, distance, origin), options)[2]


def mask_weight_image(
    engine: Engine,
    obj: xr.Dataset | xr.DataTree,
    ra: Any,
    dec: Any = None,
    *,
    frame: str = "sky",
    distance: Any = None,
    origin: Any = 0.0,
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
    place = _place(ra, dec, frame, distance, origin)
    with engine.bench("mask_weight_image") as bench:
        target, files = _geometry(bench, obj, options)
        technique = _technique(options)
        bench.refuse(options)
        attrs = target.attrs
        if time is not None:
            place["time"] = repr(float(to_met(time, attrs, name="time")))
        elif frame == "sky" and {"tstart", "tstop"} <= attrs.keys():
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


# --- blocks and durations ----------------------------------------------------------------------------------


def _battblocks(bench: Bench, ds: xr.Dataset, options: dict[str, Any], **more: Any) -> Any:
    kind = identify(ds)
    if kind not in ("lightcurve", "events"):
        raise KindError(f"{bench.verb}: found {kind}, expected a light curve or events")
    take = options.pop
    statistic = take("statistic", "auto")
    energy = take("energy", None)
    if energy is not None:
        raise ValueRangeError(f"{bench.verb}: battblocks takes all events; select them by energy before")
    take("compat", None)
    parameters: dict[str, Any] = {
        "infile": bench.write(ds, "data.lc" if kind == "lightcurve" else "data.evt"),
        "outfile": bench.path("blocks.gti"),
        "ncp_prior": take("prior", None),
        "tlookback": number(take("lookback", None), "s", "lookback"),
        "coalescefrac": take("coalesce", None),
        "nspill": take("spill", None),
        "gaussian": None if statistic == "auto" else yes(statistic == "gaussian"),
    }
    bench.refuse(options)
    return bench.run("battblocks", **parameters, **more)


def bayesian_blocks(engine: Engine, ds: xr.Dataset, **options: Any) -> xr.Dataset:
    """Return the data summed in the blocks of battblocks; arguments as for `batx.bayesian_blocks`.

    Examples
    --------
    >>> import batx
    >>> batx.bayesian_blocks(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    with engine.bench("bayesian_blocks") as bench:
        result = _battblocks(bench, ds, options)
        gti = bench.read(result["outfile"], "gti")
        return bench.done(_summed(ds, gti))


def _summed(ds: xr.Dataset, gti: xr.Dataset) -> xr.Dataset:
    """Return the data summed in given blocks, each of which ends where the next begins."""
    bounds = np.stack([gti["start"].values, gti["stop"].values], axis=-1)
    if identify(ds) == "events":
        from batx.lightcurves import lightcurve as native

        return native(ds, time=bounds, energy=(15.0, 350.0), weighting="none", compat="heasoft")
    from batx.rebinning import rebin_time

    return rebin_time(ds, edges=np.append(bounds[:, 0], bounds[-1, 1]), across_gaps=True)


def duration(
    engine: Engine,
    ds: xr.Dataset,
    *,
    background: bool = False,
    peak: Any = None,
    txx: Any = None,
    errors: str = "totvar",
    **options: Any,
) -> xr.Dataset:
    """Return the durations that battblocks finds; arguments as for `batx.duration`.

    Returns
    -------
    xarray.Dataset
        ``t90``, ``t50`` and those of `txx` with ends and errors, ``t100``, the peak and the times before and
        after the burst, ``n_blocks``.

    Examples
    --------
    >>> import batx
    >>> batx.duration(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    from batx.io.open import open_datatree

    with engine.bench("duration") as bench:
        parts = [] if txx is None else list(np.atleast_1d(txx))
        if len(parts) > 1:
            raise ValueRangeError("txx: battblocks finds one further duration at a time")
        if options.pop("method", "tool") != "tool":
            raise ValueRangeError('method: the engine heasoft has "tool" only')
        result = _battblocks(
            bench,
            ds,
            options,
            durfile=bench.path("durations.gti"),
            bkgsub=yes(background),
            tpeak=number(peak, "s", "peak"),
            txx=parts[0] if parts else None,
            durerrmeth=errors.upper(),
        )
        tree = open_datatree(result["durfile"]).load()
        blocks = bench.read(result["outfile"], "gti")
        values = _durations(tree, result["outfile"], parts)
        # what is open in the file ends here with the data
        values["background1_start"] = ((), float(blocks["start"].values[0]), {"units": "s"})
        values["background2_stop"] = ((), float(blocks["stop"].values[-1]), {"units": "s"})
        values["n_blocks"] = ((), blocks.sizes["gti"], {"units": "1"})
        made = xr.Dataset(values, attrs=kept_attrs(ds.attrs, *ORIGIN))
        return bench.done(made)


def _durations(tree: xr.DataTree, blocks: Path, parts: list[float]) -> dict[str, Any]:
    """Return the intervals of a file of durations; their errors are keywords of the file of the blocks."""
    from batx.io.fits import read_hdus

    said: dict[str, Any] = {}
    for hdu in read_hdus(blocks):
        said |= hdu.header
    known = {"tot": "t100", "bkg1": "background1", "bkg2": "background2"}
    known |= {"txx": f"t{parts[0]:g}"} if parts else {}
    errors = {"t90": "T90ERR", "t50": "T50ERR", "txx": "TUSERERR"}
    values: dict[str, Any] = {}
    for node, child in tree.children.items():
        found, short = child.to_dataset(), node.lower().removeprefix("gti_")
        start, stop = float(found["start"].values[0]), float(found["stop"].values[0])
        name = known.get(short, short)
        seconds = {"units": "s"}
        values |= {f"{name}_start": ((), start, seconds), f"{name}_stop": ((), stop, seconds)}
        if name.startswith("t"):
            values[name] = ((), stop - start, seconds)
        if short in errors:
            values[f"{name}_err"] = ((), float(said.get(errors[short], np.nan)), seconds)
    return values
