"""HEALPix maps and mosaics on FITS images as FITS files.

Layouts: the HEALPix FITS conventions (implicit and explicit indexing), as healpy and ligo.skymap read them;
for mosaics on FITS images an image extension for each plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError
from batx.io.write_header import Cards, make_header, primary_header, time_cards
from batx.io.write_table import Col, table_hdu, variable_column

__all__ = ["healpix_hdus", "mosaic_image_hdus"]

_MAPS = (
    *("sum_w", "sum_wf", "exposure", "pcode_exposure", "n_images", "flux", "flux_err", "snr"),
    "probability",
)
_FRAMES = {"icrs": ("C", "ICRS"), "galactic": ("G", "GALACTIC")}


def healpix_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a mosaic on HEALPix cells: cells and maps as columns, a probability over the full sphere.

    A map with several bands has a column for each, numbered from 1. Each time has an extension of its own,
    named after its group, with the cells and images that it has; IMAGES is the table of images.
    """
    hdus = []
    for suffix, part in _single_times(ds):
        hdus += [_cells_hdu(part, suffix), *_images_hdus(part, suffix)]
    return hdus + _bounds(ds)


def _single_times(ds: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the parts of a mosaic that have one time, each with what is added to the names of extensions."""
    if "time" not in ds.dims:
        yield "", ds.compute()
        return
    for number in range(ds.sizes["time"]):
        part = ds.isel(time=number).compute()
        if "cell" in part.dims and "n_images" in part:
            part = part.isel(cell=part["n_images"].values > 0)
        if "member" in part:
            part = part.isel(image=part["member"].values)
        name = str(part["group"].item()) if "group" in part.variables else str(number + 1)
        attrs: dict[str, Any] = {"group": name}
        if "time_bnds" in part.variables:
            attrs |= dict(zip(("tstart", "tstop"), map(float, part["time_bnds"].values), strict=True))
        yield f"_{name}", part.drop_vars("member", errors="ignore").assign_attrs(attrs)


def _cells_hdu(ds: xr.Dataset, suffix: str) -> Any:
    nside, mapping = _nside(ds), ds["healpix"].attrs
    order = "NESTED" if mapping.get("indexing_scheme") == "nested" else "RING"
    cells = ds["cell_ids"].values
    only_probability = "probability" in ds and not any(name in ds for name in _MAPS[:-1])
    system, frame = _FRAMES[str(ds.attrs.get("frame", "icrs"))]
    cards: Cards = {
        "PIXTYPE": ("HEALPIX", "HEALPix pixels"),
        "ORDERING": (order, "numbering of the pixels"),
        "COORDSYS": (system, "C equatorial (ICRS), G galactic"),
        "NSIDE": (nside, "resolution"),
        "RADESYS": frame,
    }
    if only_probability:
        full = np.zeros(12 * nside**2)
        full[cells] = ds["probability"].values
        columns = [Col("PROB", full, "pix-1", "probability per pixel")]
        cards |= {"INDXSCHM": "IMPLICIT", "OBJECT": ds.attrs.get("object", "FULLSKY")}
        cards |= {"FIRSTPIX": 0, "LASTPIX": len(full) - 1}
    else:
        columns = [Col("PIXEL", cells.astype(np.int64), None, "number of the pixel")]
        others = [str(name) for name, array in ds.data_vars.items() if "cell" in array.dims]
        for name in (*(name for name in _MAPS if name in ds), *(n for n in others if n not in _MAPS)):
            target = "PROB" if name == "probability" else str(ds[name].attrs.get("fits_name", name.upper()))
            columns += _columns(ds[name], target)
        cards |= {"INDXSCHM": "EXPLICIT", "OBJECT": ds.attrs.get("object", "PARTIAL"), "OBS_NPIX": len(cells)}
        if "flux_units" in ds.get("sum_w", xr.DataArray()).attrs:
            cards["FLUXUNIT"] = (ds["sum_w"].attrs["flux_units"], "unit of the flux that was added up")
    cards |= time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    drop = ("NSIDE", "FRAME")
    return table_hdu(f"HEALPIX{suffix}", columns, cards, ds.attrs, drop=drop, history=True)


def _images_hdus(ds: xr.Dataset, suffix: str) -> list[Any]:
    """Return the table of the images that were added up, without reasons for what cuts left out."""
    if "image_id" not in ds:
        return []
    used = ds.isel(image=ds["image_used"].values) if "image_used" in ds else ds
    names = [name for name in ("image_id", "image_exposure", "image_start", "image_stop") if name in ds]
    columns = [variable_column(used, name, name.upper()) for name in names]
    if "image_projection" in used:
        matrices = used["image_projection"].values
        columns.append(Col("IMAGE_PROJECTION", matrices.reshape(len(matrices), -1), "1"))
    return [table_hdu(f"IMAGES{suffix}", columns, {}, {})]


def _columns(array: xr.DataArray, name: str) -> list[Col]:
    if "energy" not in array.dims:
        return [Col(name, array.values, array.attrs.get("units"))]
    planes = array.transpose("energy", ...).values
    return [Col(f"{name}_{band}", plane, array.attrs.get("units")) for band, plane in enumerate(planes, 1)]


def mosaic_image_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a mosaic on FITS images: an extension for each time, map, facet and band, with coordinates."""
    from astropy.io import fits

    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    hdus: list[Any] = [fits.PrimaryHDU(header=primary_header(make_header(times, ds.attrs)))]
    for suffix, part in _single_times(ds):
        hdus += _plane_hdus(part, suffix)
    return hdus


def _plane_hdus(ds: xr.Dataset, suffix: str) -> list[Any]:
    from astropy.io import fits

    hdus = []
    headers = [str(text) for text in np.atleast_1d(ds["wcs"].values)]
    bounds = ds["energy_bnds"].values if "energy_bnds" in ds.variables else None
    for name in _MAPS:
        if name not in ds:
            continue
        for facet, text in enumerate(headers):
            plane = ds[name].isel(facet=facet) if "facet" in ds[name].dims else ds[name]
            banded = "energy" in plane.dims
            for band, values in enumerate(plane.values if banded else [plane.values]):
                header = fits.Header.fromstring(text)
                header["BUNIT"] = str(plane.attrs.get("units", ""))
                header.update(
                    {name.upper(): ds.attrs[name] for name in ("tstart", "tstop") if name in ds.attrs}
                )
                if banded and bounds is not None:
                    header["E_MIN"], header["E_MAX"] = bounds[band]
                parts = [name.upper()] + [f"C{facet}"] * (len(headers) > 1) + [f"{band + 1}"] * banded
                hdus.append(fits.ImageHDU(values, header, name="_".join(parts) + suffix))
    return hdus


def _nside(ds: xr.Dataset) -> int:
    level = ds["healpix"].attrs.get("refinement_level")
    nside = ds.attrs.get("nside", None if level is None else 2 ** int(level))
    if nside is None:
        raise KindError("to_fits: the mosaic has no attrs['nside'] and no refinement_level")
    return int(nside)


def _bounds(ds: xr.Dataset) -> list[Any]:
    """Return the table of bands, numbered as the columns."""
    if "energy_bnds" not in ds.variables:
        return []
    edges = ds["energy_bnds"].values.reshape(-1, 2)
    columns = [
        Col("CHANNEL", np.arange(1, len(edges) + 1, dtype=np.int16), None, "number of the band"),
        Col("E_MIN", edges[:, 0].copy(), "keV", "lower edge"),
        Col("E_MAX", edges[:, 1].copy(), "keV", "upper edge"),
    ]
    return [table_hdu("EBOUNDS", columns, {}, {})]
