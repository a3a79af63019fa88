"""The posterior of a burst as a sum of pulses whose number is not known, on plain arrays.

The pulses are those of `batx.kernels.pulses`. Their posterior is sampled by reversible jumps (Green 1995,
Biometrika 82, 711): a step moves one pulse, adds or drops one, splits one in two or merges two, so that sums
of few and of many pulses come as often as the data and the priors ask for. Each pulse is drawn from the
priors on its own, its peak evenly over the curve; a further pulse is `FURTHER` times as likely as none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from batx.compiling import njit
from batx.kernels.pulses import N_PARAMETERS, shape_of

__all__ = ["Data", "Priors", "inside", "sample_sums"]

#: most pulses, and the prior odds of a further one
MOST, FURTHER = 24, 0.25
#: standard deviations of the priors of ln A, ln w and of the logarithm of the odds of κ; none for the peak
SPREAD = np.array([1.5, np.inf, 1.5, 2.0])
#: parameters this many standard deviations from the centre are not tried
LARGEST = 6.0
#: pulses below exp(−FAINT) of their peak are 0
FAINT = 25.0
#: standard deviations of what a pulse is split by: distance in widths, ln width, logarithm of the odds of κ
SPLIT = np.array([1.0, 0.5, 1.0])
#: how much wider a merged pulse is: ½ ln(1 + WIDER f (1 − f) d²), f the share of the first, d the distance
WIDER = 3.0
#: shares of the steps that add or drop a pulse, split or merge, and change the background
JUMPS, SPLITS, LEVELS = 0.15, 0.15, 0.05
#: largest step, in standard deviations of one pulse with all others fixed
STRIDE = 1.5
#: bins narrower than this part of a pulse have its height at their middle; in others it is integrated
NARROW = 0.1
#: abscissae of Gauss and Legendre in (0, 1)
NODES = (0.5 - 0.5 / math.sqrt(3.0), 0.5 + 0.5 / math.sqrt(3.0))


class Data(NamedTuple):
    """A light curve.

    Attributes
    ----------
    lower, width
        (bin,) s.
    rate
        (bin,) without background; for counts with it.
    weight
        (bin,) 1/error²; for counts the exposure (s).
    information
        (bin,) 1/error², about, also for counts.
    base
        (bin,) background of counts.
    counted
        Whether these are counts.
    lines, line_errors
        (line, bin), (line,) rates of background that may have to be added, as multiples drawn from unit
        normals times the error.
    """

    lower: np.ndarray
    width: np.ndarray
    rate: np.ndarray
    weight: np.ndarray
    information: np.ndarray
    base: np.ndarray
    counted: bool
    lines: np.ndarray
    line_errors: np.ndarray


class Priors(NamedTuple):
    """Centres of the priors (4,), length of the interval of peaks, and rate of noise × √s."""

    centre: np.ndarray
    start: float
    stop: float
    noise: float


class State(NamedTuple):
    """Pulses (MOST, 4), their rates (MOST, bin), spans (MOST, 2), roots of information (MOST, 4, 4), sums.

    `model` (bin,) is the sum of everything, `levels` (line,) the background.
    """

    pulses: np.ndarray
    drawn: np.ndarray
    spans: np.ndarray
    roots: np.ndarray
    model: np.ndarray
    levels: np.ndarray


@njit(cache=True, nogil=True)
def _draw(pulse: np.ndarray, data: Data, out: np.ndarray, span: np.ndarray) -> None:
    """Write the mean rate of a pulse in each bin; `span` becomes the bins [first, last) where it is not 0."""
    out[span[0] : span[1]] = 0.0
    height = math.exp(pulse[0])
    scale, mu, s = shape_of(pulse)
    reach = 0.5 * FAINT / mu
    far = 1.0 + reach + math.sqrt(reach * (reach + 2.0))
    lower, width = data.lower, data.width
    span[0] = max(np.searchsorted(lower, pulse[1] + s * (1.0 / far - 1.0), side="right") - 1, 0)
    span[1] = max(np.searchsorted(lower, pulse[1] + s * (far - 1.0), side="left"), span[0])
    for i in range(span[0], span[1]):
        if width[i] < NARROW * scale:
            out[i] = height * _height(1.0 + (lower[i] + 0.5 * width[i] - pulse[1]) / s, mu)
            continue
        n_parts = min(int(3.0 * width[i] / scale) + 1, 8)
        part = width[i] / n_parts
        total = 0.0
        for k in range(n_parts):
            for node in NODES:
                total += _height(1.0 + (lower[i] + (k + node) * part - pulse[1]) / s, mu)
        out[i] = height * total / (2.0 * n_parts)


@njit(cache=True, nogil=True)
def _height(v: float, mu: float) -> float:
    """Return the height of a pulse in units of its peak, v = 1 + (time since the peak)/s."""
    return math.exp(-mu * (v + 1.0 / v - 2.0)) if v > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _root(pulse: np.ndarray, data: Data, priors: Priors, drawn: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Return the lower root of the information on a pulse with all others fixed.

    `drawn` and `span` are those of the pulse; its slope in a bin is taken to be that in the middle.
    """
    _, mu, s = shape_of(pulse)
    kappa = (1.0 + 4.0 * mu) ** -0.5
    by_mu = -0.5 * (1.0 - kappa) / kappa**2
    by_s = 1.0 - kappa + by_mu / mu
    information = np.zeros((N_PARAMETERS, N_PARAMETERS))
    slope = np.ones(N_PARAMETERS)
    for i in range(span[0], span[1]):
        v = 1.0 + (data.lower[i] + 0.5 * data.width[i] - pulse[1]) / s
        if v <= 0.0:
            continue
        by_v = -mu * (1.0 - 1.0 / (v * v))
        slope[1] = -by_v / s
        slope[2] = -by_v * (v - 1.0)
        slope[3] = slope[2] * by_s - (v + 1.0 / v - 2.0) * by_mu
        weight = data.information[i] * drawn[i] * drawn[i]
        for j in range(N_PARAMETERS):
            for k in range(j + 1):
                information[j, k] += weight * slope[j] * slope[k]
    for j in range(N_PARAMETERS):
        information[j, j] += SPREAD[j] ** -2.0
    information[1, 1] += 12.0 / (priors.stop - priors.start) ** 2
    for j in range(N_PARAMETERS):  # information becomes its root
        for k in range(j + 1):
            total = information[j, k]
            for i in range(k):
                total -= information[j, i] * information[k, i]
            information[j, k] = math.sqrt(max(total, 1e-12)) if j == k else total / information[k, k]
    return information


