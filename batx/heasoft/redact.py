"""Keep credentials out of logs and records."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["redact"]

_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/@'\"]+(?::[^\s/@'\"]*)?@")
_ASSIGNED = re.compile(
    r"(?i)\b([A-Z0-9_-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|credential)"
    r"[A-Z0-9_-]*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
)
_BEARER = re.compile(r"(?i)\b(authorization:\s*\w+|bearer)\s+[\w.~+/=-]+")
#: variables whose values name places, and are worth reading in a log
_PLACES = re.compile(r"(SAS|CALDB|HEADAS|LHEA|XAN|PGPLOT|PFILES|PATH|HOME|TMPDIR|DIR$|ROOT$)")
_SHORTEST = 6


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Return text without passwords of URLs, values of secret-like names, and values of the environment.

    Parameters
    ----------
    text
        What a tool said, or a command.
    environment
        Variables given to a call; their values of six letters or more are replaced by their names, but for
        those that name places of the software and its calibration.

    Examples
    --------
    >>> redact("get https://me:pw@example.org/x with api_key=17")
    'get https://***@example.org/x with api_key=***'
    >>> redact("it is opensesame", {"WORD": "opensesame"})
    'it is [WORD]'
    """
    values = {
        value: name
        for name, value in (environment or {}).items()
        if len(value) >= _SHORTEST and not _PLACES.search(name.upper())
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, f"[{values[value]}]")
    text = _URL.sub(r"\1***@", text)
    text = _ASSIGNED.sub(r"\1***", text)
    return _BEARER.sub(r"\1 ***", text)
