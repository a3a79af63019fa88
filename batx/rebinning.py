"""Re-binning of light curves, spectra and detector planes in time and energy, by sums of what is additive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.background_errors import (
    SUMMED_OVER_ENERGY,
    SUMMED_OVER_TIME,
    dispersion_of_sum,
    with_background_errors,
)
from batx.errors import MissingVariableError, RebinError, ValueRangeError
from batx.grids import MAX_BINS, bounds_of, energy_bounds, warn
from batx.kernels import gti as intervals
from batx.kernels import snr as snr_kernel
from batx.kernels.rebin import Overlaps, overlaps, sum_bins
from batx.schema import KINDS, build, require_kind
from batx.schema.attributes import with_history
from batx.schema.axes import with_axes
from batx.units import to_value

__all__ = ["rebin_energy", "rebin_time"]

#: old and new edges closer than this fraction of the old bin are the same (files round times and energies)
SAME_EDGE = 1e-3

_ERRORS = {
    "lightcurve": {"counts": "counts_err", "rate": "rate_err"},
    "spectrum": dict.fromkeys(("counts", "rate"), "stat_err"),
}


def rebin_time(
    ds: xr.Dataset,
    *,
    dt: Any = None,
    edges: Any = None,
    factor: int | None = None,
    snr: float | None = None,
    blocks: xr.Dataset | None = None,
    t0: Any = None,
    split: bool = False,
    across_gaps: bool = False,
) -> xr.Dataset:
    """Return a light curve, spectra or detector planes in wider time bins.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, ``spectrum`` or ``detector_plane``, with a time axis.
    dt
        Width of uniform bins (s) from the beginning of the first bin on; the last may extend beyond the data.
    edges
        Increasing edges (n + 1,), or bounds (n, 2); bins outside are left out.
    factor
        Number of neighbouring bins to sum. In a uniform curve bins that are missing count.
    snr
        Sum neighbours until Σw over all bands exceeds this many times √Σw² (light curves); reads the data.
    blocks
        Dataset whose bins are taken: a light curve, spectra, or good-time intervals.
    t0
        Origin of `edges` where these are numbers: MET, a date, or ``"trigger"``.
    split
        Allow edges inside old bins: such a bin is shared out in proportion to time, its variance too.
    across_gaps
        Allow sums over missing stretches that hold good time, or about which nothing is known.

    Returns
    -------
    xarray.Dataset
        Of the same kind; lazy where `ds` is. Counts, totals, variances and exposure are summed; rates are
        Σw over the summed exposure, NaN without any, and ``fracexp`` is that exposure over the whole bin. A
        stretch between old bins without good time (``gti_start``, ``gti_stop``) adds nothing, and is no
        gap.

    Raises
    ------
    RebinError
        If a new edge is inside an old bin (and not `split`), or a new bin would join bins across a gap.
    KindError, MissingVariableError, ValueRangeError
        If `ds` is of another kind, has no time axis, or the new bins are malformed.

    Warns
    -----
    BatxWarning
        If `ds` has variables along time that are not additive; they are left out.

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [0.1, 0.2, 1.5], "energy": [20.0, 30.0, 20.0],
    ...            "gti_start": [0.0], "gti_stop": [2.0]})
    >>> import batx
    >>> rebin_time(batx.lightcurve(ev, dt=0.5), dt=1.0).totcounts.values
    array([2, 1])
    """
    kind = require_kind(ds, "lightcurve", "spectrum", "detector_plane", operation="rebin_time")
    ds = with_axes(ds, KINDS[kind])
    if "time" not in ds.dims:
        raise MissingVariableError(
            "rebin_time: the Dataset has no time axis to re-bin; make it with time=edges or dt="
        )
    old = _Axis(ds["time_bnds"].values, "s", "time")
    given = {"dt": dt, "edges": edges, "factor": factor, "snr": snr, "blocks": blocks}
    ways = [name for name, value in given.items() if value is not None]
    if len(ways) != 1:
        raise ValueRangeError(
            f"rebin_time: found {' and '.join(ways) or 'nothing'} to make bins by, "
            "expected exactly one of dt, edges, factor, snr, blocks"
        )
    if dt is not None:
        new = _uniform(old, float(to_value(dt, "s", "dt")))
    elif factor is not None:
        new = _by_factor(old, factor)
    elif snr is not None:
        new = _by_snr(ds, kind, old, float(snr))
    else:
        new = _Axis(bounds_of(edges if blocks is None else blocks, ds.attrs, t0, ways[0]), "s", "time")
    return _rebin_time(
        ds,
        kind,
        old,
        new,
        split=split,
        across_gaps=across_gaps,
        open_end=dt is not None or factor is not None,
    )


def rebin_energy(ds: xr.Dataset, edges: Any, *, split: bool = False) -> xr.Dataset:
    """Return a light curve, spectrum or detector planes in wider energy bands.

    Parameters
    ----------
    ds
        Kind ``lightcurve``, ``spectrum`` or ``detector_plane``, with bands or channels that do not overlap.
    edges
        Edges in keV (n + 1,), or (lower, upper) pairs, which may leave gaps; bands outside are left out.
    split
        Allow edges inside old bands: such a band is shared out in proportion to energy, its variance too.

    Returns
    -------
    xarray.Dataset
        Of the same kind; lazy where `ds` is. Counts, rates and variances are summed. The fractional
        ``sys_err`` of a spectrum becomes the mean by width in energy (that of `batphasyserr` over the new
        channel), ``quality`` the worst; ``grouping`` is left out. ``totcounts`` stays where no band is left
        out and is recomputed from counts, or left out, where some are.

    Raises
    ------
    RebinError
        If a new edge is inside an old band (and not `split`), or a new band would join bands across a gap,
        extends beyond the old ones, or old bands overlap.
    KindError, MissingVariableError, ValueRangeError
        If `ds` is of another kind, has no energies, or the new edges are malformed.

    Warns
    -----
    BatxWarning
        If `ds` has variables along energy that are not additive; they are left out.

    Examples
    --------
    >>> from batx.schema import build
    >>> ev = build("events", {"time": [0.1, 0.2, 1.5], "energy": [20.0, 30.0, 20.0],
    ...            "gti_start": [0.0], "gti_stop": [2.0]})
    >>> import batx
    >>> rebin_energy(batx.lightcurve(ev, dt=2.0), [15, 50, 350]).counts.values
    array([[3, 0]])
    """
    kind = require_kind(ds, "lightcurve", "spectrum", "detector_plane", operation="rebin_energy")
    ds = with_axes(ds, KINDS[kind])
    dim = "channel" if kind == "spectrum" else "energy"
    if dim not in ds.dims or "energy_bnds" not in ds.variables:
        raise MissingVariableError(
            f"rebin_energy: the Dataset has no axis '{dim}' with energy_bnds to re-bin"
        )
    old = _Axis(ds["energy_bnds"].values, "keV", "energy")
    new = _Axis(np.stack(energy_bounds(edges), axis=-1), "keV", "energy")
    parts = _parts(old, new, split)
    gaps = _uncovered(old, new, parts)
    if gaps:
        number, low, high = gaps[0]
        raise RebinError(
            f"rebin_energy: the new band {new.show(number)} would join bands across a gap: "
            f"there is nothing from {low:g} to {high:g} keV; give bands that end there, as pairs"
        )
    return _rebin_energy(ds, kind, dim, old, new, parts)


# --- axes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """Disjoint, increasing bins of an axis."""

    bounds: np.ndarray
    unit: str
    name: str

    def __post_init__(self) -> None:
        if self.bounds.ndim != 2 or not np.all(self.width > 0):
            raise ValueRangeError(
                f"{self.name}: found bins {self.bounds.tolist()}, expected increasing edges"
            )
        late = self.upper[:-1] - self.lower[1:]
        if np.any(late > SAME_EDGE * self.width[1:]):
            number = int(np.argmax(late))
            raise RebinError(
                f"{self.name}: the bins {self.show(number)} and {self.show(number + 1)} overlap "
                "or are not in order, so that sums would count twice; select bins that do not"
            )

    @property
    def lower(self) -> np.ndarray:
        return self.bounds[:, 0]

    @property
    def upper(self) -> np.ndarray:
        return self.bounds[:, 1]

    @property
    def width(self) -> np.ndarray:
        return self.upper - self.lower

    @property
    def size(self) -> int:
        return len(self.bounds)

    def show(self, number: int) -> str:
        return f"{self.lower[number]!s}-{self.upper[number]!s} {self.unit}"


def _uniform(old: _Axis, width: float) -> _Axis:
    """Return the uniform bins from the first old edge on that old bins reach into."""
    if not (np.isfinite(width) and width > 0):
        raise ValueRangeError(f"dt: found {width} s, expected a positive time")
    start = old.lower[0]
    n_bins = int(np.ceil((old.upper[-1] - start) / width))
    if n_bins > MAX_BINS:
        raise ValueRangeError(f"dt: found {width} s, which makes {n_bins} bins; use a wider bin")
    edges = start + np.arange(n_bins + 1) * width
    parts = overlaps(old.lower, old.upper, edges[:-1], edges[1:], SAME_EDGE * old.width)
    kept = np.bincount(parts.new, minlength=n_bins) > 0
    return _Axis(np.stack([edges[:-1], edges[1:]], axis=-1)[kept], old.unit, old.name)


def _by_factor(old: _Axis, factor: int) -> _Axis:
    """Return bins of `factor` old ones each; bins that are missing from a uniform series count."""
    if factor != int(factor) or factor < 1:
        raise ValueRangeError(f"factor: found {factor}, expected a whole number of at least 1")
    factor = int(factor)
    width = float(np.median(old.width))
    places = (old.lower - old.lower[0]) / width
    slot = np.rint(places).astype(int)
    if np.any(np.abs(old.width - width) > SAME_EDGE * width) or np.any(np.abs(places - slot) > 0.1):
        return _grouped(old, np.arange(old.size) // factor)
    if slot[-1]:
        width = float(old.lower[-1] - old.lower[0]) / slot[-1]
    group = slot // factor
    first, last = _ends(group)
    before, after = slot[first] % factor, factor - 1 - slot[last] % factor
    bounds = np.stack([old.lower[first] - before * width, old.upper[last] + after * width], axis=-1)
    return _Axis(bounds, old.unit, old.name)


def _grouped(old: _Axis, group: np.ndarray) -> _Axis:
    first, last = _ends(group)
    return _Axis(np.stack([old.lower[first], old.upper[last]], axis=-1), old.unit, old.name)


def _ends(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last place of each value in a sorted array."""
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return first, np.append(first[1:], group.size) - 1


