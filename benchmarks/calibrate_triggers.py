"""Measure how often noise triggers, against what was asked for, for the table in the docs (algorithms 2.5).

Curves of Poisson noise, on a flat background and on one that rises by a factor of 4, are searched with
`batx.rate_trigger`. The threshold for each rate asked is that of the first curve of a kind (those of the
others differ by 0.002). Given are the fraction of curves with a trigger and the number of triggers, over
those asked.

Run ``python benchmarks/calibrate_triggers.py [CURVES]`` (some 40 minutes on one core for 3000).
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr

import batx

BANDS = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0], [100.0, 350.0]])
SHARES = {1: np.ones(1), 4: np.array([0.27, 0.28, 0.23, 0.22])}
ASKED = (0.1, 0.03, 0.01)
#: bands, length of a bin (s), bins, counts in a bin of all bands together
KINDS = [(1, 1.0, 1000, level) for level in (0.3, 5.0, 50.0, 6000.0)]
KINDS += [(4, 0.064, 4096, level) for level in (0.5, 10.0, 330.0)]


def curve(
    rng: np.random.Generator, bands: int, dt: float, bins: int, level: float, slope: float
) -> xr.Dataset:
    """Return a light curve of Poisson noise; `slope` is by how much the rate changes, over twice its mean."""
    edges = 6e8 + dt * np.arange(bins + 1)
    expected = level * (1 + slope * np.linspace(-1, 1, bins))
    counts = rng.poisson(expected[:, np.newaxis] * SHARES[bands])
    bounds = BANDS if bands == 4 else np.array([[15.0, 350.0]])
    return batx.build(
        "lightcurve",
        {
            "time": 0.5 * (edges[1:] + edges[:-1]),
            "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
            "energy": bounds.mean(axis=1),
            "energy_bnds": (("energy", "bnds"), bounds),
            "counts": (("time", "energy"), counts),
            "exposure": np.full(bins, dt),
            "fracexp": np.ones(bins),
        },
        {"statistic": "poisson", "weighting": "none", "timedel": dt},
    )


def measure(
    kind: tuple[int, float, int, float], slope: float, n_curves: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the fraction of curves that trigger and the mean number of triggers at each rate asked."""
    rng = np.random.default_rng(20260601)
    first = curve(rng, *kind, slope)
    limits = np.array([batx.rate_trigger(first, false_rate=asked).attrs["threshold"] for asked in ASKED])
    hit, number = np.zeros(len(ASKED)), np.zeros(len(ASKED))
    for _ in range(n_curves):
        snr = batx.rate_trigger(curve(rng, *kind, slope), threshold=float(limits[0])).snr.values
        above = snr[:, np.newaxis] >= limits
        hit += above.any(axis=0)
        number += above.sum(axis=0)
    return hit / n_curves, number / n_curves


def main() -> None:
    """Print measured over asked for every kind of curve."""
    n_curves = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    asked = np.array(ASKED)
    for kind in KINDS:
        for slope in (0.0, 0.6):
            hit, number = measure(kind, slope, n_curves // kind[0])
            print(*kind, slope, np.round(hit / asked, 2), np.round(number / -np.log1p(-asked), 2), flush=True)


if __name__ == "__main__":
    main()
