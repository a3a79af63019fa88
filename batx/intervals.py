"""Good-time intervals as labelled data: algebra, exposure, and intervals from housekeeping.

Every function takes good time in any of these forms: a Dataset of kind ``gti``; a Dataset that carries its
good time (``gti_start``, ``gti_stop``: events and whatever was binned from them); an ``(n, 2)`` array or a
list of pairs of floats (MET), ``Quantity``, ``Time`` or dates; a single pair. Intervals are half-open, and
overlapping ones count as their union. Good time is small, so the functions here read it at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import GtiError, KindError, MissingVariableError, ValueRangeError
from batx.kernels import gti as kernel
from batx.met import to_met
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.units import to_value

__all__ = [
    "exposure",
    "gti_arrays",
    "gti_complement",
    "gti_from_housekeeping",
    "gti_gaps",
    "gti_intersection",
    "gti_of",
    "gti_pad",
    "gti_union",
]

Condition = (
    xr.DataArray
    | Callable[[xr.Dataset], xr.DataArray]
    | tuple[str, str, Any]
    | Sequence[tuple[str, str, Any]]
)

_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def gti_arrays(gti: Any, attrs: Mapping[str, Any] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return good time in any form as two float64 arrays of MET, ``(start, stop)``, not merged.

    Parameters
    ----------
    gti
        Good time, in one of the forms listed at the top of this module.
    attrs
        Attributes of the Dataset that dates among the pairs are meant for (``utcf``); see `batx.met.to_met`.

    Raises
    ------
    GtiError
        If a Dataset carries no good time, intervals end before they start, or hold NaN.
    KindError
        If a whole DataTree is given.
    UnitsError, ValueRangeError
        If pairs hold something that is no time.

    Examples
    --------
    >>> gti_arrays([(0, 10), (20, 30)])
    (array([ 0., 20.]), array([10., 30.]))
    """
    if isinstance(gti, xr.DataTree):
        raise KindError(
            "good time: found a DataTree; select the node that holds it, for example tree['gti'].dataset"
        )
    if isinstance(gti, xr.Dataset):
        for start, stop in (("gti_start", "gti_stop"), ("start", "stop")):
            if start in gti.variables and stop in gti.variables:
                if "event" in gti[start].dims:
                    raise GtiError(
                        f"good time: found '{start}' along 'event', as xarray's where() leaves it; select "
                        "events with ds.sel(event=condition), which keeps the other variables as they are"
                    )
                return kernel.as_intervals(gti[start].values, gti[stop].values)
        raise GtiError(
            f"good time: found variables {sorted(map(str, gti.variables))}, expected gti_start and gti_stop, "
            "or start and stop; give a Dataset of kind gti or one that carries its good time"
        )
    pairs = to_met(gti, attrs, name="GTI")
    pairs = pairs.reshape(-1, 2) if pairs.size == 0 or pairs.shape == (2,) else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise GtiError(
            f"good time: found an array of shape {pairs.shape}, expected (n, 2): start and stop of each"
        )
    return kernel.as_intervals(pairs[:, 0], pairs[:, 1])


def gti_of(ds: Any) -> xr.Dataset:
    """Return the good time that a Dataset carries, as a Dataset of kind ``gti``.

    Parameters
    ----------
    ds
        Events, a light curve, a spectrum or any other form of good time.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``: `start` and `stop` (gti) in MET s, as they come.

    Raises
    ------
    GtiError
        If there is none, or it is malformed.

    Examples
    --------
    >>> gti_of([(20, 30), (0, 10)]).start.values
    array([20.,  0.])
    """
    return _labelled(gti_arrays(ds), ds)


def gti_union(*gtis: Any, max_gap: float = 0.0) -> xr.Dataset:
    """Return the times that are in at least one of the lists, as sorted disjoint intervals.

    Parameters
    ----------
    *gtis
        Good time in any form; one list alone is merged with itself.
    max_gap
        Intervals at most this far apart (s, or a ``Quantity``) are joined too.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``, with the attributes of the first Dataset among the arguments.

    Raises
    ------
    GtiError
        If an argument is malformed.

    Examples
    --------
    >>> gti_union([(0, 10)], [(8, 20), (30, 40)]).stop.values
    array([20., 40.])
    """
    lists = _all_arrays(gtis)
    start, stop = (np.concatenate(ends) for ends in zip(*lists, strict=True))
    return _labelled(
        kernel.union(start, stop, float(to_value(max_gap, "s", "max_gap"))), *gtis, step="gti_union"
    )


