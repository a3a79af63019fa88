"""Light curves: one panel a band, steps with error bars, time without data shaded and never bridged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError
from batx.plots.canvas import (
    PALETTE,
    band_label,
    draw_bins,
    draw_points,
    draw_spans,
    figure_title,
    make_axes,
    note,
    quantity_label,
    simplify,
)
from batx.plots.timeaxis import time_axis
from batx.positions import source_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["gaps", "plot_lightcurve", "values_and_errors"]


def plot_lightcurve(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    time: str | None = None,
    t0: Any = None,
    utc_axis: bool = False,
    errors: bool = True,
    points: bool | None = None,
    color: Any = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw a light curve, its bins exactly as they are.

    Parameters
    ----------
    ds
        Dataset of kind ``lightcurve``; lazy values are computed once.
    ax
        `None`: a new figure with the bands stacked. A Figure: the same inside it. An array of as many Axes as
        bands: those. One Axes: all bands in it, with a legend.
    time
        ``"relative"`` (default), ``"met"``, or ``"utc"`` and ``"mjd"`` (both need attribute ``utcf``).
    t0
        Zero of the relative axis (MET s, Quantity or Time); by default the trigger, or the start of the data.
    utc_axis
        Show UTC on the upper edge too.
    errors
        Draw 1-sigma error bars. Counts without ``counts_err`` take the square root.
    points
        Points with bars as long as the bins, in place of steps, and no shading of time without data: by
        default for rates of survey pointings, which are short and far apart.
    color
        Colour of all bands; by default each band has its own.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One Axes for one panel, else one for each band.

    Raises
    ------
    EmptySelectionError
        If no bin holds a finite value.
    ValueRangeError
        If bins overlap (but for points), `time` is unknown, or `ax` has the wrong number of Axes.
    """
    name = "rate" if "rate" in ds else "counts"
    sources = source_names(ds)
    ds = ds[[v for v in _needed(ds, name) if v in ds.variables]].compute()
    values, sigma = values_and_errors(ds, name)
    if not np.isfinite(values).any():
        raise EmptySelectionError(f"{name}: found no finite value in {values.shape[1]} bins, nothing to draw")
    edges = ds["time_bnds"].values
    n_bands = values.shape[2]
    axis = time_axis(ds, float(edges[0, 0]), time, t0)
    overlay = n_bands > 1 and _is_axes(ax)
    panels = make_axes(ax, 1 if overlay else n_bands, size=(7.2, 1.2 + 1.65 * (1 if overlay else n_bands)))
    bands = [band_label(*pair) for pair in ds["energy_bnds"].values]
    x_edges = axis(edges)
    points = ds.attrs.get("ratesof") == "pointings" if points is None else points
    x_gaps = axis(gaps(ds)) if not points else np.empty((0, 2))
    visible = len(x_gaps) and np.diff(x_gaps).max() > 0.002 * (x_edges[-1, 1] - x_edges[0, 0])
    for row, panel in enumerate(panels[:, 0]):
        draw_spans(panel, x_gaps, label="no good time" if visible and row == 0 else None)
        if ds.attrs.get("weighting") == "mask":
            panel.axhline(0.0, color="#9a9a9a", linewidth=0.6, zorder=1)
        panel.set_ylabel(quantity_label(name.capitalize(), ds[name]).replace(" (", "\n(", 1))
        if points:
            panel.margins(x=0.03, y=0.2)
        else:
            panel.set_xlim(x_edges[0, 0], x_edges[-1, 1])
    for source in range(values.shape[0]):
        for band in range(n_bands):
            panel = panels[0 if overlay else band, 0]
            which = band if values.shape[0] == 1 else source
            (draw_points if points else draw_bins)(
                panel,
                x_edges,
                values[source, :, band],
                sigma[source, :, band] if errors and sigma is not None else None,
                color=color or PALETTE[which % len(PALETTE)],
                label=_line_label(bands[band] if overlay else "", sources[source] if sources else ""),
            )
    if not overlay:
        for panel, text in zip(panels[:, 0], bands, strict=True):
            note(panel, text)
    _finish(panels, ds, axis, utc_axis, title)
    return simplify(panels)


def _finish(panels: np.ndarray, ds: xr.Dataset, axis: Any, utc_axis: bool, title: str | None) -> None:
    top, bottom = panels[0, 0], panels[-1, 0]
    for panel in panels[:, 0]:
        panel.yaxis.set_major_locator(_y_locator())
    axis.decorate(bottom)
    if utc_axis and axis.mode != "utc":
        axis.utc_on_top(top)
    top.set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    if entries := len(top.get_legend_handles_labels()[1]):
        place = "upper left" if entries == 1 else "best"
        top.legend(loc=place, fontsize=8, frameon=False, handlelength=1.4)
    if len(panels) > 1:
        bottom.figure.align_ylabels(list(panels[:, 0]))


def _y_locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5, prune="both")


def _is_axes(ax: Any) -> bool:
    from matplotlib.axes import Axes

    return isinstance(ax, Axes)


def _needed(ds: xr.Dataset, name: str) -> list[str]:
    return [name, f"{name}_err", "time_bnds", "energy_bnds", "fracexp", "gti_start", "gti_stop"]


def values_and_errors(ds: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values and 1-sigma errors as ``(source, time, energy)``; bins without exposure are NaN."""
    array = ds[name].transpose(..., "time", "energy")
    values = array.values.astype(float).reshape(-1, *array.shape[-2:])
    error_name = f"{name}_err"
    if error_name in ds:
        sigma = ds[error_name].transpose(..., "time", "energy").values.astype(float).reshape(values.shape)
    elif name == "counts" and ds.attrs.get("statistic") == "poisson":
        sigma = np.sqrt(np.maximum(values, 0.0))
    else:
        sigma = None
    if "fracexp" in ds:
        values = np.where((ds["fracexp"].values > 0)[:, np.newaxis], values, np.nan)
    return values, sigma


def _line_label(band: str, source: str) -> str | None:
    return ", ".join(filter(None, [band, source])) or None


def gaps(ds: xr.Dataset) -> np.ndarray:
    """Return the ``(n, 2)`` MET intervals between first and last bin that hold no data.

    These are the times outside the good-time intervals, or, where the object has none, the times that no bin
    covers and the bins without exposure.
    """
    edges = ds["time_bnds"].values
    if "gti_start" in ds and ds.sizes.get("gti", 0):
        good = np.column_stack([ds["gti_start"].values, ds["gti_stop"].values])
    elif "fracexp" in ds:
        good = edges[ds["fracexp"].values > 0]
    else:
        good = edges
    good = good[np.argsort(good[:, 0])]
    reached = np.maximum.accumulate(np.concatenate([edges[:1, 0], good[:, 1]]))
    starts = np.concatenate([good[:, 0], edges[-1:, 1]])
    spans = np.column_stack([reached, starts]).clip(edges[0, 0], edges[-1, 1])
    return spans[spans[:, 1] - spans[:, 0] > 1e-6]
