"""From observations to pointings: what is there, the catalogue, batsurvey for many observations at a time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.errors import BatxError, MissingFileError, MissingVariableError, ValueRangeError
from batx.heasoft import request, run_many
from batx.io.open import open_dataset
from batx.io.source import starts_like_fits
from batx.io.write import to_fits
from batx.pipelines.frame import SkippedError, Work
from batx.pipelines.records import Record
from batx.pipelines.surveys.names import (
    PROCESSED,
    is_id,
    is_result,
    observation_folders,
    quiet_survey,
    result_files,
    result_places,
)
from batx.pointings import pointing_cuts
from batx.schema import require_kind
from batx.survey_catalogs import require_unique, survey_catalog
from batx.survey_spectra import SURVEY_EDGES

__all__ = ["catalog", "inputs", "pointings", "process"]

#: channels of a whole histogram, and of one that was cut short
_CHANNELS, _CUT = 80, 20


def inputs(work: Work, mirrors: list[str] | None = None) -> dict[str, Any]:
    """Find observations and results; look at the histograms.

    Raises
    ------
    MissingFileError
        If a folder is neither, or there is no observation with histograms.
    ValueRangeError
        If an observation is there twice.
    """
    observations: dict[str, str] = {}
    results: list[str] = []
    without: list[str] = []
    cut: dict[str, list[str]] = {}
    for source in _sources(work, mirrors):
        folders, bare = observation_folders(source) if source.is_dir() else ([], [])
        if is_result(source, Path(work.options["output"])):
            results.append(str(source))
            if folders:
                work.notes.append(
                    f"{source} holds results of batsurvey, which are used as they are, and "
                    f"{len(folders)} observation(s), which are not processed; give the folders of these too"
                )
            continue
        if not folders and not bare:
            raise MissingFileError(
                f"{source}: found neither survey histograms (bat/survey/*.dph*) nor results of batsurvey "
                "(stats_point.fits); give folders of observations, or of results"
            )
        without += [folder.name for folder in bare]
        for folder in folders:
            work.progress(f"histograms of {folder.name}")
            if folder.name in observations:
                raise ValueRangeError(f"found the observation {folder.name} twice; give it once")
            observations[folder.name] = str(folder)
            short = [path.name for path in histograms(folder) if _is_cut(work, path)]
            if short:
                cut[folder.name] = short
                work.notes.append(_about_cut(folder.name, short, len(histograms(folder))))
    lines = [f"{name}: no survey histograms (bat/survey/*.dph*)" for name in without]
    if not observations and not results:
        raise MissingFileError(f"found nothing to process: {lines[0]}")
    work.notes.extend(f"left out: {line}" for line in lines)
    return {"observations": observations, "results": results, "cut_short": cut, "left_out": lines}


def _sources(work: Work, mirrors: list[str] | None) -> list[Path]:
    """Return the folders that are given; observations given by their id are fetched."""
    options = work.options
    ids = [source for source in options["sources"] if is_id(source)]
    if not ids:
        return list(map(Path, options["sources"]))
    from batx.archive import fetch

    def announce(name: str, done: int, size: int | None) -> None:
        work.progress(f"{name}: {done / 1e6:.1f}{f' of {size / 1e6:.1f}' if size else ''} MB")

    folders = fetch(
        ids,
        instruments=("bat", "auxil"),
        data=options["data"],
        mirrors=mirrors,
        offline=options["offline"],
        progress=announce,
    )
    found = dict(zip(ids, folders, strict=True))
    return [found.get(source) or Path(source) for source in options["sources"]]


def histograms(folder: Path) -> list[Path]:
    """Return the survey histograms of an observation."""
    return sorted(path for path in (folder / "bat" / "survey").glob("*.dph*") if path.is_file())


def _is_cut(work: Work, path: Path) -> bool:
    """Whether a file has the first channels only: fewer columns, or nothing in the others."""
    try:
        plane = open_dataset(path)
    except BatxError as error:
        work.notes.append(f"{path.name} cannot be read: {error}")
        return False
    if "energy" not in plane["counts"].dims or not plane.sizes.get("time", 0):
        return False
    if plane.sizes["energy"] < _CHANNELS:
        return True
    counts = plane["counts"].isel(time=0).values
    return bool(counts[:_CUT].any() and not counts[_CUT:].any())


def _about_cut(observation: str, short: list[str], total: int) -> str:
    return (
        f"{observation}: {len(short)} of {total} histogram(s) hold only the first {_CUT} of {_CHANNELS} "
        "channels (up to 48.9 keV), as they are now sent down: bands above 50 keV will be empty, and 35-50 "
        f"keV lacks its end; the first is {short[0]}"
    )


def catalog(work: Work) -> dict[str, Any]:
    """Write the catalogue for batsurvey: the one given, with sources of one's own."""
    if not work.before["inputs"].facts["observations"]:
        raise SkippedError("no observation is to be processed: results of batsurvey are given")
    base, own = work.options["catalog"], work.options["own_sources"]
    if base is None and not own:
        raise MissingFileError(
            "batsurvey needs a catalogue of sources: give catalog=, own sources (own_sources=), or both"
        )
    target = work.output("catalog.fits")
    if own:
        names, ra, dec = zip(*own, strict=True)
        made = survey_catalog(list(names), list(ra), list(dec), base)
        to_fits(made, target)
    else:
        made = open_dataset(base).load()
        require_kind(made, "catalog", operation=f"catalog: {base}")
        if "name" not in made.variables:
            raise MissingVariableError(f"catalog: {base} has no names of sources (NAME)")
        require_unique(made["name"].values, f"catalog: {base}")
        made.encoding.pop("source", None)
        if starts_like_fits(Path(base)):
            shutil.copyfile(base, target)  # with all its columns
        else:
            to_fits(made, target)
    return {"sources": int(made.sizes["source"]), "own": [name for name, _, _ in own]}


