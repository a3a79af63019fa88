"""The detector plane: 32768 detectors in an array of 286 x 173 cells with gaps between the modules.

Positions are ``detx`` (column, 0 to 285) and ``dety`` (row, 0 to 172); images have the shape ``(173,
286)``, that is ``image[dety, detx]``. Every 18 columns hold 16 detectors and 2 empty cells, every 11 rows 8
detectors and 3 empty cells. Formulae: algorithms, section 1 (DPI geometry).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batx.errors import ValueRangeError

__all__ = [
    "DETECTOR",
    "DETID",
    "NX",
    "NY",
    "N_DETECTORS",
    "SHAPE",
    "decompose",
    "detid_to_xy",
    "xy_to_detid",
]

NX = 286
NY = 173
SHAPE = (NY, NX)
N_DETECTORS = 32768


def decompose(detid: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where in the electronics a detector is.

    Parameters
    ----------
    detid
        Detector numbers, 0 to 32767, any shape.

    Returns
    -------
    block, module, side, channel : numpy.ndarray
        Block 0 to 15, detector module 0 to 7 in its block, side 0 or 1 of the module, channel 0 to 127 of the
        side (an array of 16 x 8 detectors).

    Raises
    ------
    ValueRangeError
        If a number is not an integer from 0 to 32767.

    Examples
    --------
    >>> [int(part) for part in decompose(12345)]
    [6, 0, 0, 57]
    """
    number = _integers(detid, "detid")
    _check_range(number, N_DETECTORS, "detid")
    return number >> 11, (number >> 8) & 7, (number >> 7) & 1, number & 127


def detid_to_xy(detid: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of detectors on the plane.

    Parameters
    ----------
    detid
        Detector numbers, 0 to 32767, any shape.

    Returns
    -------
    detx, dety : numpy.ndarray of int64
        Column and row, of the shape of `detid`.

    Raises
    ------
    ValueRangeError
        If a number is not an integer from 0 to 32767.

    Examples
    --------
    >>> detx, dety = detid_to_xy(12345)
    >>> int(xy_to_detid(detx, dety))
    12345
    """
    block, module, side, channel = decompose(detid)
    array = 2 * module + side
    upper = channel >> 6
    row_in_array = 7 * upper + (1 - 2 * upper) * (channel % 8)
    row = NY - 1 - (array % 8 - 2 * side + 1) * 11 - row_in_array
    right = block >> 3
    column = (15 * right + (1 - 2 * right) * block) * 36 + (array >> 3) * 18 + 15 - (channel >> 3)
    turned = right == 1
    return np.where(turned, NX - 1 - column, column), np.where(turned, NY - 1 - row, row)


def xy_to_detid(detx: Any, dety: Any) -> np.ndarray:
    """Return the number of the detector at a position, -1 where the position is in a gap.

    Parameters
    ----------
    detx, dety
        Columns (0 to 285) and rows (0 to 172), of shapes that broadcast.

    Raises
    ------
    ValueRangeError
        If a position is outside the array.

    Examples
    --------
    >>> int(xy_to_detid(16, 0))
    -1
    """
    column, row = _integers(detx, "detx"), _integers(dety, "dety")
    _check_range(column, NX, "detx")
    _check_range(row, NY, "dety")
    return DETID[row, column]


def _integers(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueRangeError(f"{name}: found values of type {array.dtype}, expected integers")
    return array.astype(np.int64)


def _check_range(values: np.ndarray, stop: int, name: str) -> None:
    outside = (values < 0) | (values >= stop)
    if outside.any():
        found = values[outside]
        raise ValueRangeError(
            f"{name}: found {found.size} from {found.min()} to {found.max()}, expected 0 to {stop - 1}"
        )


def _number_map() -> np.ndarray:
    numbers = np.full(SHAPE, -1, dtype=np.int32)
    detid = np.arange(N_DETECTORS)
    detx, dety = detid_to_xy(detid)
    numbers[dety, detx] = detid
    numbers.flags.writeable = False
    return numbers


#: detector number at each position, -1 in the gaps; int32 (173, 286)
DETID = _number_map()

#: true where there is a detector; bool (173, 286)
DETECTOR = DETID >= 0
DETECTOR.flags.writeable = False
