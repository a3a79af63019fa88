"""Pointing, source position and good time against time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError
from batx.plots.canvas import LINE_WIDTH, PALETTE, draw_spans, figure_title, make_axes, simplify
from batx.plots.timeaxis import TimeAxis, time_axis
from batx.positions import source_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_attitude", "plot_gti", "plot_ray_trace"]

_FLAGS = {"settled": "settled", "ten_arcmin": "within 10'", "in_saa": "in SAA", "safe_hold": "safe hold"}
_GOOD_TIME = "#cfe6d8"


def plot_attitude(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    time: str | None = None,
    t0: Any = None,
    utc_axis: bool = False,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw right ascension, declination and roll against time, and the flags as bars.

    Parameters
    ----------
    ds
        Dataset of kind ``attitude``. Without ``ra``, ``dec`` and ``roll`` the quaternion is drawn.
    ax
        `None` for a new figure, a Figure, or as many Axes as panels (three or four, and one for the flags).
    time, t0, utc_axis
        The x axis, as for a light curve.
    title
        Title; by default target and observation id.
    """
    names = [name for name in ("ra", "dec", "roll") if name in ds]
    flags = [name for name in _FLAGS if name in ds]
    ds = ds[[*(names or ["quaternion"]), *flags]].compute()
    met = _times(ds)
    axis = time_axis(ds, float(met[0]), time, t0)
    curves = {
        f"{name.upper() if name == 'ra' else name.capitalize()} (deg)": ds[name].values for name in names
    }
    curves = curves or {
        f"Quaternion {i}": row for i, row in enumerate(ds["quaternion"].transpose("q", "time").values)
    }
    ratios = [1.0] * len(curves) + ([0.25 * len(flags)] if flags else [])
    panels = make_axes(ax, len(ratios), size=(7.2, 0.9 + 1.35 * sum(ratios)), height_ratios=ratios)
    x = axis(met)
    broken = _gaps(met)
    for panel, (label, values) in zip(panels[:, 0], curves.items(), strict=False):
        if label.startswith(("RA", "Roll")):
            values, jumps = _continuous(values)
            panel.yaxis.set_major_formatter(lambda angle, _: f"{angle % 360.0:g}")
            _line(panel, x, values, broken=broken | jumps, color=PALETTE[0])
        else:
            _line(panel, x, values, broken=broken, color=PALETTE[0])
        panel.set_ylabel(label)
    if flags:
        _draw_flags(panels[-1, 0], x, {_FLAGS[name]: ds[name].values for name in flags})
    _finish(panels, ds, axis, x, utc_axis, title)
    return simplify(panels)


