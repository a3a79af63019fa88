"""Arrays that read from a FITS file when they are indexed: what xarray calls backend arrays.

Each one holds a `Source`, a place and a type, so it is small, can be sent to another process, and reads no
more than the rows and elements asked for. What comes out is a native-endian NumPy array.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from batx.errors import FileFormatError
from batx.io.source import Source

if TYPE_CHECKING:
    from batx.io.fits import Column

__all__ = [
    "RAW_TYPES",
    "ComputedArray",
    "LazyArray",
    "StackedArray",
    "StridedArray",
    "TextTableArray",
    "VariableLengthArray",
    "flat_variable_length",
]

#: letter of a binary column -> type of its elements in the file
RAW_TYPES = {
    "L": "u1",
    "X": "u1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">c8",
    "M": ">c16",
    "P": ">i4",
    "Q": ">i8",
}
_SCALE_ROWS = 2**16  # rows converted at a time where a temporary is needed
_THREAD_BYTES = 2**22  # columns larger than this are read by several threads
_FORGET_BYTES = 2**20  # images larger than this do not stay in memory when they have been copied


class LazyArray(BackendArray, ABC):
    """An array with a shape and a type whose values are read by `_take`."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._get
        )

    def _get(self, key: tuple[Any, ...]) -> np.ndarray:
        kept = tuple(
            slice(k % n, k % n + 1) if isinstance(k, (int, np.integer)) else k
            for k, n in zip(key, self.shape, strict=True)
        )
        dropped = tuple(axis for axis, k in enumerate(key) if isinstance(k, (int, np.integer)))
        return self._take(kept).squeeze(axis=dropped) if dropped else self._take(kept)

    @abstractmethod
    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        """Return the values at slices and index arrays, one for each axis."""

    def read(self) -> np.ndarray:
        """Return all values."""
        return self._take(tuple(slice(None) for _ in self.shape))


