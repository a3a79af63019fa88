"""Tables: events, good time, attitude, ray tracing, housekeeping, catalogues, HEALPix, others."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import FileFormatError
from batx.io.file import FitsFile, column_variable, table_variables
from batx.io.fits import Hdu, lazy_variable
from batx.io.header import keyword, pixel_list_cards, time_zero
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

#: keywords of a HEALPix table that say how its cells are stored
_OF_THE_CELLS = {"coordsys", "extname", "firstpix", "fluxunit", "indxschm", "lastpix", "obs_npix", "ordering"}
_OF_THE_CELLS |= {"pixtype", "radesys"}
#: maps of a mosaic that have bands
_SUMMED = ("SUM_W", "SUM_WF", "FLUX", "FLUX_ERR", "SNR")


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
    if cards := pixel_list_cards(hdu):
        variables["wcs"] = ((), cards)
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
    (CF-1.13) and the frame of its coordinates in those of the Dataset.

    Columns of sums numbered as the bands of EBOUNDS are stacked, and the images of IMAGES are named.

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
    nside = int(nside)
    explicit = [name for name in ("PIXEL", "IPIX", "CELL_IDS") if name in hdu.columns]
    ids = hdu.values(explicit[0]).ravel() if explicit else np.arange(12 * nside**2)
    variables = _maps(file, hdu, [name for name in hdu.columns if name not in explicit])
    if any(variable.shape[-1:] != ids.shape for variable in variables.values()):
        raise FileFormatError(
            f"{hdu.label}: NSIDE={nside} needs {12 * nside**2} values, found {hdu.rows} rows of another size"
        )
    if any("energy" in variable.dims for variable in variables.values()):
        bands = file.bands()
        assert bands is not None  # or nothing would be stacked
        variables |= bands.axis()
    scheme = "nested" if ordering.startswith("NEST") else ordering.lower()
    level = {"refinement_level": nside.bit_length() - 1} if nside & (nside - 1) == 0 else {}
    grid = {"grid_mapping_name": "healpix", **level, "indexing_scheme": scheme}
    variables["cell_ids"] = (("cell",), ids.astype(np.int64), {"standard_name": "healpix_index"})
    variables["healpix"] = ((), np.int8(0), grid)
    attrs = {key: value for key, value in file.attrs(hdu).items() if key not in _OF_THE_CELLS}
    if attrs.get("object") in ("PARTIAL", "FULLSKY"):  # the coverage, by an old convention
        del attrs["object"]
    frame = _frame(str(keyword(hdu, "COORDSYS", default="C")))
    return build("mosaic", variables | _images(file, hdu), attrs | {"nside": nside, "frame": frame})


def _maps(file: FitsFile, hdu: Hdu, columns: list[str]) -> dict[str, Any]:
    """Return columns as maps over the cells, with bands where they are numbered."""
    single = {name: ComputedArray(np.ravel, [hdu.array(name)], *_flat(hdu, name)) for name in columns}
    bands = file.bands()
    count = 0 if bands is None else len(bands)
    stacked = {}
    for name in _SUMMED if count else ():
        numbered = [f"{name}_{band}" for band in range(1, count + 1)]
        if all(column in single for column in numbered):
            stacked[name] = StackedArray([single.pop(column) for column in numbered], (count,))
    variables: dict[str, Any] = {}
    for name, array in (single | stacked).items():
        first = name if name in single else f"{name}_1"
        target = "probability" if name.startswith("PROB") else name.lower()
        attrs = {"fits_name": name, "units": hdu.column(first).unit or "1", "grid_mapping": "healpix"}
        if target == "probability":
            attrs["units"] = "1"
        if target == "sum_w" and "FLUXUNIT" in hdu.header:
            attrs["flux_units"] = str(hdu.header["FLUXUNIT"])
        variables[target] = lazy_variable(("cell",) if name in single else ("energy", "cell"), array, attrs)
    return variables


def _flat(hdu: Hdu, name: str) -> tuple[tuple[int], np.dtype, bool]:
    """Return shape and type of a column whose rows hold many cells each, end to end; not row by row."""
    array = hdu.array(name)
    return (int(np.prod(array.shape)),), array.dtype, False


def _frame(system: str) -> str:
    """Return the frame that COORDSYS names: a letter, or a word."""
    word = system.strip().upper()
    if word.startswith("G"):
        return "galactic"
    return "ecliptic" if word == "E" or word.startswith("ECL") else "icrs"


def _images(file: FitsFile, hdu: Hdu) -> dict[str, Any]:
    """Return the table of images that were added up, of the extension named as that of the cells."""
    name = hdu.name.replace("HEALPIX", "IMAGES", 1)
    tables = [other for other in file.hdus if other.name == name != hdu.name and other.type == "table"]
    if not tables:
        return {}
    variables: dict[str, Any] = table_variables(tables[0], "mosaic", "image", skip={"IMAGE_PROJECTION"})
    if "IMAGE_PROJECTION" in tables[0].columns:
        matrices = tables[0].values("IMAGE_PROJECTION", dtype=np.float64).reshape(-1, 3, 3)
        variables["image_projection"] = (("image", "pixel", "icrs"), matrices, {"units": "1"})
    return variables
