"""An archive directory as one tree: what is there, what is missing."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import find, unindexed
from batx.detector_masks import combine_masks
from batx.errors import BatxError, BatxWarning, CalibrationError, MissingFileError
from batx.events import join_events
from batx.io.file import FitsFile
from batx.io.identify import is_bounds, principal
from batx.io.open import open_dataset
from batx.io.source import starts_like_fits
from batx.schema import build
from batx.schema.attributes import CLOCK, ORIGIN, kept_attrs

__all__ = ["open_calibration", "open_observation"]

#: parts of an archive directory that hold BAT data, spacecraft data or calibration
_FOLDERS = ("bat", "auxil", "tdrss", "caldb")
_OTHER_INSTRUMENTS = ("xrt", "uvot", "log")

#: what a full analysis needs, and what it is for
_NEEDED = {
    "events": "time-tagged events (bat/event)",
    "attitude": "attitude of the spacecraft (auxil)",
    "detector_mask": "enabled detectors or detector quality (bat/hk)",
    "gain_offset": "gain and offset map (bat/hk)",
    "alignment": "alignment, the teldef file (calibration)",
    "aperture": "coded mask, the aperture file (calibration)",
}


@dataclass(frozen=True)
class _Found:
    """One FITS file of the observation: where it is in the archive's layout, and what it is about."""

    path: Path
    folder: str
    kind: str
    index: int
    file: FitsFile
    record: str = ""

    @property
    def columns(self) -> set[str]:
        """Names of the columns of the principal HDU."""
        return set(self.file.hdus[self.index].columns)

    def header(self, key: str) -> str:
        return str(self.file.hdus[self.index].header.get(key, "")).strip()

    def name(self, obs_id: str) -> str:
        """Return the name of the file without mission, observation id and extension."""
        stem = self.path.name.split(".")[0]
        return stem.removeprefix("sw").removeprefix(obs_id) or stem


def open_observation(
    directory: str | os.PathLike[str],
    calibration: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    chunks: Any = None,
) -> xr.DataTree:
    """Open an observation in the archive's layout as a tree.

    Files are recognised by content in ``bat/event``, ``bat/hk``, ``bat/survey``, ``bat/rate``, ``auxil`` and
    ``tdrss``. Calibration is looked for in `calibration`, then in ``<directory>/caldb``, then in the
    calibration database (`batx.caldb`: ``$CALDB``, which may be a URL, and the cache).

    Parameters
    ----------
    directory
        Directory of one observation.
    calibration
        Directory or files of the aperture and the teldef.
    chunks
        As in `batx.open_dataset`.

    Returns
    -------
    xarray.DataTree
        ``/events`` (all event files joined) and ``/gti``, ``/attitude``, ``/detector_mask`` (enabled *and*
        of good quality), ``/gain_offset``, ``/alignment``, ``/aperture``; under ``/rates``, ``/survey``,
        ``/housekeeping``, ``/calibration`` and ``/tdrss`` a node for every file, named after it.
        ``attrs["missing"]`` says what a full analysis would need that was not found, one item a line, empty
        if nothing is.

    Raises
    ------
    MissingFileError
        If there is no such directory, or it holds no FITS file of an observation.

    Warns
    -----
    BatxWarning
        For every file that cannot be read; the rest is opened.

    Examples
    --------
    >>> import tempfile, os
    >>> from astropy.io import fits
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.makedirs(f"{folder}/auxil")
    ...     sky = fits.Column("QPARAM", "4D", array=[[0, 0, 0, 1.0]])
    ...     columns = [fits.Column("TIME", "D", array=[5.0]), sky]
    ...     table = fits.BinTableHDU.from_columns(columns, name="ATTITUDE")
    ...     table.writeto(f"{folder}/auxil/sat.fits")
    ...     obs = open_observation(folder).load()
    >>> obs["attitude/quaternion"].shape, obs.attrs["missing"].splitlines()[0]
    ((1, 4), 'events: time-tagged events (bat/event)')
    """
    root = Path(directory)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such directory; give the directory of one observation")
    found = list(_survey(root))
    if not found:
        raise MissingFileError(f"{root}: found no FITS files in {', '.join(_FOLDERS)}; is it an observation?")
    obs_id = _obs_id(found)
    chosen = _chosen(found) | _calibration(calibration, found)
    nodes = _main_nodes(chosen, chunks)
    used = [item for items in chosen.values() for item in items]
    for item in found:
        if item not in used and item.kind not in ("aperture", "alignment"):
            for name, ds in _other_nodes(item, obs_id, chunks).items():
                nodes[name if name not in nodes else f"{name}_{len(nodes)}"] = ds
    missing = [f"{name}: {what}" for name, what in _NEEDED.items() if name not in nodes]
    tree = xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})
    tree.attrs = {"obs_id": obs_id, "missing": "\n".join(missing)} | _shared_attrs(nodes)
    tree.encoding["source"] = os.fspath(root)
    return tree


