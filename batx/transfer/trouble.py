"""What went wrong with one try, and whether another is worth it."""

from __future__ import annotations

import random

from batx.transfer.limits import Limits

__all__ = ["AttemptError", "backoff"]


class AttemptError(Exception):
    """One try that failed.

    Parameters
    ----------
    reason
        What happened, without secrets.
    final
        Whether the same server would only say it again.
    missing
        Whether the server says that there is no such file.
    unreachable
        Whether there was no connection at all.
    wait
        How long the server asks to wait, s.
    restart
        Whether what is there already must not be used.
    """

    def __init__(
        self,
        reason: str,
        *,
        final: bool = False,
        missing: bool = False,
        unreachable: bool = False,
        wait: float | None = None,
        restart: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final or missing
        self.missing = missing
        self.unreachable = unreachable
        self.wait = wait
        self.restart = restart


def backoff(failures: int, limits: Limits) -> float:
    """Return the pause after so many failures in a row, s: doubling, with jitter of a half.

    Examples
    --------
    >>> 0.5 <= backoff(1, Limits(pause=1.0)) <= 1.0
    True
    """
    longest = min(limits.pause * 2.0 ** min(failures - 1, 30), limits.longest_pause)
    return longest * random.uniform(0.5, 1.0)
