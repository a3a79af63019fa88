"""One sky image as it enters a sum: where it points, when, for how long, and its sums on cells of the sky.

Private to the functions that make maps. Formulae: algorithms, section 2.8.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.schema import require_kind
from batx.sky_coords import axis_direction, sky_rotation
from batx.sky_grids import frame_to_icrs

__all__ = ["Sampling", "SkyView", "Sums", "add_image", "lean", "sky_views"]

_NEEDED = ("rate", "counts", "noise", "pcode")

#: bytes from which on sums have memory of their own
_OWN_MEMORY = 2**20


class Sums(NamedTuple):
    """What is added up on cells: float64, `n_images` int32.

    Attributes
    ----------
    sum_w, sum_wf
        (band, cell) Σ 1/σ² and Σ f/σ².
    exposure, pcode_exposure, n_images
        (cell,) s, s and number.
    """

    sum_w: np.ndarray
    sum_wf: np.ndarray
    exposure: np.ndarray
    pcode_exposure: np.ndarray
    n_images: np.ndarray

    @classmethod
    def zeros(cls, bands: int, cells: int) -> Sums:
        """Return sums of nothing."""
        banded, single = (bands, cells), (cells,)
        return cls(_zeros(banded), _zeros(banded), _zeros(single), _zeros(single), _zeros(single, np.int32))

    def copy(self) -> Sums:
        """Return a copy that may be added to."""
        made = Sums.zeros(*self.sum_w.shape)
        made.add(self)
        return made

    def add(self, other: Sums, at: Any = slice(None)) -> None:
        """Add other sums in place, at the cells that `at` selects."""
        for mine, theirs in zip(self, other, strict=True):
            mine[..., at] += theirs


def _zeros(shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
    """Return zeros, large ones in memory of their own that goes back to the system when they are let go.

    The allocator keeps what is below 32 MB, with holes: 0.2 GB after a mosaic of many regions.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < _OWN_MEMORY or not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(shape, dtype)
    own = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(
        mmap, "MADV_HUGEPAGE"
    ):  # threads that touch small pages for the first time wait for each other
        own.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(own, dtype).reshape(shape)


@dataclass(frozen=True)
class Sampling:
    """How images are sampled.

    Attributes
    ----------
    pcode_min
        Pixels count if their partial coding is larger; `None` where images have none.
    before
        Whether weights are formed before the interpolation.
    off_axis
        (band, ny, nx) that flux and noise are divided by; `None` for none.
    energy_sum
        Whether a band more follows, the sum of all (flux added, variance added).
    """

    pcode_min: float | None = 0.15
    before: bool = False
    off_axis: np.ndarray | None = None
    energy_sum: bool = False


@dataclass(frozen=True)
class SkyView:
    """A sky image of one time, with its place on the sky.

    Attributes
    ----------
    image
        Dataset without the dimension time; its values may be lazy.
    homography
        (3, 3) from ICRS directions to (x, y, 1) pixels.
    exposure
        s.
    start, stop
        MET, NaN if unknown.
    identity
        Text that tells the image from every other.
    size
        Number of pixels along x and y.
    bands
        Number of energy bands.
    path, index
        File that the values are read from when they are needed, and number of the time in it.
    """

    image: xr.Dataset
    homography: np.ndarray
    exposure: float
    start: float
    stop: float
    identity: str
    size: tuple[int, int]
    bands: int
    path: str | None = None
    index: int | None = None

    @property
    def flux(self) -> str:
        """Name of the flux."""
        return "rate" if "rate" in self.image else "counts"

    def with_values(self, image: xr.Dataset) -> SkyView:
        """Return the view with the values of its maps."""
        return replace(self, image=image)

    def bare(self) -> SkyView:
        """Return the view without the values of its maps."""
        return replace(self, image=self.image[[]])

    def in_frame(self, frame: str) -> np.ndarray:
        """Return the homography from directions in a frame to pixels."""
        return self.homography @ frame_to_icrs(frame)

    def plane(self, name: str, band: int, box: tuple[slice, slice]) -> np.ndarray:
        """Return a part of a map as contiguous float32 or float64: counts are divided by the exposure."""
        array = self.image.variables[name]  # a tenth of the work of a DataArray, once a plane
        here = {"energy": band, "imy": box[0], "imx": box[1]}
        part = array.isel({dim: key for dim, key in here.items() if dim in array.dims})
        values = np.asarray(part.transpose("imy", "imx").values)
        kept = values.dtype.newbyteorder("=") if values.dtype.kind == "f" else np.dtype(np.float64)
        values = np.ascontiguousarray(values, kept if kept.itemsize >= 4 else np.float32)
        counted = name == "counts" or array.attrs.get("units") == "count"
        return values / values.dtype.type(self.exposure) if counted and name != "pcode" else values


