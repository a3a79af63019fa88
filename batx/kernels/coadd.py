"""Bilinear samples of images at cells of the sky, added to sums on those cells; plain arrays only.

A tangent-plane image is a homography of the sky: the pixel of direction v is (x, y) = (h0·v, h1·v) / h2·v, so
the place of a cell costs nine products and no angle. Pixels count from 0 at the centre of the first.
"""

from __future__ import annotations

import numpy as np

from batx.compiling import njit

__all__ = [
    "add_exposure",
    "add_weighted_after",
    "add_weighted_before",
    "in_view",
    "locate",
    "pixel_of",
    "shows_any",
]


@njit(cache=True, nogil=True)
def pixel_of(vector: np.ndarray, homography: np.ndarray) -> tuple[float, float, float]:
    """Return the pixel of a direction, and the depth: behind the instrument it is not positive."""
    a, b, c = vector[0], vector[1], vector[2]
    depth = homography[2, 0] * a + homography[2, 1] * b + homography[2, 2] * c
    if depth <= 0.0:
        return 0.0, 0.0, depth
    x = (homography[0, 0] * a + homography[0, 1] * b + homography[0, 2] * c) / depth
    y = (homography[1, 0] * a + homography[1, 1] * b + homography[1, 2] * c) / depth
    return x, y, depth


