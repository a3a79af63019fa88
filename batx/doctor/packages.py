"""Python and the packages that batx requires."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from batx.doctor.finding import Finding

__all__ = ["look"]

_PYTHON = (3, 11)


def look() -> Iterator[Finding]:
    """Yield the findings of Python and of packages."""
    yield _python()
    yield from _packages()
    yield from _compiled()


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


def _compiled() -> Iterator[Finding]:
    """See whether compiled code can be kept: a finding only if it cannot."""
    try:
        import numba
        from numba.core.caching import FunctionCache

        FunctionCache(_look_here)
    except ImportError:
        return
    except RuntimeError:
        yield Finding(
            "Python",
            "compiled code",
            "absent",
            f"cannot be kept (numba {numba.__version__}): every start takes some seconds longer",
            "set $NUMBA_CACHE_DIR to a folder that can be written",
        )


def _look_here() -> None:
    """Stand for the functions of batx: their code is kept beside them, or in the home."""
