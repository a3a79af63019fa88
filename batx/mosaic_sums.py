"""Sums of maps: added to each other, and divided at the end into flux, error and significance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from batx.errors import KindError, MissingVariableError, ValueRangeError
from batx.schema import require_kind
from batx.sky_views import Sums

__all__ = ["finalize", "merge"]

_SUMS = Sums._fields

#: a mosaic, or a tree of its total and its groups of times
Mosaic = TypeVar("Mosaic", xr.Dataset, xr.DataTree)


def finalize(mosaic: Mosaic, energy: Any = None) -> Mosaic:
    """Return a mosaic with flux, its error and significance: S/W, W^-1/2 and S/√W.

    Parameters
    ----------
    mosaic
        Kind ``mosaic`` or ``mosaic_image`` with `sum_w` and `sum_wf`, or a tree of these; chunked sums stay
        lazy.
    energy
        Bands to sum: ``"all"``, or increasing edges (keV) on those of the mosaic, without gaps. Fluxes and
        variances are added, never significances. `None` keeps the bands, and the sums with them.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        With `flux`, `flux_err` and `snr`, NaN where nothing was added.

    Raises
    ------
    KindError, MissingVariableError
        If `mosaic` is no mosaic or has no sums.
    ValueRangeError
        If `energy` is not made of whole bands, or bands overlap.

    Notes
    -----
    Source: algorithms 2.8.

    Examples
    --------
    >>> from batx.schema import build
    >>> sums = build("mosaic", {
    ...     "cell_ids": np.arange(2), "healpix": ((), 0, {"grid_mapping_name": "healpix"}),
    ...     "sum_w": ("cell", [4.0, 0.0]), "sum_wf": ("cell", [12.0, 0.0])})
    >>> finalize(sums).snr.values
    array([ 6., nan])
    """
    if isinstance(mosaic, xr.DataTree):
        return xr.DataTree.from_dict({name: finalize(ds, energy) for name, ds in _nodes(mosaic).items()})
    require_kind(mosaic, "mosaic", "mosaic_image", operation="finalize")
    if not {"sum_w", "sum_wf"} <= set(mosaic.data_vars):
        raise MissingVariableError("finalize: the mosaic has no 'sum_w' and 'sum_wf' to divide")
    weight = mosaic["sum_w"].where(mosaic["sum_w"] > 0)
    flux, variance = mosaic["sum_wf"] / weight, 1 / weight
    result = mosaic
    if energy is not None:
        flux, variance, bounds = _sum_bands(mosaic, flux, variance, energy)
        result = mosaic.drop_dims("energy")
        result = result.assign_coords(
            energy=("energy", bounds.mean(axis=1), mosaic["energy"].attrs),
            energy_bnds=(("energy", "bnds"), bounds, mosaic["energy_bnds"].attrs),
        )
    unit = mosaic["sum_w"].attrs.get("flux_units", "count/s")
    mapped = {key: value for key, value in mosaic["sum_w"].attrs.items() if key == "grid_mapping"}
    error = variance**0.5
    made = {"flux": (flux, unit), "flux_err": (error, unit), "snr": (flux / error, "1")}
    names = {"flux": "flux", "flux_err": "1-sigma error of flux", "snr": "significance"}
    return result.assign(
        {
            name: values.assign_attrs({"units": units, "long_name": names[name], **mapped})
            for name, (values, units) in made.items()
        }
    )


def _sum_bands(
    mosaic: xr.Dataset, flux: xr.DataArray, variance: xr.DataArray, energy: Any
) -> tuple[xr.DataArray, xr.DataArray, np.ndarray]:
    """Return flux and variance added over bands, and the edges of what they became."""
    if "energy" not in flux.dims or "energy_bnds" not in mosaic.variables:
        raise ValueRangeError("finalize: the mosaic has no bands with edges (energy_bnds) to sum")
    bounds = mosaic["energy_bnds"].values
    single = [i for i, row in enumerate(bounds) if len(bounds) == 1 or not _is_sum(i, bounds)]
    whole = isinstance(energy, str) and energy == "all"
    edges = np.asarray([bounds[single].min(), bounds[single].max()] if whole else energy)
    if edges.dtype.kind not in "iuf" or edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        raise ValueRangeError(f"energy: found {energy!r}, expected 'all' or increasing edges in keV")
    edges = edges.astype(np.float64)
    fluxes, variances = [], []
    for low, high in pairwise(edges):
        inside = [i for i in single if bounds[i, 0] > low - 1e-3 and bounds[i, 1] < high + 1e-3]
        covered = bounds[inside][np.argsort(bounds[inside, 0])] if inside else np.zeros((0, 2))
        gaps = np.append(low, covered[:, 1]) - np.append(covered[:, 0], high)
        if not inside or (gaps > 1e-3).any() or (not whole and (np.abs(gaps) > 1e-3).any()):
            raise ValueRangeError(
                f"energy: {low:g}-{high:g} keV is not made of whole bands; the mosaic has edges at "
                f"{np.unique(bounds[single]).tolist()} keV"
            )
        fluxes.append(flux.isel(energy=inside).sum("energy", skipna=False))
        variances.append(variance.isel(energy=inside).sum("energy", skipna=False))
    dims = flux.dims
    joined = [xr.concat(parts, "energy").transpose(*dims) for parts in (fluxes, variances)]
    return joined[0], joined[1], np.stack([edges[:-1], edges[1:]], axis=1)


def _is_sum(index: int, bounds: np.ndarray) -> bool:
    """Return whether a band holds all the others."""
    others = np.delete(bounds, index, axis=0)
    return bool(bounds[index, 0] <= others.min() + 1e-3 and bounds[index, 1] >= others.max() - 1e-3)


def merge(first: Mosaic, *others: Mosaic) -> Mosaic:
    """Return the sum of mosaics of different images: every sum added, cell by cell, over the union of cells.

    The order does not matter, beyond rounding (1e-15). Chunked mosaics stay lazy.

    Parameters
    ----------
    first, others
        Kind ``mosaic`` on the same cells (resolution, order, frame), or ``mosaic_image`` on the same images,
        with the same bands; or trees of them with the same nodes. Groups of times are those of all, in the
        order of time; groups with the same name and bounds are added up. Values of `finalize` are left
        out: make them again.

    Raises
    ------
    KindError
        If one is no mosaic, or a tree has other nodes.
    MissingVariableError
        If one has no sums.
    ValueRangeError
        If they differ in cells or bands, have groups of one name and different bounds, or share an image.

    Examples
    --------
    >>> from batx.schema import build
    >>> def sums(cells, w):
    ...     return build("mosaic", {"cell_ids": np.array(cells), "sum_w": ("cell", w),
    ...         "healpix": ((), 0, {"grid_mapping_name": "healpix", "refinement_level": 2,
    ...                             "indexing_scheme": "nested"})})
    >>> both = merge(sums([3, 5], [1.0, 2.0]), sums([5, 9], [10.0, 20.0]))
    >>> both.cell_ids.values.tolist(), both.sum_w.values.tolist()
    ([3, 5, 9], [1.0, 12.0, 20.0])
    """
    add: Callable[[Any, Any], Any] = _merge_trees if isinstance(first, xr.DataTree) else _merge_two
    return reduce(add, others, first)


def _nodes(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {str(name): node.to_dataset() for name, node in tree.children.items()}


def _merge_trees(one: xr.DataTree, two: Any) -> xr.DataTree:
    first, second = _nodes(one), _nodes(two) if isinstance(two, xr.DataTree) else {}
    if not first or set(first) != set(second):
        raise KindError(
            f"merge: found a tree of {', '.join(first) or 'nothing'} and {type(two).__name__} of "
            f"{', '.join(second) or 'none of these'}; expected trees with the same nodes"
        )
    return xr.DataTree.from_dict({name: _merge_two(ds, second[name]) for name, ds in first.items()})


def _merge_two(one: xr.Dataset, two: Any) -> xr.Dataset:
    kind = require_kind(one, "mosaic", "mosaic_image", operation="merge")
    if require_kind(two, "mosaic", "mosaic_image", operation="merge") != kind:
        raise KindError("merge: found a mosaic on HEALPix cells and one on FITS images; expected two alike")
    for ds in (one, two):
        if not {"sum_w", "sum_wf"} & set(ds.data_vars):
            raise MissingVariableError(
                f"merge: found a mosaic with {', '.join(sorted(map(str, ds.data_vars)))}, expected sum_w and "
                "sum_wf; give the sums, not what finalize(energy=...) made of them"
            )
    _refuse_unlike(one, two)
    one, two = _with_groups_of_both(one, two)
    names = [name for name in _SUMS if name in one and name in two]
    if kind == "mosaic":
        cells = np.union1d(one["cell_ids"].values, two["cell_ids"].values)
        parts = [_on_cells(ds[names], cells) for ds in (one, two)]
    else:
        parts = [ds[names].reset_coords(drop=True) for ds in (one, two)]
    dropped = [name for name in one.variables if {"cell", "image"} & set(one[name].dims)]
    base = one.drop_vars([*dropped, *names, *(n for n in ("flux", "flux_err", "snr") if n in one.variables)])
    with xr.set_options(keep_attrs=True):
        summed = {name: parts[0][name].variable + parts[1][name].variable for name in names}
    result = base.assign(summed)
    if kind == "mosaic":
        result = result.assign_coords(cell_ids=("cell", cells, one["cell_ids"].attrs))
    result.attrs = _common_attrs(one.attrs, two.attrs)
    return result.assign(_joined_images(one, two))


def _refuse_unlike(one: xr.Dataset, two: xr.Dataset) -> None:
    for name in ("healpix", "wcs"):
        if name in one.variables and (
            one[name].attrs != two[name].attrs or not np.array_equal(one[name].values, two[name].values)
        ):
            raise ValueRangeError(
                f"merge: the mosaics are on different grids: {one[name].attrs or 'one wcs'} and "
                f"{two[name].attrs or 'another'}"
            )
    for key in ("frame", "nside"):
        if one.attrs.get(key) != two.attrs.get(key):
            raise ValueRangeError(
                f"merge: found {key} {one.attrs.get(key)!r} and {two.attrs.get(key)!r}, expected the same"
            )
    same = ("energy_bnds" in one.variables) == ("energy_bnds" in two.variables)
    bands = [mosaic.variables.get("energy_bnds") for mosaic in (one, two)]
    if not same or (bands[0] is not None and not bands[0].equals(bands[1])):
        raise ValueRangeError("merge: the mosaics differ in energy_bnds; expected the same bands")
    if ("time" in one.dims) != ("time" in two.dims):
        raise ValueRangeError("merge: one of the mosaics has groups of times; expected both or neither")
    if one["sum_w"].attrs.get("units") != two["sum_w"].attrs.get("units") if "sum_w" in one else False:
        raise ValueRangeError("merge: the mosaics differ in the unit of flux")
    if "image_id" in one and "image_id" in two:
        shared = np.intersect1d(one["image_id"].values.astype(str), two["image_id"].values.astype(str))
        if len(shared):
            raise ValueRangeError(
                f"merge: {len(shared)} image(s) are in both mosaics and would count twice, "
                f"first '{shared[0]}'"
            )


def _with_groups_of_both(one: xr.Dataset, two: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return two mosaics with the groups of times of both, sums being 0 in what they did not have."""
    if "time" not in one.dims:
        return one, two
    known = [_groups_of(ds) for ds in (one, two)]
    every = sorted({*known[0], *known[1]}, key=lambda group: (group[1:], group[0]))
    names = [name for name, *_ in every]
    if len(set(names)) < len(names):
        shared = next(name for name in names if names.count(name) > 1)
        raise ValueRangeError(
            f"merge: the group {shared!r} has other bounds in one mosaic than in the other; give the groups "
            "names of their own (time_bins as a mapping)"
        )
    bounds = np.array([group[1:] for group in every])
    made = []
    for ds, own in zip((one, two), known, strict=True):
        bare = ds.drop_vars(["time", "time_bnds", "group"], errors="ignore")
        rows = np.array([own.index(group) if group in own else -1 for group in every])
        spread = bare.drop_dims("time").assign(
            {name: _rows_of(array, rows) for name, array in bare.data_vars.items() if "time" in array.dims}
        )
        attrs = {name: ds[name].attrs for name in ("time", "time_bnds") if name in ds.variables}
        axes: dict[str, Any] = {
            "time": (("time",), bounds.mean(axis=1), attrs.get("time", {})),
            "time_bnds": (("time", "bnds"), bounds, attrs.get("time_bnds", {})),
        }
        if "group" in ds.variables:
            axes["group"] = (("time",), np.array(names, dtype=object), ds["group"].attrs)
        made.append(spread.assign_coords(axes))
    return made[0], made[1]


