"""How long a burst lasts: intervals that hold parts of its fluence, their errors, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from batx.block_inputs import SPILL
from batx.burst_curves import (
    Background,
    Curve,
    background_line,
    background_of,
    block_edges,
    line_shares,
    read_curve,
    require_ends,
    rise_of,
    variance_of,
)
from batx.engines import by_engine
from batx.errors import KindError, ValueRangeError
from batx.kernels import durations as kernel
from batx.pulse_curves import pulse_intervals
from batx.reduction import compat_of
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.timing import bayesian_blocks
from batx.units import to_value

__all__ = ["duration", "duration_gti", "fluence_fraction"]

ERRORS = ("totvar", "fracvar")
METHODS = ("tool", "bootstrap", "pulses")
#: fewest bins in T100 for ``"pulses"``
LEAST_BINS = 4
#: ends of the background intervals that are open, as in the files of the tool
OPEN_END = 1e307


@by_engine
def duration(
    ds: xr.Dataset,
    *,
    background: bool = False,
    peak: Any = 1.0,
    txx: float | Sequence[float] = (),
    method: str = "tool",
    errors: str = "totvar",
    blocks: xr.Dataset | None = None,
    prior: float | None = None,
    false_rate: float | None = None,
    lookback: Any = 0.0,
    coalesce: float = 0.05,
    statistic: str = "auto",
    energy: Any = None,
    spill: int = SPILL,
    n_samples: int = 1000,
    seed: int | None = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return T90, T50, T100 and other durations of a burst, with errors.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with one band, or ``events`` (not weighted).
    background
        Subtract a line through the mean rates of the first and the last block. Counts need it.
    peak
        Length of the peak interval (s).
    txx
        Further durations in per cent: ``txx=80`` adds ``t80``, ``t80_err``, ``t80_start``, ``t80_stop``.
    method
        Errors by the rule of ``battblocks`` (``"tool"``), or from curves drawn anew (``"bootstrap"``); or
        durations and errors of a sum of pulses (``"pulses"``), which also counts the tail that blocks cut.
    errors
        The rule: ``"totvar"`` or ``"fracvar"``.
    blocks
        Blocks of constant rate; by default `batx.bayesian_blocks` of `ds` with the six arguments that
        follow. The burst is all but the first and the last.
    prior, false_rate, lookback, coalesce, statistic, energy, spill
        See `batx.bayesian_blocks`; of `energy` one band.
    n_samples, seed
        Number of curves or sums of pulses drawn, and where the random numbers begin.
    compat
        ``"heasoft"`` for the behaviour of ``battblocks`` (see Notes).
    engine
        ``"native"``; ``"heasoft"`` for the tool battblocks, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Scalars: ``t90``, ``t90_err`` (s), ``t90_start``, ``t90_stop`` (MET s), the same for ``t50`` and those
        of `txx`; ``t100`` with its ends (the burst itself; no error); ``peak_start``, ``peak_stop``;
        ``fluence``, ``fluence_err`` (count); ``background1_start``, ``background1_stop``,
        ``background1_rate`` and the same of ``background2``; ``window_start``, ``window_stop``,
        ``window_snr``: the interval of the highest signal-to-noise; ``emergence_time``: time (s) after the
        start of T100 until the signal first exceeds 5 times its error; ``n_blocks``. With
        ``"bootstrap"`` or ``"pulses"`` also ``t90_sample``, ``t90_start_sample`` (sample,) and so on: the
        probability distribution; with ``"pulses"`` also ``n_pulses_sample`` and its median ``n_pulses``.

    Raises
    ------
    EmptySelectionError
        If there are fewer than three blocks: no burst between two stretches of background.
    KindError
        If the light curve has several bands or sources.
    ValueRangeError
        If an argument is out of range, the fluence is not positive, or as `batx.bayesian_blocks`.

    Notes
    -----
    The cumulative signal rises from the last bin centre before the burst to the first after it; T90 is from
    where 5 % to where 95 % of the rise is reached. Where noise makes it pass a level several times, the mean
    of first and last is taken. Start and stop are edges of the bins that hold these times. The error of each
    end is the larger distance to where the level ∓ the error of the fraction is passed; it is at least one
    bin. `errors` names the error of the fraction. Source: algorithms 2.5 (``battblocks``).

    With ``method="bootstrap"`` the signal of each bin is drawn anew around the measured one, with its error
    (counts: from a Poisson distribution), and the burst is looked for in the same interval; the error is the
    standard deviation of the durations found, at least one bin. Neither error covers what is cut off
    outside of the blocks of the burst: see the measured coverage in algorithms 2.5.

    With ``method="pulses"`` T100 and as much again on either side is described by sums of pulses (Norris et
    al. 2005, ApJ 627, 324), drawn with the number of pulses from their posterior
    (`batx.kernels.pulse_posterior`; counts by their Poisson likelihood). T90 and the like are the median of
    what these sums have in that time, the error is half the width of the central 68 %, start and stop are
    medians. This counts what lies beyond T100, so the light curve must be at 0 where the burst is not: if
    ``background1_rate`` or ``background2_rate`` is not within its error, ask for `background`, whose two
    rates are then uncertain by their errors. Light curves only, with at least 4 bins in T100; where T90 is
    only a few bins long, it rests on the shape of the pulses as much as on the data.

    With ``compat="heasoft"``: blocks as in the tool; an interval that ends where it starts has duration 0 and
    no error (here: one bin); a time on an edge of bins that rounding puts before it is found too late.

    Examples
    --------
    >>> from batx.schema import build
    >>> rate = [[0.0], [0.1], [-0.1], [4.0], [9.0], [3.0], [1.0], [0.1], [0.0], [-0.1]]
    >>> lc = build("lightcurve", {"time": [i + 0.5 for i in range(10)],
    ...     "time_bnds": (("time", "bnds"), [[i, i + 1.0] for i in range(10)]), "energy": [50.0],
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]), "rate": (("time", "energy"), rate),
    ...     "rate_err": (("time", "energy"), [[0.1]] * 10),
    ...     "exposure": [1.0] * 10, "fracexp": [1.0] * 10, "gti_start": [0.0], "gti_stop": [10.0]},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> found = duration(lc)
    >>> float(found.t90), float(found.t100_start), float(found.t100_stop)
    (3.0, 3.0, 7.0)
    """
    compat = compat_of(compat)
    parts = _parts(txx)
    _choice("method", method, METHODS)
    _choice("errors", errors, ERRORS)
    curve = read_curve(ds, statistic, energy, compat)
    if blocks is None:
        blocks = bayesian_blocks(
            ds,
            prior=prior,
            false_rate=false_rate,
            lookback=lookback,
            coalesce=coalesce,
            statistic=statistic,
            energy=energy,
            spill=spill,
            compat=compat,
        )
    edges = block_edges(blocks)
    require_ends(curve, edges)
    off = background_of(curve, edges, compat)
    if background:
        curve = replace(curve, background=background_line(curve, off))
    rise = rise_of(curve, edges)
    values = _fixed_values(curve, off, edges, rise, background, float(to_value(peak, "s", "peak")), compat)
    for part in parts:
        start, stop, error = _interval(curve, rise, part / 100.0, errors, compat)
        values |= _named(part, start, stop, error)
    if method == "bootstrap":
        values |= _bootstrap(curve, edges, parts, n_samples, seed, background, off)
    elif method == "pulses":
        values |= _pulses(curve, edges, off, background, parts, n_samples, seed)
    return _dataset(ds, values, blocks)


