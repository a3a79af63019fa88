"""What the pipeline starts from: files, position and trigger of an observation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import find, unindexed
from batx.detector_masks import combine_masks
from batx.errors import BatxError, CalibrationError, MissingFileError
from batx.io.file import FitsFile
from batx.io.header import keyword
from batx.io.observation import open_calibration, open_observation
from batx.io.open import open_dataset
from batx.io.write import to_fits
from batx.pipelines.bursts.messages import near_field, readable
from batx.pipelines.bursts.names import Files
from batx.pipelines.bursts.triggers import position_of, trigger_of
from batx.pipelines.frame import Work
from batx.pipelines.records import Checksums
from batx.provenance import file_record, with_calibration
from batx.schema import build

__all__ = ["OPTIONS", "fetch", "files_of", "place_of"]

OPTIONS = (
    "source",
    "data",
    "offline",
    "failed",
    "calibration",
    "attitude",
    "aperture",
    "teldef",
    "detector_mask",
    "gain_offset",
    "ra",
    "dec",
    "position",
    "trigger",
    "foreground",
    "background",
)
#: parts of an observation that are read
_FOLDERS = ("bat/event", "bat/hk", "auxil", "tdrss", "caldb")
#: housekeeping that tells of a source near the instrument
_NEAR = "hk161x001"
#: what the steps take from the calibration database
_CALIBRATION = ("aperture", "alignment", "bad_pixels", "pulser", "flight_pulser", "residual")
#: observation id of events that do not say theirs
_UNKNOWN = "00000000000"


def place_of(options: Mapping[str, Any]) -> Path:
    """Return the directory or file of the observation; for an observation id where it would be."""
    if options["data"] is None:
        return _observation_in(Path(options["source"]))
    folders = [("triggers",)] if options["failed"] else [(), ("quicklook",)]
    places = [Path(options["data"], *between, options["source"]) for between in folders]
    return next((place for place in places if place.is_dir()), places[0])


def _observation_in(folder: Path) -> Path:
    """Return the one observation in a folder that is none itself; otherwise the folder."""
    if not folder.is_dir() or (folder / "bat").is_dir():
        return folder
    inner = [path for path in folder.iterdir() if (path / "bat").is_dir()]
    return inner[0] if len(inner) == 1 else folder


def files_of(options: Mapping[str, Any]) -> list[Path]:
    """Return the files that the observation consists of, as far as they are there."""
    source = place_of(options)
    files: list[Path] = []
    if source.is_dir():
        files = [
            path
            for folder in _FOLDERS
            for path in sorted((source / folder).rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        ]
    elif source.is_file():
        files = [source]
    names = ("attitude", "aperture", "teldef", "detector_mask", "gain_offset", "calibration")
    given = [options[name] for name in names]
    for path in map(Path, filter(None, given)):
        files += [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    return files + _of_database()


def _of_database() -> list[Path]:
    """Return the files of the calibration database, as far as they are here: one that comes later counts."""
    plain = unindexed()
    files = [] if plain is None else sorted(path for path in plain.rglob("*") if path.is_file())
    for purpose in _CALIBRATION:
        try:
            files.append(find(purpose, download=False).path)
        except CalibrationError:
            continue
    return files


def fetch(work: Work, mirrors: list[str] | None = None) -> dict[str, Any]:
    """Find the files; write attitude, mask, alignment and enabled detectors; tell trigger and position.

    Parameters
    ----------
    work
        Of the step.
    mirrors
        Places of the archive.

    Raises
    ------
    MissingFileError
        If there is no event file.
    """
    options = work.options
    source = _fetched(work, mirrors)
    parts = _parts(source, options)
    events = parts.pop("events", None)
    if events is None:
        raise MissingFileError(
            f"{source}: found no event file (bat/event/*.evt*) that can be read; the pipeline needs one"
            + "".join(f"; {reason}" for reason in _unreadable(source / "bat" / "event"))
        )
    obs_id = str(events.attrs.get("obs_id", "")) or _UNKNOWN
    if obs_id == _UNKNOWN:
        work.notes.append(f"the events do not name their observation (OBS_ID); products are named {_UNKNOWN}")
    trigger = trigger_of(work, source, events)
    position = position_of(work, events, trigger.pop("positions"))
    near = near_field(source)
    if near:
        work.notes.append(
            f"the source was near ({_NEAR}): {near['distance']:.2f} cm above the origin, directions are "
            f"measured from {near['origin']:.2f} cm"
        )
    names = Files(obs_id)
    _write_attitude(work, parts.get("attitude"), work.output(names.name("auxil", ".att")))
    enabled = _enabled(work, source, parts.get("detector_mask"), trigger.get("time"))
    for part, name in (("aperture", "aperture.fits"), ("alignment", "teldef.fits")):
        if part in parts:
            to_fits(_recorded(parts[part], part), work.output(names.name("auxil", name)))
        else:
            work.notes.append(_missing(part))
    if enabled is not None:
        to_fits(enabled, work.output(names.name("auxil", "enabled.fits")))
    sums = Checksums()
    return {
        "obs_id": obs_id,
        "object": str(events.attrs.get("object", "")),
        "files": {str(path.absolute()): sums.of(path) for path in files_of(options)},
        "place": str(source.absolute()),
        "events": _event_files(source),
        "trigger": trigger,
        "position": position,
        "near": near,
    }


def _fetched(work: Work, mirrors: list[str] | None) -> Path:
    """Return the place of the observation, fetched into the directory of data if it is given by its id."""
    options = work.options
    if options["data"] is None:
        return place_of(options)
    from batx.archive import fetch as fetch_observation
    from batx.archive import fetch_trigger

    def announce(name: str, done: int, size: int | None) -> None:
        of = f" of {size / 1e6:.1f}" if size else ""
        work.progress(f"{name}: {done / 1e6:.1f}{of} MB")

    where: dict[str, Any] = {"data": options["data"], "mirrors": mirrors, "offline": options["offline"]}
    if options["failed"]:
        return fetch_trigger(options["source"], progress=announce, **where)
    return fetch_observation(options["source"], progress=announce, **where)[0]


def _missing(part: str) -> str:
    remedy = {
        "aperture": "the coded mask (aperture file of the calibration): no weights, no sky images; give "
        "aperture= or calibration=",
        "alignment": "the alignment (teldef file of the calibration): the nominal axes are used, which are "
        "off by some arcminutes; give teldef= or calibration=",
        "attitude": "the attitude (auxil/*sat.fits*): nothing that needs a place on the sky; give attitude=",
        "detector_mask": "a map of enabled detectors (bat/hk/*bdecb.hk*): all detectors count as enabled "
        "until their counts say otherwise; give detector_mask=",
    }
    return f"found no {part}: without {remedy[part]}"


def _parts(source: Path, options: Mapping[str, Any]) -> dict[str, xr.Dataset]:
    """Return events, attitude, aperture, alignment and detector mask, of what there is."""
    if source.is_dir():
        tree = open_observation(source, calibration=options["calibration"])
        parts = {name: node.to_dataset() for name, node in tree.children.items() if node.has_data}
    elif source.is_file():
        ds = open_dataset(source)
        kind = ds.attrs.get("batx_kind")
        if kind != "events":
            raise MissingFileError(f"{source}: found a file of kind {kind}, expected events")
        parts = {"events": ds} | open_calibration(source, options["calibration"])
    else:
        raise MissingFileError(f"{source}: no such file or directory")
    for name, key in (
        ("attitude", "attitude"),
        ("aperture", "aperture"),
        ("alignment", "teldef"),
        ("detector_mask", "detector_mask"),
    ):
        if options[key] is not None:
            parts[name] = open_dataset(options[key])
    return parts


def _unreadable(folder: Path) -> list[str]:
    """Return why files of a folder cannot be read."""
    reasons = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                FitsFile(path)
        except BatxError as error:
            reasons.append(str(error))
    return reasons


def _event_files(source: Path) -> list[str]:
    """Return the event files of an observation, or the one that was given."""
    if source.is_file():
        return [str(source.absolute())]
    found = []
    for path in sorted((source / "bat" / "event").rglob("*")):
        file = readable(path)
        if file is not None and "events" in file.kinds:
            found.append(str(path.absolute()))
    return found


def _plain(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset in memory that may be written anywhere."""
    held = ds.load().copy()
    held.encoding.pop("source", None)
    for variable in held.variables.values():
        variable.encoding.pop("source", None)
    return held


