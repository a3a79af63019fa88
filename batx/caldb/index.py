"""The tables of the calibration database: ``caldb.config`` and ``caldb.indx``, and the choice of a file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from batx.caldb.boundaries import Boundary, matches, parse_boundaries
from batx.errors import FileFormatError

__all__ = ["CONFIG", "Branch", "Entry", "choose", "default_branch", "read_config", "read_index"]

#: where the table of the branches is below the root
CONFIG = "software/tools/caldb.config"
_INDEX = "caldb.indx"
#: folders of branches that are not named as their instrument
_FOLDERS = {("SWIFT", "SC"): "data/swift/mis", ("SWIFT", "UVOTA"): "data/swift/uvota"}
_CBD = 70
#: MJD of entries that do not say from when on they hold: from ever
_EVER = -np.inf


@dataclass(frozen=True)
class Branch:
    """Where the index of an instrument is, relative to the root, with ``/``."""

    telescope: str
    instrument: str
    index: str

    @property
    def folder(self) -> str:
        """Folder of the branch."""
        return str(PurePosixPath(self.index).parent)


@dataclass(frozen=True)
class Entry:
    """One row of ``caldb.indx``: an HDU of a calibration file, and what it holds for.

    Attributes
    ----------
    name
        Path below the root, with ``/``.
    extension
        Number of the HDU.
    codename, telescope, instrument, detector, filter, description
        CAL_CNAM, TELESCOP, INSTRUME, DETNAM, FILTER, CAL_DESC, in capitals but for the last.
    boundaries
        CAL_CBD.
    start
        UTC from which it holds, MJD.
    quality
        0 for good.
    date
        When it was entered, yyyy-mm-dd.
    """

    name: str
    extension: int
    codename: str
    telescope: str = ""
    instrument: str = ""
    detector: str = ""
    filter: str = ""
    boundaries: Mapping[str, Boundary] = field(default_factory=dict)
    start: float = _EVER
    quality: int = 0
    date: str = ""
    description: str = ""


def default_branch(telescope: str, instrument: str) -> Branch:
    """Return the branch of an instrument in a database without ``caldb.config``.

    Examples
    --------
    >>> default_branch("SWIFT", "BAT").index
    'data/swift/bat/caldb.indx'
    """
    key = telescope.upper(), instrument.upper()
    folder = _FOLDERS.get(key, f"data/{telescope.lower()}/{instrument.lower()}")
    return Branch(*key, f"{folder}/{_INDEX}")


def read_config(text: str) -> list[Branch]:
    """Return the branches that ``caldb.config`` lists.

    A line has the telescope, the instrument, then device, folder and name of the index, then device and
    folder of the data; ``#`` begins a comment. The device is the environment variable CALDB.

    Examples
    --------
    >>> read_config("SWIFT BAT CALDB data/swift/bat caldb.indx CALDB data/swift/bat")[0].index
    'data/swift/bat/caldb.indx'
    """
    made = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 5:
            continue
        telescope, instrument, _, folder, name = words[:5]
        path = _inside(folder, name)
        if path is not None:
            made.append(Branch(telescope.upper(), instrument.upper(), path))
    return made


def _inside(folder: str, name: str) -> str | None:
    """Return a path below the root, `None` for one that would leave it."""
    path = PurePosixPath(folder.replace("\\", "/").strip() or ".", name.replace("\\", "/").strip())
    odd = path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", str(path))
    return None if odd or str(path) == "." or "\0" in str(path) else str(path)


def read_index(content: bytes, where: str) -> list[Entry]:
    """Return the rows of ``caldb.indx`` that are files.

    Left out are those whose path would leave the database, and those that are programs (CAL_DTYP is TASK).

    Parameters
    ----------
    content
        The file, may be gzipped.
    where
        Its name, for messages.

    Raises
    ------
    FileFormatError
        If it is no FITS file with the columns of an index (CAL/GEN/92-008).
    """
    from astropy.io import fits

    try:
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            table = next(
                (hdu for hdu in hdus if "CAL_CNAM" in getattr(hdu, "columns", fits.ColDefs([])).names), None
            )
            if table is None:
                raise FileFormatError(f"{where}: found no table with CAL_CNAM, expected the index of a CALDB")
            columns = {name.upper(): table.data[name] for name in table.columns.names}
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise FileFormatError(f"{where}: expected the index of a CALDB, a FITS table; {error}") from error
    if "CAL_FILE" not in columns:
        raise FileFormatError(f"{where}: found no column CAL_FILE, expected the index of a CALDB")
    return _rows(columns)


def _rows(columns: Mapping[str, Any]) -> list[Entry]:
    count = len(columns["CAL_FILE"])

    def texts(name: str) -> list[str]:
        if name not in columns:
            return [""] * count
        return [_text(value) for value in columns[name]]

    def numbers(name: str, default: float) -> list[float]:
        return [float(value) for value in columns[name]] if name in columns else [default] * count

    made = []
    conditions = columns.get("CAL_CBD", [""] * count)
    places = zip(texts("CAL_DIR"), texts("CAL_FILE"), texts("CAL_DTYP"), strict=True)
    for row, (folder, file, kind) in enumerate(places):
        path = _inside(folder, file)
        if path is None or not file or kind.upper() == "TASK":
            continue
        made.append((path, row, parse_boundaries(_conditions(conditions[row]))))
    names, quality, extension = texts("CAL_CNAM"), numbers("CAL_QUAL", 0), numbers("CAL_XNO", 0)
    starts = _starts(texts("CAL_VSD"), texts("CAL_VST"), numbers("REF_TIME", np.nan))
    other = {
        name: texts(name) for name in ("TELESCOP", "INSTRUME", "DETNAM", "FILTER", "CAL_DATE", "CAL_DESC")
    }
    return [
        Entry(
            name=path,
            extension=int(extension[row]),
            codename=names[row].upper(),
            telescope=other["TELESCOP"][row].upper(),
            instrument=other["INSTRUME"][row].upper(),
            detector=other["DETNAM"][row].upper(),
            filter=other["FILTER"][row].upper(),
            boundaries=bounds,
            start=starts[row],
            quality=int(quality[row]),
            date=other["CAL_DATE"][row],
            description=other["CAL_DESC"][row],
        )
        for path, row, bounds in made
    ]


def _text(value: Any) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ").strip()


def _conditions(value: Any) -> list[str]:
    """Return the conditions of one row: an array of texts, or one text in pieces of 70 characters."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return [_text(item) for item in np.ravel(np.asarray(value, dtype=object))]
    whole = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return [whole[start : start + _CBD].strip("\0 ") for start in range(0, len(whole), _CBD)]


