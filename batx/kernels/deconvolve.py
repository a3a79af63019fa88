"""Sky images from detector images by correlation with the mask, on plain arrays (algorithms 2.3).

The plane of an image is cut in pixels of a detector pitch, each in `oversampling` steps along X and Y. For
each of the sub-phases the mask is resampled to detector pixels and correlated with the detector image by real
FFTs. What does not depend on the image, that is the transforms of the mask, the partial coding of each pixel
and the factor that turns a correlation into a flux, is made once (`Decoder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from batx.compiling import njit
from batx.instrument.detector import NX, NY
from batx.instrument.mask import FAR, MaskGeometry, weight_normalisation

__all__ = [
    "IMAGE_CORRECTIONS",
    "IMAGE_GAIN",
    "ApertureTransforms",
    "Decoder",
    "ImageGrid",
    "aperture_transforms",
    "coding_fraction",
    "decoder",
    "detector_face",
    "flat_field",
    "image_grid",
]

#: corrections of an image, in the order of the tool
IMAGE_CORRECTIONS = ("flatfield", "pcode", "autocollim", "maskwt", "ndets")

#: allowance for the technique in the normalisation of images (that of event weights is 0.04)
IMAGE_GAIN = 0.03

#: pixels around the image that never get a value, in all, as in the tool
_BORDER = 4


@dataclass(frozen=True)
class ImageGrid:
    """The pixels of an image.

    Attributes
    ----------
    oversampling
        Pixels to a detector pitch.
    scale
        Size of the shadow of a mask cell in detector pitches.
    cells
        Pixels along Y and X in each sub-phase.
    transform
        Size of the FFTs along Y and X.
    shape
        Pixels of the image along Y and X.
    step
        IMX from column to column and IMY from row to row; the first is negative where `mirrored`.
    pixel
        FITS pixel (from 1) of the axis in X and Y.
    mirrored
        Columns run against X: left-handed images, East to the left where North is up.
    """

    oversampling: int
    scale: float
    cells: tuple[int, int]
    transform: tuple[int, int]
    shape: tuple[int, int]
    step: tuple[float, float]
    pixel: tuple[float, float]
    mirrored: bool

    def tangent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return IMX of the columns and IMY of the rows."""
        imx, imy = (
            (np.arange(1, size + 1) - pixel) * step
            for size, pixel, step in zip(self.shape[::-1], self.pixel, self.step, strict=True)
        )
        return imx, imy


@dataclass(frozen=True)
class ApertureTransforms:
    """Transforms of the mask, one for each sub-phase: of its value and of the square of that.

    Shapes ``(oversampling**2, Py, Px / 2 + 1)``, complex.
    """

    value: np.ndarray
    square: np.ndarray


@dataclass(frozen=True)
class Decoder:
    """All that turns images of one set of good detectors into sky images.

    Attributes
    ----------
    grid
        The pixels.
    transforms
        Of the mask.
    good
        (173, 286) detectors in use.
    pcode
        Partial coding of the pixels, 0 below the threshold.
    factor
        What a correlation is multiplied with, NaN where the result is undefined.
    flat
        (oversampling**2, cells) correlation of the good detectors with the square of the mask: the variance
        that one count in each detector makes.
    fill
        What pixels of the border are given.
    rebalance
        Whether the mean is taken off the detector image.
    """

    grid: ImageGrid
    transforms: ApertureTransforms
    good: np.ndarray
    pcode: np.ndarray
    factor: np.ndarray
    flat: np.ndarray
    fill: float
    rebalance: bool

    @property
    def dtype(self) -> np.dtype:
        """Precision of the transforms and of the images."""
        return self.factor.dtype

    def image(
        self, counts: np.ndarray, variance: np.ndarray, out: Sequence[np.ndarray], workers: int = 1
    ) -> None:
        """Write flux, noise and significance of one detector image.

        Parameters
        ----------
        counts
            (173, 286) counts or rates, background taken off; what is on bad detectors does not matter.
        variance
            The same of their variance.
        out
            Arrays of the shape and precision of the image: for flux alone, or for flux, noise and
            significance.
        workers
            Threads of the FFTs.
        """
        layout = self.grid.oversampling, *self.grid.cells, self.grid.mirrored, self.fill
        level = _level(counts, self.good) if self.rebalance else 0.0
        image = self._correlate(np.where(self.good, counts - level, 0.0), self.transforms.value, workers)
        if len(out) == 1:
            _arrange(image, self.factor, *layout, out[0])
            return
        # the mean of the variance is taken apart, so that rounding grows with its scatter only
        level = _level(variance, self.good)
        spread = self._correlate(np.where(self.good, variance - level, 0.0), self.transforms.square, workers)
        single = self.dtype.type(level)
        _arrange_with_noise(image, spread, self.flat, single, self.factor, self.pcode, *layout, *out)

    def _correlate(self, plane: np.ndarray, transforms: np.ndarray, workers: int) -> np.ndarray:
        return correlate(plane.astype(self.dtype), transforms, self.grid.transform, workers)


