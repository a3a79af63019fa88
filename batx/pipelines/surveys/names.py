"""Names of the products of the survey pipeline, and the way to its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import MissingFileError
from batx.io.open import open_dataset
from batx.pipelines.frame import Work

__all__ = [
    "BAND",
    "existing",
    "file_names",
    "is_id",
    "is_observation",
    "is_result",
    "loaded",
    "observation_folders",
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


def is_result(folder: Path) -> bool:
    """Whether a folder holds what batsurvey made of one or several observations."""
    return any(path.is_file() for path in folder.rglob("stats_point.fits*"))


def is_observation(folder: Path) -> bool:
    """Whether a folder is an observation with survey histograms, in the archive's layout."""
    return any(path.is_file() for path in (folder / "bat" / "survey").glob("*.dph*"))


def observation_folders(place: Path) -> list[Path]:
    """Return the observations that a folder is, or holds."""
    if is_observation(place):
        return [place]
    return [folder for folder in sorted(place.iterdir()) if folder.is_dir() and is_observation(folder)]


def result_places(options: Mapping[str, Any]) -> list[Path]:
    """Return the folders with results of batsurvey: those given, and those made here."""
    given = [Path(source) for source in options["sources"] if not is_id(source)]
    found = [place for place in given if place.is_dir() and is_result(place)]
    made = Path(options["output"]) / PROCESSED
    if made.is_dir():
        found += [folder for folder in sorted(made.iterdir()) if folder.is_dir() and is_result(folder)]
    return found


def result_files(options: Mapping[str, Any]) -> list[Path]:
    """Return the tables, catalogues and states of the results; not their images, which are large."""
    patterns = ("stats_point.fits*", "stats_obs.fits*", "*master.gti*", "*.cat", "*.cat.gz", "*_status.txt")
    found = {path for place in result_places(options) for one in patterns for path in place.rglob(one)}
    return sorted(path for path in found if path.is_file())


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
