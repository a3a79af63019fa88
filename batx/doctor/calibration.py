"""The calibration database, and which files of it would serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from batx.doctor.finding import Finding
from batx.doctor.network import ask
from batx.errors import BatxError

__all__ = ["database", "files"]

_FETCH = "batx calibration --fetch"
_SERVERLESS = "the files below serve all the same"


def database(online: bool, patience: float) -> Iterator[Finding]:
    """Yield what ``$CALDB`` is: a folder with an index that can be read, or a server, which is asked.

    Parameters
    ----------
    online
        Whether a server may be asked.
    patience
        Seconds that it may take to answer.
    """
    until = time.monotonic() + patience
    place = os.environ.get("CALDB", "").strip().removeprefix("file://")
    if not place:
        remedy = f"not needed if the files below are found; install it, or get what is needed by: {_FETCH}"
        yield Finding("Calibration", "CALDB", "absent", "$CALDB is not set", remedy)
    elif "://" in place:
        yield _remote(place, online, until)
    else:
        yield _local(place)


def _remote(place: str, online: bool, until: float) -> Finding:
    """Ask a server for the index of BAT."""
    from batx.caldb.index import default_branch
    from batx.caldb.places import MIRRORS
    from batx.transfer.limits import shown

    if not online:
        text = f"{shown(place)} was not asked (offline); {_SERVERLESS}"
        return Finding("Calibration", "CALDB", "absent", text, "leave out --offline to have it asked")
    index = f"{place.rstrip('/')}/{default_branch('SWIFT', 'BAT').index}"
    taken, problem = ask([index], until)[index]
    if not problem:
        text = f"{shown(place)} answers within {taken:.1f} s: files are fetched on use"
        return Finding("Calibration", "CALDB", "ok", text)
    if problem == "it is not there":
        text = f"{shown(place)} answers, but has no {default_branch('SWIFT', 'BAT').index}"
        return Finding("Calibration", "CALDB", "broken", text, f"set $CALDB to {MIRRORS[0]}")
    remedy = f"with a network: {_FETCH}, once; until then {_SERVERLESS}"
    return Finding("Calibration", "CALDB", "absent", f"{shown(place)}: {problem}", remedy)


def _local(place: str) -> Finding:
    """Read the index of BAT of a database on disk."""
    from batx.caldb.finding import unindexed
    from batx.caldb.places import databases

    plain = unindexed()
    if plain is not None:
        text = f"{plain} has no caldb.indx: its files serve by what they say of themselves"
        return Finding("Calibration", "CALDB", "ok", text)
    here = databases(place, download=False)[0]
    folder = here.folder / here.branch("SWIFT", "BAT").folder
    remedy = f"install the Swift BAT CALDB there, or unset $CALDB and get what is needed by: {_FETCH}"
    if not os.path.isdir(folder):
        return Finding("Calibration", "CALDB", "broken", f"{folder} is not a folder", remedy)
    try:
        entries = here.entries("SWIFT", "BAT")
    except BatxError as error:
        return Finding("Calibration", "CALDB", "broken", " ".join(str(error).split()), remedy)
    missing = sum(
        not any(Path(here.folder, f"{one.name}{end}").exists() for end in ("", ".gz")) for one in entries
    )
    text = f"{folder}, {len(entries)} files in its index"
    return Finding("Calibration", "CALDB", "ok", text + (f", {missing} of them not there" if missing else ""))


def files() -> Iterator[Finding]:
    """Yield which file would serve each purpose, without asking a server."""
    from batx.caldb.finding import listing

    missing = []
    for name, text, file in listing():
        if file is None:
            missing.append(text)
        else:
            yield Finding("Calibration", name, "ok", f"{text}: {file.path.name} ({file.database})")
    if missing:
        remedy = f"{_FETCH} gets them; or give --calibration; without them events are binned and counted"
        yield Finding("Calibration", "files", "absent", f"not found: {'; '.join(missing)}", remedy)
