"""FITS files out: what is in them, that they say what the reference products say, and that they read back."""

from __future__ import annotations

import json
import math
import re
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import events, gti, lightcurve, make, redistribution
from reference_events import REFERENCE_CHANNELS

import batx
from batx.errors import BatxWarning, KindError, MissingFileError, SchemaError, ValueRangeError, WriteError
from batx.io.open import open_dataset, open_datatree
from batx.io.write import to_fits
from batx.io.write_events import event_parts_to_fits
from batx.schema import build
from batx.sky_coords import card_values

WRITTEN = [
    "events",
    "gti",
    "attitude",
    "ray_trace",
    "alignment",
    "aperture",
    "detector_mask",
    "detector_plane",
    "weight_image",
    "detector_table",
    "lightcurve",
    "lightcurve_counts",
    "spectrum",
    "spectrum_counts",
    "spectra",
    "response",
    "redistribution",
    "catalog",
    "housekeeping",
    "table",
]
UNWRITTEN = ["fit", "triggers"]
LAYOUTS = json.loads((Path(__file__).parent / "reference" / "fits_layouts.json").read_text())


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "out.fits"


def columns_of(hdu) -> dict[str, list]:
    header = hdu.header
    return {
        header[f"TTYPE{i}"]: [header[f"TFORM{i}"].removeprefix("1"), header.get(f"TUNIT{i}")]
        for i in range(1, header.get("TFIELDS", 0) + 1)
    }


