"""Tables: events, good time, attitude, ray tracing, housekeeping, catalogues, HEALPix, others."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError
from batx.io.file import FitsFile, column_variable, table_variables
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword, time_zero
from batx.io.identify import is_catalog_position, is_mission_bat
from batx.io.lazy import ComputedArray, StackedArray
from batx.schema import KINDS, build

__all__ = [
    "decode_attitude",
    "decode_catalog",
    "decode_events",
    "decode_gti",
    "decode_housekeeping",
    "decode_mosaic",
    "decode_ray_trace",
    "decode_table",
]

#: first flags of ACS_DATA, in order (algorithms.md section 1, Attitude)
ACS_FLAGS = ("ten_arcmin", "settled", "in_saa", "safe_hold")


def decode_events(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return time-tagged events with all their columns, lazily, and the good time of the file.

    Where the file has detector numbers but no positions, these are computed from the numbers when they are
    read.
    """
    variables: dict[str, Any] = table_variables(hdu, "events", "event", {"DET_ID": "detid"})
    if "detid" in variables and "detx" not in variables and is_mission_bat(hdu, file.primary):
        detid = hdu.array("DET_ID")
        for axis, name in enumerate(("detx", "dety")):
            array = ComputedArray(partial(_position, axis), [detid], detid.shape, np.int16)
            attrs = {"long_name": KINDS["events"].by_name[name].doc, "units": "1", "fits_name": name.upper()}
            chunks = {"event": hdu.chunk_rows} if hdu.chunk_rows else {}
            variables[name] = lazy_variable(("event",), array, attrs, **chunks)
    return build("events", variables | file.good_time(), file.attrs(hdu))


def _position(axis: int, detid: np.ndarray) -> np.ndarray:
    from batx.instrument.detector import detid_to_xy

    return detid_to_xy(detid)[axis]


