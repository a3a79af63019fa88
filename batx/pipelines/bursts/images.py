"""Detector images and sky images before and after the slew, and what is seen in them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.detector_planes import detector_plane
from batx.engines import where_possible
from batx.errors import BatxError
from batx.intervals import gti_intersection
from batx.io.write import to_fits
from batx.io.write_region import to_region
from batx.pipelines.bursts.light import sky_parts
from batx.pipelines.bursts.names import BANDS, Files, interval, one
from batx.pipelines.frame import Work
from batx.schema import build
from batx.sky_coords import sky_to_pixel
from batx.sky_images import sky_image
from batx.sources import detect
from batx.summary import separation

__all__ = ["LEAST_SNR", "detection", "planes", "sky_images"]

#: product -> intervals whose intersection is taken
_TIMES = {"preburst": ("preslew", "bkg1"), "preslew": ("preslew", "tot"), "postslew": ("postslew",)}
#: where there is no slew that is known of, an image of the burst
_NO_SLEW = {"preburst": ("bkg1",), "total": ("tot",)}
_PCODE = 0.05
#: pixels of a postage stamp to either side of the source
_STAMP = 50
#: deg within which a known position is fitted; least significance
_ERR_RAD, LEAST_SNR = 4.0 / 60.0, 6.0


def planes(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write the counts of the detectors before the burst, in it before the slew, and after the slew."""
    names, compat = Files.of(work), work.options["compat"]
    events = one(work, "calibrate", "*_uf.evt")
    mask = one(work, "quality", "*_qmap.fits")
    slew_known = interval(work, "preslew") is not None or interval(work, "postslew") is not None
    if not slew_known:
        work.notes.append("no intervals around a slew: one image of the whole burst (total) instead")
    facts: dict[str, Any] = {}
    for name, spans in (_TIMES if slew_known else _NO_SLEW).items():
        found = [interval(work, span) for span in spans]
        missing = [span for span, times in zip(spans, found, strict=True) if times is None]
        times = None if missing else gti_intersection(*found)
        if times is None or not gti_intersection(times, events).sizes["gti"]:
            why = f"there is no interval '{missing[0]}'" if missing else "it has no good time"
            if missing == ["preslew"] and name == "preslew":
                why += "; for bursts while the spacecraft slews see batx.slew_mosaic"
            work.notes.append(f"no image '{name}': {why}")
            continue
        for bands, edges in BANDS.items():
            plane = where_possible(engine, detector_plane)(
                events, gti=times, energy=edges, detector_mask=mask, compat=compat
            )
            to_fits(plane, work.output(names.name("dpi", f"{name}_{bands}.dpi")))
        facts[name] = {"counts": int(plane["counts"].sum()), "exposure": float(plane["exposure"])}
    return facts


