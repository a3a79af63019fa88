"""What files beside the events say of a trigger: messages sent down at once, the scaled map, near sources."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

from batx.errors import BatxError
from batx.io.file import FitsFile
from batx.io.header import keyword
from batx.io.scaled_maps import map_intervals
from batx.io.source import starts_like_fits
from batx.pipelines.frame import Work

__all__ = ["bat_messages", "near_field", "readable", "scaled_map_intervals", "xrt_message"]

#: messages of BAT in the order in which they are sent: no position, alert, centroid
_BAT = ("bno", "bal", "bce")
_BAT_KEYWORDS = {
    "BRA_OBJ": "ra",
    "BDEC_OBJ": "dec",
    "TRIGTIME": "time",
    "TRIGSTOP": "stop",
    "BACKSTRT": "background_start",
    "BACKSTOP": "background_stop",
    "FOREEXPO": "foreground_exposure",
    "TRIGSATF": "criterion",
    "POINTSRC": "point_source",
    "UTCFINIT": "utcf",
    "LEAP2001": "leap_seconds",
}
_XRT_KEYWORDS = {"XRA_OBJ": "ra", "XDEC_OBJ": "dec"}
#: messages of XRT: of any kind, then the centroid; that which says that nothing was seen
_XRT, _XRT_NOTHING = ("x", "xce"), "msxno"
#: housekeeping of the distance of a source on ground: extension, and cm from a metre and from the origin of Z
#: to the top of the detectors
_NEAR, _METRE, _DETECTORS = "HK161X001", 100.0, 0.35


def readable(path: Path) -> FitsFile | None:
    """Return a FITS file; `None` if it cannot be read, of which `batx.open_observation` has warned."""
    try:
        return FitsFile(path) if path.is_file() and starts_like_fits(path) else None
    except BatxError:
        return None


def bat_messages(work: Work, source: Path) -> dict[str, Any]:
    """Return what the messages of BAT say of a trigger, later ones before earlier ones.

    ``ra``, ``dec`` (degrees) and ``position_message``, the file that they are from; ``time``, ``stop``,
    ``background_start``, ``background_stop`` (MET); ``foreground_exposure`` (s), ``criterion``,
    ``point_source``, ``utcf``, ``leap_seconds``, as far as they are said; ``message``, the last file.
    """
    found: dict[str, Any] = {}
    for kind in _BAT:
        for path, said in _messages(work, source, f"*ms{kind}*", _BAT_KEYWORDS):
            placed = {"ra", "dec"} <= said.keys()
            place = {name: said.pop(name) for name in ("ra", "dec") if name in said}
            found |= said | {"message": path.name}
            found |= place | {"position_message": path.name} if placed else {}
    return found


def xrt_message(work: Work, source: Path) -> dict[str, Any]:
    """Return ``ra``, ``dec`` (degrees) and ``message``, the file in which XRT states a position.

    That of the last centroid, and where there is none of the last message of another kind.
    """
    found: dict[str, Any] = {}
    for kind in _XRT:
        for path, said in _messages(work, source, f"*ms{kind}*", _XRT_KEYWORDS):
            if _XRT_NOTHING not in path.name and len(said) == len(_XRT_KEYWORDS):
                found = said | {"message": path.name}
    return found


def _messages(
    work: Work, source: Path, pattern: str, names: dict[str, str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the messages of a kind by name, and the numbers that they hold."""
    for path in sorted((source / "tdrss").glob(pattern)):
        file = readable(path)
        if file is None:
            continue
        said: dict[str, Any] = {}
        for key, name in names.items():
            values = [keyword(hdu, key) for hdu in file.hdus]
            value = next((one for one in values if one is not None), None)
            if isinstance(value, Real):
                said[name] = value
            elif value is not None:
                work.notes.append(f"message {path.name}: {key} is {value!r}, which is no number: not used")
        yield path, said


def scaled_map_intervals(source: Path) -> dict[str, Any]:
    """Return the intervals of the scaled map that was sent with a trigger, empty if there is none.

    ``start``, ``stop``, ``background_start``, ``background_stop`` (MET), and ``map``, the file.
    """
    for path in sorted((source / "tdrss").glob("*msbsm*")):
        file = readable(path)
        found = map_intervals(file) if file is not None else None
        if found is not None:
            (start, stop), (before, after) = found
            background = {"background_start": before, "background_stop": after} if before < after else {}
            return {"start": start, "stop": stop, "map": path.name} | background
    return {}


def near_field(source: Path) -> dict[str, float]:
    """Return how near a source on ground was; empty in flight.

    ``distance`` is BAT_Z of the source and ``origin`` that of the point that directions are measured from
    (cm). They are of the last row of the housekeeping ``hk161x001``, whose INVDIST (1/m) and FLENGTH (m) are
    both positive only where a source near the instrument was observed.
    """
    for path in sorted((source / "bat" / "hk").glob("*")):
        file = readable(path)
        for hdu in file.hdus if file is not None else ():
            if hdu.name.upper() == _NEAR and hdu.rows and {"INVDIST", "FLENGTH"} <= hdu.columns.keys():
                inverse, length = (float(hdu.values(name)[-1]) for name in ("INVDIST", "FLENGTH"))
                if inverse > 0 and length > 0:
                    distance = _METRE * (1 / inverse + length) + _DETECTORS
                    return {"distance": distance, "origin": _METRE * length + _DETECTORS}
    return {}
