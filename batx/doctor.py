"""What is installed, what is found, and what that means: the checks behind ``batx doctor``."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from urllib.request import getproxies

from batx.errors import BatxError

__all__ = ["Finding", "findings"]

_PYTHON = (3, 11)
#: longest wait for an answer of the network, or of an interpreter, s
_PATIENCE = 6.0
_LEAST_ROOM = 2.0


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


def findings(network: bool = True) -> Iterator[Finding]:
    """Yield every finding, and at the end what of batx runs here and what not; no tool is started.

    Interpreters are asked whether they have pyXspec and heasoftpy, without loading these. A nameless file is
    made in the working and in the temporary directory to see whether that is possible.

    Parameters
    ----------
    network
        Whether to see if the archive answers, for at most a few seconds.

    Examples
    --------
    >>> next(findings()).name
    'Python'
    """
    from batx.abilities import abilities

    seen: list[Finding] = []
    parts = (_python_and_packages, _tools, _calibration, *([_network] if network else []), _files)
    for part in parts:
        for one in part():
            seen.append(one)
            yield one
    for name, lacking, remedy in abilities(seen):
        yield Finding("What runs", name, "absent" if lacking else "ok", lacking or "runs", remedy)


def _python_and_packages() -> Iterator[Finding]:
    yield _python()
    yield from _packages()


def _files() -> Iterator[Finding]:
    yield _data()
    yield from _writable()


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < _PYTHON:
        return Finding("Python", "Python", "broken", found, "install Python 3.11 or newer")
    return Finding("Python", "Python", "ok", f"{found} ({sys.executable}), {os.cpu_count()} CPUs")


def _packages() -> Iterator[Finding]:
    """Compare what the installed batx requires with what is there."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires("batx") or ()]
        yield Finding("Python", "batx", "ok", version("batx"))
    except PackageNotFoundError:
        yield Finding("Python", "batx", "absent", "runs from a checkout, not installed", "pip install .")
        return
    for requirement in wanted:
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        name = next((one for one in ("cluster", "timing", "archive") if one in str(requirement.marker)), "")
        if extra and not name:
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            remedy = (
                f"pip install 'batx[{name}]'"
                if extra
                else f"pip install '{requirement.name}{requirement.specifier}'"
            )
            yield Finding(
                "Python", requirement.name, "absent" if extra else "broken", "not installed", remedy
            )
            continue
        good = requirement.specifier.contains(found, prereleases=True)
        yield Finding(
            "Python",
            requirement.name,
            "ok" if good else "broken",
            found,
            "" if good else f"pip install '{requirement.name}{requirement.specifier}'",
        )


def _tools() -> Iterator[Finding]:
    yield _suite("HEASoft", "HEADAS", "heasoft", "batbinevt", "optional: batx computes without it")
    yield _module("heasoftpy", "BATX_HEASOFTPY_PYTHON", "optional")
    yield _module("xspec", "BATX_XSPEC_PYTHON", "optional")
    yield _suite("SAS", "SAS_DIR", "sas", "epproc", "optional: for XMM-Newton data")


def _suite(name: str, variable: str, suite: str, member: str, purpose: str) -> Finding:
    """Look for a set of tools where the environment variable of its set-up script points to."""
    from batx.heasoft.tasklist import TASKS

    place = os.environ.get(variable)
    if not place:
        return Finding("Tools", name, "absent", f"${variable} is not set", purpose)
    wanted = sorted(task.name for task in TASKS.values() if task.suite == suite)
    folders = [Path(place) / folder for folder in ("bin", "binextra")]
    there = [name for name in wanted if any((folder / name).exists() for folder in folders)]
    remedy = f"source the set-up script of {name}, or unset {variable}"
    if member not in there:
        return Finding("Tools", name, "broken", f"${variable}={place} has no bin/{member}", remedy)
    text = f"{_release(place)}{place}: {len(there)} of the {len(wanted)} tools that batx can call"
    missing = [name for name in wanted if name not in there]
    if not missing:
        return Finding("Tools", name, "ok", text)
    few = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
    return Finding(
        "Tools", name, "ok", text, f"not there: {few}; install these parts of {name} if you need them"
    )


def _release(place: str) -> str:
    """Return the version that the path of an installation names."""
    found = re.findall(
        r"heasoft[-_]?v?(\d+\.[\d.]*\d)|(xmmsas_[\w.-]+)", os.path.realpath(place), re.IGNORECASE
    )
    return f"{''.join(found[-1])}, " if found else ""


def _module(name: str, variable: str, purpose: str) -> Finding:
    """Ask the interpreters that may have a module whether they would find it."""
    from batx.sessions.finding import probe

    found = probe(timeout=_PATIENCE, module=name, variable=variable)
    if found.python is not None:
        return Finding("Tools", name, "ok", f"{found.place} (of {found.python})")
    if os.environ.get(variable):
        return Finding("Tools", name, "broken", found.problem, found.remedy)
    return Finding("Tools", name, "absent", "no interpreter has it", f"{purpose}: {found.remedy}")


