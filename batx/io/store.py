"""netCDF and Zarr files of Datasets and DataTrees; what is read back is identical to what was written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError, KindError, MissingFileError, SchemaError
from batx.io.atomic import atomic_path, input_files
from batx.schema import Issue
from batx.schema.check import storable

__all__ = ["GROWS", "ROWS", "is_store", "open_store", "open_store_tree", "to_netcdf", "to_zarr"]

#: encodings that change how a file is stored but not what is read back from it
_KEPT_NETCDF = ("zlib", "complevel", "shuffle", "fletcher32", "compression")
_KEPT_ZARR = ("compressors",)

#: attributes of a variable that xarray takes for its own encoding when it reads a file
_RESERVED = (
    "_FillValue",
    "_Unsigned",
    "add_offset",
    "coordinates",
    "dtype",
    "missing_value",
    "scale_factor",
)
#: attributes of a store that grows: dimensions, and how many rows of each are complete
GROWS, ROWS = "grows", "rows"

#: strings of any length; xarray takes an empty array of plain objects for numbers
_STRINGS = np.dtype("O", metadata={"element_type": str})
_NAME = re.compile(r"[\w\x80-\U0010ffff][^/\x00]*(?<! )")


def to_netcdf(obj: xr.Dataset | xr.DataTree, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a Dataset or a DataTree to a netCDF-4 file, all of it or nothing.

    What `open_store` (or ``xr.open_dataset``) gives back is identical to `obj`: values, numeric dtypes,
    boolean masks, scalar variables, bounds and every attribute. (Only the name of the root of a tree has no
    place in a file.) Chunked (dask) variables are written chunk by chunk. Compression in the encoding of a
    variable (``zlib``, ``complevel``, ``shuffle``, ``compression``) is used; encodings that would change
    values are not.

    Parameters
    ----------
    obj
        Any Dataset or DataTree; it is not changed.
    path
        File to write.
    overwrite
        Whether an existing file may be replaced. A file that `obj` was read from never is.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    SchemaError
        If an attribute or a name cannot be stored; every one is named.
    WriteError
        If the file exists, is an input, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> gti = build("gti", {"start": [0.0], "stop": [9.0]})
    >>> path = to_netcdf(gti, Path(tempfile.mkdtemp()) / "gti.nc")
    >>> open_store(path).identical(gti)
    True
    """
    _require_storable(obj, "to_netcdf")
    with atomic_path(path, overwrite=overwrite, inputs=input_files(obj)) as temporary:
        plain = _mapped(obj, lambda ds: _with_encoding(ds, _KEPT_NETCDF))
        with _own_threads(obj):
            plain.to_netcdf(temporary, engine="h5netcdf")
        _write_bounds_attrs(obj, temporary)
    return Path(path)


