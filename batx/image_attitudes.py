"""The attitude that stands for a whole image: that of its middle, or the mean while the instrument turns.

Private to the functions that make images.
"""

from __future__ import annotations

import numpy as np

from batx.attitudes import AttitudePath
from batx.instrument import sky
from batx.kernels import gti as intervals

__all__ = ["STEADY", "image_attitude"]

#: the attitude of the middle stands for an image in which the instrument turns by less than this, degrees
STEADY = 1.0 / 60.0


def image_attitude(
    path: AttitudePath,
    bounds: np.ndarray,
    good: tuple[np.ndarray, np.ndarray] | None = None,
    middle: bool = False,
) -> tuple[np.ndarray, float]:
    """Return the attitude of an image and how far the instrument turned in it.

    The mean is that of quaternions, weighted with good time: the unit quaternion with the greatest sum of
    squared products with those of the image, an eigenvector of their second moments (Markley et al. 2007,
    J. Guidance Control Dyn. 30, 1193).

    Parameters
    ----------
    path
        The attitude against time.
    bounds
        Start and end of the image, s, shape ``(2,)``.
    good
        Starts and ends of good time; what the instrument does outside of it does not count. An image
        without any good time is treated as good throughout.
    middle
        Take the middle of the image in any case.

    Returns
    -------
    quaternion : numpy.ndarray
        Sky to spacecraft, shape ``(4,)``: at the middle if the instrument turned by less than `STEADY`, else
        the mean.
    motion : float
        Greatest angle, degrees, between the attitude at the beginning of good time in the image and later:
        about any axis, so rolls count.

    Examples
    --------
    >>> from batx.attitudes import attitude_path
    >>> from batx.schema import build
    >>> turn = np.deg2rad(5.0)  # half of 10 degrees
    >>> rows = [[0, 0, 0, 1.0], [0, 0, np.sin(turn), np.cos(turn)]]
    >>> path = attitude_path(build("attitude", {"time": [0.0, 1.0], "quaternion": rows}), np.eye(3))
    >>> quaternion, motion = image_attitude(path, np.array([0.0, 1.0]))
    >>> round(motion, 6), float(np.rad2deg(2 * np.arcsin(quaternion[2])).round(6))
    (10.0, 5.0)
    """
    start, stop = float(bounds[0]), float(bounds[1])
    inside = path.times[(path.times > start) & (path.times < stop)]
    edges = np.array([start, *inside, stop])
    low, high = edges[:-1], edges[1:]
    weight = high - low if good is None else intervals.overlap(low, high, *good)
    if not weight.any():
        weight = high - low
    used = weight > 0
    ends = _at(path, np.union1d(low[used], high[used]) if used.any() else edges)
    motion = float(np.rad2deg(_turn(ends, ends[0]).max()))
    if middle or motion < STEADY:
        return _at(path, np.array([start + (stop - start) / 2]))[0], motion
    between = _at(path, (low + (high - low) / 2)[used])
    moments = np.einsum("t,ti,tj->ij", weight[used], between, between)
    mean = np.linalg.eigh(moments)[1][:, -1]
    return (-mean if mean[3] < 0 else mean), motion


def _at(path: AttitudePath, times: np.ndarray) -> np.ndarray:
    return sky.slerp(times, path.times, path.quaternions)


def _turn(quaternions: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the angles (radian) between attitudes and another, accurate for small ones too."""
    sign = np.where(quaternions @ first < 0, -1.0, 1.0)[:, None]
    near = sign * quaternions
    return 4 * np.arctan2(np.linalg.norm(near - first, axis=-1), np.linalg.norm(near + first, axis=-1))
