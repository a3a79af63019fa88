"""Light curves: from events, and of several files as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import EmptySelectionError, KindError, RebinError, ValueRangeError
from batx.grids import TimeBins, bounds_of, energy_bands, explicit_bins, good_time, uniform_bins, warn
from batx.intervals import gti_arrays
from batx.joining import common_variables, joined_attrs, opened, require_same
from batx.kernels import gti as intervals
from batx.kernels import snr as kernel
from batx.kernels.rebin import keep_disjoint
from batx.products import (
    band_coords,
    product_attrs,
    product_values,
    source_coords,
    time_variables,
    weighting_of,
)
from batx.rebinning import SAME_EDGE, rebin_time
from batx.reduction import Columns, accepted_events, columns_of, compat_of, sum_events
from batx.schema import KINDS, build, require_bat, require_kind, validate
from batx.schema.axes import with_axes
from batx.units import to_value

__all__ = ["DEFAULT_BANDS", "join_lightcurves", "lightcurve"]

#: the four bands of BAT light curves, keV
DEFAULT_BANDS = (15.0, 25.0, 50.0, 100.0, 350.0)


@by_engine
def lightcurve(
    events: xr.Dataset,
    *,
    dt: Any = None,
    time: Any = None,
    snr: float | None = None,
    high_snr: float | None = None,
    blocks: xr.Dataset | None = None,
    energy: Any = DEFAULT_BANDS,
    tstart: Any = None,
    tstop: Any = None,
    t0: Any = None,
    gti: Any = None,
    detector_mask: Any = None,
    weighting: str = "auto",
    quantity: str = "auto",
    energy_column: str = "energy",
    min_fracexp: float | None = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the light curve of events, mask-weighted or counted, in one or more energy bands.

    Parameters
    ----------
    events
        Kind ``events``. Chunked columns give a lazy light curve; columns still in a file are read block by
        block.
    dt
        Width of uniform bins (s), from the beginning of good time on. With `snr` the longest bin, with
        `high_snr` the shortest one.
    time
        Bins in place of `dt`: increasing edges (n + 1,), bounds (n, 2), or a Dataset whose bins are taken
        (light curve, spectra, good-time intervals).
    snr, high_snr
        End a bin where Σw over all bands exceeds this many times √Σw²: *snr* then or when the bin is longer
        than `dt`, *high_snr* then but not before the bin is longer than `dt`. Bins end where good time
        ends. The events that pass are held in memory for this.
    blocks
        Dataset whose bins are taken, as `time`.
    energy
        Band edges in keV (band + 1,), or (lower, upper) pairs, which may leave gaps and overlap.
    tstart, tstop
        Limits of the time used.
    t0
        Origin of `time`, `tstart` and `tstop` where these are numbers: MET, a date, or ``"trigger"``.
    gti
        Further good-time intervals; what is good in these and in those of the events counts.
    detector_mask
        Kind ``detector_mask`` or bool (173, 286), true = good. Without it positions are not looked at.
    weighting
        ``"mask"`` uses ``mask_weight`` (over sources too, if it has them), ``"none"`` counts, ``"auto"``
        weights where there are weights.
    quantity
        ``"rate"``, ``"counts"``, or ``"auto"``: rates if weighted, counts if not.
    energy_column
        ``"energy"`` or ``"pi"`` (channels of 0.1 keV).
    min_fracexp
        Bins with no more than this fraction of good time are left out; with 0 all are kept, NaN rates where
        there is no good time, so that nothing is lost when the curve is re-binned. Default: 0.1 for uniform
        bins, 0 for others (0.1 in all with ``compat="heasoft"``).
    compat
        ``"heasoft"`` for the behaviour of ``batbinevt``: flagged events are kept in unweighted curves,
        events in the gaps of the detector plane count, and the event that closes an SNR bin counts on both
        sides.
    engine
        ``"native"``; ``"heasoft"`` for the tool batbinevt, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve`` with dimensions ``([source,] time, energy)``: ``rate`` (count/s; per fully
        illuminated detector if weighted) and ``rate_err``, or ``counts`` (int64 if not weighted; then
        Poisson) and ``counts_err``; ``exposure``, ``fracexp``, ``totcounts`` (accepted events in any band)
        by bin.

    Raises
    ------
    KindError, MissingVariableError, UnitsError
        If `events` are no events of BAT, or lack a column.
    ValueRangeError
        If edges do not increase or bins overlap, or an argument is out of range.
    GtiError, EmptySelectionError
        If good time is unknown, malformed, or none is selected; if every event of the selection has weight
        0, as in files that nobody has weighted yet (lazy curves: when computed).

    Warns
    -----
    BatxWarning
        For NaN energies (not counted), events out of order (the sums are right), positions on no detector
        (not counted), energy edges off the 0.1 keV grid, overlapping good-time intervals (merged), no
        events at all.

    Notes
    -----
    Rate = Σw / exposure and error = √Σw² / exposure, with w = 1 for counts. Uniform bins are floor((t -
    start) / dt), as in the tool: by rounding, an event within 0.2 µs of a stated edge may be on its other
    side. The bins of `time` are divided at the stated edges. Events with
    ``event_flags`` other than 0 and 16, and with weight 0, are not accepted. Source: algorithms 2.2
    (``batbinevt``).

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [0.1, 0.2, 1.5], "energy": [20.0, 30.0, 20.0],
    ...            "gti_start": [0.0], "gti_stop": [2.0]})
    >>> lightcurve(ev, dt=1.0, energy=[15, 25, 50]).counts.values
    array([[1, 1],
           [1, 0]])
    """
    compat = compat_of(compat)
    require_bat(events, "events", operation="lightcurve")
    _one_way(
        dt=dt if snr is None and high_snr is None else None,
        time=time,
        snr=snr,
        high_snr=high_snr,
        blocks=blocks,
    )
    weighted = weighting_of(events, weighting)
    bands = energy_bands(energy)
    good = good_time(events, gti, tstart, tstop, t0)
    columns = columns_of(
        events,
        operation="lightcurve",
        weighted=weighted,
        energy_column=energy_column,
        detector_mask=detector_mask,
        positions=False,
        compat=compat,
    )
    by_snr = snr is not None or high_snr is not None
    if min_fracexp is None:
        min_fracexp = 0.1 if compat or (dt is not None and not by_snr) else 0.0
    sums = None
    if by_snr:
        bins, sums = _snr_bins(columns, bands, good, snr, high_snr, dt, compat)
    elif dt is not None:
        bins = uniform_bins(dt, good, compat)
    else:
        bins = explicit_bins(bounds_of(blocks if time is None else time, events.attrs, t0), good)
    kept = bins.exposed(min_fracexp)
    if not kept.any():
        raise EmptySelectionError(
            f"lightcurve: none of the {kept.size} bins has a good fraction above min_fracexp={min_fracexp}"
        )
    bins = bins.take(kept)
    if sums is None:
        sums = sum_events(columns, "weigh" if weighted else "count", bins, bands, good)
    else:
        sums = tuple(array[..., kept, :] for array in sums[:-1]) + (sums[-1][..., kept],)
    values = product_values(
        sums,
        bins.exposure,
        dims=("time", "energy"),
        weighted=weighted,
        quantity=quantity,
        has_source=columns.weight is not None and columns.weight.ndim == 2,
        error_name="{quantity}_err",
    )
    variables = {
        **time_variables(bins, good),
        **band_coords(bands),
        **source_coords(events),
        **values,
        "fracexp": bins.fracexp,
    }
    made = build("lightcurve", variables, product_attrs(events, "lightcurve", bins, weighted))
    return made.set_coords(list(source_coords(events)))


