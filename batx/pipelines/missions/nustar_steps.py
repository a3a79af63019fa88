"""Steps of the pipeline of NuSTAR: both telescopes of each observation to a joint fit, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from batx.count_images import count_image
from batx.errors import BatxError, EmptySelectionError, MissingFileError
from batx.heasoft import Request
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.pipelines.missions import joint
from batx.pipelines.missions.pictures import draw_epochs, draw_rates, pages
from batx.pipelines.missions.places import files_of, header_row, only, region_files, save_all_regions
from batx.pipelines.missions.places import observations as all_observations
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ARCHIVED, ToolSteps, drawn, each, place, put_folder, put_products
from batx.region_curves import region_lightcurve
from batx.regions import read_regions

__all__ = ["Nustar", "curves", "event_lists", "figures", "group", "observations", "regions", "summarise"]

#: arcsec; half of the light of a point source is within 30
SOURCE_RADIUS, BACKGROUND_RADII = 60.0, (120.0, 200.0)
MODULES = ("A", "B")
#: shapes for which numkarf makes the effective area of a point source
_AREAS = ("circle", "ellipse", "annulus")
#: images on a page
_PANELS = 20
#: folder of each observation by its id, and the event lists of the archive of all
observations = partial(all_observations, inside="event_uf")
event_lists = partial(files_of, inside="event_uf", pattern="event_uf/*.evt*")


def regions(work: Work) -> dict[str, Any]:
    """Write the regions of source and background: for all, and for what has saved ones of its own."""
    names = list(observations(work.options))
    of_telescopes = [f"{name}{module}" for name in names for module in MODULES]
    save_all_regions(work, of_telescopes, SOURCE_RADIUS, BACKGROUND_RADII, skies=len(names))
    return {}


class Nustar(ToolSteps):
    """The steps that call tools."""

    def pipeline(self, work: Work) -> dict[str, Any]:
        """Run nupipeline on each observation, or take what it made for the archive.

        Its whole output is the product, for nuproducts reads it.
        """
        folders = observations(work.options)
        if work.options["reprocess"]:
            calls = each(work, folders, partial(self._pipeline, work))
            done = self.toolbox.run(work, calls, ARCHIVED)
            made = {name: result["outdir"] for name, result in done.items()}
        else:
            made = {name: folder / "event_cl" for name, folder in folders.items()}
        return {"events": each(work, made, partial(_taken, work))}

    def _pipeline(self, work: Work, name: str, folder: Path) -> Request:
        held = [module for module in MODULES if any(folder.glob(f"event_uf/nu*{module}_uf.evt*"))]
        if not held:
            raise MissingFileError(f"{folder}/event_uf: found no events of a telescope (nu{name}A_uf.evt)")
        if len(held) < len(MODULES):
            work.notes.append(f"{name}: only events of FPM{held[0]} are there")
        return self.toolbox.request(
            work,
            name,
            tool("nupipeline"),
            indir=folder,
            outdir=place(work, name) / "out",
            steminputs=f"nu{name}",
            instrument="ALL" if len(held) > 1 else f"FPM{held[0]}",
        )

    def products(self, work: Work) -> dict[str, Any]:
        """Run nuproducts for each telescope of each observation."""
        calls = {}
        for name, lists in work.before["pipeline"].facts["events"].items():
            for module, path in lists.items():
                source, background = region_files(work, "regions", f"{name}{module}")
                shapes = [one.shape for one in read_regions(source)]
                if len(shapes) > 1 or shapes[0] not in _AREAS:
                    work.notes.append(
                        f"{name}{module}: the region of the source is {', '.join(shapes)}, expected one of "
                        f"{', '.join(_AREAS)} around the source; its effective area is not right"
                    )
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


def _taken(work: Work, name: str, folder: Path) -> dict[str, str]:
    """Make the events of an observation products; return the cleaned list of each telescope (mode 01)."""
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {folder} with cleaned events")
    lists, exposures = {}, []
    for module in MODULES:
        try:
            path = only(folder, f"cleaned events of FPM{module}", f"nu*{module}01_cl.evt*")
            exposures.append(header_row(path)["exposure"])
            lists[module] = f"events/{name}/{path.name}"
        except BatxError as error:
            work.notes.append(f"{name}: FPM{module} is left out: {error}")
    exposure = max(exposures, default=0.0)
    if not lists or exposure < work.options["min_exposure"]:
        raise EmptySelectionError(
            f"is exposed for {exposure:.0f} s, expected at least {work.options['min_exposure']:g} s; not used"
        )
    put_folder(work, folder, f"events/{name}")
    return lists


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
    tables = each(work, lists, partial(_curve, work))
    pd.concat(tables.values()).to_csv(work.output("rates.csv"), index=False)
    return {"lightcurves": list(tables)}


def _curve(work: Work, name: str, path: str) -> pd.DataFrame:
    """Write light curve and image of a telescope, and return the rates."""
    source, background = (read_regions(file) for file in region_files(work, "regions", name))
    events, energy = open_dataset(work.root / path), tuple(work.options["energy"])
    center = work.options["ra"], work.options["dec"]
    image = count_image(events, energy=energy, center=center, size=400)
    to_fits(image, work.output(f"images/{name}.img"))
    how: dict[str, Any] = {"dt": work.options["dt"], "energy": energy, "scale": _scale(work, name)}
    curve = region_lightcurve(events, source, background, **how)
    to_fits(curve, work.output(f"lightcurves/{name}.lc"))
    ends = met_to_mjd(curve["time_bnds"].values, attrs=events.attrs)
    return pd.DataFrame(
        {
            "name": f"FPM{name[-1]}",
            "obs_id": name[:-1],
            "object": str(events.attrs.get("object", "")),
            "start_mjd": ends[:, 0],
            "stop_mjd": ends[:, 1],
            "rate": curve["rate"].values[:, 0],
            "rate_err": curve["rate_err"].values[:, 0],
            "exposure": curve["exposure"].values,
        }
    )


def _scale(work: Work, name: str) -> float | None:
    """Return source over background area as nubackscale exposed them; `None`, with a note, if not known."""
    files = work.before["products"].facts.get("products", {}).get(name, {})
    kinds = ("spectrum", "background")
    scales = [
        open_dataset(work.root / files[one]).attrs.get("backscal", 0.0) for one in kinds if one in files
    ]
    if len(scales) == 2 and min(scales) > 0:
        return float(scales[0] / scales[1])
    work.notes.append(
        f"{name}: no spectra with BACKSCAL: its background is scaled by areas, gaps and edges too"
    )
    return None


def figures(work: Work) -> dict[str, Any]:
    """Draw images of all epochs and telescopes, and rates against days."""
    zero = work.options["t0"]
    pictures: dict[str, Callable[[], Any]] = {
        "rates": partial(draw_rates, work, work.path("curves", "rates.csv"), t0=zero)
    }
    for page, paths in pages(work.paths("curves", "images/*.img"), _PANELS).items():
        pictures[page] = partial(draw_epochs, work, paths, page, t0=zero, smooth=1.0)
    return {"figures": drawn(work, pictures)}
