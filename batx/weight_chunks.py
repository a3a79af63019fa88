"""Weighting of events that are dask arrays: a task for each chunk, and what passes from chunk to chunk."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath
from batx.errors import BatxWarning
from batx.instrument.detector import SHAPE
from batx.tracing import Place, Weigher
from batx.weight_inputs import event_arrays

__all__ = ["warn_misplaced", "weigh_lazily"]


def weigh_lazily(
    weigher: Weigher, path: AttitudePath | None, columns: dict[str, xr.Variable], extrapolate: bool
) -> Any:
    """Return the weights as a dask array in the chunks of the events.

    The places of the last traces go from chunk to chunk by a chain of light tasks on the times; the weights
    of a chunk need that and its columns only. The chain runs ahead, so it reads the times for itself: shared
    ones would all have to be held until the weights catch up.
    """
    import dask
    import dask.array as da

    held = xr.Dataset(dict(columns)).unify_chunks()
    sizes = held.chunks["event"]
    held = held.chunk(event=sizes)
    parts = {name: held[name].data.to_delayed().ravel() for name in columns}
    ahead = _chunks_apart(held["time"].data) if path is not None and weigher.requested is None else []
    fixed = dask.delayed(weigher, traverse=False), dask.delayed(path, traverse=False)
    places = dask.delayed(None)
    weights = []
    for number, size in enumerate(sizes):
        part = {name: delayed[number] for name, delayed in parts.items()}
        weight = dask.delayed(_weigh_chunk, pure=False)(*fixed, places, part, extrapolate)
        weights.append(da.from_delayed(weight, (len(weigher), size), np.float32))
        if ahead:
            places = dask.delayed(_advance_chunk, pure=False)(fixed[0], places, ahead[number])
    return da.concatenate(weights, axis=1)


def _weigh_chunk(
    weigher: Weigher,
    path: AttitudePath | None,
    places: list[Place] | None,
    columns: dict[str, np.ndarray],
    extrapolate: bool,
) -> np.ndarray:
    times, detx, dety, flags = event_arrays(columns)
    if path is not None:
        path.require(path.coverage(times), extrapolate, "events of a chunk")
    block = weigher.weigh(places, times, detx, dety, flags)
    warn_misplaced(block.misplaced, len(times))
    return block.weight


class _ChunkApart:
    """A chunk of a dask array that a task computes for itself, so that nothing of it is shared and kept."""

    def __init__(self, graph: Mapping, key: Any) -> None:
        self.graph, self.key = graph, key

    def compute(self) -> np.ndarray:
        from dask.local import get_sync

        return get_sync(self.graph, self.key)


def _chunks_apart(array: Any) -> list[_ChunkApart]:
    import dask
    from dask.optimization import cull

    (optimised,) = dask.optimize(array)
    graph = dict(optimised.__dask_graph__())
    return [_ChunkApart(cull(graph, [key])[0], key) for key in optimised.__dask_keys__()]


def _advance_chunk(weigher: Weigher, places: list[Place] | None, chunk: _ChunkApart) -> list[Place] | None:
    return weigher.advance(places, np.ascontiguousarray(chunk.compute(), dtype=np.float64))[0]


def warn_misplaced(misplaced: int, count: int) -> None:
    """Warn of good events at places without a detector, if there are any among `count`."""
    if misplaced:
        warnings.warn(
            f"events: {misplaced} good event(s) of {count} are at positions without a detector (in a gap or "
            f"outside the {SHAPE[1]} x {SHAPE[0]} array) and have weight 0",
            BatxWarning,
            stacklevel=4,
        )
