"""Triggers: excesses of raw count rates over the background before and after, on many timescales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import Bins
from batx.count_curves import as_counts, intervals_of, read_counts
from batx.errors import EmptySelectionError, ValueRangeError
from batx.kernels import triggers as kernel
from batx.kernels.gti import overlap, union
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.trigger_inputs import (
    Bands,
    FalseAlarms,
    Stretch,
    bands_of,
    false_alarms,
    levels_of,
    scales_of,
    slot_of,
    stretches_of,
)
from batx.units import to_value

__all__ = ["rate_trigger"]

#: a trial is not looked at below this significance
LEAST = 2.5
#: counts of background and independent trials from which the width of the noise is measured
MEASURED_COUNTS, MEASURED_TRIALS = 20.0, 8.0
#: the noise is taken to be wider than Poisson's if by this part and so many errors
WIDER, SURE = 0.02, 3.0
#: places of the curve at which the level of the background is taken for the false-alarm rate
PLACES = 256


def rate_trigger(
    ds: xr.Dataset,
    *,
    false_rate: float | None = None,
    false_per_day: float | None = None,
    threshold: float | None = None,
    timescales: Any = None,
    longest: Any = 64.0,
    energy: Any = None,
    phases: int = 4,
    window: Any = 16.0,
    guard: float = 0.5,
    dispersion: float | str = "auto",
    gti: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """Return the excesses of a raw light curve over the background before and after, on many timescales.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, raw counts or rates in equal bins, in one or more bands; gaps are allowed.
    false_rate
        Fraction of curves of pure noise, as long as this one, that get a trigger. Default 0.01. No
        threshold is below 2.5.
    false_per_day
        In place of `false_rate`: false triggers in a day of exposure.
    threshold
        In place of both: the significance itself.
    timescales
        Lengths (s) of the foreground, multiples of the bins. By default one bin and its doublings.
    longest
        The longest of these (s), about.
    energy
        Bands that are searched, (lower, upper) pairs in keV or edges, each a sum of bands of the curve. By
        default each band and all sums of neighbours.
    phases
        Foregrounds begin at every such fraction of their length, at least one bin apart.
    window
        Length (s) of the background before and of that after, twice the timescale where that is longer.
    guard
        Time between foreground and background, in units of the timescale.
    dispersion
        Variance of counts in units of that of a Poisson distribution; ``"auto"``: measured for each stretch
        without gaps, timescale and band, and taken where it is surely above 1 (see Notes).
    gti
        Times that are searched, and used as background, in any form of good time.
    seed
        Where the random numbers of the false-alarm rate begin.

    Returns
    -------
    xarray.Dataset
        Kind ``triggers``, in order of time (trigger,): ``start``, ``stop`` (MET s) and ``timescale`` (s)
        of the most significant foreground, its band ``energy_low``, ``energy_high`` (keV), ``counts``,
        ``background``, ``background_err``, ``snr``; ``false_alarm_probability``: that noise makes one
        as significant anywhere in the curve, and ``false_alarms_per_day``; ``event_start``,
        ``event_stop`` and ``n_foregrounds``: all foregrounds above the threshold that overlap.
        ``noise_factor`` (stretch, scale, band), with ``stretch_start``, ``stretch_stop``, ``scale_length``,
        ``band_low``, ``band_high``; attributes ``threshold``, ``searched`` (s of exposure), ``trials``. The
        data are read at once.

    Raises
    ------
    ValueRangeError
        If the curve is mask-weighted, counts are negative, bins overlap or are out of order, bands or
        timescales are no sums of bands or bins, more than one limit is given, or it is out of range.
    RebinError
        If bins differ in width.
    EmptySelectionError
        If no foreground has a background on both sides.
    KindError, GtiError
        If `ds` is no light curve of one source, or `gti` is malformed.

    Notes
    -----
    The background is where the line through the mean rates of the two windows has the foreground, so that one
    that rises or falls steadily does not trigger; at least half of each window must be exposed. Significance:
    Li & Ma 1983, ApJ 272, 317, eq. 17, with α = variance over expectation of the background at a constant
    rate. The number of false triggers above it is the sum over all foregrounds of the probability to exceed
    it, each divided by the number of overlapping ones that exceed it as well; that is drawn for Poisson
    noise at the levels of this curve by importance sampling (`batx.kernels.triggers.cluster_rate`), to
    about 3 %.

    Rates made on board scatter more than Poisson counts (the 1 s rates by 1.4), and turning or flickering
    backgrounds do so on long timescales. The significances of each stretch without gaps, timescale and band
    are divided by their own robust width, ``noise_factor``, where it is above 1.02 by three times its error.
    It is measured with 20 counts and more in a foreground and 8 and more independent ones; elsewhere that of
    the next timescale is taken. It is measured a second time without the triggers that are found. The
    false-alarm rate then supposes that the tail of this noise is as steep as Poisson's.

    Examples
    --------
    >>> from batx.schema import build
    >>> rng = np.random.default_rng(2)
    >>> counts = rng.poisson(50, (400, 1)) + rng.poisson(30 * (abs(np.arange(400) - 200.5) < 4))[:, None]
    >>> edges = np.arange(401.0)
    >>> lc = build("lightcurve", {"time": edges[:-1] + 0.5, "energy": [50.0],
    ...     "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "counts": (("time", "energy"), counts),
    ...     "exposure": np.ones(400), "fracexp": np.ones(400)}, {"statistic": "poisson", "weighting": "none"})
    >>> found = rate_trigger(lc, longest=16)
    >>> found.start.values, found.timescale.values, found.snr.values.round(1)
    (array([198.]), array([8.]), array([10.6]))
    """
    asked = _limit(false_rate, false_per_day, threshold)
    if dispersion != "auto" and (isinstance(dispersion, str) or not 1.0 <= dispersion < np.inf):
        raise ValueRangeError(f"dispersion: found {dispersion!r}, expected 'auto' or a number from 1 up")
    bins = read_counts(ds, "rate_trigger")
    bands = bands_of(as_counts(ds, "rate_trigger"), energy)
    slot = slot_of(bins)
    longest, window = float(to_value(longest, "s", "longest")), float(to_value(window, "s", "window"))
    scales = scales_of(slot, timescales, longest, window, guard, phases)
    stretches = stretches_of(bins, slot, _searched_bins(bins, ds, gti), scales)
    search = _Search(slot, scales, bands, stretches, [_found(stretches, bands, scale) for scale in scales])
    if not search.trials.any():
        need = (scales[0, 0] + 2 * scales[0, 2] + scales[0, 3]) * slot
        have = max(one.live[-1] for one in stretches) * slot
        raise EmptySelectionError(
            f"rate_trigger: no foreground has a background on both sides, which takes {need:.3g} s without a "
            f"gap; the longest stretch has {have:.3g} s of exposure: make window shorter"
        )
    factor = _noise_factors(search.found, dispersion)
    rarity = None if asked[0] == "threshold" else _rarity(search, _number(asked, search.days), None, seed)
    limit = asked[1] if rarity is None else max(rarity.threshold(_number(asked, search.days)), LEAST)
    rows = _above(search, factor, limit)
    if rows["snr"].size and dispersion == "auto":
        factor = _noise_factors([_found(stretches, bands, scale, rows) for scale in scales], dispersion)
        rows = _above(search, factor, limit)
    if rarity is None and rows["snr"].size:
        rarity = _rarity(search, 0.0, limit, seed)
    number = np.zeros(0) if rarity is None else rarity.number(rows["snr"])
    return _dataset(ds, search, factor, limit, rows, number)


def _limit(
    false_rate: float | None, false_per_day: float | None, threshold: float | None
) -> tuple[str, float]:
    """Return which limit is asked for, and its value."""
    given = {"false_rate": false_rate, "false_per_day": false_per_day, "threshold": threshold}
    asked = {name: float(value) for name, value in given.items() if value is not None} or {"false_rate": 0.01}
    if len(asked) > 1:
        raise ValueRangeError(f"rate_trigger: found {' and '.join(asked)}, expected one of them")
    name, value = next(iter(asked.items()))
    least, most = {"false_rate": (0.0, 0.9), "false_per_day": (0.0, np.inf), "threshold": (LEAST, 40.0)}[name]
    if not (least < value < most or value == LEAST == least):
        raise ValueRangeError(f"{name}: found {value}, expected a number between {least:g} and {most:g}")
    return name, value


def _number(asked: tuple[str, float], days: float) -> float:
    """Return the number of false triggers in the curve that is asked for."""
    name, value = asked
    return -float(np.log1p(-value)) if name == "false_rate" else value * days


def _searched_bins(bins: Bins, ds: xr.Dataset, gti: Any) -> np.ndarray:
    """Return which bins are exposed and in good time."""
    kept = bins.exposure > 0
    if gti is not None:
        inside = overlap(bins.lower, bins.lower + bins.width, *intervals_of(gti, ds, None, "gti"))
        kept &= inside > (1 - 1e-3) * bins.width
    return kept


@dataclass(frozen=True)
class _Found:
    """Trials of one timescale.

    Attributes
    ----------
    places
        For each stretch: numbers of the trials that have a background.
    width
        (stretch, band) of the noise; NaN where there are too few counts or trials.
    candidates
        Of trials above `LEAST`, columns: stretch, first slot, end, band, significance, counts, background, α.
    """

    places: list[np.ndarray]
    width: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True)
class _Search:
    """What was searched: length of a slot (s), timescales, bands, stretches, and trials of each timescale."""

    slot: float
    scales: np.ndarray
    bands: Bands
    stretches: list[Stretch]
    found: list[_Found]

    @property
    def trials(self) -> np.ndarray:
        """Number of trials in each band (scale,)."""
        return np.array([sum(places.size for places in one.places) for one in self.found])

    @property
    def days(self) -> float:
        """Exposure searched on the shortest timescale."""
        return float(self.trials[0] * self.scales[0, 1] * self.slot) / 86400.0


def _found(
    stretches: Sequence[Stretch], bands: Bands, scale: np.ndarray, known: dict[str, np.ndarray] | None = None
) -> _Found:
    """Return the trials of one timescale; the noise is measured off what is `known` of triggers."""
    length, step, guard, back = (int(value) for value in scale)
    places, width, candidates = [], [], []
    for number, one in enumerate(stretches):
        sums = bands.members.astype(np.float64) @ one.counts
        snr, background, alpha = kernel.excesses(sums, one.live, one.moment, length, step, guard, back)
        places.append(np.flatnonzero(np.isfinite(alpha)))
        quiet = places[-1] if known is None else _quiet(places[-1], one, scale, known)
        width.append(_widths(snr[:, quiet], background[:, quiet], step / length))
        band, k = np.nonzero(snr >= LEAST)
        first = k * step
        counts = sums[band, first + length] - sums[band, first]
        candidates.append(
            np.column_stack(
                [np.full(k.size, number), first, first + length, band, snr[band, k], counts]
                + [background[band, k], alpha[k]]
            )
        )
    return _Found(places, np.stack(width), np.concatenate(candidates))


def _quiet(
    places: np.ndarray, stretch: Stretch, scale: np.ndarray, known: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the trials of which neither foreground nor background overlaps a trigger."""
    length, step, guard, back = scale
    start, stop = (np.searchsorted(stretch.start, known[name]) for name in ("event_start", "event_stop"))
    first = places * step - guard - back
    end = places * step + length + guard + back
    return places[np.searchsorted(stop, first, side="right") == np.searchsorted(start, end, side="left")]


