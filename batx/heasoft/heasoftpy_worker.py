"""The tools of HEASoft through heasoftpy, each call in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import batx.sessions
from batx.errors import ParameterError, ToolMissingError
from batx.heasoft.backends import Call, Subprocess
from batx.heasoft.processes import Ending, supervise
from batx.heasoft.specs import Task
from batx.sessions.finding import environment_of, probe

__all__ = ["Heasoftpy"]

_SCRIPT = Path(batx.sessions.__file__).parent / "scripts" / "heasoftpy_call.py"
_VARIABLE = "BATX_HEASOFTPY_PYTHON"


class Heasoftpy(Subprocess):
    """The tools of HEASoft through heasoftpy, in an interpreter that has it.

    Parameters
    ----------
    headas, environment
        As of `Subprocess`.
    python
        The interpreter; by default the one that the environment variable ``BATX_HEASOFTPY_PYTHON`` names,
        this one, those of ``$HEADAS``, or ``python3`` on the path, whichever has heasoftpy.

    Notes
    -----
    heasoftpy works with the environment and the parameter files of its process, and keeps all that a tool
    prints in memory; so each call has a process, which takes the time of the import. Its parameters are
    checked here before.

    Examples
    --------
    >>> Heasoftpy(headas="/nowhere").name
    'heasoftpy'
    """

    name = "heasoftpy"

    def __init__(
        self,
        headas: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        python: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(headas, environment)
        self._python = None if python is None else os.fspath(python)
        self._found = ""

    @property
    def python(self) -> str:
        """The interpreter that has heasoftpy; looked for once.

        Raises
        ------
        ToolMissingError
            If there is none.
        """
        if not self._found:
            settings = {**os.environ, **({} if self.place is None else {"HEADAS": str(self.place)})}
            found = probe(self._python, module="heasoftpy", variable=_VARIABLE, environment=settings)
            if found.python is None:
                raise ToolMissingError(f"backend 'heasoftpy': {found.problem}; {found.remedy}")
            self._found = found.python
        return self._found

    def version(self, task: Task) -> str:
        """Return the version of the software, and the checksum of the program."""
        return f"{super().version(task)} (heasoftpy)"

    def execute(self, call: Call) -> Ending:
        """Run the tool; see `batx.heasoft.processes.supervise`."""
        if call.options:
            raise ParameterError(
                f"{call.task.name}: heasoftpy takes no options before the parameters, found {call.options}"
            )
        return supervise(
            self.python,
            ["-B", str(_SCRIPT), call.task.name, json.dumps(dict(call.parameters))],
            environment=environment_of(self.surroundings(call)),
            folder=call.folder,
            log=call.log,
            timeout=call.timeout,
            log_limit=call.log_limit,
            file_limit=call.file_limit,
            stop=call.stop,
        )
