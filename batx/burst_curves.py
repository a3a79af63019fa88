"""A light curve or events as increments of signal, the background beside a burst, and the rise over it.

Private to `batx.durations`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import Bins, event_times, read_bins
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.kernels import durations as kernel
from batx.kernels.blocks import POISSON
from batx.schema import require_bat, require_kind

__all__ = [
    "Background",
    "Curve",
    "background_line",
    "background_of",
    "block_edges",
    "line_shares",
    "read_curve",
    "require_ends",
    "rise_of",
    "variance_of",
]


@dataclass(frozen=True)
class Curve:
    """Increments of signal with their times.

    Attributes
    ----------
    lower, width, centre
        (bin,) MET s, s, MET s; the centre is when the increment is taken to happen.
    live
        (bin,) time (s) over which the increment was collected.
    signal
        (bin,) count: rate × time, or counts, without `background`.
    error
        (bin,) error of `signal`; `None` for counts.
    background
        (bin,) what was subtracted.
    by_event
        Whether the bins are single events, between which times are not moved to edges.
    """

    lower: np.ndarray
    width: np.ndarray
    centre: np.ndarray
    live: np.ndarray
    signal: np.ndarray
    error: np.ndarray | None
    background: np.ndarray
    by_event: bool

    @property
    def net(self) -> np.ndarray:
        """Signal without background."""
        return self.signal - self.background


@dataclass(frozen=True)
class Background:
    """Off-burst intervals: edges (2, 2), rates (2,) and their errors."""

    edges: np.ndarray
    rate: np.ndarray
    error: np.ndarray


def read_curve(ds: xr.Dataset, statistic: str, energy: Any, compat: str | None) -> Curve:
    """Return the increments of a light curve or of events."""
    if require_bat(ds, "lightcurve", "events", operation="duration") == "events":
        time, _, bands, good = event_times(ds, energy, "duration", compat)
        if bands.lower.size != 1:
            raise KindError(f"duration: found {bands.lower.size} bands, expected one, energy=[15, 350]")
        width = np.append(np.diff(time), 1e-4 if compat else good[1][-1] - time[-1])
        counts = np.ones(time.size)
        return Curve(time, width, time, width, counts, None, np.zeros(time.size), by_event=True)
    bins: Bins = read_bins(ds, statistic, "duration")
    if bins.values.shape[1] != 1:
        raise KindError(
            f"duration: found {bins.values.shape[1]} bands, expected one; re-bin them "
            "(lc.bat.rebin_energy([15, 350])) or select one (lc.isel(energy=[0]))"
        )
    live = bins.width if compat or bins.model != POISSON else bins.exposure
    weighted = bins.errors is not None
    return Curve(
        lower=bins.lower,
        width=bins.width,
        centre=bins.lower + 0.5 * bins.width,
        live=live,
        signal=bins.values[:, 0] * live if weighted else bins.values[:, 0],
        error=bins.errors[:, 0] * live if bins.errors is not None else None,
        background=np.zeros(bins.lower.size),
        by_event=False,
    )


def block_edges(blocks: xr.Dataset) -> np.ndarray:
    """Return the edges of the blocks, which must enclose a burst."""
    require_kind(blocks, "lightcurve", operation="duration")
    bounds = np.asarray(blocks["time_bnds"].transpose("time", "bnds").values, dtype=np.float64)
    if len(bounds) < 3:
        raise EmptySelectionError(
            f"duration: found {len(bounds)} block(s) of constant rate, expected at least 3: a burst between "
            "two stretches of background; lower the prior, or give more time before and after the burst"
        )
    return np.append(bounds[:, 0], bounds[-1, 1])


def background_of(curve: Curve, edges: np.ndarray, compat: str | None) -> Background:
    """Return the mean rates of the first and the last block."""
    if curve.by_event:
        inside = [curve.lower < edges[1], (curve.lower >= edges[-2]) & (curve.lower < edges[-1])]
    else:
        inside = [curve.centre < edges[1], curve.centre > edges[-2]]
    bounds = np.array([[edges[0], edges[1]], [edges[-2], edges[-1]]])
    rate, error = np.empty(2), np.empty(2)
    for k, bins in enumerate(inside):
        live = curve.live[bins]
        if curve.error is not None:
            rate[k] = np.mean(curve.signal[bins] / live)
            error[k] = np.sqrt(np.sum((curve.error[bins] / live) ** 2)) / live.size
        else:
            length = bounds[k, 1] - bounds[k, 0] if compat or curve.by_event else live.sum()
            rate[k] = curve.signal[bins].sum() / length
            error[k] = np.sqrt(curve.signal[bins].sum()) / length
    return Background(bounds, rate, error)


def line_shares(curve: Curve, off: Background) -> tuple[np.ndarray, np.ndarray]:
    """Return how the two rates share in the line at each bin."""
    middle = off.edges.mean(axis=1)
    late = (curve.centre - middle[0]) / (middle[1] - middle[0])
    return 1.0 - late, late


def background_line(curve: Curve, off: Background) -> np.ndarray:
    """Return the background of each bin, on the line through the two rates."""
    middle = off.edges.mean(axis=1)
    slope = (off.rate[1] - off.rate[0]) / (middle[1] - middle[0])
    return (off.rate[0] + slope * (curve.centre - middle[0])) * curve.live


def require_ends(curve: Curve, edges: np.ndarray) -> None:
    """Check that the curve goes beyond the burst on both sides."""
    if not (curve.centre[0] < edges[1] and curve.centre[-1] >= edges[-2]):
        raise EmptySelectionError(
            "duration: the blocks leave no bin of the curve before or after the burst; expected blocks of "
            "this light curve"
        )


def rise_of(curve: Curve, edges: np.ndarray) -> kernel.Rise:
    """Return the rise of the cumulative signal over the burst, which must be upwards."""
    rise = kernel.rise(np.cumsum(curve.net), curve.error, curve.centre, edges[1], edges[-2])
    if not rise.fluence > 0:
        raise ValueRangeError(
            f"duration: found a fluence of {rise.fluence:.4g} in the burst, expected a positive one; counts "
            "and curves with background need background=True"
        )
    return rise


def variance_of(curve: Curve) -> np.ndarray:
    """Return the variance of the signal of each bin."""
    return curve.signal if curve.error is None else curve.error**2
