"""What lists of one kind have in common, and what their sum says of itself.

Private to `batx.events` and `batx.lightcurves`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.grids import warn
from batx.schema.attributes import with_history

__all__ = ["common_variables", "joined_attrs", "opened", "require_same"]


def opened(item: Any, chunks: Any = None) -> Any:
    """Return a Dataset as it is, a path opened through the engine."""
    if isinstance(item, (str, os.PathLike)):
        return xr.open_dataset(item, engine="batx", chunks=chunks)
    return item


def require_same(lists: Sequence[xr.Dataset], what: str, *names: str, operation: str) -> None:
    """Raise if an attribute has different values where it has one.

    Raises
    ------
    ValueRangeError
        If there is nothing to join, or the values differ.
    """
    if not lists:
        raise ValueRangeError(f"{operation}: found no {what}, expected at least one")
    for name in names:
        found = {str(ds.attrs[name]).strip() for ds in lists if ds.attrs.get(name)}
        if len(found) > 1:
            hint = "; other_observations=True joins them all the same" if name == "obs_id" else ""
            raise ValueRangeError(
                f"{operation}: found {what} of different {name} ({', '.join(sorted(found))}), "
                f"expected one{hint}"
            )


def common_variables(lists: Sequence[xr.Dataset], what: str, operation: str) -> list[xr.Dataset]:
    """Return the lists with the variables that all of them have; a warning names the others."""
    common = set.intersection(*(set(map(str, ds.variables)) for ds in lists))
    lacking = sorted(set.union(*(set(map(str, ds.variables)) for ds in lists)) - common)
    if lacking:
        warn(f"{operation}: left out {', '.join(lacking)}, which not all {what} have")
    return [ds.drop_vars([name for name in ds.variables if name not in common]) for ds in lists]


def joined_attrs(
    all_attrs: Sequence[dict[str, Any]], starts: np.ndarray | None, stops: np.ndarray | None, note: str
) -> dict[str, Any]:
    """Return the attributes on which the lists agree, with span and exposure of the whole."""
    attrs = {
        key: value
        for key, value in all_attrs[0].items()
        if all(key in other and np.array_equal(other[key], value) for other in all_attrs[1:])
    }
    for name, choose in (("tstart", min), ("tstop", max)):
        found = [other[name] for other in all_attrs if name in other]
        if found:
            attrs[name] = choose(found)
    if starts is not None and stops is not None:
        attrs |= dict.fromkeys(("exposure", "ontime"), float(np.sum(stops - starts)))
    return with_history(attrs, note)
