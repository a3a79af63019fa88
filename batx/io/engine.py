"""The xarray engine ``"batx"``: FITS files through `xarray.open_dataset` and `xarray.open_datatree`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from batx.errors import FileFormatError
from batx.io.decode import decode_file, decode_tree
from batx.io.file import FitsFile
from batx.io.source import starts_like_fits

__all__ = ["BatxBackendEntrypoint"]


class BatxBackendEntrypoint(BackendEntrypoint):
    """Opens Swift/BAT and OGIP FITS files, plain or gzipped, told by their content."""

    description = "Swift/BAT and OGIP FITS files"
    url = "https://heasarc.gsfc.nasa.gov/docs/heasarc/ofwg/ofwg_recomm.html"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "hdu")
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is a local file whose first bytes are those of FITS."""
        return isinstance(filename_or_obj, (str, os.PathLike)) and starts_like_fits(filename_or_obj)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        hdu: int | str | None = None,
    ) -> xr.Dataset:
        """Return the principal product of a file, or one of its HDUs."""
        return _without(decode_file(FitsFile(_local(filename_or_obj)), hdu), drop_variables)

    def open_datatree(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> xr.DataTree:
        """Return every HDU of a file as a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables))

    def open_groups_as_dict(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None
    ) -> dict[str, xr.Dataset]:
        """Return every HDU of a file by its path in the tree."""
        groups = decode_tree(FitsFile(_local(filename_or_obj)))
        return {path: _without(ds, drop_variables) for path, ds in groups.items()}


def _local(filename_or_obj: Any) -> str | os.PathLike[str]:
    if isinstance(filename_or_obj, (str, os.PathLike)):
        return filename_or_obj
    raise FileFormatError(
        f"found {type(filename_or_obj).__name__}, expected the path of a local FITS file; "
        "save the data to a file first"
    )


def _without(ds: xr.Dataset, names: str | Iterable[str] | None) -> xr.Dataset:
    if names is None:
        return ds
    encoding = ds.encoding
    ds = ds.drop_vars([names] if isinstance(names, str) else list(names), errors="ignore")
    ds.encoding = encoding
    return ds
