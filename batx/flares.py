"""Good time without flares: where the rate of a light curve is low enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, MissingVariableError, UnitsError, ValueRangeError
from batx.intervals import gti_intersection
from batx.kernels import gti as kernel
from batx.schema import build, require_kind
from batx.schema.attributes import ORIGIN, kept_attrs

__all__ = ["flare_gti"]


def flare_gti(
    curve: xr.Dataset, threshold: Any, *, energy: int | None = None, min_exposure: float = 0.0
) -> xr.Dataset:
    """Return the good time in which the rate of a light curve is at most a threshold.

    Parameters
    ----------
    curve
        Kind ``lightcurve``: of the background at high energies, such as single events of 10 to 12 keV of the
        whole field of EPIC-pn.
    threshold
        Highest rate in count/s; a plain number or a Quantity.
    energy
        Number of the band, if there are several.
    min_exposure
        Least good time that must be left, s.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``: neighbouring good bins as one interval, within the good time of the curve if it states
        any; ``attrs["threshold"]``, ``attrs["exposure"]`` and ``attrs["lost"]`` (s of bins that were
        exposed and are left out).

    Raises
    ------
    KindError, MissingVariableError
        If it is no light curve with rates, or has several bands and `energy` is not given.
    UnitsError, ValueRangeError
        If the threshold is not above 0, or no rate.
    EmptySelectionError
        If no more than `min_exposure` is left.

    Notes
    -----
    As ``tabgtigen`` with ``expression="RATE<=threshold"``: a bin is good or not as a whole; bins without
    exposure are not good. Counts are divided by the exposure of their bin.

    Examples
    --------
    >>> edges = np.arange(5.0) * 10
    >>> curve = build("lightcurve", {"time": edges[:-1] + 5, "energy": [11.0],
    ...     "time_bnds": np.column_stack([edges[:-1], edges[1:]]), "energy_bnds": [[10.0, 12.0]],
    ...     "counts": (("time", "energy"), [[2], [3], [40], [2]]),
    ...     "exposure": np.full(4, 10.0), "fracexp": np.ones(4)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> gti = flare_gti(curve, 0.4)
    >>> gti.start.values, gti.stop.values
    (array([ 0., 30.]), array([20., 40.]))
    """
    require_kind(curve, "lightcurve", operation="flare_gti")
    limit = _limit(threshold)
    rate = _rate(curve, energy)
    bounds = curve["time_bnds"].values.reshape(-1, 2).astype(np.float64)
    exposure = np.broadcast_to(curve["exposure"].values.astype(np.float64), len(bounds))
    exposed = np.isfinite(rate) & (exposure > 0)
    kept = exposed & (rate <= limit)
    start, stop = kernel.union(bounds[kept, 0], bounds[kept, 1], _touching(bounds))
    made = build("gti", {"start": start, "stop": stop}, kept_attrs(curve.attrs, *ORIGIN))
    if "gti_start" in curve.variables and start.size:
        made = gti_intersection(made, curve)
    left = float((made["stop"] - made["start"]).sum())
    if not left > min_exposure:
        lowest = float(np.min(rate[exposed])) if exposed.any() else float("nan")
        raise EmptySelectionError(
            f"flare_gti: {left:g} s are left below {limit:g} count/s, expected more than {min_exposure:g} s; "
            f"the lowest rate is {lowest:.3g} count/s: raise the threshold"
        )
    return made.assign_attrs(
        threshold=limit,
        exposure=left,
        lost=float(exposure[exposed & ~kept].sum()),
        history=f"batx.flare_gti: rate <= {limit:g} count/s, {int(kept.sum())} of {int(exposed.sum())} bins",
    )


def _limit(threshold: Any) -> float:
    value = threshold
    if hasattr(threshold, "to_value"):
        from astropy import units

        try:
            value = threshold.to_value(units.count / units.s)
        except units.UnitConversionError:
            try:
                value = threshold.to_value(1 / units.s)
            except units.UnitConversionError:
                raise UnitsError(f"threshold: found {threshold}, expected count/s") from None
    try:
        limit = float(value)
    except (TypeError, ValueError):
        raise ValueRangeError(f"threshold: found {threshold!r}, expected a rate in count/s") from None
    if not (np.isfinite(limit) and limit > 0):
        raise ValueRangeError(f"threshold: found {limit}, expected a rate above 0 count/s")
    return limit


def _rate(curve: xr.Dataset, energy: int | None) -> np.ndarray:
    """Return the rate of each bin in one band."""
    name = "rate" if "rate" in curve else "counts"
    values = curve[name]
    if "source" in values.dims:
        raise MissingVariableError("flare_gti: found several sources; select one (isel)")
    if "energy" in values.dims:
        if values.sizes["energy"] > 1 and energy is None:
            raise MissingVariableError(
                f"flare_gti: found {values.sizes['energy']} bands; give the number of one, energy="
            )
        if energy is not None and not -values.sizes["energy"] <= energy < values.sizes["energy"]:
            raise ValueRangeError(f"energy: found {energy}, expected one of {values.sizes['energy']} bands")
        values = values.isel(energy=energy or 0)
    if name == "rate":
        return values.values.astype(np.float64)
    exposure = curve["exposure"].values.astype(np.float64)
    return values.values / np.where(exposure > 0, exposure, np.nan)


def _touching(bounds: np.ndarray) -> float:
    """Return a gap that is one of rounding: a thousandth of the shortest bin."""
    return 1e-3 * float((bounds[:, 1] - bounds[:, 0]).min())
