"""What is to be fetched, and how its progress is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """

    name: str
    urls: str | Sequence[str]
    size: int | None = None
    checksum: str | None = None
    kind: str | None = None
