"""What a point source leaves at cells that images were sampled at, and how the noise of cells is correlated.

Plain arrays; a cell holds the mean of bilinear samples of images, weighted with 1/σ². Formulae: algorithms,
section 2.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from batx.compiling import njit
from batx.kernels.peaks import tangent_axes
from batx.kernels.psf import Profile

__all__ = ["Sampled", "pixel_grid"]

#: places at which a profile is tabulated; linear interpolation is good to 1e-6
_PLACES = 2048
#: a profile ends at this many full widths at half maximum
_END = 2.5


def pixel_grid(projections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the size of pixels on the tangent plane, and the pixel on the axis, of images: (image, 2) each.

    The rows of a projection (3, 3) are ``a/dx + x0 c``, ``b/dy + y0 c`` and c, with the axes a, b, c of the
    instrument.

    Examples
    --------
    >>> step, axis = pixel_grid(np.array([[[500.0, 0, 20], [0, 250, 10], [0, 0, 1]]]))
    >>> step.tolist(), axis.tolist()
    ([[0.002, 0.004]], [[20.0, 10.0]])
    """
    axis = np.einsum("ipk,ik->ip", projections[:, :2], projections[:, 2])
    across = projections[:, :2] - axis[..., None] * projections[:, None, 2]
    return 1 / np.linalg.norm(across, axis=-1), axis


@dataclass(frozen=True)
class Sampled:
    """A point source in images around a direction, as cells show it that these images were sampled at.

    Attributes
    ----------
    centre
        (3,) unit vector; places are degrees to the east and to the north of it.
    projections
        (image, 3, 3) from directions to pixels, by which cells were sampled.
    tracks
        (image, moment, 3, 3) the same at some moments of each image, between which a source moves.
    weights
        (image,) share of each image in a cell; they sum to 1.
    profile, width
        Shape of a source in an image, and its full width at half maximum on the tangent plane.
    """

    centre: np.ndarray
    projections: np.ndarray
    tracks: np.ndarray
    weights: np.ndarray
    profile: Profile
    width: float

    @cached_property
    def step(self) -> np.ndarray:
        """Size of the pixels (image, 2) on the tangent plane."""
        return pixel_grid(self.projections)[0]

    @cached_property
    def metric(self) -> np.ndarray:
        """Symmetric (2, 2) matrix from degrees to the tangent plane, root mean square of images."""
        axes = np.deg2rad(np.stack(tangent_axes(self.centre)))
        pixel, moved = self.projections @ self.centre, np.einsum("ipk,tk->ipt", self.projections, axes)
        depth = pixel[:, 2, None, None]
        slope = (moved[:, :2] - pixel[:, :2, None] / depth * moved[:, 2:]) / depth * self.step[..., None]
        square = np.einsum("i,ipt,ipu->tu", self.weights, slope, slope)
        values, turn = np.linalg.eigh(square)
        return np.asarray((turn * np.sqrt(values)) @ turn.T)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum on the sky, mean of two directions, degrees; without the sampling."""
        return float(self.width / np.sqrt(np.linalg.det(self.metric)))

    @property
    def pixel(self) -> float:
        """Size of a pixel on the sky, mean of two directions, degrees."""
        return float(self.step.mean() / np.sqrt(np.linalg.det(self.metric)))

    def at(self, vectors: np.ndarray) -> Cells:
        """Return cells (cell, 3)."""
        pixel = np.einsum("ipk,ck->ipc", self.projections, vectors)
        pixel = pixel[:, :2] / pixel[:, 2:]
        corner = np.floor(pixel)
        return Cells(self, corner.astype(np.int64), pixel - corner)


class Cells:
    """Some cells, and where they are in the images."""

    def __init__(self, images: Sampled, corner: np.ndarray, fraction: np.ndarray) -> None:
        self._images, self._corner, self._fraction = images, corner, fraction
        self._frame = np.stack([images.centre, *np.deg2rad(tangent_axes(images.centre))])
        self._table = _profile_table(images.profile, images.width)

    def source(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a source of height 1 leaves (cell,), and the derivatives (cell, 2) by its place."""
        images = self._images
        given = images.tracks, images.weights, images.step, self._frame, np.asarray(place, np.float64)
        result: tuple[np.ndarray, np.ndarray] = _sampled(self._corner, self._fraction, *given, *self._table)
        return result

    def correlation(self) -> np.ndarray:
        """Return the covariance (cell, cell) of noise, of which the mean variance over all phases is 1.

        The noise of pixels is correlated as a source is shaped, p. Bilinear samples of it have the variance
        2/3 + p(s)/3 along each axis, mean over the phases of pixels of size s.
        """
        images = self._images
        reach, values, _ = self._table
        lags = np.arange(np.ceil(reach / images.step.min()) + 2)
        at = np.linspace(0, reach, values.shape[1])
        lines = np.array(
            [
                [np.interp(lags * size, at, line, right=0.0) for size, line in zip(row, values, strict=True)]
                for row in images.step
            ]
        )
        lines /= 2 / 3 + lines[..., 1:2] / 3
        result: np.ndarray = _shared(self._corner, self._fraction, images.weights, lines)
        return result