def _groups_of(ds: xr.Dataset) -> list[tuple[str, float, float]]:
    """Return name, start and stop of the groups of a mosaic."""
    if "time_bnds" not in ds.variables:
        raise ValueRangeError("merge: found times without time_bnds, which say what the groups are")
    bounds = ds["time_bnds"].values.tolist()
    names = ds["group"].values if "group" in ds.variables else [f"{low}-{high}" for low, high in bounds]
    return [(str(name), low, high) for name, (low, high) in zip(names, bounds, strict=True)]


def _rows_of(array: xr.DataArray, rows: np.ndarray) -> xr.DataArray:
    """Return an array at numbers of its times, 0 where the number is -1."""
    first = array.transpose("time", ...)
    with xr.set_options(keep_attrs=True):
        parts = [first.isel(time=[max(row, 0)]) * (row >= 0) for row in rows]
    return xr.concat(parts, "time").astype(array.dtype).transpose(*array.dims)


def _on_cells(ds: xr.Dataset, cells: np.ndarray) -> xr.Dataset:
    """Return sums on other cells, 0 where they had none."""
    own = ds["cell_ids"].values
    bare = ds.reset_coords(drop=True).assign_coords(cell=own)
    return bare.reindex(cell=cells, fill_value=0).drop_vars("cell")


def _common_attrs(one: Mapping[Any, Any], two: Mapping[Any, Any]) -> dict[str, Any]:
    attrs = {key: value for key, value in one.items() if key in two and np.array_equal(two[key], value)}
    for key, choose in (("tstart", min), ("tstop", max)):
        if key in one and key in two:
            attrs[key] = choose(one[key], two[key])
    return attrs


def _joined_images(one: xr.Dataset, two: xr.Dataset) -> dict[str, Any]:
    """Return the tables of images of both, in the order of their identities."""
    names = [str(name) for name in one.data_vars if "image" in one[name].dims and name in two]
    if "image_id" not in names:
        return {}
    order = np.argsort(np.concatenate([ds["image_id"].values.astype(str) for ds in (one, two)]))
    return {
        name: xr.Variable.concat([one[name].variable, two[name].variable], "image").isel(image=order)
        for name in names
    }
