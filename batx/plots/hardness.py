"""Hardness against time, below the light curves that it is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError
from batx.plots.canvas import (
    PALETTE,
    band_label,
    draw_bins,
    figure_title,
    make_axes,
    quantity_label,
    simplify,
)
from batx.plots.lightcurve import values_and_errors
from batx.plots.timeaxis import TimeAxis, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_hardness"]

_LABELS = {"difference": "(H − S)/(H + S)", "ratio": "H/S", "log": "log₁₀ H/S"}
#: values whose interval is wider than this many times the median one do not set the scale of the axis
_WIDE = 4.0


def plot_hardness(
    ds: xr.Dataset,
    found: xr.Dataset,
    ax: Any = None,
    *,
    time: str | None = None,
    t0: Any = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw light curves of the bands, and below them the hardness of each pair with its intervals.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with the bands, in the bins of `found` or narrower ones.
    found
        Result of `batx.hardness`.
    ax
        `None` for a new figure, a Figure to draw in, or an array of two Axes.
    time, t0
        See `batx.plots.lightcurve.plot_lightcurve`.
    title
        Title; by default target and observation id.

    Returns
    -------
    numpy.ndarray of Axes
        Two: light curves and hardness.

    Raises
    ------
    KindError
        If `found` is no result of `batx.hardness`.
    ValueRangeError
        If `ax` has the wrong number of Axes, or `time` is unknown.
    """
    if "hardness" not in found or "pair" not in found.dims:
        raise KindError("plot_hardness: found no hardness along pairs; give the result of hardness()")
    bounds = found["time_bnds"].values
    axis = time_axis(ds, float(bounds[0, 0]), time, t0)
    panels = make_axes(ax, 2, size=(7.2, 5.0), height_ratios=(1.2, 1.0))
    top, bottom = panels[0, 0], panels[1, 0]
    _draw_curves(top, ds, found, axis)
    for k in range(found.sizes["pair"]):
        _draw_hardness(bottom, found.isel(pair=k), axis, k)
    bottom.axhline(
        0.0 if found.attrs.get("hardness_form") != "ratio" else 1.0, color="#999999", linewidth=0.6
    )
    bottom.set_ylim(*_limits(found))
    bottom.set_ylabel(f"Hardness\n{_LABELS[found.attrs.get('hardness_form', 'difference')]}")
    bottom.legend(loc="best", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.4)
    for panel in (top, bottom):
        panel.set_xlim(*axis(np.array([bounds[0, 0], bounds[-1, 1]])))
    axis.decorate(bottom)
    top.set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    bottom.figure.align_ylabels([top, bottom])
    return simplify(panels)


def _draw_curves(panel: Axes, ds: xr.Dataset, found: xr.Dataset, axis: TimeAxis) -> None:
    """Draw the bands that occur in a pair, in the time of the hardness."""
    name = "rate" if "rate" in ds else "counts"
    values, errors = values_and_errors(ds, name)
    bounds, energies = ds["time_bnds"].values, ds["energy_bnds"].values
    ends = found["time_bnds"].values[[0, -1], [0, 1]]
    shown = (bounds[:, 1] > ends[0]) & (bounds[:, 0] < ends[1])
    used = np.concatenate([found["soft_bnds"].values, found["hard_bnds"].values])
    bands = [k for k, band in enumerate(energies) if np.any(np.all(used == band, axis=1))]
    for place, k in enumerate(bands):
        draw_bins(
            panel,
            axis(bounds[shown]),
            values[0, shown, k],
            None if errors is None else errors[0, shown, k],
            color=PALETTE[place % len(PALETTE)],
            label=band_label(*energies[k]),
        )
    panel.set_ylabel(quantity_label(name.capitalize(), ds[name]).replace(" (", "\n(", 1))
    panel.legend(loc="upper right", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.4)


def _draw_hardness(panel: Axes, pair: xr.Dataset, axis: TimeAxis, number: int) -> None:
    """Draw the values of one pair as crosses: the bin across, the interval upright."""
    value, low, high = (pair[name].values for name in ("hardness", "hardness_low", "hardness_high"))
    known = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    edges = axis(pair["time_bnds"].values[known])
    soft, hard = (band_label(*pair[name].values) for name in ("soft_bnds", "hard_bnds"))
    # the median of a posterior and the ratio of rates both lie in their interval but for rounding
    distance = np.clip([value - low, high - value], 0.0, None)[:, known]
    panel.errorbar(
        edges.mean(axis=1),
        value[known],
        xerr=0.5 * (edges[:, 1] - edges[:, 0]),
        yerr=distance,
        fmt="o" if number % 2 == 0 else "s",
        markersize=2.5,
        color=PALETTE[(number + 1) % len(PALETTE)],
        elinewidth=0.8,
        linewidth=0.8,
        label=f"H {hard}, S {soft}",
        zorder=3,
    )


def _limits(found: xr.Dataset) -> tuple[float, float]:
    """Return the range of the intervals, of those that are not much wider than most."""
    low, high = found["hardness_low"].values.ravel(), found["hardness_high"].values.ravel()
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return -1.0, 1.0
    width = (high - low)[known]
    narrow = width <= _WIDE * np.median(width)
    bottom, top = low[known][narrow].min(), high[known][narrow].max()
    margin = 0.08 * max(top - bottom, 1e-6)
    return float(bottom - margin), float(top + margin)