# -- every kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*WRITTEN, "sky_image"])
@pytest.mark.parametrize("suffix", ["fits", "fits.gz"])
def test_is_sound_fits(kind, suffix, tmp_path):
    path = to_fits(make(kind), tmp_path / f"out.{suffix}")
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (suffix == "fits.gz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as file:
            file.verify("exception")
            for hdu in file:
                assert "CHECKSUM" in hdu.header
                assert "DATASUM" in hdu.header
            main = file[1] if file[0].data is None and len(file) > 1 else file[0]
            assert main.header["TELESCOP"] == "SWIFT"
            assert main.header["OBS_ID"] == "00012345000"
            assert main.header["UTCFINIT"] == -22.5
            assert main.header["TRIGTIME"] == 600000050.0
            assert main.header["MJDREFI"] == 51910
            assert main.header["TIMESYS"] == "TT"
            assert main.header["GAINAPP"] is True
            assert main.header["CLOCKAPP"] is False
            assert list(main.header["HISTORY"])[1].startswith("batx mask_weight ra=")
            assert json.loads(main.header["BATXPROV"])["software"] == {"batx": "0.1.0"}


#: what a FITS file does not keep as it is: variables that differ, each with the reason
LOST = {
    "detector_plane": {"counts"},  # written as 32-bit floats, as by the tools
    "catalog": {"e_min", "e_max"},  # bands have no column
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_reads_back(kind, path):
    ds = make(kind)
    to_fits(ds, path)
    back = open_dataset(path)
    assert back.bat.kind == ds.bat.kind
    assert back.bat.check() == []
    for name in set(ds.variables) - LOST.get(kind, set()):
        np.testing.assert_array_equal(ds[name], back[name], err_msg=name)
        assert ds[name].dims == back[name].dims
        if ds[name].dtype.kind in "biuf":
            assert ds[name].dtype == back[name].dtype, name
        assert ds[name].attrs.items() <= back[name].attrs.items(), name
    kept = {key: value for key, value in ds.attrs.items() if key.upper() not in columns_of_all(path)}
    assert kept.items() <= {**back.attrs, "tstop": kept["tstop"]}.items()
    interval = {"time", "time_bnds"} if kind.startswith("spectrum") else set()  # TSTART and TSTOP
    assert set(back.variables) - set(ds.variables) <= {"spec_num", "telapse", "detid", *interval}


def columns_of_all(path: Path) -> set[str]:
    with fits.open(path) as file:
        return {name for hdu in file for name in columns_of(hdu)} | {"RA_OBJ", "DEC_OBJ"}


@pytest.mark.parametrize("form", ["dpi", "dph", "dpitab"])
def test_detector_plane_forms(form, path):
    ds = make("detector_plane")
    to_fits(ds, path, form=form)
    back = open_dataset(path)
    for name in ("counts", "time_bnds", "energy_bnds", "exposure", "gti_start"):
        np.testing.assert_array_equal(ds[name], back[name])
    with fits.open(path) as file:
        if form == "dpi":
            assert [hdu.name for hdu in file[:3]] == ["BAT_DPI", "BAT_DPI_2", "BAT_DPI_3"]
            assert file["BAT_DPI_6"].header["E_MIN"] == 25.0
            assert file["BAT_DPI_6"].header["TSTART"] == 600000100.0
            np.testing.assert_array_equal(file["BAT_DPI_6"].data, ds["counts"][1, 1])
        else:
            shape = (173, 286, 4) if form == "dph" else (173, 286)
            assert file["BAT_DPH"].data["DPH_COUNTS"].shape[1:] == shape
            assert len(file["BAT_DPH"].data) == (2 if form == "dph" else 8)


@pytest.mark.parametrize("drop", [["time"], ["energy"], ["time", "energy"]])
def test_detector_plane_without_an_axis(drop, path):
    ds = make("detector_plane")
    for axis in drop:
        names = [name for name in ds.variables if axis in ds[name].dims and name != "counts"]
        ds = ds.drop_vars([name for name in names if name != "exposure"]).isel({axis: 0})
    to_fits(ds, path)
    np.testing.assert_array_equal(np.squeeze(open_dataset(path)["counts"].values), ds["counts"])


def test_rates_and_fractions_of_detector_planes_keep_double_precision(path):
    ds = make("detector_plane")
    rate = ds["counts"] / 3.0
    ds = ds.drop_vars("counts").assign(rate=rate.assign_attrs(units="count/s"))
    to_fits(ds, path)
    back = open_dataset(path)
    np.testing.assert_array_equal(back["rate"], rate)


def test_mask_as_flags(path):
    ds = make("detector_mask")
    to_fits(ds, path, form="flags")
    np.testing.assert_array_equal(open_dataset(path)["good"], ds["good"])
    assert fits.getval(path, "TDIM2", "BAT_FLAGS") == "(286,173)"


def test_list_of_bad_pixels(path):
    from batx.instrument.detector import DETECTOR, DETID

    quality = np.where(DETECTOR, 0, 4)
    quality[0, :3] = [2, 1, 3]
    ds = build("detector_mask", {"good": quality == 0, "quality": quality.astype(np.uint8)}, gti().attrs)
    to_fits(ds, path)
    with fits.open(path) as file:
        assert [file[0].header[key] for key in ("NHOTPIX", "NCOLDPIX", "GOODVAL")] == [1, 1, 0]
        bad = {int(row["DET_ID"]): int(row["QUALITY"]) for row in file["BADPIX"].data}
        assert bad == {int(DETID[0, 0]): 2, int(DETID[0, 1]): 1}
    np.testing.assert_array_equal(open_dataset(path)["quality"], quality)


@pytest.mark.parametrize("make_response", [lambda: make("response"), redistribution])
def test_response_groups_expand_to_the_matrix(make_response, path):
    ds = make_response()
    to_fits(ds, path)
    with fits.open(path) as file:
        table = file["SPECRESP MATRIX" if ds["matrix"].units == "cm**2" else "MATRIX"]
        first = table.header[f"TLMIN{table.columns.names.index('F_CHAN') + 1}"]
        matrix = np.zeros(ds["matrix"].shape, dtype=np.float32)
        for row, record in zip(matrix, table.data, strict=True):
            starts, lengths = np.atleast_1d(record["F_CHAN"]), np.atleast_1d(record["N_CHAN"])
            assert len(starts) == record["N_GRP"]
            values = np.split(record["MATRIX"], np.cumsum(lengths)[:-1])
            for start, length, part in zip(starts, lengths, values, strict=True):
                row[start - first : start - first + length] = part
        assert table.header["NUMGRP"] == table.data["N_GRP"].sum()
        assert table.header["NUMELT"] == sum(np.size(part) for part in table.data["MATRIX"])
    np.testing.assert_array_equal(matrix, ds["matrix"])


def test_effective_area_alone(path):
    ds = redistribution().drop_vars(["matrix", "channel", "energy", "energy_bnds"])
    to_fits(ds, path)
    with fits.open(path) as file:
        assert file["SPECRESP"].header["HDUCLAS2"] == "SPECRESP"
        assert columns_of(file["SPECRESP"])["SPECRESP"] == ["E", "cm**2"]
    np.testing.assert_array_equal(open_dataset(path)["area"], ds["area"])


def test_energies_keep_full_precision(path):
    """Decimal edges go into the 32 bits that OGIP has and come back the same; others get 64 bits."""
    ds = make("spectrum")
    edges = np.round(np.linspace(14.1, 195.3, 81), 1)
    for values, form in ((edges, "E"), (edges + 1e-7, "D")):
        bounds = np.stack([values[:-1], values[1:]], axis=1)
        ds = ds.assign_coords(
            energy_bnds=(("channel", "bnds"), bounds, ds["energy_bnds"].attrs),
            energy=("channel", bounds.mean(axis=1), ds["energy"].attrs),
        )
        to_fits(ds, path, overwrite=True)
        assert fits.getval(path, "TFORM2", "EBOUNDS") == form
        np.testing.assert_array_equal(open_dataset(path)["energy_bnds"], bounds)


def test_exposure_that_is_not_known(path):
    ds = make("spectrum").assign(exposure=((), np.nan, {"units": "s"}))
    with pytest.warns(BatxWarning, match="ONTIME, EXPOSURE, LIVETIME left out"):
        to_fits(ds, path)
    assert np.isnan(open_dataset(path)["exposure"])


def test_further_columns_of_good_time(path):
    ds = gti().assign(quality=("gti", np.array([0.5, 1.0]), {"units": "1", "fits_name": "QUALITY"}))
    to_fits(ds, path)
    np.testing.assert_array_equal(open_dataset(path)["quality"], [0.5, 1.0])


@pytest.mark.parametrize("n", [0, 1, 99, 100, 101, 437])
def test_events_in_blocks_are_those_of_astropy(n, tmp_path, monkeypatch):
    """Written a block at a time, or packed in one go by astropy: the same file."""
    monkeypatch.setattr("batx.io.write_events._ROWS", 100)
    rng = np.random.default_rng(1)
    ds = events(n).assign(
        flag=("event", rng.random(n) > 0.5),
        signed=("event", rng.integers(-128, 128, n).astype(np.int8), {"units": "1"}),
        large=("event", rng.integers(0, 2**32, n).astype(np.uint32), {"units": "1"}),
        pair=(("event", "axis"), rng.random((n, 2)).astype(">f4"), {"units": "1"}),
    )
    blocks, whole = to_fits(ds, tmp_path / "a.fits"), to_fits(ds, tmp_path / "b.fits.gz")
    with fits.open(blocks, checksum=True) as one, fits.open(whole, checksum=True) as other:
        assert [hdu.name for hdu in one] == [hdu.name for hdu in other]
        for left, right in zip(one, other, strict=True):
            skipped = ("CHECKSUM", "DATASUM")
            assert {k: v for k, v in left.header.items() if k not in skipped} == {
                k: v for k, v in right.header.items() if k not in skipped
            }
            assert left.header["DATASUM"] == right.header["DATASUM"]
            if left.data is not None:
                assert left.data.tobytes() == right.data.tobytes()


def test_events_larger_than_memory_are_read_block_by_block(path, monkeypatch):
    import dask.array as da

    monkeypatch.setattr("batx.io.write_events._ROWS", 100)
    seen = []

    def block(block_info=None):
        low, high = block_info[None]["array-location"][0]
        seen.append((low, high))
        return np.arange(low, high, dtype=np.float64)

    time = da.map_blocks(block, chunks=((50,) * 10,), dtype=np.float64)
    ds = events(500).assign_coords(time=("event", time, {"units": "s"}))
    seen.clear()
    to_fits(ds, path)
    blocks = [int(low) // 100 for low, _ in dict.fromkeys(seen)]
    assert blocks == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(seen) <= 12
    np.testing.assert_array_equal(fits.getdata(path, "EVENTS")["TIME"], np.arange(500.0))


# -- OGIP --------------------------------------------------------------------------------------------

_CLASS = "TELESCOP INSTRUME HDUCLASS HDUCLAS1 "
_MATRIX = _CLASS + "HDUCLAS2 HDUCLAS3 HDUVERS CHANTYPE DETCHANS TLMIN4 NUMGRP NUMELT"
MANDATORY = {
    # OGIP 93-003, section 4
    "RATE": _CLASS
    + "HDUCLAS2 HDUCLAS3 MJDREFI MJDREFF TIMESYS TIMEUNIT TSTART TSTOP TIMEPIXR DATE-OBS DATE-END "
    "ONTIME BACKAPP OBJECT",
    # OGIP 92-007, section 4.1.1
    "SPECTRUM": _CLASS + "HDUCLAS2 HDUCLAS3 HDUVERS EXPOSURE BACKFILE CORRFILE CORRSCAL RESPFILE ANCRFILE "
    "AREASCAL BACKSCAL POISSERR CHANTYPE DETCHANS TLMIN1 TLMAX1",
    # CAL/GEN/92-002, sections 3.2 and 4.2
    "SPECRESP MATRIX": _MATRIX,
    "MATRIX": _MATRIX,
    "SPECRESP": _CLASS + "HDUCLAS2 HDUVERS",
    "EBOUNDS": _CLASS + "HDUCLAS2 HDUVERS CHANTYPE DETCHANS",
    "STDGTI": _CLASS + "HDUCLAS2 TIMESYS TSTART TSTOP MJDREF TIMEZERO",
    "EVENTS": _CLASS + "TSTART TSTOP TIMESYS MJDREFI MJDREFF DATE-OBS DATE-END",
}


@pytest.mark.parametrize(
    "kind", ["events", "lightcurve", "lightcurve_counts", "spectrum", "spectrum_counts", "response"]
)
def test_mandatory_keywords(kind, path):
    to_fits(make(kind), path)
    with fits.open(path) as file:
        for hdu in file[1:]:
            assert set(MANDATORY[hdu.name].split()) <= set(hdu.header), hdu.name
    redistributed = to_fits(redistribution(), path, overwrite=True)
    with fits.open(redistributed) as file:
        for hdu in file[1:]:
            assert set(MANDATORY[hdu.name].split()) <= set(hdu.header), hdu.name


def test_poisson_counts_and_gaussian_rates(path):
    with fits.open(to_fits(make("spectrum_counts"), path)) as file:
        header = file["SPECTRUM"].header
        assert header["POISSERR"] is True
        assert header["HDUCLAS3"] == "COUNT"
        assert "QUALITY" not in header
        assert columns_of(file["SPECTRUM"])["COUNTS"] == ["J", "count"]
    with fits.open(to_fits(make("spectrum"), path, overwrite=True)) as file:
        header = file["SPECTRUM"].header
        assert header["POISSERR"] is False
        assert header["QUALITY"] == header["GROUPING"] == 0
        assert "SYS_ERR" not in header
        assert columns_of(file["SPECTRUM"])["RATE"] == ["D", "count/s"]


#: product of the tools -> Dataset that is like it; what differs in the examples and why
SAME_LAYOUT: dict = {
    "events": (events, None),
    "lightcurve": (lightcurve, None),
    "lightcurve_counts": (
        lambda: (
            make("lightcurve_counts")
            .isel(energy=[0])
            .assign(totcounts=("time", np.arange(5), {"units": "count"}))
            .isel(time=[0])
        ),
        None,
    ),
    "lightcurve_bins": (lambda: lightcurve().isel(time=[0, 1, 5]).pipe(uneven), None),
    "spectrum": (lambda: make("spectrum"), None),
    "spectra": (lambda: make("spectra"), None),
    "detector_plane": (lambda: make("detector_plane").isel(time=[0]), None),
    "detector_plane_dpitab": (lambda: make("detector_plane"), "dpitab"),
    "ray_trace": (lambda: make("ray_trace").pipe(apparent), None),
    "response": (lambda: make("response"), None),
}


def uneven(lc: xr.Dataset) -> xr.Dataset:
    lc["time_bnds"][0, 0] -= 1.0
    return lc


def apparent(ds: xr.Dataset) -> xr.Dataset:
    for name in ("x", "y", "z"):
        ds[f"{name}_app"] = ds[name].assign_attrs(fits_name=f"BAT_{name.upper()}APP")
    for name in ("imx", "imy"):
        ds[f"{name}_app"] = ds[name].assign_attrs(fits_name=f"{name.upper()}_APP")
    return ds


@pytest.mark.parametrize("product", LAYOUTS)
def test_layout_of_the_tools(product, path):
    """Extensions, columns with format and unit, and OGIP class are those of the reference product."""
    maker, form = SAME_LAYOUT[product]
    to_fits(maker(), path, form=form)
    with fits.open(path) as file:
        for name, expected in LAYOUTS[product].items():
            hdu = file[name]
            found = columns_of(hdu)
            columns = dict(expected["columns"])
            if name == "SPECTRUM" and product == "spectrum":
                columns["SYS_ERR"] = ["D", None]
            if name == "SPECRESP MATRIX":
                columns["MATRIX"][1] = "cm**2"  # the archive gives no unit
            if name == "RATE" and product == "lightcurve_counts":
                columns["COUNTS"] = ["J", "count"]  # whole counts here, doubles in the tool
            assert found == columns, name
            allowed = RESPONSE_EXTRA if product == "response" else set()
            differing = {key for key, value in expected["class"].items() if hdu.header.get(key) != value}
            assert differing <= allowed, name


#: archive responses carry these from the spectrum that they were made for
RESPONSE_EXTRA = {"PHAVERSN", "FLUXMETH", "BACKAPP", "HDUCLAS3"}


# -- the reference products themselves ---------------------------------------------------------------

TOOL = {"CREATOR", "CHECKSUM", "DATASUM", "HISTORY", "COMMENT", "NAXIS1", "EXTEND", ""}
#: the tool copies these from the events into EBOUNDS and STDGTI, where they mean nothing
OF_EVENTS = {"TIMEDEL", "TIMEPIXR", "DATAMODE"}
#: the tool leaves in the primary header what held for the whole event file
OF_FILE = {"TSTART", "TSTOP", "ONTIME", "EXPOSURE", "TELAPSE"}
PRODUCTS = {
    "inputs/events.fits.gz": {},
    "inputs/events_slew.fits.gz": {},
    "inputs/attitude.fits.gz": {"ATTITUDE": {"TTYPE", "TFORM", "TUNIT"}},
    "inputs/aperture.fits.gz": {},
    "inputs/teldef.fits.gz": {},
    "inputs/detmask.fits.gz": {},
    "mwevt/aux.fits.gz": {"PRIMARY": {"BITPIX"}},
    "mwevt_slew/aux.fits.gz": {"PRIMARY": {"BITPIX"}},
    **{
        f"lc/lc_{name}.lc.gz": {}
        for name in ("w_1b_0064", "w_1b_10", "w_4b_0064", "w_4b_10", "snr6", "highsnr6")
    },
    **{f"lc/lc_{name}.lc.gz": {} for name in ("raw_1b_0064", "raw_1b_10", "raw_4b_0064", "raw_4b_10")},
    "lc/lc_tlim.lc.gz": {"RATE": {"TELAPSE"}},  # that of the events, not TSTOP - TSTART
    # STDGTI has the source position of the events, RATE that of the weight image
    "lc/lc_maskwtimg.lc.gz": {"STDGTI": {"BATCREAT", "BAT_XOBJ", "BAT_YOBJ", "COORTYPE", "MSKWTSQF"}},
    "pha/spec_w.pha.gz": {
        "SPECTRUM": {"TOTCOUNT"},
        "EBOUNDS": {"PHAFILE"},
    },  # TOTCOUNT is a pointer, not a count
    "pha/spec_raw.pha.gz": {"SPECTRUM": {"TOTCOUNT"}, "EBOUNDS": {"PHAFILE"}},
    "pha/spec_type2.pha.gz": {"EBOUNDS": {"PHAFILE"}},
    "pha/spec_slew2.pha.gz": {"EBOUNDS": {"PHAFILE"}},
    **{f"dpi/{name}.dpi.gz": {} for name in ("all_1b", "bkg_1b", "burst_1b", "burst_4b")},
    "dpi/burst.dpitab.gz": {},
    "clean/bkgonly.dpi.gz": {"BAT_DPI": {"TOTCOUNT"}},  # of the image that the background was fitted to
    "econv/gain_offset.fits.gz": {},
    # a mask of 0 and 1 in 16 bits; the list of hot detectors is only written where the codes are known
    "hotpix/hot_default.mask.gz": {"PRIMARY": {"BITPIX"}, "BADPIX": None},
    # the tool copies the class of the events into the weight image
    "mwimg_src/mw_default.fits.gz": {"PRIMARY": {"HDUCLAS1"}},
}


def same(value, other) -> bool:
    if isinstance(value, bool) or isinstance(other, bool) or isinstance(value, str):
        return value == other and type(value) is type(other)
    return isinstance(other, (int, float)) and math.isclose(value, other, rel_tol=1e-12)


@pytest.mark.parametrize("product", PRODUCTS)
def test_reference_product_written_again(product, heasoft, path):
    """Every keyword of the product is there with its value, except those listed; every number is the same."""
    ds = open_dataset(heasoft / product)
    to_fits(ds, path, form="dpitab" if "dpitab" in product else None)
    exceptions = PRODUCTS[product]
    with fits.open(heasoft / product) as expected, fits.open(path, checksum=True) as found:
        for number, hdu in enumerate(expected):
            allowed = exceptions.get(hdu.name, set())
            if allowed is None:
                assert hdu.name not in [other.name for other in found]
                continue
            other = found[hdu.name] if number else found[0]
            allowed = TOOL | allowed | (OF_EVENTS if hdu.name in ("EBOUNDS", "STDGTI") else set())
            allowed |= OF_FILE if hdu.name == "PRIMARY" and number == 0 and hdu.data is None else set()
            for card in hdu.header.cards:
                if card.keyword in allowed or any(card.keyword.startswith(name) for name in allowed if name):
                    continue
                value = card.value
                if card.keyword.startswith("TFORM"):
                    value = value.removeprefix("1")
                assert card.keyword in other.header, f"{hdu.name} {card.keyword}"
                assert same(value, other.header[card.keyword]), f"{hdu.name} {card}"
            if hdu.columns if hasattr(hdu, "columns") else False:
                assert set(hdu.columns.names) == set(other.columns.names)
                for name in hdu.columns.names:
                    assert_column(hdu.data[name], other.data[name], name)
            elif hdu.data is not None:
                np.testing.assert_array_equal(hdu.data, other.data)


def test_bands_in_pi_are_written_in_kev(heasoft, path):
    """The tool gives the energies in units of 0.1 keV, which its EBOUNDS calls keV."""
    product = heasoft / "lc" / "lc_pi.lc.gz"
    to_fits(open_dataset(product), path)
    with fits.open(product) as expected, fits.open(path) as found:
        assert found["RATE"].header["EUNIT"] == "keV"
        assert found["RATE"].header["E_MAX4"] == expected["RATE"].header["E_MAX4"] / 10 == 350.0
        for name in ("E_MIN", "E_MAX"):
            np.testing.assert_array_equal(found["EBOUNDS"].data[name], expected["EBOUNDS"].data[name] / 10)
        for name in ("RATE", "ERROR", "TOTCOUNTS", "FRACEXP"):
            np.testing.assert_array_equal(found["RATE"].data[name], expected["RATE"].data[name])


def assert_column(expected: np.ndarray, found: np.ndarray, name: str) -> None:
    if name in ("TIME", "TIMEDEL", "FRACEXP"):
        # unequal bins: the reader makes neighbours share an edge, which moves them by a rounding of MET
        np.testing.assert_allclose(found, expected, rtol=0, atol=2 * np.spacing(6e8))
    elif expected.dtype.kind in "US":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=name)


def weighted(heasoft: Path) -> xr.Dataset:
    """The event file that COMMANDS.txt calls mwevt/events.fits."""
    ds = open_dataset(heasoft / "inputs" / "events.fits.gz").load()
    with fits.open(heasoft / "mwevt" / "mask_weight.fits.gz") as file:
        ds["mask_weight"] = ("event", file[1].data["MASK_WEIGHT"].astype(np.float32), ds["mask_weight"].attrs)
        header = file[1].header
    names = ("BAT_XOBJ", "BAT_YOBJ", "BAT_ZOBJ", "PCODEFR", "MSKWTSQF", "NGOODPIX")
    return ds.assign_attrs({name.lower(): header[name] for name in names})


#: keywords that the tool's mask weighting writes and that are not in the reference event file
WEIGHTING = re.compile(
    r"(MASK|DET(BAT|OFF|CEL|SIZE))|BAT_(RA|DEC)|(FF|NF|PCODE|NGPIX|MSKWT|BDIST)APP|COORTYPE|BATCREAT|A?BTELDEF|APERTURE"
)


#: the tool copies the dates of the event file (and counts flagged events, algorithms.md section 2.2)
NATIVE = {"DATE-OBS", "DATE-END", "TOTCOUNT", "PHAFILE"}
FOUR = [15.0, 25.0, 50.0, 100.0, 350.0]
CUT = {"tstart": 600000045.0, "tstop": 600000085.0}
BURST = {"tstart": 600000050.0, "tstop": 600000075.0}
MADE = {
    "lc/lc_w_4b_10.lc.gz": lambda ev: batx.lightcurve(ev, dt=1.0, energy=FOUR),
    "lc/lc_w_4b_0064.lc.gz": lambda ev: batx.lightcurve(ev, dt=0.064, energy=FOUR),
    "lc/lc_raw_1b_0064.lc.gz": lambda ev: batx.lightcurve(ev, dt=0.064, energy=FOUR[::4], weighting="none"),
    "pha/spec_w.pha.gz": lambda ev: batx.spectrum(ev, energy=REFERENCE_CHANNELS, **CUT),
    "pha/spec_raw.pha.gz": lambda ev: batx.spectrum(
        ev, energy=REFERENCE_CHANNELS, weighting="none", quantity="rate", **CUT
    ),
    "pha/spec_type2.pha.gz": lambda ev: batx.spectrum(ev, time=600000000.0 + 10.0 * np.arange(21)),
    "dpi/burst_4b.dpi.gz": lambda ev: batx.detector_plane(ev, energy=FOUR, **BURST),
    "dpi/burst.dpitab.gz": lambda ev: batx.detector_plane(ev, energy=FOUR, **BURST),
}


@pytest.mark.parametrize("product", MADE)
def test_native_products_have_the_keywords_and_columns_of_the_tool(product, heasoft, path):
    """What batx makes from the reference events has every keyword and column of the tool's product."""
    to_fits(MADE[product](weighted(heasoft)), path, form="dpitab" if "dpitab" in product else None)
    with fits.open(heasoft / product) as expected, fits.open(path, checksum=True) as found:
        for number, hdu in enumerate(expected):
            other = found[hdu.name] if number else found[0]
            columns = columns_of(hdu)
            if product == "lc/lc_raw_1b_0064.lc.gz" and "COUNTS" in columns:
                columns["COUNTS"] = ["J", "count"]  # whole counts here, doubles in the tool
            if product == "pha/spec_w.pha.gz":
                columns.pop("SYS_ERR", None)  # added by batphasyserr
            assert columns_of(other) == columns
            allowed = TOOL | OF_EVENTS | NATIVE | (OF_FILE if hdu.name == "PRIMARY" else set())
            for card in hdu.header.cards:
                key = card.keyword
                if key in allowed or WEIGHTING.match(key) or re.match(r"T(TYPE|FORM|UNIT|FIELDS)", key):
                    continue
                if product == "pha/spec_w.pha.gz" and key.startswith("BAT_"):
                    continue  # of the time of the spectrum, by batupdatephakw
                assert key in other.header, f"{hdu.name} {key}"
                value = other.header[key]
                exact = same(card.value, value)
                # the sum of good time is 199.5 s; the tool's sum of rounded bins is 199.500033 s
                summed = key in ("ONTIME", "EXPOSURE", "LIVETIME") and value == pytest.approx(
                    card.value, rel=1e-6
                )
                assert exact or summed, f"{hdu.name} {card}"


def test_native_hot_detectors_are_those_of_the_tool(heasoft, path):
    to_fits(batx.hot_pixels(open_dataset(heasoft / "dpi" / "all_1b.dpi.gz")), path)
    with fits.open(heasoft / "hotpix" / "hot_default.mask.gz") as expected, fits.open(path) as found:
        for name in ("DET_ID", "DETX", "DETY", "QUALITY"):
            np.testing.assert_array_equal(found["BADPIX"].data[name], expected["BADPIX"].data[name])
        assert found[0].header["NHOTPIX"] == expected[0].header["NHOTPIX"]


# -- headers -----------------------------------------------------------------------------------------


def test_dates_are_those_of_the_archive(path, shared):
    """DATE-OBS of real files is the UTC of MJDREF + TSTART, without the clock correction."""
    ds = open_dataset(shared / "data" / "attitude" / "acs.fits.gz")
    expected = ds.attrs["date_obs"], ds.attrs["date_end"]
    for name in ("date_obs", "date_end"):
        del ds.attrs[name]
    to_fits(ds, path)
    header = fits.getheader(path, 1)
    assert (header["DATE-OBS"], header["DATE-END"]) == expected


def test_attributes_go_back_to_keywords(path):
    long_text = "word " * 40
    ds = gti().assign_attrs(
        remark=long_text, a_long_name=3.5, **{"mjd-obs": 58000.5}, date_obs="2020-01-06T10:40:00"
    )
    to_fits(ds, path)
    header = fits.getheader(path, 1)
    assert header["REMARK"] == long_text.rstrip()
    assert header["A_LONG_NAME"] == 3.5
    assert header["MJD-OBS"] == 58000.5
    assert header["DATE-OBS"] == "2020-01-06T10:40:00"
    assert header["RA_OBJ"] == 165.76360901119506
    assert header["SEG_NUM"] == 0
    assert header["CREATOR"].startswith("batx ")
    back = open_dataset(path)
    assert back.attrs["a_long_name"] == 3.5
    assert back.attrs["history"] == ds.attrs["history"]


@pytest.mark.parametrize("value", [np.nan, np.inf, [1, 2], "façade", "a\nb"])
def test_attributes_that_no_keyword_holds(path, value):
    with pytest.warns(BatxWarning, match=r"cannot hold the attribute\(s\) strange"):
        to_fits(gti().assign_attrs(strange=value), path)
    assert "STRANGE" not in fits.getheader(path, 1)


def test_long_text_under_a_long_name(path):
    with pytest.warns(BatxWarning, match="a_long_name"):
        to_fits(gti().assign_attrs(a_long_name="x" * 80), path)


def test_stale_keywords_are_not_carried(path):
    """What holds for the events (class, exposure, elapsed time) does not get into what is made from them."""
    lc = lightcurve().assign_attrs(
        hduclas1="EVENTS", exposure=1.0, telapse=5.0, timedel=1e-4, e_min7=1.0, tfields=9
    )
    to_fits(lc, path)
    header = fits.getheader(path, "RATE")
    assert header["HDUCLAS1"] == "LIGHTCURVE"
    assert header["EXPOSURE"] == header["ONTIME"] == 199.5
    assert header["TELAPSE"] == 200.0
    assert header["TIMEDEL"] == 4.0
    assert "E_MIN7" not in header


def test_exposure_of_the_file_is_kept_while_it_is_right(path):
    lc = lightcurve().assign_attrs(exposure=199.50000002, ontime=199.6, deadc=0.9995)
    header = fits.getheader(to_fits(lc, path), "RATE")
    assert (header["EXPOSURE"], header["ONTIME"], header["DEADC"]) == (199.50000002, 199.6, 0.9995)


@pytest.mark.parametrize("form", ["dph", "dpitab"])
def test_every_variable_of_the_rows_is_a_column(form, path):
    ds = make("detector_plane")
    ds["data_flags"] = "time", np.arange(ds.sizes["time"], dtype=np.int16)
    ds["livetime"] = "time", 0.5 * ds["exposure"].values
    to_fits(ds, path, form=form)
    for name in ("data_flags", "livetime"):
        np.testing.assert_array_equal(open_dataset(path)[name], ds[name])


def test_counts_of_histograms_keep_their_type(path):
    ds = make("detector_plane").pipe(lambda ds: ds.assign(counts=ds["counts"].astype(np.int16)))
    to_fits(ds, path, form="dph")
    assert open_dataset(path)["counts"].dtype == np.int16
    np.testing.assert_array_equal(open_dataset(path)["counts"], ds["counts"])


def test_columns_have_the_names_of_the_data_model(path):
    ds = build("events", {"time": [1.0], "detid": [7], "energy": [20.0]}, {"tstart": 0.0, "tstop": 2.0})
    assert list(columns_of(fits.open(to_fits(ds, path))["EVENTS"])) == ["TIME", "DET_ID", "ENERGY"]


def test_events_in_parts(path, tmp_path):
    whole = events().sortby("time")
    whole["bad"] = "event", whole["energy"].values > 50
    borders = [0, 100, 350, whole.sizes["event"]]
    parts = (
        whole.isel(event=slice(a, b)).assign_attrs(tstop=float(whole["time"][b - 1]) + 1e-4)
        for a, b in pairwise(borders)
    )
    event_parts_to_fits(parts, path)
    to_fits(whole, tmp_path / "whole.fits")
    with fits.open(path) as found, fits.open(tmp_path / "whole.fits") as expected:
        found.verify("exception")
        assert found["EVENTS"].columns.formats == expected["EVENTS"].columns.formats
        for name in expected["EVENTS"].columns.names:
            np.testing.assert_array_equal(found["EVENTS"].data[name], expected["EVENTS"].data[name])
        stop = float(whole["time"][-1]) + 1e-4
        assert found["EVENTS"].header["TSTOP"] == found["STDGTI"].data["STOP"][0] == stop
    with pytest.raises(ValueRangeError, match="no parts"):
        event_parts_to_fits([], tmp_path / "none.fits")
    assert not (tmp_path / "none.fits").exists()


def test_without_good_time_there_is_no_gti(path):
    to_fits(lightcurve().drop_vars(["gti_start", "gti_stop"]), path)
    with fits.open(path) as file:
        assert [hdu.name for hdu in file] == ["PRIMARY", "RATE", "EBOUNDS"]


def test_packed_file_is_the_same_each_time(tmp_path):
    one, two = to_fits(gti(), tmp_path / "a.fits.gz"), to_fits(gti(), tmp_path / "b.fits.gz")
    assert one.read_bytes() == two.read_bytes()
    for hdu in fits.open(one):
        comments = {hdu.header.comments[name] for name in ("CHECKSUM", "DATASUM")}
        assert comments == {"FITS standard 4.0, section 4.4.2.7"}  # not the time of writing


@pytest.mark.parametrize("width", [0.064, 1.0, 0.004, 1.6, 1e-4, 300.0, 1 / 3])
def test_uniform_bins_keep_their_width(width, path):
    n = 500
    edges = 6e8 + width * np.arange(n + 1)
    lc = lightcurve(n)
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    lc = lc.assign_coords(
        time_bnds=(("time", "bnds"), bounds, lc["time_bnds"].attrs),
        time=("time", bounds.mean(axis=1), lc["time"].attrs),
    )
    to_fits(lc, path)
    header = fits.getheader(path, "RATE")
    assert header["TIMEPIXR"] == 0.0
    assert header["TIMEDEL"] == pytest.approx(width, abs=2e-7 / n)
    if width != 1 / 3:
        assert header["TIMEDEL"] == width
    np.testing.assert_array_equal(fits.getdata(path, "RATE")["TIME"], edges[:-1])
    np.testing.assert_allclose(open_dataset(path)["time_bnds"], bounds, rtol=0, atol=2 * np.spacing(6e8))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    widths=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 5.0]), min_size=20, max_size=20),
)
def test_any_bins_read_back(path, widths, gaps):
    start = 6e8 + np.cumsum([0.0, *np.add(widths, gaps[: len(widths)])])[:-1]
    bounds = np.stack([start, start + widths], axis=1)
    lc = lightcurve(len(widths))
    lc = lc.assign_coords(
        time_bnds=(("time", "bnds"), bounds, lc["time_bnds"].attrs),
        time=("time", bounds.mean(axis=1), lc["time"].attrs),
    )
    to_fits(lc, path, overwrite=True)
    back = open_dataset(path)
    np.testing.assert_allclose(back["time_bnds"], bounds, rtol=0, atol=1.1e-6)
    np.testing.assert_array_equal(back["rate"], lc["rate"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8", "b1", "U3", ">f8"]),
    shape=st.sampled_from([(), (3,), (2, 3)]),
    n=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_columns_of_any_type_read_back(path, dtype, shape, n, seed):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n, *shape, 8), dtype=np.uint8)
    if dtype == "U3":
        shape = ()
        values = np.array([chr(65 + i) * (i % 4) for i in range(n)], dtype="U3")
    elif dtype == "b1":
        values = raw[..., 0] > 127
    else:
        values = np.ascontiguousarray(raw).view(dtype)[..., 0]
    dims = ("event", *(f"axis{i}" for i in range(len(shape))))
    ds = events(n).assign(extra=(dims, values, {"units": "1", "fits_name": "EXTRA"}))
    to_fits(ds, path, overwrite=True)
    with fits.open(path) as file:
        found = np.asarray(file["EVENTS"].data["EXTRA"])
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(open_dataset(path)["extra"].values.reshape(values.shape), values)


