"""Folders that batx reads from and writes to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from batx.doctor.finding import Finding
from batx.errors import BatxError

__all__ = ["CHECKS"]

#: less than this is not enough to fetch or simulate, GB
_LEAST_ROOM = 2.0


def data() -> Iterator[Finding]:
    """Yield the folder in which fetched observations are kept."""
    from batx.transfer import data_directory

    name = "data directory"
    try:
        place = data_directory()
    except BatxError as error:
        yield Finding("Files", name, "broken", str(error), "mend the configuration, or set $BATX_DATA")
        return
    if os.path.isdir(place) and os.access(place, os.R_OK | os.W_OK | os.X_OK):
        held = [one for one in os.listdir(place) if len(one) == 11 and one.isdecimal()]
        number = sum(os.path.isdir(place / one) for one in held)
        yield Finding("Files", name, *_room(place, f"{place}, {number} observations"))
    else:
        yield _to_be_made(name, place, "$BATX_DATA or the configuration names another one")


def cache() -> Iterator[Finding]:
    """Yield the folder in which fetched calibration is kept."""
    from batx.caldb.places import cache_directory

    name = "cache"
    try:
        place = cache_directory()
    except BatxError as error:
        yield Finding("Files", name, "broken", str(error), "set $BATX_CACHE")
        return
    if os.path.isdir(place) and os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("Files", name, *_room(place, str(place)))
    else:
        yield _to_be_made(name, place, "$BATX_CACHE names another one")


def _to_be_made(name: str, place: Path, remedy: str) -> Finding:
    """Say whether a folder that is not there, or cannot be written, could be made."""
    if os.path.lexists(place):
        what = "cannot be read and written" if os.path.isdir(place) else "is not a folder"
        return Finding("Files", name, "broken", f"{place} {what}", f"see its permissions, or {remedy}")
    above = next((one for one in place.absolute().parents if os.path.lexists(one)), Path("/"))
    if not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
        text = f"{place} is not there and cannot be made: {above} cannot be written"
        return Finding("Files", name, "absent", f"{text}; nothing can be fetched", remedy)
    _, text, room = _room(above, f"{place} is not there yet")
    return Finding("Files", name, "absent", text, room or f"it is made by the first fetch; {remedy}")


def working() -> Iterator[Finding]:
    """Yield the folder in which batx was called."""
    yield _written("working directory", os.getcwd)


def temporary() -> Iterator[Finding]:
    """Yield the folder of temporary files."""
    yield _written("temporary directory", tempfile.gettempdir)


def _written(name: str, where: Callable[[], str]) -> Finding:
    """Write a nameless file into a folder."""
    remedy = (
        "go to a folder that can be written" if name.startswith("working") else "set $TMPDIR to one that can"
    )
    try:
        place = where()
    except OSError as error:
        return Finding("Files", name, "broken", error.strerror or str(error), remedy)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"batx")
    except OSError as error:
        return Finding("Files", name, "broken", f"{place}: {error.strerror or error}", remedy)
    return Finding("Files", name, *_room(Path(place), place))


def _room(place: Path, text: str) -> tuple[str, str, str]:
    """Return status, detail and remedy of a folder by the space that is free."""
    free = shutil.disk_usage(place).free / 1e9
    said = f"{text}, {free:.0f} GB free" if free >= 10 else f"{text}, {free:.1f} GB free"
    if free >= _LEAST_ROOM:
        return "ok", said, ""
    return "absent", said, f"less than {_LEAST_ROOM:g} GB are free: make room before you fetch or simulate"


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "data directory": data,
    "cache": cache,
    "working directory": working,
    "temporary directory": temporary,
}
