"""Directions: sky, spacecraft and BAT axes, and the tangent plane of the instrument.

A quaternion (scalar last) stands for the matrix that takes sky to spacecraft coordinates; the alignment
matrix takes those to BAT coordinates. On the tangent plane IMX = BAT_X / BAT_Z and IMY = BAT_Y / BAT_Z.
Formulae: algorithms, section 1 (Attitude, Teldef, Sign conventions). Angles are degrees, arrays float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "FAR",
    "NOMINAL_ALIGNMENT",
    "matrix_to_quaternion",
    "normalised_alignment",
    "quaternion_to_matrix",
    "radec_to_vector",
    "segment_rotations",
    "sky_to_tangent",
    "slerp",
    "tangent_to_sky",
    "tangent_to_theta_phi",
    "theta_phi_to_tangent",
    "vector_to_radec",
]

#: BAT axes in spacecraft coordinates, without misalignment: X = spacecraft Y, Y = spacecraft Z, Z =
#: spacecraft X
NOMINAL_ALIGNMENT = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
NOMINAL_ALIGNMENT.flags.writeable = False

#: BAT_Z given to a source that is far away, cm
FAR = 1.0e7

_SMALL_ANGLE = 1e-8


def quaternion_to_matrix(quaternion: Any) -> np.ndarray:
    """Return the rotation matrices of quaternions.

    Parameters
    ----------
    quaternion
        Shape ``(..., 4)``, scalar last; normalised here.

    Returns
    -------
    numpy.ndarray
        Shape ``(..., 3, 3)``; ``spacecraft = matrix @ sky``.

    Examples
    --------
    >>> bool((quaternion_to_matrix([0, 0, 0, 1]) == np.eye(3)).all())
    True
    """
    q = np.asarray(quaternion, dtype=np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [x * x - y * y - z * z + w * w, 2 * (x * y + z * w), 2 * (x * z - y * w)],
        [2 * (x * y - z * w), -x * x + y * y - z * z + w * w, 2 * (y * z + x * w)],
        [2 * (x * z + y * w), 2 * (y * z - x * w), -x * x - y * y + z * z + w * w],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(matrix: Any) -> np.ndarray:
    """Return the quaternions of rotation matrices, through their largest component.

    Parameters
    ----------
    matrix
        Shape ``(..., 3, 3)``, orthonormal to rounding of a file.

    Returns
    -------
    numpy.ndarray
        Shape ``(..., 4)``, scalar last, of unit length and with a scalar part of at least 0.

    Examples
    --------
    >>> matrix_to_quaternion(np.eye(3)).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    m = np.asarray(matrix, dtype=np.float64)
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    s01, s02, s12 = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    a0, a1, a2 = (m[..., i, j] - m[..., j, i] for i, j in ((1, 2), (2, 0), (0, 1)))
    # row k is 4 q_k times the quaternion; the row of the largest component loses no accuracy
    products = np.stack(
        [
            np.stack([1 + d0 - d1 - d2, s01, s02, a0], axis=-1),
            np.stack([s01, 1 - d0 + d1 - d2, s12, a1], axis=-1),
            np.stack([s02, s12, 1 - d0 - d1 + d2, a2], axis=-1),
            np.stack([a0, a1, a2, 1 + d0 + d1 + d2], axis=-1),
        ],
        axis=-2,
    )
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    largest = np.argmax(squares, axis=-1)[..., None, None]
    quaternion = np.take_along_axis(products, largest, axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., 3:] < 0, -quaternion, quaternion) + 0.0


def normalised_alignment(matrix: Any) -> np.ndarray:
    """Return the alignment matrix of a file made exactly orthonormal, by way of a unit quaternion.

    The nine digits of ALIGNMij are orthonormal to 1e-9 only; with this step positions agree with the tools to
    rounding.

    Parameters
    ----------
    matrix
        Shape ``(3, 3)``; ``bat = matrix @ spacecraft``.

    Examples
    --------
    >>> bool(np.allclose(normalised_alignment(NOMINAL_ALIGNMENT), NOMINAL_ALIGNMENT))
    True
    """
    return quaternion_to_matrix(matrix_to_quaternion(matrix))


