"""What the tools of BAT find in sky images: sources, rates at given places, the local background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.heasoft.counterparts_images import image_of_rates, only_map
from batx.heasoft.engine import Bench, number, yes
from batx.schema import build, require_kind
from batx.units import to_value

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["background_maps", "detect", "photometry"]


def _searched(
    bench: Bench, image: xr.Dataset, options: dict[str, Any], **more: Any
) -> tuple[dict[str, Any], xr.Dataset]:
    """Return the parameters of batcelldetect that sources and maps of the background have in common."""
    require_kind(image, "sky_image", operation=f"{bench.verb} by the engine heasoft")
    take = options.pop
    catalog, pcode = take("catalog", None), take("pcode", None)
    coded = image
    if pcode is not None:
        values = pcode["pcode"] if isinstance(pcode, xr.Dataset) else pcode
        if not isinstance(values, xr.DataArray):
            shape = (image.sizes["imy"], image.sizes["imx"])
            values = (("imy", "imx"), np.broadcast_to(np.asarray(values, np.float32), shape), {"units": "1"})
        coded = image.assign(pcode=values)
    flux = "rate" if "rate" in image else "counts"
    plain = image.drop_vars([name for name in ("noise", "snr", "pcode") if name in image])
    parameters = {
        "infile": bench.write(plain, "sky.img"),
        "outfile": bench.path("sources.fits"),
        "snrthresh": take("snr", 6.0),
        "incatalog": _known(bench, catalog),
        "pcodethresh": take("pcode_min", None),
        "bkgpcodethresh": take("bkg_pcode_min", None),
        "bkgwindowtype": take("window", None),
        "bkgradius": take("background_radius", None),
        "srcradius": take("source_radius", None),
        "niter": take("passes", None),
        "pospeaks": yes(not take("both_signs", False)),
        "imagestatistics": (take("statistic", None) or "").upper() or None,
        "vectorflux": yes(image.sizes.get("energy", 1) > 1),
        "keepbits": "ALL",
    }
    if "pcode" in coded:
        only = coded.drop_vars([name for name in (flux, "noise", "snr") if name in coded])
        parameters["pcodefile"] = bench.write(only, "sky.pcode")
    take("compat", None)
    return parameters | more, coded


def _known(bench: Bench, catalog: xr.Dataset | None) -> Path | None:
    """Write a catalogue of known sources, with the numbers that the tool asks for."""
    if catalog is None:
        return None
    if "catnum" not in catalog:
        numbers = np.arange(1, catalog.sizes["source"] + 1, dtype=np.int32)
        catalog = catalog.assign(catnum=("source", numbers, {"units": "1", "fits_name": "CATNUM"}))
    return bench.write(catalog, "catalog.fits")


def photometry(
    engine: Engine,
    image: xr.Dataset,
    ra: Any,
    dec: Any = None,
    *,
    frame: str = "sky",
    fit_background: bool | None = None,
    psf: str | None = None,
    fwhm: Any = None,
    psf_top: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return rates that batcelldetect fits at given places; arguments as for `batx.photometry`.

    Places that the tool leaves out (not coded) are not in the result.

    Examples
    --------
    >>> import batx
    >>> batx.photometry(batx.schema.build("events", {"time": [0.0]}), 1.0, 2.0, engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    if frame != "sky":
        raise ValueRangeError("photometry: the engine heasoft takes places on the sky")
    require_kind(image, "sky_image", operation="photometry by the engine heasoft")
    if isinstance(ra, xr.Dataset):
        catalog = ra
    else:
        if hasattr(ra, "icrs"):
            ra, dec = ra.icrs.ra.deg, ra.icrs.dec.deg
        places = [np.atleast_1d(to_value(one, "deg", name)) for one, name in ((ra, "ra"), (dec, "dec"))]
        names = [f"source_{i}" for i in range(1, places[0].size + 1)]
        catalog = build("catalog", {"name": names, "ra": places[0], "dec": places[1]})
    given = {"fit_background": fit_background, "psf": psf, "fwhm": fwhm, "psf_top": psf_top}
    return detect(engine, image, catalog=catalog, search=False, verb="photometry", **given, **options)


def detect(
    engine: Engine,
    image: xr.Dataset,
    *,
    fit_positions: Any = False,
    psf: str | None = None,
    fwhm: Any = None,
    psf_top: Any = None,
    fit_width: bool = False,
    fit_background: bool | None = None,
    min_pixels: int | None = None,
    edges: bool | None = None,
    distortion: Any = None,
    search: bool = True,
    verb: str = "detect",
    **options: Any,
) -> xr.Dataset:
    """Return the sources that batcelldetect finds; arguments as for `batx.detect`.

    Columns that `batx.detect` has too have its names and units; the others stay as the tool writes them.
    Without `search` only known sources are fitted.

    Examples
    --------
    >>> import batx
    >>> batx.detect(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    shapes = {"gaussian": "GAUSSIAN", "pyramid": "PYRAMID", "truncated_cone": "TRUNCONE"}
    if psf is not None and psf not in shapes:
        raise ValueRangeError(f"psf: found {psf!r}, expected one of {', '.join(shapes)} with engine heasoft")
    width = number(fwhm, "deg", "fwhm")
    if fit_width:
        text: str | None = f"{width or 0.37413:g}:FIT"
    else:
        text = None if width is None else f"{width:g}"
    with engine.bench(verb) as bench:
        options.pop("oversampling", None)
        held = fit_positions is False or fit_positions is None
        more = {
            "srcdetect": None if search else "NO",
            "posfit": yes(not held),
            "posfitwindow": None if held or fit_positions is True else number(fit_positions, "deg", "posfit"),
            "psfshape": shapes[psf] if psf else None,
            "psffwhm": text,
            "psftopwidth": number(psf_top, "deg", "psf_top"),
            "bkgfit": yes(fit_background),
            "nadjpix": min_pixels,
            "nullborder": yes(edges),
            "distfile": "NONE" if distortion is None else distortion.encoding.get("source", "CALDB"),
        }
        parameters, _ = _searched(bench, image, options, **more)
        bench.refuse(options)
        result = bench.run("batcelldetect", **parameters)
        return bench.done(_catalog(bench.read(result["outfile"], "catalog"), image))


#: column of the tool -> name here; the first are fluxes
_FLUXES = {
    "COUNTS": "rate",
    "COUNTS_ERR": "rate_err",
    "CENT_COUNTS": "centre_rate",
    "CONTAM_COUNTS": "contamination",
    "RATE": "rate",
    "RATE_ERR": "rate_err",
    "CENT_RATE": "centre_rate",
    "CONTAM_RATE": "contamination",
    "BKG": "background",
    "BKG_ERR": "background_err",
    "BKG_VAR": "noise",
    "BKG_CELL": "local_background",
}
_COLUMNS = {"SNR": "snr", "CENT_SNR": "centre_snr", "CHI2": "chi2", "DOF": "dof"}
_OTHERS = {"PCODEFR": "pcode", "NPIXSOU": "n_pixels", "NPIXBKG": "n_background"}


def _catalog(found: xr.Dataset, image: xr.Dataset) -> xr.Dataset:
    """Return a catalogue of the tool under the names and in the units of `batx.detect`."""
    by_column = {str(found[name].attrs.get("fits_name", name)).upper(): str(name) for name in found.variables}
    seconds = _seconds(image)
    flux = image["rate" if "rate" in image else "counts"]
    made = found
    for column, name in {**_FLUXES, **_COLUMNS, **_OTHERS}.items():
        old = by_column.get(column)
        if old is None:
            continue
        values = found[old].values
        attrs = {"units": found[old].attrs.get("units", "1")}
        if column in _FLUXES:
            counts = "rate" not in image and seconds is None
            values = values if seconds is None else values / seconds
            attrs = {"units": "count" if counts else "count/s"}
            name = name.replace("rate", "counts") if counts else name
        dims: tuple[str, ...] = ("source",)
        if column not in _OTHERS and "energy" in flux.dims:
            dims, values = ("source", "energy"), values.reshape(found.sizes["source"], -1)
            values = values[:, : flux.sizes["energy"]]
        made = made.drop_vars(old).assign({name: (dims, values, attrs)})
    for column, name in (("IMXPIX", "imx_pixel"), ("IMYPIX", "imy_pixel")):
        if column in by_column:
            # the first pixel of FITS is 1
            pixels = found[by_column[column]].values - 1
            made = made.drop_vars(by_column[column]).assign({name: ("source", pixels, {"units": "1"})})
    if "CATNUM" in by_column:
        made = made.assign(known=("source", made[by_column["CATNUM"]].values > 0))
    bands = [name for name in ("energy", "energy_bnds") if "energy" in flux.dims and name in image.variables]
    return made.assign_coords({name: image[name].variable for name in bands})


def _seconds(image: xr.Dataset) -> float | None:
    """Return what counts are divided by to be rates; `None` where they are rates, or nothing is known."""
    if "rate" in image or "exposure" not in image:
        return None
    seconds = np.unique(image["exposure"].values)
    if seconds.size != 1:
        raise ValueRangeError("the engine heasoft looks for sources in one image at a time; select one")
    return float(seconds[0])


def background_maps(engine: Engine, image: xr.Dataset, **options: Any) -> xr.Dataset:
    """Return the image with the local background of batcelldetect; arguments as for `batx.background_maps`.

    Examples
    --------
    >>> import batx
    >>> batx.background_maps(batx.schema.build("events", {"time": [0.0]}), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    names = {"bkgmap": "background", "bkgvarmap": "noise", "signifmap": "snr"}
    with engine.bench("background_maps") as bench:
        files = {parameter: bench.path(f"{name}.img") for parameter, name in names.items()}
        parameters, coded = _searched(bench, image, options, distfile="NONE", **files)
        bench.refuse(options)
        result = bench.run("batcelldetect", **parameters)
        flux, seconds = image["rate" if "rate" in image else "counts"], _seconds(image)
        made = image_of_rates(coded)
        for parameter, name in names.items():
            found = only_map(bench.read(result[parameter], "sky_image"), name)
            if found.size != flux.size:
                raise KindError(f"background_maps: the map {name} of batcelldetect is of another shape")
            values = found.values.reshape(flux.shape)
            if name == "snr":
                attrs = {"units": "1"}
            else:
                values = values if seconds is None else (values / seconds).astype(values.dtype)
                attrs = {"units": "count" if "counts" in made else "count/s"}
            made = made.assign({name: (flux.dims, values, attrs)})
        return bench.done(made)
