"""Peaks of maps on the sky: places by a fit of the point-spread function, trials by the roughness of noise.

Plain arrays; directions are unit vectors. Formulae: algorithms, section 2.8.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from scipy.special import log_ndtr

__all__ = [
    "SIGMA",
    "chord",
    "false_alarm",
    "fit_peak",
    "independent_cells",
    "local_maxima",
    "robust_width",
    "roughness",
    "tangent",
]

#: standard deviation of a Gaussian of full width 1 at half maximum
SIGMA = 1 / np.sqrt(8 * np.log(2))

#: noise is what lies below this many widths
_CLIP = 4.0
#: pairs of cells whose noise is correlated less than this are independent
_LEAST_CORRELATION = 0.05


def chord(angle: float) -> float:
    """Return the distance between unit vectors that are `angle` degrees apart."""
    return float(2 * np.sin(np.deg2rad(min(angle, 180.0)) / 2))


def robust_width(values: np.ndarray) -> float:
    """Return the standard deviation of Gaussian noise, from the median absolute deviation."""
    if len(values) == 0:
        return float("nan")
    return float(1.482602218505602 * np.median(np.abs(values - np.median(values))))


def tangent(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return places (n, 2) in degrees to the east and north of a centre, on the plane that touches there."""
    north = np.array([0.0, 0.0, 1.0]) - centre[2] * centre
    if np.linalg.norm(north) < 1e-9:
        north = np.array([1.0, 0.0, 0.0])
    north = north / np.linalg.norm(north)
    east = np.cross(north, centre)
    depth = vectors @ centre
    return np.rad2deg(np.stack([vectors @ east, vectors @ north], axis=-1) / depth[:, None])


def from_tangent(place: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the direction of a place; inverse of `tangent`."""
    north = np.array([0.0, 0.0, 1.0]) - centre[2] * centre
    if np.linalg.norm(north) < 1e-9:
        north = np.array([1.0, 0.0, 0.0])
    north = north / np.linalg.norm(north)
    x, y = np.deg2rad(place)
    vector = centre + x * np.cross(north, centre) + y * north
    return vector / np.linalg.norm(vector)


def local_maxima(tree: cKDTree, values: np.ndarray, threshold: float, radius: float) -> np.ndarray:
    """Return the cells above a threshold that no cell within `radius` (degrees) exceeds, highest first."""
    above = np.flatnonzero(values > threshold)
    above = above[np.argsort(-values[above], kind="stable")]
    taken = np.zeros(len(values), bool)
    peaks = []
    for cell in above:
        near = tree.query_ball_point(tree.data[cell], chord(radius))
        if not taken[cell] and values[cell] >= values[near].max():
            peaks.append(cell)
            taken[near] = True
    return np.array(peaks, dtype=np.int64)


def fit_peak(
    places: np.ndarray, values: np.ndarray, fwhm: float, start: float
) -> tuple[float, np.ndarray, bool]:
    """Return height and place of a Gaussian of known width around the origin, and whether it was fitted.

    With fewer than five cells, or a fit that leaves them, the highest cell is returned.

    Parameters
    ----------
    places
        (n, 2) degrees.
    values
        (n,) at these.
    fwhm
        Full width at half maximum, degrees.
    start
        Height to begin with.
    """
    best = int(np.argmax(values))
    fallback = float(values[best]), places[best], False
    if len(values) < 5:
        return fallback
    width = fwhm * SIGMA

    def residual(parameters: np.ndarray) -> np.ndarray:
        squared = ((places - parameters[1:]) ** 2).sum(axis=1)
        return parameters[0] * np.exp(-squared / (2 * width**2)) - values

    found = least_squares(residual, [start, *places[best]], x_scale=[max(start, 1.0), width, width])
    height, place = float(found.x[0]), found.x[1:]
    if not found.success or height <= 0 or np.hypot(*(place - places[best])) > fwhm:
        return fallback
    return height, place, True


def roughness(tree: cKDTree, values: np.ndarray, width: float) -> float:
    """Return λ (per square degree) of noise with correlation exp(-λ d²/2) between cells d degrees apart.

    It is measured on neighbouring cells, of which both are noise: the mean square of differences is
    2 width² (1 - ρ(d)). Infinite where neighbours are not correlated.
    """
    distance, index = tree.query(tree.data, k=min(5, len(values)))
    if len(values) < 2:
        return float("inf")
    quiet = np.abs(values) < _CLIP * width
    neighbour = index[:, 1:]
    valid = quiet[:, None] & quiet[neighbour]
    if not valid.any():
        return float("inf")
    squares = (values[:, None] - values[neighbour]) ** 2
    correlation = 1 - squares[valid].mean() / (2 * width**2)
    apart = np.rad2deg(2 * np.arcsin(np.clip(distance[:, 1:] / 2, 0, 1)))[valid]
    if correlation <= _LEAST_CORRELATION:
        return float("inf")
    return float(-2 * np.log(min(correlation, 1 - 1e-12)) / (apart**2).mean())


def independent_cells(cells: int, area: float, rough: float) -> float:
    """Return the number of independent pixels: area λ/2π, at most the number of cells.

    λ/2π is the inverse of the integral of the correlation exp(-λ d²/2) over the plane.
    """
    return float(min(cells, area * rough / (2 * np.pi)))


def false_alarm(
    height: np.ndarray, cells: int, area: float, rough: float, maps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return trials, and the probability that noise alone reaches a height anywhere in `maps` maps.

    The number of excursions above u of a smooth Gaussian field is the expected Euler characteristic,
    area λ u (2π)^-3/2 exp(-u²/2) (R. J. Adler, The Geometry of Random Fields, 1981); that of independent
    cells is cells × Q(u), Q the Gaussian tail. The smaller is taken; trials are this number over Q(u).

    Parameters
    ----------
    height
        In units of the width of the noise.
    cells, area, rough
        Number and area (square degrees) of the cells searched, and `roughness`.
    maps
        Number of maps searched.
    """
    height = np.asarray(height, np.float64)
    log_tail = log_ndtr(-height)
    with np.errstate(divide="ignore"):
        smooth = np.log(area * min(rough, 1e30)) + np.log(np.maximum(height, 1e-30)) - 1.5 * np.log(2 * np.pi)
    # below u = 1 the expected Euler characteristic no longer counts excursions
    log_smooth = np.where(height > 1, smooth - height**2 / 2, np.inf)
    log_number = np.minimum(log_smooth, np.log(cells) + log_tail) + np.log(maps)
    return np.exp(log_number - log_tail), -np.expm1(-np.exp(np.minimum(log_number, 700)))
