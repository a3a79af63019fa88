"""Messages and event data of on-board triggers, successful or not, and the observations around them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from batx.archive.assembly import RECORD, assemble, support_gaps, trigger_time
from batx.archive.finding import Search
from batx.archive.layouts import mirror_list, several
from batx.archive.months import month_names
from batx.archive.planned import Planned, files_in_archive, files_on_disk
from batx.archive.plans import Plan, plan
from batx.archive.swift_tools import trigger_id, triggers
from batx.archive.tables import ask
from batx.errors import BatxWarning, DownloadError, MissingFileError, ValueRangeError, WriteError
from batx.met import met_to_mjd
from batx.transfer import Limits, Progress, data_directory
from batx.transfer.listings import joined

__all__ = ["fetch_trigger", "plan_triggers"]

_QUICKLOOK = "https://swift.gsfc.nasa.gov/data/swift/qltdrss"
#: folders of the data directory: what the archive has, and quick-look data
_FOLDERS = {False: "tdrss", True: "quicklook/tdrss"}
_DAY = 1.0
_MOST_OBSERVATIONS = 24
#: by how much the archive's times (UTC) and those of the spacecraft may differ, s
_CLOCK = 60.0
_HOUSEKEEPING = ("*bgocb*", "*bdecb*", "*sat.fits*", "*pat.fits*", "*uat.fits*")


def plan_triggers(
    numbers: Any,
    *,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str] | None = None,
    quicklook: bool = True,
    offline: bool = False,
    limits: Limits | None = None,
    step: Callable[[str], None] | None = None,
) -> Plan:
    """Return what is to be fetched of on-board triggers: messages, scaled maps, light curves, events.

    Parameters
    ----------
    numbers
        Trigger numbers, one or many, or a table that `batx.archive.triggers` returned.
    data, mirrors, quicklook, offline, limits, step
        As for `batx.archive.plan`.

    Returns
    -------
    Plan
        Its folders are ``<data>/tdrss/<obsid>``.

    Raises
    ------
    MissingFileError
        If the archive does not know a trigger, or has no files of it.
    DownloadError, QueryError
        If the archive cannot be reached.
    ValueRangeError
        If a number is none.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "swift/data/tdrss/2022_04/01104692000/sw01104692000msbce.fits")
    ...     path.parent.mkdir(parents=True)
    ...     _ = path.write_bytes(b"SIMPLE  =                    T")
    ...     table = {"obsid": ["01104692000"], "time": [59699.5]}
    ...     len(plan_triggers(table, data=f"{folder}/data", mirrors=folder).files)
    1
    """
    root = data_directory(data)
    wanted = _wanted(numbers)
    unknown = [obs_id for obs_id, time in wanted.items() if time is None]
    if unknown and not offline:
        if step:
            step("asking the archive when the triggers were")
        wanted |= _times(unknown, limits)
    files: list[Planned] = []
    folders: dict[str, Path] = {}
    early: list[str] = []
    for obs_id, time in wanted.items():
        if step:
            step(f"looking for trigger {obs_id}")
        found, recent = (
            _on_disk(obs_id, root)
            if offline
            else _files(obs_id, time, root, mirror_list(mirrors), quicklook, limits)
        )
        if recent:
            early.append(obs_id)
        folders[obs_id] = root / _FOLDERS[recent] / obs_id
        files += found
    return Plan(root, tuple(files), folders, tuple(early), limits)


def fetch_trigger(
    number: Any,
    *,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str] | None = None,
    support: Iterable[str | os.PathLike[str]] | None = None,
    quicklook: bool = True,
    offline: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch the data of one trigger and put them together as an observation.

    The observation during which the trigger was gives the attitude; gains and enabled detectors come from it,
    or from those nearest in time within a day.

    Parameters
    ----------
    number
        Trigger number.
    support
        Folders in which attitude and calibration are looked for, in place of those that the archive has.
    data, mirrors, quicklook, offline, limits, progress
        As for `batx.fetch`.
    overwrite
        Whether to put it together anew if it is there.

    Returns
    -------
    pathlib.Path
        ``<data>/triggers/<obsid>``, for `batx.open_observation`; see `batx.archive.assemble`. If it was put
        together before it is returned as it is.

    Raises
    ------
    MissingFileError, DownloadError, QueryError, ValueRangeError
        As `plan_triggers`.

    Warns
    -----
    BatxWarning
        As `batx.archive.assemble`.

    Examples
    --------
    >>> fetch_trigger(1104692)  # doctest: +SKIP
    """
    root = data_directory(data)
    obs_id = trigger_id(number)
    target = root / "triggers" / obs_id
    if target.is_dir() and not overwrite:
        return target
    options: dict[str, Any] = {"data": data, "mirrors": mirrors, "quicklook": quicklook, "limits": limits}
    table: Any = () if offline else triggers(trigger=number, limits=limits)
    known = len(table) > 0  # one of today may be among the quick-look data only
    folder = plan_triggers(table if known else number, offline=offline, **options).fetch(progress)[0]
    if support is None and offline:
        support = []
    elif support is None:
        time = float(table["time"].iloc[0]) if known else _time_of(folder)
        support = _around(time, folder, options, progress)
    try:
        return assemble(folder, target, support=support, overwrite=overwrite)
    except WriteError:
        if (target / RECORD).is_file() and not overwrite:  # another process was faster
            return target
        raise


