"""Private copies of what a tool reads, so that it cannot change the files themselves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from batx.errors import FileFormatError

__all__ = ["copy_file", "copy_folder"]

_BLOCK = 2**20


def copy_file(source: Path, place: Path) -> None:
    """Copy the content of a file; as a clone, which takes neither time nor room, where the file system can.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> _ = path.write_text("text")
    >>> copy_file(path, path.with_name("b"))
    >>> path.with_name("b").read_text()
    'text'
    """
    with open(source, "rb") as file, open(place, "wb") as copy:
        size = os.fstat(file.fileno()).st_size
        with suppress(OSError, AttributeError):
            while size > 0 and (done := os.copy_file_range(file.fileno(), copy.fileno(), size)):
                size -= done
        if size > 0:
            # another file system, or another operating system
            file.seek(0)
            copy.seek(0)
            shutil.copyfileobj(file, copy, _BLOCK)


def copy_folder(source: Path, place: Path, without: Collection[Path] = ()) -> None:
    """Copy a folder with all that is below it but for the copy and what batx itself keeps there (``.batx``).

    Times of change are kept, permissions are not: the copy can be written. Links are links again, to the
    same place in the copy.

    Parameters
    ----------
    source
        The folder.
    place
        The copy, to be made.
    without
        Files and folders that are left out, by their full names.

    Raises
    ------
    FileFormatError
        If the folder holds a link that leads out of it, or something that is neither file nor folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "obs" / "auxil").mkdir(parents=True)
    >>> copy_folder(folder / "obs", folder / "copy")
    >>> [path.name for path in (folder / "copy").iterdir()]
    ['auxil']
    """
    top = Path(os.path.realpath(source))
    left_out = {os.path.realpath(path) for path in (*without, place)}

    def copied(folder: Path, to: Path) -> None:
        to.mkdir(mode=0o700)
        with os.scandir(folder) as entries:
            for entry in entries:
                path = folder / entry.name
                if entry.name == ".batx" or str(path) in left_out:
                    continue
                if entry.is_symlink():
                    (to / entry.name).symlink_to(_inner(path, top, source))
                elif entry.is_dir():
                    copied(path, to / entry.name)
                elif entry.is_file():
                    copy_file(path, to / entry.name)
                    status = entry.stat()
                    os.utime(to / entry.name, ns=(status.st_atime_ns, status.st_mtime_ns))
                else:
                    raise FileFormatError(f"{path} is neither a file nor a folder, and cannot be copied")

    copied(top, place)


def _inner(link: Path, top: Path, source: Path) -> str:
    """Return where a link of a folder leads, seen from the link; complain if that is outside."""
    target = os.path.realpath(link)
    if os.path.commonpath([target, top]) != str(top):
        raise FileFormatError(
            f"{source} holds a link that leads out of it ({link.relative_to(top)} -> {os.readlink(link)}); "
            "tools get a copy of a folder, and links out of it are not followed: put the file itself there "
            "(cp -rL copies a folder with what its links stand for)"
        )
    return os.path.relpath(target, link.parent)
