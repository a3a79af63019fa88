"""FITS files of sky images, in the layout of the BAT tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx import sky_coords
from batx.errors import MissingVariableError, ValueRangeError
from batx.io.write_header import Cards, exposure_cards, time_cards
from batx.io.write_planes import bands_of, compact, extras, image_hdu, level_cards
from batx.io.write_products import span
from batx.kernels.precision import keep_bits

__all__ = ["plain_image_hdus", "sky_image_hdus"]

#: variable -> EXTNAME, HDUCLAS2, HDUCLAS3, IMATYPE, in the order of the file
_MAPS: dict[str, tuple[str, str, str | None, str]] = {
    "rate": ("BAT_IMAGE", "NET", None, "INTENSITY"),
    "counts": ("BAT_IMAGE", "NET", None, "INTENSITY"),
    "noise": ("BAT_VARMAP", "BKG_STDDEV", "PREDICTED", "ERROR"),
    "snr": ("BAT_SIGNIF", "SIGNIFICANCE", None, "SIGNIFICANCE"),
    "background": ("BAT_BKG", "BKG", None, "BACKGROUND"),
    "pcode": ("BAT_PCODE", "VIGNETTING", None, "EXPOSURE"),
}


def sky_image_hdus(ds: xr.Dataset, bits: int | None = None) -> list[Any]:
    """Return images BAT_IMAGE_n for each time and energy (energy fastest), then the maps that there are:
    BAT_VARMAP_n, BAT_SIGNIF_n, BAT_BKG_n and BAT_PCODE_n (one where all images share it), EBOUNDS and STDGTI.

    With `bits` values keep that many binary digits, those of flux, background and significance counted from
    the noise (see `batx.kernels.precision.keep_bits`).
    """
    found = [name for name in _MAPS if name in ds]
    if not found:
        raise MissingVariableError(
            f"sky image: found variables {sorted(map(str, ds.data_vars))}, expected one of {', '.join(_MAPS)}"
        )
    if bits is not None and not 1 <= int(bits) <= 24:
        raise ValueRangeError(f"keepbits: found {bits}, expected 1 to 24 binary digits")
    bounds, bands = _bounds(ds), bands_of(ds)
    hdus: list[Any] = []
    for name in found:
        stack = _stacked(ds[name])
        per_band = "energy" in ds[name].dims or (bands is not None and len(bands) == 1)
        number = 0
        for row in range(stack.sizes["time"]):
            cards = _time_cards(ds, bounds, row)
            for level in range(stack.sizes["energy"]):
                number += 1
                own = {
                    **_map_cards(ds, name, number, bits),
                    **cards,
                    **(level_cards(bands, level) if per_band else {}),
                }
                values = _reduced(ds, name, stack, row, level, bits)
                hdus.append(image_hdu(compact(values), own, ds, first=not hdus))
    return hdus + extras(ds, bands)


def _stacked(array: xr.DataArray) -> xr.DataArray:
    for axis in ("time", "energy"):
        if axis not in array.dims:
            array = array.expand_dims(axis)
    return array.transpose("time", "energy", "imy", "imx")


def _reduced(
    ds: xr.Dataset, name: str, stack: xr.DataArray, row: int, level: int, bits: int | None
) -> np.ndarray:
    values = stack[row, level].values
    if bits is None:
        return values
    if name in ("noise", "pcode"):
        return keep_bits(values, bits)
    if name == "snr":
        return keep_bits(values, bits, 1.0)
    if "noise" not in ds:
        return values
    return keep_bits(values, bits, _stacked(ds["noise"])[row, level].values)


def _bounds(ds: xr.Dataset) -> np.ndarray:
    if "time_bnds" in ds:
        return np.asarray(ds["time_bnds"].values, dtype=np.float64).reshape(-1, 2)
    start, stop = span(ds)
    return np.array([[np.nan if start is None else start, np.nan if stop is None else stop]])


def _map_cards(ds: xr.Dataset, name: str, number: int, bits: int | None) -> Cards:
    base, second, third, kind = _MAPS[name]
    unit = ds[name].attrs.get("units", "")
    return {
        "EXTNAME": f"{base}_{number}",
        "BUNIT": None if name in ("snr", "pcode") else unit,
        "HDUCLASS": "OGIP",
        "HDUCLAS1": ("IMAGE", "image of the sky"),
        "HDUCLAS2": second,
        "HDUCLAS3": third,
        "IMATYPE": kind,
        "KEEPBITS": None if bits is None else (int(bits), "binary digits kept"),
    }


def _time_cards(ds: xr.Dataset, bounds: np.ndarray, row: int) -> Cards:
    """Return times, exposure, motion and coordinates of the images of a time."""
    start, stop = bounds[min(row, len(bounds) - 1)]
    cards: Cards = time_cards(ds.attrs, start, stop) if np.isfinite([start, stop]).all() else {}
    if "exposure" in ds:
        cards |= exposure_cards(ds.attrs, _at(ds["exposure"], row))
    if "motion" in ds:
        cards["MOTION"] = (_at(ds["motion"], row), "[deg] turn of the instrument")
    return cards | sky_coords.card_values(ds.isel(time=row) if "time" in ds.dims else ds)


def _at(array: xr.DataArray, row: int) -> float:
    return float(np.atleast_1d(array.values)[min(row, array.size - 1)])


def plain_image_hdus(ds: xr.Dataset) -> list[Any]:
    """Return an image of no kind of its own, an extension for each band, with its world coordinates."""
    array = ds["image"]
    stack = next((str(dim) for dim in ("energy", "band") if dim in array.dims), None)
    planes = array.values if stack is None else array.transpose(stack, ...).values
    bands, hdus = bands_of(ds), list[Any]()
    stated = ("tstart", "tstop", "exposure", "e_min", "e_max")
    cards = {name.upper(): ds.attrs[name] for name in stated if name in ds.attrs}
    cards |= {"HDUCLASS": "OGIP", "HDUCLAS1": "IMAGE", "BUNIT": str(array.attrs.get("units", ""))}
    for level, values in enumerate(planes if stack else [planes]):
        own = level_cards(bands, level) if stack == "energy" else {}
        hdu = image_hdu(values, {**cards, **own}, ds, first=not hdus)
        if stack == "band":
            hdu.name = str(ds["band"].values[level])
        for card in _coordinates(ds):
            hdu.header[card.keyword] = (card.value, card.comment)
        hdus.append(hdu)
    return hdus + extras(ds.drop_dims(stack) if stack else ds, None)


def _coordinates(ds: xr.Dataset) -> list[Any]:
    from astropy.io.fits import Header

    return list(Header.fromstring(str(ds["wcs"].values), sep="\n").cards) if "wcs" in ds.coords else []
