"""Where calibration is: a database on disk, one on a server, and the cache of what was fetched."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batx.caldb.index import CONFIG, Branch, Entry, default_branch, read_config, read_index
from batx.errors import (
    BatxError,
    BatxWarning,
    CalibrationError,
    DownloadError,
    FileFormatError,
    MissingFileError,
    UnreachableError,
    ValueRangeError,
)
from batx.transfer import Limits, download
from batx.transfer.limits import scheme, shown

__all__ = ["MIRRORS", "Database", "cache_directory", "databases", "is_remote"]

#: the database of HEASARC, and its copy in a bucket
MIRRORS = ("https://heasarc.gsfc.nasa.gov/FTP/caldb", "https://nasa-heasarc.s3.amazonaws.com/caldb")
VARIABLE = "BATX_CACHE"
#: an index is fetched anew after this time, s
_FRESH = 86400.0
#: what the search for a file may take before it is given up; a download that was asked for may take more
_QUICK = Limits(timeout=5.0, stall=15.0, retries=1)


def cache_directory(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of files that were fetched; it need not exist.

    The first of these that is given: `path`; the environment variable ``BATX_CACHE``; ``batx`` in the user's
    folder for such files (``$XDG_CACHE_HOME`` or ``~/.cache``, ``~/Library/Caches``, ``%LOCALAPPDATA%``).

    Examples
    --------
    >>> cache_directory("here").name
    'here'
    """
    if path is not None:
        return Path(path).expanduser()
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "batx" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "batx"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "batx"


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a place is on a server.

    Examples
    --------
    >>> is_remote("https://heasarc.gsfc.nasa.gov/FTP/caldb"), is_remote("/data/caldb")
    (True, False)
    """
    return "://" in os.fspath(place) and scheme(os.fspath(place)) != "file"


@dataclass(frozen=True)
class Database:
    """A calibration database: a folder, and the servers that it is filled from, if any.

    Attributes
    ----------
    folder
        Root of the tree on disk.
    servers
        Roots of the same tree on servers, in the order in which they are tried; empty for what is only on
        disk.
    label
        What it is called in messages.
    limits
        Of the transfers.
    down
        Servers that could not be connected to, which are not asked again; those that cannot are added, with
        a warning. Without it every file is asked for.
    """

    folder: Path
    servers: tuple[str, ...]
    label: str
    limits: Limits = _QUICK
    down: set[str] | None = None

    def branch(self, telescope: str, instrument: str) -> Branch:
        """Return where the index of an instrument is; that of a server's copy is where it always was."""
        try:
            text = self._config().read_text(encoding="ascii", errors="replace")
        except (OSError, BatxError):
            return default_branch(telescope, instrument)
        key = telescope.upper(), instrument.upper()
        found = [branch for branch in read_config(text) if (branch.telescope, branch.instrument) == key]
        return found[0] if found else default_branch(*key)

    def _config(self) -> Path:
        named = os.environ.get("CALDBCONFIG")
        if named and not self.servers and Path(named).is_file():
            return Path(named)
        return self.folder / CONFIG

    def entries(self, telescope: str, instrument: str) -> list[Entry]:
        """Return the index of an instrument.

        Raises
        ------
        CalibrationError
            If there is none.
        DownloadError
            If it is on a server that does not answer, and no older copy is there.
        FileFormatError
            If it cannot be read.
        """
        name = self.branch(telescope, instrument).index
        path = self.folder / name
        if self.servers and not _fresh(path):
            try:
                self._fetch(name, overwrite=True)
            except (DownloadError, MissingFileError):
                if not path.is_file():
                    raise
        if not path.is_file():
            raise CalibrationError(f"{self.label}: found no index {path}")
        return read_index(path.read_bytes(), str(path))

    def file(self, entry: Entry) -> Path:
        """Return the file of an entry, fetched if it is on a server and not here.

        Raises
        ------
        CalibrationError
            If it is not there.
        DownloadError
            If the server does not give it.
        FileFormatError
            If it is not what was fetched once, or damaged.
        """
        for name in (entry.name, f"{entry.name}.gz"):
            path = self.folder / name
            if path.is_file():
                return self._checked(path, name)
        if not self.servers:
            raise CalibrationError(f"{self.label}: the index names {entry.name}, which is not there")
        return self._fetch(entry.name)

    def _checked(self, path: Path, name: str) -> Path:
        """Return a file that is as it was fetched; fetch it again if it is not."""
        note = _note(path)
        if not note.is_file() or note.read_text(encoding="ascii").split()[:1] == [_sum(path)]:
            return path
        if self.servers:
            return self._fetch(name, overwrite=True)
        raise FileFormatError(
            f"{path}: its checksum is not that of when it was fetched; delete it and fetch it again "
            "(batx.caldb.fetch)"
        )

    def _fetch(self, name: str, overwrite: bool = False) -> Path:
        path = self.folder / name
        urls = [f"{server.rstrip('/')}/{name}" for server in self.servers]
        kind = "fits" if name.endswith("caldb.indx") else None
        server = ", ".join(shown(one) for one in self.servers)
        if self.down is not None and server in self.down:
            raise UnreachableError(f"{server}: no connection, as before")
        try:
            path = download(urls, path, overwrite=overwrite, kind=kind, limits=self.limits)
        except UnreachableError:
            if self.down is not None:
                self.down.add(server)
                text = f"no connection to the calibration database {server}"
                warnings.warn(f"{text}; what was fetched before is used", BatxWarning, stacklevel=2)
            raise
        _verify(path)
        note = _note(path)
        temporary = note.with_name(f"{note.name}.{os.getpid()}")
        temporary.write_text(f"{_sum(path)}  {path.name}\n", encoding="ascii")
        temporary.replace(note)
        return path


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _FRESH
    except OSError:
        return False


