"""Spacecraft attitude: steady pointing, slews along great circles, settling and jitter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from scipy.spatial.transform import Rotation

from batx.errors import PositionError, ValueRangeError
from batx.instrument.sky import matrix_to_quaternion, vector_to_radec
from batx.schema import build
from batx.simulate.checks import finite, positive, stream

__all__ = ["Slew", "attitude", "axes_of"]

_ARCSEC = np.pi / 648000
_SETTLE_PERIOD = 8.0


@dataclass(frozen=True)
class Slew:
    """A slew from `start` to `stop` (s from the start of the observation) to a new pointing (degrees)."""

    start: float
    stop: float
    ra: float
    dec: float
    roll: float = 0.0

    def __post_init__(self) -> None:
        if finite(self.stop, "s", "slew stop") <= finite(self.start, "s", "slew start"):
            raise ValueRangeError(
                f"Slew: found start {self.start} and stop {self.stop}, expected start < stop"
            )
        axes_of(self.ra, self.dec, self.roll)


def axes_of(ra: Any, dec: Any, roll: Any) -> np.ndarray:
    """Return the sky-to-spacecraft matrix of a pointing: rows are the spacecraft axes in the sky frame.

    SC_X is the boresight; `roll` is the position angle of SC_Z, from north through east (this is how the
    POINTING and QPARAM columns of attitude files belong together).

    Parameters
    ----------
    ra, dec, roll
        Degrees (or Quantity).

    Raises
    ------
    PositionError
        If the declination is beyond the poles.
    """
    a, d, r = (
        np.radians(finite(value, "deg", name)) for value, name in ((ra, "ra"), (dec, "dec"), (roll, "roll"))
    )
    if abs(d) > np.pi / 2:
        raise PositionError(f"dec: found {dec} deg, expected -90 to 90")
    x = np.array([np.cos(a) * np.cos(d), np.sin(a) * np.cos(d), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.array([-np.cos(a) * np.sin(d), -np.sin(a) * np.sin(d), np.cos(d)])
    z = np.cos(r) * north + np.sin(r) * east
    return np.stack([x, np.cross(z, x), z])


def _path(begin: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Return matrices from `begin` to `end`: the boresight on a great circle, the roll in proportion."""
    axis = np.cross(begin[0], end[0])
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, begin[0] @ end[0])
    axis = axis / sine if sine > 1e-12 else begin[2]
    swung = begin @ Rotation.from_rotvec(axis * angle).as_matrix().T
    turn = end @ swung.T
    roll = np.arctan2(turn[1, 2], turn[1, 1])
    swing = Rotation.from_rotvec(fraction[:, None] * axis * angle).as_matrix()
    about_x = Rotation.from_rotvec(-fraction[:, None] * np.array([roll, 0.0, 0.0])).as_matrix()
    return about_x @ begin @ swing.transpose(0, 2, 1)


