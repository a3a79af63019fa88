"""The detector plane: counts, rates, weights and masks, with module gaps and masked detectors told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ValueRangeError
from batx.plots.canvas import band_label, figure_title, make_axes, quantity_label, simplify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_detector_mask", "plot_detector_plane"]

_MAX_PANELS = 25
_GAP, _MASKED = 0, 1
_BACKGROUND = ("#ffffff", "#bdbdbd")
_GOOD_COLOUR = "#31688e"


def plot_detector_plane(
    ds: xr.Dataset,
    ax: Any = None,
    *,
    detector_mask: xr.Dataset | xr.DataArray | None = None,
    limits: tuple[float, float] | None = None,
    cmap: str | None = None,
    colorbar: bool = True,
    title: str | None = None,
) -> Axes | np.ndarray:
    """Draw detector-plane images: one panel for each time and energy, all on one colour scale.

    Parameters
    ----------
    ds
        Dataset of kind ``detector_plane``; lazy values are computed once.
    ax
        `None` for a new figure, a Figure, or as many Axes as images.
    detector_mask
        Kind ``detector_mask`` or its ``good``: detectors that are not good are drawn grey.
    limits
        Ends of the colour scale; by default the 0.5 and 99.5 percentiles of the good detectors, so that a hot
        pixel does not decide. Values beyond are marked by the arrow of the colour bar.
    cmap
        Name of a matplotlib colour map; by default ``viridis``, and ``PuOr_r`` around zero for weights.
    colorbar
        Draw the colour bar.
    title
        Title; by default target and observation id.

    Returns
    -------
    matplotlib.axes.Axes or numpy.ndarray of Axes
        One Axes, or an array ``(time, energy)``. Each holds two images: gaps (white) and masked detectors
        (grey), and over them the values, in which both are masked.

    Raises
    ------
    EmptySelectionError
        If no good detector has a finite value.
    ValueRangeError
        If there are more than 25 images, or the shapes do not fit.
    """
    name = next(v for v in ("counts", "rate", "weight") if v in ds)
    array = ds[name].transpose(..., "dety", "detx")
    rows, columns = _grid(array)
    array = array.compute()
    images = array.values.astype(float).reshape(rows * columns, *array.shape[-2:])
    active = _active(ds)
    good = active & _good(detector_mask, active.shape)
    shown = np.ma.masked_array(images, ~(good & np.isfinite(images)))
    if not shown.count():
        raise EmptySelectionError(
            f"{name}: found no finite value in the {int(good.sum())} good of {int(active.sum())} detectors, "
            "nothing to draw"
        )
    signed = name == "weight"
    low, high = limits or _robust_limits(shown.compressed(), signed)
    panels = make_axes(ax, rows, columns, size=_size(rows, columns), sharey=True, hspace=0.08)
    for panel, image in zip(panels.flat, shown, strict=True):
        drawn = _draw(panel, image, active, cmap or ("PuOr_r" if signed else "viridis"), (low, high))
    _label_grid(panels, ds, title)
    if colorbar:
        values = shown.compressed()
        panels.flat[0].figure.colorbar(
            drawn,
            ax=list(panels.flat),
            label=quantity_label(name.capitalize(), ds[name], each="detector"),
            extend=_extend(values.min() < low, values.max() > high),
            shrink=0.9,
            aspect=20 * rows,
            pad=0.015,
        )
    n_masked = int(active.sum() - good.sum())
    if n_masked:
        _legend(panels, [(_BACKGROUND[_MASKED], f"masked ({n_masked} of {int(active.sum())})")])
    return simplify(panels)


def plot_detector_mask(ds: xr.Dataset, ax: Any = None, *, title: str | None = None) -> Axes:
    """Draw which detectors are good, which are not, and the gaps between the modules.

    Parameters
    ----------
    ds
        Dataset of kind ``detector_mask``.
    ax
        Axes or Figure to draw in; a new figure if `None`.
    title
        Title; by default target, observation id and the number of good detectors.

    Returns
    -------
    matplotlib.axes.Axes
        Its image has 0 in gaps, 1 at masked and 2 at good detectors.
    """
    from matplotlib.colors import ListedColormap

    good = ds["good"].transpose("dety", "detx").values.astype(bool)
    active = _active(ds)
    state = np.where(active, _MASKED + good.astype(int), _GAP)
    panel = make_axes(ax, 1, size=_size(1, 1))[0, 0]
    panel.imshow(
        state,
        cmap=ListedColormap([*_BACKGROUND, _GOOD_COLOUR]),
        vmin=-0.5,
        vmax=2.5,
        **_geometry(state.shape),
    )
    n_good, n_active = int((good & active).sum()), int(active.sum())
    _label_grid(np.array([[panel]]), ds, title if title is not None else figure_title(ds) or None)
    _legend(
        np.array([[panel]]),
        [(_GOOD_COLOUR, f"good ({n_good})"), (_BACKGROUND[_MASKED], f"masked ({n_active - n_good})")],
    )
    return panel


def _draw(panel: Axes, image: np.ndarray, active: np.ndarray, cmap: str, limits: tuple[float, float]) -> Any:
    """Draw gaps and masked detectors, and the values over them; return the image of the values."""
    from matplotlib.colors import ListedColormap

    panel.imshow(
        np.where(active, _MASKED, _GAP),
        cmap=ListedColormap(_BACKGROUND),
        vmin=0,
        vmax=1,
        **_geometry(active.shape),
    )
    return panel.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], **_geometry(active.shape))


def _geometry(shape: tuple[int, ...]) -> dict[str, Any]:
    height, width = shape
    return {
        "origin": "lower",
        "interpolation": "nearest",
        "aspect": "equal",
        "extent": (-0.5, width - 0.5, -0.5, height - 0.5),
    }


def _active(ds: xr.Dataset) -> np.ndarray:
    """Return where there is a detector: from the detector numbers, or from the plan of the instrument."""
    if "detid" in ds.variables:
        return ds["detid"].transpose("dety", "detx").values >= 0
    from batx.instrument.detector import DETECTOR

    shape = (ds.sizes["dety"], ds.sizes["detx"])
    return DETECTOR if DETECTOR.shape == shape else np.ones(shape, dtype=bool)


def _good(detector_mask: xr.Dataset | xr.DataArray | None, shape: tuple[int, ...]) -> np.ndarray:
    if detector_mask is None:
        return np.ones(shape, dtype=bool)
    array = detector_mask["good"] if isinstance(detector_mask, xr.Dataset) else detector_mask
    if array.shape != shape or array.dtype != bool:
        raise ValueRangeError(
            f"detector_mask: found {array.dtype} of shape {array.shape}, expected booleans (true = good) "
            f"of shape {shape}"
        )
    return array.values


def _grid(array: xr.DataArray) -> tuple[int, int]:
    """Return rows (times, positions) and columns (energies)."""
    columns = array.sizes.get("energy", 1)
    rows = int(np.prod(array.shape[:-2], dtype=int)) // columns
    if not 0 < rows * columns <= _MAX_PANELS:
        outer = {str(dim): size for dim, size in array.sizes.items() if dim not in ("dety", "detx")}
        raise ValueRangeError(
            f"found {rows * columns} images {outer}, expected 1 to {_MAX_PANELS} in one picture; "
            "select some first, for example ds.isel(time=0).bat.plot()"
        )
    return rows, columns


def _size(rows: int, columns: int) -> tuple[float, float]:
    width = 7.0 if columns == 1 else min(3.6 * columns + 0.8, 13.0)
    return width, 0.8 + rows * (0.25 + 0.605 * (width - 1.6) / columns)


def _robust_limits(values: np.ndarray, signed: bool) -> tuple[float, float]:
    low, high = np.percentile(values, [0.5, 99.5])
    if signed:
        high = max(abs(low), abs(high))
        low = -high
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _extend(below: bool, above: bool) -> str:
    return {(False, False): "neither", (True, False): "min", (False, True): "max"}.get((below, above), "both")


def _label_grid(panels: np.ndarray, ds: xr.Dataset, title: str | None) -> None:
    for panel in panels[-1]:
        panel.set_xlabel("DETX")
    for panel in panels[:, 0]:
        panel.set_ylabel("DETY")
    text = figure_title(ds) if title is None else title
    bands, times = _bounds(ds, "energy_bnds"), _bounds(ds, "time_bnds")
    for (row, column), panel in np.ndenumerate(panels):
        parts = [band_label(*bands[column])] if len(bands) == panels.shape[1] else []
        if len(times) == panels.shape[0]:
            parts.append(_interval(ds, times, row))
        own = ", ".join(parts)
        head = "\n".join(part for part in (text, own) if part) if row == column == 0 else own
        panel.set_title(head if title is None or panels.size > 1 else title, loc="left", fontsize=9.5)


def _bounds(ds: xr.Dataset, name: str) -> np.ndarray:
    return ds[name].values.reshape(-1, 2) if name in ds else np.empty((0, 2))


def _interval(ds: xr.Dataset, times: np.ndarray, row: int) -> str:
    zero = ds.attrs.get("trigger_time", times[0][0])
    start, stop = times[row] - zero
    return f"{start:.6g} to {stop:.6g} s"


def _legend(panels: np.ndarray, entries: list[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, edgecolor="#808080", linewidth=0.5, label=text) for colour, text in entries
    ]
    panels[0, -1].legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0 if panels.size == 1 else 1.11),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        borderaxespad=0.1,
        handlelength=1.2,
    )
