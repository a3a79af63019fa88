"""A simulated observation in the layout of the Swift archive, with its calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError, WriteError
from batx.instrument.detector import DETECTOR
from batx.io.atomic import atomic_path
from batx.met import to_met
from batx.simulate import files, photons, pointing
from batx.simulate import mask as masks
from batx.simulate.background import Background
from batx.simulate.checks import finite, positive
from batx.simulate.detectors import detector_mask, detector_table
from batx.simulate.orbit import prefilter
from batx.simulate.photons import UTCF
from batx.simulate.sources import Source

__all__ = ["observation"]

#: edges of the bands of the 64 ms rates, keV; those of the 80 channels of survey histograms
RATE_BANDS = (15.0, 25.0, 50.0, 100.0, 350.0)
SURVEY_EDGES = (
    0.0, 10.0, 10.4, 10.8, 11.2, 11.6, 12.1, 12.6, 13.1, 13.6, 14.1, 14.6, 15.2, 15.8, 16.4, 17.0, 17.7, 18.4,
    19.1, 19.8, 20.6, 21.4, 22.2, 23.1, 24.0, 24.9, 25.9, 26.9, 28.0, 29.0, 30.2, 31.3, 32.6, 33.8, 35.1,
    36.5, 37.9, 39.4, 40.9, 42.5, 44.2, 45.9, 47.7, 49.5, 51.4, 53.4, 55.5, 57.6, 59.9, 62.2, 64.6, 67.1,
    69.7, 72.4, 75.3, 78.2, 81.2, 84.4, 87.6, 91.0, 94.6, 98.3, 102.1, 106.0, 110.1, 114.4, 118.9, 123.5,
    128.3, 133.2, 138.4, 143.8, 149.4, 155.2, 161.2, 167.4, 173.9, 180.7, 187.7, 195.0, 6553.6,
)  # fmt: skip


def observation(
    path: str | PathLike[str],
    sources: Source | Sequence[Source] = (),
    background: Background | None = None,
    *,
    obs_id: str = "00012345000",
    start: Any = 6e8,
    duration: float = 200.0,
    trigger: float | None = 50.0,
    target: tuple[float, float, float] = (150.0, 30.0, 40.0),
    slews: Sequence[pointing.Slew] = (),
    jitter: float = 2.0,
    settle_amplitude: float = 60.0,
    mask: str = "reference",
    misalignment: tuple[float, float, float] | None = None,
    detectors: xr.Dataset | None = None,
    survey: float | None = None,
    labels: bool = True,
    compress: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    **options: Any,
) -> Path:
    """Write an observation in the layout of the Swift archive.

    Parameters
    ----------
    path
        Folder in which the folder `obs_id` is made.
    sources, background, start, duration, trigger, seed
        As for `events`.
    obs_id
        Eleven digits.
    target, slews, jitter, settle_amplitude
        Pointing (right ascension, declination, roll in degrees), slews, random error and swing after a slew
        (arcsec); see `attitude`.
    mask, misalignment
        See `aperture` and `alignment`.
    detectors
        From `detector_table`; made with `seed` if not given.
    survey
        Also write survey histograms (80 channels), each this many seconds long.
    labels
        Whether the event table has the column SIMLABEL, the origin of each event.
    compress
        Write the event file and the survey histograms as ``.gz``.
    overwrite
        Whether files of an observation of this number may be replaced.
    **options
        Passed to `events`: ``gti``, ``glitches``, ``calibration``, ``graded``, ``dead_time``, ``saturation``,
        ``angular_step``, ``object_name``, ``utcf``.

    Returns
    -------
    pathlib.Path
        The folder of the observation: ``bat/event``, ``bat/hk``, ``bat/rate``, ``bat/survey``, ``auxil``,
        ``caldb``. What was put in is next to it, in ``<obs_id>_truth.json``.

    Raises
    ------
    ValueRangeError
        If the observation id is not eleven digits; `events` raises the other errors of bad input.
    WriteError
        If the observation is there already and `overwrite` is false.

    Examples
    --------
    >>> import tempfile
    >>> from batx.simulate import Background, Source
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = observation(folder, Source(0.1, imx=0.2, imy=0.1), Background(rate=0.01), duration=5.0)
    ...     print(made.name, sorted(item.name for item in made.iterdir()))
    00012345000 ['auxil', 'bat', 'caldb']
    """
    if len(obs_id) != 11 or not obs_id.isdigit():
        raise ValueRangeError(f"obs_id: found {obs_id!r}, expected eleven digits such as '00012345000'")
    folder = Path(path) / obs_id
    if folder.exists() and not overwrite:
        raise WriteError(f"{folder} exists; give another path or obs_id, or overwrite=True")
    start = finite(to_met(start, {"utcf": options.get("utcf", UTCF)}, name="start"), "s", "start")
    aperture = masks.aperture(mask, seed=seed)
    alignment = masks.alignment() if misalignment is None else masks.alignment(misalignment)
    attitude = pointing.attitude(
        start, duration, target, slews=slews, jitter=jitter, settle_amplitude=settle_amplitude, seed=seed
    )
    table = detector_table(seed=seed) if detectors is None else detectors
    ev = photons.events(
        sources,
        background,
        start=start,
        duration=duration,
        trigger=trigger,
        attitude=attitude,
        alignment=alignment,
        aperture=aperture,
        detectors=table,
        seed=seed,
        obs_id=obs_id,
        **options,
    )

    root = f"sw{obs_id}"
    bat, auxil = files.cards_of(ev.attrs), files.cards_of(ev.attrs, "SC")
    _events(folder / "bat" / "event" / f"{root}bevshsp_uf.evt", ev, labels, overwrite, compress)
    _housekeeping(folder / "bat" / "hk", root, table, bat, ev.attrs["tstart"], overwrite)
    _rates(folder / "bat" / "rate", root, ev, bat, overwrite)
    if survey is not None:
        histograms = folder / "bat" / "survey" / f"{root}bsvpb000g0000.dph"
        _survey(histograms, ev, bat, positive(survey, "s", "survey"), overwrite, compress)
    _attitude(folder / "auxil" / f"{root}sat.fits", attitude, auxil, overwrite)
    _prefilter(folder / "auxil" / f"{root}sao.fits", attitude, auxil, overwrite)
    _calibration(folder / "caldb", aperture, alignment, table, bat, overwrite)
    truth = json.loads(ev.attrs["provenance"])
    truth["detectors"] = {
        name: table["detid"].values[table[name].values].tolist()
        for name in ("hot", "cold", "noisy")
        if name in table
    }
    with atomic_path(folder.with_name(f"{obs_id}_truth.json"), overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    return folder


def _events(path: Path, ev: xr.Dataset, labels: bool, overwrite: bool, packed: bool = False) -> Path:
    cards = files.cards_of(ev.attrs)
    gti = files.gti_table(ev["gti_start"].values, ev["gti_stop"].values, cards)
    return files.table_file(path, [files.event_table(ev, cards, labels), gti], cards, overwrite, packed)


def _housekeeping(
    folder: Path, root: str, table: xr.Dataset, cards: Any, start: float, overwrite: bool
) -> None:
    """Write the enable map, the detector quality image, and the gains and offsets."""
    off = (~table["enabled"].values).astype(np.int16)
    columns = {"TIME": (np.array([start - 4000.0]), "s"), "FLAG": (off[None], "")}
    enable = files.table("BAT_FLAGS", columns, cards, {"GOODVAL": 0})
    files.table_file(folder / f"{root}bdecb.hk", [enable], cards, overwrite)
    bad = (~detector_mask(table)["good"].values).astype(np.int16)
    keywords = {"TELESCOP": "SWIFT", "INSTRUME": "BAT", "GOODVAL": 0, "BADVAL": 1, "EXTNAME": "DETMASK"}
    files.image_file(folder / f"{root}bdqcb.hk", bad, {**keywords, "OBS_ID": cards["OBS_ID"]}, overwrite)
    columns = {
        "TIME": (np.array([start - 500.0]), "s"),
        "GAIN": (table["gain"].values.astype(np.float32)[None], ""),
        "OFFSET": (table["offset"].values.astype(np.float32)[None], ""),
    }
    extra = {"OFFPULSE": int(table.attrs["offpulse"]), "GAININD": 3, "OFFINDEX": 2}
    gain = files.table("GAIN_OFFSET_MAP", columns, cards, extra)
    files.table_file(folder / f"{root}bgocb.hk", [gain], cards, overwrite)


def _rates(folder: Path, root: str, ev: xr.Dataset, cards: Any, overwrite: bool) -> None:
    """Write the raw rates: 64 ms in four bands, and 1 s in one; only bins that are all good time."""
    edges = np.rint(np.array(RATE_BANDS) / 0.1).astype(int)
    band = np.searchsorted(edges, ev["pi"].values, side="right") - 1
    inside = (band >= 0) & (band < len(edges) - 1)
    for name, width, mode in (("brtms", 0.064, "Rates_Arr_64ms"), ("brt1s", 1.0, "Rates_Arr_1s")):
        first = ev.attrs["tstart"]
        n = int(np.floor((ev.attrs["tstop"] - first) / width + 1e-6))
        index = np.floor((ev["time"].values - first) / width).astype(np.int64)
        use = inside & (index < n)
        counts = np.bincount(index[use] * 4 + band[use], minlength=4 * n).reshape(n, 4)
        time = first + width * np.arange(n)
        good = np.zeros(n, dtype=bool)
        for start, stop in zip(ev["gti_start"].values, ev["gti_stop"].values, strict=True):
            good |= (time >= start - 1e-6) & (time + width <= stop + 1e-6)
        values = (
            np.minimum(counts, 65535).astype(np.uint16) if name == "brtms" else counts.sum(1).astype(np.int32)
        )
        columns = {"TIME": (time[good], "s"), "COUNTS": (values[good], "count")}
        extra = {
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "LIGHTCURVE",
            "HDUCLAS2": "TOTAL",
            "HDUCLAS3": "COUNT",
            "TIMEPIXR": 0.0,
            "TIMEDEL": width,
            "DATAMODE": mode,
            "BACKAPP": False,
        }
        files.table_file(
            folder / f"{root}{name}.lc", [files.table("RATE", columns, cards, extra)], cards, overwrite
        )


def _survey(path: Path, ev: xr.Dataset, cards: Any, length: float, overwrite: bool, packed: bool) -> Path:
    """Write detector-plane histograms of the good events, `length` seconds each."""
    n = max(int(np.ceil((ev.attrs["tstop"] - ev.attrs["tstart"]) / length - 1e-9)), 1)
    edges = np.minimum(ev.attrs["tstart"] + length * np.arange(n + 1), ev.attrs["tstop"])
    channel = np.searchsorted(np.rint(np.array(SURVEY_EDGES[1:-1]) / 0.1), ev["pi"].values, side="right")
    pixel = ev["dety"].values.astype(np.int64) * DETECTOR.shape[1] + ev["detx"].values
    counted = np.isin(ev["event_flags"].values, (0, 16))
    borders = np.searchsorted(ev["time"].values, edges)
    histograms = np.zeros((n, *DETECTOR.shape, 80), dtype=np.int16)
    for row, (a, b) in enumerate(pairwise(borders)):
        cell = (pixel[a:b] * 80 + channel[a:b])[counted[a:b]]
        counts = np.bincount(cell, minlength=DETECTOR.size * 80)
        histograms[row] = counts.reshape(histograms.shape[1:]).clip(0, 32767)
    low, high = ev["gti_start"].values, ev["gti_stop"].values
    overlap = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    exposure = np.maximum(overlap, 0).sum(axis=1)
    flags = np.zeros(n, dtype=np.int16)
    columns = {
        "TIME": (edges[:-1], "s"),
        "EXPOSURE": (exposure, "s"),
        "DPH_COUNTS": (histograms, "count"),
        "DATA_FLAGS": (flags, ""),
        "GAIN_INDEX": (flags + 3, ""),
        "OFFSET_INDEX": (flags + 2, ""),
        "LIVETIME": (exposure, "s"),
    }
    extra = {
        "GAINAPP": False,
        "GAINMETH": "FLIGHT",
        "TIMEPIXR": 0.0,
        "DATAMODE": "Survey_80",
        "HDUCLASS": "OGIP",
    }
    bounds = np.array(SURVEY_EDGES, dtype=np.float32)
    channels: dict[str, tuple[np.ndarray, str]] = {
        "CHANNEL": (np.arange(80, dtype=np.int16), ""),
        "E_MIN": (bounds[:-1], "keV"),
        "E_MAX": (bounds[1:], "keV"),
    }
    hdus = [
        files.table("BAT_DPH", columns, cards, extra),
        files.table("EBOUNDS", channels, cards),
        files.gti_table(low, high, cards),
    ]
    return files.table_file(path, hdus, cards, overwrite, packed)


def _attitude(path: Path, attitude: xr.Dataset, cards: Any, overwrite: bool) -> None:
    """Write the tables ATTITUDE and ACS_DATA."""
    orbit = prefilter(attitude, step=1.0)
    time = attitude["time"].values

    def along(name: str) -> np.ndarray:
        return np.stack([np.interp(time, orbit["TIME"], orbit[name][:, k]) for k in range(3)], axis=1)

    pointing_columns = {
        "TIME": (time, "s"),
        "POINTING": (np.stack([attitude[name].values for name in ("ra", "dec", "roll")], axis=1), "deg"),
        "POSITION": (along("POSITION"), "km"),
        "VELOCITY": (along("VELOCITY"), "km/s"),
        "QPARAM": (attitude["quaternion"].values, ""),
    }
    flags = np.zeros((len(time), 8), dtype=bool)
    for bit, name in enumerate(("ten_arcmin", "settled", "in_saa", "safe_hold")):
        flags[:, bit] = attitude[name].values
    control = {"TIME": (time, "s"), "FLAGS": (flags, "")}
    span = {"TSTART": float(time[0]), "TSTOP": float(time[-1])}
    hdus = [
        files.table("ATTITUDE", pointing_columns, cards, span),
        files.table("ACS_DATA", control, cards, span, bits=["FLAGS"]),
    ]
    files.table_file(path, hdus, cards, overwrite)


def _prefilter(path: Path, attitude: xr.Dataset, cards: Any, overwrite: bool) -> None:
    units = {"TIME": "s", "POSITION": "km", "VELOCITY": "km/s", "SAT_ALT": "km"}
    plain = ("QUATERNION", "SUNSHINE", "SAA")
    orbit = prefilter(attitude)
    columns = {
        name: (values, "" if name in plain else units.get(name, "deg")) for name, values in orbit.items()
    }
    span = {"TSTART": float(orbit["TIME"][0]), "TSTOP": float(orbit["TIME"][-1])}
    files.table_file(path, [files.table("PREFILTER", columns, cards, span)], cards, overwrite)


def _calibration(
    folder: Path, aperture: xr.Dataset, alignment: xr.Dataset, table: xr.Dataset, cards: Any, overwrite: bool
) -> None:
    """Write the aperture, the alignment, and the pulser maps of the energy scale."""
    geometry = {key: value for key, value in aperture.attrs.items() if key.startswith(("mask", "det"))}
    wcs: dict[str, Any] = {}
    for axis, (letter, size) in enumerate((("x", "maskcelx"), ("y", "maskcely")), start=1):
        wcs |= {
            f"CTYPE{axis}": f"MASK{letter.upper()}",
            f"CUNIT{axis}": "cm",
            f"CRPIX{axis}": 0.5,
            f"CRVAL{axis}": geometry.pop(f"maskcell0{letter}"),
            f"CDELT{axis}": geometry[size],
        }
    common = {"TELESCOP": "SWIFT", "INSTRUME": "BAT"}
    shape = {key.upper(): value for key, value in geometry.items()}
    image = aperture["mask"].values.astype(np.int16)
    files.image_file(
        folder / "aperture.fits", image, {**common, "APERTYPE": "FLUX", **wcs, **shape}, overwrite
    )

    rotation = {
        f"ALIGNM{i + 1}{j + 1}": float(alignment["matrix_file"].values[i, j])
        for i in range(3)
        for j in range(3)
    }
    axes: dict[str, Any] = {}
    for letter, number in (("X", 286), ("Y", 173)):
        axes |= {f"RAW{letter}PIX1": 0.0, f"RAW_{letter}SIZ": number, f"DET{letter}PIX1": 0.0}
        axes |= {f"DET_{letter}SIZ": number, f"DET_{letter}SCL": 4.2}
    coordinates = {"NCOORDS": 3, "COORD0": "RAW", "COORD1": "DET", "COORD2": "SKY", "DET_UNIT": "mm"}
    linear = {
        "COE_X1_A": 0.0,
        "COE_X1_B": 1.0,
        "COE_X1_C": 0.0,
        "COE_Y1_A": 0.0,
        "COE_Y1_B": 0.0,
        "COE_Y1_C": 1.0,
    }
    detector = {**coordinates, **axes, **linear, "FOCALLEN": 1000.0}
    files.image_file(folder / "teldef.fits", None, {**common, **detector, **rotation}, overwrite)

    for name, prefix in (("pulser", "pulser"), ("fltpulser", "flight_pulser")):
        maps = {
            column: (table[f"{prefix}_{column.lower()}"].values.astype(np.float32)[None], "")
            for column in ("GAIN", "OFFSET")
        }
        files.table_file(folder / f"{name}.fits", [files.table("BAT_MAP", maps, cards)], cards, overwrite)
