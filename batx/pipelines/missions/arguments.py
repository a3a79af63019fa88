"""Arguments of the pipelines of imaging telescopes, looked at before tools run for hours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batx.errors import MissingFileError, ModelError, ValueRangeError
from batx.fit_data import STATISTICS
from batx.spectral_models import spectral_model

__all__ = ["require_arguments", "require_source"]

#: numbers that are not negative
_NUMBERS = ("min_exposure", "min_counts", "least_counts")
_FILES, _FOLDERS = ("region", "background_region"), ("regions",)
_ERRORS = ("profile", "covariance")


def require_arguments(given: Mapping[str, Any]) -> None:
    """Raise unless the arguments of a pipeline make sense, as far as can be told without the data.

    Parameters
    ----------
    given
        Arguments by name; of those looked at here any may be left out but the ones of `require_source`.

    Raises
    ------
    ValueRangeError
        If one is not of its range.
    ModelError
        If there is no such model, or it has no such parameters.
    MissingFileError
        If a region file is not there.
    """
    require_source(given["ra"], given["dec"], given["energy"], given["dt"])
    for name in _NUMBERS:
        value = given.get(name, 0)
        if not (_is_number(value) and value >= 0):
            raise ValueRangeError(f"{name}: found {value!r}, expected a number not below 0")
    if (zero := given.get("t0")) is not None and not _is_number(zero):
        raise ValueRangeError(f"t0: found {zero!r}, expected a Modified Julian Date")
    if not isinstance(given.get("reprocess", True), bool):
        raise ValueRangeError(f"reprocess: found {given['reprocess']!r}, expected True or False")
    _require_fit(given)
    for name in (*_FILES, *_FOLDERS):
        path = given.get(name)
        if isinstance(path, (str, os.PathLike)):
            there = Path(path).expanduser()
            if not (there.is_dir() if name in _FOLDERS else there.is_file()):
                kind = "folder" if name in _FOLDERS else "file"
                raise MissingFileError(f"{name}: there is no {kind} {there}")


def _require_fit(given: Mapping[str, Any]) -> None:
    for name, known in (("statistic", ("auto", *STATISTICS)), ("errors", _ERRORS)):
        if (value := given.get(name, known[0])) not in known:
            raise ValueRangeError(f"{name}: found {value!r}, expected one of {', '.join(known)}")
    if "model" not in given:
        return
    names = spectral_model(given["model"]).names
    tied = given.get("tied") or ()
    if unknown := {tied} - set(names) if isinstance(tied, str) else set(tied) - set(names):
        raise ModelError(f"tied: found {sorted(unknown)}, expected some of {', '.join(names)}")


def require_source(ra: Any, dec: Any, energy: Sequence[float], dt: Any) -> None:
    """Raise unless these are a position (degrees), a range of energies (keV) and a length of time (s).

    Raises
    ------
    ValueRangeError
        If one is not.
    """
    if not (_is_number(ra) and _is_number(dec) and 0 <= ra <= 360 and -90 <= dec <= 90):
        raise ValueRangeError(f"ra, dec: found {ra!r}, {dec!r}, expected degrees")
    ends = energy if isinstance(energy, (Sequence, np.ndarray)) else ()
    if len(ends) != 2 or not all(map(_is_number, ends)) or not 0 < ends[0] < ends[1]:
        raise ValueRangeError(f"energy: found {energy}, expected (low, high) in keV")
    if not (_is_number(dt) and dt > 0):
        raise ValueRangeError(f"dt: found {dt!r}, expected seconds above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))
