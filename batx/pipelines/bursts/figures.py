"""Pictures of the products of a burst."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxError
from batx.io.open import open_dataset
from batx.pipelines.bursts.names import one, some
from batx.pipelines.frame import SkippedError, Work
from batx.plots.canvas import figure_title

__all__ = ["figures"]

#: deg around the position that are shown
_ZOOM = 2.0
#: T90 (s) below which the burst is drawn in these bins
_WIDTHS = ((1.0, "4ms"), (20.0, "64ms"), (math.inf, "1s"))
#: s that are shown on either side of a burst at least
_AROUND = 1.0


def figures(work: Work) -> dict[str, Any]:
    """Draw what there is."""
    if not work.options["figures"]:
        raise SkippedError("figures were not asked for")
    made: list[str] = []
    for name, step, draw in _PICTURES:
        if step not in work.before or work.before[step].state == "done":
            work.progress(f"drawing {name}")
            made += _tried(work, name, draw)
    return {"figures": made}


def _tried(work: Work, name: str, draw: Callable[[Work, Path], list[str] | None]) -> list[str]:
    """Return the pictures that a function drew; a note if it could not."""
    try:
        drawn = draw(work, work.output(f"figures/{name}.png"))
    except BatxError as error:
        work.notes.append(f"no picture '{name}': {error}")
        return []
    return [name] if drawn is None else drawn


def _save(ds: xr.Dataset, path: Path, **options: Any) -> None:
    from batx.plots.page import save

    save(ds, path, **options)


def _burst(work: Work, path: Path) -> None:
    """Draw the bands of the burst and as much again on either side; all of them if none was found."""
    curve = one(work, "lightcurves", "*b_4chan_64ms.lc")
    if work.before["durations"].state == "done":
        start, stop = work.before["durations"].facts["spans"]["tot"]
        around = max(stop - start, _AROUND)
        time = curve["time"].values
        shown = np.flatnonzero((time > start - around) & (time < stop + around))
        curve = curve.isel(time=shown) if shown.size else curve
    _save(curve, path)


def _curve(name: str) -> Callable[[Work, Path], list[str] | None]:
    def draw(work: Work, path: Path) -> list[str] | None:
        _save(one(work, "lightcurves", f"*b_{name}.lc"), path)
        return None

    return draw


def _duration(work: Work, path: Path) -> list[str] | None:
    from batx.plots.duration import plot_duration

    found = work.paths("durations", "*_durations.nc")
    if not found:
        return []
    spans = open_dataset(found[0]).load()
    width = next(name for most, name in _WIDTHS if float(spans["t90"]) < most)
    curve = one(work, "lightcurves", f"*b_1chan_{width}.lc")
    blocks = one(work, "durations", "*b_1chan_bb.lc")

    def picture(ds: xr.Dataset, page: Any) -> None:
        plot_duration(ds, spans, blocks, page, background=True)

    _save(curve, path, draw=picture)
    return None


def _fits(work: Work, path: Path) -> list[str]:
    drawn = []
    for name, facts in work.before["fits"].facts.items():
        model = facts.get("preferred")
        if model is None:
            continue
        found = open_dataset(work.path("fits", f"*b_{name}_{model}.nc")).load()
        for kind, options in ((f"fit_{name}", {}), (f"fit_{name}_unfolded", {"unfolded": True})):
            _save(
                found, path.with_name(f"{kind}.png"), title=figure_title(found, f"{name}: {model}"), **options
            )
            drawn.append(kind)
    return drawn


def _plane(work: Work, path: Path) -> list[str]:
    drawn = []
    mask = some(work, "quality", "*_qmap.fits")
    for product in work.paths("planes", "*_1chan.dpi"):
        name = product.name.split("b_", 1)[1].removesuffix("_1chan.dpi")
        shown = one(work, "planes", f"*b_{name}_1chan.dpi")
        _save(shown, path.with_name(f"dpi_{name}.png"), detector_mask=mask)
        drawn.append(f"dpi_{name}")
    return drawn


def _mask(work: Work, path: Path) -> None:
    _save(one(work, "quality", "*_qmap.fits"), path)


def _attitude(work: Work, path: Path) -> list[str] | None:
    attitude = some(work, "fetch", "*.att")
    if attitude is None:
        return []
    trigger = work.before["fetch"].facts["trigger"].get("time")
    _save(attitude if trigger is None else attitude.assign_attrs(trigger_time=trigger), path)
    return None


def _trace(work: Work, path: Path) -> None:
    _save(one(work, "weights", "*.evaux"), path)


def _sky(work: Work, path: Path) -> list[str]:
    drawn = []
    position = work.before["fetch"].facts["position"]
    for product in work.paths("images", "*_1chan.img"):
        name = product.name.split("b_", 1)[1].removesuffix("_1chan.img")
        image = one(work, "images", f"*b_{name}_1chan.img")
        catalog = some(work, "detection", f"*b_{name}.cat")
        marked = {} if catalog is None or not catalog.sizes["source"] else {"catalog": catalog}
        _save(image, path.with_name(f"sky_{name}.png"), **marked)
        drawn.append(f"sky_{name}")
        if position and work.before["images"].facts[name].get("pcode") is not None:
            middle = position["ra"], position["dec"]
            _save(image, path.with_name(f"sky_{name}_zoom.png"), center=middle, radius=_ZOOM, **marked)
            drawn.append(f"sky_{name}_zoom")
    return drawn


#: name, step that must be done, function
_PICTURES: tuple[tuple[str, str, Callable[[Work, Path], Any]], ...] = (
    ("duration", "durations", _duration),
    ("lightcurve_64ms", "lightcurves", _burst),
    ("lightcurve_1s", "lightcurves", _curve("4chan_1s")),
    ("fits", "fits", _fits),
    ("sky", "images", _sky),
    ("planes", "planes", _plane),
    ("detector_mask", "quality", _mask),
    ("ray_trace", "weights", _trace),
    ("attitude", "fetch", _attitude),
)
