"""Every FITS file of the reference folder opens as the kind that `file_kinds.csv` says, by content."""

from __future__ import annotations

import csv
import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import BatxWarning

TABLE = Path(__file__).with_name("file_kinds.csv")
#: opens with a warning: TLMIN of F_CHAN is absent, channels start at 0 (reference/xspec/README.md)
WARNS = {"reference/xspec/inputs/BAT_alldet_grid_16.rsp"}


def _rows() -> list[tuple[str, str]]:
    with TABLE.open() as file:
        return [(row["file"], row["kind"]) for row in csv.DictReader(file)]


def _is_fits(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as file:
            head = file.read(9)
    return head == b"SIMPLE  ="


def test_table_names_every_fits_file(shared):
    found = {
        path.relative_to(shared).as_posix()
        for top in ("data", "reference")
        for path in (shared / top).rglob("*")
        if path.is_file() and _is_fits(path)
    }
    assert found == {name for name, _ in _rows()}


@pytest.mark.parametrize(("name", "kind"), _rows(), ids=[name for name, _ in _rows()])
def test_file_opens_as_its_kind(shared, name, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name in WARNS:
            warnings.simplefilter("ignore", BatxWarning)
        ds = xr.open_dataset(shared / name, engine="batx")
        tree = xr.open_datatree(shared / name, engine="batx")
    assert ds.attrs["batx_kind"] == kind
    assert ds.bat.kind == kind
    assert batx.check(ds) == []
    assert batx.check(tree) == []
    assert ds.encoding["source"] == str(shared / name)
    assert kind in {node.attrs["batx_kind"] for node in tree.subtree if node.has_data}


@pytest.mark.parametrize(
    ("name", "column", "variable"),
    [
        ("reference/heasoft/inputs/events.fits.gz", "TIME", "time"),
        ("reference/heasoft/inputs/events.fits.gz", "ENERGY", "energy"),
        ("reference/heasoft/inputs/events.fits.gz", "DET_ID", "detid"),
        ("data/xrt/sw00040990001xpcw3po_cl.evt.gz", "STATUS", "status"),
        ("data/attitude/attitude.fits.gz", "QPARAM", "quaternion"),
        ("data/attitude/acs.fits.gz", "FLAGS", "flags"),
        ("data/grb200528A/sw00974827000sao.fits", "QUATERNION", "quaternion"),
        ("data/grb200528A/sw00974827000bevas.pha", "RATE", "rate"),
        ("data/grb200528A/sw00974827000bevas.pha", "SYS_ERR", "sys_err"),
        ("reference/heasoft/pha/spec_type2.pha.gz", "STAT_ERR", "stat_err"),
        ("data/xrt/interval0pc.arf", "SPECRESP", "area"),
        ("data/rates/sw00048759058brtms.lc.gz", "COUNTS", "counts"),
        ("data/lightcurves/grb_120311A_1chan_1s.lc.gz", "FRACEXP", "fracexp"),
        ("reference/heasoft/lc/lc_snr6.lc.gz", "ERROR", "rate_err"),
        ("data/survey/survey6b_2.cat", "RA_OBJ", "ra"),
        ("data/survey/survey6b_2.cat", "ALWAYS_CLEAN", "always_clean"),
        ("data/tables/recent_bcttb.fits.gz", "LDPNAME", "ldpname"),
        ("reference/heasoft/mwevt_slew/aux.fits.gz", "MSKWTSQF", "mask_weight_norm"),
        ("reference/heasoft/econv/gain_offset.fits.gz", "GAIN", "gain"),
        (
            "reference/survey/survey_obs/00099999001/bat/hk/sw00099999001ben.hk",
            "BDIHKNGOODDETS",
            "bdihkngooddets",
        ),
    ],
)  # fmt: skip
def test_values_are_those_of_astropy(shared, name, column, variable):
    from astropy.io import fits

    ds = xr.open_dataset(shared / name, engine="batx")
    expected = np.asarray(fits.getdata(shared / name, 1)[column])
    expected = np.char.rstrip(expected) if expected.dtype.kind == "U" else expected
    values = ds[variable].values
    assert values.dtype.isnative
    np.testing.assert_array_equal(values.squeeze(), expected.squeeze())


def test_every_column_and_image_is_that_of_astropy(shared):
    """One file of each sort of column: fixed, array, bit, logical, text, variable-length, unsigned."""
    from astropy.io import fits

    from batx.io.fits import read_hdus

    for name in (
        "data/attitude/acs.fits.gz",
        "data/nustar/nustar_pha.pha",
        "data/rates/sw00048759058brtms.lc.gz",
        "data/tables/recent_bcttb.fits.gz",
        "data/xmm/PN.rmf.gz",
        "data/xrt/sw00040990001xpcw3po_cl.evt.gz",
        "data/xrt/sw00040990001xpc_sk.img.gz",
        "reference/survey/batsurvey/golden/stats_point.fits.gz",
        "reference/heasoft/dpi/burst.dpitab.gz",
    ):
        with fits.open(shared / name) as expected:
            for hdu in read_hdus(shared / name):
                if hdu.type == "image":
                    np.testing.assert_array_equal(hdu.array().read(), expected[hdu.index].data)
                for column in hdu.columns:
                    _same_column(hdu, column, expected[hdu.index].data[column])


def _same_column(hdu, name, expected):
    values = hdu.array(name).read()
    if hdu.columns[name].code in "PQ":
        for row, cells in zip(values, expected, strict=True):
            np.testing.assert_array_equal(row[: len(cells)], cells)
    elif values.dtype.kind == "U":
        np.testing.assert_array_equal(values, np.char.rstrip(np.asarray(expected)))
    else:
        np.testing.assert_array_equal(values, np.asarray(expected).reshape(values.shape))


def test_engine_is_chosen_by_content(shared, tmp_path):
    """Without ``engine=`` and without a telling name; what is no FITS is left to other engines."""
    copy = tmp_path / "no_extension"
    copy.write_bytes((shared / "data/grb200528A/sw00974827000bevas.pha").read_bytes())
    assert xr.open_dataset(copy).attrs["batx_kind"] == "spectrum"
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    assert xr.open_dataset(tmp_path / "other.nc")["a"] == 1


def test_mjdref_of_zero_in_a_gti_extension_gives_way_to_the_primary_header(shared: Path):
    tree = batx.open_datatree(shared / "data/lightcurves/grb_050416A_1chan_1s.lc.gz")
    assert {tree[name].attrs["mjdref_int"] for name in ("RATE", "STDGTI")} == {51910}


def test_bands_of_a_light_curve_in_pi_are_in_kev(heasoft: Path):
    curve = batx.open_dataset(heasoft / "lc/lc_pi.lc.gz")
    np.testing.assert_allclose(curve["energy_bnds"], [[15, 25], [25, 50], [50, 100], [100, 350]], rtol=1e-12)
