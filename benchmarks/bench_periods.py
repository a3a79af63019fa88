"""Time of searches for periods, of the barycentre correction, and of what they are instead of.

Run ``python benchmarks/bench_periods.py``. Every figure is processor time, the smallest of three calls after
one that does not count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

N_EVENTS, N_FREQUENCIES = 1_000_000, 10_000


def smallest(function: Callable[[], object], calls: int = 3) -> float:
    """Return the smallest processor time (s) of some calls after one."""
    function()
    times = []
    for _ in range(calls):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def main() -> int:
    """Print the times; return 1 if the search of Z² takes more than a few seconds."""
    import batx
    from batx.kernels.fourier import Frequencies, Terms, transform

    random = np.random.default_rng(1)
    times = np.sort(random.uniform(0.0, 1000.0, N_EVENTS))
    ev = batx.build(
        "events",
        {
            "time": times,
            "energy": np.full(N_EVENTS, 50.0),
            "gti_start": [0.0],
            "gti_stop": [1000.0],
        },
        {"utcf": -25.0},
    )
    grid = np.linspace(0.1, 1.35, N_FREQUENCIES)
    z2 = smallest(lambda: batx.z_search(ev, grid))
    print(f"Z², 2 harmonics, {N_EVENTS} events, {N_FREQUENCIES} frequencies: {z2:.2f} s")
    h = smallest(lambda: batx.z_search(ev, grid, test="h"), 1)
    print(f"H, 20 harmonics, the same: {h:.2f} s")
    terms = Terms.points(times - 500.0, np.ones(N_EVENTS))
    few = Frequencies(grid[:20], 0.0)
    direct = smallest(lambda: transform(terms, few, 0.0, 1), 1) * N_FREQUENCIES / 20
    print(f"one harmonic of it term by term would take {direct:.0f} s")
    folding = smallest(lambda: batx.epoch_folding(ev, grid[:100]), 1) * N_FREQUENCIES / 100
    print(f"epoch folding of 16 bins would take {folding:.0f} s")
    peak = smallest(lambda: batx.pulse_profile(ev, 0.5))
    print(f"pulse profile of {N_EVENTS} events: {peak:.2f} s")
    at_barycenter = smallest(lambda: batx.barycenter(ev, 83.6, 22.0, orbit="geocenter"))
    print(f"barycentre of {N_EVENTS} events: {at_barycenter:.2f} s")
    return int(z2 > 5.0)


if __name__ == "__main__":
    sys.exit(main())