def _level(values: np.ndarray, good: np.ndarray) -> float:
    """Return the mean over good detectors."""
    return float(values[good].mean(dtype=np.float64))


def image_grid(
    geometry: MaskGeometry,
    oversampling: int = 2,
    distance: float | None = None,
    left_handed: bool = True,
    autocollimation: bool = True,
    origin: float = 0.0,
) -> ImageGrid:
    """Return the pixels of images through a mask.

    Formula: algorithms, section 2.3 (sizes, coordinates).

    Parameters
    ----------
    geometry
        Where mask and detectors are.
    oversampling
        Pixels to a detector pitch, along X and Y.
    distance
        BAT_Z of the sources, cm; `None` for sources far away.
    left_handed
        Whether columns run against X.
    autocollimation
        Correct the scale for the light that passes the edges of cells of finite thickness.
    origin
        BAT_Z of the point that directions to near sources are measured from, cm.

    Examples
    --------
    >>> grid = image_grid(MaskGeometry.from_attrs({}, (243, 487)))
    >>> grid.shape, round(grid.step[0], 8)
    ((930, 1736), -0.00210632)
    """
    height = geometry.mask_top - geometry.detector_top
    magnify = 1.0
    if distance is not None:
        above = distance - geometry.detector_top
        magnify = above / (above - height) if above > height else 1.0
    scale = geometry.mask_cell[0] / geometry.detector_pitch[0] * magnify
    ny, nx = geometry.shape
    cells = int(np.ceil(scale * ny)) + NY, int(np.ceil(scale * nx)) + NX
    shape = cells[0] * oversampling + _BORDER, cells[1] * oversampling + _BORDER
    stretch = 1.0 / (1.0 - 0.5 * geometry.mask_cell[2] / height) if autocollimation else 1.0
    if distance is not None:
        stretch *= (distance - geometry.detector_top) / (distance - origin)
    step = [pitch / height / oversampling / magnify * stretch for pitch in geometry.detector_pitch]
    pixel = [
        oversampling * (n_det + n_cell * scale + 2) / 2 + 1 - (shift / height) / width
        for n_det, n_cell, shift, width in zip((NX, NY), (nx, ny), _offset(geometry), step, strict=True)
    ]
    if left_handed:
        pixel[0], step[0] = shape[1] + 1 - pixel[0], -step[0]
    return ImageGrid(
        oversampling=oversampling,
        scale=scale,
        cells=cells,
        transform=(_fast(cells[0] + 1), _fast(cells[1] + 1)),
        shape=shape,
        step=(step[0], step[1]),
        pixel=(pixel[0], pixel[1]),
        mirrored=left_handed,
    )


def _fast(size: int) -> int:
    return int(scipy.fft.next_fast_len(size, real=True))


def _offset(geometry: MaskGeometry) -> tuple[float, float]:
    """Return X and Y of the middle of the mask relative to the middle of the detectors, cm."""
    x, y = (
        geometry.mask_corner[axis]
        + geometry.mask_cell[axis] * geometry.shape[1 - axis] / 2
        - geometry.detector_corner[axis]
        - geometry.detector_pitch[axis] * ((NX, NY)[axis] - 1) / 2
        - geometry.detector_size[axis] / 2
        for axis in (0, 1)
    )
    return x, y


