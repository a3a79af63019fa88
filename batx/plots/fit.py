"""Fits of spectra: data over folded model with residuals, energy spectrum, contours, parameters in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import KindError, ValueRangeError
from batx.fit_tables import rounded
from batx.plots.canvas import PALETTE, draw_bins, figure_title, make_axes, note, simplify
from batx.plots.timeaxis import time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_contour", "plot_fit", "plot_fit_series"]

_ERG = 1.602176634e-9
#: parameters that are written in a picture
_LINES = 5
#: spectra that have colours of their own; more are on a scale of colours
_FEW = len(PALETTE) - 1
#: points of a contour along each axis; between those of its grid by cubic splines
_FINE = 301


def plot_fit(
    fit: xr.Dataset, ax: Any = None, *, unfolded: bool = False, title: str | None = None
) -> Axes | np.ndarray:
    """Draw what was fitted: rates with the folded model and residuals in sigma, or the energy spectrum.

    Parameters
    ----------
    fit
        Kind ``fit``, single or joint.
    ax
        `None` for a new figure, a Figure to draw in, or an array of two Axes (one if `unfolded`).
    unfolded
        Draw E² N(E) of the model with its 1-sigma band, and over it the data times model over folded model:
        where the points lie depends on the model, for the eye only.
    title
        Title; by default target and observation id, and the model.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes

    Raises
    ------
    KindError
        If `fit` has no bins of data, as that of a series (`plot_fit_series`).
    """
    if "bin_rate" not in fit:
        raise KindError(
            "plot_fit: found no bins of data; draw a single fit, or a series with plot_fit_series"
        )
    labels = np.asarray(fit["bin_spectrum"].values, str)
    names = list(dict.fromkeys(labels.tolist()))
    size = (6.2, 3.9) if unfolded else (6.2, 4.8)
    panels = make_axes(ax, 1 if unfolded else 2, size=size, height_ratios=None if unfolded else (3, 1))
    panel = panels[0, 0]
    colours = _colours(len(names))
    for number, name in enumerate(names):
        part = fit.isel(bin=np.flatnonzero(labels == name))
        colour = colours[number]
        label = name if len(names) > 1 else None
        if unfolded:
            _energy_spectrum(panel, fit, part, number, colour, label)
        else:
            _folded(panels, part, colour, label)
    _dress(panels, fit, names, unfolded)
    text = ", ".join(filter(None, [figure_title(fit), str(fit.attrs.get("model", ""))]))
    panel.set_title(text if title is None else title, loc="left", fontsize=10)
    note(panel, _summary(fit))
    return simplify(panels)


def _folded(panels: np.ndarray, part: xr.Dataset, colour: Any, label: str | None) -> None:
    edges = part["bin_energy_bnds"].values
    width = edges[:, 1] - edges[:, 0]
    rate, error, model = (part[name].values / width for name in ("bin_rate", "bin_rate_err", "bin_model"))
    top, below = panels[0, 0], panels[1, 0]
    middle = np.sqrt(np.maximum(edges[:, 0], 1e-3) * edges[:, 1])
    across = np.abs(edges.T - middle)
    top.errorbar(
        middle, rate, yerr=error, xerr=across, fmt="none", ecolor=colour, elinewidth=0.8, label=label
    )
    draw_bins(top, edges, model, None, color="#222222", floor=0.0)
    sigma = np.where(error > 0, (rate - model) / np.where(error > 0, error, 1.0), np.nan)
    below.errorbar(middle, sigma, yerr=1.0, xerr=across, fmt="none", ecolor=colour, elinewidth=0.8)


def _energy_spectrum(
    panel: Axes, fit: xr.Dataset, part: xr.Dataset, number: int, colour: Any, label: str | None
) -> None:
    energy = fit["curve_energy"].values
    curve, curve_err = (fit[name] for name in ("curve", "curve_err"))
    if "spectrum" in curve.dims:
        curve, curve_err = curve.isel(spectrum=number), curve_err.isel(spectrum=number)
    edges = part["bin_energy_bnds"].values
    inside = (energy >= edges.min()) & (energy <= edges.max())
    density = _ERG * energy**2
    low, high = (density * np.maximum(curve.values + sign * curve_err.values, 1e-99) for sign in (-1, 1))
    panel.fill_between(
        energy[inside], low[inside], high[inside], color=colour, alpha=0.25, linewidth=0, zorder=2
    )
    panel.plot(energy[inside], (density * curve.values)[inside], color=colour, linewidth=1.4, zorder=4)
    middle = np.sqrt(np.maximum(edges[:, 0], 1e-3) * edges[:, 1])
    model = part["bin_model"].values
    factor = np.interp(middle, energy, density * curve.values) / np.where(model > 0, model, np.nan)
    rate, error = part["bin_rate"].values * factor, part["bin_rate_err"].values * factor
    seen = rate > 0
    across = np.abs(edges.T - middle)
    bars = {"yerr": error[seen], "xerr": across[:, seen], "fmt": "none", "ecolor": colour}
    panel.errorbar(middle[seen], rate[seen], **bars, elinewidth=0.7, alpha=0.8, label=label, zorder=3)


def _dress(panels: np.ndarray, fit: xr.Dataset, names: list[str], unfolded: bool) -> None:
    panel, lowest = panels[0, 0], panels[-1, 0]
    labels = np.asarray(fit["bin_spectrum"].values, str)
    panel.set_xscale("log")
    panel.set_yscale("log", nonpositive="clip")
    edges = fit["bin_energy_bnds"].values
    lowest.set_xlim(edges.min() * 0.97, edges.max() * 1.03)
    lowest.set_xlabel("Energy (keV)")
    _plain_ticks(lowest)
    centre = np.sqrt(np.maximum(edges[:, 0], 1e-3) * edges[:, 1])
    if unfolded:
        panel.set_ylabel(r"$E^2 N(E)$ (erg cm$^{-2}$ s$^{-1}$)")
        energy = fit["curve_energy"].values
        level = np.atleast_2d(_ERG * energy**2 * fit["curve"].values)
        level = np.where((energy >= edges.min()) & (energy <= edges.max()), level, np.nan)
        _reach(panel, energy, np.nanmax(level, axis=0), np.nanmin(level) / 10, fit)
    else:
        width = edges[:, 1] - edges[:, 0]
        rate, model = fit["bin_rate"].values / width, fit["bin_model"].values / width
        highest = np.fmax(rate, model)
        bottoms = []
        for name in names:
            mine = np.concatenate([values[labels == name] for values in (rate, model)])
            mine = mine[mine > 0]
            if mine.size:
                bottoms.append(max(mine.min() * 0.5, mine.max() * 1e-5))
        if bottoms:
            _reach(panel, centre, highest, min(bottoms), fit)
        panel.set_ylabel("Rate (count/s/keV)")
        lowest.set_ylabel("Residual (σ)")
        lowest.axhline(0.0, color="#222222", linewidth=0.8, zorder=1)
        reach = max(3.5, float(np.nanmax(np.abs(lowest.get_ylim()))))
        lowest.set_ylim(-reach, reach)
    if len(names) > _FEW:
        panel.legend(
            fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3
        )
    elif len(names) > 1:
        panel.legend(fontsize=8, frameon=False, loc="lower left")


def _colours(count: int) -> list[Any]:
    """Return a colour for each spectrum: of the palette, or for many along a scale in their order."""
    if count <= _FEW:
        return list(PALETTE[1 : count + 1])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0.0, 0.92, count)))


def _plain_ticks(panel: Axes) -> None:
    """Write energies as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _reach(panel: Axes, energy: np.ndarray, values: np.ndarray, bottom: float, fit: xr.Dataset) -> None:
    """Set the range of a logarithmic axis so that the lines of text in its upper right corner have room."""
    place = np.log(energy / energy.min()) / max(np.log(energy.max() / energy.min()), 1e-9)
    shown = np.where(values > 0, values, bottom)
    right = shown[place > 0.45].max(initial=bottom)
    text = min(0.07 + 0.046 * (1 + _summary(fit).count("\n")), 0.6)  # the part of the height that it takes
    panel.set_ylim(bottom, max(2.0 * shown.max(), bottom * (1.5 * right / bottom) ** (1.0 / (1.0 - text))))


