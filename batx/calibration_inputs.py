"""The coded mask and the alignment that a call works with: given, or from the calibration database."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.caldb.finding import find
from batx.errors import CalibrationError, KindError
from batx.provenance import file_record

__all__ = ["alignment_for", "aperture_for", "records"]


def aperture_for(aperture: xr.Dataset | None, target: xr.Dataset, operation: str) -> xr.Dataset:
    """Return the coded mask given, or else that of the calibration database for the time of `target`.

    Raises
    ------
    KindError
        If none is given and none found: with what the database says.
    """
    if aperture is not None:
        return aperture
    try:
        return find("aperture", _time(target)).open()
    except CalibrationError as error:
        raise KindError(
            f"{operation}: aperture: found none, expected the coded mask (aperture=, opened with "
            f"batx.open_dataset from the aperture file); {error}"
        ) from error


def alignment_for(alignment: Any, attitude: Any, target: xr.Dataset) -> Any:
    """Return the alignment given; with an attitude and none given, that of the calibration database.

    `None` if there is neither: the nominal axes are then used, with a warning where they matter.
    """
    if alignment is not None or attitude is None:
        return alignment
    try:
        return find("alignment", _time(target)).open()
    except CalibrationError:
        return None


def _time(target: xr.Dataset) -> float | None:
    """Return when the data were taken, MET, `None` if they do not say."""
    for value in (target.attrs.get("tstart"), target["time"].values if "time" in target.coords else None):
        if value is not None and np.size(value):
            met = float(np.ravel(value)[0])
            if np.isfinite(met):
                return met
    return None


def records(**datasets: Any) -> dict[str, dict[str, Any]]:
    """Return what is known of the files of these Datasets, for `batx.provenance.with_calibration`."""
    made = {name: file_record(ds) for name, ds in datasets.items()}
    return {name: record for name, record in made.items() if record}
