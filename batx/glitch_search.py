"""Heat-pipe glitches in events: when they are, their detector images, and the good time without them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.glitch_scores import SERVED, score_images
from batx.grids import GRID_STEP, good_time, warn
from batx.instrument.detector import DETECTOR, NX, SHAPE
from batx.intervals import gti_arrays
from batx.kernels import gti as intervals
from batx.kernels import surges as kernel
from batx.kernels.morphology import sandwich_sums
from batx.provenance import with_calibration
from batx.reduction import columns_of, mask_array
from batx.schema import build, require_bat
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.spectra import STANDARD_EDGES
from batx.units import to_value

__all__ = ["BANDS", "PUBLIC", "glitches"]

#: name of the public procedure
PUBLIC = "batanalysis"

#: bands of the search, keV: counts up to the first, and above the second
_LOW, _HIGH = 25.0, 50.0

#: bands of the images, keV
BANDS = np.array([[15.0, 50.0], [50.0, 350.0]])

#: with this many events in a detector on average, one without any is off
_ENOUGH = 8.0

_SNR = {None: 8.0, PUBLIC: 10.0}


class _Events(NamedTuple):
    """Events ascending in time: MET, energy in steps of 0.1 keV (-1 if unknown), cell of the plane."""

    time: np.ndarray
    energy: np.ndarray
    cell: np.ndarray

    def times(self, above: float, up_to: float) -> np.ndarray:
        """Return the times of the events above an energy, up to and with another one."""
        low, high = (round(limit / GRID_STEP) if np.isfinite(limit) else limit for limit in (above, up_to))
        return self.time[(self.energy > low) & (self.energy <= high)]


def glitches(
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    t0: Any = None,
    gti: Any = None,
    detector_mask: Any = None,
    snr: float | None = None,
    ratio: float = 3.0,
    window: Any = 1.0,
    min_score: float = 0.5,
    compat: str | None = None,
) -> xr.Dataset:
    """Find glitches: surges of soft counts, some hundredths of a second long, in a few detectors.

    Counts in bins of 16 ms, up to 25 keV and above 50 keV, are compared with those around. What stands out
    in the low band alone, and lies on the detector plane as a glitch does and not as light through the mask,
    is a glitch. For each there are its times, significances, spectrum, and the image of its 64 ms.

    Parameters
    ----------
    events
        Kind ``events``, with energies and positions; read at once. Their order does not matter.
    tstart, tstop
        Limits of the time searched.
    t0
        Origin of `tstart` and `tstop` where these are numbers: MET, a date, or ``"trigger"``.
    gti
        Further good-time intervals; what is good in these and in those of the events is searched.
    detector_mask
        Kind ``detector_mask`` or bool (173, 286), true = good: events of other detectors are left out.
    snr
        Least significance in the low band: 8, or 10 with `compat`.
    ratio
        Least ratio of the significances in the low and in the high band.
    window
        Length of time that the background is taken from, s.
    min_score
        Surges with a lower `score` are bursts, and left out; 0 keeps all, as `compat` does.
    compat
        ``"batanalysis"`` for the public procedure, to the letter: mean and standard deviation of each
        good-time interval, one window of 64 ms a bad bin, with both ends, not joined; every event counts,
        whatever its flags.

    Returns
    -------
    xarray.Dataset
        Kind ``glitches``, a row each: ``time`` (and bounds) of the image, from 24 ms before the start of the
        highest bin to 40 ms after it; ``glitch_start``, ``glitch_stop``, the time that is no good, which is
        the windows of all its bins joined; ``snr_low``, ``snr_high`` with the counts and their expectation;
        ``score``; ``image`` (glitch, 173, 286) for 15-350 keV; ``sandwich`` (glitch, energy, 16, 16) for
        15-50 and 50-350 keV; ``spectrum`` (glitch, 80). ``gti_start`` and ``gti_stop`` are the good time
        searched *without* the glitches, so the result can be given to other functions as ``gti=``.

    Raises
    ------
    KindError, MissingVariableError, UnitsError, GtiError, EmptySelectionError
        As `batx.detector_plane`.
    ValueRangeError
        If a threshold is out of range, or `compat` is unknown.

    Notes
    -----
    Good-time intervals shorter than 0.13 s are not searched. A surge longer than half of `window` is taken
    for background. Formulae, and how often the score errs: algorithms, section 2.11.

    Examples
    --------
    >>> from batx.simulate import Background, Glitch, events
    >>> surge = Glitch(4.0, counts=400, reach=8, scatter=1.2)
    >>> ev = events((), Background(rate=0.2), duration=8.0, glitches=[surge])
    >>> gl = glitches(ev)
    >>> (gl.glitch_start.values - ev.attrs["tstart"]).round(2), gl.image.shape
    (array([3.98]), (1, 173, 286))
    >>> ev.bat.lightcurve(dt=8.0, gti=gl, weighting="none").exposure.values.round(2)
    array([7.84])
    """
    if compat not in _SNR:
        raise ValueRangeError(f"compat: found {compat!r}, expected None or {PUBLIC!r}")
    least = _SNR[compat] if snr is None else float(snr)
    span = float(to_value(window, "s", "window"))
    if not (np.isfinite([least, ratio, span]).all() and least > 0 and ratio > 0 and span >= 0.2):
        raise ValueRangeError(
            f"glitches: found snr {least}, ratio {ratio}, window {span} s; expected positive numbers, and a "
            "window of at least 0.2 s"
        )
    if not 0.0 <= min_score <= 1.0:
        raise ValueRangeError(f"min_score: found {min_score}, expected 0 to 1")
    require_bat(events, "events", operation="glitches")
    read, n_nan = _read(events, detector_mask, compat)
    if n_nan:
        warn(f"{n_nan} event(s) have no energy (NaN); they are in no energy band and not counted")
    start, stop = _good_time(events, gti, tstart, tstop, t0, compat)
    found = _search(read, start, stop, least, ratio, span, compat)
    active = _active(read, detector_mask)
    images = _Images.of(read, found.peak, closed=compat is not None)
    score = score_images(images.plane, active)
    if compat is None:
        kept = ~(score < min_score)
        found = kernel.Surges(*(field[kept] for field in found))
        images, score = _Images(*(field[kept] for field in images)), score[kept]
    return _labelled(events, found, images, score, active, (start, stop), read.time.size, least, compat)


def _read(events: xr.Dataset, detector_mask: Any, compat: str | None) -> tuple[_Events, int]:
    """Return the events that count, and the number of those without energy."""
    columns = columns_of(
        events,
        operation="glitches",
        weighted=False,
        energy_column="energy",
        detector_mask=None,
        positions=True,
        compat=None if compat is None else "heasoft",
    ).per_event()
    column = {name: np.asarray(variable.to_numpy()) for name, variable in columns.items()}
    energy = column["energy"].astype(np.float64)
    x, y = column["detx"].astype(np.int64), column["dety"].astype(np.int64)
    kept = (x >= 0) & (x < SHAPE[1]) & (y >= 0) & (y < SHAPE[0])
    if outside := np.count_nonzero(~kept):
        warn(f"{outside} event(s) have a position outside the detector plane; they are not counted")
    cell = np.where(kept, y * NX + x, 0)
    if "flags" in column:
        kept &= np.isin(column["flags"], (0, 16))
    if detector_mask is not None:
        kept &= mask_array(detector_mask).ravel()[cell]
    unknown = np.isnan(energy)
    step = np.where(unknown, -1, np.floor(np.where(unknown, 0.0, energy) / GRID_STEP + 0.01)).astype(np.int64)
    time = column["time"].astype(np.float64)[kept]
    order = slice(None) if np.all(time[1:] >= time[:-1]) else np.argsort(time, kind="stable")
    return _Events(time[order], step[kept][order], cell[kept][order]), int(np.count_nonzero(unknown & kept))


def _good_time(
    events: xr.Dataset, gti: Any, tstart: Any, tstop: Any, t0: Any, compat: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals to be searched; those of the file as they are for the public procedure."""
    whole = gti is None and tstart is None and tstop is None
    if compat is not None and whole and "gti_start" in events.variables:
        return gti_arrays(events)
    return good_time(events, gti, tstart, tstop, t0)


