"""Where the observations of a mission are in the archive of HEASARC, and on disk.

Sources: the guides to the archives of Swift (swift.gsfc.nasa.gov/archive), NuSTAR and XMM-Newton at HEASARC.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from batx.errors import FileFormatError, ValueRangeError
from batx.transfer.limits import address
from batx.transfer.places import config_file

__all__ = ["MISSIONS", "Mission", "mirror_list", "mission_of", "obs_id_text", "several"]

#: in the order in which they are tried
_MIRRORS = ("https://heasarc.gsfc.nasa.gov/FTP", "s3://nasa-heasarc")
_VARIABLE = "BATX_MIRRORS"


@dataclass(frozen=True)
class Mission:
    """A mission as the archive knows it.

    Attributes
    ----------
    name, table
        Its name, and the table of its observations.
    digits
        Digits of an observation id.
    folders
        Folders of an observation that can be selected, the first ones by default.
    default
        How many of them are fetched by default.
    times
        Columns of the table: start and stop (or None), MJD.
    exposures
        Columns of the table: exposures, s.
    """

    name: str
    table: str
    digits: int
    folders: tuple[str, ...]
    default: int
    times: tuple[str, str | None]
    exposures: tuple[str, ...]

    def path(self, obs_id: str, month: str | None = None) -> str:
        """Return the folder of an observation below the root of a mirror."""
        if self.name == "swift":
            if month is None or not re.fullmatch(r"(19|20)\d\d_(0[1-9]|1[0-2])", month):
                raise ValueRangeError(f"month: found {month!r}, expected one such as '2021_12'")
            return f"swift/data/obs/{month}/{obs_id}"
        if self.name == "nustar":
            return f"nustar/data/obs/{obs_id[1:3]}/{obs_id[0]}/{obs_id}"
        return f"xmm/data/rev0/{obs_id}"


MISSIONS = {
    "swift": Mission(
        "swift",
        "swiftmastr",
        11,
        ("bat", "auxil", "tdrss", "xrt", "uvot", "log"),
        3,
        ("start_time", "stop_time"),
        ("bat_exposure", "xrt_exposure", "uvot_exposure"),
    ),
    "nustar": Mission(
        "nustar",
        "numaster",
        11,
        ("event_uf", "event_cl", "auxil", "hk"),
        4,
        ("time", "end_time"),
        ("exposure_a", "exposure_b"),
    ),
    "xmm": Mission("xmm", "xmmmaster", 10, ("ODF", "PPS"), 1, ("time", None), ("duration",)),
}


def mission_of(name: str) -> Mission:
    """Return a mission by its name.

    Raises
    ------
    ValueRangeError
        If it is not one of those known.

    Examples
    --------
    >>> mission_of("Swift").table
    'swiftmastr'
    """
    found = MISSIONS.get(str(name).lower())
    if found is None:
        raise ValueRangeError(f"mission: found {name!r}, expected one of {', '.join(MISSIONS)}")
    return found


def several(value: Any, name: str) -> list[Any]:
    """Return one or many numbers or texts as a list.

    Raises
    ------
    ValueRangeError
        If it is neither.

    Examples
    --------
    >>> several("a", "match"), several(iter([1, 2]), "trigger")
    (['a'], [1, 2])
    """
    if isinstance(value, (str, int, float)) or getattr(value, "ndim", None) == 0:
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise ValueRangeError(f"{name}: found {value!r:.40}, expected one or several")
    return list(value)


def obs_id_text(value: object, mission: Mission) -> str:
    """Return an observation id with all its digits.

    Raises
    ------
    ValueRangeError
        If it is none.

    Examples
    --------
    >>> obs_id_text(1104692000, MISSIONS["swift"])
    '01104692000'
    """
    text = str(value).strip()
    if re.fullmatch(r"\d+", text) and len(text) <= mission.digits:
        text = text.zfill(mission.digits)
    if not re.fullmatch(rf"[0-9]{{{mission.digits}}}", text) or not int(text):
        raise ValueRangeError(
            f"observation: found {str(value)[:40]!r}, expected the {mission.digits} digits of an observation "
            f"id of {mission.name}"
        )
    return text


def mirror_list(
    mirrors: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> list[str]:
    """Return the roots of the mirrors in the order in which they are tried.

    The first of these that is given: `mirrors`; the environment variable ``BATX_MIRRORS`` (separated by
    spaces); ``mirrors = ["..."]`` in the configuration file; else HEASARC by HTTPS, then its bucket.

    Raises
    ------
    ValueRangeError
        If one is no address.

    Examples
    --------
    >>> mirror_list("https://example.org/FTP/")
    ['https://example.org/FTP']
    """
    if mirrors is None:
        mirrors = os.environ.get(_VARIABLE, "").split() or _configured() or list(_MIRRORS)
    many = [mirrors] if isinstance(mirrors, os.PathLike) else several(mirrors, "mirrors")
    if not many:
        raise ValueRangeError(
            "mirrors: found none, expected addresses such as https://heasarc.gsfc.nasa.gov/FTP"
        )
    return [address(mirror).rstrip("/") or "/" for mirror in many]


def _configured() -> list[str]:
    file = config_file()
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("mirrors", [])
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{file}: {error}; expected TOML") from error
    if not isinstance(found, list) or not all(isinstance(mirror, str) for mirror in found):
        raise FileFormatError(f'{file}: found mirrors = {found!r}, expected mirrors = ["https://..."]')
    return found
