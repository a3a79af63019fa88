"""Groups of pointings by time: any width, calendar months and years, given bins, and unions of intervals.

A pointing belongs where it starts and is never split. Private to the functions that group images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from batx.errors import ValueRangeError
from batx.met import met_to_utc, to_met
from batx.units import to_value

__all__ = ["TimeGroup", "time_groups"]


@dataclass(frozen=True)
class TimeGroup:
    """Intervals [start, stop) of MET, shape (n, 2), under a name."""

    name: str
    intervals: np.ndarray

    def holds(self, times: np.ndarray) -> np.ndarray:
        """Return whether each time lies in any of the intervals (once, if they overlap)."""
        start, stop = self.intervals.T
        return ((times[:, None] >= start) & (times[:, None] < stop)).any(axis=1)

    @property
    def bounds(self) -> tuple[float, float]:
        """Start of the first interval and end of the last."""
        return float(self.intervals[:, 0].min()), float(self.intervals[:, 1].max())


def time_groups(starts: np.ndarray, time_bins: Any, attrs: Mapping[str, Any]) -> list[TimeGroup]:
    """Return groups of the pointings that start at given times.

    Parameters
    ----------
    starts
        MET of every pointing.
    time_bins
        ``"month"`` or ``"year"`` (UTC); a width (s, Quantity or timedelta), counted from midnight UTC before
        the first start; increasing edges; pairs (n, 2) of start and stop; a list of such pairs, each a
        union; or a mapping from name to pairs. Times in any form that `batx.met.to_met` takes.
    attrs
        Attributes with ``utcf`` and the reference date.

    Returns
    -------
    list of TimeGroup
        Calendar groups and those of a width only where a pointing starts; given ones all.

    Raises
    ------
    ValueRangeError
        If a start is unknown, or the bins are not as described.

    Notes
    -----
    Source: algorithms 2.8.
    """
    if not np.isfinite(starts).all():
        raise ValueRangeError(
            f"time_bins: found {int((~np.isfinite(starts)).sum())} image(s) without a start; an image needs "
            "time_bnds, good time or attrs['tstart'] to be put into a group"
        )
    if isinstance(time_bins, str):
        groups = _calendar(starts, time_bins, attrs)
    elif isinstance(time_bins, Mapping):
        return [TimeGroup(str(name), _pairs(value, attrs)) for name, value in time_bins.items()]
    elif isinstance(time_bins, timedelta) or np.ndim(_bare(time_bins)) == 0:
        width = time_bins.total_seconds() if isinstance(time_bins, timedelta) else time_bins
        groups = _uniform(starts, float(to_value(width, "s", "time_bins")), attrs)
    elif isinstance(time_bins, Sequence) and np.ndim(_bare(time_bins[0])) == 2:
        return [TimeGroup(str(number), _pairs(value, attrs)) for number, value in enumerate(time_bins)]
    else:
        times = to_met(time_bins, attrs, name="time_bins")
        rows = np.stack([times[:-1], times[1:]], axis=1) if times.ndim == 1 else times
        return [TimeGroup(str(number), _pairs(row[None], attrs)) for number, row in enumerate(rows)]
    return [group for group in groups if group.holds(starts).any()]


def _bare(value: Any) -> Any:
    """Return something whose number of axes numpy sees."""
    return value if hasattr(value, "ndim") else np.asarray(value, dtype=object)


def _pairs(value: Any, attrs: Mapping[str, Any]) -> np.ndarray:
    pairs = to_met(value, attrs, name="time_bins")
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueRangeError(
            f"time_bins: found {pairs.tolist()}, expected pairs of start and stop, start before stop"
        )
    return pairs


def _uniform(starts: np.ndarray, width: float, attrs: Mapping[str, Any]) -> list[TimeGroup]:
    if not (np.isfinite(width) and width > 0):
        raise ValueRangeError(f"time_bins: found a width of {width} s, expected a positive one")
    day = str(met_to_utc(starts.min(), attrs=attrs))[:10]
    origin = float(to_met(f"{day}T00:00:00", attrs))
    used = np.unique(np.floor((starts - origin) / width).astype(np.int64))
    edges = origin + np.stack([used, used + 1], axis=1) * width
    return [TimeGroup(str(number), pair[None]) for number, pair in zip(used, edges, strict=True)]


def _calendar(starts: np.ndarray, unit: str, attrs: Mapping[str, Any]) -> list[TimeGroup]:
    if unit not in ("month", "year"):
        raise ValueRangeError(f"time_bins: found {unit!r}, expected 'month', 'year', a width or time bins")
    first, last = (str(met_to_utc(time, attrs=attrs)) for time in (starts.min(), starts.max()))
    months = range(int(first[:4]) * 12 + int(first[5:7]) - 1, int(last[:4]) * 12 + int(last[5:7]) + 1)
    dates = [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in months]
    if unit == "year":
        dates = [f"{year:04d}-01" for year in range(int(first[:4]), int(last[:4]) + 2)]
    edges = to_met([f"{date}-01T00:00:00" for date in dates], attrs)
    names = [date[:4] if unit == "year" else date for date in dates[:-1]]
    return [
        TimeGroup(name, np.array([[low, high]]))
        for name, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    ]
