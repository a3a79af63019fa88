"""Local background of images by masked convolution, and the pixels and groups of pixels that stand out of it.

Formulae: algorithms, section 2.4. Arrays are float64; images of several bands are stacked along the first
axis and share one mask, so that its transform is made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

__all__ = [
    "WINDOWS",
    "Background",
    "Component",
    "Convolution",
    "components",
    "disk",
    "find_pixels",
    "local_background",
    "window",
]

#: shapes of the window in which the background is measured
WINDOWS = ("circle", "square", "smooth_circle")


def disk(radius: float) -> np.ndarray:
    """Return the square array of 0 and 1 that marks ``x**2 + y**2 <= radius**2``.

    Examples
    --------
    >>> int(disk(6).sum())
    113
    """
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (x * x + y * y <= radius * radius).astype(np.float64)


def window(shape: str, radius: int, inner: int) -> np.ndarray:
    """Return the weights with which pixels around a place count for its background.

    Parameters
    ----------
    shape
        ``"circle"``, a ring from `inner` to `radius` pixels; ``"square"``, a square of half-width `radius`
        without that circle; ``"smooth_circle"``, a ring with soft edges:
        ``(1 - tanh((r - radius) / 0.2 radius)) / 2 * (1 + tanh((r - inner) / 0.1 inner)) / 2``, scaled to a
        maximum of 1.
    radius, inner
        Pixels.

    Returns
    -------
    numpy.ndarray
        Square, of odd size and symmetric.

    Examples
    --------
    >>> int(window("circle", 30, 6).sum())
    2708
    """
    if shape == "smooth_circle":
        y, x = np.ogrid[-2 * radius : 2 * radius + 1, -2 * radius : 2 * radius + 1]
        r = np.hypot(x, y)
        outer_edge = 0.5 * (1 - np.tanh((r - radius) / (0.2 * radius)))
        inner_edge = 0.5 * (1 + np.tanh((r - inner) / (0.1 * inner)))
        weights = outer_edge * inner_edge
        return weights / weights.max()
    weights = disk(radius) if shape == "circle" else np.ones((2 * radius + 1, 2 * radius + 1))
    hole = slice(radius - inner, radius + inner + 1)
    weights[hole, hole] -= disk(inner)
    return weights


class Convolution:
    """Convolution with one symmetric kernel for many images of one shape; beyond their edges there is 0.

    Parameters
    ----------
    shape
        Rows and columns of the images.
    kernel
        Square, of odd size and symmetric: its transform is then real.

    Notes
    -----
    Images are padded by half of the kernel only, since what wraps around further is cut off, and to sizes
    that are quick to transform.
    """

    def __init__(self, shape: tuple[int, int], kernel: np.ndarray) -> None:
        reach = kernel.shape[0] // 2
        self.shape = shape
        self.size = tuple(fft.next_fast_len(length + reach, real=True) for length in shape)
        padded = np.zeros(self.size)
        y, x = (np.arange(-reach, reach + 1) % length for length in self.size)
        np.add.at(padded, np.ix_(y, x), kernel)
        self.response = fft.rfft2(padded).real

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the convolution of an image, of its shape."""
        product = fft.rfft2(image, s=self.size)
        product *= self.response
        return fft.irfft2(product, s=self.size, overwrite_x=True)[: self.shape[0], : self.shape[1]]


@dataclass(frozen=True)
class Background:
    """Local background.

    Attributes
    ----------
    weight
        Shape ``(ny, nx)``: sum of the window over the pixels that count.
    mean, std, snr
        Shape ``(band, ny, nx)``: mean and standard deviation in the window and ``(image - mean) / std``; 0
        where too few pixels count.
    found
        Shape ``(ny, nx)``: whether the pixel stands out in any band.
    """

    weight: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    snr: np.ndarray
    found: np.ndarray


