"""Distortion maps from images: where on the tangent plane sources appear against where they are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batx.errors import MissingKeywordError
from batx.instrument.distortion import DistortionMap
from batx.schema import require_kind

__all__ = ["distortion_map"]


def distortion_map(distortion: xr.Dataset | DistortionMap | None) -> DistortionMap | None:
    """Return the distortion map that an image (2, ny, nx) holds, on the grid of its coordinates T."""
    if distortion is None or isinstance(distortion, DistortionMap):
        return distortion
    from astropy.io.fits import Header

    require_kind(distortion, "image", operation="reading a distortion map")
    cards = Header.fromstring(str(distortion["wcs"].item()) if "wcs" in distortion else "", sep="\n")
    try:
        first, step, pixel = (
            [float(cards.get(f"{name}{axis}T", cards[f"{name}{axis}"])) for axis in (1, 2)]
            for name in ("CRVAL", "CDELT", "CRPIX")
        )
    except KeyError as error:
        raise MissingKeywordError(
            f"distortion: found an image without {error}, expected CRVAL, CDELT and CRPIX of both axes"
        ) from error
    origin = [first[axis] + (1 - pixel[axis]) * step[axis] for axis in (0, 1)]
    return DistortionMap(
        np.asarray(distortion["image"].values, dtype=np.float64), (origin[0], origin[1]), (step[0], step[1])
    )
