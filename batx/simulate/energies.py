"""Energy spectra of simulated components, as probabilities of the 0.1 keV channels of an event file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.schema import require_kind
from batx.simulate.checks import finite, positive

__all__ = ["N_PI", "Cutoff", "Density", "Folded", "Line", "Mixture", "PowerLaw", "Spectrum", "as_spectrum"]

#: number of PI channels; the energy of channel n is n * 0.1 keV
N_PI = 5000
_EDGES = np.arange(N_PI + 1) * 0.1


class Spectrum(ABC):
    """Counts against energy, as relative numbers in the PI channels."""

    @abstractmethod
    def channels(self) -> np.ndarray:
        """Return the relative number of counts in each PI channel."""

    def probabilities(self) -> np.ndarray:
        """Return the probability of each PI channel.

        Raises
        ------
        ValueRangeError
            If the spectrum is negative, not finite, or zero everywhere below 500 keV.
        """
        weights = self.channels()
        if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueRangeError(
                f"spectrum {self!r}: expected finite values, none negative and some positive, below 500 keV"
            )
        return weights / weights.sum()


class Density(Spectrum):
    """A spectrum with a formula: ``spectrum(energy)`` is the density per keV, in any unit."""

    @abstractmethod
    def __call__(self, energy: np.ndarray) -> np.ndarray:
        """Return the density at `energy` (keV)."""

    def channels(self) -> np.ndarray:
        """Return the relative number of counts in each PI channel (midpoint rule, five points a channel)."""
        fine = (np.arange(5 * N_PI) + 0.5) * 0.02
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            density = np.asarray(self(fine), dtype=np.float64)
        return density.reshape(N_PI, 5).sum(axis=1) * 0.02


def _window(energy: np.ndarray, low: float, high: float) -> np.ndarray:
    return (energy >= low) & (energy < high)


@dataclass(frozen=True)
class PowerLaw(Density):
    """``norm * (E / 1 keV)**-index`` from `low` to `high` keV."""

    index: float = 1.5
    low: float = 10.0
    high: float = 500.0
    norm: float = 1.0

    def __post_init__(self) -> None:
        finite(self.index, "1", "index")
        if not 0 <= finite(self.low, "keV", "low") < finite(self.high, "keV", "high"):
            raise ValueRangeError(f"spectrum: found {self.low} to {self.high} keV, expected 0 <= low < high")

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        """Return the density."""
        return np.where(_window(energy, self.low, self.high), self.norm * energy**-self.index, 0.0)


@dataclass(frozen=True)
class Cutoff(Density):
    """``norm * (E / 1 keV)**-index * exp(-E (2 - index) / peak)``; E² N(E) is largest at `peak` keV."""

    index: float = 1.0
    peak: float = 120.0
    low: float = 10.0
    high: float = 500.0
    norm: float = 1.0

    def __post_init__(self) -> None:
        positive(self.peak, "keV", "peak")
        if finite(self.index, "1", "index") >= 2:
            raise ValueRangeError(
                f"Cutoff: found index {self.index}, expected one below 2 (else there is no peak)"
            )
        if not 0 <= finite(self.low, "keV", "low") < finite(self.high, "keV", "high"):
            raise ValueRangeError(f"spectrum: found {self.low} to {self.high} keV, expected 0 <= low < high")

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        """Return the density."""
        density = self.norm * energy**-self.index * np.exp(-energy * (2 - self.index) / self.peak)
        return np.where(_window(energy, self.low, self.high), density, 0.0)


@dataclass(frozen=True)
class Line(Density):
    """A Gaussian line at `energy` keV with standard deviation `sigma` keV."""

    energy: float
    sigma: float = 2.0
    norm: float = 1.0

    def __post_init__(self) -> None:
        positive(self.energy, "keV", "energy")
        positive(self.sigma, "keV", "sigma")

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        """Return the density; its integral is `norm`."""
        z = (energy - self.energy) / self.sigma
        return self.norm * np.exp(-0.5 * z**2) / (self.sigma * np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class Mixture(Spectrum):
    """Spectra added, each a share of the counts: ``Mixture([(0.9, PowerLaw(2)), (0.1, Line(59.5))])``."""

    parts: tuple[tuple[float, Spectrum], ...]

    def channels(self) -> np.ndarray:
        """Return the sum of the parts' probabilities times their shares."""
        return np.sum([share * part.probabilities() for share, part in self.parts], axis=0)


@dataclass(frozen=True)
class _Function(Density):
    function: Callable[[np.ndarray], Any]

    def __call__(self, energy: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.function(energy), dtype=np.float64), np.shape(energy))


@dataclass(frozen=True)
class Folded(Spectrum):
    """A photon spectrum (photon cm**-2 s**-1 keV**-1) folded through a response.

    Attributes
    ----------
    photons
        Photon spectrum.
    response
        Dataset of kind ``response`` with ``matrix`` in cm**2 per detector and the channels' ``energy_bnds``.
    """

    photons: Spectrum
    response: xr.Dataset

    def __post_init__(self) -> None:
        if not isinstance(self.photons, Density):
            raise ValueRangeError(
                f"spectrum: found {type(self.photons).__name__} with a response, expected a photon spectrum "
                "with a formula (PowerLaw, Cutoff, Line or a function of energy in keV)"
            )
        require_kind(self.response, "response", operation="folding a spectrum")
        if "matrix" not in self.response or "energy_bnds" not in self.response.variables:
            raise ValueRangeError(
                "response: found no matrix or no channel energies, expected both; open a full response"
            )

    def channel_rates(self) -> np.ndarray:
        """Return the count rate of each channel of the response, count/s per fully illuminated detector."""
        edges = self.response["energy_in_bnds"].values
        step = (np.arange(20) + 0.5) / 20
        fine = edges[:, :1] + (edges[:, 1:] - edges[:, :1]) * step
        assert isinstance(self.photons, Density)
        photons = np.asarray(self.photons(fine)).mean(axis=1) * (edges[:, 1] - edges[:, 0])
        matrix = self.response["matrix"].transpose("energy_in", "channel").values
        return photons @ matrix.astype(np.float64)

    def rate(self) -> float:
        """Return the count rate of all channels, count/s per fully illuminated detector."""
        return float(self.channel_rates().sum())

    def channels(self) -> np.ndarray:
        """Return the counts of each PI channel; those of a response channel are spread evenly."""
        bounds = np.clip(self.response["energy_bnds"].values, 0.0, _EDGES[-1])
        rates = self.channel_rates()
        width = np.maximum(bounds[:, 1] - bounds[:, 0], 1e-9)
        cumulative = np.zeros(N_PI + 1)
        for (low, high), density in zip(bounds, rates / width, strict=True):
            cumulative += density * np.clip(_EDGES - low, 0.0, high - low)
        return np.diff(cumulative)


def as_spectrum(value: Any, response: xr.Dataset | None = None) -> Spectrum:
    """Return a `Spectrum` from one or from a function of energy; folded where `response` is given.

    Raises
    ------
    ValueRangeError
        If `value` is neither.
    """
    if isinstance(value, Spectrum):
        spectrum = value
    elif callable(value):
        spectrum = _Function(value)
    else:
        raise ValueRangeError(
            f"spectrum: found {value!r}, expected a spectrum of batx.simulate (PowerLaw, Cutoff, Line, "
            "Mixture, Folded) or a function of energy in keV"
        )
    return spectrum if response is None else Folded(spectrum, response)
