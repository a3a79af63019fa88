"""Steps of the pipeline of XMM-Newton, third part: light curves in many bands, and pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.channel_groups import channel_bins
from batx.count_images import count_image
from batx.errors import (
    EmptySelectionError,
    MissingFileError,
    MissingKeywordError,
    MissingVariableError,
    ValueRangeError,
)
from batx.intervals import gti_complement, gti_intersection
from batx.io.open import open_dataset
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.pipelines.frame import Work
from batx.pipelines.missions import sas
from batx.pipelines.missions.places import header_row
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ToolSteps, drawn, each, place, put
from batx.pipelines.missions.xmm_events import environment
from batx.pipelines.missions.xmm_products import SOURCE_RADIUS, lists_of, shapes
from batx.plots.canvas import draw_spans, figure_title
from batx.plots.epochs import plot_epochs, plot_selection
from batx.plots.lightcurve import plot_lightcurve
from batx.plots.page import save
from batx.regions import Region, circle
from batx.responses import response_of
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.spectrum_sums import spectrum_table

__all__ = ["Curves", "bands", "figures", "images"]

#: eV of the channels of the spectra (spectralbinsize of evselect)
_CHANNEL = 5
#: images on a page
_A_PAGE = 36


def bands(work: Work) -> dict[str, Any]:
    """Choose the bands of the light curves as ranges of PI, the same for all observations and cameras.

    Edges are given in keV (then PI is in eV, as in the threads of SAS) or in channels, or made from the mean
    spectrum of all observations (with equal counts, equal or logarithmic steps): then they are edges of
    channels. Energies of channels are those of the response.
    """
    options = work.options
    given = options["bands"]
    of_axis = given.get("axis", "energy") if isinstance(given, Mapping) else options["bands_by"]
    if not isinstance(given, Mapping) and of_axis == "energy":
        return {"edges": _pi_edges(given, 1000.0), "energies": list(given), "from": "given"}
    spectra = _of_one_camera(work)
    if not isinstance(given, Mapping):
        return _ranges(work, spectra, given) | {"from": "given"}
    if not spectra:
        raise EmptySelectionError("bands: there are no spectra to take the bands from")
    if of_axis == "energy":
        spectra = [_with_energies(one) for one in spectra]
    limits = given.get("limits") or options["energy"]
    if of_axis == "channel" and not given.get("limits"):
        limits = [1000.0 * edge / _CHANNEL for edge in limits]
    found = channel_bins(
        spectra,
        int(given["n"]),
        spacing=given.get("spacing", "counts"),
        axis=of_axis,
        limits=tuple(limits),
        min_channels=int(given.get("min_channels", 1)),
    )
    channels = _channels_at(spectra[0], found) if of_axis == "energy" else found
    return _ranges(work, spectra, channels) | {"from": f"mean of {len(spectra)} spectra"}


def _ranges(work: Work, spectra: list[xr.Dataset], channels: Any) -> dict[str, Any]:
    """Return edges in PI and in keV of bands whose edges are channels."""
    edges = _pi_edges(channels, float(_CHANNEL))
    try:
        bounds = _bounds(_with_energies(spectra[0]))
    except (IndexError, MissingFileError, MissingKeywordError):
        work.notes.append("bands: without a response channels are taken for 5 eV each")
        return {"edges": edges, "energies": [edge / 1000.0 for edge in edges]}
    numbers = np.asarray(channels, np.int64) - int(spectra[0]["channel"][0])
    if numbers.min() < 0 or numbers.max() >= len(bounds):
        raise ValueRangeError(f"bands: found channels {list(channels)}, expected some of {len(bounds)}")
    return {"edges": edges, "energies": [round(float(energy), 4) for energy in bounds[numbers]]}


def _of_one_camera(work: Work) -> list[xr.Dataset]:
    """Return the spectra of pn, or of MOS if there are none: those of both have different channels."""
    paths = work.paths("group", "spectra/*.pi")
    chosen = [path for path in paths if path.stem.endswith("_pn")] or paths
    if len(chosen) < len(paths):
        work.notes.append("bands: from the spectra of pn; MOS has light curves in the same bands")
    return [open_dataset(path).load() for path in chosen]


def _with_energies(spectrum: xr.Dataset) -> xr.Dataset:
    response = response_of(spectrum)
    return spectrum.assign_coords(
        energy_bnds=(("channel", "bnds"), response["energy_bnds"].values, {"units": "keV"})
    )


def _bounds(spectrum: xr.Dataset) -> np.ndarray:
    """Return the energies at which channels begin, and the last one ends."""
    bounds = spectrum["energy_bnds"].values
    return np.append(bounds[:, 0], bounds[-1, 1])


def _channels_at(spectrum: xr.Dataset, energies: np.ndarray) -> np.ndarray:
    """Return the channels that begin at energies; the one behind the last for where that ends."""
    channels = spectrum["channel"].values
    nearest = np.abs(_bounds(spectrum) - np.asarray(energies)[:, None]).argmin(axis=1)
    return np.append(channels, channels[-1] + 1)[nearest]


def _pi_edges(edges: Any, factor: float) -> list[int]:
    """Return edges in PI (eV) from edges in units of `factor` eV."""
    return [round(float(edge) * factor) for edge in edges]


class Curves(ToolSteps):
    """The steps that call tasks."""

    def curves(self, work: Work) -> dict[str, Any]:
        """Make corrected light curves: a job for each band of each list; then a file for each list."""
        edges, energies = (work.before["bands"].facts[name] for name in ("edges", "energies"))
        limits = dict(zip(edges[:-1], itertools.pairwise(energies), strict=True))
        lists = lists_of(work, "curve")
        jobs = {
            f"{key} {low}-{high - 1} eV": partial(self._band, work, key, lists[key], low, high)
            for key in lists
            for low, high in itertools.pairwise(edges)
        }
        found = self.toolbox.chains(work, jobs)
        made: dict[str, list[Path]] = {}
        for name, path in found.items():
            made.setdefault(name.split()[0], []).append(path)
        for key, paths in made.items():
            curves = [open_dataset(work.folder / path).load() for path in paths]
            together = _together(curves, [limits[int(path.stem.split("_")[-2])] for path in paths])
            to_netcdf(together, work.output(f"lightcurves/{key}.nc"))
        return {"curves": {key: [path.as_posix() for path in paths] for key, paths in made.items()}}

    def _band(self, work: Work, key: str, path: Path, low: int, high: int) -> Path:
        """Make the light curve of one band; return its name."""
        name, _, instrument = key.partition("_")
        env, band = environment(work, name), f"{low}_{high - 1}"
        limits = open_dataset(path).attrs
        times = sas.time_range(limits["tstart"], limits["tstop"], work.options["dt"])
        both = shapes(work, key)
        made = []
        for kind, region in zip(("source", "background"), both, strict=True):
            condition = sas.expression(
                sas.flag_of(instrument, "curve"), sas.pi_range(low, high - 1), sas.shape_expression(region)
            )
            result = self.toolbox.one(
                work,
                f"{key}/{band}",
                tool("evselect"),
                table=path,
                withrateset=True,
                rateset=place(work, f"{key}/{band}") / f"{kind}.lc",
                timebinsize=work.options["dt"],
                maketimecolumn=True,
                makeratecolumn=True,
                **times,
                expression=condition,
                environment=env,
            )
            made.append(result["rateset"])
        corrected = self.toolbox.one(
            work,
            f"{key}/{band}",
            tool("epiclccorr"),
            srctslist=made[0],
            eventlist=path,
            outset=place(work, f"{key}/{band}") / "corrected.lc",
            withbkgset=True,
            bkgtslist=made[1],
            applyabsolutecorrections=work.options["corrections"] == "absolute",
            **sas.source_position(both[0], work.options["ra"], work.options["dec"]),
            environment=env,
        )["outset"]
        target = Path(f"lightcurves/{key}/{key}_{band}.lc")
        put(work, corrected, target.as_posix())
        return target


def _together(curves: list[xr.Dataset], edges: list[tuple[float, float]]) -> xr.Dataset:
    """Return light curves of bands (keV) as one, on the bins that all have."""
    bounds = [curve["time_bnds"].values.reshape(-1, 2) for curve in curves]
    starts = [np.round(one[:, 0], 3) for one in bounds]
    first = np.all([np.isin(starts[0], one) for one in starts], axis=0)
    shared = bounds[0][first]
    if not len(shared):
        raise EmptySelectionError("curves: the bands have no time bins in common")
    columns: dict[str, list[np.ndarray]] = {"rate": [], "rate_err": []}
    for curve, own in zip(curves, starts, strict=True):
        rows = np.isin(own, starts[0][first])
        rate, error = _rates(curve)
        columns["rate"].append(rate[rows])
        columns["rate_err"].append(error[rows])
    variables = {
        "time": shared.mean(axis=1),
        "time_bnds": (("time", "bnds"), shared),
        "energy": np.mean(edges, axis=1),
        "energy_bnds": (("energy", "bnds"), np.array(edges)),
        **{
            name: (("time", "energy"), np.stack(values, axis=1), {"units": "count/s"})
            for name, values in columns.items()
        },
        "exposure": curves[0]["exposure"].values[first],
        "fracexp": curves[0]["fracexp"].values[first],
    }
    attrs = kept_attrs(curves[0].attrs, *ORIGIN) | {
        "statistic": "gaussian",
        "weighting": "none",
        "history": f"batx: {len(curves)} bands of epiclccorr",
    }
    return build("lightcurve", variables, attrs)


def _rates(curve: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return rate and error of a light curve of one band."""
    if "rate" in curve:
        return curve["rate"].values.reshape(-1), curve["rate_err"].values.reshape(-1)
    exposure = np.where(curve["exposure"].values > 0, curve["exposure"].values, np.nan)
    counts = curve["counts"].values.reshape(-1)
    return counts / exposure, np.sqrt(np.maximum(counts, 0)) / exposure