def aperture_transforms(
    mask: np.ndarray, grid: ImageGrid, rebalance: bool = True, dtype: Any = np.float64
) -> ApertureTransforms:
    """Return the transforms of a mask, resampled to detector pixels in each sub-phase.

    Formula: algorithms, section 2.3 (resampling, rebalancing).

    Parameters
    ----------
    mask
        Cells: +1 open, -1 closed, 0 outside.
    grid
        The pixels of the image.
    rebalance
        Take the mean of the cells off, so that a flat background gives nothing.
    dtype
        Precision of the transforms, float32 or float64.
    """
    cells = mask.astype(np.float64)
    if rebalance:
        inside = mask != 0
        cells[inside] -= cells[inside].mean()
    phases = _resampled(cells, grid)
    return ApertureTransforms(_transformed(phases, grid, dtype), _transformed(phases**2, grid, dtype))


def _resampled(cells: np.ndarray, grid: ImageGrid) -> np.ndarray:
    """Return the cells on detector pixels, for all sub-phases: value times overlap, in units of a pixel."""
    steps = [step / grid.oversampling for step in range(grid.oversampling)]
    rows, columns = (
        [_overlap(size, grid.scale, step, length) for step in steps]
        for size, length in zip(cells.shape, grid.transform, strict=True)
    )
    return np.stack([row @ cells @ column.T for row in rows for column in columns])


def _overlap(n_cell: int, scale: float, phase: float, length: int) -> np.ndarray:
    """Return how much of each pixel each cell covers, when cell c reaches from ``scale c + phase`` on."""
    edges = scale * np.arange(n_cell + 1) + phase
    pixel = np.arange(length)[:, None]
    return np.clip(np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel), 0.0, None)


def _transformed(phases: np.ndarray, grid: ImageGrid, dtype: Any) -> np.ndarray:
    return scipy.fft.rfft2(phases, s=grid.transform).astype(np.result_type(dtype, np.complex64))


def correlate(
    plane: np.ndarray, transforms: np.ndarray, size: tuple[int, int], workers: int = 1
) -> np.ndarray:
    """Return the correlation of a detector image with each of the transforms.

    The first pixel is that in which only the last detector meets the first pixel of the mask.
    """
    padded = np.zeros(size, plane.dtype)
    padded[-plane.shape[0] :, -plane.shape[1] :] = plane
    product = transforms * np.conj(scipy.fft.rfft2(padded, workers=workers))
    return scipy.fft.irfft2(product, s=size, overwrite_x=True, workers=workers)


def coding_fraction(
    mask: np.ndarray, grid: ImageGrid, good: np.ndarray, threshold: float = 0.0, workers: int = 1
) -> np.ndarray:
    """Return which fraction of the good detectors is coded by the mask, for each pixel.

    The correlation of the open part of the mask with the good detectors, relative to that of a mask that is
    everywhere open as often as on the whole; 0 below `threshold`. Formula: algorithms, section 2.3.
    """
    opened = (mask > 0).astype(np.float64)
    share = opened.sum() / np.count_nonzero(mask)
    transforms = _transformed(_resampled(opened, grid), grid, np.float64)
    seen = correlate(good.astype(np.float64), transforms, grid.transform, workers)
    flat = np.full(grid.shape, 1.0 / (np.count_nonzero(good) * share))
    pcode = np.empty(grid.shape)
    _arrange(seen, flat, grid.oversampling, *grid.cells, grid.mirrored, 0.0, pcode)
    pcode[pcode < threshold] = 0.0
    return pcode


def detector_face(imx: Any, imy: Any) -> np.ndarray:
    """Return the area that a detector, with its sides, turns to a direction; 1 on the axis.

    Formula: algorithms, section 2.3 (ce).

    Examples
    --------
    >>> round(float(detector_face(0.25, 0.1)), 4)
    1.0163
    """
    x, y = np.abs(imx), np.abs(imy)
    return (1.0 + np.minimum(0.15 * x, 0.05) + np.minimum(0.15 * y, 0.05)) / np.sqrt(1.0 + x * x + y * y)


def flat_field(grid: ImageGrid) -> np.ndarray:
    """Return `detector_face` for each pixel of an image."""
    imx, imy = grid.tangent()
    return detector_face(imx, imy[:, None])


