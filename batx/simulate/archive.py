"""A simulated observation in the layout of the Swift archive, with its calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.detector_planes import detector_plane
from batx.energy_scales import calibrate_energy
from batx.errors import ValueRangeError, WriteError
from batx.instrument.detector import DETECTOR
from batx.io.atomic import atomic_path
from batx.io.write import to_fits
from batx.lightcurves import DEFAULT_BANDS
from batx.met import met_to_utc, to_met
from batx.schema import build
from batx.simulate import mask as masks
from batx.simulate import photons, pointing
from batx.simulate.background import Background
from batx.simulate.checks import finite, positive
from batx.simulate.detectors import detector_mask, detector_table
from batx.simulate.messages import Messages, write_messages, write_near
from batx.simulate.orbit import prefilter
from batx.simulate.photons import UTCF
from batx.simulate.sources import Source
from batx.spectra import STANDARD_EDGES

__all__ = ["observation"]

#: a straight relation of DAC and pulse height: DAC at no height, and DAC/ADU
_LINE = (6000.0, -2.0)
#: energy for what is above the scale on board, keV: it is counted in the last channel
_OVERFLOW = 499.9


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
    messages: Messages | None = None,
    near: tuple[float, float] | None = None,
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
        Also write survey histograms (80 channels on the scale on board), each this many seconds long, and the
        housekeeping that their good time is made of.
    messages
        `Messages` of the trigger: alert and positions of BAT and XRT, scaled map.
    near
        Also write that the source is near, as in tests on ground: INVDIST (1/m) and FLENGTH (m). The events
        are those of sources far away all the same.
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
        ``caldb``, with `messages` ``tdrss``. What was put in is next to it, in ``<obs_id>_truth.json``.

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
    bat, events = folder / "bat", ev if labels else ev.drop_vars("simlabel")
    header = _header(ev.attrs)
    packed = ".gz" if compress else ""
    products = {
        bat / "event" / f"{root}bevshsp_uf.evt{packed}": events.assign_attrs(header),
        bat / "hk" / f"{root}bdqcb.hk": detector_mask(table).assign_attrs(header),
        bat / "hk" / f"{root}bgocb.hk": _gain_offset(table, header),
        bat / "rate" / f"{root}brtms.lc": _rates(ev, header, 0.064, DEFAULT_BANDS),
        bat / "rate" / f"{root}brt1s.lc": _rates(ev, header, 1.0, DEFAULT_BANDS[:: len(DEFAULT_BANDS) - 1]),
        folder / "auxil" / f"{root}sat.fits": _attitude(attitude, header),
        folder / "auxil" / f"{root}sao.fits": _prefilter(attitude, header),
        folder / "caldb" / "aperture.fits": aperture,
        folder / "caldb" / "teldef.fits": alignment,
        folder / "caldb" / "pulser.fits": _pulser(table, "pulser", "GROUND", header),
        folder / "caldb" / "fltpulser.fits": _pulser(table, "flight_pulser", "FLIGHT", header),
        folder / "caldb" / "resid.fits": _residual(header),
    }
    for file, product in products.items():
        _write(product, file, overwrite)
    _write(_enabled(table, header), bat / "hk" / f"{root}bdecb.hk", overwrite, form="flags")
    if messages is not None:
        write_messages(folder, messages, ev, header, overwrite)
    if near is not None:
        write_near(folder, *near, header, overwrite)
    if survey is not None:
        histograms = _survey(ev, table, header, positive(survey, "s", "survey"))
        for name, rows in _telemetry(ev, table, header).items():
            _write(rows, folder / name.format(root=root), overwrite)
        _write(histograms, bat / "survey" / f"{root}bsvpb000g0000.dph{packed}", overwrite, form="dph")
    truth = json.loads(ev.attrs["provenance"])
    truth["detectors"] = {
        name: table["detid"].values[table[name].values].tolist()
        for name in ("hot", "cold", "noisy")
        if name in table
    }
    with atomic_path(folder.with_name(f"{obs_id}_truth.json"), overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    return folder


def _write(ds: xr.Dataset, path: Path, overwrite: bool, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_fits(ds, path, overwrite, **options)


def _header(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that every product of an observation has, from those of its events."""
    of_events = {
        "gainapp",
        "gainmeth",
        "timedel",
        "timepixr",
        "provenance",
        "batx_kind",
        "ontime",
        "exposure",
    }
    obs_id = str(attrs["obs_id"])
    return {
        **{key: value for key, value in attrs.items() if key not in of_events},
        "targ_id": int(obs_id[:-3]),
        "seg_num": int(obs_id[-3:]),
        "timeref": "LOCAL",
        "tassign": "SATELLITE",
        "clockapp": 0,
        "equinox": 2000.0,
        "radecsys": "FK5",
        **_between(attrs["tstart"], attrs["tstop"], attrs["utcf"]),
    }


