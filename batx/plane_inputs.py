"""The inputs of imaging and cleaning, from labelled objects to plain arrays: stacks, mask, good detectors.

Private to the functions that work on detector images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import (
    EmptySelectionError,
    KindError,
    MissingVariableError,
    ValueRangeError,
)
from batx.grids import warn
from batx.instrument.detector import DETECTOR, SHAPE
from batx.instrument.mask import MaskGeometry
from batx.reduction import mask_array
from batx.schema import require_kind

__all__ = ["PlaneStack", "mask_and_geometry", "plane_stack", "usable_detectors"]

_AXES = ("time", "time_bnds", "energy", "energy_bnds", "exposure", "gti_start", "gti_stop")


@dataclass(frozen=True)
class PlaneStack:
    """Detector images over time and energy, as they are (dask arrays stay lazy).

    Attributes
    ----------
    quantity
        ``"counts"`` or ``"rate"``.
    dims
        Those of time and energy that there are, in this order.
    values
        ``(*dims, 173, 286)``.
    exposure
        Seconds, with axes of 1 so that it broadcasts with `values`; `None` if unknown.
    bounds
        Start and end of each time, ``(time, 2)``; `None` if unknown.
    good
        Starts and ends of good time, `None` if unknown.
    axes
        Coordinates and good time, to be handed on to what is made of the stack.
    variance
        That of `values`, if they are not plain counts or rates; `None` otherwise.
    background
        Rate and variance of the rate that are to be subtracted, broadcasting with `values`.
    """

    quantity: str
    dims: tuple[str, ...]
    values: Any
    exposure: np.ndarray | None
    bounds: np.ndarray | None
    good: tuple[np.ndarray, np.ndarray] | None
    axes: dict[str, xr.Variable]
    variance: Any
    background: tuple[Any, Any] | None

    def measured(self, quantity: str) -> tuple[Any, Any]:
        """Return counts or rates with the background taken off, and their variance.

        Formula: algorithms, section 2.3 (variance map, background image).
        """
        image, variance = self.values, self.spread()
        if self.background is not None:
            time = self.seconds() if self.quantity == "counts" else 1.0
            image = image - time * self.background[0]
            variance = variance + time**2 * self.background[1]
        if quantity == "rate" and self.quantity == "counts":
            time = self.seconds()
            image, variance = image / time, variance / time**2
        return image, variance

    def spread(self) -> Any:
        """Return the variance of the values: what is known of it, else that of Poisson counts."""
        if self.variance is not None:
            return self.variance
        return self.values if self.quantity == "counts" else self.values / self.seconds()

    def seconds(self) -> np.ndarray:
        """Return the exposure, NaN where there is none; raise an error if it is unknown."""
        if self.exposure is None:
            raise MissingVariableError(
                "detector plane: found no 'exposure', which rates and their noise need; "
                "give it in seconds: plane.assign(exposure=...)"
            )
        return np.where(self.exposure > 0, self.exposure, np.nan)

    def require_values(self, good: np.ndarray) -> None:
        """Raise an error if no image has a finite value, and warn of images without any; not if lazy."""
        if not isinstance(self.values, np.ndarray):
            return
        seen = np.isfinite(self.values[..., good]).any(axis=-1)
        if self.exposure is not None:
            seen = seen & (self.exposure[..., 0, 0] > 0)
        if not seen.any():
            raise EmptySelectionError(
                f"detector plane: found {seen.size} image(s) without a finite value at a good detector or "
                "without exposure; nothing can be made of that"
            )
        if not seen.all():
            warn(
                f"{np.count_nonzero(~seen)} of {seen.size} detector images have no finite value or no "
                "exposure; what is made of them is NaN"
            )

    def require_bounds(self) -> np.ndarray:
        """Return start and end of each time; raise an error if they are unknown."""
        if self.bounds is None:
            raise MissingVariableError(
                "detector plane: found neither 'time_bnds' nor attributes tstart and tstop; the time of the "
                "image is needed to look up the attitude"
            )
        return self.bounds


def plane_stack(plane: xr.Dataset, *, operation: str, background: xr.Dataset | None = None) -> PlaneStack:
    """Return the images of a Dataset of kind ``detector_plane``.

    Raises
    ------
    KindError
        If it is of another kind or holds weights.
    ValueRangeError
        If it has other dimensions, or `background` has other times or energies.
    EmptySelectionError
        If there is no image.
    """
    require_kind(plane, "detector_plane", operation=operation)
    quantity = next((name for name in ("counts", "rate") if name in plane), None)
    if quantity is None:
        raise KindError(f"{operation}: found a plane of weights, expected counts or rates of the detectors")
    array = _in_order(plane[quantity], operation)
    if not array.size:
        raise EmptySelectionError(f"{operation}: found dimensions {dict(array.sizes)}, expected an image")
    dims = tuple(str(dim) for dim in array.dims[:-2])
    known = {*dims, "bnds", "gti"}
    good = None
    if "gti_start" in plane.variables and plane.sizes.get("gti"):
        good = plane["gti_start"].values, plane["gti_stop"].values
    return PlaneStack(
        quantity=quantity,
        dims=dims,
        values=_values(array),
        exposure=_exposure(plane, dims, operation),
        bounds=_bounds(plane, array.sizes.get("time", 1)),
        good=good,
        axes={
            name: plane[name].variable
            for name in _AXES
            if name in plane.variables and set(plane[name].dims) <= known
        },
        variance=_values(_in_order(plane["variance"], operation)) if "variance" in plane else None,
        background=None if background is None else _background(background, array, operation),
    )


def _in_order(array: xr.DataArray, operation: str) -> xr.DataArray:
    lead = [name for name in ("time", "energy") if name in array.dims]
    sizes = array.sizes.get("dety"), array.sizes.get("detx")
    if set(array.dims) != {*lead, "dety", "detx"} or sizes != SHAPE:
        raise ValueRangeError(
            f"{operation}: found dimensions {dict(array.sizes)}, expected dety={SHAPE[0]}, detx={SHAPE[1]} "
            "and, if any, time and energy"
        )
    return array.transpose(*lead, "dety", "detx")


def _values(array: xr.DataArray) -> Any:
    """Return the images as float64, lazy and whole in the plane if they are dask arrays."""
    if array.chunks is None:
        return np.ascontiguousarray(array.values, dtype=np.float64)
    return array.chunk({"dety": -1, "detx": -1}).astype(np.float64).data


def _exposure(plane: xr.Dataset, dims: tuple[str, ...], operation: str) -> np.ndarray | None:
    if "exposure" not in plane.variables:
        return None
    exposure = plane["exposure"]
    if not set(exposure.dims) <= set(dims):
        raise ValueRangeError(
            f"{operation}: found an exposure along {exposure.dims}, expected along {dims or 'nothing'}"
        )
    values = np.asarray(exposure.values, dtype=np.float64)
    shape = [exposure.sizes.get(dim, 1) for dim in dims]
    return values.reshape(*shape, 1, 1)


def _bounds(plane: xr.Dataset, times: int) -> np.ndarray | None:
    if "time_bnds" in plane.variables:
        return np.asarray(plane["time_bnds"].values, dtype=np.float64).reshape(-1, 2)
    if "tstart" in plane.attrs and "tstop" in plane.attrs and times == 1:
        return np.array([[plane.attrs["tstart"], plane.attrs["tstop"]]], dtype=np.float64)
    return None


def _background(background: xr.Dataset, array: xr.DataArray, operation: str) -> tuple[Any, Any]:
    """Return rate and variance of the rate of a background, shaped to broadcast with the images."""
    other = plane_stack(background, operation=f"background of {operation}")
    for dim, size in zip(other.dims, other.values.shape, strict=False):
        expected = array.sizes.get(dim, 1)
        if size not in (1, expected) or (size > 1 and not _same_bands(dim, other.axes, array)):
            raise ValueRangeError(
                f"background: found {size} values along {dim}{_listed(other.axes.get(dim))}, expected those "
                f"of the images, {expected}{_listed(array.coords.get(dim))}"
            )
    rate, variance = other.measured("rate")
    if str(background.attrs.get("hduclas2", "")).upper() == "PREDICTED":
        variance = rate * 0.0
    lead = [str(dim) for dim in array.dims[:-2]]

    def fit(values: Any) -> Any:
        for axis in reversed(range(len(other.dims))):
            if other.dims[axis] not in lead:
                values = values[(slice(None),) * axis + (0,)]
        return values[tuple(slice(None) if dim in other.dims else np.newaxis for dim in lead)]

    return fit(rate), fit(variance)


def _same_bands(dim: str, axes: dict[str, xr.Variable], array: xr.DataArray) -> bool:
    """Whether the energies of a background are those of the images; times need not be."""
    if dim != "energy" or dim not in axes or dim not in array.coords:
        return True
    return np.allclose(axes[dim].values, array.coords[dim].values)


def _listed(values: Any) -> str:
    return "" if values is None else f" {np.atleast_1d(values.values).tolist()[:5]}"


def usable_detectors(detector_mask: Any) -> np.ndarray:
    """Return which detectors are good, ``(173, 286)``; the gaps are not.

    Raises
    ------
    KindError, ValueRangeError
        If `detector_mask` is no mask.
    EmptySelectionError
        If none is good.

    Examples
    --------
    >>> int(usable_detectors(None).sum())
    32768
    """
    good = DETECTOR if detector_mask is None else DETECTOR & mask_array(detector_mask)
    if not good.any():
        raise EmptySelectionError("detector_mask: found no good detector, expected some")
    return np.ascontiguousarray(good)


def mask_and_geometry(aperture: xr.Dataset, operation: str) -> tuple[np.ndarray, MaskGeometry]:
    """Return the cells of a coded mask and where it is.

    Raises
    ------
    KindError
        If `aperture` is of another kind.
    EmptySelectionError
        If no cell is open, or none closed.
    """
    require_kind(aperture, "aperture", operation=f"{operation} (aperture=)")
    cells = np.sign(aperture["mask"].transpose("mask_y", "mask_x").values).astype(np.int8)
    if not (cells > 0).any() or not (cells < 0).any():
        raise EmptySelectionError(
            f"aperture: found {np.count_nonzero(cells > 0)} open and {np.count_nonzero(cells < 0)} closed "
            "cells, expected some of both"
        )
    return np.ascontiguousarray(cells), MaskGeometry.from_attrs(aperture.attrs, cells.shape)
