"""Giving events their weights: traces of the mask's shadow, and which events each of them serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from batx.instrument.detector import DETECTOR
from batx.instrument.distortion import DistortionMap
from batx.instrument.mask import MaskGeometry, weight_map
from batx.kernels.trace import look_up, next_trace, place_at, trace_runs

__all__ = ["Block", "Place", "Trace", "Tracer", "Weigher", "fixed_motion"]

#: a place on the tangent plane: imx, imy, and whether it is in front of the instrument
Place = tuple[float, float, bool]

Motion = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Trace:
    """The shadow of the mask for a source at a place.

    Attributes
    ----------
    place, apparent
        True and apparent (distorted) place.
    pcode, n_good, norm
        Partial coding fraction, number of good detectors and mask weight normalisation (MSKWTSQF).
    """

    place: Place
    apparent: tuple[float, float]
    pcode: float
    n_good: int
    norm: float


@dataclass(frozen=True)
class Tracer:
    """How shadows are traced and turned into weights; the fields are the arguments of `weight_map`."""

    mask: np.ndarray
    geometry: MaskGeometry
    good: np.ndarray
    corrections: frozenset[str]
    rebalance: bool
    gain: float
    pcode_min: float
    distortion: DistortionMap | None = None
    normalisation: str = "tool"

    def trace(self, place: Place, height: float) -> tuple[np.ndarray, Trace]:
        """Return the weights for a source at a place, NaN where there is no detector, and what goes with
        them.

        Behind the instrument nothing is coded.
        """
        imx, imy, front = place
        if not front:
            weight = np.where(DETECTOR, 0.0, np.nan)
            return weight, Trace(place, (imx, imy), 0.0, int(np.count_nonzero(self.good)), np.nan)
        x, y = (imx, imy) if self.distortion is None else map(float, self.distortion.apparent(imx, imy))
        weight, pcode, n_good, norm = weight_map(
            self.mask,
            self.geometry,
            (x * height, y * height, height),
            self.good,
            self.corrections,
            self.rebalance,
            self.gain,
            self.normalisation,
        )
        if pcode < self.pcode_min:
            weight[:] = 0.0
        weight[~DETECTOR] = np.nan
        return weight, Trace(place, (x, y), pcode, n_good, norm)


@dataclass
class Block:
    """What came out of a run of events.

    Attributes
    ----------
    weight
        float32, ``(source, event)``.
    misplaced
        Number of good events at positions without a detector.
    places
        Place of the last trace of each source, where the next run goes on.
    traces
        For each source the times and traces that were made.
    """

    weight: np.ndarray
    misplaced: int
    places: list[Place]
    traces: list[list[tuple[float, Trace]]] = field(default_factory=list)


@dataclass(frozen=True)
class Weigher:
    """Traces for several sources along the motion of the instrument, and the events that they serve.

    Attributes
    ----------
    tracer
        How a trace is made.
    motion
        The path of `batx.kernels.trace`: times, rate, axis, matrix.
    directions
        Unit vectors of the sources, ``(n, 3)``.
    heights
        BAT_Z of the sources, cm, ``(n,)``.
    tolerance
        A new trace is made when a source has moved by more on the tangent plane.
    field_radii
        Per source: movement outside this circle needs no trace; infinite to switch that off.
    requested
        Times of the traces in place of the rule of the tolerance.
    parallax
        What tangents of the directions are multiplied by to be BAT_X/BAT_Z, ``(n,)``; 1 if not given.
    """

    tracer: Tracer
    motion: Motion
    directions: np.ndarray
    heights: np.ndarray
    tolerance: float
    field_radii: np.ndarray
    requested: np.ndarray | None = None
    parallax: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.directions)

    def place(self, source: int, time: float) -> Place:
        """Return the direction of a source at a time, as tangents."""
        return place_at(float(time), *self.motion, self.directions[source])

    def seen(self, source: int, place: Place) -> Place:
        """Return where a source in a direction is: BAT_X/BAT_Z, BAT_Y/BAT_Z, and whether it is in front."""
        if self.parallax is None:
            return place
        imx, imy, front = place
        factor = float(self.parallax[source])
        return factor * imx, factor * imy, front

    def trace(self, source: int, place: Place) -> tuple[np.ndarray, Trace]:
        """Return weights and trace of a source in a direction, as `Tracer.trace`."""
        return self.tracer.trace(self.seen(source, place), float(self.heights[source]))

    def advance(
        self, places: list[Place] | None, times: np.ndarray
    ) -> tuple[list[Place] | None, list[list[float]]]:
        """Return the places of the last traces after a run of events, and the times of those that are new.

        The traces themselves are not made.
        """
        if not times.size:
            return places, [[] for _ in range(len(self))]
        ends, made = [], []
        for source in range(len(self)):
            runs = list(self._runs(source, places[source] if places else None, times))
            ends.append(runs[-1][1])
            made.append([time for time, _, _ in runs if time is not None])
        return ends, made

    def weigh(
        self,
        places: list[Place] | None,
        times: np.ndarray,
        detx: np.ndarray,
        dety: np.ndarray,
        flags: np.ndarray,
    ) -> Block:
        """Return the weights of a run of events, each with the trace that is current at its time.

        Parameters
        ----------
        places
            Places of the last traces of the run before, `None` at the start.
        times, detx, dety, flags
            Columns of the events; `flags` empty if all are good.
        """
        block = Block(np.zeros((len(self), len(times)), np.float32), 0, list(places or []))
        if not times.size:
            return block
        for source in range(len(self)):
            made = []
            misplaced = 0
            for time, place, rows in self._runs(source, places[source] if places else None, times):
                weights, trace = self.trace(source, place)
                if time is not None:
                    made.append((time, trace))
                picked = np.empty(len(times[rows]), np.float32)
                some_flags = flags[rows] if flags.size else flags
                misplaced += look_up(weights, detx[rows], dety[rows], some_flags, picked)
                block.weight[source, rows] = picked
            block.misplaced = misplaced
            block.traces.append(made)
            block.places[source : source + 1] = [place]
        return block

    def traces_at(self, source: int, times: Iterable[float]) -> list[tuple[float, Trace]]:
        """Return the traces of a source at times."""
        return [(time, self.trace(source, self.place(source, time))[1]) for time in times]

    def _runs(
        self, source: int, place: Place | None, times: np.ndarray
    ) -> Iterator[tuple[float | None, Place, slice | np.ndarray]]:
        if self.requested is None:
            return self._moves(source, place, times)
        return self._requests(source, times, self.requested)

    def _moves(
        self, source: int, place: Place | None, times: np.ndarray
    ) -> Iterator[tuple[float | None, Place, slice | np.ndarray]]:
        """Yield time of the trace (`None` if it was made before), place, and the events that it serves.

        Events are taken in order of time, or else each step back would need a trace.
        """
        order = _order(times)
        times = times if order is None else times[order]
        start, time = 0, None
        if place is None:
            time, place = float(times[0]), self.place(source, times[0])
        while start < len(times):
            stop = next_trace(
                times,
                start,
                place,
                self.tolerance,
                float(self.field_radii[source]),
                *self.motion,
                self.directions[source],
            )
            if stop > start:
                rows = slice(start, stop)
                yield time, place, rows if order is None else order[rows]
            start = stop
            if start < len(times):
                time, place = float(times[start]), self.place(source, times[start])

    def _requests(
        self, source: int, times: np.ndarray, requested: np.ndarray
    ) -> Iterator[tuple[float, Place, np.ndarray | slice]]:
        """Yield time, place and events of each requested trace that serves any."""
        index = trace_runs(times, requested)
        order = _order(index)
        grouped = index if order is None else index[order]
        edges = [0, *(np.flatnonzero(np.diff(grouped)) + 1).tolist(), len(times)]
        for start, stop in pairwise(edges):
            time = float(requested[grouped[start]])
            rows = slice(start, stop) if order is None else order[start:stop]
            yield time, self.place(source, time), rows


def _order(values: np.ndarray) -> np.ndarray | None:
    """Return the indices that sort values, `None` if they are sorted."""
    return None if np.all(values[1:] >= values[:-1]) else np.argsort(values, kind="stable")


def fixed_motion() -> Motion:
    """Return the path of an instrument that does not move: places are the directions themselves."""
    return np.zeros(1), np.zeros(0), np.zeros((0, 3)), np.eye(3)[None]