def _between(start: float, stop: float, utcf: float) -> dict[str, Any]:
    """Return the attributes that tell start and end of a product."""
    dates = {
        name: str(met_to_utc(met, utcf=utcf))[:19] for name, met in (("date_obs", start), ("date_end", stop))
    }
    return {"tstart": start, "tstop": stop, **dates}


def _enabled(table: xr.Dataset, header: dict[str, Any]) -> xr.Dataset:
    """Return the map of enabled detectors, sent down 4000 s before the observation."""
    sent = header["tstart"] - 4000.0
    return build(
        "detector_mask", {"good": table["enabled"].values}, {**header, **_between(sent, sent, header["utcf"])}
    )


def _gain_offset(table: xr.Dataset, header: dict[str, Any]) -> xr.Dataset:
    """Return the map of gains and offsets, made 500 s before the observation."""
    keywords = {
        "extname": "GAIN_OFFSET_MAP",
        "offpulse": table.attrs["offpulse"],
        "gainind": 3,
        "offindex": 2,
    }
    maps = table[["gain", "offset"]].assign_coords(time=((), header["tstart"] - 500.0, {"units": "s"}))
    return maps.assign_attrs(header | keywords)


def _pulser(table: xr.Dataset, name: str, source: str, header: dict[str, Any]) -> xr.Dataset:
    """Return the gains and offsets of the pulser, on ground or in flight."""
    maps = table[[f"{name}_gain", f"{name}_offset"]]
    maps = maps.rename({f"{name}_{value}": value for value in ("gain", "offset")})
    del maps.attrs["offpulse"]
    return maps.assign_attrs(header | _caldb("PULSER_GAIN") | {"cbd10001": f'SOURCE("{source}")'})


def _residual(header: dict[str, Any]) -> xr.Dataset:
    """Return residuals of the energy scale that add nothing, as the simulation has none."""
    line = {"offset": _LINE[0], "gain": _LINE[1], "gain2": 0.0, "gain3": 0.0}
    line |= {"lin_offset": _LINE[0], "lin_gain": _LINE[1]}
    plane = ("dety", "detx")
    maps = {name: (plane, np.full(DETECTOR.shape, value, np.float32)) for name, value in line.items()}
    keywords = _caldb("DET_GAIN") | {"gainmeth": "FULLCUBIC"}
    return build("detector_table", maps, {"telescope": "SWIFT", "instrument": "BAT"} | header | keywords)


def _caldb(codename: str) -> dict[str, Any]:
    """Return the keywords by which a calibration file is known."""
    return {
        "extname": "BAT_MAP",
        "ccls0001": "BCF",
        "cdtp0001": "DATA",
        "ccnm0001": codename,
        "cvsd0001": "2004-11-20",
        "cvst0001": "00:00:00",
    }


def _rates(ev: xr.Dataset, header: dict[str, Any], width: float, bands: Sequence[float]) -> xr.Dataset:
    """Return raw rates, of events of any flag, in those bins that are all good time."""
    start, stop = ev["gti_start"].values, ev["gti_stop"].values
    first = ev.attrs["tstart"]
    n = int(np.floor((ev.attrs["tstop"] - first) / width + 1e-6))
    time = first + width * np.arange(n)
    good = ((time >= start[:, None] - 1e-6) & (time + width <= stop[:, None] + 1e-6)).any(axis=0)
    edges = np.rint(np.array(bands) / 0.1).astype(int)
    band = np.searchsorted(edges, ev["pi"].values, side="right") - 1
    index = np.floor((ev["time"].values - first) / width).astype(np.int64)
    use = (band >= 0) & (band < len(edges) - 1) & (index < n)
    shape = n, len(edges) - 1
    counts = np.bincount(index[use] * shape[1] + band[use], minlength=n * shape[1]).reshape(shape)[good]
    bounds = np.stack([time, time + width], axis=1)[good]
    energies = np.stack([bands[:-1], bands[1:]], axis=1)
    return build(
        "lightcurve",
        {
            "time": bounds.mean(axis=1),
            "time_bnds": bounds,
            "energy": energies.mean(axis=1),
            "energy_bnds": energies,
            "counts": np.minimum(counts, 65535).astype(np.uint16) if width < 1 else counts.astype(np.int32),
            "exposure": np.full(len(bounds), width),
            "fracexp": np.ones(len(bounds)),
            "gti_start": start,
            "gti_stop": stop,
        },
        {
            **header,
            "statistic": "poisson",
            "weighting": "none",
            "datamode": "Rates_Arr_64ms" if width < 1 else "Rates_Arr_1s",
        },
    )