def gti_intersection(*gtis: Any) -> xr.Dataset:
    """Return the times that are in every one of the lists; each list counts as its union.

    Parameters
    ----------
    *gtis
        Good time in any form.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``, with the attributes of the first Dataset among the arguments; without intervals where
        nothing is common to all.

    Raises
    ------
    GtiError
        If an argument is malformed.

    Examples
    --------
    >>> gti_intersection([(0, 10), (20, 30)], (5, 25)).start.values
    array([ 5., 20.])
    """
    first, *others = _all_arrays(gtis)
    common = kernel.union(*first)
    for other in others:
        common = kernel.intersection(common, other)
    return _labelled(common, *gtis, step="gti_intersection")


def gti_complement(gti: Any, tstart: Any, tstop: Any) -> xr.Dataset:
    """Return the times from `tstart` to `tstop` that are not good.

    Parameters
    ----------
    gti
        Good time in any form.
    tstart, tstop
        Limits: MET, ``Time`` or date.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``.

    Raises
    ------
    GtiError
        If `gti` is malformed, or `tstop` is before `tstart`.

    Examples
    --------
    >>> bad = gti_complement([(2, 5)], 0, 10)
    >>> list(zip(bad.start.values.tolist(), bad.stop.values.tolist()))
    [(0.0, 2.0), (5.0, 10.0)]
    """
    lo, hi = (
        float(to_met(time, _attrs_of([gti]), name=name))
        for time, name in ((tstart, "tstart"), (tstop, "tstop"))
    )
    return _labelled(kernel.complement(*gti_arrays(gti), lo, hi), gti, step="gti_complement")


def gti_gaps(gti: Any) -> xr.Dataset:
    """Return the intervals between those given, from the first start to the last stop.

    Parameters
    ----------
    gti
        Good time in any form.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``; without intervals where there is no gap.

    Raises
    ------
    GtiError
        If `gti` is malformed.

    Examples
    --------
    >>> gti_gaps([(0, 10), (20, 30)]).start.values
    array([10.])
    """
    return _labelled(kernel.gaps(*gti_arrays(gti)), gti, step="gti_gaps")


def gti_pad(gti: Any, before: Any, after: Any) -> xr.Dataset:
    """Return every interval grown by `before` at its start and `after` at its stop; negative: shrunk.

    Intervals of which nothing is left are dropped. Those that come to touch or overlap are not joined:
    `gti_union` does that.

    Parameters
    ----------
    gti
        Good time in any form.
    before, after
        Seconds, or a ``Quantity``.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``.

    Raises
    ------
    GtiError
        If `gti` is malformed.
    UnitsError
        If `before` or `after` is no time.

    Examples
    --------
    >>> gti_pad([(0, 10), (20, 21)], -2, -2).stop.values
    array([8.])
    """
    before, after = (
        float(to_value(time, "s", name)) for time, name in ((before, "before"), (after, "after"))
    )
    return _labelled(
        kernel.pad(*gti_arrays(gti), before, after), gti, step=f"gti_pad before={before} after={after}"
    )


def exposure(gti: Any) -> float:
    """Return the good time in seconds: the length of the union of the intervals.

    Parameters
    ----------
    gti
        Good time in any form.

    Raises
    ------
    GtiError
        If `gti` is malformed.

    Examples
    --------
    >>> exposure([(0, 10), (5, 20)])
    20.0
    """
    start, stop = kernel.union(*gti_arrays(gti))
    return float(np.sum(stop - start))


