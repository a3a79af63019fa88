"""Excesses of counts over a background interpolated from before and after, and how often noise makes them.

Counts are in slots of equal length, numbered from 0. A *trial* is a foreground of `length` slots that begins
at a multiple of `step`, in one band; its background are windows of `back` slots, `guard` slots before and
after. The background in the foreground lies on the line through the two mean rates. Plain arrays only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = ["Scale", "cluster_rate", "excesses", "expected_clusters", "noise_factor", "significance"]

#: live part that foreground and background windows need
LEAST_LIVE = 0.5
#: trials of timescales further apart than this hardly ever exceed a threshold together (correlation 0.25)
RELATED = 8
#: mean of min(z², 4) of a standard normal distribution
_NORMAL_MEAN = 0.920537


class Scale(NamedTuple):
    """Lengths in slots of a timescale: foreground, step between foregrounds, guard, background window."""

    length: int
    step: int
    guard: int
    back: int


@njit(cache=True, nogil=True)
def significance(on: float, background: float, alpha: float) -> float:
    """Return the significance of `on` counts over a background of α × off counts, negative below it.

    √2 {n ln[(1 + α)/α · n/(n + m)] + m ln[(1 + α) m/(n + m)]}^½ with m = background/α: Li & Ma 1983, ApJ 272,
    317, eq. 17.

    Examples
    --------
    >>> round(significance(20.0, 10.0, 0.1), 4), significance(0.0, 0.0, 0.1)
    (2.6159, -0.0)
    """
    off = background / alpha
    total = on + off
    value = 0.0
    if on > 0.0:
        value += on * math.log((1.0 + alpha) / alpha * on / total)
    if off > 0.0:
        value += off * math.log((1.0 + alpha) * off / total)
    value = math.sqrt(2.0 * value) if value > 0.0 else 0.0
    return value if on > background else -value


@njit(cache=True, nogil=True)
def _windows(n: int, start: int, length: int, guard: int, back: int) -> tuple[int, int, int, int]:
    """Return first and end of the windows before and after a foreground, within 0 to n."""
    before = start - guard
    after = start + length + guard
    return max(before - back, 0), max(before, 0), min(after, n), min(after + back, n)


@njit(cache=True, nogil=True)
def excesses(
    counts: np.ndarray, live: np.ndarray, moment: np.ndarray, length: int, step: int, guard: int, back: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return significance, background and α of every trial of a timescale.

    Parameters
    ----------
    counts
        (band, slot + 1) sums of the counts in the slots before each.
    live
        (slot + 1,) the same of the exposure, in slots.
    moment
        (slot + 1,) the same of exposure × number of the slot.
    length, step, guard, back
        See `Scale`.

    Returns
    -------
    snr, background
        (band, trial); NaN where too little of a window is exposed.
    alpha
        (trial,) variance over expectation of the background.
    """
    n = live.size - 1
    size = max((n - length) // step + 1, 0)
    snr = np.full((counts.shape[0], size), np.nan)
    background = np.full((counts.shape[0], size), np.nan)
    alpha = np.full(size, np.nan)
    for k in range(size):
        i = k * step
        j = i + length
        a, b, c, d = _windows(n, i, length, guard, back)
        on, early, late = live[j] - live[i], live[b] - live[a], live[d] - live[c]
        if on < LEAST_LIVE * length or early < LEAST_LIVE * back or late < LEAST_LIVE * back:
            continue
        middle = (moment[j] - moment[i]) / on
        first, last = (moment[b] - moment[a]) / early, (moment[d] - moment[c]) / late
        share = (middle - first) / (last - first)
        w1, w2 = on * (1.0 - share) / early, on * share / late
        alpha[k] = (w1 * w1 * early + w2 * w2 * late) / (w1 * early + w2 * late)
        for e in range(counts.shape[0]):
            expected = w1 * (counts[e, b] - counts[e, a]) + w2 * (counts[e, d] - counts[e, c])
            background[e, k] = expected
            snr[e, k] = significance(counts[e, j] - counts[e, i], expected, alpha[k])
    return snr, background, alpha


@njit(cache=True, nogil=True)
def _least_counts(threshold: float, background: float, alpha: float) -> int:
    """Return the fewest counts that reach a significance."""
    low = int(background)
    high = low + 1
    while significance(float(high), background, alpha) < threshold:
        low, high = high, 2 * high - int(background)
    while high - low > 1:
        middle = (low + high) // 2
        if significance(float(middle), background, alpha) < threshold:
            low = middle
        else:
            high = middle
    return high


@njit(cache=True, nogil=True)
def _tilt(threshold: float, on: float, off: float, alpha: float) -> float:
    """Return θ at which a foreground of on·e^θ and a background of off·e^(−αθ) just reach a threshold."""
    low, high = 0.0, 1.0
    while significance(on * math.exp(high), alpha * off * math.exp(-alpha * high), alpha) < threshold:
        low, high = high, 2.0 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        reached = significance(on * math.exp(middle), alpha * off * math.exp(-alpha * middle), alpha)
        low, high = (middle, high) if reached < threshold else (low, middle)
    return high


@njit(cache=True, nogil=True)
def _tail(least: int, mean: float, random: np.random.Generator) -> tuple[float, int]:
    """Return ln P(N ≥ least) of a Poisson distribution, and a number drawn from that tail."""
    term, total, n = 1.0, 1.0, least
    while term > 1e-17 * total or n < mean:
        n += 1
        term *= mean / n
        total += term
    left = random.random() * total
    term, n = 1.0, least
    left -= term
    while left > 0.0:
        n += 1
        term *= mean / n
        left -= term
    return least * math.log(mean) - mean - math.lgamma(least + 1.0) + math.log(total), n


@njit(cache=True, nogil=True)
def _draw(
    cells: np.ndarray, level: np.ndarray, member: np.ndarray, on: tuple[int, int], off: np.ndarray,
    threshold: float, alpha: float, theta: float, random: np.random.Generator,
) -> float:  # fmt: skip
    """Fill cells with counts among which a trial exceeds its threshold; return the weight of the draw.

    Backgrounds are drawn with their mean lowered by e^(−αθ), then the foreground among the counts that
    exceed; the weight is the probability of these, times that of the background over that with which it was
    drawn.
    """
    thin = math.exp(-alpha * theta)
    found, expected, mean = 0.0, 0.0, 0.0
    for e in range(level.size):
        for k in range(cells.shape[1]):
            if on[0] <= k < on[1] and member[e]:
                cells[e, k] = 0
                mean += level[e]
            elif off[k] and member[e]:
                cells[e, k] = random.poisson(level[e] * thin)
                found += cells[e, k]
                expected += level[e]
            else:
                cells[e, k] = random.poisson(level[e])
    weight, drawn = _tail(_least_counts(threshold, alpha * found, alpha), mean, random)
    share = level.sum() - level[~member].sum()
    for e in range(level.size):
        if not member[e]:
            continue
        part = random.binomial(drawn, min(level[e] / share, 1.0))
        drawn -= part
        share -= level[e]
        for k in range(on[0], on[1]):
            cells[e, k] = random.binomial(part, 1.0 / (on[1] - k))
            part -= cells[e, k]
    return math.exp(weight + alpha * theta * found + expected * (thin - 1.0))


@njit(cache=True, nogil=True)
def _exceeding(
    sums: np.ndarray, members: np.ndarray, scales: np.ndarray, on: tuple[int, int], threshold: float
) -> int:
    """Return the number of trials that overlap a foreground and exceed the threshold."""
    found = 0
    for length, step, guard, back in scales:
        first = (on[0] - length) // step + 1
        last = (on[1] - 1) // step
        alpha = length / (2.0 * back)
        for k in range(first, last + 1):
            i = k * step
            j = i + length
            for band in range(members.shape[0]):
                n, m = 0, 0
                for e in range(sums.shape[0]):
                    if members[band, e]:
                        n += sums[e, j] - sums[e, i]
                        m += sums[e, i - guard] - sums[e, i - guard - back]
                        m += sums[e, j + guard + back] - sums[e, j + guard]
                if significance(float(n), alpha * m, alpha) >= threshold:
                    found += 1
    return found


@njit(cache=True, nogil=True)
def cluster_rate(
    scales: np.ndarray, which: int, members: np.ndarray, band: int, levels: np.ndarray, threshold: float,
    random: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return how many clusters of trials above a threshold each trial of a kind begins, in noise.

    E[1{trial exceeds} / K], with K the number of trials that exceed and overlap it, drawn where it exceeds
    and weighted (importance sampling); summed over all trials it is the expected number of clusters.

    Parameters
    ----------
    scales
        (scale, 4) int, in cells, see `Scale`; those whose trials belong to the cluster.
    which
        The scale of the trial.
    members
        (band, base) bool: the base bands that each band sums.
    band
        The band of the trial.
    levels
        (draw, base) expected counts in a cell.
    threshold
        Significance.
    random
        Random numbers.

    Returns
    -------
    numpy.ndarray
        (draw,) values whose mean is the result.
    """
    length, step, guard, back = scales[which]
    reach = 0
    for other in scales:
        reach = max(reach, other[0] + other[2] + other[3])
    period = max(scales[:, 1].max() // step, 1)
    origin = (reach // scales[:, 1].max() + 1) * scales[:, 1].max()
    size = origin + period * step + length + reach
    cells = np.zeros((levels.shape[1], size), dtype=np.int64)
    sums = np.zeros((levels.shape[1], size + 1), dtype=np.int64)
    alpha = length / (2.0 * back)
    made = np.zeros(levels.shape[0])
    for draw in range(levels.shape[0]):
        start = origin + step * random.integers(0, period)
        stop = start + length
        off = np.zeros(size, dtype=np.bool_)
        off[start - guard - back : start - guard] = True
        off[stop + guard : stop + guard + back] = True
        level = levels[draw][members[band]].sum()
        theta = _tilt(threshold, length * level, 2.0 * back * level, alpha)
        weight = _draw(
            cells, levels[draw], members[band], (start, stop), off, threshold, alpha, theta, random
        )
        for e in range(cells.shape[0]):
            for k in range(size):
                sums[e, k + 1] = sums[e, k] + cells[e, k]
        made[draw] = weight / max(_exceeding(sums, members, scales, (start, stop), threshold), 1)
    return made


def expected_clusters(
    scales: np.ndarray,
    members: np.ndarray,
    trials: np.ndarray,
    levels: np.ndarray,
    threshold: float,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Return the number of clusters of trials above a threshold that noise makes, and its error.

    Parameters
    ----------
    scales
        (scale, 4) int, in slots, see `Scale`.
    members
        (band, base) bool: the base bands that each band sums.
    trials
        (scale,) number of trials in each band.
    levels
        (scale, sample, base) expected counts in a slot at places of the curve.
    threshold
        Significance.
    draws
        Number of draws for all scales and bands together, about.
    seed
        Where the random numbers begin.
    """
    random = np.random.default_rng(seed)
    total, variance = 0.0, 0.0
    n_bands = members.shape[0]
    for k in map(int, np.flatnonzero(trials)):
        share = 0.5 / np.count_nonzero(trials) + 0.5 * trials[k] / trials.sum()
        size = max(int(draws * share / n_bands), 8)
        cell, near, which = _neighbours(scales, k)
        for band in range(n_bands):
            chosen = levels[k, (band * size + np.arange(size)) % levels.shape[1]] * cell
            made = cluster_rate(near, which, members, band, chosen, threshold, random)
            total += trials[k] * made.mean()
            variance += (trials[k] * made.std(ddof=1)) ** 2 / size
    return total, math.sqrt(variance)


def _neighbours(scales: np.ndarray, which: int) -> tuple[int, np.ndarray, int]:
    """Return the length of a cell, the scales whose trials may belong to a cluster, in cells, and which."""
    length = scales[:, 0]
    close = np.flatnonzero((length <= RELATED * length[which]) & (length[which] <= RELATED * length))
    cell = int(np.gcd.reduce(scales[close, :2].ravel()))
    lengths, rest = scales[close, :2] // cell, np.maximum(np.rint(scales[close, 2:] / cell), 1)
    return cell, np.concatenate([lengths, rest.astype(np.int64)], axis=1), int(np.searchsorted(close, which))


def noise_factor(snr: np.ndarray) -> float:
    """Return the width of the distribution of significances, which is 1 for Poisson noise, robustly.

    The φ at which the mean of min((z/φ)², 4) is that of a normal distribution (Huber's proposal 2): up to a
    fifth of the values may be part of bursts. Its relative error is 0.75/√n for n independent values.

    Examples
    --------
    >>> width = noise_factor(1.5 * np.random.default_rng(0).normal(size=10000))
    >>> abs(width - 1.5) < 3 * 1.5 * 0.0075
    True
    """
    squares = snr**2
    low, high = 0.0, float(np.sqrt(squares.max())) + 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = np.minimum(squares, 4.0 * middle**2).mean() > _NORMAL_MEAN * middle**2
        low, high = (middle, high) if above else (low, middle)
    return high
