"""Sky images: significance or flux on the tangent plane, with celestial coordinates, coding and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, PositionError, ValueRangeError
from batx.plots.canvas import figure_title, make_axes, quantity_label, simplify
from batx.plots.celestial import (
    NO_DATA,
    Box,
    SkyPlane,
    band_of,
    circle,
    colour_bar,
    draw_graticule,
    draw_sources,
    robust_limits,
    span_of,
    trigger_of,
    zoom_centre,
    zoom_radius,
)
from batx.sky_coords import has_sky, sky_to_tangent, tangent_to_sky

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_sky_image"]

_CHOICE = ("snr", "rate", "counts", "noise", "pcode", "background", "occultation")
_SIGNED = ("snr", "rate", "counts", "background")
_NAMES = {
    "snr": "Significance (sigma)",
    "rate": "Rate",
    "counts": "Counts",
    "noise": "Noise",
    "pcode": "Partial coding fraction",
    "background": "Background",
}
_LEVELS = (0.05, 0.15, 0.5, 0.9)
_MAX_PANELS = 12
_WIDTH = 7.2


def plot_sky_image(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    variable: str | None = None,
    catalog: xr.Dataset | None = None,
    center: Any = None,
    radius: Any = 5.0,
    coding: bool = True,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw sky images with lines of right ascension and declination: one panel for each time and energy.

    Parameters
    ----------
    ds
        Dataset of kind ``sky_image``; only what is shown is computed. An image without an attitude is shown
        in tangent-plane coordinates (IMX, IMY).
    ax
        `None` for a new figure, a Figure, or as many Axes as images.
    variable
        ``snr``, ``rate``, ``counts``, ``noise``, ``pcode`` or ``background``; by default the first there is.
    catalog
        Kind ``catalog``: sources to be marked by name, such as those of `batx.detect`, each in the image of
        its time where there are several.
    center
        Middle of a zoom: ``(ra, dec)`` in degrees, or a SkyCoord. All that has a value if not given.
    radius
        Half the width of the zoom, degrees or Quantity.
    coding
        Draw contours of the partial coding at 5, 15, 50 and 90 per cent.
    limits
        Ends of the colour scale; by default symmetric for significances (5 to 8 sigma to either side) and
        whatever else has both signs.
    cmap
        Name of a matplotlib colour map; by default ``RdBu_r`` for what has both signs, ``cividis`` otherwise.
    title
        Title; by default target and observation id. Bands and times are named in any case.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One Axes, or an array ``(time, energy)``.

    Raises
    ------
    MissingVariableError
        If the image lacks `variable`.
    EmptySelectionError
        If no pixel has a finite value.
    PositionError
        If `center` is not in the image.
    ValueRangeError
        If there are more than 12 images, or `radius` is out of range.
    AttitudeError
        If `center` or `catalog` are given for an image without an attitude.

    Notes
    -----
    Coordinates are those of `batx.sky_coords`.
    """
    name = variable or next((v for v in _CHOICE if v in ds), None)
    if name is None or name not in ds:
        raise MissingVariableError(
            f"variable: found {name!r}, expected one of {', '.join(map(str, ds.data_vars))}"
        )
    images = _images(ds[name])
    rows, columns = images.shape[:2]
    views = [_view(ds, row) for row in range(rows)]
    zoom = None if center is None else (*zoom_centre(center), zoom_radius(radius))
    boxes = [_crop(view, image, zoom) for view, image in zip(views, images, strict=True)]
    shown = [image[(..., *crop)] for image, (crop, _) in zip(images, boxes, strict=True)]
    values = np.concatenate([image[np.isfinite(image)] for image in shown])
    if not values.size:
        raise EmptySelectionError(f"{name}: found no finite value in {ds[name].size} pixels, nothing to draw")
    low, high = limits or robust_limits(values, name, peak=zoom is not None)
    shape = boxes[0][1]
    panels = make_axes(
        ax, rows, columns, size=_size(rows, columns, shape), hspace=0.06, sharex=False
    )  # each time may lie elsewhere on the sky
    colours = cmap or ("RdBu_r" if low < 0 and name in _SIGNED else "cividis")
    for (row, column), panel in np.ndenumerate(panels):
        crop, box = boxes[row]
        panel.set_facecolor(NO_DATA)
        drawn = panel.imshow(
            np.ma.masked_invalid(shown[row][column]),
            origin="lower",
            interpolation="nearest",
            cmap=colours,
            vmin=low,
            vmax=high,
            extent=box,
        )
        if coding and name != "pcode":
            _draw_coding(panel, views[row], crop)
        known = None if catalog is None else _at_time(catalog, ds, row)
        _draw_axes(panel, views[row], box, known, zoom, single=panels.size == 1)
        _title(panel, ds, (row, column), title)
    for panel in panels[:-1].flat:
        panel.set_xlabel("")
    for panel in panels[:, 1:].flat:
        panel.set_ylabel("")
    label = _NAMES[name] if name in ("snr", "pcode") else quantity_label(_NAMES.get(name, name), ds[name])
    colour_bar(panels, drawn, label, values, (low, high))
    return simplify(panels)


def _images(array: xr.DataArray) -> np.ndarray:
    """Return images (time, energy, imy, imx)."""
    outer = [dim for dim in array.dims if dim not in ("imy", "imx")]
    if not set(outer) <= {"time", "energy"} or not {"imy", "imx"} <= set(array.dims):
        raise ValueRangeError(
            f"{array.name}: found dimensions {dict(array.sizes)}, expected [time,] [energy,] imy, imx"
        )
    sizes = [array.sizes.get(dim, 1) for dim in ("time", "energy")]
    if not 0 < sizes[0] * sizes[1] <= _MAX_PANELS:
        raise ValueRangeError(
            f"found {sizes[0]} times and {sizes[1]} bands, expected 1 to {_MAX_PANELS} in one picture; "
            "select some first, for example ds.isel(time=0).bat.plot()"
        )
    ordered = array.transpose("time", "energy", "imy", "imx", missing_dims="ignore")
    return np.asarray(ordered.values, dtype=np.float32).reshape(*sizes, *ordered.shape[-2:])


