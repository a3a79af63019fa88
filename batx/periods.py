"""Searches for periods in light curves and events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.kernels import periods as kernel
from batx.kernels.fourier import Frequencies, frequencies
from batx.period_inputs import (
    Data,
    Timed,
    data_of,
    nyquist,
    powers,
    read_timed,
    require_frequencies,
)
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = ["HARMONICS", "MOST_HARMONICS", "epoch_folding", "z_search"]

#: harmonics by default: of Z², and the most of H
HARMONICS, MOST_HARMONICS = 2, 20
#: the most frequencies of a search
MAX_FREQUENCIES = 1 << 25


def z_search(
    ds: xr.Dataset,
    frequency: Any,
    *,
    harmonics: int | None = None,
    test: str = "z2",
    frequency_dot: Any = 0.0,
    epoch: Any = None,
    energy: Any = None,
    gti: Any = None,
    baseline: Any = None,
    noise: str = "measured",
    weighting: str = "auto",
    oversample: float = 8.0,
    level: float = 0.01,
) -> xr.Dataset:
    """Return the Z² or the H statistic of light curves or events against frequency.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` (counts, or rates with errors; every band by itself), or ``events``.
    frequency
        A pair of lowest and highest frequency (Hz), between which a grid of steps of 1 / (`oversample` ·
        length of the data) is searched; or the frequencies themselves, one or at least three.
    harmonics
        Number n of harmonics of Z² (default 2), or the most that H tries (default 20, or as many as there are
        below the Nyquist frequency of the bins).
    test
        ``"z2"``, or ``"h"``: the best number of harmonics at each frequency.
    frequency_dot
        Frequency derivative (Hz/s), or several to be searched.
    epoch
        When the phase is 0 and the frequency is that of the grid: MET, a date, or ``"trigger"``; by default
        the middle of the data.
    energy
        For events: bands as edges or pairs in keV; by default one, 15-350 keV.
    gti
        Further good-time intervals; of a light curve the bins count that are good as a whole.
    baseline
        Spacing (s) of the knots of a cubic spline that describes slow changes of the rate, such as particle
        ramps, and is taken off; `None`: the rate is constant. Frequencies begin at 1 / `baseline`.
    noise
        ``"measured"``: the noise is that of the differences of neighbouring bins, at least counting noise (in
        raw rates above 100 keV it is 1.4 times that); ``"counting"``: that of counts, or of the errors. That
        of weighted events is always that of their weights.
    weighting
        For events: ``"mask"``, ``"none"`` or ``"auto"``, as in `batx.lightcurve`.
    oversample
        Frequencies per 1 / length of the data.
    level
        Probability of a false alarm in the whole search at which `threshold` is.

    Returns
    -------
    xarray.Dataset
        Kind ``periodogram``: ``power`` ([frequency_dot,] frequency, energy), the statistic;
        ``probability``: how often noise reaches it at one frequency; ``false_alarm``: how often it does in
        the whole search, all frequencies, derivatives and bands; ``threshold`` (energy), the power at which
        that is `level`; ``noise`` (energy) in units of counting noise; with ``"h"`` also ``harmonics``, the
        best number. The data are read at once.

    Raises
    ------
    KindError
        If `ds` is of another kind or instrument, or has several sources.
    ValueRangeError
        If frequencies are not positive, out of order, above the Nyquist frequency of the bins, or below 1 /
        `baseline`; if bins are out of order or overlap, or an argument is out of range.
    EmptySelectionError, GtiError
        If nothing is left to search.

    Notes
    -----
    Z² of n harmonics has a χ² distribution of 2n degrees of freedom in noise, also where data have gaps: see
    `batx.kernels.periods`. ``false_alarm`` is 1 − exp(−E), E the smaller of (number of trials × probability)
    and (expected number of rises above the level in the range: Davies 1987); for H the sum of these over
    its numbers of harmonics, and single trials exp(−0.4 H) (de Jager & Büsching 2010, A&A 517, L9).
    Derivatives and bands count as independent. Source: algorithms 7.

    Examples
    --------
    >>> from batx.schema import build
    >>> time = np.arange(1000) + 0.5
    >>> counts = np.random.default_rng(1).poisson(100 + 20 * np.sin(2 * np.pi * 0.1 * time))
    >>> lc = build("lightcurve", {"time": time, "time_bnds": np.stack([time - 0.5, time + 0.5], -1),
    ...     "energy": [50.0], "energy_bnds": [[15.0, 350.0]], "counts": counts[:, None],
    ...     "exposure": np.ones(1000), "fracexp": np.ones(1000)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> found = z_search(lc, (0.01, 0.2), harmonics=1)
    >>> round(float(found.frequency[found.power.values.argmax()]), 3), float(found.false_alarm.min()) < 1e-9
    (0.1, True)
    """
    if test not in ("z2", "h"):
        raise ValueRangeError(f"test: found {test!r}, expected 'z2' or 'h'")
    if harmonics is not None and not 1 <= harmonics <= MOST_HARMONICS:
        raise ValueRangeError(f"harmonics: found {harmonics}, expected 1 to {MOST_HARMONICS}")
    timed = read_timed(ds, "z_search", energy=energy, epoch=epoch, gti=gti, weighting=weighting)
    grid, derivatives = _searched(timed, frequency, frequency_dot, oversample)
    n = HARMONICS if harmonics is None else int(harmonics)
    if test == "h" and harmonics is None:
        below = nyquist(timed, ds) / np.nanmax(grid.values)
        n = int(np.clip(below if np.isfinite(below) else MOST_HARMONICS, 1, MOST_HARMONICS))
    require_frequencies(ds, timed, grid.values, derivatives, baseline, n, "z_search")
    data = data_of(timed, baseline=baseline, noise=noise, fastest=n * grid.values.max())
    nested = np.stack([powers(data, grid, derivative, n) for derivative in derivatives])
    width = float(np.ptp(grid.values))

    def expected(power: Any, band: int) -> Any:
        number = kernel.expected_z2 if test == "z2" else kernel.expected_h
        return number(power, n, data[band].series.spread, width, grid.values.size)

    values = {"power": nested[..., n - 1], "probability": kernel.survival(nested[..., n - 1], 2 * n)}
    if test == "h":
        power, best = kernel.h_statistic(nested)
        values = {"power": power, "probability": kernel.probability_h(power), "harmonics": best}
    attrs = {"method": test, "n_harmonics": n}
    return _periodogram(ds, timed, grid, derivatives, data, values, expected, level, attrs)


def epoch_folding(
    ds: xr.Dataset,
    frequency: Any,
    *,
    n_bins: int = 16,
    frequency_dot: Any = 0.0,
    epoch: Any = None,
    energy: Any = None,
    gti: Any = None,
    baseline: Any = None,
    noise: str = "measured",
    weighting: str = "auto",
    oversample: float = 8.0,
    level: float = 0.01,
) -> xr.Dataset:
    """Return χ² of the folded profile against a constant, for light curves or events against frequency.

    Parameters
    ----------
    ds, frequency, frequency_dot, epoch, energy, gti, baseline, noise, weighting, oversample, level
        As for `z_search`. A bin of a light curve is folded as a whole, where its middle is.
    n_bins
        Bins of phase, at least 2.

    Returns
    -------
    xarray.Dataset
        Kind ``periodogram``, as of `z_search`; ``power`` is χ² of `n_bins` − 1 degrees of freedom.

    Raises
    ------
    KindError, ValueRangeError, EmptySelectionError, GtiError
        As `z_search`; also if a bin of a light curve is longer than one of phase.

    Notes
    -----
    χ² = Σ (S − E)²/V over bins of phase, S the counts (or Σ rate/σ², or Σ weights), E what a constant, or the
    baseline, gives in the exposure of the bin, V the variance of S (Leahy et al. 1983, ApJ 266, 160).
    ``false_alarm`` takes every frequency as a trial of its own, which neighbours on an oversampled grid are
    not: it is an upper limit, up to the factor given in algorithms 7.

    Examples
    --------
    >>> from batx.schema import build
    >>> rng = np.random.default_rng(1)
    >>> time = np.sort(rng.uniform(0.0, 1000.0, 20000))
    >>> time = time[rng.random(time.size) < 0.5 + 0.2 * np.sin(2 * np.pi * 0.1 * time)]
    >>> ev = build("events", {"time": time, "energy": np.full(time.size, 50.0),
    ...            "gti_start": [0.0], "gti_stop": [1000.0]})
    >>> found = epoch_folding(ev, (0.05, 0.15))
    >>> round(float(found.frequency[found.power.values.argmax()]), 3)
    0.1
    """
    if n_bins < 2:
        raise ValueRangeError(f"n_bins: found {n_bins}, expected at least 2")
    timed = read_timed(ds, "epoch_folding", energy=energy, epoch=epoch, gti=gti, weighting=weighting)
    grid, derivatives = _searched(timed, frequency, frequency_dot, oversample)
    require_frequencies(ds, timed, grid.values, derivatives, baseline, 0.5 * n_bins, "epoch_folding")
    data = data_of(timed, baseline=baseline, noise=noise, fastest=0.5 * n_bins * grid.values.max())
    power = np.empty((derivatives.size, grid.values.size, len(data)))
    for i, derivative in enumerate(derivatives):
        for j, value in enumerate(grid.values):
            for k, one in enumerate(data):
                sums = one.series.folded(value, derivative, n_bins)
                power[i, j, k] = kernel.folded_power(*sums) / one.noise

    def expected(power: Any, band: int) -> Any:
        return grid.values.size * kernel.survival(power, n_bins - 1)

    values = {"power": power, "probability": kernel.survival(power, n_bins - 1)}
    attrs = {"method": "epoch_folding", "n_bins": n_bins}
    return _periodogram(ds, timed, grid, derivatives, data, values, expected, level, attrs)


def _searched(
    timed: Timed, frequency: Any, frequency_dot: Any, oversample: float
) -> tuple[Frequencies, np.ndarray]:
    """Return the frequencies and derivatives of a search."""
    values = np.atleast_1d(to_value(frequency, "Hz", "frequency"))
    derivatives = np.atleast_1d(to_value(frequency_dot, "Hz/s", "frequency_dot"))
    if values.ndim != 1 or not values.size or derivatives.ndim != 1 or not derivatives.size:
        raise ValueRangeError(
            f"frequency, frequency_dot: found shapes {values.shape} and {derivatives.shape}, expected a pair "
            "(low, high) or a list of frequencies, and a number or a list of derivatives"
        )
    if values.size == 2 and np.all(np.isfinite(values)):
        low, high = values
        if not 0 < low < high or not oversample > 0:
            raise ValueRangeError(
                f"frequency: found {low:g} to {high:g} Hz, oversample {oversample}; expected 0 < low < high "
                "and a positive oversample"
            )
        count = np.ceil((high - low) * timed.length * oversample) + 1
        if count > MAX_FREQUENCIES:
            raise ValueRangeError(
                f"frequency: {low:g} to {high:g} Hz in steps of 1 / ({oversample:g} x {timed.length:g} s) "
                f"are {count:g} frequencies, at most {MAX_FREQUENCIES} are searched at once; narrow the range"
            )
        values = np.linspace(low, high, int(count))
    return frequencies(values), derivatives


def _periodogram(
    ds: xr.Dataset,
    timed: Timed,
    grid: Frequencies,
    derivatives: np.ndarray,
    data: list[Data],
    values: dict[str, np.ndarray],
    expected: Callable[..., Any],
    level: float,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return the result of a search, without an axis of derivatives where there is one.

    `expected` gives how often a power is reached in noise, in one band at one derivative.
    """
    if not 0.0 < level < 1.0:
        raise ValueRangeError(f"level: found {level}, expected a probability between 0 and 1")
    power = values["power"]
    trials = derivatives.size * len(data)
    numbers = np.stack([trials * expected(power[..., k], k) for k in range(len(data))], axis=-1)
    values = {**values, "false_alarm": kernel.above_noise(numbers)}
    number = -np.log1p(-level) / trials
    dims: tuple[str, ...] = ("frequency_dot", "frequency", "energy")
    if derivatives.size == 1:
        dims, values = dims[1:], {name: array[0] for name, array in values.items()}
    thresholds = [kernel.threshold(partial(expected, band=k), number) for k in range(len(data))]
    variables = {
        "frequency": grid.values,
        "frequency_dot": derivatives if derivatives.size > 1 else derivatives[0],
        "energy": timed.energy_bounds.mean(axis=1),
        "energy_bnds": timed.energy_bounds,
        **{name: (dims, array) for name, array in values.items()},
        "threshold": np.array(thresholds),
        "noise": np.array([one.noise for one in data]),
    }
    return build(
        "periodogram",
        variables,
        kept_attrs(ds.attrs, *ORIGIN, "provenance") | attrs | {"epoch": timed.epoch, "level": level},
    )
