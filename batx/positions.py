"""Positions of sources, as people give them: sky or instrument coordinates, one or several, far or near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import PositionError
from batx.instrument.sky import FAR, radec_to_vector, theta_phi_to_tangent
from batx.units import to_value

__all__ = [
    "FRAMES",
    "SourcePositions",
    "designation",
    "sky_position",
    "source_names",
    "source_positions",
    "with_source_attrs",
]

FRAMES = ("sky", "tangent", "thetaphi", "cartesian")
#: attributes of what is weighted for one position, and the coordinates that they are for several
_CODING = {
    "bat_xobj": "x",
    "bat_yobj": "y",
    "bat_zobj": "z",
    "pcodefr": "pcode",
    "ngoodpix": "n_good",
    "mskwtsqf": "mask_weight_norm",
}
_SKY = {"ra_obj": "ra", "dec_obj": "dec"}


@dataclass(frozen=True)
class SourcePositions:
    """One or several positions, checked.

    Attributes
    ----------
    frame
        One of `FRAMES`.
    first, second
        The two coordinates as given: degrees in the frames sky (ICRS right ascension, declination) and
        thetaphi (azimuth, off-axis angle), pure numbers in tangent (IMX, IMY), cm in cartesian; shape
        ``(n,)``.
    height
        BAT_Z of the sources, cm, shape ``(n,)``.
    several
        Whether they were given as arrays; a single position has no dimension `source` in results.
    origin
        BAT_Z of the point that directions are measured from, cm.
    """

    frame: str
    first: np.ndarray
    second: np.ndarray
    height: np.ndarray
    several: bool
    origin: float = 0.0

    def __len__(self) -> int:
        return len(self.first)

    @property
    def moving(self) -> bool:
        """Whether the place in the field depends on the attitude."""
        return self.frame == "sky"

    @property
    def parallax(self) -> np.ndarray:
        """BAT_X/BAT_Z over the tangent of the direction, 1 where it is measured from BAT_Z = 0, ``(n,)``."""
        return (self.height - self.origin) / self.height

    def directions(self) -> np.ndarray:
        """Return unit vectors on the sky (frame sky) or ``(imx, imy, 1)`` (others), shape ``(n, 3)``."""
        if self.frame == "sky":
            return radec_to_vector(self.first, self.second)
        if self.frame == "thetaphi":
            imx, imy = theta_phi_to_tangent(self.second, self.first)
        elif self.frame == "cartesian":
            imx, imy = self.first / self.height, self.second / self.height
        else:
            imx, imy = self.first, self.second
        return np.stack([imx, imy, np.ones_like(imx)], axis=-1)

    def describe(self, index: int = 0) -> str:
        """Return one position as text, for messages and the history."""
        names = {"sky": ("ra", "dec"), "tangent": ("imx", "imy"), "thetaphi": ("phi", "theta")}
        one, two = names.get(self.frame, ("x", "y"))
        text = f"{one}={self.first[index]:.12g} {two}={self.second[index]:.12g}"
        return text if self.height[index] == FAR else f"{text} z={self.height[index]:.10g}"


def _together(*coordinates: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the arrays with their common shape; raise `PositionError` if there is none."""
    try:
        return np.broadcast_arrays(*coordinates)
    except ValueError as error:
        shapes = " and ".join(str(array.shape) for array in coordinates)
        raise PositionError(
            f"position: found coordinates of shapes {shapes}, expected the same number of each"
        ) from error


