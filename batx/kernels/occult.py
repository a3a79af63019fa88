"""Which directions the Earth, the Moon and the Sun hide, on plain arrays (algorithms, section 10)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

__all__ = [
    "ATMOSPHERE",
    "RADII",
    "drawn_lines",
    "earth_radius",
    "filled_outline",
    "limb",
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


def limb(body: np.ndarray, radius: float, points: int) -> np.ndarray:
    """Return directions along the limb of a body, shape ``(points, 3)``.

    They begin and end at its southernmost point, and go round by way of the east.

    Examples
    --------
    >>> limb(np.array([1.0, 0.0, 0.0]), 90.0, 5).round(6).tolist()[1]
    [0.0, 1.0, 0.0]
    """
    longitude = np.arctan2(body[1], body[0])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    north = np.cross(body, east)
    angle = np.linspace(np.pi, -np.pi, points)[:, None]
    rim = np.cos(angle) * north + np.sin(angle) * east
    return np.cos(np.deg2rad(radius)) * body + np.sin(np.deg2rad(radius)) * rim


def drawn_lines(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels are on straight lines from point to point, drawn as by Bresenham.

    Parameters
    ----------
    x, y
        Columns and rows of the points, with fractions; the lines go between the nearest pixels. Lines to
        points that are not finite are not drawn.
    shape
        Of the image: rows, columns.

    Returns
    -------
    numpy.ndarray
        bool, of the shape.

    Examples
    --------
    >>> drawn_lines(np.array([0.0, 3.2]), np.array([0.0, 0.9]), (2, 4)).astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    rows, columns = shape
    drawn = np.zeros(shape, bool)
    ends = np.floor(np.stack([x, y]) + 0.5)
    low, high = np.minimum(ends[:, 1:], ends[:, :-1]), np.maximum(ends[:, 1:], ends[:, :-1])
    # comparisons with NaN are false
    seen = (low[0] < columns) & (high[0] >= 0) & (low[1] < rows) & (high[1] >= 0)
    for first, last in zip(ends.T[:-1][seen].astype(int), ends.T[1:][seen].astype(int), strict=True):
        steps = max(int(np.abs(last - first).max()), 1)
        k = np.arange(steps + 1)[:, None]
        column, row = (
            first + np.sign(last - first) * ((2 * k * np.abs(last - first) + steps) // (2 * steps))
        ).T
        inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        drawn[row[inside], column[inside]] = True
    return drawn


def filled_outline(drawn: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return an outline with what it encloses: all that is reached from its middle without crossing it.

    Parameters
    ----------
    drawn
        Pixels of the outline, bool, shape ``(rows, columns)``.
    inside
        Pixels within, which close the outline along the border of the image.

    Examples
    --------
    >>> drawn = np.array([[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]], bool)
    >>> filled_outline(drawn, np.zeros((3, 5), bool)).sum(axis=1).tolist()
    [3, 5, 3]
    """
    closed = drawn.copy()
    for side in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        closed[side] |= inside[side]
    if not closed.any():
        return closed
    row, column = (round(float(places.mean())) for places in np.nonzero(closed))
    if closed[row, column]:
        return closed
    labels, _ = ndimage.label(~closed)
    return closed | (labels == labels[row, column])


def unocculted_fraction(
    directions: np.ndarray,
    bodies: list[tuple[np.ndarray, np.ndarray]],
    weights: np.ndarray,
    redrawn: Callable[[np.ndarray, np.ndarray, float], np.ndarray] | None = None,
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
    redrawn
        Returns which pixels (pixel,) are to count as hidden in place of those that are, from these, the
        direction and the radius of a body.

    Returns
    -------
    numpy.ndarray
        (pixel,), 0 to 1.
    """
    hidden = np.zeros(len(directions))
    for sample, weight in enumerate(weights):
        blocked = np.zeros(len(directions), bool)
        for vectors, radius in bodies:
            behind = directions @ vectors[sample] >= np.cos(np.deg2rad(radius[sample]))
            if redrawn is not None:
                behind = redrawn(behind, vectors[sample], float(radius[sample]))
            blocked |= behind
        hidden[blocked] += weight
    return np.clip(1 - hidden, 0.0, 1.0)
