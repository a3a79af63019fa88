"""From pointings to products: rates, light curves, spectra, fits or limits, mosaics, figures, tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.errors import BatxError
from batx.io.open import open_dataset, open_datatree
from batx.io.store import to_netcdf, to_zarr
from batx.io.write import to_fits
from batx.limits import upper_limit
from batx.met import met_to_mjd, met_to_utc
from batx.mosaic_sources import mosaic_rates
from batx.mosaics import mosaic
from batx.pipelines.frame import SkippedError, Work
from batx.pipelines.surveys.names import BAND, file_names, loaded, quiet_survey, result_places
from batx.resolved_fits import fit_series
from batx.schema import build
from batx.survey_folders import survey_images
from batx.survey_merging import plain_name, survey_rates
from batx.survey_spectra import survey_response, survey_spectrum
from batx.survey_tables import by_clock, survey_table
from batx.time_averages import average_times, one_source

__all__ = [
    "figures",
    "fits",
    "images_read",
    "lightcurves",
    "mosaic_products",
    "mosaics",
    "rates",
    "report",
    "spectra",
]


#: where the source was in a pointing: keywords of spectra
_PLACE = ("bat_xobj", "bat_yobj", "bat_zobj", "mskwtsqf", "pcodefr")


#: how batsurvey names what is not in the catalogue: by the minute of the pointing, and a number
_NEW = re.compile(r"\d{11}_\d+")


def _used(work: Work) -> tuple[xr.DataTree, np.ndarray]:
    """Return the results of batsurvey, and which pointings are used."""
    tree = quiet_survey(work.before["pointings"].facts["places"])
    return tree, np.load(work.path("pointings", "used.npy"), allow_pickle=False)


def rates(work: Work) -> dict[str, Any]:
    """Merge the catalogues to rates of the sources in every pointing."""
    tree, used = _used(work)
    wanted = work.options["targets"]
    if wanted is None and work.options["own_sources"]:
        wanted = [name for name, _, _ in work.options["own_sources"]]
    if wanted is not None:
        wanted = _seen(work, tree, used, list(wanted))
    made = survey_rates(tree, wanted, cuts=used, compat=work.options["compat"])
    if wanted is None:
        made = _without_new(work, made)
    names = file_names(made["name"].values)
    band = _measured_band(work, made)
    to_netcdf(made, work.output("rates.nc"))
    for source, name in names.items():
        work.progress(f"table of {source}")
        table = _pointing_table(one_source(made, source, "rates"), band)
        table.to_csv(work.output(f"rates/{name}.csv"), index=False)
    return {"sources": names, "pointings": int(made.sizes["time"]), "band": list(band)}


def _without_new(work: Work, made: xr.Dataset) -> xr.Dataset:
    """Return the sources of the catalogue; a table of those that batsurvey found besides.

    It finds them anew in every image, under a name of the image and a number.
    """
    new = np.array([_NEW.fullmatch(str(name)) is not None for name in made["name"].values])
    if not new.any() or new.all():
        return made
    found = made.isel(source=np.flatnonzero(new))
    rate = np.nansum(found["rate"].values, axis=2)
    noise = np.sqrt(np.nansum(found["noise"].values ** 2, axis=2))
    snr = np.divide(rate, noise, out=np.full(rate.shape, -np.inf), where=noise > 0)
    best = snr.argmax(axis=1)
    columns = {name: found[name].values for name in ("name", "ra", "dec")}
    columns |= {"image_id": made["image_id"].values[best]}
    for name, values in (("rate", rate), ("noise", noise), ("snr", snr)):
        columns[name] = np.take_along_axis(values, best[:, None], axis=1)[:, 0]
    pd.DataFrame(columns).to_csv(work.output("new_sources.csv"), index=False)
    work.notes.append(
        f"{int(new.sum())} detection(s) of sources that are not in the catalogue are in new_sources.csv; for "
        "products of one, add it to the catalogue (own_sources=), or name it (targets=)"
    )
    return made.isel(source=np.flatnonzero(~new))


def _measured_band(work: Work, made: xr.Dataset) -> tuple[float, float]:
    """Return the band in which rates are summed: all bands, up to the first without any value."""
    bounds = made["energy_bnds"].values
    filled = np.isfinite(made["noise"].values)
    known = filled.any(axis=(0, 1))
    last = len(known) if known.all() else int(np.argmin(known))
    band = float(bounds[0, 0]), float(bounds[max(last, 1) - 1, 1])
    if last < len(known):
        work.notes.append(f"sums of bands are of {band[0]:g}-{band[1]:g} keV: no pointing has values above")
    partly = filled.any(axis=(0, 2)) & ~filled[:, :, :last].all(axis=2).any(axis=0)
    if partly.any():
        work.notes.append(
            f"{int(partly.sum())} pointing(s) lack bands in {band[0]:g}-{band[1]:g} keV and are in no sum"
        )
    return band


def _seen(work: Work, tree: xr.DataTree, used: np.ndarray, wanted: list[str]) -> list[str]:
    """Return those of the wanted sources that any pointing has; a note for the others."""
    try:
        survey_rates(tree, wanted, cuts=used)
        return wanted
    except BatxError:
        everyone = {plain_name(name) for name in survey_rates(tree, cuts=used)["name"].values}
    found = [name for name in wanted if plain_name(name) in everyone]
    missing = [name for name in wanted if plain_name(name) not in everyone]
    work.notes.extend(f"{name}: in no catalogue of a pointing that is used" for name in missing)
    return found or wanted


def _pointing_table(one: xr.Dataset, sums: tuple[float, float]) -> pd.DataFrame:
    """Return the values of a source, a row for each pointing that it is in."""
    total = average_times(one, energy=sums)
    bounds = one["time_bnds"].values
    mjd = by_clock(one, bounds, met_to_mjd)
    columns: dict[str, Any] = {
        "obs_id": one["obs_id"].values,
        "image_id": one["image_id"].values,
        "tstart": bounds[:, 0],
        "tstop": bounds[:, 1],
        "utc": by_clock(one, bounds[:, 0], met_to_utc),
        "start_mjd": mjd[:, 0],
        "stop_mjd": mjd[:, 1],
        "exposure": one["exposure"].values,
    }
    columns |= {name: one[name].values for name in ("imx", "imy", "pcode") if name in one.variables}
    for name in ("rate", "rate_err", "noise", "snr"):
        for band, (low, high) in enumerate(one["energy_bnds"].values):
            columns[f"{name}_{low:g}_{high:g}"] = one[name].values[:, band]
        columns[f"{name}_sum_{sums[0]:g}_{sums[1]:g}"] = total[name].values[:, 0]
    table = pd.DataFrame(columns)
    return table[np.isfinite(one["rate"].values).any(axis=1)]


def lightcurves(work: Work) -> dict[str, Any]:
    """Write light curves of every source: of pointings, and of groups; bands, and their sum."""
    merged = loaded(work, "rates", "rates.nc")
    made = 0
    for source, name in work.before["rates"].facts["sources"].items():
        one = one_source(merged, source, "lightcurves").assign_attrs(object=source)
        for label, bins in _groupings(work):
            work.progress(f"{source}, {label}")
            for ending, energy in (("", None), ("_sum", work.before["rates"].facts["band"])):
                curve = _exposed(average_times(one, bins, energy=energy))
                if curve is None:
                    work.notes.append(f"{source}: no pointing with values{' in all bands' if energy else ''}")
                    break
                to_netcdf(curve, work.output(f"lightcurves/{name}_{label}{ending}.nc"))
                plain = curve.drop_vars(["group", "utcf"], errors="ignore")
                to_fits(plain, work.output(f"lightcurves/{name}_{label}{ending}.lc"))
                made += 1
    return {"lightcurves": made}


def _groupings(work: Work) -> Iterator[tuple[str, Any]]:
    """Yield names and groups: every pointing, and those asked for."""
    yield "pointings", None
    bins = work.options["time_bins"]
    if bins is not None:
        yield (bins if isinstance(bins, str) else "groups"), bins


def _exposed(curve: xr.Dataset) -> xr.Dataset | None:
    """Return the bins of a light curve in which the source was observed."""
    seen = np.flatnonzero(np.isfinite(curve["rate"].values).any(axis=1))
    return curve.isel(time=seen) if seen.size else None


def spectra(work: Work) -> dict[str, Any]:
    """Write spectra and responses of every source, for groups of pointings (or each pointing)."""
    merged = loaded(work, "rates", "rates.nc")
    label, bins = list(_groupings(work))[-1]
    count = 0
    for source, name in work.before["rates"].facts["sources"].items():
        work.progress(source)
        try:
            spectrum = survey_spectrum(merged, bins, source=source)
            matrix = survey_response(merged, bins, source=source)
        except BatxError as error:
            work.notes.append(f"{source}: no spectra: {error}")
            continue
        to_netcdf(spectrum, work.output(f"spectra/{name}_{label}.nc"))
        to_netcdf(matrix, work.output(f"spectra/{name}_{label}_response.nc"))
        for number, group in enumerate(file_names(spectrum["group"].values).values()):
            _write_pair(work, spectrum.isel(time=number), matrix.isel(time=number), f"{name}_{label}_{group}")
        count += spectrum.sizes["time"]
    if not count:
        raise SkippedError("no source has a spectrum")
    return {"spectra": count, "label": label}


def _write_pair(work: Work, spectrum: xr.Dataset, matrix: xr.Dataset, name: str) -> None:
    """Write a spectrum and its response as OGIP files that name each other."""
    response = matrix.drop_vars(["time", "time_bnds"], errors="ignore")
    to_fits(response, work.output(f"spectra/{name}.rsp"))
    place = {key: float(spectrum[key]) for key in _PLACE if key in spectrum.variables}
    single = spectrum.drop_vars(["group", *place]).assign_attrs(respfile=f"{name}.rsp", **place)
    to_fits(single, work.output(f"spectra/{name}.pha"))


def fits(work: Work) -> dict[str, Any]:
    """Fit the spectra of detected sources; limit the flux of the others."""
    made: list[str] = []
    label = work.before["spectra"].facts["label"]
    for source, name in work.before["rates"].facts["sources"].items():
        if not work.paths("spectra", f"spectra/{name}_{label}.nc"):
            continue
        work.progress(source)
        spectrum = loaded(work, "spectra", f"spectra/{name}_{label}.nc")
        matrix = loaded(work, "spectra", f"spectra/{name}_{label}_response.nc")
        made += _fit_or_limit(work, source, f"fits/{name}", spectrum, matrix)
    return {"made": made}


def _fit_or_limit(work: Work, source: str, stem: str, spectrum: xr.Dataset, matrix: xr.Dataset) -> list[str]:
    """Write fits of the spectra in which the source is detected by the sum of channels, limits of others."""
    good = spectrum["quality"] == 0 if "quality" in spectrum.variables else True
    total = spectrum["rate"].where(good, 0.0).sum("channel")
    noise = np.sqrt((spectrum["stat_err"].where(good, 0.0) ** 2).sum("channel"))
    seen = (total / noise).values >= work.options["snr"]
    made = []
    for what, make, which in (("fit", _fit, seen), ("limit", _limit, ~seen)):
        if which.any():
            made += _tried(
                work, source, f"{stem}_{what}", partial(make, spectrum, matrix, which, work.options)
            )
    return made


def _tried(work: Work, source: str, name: str, make: Callable[[], xr.Dataset]) -> list[str]:
    try:
        found = make()
    except BatxError as error:
        work.notes.append(f"{source}: no {Path(name).name}: {error}")
        return []
    to_netcdf(found, work.output(f"{name}.nc"))
    return [name]


def _fit(spectrum: xr.Dataset, matrix: xr.Dataset, which: np.ndarray, options: Any) -> xr.Dataset:
    rows = np.flatnonzero(which)
    response = matrix.isel(time=rows) if "time" in matrix.dims else matrix
    return fit_series(spectrum.isel(time=rows), options["model"], response=response, flux=list(BAND))


def _limit(spectrum: xr.Dataset, matrix: xr.Dataset, which: np.ndarray, options: Any) -> xr.Dataset:
    rows = np.flatnonzero(which)
    made = []
    for number in rows:
        limit: Any = upper_limit(
            spectrum.isel(time=number).drop_vars("group"),
            index=options["index"],
            sigma=options["sigma"],
            flux=list(BAND),
            response=_at(matrix, int(number)),
        )
        made.append(limit.drop_vars(["time", "time_bnds"], errors="ignore"))
    together = xr.concat(made, "time", combine_attrs="override")
    times = {name: spectrum[name].isel(time=rows) for name in ("time", "time_bnds")}
    return together.assign_coords(times)


def _at(matrix: xr.Dataset, number: int) -> xr.Dataset:
    """Return the response of one of several spectra."""
    if "time" not in matrix.dims:
        return matrix
    return matrix.isel(time=number).drop_vars(["time", "time_bnds"])


def images_read(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the images of the results, and the correction, with size and time of change: they are large."""
    if options["nside"] is None:
        return {}
    patterns = ("*.img", "*.img.gz", "*.var", "*.var.gz")
    found = [path for place in result_places(options) for one in patterns for path in place.rglob(one)]
    found += [Path(options["off_axis"])] if options["off_axis"] else []
    return {str(path): f"{(state := path.stat()).st_size} {state.st_mtime_ns}" for path in sorted(found)}


