"""FITS structure: where each header, column and image of a file lies, without reading the data.

Layout after the FITS standard 4.0 (Pence et al. 2010, A&A 524, A42): sections 4.4 (sizes), 5 (data), 7
(tables).
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from batx.errors import FileFormatError, MissingVariableError
from batx.io.lazy import RAW_TYPES, LazyArray, StridedArray, TextTableArray, VariableLengthArray
from batx.io.source import Source

__all__ = ["Column", "Hdu", "lazy_variable", "read_hdus"]

_RECORD = 2880
_TFORM = re.compile(r"\s*(\d*)\s*([LXBIJKAEDCMPQ])(.*)")
_TEXT_FORM = re.compile(r"\s*([AIFED])(\d+)(?:\.\d+)?")
_IMAGE_RAW = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_CHUNK_ROWS = 2**20
_CHUNK_BYTES = 2**25


class Header(dict[str, Any]):
    """The keywords of a header; `cards` holds them as written, `history` the HISTORY lines.

    A malformed card is left out: what it would have said is then absent.
    """

    def __init__(self, text: str) -> None:
        from astropy.io.fits import Header as Cards
        from astropy.io.fits import VerifyError
        from astropy.io.fits.card import Undefined

        super().__init__()
        self.history: list[str] = []
        self.cards: dict[str, str] = {}
        for card in Cards.fromstring(text).cards:
            try:
                key, value, image = card.keyword, card.value, str(card)
            except (VerifyError, ValueError):
                continue
            if key == "HISTORY":
                self.history.append(str(value))
            elif key not in ("COMMENT", "", "END") and not isinstance(value, Undefined) and value is not None:
                self[key] = value
                self.cards[key] = image.rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _header_again, (dict(self), self.history, self.cards)

    def integer(self, key: str, default: int) -> int:
        """Return a count; raise `FileFormatError` where the keyword is something else."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
            raise FileFormatError(f"found {key} = {value!r} in a FITS header, expected a count")
        return int(value)


def _header_again(values: dict[str, Any], history: list[str], cards: dict[str, str]) -> Header:
    header = Header("")
    header.update(values)
    header.history, header.cards = history, cards
    return header


@dataclass(frozen=True)
class Column:
    """One column of a table: its place in a row and how its numbers are stored."""

    name: str
    number: int
    code: str
    shape: tuple[int, ...]
    raw: str
    offset: int
    unit: str | None
    scale: float
    zero: float
    null: int | None
    width: int = 0
    element: str = ""

    @property
    def scaled(self) -> bool:
        """Whether a stored number differs from its value."""
        return self.scale != 1 or self.zero != 0


