"""Light curves in bands as arrays: the part that holds the burst, its background, and pairs of bands.

Private to the functions that compare bands or describe the shape of a burst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import read_bins
from batx.errors import EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.met import to_met
from batx.schema import KINDS, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.schema.axes import with_axes
from batx.timing import bayesian_blocks

__all__ = [
    "Bands",
    "background_line",
    "band_labels",
    "band_pairs",
    "burst_span",
    "cut",
    "read_bands",
    "result_attrs",
    "without_background",
]

#: variables of a light curve beside its values
NEEDED = ("time_bnds", "energy_bnds", "exposure")
#: edges (keV) closer than this are the same
SAME_EDGE = 1e-3


@dataclass(frozen=True)
class Bands:
    """The bins of a light curve that hold a number, in order.

    Attributes
    ----------
    lower, width, exposure
        (bin,) MET s, s, s; the exposure of rates is the width.
    rate, error
        (bin, band) count/s, without `background`; the error of counts is their root over the exposure.
    counts
        (bin, band) of a Poisson curve, background included; `None` of a Gaussian one.
    background
        (bin, band) count/s that was subtracted.
    energies
        (band, 2) keV.
    """

    lower: np.ndarray
    width: np.ndarray
    exposure: np.ndarray
    rate: np.ndarray
    error: np.ndarray
    counts: np.ndarray | None
    background: np.ndarray
    energies: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """Middle of each bin (bin,), MET s."""
        return self.lower + 0.5 * self.width

    def keep(self, kept: np.ndarray) -> Bands:
        """Return some of the bins, by a mask."""
        names = ("lower", "width", "exposure", "rate", "error", "background")
        counts = None if self.counts is None else self.counts[kept]
        return replace(self, counts=counts, **{name: getattr(self, name)[kept] for name in names})

    def select(self, bands: Sequence[int]) -> Bands:
        """Return some of the bands, by number."""
        chosen = list(bands)
        return replace(
            self,
            rate=self.rate[:, chosen],
            error=self.error[:, chosen],
            counts=None if self.counts is None else self.counts[:, chosen],
            background=self.background[:, chosen],
            energies=self.energies[chosen],
        )

    def with_rates(self, rate: np.ndarray, error: np.ndarray) -> Bands:
        """Return the same bins with other, Gaussian rates."""
        return replace(self, rate=rate, error=error, counts=None)

    def draw(self, random: np.random.Generator, n_curves: int) -> np.ndarray:
        """Return curves drawn around this one (curve, bin, band), Poisson where it has counts."""
        shape = (n_curves, *self.rate.shape)
        if self.counts is None:
            return self.rate + self.error * random.standard_normal(shape)
        drawn = random.poisson(np.broadcast_to(self.counts, shape))
        return drawn / self.exposure[:, np.newaxis] - self.background


def read_bands(ds: xr.Dataset, operation: str, *, one: bool = False) -> Bands:
    """Return the bins of a light curve, checked as for `batx.bayesian_blocks`.

    Parameters
    ----------
    ds
        Kind ``lightcurve``.
    operation
        Name of the function, for messages.
    one
        Whether it takes a single band.
    """
    require_kind(ds, "lightcurve", operation=operation)
    ds = with_axes(ds, KINDS["lightcurve"])
    missing = [name for name in NEEDED if name not in ds.variables]
    if missing:
        raise MissingVariableError(
            f"{operation}: the light curve has no {', '.join(missing)}; keep its variables, see batx.check"
        )
    bins = read_bins(ds, "auto", operation)
    energies = ds["energy_bnds"].transpose("energy", "bnds").values
    if one and len(energies) != 1:
        raise KindError(
            f"{operation}: found {len(energies)} bands, expected one; re-bin them "
            "(lc.bat.rebin_energy([15, 350])) or select one (lc.isel(energy=[0]))"
        )
    counted = bins.errors is None
    exposure = bins.exposure if counted else bins.width
    live = exposure[:, np.newaxis]
    return Bands(
        lower=bins.lower,
        width=bins.width,
        exposure=exposure,
        rate=bins.values / live if counted else bins.values,
        error=np.sqrt(bins.values) / live if bins.errors is None else bins.errors,
        counts=bins.values if counted else None,
        background=np.zeros(bins.values.shape),
        energies=np.asarray(energies, dtype=np.float64),
    )


def burst_span(ds: xr.Dataset, interval: Any, operation: str) -> tuple[float, float]:
    """Return start and stop (MET) of an interval in any form; by default of the burst that blocks find.

    Parameters
    ----------
    ds
        Kind ``lightcurve``.
    interval
        `None`; start and stop, as MET, dates or Quantities; or the result of `batx.duration`: its T100.
    operation
        Name of the function, for messages.
    """
    if interval is None:
        bounds = bayesian_blocks(ds)["time_bnds"].values
        if len(bounds) < 3:
            raise EmptySelectionError(
                f"{operation}: found {len(bounds)} block(s) of constant rate, expected a burst between two "
                "stretches of background; name the interval yourself, interval=(start, stop)"
            )
        return float(bounds[1, 0]), float(bounds[-2, 1])
    if isinstance(interval, xr.Dataset):
        if "t100_start" not in interval.variables:
            raise KindError(f"{operation}: interval is a Dataset without t100_start; give that of duration()")
        return float(interval["t100_start"]), float(interval["t100_stop"])
    ends = to_met(interval, ds.attrs, name="interval")
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise ValueRangeError(f"interval: found {interval!r}, expected a start and a later stop")
    return float(ends[0]), float(ends[1])


def cut(bands: Bands, start: float, stop: float, least: int, operation: str) -> Bands:
    """Return the bins whose middle is within an interval, of which there must be at least so many."""
    kept = (bands.centre >= start) & (bands.centre < stop)
    if kept.sum() < least:
        raise EmptySelectionError(
            f"{operation}: found {int(kept.sum())} bin(s) with a number from {start:.3f} to {stop:.3f}, "
            f"expected at least {least}; take shorter bins or a longer interval"
        )
    return bands.keep(kept)


def background_line(bands: Bands, start: float, stop: float, operation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a line through the mean rates before and after an interval, and its error (bin, band)."""
    sides = (bands.centre < start, bands.centre >= stop)
    if not all(side.any() for side in sides):
        raise EmptySelectionError(
            f"{operation}: found no bin before or none after the burst, from which background=True is taken"
        )
    live = bands.exposure[:, np.newaxis]
    early, late = (np.sum((bands.rate * live)[side], axis=0) / live[side].sum() for side in sides)
    errors = [np.sqrt(np.sum((bands.error * live)[side] ** 2, axis=0)) / live[side].sum() for side in sides]
    first, last = (float(np.average(bands.centre[side], weights=bands.exposure[side])) for side in sides)
    part = ((bands.centre - first) / (last - first))[:, np.newaxis]
    return early + (late - early) * part, np.hypot(errors[0] * (1.0 - part), errors[1] * part)


