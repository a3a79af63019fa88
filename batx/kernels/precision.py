"""Numbers with fewer binary digits, which compress better, on plain arrays (algorithms 2.3)."""

from __future__ import annotations

import numpy as np

__all__ = ["keep_bits"]


def keep_bits(values: np.ndarray, bits: int, unit: np.ndarray | float | None = None) -> np.ndarray:
    """Return values rounded to a number of binary digits.

    Parameters
    ----------
    values
        Any shape; what is not finite stays.
    bits
        Digits of the mantissa; with `unit` those of a value as large as its unit (more for larger ones, fewer
        for smaller ones), so that the rounding is a fixed fraction of the unit: at most ``2**-(bits + 1)``
        relative to the value, or to the unit where the value is smaller than that.
    unit
        That in which digits are counted, such as the noise of each pixel.

    Examples
    --------
    >>> keep_bits(np.array([1.03, 100.3]), 3).tolist()
    [1.0, 96.0]
    >>> keep_bits(np.array([1.03, 100.3]), 3, unit=1.0).tolist()
    [1.0, 100.25]
    """
    fraction, exponent = np.frexp(values)
    digits = np.full(np.shape(values), bits, dtype=np.int32)
    if unit is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            digits = np.maximum(0, np.frexp(np.divide(values, unit))[1] + bits)
    rounded = np.ldexp(np.rint(np.ldexp(fraction.astype(np.float64), digits)), exponent - digits)
    return rounded.astype(np.asarray(values).dtype)