def _starts(days: Sequence[str], clocks: Sequence[str], reference: Sequence[float]) -> list[float]:
    """Return MJD from the day and time of validity; REF_TIME where they say nothing."""
    made = []
    for day, clock, other in zip(days, clocks, reference, strict=True):
        found = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", day) or re.fullmatch(r"(\d{2})/(\d{2})/(\d{2})", day)
        if found is None:
            made.append(other if np.isfinite(other) else _EVER)
            continue
        parts = [int(part) for part in found.groups()]
        if "/" in day:
            parts = [1900 + parts[2], parts[1], parts[0]]
        try:
            stamp = np.datetime64(f"{parts[0]:04d}-{parts[1]:02d}-{parts[2]:02d}", "D")
        except ValueError:
            made.append(other if np.isfinite(other) else _EVER)
            continue
        hms = re.fullmatch(r"(\d{1,2}):(\d{2}):(\d{2}(?:\.\d*)?)", clock)
        seconds = 0.0 if hms is None else int(hms[1]) * 3600 + int(hms[2]) * 60 + float(hms[3])
        made.append(float((stamp - np.datetime64("1858-11-17")).astype(int)) + seconds / 86400)
    return made


def choose(
    entries: Iterable[Entry],
    codename: str,
    mjd: float | None,
    wanted: Mapping[str, Any],
    *,
    instrument: str = "",
    detector: str = "",
    filter: str = "",
    quality: int = 0,
) -> list[Entry]:
    """Return the entries that serve, the best first.

    Good are those of the code name (and instrument, detector and filter, where both sides say one) with no
    worse quality, whose boundaries cover what is wanted, and which hold from a time not after `mjd`. The one
    that holds from latest on is best; of several, the one entered last, then the one last in the index.

    Parameters
    ----------
    entries
        Rows of an index.
    codename
        CAL_CNAM.
    mjd
        UTC; without it the newest serves.
    wanted
        As for `batx.caldb.boundaries.matches`.
    instrument, detector, filter
        INSTRUME, DETNAM and FILTER; blank does not matter.
    quality
        Worst CAL_QUAL that is accepted.
    """
    nothing = ("", "-", "NONE", "ANY")

    def same(mine: str, asked: str) -> bool:
        return mine.upper() in nothing or asked.upper() in nothing or mine.upper() == asked.upper()

    good = [
        (entry.start, entry.date, row, entry)
        for row, entry in enumerate(entries)
        if entry.codename == codename.upper()
        and entry.quality <= quality
        and (mjd is None or entry.start <= mjd)
        and same(entry.instrument, instrument)
        and same(entry.detector, detector)
        and same(entry.filter, filter)
        and matches(entry.boundaries, wanted)
    ]
    return [item[-1] for item in sorted(good, key=lambda item: item[:3], reverse=True)]
