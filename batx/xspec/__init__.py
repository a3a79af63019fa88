"""Fits by pyXspec, in a process of its own."""

from __future__ import annotations

from batx.xspec.engine import Xspec
from batx.xspec.finding import Found, probe

__all__ = ["Found", "Xspec", "probe"]