def inside(pulses: np.ndarray, priors: Priors) -> np.ndarray:
    """Return pulses (pulse, 4) moved to where the priors are not 0."""
    reach = 0.9 * LARGEST * np.where(np.isfinite(SPREAD), SPREAD, 1.0)
    moved = np.clip(pulses, priors.centre - reach, priors.centre + reach)
    edge = 1e-6 * (priors.stop - priors.start)
    moved[:, 1] = np.clip(pulses[:, 1], priors.start + edge, priors.stop - edge)
    return moved


@njit(cache=True, nogil=True)
def _log_prior(pulse: np.ndarray, priors: Priors) -> float:
    """Return the logarithm of the prior density of a pulse."""
    if not priors.start < pulse[1] < priors.stop:
        return -np.inf
    total = -math.log(priors.stop - priors.start)
    for j in (0, 2, 3):
        total += _log_normal(pulse[j] - priors.centre[j], SPREAD[j])
    return total


@njit(cache=True, nogil=True)
def _log_normal(apart: float, spread: float) -> float:
    """Return the logarithm of a normal density, that is cut off at `LARGEST`."""
    if abs(apart) > LARGEST * spread:
        return -np.inf
    return -0.5 * (apart / spread) ** 2 - math.log(spread) - 0.5 * math.log(2.0 * math.pi)


@njit(cache=True, nogil=True)
def _loss(data: Data, model: np.ndarray, change: np.ndarray, first: int, last: int) -> float:
    """Return by how much −2 ln likelihood grows if `change` is added to the model in bins [first, last)."""
    total = 0.0
    for i in range(first, last):
        if data.counted:
            before = max(model[i] + data.base[i], 1e-9)
            after = max(model[i] + change[i] + data.base[i], 1e-9)
            total += 2.0 * data.weight[i] * (after - before - data.rate[i] * math.log(after / before))
        else:
            total += data.weight[i] * change[i] * (change[i] - 2.0 * (data.rate[i] - model[i]))
    return total


