"""Which points of a plane lie in circles, annuli, ellipses, boxes and polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["contains", "extent"]


def contains(shape: str, values: Sequence[float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points are in a shape; its outer edge is part of it, the inner one of an annulus is not.

    Parameters
    ----------
    shape
        ``"circle"`` (x, y, radius), ``"annulus"`` (x, y, inner, outer radius), ``"ellipse"`` (x, y, two half
        axes, angle), ``"box"`` (x, y, width, height, angle), ``"polygon"`` (x, y of each corner). Angles are
        in degrees, counter-clockwise.
    values
        The numbers of the shape.
    x, y
        Points, of one shape.

    Examples
    --------
    >>> contains("annulus", (0, 0, 1, 2), np.array([0.5, 1.0, 2.0, 2.5]), np.zeros(4)).tolist()
    [False, False, True, False]
    """
    if shape == "polygon":
        return _in_polygon(np.asarray(values, np.float64).reshape(-1, 2), x, y)
    dx, dy = x - values[0], y - values[1]
    if shape == "circle":
        return dx * dx + dy * dy <= values[2] ** 2
    if shape == "annulus":
        square = dx * dx + dy * dy
        return (square > values[2] ** 2) & (square <= values[3] ** 2)
    angle = np.deg2rad(values[4])
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    if shape == "ellipse":
        return (along / values[2]) ** 2 + (across / values[3]) ** 2 <= 1.0
    return (np.abs(along) <= values[2] / 2) & (np.abs(across) <= values[3] / 2)


def _in_polygon(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return which points have an odd number of sides to their right."""
    inside = np.zeros(np.shape(x), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        crossed = (y < y1) != (y < y2)
        inside ^= crossed & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def extent(shape: str, values: Sequence[float]) -> tuple[float, float, float, float]:
    """Return lowest and highest x, lowest and highest y of a box that holds a shape.

    Examples
    --------
    >>> extent("circle", (10.0, 20.0, 3.0))
    (7.0, 13.0, 17.0, 23.0)
    """
    if shape == "polygon":
        x, y = values[0::2], values[1::2]
        return min(x), max(x), min(y), max(y)
    if shape == "circle":
        reach = values[2]
    elif shape == "annulus":
        reach = values[3]
    elif shape == "ellipse":
        reach = max(values[2], values[3])
    else:
        reach = 0.5 * float(np.hypot(values[2], values[3]))
    return values[0] - reach, values[0] + reach, values[1] - reach, values[1] + reach