def decoder(
    mask: np.ndarray,
    geometry: MaskGeometry,
    grid: ImageGrid,
    transforms: ApertureTransforms,
    good: np.ndarray,
    *,
    corrections: frozenset[str],
    rebalance: bool,
    threshold: float,
    distance: float | None,
    gain: float,
    dtype: Any,
    undefined: float = np.nan,
    workers: int = 1,
) -> Decoder:
    """Return what turns images of a set of good detectors into sky images.

    Formula: algorithms, section 2.3 (corrections). The factor is 1 over those of flat field, partial coding,
    number of good detectors and technique that are among `corrections`. Where the coding is below
    `threshold` and at the border the image is NaN; with `undefined` = 0 only the partial-coding correction,
    which divides by 0, makes it so.
    """
    pcode = coding_fraction(mask, grid, good, threshold, workers)
    keep_all = undefined == 0.0
    factor = np.ones(grid.shape) if keep_all else np.where(pcode > 0, 1.0, np.nan)
    if "flatfield" in corrections:
        factor /= flat_field(grid)
    if "pcode" in corrections:
        factor /= np.where(pcode > 0, pcode, np.nan)
    if "ndets" in corrections:
        factor /= np.count_nonzero(good)
    if "maskwt" in corrections:
        factor /= weight_normalisation(geometry, FAR if distance is None else distance, gain)
    flat = correlate(good.astype(np.float64), transforms.square, grid.transform, workers)
    flat = flat[:, : grid.cells[0], : grid.cells[1]].astype(dtype)
    fill = 0.0 if keep_all and "pcode" not in corrections else np.nan
    return Decoder(grid, transforms, good, pcode.astype(dtype), factor.astype(dtype), flat, fill, rebalance)


@njit(cache=True, nogil=True)
def _fill_border(out: np.ndarray, last_row: int, last_column: int, mirrored: bool, fill: float) -> None:
    """Write `fill` to the rows and columns beyond those that get values, which begin with 1."""
    out[0, :] = fill
    out[last_row + 1 :, :] = fill
    if mirrored:
        out[:, : out.shape[1] - 1 - last_column] = fill
        out[:, -1] = fill
    else:
        out[:, 0] = fill
        out[:, last_column + 1 :] = fill


@njit(cache=True, nogil=True)
def _arrange(
    phases: np.ndarray,
    factor: np.ndarray,
    oversampling: int,
    ny: int,
    nx: int,
    mirrored: bool,
    fill: float,
    out: np.ndarray,
) -> None:
    """Write sub-phases as one image, times a factor; `fill` at the border."""
    _fill_border(out, oversampling * ny, oversampling * nx, mirrored, fill)
    last = out.shape[1] - 1
    for row in range(1, oversampling * ny + 1):
        j = (row - 1) // oversampling
        phase_y = oversampling * (j + 1) - row
        for phase_x in range(oversampling):
            values = phases[phase_y * oversampling + phase_x, j]
            for i in range(nx):
                column = oversampling * (i + 1) - phase_x
                if mirrored:
                    column = last - column
                out[row, column] = values[i] * factor[row, column]


@njit(cache=True, nogil=True)
def _arrange_with_noise(
    phases: np.ndarray,
    variance: np.ndarray,
    flat: np.ndarray,
    level: float,
    factor: np.ndarray,
    pcode: np.ndarray,
    oversampling: int,
    ny: int,
    nx: int,
    mirrored: bool,
    fill: float,
    flux: np.ndarray,
    noise: np.ndarray,
    snr: np.ndarray,
) -> None:
    """Write flux, noise and significance from the sub-phases of image and variance; `fill` at the border."""
    _fill_border(flux, oversampling * ny, oversampling * nx, mirrored, fill)
    _fill_border(noise, oversampling * ny, oversampling * nx, mirrored, fill)
    _fill_border(snr, oversampling * ny, oversampling * nx, mirrored, np.nan)
    last = flux.shape[1] - 1
    zero = level - level
    for row in range(1, oversampling * ny + 1):
        j = (row - 1) // oversampling
        phase_y = oversampling * (j + 1) - row
        for phase_x in range(oversampling):
            values = phases[phase_y * oversampling + phase_x, j]
            spread = variance[phase_y * oversampling + phase_x, j]
            even = flat[phase_y * oversampling + phase_x, j]
            for i in range(nx):
                column = oversampling * (i + 1) - phase_x
                if mirrored:
                    column = last - column
                sigma = np.sqrt(max(level * even[i] + spread[i], zero))
                flux[row, column] = values[i] * factor[row, column]
                noise[row, column] = sigma * factor[row, column]
                coded = sigma > zero and pcode[row, column] > zero
                snr[row, column] = values[i] / sigma if coded else np.nan
