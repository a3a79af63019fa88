"""A worker that answers with what it is asked, for trying out sessions."""

from __future__ import annotations

import sys
from typing import Any


def hello() -> dict[str, Any]:
    """Return what runs here."""
    return {"python": sys.version.split()[0]}


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload."""
    return payload


VERBS = {"echo": echo}
