"""Scaled maps: the detector-plane image that a trigger sends down at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError, ValueRangeError
from batx.instrument.detector import DETECTOR, DETID, detid_to_xy
from batx.io.file import FitsFile, energies_of
from batx.io.fits import Hdu
from batx.io.header import keyword
from batx.io.identify import PLANE
from batx.schema import build

__all__ = ["map_intervals", "scaled_map"]

_DETECTORS = 32768
#: columns of the times of a map: seconds, and units of 20 microseconds in 16 bits without sign
_TIMES = ("mStartFore", "mEndFore", "mStartBack", "mEndBack")
_SUBSECOND, _SIXTEEN_BITS = 2e-5, 65536


def scaled_map(
    path: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    time: Any = None,
    energy: tuple[float, float] | None = None,
    detector_mask: xr.Dataset | None = None,
) -> xr.Dataset:
    """Open a scaled map of a trigger as a detector-plane image, which `batx.sky_image` images.

    The map is the one array of the file that has the shape of the detector plane, or a value for each of the
    32768 detectors: an image, a column with an array, or a column of values beside DET_ID (or in the order of
    the detector numbers).

    Parameters
    ----------
    path
        The file.
    scale
        Counts in a unit of the map: the map is sent with few bits a detector, after a division.
    time
        Start and stop of the counts in any form (numbers are MET); by default those of the foreground that
        the file states (``mStartForeSec`` …), or TSTART and TSTOP of the header.
    energy
        Band in keV, if the file does not tell.
    detector_mask
        Detectors that were on, for the noise of a map with negative counts; all of them by default.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane``: ``counts`` in float64, zero outside the detectors; with ``time``, ``energy``
        and ``exposure`` as far as they are known. Where the background was taken off on board, counts are
        negative too; ``variance`` is then that of the counts from detector to detector, the same for all. It
        holds the shadow of the source too, and so is rather too large.

    Raises
    ------
    FileFormatError
        If the file has no such array, or several.
    ValueRangeError
        If the scale or the interval makes no sense, or the map is not finite.
    MissingFileError
        If there is no such file.

    Notes
    -----
    Of the files only the columns of the times are known: this recognises the forms in which a map can be
    in a FITS file, whatever their names.

    Examples
    --------
    >>> import tempfile
    >>> from astropy.io import fits
    >>> path = Path(tempfile.mkdtemp()) / "sw00012345000msbsm.fits"
    >>> image = np.zeros((173, 286), np.int16)
    >>> image[:16, :16] = 3
    >>> fits.PrimaryHDU(image).writeto(path)
    >>> ds = scaled_map(path, scale=2.0)
    >>> ds["counts"].dims, float(ds["counts"].sum())
    (('dety', 'detx'), 1248.0)
    """
    if not (np.isfinite(scale) and scale > 0):
        raise ValueRangeError(f"scale: found {scale!r}, expected a positive number")
    file = FitsFile(Path(path))
    hdu, plane = _map_of(file)
    if not np.isfinite(plane).all():
        raise ValueRangeError(f"{path}: the map has values that are not finite")
    attrs = {name: value for name, value in file.attrs(hdu).items() if name != "batx_kind"}
    counts = np.where(DETECTOR, plane * scale, 0.0)
    variables: dict[str, Any] = {"counts": (("dety", "detx"), counts), "detid": (("dety", "detx"), DETID)}
    if (counts < 0).any():
        used = DETECTOR if detector_mask is None else DETECTOR & detector_mask["good"].values
        variance = np.where(used, counts[used].var(), 0.0)
        variables["variance"] = (("dety", "detx"), variance, {"units": "count**2"})
    span = _span(file, hdu, time, attrs)
    if span is not None:
        variables |= {"time": ((), sum(span) / 2), "time_bnds": (("bnds",), np.array(span))}
        exposure = next((value for one in (hdu, file.primary) if (value := keyword(one, "EXPOSURE"))), None)
        variables["exposure"] = (
            (),
            float(exposure) if isinstance(exposure, (int, float)) else span[1] - span[0],
        )
    band = energy or energies_of(hdu)
    if band is not None:
        if not 0 <= band[0] < band[1]:
            raise ValueRangeError(f"energy: found {band}, expected two increasing energies in keV")
        variables |= {"energy": ((), sum(band) / 2), "energy_bnds": (("bnds",), np.array(band, np.float64))}
    made = build("detector_plane", variables, attrs)
    made.encoding["source"] = os.fspath(path)
    return made


def map_intervals(file: FitsFile) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return start and stop (MET) of foreground and background of a scaled map; `None` if it does not say.

    The first row of the table counts that has the columns ``mStartForeSec``, ``mStartForeSubsec`` and so on.
    """
    names = [f"{name}{part}".upper() for name in _TIMES for part in ("Sec", "Subsec")]
    for hdu in file.hdus:
        if hdu.type == "table" and hdu.rows and set(names) <= hdu.columns.keys():
            values = [float(hdu.values(name)[0]) for name in names]
            ends = [
                whole + part % _SIXTEEN_BITS * _SUBSECOND
                for whole, part in zip(values[::2], values[1::2], strict=True)
            ]
            if ends[0] < ends[1]:
                return (ends[0], ends[1]), (ends[2], ends[3])
    return None


