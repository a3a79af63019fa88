"""When a source can be seen: the Earth, the Moon and the Sun out of the way, and its place in the field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import field_position
from batx.calibration_inputs import aperture_for, records
from batx.engines import by_engine
from batx.errors import AttitudeError, BatxError, OrbitError, ValueRangeError
from batx.instrument.sky import NOMINAL_ALIGNMENT, radec_to_vector
from batx.intervals import gti_from_housekeeping
from batx.kernels import occult
from batx.met import to_met
from batx.orbits import BODIES, OrbitTable, almanac, attitude_of_orbit, opened_orbit
from batx.positions import sky_position
from batx.provenance import with_calibration
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value
from batx.weights import ray_trace

__all__ = ["constraints_of", "visibility", "visibility_gti"]

#: everything that `visible` may depend on
_ALL = (*BODIES, "field")


def visibility(
    ra: Any,
    dec: Any = None,
    times: Any = None,
    *,
    orbit: Any = None,
    attitude: xr.Dataset | Sequence[Any] | None = None,
    alignment: Any = None,
    aperture: xr.Dataset | None = None,
    detector_mask: Any = None,
    constraints: str | Iterable[str] = _ALL,
    atmosphere: Any = occult.ATMOSPHERE,
    pcode_min: float = 0.0,
    utcf: float | None = None,
) -> xr.Dataset:
    """Return where a source is against time: its angles from Earth, Moon and Sun, and its place in the field.

    Parameters
    ----------
    ra, dec
        ICRS degrees or Quantity, or a SkyCoord as `ra`; arrays give a dimension ``source``.
    times
        MET (s), Quantity, Time or dates, 1-D; the rows of `orbit`, or else of `attitude`, if not given.
    orbit
        Prefilter table (``auxil/sw*sao.fits*``), Dataset or path. Its directions are interpolated between
        rows. Where it has no columns of Sun or Moon, and without an orbit, these come from astropy's
        built-in almanac (Sun 0.01, Moon 0.01 degrees; without an orbit seen from the centre of the Earth,
        which displaces the Moon by up to 1 degree).
    attitude
        Kind ``attitude``, or a pointing that is kept: right ascension and declination of spacecraft X and
        roll, degrees or quantities, as keywords RA_PNT, DEC_PNT, PA_PNT; that of the orbit table (its
        quaternions, or RA, DEC, ROLL) if not given.
    alignment
        As for `batx.field_position`; the nominal axes if not given, which are off by some arcminutes.
    aperture, detector_mask
        With an aperture (kind ``aperture``) the coded fraction is traced; with a mask of detectors it is
        that of the good ones. `pcode_min` without an aperture takes that of the calibration database.
    constraints
        What `visible` asks for: that ``"earth"``, ``"moon"`` and ``"sun"`` do not hide the source, and
        that it is in the ``"field"`` (in front of the instrument, and coded, as far as that is known); some
        of these, or ``"none"``.
    atmosphere
        Depth of the atmosphere that hides, km.
    pcode_min
        Coded fraction that `visible` needs at least, where it is traced (and more than 0).
    utcf
        For the almanac, where neither orbit nor attitude says it; its effect is below 1e-5 degrees/s.

    Returns
    -------
    xarray.Dataset
        Against ``time`` (and ``source``): ``earth_angle``, ``moon_angle``, ``sun_angle`` (degrees from the
        centre), ``earth_occulted``, ``moon_occulted``, ``sun_occulted`` (within 16′ of the Moon, 16.5′ of the
        Sun, and ``earth_radius(time)`` of the Earth, atmosphere included), ``occulted`` (by any); with an
        attitude ``imx``, ``imy``, ``theta``, ``phi``, ``front`` as `batx.field_position`; with an aperture
        ``pcode``; and ``visible``: all of `constraints` are met. In memory.

    Raises
    ------
    OrbitError
        If the orbit is none, does not cover the times, or there is neither orbit, attitude nor `times`.
    AttitudeError
        If the attitude is none or does not cover the times, or there is an aperture and no attitude.
    KindError
        If `pcode_min` is given and no aperture found.
    ValueRangeError, PositionError
        If a constraint is unknown, or the times or the position make no sense.

    Notes
    -----
    Source: definition of the tool ``batoccultgti`` (algorithms, section 10); positions are compared as they
    are, without aberration (20″).

    Examples
    --------
    >>> sun = visibility([100.0, 280.0], -20.0, times=[6e8], constraints="sun", utcf=-22.5)
    >>> sun.sun_angle.values.round(0).ravel().tolist()
    [137.0, 7.0]
    """
    wanted = constraints_of(constraints, _ALL)
    bodies = [name for name in wanted if name in BODIES]
    lon, lat = sky_position(ra, dec)
    held = None if orbit is None else opened_orbit(orbit)
    if attitude is None and held is not None:
        attitude = attitude_of_orbit(held)
    path = attitude if isinstance(attitude, xr.Dataset) else None
    met, attrs = _times(times, held, path, utcf)
    if attitude is not None and not isinstance(attitude, xr.Dataset):
        path = _kept_pointing(attitude, met, attrs)
    direction = radec_to_vector(lon, lat)
    dims = ("source", "time") if lon.ndim else ("time",)
    made = _angles(direction, met, held, attrs, dims, float(to_value(atmosphere, "km", "atmosphere")))
    visible = ~np.zeros(made["sun_angle"][1].shape, bool)
    for body in bodies:
        if f"{body}_occulted" not in made:
            raise OrbitError(
                f"visibility: found no orbit, which tells where the {body} is seen; give orbit=, the file "
                "auxil/sw*sao.fits* of the observation, or constraints without it"
            )
        visible &= ~made[f"{body}_occulted"][1]
    made["occulted"] = _flag(
        dims,
        np.any([made[f"{body}_occulted"][1] for body in BODIES if f"{body}_occulted" in made], axis=0),
        "hidden by a body",
    )
    in_field = np.ones_like(visible)
    if path is not None:
        place = field_position(
            path, lon, lat, met, alignment=NOMINAL_ALIGNMENT if alignment is None else alignment
        )
        made |= {name: place[name].variable for name in ("imx", "imy", "theta", "phi", "front")}
        in_field &= place["front"].values
    if pcode_min and aperture is None:
        aperture = aperture_for(None, xr.Dataset(attrs={"tstart": float(met[0])}), "visibility")
    if aperture is not None:
        pcode = _coded(path, lon, lat, met, alignment, aperture, detector_mask)
        made["pcode"] = (dims, pcode, {"units": "1", "long_name": "partial coding fraction"})
        in_field &= (pcode > 0) & (pcode >= pcode_min)
    if "field" in wanted:
        visible &= in_field
    made["visible"] = _flag(dims, visible, f"all of {', '.join(wanted) or 'nothing'}")
    coords: dict[str, Any] = {"time": ("time", met, {"units": "s", "long_name": "time (MET)"})}
    if lon.ndim:
        coords |= {"ra": ("source", lon, {"units": "deg"}), "dec": ("source", lat, {"units": "deg"})}
    else:
        coords |= {"ra": ((), float(lon), {"units": "deg"}), "dec": ((), float(lat), {"units": "deg"})}
    served = records(alignment=alignment, aperture=aperture, detector_mask=detector_mask)
    return xr.Dataset(made, coords, with_calibration(kept_attrs(attrs, *ORIGIN, "provenance"), served))


def _kept_pointing(pointing: Sequence[Any], met: np.ndarray, attrs: dict[str, Any]) -> xr.Dataset:
    """Return the attitude of a pointing that is kept over some times."""
    try:
        ra, dec = sky_position(*pointing[:2])
        (roll,) = (to_value(angle, "deg", "roll") for angle in pointing[2:])
        good = not ra.ndim and not roll.ndim and np.isfinite(roll)
    except (BatxError, TypeError, ValueError):
        good = False
    if not good:
        raise AttitudeError(
            f"attitude: found {pointing!r:.80}, expected kind attitude, or right ascension, declination and "
            "roll, degrees"
        )
    first, last = float(met.min()), float(met.max())
    columns = {
        name: ("time", [float(angle)] * 2)
        for name, angle in zip(("ra", "dec", "roll"), (ra, dec, roll), strict=True)
    }
    table = xr.Dataset(columns, {"time": [first - 1.0, last + 1.0]}, attrs)
    attitude = attitude_of_orbit(table)
    assert attitude is not None
    return attitude


def constraints_of(constraints: str | Iterable[str], known: tuple[str, ...] = BODIES) -> tuple[str, ...]:
    """Return names of constraints, checked.

    Examples
    --------
    >>> constraints_of("EARTH,MOON"), constraints_of("none")
    (('earth', 'moon'), ())
    """
    given = constraints.split(",") if isinstance(constraints, str) else list(constraints)
    names = tuple(str(name).strip().lower() for name in given)
    if names == ("none",):
        return ()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueRangeError(
            f"constraints: found {', '.join(map(repr, unknown))}, expected some of {', '.join(known)}, or "
            "'none'"
        )
    return names


def _times(
    times: Any, orbit: xr.Dataset | None, attitude: xr.Dataset | None, utcf: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the times, MET, and what the files say that they come from."""
    attrs: dict[str, Any] = {}
    for source in (attitude, orbit):
        if source is not None:
            attrs |= {str(key): value for key, value in source.attrs.items()}
    if utcf is not None and "utcf" not in attrs:
        attrs["utcf"] = float(to_value(utcf, "s", "utcf"))
    if times is not None:
        met = np.atleast_1d(to_met(times, attrs, name="times")).astype(np.float64)
    elif orbit is not None:
        met = OrbitTable.of(orbit).times
    elif attitude is not None:
        met = np.unique(attitude["time"].values.astype(np.float64))
    else:
        raise OrbitError(
            "visibility: found no times, orbit or attitude; give times=, or orbit= (sw*sao.fits*)"
        )
    if met.ndim != 1 or not met.size or not np.isfinite(met).all():
        raise ValueRangeError(f"times: found {met.shape} values, expected one or more finite times, 1-D")
    return met, attrs


