"""Times as at the barycentre of the Solar System, free of the motion of Earth and spacecraft."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import KindError, MissingVariableError, OrbitError, PositionError, ValueRangeError
from batx.instrument.sky import radec_to_vector
from batx.kernels.orbit import satellite_position
from batx.met import ClockFile, met_to_time
from batx.positions import sky_position
from batx.schema.attributes import with_history
from batx.units import to_value

__all__ = ["barycenter"]

#: km/s
LIGHT = 299792.458
#: 2 G M/c³ of the Sun, s
SHAPIRO = 9.8509819e-6
#: spacing (s) of the times at which the correction is computed; between them it is good to 1e-11 s
STEP = 10.0
#: longest time (s) between rows of the orbit, and before the first and after the last
MAX_GAP, MAX_BEYOND = 300.0, 60.0
#: distances from the centre of the Earth that a satellite may have, km
DISTANCES = (6300.0, 1e6)
#: variables of times, and attributes of times that are turned with them
VARIABLES = ("time", "time_bnds", "gti_start", "gti_stop", "start", "stop")
ATTRIBUTES = ("tstart", "tstop", "trigger_time")
#: attributes of the clock at the spacecraft, which do not hold afterwards
LOCAL = ("utcf", "date_obs", "date_end", "telapse", "tierabso", "tierrela")


@by_engine
def barycenter(
    ds: xr.Dataset,
    ra: Any,
    dec: Any = None,
    *,
    orbit: Any,
    utcf: float | ClockFile | None = None,
) -> xr.Dataset:
    """Return data with their times as at the barycentre of the Solar System, for a source far away.

    Parameters
    ----------
    ds
        Kind ``events``, ``lightcurve``, ``gti``, or anything with a coordinate ``time`` in MET.
    ra, dec
        Direction of the source: ICRS degrees or angles, or an astropy ``SkyCoord`` as `ra` alone. An error of
        1 arcsec is one of up to 2.4 ms.
    orbit
        The orbit: the prefilter file of the archive (``auxil/sw*sao.fits``), or anything with ``position``
        and ``velocity`` (km, km/s, axes of J2000) against ``time``; or ``"geocenter"``, which leaves up to 23
        ms.
    utcf
        Correction of the spacecraft clock: seconds, or a clock file (`batx.met.read_clock`), in place of the
        attribute ``utcf``.
    engine
        ``"native"``; ``"heasoft"`` for the tool barycorr (JPL ephemeris, clock file of the CALDB or one whose
        path is `utcf`), or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        The same, with ``time``, ``time_bnds``, ``gti_start``, ``gti_stop`` (``start``, ``stop``) and the
        attributes ``tstart``, ``tstop`` and ``trigger_time`` (where the orbit covers it) in seconds of TDB
        since the reference date; attributes ``time_scale="tdb"``, ``timeref="SOLARSYSTEM"``, ``bary_ra``,
        ``bary_dec``; ``utcf`` is used up and goes. Exposures stay those of the spacecraft's clock, from which
        lengths at the barycentre differ by up to 1e-4. Times are read, everything else stays lazy.

    Raises
    ------
    OrbitError
        If the orbit is malformed, or does not cover the times: rows at most 300 s apart, times at most 60 s
        before the first and after the last.
    PositionError
        If the position is none, or there are several.
    MissingVariableError, KindError, ValueRangeError
        If there are no times, or `ds` is no Dataset, or barycentred already.

    Warns
    -----
    BatxWarning
        If no UTCF is known: the clock is then taken to be perfect, and all times are wrong by the same tens
        of seconds.

    Notes
    -----
    t_b = TDB + (r_E + r_S)·n/c + v_E·r_S/c² + (2GM/c³) ln(1 + cos θ): light-travel time from the spacecraft
    (Earth r_E, v_E relative to the barycentre, spacecraft r_S relative to the Earth) along the direction n,
    the part of TDB that depends on place, and the Shapiro delay of the Sun, θ between n and the direction
    from the Sun. Earth and Sun are those of `astropy` without files (ERFA ``epv00``, at most 13.4 km or 45
    µs off), TDB − TT is exact to 3 µs, the orbit to some km or 10 µs. The clock is the largest part: with
    a clock file about 0.2 ms, with the UTCF of the file some 0.3 ms and the drift since its start, which is
    about 5 ms a day. No network is used. Source: algorithms 7.

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [612354468.0, 612354469.0], "energy": [20.0, 30.0],
    ...            "gti_start": [612354460.0], "gti_stop": [612354480.0]}, {"utcf": -25.01704})
    >>> at_barycenter = barycenter(ev, 176.6439, 58.19214, orbit="geocenter")
    >>> round(float(at_barycenter.time[0] - ev.time[0]), 2)
    -85.49
    """
    names = time_names(ds)
    direction = one_direction(ra, dec)
    rows = orbit_rows(orbit)
    times, extra = times_to_turn(ds, names, rows)
    vector = radec_to_vector(*direction)
    turned = times + _interpolated(times, rows, vector, utcf, ds.attrs)
    return with_times(ds, names, extra, turned, direction, {"plephem": "ERFA-EPV00"})


def time_names(ds: xr.Dataset) -> list[str]:
    """Return the variables of a Dataset that hold times; complain if there are none, or they are turned."""
    if not isinstance(ds, xr.Dataset):
        raise KindError(f"barycenter works on a Dataset with times; found {type(ds).__name__}")
    names = [name for name in VARIABLES if name in ds.variables and _in_seconds(ds[name])]
    if not names:
        raise MissingVariableError(
            f"barycenter: found variables {sorted(map(str, ds.variables))}, expected a time in s"
        )
    there = str(ds.attrs.get("timeref", "")).upper() == "SOLARSYSTEM"
    if there or str(ds.attrs.get("time_scale", "")).lower() == "tdb":
        raise ValueRangeError(
            "barycenter: the times are those at the barycentre already (timeref or time_scale); open "
            "the file again"
        )
    return names


def one_direction(ra: Any, dec: Any) -> tuple[float, float]:
    """Return right ascension and declination (degrees) of one place."""
    right, declination = sky_position(ra, dec)
    if right.size != 1:
        raise PositionError(f"barycenter: found {right.size} positions, expected one")
    return float(right.item()), float(declination.item())


def times_to_turn(ds: xr.Dataset, names: list[str], rows: tuple | None) -> tuple[np.ndarray, list[str]]:
    """Return the times of variables, then of attributes that the orbit covers; and which attributes."""
    times = np.concatenate([np.asarray(ds[name].values, np.float64).ravel() for name in names])
    if not times.size or not np.all(np.isfinite(times)):
        raise ValueRangeError("barycenter: found no times, or times that are not finite numbers; drop these")
    _require_covered(times, rows)
    values = {name: float(ds.attrs[name]) for name in ATTRIBUTES if name in ds.attrs}
    extra = [name for name, value in values.items() if _covered(np.array([value]), rows).all()]
    return np.append(times, [values[name] for name in extra]), extra


def with_times(
    ds: xr.Dataset,
    names: list[str],
    extra: list[str],
    turned: np.ndarray,
    direction: tuple[float, float],
    said: Mapping[str, Any],
) -> xr.Dataset:
    """Return the data with times at the barycentre; `turned` is in the order of `times_to_turn`."""
    made, start = {}, 0
    for name in names:
        values = turned[start : start + ds[name].size].reshape(ds[name].shape)
        made[name] = (ds[name].dims, values, ds[name].attrs)
        start += ds[name].size
    coords = {name: value for name, value in made.items() if name in ds.coords}
    result = ds.assign({name: value for name, value in made.items() if name not in coords})
    result = result.assign_coords(coords)
    line = f"batx.barycenter: ra={direction[0]:.10g} dec={direction[1]:.10g}"
    result.attrs = {name: value for name, value in ds.attrs.items() if name not in (*LOCAL, *ATTRIBUTES)}
    result.attrs |= dict(zip(extra, turned[start:].tolist(), strict=True))
    result.attrs |= {
        "time_scale": "tdb",
        "timeref": "SOLARSYSTEM",
        **said,
        "clockapp": 1,
        "bary_ra": direction[0],
        "bary_dec": direction[1],
    }
    result.attrs = with_history(result.attrs, line)
    return result


def _in_seconds(array: xr.DataArray) -> bool:
    return array.dtype.kind in "fiu" and array.attrs.get("units", "s") == "s"


def orbit_rows(orbit: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return times, positions and velocities of an orbit in order, `None` for the centre of the Earth."""
    if isinstance(orbit, str) and orbit == "geocenter":
        return None
    if isinstance(orbit, (str, Path)):
        orbit = xr.open_dataset(orbit, engine="batx")
    if not isinstance(orbit, xr.Dataset):
        raise OrbitError(
            f"orbit: found {type(orbit).__name__}, expected the prefilter file (sw*sao.fits) or its Dataset, "
            "or 'geocenter'"
        )
    missing = [name for name in ("time", "position", "velocity") if name not in orbit.variables]
    if missing:
        raise OrbitError(
            f"orbit: found no {', '.join(missing)} among {sorted(map(str, orbit.variables))}; give the "
            "prefilter file, auxil/sw*sao.fits, of the observation"
        )
    time = np.asarray(orbit["time"].values, dtype=np.float64)
    position, velocity = (
        _vectors(orbit[name], unit) for name, unit in (("position", "km"), ("velocity", "km/s"))
    )
    if position.shape != (time.size, 3) or velocity.shape != (time.size, 3):
        raise OrbitError(
            f"orbit: found shapes {position.shape} and {velocity.shape} of position and velocity, expected "
            f"({time.size}, 3)"
        )
    good = np.isfinite(time) & np.isfinite(position).all(axis=1) & np.isfinite(velocity).all(axis=1)
    time, first = np.unique(time[good], return_index=True)
    position, velocity = position[good][first], velocity[good][first]
    distance = np.linalg.norm(position, axis=1)
    if not time.size or np.any((distance < DISTANCES[0]) | (distance > DISTANCES[1])):
        found = f"{distance.min():g} to {distance.max():g} km" if time.size else "no row that is a number"
        raise OrbitError(
            f"orbit: found {found} from the centre of the Earth, expected {DISTANCES[0]:g} to "
            f"{DISTANCES[1]:g} km; check the units"
        )
    return time, position, velocity


