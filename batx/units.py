"""Units: quantities are accepted at the border, float64 numbers with ``attrs["units"]`` used inside.

An astropy ``Quantity`` inside an xarray object loses its unit without a word when it is written to a
file, so none is ever stored. The spellings below are read alike by astropy, pint and OGIP readers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batx.errors import UnitsError

__all__ = ["CANONICAL", "canonical_unit", "to_value"]

#: spellings met in files -> the spelling used in ``attrs["units"]``
CANONICAL: dict[str, str] = {
    "": "1",
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "counts": "count",
    "ct": "count",
    "cts": "count",
    "count/sec": "count/s",
    "counts/s": "count/s",
    "counts/sec": "count/s",
    "cts/s": "count/s",
    "count/s/pixel": "count/s",
    "count/s/detector": "count/s",
    "cm^2": "cm**2",
    "cm2": "cm**2",
    "degree": "deg",
    "degrees": "deg",
    "kev": "keV",
    "KeV": "keV",
}


def canonical_unit(text: str | None) -> str:
    """Return the canonical spelling of a FITS unit string; unknown spellings are kept as they are.

    Parameters
    ----------
    text
        Value of a ``TUNITn`` or ``BUNIT`` keyword; `None` or blank means dimensionless.

    Examples
    --------
    >>> canonical_unit("counts/sec"), canonical_unit(None), canonical_unit("km")
    ('count/s', '1', 'km')
    """
    stripped = (text or "").strip()
    return CANONICAL.get(stripped, stripped)


def to_value(value: Any, unit: str, name: str = "value") -> np.ndarray:
    """Return a number, array or ``Quantity`` as a plain float64 array in `unit`.

    Parameters
    ----------
    value
        A number or array (taken to be in `unit` already) or an `astropy.units.Quantity`.
    unit
        Canonical unit, for example ``"keV"``.
    name
        What the value is, for the error message.

    Returns
    -------
    numpy.ndarray
        float64, of the shape of `value` (0-dimensional for a number).

    Raises
    ------
    UnitsError
        If a quantity cannot be converted, or `value` is not numeric.

    Examples
    --------
    >>> float(to_value(15, "keV"))
    15.0
    >>> import astropy.units as u
    >>> float(to_value(15000 * u.eV, "keV", "energy"))
    15.0
    """
    own_unit = getattr(value, "unit", None)
    if own_unit is None:
        try:
            return np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UnitsError(
                f"{name}: found {value!r}, expected numbers in {unit} or an astropy Quantity"
            ) from error
    import astropy.units as u

    try:
        return np.asarray(u.Quantity(value).to_value(unit), dtype=np.float64)
    except u.UnitConversionError as error:
        raise UnitsError(
            f"{name}: found a quantity in '{own_unit}', expected one convertible to '{unit}'; "
            f"give plain numbers in {unit} or a quantity of that kind"
        ) from error
