"""What comes with the package, so that nothing has to be fetched for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["Packaged", "packaged"]


@dataclass(frozen=True)
class Packaged:
    """Calibration that comes with the package.

    Attributes
    ----------
    name, text
        What it is.
    source
        Where its numbers are from.
    used_by
        What takes it.
    place
        ``module:name`` of it.
    """

    name: str
    text: str
    source: str
    used_by: str
    place: str

    def get(self) -> Any:
        """Return it: an array, a table, or a function that gives one."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


def packaged() -> Iterator[Packaged]:
    """Yield everything that comes with the package.

    Examples
    --------
    >>> [item.name for item in packaged()]
    ['energy_bins', 'systematics', 'response', 'detectors', 'mask_geometry', 'alignment', 'glitch_score']
    """
    yield Packaged(
        "energy_bins",
        "edges of the 80 standard channels, keV",
        "energy bins of the BAT calibration (EBOUNDS, 80 channels)",
        "spectrum, survey histograms",
        "batx.spectra:STANDARD_EDGES",
    )
    yield Packaged(
        "systematics",
        "fractional systematic error against energy",
        "systematic-error vector of the BAT calibration",
        "add_systematics",
        "batx.spectrum_errors:add_systematics",
    )
    yield Packaged(
        "response",
        "responses at 11 places of the field",
        "runs of batdrmgen",
        "response",
        "batx.instrument.response_grid:response_grid",
    )
    yield Packaged(
        "detectors",
        "which places of the plane have a detector, and their numbers",
        "geometry of the detector array",
        "everything",
        "batx.instrument.detector:DETID",
    )
    yield Packaged(
        "mask_geometry",
        "places and sizes of mask and detectors, cm, where a file does not say them",
        "default keywords of aperture files",
        "mask_weight, sky_image",
        "batx.instrument.mask:DEFAULT_GEOMETRY",
    )
    yield Packaged(
        "alignment",
        "nominal axes of BAT; the true ones are off by some arcminutes",
        "definition of the axes",
        "attitudes without a teldef file (with a warning)",
        "batx.instrument.sky:NOMINAL_ALIGNMENT",
    )
    yield Packaged(
        "glitch_score",
        "by what images of glitches and of bursts differ",
        "45 glitches and 99 bursts seen in flight, and simulated ones",
        "glitches, glitch_score",
        "batx.glitch_scores:packaged_judgement",
    )
