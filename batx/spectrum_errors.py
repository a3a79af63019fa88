"""What belongs to a BAT spectrum besides its counts: systematic errors, and where its source was."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import MissingVariableError, ValueRangeError
from batx.provenance import with_calibration
from batx.schema import require_bat, require_kind
from batx.spectra import STANDARD_EDGES
from batx.units import to_value

__all__ = ["STANDARD_SYSTEMATICS", "add_position", "add_systematics"]

#: fractional systematic error of the standard channels (the calibration's, as the archive's spectra have it)
STANDARD_SYSTEMATICS = (
    *(1.0, 1.0, 0.995995, 0.194785, 0.143939, 0.106281, 0.078826, 0.058209),
    *(0.04,) * 70,
    *(0.043429, 1.0),
)
#: what the provenance says of them
_PACKAGED = {"file": "packaged systematic errors of the standard channels", "database": "batx"}
#: steps of the grid that errors are averaged on, in 1/keV
_STEPS = 100


@by_engine
def add_systematics(spectrum: xr.Dataset, errors: Any = None, energy: Any = None) -> xr.Dataset:
    """Return a spectrum with ``sys_err``: fractional systematic errors, averaged over each channel.

    Parameters
    ----------
    spectrum
        Kind ``spectrum`` with ``energy_bnds``.
    errors
        Fractions of the rate, one for each interval; by default those of the calibration for the standard
        channels, which these get as they are.
    energy
        Edges in keV of the intervals of `errors`, shape (interval + 1,).
    engine
        ``"native"``; ``"heasoft"`` for the tool batphasyserr, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        `spectrum` with ``sys_err`` (channel); not computed if it was lazy. Its provenance says whether the
        packaged errors served, or given ones.

    Raises
    ------
    KindError, MissingVariableError
        If `spectrum` is no BAT spectrum or has no energies.
    ValueRangeError
        If errors are negative or not one for each interval, or come without their energies.

    Notes
    -----
    As ``batphasyserr``: the errors stand on a grid of 10 eV, where a later interval takes the shared point,
    and a channel has the mean of the points from its lower to its upper edge, both included. The grid begins
    at the upper edge of the first interval and ends at the lower edge of the last; what lies beyond has the
    error of the nearest point. Checked against the tool: equal.

    Examples
    --------
    >>> from batx.schema import build
    >>> spectrum = build("spectrum", {"channel": [0, 1], "energy_bnds": [[14.0, 20.0], [20.0, 24.0]],
    ...                  "rate": [0.1, 0.1], "stat_err": [0.01, 0.01], "exposure": ((), 10.0)},
    ...                  {"telescope": "SWIFT", "instrument": "BAT", "statistic": "gaussian",
    ...                   "weighting": "mask"})
    >>> add_systematics(spectrum).sys_err.values.round(3)
    array([0.148, 0.068])
    """
    require_bat(spectrum, "spectrum", operation="add_systematics")
    if "energy_bnds" not in spectrum.variables:
        raise MissingVariableError(
            "add_systematics: the spectrum has no energies of its channels (energy_bnds)"
        )
    if (errors is None) != (energy is None):
        raise ValueRangeError("add_systematics: errors and energy go together, found only one of them")
    channels = spectrum["energy_bnds"].values.astype(np.float64)
    attrs = {"units": "1", "long_name": "fractional systematic error", "fits_name": "SYS_ERR"}
    record = _PACKAGED if errors is None else {"file": "given errors"}
    spectrum = spectrum.assign_attrs(with_calibration(spectrum.attrs, {"systematics": record}))
    if errors is None:
        errors, energy = STANDARD_SYSTEMATICS, STANDARD_EDGES
        standard = np.stack([STANDARD_EDGES[:-1], STANDARD_EDGES[1:]], axis=1)
        if channels.shape == standard.shape and np.allclose(channels, standard, atol=1e-3, rtol=0):
            return spectrum.assign(sys_err=("channel", np.array(errors), attrs))
    values, edges = to_value(errors, "1", "errors"), to_value(energy, "keV", "energy")
    if (
        len(values) < 2
        or values.shape != (len(edges) - 1,)
        or not (np.isfinite(values) & (values >= 0)).all()
    ):
        raise ValueRangeError(
            f"add_systematics: found {values.size} errors for {edges.size} edges, expected one for each "
            "of at least two intervals, none negative"
        )
    points = _grid(edges)
    table = np.zeros(points[-1] + 1)
    for first, last, value in zip(points[:-1], points[1:], values, strict=True):
        table[first : last + 1] = value
    before = np.concatenate([[0.0], np.cumsum(table)])
    lower, upper = np.clip(_grid(channels.T), points[1], points[-2])
    mean = (before[upper + 1] - before[lower]) / (upper + 1 - lower)
    return spectrum.assign(sys_err=("channel", mean, attrs))


def _grid(edges: np.ndarray) -> np.ndarray:
    """Return the points of the grid that edges in single precision, as files have them, fall on."""
    single = np.asarray(edges, np.float32).astype(np.float64)
    return np.floor(single * _STEPS).astype(np.int64)


@by_engine
def add_position(spectrum: xr.Dataset, trace: xr.Dataset) -> xr.Dataset:
    """Return a spectrum that says where its source was: position, coding and normalisation at mid-time.

    Parameters
    ----------
    spectrum
        Kind ``spectrum`` of BAT, single or with a time axis.
    trace
        Kind ``ray_trace`` of one source (`batx.ray_trace`, or the auxiliary file of the mask weights).
    engine
        ``"native"``; ``"heasoft"`` for the tool batupdatephakw, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        With attributes ``bat_xobj``, ``bat_yobj``, ``bat_zobj`` (cm), ``pcodefr``, ``ngoodpix`` and
        ``mskwtsqf``, or with a time axis variables of these names. They are of the last row of `trace` before
        the middle of each spectrum, of the first row if there is none before (as ``batupdatephakw``).

    Raises
    ------
    KindError, MissingVariableError
        If something is of another kind, or lacks times.
    ValueRangeError
        If the trace is empty or of several sources.

    Examples
    --------
    >>> from batx.schema import build
    >>> bat = {"telescope": "SWIFT", "instrument": "BAT"}
    >>> trace = build("ray_trace", {"time": [0.0, 10.0], "imx": [0.1, 0.2], "imy": [0.0, 0.0],
    ...               "x": [1e6, 2e6], "y": [0.0, 0.0], "z": [1e7, 1e7], "pcode": [1.0, 0.9],
    ...               "n_good": [30000, 30000], "mask_weight_norm": [1.0, 1.01]}, bat)
    >>> spectrum = build("spectrum", {"channel": [0], "rate": [0.1], "stat_err": [0.01],
    ...                  "exposure": ((), 20.0), "time": ((), 15.0), "time_bnds": (("bnds",), [5.0, 25.0])},
    ...                  bat | {"statistic": "gaussian", "weighting": "mask"})
    >>> add_position(spectrum, trace).attrs["mskwtsqf"]
    1.01
    """
    require_bat(spectrum, "spectrum", operation="add_position")
    require_kind(trace, "ray_trace", operation="add_position: trace")
    if trace.sizes["time"] == 0 or "source" in trace.dims:
        raise ValueRangeError("add_position: expected the trace of one source, with at least one row")
    if "time_bnds" not in spectrum.variables:
        raise MissingVariableError("add_position: the spectrum has no times (time_bnds)")
    columns = {
        "bat_xobj": "x",
        "bat_yobj": "y",
        "bat_zobj": "z",
        "pcodefr": "pcode",
        "ngoodpix": "n_good",
        "mskwtsqf": "mask_weight_norm",
    }
    missing = [name for name in columns.values() if name not in trace]
    if missing:
        raise MissingVariableError(f"add_position: the trace has no {', '.join(missing)}")
    middle = spectrum["time_bnds"].values.mean(axis=-1)
    row = np.maximum(np.searchsorted(trace["time"].values, middle, side="left") - 1, 0)
    found = {name: trace[column].values[row] for name, column in columns.items()}
    if "time" not in spectrum.dims:
        return spectrum.assign_attrs({name: value.item() for name, value in found.items()})
    units = {"bat_xobj": "cm", "bat_yobj": "cm", "bat_zobj": "cm"}
    made = spectrum.assign(
        {name: ("time", value, {"units": units.get(name, "1")}) for name, value in found.items()}
    )
    made.attrs = {key: value for key, value in spectrum.attrs.items() if key not in found}
    return made
