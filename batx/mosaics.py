"""Mosaics: sums of sky images on HEALPix cells or FITS images, lazy, in bounded memory, resumable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.healpix import band_variables, label_cells, map_attrs, sampling_of
from batx.io.open import open_dataset
from batx.io.partial_sums import PartialSums, sums_on_the_way
from batx.schema import build
from batx.sky_grids import HealpixGrid, SkyGrid, WcsGrid, cells_in_view
from batx.sky_views import Sampling, SkyView, Sums, add_image, lean, sky_views
from batx.time_groups import TimeGroup, time_groups

__all__ = ["mosaic"]

#: images that one task adds up
_BATCH = 16
#: sums that one task adds up
_FAN = 4
#: regions that the sky is divided into at most
_MOST_REGIONS = 4096
#: bytes a cell and band, and bytes a cell, of sums
_PER_BAND, _PER_CELL = 16, 20

_SUMS = Sums._fields
_Images = frozenset[str]
#: delayed name of a file of sums, and its images
_Node = tuple[Any, _Images]


def mosaic(
    images: Any,
    nside: int | None = None,
    wcs: Any = None,
    *,
    frame: str = "icrs",
    order: str = "nested",
    pcode_min: float | None = 0.15,
    weights: str = "after",
    off_axis: Any = None,
    energy_sum: bool = False,
    cuts: Any = None,
    time_bins: Any = None,
    path: str | os.PathLike[str] | None = None,
    memory: float = 32e6,
) -> xr.Dataset | xr.DataTree:
    """Return the inverse-variance sums of sky images over the union of their fields.

    With f, σ, p and T of image j interpolated bilinearly at a cell, and q = 1 where the pixels used have
    finite f, σ > 0 and p > `pcode_min` (else 0)::

        exposure = Σ q T     pcode_exposure = Σ p q T     sum_w = Σ q/σ²     sum_wf = Σ q f/σ²

    `batx.finalize` divides at the end. Sums of different images add up with `batx.merge`.

    The sky is summed region by region, and in each the images a few at a time, then the sums pairwise in a
    tree; memory depends on `memory` and on the size of the result, not on the number of images.

    Parameters
    ----------
    images
        Sky images (kind ``sky_image``), or the paths of files that hold them: a sequence, or one Dataset with
        times. Files are read when they are needed and let go; give paths where there are many. Images
        that are lazy (dask) become part of the graph.
    nside
        Resolution of the HEALPix cells; a power of two for nested cells.
    wcs
        In place of `nside`: an `astropy.wcs.WCS` with `array_shape`, a FITS header with NAXIS1 and NAXIS2,
        or a list of these (the facets of `batx.sky_grids.galactic_facets`).
    frame, order
        Of HEALPix cells, as in `batx.to_healpix`.
    pcode_min, weights, off_axis, energy_sum
        As in `batx.to_healpix`.
    cuts
        Which images are used: bool for each, or the result of `batx.pointing_cuts`, whose reasons are kept.
    time_bins
        Groups of images by start: ``"month"``, ``"year"`` (UTC), a width (s), edges, pairs of start and
        stop, a list of such pairs (unions), or a mapping from name to pairs.
    path
        Folder for partial sums. What is there already from the same settings is not computed again; a
        finished image is on disk as soon as it is finished. Images may be added later.
    memory
        Bytes of the sums of one region; at least a row of pixels.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        Lazy sums of kind ``mosaic`` (``mosaic_image`` for `wcs`); any dask scheduler computes them. An image
        without a usable pixel adds nothing, and `n_images` does not count it. With
        `time_bins` a tree of ``total`` (every image that is used) and ``groups``, with `time` and `group`.
        Each image is named in `image_id`, with `image_used` and `image_reason` where there are cuts, and
        `member(time, image)` where there are groups.

    Raises
    ------
    KindError, MissingVariableError, AttitudeError
        If an image is no sky image, lacks a variable, or does not say where on the sky it lies.
    ValueRangeError
        If two images are the same, bands, units or pixel steps differ, or an option is not as described.
    EmptySelectionError
        If no image is left.

    Notes
    -----
    Source: algorithms 2.8.

    Examples
    --------
    >>> from batx.schema import build
    >>> from batx.sky_coords import image_cards
    >>> def field(ra):
    ...     return build("sky_image", {
    ...         "imx": np.linspace(-0.2, 0.2, 41), "imy": np.linspace(-0.1, 0.1, 21),
    ...         "rate": np.full((21, 41), 3.0), "noise": ("imy imx".split(), np.full((21, 41), 0.5)),
    ...         "pcode": np.ones((21, 41)), "exposure": 10.0,
    ...         "wcs": ((), image_cards((21.0, 11.0), (0.01, 0.01), (ra, 0.0, 0.0)))})
    >>> two = mosaic([field(150.0), field(160.0)], nside=32).compute()
    >>> float(two.exposure.max()), float(two.sum_w.max())
    (20.0, 8.0)
    """
    if (nside is None) == (wcs is None):
        raise ValueRangeError("mosaic: expected either nside (HEALPix cells) or wcs (FITS images)")
    grid: SkyGrid = WcsGrid.of(wcs) if nside is None else HealpixGrid(nside, order, frame)
    views, template = _views(images, pcode_min)
    used, reasons = _cuts(cuts, views)
    sampling = sampling_of(views[0], pcode_min, weights, off_axis, energy_sum)
    if off_axis is not None and any(view.size != views[0].size for view in views):
        raise ValueRangeError("off_axis: found images of several sizes, expected all of the one it is for")
    kept = [view for view, good in zip(views, used, strict=True) if good]
    if not kept:
        raise EmptySelectionError(f"mosaic: the cuts leave none of {len(views)} images")
    groups = [] if time_bins is None else _groups(kept, time_bins, template)
    plan = _Plan(kept, grid, sampling, kept[0].bands + energy_sum, _classes(kept, groups))
    size = plan.region_size(memory)
    if path is not None:
        plan.store = PartialSums.open(path, _settings(plan, template), map_attrs(template, []), size)
        size = plan.store.region_size
    plan.divide(size)
    total, by_group = plan.graph(len(groups))
    info = _Labels(grid, plan, views, used, reasons, template, energy_sum)
    if not groups:
        return info.dataset(total, {}, time_dim=False)
    member = np.zeros((len(groups), len(views)), bool)
    member[:, used] = _membership(kept, groups)
    return xr.DataTree.from_dict(
        {
            "total": info.dataset(total, {}, time_dim=False),
            "groups": info.dataset(by_group, _group_variables(groups, member), time_dim=True),
        }
    )


# --- what goes in ------------------------------------------------------------------------------------------


def _views(images: Any, pcode_min: float | None) -> tuple[list[SkyView], xr.Dataset]:
    """Return the views of all images, and the first image, which has the bands and attributes of all."""
    if isinstance(images, (xr.Dataset, str, os.PathLike)):
        images = [images]
    if isinstance(images, xr.DataTree) or not isinstance(images, Iterable):
        raise KindError(
            f"mosaic: found {type(images).__name__}, expected a sequence of sky images or paths, or one "
            "sky image with times"
        )
    template: list[xr.Dataset] = []

    def opened() -> Iterator[tuple[xr.Dataset, str | None]]:
        for image in images:
            path = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
            ds = image if path is None else open_dataset(path)
            if not template:
                template.append(ds)
            yield ds, path if path is not None and _inflates(path) else None

    views = sky_views(opened(), "mosaic", pcode_min)
    return views, template[0]


def _inflates(path: str) -> bool:
    """Return whether a file is gzipped, so that its Dataset would hold all of it: it is opened when needed.

    Others are opened once. (The netCDF library must not open a file while another thread reads.)
    """
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _cuts(cuts: Any, views: Sequence[SkyView]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which images are used, and the reasons where others are not."""
    if cuts is None:
        return np.ones(len(views), bool), None
    reasons = None
    if isinstance(cuts, xr.Dataset):
        if "good" not in cuts:
            raise MissingVariableError("cuts: found a Dataset without 'good'; expected batx.pointing_cuts")
        reasons = np.asarray(cuts["reason"].values, dtype=object) if "reason" in cuts else None
        cuts = cuts["good"].values
    used = np.asarray(cuts)
    if used.dtype != bool or used.shape != (len(views),):
        raise ValueRangeError(
            f"cuts: found {used.dtype} of shape {used.shape}, expected bool for each of {len(views)} images"
        )
    return used, np.where(used, "", "cut") if reasons is None else reasons