@njit(cache=True, nogil=True)
def _exchange(
    state: State, data: Data, old: np.ndarray, new: np.ndarray, new_spans: np.ndarray, change: np.ndarray
) -> tuple[float, int, int]:
    """Write what replacing pulses number `old` by the curves `new` changes; return its loss and bins."""
    first, last = data.rate.size, 0
    for k in old:
        first, last = min(first, state.spans[k, 0]), max(last, state.spans[k, 1])
    for k in range(new.shape[0]):
        first, last = min(first, new_spans[k, 0]), max(last, new_spans[k, 1])
    change[first:last] = 0.0
    for k in old:
        change[first:last] -= state.drawn[k, first:last]
    for k in range(new.shape[0]):
        change[first:last] += new[k, first:last]
    return _loss(data, state.model, change, first, last), first, last


@njit(cache=True, nogil=True)
def _put(state: State, data: Data, priors: Priors, k: int, pulse: np.ndarray) -> None:
    """Make a pulse the k-th, with its curve and information."""
    state.pulses[k] = pulse
    _draw(pulse, data, state.drawn[k], state.spans[k])
    state.roots[k] = _root(pulse, data, priors, state.drawn[k], state.spans[k])


@njit(cache=True, nogil=True)
def _drop(state: State, k: int, n: int) -> None:
    """Put the last of n pulses in place of the k-th."""
    last = n - 1
    if k != last:
        state.pulses[k] = state.pulses[last]
        state.drawn[k] = state.drawn[last]
        state.spans[k] = state.spans[last]
        state.roots[k] = state.roots[last]
    state.drawn[last] = 0.0
    state.spans[last] = 0


@njit(cache=True, nogil=True)
def _move(
    state: State,
    data: Data,
    priors: Priors,
    n: int,
    random: np.random.Generator,
    work: np.ndarray,
    spans: np.ndarray,
    change: np.ndarray,
) -> None:
    """Try to move one pulse by a normal step of the size of its errors with all others fixed."""
    k = int(n * random.random())
    stride = STRIDE * random.random()
    root = state.roots[k]
    length, step = 0.0, np.empty(N_PARAMETERS)
    for j in range(N_PARAMETERS - 1, -1, -1):  # rootᵀ step = normals
        normal = random.standard_normal()
        length += normal * normal
        for i in range(j + 1, N_PARAMETERS):
            normal -= root[i, j] * step[i]
        step[j] = normal / root[j, j]
    pulse = state.pulses[k] + stride * step
    prior = _log_prior(pulse, priors)
    if prior == -np.inf:
        return
    _draw(pulse, data, work[0], spans[0])
    loss, first, last = _exchange(state, data, np.array([k]), work[:1], spans[:1], change)
    gain = prior - _log_prior(state.pulses[k], priors) - 0.5 * loss + 0.5 * length
    if gain < -40.0:
        return
    other = _root(pulse, data, priors, work[0], spans[0])
    for j in range(N_PARAMETERS):
        back = 0.0
        for i in range(j, N_PARAMETERS):
            back += other[i, j] * step[i]
        gain += math.log(other[j, j] / root[j, j]) - 0.5 * back * back
    if math.log(random.random()) < gain:
        state.model[first:last] += change[first:last]
        state.pulses[k] = pulse
        state.drawn[k, state.spans[k, 0] : state.spans[k, 1]] = 0.0
        state.drawn[k, spans[0, 0] : spans[0, 1]] = work[0, spans[0, 0] : spans[0, 1]]
        state.spans[k] = spans[0]
        state.roots[k] = other


