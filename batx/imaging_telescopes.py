"""What is known of the event lists of X-ray telescopes: energies of their channels, size of their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, MissingVariableError, ValueRangeError
from batx.grids import energy_bounds
from batx.schema import require_kind

__all__ = [
    "Telescope",
    "channels_of",
    "in_band",
    "live_fraction",
    "require_imaging",
    "sky_of",
    "telescope_of",
]


@dataclass(frozen=True)
class Telescope:
    """One kind of event list.

    Attributes
    ----------
    step, zero
        Energy of a PI channel in keV: ``zero + step * PI`` is its lower edge.
    pixel
        Size of the pixels of X and Y in seconds of arc, as files have them.
    psf
        Core radius in seconds of arc and slope of the King profile that a point source has; `None` if it has
        another form.
    """

    step: float
    zero: float
    pixel: float
    psf: tuple[float, float] | None = None


#: by TELESCOP and INSTRUME. XRT: 10 eV a channel (EBOUNDS of its responses), profile at 1.5 keV of Moretti et
#: al. 2005 (Proc. SPIE 5898, 360); NuSTAR: 40 eV from 1.6 keV (NuSTAR Data Analysis Guide); EPIC: PI in eV
#: (XMM-Newton SAS)
_TELESCOPES = {
    ("SWIFT", "XRT"): Telescope(0.01, 0.0, 2.357, (5.8, 1.55)),
    ("NUSTAR", "FPMA"): Telescope(0.04, 1.6, 2.458),
    ("NUSTAR", "FPMB"): Telescope(0.04, 1.6, 2.458),
    ("XMM", "EPN"): Telescope(0.001, 0.0, 0.05),
    ("XMM", "EMOS1"): Telescope(0.001, 0.0, 0.05),
    ("XMM", "EMOS2"): Telescope(0.001, 0.0, 0.05),
}


def telescope_of(attrs: Mapping[str, Any]) -> Telescope:
    """Return what is known of the telescope that a header names.

    Raises
    ------
    KindError
        If nothing is.

    Examples
    --------
    >>> telescope_of({"telescope": "XMM", "instrument": "EPN"}).pixel
    0.05
    """
    names = tuple(str(attrs.get(key, "")).strip().upper() for key in ("telescope", "instrument"))
    if names not in _TELESCOPES:
        known = ", ".join("/".join(pair) for pair in _TELESCOPES)
        raise KindError(f"found events of {'/'.join(names) or 'no telescope'}, expected one of {known}")
    return _TELESCOPES[names]


def require_imaging(events: xr.Dataset, operation: str) -> None:
    """Raise unless these are events with places on an image.

    Raises
    ------
    KindError, MissingVariableError
        If they are something else, or lack ``x`` and ``y``.
    """
    require_kind(events, "events", operation=operation)
    if "x" not in events or "y" not in events:
        raise MissingVariableError(
            f"{operation}: the events have no places on the sky (columns X and Y), as event lists of imaging "
            "telescopes do after their pipeline"
        )


def live_fraction(events: xr.Dataset) -> float:
    """Return the mean fraction of good time in which events were counted (``DEADC``); 1 if it is not stated.

    Raises
    ------
    ValueRangeError
        If it is no number above 0 and up to 1.

    Examples
    --------
    >>> from batx.schema import build
    >>> live_fraction(build("events", {"time": [0.0]}, {"deadc": 0.765}))
    0.765
    """
    stated = events.attrs.get("deadc", 1.0)
    fraction = float(stated) if isinstance(stated, (int, float, np.number)) else np.nan
    if not 0.0 < fraction <= 1.0:
        raise ValueRangeError(
            f"events: found DEADC = {stated!r}, expected a fraction above 0 and up to 1; set the attribute "
            "'deadc' to what is right"
        )
    return fraction


def sky_of(ds: xr.Dataset) -> Any:
    """Return the sky of an event list or image as an `astropy.wcs.WCS`; `None` if it is not known."""
    if "wcs" not in ds.coords:
        return None
    import warnings

    from astropy.io.fits import Header
    from astropy.wcs import WCS, FITSFixedWarning

    header = Header.fromstring(str(ds["wcs"].values), sep="\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        found = WCS(header)
    return found.celestial if found.has_celestial else None


def channels_of(events: xr.Dataset, energy: Any) -> np.ndarray:
    """Return first and last PI channel of energy bands (band, 2): those whose middle is in the band.

    Raises
    ------
    KindError
        If the energies of the telescope's channels are not known.
    ValueRangeError
        If a band makes no sense, or holds no channel.

    Examples
    --------
    >>> from batx.schema import build
    >>> events = build("events", {"time": [0.0]}, {"telescope": "SWIFT", "instrument": "XRT"})
    >>> channels_of(events, (0.3, 10))
    array([[ 30, 999]])
    """
    telescope = telescope_of(events.attrs)
    low, high = energy_bounds(energy)
    first, behind = (
        np.ceil((edge - telescope.zero) / telescope.step - 0.5 - 1e-6).astype(int) for edge in (low, high)
    )
    if np.any(behind <= np.maximum(first, 0)):
        raise ValueRangeError(f"energy: found a band of {energy} keV that holds no channel of the telescope")
    return np.stack([np.maximum(first, 0), behind - 1], axis=-1)


def in_band(events: xr.Dataset, channels: np.ndarray) -> np.ndarray:
    """Return which events are in a range of PI channels, both ends included.

    Raises
    ------
    MissingVariableError
        If the events have no PI.
    """
    if "pi" not in events:
        raise MissingVariableError("energy: the events have no PI column")
    pi = events["pi"].values
    return (pi >= channels[0]) & (pi <= channels[1])
