"""Calls of mission tools from the steps of a pipeline: in parallel, gone on with, each failure on its own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batx.errors import BatxError, ParameterError, ToolMissingError
from batx.heasoft import Backend, Request, Result, request, run_many
from batx.heasoft.crowd import run_all
from batx.heasoft.running import perform
from batx.pipelines.frame import Work

__all__ = [
    "ToolSteps",
    "Toolbox",
    "drawn",
    "each",
    "keep_going",
    "place",
    "put",
    "put_folder",
    "put_products",
]


#: what there is without tools
ARCHIVED = (
    "without tools, reprocess=False (--no-reprocess) makes light curves and images of the cleaned events of "
    "the archive"
)


@dataclass(frozen=True)
class Toolbox:
    """Where tools run, and how many at a time.

    Attributes
    ----------
    backend
        As for `batx.heasoft.run`: a backend, its name, or `None` for that of the tool's software.
    workers
        Calls at a time; by default the number of processors.
    timeout
        Seconds that a call may take; by default that of the tool.
    """

    backend: str | Backend | None = None
    workers: int | None = None
    timeout: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def request(self, work: Work, key: str, tool: Any, **parameters: Any) -> Request:
        """Describe a call whose outputs lie below ``work.scratch / key``.

        Parameters
        ----------
        work
            Of the step.
        key
            Name of a folder, of which each call of a step that may write the same files has its own.
        tool
            Name, or `batx.heasoft.Task`.
        **parameters
            Of the tool and of `batx.heasoft.request`. Those of the option ``<tool>_settings`` of the step
            come on top.

        Raises
        ------
        ParameterError
            If such an option has one of `parameters`.
        """
        environment = {**self.environment, **parameters.pop("environment", {})}
        name = tool if isinstance(tool, str) else tool.name
        further = work.options.get(f"{name}_settings") or {}
        if fixed := sorted(set(further) & set(parameters)):
            raise ParameterError(f"settings: {name}: {', '.join(fixed)} is set by the pipeline")
        parameters |= further
        return request(
            tool,
            backend=self.backend,
            timeout=self.timeout,
            environment=environment,
            records=place(work, f"{key}/records"),
            overwrite=True,
            **parameters,
        )

    def run(self, work: Work, calls: Mapping[str, Request], instead: str = "") -> dict[str, Result]:
        """Make calls, by their names; those that fail become notes of the step.

        Parameters
        ----------
        work
            Of the step.
        calls
            What to call.
        instead
            What a user can do who has no such tool.

        Raises
        ------
        ToolMissingError
            If the tool is not there.
        BatxError
            The first failure, if all of them fail.
        """
        names = list(calls)

        def progress(done: int, total: int, _: Any) -> None:
            work.progress(f"{done} of {total}")

        found = run_many(calls.values(), workers=self.workers, progress=progress, errors="return")
        try:
            return keep_going(work, dict(zip(names, found, strict=True)))
        except ToolMissingError as error:
            raise ToolMissingError(f"{error}; {instead}" if instead else str(error)) from None

    def one(self, work: Work, key: str, tool: Any, **parameters: Any) -> Result:
        """Make one call; see `request`."""
        return perform(self.request(work, key, tool, **parameters))

    def chains(self, work: Work, jobs: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Do jobs in parallel, each of which makes calls one after the other (`one`); see `run`."""
        names = list(jobs)

        def progress(done: int, total: int, _: Any) -> None:
            work.progress(f"{done} of {total}")

        found = run_all(lambda name: jobs[name](), names, self.workers, None, progress, True)
        return keep_going(work, dict(zip(names, found, strict=True)))


class ToolSteps:
    """Steps that call tools, as methods.

    Parameters
    ----------
    toolbox
        Where they run.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox


def place(work: Work, name: str) -> Path:
    """Return a folder below the scratch folder of a step; it is made."""
    path = work.scratch / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def keep_going(work: Work, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is no error, by name; errors become notes, or are raised if there is nothing else."""
    failed = {name: one for name, one in outcomes.items() if isinstance(one, BatxError)}
    if failed and len(failed) == len(outcomes):
        raise next(iter(failed.values()))
    for name, error in failed.items():
        work.notes.append(f"{name}: {_with_log(work, name, error)}")
    return {name: one for name, one in outcomes.items() if name not in failed}


def _with_log(work: Work, name: str, error: BatxError) -> str:
    """Return what an error says; the log that it names becomes a product, as the scratch folder will go."""
    log = getattr(getattr(error, "result", None), "log_file", None)
    if log is None or not Path(log).is_file():
        return str(error)
    plain = re.sub(r"[^\w.-]", "_", name)
    kept = f"logs/{plain}_{Path(log).name}"
    put(work, Path(log), kept)
    return str(error).replace(str(log), str(work.root / kept))


def each(work: Work, items: Mapping[str, Any], make: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Do something for each item in turn, with `keep_going` for what fails."""
    outcomes: dict[str, Any] = {}
    for number, (name, item) in enumerate(items.items(), 1):
        work.progress(f"{name}, {number} of {len(items)}")
        try:
            outcomes[name] = make(name, item)
        except BatxError as error:
            outcomes[name] = error
    return keep_going(work, outcomes)


def drawn(work: Work, pictures: Mapping[str, Callable[[], Any]]) -> list[str]:
    """Draw pictures, by name; what cannot be drawn becomes a note. Return the names of those that were."""
    made = []
    for name, draw in pictures.items():
        work.progress(f"drawing {name}")
        try:
            draw()
        except BatxError as error:
            work.notes.append(f"no picture '{name}': {error}")
        else:
            made.append(name)
    return made


def put(work: Work, path: Path, name: str) -> Path:
    """Make a file a product of the step; it stays where it is, too.

    Parameters
    ----------
    work
        Of the step.
    path
        The file, below the scratch folder or anywhere.
    name
        Of the product.
    """
    target = work.output(name)
    if work.scratch in path.parents:
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
    else:
        shutil.copyfile(path, target)
    return target


def put_products(work: Work, results: Mapping[str, Result]) -> dict[str, dict[str, str]]:
    """Make the whole output folders of calls products of the step, as ``products/<name>/``; see `put`.

    Returns
    -------
    dict
        Name of the call to what its tool promises, and the path of that (the first, if there are several)
        below the folder of the pipeline.
    """
    made = {}
    for name, result in results.items():
        put_folder(work, result["outdir"], f"products/{name}")
        made[name] = {
            kind: f"products/{name}/{paths[0].relative_to(result['outdir']).as_posix()}"
            for kind, paths in result.products.items()
            if paths
        }
    return made


def put_folder(work: Work, folder: Path, name: str) -> None:
    """Make all files below a folder products of the step, under a name; see `put`."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        put(work, path, f"{name}/{path.relative_to(folder).as_posix()}")