def to_zarr(obj: xr.Dataset | xr.DataTree, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write a Dataset or a DataTree to a Zarr 3 directory, all of it or nothing.

    As `to_netcdf`. Strings are stored with variable length and metadata is not consolidated, as Zarr 3
    specifies it. Chunked (dask) variables keep their chunks where these are regular; others are written in
    chunks of their largest size.

    Parameters
    ----------
    obj
        Any Dataset or DataTree; it is not changed.
    path
        Directory to write.
    overwrite
        Whether an existing Zarr directory may be replaced. One that `obj` was read from never is, nor is a
        directory that is no Zarr store.

    Returns
    -------
    pathlib.Path
        The directory.

    Raises
    ------
    SchemaError
        If an attribute or a name cannot be stored; every one is named.
    WriteError
        If the directory exists, is or holds an input, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> gti = build("gti", {"start": [0.0], "stop": [9.0]})
    >>> path = to_zarr(gti, Path(tempfile.mkdtemp()) / "gti.zarr")
    >>> open_store(path).identical(gti)
    True
    """
    _require_storable(obj, "to_zarr")
    with atomic_path(path, overwrite=overwrite, inputs=input_files(obj)) as temporary:
        plain = _mapped(obj, lambda ds: _zarr_form(_with_encoding(ds, _KEPT_ZARR)))
        with _own_threads(obj):
            plain.to_zarr(temporary, mode="w-", consolidated=False, zarr_format=3)
    return Path(path)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a netCDF file or a Zarr directory, by its content.

    Examples
    --------
    >>> import tempfile
    >>> is_store(tempfile.mkdtemp())
    False
    """
    return _store_engine(Path(path)) is not None


def _store_engine(path: Path) -> str | None:
    if path.is_dir():
        return "zarr" if (path / "zarr.json").is_file() or (path / ".zgroup").is_file() else None
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        return "h5netcdf"
    return "scipy" if start[:3] == b"CDF" else None


def open_store(path: str | os.PathLike[str], chunks: Any = None) -> xr.Dataset:
    """Open a netCDF file or Zarr directory as a Dataset; variables are read when they are used.

    Numbers and attributes come back as they were written: nothing is decoded to dates.

    Parameters
    ----------
    path
        File or directory, as written by `to_netcdf` or `to_zarr`.
    chunks
        As in `xarray.open_dataset`; `None` for lazy arrays without dask.

    Raises
    ------
    MissingFileError
        If there is nothing at `path`.
    FileFormatError
        If it is no netCDF file and no Zarr directory, or is damaged.
    """
    if (rows := _growing_rows(Path(path))) is None:
        return _opened(xr.open_dataset, path, chunks)
    return _complete(path, rows, chunks)


def open_store_tree(path: str | os.PathLike[str], chunks: Any = None) -> xr.DataTree:
    """Open a netCDF file or Zarr directory with all its groups as a DataTree; see `open_store`."""
    if _growing_rows(Path(path)) is None:
        return _opened(xr.open_datatree, path, chunks)
    return xr.DataTree(open_store(path, chunks))


def _growing_rows(path: Path) -> dict[str, int] | None:
    """Return the numbers of complete rows of a store that grows (`batx.io.growing`), `None` of another."""
    if _store_engine(path) != "zarr":
        return None
    import zarr

    attrs: dict[str, Any] = zarr.open_group(path, mode="r").attrs.asdict()
    return dict(zip(attrs[GROWS], attrs[ROWS], strict=True)) if GROWS in attrs and ROWS in attrs else None


def _complete(path: str | os.PathLike[str], rows: Mapping[str, int], chunks: Any) -> xr.Dataset:
    """Open the complete rows of a store; rows may be being written, or be left by an interruption."""
    import zarr

    group = zarr.open_group(path, mode="r")
    arrays = dict(group.arrays())
    coords = {
        name
        for attrs in (group.attrs, *(array.attrs for array in arrays.values()))
        for name in str(attrs.get("coordinates", "")).split()
    }
    variables = {}
    for name in sorted(arrays):
        part = _opened(partial(xr.open_dataset, drop_variables=arrays.keys() - {name}), path, chunks)
        variables[name] = part[name].variable.isel(
            {dim: slice(n) for dim, n in rows.items() if dim in part.dims}
        )
    attrs = {name: value for name, value in part.attrs.items() if name not in (GROWS, ROWS)}
    made = xr.Dataset(variables, attrs=attrs).set_coords(sorted(coords & variables.keys()))
    made.encoding = part.encoding
    return made


def _opened(opener: Any, path: str | os.PathLike[str], chunks: Any) -> Any:
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist")
    engine = _store_engine(path)
    if engine is None:
        raise FileFormatError(f"{path} is no netCDF file and no Zarr directory")
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    try:
        return opener(path, engine=engine, chunks=chunks, decode_times=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise FileFormatError(f"{path} cannot be read as {engine}: {error}") from error


@contextmanager
def _own_threads(obj: xr.Dataset | xr.DataTree) -> Iterator[None]:
    """Run dask's threads in a pool that ends with the block: none writes on after another has failed."""
    if not any(variable.chunks for _, ds in _nodes(obj) for variable in ds.variables.values()):
        yield
        return
    import dask

    with (
        ThreadPoolExecutor(dask.config.get("num_workers", os.cpu_count())) as pool,
        dask.config.set(pool=pool),
    ):
        yield


def _mapped(obj: Any, prepare: Any) -> Any:
    """Return `obj` with `prepare` applied to it, or to every node of a tree."""
    if isinstance(obj, xr.Dataset):
        return prepare(obj)
    nodes = {node.path: prepare(node.to_dataset(inherit=False)) for node in obj.subtree}
    return xr.DataTree.from_dict(nodes, name=obj.name)


def _with_encoding(ds: xr.Dataset, kept: tuple[str, ...]) -> xr.Dataset:
    """Return a copy without the encodings of the file that it came from, except `kept`."""
    plain = ds.drop_encoding()
    for name, variable in ds.variables.items():
        plain[name].encoding = {key: variable.encoding[key] for key in kept if key in variable.encoding}
    return plain


def _zarr_form(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with variable-length strings and regular dask chunks."""
    strings = {name: ds[name].astype(_STRINGS) for name in ds.variables if ds[name].dtype.kind in "US"}
    for name, array in strings.items():
        array.attrs = ds[name].attrs
    ds = ds.assign_coords({name: array for name, array in strings.items() if name in ds.coords})
    ds = ds.assign({name: array for name, array in strings.items() if name in ds.data_vars})
    for name, variable in ds.variables.items():
        if variable.chunks is None:
            continue
        sizes = {dim: max(sizes) for dim, sizes in zip(variable.dims, variable.chunks, strict=True)}
        if any(set(lengths[:-1]) - {sizes[dim]} for dim, lengths in variable.chunksizes.items()):
            ds[name] = ds[name].chunk(sizes)
    return ds


def _write_bounds_attrs(obj: xr.Dataset | xr.DataTree, path: Path) -> None:
    """Put back the attributes of bounds that xarray leaves out because they repeat those of the axis."""
    import h5netcdf

    with h5netcdf.File(path, "a") as file:
        for group, ds in _nodes(obj):
            for axis in ds.variables.values():
                bounds = str(axis.attrs.get("bounds"))
                if bounds in ds.variables:
                    stored = (file[group] if group != "/" else file).variables[bounds].attrs
                    for key, value in ds[bounds].attrs.items():
                        if key not in stored:
                            stored[key] = value


def _nodes(obj: xr.Dataset | xr.DataTree) -> Iterator[tuple[str, xr.Dataset]]:
    if isinstance(obj, xr.Dataset):
        yield "/", obj
    else:
        for node in obj.subtree:
            yield node.path, node.to_dataset(inherit=False)


def _require_storable(obj: Any, operation: str) -> None:
    if not isinstance(obj, (xr.Dataset, xr.DataTree)):
        raise KindError(f"{operation} writes a Dataset or a DataTree; found {type(obj).__name__}")
    issues = [
        issue for path, ds in _nodes(obj) for issue in _unstorable("" if path == "/" else f"{path}:", ds)
    ]
    if issues:
        lines = "\n  ".join(map(str, issues))
        raise SchemaError(f"{len(issues)} thing(s) that netCDF and Zarr cannot keep:\n  {lines}", issues)


def _unstorable(prefix: str, ds: xr.Dataset) -> Iterator[Issue]:
    for name in (*ds.variables, *ds.dims):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield Issue(
                f"{prefix}{name!r}", "a name that files do not allow", "letters, digits, '_', '-' or '.'"
            )
    yield from _unstorable_attrs(prefix, ds.attrs, ("coordinates",))
    for name in ds.variables:
        yield from _unstorable_attrs(f"{prefix}{name}.", ds[name].attrs, _RESERVED)


def _unstorable_attrs(prefix: str, attrs: Mapping[Any, Any], reserved: tuple[str, ...]) -> Iterator[Issue]:
    for key, value in attrs.items():
        path = f"{prefix}attrs[{key!r}]"
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            yield Issue(path, "a name that files do not allow", "letters, digits, '_', '-' or '.'")
        elif key in reserved:
            yield Issue(path, "a name that xarray uses for its own encoding", "another name")
        elif not storable(value):
            yield Issue(path, f"{value!r} ({type(value).__name__})", "str, int, float or a list of them")
        elif problem := _changes_on_reading(value):
            yield Issue(path, f"{value!r}", problem)


def _changes_on_reading(value: Any) -> str | None:
    """Return what is wrong with an attribute that is of a permitted type but would come back different."""
    items = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    if isinstance(value, (list, tuple, np.ndarray)) and len(items) == 1:
        return "the single element itself (a list of one comes back as its element)"
    if len({isinstance(item, str) for item in items}) > 1:
        return "all strings or all numbers"
    if any(isinstance(item, str) and "\x00" in item for item in items):
        return "text without NUL characters"
    if any(isinstance(item, int) and not -(2**63) <= item < 2**63 for item in items):
        return "integers of at most 64 bits"
    return None
