"""Sky images and positions in the form in which sources are searched and fitted: arrays of one time each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx import sky_coords
from batx.errors import (
    EmptySelectionError,
    KindError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
)
from batx.grids import warn
from batx.instrument.distortion import DistortionMap
from batx.positions import source_positions
from batx.schema import identify, require_kind
from batx.units import to_value

__all__ = [
    "Field",
    "Targets",
    "catalog_targets",
    "image_fields",
    "image_values",
    "places_on",
    "plane_scale",
    "refuse_repeats",
    "targets_of",
    "without_repeats",
]

_PLANE = ("imy", "imx")


@dataclass(frozen=True)
class Field:
    """One image, in all its bands.

    Attributes
    ----------
    image
        The Dataset of this time, with its coordinates.
    name, units
        Which variable the values are, ``"rate"`` or ``"counts"``, and their unit.
    values
        Shape ``(band, ny, nx)``, float64; 0 where undefined.
    pcode
        Shape ``(ny, nx)``.
    usable, counted
        Where sources may be, and where the background is measured.
    scale
        Shape ``(band, ny, nx)``: how the noise is expected to vary over the image, up to a factor: that of
        the image if it has one, else one over the root of the partial coding. 1 where not usable.
    """

    image: xr.Dataset
    name: str
    units: str
    values: np.ndarray
    pcode: np.ndarray
    usable: np.ndarray
    counted: np.ndarray
    scale: np.ndarray

    @property
    def step(self) -> tuple[float, float]:
        """Distance of pixels in IMX and IMY, without sign."""
        (x0, x1), (y0, y1) = sky_coords.pixel_to_tangent(self.image, [0, 1], [0, 1])
        return abs(float(x1 - x0)), abs(float(y1 - y0))

    def holds(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return which places (column and row) are on a usable pixel."""
        column, row = nearest(x, self.usable.shape[1]), nearest(y, self.usable.shape[0])
        return (column >= 0) & (row >= 0) & self.usable[row, column]


def nearest(index: Any, size: int) -> np.ndarray:
    """Return indices rounded to whole pixels; -1 outside an axis of `size` pixels and where not finite."""
    rounded = np.rint(np.asarray(index, np.float64))
    inside = (rounded >= 0) & (rounded < size)
    return np.where(inside, rounded, -1).astype(np.int64)


def image_values(image: Any, operation: str) -> xr.DataArray:
    """Return the flux of a sky image, per second of exposure where the image is in counts and has exposure.

    Raises
    ------
    KindError
        If it is no sky image.
    MissingVariableError
        If it has neither `rate` nor `counts`.
    """
    require_kind(image, "sky_image", operation=operation)
    for name in ("imx", "imy"):
        if name not in image.coords:
            raise MissingVariableError(f"{operation}: found a sky image without the coordinate '{name}'")
    if "rate" in image:
        return image["rate"]
    if "counts" not in image:
        raise MissingVariableError(
            f"{operation}: found a sky image with {sorted(map(str, image.data_vars))}, "
            "expected rate or counts"
        )
    counts = image["counts"]
    if "exposure" not in image or not (image["exposure"] > 0).all():
        return counts
    with xr.set_options(keep_attrs=True):
        rate = (counts / image["exposure"]).transpose(*counts.dims)
    return rate.rename("rate").assign_attrs(units="count/s")


def image_fields(
    image: Any, pcode: Any, pcode_min: float, bkg_pcode_min: float | None, operation: str
) -> Iterator[Field]:
    """Yield the images of a Dataset time by time; values are read here.

    Parameters
    ----------
    image
        Kind ``sky_image``.
    pcode
        Partial coding if `image` has none: Dataset of kind ``sky_image`` with `pcode`, DataArray on the same
        pixels, or a number that holds everywhere.
    pcode_min, bkg_pcode_min
        Least partial coding of pixels in which sources may be, and in which the background is measured
        (`None`: the same).
    operation
        What is done, for messages.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError
        If the image, or its partial coding, is absent or something else.
    EmptySelectionError
        If no pixel is finite and coded.
    """
    flux = image_values(image, operation)
    coding = _coding(image, pcode, operation)
    if not 0 <= pcode_min <= 1 or not (bkg_pcode_min is None or 0 <= bkg_pcode_min <= 1):
        raise ValueRangeError(
            f"{operation}: found pcode_min={pcode_min}, bkg_pcode_min={bkg_pcode_min}, expected 0 to 1"
        )
    floor = pcode_min if bkg_pcode_min is None else bkg_pcode_min
    for number in range(flux.sizes.get("time", 1)):
        at_time = {"time": number} if "time" in flux.dims else {}
        values = _stacked(flux.isel(at_time))
        _refuse_empty_bands(values, image, operation)
        finite = np.isfinite(values).all(axis=0)
        fraction = _stacked(coding.isel({dim: i for dim, i in at_time.items() if dim in coding.dims}))
        coded = np.nan_to_num(np.broadcast_to(fraction.min(axis=0), finite.shape))
        usable, counted = finite & (coded >= pcode_min), finite & (coded >= floor) & (coded > 0)
        if not usable.any() or not counted.any():
            raise EmptySelectionError(
                f"{operation}: found {int(finite.sum())} finite pixels of {finite.size}, none of them with a "
                f"partial coding of at least {pcode_min}; look at the image, or lower pcode_min"
            )
        chosen = image.isel({dim: i for dim, i in at_time.items() if dim in image.dims})
        yield Field(
            image=chosen,
            name=str(flux.name),
            units=str(flux.attrs.get("units", "count/s" if flux.name == "rate" else "count")),
            values=np.where(finite, values, 0.0),
            pcode=coded,
            usable=usable,
            counted=counted,
            scale=_noise_scale(chosen, coded, usable | counted, values.shape),
        )


