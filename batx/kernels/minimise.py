"""Minima of functions of a few parameters by MIGRAD, and the ends of intervals by MINOS (iminuit)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["End", "Search"]

#: no limit is as far away as this
_FAR = 1e20
#: a distance from the minimum in the function that is near enough: 0.0045 standard deviations
_NEAR = 2e-5


class End(NamedTuple):
    """Where a profile ends: value, whether it is good, at a limit, or there is a better minimum."""

    value: float
    good: bool
    limited: bool
    better: bool


class Search:
    """A minimisation within limits, in units in which all parameters are near 1.

    Parameters
    ----------
    function
        Of the parameters (n,).
    start, step
        (n,) Where it begins, and the size of its first steps.
    low, high
        (n,) Limits.
    unit
        (n,) What the parameters are divided by.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], float],
        start: np.ndarray,
        step: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        unit: np.ndarray,
    ) -> None:
        from iminuit import Minuit

        self.unit = unit
        self._minuit = Minuit(lambda x: function(x * unit), start / unit)
        self._minuit.errordef = 1.0
        for k in range(start.size):
            limits = (edge / unit[k] if abs(edge) < _FAR else None for edge in (low[k], high[k]))
            self._minuit.limits[k] = tuple(limits)
            self._minuit.errors[k] = step[k] / unit[k]

    @property
    def values(self) -> np.ndarray:
        """The parameters (n,)."""
        return np.array(self._minuit.values) * self.unit

    @property
    def steps(self) -> np.ndarray:
        """Their errors (n,): of the covariance once there is one."""
        return np.array(self._minuit.errors) * self.unit

    @property
    def lowest(self) -> float:
        """The value of the function."""
        return float(self._minuit.fval)

    @property
    def calls(self) -> int:
        """How often the function was called."""
        return int(self._minuit.nfcn)

    @property
    def covariance(self) -> np.ndarray:
        """(n, n), NaN where it could not be computed; for a rise of 1."""
        found = self._minuit.covariance
        if found is None:
            return np.full((self.unit.size, self.unit.size), np.nan)
        return np.array(found) * np.outer(self.unit, self.unit)

    def minimise(self, tolerance: float = 1e-6, strategy: int = 1) -> bool:
        """Go to the minimum, to 0.002 · tolerance of the function; return whether it was reached.

        Where rounding ends the search before that, it counts as reached within `_NEAR`. With strategy 0 no
        covariance is computed.
        """
        self._minuit.tol, self._minuit.strategy = tolerance, strategy
        self._minuit.migrad(use_simplex=False)
        return self._reached()

    def _reached(self) -> bool:
        state = self._minuit.fmin
        return bool(state.is_valid) or (state.edm < _NEAR and not state.has_reached_call_limit)

    def insist(self) -> bool:
        """Try again by another way after a failure: a simplex search, and smaller steps."""
        self._minuit.simplex()
        return self.minimise(strategy=2)

    def curvature(self) -> None:
        """Compute the covariance from second derivatives at the minimum."""
        self._minuit.hesse()

    def complaint(self) -> str:
        """Return what is wrong with the minimum, nothing if it is good."""
        state = self._minuit.fmin
        if state.has_reached_call_limit:
            return "the minimiser gave up after too many steps"
        if not self._reached():
            return f"the minimum is not settled (estimated distance {state.edm:.3g} in the statistic)"
        if not self._minuit.accurate or _is_singular(self.covariance):
            return "the data do not determine all free parameters: the covariance is singular"
        return ""

    def hold(self, place: int, value: float) -> None:
        """Keep a parameter at a value."""
        self._minuit.values[place] = value / self.unit[place]
        self._minuit.fixed[place] = True

    def ends(self, rise: float) -> list[tuple[End, End]]:
        """Return for each parameter the lower and upper end of where its profile is below `rise`."""
        if not self._minuit.fmin.is_valid:  # rounding ended the search; MINOS needs no more than this
            self._minuit.tol = 0.1
            self._minuit.migrad()
        self._minuit.errordef = rise
        self._minuit.minos()
        self._minuit.errordef = 1.0
        made = []
        for k, found in enumerate(self._minuit.merrors.values()):
            value, unit = self.values[k], self.unit[k]
            made.append(
                (
                    End(
                        value + found.lower * unit,
                        found.lower_valid,
                        found.at_lower_limit,
                        found.lower_new_min,
                    ),
                    End(
                        value + found.upper * unit,
                        found.upper_valid,
                        found.at_upper_limit,
                        found.upper_new_min,
                    ),
                )
            )
        return made


def _is_singular(covariance: np.ndarray) -> bool:
    """Whether parameters are so correlated that their covariance means nothing."""
    error = np.sqrt(np.diag(covariance))
    if not np.isfinite(covariance).all() or not (error > 0).all():
        return True
    return bool(np.linalg.eigvalsh(covariance / np.outer(error, error))[0] < 1e-9)
