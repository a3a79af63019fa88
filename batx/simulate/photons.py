"""Events of an observation: every component drawn from its expectation in time, detector and energy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import AttitudeError, PositionError, ValueRangeError
from batx.instrument.detector import DETECTOR, DETID, NX
from batx.met import to_met
from batx.schema import build, require_kind
from batx.simulate import mask as masks
from batx.simulate import pointing
from batx.simulate.background import NOISE, Background
from batx.simulate.checks import finite, good_time, positive, stream
from batx.simulate.detectors import detector_table, pulse_height_scale
from batx.simulate.energies import Line, Mixture, as_spectrum
from batx.simulate.profiles import Box, Constant, Profile, Sum, as_profile
from batx.simulate.sources import Glitch, Source, Telescope, stretches

__all__ = ["LABELS", "TIME_STEP", "events"]

#: SIMLABEL of events that are not of source 1, 2, ...
LABELS = {"background": 0, "noise": 253, "calibration": 254, "glitch": 255}

#: times are multiples of this, plus a half: the resolution of the event data, s
TIME_STEP = 1e-4

#: length of the slots in which saturation counts events, s
_SLOT = 0.01

#: UTC - MET of an observation that does not say, s
UTCF = -22.5

#: longest cell of the time grid of a component whose brightness changes, s
_CELL = 1e-3

#: events stay at least this far from the end of good time, beyond the rounding of MET, s
_CLOSE = 1e-6

_CALIBRATION = Mixture(((0.75, Line(59.5, 2.5)), (0.25, Line(17.8, 1.5))))


@dataclass
class _Batch:
    """Events of one component, ascending in time: s from the start, pixel ``dety * 286 + detx``, PI."""

    label: int
    time: np.ndarray
    pixel: np.ndarray
    pi: np.ndarray
    flag: int = 0
    expected: float = 0.0


def events(
    sources: Source | Sequence[Source] = (),
    background: Background | None = None,
    *,
    start: Any = 6e8,
    duration: float = 200.0,
    trigger: float | None = None,
    gti: Any = None,
    attitude: xr.Dataset | None = None,
    alignment: xr.Dataset | None = None,
    aperture: xr.Dataset | None = None,
    detectors: xr.Dataset | None = None,
    glitches: Sequence[Glitch] = (),
    calibration: float = 0.01,
    graded: float = 0.002,
    dead_time: float = 0.0,
    saturation: float | None = None,
    angular_step: float = 6e-4,
    seed: int = 0,
    obs_id: str = "00012345000",
    object_name: str = "SIMGRB",
    utcf: float = UTCF,
) -> xr.Dataset:
    """Return simulated BAT events.

    Parameters
    ----------
    sources
        One or any number of `Source`.
    background
        `Background`; the default one if not given, none with ``Background(rate=0)``.
    start, duration
        The observation: MET s (or a Time or date) and s.
    trigger
        Trigger time, s from the start; the keyword TRIGTIME.
    gti
        Good time: Dataset of kind ``gti`` or pairs of MET s; all of the observation if not given. There are
        no events outside it.
    attitude, alignment, aperture, detectors
        From the functions of the same name (`detectors` from `detector_table`); made with `seed` if not
        given.
    glitches
        Any number of `Glitch`.
    calibration
        Events of the tagged calibration source (EVENT_FLAGS 1; lines at 59.5 and 17.8 keV), as a fraction of
        the background.
    graded
        Fraction of all other events that carry EVENT_FLAGS 16, which is good.
    dead_time
        Seconds for which a sandwich of 128 detectors is blind after each event; 0 for none.
    saturation
        Largest rate of the whole instrument, count/s, imposed in slots of 10 ms; `None` for none.
    angular_step
        While the instrument turns, the shadow of the mask is drawn anew when a source has moved this far on
        the tangent plane.
    seed
        Same seed, same events. Every component has a random stream of its own.
    obs_id, object_name, utcf
        For the keywords OBS_ID, OBJECT and UTCFINIT.

    Returns
    -------
    xarray.Dataset
        Kind ``events``, in memory, with ``simlabel``: 0 background, k source k, 253 noise of hot and noisy
        detectors, 254 calibration source, 255 glitch. ``attrs["provenance"]`` is JSON with what was put in
        (``truth``).

    Raises
    ------
    PositionError
        If a source is behind the mask or outside the field at all times.
    GtiError
        If good time is malformed, empty, overlapping or outside the observation.
    AttitudeError
        If the attitude does not cover the observation.
    ValueRangeError
        If the duration is zero, or a rate, a profile or a spectrum is negative or unknown.

    Examples
    --------
    >>> ev = events(Source(0.05, imx=0.1, imy=0.0), Background(rate=0.01), duration=2.0, seed=1)
    >>> sorted(set(ev["simlabel"].values.tolist()) & {0, 1})
    [0, 1]
    """
    utcf = finite(utcf, "s", "utcf")
    start = finite(to_met(start, {"utcf": utcf}, name="start"), "s", "start")
    duration = positive(duration, "s", "duration")
    good = good_time(gti, start, start + duration, {"utcf": utcf}) - start
    chosen = [sources] if isinstance(sources, Source) else list(sources)
    if len(chosen) >= LABELS["noise"]:
        raise ValueRangeError(f"found {len(chosen)} sources, expected at most {LABELS['noise'] - 1}")
    background = Background() if background is None else background
    detectors = detector_table(seed=seed) if detectors is None else detectors
    require_kind(detectors, "detector_table", operation="simulating events (detectors)")
    telescope = _telescope(aperture, alignment, attitude, start, duration, seed)
    efficiency = detectors["efficiency"].values

    batches = [
        _steady("background", background.shape() * efficiency * background.rate, background, good, seed)
    ]
    dim = Background(
        background.rate * positive(calibration, "1", "calibration", zero=True), spectrum=_CALIBRATION
    )
    batches.append(_steady("calibration", DETECTOR * efficiency * dim.rate, dim, good, seed, flag=1))
    batches += _noise(detectors, good, seed)
    for number, source in enumerate(chosen, start=1):
        batches.append(_source(number, source, telescope, efficiency, start, good, angular_step, seed))
    for number, glitch in enumerate(glitches):
        profile = Box(glitch.time, glitch.time + glitch.duration)
        pattern = glitch.pattern() * detectors["enabled"].values
        rate = pattern * (glitch.counts / glitch.duration / max(pattern.sum(), 1.0))
        batches.append(
            _steady("glitch", rate, _Component(NOISE, profile), good, seed, name=f"glitch {number}")
        )

    columns = _merge(batches, positive(graded, "1", "graded", zero=True), seed)
    _lose(columns, dead_time, saturation)
    columns["time"] = _clock(columns["time"], good)
    return _dataset(
        columns,
        detectors,
        good + start,
        {
            "telescope": "SWIFT",
            "instrument": "BAT",
            "obs_id": obs_id,
            "object": object_name,
            "mjdref_int": 51910,
            "mjdref_frac": 0.00074287037,
            "time_scale": "tt",
            "utcf": utcf,
            "trigger_time": None if trigger is None else start + finite(trigger, "s", "trigger"),
            "tstart": start,
            "tstop": start + duration,
            **_pointing_attrs(telescope, chosen, start + (trigger or 0.0)),
            "gainapp": 1,
            "gainmeth": "FIXEDDAC",
            "timedel": TIME_STEP,
            "timepixr": 0.5,
            "provenance": json.dumps(
                _truth(batches, chosen, background, glitches, columns, seed), sort_keys=True
            ),
        },
    )


@dataclass(frozen=True)
class _Component:
    spectrum: Any
    light_curve: Any


def _telescope(
    aperture: xr.Dataset | None,
    alignment: xr.Dataset | None,
    attitude: xr.Dataset | None,
    start: float,
    duration: float,
    seed: int,
) -> Telescope:
    telescope = Telescope(
        masks.aperture(seed=seed) if aperture is None else aperture,
        masks.alignment() if alignment is None else alignment,
        pointing.attitude(start, duration, seed=seed) if attitude is None else attitude,
    )
    for kind in ("aperture", "alignment", "attitude"):
        require_kind(getattr(telescope, kind), kind, operation="simulating events")
    times = telescope.attitude["time"].values
    if times[0] > start or times[-1] < start + duration:
        raise AttitudeError(
            f"attitude: found rows from {times[0]:.3f} to {times[-1]:.3f} s, expected them to cover the "
            f"observation, {start:.3f} to {start + duration:.3f} s"
        )
    return telescope


def _cells(
    profile: Profile, begin: float, end: float, good: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, width and integral of the profile of the cells of good time between two times."""
    low, high = np.maximum(good[:, 0], begin), np.minimum(good[:, 1], end)
    breaks = np.asarray(profile.breaks(), dtype=np.float64)
    edges, inside = [], []
    for a, b in zip(low, high, strict=True):
        if b > a:
            steady = isinstance(profile, (Constant, Box))
            n = 1 if steady else int(np.clip(np.ceil((b - a) / _CELL), 1, 1_000_000))
            grid = np.union1d(np.linspace(a, b, n + 1), breaks[(breaks > a) & (breaks < b)])
            edges.append(grid[:-1])
            inside.append(np.diff(grid))
    if not edges:
        return np.empty(0), np.empty(0), np.empty(0)
    first, width = np.concatenate(edges), np.concatenate(inside)
    offset = 0.5 / np.sqrt(3.0)  # two-point Gauss-Legendre rule
    values = np.asarray(profile(first + (0.5 - offset) * width)) + np.asarray(
        profile(first + (0.5 + offset) * width)
    )
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueRangeError(f"light curve {profile!r}: found negative or undefined values, expected none")
    return first, width, 0.5 * values * width