def decode_gti(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return one extension of good-time intervals; further columns are kept."""
    variables = table_variables(hdu, "gti", "gti", shifted=("TIME", "START", "STOP"))
    return build("gti", variables, file.attrs(hdu))


def decode_attitude(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return the attitude; the flags of an ACS_DATA extension with the same times join it."""
    quaternion = "QPARAM" if "QPARAM" in hdu.columns else "QUATERNION"
    variables: dict[str, Any] = table_variables(
        hdu, "attitude", "time", skip={quaternion, "POINTING", "FLAGS"} & hdu.columns.keys()
    )
    spec = KINDS["attitude"].by_name
    variables["quaternion"] = column_variable(hdu, quaternion, ("time", "q"), spec["quaternion"])
    if "POINTING" in hdu.columns:
        for element, name in enumerate(("ra", "dec", "roll")):
            variables[name] = column_variable(hdu, "POINTING", ("time",), spec[name], element=element)
    if "FLAGS" in hdu.columns:
        variables |= flag_variables(hdu)
    for other in file.hdus:
        if other is not hdu and _has_flags(other) and _same_times(hdu, other):
            variables |= flag_variables(other)
    return build("attitude", variables, file.attrs(hdu))


def _has_flags(hdu: Hdu) -> bool:
    """Whether an HDU has at least four attitude flags against time, bits (8X) or logical (8L)."""
    if hdu.type != "table" or not {"TIME", "FLAGS"} <= hdu.columns.keys():
        return False
    return hdu.columns["FLAGS"].code in "LX" and hdu.array("FLAGS").shape[1:] >= (len(ACS_FLAGS),)


def _same_times(one: Hdu, other: Hdu) -> bool:
    return one.rows == other.rows and np.array_equal(
        one.values("TIME") + time_zero(one), other.values("TIME") + time_zero(other)
    )


def flag_variables(hdu: Hdu) -> dict[str, xr.Variable]:
    """Return the first four attitude flags as boolean variables."""
    spec = KINDS["attitude"].by_name
    return {
        name: column_variable(hdu, "FLAGS", ("time",), spec[name], element=element)
        for element, name in enumerate(ACS_FLAGS)
    }


def decode_ray_trace(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return the position of a source against time; IMX and IMY from BAT_?OBJ where absent."""
    rename = {
        **{f"BAT_{axis}OBJ": axis.lower() for axis in "XYZ"},
        **{f"BAT_{axis}APP": f"{axis.lower()}_app" for axis in "XYZ"},
        "PCODEFR": "pcode",
        "NGOODPIX": "n_good",
        "MSKWTSQF": "mask_weight_norm",
    }
    variables: dict[str, Any] = table_variables(hdu, "ray_trace", "time", rename)
    for name, numerator in (("imx", "BAT_XOBJ"), ("imy", "BAT_YOBJ")):
        if name not in variables:
            variables[name] = (("time",), hdu.values(numerator) / hdu.values("BAT_ZOBJ"))
    return build("ray_trace", variables, file.attrs(hdu))


def decode_housekeeping(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a time series as it is; attitude flags also under their names."""
    variables: dict[str, Any] = table_variables(hdu, "housekeeping", "time")
    if _has_flags(hdu):
        variables |= flag_variables(hdu)
    return build("housekeeping", variables, file.attrs(hdu))


def decode_table(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a table of no other kind, column by column."""
    return build("table", table_variables(hdu, "table", "row"), file.attrs(hdu))


def decode_catalog(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a list of sources; columns with a value for every band share the dimension `energy`."""
    names = is_catalog_position(hdu.columns)
    if names is None:
        raise FileFormatError(f"{hdu.label}: found no columns RA_OBJ, DEC_OBJ or RA, DEC in degrees")
    rename = {names[0]: "ra", names[1]: "dec", f"{names[0]}_ERR": "ra_err", f"{names[1]}_ERR": "dec_err"}
    named = [name for name in hdu.columns if name == "NAME"] or [
        name for name in hdu.columns if "NAME" in name
    ]
    if named and hdu.columns[named[0]].code == "A":
        rename[named[0]] = "name"
    vector = [
        name for name in ("RATE", "COUNTS") if name in hdu.columns and len(hdu.columns[name].shape) == 1
    ]
    banded = [
        name for name in hdu.columns if vector and hdu.columns[name].shape == hdu.columns[vector[0]].shape
    ]
    variables: dict[str, Any] = table_variables(hdu, "catalog", "source", rename, set(banded))
    for name in banded:
        spec = KINDS["catalog"].by_name.get(name.lower())
        variables[name.lower()] = column_variable(hdu, name, ("source", "energy"), spec)
    return build("catalog", variables, file.attrs(hdu))


def decode_mosaic(file: FitsFile, hdu: Hdu) -> xr.Dataset:
    """Return a HEALPix map: a value per cell, with the numbering scheme in the attributes of `healpix`
    (CF-1.13). Columns that are numbered as the bands of EBOUNDS become one map along `energy`.

    Raises
    ------
    FileFormatError
        If NSIDE or ORDERING is absent or does not fit the number of cells.
    """
    nside = keyword(hdu, "NSIDE")
    ordering = str(keyword(hdu, "ORDERING", default="")).upper()
    if not isinstance(nside, (int, float)) or ordering not in ("RING", "NESTED", "NEST", "NUNIQ"):
        raise FileFormatError(
            f"{hdu.label}: found NSIDE={nside!r}, ORDERING={ordering!r}; a HEALPix map needs both"
        )
    explicit = [name for name in ("PIXEL", "IPIX", "CELL_IDS") if name in hdu.columns]
    maps = {name: _flat(hdu, name) for name in hdu.columns if name not in explicit}
    cells = 12 * int(nside) ** 2
    ids = hdu.values(explicit[0]).ravel() if explicit else np.arange(cells)
    if any(array.shape != ids.shape for array in maps.values()):
        raise FileFormatError(
            f"{hdu.label}: NSIDE={nside} needs {cells} values, found {hdu.rows} rows of another size"
        )
    bands = file.bands()
    variables: dict[str, Any] = _map_variables(hdu, maps, 0 if bands is None else len(bands.low))
    if bands is not None and any("energy" in variable.dims for variable in variables.values()):
        edges = np.stack([bands.low, bands.high], axis=1)
        variables |= {"energy": edges.mean(axis=1), "energy_bnds": (("energy", "bnds"), edges)}
    scheme = "nested" if ordering.startswith("NEST") else ordering.lower()
    grid = {
        "grid_mapping_name": "healpix",
        "refinement_level": int(np.log2(nside)),
        "indexing_scheme": scheme,
    }
    variables["cell_ids"] = (("cell",), ids.astype(np.int64))
    variables["healpix"] = ((), np.int8(0), grid)
    system = str(keyword(hdu, "COORDSYS", default="")).upper()[:1]
    frame = {"C": {"frame": "icrs"}, "Q": {"frame": "icrs"}, "G": {"frame": "galactic"}}.get(system, {})
    return build("mosaic", variables | _map_images(file), file.attrs(hdu) | frame)


def _flat(hdu: Hdu, name: str) -> ComputedArray:
    """Return a column of a map, whose rows may hold several cells, as a value for each cell."""
    array = hdu.array(name)
    return ComputedArray(np.ravel, [array], (int(np.prod(array.shape)),), array.dtype, rowwise=False)


def _map_variables(hdu: Hdu, maps: dict[str, ComputedArray], bands: int) -> dict[str, Any]:
    """Return the maps of a table; those that are there for each band, as NAME_1, NAME_2, ..., as one."""
    variables: dict[str, Any] = {}
    for name, array in maps.items():
        base, _, number = name.rpartition("_")
        members = [f"{base}_{band}" for band in range(1, bands + 1)]
        banded = name in members and set(members) <= maps.keys()
        if banded and number != "1":
            continue
        fits_name = base if banded else name
        target = "probability" if fits_name.startswith("PROB") else fits_name.lower()
        unit = "1" if target == "probability" else hdu.column(name).unit or "1"
        attrs = {"fits_name": fits_name, "units": unit}
        if banded:
            stack = StackedArray([maps[member] for member in members], (bands,))
            variables[target] = lazy_variable(("energy", "cell"), stack, attrs)
        else:
            variables[target] = lazy_variable(("cell",), array, attrs)
    return variables


def _map_images(file: FitsFile) -> dict[str, Any]:
    """Return the columns of the table IMAGES of a mosaic, if there is one."""
    table = next((hdu for hdu in file.hdus if hdu.name == "IMAGES" and "IMAGE_ID" in hdu.columns), None)
    if table is None:
        return {}
    variables: dict[str, Any] = table_variables(table, "mosaic", "image", skip={"IMAGE_PROJECTION"})
    if "IMAGE_PROJECTION" in table.columns:
        matrices = table.values("IMAGE_PROJECTION", dtype=np.float64).reshape(-1, 3, 3)
        variables["image_projection"] = (("image", "pixel", "icrs"), matrices, {"units": "1"})
    return variables