def images(work: Work) -> dict[str, Any]:
    """Make the image of each event list around the source, of X-rays only, in pixels of 4 arcsec."""
    center = work.options["ra"], work.options["dec"]

    def one(key: str, path: Path) -> str:
        events = open_dataset(path)
        if "pattern" not in events:
            raise MissingVariableError(
                f"{path.name}: found no column PATTERN, which event lists of EPIC have"
            )
        patterns = events["pattern"].values <= sas.PATTERNS[sas.camera_of(key.partition("_")[2])]
        image = count_image(
            events.isel(event=patterns),
            bin=80,
            energy=work.options["energy"],
            center=center,
            size=150,
            tstart=events.attrs["tstart"],
            tstop=events.attrs["tstop"],
        )
        if "gti_start" not in events.variables:  # good times of each CCD, in extensions of their own
            image = image.assign_attrs(exposure=header_row(path)["exposure"])
        to_fits(image, work.output(f"images/{key}.img"))
        return f"images/{key}.img"

    return {"images": each(work, lists_of(work, "image"), one)}


def figures(work: Work) -> dict[str, Any]:
    """Draw images with regions, light curves, flares, and which observations are used."""
    pictures: dict[str, Callable[[], Any]] = {}
    shown = work.paths("images", "images/*.img")
    for page, first in enumerate(range(0, len(shown), _A_PAGE), 1):
        name = "epochs" if page == 1 else f"epochs_{page}"
        pictures[name] = partial(_epochs, work, name, shown[first : first + _A_PAGE])
    if work.before["group"].state == "done":
        pictures["selection"] = partial(_selection, work)
    for path in work.paths("curves", "lightcurves/*.nc"):
        pictures[f"lightcurve_{path.stem}"] = partial(_curve, work, path)
    for path in work.paths("flares", "flares/*.lc"):
        pictures[f"flares_{path.stem}"] = partial(_flares, work, path)
    return {"figures": drawn(work, pictures)}