def _recorded(ds: xr.Dataset, purpose: str) -> xr.Dataset:
    """Return a calibration file in memory that knows which file it was."""
    record = file_record(ds) or {}
    source = record.pop("path", None)
    if source is not None and "sha256" not in record:
        record["sha256"] = Checksums().of(Path(source))
    held = _plain(ds)
    return held.assign_attrs(with_calibration(held.attrs, {purpose: record}))


def _write_attitude(work: Work, attitude: xr.Dataset | None, path: Path) -> None:
    """Write the attitude, with quaternions of length 1."""
    if attitude is None:
        work.notes.append(_missing("attitude"))
        return
    held = _plain(attitude)
    length = np.linalg.norm(held["quaternion"].transpose("time", "q").values, axis=1)
    good = np.isfinite(length) & (length > 0)
    if not good.all():
        work.notes.append(f"attitude: {np.count_nonzero(~good)} of {good.size} rows have no quaternion")
        held = held.isel(time=good)
        length = length[good]
    values = held["quaternion"].transpose("time", "q")
    to_fits(held.assign(quaternion=values / length[:, np.newaxis]).assign_attrs(held.attrs), path)


def _enabled(work: Work, source: Path, mask: xr.Dataset | None, trigger: float | None) -> xr.Dataset | None:
    """Return which detectors were enabled at the trigger.

    Of the rows of an enable map that of the last time before the trigger is taken, the first one if there is
    none; without a map what other detector masks say.
    """
    maps = sorted((source / "bat" / "hk").glob("*bdecb*")) if source.is_dir() else []
    if work.options["detector_mask"] is None and maps:
        rows = [row for path in maps for row in _rows(path)]
        earlier = [row for row in rows if trigger is not None and row[0] < trigger]
        if rows:
            chosen = max(earlier, key=lambda row: row[0]) if earlier else min(rows, key=lambda row: row[0])
            return chosen[1]
    if mask is None:
        work.notes.append(_missing("detector_mask"))
        return None
    return _plain(combine_masks(mask))


def _rows(path: Path) -> list[tuple[float, xr.Dataset]]:
    """Return the time and the mask of each row of a map of enabled detectors."""
    file = readable(path)
    if file is None:
        return []
    for hdu in file.hdus:
        if "FLAG" in hdu.columns:
            good = keyword(hdu, "GOODVAL", default=0)
            flags = hdu.values("FLAG")
            attrs = {key: value for key, value in file.attrs(hdu).items() if key != "batx_kind"}
            times = (
                hdu.values("TIME") if "TIME" in hdu.columns else np.full(len(flags), attrs.get("tstart", 0))
            )
            return [
                (float(time), build("detector_mask", {"good": flag == good}, attrs))
                for time, flag in zip(times, flags, strict=True)
            ]
    ds = _plain(open_dataset(path))
    return [(float(ds.attrs.get("tstart", 0.0)), ds)]