@njit(cache=True, nogil=True)
def _jump(
    state: State,
    data: Data,
    priors: Priors,
    n: int,
    random: np.random.Generator,
    work: np.ndarray,
    spans: np.ndarray,
    change: np.ndarray,
) -> int:
    """Try to add a pulse that is hardly significant, or to drop one; return how many there are."""
    if random.random() < 0.5:
        if n == MOST:
            return n
        pulse = np.empty(N_PARAMETERS)
        pulse[1] = priors.start + (priors.stop - priors.start) * random.random()
        for j in (2, 3):
            pulse[j] = priors.centre[j] + SPREAD[j] * random.standard_normal()
        faint = math.log(3.0 * priors.noise) - 0.5 * pulse[2]
        pulse[0] = faint + random.standard_normal()
        odds = _log_prior(pulse, priors) - _log_added(pulse, faint, priors)
        if not odds > -np.inf:
            return n
        _draw(pulse, data, work[0], spans[0])
        loss, first, last = _exchange(state, data, np.empty(0, np.int64), work[:1], spans[:1], change)
        if math.log(random.random()) < odds + math.log(FURTHER) - 0.5 * loss:
            state.model[first:last] += change[first:last]
            _put(state, data, priors, n, pulse)
            return n + 1
        return n
    if n == 1:
        return n
    k = int(n * random.random())
    pulse = state.pulses[k]
    faint = math.log(3.0 * priors.noise) - 0.5 * pulse[2]
    odds = _log_prior(pulse, priors) - _log_added(pulse, faint, priors)
    loss, first, last = _exchange(state, data, np.array([k]), work[:0], spans[:0], change)
    if math.log(random.random()) < -odds - math.log(FURTHER) - 0.5 * loss:
        state.model[first:last] += change[first:last]
        _drop(state, k, n)
        return n - 1
    return n


@njit(cache=True, nogil=True)
def _log_added(pulse: np.ndarray, faint: float, priors: Priors) -> float:
    """Return the logarithm of the density from which added pulses are drawn."""
    total = -math.log(priors.stop - priors.start) + _log_normal(pulse[0] - faint, 1.0)
    for j in (2, 3):
        total += _log_normal(pulse[j] - priors.centre[j], SPREAD[j])
    return total


