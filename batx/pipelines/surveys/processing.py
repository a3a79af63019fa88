"""From observations to results of batsurvey: what is there, the catalogue, many observations at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic
from typing import Any

from batx.errors import BatxError, MissingFileError, MissingVariableError, ParameterError, ValueRangeError
from batx.heasoft import Backend, Request, request, run_many
from batx.io.open import open_dataset
from batx.io.source import starts_like_fits
from batx.io.write import to_fits
from batx.met import met_to_utc
from batx.pipelines.frame import SkippedError, Work
from batx.pipelines.surveys.many import is_native, process_many, why_missing
from batx.pipelines.surveys.names import PROCESSED, is_id, is_result, observation_folders, result_files
from batx.pipelines.surveys.settings import PatternMaps, of_day
from batx.schema import require_kind
from batx.survey_catalogs import require_unique, survey_catalog

__all__ = ["Crew", "catalog", "given_files", "inputs", "process", "processed_files"]

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
    days: dict[str, str] = {}
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
            short, day = _looked_at(work, folder)
            if day:
                days[folder.name] = day
            if short:
                cut[folder.name] = short
                work.notes.append(_about_cut(folder.name, short, len(histograms(folder))))
    lines = [f"{name}: no survey histograms (bat/survey/*.dph*)" for name in without]
    if not observations and not results:
        raise MissingFileError(f"found nothing to process: {lines[0]}")
    work.notes.extend(f"left out: {line}" for line in lines)
    return {
        "observations": observations,
        "contents": {name: _contents(Path(folder)) for name, folder in observations.items()},
        "days": days,
        "patterns": _patterns(work, days),
        "results": results,
        "cut_short": cut,
        "left_out": lines,
    }


def _patterns(work: Work, days: Mapping[str, str]) -> dict[str, dict[str, str]] | None:
    """Return map and mask of the noise pattern for each observation; `None` if none are given."""
    if work.options["pattern_maps"] is None:
        return None
    maps = PatternMaps(Path(work.options["pattern_maps"]))
    chosen = {}
    for name, day in days.items():
        pattern, mask, apart = maps.nearest(date.fromisoformat(day))
        chosen[name] = {"global_pattern_map": str(pattern), "global_pattern_mask": str(mask)}
        if apart:
            work.notes.append(f"{name}: {pattern.name}, the nearest noise pattern, is {apart} day(s) away")
    return chosen


def given_files(options: Mapping[str, Any]) -> dict[str, str]:
    """Return what the folders of observations hold, so that new ones and new files are noticed."""
    places = [Path(source) for source in options["sources"] if not is_id(source)]
    found = [folder for place in places if place.is_dir() for folder in observation_folders(place)[0]]
    if options["data"] is not None:
        data = Path(options["data"])
        ids = [source for source in options["sources"] if is_id(source)]
        found += [folder / name for name in ids for folder in (data, data / "quicklook")]
    held = {str(folder): _contents(folder) for folder in found if folder.is_dir()}
    if options["pattern_maps"] is not None:
        held |= {str(path): "" for path in Path(options["pattern_maps"]).iterdir()}
    return held


def _contents(folder: Path) -> str:
    """Return how many files batsurvey finds in an observation, and their size."""
    files = [path for name in ("bat", "auxil") for path in (folder / name).rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files)} bytes"


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


def _looked_at(work: Work, folder: Path) -> tuple[list[str], str]:
    """Return the histograms of an observation that were cut short, and the day of the first (UTC)."""
    short: list[str] = []
    starts: list[tuple[float, str]] = []
    for path in histograms(folder):
        try:
            plane = open_dataset(path)
            if _is_cut(plane):
                short.append(path.name)
            if "time_bnds" in plane.variables and plane.sizes.get("time"):
                start = float(plane["time_bnds"].values.min())
                starts.append((start, str(met_to_utc(start, attrs=plane.attrs))[:10]))
        except BatxError as error:
            work.notes.append(f"{folder.name}: {path.name} cannot be read: {error}")
    return short, min(starts)[1] if starts else ""


def _is_cut(plane: Any) -> bool:
    """Whether a histogram has the first channels only: fewer columns, or nothing in the others."""
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
            "the survey needs a catalogue of sources: give one (catalog=, --catalog), sources of your own "
            "(own_sources=, --source), or both"
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


@dataclass(frozen=True)
class Crew:
    """What runs batsurvey: none of it changes the results.

    Attributes
    ----------
    backend, timeout
        As for `batx.heasoft.run`.
    workers, executor
        As for `batx.heasoft.run_many`.
    """

    backend: str | Backend | None = None
    workers: int | None = None
    executor: Any = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ParameterError(f"found workers = {self.workers}, expected at least 1")

    def run(self, calls: list[Request], progress: Callable[[str], None]) -> list[Any]:
        """Return a result or an error for each call."""
        begin = monotonic()
        failed = made = 0

        def announce(done: int, total: int, last: Any) -> None:
            nonlocal failed, made
            failed += isinstance(last, BatxError)
            made += not getattr(last, "cached", False)
            text = f"{done} of {total} observations"
            text += f", {failed} of them failed" if failed else ""
            if made and done < total:
                text += f", about {_duration((monotonic() - begin) / made * (total - done))} left"
            progress(text)

        return run_many(
            calls, workers=self.workers, executor=self.executor, progress=announce, errors="return"
        )


def _duration(seconds: float) -> str:
    """Return seconds, minutes or hours, whichever is readable."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def process(work: Work, crew: Crew) -> dict[str, Any]:
    """Process each observation, several at a time; what is done already is not done again.

    By batsurvey, or by batx itself if that is asked for or batsurvey is not there.

    Raises
    ------
    BatxError
        The first failure, if all observations fail.
    MissingVariableError
        If sources are to be cleaned by a flag that the catalogue does not have.
    """
    observations: dict[str, str] = work.before["inputs"].facts["observations"]
    (home := Path(work.options["output"]) / PROCESSED).mkdir(parents=True, exist_ok=True)
    catalog = work.path("catalog")
    _require_flag(catalog, str(work.options["parameters"].get("cleanexpr", "")))
    outcome: dict[str, Any] = {}
    given: dict[str, dict[str, Any]] = {}
    for name in observations:
        try:
            given[name] = _parameters(work, name)
        except MissingFileError as error:
            outcome[name] = error
    made = _made(work, crew, {name: (observations[name], one) for name, one in given.items()}, home)
    outcome |= dict(zip(given, made, strict=True))
    outcome = {name: outcome[name] for name in observations}
    failed = {name: error for name, error in outcome.items() if isinstance(error, BatxError)}
    if failed and len(failed) == len(outcome):
        raise next(iter(failed.values()))
    work.notes.extend(f"{name}: not processed: {error}" for name, error in failed.items())
    return {
        "processed": [name for name in outcome if name not in failed],
        "failed": {name: str(error) for name, error in failed.items()},
        "versions": sorted({one.version for name, one in outcome.items() if name not in failed}),
    }


