"""The spacecraft attitude: pointing, and the place of a source in the field, against time."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.calibration_inputs import records
from batx.errors import AttitudeError, BatxWarning, ValueRangeError
from batx.instrument import sky
from batx.kernels import gti
from batx.met import to_met
from batx.positions import sky_position
from batx.provenance import with_calibration
from batx.schema import build, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = [
    "AttitudePath",
    "Coverage",
    "alignment_matrix",
    "attitude_path",
    "field_position",
    "gti_of_slews",
    "pointing",
]

#: an interval without attitude rows that is longer than this, and than 20 usual ones, is a gap; s
_GAP = 10.0
_USUAL_INTERVALS = 20.0


@dataclass(frozen=True)
class AttitudePath:
    """The rotation from sky to BAT axes against time, as plain arrays.

    Attributes
    ----------
    times
        Times of the rows, increasing, shape ``(n,)``, s.
    quaternions
        Sky to spacecraft, shape ``(n, 4)``.
    alignment
        Spacecraft to BAT, shape ``(3, 3)``.
    rate, axis
        Turning rate (rad/s) and axis (in BAT axes) of each interval, shapes ``(n - 1,)`` and ``(n - 1, 3)``.
    matrix
        Sky to BAT at each row, shape ``(n, 3, 3)``.
    """

    times: np.ndarray
    quaternions: np.ndarray
    alignment: np.ndarray
    rate: np.ndarray
    axis: np.ndarray
    matrix: np.ndarray

    @property
    def motion(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arrays that `batx.kernels.trace` takes: times, rate, axis, matrix."""
        return self.times, self.rate, self.axis, self.matrix

    def coverage(self, times: np.ndarray) -> Coverage:
        """Return how many of the times (s, any order) the attitude covers; results of blocks add up."""
        if not times.size:
            return Coverage()
        first, last = float(times.min()), float(times.max())
        start, stop = float(self.times[0]), float(self.times[-1])
        if not (np.isfinite(first) and np.isfinite(last)):
            return Coverage(times.size, invalid=int(np.count_nonzero(~np.isfinite(times))))
        inside = first >= start and last <= stop
        return Coverage(
            times.size,
            outside=0 if inside else int(np.count_nonzero((times < start) | (times > stop))),
            first=first,
            last=last,
            in_gaps={
                (low, high): int(np.count_nonzero((times > low) & (times < high)))
                for low, high in self.gaps
                if first < high and last > low
            },
        )

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Intervals without rows that are far longer than usual, s."""
        length = np.diff(self.times)
        if not length.size:
            return []
        wide = np.flatnonzero(length > max(_GAP, _USUAL_INTERVALS * float(np.median(length))))
        return [(float(self.times[k]), float(self.times[k + 1])) for k in wide]

    def require(self, coverage: Coverage, extrapolate: bool = False, what: str = "events") -> None:
        """Raise an error if times were not covered; warn of times in gaps between rows.

        Parameters
        ----------
        coverage
            Result of `coverage`, or a sum of such.
        extrapolate
            Accept times outside: the attitude is taken to be constant there.
        what
            What the times are, for the message.

        Raises
        ------
        AttitudeError
            If times lie before the first or after the last row.
        ValueRangeError
            If times are not finite.
        """
        if coverage.invalid:
            raise ValueRangeError(
                f"{what}: found {coverage.invalid} of {coverage.count} times that are not finite; "
                "remove them first"
            )
        if coverage.outside and not extrapolate:
            raise AttitudeError(
                f"attitude: found rows from {self.times[0]:.3f} to {self.times[-1]:.3f} s, but "
                f"{coverage.outside} of {coverage.count} {what} from {coverage.first:.3f} to "
                f"{coverage.last:.3f} s lie outside; give the attitude file of this observation, or "
                "extrapolate=True to take the attitude as constant beyond its ends"
            )
        for (low, high), count in (coverage.in_gaps or {}).items():
            if count:
                warnings.warn(
                    f"attitude: no rows from {low:.3f} to {high:.3f} s, where {count} of {coverage.count} "
                    f"{what} lie; the attitude is interpolated across the gap",
                    BatxWarning,
                    stacklevel=3,
                )


@dataclass(frozen=True)
class Coverage:
    """How many of some times are not finite, outside an attitude or in its gaps, and their range."""

    count: int = 0
    invalid: int = 0
    outside: int = 0
    first: float = np.inf
    last: float = -np.inf
    in_gaps: dict[tuple[float, float], int] | None = None

    def __add__(self, other: Coverage) -> Coverage:
        gaps = dict(self.in_gaps or {})
        for gap, count in (other.in_gaps or {}).items():
            gaps[gap] = gaps.get(gap, 0) + count
        return Coverage(
            self.count + other.count,
            self.invalid + other.invalid,
            self.outside + other.outside,
            min(self.first, other.first),
            max(self.last, other.last),
            gaps,
        )


def attitude_path(attitude: xr.Dataset | None, alignment: Any = None) -> AttitudePath:
    """Return the rotation from sky to BAT axes that an attitude and an alignment describe.

    Rows with a quaternion that is zero or not finite are left out with a warning; rows are put in order of
    time and of rows with the same time the first is kept.

    Parameters
    ----------
    attitude
        Dataset of kind `attitude`; `None` is an error that says what is missing.
    alignment
        As for `alignment_matrix`.

    Raises
    ------
    AttitudeError
        If there is no attitude, or no usable row in it.

    Examples
    --------
    >>> attitude = build("attitude", {"time": [0.0, 1.0], "quaternion": [[0, 0, 0, 1.0], [0, 0, 0, 1.0]]})
    >>> attitude_path(attitude, sky.NOMINAL_ALIGNMENT).rate.tolist()
    [0.0]
    """
    times, quaternions = _rows(attitude)
    matrix = alignment_matrix(alignment)
    axis, angle = sky.segment_rotations(quaternions)
    return AttitudePath(
        times=times,
        quaternions=quaternions,
        alignment=matrix,
        rate=angle / np.diff(times),
        axis=np.ascontiguousarray(axis @ matrix.T),
        matrix=np.ascontiguousarray(matrix @ sky.quaternion_to_matrix(quaternions)),
    )


def _rows(attitude: xr.Dataset | None) -> tuple[np.ndarray, np.ndarray]:
    if attitude is None:
        raise AttitudeError(
            "attitude: found none; sky positions need the attitude of the spacecraft (attitude=...), "
            'or give the position in instrument coordinates (frame="tangent")'
        )
    require_kind(attitude, "attitude", operation="reading an attitude")
    times = np.asarray(attitude["time"].values, dtype=np.float64)
    quaternions = np.asarray(attitude["quaternion"].transpose("time", "q").values, dtype=np.float64)
    length = np.linalg.norm(quaternions, axis=-1)
    usable = np.isfinite(times) & np.isfinite(length) & (length > 0)
    if not usable.any():
        raise AttitudeError(f"attitude: found {len(times)} rows, none of them with a time and a quaternion")
    if not usable.all():
        warnings.warn(
            f"attitude: {np.count_nonzero(~usable)} of {len(times)} rows have no valid quaternion or time "
            "and are left out",
            BatxWarning,
            stacklevel=4,
        )
    times, first = np.unique(times[usable], return_index=True)
    return times, (quaternions[usable] / length[usable, None])[first]


def alignment_matrix(alignment: Any = None) -> np.ndarray:
    """Return the rotation from spacecraft to BAT axes, shape ``(3, 3)``.

    Parameters
    ----------
    alignment
        Dataset of kind `alignment`, a 3 x 3 array, or `None` for the nominal axes (with a warning: the true
        alignment differs by some arcminutes).

    Raises
    ------
    AttitudeError
        If the matrix is not a rotation.

    Examples
    --------
    >>> alignment_matrix(sky.NOMINAL_ALIGNMENT).round(6).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if alignment is None:
        warnings.warn(
            "alignment: found none; the nominal axes are used, which are off by some arcminutes. Give "
            "alignment=, opened with batx.open_dataset from the teldef file of the BAT calibration database",
            BatxWarning,
            stacklevel=3,
        )
        return np.array(sky.NOMINAL_ALIGNMENT)
    if isinstance(alignment, xr.Dataset):
        require_kind(alignment, "alignment", operation="reading an alignment")
        alignment = alignment["matrix"].transpose("bat", "spacecraft").values
    matrix = to_value(alignment, "", "alignment")
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6):
        raise AttitudeError(f"alignment: found {matrix.tolist()}, expected a 3 x 3 rotation matrix")
    if np.linalg.det(matrix) < 0:
        raise AttitudeError(f"alignment: found a reflection {matrix.tolist()}, expected a rotation matrix")
    return sky.normalised_alignment(matrix)


