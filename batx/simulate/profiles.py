"""Light curves of simulated components: relative brightness against seconds from the start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batx.errors import ValueRangeError
from batx.simulate.checks import finite, positive

__all__ = ["Box", "Constant", "Drift", "Fred", "Gaussian", "Profile", "Sampled", "Sum", "as_profile"]


class Profile(ABC):
    """Relative brightness ``profile(t)``; `t` in s from the start of the observation, 1 at the brightest."""

    @abstractmethod
    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return the brightness at times `t`."""

    def breaks(self) -> list[float]:
        """Return the times at which the profile is not smooth, for the time grid of the simulation."""
        return []


@dataclass(frozen=True)
class Constant(Profile):
    """The same brightness throughout."""

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return ones."""
        return np.ones(np.shape(t))


@dataclass(frozen=True)
class Box(Profile):
    """Full brightness from `start` (included) to `stop` (excluded), nothing else."""

    start: float
    stop: float

    def __post_init__(self) -> None:
        if finite(self.stop, "s", "stop") <= finite(self.start, "s", "start"):
            raise ValueRangeError(
                f"Box: found start {self.start} and stop {self.stop}, expected start < stop"
            )

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return 1 inside and 0 outside."""
        return ((t >= self.start) & (t < self.stop)).astype(np.float64)

    def breaks(self) -> list[float]:
        """Return both edges."""
        return [self.start, self.stop]


@dataclass(frozen=True)
class Gaussian(Profile):
    """A Gaussian pulse centred on `centre` with standard deviation `sigma`."""

    centre: float
    sigma: float

    def __post_init__(self) -> None:
        finite(self.centre, "s", "centre")
        positive(self.sigma, "s", "sigma")

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return ``exp(-(t - centre)**2 / 2 sigma**2)``."""
        return np.exp(-0.5 * ((t - self.centre) / self.sigma) ** 2)


@dataclass(frozen=True)
class Fred(Profile):
    """A pulse of fast rise and exponential decay (Norris et al. 2005, ApJ 627, 324, equation 1), peak 1.

    ``exp(2 sqrt(rise/decay) - rise/(t - start) - (t - start)/decay)`` after `start`; its peak is at
    ``start + sqrt(rise * decay)``.
    """

    start: float
    rise: float
    decay: float

    def __post_init__(self) -> None:
        finite(self.start, "s", "start")
        positive(self.rise, "s", "rise")
        positive(self.decay, "s", "decay")

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return the pulse."""
        since = np.maximum(np.asarray(t, dtype=np.float64) - self.start, 1e-12)
        exponent = 2 * np.sqrt(self.rise / self.decay) - self.rise / since - since / self.decay
        return np.where(np.asarray(t) > self.start, np.exp(np.maximum(exponent, -700.0)), 0.0)

    def breaks(self) -> list[float]:
        """Return the start of the pulse."""
        return [self.start]


@dataclass(frozen=True)
class Drift(Profile):
    """A slow change, as of the background along the orbit: a line and a sine about 1.

    ``1 + slope * t + amplitude * sin(2 pi t / period)`` with `slope` per second; never below 0.
    """

    slope: float = 0.0
    amplitude: float = 0.0
    period: float = 5760.0

    def __post_init__(self) -> None:
        finite(self.slope, "1/s", "slope")
        finite(self.amplitude, "1", "amplitude")
        positive(self.period, "s", "period")

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return the relative brightness."""
        wave = self.amplitude * np.sin(2 * np.pi * np.asarray(t) / self.period)
        return np.maximum(1 + self.slope * np.asarray(t) + wave, 0.0)


@dataclass(frozen=True)
class Sampled(Profile):
    """Brightness given at `times` and joined by straight lines; 0 before the first and after the last."""

    times: Sequence[float] | np.ndarray
    values: Sequence[float] | np.ndarray

    def __post_init__(self) -> None:
        times, values = np.asarray(self.times, dtype=float), np.asarray(self.values, dtype=float)
        if times.ndim != 1 or times.shape != values.shape or len(times) < 2 or not np.isfinite(times).all():
            raise ValueRangeError(
                f"Sampled: found times of shape {times.shape} and values of shape {values.shape}, "
                "expected two rows of equal length, at least 2"
            )
        if (np.diff(times) <= 0).any() or not np.isfinite(values).all() or (values < 0).any():
            raise ValueRangeError(
                "Sampled: expected increasing times and values that are finite and not negative"
            )

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return the interpolated values."""
        return np.interp(t, self.times, self.values, left=0.0, right=0.0)

    def breaks(self) -> list[float]:
        """Return the times of the samples."""
        return [float(t) for t in self.times]


@dataclass(frozen=True)
class Sum(Profile):
    """Several profiles added: ``Sum([(1.0, Fred(10, 1, 5)), (0.3, Box(40, 60))])``."""

    parts: Sequence[tuple[float, Profile]] = field(default_factory=list)

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Return the sum."""
        return np.sum([weight * profile(t) for weight, profile in self.parts], axis=0)

    def breaks(self) -> list[float]:
        """Return the breaks of all parts."""
        return [time for _, profile in self.parts for time in profile.breaks()]


@dataclass(frozen=True)
class _Function(Profile):
    function: Callable[[np.ndarray], Any]

    def __call__(self, t: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.asarray(self.function(t), dtype=np.float64), np.shape(t))


def as_profile(value: Any) -> Profile:
    """Return a `Profile` from one, from a function of time, or from a pair ``(times, values)``.

    Parameters
    ----------
    value
        A `Profile`; a callable that takes float64 seconds from the start of the observation; a pair of
        arrays; or a list of profiles, which are added.

    Raises
    ------
    ValueRangeError
        If `value` is none of these.

    Examples
    --------
    >>> as_profile(([0.0, 10.0], [0.0, 1.0]))(np.array([5.0]))
    array([0.5])
    """
    if isinstance(value, Profile):
        return value
    if callable(value):
        return _Function(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Profile) for item in value):
        return Sum([(1.0, item) for item in value])
    if isinstance(value, (list, tuple)) and len(value) == 2 and np.ndim(value[0]) == 1:
        return Sampled(*value)
    raise ValueRangeError(
        f"light curve: found {value!r}, expected a profile of batx.simulate (Constant, Box, Gaussian, Fred, "
        "Drift, Sampled, Sum), a function of time, a list of profiles, or a pair (times, values)"
    )
