"""What is to be fetched and what is there: planned first, with sizes, then done."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx.archive.finding import find_observation
from batx.archive.months import months_of
from batx.archive.planned import Planned
from batx.archive.wanted import observations_of, request_of
from batx.errors import BatxWarning
from batx.transfer import Item, Limits, Progress, download_all

__all__ = ["Plan", "fetch", "plan"]


@dataclass(frozen=True)
class Plan:
    """What a fetch will do.

    Attributes
    ----------
    data
        The data directory.
    files
        All files that were asked for, those that are there included.
    folders
        Folder of every observation.
    quicklook
        Observations of which there are only quick-look data as yet; these are kept apart, in
        ``<data>/quicklook``.
    limits
        What the transfers may take.
    overwrite
        Whether files that differ from those in the archive are replaced.
    """

    data: Path
    files: tuple[Planned, ...]
    folders: dict[str, Path]
    quicklook: tuple[str, ...] = ()
    limits: Limits | None = field(default=None, repr=False)
    overwrite: bool = False

    @property
    def left(self) -> tuple[Planned, ...]:
        """The files that are to be fetched."""
        return tuple(file for file in self.files if not file.there or (self.overwrite and file.differs))

    @property
    def size(self) -> int:
        """Bytes to be fetched, as far as the archive tells."""
        return sum(file.size or 0 for file in self.left)

    def fetch(self, progress: Progress | None = None) -> list[Path]:
        """Fetch what is not there; return the folders of the observations.

        Raises
        ------
        DownloadError, MissingFileError, WriteError
            As `batx.transfer.download_all`.
        """
        items = [Item(file.name, file.urls, file.size if file.exact else None) for file in self.left]
        kept = [file.name for file in self.files if file.differs and not self.overwrite]
        if kept:
            few = ", ".join(kept[:3]) + (", ..." if len(kept) > 3 else "")
            text = f"{len(kept)} file(s) on disk have another size than in the archive and are kept: {few}"
            warnings.warn(f"{text}; fetch them anew with overwrite=True", BatxWarning, stacklevel=2)
        download_all(items, self.data, overwrite=self.overwrite, limits=self.limits, progress=progress)
        return list(self.folders.values())

    def __str__(self) -> str:
        lines = []
        for obs_id, folder in self.folders.items():
            files = [file for file in self.files if file.obs_id == obs_id]
            left = [file for file in self.left if file.obs_id == obs_id]
            size = sum(file.size or 0 for file in left) / 1e6
            kind = " (quick-look)" if obs_id in self.quicklook else ""
            lines.append(f"{obs_id}{kind}: {len(left)} of {len(files)} files, {size:.1f} MB, to {folder}")
        lines.append(f"to fetch: {len(self.left)} files, {self.size / 1e6:.1f} MB")
        return "\n".join(lines)


def fetch(
    observations: Any,
    *,
    mission: str = "swift",
    instruments: Iterable[str] | str | None = None,
    match: str | Iterable[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str] | None = None,
    quicklook: bool = True,
    offline: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Fetch observations into the data directory, in the layout of the archive.

    Files that are there are not fetched again; an interrupted fetch goes on where it was. Without a way to
    the archive, or with `offline`, what is there is used.

    Parameters
    ----------
    observations
        Observation ids (text or numbers, one or many), or a table with a column ``obsid``, such as
        `batx.archive.observations` returns. For Swift the archive has a folder for every month: a table tells
        it by its column of start times, for ids alone the archive is asked.
    mission
        ``"swift"``, ``"nustar"`` or ``"xmm"``.
    instruments
        Folders of an observation: for Swift of ``bat``, ``auxil``, ``tdrss`` (these by default), ``xrt``,
        ``uvot`` and ``log``.
    match
        Patterns (``*``, ``?``) of file names, such as ``"*bevsh*"``; one has to match.
    data
        The data directory; see `batx.transfer.data_directory`.
    mirrors
        Roots of the archive, in the order in which they are tried; see `batx.archive.layouts.mirror_list`.
    quicklook
        Whether to look for Swift quick-look data of observations that the archive does not have.
    offline
        Use what is there, and do not look anywhere else.
    overwrite
        Whether to replace files on disk that have another size than those in the archive, which processes
        data anew from time to time.
    limits, progress
        As for `batx.transfer.download`.

    Returns
    -------
    list of pathlib.Path
        Folder of every observation, ``<data>/<obsid>``; quick-look data are in ``<data>/quicklook/<obsid>``.

    Raises
    ------
    MissingFileError
        If the archive has no such observation; offline, if what was asked for is not there, with what is
        missing.
    DownloadError
        If no mirror can be reached and nothing is there, or a file cannot be fetched.
    ValueRangeError
        If an observation id, instrument or mirror is none, or `observations` is something else.

    Warns
    -----
    BatxWarning
        If no mirror can be reached and what is there is used; if there are only quick-look data; if files
        on disk differ from those in the archive and are kept.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import observation
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = observation(folder, duration=2.0)
    ...     [path.name for path in fetch("00012345000", data=folder, instruments="bat", offline=True)]
    ['00012345000']
    """
    made = plan(
        observations,
        mission=mission,
        instruments=instruments,
        match=match,
        data=data,
        mirrors=mirrors,
        quicklook=quicklook,
        offline=offline,
        overwrite=overwrite,
        limits=limits,
    )
    return made.fetch(progress)


def plan(
    observations: Any,
    *,
    mission: str = "swift",
    instruments: Iterable[str] | str | None = None,
    match: str | Iterable[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str] | None = None,
    quicklook: bool = True,
    offline: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    step: Callable[[str], None] | None = None,
) -> Plan:
    """Return what `fetch` would do, with sizes; nothing is fetched but listings.

    Parameters are those of `fetch`.

    Parameters
    ----------
    step
        Called with what is looked at next.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import observation
    >>> with tempfile.TemporaryDirectory() as mirror, tempfile.TemporaryDirectory() as folder:
    ...     made = observation(f"{mirror}/swift/data/obs/2020_01", duration=2.0)
    ...     table = {"obsid": ["00012345000"], "start_time": [58849.0]}
    ...     found = plan(table, data=folder, mirrors=mirror, instruments="auxil")
    ...     len(found.files), found.size > 0, [path.name for path in found.fetch()]
    (2, True, ['00012345000'])
    """
    request = request_of(
        mission,
        instruments=instruments,
        match=match,
        data=data,
        mirrors=mirrors,
        limits=limits,
        quicklook=quicklook,
        offline=offline,
    )
    wanted = observations_of(observations, request.mission)
    months = {} if offline else months_of(wanted, request, step)
    found = {}
    for obs_id in wanted:
        if step:
            step(f"looking for {obs_id}")
        found[obs_id] = find_observation(obs_id, months.get(obs_id, ()), request)
    return Plan(
        request.data,
        tuple(file for one in found.values() for file in one.files),
        {obs_id: one.folder for obs_id, one in found.items()},
        tuple(obs_id for obs_id, one in found.items() if one.quicklook),
        limits,
        overwrite,
    )