def pointing(
    attitude: xr.Dataset, times: Any = None, *, alignment: Any = None, extrapolate: bool = False
) -> xr.Dataset:
    """Return the attitude and the pointing direction at given times.

    Parameters
    ----------
    attitude
        Dataset of kind `attitude`.
    times
        MET (s), Quantity or Time, 1-D; the rows of the attitude if not given.
    alignment
        With an alignment (as for `alignment_matrix`) the direction is that of BAT_Z; without, that of
        spacecraft X.
    extrapolate
        Accept times outside the attitude, which is then taken as constant.

    Returns
    -------
    xarray.Dataset
        Kind `attitude`: `quaternion` (slerp between rows), `ra`, `dec` and `roll` in degrees. `roll` is
        that of the attitude files: atan2(-Y, Z), the north components of spacecraft Y and Z (BAT_X and
        BAT_Y with an alignment).

    Raises
    ------
    AttitudeError
        If the attitude does not cover the times.

    Examples
    --------
    >>> attitude = build("attitude", {"time": [0.0, 1.0], "quaternion": [[0, 0, 0, 1.0], [0, 0, 1.0, 0]]})
    >>> float(pointing(attitude, [0.5]).ra[0].round(6))
    90.0
    """
    path = attitude_path(attitude, sky.NOMINAL_ALIGNMENT if alignment is None else alignment)
    met = path.times if times is None else np.atleast_1d(to_met(times, attitude.attrs, name="times"))
    path.require(path.coverage(met), extrapolate, "times")
    quaternions = sky.slerp(met, path.times, path.quaternions)
    rotation = path.alignment @ sky.quaternion_to_matrix(quaternions)
    ra, dec = sky.vector_to_radec(rotation[..., 2, :])
    roll = np.arctan2(-rotation[..., 0, 2], rotation[..., 1, 2])
    return build(
        "attitude",
        {"time": met, "quaternion": quaternions, "ra": ra, "dec": dec, "roll": np.rad2deg(roll) % 360.0},
        with_calibration(attitude.attrs, records(alignment=alignment)),
    )


