"""Surges of soft counts that last some hundredths of a second: where they are in time.

Counts are taken in bins of 16 ms in a low and a high band. Two searches: the public one, to the letter, and
one whose background is local and does not notice what stands out. Formulae: algorithms, section 2.11.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["AFTER", "BEFORE", "BIN", "Surges", "expected_counts", "find_surges", "joined", "public_windows"]

#: width of the bins, s
BIN = 0.016

#: a window reaches from this long before the start of its bin to this long after it, s
BEFORE, AFTER = 0.024, 0.040

#: numbers of bins that are looked at together
_WIDTHS = (1, 2, 4)

#: bins next to a surge belong to it if they stand out by this
_NEIGHBOUR = 3.0

#: windows of bins that are sorted at once
_AT_ONCE = 8192


class Surges(NamedTuple):
    """Surges in order of time; `counts` and `expected` are of the bins that gave `snr`, `(surge, 2)`.

    Attributes
    ----------
    peak
        Start of the highest bin.
    start, stop
        Ends of the windows of all its bins, joined.
    snr
        Significance in the low and in the high band, `(surge, 2)`.
    """

    peak: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    snr: np.ndarray
    counts: np.ndarray
    expected: np.ndarray

    @classmethod
    def none(cls) -> Surges:
        """Return an empty list."""
        return cls(*(np.zeros(0) for _ in range(3)), *(np.zeros((0, 2)) for _ in range(3)))


def joined(parts: list[Surges]) -> Surges:
    """Return the surges of several intervals as one list, in their order."""
    return (
        Surges(*(np.concatenate(fields) for fields in zip(*parts, strict=True))) if parts else Surges.none()
    )


def public_windows(
    low: np.ndarray, high: np.ndarray, start: float, stop: float, snr: float = 10.0, ratio: float = 3.0
) -> Surges:
    """Return the windows of the public procedure in one interval: one a bad bin, not joined.

    Bins have the edges ``arange(start, stop + 8 ms, 16 ms)``; z = (N - mean) / standard deviation, both of
    all bins; a bin is bad where z_low > `snr` and z_low / |z_high| > `ratio`.

    Parameters
    ----------
    low, high
        Times of the events in the two bands, in any order.
    start, stop
        The interval.

    Examples
    --------
    >>> calm = np.arange(0.0, 8.0, 0.0043)
    >>> surge = 4.001 + np.arange(60) / 1e4
    >>> public_windows(np.append(calm, surge), calm, 0.0, 8.0).start.round(3)
    array([3.976])
    """
    edges = np.arange(start, stop + BIN / 2, BIN)
    if edges.size < 2:
        return Surges.none()
    counts = np.stack([np.histogram(times, edges)[0] for times in (low, high)], axis=-1)
    mean = counts.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (counts - mean) / counts.std(axis=0)
        bad = np.flatnonzero((z[:, 0] > snr) & (z[:, 0] / np.abs(z[:, 1]) > ratio))
    peak = edges[bad]
    return Surges(peak, peak - BEFORE, peak + AFTER, z[bad], counts[bad], np.tile(mean, (bad.size, 1)))


def find_surges(
    low: np.ndarray,
    high: np.ndarray,
    start: float,
    stop: float,
    snr: float = 8.0,
    ratio: float = 3.0,
    window: float = 1.0,
) -> Surges:
    """Return the surges in one interval, each once.

    One, two or four neighbouring bins are bad where z_low ≥ `snr` and z_high ≤ z_low / `ratio`. The
    background is that of the bins around (`expected_counts`), z the signed square root of twice the log
    likelihood ratio of Poisson counts, in units of its spread where that exceeds 1. Of bad bins those count
    that stand out themselves, with their neighbours that do. Bins whose windows overlap make one surge.

    Parameters
    ----------
    low, high
        Times of the events in the two bands, in any order.
    start, stop
        The interval.
    window
        Length of time that the background is taken from.

    Examples
    --------
    >>> calm = np.arange(0.0, 8.0, 0.0043)
    >>> surge = 4.001 + np.arange(60) / 2e3
    >>> found = find_surges(np.append(calm, surge), calm, 0.0, 8.0)
    >>> found.start.round(3), found.stop.round(3)
    (array([3.976]), array([4.056]))
    """
    n = int(np.ceil((stop - start) / BIN - 1e-6))
    if n < 2 * max(_WIDTHS):
        return Surges.none()
    width = np.full(n, BIN)
    width[-1] = stop - start - BIN * (n - 1)
    counts = np.stack([_binned(times, start, stop, n) for times in (low, high)], axis=-1)
    expected = np.stack([expected_counts(band, width / BIN, int(window / BIN)) for band in counts.T], axis=-1)
    scale = [_spread(significance(*pair)) for pair in zip(counts.T, expected.T, strict=True)]
    alone = significance(counts, expected)[:, 0] / scale[0]
    bad = np.zeros(n, bool)
    best = np.full(n, -np.inf)
    numbers = np.zeros((n, 3, 2))
    for size in _WIDTHS:
        sums, means = _sums(counts, size), _sums(expected, size)
        z = significance(sums, means) / scale
        found = np.flatnonzero((z[:, 0] >= snr) & (z[:, 1] <= z[:, 0] / ratio))
        for first in found:
            bins = np.arange(first, first + size)
            bins = bins[alone[bins] >= _NEIGHBOUR]
            bad[bins] = True
            higher = bins[z[first, 0] > best[bins]]
            best[higher] = z[first, 0]
            numbers[higher] = z[first], sums[first], means[first]
    return _surges(start, _with_neighbours(bad, alone >= _NEIGHBOUR), alone, best, numbers)


def expected_counts(counts: np.ndarray, exposure: np.ndarray, window: int) -> np.ndarray:
    """Return the counts expected in each bin from the `window` bins around it, without those that stand out.

    The mean of the bins whose counts are at most 3 √(m + 1) above the median m; at the ends, of the first
    and last `window` bins. At least half a count in all of them.

    Parameters
    ----------
    counts
        `(bin,)`.
    exposure
        `(bin,)` length of each bin in units of the usual one.
    window
        Number of bins.

    Examples
    --------
    >>> expected_counts(np.array([2, 3, 90, 2, 3]), np.ones(5), 5)
    array([2.5, 2.5, 2.5, 2.5, 2.5])
    """
    n = counts.size
    window = min(max(window, 1), n)
    views = np.lib.stride_tricks.sliding_window_view(counts / exposure, window)
    rate = np.empty(len(views))
    for first in range(0, len(views), _AT_ONCE):
        part = views[first : first + _AT_ONCE]
        middle = np.median(part, axis=1, keepdims=True)
        calm = part <= middle + 3.0 * np.sqrt(middle + 1.0)
        rate[first : first + _AT_ONCE] = np.where(calm, part, 0.0).sum(axis=1) / calm.sum(axis=1)
    place = np.clip(np.arange(n) - window // 2, 0, len(views) - 1)
    return np.maximum(rate[place], 0.5 / window) * exposure


def significance(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return ±√(2 (N ln(N / M) - N + M)): how far Poisson counts are from their expectation.

    Examples
    --------
    >>> significance(np.array([100, 169]), np.array([100.0, 100.0])).round(2)
    array([0.  , 6.27])
    """
    ratio = np.maximum(counts, 1e-300) / expected
    return np.sign(counts - expected) * np.sqrt(
        np.maximum(2.0 * (counts * np.log(ratio) - counts + expected), 0.0)
    )


