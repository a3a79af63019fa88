"""Light curves and events of pulsars that are known, and files of them as in the archive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from astropy.io import fits

import batx

T0 = 531709683.2
FREQUENCY = 0.1018
#: counts/s in the four bands that the rates have on board, background and pulsar
BACKGROUND, PULSAR = np.array([1340.0, 1370.0, 1130.0, 1100.0]), np.array([160.0, 110.0, 30.0, 0.0])
BANDS = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0], [100.0, 350.0]])

Rate = Callable[[np.ndarray], np.ndarray]


def cycles(time: np.ndarray, frequency: float = FREQUENCY, derivative: float = 0.0) -> np.ndarray:
    """Phase of seconds from the middle of the data."""
    return (frequency + 0.5 * derivative * time) * time


def sinusoid(phase: np.ndarray) -> np.ndarray:
    return 1.0 + np.cos(2 * np.pi * phase)


def two_peaks(phase: np.ndarray) -> np.ndarray:
    return 1.0 + 0.6 * np.cos(2 * np.pi * phase) + 0.4 * np.cos(4 * np.pi * phase + 1.0)


def ramps(time: np.ndarray) -> np.ndarray:
    """Background relative to its mean: a slow change, an exponential rise of particles, a bump of 50 s."""
    x = time / 200.0
    return 1.0 + 0.05 * x + 0.25 * np.exp((x - 1.0) * 4.0) + 0.1 * np.exp(-0.5 * ((time + 80.0) / 50.0) ** 2)


def archive_rates(path: Path, counts: np.ndarray, start: float = T0, width: float = 0.064) -> Path:
    """Write 64 ms rates in the layout of the archive (``sw*brtms.lc``): TIME and COUNTS (4I, TZERO 32768)."""
    time = start + width * np.arange(len(counts))
    columns = [
        fits.Column("TIME", "1D", unit="s", array=time),
        fits.Column("COUNTS", "4I", unit="count", bzero=32768, array=counts.astype(np.uint16)),
    ]
    rate = fits.BinTableHDU.from_columns(columns, name="RATE")
    stop = float(time[-1] + width)
    cards = {
        "HDUCLASS": "OGIP", "HDUCLAS1": "LIGHTCURVE", "HDUCLAS2": "TOTAL", "HDUCLAS3": "COUNT",
        "TIMESYS": "TT", "MJDREFI": 51910.0, "MJDREFF": 7.4287037e-4, "TIMEREF": "LOCAL",
        "TASSIGN": "SATELLITE", "TIMEUNIT": "s", "TSTART": start, "TSTOP": stop, "CLOCKAPP": False,
        "TELAPSE": stop - start, "ONTIME": stop - start, "EXPOSURE": stop - start, "DEADC": 1.0,
        "TIMEPIXR": 0.0, "TIMEDEL": width, "TELESCOP": "SWIFT", "INSTRUME": "BAT",
        "DATAMODE": "Rates_Arr_64ms", "OBS_ID": "00000000001", "BACKAPP": False, "TIMVERSN": "OGIP/93-003",
        "OBJECT": "simulated pulsar", "UTCFINIT": -19.96036,
    }  # fmt: skip
    for key, value in cards.items():
        rate.header[key] = value
    fits.HDUList([fits.PrimaryHDU(), rate]).writeto(path, overwrite=True)
    return path


def pulsar_counts(
    rng: np.random.Generator,
    *,
    bins: int = 6525,
    width: float = 0.064,
    shape: Callable[[np.ndarray], np.ndarray] = two_peaks,
    background: Rate = ramps,
    scale: float = 1.0,
    **phase: float,
) -> np.ndarray:
    """Draw counts (bin, band) of a pulsar over background; pulses are averaged over each bin."""
    fine = (np.arange(bins * 8) + 0.5) * (width / 8) - 0.5 * bins * width
    pulse = shape(cycles(fine, **phase)).reshape(-1, 8).mean(axis=1)
    slow = background(fine.reshape(-1, 8).mean(axis=1))
    return rng.poisson((slow[:, None] * BACKGROUND + scale * pulse[:, None] * PULSAR) * width)


def counts_curve(
    counts: np.ndarray, lower: np.ndarray, width: float, energy: np.ndarray | None = None
) -> xr.Dataset:
    """Light curve of counts (bin[, band]) in bins that begin at `lower`."""
    counts = counts[:, None] if counts.ndim == 1 else counts
    bands = BANDS[: counts.shape[1]] if energy is None else energy
    return batx.build(
        "lightcurve",
        {
            "time": lower + 0.5 * width,
            "time_bnds": np.stack([lower, lower + width], axis=-1),
            "energy": bands.mean(axis=1),
            "energy_bnds": bands,
            "counts": counts,
            "exposure": np.full(lower.size, width),
            "fracexp": np.ones(lower.size),
        },
        {"statistic": "poisson", "weighting": "none", "telescope": "SWIFT", "instrument": "BAT"},
    )


def rates_curve(rate: np.ndarray, error: np.ndarray, lower: np.ndarray, width: float) -> xr.Dataset:
    """Light curve of rates with errors, one band."""
    curve = counts_curve(np.zeros(lower.size), lower, width).drop_vars("counts")
    dims = ("time", "energy")
    return batx.build(
        "lightcurve",
        {name: curve[name].variable for name in curve.variables}
        | {"rate": (dims, rate[:, None]), "rate_err": (dims, error[:, None])},
        {"statistic": "gaussian", "weighting": "mask"},
    )


def pulsar_events(
    rng: np.random.Generator,
    rate: float,
    gti: list[tuple[float, float]],
    amplitude: float = 0.0,
    frequency: float = FREQUENCY,
    derivative: float = 0.0,
    slow: Rate = np.ones_like,
    start: float = 0.0,
) -> xr.Dataset:
    """Events of a sinusoid of relative `amplitude` over `rate` (1/s), phase 0 at `start`, in good time."""
    first, last = gti[0][0], gti[-1][1]
    times = np.sort(rng.uniform(first, last, rng.poisson(2.0 * rate * (last - first))))
    wanted = slow(times) * (1.0 + amplitude * np.cos(2 * np.pi * cycles(times, frequency, derivative)))
    kept = rng.random(times.size) < 0.5 * wanted
    kept &= np.any([(times >= low) & (times < high) for low, high in gti], axis=0)
    times = times[kept]
    energy = rng.choice([20.0, 40.0, 80.0, 200.0], times.size)
    ends = start + np.array(gti)
    return batx.build(
        "events",
        {"time": start + times, "energy": energy, "gti_start": ends[:, 0], "gti_stop": ends[:, 1]},
        {"telescope": "SWIFT", "instrument": "BAT"},
    )
