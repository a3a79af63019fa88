"""Event files written a block of rows at a time, so that events larger than memory can be written.

A table of the FITS standard 4.0 (section 7.3) is its rows one after the other, most significant byte first.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.io.atomic import atomic_path
from batx.io.write_products import events_hdus
from batx.io.write_table import SUM_COMMENT, Col, columns_along, stored_values, summed

__all__ = ["can_stream", "event_parts_to_fits", "write_events"]

_RECORD = 2880
_ROWS = 2**20


def can_stream(ds: xr.Dataset) -> bool:
    """Whether the width of every column is known before its values are: text has none."""
    return all(ds[name].dtype.kind in "biufc" for name in ds.variables if ds[name].dims[:1] == ("event",))


def write_events(ds: xr.Dataset, path: Path) -> None:
    """Write events, reading `_ROWS` of them at a time."""
    empty = ds.isel(event=slice(0, 0)).load()
    _write(_blocks(ds), lambda: empty, path)


def event_parts_to_fits(
    parts: Iterable[xr.Dataset], path: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Write one event file from events in parts, one after the other in time, with one part in memory.

    Parameters
    ----------
    parts
        Datasets of kind events with the same numeric variables. Keywords are those of the first, and good
        time is taken to last from its ``attrs["tstart"]`` to the ``attrs["tstop"]`` of the last part.
    path
        File to write, all of it or nothing.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueRangeError
        If there are no parts.
    WriteError
        If the file exists and `overwrite` is false, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> parts = (
    ...     build("events", {"time": [t, t + 1.0], "energy": [20.0, 30.0]}, {"tstart": t, "tstop": t + 2.0})
    ...     for t in (0.0, 2.0)
    ... )
    >>> path = event_parts_to_fits(parts, Path(tempfile.mkdtemp()) / "events.fits")
    >>> from astropy.io import fits
    >>> fits.getdata(path, "EVENTS")["TIME"].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    rest = iter(parts)
    first = next(rest, None)
    if first is None:
        raise ValueRangeError(f"{path}: found no parts, expected events to write")
    empty = first.isel(event=slice(0, 0)).drop_vars(["gti_start", "gti_stop"], errors="ignore").load()
    start = stop = float(first.attrs["tstart"])

    def blocks() -> Iterator[xr.Dataset]:
        nonlocal stop
        for part in chain([first], rest):
            stop = float(part.attrs["tstop"])
            yield from _blocks(part)

    def described() -> xr.Dataset:
        good = {"gti_start": ("gti", np.array([start])), "gti_stop": ("gti", np.array([stop]))}
        return empty.assign(good).assign_attrs(tstop=stop, ontime=stop - start, exposure=stop - start)

    with atomic_path(path, overwrite=overwrite) as temporary:
        _write(blocks(), described, temporary)
    return Path(path)


def _blocks(ds: xr.Dataset) -> Iterator[xr.Dataset]:
    for start in range(0, ds.sizes["event"], _ROWS):
        yield ds.isel(event=slice(start, start + _ROWS))


def _write(blocks: Iterable[xr.Dataset], described: Callable[[], xr.Dataset], path: Path) -> None:
    """Write blocks of events; headers, and the sums of the file, are entered at the end.

    `described` returns no events with the attributes and good time of those that have been written.
    """
    from astropy.io import fits

    rows = written = 0
    with path.open("wb") as file:
        file.write(bytes(len(_headers(described(), 0))))
        for block in blocks:
            written += file.write(_rows(columns_along(block, "event", first="time")).data)
            rows += block.sizes["event"]
        file.write(bytes(-written % _RECORD))
        for hdu in events_hdus(described())[1:]:
            file.write(_bytes(summed([fits.PrimaryHDU(), hdu]))[_RECORD:])
        file.seek(0)
        file.write(_headers(described(), rows))
    with fits.open(path, memmap=True) as whole:
        table = whole["EVENTS"]
        table.add_checksum(when=SUM_COMMENT)
        place, header = table.fileinfo()["hdrLoc"], table.header.tostring()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(header.encode("ascii"))


def _headers(ds: xr.Dataset, rows: int) -> bytes:
    """Return the headers before `rows` events, as long for any number of them."""
    primary, table, *_ = summed(events_hdus(ds))
    table.header["NAXIS2"] = rows
    text: str = primary.header.tostring() + table.header.tostring()
    return text.encode("ascii")


def _bytes(hdus: Any) -> bytes:
    """Return units as they are in a file."""
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    return buffer.getvalue()


def _rows(columns: list[Col]) -> np.ndarray:
    """Return columns as rows in the byte order of FITS."""
    values = {column.name: stored_values(column.array) for column in columns}
    rows = np.empty(
        len(columns[0].array),
        dtype=[(name, array.dtype.newbyteorder(">"), array.shape[1:]) for name, array in values.items()],
    )
    for name, array in values.items():
        rows[name] = array
    return rows
