"""Power spectra of light curves and events, averaged over segments, by the package stingray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ValueRangeError
from batx.kernels.periods import above_noise, survival
from batx.optional import optional
from batx.period_inputs import Timed, data_of, read_timed
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = ["power_spectrum"]

NORMS = {"leahy": "1", "frac": "1/Hz"}
#: shortest segment, bins
MIN_BINS = 4
#: part of a bin within which neighbouring bins touch and widths are the same
SAME = 1e-3


def power_spectrum(
    ds: xr.Dataset,
    *,
    segment: Any = None,
    dt: Any = None,
    norm: str = "leahy",
    energy: Any = None,
    gti: Any = None,
    noise: str = "measured",
    weighting: str = "auto",
    level: float = 0.01,
) -> xr.Dataset:
    """Return the power spectrum of a light curve or of events, averaged over segments without gaps.

    Needs the package stingray (``pip install 'batx[timing]'``).

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with bins of one width, every band by itself, or ``events``.
    segment
        Length (s) of the segments that are averaged; what is left at the ends of good time is not used. By
        default all data are one segment, which then must not have gaps.
    dt
        For events: width of the bins (s); the highest frequency is 1 / (2 `dt`).
    norm
        ``"leahy"``: counting noise is 2 (Leahy et al. 1983, ApJ 266, 160); ``"frac"``: the integral over
        frequencies is the squared fractional rms (Belloni & Hasinger 1990, A&A 230, 103), noise included.
    energy, gti, noise, weighting, level
        As for `batx.z_search`.

    Returns
    -------
    xarray.Dataset
        Kind ``periodogram``: ``power``, ``power_err`` = power/√m of m segments, ``probability`` and
        ``false_alarm`` (frequency, energy): of at least this power in white noise, at one frequency, and
        anywhere in the spectra; ``threshold`` (energy), the power at which that is `level`; ``noise``
        (energy), the white noise in units of counting noise. Attributes ``n_segments``, ``segment`` (s) and
        ``norm``. The data are read at once.

    Raises
    ------
    MissingPackageError
        If stingray is not installed.
    KindError, EmptySelectionError, GtiError
        As `batx.z_search`; also if no segment fits into good time.
    ValueRangeError
        If bins differ in width, data have gaps and no `segment` is given, a segment has fewer than 4 bins, or
        an argument is out of range.

    Notes
    -----
    In white noise m · power is distributed as `noise` times χ² of 2m degrees of freedom (Leahy
    normalisation). Red noise is not in the probabilities: search it with `batx.z_search` and a `baseline`.
    Values with errors are normalised with the mean of their variances.

    Examples
    --------
    >>> from batx.schema import build
    >>> time = np.arange(1000) + 0.5
    >>> counts = np.random.default_rng(1).poisson(100 + 20 * np.sin(2 * np.pi * 0.1 * time))
    >>> lc = build("lightcurve", {"time": time, "time_bnds": np.stack([time - 0.5, time + 0.5], -1),
    ...     "energy": [50.0], "energy_bnds": [[15.0, 350.0]], "counts": counts[:, None],
    ...     "exposure": np.ones(1000), "fracexp": np.ones(1000)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> found = power_spectrum(lc, segment=200.0)
    >>> found.attrs["n_segments"], round(float(found.frequency[found.power.values.argmax()]), 3)
    (5, 0.1)
    """
    fourier = optional("stingray.fourier", "timing", "power_spectrum")
    from scipy.stats import chi2

    if not 0.0 < level < 1.0:
        raise ValueRangeError(f"level: found {level}, expected a probability between 0 and 1")
    if norm not in NORMS:
        raise ValueRangeError(f"norm: found {norm!r}, expected one of {', '.join(map(repr, NORMS))}")
    timed = read_timed(ds, "power_spectrum", energy=energy, epoch=None, gti=gti, weighting=weighting)
    width = _width(timed, dt)
    runs = _runs(timed, width)
    n_bins = _bins_a_segment(runs, segment, width)
    data = data_of(timed, baseline=None, noise=noise, fastest=0.25 / width)
    spectra = [
        _averaged(fourier, _segments(timed, k, runs, n_bins, width), width, norm) for k in range(len(data))
    ]
    frequency, power, leahy, counts = (np.stack(values, axis=-1) for values in zip(*spectra, strict=True))
    m = int(counts[0])
    white = np.array([one.noise for one in data])
    single = survival(m * leahy / white, 2 * m)
    limit = (
        white / m * chi2.isf(-np.log1p(-level) / single.size, 2 * m) * power.sum(axis=0) / leahy.sum(axis=0)
    )
    dims = ("frequency", "energy")
    units = {"units": NORMS[norm]}
    variables = {
        "frequency": frequency[:, 0],
        "energy": timed.energy_bounds.mean(axis=1),
        "energy_bnds": timed.energy_bounds,
        "power": (dims, power, units),
        "power_err": (dims, power / np.sqrt(m), units),
        "probability": (dims, single),
        "false_alarm": (dims, above_noise(single.size * single)),
        "threshold": (("energy",), limit, units),
        "noise": white,
    }
    attrs = {
        "level": level,
        "method": "power_spectrum",
        "norm": norm,
        "n_segments": m,
        "segment": n_bins * width,
    }
    return build("periodogram", variables, kept_attrs(ds.attrs, *ORIGIN, "provenance") | attrs)


def _width(timed: Timed, dt: Any) -> float:
    """Return the width of the bins: that of the light curve, or the one asked for."""
    if timed.bins is None:
        width = 0.0 if dt is None else float(to_value(dt, "s", "dt"))
        if not width > 0 or not np.isfinite(width):
            raise ValueRangeError(f"dt: found {dt}, expected the width of the bins of events, s")
        return width
    if dt is not None:
        raise ValueRangeError("dt: a light curve has its bins already; re-bin it (rebin_time) instead")
    width = float(np.median(timed.bins.width))
    if np.any(np.abs(timed.bins.width - width) > SAME * width):
        raise ValueRangeError(
            f"power_spectrum: found bins of {timed.bins.width.min():g} to {timed.bins.width.max():g} s, "
            "expected one width; re-bin the light curve (rebin_time), or use z_search, which takes any bins"
        )
    return width


def _runs(timed: Timed, width: float) -> list[tuple[float, int]]:
    """Return the stretches without a gap: the first bin, or the start of events, and the number of bins.

    Bins of counts that are not fully exposed are gaps.
    """
    if timed.bins is None:
        return [(start, int((stop - start) / width + SAME)) for start, stop in zip(*timed.good, strict=True)]
    bins = timed.bins
    whole = np.ones(bins.lower.size, bool)
    if bins.errors is None:
        whole = bins.exposure > (1.0 - SAME) * bins.width
    rows = np.flatnonzero(whole)
    apart = (np.diff(rows) > 1) | (np.diff(bins.lower[rows]) > (1.0 + SAME) * width)
    return [(int(run[0]), run.size) for run in np.split(rows, np.flatnonzero(apart) + 1) if run.size]


def _bins_a_segment(runs: list[tuple[float, int]], segment: Any, width: float) -> int:
    longest = max((count for _, count in runs), default=0)
    if segment is None:
        if len(runs) != 1:
            raise ValueRangeError(
                f"power_spectrum: found data in {len(runs)} pieces, the longest of {longest * width:g} s; "
                "give the length of the segments to average, or use z_search, which takes data with gaps"
            )
        count = longest
    else:
        length = float(to_value(segment, "s", "segment"))
        count = int(length / width + 0.5) if np.isfinite(length) and length > 0 else 0
    if count < MIN_BINS:
        raise ValueRangeError(
            f"segment: found {count} bins of {width:g} s, expected at least {MIN_BINS}; take longer segments "
            "or finer bins"
        )
    if count > longest:
        raise EmptySelectionError(
            f"segment: found {count * width:g} s, longer than the {longest * width:g} s of the longest piece "
            "of good time without a gap; take shorter segments"
        )
    return count


def _segments(
    timed: Timed, band: int, runs: list[tuple[float, int]], n_bins: int, width: float
) -> Iterator[Any]:
    """Yield the values of each segment: counts, or values and their root mean square error."""
    for first, count in runs:
        for k in range(count // n_bins):
            if timed.bins is not None:
                rows = slice(int(first) + k * n_bins, int(first) + (k + 1) * n_bins)
                values = timed.bins.values[rows, band]
                variance = None if timed.bins.errors is None else timed.bins.errors[rows, band] ** 2
            else:
                edges = first + width * np.arange(k * n_bins, (k + 1) * n_bins + 1)
                rows = slice(*np.searchsorted(timed.times[band], edges[[0, -1]]))
                weights = timed.weights[band][rows]
                bin_of = np.searchsorted(edges, timed.times[band][rows], side="right") - 1
                values = np.bincount(bin_of, weights, n_bins)
                variance = np.bincount(bin_of, weights**2, n_bins) if timed.weighted else None
            yield values if variance is None else (values, np.full(n_bins, np.sqrt(variance.mean())))


def _averaged(
    fourier: Any, segments: Iterator[Any], width: float, norm: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return frequencies, power as asked for and in Leahy's normalisation, and the number of segments."""
    table = fourier.avg_pds_from_iterable(segments, width, norm="leahy", silent=True)
    if table is None:
        raise EmptySelectionError("power_spectrum: found no counts in any segment of a band")
    leahy, meta = np.asarray(table["power"]), table.meta
    power = leahy
    if norm != "leahy":
        if not meta["mean"] > 0:
            raise ValueRangeError(f"norm: found a mean of {meta['mean']:g}, which {norm!r} cannot divide by")
        unnormalised = np.asarray(table["unnorm_power"])
        power = fourier.normalize_periodograms(
            unnormalised, width, meta["n"], meta["mean"], n_ph=meta["nphots"], norm=norm
        )
    return np.asarray(table["freq"]), power, leahy, meta["m"]
