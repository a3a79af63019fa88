"""Blocks of constant rate in light curves and events (algorithms 2.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import SPILL, Cells, cells_of_bins, cells_of_events, event_times, read_bins
from batx.block_priors import prior_for
from batx.engines import by_engine
from batx.errors import KindError, ValueRangeError
from batx.kernels.blocks import best_partition
from batx.lightcurves import lightcurve
from batx.rebinning import rebin_time
from batx.reduction import compat_of
from batx.schema import build, require_bat
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = ["bayesian_blocks"]


@by_engine
def bayesian_blocks(
    ds: xr.Dataset,
    *,
    prior: float | None = None,
    false_rate: float | None = None,
    lookback: Any = 0.0,
    coalesce: float = 0.05,
    statistic: str = "auto",
    energy: Any = None,
    spill: int = SPILL,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the light curve of the best division of time into blocks of constant rate.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, whose bands are divided jointly, at the same times; or ``events``.
    prior
        What each block costs in units of log evidence, 6 if neither this nor `false_rate` is given.
    false_rate
        In place of `prior`: the fraction of curves of pure noise that get a false block.
    lookback
        Length of the longest block tried (s), 0 for no limit; the blocks found so are then divided, as
        cells, without limit. It saves the tool time; here it is only needed to get its result.
    coalesce
        The first block is joined to the second if it is shorter than this part of it, and the last to the
        one before.
    statistic
        ``"gaussian"``, ``"poisson"``, or ``"auto"``: that of the light curve.
    energy
        For events: bands as edges or pairs in keV, divided jointly; by default one, 15-350 keV.
    spill
        For events: number of events in a cell; blocks begin at every so-manieth event.
    compat
        ``"heasoft"`` for the behaviour of ``battblocks``: a block of one cell at the beginning is joined to
        the next; exposure is the width of the bins; every event counts, whatever its flags and energy, at
        most one a tick, and blocks begin and end with an event.
    engine
        ``"native"``; ``"heasoft"`` for the tool battblocks, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve``, its bins the blocks: counts are summed, rates weighted with exposure. Each
        block ends where the next begins. Attributes ``block_prior`` and ``block_statistic``. The data are
        read at once.

    Raises
    ------
    KindError
        If `ds` is of another kind, or has several sources; with ``compat="heasoft"``, several bands.
    ValueRangeError
        If bins are out of order or overlap, errors or counts are negative, all errors are 0, counts have no
        exposure, or an argument is out of range.
    EmptySelectionError
        If no bin is finite, or no event is good.

    Notes
    -----
    The division maximises the sum over blocks of the log evidence of a constant rate less the prior, exactly,
    by the dynamic programme of Scargle et al. 2013, ApJ 764, 167, with candidates passed over by tiles
    (`batx.kernels.blocks.best_partition`). NaN bins are left out; bins of error 0 tell nothing. A constant
    curve, or a single bin, is one block. Rates of counts have a flat prior in counts per 0.1 ms. Source:
    algorithms 2.5 (``battblocks``).

    Examples
    --------
    >>> from batx.schema import build
    >>> counts = [[9], [11], [10], [60], [58], [10], [9]]
    >>> lc = build("lightcurve", {"time": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
    ...     "time_bnds": (("time", "bnds"), [[i, i + 1.0] for i in range(7)]), "energy": [50.0],
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "counts": (("time", "energy"), counts),
    ...     "exposure": [1.0] * 7, "fracexp": [1.0] * 7, "gti_start": [0.0], "gti_stop": [7.0]},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> bayesian_blocks(lc).time_bnds.values.tolist()
    [[0.0, 3.0], [3.0, 5.0], [5.0, 7.0]]
    """
    compat = compat_of(compat)
    kind = require_bat(ds, "lightcurve", "events", operation="bayesian_blocks")
    if not 0.0 <= coalesce < 1.0:
        raise ValueRangeError(f"coalesce: found {coalesce}, expected a fraction from 0 up to 1")
    if kind == "events":
        return _event_blocks(ds, prior, false_rate, lookback, coalesce, energy, spill, compat)
    if energy is not None:
        raise ValueRangeError(
            "energy: bands are made when a light curve is; re-bin it (rebin_energy) instead"
        )
    bins = read_bins(ds, statistic, "bayesian_blocks")
    if compat and bins.values.shape[1] != 1:
        raise KindError(
            f"bayesian_blocks: found {bins.values.shape[1]} bands, and the tool takes one; re-bin them "
            "(rebin_energy), or leave out compat='heasoft'"
        )
    cells = cells_of_bins(bins, compat)
    cost = _prior(prior, false_rate, cells)
    starts = _divide(cells, cost, lookback, compat, _span(ds, bins.edges))
    edges = _coalesced(np.append(cells.edges[starts], cells.edges[-1]), coalesce)
    made = rebin_time(ds.isel(time=bins.rows), edges=edges, across_gaps=True)
    return _marked(made, cost, "poisson" if bins.errors is None else "gaussian")