def _refuse_empty_bands(values: np.ndarray, image: xr.Dataset, operation: str) -> None:
    """Raise an error if some bands, but not all, have no finite pixel: no pixel would count in any band."""
    empty = ~np.isfinite(values).any(axis=(1, 2))
    if empty.any() and not empty.all():
        bands = image["energy"].values[empty] if "energy" in image.variables else np.flatnonzero(empty)
        raise EmptySelectionError(
            f"{operation}: found no finite pixel in {empty.sum()} of {len(empty)} bands (at {bands.tolist()} "
            "keV); leave them out with .isel(energy=...)"
        )


def _noise_scale(
    image: xr.Dataset, pcode: np.ndarray, wanted: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return how the noise of an image varies from pixel to pixel."""
    if "noise" in image and set(image["noise"].dims) <= {"energy", *_PLANE}:
        noise = np.broadcast_to(_stacked(image["noise"]), shape)
        good = np.isfinite(noise) & (noise > 0)
        if good[:, wanted].all():
            return np.where(wanted, noise, 1.0)
    fraction = np.where(wanted & (pcode > 0), pcode, 1.0)
    return np.broadcast_to(1 / np.sqrt(fraction), shape)


def _coding(image: xr.Dataset, pcode: Any, operation: str) -> xr.DataArray:
    """Return the partial coding as a DataArray on the pixels of the image."""
    if pcode is None:
        if "pcode" not in image:
            raise MissingVariableError(
                f"{operation}: found an image without partial coding (variable pcode); give pcode=, the "
                "image of it, or pcode=1 if every pixel is coded"
            )
        return image["pcode"]
    if isinstance(pcode, xr.Dataset):
        if "pcode" not in pcode:
            raise KindError(
                f"{operation}: pcode is a Dataset with {sorted(map(str, pcode.data_vars))}, expected pcode"
            )
        pcode = pcode["pcode"]
    if not isinstance(pcode, xr.DataArray):
        values = to_value(pcode, "1", "pcode")
        shape = tuple(image.sizes[dim] for dim in _PLANE)
        if values.shape not in ((), shape):
            raise ValueRangeError(f"pcode: found an array of shape {values.shape}, expected {shape}")
        return xr.DataArray(np.broadcast_to(values, shape), dims=_PLANE)
    if any(pcode.sizes.get(dim) != image.sizes[dim] for dim in _PLANE):
        raise ValueRangeError(
            f"pcode: found {dict(pcode.sizes)}, expected the pixels of the image, {dict(image.sizes)}"
        )
    extra = [dim for dim in pcode.dims if pcode.sizes[dim] == 1 and dim not in _PLANE]
    return pcode.isel(dict.fromkeys(extra, 0), drop=True)


def _stacked(array: xr.DataArray) -> np.ndarray:
    """Return an array of one time as native float64 of shape ``(band, ny, nx)``."""
    bands = [dim for dim in array.dims if dim not in _PLANE]
    if bands not in ([], ["energy"]):
        raise ValueRangeError(
            f"sky image: found dimensions {array.dims}, expected [time,] [energy,] imy, imx"
        )
    values = np.ascontiguousarray(array.transpose(*bands, *_PLANE).values, dtype=np.float64)
    return values if bands else values[None]


@dataclass(frozen=True)
class Targets:
    """Sources at known positions; `error` is their position error in degrees, 0 where there is none."""

    name: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    imx: np.ndarray
    imy: np.ndarray
    error: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    def select(self, index: np.ndarray) -> Targets:
        """Return some of them."""
        return Targets(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def catalog_targets(catalog: Any, operation: str) -> Targets:
    """Return the sources of a catalogue.

    Raises
    ------
    KindError
        If it is no catalogue.
    MissingVariableError
        If it has no columns for the position.
    """
    if not isinstance(catalog, xr.Dataset):
        raise KindError(
            f"{operation}: catalog is a {type(catalog).__name__}, expected a Dataset of kind catalog "
            "(batx.open_dataset of a FITS catalogue, or what detect returns)"
        )
    missing = [name for name in ("ra", "dec") if name not in catalog.variables]
    if missing:
        raise MissingVariableError(
            f"{operation}: found a catalogue without {' and '.join(missing)}, "
            f"expected ra and dec in degrees; it has {sorted(map(str, catalog.variables))}"
        )
    if identify(catalog) != "catalog":
        raise KindError(
            f"{operation}: found kind '{identify(catalog)}', expected a catalog with one dimension, source"
        )
    ra, dec = (catalog[name].values.astype(np.float64) for name in ("ra", "dec"))
    unknown = np.full(len(ra), np.nan)
    name = catalog["name"].values if "name" in catalog.variables else np.arange(1, len(ra) + 1).astype(str)
    error = catalog["err_rad"].values.astype(np.float64) if "err_rad" in catalog.variables else unknown
    return Targets(
        name=np.array([str(text).strip() for text in name], dtype=object),
        ra=ra,
        dec=dec,
        imx=unknown,
        imy=unknown,
        error=np.where(error > 0, error, 0.0),
    )


def _repeats(targets: Targets) -> np.ndarray:
    """Return which targets are where an earlier one is."""
    places = np.stack([targets.ra, targets.dec, targets.imx, targets.imy], axis=1)
    _, first = np.unique(np.nan_to_num(places, nan=-1e9), axis=0, return_index=True)
    again = np.ones(len(targets), bool)
    again[first] = False
    return again


def without_repeats(targets: Targets, operation: str) -> Targets:
    """Return targets without those that are where an earlier one is, with a warning.

    Of two sources in one place only the sum of the rates can be known.
    """
    again = _repeats(targets)
    if again.any():
        warn(
            f"{operation}: the catalogue has {again.sum()} source(s) in the place of an earlier one, the "
            f"first is {targets.name[again][0]!r}; they are left out"
        )
    return targets.select(~again)


def refuse_repeats(targets: Targets) -> None:
    """Raise an error if a place is there twice: two sources in one place have no rates of their own."""
    again = _repeats(targets)
    if again.any():
        raise PositionError(
            f"photometry: {again.sum()} position(s) are there twice, the first is number "
            f"{np.flatnonzero(again)[0]}; two sources in one place have no rates of their own: give each "
            "once, or together=False"
        )


def targets_of(ra: Any, dec: Any, frame: str, operation: str) -> Targets:
    """Return sources from a catalogue, a SkyCoord, or coordinates in the frame sky or tangent."""
    if isinstance(ra, xr.Dataset):
        return catalog_targets(ra, operation)
    if frame not in ("sky", "tangent"):
        raise PositionError(f"frame: found {frame!r}, expected 'sky' or 'tangent'")
    given = source_positions(ra, dec, frame)
    unknown = np.full(len(given), np.nan)
    places = (given.first, given.second)
    sky, plane = (places, (unknown, unknown)) if frame == "sky" else ((unknown, unknown), places)
    return Targets(np.array([""] * len(given), dtype=object), *sky, *plane, np.zeros(len(given)))


def plane_scale(image: xr.Dataset, tool: bool) -> tuple[float, float]:
    """Return the factors between the tangent plane of the tool's sky positions and that of IMX and IMY.

    The tool writes ``atan(step)`` as the celestial step of pixels, and goes by that; the factor is 1 else.
    """
    if not tool:
        return 1.0, 1.0
    (x0, x1), (y0, y1) = sky_coords.pixel_to_tangent(image, [0, 1], [0, 1])
    return float((x1 - x0) / np.arctan(x1 - x0)), float((y1 - y0) / np.arctan(y1 - y0))


def places_on(
    image: xr.Dataset, targets: Targets, distortion: DistortionMap | None, tool: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row (with fractions) at which sources appear in an image; NaN behind it."""
    imx, imy = targets.imx.copy(), targets.imy.copy()
    on_sky = ~np.isfinite(imx)
    if on_sky.any():
        x, y, front = sky_coords.sky_to_tangent(image, targets.ra[on_sky], targets.dec[on_sky])
        scale = plane_scale(image, tool)
        imx[on_sky] = np.where(front, x * scale[0], np.nan)
        imy[on_sky] = np.where(front, y * scale[1], np.nan)
    if distortion is not None:
        seen = np.isfinite(imx)
        imx[seen], imy[seen] = distortion.apparent(imx[seen], imy[seen])
    return sky_coords.tangent_to_pixel(image, imx, imy)