@njit(cache=True, nogil=True)
def _sampled(
    corner: np.ndarray,
    fraction: np.ndarray,
    tracks: np.ndarray,
    weights: np.ndarray,
    step: np.ndarray,
    frame: np.ndarray,
    place: np.ndarray,
    reach: float,
    values: np.ndarray,
    slopes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bilinear samples of a source and their derivatives, mean over moments and images.

    `values` and `slopes` (2, place) are the profile along X and Y and its derivative, from 0 to `reach`.
    """
    cells, moments = corner.shape[2], tracks.shape[1]
    total, by_place = np.zeros(cells), np.zeros((cells, 2))
    density = (values.shape[1] - 1) / reach
    source = frame[0] + place[0] * frame[1] + place[1] * frame[2]
    along = np.empty(2)
    by_pixel = np.empty(2)
    by_axis = np.empty((2, 2))
    for i in range(len(tracks)):
        for t in range(moments):
            share = weights[i] / moments
            depth = np.dot(tracks[i, t, 2], source)
            for a in range(2):
                along[a] = np.dot(tracks[i, t, a], source) / depth
                for k in range(2):
                    moved = np.dot(tracks[i, t, a], frame[1 + k]) - along[a] * np.dot(
                        tracks[i, t, 2], frame[1 + k]
                    )
                    by_axis[a, k] = moved / depth
            for c in range(cells):
                product = 1.0
                for a in range(2):
                    value = slope = 0.0
                    for corner_of in range(2):
                        b = fraction[i, a, c] if corner_of else 1.0 - fraction[i, a, c]
                        d = (corner[i, a, c] + corner_of - along[a]) * step[i, a]
                        at = abs(d) * density
                        n = int(at)
                        if n >= values.shape[1] - 1:
                            continue
                        u = at - n
                        value += b * ((1 - u) * values[a, n] + u * values[a, n + 1])
                        rise = (1 - u) * slopes[a, n] + u * slopes[a, n + 1]
                        slope += b * (rise if d > 0 else -rise)
                    product *= value
                    by_pixel[a] = slope * step[i, a]
                    if a == 0:
                        first = value
                    else:
                        second = value
                total[c] += share * product
                for k in range(2):
                    change = by_pixel[0] * second * by_axis[0, k] + first * by_pixel[1] * by_axis[1, k]
                    by_place[c, k] -= share * change
    return total, by_place


@lru_cache(maxsize=8)
def _profile_table(profile: Profile, width: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return how far a profile is tabulated, and its values and derivatives along X and Y."""
    reach = _END * width
    d = np.linspace(0, reach, _PLACES)
    lines = [profile.along(axis, d, width) for axis in (0, 1)]
    values, slopes = (np.array(columns) for columns in zip(*lines, strict=True))
    return reach, values, slopes


@njit(cache=True, nogil=True)
def _shared(corner: np.ndarray, fraction: np.ndarray, weights: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return the covariance of bilinear samples, mean over images; `lines` (image, axis, lag): of pixels."""
    cells = corner.shape[2]
    total = np.zeros((cells, cells))
    for i in range(len(weights)):
        for c in range(cells):
            for d in range(c + 1):
                product = weights[i]
                for a in range(2):
                    u, v = fraction[i, a, c], fraction[i, a, d]
                    lag = corner[i, a, c] - corner[i, a, d]
                    if abs(lag) >= lines.shape[2] - 1:
                        product = 0.0
                        break
                    same = (1 - u) * (1 - v) + u * v
                    product *= (
                        same * lines[i, a, abs(lag)]
                        + u * (1 - v) * lines[i, a, abs(lag + 1)]
                        + v * (1 - u) * lines[i, a, abs(lag - 1)]
                    )
                total[c, d] += product
                if c != d:
                    total[d, c] += product
    return total
