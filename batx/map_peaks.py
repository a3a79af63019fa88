"""Peaks of maps on cells of the sky, measured by a fit of what a point source leaves in these cells.

Private to the searches of mosaics and of slews. Formulae: algorithms, section 2.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from batx.instrument.mask import DEFAULT_GEOMETRY, rectangle_coding
from batx.kernels.peaks import Peak, fit_peak, from_tangent, tangent, tangent_axes
from batx.kernels.psf import Profile
from batx.kernels.sampled import Sampled, pixel_grid
from batx.source_fits import Settings

__all__ = ["RING", "MapImages", "Measured", "mask_profile", "measure", "some_of"]

#: a peak is fitted within this many widths of the highest cell; its noise is measured in a ring around it
_FIT = 1.15
RING = 4.0, 11.0
#: fewest cells that a place is fitted to, and that noise is measured in
_CELLS, _FEWEST = 5, 30
#: variance of noise that each cell has for itself, of the whole, where cells are as large as pixels
_OWN_NOISE = 0.1
#: images that stand for all where there are more
_IMAGES = 32
#: size on the tangent plane of pixels of which nothing is known (half a detector), and phases of theirs
_STEP, _PHASES = DEFAULT_GEOMETRY["detcelx"] / 2 / 99.7, 4


@dataclass(frozen=True)
class Measured:
    """A peak, with values of each map.

    Attributes
    ----------
    vector
        Its direction.
    covariance
        (2, 2) of the place to the east and to the north, degrees squared; zero where it was given.
    rate, rate_err
        (map,)
    """

    vector: np.ndarray
    covariance: np.ndarray
    rate: np.ndarray
    rate_err: np.ndarray

    @property
    def snr(self) -> np.ndarray:
        """Significance (map,)."""
        return self.rate / self.rate_err

    @property
    def error(self) -> float:
        """Error of the position on each axis, root mean square of two, degrees."""
        return float(np.sqrt(np.trace(self.covariance) / 2))


def mask_profile() -> Profile:
    """Return the shape of a point source that deconvolution makes with the usual geometry."""
    return Settings(psf="mask").profile({})


def some_of(images: np.ndarray) -> np.ndarray:
    """Return images that stand for all: these, or some of them at equal distances."""
    return images[np.linspace(0, len(images) - 1, min(len(images), _IMAGES)).astype(int)]


@dataclass(frozen=True)
class MapImages:
    """The images of which a map is the sum.

    Attributes
    ----------
    projections
        (image, 3, 3) from ICRS directions to pixels.
    exposure
        (image,) s.
    profile, width
        Shape of a point source in them, and its full width at half maximum on the tangent plane.
    """

    projections: np.ndarray
    exposure: np.ndarray
    profile: Profile
    width: float

    @classmethod
    def of(cls, mosaic: xr.Dataset, profile: Profile, width: float) -> MapImages:
        """Return the images of a mosaic of one time; none if it does not say where they are."""
        if "image_projection" not in mosaic or "image_exposure" not in mosaic:
            return cls(np.zeros((0, 3, 3)), np.zeros(0), profile, width)
        used = np.ones(mosaic.sizes["image"], bool)
        for name in ("image_used", "member"):
            if name in mosaic:
                used &= mosaic[name].values
        projections, exposure = mosaic["image_projection"].values, mosaic["image_exposure"].values
        return cls(projections[used], exposure[used], profile, width)

    def around(self, centre: np.ndarray) -> Sampled:
        """Return the images that show a direction, at most some of them; any if none is known to.

        An image counts by its exposure times the coding, which goes as 1/σ².
        """
        pixel = self.projections @ centre
        seen = np.flatnonzero(pixel[:, 2] > 0)
        weight = np.zeros(0)
        if len(seen):
            step, axis = pixel_grid(self.projections[seen])
            imx, imy = (np.abs(pixel[seen, :2] / pixel[seen, 2:] - axis) * step).T
            weight = self.exposure[seen] * rectangle_coding(imx, imy)
        seen, weight = seen[weight > 0], weight[weight > 0]
        if not len(seen):
            projections = _on_axis(centre)
            weight = np.ones(len(projections))
        else:
            kept = some_of(np.arange(len(seen)))
            projections, weight = self.projections[seen[kept]], weight[kept]
        shares = weight / weight.sum()
        return Sampled(centre, projections, projections[:, None], shares, self.profile, self.width)


def _on_axis(centre: np.ndarray) -> np.ndarray:
    """Return projections of images that have a direction on their axis, at some phases of the pixels."""
    axes = np.stack([*tangent_axes(centre), centre])
    phases = (np.arange(_PHASES) + 0.5) / _PHASES
    grids = [[[1 / _STEP, 0, x], [0, 1 / _STEP, y], [0, 0, 1]] for x in phases for y in phases]
    return np.array(grids) @ axes


def measure(
    images: Sampled,
    vectors: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    width: np.ndarray,
    cell_size: float,
    chosen: int | None,
) -> Measured | None:
    """Return the peak at the centre of `images`, `None` if the nearest cell has no value in any map.

    Parameters
    ----------
    images
        Around the highest cell, or a given place.
    vectors
        (cell, 3) directions of the cells out to the end of the ring.
    flux, error
        (map, cell), NaN where a map has no value.
    width
        (map,) of flux/error, for maps with too few cells in the ring.
    cell_size
        Degrees.
    chosen
        Map in which the place is fitted; `None` holds it at the centre.
    """
    places = tangent(vectors, images.centre)
    distance = np.hypot(*places.T)
    z = flux / error
    if not np.isfinite(z[:, np.argmin(distance)]).any():
        return None
    mean, width = _levels(z[:, distance > RING[0] * images.fwhm], width)
    near = np.isfinite(z).any(axis=0) & (distance <= max(_FIT * images.fwhm, distance.min()))
    cells = images.at(vectors[near])
    correlation = cells.correlation()
    values = flux[:, near] - mean[:, None] * error[:, near]
    sigma = width[:, None] * error[:, near]

    own = _OWN_NOISE * images.pixel**2 / cell_size**2

    def fitted(row: int, place: np.ndarray | None) -> Peak:
        return fit_peak(cells.source, values[row], sigma[row], correlation, own, images.fwhm, place)

    complete = np.isfinite(values).all(axis=1)
    free = None
    if chosen is not None and complete[chosen] and near.sum() >= _CELLS:
        free = fitted(chosen, None)
        free = free if free.height > 0 and np.hypot(*free.place) < images.fwhm else None
    place = np.zeros(2) if free is None else free.place
    rate, rate_err = np.full((2, len(flux)), np.nan)
    for row in np.flatnonzero(complete):
        peak = fitted(int(row), place)
        rate[row], rate_err[row] = peak.height, peak.error
    covariance = np.zeros((2, 2))
    if free is not None:
        covariance = free.covariance
    elif chosen is not None:  # somewhere in its cell
        spread = images.fwhm / 2.35 * rate_err[chosen] / abs(rate[chosen])
        covariance = (cell_size**2 / 12 + spread**2) * np.eye(2)
    return Measured(from_tangent(place, images.centre), covariance, rate, rate_err)


def _levels(maps: np.ndarray, otherwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each map without what is more than 3.5 of these away."""
    mean, width = np.zeros(len(maps)), np.asarray(otherwise, np.float64).copy()
    for number, row in enumerate(maps):
        values = row[np.isfinite(row)]
        if len(values) < _FEWEST:
            continue
        low, centre, high = np.percentile(values, (15.865525, 50, 84.134475))
        spread = (high - low) / 2
        for _ in range(3):
            kept = values[np.abs(values - centre) < 3.5 * spread]
            if not len(kept):
                break
            centre, spread = float(kept.mean()), float(kept.std())
        mean[number], width[number] = centre, spread or width[number]
    return mean, width
