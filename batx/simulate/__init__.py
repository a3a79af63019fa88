"""Forward model of BAT: masks, attitude, detectors, events, and observations in the archive's layout."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from batx.simulate.background import Background
from batx.simulate.detectors import detector_mask, detector_table
from batx.simulate.energies import Cutoff, Folded, Line, Mixture, PowerLaw, Spectrum
from batx.simulate.mask import alignment, aperture
from batx.simulate.photons import events
from batx.simulate.pointing import Slew, attitude
from batx.simulate.profiles import Box, Constant, Drift, Fred, Gaussian, Profile, Sampled, Sum
from batx.simulate.sources import Glitch, Source

__all__ = [
    "Background",
    "Box",
    "Constant",
    "Cutoff",
    "Drift",
    "Folded",
    "Fred",
    "Gaussian",
    "Glitch",
    "Line",
    "Messages",
    "Mixture",
    "PowerLaw",
    "Profile",
    "Sampled",
    "Slew",
    "Source",
    "Spectrum",
    "Sum",
    "alignment",
    "aperture",
    "attitude",
    "detector_mask",
    "detector_table",
    "event_file",
    "events",
    "observation",
]

#: what writes FITS files is loaded on use
_WRITERS = {
    "Messages": "batx.simulate.messages",
    "event_file": "batx.simulate.benchmark",
    "observation": "batx.simulate.archive",
}


def __getattr__(name: str) -> Any:
    if name not in _WRITERS:
        raise AttributeError(f"module 'batx.simulate' has no attribute '{name}'")
    value = getattr(import_module(_WRITERS[name]), name)
    globals()[name] = value
    return value
