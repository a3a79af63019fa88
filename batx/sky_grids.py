"""Grids of cells on the sky that images are summed on: HEALPix spheres and FITS images.

Cells are numbered; a grid gives the directions of any of them, and divides its numbers into regions that are
summed one at a time, so that memory does not grow with the grid. Formulae: algorithms, section 2.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from batx.errors import ValueRangeError

__all__ = [
    "FRAMES",
    "HealpixGrid",
    "SkyGrid",
    "WcsGrid",
    "cells_in_view",
    "frame_to_icrs",
    "galactic_facets",
    "may_show",
]

FRAMES = ("icrs", "galactic")

#: finest resolution: there are 12 times its square cells to look at
_FINEST = 8192
#: cells whose directions are computed at once
_BLOCK = 2**16


@cache
def frame_to_icrs(frame: str) -> np.ndarray:
    """Return the rotation (3, 3) from directions in a frame to ICRS directions.

    Examples
    --------
    >>> frame_to_icrs("icrs").tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if frame not in FRAMES:
        raise ValueRangeError(f"frame: found {frame!r}, expected one of {', '.join(FRAMES)}")
    if frame == "icrs":
        return np.eye(3)
    from astropy.coordinates import SkyCoord

    axes = SkyCoord(*np.eye(3), frame="galactic", representation_type="cartesian")
    return np.asarray(axes.icrs.cartesian.xyz.value, dtype=np.float64)


@dataclass(frozen=True)
class HealpixGrid:
    """The HEALPix sphere of a resolution; cells keep to those in view of some image.

    Attributes
    ----------
    nside
        Resolution; a power of two where cells are nested.
    order
        ``"nested"`` or ``"ring"``.
    frame
        ``"icrs"`` or ``"galactic"``.
    """

    nside: int
    order: str = "nested"
    frame: str = "icrs"
    dense = False

    def __post_init__(self) -> None:
        if self.order not in ("nested", "ring"):
            raise ValueRangeError(f"order: found {self.order!r}, expected 'nested' or 'ring'")
        frame_to_icrs(self.frame)
        if isinstance(self.nside, bool) or not isinstance(self.nside, (int, np.integer)) or self.nside < 1:
            found = (
                repr(self.nside) if isinstance(self.nside, (int, float, str)) else type(self.nside).__name__
            )
            raise ValueRangeError(f"nside: found {found}, expected a positive integer")
        if self.nside > _FINEST:
            raise ValueRangeError(
                f"nside: found {self.nside}, expected at most {_FINEST} (cells of {3518 / _FINEST * 60:.0f} "
                "arcsec; sources are 22 arcmin wide)"
            )
        if self.order == "nested" and self.nside & (self.nside - 1):
            lower = 2 ** (int(self.nside).bit_length() - 1)
            raise ValueRangeError(
                f"nside: found {self.nside}, expected a power of two where cells are nested, such as {lower} "
                f"or {2 * lower}; order='ring' takes any"
            )

    @property
    def size(self) -> int:
        """Number of cells of the whole sphere."""
        return 12 * int(self.nside) ** 2

    def vectors(self, cells: np.ndarray) -> np.ndarray:
        """Return directions (n, 3) of cell centres in the frame of the grid."""
        import healpy

        return np.stack(healpy.pix2vec(int(self.nside), cells, nest=self.order == "nested"), axis=-1)

    def regions(self, largest: int) -> np.ndarray:
        """Return the numbers at which regions of at most `largest` cells begin, and the end."""
        return np.append(np.arange(0, self.size, max(int(largest), 1)), self.size)

    def mapping(self) -> dict[str, Any]:
        """Return the grid mapping of CF-1.13; a resolution that is no power of two has no level."""
        level = {"refinement_level": int(self.nside).bit_length() - 1}
        return {
            "grid_mapping_name": "healpix",
            **(level if self.nside & (self.nside - 1) == 0 else {}),
            "indexing_scheme": self.order,
        }

    def describe(self) -> dict[str, Any]:
        """Return what tells this grid from another."""
        return {"grid": "healpix", "nside": int(self.nside), "order": self.order, "frame": self.frame}


