"""Records of finished calls: a call with the same request, inputs and tool is not made again."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from batx.errors import FileFormatError, MissingFileError, WriteError

__all__ = ["Checksums", "read_record", "unchanged", "write_private", "write_record"]

_VERSION = 1
_BLOCK = 2**20


class Checksums:
    """SHA-256 of files and folders, each computed once while it stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> _ = path.write_text("a")
    >>> Checksums().of(path)[:8]
    'ca978112'
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[int, ...]], str] = {}

    def of(self, path: Path, without: Collection[Path] = ()) -> str:
        """Return the checksum of a file, or of everything below a folder with the names but for some."""
        try:
            if path.is_dir():
                return self._folder(path, without)
            place = (str(path), _state(path))
            if place not in self._known:
                self._known[place] = _digest(path)
            return self._known[place]
        except FileNotFoundError as error:
            raise MissingFileError(f"{path} is gone") from error
        except OSError as error:
            raise FileFormatError(f"cannot read {path}: {error.strerror or error}") from error

    def _folder(self, path: Path, without: Collection[Path]) -> str:
        total = hashlib.sha256()
        for file in files_below(path, without):
            total.update(f"{file.relative_to(path)}\0{self.of(file)}\0".encode())
        return total.hexdigest()


def files_below(path: Path, without: Collection[Path] = ()) -> list[Path]:
    """Return every file below a folder, sorted; some, and what batx itself keeps there, are left out."""
    outside = set(without)
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and ".batx" not in file.relative_to(path).parts
        and not (outside and outside & {file, *file.parents})
    )


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def state_of(paths: Iterable[Path], without: Collection[Path] = ()) -> dict[Path, tuple[int, ...]]:
    """Return size, time of change and number of every file that is there; folders are looked into.

    `without` is left out.

    Examples
    --------
    >>> state_of([])
    {}
    """
    files = [file for path in paths for file in (files_below(path, without) if path.is_dir() else [path])]
    found = {}
    for file in files:
        with suppress(FileNotFoundError):
            found[file] = _state(file)
    return found


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def key_of(request: Mapping[str, Any]) -> str:
    """Return the name of a request: the checksum of its JSON.

    Examples
    --------
    >>> key_of({"task": "x"}) == key_of({"task": "x"})
    True
    """
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def described(path: Path, checksums: Checksums, base: Path, without: Collection[Path] = ()) -> dict[str, Any]:
    """Return what a record says of a file or folder; its name is relative to the folder of records.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> _ = path.write_text("a")
    >>> described(path, Checksums(), path.parent)["path"]
    'a'
    """
    entry: dict[str, Any] = {"path": os.path.relpath(path, base), "sha256": checksums.of(path, without)}
    if path.is_file():
        entry["bytes"] = path.stat().st_size
    return entry


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record, or `None` where there is none that can be read.

    Examples
    --------
    >>> read_record(Path("/nowhere"))
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(record, dict) and record.get("batx_call") == _VERSION
    return record if good and isinstance(record.get("outputs"), dict) else None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record so that it is there whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_record(path, {"state": "done", "outputs": {}})
    >>> read_record(path)["state"]
    'done'
    """
    write_private(path, json.dumps({"batx_call": _VERSION, **record}, indent=1, sort_keys=True) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read, whole or not at all.

    It is not flushed to disk: what a record says is compared with the outputs before it is believed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> write_private(path, "text")
    >>> oct(path.stat().st_mode & 0o777)
    '0o600'
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def unchanged(record: Mapping[str, Any], base: Path, checksums: Checksums) -> dict[str, list[Path]] | None:
    """Return the outputs of a record if each is there as it was written, else `None`.

    Examples
    --------
    >>> unchanged({"outputs": {}}, Path(), Checksums())
    {}
    """
    found: dict[str, list[Path]] = {}
    for name, entries in record["outputs"].items():
        for entry in entries:
            path = Path(os.path.normpath(base / entry["path"]))
            if not path.exists() or checksums.of(path) != entry["sha256"]:
                return None
            found.setdefault(name, []).append(path)
    return found


def ours(record: Mapping[str, Any] | None, base: Path, checksums: Checksums) -> set[Path]:
    """Return the outputs named by a record that are there as they were written: they may be replaced.

    Examples
    --------
    >>> ours(None, Path(), Checksums())
    set()
    """
    places = set()
    for entries in (record or {}).get("outputs", {}).values():
        for entry in entries:
            path = Path(os.path.normpath(base / entry["path"]))
            if path.exists() and checksums.of(path) == entry["sha256"]:
                places.add(path)
    return places
