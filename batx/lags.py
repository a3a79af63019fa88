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
from batx.lag_peaks import Delays, Fit, Peak, best_fit, correlation, delays_of, places_of

__all__ = ["lag"]

METHODS = ("auto", "linear", "discrete", "edelson-krolik")
FITS = ("gaussian", "polynomial")
#: a peak of the smoothed correlation below this many times its noise is none
SIGNIFICANT = 4.0
#: curves drawn at once
BLOCK = 100
#: quantiles that enclose 68.27 %
QUANTILES = (0.15866, 0.84134)


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
        ``"linear"``: the correlation of Band 1997 for bins of one width without gaps. ``"discrete"``: the
        same for any bins, from pairs of bins, steps of delay being the median width. ``"auto"``: the former
        where it can be. ``"edelson-krolik"``: the discrete correlation function of Edelson & Krolik 1988, for
        sources that vary about a mean; on bursts it is biased towards longer lags.
    fit
        Curve fitted to the peak: ``"gaussian"`` with a level and two widths, or ``"polynomial"``.
    order
        Of the polynomial, at least 2.
    fit_range
        Delays (s) from which to which it is fitted. By default the highest peak and, on either side, the
        half-width at half maximum of the autocorrelation of all bands together; or, where a narrow peak
        stands out on a broad one, less, down to four bins (see Notes).
    max_lag
        Largest delay (s) looked at; by default three of these half-widths.
    n_samples, seed
        Number of curves drawn for the errors, and where the random numbers begin.

    Returns
    -------
    xarray.Dataset
        Along ``pair``: ``lag`` (s); ``lag_err``, half the interval from ``lag_err_low`` below to
        ``lag_err_high`` above that holds 68.27 %; ``significance``: the sum of the correlation over the peak,
        over its noise; ``fit_start``, ``fit_stop`` (s); ``noise_factor`` (see Notes); coordinates
        ``soft_bnds``, ``hard_bnds`` (pair, bnds) in keV. ``ccf``, ``ccf_err`` (pair, delay) and ``ccf_fit``,
        NaN outside of the range. ``lag_sample`` (pair, sample). Scalars ``start``, ``stop`` (MET s). A pair
        without a significant peak has lag NaN. The data are read at once.

    Raises
    ------
    KindError
        If there are fewer than two bands, or several sources.
    MissingVariableError
        If the light curve lacks bounds or exposure.
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
    With h the hard band and s the soft one, net of background, the linear correlation is C(τ) = Σ h(t) s(t +
    τ) / √(Σ h² Σ s²) (Band 1997, ApJ 486, 928; Ukwatta et al. 2010, ApJ 711, 1073). That of Edelson & Krolik
    1988, ApJ 333, 646, is the mean over all pairs of bins at a delay of (h − h̄)(s − s̄) / √((v_h − e_h²)(v_s
    − e_s²)), v the variance of the bins and e² that of their noise. The discrete one is (1 − |τ|/T) ⟨h s⟩ /
    √(⟨h²⟩⟨s²⟩) with the mean over these pairs and T the length of the interval; for even bins it is the
    linear one. The lag is the place of the maximum of the curve fitted by least squares (asymmetric Gaussian:
    Bernardini et al. 2015, MNRAS 446, 1129). Where pulses differ in shape between bands, it depends on the
    range that is fitted, on all of the methods.

    Narrower ranges are tried in steps of √2, each around the highest correlation smoothed over half of it;
    they count if the error to first order is below an eighth of the half range. Taken is the broadest range
    with an error up to 2.5 times the smallest: a broad one unless it hides a narrow peak.

    Errors: every curve is drawn anew around the measured one with its errors (counts: Poisson) and fitted in
    a range of the same length (flux randomisation: Peterson et al. 1998, PASP 110, 660). Drawn curves have
    the noise twice; what noise in both bands together does to the lag then has three times its variance Q.
    Q and the variance V of the drawn lags follow, to first order, from the response of the peak to the
    correlation, and errors and samples are scaled by f = √(1 − 2Q/V), ``noise_factor``. Below f² = ½ this no
    longer holds, and the factor goes back to 1, reached at ⅓. Measured pulls: algorithms 2.12.

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
    delays = delays_of(bands, method, fit_range, max_lag, stop - start)
    if interval is None:
        reach = delays.n_lags * delays.step
        start, stop = start - reach, stop + reach
        bands = cut(whole, start, stop, 10, "lag")
        delays = delays.placed(bands, method)
    random = np.random.default_rng(seed)
    peak = Peak(fit, order)
    rows = [_pair_lag(bands.select(pair), delays, peak, n_samples, random) for pair in chosen]
    _report_faint(bands, chosen, rows)
    return _dataset(ds, bands, chosen, rows, delays, peak, (start, stop))


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


# --- one pair ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lag:
    """What is found for one pair: NaN, and no curve, if there is no significant peak."""

    place: float
    samples: np.ndarray
    factor: float
    significance: float
    ends: tuple[float, float]
    ccf: np.ndarray
    ccf_err: np.ndarray
    curve: np.ndarray


def _pair_lag(bands: Bands, delays: Delays, peak: Peak, n_samples: int, random: np.random.Generator) -> _Lag:
    """Return the lag of two bands, the softer first."""
    found = correlation(bands, delays)
    fit, significance = best_fit(found, delays, peak)
    drawn, places = _drawn(bands, delays, peak, found.norm, fit, n_samples, random)
    ccf_err = np.std(drawn, axis=0, ddof=1)
    curve = np.full(delays.delay.size, np.nan)
    if fit is None or significance < SIGNIFICANT:
        nothing = np.full(n_samples, np.nan)
        return _Lag(np.nan, nothing, np.nan, significance, (np.nan, np.nan), found.values, ccf_err, curve)
    x = delays.delay[fit.used]
    curve[fit.used] = peak.curve(fit.parameters, x)
    samples = fit.place + fit.noise_factor * (places - fit.place)
    ends = (float(x[0]), float(x[-1]))
    return _Lag(fit.place, samples, fit.noise_factor, significance, ends, found.values, ccf_err, curve)


def _drawn(
    bands: Bands,
    delays: Delays,
    peak: Peak,
    norm: float,
    fit: Fit | None,
    n_samples: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return correlations (sample, delay) and lags (sample,) of curves drawn around these."""
    ccf, places = [], []
    for first in range(0, n_samples, BLOCK):
        curves = np.moveaxis(bands.draw(random, min(BLOCK, n_samples - first)), 2, 0)
        soft, hard = delays.centred(curves)
        made = delays.correlate(hard, soft)[0] / norm
        ccf.append(made)
        if fit is not None:
            places.append(places_of(made, fit, delays, peak))
    return np.concatenate(ccf), np.concatenate(places) if places else np.empty(0)


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
    delays: Delays,
    peak: Peak,
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
        "delay": ("delay", delays.delay, s),
        "soft_bnds": (("pair", "bnds"), bands.energies[[soft for soft, _ in pairs]], kev),
        "hard_bnds": (("pair", "bnds"), bands.energies[[hard for _, hard in pairs]], kev),
    }
    attrs = result_attrs(ds) | {
        "ccf_method": delays.method,
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
