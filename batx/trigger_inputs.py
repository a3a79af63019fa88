"""What triggers are looked for in: slots of counts, bands, timescales; and how rare false ones are.

Private to `batx.triggers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import Bins
from batx.errors import RebinError, ValueRangeError
from batx.grids import energy_bounds
from batx.kernels.rebin import overlaps
from batx.kernels.triggers import LEAST_LIVE, expected_clusters
from batx.units import to_value

__all__ = [
    "Bands",
    "FalseAlarms",
    "Stretch",
    "bands_of",
    "false_alarms",
    "levels_of",
    "scales_of",
    "slot_of",
    "stretches_of",
]

#: bands of which all sums of neighbours are searched if none are asked for
MOST_BANDS = 6
#: bins differ from slots of equal length by no more than this part of one
OFF_GRID = 0.05
#: draws by which the number of false triggers is known to about 3 %
DRAWS = 2000
#: thresholds between which the number of false triggers is looked for; below, they are not apart
LOWEST, HIGHEST = 2.5, 12.0
#: counts of a band on either side by which its level is known
KNOWN = 200.0
#: the number of false triggers at the threshold is this close to what is asked, after so many steps at most
CLOSE, MOST_STEPS = 0.03, 8


@dataclass(frozen=True)
class Bands:
    """The bands that are searched: edges in keV (band, 2), and which bands of the curve each sums."""

    bounds: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class Stretch:
    """Slots of equal length without a gap that no background reaches over.

    Attributes
    ----------
    start
        (slot + 1,) MET at which each slot begins, and the end of the last.
    counts
        (base, slot + 1) sums of counts in the slots before each.
    live, moment
        (slot + 1,) the same of exposure in slots, and of exposure × number of the slot.
    """

    start: np.ndarray
    counts: np.ndarray
    live: np.ndarray
    moment: np.ndarray


def bands_of(ds: xr.Dataset, energy: Any) -> Bands:
    """Return the bands to search: those asked for, or each band of the curve and all sums of neighbours.

    Raises
    ------
    ValueRangeError
        If a band is not a sum of bands of the curve, or there are too many to take all sums.
    """
    own = np.asarray(ds["energy_bnds"].values, dtype=np.float64)
    n = len(own)
    if energy is None:
        if n > MOST_BANDS:
            raise ValueRangeError(
                f"energy: found a curve of {n} bands, too many to search all sums of neighbours; give the "
                "bands to search as (lower, upper) pairs, or sum some first (ds.bat.rebin_energy)"
            )
        pairs = [(first, first + width) for width in range(n) for first in range(n - width)]
        members = np.array([[first <= k <= last for k in range(n)] for first, last in pairs])
        return Bands(np.array([[own[first, 0], own[last, 1]] for first, last in pairs]), members)
    asked = np.stack(energy_bounds(energy), axis=-1)
    tolerance = 1e-3 * (own[:, 1] - own[:, 0])
    members = np.zeros((len(asked), n), dtype=bool)
    for row, pair in enumerate(asked):
        parts = overlaps(own[:, 0], own[:, 1], pair[:1], pair[1:], tolerance)
        whole = np.sum((own[:, 1] - own[:, 0])[parts.old])
        if np.any(parts.fraction < 1) or abs(whole - (pair[1] - pair[0])) > tolerance.max():
            raise ValueRangeError(
                f"energy: found the band {pair[0]:g}-{pair[1]:g} keV, expected sums of the bands of the "
                f"curve, {own.tolist()} keV"
            )
        members[row, parts.old] = True
    return Bands(asked, members)


def scales_of(
    slot: float, timescales: Any, longest: float, window: float, guard: float, phases: int
) -> np.ndarray:
    """Return lengths, steps, guards and windows in slots (scale, 4), the shortest first.

    Raises
    ------
    ValueRangeError
        If a timescale is not a multiple of the bins, or an argument is out of range.
    """
    if phases < 1 or int(phases) != phases:
        raise ValueRangeError(f"phases: found {phases}, expected a whole number of at least 1")
    if not (np.isfinite(window) and window > 0 and 0 <= guard < np.inf):
        raise ValueRangeError(f"window, guard: found {window} s and {guard}, expected positive numbers")
    if timescales is None:
        if not longest >= slot:
            raise ValueRangeError(f"longest: found {longest} s, expected at least one bin, {slot:g} s")
        length = 2 ** np.arange(round(np.log2(longest / slot)) + 1)
    else:
        asked = np.unique(np.atleast_1d(to_value(timescales, "s", "timescales")))
        length = np.rint(asked / slot)
        if not np.all(np.isfinite(asked) & (length > 0) & (np.abs(asked / slot - length) < OFF_GRID)):
            raise ValueRangeError(
                f"timescales: found {asked.tolist()} s, expected multiples of the bins of {slot:g} s"
            )
        length = length.astype(int)
    back = np.maximum(np.ceil(window / slot), 2 * length).astype(int)
    return np.stack(
        [length, np.maximum(length // phases, 1), np.ceil(guard * length).astype(int), back], axis=-1
    )


def slot_of(bins: Bins) -> float:
    """Return the width of the bins, which must be equal."""
    slot = float(np.median(bins.width))
    if np.any(np.abs(bins.width - slot) > OFF_GRID * slot):
        raise RebinError(
            f"rate_trigger: found bins of {bins.width.min():g} to {bins.width.max():g} s, expected equal "
            "ones; re-bin the curve first (ds.bat.rebin_time(dt=...))"
        )
    return slot


def stretches_of(bins: Bins, slot: float, kept: np.ndarray, scales: np.ndarray) -> list[Stretch]:
    """Return the stretches of a curve; bins that are not `kept` are slots without exposure."""
    steps = np.diff(bins.lower) / slot
    longest_gap = LEAST_LIVE * scales[:, 3].max() + scales[:, 2].max()
    off_grid = np.abs(steps - np.rint(steps)) > OFF_GRID
    breaks = np.flatnonzero((steps > longest_gap + 1) | off_grid) + 1
    return [_stretch(bins, rows, slot, kept[rows]) for rows in np.split(np.arange(bins.lower.size), breaks)]


def _stretch(bins: Bins, rows: np.ndarray, slot: float, kept: np.ndarray) -> Stretch:
    lower = bins.lower[rows]
    place = np.concatenate([[0], np.cumsum(np.rint(np.diff(lower) / slot).astype(int))])
    size = int(place[-1]) + 1
    counts, live = np.zeros((bins.values.shape[1], size)), np.zeros(size)
    counts[:, place[kept]] = bins.values[rows][kept].T
    live[place[kept]] = bins.exposure[rows][kept] / bins.width[rows][kept]
    start = np.interp(np.arange(size + 1), np.append(place, size), np.append(lower, lower[-1] + slot))
    return Stretch(start, _sums(counts), _sums(live), _sums(live * np.arange(size)))


def _sums(values: np.ndarray) -> np.ndarray:
    """Return the sums over the slots before each."""
    made = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=made[..., 1:])
    return made


def levels_of(
    stretches: Sequence[Stretch],
    scale: np.ndarray,
    reach: int,
    trials: Sequence[np.ndarray],
    size: int,
    seed: int,
) -> np.ndarray:
    """Return the counts in a slot (size, base) around trials of a timescale picked at random.

    Mean over `reach` slots before and after, or so many that a band has `KNOWN` counts there; not less than
    half a count in all of them.
    """
    random = np.random.default_rng(seed)
    number = np.array([places.size for places in trials])
    picked = random.choice(number.size, size, p=number / number.sum())
    made = np.empty((size, stretches[0].counts.shape[0]))
    for row, k in enumerate(picked):
        one = stretches[k]
        start = int(random.choice(trials[k])) * int(scale[1])
        stop, n = start + int(scale[0]), one.live.size - 1
        far = max(reach, round(KNOWN * one.live[-1] / max(one.counts[:, -1].mean(), 1.0)))
        low, high = max(start - far, 0), min(stop + far, n)
        live = one.live[high] - one.live[stop] + one.live[start] - one.live[low]
        counts = one.counts[:, high] - one.counts[:, stop] + one.counts[:, start] - one.counts[:, low]
        made[row] = np.maximum(counts, 0.5) / live
    return made


@dataclass(frozen=True)
class FalseAlarms:
    """How many triggers noise makes above a threshold.

    The number is K(z) Q(z), Q the tail of the normal distribution and ln K linear between the values of z at
    which it is known, and constant beyond.

    Attributes
    ----------
    z, log_trials
        Thresholds and ln K.
    """

    z: np.ndarray
    log_trials: np.ndarray

    def number(self, z: np.ndarray | float) -> np.ndarray:
        """Return the expected number of false triggers above a threshold."""
        return np.exp(self._log_number(z))

    def _log_number(self, z: np.ndarray | float) -> np.ndarray:
        from scipy.special import log_ndtr

        return np.interp(z, self.z, self.log_trials) + log_ndtr(-np.asarray(z))

    def threshold(self, number: float) -> float:
        """Return the threshold above which this number of false triggers is expected."""
        from scipy.optimize import brentq

        return float(brentq(lambda z: float(self._log_number(z)) - math.log(number), 0.0, 60.0, xtol=1e-4))


def false_alarms(
    scales: np.ndarray,
    members: np.ndarray,
    trials: np.ndarray,
    levels: np.ndarray,
    asked: float,
    at: float | None,
    seed: int,
) -> FalseAlarms:
    """Return how rare false triggers are, known best around a threshold.

    Parameters
    ----------
    scales, members, trials, levels, seed
        See `batx.kernels.triggers.expected_clusters`.
    asked
        Number of false triggers above the threshold.
    at
        Threshold in place of `asked`.
    """
    from scipy.special import log_ndtr, ndtri

    def log_trials(z: float) -> float:
        number, _ = expected_clusters(scales, members, trials, levels, z, DRAWS, seed)
        return float(np.log(number) - log_ndtr(-z))

    if at is None:
        guess = -float(ndtri(min(asked / (0.3 * trials.sum() * members.shape[0]), 0.5)))
        at, value = _threshold(log_trials, min(max(guess, LOWEST), HIGHEST), asked)
    else:
        value = log_trials(at)
    return FalseAlarms(np.array([at, at + 1.5]), np.array([value, log_trials(at + 1.5)]))


def _threshold(log_trials: Callable[[float], float], guess: float, asked: float) -> tuple[float, float]:
    """Return the threshold above which no more than `asked` false triggers are expected, and ln K there.

    Few counts make the number fall in steps: where it has none near what is asked, the lower one is taken.
    """
    low, high, z = 0.0, np.inf, guess
    best = (np.inf, 0.0)
    for _ in range(MOST_STEPS):
        value = log_trials(z)
        here = FalseAlarms(np.array([z]), np.array([value]))
        ratio = float(here.number(z)) / asked
        if ratio <= 1.0 + CLOSE:
            high, best = z, (z, value)
            if ratio >= 1.0 - 2 * CLOSE:
                break
        else:
            low = z
        step = here.threshold(asked * (1.0 - 0.5 * CLOSE))
        z = step if low < step < high else 0.5 * (low + high)
    return best
