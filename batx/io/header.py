"""Header keywords as Dataset attributes."""

from __future__ import annotations

import re
from typing import Any

from batx.io.fits import Hdu

__all__ = ["header_attrs", "keyword", "pixel_list_cards", "time_zero", "wcs_cards"]

#: FITS keyword -> attribute with a name of its own; every other keyword keeps its own name in lower case
_MAPPED = {
    "TELESCOP": "telescope",
    "INSTRUME": "instrument",
    "OBS_ID": "obs_id",
    "OBJECT": "object",
    "UTCFINIT": "utcf",
    "TRIGTIME": "trigger_time",
    "TSTART": "tstart",
    "TSTOP": "tstop",
    "FILTER": "filter",
    "EQUINOX": "equinox",
    "RADECSYS": "radecsys",
    "BATXPROV": "provenance",
}
_NUMERIC = {"utcf", "trigger_time", "tstart", "tstop"}
_TEXT = {"telescope", "instrument", "obs_id", "object", "provenance", "conventions"}
#: dates of the start and end of what a file holds: of an HDU that has no times of its own, too
_DATES = {"DATE-OBS": "date_obs", "DATE-END": "date_end"}
_FOLDED = {"MJDREFI", "MJDREFF", "MJDREF", "TIMESYS", "TIMEZERO", "TIMEZERI", "TIMEZERF"}
_STRUCTURAL = re.compile(
    r"""(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|BSCALE|BZERO|BLANK|BUNIT|CHECKSUM
        |DATASUM|COMMENT|HISTORY|CONTINUE|LONGSTRN|END|
        |T(TYPE|FORM|UNIT|DIM|SCAL|ZERO|NULL|DISP|LMIN|LMAX|DMIN|DMAX|BCOL|CTYP|CUNI|CRPX|CRVL|CDLT)\d+
        |\d+C(TYP|UNI|RPX|RVL|DLT)\d+|BATX_?KIND|BATX_?SCHEMA)$""",
    re.VERBOSE,
)
_WCS = re.compile(
    r"(WCSAXES|WCSNAME|WCSTY\d|CTYPE\d|CUNIT\d|CRPIX\d|CRVAL\d|CDELT\d|CROTA\d|CD\d_\d|PC\d_\d|PV\d_\d+|PS\d_\d+"
    r"|LONPOLE|LATPOLE|RADESYS|EQUINOX)[A-Z]?$|RADECSYS$|(LTV\d|LTM\d_\d)$"
)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return value.strip() if isinstance(value, str) else value


def keyword(hdu: Hdu, *names: str, default: Any = None) -> Any:
    """Return the first of the keywords that the header has, numbers also where they are written as text."""
    for name in names:
        value = hdu.header.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, str) and not isinstance(default, str):
            try:
                return float(value)
            except ValueError:
                return value.strip()
        return _plain(value)
    return default


def time_zero(hdu: Hdu) -> float:
    """Return what must be added to the stored times of an HDU (TIMEZERO, OGIP 93-003)."""
    whole = keyword(hdu, "TIMEZERO", "TIMEZERI", default=0.0)
    fraction = keyword(hdu, "TIMEZERF", default=0.0) if "TIMEZERO" not in hdu.header else 0.0
    total = [value for value in (whole, fraction) if isinstance(value, (int, float))]
    return float(sum(total))