def _calibration() -> Iterator[Finding]:
    """Say where the database is, and which files would serve what."""
    from batx.caldb.finding import listing
    from batx.transfer.limits import shown

    caldb = os.environ.get("CALDB")
    remedy = (
        "not needed if the files below are found; install it, or get what is needed by: "
        "batx calibration --fetch"
    )
    if not caldb:
        yield Finding("Calibration", "CALDB", "absent", "$CALDB is not set", remedy)
    elif "://" in caldb:
        yield Finding("Calibration", "CALDB", "ok", f"{shown(caldb)}, remote: files are fetched on use")
    else:
        place = Path(caldb) / "data" / "swift" / "bat"
        if place.is_dir():
            yield Finding("Calibration", "CALDB", "ok", str(place))
        else:
            yield Finding(
                "Calibration", "CALDB", "broken", f"{place} is not a folder", "install the Swift BAT CALDB"
            )
    try:
        found = list(listing())
    except BatxError as error:
        yield Finding("Calibration", "files", "broken", str(error), "mend $CALDB or empty the cache")
        return
    missing = [text for _, text, file in found if file is None]
    for name, text, file in found:
        if file is not None:
            yield Finding("Calibration", name, "ok", f"{text}: {file.path.name} ({file.database})")
    if missing:
        remedy = (
            "batx calibration --fetch gets them; or give --calibration; without them events are binned and "
            "counted"
        )
        yield Finding("Calibration", "files", "absent", f"not found: {'; '.join(missing)}", remedy)


def _network() -> Iterator[Finding]:
    """See whether the archive answers; all places at once, and not longer than a few seconds."""
    from batx.archive.layouts import mirror_list
    from batx.archive.tables import SERVICE
    from batx.transfer.limits import shown

    try:
        mirrors = mirror_list()
    except BatxError as error:
        yield Finding("Network", "mirrors", "broken", str(error), "mend the address, or remove it")
        mirrors = []
    proxies = sorted({shown(value) for value in getproxies().values() if "://" in value})
    if proxies:
        yield Finding("Network", "proxy", "ok", ", ".join(proxies))
    wanted = [("mirror", place) for place in mirrors] + [("questions", f"{SERVICE}/availability")]
    answers = _asked([place for _, place in wanted])
    for name, place in wanted:
        time, problem = answers.get(place, (0.0, f"no answer within {_PATIENCE:g} s"))
        if not problem:
            yield Finding("Network", name, "ok", f"{shown(place)} answers within {time:.1f} s")
            continue
        remedy = (
            "without a network, what is in the data directory can be used (offline); else see $HTTPS_PROXY, "
            "or name other mirrors in $BATX_MIRRORS"
            if name == "mirror"
            else "observations cannot be looked for; with their dates they can be fetched"
        )
        yield Finding("Network", name, "absent", f"{shown(place)}: {problem}", remedy)


def _asked(places: list[str]) -> dict[str, tuple[float, str]]:
    """Return how long each place took to answer, or what was wrong; those that take too long are left out."""
    answers: dict[str, tuple[float, str]] = {}
    threads = [threading.Thread(target=_ask, args=(place, answers), daemon=True) for place in places]
    for thread in threads:
        thread.start()
    until = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))
    return dict(answers)


def _ask(place: str, answers: dict[str, tuple[float, str]]) -> None:
    from batx.transfer import Limits, entries, exists
    from batx.transfer.limits import scheme

    limits = Limits(timeout=_PATIENCE / 2, stall=_PATIENCE / 2, retries=0)
    begin = time.monotonic()
    try:
        if scheme(place) in ("http", "https"):
            there = exists(place if place.endswith("/availability") else f"{place}/", limits=limits)
        else:
            there = bool(entries(place, limits=limits))
        answers[place] = time.monotonic() - begin, "" if there else "it is not there"
    except (BatxError, OSError) as error:
        answers[place] = 0.0, str(error).removeprefix(f"{place}/: ").removeprefix(f"{place}: ")


def _data() -> Finding:
    """Look at the folder in which fetched observations are kept."""
    from batx.transfer import data_directory

    try:
        place = data_directory()
    except BatxError as error:
        return Finding("Files", "data directory", "broken", str(error), "mend the configuration file")
    if not place.is_dir():
        remedy = "it is made by the first fetch; $BATX_DATA or the configuration names another one"
        return Finding("Files", "data directory", "absent", f"{place} is not there yet", remedy)
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(
            "Files", "data directory", "broken", f"{place} cannot be written", "see its permissions"
        )
    number = sum(one.is_dir() and len(one.name) == 11 and one.name.isdecimal() for one in place.iterdir())
    return Finding("Files", "data directory", *_room(place, f"{place}, {number} observations"))


def _room(place: Path, text: str) -> tuple[str, str, str]:
    """Return status, detail and remedy of a folder by the space that is free."""
    free = shutil.disk_usage(place).free / 1e9
    status = "ok" if free >= _LEAST_ROOM else "absent"
    remedy = (
        ""
        if status == "ok"
        else f"less than {_LEAST_ROOM:g} GB are free: make room before you fetch or simulate"
    )
    return status, f"{text}, {free:.0f} GB free" if free >= 10 else f"{text}, {free:.1f} GB free", remedy


def _writable() -> Iterator[Finding]:
    for name, place in (
        ("working directory", Path.cwd()),
        ("temporary directory", Path(tempfile.gettempdir())),
    ):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            yield Finding(
                "Files", name, "broken", f"{place}: {error.strerror}", "go to a folder that can be written"
            )
            continue
        yield Finding("Files", name, *_room(place, str(place)))
