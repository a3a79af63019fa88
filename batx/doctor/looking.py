"""All checks at once, each in a thread, none of which is waited for longer than some seconds."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from batx.doctor import calibration, folders, packages, tools
from batx.doctor import network as web
from batx.doctor.abilities import abilities
from batx.doctor.finding import Finding
from batx.errors import BatxError

__all__ = ["findings"]

#: part of the patience that answers of the network and of interpreters may take
_ANSWERS = 0.85

#: s at least to judge from what was found, for which tools are looked at again
_JUDGING = 1.0

#: whatever is wrong in a check is what was asked for; so it is said like anything else
_FAILURES = (
    *(BatxError, OSError, RuntimeError, ImportError, AttributeError),
    *(LookupError, TypeError, ValueError, ArithmeticError),
)


class _Check(NamedTuple):
    """A check, and what it is called if it fails itself."""

    section: str
    name: str
    look: Callable[[], Iterable[Finding]]


def findings(network: bool = True, patience: float = 3.5) -> Iterator[Finding]:
    """Yield every finding, and at the end what of batx runs here and what not; no tool is started.

    Interpreters are asked whether they have pyXspec and heasoftpy, without loading these. A nameless file is
    made in the working and in the temporary directory to see whether that is possible. All checks run at the
    same time; one that fails itself, or does not end, becomes a finding too.

    Parameters
    ----------
    network
        Whether to see if the archive, and a calibration database that is a URL, answer.
    patience
        Longest time that all checks together may take, s.

    Examples
    --------
    >>> next(findings()).name
    'Python'
    """
    until = time.monotonic() + patience
    running = [(check, _started(check)) for check in _checks(network, _ANSWERS * patience)]
    seen: list[Finding] = []
    for check, results in running:
        for one in _results(check, results, until, patience):
            seen.append(one)
            yield one
    judged = _Check("What runs", "the rest", partial(_judged, seen))
    yield from _results(judged, _started(judged), max(until, time.monotonic() + _JUDGING), patience)


def _judged(seen: list[Finding]) -> Iterator[Finding]:
    """Yield what of batx runs here, by what was found."""
    for name, lacking, remedy in abilities(seen):
        yield Finding("What runs", name, "absent" if lacking else "ok", lacking or "runs", remedy)


def _checks(online: bool, answer: float) -> Iterator[_Check]:
    yield _Check("Python", "packages", packages.look)
    yield _Check("Tools", "HEASoft", partial(tools.suite, "HEASoft"))
    for name in ("heasoftpy", "xspec"):
        yield _Check("Tools", name, partial(tools.module, name, answer))
    yield _Check("Tools", "SAS", partial(tools.suite, "SAS"))
    yield _Check("Calibration", "CALDB", partial(calibration.database, online, answer))
    yield _Check("Calibration", "files", calibration.files)
    if online:
        yield _Check("Network", "network", partial(web.look, answer))
    for name, look in folders.CHECKS.items():
        yield _Check("Files", name, look)


def _started(check: _Check) -> queue.SimpleQueue[Finding | None]:
    """Begin a check; its findings come through the queue, and `None` after the last."""
    results: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            for one in check.look():
                results.put(replace(one, detail=_line(one.detail), remedy=_line(one.remedy)))
        except _FAILURES as error:
            text = _line(str(error)) or type(error).__name__
            remedy = "mend this first; nothing more is known of it"
            results.put(Finding(check.section, check.name, "broken", f"cannot be looked at: {text}", remedy))
        results.put(None)

    threading.Thread(target=look, name=f"doctor: {check.name}", daemon=True).start()
    return results


def _line(text: str) -> str:
    """Return a text on one line, with what cannot be shown (names of files may be anything) as escapes."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _results(
    check: _Check, results: queue.SimpleQueue[Finding | None], until: float, patience: float
) -> Iterator[Finding]:
    while True:
        try:
            one = results.get(timeout=max(until - time.monotonic(), 0.01))
        except queue.Empty:
            yield Finding(
                check.section,
                check.name,
                "broken",
                f"not known after {patience:g} s",
                "a disk or a program that does not answer; see which, and try again",
            )
            return
        if one is None:
            return
        yield one