def _epochs(work: Work, name: str, paths: list[Path]) -> None:
    first = min(header_row(path)["start_mjd"] for path in work.paths("images", "images/*.img"))
    save(
        [open_dataset(path) for path in paths],
        work.output(f"figures/{name}.png"),
        draw=plot_epochs,
        own_regions=[_drawn_regions(work, path.stem) for path in paths],
        t0=work.options["t0"] if work.options["t0"] is not None else first,
        radius=3.0,
        smooth=0.8,
    )


def _drawn_regions(work: Work, key: str) -> list[list[Region]]:
    """Return the regions of an image, as far as they are known."""
    if not work.paths("regions", f"regions/{key}_source_physical.reg"):
        target = circle(work.options["ra"], work.options["dec"], SOURCE_RADIUS / 3600.0)
        return [target]
    return [*shapes(work, key, core=key in work.before["pileup"].facts.get("radii", {}))]


def _selection(work: Work) -> None:
    """Draw the exposure of each observation, of the camera with the longest one, used or not."""
    table = spectrum_table(work.paths("group", "spectra/*.pi"))
    table = table.sort_values("exposure").drop_duplicates("obs_id", keep="last").sort_values("start_mjd")
    save(
        table.reset_index(drop=True),
        work.output("figures/selection.png"),
        draw=plot_selection,
        t0=work.options["t0"],
        min_exposure=work.options["min_exposure"],
    )


