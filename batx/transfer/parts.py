"""Unfinished files: beside the target, locked while one process works on them, kept to go on later."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from batx.errors import ValueRangeError
from batx.transfer.contents import HEAD
from batx.transfer.trouble import AttemptError

__all__ = ["Part", "Progressed", "check_sum_text", "file_sum", "locked_part"]

_POLL = 0.1
_SUMS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True)
class Progressed:
    """Which version of a file the bytes of an unfinished file belong to."""

    url: str = ""
    validator: str = ""
    total: int | None = None


@dataclass
class Part:
    """An unfinished file, open for reading and writing, and what is known of it."""

    path: Path
    file: IO[bytes]

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def state(self) -> Progressed:
        """Return what was noted, nothing if the note is not there or damaged."""
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            state = Progressed(**noted)
        except (OSError, ValueError, TypeError):
            return Progressed()
        good = isinstance(state.url, str) and isinstance(state.validator, str)
        return state if good and isinstance(state.total, (int, type(None))) else Progressed()

    def note(self, state: Progressed) -> None:
        """Write down which version this is."""
        temporary = self._note.with_name(f"{self._note.name}.{secrets.token_hex(4)}")
        try:
            temporary.write_text(json.dumps(asdict(state)), encoding="utf-8")
            os.replace(temporary, self._note)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def size(self) -> int:
        """Return the number of bytes there."""
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def head(self) -> bytes:
        """Return the first bytes; what is written next goes to the end."""
        self.file.seek(0)
        found = self.file.read(HEAD)
        self.file.seek(0, os.SEEK_END)
        return found

    def cut(self, size: int = 0) -> None:
        """Leave the first bytes only, and go to their end."""
        self.file.truncate(size)
        self.file.seek(size)

    def finish(self, target: Path) -> None:
        """Make this the target, whole and on disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.path, target)
        with suppress(OSError):
            self._note.unlink()

    def remove(self) -> None:
        """Remove the file and its note."""
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink()


@contextmanager
def locked_part(target: Path, stop: threading.Event) -> Iterator[Part]:
    """Open the unfinished file of a target; another process that works on it is waited for until `stop`.

    Where files cannot be locked the unfinished file has a name of its own, and is not kept.

    Yields
    ------
    Part
        Open; removed at the end only if it is empty or could not be locked.
    """
    name = target.with_name(f".{target.name}.part")
    file, held = _open_locked(name, stop)
    part = Part(name, file)
    if not held:
        part = _private(target)
        file.close()
    try:
        yield part
    finally:
        with suppress(OSError):
            if not held or (part.size() == 0 and part.path.exists()):
                part.remove()
        part.file.close()


def _open_locked(name: Path, stop: threading.Event) -> tuple[IO[bytes], bool]:
    """Return the file of this name, and whether it is locked."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return open(os.devnull, "r+b"), False
    while not stop.is_set():
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        file = os.fdopen(os.open(name, flags, 0o666), "r+b")
        try:
            while not _locked(fcntl, file):
                if stop.wait(_POLL):
                    break
            mine = os.fstat(file.fileno())
            if stop.is_set():
                file.close()
                break
            with suppress(FileNotFoundError):
                if os.path.samestat(mine, os.stat(name, follow_symlinks=False)):
                    return file, True
        except OSError:
            file.close()
            return open(os.devnull, "r+b"), False
        file.close()  # the one that was waited for has renamed it
    raise AttemptError("stopped", final=True)


def _locked(fcntl: Any, file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private(target: Path) -> Part:
    path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    return Part(path, open(path, "x+b"))


def check_sum_text(text: str) -> tuple[str, str]:
    """Return kind and digits of a checksum such as ``"sha256:9f86d0..."``.

    Raises
    ------
    ValueRangeError
        If it is none.

    Examples
    --------
    >>> check_sum_text("md5:D41D8CD98F00B204E9800998ECF8427E")
    ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    kind, _, digits = str(text).partition(":")
    kind, digits = kind.lower(), digits.lower()
    if kind not in _SUMS or not re.fullmatch(f"[0-9a-f]{{{_SUMS[kind]}}}", digits):
        raise ValueRangeError(
            f"checksum: found {str(text)[:150]!r}, expected one such as 'sha256:' and 64 hexadecimal digits "
            f"({', '.join(_SUMS)})"
        )
    return kind, digits


def file_sum(file: Any, kind: str) -> str:
    """Return the checksum of an open file, from its beginning.

    Examples
    --------
    >>> import io
    >>> file_sum(io.BytesIO(b""), "md5")
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    file.seek(0)
    made = hashlib.new(kind, usedforsecurity=False)
    while piece := file.read(1 << 20):
        made.update(piece)
    return made.hexdigest()
