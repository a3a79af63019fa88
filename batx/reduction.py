"""Events to sums: the kernels run over blocks of events, in threads or as a dask graph.

Private to the functions that bin events. Columns in memory or in a file are taken in blocks (a file is read
block by block and nothing of it is kept); chunked columns are summed chunk by chunk and the sums merged as
a tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, SchemaError, UnitsError, ValueRangeError
from batx.grids import GRID_STEP, EnergyBands, Intervals, TimeBins, energy_bands, good_time, warn
from batx.instrument.detector import DETECTOR, SHAPE
from batx.kernels import gti as intervals
from batx.kernels import histogram
from batx.schema import require_kind
from batx.units import canonical_unit

__all__ = [
    "Accepted",
    "Columns",
    "accepted_events",
    "columns_of",
    "compat_of",
    "events_of_bands",
    "mask_array",
    "sum_events",
]

#: events a block; accumulators of more bytes than this are not given to each thread
BLOCK = 1 << 19
PRIVATE_BYTES = 1 << 27
#: sums merged at once in a dask graph
FAN_IN = 8

Task = Literal["count", "weigh", "plane"]


class Columns(NamedTuple):
    """The columns of events that a reduction reads; `None` where it needs none."""

    time: xr.Variable
    energy: xr.Variable
    weight: xr.Variable | None
    flags: xr.Variable | None
    detx: xr.Variable | None
    dety: xr.Variable | None
    status: np.ndarray | None
    step: np.float32 | None

    @property
    def lazy(self) -> bool:
        """Whether a column is chunked."""
        return any(column.chunks is not None for column in self.per_event().values())

    def per_event(self) -> dict[str, xr.Variable]:
        """Columns that are there, by name."""
        names = ("time", "energy", "weight", "flags", "detx", "dety")
        return {name: column for name in names if (column := getattr(self, name)) is not None}


class Sums(NamedTuple):
    """Sums over some events, what was met on the way, and the first and last time."""

    array: np.ndarray
    tally: np.ndarray
    first: float
    last: float


class Accepted(NamedTuple):
    """Time, band and weight (event,) of the events that pass all but good time."""

    time: np.ndarray
    band: np.ndarray
    weight: np.ndarray


def compat_of(compat: str | None) -> str | None:
    """Return `compat` if it is `None` or ``"heasoft"``."""
    if compat not in (None, "heasoft"):
        raise ValueRangeError(f"compat: found {compat!r}, expected None or 'heasoft'")
    return compat


def mask_array(mask: Any, name: str = "detector_mask") -> np.ndarray:
    """Return a detector mask as bool (173, 286), true where good.

    Parameters
    ----------
    mask
        Dataset of kind ``detector_mask`` or ``detector_table`` with the variable ``enabled``, or a bool
        array.
    name
        Name of the argument, for messages.

    Raises
    ------
    KindError, ValueRangeError
        If it is something else, or not of the shape of the detector plane.
    """
    if isinstance(mask, (xr.Dataset, xr.DataTree)):
        kind = require_kind(mask, "detector_mask", "detector_table", operation=name)
        variable = "good" if kind == "detector_mask" else "enabled"
        if variable not in mask.variables:
            raise MissingVariableError(
                f"{name}: found a detector_table without 'enabled', expected this variable"
            )
        mask = mask[variable]
    array = np.asarray(mask)
    if array.shape != SHAPE or array.dtype != bool:
        raise ValueRangeError(
            f"{name}: found {array.dtype} {array.shape}, expected a Dataset of kind detector_mask "
            f"or bool {SHAPE}, true where the detector is good"
        )
    return array


def columns_of(
    events: xr.Dataset,
    *,
    operation: str,
    weighted: bool,
    energy_column: str,
    detector_mask: Any,
    positions: bool,
    compat: str | None,
) -> Columns:
    """Return the columns that a reduction of events needs, checked but not read.

    Raises
    ------
    KindError, MissingVariableError, UnitsError, ValueRangeError
        If `events` are no events, lack a column, or a column has another unit than s or keV.
    """
    require_kind(events, "events", operation=operation)
    if energy_column not in ("energy", "pi"):
        raise ValueRangeError(f"energy_column: found {energy_column!r}, expected 'energy' or 'pi'")
    needed = ["time", energy_column]
    if weighted:
        needed.append("mask_weight")
    if positions or detector_mask is not None:
        needed += ["detx", "dety"]
    column = {name: _column(events, name, operation) for name in needed}
    keeps_flagged = compat == "heasoft" and not weighted
    flags = None if keeps_flagged or "event_flags" not in events.variables else events["event_flags"].variable
    return Columns(
        time=column["time"],
        energy=column[energy_column],
        weight=column.get("mask_weight"),
        flags=flags,
        detx=column.get("detx"),
        dety=column.get("dety"),
        status=_status_map(detector_mask, compat) if "detx" in column else None,
        step=np.float32(GRID_STEP) if energy_column == "energy" else None,
    )


_REMEDY = {
    "mask_weight": "weight the events first (ds.bat.mask_weight), or pass weighting='none'",
    "energy": "calibrate the events first, or pass energy_column='pi'",
}
_UNITS = {"time": "s", "energy": "keV"}


def _column(events: xr.Dataset, name: str, operation: str) -> xr.Variable:
    if name not in events.variables:
        remedy = _REMEDY.get(name, "read the events with all their columns")
        raise MissingVariableError(
            f"{operation}: the events have no '{name}' (found {sorted(map(str, events.variables))}); {remedy}"
        )
    variable = events[name].variable
    if set(variable.dims) - {"source"} != {"event"} or ("source" in variable.dims and name != "mask_weight"):
        raise SchemaError(
            f"{operation}: '{name}' of the events has dimensions {variable.dims}, expected ('event',)"
        )
    units, expected = variable.attrs.get("units"), _UNITS.get(name)
    if expected and units is not None and canonical_unit(units) != expected:
        raise UnitsError(
            f"{operation}: '{name}' of the events is in '{units}', expected '{expected}'; "
            "convert the values and attrs['units']"
        )
    return variable.transpose(..., "event")


def _status_map(detector_mask: Any, compat: str | None) -> np.ndarray:
    """Return 2 for good detectors, 1 for masked ones, 0 where there is none (the tool ignores gaps)."""
    good = np.ones(SHAPE, dtype=bool) if detector_mask is None else mask_array(detector_mask)
    status = good.astype(np.uint8) + np.uint8(1)
    return status if compat == "heasoft" else np.where(DETECTOR, status, np.uint8(0))


# --- reduction ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reduction:
    """Everything but the events: what is summed, into which bins, from which detectors."""

    task: Task
    cells: histogram.Cells
    table: np.ndarray
    step: np.float32 | None
    status: np.ndarray | None
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Type of the sums."""
        return np.dtype({"weigh": np.float64, "count": np.int64, "plane": np.int32}[self.task])

    def add(self, block: Mapping[str, np.ndarray], sums: np.ndarray, tally: np.ndarray) -> None:
        """Add a block of events to the sums."""
        columns = [block.get(name) for name in ("flags", "detx", "dety")]
        tail = (*columns, self.status, self.cells, self.table, self.step, sums, tally)
        if self.task == "weigh":
            weight = block["weight"]
            weight = weight if weight.ndim == 2 else weight[np.newaxis]
            histogram.sum_weights(block["time"], block["energy"], weight, *tail)
        elif self.task == "plane":
            histogram.count_plane(block["time"], block["energy"], *tail)
        else:
            histogram.count_events(block["time"], block["energy"], *tail)


