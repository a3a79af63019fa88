"""Packages that batx can use and does not need: loaded when something is asked of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from batx.errors import MissingPackageError

__all__ = ["optional"]


def optional(module: str, extra: str, operation: str) -> Any:
    """Return a module of a package that may not be there.

    Parameters
    ----------
    module
        Name of the module; the package is its first part.
    extra
        The extra of batx that installs the package.
    operation
        What needs it, for the message.

    Raises
    ------
    MissingPackageError
        If the package is not there.

    Examples
    --------
    >>> optional("json", "timing", "the example").loads("[1]")
    [1]
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingPackageError(
            f"{operation} needs the package {package}, which is not installed: pip install 'batx[{extra}]' "
            f"(or {package} itself)"
        ) from error
