"""Pulses of a known period: the frequency with its error, and the profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError, ValueRangeError
from batx.kernels.fourier import frequencies
from batx.kernels.series import EventSeries, fold_lines, fold_points
from batx.period_inputs import (
    Data,
    Timed,
    data_of,
    epoch_of,
    powers,
    read_timed,
    require_frequencies,
)
from batx.periods import HARMONICS, MOST_HARMONICS
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs
from batx.units import to_value

__all__ = ["pulse_frequency", "pulse_profile"]

#: steps towards the maximum of Z², of at most so many errors, until one is of less than so many
STEPS, LONGEST_STEP, SHORTEST_STEP = 100, 2.0, 1e-4
#: second differences of Z² are taken over so many errors
DIFFERENCE = 0.5
#: bins of phase with less than this part of the longest exposure have none, but for rounding
UNEXPOSED = 1e-9


def pulse_frequency(
    ds: xr.Dataset,
    frequency: Any,
    *,
    harmonics: int = HARMONICS,
    derivative: bool = False,
    frequency_dot: Any = 0.0,
    epoch: Any = None,
    energy: Any = None,
    gti: Any = None,
    baseline: Any = None,
    noise: str = "measured",
    weighting: str = "auto",
) -> xr.Dataset:
    """Return the frequency of pulses, and its derivative if asked for, with errors.

    Parameters
    ----------
    ds
        As for `z_search`; all bands together.
    frequency
        About where: a frequency (Hz), which the best one is within 1 / length of the data of; or the result
        of a search, of which the best frequency, derivative and the epoch are taken.
    harmonics
        Number of harmonics of Z².
    derivative
        Find the frequency derivative too.
    frequency_dot
        Frequency derivative (Hz/s): where to begin, or what it is.
    epoch
        When the frequency is that of the result: MET, a date, or ``"trigger"``; by default the middle of the
        data, where frequency and derivative are least correlated.
    energy, gti, baseline, noise, weighting
        As for `z_search`.

    Returns
    -------
    xarray.Dataset
        Scalars ``frequency``, ``frequency_err`` (Hz), ``frequency_dot``, ``frequency_dot_err`` (Hz/s; error 0
        unless `derivative`), ``correlation`` of the two, ``period``, ``period_err`` (s), ``epoch`` (MET s)
        and ``power``, Z² there.

    Raises
    ------
    KindError, EmptySelectionError, GtiError
        As `z_search`.
    ValueRangeError
        As `z_search`; also if Z² has no maximum near `frequency`.

    Notes
    -----
    The maximum of Z², summed over bands. Z² is twice the gain in log likelihood, so the errors are where it
    falls by 1: the covariance is −2 times the inverse of its second derivatives. For one sinusoid of constant
    exposure σ = 1/(2π s √Z²), s the standard deviation of the times. Source: algorithms 7.

    Examples
    --------
    >>> from batx.schema import build
    >>> time = np.arange(1000) + 0.5
    >>> counts = np.random.default_rng(1).poisson(100 + 20 * np.sin(2 * np.pi * 0.1 * time))
    >>> lc = build("lightcurve", {"time": time, "time_bnds": np.stack([time - 0.5, time + 0.5], -1),
    ...     "energy": [50.0], "energy_bnds": [[15.0, 350.0]], "counts": counts[:, None],
    ...     "exposure": np.ones(1000), "fracexp": np.ones(1000)},
    ...     {"statistic": "poisson", "weighting": "none"})
    >>> found = pulse_frequency(lc, 0.1, harmonics=1)
    >>> print(f"{float(found.frequency):.5f} ± {float(found.frequency_err):.5f} Hz")
    0.10000 ± 0.00001 Hz
    """
    if not 1 <= harmonics <= MOST_HARMONICS:
        raise ValueRangeError(f"harmonics: found {harmonics}, expected 1 to {MOST_HARMONICS}")
    timed = read_timed(ds, "pulse_frequency", energy=energy, epoch=None, gti=gti, weighting=weighting)
    start, slope, zero = _known(frequency, frequency_dot, None, timed.epoch)
    start += slope * (timed.epoch - zero)
    near = frequencies(start + np.linspace(-1.0, 1.0, 41) / timed.length)
    near = frequencies(near.values[near.values > 0.5 * start])
    require_frequencies(ds, timed, near.values, np.array([slope]), baseline, harmonics, "pulse_frequency")
    data = data_of(timed, baseline=baseline, noise=noise, fastest=harmonics * near.values[-1])

    def total(values: np.ndarray, derivative: float) -> np.ndarray:
        return powers(data, frequencies(values), derivative, harmonics)[..., -1].sum(axis=-1)

    around = total(near.values, slope)
    if not around.max() > 1.0:
        raise ValueRangeError(
            f"pulse_frequency: found Z² of at most {around.max():.3g} within 1 / length of {start:.9g} Hz, "
            "which is no maximum whose error could be told; search for the frequency first (z_search)"
        )
    scale = _scale(data, around.max())[: 1 + derivative]
    first = np.array([near.values[around.argmax()], slope])[: 1 + derivative]
    best, covariance, power = _maximum(
        lambda values, *rest: total(values, rest[0] if rest else slope), first, scale
    )
    if not derivative:
        best, covariance = np.append(best, slope), np.pad(covariance, (0, 1))
    zero = timed.epoch if epoch is None else epoch_of(epoch, ds.attrs, timed.epoch)
    shift = np.array([[1.0, zero - timed.epoch], [0.0, 1.0]])
    return _measured(ds, shift @ best, shift @ covariance @ shift.T, zero, power)


def _known(frequency: Any, frequency_dot: Any, epoch: float | None, default: float) -> tuple[float, ...]:
    """Return frequency, derivative and epoch that are given, or those of an earlier result."""
    if not isinstance(frequency, xr.Dataset):
        value = to_value(frequency, "Hz", "frequency")
        slope = to_value(frequency_dot, "Hz/s", "frequency_dot")
        if (
            value.size != 1
            or slope.size != 1
            or not (np.isfinite(value) and value > 0 and np.isfinite(slope))
        ):
            raise ValueRangeError(
                f"frequency, frequency_dot: found {frequency} and {frequency_dot}, expected one positive "
                "frequency and one derivative, or the result of a search"
            )
        return float(value), float(slope), default if epoch is None else epoch
    found = frequency
    if "power" in found and "frequency" in found.dims:
        found = found.isel(found["power"].argmax(...))
    if "frequency" not in found.variables:
        raise MissingVariableError(
            f"frequency: found a Dataset with {sorted(map(str, found.variables))}, expected the result of "
            "z_search, epoch_folding or pulse_frequency"
        )
    zero = found.get("epoch", found.attrs.get("epoch", default))
    return float(found["frequency"]), float(found.get("frequency_dot", 0.0)), float(zero)


def _scale(data: list[Data], power: float) -> np.ndarray:
    """Return about the errors of frequency and derivative of a sinusoid, constant exposure (s = T/√12)."""
    spread = max(one.series.spread for one in data)
    root = np.sqrt(max(power, 1.0))
    return np.array([0.5 / (np.pi * spread * root), np.sqrt(1.25) / (np.pi * spread**2 * root)])


def _maximum(
    value: Callable[..., np.ndarray], start: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return where a function is largest near `start`, −2 times its inverse curvature, and its value there.

    Newton steps with differences over `DIFFERENCE` times `scale`; `value` takes several of the first
    parameter at once.
    """
    place = start
    offsets = DIFFERENCE * np.array([-1.0, 0.0, 1.0])
    for _ in range(STEPS):
        rest = offsets if place.size == 2 else offsets[1:2]
        table = np.stack(
            [value(place[0] + scale[0] * offsets, *(place[1:] + scale[1:] * other)) for other in rest],
            axis=-1,
        )
        gradient, curvature = _differences(table)
        if np.all(np.linalg.eigvalsh(curvature) < 0):
            step = -np.linalg.solve(curvature, gradient)
        else:
            step = gradient / max(float(np.abs(gradient).max()), np.finfo(float).tiny)
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), np.finfo(float).tiny))
        if np.abs(step).max() < SHORTEST_STEP:
            break
        place = place + step * scale
    else:
        raise ValueRangeError(
            f"frequency: Z² has no maximum near {start[0]:.9g} Hz; search around it (z_search) and begin at "
            "what is found, or leave the derivative out"
        )
    covariance = -2.0 * np.linalg.inv(curvature) * np.outer(scale, scale)
    return place, covariance, float(table[1, table.shape[1] // 2])


def _differences(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient and second derivatives of values at three places along one axis or two."""
    h = DIFFERENCE
    if table.shape[1] == 1:
        a, b, c = table[:, 0]
        return np.array([(c - a) / (2 * h)]), np.array([[(a - 2 * b + c) / h**2]])
    middle = table[1, 1]
    gradient = np.array([table[2, 1] - table[0, 1], table[1, 2] - table[1, 0]]) / (2 * h)
    along = np.array([table[2, 1] + table[0, 1], table[1, 2] + table[1, 0]]) - 2 * middle
    mixed = (table[2, 2] - table[2, 0] - table[0, 2] + table[0, 0]) / (4 * h**2)
    return gradient, np.diag(along / h**2) + mixed * np.array([[0.0, 1.0], [1.0, 0.0]])


def _measured(
    ds: xr.Dataset, best: np.ndarray, covariance: np.ndarray, epoch: float, power: float
) -> xr.Dataset:
    """Return frequency and derivative, and what follows from them, as scalars."""
    error = np.sqrt(np.diag(covariance))
    product = error[0] * error[1]
    values = {
        "frequency": (best[0], "Hz"),
        "frequency_err": (error[0], "Hz"),
        "frequency_dot": (best[1], "Hz/s"),
        "frequency_dot_err": (error[1], "Hz/s"),
        "correlation": (covariance[0, 1] / product if product > 0 else 0.0, "1"),
        "period": (1.0 / best[0], "s"),
        "period_err": (error[0] / best[0] ** 2, "s"),
        "epoch": (epoch, "s"),
        "power": (power, "1"),
    }
    variables = {name: ((), value, {"units": units}) for name, (value, units) in values.items()}
    return xr.Dataset(variables, attrs=kept_attrs(ds.attrs, *ORIGIN, "provenance"))


def pulse_profile(
    ds: xr.Dataset,
    frequency: Any,
    *,
    frequency_dot: Any = 0.0,
    epoch: Any = None,
    n_bins: int = 16,
    energy: Any = None,
    gti: Any = None,
    baseline: Any = None,
    noise: str = "measured",
    weighting: str = "auto",
) -> xr.Dataset:
    """Return light curves or events folded with a period: the rate against phase, in bands, with errors.

    Parameters
    ----------
    ds, energy, gti, noise, weighting
        As for `batx.z_search`.
    frequency
        Hz, or the result of `pulse_frequency` or of a search, with its derivative and epoch.
    frequency_dot
        Frequency derivative (Hz/s).
    epoch
        When the phase is 0: MET, a date, or ``"trigger"``; by default that of the result given, or else the
        middle of the data.
    n_bins
        Bins of phase, from 0 to 1.
    baseline
        As for `batx.z_search`: slow changes of the rate are taken off, their mean is left.

    Returns
    -------
    xarray.Dataset
        Kind ``pulse_profile``: ``rate``, ``rate_err`` (phase, energy; count/s, per fully illuminated detector
        if weighted), ``exposure`` (phase) s, for counts also ``counts``; ``noise`` (energy), whose root the
        errors hold; ``frequency``, ``frequency_dot``, ``epoch``.

    Raises
    ------
    KindError, ValueRangeError, EmptySelectionError, GtiError
        As `batx.z_search`; also if bins are longer than those of phase, or a bin of phase has no exposure.

    Notes
    -----
    Each bin of phase is divided by its own exposure: good time is divided exactly for events; a bin of a
    light curve is counted where its middle is. Rates with errors are averaged with weights 1/σ². Bins of
    width δ reduce the k-th harmonic by sinc(k f δ).

    Examples
    --------
    >>> from batx.schema import build
    >>> time = np.arange(0.05, 1000.0, 0.1)
    >>> time = time[(0.1 * time) % 1.0 < 0.5]
    >>> ev = build("events", {"time": time, "energy": np.full(time.size, 50.0),
    ...            "gti_start": [0.0], "gti_stop": [1000.0]})
    >>> pulse_profile(ev, 0.1, epoch=0.0, n_bins=4).rate.values[:, 0]
    array([10., 10.,  0.,  0.])
    """
    if n_bins < 2:
        raise ValueRangeError(f"n_bins: found {n_bins}, expected at least 2")
    given = None if epoch is None else epoch_of(epoch, ds.attrs, 0.0)
    if given is None and isinstance(frequency, xr.Dataset):
        given = _known(frequency, frequency_dot, None, np.nan)[2]
    timed = read_timed(ds, "pulse_profile", energy=energy, epoch=given, gti=gti, weighting=weighting)
    value, slope, zero = _known(frequency, frequency_dot, given, timed.epoch)
    value += slope * (timed.epoch - zero)
    require_frequencies(
        ds, timed, np.array([value]), np.array([slope]), baseline, 0.5 * n_bins, "pulse_profile"
    )
    fastest = 0.5 * n_bins * value
    data = data_of(timed, baseline=baseline, noise=noise, fastest=fastest, weighed=False)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    weighted = timed.weighted or (timed.bins is not None and ds.attrs.get("weighting") == "mask")
    units = {"units": "count/s", **({"per": "detector"} if weighted else {})}
    dims = ("phase", "energy")
    rate, error, counts = (
        np.stack(values, axis=-1)
        for values in zip(*(_rates(one, value, slope, n_bins) for one in data), strict=True)
    )
    variables = {
        "phase": 0.5 * (edges[1:] + edges[:-1]),
        "phase_bnds": np.column_stack([edges[:-1], edges[1:]]),
        "energy": timed.energy_bounds.mean(axis=1),
        "energy_bnds": timed.energy_bounds,
        "rate": (dims, rate, units),
        "rate_err": (dims, error, units),
        "counts": counts if data[0].series.counted else None,
        "exposure": _exposure(timed, data[0], value, slope, n_bins),
        "noise": np.array([one.noise for one in data]),
        "frequency": value,
        "frequency_dot": slope,
        "epoch": timed.epoch,
    }
    gaussian = not data[0].series.counted
    attrs = {
        "statistic": "gaussian" if gaussian else "poisson",
        "weighting": "mask" if weighted else "none",
    }
    return build("pulse_profile", variables, kept_attrs(ds.attrs, *ORIGIN, "provenance") | attrs)


def _rates(
    one: Data, frequency: float, derivative: float, n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rate, error and sum of the data in each bin of phase."""
    sums = one.series.folded(frequency, derivative, n_bins)
    data, variance = one.series.measured(frequency, derivative, n_bins)
    mean = np.where(sums.mean > UNEXPOSED * sums.mean.max(), sums.mean, np.nan)
    return one.series.level + sums.data / mean, np.sqrt(one.noise * variance) / mean, data


def _exposure(timed: Timed, one: Data, frequency: float, derivative: float, n_bins: int) -> np.ndarray:
    """Return the good time in each bin of phase."""
    if isinstance(one.series, EventSeries):
        return fold_lines(*one.series.live, frequency, derivative, n_bins)
    assert timed.bins is not None
    columns = timed.bins.exposure[np.newaxis]
    return fold_points(one.series.time, columns, frequency, 0.5 * derivative, n_bins)[0]
