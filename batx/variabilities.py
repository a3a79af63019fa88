"""How variable a burst is: the power of its fast variations, and its variance beyond the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.band_curves import Bands, burst_span, cut, read_bands, result_attrs, without_background
from batx.errors import EmptySelectionError, ValueRangeError
from batx.grids import warn
from batx.kernels import fluctuations as kernel
from batx.timing import bayesian_blocks
from batx.units import to_value

__all__ = ["variability"]

NAMES = (
    "variability",
    "variability_err",
    "smoothing_time",
    "excess_variance",
    "excess_variance_err",
    "fractional_rms",
    "fractional_rms_err",
)
#: a band whose sum is below this many times its noise has no signal
SIGNIFICANT = 3.0
#: bins are of one width if none departs from the grid by more than this part of it
UNIFORM = 0.02


def variability(
    ds: xr.Dataset,
    *,
    interval: Any = None,
    background: bool = False,
    fraction: float = 0.45,
    smoothing: Any = None,
) -> xr.Dataset:
    """Return how variable a burst is in each band, beyond its noise.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with bins of one width without gaps.
    interval
        Start and stop (MET, dates, Quantities), or the result of `batx.duration` for its T100. By default
        the burst that `batx.bayesian_blocks` finds in all bands.
    background
        Subtract, in each band, a line through the mean rates before and after the interval. Counts need it.
    fraction
        Part of the fluence that defines the time of smoothing.
    smoothing
        Time of smoothing (s) itself.

    Returns
    -------
    xarray.Dataset
        Along ``energy``: ``variability``, ``variability_err``: the part of the power of the curve that is
        faster than a moving mean over ``smoothing_time`` (s), between 0 and 1 but for noise;
        ``excess_variance``, ``excess_variance_err``: variance of the bins less that of their noise, over the
        squared mean; ``fractional_rms``, ``fractional_rms_err``: its root, NaN where it is negative. Scalars
        ``start``, ``stop`` (MET s). Bands without signal above their noise are NaN, and so is an error whose
        estimate is not positive. The data are read at once.

    Raises
    ------
    KindError
        If there are several sources.
    MissingVariableError
        If the light curve lacks bounds or exposure.
    EmptySelectionError
        If no burst is found and no `interval` given, it holds fewer than ten bins, or no band has a signal
        above its noise.
    ValueRangeError
        If bins have different widths or gaps, a band is constant, or an argument is out of range; or as
        `batx.bayesian_blocks`.

    Warns
    -----
    BatxWarning
        If some of the bands have no signal above their noise.

    Notes
    -----
    ``variability`` is that of Reichart et al. 2001, ApJ 552, 57, in the frame of the observer (without their
    scaling of times with redshift): Σ [(C − S)² − noise] / Σ [C² − noise] over the bins of the interval,
    with S the mean over a window as long as the brightest parts of the burst that hold `fraction` of its
    fluence. That time is taken from the blocks of each band: the brightest of single bins are those of the
    highest noise. At a signal-to-noise of 50 it is then right to 1 %, at 10 it is too long by up to a half,
    which changes the result by about a quarter of its error. Errors are of the noise at this window, and of
    the noise only: they do not say how another burst of the same process would differ. Formulae: algorithms
    2.12.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> t = np.arange(100) + 0.5
    >>> rate = np.exp(-0.5 * ((t - 50.0) / 8.0) ** 2) * (1.0 + 0.5 * np.sin(2.0 * t))
    >>> lc = build("lightcurve", {"time": t, "time_bnds": (("time", "bnds"), t[:, None] + [-0.5, 0.5]),
    ...     "energy": [50.0], "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
    ...     "rate": (("time", "energy"), rate[:, None]),
    ...     "rate_err": (("time", "energy"), np.full((100, 1), 0.05)),
    ...     "exposure": np.ones(100), "fracexp": np.ones(100)},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> float(variability(lc, smoothing=8.0).variability.round(2).squeeze())
    0.09
    """
    if not 0.0 < fraction < 1.0:
        raise ValueRangeError(f"fraction: found {fraction}, expected a part of the fluence between 0 and 1")
    bands = read_bands(ds, "variability")
    start, stop = burst_span(ds, interval, "variability")
    if background:
        bands = without_background(bands, start, stop, "variability")
    burst = cut(bands, start, stop, 10, "variability")
    _require_uniform(bands)
    step = float(np.median(bands.width))
    inside = (bands.centre >= start) & (bands.centre < stop)
    rows = []
    for k in range(len(bands.energies)):
        if not _signal(burst, k):
            rows.append((np.nan,) * len(NAMES))
            continue
        if smoothing is None:
            time = _smoothing_time(ds, bands, k, (start, stop), fraction)
        else:
            time = float(to_value(smoothing, "s", "smoothing"))
            if not time > 0:
                raise ValueRangeError(f"smoothing: found {smoothing}, expected a positive time")
        fast = kernel.fast_power(bands.rate[:, k], bands.error[:, k] ** 2, inside, time / step)
        excess = kernel.excess_variance(burst.rate[:, k], burst.error[:, k])
        rows.append((*fast, time, *excess, *_root(*excess)))
    _report_faint(bands, np.array(rows))
    return _dataset(ds, bands, np.array(rows), (start, stop))


def _require_uniform(bands: Bands) -> None:
    step = float(np.median(bands.width))
    apart = np.abs(np.diff(bands.lower) - step)
    if np.any(apart > UNIFORM * step) or np.any(np.abs(bands.width - step) > UNIFORM * step):
        raise ValueRangeError(
            "variability: found bins of different widths or with gaps between them, expected one width and "
            "no gaps; select a stretch without gaps (isel) or re-bin (rebin_time(dt=…))"
        )


def _signal(burst: Bands, k: int) -> bool:
    """Return whether a band, which must not be constant, has a signal above its noise."""
    rate, error = burst.rate[:, k], burst.error[:, k]
    if np.ptp(rate) == 0:
        low, high = burst.energies[k]
        raise ValueRangeError(f"variability: found a constant rate in {low:g}-{high:g} keV")
    significant = rate.sum() > SIGNIFICANT * np.sqrt(np.sum(error**2))
    return bool(significant and np.sum(rate**2 - error**2) > 0)


def _report_faint(bands: Bands, rows: np.ndarray) -> None:
    """Warn of bands without signal; raise if there is none with."""
    faint = np.isnan(rows[:, 0])
    if not faint.any():
        return
    names = ", ".join(f"{low:g}-{high:g} keV" for low, high in bands.energies[faint])
    text = f"variability: found no signal above {SIGNIFICANT:g} times its noise in {names}"
    if faint.all():
        raise EmptySelectionError(f"{text}; take another interval, or background=True for counts")
    warn(f"{text}; the values of these bands are NaN")


def _smoothing_time(
    ds: xr.Dataset, bands: Bands, k: int, span: tuple[float, float], fraction: float
) -> float:
    """Return the least time that holds a fraction of the fluence in the blocks of one band."""
    bounds = np.asarray(bayesian_blocks(ds.isel(energy=[k]))["time_bnds"].values)
    edges = np.unique(np.clip(np.append(bounds[:, 0], bounds[-1, 1]), *span))
    width = np.diff(edges)
    block = np.searchsorted(edges, bands.centre, side="right") - 1
    inside = (block >= 0) & (block < width.size)
    fluence = np.bincount(block[inside], (bands.rate[:, k] * bands.width)[inside], minlength=width.size)
    return kernel.shortest_part(fluence / width, width, fraction)


def _root(value: float, error: float) -> tuple[float, float]:
    """Return the fractional rms and its error, NaN where the variance is not positive."""
    if not value > 0:
        return np.nan, np.nan
    return float(np.sqrt(value)), float(0.5 * error / np.sqrt(value))


def _dataset(ds: xr.Dataset, bands: Bands, rows: np.ndarray, span: tuple[float, float]) -> xr.Dataset:
    """Return the values (band, 7) as variables."""
    one, s, kev = {"units": "1"}, {"units": "s"}, {"units": "keV"}
    variables: dict[str, Any] = {
        name: ("energy", rows[:, k], s if name == "smoothing_time" else one) for k, name in enumerate(NAMES)
    }
    variables |= {"start": ((), span[0], s), "stop": ((), span[1], s)}
    coords = {
        "energy": ("energy", bands.energies.mean(axis=1), {**kev, "bounds": "energy_bnds"}),
        "energy_bnds": (("energy", "bnds"), bands.energies, kev),
    }
    return xr.Dataset(variables, coords, result_attrs(ds))
