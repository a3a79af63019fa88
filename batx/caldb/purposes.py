"""What calibration is for: names of purposes, and the code names and boundaries that CALDB has for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from batx.errors import ValueRangeError

__all__ = ["PURPOSES", "Purpose", "purpose_named", "purpose_of"]


@dataclass(frozen=True)
class Purpose:
    """One thing that calibration files are for.

    Attributes
    ----------
    name
        As in `batx.caldb.find`.
    text
        What it is.
    without
        What batx does without it.
    codename
        CAL_CNAM of CALDB.
    boundary
        Boundary conditions that single it out, for example ``{"APERTYPE": "FLUX"}``.
    instrument
        INSTRUME of CALDB; the telescope is SWIFT.
    """

    name: str
    text: str
    without: str
    codename: str
    boundary: Mapping[str, Any] = field(default_factory=dict)
    instrument: str = "BAT"


_LINEAR = "energies on board and energies already in the files (PI, ENERGY) can be used; method='linear'"
_TABLE = "the packaged table of responses is used"
_IMAGES = "light curves, spectra and images of raw counts, and everything that needs no weights"

PURPOSES: dict[str, Purpose] = {
    purpose.name: purpose
    for purpose in (
        Purpose("aperture", "coded mask, for fluxes", _IMAGES, "CODED_MASK", {"APERTYPE": "FLUX"}),
        Purpose(
            "aperture_detection",
            "coded mask, for detection",
            "the mask for fluxes serves",
            "CODED_MASK",
            {"APERTYPE": "DETECTION"},
        ),
        Purpose(
            "mask_edges",
            "coded mask without its edges, for surveys",
            "the mask for fluxes serves",
            "CODED_MASK",
            {"APERTYPE": "MASK_EDGES"},
        ),
        Purpose("alignment", "alignment of BAT (teldef)", "the nominal axes, off by arcminutes", "TELDEF"),
        Purpose("distortion", "distortion of positions", "positions are uncorrected", "DET_POSCOR"),
        Purpose("bad_pixels", "detectors known as bad", "the masks of the observation serve", "BADPIX"),
        Purpose(
            "good_time",
            "times at which the instrument as a whole did well",
            "survey_gti applies no global good time and says so",
            "STDGTI",
        ),
        Purpose("residual", "residuals of the energy scale", _LINEAR, "DET_GAIN"),
        Purpose("pulser", "pulser calibration on ground", _LINEAR, "PULSER_GAIN", {"SOURCE": "GROUND"}),
        Purpose(
            "flight_pulser", "pulser calibration in flight", _LINEAR, "PULSER_GAIN", {"SOURCE": "FLIGHT"}
        ),
        Purpose("response_parameters", "parameters of the response", _TABLE, "MTFUNC_PARMS"),
        Purpose("depth", "depths of interaction", _TABLE, "DEPTH_DIST"),
        Purpose(
            "clock",
            "corrections of the spacecraft clock",
            "UTCFINIT of the files",
            "CLOCK",
            instrument="SC",
        ),
    )
}


def purpose_named(name: str) -> Purpose:
    """Return a purpose by name.

    Raises
    ------
    ValueRangeError
        If there is no such purpose.

    Examples
    --------
    >>> purpose_named("aperture").codename
    'CODED_MASK'
    """
    if name not in PURPOSES:
        raise ValueRangeError(f"calibration: found {name!r}, expected one of {', '.join(PURPOSES)}")
    return PURPOSES[name]


def purpose_of(keywords: Mapping[str, Any], columns: Collection[str], file_name: str) -> str | None:
    """Return what a calibration file is for, `None` if that cannot be told.

    The keywords of CALDB (CCNM0001 and CBDn0001) come first; else the columns and the name tell.

    Parameters
    ----------
    keywords
        Header keywords or attributes, in any case.
    columns
        Names of the columns, in any case.
    file_name
        Name of the file.

    Examples
    --------
    >>> purpose_of({"CCNM0001": "PULSER_GAIN", "CBD10001": 'SOURCE("FLIGHT")'}, (), "x.fits")
    'flight_pulser'
    >>> purpose_of({}, ["GAIN", "OFFSET"], "fltpulser.fits")
    'flight_pulser'
    """
    from batx.caldb.boundaries import matches, parse_boundaries

    upper = {str(key).upper(): value for key, value in keywords.items()}
    codename = str(upper.get("CCNM0001", "")).strip().upper()
    if codename:
        named = [purpose for purpose in PURPOSES.values() if purpose.codename == codename]
        bounds = parse_boundaries(str(upper.get(f"CBD{n}0001", "")) for n in range(1, 10))
        exact = [purpose.name for purpose in named if matches(bounds, purpose.boundary)]
        return exact[0] if exact else None
    held = {str(column).upper() for column in columns}
    if "GAIN2" in held:
        return "residual"
    name = file_name.lower()
    if {"GAIN", "OFFSET"} <= held and "puls" in name:
        return "flight_pulser" if "flt" in name or "flight" in name else "pulser"
    return None
