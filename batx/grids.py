"""What events are binned on: energy bands on the 0.1 keV grid, time bins, good time.

Private to the functions that bin events; the products describe their axes themselves.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxWarning, EmptySelectionError, GtiError, ValueRangeError
from batx.intervals import gti_arrays
from batx.kernels import gti as intervals
from batx.kernels.histogram import uniform_edges
from batx.met import to_met
from batx.units import to_value

__all__ = [
    "GRID_STEP",
    "MAX_BINS",
    "EnergyBands",
    "TimeBins",
    "bounds_of",
    "energy_bands",
    "energy_bounds",
    "explicit_bins",
    "good_time",
    "one_bin",
    "uniform_bins",
    "warn",
]

#: spacing in keV of the grid on which energies are binned (algorithms 2.2)
GRID_STEP = 0.1
HIGHEST_ENERGY = 1e5
MAX_BINS = 2**28
#: bins of a list that overlap by no more than this (s) touch
TOUCHING = 1e-6

Intervals = tuple[np.ndarray, np.ndarray]


def warn(message: str) -> None:
    """Warn at the first line of the caller that is not batx."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "batx":
        frame = frame.f_back
        level += 1
    warnings.warn(message, BatxWarning, stacklevel=level)


# --- energy ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EnergyBands:
    """Energy bands, and the table by which events find theirs.

    Attributes
    ----------
    lower, upper
        Edges in keV (band,).
    table
        (grid + 2,) number of the segment of each 0.1 keV grid point, `n_segments` for none; the first and the
        last entry are for energies off the grid.
    members
        (segment, band) 1 where a segment is part of a band; `None` where segments are the bands.
    """

    lower: np.ndarray
    upper: np.ndarray
    table: np.ndarray
    members: np.ndarray | None

    @property
    def n_segments(self) -> int:
        """Number of segments that the table points to."""
        return self.lower.size if self.members is None else len(self.members)

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper edges, with a last axis of 2."""
        return np.stack([self.lower, self.upper], axis=-1)

    def combine(self, values: Any) -> Any:
        """Return sums over segments (..., segment) as sums over bands (..., band)."""
        return values if self.members is None else values @ self.members.astype(values.dtype)


def energy_bounds(energy: Any) -> Intervals:
    """Return lower and upper edges in keV of bands given as increasing edges or as (lower, upper) pairs.

    Raises
    ------
    ValueRangeError
        If edges do not increase, are not finite, negative or too large, or the array has another shape.
    """
    values = to_value(energy, "keV", "energy")
    if values.ndim == 1 and values.size >= 2:
        lower, upper = values[:-1], values[1:]
    elif values.ndim == 2 and values.shape[1] == 2 and values.size:
        lower, upper = values[:, 0], values[:, 1]
    else:
        raise ValueRangeError(
            f"energy: found an array of shape {values.shape}, expected edges, at least two, "
            "or (lower, upper) pairs"
        )
    if not np.all((values >= 0) & (values <= HIGHEST_ENERGY)):
        raise ValueRangeError(
            f"energy: found edges {values.ravel()}, expected keV from 0 to {HIGHEST_ENERGY:g}"
        )
    if not np.all(lower < upper):
        raise ValueRangeError(f"energy: found edges {values.tolist()}, expected increasing ones")
    return lower, upper


def energy_bands(energy: Any) -> EnergyBands:
    """Return the bands of events, their edges put on the 0.1 keV grid, with a warning if they were not.

    Bands may have gaps between them, be in any order and overlap.

    Examples
    --------
    >>> energy_bands([15, 25, 50]).bounds
    array([[15., 25.],
           [25., 50.]])
    """
    lower, upper = energy_bounds(energy)
    first, last = np.rint(lower / GRID_STEP).astype(int), np.rint(upper / GRID_STEP).astype(int)
    edges = np.concatenate([lower, upper])
    off_grid = np.unique(edges[np.abs(edges / GRID_STEP - np.rint(edges / GRID_STEP)) > 1e-3])
    if np.any(first == last):
        raise ValueRangeError(
            f"energy: found a band narrower than the {GRID_STEP} keV grid that energies are binned on: "
            f"{lower[first == last][0]}-{upper[first == last][0]} keV; use wider bands"
        )
    if off_grid.size:
        warn(f"energy edges {off_grid.tolist()} keV are moved to the {GRID_STEP} keV grid of the energies")
        lower, upper = np.round(first * GRID_STEP, 1), np.round(last * GRID_STEP, 1)
    segment_edges = np.unique(np.concatenate([first, last]))
    start, stop = segment_edges[:-1, None], segment_edges[1:, None]
    members = (start >= first) & (stop <= last)
    used = members.any(axis=1)
    none = np.count_nonzero(used)
    number = np.where(used, np.cumsum(used) - 1, none)
    table = np.full(segment_edges[-1] + 2, none, dtype=np.int32)
    table[segment_edges[0] + 1 : -1] = np.repeat(number, np.diff(segment_edges))
    members = members[used]
    same = members.shape[0] == members.shape[1] and bool(
        np.array_equal(members, np.eye(len(members), dtype=bool))
    )
    return EnergyBands(lower, upper, table, None if same else members.astype(np.int64))


# --- time --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimeBins:
    """Time bins with their exposure.

    Attributes
    ----------
    lower, upper
        Edges in MET s (bin,), as the product states them.
    exposure, fracexp
        Good time in s, and as a fraction of the bin.
    first, end
        The smallest float64 times that are in, and behind, each bin.
    """

    lower: np.ndarray
    upper: np.ndarray
    exposure: np.ndarray
    fracexp: np.ndarray
    first: np.ndarray
    end: np.ndarray

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper edges, with a last axis of 2."""
        return np.stack([self.lower, self.upper], axis=-1)

    def take(self, kept: np.ndarray) -> TimeBins:
        """Return the bins for which `kept` is true."""
        return TimeBins(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    def exposed(self, min_fracexp: float) -> np.ndarray:
        """Return which bins have more than this fraction of good time; all of them for 0 and below."""
        return np.ones(self.lower.size, dtype=bool) if min_fracexp <= 0 else self.fracexp > min_fracexp


def uniform_bins(dt: Any, gti: Intervals, compat: str | None) -> TimeBins:
    """Return bins of equal width from the beginning of good time on: floor((t - start) / dt).

    A bin that is good throughout has exposure `dt`; with ``compat="heasoft"``, as in the tool, its width as
    rounded to the resolution of MET. Source: algorithms 2.2.
    """
    width = float(to_value(dt, "s", "dt"))
    start, stop = gti[0][0], gti[1][-1]
    if not (np.isfinite(width) and width > 0):
        raise ValueRangeError(f"dt: found {width} s, expected a positive time")
    n_bins = max(int(np.ceil((stop - start) / width)), 1)
    if n_bins > MAX_BINS:
        raise ValueRangeError(
            f"dt: found {width} s, which makes {n_bins} bins of {stop - start} s of data; "
            "use a wider bin, or tstart and tstop"
        )
    first = uniform_edges(start, width, n_bins)
    edges = start + np.arange(n_bins + 1) * width
    overlap = intervals.overlap(edges[:-1], edges[:-1] + width, *gti)
    rounded = (edges[:-1] + width) - edges[:-1]
    full = overlap == rounded
    exposure = overlap if compat else np.where(full, width, overlap)
    return TimeBins(edges[:-1], edges[1:], exposure, overlap / rounded, first[:-1], first[1:])


def explicit_bins(bounds: np.ndarray, gti: Intervals) -> TimeBins:
    """Return the bins of bounds (bin, 2) in MET: disjoint, increasing, half-open; gaps are allowed.

    Raises
    ------
    ValueRangeError
        If there are none, they do not increase, or overlap.
    EmptySelectionError
        If all of them are before or after good time.
    """
    lower, upper = bounds[:, 0], bounds[:, 1].copy()
    if lower.size == 0:
        raise ValueRangeError("time: found no bins, expected at least one")
    if not np.all(lower < upper):
        bad = int(np.argmin(upper - lower))
        raise ValueRangeError(f"time: found the bin {lower[bad]} to {upper[bad]}, expected increasing edges")
    late = upper[:-1] - lower[1:]
    if np.any(late > TOUCHING):
        bad = int(np.argmax(late))
        raise ValueRangeError(
            f"time: found bins that overlap or are not in order, {lower[bad]} to {upper[bad]} and then "
            f"{lower[bad + 1]} to {upper[bad + 1]}; an event would count twice: "
            "sort them, or make one product for each"
        )
    upper[:-1] = np.minimum(upper[:-1], lower[1:])
    exposure = intervals.overlap(lower, upper, *gti)
    if upper[-1] <= gti[0][0] or lower[0] >= gti[1][-1]:
        raise EmptySelectionError(
            f"time: found bins from {lower[0]} to {upper[-1]}, all outside the good time from {gti[0][0]} to "
            f"{gti[1][-1]}; numbers are MET, or seconds from t0 where it is given"
        )
    return TimeBins(lower, upper, exposure, exposure / (upper - lower), lower, upper)


def one_bin(gti: Intervals) -> TimeBins:
    """Return a single bin, from the beginning to the end of good time."""
    return explicit_bins(np.array([[gti[0][0], gti[1][-1]]]), gti)


def bounds_of(time: Any, attrs: Mapping[str, Any], t0: Any = None, name: str = "time") -> np.ndarray:
    """Return time bins in any form as bounds (bin, 2) in MET.

    Parameters
    ----------
    time
        Increasing edges, an (n, 2) array of bounds, or a Dataset with bins (``time_bnds``) or of kind
        ``gti``.
    attrs
        Attributes of the Dataset the times are for; see `batx.met.to_met`.
    t0
        Origin of times given as numbers.
    name
        Name of the argument, for messages.
    """
    if isinstance(time, xr.Dataset):
        if "time_bnds" in time.variables:
            return time["time_bnds"].values.reshape(-1, 2).astype(np.float64)
        return np.stack(_disjoint(gti_arrays(time), name), axis=-1)
    values = to_met(time, attrs, t0, name=name)
    if values.ndim == 1 and values.size >= 2:
        return np.stack([values[:-1], values[1:]], axis=-1)
    if values.ndim == 2 and values.shape[1] == 2:
        return values
    raise ValueRangeError(
        f"{name}: found an array of shape {values.shape}, expected at least two edges, or (n, 2) bounds"
    )


# --- good time ---------------------------------------------------------------------------------------------


def good_time(
    events: xr.Dataset, gti: Any = None, tstart: Any = None, tstop: Any = None, t0: Any = None
) -> Intervals:
    """Return the good time of events, within `gti`, `tstart` and `tstop`, as disjoint, increasing intervals.

    Events without intervals have those of `gti`, or else from ``attrs["tstart"]`` to ``attrs["tstop"]``
    (with a warning), or else the time from `tstart` to `tstop`.

    Raises
    ------
    GtiError
        If there is no good time, or it is malformed.
    EmptySelectionError
        If nothing is left of it within the limits.
    """
    attrs = events.attrs
    start = -np.inf if tstart is None else float(to_met(tstart, attrs, t0, name="tstart"))
    stop = np.inf if tstop is None else float(to_met(tstop, attrs, t0, name="tstop"))
    if not start < stop:
        raise ValueRangeError(f"tstart, tstop: found {start} and {stop}, expected tstart < tstop")
    own = _own_good_time(events, gti is not None, np.isfinite(start) and np.isfinite(stop))
    lists = [own] if gti is None else [own, _disjoint(gti_arrays(gti, attrs), "gti")]
    for number, (one, _) in enumerate(lists):
        if one.size == 0:
            raise GtiError(
                f"{'gti' if number else 'events'}: the list of good-time intervals holds no time at all"
            )
    good = (np.array([start]), np.array([stop]))
    for pair in lists:
        good = intervals.intersection(good, pair)
    if good[0].size == 0:
        extents = " and ".join(f"{one[0][0]} to {one[1][-1]}" for one in lists)
        raise EmptySelectionError(
            f"no good time from {start} to {stop}: the good-time intervals extend over {extents}; "
            "check tstart, tstop, t0 and gti"
        )
    return good


def _own_good_time(events: xr.Dataset, has_gti: bool, has_limits: bool) -> Intervals:
    attrs = events.attrs
    if "gti_start" in events.variables:
        return _disjoint(gti_arrays(events), "events")
    if has_gti:
        return np.array([-np.inf]), np.array([np.inf])
    if "tstart" in attrs and "tstop" in attrs:
        if not has_limits:
            warn(
                "the events carry no good-time intervals; the time from TSTART to TSTOP is taken as "
                "good throughout"
            )
        return np.array([float(attrs["tstart"])]), np.array([float(attrs["tstop"])])
    if has_limits:
        return np.array([-np.inf]), np.array([np.inf])
    raise GtiError(
        "the events carry no good-time intervals (gti_start, gti_stop) and no tstart and tstop, so "
        "exposure is unknown; give gti=, or tstart= and tstop="
    )


def _disjoint(pair: Intervals, name: str) -> Intervals:
    """Return the union of intervals, with a warning if they overlap."""
    start, stop = intervals.union(*pair)
    if np.sum(stop - start) < np.sum(pair[1] - pair[0]) * (1 - 1e-12):
        warn(f"{name}: good-time intervals overlap and are merged")
    return start, stop
