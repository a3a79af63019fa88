"""A gallery of glitches: the detector image of each, with its significance and score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ValueRangeError
from batx.instrument.detector import DETECTOR, SHAPE
from batx.met import met_to_utc
from batx.plots.canvas import figure_title, make_axes, simplify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_glitches"]

_MAX_PANELS = 48

#: height of the detector plane to its width
_ASPECT = SHAPE[0] / SHAPE[1]
_GAP_COLOUR, _PLANE_COLOUR = "#ffffff", "#eef1f4"

#: from one count, pale, to many
_COUNT_COLOURS = ("#86a9c4", "#3f78a8", "#D55E00", "#8c2d04", "#000000")


def plot_glitches(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    resolution: str = "full",
    most: int = 12,
    columns: int | None = None,
    limit: float | None = None,
    cmap: str | None = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw the images of glitches, those of the highest significance first.

    A detector that was hit is drawn over the next cell too, if that has fewer counts, to be seen at all.

    Parameters
    ----------
    ds
        Kind ``glitches``.
    ax
        `None` for a new figure, a Figure, or as many Axes as glitches are drawn.
    resolution
        ``"full"`` for the detectors, ``"sandwich"`` for sums over 128 of them, all bands together.
    most
        Largest number of glitches drawn.
    columns
        Number of panels in a row.
    limit
        Upper end of the colour scale; by default 4 counts a detector, or the 99th percentile of sandwiches.
    cmap
        Name of a matplotlib colour map; by default one from pale blue over orange to black for detectors, and
        ``viridis`` for sandwiches.
    title
        Title; by default target and observation id, if there is one observation.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One for each glitch.

    Raises
    ------
    EmptySelectionError
        If there is no glitch.
    ValueRangeError
        If the resolution is unknown, or `most` is not 1 to 48.
    """
    if resolution not in ("full", "sandwich"):
        raise ValueRangeError(f"resolution: found {resolution!r}, expected 'full' or 'sandwich'")
    if not 1 <= most <= _MAX_PANELS:
        raise ValueRangeError(f"most: found {most}, expected 1 to {_MAX_PANELS}")
    if not ds.sizes["glitch"]:
        raise EmptySelectionError("plot_glitches: found no glitch, nothing to draw")
    order = np.argsort(-ds["snr_low"].values, kind="stable")[:most]
    shown = ds.isel(glitch=order)
    images = _images(shown, resolution)
    high = limit or (4.0 if resolution == "full" else max(float(np.percentile(images, 99)), 1.0))
    columns = columns or (1 if len(order) == 1 else 2 if len(order) <= 4 else 3 if len(order) <= 9 else 4)
    rows = -(-len(order) // columns)
    given = ax is not None and not hasattr(ax, "subplots")
    if given:
        rows, columns = len(order), 1
    panels = make_axes(ax, rows, columns, size=_size(rows, columns), sharey=True, hspace=0.02)
    for number, panel in enumerate(panels.flat):
        if number >= len(order):
            panel.set_visible(False)
            continue
        drawn = _draw(panel, images[number], cmap, high)
        _describe(panel, shown, number)
    _labels(panels, len(order), resolution)
    figure = panels.flat[0].figure
    if not given:
        text = _title(ds, len(order)) if title is None else title
        figure.suptitle(text, x=0.01, ha="left", fontsize=10)
    figure.colorbar(
        drawn,
        ax=list(panels.flat),
        label=f"Counts per {'detector' if resolution == 'full' else 'sandwich'}, 15-350 keV",
        **({"ticks": range(1, int(high) + 1)} if resolution == "full" else {}),
        extend="max" if images.max() > high else "neither",
        shrink=0.9 if rows < 3 else 0.5,
        pad=0.01,
    )
    return simplify(panels)


def _images(ds: xr.Dataset, resolution: str) -> np.ndarray:
    if resolution == "sandwich":
        return (
            ds["sandwich"].sum("energy").transpose("glitch", "sandwich_y", "sandwich_x").values.astype(float)
        )
    return ds["image"].transpose("glitch", "dety", "detx").values.astype(float)


def _draw(panel: Axes, image: np.ndarray, cmap: str | None, high: float) -> Any:
    """Draw an image; of detectors without counts the plane shows, with the gaps between the modules."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap

    height, width = image.shape
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    how: dict[str, Any] = {"origin": "lower", "interpolation": "nearest", "aspect": "auto", "extent": extent}
    panel.set_box_aspect(_ASPECT)
    if image.shape != SHAPE:
        return panel.imshow(image, cmap=cmap or "viridis", vmin=0.0, vmax=high, **how)
    panel.imshow(DETECTOR, cmap=ListedColormap([_GAP_COLOUR, _PLANE_COLOUR]), vmin=0, vmax=1, **how)
    edges = np.arange(0.5, max(np.floor(high), 2.0) + 1.0)
    colours = colormaps[cmap] if cmap else LinearSegmentedColormap.from_list("counts", _COUNT_COLOURS)
    norm = BoundaryNorm(edges, colours.N, extend="max")
    return panel.imshow(np.ma.masked_less(_thick(image), 1), cmap=colours, norm=norm, **how)


def _thick(image: np.ndarray) -> np.ndarray:
    """Return an image in which a detector fills the cell next to it too, where that has fewer counts."""
    thick = image.copy()
    for axis in (0, 1):
        moved = np.roll(thick, 1, axis=axis)
        moved[(0,) if axis == 0 else (slice(None), 0)] = 0
        thick = np.maximum(thick, moved)
    return thick


def _describe(panel: Axes, ds: xr.Dataset, number: int) -> None:
    """Write above a panel when its glitch was, and how significant it is."""
    row = ds.isel(glitch=number)
    met = float(row["time"])
    head = f"MET {met:.3f}"
    if "utcf" in ds.attrs:
        head += f", {str(met_to_utc(met, utcf=ds.attrs['utcf']))[:23]} UTC"
    elif ds.sizes.get("observation", 1) > 1:
        head = f"obs {row['obs_id'].item()}, {head}"
    lines = [head]
    score = float(row["score"]) if "score" in row else np.nan
    lines.append(
        f"SNR {float(row['snr_low']):.1f} ($\\leq$25 keV), {float(row['snr_high']):.1f} (>50 keV); "
        f"score {score:.2f}"
    )
    panel.set_title("\n".join(lines), loc="left", fontsize=7.5, pad=3)


def _labels(panels: np.ndarray, shown: int, resolution: str) -> None:
    names = ("DETX", "DETY") if resolution == "full" else ("Sandwich X", "Sandwich Y")
    columns = panels.shape[1]
    for number, panel in enumerate(panels.flat):
        below = number + columns >= shown
        if below and number < shown:
            panel.set_xlabel(names[0])
            panel.tick_params(labelbottom=True)
        if number % columns == 0:
            panel.set_ylabel(names[1])


def _title(ds: xr.Dataset, shown: int) -> str:
    total = ds.sizes["glitch"]
    about = f"{total} glitch{'es' if total > 1 else ''}"
    observations = ds.sizes.get("observation", 1)
    if observations > 1:
        about += f" in {observations} observations"
    if shown < total:
        about += f", the {shown} most significant" if shown > 1 else ", the most significant"
    about += ", images of 64 ms"
    return figure_title(ds, about)


def _size(rows: int, columns: int) -> tuple[float, float]:
    width = {1: 6.4, 2: 8.4, 3: 11.0}.get(columns, 13.5)
    return width, 0.7 + rows * (0.42 + 0.605 * (width - 1.9) / columns)