def _widths(snr: np.ndarray, background: np.ndarray, share: float) -> np.ndarray:
    """Return the width of the noise in each band, 1 where not surely wider, NaN where not known.

    `share` is how many independent trials each trial counts for.
    """
    made = np.full(len(snr), np.nan)
    independent = snr.shape[1] * share
    if independent < MEASURED_TRIALS:
        return made
    least = 1.0 + WIDER + SURE * 0.75 / np.sqrt(independent)
    for row in np.flatnonzero(np.median(background, axis=1) >= MEASURED_COUNTS):
        width = kernel.noise_factor(snr[row])
        made[row] = width if width > least else 1.0
    return made


def _noise_factors(found: Sequence[_Found], dispersion: float | str) -> np.ndarray:
    """Return what significances are divided by (scale, stretch, band); if unknown, as the next timescale."""
    factor = np.stack([one.width for one in found])
    if dispersion != "auto":
        return np.full(factor.shape, np.sqrt(float(dispersion)))
    number = np.arange(len(factor))
    for column in np.moveaxis(factor.reshape(len(factor), -1), 1, 0):
        known = np.flatnonzero(np.isfinite(column))
        nearest = np.abs(known - number[:, np.newaxis]).argmin(axis=1) if known.size else None
        column[:] = 1.0 if nearest is None else column[known[nearest]]
    return factor