def _search(
    read: _Events,
    start: np.ndarray,
    stop: np.ndarray,
    snr: float,
    ratio: float,
    window: float,
    compat: str | None,
) -> kernel.Surges:
    """Return the surges of all intervals."""
    bands = read.times(-np.inf, _LOW), read.times(_HIGH, np.inf)
    parts = []
    for first, last in zip(start, stop, strict=True):
        limits = (np.searchsorted(times, [first, last + kernel.BIN]) for times in bands)
        low, high = (times[slice(*ends)] for times, ends in zip(bands, limits, strict=True))
        if compat is None:
            parts.append(kernel.find_surges(low, high, first, last, snr, ratio, window))
        else:
            parts.append(kernel.public_windows(low, high, first, last, snr, ratio))
    return kernel.joined(parts)


def _active(read: _Events, detector_mask: Any) -> np.ndarray | None:
    """Return which detectors are on: those with events, if there are enough to tell; `None` if unknown."""
    good = DETECTOR if detector_mask is None else DETECTOR & mask_array(detector_mask)
    hit = np.bincount(read.cell, minlength=good.size).reshape(good.shape) > 0
    if read.time.size >= _ENOUGH * max(int(np.count_nonzero(hit & good)), 1):
        return hit & good
    return None if detector_mask is None else good


