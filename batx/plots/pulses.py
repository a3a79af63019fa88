"""Pulses of a burst over its light curve, with what the fit leaves."""

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
    note,
    quantity_label,
    simplify,
)
from batx.plots.timeaxis import time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_pulses"]


def plot_pulses(
    found: xr.Dataset, ax: Any = None, *, time: str | None = None, t0: Any = None, title: str | None = None
) -> Axes | np.ndarray:
    """Draw a light curve with the pulses fitted to it and their sum, and below the residuals in errors.

    Parameters
    ----------
    found
        Result of `batx.fit_pulses`.
    ax
        `None` for a new figure, a Figure to draw in, or an array of two Axes.
    time, t0
        See `batx.plots.lightcurve.plot_lightcurve`.
    title
        Title; by default target and observation id.

    Returns
    -------
    numpy.ndarray of Axes
        Two: light curve and residuals.

    Raises
    ------
    KindError
        If `found` is no result of `batx.fit_pulses`.
    """
    if "pulse_model" not in found:
        raise KindError("plot_pulses: found no pulse_model; give the result of fit_pulses()")
    bounds = found["time_bnds"].values
    axis = time_axis(found, float(bounds[0, 0]), time, t0)
    panels = make_axes(ax, 2, size=(7.2, 5.0), height_ratios=(2.6, 1.0))
    top, bottom = panels[0, 0], panels[1, 0]
    edges, middle = axis(bounds), axis(found["time"].values)
    rate, error, model = (found[name].values for name in ("rate", "rate_err", "model"))
    draw_bins(top, edges, rate, error, color="#777777", label="data")
    for k in range(found.sizes["pulse"]):
        curve = found["pulse_model"].values[k] + found["baseline_model"].values
        top.plot(middle, curve, color=PALETTE[1 + k % 6], linewidth=1.2, linestyle=(0, (5, 2)), zorder=4)
    top.plot(middle, model, color=PALETTE[0], linewidth=1.6, label="sum of pulses", zorder=5)
    top.set_ylabel(quantity_label("Rate", found["rate"]).replace(" (", "\n(", 1))
    top.legend(loc="upper left", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.6)
    statistic = {"chi2": "χ²", "cstat": "C"}[found.attrs.get("fit_statistic", "chi2")]
    goodness = f"{statistic} = {float(found['statistic']):.1f} for {int(found['dof'])} degrees of freedom"
    note(top, f"{band_label(*found['energy_bnds'].values)}\n{goodness}")
    bottom.axhline(0.0, color="#999999", linewidth=0.6, zorder=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(error > 0, (rate - model) / error, np.nan)
    draw_bins(bottom, edges, residual, None, color="#777777")
    bottom.set_ylabel("Residual\n(errors)")
    for panel in (top, bottom):
        panel.set_xlim(edges[0, 0], edges[-1, 1])
    axis.decorate(bottom)
    top.set_title(figure_title(found) if title is None else title, loc="left", fontsize=10)
    bottom.figure.align_ylabels([top, bottom])
    return simplify(panels)
