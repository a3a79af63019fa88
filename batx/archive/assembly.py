"""Data of a trigger put together as an observation, with what is nearest in time of what they lack."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batx.errors import BatxError, BatxWarning, EmptySelectionError, MissingFileError, WriteError
from batx.io.file import FitsFile
from batx.io.header import keyword
from batx.io.identify import principal
from batx.io.source import starts_like_fits

__all__ = ["RECORD", "assemble", "support_gaps", "trigger_time"]

#: says in an assembled observation where its parts come from
RECORD = "assembled.json"
_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class _Part:
    """A FITS file: what it is, and which time it is about (MET)."""

    path: Path
    role: str
    start: float | None
    stop: float | None
    trigger: float | None

    def gap(self, first: float, last: float) -> float:
        """Return how far in time the file is from an interval, s; of an attitude, how much of it it lacks."""
        if self.start is None:
            return float("inf")
        stop = self.start if self.stop is None else max(self.stop, self.start)
        return (
            max(self.start - first, 0.0) + max(last - stop, 0.0)
            if self.role == "attitude"
            else max(self.start - last, first - stop, 0.0)
        )


def assemble(
    messages: _Path | Iterable[_Path],
    folder: _Path,
    *,
    support: _Path | Iterable[_Path] = (),
    time: Any = None,
    overwrite: bool = False,
) -> Path:
    """Lay out the data of a trigger as an observation, with calibration that is nearest in time.

    Failed triggers and many dumps (GUANO) have event data and messages, but no housekeeping of their own.
    Events go to ``bat/event``, messages to ``tdrss``; of `support` the attitude that covers the events goes
    to ``auxil``, and the gain and offset map and the map of enabled detectors that are nearest in time go to
    ``bat/hk``. Files are copied. `batx.open_observation` opens the result.

    Parameters
    ----------
    messages
        Folder (or files) of the trigger, such as `batx.archive.fetch_trigger` makes.
    folder
        The observation to make.
    support
        Folders or files in which attitude, gains and enabled detectors are looked for: observations of about
        that time.
    time
        Time of the trigger, MET in s; by default that of the messages (TRIGTIME) or the middle of the events.
    overwrite
        Whether an observation that was put together before may be replaced.

    Returns
    -------
    pathlib.Path
        `folder`; its file ``assembled.json`` says for every part which file it was and how far in time.

    Raises
    ------
    MissingFileError
        If there is no FITS file in `messages`.
    EmptySelectionError
        If nothing tells the time.
    WriteError
        If the folder exists already.

    Warns
    -----
    BatxWarning
        If no attitude covers the events, or a part is not there at all.

    Examples
    --------
    >>> import tempfile
    >>> import batx
    >>> from batx.simulate import observation
    >>> with tempfile.TemporaryDirectory() as place:
    ...     made = observation(place, duration=5.0)
    ...     trigger = assemble(made / "bat" / "event", f"{place}/trigger", support=made)
    ...     print(sorted(batx.open_observation(trigger).children))
    ['attitude', 'detector_mask', 'events', 'gain_offset', 'gti']
    """
    from batx.met import to_met

    own = list(_parts(messages))
    if not own:
        raise MissingFileError(f"{messages}: found no FITS files of a trigger")
    target = Path(folder).expanduser()
    known = None if time is None else float(to_met(time, {"utcf": 0.0}))
    first, last, middle = _span(own, known)
    chosen = {("bat/event" if part.role == "events" else "tdrss", part.path): part for part in own}
    record: dict[str, Any] = {"time": middle, "parts": {}}
    candidates = [*own, *_parts(support)]
    for role, place in _PLACES.items():
        best, gap = _nearest(candidates, role, (first, last, middle))
        if best is None:
            warnings.warn(f"{target.name}: found no file for {_TEXT[role]}", BatxWarning, stacklevel=2)
            continue
        if role == "attitude" and gap > _LEAST_GAP:
            text = f"{target.name}: {best.path.name} lacks {gap:.0f} s of the attitude during the events"
            warnings.warn(text, BatxWarning, stacklevel=2)
        chosen.pop(("tdrss", best.path), None)
        chosen[place, best.path] = best
        record["parts"][role] = {"file": best.path.name, "gap": gap if gap < float("inf") else None}
    _write(chosen, record, target, overwrite)
    return target


def support_gaps(
    messages: _Path | Iterable[_Path], support: _Path | Iterable[_Path], time: Any = None
) -> dict[str, float]:
    """Return how far in time that is which `assemble` would take of `support`.

    Parameters
    ----------
    messages, support, time
        As for `assemble`.

    Returns
    -------
    dict
        Seconds by which the attitude lacks the events (``"attitude"``; 0 if it lacks less than it is written
        apart), and between the trigger and the nearest ``"gain_offset"`` and ``"enabled"``; infinite without.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import observation
    >>> with tempfile.TemporaryDirectory() as place:
    ...     made = observation(place, duration=5.0)
    ...     support_gaps(made / "bat" / "event", made / "auxil")
    {'attitude': 0.0, 'gain_offset': inf, 'enabled': inf}
    """
    from batx.met import to_met

    own = list(_parts(messages))
    span = _span(own, None if time is None else float(to_met(time, {"utcf": 0.0})))
    candidates = [*own, *_parts(support)]
    gaps = {role: _nearest(candidates, role, span)[1] for role in _PLACES}
    return gaps | {"attitude": 0.0 if gaps["attitude"] <= _LEAST_GAP else gaps["attitude"]}


def trigger_time(messages: _Path | Iterable[_Path]) -> float:
    """Return the time of a trigger, MET, by its messages (TRIGTIME) or else the middle of its events.

    Raises
    ------
    EmptySelectionError
        If nothing tells it.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import observation
    >>> with tempfile.TemporaryDirectory() as place:
    ...     made = observation(place, duration=5.0)
    ...     trigger_time(made / "bat" / "event") > 0
    True
    """
    return _span(list(_parts(messages)), None)[2]


def _nearest(parts: list[_Part], role: str, span: tuple[float, float, float]) -> tuple[_Part | None, float]:
    """Return the part that serves best, and how far in time it is."""
    first, last, middle = span
    limits = (first, last) if role == "attitude" else (middle, middle)
    found = [part for part in parts if part.role == role]
    best = min(found, key=lambda part: (part.gap(*limits), part.path.name), default=None)
    return best, float("inf") if best is None else best.gap(*limits)


_PLACES = {"attitude": "auxil", "gain_offset": "bat/hk", "enabled": "bat/hk"}
_TEXT = {
    "attitude": "the attitude (auxil)",
    "gain_offset": "gains and offsets (bat/hk)",
    "enabled": "enabled detectors (bat/hk)",
}
#: attitude is written every 5 s at the slowest
_LEAST_GAP = 5.0


def _parts(places: _Path | Iterable[_Path]) -> Iterator[_Part]:
    """Yield the FITS files below folders."""
    many = [places] if isinstance(places, (str, os.PathLike)) else list(places)
    for place in map(Path, many):
        if not place.exists():
            raise MissingFileError(f"{place}: no such file or folder")
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in found:
            if path.is_file() and not path.name.startswith(".") and starts_like_fits(path):
                part = _part(path)
                if part is not None:
                    yield part


def _part(path: Path) -> _Part | None:
    try:
        file = FitsFile(path)
    except BatxError as error:
        warnings.warn(f"left out a file that cannot be read: {error}", BatxWarning, stacklevel=4)
        return None
    index = principal(file.hdus, file.kinds)
    hdu = file.hdus[index or 0]
    kind = file.kinds[index] if index is not None else None
    role = "message"
    if kind == "events" or (kind == "attitude" and "QPARAM" in hdu.columns):
        role = str(kind)
    elif kind == "detector_table" and {"GAIN", "OFFSET"} <= hdu.columns.keys() and _is_onboard(file, hdu):
        role = "gain_offset"
    elif kind == "detector_mask" and hdu.type == "table":
        role = "enabled"
    start, stop, trigger = (_number(file, hdu, key) for key in ("TSTART", "TSTOP", "TRIGTIME"))
    return _Part(path, role, start, stop, trigger)


def _is_onboard(file: FitsFile, hdu: Any) -> bool:
    """Tell the on-board map from maps of the pulser, which have the same columns."""
    return _number(file, hdu, "OFFPULSE") is not None or "gocb" in Path(file.path).name


def _number(file: FitsFile, hdu: Any, key: str) -> float | None:
    for one in (hdu, file.primary):
        value = keyword(one, key)
        if isinstance(value, (int, float)) and value == value:
            return float(value)
    return None


def _span(own: list[_Part], time: float | None) -> tuple[float, float, float]:
    """Return first and last time of the events, and the time of the trigger."""
    events = [part for part in own if part.role == "events" and part.start is not None]
    told = [part.trigger for part in own if part.trigger]
    starts = [part.start for part in events or own if part.start is not None]
    stops = [part.stop for part in events or own if part.stop is not None] or starts
    if time is None and told:
        time = told[0]
    if time is None and not starts:
        raise EmptySelectionError("no file of the trigger tells its time (TRIGTIME, TSTART); give time=")
    first = min(starts) if events else time if time is not None else min(starts)
    last = max(stops) if events else time if time is not None else max(stops)
    return first, last, time if time is not None else (first + last) / 2


def _write(
    chosen: dict[tuple[str, Path], _Part], record: dict[str, Any], target: Path, overwrite: bool
) -> None:
    """Copy the files into a new folder, which then gets its name."""
    if target.exists() and not (overwrite and (target / RECORD).is_file()):
        raise WriteError(
            f"{target} exists; give another folder, or overwrite=True if it was put together before"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".assemble-", dir=target.parent) as scratch:
            made = Path(scratch) / "made"
            for place, path in chosen:
                (made / place).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, made / place / path.name)
            (made / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            if target.exists():
                os.rename(target, Path(scratch) / "before")
            os.rename(made, target)
    except OSError as error:
        raise WriteError(f"cannot write {target}: {error.strerror or error}") from error