def _take(
    image: Any, operation: str, pcode_min: float | None = None, path: str | None = None
) -> list[SkyView]:
    """Return the views of a sky image, one for each time that it has; without values if these are in a file.

    Raises
    ------
    KindError
        If it is not of kind sky_image.
    MissingVariableError
        If it has no flux, noise or exposure, or no coding although a floor is asked for.
    ValueRangeError
        If the exposure is not positive, or the image has fewer than two rows or columns.
    AttitudeError
        If it does not say where on the sky it lies.
    """
    require_kind(image, "sky_image", operation=operation)
    if "rate" not in image and "counts" not in image:
        raise MissingVariableError(f"{operation}: the image has no 'rate' and no 'counts' to add up")
    if "noise" not in image:
        raise MissingVariableError(
            f"{operation}: the image has no 'noise', which gives the weights; make the image with its noise, "
            "or add the map of another file: image.assign(noise=other['noise'])"
        )
    if "pcode" not in image and pcode_min is not None:
        raise MissingVariableError(
            f"{operation}: the image has no 'pcode' to compare with pcode_min={pcode_min:g}; add it, or give "
            "pcode_min=None to use every pixel with finite flux and positive noise"
        )
    if min(image.sizes["imx"], image.sizes["imy"]) < 2:
        raise ValueRangeError(
            f"{operation}: found {image.sizes['imy']} x {image.sizes['imx']} pixels, expected at least 2 x 2"
        )
    stacked = "time" in image.dims
    parts = [image.isel(time=index) for index in range(image.sizes["time"])] if stacked else [image]
    views = [_view(part, operation, index if stacked else None) for index, part in enumerate(parts)]
    return views if path is None else [replace(view.bare(), path=path) for view in views]


def _view(image: xr.Dataset, operation: str, index: int | None) -> SkyView:
    exposure = image["exposure"].values if "exposure" in image else image.attrs.get("exposure")
    if exposure is None:
        raise MissingVariableError(f"{operation}: the image has no 'exposure' (s)")
    if not (np.isfinite(exposure) and exposure > 0):
        raise ValueRangeError(f"{operation}: found an exposure of {exposure} s, expected a positive one")
    rotation = sky_rotation(image)
    x, y = (_axis(image, name) for name in ("imx", "imy"))
    pixel = np.array([[1 / x[1], 0, -x[0] / x[1]], [0, 1 / y[1], -y[0] / y[1]], [0, 0, 1]])
    start, stop = _span(image)
    identity = _identity(image, start, stop, rotation, index)
    size = image.sizes["imx"], image.sizes["imy"]
    bands = int(image.sizes.get("energy", 1))
    homography = pixel @ rotation
    return SkyView(lean(image), homography, float(exposure), start, stop, identity, size, bands, index=index)


def lean(image: xr.Dataset) -> xr.Dataset:
    """Return the maps that are needed, with the coding of the last band if it has several."""
    kept = [name for name in _NEEDED if name in image and (name != "counts" or "rate" not in image)]
    maps = image[kept].drop_vars(["time", "time_bnds", "wcs"], errors="ignore")
    if "pcode" in maps and "energy" in maps["pcode"].dims:
        maps["pcode"] = maps["pcode"].isel(energy=-1, drop=True)
    return maps


def _axis(image: xr.Dataset, name: str) -> tuple[float, float]:
    """Return first value and step of an evenly spaced coordinate."""
    values = np.asarray(image[name].values, np.float64)
    step = (values[-1] - values[0]) / (values.size - 1)
    if step == 0 or not np.allclose(np.diff(values), step, rtol=1e-6, atol=0):
        raise ValueRangeError(f"{name}: found values that are not evenly spaced; select pixels with slices")
    return float(values[0]), float(step)


def _span(image: xr.Dataset) -> tuple[float, float]:
    if "time_bnds" in image.variables:
        start, stop = np.ravel(image["time_bnds"].values)[[0, -1]]
        return float(start), float(stop)
    if "gti_start" in image and image.sizes["gti"]:
        return float(image["gti_start"].min()), float(image["gti_stop"].max())
    return float(image.attrs.get("tstart", np.nan)), float(image.attrs.get("tstop", np.nan))


def _identity(image: xr.Dataset, start: float, stop: float, rotation: np.ndarray, index: int | None) -> str:
    if "image_id" in image.attrs:
        return str(image.attrs["image_id"]) + ("" if index is None else f"#{index}")
    ra, dec, roll = (float(angle) for angle in axis_direction(rotation))
    where = f"ra={ra:.5f} dec={dec:.5f} roll={roll:.5f}"
    return f"{image.attrs.get('obs_id', '-')} {start:.6f} {stop:.6f} {where}"