def plot_ray_trace(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    time: str | None = None,
    t0: Any = None,
    utc_axis: bool = False,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw the position of a source in the field (IMX, IMY) and its coding fraction against time.

    The last trace holds until the end of the data (``attrs["tstop"]``).

    Parameters
    ----------
    ds
        Dataset of kind ``ray_trace``, with or without a ``source`` dimension.
    ax
        `None` for a new figure, a Figure, or as many Axes as panels (two where there is no coding fraction).
    time, t0, utc_axis
        The x axis, as for a light curve.
    title
        Title; by default target and observation id.
    """
    curves = {"imx": "IMX", "imy": "IMY", "pcode": "Partial coding"}
    curves = {name: label for name, label in curves.items() if name in ds}
    names = source_names(ds)
    ds = ds[list(curves)].compute()
    met = _times(ds)
    rows = np.arange(met.size)
    if (end := float(ds.attrs.get("tstop", met[-1]))) > met[-1]:
        met, rows = np.append(met, end), np.append(rows, rows[-1])
    axis = time_axis(ds, float(met[0]), time, t0)
    panels = make_axes(ax, len(curves), size=(7.2, 0.7 + 1.5 * len(curves)))
    x = axis(met)
    n_sources = ds.sizes.get("source", 1)
    for panel, (name, label) in zip(panels[:, 0], curves.items(), strict=True):
        values = ds[name].transpose(..., "time").values.reshape(n_sources, -1)
        for source, line in enumerate(values):
            _line(
                panel,
                x,
                line[rows],
                color=PALETTE[source % len(PALETTE)],
                label=names[source] if names else None,
            )
        panel.set_ylabel(label)
        if name == "pcode":
            panel.set_ylim(0.0, 1.05)
    if n_sources > 1:
        panels[0, 0].legend(fontsize=8, frameon=False, ncols=2)
    _finish(panels, ds, axis, x, utc_axis, title)
    return simplify(panels)


def plot_gti(
    ds: xr.Dataset, ax: Any = None, *, time: str | None = None, t0: Any = None, title: str | None = None
) -> Axes:
    """Draw good time: shaded in given Axes, under what is there; as bars of its own otherwise.

    Parameters
    ----------
    ds
        Dataset of kind ``gti``.
    ax
        Axes to shade (its x axis must be the one asked for by `time` and `t0`), a Figure, or `None`.
    time, t0
        The x axis, as for a light curve.
    title
        Title of a picture of its own; by default the number of intervals and their total.
    """
    from matplotlib.axes import Axes as MplAxes

    spans = np.column_stack([ds["start"].values, ds["stop"].values])
    if not len(spans):
        raise EmptySelectionError("gti: found no interval, nothing to draw")
    axis = time_axis(ds, float(spans[0, 0]), time, t0)
    if isinstance(ax, MplAxes):
        draw_spans(ax, axis(spans), label="good time", color=_GOOD_TIME)
        return ax
    panel = make_axes(ax, 1, size=(7.2, 1.5))[0, 0]
    x = axis(spans)
    _bars(panel, x, 0.0)
    panel.set_xlim(*_padded(x[0, 0], x[-1, 1]))
    panel.set_ylim(-0.8, 0.8)
    panel.set_yticks([0.0], ["good time"])
    panel.tick_params(axis="y", which="both", length=0)
    axis.decorate(panel)
    text = figure_title(ds, f"{len(spans)} interval(s), {np.diff(spans).sum():.6g} s")
    panel.set_title(text if title is None else title, loc="left", fontsize=10)
    return panel


def _times(ds: xr.Dataset) -> np.ndarray:
    if not ds.sizes.get("time"):
        raise EmptySelectionError("time: found no row, nothing to draw")
    return ds["time"].values


def _gaps(met: np.ndarray) -> np.ndarray:
    """Return after which rows there is none for much longer than usual."""
    step = np.diff(met)
    return step > 20.0 * np.median(step) if step.size else np.zeros(0, dtype=bool)


def _continuous(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an angle that runs on through 360 degrees, or, if it turns further, as it is; and its jumps."""
    smooth = np.unwrap(angle.astype(float), period=360.0)
    drawn = smooth if np.ptp(smooth) < 360.0 else angle % 360.0
    return drawn, np.abs(np.diff(drawn)) > 180.0


def _line(
    panel: Axes,
    x: np.ndarray,
    y: np.ndarray,
    *,
    color: str,
    label: str | None = None,
    broken: np.ndarray | None = None,
) -> None:
    """Draw a line, interrupted after the rows where `broken` is true; a single row is a point."""
    if broken is not None and broken.any():
        after = np.flatnonzero(broken) + 1
        x, y = np.insert(x, after, np.nan), np.insert(y.astype(float), after, np.nan)
    panel.plot(x, y, color=color, linewidth=LINE_WIDTH, marker="." if len(x) == 1 else "", label=label)


def _draw_flags(panel: Axes, x: np.ndarray, flags: dict[str, np.ndarray]) -> None:
    ends = np.append(x[1:], x[-1])
    for row, flag in enumerate(flags.values()):
        change = np.flatnonzero(np.diff(np.concatenate([[False], flag.astype(bool), [False]]).astype(int)))
        spans = np.column_stack([x[change[::2]], ends[change[1::2] - 1]])
        _bars(panel, spans, float(row), PALETTE[1 + row])
    panel.set_ylim(len(flags) - 0.4, -0.6)
    panel.set_yticks(range(len(flags)), list(flags))
    panel.tick_params(axis="y", which="both", length=0)


def _bars(panel: Axes, spans: np.ndarray, row: float, color: str = PALETTE[3]) -> None:
    panel.broken_barh([(a, b - a) for a, b in spans], (row - 0.35, 0.7), facecolors=color, edgecolors="none")


def _finish(
    panels: np.ndarray, ds: xr.Dataset, axis: TimeAxis, x: np.ndarray, utc_axis: bool, title: str | None
) -> None:
    panels[0, 0].set_xlim(*_padded(x[0], x[-1]))
    axis.decorate(panels[-1, 0])
    if utc_axis and axis.mode != "utc":
        axis.utc_on_top(panels[0, 0])
    panels[0, 0].set_title(figure_title(ds) if title is None else title, loc="left", fontsize=10)
    panels[-1, 0].figure.align_ylabels(list(panels[:, 0]))


def _padded(start: float, stop: float) -> tuple[float, float]:
    pad = 0.02 * (stop - start) or 0.5
    return start - pad, stop + pad
