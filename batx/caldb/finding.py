"""The calibration file that serves a purpose at a time, from disk, from the cache, or fetched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batx.caldb.index import Entry, choose
from batx.caldb.places import MIRRORS, Database, databases
from batx.caldb.purposes import PURPOSES, Purpose, purpose_named
from batx.caldb.silence import ask_again
from batx.errors import BatxError, CalibrationError, ValueRangeError
from batx.met import ClockFile, read_clock, to_met
from batx.transfer import Limits

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CalibrationFile",
    "clock",
    "fetch",
    "find",
    "listing",
    "load",
    "served",
    "single_time",
    "unindexed",
]

_MJDREF = 51910.0
#: of downloads that were asked for
_PATIENT = Limits()


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration file that was found.

    Attributes
    ----------
    purpose
        What for; see `batx.caldb.purposes.PURPOSES`.
    path
        The file.
    entry
        Its row in the index.
    database
        Where it was found, in words.
    """

    purpose: str
    path: Path
    entry: Entry
    database: str

    @property
    def valid_from(self) -> str:
        """Day from when on it holds, empty if it does not say."""
        return "" if self.entry.start == float("-inf") else _date(self.entry.start)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the provenance of products says of it."""
        with self.path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        return {
            "file": self.path.name,
            "path": os.fspath(self.path),
            "extension": self.entry.extension,
            "codename": self.entry.codename,
            "valid_from": self.valid_from,
            "database": self.database,
            "sha256": checksum,
        }

    def open(self) -> xr.Dataset:
        """Return it as a Dataset, with `record` as JSON in ``attrs["calibration_file"]``."""
        import xarray as xr

        # index entries of image files may count from 0 or name the table that holds the data
        try:
            ds = xr.open_dataset(self.path, engine="batx", hdu=self.entry.extension)
        except BatxError:
            ds = xr.open_dataset(self.path, engine="batx")
        return ds.assign_attrs(calibration_file=json.dumps(self.record, sort_keys=True))


def _date(mjd: float) -> str:
    import numpy as np

    return str(np.datetime64("1858-11-17") + np.timedelta64(int(mjd), "D"))


def _mjd(time: Any) -> float | None:
    """Return UTC as MJD, to half a minute (the clock is taken as perfect), `None` for now."""
    if time is None:
        return None
    return _MJDREF + single_time(time, {"utcf": 0.0}) / 86400


def single_time(time: Any, attrs: Mapping[str, Any]) -> float:
    """Return one time as MET.

    Parameters
    ----------
    time
        As for `batx.met.to_met`.
    attrs
        As there.

    Raises
    ------
    ValueRangeError
        If it is not a single time.
    """
    met = to_met(time, attrs, name="time")
    if met.size != 1:
        raise ValueRangeError(f"time: found {met.size} times, expected one")
    return float(met.reshape(()))


def find(
    purpose: str,
    time: Any = None,
    *,
    caldb: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    download: bool | None = None,
    limits: Limits | None = None,
    **boundary: Any,
) -> CalibrationFile:
    """Return the calibration file that serves a purpose.

    It is looked for in the database named, in ``$CALDB`` and in the cache, by the rules of CALDB: code name,
    quality 0, boundaries, and of the files that hold at the time the one that holds from latest on.

    Parameters
    ----------
    purpose
        ``"aperture"``, ``"alignment"``, ``"pulser"``, ``"clock"``, ...; `batx.caldb.listing` names all.
    time
        MET, Quantity, Time or date; without it the newest file serves.
    caldb
        Folder or URL (``https://``, ``http://``, ``s3://``) of a database, in place of ``$CALDB``.
    cache
        Folder of fetched files; ``$BATX_CACHE``, or the user's folder for such files.
    download
        Whether a server may be asked. Without it, one is if `caldb` or ``$CALDB`` is a URL; true asks HEASARC
        if neither is, false asks nobody.
    limits
        Of the transfers, `batx.transfer.Limits`.
    **boundary
        Further conditions, for example ``energy=50`` (keV) or ``theta=(0, 45)`` (degrees), or in place of
        those of the purpose.

    Returns
    -------
    CalibrationFile
        With ``path``, ``open()``, and ``record`` for the provenance.

    Raises
    ------
    CalibrationError
        If none is found: with what was looked at, how to get it, and what works without.
    ValueRangeError
        If there is no such purpose.

    Warns
    -----
    BatxWarning
        If a server cannot be connected to. It is left alone for a minute then; see `batx.caldb.silent`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as empty:
    ...     try:
    ...         find("aperture", caldb=empty, cache=empty)
    ...     except CalibrationError as error:
    ...         print(str(error).split(";")[0].split(":")[0])
    calibration 'aperture' (coded mask, for fluxes)
    """
    wanted = purpose_named(purpose)
    mjd = _mjd(time)
    conditions = {**wanted.boundary, **{name.upper(): value for name, value in boundary.items()}}
    tried = []
    for database in databases(caldb, cache, download, limits):
        try:
            return _found(database, wanted, mjd, conditions)
        except BatxError as error:
            tried.append(str(error))
    raise CalibrationError(_advice(wanted, mjd, tried))


def _found(
    database: Database, purpose: Purpose, mjd: float | None, conditions: dict[str, Any]
) -> CalibrationFile:
    entries = database.entries("SWIFT", purpose.instrument)
    good = choose(entries, purpose.codename, mjd, conditions, instrument=purpose.instrument)
    if not good:
        held = sum(entry.codename == purpose.codename for entry in entries)
        raise CalibrationError(
            f"{database.label}: of {len(entries)} entries {held} are {purpose.codename}, none of them good "
            "at that time and for these conditions"
        )
    return CalibrationFile(purpose.name, database.file(good[0]), good[0], database.label)


def _advice(purpose: Purpose, mjd: float | None, tried: list[str]) -> str:
    day = "" if mjd is None else f" for {_date(mjd)}"
    conditions = "".join(f" {name}={value}" for name, value in purpose.boundary.items())
    fetched = f"batx.caldb.fetch({purpose.name!r}) (or batx calibration {purpose.name} --fetch)"
    return (
        f"calibration {purpose.name!r} ({purpose.text}): found none{day}; it is {purpose.codename}"
        f"{conditions} of SWIFT {purpose.instrument} in CALDB. To get it: {fetched}, once, with a network; "
        f"or set CALDB to {MIRRORS[0]}, or to a folder with the Swift CALDB. Without it: {purpose.without}. "
        f"Looked at: {'; '.join(tried)}"
    )


def load(purpose: str, time: Any = None, **options: Any) -> xr.Dataset:
    """Return the calibration that serves a purpose as a Dataset.

    Parameters
    ----------
    purpose, time, **options
        As for `find`, which also lists the errors.

    Returns
    -------
    xarray.Dataset
        Of the kind of the file (``aperture``, ``alignment``, ``detector_table``, ...); which file it is says
        ``attrs["calibration_file"]``, JSON.

    Examples
    --------
    >>> import batx, tempfile
    >>> try:
    ...     mask = load("aperture", 6e8, cache=tempfile.mkdtemp(), download=False)
    ... except batx.BatxError as error:
    ...     mask = None
    """
    return find(purpose, time, **options).open()


def served(purpose: str, time: Any = None, **options: Any) -> xr.Dataset | None:
    """Return what `load` does, `None` where nothing is found; for what works without as well.

    Parameters
    ----------
    purpose, time, **options
        As for `find`.

    Warns
    -----
    BatxWarning
        If a server could not be connected to.
    """
    try:
        return find(purpose, time, **options).open()
    except CalibrationError:
        return None


def clock(time: Any = None, **options: Any) -> ClockFile:
    """Return the corrections of the spacecraft clock, to be given as `utcf` to the functions of `batx.met`.

    Parameters
    ----------
    time, **options
        As for `find`. Without a time the newest file serves, which covers the most.

    Raises
    ------
    CalibrationError
        If there is none.

    Examples
    --------
    >>> import batx, tempfile
    >>> try:
    ...     batx.met.met_to_utc(6e8, utcf=clock(cache=tempfile.mkdtemp(), download=False))
    ... except batx.BatxError as error:
    ...     print(type(error).__name__)
    CalibrationError
    """
    return read_clock(find("clock", time, **options).path)


def fetch(
    purposes: str | Iterable[str] | None = None,
    time: Any = None,
    *,
    caldb: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    **boundary: Any,
) -> list[CalibrationFile]:
    """Return calibration files after they have been put into the cache, where they are found from then on.

    Servers that did not answer a moment ago are asked again. Files that are there are not fetched again; what
    arrives is checked against the checksums that FITS files carry, and its SHA-256 is kept. Several processes
    may do this at a time.

    Parameters
    ----------
    purposes
        One or several names; all by default.
    time
        As for `find`; fetch once for each period that you work on.
    caldb
        URL of a database; ``$CALDB`` if that is one, else HEASARC.
    cache, limits, **boundary
        As for `find`.

    Raises
    ------
    CalibrationError
        If one of those named cannot be had. Of all (no `purposes`), those that cannot are left out, unless
        none can.
    """
    names = [purposes] if isinstance(purposes, str) else list(PURPOSES if purposes is None else purposes)
    made, failed = [], []
    settings = {"caldb": caldb, "cache": cache, "limits": limits or _PATIENT, **boundary}
    ask_again()
    for name in names:
        purpose_named(name)
        try:
            made.append(find(name, time, download=True, **settings))
        except CalibrationError as error:
            if purposes is not None:
                raise
            failed.append(error)
    if failed and not made:
        raise failed[0]
    return made


def listing(time: Any = None, **options: Any) -> Iterator[tuple[str, str, CalibrationFile | None]]:
    """Yield name, what it is, and the file that would serve (`None`: none found), of every purpose.

    Nothing is downloaded unless ``download`` is given.

    Parameters
    ----------
    time, **options
        As for `find`.

    Examples
    --------
    >>> import tempfile
    >>> empty = tempfile.mkdtemp()
    >>> next(listing(caldb=empty, cache=empty))
    ('aperture', 'coded mask, for fluxes', None)
    """
    settings = {"download": False, **options}
    for purpose in PURPOSES.values():
        try:
            file = find(purpose.name, time, **settings)
        except CalibrationError:
            file = None
        yield purpose.name, purpose.text, file


def unindexed(instrument: str = "BAT") -> Path | None:
    """Return the folder of an instrument in ``$CALDB`` where that has no index, as a folder of plain files.

    Parameters
    ----------
    instrument
        INSTRUME of CALDB.
    """
    for database in databases(download=False):
        if not database.label.startswith("$CALDB"):
            continue
        branch = database.branch("SWIFT", instrument)
        folder = database.folder / branch.folder
        if folder.is_dir() and not (database.folder / branch.index).is_file():
            return folder
    return None
