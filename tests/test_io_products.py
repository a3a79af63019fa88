"""What each product becomes: axes, units, masks, geometry, good time, energies."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import batx
from batx.errors import BatxWarning, FileFormatError, MissingKeywordError, MissingVariableError
from batx.instrument.detector import DETID, detid_to_xy

BAT = {"TELESCOP": "SWIFT", "INSTRUME": "BAT"}


def _write(path, *hdus, primary=None):
    fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def _table(name, columns, **keywords):
    made = [fits.Column(n, f, array=np.asarray(a), **extra) for n, f, a, extra in columns]
    table = fits.BinTableHDU.from_columns(made, name=name)
    table.header.update(keywords)
    return table


def _col(name, form, array, **extra):
    return name, form, array, extra


def _bounds(n=4, edges=(15, 25, 50, 100, 350)):
    return _table(
        "EBOUNDS",
        [
            _col("CHANNEL", "I", np.arange(n)),
            _col("E_MIN", "E", edges[:n], unit="keV"),
            _col("E_MAX", "E", edges[1 : n + 1], unit="keV"),
        ],
    )


def _gti(name="STDGTI"):
    return _table(name, [_col("START", "D", [0.0, 20.0]), _col("STOP", "D", [10.0, 30.0])])


# --- events, good time, attitude ------------------------------------------------------------------


def test_detector_positions_follow_from_numbers(tmp_path):
    detid = np.array([0, 1, 2047, 32767], np.int16)
    times = _col("TIME", "D", np.arange(4.0))
    path = _write(tmp_path / "a.evt", _table("EVENTS", [times, _col("DET_ID", "I", detid)], **BAT))
    ds = batx.open_dataset(path)
    detx, dety = detid_to_xy(detid)
    np.testing.assert_array_equal(ds["detx"], detx)
    np.testing.assert_array_equal(ds["dety"][2:3], dety[2:3])
    other = _write(
        tmp_path / "b.evt",
        _table("EVENTS", [times, _col("DET_ID", "I", detid)], TELESCOP="OTHER", INSTRUME="X"),
    )
    assert "detx" not in batx.open_dataset(other)


def test_events_of_a_slew_have_good_time_and_keywords(heasoft):
    ds = batx.open_dataset(heasoft / "inputs" / "events.fits.gz")
    np.testing.assert_array_equal(ds["gti_start"], [6e8, 6e8 + 90.5])
    np.testing.assert_array_equal(ds["gti_stop"], [6e8 + 90, 6e8 + 200])
    assert ds.attrs["obs_id"] == "00012345000"
    assert ds.attrs["utcf"] == -22.5
    assert ds.attrs["trigger_time"] == 600000050.0
    assert (ds.attrs["mjdref_int"], ds.attrs["time_scale"], ds.attrs["gainapp"]) == (51910, "tt", 1)
    assert ds["pi"].attrs["units"] == "0.1 keV"
    assert ds["simlabel"].dims == ("event",)


def test_good_time_of_every_extension(heasoft):
    tree = batx.open_datatree(heasoft / "bb" / "dur_w1s.gti.gz")
    assert sorted(tree.children) == ["GTI_BKG1", "GTI_BKG2", "GTI_PEAK", "GTI_T50", "GTI_T90", "GTI_TOT"]
    assert {node.bat.kind for node in (child.to_dataset() for child in tree.children.values())} == {"gti"}
    t50 = batx.open_dataset(heasoft / "bb" / "dur_w1s.gti.gz", hdu="GTI_T50")
    assert float(t50["stop"][0]) > float(t50["start"][0])


@pytest.mark.parametrize(("form", "same"), [("8X", True), ("8L", True), ("8X", False)])
def test_attitude_flags(tmp_path, form, same):
    """Flags, bits or logical values, join the attitude where their times are its times."""
    n = 5
    rng = np.random.default_rng(2)
    quaternion = rng.normal(size=(n, 4))
    pointing = rng.normal(size=(n, 3))
    flags = rng.integers(0, 2, (n, 8)).astype(bool)
    times = np.arange(n, dtype=float)
    pointings = _col("POINTING", "3D", pointing)
    path = _write(
        tmp_path / "sat.fits",
        _table("ATTITUDE", [_col("TIME", "D", times), _col("QPARAM", "4D", quaternion), pointings]),
        _table("ACS_DATA", [_col("TIME", "D", times + (0 if same else 0.1)), _col("FLAGS", form, flags)]),
    )  # fmt: skip
    ds = batx.open_dataset(path)
    np.testing.assert_array_equal(ds["quaternion"], quaternion)
    np.testing.assert_array_equal(ds["roll"], pointing[:, 2])
    assert ("settled" in ds) is same
    acs = batx.open_datatree(path)["ACS_DATA"].to_dataset()
    assert acs.bat.kind == "housekeeping"
    for position, name in enumerate(("ten_arcmin", "settled", "in_saa", "safe_hold")):
        np.testing.assert_array_equal((ds if same else acs)[name], flags[:, position])


# --- detector plane -------------------------------------------------------------------------------


def test_detector_mask_image_and_table(tmp_path, shared):
    rng = np.random.default_rng(3)
    plane = rng.integers(0, 3, (173, 286)).astype(np.int16)
    image = fits.PrimaryHDU(plane, header=fits.Header({"GOODVAL": 1}))
    image.writeto(tmp_path / "mask.fits")
    ds = batx.open_dataset(tmp_path / "mask.fits")
    np.testing.assert_array_equal(ds["good"], plane == 1)
    np.testing.assert_array_equal(ds["quality"], plane)

    two = np.stack([plane % 2, plane // 2]).astype(np.int16)
    flags = _table(
        "BAT_FLAGS", [_col("TIME", "D", [0.0, 1.0]), _col("FLAG", "49478I", two, dim="(286,173)")], **BAT
    )
    both = batx.open_dataset(_write(tmp_path / "bdecb.hk", flags))
    np.testing.assert_array_equal(both["good"], plane == 0)

    path = shared / "reference/heasoft/hotpix/hot_burst.mask.gz"
    image, rows = batx.open_dataset(path), batx.open_dataset(path, hdu="BADPIX")
    listed = fits.getdata(path, 1)
    assert (~rows["good"].values).sum() == len(listed)
    assert not image["good"].values[listed["DETY"], listed["DETX"]].any()


def test_aperture_geometry(heasoft, tmp_path):
    ds = batx.open_dataset(heasoft / "inputs" / "aperture.fits.gz")
    assert ds["mask"].shape == (243, 487)
    assert (ds.attrs["maskcell0x"], ds.attrs["maskcell0y"]) == (-121.75, -60.75)
    assert (ds.attrs["maskoffz"], ds.attrs["detbatz"]) == (-0.05, 0.35)
    np.testing.assert_allclose(ds["mask_x_bnds"][0], [-121.7, -121.2], rtol=1e-12)
    np.testing.assert_allclose(ds["mask_y"][-1], 0.143 - 60.75 + 0.5 * 242.5, rtol=1e-12)

    bare = fits.PrimaryHDU(np.ones((253, 497), np.int16), header=fits.Header({"APERTYPE": "FLUX"}))
    bare.writeto(tmp_path / "aperture.fits")
    default = batx.open_dataset(tmp_path / "aperture.fits").attrs
    assert (default["maskbatz"], default["maskoffy"], default["maskcelz"], default["detsizex"]) == (
        100.1,
        0.143,
        0.1,
        0.4,
    )


def test_alignment_is_normalised(heasoft, tmp_path):
    ds = batx.open_dataset(heasoft / "inputs" / "teldef.fits.gz")
    matrix = ds["matrix"].values
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(matrix, ds["matrix_file"], atol=2e-9)
    assert ds["matrix_file"].values[0, 1] == 0.999994245
    header = fits.getheader(heasoft / "inputs" / "teldef.fits.gz")
    del header["ALIGNM23"]
    fits.PrimaryHDU(header=header).writeto(tmp_path / "teldef.fits")
    with pytest.raises(MissingKeywordError, match="ALIGNM23"):
        batx.open_dataset(tmp_path / "teldef.fits")


def test_images_of_bands_are_one_array(heasoft):
    path = heasoft / "dpi" / "burst_4b.dpi.gz"
    ds = batx.open_dataset(path)
    assert ds["counts"].dims == ("time", "energy", "dety", "detx")
    np.testing.assert_array_equal(ds["energy_bnds"], [[15, 25], [25, 50], [50, 100], [100, 350]])
    np.testing.assert_array_equal(ds["time_bnds"], [[600000050.0, 600000075.0]])
    assert float(ds["exposure"][0]) == 25.0
    np.testing.assert_array_equal(ds["detid"], DETID)
    with fits.open(path) as file:
        np.testing.assert_array_equal(ds["counts"][0], np.stack([file[i].data for i in range(4)]))
        np.testing.assert_array_equal(ds["counts"][0, 2, 100], file[2].data[100])
    table = batx.open_dataset(heasoft / "dpi" / "burst.dpitab.gz")
    xr.testing.assert_equal(table["counts"].load(), ds["counts"].load())
    tree = batx.open_datatree(path)
    assert tree["BAT_DPI_3/counts"].shape == (1, 1, 173, 286)


def test_images_of_times_and_bands(tmp_path):
    images = []
    for index, (start, low) in enumerate([(0, 15), (0, 50), (10, 15), (10, 50)]):
        header = fits.Header(BAT | {"E_MIN": low, "E_MAX": 2 * low, "TSTART": start, "TSTOP": start + 8})
        header.update({"EXPOSURE": 7.5 + start, "BUNIT": "count/s", "EXTNAME": f"BAT_DPI_{index + 1}"})
        images.append(fits.ImageHDU(np.full((173, 286), index, np.float32), header=header))
    ds = batx.open_dataset(_write(tmp_path / "four.dpi", *images))
    assert ds["rate"].sizes == {"time": 2, "energy": 2, "dety": 173, "detx": 286}
    np.testing.assert_array_equal(ds["rate"][:, :, 0, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(ds["exposure"], [7.5, 17.5])


def test_weight_image(heasoft):
    path = heasoft / "mwimg_src" / "mw_default.fits.gz"
    ds = batx.open_dataset(path)
    np.testing.assert_array_equal(ds["weight"], fits.getdata(path))
    assert ds.attrs["pcodefr"] == 1.0


def test_survey_histogram(shared):
    path = shared / "reference/survey/survey_obs/00099999001/bat/survey/sw00099999001bsvpb000g0040.dph.gz"
    ds = batx.open_dataset(path)
    stored = fits.getdata(path, 1)
    assert ds["counts"].dims == ("time", "energy", "dety", "detx")
    np.testing.assert_array_equal(ds["counts"][1, 12:15], stored["DPH_COUNTS"][1].transpose(2, 0, 1)[12:15])
    np.testing.assert_array_equal(ds["time_bnds"][:, 0], stored["TIME"])
    np.testing.assert_allclose(ds["time_bnds"][:, 1] - stored["TIME"], stored["EXPOSURE"], atol=1e-6)
    np.testing.assert_array_equal(ds["data_flags"], stored["DATA_FLAGS"])
    assert ds.sizes["energy"] == 80


def test_histogram_without_interval(tmp_path):
    columns = [
        _col("TIME", "D", [0.0]),
        _col("DPH_COUNTS", "49478J", np.zeros((1, 173, 286)), dim="(286,173)"),
    ]
    path = _write(tmp_path / "no.dph", _table("BAT_DPH", columns, **BAT))
    with pytest.raises(MissingKeywordError, match="TIME_STOP"):
        batx.open_dataset(path)
    path = _write(tmp_path / "no2.dph", _table("BAT_DPH", columns[1:], **BAT))
    with pytest.raises(MissingVariableError, match="expected TIME"):
        batx.open_dataset(path)


# --- light curves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pixr", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("column", [False, True])
def test_time_bins(tmp_path, pixr, column):
    """TIMEPIXR, TIMEDEL as keyword or column, TIMEZERO; edges that agree are shared, gaps stay."""
    width = np.array([1.0, 1.0, 1.0])
    start = np.array([100.0, 101.0 + 3e-7, 110.0])
    columns = [_col("TIME", "D", start - 50 + pixr * width), _col("COUNTS", "J", [3, 4, 5])]
    keywords = {"TIMEPIXR": pixr, "TIMEZERO": 50.0, "HDUCLAS1": "LIGHTCURVE", **BAT}
    if column:
        columns.append(_col("TIMEDEL", "D", width))
    else:
        keywords["TIMEDEL"] = 1.0
    ds = batx.open_dataset(_write(tmp_path / "a.lc", _table("RATE", columns, **keywords)))
    np.testing.assert_allclose(ds["time_bnds"], np.stack([start, start + 1], -1), atol=1e-6)
    assert float(ds["time_bnds"][0, 1]) == float(ds["time_bnds"][1, 0])
    assert ds["counts"].dims == ("time", "energy")
    assert (ds.attrs["statistic"], ds.attrs["weighting"]) == ("poisson", "none")
    np.testing.assert_array_equal(ds["energy_bnds"], [[15, 350]])
    np.testing.assert_allclose(ds["exposure"], 1.0)


def test_width_of_bins_is_needed(tmp_path):
    path = _write(
        tmp_path / "a.lc", _table("RATE", [_col("TIME", "D", [1.0]), _col("RATE", "D", [1.0])], **BAT)
    )
    with pytest.raises(MissingKeywordError, match="TIMEDEL"):
        batx.open_dataset(path)


def test_weighted_light_curve(heasoft):
    path = heasoft / "lc" / "lc_w_4b_0064.lc.gz"
    ds = batx.open_dataset(path)
    stored = fits.getdata(path, 1)
    np.testing.assert_array_equal(ds["rate"], stored["RATE"])
    np.testing.assert_array_equal(ds["rate_err"], stored["ERROR"])
    np.testing.assert_array_equal(ds["totcounts"], stored["TOTCOUNTS"])
    np.testing.assert_allclose(ds["exposure"], stored["FRACEXP"] * 0.064)
    np.testing.assert_array_equal(ds["time_bnds"][:, 0], stored["TIME"])
    apart = ds["time_bnds"].values[1:, 0] - ds["time_bnds"].values[:-1, 1]
    np.testing.assert_allclose(
        apart[apart != 0], [7 * 0.064], atol=1e-6
    )  # bins without good time are not written
    assert (ds.attrs["statistic"], ds.attrs["weighting"]) == ("gaussian", "mask")
    assert ds.sizes["gti"] == 2
    raw = batx.open_dataset(heasoft / "lc" / "lc_raw_4b_10.lc.gz")
    assert (raw.attrs["statistic"], raw.attrs["weighting"]) == ("poisson", "none")
    counts = batx.open_dataset(heasoft / "lc" / "lc_raw_1b_10.lc.gz")
    assert counts["counts_err"].attrs["units"] == "count"


def test_variable_bins(heasoft):
    path = heasoft / "lc" / "lc_snr6.lc.gz"
    ds = batx.open_dataset(path)
    stored = fits.getdata(path, 1)
    np.testing.assert_allclose(ds["time"], stored["TIME"], atol=1e-6)
    np.testing.assert_allclose(np.diff(ds["time_bnds"], axis=1)[:, 0], stored["TIMEDEL"], atol=2e-6)
    assert "timedel" not in ds


def test_on_board_rates(shared, tmp_path):
    ds = batx.open_dataset(shared / "data/rates/sw00048759058brtms.lc.gz")
    np.testing.assert_array_equal(ds["energy_bnds"][:, 0], [15, 25, 50, 100])
    np.testing.assert_allclose(np.diff(ds["time_bnds"], axis=1), 0.064, atol=1e-6)
    assert ds["counts"].dtype == np.uint16
    quadrants = np.random.default_rng(1).integers(0, 99, (4, 6, 4)).astype(np.int16)
    columns = [_col(f"QUAD{i}_COUNTS", "4I", quadrants[i]) for i in range(4)]
    keywords = {"TIMEDEL": 1.6, "TIMEPIXR": 0.0, "HDUCLAS1": "LIGHTCURVE", **BAT}
    times = _col("TIME", "D", 1.6 * np.arange(6))
    made = batx.open_dataset(_write(tmp_path / "qd.lc", _table("RATE", [times, *columns], **keywords)))
    np.testing.assert_array_equal(made["counts"], quadrants.sum(axis=0))
    np.testing.assert_array_equal(made["quadrant_counts"].transpose("quadrant", "time", "energy"), quadrants)


# --- spectra and responses ------------------------------------------------------------------------


def test_spectra(heasoft, shared):
    ds = batx.open_dataset(heasoft / "pha" / "spec_slew2.pha.gz")
    stored = fits.getdata(heasoft / "pha" / "spec_slew2.pha.gz", 1)
    assert ds["rate"].dims == ("time", "channel")
    np.testing.assert_array_equal(ds["rate"], stored["RATE"])
    np.testing.assert_array_equal(ds["exposure"], stored["EXPOSURE"])
    np.testing.assert_array_equal(ds["time_bnds"][:, 1], stored["TIME_STOP"])
    np.testing.assert_array_equal(ds["pcodefr"], stored["PCODEFR"])
    assert ds["energy_bnds"].dims == ("channel", "bnds")
    one = batx.open_dataset(shared / "data/grb200528A/sw00974827000bevas.pha")
    assert one["exposure"].ndim == 0
    assert one["sys_err"].dims == ("channel",)
    assert (one.attrs["statistic"], one.attrs["weighting"]) == ("gaussian", "mask")
    xrt = batx.open_dataset(shared / "data/xrt/interval0pc.pi")
    assert (xrt.attrs["statistic"], xrt.attrs["weighting"]) == ("poisson", "none")
    assert {"quality", "grouping", "gti_start"} <= set(xrt.variables)
    rgs = batx.open_dataset(shared / "data/xmm/P0112880201R1S004SRSPEC1003.FTZ")
    assert rgs["areascal"].dims == ("channel",)
    assert (rgs.attrs["statistic"], rgs["counts"].attrs["units"]) == ("gaussian", "count")


def test_scalar_keywords_of_a_spectrum(shared):
    ds = batx.open_dataset(shared / "reference/xspec/bat8_po_chi_syskeyword/src.pha")
    header = fits.getheader(shared / "reference/xspec/bat8_po_chi_syskeyword/src.pha", 1)
    np.testing.assert_array_equal(ds["sys_err"], np.full(8, header["SYS_ERR"]))


def test_rows_with_other_channels(tmp_path):
    columns = [
        _col("TIME", "D", [0.0, 1.0]),
        _col("CHANNEL", "3I", [[0, 1, 2], [1, 2, 3]]),
        _col("RATE", "3D", np.ones((2, 3))),
    ]
    with pytest.raises(FileFormatError, match="different channels"):
        batx.open_dataset(_write(tmp_path / "a.pha", _table("SPECTRUM", columns, EXPOSURE=1.0, **BAT)))


def _slow_matrix(path, size, first):
    """Expand a response row by row with astropy."""
    with fits.open(path) as file:
        data = next(hdu for hdu in file[1:] if "MATRIX" in hdu.columns.names).data
        matrix = np.zeros((len(data), size))
        for row, line in enumerate(data):
            at = 0
            starts, counts = np.atleast_1d(line["F_CHAN"]), np.atleast_1d(line["N_CHAN"])
            for start, count in zip(starts[: line["N_GRP"]], counts[: line["N_GRP"]], strict=True):
                values = np.atleast_1d(line["MATRIX"])[at : at + count]
                matrix[row, start - first : start - first + count] = values
                at += count
    return matrix


@pytest.mark.parametrize(
    ("name", "size", "first", "unit"),
    [
        ("data/grb200528A/sw00974827000bevas.rsp", 80, 0, "cm**2"),
        ("data/survey/swiftbat_survey_full_157m.rsp", 8, 0, "cm**2"),
        ("data/xmm/PN.rmf.gz", 4096, 0, "1"),
        ("data/xrt/interval0pc.rmf.gz", 1024, 0, "1"),
        ("data/nustar/nustar_fpma.rmf.gz", 4096, 0, "1"),
        ("reference/xspec/inputs/BAT_alldet_grid_16_tlmin0.rsp", 5, 0, "cm**2"),
    ],
)
def test_response_matrix(shared, name, size, first, unit):
    ds = batx.open_dataset(shared / name)
    np.testing.assert_array_equal(
        ds["matrix"], _slow_matrix(shared / name, size, first).astype(ds["matrix"].dtype)
    )
    assert ds["matrix"].attrs["units"] == unit
    assert ds["energy_bnds"].shape == (size, 2)


def test_channels_without_tlmin(shared):
    """TLMIN of F_CHAN is absent, F_CHAN is 0: counted from 0, with a warning (XSPEC misreads this file)."""
    with pytest.warns(BatxWarning, match="counted from 0"):
        ds = batx.open_dataset(shared / "reference/xspec/inputs/BAT_alldet_grid_16.rsp")
    good = batx.open_dataset(shared / "reference/xspec/inputs/BAT_alldet_grid_16_tlmin0.rsp")
    xr.testing.assert_equal(ds["matrix"].load(), good["matrix"].load())


def _response(path, f_chan, **keywords):
    columns = [
        _col("ENERG_LO", "E", [1.0, 2.0]),
        _col("ENERG_HI", "E", [2.0, 3.0]),
        _col("N_GRP", "I", [1, 1]),
        _col("F_CHAN", "I", f_chan),
        _col("N_CHAN", "I", [2, 2]),
        _col("MATRIX", "2E", [[0.5, 0.5], [0.25, 0.75]]),
    ]
    return _write(path, _table("MATRIX", columns, DETCHANS=4, HDUCLAS3="REDIST", **keywords))


def test_channel_numbers_of_a_response(tmp_path):
    ds = batx.open_dataset(_response(tmp_path / "one.rmf", [1, 3]))
    np.testing.assert_array_equal(ds["channel"], [1, 2, 3, 4])
    np.testing.assert_array_equal(ds["matrix"], [[0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75]])
    ds = batx.open_dataset(_response(tmp_path / "zero.rmf", [0, 2], TLMIN4=0))
    np.testing.assert_array_equal(ds["matrix"], [[0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75]])
    with pytest.raises(FileFormatError, match="outside the 4 channels"):
        batx.open_dataset(_response(tmp_path / "bad.rmf", [1, 4]))["matrix"].load()


def test_response_without_groups(tmp_path):
    columns = [
        _col("ENERG_LO", "E", [1.0]),
        _col("ENERG_HI", "E", [2.0]),
        _col("MATRIX", "2E", [[0.5, 0.5]]),
    ]
    path = _write(tmp_path / "a.rmf", _table("MATRIX", columns, DETCHANS=2))
    with pytest.raises(MissingVariableError, match="expected F_CHAN"):
        batx.open_dataset(path)


# --- images ---------------------------------------------------------------------------------------


def test_sky_image_coordinates(heasoft):
    from astropy.wcs import WCS

    path = heasoft / "img" / "burst.img.gz"
    ds = batx.open_dataset(path)
    header = fits.getheader(path)
    assert ds["counts"].sizes == {"time": 1, "energy": 1, "imy": 930, "imx": 1736}
    np.testing.assert_allclose(ds["imx"][100], (101 - header["CRPIX1T"]) * header["CDELT1T"], rtol=1e-14)
    again = WCS(fits.Header.fromstring(ds["wcs"].item(), sep="\n"))
    expected = WCS(header)
    np.testing.assert_allclose(again.wcs_pix2world([[10, 20]], 0), expected.wcs_pix2world([[10, 20]], 0))
    for name, variable in (("burst.pcode", "pcode"), ("burst_allbits.var", "noise")):
        assert variable in batx.open_dataset(heasoft / "img" / f"{name}.gz")
    assert "snr" in batx.open_dataset(heasoft / "det" / "cat_allbits.snr.gz")
    assert "background" in batx.open_dataset(heasoft / "det" / "cat_allbits.bkg.gz")


def test_sky_image_with_coding_map(tmp_path):
    """Flux images in two bands and one map of the partial coding, as the tool writes them into a file."""
    images = []
    for index, (name, keywords) in enumerate(
        [
            ("BAT_IMAGE_1", {"E_MIN": 14, "E_MAX": 20, "BUNIT": "count/s", "HDUCLAS2": "NET"}),
            ("BAT_IMAGE_2", {"E_MIN": 20, "E_MAX": 24, "BUNIT": "count/s", "HDUCLAS2": "NET"}),
            ("BAT_PCODE_1", {"E_MIN": 14, "E_MAX": 20, "HDUCLAS2": "VIGNETTING"}),
        ]
    ):
        header = fits.Header(BAT | keywords | {"EXTNAME": name, "TSTART": 0.0, "TSTOP": 9.0, "EXPOSURE": 8.0})
        header.update(
            {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.1, "CDELT2": 0.1, "CRPIX1": 3.0}
        )
        images.append(fits.ImageHDU(np.full((4, 5), index, np.float32), header=header))
    ds = batx.open_dataset(_write(tmp_path / "two.img", *images))
    assert ds["rate"].shape == (1, 2, 4, 5)
    assert ds["pcode"].dims == ("imy", "imx")
    np.testing.assert_array_equal(ds["pcode"], np.full((4, 5), 2))
    np.testing.assert_allclose(ds["imx"], np.deg2rad(-0.1) * (np.arange(5) - 2.0), rtol=1e-14)
    assert float(ds["exposure"][0]) == 8.0


def test_healpix_map(shared):
    path = shared / "data/imaging/healpix_prob_nside256_nested.fits.gz"
    ds = batx.open_dataset(path)
    assert ds["healpix"].attrs["indexing_scheme"] == "nested"
    assert ds["healpix"].attrs["refinement_level"] == 8
    np.testing.assert_array_equal(ds["t"], fits.getdata(path, 1)["T"].ravel())
    np.testing.assert_array_equal(ds["t"][2000:2010], fits.getdata(path, 1)["T"].ravel()[2000:2010])


def test_healpix_map_of_the_wrong_size(tmp_path):
    table = _table("MAP", [_col("PROB", "D", np.ones(47))], PIXTYPE="HEALPIX", NSIDE=2, ORDERING="RING")
    with pytest.raises(FileFormatError, match="needs 48 values"):
        batx.open_dataset(_write(tmp_path / "a.fits", table))


def test_plain_images(shared):
    maps = batx.open_dataset(shared / "data/survey/offaxis_correction_8band_block4.fits.gz")
    assert maps["image"].dims == ("energy", "y", "x")
    assert maps.sizes["energy"] == 8
    cutouts = batx.open_dataset(shared / "reference/survey/batsurvey/golden/cutouts_2.fits.gz")
    assert cutouts["image"].sel(band="SIMSRC2_PCODE").shape == (61, 61)
    distortion = batx.open_dataset(shared / "reference/survey/survey_obs/distort.fits")
    assert distortion["image"].shape == (2, 61, 101)


def test_catalogue_bands(heasoft):
    ds = batx.open_dataset(heasoft / "det" / "cat_vec.fits.gz")
    assert ds["counts"].dims == ("source", "energy")
    assert ds["ra_err"].attrs["units"] == "deg"
    assert ds["name"].dims == ("source",)
    empty = batx.open_dataset(heasoft / "det" / "cat_pois.fits.gz")
    assert empty.sizes["source"] == 0
    assert batx.check(empty.load()) == []


def test_of_no_known_kind(tmp_path):
    """A plain image and table open as such; a column named like the dimension is no index."""
    table = _table("THING", [_col("ROW", "J", [5, 6]), _col("A B", "E", [1.0, 2.0], unit="counts/sec")])
    path = _write(tmp_path / "plain.fits", table, primary=fits.PrimaryHDU(np.zeros((3, 4))))
    ds = batx.open_dataset(path)
    assert (ds.bat.kind, ds["image"].dims) == ("image", ("y", "x"))
    rows = batx.open_dataset(path, hdu="THING")
    assert rows.bat.kind == "table"
    assert rows["row_column"].values.tolist() == [5, 6]
    assert rows["a_b"].attrs["units"] == "count/s"
