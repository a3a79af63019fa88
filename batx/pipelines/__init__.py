"""Whole analyses as lists of named steps, which go on where they were interrupted."""

from __future__ import annotations

from batx.pipelines.frame import Pipeline, SkippedError, Status, Step, Work

__all__ = ["Pipeline", "SkippedError", "Status", "Step", "Work"]
