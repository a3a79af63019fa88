"""Time of Bayesian blocks against the number of cells, with and without a burst.

Run ``python benchmarks/bench_blocks.py``. Every figure is the smallest of three calls after one warm call.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

BINS = (12_500, 25_000, 50_000, 100_000, 200_000, 400_000)
N_EVENTS, SPILL = 1_000_000, 16


def smallest(function: Callable[[], object], calls: int = 3) -> float:
    """Return the smallest time (s) of some calls after one."""
    function()
    times = []
    for _ in range(calls):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def light_curve(n: int, height: float) -> object:
    """Return n bins of unit error with a burst of 1500 bins in the middle."""
    import batx

    rate = np.random.default_rng(0).normal(size=(n, 1))
    rate[n // 2 : n // 2 + 1500, 0] += height * np.exp(-np.arange(1500) / 300.0)
    lower = np.arange(n) * 0.064
    return batx.build(
        "lightcurve",
        {
            "time": lower + 0.032,
            "time_bnds": (("time", "bnds"), np.column_stack([lower, lower + 0.064])),
            "energy": [100.0],
            "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
            "rate": (("time", "energy"), rate),
            "rate_err": (("time", "energy"), np.ones((n, 1))),
            "exposure": np.full(n, 0.064),
            "fracexp": np.ones(n),
            "gti_start": [0.0],
            "gti_stop": [n * 0.064],
        },
        {"statistic": "gaussian", "weighting": "mask"},
    )


def main() -> int:
    """Print the times; return 1 if a bound of the design is exceeded."""
    import batx

    seconds: dict[tuple[int, float], float] = {}
    for height in (0.0, 10.0):
        for n in BINS:
            lc = light_curve(n, height)
            seconds[n, height] = smallest(lambda lc=lc: batx.bayesian_blocks(lc))
            print(f"{n:7d} bins, {'burst' if height else 'noise'}: {seconds[n, height]:.3f} s", flush=True)
    random = np.random.default_rng(1)
    times = np.concatenate([random.uniform(0, 1000, 900_000), 500 + random.exponential(5.0, 100_000)])
    events = batx.build(
        "events",
        {
            "time": np.sort(times),
            "energy": np.full(N_EVENTS, 50.0),
            "gti_start": [0.0],
            "gti_stop": [1100.0],
        },
    )
    million = smallest(lambda: batx.bayesian_blocks(events, spill=SPILL))
    print(f"{N_EVENTS} events in cells of {SPILL}: {million:.3f} s")
    return int(seconds[50_000, 10.0] > 1.0 or million > 10.0)


if __name__ == "__main__":
    sys.exit(main())