def _one_way(**ways: Any) -> None:
    """Check that exactly one way of making time bins is given."""
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueRangeError(
            f"lightcurve: found {' and '.join(given) or 'nothing'} to make time bins by, "
            "expected exactly one of dt, time, snr, high_snr, blocks (dt may go with snr or high_snr)"
        )


def _snr_bins(
    columns: Columns,
    bands: Any,
    good: tuple,
    snr: float | None,
    high_snr: float | None,
    dt: Any,
    compat: str | None,
) -> tuple[TimeBins, tuple | None]:
    """Return the bins of a signal-to-noise ratio, and the sums too where they are those of the tool."""
    if columns.weight is not None and columns.weight.ndim == 2:
        raise ValueRangeError(
            "snr: the events have weights for several sources, which would all have other bins; "
            "select one source"
        )
    high = high_snr is not None
    threshold = float(high_snr if high_snr is not None else snr or 0.0)
    width = (0.0 if high else np.inf) if dt is None else float(to_value(dt, "s", "dt"))
    if not threshold > 0 or not width >= 0:
        raise ValueRangeError(f"snr, dt: found {threshold} and {width}, expected positive numbers")
    accepted = accepted_events(columns, bands)
    if compat == "heasoft":
        segment = np.searchsorted(good[0], accepted.time, side="right") - 1
        segment[accepted.time >= good[1][segment]] = -1
        lower, upper, sums, totals = kernel.tool_snr_bins(
            *(accepted.time, accepted.band, accepted.weight, segment),
            *(good[0][0], good[1][-1], bands.n_segments, threshold, width, high),
        )
        bins = explicit_bins(np.stack([lower, upper], axis=-1), good)
        if columns.weight is None:
            return bins, (bands.combine(sums[..., 0].astype(np.int64)), totals)
        return bins, (bands.combine(sums[None, ..., 0]), bands.combine(sums[None, ..., 1]), totals[None])
    lower, upper = kernel.snr_edges(accepted.time, accepted.weight, *good, threshold, width, high)
    return explicit_bins(np.stack([lower, upper], axis=-1), good), None