def _parts(txx: float | Sequence[float]) -> list[float]:
    """Return the per cents, 90 and 50 first."""
    asked = [float(part) for part in np.atleast_1d(np.asarray(txx, dtype=np.float64))]
    for part in asked:
        if not 0.0 < part < 100.0:
            raise ValueRangeError(f"txx: found {part}, expected per cents between 0 and 100, such as 80")
    return list(dict.fromkeys([90.0, 50.0, *asked]))


def _choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueRangeError(f"{name}: found {value!r}, expected one of {', '.join(map(repr, known))}")


def _interval(
    curve: Curve, rise: kernel.Rise, part: float, errors: str, compat: str | None
) -> tuple[float, float, float]:
    """Return start, stop and error of the interval that holds a part of the fluence."""
    found = kernel.interval(rise, curve.centre, part, errors)
    if curve.by_event:
        return found.start, found.stop, found.error
    lower, width = curve.lower, curve.width
    first = kernel.holding(found.start, lower, width)
    if compat and kernel.below_edge(found.start, lower, width):
        first = rise.first + found.late_bin + 1
    last = kernel.holding(found.stop, lower, width)
    start, stop = float(lower[first]), float(lower[last] + width[last])
    error = max(found.error, float(np.hypot(width[first], width[last]) / np.sqrt(2.0)))
    if stop - start > kernel.SAME_TIME * width[first]:
        return start, stop, error
    return (start, start, np.nan) if compat else (start, float(start + width[first]), error)


