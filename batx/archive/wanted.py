"""What is asked for: observations, their folders, and the names of their files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from batx.archive.layouts import Mission, mirror_list, mission_of, obs_id_text, several
from batx.errors import ValueRangeError
from batx.transfer import Entry, Limits, data_directory, entries

__all__ = ["Request", "observations_of", "request_of"]


@dataclass(frozen=True)
class Request:
    """What is asked for, whatever the observation.

    Attributes
    ----------
    mission
        The mission.
    instruments, patterns
        Folders of an observation, and patterns of which a name of a file has to fit one; all do if there are
        none.
    data
        The data directory.
    mirrors
        Roots of the archive.
    limits
        What a transfer may take.
    quicklook, offline
        Whether to look at quick-look data, and nowhere but on disk.
    pages
        Directory pages that were read.
    """

    mission: Mission
    instruments: tuple[str, ...]
    patterns: tuple[str, ...]
    data: Path
    mirrors: list[str]
    limits: Limits | None = None
    quicklook: bool = True
    offline: bool = False
    pages: dict[str, list[Entry]] = field(default_factory=dict)

    def takes(self, name: str) -> bool:
        """Whether a file, named relative to its observation, is wanted."""
        base = name.rpartition("/")[2]
        return not self.patterns or any(
            fnmatchcase(base, one) or fnmatchcase(name, one) for one in self.patterns
        )

    def page(self, url: str) -> list[Entry]:
        """Return what is in a folder that many observations share, asked for once only."""
        if url not in self.pages:
            self.pages[url] = entries(url, limits=self.limits)
        return self.pages[url]


def request_of(
    mission: str,
    *,
    instruments: Iterable[str] | str | None = None,
    match: str | Iterable[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str] | None = None,
    limits: Limits | None = None,
    quicklook: bool = True,
    offline: bool = False,
) -> Request:
    """Return what is asked for, checked; parameters are those of `batx.fetch`.

    Raises
    ------
    ValueRangeError
        If there is no such mission or instrument, or a mirror is no address.

    Examples
    --------
    >>> request_of("swift", instruments="bat", data="data").takes("bat/event/sw.evt")
    True
    """
    chosen = mission_of(mission)
    patterns = () if match is None else tuple(several(match, "match"))
    if not all(isinstance(one, str) for one in patterns):
        raise ValueRangeError(f"match: found {match!r:.40}, expected patterns of names such as '*bevsh*'")
    return Request(
        chosen,
        _instruments(instruments, chosen),
        patterns,
        data_directory(data),
        mirror_list(mirrors),
        limits,
        quicklook,
        offline,
    )


def observations_of(observations: Any, mission: Mission) -> dict[str, Any]:
    """Return the ids in what is given as observations, each with the time of its start or None.

    Parameters
    ----------
    observations
        Ids, one or many, or a table with a column ``obsid``.
    mission
        Their mission.

    Raises
    ------
    ValueRangeError
        If one is no id, or there are none.

    Examples
    --------
    >>> observations_of([12345000], mission_of("swift"))
    {'00012345000': None}
    """
    is_table = hasattr(observations, "keys") and getattr(observations, "ndim", None) != 1  # a Series is none
    names = set(observations.keys()) if is_table else set()
    names |= set(getattr(observations, "coords", ()))
    scalar = isinstance(observations, (str, int)) or getattr(observations, "ndim", None) == 0
    if not (scalar or names or isinstance(observations, Iterable)) or isinstance(observations, bytes):
        raise ValueRangeError(
            f"observations: found {observations!r:.40}, expected ids such as '00012345000', or a table with "
            "a column obsid"
        )
    if names and "obsid" not in names:
        raise ValueRangeError(
            f"observations: found a table with {', '.join(sorted(map(str, names)))[:80]}, expected a column "
            "obsid"
        )
    ids = [observations] if scalar else list(_column(observations, "obsid") if names else observations)
    if not ids:
        raise ValueRangeError("observations: found none, expected ids such as '00012345000'")
    key = next((key for key in ("start", mission.times[0]) if key in names), None)
    times = [None] * len(ids) if key is None else [_known(time) for time in _column(observations, key)]
    if len(times) != len(ids):
        raise ValueRangeError(
            f"observations: found {len(ids)} ids and {len(times)} times, expected one for each"
        )
    return {obs_id_text(one, mission): time for one, time in zip(ids, times, strict=True)}


def _known(time: Any) -> Any:
    """Return a time, None if it is missing."""
    return time if time == time and time is not None else None  # neither NaN nor NaT is itself


def _column(table: Any, name: str) -> Any:
    column = table[name]
    return getattr(column, "values", column)


def _instruments(names: Iterable[str] | str | None, mission: Mission) -> tuple[str, ...]:
    if names is None:
        return mission.folders[: mission.default]
    many = [part for name in several(names, "instruments") for part in str(name).split(",") if part]
    wrong = [name for name in many if name not in mission.folders]
    if wrong or not many:
        raise ValueRangeError(
            f"instruments: found {wrong[0] if wrong else 'none'!r}, expected some of "
            f"{', '.join(mission.folders)}"
        )
    return tuple(dict.fromkeys(many))