class StridedArray(LazyArray):
    """A column of a binary table, or an image: records at equal distances in the file."""

    def __init__(
        self,
        source: Source,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        column: Column,
        *,
        dtype: Any = None,
        element: int | None = None,
        order: tuple[int, ...] | None = None,
        factor: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        self.source = source
        self.offset = offset
        self.stored_shape = shape
        self.strides = strides
        self.raw = np.dtype(column.raw)
        self.code = column.code
        self.bits = int(column.element) if column.code == "X" else 0
        self.null = column.null
        self.element = element
        self.order = order
        self.scale = column.scale * factor
        self.zero = column.zero * factor + shift
        self.unsigned = _is_unsigned(column) and factor == 1 and shift == 0
        self.dtype = np.dtype(dtype) if dtype is not None else self._natural_dtype()
        self.shape = self._shape()

    def _natural_dtype(self) -> np.dtype:
        if self.code in "LX":
            return np.dtype(bool)
        if self.code == "A":
            return np.dtype(f"U{self.raw.itemsize}")
        if self.unsigned:
            return np.dtype("i1") if self.code == "B" else np.dtype(f"u{self.raw.itemsize}")
        if self.scale != 1 or self.zero != 0:
            return np.dtype(np.float64)
        return self.raw.newbyteorder("=")

    def _shape(self) -> tuple[int, ...]:
        shape = self.stored_shape
        if self.bits:
            shape = (*shape[:-1], self.bits)
        if self.element is not None:
            shape = shape[:-1]
        return tuple(shape[axis] for axis in self.order) if self.order else shape

    def split_rows(self, length: int) -> StridedArray:
        """Return the same array with its rows on two axes, `length` consecutive rows on the second."""
        other = copy(self)
        step = self.strides[0]
        other.stored_shape = (self.stored_shape[0] // length, length, *self.stored_shape[1:])
        other.strides = (length * step, step, *self.strides[1:])
        other.shape = other._shape()
        return other

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        raw = self._records()
        if self.bits:
            return self._bits(raw, key)
        if self.element is not None:
            raw = raw[..., self.element]
        if self.order:
            raw = raw.transpose(self.order)
        values = self._convert(raw[key])
        if raw.nbytes > _FORGET_BYTES and raw.flags.contiguous:
            self.source.forget(self.offset, raw.nbytes)
        return values

    def _records(self) -> np.ndarray:
        if 0 in self.stored_shape:
            return np.empty(self.stored_shape, self.raw)
        return np.ndarray(
            self.stored_shape, self.raw, buffer=self.source.buffer, offset=self.offset, strides=self.strides
        )

    def _bits(self, raw: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
        bits = np.unpackbits(raw[key[0]], axis=-1)[..., : self.bits].astype(bool)
        if self.element is not None:
            return bits[..., self.element]
        return bits[(slice(None), *key[1:])]

    def _convert(self, raw: np.ndarray) -> np.ndarray:
        if self.code == "L":
            return raw == ord("T")
        if self.code == "A":
            return _text(raw)
        out = np.empty(raw.shape, self.dtype)
        parts = _parts(raw)
        if len(parts) == 1:
            self._copy(raw, out)
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(lambda part: self._copy(raw[part], out[part]), parts))
        return out

    def _copy(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Write the values of `raw` into `out`."""
        if self.unsigned and out.dtype.kind in "iu" and out.dtype.itemsize == self.raw.itemsize:
            np.copyto(out.view(raw.dtype.newbyteorder("=")), raw)
            out ^= np.array(1 << (8 * self.raw.itemsize - 1)).astype(out.dtype)
        elif out.dtype.kind == "f" and (self.scale != 1 or self.zero != 0 or self.null is not None):
            for first in range(0, len(raw) if raw.ndim else 1, _SCALE_ROWS):
                rows = slice(first, first + _SCALE_ROWS) if raw.ndim else ()
                block = raw[rows].astype(np.float64)
                if self.null is not None:
                    block[raw[rows] == self.null] = np.nan
                block *= self.scale
                block += self.zero
                out[rows] = block
        elif self.scale != 1 or self.zero != 0:
            np.copyto(out, np.rint(raw * self.scale + self.zero), casting="unsafe")
        else:
            np.copyto(out, raw, casting="unsafe")


def _is_unsigned(column: Column) -> bool:
    """Whether TZERO says that the integers are of the other signedness (FITS standard 5.2.5)."""
    half = {"B": -128, "I": 2**15, "J": 2**31, "K": 2**63}
    return column.scale == 1 and column.zero == half.get(column.code)


def _parts(raw: np.ndarray) -> list[Any]:
    """Return slices of the first axis, one for each thread that is worth starting."""
    workers = int(raw.size * raw.itemsize // _THREAD_BYTES)
    workers = min(4, os.cpu_count() or 1, workers) if workers > 1 else 1
    if raw.ndim == 0 or workers < 2 or len(raw) < workers:
        return [...]
    edges = np.linspace(0, len(raw), workers + 1).astype(int)
    return [slice(lo, hi) for lo, hi in pairwise(edges)]


def _text(raw: np.ndarray) -> np.ndarray:
    """Return characters as text without trailing blanks and NULs; bytes beyond ASCII are read as Latin-1."""
    if raw.size == 0:
        return np.empty(raw.shape, f"U{raw.dtype.itemsize}")
    return np.char.rstrip(np.char.decode(np.ascontiguousarray(raw), "latin-1")).astype(
        f"U{raw.dtype.itemsize}"
    )


class TextTableArray(LazyArray):
    """A column of an ASCII table."""

    def __init__(self, source: Source, start: int, rows: int, row_bytes: int, column: Column) -> None:
        self.source = source
        self.start = start
        self.row_bytes = row_bytes
        self.column = column
        self.shape = (rows,)
        self.dtype = np.dtype({"K": np.int64, "D": np.float64}.get(column.code, f"U{column.width}"))
        if column.scaled and column.code != "A":
            self.dtype = np.dtype(np.float64)

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        column = self.column
        raw: np.ndarray = np.ndarray(
            self.shape,
            column.raw,
            buffer=self.source.buffer,
            offset=self.start + column.offset,
            strides=(self.row_bytes,),
        )
        text = np.char.strip(_text(raw[key]))
        if column.code == "A":
            return text.astype(self.dtype)
        text = np.char.replace(np.char.upper(text), "D", "E")
        try:
            numbers = np.where(text == "", "nan" if column.code == "D" else "0", text).astype(np.float64)
        except ValueError as error:
            raise FileFormatError(
                f"{self.source.path}: column {column.name} holds text that is no number"
            ) from error
        return (numbers * column.scale + column.zero).astype(self.dtype)


class VariableLengthArray(LazyArray):
    """A variable-length column as rows of equal length, filled up with NaN, 0 or blanks."""

    def __init__(
        self, source: Source, start: int, rows: int, row_bytes: int, heap: int, column: Column
    ) -> None:
        self.source = source
        self.start = start + column.offset
        self.rows = rows
        self.row_bytes = row_bytes
        self.heap = heap
        self.descriptor = np.dtype(column.raw)
        self.code = column.element
        self.raw = np.dtype("S1" if self.code == "A" else RAW_TYPES[self.code])
        self.scale, self.zero = column.scale, column.zero
        longest = int(self.lengths().max(initial=0)) if rows else 0
        if self.code == "A":
            self.shape: tuple[int, ...] = (rows,)
            self.dtype = np.dtype(f"U{max(longest, 1)}")
        else:
            self.shape = (rows, longest)
            self.dtype = np.dtype(np.float64) if column.scaled else self._plain_dtype()

    def _plain_dtype(self) -> np.dtype:
        return np.dtype(bool) if self.code == "L" else self.raw.newbyteorder("=")

    def _descriptors(self) -> np.ndarray:
        return np.ndarray(
            (self.rows, 2),
            self.descriptor,
            buffer=self.source.buffer,
            offset=self.start,
            strides=(self.row_bytes, self.descriptor.itemsize),
        )

    def lengths(self) -> np.ndarray:
        """Return the number of elements of each row."""
        return self._descriptors()[:, 0].astype(np.int64)

    def row(self, length: int, place: int) -> np.ndarray:
        """Return the stored elements of one row."""
        start = self.heap + place
        if length < 0 or place < 0 or start + length * self.raw.itemsize > len(self.source.buffer):
            raise FileFormatError(f"{self.source.path}: a variable-length row points outside the file")
        return np.frombuffer(self.source.buffer, self.raw, length, start)

    def _values(self, row: np.ndarray) -> np.ndarray:
        if self.code == "L":
            return row == ord("T")
        return row * self.scale + self.zero if self.dtype.kind == "f" and self.scale != 1 else row

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        chosen = self._descriptors()[key[0]].astype(np.int64)
        if self.code == "A":
            texts = [self.row(n, at).tobytes().rstrip(b" \0").decode("latin-1") for n, at in chosen]
            return np.array(texts, self.dtype)
        out = np.full((len(chosen), self.shape[1]), np.nan if self.dtype.kind == "f" else 0, self.dtype)
        for target, (length, place) in zip(out, chosen, strict=True):
            target[:length] = self._values(self.row(int(length), int(place)))
        return out[(slice(None), *key[1:])]


def flat_variable_length(array: VariableLengthArray) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows end to end, and the length of each."""
    chosen = array._descriptors().astype(np.int64)
    rows = [array._values(array.row(int(length), int(place))) for length, place in chosen if length]
    flat = np.concatenate(rows) if rows else np.empty(0)
    return flat.astype(array.dtype), chosen[:, 0]


class StackedArray(LazyArray):
    """Arrays of one shape, stacked along new leading axes; only those asked for are read."""

    def __init__(self, parts: Sequence[LazyArray], leading: tuple[int, ...]) -> None:
        self.parts = list(parts)
        self.leading = leading
        self.shape = (*leading, *parts[0].shape)
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        depth = len(self.leading)
        wanted = np.arange(len(self.parts)).reshape(self.leading)[key[:depth]]
        if wanted.size == 1:
            only = self.parts[wanted.item()]._take(key[depth:])
            return only.astype(self.dtype, copy=False).reshape(*wanted.shape, *only.shape)
        out = np.empty((wanted.size, *np.broadcast_to(0, self.parts[0].shape)[key[depth:]].shape), self.dtype)
        for target, number in zip(out, wanted.ravel(), strict=True):
            target[...] = self.parts[number]._take(key[depth:])
        return out.reshape(*wanted.shape, *out.shape[1:])


class ComputedArray(LazyArray):
    """A function of other lazy arrays, evaluated for the rows asked for.

    `function` is a module-level function (so that this can be sent to another process) of the rows of the
    `inputs`. Where `rowwise` is false it needs all rows, and its result is indexed afterwards.
    """

    def __init__(
        self,
        function: Callable[..., np.ndarray],
        inputs: Sequence[LazyArray],
        shape: tuple[int, ...],
        dtype: Any,
        rowwise: bool = True,
    ) -> None:
        self.function = function
        self.inputs = list(inputs)
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.rowwise = rowwise

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        if not self.rowwise:
            return self.function(*(array.read() for array in self.inputs))[key]
        rows = [array._take((key[0], *(slice(None) for _ in array.shape[1:]))) for array in self.inputs]
        return self.function(*rows).astype(self.dtype, copy=False)[(slice(None), *key[1:])]
