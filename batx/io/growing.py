"""A Zarr store that grows by rows, along several dimensions, and is whole again after an interruption.

The attribute ``rows`` of the store says how many rows of each dimension are complete. It is written last, in
one go: `batx.io.store.open_store` shows these only, and what an interruption left behind them is cut off when
the store is opened to go on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError, ValueRangeError
from batx.io.atomic import atomic_path
from batx.io.store import GROWS, ROWS, is_store

__all__ = ["GrowingStore"]

_SETTINGS = "settings"


@dataclass(frozen=True)
class GrowingStore:
    """A Zarr store with dimensions that grow.

    Attributes
    ----------
    path
        The directory.
    dims
        Dimensions that grow; each is the first of the variables that have it.
    """

    path: Path
    dims: tuple[str, ...]

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], dims: Sequence[str], settings: str, empty: xr.Dataset | None
    ) -> GrowingStore:
        """Return the store at a path: the one that is there, mended, or a new one without rows.

        Parameters
        ----------
        settings
            How the rows are made; kept as an attribute.
        empty
            Dataset with all variables, for a new store: its rows are left out. `None` where there is one.

        Raises
        ------
        ValueRangeError
            If there is a store that was made with other settings.
        FileFormatError
            If there is something else, or a store that does not grow.
        WriteError
            If a new one cannot be written.
        """
        store = cls(Path(path).expanduser().absolute(), tuple(dims))
        for left in store.path.parent.glob(f".{store.path.name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        if store.path.exists():
            store._mend(settings)
        elif empty is not None:
            store._create(settings, empty)
        return store

    def rows(self) -> dict[str, int]:
        """Return the number of complete rows of each dimension."""
        return dict(zip(self.dims, map(int, self._group().attrs[ROWS]), strict=True))

    def append(self, *parts: xr.Dataset) -> None:
        """Add the rows of Datasets with the same variables; what does not grow is left as it is."""
        group, before = self._group(), self.rows()
        after = {dim: before[dim] + sum(ds.sizes[dim] for ds in parts) for dim in self.dims}
        for name, array in group.arrays():
            dim = self._dim(array)
            if dim is not None and after[dim] > before[dim]:
                order = array.metadata.dimension_names
                values = np.concatenate([ds[name].transpose(*order).values for ds in parts])
                array.resize((after[dim], *array.shape[1:]))
                array[before[dim] :] = values.astype("T") if values.dtype.kind in "USO" else values
        group.attrs[ROWS] = [after[dim] for dim in self.dims]

    def _create(self, settings: str, empty: xr.Dataset) -> None:
        """Write a store with one row of each dimension, from which types are known, and cut that off."""
        one = _one_row(empty, self.dims).drop_encoding()
        one.attrs |= {GROWS: list(self.dims), ROWS: [0] * len(self.dims), _SETTINGS: settings}
        chunks = {
            name: {"chunks": (_rows_in_chunk(variable), *variable.shape[1:])}
            for name, variable in one.variables.items()
            if variable.dims and variable.dims[0] in self.dims
        }
        with atomic_path(self.path) as temporary:
            one.to_zarr(temporary, mode="w-", consolidated=False, zarr_format=3, encoding=chunks)
            GrowingStore(temporary, self.dims)._cut()

    def _mend(self, settings: str) -> None:
        """Cut off what is not complete."""
        attrs = self._group().attrs if is_store(self.path) else {}
        if ROWS not in attrs or tuple(attrs[GROWS]) != self.dims:
            raise FileFormatError(
                f"{self.path}: found something that is no store to go on with; give a new path, or remove it"
            )
        if attrs.get(_SETTINGS) != settings:
            raise ValueRangeError(
                f"{self.path}: its rows were made with {attrs.get(_SETTINGS)}, and now {settings} is asked "
                "for; use the same, or another path"
            )
        self._cut()

    def _cut(self) -> None:
        rows = self.rows()
        for _, array in self._group().arrays():
            dim = self._dim(array)
            if dim is not None and array.shape[0] != rows[dim]:
                array.resize((rows[dim], *array.shape[1:]))

    def _dim(self, array: Any) -> str | None:
        names = array.metadata.dimension_names or ()
        return names[0] if names and names[0] in self.dims else None

    def _group(self) -> Any:
        import zarr

        return zarr.open_group(self.path, mode="r+")


def _one_row(ds: xr.Dataset, dims: Sequence[str]) -> xr.Dataset:
    """Return a Dataset with one row of each of some dimensions, made up where there is none."""
    variables = {}
    for name, variable in ds.variables.items():
        if variable.dims and variable.dims[0] in dims:
            values = variable.values[:1]
            if not len(values):
                values = np.zeros((1, *variable.shape[1:]), variable.dtype)
            strings = values.dtype.kind in "USOT"
            variable = xr.Variable(
                variable.dims, values.astype(object) if strings else values, variable.attrs
            )
        variables[name] = variable
    return xr.Dataset(variables, attrs=dict(ds.attrs)).set_coords(list(ds.coords))


def _rows_in_chunk(variable: xr.Variable) -> int:
    """Return how many rows are about a megabyte, 4096 at most."""
    size = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=int))
    return int(np.clip(2**20 // size, 1, 4096))
