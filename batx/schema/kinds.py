"""The kinds of batx data, as code; the tables of the documentation are generated from these modules."""

from __future__ import annotations

from batx.schema.curve_kinds import (
    FIT,
    LIGHTCURVE,
    LIMIT,
    PERIODOGRAM,
    PULSE_PROFILE,
    RESPONSE,
    SPECTRUM,
    TRIGGERS,
)
from batx.schema.sky_kinds import CATALOG, MOSAIC, MOSAIC_IMAGE, SKY_IMAGE
from batx.schema.spec import COMMON_ATTRIBUTES, Kind, Variable
from batx.schema.telescope_kinds import (
    ALIGNMENT,
    APERTURE,
    ATTITUDE,
    DETECTOR_MASK,
    DETECTOR_PLANE,
    DETECTOR_TABLE,
    EVENTS,
    GLITCHES,
    GTI,
    RAY_TRACE,
)

__all__ = ["KINDS"]

_V = Variable

IMAGE = Kind(
    "image",
    "any other FITS image",
    (_V("wcs", (), None, "FITS WCS cards of the image", "any", coord=True),),
    marks=({"image": ("y", "x")}, {"image": ("axis0",)}),
    attributes=COMMON_ATTRIBUTES,
)

HOUSEKEEPING = Kind(
    "housekeeping",
    "any archive time series without a kind of its own",
    (_V("time", ("time",), "s", "time (MET)", coord=True, required=True, fits="TIME"),),
    marks=({"time": ("time",)},),
    attributes=COMMON_ATTRIBUTES,
)

TABLE = Kind(
    "table",
    "any other FITS table",
    (),
    marks=(),
    attributes=COMMON_ATTRIBUTES,
)

#: every kind by name, in the order in which structure is tried (the more specific first)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        EVENTS,
        GTI,
        ATTITUDE,
        RAY_TRACE,
        ALIGNMENT,
        APERTURE,
        DETECTOR_MASK,
        DETECTOR_PLANE,
        DETECTOR_TABLE,
        GLITCHES,
        LIGHTCURVE,
        SPECTRUM,
        PERIODOGRAM,
        PULSE_PROFILE,
        RESPONSE,
        SKY_IMAGE,
        MOSAIC,
        MOSAIC_IMAGE,
        CATALOG,
        FIT,
        LIMIT,
        TRIGGERS,
        IMAGE,
        HOUSEKEEPING,
        TABLE,
    )
}