def _binned(times: np.ndarray, start: float, stop: float, n: int) -> np.ndarray:
    inside = times[(times >= start) & (times < stop)]
    return np.bincount(np.minimum(((inside - start) / BIN).astype(np.int64), n - 1), minlength=n)


def _sums(values: np.ndarray, size: int) -> np.ndarray:
    """Return the sums of `size` neighbours."""
    return np.lib.stride_tricks.sliding_window_view(values, size, axis=0).sum(axis=-1)


def _spread(z: np.ndarray) -> float:
    """Return the spread of significances by their median deviation; at least 1."""
    return max(1.0, float(1.4826 * np.median(np.abs(z - np.median(z)))))


def _with_neighbours(bad: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the runs of `high` bins in which there is a bad one, as the number of its run, -1 elsewhere."""
    high = high | bad
    run = np.cumsum(np.diff(high.astype(int), prepend=0) == 1) - 1
    seen = np.zeros(run[-1] + 2, bool)
    seen[run[bad]] = True
    return np.where(high & seen[run], run, -1)


def _surges(
    start: float, run: np.ndarray, alone: np.ndarray, best: np.ndarray, numbers: np.ndarray
) -> Surges:
    """Return the surges that runs of bins make."""
    bins = np.flatnonzero(run >= 0)
    if not bins.size:
        return Surges.none()
    apart = np.flatnonzero(np.diff(bins) * BIN > BEFORE + AFTER + 1e-9) + 1
    found = []
    for group in np.split(bins, apart):
        peak = group[np.argmax(alone[group])]
        snr, counts, expected = numbers[group[np.argmax(best[group])]]
        edges = start + BIN * np.array([peak, group[0], group[-1]])
        found.append((edges[0], edges[1] - BEFORE, edges[2] + AFTER, snr, counts, expected))
    return Surges(*(np.array(field) for field in zip(*found, strict=True)))
