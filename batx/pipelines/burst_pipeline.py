"""The pipeline of events: all standard products of a burst, from an observation or an event file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from batx.archive.layouts import mirror_list
from batx.archive.swift_tools import trigger_id
from batx.engines import engine_names
from batx.errors import MissingFileError, ValueRangeError
from batx.met import met_to_utc, to_met
from batx.pipelines.bursts import figures, images, inputs, light, report, spectra, times
from batx.pipelines.bursts.triggers import POSITIONS
from batx.pipelines.frame import Pipeline, Step, Work
from batx.reduction import compat_of
from batx.transfer import data_directory
from batx.units import to_value

__all__ = ["events"]

#: digits of an observation id
_ID = 11


def _steps(mirrors: list[str] | None, engine: Any) -> list[Step]:
    """Return the steps, in order; mirrors may have logins in them, which records must not hold."""

    def done_by(make: Callable[..., Any]) -> Callable[[Work], Any]:
        return partial(make, engine=engine)

    return [
        Step(
            "fetch",
            "find the files, the trigger and the position",
            partial(inputs.fetch, mirrors=mirrors),
            options=inputs.OPTIONS,
            outside=inputs.files_of,
        ),
        Step(
            "calibrate",
            "energies, and the events around the trigger",
            done_by(light.calibrate),
            needs=["fetch"],
            options=["calibration", "gain_offset", "engine"],
        ),
        Step(
            "quality",
            "enabled and hot detectors",
            done_by(light.quality),
            needs=["fetch", "calibrate"],
            options=["engine"],
        ),
        Step("intervals", "before, in and after the slew", times.intervals, needs=["fetch"]),
        Step(
            "weights",
            "mask weights",
            done_by(light.weights),
            needs=["fetch", "calibrate", "quality"],
            options=["compat", "engine"],
        ),
        Step(
            "lightcurves",
            "light curves",
            done_by(light.lightcurves),
            needs=["fetch", "weights"],
            options=["compat", "engine"],
        ),
        Step(
            "durations",
            "blocks and durations",
            done_by(times.durations),
            needs=["fetch", "calibrate"],
            uses=["weights"],
            options=["compat", "engine"],
        ),
        Step(
            "spectra",
            "spectra and responses",
            done_by(spectra.spectra),
            needs=["fetch", "quality", "weights", "durations"],
            uses=["intervals"],
            options=["compat", "engine"],
        ),
        Step(
            "fits",
            "fits and limits",
            done_by(spectra.fits),
            needs=["fetch", "spectra"],
            options=["snr", "engine"],
        ),
        Step(
            "planes",
            "detector images",
            done_by(images.planes),
            needs=["fetch", "calibrate", "quality", "durations"],
            uses=["intervals"],
            options=["compat", "engine"],
        ),
        Step(
            "images",
            "sky images",
            done_by(images.sky_images),
            needs=["fetch", "quality", "planes"],
            options=["compat", "engine"],
        ),
        Step(
            "detection",
            "sources",
            done_by(images.detection),
            needs=["fetch", "images"],
            options=["compat", "engine"],
        ),
        Step(
            "figures",
            "figures",
            figures.figures,
            needs=["fetch", "calibrate"],
            uses=["quality", "weights", "lightcurves", "durations", "fits", "planes", "images", "detection"],
            options=["figures"],
        ),
        Step(
            "report",
            "results as a table, a tree and a page",
            report.report,
            uses=[
                "fetch",
                "calibrate",
                "quality",
                "intervals",
                "weights",
                "lightcurves",
                "durations",
                "spectra",
                "fits",
                "planes",
                "images",
                "detection",
                "figures",
            ],
        ),
    ]


def events(
    source: str | int | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    ra: float | None = None,
    dec: float | None = None,
    position: str | None = None,
    trigger: Any = None,
    foreground: Sequence[Any] | None = None,
    background: Sequence[Any] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    attitude: str | os.PathLike[str] | None = None,
    aperture: str | os.PathLike[str] | None = None,
    teldef: str | os.PathLike[str] | None = None,
    detector_mask: str | os.PathLike[str] | None = None,
    gain_offset: str | os.PathLike[str] | None = None,
    snr: float = 5.0,
    compat: str | None = None,
    engine: Any = "native",
    figures: bool = True,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    offline: bool = False,
    failed: bool = False,
) -> Pipeline:
    """Return the pipeline that makes the standard products of a burst; nothing is done yet.

    Parameters
    ----------
    source
        Directory of an observation, an event file, or an observation id, which is fetched.
    output
        Folder for the results, by default ``<name of the source>-results`` in the current one.
    ra, dec
        Position of the burst, degrees (ICRS).
    position
        Whose position if `ra` and `dec` are not given: ``"bat"`` or ``"xrt"``, of the last message in
        ``tdrss`` in which this telescope states one; ``"header"``, of the events (RA_OBJ, DEC_OBJ);
        ``"blind"``, none, for images only. By default the first of these that there is.
    trigger
        Trigger time: MET or a date. If not given: of the messages, or of the header.
    foreground, background
        Start and stop (s from the trigger, or dates) of the burst and of the background before it, for bursts
        that the light curves do not show. If not given: of the messages.
    calibration, attitude, aperture, teldef, detector_mask
        Files to be used in place of those of the observation; `calibration` is a folder (as for
        `batx.open_observation`), in which mask, alignment and pulser maps are looked for also for an event
        file.
    gain_offset
        Gain map, or a folder of them of which the nearest in time serves, for events whose energies were not
        worked out (as for `batx.calibrate_energy`).
    snr
        Spectra below this significance (sigma) get a limit of as many sigma instead of fits.
    compat
        ``"heasoft"`` for the numbers of the tools.
    engine
        ``"heasoft"``, or a `batx.heasoft.Engine`, for the tools of BAT wherever a function has a counterpart
        (energies, hot detectors, weights, light curves, blocks and durations, spectra and responses, images
        and sources; intervals around slews, fits and figures are always made here); ``"xspec"`` for the
        fits.
    figures
        Whether figures are drawn.
    data, mirrors, offline
        For an observation id: directory of data, places of the archive, whether to look for nothing but what
        is there (as for `batx.archive.fetch`).
    failed
        `source` is the number of a failed trigger, which has messages and events but no observation:
        these are put together with what is nearest in time (as for `batx.archive.fetch_trigger`).

    Returns
    -------
    Pipeline
        Call ``run()``. The products are those of ``batgrbproduct``, with its names, bands and intervals, in
        the folders ``events gti auxil lc pha dpi img``; further ``figures``, ``result.json``,
        ``result.txt``, ``report.html`` and the tree of all products but the sky images and events,
        ``sw<obsid>b.nc``.

    Raises
    ------
    MissingFileError
        If there is nothing at `source`.
    ValueRangeError
        If an argument makes no sense.

    Notes
    -----
    Intervals and rules: algorithms 2.11 (``batgrbproduct``). Durations are those of the light curve with the
    shortest of the bins 4 ms, 16 ms, 64 ms, 1 s and 16 s after which no longer burst is found.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import Background, observation
    >>> folder = tempfile.mkdtemp()
    >>> made = observation(folder, background=Background(rate=0.01), duration=20.0, trigger=10.0)
    >>> pipeline = events(made, folder + "/results", ra=150.0, dec=30.0)
    >>> [status.state for status in pipeline.run("quality")]
    ['done', 'done', 'done']
    >>> sorted(path.name for path in pipeline.folder.iterdir())
    ['.batx', 'auxil', 'events']
    """
    ra, dec, snr = _number(ra, "deg", "ra"), _number(dec, "deg", "dec"), _number(snr, "", "snr")
    _require(ra, dec, position, trigger, snr, compat, engine)
    place = Path(str(source)).expanduser()
    text = trigger_id(source) if failed else f"{source:011d}" if isinstance(source, int) else str(source)
    remote = (failed or not place.exists()) and len(text) == _ID and text.isdigit()
    if not remote and not place.exists():
        raise MissingFileError(f"{place}: no such file or directory, and no observation id ({_ID} digits)")
    stem = text if remote else place.name if place.is_dir() else place.name.split(".")[0]
    files = {
        "calibration": calibration,
        "attitude": attitude,
        "aperture": aperture,
        "teldef": teldef,
        "detector_mask": detector_mask,
        "gain_offset": gain_offset,
    }
    options = {
        "source": text if remote else str(place.absolute()),
        "data": str(data_directory(data).absolute()) if remote else None,
        "offline": bool(offline),
        "failed": bool(failed),
        "ra": ra,
        "dec": dec,
        "position": position,
        "trigger": _plain_time(trigger, "trigger"),
        "foreground": _pair("foreground", foreground),
        "background": _pair("background", background),
        "snr": snr,
        "compat": compat,
        "engine": engine if isinstance(engine, str) else type(engine).__qualname__,
        "figures": bool(figures),
    }
    options |= {
        name: None if path is None else str(Path(path).expanduser().absolute())
        for name, path in files.items()
    }
    folder = Path(output) if output is not None else Path(f"{stem}-results")
    if place.is_dir() and place.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueRangeError(
            f"output: found {folder}, which is in the observation {place}; give a folder outside of it, so "
            "that results are not taken for data"
        )
    places = mirror_list(mirrors) if remote and mirrors is not None else None
    return Pipeline("events", _steps(places, engine), folder, options)


#: what the steps ask an engine for
_VERBS = (
    *("calibrate_energy", "hot_pixels", "detector_plane", "mask_weight", "ray_trace", "lightcurve"),
    *("bayesian_blocks", "duration", "spectrum", "response", "add_position", "add_systematics"),
    *("sky_image", "detect", "fit"),
)


def _does_something(engine: Any) -> bool:
    """Return whether an object does any of what an engine is asked for; a class is none yet."""
    return not isinstance(engine, type) and any(callable(getattr(engine, verb, None)) for verb in _VERBS)


def _require(ra: Any, dec: Any, position: Any, trigger: Any, snr: Any, compat: Any, engine: Any) -> None:
    """Raise `ValueRangeError` if an argument makes no sense."""
    compat_of(compat)
    known = engine in engine_names() if isinstance(engine, str) else _does_something(engine)
    if not known:
        raise ValueRangeError(
            f"engine: found {engine!r}, expected one of {', '.join(engine_names())}, or an object such as "
            "batx.heasoft.Engine()"
        )
    if (ra is None) != (dec is None):
        raise ValueRangeError("position: found one of ra and dec, expected both or neither")
    if ra is not None and not (math.isfinite(ra) and -90.0 <= dec <= 90.0):
        raise ValueRangeError(f"position: found ra={ra}, dec={dec}, expected degrees")
    if position is not None and position not in POSITIONS:
        raise ValueRangeError(
            f"position: found {position!r}, expected one of {', '.join(POSITIONS)}; numbers are ra= and dec="
        )
    if position is not None and ra is not None:
        raise ValueRangeError(f"position: found {position!r} and ra={ra}, expected one of them")
    if not snr > 0:
        raise ValueRangeError(f"snr: found {snr}, expected a positive number")
    if trigger is not None and not math.isfinite(_met(trigger, "trigger")):
        raise ValueRangeError(f"trigger: found {trigger!r}, expected MET or a date")


def _met(given: Any, name: str, utcf: float = 0.0) -> float:
    if np.size(given) != 1:
        raise ValueRangeError(f"{name}: found {given!r}, expected one time")
    return float(np.ravel(to_met(given, {"utcf": utcf}, name=name))[0])


def _number(given: Any, unit: str, name: str) -> Any:
    """Return a number, or quantity, as a float; `None` as it is."""
    if given is None:
        return None
    value = to_value(given, unit, name)
    if value.size != 1:
        raise ValueRangeError(f"{name}: found {value.size} values, expected one")
    return float(value.reshape(()))


def _pair(name: str, given: Sequence[Any] | None) -> list[Any] | None:
    """Return start and stop as a list."""
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueRangeError(f"{name}: found {given!r}, expected start and stop")
    pair = [_plain_time(one, name) for one in given]
    ends = [_met(one, name) for one in pair if one is not None]
    if len(pair) != 2 or len(ends) != 2 or not ends[0] < ends[1]:
        raise ValueRangeError(f"{name}: found {given!r}, expected start and stop")
    return pair


def _plain_time(given: Any, name: str) -> Any:
    """Return a time as a number (MET, or seconds) or as a date (UTC), which records can hold.

    What MET a date is depends on the clock correction of the observation, which is not known here.
    """
    if given is None or isinstance(given, (str, int, float)):
        return given
    without, shifted = (_met(given, name, utcf) for utcf in (0.0, 1.0))
    return without if without == shifted else str(met_to_utc(without, utcf=0.0, precision=6))
