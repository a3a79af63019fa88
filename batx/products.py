"""What light curves, spectra and detector planes made from events have in common: axes, values, attributes.

Private to the functions that bin events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError, ValueRangeError
from batx.grids import EnergyBands, TimeBins, warn
from batx.positions import with_source_attrs
from batx.schema.attributes import with_history
from batx.schema.spec import TRACE_VARIABLES

__all__ = [
    "band_coords",
    "product_attrs",
    "product_values",
    "rates",
    "source_coords",
    "time_variables",
    "trace_variables",
    "weighting_of",
]

#: attributes of events that describe the event table and would be wrong on what is made from it
_OF_THE_EVENTS = {
    *(
        "timedel",
        "timepixr",
        "ontime",
        "exposure",
        "livetime",
        "deadc",
        "telapse",
        "date-obs",
        "date-end",
        "date_obs",
    ),
    *("date_end", "extname", "hdunam", "checksum", "datasum", "datamode", "creator", "date"),
}


def weighting_of(events: xr.Dataset, weighting: str) -> bool:
    """Return whether to weight events, for ``"auto"``, ``"mask"`` or ``"none"``."""
    if weighting not in ("auto", "mask", "none"):
        raise ValueRangeError(f"weighting: found {weighting!r}, expected 'auto', 'mask' or 'none'")
    if weighting == "mask" and "mask_weight" not in events.variables:
        raise MissingVariableError(
            "weighting='mask': the events have no 'mask_weight'; weight them first (ds.bat.mask_weight)"
        )
    return weighting == "mask" or (weighting == "auto" and "mask_weight" in events.variables)


def time_variables(
    bins: TimeBins, good: tuple[np.ndarray, np.ndarray], scalar: bool = False
) -> dict[str, Any]:
    """Return centre, bounds and exposure of time bins (or of the only one as scalars), and good time."""
    centre = bins.lower + (bins.upper - bins.lower) / 2
    made = {
        "time": (("time",), centre),
        "time_bnds": (("time", "bnds"), bins.bounds),
        "exposure": (("time",), bins.exposure),
    }
    if scalar:
        made = {name: (dims[1:], values[0]) for name, (dims, values) in made.items()}
    return {**made, "gti_start": good[0], "gti_stop": good[1]}


def band_coords(bands: EnergyBands, dim: str = "energy") -> dict[str, Any]:
    """Return centre and bounds of energy bands."""
    return {
        "energy": ((dim,), (bands.lower + bands.upper) / 2),
        "energy_bnds": ((dim, "bnds"), bands.bounds),
    }


def source_coords(events: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the coordinates of the sources that events are weighted for."""
    return {str(name): coord.variable for name, coord in events.coords.items() if coord.dims == ("source",)}


def trace_variables(events: xr.Dataset, bins: TimeBins) -> dict[str, xr.Variable]:
    """Return the way of the source while the bins last, as far as the events know it."""
    held = {spec.name: events[spec.name].variable for spec in TRACE_VARIABLES if spec.name in events}
    if not held or not bins.lower.size:
        return held
    time = np.atleast_2d(held["trace_time"].values)
    until = np.concatenate([time[:, 1:], np.full((len(time), 1), np.inf)], axis=1)
    # a row stands until the next one; the last of a shorter way has NaN behind it
    lasts = (time < bins.upper.max()) & ~(until <= bins.lower.min())
    found = np.flatnonzero(lasts.any(axis=0))
    # with a row on either side, which says how far the outermost ones reach
    rows = slice(max(found[0] - 1, 0), found[-1] + 2) if found.size else slice(0, 1)
    return {name: variable.isel(trace=rows) for name, variable in held.items()}


def rates(sums: Any, squares: Any, exposure: Any) -> tuple[Any, Any]:
    """Return Σw / exposure and √Σw² / exposure, NaN where there is no exposure."""
    good = np.where(exposure > 0, exposure, np.nan)
    return sums / good, np.sqrt(squares) / good


def product_values(
    sums: tuple[Any, ...],
    exposure: np.ndarray,
    *,
    dims: tuple[str, str],
    weighted: bool,
    quantity: str,
    has_source: bool,
    error_name: str,
) -> dict[str, Any]:
    """Return the variables made from sums of events over (time, band).

    Parameters
    ----------
    sums
        Of `batx.reduction.sum_events`: counts and totals, or Σw, Σw² and totals with a source axis.
    exposure
        (bin,) s.
    dims
        Names of the two axes; without the first if it is empty, and there is one bin.
    weighted, quantity
        As asked for; ``"auto"`` is a rate if weighted and counts if not.
    has_source
        Whether the source axis stays.
    error_name
        Name of the error, in which ``{quantity}`` is replaced.
    """
    if quantity not in ("auto", "rate", "counts"):
        raise ValueRangeError(f"quantity: found {quantity!r}, expected 'auto', 'rate' or 'counts'")
    if quantity == "auto":
        quantity = "rate" if weighted else "counts"
    if weighted:
        value, squares, total = sums if has_source else tuple(array[0] for array in sums)
    else:
        value = squares = sums[0]
        total = value.sum(axis=-1) if len(sums) == 1 else sums[1]
    source = ("source",) if has_source else ()
    time_dim, band_dim = dims
    unit, error = "count", np.sqrt(squares)
    if quantity == "rate":
        unit = "count/s"
        value, error = rates(value, squares, exposure[:, np.newaxis])
    if not time_dim:
        value, error, total = value[..., 0, :], error[..., 0, :], total[..., 0]
    full = (*source, *((time_dim,) if time_dim else ()), band_dim)
    described = {"units": unit, **({"per": "detector"} if weighted else {})}
    made = {
        quantity: (full, value, described),
        "totcounts": (full[:-1], total, {"units": "count"}),
    }
    if weighted or quantity == "rate":
        made[error_name.format(quantity=quantity)] = (full, error, described)
    return made


def product_attrs(events: xr.Dataset, step: str, bins: TimeBins, weighted: bool) -> dict[str, Any]:
    """Return the attributes of a product: those of the events that still hold, and what it is."""
    if events.sizes["event"] == 0:
        warn(f"{step}: there are no events; all counts are 0")
    kept = {
        key: value
        for key, value in with_source_attrs(events).attrs.items()
        if key.lower() not in _OF_THE_EVENTS and not key.lower().startswith("hduclas")
    }
    line = f"batx.{step}: {bins.lower.size} time bin(s), weighting {'mask' if weighted else 'none'}"
    return with_history(kept, line) | {
        "tstart": float(bins.lower[0]) if bins.lower.size else None,
        "tstop": float(bins.upper[-1]) if bins.lower.size else None,
        "statistic": "gaussian" if weighted else "poisson",
        "weighting": "mask" if weighted else "none",
    }
