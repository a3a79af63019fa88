"""The bands of a light curve as the channels of spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError
from batx.schema import build, require_kind
from batx.schema.attributes import with_history

__all__ = ["to_spectrum"]


def to_spectrum(lightcurve: xr.Dataset) -> xr.Dataset:
    """Return the spectra of the time bins of a light curve: a band becomes a channel.

    Parameters
    ----------
    lightcurve
        Kind ``lightcurve`` with edges of its bands.

    Returns
    -------
    xarray.Dataset
        Kind ``spectrum`` with dimensions ``([source,] time, channel)`` and channels numbered from 0; lazy if
        `lightcurve` is.

    Raises
    ------
    KindError, MissingVariableError
        If it is no light curve, or does not say what its bands are or how long it was exposed.

    Examples
    --------
    >>> from batx.schema import build
    >>> curve = build("lightcurve", {"time": [0.5, 1.5], "time_bnds": [[0, 1], [1, 2]],
    ...     "energy": [20.0, 37.5], "energy_bnds": [[15, 25], [25, 50]], "exposure": [1.0, 1.0],
    ...     "fracexp": [1.0, 1.0], "counts": (("time", "energy"), [[3, 4], [5, 6]])},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> to_spectrum(curve).counts.sel(channel=1).values
    array([4, 6])
    """
    require_kind(lightcurve, "lightcurve", operation="to_spectrum")
    missing = [name for name in ("energy_bnds", "exposure", "time_bnds") if name not in lightcurve.variables]
    if missing:
        raise MissingVariableError(f"to_spectrum: the light curve has no {', '.join(missing)}")
    names = {"rate": "rate", "counts": "counts", "rate_err": "stat_err", "counts_err": "stat_err"}
    renamed = lightcurve.rename_dims(energy="channel")
    kept = ("time", "time_bnds", "exposure", "totcounts", "gti_start", "gti_stop", "energy", "energy_bnds")
    variables: dict[str, Any] = {name: renamed[name].variable for name in kept if name in renamed.variables}
    variables |= {names[name]: renamed[name].variable for name in names if name in renamed}
    variables |= {
        str(name): coord.variable for name, coord in renamed.coords.items() if coord.dims == ("source",)
    }
    variables["channel"] = np.arange(renamed.sizes["channel"])
    line = "batx.to_spectrum: bands of a light curve"
    attrs = {key: value for key, value in lightcurve.attrs.items() if not key.startswith("hduclas")}
    return build("spectrum", variables, with_history(attrs, line))
