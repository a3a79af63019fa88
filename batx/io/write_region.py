"""Catalogues and regions to region files of SAOImage ds9."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from batx.errors import MissingVariableError, ValueRangeError
from batx.io.atomic import atomic_path, input_files
from batx.regions import Region, as_regions, region_text
from batx.schema import require_kind
from batx.units import to_value

__all__ = ["to_region"]

_LEAST_RADIUS = 0.05


def to_region(
    catalog: Any, path: str | os.PathLike[str], radius: Any = None, overwrite: bool = False
) -> Path:
    """Write regions, or the positions of a catalogue as circles (ICRS degrees), to a region file of ds9.

    Parameters
    ----------
    catalog
        What `batx.regions.circle` and the like return; or kind ``catalog``: sources without a position are
        left out, those that are `known` are cyan, others green.
    path
        File to write, all of it or nothing.
    radius
        Of the circles of a catalogue, degrees or Quantity; if not given, `err_rad` of each source but at
        least 3 arcmin.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    KindError
        If it is neither.
    MissingVariableError
        If it has no positions.
    ValueRangeError
        If `radius` is not positive.
    WriteError
        If the file exists or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> catalog = build("catalog", {"name": ["Crab"], "ra": [83.633], "dec": [22.014]})
    >>> print(to_region(catalog, Path(tempfile.mkdtemp()) / "crab.reg").read_text().splitlines()[-1])
    circle(83.633000,22.014000,0.050000) # color=green text={Crab}
    """
    if isinstance(catalog, (Region, list, tuple)):
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_text(region_text(as_regions(catalog)), encoding="utf-8")
        return Path(path)
    require_kind(catalog, "catalog", operation="to_region")
    if "ra" not in catalog or "dec" not in catalog:
        raise MissingVariableError("to_region: found a catalogue without ra and dec")
    ra, dec = catalog["ra"].values, catalog["dec"].values
    if radius is not None:
        radii = np.broadcast_to(to_value(radius, "deg", "radius"), ra.shape)
        if not (radii > 0).all():
            raise ValueRangeError(f"radius: found {radius!r}, expected more than 0 degrees")
    else:
        errors = catalog["err_rad"].values if "err_rad" in catalog else np.zeros(ra.shape)
        radii = np.fmax(errors, _LEAST_RADIUS)
    names = catalog["name"].values if "name" in catalog.variables else np.full(ra.shape, "")
    known = catalog["known"].values if "known" in catalog else np.zeros(ra.shape, bool)
    lines = ["# Region file format: DS9", "icrs"]
    for number in np.flatnonzero(np.isfinite(ra) & np.isfinite(dec)):
        text = str(names[number]).strip().replace("}", ")")
        lines.append(
            f"circle({ra[number]:.6f},{dec[number]:.6f},{radii[number]:.6f}) "
            f"# color={'cyan' if known[number] else 'green'} text={{{text}}}"
        )
    with atomic_path(path, overwrite=overwrite, inputs=input_files(catalog)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(path)
