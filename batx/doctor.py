"""What is installed, what is found, and what that means: the checks behind ``batx doctor``."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Finding", "findings"]

_PYTHON = (3, 11)


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


def findings() -> Iterator[Finding]:
    """Yield every finding; nothing is imported, started or changed.

    A nameless file is made in the working and in the temporary directory to see whether that is possible.

    Examples
    --------
    >>> next(findings()).name
    'Python'
    """
    yield _python()
    yield from _packages()
    yield from _tools()
    yield from _calibration()
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
        name = next((one for one in ("cluster", "timing") if one in str(requirement.marker)), "")
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
    yield _folder_tool("HEASoft", "HEADAS", "bin/batbinevt", "optional: batx computes without it")
    yield _module("heasoftpy", "optional: comes with HEASoft")
    yield _module("xspec", "optional: pyXspec comes with HEASoft")
    yield _folder_tool("SAS", "SAS_DIR", "bin", "optional: for XMM-Newton data")


def _folder_tool(name: str, variable: str, member: str, purpose: str) -> Finding:
    """Look for a tool through the environment variable that its set-up script defines."""
    place = os.environ.get(variable)
    if not place:
        return Finding("Tools", name, "absent", f"${variable} is not set", purpose)
    if not (Path(place) / member).exists():
        remedy = f"source the set-up script of {name}, or unset {variable}"
        return Finding("Tools", name, "broken", f"${variable}={place} has no {member}", remedy)
    return Finding("Tools", name, "ok", place)


def _module(name: str, purpose: str) -> Finding:
    spec = find_spec(name)
    if spec is None:
        return Finding("Tools", name, "absent", "not importable", purpose)
    return Finding("Tools", name, "ok", str(spec.origin))


def _calibration() -> Iterator[Finding]:
    caldb = os.environ.get("CALDB")
    remedy = "sky positions need the coded mask and the alignment: give their folder with --calibration"
    if not caldb:
        yield Finding("Calibration", "CALDB", "absent", "$CALDB is not set", remedy)
    elif "://" in caldb:
        yield Finding("Calibration", "CALDB", "absent", f"$CALDB={caldb} is remote", remedy)
    else:
        place = Path(caldb) / "data" / "swift" / "bat"
        if place.is_dir():
            yield Finding("Calibration", "CALDB", "ok", str(place))
        else:
            yield Finding(
                "Calibration", "CALDB", "broken", f"{place} is not a folder", "install the Swift BAT CALDB"
            )


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
        free = shutil.disk_usage(place).free / 1e9
        yield Finding("Files", name, "ok", f"{place}, {free:.0f} GB free")
