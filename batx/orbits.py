"""Where Earth, Sun and Moon are as seen from the spacecraft, from its orbit file or the almanac."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import OrbitError
from batx.instrument.sky import matrix_to_quaternion, radec_to_vector
from batx.kernels.occult import ATMOSPHERE, RADII, earth_radius, pointing_matrix
from batx.met import met_to_time
from batx.schema import build

__all__ = ["BODIES", "OrbitTable", "attitude_of_orbit", "opened_orbit"]

BODIES = ("earth", "moon", "sun")
#: rows of an orbit further apart than this are not interpolated between, s
_GAP = 120.0


def opened_orbit(orbit: Any) -> xr.Dataset:
    """Return an orbit (prefilter) table as a Dataset.

    Raises
    ------
    OrbitError
        If it is none, or has no times.
    """
    if isinstance(orbit, (str, os.PathLike)):
        orbit = xr.open_dataset(orbit, engine="batx")
    if not isinstance(orbit, xr.Dataset):
        raise OrbitError(
            f"orbit: found {type(orbit).__name__}, expected the prefilter file (auxil/sw*sao.fits*) or its "
            "Dataset"
        )
    if "time" not in orbit.variables or not orbit["time"].size:
        raise OrbitError("orbit: found no times, expected the prefilter file, auxil/sw*sao.fits*")
    return orbit


@dataclass(frozen=True)
class OrbitTable:
    """Directions of Earth, Moon and Sun at the rows of an orbit file.

    Attributes
    ----------
    times
        MET of the rows, increasing, (row,).
    vectors
        Body to its unit vectors (row, 3), of the bodies that are known.
    distance
        From the centre of the Earth, km, (row,).
    """

    times: np.ndarray
    vectors: dict[str, np.ndarray]
    distance: np.ndarray

    @classmethod
    def of(cls, orbit: Any) -> OrbitTable:
        """Return the table of an orbit file; Sun and Moon come from the almanac where it has no columns.

        Raises
        ------
        OrbitError
            If there is neither the direction nor the position that tells where the Earth is.
        """
        ds = opened_orbit(orbit)
        time = np.asarray(ds["time"].values, np.float64)
        position = ds["position"].values.astype(np.float64) if "position" in ds else None
        if "sat_alt" in ds:
            distance = ds["sat_alt"].values.astype(np.float64)
        elif position is not None:
            distance = np.linalg.norm(position, axis=-1)
        else:
            raise OrbitError("orbit: found neither sat_alt nor position, expected the prefilter file")
        vectors: dict[str, np.ndarray] = {}
        for body in BODIES:
            if {f"{body}_ra", f"{body}_dec"} <= set(ds.variables):
                vectors[body] = radec_to_vector(ds[f"{body}_ra"].values, ds[f"{body}_dec"].values)
        if "earth" not in vectors:
            if position is None:
                raise OrbitError("orbit: found neither earth_ra, earth_dec nor position")
            vectors["earth"] = -position / np.linalg.norm(position, axis=-1, keepdims=True)
        good = np.isfinite(time) & np.isfinite(distance) & (distance > 6000)
        for array in vectors.values():
            good &= np.isfinite(array).all(axis=-1)
        if not good.any():
            raise OrbitError(
                f"orbit: found {time.size} rows, none with a time, a direction of the Earth and a distance "
                "from its centre (sat_alt, km)"
            )
        time, first = np.unique(time[good], return_index=True)
        table = cls(
            time, {body: array[good][first] for body, array in vectors.items()}, distance[good][first]
        )
        missing = [body for body in ("moon", "sun") if body not in vectors]
        if missing:
            far = -table.vectors["earth"] * table.distance[:, None]
            for body in missing:
                table.vectors[body] = almanac(body, table.times, far, ds.attrs)
        return table

    def at(self, met: np.ndarray) -> OrbitTable:
        """Return the table at other times, interpolated.

        Raises
        ------
        OrbitError
            For times outside, or between rows more than two minutes apart.
        """
        if np.array_equal(met, self.times):
            return self
        if met.size and (met.min() < self.times[0] or met.max() > self.times[-1]):
            raise OrbitError(
                f"orbit: found rows from {self.times[0]:.3f} to {self.times[-1]:.3f} s, but times from "
                f"{met.min():.3f} to {met.max():.3f} s; give the orbit file of the observation"
            )
        row = np.clip(np.searchsorted(self.times, met, side="right") - 1, 0, max(self.times.size - 2, 0))
        later = np.minimum(row + 1, self.times.size - 1)
        width = self.times[later] - self.times[row]
        wide = (width > _GAP) & (met != self.times[row]) & (met != self.times[later])
        if wide.any():
            raise OrbitError(
                f"orbit: found no rows for {width[wide].max():.0f} s around {met[wide][0]:.3f} s, expected "
                f"gaps of at most {_GAP:g} s"
            )
        part = np.divide(met - self.times[row], width, out=np.zeros_like(met), where=width > 0)
        made = {}
        for body, array in self.vectors.items():
            mixed = array[row] * (1 - part)[:, None] + array[later] * part[:, None]
            made[body] = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
        distance = self.distance[row] * (1 - part) + self.distance[later] * part
        return OrbitTable(met, made, distance)

    def radii(self, body: str, atmosphere: float = ATMOSPHERE) -> np.ndarray:
        """Return the apparent radius of a body at each row, degrees."""
        if body == "earth":
            return earth_radius(self.distance, atmosphere)
        return np.full(self.times.shape, RADII[body])


def almanac(body: str, met: np.ndarray, position: np.ndarray, attrs: dict[Any, Any]) -> np.ndarray:
    """Return unit vectors (time, 3) of the Sun or the Moon as seen from the spacecraft (astropy, built-in).

    Parameters
    ----------
    body
        ``"sun"`` or ``"moon"``.
    met
        Times, s.
    position
        Of the spacecraft from the centre of the Earth, km, (time, 3).
    attrs
        With the UTCF, if it is known.
    """
    from astropy.coordinates import get_body

    known = {**attrs} if "utcf" in attrs else {**attrs, "utcf": 0.0}
    place = get_body(body, met_to_time(met, attrs=known)).cartesian.xyz.to_value("km").T
    seen = place - position
    return np.asarray(seen / np.linalg.norm(seen, axis=-1, keepdims=True))


def attitude_of_orbit(orbit: xr.Dataset) -> xr.Dataset | None:
    """Return the attitude that an orbit file tells: its quaternions, or its RA, DEC and ROLL; or `None`.

    Parameters
    ----------
    orbit
        Prefilter table.
    """
    if "quaternion" in orbit and orbit["quaternion"].ndim == 2:
        name = next(dim for dim in orbit["quaternion"].dims if dim != "time")
        quaternion = orbit["quaternion"].transpose("time", name).values.astype(np.float64)
    elif {"ra", "dec", "roll"} <= set(orbit.variables):
        angles = [np.asarray(orbit[name].values, np.float64) for name in ("ra", "dec", "roll")]
        good = np.isfinite(angles).all(axis=0)
        quaternion = np.zeros((good.size, 4))
        if good.any():
            matrices = pointing_matrix(*(angle[good] for angle in angles))
            quaternion[good] = matrix_to_quaternion(matrices)
    else:
        return None
    return build("attitude", {"time": orbit["time"].values, "quaternion": quaternion}, dict(orbit.attrs))