def _vectors(array: xr.DataArray, unit: str) -> np.ndarray:
    import astropy.units as u

    values = np.asarray(array.transpose("time", ...).values, dtype=np.float64)
    return to_value(values * u.Unit(array.attrs.get("units", unit)), unit, str(array.name))


def _covered(times: np.ndarray, rows: tuple | None) -> np.ndarray:
    """Return which times the orbit covers."""
    if rows is None:
        return np.ones(times.shape, dtype=bool)
    known = rows[0]
    after = np.searchsorted(known, times, side="left")
    inside = (after > 0) & (after < known.size)
    k = np.clip(after, 1, max(known.size - 1, 1))
    gap = np.diff(known)[k - 1] if known.size > 1 else np.zeros(times.shape)
    near = (times > known[0] - MAX_BEYOND) & (times < known[-1] + MAX_BEYOND)
    return near & (~inside | (gap <= MAX_GAP))


def _require_covered(times: np.ndarray, rows: tuple | None) -> None:
    covered = _covered(times, rows)
    if rows is not None and not covered.all():
        late = times[~covered]
        raise OrbitError(
            f"orbit: {late.size} of {times.size} times, from {late.min():.3f} to {late.max():.3f}, are not "
            f"covered by rows from {rows[0][0]:.3f} to {rows[0][-1]:.3f}, at most {MAX_GAP:g} s apart; give "
            "the prefilter file of the same observation, cut the data, or take orbit='geocenter'"
        )