def local_background(
    images: np.ndarray, counted: np.ndarray, convolution: Convolution, min_weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight, mean and standard deviation of the pixels around each pixel.

    With mask B, window k and image I: ``n = B * k``, ``mean = (I B) * k / n`` and
    ``std = sqrt((I**2 B) * k / n - mean**2)``, both 0 where n is not above `min_weight`.

    Parameters
    ----------
    images
        Shape ``(band, ny, nx)``, finite.
    counted
        Shape ``(ny, nx)``, bool: B.
    convolution
        That with k, for images of this shape.
    min_weight
        Least weight for which there is a background.

    Examples
    --------
    >>> ones = np.ones((1, 9, 9))
    >>> around = Convolution((9, 9), window("circle", 2, 1))
    >>> weight, mean, std = local_background(3 * ones, ones[0] > 0, around, 5)
    >>> round(float(weight[4, 4]), 9), float(mean[0, 4, 4].round(9)), float(std[0, 4, 4].round(9))
    (8.0, 3.0, 0.0)
    """
    weight = convolution(counted.astype(np.float64))
    enough = weight > min_weight
    divisor = np.where(enough, weight, np.inf)
    mean, std = np.empty_like(images), np.empty_like(images)
    for image, mean_band, std_band in zip(images, mean, std, strict=True):
        kept = image * counted
        np.divide(convolution(kept), divisor, out=mean_band)
        np.multiply(kept, image, out=kept)
        np.divide(convolution(kept), divisor, out=std_band)
        std_band -= mean_band * mean_band
        np.maximum(std_band, 0, out=std_band)
        np.sqrt(std_band, out=std_band)
    return weight, mean, std


def find_pixels(
    images: np.ndarray,
    usable: np.ndarray,
    counted: np.ndarray,
    *,
    shape: str = "circle",
    radius: int = 30,
    source_radius: int = 6,
    passes: int = 2,
    threshold: float = 6.0,
    min_weight: float = 20.0,
    both_signs: bool = False,
    poisson: bool = False,
) -> Background:
    """Return the local background without the pixels that stand out of it, and these.

    Each pass measures the background and takes the pixels away from it that reach `threshold`; passes end
    early when there is none. The maps are those of the last pass, made without the pixels of those before.

    Parameters
    ----------
    images
        Shape ``(band, ny, nx)``, finite.
    usable, counted
        Shape ``(ny, nx)``, bool: where sources may be, and where the background is measured.
    shape, radius, source_radius
        As for `window`, pixels.
    passes
        Greatest number of passes, at least 1.
    threshold
        Significance that a pixel must reach, in any band.
    min_weight
        As for `local_background`.
    both_signs
        Take negative peaks as well.
    poisson
        Standard deviation of counts: ``sqrt(mean)``, and significance of the mean in the source circle,
        ``(s - mean) / sqrt(s + std**2)``.

    Examples
    --------
    >>> image = np.random.default_rng(1).normal(size=(1, 80, 80))
    >>> image[0, 40, 40] = 50
    >>> everywhere = np.ones((80, 80), bool)
    >>> np.argwhere(find_pixels(image, everywhere, everywhere).found).tolist()
    [[40, 40]]
    """
    around = Convolution(usable.shape, window(shape, radius, source_radius))
    within = Convolution(usable.shape, disk(source_radius)) if poisson else None
    counted = counted.copy()
    found = np.zeros(usable.shape, bool)
    while True:
        weight, mean, std = local_background(images, counted, around, min_weight)
        if within is not None:
            std, snr = _poisson(images, usable, weight, mean, within, min_weight)
        else:
            snr = np.zeros_like(images)
            np.divide(images - mean, std, out=snr, where=std > 0)
        peaks = np.abs(snr) if both_signs else snr
        new = (peaks >= threshold).any(axis=0) & counted & usable
        found |= new
        passes -= 1
        if passes < 1 or not new.any():
            return Background(weight, mean, std, snr, found)
        counted &= ~new


def _poisson(
    images: np.ndarray,
    usable: np.ndarray,
    weight: np.ndarray,
    mean: np.ndarray,
    within: Convolution,
    min_weight: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviation and significance of counts."""
    few = 1 / np.sqrt(np.maximum(weight, 1e-30))
    std = np.where(mean > 0, np.sqrt(np.maximum(mean, 0)), few) * (weight > min_weight)
    area = np.maximum(within(usable.astype(np.float64)), 1e-30)
    source = np.stack([within(image * usable) for image in images]) / area
    variance = source + std**2
    snr = np.zeros_like(images)
    np.divide(source - mean, np.sqrt(np.maximum(variance, 0)), out=snr, where=(variance > 0) & (std > 0))
    return std, snr


@dataclass(frozen=True)
class Component:
    """Pixels that hang together.

    Attributes
    ----------
    n_pixels
        Their number.
    x, y
        Centroid: column and row, from 0.
    touches
        Whether one of them touches a pixel that is not usable, or the edge of the image.
    """

    n_pixels: int
    x: float
    y: float
    touches: bool


def components(found: np.ndarray, excess: np.ndarray, usable: np.ndarray) -> list[Component]:
    """Return the groups of found pixels that share sides, row by row of their first pixel.

    Parameters
    ----------
    found, usable
        Shape ``(ny, nx)``, bool.
    excess
        Shape ``(ny, nx)``: image without background, the weights of the centroid.

    Examples
    --------
    >>> found = np.zeros((6, 6), bool)
    >>> found[2, 2:4] = True
    >>> group = components(found, np.ones((6, 6)), np.ones((6, 6), bool))[0]
    >>> group.n_pixels, group.x, group.y, group.touches
    (2, 2.5, 2.0, False)
    """
    labels, _ = ndimage.label(found)
    surrounded = ndimage.binary_erosion(usable, border_value=0)
    groups = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        rows, columns = np.nonzero(labels[box] == number)
        rows, columns = rows + box[0].start, columns + box[1].start
        flux = np.abs(excess[rows, columns])
        flux = flux if flux.sum() > 0 else np.ones_like(flux)
        groups.append(
            Component(
                n_pixels=len(rows),
                x=float(np.average(columns, weights=flux)),
                y=float(np.average(rows, weights=flux)),
                touches=not surrounded[rows, columns].all(),
            )
        )
    return groups
