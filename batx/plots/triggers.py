"""A raw light curve with its fitted background, and the triggers that were found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.backgrounds import subtract_background
from batx.plots.canvas import PALETTE, draw_spans
from batx.plots.lightcurve import plot_lightcurve
from batx.plots.timeaxis import TimeAxis, time_axis
from batx.schema import KINDS, require_kind
from batx.schema.axes import with_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_triggers"]

_CURVE, _EVENT, _FOREGROUND, _OFF = "#4d4d4d", "#fde5c0", "#f7b94a", "#009E73"
#: triggers that are described in the legend
_NAMED = 3


def plot_triggers(
    ds: xr.Dataset,
    triggers: xr.Dataset | None = None,
    background: xr.Dataset | None = None,
    ax: Any = None,
    *,
    time: str | None = None,
    t0: Any = None,
    title: str | None = None,
    color: Any = _CURVE,
    **options: Any,
) -> Axes | np.ndarray:
    """Draw a raw light curve, the background fitted to it, and triggers shaded; a panel for each band.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, raw.
    triggers
        Result of `batx.rate_trigger`: the foreground is shaded in the bands in which it is most significant,
        all overlapping ones, in a lighter colour, in all.
    background
        Result of `batx.background`: drawn as a line with its error; a bar at the lower edge is where it was
        fitted.
    ax
        `None` for a new figure, a Figure to draw in, or an array of one Axes a band.
    time, t0, title, color, **options
        See `batx.plots.lightcurve.plot_lightcurve`.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One Axes for one band, else one for each.

    Raises
    ------
    KindError
        If an argument is of another kind.
    EmptySelectionError, ValueRangeError
        As `batx.plots.lightcurve.plot_lightcurve`.
    """
    require_kind(ds, "lightcurve", operation="plot_triggers")
    ds = with_axes(ds, KINDS["lightcurve"])
    drawn = plot_lightcurve(ds, ax, time=time, t0=t0, title=title, color=color, **options)
    panels = np.atleast_1d(np.asarray(drawn, dtype=object)).ravel()
    axis = time_axis(ds, float(ds["time_bnds"].values[0, 0]), time, t0)
    if triggers is not None:
        require_kind(triggers, "triggers", operation="plot_triggers")
        for panel, bounds in zip(panels, ds["energy_bnds"].values, strict=True):
            _shade(panel, triggers, bounds, axis, named=panel is panels[0])
    if background is not None:
        expected = subtract_background(ds, background)
        for band, panel in enumerate(panels):
            _draw_background(panel, ds, expected, band, axis)
        if "off" in background:
            bounds = background["time_bnds"].values
            for panel in panels:
                _mark(panel, axis(bounds[background["off"].values]))
    if panels[0].get_legend_handles_labels()[1]:
        panels[0].legend(loc="upper left", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.4)
    return drawn


def _shade(panel: Axes, triggers: xr.Dataset, bounds: np.ndarray, axis: TimeAxis, named: bool) -> None:
    """Shade the triggers in the panel of a band."""
    events = axis(np.column_stack([triggers["event_start"].values, triggers["event_stop"].values]))
    draw_spans(panel, events, color=_EVENT)
    best = np.argsort(-triggers["snr"].values, kind="stable")
    for k in best:
        one = triggers.isel(trigger=k)
        inside = one["energy_low"] <= bounds[0] + 1e-6 and bounds[1] <= one["energy_high"] + 1e-6
        label = (
            f"{float(one['snr']):.1f} σ, {float(one['timescale']):g} s, "
            f"{float(one['energy_low']):g}-{float(one['energy_high']):g} keV"
        )
        span = axis(np.array([[float(one["start"]), float(one["stop"])]]))
        shown = label if named and k in best[:_NAMED] else None
        draw_spans(panel, span, color=_FOREGROUND if inside else _EVENT, label=shown)


def _draw_background(panel: Axes, ds: xr.Dataset, expected: xr.Dataset, band: int, axis: TimeAxis) -> None:
    """Draw the background of a band in the unit of the curve, broken at gaps."""
    exposure = expected["exposure"].values
    scale = 1.0 if "counts" in ds else np.where(exposure > 0, exposure, np.nan)
    design = expected["background_design"].values
    covariance = expected["background_covariance"].values[band]
    error = np.sqrt(np.einsum("ti,ij,tj->t", design, covariance, design)) / scale
    level = np.where(exposure > 0, expected["background"].values[:, band] / scale, np.nan)
    bounds = ds["time_bnds"].values
    broken = np.flatnonzero(bounds[1:, 0] - bounds[:-1, 1] > 0.5 * (bounds[:-1, 1] - bounds[:-1, 0])) + 1
    x, level, error = (np.insert(one, broken, np.nan) for one in (bounds.mean(axis=1), level, error))
    panel.fill_between(
        axis(x), level - error, level + error, color=PALETTE[2], alpha=0.35, linewidth=0, zorder=4
    )
    panel.plot(axis(x), level, color=PALETTE[2], linewidth=1.3, zorder=4.1, label="background")


def _mark(panel: Axes, spans: np.ndarray) -> None:
    """Mark the bins that were fitted at the lower edge."""
    joined = np.flatnonzero(spans[1:, 0] - spans[:-1, 1] > 1e-3 * (spans[:-1, 1] - spans[:-1, 0]))
    starts, stops = np.append(0, joined + 1), np.append(joined, len(spans) - 1)
    panel.broken_barh(
        [(spans[i, 0], spans[j, 1] - spans[i, 0]) for i, j in zip(starts, stops, strict=True)],
        (0.0, 0.025),
        transform=panel.get_xaxis_transform(),
        facecolors=_OFF,
        edgecolors="none",
        label="fitted",
        zorder=5,
    )
