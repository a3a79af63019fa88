"""Locks on files that end with the process that holds them."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from types import TracebackType

from batx.errors import ToolError

__all__ = ["FileLock", "sweep"]

_POLL = 0.05


class FileLock:
    """An exclusive lock, held while the file is open: the kernel lets go of it when a process is killed.

    A file that a killed process left behind is therefore no lock, and is taken over at once.

    Parameters
    ----------
    path
        The lock's file; made if it is not there, removed on release.
    timeout
        Seconds to wait for another holder; 0 means not at all.

    Raises
    ------
    ToolError
        On entering, if another process still holds it when the time is up.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.lock"
    >>> _ = path.write_text("left behind")
    >>> with FileLock(path):
    ...     FileLock(path).acquire()
    False
    """

    def __init__(self, path: str | os.PathLike[str], timeout: float = 0.0) -> None:
        self.path = Path(path)
        self.timeout = timeout
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free; return whether it is held now."""
        import fcntl

        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise ToolError(f"cannot make the lock {self.path}: {error.strerror or error}") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(file)
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    return False
                raise ToolError(f"cannot lock {self.path}: {error.strerror}") from error
            try:
                same = os.path.samestat(os.fstat(file), os.stat(self.path))
            except FileNotFoundError:
                same = False
            if same:
                self._file = file
                return True
            # the holder before removed the file between the two calls
            os.close(file)

    def release(self) -> None:
        """Let go of the lock and remove its file."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def __enter__(self) -> FileLock:
        end = time.monotonic() + self.timeout
        while not self.acquire():
            if time.monotonic() >= end:
                raise ToolError(
                    f"another process is at the same call and holds {self.path}; wait for it, or end it"
                )
            time.sleep(_POLL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def sweep(folder: Path) -> list[Path]:
    """Remove the working folders of calls whose process is gone; return them.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "work-1").mkdir()
    >>> (folder / "work-1.lock").touch()
    >>> [path.name for path in sweep(folder)]
    ['work-1']
    """
    swept = []
    for lock in sorted(folder.glob("work-*.lock")):
        left = FileLock(lock)
        if not left.acquire():
            continue
        try:
            work = lock.with_suffix("")
            if work.is_dir() and not work.is_symlink():
                shutil.rmtree(work, ignore_errors=True)
                swept.append(work)
        finally:
            left.release()
    return swept
