"""Following a source across the field while the spacecraft moves, and giving events the weights of a trace.

A path is the attitude in the form used here: between rows k and k+1 the BAT axes turn about a fixed axis at a
constant rate, and the direction of a source turns with them, ``matrix[k] @ sky`` being where it starts. A
place is ``(imx, imy, front)`` on the tangent plane, `front` being false behind the instrument.
"""

from __future__ import annotations

import math

import numpy as np

from batx.compiling import njit

__all__ = ["look_up", "next_trace", "place_at", "trace_runs"]


@njit(cache=True, nogil=True)
def _row_at(t: float, times: np.ndarray) -> int:
    """Return the last row with a time of at most `t`, -1 if there is none."""
    low, high = -1, times.size
    while high - low > 1:
        middle = (low + high) // 2
        if times[middle] <= t:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _direction(
    t: float,
    row: int,
    times: np.ndarray,
    rate: np.ndarray,
    axis: np.ndarray,
    matrix: np.ndarray,
    sky: np.ndarray,
) -> tuple[float, float, float]:
    """Return the direction of `sky` in BAT axes at `t`, after row `row` (Rodrigues' rotation formula)."""
    m = matrix[max(row, 0)]
    x = m[0, 0] * sky[0] + m[0, 1] * sky[1] + m[0, 2] * sky[2]
    y = m[1, 0] * sky[0] + m[1, 1] * sky[1] + m[1, 2] * sky[2]
    z = m[2, 0] * sky[0] + m[2, 1] * sky[1] + m[2, 2] * sky[2]
    if row < 0 or row >= times.size - 1 or rate[row] == 0.0:
        return x, y, z
    nx, ny, nz = axis[row, 0], axis[row, 1], axis[row, 2]
    angle = rate[row] * (t - times[row])
    c, s = math.cos(angle), math.sin(angle)
    along = (nx * x + ny * y + nz * z) * (1.0 - c)
    return (
        x * c + (ny * z - nz * y) * s + nx * along,
        y * c + (nz * x - nx * z) * s + ny * along,
        z * c + (nx * y - ny * x) * s + nz * along,
    )


@njit(cache=True, nogil=True)
def place_at(
    t: float, times: np.ndarray, rate: np.ndarray, axis: np.ndarray, matrix: np.ndarray, sky: np.ndarray
) -> tuple[float, float, bool]:
    """Return the place of a direction at a time; constant before the first and after the last row.

    Parameters
    ----------
    t
        Time, s.
    times, rate, axis, matrix
        The path: times (n,), turning rate (n - 1,) in rad/s, axis (n - 1, 3) in BAT axes, sky to BAT (n, 3,
        3).
    sky
        Unit vector (3,).
    """
    x, y, z = _direction(t, _row_at(t, times), times, rate, axis, matrix, sky)
    if z == 0.0:
        z = 1e-300
    return x / z, y / z, z > 0.0


@njit(cache=True, nogil=True)
def next_trace(
    event_times: np.ndarray,
    start: int,
    place: tuple[float, float, bool],
    tolerance: float,
    field_radius: float,
    times: np.ndarray,
    rate: np.ndarray,
    axis: np.ndarray,
    matrix: np.ndarray,
    sky: np.ndarray,
) -> int:
    """Return the first event from `start` on at which the source has moved off its last trace.

    It has moved when ``hypot(dIMX, dIMY) > tolerance``, or when it has entered or left the circle of
    `field_radius`; outside of that circle no detector is lit and movement does not matter. An infinite radius
    switches this off.

    After looking at one event, those are skipped that lie in the same attitude segment and so near in time
    that the source cannot have moved far enough: at a turning rate w the direction moves by at most w, and
    its place within a circle of radius R about the axis by at most w (1 + R**2).

    Parameters
    ----------
    event_times
        Times in the order of the rows, s; need not be sorted.
    start
        First row to look at.
    place
        Place of the last trace.
    tolerance
        Distance on the tangent plane.
    field_radius
        Bound on ``hypot(imx, imy)`` of sources that light a detector.
    times, rate, axis, matrix, sky
        As for `place_at`.

    Returns
    -------
    int
        A row, or the number of events if there is none.
    """
    bounded = field_radius < np.inf
    inside_before = not bounded or (place[2] and math.hypot(place[0], place[1]) <= field_radius)
    reach = min(field_radius, math.hypot(place[0], place[1]) + tolerance)
    stretch = 1.0 + reach * reach
    field_angle = math.atan(field_radius)
    safe_from, safe_to = np.inf, -np.inf
    for event in range(start, event_times.size):
        t = event_times[event]
        if safe_from <= t < safe_to:
            continue
        row = _row_at(t, times)
        x, y, z = _direction(t, row, times, rate, axis, matrix, sky)
        if z == 0.0:
            z = 1e-300
        imx, imy = x / z, y / z
        radius = math.hypot(imx, imy)
        inside = not bounded or (z > 0.0 and radius <= field_radius)
        if inside != inside_before:
            return event
        if inside:
            distance = math.hypot(imx - place[0], imy - place[1])
            if distance > tolerance:
                return event
            margin = min(tolerance - distance, field_radius - radius) / stretch
        else:
            margin = math.atan2(math.hypot(x, y), z) - field_angle
        safe_from = times[row] if row >= 0 else -np.inf
        safe_to = times[row + 1] if row + 1 < times.size else np.inf
        if 0 <= row < rate.size and rate[row] > 0.0:
            near = 0.999999 * margin / rate[row]
            safe_from, safe_to = max(safe_from, t - near), min(safe_to, t + near)
    return event_times.size


@njit(cache=True, nogil=True)
def trace_runs(event_times: np.ndarray, trace_times: np.ndarray) -> np.ndarray:
    """Return for each event the index of the last trace that is not after it; events before the first take
    that.

    Parameters
    ----------
    event_times
        Shape (n,), any order.
    trace_times
        Shape (m,), increasing, m at least 1.
    """
    index = np.empty(event_times.size, np.int64)
    last = 0
    for event in range(event_times.size):
        t = event_times[event]
        if trace_times[last] > t or (last + 1 < trace_times.size and trace_times[last + 1] <= t):
            last = max(_row_at(t, trace_times), 0)
        index[event] = last
    return index


@njit(cache=True, nogil=True)
def look_up(
    weight: np.ndarray, detx: np.ndarray, dety: np.ndarray, flags: np.ndarray, out: np.ndarray
) -> int:
    """Give events the weights of their detectors; return how many good events have no detector.

    Parameters
    ----------
    weight
        Shape (173, 286); NaN where there is no detector.
    detx, dety
        Positions of the events, integers (n,).
    flags
        Event flags (n,), or an empty array if all events are good. 0 and 16 are good.
    out
        Weights (n,), overwritten; 0 for events that are not good or not on a detector.
    """
    ny, nx = weight.shape
    misplaced = 0
    all_good = flags.size == 0
    for event in range(out.size):
        value = 0.0
        if all_good or flags[event] == 0 or flags[event] == 16:
            i, j = detx[event], dety[event]
            value = weight[j, i] if 0 <= i < nx and 0 <= j < ny else np.nan
            if value != value:
                value = 0.0
                misplaced += 1
        out[event] = value
    return misplaced
