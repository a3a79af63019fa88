"""Measure how often noise gives false alarms of periods, and how far frequencies are off in units of errors.

Run ``python benchmarks/calibrate_periods.py`` (some 20 minutes on one core) for the tables of algorithms 7;
``alarms`` or ``pulls`` as argument gives one of them, a second argument the number of simulations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import xarray as xr

import batx

FREQUENCY = 0.1018
LEVELS = (0.5, 0.3, 0.1, 0.03, 0.01)


def light_curve(counts: np.ndarray, lower: np.ndarray, width: float) -> xr.Dataset:
    """Return a light curve of counts in one band."""
    return batx.build(
        "lightcurve",
        {
            "time": lower + 0.5 * width,
            "time_bnds": np.stack([lower, lower + width], axis=-1),
            "energy": [82.5],
            "energy_bnds": [[15.0, 150.0]],
            "counts": counts[:, None],
            "exposure": np.full(lower.size, width),
            "fracexp": np.ones(lower.size),
        },
        {"statistic": "poisson", "weighting": "none"},
    )


def events(
    random: np.random.Generator, gti: list[tuple[float, float]], rate: float, amplitude: float = 0.0
) -> xr.Dataset:
    """Return events of a sinusoid within good time."""
    first, last = gti[0][0], gti[-1][1]
    time = np.sort(random.uniform(first, last, random.poisson(2.0 * rate * (last - first))))
    kept = random.random(time.size) < 0.5 + 0.5 * amplitude * np.cos(2 * np.pi * FREQUENCY * time)
    kept &= np.any([(time >= low) & (time < high) for low, high in gti], axis=0)
    time = time[kept]
    ends = np.array(gti)
    return batx.build(
        "events",
        {
            "time": time,
            "energy": np.full(time.size, 50.0),
            "gti_start": ends[:, 0],
            "gti_stop": ends[:, 1],
        },
    )


def noise_curve(random: np.random.Generator) -> xr.Dataset:
    """Return noise of 40 counts in bins of 0.5 s, with a gap."""
    lower = np.concatenate([np.arange(0, 150, 0.5), np.arange(230, 400, 0.5)])
    return light_curve(random.poisson(40, lower.size), lower, 0.5)


def excess_curve(random: np.random.Generator) -> xr.Dataset:
    """Return noise of twice the variance of counts."""
    lower = np.arange(0, 400, 0.25)
    return light_curve(random.negative_binomial(40, 0.5, lower.size), lower, 0.25)


def noise_events(random: np.random.Generator) -> xr.Dataset:
    """Return noise of 500 events a second with gaps."""
    return events(random, [(0.0, 30.0), (37.0, 61.0), (75.0, 100.0)], 500.0)


SEARCHES: dict[str, tuple[Callable[..., xr.Dataset], str, dict]] = {
    "Z² 1": (noise_curve, "z_search", {"harmonics": 1}),
    "Z² 2": (noise_curve, "z_search", {"harmonics": 2}),
    "Z² 4, to 0.25 Hz": (noise_curve, "z_search", {"harmonics": 4, "frequency": (0.05, 0.25)}),
    "H 10, to 0.1 Hz": (noise_curve, "z_search", {"test": "h", "frequency": (0.02, 0.1)}),
    "Z² 1, baseline 20 s": (noise_curve, "z_search", {"harmonics": 1, "baseline": 20.0}),
    "Z² 1, measured noise": (excess_curve, "z_search", {"harmonics": 1, "noise": "measured"}),
    "Z² 2 of events with gaps": (noise_events, "z_search", {"harmonics": 2, "frequency": (0.1, 0.9)}),
    "folding, 8 bins": (noise_curve, "epoch_folding", {"n_bins": 8, "frequency": (0.05, 0.12)}),
    "folding, 8 bins, 1 per 1/T": (
        noise_curve,
        "epoch_folding",
        {"n_bins": 8, "frequency": (0.05, 0.12), "oversample": 1.0},
    ),
    "power spectrum": (excess_curve, "power_spectrum", {"segment": 40.0, "noise": "measured"}),
}


def false_alarms(n: int) -> None:
    """Print the share of searches of noise with a false alarm, over the one that is said."""
    for name, (make, method, options) in SEARCHES.items():
        random = np.random.default_rng(20260301)
        search = {"noise": "counting"} | options
        if method != "power_spectrum":
            search = {"frequency": (0.05, 0.45)} | search
        found = np.array(
            [float(getattr(batx, method)(make(random), **search)["false_alarm"].min()) for _ in range(n)]
        )
        shares = [f"{np.mean(found < level) / level:.2f}" for level in LEVELS]
        print(f"{name:28s} {n}", *shares, flush=True)


def rates_under_ramps(random: np.random.Generator, ramp: float) -> xr.Dataset:
    """Return 64 ms counts of a pulsar of two peaks under a background that rises."""
    width, bins = 0.064, 6525
    fine = (np.arange(8 * bins) + 0.5) * width / 8 - 0.5 * bins * width
    phase = 2 * np.pi * FREQUENCY * fine
    pulse = (1 + 0.6 * np.cos(phase) + 0.4 * np.cos(2 * phase + 1)).reshape(-1, 8).mean(axis=1)
    time = fine.reshape(-1, 8).mean(axis=1)
    background = 3840.0 * (1 + ramp * np.exp((time - 200.0) / 50.0))
    counts = random.poisson((background + 300.0 * pulse) * width)
    return light_curve(counts, time - 0.5 * width, width)


GTI = [(-200.0, -40.0), (20.0, 200.0)]
PULLS: dict[str, tuple[Callable[..., xr.Dataset], dict]] = {
    "64 ms rates": (lambda r: rates_under_ramps(r, 0.0), {"harmonics": 2}),
    "64 ms rates, baseline 40 s": (lambda r: rates_under_ramps(r, 0.0), {"harmonics": 2, "baseline": 40.0}),
    "the same under a ramp of 25 %": (
        lambda r: rates_under_ramps(r, 0.25),
        {"harmonics": 2, "baseline": 40.0},
    ),
    "events, amplitude 0.2, gap": (lambda r: events(r, GTI, 60.0, 0.2), {"harmonics": 1}),
    "events, amplitude 0.9, gap": (lambda r: events(r, GTI, 60.0, 0.9), {"harmonics": 1}),
    "events, faint": (lambda r: events(r, GTI, 10.0, 0.15), {"harmonics": 1}),
}


def pulls(n: int) -> None:
    """Print the mean and the width of the errors of frequency and derivative, in units of what is said."""
    for name, (make, options) in PULLS.items():
        random = np.random.default_rng(20260302)
        rows = []
        for _ in range(n):
            data = make(random)
            alone = batx.pulse_frequency(data, FREQUENCY, **options)
            both = batx.pulse_frequency(data, FREQUENCY, derivative=True, **options)
            rows.append(
                (
                    float((alone["frequency"] - FREQUENCY) / alone["frequency_err"]),
                    float(both["frequency_dot"] / both["frequency_dot_err"]),
                    float(alone["power"]),
                    float(alone["frequency_err"]),
                )
            )
        pull, slope, power, error = np.array(rows).T
        print(
            f"{name:32s} {n} Z² {np.median(power):.0f} error {np.median(error):.2g} Hz: frequency "
            f"{pull.mean():+.2f} {pull.std():.2f}, derivative {slope.mean():+.2f} {slope.std():.2f}",
            flush=True,
        )


def main() -> None:
    """Print what is asked for."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if wanted in ("", "alarms"):
        false_alarms(number or 1000)
    if wanted in ("", "pulls"):
        pulls(number or 500)


if __name__ == "__main__":
    main()