def _made(work: Work, crew: Crew, given: Mapping[str, tuple[str, dict[str, Any]]], home: Path) -> list[Any]:
    """Return the result or the error of each observation, given by its folder and parameters."""
    engine, catalog = work.options["engine"], work.path("catalog")
    if is_native(engine, crew.backend):
        missing = None if engine else why_missing(crew.backend)
        return process_many(work, given, home, workers=crew.workers, missing=missing)
    calls = [
        request(
            "batsurvey",
            {"indir": folder, "incatalog": str(catalog), "outdir": str(home / name), **parameters},
            backend=crew.backend,
            timeout=crew.timeout,
            overwrite=True,
        )
        for name, (folder, parameters) in given.items()
    ]
    return crew.run(calls, work.progress)


def _parameters(work: Work, name: str) -> dict[str, Any]:
    """Return the parameters for an observation, with the noise pattern of its day."""
    day = work.before["inputs"].facts["days"].get(name)
    when = date.fromisoformat(day) if day else None
    patterns = work.before["inputs"].facts["patterns"]
    if patterns is not None and name not in patterns:
        raise MissingFileError("pattern_maps: the day of the observation is not known")
    return (patterns or {}).get(name, {}) | of_day(work.options["parameters"], when)


def _require_flag(catalog: Path, expression: str) -> None:
    if "ALWAYS_CLEAN" not in expression.upper():
        return
    if "always_clean" not in open_dataset(catalog).variables:
        raise MissingVariableError(
            f"cleanexpr={expression} needs the column ALWAYS_CLEAN, which the catalogue does not have; give "
            'another catalogue, or parameters={"cleanexpr": "NONE"}'
        )


def processed_files(options: Any) -> list[Path]:
    """Return the files of the results that were made here."""
    return result_files({"sources": [], "output": options["output"]})