def sky_images(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Write images of the sky, their coding, and cut-outs around the position."""
    names, compat, parts = Files.of(work), work.options["compat"], sky_parts(work)
    position = work.before["fetch"].facts["position"]
    before = _plane(work, "preburst")
    facts: dict[str, Any] = {}
    for path in work.paths("planes", "*_1chan.dpi"):
        name = path.name.split("b_", 1)[1].removesuffix("_1chan.dpi")
        plane = one(work, "planes", f"*b_{name}_1chan.dpi")
        background = before if name in ("preslew", "total") else None
        if name in ("preslew", "total") and before is None:
            work.notes.append(f"sky image '{name}': no image before the burst to subtract")
        work.progress(f"sky image {name}")
        try:
            image = where_possible(engine, sky_image)(
                plane, background=background, pcode_min=_PCODE, compat=compat, **parts
            )
        except BatxError as error:
            work.notes.append(f"no sky image '{name}': {error}")
            continue
        to_fits(image, work.output(names.name("img", f"{name}_1chan.img")))
        if name != "preburst":
            to_fits(_coding(image), work.output(names.name("img", f"{name}.pcode")))
        facts[name] = {"snr_max": float(image["snr"].max())}
        if position:
            facts[name] |= _at(work, names, name, image, position)
    return facts


def _plane(work: Work, name: str) -> xr.Dataset | None:
    """Return the detector image of an interval in one band, `None` if there is none."""
    pattern = f"*b_{name}_1chan.dpi"
    return one(work, "planes", pattern) if work.paths("planes", pattern) else None


def _coding(image: xr.Dataset) -> xr.Dataset:
    return image.drop_vars([name for name in ("rate", "counts", "noise", "snr") if name in image])


def _at(work: Work, names: Files, name: str, image: xr.Dataset, position: dict[str, Any]) -> dict[str, Any]:
    """Write the cut-out around the position; return its place and coding."""
    x, y = (float(np.ravel(at)[0]) for at in sky_to_pixel(image, position["ra"], position["dec"]))
    if not (0 <= x <= image.sizes["imx"] - 1 and 0 <= y <= image.sizes["imy"] - 1):
        work.notes.append(f"sky image '{name}': the position is outside")
        return {}
    columns, rows = (slice(max(int(at) - _STAMP, 0), int(at) + _STAMP + 1) for at in (x, y))
    stamp = image.isel(imx=columns, imy=rows)
    to_fits(stamp, work.output(names.name("img", f"{name}_1chan_stamp.img")))
    return {"pcode": float(image["pcode"][int(y), int(x)])}


def detection(work: Work, engine: Any = "native") -> dict[str, Any]:
    """Look for sources in the images; refine the position in the image of the burst."""
    names, position = Files.of(work), work.before["fetch"].facts["position"]
    facts: dict[str, Any] = {}
    for path in work.paths("images", "*_1chan.img"):
        name = path.name.split("b_", 1)[1].removesuffix("_1chan.img")
        work.progress(f"sources in {name}")
        image = one(work, "images", f"*b_{name}_1chan.img")
        known = _known(position) if position else None
        search = partial(
            where_possible(engine, detect),
            image,
            catalog=known,
            snr=LEAST_SNR,
            pcode_min=_PCODE,
            compat=work.options["compat"],
        )
        try:
            found = search(fit_positions=known is not None)
            if known is not None and not _seen(found):
                # noise has no place to be fitted
                found = search(fit_positions=False)
        except BatxError as error:
            work.notes.append(f"no search for sources in '{name}': {error}")
            continue
        to_fits(found, work.output(names.name("img", f"{name}.cat")))
        if found.sizes["source"]:
            to_region(found, work.output(names.name("img", f"{name}.reg")))
        facts[name] = [_row(found, index) for index in range(found.sizes["source"])]
        if name in ("preslew", "total") and position:
            facts["refined"] = _refined(work, found, position)
    return facts


def _seen(found: xr.Dataset) -> bool:
    """Return whether the known source is significant."""
    return bool((found["snr"].values[found["known"].values] >= LEAST_SNR).any())


def _known(position: dict[str, Any]) -> xr.Dataset:
    variables = {"name": ["burst"], "ra": [position["ra"]], "dec": [position["dec"]], "err_rad": [_ERR_RAD]}
    return build("catalog", variables)


def _row(found: xr.Dataset, index: int) -> dict[str, Any]:
    row = found.isel(source=index)
    names = ("ra", "dec", "err_rad", "snr", "rate", "rate_err", "pcode", "chi2", "dof")
    values = {name: float(np.ravel(row[name].values)[0]) for name in names if name in row}
    return {"name": str(row["name"].values), "known": bool(row["known"])} | values


def _refined(work: Work, found: xr.Dataset, position: dict[str, Any]) -> dict[str, Any]:
    """Return the refined position of the burst; it is reported, weights are not made again."""
    rows = [index for index in range(found.sizes["source"]) if bool(found["known"][index])]
    if not rows:
        work.notes.append("the position is not in the image of the burst")
        return {}
    if not work.before["fetch"].facts["trigger"].get("point_source", True):
        work.notes.append("the message says that it is no point source (POINTSRC): no refined position")
        return {}
    row = _row(found, rows[0])
    if not row["snr"] >= LEAST_SNR:
        work.notes.append(f"the burst is at {row['snr']:.1f} sigma in its image: no refined position")
        return {}
    return row | {
        "radius_90": 10.92 * row["snr"] ** -0.7,
        "radius_formal": 60.0 * row["err_rad"] * float(np.sqrt(max(row["chi2"] / max(row["dof"], 1.0), 0.0))),
        "moved": 60.0 * float(separation(row["ra"], row["dec"], position["ra"], position["dec"])),
    }
