"""Partial sums of a mosaic on disk: each file holds the sums of some images on one region of the sky.

A file is named after its region and images, is written whole or not at all, and lists its images. Files of
disjoint images add up; when they have, the sum is written first and its parts removed after, so whatever is
found after an interruption can be added up again, each image once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError, WriteError
from batx.io.atomic import atomic_path
from batx.io.store import open_store
from batx.sky_views import Sums

__all__ = ["PartialSums", "sums_on_the_way"]

_SETTINGS = "settings.json"


def sums_on_the_way(images: Sequence[str], batch: int, fan: int) -> set[frozenset[str]]:
    """Return the images of every sum that is made when images are added: alone, in batches, a few batches...

    Examples
    --------
    >>> sorted("".join(sorted(one)) for one in sums_on_the_way("abcd", 2, 2))
    ['a', 'ab', 'abcd', 'b', 'c', 'cd', 'd']
    """
    level = [frozenset(images[first : first + batch]) for first in range(0, len(images), batch)]
    nodes = {frozenset([image]) for image in images} | set(level)
    while len(level) > 1:
        level = [frozenset().union(*level[first : first + fan]) for first in range(0, len(level), fan)]
        nodes |= set(level)
    return nodes


@dataclass(frozen=True)
class PartialSums:
    """A folder of partial sums.

    Attributes
    ----------
    folder
        Where the files are.
    attrs
        Attributes that the files get.
    region_size
        Largest number of cells of a region.
    """

    folder: Path
    attrs: dict[str, Any]
    region_size: int

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], settings: dict[str, Any], attrs: dict[str, Any], region_size: int
    ) -> PartialSums:
        """Return the sums in a folder, which is made if it is not there; if it is, its regions are kept.

        Raises
        ------
        ValueRangeError
            If the folder holds sums that were made with other settings; these are named.
        WriteError
            If `folder` is something else.
        """
        folder = Path(folder).expanduser().absolute()
        wanted = json.loads(json.dumps(settings))
        if not (folder / _SETTINGS).exists():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise WriteError(
                    f"path: found {folder}, which is no folder of partial sums; give an empty or new one"
                )
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(folder / _SETTINGS, overwrite=True) as temporary:
                made = wanted | {"region_size": region_size}
                temporary.write_text(json.dumps(made, indent=1), encoding="utf-8")
        found = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        region_size = found.pop("region_size", region_size)
        if found != wanted:
            keys = sorted({*found, *wanted})
            other = ", ".join(key for key in keys if found.get(key) != wanted.get(key))
            raise ValueRangeError(
                f"path: the partial sums in {folder} were made with another choice of: {other}; use the same "
                "or a new folder"
            )
        return cls(folder, attrs, region_size)

    def name(self, region: int, images: Iterable[str]) -> str:
        """Return the name of the file that holds these images."""
        known = sorted(images)
        digest = hashlib.sha256("\n".join(known).encode()).hexdigest()[:24]
        return f"{region:05d}-{len(known):06d}-{digest}.zarr"

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.folder / name).exists()

    def parts(self) -> dict[int, dict[str, frozenset[str]]]:
        """Return the images of every file, by region; what an interrupted run left behind is removed."""
        found: dict[int, dict[str, frozenset[str]]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.name.endswith(".tmp"):
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix == ".zarr":
                with open_store(path) as ds:
                    images = frozenset(map(str, ds["image_id"].values))
                found.setdefault(int(path.name[:5]), {})[path.name] = images
        for region in found.values():
            for name, images in list(region.items()):
                if any(images < other for other in region.values()):
                    self.remove([name])
                    del region[name]
        return found

    def write(self, name: str, images: Sequence[str], cells: np.ndarray, sums: Sums) -> None:
        """Write sums of images; cells without any are left out."""
        kept = sums.n_images > 0
        variables: dict[str, Any] = {"cell_ids": (("cell",), cells[kept])}
        for field, array in zip(Sums._fields, sums, strict=True):
            dims = ("energy", "cell") if array.ndim == 2 else ("cell",)
            variables[field] = (dims, np.ascontiguousarray(array[..., kept]))
        ds = xr.Dataset(variables, attrs=self.attrs).set_coords("cell_ids")
        encoding = {
            name: {"chunks": tuple(max(size, 1) for size in ds[name].shape), "compressors": None}
            for name in variables
        }
        ds["image_id"] = (("image",), np.array(sorted(images), dtype=object))
        with atomic_path(self.folder / name) as temporary:
            ds.to_zarr(temporary, mode="w-", consolidated=False, zarr_format=3, encoding=encoding)

    def add_to(self, sums: Sums, cells: np.ndarray, name: str) -> None:
        """Add the sums of a file to sums on `cells`, in place.

        Raises
        ------
        ValueRangeError
            If the file has cells that are not among these.
        """
        with open_store(self.folder / name) as ds:
            stored = ds["cell_ids"].values
            parts = Sums(*(ds[field].values for field in Sums._fields))
        at = np.searchsorted(cells, stored)
        if stored.size and (at[-1] >= cells.size or not np.array_equal(cells[at], stored)):
            raise ValueRangeError(f"path: {self.folder / name} holds cells that none of the images shows")
        sums.add(parts, at)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that have been added up."""
        for name in names:
            doomed = self.folder / f".{name}.removed.tmp"
            if self.has(name):
                os.replace(self.folder / name, doomed)  # at once, so that no half of a file is ever found
                shutil.rmtree(doomed, ignore_errors=True)
