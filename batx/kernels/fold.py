"""Photons through a response: a product with a matrix, kept as its non-zero elements where these are few."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["fold", "group_channels", "packed"]

#: a matrix with a smaller part of its elements in use is faster as a sparse one
_SPARSE_BELOW = 0.3


def packed(matrix: Any) -> Any:
    """Return a response (energy, channel) in the form that folds fastest.

    It is a float64 array with the energies next to each other in memory, or a ``scipy.sparse.csc_array``
    where less than 30 % of the elements are in use.

    Examples
    --------
    >>> packed(np.array([[1, 2], [3, 4]]))
    array([[1., 2.],
           [3., 4.]])
    """
    values = np.asfortranarray(matrix, np.float64)
    if np.count_nonzero(values) < _SPARSE_BELOW * values.size:
        from scipy.sparse import csc_array

        return csc_array(values)
    return values


def fold(matrix: Any, photons: np.ndarray) -> np.ndarray:
    """Return count/s in each channel for photons/cm**2/s in each energy bin.

    The rate in channel c is Σ_e photons_e R_ec, with the rows as they are (OGIP CAL/GEN/92-002).

    Parameters
    ----------
    matrix
        (energy, channel) in cm**2, as an array or as `packed` returns it.
    photons
        (..., energy) photons/cm**2/s in each bin of incident energy.

    Examples
    --------
    >>> fold(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
    array([31., 42.])
    """
    return photons @ matrix


def group_channels(matrix: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return sums of neighbouring channels of (..., channel): group g is of channels starts[g] to the next.

    Examples
    --------
    >>> group_channels(np.array([[1.0, 2.0, 4.0]]), np.array([0, 2]))
    array([[3., 4.]])
    """
    return np.add.reduceat(matrix, starts, axis=-1)
