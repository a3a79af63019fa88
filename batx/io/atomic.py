"""Write a file or directory so that it is there complete or not at all, and never over an input."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xarray as xr

from batx.errors import MissingFileError, WriteError

__all__ = ["atomic_path", "input_files"]


@contextmanager
def atomic_path(
    path: str | os.PathLike[str], *, overwrite: bool = False, inputs: Iterable[Path] = ()
) -> Iterator[Path]:
    """Give a temporary name beside `path`; what was written there becomes `path` when the block ends well.

    What is written is flushed to disk before it is renamed. If the block raises, or is interrupted, the
    temporary file or directory is removed and whatever was at `path` is as it was.

    Parameters
    ----------
    path
        Final name of a file or directory; its folder must exist.
    overwrite
        Whether `path` may exist already. A directory is only replaced if it is a Zarr store.
    inputs
        Files that the object to be written was read from; these are never replaced.

    Yields
    ------
    pathlib.Path
        The temporary name; nothing exists there yet.

    Raises
    ------
    WriteError
        If `path` exists and `overwrite` is false, is an input or holds one, or cannot be written.
    MissingFileError
        If the folder of `path` does not exist.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "out.txt") as temporary:
    ...     _ = temporary.write_text("all of it")
    >>> [item.name for item in folder.iterdir()]
    ['out.txt']
    """
    target = Path(path).expanduser()
    if target.is_symlink():
        target = target.resolve()
    inputs = list(inputs)
    _refuse(target, overwrite, inputs)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _flush(temporary)
        _refuse(target, overwrite, inputs)
        _replace(temporary, target)
    except OSError as error:
        if isinstance(error, (WriteError, MissingFileError)):
            raise
        raise WriteError(f"cannot write {target}: {error.strerror or error}; nothing was changed") from error
    finally:
        _remove(temporary)


def _refuse(target: Path, overwrite: bool, inputs: list[Path]) -> None:
    if not target.parent.is_dir():
        raise MissingFileError(f"cannot write {target}: there is no folder {target.parent}; create it first")
    if not target.exists():
        return
    for source in inputs:
        if _is_or_holds(target, source):
            raise WriteError(
                f"refused to write {target}: the object was read from {source}, and inputs are never "
                "modified; choose another name"
            )
    if not overwrite:
        raise WriteError(f"{target} exists; give overwrite=True to replace it, or choose another name")
    if target.is_dir() and not any((target / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
        raise WriteError(
            f"refused to replace the folder {target}: it is not a Zarr store; choose another name"
        )


def _is_or_holds(target: Path, source: Path) -> bool:
    if not source.exists():
        return False
    return os.path.samefile(target, source) or target.resolve() in source.resolve().parents


def _flush(path: Path) -> None:
    """Have the operating system put a file, or everything in a directory, on disk."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    for item in files:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, target: Path) -> None:
    """Move `temporary` to `target`; an existing directory is set aside, and put back if that fails."""
    if not target.is_dir():
        os.replace(temporary, target)
    else:
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
        os.rename(target, aside)
        try:
            os.rename(temporary, target)
        except OSError:
            os.rename(aside, target)
            raise
        _remove(aside)
    if os.name == "posix":
        _flush_directory(target.parent)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def input_files(obj: xr.Dataset | xr.DataTree) -> list[Path]:
    """Return the files that an object says it came from.

    These are ``encoding["source"]`` of the Dataset, of its variables and of every node of a tree, and the
    entries of ``inputs`` in the JSON of ``attrs["provenance"]`` (names, or objects with a ``path``).

    Examples
    --------
    >>> ds = xr.Dataset(attrs={"provenance": '{"inputs": [{"path": "a.evt"}, "b.evt"]}'})
    >>> [path.name for path in input_files(ds)]
    ['a.evt', 'b.evt']
    """
    nodes = (
        [node.to_dataset(inherit=False) for node in obj.subtree] if isinstance(obj, xr.DataTree) else [obj]
    )
    found: dict[Path, None] = {}
    for ds in nodes:
        for encoding in (ds.encoding, *(variable.encoding for variable in ds.variables.values())):
            if isinstance(source := encoding.get("source"), (str, os.PathLike)):
                found[Path(source)] = None
        found |= dict.fromkeys(_recorded_inputs(ds.attrs.get("provenance")))
    if isinstance(obj, xr.DataTree) and isinstance(source := obj.encoding.get("source"), (str, os.PathLike)):
        found[Path(source)] = None
    return list(found)


def _recorded_inputs(provenance: object) -> list[Path]:
    if not isinstance(provenance, str):
        return []
    try:
        record = json.loads(provenance)
    except json.JSONDecodeError:
        return []
    entries = record.get("inputs", []) if isinstance(record, dict) else []
    names = [entry.get("path") if isinstance(entry, dict) else entry for entry in entries]
    return [Path(name) for name in names if isinstance(name, str)]