def _interpolated(
    times: np.ndarray,
    rows: tuple | None,
    direction: np.ndarray,
    utcf: float | ClockFile | None,
    attrs: Mapping[str, Any],
) -> np.ndarray:
    """Return what is to be added to times, from cubics through four nodes around each."""
    cell = np.floor(times / STEP).astype(np.int64)
    used = np.unique(cell)
    nodes = np.unique(np.concatenate([used + k for k in (-1, 0, 1, 2)]))
    value = _correction(nodes * STEP, rows, direction, utcf, attrs)
    first = np.searchsorted(nodes, cell - 1)
    x = times / STEP - cell
    weights = (
        -x * (x - 1.0) * (x - 2.0) / 6.0,
        (x + 1.0) * (x - 1.0) * (x - 2.0) / 2.0,
        -(x + 1.0) * x * (x - 2.0) / 2.0,
        (x + 1.0) * x * (x - 1.0) / 6.0,
    )
    return sum(weight * value[first + k] for k, weight in enumerate(weights))


def _correction(
    times: np.ndarray,
    rows: tuple | None,
    direction: np.ndarray,
    utcf: float | ClockFile | None,
    attrs: Mapping[str, Any],
) -> np.ndarray:
    """Return TDB at the barycentre less the time of the spacecraft's clock, s."""
    from astropy.coordinates import get_body_barycentric, get_body_barycentric_posvel

    instant = met_to_time(times, utcf, attrs)
    reference = met_to_time(0.0, 0.0, {name: attrs[name] for name in attrs if name.startswith("mjdref")})
    tdb = instant.tdb
    # the reference date is the same number of days in TT and in TDB
    clock = ((tdb.jd1 - reference.jd1) + (tdb.jd2 - reference.jd2)) * 86400.0 - times
    earth, motion = get_body_barycentric_posvel("earth", instant, ephemeris="builtin")
    sun = get_body_barycentric("sun", instant, ephemeris="builtin").xyz.to_value("km").T
    place, speed = earth.xyz.to_value("km").T, motion.xyz.to_value("km/s").T
    satellite = np.zeros_like(place) if rows is None else satellite_position(times, *rows)
    from_sun = place + satellite - sun
    cosine = from_sun @ direction / np.linalg.norm(from_sun, axis=1)
    travel = (place + satellite) @ direction / LIGHT
    return clock + travel + np.sum(speed * satellite, axis=1) / LIGHT**2 + SHAPIRO * np.log1p(cosine)
