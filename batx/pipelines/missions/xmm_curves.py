"""Steps of the pipeline of XMM-Newton, third part: light curves in many bands, and pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.channel_groups import channel_bins
from batx.count_images import count_image
from batx.errors import EmptySelectionError
from batx.io.open import open_dataset
from batx.io.store import to_netcdf
from batx.io.write import to_fits
from batx.pipelines.frame import Work
from batx.pipelines.missions import sas
from batx.pipelines.missions.tasks import tool
from batx.pipelines.missions.toolbox import ToolSteps, drawn, each, place, put
from batx.pipelines.missions.xmm_events import environment
from batx.pipelines.missions.xmm_products import lists_of, shapes
from batx.plots.epochs import plot_epochs, plot_selection
from batx.plots.page import save
from batx.responses import response_of
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs

__all__ = ["Curves", "bands", "figures", "images"]

#: eV of the channels of the spectra (spectralbinsize of evselect)
_CHANNEL = 5


def bands(work: Work) -> dict[str, Any]:
    """Choose the bands of the light curves as ranges of PI, the same for all observations.

    Edges are given in keV or in channels, or made from the mean spectrum of all observations (with equal
    counts, equal or logarithmic steps).
    """
    options = work.options
    given = options["bands"]
    if not isinstance(given, Mapping):
        return {"edges": _pi_edges(given, options["bands_by"]), "from": "given"}
    spectra = [open_dataset(path).load() for path in work.paths("group", "spectra/*.pi")]
    if not spectra:
        raise EmptySelectionError("bands: there are no spectra to take the bands from")
    of_axis = given.get("axis", "energy")
    if of_axis == "energy":
        spectra = [_with_energies(one) for one in spectra]
    limits = given.get("limits") or options["energy"]
    if of_axis == "channel" and not given.get("limits"):
        limits = [1000.0 * edge / _CHANNEL for edge in limits]
    edges = channel_bins(
        spectra,
        int(given["n"]),
        spacing=given.get("spacing", "counts"),
        axis=of_axis,
        limits=tuple(limits),
        min_channels=int(given.get("min_channels", 1)),
    )
    return {"edges": _pi_edges(edges.tolist(), of_axis), "from": f"mean of {len(spectra)} spectra"}


def _with_energies(spectrum: xr.Dataset) -> xr.Dataset:
    response = response_of(spectrum)
    return spectrum.assign_coords(
        energy_bnds=(("channel", "bnds"), response["energy_bnds"].values, {"units": "keV"})
    )


def _pi_edges(edges: Any, axis: str) -> list[int]:
    """Return edges in PI (eV) from edges in keV or in channels of the spectra."""
    factor = 1000.0 if axis == "energy" else float(_CHANNEL)
    return [round(float(edge) * factor) for edge in edges]


class Curves(ToolSteps):
    """The steps that call tasks."""

    def curves(self, work: Work) -> dict[str, Any]:
        """Make corrected light curves: a job for each band of each list; then a file for each list."""
        edges = work.before["bands"].facts["edges"]
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
            ranges = [tuple(map(int, path.stem.split("_")[-2:])) for path in paths]
            curves = [open_dataset(work.folder / path).load() for path in paths]
            together = _together(curves, [(low / 1000.0, (high + 1) / 1000.0) for low, high in ranges])
            to_netcdf(together, work.output(f"lightcurves/{key}.nc"))
        return {"curves": {key: [path.as_posix() for path in paths] for key, paths in made.items()}}

    def _band(self, work: Work, key: str, path: Path, low: int, high: int) -> Path:
        """Make the light curve of one band; return its name."""
        name, _, instrument = key.partition("_")
        env, band = environment(work, name), f"{low}_{high - 1}"
        made = []
        for kind, region in zip(("source", "background"), shapes(work, key), strict=True):
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
    """Make the image of each event list around the source, in pixels of 4 arcsec."""

    def one(key: str, path: Path) -> str:
        events = open_dataset(path)
        low, high = (int(1000 * edge) for edge in work.options["energy"])
        center = work.options["ra"], work.options["dec"]
        image = count_image(events, bin=80, channels=(low, high - 1), center=center, size=150)
        to_fits(image, work.output(f"images/{key}.img"))
        return f"images/{key}.img"

    return {"images": each(work, lists_of(work, "image"), one)}


def figures(work: Work) -> dict[str, Any]:
    """Draw images with regions, light curves, flares, and which observations are used."""
    pictures: dict[str, Callable[[], Any]] = {}
    if work.before["images"].state == "done":
        pictures["epochs"] = partial(_epochs, work)
    if work.before["summary"].state == "done":
        pictures["selection"] = partial(_selection, work)
    for path in work.paths("curves", "lightcurves/*.nc"):
        pictures[f"lightcurve_{path.stem}"] = partial(_curve, work, path)
    for path in work.paths("flares", "flares/*.lc"):
        pictures[f"flares_{path.stem}"] = partial(_flares, work, path)
    return {"figures": drawn(work, pictures)}


def _epochs(work: Work) -> None:
    paths = work.paths("images", "images/*.img")[:36]
    save(
        [open_dataset(path) for path in paths],
        work.output("figures/epochs.png"),
        draw=plot_epochs,
        own_regions=[shapes(work, path.stem) for path in paths],
        t0=work.options["t0"],
        radius=3.0,
        smooth=0.8,
    )


def _selection(work: Work) -> None:
    table = pd.read_csv(work.path("summary", "summary.csv"), dtype={"obs_id": str})
    save(
        table,
        work.output("figures/selection.png"),
        draw=plot_selection,
        t0=work.options["t0"],
        min_exposure=work.options["min_exposure"],
    )


def _curve(work: Work, path: Path) -> None:
    save(open_dataset(path), work.output(f"figures/lightcurve_{path.stem}.png"))


def _flares(work: Work, path: Path) -> None:
    """Draw the light curve of flares with the thresholds."""
    from batx.plots.lightcurve import plot_lightcurve

    limits = work.before["flares"].facts["lists"][path.stem]["thresholds"]

    def draw(curve: xr.Dataset, page: Any) -> None:
        panel = np.atleast_1d(np.asarray(plot_lightcurve(curve, page), object))[0]
        for limit in limits:
            panel.axhline(float(limit), color="#D55E00", linewidth=0.9, linestyle="--")

    save(open_dataset(path), work.output(f"figures/flares_{path.stem}.png"), draw=draw)