def _by_snr(ds: xr.Dataset, kind: str, old: _Axis, snr: float) -> _Axis:
    if kind != "lightcurve" or "source" in ds.dims:
        raise ValueRangeError(
            "snr: found no light curve of one source; re-bin by dt, edges, factor or blocks"
        )
    if not snr > 0:
        raise ValueRangeError(f"snr: found {snr}, expected a positive number")
    signal, variance = (array.sum("energy").values for array in _sums_of(ds, kind))
    joined = np.append(False, old.lower[1:] - old.upper[:-1] <= SAME_EDGE * old.width[1:])
    return _grouped(old, snr_kernel.snr_groups(signal, variance, joined, snr))


def _parts(old: _Axis, new: _Axis, split: bool) -> Overlaps:
    """Return which old bin goes into which new one; raise where an edge is inside an old bin."""
    parts = overlaps(old.lower, old.upper, new.lower, new.upper, SAME_EDGE * old.width)
    inside = parts.fraction < 1
    if inside.any() and not split:
        k = int(np.argmax(inside))
        raise RebinError(
            f"rebin_{old.name}: an edge of the new bin {new.show(parts.new[k])} is inside the bin "
            f"{old.show(parts.old[k])}, which cannot be divided exactly; choose edges of the data, "
            "or pass split=True to share bins out in proportion"
        )
    return parts


