"""Mosaics: the whole sky (Mollweide), a part of it on its tangent plane, or FITS images as they are.

Formulae of the projections: Snyder, Map Projections: A Working Manual, USGS Professional Paper 1395 (1987),
gnomonic p. 164 and Mollweide p. 249. East is to the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.instrument.sky import radec_to_vector, vector_to_radec
from batx.plots.canvas import LABEL_SIZE, figure_title, make_axes, quantity_label, simplify
from batx.plots.celestial import (
    NO_DATA,
    Box,
    SkyPlane,
    band_of,
    colour_bar,
    draw_graticule,
    draw_sources,
    robust_limits,
    span_of,
    trigger_of,
    zoom_centre,
    zoom_radius,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_mosaic", "plot_mosaic_image"]

_NAMES = {
    "snr": "Significance (sigma)",
    "flux": "Flux",
    "flux_err": "1-sigma error of flux",
    "exposure": "Exposure",
    "pcode_exposure": "Exposure weighted by coding",
    "n_images": "Number of images",
    "probability": "Probability per cell",
    "sum_w": "Sum of weights",
    "sum_wf": "Sum of weighted fluxes",
}
_DIVIDED = ("flux", "flux_err", "snr")
_SIGNED = ("snr", "flux", "sum_wf")
_OF_ALL_BANDS = ("exposure", "pcode_exposure", "n_images", "probability")
_MAX_PANELS = 12
_EMPTY_AT_ZERO = ("exposure", "pcode_exposure", "n_images")
#: pixels across the whole sky, samples of each in both directions, and pixels across a zoom
_ACROSS, _SAMPLES, _ZOOM = 1440, 3, 500
_MOLLWEIDE: Box = (-2.0, 2.0, -1.0, 1.0)
_OPEN_EDGE = 1e-9


def plot_mosaic(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    variable: str | None = None,
    catalog: xr.Dataset | None = None,
    center: Any = None,
    radius: Any = None,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw HEALPix maps: the whole sky (Mollweide), or a part of it on its tangent plane.

    Parameters
    ----------
    ds
        Dataset of kind ``mosaic``; only what is shown is computed. Sums are divided (`batx.finalize`) if
        need be. Memory goes with the cells that the map has and with the pixels of the picture.
    ax
        `None` for a new figure, a Figure, or as many Axes as maps: one for each time and energy.
    variable
        ``snr`` (default), ``flux``, ``flux_err``, ``exposure``, ``pcode_exposure``, ``n_images`` or
        ``probability``.
    catalog
        Kind ``catalog``: sources or candidates to be marked by name.
    center
        ``(ra, dec)`` in degrees, or a SkyCoord: the meridian in the middle of the whole sky (by default the
        longitude 180° of the equator, 0° of the galaxy), or the middle of the part shown.
    radius
        Half the width of the part shown, degrees or Quantity; the whole sky if not given.
    limits, cmap, title
        As for `batx.plots.sky_image.plot_sky_image`.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One Axes, or an array ``(time, energy)``. In the whole sky each pixel has the value farthest from
        zero of nine places in it, so that point sources do not fall between pixels; in a part of it, that of
        the cell at its centre.

    Raises
    ------
    MissingVariableError
        If the map lacks `variable`.
    EmptySelectionError
        If there is no finite value to be shown.
    ValueRangeError
        If there are more than 12 maps, or `radius` is given without `center` or out of range.
    """
    name, array = _values(ds, variable, ("cell",))
    frame = str(ds.attrs.get("frame", "icrs"))
    if radius is not None and center is None:
        raise ValueRangeError("radius: found a radius without a centre, expected center=(ra, dec) too")
    lookup = _Lookup(ds)
    if radius is None:
        middle = 180.0 if frame == "icrs" else 0.0
        if center is not None:
            middle = float(_in_frame(center, frame)[0])
        plane, box = _mollweide(middle, frame), _MOLLWEIDE
        images = lookup.farthest(array, plane, box)
    else:
        reach = float(np.rad2deg(np.tan(np.deg2rad(zoom_radius(radius)))))
        plane, box = _gnomonic(*_in_frame(center, frame), frame), (reach, -reach, -reach, reach)
        images = lookup.nearest(array, plane, box, (_ZOOM, _ZOOM))
    whole = radius is None
    size = (7.2, 4.0) if whole else (6.2, 5.4)
    picture = _Picture(ds, name, array, images, limits or _limits(images, name, peak=not whole))
    panels = picture.draw(ax, box, size, cmap, title)
    for panel in panels.flat:
        if whole:
            _draw_globe(panel, plane)
        else:
            draw_graticule(panel, plane, box)
        if catalog is not None:
            draw_sources(panel, plane, catalog, box, errors=not whole)
    return picture.finish(panels)


