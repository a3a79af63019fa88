"""Sky images of the BAT with both coordinate systems, and images of any other kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.io.decode_planes import image_axes, stacked
from batx.io.file import FitsFile
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword, wcs_cards
from batx.io.lazy import StackedArray
from batx.schema import build
from batx.units import canonical_unit

__all__ = ["decode_image", "decode_sky_images"]

_BY_NAME = {
    "BAT_VARMAP": "noise",
    "BAT_SIGNIF": "snr",
    "BAT_PCODE": "pcode",
    "BAT_BKG": "background",
    "BAT_OCCIMG": "occultation",
    "BAT_EXPMAP": "exposure_map",
}
_BY_CLASS = {
    "BKG_STDDEV": "noise",
    "SIGNIFICANCE": "snr",
    "VIGNETTING": "pcode",
    "BKG": "background",
    "OCCULTATION": "occultation",
}


def sky_variable(hdu: Hdu) -> str:
    """Return what a sky image shows: by EXTNAME, else by HDUCLAS2-3; a flux image by its unit."""
    base = re.sub(r"_\d+$", "", hdu.name)
    classes = [str(keyword(hdu, key, default="")).upper() for key in ("HDUCLAS3", "HDUCLAS2")]
    named = _BY_NAME.get(base) or next((_BY_CLASS[name] for name in classes if name in _BY_CLASS), None)
    if named is not None:
        return named
    return "counts" if canonical_unit(keyword(hdu, "BUNIT", default="")) == "count" else "rate"


def decode_sky_images(file: FitsFile, hdus: Sequence[Hdu]) -> xr.Dataset:
    """Return the sky images of a file, stacked over energy (and time), on the tangent plane of the
    instrument.

    IMX and IMY are those of the alternate coordinates T; a file without them has RA---TAN cells in degrees,
    which are the same plane in other units. Both sets of cards stand in the scalar `wcs`. An image of
    another set of bands than the first keeps to itself (see the tree of the file).
    """
    groups: dict[str, list[Hdu]] = {}
    for hdu in hdus:
        groups.setdefault(sky_variable(hdu), []).append(hdu)
    flux = next((name for name in ("rate", "counts") if name in groups), next(iter(groups)))
    axes = image_axes(groups[flux])
    variables: dict[str, Any] = {}
    for name, members in groups.items():
        if name != flux and len(members) > 1 and image_axes(members) != axes:
            continue
        made = stacked(members) or stacked(members[:1])
        assert made is not None  # one image fills a grid of one
        dims, array, coords = made
        same = image_axes(members) == axes
        if not same:
            dims, array = (), members[0].array()
        attrs = {"fits_name": members[0].name, "units": _sky_unit(members[0], name)}
        variables[name] = lazy_variable((*dims, "imy", "imx"), array, attrs)
        variables |= coords if same else {}
    first = groups[flux][0]
    variables |= {"imx": _tangent(first, 1), "imy": _tangent(first, 2)}
    variables |= _of_times(groups[flux], variables)
    attrs = {key: value for key, value in file.attrs(first).items() if key != "motion"}
    return build("sky_image", variables | file.good_time(), attrs)


def _of_times(hdus: Sequence[Hdu], axes: dict[str, Any]) -> dict[str, Any]:
    """Return exposure, motion and coordinates of the images of each time; the last alone if all share it."""
    times = len(axes["time"][1]) if "time" in axes else 1
    firsts = hdus[:: max(1, len(hdus) // times)]
    made: dict[str, Any] = {}
    for name in ("exposure", "motion"):
        values = [keyword(hdu, name.upper()) for hdu in firsts]
        if all(isinstance(value, (int, float)) for value in values):
            array = np.array(values, np.float64)
            made[name] = (("time",), array) if "time" in axes else ((), array[0])
    cards = [wcs_cards(hdu) for hdu in firsts]
    made["wcs"] = ((), cards[0]) if len(set(cards)) == 1 else (("time",), np.array(cards))
    return made


def _sky_unit(hdu: Hdu, name: str) -> str:
    if name in ("snr", "pcode", "occultation"):
        return "1"
    default = {"rate": "count/s", "counts": "count", "exposure_map": "s"}.get(name, "count")
    return default if name in ("rate", "counts") else canonical_unit(keyword(hdu, "BUNIT", default=default))


def _tangent(hdu: Hdu, axis: int) -> np.ndarray:
    """Return the tangent-plane coordinate of the pixel centres along an axis."""
    suffix = "T" if f"CDELT{axis}T" in hdu.header else ""
    step = float(keyword(hdu, f"CDELT{axis}{suffix}", default=1.0))
    origin = float(keyword(hdu, f"CRVAL{axis}T", default=0.0))
    pixel = np.arange(1, hdu.shape[2 - axis] + 1) - float(keyword(hdu, f"CRPIX{axis}{suffix}", default=0.0))
    return origin + pixel * (step if suffix else np.deg2rad(step))


def decode_image(file: FitsFile, hdus: Sequence[Hdu]) -> xr.Dataset:
    """Return plain images; those of a file that share a grid are stacked along `energy`, else `band`."""
    first = hdus[0]
    unit = {
        "units": canonical_unit(keyword(first, "BUNIT", default="")),
        "fits_name": first.name or "PRIMARY",
    }
    dims: tuple[str, ...] = ("axis0",) if len(first.shape) == 1 else ("y", "x")
    if len(first.shape) > 2:
        dims = (*(f"plane{i or ''}" for i in range(len(first.shape) - 2)), *dims)
    cards = wcs_cards(first)
    variables: dict[str, Any] = {"wcs": ((), cards)} if cards else {}
    bands = image_axes(hdus)[1]
    if len(hdus) == 1:
        variables["image"] = lazy_variable(dims, first.array(), unit)
    elif len(bands) == len(hdus) and None not in bands:
        edges = np.array(bands, np.float64)
        array = StackedArray([hdu.array() for hdu in hdus], (len(hdus),))
        variables["image"] = lazy_variable(("energy", *dims), array, unit)
        variables |= {"energy": (("energy",), edges.mean(axis=1), {"units": "keV"})}
        variables |= {"energy_bnds": (("energy", "bnds"), edges, {"units": "keV"})}
    else:
        array = StackedArray([hdu.array() for hdu in hdus], (len(hdus),))
        variables["image"] = lazy_variable(("band", *dims), array, unit)
        variables["band"] = (("band",), np.array([hdu.name or f"HDU{hdu.index}" for hdu in hdus]))
    return build("image", variables, file.attrs(first))