def attitude(
    start: float = 6e8,
    duration: float = 200.0,
    pointing: tuple[float, float, float] = (150.0, 30.0, 40.0),
    *,
    slews: Sequence[Slew] = (),
    step: float = 0.2,
    margin: float = 20.0,
    jitter: float = 0.0,
    settle_amplitude: float = 0.0,
    settle_time: float = 10.0,
    saa: Sequence[tuple[float, float]] = (),
    seed: int = 0,
) -> xr.Dataset:
    """Return the attitude of an observation.

    Parameters
    ----------
    start, duration
        The observation, MET s and s; the attitude covers `margin` s more on either side.
    pointing
        Right ascension, declination and roll at the start, degrees.
    slews
        In order of time. Angular speed rises and falls smoothly (``3 f**2 - 2 f**3``).
    step
        Spacing of the rows, s.
    jitter
        Standard deviation of the random pointing error about each axis, arcsec (correlated over 1 s).
    settle_amplitude, settle_time
        After each slew the boresight swings with an initial amplitude (arcsec) that falls by e in a third of
        `settle_time`; the flag ``settled`` is set `settle_time` s after the slew.
    saa
        Passages of the South Atlantic Anomaly, pairs of s from the start of the observation; sets the flag
        only.
    seed
        Same seed, same attitude.

    Returns
    -------
    xarray.Dataset
        Kind ``attitude``, with all four flags; ``ten_arcmin`` refers to the target of the last slew begun.

    Raises
    ------
    ValueRangeError
        If durations are not positive, amplitudes are negative, or slews overlap.

    Examples
    --------
    >>> att = attitude(6e8, 60.0, (150, 30, 40), slews=[Slew(20, 40, 162, 24, 45)])
    >>> att["ra"].values[[0, -1]].round(6).tolist()
    [150.0, 162.0]
    """
    start = finite(start, "s", "start")
    duration = positive(duration, "s", "duration")
    step, margin = positive(step, "s", "step"), positive(margin, "s", "margin", zero=True)
    jitter = positive(jitter, "arcsec", "jitter", zero=True)
    settle_amplitude = positive(settle_amplitude, "arcsec", "settle_amplitude", zero=True)
    settle_time = positive(settle_time, "s", "settle_time", zero=True)
    if any(later.start < earlier.stop for earlier, later in pairwise(slews)):
        raise ValueRangeError(
            "slews overlap or are not in order; expected each to start after the one before ends"
        )

    t = -margin + step * np.arange(int(np.ceil((duration + 2 * margin) / step)) + 1)
    begin = axes_of(*pointing)
    matrices = np.broadcast_to(begin, (len(t), 3, 3)).copy()
    target = np.broadcast_to(begin[0], (len(t), 3)).copy()
    settled = np.ones(len(t), dtype=bool)
    wobble = np.zeros((len(t), 3))
    for slew in slews:
        end = axes_of(slew.ra, slew.dec, slew.roll)
        moving = (t >= slew.start) & (t < slew.stop)
        after = t >= slew.stop
        f = (t[moving] - slew.start) / (slew.stop - slew.start)
        matrices[moving] = _path(begin, end, f * f * (3 - 2 * f))
        matrices[after], target[moving | after] = end, end[0]
        settled &= ~(moving | (after & (t < slew.stop + settle_time)))
        if settle_amplitude and settle_time:
            since = t[after] - slew.stop
            swing = np.exp(-3 * since / settle_time) * np.sin(2 * np.pi * since / _SETTLE_PERIOD)
            wobble[after, 1:] += settle_amplitude * _ARCSEC * swing[:, None]
        begin = end
    if jitter:
        wobble += jitter * _ARCSEC * _correlated(stream(seed, "jitter"), len(t), np.exp(-step))
    matrices = Rotation.from_rotvec(wobble).as_matrix() @ matrices

    x, z = matrices[:, 0], matrices[:, 2]
    ra, dec = vector_to_radec(x)
    a, d = np.radians(ra), np.radians(dec)
    east = -np.sin(a) * z[:, 0] + np.cos(a) * z[:, 1]
    north = -np.cos(a) * np.sin(d) * z[:, 0] - np.sin(a) * np.sin(d) * z[:, 1] + np.cos(d) * z[:, 2]
    off_target = 2 * np.arcsin(np.clip(np.linalg.norm(x - target, axis=1) / 2, 0, 1))
    in_saa = np.zeros(len(t), dtype=bool)
    for enter, leave in saa:
        in_saa |= (t >= enter) & (t < leave)
    return build(
        "attitude",
        {
            "time": start + t,
            "quaternion": matrix_to_quaternion(matrices),
            "ra": ra,
            "dec": dec,
            "roll": np.degrees(np.arctan2(east, north)) % 360,
            "ten_arcmin": off_target < np.radians(10 / 60),
            "settled": settled,
            "in_saa": in_saa,
            "safe_hold": np.zeros(len(t), dtype=bool),
        },
        {"telescope": "SWIFT", "instrument": "SC"},
    )


def _correlated(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """Return three first-order autoregressive series of unit variance, ``(n, 3)``."""
    noise = rng.standard_normal((n, 3)) * np.sqrt(1 - rho**2)
    noise[0] /= np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=0)
