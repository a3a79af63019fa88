"""Images sampled at cells of the sky, and significances of their sums over windows; plain arrays only.

A sum holds Σ 1/σ² and Σ f/σ² of the bands, float32 of shape (2, band, cell): the sums of a tree have a
relative error below 1e-6, far below that of the images.
"""

from __future__ import annotations

import numpy as np

from batx.compiling import njit
from batx.kernels.coadd import pixel_of

__all__ = ["expose", "judge", "sample", "significances"]

#: cells that are judged at once: their values stay in the cache of the processor
_BLOCK = 2048


@njit(cache=True, nogil=True)
def sample(
    vectors: np.ndarray,
    homography: np.ndarray,
    flux: np.ndarray,
    noise: np.ndarray,
    usable: np.ndarray,
    sums: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Interpolate flux and noise of all bands bilinearly and add 1/σ² and f/σ² to each cell.

    As `batx.kernels.coadd.add_weighted_after`, for one image with several bands.

    Parameters
    ----------
    vectors
        (cell, 3) unit vectors.
    homography
        (3, 3) from directions to pixels.
    flux, noise
        (band, ny, nx); pixels without finite flux and positive noise are not used.
    usable
        (ny, nx) bool, further condition.
    sums
        (2, band, cell), added to in place.
    first, last
        Cells that are added to, the last one not included.
    """
    ny, nx = usable.shape
    for i in range(first, last):
        x, y, depth = pixel_of(vectors[i], homography)
        shown = depth > 0.0 and 0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1
        ix = iy = 0
        if shown:
            ix, iy = min(int(x), nx - 2), min(int(y), ny - 2)
            shown = usable[iy, ix] and usable[iy, ix + 1] and usable[iy + 1, ix] and usable[iy + 1, ix + 1]
        u, v = x - ix, y - iy
        for band in range(len(flux)):
            weight = value = 0.0
            if shown:
                low_s = (1 - u) * noise[band, iy, ix] + u * noise[band, iy, ix + 1]
                high_s = (1 - u) * noise[band, iy + 1, ix] + u * noise[band, iy + 1, ix + 1]
                low_f = (1 - u) * flux[band, iy, ix] + u * flux[band, iy, ix + 1]
                high_f = (1 - u) * flux[band, iy + 1, ix] + u * flux[band, iy + 1, ix + 1]
                sigma = (1 - v) * low_s + v * high_s
                mean = (1 - v) * low_f + v * high_f
                if sigma > 0.0 and sigma < np.inf and np.isfinite(mean):
                    weight = 1.0 / (sigma * sigma)
                    value = mean * weight
            sums[0, band, i] += weight
            sums[1, band, i] += value


@njit(cache=True, nogil=True, error_model="numpy")
def judge(sums: np.ndarray, scale: np.ndarray, best: np.ndarray, first: int, last: int) -> None:
    """Set the greatest significance of each cell among the bands and their sum.

    Parameters
    ----------
    sums
        (2, band, cell).
    scale
        (band + 1,) that significances are divided by; the last is that of the sum of bands, left out if
        there is one band only.
    best
        (cell,) float32, set; -inf where nothing was added.
    first, last
        Cells that are judged, the last one not included.
    """
    bands = sums.shape[1]
    lowest, one = np.float32(-np.inf), np.float32(1.0)
    flux, variance = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    highest = np.empty(_BLOCK, np.float32)
    for start in range(first, last, _BLOCK):
        size = min(_BLOCK, last - start)
        highest[:] = lowest
        flux[:] = 0.0
        variance[:] = 0.0
        for e in range(bands):
            factor = one / np.float32(scale[e])
            weight, weighted = sums[0, e, start : start + size], sums[1, e, start : start + size]
            for k in range(size):
                inverse = one / weight[k]
                mean = weighted[k] * inverse
                flux[k] += mean
                variance[k] += inverse
                value = weighted[k] * np.sqrt(inverse) * factor
                highest[k] = value if value > highest[k] else highest[k]
        if bands > 1:
            factor = one / np.float32(scale[bands])
            for k in range(size):
                value = flux[k] / np.sqrt(variance[k]) * factor
                highest[k] = value if value > highest[k] else highest[k]
        best[start : start + size] = highest[:size]


@njit(cache=True, nogil=True)
def expose(
    vectors: np.ndarray,
    homography: np.ndarray,
    pcode: np.ndarray,
    usable: np.ndarray,
    seconds: float,
    exposure: np.ndarray,
    pcode_exposure: np.ndarray,
    n_images: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Add the exposure of an image, alone and times its coding, to the cells that `sample` adds to.

    Parameters
    ----------
    vectors, homography, usable, first, last
        As of `sample`.
    pcode
        (ny, nx) partial coding.
    seconds
        Exposure of the image.
    exposure, pcode_exposure, n_images
        (cell,) added to in place.
    """
    ny, nx = usable.shape
    for i in range(first, last):
        x, y, depth = pixel_of(vectors[i], homography)
        if depth <= 0.0 or not (0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1):
            continue
        ix, iy = min(int(x), nx - 2), min(int(y), ny - 2)
        if usable[iy, ix] and usable[iy, ix + 1] and usable[iy + 1, ix] and usable[iy + 1, ix + 1]:
            u, v = x - ix, y - iy
            low = (1 - u) * pcode[iy, ix] + u * pcode[iy, ix + 1]
            high = (1 - u) * pcode[iy + 1, ix] + u * pcode[iy + 1, ix + 1]
            exposure[i] += seconds
            pcode_exposure[i] += seconds * ((1 - v) * low + v * high)
            n_images[i] += 1


def significances(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return significance, flux and error of the bands and of their sum: float64 (band + 1, cell).

    NaN where a band has no weight; one band has no sum.
    """
    weight = np.where(sums[0] > 0, sums[0], np.nan).astype(np.float64)
    flux, variance = sums[1] / weight, 1 / weight
    if len(weight) > 1:
        flux = np.concatenate([flux, flux.sum(axis=0, keepdims=True)])
        variance = np.concatenate([variance, variance.sum(axis=0, keepdims=True)])
    error = np.sqrt(variance)
    return flux / error, flux, error
