"""Many survey observations processed by batx itself, where batsurvey is not there or not wanted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Event
from typing import Any

from batx.errors import BatxError, ToolMissingError
from batx.heasoft.backends import Backend, backend_for
from batx.heasoft.tasklist import known_task
from batx.io.atomic import atomic_path
from batx.io.open import open_dataset
from batx.pipelines.frame import Work
from batx.pipelines.surveys.native import native_settings, process_observation

__all__ = ["Processed", "is_native", "process_many", "why_missing"]

#: what was done with what, in the folder of the results
_RECORD = "batx.json"


@dataclass(frozen=True)
class Processed:
    """An observation that was processed.

    Attributes
    ----------
    outputs
        Its folder, as for a tool.
    version
        Of batx.
    """

    outputs: Mapping[str, Path]
    version: str


def is_native(engine: str | None, backend: str | Backend | None) -> bool:
    """Whether batx is to process observations: if it is asked for, or batsurvey is not there.

    Examples
    --------
    >>> is_native("native", None), is_native("heasoft", None)
    (True, False)
    """
    if engine is not None:
        return engine == "native"
    return why_missing(backend) is not None


def why_missing(backend: str | Backend | None) -> ToolMissingError | None:
    """Return why batsurvey cannot be run, `None` if it can."""
    task = known_task("batsurvey")
    try:
        backend_for(backend, task).parameters(task)
    except ToolMissingError as error:
        return error
    return None


def process_many(
    work: Work,
    given: Mapping[str, tuple[str, dict[str, Any]]],
    home: Path,
    *,
    workers: int | None = None,
    missing: ToolMissingError | None = None,
) -> list[Any]:
    """Return what was made of each observation, `Processed` or the error.

    What was made before of the same files with the same parameters is not made again. When interrupted,
    what is under way ends after its snapshot, and leaves nothing.

    Parameters
    ----------
    work
        Of the step.
    given
        Folder and parameters of batsurvey for each observation.
    home
        Folder of the results, one for each observation.
    workers
        Observations at a time; one if not given, as each takes all processors.
    missing
        Why batsurvey is not used, if it would have been.
    """
    path = work.path("catalog")
    for _, parameters in given.values():
        native_settings(parameters)  # what is wrong with them is told before anything is done
    catalog = open_dataset(path).load()
    if missing is not None:
        work.notes.append("batsurvey is not there: observations were processed by batx itself")
    done = 0
    interrupted = Event()

    def go_on(_: str) -> None:
        if interrupted.is_set():
            raise CancelledError

    def one(item: tuple[str, tuple[str, dict[str, Any]]]) -> Processed | BatxError:
        nonlocal done
        name, (folder, parameters) = item
        target = home / name
        key = _key(Path(folder), path, parameters)
        made = Processed({"outdir": target}, f"batx {version('batx')}")
        try:
            if _recorded(target) != key:
                process_observation(folder, target, catalog, parameters, progress=go_on)
                with atomic_path(target / _RECORD) as temporary:
                    temporary.write_text(json.dumps({"key": key, "version": made.version}) + "\n")
        except BatxError as error:
            return error if missing is None else BatxError(f"{error} (and batsurvey is not there: {missing})")
        done += 1
        work.progress(f"{done} of {len(given)} observations")
        return made

    with ThreadPoolExecutor(workers or 1) as pool:
        try:
            return list(pool.map(one, given.items()))
        finally:
            interrupted.set()  # if all are done there is nobody whom it stops


def _key(folder: Path, catalog: Path, parameters: Mapping[str, Any]) -> str:
    """Return a digest of the files of an observation, the catalogue and parameters."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    said = json.dumps([states, sorted((str(k), str(v)) for k, v in parameters.items()), version("batx")])
    return hashlib.sha256(said.encode() + catalog.read_bytes()).hexdigest()


def _recorded(target: Path) -> str | None:
    """Return the digest of what a folder was made of."""
    try:
        return str(json.loads((target / _RECORD).read_text())["key"])
    except (OSError, ValueError, KeyError):
        return None