@njit(cache=True, nogil=True)
def _parts(pulse: np.ndarray, share: float, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two pulses that one is split in."""
    mean = pulse[2] - 0.5 * math.log(1.0 + WIDER * share * (1.0 - share) * by[0] ** 2)
    one, two = pulse.copy(), pulse.copy()
    apart = by[0] * math.exp(mean)
    one[0], two[0] = pulse[0] + math.log(share), pulse[0] + math.log(1.0 - share)
    one[1], two[1] = pulse[1] + (1.0 - share) * apart, pulse[1] - share * apart
    one[2], two[2] = mean + (1.0 - share) * by[1], mean - share * by[1]
    one[3], two[3] = pulse[3] + (1.0 - share) * by[2], pulse[3] - share * by[2]
    return one, two


@njit(cache=True, nogil=True)
def _merged(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the pulse that two are merged to, and what it has to be split by to get them again."""
    share = 1.0 / (1.0 + math.exp(two[0] - one[0]))
    pulse = share * one + (1.0 - share) * two
    by = np.array([(one[1] - two[1]) * math.exp(-pulse[2]), one[2] - two[2], one[3] - two[3]])
    pulse[0] = one[0] - math.log(share)
    pulse[2] += 0.5 * math.log(1.0 + WIDER * share * (1.0 - share) * by[0] ** 2)
    return pulse, share, by


@njit(cache=True, nogil=True)
def _split_odds(
    pulse: np.ndarray, one: np.ndarray, two: np.ndarray, share: float, by: np.ndarray, priors: Priors
) -> float:
    """Return ln of prior, proposal and Jacobian of a pulse split in two, against those of merging them."""
    odds = _log_prior(one, priors) + _log_prior(two, priors) - _log_prior(pulse, priors) + math.log(FURTHER)
    for j in range(3):
        odds -= _log_normal(by[j], SPLIT[j])
    mean = share * one[2] + (1.0 - share) * two[2]
    return odds + mean - math.log(share * (1.0 - share))


@njit(cache=True, nogil=True)
def _split(
    state: State,
    data: Data,
    priors: Priors,
    n: int,
    random: np.random.Generator,
    work: np.ndarray,
    spans: np.ndarray,
    change: np.ndarray,
) -> int:
    """Try to split a pulse in two, or to merge two; return how many there are."""
    if random.random() < 0.5:
        if n == MOST:
            return n
        k = int(n * random.random())
        share = random.random()
        by = np.empty(3)
        for j in range(3):
            by[j] = SPLIT[j] * random.standard_normal()
        one, two = _parts(state.pulses[k], share, by)
        odds = _split_odds(state.pulses[k], one, two, share, by, priors)
        if not odds > -np.inf:
            return n
        _draw(one, data, work[0], spans[0])
        _draw(two, data, work[1], spans[1])
        loss, first, last = _exchange(state, data, np.array([k]), work[:2], spans[:2], change)
        if math.log(random.random()) < odds - 0.5 * loss:
            state.model[first:last] += change[first:last]
            _put(state, data, priors, k, one)
            _put(state, data, priors, n, two)
            return n + 1
        return n
    if n == 1:
        return n
    k = int(n * random.random())
    other = int((n - 1) * random.random())
    if other >= k:
        other += 1
    pulse, share, by = _merged(state.pulses[k], state.pulses[other])
    odds = _split_odds(pulse, state.pulses[k], state.pulses[other], share, by, priors)
    if not odds < np.inf or not odds > -np.inf:
        return n
    _draw(pulse, data, work[0], spans[0])
    loss, first, last = _exchange(state, data, np.array([k, other]), work[:1], spans[:1], change)
    if math.log(random.random()) < -odds - 0.5 * loss:
        state.model[first:last] += change[first:last]
        _put(state, data, priors, k, pulse)
        _drop(state, other, n)
        return n - 1
    return n


@njit(cache=True, nogil=True)
def _level(state: State, data: Data, random: np.random.Generator, change: np.ndarray) -> None:
    """Try another background."""
    step = np.empty(data.line_errors.size)
    gain = 0.0
    change[:] = 0.0
    for k in range(step.size):
        step[k] = data.line_errors[k] * random.standard_normal() * random.random()
        change += step[k] * data.lines[k]
        before, after = state.levels[k], state.levels[k] + step[k]
        gain += 0.5 * (before**2 - after**2) / data.line_errors[k] ** 2
    gain -= 0.5 * _loss(data, state.model, change, 0, change.size)
    if math.log(random.random()) < gain:
        state.model[:] += change
        state.levels[:] += step


@njit(cache=True, nogil=True)
def sample_sums(
    begin: np.ndarray,
    data: Data,
    priors: Priors,
    n_dropped: int,
    thinning: int,
    n_samples: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of the pulses (sample, MOST, 4) and their numbers (sample,).

    Parameters
    ----------
    begin
        (pulse, 4) where the chain begins.
    data, priors
        The light curve, and what is known before it is.
    n_dropped, thinning, n_samples
        Steps before the first sample, steps from one to the next, samples.
    random
        numpy.random.Generator.
    """
    n_bins, n = data.rate.size, begin.shape[0]
    state = State(
        np.zeros((MOST, N_PARAMETERS)),
        np.zeros((MOST, n_bins)),
        np.zeros((MOST, 2), np.int64),
        np.zeros((MOST, N_PARAMETERS, N_PARAMETERS)),
        np.zeros(n_bins),
        np.zeros(data.line_errors.size),
    )
    work, spans, change = np.zeros((2, n_bins)), np.zeros((2, 2), np.int64), np.zeros(n_bins)
    for k in range(n):
        _put(state, data, priors, k, begin[k])
        state.model[:] += state.drawn[k]
    samples, numbers = np.zeros((n_samples, MOST, N_PARAMETERS)), np.zeros(n_samples, np.int64)
    for step in range(n_dropped + n_samples * thinning):
        which = random.random()
        if which < JUMPS:
            n = _jump(state, data, priors, n, random, work, spans, change)
        elif which < JUMPS + SPLITS:
            n = _split(state, data, priors, n, random, work, spans, change)
        elif which < JUMPS + SPLITS + LEVELS:
            if data.line_errors.size:
                _level(state, data, random, change)
        else:
            _move(state, data, priors, n, random, work, spans, change)
        after = step + 1 - n_dropped
        if after > 0 and after % thinning == 0:
            samples[after // thinning - 1] = state.pulses
            numbers[after // thinning - 1] = n
    return samples, numbers
