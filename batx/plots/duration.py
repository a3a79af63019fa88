"""A burst with its blocks and durations: what was found, over what it was found in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.durations import fluence_fraction
from batx.plots.canvas import (
    PALETTE,
    band_label,
    draw_bins,
    draw_spans,
    figure_title,
    make_axes,
    note,
    quantity_label,
    simplify,
)
from batx.plots.lightcurve import values_and_errors
from batx.plots.timeaxis import TimeAxis, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_duration"]

_BACKGROUND = "#eef1f4"
_T90, _T50 = "#fde5c0", "#f7c873"
#: parts of the fluence at which T90 and T50 begin and end
_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def plot_duration(
    ds: xr.Dataset,
    found: xr.Dataset,
    blocks: xr.Dataset | None = None,
    ax: Any = None,
    *,
    background: bool = False,
    margin: float = 0.6,
    time: str | None = None,
    t0: Any = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw a light curve with its blocks, T90, T50, T100 and background, and its cumulative fluence below.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with one band, the one that `found` is of.
    found
        Result of `batx.duration`.
    blocks
        Result of `batx.bayesian_blocks`, drawn as a line.
    ax
        `None` for a new figure, a Figure to draw in, or an array of two Axes.
    background
        As given to `batx.duration`.
    margin
        Time shown before and after T100, in units of its length.
    time, t0
        See `batx.plots.lightcurve.plot_lightcurve`.
    title
        Title; by default target and observation id.

    Returns
    -------
    numpy.ndarray of Axes
        Two: light curve and cumulative fluence.

    Raises
    ------
    KindError, ValueRangeError
        If `ds` has several bands, or is not the curve that `found` is of.
    """
    curve = fluence_fraction(ds, found, background=background)
    axis = time_axis(ds, float(ds["time_bnds"].values[0, 0]), time, t0)
    panels = make_axes(ax, 2, size=(7.2, 5.0), height_ratios=(2.2, 1.0))
    top, bottom = panels[0, 0], panels[1, 0]
    start, stop = float(found["t100_start"]), float(found["t100_stop"])
    reach = margin * (stop - start)
    bounds = ds["time_bnds"].values
    limits = axis(np.clip([start - reach, stop + reach], bounds[0, 0], bounds[-1, 1]))
    for panel in (top, bottom):
        _shade(panel, found, axis)
        panel.set_xlim(*limits)
    _draw_curve(top, ds, axis, (start - reach, stop + reach))
    if blocks is not None:
        values, _ = values_and_errors(blocks, "rate" if "rate" in blocks else "counts")
        scale = _bins_per_block(ds, blocks)
        edges = axis(blocks["time_bnds"].values)
        top.stairs(
            values[0, :, 0] / scale,
            np.append(edges[:, 0], edges[-1, 1]),
            baseline=None,
            color=PALETTE[2],
            linewidth=1.6,
            label="blocks",
            zorder=4,
        )
    note(top, band_label(*ds["energy_bnds"].values[0]))
    top.legend(loc="upper left", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.4)
    _draw_fraction(bottom, curve, axis)
    axis.decorate(bottom)
    top.set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    bottom.figure.align_ylabels([top, bottom])
    return simplify(panels)


def _shade(panel: Axes, found: xr.Dataset, axis: TimeAxis) -> None:
    """Shade the intervals, and mark the ends of T100."""

    def span(name: str) -> np.ndarray:
        return axis(np.array([[float(found[f"{name}_start"]), float(found[f"{name}_stop"])]]))

    draw_spans(
        panel,
        np.concatenate([span("background1"), span("background2")]),
        color=_BACKGROUND,
        label="background",
    )
    for name, color in (("t90", _T90), ("t50", _T50)):
        if f"{name}_start" in found:
            draw_spans(panel, span(name), color=color, label=_length(found, name))
    for k, place in enumerate(span("t100")[0]):
        label = None if k else f"T100 = {float(found['t100']):.4g} s"
        panel.axvline(place, color="#777777", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1, label=label)


def _length(found: xr.Dataset, name: str) -> str:
    """Return a duration with its error, to the digits of the error."""
    value, error = float(found[name]), float(found[f"{name}_err"])
    digits = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 2
    return f"{name.upper()} = {value:.{digits}f} ± {error:.{digits}f} s"


def _draw_curve(panel: Axes, ds: xr.Dataset, axis: TimeAxis, limits: tuple[float, float]) -> None:
    """Draw the bins within the limits."""
    name = "rate" if "rate" in ds else "counts"
    values, errors = values_and_errors(ds, name)
    bounds = ds["time_bnds"].values
    shown = (bounds[:, 1] > limits[0]) & (bounds[:, 0] < limits[1])
    draw_bins(
        panel,
        axis(bounds[shown]),
        values[0, shown, 0],
        None if errors is None else errors[0, shown, 0],
        color=PALETTE[0],
    )
    panel.set_ylabel(quantity_label(name.capitalize(), ds[name]).replace(" (", "\n(", 1))


def _bins_per_block(ds: xr.Dataset, blocks: xr.Dataset) -> np.ndarray | float:
    """Return what the counts of each block are divided by to be those of a bin."""
    if "rate" in blocks:
        return 1.0
    return blocks["exposure"].values / float(np.median(ds["exposure"].values))


def _draw_fraction(panel: Axes, curve: xr.Dataset, axis: TimeAxis) -> None:
    """Draw the cumulative fluence, its error, and the levels of T90 and T50."""
    x, y, error = axis(curve["time"].values), curve["fraction"].values, curve["fraction_err"].values
    panel.fill_between(x, y - error, y + error, color=PALETTE[1], alpha=0.25, linewidth=0, zorder=2)
    panel.plot(x, y, color=PALETTE[1], linewidth=1.0, zorder=3)
    panel.set_yticks(_LEVELS, [f"{100 * level:.0f} %" for level in _LEVELS])
    panel.yaxis.minorticks_off()
    panel.grid(axis="y", color="#999999", linewidth=0.5, zorder=1)
    panel.set_ylim(-0.08, 1.08)
    panel.set_ylabel("Fluence")