def _map_of(file: FitsFile) -> tuple[Hdu, np.ndarray]:
    """Return the map of a file and its HDU."""
    found = [(hdu, plane) for hdu in file.hdus for plane in _maps(hdu)]
    if len(found) != 1:
        shapes = ", ".join(f"{hdu.name or hdu.type} {getattr(hdu, 'shape', ())}" for hdu in file.hdus)
        raise FileFormatError(
            f"{file.path}: found {len(found)} maps of the detectors ({shapes}); expected one image of "
            f"{PLANE[0]} rows and {PLANE[1]} columns, or {_DETECTORS} values"
        )
    return found[0]


def _maps(hdu: Hdu) -> list[np.ndarray]:
    if hdu.type == "image":
        return [_plane(hdu.array().read())] if hdu.shape in (PLANE, (_DETECTORS,)) else []
    if hdu.type != "table":
        return []
    names = [name for name, column in hdu.columns.items() if column.code in "BIJKED"]
    arrays = [
        hdu.values(name)[0]
        for name in names
        if hdu.rows == 1 and hdu.columns[name].shape in (PLANE, (_DETECTORS,))
    ]
    if hdu.rows == _DETECTORS:
        single = [name for name in names if not hdu.columns[name].shape]
        numbers = hdu.values("DET_ID") if "DET_ID" in single else np.arange(_DETECTORS)
        if np.array_equal(np.sort(numbers), np.arange(_DETECTORS)):
            skipped = ("DET_ID", "DETID", "DETX", "DETY", "TIME")
            arrays += [hdu.values(name)[np.argsort(numbers)] for name in single if name not in skipped]
    return [_plane(array) for array in arrays]


def _plane(values: np.ndarray) -> np.ndarray:
    """Return values as an image of the plane."""
    values = np.asarray(values, dtype=np.float64)
    if values.shape == PLANE:
        return values
    plane = np.zeros(PLANE)
    detx, dety = detid_to_xy(np.arange(_DETECTORS))
    plane[dety, detx] = values
    return plane


def _span(file: FitsFile, hdu: Hdu, time: Any, attrs: dict[str, Any]) -> tuple[float, float] | None:
    from batx.met import to_met

    if time is not None:
        ends = np.atleast_1d(to_met(time, attrs, name="time"))
        if ends.shape != (2,) or not ends[0] < ends[1]:
            raise ValueRangeError(f"time: found {time!r}, expected start and stop")
        return float(ends[0]), float(ends[1])
    stated = map_intervals(file)
    if stated is not None:
        return stated[0]
    start, stop = (
        next(
            (value for one in (hdu, file.primary) if isinstance(value := keyword(one, key), (int, float))),
            None,
        )
        for key in ("TSTART", "TSTOP")
    )
    return (float(start), float(stop)) if start is not None and stop is not None and start < stop else None