def join_lightcurves(
    *curves: xr.Dataset | str | os.PathLike[str],
    dt: Any = None,
    split: bool = False,
    other_observations: bool = False,
) -> xr.Dataset:
    """Join light curves, such as the rate files of an orbit: in order of time, every bin once, gaps kept.

    Parameters
    ----------
    *curves
        Datasets of kind ``lightcurve`` or paths of files, in any order, with the same bands and bins of the
        same width.
    dt
        Width (s) to which all are re-binned, on one grid, so that their own widths may differ.
    split
        With `dt`: allow edges inside old bins, as in `batx.rebin_time`.
    other_observations
        Whether mask-weighted curves of different observation ids may be joined. Raw ones always may.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve``. Its good time is the union of that of the curves; of a curve that states none,
        as rate files, that of its bins with exposure. ``utcf`` is that of the earliest curve (it changes by
        milliseconds in an orbit). Values stay lazy if they are dask arrays.

    Raises
    ------
    RebinError
        If widths differ and no `dt` is given, or bins cannot be put on its grid without `split`.
    ValueRangeError
        If there is nothing to join; if bands, quantity, statistic or weighting differ; or if two curves have
        the same bin, with the same exposure but other values.
    KindError
        If something else than light curves is given, or they have several sources.

    Warns
    -----
    BatxWarning
        If bins that overlap others in part are left out, or variables that not all curves have.

    Notes
    -----
    Of the same bin twice the one with more exposure is taken. Of bins that overlap in part the first is
    kept, since counts cannot be divided; the time that nothing covers then is a gap.

    Examples
    --------
    >>> from batx.schema import build
    >>> def part(start, counts):
    ...     edges = start + np.arange(len(counts) + 1.0)
    ...     return build("lightcurve", {"time": edges[:-1] + 0.5, "energy": [50.0],
    ...         "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
    ...         "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
    ...         "counts": (("time", "energy"), np.array(counts)[:, None]),
    ...         "exposure": np.ones(len(counts)), "fracexp": np.ones(len(counts))},
    ...         {"statistic": "poisson", "weighting": "none"})
    >>> both = join_lightcurves(part(10.0, [5, 6]), part(0.0, [1, 2, 3]), part(2.0, [3, 4]))
    >>> both.counts.values[:, 0], both.gti_start.values, both.gti_stop.values
    (array([1, 2, 3, 4, 5, 6]), array([ 0., 10.]), array([ 4., 12.]))
    """
    lists = [opened(item) for item in curves]
    for ds in lists:
        require_kind(ds, "lightcurve", operation="join_lightcurves")
        if "source" in ds.dims:
            raise KindError("join_lightcurves: found several sources; select one of each, ds.isel(source=0)")
    raw = all(ds.attrs.get("weighting") == "none" for ds in lists)
    same = ("telescope", "instrument", "statistic", "weighting")
    names = same if raw or other_observations else (*same, "obs_id")
    require_same(lists, "light curves", *names, operation="join_lightcurves")
    lists = [with_axes(ds, KINDS["lightcurve"]) for ds in lists]
    lists.sort(key=lambda ds: float(ds["time_bnds"].values[:, 0].min()))
    _require_same_bands(lists)
    if dt is None:
        _require_same_widths(lists)
    starts, stops = _good_time_of(lists)
    attrs = [ds.attrs for ds in lists]
    bare = common_variables(
        [ds.drop_vars(["gti_start", "gti_stop"], errors="ignore") for ds in lists],
        "light curves",
        "join_lightcurves",
    )
    joined = _in_order(_concatenated(bare))
    note = f"batx.join_lightcurves: {len(lists)} curve(s), {joined.sizes['time']} bins"
    joined.attrs = joined_attrs(attrs, starts, stops, note)
    if "utcf" in attrs[0]:
        joined.attrs["utcf"] = attrs[0]["utcf"]
    joined = joined.assign(gti_start=("gti", starts, {"units": "s"}), gti_stop=("gti", stops, {"units": "s"}))
    validate(joined, "lightcurve")
    return joined if dt is None else rebin_time(joined, dt=dt, split=split, across_gaps=True)


