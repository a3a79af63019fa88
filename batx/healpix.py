"""One sky image on HEALPix cells, as sums that add up over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.provenance import united, with_calibration
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.sky_grids import HealpixGrid, cells_in_view
from batx.sky_views import Sampling, SkyView, Sums, add_image, sky_views

__all__ = ["band_variables", "label_cells", "map_attrs", "sampling_of", "to_healpix"]


def to_healpix(
    img: xr.Dataset,
    nside: int,
    frame: str = "icrs",
    *,
    order: str = "nested",
    pcode_min: float | None = 0.15,
    weights: str = "after",
    off_axis: Any = None,
    energy_sum: bool = False,
) -> xr.Dataset:
    """Return a sky image as sums on the HEALPix cells that it shows.

    Flux, noise and coding are sampled bilinearly at the centre of each cell. The sums are those of
    `batx.mosaic`, so that results of several images add up with `batx.merge`; `batx.finalize` makes flux,
    error and significance of them. A cell takes part in a band if every pixel that it is interpolated from
    has finite flux, positive finite noise and a coding above `pcode_min`; other pixels count nowhere.

    Parameters
    ----------
    img
        Kind ``sky_image`` with `rate` (or `counts`), `noise`, `exposure` and, unless `pcode_min` is `None`,
        `pcode`. If it has times, each is sampled on its own.
    nside
        Resolution; a power of two for nested cells.
    frame
        ``"icrs"`` or ``"galactic"``: frame of the cells.
    order
        ``"nested"`` or ``"ring"``: numbering of the cells.
    pcode_min
        Pixels count if their partial coding is larger; `None` for images without coding.
    weights
        ``"after"``: interpolate flux and noise, then form 1/σ²; ``"before"``: form 1/σ² and f/σ² in each
        pixel, 0 where it is not usable, and interpolate these.
    off_axis
        Off-axis correction that flux and noise are divided by: kind ``image`` or an array, a plane for each
        band, of the pixels of the image or averaged over blocks of them.
    energy_sum
        Add a band more, the sum of all: flux Σf, noise √Σσ².

    Returns
    -------
    xarray.Dataset
        Kind ``mosaic`` with ``cell_ids(cell)`` and ``sum_w``, ``sum_wf([time,] [energy,] cell)``,
        ``exposure``, ``pcode_exposure``, ``n_images([time,] cell)``; lazy if `img` is (dask).
        ``attrs["frame"]`` and ``attrs["nside"]`` say what the cells are, the coordinate `healpix` holds the
        grid mapping of CF-1.13.

    Raises
    ------
    KindError, MissingVariableError, AttitudeError
        If `img` is no sky image, lacks a variable, or does not say where on the sky it lies.
    ValueRangeError
        If an option is not as described, or `nside` is no power of two for nested cells.
    EmptySelectionError
        If no pixel is usable (of an image that is not lazy).

    Notes
    -----
    Source: algorithms 2.8.

    Examples
    --------
    >>> from batx.schema import build
    >>> from batx.sky_coords import image_cards
    >>> img = build("sky_image", {
    ...     "imx": np.linspace(-0.2, 0.2, 41), "imy": np.linspace(-0.1, 0.1, 21),
    ...     "rate": np.full((21, 41), 3.0), "noise": ("imy imx".split(), np.full((21, 41), 0.5)),
    ...     "pcode": np.ones((21, 41)), "exposure": 10.0,
    ...     "wcs": ((), image_cards((21.0, 11.0), (0.01, 0.01), (150.0, 30.0, 0.0)))})
    >>> cells = to_healpix(img, 64)
    >>> sorted(set(cells.sum_w.values.round(9).tolist())), float(cells.exposure.max())
    ([4.0], 10.0)
    """
    grid = HealpixGrid(nside, order, frame)
    views = sky_views([(img, None)], "to_healpix", pcode_min)
    sampling = sampling_of(views[0], pcode_min, weights, off_axis, energy_sum)
    homographies = np.stack([view.in_frame(frame) for view in views])
    sizes = np.array([view.size for view in views])
    cells = np.asarray(cells_in_view(grid, 0, grid.size, homographies, sizes)[0])
    bands = views[0].bands + energy_sum
    if img.chunks:
        sums = [_lazy_sums(view, grid, cells, sampling, bands) for view in views]
    else:
        sums = [_sums(view, view.image, grid, cells, sampling, bands) for view in views]
        if not any(one.n_images.any() for one in sums):
            raise EmptySelectionError(
                f"to_healpix: none of {len(cells)} cells in view has data; expected pixels with finite flux, "
                f"positive noise and partial coding above {pcode_min}"
            )
    stacked = "time" in img.dims
    times = {name: img[name].variable for name in ("time", "time_bnds") if name in img.variables}
    maps = [_stacked([one[field] for one in sums], stacked) for field in range(len(Sums._fields))]
    return label_cells(grid, cells, maps, views, img, energy_sum, times, time_dim=stacked)


def _sums(
    view: SkyView,
    image: xr.Dataset,
    grid: HealpixGrid,
    cells: np.ndarray,
    sampling: Sampling,
    bands: int,
) -> Sums:
    sums = Sums.zeros(bands, len(cells))
    add_image(sums, view.with_values(image), grid.vectors(cells), grid.frame, sampling)
    return sums


def _lazy_sums(view: SkyView, grid: HealpixGrid, cells: np.ndarray, sampling: Sampling, bands: int) -> Sums:
    import dask.array as da
    from dask import delayed

    made = delayed(_sums, pure=False)(view.bare(), view.image, grid, cells, sampling, bands)
    like = Sums.zeros(bands, 0)
    return Sums(
        *(
            da.from_delayed(made[field], (*array.shape[:-1], len(cells)), array.dtype)
            for field, array in enumerate(like)
        )
    )


def _stacked(arrays: Sequence[Any], stacked: bool) -> Any:
    if not stacked:
        return arrays[0]
    if isinstance(arrays[0], np.ndarray):
        return np.stack(arrays)
    import dask.array as da

    return da.stack(arrays)


def sampling_of(
    view: SkyView, pcode_min: float | None, weights: str, off_axis: Any, energy_sum: bool
) -> Sampling:
    """Return checked options for images like `view`."""
    if weights not in ("after", "before"):
        raise ValueRangeError(f"weights: found {weights!r}, expected 'after' or 'before'")
    if pcode_min is not None and not 0 <= pcode_min < 1:
        raise ValueRangeError(f"pcode_min: found {pcode_min!r}, expected 0 to 1, or None")
    factor = None if off_axis is None else _off_axis(off_axis, view)
    return Sampling(pcode_min, weights == "before", factor, energy_sum)


def _off_axis(off_axis: Any, view: SkyView) -> np.ndarray:
    """Return the off-axis correction (band, ny, nx), spread from blocks of pixels where it is coarser."""
    if isinstance(off_axis, xr.Dataset):
        if "image" not in off_axis:
            raise KindError("off_axis: found a Dataset without 'image', expected kind 'image' or an array")
        off_axis = off_axis["image"]
    values = np.asarray(off_axis, dtype=np.float32)
    values = values[np.newaxis] if values.ndim == 2 else values
    nx, ny = view.size
    if values.ndim != 3 or len(values) != view.bands:
        raise ValueRangeError(
            f"off_axis: found an array of shape {values.shape}, expected {view.bands} plane(s), one a band"
        )
    if values.shape[1:] == (ny, nx):
        return values
    block = nx // values.shape[2] if values.shape[2] else 0
    if block < 2 or (ny // block, nx // block) != values.shape[1:]:
        raise ValueRangeError(
            f"off_axis: found planes of {values.shape[1:]}, expected those of the images, {(ny, nx)}, or "
            "means over square blocks of these"
        )
    return _spread(values, block, ny, nx)


def _spread(values: np.ndarray, block: int, ny: int, nx: int) -> np.ndarray:
    """Return block means as pixels, linear between the centres of the blocks."""
    rows, columns = (
        np.clip((np.arange(size) + 0.5) / block - 0.5, 0, count - 1)
        for size, count in zip((ny, nx), values.shape[1:], strict=True)
    )
    for axis, place in ((1, rows), (2, columns)):
        low = np.minimum(place.astype(np.intp), values.shape[axis] - 2)
        fraction = (place - low).astype(np.float32)
        fraction = fraction[:, np.newaxis] if axis == 1 else fraction
        first, second = (np.take(values, low + step, axis=axis) for step in (0, 1))
        values = first + (second - first) * fraction
    return values


def label_cells(
    grid: HealpixGrid,
    cells: np.ndarray,
    maps: Sequence[Any],
    views: Sequence[SkyView],
    template: xr.Dataset,
    energy_sum: bool,
    extra: Mapping[str, Any],
    time_dim: bool,
) -> xr.Dataset:
    """Return sums on HEALPix cells as kind ``mosaic``.

    Parameters
    ----------
    maps
        In the order of `Sums`, each with an axis for time in front if `time_dim`.
    views
        All images, which the result names.
    template
        A sky image that has the bands and the mission attributes of all.
    extra
        Further variables.
    """
    variables = {
        **band_variables(maps, views, template, energy_sum, time_dim, ("cell",)),
        "cell_ids": (("cell",), np.asarray(cells, np.int64), {"standard_name": "healpix_index"}),
        "healpix": ((), np.int8(0), grid.mapping()),
        **extra,
    }
    for name in Sums._fields:
        variables[name][2]["grid_mapping"] = "healpix"
    attrs = map_attrs(template, views) | {"frame": grid.frame, "nside": int(grid.nside)}
    return build("mosaic", variables, attrs)


def band_variables(
    maps: Sequence[Any],
    views: Sequence[SkyView],
    template: xr.Dataset,
    energy_sum: bool,
    time_dim: bool,
    space: tuple[str, ...],
) -> dict[str, Any]:
    """Return sums with their dimensions and units, the bands, and the images that were added up."""
    time = ("time",) if time_dim else ()
    banded = energy_sum or "energy" in template.dims
    unit = str(template["rate"].attrs.get("units", "count/s")) if "rate" in template else "count/s"
    units = (*_inverse(unit), "s", "s", "1")
    variables: dict[str, Any] = {}
    for name, array, units_of in zip(Sums._fields, maps, units, strict=True):
        summed = name in ("sum_w", "sum_wf")
        if summed and not banded:
            array = array[:, 0] if time_dim else array[0]
        dims = (*time, *(("energy",) if summed and banded else ()), *space)
        variables[name] = (dims, array, {"units": units_of})
    variables |= _energies(template, energy_sum)
    variables["image_id"] = (("image",), np.array([view.identity for view in views], dtype=object))
    described = {"exposure": "s", "start": "s", "stop": "s"}
    for name, units_of in described.items():
        values = np.array([getattr(view, name) for view in views])
        variables[f"image_{name}"] = (("image",), values, {"units": units_of})
    projections = np.array([view.homography for view in views]).reshape(-1, 3, 3)
    variables["image_projection"] = (("image", "pixel", "icrs"), projections, {"units": "1"})
    variables["sum_w"][2]["flux_units"] = unit
    return variables


def _inverse(unit: str) -> tuple[str, str]:
    """Return the units of 1/σ² and f/σ²."""
    return ("s**2/count**2", "s/count") if unit == "count/s" else (f"({unit})**-2", f"({unit})**-1")


def _energies(template: xr.Dataset, energy_sum: bool) -> dict[str, Any]:
    names = [name for name in ("energy", "energy_bnds") if name in template.variables]
    if not energy_sum:
        return {name: template[name].variable for name in names}
    if "energy_bnds" not in template.variables:
        raise ValueRangeError("energy_sum: the image has no energy_bnds, so its bands cannot be named")
    bounds = np.asarray(template["energy_bnds"].values, np.float64).reshape(-1, 2)
    bounds = np.vstack([bounds, [bounds.min(), bounds.max()]])
    return {"energy": (("energy",), bounds.mean(axis=1)), "energy_bnds": (("energy", "bnds"), bounds)}


def map_attrs(template: xr.Dataset, views: Sequence[SkyView]) -> dict[str, Any]:
    """Return the attributes of a map: those of the mission, and the times of the images."""
    attrs = kept_attrs(template.attrs, *ORIGIN)
    starts, stops = (np.array([getattr(view, name) for view in views]) for name in ("start", "stop"))
    if np.isfinite(starts).any() and np.isfinite(stops).any():
        attrs |= {"tstart": float(np.nanmin(starts)), "tstop": float(np.nanmax(stops))}
    return with_calibration(attrs, united(view.image.attrs for view in views))
