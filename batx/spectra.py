"""Spectra from events."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.grids import bounds_of, energy_bands, explicit_bins, good_time, one_bin
from batx.products import (
    band_coords,
    product_attrs,
    product_values,
    source_coords,
    time_variables,
    trace_variables,
    weighting_of,
)
from batx.reduction import columns_of, compat_of, sum_events
from batx.schema import build, require_bat

__all__ = ["STANDARD_EDGES", "spectrum"]

# fmt: off
#: edges in keV of the 80 standard channels of BAT spectra and survey histograms (``energybins=CALDB:80`` of
#: ``batbinevt``)
STANDARD_EDGES = (
    0.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 26.0, 28.0, 30.1, 32.1, 34.2, 36.3, 38.3, 40.4,
    42.5, 44.6, 46.8, 48.9, 51.1, 53.2, 55.4, 57.6, 59.8, 62.0, 64.2, 66.4, 68.7, 70.9, 73.2, 75.4, 77.7,
    80.0, 82.3, 84.6, 87.0, 89.3, 91.7, 94.0, 96.4, 98.8, 101.2, 103.6, 106.0, 108.4, 110.9, 113.3, 115.8,
    118.2, 120.7, 123.2, 125.7, 128.3, 130.8, 133.3, 135.9, 138.4, 141.0, 143.6, 146.2, 148.8, 151.4, 154.1,
    156.7, 159.4, 162.0, 164.7, 167.4, 170.1, 172.8, 175.5, 178.2, 181.0, 183.7, 186.5, 189.3, 192.1, 194.9,
    6553.6,
)
# fmt: on


@by_engine
def spectrum(
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    time: Any = None,
    energy: Any = None,
    t0: Any = None,
    gti: Any = None,
    detector_mask: Any = None,
    weighting: str = "auto",
    quantity: str = "auto",
    energy_column: str = "energy",
    compat: str | None = None,
) -> xr.Dataset:
    """Return the spectrum of events, mask-weighted or counted: one, or one for each time bin.

    Parameters
    ----------
    events
        Kind ``events``. Chunked columns give a lazy spectrum; columns still in a file are read block by
        block.
    tstart, tstop
        Limits of the time used.
    time
        Time bins, for a spectrum each: increasing edges (n + 1,), bounds (n, 2), or a Dataset whose bins
        are taken (light curve, spectra, good-time intervals). Without it all good time makes one spectrum.
    energy
        Channel edges in keV (channel + 1,), or (lower, upper) pairs; the 80 standard channels by default.
    t0
        Origin of `time`, `tstart` and `tstop` where these are numbers: MET, a date, or ``"trigger"``.
    gti
        Further good-time intervals; what is good in these and in those of the events counts.
    detector_mask, weighting, quantity, energy_column
        As for `batx.lightcurve`.
    compat
        ``"heasoft"`` for the behaviour of ``batbinevt``: flagged events are kept in unweighted spectra.
    engine
        ``"native"``; ``"heasoft"`` for the tool batbinevt, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``spectrum`` with dimensions ``([source,] [time,] channel)``: ``rate`` (count/s; per fully
        illuminated detector if weighted) and ``stat_err``, or ``counts`` (int64 and Poisson if not
        weighted, else with ``stat_err``); ``exposure`` and ``totcounts`` (accepted events in any channel).
        The time axis is there if `time` is given; otherwise time is a scalar coordinate. Channels are
        numbered from 0.

    Raises
    ------
    KindError, MissingVariableError, UnitsError, ValueRangeError, GtiError, EmptySelectionError
        As `batx.lightcurve`.

    Warns
    -----
    BatxWarning
        As `batx.lightcurve`.

    Notes
    -----
    Rate = Σw / exposure and error = √Σw² / exposure, with w = 1 for counts; exposure is the good time in
    the bin, NaN rates where there is none. Source: algorithms 2.2 (``batbinevt``).

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [0.1, 0.2, 1.5], "energy": [20.0, 30.0, 20.0],
    ...            "gti_start": [0.0], "gti_stop": [2.0]})
    >>> spectrum(ev, energy=[15, 25, 50]).counts.values
    array([2, 1])
    >>> spectrum(ev, time=[0, 1, 2], energy=[15, 25, 50]).counts.values
    array([[1, 1],
           [1, 0]])
    """
    compat = compat_of(compat)
    require_bat(events, "events", operation="spectrum")
    weighted = weighting_of(events, weighting)
    bands = energy_bands(STANDARD_EDGES if energy is None else energy)
    good = good_time(events, gti, tstart, tstop, t0)
    bins = one_bin(good) if time is None else explicit_bins(bounds_of(time, events.attrs, t0), good)
    columns = columns_of(
        events,
        operation="spectrum",
        weighted=weighted,
        energy_column=energy_column,
        detector_mask=detector_mask,
        positions=False,
        compat=compat,
    )
    values = product_values(
        sum_events(columns, "weigh" if weighted else "count", bins, bands, good),
        bins.exposure,
        dims=("time" if time is not None else "", "channel"),
        weighted=weighted,
        quantity=quantity,
        has_source=columns.weight is not None and columns.weight.ndim == 2,
        error_name="stat_err",
    )
    variables = {
        **time_variables(bins, good, scalar=time is None),
        **(trace_variables(events, bins) if weighted else {}),
        "channel": np.arange(bands.lower.size),
        **band_coords(bands, "channel"),
        **source_coords(events),
        **values,
    }
    made = build("spectrum", variables, product_attrs(events, "spectrum", bins, weighted))
    return made.set_coords(list(source_coords(events)))
