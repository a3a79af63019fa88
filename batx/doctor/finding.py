"""One line of ``batx doctor``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    section, name
        Where it belongs and what it is.
    status
        ``"ok"``, ``"absent"`` (optional and not there) or ``"broken"`` (batx cannot work right).
    detail
        Version, place, or what was found.
    remedy
        What to do, empty where nothing is.
    """

    section: str
    name: str
    status: str
    detail: str
    remedy: str = ""
