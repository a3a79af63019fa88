"""What a trigger sends down at once, and the housekeeping of tests on ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.detector_planes import detector_plane
from batx.errors import ValueRangeError
from batx.io.atomic import atomic_path
from batx.simulate.checks import finite

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = ["Messages", "write_messages", "write_near"]

#: s of a unit of the parts of seconds of a scaled map; counts in a unit of its image; its band, keV
_SUBSECOND, _SCALE, _BAND = 2e-5, 1.0, (15.0, 50.0)
_SHORT = range(10000, 11000)


@dataclass(frozen=True)
class Messages:
    """Messages of a trigger: alert and centroid of BAT, scaled map, centroid of XRT.

    Parameters
    ----------
    bat, xrt
        Positions that the centroids state, degrees (ICRS); no such message if not given.
    foreground, background
        Start and stop in s from the trigger. The centroid states them, but for a short trigger only the
        length of the foreground; the scaled map states both.
    criterion
        Number of the trigger criterion; 10000 to 10999 are short triggers.
    point_source
        Whether the centroid says that it is a point source.
    scaled_map
        Whether there is a scaled map: the counts of the foreground, 15-50 keV, less those of the background
        in the same time.

    Examples
    --------
    >>> Messages(bat=(150.0, 30.0), foreground=(-0.1, 0.4), criterion=10003).short
    True
    """

    bat: tuple[float, float] | None = None
    xrt: tuple[float, float] | None = None
    foreground: tuple[float, float] = (0.0, 8.0)
    background: tuple[float, float] = (-24.0, -8.0)
    criterion: int = 20001
    point_source: bool = True
    scaled_map: bool = True

    def __post_init__(self) -> None:
        for name in ("bat", "xrt"):
            place = getattr(self, name)
            if place is not None and not (
                len(place) == 2 and abs(finite(place[1], "deg", f"{name}: declination")) <= 90
            ):
                raise ValueRangeError(f"Messages: found {name}={place}, expected RA and Dec in degrees")
        for name in ("foreground", "background"):
            start, stop = (finite(one, "s", name) for one in getattr(self, name))
            if not start < stop:
                raise ValueRangeError(f"Messages: found {name}=({start}, {stop}), expected start and stop")

    @property
    def short(self) -> bool:
        """Whether the criterion is one of short triggers."""
        return self.criterion in _SHORT


def write_messages(
    folder: Path, messages: Messages, events: xr.Dataset, header: Mapping[str, Any], overwrite: bool
) -> None:
    """Write the messages of an observation into its folder ``tdrss``.

    Parameters
    ----------
    folder
        Of the observation.
    messages
        What is sent.
    events
        Of the observation, which the scaled map is made of; `trigger_time` is that of the messages.
    header
        Attributes of the observation.
    overwrite
        Whether files may be replaced.

    Raises
    ------
    ValueRangeError
        If the events have no trigger time.
    """
    from astropy.io import fits

    trigger = events.attrs.get("trigger_time")
    if trigger is None:
        raise ValueRangeError("messages: the observation has no trigger; give trigger=")
    common = {
        "TELESCOP": "SWIFT",
        "OBS_ID": str(header["obs_id"]),
        "MJDREFI": int(header["mjdref_int"]),
        "MJDREFF": float(header["mjdref_frac"]),
        "UTCFINIT": float(header["utcf"]),
    }
    of_bat = common | {"INSTRUME": "BAT", "TRIGTIME": trigger, "TRIGSATF": messages.criterion}
    parts = {"msbal": fits.HDUList([_primary(of_bat)])}
    if messages.bat is not None:
        parts["msbce"] = fits.HDUList([_primary(of_bat | _centroid(messages, trigger))])
    if messages.scaled_map:
        parts["msbsm"] = _scaled_map(messages, events, trigger, common | {"INSTRUME": "BAT"})
    if messages.xrt is not None:
        place = {"XRA_OBJ": messages.xrt[0], "XDEC_OBJ": messages.xrt[1]}
        parts["msxce"] = fits.HDUList([_primary(common | {"INSTRUME": "XRT"} | place)])
    for name, hdus in parts.items():
        _write(hdus, folder / "tdrss" / f"sw{header['obs_id']}{name}_rw.fits", overwrite)


def _primary(cards: Mapping[str, Any]) -> fits.PrimaryHDU:
    from astropy.io import fits

    primary = fits.PrimaryHDU()
    primary.header.update(cards)
    return primary


def _centroid(messages: Messages, trigger: float) -> dict[str, Any]:
    """Return the keywords of a position message; short triggers do not say when their foreground was."""
    start, stop = messages.foreground
    assert messages.bat is not None
    cards = {
        "BRA_OBJ": messages.bat[0],
        "BDEC_OBJ": messages.bat[1],
        "POINTSRC": messages.point_source,
        "FOREEXPO": stop - start,
        "BACKSTRT": trigger + messages.background[0],
        "BACKSTOP": trigger + messages.background[1],
    }
    return cards if messages.short else cards | {"TRIGTIME": trigger + start, "TRIGSTOP": trigger + stop}


def _scaled_map(
    messages: Messages, events: xr.Dataset, trigger: float, cards: Mapping[str, Any]
) -> fits.HDUList:
    """Return the map and, in the second extension, the times of its foreground and background."""
    from astropy.io import fits

    spans = [(trigger + start, trigger + stop) for start, stop in (messages.foreground, messages.background)]
    burst, before = (detector_plane(events, *span, energy=list(_BAND)).squeeze() for span in spans)
    share = float(burst["exposure"]) / max(float(before["exposure"]), 1e-9)
    image = np.rint((burst["counts"].values - share * before["counts"].values) / _SCALE)
    map_hdu = fits.ImageHDU(np.clip(image, -32767, 32767).astype(np.int16), name="SCALED_MAP")
    map_hdu.header.update({"E_MIN": _BAND[0], "E_MAX": _BAND[1]})
    columns = []
    for name, ends in zip(("Fore", "Back"), spans, strict=True):
        for word, end in zip(("Start", "End"), ends, strict=True):
            second = int(end // 1)
            part = round((end - second) / _SUBSECOND)
            columns.append(fits.Column(f"m{word}{name}Sec", "1J", "s", array=[second]))
            columns.append(
                fits.Column(f"m{word}{name}Subsec", "1I", "2*10**(-5) s", bzero=32768, array=[part])
            )
    times = fits.BinTableHDU.from_columns(columns, name="TIMES")
    return fits.HDUList([_primary(cards), map_hdu, times])


def write_near(
    folder: Path, inverse_distance: float, length: float, header: Mapping[str, Any], overwrite: bool
) -> None:
    """Write the housekeeping of a source near the instrument: ``hk161x001`` in ``bat/hk``.

    Parameters
    ----------
    folder
        Of the observation.
    inverse_distance, length
        INVDIST (1/m) and FLENGTH (m).
    header
        Attributes of the observation.
    overwrite
        Whether a file may be replaced.
    """
    from astropy.io import fits

    times = [float(header["tstart"]) - 60.0, float(header["tstart"])]
    columns = [
        fits.Column("TIME", "1D", "s", array=times),
        fits.Column("INVDIST", "1D", "m**(-1)", array=[0.0, finite(inverse_distance, "1/m", "INVDIST")]),
        fits.Column("FLENGTH", "1D", "m", array=[0.0, finite(length, "m", "FLENGTH")]),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="hk161x001")
    table.header.update(TELESCOP="SWIFT", INSTRUME="BAT", OBS_ID=str(header["obs_id"]))
    hdus = fits.HDUList([fits.PrimaryHDU(), table])
    _write(hdus, folder / "bat" / "hk" / f"sw{header['obs_id']}ben.hk", overwrite)


def _write(hdus: fits.HDUList, path: Path, overwrite: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=overwrite) as temporary:
        hdus.writeto(temporary, overwrite=True)
