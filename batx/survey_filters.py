"""The filters of good time of survey histograms, each on its own (algorithms of the survey, 1.3).

Private to `batx.survey_gti`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError, ValueRangeError
from batx.kernels import gti as kernel
from batx.survey_inputs import flat_energies

__all__ = ["FILTERS", "MADE", "PARTING", "Inputs", "Intervals", "Rows"]

#: what survey histograms must pass, in the order of the result
FILTERS = {
    "histograms": "there is a histogram",
    "flags": "the histogram is flagged as good (DATA_FLAGS)",
    "midnight": "it does not reach over midnight of mission time",
    "global": "times known as bad for the instrument (calibration database)",
    "pointing": "within ten arcmin of the target (attitude)",
    "detectors": "enough detectors are on (BDIHKNGOODDETS)",
    "tracker": "star tracker locked (SAC_MODESTAT, SAC_ADERR)",
    "tracker_loss": "star tracker's loss function is small (STAST_LOSSFCN)",
    "rate": "count rate of the array within limits",
    "elevation": "the target is above the horizon (ELV)",
    "gti": "good time of one's own",
}
#: histograms of a snapshot follow each other within this, s: each reaches so much further on both sides
_SLACK = 5.0
#: each histogram apart: the rate filter parts neighbours by this, which is given back
PARTING = 1.0
#: telemetry of the star trackers comes each minute: a row stands for more than half of that, s
_TRACKER_REACH = 35.0
_ADERR = 0.2
_NO_LOSS, _LOSS_UNIT = 65535.0, 1e-12
_DAY = 86400.0
#: attitude rows before this time are none, s
_FIRST_TIME = 1000.0

Intervals = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """Start, exposure, flags and rate (count/s) of all histograms in order of time."""

    start: np.ndarray
    exposure: np.ndarray
    flags: np.ndarray
    rate: np.ndarray

    @classmethod
    def of(cls, planes: list[xr.Dataset], energy: Any, with_rate: bool) -> Rows:
        """Return the rows of planes, with their rate in a band if it is wanted."""
        columns: list[list[np.ndarray]] = [[], [], [], []]
        for plane in planes:
            start = plane["time_bnds"].values[:, 0]
            exposure = plane["exposure"].values.astype(np.float64)
            flags = plane["data_flags"].values if "data_flags" in plane else np.zeros(start.size, int)
            total = _totals(plane, energy) if with_rate else np.zeros(start.size)
            with np.errstate(divide="ignore", invalid="ignore"):
                rate = total / exposure
            for column, values in zip(columns, (start, exposure, flags, rate), strict=True):
                column.append(values)
        joined = [np.concatenate(column) for column in columns]
        order = np.argsort(joined[0], kind="stable")
        return cls(*(column[order] for column in joined))

    @property
    def stop(self) -> np.ndarray:
        """End of each histogram."""
        return self.start + self.exposure

    def intervals(self, chosen: np.ndarray, before: float, after: float) -> Intervals:
        """Return the intervals of some histograms, grown on both sides."""
        return self.start[chosen] - before, self.stop[chosen] + after


def _totals(plane: xr.Dataset, energy: Any) -> np.ndarray:
    """Return the counts of each histogram in a band, over all detectors."""
    low, high = flat_energies(energy, "energy")
    bounds = plane["energy_bnds"].values
    inside = (bounds[:, 0] >= low - 1e-3) & (bounds[:, 1] <= high + 1e-3)
    if not inside.any():
        raise ValueRangeError(
            f"energy: found {low:g} to {high:g} keV, in which no channel of the histograms lies; they reach "
            f"from {bounds[0, 0]:g} to {bounds[-1, 1]:g} keV"
        )
    first, last = np.flatnonzero(inside)[[0, -1]]
    quantity = "counts" if "counts" in plane else "rate"
    totals = [
        plane[quantity].isel(time=row, energy=slice(first, last + 1)).values.sum(dtype=np.float64)
        for row in range(plane.sizes["time"])
    ]
    seconds = plane["exposure"].values if quantity == "rate" else 1.0
    return np.array(totals) * seconds


@dataclass(frozen=True)
class Inputs:
    """What the filters look at; `parted`: histograms apart stay so without the filter of the rate."""

    nodes: dict[str, xr.Dataset]
    rows: Rows
    apart: bool
    parted: bool
    rate: tuple[float, float]
    least: float
    elevation: float
    loss: float
    flags: bool
    midnight: bool

    @property
    def slack(self) -> float:
        """By how much the interval of a histogram reaches over it."""
        return 0.0 if self.apart else _SLACK

    def whole_days(self) -> np.ndarray:
        """Return which histograms begin and end on the same day."""
        return np.floor(self.rows.start / _DAY) == np.floor(self.rows.stop / _DAY)

    def flagged_good(self) -> np.ndarray:
        """Which histograms pass the filters of their own."""
        good = np.ones(self.rows.start.size, bool)
        if self.flags:
            good &= self.rows.flags == 0
        return good & self.whole_days() if self.midnight else good

    def table(self, name: str, *variables: str) -> xr.Dataset:
        """Return the housekeeping that has some variables."""
        for ds in self.nodes.values():
            if "time" in ds.coords and all(variable in ds for variable in variables):
                return ds
        raise MissingVariableError(
            f"survey_gti: found no housekeeping with {', '.join(variables)}, which the filter {name!r} needs "
            f"({FILTERS[name]}); add the file to the observation, or leave_out={name!r}"
        )


def _histograms(inputs: Inputs) -> Intervals:
    reach = -PARTING if inputs.apart and inputs.parted else inputs.slack
    return inputs.rows.intervals(np.ones(inputs.rows.start.size, bool), reach, reach)


def _flags(inputs: Inputs) -> Intervals:
    return inputs.rows.intervals(inputs.rows.flags == 0, inputs.slack, inputs.slack)


def _midnight(inputs: Inputs) -> Intervals:
    return inputs.rows.intervals(inputs.whole_days(), inputs.slack, inputs.slack)


def _rates(inputs: Inputs) -> Intervals:
    low, high = inputs.rate
    passed = inputs.flagged_good() & (inputs.rows.rate > low) & (inputs.rows.rate < high)
    reach = -PARTING if inputs.apart else _SLACK
    return inputs.rows.intervals(passed, reach, reach)


def _pointing(inputs: Inputs) -> Intervals:
    ds = inputs.table("pointing", "ten_arcmin")
    used = ds["time"].values > _FIRST_TIME
    return kernel.maketime(ds["time"].values[used], ds["ten_arcmin"].values[used], 0.0, 0.0)


def _detectors(inputs: Inputs) -> Intervals:
    ds = inputs.table("detectors", "bdihkngooddets")
    return kernel.maketime(ds["time"].values, ds["bdihkngooddets"].values > inputs.least, 0.5, 0.5)


def _tracker(inputs: Inputs) -> Intervals:
    ds = inputs.table("tracker", "sac_modestat", "sac_aderr")
    locked = ds["sac_modestat"].values.astype(np.int64) // 32 % 2 == 1
    good = locked & (ds["sac_aderr"].values < _ADERR)
    return kernel.pad(*kernel.maketime(ds["time"].values, good, 0.5, 0.5), _TRACKER_REACH, _TRACKER_REACH)


def _tracker_loss(inputs: Inputs) -> Intervals:
    ds = inputs.table("tracker_loss", "stast_lossfcn")
    value = ds["stast_lossfcn"].values.astype(np.float64)
    nothing = (value == _NO_LOSS) | (np.abs(value - _NO_LOSS * _LOSS_UNIT) <= _LOSS_UNIT)
    scaled = np.where(value >= 1, value * _LOSS_UNIT, value)  # older files are not scaled
    good = kernel.maketime(ds["time"].values[~nothing], (scaled < inputs.loss)[~nothing], 0.5, 0.5)
    return kernel.pad(*good, _TRACKER_REACH, _TRACKER_REACH)


def _elevation(inputs: Inputs) -> Intervals:
    ds = inputs.table("elevation", "elv")
    return kernel.maketime(ds["time"].values, ds["elv"].values > inputs.elevation, 0.0, 0.0)


#: filters that are made of the observation itself
MADE: dict[str, Callable[[Inputs], Intervals]] = {
    "histograms": _histograms,
    "flags": _flags,
    "midnight": _midnight,
    "pointing": _pointing,
    "detectors": _detectors,
    "tracker": _tracker,
    "tracker_loss": _tracker_loss,
    "rate": _rates,
    "elevation": _elevation,
}
