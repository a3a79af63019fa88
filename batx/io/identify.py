"""Recognise what a FITS HDU is from its header: keywords, columns and axes, never the name of the file.

OGIP products say it in HDUCLAS1-3 (OGIP 93-003, CAL/GEN/92-002, 92-007); older and instrument files only in
EXTNAME and in the columns that they have. The names of BAT products are those of `algorithms.md`, section 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from batx.io.fits import Column, Hdu

__all__ = ["PRIORITY", "group_images", "hdu_kind", "is_bounds", "is_catalog_position", "principal"]

#: shape of the detector plane, rows first
PLANE = (173, 286)

#: order in which kinds are taken as what a file is about; its EBOUNDS and GTI are merged into that
PRIORITY = (
    "events",
    "lightcurve",
    "spectrum",
    "response",
    "detector_plane",
    "sky_image",
    "mosaic",
    "aperture",
    "attitude",
    "ray_trace",
    "detector_mask",
    "detector_table",
    "catalog",
    "alignment",
    "image",
    "gti",
    "housekeeping",
    "table",
)

_SKY_NAMES = ("BAT_IMAGE", "BAT_VARMAP", "BAT_SIGNIF", "BAT_PCODE", "BAT_BKG", "BAT_OCCIMG", "BAT_EXPMAP")


def _text(hdu: Hdu, key: str) -> str:
    return str(hdu.header.get(key, "")).strip().upper()


def is_bounds(hdu: Hdu) -> bool:
    """Whether an HDU gives the energies of channels or bands."""
    return hdu.type == "table" and (
        _text(hdu, "HDUCLAS2") == "EBOUNDS" or hdu.name == "EBOUNDS" or hdu.name.startswith("EBOUNDS")
    )


def is_mission_bat(hdu: Hdu, primary: Hdu) -> bool:
    """Whether the header names the BAT, or no other instrument."""
    telescope = _text(hdu, "TELESCOP") or _text(primary, "TELESCOP")
    instrument = _text(hdu, "INSTRUME") or _text(primary, "INSTRUME")
    return telescope in ("", "SWIFT") and instrument in ("", "BAT", "SC")


def hdu_kind(hdu: Hdu, primary: Hdu) -> str | None:
    """Return the kind of an HDU, `None` where it holds no data.

    Parameters
    ----------
    hdu
        Any HDU.
    primary
        The first HDU of the file: where the mission is named if `hdu` does not.
    """
    if hdu.type in ("table", "text"):
        return _table_kind(hdu)
    if "ALIGNM11" in hdu.header:
        return "alignment"
    return _image_kind(hdu, primary) if hdu.type == "image" else None


def _table_kind(hdu: Hdu) -> str:
    columns = hdu.columns
    kind = _text(hdu, "HDUCLAS1")
    if {"START", "STOP"} <= columns.keys() and ("GTI" in hdu.name or kind == "GTI"):
        return "gti"
    if is_bounds(hdu):
        return "table"
    if "TIME" in columns and (kind == "EVENTS" or hdu.name.startswith("EVENTS")):
        return "events"
    if "TIME" in columns and (_vector(columns.get("QPARAM"), 4) or _vector(columns.get("QUATERNION"), 4)):
        return "attitude"
    placed = {"IMX", "IMY"} <= columns.keys() or {"BAT_XOBJ", "BAT_YOBJ", "BAT_ZOBJ"} <= columns.keys()
    if hdu.name == "BAT_OBJ_POS" and "TIME" in columns and placed:
        return "ray_trace"
    if "DPH_COUNTS" in columns:
        return "detector_plane"
    return _plane_table(columns) or _ogip_table(hdu, kind) or _position_table(hdu)


def _vector(column: Column | None, length: int) -> bool:
    return column is not None and column.shape == (length,)


def _plane_table(columns: dict[str, Column]) -> str | None:
    """Recognise tables that hold a value for every detector, or a list of bad detectors."""
    planes = [name for name, column in columns.items() if column.shape[-2:] == PLANE]
    if "FLAG" in planes:
        return "detector_mask"
    if planes:
        return "detector_table"
    if {"DET_ID", "DETX", "DETY", "QUALITY"} <= columns.keys():
        return "detector_mask"
    return None


def _ogip_table(hdu: Hdu, kind: str) -> str | None:
    columns = hdu.columns
    if "TIME" in columns and (kind == "LIGHTCURVE" or hdu.name == "RATE") and has_rates(columns):
        return "lightcurve"
    if (kind == "SPECTRUM" or hdu.name == "SPECTRUM") and _is_spectrum(columns):
        return "spectrum"
    if {"ENERG_LO", "ENERG_HI"} <= columns.keys() and ("MATRIX" in columns or "SPECRESP" in columns):
        return "response"
    if _text(hdu, "PIXTYPE") == "HEALPIX" or {"NSIDE", "ORDERING"} <= set(hdu.header):
        return "mosaic"
    return None


def has_rates(columns: dict[str, Column]) -> bool:
    """Whether a table has a column of rates or counts, for the array or for its quadrants."""
    return any(name in ("RATE", "COUNTS") or name.startswith("QUAD0") for name in columns)


def _is_spectrum(columns: dict[str, Column]) -> bool:
    value = columns.get("RATE") or columns.get("COUNTS")
    return value is not None and ("CHANNEL" in columns or bool(value.shape) or value.code in "PQ")


def is_catalog_position(columns: dict[str, Column]) -> tuple[str, str] | None:
    """Return the names of the columns of source positions, `None` where there are none."""
    for names in (("RA_OBJ", "DEC_OBJ"), ("RA", "DEC"), ("RAJ2000", "DEJ2000"), ("RA_J2000", "DEC_J2000")):
        if all(
            name in columns and columns[name].code in "EDIJ" and not columns[name].shape for name in names
        ):
            return names
    return None


def _position_table(hdu: Hdu) -> str:
    """Tell catalogues from time series and from anything else; on-board trigger lists are plain tables."""
    columns = hdu.columns
    series = "TIME" in columns and not any("NAME" in name for name in columns)
    if is_catalog_position(columns) and not series:
        return "table" if hdu.name.startswith("TRIG") else "catalog"
    return "housekeeping" if "TIME" in columns and not columns["TIME"].shape else "table"


def _image_kind(hdu: Hdu, primary: Hdu) -> str:
    if hdu.shape == PLANE and is_mission_bat(hdu, primary):
        return _plane_image(hdu)
    if len(hdu.shape) == 2 and _is_aperture(hdu):
        return "aperture"
    tangent = _text(hdu, "CTYPE1T") == "IMX" and len(hdu.shape) == 2
    if hdu.name.startswith(_SKY_NAMES) or tangent:
        return "sky_image"
    if is_mission_bat(hdu, primary) and _text(hdu, "INSTRUME") == "BAT" and _is_sky(hdu):
        return "sky_image"
    return "image"


def _is_aperture(hdu: Hdu) -> bool:
    """Whether an image of integers says in one of several ways that it is the coded mask."""
    coded = (
        "APERTYPE" in hdu.header or _text(hdu, "CCNM0001") == "CODED_MASK" or _text(hdu, "CTYPE1") == "MASKX"
    )
    bare = "MASKCELX" in hdu.header and "CTYPE1" not in hdu.header and "OBS_ID" not in hdu.header
    return hdu.header.get("BITPIX", 0) > 0 and (coded or bare)


def _is_sky(hdu: Hdu) -> bool:
    return len(hdu.shape) == 2 and _text(hdu, "CTYPE1") == "RA---TAN" and _text(hdu, "CTYPE2") == "DEC--TAN"


def _plane_image(hdu: Hdu) -> str:
    """Tell detector-plane images from masks: images have a name or a unit, a mask says GOODVAL or nothing at
    all.

    A weight image of batmaskwtimg has DATAMIN. Masks that are made from images with an image calculator keep
    all keywords of these but name, unit and DATAMIN.
    """
    if "GOODVAL" in hdu.header or hdu.name == "DETMASK":
        return "detector_mask"
    if hdu.name.startswith(("BAT_DPI", "BAT_WEIGHT")):
        return "detector_plane"
    weights = _text(hdu, "CREATOR").startswith("BATMASKWTIMG") and "DATAMIN" in hdu.header
    return "detector_plane" if weights or _text(hdu, "BUNIT").startswith("COUNT") else "detector_mask"


def group_images(hdus: Sequence[Hdu], kinds: Sequence[str | None], first: int) -> list[Hdu]:
    """Return the images that belong with image `first`: of the same kind and shape."""
    return [
        hdu
        for hdu, kind in zip(hdus, kinds, strict=True)
        if kind == kinds[first] and hdu.type == "image" and hdu.shape == hdus[first].shape
    ]


def principal(hdus: Sequence[Hdu], kinds: Sequence[str | None]) -> int | None:
    """Return the index of the HDU that a file is about; `None` if no HDU holds data.

    An image in front of a spectrum is only the map of where its photons fell (HDUCLAS2 WMAP), and the good
    times and energies of a product are parts of it. The bad-pixel list behind a mask image repeats the image.
    """
    ranked = [
        (_rank(hdu, kind), index)
        for index, (hdu, kind) in enumerate(zip(hdus, kinds, strict=True))
        if kind is not None
    ]
    return min(ranked)[1] if ranked else None


def _rank(hdu: Hdu, kind: str) -> float:
    if is_bounds(hdu):
        return len(PRIORITY)
    if kind == "catalog" and hdu.name == "SRCLIST":
        return PRIORITY.index("image") + 0.5
    return PRIORITY.index(kind)
