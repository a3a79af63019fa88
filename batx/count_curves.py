"""Raw light curves as counts, checked, and intervals given in any form.

Private to the functions that need counts with a background: `batx.backgrounds` and `batx.triggers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import Bins, read_bins
from batx.errors import GtiError, ValueRangeError
from batx.intervals import gti_arrays
from batx.kernels import gti as kernel
from batx.met import to_met
from batx.schema import KINDS, require_kind
from batx.schema.axes import with_axes

__all__ = ["as_counts", "intervals_of", "read_counts"]


def as_counts(ds: xr.Dataset, operation: str) -> xr.Dataset:
    """Return a raw light curve with its axes and with counts, made from rates where it has none.

    Raises
    ------
    KindError
        If it is no light curve.
    ValueRangeError
        If it is mask-weighted, or its background is subtracted already.
    """
    require_kind(ds, "lightcurve", operation=operation)
    ds = with_axes(ds, KINDS["lightcurve"])
    if ds.attrs.get("weighting") == "mask" or ds.attrs.get("statistic") == "gaussian":
        raise ValueRangeError(
            f"{operation}: found a light curve that is {ds.attrs.get('statistic')}, with weighting "
            f"{ds.attrs.get('weighting')!r}, expected raw counts; weights of the mask take the background "
            "away already: bin the events with weighting='none'"
        )
    if "counts" not in ds.variables:
        ds = ds.assign(counts=(ds["rate"] * ds["exposure"]).where(ds["exposure"] > 0))
    return ds


def read_counts(ds: xr.Dataset, operation: str) -> Bins:
    """Return the bins of a raw light curve that hold counts, in order (see `batx.block_inputs.read_bins`).

    Raises
    ------
    KindError, ValueRangeError, EmptySelectionError
        As `as_counts` and `batx.block_inputs.read_bins`.
    """
    return read_bins(as_counts(ds, operation), "poisson", operation)


def intervals_of(value: Any, ds: xr.Dataset, t0: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals in any form, merged: good time, whole events of triggers, pairs of start and stop.

    Raises
    ------
    GtiError
        If they have another shape, end before they start, or there are none.
    """
    if isinstance(value, xr.Dataset) and "event_start" in value.variables:
        found = kernel.as_intervals(value["event_start"].values, value["event_stop"].values, name)
    elif isinstance(value, xr.Dataset):
        found = gti_arrays(value)
    else:
        pairs = np.atleast_2d(to_met(value, ds.attrs, t0, name=name))
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise GtiError(f"{name}: found an array of shape {pairs.shape}, expected pairs of start and stop")
        found = kernel.as_intervals(pairs[:, 0], pairs[:, 1], name)
    return kernel.union(*found)
