"""FITS files of what lies on the detector plane or the mask, and of the alignment.

The layouts are those of the BAT tools: detector-plane images (a sequence of images, or the table BAT_DPH),
masks and weight images, the aperture, and the primary header of the telescope definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError
from batx.io.write_header import Cards, add_history, exposure_cards, make_header, time_cards
from batx.io.write_products import bounds_hdu, good_time_hdus, span
from batx.io.write_table import Col, column_name, columns_along, table_hdu

__all__ = [
    "alignment_hdus",
    "aperture_hdus",
    "bands_of",
    "calibration_hdus",
    "compact",
    "detector_mask_hdus",
    "dpi_hdus",
    "extras",
    "flags_hdus",
    "histogram_hdus",
    "image_hdu",
    "level_cards",
    "weight_hdus",
]

_AXES: Cards = {
    "CTYPE1": ("DETX", "first axis"),
    "CTYPE2": ("DETY", "second axis"),
    "CRPIX1": 1.0,
    "CRVAL1": 0.0,
    "CRPIX2": 1.0,
    "CRVAL2": 0.0,
}


#: the coordinate systems of a telescope definition: detectors as numbered, in mm, and the sky
_TELESCOPE: Cards = {
    "NCOORDS": 3,
    "COORD0": "RAW",
    "COORD1": "DET",
    "COORD2": "SKY",
    "DET_UNIT": "mm",
    **{f"RAW{axis}PIX1": 0.0 for axis in "XY"},
    **{f"DET{axis}PIX1": 0.0 for axis in "XY"},
    **{f"{system}_{axis}SIZ": n for system in ("RAW", "DET") for axis, n in (("X", 286), ("Y", 173))},
    **{f"DET_{axis}SCL": 4.2 for axis in "XY"},
    **{f"COE_{axis}1_{letter}": 0.0 for axis in "XY" for letter in "ABC"},
    "COE_X1_B": 1.0,
    "COE_Y1_C": 1.0,
    "FOCALLEN": 1000.0,
}


def image_hdu(data: np.ndarray, cards: Cards, ds: xr.Dataset, first: bool = True, **options: Any) -> Any:
    """Return an image with `cards` and the keywords of a Dataset; the first one of a file is primary."""
    from astropy.io import fits

    header = make_header(cards, ds.attrs, **options)
    if first:
        add_history(header, ds.attrs)
    return (fits.PrimaryHDU if first else fits.ImageHDU)(np.ascontiguousarray(data), header=header)


def compact(values: np.ndarray) -> np.ndarray:
    """Return values as 32-bit floats, the type of the BAT tools, if that loses nothing."""
    single = values.astype(np.float32)
    return single if np.array_equal(single, values, equal_nan=True) else values.astype(np.float64)


# -- detector planes ---------------------------------------------------------------------------------


def _whole(ds: xr.Dataset) -> tuple[xr.DataArray, np.ndarray, np.ndarray]:
    """Return the values with both a time and an energy axis, the exposure of each time, and its bounds."""
    value = ds["counts"] if "counts" in ds else ds["rate"]
    for axis in ("time", "energy"):
        if axis not in value.dims:
            value = value.expand_dims(axis)
    value = value.transpose("time", "energy", "dety", "detx")
    rows = value.sizes["time"]
    if "time_bnds" in ds:
        bounds = ds["time_bnds"].values.reshape(-1, 2)
    else:
        start, stop = span(ds)
        if start is None:
            raise MissingVariableError(
                "detector plane: found no time_bnds, gti_start or attrs['tstart']; give one"
            )
        bounds = np.array([[start, stop]] * rows)
    widths = bounds[:, 1] - bounds[:, 0]
    exposure = np.atleast_1d(ds["exposure"].values) if "exposure" in ds else widths
    return value, np.broadcast_to(exposure, (rows,)).astype(np.float64), bounds


def bands_of(ds: xr.Dataset) -> np.ndarray | None:
    """Return lower and upper energy of each band, `None` if they are unknown."""
    if "energy_bnds" in ds:
        return ds["energy_bnds"].values.reshape(-1, 2)
    if "e_min" in ds.attrs and "e_max" in ds.attrs:
        return np.array([[float(ds.attrs["e_min"]), float(ds.attrs["e_max"])]])
    return None


def _plane_cards(ds: xr.Dataset, form: str) -> Cards:
    attrs = ds.attrs
    same = attrs.get("hduclas1") == "ARRAY"
    return {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "ARRAY",
        "HDUCLAS2": attrs["hduclas2"] if same and "hduclas2" in attrs else ("TOTAL", "source and background"),
        "DATAMODE": form,
        "BACKAPP": (bool(attrs.get("backapp", 0)) and same, "is background subtracted?"),
        "FLUXMETH": str(attrs["fluxmeth"]) if same and "fluxmeth" in attrs else "RAW",
    }


def dpi_hdus(ds: xr.Dataset) -> list[Any]:
    """Return an image for each time and energy (energy fastest, the first primary), EBOUNDS and STDGTI."""
    value, exposure, bounds = _whole(ds)
    bands = bands_of(ds)
    cards = _plane_cards(ds, f"DPI_{value.sizes['energy']}")
    hdus: list[Any] = []
    for row, (start, stop) in enumerate(bounds):
        planes = value.isel(time=row).values
        times = time_cards(ds.attrs, start, stop) | exposure_cards(ds.attrs, float(exposure[row]))
        total = {"TOTCOUNT": (_total(planes), "counts of this time")} if "counts" in ds else {}
        for level, plane in enumerate(planes):
            number = len(hdus) + 1
            own: Cards = {
                "EXTNAME": "BAT_DPI" if number == 1 else f"BAT_DPI_{number}",
                **_AXES,
                "BUNIT": value.attrs.get("units", "count"),
                **cards,
                **times,
                **total,
                **level_cards(bands, level),
            }
            hdus.append(image_hdu(compact(plane), own, ds, first=number == 1))
    return hdus + extras(ds, bands)


def level_cards(bands: np.ndarray | None, level: int) -> Cards:
    """Return number and energies of a band."""
    cards: Cards = {"DPHLEVEL": (level + 1, "number of energy band")}
    if bands is not None:
        cards["E_MIN"] = (float(bands[level, 0]), "[keV] lower edge")
        cards["E_MAX"] = (float(bands[level, 1]), "[keV] upper edge")
    return cards


def _total(planes: np.ndarray) -> float | int:
    total = float(np.nansum(planes, dtype=np.float64))
    return int(total) if total.is_integer() else total


def extras(ds: xr.Dataset, bands: np.ndarray | None) -> list[Any]:
    """Return the extensions EBOUNDS and STDGTI that follow images, as far as the Dataset has them."""
    times = time_cards(ds.attrs, *span(ds))
    hdus = [] if bands is None else [bounds_hdu(ds, bands, times)]
    return hdus + good_time_hdus(ds, times)


def histogram_hdus(ds: xr.Dataset, form: str) -> list[Any]:
    """Return the table BAT_DPH: a row for each time (form "dph") or for each time and energy ("dpitab")."""
    value, exposure, bounds = _whole(ds)
    bands = bands_of(ds)
    n_bands = value.sizes["energy"]
    rows = np.repeat(np.arange(len(bounds)), n_bands if form == "dpitab" else 1)
    planes = value.values
    if form == "dpitab" or planes.dtype.kind not in "iu" or planes.dtype.itemsize > 4:
        planes = compact(planes)
    totals = np.array([_total(planes[row]) for row in range(len(bounds))])[rows]
    array = planes.reshape(-1, *planes.shape[2:]) if form == "dpitab" else np.moveaxis(planes, 1, -1)
    columns = [
        Col("TIME", bounds[rows, 0], "s", "start"),
        Col("TIME_STOP", bounds[rows, 1], "s", "end"),
        Col("EXPOSURE", exposure[rows], "s", "exposure"),
        Col("DPH_COUNTS", np.ascontiguousarray(array), value.attrs.get("units"), "counts of each detector"),
    ]
    if "counts" in ds and totals.dtype.kind == "i" and totals.max(initial=0) < 2**31:
        columns.append(Col("TOTCOUNTS", totals.astype(np.int32), "count", "counts of this time"))
    if form == "dpitab" and bands is not None:
        level = np.tile(np.arange(n_bands), len(bounds))
        columns += [
            Col("E_MIN", bands[level, 0], "keV", "lower edge"),
            Col("E_MAX", bands[level, 1], "keV", "upper edge"),
            Col("DPH_LEVEL", (level + 1).astype(np.int32), None, "number of energy band"),
        ]
    done = ("time", "exposure", "counts", "rate", *(column.name.lower() for column in columns))
    columns += [replace(column, array=column.array[rows]) for column in columns_along(ds, "time", skip=done)]
    offset = 1 if form == "dph" else 0
    axes: Cards = {f"{axis + offset}CRPX4": 1.0 for axis in (1, 2)} | {
        f"{axis + offset}CRVL4": 0.0 for axis in (1, 2)
    }
    cards: Cards = {
        **_plane_cards(ds, f"{form.upper()}_{n_bands}"),
        "TIMEPIXR": (0.0, "place of TIME in the interval"),
        **axes,
        **time_cards(ds.attrs, *span(ds)),
        **exposure_cards(ds.attrs, float(exposure.sum())),
    }
    return [table_hdu("BAT_DPH", columns, cards, ds.attrs, history=True), *extras(ds, bands)]


def weight_hdus(ds: xr.Dataset) -> list[Any]:
    """Return the mask weight of each detector as images, the first in the primary unit."""
    weight = ds["weight"]
    images = weight.values.reshape(-1, *weight.shape[-2:])
    cards: Cards = {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "ARRAY",
        "HDUCLAS2": ("MASK_WEIGHT", "weight of each detector"),
    }
    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    return [
        image_hdu(
            image.astype(np.float64),
            {
                "EXTNAME": "BAT_WEIGHT" if number == 1 else f"BAT_WEIGHT_{number}",
                **_AXES,
                **cards,
                **times,
                "DATAMIN": (float(image.min()), "least weight"),
                "DATAMAX": (float(image.max()), "greatest weight"),
            },
            ds,
            first=number == 1,
        )
        for number, image in enumerate(images, 1)
    ]


# -- masks -------------------------------------------------------------------------------------------


def detector_mask_hdus(ds: xr.Dataset) -> list[Any]:
    """Return an image of 0 (good) and 1 (bad), or of the stored quality where that says the same.

    Where `quality` has the codes of `batx.hot_pixels` (1 cold, 2 hot, more: bad before), the list BADPIX of
    the cold and hot detectors follows.
    """
    image = _quality(ds)
    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    flagged = image.max(initial=0) > 1
    cards: Cards = {
        "EXTNAME": "DETMASK",
        "CTYPE1": "DETX",
        "CTYPE2": "DETY",
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "ARRAY",
        "HDUCLAS2": "TOTAL",
        **times,
        "GOODVAL": (0, "value of good detectors"),
        "BADVAL": None if flagged else (1, "value of bad detectors"),
    }
    if flagged:
        cards |= {
            "NHOTPIX": (int((image == 2).sum()), "hot detectors"),
            "NCOLDPIX": (int((image == 1).sum()), "cold detectors"),
            "NDISPIX": (int((image > 2).sum()), "masked detectors and gaps"),
        }
    mask = image_hdu(image, cards, ds, keep=("E_MIN", "E_MAX", "DPHLEVEL", "TOTCOUNT"))
    return [mask, _bad_pixels(image, ds, times)] if flagged else [mask]


def _quality(ds: xr.Dataset) -> np.ndarray:
    """Return the stored quality where 0 in it is what is good, else 0 and 1."""
    good = ds["good"].values
    if "quality" in ds:
        quality = ds["quality"].values
        single = quality.astype(np.int16)
        if np.array_equal(single == 0, good) and np.array_equal(single, quality):
            return single
    return np.where(good, 0, 1).astype(np.int16)


def _bad_pixels(image: np.ndarray, ds: xr.Dataset, times: Cards) -> Any:
    """Return the list of cold and hot detectors, row by row of the plane."""
    from batx.instrument.detector import DETID

    row, column = np.nonzero(((image == 1) | (image == 2)) & (DETID >= 0))
    columns = [
        Col("TIME", np.full(row.size, times.get("TSTART", np.nan)), "s", "start of the data"),
        Col("DET_ID", DETID[row, column].astype(np.int32), None, "detector number"),
        Col("DETX", column.astype(np.int16), "pixel", "detector column"),
        Col("DETY", row.astype(np.int16), "pixel", "detector row"),
        Col("QUALITY", image[row, column], None, "1 cold, 2 hot"),
    ]
    cards = {"CONTENT": "list of cold and hot detectors", "HDUCLASS": "OGIP", "HDUCLAS1": "ARRAY", **times}
    return table_hdu("BADPIX", columns, cards, ds.attrs)


def flags_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a mask as the table BAT_FLAGS, the form of the on-board enable map: 0 good, other values bad."""
    start = float(ds.attrs.get("tstart", 0.0))
    columns = [
        Col("TIME", np.array([start]), "s", "start"),
        Col("FLAG", _quality(ds)[np.newaxis], None, "0 good"),
    ]
    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    return [table_hdu("BAT_FLAGS", columns, {"GOODVAL": 0, **times}, ds.attrs, history=True)]