def _angles(
    direction: np.ndarray,
    met: np.ndarray,
    orbit: xr.Dataset | None,
    attrs: dict[str, Any],
    dims: tuple[str, ...],
    atmosphere: float,
) -> dict[str, Any]:
    """Return the angle from each body, and whether it hides the source."""
    made: dict[str, Any] = {}
    if orbit is not None:
        table = OrbitTable.of(orbit).at(met)
        vectors = table.vectors
        radii = {body: table.radii(body, atmosphere) for body in BODIES}
        made["earth_radius"] = (
            ("time",),
            radii["earth"],
            {"units": "deg", "long_name": "apparent radius of the Earth with its atmosphere"},
        )
    else:
        centre = np.zeros((met.size, 3))
        vectors = {body: almanac(body, met, centre, attrs) for body in ("moon", "sun")}
        radii = {body: np.full(met.shape, occult.RADII[body]) for body in vectors}
    for body in BODIES:
        if body not in vectors:
            continue
        angle = occult.separation(direction[..., None, :], vectors[body])
        made[f"{body}_angle"] = (
            dims,
            angle,
            {"units": "deg", "long_name": f"angle from the centre of the {body.capitalize()}"},
        )
        made[f"{body}_occulted"] = _flag(dims, angle < radii[body], f"hidden by the {body.capitalize()}")
    return made