def process(work: Work) -> dict[str, Any]:
    """Run batsurvey for each observation, several at a time; what is done already is not done again.

    Raises
    ------
    BatxError
        The first failure, if all observations fail.
    """
    observations: dict[str, str] = work.before["inputs"].facts["observations"]
    options = work.options
    home = Path(options["output"]) / PROCESSED
    home.mkdir(parents=True, exist_ok=True)
    given = dict(options["parameters"])
    calls = [
        request(
            "batsurvey",
            {"indir": folder, "incatalog": str(work.path("catalog")), **given, "outdir": str(home / name)},
            backend=options["backend"],
            timeout=options["timeout"],
            overwrite=True,
        )
        for name, folder in observations.items()
    ]

    def progress(done: int, total: int, last: Any) -> None:
        work.progress(f"{done} of {total} observations")

    found = run_many(calls, workers=options["workers"], progress=progress, errors="return")
    outcome = dict(zip(observations, found, strict=True))
    failed = {name: error for name, error in outcome.items() if isinstance(error, BatxError)}
    if failed and len(failed) == len(outcome):
        raise next(iter(failed.values()))
    for name, error in failed.items():
        work.notes.append(f"{name}: not processed: {error}")
    return {
        "processed": [name for name in outcome if name not in failed],
        "failed": {name: str(error) for name, error in failed.items()},
        "versions": sorted({one.version for name, one in outcome.items() if name not in failed}),
    }


def processed_files(options: Any) -> list[Path]:
    """Return the files of the results that were made here."""
    return result_files({"sources": [], "output": options["output"]})


