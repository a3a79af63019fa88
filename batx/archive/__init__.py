"""What the archives have: questions to them, and the ways to their files."""

from __future__ import annotations

from batx.archive.plans import Plan, Planned, fetch, plan

__all__ = ["Plan", "Planned", "fetch", "plan"]
