"""Arrays to FITS binary tables."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import SchemaError
from batx.io.write_header import add_history, make_header, primary_header
from batx.schema import KINDS, identify

__all__ = [
    "SUM_COMMENT",
    "Col",
    "column_name",
    "columns_along",
    "stored_values",
    "summed",
    "table_hdu",
    "variable_column",
]

_CODES = {
    "f8": "D",
    "f4": "E",
    "f2": "E",
    "i8": "K",
    "i4": "J",
    "i2": "I",
    "u1": "B",
    "b1": "L",
    "c8": "C",
    "c16": "M",
    # FITS has no other integers: these are stored with an offset (FITS standard, table 19)
    "i1": "B",
    "u2": "I",
    "u4": "J",
    "u8": "K",
}
_OFFSETS = {"i1": -(2**7), "u2": 2**15, "u4": 2**31, "u8": 2**63}


#: comment of CHECKSUM and DATASUM
SUM_COMMENT = "FITS standard 4.0, section 4.4.2.7"


@dataclass(frozen=True)
class Col:
    """A column: rows along the first axis of `array`; `form` replaces the format that the dtype suggests.

    Text is at least `least` characters wide.
    """

    name: str
    array: np.ndarray
    unit: str | None = None
    comment: str = ""
    form: str | None = None
    least: int = 1


def column_name(ds: xr.Dataset, name: str) -> str:
    """Return the name of the column of a variable.

    It is that of the file it came from, else that of the data model, else the variable's own in capitals.
    """
    kind = identify(ds)
    spec = KINDS[kind].by_name.get(name) if kind else None
    usual = spec.fits if spec and spec.fits.isidentifier() else name.upper()
    return str(ds[name].attrs.get("fits_name", usual))


def variable_column(ds: xr.Dataset, name: str, column: str | None = None, dtype: Any = None) -> Col:
    """Return a variable as a column, rows along its first dimension."""
    array = ds[name].values
    return Col(
        column or column_name(ds, name),
        array if dtype is None else array.astype(dtype),
        ds[name].attrs.get("units"),
        str(ds[name].attrs.get("long_name", "")),
    )


def columns_along(ds: xr.Dataset, dim: str, skip: Iterable[str] = (), first: str | None = None) -> list[Col]:
    """Return every variable whose first dimension is `dim` as a column, `first` before all others.

    Left out are bounds, those in `skip`, and elements of a vector column that is there itself: ``FLAGS(1)``.
    """
    left_out = {*skip, *(str(ds[name].attrs.get("bounds")) for name in ds.variables)}
    names = [str(name) for name in ds.variables if ds[name].dims[:1] == (dim,) and name not in left_out]
    columns = [variable_column(ds, name) for name in sorted(names, key=lambda name: name != first)]
    present = {column.name for column in columns}
    return [column for column in columns if column.name.partition("(")[0] not in present - {column.name}]


def table_hdu(
    extname: str,
    columns: Sequence[Col],
    cards: Mapping[str, Any],
    attrs: Mapping[str, Any],
    *,
    drop: Iterable[str] = (),
    keep: Iterable[str] = (),
    history: bool = False,
) -> Any:
    """Return a binary table with the keywords that `cards` and `attrs` stand for.

    Parameters
    ----------
    extname
        Name of the extension.
    columns
        Columns of equal length.
    cards
        Keywords of the product.
    attrs
        Attributes of the Dataset; a keyword with the name of a column is left out.
    drop
        Further keywords that are not carried from `attrs`.
    keep
        Keywords that are carried although most products have their own.
    history
        Whether to write ``attrs["history"]``.

    Raises
    ------
    SchemaError
        If two columns have one name, or a column a type that FITS does not know.
    """
    from astropy.io import fits

    names = [column.name.upper() for column in columns]
    for name in names:
        if names.count(name) > 1:
            raise SchemaError(
                f"table {extname}: found two variables for column {name}; drop or rename one of them"
            )
    header = make_header({"EXTNAME": extname, **cards}, attrs, (*drop, *names), keep)
    if history:
        add_history(header, attrs)
    made = [_fits_column(extname, column) for column in columns]
    hdu = fits.BinTableHDU.from_columns(made, header=header)
    _to_big_endian(hdu.data)
    for number, column in enumerate(columns, 1):
        if column.comment and len(column.name) < 40:
            hdu.header.comments[f"TTYPE{number}"] = column.comment.encode("ascii", "replace").decode()[:45]
    return hdu


def _to_big_endian(data: Any) -> None:
    """Store a table as it will be in the file; astropy itself takes seconds for a row of some MB."""
    stored = data.dtype.newbyteorder(">")
    if data.dtype != stored:
        raw = data.view(np.ndarray)
        for name in data.dtype.names:
            if data.dtype[name] != stored[name]:
                raw[name].byteswap(inplace=True)
        data.dtype = stored


def summed(hdus: Sequence[Any]) -> Any:
    """Return an HDUList as it goes to the file: with CHECKSUM and DATASUM, and a primary unit before a table.

    astropy completes headers and values (heap, scaled values, EXTEND) only as it writes, and the sums have
    to be of these. Left to itself it would also enter the time of writing.
    """
    from astropy.io import fits

    if not isinstance(hdus[0], fits.PrimaryHDU):
        hdus = [fits.PrimaryHDU(header=primary_header(hdus[0].header)), *hdus]
    whole = fits.HDUList(hdus)
    with open(os.devnull, "wb") as nowhere:
        whole.writeto(nowhere, output_verify="exception")
    for hdu in whole:
        hdu.add_checksum(when=SUM_COMMENT)
    return whole


def stored_values(array: np.ndarray) -> np.ndarray:
    """Return what a FITS table holds for `array`: numbers with the offset of their type, T and F for bool."""
    if array.dtype.kind == "b":
        return np.where(array, np.uint8(ord("T")), np.uint8(ord("F")))
    if array.dtype == np.float16:
        return array.astype(np.float32)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype == np.int8:
        return native.view(np.uint8) ^ np.uint8(0x80)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        top = native.dtype.type(1 << (8 * native.dtype.itemsize - 1))
        return (native ^ top).view(native.dtype.str.replace("u", "i"))
    return native


def _fits_column(extname: str, column: Col) -> Any:
    from astropy.io import fits

    array = column.array
    shape = array.shape[1:]
    form, zero = (column.form, None) if column.form else _form(extname, column)
    return fits.Column(
        name=column.name,
        format=form,
        unit=None if column.unit in (None, "", "1") else column.unit,
        array=array.astype(np.float32) if array.dtype == np.float16 else array,
        dim="(" + ",".join(map(str, shape[::-1])) + ")"
        if (len(shape) > 1 or shape == (1,)) and array.dtype.kind != "U"
        else None,
        bzero=zero,
    )


def _form(extname: str, column: Col) -> tuple[str, int | None]:
    dtype = column.array.dtype
    count = math.prod(column.array.shape[1:])
    repeat = str(count) if count != 1 else ""
    if dtype.kind in "USTO":
        return _text_form(extname, column), None
    code = dtype.newbyteorder("=").str[1:]
    if code not in _CODES:
        raise SchemaError(
            f"table {extname}: column {column.name} is of type {dtype}, which FITS does not know"
        )
    return repeat + _CODES[code], _OFFSETS.get(code)


def _text_form(extname: str, column: Col) -> str:
    texts = [str(text) for text in column.array.ravel()]
    if column.array.ndim > 1 or not all(text.isascii() for text in texts):
        raise SchemaError(f"table {extname}: column {column.name} needs one ASCII text a row")
    return f"{max([column.least, 1, *map(len, texts)])}A"
