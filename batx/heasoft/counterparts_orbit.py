"""What the tools make of orbit and housekeeping: when a source can be seen, what was hidden, good time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.heasoft.engine import Bench, number
from batx.schema import require_kind

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["gti_from_housekeeping", "occultation", "visibility_gti"]

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
    compat: str | None = None,
) -> xr.DataArray:
    """Return the map that batoccultmap makes (algorithm IMAGE); arguments as for `batx.occultation`.

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
            algorithm="IMAGE",
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
