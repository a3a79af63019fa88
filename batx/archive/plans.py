"""What is to be fetched and what is there: planned first, with sizes, then done."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from batx.archive.layouts import Mission, mirror_list, mission_of, obs_id_text
from batx.errors import BatxWarning, DownloadError, MissingFileError, QueryError, ValueRangeError
from batx.transfer import Entry, Item, Limits, Progress, data_directory, download_all, entries
from batx.transfer.limits import shown
from batx.transfer.listings import joined
from batx.transfer.names import inside

__all__ = ["Plan", "Planned", "fetch", "month_names", "plan", "planned_files"]

_QUICKLOOK = "https://swift.gsfc.nasa.gov/data/swift"
_DEEPEST = 6
_MOST = 50_000


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
    chosen = mission_of(mission)
    wanted = _wanted(observations, chosen)
    request = _Request(
        chosen,
        _instruments(instruments, chosen),
        _patterns(match),
        data_directory(data),
        mirror_list(mirrors),
        limits,
    )
    folders: dict[str, Path] = {}
    files: list[Planned] = []
    early: list[str] = []
    months = {} if offline else _months(wanted, request, step)
    for obs_id in wanted:
        if step:
            step(f"looking for {obs_id}")
        found = _one(obs_id, months.get(obs_id, ()), request, quicklook, offline)
        folders[obs_id] = found.folder
        files += found.files
        if found.quicklook:
            early.append(obs_id)
    return Plan(request.data, tuple(files), folders, tuple(early), limits, overwrite)


@dataclass(frozen=True)
class _Request:
    """What is asked for, whatever the observation."""

    mission: Mission
    instruments: tuple[str, ...]
    patterns: tuple[str, ...]
    data: Path
    mirrors: list[str]
    limits: Limits | None

    def takes(self, name: str) -> bool:
        """Whether a file, named relative to its observation, is wanted."""
        base = name.rpartition("/")[2]
        return not self.patterns or any(
            fnmatchcase(base, one) or fnmatchcase(name, one) for one in self.patterns
        )


@dataclass(frozen=True)
class _Found:
    folder: Path
    files: list[Planned]
    quicklook: bool = False


def _wanted(observations: Any, mission: Mission) -> dict[str, Any]:
    """Return the ids, each with the time of its start if that is known (MJD or None)."""
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
    key = next((key for key in ("start", mission.times[0]) if key in names and "obsid" in names), None)
    times = [None] * len(ids) if key is None else [_known(time) for time in _column(observations, key)]
    if not ids:
        raise ValueRangeError("observations: found none, expected ids such as '00012345000'")
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
    many = [names] if isinstance(names, str) else list(names)
    many = [part for name in many for part in str(name).split(",") if part]
    wrong = [name for name in many if name not in mission.folders]
    if wrong or not many:
        raise ValueRangeError(
            f"instruments: found {wrong[0] if wrong else 'none'!r}, expected some of "
            f"{', '.join(mission.folders)}"
        )
    return tuple(dict.fromkeys(many))


def _patterns(match: str | Iterable[str] | None) -> tuple[str, ...]:
    if match is None:
        return ()
    return (match,) if isinstance(match, str) else tuple(match)


def _months(
    wanted: dict[str, Any], request: _Request, step: Callable[[str], None] | None
) -> dict[str, tuple[str, ...]]:
    """Return the month folders in which each observation of Swift may be."""
    if request.mission.name != "swift":
        return dict.fromkeys(wanted, ("",))
    unknown = [obs_id for obs_id, time in wanted.items() if time is None]
    known = dict(wanted)
    if unknown:
        if step:
            step(f"asking the archive when {len(unknown)} observation(s) began")
        from batx.archive.tables import start_times

        try:
            known |= start_times(unknown, limits=request.limits)
        except QueryError as error:
            if not all(_on_disk(obs_id, request) for obs_id in unknown):
                hint = "a table with the columns obsid and start_time (MJD) does without this question"
                raise QueryError(f"{error}; {hint}") from None
            warnings.warn(f"{error}; what is on disk is used", BatxWarning, stacklevel=4)
    return {obs_id: month_names(time) for obs_id, time in known.items() if time is not None}


def month_names(time: Any) -> tuple[str, ...]:
    """Return the month of a time, and the one beside it if that is less than a day away.

    Parameters
    ----------
    time
        MJD, or ``datetime64``.

    Examples
    --------
    >>> month_names(59548.9)
    ('2021_11', '2021_12')
    """
    import numpy as np

    day = np.datetime64("1858-11-17", "h")
    instant = time if isinstance(time, np.datetime64) else day + np.timedelta64(round(float(time) * 24), "h")
    near = [instant.astype("datetime64[h]") + np.timedelta64(hours, "h") for hours in (0, -24, 24)]
    return tuple(dict.fromkeys(str(one)[:7].replace("-", "_") for one in near))


def _one(obs_id: str, months: tuple[str, ...], request: _Request, quicklook: bool, offline: bool) -> _Found:
    """Return what there is of one observation."""
    if offline or (not months and _on_disk(obs_id, request)):
        return _local(obs_id, request)
    reasons: list[str] = []
    unreachable = False
    for month in months:
        for root in request.mirrors:
            path = request.mission.path(obs_id, month or None)
            try:
                found = _listed(obs_id, joined(root, path), path, request)
            except MissingFileError as error:
                reasons.append(str(error))
            except DownloadError as error:
                unreachable = True
                reasons.append(str(error))
            else:
                return _Found(request.data / obs_id, found)
    if quicklook and request.mission.name == "swift" and not unreachable:
        early = _quicklook(obs_id, request)
        if early is not None:
            text = f"{obs_id}: the archive does not have it yet; quick-look data are used, which may change"
            warnings.warn(text, BatxWarning, stacklevel=4)
            return early
    if unreachable and _on_disk(obs_id, request):
        try:
            there = _local(obs_id, request)
        except MissingFileError as error:
            raise DownloadError(f"{obs_id} was not found: {'; '.join(reasons)}; and {error}") from None
        warnings.warn(
            f"no way to the archive ({reasons[-1]}); what is on disk is used", BatxWarning, stacklevel=4
        )
        return there
    text = "; ".join(dict.fromkeys(reasons)) or f"it is not in the table {request.mission.table}"
    raise (DownloadError if unreachable else MissingFileError)(f"{obs_id} was not found: {text}")


def _listed(obs_id: str, url: str, path: str, request: _Request, name: str | None = None) -> list[Planned]:
    """Return the wanted files of an observation at one mirror, with their addresses at all mirrors."""
    base = url[: len(url) - len(path)].rstrip("/")
    places = [url, *(joined(mirror, path) for mirror in request.mirrors if path and mirror != base)]
    top = {entry.name for entry in entries(url, limits=request.limits) if entry.folder}
    files: list[Planned] = []
    for folder in request.instruments:
        if folder in top:
            files += planned_files(
                obs_id, places, request.data, name or obs_id, request.limits, folder, request.takes
            )
    if not files:
        wanted = ", ".join(request.instruments)
        raise MissingFileError(f"{shown(url)} has no files in {wanted} that were asked for")
    return files


def planned_files(
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


#: directory pages give two digits of a size, or three
_ROUNDING = 0.06


def _state(data: Path, name: str, entry: Entry) -> tuple[bool, bool]:
    """Return whether a file is on disk, also if it was unzipped, and whether it has another size."""
    path = inside(data, name)
    if not path.is_file():
        return path.suffix == ".gz" and path.with_suffix("").is_file(), False
    if entry.size is None:
        return True, False
    allowed = 0.0 if entry.exact or entry.size < 1000 else _ROUNDING * entry.size
    return True, abs(path.stat().st_size - entry.size) > allowed


def _quicklook(obs_id: str, request: _Request) -> _Found | None:
    """Return the latest quick-look version of a Swift observation."""
    try:
        versions = [
            entry.name
            for entry in entries(_QUICKLOOK, limits=request.limits)
            if re.fullmatch(rf"sw{obs_id}\.\d{{3}}", entry.name)
        ]
        if not versions:
            return None
        latest = max(versions)
        name = f"quicklook/{obs_id}"
        files = _listed(obs_id, f"{_QUICKLOOK}/{latest}", "", request, f"{name}/{latest[-3:]}")
    except (DownloadError, MissingFileError):
        return None
    return _Found(request.data / name / latest[-3:], files, True)


def _on_disk(obs_id: str, request: _Request) -> bool:
    return (request.data / obs_id).is_dir()


def _local(obs_id: str, request: _Request) -> _Found:
    """Return what is on disk of an observation; raises if it is not what was asked for."""
    folder = request.data / obs_id
    if not folder.is_dir():
        raise MissingFileError(
            f"{obs_id} is not in the data directory {request.data}, and nothing else was looked at (offline)"
        )
    files, missing = [], []
    for part in request.instruments:
        unfinished = [path.name for path in (folder / part).rglob(".*.part")]
        if unfinished:
            missing.append(f"{part} ({len(unfinished)} unfinished)")
        names = sorted(
            path for path in (folder / part).rglob("*") if path.is_file() and not path.name.startswith(".")
        )
        below = [path.relative_to(request.data).as_posix() for path in names]
        below = [name for name in below if request.takes(name.partition("/")[2])]
        # triggers alone have messages
        if not below and part != "tdrss":
            missing.append(part)
        files += [
            Planned(obs_id, name, (), (request.data / name).stat().st_size, True, True) for name in below
        ]
    if missing:
        raise MissingFileError(
            f"{obs_id}: {folder} has no files that were asked for in {', '.join(missing)}; fetch them when "
            "there is a network, or ask for other instruments"
        )
    return _Found(folder, files)
