"""Glitches of many observations: searched in parallel, written as they are found, resumed after a stop."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxError, EmptySelectionError, ValueRangeError
from batx.glitch_search import glitches
from batx.grids import warn
from batx.io.growing import GrowingStore
from batx.io.open import open_dataset
from batx.io.store import open_store
from batx.units import to_value

__all__ = ["EventSource", "glitch_catalog"]

_DIMS = ("observation", "glitch", "gti")

#: results are written when these have been waiting for some seconds, or so many glitches
_SECONDS, _GLITCHES = 5.0, 64

#: attributes of one observation, which a catalogue has not
_OF_ONE = ("obs_id", "object", "utcf", "provenance", "trigger_time", "history")


@dataclass(frozen=True)
class EventSource:
    """Events that can be had: what `glitch_catalog` makes of the pairs that it is given.

    Attributes
    ----------
    obs_id, name
        Observation, and name of the event file; both together are searched once.
    open
        Function without arguments that returns events, or the path of an event file.
    """

    obs_id: str
    name: str
    open: Callable[[], Any]

    @classmethod
    def of(cls, item: Any) -> EventSource:
        """Return what an item of the sources stands for."""
        if isinstance(item, EventSource):
            return item
        try:
            obs_id, source = item
        except (TypeError, ValueError):
            raise ValueRangeError(
                f"sources: found {item!r}, expected pairs of observation id and event file, or a function "
                "that opens it"
            ) from None
        if isinstance(source, (str, os.PathLike)):
            return cls(str(obs_id), Path(source).name, lambda: source)
        if isinstance(source, xr.Dataset):
            return cls(str(obs_id), Path(str(source.encoding.get("source", ""))).name, lambda: source)
        if not callable(source):
            raise ValueRangeError(f"sources: found {source!r}, expected a path, events, or a function")
        return cls(str(obs_id), str(getattr(source, "name", "")), source)

    def search(self, options: dict[str, Any]) -> xr.Dataset:
        """Return the glitches."""
        found = self.open()
        events = open_dataset(found) if isinstance(found, (str, os.PathLike)) else found
        made = glitches(events, **options)
        obs_id = self.obs_id or str(made["observation"].values[0])
        for name in ("obs_id", "observation", "gti_obs_id"):
            made[name] = made[name].copy(data=np.full(made[name].size, obs_id))
        made["file"] = made["file"].copy(data=np.array([self.name]))
        return made.drop_attrs(deep=False).assign_attrs(
            {key: value for key, value in made.attrs.items() if key not in _OF_ONE}
        )


def glitch_catalog(
    sources: Iterable[Any],
    path: str | os.PathLike[str],
    *,
    max_observations: int | None = None,
    max_glitches: int | None = None,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    **search: Any,
) -> xr.Dataset:
    """Search many observations for glitches; write one Dataset that grows.

    Event files are opened one by one, some at a time, and no more than are needed. What is found is written
    every few seconds, in the order of the sources. If the run is interrupted, or the machine stops, the same
    call goes on: what is in the store is not searched again.

    Parameters
    ----------
    sources
        Iterable of pairs of observation id and event file: a path, events, or a function without arguments
        that returns either (a download, say; its attribute ``name`` tells files of one observation apart).
        It is consumed as the search goes on, so it may be a generator of pages of a query.
    path
        Zarr directory; made if it is not there.
    max_observations
        Stop when so many have been searched by this call.
    max_glitches
        Stop when the store holds so many glitches, or some more.
    workers
        Number of event files searched at the same time, by default the number of processors.
    progress
        Called with a line of text after each observation.
    **search
        Options of `batx.glitches`.

    Returns
    -------
    xarray.Dataset
        Kind ``glitches``, opened from `path`: as of `batx.glitches`, with the rows of all observations.

    Raises
    ------
    EmptySelectionError
        If no observation could be searched, and there is no store.
    ValueRangeError
        If the store was made with other options, or an item of `sources` is no pair.
    FileFormatError
        If there is something else at `path`.

    Warns
    -----
    BatxWarning
        For every event file that could not be read or searched; it is tried again by the next call.

    Notes
    -----
    `batx.open_dataset` shows complete rows only, also while others are being written, and after the run was
    killed. One run at a time may write to a store.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import Background, Glitch, events
    >>> surges = [Glitch(2.0, counts=400, reach=8, scatter=1.2)]
    >>> ev = events((), Background(rate=0.2), duration=5.0, glitches=surges)
    >>> catalog = glitch_catalog([("00012345000", ev)], tempfile.mkdtemp() + "/glitches.zarr", workers=1)
    >>> catalog["obs_id"].values.tolist(), catalog["exposure"].values
    (['00012345000'], array([5.]))
    """
    for name, value in (("max_observations", max_observations), ("max_glitches", max_glitches)):
        if value is not None and value < 1:
            raise ValueRangeError(f"{name}: found {value}, expected at least 1")
    run = _Run(Path(path), search, progress, max_observations, max_glitches)
    run.work(map(EventSource.of, sources), workers or _cpus())
    return open_store(path)


class _Run:
    """One call of `glitch_catalog`."""

    def __init__(
        self,
        path: Path,
        search: dict[str, Any],
        progress: Callable[[str], None],
        max_observations: int | None,
        max_glitches: int | None,
    ) -> None:
        self.path, self.search, self.progress = path, search, progress
        self.settings = _described(search)
        self.most = max_observations, max_glitches
        self.waiting: list[xr.Dataset] = []
        self.since = time.monotonic()
        self.searched = self.skipped = self.failed = 0
        self.store: GrowingStore | None = None
        self.done: set[tuple[str, str]] = set()
        if path.exists():
            self.store = GrowingStore.open(path, _DIMS, self.settings, None)
            with open_store(path) as ds:
                self.done = set(
                    zip(map(str, ds["observation"].values), map(str, ds["file"].values), strict=True)
                )
                self.found = ds.sizes["glitch"]
        else:
            self.found = 0

    def work(self, sources: Iterator[EventSource], workers: int) -> None:
        """Search, write, and report, until the sources or the numbers asked for are exhausted."""
        pool = ThreadPoolExecutor(workers)
        queue: deque[tuple[EventSource, Future]] = deque()
        try:
            for source in self._new(sources):
                queue.append((source, pool.submit(source.search, self.search)))
                if len(queue) > workers:
                    self._take(*queue.popleft())
            while queue and not self._enough():
                self._take(*queue.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._write()
        if self.store is None:
            raise EmptySelectionError(
                f"glitch_catalog: found no event file that could be searched, and {self.failed} that "
                "could not; nothing was written"
            )

    def _new(self, sources: Iterator[EventSource]) -> Iterator[EventSource]:
        """Yield the sources that are not in the store, no more than asked for."""
        taken = 0
        while not self._enough() and (self.most[0] is None or taken - self.failed < self.most[0]):
            source = next(sources, None)
            if source is None:
                return
            if (source.obs_id, source.name) in self.done:
                self.skipped += 1
                self._report(source.obs_id)
                continue
            self.done.add((source.obs_id, source.name))
            taken += 1
            yield source

    def _enough(self) -> bool:
        observations, found = self.most
        return (observations is not None and self.searched >= observations) or (
            found is not None and self.found >= found
        )

    def _take(self, source: EventSource, future: Future) -> None:
        """Take the result of a search."""
        try:
            made = future.result()
        except (BatxError, OSError) as error:
            self.failed += 1
            warn(f"left out {source.name or source.obs_id}: {error}")
        else:
            self.searched += 1
            self.found += made.sizes["glitch"]
            self.waiting.append(made)
        late = time.monotonic() - self.since > _SECONDS
        if late or sum(ds.sizes["glitch"] for ds in self.waiting) >= _GLITCHES:
            self._write()
        self._report(source.obs_id)

    def _write(self) -> None:
        """Write what is waiting; if that is interrupted it is searched again, but never written twice."""
        self.since = time.monotonic()
        parts, self.waiting = self.waiting, []
        if not parts:
            return
        if self.store is None:
            self.store = GrowingStore.open(self.path, _DIMS, self.settings, parts[0])
        self.store.append(*parts)

    def _report(self, obs_id: str) -> None:
        parts = [f"{self.searched} searched", f"{self.found} glitches"]
        parts += [f"{self.skipped} done before"] * bool(self.skipped) + [f"{self.failed} failed"] * bool(
            self.failed
        )
        self.progress(f"{', '.join(parts)}; {obs_id}")


def _described(search: dict[str, Any]) -> str:
    """Return options of the search as text that is the same for the same options."""
    plain = {}
    for name, value in sorted(search.items()):
        if name == "window":
            value = float(to_value(value, "s", "window"))
        if not isinstance(value, (str, int, float, type(None))):
            raise ValueRangeError(
                f"glitch_catalog: found {name} of type {type(value).__name__}; for many observations only "
                "numbers and names are taken"
            )
        if value is not None:
            plain[name] = value
    return json.dumps(plain)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
