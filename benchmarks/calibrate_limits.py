"""How often upper limits hold the truth, and how often noise alone is called a source.

Run ``python benchmarks/calibrate_limits.py [SPECTRA]``; 4000 spectra of each case take twenty minutes on one
core. Sources of index 2 are as bright as 0, 1, 3, 10 times the error of the matched rate in noise. "prior" is
a brightness drawn anew for each spectrum, evenly from 0 to 30 times the error: a Bayesian limit claims to
hold its share of these. False positives are the share of spectra of noise whose ``p_value`` is below a level,
over that level.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import xarray as xr

import batx
from batx.schema import build

EDGES = np.array([15.0, 25.0, 50.0, 100.0, 150.0])
LEVELS = {1.2816: 0.9, 2.0: 0.97725}
BRIGHTNESS: tuple[float | str, ...] = (0.0, 1.0, 3.0, 10.0, "prior")
#: how spectra are drawn, and the background in a channel
CASES = (
    ("rates", 25.0),
    ("counts over counts", 4.0),
    ("counts over counts", 50.0),
    ("counts over rates", 50.0),
)
P_VALUES = (0.2, 0.1, 0.0228)


def spectrum(values: np.ndarray, kind: str, exposure: float, error: np.ndarray | None = None) -> xr.Dataset:
    """Return a spectrum of four channels: rates with errors, or counts."""
    bounds = np.stack([EDGES[:-1], EDGES[1:]], axis=1)
    held = {"channel": np.arange(4), "energy": bounds.mean(axis=1), "energy_bnds": bounds}
    held |= {"exposure": ((), exposure), ("rate" if kind == "gaussian" else "counts"): values}
    if error is not None:
        held["stat_err"] = ("channel", error, {"units": "count/s" if kind == "gaussian" else "count"})
    return build("spectrum", held, {"statistic": kind, "weighting": "none"})


class Case:
    """How spectra are drawn: weighted rates, or counts over a background that is counted or modelled."""

    def __init__(self, name: str, background: float) -> None:
        response = batx.response(imx=0.0, imy=0.0, channels=EDGES)
        scale = 1.0 if name == "rates" else 1e4
        self.name, self.response = name, response.assign(matrix=response["matrix"] * scale)
        low, high = response["energy_in_bnds"].values.T
        self.shape = (1 / low - 1 / high) @ self.response["matrix"].values * 10.0
        self.behind = np.full(4, background)
        error = np.sqrt(self.behind)
        self.unit = 1.0 / np.sqrt(np.sum(self.shape**2 / error**2))
        self.exact = batx.spectral_model("powerlaw").flux(15.0, 150.0, np.array([2.0, 1.0, 1.0]))

    def drawn(self, brightness: float, rng: np.random.Generator) -> tuple[xr.Dataset, object, float]:
        """Return a spectrum, its background, and the true flux."""
        norm = brightness * self.unit
        source = norm * self.shape
        if self.name == "rates":
            error = np.sqrt(self.behind)
            values = rng.normal(source, error)
            return spectrum(values / 10.0, "gaussian", 10.0, error / 10.0), False, norm * self.exact
        on = spectrum(rng.poisson(source + self.behind), "poisson", 10.0)
        if self.name == "counts over counts":
            off = spectrum(rng.poisson(4 * self.behind), "poisson", 40.0)
        else:
            error = 0.2 * np.sqrt(self.behind)
            off = spectrum(rng.normal(self.behind, error) / 10.0, "gaussian", 10.0, error / 10.0)
        return on, off, norm * self.exact


def coverage(case: Case, number: int) -> None:
    """Print how often the limits of a case hold the truth."""
    rng = np.random.default_rng(11)
    for brightness in BRIGHTNESS:
        held: dict[tuple[str, float], int] = {}
        for _ in range(number):
            true = rng.uniform(0.0, 30.0) if brightness == "prior" else float(brightness)
            one, behind, flux = case.drawn(true, rng)
            for method in ("profile", "bayesian"):
                for sigma in LEVELS:
                    made = batx.upper_limit(
                        one, sigma=sigma, method=method, flux=(15, 150), response=case.response,
                        background=behind,
                    )  # fmt: skip
                    key = (method, sigma)
                    held[key] = held.get(key, 0) + (float(made["flux_limit"]) >= flux)
        shares = "   ".join(
            f"{method} {100 * LEVELS[sigma]:.1f} %: {100 * count / number:.1f}"
            for (method, sigma), count in held.items()
        )
        print(f"{case.name}, {case.behind[0]:g} a channel, {brightness} sigma: {shares}", flush=True)


def false_positives(case: Case, number: int) -> None:
    """Print how often noise alone has a small ``p_value``."""
    rng = np.random.default_rng(12)
    found = []
    for _ in range(number):
        one, behind, _ = case.drawn(0.0, rng)
        found.append(
            float(batx.significance(one, response=case.response, background=behind, energy=None).p_value)
        )
    shares = "   ".join(f"p < {p:g}: {np.mean(np.array(found) < p) / p:.2f}" for p in P_VALUES)
    print(f"{case.name}, {case.behind[0]:g} a channel, found over claimed: {shares}", flush=True)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    begin = time.process_time()
    tasks: tuple[Callable[[Case, int], None], ...] = (false_positives, coverage)
    for task in tasks:
        for label, mean in CASES:
            task(Case(label, mean), count)
    print(f"{time.process_time() - begin:.0f} s")
