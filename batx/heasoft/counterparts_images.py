"""What the tools of BAT make of detector images: masks, cleaned images, sky images, sources."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.heasoft.engine import Bench, joined, number, squeezed, yes
from batx.schema import require_kind

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["balance", "clean", "hot_pixels", "sky_image"]

_VERSIONS = ("cleaned", "bkgcleaned", "srccleaned", "fit", "bkgfit", "srcfit")
_BALANCES = {"all": "All", "module": "Module", "inout": "InOut"}
_BALANCES |= {"shortedges": "ShortEdges", "longedges": "LongEdges"}


def _plane(bench: Bench, plane: xr.Dataset, name: str = "plane.dpi") -> Path:
    require_kind(plane, "detector_plane", operation=f"{bench.verb} by the engine heasoft")
    return bench.write(plane, name, form="dpi")


def hot_pixels(
    engine: Engine,
    plane: xr.Dataset,
    detector_mask: Any = None,
    *,
    keep_fraction: float | None = None,
    guard_fraction: float | None = None,
    guard_value: float | None = None,
    zero_threshold: float | None = None,
) -> xr.Dataset:
    """Return the detector mask that bathotpix makes; arguments as for `batx.hot_pixels`.

    Examples
    --------
    >>> import batx
    >>> batx.hot_pixels(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    with engine.bench("hot_pixels") as bench:
        result = bench.run(
            "bathotpix",
            infile=_plane(bench, plane),
            outfile=bench.path("hot.mask"),
            detmask=bench.write_mask(detector_mask),
            keepfract=keep_fraction,
            guardfract=guard_fraction,
            guardval=guard_value,
            zerothresh=zero_threshold,
        )
        return bench.done(bench.read(result["outfile"], "detector_mask"))


def clean(
    engine: Engine,
    plane: xr.Dataset,
    catalog: xr.Dataset | None = None,
    *,
    aperture: xr.Dataset | None = None,
    detector_mask: Any = None,
    background: bool = True,
    min_snr: float | None = None,
    ignore: Iterable[str] | None = None,
    lead_edge: bool | None = None,
    balance: str | Iterable[str] | None = None,
    balance_first: bool | None = None,
    version: str = "cleaned",
    mask_fit: bool | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the detector images that batclean makes; arguments as for `batx.clean`.

    Examples
    --------
    >>> import batx
    >>> batx.clean(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    if version not in _VERSIONS:
        raise ValueRangeError(f"version: found {version!r}, expected one of {', '.join(_VERSIONS)}")
    if not background:
        raise ValueRangeError("clean: the engine heasoft always fits the background")
    if catalog is not None and not {"imx", "imy"} <= set(catalog.variables):
        raise KindError("clean: the engine heasoft needs a catalogue with imx and imy")
    with engine.bench("clean") as bench:
        bench.refuse(options)
        result = bench.run(
            "batclean",
            infile=_plane(bench, plane),
            outfile=bench.path("clean.dpi"),
            incatalog=bench.write_optional(catalog, "catalog.fits") or "NONE",
            aperture=bench.write_optional(aperture, "aperture.fits"),
            detmask=bench.write_mask(detector_mask),
            srcclean=yes(catalog is not None),
            cleansnr=min_snr,
            ignore=None if ignore is None else joined(list(ignore)) or "NONE",
            leadedge=yes(lead_edge),
            balance=_balances(balance),
            balfirst=yes(balance_first),
            outversion=None if version == "cleaned" else version,
            maskfit=yes(mask_fit),
        )
        return squeezed(bench.done(bench.read(result["outfile"], "detector_plane")), plane, "time", "energy")


def _balances(names: Any) -> str | None:
    """Return groups of detectors as batclean names them; `None` for none."""
    from batx.cleaning import balances

    return ",".join(_BALANCES[name] for name in balances(names)) or None


def balance(
    engine: Engine,
    plane: xr.Dataset,
    groups: str | Iterable[str] = "flight",
    *,
    detector_mask: Any = None,
) -> xr.Dataset:
    """Return the detector images that batclean balances without a fit; arguments as for `batx.balance`.

    Examples
    --------
    >>> import batx
    >>> batx.balance(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    with engine.bench("balance") as bench:
        result = bench.run(
            "batclean",
            infile=_plane(bench, plane),
            outfile=bench.path("balanced.dpi"),
            incatalog="NONE",
            detmask=bench.write_mask(detector_mask),
            bkgmodel="none",
            srcclean="NO",
            balance=_balances(groups),
        )
        return squeezed(bench.done(bench.read(result["outfile"], "detector_plane")), plane, "time", "energy")


def sky_image(
    engine: Engine,
    plane: xr.Dataset,
    *,
    aperture: xr.Dataset | None = None,
    detector_mask: Any = None,
    attitude: xr.Dataset | None = None,
    alignment: xr.Dataset | None = None,
    oversampling: int | None = None,
    rebalance: bool | None = None,
    corrections: str | Iterable[str] | None = None,
    background: xr.Dataset | None = None,
    distance: Any = None,
    origin: Any = 0.0,
    pcode_min: float | None = None,
    handedness: str | None = None,
    gain: float | None = None,
    noise: bool = True,
    dtype: str = "float32",
    compat: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the sky images that batfftimage makes; arguments as for `batx.sky_image`.

    The tool runs twice: for the images and for the coding. `pcode` is the map of the tool, which carries the
    factor of the flat field. With ``compat="heasoft"`` images of counts stay counts.

    Examples
    --------
    >>> import batx
    >>> batx.sky_image(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    options.pop("extrapolate", None)
    with engine.bench("sky_image") as bench:
        bench.refuse(options)
        common = {
            "infile": _plane(bench, plane),
            "attitude": bench.write_optional(attitude, "attitude.fits") or "NONE",
            "aperture": bench.write_optional(aperture, "aperture.fits"),
            "teldef": bench.write_optional(alignment, "teldef.fits"),
            "detmask": bench.write_mask(detector_mask),
            "oversampx": oversampling,
            "oversampy": oversampling,
            "corrections": joined(corrections),
            "bat_z": number(distance, "cm", "distance"),
            "origin_z": number(origin, "cm", "origin") or None,
            "pcodethresh": pcode_min,
            "handedness": handedness,
            "keepbits": "ALL",
        }
        maps = {"bkgvarmap": bench.path("noise.img"), "signifmap": bench.path("snr.img")} if noise else {}
        result = bench.run(
            "batfftimage",
            outfile=bench.path("sky.img"),
            bkgfile=None if background is None else _plane(bench, background, "background.dpi"),
            rebalance=yes(rebalance),
            maskwtswgain=gain,
            **common,
            **maps,
        )
        coded = bench.run("batfftimage", outfile=bench.path("sky.pcode"), pcodemap="YES", **common)
        image = bench.read(result["outfile"], "sky_image")
        for parameter, name in (("bkgvarmap", "noise"), ("signifmap", "snr")):
            if noise:
                image[name] = only_map(bench.read(result[parameter], "sky_image"), name)
        coding = bench.read(coded["outfile"], "sky_image")["pcode"]
        others = [dim for dim in coding.dims if dim not in ("imy", "imx")]
        image["pcode"] = coding.isel(dict.fromkeys(others, 0), drop=True)
        image = image if compat == "heasoft" else image_of_rates(image)
        return squeezed(bench.done(image.astype(dtype, copy=False) if not noise else image), plane, "time")


def only_map(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return the map of a file, whatever its name."""
    for candidate in (name, "counts", "rate", "noise", "snr"):
        if candidate in ds:
            return ds[candidate]
    raise KindError(f"sky_image: batfftimage made a file without a map of {name}")


def image_of_rates(image: xr.Dataset) -> xr.Dataset:
    """Return images of counts as images of rates."""
    if "counts" not in image or "exposure" not in image:
        return image
    seconds = image["exposure"]
    made = image.rename(counts="rate")
    for name in ("rate", "noise"):
        if name in made:
            attrs = {**made[name].attrs, "units": "count/s", "per": "detector"}
            made[name] = (made[name] / seconds).astype(made[name].dtype).assign_attrs(attrs)
    return made
