"""A circular orbit, and where Sun and Moon are: what a prefilter (SAO) file tells of an observation."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batx.instrument.sky import quaternion_to_matrix, vector_to_radec
from batx.orbits import almanac
from batx.simulate.checks import positive

__all__ = ["prefilter"]

_EARTH_RADIUS = 6371.0
_GRAVITY = 398600.4418
#: inertial turns of the Earth: sidereal angle at MET 0 (2001-01-01 00:00 UTC), deg, and its rate, deg/s
_SIDEREAL = (100.671, 360.98564737 / 86400)


def prefilter(
    attitude: xr.Dataset, *, step: float = 1.0, radius: float = 6950.0, inclination: float = 20.6
) -> dict[str, np.ndarray]:
    """Return the columns of a prefilter table for an attitude.

    The orbit is a circle whose phase puts the spacecraft above its first pointing in the middle of the
    observation, as far as the inclination allows: the Earth does not hide the field. Sun and Moon are where
    the spacecraft sees them by astropy's built-in almanac (0.01 degrees).

    Parameters
    ----------
    attitude
        Kind ``attitude``.
    step
        Spacing of the rows, s.
    radius
        Of the orbit, km.
    inclination
        Degrees.

    Returns
    -------
    dict
        Column name to array: positions in km, velocities in km/s, angles in degrees.
    """
    times = attitude["time"].values
    step = positive(step, "s", "step")
    time = np.arange(times[0], times[-1] + 0.5 * step, step)
    row = np.clip(np.searchsorted(times, time + 1e-6) - 1, 0, len(times) - 1)
    quaternion = attitude["quaternion"].values[row]
    boresight = quaternion_to_matrix(quaternion)[:, 0]

    rate = np.sqrt(_GRAVITY / radius**3)
    angle = rate * (time - 0.5 * (times[0] + times[-1]))
    ra, dec = vector_to_radec(boresight[len(time) // 2])
    tilt = np.radians(inclination) * np.sign(dec if dec else 1.0)
    highest = np.radians(ra)
    up = np.array([np.cos(highest) * np.cos(tilt), np.sin(highest) * np.cos(tilt), np.sin(tilt)])
    along = np.array([-np.sin(highest), np.cos(highest), 0.0])
    position = radius * (np.cos(angle)[:, None] * up + np.sin(angle)[:, None] * along)
    velocity = radius * rate * (np.cos(angle)[:, None] * along - np.sin(angle)[:, None] * up)

    sun, moon = (almanac(body, time, position, attitude.attrs) for body in ("sun", "moon"))
    earth_ra, earth_dec = vector_to_radec(-position)
    sun_ra, sun_dec = vector_to_radec(sun)
    moon_ra, moon_dec = vector_to_radec(moon)
    limb = np.degrees(np.arcsin(_EARTH_RADIUS / radius))
    from_earth = _separation(boresight, -position / radius)
    earth_longitude, latitude = vector_to_radec(position)
    hidden_sun = _separation(sun, -position / radius) < limb
    return {
        "TIME": time,
        "POSITION": position.astype(np.float32),
        "VELOCITY": velocity.astype(np.float32),
        "QUATERNION": quaternion.astype(np.float32),
        "RA": attitude["ra"].values[row],
        "DEC": attitude["dec"].values[row],
        "ROLL": attitude["roll"].values[row],
        "SAT_LAT": latitude,
        "SAT_LON": (earth_longitude - _SIDEREAL[0] - _SIDEREAL[1] * time) % 360,
        "SAT_ALT": np.full(len(time), radius),
        "ELV": from_earth - limb,
        "SUNSHINE": (~hidden_sun).astype(np.int16),
        "SUN_ANGLE": _separation(boresight, sun),
        "MOON_ANGLE": _separation(boresight, moon),
        "SAA": attitude["in_saa"].values[row].astype(np.int16),
        "SUN_RA": sun_ra,
        "SUN_DEC": sun_dec,
        "MOON_RA": moon_ra,
        "MOON_DEC": moon_dec,
        "EARTH_RA": earth_ra,
        "EARTH_DEC": earth_dec,
    }


def _separation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(np.sum(a * b, axis=-1), -1, 1)))
