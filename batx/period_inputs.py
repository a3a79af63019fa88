"""What searches for periods are made from: light curves and events, checked, as sums the kernels take.

Private to the functions of periods and pulse profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import BAND, Bins, read_bins
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.grids import Intervals
from batx.intervals import gti_arrays
from batx.kernels import gti as intervals
from batx.kernels.fourier import Frequencies
from batx.kernels.periods import harmonic_power
from batx.kernels.series import BinSeries, EventSeries, Lines, dispersion, slow_line
from batx.met import to_met
from batx.products import weighting_of
from batx.reduction import events_of_bands
from batx.schema import require_bat
from batx.units import to_value

__all__ = [
    "NOISES",
    "Data",
    "Timed",
    "data_of",
    "epoch_of",
    "nyquist",
    "powers",
    "read_timed",
    "require_frequencies",
]

NOISES = ("measured", "counting")
#: frequencies summed at once
CHUNK = 1 << 16
#: bins of events in which their noise is measured, in cycles of the fastest wave; at most so many bins
PART_OF_A_CYCLE, MAX_BINS = 0.02, 1 << 22
#: bins of events in the spacing of a baseline
BINS_A_KNOT = 16
#: rates below this part of their mean are weighed as if they were that
LOWEST = 0.1


@dataclass(frozen=True)
class Timed:
    """Light curve or events, all bands, before a baseline is taken off.

    Attributes
    ----------
    epoch
        MET s from which the times of the kernels count.
    bins
        The bins of a light curve, `None` for events.
    times, weights
        (band,) times (s from the epoch) and weights of events; empty for a light curve.
    good
        Good time, s from the epoch; of a light curve its bins.
    weighted
        Whether events have mask weights.
    energy_bounds
        (band, 2) keV.
    """

    epoch: float
    bins: Bins | None
    times: list[np.ndarray]
    weights: list[np.ndarray]
    good: Intervals
    weighted: bool
    energy_bounds: np.ndarray

    @property
    def resolution(self) -> float:
        """Width of the widest bin, 0 for events, s."""
        return 0.0 if self.bins is None else float(self.bins.width.max())

    @property
    def length(self) -> float:
        """Time from the first to the last datum, s."""
        return float(self.good[1][-1] - self.good[0][0])


@dataclass(frozen=True)
class Data:
    """One band as the kernels take it, and its noise in units of that expected."""

    series: BinSeries | EventSeries
    noise: float


def read_timed(ds: xr.Dataset, operation: str, *, energy: Any, epoch: Any, gti: Any, weighting: str) -> Timed:
    """Return a light curve or events, checked, their times counted from the epoch.

    Raises
    ------
    KindError, ValueRangeError, EmptySelectionError, GtiError
        As `batx.z_search`.
    """
    if require_bat(ds, "lightcurve", "events", operation=operation) == "events":
        return _timed_events(ds, operation, energy, epoch, gti, weighting)
    if energy is not None:
        raise ValueRangeError(
            "energy: bands are made when a light curve is; re-bin it (rebin_energy) instead"
        )
    bins = read_bins(ds, "auto", operation)
    middle = bins.lower + 0.5 * bins.width
    used = bins.exposure > 0
    if bins.errors is not None:
        used &= (bins.errors > 0).all(axis=1)
    if gti is not None:
        start, stop = gti_arrays(gti, ds.attrs)
        used &= intervals.overlap(bins.lower, bins.lower + bins.width, start, stop) > 0.999 * bins.width
    if used.sum() < 2:
        raise EmptySelectionError(
            f"{operation}: found {int(used.sum())} bins with exposure and error in good time, expected more"
        )
    bins = _bins_taken(bins, used)
    zero = epoch_of(epoch, ds.attrs, 0.5 * (middle[used][0] + middle[used][-1]))
    good = bins.lower - zero, bins.lower + bins.width - zero
    bounds = np.atleast_2d(ds["energy_bnds"].values.astype(np.float64))
    return Timed(zero, bins, [], [], good, False, bounds)


def _timed_events(ds: xr.Dataset, operation: str, energy: Any, epoch: Any, gti: Any, weighting: str) -> Timed:
    weighted = weighting_of(ds, weighting)
    if weighted and "source" in ds["mask_weight"].dims:
        raise KindError(f"{operation}: the events have weights for several sources; select one")
    chosen = BAND if energy is None else energy
    kept, bands, good = events_of_bands(ds, chosen, gti, weighted=weighted, operation=operation)
    if kept.time.size < 2:
        raise EmptySelectionError(
            f"{operation}: found {kept.time.size} events that are good, in good time and in a band, "
            "expected more; check energy and gti"
        )
    zero = epoch_of(epoch, ds.attrs, 0.5 * (good[0][0] + good[1][-1]))
    rows = [np.flatnonzero(kept.band == k) for k in range(bands.lower.size)]
    if empty := [bands.bounds[k].tolist() for k, row in enumerate(rows) if row.size < 2]:
        raise EmptySelectionError(f"{operation}: found fewer than two events in the bands {empty} keV")
    return Timed(
        zero,
        None,
        [kept.time[row] - zero for row in rows],
        [kept.weight[row] for row in rows],
        (good[0] - zero, good[1] - zero),
        weighted,
        bands.bounds,
    )


def epoch_of(epoch: Any, attrs: Mapping[str, Any], middle: float) -> float:
    """Return the epoch in MET, by default a whole second in the middle of the data."""
    return float(np.round(middle)) if epoch is None else float(to_met(epoch, attrs, name="epoch"))


def _bins_taken(bins: Bins, used: np.ndarray) -> Bins:
    errors = None if bins.errors is None else bins.errors[used]
    return Bins(
        bins.rows[used],
        bins.lower[used],
        bins.width[used],
        bins.exposure[used],
        bins.values[used],
        errors,
        bins.model,
    )


def require_frequencies(
    ds: xr.Dataset,
    timed: Timed,
    frequency: np.ndarray,
    derivative: np.ndarray,
    baseline: Any,
    harmonics: float,
    operation: str,
) -> None:
    """Check that frequencies make sense for the data.

    Raises
    ------
    ValueRangeError
        If they are not finite or not positive, change sign by the derivative, vary less than a baseline, or
        are with `harmonics` above the Nyquist frequency of the bins or of the clock of events.
    """
    if not (np.all(np.isfinite(frequency)) and np.all(frequency > 0) and np.all(np.isfinite(derivative))):
        raise ValueRangeError(
            f"{operation}: found frequencies {frequency.min():g} to {frequency.max():g} Hz and derivatives "
            f"{derivative.min():g} to {derivative.max():g} Hz/s, expected positive and finite ones"
        )
    reach = max(abs(timed.good[0][0]), abs(timed.good[1][-1]))
    if np.abs(derivative).max() * reach > 0.4 * frequency.min():
        raise ValueRangeError(
            f"{operation}: with a derivative of {np.abs(derivative).max():g} Hz/s {frequency.min():g} Hz "
            f"change by nearly half and more within {reach:g} s of the epoch; expected smaller ones"
        )
    if baseline is not None and frequency.min() * float(to_value(baseline, "s", "baseline")) < 1.0:
        raise ValueRangeError(
            f"{operation}: found {frequency.min():g} Hz at the lowest, with a baseline of {baseline}"
            " s that takes such slow changes off; search above 1 / baseline, or lengthen it"
        )
    fastest, limit = harmonics * float(frequency.max()), nyquist(timed, ds)
    if fastest > limit * (1.0 + 1e-9):
        raise ValueRangeError(
            f"{operation}: found {fastest:g} Hz as the highest frequency times harmonics, above the Nyquist "
            f"frequency {limit:g} Hz of data in steps of {0.5 / limit:g} s; use finer bins, lower "
            "frequencies, fewer harmonics or bins of phase"
        )


def nyquist(timed: Timed, ds: xr.Dataset) -> float:
    """Return the highest frequency that bins, or the clock of events, resolve, Hz; infinite if unknown."""
    step = timed.resolution or float(ds.attrs.get("timedel") or 0.0)
    return 0.5 / step if step > 0 else np.inf


def data_of(timed: Timed, *, baseline: Any, noise: str, fastest: float, weighed: bool = True) -> list[Data]:
    """Return every band as the kernels take it.

    Parameters
    ----------
    timed
        From `read_timed`.
    baseline
        `None` for a constant rate, or the spacing of the knots of a smooth line, s.
    noise
        ``"measured"`` or ``"counting"``.
    fastest
        Highest frequency of interest, Hz: the noise of events is measured on bins that are shorter.
    weighed
        Give counts the weight of their mean rate over the baseline: what is constant under a background that
        changes is then found best, and the errors of what is found hold.
    """
    if noise not in NOISES:
        raise ValueRangeError(f"noise: found {noise!r}, expected one of {', '.join(map(repr, NOISES))}")
    spacing = None if baseline is None else float(to_value(baseline, "s", "baseline"))
    if spacing is not None and not spacing > 0:
        raise ValueRangeError(f"baseline: found {spacing} s, expected a positive length, or None")
    if timed.bins is not None:
        bands = range(timed.bins.values.shape[1])
        return [_bin_data(timed, timed.bins, k, spacing, noise, weighed) for k in bands]
    return [_event_data(timed, k, spacing, noise, fastest, weighed) for k in range(len(timed.times))]


def _bin_data(timed: Timed, bins: Bins, band: int, spacing: float | None, noise: str, weighed: bool) -> Data:
    time = bins.lower + 0.5 * bins.width - timed.epoch
    values = bins.values[:, band]
    counted = bins.errors is None
    mean = bins.exposure if bins.errors is None else bins.errors[:, band] ** -2.0
    data = values if counted else values * mean
    if counted and not values.any():
        raise EmptySelectionError("the light curve has no counts at all in a band")
    level = slow_line(time, data, mean, np.inf if spacing is None else spacing).at(time)
    expected = mean * level
    variance = np.maximum(expected, 0.0) if counted else mean
    excess = dispersion(time, data - expected, variance, bins.width) if noise == "measured" else 1.0
    series = BinSeries(time, data, expected, mean, variance, counted)
    if counted and spacing is not None and weighed:
        weight = _weight(level, data.sum() / mean.sum())
        series = BinSeries(
            time, weight * data, weight * expected, weight * mean, weight**2 * variance, counted=False
        )
    return Data(series, max(excess, 1.0))


def _weight(level: np.ndarray, mean: float) -> np.ndarray:
    """Return the weight of counts where a rate of `level` is expected; `mean` is that of all."""
    return mean / np.maximum(level, LOWEST * mean)


def _event_data(
    timed: Timed, band: int, spacing: float | None, noise: str, fastest: float, weighed: bool
) -> Data:
    time, weight = timed.times[band], timed.weights[band]
    width = max(PART_OF_A_CYCLE / fastest, timed.length / MAX_BINS)
    middle, data, exposure, widths = _binned(time, weight, timed.good, width)
    mean = weight.sum() / np.sum(timed.good[1] - timed.good[0])
    line = Lines(timed.good[0][:1], timed.good[1][-1:], np.array([mean]), np.zeros(1))
    if spacing is not None:
        line = slow_line(*_binned(time, weight, timed.good, spacing / BINS_A_KNOT)[:3], spacing)
    live = Lines(*timed.good, np.ones(timed.good[0].size), np.zeros(timed.good[0].size))
    series = EventSeries(time, weight, live, line.within(*timed.good), not timed.weighted)
    excess = 1.0
    if noise == "measured" and not timed.weighted:
        variance = np.maximum(line.at(middle), 0.0) * exposure
        excess = dispersion(middle, data - variance, variance, widths)
    if spacing is not None and weighed and not timed.weighted:
        expected = live._replace(value=mean * live.value)
        series = EventSeries(time, _weight(line.at(time), mean), live, expected, counted=False)
    return Data(series, max(excess, 1.0))


def _binned(
    time: np.ndarray, weight: np.ndarray, good: Intervals, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return middle, sum of weights, exposure and width of equal bins within each good interval."""
    count = np.maximum(np.rint((good[1] - good[0]) / width), 1).astype(np.int64)
    edges = [np.linspace(low, high, n + 1) for low, high, n in zip(*good, count, strict=True)]
    lower = np.concatenate([one[:-1] for one in edges])
    upper = np.concatenate([one[1:] for one in edges])
    bin_of = np.searchsorted(lower, time, side="right") - 1
    sums = np.bincount(np.clip(bin_of, 0, None), weight, lower.size)
    return 0.5 * (lower + upper), sums, upper - lower, upper - lower


def powers(data: list[Data], frequency: Frequencies, derivative: float, harmonics: int) -> np.ndarray:
    """Return Z² of 1, 2, … n harmonics over the noise, (frequency, band, harmonic)."""
    made = np.empty((frequency.values.size, len(data), harmonics))
    for low in range(0, frequency.values.size, CHUNK):
        part = Frequencies(frequency.values[low : low + CHUNK], frequency.step)
        for k, one in enumerate(data):
            sums = one.series.moments(part, derivative, harmonics)
            made[low : low + CHUNK, k] = harmonic_power(*sums) / one.noise
    return made
