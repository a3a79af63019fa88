"""The background: how it is spread over the detector plane, in energy and in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batx.errors import ValueRangeError
from batx.instrument.detector import DETECTOR, NX, NY
from batx.simulate.checks import finite, positive
from batx.simulate.energies import PowerLaw, Spectrum
from batx.simulate.profiles import Constant

__all__ = ["Background"]


@dataclass(frozen=True)
class Background:
    """Background counts of the detectors.

    Attributes
    ----------
    rate
        Mean over the detectors at profile 1, count/s per detector (all energies).
    gradient
        Relative change from the centre of the plane to its +X edge and to its +Y edge.
    curvature
        Relative change from the centre to the edges that goes with the square of the distance, X and Y.
    edge
        Relative excess in the outer row and column of detectors of every module, lit from the side.
    spectrum, light_curve
        Energies and relative brightness in time; anything that `as_spectrum` and `as_profile` take.
    """

    rate: float = 0.25
    gradient: tuple[float, float] = (0.08, -0.05)
    curvature: tuple[float, float] = (-0.05, 0.03)
    edge: float = 0.15
    spectrum: Any = field(default_factory=lambda: PowerLaw(1.4, 12.0, 400.0))
    light_curve: Any = field(default_factory=Constant)

    def __post_init__(self) -> None:
        positive(self.rate, "count/s", "background rate", zero=True)
        for value in (*self.gradient, *self.curvature, self.edge):
            finite(value, "1", "background shape")
        if (self._factors()[DETECTOR] < 0).any():
            raise ValueRangeError(
                f"background: gradient {self.gradient}, curvature {self.curvature} and edge {self.edge} make "
                "it negative somewhere on the detector plane; use smaller values"
            )

    def _factors(self) -> np.ndarray:
        x = np.linspace(-1, 1, NX)
        y = np.linspace(-1, 1, NY)[:, None]
        column, row = np.arange(NX) % 18, np.arange(NY)[:, None] % 11
        smooth = 1 + self.gradient[0] * x + self.gradient[1] * y
        smooth = smooth + self.curvature[0] * x**2 + self.curvature[1] * y**2
        at_edge = (column == 0) | (column == 15) | (row == 0) | (row == 7)
        return smooth * (1 + self.edge * at_edge)

    def shape(self) -> np.ndarray:
        """Return the relative rate of every detector, ``(173, 286)``: mean 1, and 0 in the gaps."""
        factors = np.where(DETECTOR, self._factors(), 0.0)
        return factors / factors[DETECTOR].mean()


#: spectrum of the noise of hot detectors and of heat-pipe glitches: soft, at the threshold
NOISE: Spectrum = PowerLaw(4.0, 10.0, 60.0)