def mosaics(work: Work) -> dict[str, Any]:
    """Sum the images of the pointings: all of them, and those of each group."""
    nside = work.options["nside"]
    if nside is None:
        raise SkippedError("no mosaic is asked for (nside=, --nside)")
    tree, used = _used(work)
    images = survey_images(tree, used, errors="warn")
    if not images:
        raise SkippedError("no pointing that is used has an image")
    correction = work.options["off_axis"]
    off_axis = None if correction is None else open_dataset(correction).load()
    # sums of images stay in the scratch folder until the step is done: a run that is killed goes on there
    options = {"off_axis": off_axis, "time_bins": work.options["time_bins"], "path": work.scratch / "sums"}
    made = mosaic(images, nside, **options)
    work.progress(f"{len(images)} images")
    # chunks are files of their own, so that the order in which they are finished leaves no trace
    to_zarr(made, work.output("mosaic.zarr"))
    if correction is None:
        work.notes.append("mosaics without the off-axis correction: fluxes off axis are too low (off_axis=)")
    return {"images": len(images)}


def mosaic_products(work: Work) -> dict[str, Any]:
    """Write light curves and spectra of the sources in the mosaics, and fit these."""
    tree = open_datatree(work.root / "mosaic.zarr")
    sources = loaded(work, "rates", "rates.nc")
    places = build("catalog", {"name": sources["name"], "ra": sources["ra"], "dec": sources["dec"]})
    total = tree["total"].to_dataset() if "total" in tree.children else tree.to_dataset()
    found = {"total": mosaic_rates(total.load(), places)}
    if "groups" in tree.children:
        found["groups"] = mosaic_rates(tree["groups"].to_dataset().load(), places)
    tree.close()
    matrix = work.options["mosaic_response"]
    response = survey_response() if matrix is None else open_dataset(matrix).load()
    made: list[str] = []
    for label, rates in found.items():
        to_netcdf(rates, work.output(f"mosaics/{label}_rates.nc"))
        for source, name in work.before["rates"].facts["sources"].items():
            work.progress(f"{source}, {label}")
            stem = f"mosaics/{name}_{label}"
            made += _of_mosaic(work, one_source(rates, source, "mosaics"), source, stem, response)
    return {"made": made}


