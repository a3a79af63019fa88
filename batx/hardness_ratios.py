"""Hardness ratios of light curves, with intervals that hold at low counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.band_curves import (
    Bands,
    background_line,
    band_labels,
    band_pairs,
    burst_span,
    cut,
    read_bands,
    result_attrs,
)
from batx.errors import RebinError, ValueRangeError
from batx.kernels import ratios as kernel
from batx.schema import require_kind

__all__ = ["hardness"]

FORMS = ("difference", "ratio", "log")
#: background and light curve have the same bins if no edge is further off than this (s)
SAME_BIN = 1e-3


def hardness(
    ds: xr.Dataset,
    pairs: Any = None,
    *,
    form: str = "difference",
    interval: Any = None,
    background: bool | xr.Dataset = False,
    level: float = 0.6827,
    prior: float = 0.5,
) -> xr.Dataset:
    """Return hardness ratios of pairs of bands in each bin, with their intervals.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with at least two bands: counts, or rates with errors. Re-bin it first
        (``rebin_time(snr=…)`` or ``rebin_time(blocks=…)``) for fewer and better values.
    pairs
        Pairs of bands, each given by its number or its edges in keV; by default all. Which comes first does
        not matter.
    form
        With H and S the net rates of the harder and the softer band: ``"difference"`` (H − S)/(H + S),
        ``"ratio"`` H/S, or ``"log"`` log₁₀ H/S.
    interval
        Start and stop (MET, dates, Quantities), or the result of `batx.duration` for its T100: bins outside
        are left out. By default all bins are taken.
    background
        A light curve on the same bins and bands: the expected background, with its errors (``counts_err``,
        ``rate_err``) unless it is known exactly. `True` for a line through the mean rates before and after
        `interval`, by default the burst that `batx.bayesian_blocks` finds. Counts need one of them.
    level
        Probability of the intervals.
    prior
        For counts: the prior of each net intensity λ is λ^(prior − 1); ½ is that of Jeffreys, 1 a flat one.

    Returns
    -------
    xarray.Dataset
        ``hardness``, ``hardness_low``, ``hardness_high`` (pair, time): value and ends of the interval, and
        ``hardness_err``. Coordinates ``soft_bnds``, ``hard_bnds`` (pair, bnds) in keV and ``time_bnds``.
        Bins with NaN in a band are left out; without exposure or with an error of 0, values are NaN. The data
        are read at once.

    Raises
    ------
    KindError
        If there are fewer than two bands, or several sources.
    RebinError
        If the background has other bins or bands.
    MissingVariableError
        If the light curve lacks bounds or exposure.
    EmptySelectionError
        If no bin is left, or no burst is found that tells where the background is.
    ValueRangeError
        If counts or the background are negative, or an argument is out of range; or as
        `batx.bayesian_blocks`.

    Notes
    -----
    Counts: each band is Poisson with mean λ + b, and the value is the median of the posterior of the ratio of
    both λ, the interval that between its quantiles (Park et al. 2006, ApJ 652, 610); ``hardness_err`` is half
    of it. An uncertain background has a gamma distribution of its mean and error. Without background the
    share λ_H/(λ_H + λ_S) has a beta distribution, otherwise it is integrated numerically, to 10⁻³ of the
    interval.

    Rates: the value is the ratio itself, ``hardness_err`` its error to first order, the interval that of
    Fieller (1954, J. R. Stat. Soc. B 16, 175), which has its probability at any signal-to-noise. It reaches
    to ∓∞ where the denominator is not detected at `level`. As noise may be negative, so may rates, and
    differences may exceed ±1; the logarithm of a negative ratio is NaN.

    Measured coverage: algorithms 2.12.

    Examples
    --------
    >>> from batx.schema import build
    >>> lc = build("lightcurve", {"time": [0.5, 1.5],
    ...     "time_bnds": (("time", "bnds"), [[0.0, 1.0], [1.0, 2.0]]), "energy": [20.0, 75.0],
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 25.0], [50.0, 100.0]]),
    ...     "counts": (("time", "energy"), [[3, 0], [40, 80]]),
    ...     "exposure": [1.0, 1.0], "fracexp": [1.0, 1.0]}, {"statistic": "poisson", "weighting": "none"})
    >>> found = hardness(lc, form="ratio")
    >>> found.hardness.values.round(2), found.hardness_high.values.round(2)
    (array([[0.07, 2.  ]]), array([[0.36, 2.43]]))
    """
    if form not in FORMS:
        raise ValueRangeError(f"form: found {form!r}, expected one of {', '.join(map(repr, FORMS))}")
    if not 0.0 < level < 1.0:
        raise ValueRangeError(f"level: found {level}, expected a probability between 0 and 1, such as 0.9")
    if not 0.0 < prior <= 2.0:
        raise ValueRangeError(f"prior: found {prior}, expected a power above 0, up to 2")
    bands = read_bands(ds, "hardness")
    chosen = band_pairs(bands, pairs, "hardness")
    span = None
    if interval is not None or background is True:
        span = burst_span(ds, interval, "hardness")
    expected = _background(bands, background, span)
    if interval is not None and span is not None:
        bands, expected = cut(bands, *span, 1, "hardness"), cut(expected, *span, 1, "hardness")
    rows = [_ratios(bands, expected, pair, form, level, prior) for pair in chosen]
    return _dataset(ds, bands, chosen, np.array(rows), form, level)


# --- background --------------------------------------------------------------------------------------------


def _background(bands: Bands, background: bool | xr.Dataset, span: tuple[float, float] | None) -> Bands:
    """Return the expected background and its error, as rates on the same bins."""
    if isinstance(background, xr.Dataset):
        rate, error = _given(bands, background)
    elif span is not None and background:
        rate, error = background_line(bands, *span, "hardness")
    else:
        rate, error = np.zeros(bands.rate.shape), np.zeros(bands.rate.shape)
    if bands.counts is not None and np.any(rate < 0):
        raise ValueRangeError(
            f"background: found negative rates in {int(np.any(rate < 0, axis=1).sum())} bins, which counts "
            "cannot have"
        )
    return bands.with_rates(rate, error)


def _given(bands: Bands, background: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return rates and errors (bin, band) of a background light curve."""
    require_kind(background, "lightcurve", operation="hardness")
    bounds = background["time_bnds"].transpose("time", "bnds").values
    row = np.clip(np.searchsorted(bounds[:, 0], bands.lower - SAME_BIN), 0, len(bounds) - 1)
    ends = np.column_stack([bands.lower, bands.lower + bands.width])
    energies = background["energy_bnds"].transpose("energy", "bnds").values
    if np.abs(bounds[row] - ends).max() > SAME_BIN or not np.array_equal(energies, bands.energies):
        raise RebinError(
            "background: found other bins or bands than those of the light curve, expected the same; "
            "re-bin both alike"
        )
    name = "rate" if "rate" in background else "counts"
    scale = bands.exposure[:, np.newaxis] if name == "counts" else 1.0
    rate = background[name].transpose("time", "energy").values[row] / scale
    error = np.zeros(rate.shape)
    if f"{name}_err" in background:
        error = background[f"{name}_err"].transpose("time", "energy").values[row] / scale
    if not (np.isfinite(rate).all() and np.isfinite(error).all()):
        raise ValueRangeError("background: found values or errors that are no finite numbers")
    return rate, error


