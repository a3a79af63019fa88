"""Survey sources against time: rates, their significance, fluxes or limits, and indices of spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ValueRangeError
from batx.plots.canvas import PALETTE, TICK_SIZE, band_label, draw_points, make_axes, simplify, telescope_of
from batx.plots.timeaxis import time_axis
from batx.survey_tables import survey_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["plot_survey"]

#: value -> label of its axis, and the column of its error
_VALUES = {
    "rate": ("Rate\n(count/s per detector)", "rate_err"),
    "snr": ("SNR", None),
    "flux": ("Flux\n(erg/cm$^2$/s)", "flux_err"),
    "index": ("Photon index", "index_err"),
}


def plot_survey(
    rates: xr.Dataset | Sequence[xr.Dataset],
    ax: Any = None,
    *,
    fit: Any = None,
    limit: Any = None,
    values: Sequence[str] | None = None,
    snr: float = 5.0,
    time: str = "mjd",
    t0: Any = None,
    title: str | None = None,
) -> Axes | np.ndarray:
    r"""Draw what is known of survey sources against time, a panel for each quantity.

    Points have bars as long as the bins in time. They are open where the source is not detected; there
    the panel of fluxes has the limit, with an arrow.

    Parameters
    ----------
    rates, fit, limit, snr
        As for `batx.survey_table`.
    ax
        `None` for a new figure, a Figure to draw in, or as many Axes as panels.
    values
        Panels from the top: ``"rate"``, ``"snr"``, ``"flux"``, ``"index"``; by default those for which there
        is something.
    time
        ``"mjd"``, ``"utc"``, ``"met"`` or ``"relative"``.
    t0
        Zero of the relative axis (MET s, Quantity or Time); by default the start of the data.
    title
        Title; by default the source, if it is one, and the telescope.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One for each panel.

    Raises
    ------
    KindError, ValueRangeError
        As for `batx.survey_table`; if a value or `time` is unknown.
    EmptySelectionError
        If no source has a rate.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from batx.schema import build
    >>> curve = build("lightcurve", {"time": [5.0], "time_bnds": [[0, 10]], "energy": [104.5],
    ...     "energy_bnds": [[14, 195]], "exposure": [10.0], "fracexp": [1.0],
    ...     "rate": (("time", "energy"), [[3e-3]]), "rate_err": (("time", "energy"), [[2e-4]])},
    ...     {"statistic": "gaussian", "weighting": "mask", "object": "Cyg X-1", "utcf": 0.0})
    >>> [panel.get_ylabel() for panel in plot_survey(curve, ax=Figure())]
    ['Rate\n(count/s per detector)', 'SNR']
    """
    table = survey_table(rates, fit, limit, snr=snr)
    table = table[np.isfinite(table["rate"])] if len(table) else table
    if not len(table):
        raise EmptySelectionError("plot_survey: found no source with a rate")
    shown = _shown(table, values)
    first = rates if isinstance(rates, xr.Dataset) else next(iter(rates))
    axis = time_axis(first, float(table["tstart"].min()), time, t0)
    panels = make_axes(ax, len(shown), size=(7.2, 1.0 + 1.7 * len(shown)))[:, 0]
    series = list(table.groupby("source", sort=False))
    for number, (name, rows) in enumerate(series):
        color = PALETTE[number % len(PALETTE)]
        edges = axis(rows[["tstart", "tstop"]].to_numpy(float))
        for panel, value in zip(panels, shown, strict=True):
            _draw(panel, value, rows, edges, color, str(name) if len(series) > 1 else None)
    _finish(panels, shown, snr)
    bands = sorted({tuple(one["energy_bnds"].values[0].tolist()) for one in _each(rates)})
    if len(bands) == 1:
        panels[0].set_title(band_label(*bands[0]), loc="right", fontsize=TICK_SIZE)
    axis.decorate(panels[-1])
    if title is None:
        name = str(series[0][0]) if len(series) == 1 else ""
        title = ", ".join(filter(None, [name, telescope_of(first.attrs)]))
    panels[0].set_title(title, loc="left", fontsize=10)
    if len(series) > 1:
        panels[0].legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, fontsize=8, frameon=False, handlelength=1.0
        )
    panels[-1].figure.align_ylabels(list(panels))
    return simplify(panels[:, None])


def _each(rates: xr.Dataset | Sequence[xr.Dataset]) -> list[xr.Dataset]:
    return [rates] if isinstance(rates, xr.Dataset) else list(rates)


def _shown(table: pd.DataFrame, values: Sequence[str] | None) -> list[str]:
    """Return the panels: those asked for, or those with something in them."""
    if values is None:
        there = {"rate", "snr"}
        there |= {"flux"} if _any(table, "flux", "flux_limit") else set()
        there |= {"index"} if _any(table, "index") else set()
        return [name for name in _VALUES if name in there]
    listed = [values] if isinstance(values, str) else list(values)
    unknown = [name for name in listed if name not in _VALUES]
    if unknown or not listed:
        raise ValueRangeError(f"values: found {unknown or listed}, expected some of {', '.join(_VALUES)}")
    return listed


def _any(table: pd.DataFrame, *names: str) -> bool:
    return any(name in table and bool(np.isfinite(table[name]).any()) for name in names)


def _draw(
    panel: Axes, value: str, rows: pd.DataFrame, edges: np.ndarray, color: Any, label: str | None
) -> None:
    """Draw one quantity of a source."""
    detected = rows["detected"].to_numpy(bool)
    error = _VALUES[value][1]
    points = _column(rows, value)
    errors = None if error is None else _column(rows, error)
    for chosen, filled in ((detected, True), (~detected, False)):
        if np.isfinite(points[chosen]).any():
            draw_points(
                panel,
                edges[chosen],
                points[chosen],
                None if errors is None else errors[chosen],
                color=color,
                label=label if filled or not detected.any() else None,
                filled=filled,
            )
    limits = _column(rows, "flux_limit")
    if value == "flux" and np.isfinite(limits).any():
        draw_points(panel, edges, limits, 0.15 * limits, color=color, filled=False, limits=True)


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column as numbers; NaN where there is none."""
    return rows[name].to_numpy(float) if name in rows else np.full(len(rows), np.nan)


def _finish(panels: np.ndarray, shown: Sequence[str], snr: float) -> None:
    from matplotlib.ticker import MaxNLocator

    for panel, value in zip(panels, shown, strict=True):
        panel.set_ylabel(_VALUES[value][0])
        panel.margins(x=0.03, y=0.12)
        if value in ("rate", "snr"):
            panel.axhline(0.0, color="#9a9a9a", linewidth=0.6, zorder=1)
        if value == "snr":
            panel.axhline(snr, color="#9a9a9a", linewidth=0.6, linestyle="--", zorder=1)
        if value == "flux" and _spans_decades(panel):
            panel.set_yscale("log")
        else:
            panel.yaxis.set_major_locator(MaxNLocator(5, prune="both"))


def _spans_decades(panel: Axes) -> bool:
    """Whether the values in a panel are all above 0 and differ by more than a factor of 20."""
    low, high = panel.dataLim.intervaly
    return bool(low > 0 and high > 20 * low)