def _groups(views: Sequence[SkyView], time_bins: Any, template: xr.Dataset) -> list[TimeGroup]:
    return time_groups(np.array([view.start for view in views]), time_bins, template.attrs)


def _membership(views: Sequence[SkyView], groups: Sequence[TimeGroup]) -> np.ndarray:
    starts = np.array([view.start for view in views])
    return np.array([group.holds(starts) for group in groups]).reshape(len(groups), len(views))


def _classes(views: Sequence[SkyView], groups: Sequence[TimeGroup]) -> dict[tuple[int, ...], list[int]]:
    """Return images by the set of groups that they belong to; each image is in one class only."""
    classes: dict[tuple[int, ...], list[int]] = {}
    for image, column in enumerate(_membership(views, groups).T):
        classes.setdefault(tuple(np.flatnonzero(column).tolist()), []).append(image)
    return classes


def _settings(plan: _Plan, template: xr.Dataset) -> dict[str, Any]:
    """Return what partial sums must have in common to be added up."""
    bounds = template["energy_bnds"] if "energy_bnds" in template.variables else None
    factor = plan.sampling.off_axis
    return {
        "version": 1,
        **plan.grid.describe(),
        "pcode_min": plan.sampling.pcode_min,
        "weights": "before" if plan.sampling.before else "after",
        "energy_sum": plan.sampling.energy_sum,
        "off_axis": None if factor is None else float(np.nansum(factor, dtype=np.float64)),
        "bands": plan.bands,
        "energy_bnds": None if bounds is None else bounds.values.ravel().tolist(),
        "unit": str(template["rate"].attrs.get("units")) if "rate" in template else "count/s",
    }


