"""Steps of the pipeline of XMM-Newton, second part: regions, pile-up, spectra and RGS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from batx.count_images import in_region
from batx.errors import EmptySelectionError, ValueRangeError
from batx.heasoft import Result
from batx.imaging_telescopes import sky_of
from batx.io.open import open_dataset
from batx.io.write_links import write_links
from batx.pile_up import PatternFractions, excise_core, pattern_fractions
from batx.pipelines.frame import SkippedError, Work
from batx.pipelines.missions import joint, sas
from batx.pipelines.missions.places import save_regions
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ToolSteps, each, place, put
from batx.pipelines.missions.xmm_events import environment
from batx.regions import Region, circle, in_pixels, read_regions, region_text

__all__ = ["Products", "group", "lists_of", "regions", "shapes", "summarise"]

#: arcsec
SOURCE_RADIUS, BACKGROUND_RADII = 30.0, (60.0, 100.0)


def lists_of(work: Work, product: str) -> dict[str, Path]:
    """Return the event list of each camera and observation for ``"spectrum"``, ``"curve"`` or ``"image"``."""
    found = work.before["flares"].facts["lists"]
    return {key: work.root / held["lists"][product] for key, held in found.items()}


def regions(work: Work) -> dict[str, Any]:
    """Write the regions of each event list on the sky, and in its physical pixels, as evselect needs them."""
    target = circle(work.options["ra"], work.options["dec"], SOURCE_RADIUS / 3600.0)

    def one(key: str, path: Path) -> list[float]:
        both = save_regions(work, key, SOURCE_RADIUS, BACKGROUND_RADII)
        events = open_dataset(path)
        sky = sky_of(events)
        for kind, shapes in zip(("source", "background"), both, strict=True):
            physical = in_pixels(shapes, sky)
            work.output(f"regions/{key}_{kind}_physical.reg").write_text(
                region_text(physical), encoding="utf-8"
            )
            if not in_region(events, physical).any():
                raise EmptySelectionError(
                    f"the {kind} region has no events: it lies off the CCDs of this exposure, or its place "
                    f"is wrong; see {key} in figures/epochs.png, and give another region"
                )
        return [float(value) for value in in_pixels(target, sky)[0].values[:2]]

    return {"middles": each(work, lists_of(work, "spectrum"), one)}


def shapes(work: Work, key: str, *, core: bool = True) -> tuple[list[Region], list[Region]]:
    """Return the regions of source and background in physical pixels, without the piled-up core if `core`."""
    both = [
        read_regions(work.path("regions", f"regions/{key}_{kind}_physical.reg"))
        for kind in ("source", "background")
    ]
    radius = _core(work, key) if core else 0.0
    return _without_core(both[0], radius, work.before["regions"].facts["middles"][key]), both[1]


def _core(work: Work, key: str) -> float:
    """Return the radius (arcsec) that is cut out because of pile-up; 0 where it was not looked for."""
    facts = work.before["pileup"].facts
    if not facts["looked_for"]:
        return 0.0
    if key not in facts["radii"]:
        raise EmptySelectionError(
            "whether there is pile-up is not known (see the notes of the step pileup); with "
            "pileup_rule='none' it is not asked"
        )
    return float(facts["radii"][key])


def _without_core(source: list[Region], radius: float, middle: Sequence[float]) -> list[Region]:
    """Return a region less a circle of `radius` arcsec: around its own middle if round, else `middle`."""
    if radius <= 0:
        return source
    inner = radius * sas.PIXELS_PER_ARCSEC
    shape, values = source[0].shape, source[0].values
    if len(source) > 1 or shape not in ("circle", "annulus"):
        return [*source, Region("circle", (*middle, inner), "physical", include=False)]
    if inner >= values[-1]:
        raise ValueRangeError(
            f"pile-up: the core of {radius:g} arcsec is all of the source region; use a larger region"
        )
    held = values[2] if shape == "annulus" else 0.0
    return [Region("annulus", (*values[:2], max(inner, held), values[-1]), "physical")]


class Products(ToolSteps):
    """The steps that call tasks."""

    # --- pile-up -------------------------------------------------------------------------------------------

    def pileup(self, work: Work) -> dict[str, Any]:
        """Find for each event list the inner radius outside which patterns are as in the model."""
        if work.options["pileup_rule"] == "none":
            work.notes.append("pile-up was not looked for")
            return {"looked_for": False, "radii": {}}
        jobs = {
            key: partial(self._excised, work, key, path) for key, path in lists_of(work, "spectrum").items()
        }
        found = self.toolbox.chains(work, jobs)
        rows = [row | {"name": key} for key, rows in found.items() for row in rows["tried"]]
        columns = ["name", "radius", "singles", "singles_err", "doubles", "doubles_err"]
        pd.DataFrame(rows, columns=columns).to_csv(work.output("pileup.csv"), index=False)
        for key, held in found.items():
            if not held["clean"]:
                work.notes.append(
                    f"{key}: patterns depart from the model even outside {held['radius']:g} arcsec, which is "
                    "then hardly pile-up alone; see pileup.csv, and other rules in pileup_rule"
                )
        return {"looked_for": True, "radii": {key: held["radius"] for key, held in found.items()}}

    def _excised(self, work: Work, key: str, path: Path) -> dict[str, Any]:
        source, background = shapes(work, key, core=False)
        middle = work.before["regions"].facts["middles"][key]
        env = environment(work, key.partition("_")[0])
        options = work.options
        behind = self._events(work, key, path, "background", sas.shape_expression(background), env)
        given: dict[str, Any] = {}
        if open_dataset(behind).sizes["event"]:
            given = {"withbackgroundset": True, "backgroundset": behind}

        def measure(radius: float) -> PatternFractions:
            region = sas.shape_expression(_without_core(source, radius, middle))
            chosen = self._events(work, key, path, f"core_{radius:g}", region, env)
            result = self.toolbox.one(
                work,
                key,
                tool("epatplot"),
                set=chosen,
                outputs={"set": place(work, key) / f"patterns_{radius:g}.evt"},
                useplotfile=True,
                plotfile=place(work, key) / f"patterns_{radius:g}.pdf",
                **given,
                environment=env,
            )
            _put_plot(work, result["plotfile"], f"pileup/{key}_{radius:g}")
            return pattern_fractions(open_dataset(result["set"]))

        found = excise_core(
            measure,
            largest=options["largest_core"],
            sigma=options["pileup_sigma"],
            rule=options["pileup_rule"],
        )
        tried = [{"radius": radius, **vars(fractions)} for radius, fractions in found.tried]
        return {"radius": found.radius, "clean": found.clean, "tried": tried}

    def _events(
        self, work: Work, key: str, path: Path, name: str, condition: str, env: Mapping[str, str]
    ) -> Path:
        result: Result = self.toolbox.one(
            work,
            key,
            tool("evselect"),
            table=path,
            withfilteredset=True,
            destruct=True,
            keepfilteroutput=True,
            filteredset=place(work, key) / f"{name}.evt",
            expression=condition,
            environment=dict(env),
        )
        return result["filteredset"]

    # --- spectra -------------------------------------------------------------------------------------------

    def spectra(self, work: Work) -> dict[str, Any]:
        """Make spectrum, background, redistribution and area of each event list."""
        jobs = {
            key: partial(self._spectrum, work, key, path) for key, path in lists_of(work, "spectrum").items()
        }
        return {"products": self.toolbox.chains(work, jobs)}

    def _spectrum(self, work: Work, key: str, path: Path) -> dict[str, str]:
        name, _, instrument = key.partition("_")
        env, folder = environment(work, name), place(work, key)
        highest = 20479 if instrument == "pn" else 11999
        both = shapes(work, key)
        made: dict[str, Path] = {}
        for kind, region in zip(("spectrum", "background"), both, strict=True):
            condition = sas.expression(sas.flag_of(instrument, "spectrum"), sas.shape_expression(region))
            raw = self.toolbox.one(
                work,
                key,
                tool("evselect"),
                table=path,
                withspectrumset=True,
                spectrumset=folder / f"{kind}_raw.pha",
                energycolumn="PI",
                spectralbinsize=5,
                withspecranges=True,
                specchannelmin=0,
                specchannelmax=highest,
                expression=condition,
                environment=env,
            )["spectrumset"]
            made[kind] = self.toolbox.one(
                work,
                key,
                tool("backscale"),
                spectrumset=raw,
                badpixlocation=path,
                outputs={"spectrumset": folder / f"{kind}.pha"},
                environment=env,
            )["spectrumset"]
        made["redistribution"] = self.toolbox.one(
            work,
            key,
            tool("rmfgen"),
            spectrumset=made["spectrum"],
            rmfset=folder / "spectrum.rmf",
            environment=env,
        )["rmfset"]
        made["area"] = self.toolbox.one(
            work,
            key,
            tool("arfgen"),
            spectrumset=made["spectrum"],
            arfset=folder / "spectrum.arf",
            withrmfset=True,
            rmfset=made["redistribution"],
            badpixlocation=path,
            detmaptype="psf",
            **sas.source_position(both[0], work.options["ra"], work.options["dec"]),
            environment=env,
        )["arfset"]
        return {
            kind: str(put(work, file, f"products/{key}/{file.name}").relative_to(work.folder))
            for kind, file in made.items()
        }

    # --- RGS -----------------------------------------------------------------------------------------------

    def rgs(self, work: Work) -> dict[str, Any]:
        """Run rgsproc on each observation, and rgscombine on the spectra of each order of all."""
        if not work.options["rgs"]:
            raise SkippedError("RGS was not asked for")
        calls = {
            name: self.toolbox.request(
                work,
                name,
                tool("rgsproc"),
                into=place(work, f"{name}/out"),
                withsrc=True,
                srclabel="SOURCE",
                srcra=work.options["ra"],
                srcdec=work.options["dec"],
                environment=environment(work, name),
            )
            for name in work.before["calibrate"].facts["files"]
        }
        sets: dict[int, list[dict[str, Path]]] = {1: [], 2: []}
        for name, result in self.toolbox.run(work, calls).items():
            for order, found in _by_order(result.products).items():
                sets[order] += found
                for files in found:
                    for path in files.values():
                        put(work, path, f"rgs/{name}/{path.name}")
        made = {order: self._combined(work, order, files) for order, files in sets.items() if files}
        if not made:
            raise EmptySelectionError("rgsproc made no spectra with background and response")
        return {"spectra": {f"rgs_order{order}": path for order, path in made.items()}}

    def _combined(self, work: Work, order: int, files: Sequence[Mapping[str, Path]]) -> str:
        """Sum the spectra of an order; the sum names the files that it will lie beside."""
        env = environment(work, next(iter(work.before["calibrate"].facts["files"])))
        name, folder = f"rgs_order{order}", place(work, f"order{order}")
        result = self.toolbox.one(
            work,
            name,
            tool("rgscombine"),
            pha=[one["spectrum"] for one in files],
            bkg=[one["background"] for one in files],
            rmf=[one["response"] for one in files],
            filepha=folder / "sum.pha",
            filebkg=folder / "sum_bkg.pha",
            filermf=folder / "sum.rmf",
            environment=env,
        )
        put(work, result["filebkg"], f"rgs/{name}_bkg.pha")
        put(work, result["filermf"], f"rgs/{name}.rsp")
        links: dict[str, Any] = {"backfile": f"{name}_bkg.pha", "respfile": f"{name}.rsp", "ancrfile": None}
        write_links(result["filepha"], work.output(f"rgs/{name}.pha"), **links)
        return f"rgs/{name}.pha"


def _put_plot(work: Work, path: Path, name: str) -> None:
    """Make a figure of epatplot a product: PostScript, or PDF from SAS 22 on, whatever its name is."""
    with path.open("rb") as file:
        ending = "pdf" if file.read(4) == b"%PDF" else "ps"
    put(work, path, f"{name}.{ending}")


def _by_order(products: Mapping[str, Sequence[Path]]) -> dict[int, list[dict[str, Path]]]:
    """Return spectrum, background and response of each instrument and exposure, by the order of the grating.

    Names are ``PooooooooooRrSeeeSRSPECnxxx`` with r the instrument, n the order.
    """
    held: dict[tuple[str, str], dict[str, Path]] = {}
    for kind, word in (("spectrum", "SRSPEC"), ("background", "BGSPEC"), ("response", "RSPMAT")):
        for path in products.get(kind, ()):
            head, found, tail = path.name.upper().partition(word)
            if found and tail[:1] in ("1", "2"):
                held.setdefault((head, tail[0]), {})[kind] = path
    complete: dict[int, list[dict[str, Path]]] = {}
    for (_, order), files in sorted(held.items()):
        if len(files) == 3:
            complete.setdefault(int(order), []).append(files)
    return complete


# --- spectra, fitted ---------------------------------------------------------------------------------------


def group(work: Work) -> dict[str, Any]:
    """Group the spectra, and put the files that they name beside them."""

    def one(key: str, files: Mapping[str, str]) -> dict[str, Any]:
        held = {kind: work.root / path for kind, path in files.items()}
        parts = joint.Parts(held["spectrum"], held["background"], held["redistribution"], held["area"])
        return joint.grouped(
            work, key, parts, min_counts=work.options["min_counts"], energy=work.options["energy"]
        )

    return {"spectra": each(work, work.before["spectra"].facts["products"], one)}


def summarise(work: Work) -> dict[str, Any]:
    """Write the table of the spectra that are exposed for long enough."""
    table = joint.summary(work, work.paths("group", "spectra/*.pi"), work.options["min_exposure"])
    return {"spectra": table["file"].tolist()}
