"""Searches for periods and power spectra with the detection level, and pulse profiles over two cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.plots.canvas import (
    LINE_WIDTH,
    PALETTE,
    band_label,
    draw_bins,
    figure_title,
    make_axes,
    note,
    quantity_label,
    simplify,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_periodogram", "plot_pulse_profile"]

_NAMES = {
    "z2": "$Z^2_{{{n}}}$",
    "h": "$H$",
    "epoch_folding": r"$\chi^2$ ({dof} d.o.f.)",
    "power_spectrum": "Power",
}


def plot_periodogram(
    ds: xr.Dataset, ax: Any = None, *, log: bool | None = None, title: str | None = None
) -> Axes | np.ndarray:
    """Draw power against frequency, a panel for each band, with the detection level and the highest peak.

    Parameters
    ----------
    ds
        Kind ``periodogram``. Of several derivatives the best at each frequency is drawn.
    ax
        `None` for a new figure, a Figure to draw in, or one Axes for each band.
    log
        Logarithmic axes; by default where the highest frequency is more than 30 times the lowest, and power
        where the peak is more than 10 times the level.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One for each band.
    """
    power = ds["power"].transpose("frequency", ..., "energy")
    values = power.values.reshape(ds.sizes["frequency"], -1, ds.sizes["energy"]).max(axis=1)
    frequency = ds["frequency"].values
    wide = frequency[-1] > 30 * frequency[0] if log is None else log
    panels = make_axes(ax, values.shape[1], size=(7.2, 1.4 + 1.9 * values.shape[1]))
    for band, panel in enumerate(panels.ravel()):
        _draw_band(panel, ds, frequency, values[:, band], band, log)
        if wide:
            panel.set_xscale("log")
        panel.set_xlim(frequency[0], frequency[-1])
        panel.set_ylabel(_power_label(ds))
    panels.ravel()[-1].set_xlabel("Frequency (Hz)")
    panels.ravel()[0].set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    panels.ravel()[0].legend(
        loc="upper center", fontsize=8, framealpha=0.85, edgecolor="none", handlelength=1.8
    )
    return simplify(panels)


def _draw_band(
    panel: Axes, ds: xr.Dataset, frequency: np.ndarray, values: np.ndarray, band: int, log: bool | None
) -> None:
    color = PALETTE[1 + band % (len(PALETTE) - 1)]
    style = "steps-mid" if ds.attrs["method"] == "power_spectrum" else "default"
    panel.plot(frequency, values, color=color, linewidth=0.8 * LINE_WIDTH, drawstyle=style, zorder=3)
    best = int(np.nanargmax(values))
    level = float(ds["threshold"].values[band]) if "threshold" in ds else np.nan
    text = band_label(*ds["energy_bnds"].values[band])
    if np.isfinite(level):
        label = f"false alarm {ds.attrs.get('level', np.nan):.3g}"
        panel.axhline(level, color="#555555", linewidth=0.9, linestyle=(0, (5, 3)), zorder=2, label=label)
    if values[best] > level:
        text += f"\npeak at {frequency[best]:.6g} Hz"
        panel.plot(frequency[best], values[best], "v", color=color, markersize=5, zorder=4)
    if values[best] > 10 * level if log is None else log:
        lowest = np.nanpercentile(values, 10)
        panel.set_yscale("log")
        panel.set_ylim(np.nanmin([lowest, 0.3 * level]), 3 * values[best])
    else:
        panel.set_ylim(0, 1.15 * np.nanmax([values[best], level]))
    note(panel, text)


def _power_label(ds: xr.Dataset) -> str:
    method = ds.attrs["method"]
    name = _NAMES[method].format(n=ds.attrs.get("n_harmonics"), dof=int(ds.attrs.get("n_bins", 0)) - 1)
    if method != "power_spectrum":
        return name
    kind = {"leahy": "Leahy", "frac": "(rms/mean)$^2$/Hz"}.get(str(ds.attrs.get("norm")), "")
    return f"{name} ({kind})" if kind else name


def plot_pulse_profile(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    cycles: int = 2,
    normalize: bool = False,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw a pulse profile with its errors, repeated over two cycles, a panel for each band.

    Parameters
    ----------
    ds
        Kind ``pulse_profile``.
    ax
        `None` for a new figure, a Figure to draw in, or one Axes for each band.
    cycles
        How often it is drawn.
    normalize
        Divide by the mean over phase.
    title
        Title; by default target, observation id and frequency.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One for each band.

    Raises
    ------
    ValueRangeError
        If `cycles` is less than 1.
    """
    if cycles < 1:
        raise ValueRangeError(f"cycles: found {cycles}, expected at least 1")
    bounds = ds["phase_bnds"].values
    edges = np.concatenate([bounds + k for k in range(cycles)])
    rate, error = (ds[name].transpose("phase", "energy").values for name in ("rate", "rate_err"))
    panels = make_axes(ax, rate.shape[1], size=(6.0, 1.4 + 1.8 * rate.shape[1]))
    for band, panel in enumerate(panels.ravel()):
        mean = np.nanmean(rate[:, band]) if normalize else 1.0
        y, e = (np.tile(values[:, band] / mean, cycles) for values in (rate, error))
        draw_bins(panel, edges, y, e, color=PALETTE[1 + band % (len(PALETTE) - 1)])
        panel.axhline(np.nanmean(y), color="#999999", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        note(panel, band_label(*ds["energy_bnds"].values[band]))
        panel.set_ylabel(
            "Rate / mean" if normalize else quantity_label("Rate", ds["rate"]).replace(" (", "\n(")
        )
        panel.margins(y=0.18)
    bottom = panels.ravel()[-1]
    bottom.set_xlim(0, cycles)
    bottom.set_xlabel(_phase_label(ds))
    known = f"{float(ds['frequency']):.7g} Hz" if "frequency" in ds else ""
    text = figure_title(ds, *([known] if known else [])) if title is None else title
    panels.ravel()[0].set_title(text, loc="left", fontsize=10)
    bottom.figure.align_ylabels(list(panels.ravel()))
    return simplify(panels)


def _phase_label(ds: xr.Dataset) -> str:
    """Return the label of the axis of phase, with the time of phase 0."""
    if "epoch" not in ds:
        return "Phase (cycles)"
    from batx.met import met_to_utc

    epoch = float(ds["epoch"])
    moment = f"MET {epoch:.3f}"
    if "utcf" in ds.attrs:
        moment = f"{met_to_utc(epoch, attrs=ds.attrs)} UTC, {moment}".replace("T", " ", 1)
    return f"Phase (cycles)   [0 at {moment}]"
