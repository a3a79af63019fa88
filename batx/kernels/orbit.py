"""Where a satellite is between the rows of its orbit table, on plain arrays."""

from __future__ import annotations

import numpy as np

__all__ = ["GRAVITY", "satellite_position"]

#: gravitational parameter of the Earth, km³/s²
GRAVITY = 398600.4418


def satellite_position(
    times: np.ndarray, rows: np.ndarray, position: np.ndarray, velocity: np.ndarray
) -> np.ndarray:
    """Return positions at times, in the unit of the rows.

    Between two rows the cubic with their positions and velocities is taken (5 m off after gaps of 100 s, 0.4
    km of 300 s); beyond the ends, a fall towards the centre of the Earth (0.3 km off after 60 s).

    Parameters
    ----------
    times
        (time,) s.
    rows
        (row,) s, increasing.
    position, velocity
        (row, 3) km and km/s.

    Returns
    -------
    numpy.ndarray
        (time, 3) km.
    """
    first = np.clip(np.searchsorted(rows, times, side="right") - 1, 0, max(rows.size - 2, 0))
    last = np.minimum(first + 1, rows.size - 1)
    length = (rows[last] - rows[first])[:, None]
    x = (times - rows[first])[:, None] / np.where(length > 0, length, 1.0)
    start, step = position[first], position[last] - position[first]
    push, pull = velocity[first] * length - step, step - velocity[last] * length
    inside = start + x * step + x * (1.0 - x) * ((1.0 - x) * push + x * pull)
    near = np.where(times < rows[0], 0, rows.size - 1)
    since = (times - rows[near])[:, None]
    place = position[near]
    fall = -GRAVITY * place / np.linalg.norm(place, axis=1, keepdims=True) ** 3
    beyond = place + since * (velocity[near] + 0.5 * since * fall)
    outside = (times < rows[0]) | (times >= rows[-1])
    return np.where(outside[:, None], beyond, inside)