# -- real files --------------------------------------------------------------------------------------

KINDS_OF_FILES = [
    line.split(",") for line in (Path(__file__).parent / "file_kinds.csv").read_text().splitlines()[1:]
]
FEW = sorted({kind: file for file, kind in reversed(KINDS_OF_FILES)}.items())


@pytest.mark.parametrize(("kind", "file"), FEW)
def test_real_files_survive_every_store(kind, file, shared, tmp_path):
    """A file of every kind to netCDF, Zarr and, where there is a form, FITS."""
    ds = open_dataset(shared / file).load()
    for write, name in ((ds.bat.to_netcdf, "a.nc"), (ds.bat.to_zarr, "a.zarr")):
        with batx.open_dataset(write(tmp_path / name)) as back:
            xr.testing.assert_identical(ds, back)
    tree = open_datatree(shared / file).load()
    with batx.open_datatree(tree.bat.to_netcdf(tmp_path / "tree.nc")) as back:
        xr.testing.assert_identical(tree, back)
    if kind not in UNWRITTEN:
        back = open_dataset(to_fits(ds, tmp_path / "a.fits"))
        assert back.bat.kind == kind
        for variable in set(ds.variables) - {"wcs"}:
            np.testing.assert_array_equal(ds[variable], back[variable], err_msg=variable)
        if kind == "sky_image":
            assert card_values(ds) == card_values(back)


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNWRITTEN)
def test_kinds_without_a_fits_form(kind, path):
    with pytest.raises(KindError, match="to_fits works on kind"):
        to_fits(make(kind), path)
    assert not path.exists()