def _note(path: Path) -> Path:
    """Return where the checksum of a fetched file is kept."""
    return path.with_name(f".{path.name}.sha256")


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _verify(path: Path) -> None:
    """Compare a FITS file that was fetched with the checksums it carries; take it away if they differ.

    Raises
    ------
    FileFormatError
        If they differ.
    """
    from astropy.io import fits

    if not any(part in (".fits", ".indx", ".img", ".gti", ".teldef") for part in path.suffixes):
        return
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with fits.open(path, checksum=True, memmap=False) as hdus:
                for hdu in hdus:
                    _ = hdu.header
        reasons = [str(item.message) for item in caught if "verification failed" in str(item.message)]
    except (OSError, ValueError, TypeError, EOFError) as error:
        reasons = [str(error)]
    if reasons:
        path.unlink(missing_ok=True)
        raise FileFormatError(f"{path}: what was fetched is damaged and was deleted: {reasons[0]}")


def databases(
    caldb: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool | None = None,
    limits: Limits | None = None,
    environment: Mapping[str, str] | None = None,
    down: set[str] | None = None,
) -> list[Database]:
    """Return where calibration is looked for, in order: the database named, ``$CALDB``, the cache.

    Parameters
    ----------
    caldb
        Folder or URL of a database, in place of ``$CALDB``.
    cache
        As for `cache_directory`; what is fetched is put into ``caldb`` in it, a tree like that on the server.
    download
        Whether servers may be asked: without it they are if `caldb` or ``$CALDB`` is a URL; true asks HEASARC
        if neither is; false never asks.
    limits
        Of the transfers.
    environment
        In place of the environment variables.
    down
        As for `Database`.
    """
    place = caldb if caldb is not None else (os.environ if environment is None else environment).get("CALDB")
    if place is not None and not isinstance(place, (str, os.PathLike)):
        raise ValueRangeError(f"caldb: found {place!r}, expected a folder or a URL")
    place = os.fspath(place).strip().removeprefix("file://") if place else None
    kept = cache_directory(cache) / "caldb"
    made: list[Database] = []
    servers: tuple[str, ...] = ()
    if place:
        if is_remote(place):
            servers = (place,)
        else:
            name = "caldb" if caldb is not None else "$CALDB"
            made.append(Database(Path(place).expanduser(), (), f"{name} ({place})"))
    if download and not servers:
        servers = MIRRORS
    if download is False:
        servers = ()
    label = f"{shown(servers[0])} (cache {kept})" if servers else f"cache ({kept})"
    made.append(Database(kept, servers, label, limits or _QUICK, down))
    return made
