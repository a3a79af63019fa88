"""The files of an observation: those that a folder of the archive has, and those that are on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batx.errors import DownloadError
from batx.transfer import Entry, Limits, entries
from batx.transfer.limits import shown
from batx.transfer.listings import joined
from batx.transfer.names import inside

__all__ = ["Planned", "files_in_archive", "files_on_disk"]

_DEEPEST = 6
_MOST = 50_000
#: directory pages give two digits of a size, or three
_ROUNDING = 0.06


@dataclass(frozen=True)
class Planned:
    """A file of an observation.

    Attributes
    ----------
    obs_id, name
        Its observation, and its name below the data directory.
    urls
        Where it can be had, in the order in which they are tried.
    size
        Bytes, None if the archive does not tell.
    exact
        Whether `size` is exact; the pages of web servers round it.
    there
        Whether it is on disk.
    differs
        Whether the one on disk has another size than that in the archive.
    """

    obs_id: str
    name: str
    urls: tuple[str, ...]
    size: int | None
    exact: bool
    there: bool
    differs: bool = False


def files_in_archive(
    obs_id: str,
    places: Sequence[str],
    data: Path,
    name: str,
    limits: Limits | None,
    folder: str = "",
    takes: Callable[[str], bool] = bool,
) -> list[Planned]:
    """Return every file below a folder of the archive.

    Parameters
    ----------
    obs_id
        Observation that they belong to.
    places
        Addresses of the observation at the mirrors; the first is listed.
    data, name
        Data directory, and the name of the observation in it.
    limits
        What the transfer may take.
    folder
        Part of the observation that is listed.
    takes
        Tells of a name, relative to the observation, whether it is wanted.

    Raises
    ------
    DownloadError, MissingFileError
        As `batx.transfer.entries`.
    """
    top = joined(places[0], folder) if folder else places[0]
    return [
        Planned(
            obs_id,
            f"{name}/{below}",
            tuple(joined(place, below) for place in places),
            entry.size,
            entry.exact,
            *_state(data, f"{name}/{below}", entry),
        )
        for below, entry in _walk(top, folder, limits, 1)
        if takes(below)
    ]


def files_on_disk(
    obs_id: str, data: Path, folder: Path, takes: Callable[[str], bool] = bool, part: str = ""
) -> Iterator[Planned]:
    """Yield every file below a folder of the data directory, sorted by name.

    Parameters
    ----------
    obs_id
        Observation that they belong to.
    data, folder
        Data directory, and the observation in it.
    takes
        Tells of a name, relative to the observation, whether it is wanted.
    part
        Part of the observation that is looked at.

    Yields
    ------
    Planned
        A file that is there.
    """
    for path in sorted((folder / part).rglob("*")):
        if path.is_file() and not path.name.startswith(".") and takes(path.relative_to(folder).as_posix()):
            yield Planned(
                obs_id, path.relative_to(data).as_posix(), (), path.stat().st_size, exact=True, there=True
            )


def _walk(url: str, path: str, limits: Limits | None, depth: int) -> list[tuple[str, Entry]]:
    """Return every file below a folder, with its name relative to the observation."""
    if depth > _DEEPEST:
        raise DownloadError(f"{shown(url)}: folders within folders without end")
    found: list[tuple[str, Entry]] = []
    for entry in entries(url, limits=limits):
        below = f"{path}/{entry.name}" if path else entry.name
        if entry.folder:
            found += _walk(joined(url, entry.name), below, limits, depth + 1)
        else:
            found.append((below, entry))
        if len(found) > _MOST:
            raise DownloadError(f"{shown(url)}: more than {_MOST} files")
    return found


def _state(data: Path, name: str, entry: Entry) -> tuple[bool, bool]:
    """Return whether a file is on disk, also if it was unzipped, and whether it has another size."""
    path = inside(data, name)
    if not path.is_file():
        return path.suffix == ".gz" and path.with_suffix("").is_file(), False
    if entry.size is None:
        return True, False
    allowed = 0.0 if entry.exact or entry.size < 1000 else _ROUNDING * entry.size
    return True, abs(path.stat().st_size - entry.size) > allowed
