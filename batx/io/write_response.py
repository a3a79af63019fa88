"""OGIP responses: matrix, channel bounds, effective area. Source of the layout: CAL/GEN/92-002."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.io.write_header import Cards
from batx.io.write_products import bounds_hdu, decimals
from batx.io.write_table import Col, table_hdu, variable_column

__all__ = ["response_hdus"]


def response_hdus(ds: xr.Dataset) -> list[Any]:
    """Return the matrix with EBOUNDS, the effective area, or both (CAL/GEN/92-002).

    A matrix in cm**2 is a full response (SPECRESP MATRIX), one without unit a redistribution (MATRIX).
    Matrices that are mostly zeros are stored as groups of channels in variable-length columns, others in
    full.
    """
    hdus = []
    if "matrix" in ds:
        hdus.append(_matrix_hdu(ds))
        if "energy_bnds" in ds:
            hdus.append(bounds_hdu(ds, ds["energy_bnds"].values, {}, ds["channel"].values))
    if "area" in ds:
        cards: Cards = {
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "RESPONSE",
            "HDUCLAS2": ("SPECRESP", "effective area"),
            "HDUVERS": "1.1.0",
            "HDUVERS1": "1.0.0",
            "HDUVERS2": "1.1.0",
            "ARFVERSN": "1992a",
        }
        area = variable_column(ds, "area", "SPECRESP")
        hdus.append(table_hdu("SPECRESP", [*_energy_columns(ds), area], cards, ds.attrs, history=not hdus))
    return hdus


def _energy_columns(ds: xr.Dataset) -> list[Col]:
    edges = decimals(ds["energy_in_bnds"].values)
    return [
        Col("ENERG_LO", edges[:, 0], "keV", "lower edge"),
        Col("ENERG_HI", edges[:, 1], "keV", "upper edge"),
    ]


def _matrix_hdu(ds: xr.Dataset) -> Any:
    matrix = ds["matrix"].transpose("energy_in", "channel").values
    first = int(ds["channel"].values[0]) if "channel" in ds.coords else 0
    full = ds["matrix"].attrs.get("units") == "cm**2"
    unit = "cm**2" if full else None
    dense = np.count_nonzero(matrix) > matrix.size / 2
    groups = _full_groups(matrix, first) if dense else _sparse_groups(matrix, first)
    n_groups, columns = groups
    elements = matrix.size if dense else int(sum(len(row) for row in columns[-1].array))
    cards: Cards = {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": "RSP_MATRIX",
        "HDUCLAS3": ("FULL", "with effective area") if full else ("REDIST", "without effective area"),
        "RMFVERSN": "1992a",
        "HDUVERS": "1.3.0",
        "HDUVERS1": "1.2.0",
        "HDUVERS2": "1.3.0",
        "TLMIN4": (first, "first channel"),
        "TLMAX4": (first + matrix.shape[1] - 1, "last channel"),
        "NUMGRP": (int(n_groups.sum()), "number of groups of channels"),
        "NUMELT": (elements, "number of elements stored"),
        "DETCHANS": (matrix.shape[1], "number of channels"),
        "CHANTYPE": (ds.attrs.get("chantype", "PI"), "type of channel"),
    }
    extname = "SPECRESP MATRIX" if full else "MATRIX"
    values = columns[-1]
    columns[-1] = Col(values.name, values.array, unit, values.comment, values.form)
    table = [*_energy_columns(ds), Col("N_GRP", n_groups, None, "number of groups"), *columns]
    return table_hdu(extname, table, cards, ds.attrs, history=True)


def _full_groups(matrix: np.ndarray, first: int) -> tuple[np.ndarray, list[Col]]:
    """Return every row as one group of all channels."""
    rows, channels = matrix.shape
    kind = np.int16 if first + channels < 2**15 else np.int32
    return np.ones(rows, dtype=np.int16), [
        Col("F_CHAN", np.full(rows, first, dtype=kind), None, "first channel of the group"),
        Col("N_CHAN", np.full(rows, channels, dtype=kind), None, "channels of the group"),
        Col("MATRIX", matrix, None, "elements"),
    ]


def _sparse_groups(matrix: np.ndarray, first: int) -> tuple[np.ndarray, list[Col]]:
    """Return the runs of non-zero channels of every row."""
    kind, letter = (np.int16, "I") if first + matrix.shape[1] < 2**15 else (np.int32, "J")
    starts, lengths, values = [], [], []
    for row in matrix:
        edges = np.diff(np.concatenate([[0], row != 0, [0]]).astype(np.int8))
        start, stop = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        starts.append((start + first).astype(kind))
        lengths.append((stop - start).astype(kind))
        values.append(row[row != 0])
    widest = max(map(len, starts), default=0)
    element = "D" if matrix.dtype == np.float64 else "E"
    return np.array([len(start) for start in starts], dtype=np.int16), [
        Col("F_CHAN", _ragged(starts), None, "first channel of each group", f"P{letter}({widest})"),
        Col("N_CHAN", _ragged(lengths), None, "channels of each group", f"P{letter}({widest})"),
        Col("MATRIX", _ragged(values), None, "elements", f"P{element}({max(map(len, values), default=0)})"),
    ]


def _ragged(rows: list[np.ndarray]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array
