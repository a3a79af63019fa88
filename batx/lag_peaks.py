"""The correlation of two bands, the part of it that is fitted, and the place of its peak.

Private to `batx.lags`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batx.band_curves import Bands
from batx.errors import ValueRangeError
from batx.kernels import correlate as kernel
from batx.units import to_value

__all__ = [
    "LEAST_BINS",
    "Correlation",
    "Delays",
    "Fit",
    "Peak",
    "best_fit",
    "correlation",
    "delays_of",
    "places_of",
]

#: bins on either side of the peak that are fitted at least, and delays searched, in half-widths
LEAST_BINS, SEARCH = 4, 3
#: a range narrower than the half-width counts if the error is below this part of its half, and is taken if
#: that of broader ones is larger by this factor
NARROW, BETTER = 0.125, 2.5
#: bins are of one width if none departs from the grid by more than this part of it
UNIFORM = 0.02


# --- delays ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delays:
    """The delays looked at, and how curves are multiplied.

    Attributes
    ----------
    method
        ``"linear"``: sums over bins of one width without gaps; ``"discrete"``: the same from the mean over
        pairs of any bins; ``"edelson-krolik"``: that mean, of curves less theirs.
    time
        (bin,) s, whole numbers of `step` in the linear case.
    step, n_lags
        Delays are −n_lags … n_lags times step.
    width
        Half-width of the autocorrelation of all bands together, in steps.
    fit_range
        First and last delay (s) of the fit, if asked for.
    """

    method: str
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
        """Return Σ a(t) b(t + τ)/divisor (curve, delay) of curves (curve, bin), and the divisors (delay,).

        The mean over pairs is multiplied with the part of the time that overlaps at a delay: without that it
        is too large at long delays for what is not stationary.
        """
        if self.method == "linear":
            values = kernel.linear_correlation(a, b, self.n_lags) / a.shape[1]
            return values, np.full(2 * self.n_lags + 1, float(a.shape[1]))
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        values, count = kernel.discrete_correlation(self.time, a, b, self.step, self.n_lags)
        if self.method == "edelson-krolik":
            return values, count
        span = self.time[-1] - self.time[0] + self.step
        overlap = np.maximum(1.0 - np.abs(self.delay) / span, 0.0)
        with np.errstate(divide="ignore"):
            return values * overlap, count / overlap

    def centred(self, curves: np.ndarray) -> np.ndarray:
        """Return curves (…, bin) as they are multiplied."""
        return curves - curves.mean(axis=-1, keepdims=True) if self.method == "edelson-krolik" else curves

    def placed(self, bands: Bands, method: str) -> Delays:
        """Return the same delays for other bins, by the method asked for."""
        apart = np.abs(np.diff(bands.lower) - self.step)
        odd = np.abs(bands.width - self.step)
        uniform = bool(np.all(apart < UNIFORM * self.step) and np.all(odd < UNIFORM * self.step))
        if method == "linear" and not uniform:
            raise ValueRangeError(
                "method: found bins of different widths or with gaps between them, expected one width and no "
                "gaps for 'linear'; use 'discrete'"
            )
        if method == "auto":
            method = "linear" if uniform else "discrete"
        linear = method == "linear"
        time = np.arange(bands.lower.size) * self.step if linear else bands.centre - bands.centre[0]
        return replace(self, method=method, time=time)


def delays_of(bands: Bands, method: str, fit_range: Any, max_lag: Any, span: float) -> Delays:
    """Return the delays for a burst that lasts `span` seconds."""
    step = float(np.median(bands.width))
    n_whole = max(int(span / step) - 1, LEAST_BINS + 1)
    whole = Delays(method, bands.centre, step, n_whole, 1, None).placed(bands, method)
    width = _half_width(bands, whole)
    n_lags = max(SEARCH * width, 2 * LEAST_BINS + 2)
    if max_lag is not None:
        n_lags = int(float(to_value(max_lag, "s", "max_lag")) / step + 1e-6)
        if n_lags < LEAST_BINS:
            raise ValueRangeError(
                f"max_lag: found {max_lag}, expected at least {LEAST_BINS} bins of {step:g} s"
            )
    ends = None
    if fit_range is not None:
        ends = _ends(fit_range, step)
        n_lags = max(n_lags, int(np.ceil(np.max(np.abs(ends)) / step)))
    return replace(whole, n_lags=min(n_lags, n_whole), width=width, fit_range=ends)


def _half_width(bands: Bands, whole: Delays) -> int:
    """Return the half-width of the autocorrelation of all bands together."""
    total = whole.centred(bands.rate.sum(axis=1))[np.newaxis]
    values, count = whole.correlate(total, total)
    values[0, whole.n_lags] -= np.sum(bands.error**2) / count[whole.n_lags]
    return kernel.half_width(np.nan_to_num(values[0]))


def _ends(fit_range: Any, step: float) -> tuple[float, float]:
    values = np.ravel(to_value(fit_range, "s", "fit_range"))
    if values.size != 2 or not values[1] - values[0] > 5.5 * step:
        raise ValueRangeError(
            f"fit_range: found {fit_range!r}, expected two delays, six steps of {step:g} s apart or more"
        )
    return float(values[0]), float(values[1])


# --- correlation -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Correlation:
    """The correlation of two bands.

    Attributes
    ----------
    curves, variance
        (2, bin) hard and soft band, as they are multiplied, and their variances.
    values
        (delay,) normalised.
    count
        (delay,) what the sums of products were divided by, but for `norm`.
    norm
        Product of the standard deviations of the bands, or of the roots of their mean squares.
    """

    curves: np.ndarray
    variance: np.ndarray
    values: np.ndarray
    count: np.ndarray
    norm: float


def correlation(bands: Bands, delays: Delays) -> Correlation:
    """Return the correlation of the soft with the hard one of two bands."""
    curves = delays.centred(bands.rate.T[::-1])
    variance = bands.error.T[::-1] ** 2
    square = np.mean(curves**2, axis=1)
    if delays.method == "edelson-krolik":
        square = square - np.mean(variance, axis=1)
    if not np.all(square > 0):
        low, high = bands.energies[::-1][int(np.argmin(square))]
        raise ValueRangeError(
            f"lag: the rates in {low:g}-{high:g} keV vary no more than their errors, so they have no lag; "
            "leave the band out (pairs=) or take another interval"
        )
    norm = float(np.sqrt(np.prod(square)))
    values, count = delays.correlate(curves[:1], curves[1:])
    return Correlation(curves, variance, values[0] / norm, count, norm)


# --- peak --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peak:
    """The curve that is fitted to the peak: ``"gaussian"``, or ``"polynomial"`` of an order."""

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
class Fit:
    """A curve fitted to a part of a correlation.

    Attributes
    ----------
    used
        (delay,) the part.
    near, half
        (delay,) where the middle of the part was looked for, and its half length in steps; `None` and 0 for a
        part that was given.
    width
        First guess of the width of the peak (s).
    parameters, place
        Of the curve, and the delay of its maximum (s).
    single, both
        Variance of the place from noise in one band, with the second as a part of it twice, and from noise in
        both bands (s²).
    """

    used: np.ndarray
    near: np.ndarray | None
    half: int
    width: float
    parameters: np.ndarray
    place: float
    single: float
    both: float

    @property
    def error(self) -> float:
        """Error of the place to first order (s)."""
        return float(np.sqrt(max(self.single - self.both, self.both)))

    @property
    def noise_factor(self) -> float:
        """Return √(1 − 2Q/V), V the variance of the place in drawn curves, Q the share of noise in both."""
        square = 1.0 - 2.0 * self.both / (self.single + self.both)
        if square >= 0.5:
            return float(np.sqrt(square))
        return float(1.0 - (1.0 - np.sqrt(0.5)) * np.clip(6.0 * square - 2.0, 0.0, 1.0))


def best_fit(found: Correlation, delays: Delays, peak: Peak) -> tuple[Fit | None, float]:
    """Return the fit to the highest peak, `None` if it has no maximum in range, and its significance.

    Unless the range is given, it is the half-width on either side. Narrower ones count if their error is
    below `NARROW` of the half of their length; taken is the broadest with an error up to `BETTER` times the
    smallest. So the half-width is left only for a narrow peak on a broad one.
    """
    place = np.arange(delays.delay.size)
    top, significance = _highest(found, delays)
    if delays.fit_range is not None:
        low, high = delays.fit_range
        inside = (delays.delay > low - 0.5 * delays.step) & (delays.delay < high + 0.5 * delays.step)
        return _fit(found, delays, peak, inside, None, 0), significance
    fits: list[Fit] = []
    near = np.abs(place - top) <= delays.width
    for half in _halves(delays.width):
        middle = int(_middles(found.values[np.newaxis], near, half)[0])
        made = _fit(found, delays, peak, np.abs(place - middle) <= half, near, half)
        if made is None:
            continue
        within = abs(made.place - delays.delay[middle]) < 0.5 * made.width
        if half >= delays.width or (within and made.error < NARROW * made.width):
            fits.append(made)
    smallest = min((made.error for made in fits), default=0.0)
    return next((made for made in fits if made.error <= BETTER * smallest), None), significance


def places_of(values: np.ndarray, fit: Fit, delays: Delays, peak: Peak) -> np.ndarray:
    """Return the delays of the maxima of other correlations (curve, delay), found as in a fit, or NaN."""
    if fit.near is None or not np.isfinite(values[:1]).all():
        return peak.fit(delays.delay[fit.used], values[:, fit.used], fit.width)[1]
    middle = _middles(values, fit.near, fit.half)
    window = np.arange(-fit.half, fit.half + 1)
    taken = np.take_along_axis(values, middle[:, np.newaxis] + window, axis=1)
    return delays.delay[middle] + peak.fit(window * delays.step, taken, fit.width)[1]


def _middles(values: np.ndarray, near: np.ndarray, half: int) -> np.ndarray:
    """Return the middles (curve,) of ranges of 2 half + 1 around the highest correlations (curve, delay)."""
    top = np.argmax(np.where(near, _smoothed(values, half // 2), -np.inf), axis=1)
    return np.clip(top, half, values.shape[1] - 1 - half)


def _halves(width: int) -> Iterator[int]:
    """Return lengths from the half-width down, each 1/√2 of the one before."""
    half = max(width, LEAST_BINS)
    while True:
        yield half
        if half == LEAST_BINS:
            return
        half = max(int(half / np.sqrt(2.0)), LEAST_BINS)


def _smoothed(values: np.ndarray, half: int) -> np.ndarray:
    """Return means over 2 half + 1 neighbours (…, delay) that are known."""
    known = np.isfinite(values)
    share = kernel.moving_sum(known.astype(np.float64), half)
    total = kernel.moving_sum(np.where(known, values, 0.0), half)
    return np.where(share > 0.5, total / np.maximum(share, 1.0), -np.inf)


def _highest(found: Correlation, delays: Delays) -> tuple[int, float]:
    """Return the place of the highest correlation smoothed over the half-width, and it over its noise."""
    half = delays.width // 2
    height = _smoothed(found.values, half)
    top = int(np.argmax(height))
    first, last = max(top - half, 0), min(top + half, height.size - 1)
    inside = found.values[first : last + 1]
    known = np.isfinite(inside)
    response = np.where(known, 1.0 / found.norm / np.maximum(found.count[first : last + 1], 1e-9), 0.0)
    single, both = _shares(found, delays, response, first)
    spread = np.sqrt(max(single - both, both))
    return top, float(np.sum(inside[known]) / spread) if spread > 0 else np.inf


def _shares(found: Correlation, delays: Delays, response: np.ndarray, first: int) -> tuple[float, float]:
    """Return the variances of noise in one band and in both of Σ response × correlation from `first` on."""
    single, both = kernel.noise_shares(
        delays.time, *found.curves, *found.variance, response, first - delays.n_lags, delays.step
    )
    return float(single), float(both)


def _fit(
    found: Correlation, delays: Delays, peak: Peak, inside: np.ndarray, near: np.ndarray | None, half: int
) -> Fit | None:
    """Return the curve fitted to a part of the correlation, `None` if it has no maximum there."""
    used = inside & np.isfinite(found.values)
    if used.sum() < 6:
        return None
    x = delays.delay[used]
    width = 0.5 * float(x[-1] - x[0])
    parameters, places = peak.fit(x, found.values[np.newaxis, used], width)
    place = float(places[0])
    if np.isnan(place):
        return None
    first, last = np.flatnonzero(used)[[0, -1]]
    response = np.zeros(delays.delay.size)
    response[used] = peak.response(parameters[0], place, x) / found.norm / found.count[used]
    single, both = _shares(found, delays, response[first : last + 1], int(first))
    return Fit(used, near, half, width, parameters[0], place, single, both)
