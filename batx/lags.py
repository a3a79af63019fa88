"""Spectral lags: how much later soft photons of a burst come than hard ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.band_curves import (
    Bands,
    band_labels,
    band_pairs,
    burst_span,
    cut,
    read_bands,
    result_attrs,
    without_background,
)
from batx.errors import EmptySelectionError, ValueRangeError
from batx.grids import warn
from batx.kernels import correlate as kernel
from batx.units import to_value

__all__ = ["lag"]

METHODS = ("auto", "linear", "discrete")
FITS = ("gaussian", "polynomial")
#: bins on either side of the peak that are fitted at least, and delays searched, in half-widths
LEAST_BINS, SEARCH = 4, 3
#: a peak of the smoothed correlation below this many times its noise is none
SIGNIFICANT = 6.0
#: curves drawn at once
BLOCK = 100
#: quantiles that enclose 68.27 %
QUANTILES = (0.15866, 0.84134)
#: bins are of one width if none departs from the grid by more than this part of it
UNIFORM = 0.02


def lag(
    ds: xr.Dataset,
    pairs: Any = None,
    *,
    interval: Any = None,
    background: bool = False,
    method: str = "auto",
    fit: str = "gaussian",
    order: int = 3,
    fit_range: Any = None,
    max_lag: Any = None,
    n_samples: int = 1000,
    seed: int | None = None,
) -> xr.Dataset:
    """Return the spectral lag of pairs of bands, positive where the soft band lags behind the hard one.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with at least two bands.
    pairs
        Pairs of bands, each given by its number or its edges in keV, ``[((15, 25), (50, 100))]``; by default
        all. Which comes first does not matter.
    interval
        Start and stop (MET, dates, Quantities), or the result of `batx.duration` for its T100. By default
        the burst that `batx.bayesian_blocks` finds in all bands, and `max_lag` on either side.
    background
        Subtract, in each band, a line through the mean rates before and after the interval. Counts need it.
    method
        ``"linear"``: the correlation of Band 1997 for bins of one width without gaps. ``"discrete"``: that
        of Edelson & Krolik 1988 for any bins, steps of delay being the median width. ``"auto"``: the former
        where it can be.
    fit
        Curve fitted to the peak: ``"gaussian"`` with a level and two widths, or ``"polynomial"``.
    order
        Of the polynomial, at least 2.
    fit_range
        Delays (s) from which to which it is fitted. By default the highest peak and, on either side, the
        half-width at half maximum of the autocorrelation of all bands together, at least four bins.
    max_lag
        Largest delay (s) looked at; by default three of these half-widths.
    n_samples, seed
        Number of curves drawn for the errors, and where the random numbers begin.

    Returns
    -------
    xarray.Dataset
        Along ``pair``: ``lag`` (s); ``lag_err``, half the interval from ``lag_err_low`` below to
        ``lag_err_high`` above that holds 68.27 %; ``significance`` of the peak over the noise of the
        correlation; ``fit_start``, ``fit_stop`` (s); ``noise_factor`` (see Notes); coordinates
        ``soft_bnds``, ``hard_bnds`` (pair, bnds) in keV. ``ccf``, ``ccf_err`` (pair, delay) and ``ccf_fit``,
        NaN outside of the range. ``lag_sample`` (pair, sample). Scalars ``start``, ``stop`` (MET s). A pair
        without a significant peak has lag NaN. The data are read at once.

    Raises
    ------
    KindError
        If there are fewer than two bands, or several sources.
    EmptySelectionError
        If no burst is found and no `interval` given, or the interval holds fewer than ten bins.
    ValueRangeError
        If a band is constant or without variation above the noise, no pair has a significant peak, the bins
        are not those `method` needs, or an argument is out of range; or as `batx.bayesian_blocks`.

    Warns
    -----
    BatxWarning
        If some of the pairs have no significant peak.

    Notes
    -----
    With h the hard band and s the soft one, net of background, the linear correlation is
    C(τ) = Σ h(t) s(t + τ) / √(Σ h² Σ s²) (Band 1997, ApJ 486, 928; Ukwatta et al. 2010, ApJ 711, 1073). The
    discrete one is the mean over all pairs of bins at that delay of
    (h − h̄)(s − s̄) / √((v_h − e_h²)(v_s − e_s²)), v the variance of the bins and e² that of their noise
    (Edelson & Krolik 1988, ApJ 333, 646). The lag is the place of the maximum of the curve fitted by least
    squares (asymmetric Gaussian: Bernardini et al. 2015, MNRAS 446, 1129). Where pulses differ in shape
    between bands, it depends on the range that is fitted, on all of the methods.

    Errors: every curve is drawn anew around the measured one with its errors (counts: Poisson) and fitted in
    the same range (flux randomisation: Peterson et al. 1998, PASP 110, 660). Drawn curves have the noise
    twice, and what noise in both bands does to the correlation then has three times its variance, not two,
    of which one is right. From the response of the place of the peak to the correlation its share Q of the
    variance V of the drawn lags follows, and errors and samples are scaled by f = √(1 − 2Q/V),
    ``noise_factor``. Below f² = ½ this no longer holds, and the factor goes back to 1, reached at ⅓.
    Measured on simulated pulses, pulls then have width 0.9 to 1.0 from a signal-to-noise of 10 in each band
    on (algorithms 2.10).

    Bins with NaN in any band are left out, which makes the curve uneven.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> t = np.arange(200) + 0.5
    >>> rate = [np.exp(-0.5 * ((t - place) / 5.0) ** 2) for place in (102.0, 100.0)]
    >>> lc = build("lightcurve", {"time": t,
    ...     "time_bnds": (("time", "bnds"), t[:, None] + [-0.5, 0.5]), "energy": [20.0, 75.0],
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 25.0], [50.0, 100.0]]),
    ...     "rate": (("time", "energy"), np.transpose(rate)),
    ...     "rate_err": (("time", "energy"), np.full((200, 2), 0.01)),
    ...     "exposure": np.ones(200), "fracexp": np.ones(200)},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> found = lag(lc, n_samples=100, seed=1)
    >>> found.lag.values.round(2)
    array([2.])
    """
    _check_arguments(method, fit, order, n_samples)
    whole = read_bands(ds, "lag")
    chosen = band_pairs(whole, pairs, "lag")
    start, stop = burst_span(ds, interval, "lag")
    if background:
        whole = without_background(whole, start, stop, "lag")
    bands = cut(whole, start, stop, 10, "lag")
    _require_variation(bands, chosen)
    grid = _grid(bands, method, fit_range, max_lag, stop - start)
    if interval is None:
        start, stop = start - grid.n_lags * grid.step, stop + grid.n_lags * grid.step
        bands = cut(whole, start, stop, 10, "lag")
        grid = _placed(grid, bands, method)
    random = np.random.default_rng(seed)
    peak = _Peak(fit, order)
    rows = [_pair_lag(bands, soft, hard, grid, peak, n_samples, random) for soft, hard in chosen]
    _report_faint(bands, chosen, rows)
    return _dataset(ds, bands, chosen, rows, grid, peak, (start, stop))


def _check_arguments(method: str, fit: str, order: int, n_samples: int) -> None:
    for name, value, known in (("method", method, METHODS), ("fit", fit, FITS)):
        if value not in known:
            raise ValueRangeError(f"{name}: found {value!r}, expected one of {', '.join(map(repr, known))}")
    if not 2 <= order <= 7:
        raise ValueRangeError(f"order: found {order}, expected a polynomial of order 2 to 7")
    if n_samples < 2:
        raise ValueRangeError(f"n_samples: found {n_samples}, expected at least 2")


def _require_variation(bands: Bands, pairs: Sequence[tuple[int, int]]) -> None:
    for k in sorted({k for pair in pairs for k in pair}):
        if np.ptp(bands.rate[:, k]) == 0:
            low, high = bands.energies[k]
            raise ValueRangeError(f"lag: found a constant rate in {low:g}-{high:g} keV, which has no lag")


# --- delays ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Grid:
    """The delays looked at.

    Attributes
    ----------
    linear
        Whether bins have one width and no gaps.
    time
        (bin,) s, whole numbers of `step` in the linear case.
    step, n_lags
        Delays are −n_lags … n_lags times step.
    width
        Half-width of the autocorrelation in steps.
    fit_range
        First and last delay (s) of the fit, if asked for.
    """

    linear: bool
    time: np.ndarray
    step: float
    n_lags: int
    width: int
    fit_range: tuple[float, float] | None

    @property
    def delay(self) -> np.ndarray:
        """Delays (2 n_lags + 1,), s."""
        return np.arange(-self.n_lags, self.n_lags + 1) * self.step

    def correlate(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sums, or means, of a(t) b(t + τ) (curve, delay) of curves (curve, bin), and the divisors."""
        if self.linear:
            return kernel.linear_correlation(a, b, self.n_lags), np.ones(2 * self.n_lags + 1)
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        return kernel.discrete_correlation(self.time, a, b, self.step, self.n_lags)


