"""Each tool that batx knows as a function: ``tools.batbinevt(infile=..., outfile=..., outtype="LC")``."""

from __future__ import annotations

from typing import Any

from batx.errors import ParameterError
from batx.heasoft.backends import Backend, Request, backend_for
from batx.heasoft.parfiles import ParFile
from batx.heasoft.results import Result
from batx.heasoft.running import request, run
from batx.heasoft.specs import Task
from batx.heasoft.tasklist import TASKS, known_task

__all__ = ["Tool"]


class Tool:
    """A tool as a function; its parameters are those of the tool, its options those of `batx.heasoft.run`.

    Examples
    --------
    >>> Tool(known_task("batbinevt")).request(infile="a.evt", outfile="a.lc").task.name
    'batbinevt'
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.__name__ = task.name.replace("-", "_")
        self.__doc__ = _described(task)

    def __call__(self, /, *parameters: Any, **options: Any) -> Result:
        """Run the tool; see `batx.heasoft.run`."""
        return run(self.task, *parameters, **options)

    def request(self, /, *parameters: Any, **options: Any) -> Request:
        """Describe a call for `batx.heasoft.run_many`."""
        return request(self.task, *parameters, **options)

    def parameters(self, backend: str | Backend | None = None) -> ParFile | None:
        """Return the tool's parameters, from its parameter file: types, defaults, ranges."""
        return backend_for(backend, self.task).parameters(self.task)

    def __repr__(self) -> str:
        return f"<tool {self.task.name}: {self.task.summary}>"


def _described(task: Task) -> str:
    """Return what help() shows of a tool."""
    lines = [f"{task.summary[:1].upper()}{task.summary[1:]} ({task.name}).", ""]
    for label, names in (
        ("reads", (*task.inputs, *task.either)),
        ("edits a copy of", (*task.edits, *task.copies)),
        ("writes", tuple(task.outputs)),
    ):
        if names:
            lines.append(f"{label}: {', '.join(names)}")
    for name, patterns in task.products.items():
        lines.append(f"makes {name}: {', '.join(patterns)}")
    return "\n".join(lines)


def __getattr__(name: str) -> Tool:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return Tool(known_task(name))
    except ParameterError as error:
        raise AttributeError(str(error)) from error


def __dir__() -> list[str]:
    return sorted(name.replace("-", "_") for name in TASKS)
