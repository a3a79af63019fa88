"""What is to be fetched, and how its progress is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Item", "Progress"]

#: called with the name of a file, how many bytes of it are there, and how many it has if that is known
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Item:
    """A file to fetch.

    Attributes
    ----------
    name
        Its name below the target folder, with ``/``.
    urls
        One address, or several of the same file in the order in which they are tried.
    size
        Bytes, if known for certain.
    checksum
        ``"sha256:..."``, ``"md5:..."`` and so on, if known.
    kind
        What it must be; judged from its name if not given, ``"unchecked"`` for no check.
    check
        Called with the file once all of it is there, under another name yet; returns what is wrong with it,
        empty if nothing is.
    """

    name: str
    urls: str | Sequence[str]
    size: int | None = None
    checksum: str | None = None
    kind: str | None = None
    check: Callable[[Path], str] | None = None