def _summary(fit: xr.Dataset) -> str:
    """Return statistic and free parameters as lines."""
    statistic = str(fit.attrs.get("fit_statistic", "")).replace("chi2", "χ²")
    lines = [f"{statistic} {float(fit['statistic']):.1f} / {int(fit['dof'])}"]
    frozen = fit["frozen"].values if "frozen" in fit else np.zeros(fit.sizes["parameter"], bool)
    free = np.flatnonzero(~frozen)
    lines += [rounded(fit.isel(parameter=number)) for number in free[:_LINES]]
    if free.size > _LINES:
        lines.append(f"and {free.size - _LINES} more parameters")
    if not bool(fit["converged"]):
        lines.append("not converged")
    return "\n".join(lines)


def plot_contour(contour: xr.DataArray, ax: Any = None, *, title: str | None = None) -> Axes:
    """Draw the rise of the statistic over two parameters, with lines at 68.3, 95.4 and 99.7 % of both.

    Parameters
    ----------
    contour
        Result of `batx.fit_contour`: (parameter, other parameter).
    ax
        `None` for a new figure, a Figure or Axes to draw in.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueRangeError
        If `contour` does not have two dimensions.
    """
    from scipy.interpolate import RectBivariateSpline
    from scipy.stats import chi2

    if contour.ndim != 2:
        raise ValueRangeError(f"plot_contour: found axes {contour.dims}, expected two parameters")
    panel = make_axes(ax, 1, size=(4.8, 4.0))[0, 0]
    first, second = (str(dim) for dim in contour.dims)
    spline = RectBivariateSpline(contour[first].values, contour[second].values, contour.values)
    y, x = (_fine(contour[name].values) for name in (first, second))
    rise = spline(y, x)
    levels = chi2.ppf([0.6827, 0.9545, 0.9973], 2)
    panel.contourf(x, y, rise, levels=[-1.0, *levels], colors=["#1b5a8a", "#69a5cf", "#cfe2f1"])
    panel.contour(x, y, rise, levels=levels, colors="#12344d", linewidths=0.9)
    for colour, text in zip(("#1b5a8a", "#69a5cf", "#cfe2f1"), ("68.3 %", "95.4 %", "99.7 %"), strict=True):
        panel.fill_between([], [], color=colour, label=text)
    panel.legend(fontsize=8, frameon=False, loc="upper left")
    best = contour.attrs.get("best")
    if best is not None:
        panel.plot(best[1], best[0], marker="+", color="#d55e00", markersize=10, markeredgewidth=1.6)
    _zoom(panel, x, y, rise < 1.6 * levels[-1])
    for axis, name in ((panel.xaxis, second), (panel.yaxis, first)):
        unit = contour[name].attrs.get("units", "1")
        axis.set_label_text(name if unit in ("1", "") else f"{name} ({unit})")
    panel.set_title(figure_title(contour.to_dataset(name="rise").assign_attrs(contour.attrs)) if title is None
                    else title, loc="left", fontsize=10)  # fmt: skip
    return panel


