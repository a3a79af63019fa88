"""Channels of a spectrum put into groups, from the first channel up.

Source of the formulae: algorithms, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["PARTIAL", "group_greedily", "group_size", "optimal_width", "resolution"]

#: quality of channels that are left over because a group cannot be filled
PARTIAL = 2


def group_greedily(
    n: int, enough: Callable[[int, int], bool], usable: np.ndarray, tail: str = "bad"
) -> tuple[np.ndarray, np.ndarray]:
    """Return grouping (1 starts a group, -1 goes on) and where channels are left over.

    Parameters
    ----------
    n
        Number of channels.
    enough
        ``enough(first, end)``: whether channels first to end - 1 are a full group.
    usable
        Shape (n,); a channel that is not usable ends the group before it and stands alone.
    tail
        What becomes of channels that do not fill a group: ``"bad"`` each stands alone and is marked as left
        over, as grppha does; ``"join"`` they go into the group before them, if it is next to them;
        ``"keep"`` they are a group of their own.

    Returns
    -------
    grouping : numpy.ndarray
        int16, shape (n,).
    left_over : numpy.ndarray
        bool, shape (n,).

    Examples
    --------
    >>> counts = np.array([3, 1, 5, 2, 1])
    >>> group_greedily(5, lambda i, j: counts[i:j].sum() >= 4, np.ones(5, bool))
    (array([ 1, -1,  1,  1,  1], dtype=int16), array([False, False, False,  True,  True]))
    """
    grouping = np.ones(n, np.int16)
    left_over = np.zeros(n, bool)
    last = -1
    first = 0
    for channel in range(n + 1):
        if channel == n or not usable[channel]:
            if channel > first:
                last = _finish(grouping, left_over, first, channel, tail, last)
            first = channel + 1
        elif enough(first, channel + 1):
            grouping[first + 1 : channel + 1] = -1
            last, first = first, channel + 1
    return grouping, left_over


def _finish(grouping: np.ndarray, left_over: np.ndarray, first: int, end: int, tail: str, last: int) -> int:
    """Deal with channels that do not fill a group; return where the last group starts."""
    joins = tail == "join" and last >= 0 and (grouping[last + 1 : first] == -1).all()
    if tail == "bad":
        left_over[first:end] = True
        return -1
    grouping[first + (not joins) : end] = -1
    return last if joins else first


def group_size(widths: np.ndarray, centres: np.ndarray) -> Callable[[int, int], bool]:
    """Return whether the width of a group reaches what is asked for at its middle.

    Parameters
    ----------
    widths
        Edges of the channels, shape (n + 1,).
    centres
        Least width of a group at each channel, shape (n,).
    """

    def enough(first: int, end: int) -> bool:
        # half of the last channel's width: a group is the nearest whole number of channels
        reached = widths[end] - widths[first] + 0.5 * (widths[end] - widths[end - 1])
        return bool(reached > centres[(first + end - 1) // 2])

    return enough


def resolution(matrix: np.ndarray, energy_in: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return the full width at half maximum in keV at each channel, from the peak of the redistribution.

    Parameters
    ----------
    matrix
        Shape (energy, channel).
    energy_in
        Middle of the incident energies in keV, increasing, shape (energy,).
    channels
        Edges of the channels in keV, shape (channel, 2).

    Notes
    -----
    Half of the maximum is found by linear interpolation of the density between the middles of channels, on
    either side of the peak; the width is at least that of the channel.

    Examples
    --------
    >>> channels = np.stack([np.arange(40.0), np.arange(1, 41.0)], axis=1)
    >>> middle = channels.mean(axis=1)
    >>> gauss = np.exp(-0.5 * ((middle - middle[:, None]) / 3) ** 2)
    >>> round(float(resolution(gauss, middle, channels)[20]), 2)
    7.09
    """
    middle, width = channels.mean(axis=1), np.diff(channels, axis=1)[:, 0]
    rows = np.clip(np.searchsorted(energy_in, middle), 1, len(energy_in) - 1)
    rows -= (middle - energy_in[rows - 1]) < (energy_in[rows] - middle)
    at_rows = {row: _width_of_peak(matrix[row] / width, middle, energy_in[row]) for row in np.unique(rows)}
    return np.maximum([at_rows[row] for row in rows], width)


def _width_of_peak(density: np.ndarray, middle: np.ndarray, energy: float) -> float:
    """Return the full width at half maximum of the peak next to an energy."""
    near = np.abs(middle - energy) < 0.3 * energy
    if not near.any() or density[near].max() <= 0:
        return 0.0
    peak = int(np.flatnonzero(near)[np.argmax(density[near])])
    half = 0.5 * density[peak]
    below = np.flatnonzero(density[:peak] < half)
    above = np.flatnonzero(density[peak:] < half) + peak
    low = _crossing(density, middle, below[-1], half) if below.size else middle[0]
    high = _crossing(density, middle, above[0] - 1, half) if above.size else middle[-1]
    return float(high - low)


def _crossing(density: np.ndarray, middle: np.ndarray, i: int, level: float) -> float:
    part = (level - density[i]) / (density[i + 1] - density[i])
    return float(middle[i] + part * (middle[i + 1] - middle[i]))


def optimal_width(counts: np.ndarray, fwhm: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the optimal width of a group at each channel in keV.

    With N_r the counts per resolution element, R the number of those in the spectrum and
    x = ln(N_r (1 + 0.20 ln R)): the full width at half maximum times 1 for x ≤ 2.119, else times
    (0.08 + 7.0/x + 1.8/x²) / (1 + 5.9/x) (Kaastra & Bleeker 2016, A&A 587, A151, section 4).

    Parameters
    ----------
    counts, fwhm, width
        Counts, resolution in keV and width in keV of the channels, shape (channel,).

    Examples
    --------
    >>> channels = np.ones(100)
    >>> optimal_width(np.array([1.0, 1e5]).repeat(50), 5 * channels, channels)[[10, 90]].round(2)
    array([5.  , 2.11])
    """
    elements = max(float(np.sum(width / fwhm)), 1.0)
    edges = np.concatenate([[0.0], np.cumsum(width)])
    before = np.concatenate([[0.0], np.cumsum(counts)])
    middle = edges[:-1] + width / 2
    per_element = np.interp(middle + fwhm / 2, edges, before) - np.interp(middle - fwhm / 2, edges, before)
    x = np.log(np.maximum(per_element, 1.0) * (1 + 0.20 * np.log(elements)))
    x = np.maximum(x, 2.119)
    return fwhm * np.minimum((0.08 + 7.0 / x + 1.8 / x**2) / (1 + 5.9 / x), 1.0)