def plot_mosaic_image(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    variable: str | None = None,
    catalog: xr.Dataset | None = None,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw mosaics on the pixels of a FITS image, with lines of longitude and latitude.

    Parameters
    ----------
    ds
        Dataset of kind ``mosaic_image``; of several facets, select one first.
    ax, variable, catalog, limits, cmap, title
        As for `plot_mosaic`.

    Raises
    ------
    ValueRangeError
        If there are several facets or more than 12 images.
    MissingVariableError, EmptySelectionError
        As for `plot_mosaic`.
    """
    if ds.sizes.get("facet", 1) != 1:
        raise ValueRangeError(f"found {ds.sizes['facet']} facets, expected one: ds.isel(facet=0).bat.plot()")
    ds = ds.squeeze("facet") if "facet" in ds.dims else ds
    name, array = _values(ds, variable, ("y", "x"))
    images = np.asarray(array.values, dtype=float)
    height, width = images.shape[-2:]
    plane = _fits_plane(str(ds["wcs"].values))
    box = (-0.5, width - 0.5, -0.5, height - 0.5)
    size = (7.2, 1.0 + 5.4 * height / width)
    picture = _Picture(ds, name, array, images, limits or _limits(images, name))
    panels = picture.draw(ax, box, size, cmap, title)
    for panel in panels.flat:
        draw_graticule(panel, plane, box)
        if catalog is not None:
            draw_sources(panel, plane, catalog, box)
    return picture.finish(panels)


# --- values --------------------------------------------------------------------------------------------


def _values(ds: xr.Dataset, variable: str | None, space: tuple[str, ...]) -> tuple[str, xr.DataArray]:
    """Return the name of a variable and its values (time, energy, *space), lazy as they are."""
    name = variable or ("snr" if {"snr", "sum_w"} & set(ds.data_vars) else "probability")
    if name in _DIVIDED and name not in ds and {"sum_w", "sum_wf"} <= set(ds.data_vars):
        from batx.mosaic_sums import finalize

        ds = finalize(ds)
    if name not in ds:
        raise MissingVariableError(
            f"variable: found {name!r}, expected one of {', '.join(map(str, ds.data_vars))}"
        )
    array = ds[name]
    for dim in ("energy", "time"):
        if dim not in array.dims:
            array = array.expand_dims(dim)
    count = array.sizes["time"] * array.sizes["energy"]
    if not 0 < count <= _MAX_PANELS:
        raise ValueRangeError(
            f"found {count} maps, expected 1 to {_MAX_PANELS} in one picture; select some first, for example "
            "ds.isel(time=0).bat.plot()"
        )
    if name in _EMPTY_AT_ZERO:
        array = array.where(array > 0)
    return name, array.transpose("time", "energy", *space)


class _Lookup:
    """Values of cells by position; cells that a map does not have are NaN."""

    def __init__(self, ds: xr.Dataset) -> None:
        self.nside = int(ds.attrs["nside"]) if "nside" in ds.attrs else _nside(ds)
        self.nest = ds["healpix"].attrs.get("indexing_scheme", "nested") == "nested"
        cells = ds["cell_ids"].values
        self.order = np.argsort(cells, kind="stable")
        self.cells = cells[self.order]

    def nearest(self, array: xr.DataArray, plane: SkyPlane, box: Box, shape: tuple[int, int]) -> np.ndarray:
        """Return values (time, energy, *shape) at the centres of the pixels of a box."""
        return self._take(array.values, self._index(plane, *_centres(box, shape)))

    def farthest(self, array: xr.DataArray, plane: SkyPlane, box: Box) -> np.ndarray:
        """Return the values farthest from zero of several places in each pixel of the whole sky."""
        shape = (_ACROSS // 2, _ACROSS)
        x, y = _centres(box, shape)
        values = array.values
        step = (box[1] - box[0]) / (_ACROSS * _SAMPLES)
        shifts = step * (np.arange(_SAMPLES) - 0.5 * (_SAMPLES - 1))
        best = self._take(values, self._index(plane, x, y))
        for shift_x in shifts:
            for shift_y in shifts:
                other = self._take(values, self._index(plane, x + shift_x, y + shift_y))
                with np.errstate(invalid="ignore"):
                    better = (np.abs(other) > np.abs(best)) | (np.isnan(best) & ~np.isnan(other))
                best[better] = other[better]
        return best

    def _index(self, plane: SkyPlane, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the place of the cell in the map, -1 where it has none."""
        import healpy

        lon, lat = plane.to_sky(x, y)
        sky = np.isfinite(lon)
        index = np.full(lon.shape, -1, dtype=np.int64)
        if not len(self.cells):
            return index
        cell = healpy.ang2pix(self.nside, lon[sky], lat[sky], nest=self.nest, lonlat=True)
        place = np.minimum(np.searchsorted(self.cells, cell), len(self.cells) - 1)
        index[sky] = np.where(self.cells[place] == cell, self.order[place], -1)
        return index

    @staticmethod
    def _take(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        taken = np.full((*values.shape[:-1], *index.shape), np.nan, dtype=np.float32)
        taken[..., index >= 0] = values[..., index[index >= 0]]
        return taken


def _nside(ds: xr.Dataset) -> int:
    level = ds["healpix"].attrs.get("refinement_level")
    if level is None:
        raise MissingVariableError("mosaic: found neither attribute nside nor refinement_level of healpix")
    return 2 ** int(level)


def _centres(box: Box, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the centres of pixels that fill a box."""
    rows, columns = shape
    x = box[0] + (np.arange(columns) + 0.5) * (box[1] - box[0]) / columns
    y = box[2] + (np.arange(rows) + 0.5) * (box[3] - box[2]) / rows
    return np.meshgrid(x, y)


# --- projections ---------------------------------------------------------------------------------------


def _in_frame(center: Any, frame: str) -> tuple[float, float]:
    lon, lat = SkyPlane(_nowhere, _nowhere, frame).frame_of_icrs(*zoom_centre(center))
    return float(lon), float(lat)


def _nowhere(one: Any, two: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(one, float), np.asarray(two, float)


def _mollweide(middle: float, frame: str) -> SkyPlane:
    """Return the projection of the whole sky on an ellipse, x from -2 to 2 and y from -1 to 1."""

    def to_plane(lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
        goal = np.pi * np.sin(np.deg2rad(lat))
        theta = np.deg2rad(lat)
        for _ in range(30):
            slope = np.maximum(2.0 + 2.0 * np.cos(2.0 * theta), 1e-9)
            theta = np.clip(theta - (2.0 * theta + np.sin(2.0 * theta) - goal) / slope, -np.pi / 2, np.pi / 2)
        offset = (lon - middle + 180.0) % 360.0 - 180.0
        return -offset / 90.0 * np.cos(theta), np.sin(theta)

    def to_sky(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        inside = 0.25 * x**2 + y**2 <= 1.0 - _OPEN_EDGE
        theta = np.arcsin(np.where(inside, y, 0.0))
        lat = np.rad2deg(np.arcsin((2.0 * theta + np.sin(2.0 * theta)) / np.pi))
        lon = (middle - 90.0 * np.where(inside, x, 0.0) / np.cos(theta)) % 360.0
        return np.where(inside, lon, np.nan), np.where(inside, lat, np.nan)

    return SkyPlane(to_plane, to_sky, frame)


def _gnomonic(lon0: float, lat0: float, frame: str) -> SkyPlane:
    """Return the projection on the tangent plane at a position; x (east) and y (north) in degrees."""
    axis = radec_to_vector(lon0, lat0)
    east = radec_to_vector(lon0 + 90.0, 0.0)
    north = np.cross(axis, east)

    def to_plane(lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        vector = radec_to_vector(lon, lat)
        depth = vector @ axis
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = np.rad2deg(vector @ east / depth), np.rad2deg(vector @ north / depth)
        return np.where(depth > 0, x, np.nan), np.where(depth > 0, y, np.nan)

    def to_sky(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.broadcast_arrays(np.deg2rad(x), np.deg2rad(y))
        return vector_to_radec(axis + x[..., None] * east + y[..., None] * north)

    return SkyPlane(to_plane, to_sky, frame)


def _fits_plane(cards: str) -> SkyPlane:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    from batx.sky_grids import WcsGrid

    header = Header.fromstring(cards, sep="\n" if "\n" in cards else "")
    wcs = WCS(header)

    def to_plane(lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
        x, y = wcs.celestial.wcs_world2pix(lon.ravel(), lat.ravel(), 0)
        return x.reshape(lon.shape), y.reshape(lon.shape)

    def to_sky(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        lon, lat = wcs.celestial.wcs_pix2world(x.ravel(), y.ravel(), 0)
        return lon.reshape(x.shape), lat.reshape(x.shape)

    return SkyPlane(to_plane, to_sky, WcsGrid.of(wcs, (1, 1)).frame)


# --- drawing -------------------------------------------------------------------------------------------


def _limits(images: np.ndarray, name: str, peak: bool = False) -> tuple[float, float]:
    values = images[np.isfinite(images)]
    if not values.size:
        raise EmptySelectionError(f"{name}: found no finite value in this part of the sky, nothing to draw")
    return robust_limits(values, name, peak)


@dataclass
class _Picture:
    """Images (time, energy, row, column) of a variable, on one scale of colours."""

    ds: xr.Dataset
    name: str
    array: xr.DataArray
    images: np.ndarray
    limits: tuple[float, float]

    def draw(
        self, ax: Any, box: Box, size: tuple[float, float], cmap: str | None, title: str | None
    ) -> np.ndarray:
        """Draw a panel for each image."""
        rows, columns = self.images.shape[:2]
        width = size[0] if columns == 1 else min(0.7 * size[0] * columns + 1.0, 14.0)
        height = 0.4 + rows * (size[1] - 0.4) * (width - 1.0) / (columns * (size[0] - 1.0))
        panels = make_axes(ax, rows, columns, size=(width, height), hspace=0.06, sharex=False)
        signed = self.limits[0] < 0 and self.name in _SIGNED
        for place, panel in np.ndenumerate(panels):
            panel.set_facecolor(NO_DATA)
            panel.imshow(
                np.ma.masked_invalid(self.images[place]),
                origin="lower",
                interpolation="nearest",
                cmap=cmap or ("RdBu_r" if signed else "cividis"),
                vmin=self.limits[0],
                vmax=self.limits[1],
                extent=box,
            )
            panel.set_title(self._title(place, title), loc="left", fontsize=9.5)
        return panels

    def finish(self, panels: np.ndarray) -> Axes | np.ndarray:
        """Draw the colour bar, and return the panels in the form for the user."""
        label = _NAMES.get(self.name, self.name)
        if self.name != "snr":
            label = quantity_label(label, self.array, each="cell")
        values = self.images[np.isfinite(self.images)]
        colour_bar(panels, panels.flat[-1].images[0], label, values, self.limits)
        return simplify(panels)

    def _title(self, place: tuple[int, ...], title: str | None) -> str:
        row, column = place
        band = "" if self.name in _OF_ALL_BANDS else band_of(self.ds, column)
        own = ", ".join(filter(None, [band, span_of(self.ds, row), _count(self.ds, row)]))
        heads = [figure_title(self.ds), trigger_of(self.ds)] if title is None else [title]
        shown = heads if row == column == 0 else []
        return "\n".join(filter(None, [*shown, own]))


def _count(ds: xr.Dataset, row: int) -> str:
    """Return how many images were added up."""
    if "image_id" not in ds:
        return ""
    number = ds.sizes["image"]
    if "member" in ds:
        number = int(ds["member"].values.reshape(-1, number)[row].sum())
    elif "image_used" in ds:
        number = int(ds["image_used"].sum())
    return f"{number} image{'' if number == 1 else 's'}"


def _draw_globe(panel: Axes, plane: SkyPlane) -> None:
    """Draw outline, meridians and parallels of the whole sky, with their degrees."""
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    outline = Ellipse((0.0, 0.0), 4.0, 2.0, facecolor="none", edgecolor="black", linewidth=1.0, zorder=3.5)
    panel.add_patch(outline)
    for image in panel.images:
        image.set_clip_path(outline)
    panel.add_patch(Ellipse((0.0, 0.0), 4.0, 2.0, facecolor=NO_DATA, edgecolor="none", zorder=-1))
    middle = float(plane.to_sky(0.0, 0.0)[0])
    style: dict[str, Any] = {"color": "#7a7a7a", "linewidth": 0.5, "alpha": 0.75, "zorder": 2.5}
    along = np.linspace(-89.99, 89.99, 361)
    stroke = [withStroke(linewidth=2.0, foreground="white")]
    for lon in np.arange(0.0, 360.0, 30.0):
        offset = (lon - middle + 180.0) % 360.0 - 180.0
        panel.plot(*plane.to_plane(lon, along), **style)
        if lon % 60.0 == 0 and abs(offset) < 175.0:
            x, y = (float(place) for place in plane.to_plane(lon, 0.0))
            panel.text(
                x, y + 0.015, f"{lon:g}°", fontsize=8, ha="center", va="bottom", path_effects=stroke, zorder=4
            )
    for lat in np.arange(-60.0, 61.0, 30.0):
        y = float(plane.to_plane(middle, lat)[1])
        half = 2.0 * np.sqrt(1.0 - y**2)
        panel.plot([-half, half], [y, y], **style)
        panel.text(
            *(-half - 0.04, 1.06 * y), f"{lat:+g}°" if lat else "0°", fontsize=8, ha="right", va="center"
        )
    name = {"icrs": "Right ascension, declination (ICRS)", "galactic": "Galactic longitude, latitude"}
    panel.set_xlabel(name[plane.frame], fontsize=LABEL_SIZE)
    panel.set_xlim(-2.02, 2.02)
    panel.set_ylim(-1.02, 1.02)
    panel.set_facecolor("none")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.minorticks_off()
    for spine in panel.spines.values():
        spine.set_visible(False)