def _time_of(messages: Path) -> float:
    """Return when a trigger was, MJD, by its messages; without clock correction, which is below a minute."""
    return float(met_to_mjd(trigger_time(messages), utcf=0.0))


def _around(time: float, messages: Path, options: dict[str, Any], progress: Progress | None) -> list[Path]:
    """Fetch attitude and housekeeping of the observations around a time (MJD); return their folders.

    The nearest come first, until the attitude covers the events and no other observation can have gains or
    enabled detectors that are nearer in time than those found.
    """
    columns = "cat.obsid, cat.start_time, cat.stop_time"
    query = (
        f"SELECT {columns} FROM swiftmastr AS cat WHERE cat.start_time <= {time + _DAY!r} "
        f"AND cat.stop_time >= {time - _DAY!r}"
    )
    table = ask(query, limits=options["limits"])
    start, stop = (table[name].to_numpy(dtype=np.float64) for name in ("start_time", "stop_time"))
    away = np.maximum(np.maximum(start - time, time - stop), 0.0) * 86400
    order = np.argsort(away, kind="stable")
    folders: list[Path] = []
    for row in order[:_MOST_OBSERVATIONS]:
        if _is_enough(messages, folders, float(away[row])):
            return folders
        try:
            made = plan(
                table.iloc[row : row + 1], instruments=("bat", "auxil"), match=_HOUSEKEEPING, **options
            )
            folders += made.fetch(progress)
        except (DownloadError, MissingFileError) as error:
            warnings.warn(f"left out an observation near the trigger: {error}", BatxWarning, stacklevel=3)
    if order.size > _MOST_OBSERVATIONS:
        text = f"of {order.size} observations within a day of the trigger the nearest {_MOST_OBSERVATIONS}"
        if not _is_enough(messages, folders, float(away[order[_MOST_OBSERVATIONS]])):
            warnings.warn(f"{text} were looked at", BatxWarning, stacklevel=3)
    return folders


def _is_enough(messages: Path, folders: list[Path], away: float) -> bool:
    """Whether observations that are so far from the trigger (s), or farther, have nothing better."""
    if not folders:
        return False
    gaps = support_gaps(messages, folders)
    return gaps["attitude"] == 0.0 and max(gaps["gain_offset"], gaps["enabled"]) <= max(away - _CLOCK, 0.0)


def _wanted(numbers: Any) -> dict[str, Any]:
    """Return the ids with their times (MJD or None)."""
    if hasattr(numbers, "keys") and "obsid" in numbers:
        times = numbers["time"] if "time" in numbers else [None] * len(numbers["obsid"])
        return {trigger_id(one): time for one, time in zip(numbers["obsid"], times, strict=True)}
    many = several(numbers, "triggers")
    if not many:
        raise ValueRangeError("triggers: found none, expected numbers such as 1104692")
    return dict.fromkeys(trigger_id(one) for one in many)


def _times(obs_ids: list[str], limits: Limits | None) -> dict[str, float]:
    table = triggers(trigger=obs_ids, limits=limits)  # type: ignore[arg-type]
    return {str(one): float(time) for one, time in zip(table["obsid"], table["time"], strict=True)}


def _files(
    obs_id: str, time: float | None, root: Path, mirrors: list[str], quicklook: bool, limits: Limits | None
) -> tuple[list[Planned], bool]:
    """Return the files of a trigger, and whether they are quick-look data."""
    search = Search()
    for month, mirror in product(month_names(time) if time is not None else (), mirrors):
        path = f"swift/data/tdrss/{month}/{obs_id}"
        places = [joined(one, path) for one in [mirror, *(one for one in mirrors if one != mirror)]]
        name = f"{_FOLDERS[False]}/{obs_id}"
        found = search.look(partial(files_in_archive, obs_id, places, root, name, limits))
        if found is not None:
            return found, False
    if time is None:
        search.reasons.append("it is not in the table swifttdrss")
    early = Search()
    if quicklook and (search.missing or time is None):
        places = [f"{_QUICKLOOK}/{obs_id[:6]}xx/{obs_id}"]
        name = f"{_FOLDERS[True]}/{obs_id}"
        found = early.look(partial(files_in_archive, obs_id, places, root, name, limits))
        if found is not None:
            return found, True
    if any((root / folder / obs_id).is_dir() for folder in _FOLDERS.values()):
        reasons = "; ".join([*search.reasons, *early.reasons])
        warnings.warn(f"{reasons}; what is on disk is used", BatxWarning, stacklevel=4)
        return _on_disk(obs_id, root)
    raise search.error(f"trigger {obs_id}", early.reasons)


def _on_disk(obs_id: str, root: Path) -> tuple[list[Planned], bool]:
    """Return the files of a trigger that are on disk, and whether they are quick-look data."""
    for recent, folder in _FOLDERS.items():
        if (root / folder / obs_id).is_dir():
            return list(files_on_disk(obs_id, root, root / folder / obs_id)), recent
    raise MissingFileError(
        f"trigger {obs_id} is not in the data directory {root}, and nothing else was looked at (offline)"
    )
