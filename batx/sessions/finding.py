"""Which interpreter has pyXspec, and the environment that it needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Found", "environment_of", "probe"]

#: asked of an interpreter: where it is, and where it would find the module; nothing is imported
_QUESTION = """
import importlib.util, json, sys
spec = importlib.util.find_spec({module!r})
sys.stdout.write("\\n" + json.dumps([sys.executable, None if spec is None else str(spec.origin)]) + "\\n")
"""
_REMEDY = (
    "source the set-up script of HEASoft (headas-init), which has it, or name the interpreter that has the "
    "module {module} with ${variable}"
)


@dataclass(frozen=True)
class Found:
    """Where a module that needs HEASoft is.

    Attributes
    ----------
    python
        The interpreter that has it; `None` if none was found.
    place
        The module.
    problem, remedy
        What was tried, and what to do, if there is none.
    """

    python: str | None
    place: str = ""
    problem: str = ""
    remedy: str = ""


def probe(
    python: str | os.PathLike[str] | None = None,
    timeout: float = 20.0,
    *,
    module: str = "xspec",
    variable: str = "BATX_XSPEC_PYTHON",
    environment: Mapping[str, str] | None = None,
) -> Found:
    """Look for an interpreter with pyXspec, without loading it.

    Parameters
    ----------
    python
        The interpreter to ask, and no other; by default the one that the environment variable names, else
        this one, those of ``$HEADAS``, and ``python3`` and ``python`` on the path, one after the other.
    timeout
        Seconds that all of them together may take to answer; each is given half of what is left.
    module, variable
        What to look for, and the environment variable that names the interpreter.
    environment
        The environment variables; by default those of this process.

    Returns
    -------
    Found
        What was found; nothing is raised.

    Examples
    --------
    >>> probe("/nowhere/python").problem
    '/nowhere/python: not found'
    """
    settings = dict(os.environ if environment is None else environment)
    given = python or settings.get(variable)
    problems = []
    until = time.monotonic() + timeout
    for candidate in [os.fspath(given)] if given else _candidates(settings):
        left = until - time.monotonic()
        found = _asked(candidate, module, environment_of(settings), left if given else left / 2)
        if found.python is not None:
            return found
        problems.append(found.problem)
    remedy = _REMEDY.format(module=module, variable=variable)
    return Found(None, problem="; ".join(problems), remedy=remedy)


def _candidates(settings: Mapping[str, str]) -> Iterator[str]:
    """Yield interpreters that may have it, each once."""
    folders = []
    if headas := settings.get("HEADAS"):
        folders = [Path(headas) / "bin", Path(headas).parent / "bin"]
    names = [sys.executable, *(str(folder / "python3") for folder in folders)]
    names = [name for name in names if name and Path(name).exists()]
    names += [shutil.which(name, path=settings.get("PATH")) or "" for name in ("python3", "python")]
    seen = set()
    for name in names:
        if name and os.path.realpath(name) not in seen:
            seen.add(os.path.realpath(name))
            yield name


def _asked(python: str, module: str, environment: Mapping[str, str], timeout: float) -> Found:
    try:
        code, printed = _answer([python, "-c", _QUESTION.format(module=module)], environment, timeout)
    except subprocess.TimeoutExpired:
        return Found(None, problem=f"{python}: no answer in {timeout:.1f} s")
    except FileNotFoundError:
        return Found(None, problem=f"{python}: not found")
    except OSError as error:
        return Found(None, problem=f"{python}: cannot be started ({error.strerror})")
    try:
        executable, place = json.loads(printed.decode(errors="replace").splitlines()[-1])
    except (ValueError, IndexError, TypeError):
        return Found(None, problem=f"{python}: is no Python 3 (exit code {code})")
    if place is None:
        return Found(None, problem=f"{python}: has no module {module}")
    return Found(executable or python, place)


def _answer(command: list[str], environment: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    """Return exit code and output of a program, which ends in time with all that it started in its group."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
        start_new_session=True,
    )
    with process:
        try:
            printed, _ = process.communicate(timeout=timeout)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, printed


def environment_of(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that HEASoft needs: no questions, and its libraries also before its set-up.

    Parameters
    ----------
    settings
        Environment variables; by default those of this process, which stay as they are.

    Examples
    --------
    >>> environment_of({"HEADAS": "/opt-heasoft/x86_64"})["PYTHONPATH"]
    '/opt-heasoft/x86_64/lib/python'
    """
    made = dict(os.environ if settings is None else settings)
    made.update(HEADASNOQUERY="1", HEADASPROMPT=os.devnull, PGPLOT_TYPE="/null")
    if headas := made.get("HEADAS"):
        library = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
        for name, folder in (("PYTHONPATH", "lib/python"), (library, "lib")):
            places = [place for place in made.get(name, "").split(os.pathsep) if place]
            if os.path.join(headas, folder) not in places:
                made[name] = os.pathsep.join([*places, os.path.join(headas, folder)])
    return made