@dataclass(frozen=True)
class WcsGrid:
    """One or several FITS images of the same shape, each with celestial or galactic coordinates.

    Attributes
    ----------
    headers
        FITS cards of each image, one a line.
    shape
        Rows and columns.
    """

    headers: tuple[str, ...]
    shape: tuple[int, int]
    dense = True

    @classmethod
    def of(cls, wcs: Any, shape: tuple[int, int] | None = None) -> WcsGrid:
        """Return the grid of an `astropy.wcs.WCS`, a FITS header, or a sequence of these of one shape.

        Raises
        ------
        ValueRangeError
            If the number of pixels is unknown, shapes differ, or an axis is not right ascension and
            declination or galactic longitude and latitude.
        """
        several = wcs if isinstance(wcs, Sequence) and not isinstance(wcs, str) else [wcs]
        if not several:
            raise ValueRangeError("wcs: found an empty list, expected at least one WCS")
        parsed = [_parsed(one) for one in several]
        shapes = {tuple(map(int, shape or one.array_shape or ())) for one in parsed}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueRangeError(
                f"wcs: found images of shapes {sorted(shapes)}, expected one number of rows and columns: "
                "set wcs.array_shape, or NAXIS1 and NAXIS2 of the header"
            )
        frames = {_frame_of(one) for one in parsed}
        if len(frames) != 1:
            raise ValueRangeError(f"wcs: found images in the frames {sorted(frames)}, expected one frame")
        rows, columns = next(iter(shapes))
        return cls(tuple(one.to_header_string(relax=True) for one in parsed), (rows, columns))

    @property
    def frame(self) -> str:
        """Frame of the coordinates."""
        return _frame_of(_parsed(self.headers[0]))

    @property
    def size(self) -> int:
        """Number of pixels of all images."""
        return len(self.headers) * self.shape[0] * self.shape[1]

    def vectors(self, cells: np.ndarray) -> np.ndarray:
        """Return directions (n, 3) of pixel centres in the frame of the grid, NaN where there is no sky."""
        plane = self.shape[0] * self.shape[1]
        result = np.empty((len(cells), 3))
        for facet in np.unique(cells // plane):
            here = cells // plane == facet
            y, x = np.divmod(cells[here] % plane, self.shape[1])
            lon, lat = np.deg2rad(_parsed(self.headers[facet]).celestial.all_pix2world(x, y, 0))
            result[here] = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1)
        return result

    def regions(self, largest: int) -> np.ndarray:
        """Return the numbers at which regions of at most `largest` pixels begin (whole rows), and the end."""
        rows, columns = self.shape
        step = max(int(largest) // columns, 1)
        first = np.arange(0, rows, step) * columns
        starts = (np.arange(len(self.headers))[:, None] * rows * columns + first).ravel()
        return np.append(starts, self.size)

    def describe(self) -> dict[str, Any]:
        """Return what tells this grid from another."""
        return {"grid": "wcs", "headers": list(self.headers), "shape": list(self.shape), "frame": self.frame}


SkyGrid = HealpixGrid | WcsGrid


def _parsed(wcs: Any) -> Any:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    if isinstance(wcs, str):
        return WCS(Header.fromstring(wcs))
    return wcs if isinstance(wcs, WCS) else WCS(wcs)


def _frame_of(wcs: Any) -> str:
    kinds = tuple(name.split("-")[0] for name in wcs.celestial.wcs.ctype) if wcs.has_celestial else ()
    frames = {("RA", "DEC"): "icrs", ("GLON", "GLAT"): "galactic"}
    if kinds not in frames:
        raise ValueRangeError(
            f"wcs: found axes {list(wcs.wcs.ctype)}, expected RA and DEC or GLON and GLAT, in this order"
        )
    return frames[kinds]


def galactic_facets(resolution: float = 2.8, boundary: float = 48.0) -> list[Any]:
    """Return the coordinates of six images that cover the sky: zenithal equal-area, galactic.

    They are centred at (l, b) = (90, 0), (0, 0), (-90, 0), (180, 0), (0, 90), (0, -90).

    Parameters
    ----------
    resolution
        Pixel size at the centre, arcmin.
    boundary
        Distance from the centre to the middle of an edge, degrees.

    Returns
    -------
    list of astropy.wcs.WCS
        With `array_shape`; 1998 x 1998 pixels each by default.

    Notes
    -----
    Source: algorithms 2.8 (the grid of the Swift/BAT surveys).

    Examples
    --------
    >>> facets = galactic_facets()
    >>> len(facets), facets[0].array_shape
    (6, (1998, 1998))
    """
    from astropy.wcs import WCS

    step = resolution / 60.0
    half = int(np.ceil(2 * np.rad2deg(np.sin(np.deg2rad(boundary) / 2)) / step))
    facets = []
    for centre in ((90.0, 0.0), (0.0, 0.0), (-90.0, 0.0), (180.0, 0.0), (0.0, 90.0), (0.0, -90.0)):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["GLON-ZEA", "GLAT-ZEA"]
        wcs.wcs.crval = [centre[0] % 360.0, centre[1]]
        wcs.wcs.crpix = [half + 0.5, half + 0.5]
        wcs.wcs.cdelt = [-step, step]
        wcs.array_shape = (2 * half, 2 * half)
        facets.append(wcs)
    return facets


def may_show(vectors: np.ndarray, homographies: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which images may show any of the directions; `False` is certain, `True` is not.

    An image is bounded by four planes through the observer; one that has the cone around all directions on
    its outer side shows none of them.

    Parameters
    ----------
    vectors
        (n, 3); NaN is left out.
    homographies, sizes
        (images, 3, 3) and (images, 2), as in `batx.kernels.coadd`.
    """
    known = vectors[np.isfinite(vectors[:, 0])]
    if len(known) == 0:
        return np.zeros(len(homographies), bool)
    centre = known.mean(axis=0)
    length = np.linalg.norm(centre)
    cosine = float((known @ centre).min() / length) if length > 1e-6 else -1.0
    if cosine <= 0:
        return np.ones(len(homographies), bool)
    x, y, depth = homographies[:, 0], homographies[:, 1], homographies[:, 2]
    last = sizes - 1.0
    planes = np.stack([x, last[:, :1] * depth - x, y, last[:, 1:] * depth - y, depth], axis=1)
    planes /= np.linalg.norm(planes, axis=-1, keepdims=True)
    return np.all(planes @ (centre / length) >= -np.sqrt(1 - cosine**2) - 1e-12, axis=1)


def cells_in_view(
    grid: SkyGrid, start: int, stop: int, homographies: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray | range, np.ndarray]:
    """Return the cells of a region that images show, and which images show any of it.

    Parameters
    ----------
    start, stop
        Numbers of the first cell of the region and of the first behind it.
    homographies, sizes
        Of all images, relative to the frame of the grid.

    Returns
    -------
    cells : numpy.ndarray or range
        int64, increasing; all of the region if the grid is dense.
    images : numpy.ndarray
        bool (images,).
    """
    from batx.kernels.coadd import in_view, shows_any

    cells, images = [], np.zeros(len(homographies), bool)
    for first in range(start, stop, _BLOCK):
        block = np.arange(first, min(first + _BLOCK, stop), dtype=np.int64)
        vectors = grid.vectors(block)
        shown = may_show(vectors, homographies, sizes)
        for image in np.flatnonzero(shown & ~images):
            images[image] = shows_any(vectors, homographies[image], *sizes[image])
        if shown.any() and not grid.dense:
            cells.append(block[in_view(vectors, homographies[shown], sizes[shown])])
    if grid.dense:
        return range(start, stop), images
    return (np.concatenate(cells) if cells else np.empty(0, np.int64)), images