def _uniform(bands: Bands) -> bool:
    """Return whether bins have one width and touch."""
    width = float(np.median(bands.width))
    apart = np.abs(np.diff(bands.lower) - width)
    return bool(np.all(apart < UNIFORM * width) and np.all(np.abs(bands.width - width) < UNIFORM * width))


def _grid(bands: Bands, method: str, fit_range: Any, max_lag: Any, span: float) -> _Grid:
    """Return the delays for the burst itself."""
    step = float(np.median(bands.width))
    n_whole = max(int(span / step) - 1, LEAST_BINS + 1)
    grid = _placed(_Grid(True, bands.centre, step, n_whole, 1, None), bands, method)
    total = bands.rate.sum(axis=1)
    total = total if grid.linear else total - total.mean()
    values, count = grid.correlate(total[np.newaxis], total[np.newaxis])
    values[0, n_whole] -= np.sum(bands.error**2) / count[n_whole]
    width = kernel.half_width(np.where(np.isfinite(values[0]), values[0], 0.0))
    n_lags = max(SEARCH * width, 2 * LEAST_BINS + 2)
    if max_lag is not None:
        n_lags = int(float(to_value(max_lag, "s", "max_lag")) / step + 1e-6)
        if n_lags < LEAST_BINS:
            raise ValueRangeError(
                f"max_lag: found {max_lag}, expected at least {LEAST_BINS} bins of {step:g} s"
            )
    ends = None
    if fit_range is not None:
        low, high = np.ravel(to_value(fit_range, "s", "fit_range"))[[0, -1]]
        if not high - low > 5.5 * step:
            raise ValueRangeError(
                f"fit_range: found {low:g} to {high:g} s, expected six delays of {step:g} s"
            )
        ends = (float(low), float(high))
        n_lags = max(n_lags, int(np.ceil(max(abs(low), abs(high)) / step)))
    return _Grid(grid.linear, grid.time, step, min(n_lags, n_whole), width, ends)