def _uncovered(old: _Axis, new: _Axis, parts: Overlaps) -> list[tuple[int, float, float]]:
    """Return the stretches (new bin, from, to) inside new bins that no old bin covers."""
    tolerance = SAME_EDGE * old.width.min()
    found = []
    for number in np.flatnonzero(
        np.bincount(parts.new, _covered(old, new, parts), new.size) < new.width - tolerance
    ):
        members = parts.old[parts.new == number]
        stops = np.concatenate([[new.lower[number]], np.minimum(old.upper[members], new.upper[number])])
        starts = np.concatenate([np.maximum(old.lower[members], new.lower[number]), [new.upper[number]]])
        found += [
            (int(number), float(a), float(b)) for a, b in zip(stops, starts, strict=True) if b - a > tolerance
        ]
    return found


def _covered(old: _Axis, new: _Axis, parts: Overlaps) -> np.ndarray:
    low = np.maximum(old.lower[parts.old], new.lower[parts.new])
    return np.minimum(old.upper[parts.old], new.upper[parts.new]) - low


# --- sums --------------------------------------------------------------------------------------------------


def _sums_of(ds: xr.Dataset, kind: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return Σw and Σw² of a light curve or spectrum, 0 where there is no exposure."""
    if "counts" in ds.variables:
        value, error = _bare(ds["counts"]), _error_of(ds, kind, "counts")
        return value, _bare(ds[error]) ** 2 if error else value
    value, error = _times_exposure(ds, "rate"), _error_of(ds, kind, "rate")
    return value, _times_exposure(ds, error) ** 2 if error else value


def _error_of(ds: xr.Dataset, kind: str, name: str) -> str | None:
    """Return the name of the error of counts or rate, if there is one."""
    error = _ERRORS.get(kind, {}).get(name)
    return error if error in ds.variables else None


def _summer(dim: str, parts: Overlaps, size: int) -> Callable[[xr.DataArray], xr.DataArray]:
    """Return a function that sums the old bins along `dim` of an array; lazy for lazy arrays."""

    def apply(array: xr.DataArray) -> xr.DataArray:
        summed = xr.apply_ufunc(
            sum_bins,
            array,
            input_core_dims=[[dim]],
            output_core_dims=[["new"]],
            kwargs={"parts": parts, "n_new": size},
            dask="parallelized",
            output_dtypes=[
                np.int64 if array.dtype.kind in "iu" and np.all(parts.fraction == 1) else np.float64
            ],
            dask_gufunc_kwargs={"output_sizes": {"new": size}, "allow_rechunk": True},
        )
        return summed.rename(new=dim).transpose(*array.dims)

    return apply


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Return an array without coordinates, so that none of the old axis stays."""
    return xr.DataArray(array.variable)


def _rebin_time(
    ds: xr.Dataset, kind: str, old: _Axis, new: _Axis, *, split: bool, across_gaps: bool, open_end: bool
) -> xr.Dataset:
    parts = _parts(old, new, split)
    if not across_gaps:
        _check_time_gaps(ds, old, new, _uncovered(old, new, parts), open_end)
    add = _summer("time", parts, new.size)
    made: dict[str, Any] = {}
    if "exposure" in ds.variables:
        made |= _exposures(ds, old, new, add)
    if "totcounts" in ds.variables:
        made["totcounts"] = add(_bare(ds["totcounts"]))
    if "counts" in ds.variables:
        made["counts"] = add(_bare(ds["counts"]))
        if error := _error_of(ds, kind, "counts"):
            made[error] = np.sqrt(add(_bare(ds[error]) ** 2))
    if "rate" in ds.variables:
        made["rate"] = add(_times_exposure(ds, "rate")) / _divisor(made)
        if error := _error_of(ds, kind, "rate"):
            made[error] = np.sqrt(add(_times_exposure(ds, error) ** 2)) / _divisor(made)
    if "sys_err" in ds.variables and "time" in ds["sys_err"].dims:
        made["sys_err"] = add(_times_exposure(ds, "sys_err")) / _divisor(made)
    if "quality" in ds.variables and "time" in ds["quality"].dims:
        made["quality"] = _worst(_bare(ds["quality"]), "time", parts, new.size)
    made |= {name: add(_bare(ds[name])) for name in SUMMED_OVER_TIME if name in ds.variables}
    centre = new.lower + new.width / 2
    made |= {"time": (("time",), centre), "time_bnds": (("time", "bnds"), new.bounds)}
    result = _assemble(ds, kind, "time", made, f"rebin_time: {old.size} bins to {new.size}")
    return result.assign_attrs(tstart=float(new.lower[0]), tstop=float(new.upper[-1]))


def _times_exposure(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable times exposure, 0 without exposure; NaN elsewhere stays NaN."""
    if "exposure" not in ds.variables:
        raise MissingVariableError(
            f"rebin_time: found '{name}' without 'exposure', which it is weighted by; add it"
        )
    exposure = _bare(ds["exposure"])
    return (_bare(ds[name]) * exposure).where(exposure > 0, 0.0)


def _divisor(made: dict[str, Any]) -> xr.DataArray:
    return made["exposure"].where(made["exposure"] > 0)


def _exposures(
    ds: xr.Dataset, old: _Axis, new: _Axis, add: Callable[[xr.DataArray], xr.DataArray]
) -> dict[str, xr.DataArray]:
    """Return exposure and the good fraction of each new bin: 1 where its old bins are all good."""
    made = {"exposure": add(_bare(ds["exposure"]))}
    if "fracexp" in ds.variables:
        width = xr.DataArray(old.width, dims="time")
        covered = add(width)
        whole = np.where(new.width - covered > SAME_EDGE * old.width.min(), new.width, covered)
        made["fracexp"] = add(_bare(ds["fracexp"]) * width) / xr.DataArray(whole, dims="time")
    return made


def _check_time_gaps(ds: xr.Dataset, old: _Axis, new: _Axis, gaps: list, open_end: bool) -> None:
    """Raise where a new bin spans a stretch without old bins, unless this is known to hold no good time."""
    known = "gti_start" in ds.variables
    for number, low, high in gaps:
        if open_end and low >= old.upper[-1] - SAME_EDGE * old.width[-1]:
            continue
        if known:
            good = float(intervals.overlap(low, high, ds["gti_start"].values, ds["gti_stop"].values))
            if good <= SAME_EDGE * float(old.width.min()):
                continue
        what = "although it holds good time" if known else "and nothing is known about good time there"
        raise RebinError(
            f"rebin_time: the new bin {new.show(number)} would join bins across a gap: there is "
            f"none from {low!s} to {high!s} s, {what}; give edges that end there, or pass across_gaps=True "
            "(exposure and fracexp then say how much of the bin is covered)"
        )


def _rebin_energy(ds: xr.Dataset, kind: str, dim: str, old: _Axis, new: _Axis, parts: Overlaps) -> xr.Dataset:
    add = _summer(dim, parts, new.size)
    made: dict[str, Any] = {}
    for name in ("counts", "rate"):
        if name in ds.variables:
            made[name] = add(_bare(ds[name]))
            if error := _error_of(ds, kind, name):
                made[error] = np.sqrt(add(_bare(ds[error]) ** 2))
    if "totcounts" in ds.variables:
        whole = np.bincount(parts.old, parts.fraction, old.size).min() >= 1 - 1e-9
        if whole:
            made["totcounts"] = _bare(ds["totcounts"])
        elif "counts" in made and ds.attrs.get("statistic") == "poisson":
            made["totcounts"] = made["counts"].sum(dim)
        else:
            made["totcounts"] = None
    if "sys_err" in ds.variables:
        width = xr.DataArray(old.width, dims=dim)
        made["sys_err"] = add(_bare(ds["sys_err"]) * width) / add(width)
    if "quality" in ds.variables:
        made["quality"] = _worst(_bare(ds["quality"]), dim, parts, new.size)
    made |= {name: add(_bare(ds[name])) for name in SUMMED_OVER_ENERGY if name in ds.variables}
    if "background_dispersion" in ds.variables:
        member = xr.DataArray(sum_bins(np.eye(old.size), parts, new.size), dims=(dim, "new"))
        made["background_dispersion"] = dispersion_of_sum(ds, member).rename(new=dim)
    if kind == "spectrum":
        made["channel"] = ((dim,), np.arange(new.size))
    made |= {"energy": ((dim,), new.lower + new.width / 2), "energy_bnds": ((dim, "bnds"), new.bounds)}
    return _assemble(ds, kind, dim, made, f"rebin_energy: {old.size} bands to {new.size}")


def _worst(array: xr.DataArray, dim: str, parts: Overlaps, size: int) -> xr.DataArray:
    """Return the largest value among the old bins of each new one."""
    moved = array.transpose(dim, ...)
    values = np.zeros((size, *moved.shape[1:]), array.dtype)
    np.maximum.at(values, parts.new, moved.values[parts.old])
    return xr.DataArray(values, dims=moved.dims).transpose(*array.dims)


def _assemble(ds: xr.Dataset, kind: str, dim: str, made: dict[str, Any], line: str) -> xr.Dataset:
    """Return a Dataset of what was made (`None`: left out) and of what does not lie along the axis."""
    replaced = {"grouping", "totcounts", *made}
    dropped = [str(name) for name in ds.variables if dim in ds[name].dims and name not in replaced]
    if dropped:
        warn(f"{line}: {', '.join(sorted(dropped))} cannot be summed and are left out")
    variables: dict[str, xr.Variable] = {}
    for name in map(str, ds.variables):
        if name in made:
            if (value := made[name]) is None:
                continue
            variables[name] = value.variable if isinstance(value, xr.DataArray) else xr.Variable(*value)
            variables[name].attrs = dict(ds[name].attrs)
        elif dim not in ds[name].dims:
            variables[name] = ds[name].variable
    coords = {name for name in variables if name in ds.coords}
    result = build(kind, variables, with_history(ds.attrs, f"batx.{line}"))
    return with_background_errors(result.set_coords(sorted(coords - set(result.coords))))
