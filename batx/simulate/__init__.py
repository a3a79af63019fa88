"""Forward model of BAT: masks, attitude, detectors, events, and observations in the archive's layout."""

from batx.simulate.archive import event_file, observation
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
