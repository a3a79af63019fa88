"""Time on the x axis: seconds from a reference, mission elapsed time, UTC, or MJD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.plots.canvas import LABEL_SIZE, TICK_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TimeAxis", "time_axis"]

_MODES = ("relative", "met", "utc", "mjd")


@dataclass(frozen=True)
class TimeAxis:
    """How MET becomes the coordinate of an axis.

    Attributes
    ----------
    mode
        ``"relative"`` (seconds from `origin`), ``"met"``, ``"utc"`` (matplotlib days) or ``"mjd"`` (UTC).
    origin
        MET that reads zero on a relative axis.
    attrs
        Attributes of the data, for the conversion to UTC.
    label
        Text of the axis.
    """

    mode: str
    origin: float
    attrs: Mapping[str, Any]
    label: str

    def __call__(self, met: np.ndarray) -> np.ndarray:
        """Return the axis coordinate of MET seconds."""
        if self.mode == "relative":
            return np.asarray(met) - self.origin
        if self.mode == "mjd":
            return _mjd(met, self.attrs)
        return np.asarray(met) if self.mode == "met" else _utc_days(met, self.attrs)

    def interval(self, start: float, stop: float) -> str:
        """Return an interval of MET as text for a legend."""
        if self.mode == "utc":
            return f"{_utc_text(start, self.attrs)} + {stop - start:g} s"
        low, high = (float(self(np.asarray(edge))) for edge in (start, stop))
        if self.mode == "mjd":
            return f"MJD {low:.6f} + {stop - start:g} s"
        return f"{low:.10g} to {high:.10g} s" if self.mode == "met" else f"{low:.4g} to {high:.4g} s"

    def decorate(self, ax: Axes) -> None:
        """Label the x axis of the lowest panel; no offsets on MET, clock times on UTC."""
        from matplotlib.ticker import MaxNLocator

        ax.set_xlabel(self.label)
        if self.mode == "utc":
            _format_utc(ax.xaxis)
        else:
            ax.ticklabel_format(axis="x", useOffset=False, style="plain")
        if self.mode in ("met", "mjd"):
            ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))

    def utc_on_top(self, ax: Axes) -> None:
        """Add UTC on the upper edge; it runs at the rate of MET, so the scale is linear."""
        start = float(_utc_days(np.asarray(self.origin), self.attrs))
        shift = self.origin if self.mode == "met" else 0.0
        unit = 86400.0
        if self.mode == "mjd":
            shift, unit = float(self(np.asarray(self.origin))), 1.0
        top = ax.secondary_xaxis(
            "top",
            functions=(
                lambda x: start + (np.asarray(x) - shift) / unit,
                lambda days: (np.asarray(days) - start) * unit + shift,
            ),
        )
        _format_utc(top.xaxis)
        ax.tick_params(which="both", top=False)
        top.tick_params(direction="in", labelsize=TICK_SIZE)
        top.set_xlabel("UTC", fontsize=LABEL_SIZE)


def time_axis(ds: xr.Dataset, first: float, mode: str | None = None, t0: Any = None) -> TimeAxis:
    """Return the time axis asked for, with the reference that the data offers.

    Parameters
    ----------
    ds
        Its attributes ``trigger_time`` and ``utcf`` are used.
    first
        MET at which the data starts: the reference where there is neither `t0` nor a trigger.
    mode
        ``"relative"`` (default), ``"met"``, ``"utc"`` or ``"mjd"`` (UTC).
    t0
        Reference of a relative axis: MET seconds, Quantity or Time.

    Raises
    ------
    ValueRangeError
        If `mode` is none of these.
    """
    mode = mode or "relative"
    if mode not in _MODES:
        raise ValueRangeError(f"time: found {mode!r}, expected one of {', '.join(_MODES)}")
    trigger = ds.attrs.get("trigger_time")
    origin, what = first, "start of data"
    if t0 is not None:
        from batx.met import to_met

        origin, what = float(to_met(t0, ds.attrs, name="t0")), "T0"
    elif trigger is not None and np.isfinite(trigger):
        origin, what = float(trigger), "trigger"
    label = {
        "relative": f"Time since {what} (s)   [{_moment(origin, ds.attrs)}]",
        "met": "Mission elapsed time (s)",
        "utc": "UTC",
        "mjd": "MJD (UTC)",
    }[mode]
    return TimeAxis(mode, origin, ds.attrs, label)


def _moment(met: float, attrs: Mapping[str, Any]) -> str:
    clock = f"MET {met:.3f}"
    return f"{_utc_text(met, attrs)} UTC, {clock}" if _has_utc(attrs) else clock


def _has_utc(attrs: Mapping[str, Any]) -> bool:
    """Whether UTC is known: Swift's clock drifts and needs its UTCF, other missions state their reference."""
    elsewhere = str(attrs.get("telescope", "SWIFT")).strip().upper() != "SWIFT"
    return "utcf" in attrs or (elsewhere and "mjdref_int" in attrs)


def _utc_text(met: float, attrs: Mapping[str, Any]) -> str:
    from batx.met import met_to_utc

    return str(met_to_utc(met, attrs=attrs)).replace("T", " ")


def _utc_days(met: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    """Return matplotlib day numbers (days since 1970-01-01 UTC)."""
    from batx.met import met_to_time

    return np.asarray(met_to_time(met, attrs=attrs).utc.plot_date)


def _mjd(met: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    from batx.met import met_to_mjd

    return met_to_mjd(met, attrs=attrs)


def _format_utc(axis: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axis.set_major_locator(locator)
    axis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            formats=["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S.%f"],
            zero_formats=["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M:%S"],
            offset_formats=["", "%Y", "%Y %b", "%Y %b %d", "%Y %b %d", "%Y %b %d"],
        )
    )