def sky_views(
    images: Iterable[tuple[Any, str | None]], operation: str, pcode_min: float | None
) -> list[SkyView]:
    """Return the views of several images, each with its path if it is in a file, of the same bands and units.

    Raises
    ------
    EmptySelectionError
        If there is none.
    ValueRangeError
        If two are the same image, or differ in bands, units or the step of pixels.
    """
    views: list[SkyView] = []
    first: tuple[Any, str, np.ndarray] | None = None
    for number, (image, path) in enumerate(images):
        made = _take(image, operation, pcode_min, path)
        views += made
        bands = _bands(image)
        unit = "count/s"
        if "rate" in image:
            unit = str(image["rate"].attrs.get("units", ""))
        step = np.abs([_axis(image, name)[1] for name in ("imx", "imy")])
        if first is None:
            first = bands, unit, step
        elif not np.allclose(step, first[2], rtol=1e-3, atol=0):
            raise ValueRangeError(
                f"{operation}: image {number} has pixels of {step[0]:.6g} x {step[1]:.6g} on the tangent "
                f"plane, the first of {first[2][0]:.6g} x {first[2][1]:.6g}; expected one geometry (the same "
                "oversampling and distance in every image)"
            )
        elif unit != first[1]:
            raise ValueRangeError(
                f"{operation}: image {number} is in '{unit}', the first in '{first[1]}'; expected one unit"
            )
        elif not _same_bands(bands, first[0]):
            raise ValueRangeError(
                f"{operation}: image {number} has the bands {_text(bands)}, the first {_text(first[0])} keV; "
                "expected the same bands in every image"
            )
    if not views:
        raise EmptySelectionError(f"{operation}: found no image")
    _refuse_duplicates(views, operation)
    return views


def _refuse_duplicates(views: list[SkyView], operation: str) -> None:
    seen: dict[str, int] = {}
    for number, view in enumerate(views):
        if view.identity in seen:
            raise ValueRangeError(
                f"{operation}: images {seen[view.identity]} and {number} are the same image "
                f"({view.identity}); it would count twice. Images that only look the same need different "
                "attrs['image_id']"
            )
        seen[view.identity] = number


def _bands(image: xr.Dataset) -> np.ndarray | None:
    for name in ("energy_bnds", "energy"):
        if name in image.variables:
            return np.asarray(image[name].values, np.float64).reshape(image.sizes.get("energy", 1), -1)
    return None if "energy" not in image.dims else np.arange(image.sizes["energy"])[:, None]


def _same_bands(one: np.ndarray | None, two: np.ndarray | None) -> bool:
    if one is None or two is None:
        return one is two
    return one.shape == two.shape and np.allclose(one, two, rtol=0, atol=1e-3)


def _text(bands: np.ndarray | None) -> str:
    return "unknown" if bands is None else " ".join("-".join(f"{edge:g}" for edge in row) for row in bands)


def add_image(sums: Sums, view: SkyView, vectors: np.ndarray, frame: str, sampling: Sampling) -> None:
    """Add an image to sums on cells, in place; the rest of the image is not read.

    Parameters
    ----------
    sums
        On the cells, with a band more than the image if `sampling` asks for the sum of bands.
    vectors
        (cell, 3) directions of the cells in `frame`, NaN for none.
    """
    from batx.kernels import coadd

    nx, ny = view.size
    cells, corner, fraction = coadd.locate(vectors, view.in_frame(frame), nx, ny)
    if not len(cells):
        return
    low, high = corner.min(axis=0), corner.max(axis=0) + 2
    box = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    corner -= low
    places = cells, corner, fraction
    pcode, usable = _coding(view, box, sampling.pcode_min)
    share = np.zeros(len(cells))
    add = coadd.add_weighted_before if sampling.before else coadd.add_weighted_after
    total: list[np.ndarray] = []
    for band in range(view.bands):
        flux, noise = view.plane(view.flux, band, box), view.plane("noise", band, box)
        if sampling.off_axis is not None:
            factor = sampling.off_axis[band][box].astype(np.float64)
            factor[~(factor > 0)] = np.nan  # where it is not known
            flux, noise = flux / factor, noise / factor
        add(flux, noise, usable, *places, sums.sum_w[band], sums.sum_wf[band], share)
        if sampling.energy_sum:
            valid = np.where(noise > 0, noise, np.nan).astype(np.float64) ** 2
            total = [total[0] + flux, total[1] + valid] if total else [flux.astype(np.float64), valid]
    if sampling.energy_sum:
        add(total[0], np.sqrt(total[1]), usable, *places, sums.sum_w[-1], sums.sum_wf[-1], share)
    maps = share, sums.exposure, sums.pcode_exposure, sums.n_images
    coadd.add_exposure(pcode, usable, view.exposure, *places, *maps)


def _coding(view: SkyView, box: tuple[slice, slice], floor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the partial coding of a part of the image, and which pixels have enough of it."""
    if "pcode" not in view.image:
        shape = box[0].stop - box[0].start, box[1].stop - box[1].start
        return np.ones(shape), np.ones(shape, bool)
    pcode = view.plane("pcode", 0, box)
    return pcode, np.isfinite(pcode) & (pcode > (0.0 if floor is None else floor))
