"""How long a burst lasts that is a sum of pulses, on plain arrays."""

from __future__ import annotations

import numpy as np

from batx.compiling import njit
from batx.kernels.pulse_posterior import MOST, Data, Priors, inside, sample_sums
from batx.kernels.pulses import pulse_sum

__all__ = ["central_intervals", "posterior_intervals", "stretches"]

#: steps of the chain that are dropped, and steps from one sample to the next, at least so many altogether;
#: all of them times half the number of pulses at which the chain begins
N_DROPPED, THINNING, LEAST_STEPS = 6000, 32, 32000
#: places at which a pulse is evaluated, in widths around its peak
PLACES = np.concatenate(
    [np.linspace(-5.0, -1.0, 40), np.linspace(-1.0, 3.0, 160)[1:], np.linspace(3.0, 16.0, 60)[1:]]
)


@njit(cache=True, nogil=True)
def central_intervals(
    samples: np.ndarray, numbers: np.ndarray, parts: np.ndarray, start: float, stop: float
) -> np.ndarray:
    """Return (sample, part, 2) the times between which sums of pulses have central parts of their fluence.

    `samples` is (sample, most, 4), of which the first `numbers` (sample,) are pulses; only fluence from
    `start` to `stop` counts.
    """
    found = np.empty((samples.shape[0], parts.size, 2))
    for k in range(samples.shape[0]):
        pulses = samples[k, : numbers[k]]
        grid = np.empty((pulses.shape[0], PLACES.size))
        for j in range(pulses.shape[0]):
            grid[j] = pulses[j, 1] + np.exp(pulses[j, 2]) * PLACES
        times = np.sort(np.minimum(np.maximum(grid.ravel(), start), stop))
        rate = pulse_sum(pulses, times)
        rise = np.zeros(times.size)
        for i in range(1, times.size):
            rise[i] = rise[i - 1] + 0.5 * (rate[i] + rate[i - 1]) * (times[i] - times[i - 1])
        for j in range(parts.size):
            for side in range(2):
                level = 0.5 * (1.0 - parts[j] if side == 0 else 1.0 + parts[j]) * rise[-1]
                i = min(max(np.searchsorted(rise, level), 1), times.size - 1)
                share = (level - rise[i - 1]) / max(rise[i] - rise[i - 1], 1e-300)
                found[k, j, side] = times[i - 1] + share * (times[i] - times[i - 1])
    return found


@njit(cache=True, nogil=True)
def stretches(lower: np.ndarray, width: np.ndarray, edges: np.ndarray, part: float) -> np.ndarray:
    """Return the first bins of stretches that are no longer than a part of their distance to any edge.

    Stretches have at least one bin, and none goes over a gap. `edges` (edge,) increase.
    """
    firsts = np.zeros(lower.size, np.int64)
    n, i = 0, 0
    while i < lower.size:
        firsts[n] = i
        n += 1
        begin, end = lower[i], lower[i] + width[i]
        i += 1
        while i < lower.size and lower[i] < end + 0.5 * width[i]:
            further = lower[i] + width[i]
            after = np.searchsorted(edges, begin + 0.5 * width[i], side="right")
            near = np.inf
            if after > 0:
                near = begin - edges[after - 1]
            if after < edges.size:
                near = min(near, edges[after] - further)
            if further - begin > part * near:
                break
            end = further
            i += 1
    return firsts[:n]


def first_pulses(edges: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Return a pulse (pulse, 4) for every block that is higher than its neighbours, the highest ones first.

    Parameters
    ----------
    edges
        (block + 1,) edges of the blocks of a burst.
    rate
        (block,) their mean rates, without background.
    """
    around = np.concatenate([[0.0], rate, [0.0]])
    peaks = np.flatnonzero((rate > 0) & (rate > around[:-2]) & (rate >= around[2:]))
    length = np.diff(edges)[peaks]
    pulses = np.column_stack(
        [np.log(rate[peaks]), edges[peaks] + 0.5 * length, np.log(length), np.zeros(peaks.size)]
    )
    return pulses[np.argsort(-pulses[:, 0])][: MOST // 2]


def posterior_intervals(
    data: Data,
    edges: np.ndarray,
    rate: np.ndarray,
    parts: np.ndarray,
    n_samples: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (sample, part, 2) central intervals of sums of pulses, and (sample,) the numbers of pulses.

    Parameters
    ----------
    data
        The light curve; fluence outside of it is not counted.
    edges, rate
        (block + 1,), (block,) the burst in blocks, where the chain begins and for the priors.
    parts
        (part,) fractions of the fluence.
    n_samples, random
        How many sums are drawn, with what.
    """
    start, stop = float(data.lower[0]), float(data.lower[-1] + data.width[-1])
    height, length = np.log(np.max(rate)) - 1.0, np.log(0.25 * (edges[-1] - edges[0]))
    noise = float(np.median(np.sqrt(data.width / data.information)))
    priors = Priors(np.array([height, 0.0, length, -2.0]), start, stop, noise)
    begin = inside(first_pulses(edges, rate), priors)
    longer = max(len(begin) // 2, 1)
    thinning = longer * max(THINNING, LEAST_STEPS // n_samples)
    samples, numbers = sample_sums(begin, data, priors, longer * N_DROPPED, thinning, n_samples, random)
    return central_intervals(samples, numbers, parts, start, stop), numbers
