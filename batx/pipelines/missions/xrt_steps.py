"""Steps of the pipeline of Swift-XRT: observations of a source to spectra fitted jointly, and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.count_images import count_image
from batx.errors import BatxError, EmptySelectionError, MissingFileError
from batx.heasoft import Request
from batx.imaging_telescopes import sky_of
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.kernels.limits import li_ma
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.pipelines.missions import joint
from batx.pipelines.missions.pictures import draw_epochs, draw_rates, pages
from batx.pipelines.missions.places import files_of, longest, only, region_files, save_all_regions
from batx.pipelines.missions.places import observations as all_observations
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ARCHIVED, ToolSteps, drawn, each, place, put, put_products
from batx.plots.epochs import plot_selection
from batx.plots.page import save
from batx.region_curves import count_limit, region_lightcurve
from batx.regions import Region, circle, in_pixels, inside, read_regions

__all__ = [
    "Xrt",
    "attitude",
    "cleaned",
    "curves",
    "event_lists",
    "figures",
    "first_day",
    "group",
    "images",
    "observations",
    "regions",
    "response_files",
    "select",
]

#: arcsec: 20 pixels, which hold 90 % of a point source at 1.5 keV; the background around it
SOURCE_RADIUS, BACKGROUND_RADII = 47.0, (120.0, 240.0)
#: count/s in photon-counting mode above which two photons often are in one frame and place
PILED_UP = 0.5
#: bins of light curves with a smaller fraction of good time are left out
_LEAST_FRACTION = 0.1
#: a region that has less of its source is told
_LEAST_SEEN = 0.5
#: sigma (Li & Ma) below which there is a limit beside the rate
_SEEN = 3.0
#: arcmin: a corner of the field, and what a slew may add
_FARTHEST = 20.0
#: pixels on a side of the field
_FIELD = 1000
#: images on a page
_PANELS = 20
_CLEANED, _RAW = "xrt/event/*xpc*po_cl.evt*", "xrt/event/*xpc*po_uf.evt*"
#: attitude files by the keyword ATTFLAG of the events: with jumps corrected, from UVOT, as telemetered
_ATTITUDES = {"110": "pat", "101": "uat", "111": "uat", "100": "sat"}
#: folder of each observation by its id, and the event lists of the archive of all
observations = partial(all_observations, inside="xrt")
event_lists = partial(files_of, inside="xrt", pattern="xrt/event/*.evt*")


def select(work: Work) -> dict[str, Any]:
    """Choose the observations that are exposed for long enough; write the table of all of them."""
    rows = [_row(work, name, folder) for name, folder in observations(work.options).items()]
    table = pd.DataFrame(rows)
    table["used"] = table["reason"] == ""
    table = table.sort_values("start_mjd", kind="stable")
    table.to_csv(work.output("observations.csv"), index=False)
    if not table["used"].any():
        reasons = "; ".join(f"{text} ({n})" for text, n in table["reason"].value_counts().head(3).items())
        raise EmptySelectionError(
            f"none of {len(table)} observations is exposed for {work.options['min_exposure']:g} s in "
            f"photon-counting mode; the longest is for {table['exposure'].max():g} s: {reasons}"
        )
    return {"used": table["obs_id"][table["used"]].tolist(), "of": len(table)}


def _row(work: Work, name: str, folder: Path) -> dict[str, Any]:
    """Return what the table says of an observation, with the reason why it is not used."""
    row: dict[str, Any] = dict.fromkeys(("start_mjd", "stop_mjd"), float("nan"))
    row = {"obs_id": name, "object": "", **row, "exposure": 0.0, "off_axis": float("nan")}
    patterns = (_CLEANED, _RAW) if work.options["reprocess"] else (_CLEANED,)
    lists = next((found for one in patterns if (found := sorted(folder.glob(one)))), [])
    if not lists:
        what = "events" if work.options["reprocess"] else "cleaned events"
        other = ", only in windowed-timing mode" if any(folder.glob("xrt/event/*xwt*.evt*")) else ""
        return row | {"reason": f"no {what} in photon-counting mode{other}"}
    try:
        row |= longest(lists)[1] | {"obs_id": name}
    except BatxError as error:
        return row | {"reason": f"cannot be read: {error}"}
    row["off_axis"] = away = _off_axis(work, max(lists, key=lambda path: path.stat().st_size))
    if away > _FARTHEST:
        return row | {"reason": f"the source is {away:.0f} arcmin off axis, outside of the field"}
    short = row["exposure"] < work.options["min_exposure"]
    return row | {"reason": "exposed for too short a time" if short else ""}


def _off_axis(work: Work, path: Path) -> float:
    """Return how far from the pointing of an event list the source is, arcmin; NaN if that is not stated."""
    from astropy.coordinates import SkyCoord

    attrs = open_dataset(path).attrs
    if not {"ra_pnt", "dec_pnt"} <= attrs.keys():
        return float("nan")
    middle = SkyCoord(attrs["ra_pnt"], attrs["dec_pnt"], unit="deg")
    source = SkyCoord(work.options["ra"], work.options["dec"], unit="deg")
    return float(middle.separation(source).arcmin)


def regions(work: Work) -> dict[str, Any]:
    """Write the regions of source and background, one for all observations or as they were saved."""
    names = work.before["select"].facts["used"]
    save_all_regions(work, names, SOURCE_RADIUS, BACKGROUND_RADII, skies=len(names))
    return {}


class Xrt(ToolSteps):
    """The steps that call tools."""

    def pipeline(self, work: Work) -> dict[str, Any]:
        """Run xrtpipeline on each observation, or take what it made for the archive.

        The cleaned events in photon-counting mode are the product.
        """
        folders = observations(work.options)
        used = {name: folders[name] for name in work.before["select"].facts["used"]}
        if work.options["reprocess"]:
            calls = {name: self._pipeline(work, name, folder) for name, folder in used.items()}
            done = self.toolbox.run(work, calls, ARCHIVED)
            lists = {
                name: [path for path in result.products["events"] if fnmatch(path.name, "*xpc*po_cl.evt*")]
                for name, result in done.items()
            }
        else:
            lists = {name: sorted(folder.glob(_CLEANED)) for name, folder in used.items()}

        def one(name: str, paths: list[Path]) -> str:
            if not paths:
                raise EmptySelectionError("xrtpipeline made no events in photon-counting mode")
            path, row = longest(paths)
            if len(paths) > 1:
                work.notes.append(
                    f"{name}: of {len(paths)} event lists {path.name} is the longest "
                    f"({row['exposure']:.0f} s) and is used"
                )
            put(work, path, f"events/{name}/{path.name}")
            return f"events/{name}/{path.name}"

        return {"events": each(work, lists, one)}

    def _pipeline(self, work: Work, name: str, folder: Path) -> Request:
        return self.toolbox.request(
            work,
            name,
            tool("xrtpipeline"),
            indir=folder,
            outdir=place(work, name) / "out",
            steminputs=f"sw{name}",
            srcra=work.options["ra"],
            srcdec=work.options["dec"],
        )

    def exposure(self, work: Work) -> dict[str, Any]:
        """Run xrtexpomap on each event list twice, or take the map of the archive.

        The map without vignetting is for effective areas, which have it already; that with vignetting is for
        light curves.
        """
        folders, lists = observations(work.options), dict(cleaned(work))
        if not work.options["reprocess"]:
            found = each(work, lists, lambda name, path: _archived_map(folders[name], path))
            return {"maps": _put_maps(work, found), "vignetted": {}}
        calls = each(work, lists, lambda name, path: self._exposure(work, name, path, folders[name], "no"))
        vignetted = {
            f"{name} with vignetting": self._exposure(work, name, lists[name], folders[name], "yes")
            for name in calls
        }
        done = self.toolbox.run(work, calls | vignetted)
        maps = {name: result.products["map"][0] for name, result in done.items()}
        plain = {name: maps[name] for name in calls if name in maps}
        other = {name: maps[key] for name in calls if (key := f"{name} with vignetting") in maps}
        return {"maps": _put_maps(work, plain), "vignetted": _put_maps(work, other, "_vignetted")}

    def _exposure(self, work: Work, name: str, path: Path, folder: Path, vignetting: str) -> Request:
        key = f"{name}/vignetted" if vignetting == "yes" else name
        return self.toolbox.request(
            work,
            key,
            tool("xrtexpomap"),
            infile=path,
            attfile=attitude(path, folder),
            hdfile=only(folder, "housekeeping", "xrt/hk/sw*xhd.hk*"),
            outdir=place(work, key) / "out",
            stemout=f"sw{name}xpc",
            vigflag=vignetting,
        )

    def products(self, work: Work) -> dict[str, Any]:
        """Run xrtproducts on each event list: spectra, light curve, effective area."""
        maps = work.before["exposure"].facts.get("maps", {})

        def one(name: str, path: Path) -> Request:
            source, background = region_files(work, "regions", name)
            if name not in maps:
                work.notes.append(f"{name}: no exposure map: its effective area leaves out bad columns")
            return self.toolbox.request(
                work,
                name,
                tool("xrtproducts"),
                infile=path,
                regionfile=source,
                bkgregionfile=background,
                expofile=work.root / maps[name] if name in maps else "NONE",
                outdir=place(work, name) / "out",
                stemout=f"sw{name}xpc",
                binsize=work.options["dt"],
                pilow=round(100 * work.options["energy"][0]),
                pihigh=round(100 * work.options["energy"][1]) - 1,
            )

        return {"products": put_products(work, self.toolbox.run(work, each(work, dict(cleaned(work)), one)))}


def attitude(path: Path, folder: Path) -> Path:
    """Return the attitude file of an observation by which its events were placed (their ATTFLAG).

    Raises
    ------
    MissingFileError
        If there is no attitude file.
    """
    kind = _ATTITUDES.get(str(open_dataset(path).attrs.get("attflag", "")).strip())
    kinds = dict.fromkeys([kind, "pat", "sat", "uat"] if kind else ["pat", "sat", "uat"])
    return only(folder, "attitude", *(f"auxil/sw*{one}.fits*" for one in kinds))


def _archived_map(folder: Path, path: Path) -> Path:
    """Return the exposure map of the archive: that of an event list, else that of its mode."""
    same = f"xrt/products/{path.name.partition('_cl.evt')[0]}_ex.img*"
    return only(folder, "exposure map", same, "xrt/products/sw*xpc*_ex.img*")


def _put_maps(work: Work, maps: Mapping[str, Path], suffix: str = "") -> dict[str, str]:
    """Make exposure maps products; return their names."""
    names = {
        name: f"exposure/{name}{suffix}.img{'.gz' * (path.suffix == '.gz')}" for name, path in maps.items()
    }
    for name, target in names.items():
        put(work, maps[name], target)
    return names


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
    rows = each(work, dict(cleaned(work)), partial(_curve, work))
    table = pd.DataFrame(list(rows.values())).sort_values("start_mjd", kind="stable")
    table.to_csv(work.output("rates.csv"), index=False)
    return {"rates": {name: row["rate"] for name, row in rows.items()}}


def _curve(work: Work, name: str, path: Path) -> dict[str, Any]:
    """Write the light curve of an observation, and return its row of the table of rates."""
    source, background = (read_regions(file) for file in region_files(work, "regions", name))
    events = open_dataset(path)
    seen, measured = _map_of(work, name, events)
    center = work.options["ra"], work.options["dec"]
    how: dict[str, Any] = {"energy": tuple(work.options["energy"]), "min_fracexp": 0.0}
    net = how | {"exposure_map": seen, "center": center}
    curve = region_lightcurve(events, source, background, dt=work.options["dt"], **net)
    exposed = curve["fracexp"].values > _LEAST_FRACTION
    curve = curve.isel(time=exposed if exposed.any() else slice(None))
    to_fits(curve, work.output(f"lightcurves/{name}.lc"))
    ends = [float(curve["gti_start"].min()), float(curve["gti_stop"].max())]
    whole = region_lightcurve(events, source, background, time=[ends], **net)
    counts, behind = (
        int(region_lightcurve(events, one, time=[ends], **how)["counts"].item())
        for one in (source, background)
    )
    share, scale = (float(whole.attrs[key]) for key in ("seen_fraction", "background_scale"))
    if share < _LEAST_SEEN:
        work.notes.append(
            f"{name}: its region has {100 * share:.0f} % of the source, for which its rate is corrected"
        )
    if not measured:
        work.notes.append(
            f"{name}: no exposure map: its rate is not corrected for gaps, edges and vignetting"
            + (", and without any count it may be outside of the field" if counts + behind == 0 else "")
        )
    _tell_pile_up(work, name, curve, source, events)
    rate, error, exposure = (float(whole[key].item()) for key in ("rate", "rate_err", "exposure"))
    faint = li_ma(counts, behind, scale) < _SEEN
    days = met_to_mjd(ends, attrs=events.attrs)
    return {
        "obs_id": name,
        "object": str(events.attrs.get("object", "")),
        "start_mjd": float(days[0]),
        "stop_mjd": float(days[1]),
        "rate": rate,
        "rate_err": error,
        "upper_limit": count_limit(counts, scale * behind) / (share * exposure) if faint else float("nan"),
        "exposure": exposure,
        "counts": counts,
        "background_counts": behind,
        "background_scale": scale,
        "seen_fraction": share,
    }


def _map_of(work: Work, name: str, events: xr.Dataset) -> tuple[xr.Dataset, bool]:
    """Return the exposure map of an observation, with vignetting if there is such, and whether it is one.

    Without any it is one of a field without end, which has the wings of the point-spread function only.
    """
    facts = work.before["exposure"].facts
    path = facts.get("vignetted", {}).get(name) or facts.get("maps", {}).get(name)
    if path:
        return open_dataset(work.root / path), True
    flat = count_image(events, center=(work.options["ra"], work.options["dec"]), size=_FIELD)
    return flat.assign(image=xr.ones_like(flat["image"])), False


def _tell_pile_up(work: Work, name: str, curve: xr.Dataset, source: list[Region], events: xr.Dataset) -> None:
    """Note that a source is so bright that photons fall together, unless its core is left out."""
    core = in_pixels(circle(work.options["ra"], work.options["dec"], 1e-4), sky_of(events))[0].values[:2]
    x, y = (np.array([value]) for value in core)
    highest = float(np.nanmax(curve["rate"].values))
    if highest > PILED_UP and inside(in_pixels(source, sky_of(events)), x, y)[0]:
        work.notes.append(
            f"{name}: up to {highest:.2g} count/s, more than {PILED_UP:g}: probably piled up, spectrum and "
            "rate are wrong; give an annulus around the core as the region of the source"
        )


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
    zero = first_day(work) if work.options["t0"] is None else work.options["t0"]
    pictures: dict[str, Callable[[], Any]] = {"selection": partial(_selection, work, zero)}
    for page, paths in pages(work.paths("images", "images/*.img"), _PANELS).items():
        pictures[page] = partial(draw_epochs, work, paths, page, t0=zero, smooth=1.5)
    if work.before["curves"].state == "done":
        pictures["rates"] = partial(draw_rates, work, work.path("curves", "rates.csv"), t0=zero)
    for path in work.paths("curves", "lightcurves/*.lc"):
        pictures[f"lightcurve_{path.stem}"] = partial(_lightcurve, work, path)
    return {"figures": drawn(work, pictures)}


def first_day(work: Work) -> float:
    """Return when the first observation that is used began, MJD."""
    table = pd.read_csv(work.path("select", "observations.csv"))
    return float(table["start_mjd"][table["used"]].min())


def _selection(work: Work, zero: float) -> None:
    table = pd.read_csv(work.path("select", "observations.csv"), dtype={"obs_id": str})
    how = {"t0": zero, "min_exposure": work.options["min_exposure"]}
    save(table, work.output("figures/selection.png"), draw=plot_selection, **how)


def _lightcurve(work: Work, path: Path) -> None:
    save(open_dataset(path), work.output(f"figures/lightcurve_{path.stem}.png"))
