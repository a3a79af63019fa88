"""Regions laid on images, and what an exposure map says of them: how long they were seen, and what share."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, PositionError, ValueRangeError
from batx.imaging_telescopes import sky_of, telescope_of
from batx.kernels.shapes import extent
from batx.regions import Region, as_regions, in_pixels, inside
from batx.schema import require_kind

__all__ = ["exposed_area", "on_image", "seen_fraction"]

#: greatest number of points on a side of a pixel at which regions are looked up, and of all of them
_POINTS, _MOST = 8, 4e6


def on_image(image: xr.Dataset, region: Any) -> list[Region]:
    """Return a region in the pixels of an image, from 1.

    Parameters
    ----------
    image
        Kind ``image`` with a sky; where it is binned, its header says how (``LTM1_1``, ``LTV1``, ``LTV2``).
    region
        What `batx.regions.circle` and the like return, or a file of ds9.

    Raises
    ------
    KindError
        If it is something else.
    ValueRangeError, MissingFileError, FileFormatError, PositionError
        If the region is none, or on a sky that the image does not have.
    """
    require_kind(image, "image", operation="on_image")
    slope, offsets = _physical(image)
    turned = [_scaled(one, slope, offsets) if one.frame == "physical" else one for one in as_regions(region)]
    return in_pixels(turned, sky_of(image))


def _physical(image: xr.Dataset) -> tuple[float, tuple[float, float]]:
    """Return slope and offsets of image = slope * physical + offset."""
    from astropy.io.fits import Header

    header = Header.fromstring(str(image["wcs"].values), sep="\n") if "wcs" in image.coords else Header()
    offsets = float(header.get("LTV1", 0.0)), float(header.get("LTV2", 0.0))
    return float(header.get("LTM1_1", 1.0)), offsets


def _scaled(region: Region, slope: float, offsets: tuple[float, float]) -> Region:
    """Return a region in physical pixels in those of the image; angles stay."""
    places = len(region.values) if region.shape == "polygon" else 2
    angle = len(region.values) - 1 if region.shape in ("ellipse", "box") else None
    values = tuple(
        value * slope + offsets[number % 2]
        if number < places
        else value
        if number == angle
        else value * slope
        for number, value in enumerate(region.values)
    )
    return Region(region.shape, values, "physical", region.include, region.text)


def exposed_area(exposure_map: xr.Dataset, region: Any) -> float:
    """Return the integral of an exposure map over a region: seconds times pixels of the map.

    Parameters
    ----------
    exposure_map
        Kind ``image`` in seconds, with a sky.
    region
        As for `on_image`.

    Returns
    -------
    float
        0 if the region is outside. Counted on a grid of up to 8 x 8 points a pixel: good to about 0.2 % for
        a radius of 10 pixels.

    Raises
    ------
    KindError, ValueRangeError, MissingFileError, FileFormatError, PositionError
        As `on_image`.

    Examples
    --------
    >>> from batx.regions import circle
    >>> from batx.schema import build
    >>> seen = build("image", {"image": (("y", "x"), np.full((20, 20), 100.0), {"units": "s"})})
    >>> round(exposed_area(seen, circle(10.3, 10.1, 6, frame="physical")) / 100)  # 36 π
    113
    """
    seconds, held, _, size = _around(exposure_map, region)
    return float(seconds[held].sum()) * size


def seen_fraction(exposure_map: xr.Dataset, region: Any, ra: float, dec: float) -> float:
    """Return the share of a point source's light and of the exposure that a region has.

    Parameters
    ----------
    exposure_map
        Kind ``image`` in seconds with a sky, of a telescope whose point-spread function is known
        (`batx.imaging_telescopes`).
    region
        As for `on_image`.
    ra, dec
        The source, degrees.

    Returns
    -------
    float
        The rate in the region over that of the whole source without bad pixels, gaps, and what else the map
        takes into account (vignetting).

    Raises
    ------
    KindError
        If the telescope has none, or as `on_image`.
    EmptySelectionError
        If the map is empty.
    ValueRangeError, MissingFileError, FileFormatError, PositionError
        As `on_image`.

    Notes
    -----
    Σ map PSF over the region / on-time, with PSF(r) = (β - 1) / (π c²) (1 + (r/c)²)^-β (King). On-time is
    ``attrs["ontime"]`` of the map, or its greatest value.
    """
    psf = telescope_of(exposure_map.attrs).psf
    if psf is None:
        raise KindError("seen_fraction: the point-spread function of this telescope is not known")
    on_time = float(exposure_map.attrs.get("ontime", exposure_map["image"].max()))
    if not on_time > 0:
        raise EmptySelectionError("seen_fraction: the exposure map is 0 everywhere")
    from astropy.wcs.utils import proj_plane_pixel_scales

    seconds, held, (x, y), size = _around(exposure_map, region)
    sky = sky_of(exposure_map)
    if sky is None:
        raise PositionError("seen_fraction: found an exposure map without coordinates of the sky")
    pixel = 3600.0 * float(np.mean(proj_plane_pixel_scales(sky)))
    x0, y0 = sky.world_to_pixel_values(ra, dec)
    core, slope = psf[0] / pixel, psf[1]
    square = ((x - 1 - x0) ** 2 + (y - 1 - y0) ** 2)[held] / core**2
    light = (slope - 1) / (np.pi * core**2) * (1 + square) ** -slope * size
    return float((seconds[held] * light).sum()) / on_time


def _around(exposure_map: xr.Dataset, region: Any) -> tuple[np.ndarray, np.ndarray, Any, float]:
    """Return seconds at points around a region, which of them it holds, their pixels (from 1) and area."""
    shapes = on_image(exposure_map, region)
    values = exposure_map["image"]
    if values.dims != ("y", "x"):
        raise KindError("exposure map: found several planes, expected one image (y, x)")
    boxes = np.array([extent(one.shape, one.values) for one in shapes if one.include])
    (left, _, low, _), (_, right, _, high) = boxes.min(axis=0), boxes.max(axis=0)
    rows, columns = (
        slice(*np.clip([np.floor(first) - 2, np.ceil(last) + 2], 0, size).astype(int))
        for first, last, size in ((low, high, values.sizes["y"]), (left, right, values.sizes["x"]))
    )
    cut = np.nan_to_num(values[rows, columns].values.astype(np.float64))
    if (cut < 0).any():
        raise ValueRangeError("exposure map: found negative values, expected seconds")
    points = int(np.clip(np.sqrt(_MOST / max(cut.size, 1)), 1, _POINTS))
    steps = (np.arange(points) + 0.5) / points + 0.5
    axes = (np.add.outer(np.arange(part.start, part.stop), steps).ravel() for part in (columns, rows))
    x, y = np.meshgrid(*axes)
    return np.kron(cut, np.ones((points, points))), inside(shapes, x, y), (x, y), 1.0 / points**2
