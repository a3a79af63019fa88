"""The tools of BAT, done by batx: a backend that reads files and parameters, and writes what they would.

For tests of what goes between tools and functions of batx, where the tools are not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

import batx
from batx.errors import BatxError
from batx.heasoft.backends import Call
from batx.heasoft.processes import Ending
from batx.heasoft.specs import Task


class NativeTools:
    """A backend; `calls` holds what was asked: names and parameters."""

    name = "native"

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []

    def parameters(self, task: Task) -> None:
        """Nothing is known of the parameters."""

    def version(self, task: Task) -> str:
        return "by batx"

    def execute(self, call: Call) -> Ending:
        given = dict(call.parameters)
        self.calls.append((call.task.name, given))
        try:
            getattr(self, call.task.name)(Files(call.folder, given))
        except BatxError as error:
            call.log.write_text(f"ERROR: {error}\n")
            return Ending(1)
        call.log.write_text(f"{call.task.name}: done\n")
        return Ending(0)

    def bathotpix(self, at: Files) -> None:
        at.write("outfile", batx.hot_pixels(at.read("infile"), at.read("detmask")))

    def batmaskwtevt(self, at: Files) -> None:
        frame = {name: at.read(name) for name in ("attitude", "aperture")} | {"alignment": at.read("teldef")}
        frame |= {"detector_mask": at.read("detmask")}
        near = {"distance": at.number("bat_z"), "origin": at.number("origin_z") or 0.0}
        near["frame"] = {"sky": "sky", "tanxy": "tangent"}[at.given["coord_type"]]
        place = float(at.given["ra"]), float(at.given["dec"])
        events = at.read("infile")
        near["corrections"] = at.given.get("corrections", "default")
        at.write("auxfile", batx.ray_trace(events, *place, **frame, **near))
        at.write("infile", batx.mask_weight(events, *place, **frame, **near))

    def batbinevt(self, at: Files) -> None:
        text = at.given["energybins"]
        path = at.folder / text
        text = path.read_text() if path.is_file() else text
        bands = np.array([[float(one) for one in band.split("-")] for band in text.split(",")])
        options: dict[str, Any] = {
            "energy": [*bands[:, 0], bands[-1, 1]],
            "detector_mask": at.read("detmask"),
        }
        kind, gti = at.given["outtype"], at.read("gtifile")
        quantity = at.given["outunits"].lower()
        if kind == "LC":
            bounds = None if gti is None else np.stack([gti["start"], gti["stop"]], axis=-1)
            times = {"dt": at.number("timedel")} if bounds is None else {"time": bounds}
        else:
            times = {"gti": gti}
        if kind != "DPI":
            options["weighting"] = "mask" if at.given["weighted"] == "YES" else "none"
        verb = {"LC": batx.lightcurve, "PHA": batx.spectrum, "DPI": batx.detector_plane}[kind]
        made = verb(at.read("infile"), **times, **options, quantity=quantity)
        at.write("outfile", made, **({"form": "dpi"} if kind == "DPI" else {}))

    def battblocks(self, at: Files) -> None:
        curve = at.read("infile")
        blocks = batx.bayesian_blocks(curve, lookback=at.number("tlookback") or 0.0)
        bounds = blocks["time_bnds"].values
        ends = {"tstart": bounds[0, 0], "tstop": bounds[-1, 1]}
        at.write("outfile", batx.build("gti", {"start": bounds[:, 0], "stop": bounds[:, 1]}, ends))
        if "durfile" not in at.given:
            return
        found = batx.duration(curve, blocks=blocks, background=at.given["bkgsub"] == "YES", peak=1.0)
        at.write("durfile", batx.duration_gti(found))
        for key in ("t90", "t50"):
            fits.setval(at.path("outfile"), f"{key.upper()}ERR", value=float(found[f"{key}_err"]), ext=1)

    def batupdatephakw(self, at: Files) -> None:
        at.write("infile", batx.add_position(at.read("infile"), at.read("auxfile")))

    def batphasyserr(self, at: Files) -> None:
        at.write("infile", batx.add_systematics(at.read("infile")))

    def batdrmgen(self, at: Files) -> None:
        at.write("outfile", batx.response(at.read("infile")))

    def batfftimage(self, at: Files) -> None:
        image = batx.sky_image(
            at.read("infile"),
            background=at.read("bkgfile"),
            pcode_min=at.number("pcodethresh"),
            **{name: at.read(name) for name in ("attitude", "aperture")},
            alignment=at.read("teldef"),
            detector_mask=at.read("detmask"),
            compat="heasoft",
        )
        maps = {"bkgvarmap": "noise", "signifmap": "snr"}
        if at.given.get("pcodemap") == "YES":
            at.write("outfile", image.drop_vars(["counts", *maps.values()]))
            return
        at.write("outfile", image.drop_vars(["pcode", *maps.values()]))
        for parameter, name in maps.items():
            at.write(parameter, image.drop_vars(["pcode", "counts", *set(maps.values()) - {name}]))

    def batcelldetect(self, at: Files) -> None:
        image = at.read("infile").assign(pcode=at.read("pcodefile")["pcode"].squeeze(drop=True))
        found = batx.detect(
            image,
            catalog=at.read("incatalog"),
            snr=at.number("snrthresh"),
            pcode_min=at.number("pcodethresh"),
            fit_positions=at.given["posfit"] == "YES",
        )
        numbers = np.where(found["known"], np.arange(found.sizes["source"]) + 1, -1)
        at.write("outfile", found.assign(catnum=("source", numbers, {"fits_name": "CATNUM"})))


class Files:
    """The files and numbers of a call."""

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self.folder, self.given = folder, given

    def path(self, name: str) -> Path:
        return self.folder / self.given[name]

    def read(self, name: str) -> Any:
        """Return what is in a file; `None` if the tool was not given one."""
        if self.given.get(name, "NONE") in ("NONE", "CALDB"):
            return None
        ds: xr.Dataset = batx.open_dataset(self.path(name)).load()
        ds.encoding.pop("source", None)
        return ds

    def number(self, name: str) -> float | None:
        return float(self.given[name]) if name in self.given else None

    def write(self, name: str, made: Any, **options: Any) -> None:
        batx.to_fits(made, self.path(name), overwrite=True, **options)