class _Images(NamedTuple):
    """Bounds of the windows, counts of the detectors and sandwiches, and spectra."""

    bounds: np.ndarray
    plane: np.ndarray
    sandwich: np.ndarray
    spectrum: np.ndarray

    @classmethod
    def of(cls, read: _Events, peak: np.ndarray, closed: bool) -> _Images:
        """Return those of the windows around bins that start at `peak`; with their ends if `closed`."""
        bounds = np.stack([peak - kernel.BEFORE, peak + kernel.AFTER], axis=-1)
        first = np.searchsorted(read.time, bounds[:, 0], side="left")
        last = np.searchsorted(read.time, bounds[:, 1], side="right" if closed else "left")
        edges = np.rint(np.append(BANDS[:, 0], BANDS[-1, 1]) / GRID_STEP)
        channels = np.rint(np.array(STANDARD_EDGES) / GRID_STEP)
        planes = np.zeros((peak.size, len(BANDS), *SHAPE), np.uint16)
        spectrum = np.zeros((peak.size, channels.size - 1), np.int32)
        for number, events in enumerate(map(slice, first, last)):
            energy, cell = read.energy[events], read.cell[events]
            band = np.searchsorted(edges, energy, side="right") - 1
            for k, plane in enumerate(planes[number]):
                plane += np.bincount(cell[band == k], minlength=plane.size).reshape(SHAPE).astype(np.uint16)
            channel = np.searchsorted(channels, energy, side="right") - 1
            inside = (channel >= 0) & (channel < spectrum.shape[1])
            spectrum[number] = np.bincount(channel[inside], minlength=spectrum.shape[1])
        sandwich = sandwich_sums(planes)
        return cls(bounds, planes.sum(axis=1, dtype=np.uint16), sandwich.astype(np.uint16), spectrum)


def _labelled(
    events: xr.Dataset,
    found: kernel.Surges,
    images: _Images,
    score: np.ndarray,
    active: np.ndarray | None,
    good: tuple[np.ndarray, np.ndarray],
    n_events: int,
    snr: float,
    compat: str | None,
) -> xr.Dataset:
    """Return what was found as a Dataset."""
    n = found.peak.size
    obs_id = str(events.attrs.get("obs_id", "")).strip()
    source = str(events.encoding.get("source", "")).replace("\\", "/").rpartition("/")[2]
    start, stop = intervals.union(*good)
    if not start.size:
        start = stop = np.zeros(1)
    clean = intervals.intersection(
        (start, stop), intervals.complement(found.start, found.stop, start[0], stop[-1])
    )
    channels = np.array(STANDARD_EDGES)
    attrs = kept_attrs(events.attrs, *ORIGIN, "provenance", "history")
    line = f"batx.glitches: {n} found, {'robust' if compat is None else compat} search, snr {snr:g}"
    names = ("low", "high")
    one = ("observation",)
    return build(
        "glitches",
        {
            "time": images.bounds.mean(axis=1),
            "time_bnds": images.bounds,
            "obs_id": np.full(n, obs_id),
            "glitch_start": found.start,
            "glitch_stop": found.stop,
            **{f"snr_{name}": found.snr[:, k] for k, name in enumerate(names)},
            **{f"counts_{name}": found.counts[:, k] for k, name in enumerate(names)},
            **{f"expected_{name}": found.expected[:, k] for k, name in enumerate(names)},
            "score": score,
            "image": images.plane,
            "energy": BANDS.mean(axis=1),
            "energy_bnds": BANDS,
            "sandwich": images.sandwich,
            "channel_energy": 0.5 * (channels[:-1] + channels[1:]),
            "channel_energy_bnds": np.stack([channels[:-1], channels[1:]], axis=-1),
            "spectrum": images.spectrum,
            "observation": (one, np.array([obs_id])),
            "file": (one, np.array([source])),
            "observation_start": start[:1],
            "observation_stop": stop[-1:],
            "exposure": np.array([float((stop - start).sum())]),
            "n_events": np.array([n_events]),
            "n_detectors": np.array([-1 if active is None else np.count_nonzero(active)]),
            "n_glitches": np.array([n]),
            "gti_start": clean[0],
            "gti_stop": clean[1],
            "gti_obs_id": np.full(clean[0].size, obs_id),
        },
        with_calibration(with_history(attrs, line), SERVED),
    )
