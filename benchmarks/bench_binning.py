"""Re-binning of events in memory against `numpy.histogram2d`.

Run ``python benchmarks/bench_binning.py [N_EVENTS]``: 10 M events, 15625 time bins of 64 ms, 4 bands.
Every figure is the median of five calls after one warm call. `numpy.histogram2d` is called twice, for Σw and
for Σw², on the same edges; it looks at neither good time nor flags.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from common import median_time

N_BINS, WIDTH, MET0 = 15625, 0.064, 600000000.0
BANDS = np.array([15.0, 25.0, 50.0, 100.0, 350.0])


def main(n_events: int) -> float:
    """Print times and ratios; return the ratio of issue part (b)."""
    import batx

    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(MET0, MET0 + N_BINS * WIDTH, n_events))
    energies = (rng.integers(100, 4000, n_events) / 10).astype(np.float32)
    weights = rng.normal(size=n_events).astype(np.float32)
    events = batx.build(
        "events",
        {
            "time": times,
            "energy": ("event", energies, {"units": "keV"}),
            "mask_weight": weights,
            "event_flags": np.zeros(n_events, np.uint8),
            "gti_start": [MET0],
            "gti_stop": [MET0 + N_BINS * WIDTH],
        },
    )
    edges = MET0 + np.arange(N_BINS + 1) * WIDTH

    def histograms() -> None:
        for values in (weights, weights.astype(np.float64) ** 2):
            np.histogram2d(times, energies, bins=[edges, BANDS], weights=values)

    shuffled = events.isel(event=rng.permutation(n_events))
    fine = batx.lightcurve(events, dt=WIDTH)
    cases = {
        "two numpy.histogram2d": histograms,
        "lightcurve(dt=0.064), weighted": lambda: batx.lightcurve(events, dt=WIDTH),
        "lightcurve(time=edges), weighted": lambda: batx.lightcurve(events, time=edges),
        "lightcurve(dt=0.064), counts": lambda: batx.lightcurve(events, dt=WIDTH, weighting="none"),
        "lightcurve(dt=0.064), events shuffled": lambda: batx.lightcurve(shuffled, dt=WIDTH),
        "lightcurve(snr=6)": lambda: batx.lightcurve(events, snr=6, dt=10.0),
        "spectrum, 80 channels": lambda: batx.spectrum(events),
        "rebin_time(dt=1.024) of the light curve": lambda: batx.rebin_time(fine, dt=1.024),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", batx.BatxWarning)
        seconds = {name: median_time(function) for name, function in cases.items()}
    reference = seconds["two numpy.histogram2d"]
    print(f"{n_events} events, {N_BINS} x {BANDS.size - 1} bins")
    for name, value in seconds.items():
        print(f"{name:42s} {value:8.3f} s   {reference / value:6.1f} x faster")
    ratio = reference / seconds["lightcurve(dt=0.064), weighted"]
    print(f"(b) re-binning with Σw and Σw²: {ratio:.1f} x faster than two histogram2d; target 8")
    return ratio


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000)
