"""Whether servers answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from urllib.request import getproxies

from batx.doctor.finding import Finding
from batx.errors import BatxError

__all__ = ["Answer", "ask", "look"]

#: how long a place took to answer, s, and what was wrong if it did not
Answer = tuple[float, str]
_NOT_THERE = "it is not there"


def look(patience: float) -> Iterator[Finding]:
    """Yield proxies, and whether the archive answers within some seconds."""
    until = time.monotonic() + patience  # what is loaded here takes its time too
    from batx.archive.layouts import mirror_list
    from batx.archive.tables import SERVICE
    from batx.transfer.limits import shown

    try:
        mirrors = mirror_list()
    except BatxError as error:
        yield Finding("Network", "mirrors", "broken", str(error), "mend the address, or remove it")
        mirrors = []
    yield from _proxies()
    wanted = [("mirror", place) for place in mirrors] + [("questions", f"{SERVICE}/availability")]
    answers = ask([place for _, place in wanted], until)
    for name, place in wanted:
        taken, problem = answers[place]
        if not problem:
            yield Finding("Network", name, "ok", f"{shown(place)} answers within {taken:.1f} s")
            continue
        remedy = (
            "without a network, what is in the data directory can be used (offline); else see $HTTPS_PROXY, "
            "or name other mirrors in $BATX_MIRRORS"
            if name == "mirror"
            else "observations cannot be looked for; with their dates they can be fetched"
        )
        yield Finding("Network", name, "absent", f"{shown(place)}: {problem}", remedy)


def _proxies() -> Iterator[Finding]:
    from batx.transfer.limits import shown

    named = {kind: value for kind, value in getproxies().items() if kind != "no" and value}
    places = {shown(value if "://" in value else f"http://{value}") for value in named.values()}
    if places:
        yield Finding("Network", "proxy", "ok", f"{', '.join(sorted(places))}: asked for what follows")


def ask(places: Sequence[str], until: float) -> Mapping[str, Answer]:
    """Return how long each place took to answer, or what was wrong; all are asked at once.

    Parameters
    ----------
    places
        Addresses: of a page, of a file, or of a folder that is looked into.
    until
        When to give up, by `time.monotonic`.
    """
    patience = max(round(until - time.monotonic(), 1), 0.1)
    answers: dict[str, Answer] = {}
    threads = [
        threading.Thread(target=_ask, args=(place, patience, answers), daemon=True) for place in places
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    return {place: answers.get(place, (0.0, f"no answer within {patience:.1f} s")) for place in places}


def _ask(place: str, patience: float, answers: dict[str, Answer]) -> None:
    from batx.transfer import Limits, entries, exists
    from batx.transfer.limits import address, scheme, shown

    limits = Limits(timeout=patience, stall=patience, retries=0)
    begin = time.monotonic()
    try:
        is_file = place.endswith(("/availability", ".indx"))
        if is_file or scheme(address(place)) in ("http", "https"):
            there = exists(place if is_file else f"{place}/", limits=limits)
        else:
            there = bool(entries(place, limits=limits))
        answers[place] = time.monotonic() - begin, "" if there else _NOT_THERE
    except (BatxError, OSError) as error:
        named = shown(place)
        answers[place] = 0.0, str(error).removeprefix(f"{named}/: ").removeprefix(f"{named}: ")