def _require_same_bands(lists: Sequence[xr.Dataset]) -> None:
    """Raise if bands differ, or some curves have counts and others rates."""
    first = lists[0]
    for ds in lists[1:]:
        found, expected = ds["energy_bnds"].values, first["energy_bnds"].values
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4):
            raise ValueRangeError(
                f"join_lightcurves: found bands {found.tolist()} and {expected.tolist()} keV, expected the "
                "same in all; sum those of each to the same ones first (ds.bat.rebin_energy)"
            )
        if ("counts" in ds) != ("counts" in first):
            raise ValueRangeError(
                "join_lightcurves: found curves of counts and curves of rates, expected one of the two"
            )


def _require_same_widths(lists: Sequence[xr.Dataset]) -> None:
    """Raise if curves of uniform bins have different ones, or only some are uniform."""
    widths = [np.diff(ds["time_bnds"].values, axis=1).ravel() for ds in lists]
    middle = np.array([np.median(width) for width in widths])
    uniform = [np.ptp(width) <= 2 * SAME_EDGE * np.median(width) for width in widths]
    if (all(uniform) and np.ptp(middle) > SAME_EDGE * middle[0]) or len(set(uniform)) > 1:
        found = ", ".join(f"{width:.6g}" for width in np.unique(middle.round(9)))
        raise RebinError(
            f"join_lightcurves: found bins of different width ({found} s); give dt= to re-bin them to one "
            "that is a multiple of each, or dt= and split=True for any"
        )


def _good_time_of(lists: Sequence[xr.Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Return the union of the good time of the curves."""
    found = []
    for ds in lists:
        if "gti_start" in ds.variables:
            found.append(gti_arrays(ds))
        else:
            bounds = ds["time_bnds"].values[ds["exposure"].values > 0]
            found.append((bounds[:, 0], bounds[:, 1]))
    starts, stops = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return intervals.union(starts, stops, max_gap=1e-6)


def _concatenated(lists: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(
        lists, "time", data_vars="minimal", coords="minimal", compat="override", join="override",
        combine_attrs="override",
    )  # fmt: skip


def _in_order(joined: xr.Dataset) -> xr.Dataset:
    """Return the bins in order of time, none twice and none that overlaps another."""
    bounds = joined["time_bnds"].values
    order = np.argsort(bounds[:, 0], kind="stable")
    joined, bounds = joined.isel(time=order), bounds[order]
    width = bounds[:, 1] - bounds[:, 0]
    exposure = joined["exposure"].values.astype(np.float64)
    kept, twin = keep_disjoint(bounds[:, 0], bounds[:, 1], exposure, SAME_EDGE * width)
    _require_same_values(joined, exposure, twin)
    if part := int(np.sum(~kept & (twin < 0))):
        warn(f"join_lightcurves: left out {part} bin(s) that overlap others in part")
    return joined if kept.all() else joined.isel(time=np.flatnonzero(kept))


def _require_same_values(joined: xr.Dataset, exposure: np.ndarray, twin: np.ndarray) -> None:
    """Raise if two bins are the same, and exposed alike, but have different values."""
    again = np.flatnonzero(twin >= 0)
    again = again[np.isclose(exposure[again], exposure[twin[again]], rtol=1e-6)]
    name = "counts" if "counts" in joined else "rate"
    one, other = (joined[name].isel(time=rows).values for rows in (again, twin[again]))
    differ = ~np.isclose(one, other, rtol=1e-6, equal_nan=True).all(axis=1)
    if differ.any():
        first = joined["time"].values[again[differ][0]]
        raise ValueRangeError(
            f"join_lightcurves: found {int(differ.sum())} bin(s) in two curves with different {name}, the "
            f"first at {first:.3f}; they are not of the same detectors or bands: leave one of the curves out"
        )
