"""Archives unpacked below one folder: plain files only, bounded, whole or not at all."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from batx.errors import DownloadError, FileFormatError, MissingFileError, WriteError
from batx.transfer.names import inside, safe_name

__all__ = ["unpack"]

_BLOCK = 1 << 20
#: a header of a tar archive that is larger than this is an attack
_LARGEST_HEADER = 64 << 20
_MOST_FILES = 200_000
_LONGEST_FILLING = 16 << 20


def unpack(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    max_bytes: float = 20e9,
) -> list[Path]:
    """Unpack a tar, tar.gz, zip or gz file below a folder.

    What it is is told by its first bytes. The members are first unpacked into a private folder beside and
    then moved; an archive that is refused changes nothing.

    Parameters
    ----------
    path
        The archive, such as the ODF or PPS of an XMM-Newton observation.
    folder
        Where its files shall be; it is made.
    overwrite
        Whether files that exist may be replaced.
    max_bytes
        Most bytes that it may unpack to.

    Returns
    -------
    list of pathlib.Path
        The files, in the order of the archive.

    Raises
    ------
    FileFormatError
        If it is none of these, damaged, or holds links, devices, unsafe names, two files of one name, or more
        than `max_bytes`.
    MissingFileError
        If there is no such file.
    WriteError
        If a file exists already, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = Path(place, "a.txt.gz").write_bytes(gzip.compress(b"text"))
    ...     [found.name for found in unpack(Path(place, "a.txt.gz"), Path(place, "out"))]
    ['a.txt']
    """
    source, root = Path(path).expanduser(), Path(folder).expanduser()
    if not source.is_file():
        raise MissingFileError(f"{source}: no such file to unpack")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as scratch:
            try:
                names = _unpacked(source, Path(scratch), max_bytes)
            except DownloadError as error:  # of a name
                raise FileFormatError(str(error)) from None
            except _DAMAGED as error:
                raise FileFormatError(f"{source}: damaged, or not a tar, zip or gz file ({error})") from error
            return _moved(names, Path(scratch), root, overwrite)
    except (FileFormatError, WriteError):
        raise
    except OSError as error:
        raise WriteError(f"cannot unpack {source} into {root}: {error.strerror or error}") from error


#: the last is what zipfile says to a method of compression that it does not know
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, RuntimeError)


def _unpacked(source: Path, scratch: Path, max_bytes: float) -> list[str]:
    """Unpack into a folder; return the names."""
    allowance = _Allowance(source, min(max_bytes, shutil.disk_usage(scratch).free))
    names: dict[str, None] = {}
    with _members(source) as members:
        for name, file in members:
            safe = safe_name(name.removeprefix("./"), source.name)
            if safe.casefold() in names:
                raise FileFormatError(f"{source}: refused, it has two files named {safe}")
            if len(names) >= _MOST_FILES:
                raise FileFormatError(f"{source}: refused, it has more than {_MOST_FILES} files")
            names[safe.casefold()] = None
            target = inside(scratch, safe, source.name)
            if target.exists() or any(parent.is_file() for parent in target.parents):
                raise FileFormatError(f"{source}: refused, {safe} is both a file and a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as out:
                while piece := file.read(_BLOCK):
                    allowance.take(len(piece))
                    out.write(piece)
    return [
        str(path.relative_to(scratch).as_posix()) for path in sorted(scratch.rglob("*")) if path.is_file()
    ]


def _moved(names: list[str], scratch: Path, root: Path, overwrite: bool) -> list[Path]:
    targets = [inside(root, name) for name in names]
    there = [target for target in targets if target.exists() and (not overwrite or target.is_dir())]
    if there:
        raise WriteError(f"{there[0]} exists; give overwrite=True to replace it, or another folder")
    for name, target in zip(names, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch / name, target)
    return targets


class _Allowance:
    """How many bytes may still be written."""

    def __init__(self, source: Path, most: float) -> None:
        self.source, self.most, self.left = source, most, most

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise FileFormatError(f"{self.source}: refused, it unpacks to more than {self.most:.3g} bytes")


class _Guarded:
    """A file that refuses to be read in very large pieces: headers that would fill the memory."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise FileFormatError("refused an archive with a header of unreasonable size")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def _members(source: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Give the names and contents of the files of an archive."""
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(source, "rb"))
        head = file.read(512)
        file.seek(0)
        if head[:2] == b"PK":
            yield _zip_members(stack.enter_context(zipfile.ZipFile(file)), source)
            return
        packed = head[:2] == b"\x1f\x8b"
        if packed:
            file = stack.enter_context(gzip.open(file))
            head = file.read(512)
            file.seek(0)
        if head[257:262] == b"ustar":
            guarded: Any = _Guarded(file)
            tar = stack.enter_context(tarfile.open(fileobj=guarded, mode="r:"))
            yield _tar_members(tar, source)
            _read_to_end(file, source)
        elif packed:
            yield iter([(source.name.removesuffix(".gz"), file)])
        else:
            raise FileFormatError(f"{source}: found no tar, zip or gz file")


def _read_to_end(file: Any, source: Path) -> None:
    """Read what fills up a tar archive: only at its end a gzip file is compared with its checksum."""
    left = _LONGEST_FILLING
    while piece := file.read(_BLOCK):
        left -= len(piece)
        if left < 0:
            raise FileFormatError(f"{source}: refused, there is more after the end of the archive")


def _tar_members(tar: tarfile.TarFile, source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in tar:
        if member.isdir():
            continue
        file = tar.extractfile(member) if member.isreg() else None
        if file is None:
            raise FileFormatError(f"{source}: refused, {member.name!a} is a link or a device, not a file")
        yield member.name, file


def _zip_members(archive: zipfile.ZipFile, source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.is_dir():
            continue
        if kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
            raise FileFormatError(f"{source}: refused, {member.filename!a} is a link or encrypted")
        with archive.open(member) as file:
            yield member.filename, file
