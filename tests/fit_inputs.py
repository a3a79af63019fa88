"""Spectra with a known truth for tests of fits, with a response simple enough to be done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import batx
from batx.kernels.models import Bins
from batx.schema import build

EDGES = np.geomspace(15.0, 150.0, 31)


def response(area: float = 10.0, blur: float = 0.1) -> xr.Dataset:
    """30 channels that see `blur` of the photons of each of their neighbours."""
    matrix = area * (np.eye(30) * (1 - 2 * blur) + blur * (np.eye(30, k=1) + np.eye(30, k=-1)))
    bounds = np.column_stack([EDGES[:-1], EDGES[1:]])
    return build(
        "response",
        {
            "energy_in": bounds.mean(axis=1),
            "energy_in_bnds": bounds,
            "channel": np.arange(30),
            "energy": ("channel", bounds.mean(axis=1)),
            "energy_bnds": (("channel", "bnds"), bounds),
            "matrix": (("energy_in", "channel"), matrix, {"units": "cm**2"}),
        },
    )


def expected(model: str, values: list[float], exposure: float = 10.0, area: float = 10.0) -> np.ndarray:
    """Counts in the channels for a model."""
    photons = batx.spectral_model(model).photons(Bins(EDGES), np.array(values))
    return exposure * photons @ response(area)["matrix"].values


def counts(mean: np.ndarray, seed: int | None = 1, exposure: float = 10.0, **attrs: Any) -> xr.Dataset:
    """Poisson counts of a mean, or the mean itself without a seed."""
    drawn = mean if seed is None else np.random.default_rng(seed).poisson(mean).astype(np.float64)
    return build(
        "spectrum",
        {"channel": np.arange(mean.size), "counts": drawn, "exposure": ((), exposure)},
        {"statistic": "poisson", "weighting": "none", **attrs},
    )


def rates(mean: np.ndarray, error: np.ndarray, seed: int | None = 1, exposure: float = 10.0) -> xr.Dataset:
    """Rates with Gaussian errors for a mean in counts."""
    noise = np.zeros(mean.size) if seed is None else np.random.default_rng(seed).normal(0.0, error)
    return build(
        "spectrum",
        {
            "channel": np.arange(mean.size),
            "rate": (mean + noise) / exposure,
            "stat_err": ("channel", error / exposure, {"units": "count/s"}),
            "exposure": ((), exposure),
        },
        {"statistic": "gaussian", "weighting": "none"},
    )
