"""The short images of a slew: their attitudes, their sums on the cells in view, and mosaics of them.

Private to the search during slews. Formulae: algorithms, sections 2.3 and 2.8.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath
from batx.detector_planes import detector_plane
from batx.errors import EmptySelectionError
from batx.grids import TimeBins, energy_bands, explicit_bins, uniform_bins
from batx.healpix import label_cells, map_attrs
from batx.image_attitudes import image_attitude
from batx.instrument import sky
from batx.kernels import windows
from batx.kernels.sampled import Sampled
from batx.map_peaks import mask_profile, some_of
from batx.provenance import calibration_of, with_calibration
from batx.sky_coords import axis_direction
from batx.sky_grids import HealpixGrid, cells_in_view, frame_to_icrs
from batx.sky_images import sky_image
from batx.sky_views import SkyView, Sums
from batx.units import to_value

__all__ = ["TURN", "InParts", "SlewImages", "Steps", "Tile"]

#: angle that the instrument turns by in an image, degrees: more would cost a source 4 % of its significance
TURN = 0.14

#: images whose detector images are held at once
_BLOCK = 32

#: resolution of the cells that parts of the sky are made of: 0.9 degrees
_COARSE = 64

InParts = Callable[[Callable[[int, int], None], int], None]

#: one image stands for those within this angle when cells in view are looked for, degrees
_APART = 0.5


@dataclass(frozen=True)
class Steps:
    """The steps of the windows, one after the other, and the images that they are made of.

    Attributes
    ----------
    length
        Length of a step, s; more exact than a difference of edges.
    bins
        Steps with their good time.
    images
        Images with their good time: a step, or a part of one in which the instrument turns little.
    step_of
        (image,) number of the step.
    rotation
        (image, 3, 3) from ICRS to BAT axes: the attitude that stands for each image.
    track
        (image, 2, 3, 3) the attitudes at two moments, which have the mean and the spread of all.
    motion
        (image,) angle in degrees by which the instrument turned.
    """

    length: float
    bins: TimeBins
    images: TimeBins
    step_of: np.ndarray
    rotation: np.ndarray
    track: np.ndarray
    motion: np.ndarray

    @classmethod
    def of(
        cls,
        step: Any,
        good: tuple[np.ndarray, np.ndarray],
        path: AttitudePath,
        extrapolate: bool = False,
    ) -> Steps:
        """Return steps from the beginning of good time on, with their images and the attitude of these.

        Raises
        ------
        AttitudeError
            If the attitude does not cover the good time.
        """
        bins = uniform_bins(step, good, None)
        path.require(path.coverage(np.concatenate(good)), extrapolate, "ends of good time")
        turned = np.array([image_attitude(path, bounds, good)[1] for bounds in bins.bounds])
        parts = np.maximum(np.ceil(turned / TURN - 1e-9), 1).astype(int)
        images, step_of = bins, np.arange(len(parts))
        if (parts > 1).any():
            step_of = np.repeat(step_of, parts)
            edges = [np.linspace(low, high, n + 1) for (low, high), n in zip(bins.bounds, parts, strict=True)]
            lower, upper = (
                np.concatenate([part[side] for part in edges]) for side in (np.s_[:-1], np.s_[1:])
            )
            images = explicit_bins(np.stack([lower, upper], axis=1), good)
        found = [image_attitude(path, bounds, good) for bounds in images.bounds]
        moments = np.array([_moments(bounds, good) for bounds in images.bounds])
        track = sky.slerp(moments.ravel(), path.times, path.quaternions)
        return cls(
            float(to_value(step, "s", "step")),
            bins,
            images,
            step_of,
            path.alignment @ sky.quaternion_to_matrix(np.array([mean for mean, _ in found])),
            (path.alignment @ sky.quaternion_to_matrix(track)).reshape(-1, 2, 3, 3),
            np.array([motion for _, motion in found]),
        )

    def __len__(self) -> int:
        return len(self.bins.lower)

    @property
    def exposed(self) -> np.ndarray:
        """Which images have good time."""
        return self.images.exposure > 0

    def span(self, window: tuple[int, int]) -> tuple[float, float]:
        """Return start and stop (MET) of a window of steps."""
        return float(self.bins.lower[window[0]]), float(self.bins.upper[window[1] - 1])

    def within(self, window: tuple[int, int]) -> slice:
        """Return the images of a window of steps."""
        return slice(*np.searchsorted(self.step_of, window).tolist())


def _moments(bounds: np.ndarray, good: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return two times with the mean and the spread of the good time of an image, if that is in one piece."""
    low, high = np.maximum(good[0], bounds[0]), np.minimum(good[1], bounds[1])
    shared = low < high
    start, stop = (low[shared][0], high[shared][-1]) if shared.any() else bounds
    return np.asarray((start + stop) / 2 + np.array([-1, 1]) / np.sqrt(12) * (stop - start))