def _survey(ev: xr.Dataset, table: xr.Dataset, header: dict[str, Any], length: float) -> xr.Dataset:
    """Return detector-plane histograms of the good events, `length` seconds each, on the scale on board."""
    ev = calibrate_energy(ev, _gain_offset(table, header), method="linear")
    ev["energy"] = ev["energy"].fillna(_OVERFLOW)
    start, stop = ev.attrs["tstart"], ev.attrs["tstop"]
    n = max(int(np.ceil((stop - start) / length - 1e-9)), 1)
    edges = np.minimum(start + length * np.arange(n + 1), stop)
    planes = detector_plane(ev, time=edges, energy=STANDARD_EDGES)
    flags = np.zeros(n, dtype=np.int16)
    further = {
        "counts": planes["counts"].clip(max=32767, keep_attrs=True).astype(np.int16),
        "data_flags": ("time", flags),
        "gain_index": ("time", flags + np.int16(3)),
        "offset_index": ("time", flags + np.int16(2)),
        "livetime": ("time", planes["exposure"].values, {"units": "s"}),
    }
    return planes.assign(further).assign_attrs(header, gainapp=0, gainmeth="FLIGHT")


def _telemetry(ev: xr.Dataset, table: xr.Dataset, header: dict[str, Any]) -> dict[str, xr.Dataset]:
    """Return housekeeping that good time of survey histograms is made of: all as it should be."""
    start, stop = ev.attrs["tstart"], ev.attrs["tstop"]
    fast, slow = np.arange(start - 20.0, stop + 21.0, 10.0), np.arange(start - 60.0, stop + 61.0, 60.0)
    enabled = np.full(fast.size, int(table["enabled"].values.sum()), np.int32)
    trackers: dict[str, Any] = {
        "sac_modestat": np.full(slow.size, 32, np.int32),
        "sac_aderr": np.full(slow.size, 0.01, np.float32),
        "stast_lossfcn": np.full(slow.size, 2e-10),
    }
    trackers = {name: (("time",), values) for name, values in trackers.items()}
    detectors = {"time": fast, "bdihkngooddets": (("time",), enabled)}
    return {
        "bat/hk/{root}ben.hk": build("housekeeping", detectors, header | {"extname": "HK139X001"}),
        "auxil/{root}sen.hk": build(
            "housekeeping", {"time": slow, **trackers}, header | {"extname": "HK011X001"}
        ),
    }


def _attitude(attitude: xr.Dataset, header: dict[str, Any]) -> xr.Dataset:
    """Return the attitude with the orbit along it."""
    orbit = prefilter(attitude, step=1.0)
    time = attitude["time"].values
    along = {
        name: (
            ("time", "axis"),
            np.stack([np.interp(time, orbit["TIME"], axis) for axis in orbit[name.upper()].T], axis=1),
            {"units": units},
        )
        for name, units in (("position", "km"), ("velocity", "km/s"))
    }
    return _auxiliary(attitude.assign(along), header)


def _prefilter(attitude: xr.Dataset, header: dict[str, Any]) -> xr.Dataset:
    orbit = prefilter(attitude)
    units = {
        "POSITION": "km",
        "VELOCITY": "km/s",
        "SAT_ALT": "km",
        "QUATERNION": "",
        "SUNSHINE": "",
        "SAA": "",
    }
    columns = {
        name.lower(): (
            ("time", name.lower())[: values.ndim],
            values,
            {"units": units.get(name, "deg")},
        )
        for name, values in orbit.items()
        if name != "TIME"
    }
    made = build("housekeeping", {"time": orbit["TIME"], **columns}, {"extname": "PREFILTER"})
    return _auxiliary(made, header)


def _auxiliary(ds: xr.Dataset, header: dict[str, Any]) -> xr.Dataset:
    """Return a product of the spacecraft with the keywords of the observation and its own span."""
    first, last = float(ds["time"][0]), float(ds["time"][-1])
    return ds.assign_attrs(header | {"instrument": "SC"} | _between(first, last, header["utcf"]))
