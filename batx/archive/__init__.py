"""What the archives have: questions to them, and the ways to their files."""

from __future__ import annotations

from batx.archive.assembly import assemble
from batx.archive.planned import Planned
from batx.archive.plans import Plan, fetch, plan
from batx.archive.swift_tools import clock, guano, triggers
from batx.archive.tables import ask, observations
from batx.archive.trigger_data import fetch_trigger, plan_triggers
from batx.archive.xmm import fetch_xmm

__all__ = [
    "Plan",
    "Planned",
    "ask",
    "assemble",
    "clock",
    "fetch",
    "fetch_trigger",
    "fetch_xmm",
    "guano",
    "observations",
    "plan",
    "plan_triggers",
    "triggers",
]
