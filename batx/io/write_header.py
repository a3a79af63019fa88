"""FITS headers of what batx writes: attributes back to keywords, and the keywords that OGIP asks for.

Keywords follow the FITS standard 4.0 (Pence et al. 2010, A&A 524, A42) and the OGIP memos 93-003 (light
curves), 92-007 (spectra) and CAL/GEN/92-002 (responses).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from batx.errors import BatxWarning

__all__ = ["Cards", "add_history", "carried", "exposure_cards", "make_header", "primary_header", "time_cards"]

#: keyword -> value, or (value, comment)
Cards = dict[str, Any]

#: attribute -> keyword, where it is not simply its name in capitals
_KEYWORDS = {
    "telescope": "TELESCOP",
    "instrument": "INSTRUME",
    "mjdref_int": "MJDREFI",
    "mjdref_frac": "MJDREFF",
    "time_scale": "TIMESYS",
    "utcf": "UTCFINIT",
    "trigger_time": "TRIGTIME",
    "provenance": "BATXPROV",
    "date_obs": "DATE-OBS",
    "date_end": "DATE-END",
    "time_obs": "TIME-OBS",
    "time_end": "TIME-END",
    "mjd_obs": "MJD-OBS",
}
#: attributes that say nothing about the observation or that the product itself says in other keywords
_OWN = {"Conventions", "batx_kind", "batx_schema", "statistic", "weighting", "history", "long_name", "title"}

#: keywords that belong to one file or table and are never carried to another
_NOT_CARRIED = re.compile(
    r"""(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|BSCALE|BZERO|BLANK|BUNIT
        |EXTNAME|EXTVER|EXTLEVEL|HDUCLASS|HDUCLAS\d|HDUVERS\d?|HDUDOC|CHECKSUM|DATASUM|DATE|CREATOR|END
        |COMMENT|HISTORY|CONTINUE|LONGSTRN|DATAMIN|DATAMAX|TOTCOUNT|PHAFILE|NUMGRP|NUMELT|LO_THRES
        |T(TYPE|FORM|UNIT|DIM|SCAL|ZERO|NULL|DISP|LMIN|LMAX|DMIN|DMAX|BCOL)\d+|\d(CTYP|CUNI|CRPX|CRVL|CDLT)\d+
        |TIMEZERO|TIMEZERI|TIMEZERF|MJDREF|TIMVERSN|PHAVERSN|RMFVERSN|ARFVERSN|NUMBAND|E_(MIN|MAX|UNIT)\d*|EUNIT
        |DPHLEVEL|DETCHANS|C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA)\d)$""",
    re.VERBOSE,
)
#: keywords of logical value, kept as 0 or 1 in attributes; so is every keyword that ends in APP
_LOGICAL = {
    "ABERRAT",
    "CATSRC",
    "FOLOWSUN",
    "NUBACKSC",
    "NUFLAG",
    "ORB_RCNS",
    "POISSERR",
    "REPROC",
    "TFIT_IGH",
    "TFIT_RPD",
    "WMAPFIX",
    "XBADFRAM",
    "XPHASCO",
    "XRTDETXY",
    "XRTFLAG",
    "XRTHNFLG",
    "XRTPHA",
    "XRTPI",
    "XRTSKYXY",
    "XSTDPHAS",
}
#: keywords repeated in the primary header
_PRIMARY = (
    "TELESCOP",
    "INSTRUME",
    "OBS_ID",
    "TARG_ID",
    "SEG_NUM",
    "OBJECT",
    "TIMESYS",
    "MJDREFI",
    "MJDREFF",
    "CLOCKAPP",
    "TIMEUNIT",
    "TSTART",
    "TSTOP",
    "DATE-OBS",
    "DATE-END",
    "ONTIME",
    "EXPOSURE",
    "TELAPSE",
    "RA_OBJ",
    "DEC_OBJ",
    "RA_PNT",
    "DEC_PNT",
    "PA_PNT",
    "TRIGTIME",
    "EQUINOX",
    "RADECSYS",
    "UTCFINIT",
    "DATAMODE",
    "TIMEREF",
    "MJD-OBS",
    "ORIGIN",
    "TLM2FITS",
    "PROCVER",
    "SOFTVER",
    "CALDBVER",
    "SEQPNUM",
    "CATSRC",
    "ATTFLAG",
)
_COMMENTS = {
    "TELESCOP": "mission",
    "INSTRUME": "instrument",
    "OBS_ID": "observation",
    "MJDREFI": "[d] MJD of time zero, integer part",
    "MJDREFF": "[d] MJD of time zero, fraction",
    "TIMESYS": "time scale",
    "TIMEUNIT": "unit of times in keywords",
    "TSTART": "[s] start",
    "TSTOP": "[s] end",
    "TELAPSE": "[s] TSTOP - TSTART",
    "ONTIME": "[s] sum of good time",
    "EXPOSURE": "[s] exposure",
    "LIVETIME": "[s] ONTIME times DEADC",
    "DEADC": "dead-time correction",
    "TRIGTIME": "[s] trigger",
    "UTCFINIT": "[s] UTC correction",
    "CREATOR": "program that wrote this",
    "HDUCLASS": "format conforms to OGIP",
    "BATXPROV": "inputs, software and parameters (JSON)",
}


def carried(attrs: Mapping[str, Any], keep: Iterable[str] = ()) -> Cards:
    """Return the keywords that the attributes of a Dataset stand for.

    Names get their keyword back (``utcf`` is UTCFINIT, ``date_obs`` DATE-OBS, anything else its name in
    capitals; by the HIERARCH convention where that has more than 8 characters). Keywords that belong to one
    file or table (structure, OGIP class, checksums) are left out, for what is written has its own.

    Warns
    -----
    BatxWarning
        For attributes that no FITS keyword can hold: NaN, infinity, lists, text that is not ASCII, and text
        that is too long for a name of more than 8 characters.
    """
    cards: Cards = {}
    lost = []
    for name, value in attrs.items():
        key = _KEYWORDS.get(name, name.upper())
        if name in _OWN or (_NOT_CARRIED.match(key) and key not in keep):
            continue
        plain = _card_value(key, value)
        if plain is None or not _fits(key, plain):
            lost.append(name)
        else:
            cards[key] = plain
    if "TIMESYS" in cards:
        cards["TIMESYS"] = str(cards["TIMESYS"]).upper()
        cards.setdefault("TIMEUNIT", "s")
    if lost:
        warnings.warn(
            f"FITS keywords cannot hold the attribute(s) {', '.join(sorted(lost))}: left out of the file",
            BatxWarning,
            stacklevel=4,
        )
    return cards


def _card_value(key: str, value: Any) -> Any:
    """Return the value of a card, `None` if there is no FITS form of it."""
    if isinstance(value, (int, np.integer)):
        is_logical = (key in _LOGICAL or key.endswith("APP")) and value in (0, 1)
        return bool(value) if is_logical else int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return value
    return None


def _fits(key: str, value: Any) -> bool:
    if re.fullmatch(r"[A-Z0-9_-]{1,8}", key):
        return True
    if not re.fullmatch(r"[A-Z0-9_-]+", key):
        return False
    length = len(value.replace("'", "''")) + 2 if isinstance(value, str) else 24
    return len(f"HIERARCH {key} = ") + length <= 80


def time_cards(attrs: Mapping[str, Any], start: float | None, stop: float | None) -> Cards:
    """Return TSTART, TSTOP, TELAPSE and the dates of them.

    Dates in the attributes are kept where `start` and `stop` are those of the attributes; else they are the
    UTC of MJDREF plus the mission time (leap seconds, but not the correction of the spacecraft clock), as
    in the archive.
    """
    if start is None or stop is None:
        return {}
    cards: Cards = {"TSTART": float(start), "TSTOP": float(stop)}
    if stop > start:
        length = float(stop) - float(start)
        cards["TELAPSE"] = float(attrs["telapse"]) if _agrees(attrs, "telapse", length, 1e-9) else length
    for key, name, limit, value in (
        ("DATE-OBS", "date_obs", "tstart", start),
        ("DATE-END", "date_end", "tstop", stop),
    ):
        if name in attrs and attrs.get(limit) == value:
            cards[key] = attrs[name]
        elif "mjdref_int" in attrs:
            cards[key] = _date(attrs, float(value))
    return cards


def _date(attrs: Mapping[str, Any], met: float) -> str:
    from astropy.time import Time

    whole = float(attrs["mjdref_int"])
    fraction = float(attrs.get("mjdref_frac", 0.0)) + met / 86400.0
    return Time(whole, fraction, format="mjd", scale="tt", precision=0).utc.isot


def _agrees(attrs: Mapping[str, Any], name: str, value: float, tolerance: float) -> bool:
    """Whether an attribute holds `value`, as it does until its Dataset was cut or binned anew."""
    recorded = attrs.get(name)
    return isinstance(recorded, (int, float)) and math.isclose(recorded, value, rel_tol=tolerance)


def exposure_cards(attrs: Mapping[str, Any], exposure: float) -> Cards:
    """Return EXPOSURE, ONTIME, LIVETIME and DEADC; those of the attributes while their EXPOSURE is right."""
    kept = {}
    if _agrees(attrs, "exposure", exposure, 1e-6):
        exposure = float(attrs["exposure"])
        kept = {key: attrs[key.lower()] for key in ("ONTIME", "LIVETIME", "DEADC") if key.lower() in attrs}
    return {"ONTIME": exposure, "EXPOSURE": exposure, "LIVETIME": exposure, "DEADC": 1.0} | kept


def make_header(
    cards: Mapping[str, Any], attrs: Mapping[str, Any], drop: Iterable[str] = (), keep: Iterable[str] = ()
) -> Any:
    """Return an astropy Header of `cards` and of the keywords carried by `attrs`, except those in `drop`.

    Parameters
    ----------
    cards
        Keyword to value or (value, comment); these go first and win.
    attrs
        Attributes of the Dataset.
    drop
        Keywords that must not be carried.
    keep
        Keywords that are carried although most products have their own.
    """
    from astropy.io import fits

    from batx import __version__

    dropped = {*drop, *cards}
    others = {key: value for key, value in carried(attrs, keep).items() if key not in dropped}
    header = fits.Header()
    unknown = []
    for key, entry in {**cards, "CREATOR": f"batx {__version__}", **others}.items():
        value, comment = entry if isinstance(entry, tuple) else (entry, _COMMENTS.get(key, ""))
        if isinstance(value, float) and not math.isfinite(value):
            unknown.append(key)
        elif value is not None:
            _set(header, key, value, comment)
    if unknown:
        warnings.warn(
            f"FITS keyword(s) {', '.join(unknown)} left out: the Dataset gives no finite value",
            BatxWarning,
            stacklevel=3,
        )
    return header


def _set(header: Any, key: str, value: Any, comment: str) -> None:
    if len(key) > 8:
        header[f"HIERARCH {key}"] = value
    elif isinstance(value, str):
        room = 80 - 10 - 3 - len(f"{value:8s}".replace("'", "''")) - 2
        header[key] = (value, comment if room >= len(comment) else "")
    else:
        header[key] = (value, comment[:47])


def add_history(header: Any, attrs: Mapping[str, Any]) -> None:
    """Write every line of ``attrs["history"]`` to `header` as a HISTORY card."""
    for line in str(attrs.get("history", "")).splitlines():
        header.add_history(line.encode("ascii", "backslashreplace").decode())


def primary_header(header: Any) -> Any:
    """Return the mission, time and pointing keywords of an extension, for the primary header of its file."""
    from astropy.io import fits

    primary = fits.Header()
    for key in _PRIMARY:
        if key in header:
            primary[key] = (header[key], header.comments[key])
    return primary
