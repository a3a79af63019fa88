"""Steps of the pipeline of NuSTAR: both telescopes of each observation to a joint fit, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from batx.count_images import count_image
from batx.errors import EmptySelectionError
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.pipelines.missions import joint
from batx.pipelines.missions.places import files_of, header_row, region_files, save_regions
from batx.pipelines.missions.places import observations as all_observations
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ToolSteps, drawn, each, place, put, put_products
from batx.plots.epochs import plot_epochs, plot_rates
from batx.plots.page import save
from batx.region_curves import region_lightcurve
from batx.regions import read_regions

__all__ = ["Nustar", "curves", "event_lists", "figures", "group", "observations", "regions", "summarise"]

#: arcsec; half of the light of a point source is within 30
SOURCE_RADIUS, BACKGROUND_RADII = 60.0, (120.0, 200.0)
MODULES = ("A", "B")
#: folder of each observation by its id, and the event lists of the archive of all
observations = partial(all_observations, inside="event_uf")
event_lists = partial(files_of, inside="event_uf", pattern="event_uf/*.evt*")


def regions(work: Work) -> dict[str, Any]:
    """Write the regions of source and background: for all, and for what has saved ones of its own."""
    save_regions(work, "all", SOURCE_RADIUS, BACKGROUND_RADII)
    saved = Path(work.options["regions"]) if work.options.get("regions") else None
    for name in observations(work.options) if saved is not None else ():
        for module in MODULES:
            if (saved / f"{name}{module}_source.reg").is_file():  # type: ignore[operator]
                save_regions(work, f"{name}{module}", SOURCE_RADIUS, BACKGROUND_RADII)
    return {}


class Nustar(ToolSteps):
    """The steps that call tools."""

    def pipeline(self, work: Work) -> dict[str, Any]:
        """Run nupipeline on each observation; its whole output is the product, for nuproducts reads it."""
        calls = {
            name: self.toolbox.request(
                work,
                name,
                tool("nupipeline"),
                indir=folder,
                outdir=place(work, name) / "out",
                steminputs=f"nu{name}",
            )
            for name, folder in observations(work.options).items()
        }
        found: dict[str, dict[str, str]] = {}
        for name, result in self.toolbox.run(work, calls).items():
            folder = result["outdir"]
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                put(work, path, f"events/{name}/{path.relative_to(folder).as_posix()}")
            found[name] = {}
            for module, key in zip(MODULES, ("events_a", "events_b"), strict=True):
                for path in result.products[key][:1]:
                    found[name][module] = f"events/{name}/{path.relative_to(folder).as_posix()}"
        used = {}
        for name, lists in found.items():
            exposures = [header_row(work.folder / path)["exposure"] for path in lists.values()]
            exposure = max(exposures, default=0.0)
            if not lists or exposure < work.options["min_exposure"]:
                work.notes.append(f"{name}: exposed for {exposure:.0f} s, not used")
            else:
                used[name] = lists
        if not used:
            raise EmptySelectionError(f"no observation is exposed for {work.options['min_exposure']:g} s")
        return {"events": used}

    def products(self, work: Work) -> dict[str, Any]:
        """Run nuproducts for each telescope of each observation."""
        calls = {}
        for name, lists in work.before["pipeline"].facts["events"].items():
            for module, path in lists.items():
                source, background = region_files(work, "regions", f"{name}{module}")
                calls[f"{name}{module}"] = self.toolbox.request(
                    work,
                    f"{name}{module}",
                    tool("nuproducts"),
                    indir=(work.root / path).parent,
                    infile=work.root / path,
                    instrument=f"FPM{module}",
                    steminputs=f"nu{name}",
                    srcregionfile=source,
                    bkgregionfile=background,
                    outdir=place(work, f"{name}{module}") / "out",
                    binsize=work.options["dt"],
                    pilow=round((work.options["energy"][0] - 1.6) / 0.04),
                    pihigh=round((work.options["energy"][1] - 1.6) / 0.04) - 1,
                )
        return {"products": put_products(work, self.toolbox.run(work, calls))}


def group(work: Work) -> dict[str, Any]:
    """Group the spectra, and put the files that they name beside them."""

    def one(name: str, files: Mapping[str, str]) -> dict[str, Any]:
        held = {kind: work.root / path for kind, path in files.items()}
        parts = joint.Parts(
            held["spectrum"], held.get("background"), held.get("redistribution"), held.get("area")
        )
        counts = work.options["min_counts"]
        return joint.grouped(work, name, parts, min_counts=counts, energy=work.options["energy"])

    return {"spectra": each(work, work.before["products"].facts["products"], one)}


def summarise(work: Work) -> dict[str, Any]:
    """Write the table of the spectra."""
    paths = work.paths("group", "spectra/*.pi")
    return {"spectra": len(joint.summary(work, paths, work.options["min_exposure"]))}


def curves(work: Work) -> dict[str, Any]:
    """Make light curves and images of both telescopes of each observation."""
    lists = {
        f"{name}{module}": path
        for name, both in work.before["pipeline"].facts["events"].items()
        for module, path in both.items()
    }
    rows: list[dict[str, Any]] = []

    def one(name: str, path: str) -> None:
        source, background = (read_regions(file) for file in region_files(work, "regions", name))
        events = open_dataset(work.root / path)
        curve = region_lightcurve(
            events, source, background, dt=work.options["dt"], energy=tuple(work.options["energy"])
        )
        to_fits(curve, work.output(f"lightcurves/{name}.lc"))
        center = work.options["ra"], work.options["dec"]
        to_fits(
            count_image(events, energy=tuple(work.options["energy"]), center=center, size=400),
            work.output(f"images/{name}.img"),
        )
        ends = met_to_mjd(curve["time_bnds"].values, attrs=events.attrs)
        rows.extend(
            {"name": f"FPM{name[-1]}", "start_mjd": low, "stop_mjd": high, "rate": rate, "rate_err": error}
            for (low, high), rate, error in zip(
                ends, curve["rate"].values[:, 0], curve["rate_err"].values[:, 0], strict=True
            )
        )

    each(work, lists, one)
    pd.DataFrame(rows).to_csv(work.output("rates.csv"), index=False)
    return {}


def figures(work: Work) -> dict[str, Any]:
    """Draw images of all epochs and telescopes, and rates against days."""
    return {"figures": drawn(work, {"rates": partial(_rates, work), "epochs": partial(_epochs, work)})}


def _rates(work: Work) -> None:
    rates = pd.read_csv(work.path("curves", "rates.csv"))
    low, high = work.options["energy"]
    label = f"Rate {low:g}-{high:g} keV (count/s)"
    save(rates, work.output("figures/rates.png"), draw=plot_rates, t0=work.options["t0"], label=label)


def _epochs(work: Work) -> None:
    opened = [open_dataset(path) for path in work.paths("curves", "images/*.img")[:36]]
    shapes = [read_regions(path) for path in region_files(work, "regions", "all")]
    t0 = work.options["t0"]
    save(opened, work.output("figures/epochs.png"), draw=plot_epochs, regions=shapes, t0=t0, smooth=1.0)