def gti_of_slews(attitude: xr.Dataset, rate: Any = 0.01, angle: Any = 1.0) -> xr.Dataset:
    """Return the intervals in which the spacecraft slews.

    Pointed, it drifts by less than 0.003 degrees/s; slews are at 0.1 to 1.5 degrees/s, and slow down to a few
    thousandths in the last seconds.

    Parameters
    ----------
    attitude
        Dataset of kind `attitude`; intervals without rows that are far longer than usual count as no slew.
    rate
        Least turning rate between two rows, degrees/s.
    angle
        Least angle through which a slew turns, degrees or Quantity.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``; empty if there is no slew.

    Raises
    ------
    AttitudeError
        If there is no usable attitude.

    Examples
    --------
    >>> from batx.simulate import Slew, attitude
    >>> path = attitude(0.0, 60.0, (150, 30, 40), slews=[Slew(20, 40, 165, 20, 40)])
    >>> slews = gti_of_slews(path)
    >>> bool(20 <= slews.start[0] < 22), bool(38 < slews.stop[0] <= 40)
    (True, True)
    """
    path = attitude_path(attitude, sky.NOMINAL_ALIGNMENT)
    starts, stops = path.times[:-1], path.times[1:]
    turned = np.rad2deg(path.rate) * (stops - starts)
    fast = np.rad2deg(path.rate) > float(to_value(rate, "deg/s", "rate"))
    fast &= ~np.isin(starts, [low for low, _ in path.gaps])
    start, stop = gti.union(starts[fast], stops[fast])
    before = np.append(0.0, np.cumsum(turned))
    total = before[np.searchsorted(path.times, stop)] - before[np.searchsorted(path.times, start)]
    far = total >= float(to_value(angle, "deg", "angle"))
    attrs = kept_attrs(attitude.attrs, *ORIGIN, "provenance", "history")
    return build("gti", {"start": start[far], "stop": stop[far]}, attrs)