class Hdu:
    """One header and the place of its data; `columns` and `array` give lazy access to them."""

    def __init__(self, source: Source, index: int, header: Header, start: int) -> None:
        self.source = source
        self.index = index
        self.header = header
        self.start = start

    @cached_property
    def name(self) -> str:
        """EXTNAME, upper case; empty if there is none."""
        return str(self.header.get("EXTNAME", "")).strip().upper()

    @property
    def label(self) -> str:
        """Name for messages."""
        return f"{self.source.path} HDU {self.index}" + (f" ({self.name})" if self.name else "")

    @cached_property
    def type(self) -> str:
        """``"image"``, ``"table"`` (binary), ``"text"`` (ASCII table) or ``"empty"``."""
        extension = str(self.header.get("XTENSION", "IMAGE")).strip().upper()
        if extension in ("BINTABLE", "A3DTABLE"):
            return "table"
        if extension == "TABLE":
            return "text"
        return "image" if 0 not in (self.shape or (0,)) else "empty"

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Axes of the data, slowest first."""
        return tuple(_length(self, f"NAXIS{i}") for i in range(_length(self, "NAXIS"), 0, -1))

    @property
    def rows(self) -> int:
        """Number of rows of a table."""
        return self.shape[0]

    @property
    def data_bytes(self) -> int:
        """Length of the data (with the heap of a table), without padding."""
        if not self.shape:
            return 0
        axes = self.shape
        if self.header.get("GROUPS") and axes[-1] == 0:
            axes = axes[:-1]
        header = self.header
        count = header.integer("GCOUNT", 1) * (header.integer("PCOUNT", 0) + math.prod(axes))
        return abs(_length(self, "BITPIX")) // 8 * count

    @property
    def end(self) -> int:
        """Where the next header starts."""
        return self.start + -(-self.data_bytes // _RECORD) * _RECORD

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Columns by upper-case name, in file order; a name that repeats gets its number added."""
        found: dict[str, Column] = {}
        offset = 0
        for number in range(1, self.header.integer("TFIELDS", 0) + 1):
            column = _text_column(self, number) if self.type == "text" else _column(self, number, offset)
            name = column.name if column.name not in found else f"{column.name}_{number}"
            found[name] = column
            offset = max(offset, column.offset + column.width)
        if offset > (self.shape[-1] if self.shape else 0):
            raise FileFormatError(
                f"{self.label}: the columns take {offset} bytes a row, NAXIS1 says "
                f"{self.shape[-1]}; the header is wrong"
            )
        return found

    def column(self, name: str) -> Column:
        """Return a column by name, whatever its case; raise `MissingVariableError` if there is none."""
        try:
            return self.columns[name.upper()]
        except KeyError:
            raise MissingVariableError(
                f"{self.label}: found columns {', '.join(self.columns)}, expected {name.upper()}"
            ) from None

    def array(
        self,
        name: str | None = None,
        *,
        dtype: Any = None,
        element: int | None = None,
        order: tuple[int, ...] | None = None,
        factor: float = 1.0,
        shift: float = 0.0,
    ) -> LazyArray:
        """Return a column, or the image where `name` is not given, as a lazy native array.

        Parameters
        ----------
        name
            Column name.
        dtype
            Type of the values; floating turns TNULL and BLANK into NaN. By default that of the scaled values.
        element
            Which element of a vector column.
        order
            Permutation of the axes.
        factor, shift
            The values are multiplied and shifted by these, after the scaling of the file.
        """
        if name is None:
            column = _image_column(self)
            strides = _contiguous(column.shape, column.raw)
            shape = column.shape
        else:
            column = self.column(name)
            if column.code in "PQ":
                heap = self.start + self.header.integer("THEAP", math.prod(self.shape))
                return VariableLengthArray(self.source, self.start, self.rows, self.shape[-1], heap, column)
            if self.type == "text":
                return TextTableArray(self.source, self.start, self.rows, self.shape[-1], column)
            strides = (self.shape[-1], *_contiguous(column.shape, column.raw))
            shape = (self.rows, *column.shape)
        return StridedArray(
            self.source,
            self.start + column.offset,
            shape,
            strides,
            column,
            dtype=dtype,
            element=element,
            order=order,
            factor=factor,
            shift=shift,
        )

    def values(self, name: str, **options: Any) -> np.ndarray:
        """Return a column read into memory."""
        return self.array(name, **options).read()

    @property
    def chunk_rows(self) -> int | None:
        """Rows of a sensible chunk, `None` for a table that is small enough for one."""
        if self.type == "image" or not self.rows:
            return None
        rows = min(_CHUNK_ROWS, max(1, _CHUNK_BYTES // max(1, self.shape[-1])))
        return rows if self.rows > rows else None


def lazy_variable(
    dims: tuple[str, ...], array: LazyArray, attrs: dict | None = None, **chunks: int
) -> xr.Variable:
    """Return a Variable that reads `array` when its values are asked for; `chunks` are the preferred ones."""
    encoding = {"preferred_chunks": chunks} if chunks else None
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attrs, encoding)


def read_hdus(path: str | os.PathLike[str]) -> list[Hdu]:
    """Return every header and data unit of a FITS file; the data are not read.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is not FITS, is cut short, or a header is malformed.
    """
    source = Source.of(path)
    buffer = source.buffer
    if bytes(buffer[:9]) != b"SIMPLE  =":
        raise FileFormatError(
            f"{source.path}: found {bytes(buffer[:9])!r} at the start, expected the FITS keyword SIMPLE; "
            "this is not FITS"
        )
    hdus: list[Hdu] = []
    position = 0
    while position < len(buffer) and (not hdus or bytes(buffer[position : position + 9]) == b"XTENSION="):
        header, start = _read_header(source, position)
        hdu = Hdu(source, len(hdus), header, start)
        if start + hdu.data_bytes > len(buffer):
            raise FileFormatError(
                f"{hdu.label}: found {max(0, len(buffer) - start)} bytes of data, expected {hdu.data_bytes}; "
                "the file is cut short, fetch it again"
            )
        hdus.append(hdu)
        position = hdu.end
    return hdus


def _read_header(source: Source, position: int) -> tuple[Header, int]:
    buffer = source.buffer
    stop = position
    while True:
        record = bytes(buffer[stop : stop + _RECORD])
        if len(record) < _RECORD:
            raise FileFormatError(
                f"{source.path}: a header has no END card; the file is cut short, fetch it again"
            )
        stop += _RECORD
        cards = (record[i : i + 80] for i in range(0, _RECORD, 80))
        if any(card.rstrip() == b"END" for card in cards):
            break
    return Header(bytes(buffer[position:stop]).decode("latin-1")), stop


def _length(hdu: Hdu, key: str) -> int:
    value: Any = hdu.header.get(key)
    count = isinstance(value, int) and not isinstance(value, bool)
    if not count or (key != "BITPIX" and value < 0):
        raise FileFormatError(f"{hdu.source.path} HDU {hdu.index}: found {key} = {value!r}, expected a count")
    return int(value)


def _contiguous(shape: tuple[int, ...], raw: str) -> tuple[int, ...]:
    size = np.dtype(raw).itemsize
    return tuple(size * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _number(header: Header, key: str, default: float) -> float:
    try:
        return float(header.get(key, default))
    except (TypeError, ValueError):
        return default


def _null(header: Header, key: str) -> int | None:
    value = header.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _column(hdu: Hdu, number: int, offset: int) -> Column:
    header = hdu.header
    form = str(header.get(f"TFORM{number}", ""))
    match = _TFORM.match(form)
    if match is None:
        raise FileFormatError(f"{hdu.label}: TFORM{number} is {form!r}, which is no FITS column format")
    repeat = int(match[1] or 1)
    code = match[2]
    element = ""
    if code in "PQ":
        shape: tuple[int, ...] = (2,)
        element = match[3].strip()[:1]
        raw, width = RAW_TYPES[code], 2 * (4 if code == "P" else 8) * min(repeat, 1)
    elif code == "A":
        shape, raw, width = _text_shape(header, number, repeat, match[3])
    elif code == "X":
        shape, raw, width = (-(-repeat // 8),), "u1", -(-repeat // 8)
        element = str(repeat)
    else:
        shape, raw = () if repeat == 1 else (repeat,), RAW_TYPES[code]
        width = repeat * np.dtype(raw).itemsize
        shape = _tdim(header, number, repeat) or shape
    return Column(
        name=str(header.get(f"TTYPE{number}", f"COL{number}")).strip().upper(),
        number=number,
        code=code,
        shape=shape,
        raw=raw,
        offset=offset,
        unit=_unit(header, number),
        scale=_number(header, f"TSCAL{number}", 1.0) if code not in "LXA" else 1.0,
        zero=_number(header, f"TZERO{number}", 0.0) if code not in "LXA" else 0.0,
        null=_null(header, f"TNULL{number}") if code in "BIJKPQ" else None,
        width=width,
        element=element,
    )


def _unit(header: Header, number: int) -> str | None:
    unit = header.get(f"TUNIT{number}")
    return str(unit).strip() or None if unit is not None else None


def _tdim(header: Header, number: int, repeat: int) -> tuple[int, ...] | None:
    """Return the axes of TDIM, slowest first; `None` if it is absent or does not describe the column."""
    axes = tuple(int(n) for n in re.findall(r"\d+", str(header.get(f"TDIM{number}", ""))))[::-1]
    return axes if axes and math.prod(axes) == repeat else None


def _text_shape(header: Header, number: int, repeat: int, rest: str) -> tuple[tuple[int, ...], str, int]:
    axes = _tdim(header, number, repeat)
    width = int(re.match(r"\d*", rest.strip())[0] or 0)  # type: ignore[index]
    if axes and len(axes) > 1:
        return axes[:-1], f"S{axes[-1]}", repeat
    if 0 < width < repeat:
        return (repeat // width,), f"S{width}", repeat
    return (), f"S{max(repeat, 1)}", repeat


def _text_column(hdu: Hdu, number: int) -> Column:
    header = hdu.header
    match = _TEXT_FORM.match(str(header.get(f"TFORM{number}", "")))
    if match is None:
        raise FileFormatError(f"{hdu.label}: TFORM{number} is no ASCII-table format")
    width = int(match[2])
    return Column(
        name=str(header.get(f"TTYPE{number}", f"COL{number}")).strip().upper(),
        number=number,
        code={"F": "D", "E": "D", "I": "K"}.get(match[1], match[1]),
        shape=(),
        raw=f"S{width}",
        offset=_length(hdu, f"TBCOL{number}") - 1,
        unit=_unit(header, number),
        scale=_number(header, f"TSCAL{number}", 1.0),
        zero=_number(header, f"TZERO{number}", 0.0),
        null=None,
        width=width,
    )


def _image_column(hdu: Hdu) -> Column:
    bitpix = _length(hdu, "BITPIX")
    if bitpix not in _IMAGE_RAW:
        raise FileFormatError(f"{hdu.label}: BITPIX is {bitpix}, expected one of {sorted(_IMAGE_RAW)}")
    return Column(
        name="IMAGE",
        number=0,
        code={8: "B", 16: "I", 32: "J", 64: "K", -32: "E", -64: "D"}[bitpix],
        shape=hdu.shape,
        raw=_IMAGE_RAW[bitpix],
        offset=0,
        unit=str(hdu.header.get("BUNIT", "")).strip() or None,
        scale=_number(hdu.header, "BSCALE", 1.0),
        zero=_number(hdu.header, "BZERO", 0.0),
        null=_null(hdu.header, "BLANK") if bitpix > 0 else None,
    )
