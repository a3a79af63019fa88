"""The processes that come from this one: found and adopted, so that none outlives it.

For scripts that run in other interpreters: any Python from 3.8 will do, with few modules of its library.
"""

from __future__ import annotations

import os
import sys

__all__ = ["adopt_orphans", "descendants", "die_with_parent"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    """Make the Linux call of that name; nothing elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return


def adopt_orphans() -> None:
    """Become the parent of whatever a child starts and leaves, also outside its process group (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Ask for a signal when the parent ends (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, number)


def descendants() -> list[int]:
    """Return the numbers of all processes below this one, as far as the system's table says (Linux)."""
    children: dict = {}
    try:
        entries = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for process in entries:
        try:
            with open(f"/proc/{process}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(process)
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