def open_calibration(path: str | os.PathLike[str], calibration: Any = None) -> dict[str, xr.Dataset]:
    """Return mask and alignment for a single file, from where they are for an observation.

    Parameters
    ----------
    path
        A FITS file; its date tells which calibration holds.
    calibration
        As for `open_observation`.

    Returns
    -------
    dict of str to xarray.Dataset
        ``aperture`` and ``alignment``, as far as they are found.

    Raises
    ------
    MissingFileError
        If there is nothing at `calibration`.
    """
    return _main_nodes(_calibration(calibration, list(_identified(Path(path), ""))), None)


def _survey(root: Path) -> Iterator[_Found]:
    """Yield every readable FITS file of an observation; hidden folders hold none of its files."""
    for path in sorted(root.rglob("*")):
        folder = path.relative_to(root).parts[:-1]
        if (folder and folder[0] in _OTHER_INSTRUMENTS) or not path.is_file():
            continue
        if any(name.startswith(".") for name in folder):
            continue
        yield from _identified(path, "/".join(folder))


def _identified(path: Path, folder: str) -> Iterator[_Found]:
    if path.stat().st_size and not starts_like_fits(path):
        return
    try:
        file = FitsFile(path)
    except BatxError as error:
        warnings.warn(f"left out a file that cannot be read: {error}", BatxWarning, stacklevel=2)
        return
    index = principal(file.hdus, file.kinds)
    if index is not None:
        yield _Found(path, folder, str(file.kinds[index]), index, file)


def _obs_id(found: list[_Found]) -> str:
    """Return the observation id that most event files name, without events the one that most files name."""
    named = [
        (item.header("OBS_ID") or str(item.file.primary.header.get("OBS_ID", "")).strip(), item.kind)
        for item in found
    ]
    # calibration of a trigger may be from other observations, its events are its own
    ids = [name for name, kind in named if name and kind == "events"] or [name for name, _ in named if name]
    return max(sorted(set(ids)), key=ids.count) if ids else ""


def _open(item: _Found, chunks: Any) -> xr.Dataset:
    ds = open_dataset(item.path, chunks=chunks, hdu=item.index)
    return ds.assign_attrs(calibration_file=item.record) if item.record else ds


def _chosen(found: list[_Found]) -> dict[str, list[_Found]]:
    """Return the files of the main nodes: all event lists and masks, the best attitude and gain map."""
    kinds: dict[str, list[_Found]] = {}
    for item in found:
        if not item.folder.startswith(("tdrss", "caldb")):
            kinds.setdefault(item.kind, []).append(item)
    gains = [item for item in kinds.get("detector_table", []) if {"GAIN", "OFFSET"} <= item.columns]
    chosen = {
        "events": kinds.get("events", []),
        "attitude": sorted(kinds.get("attitude", []), key=_attitude_rank)[:1],
        "detector_mask": kinds.get("detector_mask", []),
        "gain_offset": gains[:1],
    }
    return {name: items for name, items in chosen.items() if items}


def _main_nodes(chosen: dict[str, list[_Found]], chunks: Any) -> dict[str, xr.Dataset]:
    nodes: dict[str, xr.Dataset] = {}
    for name, items in chosen.items():
        parts = [_open(item, chunks) for item in items]
        if name == "detector_mask":
            nodes[name] = combine_masks(*parts)
        else:
            nodes[name] = parts[0] if len(parts) == 1 else join_events(*parts)
        nodes[name].encoding["source"] = os.fspath(items[0].path)
    return nodes | (_good_time(nodes["events"]) if "events" in nodes else {})


