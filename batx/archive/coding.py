"""Which pointings have a position in the coded field of BAT."""

from __future__ import annotations

from typing import Any

import numpy as np

from batx.instrument.outline import flight_coding
from batx.instrument.sky import radec_to_vector

__all__ = ["FIELD_RADIUS", "field_position", "pointing_coding"]

#: no position so far from the axis is coded, degrees
FIELD_RADIUS = 64.5


def field_position(
    ra: Any, dec: Any, pointing_ra: Any, pointing_dec: Any, roll: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where a position is in the field of pointings, without misalignment.

    The axis of BAT is that of the spacecraft, and `roll` the position angle of spacecraft Z, from north
    through east.

    Parameters
    ----------
    ra, dec
        Position, degrees.
    pointing_ra, pointing_dec, roll
        Pointings, degrees; shape ``(n,)``.

    Returns
    -------
    imx, imy : numpy.ndarray
        BAT_X / BAT_Z and BAT_Y / BAT_Z, shape ``(n,)``; NaN behind the instrument.
    theta : numpy.ndarray
        Angle from the axis, degrees.

    Examples
    --------
    >>> imx, imy, theta = field_position(10.0, 45.0, [10.0], [0.0], [0.0])
    >>> abs(float(imx[0])) < 1e-12, round(float(imy[0]), 12), round(float(theta[0]), 9)
    (True, 1.0, 45.0)
    """
    a, d, r = (np.radians(np.asarray(value, dtype=np.float64)) for value in (pointing_ra, pointing_dec, roll))
    axis = radec_to_vector(pointing_ra, pointing_dec)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], axis=-1)
    north = np.stack([-np.cos(a) * np.sin(d), -np.sin(a) * np.sin(d), np.cos(d)], axis=-1)
    z = np.cos(r)[..., None] * north + np.sin(r)[..., None] * east
    y = np.cross(z, axis)
    source = radec_to_vector(ra, dec)
    depth = axis @ source
    front = np.where(depth > 0, depth, np.nan)
    return (y @ source) / front, (z @ source) / front, np.degrees(np.arccos(np.clip(depth, -1, 1)))


def pointing_coding(ra: Any, dec: Any, pointing_ra: Any, pointing_dec: Any, roll: Any) -> np.ndarray:
    """Return about which fraction of the detectors the mask shadows for a position, in pointings.

    Parameters are those of `field_position`. The fraction is that of the outline of the flight mask
    (`batx.instrument.outline.flight_coding`: within 0.06 of a map made with the aperture FLUX), with all
    detectors enabled and without misalignment. The aperture DETECTION has a somewhat larger field.

    Examples
    --------
    >>> pointing_coding(10.0, 20.0, [10.0, 190.0], [20.0, -20.0], [0.0, 0.0]).tolist()
    [1.0, 0.0]
    """
    imx, imy, _ = field_position(ra, dec, pointing_ra, pointing_dec, roll)
    return np.nan_to_num(flight_coding(imx, imy))