def pointings(work: Work) -> dict[str, Any]:
    """Write the table of pointings: which are good, which failed, and why."""
    done = work.before["process"]
    places = _places(work, done)
    tree = quiet_survey(places)
    table = tree["pointings"].to_dataset()
    good = table["image_status"].values.astype(bool)
    used, reason = _judged(table, work.options["cuts"])
    empty = _empty_bands(table)
    if (empty & good[:, None]).any():
        work.notes.append(
            f"{int((empty.any(axis=1) & good).sum())} of {int(good.sum())} good pointing(s) have empty bands "
            f"({_bands(empty[good].any(axis=0))}): their histograms were cut short, these have no values"
        )
    columns = (table["obs_id"].values, table["image_id"].values, reason)
    bad = [f"{obs} {image}: {why}" for obs, image, why in zip(*(one[~used] for one in columns), strict=True)]
    lost = tree.attrs["unreadable"].splitlines()
    work.notes.extend(f"left out: {line}" for line in [*lost, *bad])
    shown = table.assign(used=("row", used), cut_reason=("row", reason))
    _write_csv(shown, work.output("pointings.csv"))
    if not used.any():
        raise MissingFileError(f"none of {used.size} pointing(s) can be used: {bad[0]}")
    np.save(work.output("used.npy"), used, allow_pickle=False)
    exposure = float(table["exposure"].values[used].sum())
    return {
        "places": [str(place) for place in places],
        "pointings": int(used.size),
        "used": int(used.sum()),
        "exposure": exposure,
        "left_out": [
            *work.before["inputs"].facts["left_out"],
            *_not_processed(done),
            *lost,
            *bad,
        ],
    }


def _places(work: Work, process: Record) -> list[Path]:
    """Return the folders of results: those given, and those that were made now."""
    made = Path(work.options["output"]) / PROCESSED
    wanted = set(process.facts.get("processed", ())) if process.state == "done" else set()
    places = [place for place in result_places(work.options) if place.parent != made or place.name in wanted]
    if not places:
        raise MissingFileError(f"found no results of batsurvey: {process.reason or 'none was given'}")
    return places


def _not_processed(process: Record) -> list[str]:
    """Return a line for each observation that batsurvey failed for."""
    failed = process.facts.get("failed", {})
    return [f"{name}: not processed: {' '.join(why.split())[:300]}" for name, why in failed.items()]


def _judged(table: xr.Dataset, cuts: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return which pointings are used, and why others are not."""
    good = table["image_status"].values.astype(bool)
    why = table["reason"].values.astype(object)
    reason = np.where(good, why, table["code"].values.astype(object) + ": " + why)
    used = good & (table["catalog"].values != "")
    if cuts:
        judged = pointing_cuts(judged_table(table))
        cut = used & ~judged["good"].values
        reason = np.where(cut, "cut: " + judged["reason"].values.astype(object), reason)
        used &= ~cut
    return used, reason.astype(str)


def judged_table(table: xr.Dataset) -> xr.Dataset:
    """Return a table of pointings in which bands without counts pass the cut on chi-square.

    Their chi-square is 0, which says nothing about the bands that were measured.
    """
    empty = _empty_bands(table)
    good = table["image_status"].values.astype(bool)
    neutral = np.where(empty & good[:, None], table["nbatdets"].values[:, None], table["chi2"].values)
    return table.assign(chi2=(table["chi2"].dims, neutral))


def _empty_bands(table: xr.Dataset) -> np.ndarray:
    if "bkg_counts" not in table.variables:
        return np.zeros(table["chi2"].shape, bool)
    return table["bkg_counts"].values <= 0


def _bands(empty: np.ndarray) -> str:
    edges = SURVEY_EDGES
    if len(empty) != len(edges) - 1:
        return f"{int(empty.sum())} of {len(empty)}"
    return ", ".join(f"{edges[n]:g}-{edges[n + 1]:g} keV" for n in np.flatnonzero(empty))


def _write_csv(table: xr.Dataset, path: Path) -> None:
    names = ("obs_id", "image_id", "tstart", "tstop", "exposure", "ra_pnt", "dec_pnt", "pa_pnt", "nbatdets",
             "code", "reason", "used", "cut_reason")  # fmt: skip
    columns = {name: table[name].values for name in names if name in table.variables}
    pd.DataFrame(columns).to_csv(path, index=False)
