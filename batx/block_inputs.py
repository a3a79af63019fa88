"""What blocks are made from: cells of light curves and events, checked, in the form that the kernel sums.

Private to the functions of blocks, durations and periods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.grids import EnergyBands, Intervals, energy_bands
from batx.kernels import gti as intervals
from batx.kernels.blocks import BERNOULLI, GAUSSIAN, POISSON
from batx.reduction import events_of_bands
from batx.schema import KINDS
from batx.schema.axes import with_axes

__all__ = ["SPILL", "TICK", "Bins", "Cells", "cells_of_bins", "cells_of_events", "event_times", "read_bins"]

#: time (s) in whose units the rate of counts has its flat prior, the clock of the events
TICK = 1e-4
#: events per cell
SPILL = 128
#: bands of events if none are asked for, keV
BAND = (15.0, 350.0)
MODELS = {"gaussian": GAUSSIAN, "poisson": POISSON}
#: bins that overlap by less than this (s) touch
TOUCHING = 1e-6


@dataclass(frozen=True)
class Bins:
    """The bins of a light curve that hold a number, in order.

    Attributes
    ----------
    rows
        (bin,) their numbers in the light curve.
    lower, width
        (bin,) MET s, s.
    exposure
        (bin,) s.
    values, errors
        (bin, band) rate and its error, or counts and `None`.
    model
        `batx.kernels.blocks.GAUSSIAN` or `POISSON`.
    """

    rows: np.ndarray
    lower: np.ndarray
    width: np.ndarray
    exposure: np.ndarray
    values: np.ndarray
    errors: np.ndarray | None
    model: int

    @property
    def edges(self) -> np.ndarray:
        """Lower edges, and the upper one of the last bin (bin + 1,)."""
        return np.append(self.lower, self.lower[-1] + self.width[-1])


@dataclass(frozen=True)
class Cells:
    """Cells in the form of `batx.kernels.blocks`: model, constants, prefix sums, and edges."""

    model: int
    constants: np.ndarray
    a: np.ndarray
    b: np.ndarray
    edges: np.ndarray


def read_bins(ds: xr.Dataset, statistic: str, operation: str) -> Bins:
    """Return the bins of a light curve, all its bands, checked.

    Raises
    ------
    KindError
        If it has an axis of sources.
    ValueRangeError
        If bins are out of order, overlap or have no width, errors or counts are negative, no error is
        positive, or `statistic` is unknown or cannot be had.
    EmptySelectionError
        If no bin holds a finite value.
    """
    if statistic not in ("auto", *MODELS):
        raise ValueRangeError(f"statistic: found {statistic!r}, expected 'auto', 'gaussian' or 'poisson'")
    if "source" in ds.dims:
        raise KindError(f"{operation}: the light curve has several sources; select one, ds.isel(source=0)")
    if statistic == "auto":
        counted = "counts" in ds and ds.attrs.get("statistic", "poisson") == "poisson"
        statistic = "poisson" if counted else "gaussian"
    ds = with_axes(ds, KINDS["lightcurve"])
    names = ["rate", "rate_err", "counts", "counts_err", "time_bnds", "exposure"]
    ds = ds[[name for name in names if name in ds.variables]].compute()
    bounds = np.asarray(ds["time_bnds"].transpose("time", "bnds").values, dtype=np.float64)
    _check_bins(bounds, operation)
    width = _widths(bounds, ds.attrs.get("timedel"))
    exposure = np.asarray(ds["exposure"].values, dtype=np.float64)
    if np.any(exposure < 0):
        raise ValueRangeError(f"{operation}: found negative exposure in {np.sum(exposure < 0)} bins")
    read = _gaussian if statistic == "gaussian" else _poisson
    values, errors = read(ds, exposure, operation)
    good = np.isfinite(values).all(axis=1)
    if errors is not None:
        good &= np.isfinite(errors).all(axis=1)
    if not good.any():
        raise EmptySelectionError(f"{operation}: none of the {good.size} bins holds a finite value and error")
    if errors is not None and not np.any(errors[good] > 0):
        raise ValueRangeError(
            f"{operation}: found no error above 0 in {int(good.sum())} bins; give the light curve its errors "
            "(rate_err), or counts with statistic='poisson'"
        )
    return Bins(
        np.flatnonzero(good),
        bounds[good, 0],
        width[good],
        exposure[good],
        values[good],
        None if errors is None else errors[good],
        MODELS[statistic],
    )


def _check_bins(bounds: np.ndarray, operation: str) -> None:
    if bounds.shape[0] == 0:
        raise EmptySelectionError(f"{operation}: the light curve has no bins")
    if not np.all(np.isfinite(bounds)) or np.any(bounds[:, 1] <= bounds[:, 0]):
        raise ValueRangeError(f"{operation}: found bins without width or with edges that are no numbers")
    late = np.flatnonzero(bounds[1:, 0] < bounds[:-1, 1] - TOUCHING)
    if late.size:
        k = int(late[0])
        raise ValueRangeError(
            f"{operation}: bin {k + 1} begins at {bounds[k + 1, 0]:.6f}, before bin {k} ends "
            f"({bounds[k, 1]:.6f}); expected bins in order that do not overlap, see ds.sortby('time')"
        )


def _widths(bounds: np.ndarray, timedel: Any) -> np.ndarray:
    """Return the widths, exactly `timedel` where bins have that width to rounding."""
    width = bounds[:, 1] - bounds[:, 0]
    if isinstance(timedel, (int, float)) and np.all(np.abs(width - timedel) < 1e-5 * timedel):
        return np.full(width.size, float(timedel))
    rounded = np.median(width)
    return np.where(np.abs(width - rounded) < TOUCHING, rounded, width)


def _gaussian(ds: xr.Dataset, exposure: np.ndarray, operation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rates and errors (bin, band)."""
    name = "rate" if "rate" in ds else "counts"
    if f"{name}_err" not in ds:
        raise ValueRangeError(
            f"{operation}: the light curve has no {name}_err, which statistic='gaussian' needs; "
            "counts without errors are statistic='poisson'"
        )
    values, errors = (
        ds[one].transpose("time", "energy").values.astype(np.float64) for one in (name, f"{name}_err")
    )
    if np.any(errors < 0):
        raise ValueRangeError(f"{operation}: found {int(np.sum(errors < 0))} negative errors")
    if name == "counts":
        scale = np.where(exposure > 0, exposure, np.nan)[:, np.newaxis]
        values, errors = values / scale, errors / scale
    return values, errors


