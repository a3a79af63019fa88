"""Programs that cannot be trusted inside this process, each in one of its own that can be ended."""

from __future__ import annotations

from batx.sessions.session import Session

__all__ = ["Session"]
