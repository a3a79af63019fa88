"""Names of the products of the survey pipeline, and the way to its inputs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import BatxWarning, MissingFileError
from batx.io.open import open_dataset
from batx.pipelines.frame import Work
from batx.survey_folders import open_survey

__all__ = [
    "BAND",
    "existing",
    "file_names",
    "is_id",
    "is_observation",
    "is_result",
    "loaded",
    "observation_folders",
    "quiet_survey",
    "result_files",
    "result_places",
]

#: band of sums, fits and fluxes, keV
BAND = (14.0, 195.0)
#: folder of what batsurvey makes, below that of the results
PROCESSED = "batsurvey"


def is_id(source: str) -> bool:
    """Whether a source is the number of an observation."""
    return re.fullmatch(r"\d{11}", source) is not None


def is_result(folder: Path, but: Path | None = None) -> bool:
    """Whether a folder holds results of batsurvey, not counting those in one of its folders."""
    found = (path for path in folder.rglob("stats_point.fits*") if path.is_file())
    return any(but is None or not path.is_relative_to(but) for path in found)


def is_observation(folder: Path) -> bool:
    """Whether a folder is an observation with survey histograms, in the archive's layout."""
    return any(path.is_file() for path in (folder / "bat" / "survey").glob("*.dph*"))


def observation_folders(place: Path) -> tuple[list[Path], list[Path]]:
    """Return the observations that a folder is, or holds: those with survey histograms, and others."""
    folders = [place] if _is_of_archive(place) else [one for one in sorted(place.iterdir()) if one.is_dir()]
    with_histograms = [folder for folder in folders if is_observation(folder)]
    return with_histograms, [
        folder for folder in folders if _is_of_archive(folder) and folder not in with_histograms
    ]


def _is_of_archive(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("bat", "auxil"))


def result_places(options: Mapping[str, Any]) -> list[Path]:
    """Return the folders with results of batsurvey: those given, and those made here."""
    given = [Path(source) for source in options["sources"] if not is_id(source)]
    output = Path(options["output"])
    found = [place for place in given if place.is_dir() and is_result(place, output)]
    made = output / PROCESSED
    if made.is_dir():
        found += [folder for folder in sorted(made.iterdir()) if folder.is_dir() and is_result(folder)]
    return found


def result_files(options: Mapping[str, Any]) -> list[Path]:
    """Return the tables, catalogues and states of the results; not their images, which are large."""
    patterns = ("stats_point.fits*", "stats_obs.fits*", "*master.gti*", "*.cat", "*.cat.gz", "*_status.txt")
    found = {path for place in result_places(options) for one in patterns for path in place.rglob(one)}
    return sorted(path for path in found if path.is_file())


def quiet_survey(places: Iterable[str | Path]) -> xr.DataTree:
    """Open results of batsurvey; what is left out is said by its tables, not by warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BatxWarning)
        return open_survey(*places, errors="warn")


def file_names(sources: Iterable[str]) -> dict[str, str]:
    """Return a name for the files of each source: letters, digits, ``+-.``, all different."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for source in sources:
        plain = re.sub(r"[^A-Za-z0-9.+-]+", "_", str(source)).strip("._") or "source"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        made[str(source)] = name
    return made


def loaded(work: Work, step: str, pattern: str) -> xr.Dataset:
    """Return the product of a step that matches a pattern, in memory, without its way through files."""
    ds = open_dataset(work.path(step, pattern)).load()
    ds.close()
    ds.encoding.pop("source", None)
    for variable in ds.variables.values():
        variable.encoding.pop("source", None)
    return ds


def existing(name: str) -> Path:
    """Return the absolute path of something that is there.

    Raises
    ------
    MissingFileError
        If it is not.
    """
    path = Path(name).expanduser().absolute()
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or directory")
    return path
