"""Which pointings of the survey are used, and why others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.errors import MissingFileError
from batx.pipelines.frame import Work
from batx.pipelines.records import Record
from batx.pipelines.surveys.names import PROCESSED, quiet_survey, result_places
from batx.pointings import pointing_cuts
from batx.survey_spectra import SURVEY_EDGES

__all__ = ["judged_table", "pointings"]


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
