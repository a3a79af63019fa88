"""What every picture shares: axes to draw on, colours, ticks, labels, and steps with gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "LABEL_SIZE",
    "LINE_WIDTH",
    "PALETTE",
    "TICK_SIZE",
    "band_label",
    "draw_bins",
    "draw_points",
    "draw_spans",
    "figure_title",
    "make_axes",
    "note",
    "quantity_label",
    "simplify",
    "style_axes",
    "telescope_of",
]

#: Okabe and Ito's colours, told apart by readers with any colour vision; black first
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINE_WIDTH = 1.0
_DENSE_WIDTH = 0.6
_DENSE = 300
LABEL_SIZE = 9.5
TICK_SIZE = 9.0
_GAP_COLOUR = "#e4e4e4"


def make_axes(
    ax: Any,
    rows: int,
    columns: int = 1,
    *,
    size: tuple[float, float],
    sharex: bool = True,
    sharey: bool = False,
    hspace: float = 0.04,
    height_ratios: Iterable[float] | None = None,
) -> np.ndarray:
    """Return a ``(rows, columns)`` array of Axes: those given, those made in a given figure, or new ones.

    Parameters
    ----------
    ax
        `None` for a new pyplot figure; a Figure or SubFigure to lay the panels out in; or one Axes a panel.
    rows, columns
        Number of panels.
    sharex, sharey
        Whether all panels have the same x axis, y axis.
    size
        Size of a new figure in inches.

    Raises
    ------
    ValueRangeError
        If `ax` holds another number of Axes than there are panels.
    """
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=size, layout="constrained")
    if hasattr(ax, "fit"):
        ax.fit(size)
    if isinstance(ax, FigureBase):
        ratios = None if height_ratios is None else list(height_ratios)
        made = ax.subplots(
            rows,
            columns,
            sharex=sharex,
            sharey=sharey,
            squeeze=False,
            height_ratios=ratios,
            gridspec_kw={"hspace": hspace, "wspace": 0.04},
        )
        for panel in made.flat:
            style_axes(panel)
        return made
    given = np.atleast_1d(np.asarray(ax, dtype=object))
    if given.size != rows * columns or not all(isinstance(item, Axes) for item in given.flat):
        raise ValueRangeError(
            f"ax: found {given.size} item(s) of type {type(given.flat[0]).__name__}, expected "
            f"{rows * columns} matplotlib Axes ({rows} x {columns} panels), a Figure, or nothing"
        )
    return given.reshape(rows, columns)


def style_axes(ax: Axes) -> None:
    """Put ticks inside on all four sides, minor ones too."""
    ax.minorticks_on()
    ax.tick_params(which="both", direction="in", top=True, right=True, labelsize=TICK_SIZE)
    ax.tick_params(which="major", length=4.5)
    ax.tick_params(which="minor", length=2.5)
    ax.xaxis.label.set_fontsize(LABEL_SIZE)
    ax.yaxis.label.set_fontsize(LABEL_SIZE)


def simplify(panels: np.ndarray) -> Axes | np.ndarray:
    """Return the one Axes of a single panel, a flat array of one row or column, the array otherwise."""
    if panels.size == 1:
        return panels.flat[0]
    return panels.ravel() if 1 in panels.shape else panels


def figure_title(ds: xr.Dataset, *more: str) -> str:
    """Return the target, telescope, observation id and `more`, of which those that are known."""
    obs_id = str(ds.attrs.get("obs_id", "")).strip()
    parts = [
        str(ds.attrs.get("object", "")).strip(),
        telescope_of(ds.attrs),
        f"obs {obs_id}" if obs_id else "",
        *more,
    ]
    return ", ".join(part for part in parts if part)


def telescope_of(attrs: Mapping[str, Any]) -> str:
    """Return ``SWIFT BAT``: telescope and instrument, of which those that are known."""
    return " ".join(filter(None, (str(attrs.get(name, "")).strip() for name in ("telescope", "instrument"))))


def quantity_label(name: str, array: xr.DataArray, extra: str = "", each: str = "bin") -> str:
    """Return ``Rate (count/s per detector)``: what is on the axis, in which unit; or ``Counts per bin``."""
    units = str(array.attrs.get("units", "1"))
    per = array.attrs.get("per")
    if units == "count" and not extra:
        return f"Counts per {each}{f' and {per}' if per else ''}"
    text = f"{'' if units == '1' and not extra else units}{extra}{f' per {per}' if per else ''}".strip()
    return f"{name} ({text})" if text else name


def band_label(low: float, high: float) -> str:
    """Return ``15-25 keV``."""
    return f"{low:g}-{high:g} keV"


def note(ax: Axes, text: str) -> None:
    """Write `text` in the upper right corner, legible over data."""
    ax.annotate(
        text,
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(-6, -6),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=TICK_SIZE,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
        zorder=6,
    )


def draw_bins(
    ax: Axes,
    edges: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray | None,
    *,
    color: Any,
    label: str | None = None,
    floor: float = -np.inf,
) -> None:
    """Draw binned values as steps with error bars; the line is broken where bins do not touch or are NaN.

    Parameters
    ----------
    edges
        ``(n, 2)`` lower and upper edges in the coordinate of the axis, in increasing order.
    values, errors
        ``(n,)``; a bin whose value is not finite is not drawn.
    floor
        The line is broken at values that are not above it (zero on a logarithmic axis); error bars are drawn.

    Raises
    ------
    ValueRangeError
        If bins overlap or are out of order: steps would cross each other.
    """
    low, high = edges[:, 0], edges[:, 1]
    tolerance = 1e-3 * np.minimum(high - low, np.roll(high - low, -1))[:-1]
    apart = low[1:] - high[:-1]
    if np.any(high <= low) or np.any(apart < -tolerance):
        raise ValueRangeError(
            "bins overlap or are not in increasing order; sort them (ds.sortby) before plotting"
        )
    width = LINE_WIDTH if len(edges) < _DENSE else _DENSE_WIDTH
    broken = np.flatnonzero(apart > tolerance)
    line_edges = np.append(np.insert(low, broken + 1, high[broken]), high[-1])
    line = np.insert(np.where(np.isfinite(values) & (values > floor), values, np.nan), broken + 1, np.nan)
    ax.stairs(line, line_edges, baseline=None, color=color, linewidth=width, label=label, zorder=3)
    if errors is not None:
        shown = np.isfinite(values) & np.isfinite(errors)
        ax.errorbar(
            edges[shown].mean(axis=1),
            values[shown],
            yerr=errors[shown],
            fmt="none",
            ecolor=color,
            elinewidth=0.7 * width,
            alpha=0.5 if width == LINE_WIDTH else 0.3,
            zorder=2,
        )


def draw_points(
    ax: Axes,
    edges: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray | None,
    *,
    color: Any,
    label: str | None = None,
    filled: bool = True,
    limits: bool = False,
) -> None:
    """Draw values as points with bars as long as their bins, which may overlap, and error bars.

    Parameters
    ----------
    edges
        ``(n, 2)`` lower and upper edges in the coordinate of the axis.
    values, errors
        ``(n,)``; a bin whose value is not finite is not drawn.
    filled
        Whether markers are filled.
    limits
        Values are upper limits: arrows down, as long as `errors`.
    """
    shown = np.isfinite(values)
    if not shown.any():
        return
    low, high = edges[shown].T
    dense = int(shown.sum()) > _DENSE
    ax.errorbar(
        0.5 * (low + high),
        values[shown],
        xerr=0.5 * (high - low),
        yerr=None if errors is None else np.where(np.isfinite(errors[shown]), errors[shown], 0.0),
        uplims=limits,
        fmt="none" if limits else "o",
        markersize=1.8 if dense else 3.2,
        markerfacecolor=color if filled else "white",
        color=color,
        markeredgewidth=0.5 if dense else 0.8,
        elinewidth=0.4 if dense else 0.8,
        label=label,
        zorder=3 if filled else 2.5,
    )


def draw_spans(ax: Axes, spans: np.ndarray, *, label: str | None = None, color: str = _GAP_COLOUR) -> None:
    """Shade intervals of the x axis over the whole height: one collection, `spans` is ``(n, 2)``."""
    if not len(spans):
        return
    ax.broken_barh(
        [(start, stop - start) for start, stop in spans],
        (0.0, 1.0),
        transform=ax.get_xaxis_transform(),
        facecolors=color,
        edgecolors="none",
        label=label,
        zorder=0.5,
    )