def calibration_hdus(ds: xr.Dataset) -> list[Any]:
    """Return per-detector calibration as a table: a row for each time, or a single row."""
    plane = ("dety", "detx")
    if any(ds[name].dims == ("time", *plane) for name in ds.variables):
        columns = columns_along(ds, "time", first="time")
    else:
        names = [str(name) for name in ds.variables if ds[name].dims in ((), plane) and name != "detid"]
        columns = [
            Col(column_name(ds, name), ds[name].values[np.newaxis], ds[name].attrs.get("units"))
            for name in sorted(names, key=lambda name: name != "time")
        ]
    times = time_cards(ds.attrs, ds.attrs.get("tstart"), ds.attrs.get("tstop"))
    return [table_hdu(str(ds.attrs.get("extname", "BAT_MAP")), columns, times, ds.attrs, history=True)]


def aperture_hdus(ds: xr.Dataset) -> list[Any]:
    """Return the coded mask as an image (+1 open, -1 closed, 0 outside) with its place in the BAT frame."""
    cards: Cards = {}
    for number, axis in ((1, "x"), (2, "y")):
        bounds = ds[f"mask_{axis}_bnds"].values
        offset = sum(float(ds.attrs.get(f"mask{part}{axis}", 0.0)) for part in ("bat", "off"))
        corner = ds.attrs.get(f"maskcell0{axis}", float(bounds[0, 0]) - offset)
        cards[f"CTYPE{number}"] = f"MASK{axis.upper()}"
        cards[f"CUNIT{number}"] = "cm"
        cards[f"CRPIX{number}"] = 0.5
        cards[f"CRVAL{number}"] = (float(corner), "[cm] corner of the first cell")
        cards[f"CDELT{number}"] = float(ds.attrs.get(f"maskcel{axis}", bounds[0, 1] - bounds[0, 0]))
    cards["APERTYPE"] = ds.attrs.get("apertype", "FLUX")
    return [image_hdu(ds["mask"].values.astype(np.int16), cards, ds, drop=("MASKCELL0X", "MASKCELL0Y"))]


def alignment_hdus(ds: xr.Dataset) -> list[Any]:
    """Return the primary header of a telescope definition, with the rotation in ALIGNMij.

    The coordinate systems of the detector plane, which the BAT tools ask for, are those of the attributes,
    else the usual ones.
    """
    from astropy.io import fits

    matrix = (ds["matrix_file"] if "matrix_file" in ds else ds["matrix"]).values
    cards: Cards = {key: value for key, value in _TELESCOPE.items() if key.lower() not in ds.attrs}
    cards |= {f"ALIGNM{i}{j}": (float(matrix[i - 1, j - 1]), "spacecraft to BAT") for i, j in _pairs()}
    header = make_header(cards, ds.attrs)
    add_history(header, ds.attrs)
    return [fits.PrimaryHDU(header=header)]


def _pairs() -> Iterator[tuple[int, int]]:
    return ((i, j) for i in (1, 2, 3) for j in (1, 2, 3))
