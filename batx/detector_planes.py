"""Detector-plane images and histograms from events."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import ValueRangeError
from batx.grids import bounds_of, energy_bands, explicit_bins, good_time, one_bin, uniform_bins
from batx.instrument.detector import DETID
from batx.products import band_coords, product_attrs, time_variables
from batx.reduction import columns_of, compat_of, sum_events
from batx.schema import build, require_bat

__all__ = ["detector_plane"]


@by_engine
def detector_plane(
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    dt: Any = None,
    time: Any = None,
    energy: Any = (15.0, 150.0),
    t0: Any = None,
    gti: Any = None,
    detector_mask: Any = None,
    quantity: str = "counts",
    energy_column: str = "energy",
    compat: str | None = None,
) -> xr.Dataset:
    """Return the counts of every detector, for any grid of time bins and energy bands.

    Parameters
    ----------
    events
        Kind ``events``. Chunked columns give a lazy result; columns still in a file are read block by block.
    tstart, tstop
        Limits of the time used.
    dt
        Width of uniform time bins (s), from the beginning of good time on.
    time
        Time bins in place of `dt`: increasing edges (n + 1,), bounds (n, 2), or a Dataset whose bins are
        taken. Without either all good time makes one image.
    energy
        Band edges in keV (band + 1,), or (lower, upper) pairs.
    t0
        Origin of `time`, `tstart` and `tstop` where these are numbers: MET, a date, or ``"trigger"``.
    gti
        Further good-time intervals; what is good in these and in those of the events counts.
    detector_mask
        Kind ``detector_mask`` or bool (173, 286), true = good: other detectors get no counts.
    quantity
        ``"counts"`` or ``"rate"`` (counts divided by exposure).
    energy_column
        ``"energy"`` or ``"pi"`` (channels of 0.1 keV).
    compat
        ``"heasoft"`` for the behaviour of ``batbinevt``: flagged events are kept, and events in the gaps
        count.
    engine
        ``"native"``; ``"heasoft"`` for the tool batbinevt, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane`` with dimensions ``([time,] energy, dety, detx)``: ``counts`` (int32) or
        ``rate``, and ``exposure``. The time axis is there if `dt` or `time` is given; otherwise time is a
        scalar coordinate.

    Raises
    ------
    KindError, MissingVariableError, UnitsError, ValueRangeError, GtiError, EmptySelectionError
        As `batx.lightcurve`.

    Warns
    -----
    BatxWarning
        As `batx.lightcurve`; positions outside the plane and in its gaps are always looked for.

    Notes
    -----
    Source: algorithms 1 and 2.2 (``batbinevt`` with output types DPI and DPH).

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [0.1, 0.2], "energy": [20.0, 30.0],
    ...            "detx": ("event", [0, 0], {"units": "1"}), "dety": ("event", [3, 3], {"units": "1"}),
    ...            "gti_start": [0.0], "gti_stop": [2.0]})
    >>> plane = detector_plane(ev, energy=[15, 25, 50])
    >>> plane.counts.dims
    ('energy', 'dety', 'detx')
    >>> plane.counts[:, 3, 0].values
    array([1, 1], dtype=int32)
    """
    compat = compat_of(compat)
    require_bat(events, "events", operation="detector_plane")
    if quantity not in ("counts", "rate"):
        raise ValueRangeError(f"quantity: found {quantity!r}, expected 'counts' or 'rate'")
    if dt is not None and time is not None:
        raise ValueRangeError(
            "detector_plane: found both dt and time to make time bins by, expected one of them"
        )
    bands = energy_bands(energy)
    good = good_time(events, gti, tstart, tstop, t0)
    single = dt is None and time is None
    if dt is not None:
        bins = uniform_bins(dt, good, compat)
    else:
        bins = one_bin(good) if single else explicit_bins(bounds_of(time, events.attrs, t0), good)
    columns = columns_of(
        events,
        operation="detector_plane",
        weighted=False,
        energy_column=energy_column,
        detector_mask=detector_mask,
        positions=True,
        compat=compat,
    )
    (values,) = sum_events(columns, "plane", bins, bands, good)
    if quantity == "rate":
        values = values / np.where(bins.exposure > 0, bins.exposure, np.nan)[:, None, None, None]
    variables = {
        **time_variables(bins, good, scalar=single),
        **band_coords(bands),
        "detid": DETID,
        quantity: (("energy", "dety", "detx"), values[0]) if single else values,
    }
    return build("detector_plane", variables, product_attrs(events, "detector_plane", bins, False))