def _curve(work: Work, path: Path) -> None:
    curve = open_dataset(path)
    kind = f"EPIC {path.stem.partition('_')[2]}, background subtracted"
    save(curve, work.output(f"figures/lightcurve_{path.stem}.png"), title=figure_title(curve, kind))


def _flares(work: Work, path: Path) -> None:
    """Draw the light curve of flares with the thresholds, and what the lowest of them takes away."""
    limits = work.before["flares"].facts["lists"][path.stem]["thresholds"]
    curve = open_dataset(path)
    kind = f"EPIC {path.stem.partition('_')[2]}, single events of the whole field"
    flares = _left_out(work, curve, path.stem, min(limits, key=float)) if limits else np.empty((0, 2))

    def draw(curve: xr.Dataset, page: Any) -> None:
        panel: Any = plot_lightcurve(curve, page, title=figure_title(curve, kind))
        for limit, held in limits.items():
            ks = f"{held['kept'] / 1000:.1f} ks kept, {held['lost'] / 1000:.1f} ks lost"
            panel.axhline(
                float(limit), color="#D55E00", linewidth=0.9, linestyle="--", label=f"{limit} count/s: {ks}"
            )
        draw_spans(panel, flares - float(curve["time_bnds"][0, 0]), label="left out", color="#F7DFCB")
        panel.set_ylim(top=1.3 * max(panel.get_ylim()[1], *map(float, limits), 0.0))
        panel.legend(loc="upper left", fontsize=8, framealpha=0.9, edgecolor="none", ncols=2)

    save(curve, work.output(f"figures/flares_{path.stem}.png"), draw=draw)


def _left_out(work: Work, curve: xr.Dataset, key: str, limit: str) -> np.ndarray:
    """Return the (n, 2) intervals of observed time that a threshold takes away."""
    bounds = curve["time_bnds"].values
    good = open_dataset(work.path("flares", f"flares/{key}_{limit}.gti"))
    away = gti_complement(good, bounds[0, 0], bounds[-1, 1])
    if "gti_start" in curve.variables:
        away = gti_intersection(away, curve)
    return np.column_stack([away["start"].values, away["stop"].values])
