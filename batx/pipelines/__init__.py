"""Whole analyses as lists of named steps, which go on where they were interrupted.

`Pipeline` is the frame; every other function here returns one that is ready to run.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from batx.pipelines.frame import Pipeline, SkippedError, Status, Step, Work

#: function that returns a pipeline -> the module that defines it
_PIPELINES = {
    "events": "batx.pipelines.burst_pipeline",
    "glitches": "batx.pipelines.glitch_pipeline",
    "nustar": "batx.pipelines.nustar_pipeline",
    "survey": "batx.pipelines.survey_pipeline",
    "xmm": "batx.pipelines.xmm_pipeline",
    "xrt": "batx.pipelines.xrt_pipeline",
}

__all__ = ["Pipeline", "SkippedError", "Status", "Step", "Work", *_PIPELINES]


def __getattr__(name: str) -> Any:
    if name in _PIPELINES:
        return getattr(import_module(_PIPELINES[name]), name)
    raise AttributeError(f"module 'batx.pipelines' has no attribute '{name}'")