@njit(cache=True, nogil=True)
def in_view(vectors: np.ndarray, homographies: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return whether each direction (n, 3) lies between pixel centres of any of the images.

    Parameters
    ----------
    vectors
        (n, 3) unit vectors.
    homographies
        (images, 3, 3).
    sizes
        (images, 2) number of pixels along x and y.
    """
    seen = np.zeros(len(vectors), np.bool_)
    for i in range(len(vectors)):
        for k in range(len(homographies)):
            x, y, depth = pixel_of(vectors[i], homographies[k])
            if depth > 0.0 and 0.0 <= x <= sizes[k, 0] - 1 and 0.0 <= y <= sizes[k, 1] - 1:
                seen[i] = True
                break
    return seen


@njit(cache=True, nogil=True)
def shows_any(vectors: np.ndarray, homography: np.ndarray, nx: int, ny: int) -> bool:
    """Return whether an image shows any of the directions (n, 3)."""
    for i in range(len(vectors)):
        x, y, depth = pixel_of(vectors[i], homography)
        if depth > 0.0 and 0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1:
            return True
    return False


@njit(cache=True, nogil=True)
def locate(
    vectors: np.ndarray, homography: np.ndarray, nx: int, ny: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which of the directions (n, 3) an image shows, the lower-left pixel of the four around each of
    these, and how far it is from there.

    Returns
    -------
    cells : numpy.ndarray
        (m,) int64, increasing numbers of the directions.
    corner : numpy.ndarray
        (m, 2) int32, (ix, iy) with 0 <= ix <= nx - 2.
    fraction : numpy.ndarray
        (m, 2) in pixels, 0 to 1.
    """
    cells = np.empty(len(vectors), np.int64)
    corner = np.empty((len(vectors), 2), np.int32)
    fraction = np.empty((len(vectors), 2))
    shown = 0
    for i in range(len(vectors)):
        x, y, depth = pixel_of(vectors[i], homography)
        if depth > 0.0 and 0.0 <= x <= nx - 1 and 0.0 <= y <= ny - 1:
            ix, iy = min(int(x), nx - 2), min(int(y), ny - 2)
            cells[shown] = i
            corner[shown, 0], corner[shown, 1] = ix, iy
            fraction[shown, 0], fraction[shown, 1] = x - ix, y - iy
            shown += 1
    return cells[:shown], corner[:shown], fraction[:shown]


@njit(cache=True, nogil=True)
def add_weighted_after(
    flux: np.ndarray,
    noise: np.ndarray,
    usable: np.ndarray,
    cells: np.ndarray,
    corner: np.ndarray,
    fraction: np.ndarray,
    sum_w: np.ndarray,
    sum_wf: np.ndarray,
    share: np.ndarray,
) -> None:
    """Interpolate flux and noise, then add 1/σ² and f/σ² to the cells whose pixels are all usable.

    Parameters
    ----------
    flux, noise
        (ny, nx); pixels where either is not finite, or the noise not positive, are not usable.
    usable
        (ny, nx) bool, further condition.
    cells, corner, fraction
        From `locate`.
    sum_w, sum_wf
        Of all cells, added to in place at `cells`.
    share
        (m,) set to 1 for the cells that are added to.
    """
    for i in range(len(cells)):
        ix, iy = corner[i, 0], corner[i, 1]
        f = 0.0
        s = 0.0
        good = True
        for j in range(2):
            wy = fraction[i, 1] if j else 1.0 - fraction[i, 1]
            for k in range(2):
                w = wy * (fraction[i, 0] if k else 1.0 - fraction[i, 0])
                if w == 0.0:
                    continue
                fk, sk = flux[iy + j, ix + k], noise[iy + j, ix + k]
                good &= usable[iy + j, ix + k] and np.isfinite(fk) and sk > 0.0 and sk < np.inf
                f += w * fk
                s += w * sk
        if good:
            weight = 1.0 / (s * s)
            sum_w[cells[i]] += weight
            sum_wf[cells[i]] += f * weight
            share[i] = 1.0


@njit(cache=True, nogil=True)
def add_weighted_before(
    flux: np.ndarray,
    noise: np.ndarray,
    usable: np.ndarray,
    cells: np.ndarray,
    corner: np.ndarray,
    fraction: np.ndarray,
    sum_w: np.ndarray,
    sum_wf: np.ndarray,
    share: np.ndarray,
) -> None:
    """Add the interpolated 1/σ² and f/σ² of the pixels, 0 where they are not usable.

    As `add_weighted_after`, but `share` becomes the interpolated fraction of usable pixels, where that is
    larger than it was.
    """
    for i in range(len(cells)):
        ix, iy = corner[i, 0], corner[i, 1]
        total = 0.0
        total_f = 0.0
        part = 0.0
        for j in range(2):
            wy = fraction[i, 1] if j else 1.0 - fraction[i, 1]
            for k in range(2):
                w = wy * (fraction[i, 0] if k else 1.0 - fraction[i, 0])
                fk, sk = np.float64(flux[iy + j, ix + k]), np.float64(noise[iy + j, ix + k])
                if w > 0.0 and usable[iy + j, ix + k] and np.isfinite(fk) and sk > 0.0 and sk < np.inf:
                    weight = w / (sk * sk)
                    total += weight
                    total_f += fk * weight
                    part += w
        if part > 0.0:
            sum_w[cells[i]] += total
            sum_wf[cells[i]] += total_f
            share[i] = max(share[i], part)


@njit(cache=True, nogil=True)
def add_exposure(
    pcode: np.ndarray,
    usable: np.ndarray,
    seconds: float,
    cells: np.ndarray,
    corner: np.ndarray,
    fraction: np.ndarray,
    share: np.ndarray,
    exposure: np.ndarray,
    pcode_exposure: np.ndarray,
    n_images: np.ndarray,
) -> None:
    """Add the exposure of an image, alone and times its coding, to the cells that got a share of it.

    Parameters
    ----------
    pcode
        (ny, nx) partial coding.
    usable
        (ny, nx) bool; the coding of other pixels counts as 0.
    seconds
        Exposure of the image.
    cells, corner, fraction
        From `locate`.
    share
        (m,) fraction of the image that each of these cells has got.
    exposure, pcode_exposure, n_images
        Of all cells, added to in place at `cells`.
    """
    for i in range(len(cells)):
        if share[i] <= 0.0:
            continue
        ix, iy = corner[i, 0], corner[i, 1]
        coding = 0.0
        for j in range(2):
            wy = fraction[i, 1] if j else 1.0 - fraction[i, 1]
            for k in range(2):
                w = wy * (fraction[i, 0] if k else 1.0 - fraction[i, 0])
                if w > 0.0 and usable[iy + j, ix + k]:
                    coding += w * pcode[iy + j, ix + k]
        exposure[cells[i]] += seconds * share[i]
        pcode_exposure[cells[i]] += seconds * coding
        n_images[cells[i]] += 1
