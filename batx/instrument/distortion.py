"""The distortion of the tangent plane: where a source appears against where it is.

``true = apparent + d(apparent)`` and, as the tools do it, ``apparent = true - d(true)``; the map d is on a
regular grid and interpolated bilinearly. Formula: algorithms, section 1 (Distortion map).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from batx.errors import ValueRangeError

__all__ = ["DistortionMap"]


@dataclass(frozen=True)
class DistortionMap:
    """Shifts on a regular grid of the tangent plane.

    Attributes
    ----------
    shift
        Shape ``(2, ny, nx)``: the shift in IMX and in IMY.
    origin
        IMX and IMY of the first grid point.
    step
        Distance of grid points in IMX and IMY.
    """

    shift: np.ndarray
    origin: tuple[float, float]
    step: tuple[float, float]

    def __post_init__(self) -> None:
        shape = np.shape(self.shift)
        if len(shape) != 3 or shape[0] != 2 or min(shape[1:]) < 2 or not all(self.step):
            raise ValueRangeError(
                f"distortion: found a map of shape {shape} with steps {self.step}, "
                "expected (2, ny, nx) with at least 2 points each way and steps other than 0"
            )

    def __call__(self, imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift in IMX and IMY at places; beyond the map, that of its edge.

        Examples
        --------
        >>> grid = DistortionMap(np.arange(8.0).reshape(2, 2, 2), (0.0, 0.0), (1.0, 1.0))
        >>> [float(shift) for shift in grid(0.5, 0.5)]
        [1.5, 5.5]
        """
        ny, nx = self.shift.shape[1:]
        column = np.clip((np.asarray(imx, dtype=np.float64) - self.origin[0]) / self.step[0], 0, nx - 1)
        row = np.clip((np.asarray(imy, dtype=np.float64) - self.origin[1]) / self.step[1], 0, ny - 1)
        i = np.minimum(column.astype(np.int64), nx - 2)
        j = np.minimum(row.astype(np.int64), ny - 2)
        u, v = column - i, row - j
        values = (
            (1 - v) * ((1 - u) * self.shift[:, j, i] + u * self.shift[:, j, i + 1])
            + v * ((1 - u) * self.shift[:, j + 1, i] + u * self.shift[:, j + 1, i + 1])
        )  # fmt: skip
        return values[0], values[1]

    def apparent(self, imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return where a source at the true place `imx`, `imy` appears.

        Examples
        --------
        >>> grid = DistortionMap(np.full((2, 2, 2), 0.5), (0.0, 0.0), (1.0, 1.0))
        >>> [float(value) for value in grid.apparent(1.0, 1.0)]
        [0.5, 0.5]
        """
        dx, dy = self(imx, imy)
        return np.asarray(imx) - dx, np.asarray(imy) - dy

    def true(self, imx: Any, imy: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return where a source is that appears at `imx`, `imy`.

        Examples
        --------
        >>> grid = DistortionMap(np.full((2, 2, 2), 0.5), (0.0, 0.0), (1.0, 1.0))
        >>> [float(value) for value in grid.true(0.5, 0.5)]
        [1.0, 1.0]
        """
        dx, dy = self(imx, imy)
        return np.asarray(imx) + dx, np.asarray(imy) + dy