def _group_variables(groups: Sequence[TimeGroup], member: np.ndarray) -> dict[str, Any]:
    bounds = np.array([group.bounds for group in groups])
    return {
        "time": bounds.mean(axis=1),
        "time_bnds": (("time", "bnds"), bounds),
        "group": np.array([group.name for group in groups], dtype=object),
        "member": (("time", "image"), member),
    }


# --- the graph ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Region:
    """A region of the grid: its cells, and the images that may show any of them."""

    number: int
    start: int
    stop: int
    cells: np.ndarray | range
    images: np.ndarray


@dataclass
class _Plan:
    """What is summed, and how it is divided into tasks."""

    views: list[SkyView]
    grid: SkyGrid
    sampling: Sampling
    bands: int
    classes: dict[tuple[int, ...], list[int]]
    store: PartialSums | None = None
    regions: list[_Region] = field(default_factory=list)

    @property
    def lazy(self) -> bool:
        """Whether any image is still to be computed by dask."""
        return any(view.image.chunks for view in self.views)

    def region_size(self, memory: float) -> int:
        """Return the number of cells of which the sums take `memory` bytes.

        Lazy images are used by one region of HEALPix cells, or else dask would hold all of them.
        """
        if self.lazy and not self.grid.dense:
            return self.grid.size
        per_cell = self.bands * _PER_BAND + _PER_CELL
        least = per_cell * self.grid.size / _MOST_REGIONS
        if not memory >= least:
            raise ValueRangeError(
                f"memory: found {memory!r}, expected at least {least:.0f} bytes for {self.grid.size} cells "
                f"in {self.bands} band(s)"
            )
        return max(int(memory // per_cell), 1)

    def divide(self, largest: int) -> None:
        """Divide the grid into regions of at most `largest` cells, or single rows of pixels."""
        homographies = np.stack([view.in_frame(self.grid.frame) for view in self.views])
        sizes = np.array([view.size for view in self.views])
        edges = self.grid.regions(largest)
        for number, (start, stop) in enumerate(pairwise(edges)):
            cells, images = cells_in_view(self.grid, int(start), int(stop), homographies, sizes)
            if len(cells):
                self.regions.append(_Region(number, int(start), int(stop), cells, images))

    def graph(self, n_groups: int) -> tuple[list[Any], list[Any]]:
        """Return the maps of the total and those of the groups (group, ...), as dask arrays."""
        import dask.array as da

        stored = self._stored()
        total, groups = [], []
        for region in self.regions:
            patch, files = self._delayed_patch(region), stored.get(region.number, {})
            sums = {key: self._class_sums(region, patch, key, files) for key in self.classes}
            total.append(self._arrays(region, list(sums.values())))
            members = [[sums[key] for key in self.classes if group in key] for group in range(n_groups)]
            groups.append([self._arrays(region, parts) for parts in members])
        maps = range(len(_SUMS))
        joined = [da.concatenate([region[i] for region in total], axis=-1) for i in maps]
        if not n_groups:
            return joined, []
        return joined, [
            da.stack([da.concatenate([r[g][i] for r in groups], axis=-1) for g in range(n_groups)])
            for i in maps
        ]

    def _arrays(self, region: _Region, parts: Sequence[Any]) -> list[Any]:
        """Return sums of a region as dask arrays: zero where no image shows it."""
        import dask.array as da

        made = _tree([part for part in parts if part is not None], _added)
        shapes = [(*array.shape[:-1], len(region.cells)) for array in Sums.zeros(self.bands, 0)]
        dtypes = [array.dtype for array in Sums.zeros(0, 0)]
        if made is None:
            return [da.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        return [da.from_delayed(made[i], shapes[i], dtypes[i]) for i in range(len(_SUMS))]

    def _class_sums(
        self, region: _Region, patch: Any, key: tuple[int, ...], stored: Mapping[str, frozenset[str]]
    ) -> Any:
        """Return the delayed sums of the images of a class on a region, `None` if it shows none of them."""
        from dask import delayed

        members = [image for image in self.classes[key] if region.images[image]]
        views = [self.views[image] for image in members]
        if self.store is not None:
            return self._stored_sums(region, views, patch, stored)
        leaves = []
        for batch in _batches(views):
            start = None
            if any(view.image.chunks for view in batch):
                for view in batch:
                    start = delayed(_add_views, pure=False)(
                        start, [view.bare()], [view.image], patch, self.sampling, self.bands
                    )
            else:
                start = delayed(_add_views, pure=False)(None, batch, None, patch, self.sampling, self.bands)
            leaves.append(start)
        return _tree(leaves, _added)

    def _delayed_patch(self, region: _Region) -> Any:
        """Return the cells of a region as a task: a graph with all of them in it would be large."""
        from dask import delayed

        shown = [view for view, here in zip(self.views, region.images, strict=True) if here]
        homographies = [view.in_frame(self.grid.frame) for view in shown]
        sizes = [view.size for view in shown]
        return delayed(_patch, pure=False)(self.grid, region.start, region.stop, homographies, sizes)

    # - on disk

    def _stored(self) -> dict[int, dict[str, frozenset[str]]]:
        """Return the partial sums on disk, refusing those that do not fit the images or the groups."""
        if self.store is None:
            return {}
        found = self.store.parts()
        known = [
            frozenset(self.views[image].identity for image in members) for members in self.classes.values()
        ]
        for parts in found.values():
            for name, images in parts.items():
                if not any(images <= members for members in known):
                    raise ValueRangeError(
                        f"path: {self.store.folder / name} sums {len(images)} image(s) that are not, or not "
                        "all, among the images of one time group; give all images that were summed before "
                        "and the same time_bins, or a new folder"
                    )
        return found

    def _stored_sums(
        self, region: _Region, views: list[SkyView], patch: Any, stored: Mapping[str, frozenset[str]]
    ) -> Any:
        from dask import delayed

        assert self.store is not None  # the caller has looked
        wanted = {view.identity for view in views}
        parts = {images: name for name, images in stored.items() if images & wanted}
        known, nodes = parts, list[_Node]()
        # after an interruption the order is as it would have been; after more images came it cannot be
        if not parts.keys() <= sums_on_the_way([view.identity for view in views], _BATCH, _FAN):
            done = frozenset().union(*parts)
            views = [view for view in views if view.identity not in done]
            known, nodes = {}, [(delayed(name, pure=False), images) for images, name in parts.items()]
        for batch in _batches(views):
            images = frozenset(view.identity for view in batch)
            values = [view.image for view in batch] if any(view.image.chunks for view in batch) else None
            bare = batch if values is None else [view.bare() for view in batch]
            node = delayed(_add_views_on_disk, pure=False)(
                self.store, region.number, bare, values, patch, self.sampling, self.bands
            )  # which finds what is there
            nodes.append((node, images))
        while len(nodes) > 1:
            level = [nodes[first : first + _FAN] for first in range(0, len(nodes), _FAN)]
            nodes = [self._joined(region, some, patch, known) for some in level]
        if not nodes:
            return None
        return delayed(_read, pure=False)(self.store, nodes[0][0], patch, self.bands)

    def _joined(self, region: _Region, nodes: list[_Node], patch: Any, known: Mapping[_Images, str]) -> _Node:
        from dask import delayed

        if len(nodes) == 1:
            return nodes[0]
        images = frozenset().union(*(images for _, images in nodes))
        if images in known:
            return delayed(known[images], pure=False), images
        names = [node for node, _ in nodes]
        made = delayed(_add_on_disk, pure=False)(
            self.store, region.number, names, sorted(images), patch, self.bands
        )
        return made, images


def _batches(views: list[SkyView]) -> Iterator[list[SkyView]]:
    for first in range(0, len(views), _BATCH):
        yield views[first : first + _BATCH]


def _tree(parts: list[Any], add: Any) -> Any:
    """Return the delayed sum of delayed sums, a few at a time; `None` of none."""
    from dask import delayed

    while len(parts) > 1:
        some = [parts[first : first + _FAN] for first in range(0, len(parts), _FAN)]
        parts = [group[0] if len(group) == 1 else delayed(add, pure=False)(group) for group in some]
    return parts[0] if parts else None


# --- tasks -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Patch:
    """The cells of a region; their directions are computed once, where and when images are added."""

    grid: SkyGrid
    cells: np.ndarray

    @cached_property
    def vectors(self) -> np.ndarray:
        """Directions (cell, 3) in the frame of the grid."""
        return self.grid.vectors(self.cells)


def _patch(
    grid: SkyGrid, start: int, stop: int, homographies: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]
) -> _Patch:
    if grid.dense:
        return _Patch(grid, np.arange(start, stop, dtype=np.int64))
    cells, _ = cells_in_view(grid, start, stop, np.stack(homographies), np.array(sizes))
    return _Patch(grid, np.asarray(cells))


def _added(parts: Sequence[Sums]) -> Sums:
    total = parts[0].copy()
    for part in parts[1:]:
        total.add(part)
    return total


def _add_views(
    start: Sums | None,
    views: Sequence[SkyView],
    values: Sequence[xr.Dataset] | None,
    patch: _Patch,
    sampling: Sampling,
    bands: int,
) -> Sums:
    """Return `start` with images added; it is not changed."""
    sums = Sums.zeros(bands, len(patch.cells)) if start is None else start.copy()
    for number, view in enumerate(views):
        view = _opened(view) if values is None else view.with_values(values[number])
        add_image(sums, view, patch.vectors, patch.grid.frame, sampling)
    return sums


def _opened(view: SkyView) -> SkyView:
    """Return a view with the values of its file, if it has one."""
    if view.path is None:
        return view
    image = open_dataset(view.path)
    return view.with_values(lean(image if view.index is None else image.isel(time=view.index)))


def _add_views_on_disk(
    store: PartialSums,
    region: int,
    views: Sequence[SkyView],
    values: Sequence[xr.Dataset] | None,
    patch: _Patch,
    sampling: Sampling,
    bands: int,
) -> str:
    """Write the sum of images, each on its own first, and return the name of the file."""
    names = []
    images = [view.identity for view in views]
    target = store.name(region, images)
    if store.has(target):
        return target
    for number, view in enumerate(views):
        name = store.name(region, [view.identity])
        if not store.has(name):
            own = None if values is None else [values[number]]
            made = _add_views(None, [view], own, patch, sampling, bands)
            store.write(name, [view.identity], patch.cells, made)
        names.append(name)
    return _add_on_disk(store, region, names, images, patch, bands)


def _add_on_disk(
    store: PartialSums, region: int, names: Sequence[str], images: Sequence[str], patch: _Patch, bands: int
) -> str:
    """Write the sum of files, remove these, and return its name."""
    target = store.name(region, images)
    if not store.has(target):
        store.write(target, images, patch.cells, _read(store, names, patch, bands))
    store.remove(name for name in names if name != target)
    return target


def _read(store: PartialSums, names: str | Sequence[str], patch: _Patch, bands: int) -> Sums:
    sums = Sums.zeros(bands, len(patch.cells))
    for name in [names] if isinstance(names, str) else names:
        store.add_to(sums, patch.cells, name)
    return sums


# --- what comes out ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Labels:
    """What is needed to make a Dataset of maps."""

    grid: SkyGrid
    plan: _Plan
    views: list[SkyView]
    used: np.ndarray
    reasons: np.ndarray | None
    template: xr.Dataset
    energy_sum: bool

    def dataset(self, maps: list[Any], extra: dict[str, Any], time_dim: bool) -> xr.Dataset:
        """Return maps as a Dataset of kind ``mosaic`` or ``mosaic_image``."""
        if self.reasons is not None:
            extra = extra | {
                "image_used": (("image",), self.used),
                "image_reason": (("image",), self.reasons.astype(object)),
            }
        if isinstance(self.grid, HealpixGrid):
            cells = np.concatenate([region.cells for region in self.plan.regions])
            return label_cells(
                self.grid, cells, maps, self.views, self.template, self.energy_sum, extra, time_dim
            )
        rows, columns = self.grid.shape
        facets = len(self.grid.headers)
        space = ("facet", "y", "x") if facets > 1 else ("y", "x")
        sizes = (facets, rows, columns) if facets > 1 else (rows, columns)
        maps = [array.reshape(*array.shape[:-1], *sizes) for array in maps]
        headers = np.array(self.grid.headers, dtype=object)
        variables = {
            **band_variables(maps, self.views, self.template, self.energy_sum, time_dim, space),
            "wcs": (("facet",), headers) if facets > 1 else ((), headers[0]),
            **extra,
        }
        attrs = map_attrs(self.template, self.views) | {"frame": self.grid.frame}
        return build("mosaic_image", variables, attrs)