def test_not_a_dataset(path):
    with pytest.raises(KindError, match="found DataTree"):
        to_fits(xr.DataTree(), path)


def test_several_sources(path):
    with pytest.raises(KindError, match=r"isel\(source=0\)"):
        to_fits(make("events_sources"), path)
    to_fits(make("events_sources").isel(source=1), path)


def test_missing_variables_are_named(path):
    with pytest.raises(SchemaError, match="exposure"):
        to_fits(lightcurve().drop_vars(["exposure", "fracexp"]), path)
    assert not path.exists()


def test_form_of_another_kind(path):
    with pytest.raises(
        ValueRangeError, match="expected None or 'dpi' or 'dph' or 'dpitab' for a detector_plane"
    ):
        to_fits(make("detector_plane"), path, form="flags")
    with pytest.raises(ValueRangeError, match="expected None for a gti"):
        to_fits(gti(), path, form="dpi")


def test_two_variables_for_one_column(path):
    ds = events().assign(other=("event", np.zeros(500), {"fits_name": "ENERGY"}))
    with pytest.raises(SchemaError, match="two variables for column ENERGY"):
        to_fits(ds, path)


def test_text_that_is_not_ascii(path):
    ds = make("catalog").assign_coords(name=("source", np.array(["Cyg α", "b", "c"])))
    with pytest.raises(SchemaError, match="NAME needs one ASCII text"):
        to_fits(ds, path)