def sum_events(
    columns: Columns, task: Task, bins: TimeBins, bands: EnergyBands, gti: tuple
) -> tuple[Any, ...]:
    """Return the sums of events over time bins and energy bands.

    Parameters
    ----------
    columns, bins, bands, gti
        From `columns_of` and `batx.grids`.
    task
        ``"count"`` gives counts (bin, band) and totals (bin); ``"weigh"`` gives Σw, Σw² (source, bin, band)
        and the number of events (source, bin), with a source axis of length 1 where the weights have none;
        ``"plane"`` gives counts (bin, band, dety, detx).

    Returns
    -------
    tuple of arrays
        dask arrays if a column is chunked.

    Raises
    ------
    EmptySelectionError
        If all events that would be accepted have weight 0; for dask arrays when the sums are computed.

    Warns
    -----
    BatxWarning
        If events have NaN energies, are not in order of time, or are on no detector; when the sums are
        computed.
    """
    n_bins, n_segments = bins.lower.size, bands.n_segments
    if task == "weigh":
        weight = columns.weight
        n_sources = 1 if weight is None or weight.ndim == 1 else weight.sizes["source"]
        shape: tuple[int, ...] = (n_sources, n_bins, n_segments + 1, 3)
    else:
        shape = (n_bins, n_segments, *SHAPE) if task == "plane" else (n_bins, n_segments + 1)
    cells = histogram.make_cells(bins.first, bins.end, *gti)
    reduction = _Reduction(task, cells, bands.table, columns.step, columns.status, shape)
    sums = _lazy(columns, reduction) if columns.lazy else _finish(_eager(columns, reduction))
    if task == "plane":
        return (
            sums if bands.members is None else np.moveaxis(bands.combine(np.moveaxis(sums, 1, -1)), -1, 1),
        )
    if task == "count":
        counts = sums[:, :n_segments]
        return bands.combine(counts), counts.sum(axis=-1)
    sums = sums[:, :, :n_segments]
    totals = sums[..., 2].sum(axis=-1).astype(np.int64)
    return bands.combine(sums[..., 0]), bands.combine(sums[..., 1]), totals


