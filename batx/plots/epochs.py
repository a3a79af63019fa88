"""Many observations of a source: its images on a grid of epochs, and exposure against days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.image_regions import on_image
from batx.imaging_telescopes import sky_of
from batx.met import met_to_mjd
from batx.plots.canvas import LABEL_SIZE, PALETTE, TICK_SIZE, make_axes, note, style_axes, telescope_of
from batx.plots.celestial import Box, SkyPlane, draw_graticule, zoom_centre
from batx.regions import Region, as_regions
from batx.schema import require_kind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_epochs", "plot_rates", "plot_selection"]

_MOST = 36
#: rates that differ by more than this factor are drawn on a logarithmic scale
_DECADES = 30.0
#: marker of matplotlib: a caret down from a line (CARETDOWNBASE)
_DOWN = 11
_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7")


def plot_epochs(
    images: Sequence[xr.Dataset],
    ax: Any = None,
    *,
    regions: Sequence[Any] = (),
    own_regions: Sequence[Sequence[Any]] = (),
    t0: Any = None,
    center: Any = None,
    radius: float = 5.0,
    smooth: float = 1.5,
    columns: int = 4,
    cmap: str = "magma",
    title: str | None = None,
) -> np.ndarray:
    """Draw the images of many observations on a grid, each with its day and regions, on one colour scale.

    Parameters
    ----------
    images
        Kind ``image`` in counts with a sky, as `batx.count_image` makes; in the order of drawing.
    ax
        `None` for a new figure, a Figure to draw in, or as many Axes as images.
    regions
        Regions to be drawn in each (what `batx.regions.circle` returns, or files of ds9): one for all, in
        colours of their own; excluded shapes are dashed.
    own_regions
        Such a list for each image, in place of `regions`.
    t0
        Day 0: MJD (UTC), a date, or a Time; by default the start of the first image.
    center
        (ra, dec) in degrees in the middle; by default the middle of the first region, or of each image.
    radius
        Half the width of a panel, minutes of arc.
    smooth
        Standard deviation of the Gaussian that counts are smoothed with, pixels; 0 for none.
    columns
        Panels in a row.
    cmap
        Name of a matplotlib colour map.
    title
        Title of the figure; by default target, telescope, band and day 0.

    Returns
    -------
    numpy.ndarray of Axes
        One for each image.

    Raises
    ------
    KindError
        If something is no image with a sky.
    EmptySelectionError
        If there are none.
    ValueRangeError
        If there are more than 36, a number is out of range, or `own_regions` are not as many.
    """
    from matplotlib.colors import PowerNorm

    several = list(images)
    _require(several, columns, radius, smooth)
    if own_regions and len(own_regions) != len(several):
        raise ValueRangeError(f"own_regions: found {len(own_regions)} lists for {len(several)} images")
    shapes = [[as_regions(one) for one in of_one] for of_one in own_regions or [regions] * len(several)]
    days = _days(several, t0)
    decimals = _decimals(max(days) - min(days))
    names = [f", {image.attrs.get('instrument', '')}" for image in several]
    names = names if len(set(names)) > 1 else [""] * len(several)
    panels = _panels(ax, len(several), columns)
    shown = [
        _cut(image, _middle(image, held, center), radius, smooth)
        for image, held in zip(several, shapes, strict=True)
    ]
    high = max(float(values.max()) for values, _ in shown) or 1.0
    drawn = None
    for number, (panel, image, (values, box)) in enumerate(zip(panels, several, shown, strict=True)):
        drawn = panel.imshow(
            values,
            origin="lower",
            cmap=cmap,
            norm=PowerNorm(0.5, 0.0, high),
            extent=box,
            interpolation="nearest",
        )
        draw_graticule(panel, _plane(image), box, lines=3, apart=0.25)
        for place, region in enumerate(shapes[number]):
            _outline(panel, image, region, _COLOURS[place % len(_COLOURS)])
        panel.set_title(
            f"day {days[number]:.{decimals}f}, {_exposure(image):.1f} ks{names[number]}",
            fontsize=LABEL_SIZE - 0.5,
            loc="left",
        )
        _inner(panel, number, len(several), min(columns, len(several)))
    figure = panels[0].figure
    figure.colorbar(drawn, ax=list(panels), label="count/ks/pixel", shrink=0.8, pad=0.01)
    text = _heading(several, _reference(several, t0), max(days) - min(days)) if title is None else title
    if text:
        figure.suptitle(text, fontsize=10.5, wrap=True)
    return panels


def _heading(images: list[xr.Dataset], zero: float, span: float) -> str:
    """Return what images show: target of the first, telescope and band (if they agree), and day 0."""

    def shared(name: str) -> str:
        found = {str(image.attrs.get(name, "")).strip() for image in images}
        return found.pop() if len(found) == 1 else ""

    camera = telescope_of({name: shared(name) for name in ("telescope", "instrument")})
    band = f"{float(shared('e_min')):g}-{float(shared('e_max')):g} keV" if shared("e_min") else ""
    target = str(images[0].attrs.get("object", "")).strip()
    parts = (target, camera, band, f"days since {_day_zero(zero, span)}")
    return ", ".join(filter(None, parts))


def _day_zero(zero: float, span: float) -> str:
    """Return day 0 as text, with one more decimal than the days."""
    return f"MJD {zero:.{_decimals(span) + 1}f} (UTC)"


def _decimals(span: float) -> int:
    """Return with how many decimals days are told apart: a hundredth of their span; 1 for a single one."""
    return int(np.clip(2 - np.floor(np.log10(span)), 1, 4)) if span > 1e-5 else 1


def _targets(table: pd.DataFrame) -> str:
    """Return the target that a table names, with a comma; empty if none or several."""
    names = {str(name).strip() for name in table.get("object", ())} - {"", "nan"}
    return f"{names.pop()}, " if len(names) == 1 else ""


def _require(images: list[xr.Dataset], columns: int, radius: float, smooth: float) -> None:
    for image in images:
        require_kind(image, "image", operation="plot_epochs")
        if sky_of(image) is None or image["image"].dims != ("y", "x"):
            raise KindError(
                "plot_epochs: found an image without coordinates of the sky, or with several planes"
            )
    if not images:
        raise EmptySelectionError("plot_epochs: found no images")
    if len(images) > _MOST or columns < 1 or not radius > 0 or not smooth >= 0:
        raise ValueRangeError(
            f"plot_epochs: found {len(images)} images in {columns} columns, radius {radius}, smooth "
            f"{smooth}; expected at most {_MOST} images, and positive numbers; draw the rest in more figures"
        )


def _panels(ax: Any, count: int, columns: int) -> np.ndarray:
    """Return as many Axes as images; those of the grid that are left over are taken away."""
    columns = min(columns, count)
    rows = -(-count // columns)
    if ax is not None and not hasattr(ax, "subplots"):
        return make_axes(ax, 1, count, size=(1.0, 1.0)).ravel()
    grid = make_axes(
        ax, rows, columns, size=(2.6 * columns + 1.0, 2.7 * rows + 0.5), sharex=False, hspace=0.06
    )
    for panel in grid.ravel()[count:]:
        panel.remove()
    return grid.ravel()[:count]


def _start(image: xr.Dataset) -> float:
    if "tstart" not in image.attrs:
        raise KindError("plot_epochs: found an image that does not say when it was taken (tstart)")
    return float(met_to_mjd(float(image.attrs["tstart"]), attrs=image.attrs))


def _reference(images: list[xr.Dataset], t0: Any) -> float:
    return _start(images[0]) if t0 is None else _mjd(t0)


def _mjd(t0: Any) -> float:
    """Return an instant as MJD (UTC)."""
    if isinstance(t0, (int, float)):
        return float(t0)
    from astropy.time import Time

    try:
        return float((t0 if isinstance(t0, Time) else Time(t0, scale="utc")).utc.mjd)
    except (ValueError, TypeError) as error:
        raise ValueRangeError(f"t0: found {t0!r}, expected MJD, a date or a Time ({error})") from None


def _days(images: list[xr.Dataset], t0: Any) -> list[float]:
    zero = _reference(images, t0)
    return [_start(image) - zero for image in images]


def _exposure(image: xr.Dataset) -> float:
    return float(image.attrs.get("exposure", np.nan)) / 1000.0


def _middle(image: xr.Dataset, shapes: list[list[Region]], center: Any) -> tuple[float, float]:
    """Return the pixel (from 0) in the middle of the panel."""
    sky = sky_of(image)
    if center is not None:
        x, y = sky.world_to_pixel_values(*zoom_centre(center))
    elif shapes:
        x, y = (value - 1.0 for value in on_image(image, shapes[0])[0].values[:2])
    else:
        x, y = ((image.sizes[axis] - 1) / 2 for axis in ("x", "y"))
    return float(x), float(y)


def _cut(
    image: xr.Dataset, middle: tuple[float, float], radius: float, smooth: float
) -> tuple[np.ndarray, Box]:
    """Return the part of an image around a pixel in count/ks/pixel, and its box in pixels from 0."""
    from astropy.wcs.utils import proj_plane_pixel_scales
    from scipy.ndimage import gaussian_filter

    values = np.nan_to_num(image["image"].values.astype(np.float64))
    half = int(np.ceil(radius / 60.0 / float(np.mean(proj_plane_pixel_scales(sky_of(image))))))
    left, bottom = (int(np.floor(value)) - half for value in middle)
    full = np.zeros((2 * half + 1, 2 * half + 1))
    rows, columns = (
        slice(max(low, 0), min(low + 2 * half + 1, size))
        for low, size in ((bottom, values.shape[0]), (left, values.shape[1]))
    )
    if rows.start < rows.stop and columns.start < columns.stop:
        full[rows.start - bottom : rows.stop - bottom, columns.start - left : columns.stop - left] = values[
            rows, columns
        ]
    if smooth > 0:
        full = gaussian_filter(full, smooth)
    seconds = _exposure(image)
    rate = full / seconds if np.isfinite(seconds) and seconds > 0 else full
    return rate, (left - 0.5, left + 2 * half + 0.5, bottom - 0.5, bottom + 2 * half + 0.5)


def _plane(image: xr.Dataset) -> SkyPlane:
    sky = sky_of(image)

    def to_plane(lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        x, y = sky.world_to_pixel_values(lon, lat)
        return np.asarray(x), np.asarray(y)

    def to_sky(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = sky.pixel_to_world_values(x, y)
        return np.asarray(lon), np.asarray(lat)

    return SkyPlane(to_plane, to_sky)


def _outline(panel: Axes, image: xr.Dataset, region: list[Region], colour: str) -> None:
    from matplotlib.patches import Circle, Ellipse, Polygon, Rectangle

    made: list[Any]
    for one in on_image(image, region):
        style: dict[str, Any] = {
            "fill": False,
            "edgecolor": colour,
            "linewidth": 1.1,
            "zorder": 5,
            "linestyle": "-" if one.include else "--",
        }
        values = [value - 1.0 if place < 2 else value for place, value in enumerate(one.values)]
        if one.shape == "polygon":
            made = [Polygon(np.reshape(one.values, (-1, 2)) - 1.0, **style)]
        elif one.shape in ("circle", "annulus"):
            made = [Circle((values[0], values[1]), radius, **style) for radius in values[2:]]
        elif one.shape == "ellipse":
            made = [Ellipse((values[0], values[1]), 2 * values[2], 2 * values[3], angle=values[4], **style)]
        else:
            corner = values[0] - values[2] / 2, values[1] - values[3] / 2
            width, height, angle = values[2:]
            made = [Rectangle(corner, width, height, angle=angle, rotation_point="center", **style)]
        for patch in made:
            panel.add_patch(patch)


def _inner(panel: Axes, number: int, count: int, columns: int) -> None:
    """Keep the names of the axes at the edge of the grid only."""
    style_axes(panel)
    panel.tick_params(labelsize=TICK_SIZE - 2)
    if number % columns:
        panel.set_ylabel("")
    if number + columns < count:
        panel.set_xlabel("")


def plot_selection(
    table: pd.DataFrame,
    ax: Any = None,
    *,
    t0: Any = None,
    min_exposure: float = 0.0,
    title: str | None = None,
) -> Axes:
    """Draw which observations are used: exposure against days.

    Parameters
    ----------
    table
        As of `batx.spectrum_table`: ``obs_id``, ``start_mjd``, ``exposure``, and perhaps ``used`` (bool).
    ax
        `None` for a new figure, a Figure or Axes to draw in.
    t0
        Day 0, as for `plot_epochs`; by default the earliest observation.
    min_exposure
        Cut in seconds, drawn as a line; without ``used``, observations below are not used.
    title
        Title; by default the target, how many are used, and their exposure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    EmptySelectionError
        If the table has no row with a time.
    KindError, ValueRangeError
        If it is no table, lacks a column, or one has no numbers.
    """
    _require_columns(table, ("obs_id", "start_mjd", "exposure"), "plot_selection")
    table = table[np.isfinite(table["start_mjd"].astype(float))]
    if not len(table):
        raise EmptySelectionError("plot_selection: found no observation with a time")
    start, seconds = table["start_mjd"].to_numpy(float), table["exposure"].to_numpy(float)
    used = table["used"].to_numpy(bool) if "used" in table else seconds >= min_exposure
    zero = float(start.min()) if t0 is None else _mjd(t0)
    panel = make_axes(ax, 1, size=(6.4, 3.6))[0, 0]
    for chosen, face, label in ((used, PALETTE[1], "used"), (~used, "none", "left out")):
        panel.plot(
            (start - zero)[chosen],
            seconds[chosen] / 1e3,
            "o",
            markersize=5,
            color=PALETTE[1],
            markerfacecolor=face,
            label=f"{label} ({int(chosen.sum())})",
            zorder=3,
        )
    if min_exposure > 0:
        panel.axhline(min_exposure / 1e3, color=PALETTE[2], linewidth=0.9, linestyle="--", zorder=2)
        note(panel, f"at least {min_exposure / 1e3:g} ks")
    panel.set_ylim(bottom=0.0, top=1.25 * max(float(seconds.max()), min_exposure) / 1e3)
    panel.set_xlabel(f"Days since {_day_zero(zero, float(np.ptp(start)))}")
    panel.set_ylabel("Exposure (ks)")
    panel.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)
    text = (
        f"{_targets(table)}{int(used.sum())} of {len(table)} observations, {seconds[used].sum() / 1e3:.1f} ks"
    )
    panel.set_title(text if title is None else title, loc="left", fontsize=10)
    return panel


def plot_rates(
    table: pd.DataFrame,
    ax: Any = None,
    *,
    t0: Any = None,
    label: str = "Rate (count/s)",
    title: str | None = None,
) -> Axes:
    """Draw rates of observations against days, with the length of each and its error.

    The scale is logarithmic if all are positive and they differ by more than a factor of 30.

    Parameters
    ----------
    table
        With ``start_mjd``, ``stop_mjd``, ``rate``, ``rate_err``, as of `batx.spectrum_table`; a column
        ``name`` tells several series apart; where ``upper_limit`` is a number, it is drawn as an arrow.
    ax
        `None` for a new figure, a Figure or Axes to draw in.
    t0
        Day 0, as for `plot_epochs`; by default the earliest observation.
    label
        Of the y axis.
    title
        Title; by default the target that the column ``object`` names.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    EmptySelectionError
        If no row has a time and a rate.
    KindError, ValueRangeError
        If it is no table, lacks a column, or one has no numbers.
    """
    _require_columns(table, ("start_mjd", "stop_mjd", "rate", "rate_err"), "plot_rates")
    table = table[np.isfinite(table["start_mjd"].astype(float)) & np.isfinite(table["rate"].astype(float))]
    if not len(table):
        raise EmptySelectionError("plot_rates: found no observation with a time and a rate")
    zero = float(table["start_mjd"].min()) if t0 is None else _mjd(t0)
    panel = make_axes(ax, 1, size=(6.4, 3.6))[0, 0]
    series = table.groupby("name", sort=False) if "name" in table else [(None, table)]
    for number, (name, rows) in enumerate(series):
        _rates_of(panel, rows, zero, PALETTE[1 + number % (len(PALETTE) - 1)], name)
    shown = table["rate"].to_numpy(float)
    if "upper_limit" in table:
        shown = np.where(np.isfinite(table["upper_limit"]), table["upper_limit"], shown)
    if shown.min() > 0 and shown.max() > _DECADES * shown.min():
        panel.set_yscale("log")
    else:
        panel.axhline(0.0, color="#222222", linewidth=0.6, zorder=1)
    span = float(table["stop_mjd"].max() - table["start_mjd"].min())
    panel.set_xlabel(f"Days since {_day_zero(zero, span)}")
    panel.set_ylabel(label)
    if "name" in table:
        panel.legend(fontsize=8, frameon=False)
    text = _targets(table).removesuffix(", ") if title is None else title
    if text:
        panel.set_title(text, loc="left", fontsize=10)
    return panel


def _require_columns(table: Any, names: Sequence[str], operation: str) -> None:
    """Raise unless a table has these columns, and numbers in them but for the names of observations."""
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise KindError(f"{operation} works on a pandas.DataFrame; found {type(table).__name__}")
    if missing := [name for name in names if name not in table]:
        raise ValueRangeError(f"{operation}: the table has no {', '.join(missing)}")
    for name in ({*names} - {"obs_id"}) | ({"upper_limit"} & {*table.columns}):
        try:
            table[name].astype(float)
        except (TypeError, ValueError):
            raise ValueRangeError(f"{operation}: the column {name} of the table has no numbers") from None


def _rates_of(panel: Axes, rows: pd.DataFrame, zero: float, colour: str, name: Any) -> None:
    """Draw one series: rates with errors, and limits as arrows down."""
    edges = rows[["start_mjd", "stop_mjd"]].to_numpy(float) - zero
    middle, width = edges.mean(axis=1), np.abs(edges.T - edges.mean(axis=1))
    limit = rows["upper_limit"].to_numpy(float) if "upper_limit" in rows else np.full(len(rows), np.nan)
    faint = np.isfinite(limit)
    style: dict[str, Any] = {"color": colour, "elinewidth": 0.9, "markersize": 3.5}
    rate, error = (rows[column].to_numpy(float)[~faint] for column in ("rate", "rate_err"))
    panel.errorbar(middle[~faint], rate, yerr=error, xerr=width[:, ~faint], fmt="o", label=name, **style)
    if faint.any():
        panel.errorbar(middle[faint], limit[faint], xerr=width[:, faint], fmt="_", **style)
        panel.plot(middle[faint], limit[faint], linestyle="", marker=_DOWN, color=colour, markersize=6)
