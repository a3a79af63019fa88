"""OGIP light curves and spectra, and the tables of events, good time, attitude and ray tracing.

Each function returns the header-data units of a file, the main one first. Sources of the layouts: OGIP
93-003 (light curves, good time), OGIP 92-007 (spectra), and the products of the
BAT tools.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError
from batx.io.write_header import Cards, exposure_cards, make_header, primary_header, time_cards
from batx.io.write_table import Col, column_name, columns_along, table_hdu, variable_column

__all__ = [
    "attitude_hdus",
    "bounds_hdu",
    "catalog_hdus",
    "decimals",
    "events_hdus",
    "good_time_hdus",
    "gti_hdus",
    "lightcurve_hdus",
    "ray_trace_hdus",
    "span",
    "spectrum_hdus",
    "table_hdus",
]

#: keywords of a product that its EBOUNDS and GTI extensions do not repeat
_OF_PRODUCT = ("ONTIME", "LIVETIME", "DEADC", "BACKAPP", "FLUXMETH", "TIMEDEL", "TIMEPIXR", "XFLT0001")
_CLASS = ("HDUCLASS", "HDUCLAS1", "HDUCLAS2", "HDUCLAS3", "HDUCLAS4", "HDUVERS", "HDUDOC")
_OF_SPECTRUM = (
    "AREASCAL",
    "BACKSCAL",
    "CORRSCAL",
    "BACKFILE",
    "CORRFILE",
    "RESPFILE",
    "ANCRFILE",
    "QUALITY",
    "GROUPING",
    "POISSERR",
    "SYS_ERR",
    "CHANTYPE",
)

#: s; time stamps of the archive are not more exact than this
_SAME_EDGE = 1e-6


def span(ds: xr.Dataset, bounds: str = "time_bnds") -> tuple[float | None, float | None]:
    """Return start and stop of a product: of its good time, else of its attributes, else of its bins.

    Good time before the first and after the last bin does not count.
    """
    recorded = [ds.attrs.get("tstart"), ds.attrs.get("tstop")]
    if "gti_start" in ds and ds.sizes["gti"]:
        limits = float(ds["gti_start"].min()), float(ds["gti_stop"].max())
        if bounds in ds and ds[bounds].size:
            low, high = float(ds[bounds].min()), float(ds[bounds].max())
            inside = max(limits[0], low), min(limits[1], high)
            limits = inside if inside[0] < inside[1] else (low, high)
        pairs = zip(recorded, limits, strict=True)
        start, stop = (old if old is not None and abs(old - new) <= _SAME_EDGE else new for old, new in pairs)
        return float(start), float(stop)
    if None not in recorded:
        return float(ds.attrs["tstart"]), float(ds.attrs["tstop"])
    if bounds in ds and ds[bounds].size:
        return float(ds[bounds].min()), float(ds[bounds].max())
    return None, None


def _recorded_span(ds: xr.Dataset, start: str = "gti_start", stop: str = "gti_stop") -> tuple[Any, Any]:
    """Return start and stop of a file: of its attributes, else of its good time."""
    if "tstart" in ds.attrs and "tstop" in ds.attrs:
        return float(ds.attrs["tstart"]), float(ds.attrs["tstop"])
    if start in ds and ds[start].size:
        return float(ds[start].min()), float(ds[stop].max())
    return None, None


# -- parts that several products have ----------------------------------------------------------------


def _gti_table(
    extname: str,
    start: Any,
    stop: Any,
    ds: xr.Dataset,
    cards: Cards,
    further: Sequence[Col] = (),
    **options: Any,
) -> Any:
    attrs = ds.attrs
    generated: Cards = {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": ("GTI", "good time intervals"),
        "HDUCLAS2": "STANDARD",
        "HDUVERS": "1.0.0",
        "TIMEZERO": (0.0, "[s] added to the times"),
    }
    if "mjdref_int" in attrs:
        reference = float(attrs["mjdref_int"]) + float(attrs.get("mjdref_frac", 0.0))
        generated["MJDREF"] = (reference, "[d] MJD of time zero")
    columns = [
        Col("START", start, "s", "start of good time"),
        Col("STOP", stop, "s", "end of good time"),
        *further,
    ]
    return table_hdu(extname, columns, generated | cards, attrs, **options)


def good_time_hdus(ds: xr.Dataset, cards: Cards, extname: str = "STDGTI") -> list[Any]:
    """Return the good-time extension of a product, none where the Dataset holds no good time."""
    if "gti_start" not in ds:
        return []
    start, stop = ds["gti_start"].values, ds["gti_stop"].values
    length = (float((stop - start).sum()), "[s] sum of good time")
    total = {"ONTIME": length, "EXPOSURE": length}
    return [_gti_table(extname, start, stop, ds, cards | total, drop=(*_OF_PRODUCT, *_OF_SPECTRUM))]


def bounds_hdu(ds: xr.Dataset, bounds: np.ndarray, cards: Cards, channel: np.ndarray | None = None) -> Any:
    """Return the EBOUNDS extension (CAL/GEN/92-002, section 4): first channel 0 where none is given."""
    channel = np.arange(len(bounds)) if channel is None else channel
    generated: Cards = {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": ("EBOUNDS", "nominal energies of the channels"),
        "RMFVERSN": "1992a",
        "HDUVERS": "1.2.0",
        "HDUVERS1": "1.0.0",
        "HDUVERS2": "1.1.0",
        "DETCHANS": (len(bounds), "number of channels"),
        "CHANTYPE": (ds.attrs.get("chantype", "PI"), "type of channel"),
    }
    columns = [
        Col("CHANNEL", channel.astype(_channel_type(channel)), None, "channel"),
        Col("E_MIN", decimals(bounds[:, 0]), "keV", "lower edge"),
        Col("E_MAX", decimals(bounds[:, 1]), "keV", "upper edge"),
    ]
    return table_hdu(
        "EBOUNDS", columns, generated | cards, ds.attrs, drop=(*_OF_PRODUCT, *_OF_SPECTRUM, "EXPOSURE")
    )


def decimals(energy: np.ndarray) -> np.ndarray:
    """Return energies in 32 bits, as OGIP has them, if every one is the shortest decimal of its 32 bits."""
    single = energy.astype(np.float32)
    same = all(
        float(str(short)) == value for short, value in zip(single.ravel(), energy.ravel(), strict=True)
    )
    return single if same else energy


def _channel_type(channel: np.ndarray) -> type:
    return np.int16 if channel.size == 0 or channel.max() < 2**15 else np.int32


def _flux_cards(ds: xr.Dataset, hduclas1: str, hduclas3: str) -> Cards:
    """Return what OGIP and the BAT tools say of how rates were made."""
    weighted = ds.attrs.get("weighting") == "mask"
    net = weighted or (hduclas1 == "LIGHTCURVE" and "background" in ds.variables)
    recorded = ds.attrs.get("hduclas2") if ds.attrs.get("hduclas1") == hduclas1 else None
    cards: Cards = {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": hduclas1,
        "HDUCLAS2": ("NET", "background is subtracted")
        if net
        else recorded or ("TOTAL", "source and background"),
        "HDUCLAS3": hduclas3,
    }
    if ds.attrs.get("instrument", "BAT") == "BAT":
        cards["BACKAPP"] = (net or bool(ds.attrs.get("backapp", 0)), "is background subtracted?")
        cards["FLUXMETH"] = "WEIGHTED" if weighted else "RAW"
    return cards


def _value_name(ds: xr.Dataset) -> str:
    return "rate" if "rate" in ds else "counts"


# -- tables ------------------------------------------------------------------------------------------


def events_hdus(ds: xr.Dataset) -> list[Any]:
    """Return EVENTS and its good time; columns keep their type, TIME goes first."""
    columns = columns_along(ds, "event", first="time")
    times = time_cards(ds.attrs, *_recorded_span(ds))
    cards: Cards = {"HDUCLASS": "OGIP", "HDUCLAS1": ("EVENTS", "list of events"), "HDUCLAS2": "ACCEPTED"}
    if ds.attrs.get("hduclas1") == "EVENTS":
        cards["HDUCLAS2"] = ds.attrs.get("hduclas2")
    table = table_hdu("EVENTS", columns, cards | times, ds.attrs, history=True)
    if "wcs" in ds.coords:
        _add_pixel_list(table.header, [column.name for column in columns], str(ds["wcs"].values))
    return [table, *good_time_hdus(ds, times)]


def _add_pixel_list(header: Any, names: list[str], cards: str) -> None:
    """Enter the world coordinates of the columns X and Y into their keywords, if both are there."""
    from astropy.io.fits import Header

    known = Header.fromstring(cards, sep="\n")
    if not {"X", "Y"} <= set(names):
        return
    for axis, name in enumerate("XY", 1):
        for key in ("CTYP", "CRPX", "CRVL", "CDLT", "CUNI", "CROT"):
            long = {"CTYP": "CTYPE", "CRPX": "CRPIX", "CRVL": "CRVAL", "CDLT": "CDELT", "CUNI": "CUNIT"}
            value = known.get(f"{long.get(key, 'CROTA')}{axis}")
            if value is not None:
                header[f"T{key}{names.index(name) + 1}"] = value
    for key, other in (("RADECSYS", "RADESYS"), ("EQUINOX", "EQUINOX")):
        value = known.get(key, known.get(other))
        if value is not None and key not in header:
            header[key] = value


def gti_hdus(ds: xr.Dataset) -> list[Any]:
    """Return one good-time extension, named as the file that it came from."""
    times = time_cards(ds.attrs, *_recorded_span(ds, "start", "stop"))
    extname = str(ds.attrs.get("extname", "STDGTI"))
    further = columns_along(ds, "gti", skip=("start", "stop"))
    return [_gti_table(extname, ds["start"].values, ds["stop"].values, ds, times, further, history=True)]


def attitude_hdus(ds: xr.Dataset) -> list[Any]:
    """Return ATTITUDE (quaternions and pointing) and, where there are flags, ACS_DATA."""
    angles = ("ra", "dec", "roll")
    flags = ("ten_arcmin", "settled", "in_saa", "safe_hold")
    columns = [
        variable_column(ds, "time", "TIME"),
        variable_column(ds, "quaternion", "QPARAM"),
    ]
    if all(name in ds for name in angles):
        pointing = np.stack([ds[name].values for name in angles], axis=1).astype(np.float64)
        columns.append(Col("POINTING", pointing, "deg", "right ascension, declination, roll"))
    columns += columns_along(ds, "time", skip=("time", "quaternion", *angles, *flags))
    times = time_cards(ds.attrs, *_recorded_span(ds))
    cards: Cards = {"HDUCLASS": "OGIP", "HDUCLAS1": "ARRAY", "HDUCLAS2": "TOTAL", **times}
    hdus = [table_hdu("ATTITUDE", columns, cards, ds.attrs, history=True)]
    if any(name in ds for name in flags):
        values = np.zeros((ds.sizes["time"], 8), dtype=bool)
        for bit, name in enumerate(flags):
            if name in ds:
                values[:, bit] = ds[name].values
        status = [columns[0], Col("FLAGS", values, None, "10 arcmin, settled, in SAA, safe hold", "8X")]
        hdus.append(table_hdu("ACS_DATA", status, cards, ds.attrs))
    return hdus


def ray_trace_hdus(ds: xr.Dataset) -> list[Any]:
    """Return the ray-tracing table, BAT_OBJ_POS."""
    times = time_cards(ds.attrs, *_recorded_span(ds))
    columns = columns_along(ds, "time", first="time")
    return [table_hdu("BAT_OBJ_POS", columns, times, ds.attrs, history=True)]


#: characters of the names in a catalogue of sources: tools that add some cut their names to the width
_NAME_WIDTH = 30


def catalog_hdus(ds: xr.Dataset) -> list[Any]:
    """Return a catalogue, with room for names."""
    name = column_name(ds, "name") if "name" in ds.variables else ""
    return table_hdus(ds, "source", "BAT_CATALOG", first="name", least={name: _NAME_WIDTH})


def table_hdus(
    ds: xr.Dataset, dim: str, extname: str, first: str | None = None, least: Mapping[str, int] | None = None
) -> list[Any]:
    """Return any table: every variable along `dim` is a column, `first` before all others.

    `least` has the least width of columns of text.
    """
    name = str(ds.attrs.get("extname", extname))
    times = time_cards(ds.attrs, *_recorded_span(ds))
    columns = [
        replace(column, least=(least or {}).get(column.name, 1))
        for column in columns_along(ds, dim, first=first)
    ]
    return [table_hdu(name, columns, times, ds.attrs, keep=_CLASS, history=True)]


# -- light curve -------------------------------------------------------------------------------------


def _uniform_width(bounds: np.ndarray) -> float | None:
    """Return the common width of bins, `None` if there is none.

    Widths are differences of large numbers, and time stamps are exact to 1 µs at best: widths count as equal
    within that (or within 1e-4 of themselves), and the width is the shortest decimal as close to their mean.
    """
    if not len(bounds):
        return None
    widths = bounds[:, 1] - bounds[:, 0]
    exact_to = max(2 * np.spacing(np.abs(bounds).max()), min(_SAME_EDGE, 1e-4 * widths.mean()))
    if np.ptp(widths) > exact_to:
        return None
    contiguous = np.array_equal(bounds[1:, 0], bounds[:-1, 1])
    mean = (bounds[-1, 1] - bounds[0, 0]) / len(bounds) if contiguous else widths.mean()
    tolerance = exact_to / (len(bounds) if contiguous else 1)
    return _shortest(float(mean), float(tolerance))


def _shortest(value: float, tolerance: float) -> float:
    """Return the number with the fewest digits that differs from `value` by at most `tolerance`."""
    rounded = (float(f"{value:.{digits}g}") for digits in range(1, 18))
    return next(number for number in rounded if abs(number - value) <= tolerance)


def _total_exposure(ds: xr.Dataset) -> float:
    """Return the sum of the exposures, or the sum of good time, which is rounded less, if it is the same."""
    total = float(ds["exposure"].sum())
    if "gti_start" in ds:
        good = float((ds["gti_stop"] - ds["gti_start"]).sum())
        return good if math.isclose(good, total, rel_tol=1e-6) else total
    return total


def lightcurve_hdus(ds: xr.Dataset) -> list[Any]:
    """Return RATE, EBOUNDS and STDGTI (OGIP 93-003).

    Bins of equal width have their start in TIME and the width in the keyword TIMEDEL (TIMEPIXR 0); others
    have their centre in TIME and the width in the column TIMEDEL (TIMEPIXR 0.5). The covariance of a
    background that was taken off has no place: errors of sums of what is read back leave out what the bins
    have in common.
    """
    bounds, bands = ds["time_bnds"].values, ds["energy_bnds"].values
    width = _uniform_width(bounds)
    value = _value_name(ds)
    columns = [
        Col(
            "TIME",
            bounds[:, 0] if width is not None else ds["time"].values,
            "s",
            "start of bin" if width else "centre",
        ),
        _bands_column(ds, value, value.upper()),
    ]
    if f"{value}_err" in ds:
        columns.append(_bands_column(ds, f"{value}_err", "ERROR"))
    elif value == "counts" and ds.attrs["statistic"] == "poisson":
        columns.append(
            Col("ERROR", np.sqrt(columns[-1].array, dtype=np.float64), "count", "square root of the counts")
        )
    if "totcounts" in ds:
        columns.append(_count_column(ds, "totcounts", "TOTCOUNTS"))
    columns.append(variable_column(ds, "fracexp", "FRACEXP"))
    if width is None:
        columns.append(Col("TIMEDEL", bounds[:, 1] - bounds[:, 0], "s", "width of bin"))
    done = ("time", "time_bnds", value, f"{value}_err", "totcounts", "fracexp", "exposure", "background")
    if "background" in ds:
        columns.append(_bands_column(ds, "background", "BACKGROUND"))
    columns += columns_along(ds, "time", skip=(*done, "background_design"))
    times = time_cards(ds.attrs, *span(ds))
    cards: Cards = {
        **_flux_cards(ds, "LIGHTCURVE", value.upper().rstrip("S")),
        "TIMVERSN": "OGIP/93-003",
        "TIMEPIXR": (0.5 if width is None else 0.0, "place of TIME in the bin"),
        "TIMEDEL": None if width is None else (width, "[s] width of bins"),
        **times,
        **exposure_cards(ds.attrs, _total_exposure(ds)),
        **_band_cards(bands),
    }
    rate = table_hdu("RATE", columns, cards, ds.attrs, history=True)
    return [rate, bounds_hdu(ds, bands, times), *good_time_hdus(ds, times)]


def _bands_column(ds: xr.Dataset, name: str, column: str) -> Col:
    """Return values per band; a single band makes a scalar column, whole counts are 32-bit integers."""
    made = variable_column(ds, name, column)
    if made.array.dtype.kind in "iu":
        made = _count_column(ds, name, column)
    array = made.array[:, 0] if made.array.shape[1] == 1 else made.array
    return Col(column, array, made.unit, made.comment)


def _count_column(ds: xr.Dataset, name: str, column: str) -> Col:
    """Return counts as 32-bit integers if that loses nothing; shorter ones stay as they are."""
    values = ds[name].values
    if values.dtype.kind in "iu" and values.dtype.itemsize < 4:
        return Col(column, values, "count", "accepted events")
    whole = values.astype(np.int32) if values.size == 0 or np.abs(values).max() < 2**31 else values
    return Col(column, whole if np.array_equal(whole, values) else values, "count", "accepted events")


def _band_cards(bands: np.ndarray) -> Cards:
    cards: Cards = {}
    for number, (low, high) in enumerate(bands, 1):
        suffix = "" if len(bands) == 1 else number
        cards[f"E_MIN{suffix}"] = (float(low), "[keV] lower edge of band")
        cards[f"E_MAX{suffix}"] = (float(high), "[keV] upper edge of band")
    cards["EUNIT"] = "keV"
    return cards if len(bands) == 1 else {**cards, "NUMBAND": (len(bands), "number of bands")}


# -- spectrum ----------------------------------------------------------------------------------------


def spectrum_hdus(ds: xr.Dataset) -> list[Any]:
    """Return SPECTRUM, EBOUNDS and STDGTI (OGIP 92-007): type II where there is a time axis, else type I."""
    times = time_cards(ds.attrs, *span(ds))
    hdus = _spectra_hdus(ds, times) if "time" in ds.dims else [_spectrum_table(ds, times)]
    channel = ds["channel"].values
    if "energy_bnds" in ds:
        hdus.append(bounds_hdu(ds, ds["energy_bnds"].values, times, channel))
    return hdus + good_time_hdus(ds, times)


def _spectrum_cards(ds: xr.Dataset, columns: list[Col], times: Cards) -> Cards:
    """Return the keywords of OGIP 92-007; what the attributes do not give is neutral."""
    names = [column.name for column in columns]
    attrs = ds.attrs
    channel = ds["channel"].values
    number = names.index("CHANNEL") + 1
    value = _value_name(ds)
    poisson = value == "counts" and attrs.get("statistic") == "poisson" and "stat_err" not in ds
    cards: Cards = {
        **_flux_cards(ds, "SPECTRUM", value.upper().rstrip("S")),
        "PHAVERSN": "1992a",
        "HDUVERS": "1.2.0",
        **times,
        "TIMEPIXR": (0.0, "place of TIME in the bin"),
        "AREASCAL": (float(attrs.get("areascal", 1.0)), "area scaling"),
        "BACKSCAL": (float(attrs.get("backscal", 1.0)), "background scaling"),
        "CORRSCAL": (float(attrs.get("corrscal", 0.0)), "correction scaling"),
        "POISSERR": (poisson, "are errors those of the counts?"),
        "DETCHANS": (ds.sizes["channel"], "number of channels"),
        "CHANTYPE": (attrs.get("chantype", "PI"), "type of channel"),
        f"TLMIN{number}": (int(channel.min(initial=channel[0])), "first channel"),
        f"TLMAX{number}": (int(channel.max(initial=channel[0])), "last channel"),
    }
    for key, comment in (
        ("BACKFILE", "background"),
        ("CORRFILE", "correction"),
        ("RESPFILE", "redistribution or response"),
        ("ANCRFILE", "effective area"),
        ("XFLT0001", "XSPEC filter"),
    ):
        cards[key] = (attrs.get(key.lower(), "none"), comment)
    for key, neutral in (("QUALITY", 0), ("GROUPING", 0), ("SYS_ERR", 0.0)):
        cards[key] = None if key in names else neutral
    return cards


def _value_columns(ds: xr.Dataset, dtype: Any) -> list[Col]:
    value = _value_name(ds)
    columns = [variable_column(ds, value, value.upper(), dtype)]
    if "stat_err" in ds:
        columns.append(variable_column(ds, "stat_err", "STAT_ERR", np.float64))
    if "sys_err" in ds:
        columns.append(variable_column(ds, "sys_err", "SYS_ERR", np.float64))
    return columns


def _value_type(ds: xr.Dataset) -> Any:
    """Return the type of the values: 32-bit integers for whole counts, else doubles."""
    counts = ds.get("counts") if "rate" not in ds else None
    return (
        np.int32
        if counts is not None and counts.dtype.kind in "iu" and counts.dtype.itemsize <= 4
        else np.float64
    )


def _spectrum_table(ds: xr.Dataset, times: Cards) -> Any:
    channel = ds["channel"].values
    columns = [Col("CHANNEL", channel.astype(_channel_type(channel)), None, "channel")]
    columns += _value_columns(ds, _value_type(ds))
    done = ("channel", "energy", "counts", "rate", "stat_err", "sys_err")
    columns += columns_along(ds, "channel", skip=done)
    cards = _spectrum_cards(ds, columns, times) | exposure_cards(ds.attrs, float(ds["exposure"]))
    if "totcounts" in ds:
        cards["TOTCOUNT"] = (int(ds["totcounts"]), "accepted events")
    return table_hdu("SPECTRUM", columns, cards, ds.attrs, history=True)


def _spectra_hdus(ds: xr.Dataset, times: Cards) -> list[Any]:
    """Return the spectra behind a primary unit with the total exposure, which the table has by row."""
    from astropy.io import fits

    if "time_bnds" not in ds:
        raise MissingVariableError(
            "spectra against time: found no time_bnds, expected start and stop of each spectrum"
        )
    bounds, channel = ds["time_bnds"].values, ds["channel"].values
    rows = len(bounds)
    columns = [
        Col("TIME", bounds[:, 0], "s", "start of spectrum"),
        Col("TIME_STOP", bounds[:, 1], "s", "end of spectrum"),
        Col("SPEC_NUM", np.arange(1, rows + 1, dtype=np.int32), None, "number of spectrum"),
        Col("EXPOSURE", ds["exposure"].values, "s", "exposure"),
        Col("TELAPSE", bounds[:, 1] - bounds[:, 0], "s", "TIME_STOP - TIME"),
        Col("CHANNEL", np.tile(channel.astype(_channel_type(channel)), (rows, 1)), None, "channel"),
        *_value_columns(ds, _value_type(ds)),
    ]
    if "totcounts" in ds:
        columns.append(_count_column(ds, "totcounts", "TOTCOUNTS"))
    done = ("time", "time_bnds", "exposure", "counts", "rate", "stat_err", "sys_err", "totcounts")
    numbered = {"SPEC_NUM", "TELAPSE"}
    columns += [column for column in columns_along(ds, "time", skip=done) if column.name not in numbered]
    exposure = exposure_cards(ds.attrs, _total_exposure(ds))
    cards: Cards = {
        **_spectrum_cards(ds, columns, times),
        "HDUCLAS4": ("TYPE:II", "several spectra"),
        "TELAPSE": None,
        "ONTIME": exposure["ONTIME"],
        "DEADC": exposure["DEADC"],
    }
    table = table_hdu("SPECTRUM", columns, cards, ds.attrs, history=True, drop=("LIVETIME",))
    primary = fits.PrimaryHDU(header=primary_header(make_header(times | exposure, ds.attrs)))
    return [primary, table]
