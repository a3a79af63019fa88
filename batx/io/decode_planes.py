"""The detector plane and the coded mask: masks, per-detector tables, images, aperture, alignment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingKeywordError
from batx.io.file import FitsFile, column_variable, energies_of, energy_column, unit_factor
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword, time_zero
from batx.io.identify import PLANE
from batx.io.lazy import ComputedArray, LazyArray, StackedArray, StridedArray
from batx.schema import KINDS, build

__all__ = [
    "decode_alignment",
    "decode_aperture",
    "decode_detector_mask",
    "decode_detector_table",
    "decode_histogram",
    "decode_planes",
    "image_axes",
]

_CORNER = {"x": -121.75, "y": -60.75}


def decode_detector_mask(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return which detectors are good: equal to GOODVAL (0 if absent) in an image or in the FLAG column.

    A table with several rows of flags counts a detector as good if it is in all of them; a list of bad
    detectors (BADPIX) leaves every other one good.
    """
    good_value = keyword(hdu, "GOODVAL", default=0)
    if hdu.type == "image":
        inputs: list[LazyArray] = [hdu.array()]
        function: Any = np.asarray
        dtype = inputs[0].dtype
    elif "FLAG" in hdu.columns:
        inputs = [hdu.array("FLAG")]
        function = partial(_worst_row, good_value)
        dtype = inputs[0].dtype
    else:
        inputs = [hdu.array(name) for name in ("DETX", "DETY", "QUALITY")]
        function = _listed
        dtype = np.dtype(np.int16)
    quality = ComputedArray(function, inputs, PLANE, dtype, rowwise=False)
    good = ComputedArray(partial(np.equal, good_value), [quality], PLANE, bool, rowwise=False)
    dims = ("dety", "detx")
    variables = {
        "good": lazy_variable(dims, good),
        "quality": lazy_variable(dims, quality, {"units": "1"}),
    }
    return build("detector_mask", variables, file.attrs(hdu))


def _worst_row(good_value: float, flags: np.ndarray) -> np.ndarray:
    """Return for every detector the first flag that is not good, or the good value."""
    bad = flags != good_value
    return np.take_along_axis(flags, bad.argmax(axis=0)[np.newaxis], axis=0)[0]


def _listed(detx: np.ndarray, dety: np.ndarray, quality: np.ndarray) -> np.ndarray:
    plane = np.zeros(PLANE, np.int16)
    plane[dety, detx] = quality
    return plane