def without_background(bands: Bands, start: float, stop: float, operation: str) -> Bands:
    """Return the curves less a line through the mean rates before and after an interval."""
    line, _ = background_line(bands, start, stop, operation)
    return replace(bands, rate=bands.rate - line, background=bands.background + line)


def band_pairs(bands: Bands, pairs: Any, operation: str) -> list[tuple[int, int]]:
    """Return pairs of bands as numbers, the softer first; all of them if none are given.

    Parameters
    ----------
    bands
        Light curves.
    pairs
        `None`, or a sequence of pairs; a band is its number or its (lower, upper) edges in keV.
    operation
        Name of the function, for messages.
    """
    n_bands = len(bands.energies)
    if n_bands < 2:
        raise KindError(
            f"{operation}: found 1 band, expected at least two to compare; make the light curve in bands "
            "(energy=[15, 25, 50, 100, 350])"
        )
    made = []
    for pair in combinations(range(n_bands), 2) if pairs is None else pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueRangeError(f"pairs: found {pair!r}, expected two bands")
        first, second = (_band(bands.energies, band) for band in pair)
        if first == second:
            raise ValueRangeError(f"pairs: found {pair!r}, expected two different bands")
        made.append(tuple(sorted((first, second), key=lambda k: float(bands.energies[k].sum()))))
    if not made:
        raise ValueRangeError("pairs: found none, expected at least one")
    return [(soft, hard) for soft, hard in made]


def _band(energies: np.ndarray, band: Any) -> int:
    """Return the number of a band given by number or edges."""
    if isinstance(band, (int, np.integer)):
        if -len(energies) <= band < len(energies):
            return int(band) % len(energies)
    elif np.shape(band) == (2,):
        found = np.flatnonzero(np.abs(energies - np.asarray(band, dtype=np.float64)).max(axis=1) < SAME_EDGE)
        if found.size:
            return int(found[0])
    known = ", ".join(f"{k}: ({low:g}, {high:g})" for k, (low, high) in enumerate(energies))
    raise ValueRangeError(f"pairs: found band {band!r}, expected a number or edges of {known} keV")


def band_labels(bands: Bands, pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Return ``15-25, 50-100 keV`` for each pair."""
    return [
        ", ".join(f"{low:g}-{high:g}" for low, high in bands.energies[list(pair)]) + " keV" for pair in pairs
    ]


def result_attrs(ds: xr.Dataset) -> dict[str, Any]:
    """Return the attributes of a light curve that hold for what is derived from it."""
    return kept_attrs(ds.attrs, *ORIGIN, "provenance")
