"""Event files written a block of rows at a time, so that events larger than memory can be written.

A table of the FITS standard 4.0 (section 7.3) is its rows one after the other, most significant byte first.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.io.write_products import events_hdus
from batx.io.write_table import Col, columns_along, stored_values

__all__ = ["can_stream", "write_events"]

_RECORD = 2880
_ROWS = 2**20


def can_stream(ds: xr.Dataset) -> bool:
    """Whether the width of every column is known before its values are: text has none."""
    return all(ds[name].dtype.kind in "biufc" for name in ds.variables if ds[name].dims[:1] == ("event",))


def write_events(ds: xr.Dataset, path: Path) -> None:
    """Write events, reading `_ROWS` of them at a time; the sums of the file are entered at the end."""
    from astropy.io import fits

    from batx.io.write_header import primary_header

    table, *others = events_hdus(ds.isel(event=slice(0, 0)))
    primary = _bytes(fits.PrimaryHDU(header=primary_header(table.header)), table)
    header = table.header
    header["NAXIS2"] = ds.sizes["event"]
    header["CHECKSUM"] = ("0" * 16, "sum of the unit")
    header["DATASUM"] = ("0" * 10, "sum of the data")
    with path.open("wb") as file:
        file.write(primary[: primary.index(b"XTENSION")])
        file.write(header.tostring().encode("ascii"))
        written = 0
        for start in range(0, ds.sizes["event"], _ROWS):
            block = ds.isel(event=slice(start, start + _ROWS))
            written += file.write(_rows(columns_along(block, "event", first="time")).tobytes())
        file.write(bytes(-written % _RECORD))
        for hdu in others:
            file.write(_bytes(fits.PrimaryHDU(), hdu)[_RECORD:])
    with fits.open(path, mode="update", memmap=True) as written_file:
        written_file["EVENTS"].add_checksum()


def _bytes(*hdus: Any) -> bytes:
    """Return whole units as they are in a file."""
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer, checksum=True, output_verify="exception")
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
