"""The tools that batx knows."""

from __future__ import annotations

from batx.errors import ParameterError
from batx.heasoft.parfiles import nearest
from batx.heasoft.specs import Task

__all__ = ["TASKS", "known_task"]

_BAT = (
    Task(
        "batbinevt",
        "light curves, spectra and detector images from events or survey histograms",
        inputs=("infile", "gtifile", "maskwt", "detmask"),
        either=("energybins",),
        lists=("infile",),
        outputs={"outfile": "fits"},
    ),
    Task(
        "batdetmask",
        "detector mask for a time",
        inputs=("detmask",),
        either=("date",),
        outputs={"outfile": "fits"},
    ),
    Task(
        "batphasyserr",
        "systematic errors of a spectrum",
        inputs=("syserrfile",),
        edits=("infile",),
    ),
)

#: name -> specification
TASKS = {task.name: task for task in _BAT}


def known_task(name: str) -> Task:
    """Return the specification of a tool that batx knows.

    Parameters
    ----------
    name
        As the tool is called (``batsurvey-gti``), or as Python spells it (``batsurvey_gti``).

    Raises
    ------
    ParameterError
        If batx does not know it; any other tool runs from a `Task` of your own.

    Examples
    --------
    >>> known_task("batphasyserr").edits
    ('infile',)
    """
    if name in TASKS:
        return TASKS[name]
    for other in TASKS:
        if other.replace("-", "_") == name:
            return TASKS[other]
    raise ParameterError(
        f"batx knows no tool {name!r}{nearest(name, TASKS)}; give a batx.heasoft.Task that says what it "
        "reads and writes"
    )
