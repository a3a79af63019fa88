"""One run in a folder at a time: a lock that the operating system gives back when its holder dies."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batx.errors import BatxWarning, WriteError

__all__ = ["locked"]

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the file stays, the lock ends with the block or with the process.

    A lock that was left by a process that was killed, or by a machine that stopped, is therefore none.

    Raises
    ------
    WriteError
        If another run holds it, or the file cannot be made.

    Warns
    -----
    BatxWarning
        If the file system knows no locks; two runs at once would then not notice each other.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lock"
    >>> with locked(path), locked(path):
    ...     pass
    Traceback (most recent call last):
        ...
    batx.errors.WriteError: ...
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        if not _take(descriptor, path):
            holder = os.read(descriptor, 40).decode("ascii", "replace").strip() or "unknown"
            raise WriteError(
                f"{path.parent.parent}: another run is at work in this folder (process {holder}); wait until "
                "it ends, stop it, or give another folder for the results"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    """Return whether the lock is now held."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # a byte far behind the text, which stays readable
            os.lseek(descriptor, 1024, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        warnings.warn(
            f"{path}: the file system gives no locks ({error.strerror}); see to it that only one run at a "
            "time works in this folder",
            BatxWarning,
            stacklevel=4,
        )
    return True
