"""Months by which the archive sorts the observations of Swift."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from batx.archive.finding import folder_on_disk
from batx.archive.tables import mjd, start_times
from batx.archive.wanted import Request
from batx.errors import BatxWarning, QueryError, ValueRangeError
from batx.transfer.limits import scheme
from batx.transfer.stores import Store

__all__ = ["month_names", "months_of"]


def months_of(
    wanted: dict[str, Any], request: Request, step: Callable[[str], None] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the month folders in which each observation may be, ``("",)`` for missions without.

    Months of observations whose time is not known are looked for in the mirrors that are folders, and then
    asked of the archive.

    Parameters
    ----------
    wanted
        Ids, each with the time of its start or None.
    request
        What else is asked for.
    step
        Called with what is looked at next.

    Raises
    ------
    QueryError
        If the archive cannot be asked, and not all of those unknown are on disk.

    Warns
    -----
    BatxWarning
        If the archive cannot be asked, and all of those unknown are on disk.
    """
    if request.mission.name != "swift":
        return dict.fromkeys(wanted, ("",))
    months = {obs_id: month_names(time) for obs_id, time in wanted.items() if time is not None}
    months |= _in_folders((one for one in wanted if one not in months), request)
    unknown = [obs_id for obs_id in wanted if obs_id not in months]
    if not unknown:
        return months
    if step:
        step(f"asking the archive when {len(unknown)} observation(s) began")
    try:
        found = start_times(unknown, limits=request.limits)
    except QueryError as error:
        if any(folder_on_disk(obs_id, request) is None for obs_id in unknown):
            hint = (
                "give the folder of data that are there; or, with a mirror that answers, a table with the "
                "columns obsid and start_time (MJD), as batx find writes it, which needs no question"
            )
            raise QueryError(f"{error}; {hint}") from None
        warnings.warn(f"{error}; what is on disk is used", BatxWarning, stacklevel=4)
        return months
    return months | {obs_id: month_names(time) for obs_id, time in found.items()}


def _in_folders(obs_ids: Iterable[str], request: Request) -> dict[str, tuple[str, ...]]:
    """Return the months under which observations are in mirrors that are folders."""
    roots = [root for root in request.mirrors if scheme(root) == "file"]
    if not roots:
        return {}
    store = Store("file")
    places = [Path(store.path(root)) / "swift" / "data" / "obs" for root in roots]
    found = {}
    for obs_id in obs_ids:
        months = {path.parent.name: None for place in places for path in place.glob(f"????_??/{obs_id}")}
        if months:
            found[obs_id] = tuple(months)
    return found


def month_names(time: Any) -> tuple[str, ...]:
    """Return the month of a time, and the one beside it if that is less than a day away.

    Parameters
    ----------
    time
        MJD, or a date in any form.

    Raises
    ------
    ValueRangeError
        If it is no date.

    Examples
    --------
    >>> month_names(59548.9)
    ('2021_11', '2021_12')
    """
    if isinstance(time, np.datetime64):
        instant = time.astype("datetime64[h]")
    else:
        day = float(time) if isinstance(time, (int, float, np.number)) else mjd(time)
        if not abs(day) < 1e6:
            raise ValueRangeError(f"start: found {day!r}, expected a time as MJD")
        instant = np.datetime64("1858-11-17", "h") + np.timedelta64(round(day * 24), "h")
    near = [instant + np.timedelta64(hours, "h") for hours in (0, -24, 24)]
    return tuple(dict.fromkeys(str(one)[:7].replace("-", "_") for one in near))