# --- ratios ------------------------------------------------------------------------------------------------


def _ratios(
    bands: Bands, expected: Bands, pair: tuple[int, int], form: str, level: float, prior: float
) -> np.ndarray:
    """Return value, error, and both ends of the interval (4, bin)."""
    two, off = bands.select(pair), expected.select(pair)
    if two.counts is not None:
        live = two.exposure[:, np.newaxis]
        levels = np.array([0.5 * (1.0 - level), 0.5, 0.5 * (1.0 + level)])
        soft, hard = two.counts.T
        means, errors = (off.rate * live).T, (off.error * live).T
        share = kernel.poisson_share(soft, hard, means, errors, prior, levels)
        low, value, high = _of_share(share, form)
        return np.array([value, 0.5 * (high - low), low, high])
    net, variance = (two.rate - off.rate).T, (two.error**2 + off.error**2).T
    variance = np.where(np.all(two.error.T > 0, axis=0), variance, np.nan)
    return _gaussian(net, variance, form, level)


def _of_share(share: np.ndarray, form: str) -> np.ndarray:
    """Return the hardness of the share of the hard band."""
    if form == "difference":
        return 2.0 * share - 1.0
    with np.errstate(divide="ignore"):
        ratio = share / (1.0 - share)
        return ratio if form == "ratio" else np.log10(ratio)


def _gaussian(net: np.ndarray, variance: np.ndarray, form: str, level: float) -> np.ndarray:
    """Return value, error, and both ends of the interval (4, bin) of Gaussian rates (2, bin)."""
    from scipy.special import ndtri

    z = float(ndtri(0.5 * (1.0 + level)))
    (soft, hard), (var_soft, var_hard) = net, variance
    if form == "difference":
        a, b, var, cov = hard - soft, hard + soft, var_hard + var_soft, var_hard - var_soft
        error, low, high = kernel.fieller(a, b, var, var, cov, z)
    else:
        a, b = hard, soft
        error, low, high = kernel.fieller(a, b, var_hard, var_soft, np.zeros(a.shape), z)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = a / b
        if form == "log":
            error = error / np.abs(value) / np.log(10.0)
            value, low, high = (np.log10(x) for x in (value, np.maximum(low, 0.0), high))
    known = np.isfinite(variance).all(axis=0)
    return np.where(known, np.array([value, error, low, high]), np.nan)


def _dataset(
    ds: xr.Dataset, bands: Bands, pairs: list[tuple[int, int]], rows: np.ndarray, form: str, level: float
) -> xr.Dataset:
    """Return the values (pair, 4, bin) as variables with their bins and bands."""
    one, s, kev = {"units": "1"}, {"units": "s"}, {"units": "keV"}
    names = ("hardness", "hardness_err", "hardness_low", "hardness_high")
    variables = {name: (("pair", "time"), rows[:, k], one) for k, name in enumerate(names)}
    bounds = np.column_stack([bands.lower, bands.lower + bands.width])
    coords = {
        "pair": ("pair", band_labels(bands, pairs)),
        "time": ("time", bands.centre, {**s, "bounds": "time_bnds"}),
        "time_bnds": (("time", "bnds"), bounds, s),
        "soft_bnds": (("pair", "bnds"), bands.energies[[soft for soft, _ in pairs]], kev),
        "hard_bnds": (("pair", "bnds"), bands.energies[[hard for _, hard in pairs]], kev),
    }
    return xr.Dataset(variables, coords, result_attrs(ds) | {"hardness_form": form, "hardness_level": level})
