"""A FITS file as batx sees it: its HDUs, the kind of each, its energies and good times."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import UnitsError
from batx.io.fits import Column, Hdu, lazy_variable, read_hdus
from batx.io.header import header_attrs, keyword, time_zero
from batx.io.identify import hdu_kind, is_bounds
from batx.schema.kinds import KINDS
from batx.schema.spec import Variable
from batx.units import canonical_unit

__all__ = ["Bands", "FitsFile", "column_variable", "table_variables", "unit_factor"]


@dataclass(frozen=True)
class Bands:
    """Channels or bands with their energies in keV; `channel` is `None` where they have no numbers."""

    low: np.ndarray
    high: np.ndarray
    channel: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.low)

    def axis(self, name: str = "energy", dim: str | None = None) -> dict[str, Any]:
        """Return centre and bounds as variables of `name` on dimension `dim`."""
        dim = dim or name
        bounds = np.stack([self.low, self.high], axis=-1)
        return {name: ((dim,), bounds.mean(axis=-1)), f"{name}_bnds": ((dim, "bnds"), bounds)}


class FitsFile:
    """The HDUs of a file and what they are.

    Parameters
    ----------
    path
        A FITS file, plain or gzipped.

    Raises
    ------
    MissingFileError, FileFormatError
        If it is not there, or is not a readable FITS file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.hdus = read_hdus(path)
        self.kinds = [hdu_kind(hdu, self.primary) for hdu in self.hdus]

    @property
    def primary(self) -> Hdu:
        """The first HDU."""
        return self.hdus[0]

    def attrs(self, hdu: Hdu) -> dict[str, Any]:
        """Return the keywords of an HDU as attributes."""
        return header_attrs(hdu, self.primary)

    def bands(self, count: int | None = None) -> Bands | None:
        """Return the energies of the EBOUNDS extension, `None` if there is none (of that length)."""
        for hdu in self.hdus:
            if is_bounds(hdu) and {"E_MIN", "E_MAX"} <= hdu.columns.keys() and count in (None, hdu.rows):
                low, high = (energy_column(hdu, name) for name in ("E_MIN", "E_MAX"))
                channel = hdu.values("CHANNEL") if "CHANNEL" in hdu.columns else None
                return Bands(low, high, channel if channel is None else channel.astype(np.int64))
        return None

    def good_time(self) -> dict[str, Any]:
        """Return `gti_start` and `gti_stop` of the good-time extension that belongs to the whole file.

        That is STDGTI, else GTI, else the only one there is; of several others none (each is a node of the
        tree).
        """
        found = {hdu.name: hdu for hdu, kind in zip(self.hdus, self.kinds, strict=True) if kind == "gti"}
        hdu = (
            found.get("STDGTI")
            or found.get("GTI")
            or (next(iter(found.values())) if len(found) == 1 else None)
        )
        if hdu is None:
            return {}
        return {
            f"gti_{name}": (
                ("gti",),
                hdu.values(
                    name.upper(),
                    dtype=np.float64,
                    factor=unit_factor(hdu, hdu.column(name), "s"),
                    shift=time_zero(hdu),
                ),
            )
            for name in ("start", "stop")
        }


def energy_column(hdu: Hdu, name: str) -> np.ndarray:
    """Return a column of energies in keV, read into memory.

    Edges are decimals that OGIP stores in 32 bits: each is read as the shortest decimal that these bits stand
    for (15.1, not 15.100000381), which is what it was before and is stored as the same bits again.
    """
    factor = unit_factor(hdu, hdu.column(name), "keV")
    stored = hdu.values(name)
    if stored.dtype == np.float32:
        stored = np.array([float(str(value)) for value in stored.ravel()]).reshape(stored.shape)
    return stored.astype(np.float64) * factor


def unit_factor(hdu: Hdu, column: Column, unit: str) -> float:
    """Return what the numbers of a column must be multiplied by to be in `unit`.

    No unit, one that astropy does not know, and any where plain numbers are wanted count as the unit wanted.

    Raises
    ------
    UnitsError
        If the column has a unit of another physical type.
    """
    own = canonical_unit(column.unit)
    if own == unit or own == "1" or unit == "1":
        return 1.0
    import astropy.units as u

    try:
        return float(u.Unit(own).to(unit))
    except u.UnitConversionError as error:
        raise UnitsError(
            f"{hdu.label}: column {column.name} has unit '{column.unit}', "
            f"expected one convertible to '{unit}'"
        ) from error
    except ValueError:
        return 1.0