def _of_mosaic(work: Work, one: xr.Dataset, source: str, stem: str, response: xr.Dataset) -> list[str]:
    """Write light curve, spectra and fits of a source in mosaics; say what there is."""
    curve = _exposed(one)
    if curve is None:
        work.notes.append(f"{source}: outside the mosaic, or without values ({Path(stem).name})")
        return []
    plain = curve.drop_vars([name for name in ("group", "source_exposure") if name in curve.variables])
    to_fits(plain.assign_attrs(object=source), work.output(f"{stem}.lc"))
    spectrum = survey_spectrum(curve, systematics=None).assign_attrs(object=source)
    to_netcdf(spectrum, work.output(f"{stem}.nc"))
    to_fits(spectrum.drop_vars("group"), work.output(f"{stem}.pha"))
    return [stem, *_fit_or_limit(work, source, stem, spectrum, response)]


def figures(work: Work) -> dict[str, Any]:
    """Draw rates and significance of every source, fluxes, limits and indices too where there are fits."""
    from batx.plots.page import save
    from batx.plots.survey import plot_survey

    if not work.options["figures"]:
        raise SkippedError("no figures are asked for (figures=False)")
    drawn = []
    options = {"time": work.options["time_axis"], "snr": work.options["snr"]}
    fitted = list(_groupings(work))[-1][0]
    for name in work.before["rates"].facts["sources"].values():
        for label, _ in _groupings(work):
            stem = f"{name}_{label}"
            if not work.paths("lightcurves", f"lightcurves/{stem}_sum.nc"):
                continue
            work.progress(stem)
            curve = loaded(work, "lightcurves", f"lightcurves/{stem}_sum.nc")
            fit, limit = (
                _if_there(work, f"fits/{name}_{key}.nc") if label == fitted else None
                for key in ("fit", "limit")
            )
            draw = partial(plot_survey, fit=fit, limit=limit)
            try:
                save(curve, work.output(f"figures/{stem}.png"), draw=draw, **options)
            except BatxError as error:
                work.notes.append(f"no picture of {stem}: {error}")
                continue
            drawn.append(stem)
    return {"figures": drawn}