def decode_detector_table(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return per-detector calibration; a single row has no time axis, several rows have one."""
    variables: dict[str, Any] = {}
    single = hdu.rows == 1
    for name, column in hdu.columns.items():
        is_plane = column.shape == PLANE
        if not is_plane and column.shape:
            continue
        dims = ("time", "dety", "detx") if is_plane else ("time",)
        variable = column_variable(hdu, name, dims, shift=time_zero(hdu) if name == "TIME" else 0.0)
        if name == "TIME":
            variable.attrs["units"] = "s"
        variables[name.lower()] = variable[0] if single else variable
    variables |= _plane_coords()
    return build("detector_table", variables, file.attrs(hdu))


def _plane_coords() -> dict[str, Any]:
    from batx.instrument.detector import DETID

    return {"detid": (("dety", "detx"), DETID)}


def image_axes(
    hdus: Sequence[Hdu],
) -> tuple[list[tuple[float, float] | None], list[tuple[float, float] | None]]:
    """Return the distinct time spans and energy bands of a sequence of images, in their order."""
    spans = [_span(hdu) for hdu in hdus]
    bands = [energies_of(hdu) for hdu in hdus]
    return list(dict.fromkeys(spans)), list(dict.fromkeys(bands))


def _span(hdu: Hdu) -> tuple[float, float] | None:
    start, stop = keyword(hdu, "TSTART"), keyword(hdu, "TSTOP")
    if not isinstance(start, (int, float)) or not isinstance(stop, (int, float)):
        return None
    return start + time_zero(hdu), stop + time_zero(hdu)


def interval_axis(name: str, intervals: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return centre and bounds of an axis from its intervals."""
    bounds = np.array(intervals, np.float64).reshape(-1, 2)
    return {name: ((name,), bounds.mean(axis=1)), f"{name}_bnds": ((name, "bnds"), bounds)}


def stacked(
    hdus: Sequence[Hdu], dtype: Any = None
) -> tuple[tuple[str, ...], LazyArray, dict[str, Any]] | None:
    """Return dimensions, array and coordinates of images that fill a grid of times and energies, energy
    fastest.

    `None` if they do not fill one.
    """
    spans, bands = image_axes(hdus)
    grid = [(span, band) for span in spans for band in bands]
    if grid != [(_span(hdu), energies_of(hdu)) for hdu in hdus]:
        return None
    dims: tuple[str, ...] = ()
    leading: tuple[int, ...] = ()
    coords: dict[str, Any] = {}
    for name, intervals in (("time", spans), ("energy", bands)):
        known = [interval for interval in intervals if interval is not None]
        if len(known) == len(intervals):
            dims, leading = (*dims, name), (*leading, len(known))
            coords |= interval_axis(name, known)
        elif len(intervals) > 1:
            return None
    arrays = [hdu.array(dtype=dtype) for hdu in hdus]
    return dims, StackedArray(arrays, leading) if leading else arrays[0], coords


def decode_planes(file: FitsFile, hdus: Sequence[Hdu]) -> xr.Dataset:
    """Return the detector-plane images of a file as one array; weight images as `weight`."""
    first = hdus[0]
    if first.name == "BAT_WEIGHT" or str(first.header.get("CREATOR", "")).startswith("batmaskwtimg"):
        variables: dict[str, Any] = {"weight": lazy_variable(("dety", "detx"), first.array(dtype=np.float64))}
        return build("detector_plane", variables | _plane_coords(), file.attrs(first))
    made = stacked(hdus)
    if made is None:
        hdus = hdus[:1]
        made = stacked(hdus)
    assert made is not None  # one image fills a grid of one
    dims, array, coords = made
    unit = str(keyword(first, "BUNIT", default="count"))
    name = "rate" if "/s" in unit else "counts"
    variables = {name: lazy_variable((*dims, "dety", "detx"), array, {"fits_name": first.name})}
    exposures = _exposures(hdus, coords)
    if exposures is not None:
        variables["exposure"] = exposures
    return build("detector_plane", variables | coords | _plane_coords() | file.good_time(), file.attrs(first))


def _exposures(hdus: Sequence[Hdu], coords: dict[str, Any]) -> tuple[tuple[str, ...], Any] | None:
    """Return the EXPOSURE of each time, that of its first band."""
    times = len(coords["time"][1]) if "time" in coords else 1
    values = [keyword(hdu, "EXPOSURE") for hdu in hdus[:: len(hdus) // times]]
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    return (("time",), np.array(values, np.float64)) if "time" in coords else ((), np.float64(values[0]))


def decode_histogram(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a BAT_DPH table: histograms (all energies in a row) or images (one energy in a row)."""
    column = hdu.column("DPH_COUNTS")
    rate = "/s" in (column.unit or "")
    if len(column.shape) == 3:
        array: LazyArray = hdu.array("DPH_COUNTS", order=(0, 3, 1, 2))
        bands = file.bands(column.shape[-1])
        step = 1
        energy = bands.axis() if bands else {}
    else:
        stored = hdu.array("DPH_COUNTS")
        assert isinstance(stored, StridedArray)
        pairs = _row_energies(hdu)
        step = len(pairs) if pairs and hdu.rows % len(pairs) == 0 else 1
        array = stored.split_rows(step)
        energy = interval_axis("energy", pairs) if pairs else {}
    variables: dict[str, Any] = {}
    dims = ("time", "energy", "dety", "detx")
    chunks = {"time": hdu.chunk_rows} if hdu.chunk_rows and step == 1 else {}
    variables["rate" if rate else "counts"] = lazy_variable(
        dims, array, {"fits_name": "DPH_COUNTS"}, **chunks
    )
    for name in hdu.columns:
        if name in ("EXPOSURE", "LIVETIME", "TOTCOUNTS") or name.endswith(("_FLAGS", "_INDEX")):
            spec = KINDS["detector_plane"].by_name.get(name.lower())
            variables[name.lower()] = column_variable(hdu, name, ("time",), spec)[::step]
    return build(
        "detector_plane",
        variables | _row_times(hdu, step) | energy | _plane_coords() | file.good_time(),
        file.attrs(hdu),
    )


def _row_energies(hdu: Hdu) -> list[tuple[float, float]]:
    if {"E_MIN", "E_MAX"} <= hdu.columns.keys():
        low, high = (energy_column(hdu, name).tolist() for name in ("E_MIN", "E_MAX"))
        return list(dict.fromkeys(zip(low, high, strict=True)))
    band = energies_of(hdu)
    return [band] if band else []


def _row_times(hdu: Hdu, step: int) -> dict[str, Any]:
    """Return the interval of every `step`-th row: TIME to TIME_STOP, or for the length of EXPOSURE."""
    factor = unit_factor(hdu, hdu.column("TIME"), "s")
    start = hdu.values("TIME", dtype=np.float64, factor=factor, shift=time_zero(hdu))[::step]
    if "TIME_STOP" in hdu.columns:
        stop = hdu.values("TIME_STOP", dtype=np.float64, factor=factor, shift=time_zero(hdu))[::step]
    elif "EXPOSURE" in hdu.columns:
        stop = start + hdu.values("EXPOSURE", dtype=np.float64)[::step]
    else:
        raise MissingKeywordError(
            f"{hdu.label}: found neither TIME_STOP nor EXPOSURE, one is needed for the time bins"
        )
    return interval_axis("time", list(zip(start, stop, strict=True)))


def decode_aperture(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return the coded mask with its geometry in the attributes; cells are placed in the BAT frame.

    The corner of cell (0, 0), relative to MASKBAT + MASKOFF, is CRVAL − (CRPIX − 0.5) × cell, for a FITS
    pixel whose centre is a whole number (algorithms.md section 1).
    """
    from batx.instrument.mask import DEFAULT_GEOMETRY

    attrs = file.attrs(hdu)
    for name, default in DEFAULT_GEOMETRY.items():
        attrs[name] = float(keyword(hdu, name.upper(), default=default))
    variables: dict[str, Any] = {
        "mask": lazy_variable(("mask_y", "mask_x"), hdu.array(), {"fits_name": "IMAGE"})
    }
    for axis, name, count in ((1, "x", hdu.shape[1]), (2, "y", hdu.shape[0])):
        cell = attrs[f"maskcel{name}"]
        value = keyword(hdu, f"CRVAL{axis}", f"MASK{name.upper()}0", default=_CORNER[name])
        pixel = keyword(hdu, f"CRPIX{axis}", default=0.5)
        corner = float(value) - (float(pixel) - 0.5) * cell
        attrs[f"maskcell0{name}"] = corner
        edges = attrs[f"maskbat{name}"] + attrs[f"maskoff{name}"] + corner + cell * np.arange(count + 1)
        variables |= interval_axis(f"mask_{name}", list(pairwise(edges)))
    return build("aperture", variables, attrs)


def decode_alignment(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return the rotation from spacecraft to BAT axes, as in the header and normalised through its
    quaternion.

    Raises
    ------
    MissingKeywordError
        If one of the nine ALIGNMij keywords is absent.
    """
    from batx.instrument.sky import normalised_alignment

    names = [[f"ALIGNM{i}{j}" for j in (1, 2, 3)] for i in (1, 2, 3)]
    missing = [name for row in names for name in row if not isinstance(keyword(hdu, name), (int, float))]
    if missing:
        raise MissingKeywordError(f"{hdu.label}: found no {', '.join(missing)}, all nine ALIGNMij are needed")
    stored = np.array([[keyword(hdu, name) for name in row] for row in names], np.float64)
    attrs = {key: value for key, value in file.attrs(hdu).items() if not key.startswith("alignm")}
    return build("alignment", {"matrix": normalised_alignment(stored), "matrix_file": stored}, attrs)
