"""Minima of functions of a few parameters by MIGRAD, and the ends of intervals by MINOS (iminuit)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["NO_END", "End", "Search"]

#: no limit is as far away as this
_FAR = 1e20
#: a distance from the minimum in the function that is near enough where the function is too rough for less:
#: 0.03 standard deviations
_NEAR = 1e-3


class End(NamedTuple):
    """Where a profile ends: value, whether it is good, at a limit, or there is a better minimum.

    `values` are those of all parameters at a better minimum, as far as they are known.
    """

    value: float
    good: bool
    limited: bool
    better: bool
    values: Any = None


NO_END = End(np.nan, False, False, False)


class Search:
    """A minimisation within limits, in units in which all parameters are near 1.

    Parameters
    ----------
    function, gradient
        Of the parameters (n,): its value, and its derivatives (n,).
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
        gradient: Callable[[np.ndarray], np.ndarray],
        start: np.ndarray,
        step: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        unit: np.ndarray,
    ) -> None:
        from iminuit import Minuit

        self.unit = unit
        self._minuit = Minuit(
            lambda x: function(x * unit), start / unit, grad=lambda x: gradient(x * unit) * unit
        )
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
        """Their errors (n,), roughly."""
        return np.array(self._minuit.errors) * self.unit

    @property
    def lowest(self) -> float:
        """The value of the function."""
        return float(self._minuit.fval)

    @property
    def calls(self) -> int:
        """How often the function was called."""
        return int(self._minuit.nfcn)

    def minimise(self, tolerance: float = 1e-6, strategy: int = 0) -> bool:
        """Go to the minimum, to 0.002 · tolerance of the function; return whether it was reached.

        Where roughness ends the search before that, it counts as reached within `_NEAR`. Strategies of MIGRAD
        above 0 take more care.
        """
        self._minuit.tol, self._minuit.strategy = tolerance, strategy
        self._minuit.migrad(use_simplex=False)
        state = self._minuit.fmin
        if not state.is_valid and state.edm < _NEAR and not state.has_reached_call_limit:
            self._minuit.tol = max(tolerance, 1e3 * state.edm)
            self._minuit.migrad(use_simplex=False)
        return bool(self._minuit.valid)

    def insist(self) -> bool:
        """Try again by another way after a failure: a simplex search, and smaller steps."""
        self._minuit.simplex()
        return self.minimise(strategy=2)

    def complaint(self) -> str:
        """Return what is wrong with the minimum, nothing if it is good."""
        state = self._minuit.fmin
        if state.has_reached_call_limit:
            return "the minimiser gave up after too many steps"
        if not state.is_valid:
            return f"the minimum is not settled (estimated distance {state.edm:.3g} in the statistic)"
        return ""

    def hold(self, place: int, value: float) -> None:
        """Keep a parameter at a value."""
        self._minuit.values[place] = value / self.unit[place]
        self._minuit.fixed[place] = True

    def ends(self, rise: float) -> list[tuple[End, End]]:
        """Return for each parameter the lower and upper end of where its profile is below `rise`."""
        self._minuit.tol, self._minuit.strategy = 1e-3, 1
        self._minuit.hesse()  # MINOS needs the second derivatives
        if not self._minuit.valid:
            self._minuit.migrad(use_simplex=False)
        if not self._minuit.valid:
            return [(NO_END, NO_END)] * self.unit.size
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