def field_position(
    attitude: xr.Dataset,
    ra: Any,
    dec: Any = None,
    times: Any = None,
    *,
    alignment: Any = None,
    extrapolate: bool = False,
) -> xr.Dataset:
    """Return where in the field of view a sky position is, against time; `batx.ray_trace` adds how it is
    coded.

    Parameters
    ----------
    attitude
        Dataset of kind `attitude`.
    ra, dec
        ICRS degrees or Quantity, or a SkyCoord as `ra`.
    times
        MET (s), Quantity or Time, 1-D; the rows of the attitude if not given.
    alignment
        As for `alignment_matrix`.
    extrapolate
        Accept times outside the attitude, which is then taken as constant.

    Returns
    -------
    xarray.Dataset
        `imx`, `imy` (tangent plane), `theta` (degrees from the axis), `phi` (azimuth, degrees) and `front`
        (whether it is on the side that BAT looks at; NaN elsewhere in the others but `theta`) against
        `time`; with a dimension `source` if `ra` is an array.

    Raises
    ------
    AttitudeError
        If the attitude does not cover the times.
    ValueRangeError
        If the times have more than one dimension.

    Examples
    --------
    >>> attitude = build("attitude", {"time": [0.0], "quaternion": [[0, 0, 0, 1.0]]})
    >>> place = field_position(attitude, 45.0, 0.0, alignment=sky.NOMINAL_ALIGNMENT)
    >>> float(place.imx[0].round(6)), float(place.theta[0].round(6))
    (1.0, 45.0)
    """
    lon, lat = sky_position(ra, dec)
    path = attitude_path(attitude, alignment)
    met = path.times if times is None else np.atleast_1d(to_met(times, attitude.attrs, name="times"))
    if met.ndim != 1:
        raise ValueRangeError(f"times: found shape {met.shape}, expected times along one dimension")
    path.require(path.coverage(met), extrapolate, "times")
    rotation = path.alignment @ sky.quaternion_to_matrix(sky.slerp(met, path.times, path.quaternions))
    bat = np.einsum("tij,...j->...ti", rotation, sky.radec_to_vector(lon, lat))
    x, y, z = np.moveaxis(bat, -1, 0)
    front = z > 0
    depth = np.where(front, z, np.nan)
    imx, imy = x / depth, y / depth
    theta = np.rad2deg(np.arctan2(np.hypot(x, y), z))
    dims = ("time",) if lon.ndim == 0 else ("source", "time")

    def variable(values: np.ndarray, units: str, text: str) -> tuple:
        return dims, values, {"units": units, "long_name": text}

    return xr.Dataset(
        {
            "imx": variable(imx, "1", "tangent-plane position X/Z"),
            "imy": variable(imy, "1", "tangent-plane position Y/Z"),
            "theta": variable(theta, "deg", "angle from the BAT axis"),
            "phi": variable(sky.tangent_to_theta_phi(imx, imy)[1], "deg", "azimuth about the BAT axis"),
            "front": (dims, front, {"long_name": "on the side that BAT looks at"}),
        },
        {"time": ("time", met, {"units": "s", "long_name": "time (MET)"})},
        attrs=with_calibration(
            {key: value for key, value in attitude.attrs.items() if key != "batx_kind"},
            records(alignment=alignment),
        ),
    )