def _named(part: float, start: float, stop: float, error: float) -> dict[str, float]:
    name = f"t{part:g}"
    return {name: stop - start, f"{name}_err": error, f"{name}_start": start, f"{name}_stop": stop}


def _fixed_values(
    curve: Curve,
    off: Background,
    edges: np.ndarray,
    rise: kernel.Rise,
    subtracted: bool,
    peak: float,
    compat: str | None,
) -> dict[str, Any]:
    """Return everything that does not depend on the parts asked for."""
    if not peak > 0:
        raise ValueRangeError(f"peak: found {peak} s, expected a positive length")
    middle = _peak_time(curve, rise, peak)
    values: dict[str, Any] = {
        "t100": edges[-2] - edges[1],
        "t100_start": edges[1],
        "t100_stop": edges[-2],
        "peak_start": middle - 0.5 * peak,
        "peak_stop": middle + 0.5 * peak,
        "peak_time": middle,
        "fluence": rise.fluence,
        "fluence_err": _fluence_error(curve, off, rise, subtracted and not compat),
    }
    for k in range(2):
        values |= {
            f"background{k + 1}_start": off.edges[k, 0],
            f"background{k + 1}_stop": off.edges[k, 1],
            f"background{k + 1}_rate": off.rate[k],
            f"background{k + 1}_rate_err": off.error[k],
        }
    return values | _window(curve, rise)


def _peak_time(curve: Curve, rise: kernel.Rise, length: float) -> float:
    """Return the middle of the interval of a length in the burst in which the net signal is largest."""
    before, after = kernel.peak_rise(np.cumsum(curve.net), curve.centre, rise.first, rise.last, length)
    ends = curve.centre if curve.by_event else curve.lower + curve.width
    return float(0.5 * (ends[before] + ends[after]))


def _fluence_error(curve: Curve, off: Background, rise: kernel.Rise, with_line: bool) -> float:
    """Return the error of the fluence, with that of the line if it was subtracted."""
    bins = slice(rise.first + 1, rise.last + 1)
    variance = float(variance_of(curve)[bins].sum())
    if with_line:
        for share, error in zip(line_shares(curve, off), off.error, strict=True):
            variance += float((share * curve.live)[bins].sum() * error) ** 2
    return float(np.sqrt(variance))


