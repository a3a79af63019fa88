"""Pile-up in EPIC: whether event patterns are as in the model, and how much of the core is to be left out.

``epatplot`` compares the fractions of single and double events between 0.5 and 2 keV with those that its
model expects, and writes the ratios and their 1-sigma errors into the event list (``SNGL_OTM``, ``ESGL_OTM``,
``DBLE_OTM``, ``EDBL_OTM``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from batx.errors import MissingKeywordError, ValueRangeError

__all__ = [
    "PATTERN_RULES",
    "SMALLEST_CORE",
    "Excision",
    "PatternFractions",
    "excise_core",
    "is_piled_up",
    "pattern_fractions",
]

#: which departures of (singles, doubles) from the model count: +1 above, -1 below, 0 both
PATTERN_RULES: Mapping[str, tuple[int, int]] = {"either": (0, 0), "singles": (1, -1), "doubles": (-1, 1)}
#: arcsec: the first radius that is cut out of a source that is piled up
SMALLEST_CORE = 3.0


@dataclass(frozen=True)
class PatternFractions:
    """Observed over expected fractions of single and double events.

    Attributes
    ----------
    singles, singles_err, doubles, doubles_err
        Ratios, 1 without pile-up, and their 1-sigma errors.

    Raises
    ------
    ValueRangeError
        If a number is not finite, or an error not above 0.
    """

    singles: float
    singles_err: float
    doubles: float
    doubles_err: float

    def __post_init__(self) -> None:
        numbers = (self.singles, self.singles_err, self.doubles, self.doubles_err)
        if not all(math.isfinite(number) for number in numbers) or min(numbers[1::2]) <= 0:
            raise ValueRangeError(
                f"pattern fractions: found {numbers}, expected ratios with errors above 0; are there events "
                "between 0.5 and 2 keV?"
            )


@dataclass(frozen=True)
class Excision:
    """How much of the core of a source is left out.

    Attributes
    ----------
    radius
        Inner radius in seconds of arc; 0 if all is taken.
    clean
        Whether the patterns are as expected outside.
    tried
        Radius and fractions of each step.
    """

    radius: float
    clean: bool
    tried: list[tuple[float, PatternFractions]] = field(default_factory=list)


def pattern_fractions(events: xr.Dataset) -> PatternFractions:
    """Return the fractions that ``epatplot`` wrote into an event list.

    Parameters
    ----------
    events
        Kind ``events``, from the file that ``epatplot`` was run on.

    Raises
    ------
    MissingKeywordError
        If they are not there.
    ValueRangeError
        If they make no sense.

    Examples
    --------
    >>> from batx.schema import build
    >>> events = build("events", {"time": [0.0]}, {"sngl_otm": 0.98, "esgl_otm": 0.02, "dble_otm": 1.03,
    ...                "edbl_otm": 0.03})
    >>> pattern_fractions(events).singles
    0.98
    """
    values: list[Any] = [events.attrs.get(name) for name in ("sngl_otm", "esgl_otm", "dble_otm", "edbl_otm")]
    if any(not isinstance(value, (int, float)) for value in values):
        raise MissingKeywordError(
            "pattern_fractions: the event list has no SNGL_OTM, ESGL_OTM, DBLE_OTM, EDBL_OTM; run epatplot "
            "on it first (a version of SAS that writes them, 15 or later)"
        )
    return PatternFractions(*(float(value) for value in values))


def is_piled_up(fractions: PatternFractions, *, sigma: float = 3.0, rule: str = "either") -> bool:
    """Return whether the patterns depart from the model by more than some standard deviations.

    Parameters
    ----------
    fractions
        Of singles and doubles.
    sigma
        Number of standard deviations.
    rule
        ``"singles"``: singles above 1 + sigma or doubles below 1 - sigma. ``"doubles"``: singles below or
        doubles above, the sign of pile-up by the manual. ``"either"``: any of these.

    Notes
    -----
    The manual of ``epatplot`` (1.22, section Description): without pile-up both ratios are consistent with 1
    within their errors; "if pile-up is present, the singles ratio will be smaller than 1.0 and the doubles
    ratio will be larger than 1.0", since two photons in neighbouring pixels pass for one double event. The
    rule ``"singles"`` is of the opposite signs and alone misses pile-up; the default takes both.

    Raises
    ------
    ValueRangeError
        If `rule` is none of the three, or `sigma` is not above 0.

    Examples
    --------
    >>> is_piled_up(PatternFractions(1.10, 0.02, 0.95, 0.05))
    True
    >>> is_piled_up(PatternFractions(1.05, 0.02, 0.95, 0.05))
    False
    """
    if rule not in PATTERN_RULES:
        raise ValueRangeError(f"rule: found {rule!r}, expected one of {', '.join(PATTERN_RULES)}")
    if not sigma > 0:
        raise ValueRangeError(f"sigma: found {sigma}, expected a number above 0")
    departures = (
        (fractions.singles - 1.0) / fractions.singles_err,
        (fractions.doubles - 1.0) / fractions.doubles_err,
    )
    signs = PATTERN_RULES[rule]
    return any(
        (abs(departure) if sign == 0 else sign * departure) > sigma
        for departure, sign in zip(departures, signs, strict=True)
    )


def excise_core(
    measure: Callable[[float], PatternFractions],
    *,
    first: float = SMALLEST_CORE,
    step: float = 0.5,
    largest: float = 30.0,
    sigma: float = 3.0,
    rule: str = "either",
) -> Excision:
    """Return the smallest inner radius outside which there is no pile-up: 0, then `first`, then in steps.

    Parameters
    ----------
    measure
        Function of the inner radius (arcsec) that returns the fractions outside it.
    first, step, largest
        Seconds of arc.
    sigma, rule
        As for `is_piled_up`.

    Returns
    -------
    Excision
        With ``clean=False`` if there is pile-up even outside `largest`.

    Raises
    ------
    ValueRangeError
        If radii are not positive and increasing.

    Examples
    --------
    >>> def measure(radius):
    ...     return PatternFractions(0.8 if radius < 4 else 1.0, 0.02, 1.0, 0.02)
    >>> excise_core(measure).radius
    4.0
    """
    if not (0 < first <= largest and step > 0):
        raise ValueRangeError(
            f"excise_core: found first {first}, step {step}, largest {largest}, expected radii above 0"
        )
    tried: list[tuple[float, PatternFractions]] = []
    radii = [0.0, *(first + step * number for number in range(int((largest - first) / step + 1e-9) + 1))]
    for radius in radii:
        tried.append((radius, measure(radius)))
        if not is_piled_up(tried[-1][1], sigma=sigma, rule=rule):
            return Excision(radius, True, tried)
    return Excision(radii[-1], False, tried)
