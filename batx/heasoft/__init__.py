"""Tools of HEASoft and SAS: checked, private, timed and recorded calls, and their results.

`run` makes one call, `run_many` many; `tools.NAME` is a tool as a function.
"""

from __future__ import annotations

from batx.heasoft import tools
from batx.heasoft.backends import Backend, Call, DryRun, Request, Sas, Subprocess
from batx.heasoft.engine import Engine
from batx.heasoft.parfiles import Parameter, ParFile
from batx.heasoft.processes import Ending
from batx.heasoft.replay import Recorder, Recording, Replay
from batx.heasoft.results import Result
from batx.heasoft.running import request, run, run_many
from batx.heasoft.specs import Task

__all__ = [
    "Backend",
    "Call",
    "DryRun",
    "Ending",
    "Engine",
    "ParFile",
    "Parameter",
    "Recorder",
    "Recording",
    "Replay",
    "Request",
    "Result",
    "Sas",
    "Subprocess",
    "Task",
    "request",
    "run",
    "run_many",
    "tools",
]