def _read(variable: xr.Variable, start: int, stop: int) -> np.ndarray:
    """Return a native, contiguous block of a column; a view where the column is one."""
    values = variable.isel(event=slice(start, stop)).to_numpy()
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def _sum_range(columns: Columns, reduction: _Reduction, start: int, stop: int) -> Sums:
    sums = np.zeros(reduction.shape, reduction.dtype)
    tally = np.zeros(histogram.N_TALLIES, np.int64)
    first = last = np.nan
    for low in range(start, stop, BLOCK):
        high = min(low + BLOCK, stop)
        block = {name: _read(column, low, high) for name, column in columns.per_event().items()}
        reduction.add(block, sums, tally)
        tally[histogram.BACKWARD] += block["time"][0] < last
        first = block["time"][0] if low == start else first
        last = block["time"][-1]
    return Sums(sums, tally, first, last)


def _eager(columns: Columns, reduction: _Reduction) -> Sums:
    n_events = columns.time.size
    n_threads = min(_n_cpus(), -(-n_events // BLOCK))
    n_bytes = int(np.prod(reduction.shape)) * reduction.dtype.itemsize
    if n_threads < 2 or n_bytes > PRIVATE_BYTES:
        return _sum_range(columns, reduction, 0, n_events)
    limits = np.linspace(0, n_events, n_threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(n_threads) as pool:
        parts = pool.map(lambda k: _sum_range(columns, reduction, limits[k], limits[k + 1]), range(n_threads))
        return _merge(list(parts))


def _n_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _merge(parts: Sequence[Sums]) -> Sums:
    """Return the sums over all parts, which follow one another."""
    total = parts[0]._replace(array=parts[0].array.copy())
    for part in parts[1:]:
        total.array[...] += part.array
        tally = total.tally + part.tally
        tally[histogram.BACKWARD] += part.first < total.last
        last = total.last if np.isnan(part.last) else part.last
        first = part.first if np.isnan(total.first) else total.first
        total = Sums(total.array, tally, first, last)
    return total


def _finish(total: Sums) -> np.ndarray:
    """Return the sums, after warnings of what was met."""
    _report(total.tally)
    if in_band := int(total.tally[histogram.IN_BAND]):
        _require_weights(in_band, int(np.count_nonzero(total.array[..., :-1, 2])))
    return total.array


def _require_weights(in_band: int, weighted: int) -> None:
    """Raise `EmptySelectionError` if there are events in a band, and none with a weight other than 0."""
    if in_band and not weighted:
        raise EmptySelectionError(
            f"mask_weight: found 0 for all {in_band} event(s) of the selection, from which no rate can be "
            "made; the column of an archive file is not filled yet, or the source is not coded by the mask "
            "then. Weight the events for the source (ds.bat.mask_weight), or count them (weighting='none')"
        )


def _report(tally: np.ndarray) -> None:
    if n := int(tally[histogram.NAN_ENERGY]):
        warn(f"{n} event(s) have no energy (NaN); they are in no energy band and not counted")
    if n := int(tally[histogram.OFF_PLANE]):
        warn(f"{n} event(s) have a position outside the detector plane or in its gaps; they are not counted")
    if int(tally[histogram.BACKWARD]):
        warn("the events are not in order of time; the sums are right, but sorted events are faster to bin")


def _lazy(columns: Columns, reduction: _Reduction) -> Any:
    import dask
    import dask.array as da

    shared = dask.delayed(reduction, pure=True)
    level = [dask.delayed(_sum_chunk)(shared, names, parts) for names, parts in _chunks(columns)]
    while len(level) > 1:
        level = [dask.delayed(_merge)(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
    return da.from_delayed(dask.delayed(_finish)(level[0]), reduction.shape, reduction.dtype)


def _chunks(columns: Columns) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield, for each chunk of events, the names of the columns and their blocks, not computed."""
    import dask

    arrays = {name: xr.DataArray(column) for name, column in columns.per_event().items()}
    whole = [array.chunk(source=-1) if "source" in array.dims else array for array in arrays.values()]
    unified = dict(zip(arrays, xr.unify_chunks(*whole), strict=True))
    sizes = next(array for array in unified.values() if array.chunks is not None).chunksizes["event"]
    stops = np.cumsum(sizes)
    delayed = {
        name: array.data.to_delayed().ravel() for name, array in unified.items() if array.chunks is not None
    }
    for k, (size, stop) in enumerate(zip(sizes, stops, strict=True)):
        parts = [
            delayed[name][k]
            if name in delayed
            else dask.delayed(_read, traverse=False)(array.variable, int(stop - size), int(stop))
            for name, array in unified.items()
        ]
        yield list(unified), parts


def _sum_chunk(reduction: _Reduction, names: list[str], parts: list[np.ndarray]) -> Sums:
    sums = np.zeros(reduction.shape, reduction.dtype)
    tally = np.zeros(histogram.N_TALLIES, np.int64)
    block = {
        name: np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("="))
        for name, part in zip(names, parts, strict=True)
    }
    reduction.add(block, sums, tally)
    time = block["time"]
    return Sums(sums, tally, *((time[0], time[-1]) if time.size else (np.nan, np.nan)))


def accepted_events(columns: Columns, bands: EnergyBands) -> Accepted:
    """Return the events in a band, good and of weight not 0, in or out of good time, sorted.

    They are read block by block.

    Raises
    ------
    EmptySelectionError
        As `sum_events`.

    Warns
    -----
    BatxWarning
        As `sum_events`.
    """
    tally = np.zeros(histogram.N_TALLIES, np.int64)
    kept: list[tuple[np.ndarray, ...]] = []
    last = np.nan
    for low in range(0, columns.time.size, BLOCK):
        high = min(low + BLOCK, columns.time.size)
        block = {name: _read(column, low, high) for name, column in columns.per_event().items()}
        index, band = histogram.select_events(
            *(block.get(name) for name in ("time", "energy", "weight", "flags", "detx", "dety")),
            columns.status,
            bands.table,
            columns.step,
            tally,
        )
        tally[histogram.BACKWARD] += block["time"][0] < last
        last = block["time"][-1]
        weight = block["weight"][index].astype(np.float64) if "weight" in block else np.ones(index.size)
        kept.append((block["time"][index], band, weight))
    _report(tally)
    columns_kept = [np.concatenate(parts) for parts in zip(*kept, strict=True)] or [np.zeros(0)] * 3
    time, band, weight = columns_kept
    _require_weights(int(tally[histogram.IN_BAND]), time.size)
    if tally[histogram.BACKWARD]:
        order = np.argsort(time, kind="stable")
        time, band, weight = time[order], band[order], weight[order]
    return Accepted(time, band.astype(np.int64), weight)


def events_of_bands(
    events: xr.Dataset, energy: Any, gti: Any, *, weighted: bool, operation: str
) -> tuple[Accepted, EnergyBands, Intervals]:
    """Return the events that are good, in good time and in one of disjoint bands, with bands and good time.

    Raises
    ------
    ValueRangeError
        If bands overlap.
    GtiError, EmptySelectionError
        As `accepted_events`, and for good time that is malformed.
    """
    bands = energy_bands(energy)
    if bands.members is not None:
        raise ValueRangeError(
            f"{operation}: the bands {bands.bounds.tolist()} overlap, expected disjoint ones"
        )
    good = good_time(events, gti, None, None, None)
    columns = columns_of(
        events,
        operation=operation,
        weighted=weighted,
        energy_column="energy",
        detector_mask=None,
        positions=False,
        compat=None,
    )
    kept = accepted_events(columns, bands)
    inside = intervals.membership(kept.time, *good)
    return Accepted(kept.time[inside], kept.band[inside], kept.weight[inside]), bands, good