def _at_time(catalog: xr.Dataset, ds: xr.Dataset, row: int) -> xr.Dataset:
    """Return the sources of one of several images, where the catalogue says of which image each source is."""
    if "time" not in ds.dims or "time" not in catalog.variables or catalog["time"].dims != ("source",):
        return catalog
    of_images = np.isin(catalog["time"].values, ds["time"].values)
    here = catalog["time"].values == ds["time"].values[row]
    return catalog.isel(source=here | ~of_images)


def _view(ds: xr.Dataset, row: int) -> xr.Dataset:
    """Return what belongs to the images of one time: coordinates, coding."""
    one = ds.isel(time=row) if "time" in ds.dims else ds
    bare = one.drop_vars([name for name in one.data_vars if name != "pcode"])
    # files with one map of coding for one band have it along energy
    return bare.isel(energy=0) if "pcode" in bare and "energy" in bare["pcode"].dims else bare


def _crop(
    view: xr.Dataset, images: np.ndarray, zoom: tuple[float, float, float] | None
) -> tuple[tuple[slice, slice], Box]:
    """Return the rows and columns to show, and the box on the tangent plane that they fill."""
    x, y = view["imx"].values, view["imy"].values
    if zoom is None:
        finite = np.isfinite(images).any(axis=0)
        columns, rows = finite.any(axis=0), finite.any(axis=1)
    else:
        ra, dec, radius = zoom
        imx, imy, front = sky_to_tangent(view, *circle(ra, dec, radius))
        inside = front.all()
        columns = inside & (x >= imx.min()) & (x <= imx.max())
        rows = inside & (y >= imy.min()) & (y <= imy.max())
        if not (columns.any() and rows.any()):
            raise PositionError(
                f"center: found ra={ra:.6g} dec={dec:.6g}, which is not in the image; "
                "expected a position in the field of view"
            )
    crop = _stretch(rows), _stretch(columns)
    return crop, (*_edges(x, crop[1]), *_edges(y, crop[0]))


def _stretch(chosen: np.ndarray) -> slice:
    """Return the range from the first to the last that is true, or all."""
    where = np.flatnonzero(chosen)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, len(chosen))


def _edges(centres: np.ndarray, part: slice) -> tuple[float, float]:
    step = (centres[-1] - centres[0]) / max(len(centres) - 1, 1)
    shown = centres[part]
    return float(shown[0] - 0.5 * step), float(shown[-1] + 0.5 * step)


def _draw_coding(panel: Axes, view: xr.Dataset, crop: tuple[slice, slice]) -> None:
    if "pcode" not in view:
        return
    from matplotlib.patheffects import withStroke
    from scipy.ndimage import uniform_filter

    pcode = np.nan_to_num(view["pcode"].transpose("imy", "imx")[crop].values)
    stride = max(1, max(pcode.shape) // 250)
    pcode = uniform_filter(pcode, 2 * stride + 1)[::stride, ::stride]
    x, y = view["imx"].values[crop[1]][::stride], view["imy"].values[crop[0]][::stride]
    levels = [level for level in _LEVELS if pcode.min() < level < pcode.max()]
    if not levels or min(pcode.shape) < 2:
        return
    drawn = panel.contour(
        x, y, pcode, levels, colors="#202020", linewidths=0.8, linestyles="dashed", zorder=3
    )
    for label in panel.clabel(drawn, fmt=lambda level: f"{100 * level:.0f} %", fontsize=7.5, inline=False):
        fraction = (label.get_position()[1] - y[0]) / (y[-1] - y[0])
        label.set(
            visible=0.03 < fraction < 0.97, path_effects=[withStroke(linewidth=2.0, foreground="white")]
        )


def _draw_axes(
    panel: Axes,
    view: xr.Dataset,
    box: Box,
    catalog: xr.Dataset | None,
    zoom: tuple[float, float, float] | None,
    single: bool,
) -> None:
    if not has_sky(view):
        panel.set_xlabel("IMX")
        panel.set_ylabel("IMY")
        if catalog is None:
            return
    plane = _plane(view)
    draw_graticule(panel, plane, box, apart=0.06 if single else 0.09)
    if catalog is not None:
        draw_sources(panel, plane, catalog, box, errors=zoom is not None)


def _plane(view: xr.Dataset) -> SkyPlane:
    def to_plane(lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        imx, imy, front = sky_to_tangent(view, lon, lat)
        return np.where(front, imx, np.nan), np.where(front, imy, np.nan)

    def to_sky(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        return tangent_to_sky(view, x, y)

    return SkyPlane(to_plane, to_sky)


def _size(rows: int, columns: int, box: Box) -> tuple[float, float]:
    width = _WIDTH if columns == 1 else min(4.2 * columns + 1.0, 14.0)
    ratio = abs(box[3] - box[2]) / abs(box[1] - box[0])
    return width, 0.8 + rows * (0.4 + ratio * (width - 1.8) / columns)


def _title(panel: Axes, ds: xr.Dataset, place: tuple[int, ...], title: str | None) -> None:
    own = ", ".join(part for part in (band_of(ds, place[1]), span_of(ds, place[0])) if part)
    heads = [figure_title(ds), trigger_of(ds)] if title is None else [title]
    shown = heads if place == (0, 0) else []
    panel.set_title("\n".join(filter(None, [*shown, own])), loc="left", fontsize=9.5)