def _poisson(ds: xr.Dataset, exposure: np.ndarray, operation: str) -> tuple[np.ndarray, None]:
    """Return counts (bin, band)."""
    if "counts" not in ds:
        raise ValueRangeError(
            f"{operation}: the light curve has rates, not counts, which statistic='poisson' needs"
        )
    counts = ds["counts"].transpose("time", "energy").values.astype(np.float64)
    if np.any(counts < 0):
        raise ValueRangeError(
            f"{operation}: found {int(np.sum(counts < 0))} negative counts, which no Poisson has; "
            "weighted or background-subtracted curves are statistic='gaussian'"
        )
    dark = (exposure == 0)[:, np.newaxis] & (counts > 0)
    if dark.any():
        raise ValueRangeError(
            f"{operation}: found counts in {int(dark.any(axis=1).sum())} bins of exposure 0"
        )
    return np.where((exposure > 0)[:, np.newaxis], counts, np.nan), None


def cells_of_bins(bins: Bins, compat: str | None) -> Cells:
    """Return the cells of a light curve: its bins. Gaussian bands that are constant are left out."""
    if bins.errors is None:
        live = bins.width if compat else bins.exposure
        ticks = live / TICK
        a = bins.values.T
        b = np.broadcast_to(np.floor(ticks + 1e-3) if compat else ticks, a.shape)
        return Cells(bins.model, np.zeros(a.shape[0]), _sums(a), _sums(b), bins.edges)
    spread = np.ptp(bins.values, axis=0)
    varies = spread > 0
    values, errors = bins.values[:, varies], bins.errors[:, varies]
    weight = np.where(errors > 0, errors, np.inf) ** -2.0
    constants = 0.5 * np.log(np.pi) - np.log(spread[varies])
    middle = np.median(values, axis=0)
    return Cells(bins.model, constants, _sums((weight * (values - middle)).T), _sums(weight.T), bins.edges)


def _sums(values: np.ndarray) -> np.ndarray:
    """Return the sums over the cells before each, (band, cell + 1)."""
    made = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=made[:, 1:])
    return made


def event_times(
    events: xr.Dataset, energy: Any, operation: str, compat: str | None
) -> tuple[np.ndarray, np.ndarray, EnergyBands, Intervals]:
    """Return times and bands of the events that count, in order, the bands, and good time.

    With `compat` every event counts, in one band, whatever its flags.
    """
    if compat:
        time = np.sort(np.asarray(events["time"].values, dtype=np.float64))
        ends = (events.attrs.get("tstart", np.nan), events.attrs.get("tstop", np.nan))
        if not time.size:
            raise EmptySelectionError(f"{operation}: there are no events")
        start, stop = np.where(np.isfinite(ends), ends, time[[0, -1]])
        whole = energy_bands([0.0, 6553.5])
        return time, np.zeros(time.size, dtype=np.int64), whole, (np.array([start]), np.array([stop]))
    chosen = BAND if energy is None else energy
    kept, bands, good = events_of_bands(events, chosen, None, weighted=False, operation=operation)
    if not kept.time.size:
        raise EmptySelectionError(f"{operation}: no event is good, in good time and in a band")
    return kept.time, kept.band, bands, good


def cells_of_events(
    time: np.ndarray, band: np.ndarray, n_bands: int, good: Intervals, spill: int, compat: str | None
) -> Cells:
    """Return cells of `spill` events, the last with those that remain; each begins at an event."""
    n_cells = max(time.size // spill, 1)
    first = np.arange(n_cells) * spill
    edges = np.append(time[first], good[1][-1])
    edges[0] = good[0][0]
    cell = np.minimum(np.arange(time.size) // spill, n_cells - 1)
    a = np.zeros((n_bands, n_cells))
    np.add.at(a, (band, cell), 1.0)
    live = np.diff(edges) if compat else intervals.overlap(edges[:-1], edges[1:], *good)
    ticks = np.floor(live / TICK) if compat else live / TICK
    b = np.repeat(np.maximum(ticks, spill if compat else 1.0)[np.newaxis], n_bands, axis=0)
    return Cells(BERNOULLI if compat else POISSON, np.zeros(n_bands), _sums(a), _sums(b), edges)