def _fine(values: np.ndarray) -> np.ndarray:
    return np.linspace(float(values[0]), float(values[-1]), _FINE)


def _zoom(panel: Axes, x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> None:
    """Show what is inside, if anything is."""
    for axis, along, set_limits in (
        (x, inside.any(axis=0), panel.set_xlim),
        (y, inside.any(axis=1), panel.set_ylim),
    ):
        if along.any():
            set_limits(axis[along][0], axis[along][-1])


def plot_fit_series(
    fit: xr.Dataset,
    ax: Any = None,
    *,
    parameters: list[str] | None = None,
    time: str | None = None,
    t0: Any = None,
    title: str | None = None,
) -> np.ndarray:
    """Draw the fits along time: flux, and each free parameter, with error bars.

    Parameters
    ----------
    fit
        Result of `batx.fit_series`.
    ax
        `None` for a new figure, a Figure, or an array of as many Axes as panels.
    parameters
        Names of the parameters shown; by default all that were fitted but scales (norm).
    time, t0
        How times are written, as for a light curve.
    title
        Title; by default target and observation id, and the model.

    Returns
    -------
    numpy.ndarray of Axes

    Raises
    ------
    KindError
        If `fit` has no time axis.
    """
    if "time" not in fit.dims:
        raise KindError("plot_fit_series: found no time axis; give the result of fit_series, or use plot_fit")
    if parameters is None:
        free = ~fit["frozen"].values
        names = [str(name) for name in fit["parameter"].values[free]]
        parameters = [name for name in names if not name.startswith("norm")] or names
    panels = make_axes(ax, 1 + len(parameters), size=(6.4, 1.6 + 1.5 * len(parameters)))
    bounds = fit["time_bnds"].values
    axis = time_axis(fit, float(bounds[0, 0]), time, t0)
    edges = axis(bounds)
    flux = fit["flux"] if "band" not in fit["flux"].dims else fit["flux"].isel(band=0)
    error = fit["flux_err"] if "band" not in fit["flux_err"].dims else fit["flux_err"].isel(band=0)
    _points(panels[0, 0], edges, flux.values, np.stack([error.values] * 2), PALETTE[0])
    band = fit["band_bnds"].values.reshape(-1, 2)[0] if "band_bnds" in fit else None
    where = f"\n{band[0]:g}-{band[1]:g} keV" if band is not None else ""
    panels[0, 0].set_ylabel(f"Flux{where}\n(erg cm$^{{-2}}$ s$^{{-1}}$)", fontsize=8)
    if (flux.values > 0).all() and flux.values.max() > 20 * flux.values.min():
        panels[0, 0].set_yscale("log")
    for number, name in enumerate(parameters, 1):
        entry = fit.sel(parameter=name)
        errors = np.stack([entry["error_low"].values, entry["error_high"].values])
        errors = np.where(np.isfinite(errors), errors, entry["error"].values)
        _points(panels[number, 0], edges, entry["value"].values, errors, PALETTE[number % len(PALETTE)])
        unit = str(entry["unit"].item()) if "unit" in entry.coords else "1"
        panels[number, 0].set_ylabel(name if unit == "1" else f"{name}\n({unit})", fontsize=8)
    axis.decorate(panels[-1, 0])
    text = ", ".join(filter(None, [figure_title(fit), str(fit.attrs.get("model", ""))]))
    panels[0, 0].set_title(text if title is None else title, loc="left", fontsize=10)
    return panels[:, 0]


def _points(panel: Axes, edges: np.ndarray, values: np.ndarray, errors: np.ndarray, colour: Any) -> None:
    middle = edges.mean(axis=1)
    good = np.isfinite(values)
    panel.errorbar(
        middle[good],
        values[good],
        yerr=np.nan_to_num(errors[:, good]),
        xerr=np.abs(edges.T - middle)[:, good],
        fmt="o",
        markersize=3,
        color=colour,
        elinewidth=0.9,
    )