def _rarity(search: _Search, number: float, at: float | None, seed: int) -> FalseAlarms:
    """Return how rare triggers are in noise with the levels of this curve (see `false_alarms`)."""
    scales, trials = search.scales, search.trials
    levels = np.ones((len(scales), PLACES, search.bands.members.shape[1]))
    for k in map(int, np.flatnonzero(trials)):
        reach = int(scales[:, 3].max())
        levels[k] = levels_of(search.stretches, scales[k], reach, search.found[k].places, PLACES, seed)
    return false_alarms(scales, search.bands.members, trials, levels, number, at, seed)


def _above(search: _Search, factor: np.ndarray, limit: float) -> dict[str, np.ndarray]:
    """Return the most significant trial of each group that overlaps, above the limit, in order of time."""
    found = search.found
    columns = np.concatenate([one.candidates for one in found])
    scale = np.repeat(np.arange(len(found)), [len(one.candidates) for one in found])
    band = columns[:, 3].astype(int)
    width = factor[scale, columns[:, 0].astype(int), band]
    snr = columns[:, 4] / width
    kept = snr >= limit
    columns, scale, band, width, snr = columns[kept], scale[kept], band[kept], width[kept], snr[kept]
    start, stop = np.empty(snr.size), np.empty(snr.size)
    for index, one in enumerate(search.stretches):
        here = columns[:, 0] == index
        start[here], stop[here] = one.start[columns[here, 1:3].astype(int)].T
    event_start, event_stop = union(start, stop)
    event = np.searchsorted(event_start, start, side="right") - 1
    order = np.lexsort([-snr, event])
    best = order[np.flatnonzero(np.diff(event[order], prepend=-1))]
    return {
        "start": start[best],
        "stop": stop[best],
        "scale": scale[best],
        "band": band[best],
        "snr": snr[best],
        "counts": columns[best, 5],
        "background": columns[best, 6],
        "background_err": np.sqrt(columns[best, 6] * columns[best, 7]) * width[best],
        "event_start": event_start,
        "event_stop": event_stop,
        "n_foregrounds": np.bincount(event, minlength=event_start.size),
    }


