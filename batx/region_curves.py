"""Light curves of a region of the sky from the event lists of X-ray telescopes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from batx.count_images import in_region
from batx.errors import EmptySelectionError, ValueRangeError
from batx.grids import TimeBins, bounds_of, energy_bounds, explicit_bins, good_time, uniform_bins
from batx.image_regions import exposed_area, seen_fraction
from batx.imaging_telescopes import channels_of, live_fraction, require_imaging, sky_of, telescope_of
from batx.kernels.gti import membership
from batx.kernels.limits import credible_limit
from batx.positions import sky_position
from batx.products import product_attrs, time_variables
from batx.regions import as_regions, in_pixels, pixel_area
from batx.schema import build

__all__ = ["count_limit", "region_lightcurve"]

#: more is a probability of 1 in double precision
_MOST_SIGMA = 8.0


def region_lightcurve(
    events: xr.Dataset,
    region: Any,
    background: Any = None,
    *,
    dt: Any = None,
    time: Any = None,
    energy: Any = None,
    channels: Any = None,
    scale: float | None = None,
    exposure_map: xr.Dataset | None = None,
    center: Any = None,
    tstart: Any = None,
    tstop: Any = None,
    t0: Any = None,
    gti: Any = None,
    min_fracexp: float = 0.1,
) -> xr.Dataset:
    """Return the light curve of a region of an event list, with the background of another region taken off.

    Parameters
    ----------
    events
        Kind ``events`` with ``x``, ``y`` and ``pi``, of a telescope whose channels are known
        (`batx.imaging_telescopes`).
    region, background
        Regions, as for `batx.in_region`. Without a background the curve is of counts.
    dt, time
        Width of uniform bins (s), or bins; one of the two, as for `batx.lightcurve`.
    energy
        Band edges in keV, or (lower, upper) pairs; by default 0.3 to 10 keV, for NuSTAR 3 to 79 keV.
    channels
        Edges of bands in PI channels instead: each the first of its band, at last the one behind (those of
        ``channel_bins(..., axis="channel")``).
    scale
        Area of `region` over that of `background`; by default that of their shapes, or of what `exposure_map`
        has of them.
    exposure_map
        Exposure map of the events (kind ``image``, s; that of ``xrtexpomap``), for a background that is
        partly outside of the field or over bad columns.
    center
        (ra, dec) of a point source in degrees: the rate is divided by the share of its light and exposure
        that `region` has in `exposure_map` (`batx.image_regions.seen_fraction`), and so is that of the whole
        source on axis, as far as the map tells. Needs `background`, without which there are no rates.
    tstart, tstop, t0, gti
        As for `batx.lightcurve`.
    min_fracexp
        Bins with no more than this fraction of good time are left out; with 0 all are kept, with NaN rates
        where there is no good time.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve``: ``counts`` (time, energy), or with a background ``rate`` and ``rate_err`` in
        count/s; ``exposure``, ``fracexp``.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError, PositionError
        As `batx.in_region` and `batx.lightcurve`; if both or none of `dt` and `time` are given, or both
        `energy` and `channels`.
    GtiError, EmptySelectionError
        If good time is unknown, or no bin has any; if the map has nothing of a region.

    Notes
    -----
    Rate = (C - s B) / exposure with the error √(C + s² B) / exposure, s the ratio of the areas. Exposure and
    ``fracexp`` are live time: good time times the mean fraction of it that the header of the events states
    (``DEADC``; of NuSTAR down to 0.5 for bright sources). Without `center` the rate is not corrected for
    vignetting, the wings of the point-spread function and bad pixels; with it by one number for all bins,
    where ``xrtlccorr`` follows the attitude.

    Examples
    --------
    >>> from batx.regions import circle
    >>> events = build("events", {"time": [0.5, 1.5, 1.6], "x": ("event", [5.0, 5.0, 50.0]),
    ...     "y": ("event", [5.0] * 3), "pi": [100, 100, 100], "gti_start": [0.0], "gti_stop": [2.0]},
    ...     {"telescope": "SWIFT", "instrument": "XRT"})
    >>> region_lightcurve(events, circle(5, 5, 9, frame="physical"), dt=1.0).counts.values
    array([[1],
           [1]])
    """
    require_imaging(events, "region_lightcurve")
    if (dt is None) == (time is None):
        raise ValueRangeError("region_lightcurve: give one of dt and time")
    ranges, bounds = _bands(events, energy, channels)
    good = good_time(events, gti, tstart, tstop, t0)
    bins = (
        uniform_bins(dt, good, None)
        if dt is not None
        else explicit_bins(bounds_of(time, events.attrs, t0), good)
    )
    bins = bins.take(bins.exposed(min_fracexp))
    if not bins.lower.size:
        raise EmptySelectionError(f"region_lightcurve: no bin has a good fraction above {min_fracexp}")
    counts = _counts(events, in_region(events, region).values, bins, ranges, good)
    live, on_time = live_fraction(events), float(bins.exposure.sum())
    bins = replace(bins, exposure=live * bins.exposure, fracexp=live * bins.fracexp)
    variables: dict[str, Any] = {
        **time_variables(bins, good),
        "energy": bounds.mean(axis=1),
        "energy_bnds": bounds,
        "fracexp": bins.fracexp,
    }
    attrs = product_attrs(events, "region_lightcurve", bins, weighted=False)
    attrs |= {"ontime": on_time, "exposure": live * on_time, "livetime": live * on_time}
    attrs |= {"deadc": live, "deadapp": 1}
    if background is None:
        if center is not None:
            raise ValueRangeError(
                "region_lightcurve: found center without background; counts are as they were, only rates are "
                "those of the whole source"
            )
        variables["counts"] = (("time", "energy"), counts, {"units": "count"})
        return build("lightcurve", variables, attrs)
    if scale is None:
        scale = _area_ratio(events, region, background, exposure_map)
    if not (np.isfinite(scale) and scale > 0):
        raise ValueRangeError(f"scale: found {scale}, expected a ratio of areas above 0")
    behind = _counts(events, in_region(events, background).values, bins, ranges, good)
    seen = _seen(exposure_map, region, center)
    exposure = seen * np.where(bins.exposure > 0, bins.exposure, np.nan)[:, np.newaxis]
    variables["rate"] = (("time", "energy"), (counts - scale * behind) / exposure, {"units": "count/s"})
    error = np.sqrt(counts + scale**2 * behind) / exposure
    variables["rate_err"] = (("time", "energy"), error, {"units": "count/s"})
    attrs |= {"statistic": "gaussian", "background_scale": float(scale), "seen_fraction": seen}
    return build("lightcurve", variables, attrs)


def _area_ratio(events: xr.Dataset, region: Any, background: Any, exposure_map: xr.Dataset | None) -> float:
    """Return the area of a region over that of the background, as exposed if there is an exposure map."""
    if exposure_map is None:
        source, behind = (
            pixel_area(in_pixels(as_regions(one), sky_of(events))) for one in (region, background)
        )
        return source / behind
    source, behind = (exposed_area(exposure_map, one) for one in (region, background))
    for name, area in (("source", source), ("background", behind)):
        if not area > 0:
            raise EmptySelectionError(
                f"region_lightcurve: the region of the {name} has no exposure; it is outside of the field"
            )
    return source / behind


def _seen(exposure_map: xr.Dataset | None, region: Any, center: Any) -> float:
    """Return by what rates are divided: 1 without a place of the source."""
    if center is None:
        return 1.0
    if exposure_map is None:
        raise ValueRangeError("region_lightcurve: center needs exposure_map")
    ra, dec = sky_position(*((center, None) if hasattr(center, "icrs") else center))
    seen = seen_fraction(exposure_map, region, float(ra.squeeze()), float(dec.squeeze()))
    if not seen > 0:
        raise EmptySelectionError("region_lightcurve: nothing of the source was seen in this region")
    return seen


def count_limit(counts: float, background: float, sigma: float = 3.0) -> float:
    """Return the greatest number of counts that a source may have had, over a background that is known.

    Parameters
    ----------
    counts
        All counts in the region.
    background
        Those expected from the background.
    sigma
        Confidence as that of a Gaussian, one-sided: 3 means 99.865 %; at most 8.

    Returns
    -------
    float

    Raises
    ------
    ValueRangeError
        If a number is negative or not finite, or `sigma` too great.

    Notes
    -----
    Posterior of a Poisson mean, flat from 0 on: Kraft, Burrows & Nousek 1991, ApJ 374, 344.

    Examples
    --------
    >>> round(count_limit(0, 2.0), 2)  # -ln(1 - 0.99865)
    6.61
    """
    from scipy.special import ndtr

    if not (0 <= counts < np.inf and 0 <= background < np.inf):
        raise ValueRangeError(f"count_limit: found {counts} and {background} counts, expected none below 0")
    if not 0 < sigma <= _MOST_SIGMA:
        raise ValueRangeError(f"sigma: found {sigma}, expected more than 0 and at most {_MOST_SIGMA:g}")

    def statistic(amplitude: float) -> float:
        mean = amplitude + background
        if mean <= 0:
            return 0.0 if counts == 0 and mean == 0 else 1e30
        return 2.0 * (mean - counts * float(np.log(mean)))

    return credible_limit(statistic, max(counts - background, 0.0), (counts + 1.0) ** 0.5, float(ndtr(sigma)))


def _bands(events: xr.Dataset, energy: Any, channels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last PI channel of each band, and its energies."""
    if channels is not None:
        if energy is not None:
            raise ValueRangeError("region_lightcurve: found energy and channels, expected one of them")
        edges = np.asarray(channels)
        if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all() or edges[0] < 0:
            raise ValueRangeError(f"channels: found {channels}, expected increasing edges, at least two")
        telescope = telescope_of(events.attrs)
        ranges = np.stack([edges[:-1], edges[1:] - 1], axis=-1).astype(int)
        low, high = (telescope.zero + telescope.step * part for part in (edges[:-1], edges[1:]))
        return ranges, np.stack([low, high], axis=-1).astype(np.float64)
    if energy is None:
        energy = (3.0, 79.0) if telescope_of(events.attrs).zero > 0 else (0.3, 10.0)
    return channels_of(events, energy), np.stack(energy_bounds(energy), axis=-1)


def _counts(
    events: xr.Dataset,
    held: np.ndarray,
    bins: TimeBins,
    ranges: np.ndarray,
    good: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return the counts of the chosen events in bins (time) of good time and bands."""
    when, pi = events["time"].values[held], events["pi"].values[held]
    inside = membership(when, *good)
    when, pi = when[inside], pi[inside]
    place = np.searchsorted(bins.first, when, side="right") - 1
    used = (place >= 0) & (when < bins.end[np.maximum(place, 0)])
    made = [
        np.bincount(place[used & (pi >= first) & (pi <= last)], minlength=bins.lower.size)
        for first, last in ranges
    ]
    return np.stack(made, axis=-1)
