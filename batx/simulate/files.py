"""FITS files of a simulated observation, of the same form as the archive's."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from batx.io.atomic import atomic_path
from batx.met import met_to_utc

__all__ = ["cards_of", "event_stream", "event_table", "gti_table", "image_file", "table", "table_file"]

_MJD_ZERO = (51910, 0.00074287037)

#: size of the records of a FITS file, bytes
_BLOCK = 2880


def cards_of(attrs: Mapping[str, Any], instrument: str = "BAT") -> fits.Header:
    """Return the keywords that every HDU of an observation carries, from the attributes of its events."""
    header = fits.Header()
    obs_id = str(attrs["obs_id"])
    header["TELESCOP"], header["INSTRUME"], header["OBS_ID"] = "SWIFT", instrument, obs_id
    header["TARG_ID"], header["SEG_NUM"] = int(obs_id[:-3] or 0), int(obs_id[-3:])
    header["TIMESYS"], header["MJDREFI"], header["MJDREFF"] = "TT", *_MJD_ZERO
    header["TIMEREF"], header["TASSIGN"], header["TIMEUNIT"] = "LOCAL", "SATELLITE", "s"
    header["CLOCKAPP"] = False
    header["TSTART"], header["TSTOP"] = attrs["tstart"], attrs["tstop"]
    for key, met in (("DATE-OBS", attrs["tstart"]), ("DATE-END", attrs["tstop"])):
        header[key] = str(met_to_utc(met, utcf=attrs["utcf"]))[:19]
    header["OBJECT"] = attrs["object"]
    for key in ("ra_obj", "dec_obj", "ra_pnt", "dec_pnt", "pa_pnt"):
        header[key] = attrs[key]
    if attrs.get("trigger_time") is not None:
        header["TRIGTIME"] = attrs["trigger_time"]
    header["ONTIME"], header["EXPOSURE"] = attrs["ontime"], attrs["exposure"]
    header["TELAPSE"] = attrs["tstop"] - attrs["tstart"]
    header["EQUINOX"], header["RADECSYS"], header["UTCFINIT"] = 2000.0, "FK5", attrs["utcf"]
    header["CREATOR"] = "batx.simulate"
    return header


def table(
    name: str,
    columns: Mapping[str, tuple[np.ndarray, str]],
    cards: fits.Header,
    extra: Mapping[str, Any] | None = None,
    bits: Sequence[str] = (),
) -> fits.BinTableHDU:
    """Return a binary table.

    Parameters
    ----------
    name
        EXTNAME.
    columns
        Column name to its array and unit ("" for none); axes after the first become the shape of a cell.
    cards, extra
        Keywords of the observation, and of this table alone.
    bits
        Columns (bool, 8 a row) that are written as bits (8X).
    """
    made = []
    for label, (values, unit) in columns.items():
        array = np.asarray(values)
        cell = array.shape[1:]
        if label in bits:
            form, array, zero = "8X", array.astype(bool), None
        else:
            code = {"f8": "D", "f4": "E", "i8": "K", "i4": "J", "i2": "I", "u1": "B", "b1": "L", "u2": "I"}
            kind = array.dtype.str[1:]
            form = f"{int(np.prod(cell)) if cell else ''}{code[kind]}"
            zero = 32768 if kind == "u2" else None
        dim = f"({','.join(str(n) for n in reversed(cell))})" if len(cell) > 1 else None
        made.append(fits.Column(label, form, unit or None, array=array, dim=dim, bzero=zero))
    hdu = fits.BinTableHDU.from_columns(made, header=cards.copy(), name=name)
    hdu.header.update(extra or {})
    return hdu


def table_file(
    path: Path, hdus: Sequence[fits.BinTableHDU], cards: fits.Header, overwrite: bool, packed: bool = False
) -> Path:
    """Write tables after an empty primary HDU with the keywords of the observation; `packed` adds ``.gz``."""
    return _write(path, [fits.PrimaryHDU(header=cards.copy()), *hdus], overwrite, packed)


def image_file(path: Path, data: np.ndarray | None, extra: Mapping[str, Any], overwrite: bool) -> Path:
    """Write a primary image (or a bare header) with keywords."""
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(extra)
    return _write(path, [hdu], overwrite, packed=False)


def _write(path: Path, hdus: Sequence[Any], overwrite: bool, packed: bool) -> Path:
    """Write atomically; a gzip file stores no time, so that the same content gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.with_name(path.name + ".gz") if packed else path
    with atomic_path(target, overwrite=overwrite) as temporary:
        if packed:
            with (
                temporary.open("wb") as raw,
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=4, mtime=0) as out,
            ):
                fits.HDUList(hdus).writeto(out)
        else:
            fits.HDUList(hdus).writeto(temporary)
    return target


