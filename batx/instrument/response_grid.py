"""Packaged responses of the detectors over the field, and between the places they were computed for.

Source of the formulae: algorithms, section 3.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["GRID_FIELD", "ResponseGrid", "coding_efficiency", "response_grid"]

#: beyond these tangents (x, y) the table is extrapolated
GRID_FIELD = (1.5, 0.7)
#: distance in tangent units over which the residuals of the trend are alike
_LENGTH = 0.8
#: directions whose responses are in memory at a time
_BLOCK = 64


def coding_efficiency(imx: np.ndarray | float, imy: np.ndarray | float) -> np.ndarray:
    """Return the flat-field factor of the mask weights for a direction, which MSKWTSQF is the inverse of.

    The lit area of a detector per area across the beam: its face, and its sides as far as a neighbour does
    not shade them. Formula: algorithms, section 2.1, step 2.

    Examples
    --------
    >>> float(coding_efficiency(0.0, 0.0)), round(float(coding_efficiency(0.5, 0.0)), 4)
    (1.0, 0.9391)
    """
    tangents = np.abs(np.stack(np.broadcast_arrays(np.float64(imx), np.float64(imy))))
    with np.errstate(divide="ignore"):
        sides = np.where(tangents > 0, np.minimum(0.15, 0.05 / tangents) * tangents, 0.0)
    return (1 + sides.sum(axis=0)) / np.sqrt(1 + np.sum(tangents**2, axis=0))


class ResponseGrid(NamedTuple):
    """Responses at places of one quadrant of the field; the others mirror it."""

    log_matrix: np.ndarray
    """Logarithm of the response per coding efficiency in cm², shape (place, element that is not 0)."""
    filled: np.ndarray
    """Shape (energy, channel), true where the response is not 0."""
    energy_in: np.ndarray
    """Edges of the incident energies in keV, shape (energy, 2)."""
    channel: np.ndarray
    """Edges of the channels in keV, shape (channel, 2)."""
    direction: np.ndarray
    """Tangents of the places, shape (place, 2)."""
    efficiency: np.ndarray
    """Coding efficiency of the places, shape (place,)."""
    origin: str
    """Where the responses are from."""

    def weights(self, imx: np.ndarray, imy: np.ndarray, efficiency: np.ndarray) -> np.ndarray:
        """Return the weight of each place for each direction, shape (direction, place); they sum to 1.

        A trend in 1, sec θ, ln sec θ and ln ce, and the residuals from it as a random field (universal
        kriging), so that a place gives its own response.
        """
        target = np.abs(np.stack([imx, imy], axis=-1))
        trend, trend_there = _trend(self.direction, self.efficiency), _trend(target, efficiency)
        n, p = trend.shape
        system = np.block([[_covariance(self.direction, self.direction), trend], [trend.T, np.zeros((p, p))]])
        wanted = np.concatenate([_covariance(self.direction, target), trend_there.T])
        return np.linalg.solve(system, wanted)[:n].T

    def mean(
        self, weights: np.ndarray, imx: np.ndarray, imy: np.ndarray, norm: np.ndarray | None = None
    ) -> np.ndarray:
        """Return weighted means of responses in cm² per detector, float64, shape (mean, energy, channel).

        Parameters
        ----------
        weights
            Shape (mean, direction); the sum of a row is 1, or less where the source is out of the field.
        imx, imy
            Tangents of the directions, shape (direction,).
        norm
            MSKWTSQF of the weights, shape (direction,); 1 / `coding_efficiency` if not given.
        """
        efficiency = coding_efficiency(imx, imy) if norm is None else 1 / np.asarray(norm, np.float64)
        result = np.zeros((len(weights), *self.filled.shape))
        total = np.zeros((len(weights), self.log_matrix.shape[1]))
        places = self.weights(imx, imy, efficiency)
        for first in range(0, len(imx), _BLOCK):
            rows = slice(first, first + _BLOCK)
            total += (weights[:, rows] / efficiency[rows]) @ np.exp(places[rows] @ self.log_matrix)
        result[:, self.filled] = total
        return result


def _trend(direction: np.ndarray, efficiency: np.ndarray) -> np.ndarray:
    secant = np.sqrt(1 + np.sum(direction**2, axis=-1))
    return np.stack([np.ones_like(secant), secant, np.log(secant), np.log(efficiency)], axis=-1)


def _covariance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matérn covariance of order 3/2, summed over the mirrored places: smooth across the axes."""
    total = np.zeros((len(first), len(second)))
    for mirror in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        away = np.linalg.norm((first * mirror)[:, None] - second[None], axis=-1) / _LENGTH
        total += (1 + away) * np.exp(-away)
    return total


@cache
def response_grid() -> ResponseGrid:
    """Return the packaged table, read once."""
    with np.load(Path(__file__).with_name("response_table.npz"), allow_pickle=False) as table:
        efficiency = 1 / table["mskwtsqf"]
        logs = np.log(table["matrix"].astype(np.float64) * efficiency[:, None])
        return ResponseGrid(
            logs,
            table["filled"],
            table["energy_in"],
            table["channel"],
            table["direction"],
            efficiency,
            str(table["origin"]),
        )