def _dataset(
    ds: xr.Dataset,
    search: _Search,
    factor: np.ndarray,
    limit: float,
    rows: dict[str, np.ndarray],
    number: np.ndarray,
) -> xr.Dataset:
    """Return the triggers; `number` is how many false ones are as significant as each."""
    bands, lengths = search.bands, search.scales[:, 0] * search.slot
    made = {name: values for name, values in rows.items() if name not in ("scale", "band")}
    made |= {
        "timescale": lengths[rows["scale"]],
        "energy_low": bands.bounds[rows["band"], 0],
        "energy_high": bands.bounds[rows["band"], 1],
        "false_alarm_probability": -np.expm1(-number),
        "false_alarms_per_day": number / search.days,
    }
    variables: dict[str, Any] = {name: (("trigger",), values) for name, values in made.items()}
    variables |= {
        "noise_factor": (("stretch", "scale", "band"), factor.swapaxes(0, 1)),
        "stretch_start": (("stretch",), [one.start[0] for one in search.stretches]),
        "stretch_stop": (("stretch",), [one.start[-1] for one in search.stretches]),
        "scale_length": (("scale",), lengths),
        "band_low": (("band",), bands.bounds[:, 0]),
        "band_high": (("band",), bands.bounds[:, 1]),
    }
    kept = kept_attrs(ds.attrs, *ORIGIN, "provenance", "history")
    attrs = with_history(kept, f"batx.rate_trigger: {number.size} above {limit:.3f}")
    trials = float(search.trials.sum() * len(bands.members))
    return build(
        "triggers",
        variables,
        attrs | {"threshold": limit, "searched": search.days * 86400.0, "trials": trials},
    )
