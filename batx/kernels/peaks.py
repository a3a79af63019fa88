"""Peaks of maps on the sky: places by a fit of the point-spread function, trials by the roughness of noise.

Plain arrays; directions are unit vectors. Formulae: algorithms, section 2.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import log_ndtr

__all__ = [
    "SIGMA",
    "Peak",
    "chord",
    "false_alarm",
    "fit_peak",
    "from_tangent",
    "independent_cells",
    "local_maxima",
    "robust_width",
    "roughness",
    "tangent",
    "tangent_axes",
]

#: standard deviation of a Gaussian of full width 1 at half maximum
SIGMA = 1 / np.sqrt(8 * np.log(2))

#: noise is what lies below this many widths
_CLIP = 4.0
#: most steps of a fit, and the fraction of a width below which it has ended
_STEPS, _MOVED = 20, 1e-4
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


def tangent_axes(centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of east and north at a direction; at a pole, of two other axes."""
    north = np.array([0.0, 0.0, 1.0]) - centre[2] * centre
    if np.linalg.norm(north) < 1e-9:
        north = np.array([1.0, 0.0, 0.0])
    north = north / np.linalg.norm(north)
    return np.cross(north, centre), north


def tangent(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return places (n, 2) in degrees to the east and north of a centre, on the plane that touches there."""
    east, north = tangent_axes(centre)
    depth = vectors @ centre
    return np.rad2deg(np.stack([vectors @ east, vectors @ north], axis=-1) / depth[:, None])


def from_tangent(place: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the direction of a place; inverse of `tangent`."""
    east, north = tangent_axes(centre)
    x, y = np.deg2rad(place)
    vector = centre + x * east + y * north
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


class Peak(NamedTuple):
    """A fitted peak.

    Attributes
    ----------
    place
        (2,) degrees.
    height, error
        In the unit of the values; the error is that at this place.
    covariance
        (2, 2) of the place; zero if it was held.
    """

    place: np.ndarray
    height: float
    error: float
    covariance: np.ndarray


def fit_peak(
    shape: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    values: np.ndarray,
    sigma: np.ndarray,
    correlation: np.ndarray,
    own: float,
    fwhm: float,
    place: np.ndarray | None = None,
) -> Peak:
    """Return the place and the height of a peak among cells whose noise is correlated.

    Generalised least squares: with residuals r over sigma, ``r' (C + own)^-1 r`` is minimised, where the part
    `own` of the variance keeps structures finer than a peak, in which there is little noise, from having
    much weight. The errors are those of noise with the correlation C.

    Parameters
    ----------
    shape
        From the place of a peak of height 1, its values (cell,) and derivatives (cell, 2).
    values, sigma
        (cell,) and their standard deviations.
    correlation
        (cell, cell) of the noise.
    own
        See above.
    fwhm
        Width of a peak, which limits steps; the unit of places.
    place
        Where the peak is held; fitted, from 0 on, if not given.

    Examples
    --------
    >>> axis = np.linspace(-0.4, 0.4, 7)
    >>> cells = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    >>> def shape(place):
    ...     away = cells - place
    ...     value = np.exp(-4 * np.log(2) * (away**2).sum(1) / 0.4**2)
    ...     return value, 8 * np.log(2) / 0.4**2 * away * value[:, None]
    >>> values = 9 * shape(np.array([0.1, 0.05]))[0]
    >>> peak = fit_peak(shape, values, np.ones(49), np.eye(49), 0.1, 0.4)
    >>> peak.place.round(6).tolist(), round(peak.height, 6)
    ([0.1, 0.05], 9.0)
    """
    inverse = np.linalg.inv(correlation + own * np.eye(len(values))) / np.outer(sigma, sigma)
    here = np.zeros(2) if place is None else np.asarray(place, np.float64)
    for _ in range(_STEPS):
        value, slopes = shape(here)
        weighted = inverse @ value
        height = float(weighted @ values / (weighted @ value))
        if place is not None:
            break
        design = np.column_stack([height * slopes, value])
        normal = design.T @ inverse @ design
        step = np.linalg.lstsq(normal, design.T @ inverse @ (values - height * value), rcond=None)[0][:2]
        length = float(np.hypot(*step))
        here = here + step * min(1.0, 0.25 * fwhm / max(length, 1e-300))
        if length < _MOVED * fwhm:
            break
    covariance = np.zeros((2, 2))
    if place is None:
        covariance = _covariance(design, inverse, sigma, own)[:2, :2]
    error = float(np.sqrt(_covariance(value[:, None], inverse, sigma, own)[0, 0]))
    return Peak(here, height, error, covariance)


def _covariance(design: np.ndarray, inverse: np.ndarray, sigma: np.ndarray, own: float) -> np.ndarray:
    """Return the covariance from noise without its part `own`: ``H^-1 - own H^-1 (W J)' S^2 (W J) H^-1``."""
    weighted = inverse @ design
    covariance = np.linalg.pinv(design.T @ weighted, hermitian=True)
    spread = sigma[:, None] * (weighted @ covariance)
    return np.asarray(covariance - own * spread.T @ spread)


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
