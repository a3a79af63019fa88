"""Positions as people give them: numbers, coordinates, names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from batx.errors import BatxError, PositionError
from batx.positions import sky_position

__all__ = ["target"]

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_SEXAGESIMAL = re.compile(r"\d+[h:\s].*[-+].*")


def target(position: Any) -> tuple[float, float]:
    """Return right ascension and declination (ICRS, degrees) of one position.

    Parameters
    ----------
    position
        A pair of degrees or quantities; a ``SkyCoord``; or a text with two numbers (degrees), with hours and
        degrees as in ``"05:34:32 +22:00:52"``, or a name that CDS resolves.

    Raises
    ------
    PositionError
        If it is none, or its name is not known.

    Examples
    --------
    >>> target("83.63, 22.01"), target("05h34m30s +22d00m36s")
    ((83.63, 22.01), (83.625, 22.01))
    """
    from astropy.coordinates import SkyCoord

    if isinstance(position, str):
        position = _read(position.strip())
    try:
        pair = (position,) if isinstance(position, SkyCoord) else tuple(position)
        ra, dec = sky_position(*pair) if len(pair) in (1, 2) else (np.zeros(0), np.zeros(0))
    except (BatxError, TypeError, ValueError) as error:
        raise PositionError(
            f"position: found {position!r:.80}, expected right ascension and declination in degrees, "
            "the latter from -90 to 90"
        ) from error
    if ra.ndim:
        raise PositionError(f"position: found {position!r:.80}, expected one position")
    return round(float(ra), 10) % 360, round(float(dec), 10)


def _read(text: str) -> Any:
    """Return the pair, or the coordinates, that a text means."""
    from astropy.coordinates import SkyCoord
    from astropy.coordinates.name_resolve import NameResolveError

    numbers = re.fullmatch(rf"({_NUMBER})[\s,]+({_NUMBER})", text)
    if numbers:
        return float(numbers[1]), float(numbers[2])
    try:
        if _SEXAGESIMAL.fullmatch(text):
            return SkyCoord(text, unit=("hourangle", "deg"))
        return SkyCoord.from_name(text)
    except NameResolveError:
        raise PositionError(
            f"position: the name {text!r} is not known to CDS, or CDS cannot be reached; give degrees"
        ) from None
    except ValueError as error:
        raise PositionError(
            f"position: found {text!r}, expected degrees, or as 05:34:32 +22:00:52"
        ) from error
