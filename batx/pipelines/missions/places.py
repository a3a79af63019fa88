"""Regions of source and background of a pipeline, and what observations say of themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from batx.errors import MissingFileError, ValueRangeError
from batx.io.open import open_dataset
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.regions import Region, annulus, circle, read_regions, region_text

__all__ = [
    "absolute",
    "absolutes",
    "header_row",
    "newest",
    "only",
    "region_files",
    "regions_given",
    "require_source",
    "save_regions",
]


def absolute(path: str | os.PathLike[str] | None) -> str | None:
    """Return a path in full, as text."""
    return None if path is None else str(Path(path).expanduser().absolute())


def absolutes(paths: Any, pipeline: str) -> list[str]:
    """Return one path or several in full.

    Raises
    ------
    ValueRangeError
        If there are none.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not several:
        raise ValueRangeError(f"{pipeline}: found no observations")
    return [str(Path(one).expanduser().absolute()) for one in several]


def require_source(ra: float, dec: float, energy: Sequence[float], dt: float) -> None:
    """Raise unless these are a position, a range of energies and a length of time.

    Raises
    ------
    ValueRangeError
        If one is not.
    """
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise ValueRangeError(f"ra, dec: found {ra}, {dec}, expected degrees")
    if len(energy) != 2 or not 0 < energy[0] < energy[1]:
        raise ValueRangeError(f"energy: found {energy}, expected (low, high) in keV")
    if not dt > 0:
        raise ValueRangeError(f"dt: found {dt}, expected seconds above 0")


def regions_given(options: Mapping[str, Any]) -> list[Path]:
    """Return the region files that a user gave, or that lie in the folder of saved ones."""
    named = [Path(options[key]) for key in ("region", "background_region") if options.get(key)]
    saved = Path(options["regions"]).glob("*.reg") if options.get("regions") else ()
    return [*named, *sorted(saved)]


def save_regions(
    work: Work, name: str, source: float, background: tuple[float, float]
) -> tuple[list[Region], list[Region]]:
    """Write the regions of source and background as ``regions/<name>_source.reg`` and ``_background.reg``.

    They are, in this order: those of the same name in the folder of the option ``regions``; the files of the
    options ``region`` and ``background_region``; a circle and an annulus around ``ra`` and ``dec``.

    Parameters
    ----------
    work
        Of the step, with these options.
    name
        Of the observation, or ``all``.
    source, background
        Radius, and inner and outer radius, in seconds of arc.
    """
    ra, dec = work.options["ra"], work.options["dec"]
    made = {
        "source": circle(ra, dec, source / 3600.0, text="source"),
        "background": annulus(ra, dec, background[0] / 3600.0, background[1] / 3600.0, text="background"),
    }
    for kind, option in (("source", "region"), ("background", "background_region")):
        saved = Path(work.options["regions"]) / f"{name}_{kind}.reg" if work.options.get("regions") else None
        if saved is not None and saved.is_file():
            made[kind] = read_regions(saved)
        elif work.options.get(option):
            made[kind] = read_regions(work.options[option])
        work.output(f"regions/{name}_{kind}.reg").write_text(region_text(made[kind]), encoding="utf-8")
    return made["source"], made["background"]


def region_files(work: Work, step: str, name: str) -> tuple[Path, Path]:
    """Return the files of source and background of an observation, or those of all."""
    chosen = name if work.paths(step, f"regions/{name}_source.reg") else "all"
    return work.path(step, f"regions/{chosen}_source.reg"), work.path(
        step, f"regions/{chosen}_background.reg"
    )


def header_row(path: Path) -> dict[str, Any]:
    """Return observation id, target, start, stop (MJD) and exposure (s) of an event list."""
    events: xr.Dataset = open_dataset(path)
    attrs = events.attrs
    start, stop = (float(attrs.get(key, float("nan"))) for key in ("tstart", "tstop"))
    days = met_to_mjd([start, stop], attrs=attrs) if "mjdref_int" in attrs else [float("nan")] * 2
    return {
        "obs_id": str(attrs.get("obs_id", "")),
        "object": str(attrs.get("object", "")),
        "start_mjd": float(days[0]),
        "stop_mjd": float(days[1]),
        "exposure": float(attrs.get("exposure", attrs.get("ontime", 0.0)) or 0.0),
    }


def newest(folder: Path, *patterns: str) -> Path | None:
    """Return the last file by name that matches the first pattern that any matches; `None` if none does."""
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[-1]
    return None


def only(folder: Path, what: str, *patterns: str) -> Path:
    """Return what `newest` finds.

    Raises
    ------
    MissingFileError
        If it finds nothing.
    """
    found = newest(folder, *patterns)
    if found is None:
        raise MissingFileError(f"{folder}: found no {what} ({', '.join(patterns)})")
    return found
