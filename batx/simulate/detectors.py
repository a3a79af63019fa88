"""The detector array: which detectors are off, dead, hot or noisy, and their gains and offsets."""

from __future__ import annotations

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.instrument.detector import DETECTOR, DETID, N_DETECTORS
from batx.schema import build
from batx.simulate.checks import positive, stream

__all__ = ["detector_mask", "detector_table"]


def detector_table(
    *,
    disabled: int = 500,
    hot: int = 40,
    cold: int = 40,
    noisy: int = 0,
    hot_rate: float = 5.0,
    noisy_rate: float = 1.0,
    efficiency_scatter: float = 0.0,
    seed: int = 0,
) -> xr.Dataset:
    """Return the state and calibration of every detector.

    Parameters
    ----------
    disabled
        Number of detectors switched off on board; they give no events and are marked in the enable map.
    hot, cold, noisy
        Numbers of enabled detectors that give `hot_rate` count/s of noise all the time, that see nothing, and
        that give `noisy_rate` count/s of noise in random spells of 1 s, half of the time.
    efficiency_scatter
        Standard deviation of the detectors' efficiency about 1.
    seed
        Same seed, same detectors.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_table`` on ``(dety, detx)``: ``enabled``, ``hot``, ``cold``, ``noisy`` (bool),
        ``efficiency``, ``noise_rate`` (count/s), ``gain`` (keV/ADU) and ``offset`` (ADU), and the pulser
        calibration of the energy scale (``pulser_gain``, ``pulser_offset``, ``flight_pulser_gain``,
        ``flight_pulser_offset``). In the gaps everything is false, 0 or 1 (gains).

    Raises
    ------
    ValueRangeError
        If a number or rate is negative or there are not enough detectors.

    Examples
    --------
    >>> table = detector_table(disabled=100, hot=5)
    >>> int(table["enabled"].sum()), int(table["hot"].sum())
    (32668, 5)
    """
    numbers = {"disabled": disabled, "hot": hot, "cold": cold, "noisy": noisy}
    for name, number in numbers.items():
        if number != int(number) or number < 0:
            raise ValueRangeError(f"{name}: found {number}, expected a whole number of detectors, 0 or more")
    if sum(numbers.values()) >= N_DETECTORS:
        raise ValueRangeError(
            f"found {sum(numbers.values())} odd detectors, expected fewer than {N_DETECTORS}"
        )
    rng = stream(seed, "detectors")
    chosen = rng.permutation(N_DETECTORS)[: sum(numbers.values())]
    groups = dict(zip(numbers, np.split(chosen, np.cumsum(list(numbers.values()))[:-1]), strict=True))
    state = {name: DETECTOR & np.isin(DETID, ids) for name, ids in groups.items()}
    enabled = DETECTOR & ~state["disabled"]

    scatter = positive(efficiency_scatter, "1", "efficiency_scatter", zero=True)
    efficiency = np.maximum(1 + scatter * rng.standard_normal(DETECTOR.shape), 0.0)
    efficiency[~enabled | state["cold"]] = 0.0
    noise_rate = positive(hot_rate, "count/s", "hot_rate", zero=True) * state["hot"]
    noise_rate = noise_rate + positive(noisy_rate, "count/s", "noisy_rate", zero=True) * state["noisy"]

    def normal(mean: float, sigma: float) -> np.ndarray:
        return np.where(DETECTOR, mean + sigma * rng.standard_normal(DETECTOR.shape), 1.0).astype(np.float32)

    plane = ("dety", "detx")
    return build(
        "detector_table",
        {
            "detid": DETID,
            "enabled": (plane, enabled),
            "hot": (plane, state["hot"]),
            "cold": (plane, state["cold"]),
            "noisy": (plane, state["noisy"]),
            "efficiency": (plane, efficiency, {"units": "1"}),
            "noise_rate": (plane, noise_rate, {"units": "count/s"}),
            "gain": (plane, normal(0.2, 0.005), {"units": "keV"}),
            "offset": (plane, normal(3200.0, 20.0), {"units": "1"}),
            "pulser_gain": (plane, normal(10.0, 0.15), {"units": "1"}),
            "pulser_offset": (plane, normal(-20.0, 3.0), {"units": "1"}),
            "flight_pulser_gain": (plane, normal(10.0, 0.15), {"units": "1"}),
            "flight_pulser_offset": (plane, normal(-20.0, 3.0), {"units": "1"}),
        },
        {"telescope": "SWIFT", "instrument": "BAT", "offpulse": 400},
    )


def detector_mask(table: xr.Dataset | None = None) -> xr.Dataset:
    """Return the detector mask: good are the enabled detectors that are not hot, cold or noisy.

    Parameters
    ----------
    table
        From `detector_table`; without it every detector is good.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_mask``; the gaps are not good.
    """
    if table is None:
        good = DETECTOR.copy()
    else:
        good = table["enabled"].values & ~(table["hot"] | table["cold"] | table["noisy"]).values
    return build("detector_mask", {"good": good}, {"telescope": "SWIFT", "instrument": "BAT"})


def pulse_height_scale(table: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return intercept (ADU) and slope (keV/ADU) of every detector: ``PHA = intercept - E / slope``.

    This is algorithms 2.8 (fixed DAC) solved for the pulse height, without the non-linear residual.
    """
    flight, ground = 1.0 / table["flight_pulser_gain"].values, 1.0 / table["pulser_gain"].values
    per_adu = table["gain"].values / flight
    base = table["offset"].values - (table.attrs["offpulse"] - table["flight_pulser_offset"].values) / per_adu
    intercept = base + (table.attrs["offpulse"] - table["pulser_offset"].values) / per_adu
    return intercept.astype(np.float64), (per_adu * ground).astype(np.float64)
