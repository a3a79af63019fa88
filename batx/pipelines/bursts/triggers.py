"""When the burst was and where: what the user says, messages, headers, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingFileError, ValueRangeError
from batx.met import to_met
from batx.pipelines.bursts.messages import bat_messages, scaled_map_intervals, xrt_message
from batx.pipelines.frame import Work

__all__ = ["POSITIONS", "position_of", "trigger_of"]

#: whose position may be asked for
POSITIONS = ("bat", "xrt", "header", "blind")
#: criteria of short triggers, whose messages state no useful interval; s added to their length
_SHORT, _SHORT_ADDED = range(10000, 11000), 0.320
#: shortest background of a short trigger, s; greatest clock correction that can be, s
_LEAST_BACKGROUND, _MOST_UTCF = 8.0, 65.0


def trigger_of(work: Work, source: Path, events: xr.Dataset) -> dict[str, Any]:
    """Return what is known of the trigger; what the user says comes first.

    ``time``, ``start``, ``stop``, ``background_start``, ``background_stop`` (MET) as far as they are known,
    ``utcf`` (s), what else the messages say, and ``positions``: those of BAT and of XRT.
    """
    options, found = work.options, bat_messages(work, source)
    bat = {name: found.pop(name) for name in ("ra", "dec") if name in found}
    positions = {"bat": bat | {"message": found["position_message"]} if bat else {}}
    positions["xrt"] = xrt_message(work, source)
    if "time" not in found and events.attrs.get("trigger_time") is not None:
        found["time"] = float(events.attrs["trigger_time"])
    found["utcf"] = _clock_correction(work, found, events)
    if not np.isfinite(found.get("time", 0.0)):
        work.notes.append(f"the trigger time {found.pop('time')} is no number")
    if "time" in found:
        found.setdefault("start", found["time"])
        _repair(work, source, found)
    if options["trigger"] is not None:
        found["time"] = found["start"] = float(to_met(options["trigger"], events.attrs, name="trigger"))
    if "time" not in found:
        work.notes.append(
            "found no trigger time (TRIGTIME): no intervals before and after a slew, and all good time where "
            "no burst is found; give trigger="
        )
    for name, start, stop in (
        ("foreground", "start", "stop"),
        ("background", "background_start", "background_stop"),
    ):
        if options[name] is not None:
            ends = np.atleast_1d(to_met(options[name], events.attrs, found.get("time"), name=name))
            if ends.shape != (2,) or not ends[0] < ends[1]:
                raise ValueRangeError(f"{name}: found {options[name]!r}, expected start and stop")
            found[start], found[stop] = map(float, ends)
    return found | {"positions": positions}


def _clock_correction(work: Work, found: dict[str, Any], events: xr.Dataset) -> float:
    """Return what is added to MET for UTC: of the message, else of the events; 0 if that cannot be."""
    utcf = float(found.get("utcf", events.attrs.get("utcf", 0.0)))
    if abs(utcf) > _MOST_UTCF:
        work.notes.append(f"the clock correction, {utcf} s, cannot be; 0 is taken")
        utcf = 0.0
    return utcf + float(found.pop("leap_seconds", 0.0))


def _repair(work: Work, source: Path, found: dict[str, Any]) -> None:
    """Give short triggers the interval that their message does not state: of the scaled map, or by a rule."""
    criterion, length = found.get("criterion"), found.get("foreground_exposure")
    if criterion is None or int(criterion) not in _SHORT:
        return
    stated = scaled_map_intervals(source)
    if stated:
        found |= stated
        origin = f"its interval is that of the scaled map {stated['map']}"
    elif length is not None:
        before, after = float(length), _SHORT_ADDED + float(length)
        found |= {"start": found["time"] - before, "stop": found["time"] + after}
        origin = f"its interval is taken from {before:g} s before to {after:g} s after the trigger"
    else:
        work.notes.append(
            f"short trigger (criterion {int(criterion)}): neither a scaled map (tdrss/*msbsm*) nor a "
            "foreground exposure (FOREEXPO) says how long it was; give foreground=(start, stop)"
        )
        return
    if "background_stop" in found:
        found["background_stop"] = min(float(found["background_stop"]), found["start"])
        if float(found.get("background_start", -np.inf)) > found["background_stop"]:
            found["background_start"] = found["background_stop"] - _LEAST_BACKGROUND
    work.notes.append(f"short trigger (criterion {int(criterion)}): {origin}")


def position_of(work: Work, events: xr.Dataset, positions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the position of the burst and where it comes from; empty if there is none, or none is wanted.

    Raises
    ------
    MissingFileError
        If that is not there which was asked for.
    ValueRangeError
        If a position is none.
    """
    options, attrs = work.options, events.attrs
    if options["ra"] is not None:
        return _checked(options["ra"], options["dec"], "given")
    places = {
        name: (said["ra"], said["dec"], f"message {said['message']}")
        for name, said in positions.items()
        if said
    }
    if attrs.get("ra_obj") is not None and attrs.get("dec_obj") is not None:
        places["header"] = attrs["ra_obj"], attrs["dec_obj"], "header of the events"
    wanted = options["position"]
    if wanted == "blind":
        return {}
    if wanted is not None and wanted not in places:
        raise MissingFileError(
            f"position={wanted!r}: found no {_WHERE[wanted]}; there are positions of: "
            f"{', '.join(places) or 'none'}; give one of these, or ra= and dec="
        )
    chosen = wanted or next((name for name in _WHERE if name in places), None)
    if chosen is None:
        work.notes.append(
            "found no position (message, RA_OBJ and DEC_OBJ of the events): images only, no weights; give "
            "ra= and dec="
        )
        return {}
    if chosen == "header":
        work.notes.append(
            "the position is that of the header (RA_OBJ, DEC_OBJ): of the burst if it became the target, but "
            "otherwise only of where the telescope pointed; give ra= and dec= if the source is elsewhere"
        )
    return _checked(*places[chosen])


#: where a position is looked for, in this order
_WHERE = {
    "bat": "message of BAT with a position (BRA_OBJ, BDEC_OBJ of tdrss/*msb*)",
    "xrt": "message of XRT with a position (XRA_OBJ, XDEC_OBJ of tdrss/*msx*)",
    "header": "position in the header of the events (RA_OBJ, DEC_OBJ)",
}


def _checked(ra: Any, dec: Any, origin: str) -> dict[str, Any]:
    lon, lat = float(ra), float(dec)
    if not (np.isfinite(lon) and -90.0 <= lat <= 90.0):
        raise ValueRangeError(f"position: found RA {ra}, Dec {dec} ({origin}), expected degrees")
    return {"ra": lon % 360.0, "dec": lat, "from": origin}
