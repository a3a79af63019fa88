"""FITS files out: OGIP where OGIP defines the product, the layout of the BAT tools elsewhere."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from batx.errors import KindError, ValueRangeError, WriteError
from batx.io.atomic import atomic_path, input_files
from batx.positions import with_source_attrs
from batx.responses import moved_links
from batx.schema import KINDS, identify, require_kind, validate
from batx.schema.axes import with_axes

__all__ = ["to_fits"]

_KINDS = (
    "events",
    "gti",
    "lightcurve",
    "spectrum",
    "response",
    "detector_plane",
    "detector_mask",
    "detector_table",
    "aperture",
    "alignment",
    "attitude",
    "ray_trace",
    "mosaic",
    "mosaic_image",
    "housekeeping",
    "sky_image",
    "image",
    "catalog",
    "table",
)


#: kinds of which a tree of several can be written
_TREES = {"gti", "mosaic", "mosaic_image"}
_FORMS = {"detector_plane": ("dpi", "dph", "dpitab"), "detector_mask": ("flags",)}


def to_fits(
    ds: xr.Dataset | xr.DataTree,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    form: Literal["dpi", "dph", "dpitab", "flags"] | None = None,
    keepbits: int | None = None,
) -> Path:
    """Write a Dataset to a FITS file, all of it or nothing.

    Extensions, columns and keywords are those of the BAT tools: EVENTS, RATE, SPECTRUM (type II where there
    is a time axis), SPECRESP MATRIX or MATRIX, SPECRESP, images BAT_DPI or the table BAT_DPH, BAT_OBJ_POS,
    ATTITUDE and ACS_DATA, images BAT_IMAGE, BAT_VARMAP, BAT_SIGNIF and BAT_PCODE, with EBOUNDS and STDGTI
    where the Dataset holds bands and good time. Rates and errors are doubles. Attributes go back to their
    keywords (``utcf`` is UTCFINIT, a name of its own is written in capitals), 0 and 1 of known flags to
    logical values, ``attrs["history"]`` to HISTORY cards. Every unit has CHECKSUM and DATASUM. The same
    Dataset gives the same bytes.

    Parameters
    ----------
    ds
        A tree of `batx.combine_spectra` (spectrum, response and background become a file each, ``NAME.pha``,
        ``NAME.rsp``, ``NAME_background.pha``, and the first names the others), of
        intervals, as of `batx.duration_gti`, or of mosaics, as of `batx.mosaic` with groups of
        times (an extension for each), or a Dataset of kind events, gti, lightcurve,
        spectrum, response, detector_plane (counts, rates or weights), detector_mask, detector_table,
        aperture, alignment, attitude, ray_trace, mosaic, mosaic_image, sky_image, image, housekeeping,
        catalog or table, for one source. Events are read and written
        a block at a time (unless compressed), all else as a whole.
    path
        File to write; compressed if it ends in ``.gz``.
    overwrite
        Whether an existing file may be replaced. A file that `ds` was read from never is.
    form
        For detector planes: ``"dpi"`` (default, except for what was read from a table), an image for each
        time and energy; ``"dph"``, a table with a row for each time; ``"dpitab"``, a table with a row for
        each time and energy. For detector masks an image, or with ``"flags"`` the table BAT_FLAGS.
    keepbits
        For sky images: binary digits that are kept, those of fluxes counted from their noise; the file then
        compresses better (the BAT tools keep 7). All by default.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    KindError
        If there is no FITS form of this kind, or `ds` holds several sources.
    SchemaError
        If `ds` does not follow the data model; every departure is named.
    WriteError
        If the file exists, is an input, or cannot be written.

    Warns
    -----
    BatxWarning
        For attributes that no FITS keyword can hold.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> gti = build("gti", {"start": [0.0], "stop": [9.0]}, {"telescope": "SWIFT"})
    >>> path = to_fits(gti, Path(tempfile.mkdtemp()) / "gti.fits")
    >>> from astropy.io import fits
    >>> fits.getval(path, "HDUCLAS1", "STDGTI")
    'GTI'
    """
    from batx.io.write_events import can_stream, write_events

    if isinstance(ds, xr.DataTree):
        return _write_tree(ds, Path(path), overwrite)
    kind = require_kind(ds, *_KINDS, operation="to_fits")
    if kind == "detector_plane" and ("counts" in ds or "rate" in ds):
        ds = ds.drop_dims("source", errors="ignore")  # what cleaning adds: rates of the sources
    if "source" in ds.dims and kind != "catalog":
        raise KindError(
            f"to_fits writes one source a file; found {ds.sizes['source']}: choose one with .isel(source=0)"
        )
    if form not in (None, *_FORMS.get(kind, ())):
        others = "".join(f" or {name!r}" for name in _FORMS.get(kind, ()))
        raise ValueRangeError(f"form: found {form!r}, expected None{others} for a {kind}")
    if keepbits is not None and kind != "sky_image":
        raise ValueRangeError(f"keepbits: found {keepbits!r} for a {kind}, expected None (only sky images)")
    validate(ds, kind)
    compressed, inputs = Path(path).suffix == ".gz", input_files(ds)
    if kind == "spectrum":
        ds = moved_links(ds, Path(path).parent)
    ds = with_source_attrs(with_axes(ds, KINDS[kind]))
    with atomic_path(path, overwrite=overwrite, inputs=inputs) as temporary:
        if kind == "events" and not compressed and can_stream(ds):
            write_events(ds, temporary)
        else:
            _write(_hdus(ds, kind, form, keepbits), temporary, compressed)
    return Path(path)


def _write_tree(tree: xr.DataTree, path: Path, overwrite: bool) -> Path:
    """Write the nodes of a tree one after the other: intervals under their names, or the maps of a mosaic."""
    nodes = {name: node.to_dataset() for name, node in tree.children.items()}
    if {"spectrum", "response"} <= nodes.keys() <= {"spectrum", "response", "background"}:
        return _write_sum(nodes, path, overwrite)
    kinds = {identify(node) for node in nodes.values()}
    if tree.has_data or len(kinds) != 1 or not kinds <= _TREES:
        require_kind(tree, *_KINDS, operation="to_fits")
    (kind,) = kinds
    hdus: list[Any] = []
    for name, ds in nodes.items():
        validate(ds, kind)
        made = _hdus(ds.assign_attrs(extname=name.upper()) if kind == "gti" else ds, str(kind), None, None)
        hdus += [hdu for hdu in made if not hdus or hdu.name not in ("PRIMARY", "EBOUNDS")]
    with atomic_path(path, overwrite=overwrite, inputs=input_files(tree)) as temporary:
        _write(hdus, temporary, path.suffix == ".gz")
    return path


def _write_sum(nodes: dict[str, xr.Dataset], path: Path, overwrite: bool) -> Path:
    """Write a spectrum, and beside it its response and background, which it names."""
    stem = path.name.partition(".")[0]
    names = {"response": f"{stem}.rsp", "background": f"{stem}_background{''.join(path.suffixes) or '.pha'}"}
    beside = {key: path.with_name(name) for key, name in names.items() if key in nodes}
    if not overwrite and (there := [str(file) for file in (*beside.values(), path) if file.exists()]):
        raise WriteError(f"{', '.join(there)}: exists; pass overwrite=True to replace it")
    for key, file in beside.items():
        to_fits(nodes[key], file, overwrite)
    links = {"respfile": names["response"], "ancrfile": "none", "corrfile": "none"}
    links["backfile"] = names["background"] if "background" in nodes else "none"
    return to_fits(nodes["spectrum"].assign_attrs(links), path, overwrite)


def _hdus(ds: xr.Dataset, kind: str, form: str | None, keepbits: int | None) -> list[Any]:
    from batx.io import write_planes as planes
    from batx.io import write_products as products
    from batx.io.write_response import response_hdus

    if kind == "detector_plane":
        if "counts" not in ds and "rate" not in ds:
            return planes.weight_hdus(ds)
        chosen = form or ("dph" if ds.attrs.get("extname") == "BAT_DPH" else "dpi")
        return planes.dpi_hdus(ds) if chosen == "dpi" else planes.histogram_hdus(ds, chosen)
    if kind == "detector_mask" and form == "flags":
        return planes.flags_hdus(ds)
    if kind == "sky_image":
        from batx.io.write_images import sky_image_hdus

        return sky_image_hdus(ds, keepbits)
    if kind == "image":
        from batx.io.write_images import plain_image_hdus

        return plain_image_hdus(ds)
    if kind == "housekeeping":
        return products.table_hdus(ds, "time", "HK", first="time")
    if kind == "catalog":
        return products.catalog_hdus(ds)
    if kind == "table":
        return products.table_hdus(ds, "row", "TABLE")
    if kind in ("mosaic", "mosaic_image"):
        from batx.io import write_maps as maps

        return maps.healpix_hdus(ds) if kind == "mosaic" else maps.mosaic_image_hdus(ds)
    writers = {
        "events": products.events_hdus,
        "gti": products.gti_hdus,
        "lightcurve": products.lightcurve_hdus,
        "spectrum": products.spectrum_hdus,
        "response": response_hdus,
        "attitude": products.attitude_hdus,
        "ray_trace": products.ray_trace_hdus,
        "detector_mask": planes.detector_mask_hdus,
        "detector_table": planes.calibration_hdus,
        "aperture": planes.aperture_hdus,
        "alignment": planes.alignment_hdus,
    }
    return writers[kind](ds)


def _write(hdus: list[Any], path: Path, compressed: bool) -> None:
    from batx.io.write_table import summed

    whole = summed(hdus)
    with path.open("wb") as plain:
        if not compressed:
            whole.writeto(plain)
            return
        with gzip.GzipFile("", "wb", 6, plain, mtime=0) as packed:
            whole.writeto(packed)
