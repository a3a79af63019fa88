"""The background of raw light curves: a polynomial in time, curves without it, and where it ramps."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.background_errors import with_background_errors
from batx.block_inputs import Bins
from batx.count_curves import as_counts, intervals_of, read_counts
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.grids import warn
from batx.kernels.gti import overlap, union
from batx.kernels.polynomial import Fit, fit_counts, legendre_means, steady_slope
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.units import to_value

__all__ = ["background", "ramps", "subtract_background"]

#: highest degree that ``degree="auto"`` tries
HIGHEST_DEGREE = 6
#: a dispersion is only taken for more than 1 if it is by so many times its error
SURE = 3.0
#: bins are off the burst if no more than this part of them is outside of the intervals
INSIDE = 1e-3
GOOD_TIME = ("gti_start", "gti_stop")
_MODEL = ("background_coefficients", "background_covariance", "background_dispersion")


def background(
    ds: xr.Dataset,
    off: Any = None,
    *,
    on: Any = None,
    degree: int | str = 1,
    dispersion: float | str = "auto",
    t0: Any = None,
) -> xr.Dataset:
    """Return the background of a raw light curve: a polynomial fitted to the times without a burst.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, raw counts or rates in any number of bands.
    off
        Intervals without a burst: pairs of start and stop, or a Dataset with good time. By default all.
    on
        Intervals that are left out, in the same forms; result of `batx.rate_trigger` too.
    degree
        Of the polynomial, the same in all bands; ``"auto"``: that of the least information criterion, up to
        6.
    dispersion
        Variance of the counts in units of that of a Poisson distribution, by which errors are larger.
        ``"auto"``: measured, where it is above 1 by three times its error.
    t0
        Origin of `off` and `on` where these are numbers: MET, a date, or ``"trigger"``.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve`` on the bins of `ds`: expected background as ``counts`` or ``rate``, as in `ds`,
        and its error; ``background_coefficients`` (energy, term) in count/s,
        ``background_covariance`` (energy, term, term2), ``background_design`` (time, term) in s with
        counts = design · coefficients; ``off`` (time), which bins were fitted; ``deviance``, ``pearson``,
        ``background_dispersion`` (energy), ``dof``. The data are read at once.

    Raises
    ------
    ValueRangeError
        If the curve is mask-weighted, counts are negative, bins overlap or are out of order, an argument is
        out of range, or no polynomial fits: no counts, or too few bins for the degree.
    EmptySelectionError
        If no bin with exposure is off the burst.
    GtiError, KindError
        If intervals are malformed, or `ds` is no light curve of one source.

    Warns
    -----
    BatxWarning
        If the polynomial is negative in some bins.

    Notes
    -----
    A sum of Legendre polynomials, integrated over the exposure of each bin, of the greatest Poisson
    likelihood (`batx.kernels.polynomial.fit_counts`), so without bias at any number of counts. The covariance
    is the inverse of the information, times the dispersion, Σ (n − μ)²/μ over the degrees of freedom. A
    dispersion above 1 is either in the counts (the rates that BAT makes on board have 1.3 to 2) or a sign
    that the degree is too low. The criterion is Σ over bands of deviance/φ + (degree + 1) ln(bins), φ the
    dispersion at the highest degree, or 1.

    Examples
    --------
    >>> from batx.schema import build
    >>> counts = np.array([[10], [12], [9], [60], [41], [11], [10], [9]])
    >>> lc = build("lightcurve", {"time": np.arange(8) + 0.5, "energy": [50.0],
    ...     "time_bnds": (("time", "bnds"), np.column_stack([np.arange(8.0), np.arange(8) + 1.0])),
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "counts": (("time", "energy"), counts),
    ...     "exposure": np.ones(8), "fracexp": np.ones(8)}, {"statistic": "poisson", "weighting": "none"})
    >>> made = background(lc, on=(3, 5))
    >>> made.counts.values[3:5, 0].round(2), made.counts_err.values[3:5, 0].round(2)
    (array([10.23, 10.1 ]), array([1.33, 1.32]))
    """
    return _fitted(ds, off, on, degree, dispersion, t0)


def subtract_background(ds: xr.Dataset, background: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
    """Return a raw light curve without its background, the error of which is in the errors of the result.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, raw counts or rates.
    background
        Result of `batx.background`, of this curve or of another with the same bands and other bins.
    **options
        Those of `batx.background`, which is called if none is given.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve``, Gaussian: ``counts`` or ``rate``, as in `ds`, without background, and the error.
        ``background`` (count) is what was taken off; with ``background_design``,
        ``background_covariance`` and ``background_dispersion`` the errors of sums over bins and bands
        (`batx.rebin_time`, `batx.rebin_energy`) have the common part right. Other functions take the bins
        as independent.

    Raises
    ------
    KindError
        If `background` is no result of `batx.background`, or of other bands.
    ValueRangeError, EmptySelectionError, GtiError
        As `batx.background`.

    Warns
    -----
    BatxWarning
        If the background is negative in some bins.

    Notes
    -----
    Variance = φ max(n, μ) + d C d: n counts, μ background, φ dispersion, d design, C covariance. The counts
    of a bin are their own variance, but not below that of the background, which is there at least; a sum
    over bins is treated in the same way from its own n and μ. For bins that were fitted this is an upper
    limit: they and the polynomial vary together.

    Examples
    --------
    >>> from batx.schema import build
    >>> counts = np.array([[10], [12], [9], [60], [41], [11], [10], [9]])
    >>> lc = build("lightcurve", {"time": np.arange(8) + 0.5, "energy": [50.0],
    ...     "time_bnds": (("time", "bnds"), np.column_stack([np.arange(8.0), np.arange(8) + 1.0])),
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "counts": (("time", "energy"), counts),
    ...     "exposure": np.ones(8), "fracexp": np.ones(8)}, {"statistic": "poisson", "weighting": "none"})
    >>> import batx
    >>> net = batx.rebin_time(subtract_background(lc, on=(3, 5), degree=0), edges=[3, 5])
    >>> net.counts.values.round(2), net.counts_err.values.round(2)  # 101 - 61/3 and √(101 + 61/9)
    (array([[80.67]]), array([[10.38]]))
    """
    if background is None:
        background = _fitted(ds, **({"off": None} | options))
    elif options:
        raise ValueRangeError(
            f"subtract_background: found a background and {', '.join(options)}, expected one of the two"
        )
    if "background_coefficients" not in background.variables or "background" in background.variables:
        raise KindError("subtract_background: expected a result of batx.background")
    read_counts(ds, "subtract_background")  # for its checks
    curve = as_counts(ds, "subtract_background")
    found, expected = (one["energy_bnds"].values for one in (background, curve))
    if not np.array_equal(found, expected):
        raise KindError(
            f"subtract_background: found a background of the bands {found.tolist()}, expected those of the "
            f"curve, {expected.tolist()} keV; sum bands before the fit (ds.bat.rebin_energy)"
        )
    made = _with_polynomial(curve, {name: background[name].variable for name in _MODEL}, background.attrs)
    net, taken = (curve["counts"] - made["counts"]).values, made["counts"].values
    made = made.assign(
        {
            name: (("time", "energy"), values, {"units": "count"})
            for name, values in (("counts", net), ("background", taken))
        }
    )
    return _finished(made, "counts" in ds, "subtract_background")


def ramps(
    ds: xr.Dataset, *, limit: Any = 1e-3, length: Any = 64.0, shortest: Any = 100.0, sure: float = 3.0
) -> xr.Dataset:
    """Return the intervals in which the background of a raw light curve rises or falls steeply.

    Near the South Atlantic Anomaly and in particle belts the rates of BAT double within minutes; elsewhere in
    an orbit they change by at most 5e-4 of themselves in a second. In ramps polynomials of low degree do not
    fit, and the noise on long timescales is not that of counts.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, raw; all its bands are summed.
    limit
        Steepest change that is no ramp, as a fraction of the rate, in 1/s.
    length
        Time (s) over which the slope is measured; shorter excesses, of less than half of it, do not count.
    shortest
        Ramps shorter than this (s) are left out: long bursts. Those no more than `length` apart are joined.
    sure
        The slope is larger than this many times its Poisson error.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``: `start` and `stop` of the ramps; `batx.gti_complement` gives the quiet time.

    Raises
    ------
    ValueRangeError
        If an argument is not positive, or as `batx.background`.
    KindError, EmptySelectionError
        As `batx.background`.

    Notes
    -----
    In steps of a quarter of `length` (whole bins): level = median of five steps, slope between the levels two
    steps before and after (`batx.kernels.polynomial.steady_slope`). A step at most half exposed is a gap,
    which nothing is measured across.

    Examples
    --------
    >>> from batx.schema import build
    >>> edges = np.arange(601.0)
    >>> rate = 5000 + np.clip(edges[:-1] - 200, 0, 200) * 20
    >>> lc = build("lightcurve", {"time": edges[:-1] + 0.5, "energy": [182.5],
    ...     "time_bnds": (("time", "bnds"), np.column_stack([edges[:-1], edges[1:]])),
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "exposure": np.ones(600),
    ...     "counts": (("time", "energy"), rate[:, None]), "fracexp": np.ones(600)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> found = ramps(lc)
    >>> found.start.values, found.stop.values
    (array([192.]), array([400.]))
    """
    sizes = {"limit": (limit, "1/s"), "length": (length, "s"), "shortest": (shortest, "s")}
    values = {name: float(to_value(value, unit, name)) for name, (value, unit) in sizes.items()}
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueRangeError(f"{name}: found {value}, expected a positive number")
    bins = read_counts(ds, "ramps")
    step = max(round(0.25 * values["length"] / float(np.median(bins.width))), 1) * float(
        np.median(bins.width)
    )
    number = np.floor((bins.lower + 0.5 * bins.width - bins.lower[0]) / step).astype(int)
    used, row = np.unique(number, return_inverse=True)
    counts, exposure = (np.bincount(row, one) for one in (bins.values.sum(axis=1), bins.exposure))
    full = exposure > 0.5 * step
    used, counts, exposure = used[full], counts[full], exposure[full]
    steep = np.zeros(used.size, dtype=bool)
    for rows in np.split(np.arange(used.size), np.flatnonzero(np.diff(used) > 1) + 1):
        if rows.size > 4:
            level, slope = steady_slope(counts[rows] / exposure[rows], step)
            error = np.sqrt(2.0 * np.maximum(level, 1.0 / step) / (5.0 * step)) / (4.0 * step)
            steep[rows] = (np.abs(slope) > values["limit"] * level) & (np.abs(slope) > sure * error)
    start = bins.lower[0] + used[steep] * step
    start, stop = union(start, start + step, max_gap=values["length"])
    kept = stop - start >= values["shortest"]
    attrs = kept_attrs(ds.attrs, *ORIGIN, "provenance", "history")
    return build("gti", {"start": start[kept], "stop": stop[kept]}, attrs)


def _fitted(
    ds: xr.Dataset,
    off: Any,
    on: Any = None,
    degree: int | str = 1,
    dispersion: float | str = "auto",
    t0: Any = None,
) -> xr.Dataset:
    """Return the background (see `background`)."""
    bins = read_counts(ds, "background")
    chosen = _off_bins(bins, ds, off, on, t0)
    lower, width, counts = bins.lower[chosen], bins.width[chosen], bins.values[chosen]
    origin, scale = 0.5 * (lower[-1] + width[-1] + lower[0]), 0.5 * (lower[-1] + width[-1] - lower[0])
    terms = (HIGHEST_DEGREE if degree == "auto" else _checked_degree(degree)) + 1
    design = legendre_means(lower, width, origin, scale, terms - 1) * bins.exposure[chosen, np.newaxis]
    if degree == "auto":
        terms = _best_terms(design, counts, dispersion)
    fits = _fits(design[:, :terms], counts)
    if fits is None:
        raise ValueRangeError(
            f"background: no polynomial of degree {terms - 1} can be fitted to {counts.shape[0]} bins that "
            f"have {counts.sum(axis=0).astype(int).tolist()} counts in the bands; lower the degree, give "
            "longer intervals, or leave out bands without counts"
        )
    dof = counts.shape[0] - terms
    spread = np.array([_dispersion(fit, dof, dispersion) for fit in fits])
    covariance = np.stack([fit.covariance for fit in fits]) * spread[:, np.newaxis, np.newaxis]
    model = {
        "background_coefficients": xr.Variable(("energy", "term"), [fit.coefficients for fit in fits]),
        "background_covariance": xr.Variable(("energy", "term", "term2"), covariance),
        "background_dispersion": xr.Variable(("energy",), spread),
    }
    place = {"background_origin": float(origin), "background_scale": float(scale)}
    used = np.zeros(ds.sizes["time"] if "time" in ds.dims else 1, dtype=bool)
    used[bins.rows[chosen]] = True
    made = _with_polynomial(as_counts(ds, "background"), model, place).assign(
        off=("time", used, {"long_name": "whether the bin was fitted"}),
        deviance=("energy", [fit.deviance for fit in fits], {"units": "1"}),
        pearson=("energy", [fit.pearson for fit in fits], {"units": "1"}),
        dof=((), dof, {"units": "1"}),
    )
    if negative := int(np.sum((made["counts"].values < 0).any(axis=1))):
        warn(
            f"background: the polynomial of degree {terms - 1} is negative in {negative} bin(s); lower the "
            "degree, or give off-burst intervals near these bins"
        )
    return _finished(made.drop_vars("totcounts", errors="ignore"), "counts" in ds, "background")


def _off_bins(bins: Bins, ds: xr.Dataset, off: Any, on: Any, t0: Any) -> np.ndarray:
    """Return which bins are fitted: exposed, within `off` and outside of `on`."""
    upper = bins.lower + bins.width
    chosen = bins.exposure > 0
    if off is not None:
        inside = overlap(bins.lower, upper, *intervals_of(off, ds, t0, "off"))
        chosen &= inside > (1 - INSIDE) * bins.width
    if on is not None:
        chosen &= overlap(bins.lower, upper, *intervals_of(on, ds, t0, "on")) < INSIDE * bins.width
    if not chosen.any():
        raise EmptySelectionError(
            f"background: none of the {bins.lower.size} bins from {bins.lower[0]:.3f} to {upper[-1]:.3f} is "
            "within off and outside of on; these are MET, or relative to t0"
        )
    return np.flatnonzero(chosen)


def _checked_degree(degree: int | str) -> int:
    if isinstance(degree, str) or int(degree) != degree or not 0 <= degree <= 20:
        raise ValueRangeError(f"degree: found {degree!r}, expected 'auto' or a whole number from 0 to 20")
    return int(degree)


def _fits(design: np.ndarray, counts: np.ndarray) -> list[Fit] | None:
    """Return the polynomial of each band; `None` if one of them has none."""
    if counts.shape[0] <= design.shape[1]:
        return None
    made = [fit_counts(design, band) for band in counts.T]
    return None if any(fit is None for fit in made) else [fit for fit in made if fit is not None]


def _dispersion(fit: Fit, dof: int, dispersion: float | str) -> float:
    """Return the dispersion of a band: as given, or measured where it is surely above 1."""
    if dispersion != "auto":
        if isinstance(dispersion, str) or not (np.isfinite(dispersion) and dispersion > 0):
            raise ValueRangeError(f"dispersion: found {dispersion!r}, expected 'auto' or a positive number")
        return float(dispersion)
    error = np.sqrt(np.sum(2.0 + 1.0 / fit.expected)) / dof
    measured = fit.pearson / dof
    return float(measured) if measured > 1.0 + SURE * error else 1.0


def _best_terms(design: np.ndarray, counts: np.ndarray, dispersion: float | str) -> int:
    """Return the number of terms of least information criterion, summed over bands."""
    tried = [(terms, _fits(design[:, :terms], counts)) for terms in range(1, design.shape[1] + 1)]
    made = [(terms, fits) for terms, fits in tried if fits is not None]
    if not made:
        return 1
    most, best = made[-1]
    spread = [_dispersion(fit, counts.shape[0] - most, dispersion) for fit in best]

    def criterion(item: tuple[int, list[Fit]]) -> float:
        terms, fits = item
        price = terms * np.log(counts.shape[0])
        return sum(fit.deviance / one + price for fit, one in zip(fits, spread, strict=True))

    return min(made, key=criterion)[0]


def _with_polynomial(curve: xr.Dataset, model: dict[str, xr.Variable], place: dict[str, Any]) -> xr.Dataset:
    """Return a curve with the polynomial in place of its counts, as it is in each of its bins."""
    bounds, exposure = curve["time_bnds"].values, curve["exposure"].values
    origin, scale = (place[f"background_{name}"] for name in ("origin", "scale"))
    coefficients = model["background_coefficients"].values
    width, degree = bounds[:, 1] - bounds[:, 0], coefficients.shape[1] - 1
    design = legendre_means(bounds[:, 0], width, origin, scale, degree) * exposure[:, np.newaxis]
    kept = ["time", "time_bnds", "energy", "energy_bnds", "exposure", "fracexp", "totcounts", *GOOD_TIME]
    variables = {name: curve[name].variable for name in kept if name in curve.variables}
    variables |= {"counts": xr.Variable(("time", "energy"), design @ coefficients.T)}
    variables |= {"background_design": xr.Variable(("time", "term"), design)} | model
    attrs = curve.attrs | {
        f"background_{name}": float(place[f"background_{name}"]) for name in ("origin", "scale")
    }
    return build("lightcurve", variables, attrs | {"statistic": "gaussian", "weighting": "none"})


def _finished(made: xr.Dataset, counted: bool, step: str) -> xr.Dataset:
    """Return counts, or rates where the curve has these, with errors and history."""
    made = with_background_errors(made)
    if not counted:
        live = made["exposure"].where(made["exposure"] > 0)
        rate = {
            f"rate{end}": (made[f"counts{end}"] / live).assign_attrs(units="count/s") for end in ("", "_err")
        }
        made = made.drop_vars(["counts", "counts_err"]).assign(rate)
    made.attrs = with_history(made.attrs, f"batx.{step}: degree {made.sizes['term'] - 1}")
    return made
