"""What the tasks of XMM-Newton's SAS are asked: expressions that select events, and the exposures used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from batx.errors import EmptySelectionError, ValueRangeError
from batx.regions import Region

__all__ = [
    "PATTERNS",
    "PIXELS_PER_ARCSEC",
    "camera_of",
    "choose_exposures",
    "expression",
    "flag_of",
    "imaging_exposures",
    "in_time",
    "named_exposures",
    "pi_range",
    "plain_path",
    "shape_expression",
    "source_position",
    "time_range",
]

#: pixels of X and Y of EPIC event lists: 0.05 arcsec
PIXELS_PER_ARCSEC = 20.0
#: instrument of the header -> name here
INSTRUMENTS = {"EPN": "pn", "EMOS1": "mos1", "EMOS2": "mos2"}
#: filters through which the sky is not seen
_CLOSED = ("CLOSED", "CALCLOSED", "CALTHIN1", "CALTHICK", "CALMEDIUM", "UNDEFINED")
#: good events for spectra, for curves, for the flares, and for lists, which keep all patterns
_FLAGS = {
    "pn": {
        "spectrum": "FLAG==0 && PATTERN<=4",
        "curve": "#XMMEA_EP && PATTERN<=4",
        "flares": "#XMMEA_EP && PI in [10000:12000] && PATTERN==0",
        "list": "#XMMEA_EP",
    },
    "mos": {
        "spectrum": "#XMMEA_EM && PATTERN<=12",
        "curve": "#XMMEA_EM && PATTERN<=12",
        "flares": "#XMMEA_EM && PI>10000 && PATTERN==0",
        "list": "#XMMEA_EM",
    },
}
#: patterns up to this are X-rays
PATTERNS = {"pn": 4, "mos": 12}
#: shapes of one region whose middle SAS finds by itself
_PLAIN = ("circle", "annulus", "box")


def flag_of(instrument: str, purpose: str) -> str:
    """Return the expression of good events for ``"spectrum"``, ``"curve"``, ``"flares"`` or ``"list"``.

    Source: XMM-Newton SAS data-analysis threads for EPIC. A list keeps all patterns: the fractions that
    ``epatplot`` compares are of all of them.

    Examples
    --------
    >>> flag_of("mos1", "curve")
    '#XMMEA_EM && PATTERN<=12'
    """
    return _FLAGS[camera_of(instrument)][purpose]


def camera_of(instrument: str) -> str:
    """Return the kind of camera: ``"pn"``, or ``"mos"`` for both of these.

    Examples
    --------
    >>> camera_of("mos2")
    'mos'
    """
    return instrument.rstrip("12")


def shape_expression(regions: Sequence[Region]) -> str:
    """Return regions in physical pixels as an expression of SAS.

    Raises
    ------
    ValueRangeError
        If some are not in physical pixels.

    Examples
    --------
    >>> shape_expression([Region("annulus", (24783.0, 28244.0, 60.0, 800.0), "physical")])
    '((X,Y) IN annulus(24783,28244,60,800))'
    """
    if any(region.frame != "physical" for region in regions):
        raise ValueRangeError("shape_expression: found regions on the sky, expected physical pixels")
    taken = [f"((X,Y) IN {_shape(region)})" for region in regions if region.include]
    away = [f"!((X,Y) IN {_shape(region)})" for region in regions if not region.include]
    one = taken[0] if len(taken) == 1 else f"({' || '.join(taken)})"
    return " && ".join([one, *away])


def _shape(region: Region) -> str:
    values = list(region.values)
    if region.shape == "box":  # half of the sides
        values[2:4] = [side / 2 for side in values[2:4]]
    return f"{region.shape}({','.join(f'{value:.8g}' for value in values)})"


def source_position(regions: Sequence[Region], ra: float, dec: float) -> dict[str, Any]:
    """Return the parameters that say where the source is, for a region of several shapes; else none.

    ``arfgen`` and ``epiclccorr`` take the middle of a plain region for it, and cannot find one of others.

    Examples
    --------
    >>> around = Region("circle", (100.0, 100.0, 60.0), "physical")
    >>> source_position([around], 83.6, 22.0)
    {}
    >>> without = Region("circle", (110.0, 100.0, 6.0), "physical", include=False)
    >>> source_position([around, without], 83.6, 22.0)["sourcecoords"]
    'eqpos'
    """
    if len(regions) == 1 and regions[0].shape in _PLAIN:
        return {}
    return {"withsourcepos": True, "sourcecoords": "eqpos", "sourcex": ra, "sourcey": dec}


def time_range(start: float, stop: float, dt: float) -> dict[str, Any]:
    """Return the parameters that make light curves begin and end at the same times, at multiples of `dt`.

    Left to itself ``evselect`` begins at the first event of the region, so source, background, bands and
    cameras would have bins of their own, and ``epiclccorr`` takes no background with others.

    Parameters
    ----------
    start, stop
        Of the exposure, s.
    dt
        Width of the bins, s.

    Examples
    --------
    >>> time_range(1003.0, 1290.0, 100.0)
    {'withtimeranges': True, 'timemin': 1000.0, 'timemax': 1300.0}
    """
    first, last = math.floor(start / dt), math.ceil(stop / dt)
    return {"withtimeranges": True, "timemin": first * dt, "timemax": max(last, first + 1) * dt}


def pi_range(low: int, high: int) -> str:
    """Return a range of PI channels (eV), both included.

    Examples
    --------
    >>> pi_range(300, 9999)
    'PI in [300:9999]'
    """
    return f"PI in [{low}:{high}]"


def in_time(path: Path) -> str:
    """Return the condition that an event is in the good time of a file.

    Raises
    ------
    ValueRangeError
        If the name of the file would be read as something else.
    """
    return f"gti({plain_path(path)},TIME)"


def plain_path(path: Path) -> str:
    """Return a path if an expression of SAS can hold it.

    Raises
    ------
    ValueRangeError
        If it has a letter that is read as something else.

    Examples
    --------
    >>> plain_path(Path("/data/good.gti"))
    '/data/good.gti'
    """
    text = str(path)
    if found := {letter for letter in text if letter in "(),' \"&|:#[]{}!<>*?;\\$"}:
        raise ValueRangeError(
            f"found {' '.join(map(repr, sorted(found)))} in the path {text}, which an expression of SAS "
            "cannot hold; use another folder"
        )
    return text


def expression(*parts: str) -> str:
    """Return conditions that must all be true as one.

    Examples
    --------
    >>> expression("FLAG==0 && PATTERN<=4", "", "PI in [300:9999]")
    '(FLAG==0 && PATTERN<=4) && (PI in [300:9999])'
    """
    return " && ".join(f"({part})" for part in parts if part)


def named_exposures(files: Iterable[str], camera: str, wanted: Sequence[str]) -> str:
    """Return the wanted exposures that have data files, by the names that ``epproc`` and ``emproc`` take.

    Parameters
    ----------
    files
        Names of observation data files: revolution, observation, then ``PNS003`` and more.
    camera
        ``"pn"`` or ``"mos"``.
    wanted
        Exposures: ``"S003"``, ``"U002"``.

    Examples
    --------
    >>> files = ["2277_0693760101_M1S00100IME.FIT", "2277_0693760101_PNS00301IME.FIT"]
    >>> named_exposures(files, "mos", ["S001"])
    'M1S001'
    """
    heads = ("PN",) if camera == "pn" else ("M1", "M2")
    there = {name.split("_")[2][:6].upper() for name in files if name.count("_") >= 2}
    return " ".join(head + one for head in heads for one in wanted if head + one in there)


def imaging_exposures(files: Iterable[str]) -> list[str]:
    """Return the exposures of pn in an imaging mode that there are data files of.

    Examples
    --------
    >>> imaging_exposures(["2277_0693760101_PNS00301IME.FIT", "2277_0693760101_PNU00204TIE.FIT"])
    ['S003']
    """
    parts = [name.split("_")[2].upper() for name in files if name.count("_") >= 2]
    return sorted({part[2:6] for part in parts if part.startswith("PN") and part[8:11] == "IME"})


def choose_exposures(
    rows: Iterable[Mapping[str, Any]], *, min_exposure: float = 0.0, merge: bool = True
) -> list[Any]:
    """Return the exposures of one camera that are used.

    Parameters
    ----------
    rows
        Of each exposure: ``name`` (S003, U002), ``mode`` (DATAMODE), ``submode``, ``filter``, ``exposure``
        (s).
    min_exposure
        Shorter ones (s) are left out.
    merge
        Whether all in the mode and filter of the longest are used, else it alone.

    Returns
    -------
    list
        Rows, the longest first. Only imaging modes, through a filter that is open; of two of equal length
        the scheduled one (S) goes first.

    Raises
    ------
    EmptySelectionError
        If there is none, with what was found.

    Examples
    --------
    >>> rows = [{"name": "S003", "mode": "IMAGING", "submode": "FF", "filter": "Thin1", "exposure": 9e3},
    ...         {"name": "U002", "mode": "IMAGING", "submode": "FF", "filter": "CalClosed", "exposure": 2e4}]
    >>> [row["name"] for row in choose_exposures(rows)]
    ['S003']
    """
    several = list(rows)
    usable = [
        row
        for row in several
        if str(row["mode"]).upper().startswith("IMAG")
        and str(row["filter"]).replace("_", "").upper() not in _CLOSED
        and row["exposure"] >= min_exposure
        and row["exposure"] > 0
    ]
    if not usable:
        seen = (
            "; ".join(f"{r['name']} {r['mode']} {r['filter']} {r['exposure']:.0f} s" for r in several)
            or "none"
        )
        raise EmptySelectionError(
            f"found no exposure in an imaging mode through an open filter of at least "
            f"{min_exposure:g} s: {seen}"
        )
    usable.sort(key=lambda row: (-row["exposure"], str(row["name"])))
    alike = [
        row
        for row in usable
        if (row["submode"], row["filter"]) == (usable[0]["submode"], usable[0]["filter"])
    ]
    return alike if merge else alike[:1]