def report(work: Work) -> dict[str, Any]:
    """Write the table of results: text, LaTeX, CSV."""
    curves, found, limits = [], [], []
    label = list(_groupings(work))[-1][0]
    for name in work.before["rates"].facts["sources"].values():
        if not work.paths("lightcurves", f"lightcurves/{name}_{label}_sum.nc"):
            continue
        curves.append(loaded(work, "lightcurves", f"lightcurves/{name}_{label}_sum.nc"))
        found.append(_if_there(work, f"fits/{name}_fit.nc"))
        limits.append(_if_there(work, f"fits/{name}_limit.nc"))
    table = survey_table(curves, found, limits, snr=work.options["snr"])
    table.to_csv(work.output("results.csv"), index=False)
    text = survey_table(curves, found, limits, snr=work.options["snr"], format="text")
    about, band = work.before["pointings"].facts, work.before["rates"].facts["band"]
    head = (
        f"{about['used']} of {about['pointings']} pointings, {about['exposure']:.0f} s; rates in "
        f"{band[0]:g}-{band[1]:g} keV per fully illuminated detector; "
        f"detected from SNR {work.options['snr']:g}; limits of {work.options['sigma']:g} sigma "
        f"for index {work.options['index']:g}\n"
    )
    left = [f"left out: {line}" for line in about["left_out"]]
    work.output("results.txt").write_text(
        "\n".join([head, text, "", *left]).rstrip() + "\n", encoding="utf-8"
    )
    latex = survey_table(curves, found, limits, snr=work.options["snr"], format="latex")
    work.output("results.tex").write_text(latex + "\n", encoding="utf-8")
    return {"rows": len(table), "detected": int(table["detected"].sum())}


def _if_there(work: Work, name: str) -> xr.Dataset | None:
    return loaded(work, "fits", name) if work.paths("fits", name) else None
