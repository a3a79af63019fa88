"""Time bins that end where a signal-to-noise ratio is reached, on plain arrays (algorithms 2.2).

With S = Σw and V = Σw² of the open bin over all bands, the mode *snr* closes it when S² > snr² V or when it
is longer than `width`; the mode *high snr* when S² > snr² V and it is longer than `width`.
"""

from __future__ import annotations

import numpy as np

from batx.compiling import njit

__all__ = ["snr_edges", "snr_groups", "tool_snr_bins"]


@njit(cache=True, nogil=True)
def snr_edges(
    time: np.ndarray,
    weight: np.ndarray,
    gti_start: np.ndarray,
    gti_stop: np.ndarray,
    snr: float,
    width: float,
    high: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper edges of half-open bins, each within one interval, that fill good time.

    A bin ends at the time of the event that finds it complete; this event opens the next bin. Events of
    equal time are never parted, so sums over the returned bins are those that the edges were decided by.

    Parameters
    ----------
    time, weight
        (event,) of the accepted events, times increasing; weights 1 for counts.
    gti_start, gti_stop
        (interval,) disjoint and increasing.
    snr, width
        Threshold, and length in seconds: a maximum, or a minimum where `high`.
    high
        Whether both conditions must hold.
    """
    lower = np.empty(time.size + gti_start.size)
    upper = np.empty(time.size + gti_start.size)
    n = 0
    i = 0
    for interval in range(gti_start.size):
        start = gti_start[interval]
        signal = variance = 0.0
        latest = start
        while i < time.size and time[i] < start:
            i += 1
        while i < time.size and time[i] < gti_stop[interval]:
            t = time[i]
            if t > latest:
                reached = signal * signal > snr * snr * variance
                long = t - start > width
                if (reached and long) if high else (reached or long):
                    lower[n], upper[n] = start, t
                    n += 1
                    start = t
                    signal = variance = 0.0
            latest = t
            signal += weight[i]
            variance += weight[i] * weight[i]
            i += 1
        lower[n], upper[n] = start, gti_stop[interval]
        n += 1
    return lower[:n], upper[:n]


@njit(cache=True, nogil=True)
def tool_snr_bins(
    time: np.ndarray,
    band: np.ndarray,
    weight: np.ndarray,
    segment: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    n_bands: int,
    snr: float,
    width: float,
    high: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the bins of ``batbinevt`` with its treatment of the closing event: lower, upper, sums, totals.

    The closing event is added to the Σw and Σw² of the old bin, but to the total, S and V of the new one.
    The test runs on events outside good time too (segment -1), which are not summed. A bin without counts
    is restarted, and keeps the sums of the event that closed it.

    Parameters
    ----------
    time, band, weight
        (event,) of the events in a band, on good detectors and of weight not 0, in and out of good time,
        sorted.
    segment
        (event,) number of the good-time interval, -1 for none.
    start, stop
        Extent of the good time.
    n_bands, snr, width, high
        As for `snr_edges`.

    Returns
    -------
    lower, upper : (bin,)
    sums : (bin, band, 2)
    totals : (bin,)
    """
    lower = np.empty(time.size + 1)
    upper = np.empty(time.size + 1)
    sums = np.zeros((time.size + 1, n_bands, 2))
    totals = np.zeros(time.size + 1, np.int64)
    row = 0
    lower[0] = start
    signal = variance = 0.0
    closed_at = start
    current = np.int64(0)
    for i in range(time.size):
        t = time[i]
        if t < lower[row] or t > stop:
            continue
        reached = signal * signal > snr * snr * variance
        long = t - lower[row] > width
        closing = t != closed_at and (
            ((reached and long) if high else (reached or long)) or segment[i] != current
        )
        current = segment[i]
        inside = current >= 0
        if inside:
            sums[row, band[i], 0] += weight[i]
            sums[row, band[i], 1] += weight[i] * weight[i]
        if closing:
            if totals[row] > 0:
                upper[row] = t
                row += 1
            lower[row] = t
            closed_at = t
            signal = variance = 0.0
        if inside:
            signal += weight[i]
            variance += weight[i] * weight[i]
            totals[row] += 1
    upper[row] = stop
    n = row + 1 if stop > lower[row] else row
    return lower[:n], upper[:n], sums[:n], totals[:n]


@njit(cache=True, nogil=True)
def snr_groups(
    signal: np.ndarray,
    variance: np.ndarray,
    joined: np.ndarray,
    snr: float,
) -> np.ndarray:
    """Return the number of the group of each bin: neighbours are taken together until S² > snr² V.

    Parameters
    ----------
    signal, variance
        (bin,) sums over the bands.
    joined
        (bin,) whether a bin follows on the one before it; a group never spans a gap.
    snr
        Threshold.
    """
    group = np.empty(signal.size, np.int64)
    number = np.int64(-1)
    total = noise = 0.0
    complete = True
    for i in range(signal.size):
        if complete or not joined[i]:
            number += 1
            total = noise = 0.0
        total += signal[i]
        noise += variance[i]
        complete = total * total > snr * snr * noise
        group[i] = number
    return group