def _good_time(events: xr.Dataset) -> dict[str, xr.Dataset]:
    nodes = {}
    if "gti_start" in events:
        good = {"start": ("gti", events.gti_start.values), "stop": ("gti", events.gti_stop.values)}
        nodes["gti"] = build("gti", good, kept_attrs(events.attrs, *ORIGIN))
    return nodes


def _attitude_rank(item: _Found) -> tuple[bool, bool, str]:
    """Prefer attitude files to orbit files (which have QUATERNION), of these the ones with ACS flags."""
    names = {hdu.name for hdu in item.file.hdus}
    return "QPARAM" not in item.columns, "ACS_DATA" not in names, item.path.name[::-1]


def _calibration(calibration: Any, found: list[_Found]) -> dict[str, list[_Found]]:
    """Return the files of aperture and alignment, from the first place that has them."""
    day = max((item.header("DATE-OBS") for item in found), default="")
    chosen: dict[str, list[_Found]] = {}
    plain = unindexed()
    for search in (
        lambda: _files(_given(calibration)),
        lambda: found,
        lambda: _files([plain] if plain else []),
        lambda: _database(sorted({"aperture", "alignment"} - chosen.keys()), day),
    ):
        wanted = {"aperture", "alignment"} - chosen.keys()
        candidates = list(search()) if wanted else []
        for name in sorted(wanted):
            matching = [item for item in candidates if item.kind == name]
            if matching:
                chosen[name] = [_newest(matching, day)]
    return chosen


def _given(calibration: Any) -> list[Path]:
    if calibration is None:
        return []
    paths = [Path(p) for p in ([calibration] if isinstance(calibration, (str, os.PathLike)) else calibration)]
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"calibration: {path}: no such file or directory")
    return paths


def _database(purposes: Iterable[str], day: str) -> Iterator[_Found]:
    """Yield what the calibration database has for these purposes."""
    for purpose in purposes:
        try:
            file = find(purpose, day or None)
        except CalibrationError:
            continue
        for item in _identified(file.path, "caldb"):
            yield replace(item, record=json.dumps(file.record, sort_keys=True))


def _files(places: Iterable[Path]) -> Iterator[_Found]:
    for place in places:
        paths = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in paths:
            yield from _identified(path, "caldb")


def _newest(items: list[_Found], day: str) -> _Found:
    """Return the file that was valid last on a day (CVSD0001); of several apertures the one for fluxes."""
    flux = [item for item in items if "FLUX" in item.header("APERTYPE") + item.header("CBD10001")]
    valid = [item for item in flux or items if not day or item.header("CVSD0001") <= day]
    return max(valid or items, key=lambda item: (item.header("CVSD0001"), item.path.name))


def _other_nodes(item: _Found, obs_id: str, chunks: Any) -> dict[str, xr.Dataset]:
    """Return the node, or nodes, of a file that is none of the main ones."""
    place = item.folder.split("/")
    if "rate" in place:
        group = "rates"
    elif "survey" in place:
        group = "survey"
    elif "tdrss" in place:
        group = "tdrss"
    elif "caldb" in place:
        group = "calibration"
    else:
        group = "housekeeping"
    name = item.name(obs_id)
    series = [
        index
        for index, kind in enumerate(item.file.kinds)
        if kind in ("housekeeping", "attitude") and not is_bounds(item.file.hdus[index])
    ]
    if group != "housekeeping" or len(series) < 2:
        return {f"{group}/{name}": _open(item, chunks)}
    return {
        f"{group}/{name}/{item.file.hdus[index].name.lower() or index}": open_dataset(
            item.path, chunks=chunks, hdu=index
        )
        for index in series
    }


def _shared_attrs(nodes: dict[str, xr.Dataset]) -> dict[str, Any]:
    """Return what all nodes that say it agree on."""
    attrs = {}
    for key in ("telescope", "object", *CLOCK, "trigger_time"):
        values = [ds.attrs[key] for ds in nodes.values() if key in ds.attrs]
        if values and all(np.array_equal(value, values[0]) for value in values):
            attrs[key] = values[0]
    return attrs
