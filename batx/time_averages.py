"""Rates of many pointings averaged over groups of them: weeks, months, years, any bins or unions of bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, MissingVariableError, RebinError, ValueRangeError
from batx.grids import energy_bounds
from batx.kernels.gti import union
from batx.schema import KINDS, build, require_kind
from batx.schema.attributes import with_history
from batx.schema.axes import with_axes
from batx.time_groups import TimeGroup, time_groups

__all__ = ["average_times", "grouped_sums", "one_source", "pointing_groups", "pointing_weights"]

#: keV by which edges of bands may differ
_SAME_EDGE = 0.02
_CARRIED = ("name", "ra", "dec", "catnum")


def average_times(rates: xr.Dataset, time_bins: Any = None, *, energy: Any = None) -> xr.Dataset:
    """Return the light curve of mean rates over groups of pointings, each weighted by the inverse variance.

    Parameters
    ----------
    rates
        Kind ``lightcurve`` of rates, a bin for each pointing, as of `batx.survey_rates`; a pointing belongs
        where it starts, and is never split.
    time_bins
        Groups: ``"month"``, ``"year"`` (UTC), a width (s), edges, pairs of start and stop, a list of such
        pairs (unions), or a mapping from name to pairs. By default every pointing stays on its own.
    energy
        Bands, as edges or pairs (keV) that are edges of the bands of `rates`; the values are summed. By
        default the bands as they are.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve``: ``rate``, ``rate_err``, ``noise`` and ``snr`` (rate / noise) with the dimensions
        of `rates`; ``exposure`` of the pointings in which any of the sources was seen, ``n_pointings``, and
        with several sources ``source_exposure`` of each; ``group``, the name. Groups of a width and of the
        calendar are there where a pointing starts. NaN where a source was not seen.

    Raises
    ------
    KindError, MissingVariableError
        If `rates` is no light curve of rates with errors.
    RebinError
        If an edge in energy is not one of `rates`, or bands between are missing.
    ValueRangeError
        If the groups are not as described.
    EmptySelectionError
        If there is no pointing, or none is in any group.

    Notes
    -----
    With σ the noise (``rate_err`` where there is none), over the pointings of a group::

        rate = Σ r/σ² / Σ 1/σ²     noise = (Σ 1/σ²)^-1/2     rate_err = (Σ ε²/σ⁴)^1/2 / Σ 1/σ²

    for each band on its own; bands are summed first, r = Σ r_e and σ² = Σ σ_e², so that a pointing without
    one of the bands adds nothing to their sum.

    Examples
    --------
    >>> rates = build("lightcurve", {"time": [5.0, 15.0], "time_bnds": [[0, 10], [10, 20]],
    ...     "energy": [17.0, 22.0], "energy_bnds": [[14, 20], [20, 24]], "exposure": [10.0, 10.0],
    ...     "fracexp": [1.0, 1.0], "rate": (("time", "energy"), [[1.0, 2.0], [3.0, 4.0]]),
    ...     "rate_err": (("time", "energy"), [[1.0, 1.0], [1.0, 0.5]])},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> mean = average_times(rates, [0.0, 20.0])
    >>> mean.rate.values[0].tolist(), mean.noise.values[0].round(3).tolist()
    ([2.0, 3.6], [0.707, 0.447])
    >>> average_times(rates, energy=[14, 24]).rate.values[:, 0].tolist()
    [3.0, 7.0]
    """
    ds = _checked(rates, "average_times")
    if not ds.sizes["time"]:
        raise EmptySelectionError("average_times: there are no pointings to average")
    single = "source" not in ds["rate"].dims
    value, error, noise = _values(ds)
    bounds, centre, (value, error, noise) = _in_bands(ds, energy, (value, error, noise))
    groups, members = pointing_groups(ds, time_bins)
    weight = pointing_weights(value, noise)
    filled, spread = np.where(weight > 0, value, 0.0), np.where(weight > 0, error, 0.0)
    total = grouped_sums(weight, members)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = grouped_sums(weight * filled, members) / total
        rate_err = np.sqrt(grouped_sums((weight * spread) ** 2, members)) / total
        mean_noise = np.where(total > 0, total, np.nan) ** -0.5
    for number, member in enumerate(members):
        if member.size == 1:  # as they are, without rounding
            good = weight[:, member[0]] > 0
            for mean, array in ((rate, value), (rate_err, error), (mean_noise, noise)):
                mean[:, number] = np.where(good, array[:, member[0]], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = rate / mean_noise
    seen = np.asarray((weight > 0).any(axis=2))
    any_seen = np.asarray(seen.any(axis=0))
    own = np.broadcast_to(ds["exposure"].values, seen.shape)
    if "source_exposure" in ds.variables:
        own = ds["source_exposure"].values.reshape(seen.shape)
    per_source = grouped_sums((seen * own)[..., None], members)[..., 0]
    exposure = grouped_sums((any_seen * own.max(axis=0))[None, :, None], members)[0, :, 0]
    spans = np.array([group.bounds for group in groups])
    dims = ("time", "energy") if single else ("source", "time", "energy")
    per_bin = dims[:-1]

    def shaped(array: np.ndarray) -> np.ndarray:
        return array[0] if single else array

    units = {"units": "count/s"} | {key: ds["rate"].attrs[key] for key in ("per",) if key in ds["rate"].attrs}
    used = np.unique(np.concatenate(members))
    start, stop = _good_time(ds, used[any_seen[used]])
    variables: dict[str, Any] = {
        "time": spans.mean(axis=1),
        "time_bnds": spans,
        "energy": centre,
        "energy_bnds": bounds,
        "rate": (dims, shaped(rate), units),
        "rate_err": (dims, shaped(rate_err), units),
        "noise": (dims, shaped(mean_noise), units),
        "snr": (dims, shaped(snr), {"units": "1"}),
        "exposure": exposure,
        "fracexp": exposure / (spans[:, 1] - spans[:, 0]),
        "n_pointings": (per_bin, shaped(grouped_sums(seen[..., None], members)[..., 0].astype(np.int64))),
        "gti_start": start,
        "gti_stop": stop,
    }
    if not single:
        variables["source_exposure"] = (per_bin, per_source, {"units": "s"})
    line = f"batx.average_times: {ds.sizes['time']} pointing(s) in {len(groups)} group(s)"
    made = build("lightcurve", variables, with_history(ds.attrs, line))
    names = np.array([group.name for group in groups], dtype=str)
    if time_bins is None and "group" in ds.coords:
        names = np.array([str(name) for name in ds["group"].values])
    names_kept = (*_CARRIED, "utcf") if time_bins is None else _CARRIED
    carried = {name: ds[name].variable for name in names_kept if name in ds.coords}
    return made.assign_coords({"group": ("time", names), **carried})


def one_source(rates: xr.Dataset, source: str | int | None, operation: str) -> xr.Dataset:
    """Return the rates of one source, by name or number; `None` if there is only one.

    Raises
    ------
    ValueRangeError
        If it is not there, or several are and none is named.
    """
    if "source" not in rates.dims:
        return rates
    names = [str(name) for name in rates["name"].values] if "name" in rates.coords else []
    if source is None:
        if rates.sizes["source"] == 1:
            return rates.isel(source=0)
        raise ValueRangeError(
            f"{operation}: found {rates.sizes['source']} sources, expected one; name it: source="
            f"{names[0] if names else 0!r}"
        )
    if isinstance(source, str):
        plain = ["".join(name.casefold().split()) for name in names]
        wanted = "".join(source.casefold().split())
        if wanted not in plain:
            raise ValueRangeError(
                f"{operation}: found no source {source!r} among {', '.join(names[:10])}"
                f"{' ...' if len(names) > 10 else ''}"
            )
        source = plain.index(wanted)
    if not 0 <= source < rates.sizes["source"]:
        raise ValueRangeError(f"{operation}: found source {source} of {rates.sizes['source']}")
    return rates.isel(source=source)


def pointing_groups(rates: xr.Dataset, time_bins: Any) -> tuple[list[TimeGroup], list[np.ndarray]]:
    """Return groups of pointings, and the numbers of the pointings in each.

    Raises
    ------
    ValueRangeError
        If the groups are not as described.
    EmptySelectionError
        If no pointing is in any.
    """
    spans = rates["time_bnds"].values.astype(np.float64)
    if time_bins is None:
        groups = [TimeGroup(str(number), span[None]) for number, span in enumerate(spans)]
        return groups, [np.array([number]) for number in range(len(spans))]
    groups = time_groups(spans[:, 0], time_bins, rates.attrs)
    members = [np.flatnonzero(group.holds(spans[:, 0])) for group in groups]
    if not any(member.size for member in members):
        raise EmptySelectionError(
            f"time_bins: none of {len(spans)} pointing(s) starts in any; they start from "
            f"{spans[:, 0].min():.0f} to {spans[:, 0].max():.0f} (MET)"
        )
    return groups, members


def grouped_sums(values: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """Return the sums over the pointings of each group, (source, pointing, band) to (source, group, band)."""
    return np.stack([values[:, member].sum(axis=1, dtype=np.float64) for member in members], axis=1)


def pointing_weights(value: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return 1/noise², 0 where there is no value or no noise."""
    good = np.isfinite(value) & np.isfinite(noise) & (noise > 0)
    return np.where(good, 1.0 / np.where(good, noise, 1.0) ** 2, 0.0)


def _checked(rates: xr.Dataset, operation: str) -> xr.Dataset:
    require_kind(rates, "lightcurve", operation=operation)
    ds = with_axes(rates, KINDS["lightcurve"])
    missing = [name for name in ("rate", "rate_err", "time_bnds", "energy_bnds") if name not in ds.variables]
    if missing:
        raise MissingVariableError(f"{operation}: the light curve has no {', '.join(missing)}")
    if ds.attrs.get("statistic") != "gaussian":
        raise KindError(f"{operation}: found counts; they are summed, not averaged: use rebin_time")
    return ds


def _values(ds: xr.Dataset) -> tuple[np.ndarray, ...]:
    """Return rate, error and noise with the axes (source, time, energy)."""
    names = "rate", "rate_err", "noise" if "noise" in ds.variables else "rate_err"
    arrays = [ds[name].transpose(..., "time", "energy").values.astype(np.float64) for name in names]
    return tuple(array.reshape(-1, *array.shape[-2:]) for array in arrays)


def _in_bands(
    ds: xr.Dataset, energy: Any, arrays: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Return bounds and centres of bands, and the sums of rate, error and noise over them."""
    own = ds["energy_bnds"].values.astype(np.float64)
    if energy is None:
        return own, ds["energy"].values, arrays
    low, high = energy_bounds(energy)
    parts = []
    for first, last in zip(low, high, strict=True):
        inside = (own[:, 0] >= first - _SAME_EDGE) & (own[:, 1] <= last + _SAME_EDGE)
        covered = float(np.sum(own[inside, 1] - own[inside, 0]))
        if not inside.any() or abs(covered - (last - first)) > _SAME_EDGE * (inside.sum() + 1):
            edges = ", ".join(f"{a:g}-{b:g}" for a, b in own)
            raise RebinError(f"energy: the band {first:g}-{last:g} keV is no sum of the bands {edges}")
        parts.append(inside)
    value, error, noise = arrays
    summed = np.stack([value[..., inside].sum(axis=-1) for inside in parts], axis=-1)
    errors = [
        np.stack([np.sqrt((array[..., inside] ** 2).sum(axis=-1)) for inside in parts], axis=-1)
        for array in (error, noise)
    ]
    return np.stack([low, high], axis=1), 0.5 * (low + high), (summed, *errors)


def _good_time(ds: xr.Dataset, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spans = ds["time_bnds"].values[used].astype(np.float64)
    if not len(spans):
        return spans[:, 0], spans[:, 1]
    return union(spans[:, 0], spans[:, 1])
