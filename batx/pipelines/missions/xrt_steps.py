"""Steps of the pipeline of Swift-XRT: observations of a source to spectra fitted jointly, and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from batx.count_images import count_image
from batx.errors import EmptySelectionError, MissingFileError
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.pipelines.missions import joint
from batx.pipelines.missions.places import files_of, header_row, newest, only, region_files, save_regions
from batx.pipelines.missions.places import observations as all_observations
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ToolSteps, drawn, each, place, put, put_products
from batx.plots.epochs import plot_epochs, plot_rates, plot_selection
from batx.plots.page import save
from batx.region_curves import region_lightcurve
from batx.regions import read_regions

__all__ = [
    "Xrt",
    "cleaned",
    "curves",
    "event_lists",
    "figures",
    "group",
    "images",
    "observations",
    "regions",
    "response_files",
    "select",
]

#: arcsec: 20 pixels, which hold 90 % of a point source at 1.5 keV; the background around it
SOURCE_RADIUS, BACKGROUND_RADII = 47.0, (120.0, 240.0)
#: bins of light curves with a smaller fraction of good time are left out
_LEAST_FRACTION = 0.1
#: images on a page
_PANELS = 20
_LISTS = ("xrt/event/*xpc*po_cl.evt*", "xrt/event/*xpc*po_uf.evt*")
#: folder of each observation by its id, and the event lists of the archive of all
observations = partial(all_observations, inside="xrt")
event_lists = partial(files_of, inside="xrt", pattern="xrt/event/*.evt*")


def select(work: Work) -> dict[str, Any]:
    """Choose the observations that are exposed for long enough; write the table of all of them."""
    rows = []
    for name, folder in observations(work.options).items():
        path = next((path for path in (newest(folder, one) for one in _LISTS) if path is not None), None)
        if path is None:
            rows.append(
                {
                    "obs_id": name,
                    "object": "",
                    "start_mjd": float("nan"),
                    "stop_mjd": float("nan"),
                    "exposure": 0.0,
                    "reason": "no events in photon-counting mode",
                }
            )
            continue
        row = header_row(path) | {"obs_id": name}
        short = row["exposure"] < work.options["min_exposure"]
        rows.append(row | {"reason": "exposed for too short a time" if short else ""})
    table = pd.DataFrame(rows)
    table["used"] = table["reason"] == ""
    table = table.sort_values("start_mjd", kind="stable")
    table.to_csv(work.output("observations.csv"), index=False)
    if not table["used"].any():
        raise EmptySelectionError(
            f"none of {len(table)} observations is exposed for {work.options['min_exposure']:g} s in "
            f"photon-counting mode; the longest is for {table['exposure'].max():g} s"
        )
    return {"used": table["obs_id"][table["used"]].tolist(), "of": len(table)}


def regions(work: Work) -> dict[str, Any]:
    """Write the regions of source and background, one for all observations or as they were saved."""
    for name in ("all", *work.before["select"].facts["used"]):
        saved = Path(work.options["regions"]) / f"{name}_source.reg" if work.options.get("regions") else None
        if name == "all" or (saved is not None and saved.is_file()):
            save_regions(work, name, SOURCE_RADIUS, BACKGROUND_RADII)
    return {}


class Xrt(ToolSteps):
    """The steps that call tools."""

    def pipeline(self, work: Work) -> dict[str, Any]:
        """Run xrtpipeline on each observation; its cleaned events in photon-counting mode are the product."""
        folders = observations(work.options)
        calls = {
            name: self.toolbox.request(
                work,
                name,
                tool("xrtpipeline"),
                indir=folders[name],
                outdir=place(work, name) / "out",
                steminputs=f"sw{name}",
                srcra=work.options["ra"],
                srcdec=work.options["dec"],
            )
            for name in work.before["select"].facts["used"]
        }
        found = {}
        for name, result in self.toolbox.run(work, calls).items():
            lists = [path for path in result.products["events"] if "xpc" in path.name]
            if not lists:
                work.notes.append(f"{name}: xrtpipeline made no events in photon-counting mode")
                continue
            longest = max(lists, key=lambda path: header_row(path)["exposure"])
            if len(lists) > 1:
                work.notes.append(
                    f"{name}: of {len(lists)} event lists {longest.name} is the longest and is used"
                )
            put(work, longest, f"events/{name}/{longest.name}")
            found[name] = f"events/{name}/{longest.name}"
        return {"events": found}

    def exposure(self, work: Work) -> dict[str, Any]:
        """Run xrtexpomap on each event list."""
        folders = observations(work.options)
        calls = {
            name: self.toolbox.request(
                work,
                name,
                tool("xrtexpomap"),
                infile=path,
                attfile=only(folders[name], "attitude", "auxil/sw*pat.fits*", "auxil/sw*sat.fits*"),
                hdfile=only(folders[name], "housekeeping", "xrt/hk/sw*xhd.hk*"),
                outdir=place(work, name) / "out",
                stemout=f"sw{name}xpc",
            )
            for name, path in cleaned(work)
        }
        found = {}
        for name, result in self.toolbox.run(work, calls).items():
            path = result.products["map"][0]
            put(work, path, f"exposure/{path.name}")
            found[name] = f"exposure/{path.name}"
        return {"maps": found}

    def products(self, work: Work) -> dict[str, Any]:
        """Run xrtproducts on each event list: spectra, light curve, effective area."""
        folders, calls = observations(work.options), {}
        maps = work.before["exposure"].facts.get("maps", {})
        for name, path in cleaned(work):
            source, background = region_files(work, "regions", name)
            calls[name] = self.toolbox.request(
                work,
                name,
                tool("xrtproducts"),
                infile=path,
                regionfile=source,
                bkgregionfile=background,
                expofile=work.root / maps[name] if name in maps else "NONE",
                attfile=newest(folders[name], "auxil/sw*pat.fits*", "auxil/sw*sat.fits*"),
                hdfile=newest(folders[name], "xrt/hk/sw*xhd.hk*"),
                outdir=place(work, name) / "out",
                stemout=f"sw{name}xpc",
                binsize=work.options["dt"],
                pilow=round(100 * work.options["energy"][0]),
                pihigh=round(100 * work.options["energy"][1]) - 1,
            )
        return {"products": put_products(work, self.toolbox.run(work, calls))}


def cleaned(work: Work) -> Iterator[tuple[str, Path]]:
    """Yield name and event list of each observation."""
    for name, path in work.before["pipeline"].facts["events"].items():
        yield name, work.root / path


def group(work: Work) -> dict[str, Any]:
    """Group the spectra, and put the files that they name beside them."""

    def one(name: str, files: Mapping[str, str]) -> dict[str, Any]:
        area = work.root / files["area"] if "area" in files else None
        parts = joint.Parts(
            work.root / files["spectrum"],
            work.root / files["background"] if "background" in files else None,
            _redistribution(work.options, area),
            area,
        )
        counts = work.options["min_counts"]
        return joint.grouped(work, name, parts, min_counts=counts, energy=work.options["energy"], shared=True)

    return {"spectra": each(work, work.before["products"].facts["products"], one)}


def response_files(options: Mapping[str, Any]) -> list[Path]:
    """Return the response file that a user gave."""
    path = Path(options["response"]) if options.get("response") else None
    return [path] if path is not None and path.is_file() else []


def _redistribution(options: Mapping[str, Any], area: Path | None) -> Path:
    """Return the redistribution: the file or in the folder given, or that of the calibration database."""
    given = Path(options["response"]) if options.get("response") else None
    if given is not None and given.is_file():
        return given
    name = str(open_dataset(area).attrs.get("respfile", "")).strip() if area is not None else ""
    caldb = os.environ.get("CALDB", "")
    places = [given] if given is not None else []
    if caldb and "://" not in caldb:
        places.append(Path(caldb) / "data/swift/xrt/cpf/rmf")
    for folder in places:
        for ending in ("", ".gz"):
            if name and (folder / f"{name}{ending}").is_file():
                return folder / f"{name}{ending}"
    raise MissingFileError(
        f"the redistribution {name or 'of the spectrum'} is not in "
        f"{', '.join(map(str, places)) or '$CALDB (not set)'}; "
        "give response=, the file or a folder of such files (swxpc*.rmf, calibration database of Swift-XRT)"
    )


def curves(work: Work) -> dict[str, Any]:
    """Make the light curve of each observation, and the table of the mean rates of all."""
    rows = {}

    def one(name: str, path: Path) -> dict[str, Any]:
        source, background = (read_regions(file) for file in region_files(work, "regions", name))
        events = open_dataset(path)
        how: dict[str, Any] = {"energy": tuple(work.options["energy"]), "min_fracexp": 0.0}
        curve = region_lightcurve(events, source, background, dt=work.options["dt"], **how)
        exposed = curve["fracexp"].values > _LEAST_FRACTION
        to_fits(
            curve.isel(time=exposed if exposed.any() else slice(None)), work.output(f"lightcurves/{name}.lc")
        )
        ends = float(curve["gti_start"].min()), float(curve["gti_stop"].max())
        whole = region_lightcurve(events, source, background, time=[ends], **how)
        days = met_to_mjd(ends, attrs=events.attrs)
        return {
            "obs_id": name,
            "start_mjd": float(days[0]),
            "stop_mjd": float(days[1]),
            "rate": float(whole["rate"].item()),
            "rate_err": float(whole["rate_err"].item()),
            "exposure": float(whole["exposure"].item()),
        }

    rows = each(work, dict(cleaned(work)), one)
    table = pd.DataFrame(list(rows.values())).sort_values("start_mjd", kind="stable")
    table.to_csv(work.output("rates.csv"), index=False)
    return {"rates": {name: row["rate"] for name, row in rows.items()}}


def images(work: Work) -> dict[str, Any]:
    """Make the image of each observation around the source."""
    center = work.options["ra"], work.options["dec"]

    def one(name: str, path: Path) -> str:
        events = open_dataset(path)
        image = count_image(events, bin=2, energy=tuple(work.options["energy"]), center=center, size=350)
        to_fits(image, work.output(f"images/{name}.img"))
        return f"images/{name}.img"

    return {"images": each(work, dict(cleaned(work)), one)}


def figures(work: Work) -> dict[str, Any]:
    """Draw images on a grid of epochs, exposure against days, rates against days, light curves."""
    pictures: dict[str, Callable[[], Any]] = {"selection": partial(_selection, work)}
    for page, paths in _pages(work).items():
        pictures[page] = partial(_epochs, work, paths, page)
    if work.before["curves"].state == "done":
        pictures["rates"] = partial(_rates, work)
    for path in work.paths("curves", "lightcurves/*.lc"):
        pictures[f"lightcurve_{path.stem}"] = partial(_curve, work, path)
    return {"figures": drawn(work, pictures)}


def _selection(work: Work) -> None:
    table = pd.read_csv(work.path("select", "observations.csv"), dtype={"obs_id": str})
    how = {"t0": work.options["t0"], "min_exposure": work.options["min_exposure"]}
    save(table, work.output("figures/selection.png"), draw=plot_selection, **how)


def _rates(work: Work) -> None:
    rates = pd.read_csv(work.path("curves", "rates.csv"), dtype={"obs_id": str})
    low, high = work.options["energy"]
    label = f"Rate {low:g}-{high:g} keV (count/s)"
    save(rates, work.output("figures/rates.png"), draw=plot_rates, t0=work.options["t0"], label=label)


def _pages(work: Work) -> dict[str, list[Path]]:
    """Return the images of each page of a grid, in the order of their time."""
    start = {path: float(open_dataset(path).attrs["tstart"]) for path in work.paths("images", "images/*.img")}
    ordered = sorted(start, key=start.__getitem__)
    pages = [ordered[first : first + _PANELS] for first in range(0, len(ordered), _PANELS)]
    return {"epochs" if len(pages) == 1 else f"epochs_{page}": paths for page, paths in enumerate(pages, 1)}


def _epochs(work: Work, paths: list[Path], name: str) -> None:
    t0 = work.options["t0"]
    if t0 is None:
        table = pd.read_csv(work.path("select", "observations.csv"))
        t0 = float(table["start_mjd"][table["used"]].min())
    shapes = [read_regions(path) for path in region_files(work, "regions", "all")]
    images = [open_dataset(path) for path in paths]
    save(images, work.output(f"figures/{name}.png"), draw=plot_epochs, regions=shapes, t0=t0)


def _curve(work: Work, path: Path) -> None:
    save(open_dataset(path), work.output(f"figures/lightcurve_{path.stem}.png"))