@dataclass(frozen=True)
class Tile:
    """Cells of a part of the sky that is searched at a time, and those around it that fits need.

    Attributes
    ----------
    grid
        What the cells are numbers of.
    cells, vectors
        Numbers, increasing, and directions (cell, 3) in their frame.
    searched
        Which of them belong to this part and no other.
    """

    grid: HealpixGrid
    cells: np.ndarray
    vectors: np.ndarray
    searched: np.ndarray

    @classmethod
    def of(cls, grid: HealpixGrid, cells: np.ndarray, searched: np.ndarray) -> Tile:
        """Return a part with the directions of its cells."""
        return cls(grid, cells, np.ascontiguousarray(grid.vectors(cells)), searched)

    def near(self, vector: np.ndarray, radius: float) -> np.ndarray:
        """Return which of the cells are within a radius (degrees) of a direction."""
        import healpy

        nested = self.grid.order == "nested"
        near = healpy.query_disc(int(self.grid.nside), vector, np.deg2rad(radius), nest=nested)
        near.sort()
        index = np.searchsorted(self.cells, near)
        index[index == len(self.cells)] = 0
        return index[self.cells[index] == near]


class SlewImages:
    """Sums of each image of a slew on the cells that any of the images shows.

    Parameters
    ----------
    events, steps, grid, pcode_min
        As of `batx.slew_mosaic`.
    plane, image
        Further arguments of `batx.detector_plane` and `batx.sky_image`.
    served
        Which calibration served the steps, by purpose.

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
        served: Mapping[str, dict[str, Any]],
    ) -> None:
        self.events, self.steps, self.grid, self.pcode_min = events, steps, grid, pcode_min
        self._plane, self._image = plane, image
        made = self._images()
        first = next(made, None)
        if first is None:
            start, stop = steps.span((0, len(steps)))
            bands = energy_bands(plane["energy"]).bounds.tolist()
            raise EmptySelectionError(
                f"slew_mosaic: found no good event from {start} to {stop} s in {bands} keV; check tstart, "
                "tstop, t0, energy and detector_mask"
            )
        self._started: Iterator[tuple[int, xr.Dataset]] | None = chain([first], made)
        self.used = np.zeros(len(steps.rotation), bool)
        image_of_first = first[1]
        self.template = image_of_first.isel(imx=[0], imy=[0])[["rate", "energy_bnds"]]
        self.template.attrs = with_calibration(self.template.attrs, served)
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
        """(image, 3, 3) from directions in the frame of the cells to pixels."""
        return np.ascontiguousarray(self._pixel @ self.steps.rotation @ frame_to_icrs(self.grid.frame))

    @property
    def _pixel(self) -> np.ndarray:
        """Matrix from directions in BAT axes to pixels."""
        (x, dx), (y, dy) = ((axis[0], axis[1] - axis[0]) for axis in (self.imx, self.imy))
        return np.array([[1 / dx, 0, -x / dx], [0, 1 / dy, -y / dy], [0, 0, 1]])

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """Numbers of the cells that images show, increasing: all with enough coding, and some around them.

        Of images that are close together the first stands for all, with a margin.
        """
        chosen = [0]
        for number in range(1, len(self.steps.rotation)):
            if _angle(self.steps.rotation[number], self.steps.rotation[chosen[-1]]) > _APART:
                chosen.append(number)
        rows, columns = (np.flatnonzero(self.usable.any(axis=side)) for side in (1, 0))
        stretch = 1 + np.abs(self.imx[columns]).max() ** 2 + np.abs(self.imy[rows]).max() ** 2
        pixel = min(abs(axis[1] - axis[0]) for axis in (self.imx, self.imy))
        margin = int(np.ceil(np.deg2rad(_APART) * stretch / pixel)) if len(self.homographies) > 1 else 0
        low = np.array([columns[0], rows[0]]) - margin
        size = np.array([columns[-1], rows[-1]]) + margin - low + 1
        shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
        sizes = np.tile(size, (len(chosen), 1))
        views = shift @ self.homographies[chosen]
        return np.asarray(cells_in_view(self.grid, 0, self.grid.size, views, sizes)[0])

    def tiles(self, memory: float) -> list[Tile]:
        """Return parts of the cells of which the sums that a search holds at a time take `memory` bytes.

        These are a block a level, and three more. Parts are of whole cells of a coarse grid; around them are
        further ones, at least as many as a fit needs.
        """
        import healpy

        blocks = (len(self.steps) - 1).bit_length() + 3
        number = int(np.ceil(len(self.cells) * blocks * 8 * self.bands / memory))
        if number <= 1:
            return [Tile.of(self.grid, self.cells, np.ones(len(self.cells), bool))]
        coarse = healpy.vec2pix(_COARSE, *self.grid.vectors(self.cells).T, nest=True)
        counts = np.bincount(coarse, minlength=12 * _COARSE**2)
        part_of = np.minimum(np.cumsum(counts) * number // len(self.cells), number - 1)
        tiles = []
        for part in np.unique(part_of[counts > 0]):
            own = part_of == part
            around = healpy.get_all_neighbours(_COARSE, np.flatnonzero(own & (counts > 0)), nest=True)
            chosen = own.copy()
            chosen[around[around >= 0]] = True
            kept = chosen[coarse]
            tiles.append(Tile.of(self.grid, self.cells[kept], own[coarse[kept]]))
        return tiles

    def around(self, window: tuple[int, int], vector: np.ndarray) -> Sampled | None:
        """Return images of a window that show a direction, at most some of them, `None` if none does.

        An image counts by its exposure times the coding there, which goes as 1/σ².
        """
        images = self.steps.within(window)
        pixel = self.homographies[images] @ vector
        weight = self._at(self.pcode * self.usable, pixel) * self.steps.images.exposure[images]
        seen = images.start + np.flatnonzero(weight * self.used[images])
        if not len(seen):
            return None
        seen = some_of(seen)
        shares = weight[seen - images.start]
        track = self._pixel @ self.steps.track[seen] @ frame_to_icrs(self.grid.frame)
        profile = mask_profile()
        width = profile.natural_width
        return Sampled(vector, self.homographies[seen], track, shares / shares.sum(), profile, width)

    def _at(self, plane: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """Return the values of a map at the pixels (image, 3) nearest to places in it, 0 outside."""
        front = pixel[:, 2] > 0
        x, y = (np.rint(pixel[:, k] / np.where(front, pixel[:, 2], 1.0)) for k in (0, 1))
        ny, nx = plane.shape
        inside = front & (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        values = np.zeros(len(pixel))
        values[inside] = plane[y[inside].astype(int), x[inside].astype(int)]
        return values

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
        return bool(self._at(self.usable, self.homographies @ vector).any())

    def sums(self, tile: Tile, in_parts: InParts) -> Iterator[np.ndarray | None]:
        """Yield the sums (2, band, cell) of each step, float32; `None` without good time or events.

        Parameters
        ----------
        tile
            The cells.
        in_parts
            Calls a function with first and last number of parts of a range, in threads.
        """
        step_of, images = self.steps.step_of, self._made()
        made = next(images, None)
        for step in range(len(self.steps)):
            if made is None or step_of[made[0]] != step:
                yield None
                continue
            sums = np.zeros((2, self.bands, len(tile.cells)), np.float32)
            while made is not None and step_of[made[0]] == step:
                number, image = made
                self._add(number, image, tile, sums, in_parts)
                del made, image  # before the next one is made
                made = next(images, None)
            yield sums

    def summed(self, window: tuple[int, int], in_parts: InParts) -> np.ndarray:
        """Return the sums over a window on all cells, of images that are made anew."""
        tile = Tile.of(self.grid, self.cells, np.ones(len(self.cells), bool))
        sums = np.zeros((2, self.bands, len(self.cells)), np.float32)
        for number, image in self._images(self.steps.within(window)):
            self._add(number, image, tile, sums, in_parts)
        return sums

    def _add(self, number: int, image: xr.Dataset, tile: Tile, sums: np.ndarray, in_parts: InParts) -> None:
        maps = image["rate"].values, image["noise"].values
        given = tile.vectors, self.homographies[number], *maps, self.usable, sums
        in_parts(functools.partial(windows.sample, *given), len(tile.cells))
        self.used[number] = True

    def _made(self) -> Iterator[tuple[int, xr.Dataset]]:
        """Return all images; the first time those that have been begun."""
        started, self._started = self._started, None
        return self._images() if started is None else started

    def _images(self, chosen: slice = slice(None)) -> Iterator[tuple[int, xr.Dataset]]:
        """Yield the number of each image with events, and its bands."""
        times = np.asarray(self.events["time"].values)
        in_order = bool((times[1:] >= times[:-1]).all())
        bounds = self.steps.images.bounds
        exposed = np.arange(len(bounds))[chosen][self.steps.exposed[chosen]]
        for start in range(0, len(exposed), _BLOCK):
            numbers = exposed[start : start + _BLOCK]
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
        attrs = map_attrs(self.template, []) | {"tstart": start, "tstop": stop}
        return with_calibration(attrs, calibration_of(self.template))

    def mosaic(self, sums: np.ndarray, window: tuple[int, int]) -> xr.Dataset:
        """Return the sums over a window as kind ``mosaic``, with the exposure of its cells."""
        images = self.steps.within(window)
        numbers = images.start + np.flatnonzero(self.used[images])
        maps = Sums.zeros(0, len(self.cells))
        vectors = np.ascontiguousarray(self.grid.vectors(self.cells))
        for number in numbers:
            seconds = float(self.steps.images.exposure[number])
            given = vectors, self.homographies[number], self.pcode, self.usable, seconds
            target = maps.exposure, maps.pcode_exposure, maps.n_images
            windows.expose(*given, *target, 0, len(self.cells))
        seen = maps.n_images > 0
        kept = [sums[0][:, seen], sums[1][:, seen], *(array[seen] for array in maps[2:])]
        described = {"units": "deg", "long_name": "angle by which the instrument turned in the image"}
        extra = {"image_motion": (("image",), self.steps.motion[numbers], described)}
        views = [self._view(number) for number in numbers]
        return label_cells(self.grid, self.cells[seen], kept, views, self.template, False, extra, False)

    def _view(self, number: int) -> SkyView:
        """Return what is known of an image."""
        bins, obs_id = self.steps.images, self.events.attrs.get("obs_id", "-")
        start, stop = float(bins.lower[number]), float(bins.upper[number])
        ra, dec, roll = (float(angle) for angle in axis_direction(self.steps.rotation[number]))
        ny, nx = self.usable.shape
        return SkyView(
            image=self.template,
            homography=self._pixel @ self.steps.rotation[number],
            exposure=float(bins.exposure[number]),
            start=start,
            stop=stop,
            identity=f"{obs_id} {start:.6f} {stop:.6f} ra={ra:.5f} dec={dec:.5f} roll={roll:.5f}",
            size=(nx, ny),
            bands=self.bands,
        )


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle (degrees) by which one rotation differs from another."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(first @ second.T) - 1) / 2, -1, 1))))
