"""Sources of one catalogue beside the nearest ones of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.source_fields import catalog_targets
from batx.units import to_value

__all__ = ["match"]


def match(catalog: xr.Dataset, other: xr.Dataset, radius: Any) -> xr.Dataset:
    """Return a catalogue with the nearest source of another one beside each of its sources.

    Parameters
    ----------
    catalog, other
        Kind ``catalog``.
    radius
        Greatest angle of a match, degrees or Quantity.

    Returns
    -------
    xarray.Dataset
        `catalog` with `match_name` (empty without a match), `match_index` (row of `other`, -1 without) and
        `match_separation` (degrees, to the nearest source of `other`; NaN if that is empty).

    Raises
    ------
    KindError, MissingVariableError
        If one is no catalogue, or has no positions.
    ValueRangeError
        If `radius` is not a positive number.

    Examples
    --------
    >>> from batx.schema import build
    >>> one = build("catalog", {"ra": [10.0, 50.0], "dec": [0.0, 0.0]})
    >>> two = build("catalog", {"name": ["A", "B"], "ra": [10.1, 90.0], "dec": [0.0, 0.0]})
    >>> match(one, two, radius=0.2).match_name.values.tolist()
    ['A', '']
    """
    from scipy.spatial import cKDTree

    from batx.instrument.sky import radec_to_vector

    limit = to_value(radius, "deg", "radius")
    if limit.ndim or not 0 < limit <= 180:
        raise ValueRangeError(f"radius: found {radius!r}, expected one angle of more than 0 degrees")
    ours, theirs = catalog_targets(catalog, "match"), catalog_targets(other, "match")
    index = np.full(len(ours), -1)
    angle = np.full(len(ours), np.nan)
    there = np.flatnonzero(np.isfinite(theirs.ra) & np.isfinite(theirs.dec))
    here = np.flatnonzero(np.isfinite(ours.ra) & np.isfinite(ours.dec))
    if len(there) and len(here):
        tree = cKDTree(radec_to_vector(theirs.ra[there], theirs.dec[there]))
        chord, nearest = tree.query(radec_to_vector(ours.ra[here], ours.dec[here]))
        angle[here] = np.rad2deg(2 * np.arcsin(np.clip(chord / 2, 0, 1)))
        index[here] = np.where(angle[here] <= limit, there[nearest], -1)
    name = np.where(index >= 0, np.append(theirs.name, "")[index], "").astype(str)
    return catalog.assign(
        match_name=("source", name, {"long_name": "name of the match"}),
        match_index=("source", index, {"long_name": "row of the match, -1 for none", "units": "1"}),
        match_separation=("source", angle, {"long_name": "distance from the nearest source", "units": "deg"}),
    )
