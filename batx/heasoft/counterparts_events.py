"""What the tools of BAT make of events and light curves: light curves, spectra, images, blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.grids import bounds_of, energy_bounds
from batx.heasoft.engine import Bench, edges_of, number, yes
from batx.intervals import gti_arrays
from batx.met import to_met
from batx.schema import build, identify
from batx.schema.attributes import ORIGIN, kept_attrs

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = [
    "bayesian_blocks",
    "detector_plane",
    "duration",
    "lightcurve",
    "spectrum",
]


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