def slerp(t: Any, times: Any, quaternions: Any) -> np.ndarray:
    """Return quaternions at times, turning at a constant rate between rows and constant outside them.

    Parameters
    ----------
    t
        Times, any shape.
    times
        Times of the rows, increasing, shape ``(n,)``.
    quaternions
        Shape ``(n, 4)``, scalar last.

    Returns
    -------
    numpy.ndarray
        Shape ``t.shape + (4,)``, of unit length; the shorter way is taken between rows.

    Examples
    --------
    >>> half = slerp(0.5, [0.0, 1.0], [[0, 0, 0, 1], [0, 0, 1, 0]])
    >>> half.round(6).tolist()
    [0.0, 0.0, 0.707107, 0.707107]
    """
    t, times = np.asarray(t, dtype=np.float64), np.asarray(times, dtype=np.float64)
    rows = np.asarray(quaternions, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    if len(times) == 1:
        return np.broadcast_to(rows[0], (*t.shape, 4)).copy()
    segment = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    fraction = np.clip((t - times[segment]) / (times[segment + 1] - times[segment]), 0.0, 1.0)[..., None]
    first, second = rows[segment], rows[segment + 1]
    cosine = np.sum(first * second, axis=-1, keepdims=True)
    second = np.where(cosine < 0, -second, second)
    # the angle from sine and cosine together is accurate for small turns as well
    angle = 2 * np.arctan2(
        np.linalg.norm(second - first, axis=-1, keepdims=True),
        np.linalg.norm(second + first, axis=-1, keepdims=True),
    )
    tiny = angle < _SMALL_ANGLE
    sine = np.where(tiny, 1.0, np.sin(angle))
    weight_first = np.where(tiny, 1 - fraction, np.sin((1 - fraction) * angle) / sine)
    weight_second = np.where(tiny, fraction, np.sin(fraction * angle) / sine)
    result = weight_first * first + weight_second * second
    return result / np.linalg.norm(result, axis=-1, keepdims=True)


def segment_rotations(quaternions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the rotation from each row of an attitude to the next one, in spacecraft coordinates.

    Between rows k and k+1 `slerp` turns a direction fixed in the sky about the axis ``axis[k]`` at a
    constant rate, by ``angle[k]`` in all (right-handed).

    Parameters
    ----------
    quaternions
        Shape ``(n, 4)``, scalar last.

    Returns
    -------
    axis : numpy.ndarray
        Shape ``(n - 1, 3)``, unit vectors; zero where there is no rotation.
    angle : numpy.ndarray
        Shape ``(n - 1,)``, radian, 0 to pi.

    Examples
    --------
    >>> axis, angle = segment_rotations([[0, 0, 0, 1], [0, 0, 1, 0]])
    >>> axis.round(6).tolist(), float(angle[0].round(6))
    ([[-0.0, -0.0, -1.0]], 3.141593)
    """
    q = np.asarray(quaternions, dtype=np.float64)
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    v0, w0, v1, w1 = q[:-1, :3], q[:-1, 3:], q[1:, :3], q[1:, 3:]
    scalar = w0 * w1 + np.sum(v0 * v1, axis=-1, keepdims=True)
    vector = w0 * v1 - w1 * v0 - np.cross(v0, v1)
    vector = np.where(scalar < 0, -vector, vector)
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length[..., 0], np.abs(scalar[..., 0]))
    return -vector / np.where(length > 0, length, 1.0), angle


def radec_to_vector(ra: Any, dec: Any) -> np.ndarray:
    """Return unit vectors, shape ``(..., 3)``, of right ascensions and declinations in degrees.

    Examples
    --------
    >>> radec_to_vector(90.0, 0.0).round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    ra, dec = np.deg2rad(np.asarray(ra, dtype=np.float64)), np.deg2rad(np.asarray(dec, dtype=np.float64))
    ra, dec = np.broadcast_arrays(ra, dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def vector_to_radec(vector: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension (0 to 360) and declination in degrees of vectors of shape ``(..., 3)``.

    Examples
    --------
    >>> [float(angle) for angle in vector_to_radec([0.0, -2.0, 0.0])]
    [270.0, 0.0]
    """
    x, y, z = np.moveaxis(np.asarray(vector, dtype=np.float64), -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360.0, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def sky_to_tangent(
    ra: Any, dec: Any, quaternion: Any, alignment: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where sky positions are on the tangent plane of the instrument.

    Parameters
    ----------
    ra, dec
        Degrees.
    quaternion
        Shape ``(..., 4)``, scalar last; ``...`` broadcasts with the shape of `ra`.
    alignment
        Shape ``(3, 3)``; ``bat = alignment @ spacecraft``.

    Returns
    -------
    imx, imy : numpy.ndarray
        BAT_X / BAT_Z and BAT_Y / BAT_Z.
    front : numpy.ndarray of bool
        Whether the position is on the side that the instrument looks at (BAT_Z > 0); `imx` and `imy` mean
        nothing where it is not.

    Examples
    --------
    >>> imx, imy, front = sky_to_tangent(0.0, 0.0, [0, 0, 0, 1], NOMINAL_ALIGNMENT)
    >>> float(imx), float(imy), bool(front)
    (0.0, 0.0, True)
    """
    rotation = np.asarray(alignment, dtype=np.float64) @ quaternion_to_matrix(quaternion)
    x, y, z = np.moveaxis((rotation @ radec_to_vector(ra, dec)[..., None])[..., 0], -1, 0)
    depth = np.where(z == 0, np.finfo(np.float64).tiny, z)
    with np.errstate(over="ignore"):
        return x / depth, y / depth, z > 0


def tangent_to_sky(imx: Any, imy: Any, quaternion: Any, alignment: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination (degrees) of places on the tangent plane; inverse of
    `sky_to_tangent`.

    Examples
    --------
    >>> [float(angle) for angle in tangent_to_sky(1.0, 0.0, [0, 0, 0, 1], NOMINAL_ALIGNMENT)]
    [45.0, 0.0]
    """
    imx, imy = np.broadcast_arrays(np.asarray(imx, dtype=np.float64), np.asarray(imy, dtype=np.float64))
    bat = np.stack([imx, imy, np.ones_like(imx)], axis=-1)
    rotation = np.asarray(alignment, dtype=np.float64) @ quaternion_to_matrix(quaternion)
    return vector_to_radec((np.swapaxes(rotation, -1, -2) @ bat[..., None])[..., 0])


def theta_phi_to_tangent(theta: Any, phi: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the tangent-plane place of the flight software's off-axis angle and azimuth (degrees).

    ``IMX = tan(theta) cos(phi)``, ``IMY = -tan(theta) sin(phi)``.

    Examples
    --------
    >>> [round(float(value), 6) for value in theta_phi_to_tangent(45.0, 90.0)]
    [0.0, -1.0]
    """
    radius = np.tan(np.deg2rad(np.asarray(theta, dtype=np.float64)))
    phi = np.deg2rad(np.asarray(phi, dtype=np.float64))
    return radius * np.cos(phi), -radius * np.sin(phi)


def tangent_to_theta_phi(imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return off-axis angle and azimuth (degrees) of places on the tangent plane.

    Examples
    --------
    >>> [float(value) for value in tangent_to_theta_phi(0.0, -1.0)]
    [45.0, 90.0]
    """
    imx, imy = np.asarray(imx, dtype=np.float64), np.asarray(imy, dtype=np.float64)
    return np.rad2deg(np.arctan(np.hypot(imx, imy))), np.rad2deg(np.arctan2(-imy, imx))