def _reference(header: Any) -> dict[str, float]:
    """Return integer and fraction of the MJD of MET 0; the MJDREF = 0 of some GTI extensions says nothing."""
    try:
        whole = float(header["MJDREFI"]) if "MJDREFI" in header else float(header["MJDREF"])
        fraction = float(header.get("MJDREFF", 0.0)) if "MJDREFI" in header else 0.0
    except (KeyError, TypeError, ValueError):
        return {}
    if whole <= 0:
        return {}
    return {"mjdref_int": int(whole // 1), "mjdref_frac": whole % 1 + fraction}


def _obs_id(value: Any) -> str:
    """Return an observation id as text; one written as a number gets the zeros of a Swift id back."""
    return value.strip() if isinstance(value, str) else f"{int(value):011d}"


def _mapped(hdu: Hdu) -> dict[str, Any]:
    header = hdu.header
    attrs: dict[str, Any] = _reference(header)
    scale = str(header.get("TIMESYS", "")).strip().lower()
    if scale in ("tt", "tdb"):
        attrs["time_scale"] = scale
    for key, value in header.items():
        name = _MAPPED.get(key)
        if name == "obs_id":
            attrs[name] = _obs_id(value)
        elif name in _NUMERIC:
            try:
                attrs[name] = float(value) + (time_zero(hdu) if name in ("tstart", "tstop") else 0.0)
            except (TypeError, ValueError):
                continue
        elif name is not None:
            attrs[name] = str(_plain(value)) if name in _TEXT else _plain(value)
    return attrs


def header_attrs(hdu: Hdu, primary: Hdu | None = None) -> dict[str, Any]:
    """Return the keywords of an HDU as attributes that netCDF can hold.

    Mission, observation and time keywords that the HDU lacks are taken from the primary header, its dates
    (as of spectra of XMM-Newton) if the HDU has no times or dates of its own. Logical values become 0 and 1,
    hyphens underscores; structure, scaling, checksums and comments are left out, TIMEZERO is folded into the
    times, HISTORY cards become ``attrs["history"]``.
    """
    attrs: dict[str, Any] = {}
    if primary is not None and primary is not hdu:
        attrs = _mapped(primary)
        if not hdu.header.keys() & {"TSTART", "TSTOP", *_DATES}:
            attrs |= {
                name: _plain(primary.header[key]) for key, name in _DATES.items() if key in primary.header
            }
    attrs |= _mapped(hdu)
    is_image = hdu.type == "image"
    for key, value in hdu.header.items():
        if key in _MAPPED or key in _FOLDED or _STRUCTURAL.match(key) or (is_image and _WCS.match(key)):
            continue
        if isinstance(value, complex):
            continue
        name = key.lower().replace("-", "_").replace(" ", "_")
        attrs[name] = str(_plain(value)) if name in _TEXT else _plain(value)
    if "TIMESYS" in hdu.header and "time_scale" not in attrs:
        attrs["timesys"] = str(hdu.header["TIMESYS"]).strip()
    if hdu.header.history:
        attrs["history"] = "\n".join(hdu.header.history)
    return attrs


def wcs_cards(hdu: Hdu) -> str:
    """Return the world-coordinate cards of an image, one a line, as `Header.fromstring` reads them."""
    return "\n".join(card for key, card in hdu.header.cards.items() if _WCS.match(key))


def pixel_list_cards(hdu: Hdu, columns: tuple[str, str] = ("X", "Y")) -> str:
    """Return the world coordinates of two columns of an event list, as the cards of an image; empty if none.

    They are in the keywords of the columns (TCTYPn and so on, Greisen & Calabretta 2002, A&A 395, 1061,
    section 3.2), or, as XMM-Newton also writes them, in REFXCTYP and so on.
    """
    made = {}
    for axis, (name, letter) in enumerate(zip(columns, "XY", strict=True), 1):
        column = hdu.columns.get(name)
        for key, short, reference in _PIXEL_LIST:
            if column is None:
                continue
            value = keyword(hdu, f"{short}{column.number}", f"REF{letter}{reference}")
            if value is not None:
                made[f"{key}{axis}"] = value
    if not all(str(made.get(f"CTYPE{axis}", "")).strip()[4:] for axis in (1, 2)):
        return ""
    for key in ("RADECSYS", "EQUINOX"):
        value = keyword(hdu, key)
        if value is not None:
            made[key] = value
    return _cards(made)


#: keyword of an image, of a column, and of REFX and REFY without the first four letters
_PIXEL_LIST = (
    ("CTYPE", "TCTYP", "CTYP"),
    ("CRPIX", "TCRPX", "CRPX"),
    ("CRVAL", "TCRVL", "CRVL"),
    ("CDELT", "TCDLT", "CDLT"),
    ("CUNIT", "TCUNI", "CUNI"),
    ("CROTA", "TCROT", "CROT"),
)


def _cards(values: dict[str, Any]) -> str:
    from astropy.io.fits import Card

    return "\n".join(str(Card(key, value)).rstrip() for key, value in values.items())
