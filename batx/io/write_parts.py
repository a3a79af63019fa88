"""An event file from events that come in parts, for more of them than memory holds."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.io.atomic import atomic_path
from batx.io.write_products import events_hdus
from batx.io.write_table import settled

__all__ = ["event_parts_to_fits"]

#: size of the records of a FITS file, bytes
_BLOCK = 2880
#: events that are converted at a time
_AT_ONCE = 1_000_000


def event_parts_to_fits(
    parts: Iterable[xr.Dataset], path: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Write one event file from events in parts, one after the other in time, with one part in memory.

    Parameters
    ----------
    parts
        Datasets of kind events with the same variables. Keywords are those of the first, and its good time is
        taken to last from its ``attrs["tstart"]`` to the ``attrs["tstop"]`` of the last part.
    path
        File to write, all of it or nothing; not compressed, and without checksums.
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
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as out:
        whole: xr.Dataset | None = None
        rows = 0
        for part in parts:
            if whole is None:
                whole = part.isel(event=slice(0)).drop_vars(["gti_start", "gti_stop"], errors="ignore")
                out.write(_headers(_until(whole, part), rows))
            whole = _until(whole, part)
            for start in range(0, part.sizes["event"], _AT_ONCE):
                out.write(_rows(part.isel(event=slice(start, start + _AT_ONCE))))
            rows += part.sizes["event"]
        if whole is None:
            raise ValueRangeError(f"{path}: found no parts, expected events to write")
        out.write(bytes(-out.tell() % _BLOCK))
        out.write(_good_time(whole))
        out.seek(0)
        out.write(_headers(whole, rows))
    return Path(path)


def _until(whole: xr.Dataset, part: xr.Dataset) -> xr.Dataset:
    """Return no events, with good time from the start of `whole` to the end of `part`."""
    start, stop = whole.attrs["tstart"], part.attrs["tstop"]
    good = {"gti_start": ("gti", np.array([start])), "gti_stop": ("gti", np.array([stop]))}
    return whole.assign(good).assign_attrs(tstop=stop, ontime=stop - start, exposure=stop - start)


def _headers(whole: xr.Dataset, rows: int) -> bytes:
    """Return the headers before `rows` events: as long for any number of them."""
    primary, table, _ = settled(events_hdus(whole))
    table.header["NAXIS2"] = rows
    text: str = primary.header.tostring() + table.header.tostring()
    return text.encode("ascii")


def _rows(part: xr.Dataset) -> Any:
    """Return events as they are stored, big-endian."""
    return settled(events_hdus(part))["EVENTS"].data.view(np.ndarray).data


def _good_time(whole: xr.Dataset) -> bytes:
    from astropy.io import fits

    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), events_hdus(whole)[1]]).writeto(out)
    return out.getvalue()[_BLOCK:]
