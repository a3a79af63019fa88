"""Measure how often noise triggers, against what was asked for, for the table in the docs (algorithms 2.10).

Curves of Poisson noise, on a flat background and on one that rises by a factor of 4, are searched as
`batx.rate_trigger` does it, with the thresholds that it gives for the first curve of each kind. Given are the
fraction of curves with a trigger and the number of triggers, over those asked.

Run ``python benchmarks/calibrate_triggers.py [CURVES]`` (some 15 minutes on one core for 10000).
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import batx
from batx.kernels.gti import union
from batx.trigger_inputs import Bands, Stretch, bands_of, scales_of
from batx.triggers import _found, _noise_factors

EDGES = {1: np.array([15.0, 350.0]), 4: np.array([15.0, 25.0, 50.0, 100.0, 350.0])}
SHARES = {1: np.ones(1), 4: np.array([0.27, 0.28, 0.23, 0.22])}
ASKED = (0.1, 0.03, 0.01)
#: bands, length of a bin (s), bins, counts in a bin of all bands together
KINDS = [(1, 1.0, 1000, level) for level in (0.3, 5.0, 50.0, 6000.0)]
KINDS += [(4, 0.064, 4096, level) for level in (0.5, 10.0, 330.0)]


def light_curve(counts: np.ndarray, dt: float) -> xr.Dataset:
    """Return counts (band, bin) as a light curve."""
    bands, bins = counts.shape
    edges, energies = 6e8 + dt * np.arange(bins + 1), EDGES[bands]
    return batx.build(
        "lightcurve",
        {
            "time": 0.5 * (edges[1:] + edges[:-1]),
            "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
            "energy": 0.5 * (energies[1:] + energies[:-1]),
            "energy_bnds": (("energy", "bnds"), np.column_stack([energies[:-1], energies[1:]])),
            "counts": (("time", "energy"), counts.T),
            "exposure": np.full(bins, dt),
            "fracexp": np.ones(bins),
        },
        {"statistic": "poisson", "weighting": "none", "timedel": dt},
    )


def triggers(counts: np.ndarray, bands: Bands, scales: np.ndarray, limits: np.ndarray) -> list[int]:
    """Return the number of triggers above each limit."""
    bins = counts.shape[1]
    sums = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    slots = np.arange(bins + 1.0)
    stretch = Stretch(slots, sums, slots, np.concatenate([[0.0], np.cumsum(slots[:-1])]))
    found = [_found([stretch], bands, scale) for scale in scales]
    factor = _noise_factors(found, "auto")
    rows = np.concatenate([one.candidates for one in found])
    scale = np.repeat(np.arange(len(found)), [len(one.candidates) for one in found])
    snr = rows[:, 4] / factor[scale, 0, rows[:, 3].astype(int)]
    return [len(union(rows[snr >= limit, 1], rows[snr >= limit, 2])[0]) for limit in limits]


def measure(
    kind: tuple[int, float, int, float], slope: float, n_curves: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fraction of curves that trigger and the mean number of triggers at each rate asked."""
    n_bands, dt, bins, level = kind
    rng = np.random.default_rng([20260601, round(100 * level), round(10 * slope)])
    expected = level * SHARES[n_bands][:, np.newaxis] * (1 + slope * np.linspace(-1, 1, bins))
    first = light_curve(rng.poisson(expected), dt)
    limits = np.array([batx.rate_trigger(first, false_rate=asked).attrs["threshold"] for asked in ASKED])
    bands, scales = bands_of(first, None), scales_of(dt, None, 64.0, 16.0, 0.5, 4)
    found = np.array([triggers(rng.poisson(expected), bands, scales, limits) for _ in range(n_curves)])
    return (found > 0).mean(axis=0), found.mean(axis=0)


def main() -> None:
    """Print measured over asked for every kind of curve."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    asked = np.array(ASKED)
    for kind in KINDS:
        for slope in (0.0, 0.6):
            hit, number = measure(kind, slope, n_curves if kind[0] == 1 else n_curves // 3)
            print(*kind, slope, np.round(hit / asked, 2), np.round(number / -np.log1p(-asked), 2), flush=True)


if __name__ == "__main__":
    main()