def column_variable(
    hdu: Hdu,
    name: str,
    dims: tuple[str, ...],
    spec: Variable | None = None,
    *,
    element: int | None = None,
    order: tuple[int, ...] | None = None,
    shift: float = 0.0,
) -> xr.Variable:
    """Return a column as a lazy variable, in the type and unit that `spec` asks for."""
    column = hdu.column(name)
    unit = spec.units if spec is not None else None
    factor = unit_factor(hdu, column, unit) if unit is not None and column.code not in "AL" else 1.0
    options: dict[str, Any] = {}
    if column.code not in "ALXPQ":
        if (spec is not None and spec.dtype == "float") or factor != 1 or _undefined(column, spec):
            options["dtype"] = np.float64
        options |= {"factor": factor, "shift": shift}
    array = hdu.array(name, element=element, order=order, **options)
    attrs: dict[str, Any] = {"fits_name": column.name if element is None else f"{column.name}({element + 1})"}
    if array.dtype.kind in "iufc":
        attrs["units"] = unit if unit is not None else canonical_unit(column.unit)
    if spec is not None:
        attrs["long_name"] = spec.doc
    if column.null is not None and array.dtype.kind in "iu":
        attrs["fits_null"] = column.null
    chunks = {dims[0]: hdu.chunk_rows} if hdu.chunk_rows else {}
    return lazy_variable(dims, array, attrs, **chunks)


def _undefined(column: Column, spec: Variable | None) -> bool:
    """Whether integers must become floating for their undefined rows to be NaN."""
    return column.null is not None and (spec is None or spec.dtype != "integer")


def table_variables(
    hdu: Hdu,
    kind: str,
    dim: str,
    rename: dict[str, str] | None = None,
    skip: set[str] | None = None,
    shifted: tuple[str, ...] = ("TIME",),
) -> dict[str, xr.Variable]:
    """Return the columns of a table as lazy variables on dimension `dim`.

    Parameters
    ----------
    hdu
        A table.
    kind
        Kind whose specification gives types and units.
    dim
        Dimension of the rows; axes within a cell are called ``<name>_axis``, bits ``<name>_bit``.
    rename
        Column name to variable name; other columns take their own name in lower case.
    skip
        Columns to leave out.
    shifted
        Columns that TIMEZERO applies to.
    """
    variables = {}
    for column_name, column in hdu.columns.items():
        if column_name in (skip or set()) or column.width == 0:
            continue
        name = (rename or {}).get(column_name, _variable_name(column_name))
        spec = KINDS[kind].by_name.get(name)
        shift = time_zero(hdu) if column_name in shifted else 0.0
        dims = (dim, *_cell_dims(hdu, column_name, name))
        if spec is not None and not spec.allows(dims):
            spec = None
            name = f"{name}_column"
        if name == dim and (spec is None or not spec.coord):
            name = f"{name}_column"
        variables[name] = column_variable(hdu, column_name, dims, spec, shift=shift)
    return variables


def _variable_name(column_name: str) -> str:
    return column_name.strip().lower().replace(" ", "_").replace("/", "_") or "unnamed"


def _cell_dims(hdu: Hdu, column_name: str, name: str) -> tuple[str, ...]:
    """Return names for the axes within a cell of a column."""
    extra = hdu.array(column_name).shape[1:]
    if hdu.columns[column_name].code == "X":
        return () if not extra else (f"{name}_bit",)
    if len(extra) == 1:
        return (f"{name}_axis",)
    return tuple(f"{name}_axis{i}" for i in range(len(extra)))


def energies_of(hdu: Hdu) -> tuple[float, float] | None:
    """Return E_MIN and E_MAX of a header in keV, `None` if they are not there."""
    low, high = keyword(hdu, "E_MIN"), keyword(hdu, "E_MAX")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return None
    return float(low), float(high)
