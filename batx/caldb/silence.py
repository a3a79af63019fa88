"""Servers that could not be reached a moment ago, and are not asked again for every file."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from batx.errors import UnreachableError

__all__ = ["PAUSE", "ask_again", "check", "note", "silent"]

#: for how long what failed is not tried again, s
PAUSE = 60.0
#: address to the time until which it is left alone, and what was wrong; of this process
_UNTIL: dict[str, tuple[float, str]] = {}
_LOCK = threading.Lock()


def silent() -> Mapping[str, float]:
    """Return the addresses of calibration that did not answer, and in how many seconds they are asked again.

    Without a network every call that looks for calibration on a server would wait for it in vain. What did
    not answer is therefore left alone for a minute, in this process; `ask_again` ends that, and
    `batx.caldb.fetch` asks in any case.

    Examples
    --------
    >>> dict(silent())
    {}
    """
    now = time.monotonic()
    with _LOCK:
        return {place: until - now for place, (until, _) in _UNTIL.items() if until > now}


def ask_again() -> None:
    """Forget which servers did not answer, so that the next call asks them."""
    with _LOCK:
        _UNTIL.clear()


def note(place: str, reason: str) -> None:
    """Remember for a while that an address does not answer."""
    with _LOCK:
        _UNTIL[place] = time.monotonic() + PAUSE, reason


def check(place: str) -> None:
    """Raise if an address did not answer a moment ago.

    Raises
    ------
    UnreachableError
        With what was wrong, and when it is asked again.
    """
    with _LOCK:
        until, reason = _UNTIL.get(place, (0.0, ""))
    wait = until - time.monotonic()
    if wait > 0:
        raise UnreachableError(
            f"{place}: {reason} {PAUSE - wait:.0f} s ago; it is asked again in {wait:.0f} s, or at once "
            "after batx.caldb.ask_again()"
        )
