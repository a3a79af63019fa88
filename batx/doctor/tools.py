"""The tools of HEASoft and SAS, and the modules that come with them; nothing is started but interpreters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from batx.doctor.finding import Finding
from batx.errors import BatxError

__all__ = ["SUITES", "Suite", "ccf_problem", "module", "problem", "suite"]


class Suite(NamedTuple):
    """A set of tools: its variable, the folder of its parameter files, and what must be there at least."""

    variable: str
    parameters: str
    member: str
    purpose: str
    install: str


SUITES = {
    "HEASoft": Suite(
        "HEADAS",
        "syspfiles",
        "batbinevt",
        "optional: batx computes without it",
        "install HEASoft with it and source its set-up script ($HEADAS)",
    ),
    "SAS": Suite(
        "SAS_DIR",
        "config",
        "epproc",
        "optional: for XMM-Newton data",
        "install SAS and source its set-up scripts ($SAS_DIR)",
    ),
}
_MODULES = {"heasoftpy": "BATX_HEASOFTPY_PYTHON", "xspec": "BATX_XSPEC_PYTHON"}


def problem(name: str, tool: str) -> str:
    """Return why batx could not call a tool of a set, empty if it could.

    Parameters
    ----------
    name
        ``"HEASoft"`` or ``"SAS"``.
    tool
        What it is called.
    """
    from batx.heasoft.backends import Sas, Subprocess
    from batx.heasoft.tasklist import known_task

    task = known_task(tool)
    try:
        backend = Subprocess() if name == "HEASoft" else Sas()
        backend.program(task)
    except (BatxError, OSError):
        return "no program"
    try:
        if name != "SAS":  # whose tasks run without, unchecked
            backend.parameters(task)
    except (BatxError, OSError):
        return "no parameter file that can be read"
    return ""


def suite(name: str) -> Iterator[Finding]:
    """Yield what is there of a set of tools, where the variable of its set-up script points to."""
    from batx.heasoft.tasklist import TASKS

    one = SUITES[name]
    place = os.environ.get(one.variable)
    if not place:
        yield Finding("Tools", name, "absent", f"${one.variable} is not set", one.purpose)
        return
    wanted = sorted(task.name for task in TASKS.values() if task.suite == name.lower())
    problems = {tool: problem(name, tool) for tool in wanted}
    mend = f"source the set-up script of {name}, or unset {one.variable}"
    if problems[one.member] == "no program":
        text = f"${one.variable}={place} has no bin/{one.member} that can be run"
        yield Finding("Tools", name, "broken", text, mend)
        return
    good = [tool for tool, text in problems.items() if not text]
    missing = [tool for tool, text in problems.items() if text == "no program"]
    unread = [tool for tool in problems if tool not in good and tool not in missing]
    text = f"{_release(place)}{place}: {len(good)} of the {len(wanted)} tools that batx can call"
    if unread:
        text += f"; no parameter files in {one.parameters} that can be read: {_few(unread)}"
        yield Finding("Tools", name, "broken", text, f"install {name} anew: {one.parameters} is part of it")
    elif missing:
        yield Finding(
            "Tools",
            name,
            "ok",
            text,
            f"not there: {_few(missing)}; install these parts of {name} if you need them",
        )
    else:
        yield Finding("Tools", name, "ok", text)
    if name == "SAS" and (lacking := ccf_problem()):
        yield Finding("Tools", "SAS calibration", "absent", lacking, _CCF_REMEDY)


_CCF_REMEDY = "get the current calibration files (CCF) of XMM-Newton and name their folder with $SAS_CCFPATH"


def ccf_problem() -> str:
    """Return what is wrong with the calibration files of SAS, empty if some are there."""
    named = os.environ.get("SAS_CCFPATH", "")
    if not named:
        return "$SAS_CCFPATH is not set"
    for place in filter(None, named.split(os.pathsep)):
        try:
            if any(one.upper().endswith(".CCF") for one in os.listdir(place)):
                return ""
        except OSError:  # no folder, or one that cannot be read
            continue
    return f"$SAS_CCFPATH={named} has no calibration file (*.CCF)"


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _release(place: str) -> str:
    """Return the version that the path of an installation names."""
    found = re.findall(
        r"heasoft[-_]?v?(\d+\.[\d.]*\d)|(xmmsas_[\w.-]+)", os.path.realpath(place), re.IGNORECASE
    )
    return f"{''.join(found[-1])}, " if found else ""


def module(name: str, patience: float) -> Iterator[Finding]:
    """Ask the interpreters that may have a module whether they would find it, for so many seconds at most."""
    from batx.sessions.finding import probe

    variable = _MODULES[name]
    found = probe(timeout=patience, module=name, variable=variable)
    if found.python is not None:
        yield Finding("Tools", name, "ok", f"{found.place} (of {found.python})")
    elif os.environ.get(variable):
        yield Finding("Tools", name, "broken", found.problem, found.remedy)
    else:
        yield Finding(
            "Tools", name, "absent", found.problem or "no interpreter was found", f"optional: {found.remedy}"
        )
