"""Spectra: logarithmic steps with error bars, one line for each time or position."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError
from batx.plots.canvas import PALETTE, draw_bins, figure_title, make_axes, quantity_label
from batx.plots.timeaxis import time_axis
from batx.positions import source_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_spectrum"]


def plot_spectrum(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    per_kev: bool = True,
    energy: tuple[float, float] | None = None,
    systematic: bool = False,
    time: str | None = None,
    t0: Any = None,
    errors: bool = True,
    color: Any = None,
    title: str | None = None,
) -> Axes:
    """Draw a spectrum, its channels exactly as they are, or a family of them along time.

    Parameters
    ----------
    ds
        Dataset of kind ``spectrum``; lazy values are computed once.
    ax
        Axes or Figure to draw in; a new figure if `None`.
    per_kev
        Divide by the width of each channel (the height then does not depend on the binning).
    energy
        Range shown (keV). By default all channels but those that collect everything below or above.
    systematic
        Add ``sys_err`` (a fraction of the value) to the error bars in quadrature.
    time, t0
        How times are written in the legend of a family, as for a light curve.
    errors
        Draw 1-sigma error bars. Poisson counts without ``stat_err`` take the square root.
    color
        Colour of all lines; by default each has its own.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes
        A value below zero has no place on a logarithmic axis: of such a channel only the part of the error
        bar above zero is seen.

    Raises
    ------
    EmptySelectionError
        If no channel has a positive value.
    MissingVariableError
        If the channels have no energies and `per_kev` or `energy` asks for them.
    """
    name = "rate" if "rate" in ds else "counts"
    wanted = [name, "stat_err", "sys_err", "quality", "energy_bnds", "time_bnds", "channel"]
    sources = source_names(ds)
    ds = ds[[v for v in wanted if v in ds.variables]].compute()
    has_energy = "energy_bnds" in ds
    if energy is not None and not has_energy:
        raise MissingVariableError(
            "energy: found channels without 'energy_bnds', expected their energies; leave energy out"
        )
    edges = ds["energy_bnds"].values if has_energy else ds["channel"].values[:, np.newaxis] + [-0.5, 0.5]
    values, sigma = _values(ds, name, systematic)
    density = per_kev and has_energy
    if density:
        width = edges[:, 1] - edges[:, 0]
        values, sigma = values / width, None if sigma is None else sigma / width
    shown = _shown_channels(edges, energy) if has_energy else np.ones(len(edges), dtype=bool)
    edges, values = edges[shown], values[:, shown]
    sigma = None if sigma is None or not errors else sigma[:, shown]
    if not (values > 0).any():
        raise EmptySelectionError(
            f"{name}: found no positive value in {values.shape[1]} channels, nothing to draw"
        )
    panel = make_axes(ax, 1, size=(6.2, 4.2))[0, 0]
    if has_energy:
        panel.set_xscale("log")
        panel.set_xlabel("Energy (keV)")
    else:
        panel.set_xlabel("Channel")
    panel.set_yscale("log", nonpositive="clip")
    times = _intervals(ds, time, t0)
    each = times if len(times) > 1 else [""]
    labels = [", ".join(filter(None, parts)) for parts in product(sources or [""], each)]
    for row, colour in enumerate(_colours(len(values), color)):
        draw_bins(
            panel,
            edges,
            values[row],
            None if sigma is None else sigma[row],
            color=colour,
            label=labels[row] if len(values) > 1 else None,
            floor=0.0,
        )
    panel.set_ylabel(quantity_label(name.capitalize(), ds[name], "/keV" if density else "", "channel"))
    if title is None:
        title = ", ".join(filter(None, [figure_title(ds), times[0] if len(times) == 1 else ""]))
    panel.set_title(title, loc="left", fontsize=10)
    panel.set_xlim(edges[0, 0], edges[-1, 1])
    panel.set_ylim(*_limits(values, sigma))
    _format_log(panel, has_energy)
    if len(values) > 1:
        panel.legend(fontsize=8, frameon=False, ncols=1 + (len(values) > 8))
    return panel


def _values(ds: xr.Dataset, name: str, systematic: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values and errors as ``(line, channel)``, a line for each time and position; bad are NaN."""
    array = ds[name].transpose(..., "channel")
    values = array.values.astype(float)
    if "quality" in ds:
        values = np.where(ds["quality"].values == 0, values, np.nan)
    if "stat_err" in ds:
        sigma = np.broadcast_to(ds["stat_err"].transpose(..., "channel").values.astype(float), values.shape)
    elif name == "counts" and ds.attrs.get("statistic") == "poisson":
        sigma = np.sqrt(np.maximum(values, 0.0))
    else:
        sigma = None
    if systematic and sigma is not None and "sys_err" in ds:
        sigma = np.hypot(sigma, values * ds["sys_err"].transpose(..., "channel").values)
    n_channels = values.shape[-1]
    return values.reshape(-1, n_channels), None if sigma is None else sigma.reshape(-1, n_channels)


def _shown_channels(edges: np.ndarray, energy: tuple[float, float] | None) -> np.ndarray:
    """Return which channels are in `energy`, or else which are not open-ended catch-alls."""
    if energy is not None:
        return (edges[:, 1] > energy[0]) & (edges[:, 0] < energy[1])
    with np.errstate(divide="ignore"):
        ratio = edges[:, 1] / edges[:, 0]
    regular = (edges[:, 0] > 0) & (ratio < 10)
    return regular if regular.any() else edges[:, 1] > 0


def _intervals(ds: xr.Dataset, mode: str | None, t0: Any) -> list[str]:
    """Return the interval of each spectrum in words, empty where it is not known."""
    if "time_bnds" not in ds:
        return [""] * ds.sizes.get("time", 1)
    bounds = ds["time_bnds"].values.reshape(-1, 2)
    axis = time_axis(ds, float(bounds[0, 0]), mode, t0)
    return [axis.interval(*pair) for pair in bounds]


def _colours(n_lines: int, color: Any) -> list[Any]:
    if color is not None:
        return [color] * n_lines
    if n_lines <= len(PALETTE):
        return list(PALETTE[:n_lines])
    import matplotlib as mpl

    return list(mpl.colormaps["viridis"](np.linspace(0.0, 0.9, n_lines)))


def _limits(values: np.ndarray, sigma: np.ndarray | None) -> tuple[float, float]:
    """Return y limits around the values above their error; those below may leave at the bottom."""
    upper = values if sigma is None else values + np.where(values > 0, sigma, 0.0)
    significant = values[values > (0.0 if sigma is None else sigma)]
    low = np.min(significant if significant.size else values[values > 0])
    return float(low * 0.4), float(np.nanmax(upper) * 1.6)


def _format_log(panel: Axes, has_energy: bool) -> None:
    """Write energies as plain numbers: 15, 20, 50, 100."""
    if not has_energy:
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    if high / low < 300:
        panel.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=20))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