def _window(curve: Curve, rise: kernel.Rise) -> dict[str, float]:
    """Return the interval of highest signal-to-noise in the burst, and when the signal emerges."""
    bins = slice(rise.first + 1, rise.last + 1)
    lower, width = curve.lower[bins], curve.width[bins]
    groups = -(-lower.size // kernel.MAX_WINDOW_BINS)
    firsts = np.arange(0, lower.size, groups)
    net, variance = (np.add.reduceat(values[bins], firsts) for values in (curve.net, variance_of(curve)))
    start, stop, snr = kernel.best_window(net, variance)
    ends = np.append(firsts, lower.size)
    return {
        "window_start": float(lower[ends[start]]),
        "window_stop": float(lower[ends[stop] - 1] + width[ends[stop] - 1]),
        "window_snr": snr,
        "emergence_time": _emergence(curve, bins),
    }


def _emergence(curve: Curve, bins: slice, threshold: float = 5.0) -> float:
    """Return the time until the signal first exceeds `threshold` times its error; NaN if it never does."""
    signal, error = np.cumsum(curve.net[bins]), np.sqrt(np.cumsum(variance_of(curve)[bins]))
    above = np.flatnonzero(signal > threshold * error)
    if not above.size:
        return float("nan")
    ends = curve.lower[bins] + curve.width[bins]
    return float(ends[above[0]] - curve.lower[bins][0])


def _bootstrap(
    curve: Curve,
    edges: np.ndarray,
    parts: Sequence[float],
    n_samples: int,
    seed: int | None,
    subtracted: bool,
    off: Background,
) -> dict[str, Any]:
    """Return errors and samples of the durations of curves drawn around this one."""
    _enough(n_samples)
    random = np.random.default_rng(seed)
    pair = line_shares(curve, off)
    found: dict[float, list[float]] = {part: [] for part in parts}
    starts: dict[float, list[float]] = {part: [] for part in parts}
    for _ in range(n_samples):
        drawn = _drawn(curve, random)
        if subtracted:
            shift = random.normal(0.0, off.error)
            drawn = replace(
                drawn, background=curve.background + (pair[0] * shift[0] + pair[1] * shift[1]) * curve.live
            )
        rise = kernel.rise(np.cumsum(drawn.net), curve.error, curve.centre, edges[1], edges[-2])
        for part in parts:
            if rise.fluence > 0:
                start, stop, _ = _interval(drawn, rise, part / 100.0, "totvar", None)
                found[part].append(stop - start)
                starts[part].append(start)
    bin_width = 0.0 if curve.by_event else float(np.median(curve.width))
    return _sample_values(found, starts, n_samples, bin_width)


def _pulses(
    curve: Curve,
    edges: np.ndarray,
    off: Background,
    subtracted: bool,
    parts: Sequence[float],
    n_samples: int,
    seed: int | None,
) -> dict[str, Any]:
    """Return durations, errors and samples of sums of pulses that describe the burst."""
    if curve.by_event:
        raise KindError("duration: method='pulses' is for light curves; bin the events first (lightcurve)")
    n_bins = int(np.sum((curve.centre > edges[1]) & (curve.centre < edges[-2])))
    if n_bins < LEAST_BINS:
        raise ValueRangeError(
            f"duration: found {n_bins} bins in the burst, too few to know its shape; method='pulses' needs "
            f"{LEAST_BINS}: give finer bins"
        )
    _enough(n_samples)
    fractions = np.array(parts) / 100.0
    drawn, numbers = pulse_intervals(curve, edges, off, subtracted, fractions, n_samples, seed)
    values: dict[str, Any] = {"n_pulses": int(np.median(numbers)), "n_pulses_sample": numbers}
    for k, part in enumerate(parts):
        lengths = drawn[:, k, 1] - drawn[:, k, 0]
        low, middle, high = np.quantile(lengths, [0.16, 0.5, 0.84])
        start, stop = np.median(drawn[:, k], axis=0)
        values |= _named(part, float(start), float(stop), float(0.5 * (high - low)))
        values |= {
            f"t{part:g}": float(middle),
            f"t{part:g}_sample": lengths,
            f"t{part:g}_start_sample": drawn[:, k, 0],
        }
    return values


def _enough(n_samples: int) -> None:
    if not isinstance(n_samples, (int, np.integer)) or n_samples < 2:
        raise ValueRangeError(f"n_samples: found {n_samples!r}, expected a whole number, at least 2")


def _drawn(curve: Curve, random: np.random.Generator) -> Curve:
    """Return a curve drawn around this one."""
    if curve.error is None:
        return replace(curve, signal=random.poisson(curve.signal).astype(np.float64))
    return replace(curve, signal=random.normal(curve.signal, curve.error))


def _sample_values(
    found: dict[float, list[float]], starts: dict[float, list[float]], n_samples: int, least: float
) -> dict[str, Any]:
    """Return the errors, at least one bin, and the samples as variables; samples without fluence are NaN."""
    values: dict[str, Any] = {}
    for part, lengths in found.items():
        if len(lengths) < 2:
            raise ValueRangeError(
                "duration: almost no curve drawn has positive fluence; the burst is too faint"
            )
        missing = np.full(n_samples - len(lengths), np.nan)
        values |= {
            f"t{part:g}_err": max(float(np.std(lengths, ddof=1)), least),
            f"t{part:g}_sample": np.append(lengths, missing),
            f"t{part:g}_start_sample": np.append(starts[part], missing),
        }
    return values


def _dataset(ds: xr.Dataset, values: dict[str, Any], blocks: xr.Dataset) -> xr.Dataset:
    """Return the values with units and the attributes of where they came from."""
    variables: dict[str, Any] = {}
    for name, value in values.items():
        units = "s"
        if name.startswith("fluence"):
            units = "count"
        elif name.endswith(("_rate", "_rate_err")):
            units = "count/s"
        elif name == "window_snr" or name.startswith("n_"):
            units = "1"
        dims = ("sample",) if name.endswith("_sample") else ()
        variables[name] = (dims, value, {"units": units})
    variables["n_blocks"] = ((), blocks.sizes["time"], {"units": "1"})
    attrs = kept_attrs(ds.attrs, *ORIGIN, "provenance")
    return xr.Dataset(variables, attrs=attrs | kept_attrs(blocks.attrs, "block_prior", "block_statistic"))


def duration_gti(found: xr.Dataset) -> xr.DataTree:
    """Return the intervals of a duration as good time, a node for each.

    Parameters
    ----------
    found
        Result of `duration`.

    Returns
    -------
    xarray.DataTree
        Nodes of kind ``gti`` named as the extensions of the tool's file: ``gti_t90``, ``gti_t50``, those of
        `txx`, ``gti_peak``, ``gti_tot``, and ``gti_bkg1``, ``gti_bkg2``, which are open to one side
        (∓1e307).

    Raises
    ------
    KindError
        If `found` is no result of `duration`.

    Examples
    --------
    >>> import xarray as xr
    >>> found = xr.Dataset({"t100_start": 3.0, "t100_stop": 7.0, "peak_start": 4.0, "peak_stop": 5.0})
    >>> duration_gti(found)["gti_bkg2"].start.item()
    7.0
    """
    if "t100_start" not in found.variables:
        raise KindError("duration_gti: found no t100_start; give the result of duration()")
    spans = {
        f"gti_{name[:-6]}": (name, f"{name[:-6]}_stop")
        for name in map(str, found.variables)
        if name.endswith("_start") and name.startswith(("t", "peak")) and not name.startswith("t100")
    }
    attrs = dict(found.attrs)
    pairs = {node: (float(found[start]), float(found[stop])) for node, (start, stop) in spans.items()}
    burst = float(found["t100_start"]), float(found["t100_stop"])
    pairs |= {"gti_tot": burst, "gti_bkg1": (-OPEN_END, burst[0]), "gti_bkg2": (burst[1], OPEN_END)}
    nodes = {}
    for node, (start, stop) in pairs.items():
        # an open end has no date; the file then states the other one
        ends = {
            "tstart": start if abs(start) < OPEN_END else stop,
            "tstop": stop if stop < OPEN_END else start,
        }
        nodes[node] = build("gti", {"start": np.array([start]), "stop": np.array([stop])}, attrs | ends)
    return xr.DataTree.from_dict(nodes)


def fluence_fraction(
    ds: xr.Dataset, found: xr.Dataset, *, background: bool = False, compat: str | None = None
) -> xr.Dataset:
    """Return the part of the fluence that is reached at each time of a burst.

    Parameters
    ----------
    ds
        Kind ``lightcurve`` with one band, the one that `found` is of.
    found
        Result of `duration`.
    background
        As given to `duration`.
    compat
        As given to `duration`.

    Returns
    -------
    xarray.Dataset
        ``fraction`` and its error ``fraction_err`` against ``time``, the end of each bin (MET s): from 0 at
        the first to 1 at the last; without clipping, noise goes beyond. The error is that of a fixed total,
        √(f² v₂ + (1 − f)² v₁) with v₁ and v₂ the variances up to here and after here, over the fluence.

    Raises
    ------
    As `duration`.

    Examples
    --------
    >>> import numpy as np
    >>> from batx.schema import build
    >>> lc = build("lightcurve", {"time": np.arange(10) + 0.5,
    ...     "time_bnds": (("time", "bnds"), np.arange(10.0)[:, None] + [0.0, 1.0]), "energy": [50.0],
    ...     "energy_bnds": (("energy", "bnds"), [[15.0, 350.0]]),
    ...     "rate": (("time", "energy"), [[0.0]] * 4 + [[8.0]] * 2 + [[0.01]] * 4),
    ...     "rate_err": (("time", "energy"), [[0.1]] * 10),
    ...     "exposure": [1.0] * 10, "fracexp": [1.0] * 10, "gti_start": [0.0], "gti_stop": [10.0]},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> fluence_fraction(lc, duration(lc)).fraction.values.round(2)
    array([0. , 0.5, 1. , 1. ])
    """
    compat = compat_of(compat)
    curve = read_curve(ds, "auto", None, compat)
    edges = np.array(
        [
            float(found[name])
            for name in ("background1_start", "background1_stop", "background2_start", "background2_stop")
        ]
    )
    require_ends(curve, edges)
    if background:
        curve = replace(curve, background=background_line(curve, background_of(curve, edges, compat)))
    rise = rise_of(curve, edges)
    bins = slice(rise.first, rise.last + 1)
    cumulative = np.cumsum(curve.net)[bins]
    fraction = (cumulative - cumulative[0]) / rise.fluence
    variance = np.cumsum(variance_of(curve))[bins]
    before, after = variance - variance[0], variance[-1] - variance
    error = np.sqrt(fraction**2 * after + (1.0 - fraction) ** 2 * before) / rise.fluence
    return xr.Dataset(
        {
            "fraction": ("time", fraction, {"units": "1"}),
            "fraction_err": ("time", error, {"units": "1"}),
        },
        coords={"time": ("time", curve.lower[bins] + curve.width[bins], {"units": "s"})},
        attrs=dict(found.attrs),
    )
