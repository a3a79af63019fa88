"""What the tools make of orbit and housekeeping: what can be seen, good time, times at the barycentre."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, OrbitError, ToolError, ValueRangeError
from batx.heasoft.engine import Bench, number
from batx.schema import build, require_kind

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["barycenter", "gti_from_housekeeping", "occultation", "visibility_gti"]

_SYMBOLS = {"<": "<", "<=": "<=", ">": ">", ">=": ">=", "==": "==", "!=": "!="}


def _orbit(bench: Bench, orbit: Any) -> Path | str:
    """Return the file of a prefilter table."""
    if isinstance(orbit, (str, os.PathLike)):
        return Path(orbit)
    if isinstance(orbit, xr.Dataset):
        return bench.write(orbit, "orbit.sao")
    raise KindError(f"{bench.verb}: found {type(orbit).__name__} for orbit, expected a Dataset or a path")


def _bodies(constraints: Any) -> str | None:
    if constraints is None:
        return None
    names = constraints.split(",") if isinstance(constraints, str) else list(constraints)
    upper = [name.strip().upper() for name in names]
    return ",".join("FOV" if name == "FIELD" else name for name in upper)


def visibility_gti(
    engine: Engine,
    ra: Any,
    dec: Any = None,
    times: Any = None,
    *,
    orbit: Any = None,
    constraints: Any = None,
    atmosphere: Any = None,
    pcode_min: float | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the times that batoccultgti finds; arguments as for `batx.visibility_gti`.

    Examples
    --------
    >>> import batx
    >>> batx.visibility_gti(185.0, 10.0, orbit="nowhere.sao", engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    if hasattr(ra, "icrs"):
        ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
    with engine.bench("visibility_gti") as bench:
        bench.refuse({"times": times, **options})
        bodies = _bodies(constraints) or "EARTH,MOON,SUN"
        result = bench.run(
            "batoccultgti",
            infile=_orbit(bench, orbit),
            outfile=bench.path("seen.gti"),
            ra=number(ra, "deg", "ra"),
            dec=number(dec, "deg", "dec"),
            constraints=bodies if pcode_min is None or "FOV" in bodies else f"{bodies},FOV",
            atmdepth=number(atmosphere, "km", "atmosphere"),
            pcodethresh=pcode_min,
        )
        return bench.done(bench.read(result["outfile"], "gti"))


def occultation(
    engine: Engine,
    image: xr.Dataset,
    orbit: Any,
    *,
    gti: xr.Dataset | None = None,
    constraints: str | Iterable[str] | None = None,
    atmosphere: Any = None,
    method: str = "time",
    tolerance: Any = None,
    always: bool = False,
    algorithm: str = "image",
    compat: str | None = None,
) -> xr.DataArray:
    """Return the map that batoccultmap makes; arguments as for `batx.occultation`.

    Examples
    --------
    >>> import batx
    >>> batx.occultation(batx.schema.build("events", {"time": [0.0]}), "a.sao", engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    require_kind(image, "sky_image", operation="occultation by the engine heasoft")
    if method not in ("time", "position"):
        raise ValueRangeError(f'method: found {method!r}, expected "time" or "position"')
    if algorithm not in ("image", "contour"):
        raise ValueRangeError(f'algorithm: found {algorithm!r}, expected "image" or "contour"')
    with engine.bench("occultation") as bench:
        result = bench.run(
            "batoccultmap",
            infile=bench.write(image, "sky.img"),
            outfile=bench.path("occultation.img"),
            saofile=_orbit(bench, orbit),
            gtifile=bench.write_optional(gti, "good.gti"),
            constraints=_bodies(constraints) or "EARTH,MOON,SUN",
            atmdepth=number(atmosphere, "km", "atmosphere"),
            method=method.upper(),
            timesegtol=number(tolerance, "s" if method == "time" else "arcmin", "tolerance"),
            occultation="any" if always else "fraction",
            algorithm=algorithm.upper(),
        )
        values = _image(result["outfile"])
        history = "\n".join(f"batx.occultation: {step}" for step in bench.steps)
    shape = (image.sizes["imy"], image.sizes["imx"])
    if values.shape != shape:
        raise KindError(f"occultation: batoccultmap made a map of {values.shape}, the image is {shape}")
    coords = {name: image[name].variable for name in ("imy", "imx") if name in image.coords}
    attrs = {"units": "1", "history": history}
    return xr.DataArray(values, coords=coords, dims=("imy", "imx"), name="free", attrs=attrs)


def _image(path: Path) -> np.ndarray:
    """Return the first image of a file."""
    from batx.io.fits import read_hdus

    for hdu in read_hdus(path):
        if hdu.type == "image":
            return np.asarray(hdu.array()).squeeze().astype(np.float64)
    raise KindError(f"occultation: there is no image in {path}")


def gti_from_housekeeping(
    engine: Engine, ds: xr.Dataset, condition: Any, prefr: float = 0.5, postfr: float = 0.5
) -> xr.Dataset:
    """Return the good time that maketime finds; arguments as for `batx.gti_from_housekeeping`.

    The condition is ``(variable, operator, value)`` or a list of these, as the tool takes text.

    Examples
    --------
    >>> import batx
    >>> batx.gti_from_housekeeping(batx.schema.build("events", {"time": [0.0]}), max, engine="heasoft")
    Traceback (most recent call last):
    batx.errors.ValueRangeError...
    """
    conditions = [condition] if isinstance(condition, tuple) else condition
    if not isinstance(conditions, list) or not all(
        isinstance(one, tuple) and len(one) == 3 and one[1] in _SYMBOLS for one in conditions
    ):
        raise ValueRangeError(
            "gti_from_housekeeping: the engine heasoft takes (variable, operator, value), or a list of these"
        )
    with engine.bench("gti_from_housekeeping") as bench:
        texts = []
        for variable, symbol, value in conditions:
            if variable not in ds.variables:
                raise KindError(f"gti_from_housekeeping: the Dataset has no variable {variable!r}")
            column = str(ds[variable].attrs.get("fits_name", variable)).upper()
            threshold = number(value, ds[variable].attrs.get("units", "1"), "value")
            texts.append(f"({column} {symbol} {threshold!r})")
        result = bench.run(
            "maketime",
            infile=bench.write(ds, "hk.fits"),
            outfile=bench.path("good.gti"),
            expr=" && ".join(texts),
            name="NONE",
            value="NONE",
            time="TIME",
            compact="no",
            prefr=prefr,
            postfr=postfr,
        )
        return bench.done(bench.read(result["outfile"], "gti"))


#: no correction is larger: 8 minutes of light, and a minute of the clock
_LARGEST = 700.0


def barycenter(
    engine: Engine, ds: xr.Dataset, ra: Any, dec: Any = None, *, orbit: Any, utcf: Any = None
) -> xr.Dataset:
    """Return data with the times that barycorr finds; arguments as for `batx.barycenter`.

    `utcf` is the path of a clock file; the tool looks for its own in the CALDB otherwise. The tool is given
    all times as one list of events, so that edges of bins and good time are turned like times of events.

    Examples
    --------
    >>> import batx
    >>> batx.barycenter(batx.simulate.aperture(), 83.6, 22.0, orbit="a.sao", engine="heasoft")
    Traceback (most recent call last):
    batx.errors.MissingVariableError...
    """
    from batx.barycentring import one_direction, orbit_rows, time_names, times_to_turn, with_times

    names = time_names(ds)
    direction = one_direction(ra, dec)
    if not isinstance(utcf, (str, os.PathLike, type(None))):
        raise ValueRangeError(
            f"barycenter: the engine heasoft takes the path of a clock file for utcf, found "
            f"{type(utcf).__name__}"
        )
    rows = orbit_rows(orbit)
    if rows is None:
        raise OrbitError("barycenter: the engine heasoft needs the orbit, the prefilter file (sw*sao.fits)")
    times, extra = times_to_turn(ds, names, rows)
    unique, place = np.unique(times, return_inverse=True)
    attrs = {name: ds.attrs[name] for name in _CLOCK if name in ds.attrs}
    attrs |= {"telescope": "SWIFT", "instrument": "BAT", "tstart": unique[0], "tstop": unique[-1]}
    with engine.bench("barycenter") as bench:
        result = bench.run(
            "barycorr",
            infile=bench.write(build("events", {"time": unique}, attrs), "times.fits"),
            outfile=bench.path("turned.fits"),
            orbitfiles=_orbit(bench, orbit),
            clockfile=utcf or "CALDB",
            ra=direction[0],
            dec=direction[1],
            refframe="ICRS",
            barytime="yes",
        )
        turned = _column(result["outfile"], "BARYTIME")
        history = [f"batx.barycenter: {step}" for step in bench.steps]
    if turned.shape != unique.shape or not (np.abs(turned - unique) < _LARGEST).all():
        raise ToolError(
            f"barycenter: barycorr gave {turned.size} times for {unique.size}, or some that are more than "
            f"{_LARGEST:g} s off"
        )
    made = with_times(ds, names, extra, turned[place], direction, {"plephem": "JPL-DE405"})
    return made.assign_attrs(history="\n".join([made.attrs["history"], *history]))


_CLOCK = ("utcf", "mjdref_int", "mjdref_frac")


def _column(path: Path, name: str) -> np.ndarray:
    """Return a column of the first table that has it."""
    from batx.io.fits import read_hdus

    for hdu in read_hdus(path):
        if hdu.type == "table" and name in hdu.columns:
            return np.asarray(hdu.values(name), np.float64)
    raise ToolError(f"barycenter: barycorr made no column {name}")
