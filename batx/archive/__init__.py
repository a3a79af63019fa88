"""What the archives have: questions to them, and the ways to their files."""

from __future__ import annotations

from batx.archive.plans import Plan, Planned, fetch, plan
from batx.archive.swift_tools import clock, guano, triggers
from batx.archive.tables import ask, observations

__all__ = ["Plan", "Planned", "ask", "clock", "fetch", "guano", "observations", "plan", "triggers"]