def test_never_over_its_source_nor_without_leave(path):
    to_fits(gti(), path)
    with pytest.raises(WriteError, match="overwrite=True"):
        to_fits(lightcurve(), path)
    ds = open_dataset(path)
    before = path.read_bytes()
    with pytest.raises(WriteError, match="inputs are never modified"):
        to_fits(ds, path, overwrite=True)
    with pytest.raises(WriteError, match="inputs are never modified"):
        ds.isel(gti=[0]).bat.to_netcdf(path, overwrite=True)
    with pytest.raises(WriteError, match="inputs are never modified"):
        open_datatree(path).bat.to_zarr(path, overwrite=True)
    assert path.read_bytes() == before
    to_fits(lightcurve(), path, overwrite=True)
    assert open_dataset(path).bat.kind == "lightcurve"


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    path = to_fits(gti(), tmp_path / "out.fits")
    before = path.read_bytes()

    def fail(self, file, *args, **kwargs):
        file.write(b"SIMPLE  =")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", fail)
    with pytest.raises(WriteError, match="No space left on device"):
        to_fits(lightcurve(), path, overwrite=True)
    with pytest.raises(WriteError, match="No space left on device"):
        to_fits(lightcurve(), tmp_path / "other.fits.gz")
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["out.fits"]


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="create it first"):
        to_fits(gti(), tmp_path / "nowhere" / "out.fits")
