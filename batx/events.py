"""Event lists of one observation as one list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import GtiError
from batx.joining import common_variables, joined_attrs, opened, require_same
from batx.kernels import gti as kernel
from batx.schema import require_kind, validate
from batx.schema.spec import TRACE_VARIABLES

__all__ = ["join_events"]

#: what makes two rows of one time the same event: where it fell (one of these), and what it deposited
_PLACES = (("detid",), ("detx", "dety"), ("x", "y"))
_DEPOSIT = ("pha",)
_MAX_SLICES = 1000


def join_events(
    *events: xr.Dataset | str | os.PathLike[str], other_observations: bool = False, chunks: Any = None
) -> xr.Dataset:
    """Join the event lists of an observation: sorted by time, every event once, gaps kept.

    An observation comes in several files (pointings, slews, telemetry that was sent twice). Rows with the
    same TIME, DET_ID and PHA are the same event. The good time of the result is the union of the lists':
    where two files have a gap between them it stays, and the exposure is the sum of the good time.

    Parameters
    ----------
    *events
        Datasets of kind ``events`` or paths of event files.
    other_observations
        Whether lists with different observation ids may be joined.
    chunks
        For paths: as in `batx.open_dataset`.

    Returns
    -------
    xarray.Dataset
        Kind ``events``, with the columns that all lists have (a warning names the others). Only time and
        identity of the events are read; dask-backed columns stay lazy, others are loaded.

    Raises
    ------
    ValueRangeError
        If there is nothing to join, or the lists are of different observations or instruments.
    GtiError
        If some of the lists have good time and others have not.
    KindError
        If something else than events is given.

    Examples
    --------
    >>> from batx.schema import build
    >>> def part(times, start, stop):
    ...     return build("events", {"time": times, "gti_start": [start], "gti_stop": [stop]})
    >>> both = join_events(part([20.0, 25.0], 18.0, 30.0), part([1.0, 2.0], 0.0, 10.0))
    >>> both.time.values, both.gti_start.values, both.attrs["exposure"]
    (array([ 1.,  2., 20., 25.]), array([ 0., 18.]), 22.0)
    """
    lists = [opened(item, chunks) for item in events]
    for ds in lists:
        require_kind(ds, "events", operation="join_events")
    same = ("telescope", "instrument", *(() if other_observations else ("obs_id",)))
    require_same(lists, "event lists", *same, operation="join_events")
    starts, stops = _good_time(lists)
    traces = _traces(lists)
    lists = [ds.drop_dims(["gti", "trace"], errors="ignore") for ds in lists]
    lists = common_variables(lists, "event lists", "join_events")
    joined = lists[0] if len(lists) == 1 else _concatenated(lists)
    kept = _order(joined)
    dropped = joined.sizes["event"] - kept.size
    joined = _taken(joined, kept)
    note = f"batx.join_events: {len(lists)} list(s), {dropped} event(s) that occur twice dropped"
    attrs = joined_attrs([ds.attrs for ds in lists], starts, stops, note)
    if starts is not None:
        joined = joined.assign(
            gti_start=("gti", starts, {"units": "s"}), gti_stop=("gti", stops, {"units": "s"})
        )
    joined = joined.assign(traces)
    joined.attrs = attrs
    validate(joined, "events")
    return joined


def _good_time(lists: Sequence[xr.Dataset]) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    having = [ds for ds in lists if "gti_start" in ds]
    if not having:
        return None, None
    if len(having) < len(lists):
        raise GtiError(
            f"join_events: found good time in {len(having)} of {len(lists)} event lists, expected it in all; "
            "add gti_start and gti_stop to the others"
        )
    starts, stops = (np.concatenate([ds[name].values for ds in lists]) for name in ("gti_start", "gti_stop"))
    return kernel.union(starts, stops)


def _traces(lists: Sequence[xr.Dataset]) -> dict[str, xr.DataArray]:
    """Return the ways of the source one after the other, nothing if a list does not know it."""
    names = [spec.name for spec in TRACE_VARIABLES]
    if not all(name in ds for ds in lists for name in names) or any("source" in ds.dims for ds in lists):
        return {}
    ways = xr.concat([ds[names].drop_vars(ds.coords, errors="ignore") for ds in lists], "trace")
    rows = np.unique(ways["trace_time"].values, return_index=True)[1]
    return {name: ways[name].isel(trace=rows) for name in names}


def _concatenated(lists: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(
        lists, "event", data_vars="minimal", coords="minimal", compat="override", join="override",
        combine_attrs="override",
    )  # fmt: skip


def _taken(joined: xr.Dataset, kept: np.ndarray) -> xr.Dataset:
    """Return the rows `kept`, as slices where these are few, which leaves dask with a small graph."""
    breaks = np.flatnonzero(np.diff(kept) != 1) + 1
    if breaks.size >= _MAX_SLICES:
        return joined.isel(event=kept)
    runs = [slice(run[0], run[-1] + 1) for run in np.split(kept, breaks) if run.size]
    if len(runs) == 1:
        return joined.isel(event=runs[0])
    return _concatenated([joined.isel(event=run) for run in runs or [slice(0, 0)]])


def _order(joined: xr.Dataset) -> np.ndarray:
    """Return the rows of the events in order of time, each event once."""
    time = joined["time"].values
    order = np.argsort(time, kind="stable")
    time = time[order]
    tied = np.zeros(time.size, bool)
    tied[1:] = time[1:] == time[:-1]
    tied[:-1] |= tied[1:]
    place = next((names for names in _PLACES if all(name in joined for name in names)), None)
    if place is None or not tied.any():
        return order
    identity = [*place, *(name for name in _DEPOSIT if name in joined)]
    rows = order[tied]
    keys = [joined[name].values[rows] for name in identity]
    grouped = np.lexsort([*keys, time[tied]])
    again = np.ones(grouped.size - 1, bool)
    for key in (*keys, time[tied]):
        again &= key[grouped[1:]] == key[grouped[:-1]]
    repeated = np.zeros(joined.sizes["event"], bool)
    repeated[rows[grouped[1:][again]]] = True
    return order[~repeated[order]]
