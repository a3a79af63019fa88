"""From the HDUs of a file to Datasets: which decoder for which kind."""

from __future__ import annotations

import re
from collections.abc import Callable

import xarray as xr

from batx.errors import FileFormatError
from batx.io import decode_binned, decode_images, decode_planes, decode_response, decode_tables
from batx.io.file import FitsFile
from batx.io.fits import Hdu
from batx.io.identify import group_images, principal

__all__ = ["decode_file", "decode_hdu", "decode_tree"]

_BY_KIND: dict[str, Callable[[FitsFile, Hdu], xr.Dataset]] = {
    "events": decode_tables.decode_events,
    "gti": decode_tables.decode_gti,
    "attitude": decode_tables.decode_attitude,
    "ray_trace": decode_tables.decode_ray_trace,
    "housekeeping": decode_tables.decode_housekeeping,
    "catalog": decode_tables.decode_catalog,
    "mosaic": decode_tables.decode_mosaic,
    "table": decode_tables.decode_table,
    "aperture": decode_planes.decode_aperture,
    "alignment": decode_planes.decode_alignment,
    "detector_mask": decode_planes.decode_detector_mask,
    "detector_table": decode_planes.decode_detector_table,
    "lightcurve": decode_binned.decode_lightcurve,
    "spectrum": decode_binned.decode_spectrum,
    "response": decode_response.decode_response,
}


def decode_hdu(file: FitsFile, index: int, alone: bool = False) -> xr.Dataset:
    """Return one HDU as a Dataset of its kind, images with those that continue them unless `alone`."""
    hdu, kind = file.hdus[index], file.kinds[index]
    if kind is None:
        raise FileFormatError(f"{hdu.label}: the HDU holds no data; the file has {_listing(file)}")
    images = [hdu] if alone else group_images(file.hdus, file.kinds, index)
    if kind == "detector_plane" and hdu.type == "image":
        ds = decode_planes.decode_planes(file, images)
    elif kind == "detector_plane":
        ds = decode_planes.decode_histogram(file, hdu)
    elif kind == "sky_image":
        ds = decode_images.decode_sky_images(file, images)
    elif kind == "image":
        ds = decode_images.decode_image(file, images)
    else:
        ds = _BY_KIND[kind](file, hdu)
    _share_chunks(ds)
    ds.encoding["source"] = file.path
    return ds


def _share_chunks(ds: xr.Dataset) -> None:
    """Give all variables along a dimension the chunks that one of them prefers."""
    wanted: dict[str, int] = {}
    for variable in ds.variables.values():
        wanted |= variable.encoding.get("preferred_chunks", {})
    for name, variable in ds.variables.items():
        own = {dim: size for dim, size in wanted.items() if dim in variable.dims and name not in ds.indexes}
        if own:
            variable.encoding["preferred_chunks"] = own


def _listing(file: FitsFile) -> str:
    named = (
        f"{hdu.index}: {hdu.name or 'no name'} ({kind or 'empty'})"
        for hdu, kind in zip(file.hdus, file.kinds, strict=True)
    )
    return ", ".join(named)


def decode_file(file: FitsFile, hdu: int | str | None = None) -> xr.Dataset:
    """Return what a file is about, or one of its HDUs by number or name."""
    if hdu is None:
        index = principal(file.hdus, file.kinds)
        if index is None:
            raise FileFormatError(f"{file.path}: found no HDU with data: {_listing(file)}")
    elif isinstance(hdu, str):
        matches = [entry.index for entry in file.hdus if entry.name == hdu.upper()]
        if not matches:
            raise FileFormatError(f"{file.path}: found no HDU named '{hdu}': {_listing(file)}")
        index = matches[0]
    elif 0 <= hdu < len(file.hdus):
        index = hdu
    else:
        raise FileFormatError(f"{file.path}: found no HDU {hdu}: {_listing(file)}")
    return decode_hdu(file, index)


def decode_tree(file: FitsFile) -> dict[str, xr.Dataset]:
    """Return every HDU that holds data under its name; the root has the keywords of the primary header."""
    root = xr.Dataset(attrs=file.attrs(file.primary))
    root.encoding["source"] = file.path
    groups = {"/": root}
    for hdu, kind in zip(file.hdus, file.kinds, strict=True):
        if kind is not None:
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", hdu.name) or (
                "PRIMARY" if hdu.index == 0 else f"HDU{hdu.index}"
            )
            path = f"/{name}"
            groups[path if path not in groups else f"{path}_{hdu.index}"] = decode_hdu(
                file, hdu.index, alone=True
            )
    return groups
