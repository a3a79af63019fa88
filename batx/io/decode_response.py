"""Responses: RSP, RMF and ARF (OGIP CAL/GEN/92-002, 92-002a)."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxWarning, FileFormatError
from batx.io.file import FitsFile, column_variable, energy_column
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword
from batx.io.lazy import ComputedArray, VariableLengthArray, flat_variable_length
from batx.schema import KINDS, build

__all__ = ["decode_response"]


def decode_response(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a response matrix, or an effective area, against incident energy.

    The compressed rows (N_GRP groups of N_CHAN channels from F_CHAN; scalar, vector or variable-length
    columns, in any order) are expanded when the matrix is read. The effective area of the same file joins a
    redistribution with the same energies.
    """
    low, high = (energy_column(hdu, name) for name in ("ENERG_LO", "ENERG_HI"))
    bounds = np.stack([low, high], axis=-1)
    variables: dict[str, Any] = {"energy_in": bounds.mean(axis=-1), "energy_in_bnds": bounds}
    for other in (hdu, *file.hdus):
        if other.type == "table" and "SPECRESP" in other.columns and _same_energies(other, bounds):
            spec = KINDS["response"].by_name["area"]
            variables["area"] = column_variable(other, "SPECRESP", ("energy_in",), spec)
            break
    if "MATRIX" in hdu.columns:
        variables |= _matrix_variables(file, hdu)
    return build("response", variables, file.attrs(hdu))


def _same_energies(hdu: Hdu, bounds: np.ndarray) -> bool:
    pairs = zip(("ENERG_LO", "ENERG_HI"), bounds.T, strict=True)
    return all(
        name in hdu.columns and np.array_equal(energy_column(hdu, name), edges) for name, edges in pairs
    )


def _matrix_variables(file: FitsFile, hdu: Hdu) -> dict[str, Any]:
    bands = file.bands()
    size = keyword(hdu, "DETCHANS", default=len(bands) if bands is not None else None)
    if not isinstance(size, (int, float)):
        raise FileFormatError(
            f"{hdu.label}: found neither DETCHANS nor EBOUNDS, the number of channels is unknown"
        )
    size = int(size)
    first = _first_channel(hdu)
    array = ComputedArray(
        partial(_expand, hdu, size, first), [], (hdu.rows, size), hdu.array("MATRIX").dtype, rowwise=False
    )
    full = str(keyword(hdu, "HDUCLAS3", default="")).upper() == "FULL" or "SPECRESP" in hdu.name
    attrs = {"fits_name": "MATRIX", "units": "cm**2" if full else "1"}
    variables: dict[str, Any] = {"matrix": lazy_variable(("energy_in", "channel"), array, attrs)}
    if bands is not None and len(bands) == size:
        channel = bands.channel if bands.channel is not None else np.arange(first, first + size)
        return variables | {"channel": channel} | bands.axis("energy", "channel")
    return variables | {"channel": np.arange(first, first + size)}


def _first_channel(hdu: Hdu) -> int:
    """Return the number of the channel of the first column of the matrix: TLMIN of F_CHAN, 1 if that is not
    given.

    Files that lack the keyword but count from 0 give themselves away by an F_CHAN of 0; a channel cannot
    come before the first one.
    """
    given = keyword(hdu, f"TLMIN{hdu.column('F_CHAN').number}")
    if isinstance(given, (int, float)):
        return int(given)
    first, count, _ = _groups(hdu)
    lowest = int(first[count > 0].min(initial=1))
    if lowest < 1:
        warnings.warn(
            f"{hdu.label}: TLMIN of the column F_CHAN is absent, which stands for 1, but F_CHAN reaches "
            f"{lowest}; "
            f"channels are counted from {lowest}",
            BatxWarning,
            stacklevel=2,
        )
    return min(1, lowest)


def _groups(hdu: Hdu) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first channel, number of channels and row of every group, in the order of their elements."""
    number = hdu.values("N_GRP").astype(np.int64)
    first, count = (_ragged(hdu, name, number) for name in ("F_CHAN", "N_CHAN"))
    if len(first) != number.sum() or len(count) != number.sum():
        raise FileFormatError(
            f"{hdu.label}: F_CHAN and N_CHAN hold {len(first)} groups, N_GRP says {number.sum()}"
        )
    return first, count, np.repeat(np.arange(hdu.rows), number)


def _ragged(hdu: Hdu, name: str, number: np.ndarray) -> np.ndarray:
    """Return the first `number` elements of each row of a column, end to end."""
    array = hdu.array(name)
    if isinstance(array, VariableLengthArray):
        flat, lengths = flat_variable_length(array)
        if np.array_equal(lengths, number):
            return flat.astype(np.int64)
    rows = array.read().reshape(hdu.rows, -1).astype(np.int64)
    return rows[np.arange(rows.shape[1]) < number[:, np.newaxis]]


def _expand(hdu: Hdu, size: int, first_channel: int) -> np.ndarray:
    """Return the full matrix (rows, channels) from its groups."""
    first, count, row = _groups(hdu)
    array = hdu.array("MATRIX")
    if isinstance(array, VariableLengthArray):
        flat, lengths = flat_variable_length(array)
        row_start = np.cumsum(lengths) - lengths
    else:
        values = array.read().reshape(hdu.rows, -1)
        flat, row_start = values.ravel(), np.arange(hdu.rows) * values.shape[1]
        lengths = np.full(hdu.rows, values.shape[1])
    first = first - first_channel
    if (first[count > 0] < 0).any() or (first + count > size).any():
        raise FileFormatError(
            f"{hdu.label}: a group of channels lies outside the {size} channels from {first_channel}; "
            "F_CHAN, TLMIN and DETCHANS do not agree"
        )
    before = np.cumsum(count) - count
    used = np.bincount(row, count, hdu.rows).astype(np.int64)
    if (used > lengths).any():
        raise FileFormatError(f"{hdu.label}: a row of MATRIX has fewer elements than its groups need")
    within_row = before - (np.cumsum(used) - used)[row]
    within_group = np.arange(count.sum()) - np.repeat(before, count)
    matrix = np.zeros(hdu.rows * size, array.dtype)
    matrix[np.repeat(row * size + first, count) + within_group] = flat[
        np.repeat(row_start[row] + within_row, count) + within_group
    ]
    return matrix.reshape(hdu.rows, size)