def _event_blocks(
    ds: xr.Dataset,
    prior: float | None,
    false_rate: float | None,
    lookback: Any,
    coalesce: float,
    energy: Any,
    spill: int,
    compat: str | None,
) -> xr.Dataset:
    """Return the counts in the blocks of events."""
    if spill < 1:
        raise ValueRangeError(f"spill: found {spill}, expected at least 1 event in a cell")
    time, band, bands, good = event_times(ds, energy, "bayesian_blocks", compat)
    cells = cells_of_events(time, band, bands.lower.size, good, spill, compat)
    cost = _prior(prior, false_rate, cells)
    starts = _divide(cells, cost, lookback, compat, good[1][-1] - good[0][0])
    edges = np.append(cells.edges[starts], cells.edges[-1])
    if not compat:
        edges = _coalesced(edges, coalesce)
        made = lightcurve(
            ds, time=edges, energy=bands.bounds, weighting="none", quantity="counts", min_fracexp=0
        )
        return _marked(made, cost, "poisson")
    edges[[0, -1]] = time[[0, -1]]
    edges = _coalesced(edges, coalesce)
    counts = np.diff(np.searchsorted(time, edges))
    counts[-1] += 1
    variables = {
        "time": 0.5 * (edges[1:] + edges[:-1]),
        "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
        "energy": 0.5 * (bands.lower + bands.upper),
        "energy_bnds": (("energy", "bnds"), bands.bounds),
        "counts": (("time", "energy"), counts[:, np.newaxis]),
        "exposure": np.diff(edges),
        "fracexp": np.ones(counts.size),
        "gti_start": good[0],
        "gti_stop": good[1],
    }
    attrs = kept_attrs(ds.attrs, *ORIGIN)
    made = build("lightcurve", variables, attrs | {"statistic": "poisson", "weighting": "none"})
    return _marked(made, cost, "poisson")


def _prior(prior: float | None, false_rate: float | None, cells: Cells) -> float:
    """Return what a block costs."""
    if prior is not None and false_rate is not None:
        raise ValueRangeError("found both prior and false_rate, expected one of them")
    if false_rate is not None:
        return prior_for(cells, false_rate)
    value = 6.0 if prior is None else float(prior)
    if not np.isfinite(value):
        raise ValueRangeError(f"prior: found {prior}, expected a finite number")
    return value


def _span(ds: xr.Dataset, edges: np.ndarray) -> float:
    """Return the length that the file states, or else that of the bins."""
    start, stop = ds.attrs.get("tstart"), ds.attrs.get("tstop")
    if isinstance(start, float) and isinstance(stop, float) and stop > start:
        return stop - start
    return float(edges[-1] - edges[0])


def _divide(cells: Cells, prior: float, lookback: Any, compat: str | None, span: float) -> np.ndarray:
    """Return the first cells of the blocks."""
    n = cells.edges.size - 1
    if cells.a.shape[0] == 0:
        return np.zeros(1, dtype=np.int64)
    limit = float(to_value(lookback, "s", "lookback"))
    if limit < 0 or not np.isfinite(limit):
        raise ValueRangeError(f"lookback: found {limit} s, expected 0 or more")
    n_back = int(n * limit / span) + 1 if limit > 0 else 0
    starts = best_partition(cells.model, cells.constants, cells.a, cells.b, prior, n_back)
    if n_back:
        ends = np.append(starts, n)
        a, b = (np.ascontiguousarray(sums[:, ends]) for sums in (cells.a, cells.b))
        starts = starts[_kept(best_partition(cells.model, cells.constants, a, b, prior, 0), compat)]
    return starts if n_back else _kept(starts, compat)


def _kept(starts: np.ndarray, compat: str | None) -> np.ndarray:
    """Return the first cells of the blocks without cell 1, where the tool's search back ends."""
    return starts[starts != 1] if compat else starts


def _coalesced(edges: np.ndarray, fraction: float) -> np.ndarray:
    """Return block edges, first and last block joined to their neighbour if much shorter."""
    if edges.size > 2 and edges[1] - edges[0] < fraction * (edges[2] - edges[1]):
        edges = np.delete(edges, 1)
    if edges.size > 2 and edges[-1] - edges[-2] < fraction * (edges[-2] - edges[-3]):
        edges = np.delete(edges, -2)
    return edges


def _marked(made: xr.Dataset, prior: float, statistic: str) -> xr.Dataset:
    """Return the light curve with what its blocks came from."""
    return made.assign_attrs(block_prior=prior, block_statistic=statistic)
