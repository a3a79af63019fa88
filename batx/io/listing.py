"""Event files in folders, by what their headers say."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batx.errors import BatxError, BatxWarning, MissingFileError
from batx.io.file import FitsFile
from batx.io.identify import principal
from batx.io.source import starts_like_fits
from batx.met import to_met

__all__ = ["event_files"]


def event_files(
    *places: str | os.PathLike[str], since: Any = None, until: Any = None
) -> Iterator[tuple[str, Path]]:
    """Yield observation id and path of the event files in files, observations and folders of observations.

    In a folder in which there are folders ``bat/event``, only these are looked into; in another one, every
    file is. Headers are read, one file after the other, as the iteration goes on.

    Parameters
    ----------
    *places
        Event files, directories of observations, or directories that hold either.
    since, until
        Only files whose events begin (TSTART) at `since` or later, and before `until`: dates or MET.

    Yields
    ------
    tuple of str and pathlib.Path

    Raises
    ------
    MissingFileError
        If a place does not exist.

    Warns
    -----
    BatxWarning
        For files that cannot be read, and for those without TSTART if a limit is given; they are left out.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import Background, observation
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = observation(folder, background=Background(rate=0.01), duration=2.0)
    ...     [(obs_id, path.name) for obs_id, path in event_files(folder)]
    [('00012345000', 'sw00012345000bevshsp_uf.evt')]
    """
    for place in map(Path, places):
        if not place.exists():
            raise MissingFileError(f"{place}: no such file or directory")
        for path in _candidates(place):
            attrs = _event_attrs(path)
            if attrs is not None and _begins(attrs, since, until, path):
                yield str(attrs.get("obs_id", "")), path


def _candidates(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    folders = sorted(
        folder for folder in place.rglob("event") if folder.parent.name == "bat" and folder.is_dir()
    )
    for folder in folders or [place]:
        found = folder.iterdir() if folders else folder.rglob("*")
        yield from (path for path in sorted(found) if path.is_file() and starts_like_fits(path))


def _event_attrs(path: Path) -> dict[str, Any] | None:
    """Return the keywords of the events of a file, `None` if it is about something else."""
    try:
        file = FitsFile(path)
    except BatxError as error:
        warnings.warn(f"left out a file that cannot be read: {error}", BatxWarning, stacklevel=2)
        return None
    index = principal(file.hdus, file.kinds)
    if index is None or file.kinds[index] != "events":
        return None
    return file.attrs(file.hdus[index])


def _begins(attrs: dict[str, Any], since: Any, until: Any, path: Path) -> bool:
    """Whether the events begin within the limits."""
    if since is None and until is None:
        return True
    if "tstart" not in attrs:
        warnings.warn(f"left out {path}: found no TSTART, and limits are given", BatxWarning, stacklevel=2)
        return False
    start = float(attrs["tstart"])
    return (since is None or start >= float(to_met(since, attrs, name="since"))) and (
        until is None or start < float(to_met(until, attrs, name="until"))
    )
