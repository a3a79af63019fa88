"""Fits by pyXspec, in a process of its own."""

from __future__ import annotations

from batx.sessions.finding import Found, probe
from batx.xspec.engine import Xspec

__all__ = ["Found", "Xspec", "probe"]
