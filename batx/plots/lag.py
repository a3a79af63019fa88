"""Cross-correlations of bands with the fits to their peaks: where the lags come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError
from batx.plots.canvas import PALETTE, draw_spans, figure_title, make_axes, note, simplify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_lag"]

_LAG = "#f7c873"
#: share of the axis shown beside the range of the fit
_BESIDE = 0.5


def plot_lag(
    found: xr.Dataset, ax: Any = None, *, whole: bool = False, title: str | None = None
) -> Axes | np.ndarray:
    """Draw the correlation of each pair of bands with the curve fitted to its peak, and the lag.

    Parameters
    ----------
    found
        Result of `batx.lag`.
    ax
        `None` for a new figure, a Figure to draw in, or an array of as many Axes as pairs.
    whole
        Show all delays, not only those around the fit.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One for each pair.

    Raises
    ------
    KindError
        If `found` is no result of `batx.lag`.
    """
    if "ccf" not in found or "pair" not in found.dims:
        raise KindError("plot_lag: found no ccf along pairs; give the result of lag()")
    n_pairs = found.sizes["pair"]
    columns = min(n_pairs, 1 if n_pairs == 1 else 2 if n_pairs in (2, 4) else 3)
    rows = -(-n_pairs // columns)
    size = (4.6 if columns == 1 else 3.4 * columns, 0.8 + 2.4 * rows)
    given = isinstance(ax, np.ndarray)
    panels = make_axes(
        ax, 1 if given else rows, n_pairs if given else columns, size=size, sharex=False, hspace=0.08
    )
    for panel in panels.ravel()[n_pairs:]:
        panel.set_axis_off()
    for k, panel in enumerate(panels.ravel()[:n_pairs]):
        _draw(panel, found.isel(pair=k), whole)
    for panel in panels[:, 0]:
        panel.set_ylabel("Correlation")
    for panel in panels.ravel()[max(0, n_pairs - columns) : n_pairs]:
        panel.set_xlabel("Delay of the soft band (s)")
    first = panels.ravel()[0]
    first.set_title(figure_title(found) if title is None else title, loc="left", fontsize=10)
    return simplify(panels.ravel()[:n_pairs])


def _draw(panel: Axes, pair: xr.Dataset, whole: bool) -> None:
    """Draw one correlation."""
    delay, ccf, error = (pair[name].values for name in ("delay", "ccf", "ccf_err"))
    start, stop = float(pair["fit_start"]), float(pair["fit_stop"])
    beside = _BESIDE * (stop - start)
    shown = np.ones(delay.size, bool)
    if not whole and np.isfinite(beside):
        shown = (delay >= start - beside) & (delay <= stop + beside)
    panel.fill_between(
        delay[shown],
        (ccf - error)[shown],
        (ccf + error)[shown],
        color=PALETTE[0],
        alpha=0.18,
        linewidth=0,
        step="mid",
        zorder=2,
    )
    panel.step(delay[shown], ccf[shown], where="mid", color=PALETTE[0], linewidth=0.8, zorder=3)
    panel.axvline(0.0, color="#999999", linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
    lag = float(pair["lag"])
    if np.isfinite(lag):
        low, high = lag - float(pair["lag_err_low"]), lag + float(pair["lag_err_high"])
        draw_spans(panel, np.array([[low, high]]), color=_LAG)
        panel.axvline(lag, color=PALETTE[2], linewidth=1.0, zorder=4)
    panel.plot(delay, pair["ccf_fit"].values, color=PALETTE[1], linewidth=1.8, zorder=5)
    panel.set_xlim(delay[shown][0], delay[shown][-1])
    bottom, top = panel.get_ylim()
    panel.set_ylim(bottom, top + 0.32 * (top - bottom))
    note(panel, f"{pair['pair'].item()}\n{_text(pair)}")


def _text(pair: xr.Dataset) -> str:
    """Return the lag with its errors, to the digits of these, in ms or s."""
    lag, low, high = (float(pair[name]) for name in ("lag", "lag_err_low", "lag_err_high"))
    if not np.isfinite(lag):
        return "no significant peak"
    error = max(0.5 * (low + high), 1e-9)
    factor, unit = (1e3, "ms") if error < 0.1 else (1.0, "s")
    digits = max(0, 1 - int(np.floor(np.log10(factor * error))))
    values = [f"{factor * value:.{digits}f}".replace("-", "−") for value in (lag, low, high)]
    if values[1] == values[2]:
        return f"lag {values[0]} ± {values[1]} {unit}"
    return f"lag {values[0]} −{values[1]} +{values[2]} {unit}"