def sky_position(ra: Any, dec: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return ICRS right ascension and declination in degrees, both of the same shape.

    Parameters
    ----------
    ra, dec
        Degrees or angle Quantity, scalars or arrays that broadcast; or an astropy ``SkyCoord`` as `ra` alone.

    Raises
    ------
    PositionError
        If `dec` is missing, or a value is not finite, a right ascension beyond -180 to 360, or a declination
        beyond the poles.

    Examples
    --------
    >>> ra, dec = sky_position([10.0, 20.0], 5.0)
    >>> dec.tolist()
    [5.0, 5.0]
    """
    if hasattr(ra, "icrs"):
        if dec is not None:
            raise PositionError(f"position: found a SkyCoord and dec={dec!r}; give the SkyCoord alone")
        ra, dec = ra.icrs.ra, ra.icrs.dec
    if dec is None:
        raise PositionError("position: found ra without dec; give both in degrees, or a SkyCoord as ra")
    lon, lat = _together(to_value(ra, "deg", "ra"), to_value(dec, "deg", "dec"))
    inside = (lon >= -180) & (lon <= 360) & (np.abs(lat) <= 90)  # false for NaN
    if not inside.all():
        raise PositionError(
            f"position: found ra={lon.tolist()} dec={lat.tolist()}, "
            "expected finite degrees with ra from -180 to 360 and dec from -90 to 90"
        )
    return lon, lat


def source_positions(
    ra: Any, dec: Any = None, frame: str = "sky", distance: Any = None, origin: Any = 0.0
) -> SourcePositions:
    """Return checked positions.

    Parameters
    ----------
    ra, dec
        The two coordinates of `frame`: sky, ICRS degrees or a SkyCoord as `ra`; tangent, IMX and IMY;
        thetaphi, azimuth phi as `ra` and off-axis angle theta as `dec`, degrees; cartesian, BAT_X and
        BAT_Y, cm. Scalars or 1-D arrays that broadcast.
    frame
        ``"sky"``, ``"tangent"``, ``"thetaphi"`` or ``"cartesian"``.
    distance
        BAT_Z of the source, cm or Quantity; far away if not given. Needed in the frame cartesian.
    origin
        BAT_Z of the point that directions are measured from, cm or Quantity: a source at the tangents (a, b)
        is at BAT_X = a (distance - origin), BAT_Y = b (distance - origin). Not for the frame cartesian.

    Raises
    ------
    PositionError
        If the frame is unknown, a coordinate is missing, not finite or out of range, arrays have more than
        one dimension, or the origin is not below the source.

    Examples
    --------
    >>> source_positions(0.25, 0.1, frame="tangent").directions().tolist()
    [[0.25, 0.1, 1.0]]
    """
    if frame not in FRAMES:
        raise PositionError(f"frame: found {frame!r}, expected one of {', '.join(FRAMES)}")
    if frame == "sky":
        first, second = sky_position(ra, dec)
    else:
        if dec is None:
            raise PositionError(f"position: found one coordinate, expected two in the frame {frame}")
        unit = {"tangent": "", "thetaphi": "deg", "cartesian": "cm"}[frame]
        first, second = _together(to_value(ra, unit, "ra"), to_value(dec, unit, "dec"))
    if distance is None and frame == "cartesian":
        raise PositionError("position: found no distance, expected BAT_Z in cm in the frame cartesian")
    height = np.asarray(FAR) if distance is None else to_value(distance, "cm", "distance")
    first, second, height = _together(first, second, height)
    if first.ndim > 1 or first.size == 0:
        raise PositionError(f"position: found arrays of shape {first.shape}, expected numbers or 1-D arrays")
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (height > 0).all()):
        raise PositionError(
            f"position: found ({first.tolist()}, {second.tolist()}) at z={height.tolist()} cm, "
            "expected finite coordinates and a positive distance"
        )
    if frame == "thetaphi" and not ((second >= 0) & (second < 90)).all():
        raise PositionError(f"position: found theta={second.tolist()} deg, expected 0 to less than 90")
    one, two, z = (np.atleast_1d(array).astype(np.float64) for array in (first, second, height))
    return SourcePositions(frame, one, two, z, first.ndim == 1, _origin(origin, frame, float(z.min())))


def _origin(origin: Any, frame: str, lowest: float) -> float:
    """Return BAT_Z of what directions are measured from; raise `PositionError` if it makes no sense."""
    value = to_value(origin, "cm", "origin")
    if value.size != 1 or not value < lowest:
        raise PositionError(f"origin: found {origin!r} cm, expected a number below BAT_Z of the source")
    if value != 0 and frame == "cartesian":
        raise PositionError(
            f"origin: found {origin!r} cm, but BAT_X and BAT_Y are no directions; leave it out"
        )
    return float(value.reshape(()))


def with_source_attrs(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset of one source out of several with that position and its coding as attributes.

    Files have them as keywords. Those of another source or of an earlier weighting, which come with the
    events, are replaced or left out. A Dataset without the scalar coordinates that ``isel(source=0)``
    leaves is returned as it is.
    """
    scalars = {str(name): coord.item() for name, coord in ds.coords.items() if coord.ndim == 0}
    if not {"x", "y", "z"} <= set(scalars):
        return ds
    kept = {key: value for key, value in ds.attrs.items() if key not in _CODING}
    found = {key: scalars[name] for key, name in (_CODING | _SKY).items() if name in scalars}
    result = ds.copy(deep=False)
    result.attrs = kept | found
    return result


def source_names(ds: xr.Dataset) -> list[str]:
    """Return what to call each source: its position on the sky, or else its number; empty for one source."""
    count = ds.sizes.get("source", 1)
    if count == 1:
        return []
    if "ra" in ds.coords and "dec" in ds.coords and ds["ra"].dims == ("source",):
        pairs = zip(ds["ra"].values, ds["dec"].values, strict=True)
        return [f"RA {ra:.3f}\N{DEGREE SIGN}, Dec {dec:+.3f}\N{DEGREE SIGN}" for ra, dec in pairs]
    return [f"position {number + 1}" for number in range(count)]


def designation(ra: float, dec: float) -> str:
    """Return J and a position in hours, minutes and tenths, and degrees and minutes, cut off.

    Examples
    --------
    >>> designation(83.633, 22.014)
    'J0534.5+2200'
    """
    tenths = int(ra / 15 * 600 + 1e-6) % 14400
    minutes = int(abs(dec) * 60 + 1e-6)
    sign = "-" if dec < 0 else "+"
    return f"J{tenths // 600:02d}{tenths % 600 / 10:04.1f}{sign}{minutes // 60:02d}{minutes % 60:02d}"
