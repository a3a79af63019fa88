"""Seconds of fits: a spectrum of 80 channels with errors, 100 spectra each with its own response, joint fits.

Run ``python benchmarks/bench_fits.py``. The first two must be below 10 ms and 1.5 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import xarray as xr

import batx
from batx.instrument.response_grid import response_grid
from batx.kernels.models import Bins
from batx.schema import build

BAT = {"telescope": "SWIFT", "instrument": "BAT", "statistic": "gaussian", "weighting": "mask"}


def spectra(n: int) -> xr.Dataset:
    """Return spectra of a source that moves through the field, with the way that it takes."""
    rng = np.random.default_rng(1)
    place = np.linspace(-0.6, 0.6, n)
    grid = response_grid()
    edges = np.append(grid.energy_in[:, 0], grid.energy_in[-1, 1])
    model = batx.spectral_model("powerlaw")
    rate = np.stack(
        [
            model.photons(Bins(edges), np.array([index, 50.0, 0.05])) @ matrix
            for index, matrix in zip(
                np.linspace(1.2, 2.2, n), batx.response(imx=place, imy=0.1).matrix.values, strict=True
            )
        ]
    )
    error = np.full(rate.shape, 3e-4)
    start = np.arange(0.0, 2.0 * n, 2.0)
    values = {
        "channel": np.arange(80),
        "energy": grid.channel.mean(axis=1),
        "energy_bnds": grid.channel,
        "time": start + 1,
        "time_bnds": np.stack([start, start + 2], axis=1),
        "exposure": np.full(n, 2.0),
        "rate": (("time", "channel"), rate + rng.normal(0, error)),
        "stat_err": (("time", "channel"), error),
        "trace_time": np.sort(np.concatenate([start + 1e-3, start + 1.999])),
        "trace_imx": np.repeat(place, 2),
        "trace_imy": np.full(2 * n, 0.1),
        "trace_pcode": np.full(2 * n, 0.9),
        "trace_norm": np.full(2 * n, 1.05),
    }
    return build("spectrum", values, BAT)


def epochs(n: int) -> tuple[dict[str, xr.Dataset], xr.Dataset, xr.Dataset]:
    """Return soft spectra of 350 channels of a source that varies, their response and background."""
    rng = np.random.default_rng(4)
    edges = np.linspace(0.2, 8.0, 1201)
    channel = np.stack([np.linspace(0.4, 3.9, 351)[:-1], np.linspace(0.4, 3.9, 351)[1:]], axis=1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    nearness = np.exp(-0.5 * ((middle[:, np.newaxis] - channel.mean(axis=1)) / 0.06) ** 2)
    matrix = 100.0 * (nearness / 15.0 + 2e-5 * (middle[:, np.newaxis] > channel[:, 0]))
    axes = {"channel": np.arange(350), "energy": channel.mean(axis=1), "energy_bnds": channel}
    incident = {"energy_in": middle, "energy_in_bnds": np.stack([edges[:-1], edges[1:]], axis=1)}
    response = build(
        "response", axes | incident | {"matrix": (("energy_in", "channel"), matrix, {"units": "cm**2"})}
    )
    kind = {"statistic": "poisson", "weighting": "none"}
    exposure = {"channel": np.arange(350), "exposure": ((), 1e4)}
    back = build("spectrum", exposure | {"counts": rng.poisson(4.0, 350)}, kind | {"backscal": 40.0})
    model, made = batx.spectral_model("tbabs*(bbody+bremss)"), {}
    for i in range(n):
        values = np.array([0.3, 0.15 + 0.03 * (i % 4), 3e-4, 4.0 + 0.5 * (i % 3), 3e-3 * (1 + 0.2 * (i % 5))])
        counts = rng.poisson(model.photons(Bins(edges), values) @ matrix * 1e4 + 0.1)
        made[str(i)] = build("spectrum", exposure | {"counts": counts}, kind | {"backscal": 1.0})
    return made, response, back


def seconds(function: Callable[[], object], times: int) -> float:
    """Return the median time of a call, the first one left out."""
    function()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def main() -> None:
    """Print the times."""
    series = spectra(100)
    one, response = series.isel(time=3), batx.response(imx=-0.5, imy=0.1)
    how = {"energy": (15, 150)}
    for errors in ("covariance", "profile"):
        taken = seconds(lambda e=errors: batx.fit(one, response=response, errors=e, **how), 40)
        print(f"power law of 80 channels, {errors}: {1e3 * taken:.1f} ms")
    taken = seconds(lambda: batx.fit(one, errors="profile", **how), 10)
    print(f"the same with a response of its own: {1e3 * taken:.1f} ms")
    taken = seconds(lambda: batx.fit(one, "cutoffpl", response=response, **how), 10)
    print(f"cut-off power law: {1e3 * taken:.1f} ms")
    taken = seconds(lambda: batx.fit_series(series, **how), 3)
    print(f"100 power laws with responses of their own: {taken:.2f} s")
    joint(12)


def joint(n: int) -> None:
    """Print the processor time of a joint fit with one absorption of all."""
    model = batx.spectral_model("tbabs*(bbody+bremss)")
    made, response, back = epochs(n)
    for errors in ("covariance", "profile"):
        begin = time.process_time()
        batx.fit(
            made,
            model,
            response=response,
            background=back,
            untied=model.names[1:],
            statistic="cstat",
            errors=errors,
        )
        taken = time.process_time() - begin
        print(f"{n} epochs jointly, {4 * n + 1} free parameters, {errors}: {taken:.1f} s")


if __name__ == "__main__":
    main()
