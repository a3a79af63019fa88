"""The bytes of one FITS file: mapped where it is plain, inflated once where it is gzipped.

Everything that is read lazily refers to a `Source`, which holds no bytes until they are needed and can be
sent to another process: there it maps or inflates the file again, once for all arrays of that file.
"""

from __future__ import annotations

import gzip
import mmap
import os
import tempfile
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary, ref

from batx.errors import FileFormatError, MissingFileError

__all__ = ["Source", "starts_like_fits"]

_MAGIC = b"SIMPLE  ="
_GZIP = b"\x1f\x8b"
_IN_MEMORY = (
    64 * 2**20
)  # larger inflated files go to an unlinked temporary file, so the kernel may drop their pages
_BLOCK = 4 * 2**20

_known: WeakValueDictionary[tuple[str, int, int], Source] = WeakValueDictionary()
_known_lock = Lock()


def starts_like_fits(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes of a file, inflated if it is gzipped, are those of a FITS primary header."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
        if head[:2] == _GZIP:
            with gzip.open(path) as inflated:
                head = inflated.read(len(_MAGIC))
    except (OSError, EOFError, zlib.error):
        return False
    return head == _MAGIC


#: mappings of the files that were read last
_RECENT: deque[mmap.mmap] = deque(maxlen=4)


class Source:
    """A file as one read-only buffer, opened on first use.

    Parameters
    ----------
    path
        A FITS file, plain or gzipped (told by its first bytes, not its name).

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is a directory, empty, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        status = _status(self.path)
        self.size = status.st_size
        self.modified = status.st_mtime_ns
        self._inflated: mmap.mmap | bytes | None = None
        self._mapped: ref[mmap.mmap] | None = None
        self._lock = Lock()

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Source:
        """Return the one `Source` of a file in this process, so that it is mapped or inflated only once."""
        fresh = cls(path)
        with _known_lock:
            return _known.setdefault((fresh.path, fresh.size, fresh.modified), fresh)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _reopen, (self.path, self.size)

    @property
    def buffer(self) -> mmap.mmap | bytes:
        """All bytes of the (inflated) file.

        A plain file stays mapped while an array of it is in use or it is one of the last few that were
        read, so that reading column by column maps it once and many files may be open.
        """
        with self._lock:
            known = self._inflated
            if known is None and self._mapped is not None:
                known = self._mapped()
            if known is not None:
                return known
            buffer, plain = _read(self.path)
            if plain and isinstance(buffer, mmap.mmap):
                self._mapped = ref(buffer)
                _RECENT.append(buffer)
            else:
                self._inflated = buffer
            return buffer

    def forget(self, start: int, length: int) -> None:
        """Let go of the memory that shows a range of the file; it is read again when it is used again.

        A large image is copied once, and the pages of a mapping count as memory of the process.
        """
        mapped = self._mapped() if self._mapped is not None else self._inflated
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            first = start - start % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, first, start + length - first)


def _reopen(path: str, size: int) -> Source:
    """Return the source of a file in another process; refuse one that is not the file it was."""
    source = Source.of(path)
    if source.size != size:
        raise FileFormatError(
            f"{path}: found {source.size} bytes where the file had {size} when it was opened; open it again"
        )
    return source


def _status(path: str) -> os.stat_result:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error
    if Path(path).is_dir():
        raise FileFormatError(
            f"{path}: found a directory, expected a FITS file; "
            "batx.open_observation opens an observation directory"
        )
    if status.st_size == 0:
        raise FileFormatError(f"{path}: found an empty file, expected FITS")
    return status


def _read(path: str) -> tuple[mmap.mmap | bytes, bool]:
    """Return the bytes of a file, and whether they are the file itself, mapped."""
    try:
        with open(path, "rb") as file:
            if file.read(2) == _GZIP:
                return _inflate(path), False
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), True
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from error


def _inflate(path: str) -> mmap.mmap | bytes:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        try:
            with gzip.open(path) as inflated:
                while block := inflated.read(_BLOCK):
                    spool.write(block)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(
                f"{path}: the gzip data are corrupt or cut short ({error}); fetch the file again"
            ) from error
        spool.flush()
        if spool.tell() <= _IN_MEMORY:
            spool.seek(0)
            return spool.read()
        return mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
