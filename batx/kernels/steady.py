"""The attitude that an instrument held longest, on plain arrays (algorithms of the survey, 1.4).

It is a mode, not a mean: a slew at the end of an interval does not move it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batx.instrument import sky

__all__ = ["Steps", "attitude_steps", "steady_rotation"]

#: cells of the histogram of directions, and how far attitudes are split: radian
CELL = np.deg2rad(0.01)
_CELLS = 100
_WIDEST = np.pi / _CELLS
_WIDER, _NARROWER = 100.0, 50.0
_REPEATS = 100


class Steps(NamedTuple):
    """Attitudes in small steps: quaternions (step, 4), and the seconds that each stands for (step,)."""

    quaternions: np.ndarray
    seconds: np.ndarray


def attitude_steps(times: np.ndarray, quaternions: np.ndarray, start: np.ndarray, stop: np.ndarray) -> Steps:
    """Return the attitude in steps of less than `CELL`, within intervals and the times of its rows.

    Parameters
    ----------
    times, quaternions
        Rows of the attitude, increasing in time, shapes (row,) and (row, 4).
    start, stop
        Intervals (n,).

    Examples
    --------
    >>> turn = np.deg2rad(0.05) / 2
    >>> rows = np.array([[0, 0, 0, 1.0], [0, 0, np.sin(turn), np.cos(turn)]])
    >>> attitude_steps(np.array([0.0, 12.0]), rows, np.array([0.0]), np.array([9.0])).seconds
    array([2.25, 2.25, 2.25, 2.25])
    """
    low, high = [], []
    for first, last in zip(np.maximum(start, times[0]), np.minimum(stop, times[-1]), strict=True):
        if last > first:
            edges = np.array([first, *times[(times > first) & (times < last)], last])
            low.append(edges[:-1])
            high.append(edges[1:])
    if not low:
        return Steps(np.empty((0, 4)), np.empty(0))
    begin, end = np.concatenate(low), np.concatenate(high)
    turned = _angle(sky.slerp(begin, times, quaternions), sky.slerp(end, times, quaternions))
    number = (turned / CELL).astype(np.int64) + 1
    piece = np.repeat(np.arange(begin.size), number)
    step = np.arange(piece.size) - np.repeat(np.cumsum(number) - number, number)
    seconds = ((end - begin) / number)[piece]
    return Steps(sky.slerp(begin[piece] + (step + 0.5) * seconds, times, quaternions), seconds)


def _angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the angles between attitudes, radian, accurate for small ones too."""
    second = np.where(np.sum(first * second, axis=-1, keepdims=True) < 0, -second, second)
    return 4 * np.arctan2(np.linalg.norm(second - first, axis=-1), np.linalg.norm(second + first, axis=-1))


def steady_rotation(steps: Steps, first: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the rotation in which the axis Z of the frame was longest, and for how long.

    Directions of Z around that of a first guess make a histogram weighted with time; of its blocks of 2 x 2
    cells the one with most time is taken, and the weighted mean over it is the result. If most time is
    outside the histogram or at its ends, it is made wider around the result, and then finer again.

    Parameters
    ----------
    steps
        Of `attitude_steps`.
    first
        Quaternion of the guess, shape (4,).

    Returns
    -------
    rotation : numpy.ndarray
        Shape (3, 3), sky to frame.
    seconds : float
        Time in the block.

    Examples
    --------
    >>> still = np.tile([0.0, 0.0, 0.0, 1.0], (5, 1))
    >>> rotation, seconds = steady_rotation(Steps(still, np.ones(5)), still[0])
    >>> rotation.diagonal().tolist(), seconds
    ([1.0, 1.0, 1.0], 5.0)
    """
    matrices = sky.quaternion_to_matrix(steps.quaternions)
    centre = sky.quaternion_to_matrix(first)
    cell, repeats = CELL, 0
    while True:
        centre, inside, lost = _peak(matrices, steps.seconds, centre, cell)
        if lost <= inside or (cell >= _WIDEST and repeats >= _REPEATS):
            break
        repeats += cell >= _WIDEST
        cell = min(cell * _WIDER, _WIDEST)
    while cell > CELL:
        cell = max(cell / _NARROWER, CELL)
        centre, inside, _ = _peak(matrices, steps.seconds, centre, cell)
    return centre, inside


def _peak(
    matrices: np.ndarray, seconds: np.ndarray, centre: np.ndarray, cell: float
) -> tuple[np.ndarray, float, float]:
    """Return the mean rotation of the fullest block of cells, its time, and that outside or at the ends."""
    turned = matrices @ centre.T
    depth = turned[:, 2, 2]
    ahead = depth > 0
    scale = 1 / np.where(ahead, depth, 1.0)
    x, y = -turned[:, 2, 0] * scale, turned[:, 2, 1] * scale
    sine, cosine = (turned[:, 0, 1] - turned[:, 1, 0]) * scale, (turned[:, 0, 0] + turned[:, 1, 1]) * scale
    column, row = (np.clip(value / cell + _CELLS / 2, -1, _CELLS).astype(np.int64) for value in (x, y))
    within = ahead & (column >= 0) & (column < _CELLS) & (row >= 0) & (row < _CELLS)
    index = (column * _CELLS + row)[within]

    def summed(values: np.ndarray) -> np.ndarray:
        weighted = np.bincount(index, (seconds * values)[within], _CELLS**2).reshape(_CELLS, _CELLS)
        return weighted[:-1, :-1] + weighted[1:, :-1] + weighted[:-1, 1:] + weighted[1:, 1:]

    time = summed(np.ones_like(x))
    block = np.unravel_index(int(np.argmax(time)), time.shape)
    edge = within & ((column == 0) | (column == _CELLS - 1))
    lost = float(seconds[~within | edge].sum())
    inside = float(time[block])
    if inside <= 0:
        return centre, 0.0, lost
    tilt = np.array([-summed(x)[block] / inside, summed(y)[block] / inside, 1.0])
    angle = float(np.arctan2(summed(sine)[block], summed(cosine)[block]))
    return _tilted(tilt / np.linalg.norm(tilt), angle) @ centre, inside, lost


def _tilted(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation that brings a direction to Z the shortest way and then turns by `angle` about Z."""
    across = np.array([axis[1], -axis[0], 0.0])  # axis x Z
    cross = np.array([[0, -across[2], across[1]], [across[2], 0, -across[0]], [-across[1], across[0], 0]])
    shortest = np.eye(3) + cross + cross @ cross / (1 + axis[2])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ shortest
