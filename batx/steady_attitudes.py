"""The steady attitude of a pointing: where the spacecraft looked longest, and when it did look there."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import attitude_path, pointing
from batx.engines import by_engine
from batx.errors import AttitudeError, GtiError, MissingVariableError
from batx.instrument import sky
from batx.intervals import gti_arrays
from batx.kernels import gti as intervals
from batx.kernels.steady import attitude_steps, steady_rotation
from batx.reduction import compat_of
from batx.schema import build, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = ["steady_attitude", "steady_gti"]


@by_engine
def steady_attitude(attitude: xr.Dataset, gti: Any, *, alignment: Any = None) -> xr.Dataset:
    """Return the one attitude that stands for good time: the mode of the attitude, weighted with time.

    Unlike a mean it is not moved by a slew, or by a drift for a small part of the time.

    Parameters
    ----------
    attitude
        Kind ``attitude``.
    gti
        Good time in any form; what lies outside the rows of the attitude does not count.
    alignment
        Rotation from spacecraft axes to those of the telescope, for `ra`, `dec` and `roll` only: kind
        ``alignment`` or 3 x 3; the nominal one (spacecraft X) if not given.
    engine
        ``"native"``; ``"heasoft"`` for the tool aspect, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``attitude``: two equal rows, from the first start to the last stop of good time, so that it
        serves as the attitude of whatever lies between. Attribute ``steady_seconds``: time within about
        0.02 degrees of it.

    Raises
    ------
    AttitudeError
        If there is no attitude in good time.
    GtiError
        If there is no good time.

    Notes
    -----
    Source: definition of the tool ``aspect`` (algorithms of the survey, 1.4), which is met to 1e-4 arcsec.

    Examples
    --------
    >>> import batx
    >>> away = batx.simulate.Slew(50, 60, 165, 20, 40)
    >>> path = batx.simulate.attitude(0.0, 60.0, (150, 30, 40), slews=[away])
    >>> steady = steady_attitude(path, (0, 60))
    >>> bool(abs(steady.ra[0] - 150) < 0.01), steady.sizes["time"]
    (True, 2)
    """
    start, stop = gti_arrays(gti)
    if not start.size:
        raise GtiError("steady_attitude: found no good time, expected at least one interval")
    path = attitude_path(attitude, sky.NOMINAL_ALIGNMENT)
    steps = attitude_steps(path.times, path.quaternions, start, stop)
    if not steps.seconds.size:
        raise AttitudeError(
            f"steady_attitude: found the attitude from {path.times[0]:.3f} to {path.times[-1]:.3f} s, "
            f"none of it in good time, {start[0]:.3f} to {stop[-1]:.3f} s; give that of this observation"
        )
    middle = len(start) // 2
    centre = 0.5 * (max(start[middle], path.times[0]) + min(stop[middle], path.times[-1]))
    guess = sky.slerp(np.array([centre]), path.times, path.quaternions)[0]
    rotation, seconds = steady_rotation(steps, guess)
    quaternion = np.tile(sky.matrix_to_quaternion(rotation), (2, 1))
    attrs = kept_attrs(attitude.attrs, *ORIGIN, "history")
    made = build("attitude", {"time": [start.min(), stop.max()], "quaternion": quaternion}, attrs)
    made = pointing(made, alignment=alignment)
    made.attrs |= {"tstart": float(start.min()), "tstop": float(stop.max()), "steady_seconds": seconds}
    return made


def steady_gti(
    attitude: xr.Dataset,
    steady: xr.Dataset,
    gti: Any,
    *,
    tolerance: Any = 0.025,
    roll_tolerance: Any = 0.083,
    compat: str | None = None,
) -> xr.Dataset:
    """Return when in good time the spacecraft pointed as in its steady attitude.

    Parameters
    ----------
    attitude
        Kind ``attitude``; `ra`, `dec` and `roll` of its rows are looked at, or worked out if it has none.
    steady
        Result of `steady_attitude`.
    gti
        Good time in any form; rows within it count.
    tolerance
        Greatest angle between the directions, degrees or Quantity; itself not good.
    roll_tolerance
        Greatest difference in roll, the same.
    compat
        ``"heasoft"`` as batsurvey-aspect: rolls on the two sides of 360 degrees count as far apart, and
        gaps of good time between two rows count as held.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``, by the rule of `batx.gti_from_housekeeping` among the rows in good time. Attribute
        ``bad_seconds``: good time without it.

    Raises
    ------
    KindError, AttitudeError
        If there is no attitude.
    MissingVariableError
        If `steady` has no direction.

    Notes
    -----
    Source: algorithms of the survey, 1.4 (pointing check).

    Examples
    --------
    >>> import batx
    >>> away = batx.simulate.Slew(50, 60, 165, 20, 40)
    >>> path = batx.simulate.attitude(0.0, 60.0, (150, 30, 40), slews=[away])
    >>> held = steady_gti(path, steady_attitude(path, (0, 60)), (0, 60))
    >>> bool(49 < held.stop[-1] < 53)
    True
    """
    mode = compat_of(compat)
    require_kind(attitude, "attitude", operation="steady_gti")
    places = [_directions(ds, "steady_gti") for ds in (attitude, steady)]
    (ra, dec, roll), (ra0, dec0, roll0) = places[0], (column[0] for column in places[1])
    cosine = sky.radec_to_vector(ra, dec) @ sky.radec_to_vector(ra0, dec0)
    apart = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    rolled = np.abs(roll - roll0)
    if not mode:
        rolled = np.minimum(rolled % 360, -rolled % 360)
    good = apart < float(to_value(tolerance, "deg", "tolerance"))
    good &= rolled < float(to_value(roll_tolerance, "deg", "roll_tolerance"))
    start, stop = gti_arrays(gti)
    times = np.asarray(attitude["time"].values, dtype=np.float64)
    inside = intervals.membership(times, start, stop)
    held = intervals.maketime(times[inside], good[inside], 0.5, 0.5)
    if not mode:
        held = intervals.intersection(held, (start, stop))
    bad = _seconds(start, stop) - _seconds(*held)
    attrs = kept_attrs(attitude.attrs, *ORIGIN, "history")
    return build("gti", {"start": held[0], "stop": held[1]}, attrs | {"bad_seconds": bad})


def _seconds(start: np.ndarray, stop: np.ndarray) -> float:
    start, stop = intervals.union(start, stop)
    return float(np.sum(stop - start))


def _directions(ds: xr.Dataset, operation: str) -> list[np.ndarray]:
    require_kind(ds, "attitude", operation=operation)
    if not {"ra", "dec", "roll"} <= set(ds.variables):
        if "quaternion" not in ds:
            raise MissingVariableError(f"{operation}: found an attitude without ra, dec and roll")
        ds = pointing(ds)
    return [np.asarray(ds[name].values, dtype=np.float64) for name in ("ra", "dec", "roll")]
