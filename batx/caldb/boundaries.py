"""Boundary conditions of calibration files: for what settings and which energies a file is meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["Boundary", "matches", "parse_boundaries"]

_FORM = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_]*)\s*\((.*)\)\s*([A-Za-z%/*0-9]*)\s*$")
#: to keV (energies) or degrees (angles), for the units that boundaries are given in
_UNITS = {
    "EV": 1e-3,
    "KEV": 1.0,
    "MEV": 1e3,
    "DEG": 1.0,
    "ARCMIN": 1 / 60,
    "ARCSEC": 1 / 3600,
    "RAD": 180 / math.pi,
}


class Boundary(NamedTuple):
    """One condition: texts that the parameter may have, and ranges (inclusive) of its number."""

    name: str
    texts: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]

    def covers(self, value: Any) -> bool:
        """Whether a value, a number or a pair of numbers (a range) or a text, lies inside."""
        if isinstance(value, str):
            wanted = value.strip().strip('"').upper()
            if wanted in self.texts:
                return True
            try:
                value = float(wanted)
            except ValueError:
                return False
        low, high = value if isinstance(value, (tuple, list)) else (value, value)
        return any(first <= low and high <= last for first, last in self.ranges)


def parse_boundaries(conditions: Iterable[str]) -> dict[str, Boundary]:
    """Return the conditions of one file by name.

    A condition is ``NAME(values)unit``, values being texts in quotes, numbers, or ranges ``low-high``,
    separated by commas (CAL/GEN/92-011). ``NONE`` and blanks are no conditions. Energies are returned in
    keV, angles in degrees.

    Parameters
    ----------
    conditions
        The texts, one for each CBDn0001 keyword, or for each 70 characters of column CAL_CBD.

    Examples
    --------
    >>> found = parse_boundaries(['APERTYPE("FLUX")', "ENERGY(14000-195000)eV", "NONE"])
    >>> found["APERTYPE"].covers("flux"), found["ENERGY"].ranges
    (True, ((14.0, 195.0),))
    """
    made: dict[str, Boundary] = {}
    for condition in conditions:
        form = _FORM.match(condition)
        if form is None:
            continue
        name, inside, unit = form.group(1).upper(), form.group(2), form.group(3).upper()
        factor = _UNITS.get(unit, 1.0)
        texts, ranges = [], []
        for part in re.findall(r'"[^"]*"|[^,]+', inside):
            value = part.strip()
            if value.startswith('"'):
                texts.append(value.strip('"').strip().upper())
                continue
            pair = _range(value)
            if pair is None:
                texts.append(value.upper())
            else:
                ranges.append((pair[0] * factor, pair[1] * factor))
        before = made.get(name, Boundary(name, (), ()))
        made[name] = Boundary(name, (*before.texts, *texts), (*before.ranges, *ranges))
    return made


def _range(text: str) -> tuple[float, float] | None:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    found = re.fullmatch(rf"\s*({number})\s*(?:-\s*({number}))?\s*", text)
    if found is None:
        return None
    low = float(found.group(1))
    return low, low if found.group(2) is None else float(found.group(2))


def matches(boundaries: Mapping[str, Boundary], wanted: Mapping[str, Any]) -> bool:
    """Whether a file with these conditions serves what is wanted.

    A parameter that the file has no condition on does not matter to it. What is wanted may be a number
    (keV, degrees), a pair of numbers (a range that has to lie inside), or a text; `None` does not matter.

    Examples
    --------
    >>> held = parse_boundaries(['APERTYPE("FLUX")'])
    >>> matches(held, {"APERTYPE": "FLUX"}), matches(held, {"apertype": "DETECTION"}), matches(held, {})
    (True, False, True)
    """
    for name, value in wanted.items():
        boundary = boundaries.get(name.upper())
        if value is not None and boundary is not None and not boundary.covers(value):
            return False
    return True