#: column, variable, form and unit
_EVENT_COLUMNS = (
    ("TIME", "time", ">f8", "s"),
    ("DET_ID", "detid", ">i2", None),
    ("EVENT_FLAGS", "event_flags", "u1", None),
    ("PHA", "pha", ">i2", "chan"),
    ("DETX", "detx", ">i2", "pixel"),
    ("DETY", "dety", ">i2", "pixel"),
    ("MASK_WEIGHT", "mask_weight", ">f4", None),
    ("PI", "pi", ">i2", "0.1 keV"),
    ("ENERGY", "energy", ">f4", "keV"),
    ("SIMLABEL", "simlabel", "u1", None),
)


def _event_rows(events: xr.Dataset, label: bool) -> np.ndarray:
    """Return the rows of the table EVENTS, big-endian."""
    columns = _EVENT_COLUMNS if label else _EVENT_COLUMNS[:-1]
    rows = np.empty(events.sizes["event"], dtype=[(name, form) for name, _, form, _ in columns])
    for name, variable, _, _ in columns:
        rows[name] = events[variable].values
    return rows


def event_table(events: xr.Dataset, cards: fits.Header, label: bool = True) -> fits.BinTableHDU:
    """Return the table EVENTS: 27 bytes an event, and one more with the column SIMLABEL."""
    rows = _event_rows(events, label)
    hdu = fits.BinTableHDU(rows, header=cards.copy(), name="EVENTS")
    for number, (_, _, _, unit) in enumerate(_EVENT_COLUMNS[: len(rows.dtype.names or ())], start=1):
        if unit:
            hdu.header.set(f"TUNIT{number}", unit, after=f"TFORM{number}")
    hdu.header.update(
        {
            "DATAMODE": "Event",
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "EVENTS",
            "TIMEDEL": events.attrs["timedel"],
            "TIMEPIXR": events.attrs["timepixr"],
            "GAINAPP": bool(events.attrs["gainapp"]),
            "GAINMETH": events.attrs["gainmeth"],
        }
    )
    return hdu


def gti_table(start: np.ndarray, stop: np.ndarray, cards: fits.Header) -> fits.BinTableHDU:
    """Return the table STDGTI."""
    columns = {"START": (start, "s"), "STOP": (stop, "s")}
    return table("STDGTI", columns, cards, {"HDUCLASS": "OGIP", "HDUCLAS1": "GTI"})


def event_stream(path: Path, parts: Iterable[xr.Dataset], overwrite: bool) -> Path:
    """Write one event file, 27 bytes an event, from events that come in parts, one after the other in time.

    Good time is taken to be all of the time from the start of the first part to the end of the last.
    """
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as out:
        attrs: dict[str, Any] = {}
        number = 0
        for part in parts:
            attrs = attrs or dict(part.attrs)
            attrs["tstop"] = part.attrs["tstop"]
            if number == 0:
                out.write(_event_headers(part, attrs, number))
            rows = _event_rows(part, label=False)
            out.write(rows.data)
            number += len(rows)
        out.write(bytes(-out.tell() % _BLOCK))
        attrs["ontime"] = attrs["exposure"] = attrs["tstop"] - attrs["tstart"]
        cards = cards_of(attrs)
        gti = gti_table(np.array([attrs["tstart"]]), np.array([attrs["tstop"]]), cards)
        whole = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), gti]).writeto(whole)
        out.write(whole.getvalue()[_BLOCK:])
        out.seek(0)
        out.write(_event_headers(part, attrs, number))
    return path


def _event_headers(events: xr.Dataset, attrs: Mapping[str, Any], number: int) -> bytes:
    """Return the headers before `number` events; as long for any number and attributes of the same names."""
    cards = cards_of(attrs)
    empty = event_table(events.isel(event=slice(0)), cards, label=False)
    empty.header["NAXIS2"] = number
    primary = fits.PrimaryHDU(header=cards.copy())
    return str(primary.header.tostring() + empty.header.tostring()).encode("ascii")
