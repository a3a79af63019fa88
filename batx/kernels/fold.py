"""Photons through a response."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = ["Fold", "fold", "group_channels", "packed"]


class Fold(NamedTuple):
    """A response in the form that folds fastest: each channel with the energies from `first` to `last`.

    ``columns`` is (channel, energy), energies next to each other in memory.
    """

    columns: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def __call__(self, photons: np.ndarray) -> np.ndarray:
        """Return `fold` of photons (..., energy)."""
        rows = np.ascontiguousarray(photons, np.float64).reshape(-1, self.columns.shape[1])
        made = np.empty((rows.shape[0], self.columns.shape[0]))
        _fold(self.columns, self.first, self.last, rows, made)
        return made.reshape(*photons.shape[:-1], self.columns.shape[0])


def packed(matrix: np.ndarray) -> Fold:
    """Return a response (energy, channel) as a `Fold`, to be called many times.

    It does not go through the threads of a linear-algebra library, which cost more than they gain where
    several fits run side by side.

    Examples
    --------
    >>> packed(np.array([[1.0, 0.0], [3.0, 4.0]]))(np.array([1.0, 10.0]))
    array([31., 40.])
    """
    columns = np.ascontiguousarray(np.asarray(matrix, np.float64).T)
    used = columns != 0.0
    some = used.any(axis=1)
    first = np.where(some, used.argmax(axis=1), 0)
    last = np.where(some, columns.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    return Fold(columns, first, last)


def fold(matrix: np.ndarray, photons: np.ndarray) -> np.ndarray:
    """Return count/s in each channel for photons/cm**2/s in each energy bin.

    The rate in channel c is Σ_e photons_e R_ec, with the rows as they are (OGIP CAL/GEN/92-002).

    Parameters
    ----------
    matrix
        (energy, channel) in cm**2.
    photons
        (..., energy) photons/cm**2/s in each bin of incident energy.

    Examples
    --------
    >>> fold(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
    array([31., 42.])
    """
    return photons @ matrix


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "arcp", "contract"})
def _fold(
    columns: np.ndarray, first: np.ndarray, last: np.ndarray, photons: np.ndarray, made: np.ndarray
) -> None:
    for channel in range(columns.shape[0]):
        begin, end = first[channel], last[channel]
        column = columns[channel, begin:end]
        for row in range(photons.shape[0]):
            flux = photons[row, begin:end]  # slices of one size let the compiler use vectors
            total = 0.0
            for k in range(column.size):
                total += column[k] * flux[k]
            made[row, channel] = total


def group_channels(matrix: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return sums of neighbouring channels of (..., channel): group g is of channels starts[g] to the next.

    Examples
    --------
    >>> group_channels(np.array([[1.0, 2.0, 4.0]]), np.array([0, 2]))
    array([[3., 4.]])
    """
    return np.add.reduceat(matrix, starts, axis=-1)