@by_engine
def gti_from_housekeeping(
    ds: xr.Dataset, condition: Condition, prefr: float = 0.5, postfr: float = 0.5
) -> xr.Dataset:
    """Return the intervals in which rows of housekeeping fulfil a condition, as the tool ``maketime``.

    A run of good rows reaches from `prefr` of the way to the row before it to `postfr` of the way to the row
    after it; at the ends of the table it stops at the row itself. A step back in time ends a run.

    Parameters
    ----------
    ds
        Dataset with a coordinate ``time``: housekeeping, attitude, light curve.
    condition
        A boolean DataArray along ``time``, for example ``ds.elv > 30``; a function of the Dataset that
        returns one; or ``(variable, operator, value)`` with one of < <= > >= == !=, or a list of these that
        must all hold. A value may be a ``Quantity``. Comparisons with NaN are false.
    prefr, postfr
        Fractions, 0 to 1.
    engine
        ``"native"``; ``"heasoft"`` for the tool maketime, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``gti``, with the attributes of `ds`.

    Raises
    ------
    MissingVariableError
        If there is no ``time``, or no variable named in the condition.
    ValueRangeError
        If the condition is not boolean along ``time``, its operator is unknown, or times are NaN.

    Notes
    -----
    Lazy columns are read as far as the condition needs them.

    Examples
    --------
    >>> hk = xr.Dataset({"elv": ("time", [10.0, 40.0, 50.0, 20.0])}, {"time": [0.0, 1.0, 2.0, 3.0]})
    >>> good = gti_from_housekeeping(hk, ("elv", ">", 30))
    >>> good.start.values, good.stop.values
    (array([0.5]), array([2.5]))
    """
    if "time" not in ds.coords or ds["time"].ndim != 1:
        raise MissingVariableError(
            f"gti_from_housekeeping: found coordinates {sorted(map(str, ds.coords))}, expected a "
            "1-dimensional 'time'"
        )
    for name, fraction in (("prefr", prefr), ("postfr", postfr)):
        if not 0 <= fraction <= 1:
            raise ValueRangeError(f"gti_from_housekeeping: found {name}={fraction}, expected 0 to 1")
    good = _flags(ds, condition)
    if good.dtype != bool or good.dims != ds["time"].dims or good.shape != ds["time"].shape:
        raise ValueRangeError(
            f"gti_from_housekeeping: found a condition of type {good.dtype} and sizes {dict(good.sizes)}, "
            f"expected bool with {dict(ds['time'].sizes)}"
        )
    times = to_met(ds["time"].values)
    return _labelled(kernel.maketime(times, good.values, prefr, postfr), ds, step="gti_from_housekeeping")


def _flags(ds: xr.Dataset, condition: Condition) -> xr.DataArray:
    """Return the boolean DataArray that a condition of any form stands for."""
    if isinstance(condition, xr.DataArray):
        return condition
    if callable(condition):
        return condition(ds)
    terms = [condition] if isinstance(condition[0], str) else condition
    flags = xr.ones_like(ds["time"], dtype=bool)
    for term in terms:
        flags = flags & _comparison(ds, *term)
    return flags


def _comparison(ds: xr.Dataset, variable: str, symbol: str, value: Any) -> xr.DataArray:
    if variable not in ds.variables:
        raise MissingVariableError(f"condition: found no '{variable}' among {sorted(map(str, ds.variables))}")
    if symbol not in _OPERATORS:
        raise ValueRangeError(f"condition: found operator {symbol!r}, expected one of {' '.join(_OPERATORS)}")
    array = ds[variable]
    if hasattr(value, "unit"):
        value = to_value(value, array.attrs.get("units", "1"), variable)
    return _OPERATORS[symbol](array, value)


def _attrs_of(sources: Sequence[Any]) -> dict[str, Any]:
    """Return the attributes that good time inherits from the first Dataset among its sources."""
    first = next((source for source in sources if isinstance(source, xr.Dataset)), None)
    attrs = first.attrs if first is not None else {}
    return kept_attrs(attrs, *ORIGIN, "provenance", "history", "tstart", "tstop")


def _all_arrays(gtis: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    if not gtis:
        raise GtiError("good time: found no argument, expected at least one list of intervals")
    attrs = _attrs_of(gtis)
    return [gti_arrays(gti, attrs) for gti in gtis]


def _labelled(intervals: tuple[np.ndarray, np.ndarray], *sources: Any, step: str | None = None) -> xr.Dataset:
    attrs = _attrs_of(sources)
    if step is not None:
        attrs = with_history(attrs, step)
    return build("gti", {"start": intervals[0], "stop": intervals[1]}, attrs)
