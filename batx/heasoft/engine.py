"""The tools of BAT in place of functions of batx: ``engine="heasoft"``.

A function writes what it was given to files in a private folder, runs the tools of its name there, and reads
what they made: the same kind of Dataset as the function itself returns.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError, WriteError
from batx.heasoft.backends import Backend
from batx.heasoft.locks import FileLock
from batx.heasoft.results import Result
from batx.heasoft.running import run

__all__ = ["Bench", "Engine"]

#: function -> the module that has what stands for it
_VERBS = {
    "mask_weight": "counterparts_weights",
    "mask_weight_image": "counterparts_weights",
    "ray_trace": "counterparts_weights",
    "calibrate_energy": "counterparts_weights",
    "lightcurve": "counterparts_events",
    "spectrum": "counterparts_events",
    "detector_plane": "counterparts_events",
    "bayesian_blocks": "counterparts_events",
    "duration": "counterparts_events",
    "hot_pixels": "counterparts_images",
    "clean": "counterparts_images",
    "balance": "counterparts_images",
    "sky_image": "counterparts_images",
    "detect": "counterparts_sources",
    "photometry": "counterparts_sources",
    "background_maps": "counterparts_sources",
    "response": "counterparts_spectra",
    "add_systematics": "counterparts_spectra",
    "add_position": "counterparts_spectra",
    "group": "counterparts_spectra",
    "visibility_gti": "counterparts_orbit",
    "occultation": "counterparts_orbit",
    "gti_from_housekeeping": "counterparts_orbit",
    "survey_gti": "counterparts_survey",
    "steady_attitude": "counterparts_survey",
    "calibrate_histogram": "counterparts_survey",
    "barycenter": "counterparts_orbit",
}


class Engine:
    """Functions of batx done by HEASoft: ``batx.lightcurve(events, dt=1.0, engine=Engine(...))``.

    ``engine="heasoft"`` is ``Engine()``. The methods are the functions that have a counterpart.

    Parameters
    ----------
    backend
        Where the tools run: a backend or its name (see `batx.heasoft.run`); programs below ``$HEADAS`` by
        default.
    folder
        Folder in which the files of the tools, their logs and records are kept, one folder for each
        function; calls that were made before are not made again. Without it they are removed. Calls of one
        function in the same folder wait for each other: without it, or with folders of their own, they do
        not.
    timeout
        Seconds that a tool may take.
    environment
        Variables for the tools, for instance ``CALDB``.

    Examples
    --------
    >>> Engine().lightcurve
    functools.partial(<function lightcurve at ...
    """

    def __init__(
        self,
        backend: str | Backend | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.backend, self.folder = backend, None if folder is None else Path(folder)
        self.timeout, self.environment = timeout, dict(environment or {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _VERBS:
            raise AttributeError(name)
        return partial(getattr(import_module(f"batx.heasoft.{_VERBS[name]}"), name), self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_VERBS})

    @contextmanager
    def bench(self, verb: str) -> Iterator[Bench]:
        """Give a folder to work in for one function; of calls in the same folder, one after the other.

        Examples
        --------
        >>> with Engine().bench("lightcurve") as bench:
        ...     bench.folder.is_dir()
        True
        """
        if self.folder is not None:
            place = self.folder / verb
            try:
                place.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WriteError(f"{verb}: cannot make {place}: {error.strerror or error}") from error
            # the files of one call must not be those of another by the time its tool reads them
            with FileLock(self.folder / f"{verb}.lock", timeout=math.inf):
                yield Bench(self, verb, place)
            return
        with tempfile.TemporaryDirectory(prefix=f"batx-{verb}-") as name:
            yield Bench(self, verb, Path(name))


class Bench:
    """The folder of one function: files are written, tools run, and their files read again.

    Examples
    --------
    >>> Bench(Engine(), "clean", Path("/tmp")).path("a.fits").name
    'a.fits'
    """

    def __init__(self, engine: Engine, verb: str, folder: Path) -> None:
        self.engine, self.verb, self.folder = engine, verb, folder
        self.steps: list[str] = []

    def path(self, name: str) -> Path:
        """Return a file of the folder."""
        return self.folder / name

    def refuse(self, options: Mapping[str, Any]) -> None:
        """Complain of options that the tools have nothing for, unless they are `None` or false."""
        given = [name for name, value in options.items() if value is not None and value is not False]
        if given:
            raise ValueRangeError(
                f"{self.verb}: the engine heasoft has nothing for {', '.join(given)}; leave it out, or use "
                'engine="native"'
            )

    def write(self, ds: xr.Dataset, name: str, **options: Any) -> Path:
        """Write a Dataset for a tool."""
        from batx.io.write import to_fits

        return to_fits(ds, self.path(name), overwrite=True, **options)

    def write_mask(self, mask: Any, name: str = "detmask.fits") -> Path | None:
        """Write a detector mask in any form; `None` if there is none."""
        if mask is None:
            return None
        from batx.reduction import mask_array
        from batx.schema import build

        return self.write(build("detector_mask", {"good": mask_array(mask)}), name)

    def write_optional(self, ds: Any, name: str) -> Path | None:
        """Write a Dataset if there is one; a path is that of the file."""
        if isinstance(ds, (str, os.PathLike)):
            return Path(ds)
        return None if ds is None else self.write(ds, name)

    def run(self, tool: str, **parameters: Any) -> Result:
        """Run a tool; parameters that are `None` are left to it."""
        options: dict[str, Any] = {"timeout": self.engine.timeout, "environment": self.engine.environment}
        result = run(tool, **parameters, backend=self.engine.backend, overwrite=True, **options)
        version = f" ({result.version})" if result.version else ""
        self.steps.append(f"{' '.join(result.command)}{version}")
        return result

    def read(self, path: Path, kind: str | None = None) -> xr.Dataset:
        """Read a file of a tool into memory; raise `KindError` if it is not of the kind expected."""
        from batx.io.open import open_dataset
        from batx.schema import require_kind

        ds = open_dataset(path).load()
        if kind is not None:
            require_kind(ds, kind, operation=f"{self.verb} by the engine heasoft")
        return ds

    def done(self, ds: xr.Dataset) -> xr.Dataset:
        """Return a Dataset that says which tools made it, and not which files that are gone."""
        ds = ds.copy()
        ds.encoding.pop("source", None)
        for variable in ds.variables.values():
            variable.encoding.pop("source", None)
        lines = [ds.attrs.get("history"), *(f"batx.{self.verb}: {step}" for step in self.steps)]
        ds.attrs["history"] = "\n".join(str(line) for line in lines if line)
        return ds


def yes(value: bool | None) -> str | None:
    """Return a boolean as tools read it; `None` stays.

    Examples
    --------
    >>> yes(True)
    'YES'
    """
    return None if value is None else ("YES" if value else "NO")


def joined(value: Any) -> str | None:
    """Return names as one text with commas; `None` stays.

    Examples
    --------
    >>> joined(["pcode", "ndets"])
    'pcode,ndets'
    """
    return value if value is None or isinstance(value, str) else ",".join(map(str, value))


def number(value: Any, unit: str, name: str) -> float | None:
    """Return a number or Quantity in a unit; `None` stays.

    Examples
    --------
    >>> number(2, "s", "dt")
    2.0
    """
    from batx.units import to_value

    return None if value is None else float(to_value(value, unit, name))


def squeezed(ds: xr.Dataset, like: xr.Dataset, *dims: str) -> xr.Dataset:
    """Return a Dataset without the axes of length 1 that `like` has not.

    Examples
    --------
    >>> squeezed(xr.Dataset({"a": ("time", [1.0])}), xr.Dataset(), "time")["a"].dims
    ()
    """
    for dim in dims:
        if dim in ds.dims and ds.sizes[dim] == 1 and dim not in like.dims:
            ds = ds.isel({dim: 0})
    return ds


def edges_of(lower: np.ndarray, upper: np.ndarray) -> list[str]:
    """Return bands as the tools read them.

    Examples
    --------
    >>> edges_of(np.array([15.0]), np.array([25.0]))
    ['15-25']
    """
    return [f"{low:.10g}-{high:.10g}" for low, high in zip(lower, upper, strict=True)]


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in _VERBS:
        raise AttributeError(name)
    return getattr(Engine(), name)
