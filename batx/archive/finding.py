"""Where an observation is: in the archive, among the quick-look data, or on disk."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

from batx.archive.planned import Planned, files_in_archive, files_on_disk
from batx.archive.wanted import Request
from batx.errors import BatxWarning, DownloadError, MissingFileError
from batx.transfer import entries
from batx.transfer.limits import shown
from batx.transfer.listings import joined

__all__ = ["Found", "Search", "find_observation", "folder_on_disk"]

_QUICKLOOK = "https://swift.gsfc.nasa.gov/data/swift"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Found:
    """An observation that was found.

    Attributes
    ----------
    folder
        Where it is, or will be, in the data directory.
    files
        Its files that are wanted.
    quicklook
        Whether these are quick-look data.
    """

    folder: Path
    files: list[Planned]
    quicklook: bool = False


class Search:
    """Places that are looked at one after the other, and why they do not serve.

    Attributes
    ----------
    reasons
        What was said of every place.
    missing, unreachable
        Whether one of them does not have it, and whether one could not be asked.

    Examples
    --------
    >>> search = Search()
    >>> search.look(lambda: "data")
    'data'
    """

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.missing = False
        self.unreachable = False

    def look(self, place: Callable[[], _Result]) -> _Result | None:
        """Return what is found at a place, None if nothing is."""
        try:
            return place()
        except MissingFileError as error:
            self.missing = True
            self.reasons.append(str(error))
        except DownloadError as error:
            self.unreachable = True
            self.reasons.append(str(error))
        return None

    def error(self, what: str, also: Sequence[str] = ()) -> DownloadError | MissingFileError:
        """Return what is to be raised if nothing was found anywhere."""
        text = "; ".join(dict.fromkeys([*self.reasons, *also]))
        return (DownloadError if self.unreachable else MissingFileError)(f"{what} was not found: {text}")


def find_observation(obs_id: str, months: Sequence[str], request: Request) -> Found:
    """Return what there is of one observation.

    Parameters
    ----------
    obs_id
        Its id.
    months
        Month folders in which it may be; none if the archive does not know it or could not be asked.
    request
        What is asked for.

    Raises
    ------
    MissingFileError
        If it is not there; of what is looked for on disk alone, also if a part of it is not.
    DownloadError
        If no mirror can be reached and it is not on disk.

    Warns
    -----
    BatxWarning
        If there are only quick-look data, or what is on disk is used because no mirror can be reached.
    """
    there = folder_on_disk(obs_id, request)
    if request.offline or (not months and there is not None):
        return _on_disk(obs_id, there, request)
    search = Search()
    for month, root in product(months, request.mirrors):
        files = search.look(partial(_archived, obs_id, root, month, request))
        if files is not None:
            return Found(request.data / obs_id, files)
    if not months:
        search.reasons.append(f"it is not in the table {request.mission.table}")
    early = Search()
    if request.quicklook and request.mission.name == "swift" and (search.missing or not months):
        found = early.look(partial(_quicklook, obs_id, request))
        if found is not None:
            text = f"{obs_id}: the archive does not have it yet; quick-look data are used, which may change"
            warnings.warn(text, BatxWarning, stacklevel=4)
            return found
    if search.unreachable and there is not None:
        found = search.look(partial(_on_disk, obs_id, there, request))
        if found is not None:
            text = f"no way to the archive ({search.reasons[-1]}); what is on disk is used"
            warnings.warn(text, BatxWarning, stacklevel=4)
            return found
    raise search.error(obs_id, early.reasons)


def folder_on_disk(obs_id: str, request: Request) -> Path | None:
    """Return the folder in which an observation is on disk, else its latest quick-look version, else None."""
    folder = request.data / obs_id
    if folder.is_dir():
        return folder
    early = request.data / "quicklook" / obs_id
    versions = [path for path in early.glob("[0-9][0-9][0-9]") if path.is_dir()] if request.quicklook else []
    return max(versions, default=None)


def _archived(obs_id: str, root: str, month: str, request: Request) -> list[Planned]:
    """Return the wanted files of an observation at one mirror, with their addresses at all mirrors."""
    path = request.mission.path(obs_id, month or None)
    others = [joined(mirror, path) for mirror in request.mirrors if mirror != root]
    return _listed(obs_id, [joined(root, path), *others], obs_id, request)


def _quicklook(obs_id: str, request: Request) -> Found:
    """Return the latest quick-look version of a Swift observation."""
    names = [entry.name for entry in request.page(_QUICKLOOK)]
    latest = max((name for name in names if re.fullmatch(rf"sw{obs_id}\.\d{{3}}", name)), default=None)
    if latest is None:
        raise MissingFileError(f"{_QUICKLOOK} has no quick-look data of it")
    name = f"quicklook/{obs_id}/{latest[-3:]}"
    return Found(request.data / name, _listed(obs_id, [f"{_QUICKLOOK}/{latest}"], name, request), True)


def _listed(obs_id: str, places: Sequence[str], name: str, request: Request) -> list[Planned]:
    """Return the wanted files of an observation, as its first address lists them."""
    top = {entry.name for entry in entries(places[0], limits=request.limits) if entry.folder}
    files = [
        file
        for folder in request.instruments
        if folder in top
        for file in files_in_archive(
            obs_id, places, request.data, name, request.limits, folder, request.takes
        )
    ]
    if not files:
        wanted = ", ".join(request.instruments)
        raise MissingFileError(f"{shown(places[0])} has no files in {wanted} that were asked for")
    return files


def _on_disk(obs_id: str, folder: Path | None, request: Request) -> Found:
    """Return what is on disk of an observation; raises if it is not what was asked for."""
    if folder is None:
        raise MissingFileError(
            f"{obs_id} is not in the data directory {request.data}, and nothing else was looked at (offline)"
        )
    files: list[Planned] = []
    missing = []
    for part in request.instruments:
        unfinished = len(list((folder / part).rglob(".*.part")))
        if unfinished:
            missing.append(f"{part} ({unfinished} unfinished)")
        found = list(files_on_disk(obs_id, request.data, folder, request.takes, part))
        # triggers alone have messages
        if not found and part != "tdrss":
            missing.append(part)
        files += found
    if missing:
        raise MissingFileError(
            f"{obs_id}: {folder} has no files that were asked for in {', '.join(missing)}; fetch them when "
            "there is a network, or ask for other instruments"
        )
    return Found(folder, files, folder != request.data / obs_id)
