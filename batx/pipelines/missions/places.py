"""Regions of source and background of a pipeline, and what observations say of themselves."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingFileError, ValueRangeError
from batx.io.open import open_dataset
from batx.met import met_to_mjd
from batx.pipelines.frame import Work
from batx.pipelines.missions.arguments import require_arguments
from batx.regions import Region, annulus, as_regions, circle, in_fk5, region_text

__all__ = [
    "files_of",
    "header_row",
    "longest",
    "newest",
    "observations",
    "only",
    "region_files",
    "regions_given",
    "save_all_regions",
    "save_regions",
    "settled",
]


#: arguments of a pipeline that are no options of its steps as they are
#: mirrors may have logins in them, which records must not hold
_NOT_OPTIONS = ("observations", "output", "backend", "workers", "timeout", "mirrors", "settings")
_NAMES = ("tied",)
_PATHS = ("region", "background_region", "regions", "response")


def settled(pipeline: str, given: Mapping[str, Any], tools: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a pipeline of its arguments: paths in full, numbers as float, lists.

    Parameters
    ----------
    pipeline
        Its name.
    given
        Its arguments by name; those that say where and how tools run are left out.
    tools
        Those whose further parameters (of the argument ``settings``) are options, ``<tool>_settings``.

    Raises
    ------
    ValueRangeError, ModelError, MissingFileError
        As `batx.pipelines.missions.arguments.require_arguments`; if there are no observations, or settings of
        other tools.
    """
    require_arguments(given)
    options = {name: _settled(value) for name, value in given.items() if name not in _NOT_OPTIONS}
    observations = given["observations"]
    several = [observations] if isinstance(observations, (str, os.PathLike)) else list(observations)
    if not several:
        raise ValueRangeError(f"{pipeline}: found no observations")
    options["observations"] = [_absolute(one) for one in several]
    options |= _settings(given.get("settings") or {}, tools)
    options |= {name: [options[name]] for name in _NAMES if isinstance(options.get(name), str)}
    return options | {name: _absolute(options[name]) for name in _PATHS if options.get(name) is not None}


def _settings(given: Any, tools: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the further parameters of each tool, as text."""
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise ValueRangeError(f"settings: found {given!r}, expected for example {{'{tools[0]}': {{'a': 1}}}}")
    if unknown := sorted(set(given) - set(tools)):
        raise ValueRangeError(f"settings: found {', '.join(unknown)}, expected some of {', '.join(tools)}")
    words = {True: "yes", False: "no"}
    return {
        f"{name}_settings": {
            key: words[value] if isinstance(value, bool) else str(value)
            for key, value in given.get(name, {}).items()
        }
        for name in tools
    }


def _settled(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, float, np.number)):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    return [_settled(one) for one in value] if isinstance(value, Iterable) else value


def _absolute(path: str | os.PathLike[str]) -> str:
    return str(Path(path).expanduser().absolute())


def observations(options: Mapping[str, Any], inside: str) -> dict[str, Path]:
    """Return the folder of each observation by its id, from folders of one or of many.

    Parameters
    ----------
    options
        With ``observations``.
    inside
        Name of the folder that each observation has.

    Raises
    ------
    MissingFileError
        If there is no such folder, or it holds no observation.
    ValueRangeError
        If there are two of one id.
    """
    found: dict[str, Path] = {}
    for name in options["observations"]:
        folder = Path(name)
        if not folder.is_dir():
            raise MissingFileError(f"there is no folder {folder}")
        single = (folder / inside).is_dir()
        several = [folder] if single else sorted(p for p in folder.iterdir() if (p / inside).is_dir())
        if not several:
            raise MissingFileError(f"{folder}: found no observation (a folder with {inside})")
        for one in several:
            if found.setdefault(one.name, one) != one:
                raise ValueRangeError(
                    f"observation {one.name} is in {found[one.name]} and in {one}; give one of them"
                )
    return dict(sorted(found.items()))


def files_of(options: Mapping[str, Any], inside: str, pattern: str) -> list[Path]:
    """Return the files of all `observations` that match a pattern; none if there is no observation."""
    with suppress(MissingFileError, ValueRangeError):
        folders = observations(options, inside).values()
        return [path for folder in folders for path in sorted(folder.glob(pattern))]
    return []


def regions_given(options: Mapping[str, Any]) -> list[Path]:
    """Return the region files that a user gave, or that lie in the folder of saved ones."""
    named = [Path(options[key]) for key in ("region", "background_region") if options.get(key)]
    saved = Path(options["regions"]).glob("*.reg") if options.get("regions") else ()
    return [*named, *sorted(saved)]


def save_regions(
    work: Work, name: str, source: float, background: tuple[float, float]
) -> tuple[list[Region], list[Region]]:
    """Write the regions of source and background as ``regions/<name>_source.reg`` and ``_background.reg``.

    They are, in this order: those of the same name, or of the name ``all``, in the folder of the option
    ``regions``; the files of the options ``region`` and ``background_region``; a circle and an annulus around
    ``ra`` and ``dec``. Galactic coordinates become those of ``fk5``: tools take them for these.

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
        given = work.options.get(option)
        chosen = _saved(work.options, name, kind) or _saved(work.options, "all", kind) or given
        if chosen:
            made[kind] = in_fk5(as_regions(chosen))
        work.output(f"regions/{name}_{kind}.reg").write_text(region_text(made[kind]), encoding="utf-8")
    return made["source"], made["background"]


def _saved(options: Mapping[str, Any], name: str, kind: str) -> Path | None:
    """Return the region file of a name in the folder of saved ones; `None` if there is none."""
    path = Path(options["regions"]) / f"{name}_{kind}.reg" if options.get("regions") else None
    return path if path is not None and path.is_file() else None


def save_all_regions(
    work: Work, names: Sequence[str], source: float, background: tuple[float, float], *, skies: int
) -> None:
    """Write the regions of ``all``, and of each name that has saved ones of its own; see `save_regions`.

    Parameters
    ----------
    work, source, background
        As for `save_regions`.
    names
        Of observations, or of telescopes of these.
    skies
        How many of them have pixels of their own.

    Raises
    ------
    ValueRangeError
        If regions in pixels are given for several of these.
    """
    kinds = ("source", "background")
    own = [name for name in names if any(_saved(work.options, name, kind) for kind in kinds)]
    shared = save_regions(work, "all", source, background)
    for region in itertools.chain(*shared):
        if not region.on_sky and skies > 1 and len(own) < len(names):
            raise ValueRangeError(
                f"regions: found a {region.shape} in {region.frame} coordinates for {skies} observations, in "
                "each of which these are another place; save it in fk5, or one file for each observation"
            )
    for name in own:
        save_regions(work, name, source, background)
    if folder := work.options.get("regions"):
        known = {f"{name}_{kind}.reg" for name in ("all", *names) for kind in kinds}
        strange = [path.name for path in sorted(Path(folder).glob("*.reg")) if path.name not in known]
        if strange or not any(Path(folder).glob("*.reg")):
            work.notes.append(
                f"regions: not used in {folder}: {', '.join(strange[:5]) or 'nothing, it has no *.reg'}; "
                f"expected names such as {names[0]}_source.reg, {names[0]}_background.reg"
            )


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


def longest(paths: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """Return the event list that is exposed for the longest time, and its `header_row`; at least one path."""
    rows = [(path, header_row(path)) for path in paths]
    return max(rows, key=lambda one: one[1]["exposure"])


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
