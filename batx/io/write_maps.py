"""HEALPix maps and mosaics on FITS images as FITS files.

Layouts: the HEALPix FITS conventions (implicit and explicit indexing), as healpy and ligo.skymap read them;
for mosaics on FITS images an image extension for each plane.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError
from batx.io.write_header import Cards, make_header, primary_header, time_cards
from batx.io.write_table import Col, table_hdu

__all__ = ["healpix_hdus", "mosaic_image_hdus"]

_MAPS = (
    *("sum_w", "sum_wf", "exposure", "pcode_exposure", "n_images", "flux", "flux_err", "snr"),
    "probability",
)
_FRAMES = {"icrs": ("C", "ICRS"), "galactic": ("G", "GALACTIC")}


def healpix_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a mosaic on HEALPix cells: cells and maps as columns, a probability over the full sphere.

    A map with several bands has a column for each, numbered from 1. The images of a mosaic are the rows of
    the table IMAGES.

    Raises
    ------
    KindError
        If the mosaic has several times.
    """
    _refuse_times(ds)
    ds = ds.compute()
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
        cards |= {"INDXSCHM": "IMPLICIT", "OBJECT": "FULLSKY"}
        cards |= {"FIRSTPIX": 0, "LASTPIX": len(full) - 1}
    else:
        columns = [Col("PIXEL", cells.astype(np.int64), None, "number of the pixel")]
        others = [str(name) for name, array in ds.data_vars.items() if "cell" in array.dims]
        for name in (*(name for name in _MAPS if name in ds), *(n for n in others if n not in _MAPS)):
            target = "PROB" if name == "probability" else str(ds[name].attrs.get("fits_name", name.upper()))
            columns += _columns(ds[name], target)
        cards |= {"INDXSCHM": "EXPLICIT", "OBJECT": "PARTIAL", "OBS_NPIX": len(cells)}
    cards |= time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    hdus = [table_hdu("HEALPIX", columns, cards, ds.attrs, drop=("NSIDE", "FRAME"), history=True)]
    return hdus + _bounds(ds, cards) + _images(ds)


def _columns(array: xr.DataArray, name: str) -> list[Col]:
    if "energy" not in array.dims:
        return [Col(name, array.values, array.attrs.get("units"))]
    planes = array.transpose("energy", ...).values
    return [Col(f"{name}_{band}", plane, array.attrs.get("units")) for band, plane in enumerate(planes, 1)]


def mosaic_image_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a mosaic on FITS images: an extension for each map, facet and band, with its coordinates."""
    from astropy.io import fits

    _refuse_times(ds)
    ds = ds.compute()
    headers = [str(text) for text in np.atleast_1d(ds["wcs"].values)]
    bounds = ds["energy_bnds"].values if "energy_bnds" in ds.variables else None
    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    hdus: list[Any] = [fits.PrimaryHDU(header=primary_header(make_header(times, ds.attrs)))]
    for name in _MAPS:
        if name not in ds:
            continue
        for facet, text in enumerate(headers):
            plane = ds[name].isel(facet=facet) if "facet" in ds[name].dims else ds[name]
            banded = "energy" in plane.dims
            for band, values in enumerate(plane.values if banded else [plane.values]):
                header = fits.Header.fromstring(text)
                header["BUNIT"] = str(plane.attrs.get("units", ""))
                if banded and bounds is not None:
                    header["E_MIN"], header["E_MAX"] = bounds[band]
                parts = [name.upper()] + [f"C{facet}"] * (len(headers) > 1) + [f"{band + 1}"] * banded
                hdus.append(fits.ImageHDU(values, header, name="_".join(parts)))
    return hdus


def _nside(ds: xr.Dataset) -> int:
    level = ds["healpix"].attrs.get("refinement_level")
    nside = ds.attrs.get("nside", None if level is None else 2 ** int(level))
    if nside is None:
        raise KindError("to_fits: the mosaic has no attrs['nside'] and no refinement_level")
    return int(nside)


def _refuse_times(ds: xr.Dataset) -> None:
    if "time" in ds.dims:
        raise KindError(
            f"to_fits writes a mosaic of one time; found {ds.sizes['time']}: choose one with .isel(time=0)"
        )


def _images(ds: xr.Dataset) -> list[Any]:
    """Return the table of the images of a mosaic, a matrix of an image as a row of numbers."""
    if "member" in ds:
        ds = ds.isel(image=ds["member"].values).drop_vars("member")
    names = [str(name) for name, array in ds.data_vars.items() if array.dims[:1] == ("image",)]
    if not names:
        return []
    columns = []
    for name in names:
        values = ds[name].values
        values = values.astype(str) if values.dtype.kind == "O" else values
        values = values.reshape(len(values), -1) if values.ndim > 1 else values
        columns.append(Col(name.upper(), values, ds[name].attrs.get("units")))
    return [table_hdu("IMAGES", columns, {}, {})]


def _bounds(ds: xr.Dataset, cards: Cards) -> list[Any]:
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
