"""Distortion maps from images: where on the tangent plane sources appear against where they are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batx.caldb.finding import load
from batx.errors import KindError, MissingKeywordError
from batx.instrument.distortion import DistortionMap
from batx.schema import require_kind

__all__ = ["distortion_map", "named_distortion"]


def named_distortion(
    distortion: xr.Dataset | DistortionMap | str | None, time: float | None = None
) -> xr.Dataset | DistortionMap | None:
    """Return a distortion as it is, or that of the calibration database for ``"caldb"``.

    Raises
    ------
    CalibrationError
        If the database has none.
    KindError
        For any other text.
    """
    if not isinstance(distortion, str):
        return distortion
    if distortion.lower() != "caldb":
        raise KindError(f"distortion: found {distortion!r}, expected an image, or 'caldb'")
    return load("distortion", time)


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
