"""Images on a plane: the coded mask, and FITS images that have no kind of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.plots.canvas import figure_title, make_axes, quantity_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_aperture", "plot_image"]


def plot_aperture(ds: xr.Dataset, ax: Any = None, *, title: str | None = None) -> Axes:
    """Draw the coded mask: open cells dark, closed cells light, nothing outside.

    Parameters
    ----------
    ds
        Dataset of kind ``aperture``.
    ax
        Axes or Figure to draw in; a new figure if `None`.
    title
        Title; by default the fraction of open cells.
    """
    mask = ds["mask"].transpose("mask_y", "mask_x").values
    inside = mask != 0
    panel = make_axes(ax, 1, size=(7.2, 4.2))[0, 0]
    x, y = ds["mask_x_bnds"].values, ds["mask_y_bnds"].values
    panel.imshow(
        np.ma.masked_array(mask > 0, ~inside),
        cmap="cividis_r",
        origin="lower",
        interpolation="nearest",
        extent=(x[0, 0], x[-1, 1], y[0, 0], y[-1, 1]),
    )
    panel.set_xlabel("BAT X (cm)")
    panel.set_ylabel("BAT Y (cm)")
    text = f"Coded mask, {100.0 * (mask > 0).sum() / max(inside.sum(), 1):.1f} % open"
    panel.set_title(text if title is None else title, loc="left", fontsize=10)
    return panel


def plot_image(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    variable: str = "image",
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a FITS image that has no kind of its own, in pixels.

    Parameters
    ----------
    ds
        Dataset of kind ``image``.
    ax
        Axes or Figure to draw in; a new figure if `None`.
    variable
        Name of the variable to draw.
    limits
        Ends of the colour scale; by default the 0.5 and 99.9 percentiles.
    cmap
        Name of a matplotlib colour map.
    title
        Title; by default target and observation id.
    """
    if variable not in ds:
        raise MissingVariableError(
            f"variable: found {variable!r}, expected one of {sorted(map(str, ds.data_vars))}"
        )
    return _plane(
        ds, variable, ("y", "x"), ("X (pixel)", "Y (pixel)"), ax, limits=limits, cmap=cmap, title=title
    )


def _plane(
    ds: xr.Dataset,
    name: str,
    dims: tuple[str, str],
    labels: tuple[str, str],
    ax: Any,
    *,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes:
    array = ds[name].squeeze()
    if set(array.dims) != set(dims):
        outer = [str(dim) for dim in array.dims if dim not in dims]
        raise ValueRangeError(
            f"{name}: found dimensions {dict(array.sizes)}, expected one image {dims}; "
            f"select one first, for example ds.isel({outer[0] if outer else 'time'}=0).bat.plot()"
        )
    image = np.ma.masked_invalid(array.transpose(*dims).values.astype(float))
    if not image.count():
        raise EmptySelectionError(f"{name}: found no finite value in {image.shape} pixels, nothing to draw")
    low, high = limits or np.percentile(image.compressed(), [0.5, 99.9])
    panel = make_axes(ax, 1, size=(7.2, 4.6))[0, 0]
    drawn = panel.imshow(
        image,
        origin="lower",
        interpolation="nearest",
        cmap=cmap or "viridis",
        vmin=low,
        vmax=high if high > low else low + 1.0,
        extent=_extent(ds, dims, image.shape),
    )
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    panel.set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    panel.figure.colorbar(drawn, ax=panel, label=quantity_label(name, ds[name]), shrink=0.9, pad=0.015)
    return panel


def _extent(
    ds: xr.Dataset, dims: tuple[str, str], shape: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """Return the outer edges of the image; a pixel reaches half a step to either side of its centre."""
    ends: list[float] = []
    for dim, size in ((dims[1], shape[1]), (dims[0], shape[0])):
        centre = ds[dim].values if dim in ds.coords else np.arange(size, dtype=float)
        half = 0.5 * (centre[-1] - centre[0]) / (size - 1) if size > 1 else 0.5
        ends += [float(centre[0] - half), float(centre[-1] + half)]
    return ends[0], ends[1], ends[2], ends[3]
