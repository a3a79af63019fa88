"""Sums over windows of steps, of doubling lengths and overlapping by half, and the peaks of each.

Private to the search during slews. Formulae: algorithms, section 2.9.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import erfc

from batx.kernels import windows
from batx.map_peaks import RING, measure
from batx.slew_images import InParts, SlewImages, Tile

__all__ = ["FWHM", "Peak", "Search", "Window"]

#: full width at half maximum of the correlation of noise on the axis, degrees
FWHM = 0.374

#: peaks of a window are at least this far apart, degrees, and at most so many
_APART = 1.0
_PEAKS = 5

#: number of cells that the noise of a whole map is estimated from, and the fewest that do
_SAMPLE = 10_000
_FEWEST = 30

_NONE = np.empty((2, 0, 0), np.float32)


class Window(NamedTuple):
    """Sums over the steps from `first` to before `last`."""

    first: int
    last: int
    sums: np.ndarray

    @property
    def steps(self) -> tuple[int, int]:
        """First step, and the one behind the last."""
        return self.first, self.last


@dataclass(frozen=True)
class Peak:
    """A place in a window, with values of all bands and then of their sum, if there are several.

    Attributes
    ----------
    steps
        First step of the window, and the one behind the last.
    vector
        Direction in the frame of the cells.
    error
        1 sigma error of the position in one direction, degrees; 0 where it was given.
    snr, rate, rate_err
        One a band.
    """

    steps: tuple[int, int]
    vector: np.ndarray
    error: float
    snr: np.ndarray
    rate: np.ndarray
    rate_err: np.ndarray

    @property
    def band(self) -> int:
        """Number of the band in which it is most significant; that of their sum follows the bands."""
        return int(np.nanargmax(self.snr))

    @property
    def highest(self) -> float:
        """Greatest significance."""
        return float(np.nanmax(self.snr))


class Search:
    """The search through all windows of a slew.

    Parameters
    ----------
    images
        What is added up.
    limits
        Lengths of the shortest and the longest window, s.
    snr_min
        Significance above which further peaks of a window are kept.
    target
        Direction that is measured in each window in place of a search.

    Attributes
    ----------
    peaks
        Found by `run`.
    best, total
        The window of the most significant peak, and the whole span; not there if there is no peak.
    n_windows, elements
        Number of windows that were searched, and of resolution elements in all of them.
    """

    def __init__(
        self,
        images: SlewImages,
        limits: tuple[float, float],
        snr_min: float,
        target: np.ndarray | None,
    ) -> None:
        self.images, self.limits, self.snr_min, self.target = images, limits, snr_min, target
        self.peaks: list[Peak] = []
        self.best: Window
        self.total: Window
        self.n_windows = 0
        self.elements = 0.0
        self.elements_per_cell = images.elements_per_cell(FWHM)

    def run(self, memory: float, total: bool) -> None:
        """Go through all windows, on as many cells at a time as the memory (bytes) for sums allows.

        With several parts of the sky the sums of the best window, and of the whole span if wanted, are made
        anew.
        """
        steps, tiles = self.images.steps, self.images.tiles(memory)
        found: dict[tuple[int, int], list[Peak]] = {}
        highest, best, last = -np.inf, None, None
        with ThreadPoolExecutor(_cpus()) as pool:

            def in_parts(work: Callable[[int, int], None], size: int) -> None:
                edges = np.linspace(0, size, 4 * _cpus() + 1).astype(int).tolist()
                list(pool.map(work, edges[:-1], edges[1:]))

            for tile in tiles:
                blocks = self.images.sums(tile, in_parts)
                for last in _windows(blocks, len(steps), self._searched, in_parts):
                    if not self._searched(*last.steps):
                        continue
                    peaks = list(self._measured(last, tile, in_parts))
                    found.setdefault(last.steps, []).extend(peaks)
                    if peaks and (now := max(peak.highest for peak in peaks)) > highest:
                        highest, best = now, last if len(tiles) == 1 else last._replace(sums=_NONE)
            self.n_windows = len(found)
            self.peaks = [peak for peaks in found.values() for peak in self._apart(peaks)]
            if best is None or last is None:
                return
            if len(tiles) > 1:
                best = best._replace(sums=self.images.summed(best.steps, in_parts))
                last = last._replace(sums=self.images.summed(last.steps, in_parts) if total else _NONE)
        self.best, self.total = best, last

    def _apart(self, peaks: list[Peak]) -> list[Peak]:
        """Return the highest peak of a window, and others that are high enough and apart from each other."""
        kept: list[Peak] = []
        for peak in sorted(peaks, key=lambda peak: -peak.highest):
            alone = all(peak.vector @ other.vector < np.cos(np.deg2rad(_APART)) for other in kept)
            if not kept or (peak.highest > self.snr_min and alone and len(kept) < _PEAKS):
                kept.append(peak)
        return kept

    def false_alarms(self, snr: np.ndarray) -> np.ndarray:
        """Return how many peaks of noise above a significance are expected in all windows and bands.

        A peak of a smooth Gaussian field above u: ``8 ln2 (2π)^-3/2 u exp(-u²/2)`` in each square of one
        FWHM of its correlation (Adler 1981, The Geometry of Random Fields). At a given position it is the
        Gaussian tail.
        """
        u = np.maximum(snr, 1.0)
        if self.target is not None:
            return self.n_windows * self._n_values * 0.5 * erfc(u / np.sqrt(2))
        density = 8 * np.log(2) / (2 * np.pi) ** 1.5 * u * np.exp(-(u**2) / 2)
        return self.elements * self._n_values * density

    def _searched(self, first: int, last: int) -> bool:
        """Return whether a window has a length that is looked at."""
        length, step = self.images.steps.length * (last - first), self.images.steps.length
        return self.limits[0] * (1 - 1e-9) <= length <= max(self.limits[1], step) * (1 + 1e-9)

    @property
    def _n_values(self) -> int:
        """Number of bands and their sum."""
        return self.images.bands + (self.images.bands > 1)

    def _measured(self, window: Window, tile: Tile, in_parts: InParts) -> Iterator[Peak]:
        if self.target is not None:
            there = tile.near(self.target, 2 * self.images.cell_size)
            nearest = there[np.argmax(tile.vectors[there] @ self.target)] if len(there) else None
            if nearest is not None and tile.searched[nearest]:
                yield from self._measure(window, tile, self.target, None, np.ones(self._n_values))
            return
        size = window.sums.shape[-1]
        sample = np.ascontiguousarray(window.sums[..., :: max(size // _SAMPLE, 1)])
        scale = np.array([_width(values) for values in windows.significances(sample)[0]])
        best = np.empty(size, np.float32)
        in_parts(lambda first, last: windows.judge(window.sums, scale, best, first, last), size)
        best[~tile.searched] = -np.inf
        self.elements += np.count_nonzero(best > -np.inf) * self.elements_per_cell
        for cell in self._separate(best, tile.vectors):
            there = windows.significances(window.sums[..., [cell]])[0][:, 0] / scale
            yield from self._measure(window, tile, tile.vectors[cell], int(np.nanargmax(there)), scale)

    def _separate(self, best: np.ndarray, vectors: np.ndarray) -> Iterator[int]:
        """Yield the cells of the highest peaks; always the best one."""
        top = int(best.argmax())
        if best[top] == -np.inf:
            return
        high = np.flatnonzero(best > self.snr_min)
        high = high[np.argsort(-best[high])] if len(high) else np.array([top])
        for _ in range(_PEAKS):
            if not len(high):
                return
            yield int(high[0])
            high = high[vectors[high] @ vectors[high[0]] < np.cos(np.deg2rad(_APART))]

    def _measure(
        self, window: Window, tile: Tile, vector: np.ndarray, band: int | None, scale: np.ndarray
    ) -> Iterator[Peak]:
        """Yield the peak at a direction, its place fitted in a band; with none, what is at the direction."""
        around = self.images.around(window.steps, vector)
        if around is None:
            return
        cells = tile.near(vector, RING[1] * around.fwhm)
        _, flux, error = windows.significances(np.ascontiguousarray(window.sums[..., cells]))
        given = tile.vectors[cells], flux, error, scale
        found = measure(around, *given, self.images.cell_size, band)
        if found is not None:
            yield Peak(window.steps, found.vector, found.error, found.snr, found.rate, found.rate_err)


def _windows(
    blocks: Iterator[np.ndarray | None],
    steps: int,
    wanted: Callable[[int, int], bool],
    in_parts: InParts,
) -> Iterator[Window]:
    """Yield the sums over windows of 1, 2, 4, ... steps that overlap by half, up to the whole span.

    Two neighbouring blocks of 2^k steps make a window of 2^(k+1), and every other one of these is a block of
    the next level: each window costs one addition, and a level keeps one block. The last windows may reach
    beyond the end; those that hold nothing but another one are left out, and those that are neither `wanted`
    nor a block. `None` is a block of nothing.
    """
    top = (steps - 1).bit_length()
    waiting: list[np.ndarray | None] = [None] * (top + 1)

    def push(block: np.ndarray | None, level: int, index: int) -> Iterator[Window]:
        if level == top:
            return
        before, waiting[level] = waiting[level], block
        if index == 0:
            return
        first, last = (index - 1) << level, min((index + 1) << level, steps)
        joined = block if before is None else before
        if before is not None and block is not None and (index % 2 or wanted(first, last)):
            joined = _sum(before, block, in_parts)
            before = None  # else each level would keep two blocks
            yield Window(first, last, joined)
        if index % 2:
            yield from push(joined, level + 1, index // 2)

    for number in range(1 << top):
        block = next(blocks, None)
        if block is not None:
            yield Window(number, number + 1, block)
        yield from push(block, 0, number)


def _sum(first: np.ndarray, second: np.ndarray, in_parts: InParts) -> np.ndarray:
    result = np.empty_like(first)

    def add(start: int, stop: int) -> None:
        part = (..., slice(start, stop))
        np.add(first[part], second[part], out=result[part])

    in_parts(add, first.shape[-1])
    return result


def _width(values: np.ndarray) -> float:
    """Return half the distance of the quantiles at -1 and +1 sigma; inf if there are too few values."""
    values = values[np.isfinite(values)]
    if len(values) < _FEWEST:
        return np.inf
    low, high = np.percentile(values, (15.865525, 84.134475))
    return float(high - low) / 2 or np.inf


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
