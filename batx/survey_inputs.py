"""What the functions of the survey take: an observation's Datasets, its histograms, a band of energies.

Private to the functions that process survey histograms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from batx.energy_calibrations import tree_nodes
from batx.errors import EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.instrument.detector import SHAPE
from batx.schema import require_bat
from batx.units import to_value

__all__ = ["flat_energies", "nodes_of", "number", "survey_histograms"]

_NEEDED = ("time_bnds", "energy_bnds", "exposure")


def nodes_of(observation: Any, operation: str) -> dict[str, xr.Dataset]:
    """Return the Datasets of an observation by path.

    Raises
    ------
    KindError
        If it is no tree.
    """
    if not isinstance(observation, xr.DataTree):
        raise KindError(
            f"{operation}: found {type(observation).__name__}, expected the tree of an observation "
            "(batx.open_observation)"
        )
    return tree_nodes(observation)


def survey_histograms(given: Any, operation: str) -> list[xr.Dataset]:
    """Return the survey histograms of an observation or those given, in order of time.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError
        If something is no histogram along time and energy.
    EmptySelectionError
        If there is none.
    """
    if isinstance(given, xr.DataTree):
        given = [
            ds
            for path, ds in nodes_of(given, operation).items()
            if path.startswith("survey/") and {"time", "energy"} <= set(ds.sizes)
        ]
    planes = [given] if isinstance(given, xr.Dataset) else given
    if not isinstance(planes, Iterable) or isinstance(planes, (str, bytes)):
        raise KindError(f"{operation}: found {type(given).__name__}, expected survey histograms")
    planes = [plane for plane in (_checked(given, operation) for given in planes) if plane.sizes["time"]]
    if not planes:
        raise EmptySelectionError(
            f"{operation}: found no survey histogram (bat/survey/sw*.dph*) in the observation, expected some"
        )
    return sorted(planes, key=lambda plane: float(plane["time_bnds"].values[0, 0]))


def _checked(plane: Any, operation: str) -> xr.Dataset:
    require_bat(plane, "detector_plane", operation=operation)
    missing = [name for name in _NEEDED if name not in plane.variables]
    quantity = next((name for name in ("counts", "rate") if name in plane), None)
    if missing or quantity is None:
        raise MissingVariableError(
            f"{operation}: found a detector plane without {', '.join(missing) or 'counts'}, expected survey "
            "histograms: counts, exposure, and bounds of times and energies"
        )
    expected = {"time", "energy", "dety", "detx"}
    if set(plane[quantity].dims) != expected or (plane.sizes["dety"], plane.sizes["detx"]) != SHAPE:
        raise ValueRangeError(
            f"{operation}: found {quantity} with dimensions {dict(plane[quantity].sizes)}, expected time, "
            f"energy, dety={SHAPE[0]} and detx={SHAPE[1]}"
        )
    return plane


def flat_energies(energy: Any, name: str) -> tuple[float, float]:
    """Return the ends of one band, keV.

    Raises
    ------
    UnitsError, ValueRangeError
        If it is no band.

    Examples
    --------
    >>> flat_energies((14, 195), "energy")
    (14.0, 195.0)
    """
    values = np.asarray(to_value(energy, "keV", name), dtype=np.float64)
    if values.shape != (2,) or not values[0] < values[1]:
        raise ValueRangeError(f"{name}: found {np.asarray(energy).tolist()}, expected the two ends of a band")
    return float(values[0]), float(values[1])


def number(value: Any, name: str) -> float:
    """Return a keyword that is a number.

    Raises
    ------
    ValueRangeError
        If it is none.

    Examples
    --------
    >>> number("5", "snr")
    5.0
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueRangeError(f"{name}: found {value!r}, expected a number") from None
