"""False glitches in simulated observations without any, and how many glitches are found (algorithms 2.11).

Run ``python benchmarks/calibrate_glitches.py [N]``; 100 observations of 60 s take some ten minutes of one
processor.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import xarray as xr

import batx
from batx.simulate import (
    Background,
    Box,
    Cutoff,
    Drift,
    Fred,
    Gaussian,
    Glitch,
    PowerLaw,
    Source,
    aperture,
    detector_table,
    events,
)

DURATION = 60.0


def burst(rng: np.random.Generator) -> Source:
    """Return a burst of any sort: short or long, hard or soft, faint or bright, anywhere in the field."""
    start = rng.uniform(5.0, 45.0)
    length = np.exp(rng.uniform(np.log(0.02), np.log(10.0)))
    shape = [Fred(start, 0.2 * length, length), Gaussian(start, length), Box(start, start + length)]
    spectra = [
        Cutoff(index=rng.uniform(0.5, 1.5), peak=rng.uniform(30.0, 400.0)),
        PowerLaw(rng.uniform(1.2, 3.5), 10.0, 400.0),
    ]
    rate = np.exp(rng.uniform(np.log(0.05), np.log(8.0)))
    place = rng.uniform(-1.2, 1.2), rng.uniform(-0.6, 0.6)
    chosen = shape[rng.integers(3)], spectra[rng.integers(2)]
    return Source(rate, imx=place[0], imy=place[1], light_curve=chosen[0], spectrum=chosen[1])


def observation(seed: int, with_burst: bool, surges: list[Glitch]) -> xr.Dataset:
    """Return simulated events."""
    rng = np.random.default_rng([seed, with_burst])
    mask = aperture(seed=seed)
    drift = Drift(amplitude=rng.uniform(0.0, 0.3), period=rng.uniform(20.0, 6000.0))
    return events(
        [burst(rng)] if with_burst else [],
        Background(rate=rng.uniform(0.15, 0.5), light_curve=drift),
        duration=DURATION,
        aperture=mask,
        detectors=detector_table(disabled=int(rng.integers(0, 17000)), seed=seed),
        glitches=surges,
        seed=seed,
    )


def false_ones(n: int) -> None:
    """Print how many glitches are found where there are none; half of the observations have a burst."""
    number = dict.fromkeys(("robust", "robust, any score", "public"), 0)
    which: dict[str, list[int]] = {name: [] for name in number}
    for seed in range(n):
        ev = observation(seed, seed % 2 == 1, [])
        ways = {
            "robust": batx.glitches(ev),
            "robust, any score": batx.glitches(ev, min_score=0.0),
            "public": batx.glitches(ev, compat="batanalysis"),
        }
        for name, gl in ways.items():
            number[name] += gl.sizes["glitch"]
            which[name] += [seed] * (gl.sizes["glitch"] > 0)
    print(f"false glitches in {n} clean observations of {DURATION:g} s, half of them with a burst")
    for name in number:
        print(f"  {name:18s} {number[name]} in {len(which[name])} observations {which[name][:20]}")


def efficiency(n: int) -> None:
    """Print the part of simulated glitches that is found, against their counts."""
    print(f"one glitch in each of {n} observations of {DURATION:g} s, half of them with a burst: counts (all")
    print("  energies), part found, with any score, by the public procedure; median score")
    for counts in (100, 150, 200, 300, 500, 1000):
        seen, score = np.zeros(3), []
        for seed in range(n):
            rng = np.random.default_rng([counts, seed])
            begin, length = rng.uniform(3.0, 57.0), rng.uniform(0.02, 0.1)
            surge = Glitch(
                begin, counts, duration=length, reach=8.0, scatter=1.2, rows=(0, 9 + seed % 7), seed=seed
            )
            ev = observation(seed, seed % 2 == 1, [surge])
            ways = (
                batx.glitches(ev),
                batx.glitches(ev, min_score=0.0),
                batx.glitches(ev, compat="batanalysis"),
            )
            middle = 6e8 + begin + 0.5 * length
            at = [(gl["glitch_start"].values < middle) & (gl["glitch_stop"].values > middle) for gl in ways]
            seen += [found.any() for found in at]
            score += ways[1]["score"].values[at[1]].tolist()
        print(f"  {counts:5d}", *(f"{part:.2f}" for part in seen / n), f"{np.median(score or np.nan):.2f}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    false_ones(number)
    efficiency(40)
