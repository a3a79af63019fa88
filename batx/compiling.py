"""Compiled functions: their machine code is kept on disk where that is possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba

from batx.errors import BatxWarning

__all__ = ["njit"]


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return `numba.njit` with these options; without ``cache`` where numba finds no folder for it.

    That is so where neither the folder of batx nor the home of the user can be written: everything runs then
    too, but each process compiles anew what it uses.

    Parameters
    ----------
    **options
        As for `numba.njit`.

    Warns
    -----
    BatxWarning
        If the code cannot be kept.

    Examples
    --------
    >>> @njit(cache=False)
    ... def twice(x):
    ...     return 2 * x
    >>> twice(3)
    6
    """

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            warnings.warn(
                "compiled code cannot be kept, and every start takes some seconds longer: neither the folder "
                "of batx nor the home can be written; name one that can with $NUMBA_CACHE_DIR",
                BatxWarning,
                stacklevel=1,  # once, not for each function
            )
            return numba.njit(**options | {"cache": False})(function)

    return compiled
