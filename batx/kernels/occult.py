"""Which directions the Earth, the Moon and the Sun hide, on plain arrays (algorithms, section 9)."""

from __future__ import annotations

import numpy as np

__all__ = [
    "ATMOSPHERE",
    "RADII",
    "earth_radius",
    "nearest_rows",
    "pointing_matrix",
    "sample_weights",
    "separation",
    "thinned",
    "unocculted_fraction",
]

#: radius of the Earth, km, and the depth of the atmosphere that hides as well
EARTH_KM = 6378.1
ATMOSPHERE = 5.0
#: apparent radii, degrees
RADII = {"moon": 16.0 / 60, "sun": 16.5 / 60}


def separation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the angles in degrees between unit vectors (..., 3), exact also where they are small.

    Examples
    --------
    >>> separation(np.array([1.0, 0, 0]), np.array([0, 1.0, 0])).item()
    90.0
    """
    across = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.rad2deg(np.arctan2(across, np.sum(first * second, axis=-1)))


def earth_radius(distance: np.ndarray, atmosphere: float = ATMOSPHERE) -> np.ndarray:
    """Return the apparent radius of the Earth with its atmosphere, degrees.

    Parameters
    ----------
    distance
        From the centre of the Earth, km.
    atmosphere
        Depth of the atmosphere, km.

    Examples
    --------
    >>> earth_radius(np.array(2 * 6383.1)).round(6).item()
    30.0
    """
    sine = (EARTH_KM + atmosphere) / np.asarray(distance, np.float64)
    return np.rad2deg(np.arcsin(np.clip(sine, 0.0, 1.0)))


def pointing_matrix(ra: np.ndarray, dec: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Return the rotation from sky to spacecraft axes for a pointing (spacecraft X) and roll, degrees.

    Examples
    --------
    >>> pointing_matrix(np.array(90.0), np.array(0.0), np.array(0.0))[0].round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    a, d, r = (np.deg2rad(np.asarray(angle, np.float64)) for angle in (ra, dec, roll))
    sin, cos = np.sin, np.cos
    x = np.stack([cos(d) * cos(a), cos(d) * sin(a), sin(d)], axis=-1)
    y = np.stack(
        [
            sin(r) * sin(d) * cos(a) - cos(r) * sin(a),
            sin(r) * sin(d) * sin(a) + cos(r) * cos(a),
            -sin(r) * cos(d),
        ],
        axis=-1,
    )
    return np.stack([x, y, np.cross(x, y)], axis=-2)


def nearest_rows(times: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Return the numbers of the rows within an interval; the nearer one of two that straddle it; or none.

    Examples
    --------
    >>> rows = np.array([0.0, 10.0, 20.0])
    >>> nearest_rows(rows, 5.0, 20.0).tolist(), nearest_rows(rows, 12.0, 13.0).tolist()
    ([1, 2], [1])
    """
    inside = np.flatnonzero((times >= start) & (times <= stop))
    if inside.size:
        return inside
    after = int(np.searchsorted(times, stop))
    if 0 < after < times.size:
        nearer = after if abs(times[after] - stop) < abs(times[after - 1] - start) else after - 1
        return np.array([nearer])
    return inside


def thinned(keep_apart: np.ndarray, rows: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the rows that are further than `tolerance` from the row kept before; the last one is kept.

    Parameters
    ----------
    keep_apart
        (row, coordinate): the distance of two rows is the sum of their absolute differences.
    rows
        Numbers of the rows.
    tolerance
        Nothing is left out at 0, nor of three rows or fewer.
    """
    if rows.size <= 3 or tolerance <= 0:
        return rows
    kept = [int(rows[0])]
    for row in rows[1:]:
        if np.abs(keep_apart[row] - keep_apart[kept[-1]]).sum() >= tolerance:
            kept.append(int(row))
    if kept[-1] != rows[-1]:
        kept.append(int(rows[-1]))
    return np.array(kept)


def sample_weights(times: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Return for how much of an interval each of its samples stands, s; halfway from one to the next.

    Examples
    --------
    >>> sample_weights(np.array([1.0, 3.0, 4.0]), 0.0, 10.0).tolist()
    [2.0, 1.5, 6.5]
    """
    edges = np.concatenate([[start], (times[1:] + times[:-1]) / 2, [stop]])
    return np.diff(edges)


def unocculted_fraction(
    directions: np.ndarray, bodies: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray
) -> np.ndarray:
    """Return the part of the time for which directions are free.

    Parameters
    ----------
    directions
        Unit vectors (pixel, 3); NaN where there is no sky.
    bodies
        For each body its unit vectors (sample, 3) and apparent radii (sample,) in degrees.
    weights
        (sample,): fraction of the time that each sample stands for.

    Returns
    -------
    numpy.ndarray
        (pixel,), 0 to 1.
    """
    hidden = np.zeros(len(directions))
    for sample, weight in enumerate(weights):
        blocked = np.zeros(len(directions), bool)
        for vectors, radius in bodies:
            blocked |= directions @ vectors[sample] >= np.cos(np.deg2rad(radius[sample]))
        hidden[blocked] += weight
    return np.clip(1 - hidden, 0.0, 1.0)