def _draw(rng: np.random.Generator, n: int, weights: np.ndarray, dtype: Any) -> np.ndarray:
    """Return `n` independent indices with probabilities in proportion to `weights`, in random order."""
    if n < len(weights):
        total = np.cumsum(weights)
        return np.searchsorted(total, rng.random(n) * total[-1], side="right").astype(dtype)
    drawn: np.ndarray = np.repeat(
        np.arange(len(weights), dtype=dtype), rng.multinomial(n, weights / weights.sum())
    )
    rng.shuffle(drawn)
    return drawn


def _times(
    rng: np.random.Generator, cells: tuple[np.ndarray, np.ndarray, np.ndarray], rate: float
) -> np.ndarray:
    """Return Poisson times, ascending."""
    first, width, integral = cells
    counts = rng.poisson(rate * integral)
    time = rng.random(int(counts.sum()))
    time *= np.repeat(width, counts)
    time += np.repeat(first, counts)
    time.sort()
    return time


def _clock(time: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return times as the clock of the instrument counts them, still in order and inside good time."""
    interval = np.clip(np.searchsorted(good[:, 0], time, side="right") - 1, 0, None)
    ticks = np.floor(time / TIME_STEP)
    ticks += 0.5
    ticks *= TIME_STEP
    return np.clip(ticks, good[interval, 0], good[interval, 1] - _CLOSE, out=ticks)


def _steady(
    kind: str, rate: np.ndarray, component: Any, good: np.ndarray, seed: int, flag: int = 0, name: str = ""
) -> _Batch:
    """Return the events of a component whose pattern on the detectors, count/s, does not change."""
    rng = stream(seed, name or kind)
    cells = _cells(as_profile(component.light_curve), good[0, 0], good[-1, 1], good)
    total = float(rate.sum())
    time = _times(rng, cells, total)
    pixel = _draw(rng, len(time), rate.ravel(), np.uint16)
    pi = _draw(rng, len(time), as_spectrum(component.spectrum).probabilities(), np.int16)
    return _Batch(LABELS[kind], time, pixel, pi, flag, total * float(cells[2].sum()))


def _noise(detectors: xr.Dataset, good: np.ndarray, seed: int) -> list[_Batch]:
    """Return the noise of hot detectors, and of each noisy one in spells of its own."""
    rate, noisy = detectors["noise_rate"].values, detectors["noisy"].values
    batches = [_steady("noise", np.where(noisy, 0.0, rate), _Component(NOISE, Constant()), good, seed)]
    for pixel in np.flatnonzero(noisy):
        rng = stream(seed, f"spells {pixel}")
        spells = [second for second in range(int(good[-1, 1]) + 1) if rng.random() < 0.5]
        profile = Sum([(1.0, Box(second, second + 1)) for second in spells]) if spells else Box(-2, -1)
        alone = np.where(np.arange(rate.size).reshape(rate.shape) == pixel, rate, 0.0)
        batches.append(_steady("noise", alone, _Component(NOISE, profile), good, seed, name=f"noise {pixel}"))
    return batches


def _source(
    number: int,
    source: Source,
    telescope: Telescope,
    efficiency: np.ndarray,
    start: float,
    good: np.ndarray,
    angular_step: float,
    seed: int,
) -> _Batch:
    """Return the events of a source, drawn stretch by stretch while it keeps its place in the field."""
    rng = stream(seed, f"source {number}")
    profile = as_profile(source.light_curve)
    tolerance = positive(angular_step, "1", "angular_step")
    pieces = list(stretches(telescope, source, start, start + good[-1, 1], tolerance))
    rate = float(source.rate or 0.0)
    if source.per == "total":
        rate /= max(float(_lit(telescope, piece).sum()) for piece in pieces) or np.inf
    times, pixels, expected, seen_at_all = [], [], 0.0, False
    brightest = (0.0, 0.0, 0.0)
    for piece in pieces:
        seen = _lit(telescope, piece)
        seen_at_all |= bool(seen.any())
        seen *= efficiency
        cells = _cells(profile, piece[0] - start, piece[1] - start, good)
        total = rate * float(seen.sum())
        times.append(_times(rng, cells, total))
        pixels.append(_draw(rng, len(times[-1]), seen.ravel(), np.uint16))
        counts = total * float(cells[2].sum())
        expected += counts
        brightest = max(brightest, (counts, float(piece[-3]), float(piece[-2])))
    if not seen_at_all:
        imx, imy, front = (value[0] for value in telescope.place(source, np.array([start])))
        where = f"at imx {imx:.3f}, imy {imy:.3f}" if front else "behind the instrument"
        raise PositionError(
            f"{source.name}: found it outside the field of view throughout ({where} at the start), expected "
            "it to light some detectors; move the source or the pointing"
        )
    time = np.concatenate(times)
    response = source.response
    if isinstance(response, str):
        from batx.detector_responses import response as packaged

        response = packaged(imx=brightest[1], imy=brightest[2])
    spectrum = as_spectrum(source.spectrum, response)
    pi = _draw(rng, len(time), spectrum.probabilities(), np.int16)
    return _Batch(number, time, np.concatenate(pixels), pi, 0, expected)


def _lit(telescope: Telescope, piece: tuple[float, float, float, float, bool]) -> np.ndarray:
    """Return the relative counts of the detectors during a stretch; 0 while the source is out of view."""
    *_, imx, imy, in_field = piece
    return telescope.illuminate(imx, imy) if in_field else np.zeros(DETECTOR.shape)


def _merge(batches: Sequence[_Batch], graded: float, seed: int) -> dict[str, np.ndarray]:
    """Return the columns of all components, ascending in time."""
    time = np.concatenate([batch.time for batch in batches])
    order = np.argsort(time, kind="stable")
    columns = {
        "time": time[order],
        "pixel": np.concatenate([batch.pixel for batch in batches])[order],
        "pi": np.concatenate([batch.pi for batch in batches])[order],
    }
    sizes = [len(batch.time) for batch in batches]
    for name, values in (("label", [b.label for b in batches]), ("flag", [b.flag for b in batches])):
        columns[name] = np.repeat(np.array(values, dtype=np.uint8), sizes)[order]
    rng = stream(seed, "grades")
    columns["flag"][(rng.random(len(time), dtype=np.float32) < graded) & (columns["flag"] == 0)] = 16
    return columns


def _lose(columns: dict[str, np.ndarray], dead_time: float, saturation: float | None) -> None:
    """Take out, in place, the events that dead time and saturation cost."""
    dead_time = positive(dead_time, "s", "dead_time", zero=True)
    if dead_time:
        from batx.kernels.losses import live

        sandwich = DETID.ravel()[columns["pixel"]] >> 7
        keep = live(columns["time"], sandwich, 256, dead_time)
        columns.update({name: column[keep] for name, column in columns.items()})
    if saturation is not None:
        from batx.kernels.losses import within_capacity

        capacity = int(positive(saturation, "count/s", "saturation") * _SLOT)
        keep = within_capacity(columns["time"], 0.0, _SLOT, capacity)
        columns.update({name: column[keep] for name, column in columns.items()})


def _dataset(
    columns: dict[str, np.ndarray], detectors: xr.Dataset, good: np.ndarray, attrs: dict[str, Any]
) -> xr.Dataset:
    """Return the columns as an events Dataset, with what follows from pixel and PI."""
    pixel, pi = columns["pixel"], columns["pi"]
    n = DETID.size
    column = np.tile(np.arange(NX, dtype=np.int16), n // NX)
    row = np.repeat(np.arange(n // NX, dtype=np.int16), NX)
    intercept, slope = (plane.astype(np.float32).ravel() for plane in pulse_height_scale(detectors))
    energy = (np.arange(pi.max(initial=0) + 1) * 0.1).astype(np.float32)[pi]
    pha = np.clip(np.rint(intercept[pixel] - energy / slope[pixel]), 0, 4095).astype(np.int16)
    ontime = float((good[:, 1] - good[:, 0]).sum())
    return build(
        "events",
        {
            "time": columns["time"] + attrs["tstart"],
            "detid": DETID.ravel().astype(np.int16)[pixel],
            "event_flags": columns["flag"],
            "pha": ("event", pha, {"units": "chan"}),
            "detx": ("event", column[pixel], {"units": "pixel"}),
            "dety": ("event", row[pixel], {"units": "pixel"}),
            "mask_weight": np.zeros(len(pi), dtype=np.float32),
            "pi": ("event", pi, {"units": "0.1 keV"}),
            "energy": energy,
            "simlabel": ("event", columns["label"], {"units": "1", "fits_name": "SIMLABEL"}),
            "gti_start": good[:, 0],
            "gti_stop": good[:, 1],
        },
        {**attrs, "ontime": ontime, "exposure": ontime},
    )


def _pointing_attrs(telescope: Telescope, sources: Sequence[Source], time: float) -> dict[str, float]:
    """Return where the instrument points at a time, and where the first source is."""
    row = telescope.attitude.sel(time=time, method="nearest")
    ra, dec, roll = (float(row[name]) for name in ("ra", "dec", "roll"))
    ra_obj, dec_obj = telescope.sky(sources[0], time) if sources else (ra, dec)
    return {"ra_obj": ra_obj, "dec_obj": dec_obj, "ra_pnt": ra, "dec_pnt": dec, "pa_pnt": roll}


def _truth(
    batches: Sequence[_Batch],
    sources: Sequence[Source],
    background: Background,
    glitches: Sequence[Glitch],
    columns: dict[str, np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """Return what was put in, for the provenance of the events."""
    recorded = np.bincount(columns["label"], minlength=256)

    def numbers(label: int) -> dict[str, Any]:
        drawn = [batch for batch in batches if batch.label == label]
        return {
            "label": label,
            "expected": sum(batch.expected for batch in drawn),
            "drawn": sum(len(batch.time) for batch in drawn),
            "recorded": int(recorded[label]),
        }

    return {
        "software": "batx.simulate",
        "seed": seed,
        "truth": {
            **{kind: numbers(label) for kind, label in LABELS.items()},
            "background_shape": repr(replace(background, spectrum=None, light_curve=None)),
            "sources": [
                {
                    "name": source.name,
                    **{key: getattr(source, key) for key in ("ra", "dec", "imx", "imy", "rate", "per")},
                    "light_curve": _short(source.light_curve),
                    "spectrum": _short(source.spectrum),
                    **numbers(number),
                }
                for number, source in enumerate(sources, start=1)
            ],
            "glitches": [vars(glitch) for glitch in glitches],
        },
    }


def _short(value: Any) -> str:
    return (
        repr(value)
        if type(value).__module__.startswith("batx.") and len(repr(value)) < 200
        else type(value).__name__
    )
