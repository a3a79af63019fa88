"""The short images of a slew: their attitudes, their sums on the cells in view, and mosaics of them.

Private to the search during slews. Formulae: algorithms, sections 2.3 and 2.8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath
from batx.detector_planes import detector_plane
from batx.errors import EmptySelectionError
from batx.grids import TimeBins, energy_bands, uniform_bins
from batx.healpix import label_cells, map_attrs
from batx.image_attitudes import image_attitude
from batx.instrument import sky
from batx.kernels import windows
from batx.sky_coords import axis_direction
from batx.sky_grids import HealpixGrid, cells_in_view, frame_to_icrs
from batx.sky_images import sky_image
from batx.sky_views import SkyView, Sums
from batx.units import to_value

__all__ = ["SlewImages", "Steps"]

#: steps whose detector images are held at once
_BLOCK = 32

#: one image stands for those within this angle when cells in view are looked for, degrees
_APART = 0.5


@dataclass(frozen=True)
class Steps:
    """The intervals of the images, one after the other.

    Attributes
    ----------
    length
        Length of a step, s; more exact than a difference of edges.
    bins
        Time bins with their good time.
    rotation
        (step, 3, 3) from ICRS to BAT axes: the attitude that stands for each image.
    motion
        (step,) angle in degrees by which the instrument turned.
    """

    length: float
    bins: TimeBins
    rotation: np.ndarray
    motion: np.ndarray

    @classmethod
    def of(
        cls,
        step: Any,
        good: tuple[np.ndarray, np.ndarray],
        path: AttitudePath,
        extrapolate: bool = False,
    ) -> Steps:
        """Return steps from the beginning of good time on, with their attitude.

        Raises
        ------
        AttitudeError
            If the attitude does not cover the good time.
        """
        bins = uniform_bins(step, good, None)
        path.require(path.coverage(np.concatenate(good)), extrapolate, "ends of good time")
        found = [image_attitude(path, bounds, good) for bounds in bins.bounds]
        rotation = path.alignment @ sky.quaternion_to_matrix(np.array([mean for mean, _ in found]))
        length = float(to_value(step, "s", "step"))
        return cls(length, bins, rotation, np.array([motion for _, motion in found]))

    def __len__(self) -> int:
        return len(self.rotation)

    @property
    def exposed(self) -> np.ndarray:
        """Which steps have good time."""
        return self.bins.exposure > 0

    def span(self, window: tuple[int, int]) -> tuple[float, float]:
        """Return start and stop (MET) of a window of steps."""
        return float(self.bins.lower[window[0]]), float(self.bins.upper[window[1] - 1])


class SlewImages:
    """Sums of each image of a slew on the cells that any of the images shows.

    Parameters
    ----------
    events, steps, grid, pcode_min
        As of `batx.slew_mosaic`.
    plane, image
        Further arguments of `batx.detector_plane` and `batx.sky_image`.

    Raises
    ------
    EmptySelectionError
        If no step has an event in any band.
    """

    def __init__(
        self,
        events: xr.Dataset,
        steps: Steps,
        grid: HealpixGrid,
        pcode_min: float,
        plane: dict[str, Any],
        image: dict[str, Any],
    ) -> None:
        self.events, self.steps, self.grid, self.pcode_min = events, steps, grid, pcode_min
        self._plane, self._image = plane, image
        self._made = self._images()
        first = next(self._made, None)
        if first is None:
            start, stop = steps.span((0, len(steps)))
            bands = energy_bands(plane["energy"]).bounds.tolist()
            raise EmptySelectionError(
                f"slew_mosaic: found no good event from {start} to {stop} s in {bands} keV; check tstart, "
                "tstop, t0, energy and detector_mask"
            )
        self._made = chain([first], self._made)
        self.used = np.zeros(len(steps), bool)
        image_of_first = first[1]
        self.template = image_of_first.isel(imx=[0], imy=[0])[["rate", "energy_bnds"]]
        self.pcode = np.ascontiguousarray(image_of_first["pcode"].values)
        self.usable = self.pcode > pcode_min
        self.imx, self.imy = image_of_first["imx"].values, image_of_first["imy"].values
        if not self.usable.any():
            raise EmptySelectionError(f"slew_mosaic: no pixel has a coding above pcode_min={pcode_min:g}")

    @property
    def bands(self) -> int:
        """Number of bands, without their sum."""
        return int(self.template.sizes["energy"])

    @property
    def bounds(self) -> np.ndarray:
        """Edges (band, 2) of the bands and, if there are several, of their sum, keV."""
        bounds = self.template["energy_bnds"].values
        return bounds if len(bounds) == 1 else np.vstack([bounds, [bounds.min(), bounds.max()]])

    @functools.cached_property
    def homographies(self) -> np.ndarray:
        """(step, 3, 3) from directions in the frame of the cells to pixels."""
        (x, dx), (y, dy) = ((axis[0], axis[1] - axis[0]) for axis in (self.imx, self.imy))
        pixel = np.array([[1 / dx, 0, -x / dx], [0, 1 / dy, -y / dy], [0, 0, 1]])
        return np.ascontiguousarray(pixel @ self.steps.rotation @ frame_to_icrs(self.grid.frame))

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """Numbers of the cells that images show, increasing: all with enough coding, and some around them.

        Of images that are close together the first stands for all, with a margin.
        """
        chosen = [0]
        for number in range(1, len(self.steps)):
            if _angle(self.steps.rotation[number], self.steps.rotation[chosen[-1]]) > _APART:
                chosen.append(number)
        rows, columns = (np.flatnonzero(self.usable.any(axis=side)) for side in (1, 0))
        stretch = 1 + np.abs(self.imx[columns]).max() ** 2 + np.abs(self.imy[rows]).max() ** 2
        pixel = min(abs(axis[1] - axis[0]) for axis in (self.imx, self.imy))
        margin = int(np.ceil(np.deg2rad(_APART) * stretch / pixel)) if len(self.steps) > 1 else 0
        low = np.array([columns[0], rows[0]]) - margin
        size = np.array([columns[-1], rows[-1]]) + margin - low + 1
        shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
        sizes = np.tile(size, (len(chosen), 1))
        views = shift @ self.homographies[chosen]
        return np.asarray(cells_in_view(self.grid, 0, self.grid.size, views, sizes)[0])

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """Directions (cell, 3) of the cells in their frame."""
        return np.ascontiguousarray(self.grid.vectors(self.cells))

    def cosine(self, window: tuple[int, int], vector: np.ndarray) -> float:
        """Return the cosine of the distance of a direction from the axis, mean over a window."""
        axes = self.steps.rotation[window[0] : window[1], 2] @ frame_to_icrs(self.grid.frame)
        return float(np.clip(axes @ vector, 0.05, 1.0).mean())

    def cells_near(self, vector: np.ndarray, radius: float) -> np.ndarray:
        """Return which of the cells are within a radius (degrees) of a direction."""
        import healpy

        nested = self.grid.order == "nested"
        near = healpy.query_disc(int(self.grid.nside), vector, np.deg2rad(radius), nest=nested)
        near.sort()
        index = np.searchsorted(self.cells, near)
        index[index == len(self.cells)] = 0
        return index[self.cells[index] == near]

    @property
    def cell_size(self) -> float:
        """Width of a cell, degrees."""
        return float(np.rad2deg(np.sqrt(4 * np.pi / self.grid.size)))

    def elements_per_cell(self, fwhm: float) -> float:
        """Return how many resolution elements there are in a cell, mean over an image.

        They are `fwhm` degrees wide on the axis, and have the same width everywhere on the tangent plane.
        """
        stretch = 1 + self.imx**2 + self.imy[:, None] ** 2
        return self.cell_size**2 / fwhm**2 / float((stretch[self.usable] ** -1.5).mean())

    def shows(self, vector: np.ndarray) -> bool:
        """Return whether a direction in the frame of the cells is where any image is coded enough."""
        x, y, depth = (self.homographies @ vector).T
        front = depth > 0
        columns, rows = (np.rint(axis[front] / depth[front]).astype(int) for axis in (x, y))
        ny, nx = self.usable.shape
        inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
        return bool(self.usable[rows[inside], columns[inside]].any())

    def sums(self, in_parts: Callable[[Any, int], None]) -> Iterator[np.ndarray | None]:
        """Yield the sums (2, band, cell) of each step, float32; `None` without good time or events.

        Parameters
        ----------
        in_parts
            Calls a function with first and last number of parts of a range, in threads.
        """
        size = len(self.cells)
        next_step = 0
        while made := next(self._made, None):
            number, image = made
            yield from [None] * (number - next_step)
            sums = np.empty((2, self.bands, size), np.float32)
            maps = image["rate"].values, image["noise"].values
            given = self.vectors, self.homographies[number], *maps, self.usable, sums
            in_parts(functools.partial(windows.sample, *given), size)
            self.used[number] = True
            next_step = number + 1
            del made, image, maps, given  # before the next ones are made
            yield sums
        yield from [None] * (len(self.steps) - next_step)

    def _images(self) -> Iterator[tuple[int, xr.Dataset]]:
        """Yield the number of each step with events, and its sky images."""
        times = np.asarray(self.events["time"].values)
        in_order = bool((times[1:] >= times[:-1]).all())
        bounds = self.steps.bins.bounds
        for start in range(0, len(self.steps), _BLOCK):
            numbers = start + np.flatnonzero(self.steps.exposed[start : start + _BLOCK])
            if not len(numbers):
                continue
            part = self.events
            if in_order:
                ends = np.searchsorted(times, [bounds[numbers[0], 0], bounds[numbers[-1], 1]])
                part = part.isel(event=slice(*ends))
            if not part.sizes["event"]:
                continue
            planes = detector_plane(part, time=bounds[numbers], **self._plane).load()
            for place in np.flatnonzero(planes["counts"].any(("energy", "dety", "detx"))):
                yield int(numbers[place]), sky_image(planes.isel(time=place), **self._image)

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of results: those of the mission, and the span that was searched."""
        start, stop = self.steps.span((0, len(self.steps)))
        return map_attrs(self.template, []) | {"tstart": start, "tstop": stop}

    def mosaic(self, sums: np.ndarray, window: tuple[int, int]) -> xr.Dataset:
        """Return the sums over a window as kind ``mosaic``, with the exposure of its cells."""
        views = self._views(window)
        maps = Sums.zeros(0, len(self.cells))
        for view in views:
            given = self.vectors, view.homography, self.pcode, self.usable, view.exposure
            target = maps.exposure, maps.pcode_exposure, maps.n_images
            windows.expose(*given, *target, 0, len(self.cells))
        seen = maps.n_images > 0
        kept = [sums[0][:, seen], sums[1][:, seen], *(array[seen] for array in maps[2:])]
        numbers = self._numbers(window)
        described = {"units": "deg", "long_name": "angle by which the instrument turned in the image"}
        extra = {"image_motion": (("image",), self.steps.motion[numbers], described)}
        return label_cells(self.grid, self.cells[seen], kept, views, self.template, False, extra, False)

    def _numbers(self, window: tuple[int, int]) -> np.ndarray:
        """Return the numbers of the steps of a window that have an image."""
        return window[0] + np.flatnonzero(self.used[window[0] : window[1]])

    def _views(self, window: tuple[int, int]) -> list[SkyView]:
        """Return what is known of the images of a window; homographies are from the frame of the cells."""
        bins, obs_id = self.steps.bins, self.events.attrs.get("obs_id", "-")
        ny, nx = self.usable.shape
        views = []
        for number in self._numbers(window):
            start, stop = float(bins.lower[number]), float(bins.upper[number])
            ra, dec, roll = (float(angle) for angle in axis_direction(self.steps.rotation[number]))
            views.append(
                SkyView(
                    image=self.template,
                    homography=self.homographies[number],
                    exposure=float(bins.exposure[number]),
                    start=start,
                    stop=stop,
                    identity=f"{obs_id} {start:.6f} {stop:.6f} ra={ra:.5f} dec={dec:.5f} roll={roll:.5f}",
                    size=(nx, ny),
                    bands=self.bands,
                )
            )
        return views


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle (degrees) by which one rotation differs from another."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(first @ second.T) - 1) / 2, -1, 1))))
