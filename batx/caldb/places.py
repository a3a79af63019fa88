"""Where calibration is: a database on disk, one on a server, and the cache of what was fetched."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batx.caldb import silence
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
    WriteError,
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

    Raises
    ------
    CalibrationError
        If that cannot be told because the user has no home.

    Examples
    --------
    >>> cache_directory("here").name
    'here'
    """
    given = path if path is not None else os.environ.get(VARIABLE)
    try:
        return Path(given).expanduser() if given else _usual_cache()
    except RuntimeError as error:
        raise CalibrationError(
            f"the folder for fetched calibration is not known: {error}; name one with ${VARIABLE}"
        ) from error


def _usual_cache() -> Path:
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
    """

    folder: Path
    servers: tuple[str, ...]
    label: str
    limits: Limits = _QUICK

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
        if named and not self.servers and os.path.isfile(named):
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
                if not os.path.isfile(path):
                    raise
        if not os.path.isfile(path):
            raise CalibrationError(f"{self.label}: found no index {path}")
        return read_index(_content(path), str(path))

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
            if os.path.isfile(path):
                return self._checked(path, name)
        if not self.servers:
            raise CalibrationError(f"{self.label}: the index names {entry.name}, which is not there")
        return self._fetch(entry.name)

    def _checked(self, path: Path, name: str) -> Path:
        """Return a file that is as it was fetched; fetch it again if it is not."""
        note = _note(path)
        if not os.path.isfile(note) or _content(note).split()[:1] == [_sum(path).encode()]:
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
        for place in (server, f"{server}/{name}"):
            silence.check(place)
        try:
            path = download(
                urls, path, overwrite=overwrite, kind=kind, check=_check_for(name), limits=self.limits
            )
        except UnreachableError:
            silence.note(server, "no connection")
            text = f"no connection to the calibration database {server}"
            warnings.warn(f"{text}; what was fetched before is used", BatxWarning, stacklevel=2)
            raise
        except DownloadError:
            silence.note(f"{server}/{name}", "not given by the server")
            raise
        _write_note(path)
        return path


def _content(path: Path) -> bytes:
    """Return what is in a file; raise `CalibrationError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from error


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _FRESH
    except OSError:
        return False


def _note(path: Path) -> Path:
    """Return where the checksum of a fetched file is kept."""
    return path.with_name(f".{path.name}.sha256")


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from error


def _write_note(path: Path) -> None:
    """Keep the checksum of a file that was fetched.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    note = _note(path)
    temporary = note.with_name(f"{note.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(f"{_sum(path)}  {path.name}\n", encoding="ascii")
        temporary.replace(note)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteError(f"cannot write {note}: {error.strerror or error}") from error


def _check_for(name: str) -> Callable[[Path], str] | None:
    """Return how a file of this name is looked at once it is there: FITS files carry checksums."""
    fits_like = {".fits", ".indx", ".img", ".gti", ".teldef"} & set(Path(name).suffixes)
    return _damage if fits_like else None


def _damage(path: Path) -> str:
    """Return in what a FITS file differs from the checksums it carries, empty if in nothing."""
    from astropy.io import fits

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with fits.open(path, checksum=True, memmap=False) as hdus:
                for hdu in hdus:
                    _ = hdu.header
        reasons = [str(item.message) for item in caught if "verification failed" in str(item.message)]
    except (OSError, ValueError, TypeError, EOFError) as error:
        reasons = [str(error)]
    return " ".join(reasons[0].split()) if reasons else ""


def databases(
    caldb: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool | None = None,
    limits: Limits | None = None,
    environment: Mapping[str, str] | None = None,
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

    Raises
    ------
    CalibrationError
        If there is no place for a cache, and nothing else is named.
    ValueRangeError
        If `caldb` is no place.
    """
    place = caldb if caldb is not None else (os.environ if environment is None else environment).get("CALDB")
    if place is not None and not isinstance(place, (str, os.PathLike)):
        raise ValueRangeError(f"caldb: found {place!r}, expected a folder or a URL")
    place = os.fspath(place).strip().removeprefix("file://") if place else None
    made: list[Database] = []
    servers: tuple[str, ...] = ()
    if place:
        if is_remote(place):
            servers = (place,)
        else:
            name = "caldb" if caldb is not None else "$CALDB"
            made.append(Database(Path(os.path.expanduser(place)), (), f"{name} ({place})"))
    if download and not servers:
        servers = MIRRORS
    if download is False:
        servers = ()
    try:
        kept = cache_directory(cache) / "caldb"
    except CalibrationError:
        if made and not servers:
            return made
        raise
    label = f"{shown(servers[0])} (cache {kept})" if servers else f"cache ({kept})"
    made.append(Database(kept, servers, label, limits or _QUICK))
    return made