def _placed(grid: _Grid, bands: Bands, method: str) -> _Grid:
    """Return the delays with the times of these bins."""
    uniform = _uniform(bands)
    if method == "linear" and not uniform:
        raise ValueRangeError(
            "method: found bins of different widths or with gaps between them, expected one width and no "
            "gaps for 'linear'; use 'discrete'"
        )
    linear = method != "discrete" and uniform
    time = np.arange(bands.lower.size) * grid.step if linear else bands.centre - bands.centre[0]
    return _Grid(linear, time, grid.step, grid.n_lags, grid.width, grid.fit_range)


# --- one pair ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Peak:
    """The curve that is fitted to the peak."""

    shape: str
    order: int

    def fit(self, x: np.ndarray, values: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Return parameters (curve, parameter) and places (curve,) of the maxima, NaN where there is none."""
        if self.shape == "gaussian":
            parameters, good = kernel.fit_gaussians(x, values, width)
            return parameters, np.where(good, parameters[:, 2], np.nan)
        parameters, place, good = kernel.fit_polynomials(x, values, self.order)
        return parameters, np.where(good, place, np.nan)

    def curve(self, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the fitted curve (x,)."""
        if self.shape == "gaussian":
            return kernel.gaussian(parameters, x)
        return kernel.polynomial(parameters, x)

    def response(self, parameters: np.ndarray, place: float, x: np.ndarray) -> np.ndarray:
        """Return the change of the place with each point (x,)."""
        if self.shape == "gaussian":
            return kernel.gaussian_response(parameters, x)
        return kernel.polynomial_response(parameters, place, x)


@dataclass(frozen=True)
class _Lag:
    """What is found for one pair."""

    place: float
    samples: np.ndarray
    factor: float
    significance: float
    ccf: np.ndarray
    ccf_err: np.ndarray
    curve: np.ndarray
    ends: tuple[float, float]


def _pair_lag(
    bands: Bands,
    soft: int,
    hard: int,
    grid: _Grid,
    peak: _Peak,
    n_samples: int,
    random: np.random.Generator,
) -> _Lag:
    """Return the lag of one pair of bands."""
    variance = bands.error[:, [hard, soft]].T ** 2
    curves = _centred(bands.rate[:, [hard, soft]].T, grid.linear)
    norm = _norm(curves, variance, grid.linear, bands, (hard, soft))
    summed, count = grid.correlate(curves[:1], curves[1:])
    noise = grid.correlate(variance[:1], variance[1:])[0][0] / count
    ccf = summed[0] / norm
    top, significance = _highest(summed[0], noise, grid)
    used = _range(grid, top) & np.isfinite(ccf)
    x = grid.delay[used]
    parameters, place = peak.fit(x, ccf[np.newaxis, used], grid.width * grid.step)
    drawn_ccf, drawn = _drawn(bands, (hard, soft), grid, peak, used, norm, n_samples, random)
    ccf_err = np.std(drawn_ccf, axis=0, ddof=1)
    curve = np.full(grid.delay.size, np.nan)
    ends = (float(x[0]), float(x[-1]))
    if not significance >= SIGNIFICANT or np.isnan(place[0]):
        return _Lag(np.nan, np.full(n_samples, np.nan), np.nan, significance, ccf, ccf_err, curve, ends)
    curve[used] = peak.curve(parameters[0], x)
    response = np.zeros(grid.delay.size)
    response[used] = peak.response(parameters[0], float(place[0]), x) / norm / count[used]
    one, both = kernel.noise_shares(grid.time, *curves, *variance, response, grid.step)
    factor = _noise_factor(one, both)
    samples = place[0] + factor * (drawn - place[0])
    return _Lag(float(place[0]), samples, factor, significance, ccf, ccf_err, curve, ends)


def _centred(curves: np.ndarray, linear: bool) -> np.ndarray:
    """Return curves (…, bin), for the discrete correlation less their means."""
    return curves if linear else curves - curves.mean(axis=-1, keepdims=True)


def _norm(
    curves: np.ndarray, variance: np.ndarray, linear: bool, bands: Bands, pair: tuple[int, int]
) -> float:
    """Return what the sums of products are divided by."""
    square = np.sum(curves**2, axis=1) if linear else np.mean(curves**2, axis=1) - np.mean(variance, axis=1)
    for k, value in zip(pair, square, strict=True):
        if not value > 0:
            low, high = bands.energies[k]
            raise ValueRangeError(
                f"lag: the rates in {low:g}-{high:g} keV vary no more than their errors, so they have no "
                "lag; leave the band out (pairs=) or take a shorter interval"
            )
    return float(np.sqrt(np.prod(square)))


def _highest(values: np.ndarray, noise: np.ndarray, grid: _Grid) -> tuple[int, float]:
    """Return the place of the highest smoothed correlation, and how many times its noise it is."""
    half = grid.width // 2
    known = np.isfinite(values)
    smooth = kernel.moving_sum(np.where(known, values, 0.0), half)
    spread = np.sqrt(kernel.moving_sum(np.where(known, noise, 0.0), half))
    share = kernel.moving_sum(known.astype(np.float64), half)
    height = np.where(share > 0, smooth / np.maximum(share, 1.0), -np.inf)
    top = int(np.argmax(height))
    return top, float(smooth[top] / spread[top]) if spread[top] > 0 else np.inf


def _range(grid: _Grid, top: int) -> np.ndarray:
    """Return which delays are fitted (2 n_lags + 1,)."""
    place = np.arange(grid.delay.size)
    if grid.fit_range is not None:
        low, high = grid.fit_range
        return (grid.delay > low - 0.5 * grid.step) & (grid.delay < high + 0.5 * grid.step)
    half = max(grid.width, LEAST_BINS)
    return np.abs(place - min(max(top, half), grid.delay.size - 1 - half)) <= half


def _drawn(
    bands: Bands,
    pair: tuple[int, int],
    grid: _Grid,
    peak: _Peak,
    used: np.ndarray,
    norm: float,
    n_samples: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return correlations (sample, delay) and lags (sample,) of curves drawn around these."""
    two = bands.select(pair)
    ccf, places = [], []
    for first in range(0, n_samples, BLOCK):
        curves = np.moveaxis(two.draw(random, min(BLOCK, n_samples - first)), 2, 0)
        curves = _centred(curves, grid.linear)
        made = grid.correlate(curves[0], curves[1])[0] / norm
        ccf.append(made)
        places.append(peak.fit(grid.delay[used], made[:, used], grid.width * grid.step)[1])
    return np.concatenate(ccf), np.concatenate(places)


def _noise_factor(one: float, both: float) -> float:
    """Return √(1 − 2Q/V), V the variance of drawn lags and Q the share of noise in both bands."""
    square = 1.0 - 2.0 * both / (one + both)
    if square >= 0.5:
        return float(np.sqrt(square))
    return float(1.0 - (1.0 - np.sqrt(0.5)) * np.clip(6.0 * square - 2.0, 0.0, 1.0))


# --- result ------------------------------------------------------------------------------------------------


def _report_faint(bands: Bands, pairs: Sequence[tuple[int, int]], rows: Sequence[_Lag]) -> None:
    """Warn of pairs without a lag; raise if there is none with."""
    faint = [
        f"{label} ({row.significance:.1f})"
        for label, row in zip(band_labels(bands, pairs), rows, strict=True)
        if np.isnan(row.place)
    ]
    if not faint:
        return
    text = (
        f"lag: found no peak of the correlation above {SIGNIFICANT:g} times its noise with a maximum in "
        f"range in {'; '.join(faint)}"
    )
    if len(faint) == len(rows):
        raise EmptySelectionError(f"{text}; take wider bins, wider bands, or another interval")
    warn(f"{text}; their lag is NaN")


def _dataset(
    ds: xr.Dataset,
    bands: Bands,
    pairs: Sequence[tuple[int, int]],
    rows: Sequence[_Lag],
    grid: _Grid,
    peak: _Peak,
    span: tuple[float, float],
) -> xr.Dataset:
    """Return lags, correlations and samples with units."""
    place = np.array([row.place for row in rows])
    samples = np.array([row.samples for row in rows])
    low, high = _errors(place, samples)
    s, one = {"units": "s"}, {"units": "1"}
    ends = np.array([row.ends for row in rows])
    variables: dict[str, Any] = {
        "lag": ("pair", place, {**s, "long_name": "spectral lag, positive where soft lags behind hard"}),
        "lag_err": ("pair", 0.5 * (low + high), s),
        "lag_err_low": ("pair", low, s),
        "lag_err_high": ("pair", high, s),
        "significance": ("pair", [row.significance for row in rows], one),
        "noise_factor": ("pair", [row.factor for row in rows], one),
        "fit_start": ("pair", ends[:, 0], s),
        "fit_stop": ("pair", ends[:, 1], s),
        "ccf": (("pair", "delay"), [row.ccf for row in rows], one),
        "ccf_err": (("pair", "delay"), [row.ccf_err for row in rows], one),
        "ccf_fit": (("pair", "delay"), [row.curve for row in rows], one),
        "lag_sample": (("pair", "sample"), samples, s),
        "start": ((), span[0], s),
        "stop": ((), span[1], s),
    }
    kev = {"units": "keV"}
    coords = {
        "pair": ("pair", band_labels(bands, pairs)),
        "delay": ("delay", grid.delay, s),
        "soft_bnds": (("pair", "bnds"), bands.energies[[soft for soft, _ in pairs]], kev),
        "hard_bnds": (("pair", "bnds"), bands.energies[[hard for _, hard in pairs]], kev),
    }
    attrs = result_attrs(ds) | {
        "ccf_method": "linear" if grid.linear else "discrete",
        "ccf_peak": peak.shape if peak.shape == "gaussian" else f"polynomial of order {peak.order}",
    }
    return xr.Dataset(variables, coords, attrs)


def _errors(place: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances from the lag to the ends of 68.27 % of the samples."""
    low, high = np.full(place.size, np.nan), np.full(place.size, np.nan)
    for k in np.flatnonzero(np.isfinite(place)):
        known = samples[k][np.isfinite(samples[k])]
        if known.size > 1:
            ends = np.quantile(known, QUANTILES)
            low[k], high[k] = np.maximum([place[k] - ends[0], ends[1] - place[k]], 0.0)
    return low, high
