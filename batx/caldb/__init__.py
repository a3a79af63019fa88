"""Files of the calibration database: which one serves what purpose, and where it is.

Nothing is looked at, and nobody asked, before something needs a file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batx.caldb.contents import Packaged, packaged
    from batx.caldb.finding import CalibrationFile, clock, fetch, find, listing, load, served
    from batx.caldb.places import MIRRORS, cache_directory
    from batx.caldb.purposes import PURPOSES, purpose_named
    from batx.caldb.silence import ask_again, silent

__all__ = [
    "MIRRORS",
    "PURPOSES",
    "CalibrationFile",
    "Packaged",
    "ask_again",
    "cache_directory",
    "clock",
    "fetch",
    "find",
    "listing",
    "load",
    "packaged",
    "purpose_named",
    "served",
    "silent",
]

_PLACES = {
    "MIRRORS": "places",
    "PURPOSES": "purposes",
    "CalibrationFile": "finding",
    "Packaged": "contents",
    "ask_again": "silence",
    "cache_directory": "places",
    "clock": "finding",
    "fetch": "finding",
    "find": "finding",
    "listing": "finding",
    "load": "finding",
    "packaged": "contents",
    "purpose_named": "purposes",
    "served": "finding",
    "silent": "silence",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'batx.caldb' has no attribute '{name}'")
    return getattr(import_module(f"batx.caldb.{_PLACES[name]}"), name)
