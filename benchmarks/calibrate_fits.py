"""Pulls of fitted parameters and fluxes, and the coverage of their intervals, on simulated spectra.

Run ``python benchmarks/calibrate_fits.py [SPECTRA] [CASE ...]``; 4000 spectra of each case take about ten
minutes on one core. Prints for each parameter and the flux the mean and width of (found - true) / error, and
how often its interval at a rise of 1 and of 2.706 holds the truth (68.3 and 90 %). All simulations are
counted, also those whose fits ended at a limit or did not converge; an end that was not found counts as
missing the truth, one at a limit of the parameter as beyond it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

import batx
from batx.fit_errors import function_error, function_interval, parameter_intervals
from batx.fit_inputs import Settings, problem_of
from batx.fit_problems import Minimum, Problem
from batx.fit_results import flux_function
from batx.kernels.minimise import Search
from batx.kernels.models import Bins
from batx.schema import build

BAND = (15.0, 150.0)
DELTAS = (1.0, 2.706)


@dataclass
class Case:
    """A spectrum to simulate: model and truth, brightness, and how its counts are distributed."""

    model: str
    truth: list[float]
    statistic: str
    exposure: float = 10.0
    background: float = 0.0
    settings: dict = field(default_factory=dict)


#: rates of BAT are per detector; a background of 0.01 count/s and channel in 30000 detectors gives the error
CASES = {
    "gauss": Case("powerlaw", [1.7, 1.0, 6.0], "chi2"),
    "gauss flux": Case("eflux*powerlaw", [15.0, 150.0, 8e-8, 1.7, 1.0, 1.0], "chi2"),
    "gauss pivot": Case("powerlaw", [1.7, 50.0, 0.0078], "chi2", settings={"pivot": 50.0}),
    "gauss bright cut-off": Case("cutoffpl", [1.0, 60.0, 50.0, 0.08], "chi2", settings={"pivot": 50.0}),
    "gauss faint": Case("powerlaw", [1.7, 50.0, 0.0007], "chi2", settings={"pivot": 50.0}),
    "gauss moderate": Case("powerlaw", [1.7, 50.0, 0.002], "chi2", settings={"pivot": 50.0}),
    "counts": Case("powerlaw", [1.7, 50.0, 0.004], "cstat", settings={"pivot": 50.0}),
    "counts flux": Case("eflux*powerlaw", [15.0, 150.0, 4e-8, 1.7, 1.0, 1.0], "cstat"),
    "counts few": Case("powerlaw", [1.7, 50.0, 0.0004], "cstat", settings={"pivot": 50.0}),
    "counts rare": Case("powerlaw", [1.7, 50.0, 0.00005], "cstat", settings={"pivot": 50.0}),
    "counts over counts": Case("powerlaw", [1.7, 50.0, 0.004], "wstat", 10.0, 5.0, {"pivot": 50.0}),
    "counts over rates": Case("powerlaw", [1.7, 50.0, 0.004], "pgstat", 10.0, 5.0, {"pivot": 50.0}),
}


def spectrum(values: np.ndarray, statistic: str, exposure: float, error: np.ndarray) -> xr.Dataset:
    """Return a spectrum of 80 channels: rates of BAT, or counts of a detector of 1000 cm**2."""
    variables = {"channel": np.arange(80), "exposure": ((), exposure)}
    if statistic == "chi2":
        variables["rate"] = values / exposure
        variables["stat_err"] = ("channel", error / exposure, {"units": "count/s"})
        return build("spectrum", variables, {"statistic": "gaussian", "weighting": "none"})
    variables["counts"] = values
    variables["stat_err"] = ("channel", error, {"units": "count"})
    kind = "poisson" if statistic != "rates" else "gaussian"
    return build("spectrum", variables, {"statistic": kind, "weighting": "none"})


def problem(case: Case) -> Problem:
    """Return the problem of a case, with what is expected in place of data."""
    response = batx.response(imx=0.0, imy=0.0)
    if case.statistic != "chi2":
        response = response.assign(matrix=response["matrix"].copy(data=1e4 * response["matrix"].values))
    edges = np.append(response["energy_in_bnds"].values[:, 0], response["energy_in_bnds"].values[-1, 1])
    truth = np.array(case.truth)
    photons = batx.spectral_model(case.model).photons(Bins(edges), truth)
    mean = case.exposure * photons @ response["matrix"].values
    error = np.full(80, np.sqrt(0.01 * case.exposure / 30000.0))
    behind: object = False
    if case.statistic in ("wstat", "pgstat"):
        kind = "rates" if case.statistic == "pgstat" else "counts"
        behind = spectrum(
            np.full(80, case.background), kind, case.exposure, np.sqrt(np.full(80, case.background))
        )
        mean = mean + case.background
    made = problem_of(
        spectrum(mean, case.statistic, case.exposure, error),
        case.model,
        Settings(response, behind, BAND, case.statistic, dict(case.settings)),
    )
    return made


def run(name: str, number: int) -> None:
    """Simulate, fit, and print one case."""
    case = CASES[name]
    start = problem(case)
    truth = np.array(case.truth)
    flux = flux_function(start, 0, np.array(BAND))
    labels = [start.layout.parameters[i].name for i in start.free]
    rng = np.random.default_rng(2026)
    pulls, held, failed, lost, begin = [], [], 0, 0, time.process_time()
    for _ in range(number):
        copy = start.simulated(truth, rng)
        found, search = copy.minimise(truth)
        failed += not found.converged
        error = np.append(np.sqrt(np.diag(found.covariance))[copy.free], function_error(copy, found, flux))
        pulls.append((np.append((found.values - truth)[copy.free], flux(found.values) - flux(truth))) / error)
        wanted = np.append(truth[copy.free], flux(truth))
        rows = [intervals(copy, search, found, flux, delta) for delta in DELTAS]
        held.append([[low <= x <= high for (low, high), x in zip(row, wanted, strict=True)] for row in rows])
        lost += int(np.isnan(rows).any())
    data, widths = start.data[0], np.array(pulls)
    covered = 100 * np.mean(held, axis=0)
    ratio = data.net.sum() / np.sqrt(data.net_variance.sum())
    seconds = time.process_time() - begin
    print(f"{name}: {number} spectra of {ratio:.0f} sigma, {seconds:.0f} s")
    print(f"  {failed} without a minimum, {lost} with an end that was not found")
    for k, label in enumerate([*labels, "flux 15-150"]):
        print(
            f"  {label:14s} pull {np.nanmean(widths[:, k]):+.3f} +- {np.nanstd(widths[:, k]):.3f}   "
            f"coverage {covered[0, k]:.1f} {covered[1, k]:.1f} %",
            flush=True,
        )


def intervals(
    copy: Problem, search: Search, found: Minimum, flux: Callable[[np.ndarray], float], delta: float
) -> list[tuple[float, float]]:
    """Return the ends of the intervals of the free parameters and of the flux; infinity at limits."""
    made, minimum = parameter_intervals(copy, search, found, delta)
    pairs = []
    for one in [*made, function_interval(copy, minimum, flux, delta)]:
        low = -np.inf if "low end at the limit" in one.status else one.low
        high = np.inf if "high end at the limit" in one.status else one.high
        pairs.append((low, high))
    return pairs


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    for chosen in sys.argv[2:] or CASES:
        run(chosen, count)