def _flag(dims: tuple[str, ...], values: np.ndarray, text: str) -> tuple:
    return dims, values, {"long_name": text}


def _coded(
    attitude: xr.Dataset | None,
    lon: np.ndarray,
    lat: np.ndarray,
    met: np.ndarray,
    alignment: Any,
    aperture: xr.Dataset,
    detector_mask: Any,
) -> np.ndarray:
    if attitude is None:
        raise AttitudeError(
            "visibility: found an aperture but no attitude, which tells where in the field the source is; "
            "give attitude=, or an orbit table with its pointing"
        )
    traced = ray_trace(
        attitude,
        lon,
        lat,
        times=met,
        aperture=aperture,
        detector_mask=detector_mask,
        alignment=NOMINAL_ALIGNMENT if alignment is None else alignment,
    )
    return np.nan_to_num(traced["pcode"].values.reshape((*lon.shape, met.size)))


@by_engine
def visibility_gti(
    ra: Any,
    dec: Any = None,
    times: Any = None,
    *,
    orbit: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Return the intervals in which a source can be seen.

    A run of rows at which it can reaches halfway to the rows before and after it, as in ``batoccultgti``;
    that tool's own constraints are ``constraints="earth,moon,sun"``.

    Parameters
    ----------
    ra, dec, times, orbit, **options
        As for `visibility`, for one position.
    engine
        ``"native"``; ``"heasoft"`` for the tool batoccultgti, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``.

    Raises
    ------
    ValueRangeError
        If several positions are given.
    OrbitError, AttitudeError, KindError
        As for `visibility`.

    Examples
    --------
    >>> orbit = xr.Dataset(
    ...     {"sat_alt": ("time", [6950.0] * 3), "earth_ra": ("time", [0.0, 40.0, 80.0]),
    ...      "earth_dec": ("time", [0.0] * 3)},
    ...     {"time": [6e8, 6e8 + 60, 6e8 + 120]}, {"utcf": -22.5})
    >>> free = visibility_gti(0.0, 0.0, orbit=orbit, constraints="earth")
    >>> (free.start.values - 6e8).tolist(), (free.stop.values - 6e8).tolist()
    ([90.0], [120.0])
    """
    lon, _ = sky_position(ra, dec)
    if lon.ndim:
        raise ValueRangeError(f"visibility_gti: found {lon.size} positions, expected one")
    seen = visibility(ra, dec, times, orbit=orbit, **options).sortby("time")
    return gti_from_housekeeping(seen, seen["visible"])
