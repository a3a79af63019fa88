"""Sources in sky images: agreement with batcelldetect, calibration on simulations, catalogues, refusals."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from scipy.stats import norm

import batx
from batx import sky_coords
from batx.errors import (
    BatxWarning,
    EmptySelectionError,
    KindError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
    WriteError,
)
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.instrument.sky import radec_to_vector
from batx.kernels.detect import Convolution, components, disk, local_background, window
from batx.kernels.psf import Guess, Parameters, Profile, fit_sources
from batx.schema import build
from batx.sky_coords import image_cards

EXPOSURE = 25.0
#: distance of pixels in the tool's images
TOOL_STEP = 0.00210737581535374

# ---------------------------------------------------------------- agreement with the tool

#: reference run -> options of detect; in the order of COMMANDS.txt
RUNS = {
    "cat": {},
    "cat_allbits": {"snr": 4.5},
    "cat_smooth": {"window": "smooth_circle", "bkg_pcode_min": 0.1},
    "cat_square": {"window": "square"},
    "cat_dist": {"distortion": True},
    "cat_fwhmfit": {"fit_width": True},
    "cat_nobkgfit": {"fit_background": False},
    "cat_pyr": {"psf": "pyramid"},
    "cat_pois": {"statistic": "poisson"},
    "cat_incat": {"catalog": True, "fit_positions": True, "passes": 3},
}
#: variable -> column, in counts, and how far it may be from that of the tool, relative to the source
FLUXES = {
    "rate": ("COUNTS", 1e-5),
    "rate_err": ("COUNTS_ERR", 1e-5),
    "centre_rate": ("CENT_COUNTS", 1e-5),
    "background": ("BKG", 1e-5),
    "background_err": ("BKG_ERR", 1e-5),
    "noise": ("BKG_VAR", 1e-5),
    "local_background": ("BKG_CELL", 1e-5),
    "contamination": ("CONTAM_COUNTS", 1e-5),
}
OTHERS = {
    "snr": ("SNR", 1e-3),
    "centre_snr": ("CENT_SNR", 1e-3),
    "chi2": ("CHI2", 1e-3),
    "dof": ("DOF", 0),
    "pcode": ("PCODEFR", 1e-6),
}
ERRORS = {
    "imx_err": "IMX_ERR",
    "imy_err": "IMY_ERR",
    "ra_err": "RA_OBJ_ERR",
    "dec_err": "DEC_OBJ_ERR",
    "err_rad": "ERR_RAD",
}


def columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a catalogue of the tool, (source, band)."""
    catalog = batx.open_dataset(path).load()
    names = {str(catalog[name].attrs.get("fits_name", name)): name for name in catalog.variables}
    return {
        fits_name: catalog[name].values.reshape(catalog.sizes["source"], -1 if catalog[name].size else 1)
        for fits_name, name in names.items()
    }


def assert_agrees(found: xr.Dataset, expected: dict[str, np.ndarray], bands: int = 1) -> None:
    count = found.sizes["source"]
    assert count == len(expected["RA_OBJ"])
    brightest = np.abs(expected["COUNTS"]).max()
    for name, (column, tolerance) in FLUXES.items():
        values = found[name].values.reshape(count, -1) * EXPOSURE
        wanted = expected[column][:, :bands]
        assert np.abs(values - wanted).max() < tolerance * brightest, name
    for name, (column, tolerance) in OTHERS.items():
        values = found[name].values.reshape(count, -1)
        assert np.abs(values - expected[column][:, :bands]).max() <= tolerance * (1 + 1e-9), name
    for name, column in ERRORS.items():
        np.testing.assert_allclose(found[name], expected[column][:, 0], rtol=2e-4, err_msg=name)
    here = radec_to_vector(found["ra"].values, found["dec"].values)
    there = radec_to_vector(expected["RA_OBJ"][:, 0], expected["DEC_OBJ"][:, 0])
    arcmin = np.rad2deg(np.linalg.norm(here - there, axis=1)) * 60
    seen = np.abs(expected["SNR"]).max(axis=1) > 6
    assert (arcmin[seen] < 0.01).all()
    # a place where there is no source is known to arcminutes only: the tool ends its search there when chi2
    # changes by less than 1e-6 of itself, its errors being the root of the oversampling (2) times the fit's
    ended = 60 * expected["ERR_RAD"][:, 0] / 2 * np.sqrt(1e-6 * expected["CHI2"].max(axis=1))
    assert (arcmin <= np.where(seen, 0.01, np.maximum(ended, 1e-6))).all()
    assert np.array_equal(found["flags"].values & 15, expected["CONSTRAINT_FLAG"][:, 0])


@pytest.fixture(scope="module")
def reference(heasoft):
    def load(name):
        return batx.open_dataset(heasoft / f"{name}.gz").load()

    return load


@pytest.fixture(scope="module")
def burst(reference):
    """The image with all its bits, and with 7 bits as the tool writes it, with the partial coding."""
    coding = reference("img/burst.pcode")["pcode"]
    full, stripped = reference("img/burst_allbits.img"), reference("img/burst.img")
    return {"all": full.assign(pcode=coding), "7": stripped[["counts", "exposure"]].assign(pcode=coding)}


@pytest.fixture(scope="module")
def given(reference):
    return reference("det/incat.fits")


@pytest.mark.parametrize("run", RUNS)
def test_catalogue_agrees_with_the_tool(run, burst, given, heasoft, shared):
    options = dict(RUNS[run])
    if "catalog" in options:
        options["catalog"] = given
    if "distortion" in options:
        options["distortion"] = batx.open_dataset(shared / "reference/survey/survey_obs/distort.fits")
    found = burst["7" if run == "cat" else "all"].bat.detect(**options, compat="heasoft")
    expected = columns(heasoft / f"det/{run}.fits.gz")
    if run == "cat_pois":
        assert found.sizes["source"] == len(expected["RA_OBJ"]) == 0
        return
    assert_agrees(found, expected)
    if run != "cat_incat":
        assert np.array_equal(found["n_pixels"].values, expected["NPIXSOU"][:, 0])
    if run == "cat_fwhmfit":
        width = np.deg2rad(found["fwhm"].values), np.deg2rad(found["fwhm_err"].values)
        np.testing.assert_allclose(width[0], expected["IMX_FWHM"][:, 0], rtol=1e-5)
        np.testing.assert_allclose(width[1], expected["IMX_FHWM_ERR"][:, 0], rtol=1e-4)


def test_forced_photometry_agrees_with_the_tool(burst, given, heasoft):
    found = burst["all"].bat.photometry(given, passes=1, compat="heasoft")
    assert_agrees(found, columns(heasoft / "det/cat_forced.fits.gz"))
    assert found["name"].values.tolist() == ["SIMGRB", "NOTHING1", "NOTHING2"]
    assert (found["separation"] < 1e-6).all()


def test_bands_together_agree_with_the_tool(reference, heasoft):
    """The image of four bands is not kept: it is made again. The map that the tool has appended is a band of
    zeros to it, and BKG_CELL is that of its first band.
    """
    image = reference("dpi/burst_4b.dpi").bat.sky_image(
        aperture=reference("inputs/aperture.fits"),
        detector_mask=reference("hotpix/hot_default.mask"),
        attitude=reference("inputs/attitude.fits"),
        alignment=reference("inputs/teldef.fits"),
        dtype="float64",
        compat="heasoft",
    )
    found = image.bat.detect(compat="heasoft")
    expected = columns(heasoft / "det/cat_vec.fits.gz")
    first = found["local_background"].isel(energy=0).values * EXPOSURE
    np.testing.assert_allclose(first, expected["BKG_CELL"][:, 0], atol=1e-6)
    found["local_background"][:] = first[0] / EXPOSURE
    assert_agrees(found, expected, bands=4)

    # all bands at once: the same source, a better place
    joint = image.bat.detect()
    assert joint.sizes == {"source": 1, "energy": 4, "bnds": 2}
    assert np.abs(joint["snr"] / found["snr"] - 1).max() < 0.03
    assert joint["imx_err"].item() < 0.6 * found["imx_err"].item()
    apart = np.hypot(joint["imx"] - found["imx"], joint["imy"] - found["imy"])
    assert apart.item() < 2 * joint["imx_err"].item()


@pytest.mark.parametrize(("number", "name"), [(0, "SIMSRC1"), (1, "SIMSRC2")])
def test_photometry_of_the_survey_agrees_with_the_tool(number, name, shared):
    """Cutouts of 61 pixels: the window of the background is complete at their centre only, and the weights of
    pixels away from it differ by a per cent from those of the whole image.
    """
    golden = shared / "reference/survey/batsurvey/golden"
    with fits.open(golden / "cutouts_2.fits.gz") as hdus:
        values = np.stack([hdus[f"{name}_B{band}"].data for band in range(1, 9)])
        first = (hdus[f"{name}_B1"].header[key] for key in ("XPIX0", "YPIX0"))
        x, y = (np.arange(61) + start for start in first)
        coding = hdus[f"{name}_PCODE"].data
    row = fits.getdata(golden / "point_20200061040_2.cat", 1)[number]
    image = build(
        "sky_image",
        {
            "rate": (("energy", "imy", "imx"), values.astype(np.float64)),
            "pcode": (("imy", "imx"), coding.astype(np.float64)),
            "imx": x * TOOL_STEP,
            "imy": y * TOOL_STEP,
        },
        {"oversmpx": 2, "oversmpy": 2},
    )
    place = {"ra": row["IMXPIX"] * TOOL_STEP, "dec": row["IMYPIX"] * TOOL_STEP, "frame": "tangent"}
    found = image.bat.photometry(**place, passes=1, compat="heasoft")
    np.testing.assert_allclose(found["noise"].values[0], row["BKG_VAR"], rtol=1e-5)
    assert np.abs((found["rate"].values[0] - row["RATE"]) / row["BKG_VAR"]).max() < 0.01
    np.testing.assert_allclose(found["rate_err"].values[0], row["RATE_ERR"], rtol=2e-3)
    assert (found["dof"].values[0] == row["DOF"]).all()


def test_maps_agree_with_the_tool(burst, reference):
    image = burst["all"]
    maps = image.bat.background_maps(snr=4.5, compat="heasoft")
    usable = (image["pcode"] >= 0.01).values & np.isfinite(image["counts"].values)
    rate = image["counts"].values / EXPOSURE
    for name, kind, variable in (("bkg", "background", 0), ("var", "noise", 0), ("snr", "snr", 1)):
        expected = reference(f"det/cat_allbits.{name}")[kind].values / (1 if variable else EXPOSURE)
        found = maps[kind].values
        difference = np.abs(found - expected)[usable].max()
        if kind == "snr":
            assert difference < 1e-5 * expected[usable].max()
        else:
            assert difference < 1e-6 * np.nanmax(rate)
        assert np.isnan(found[~usable]).all()
    assert maps["background"].dims == image["counts"].dims


@pytest.fixture(scope="module")
def piece() -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    """A piece of that image, for tests without the reference folder."""
    with np.load(Path(__file__).parent / "reference" / "sources.npz") as stored:
        arrays = dict(stored)
    (pixel_x, step_x, ra), (pixel_y, step_y, dec) = arrays["axis1"], arrays["axis2"]
    ny, nx = arrays["image"].shape
    image = build(
        "sky_image",
        {
            "counts": (("imy", "imx"), arrays["image"]),
            "pcode": (("imy", "imx"), arrays["pcode"]),
            "exposure": ((), float(arrays["exposure"])),
            "imx": (np.arange(1, nx + 1) - pixel_x) * step_x,
            "imy": (np.arange(1, ny + 1) - pixel_y) * step_y,
            "wcs": ((), image_cards((pixel_x, pixel_y), (step_x, step_y), (ra, dec, float(arrays["roll"])))),
        },
        {"oversmpx": 2, "oversmpy": 2},
    )
    return image, arrays


@pytest.mark.parametrize(
    "run", ["cat_allbits", "cat_smooth", "cat_square", "cat_fwhmfit", "cat_nobkgfit", "cat_pyr"]
)
def test_piece_agrees_with_the_tool(run, piece):
    image, arrays = piece
    found = image.bat.detect(**RUNS[run], compat="heasoft")
    row = dict(zip(arrays["names"].tolist(), arrays[run][:, None, None], strict=True))
    nearest = int(np.argmin(np.hypot(found["imx"].values - row["IMX"], found["imy"].values - row["IMY"])))
    assert_agrees(found.isel(source=[nearest]), row)


def test_photometry_of_the_piece_agrees_with_the_tool(piece):
    image, arrays = piece
    row = dict(zip(arrays["names"].tolist(), arrays["cat_forced"][:, None, None], strict=True))
    found = image.bat.photometry(row["RA_OBJ"].item(), row["DEC_OBJ"].item(), passes=1, compat="heasoft")
    assert_agrees(found, row)


def test_maps_of_the_piece_agree_with_the_tool(piece):
    image, arrays = piece
    maps = image.bat.background_maps(snr=4.5, compat="heasoft")
    inner = {"imx": slice(66, 85), "imy": slice(66, 85)}
    peak = arrays["image"].max() / EXPOSURE
    for kind, name in (("background", "bkg"), ("noise", "var")):
        found = maps[kind].isel(inner).values
        np.testing.assert_allclose(found, arrays[f"map_{name}"] / EXPOSURE, rtol=0, atol=1e-6 * peak)
    snr = arrays["map_snr"]
    np.testing.assert_allclose(maps["snr"].isel(inner).values, snr, rtol=0, atol=1e-5 * snr.max())


# ---------------------------------------------------------------- kernels


def test_background_is_that_of_plain_sums():
    rng = np.random.default_rng(4)
    images, counted = rng.normal(size=(2, 40, 50)), rng.random((40, 50)) > 0.1
    weights = window("circle", 8, 3)
    weight, mean, std = local_background(images, counted, Convolution((40, 50), weights), 5)
    for row, column in ((0, 0), (20, 25), (39, 13)):
        y, x = np.mgrid[-8:9, -8:9]
        inside = (y + row >= 0) & (y + row < 40) & (x + column >= 0) & (x + column < 50)
        rows, columns_ = (y + row)[inside], (x + column)[inside]
        w = weights[inside] * counted[rows, columns_]
        assert weight[row, column] == pytest.approx(w.sum())
        for band in (0, 1):
            values = images[band, rows, columns_]
            average = (w * values).sum() / w.sum()
            assert mean[band, row, column] == pytest.approx(average)
            expected = np.sqrt((w * values**2).sum() / w.sum() - average**2)
            assert std[band, row, column] == pytest.approx(expected)


def test_windows():
    assert disk(6).sum() == 113
    assert window("circle", 30, 6).sum() == 2821 - 113
    assert window("square", 30, 6).sum() == 61**2 - 113
    smooth = window("smooth_circle", 30, 6)
    assert smooth.shape == (121, 121)
    assert smooth.max() == 1
    assert np.allclose(smooth, smooth.T)


def test_pixels_that_share_a_corner_only_are_apart():
    found = np.zeros((8, 8), bool)
    found[2, 2] = found[3, 3] = found[5:7, 0] = True
    groups = components(found, np.ones((8, 8)), np.ones((8, 8), bool))
    assert [(group.n_pixels, group.touches) for group in groups] == [(1, False), (1, False), (2, True)]


@pytest.mark.parametrize("shape", ["mask", "gaussian", "pyramid", "truncated_cone"])
def test_derivatives_of_shapes(shape):
    boxes = ((0.5, 0.5, 0.42, 0.4), (0.5, 0.5, 0.42, 0.4))
    profile, width, small = Profile(shape, 0.08, boxes), 0.65, 1e-6
    rng = np.random.default_rng(0)
    dx, dy = rng.uniform(-0.5, 0.5, (2, 40))
    values, derivatives = profile(dx, dy, width)
    assert profile(np.zeros(1), np.zeros(1), width)[0] == pytest.approx(1)
    for number, step in enumerate(np.eye(3) * small):
        up = profile(dx - step[0], dy - step[1], width + step[2])[0]
        down = profile(dx + step[0], dy + step[1], width - step[2])[0]
        np.testing.assert_allclose(derivatives[number], (up - down) / (2 * small), atol=1e-6)
    half = profile(np.array([width / 2]), np.zeros(1), width)[0]
    assert half == pytest.approx(0.5, abs=2e-3)
    assert (values >= 0).all()


def test_fit_within_limits_ends_at_the_limit():
    y, x = (axis.ravel() for axis in np.mgrid[-6.0:7, -6.0:7])
    profile = Profile("gaussian")
    data = 5 * profile(x - 1.0, y, 3.0)[0][None] + 0.2
    start = Parameters(np.array([[0.0, 0.0, 3.0]]), np.array([[[1.0, 0.0]]]))
    free = Parameters(np.array([[True, True, False]]), np.ones((1, 1, 2), bool))
    limits = [
        Parameters(np.array([[bound, bound, 9.0]]), np.full((1, 1, 2), np.inf * bound))
        for bound in (-0.4, 0.4)
    ]
    fit = fit_sources(x, y, data, np.ones_like(data), Guess(start, free, *limits), profile)
    assert fit.values.common[0, 0] == 0.4
    assert fit.at_limit.common.tolist() == [[True, False, False]]
    assert fit.covariance[0, 0] == 0
    assert fit.values.common[0, 1] == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- synthetic images

STEP = 0.0021063
SIZE = 181


def sky(sources=(), bands=1, seed=1, size=SIZE, noise=1.0, attitude=True) -> xr.Dataset:
    """White noise of pixels with sources (rate, imx, imy); rates of several bands in a list."""
    axis = (np.arange(size) - size // 2) * STEP
    profile = Profile("mask", boxes=(tuple(np.array([0.5, 0.5, 0.42, 0.4]) / 99.7),) * 2)
    x, y = np.meshgrid(axis, axis)
    values = np.random.default_rng(seed).normal(scale=noise, size=(bands, size, size))
    for rate, imx, imy in sources:
        shape = profile((x - imx).ravel(), (y - imy).ravel(), profile.natural_width)[0].reshape(x.shape)
        values += np.broadcast_to(rate, (bands,))[:, None, None] * shape
    edges = 15.0 * 2 ** np.arange(bands + 1)
    pixel = (size // 2 + 1.0,) * 2
    return build(
        "sky_image",
        {
            "rate": (("energy", "imy", "imx"), values),
            "energy": np.sqrt(edges[1:] * edges[:-1]),
            "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1),
            "pcode": (("imy", "imx"), np.ones((size, size))),
            "exposure": ((), 10.0),
            "imx": axis,
            "imy": axis,
            "wcs": ((), image_cards(pixel, (STEP, STEP), (83.6, 22.0, 30.0) if attitude else None)),
        },
    )


def nearest(found: xr.Dataset, imx: float, imy: float) -> xr.Dataset:
    return found.isel(source=int(np.argmin(np.hypot(found["imx"].values - imx, found["imy"].values - imy))))


def test_neighbours_are_fitted_together():
    places = [(40.0, 0.02, 0.02), (25.0, 0.02 + 9 * STEP, 0.02 + 2 * STEP), (30.0, -0.1, -0.05)]
    found = sky(places).bat.detect(snr=8)
    assert found.sizes["source"] == 3
    together = [nearest(found, imx, imy) for _, imx, imy in places]
    for source, (rate, imx, imy) in zip(together, places, strict=True):
        assert abs(source["rate"].item() - rate) < 4
        assert np.hypot(source["imx"] - imx, source["imy"] - imy) < 3e-4
    assert [bool(source["flags"].item() & 16) for source in together] == [True, True, False]
    assert abs(together[0]["contamination"].item()) < 3


def test_long_chains_are_fitted_neighbour_by_neighbour():
    """Sixteen sources in a row: each with its nearest neighbours, the same as in smaller groups."""
    places = [(20.0 + number, (number - 7.5) * 9 * STEP, 0.0) for number in range(16)]
    image = sky(places)
    imx, imy = np.array([(x, y) for _, x, y in places]).T
    found = image.bat.photometry(imx, imy, frame="tangent")
    assert (found["flags"].values & 16 > 0).all()
    np.testing.assert_allclose(found["rate"].values[:, 0], [rate for rate, _, _ in places], atol=6)
    few = image.bat.photometry(imx[:6], imy[:6], frame="tangent")
    np.testing.assert_allclose(few["rate"][:4], found["rate"][:4], atol=0.3)


def test_source_seen_in_one_band_has_rates_in_all():
    found = sky([([0.0, 30.0, 12.0], 0.03, -0.02)], bands=3).bat.detect(snr=9)
    assert found["rate"].dims == ("source", "energy")
    assert found.sizes["source"] == 1
    assert found["energy"].size == 3
    np.testing.assert_allclose(found["rate"].values[0], [0.0, 30.0, 12.0], atol=3)
    assert found["snr"].values[0].argmax() == 1


def test_no_source_is_an_empty_catalogue(tmp_path):
    found = sky(bands=2).bat.detect(snr=20)
    assert found.bat.kind == "catalog"
    assert found.sizes["source"] == 0
    assert found["rate"].shape == (0, 2)
    assert batx.check(found) == []
    assert found.bat.to_pandas().shape[0] == 0
    assert len(found.bat.to_region(tmp_path / "none.reg").read_text().splitlines()) == 2
    assert found.bat.match(found, radius=0.1).sizes["source"] == 0


def test_catalogue_of_known_and_new_sources(tmp_path):
    places = [(40.0, 0.05, 0.02), (60.0, -0.06, 0.04), (50.0, -0.06, -0.08)]
    image = sky(places)
    ra, dec = sky_coords.tangent_to_sky(image, *np.array([(imx, imy) for _, imx, imy in places]).T)
    catalog = build(
        "catalog",
        {
            "name": np.array(["A", "far away", "nothing"]),
            "ra": [ra[0], 200.0, sky_coords.tangent_to_sky(image, 0.1, -0.1)[0]],
            "dec": [dec[0], -40.0, sky_coords.tangent_to_sky(image, 0.1, -0.1)[1]],
        },
    )
    found = image.bat.detect(snr=8, catalog=catalog)
    assert found["name"].values[:2].tolist() == ["A", "nothing"]
    assert found["known"].values.tolist() == [True, True, False, False]
    assert np.isnan(found["imx_err"][:2]).all()
    assert (found["flags"] & 3).values.tolist() == [3, 3, 0, 0]
    assert (found["separation"][:2] < 1e-6).all()
    assert np.isnan(found["separation"][2:]).all()
    assert abs(found["snr"].values[1, 0]) < 5
    assert found["snr"].values[2, 0] > found["snr"].values[3, 0]
    assert found["name"].values[2].startswith("J05")

    free = image.bat.detect(snr=8, catalog=catalog, fit_positions=0.3 * u.deg)
    assert (free["imx_err"].isel(source=0) < 3e-4).all()
    assert 0 < free["separation"].values[0] < 0.02

    matched = found.isel(source=[2, 3, 0]).bat.match(catalog, radius=5 * u.arcmin)
    assert matched["match_name"].values.tolist() == ["", "", "A"]
    assert matched["match_index"].values.tolist() == [-1, -1, 0]
    assert matched["match_separation"].values[2] < 0.02

    lines = found.bat.to_region(tmp_path / "found.reg").read_text().splitlines()
    assert lines[1] == "icrs"
    assert len(lines) == 2 + 4
    assert "text={A}" in lines[2]
    assert "color=cyan" in lines[2]
    assert "color=green" in lines[-1]
    with pytest.raises(WriteError):
        found.bat.to_region(tmp_path / "found.reg")
    frame = found.bat.to_pandas()
    assert {"ra", "dec", "snr_0", "rate_0", "rate_err_0"} <= set(frame.columns)
    found.bat.to_netcdf(tmp_path / "found.nc")
    xr.testing.assert_allclose(batx.open_dataset(tmp_path / "found.nc").load(), found)
    again = batx.open_dataset(found.bat.to_fits(tmp_path / "found.fits"))
    np.testing.assert_array_equal(again["ra"], found["ra"])


def test_sky_errors_are_those_of_the_plane():
    found = sky([(50.0, 0.08, -0.03)]).bat.detect(snr=10).isel(source=0)
    east = found["ra_err"] * np.cos(np.deg2rad(found["dec"]))
    plane = np.rad2deg(np.hypot(found["imx_err"], found["imy_err"])).item()
    assert np.hypot(east, found["dec_err"]).item() == pytest.approx(plane, rel=0.02)
    assert max(east, found["dec_err"]) <= found["err_rad"] * 1.001


def test_distortion_moves_the_place_and_nothing_else():
    from batx.instrument.distortion import DistortionMap

    image = sky([(50.0, 0.05, 0.02)])
    shift = np.stack([np.full((2, 2), 1e-3), np.full((2, 2), -2e-3)])
    lens = DistortionMap(shift, (-1.0, -1.0), (2.0, 2.0))
    plain, moved = (image.bat.detect(snr=10, distortion=each) for each in (None, lens))
    np.testing.assert_allclose(moved["imx"] - plain["imx"], 1e-3, atol=1e-12)
    np.testing.assert_allclose(moved["imy"] - plain["imy"], -2e-3, atol=1e-12)
    assert moved["rate"].item() == plain["rate"].item()
    forced = image.bat.photometry(moved["ra"].item(), moved["dec"].item(), distortion=lens)
    # the constant under the source stands on the pixels within 3 sigma of it: one more or less
    assert forced["rate"].item() == pytest.approx(plain["rate"].item(), rel=1e-3)


def test_image_without_attitude_has_sources_on_the_plane():
    found = sky([(50.0, 0.05, 0.02)], attitude=False).bat.detect(snr=10)
    assert found["imx"].item() == pytest.approx(0.05, abs=2e-4)
    assert np.isnan(found["ra"]).all()
    assert found["name"].item() == "NEW_1"


def test_images_of_several_times_give_one_catalogue():
    one, two = (sky([(50.0, 0.05, y)], seed=number) for number, y in enumerate((0.02, -0.04)))
    image = xr.concat(
        [part.assign_coords(time=time) for part, time in ((one, 100.0), (two, 200.0))],
        "time", data_vars=["rate"], coords="minimal", compat="override",
    )  # fmt: skip
    image["time"].attrs["units"] = "s"
    found = image.bat.detect(snr=10)
    assert found["time"].values.tolist() == [100.0, 200.0]
    np.testing.assert_allclose(found["imy"], [0.02, -0.04], atol=3e-4)
    assert found["rate"].dims == ("source", "energy")
    maps = image.bat.background_maps()
    assert maps["noise"].dims == ("time", "energy", "imy", "imx")


def test_slices_of_an_image_give_the_same_sources():
    image = sky([(50.0, 0.02, 0.01)])
    whole = image.bat.detect(snr=10)
    part = image.isel(imx=slice(25, None), imy=slice(20, None)).bat.detect(snr=10)
    np.testing.assert_allclose(part["ra"], whole["ra"], atol=1e-9)
    np.testing.assert_allclose(part["rate"], whole["rate"], rtol=1e-6)


def test_sources_at_an_edge_are_kept_on_demand():
    image = sky([(50.0, 0.0, 0.0)])
    cut = image.isel(imx=slice(SIZE // 2 - 1, None))
    assert cut.bat.detect(snr=10).sizes["source"] == 0
    assert cut.bat.detect(snr=10, edges=True).sizes["source"] == 1


def test_negative_peaks_on_demand():
    image = sky([(-50.0, 0.03, 0.0)])
    assert image.bat.detect(snr=10).sizes["source"] == 0
    found = image.bat.detect(snr=10, both_signs=True)
    assert found["rate"].item() == pytest.approx(-50, abs=3)


# ---------------------------------------------------------------- positions


def test_what_an_image_says_of_positions():
    image = sky([([30.0, 10.0], 0.05, 0.02)], bands=2)
    ra, dec = sky_coords.tangent_to_sky(image, [0.05, -0.08, 2.0], [0.02, 0.03, 0.0])
    result = image.bat.at(SkyCoord(ra, dec, unit="deg"), sigma=3)
    assert result.bat.kind == "catalog"
    assert result["rate"].dims == ("source", "energy")
    np.testing.assert_allclose(result["rate"].values[0], [30, 10], atol=3)
    np.testing.assert_allclose(result["ra"], ra)
    assert np.isnan(result["rate"].values[2]).all()
    assert (result["pcode"].values[:2] == 1).all()
    limit, rate, error = (result[name].values for name in ("upper_limit", "rate", "rate_err"))
    np.testing.assert_allclose(limit[0], rate[0] + 3 * error[0], rtol=0.01)
    assert (limit[1] > 0).all()
    one = image.bat.upper_limit(ra[1], dec[1], sigma=3)
    np.testing.assert_allclose(one.values[0], limit[1])
    assert one.attrs["units"] == "count/s"
    on_plane = image.bat.photometry(0.05, 0.02, frame="tangent", together=False)
    assert on_plane["rate"].values[0, 0] == pytest.approx(rate[0, 0])


def test_upper_limit_holds_the_probability_beyond_it():
    image = sky()
    places = [0.01, -0.05, 0.1], [0.02, 0.06, -0.07]
    found = image.bat.photometry(*places, frame="tangent", together=False)
    for sigma in (1.0, 3.0, 6.0):
        limit = image.bat.upper_limit(*places, frame="tangent", sigma=sigma)
        rate, error = found["rate"].values, found["rate_err"].values
        beyond = norm.sf((limit.values - rate) / error) / norm.sf(-rate / error)
        np.testing.assert_allclose(beyond, norm.sf(sigma), rtol=1e-6)


def test_positions_near_each_other_are_fitted_together_or_each_for_itself():
    image = sky([(50.0, 0.02, 0.01)])
    beside = 0.02 + 2 * STEP
    both = image.bat.photometry([0.02, beside], [0.01, 0.01], frame="tangent")
    np.testing.assert_allclose(both["rate"].values[:, 0], [50, 0], atol=4)
    alone = image.bat.photometry([0.02, beside], [0.01, 0.01], frame="tangent", together=False)
    np.testing.assert_allclose(alone["rate"].values[0, 0], 50, atol=3)
    assert alone["rate"].values[1, 0] > 15
    single = image.bat.at(beside, 0.01, frame="tangent")
    assert single["rate"].values[0, 0] == pytest.approx(alone["rate"].values[1, 0])


def test_positions_outside():
    image = sky()
    with pytest.raises(PositionError, match="1 of 2 position"):
        image.bat.photometry([0.01, 1.5], [0.02, 0.0], frame="tangent")
    assert (
        image.bat.photometry([0.01, 1.5], [0.02, 0.0], frame="tangent", outside="drop").sizes["source"] == 1
    )
    kept = image.bat.photometry([1.5, 0.01], [0.0, 0.02], frame="tangent", outside="nan")
    assert np.isfinite(kept["rate"].values[:, 0]).tolist() == [False, True]
    with pytest.raises(PositionError, match="imx"):
        image.bat.upper_limit(263.6, -22.0)


# ---------------------------------------------------------------- bad input


def test_refusals():
    image = sky()
    with pytest.raises(MissingVariableError, match="pcode=1"):
        image.drop_vars("pcode").bat.detect()
    with pytest.raises(EmptySelectionError, match="finite"):
        image.assign(rate=image["rate"] * np.nan).bat.detect()
    with pytest.raises(EmptySelectionError, match="coding"):
        image.assign(pcode=image["pcode"] * 0).bat.detect()
    with pytest.raises(KindError, match="sky_image"):
        batx.detect(build("gti", {"start": [0.0], "stop": [1.0]}))
    with pytest.raises(KindError, match="sky_image"):
        batx.detect(np.zeros((4, 4)))
    with pytest.raises(MissingVariableError, match="ra and dec"):
        image.bat.detect(catalog=xr.Dataset({"name": ("source", ["Crab"])}))
    with pytest.raises(KindError, match="catalog"):
        image.bat.detect(catalog=[(83.6, 22.0)])
    with pytest.raises(MissingVariableError, match="rate or counts"):
        image.drop_vars("rate").bat.detect()
    with pytest.raises(ValueRangeError, match="pixels of the image"):
        image.bat.detect(pcode=image["pcode"].isel(imx=slice(3, None)))
    with pytest.raises(PositionError, match="dec"):
        image.bat.at(83.6)
    with pytest.raises(ValueRangeError, match="radius"):
        image.bat.detect(snr=20).bat.match(image.bat.detect(snr=20), radius=-1)
    for options in (
        {"snr": 0}, {"passes": 0}, {"min_pixels": 0}, {"window": "ring"}, {"psf": "moffat"}, {"pcode_min": 2},
        {"source_radius": 40}, {"statistic": "cash"}, {"compat": "ftools"}, {"psf_top": 1.0, "fwhm": 0.3},
        {"fwhm": 1000.0},
    ):  # fmt: skip
        with pytest.raises(ValueRangeError):
            image.bat.detect(**options)
    with pytest.raises(ValueRangeError, match="outside"):
        image.bat.photometry(0.0, 0.0, frame="tangent", outside="ignore")
    with pytest.raises(PositionError, match="there twice, the first is number 2"):
        image.bat.photometry([0.0, 0.01, 0.0], [0.0, 0.0, 0.0], frame="tangent")
    alone = image.bat.photometry([0.0, 0.01, 0.0], [0.0, 0.0, 0.0], frame="tangent", together=False)
    assert alone["rate"].values[0] == alone["rate"].values[2]
    two = sky(bands=2)
    with pytest.raises(EmptySelectionError, match="1 of 2 bands"):
        two.assign(rate=two["rate"].where(two["energy"] < 30)).bat.detect()
    twice = build("catalog", {"name": ["A", "B"], "ra": [83.6, 83.6], "dec": [22.0, 22.0]})
    with pytest.warns(BatxWarning, match="the first is 'B'"):
        assert image.bat.detect(catalog=twice, snr=20)["name"].values.tolist() == ["A"]
    with pytest.raises(ValueRangeError, match="sigma"):
        image.bat.upper_limit(0.0, 0.0, frame="tangent", sigma=0)


# ---------------------------------------------------------------- calibration on simulated detector images

APERTURE = batx.simulate.aperture()
GEOMETRY = MaskGeometry.from_attrs(APERTURE.attrs, APERTURE["mask"].shape)
#: of the normalisation for this mask; the tool's 0.03 gives fluxes that are 1 % low
GAIN = 0.02
BACKGROUND, SECONDS = 20.0, 10.0


def simulated(source=None, seed=0) -> xr.Dataset:
    """The sky image of a Poisson detector image with a flat background and a source (rate, imx, imy)."""
    expected = np.full(DETECTOR.shape, BACKGROUND)
    if source is not None:
        rate, imx, imy = source
        point = (imx * FAR, imy * FAR, FAR)
        lit = illumination(APERTURE["mask"].values, GEOMETRY, point, unbalanced=True, centred=True)
        radius = np.sqrt(1 + imx**2 + imy**2)
        face = (1 + min(0.15 * abs(imx), 0.05) + min(0.15 * abs(imy), 0.05)) / radius
        expected += rate * SECONDS * lit * face
    counts = np.random.default_rng(seed).poisson(np.where(DETECTOR, expected, 0.0))
    plane = build("detector_plane", {"counts": counts, "exposure": ((), SECONDS)})
    return plane.bat.sky_image(aperture=APERTURE, gain=GAIN)


def solid_shadow(imx: float, imy: float, side: int = 16, depths: int = 7) -> np.ndarray:
    """The lit fraction of every detector behind opaque tiles: straight lines that are open at every depth."""
    rng, step = np.random.default_rng(0), np.arange(side)
    cells = np.pad(APERTURE["mask"].values > 0, 1)
    lines = [
        (corner + 0.42 * np.arange(n)[:, None] + 0.40 * (step + rng.random((n, side))) / side).ravel()
        for corner, n in zip(GEOMETRY.detector_corner, DETECTOR.shape[::-1], strict=True)
    ]
    lit = np.ones((lines[1].size, lines[0].size), bool)
    for depth in np.linspace(0, GEOMETRY.mask_cell[2], depths):
        rise = GEOMETRY.mask_top - depth - GEOMETRY.detector_top
        column, row = (
            np.clip(np.floor((at + rise * slope - corner) / cell).astype(int) + 1, 0, n - 1)
            for at, slope, corner, cell, n in zip(
                lines, (imx, imy), GEOMETRY.mask_corner, GEOMETRY.mask_cell, cells.shape[::-1], strict=False
            )
        )
        lit &= cells[np.ix_(row, column)]
    ny, nx = DETECTOR.shape
    return np.where(DETECTOR, lit.reshape(ny, side, nx, side).mean(axis=(1, 3)), 0.0)


@pytest.mark.parametrize("imx", [0.19, 0.39, 0.9])
def test_solid_tiles_do_not_move_a_source(imx: float):
    """A tile is symmetric about its middle, and so is its shadow; the layers of the tool begin at its top.

    Without noise. What is left is the pattern of the mask; more where less of it is seen.
    """
    layered = illumination(APERTURE["mask"].values, GEOMETRY, (imx * FAR, 0.0, FAR), unbalanced=True)
    moved = []
    for lit in (solid_shadow(imx, 0.0), layered):
        plane = build("detector_plane", {"counts": 20.0 * DETECTOR + 500.0 * lit, "exposure": ((), 1.0)})
        image = plane.bat.sky_image(aperture=APERTURE)
        pixel = abs(float(image["imx"][1] - image["imx"][0]))
        moved.append((float(nearest(image.bat.detect(), imx, 0.0)["imx"]) - imx) / pixel)
    assert abs(moved[0]) < 0.015
    layers = len(GEOMETRY.sublayers((imx * FAR, 0.0, FAR)))
    expected = imx * GEOMETRY.mask_cell[2] / (2 * layers) / GEOMETRY.height / pixel
    assert moved[1] - moved[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_injected_sources_come_back_with_unit_pulls():
    """100 sources of 4 to 100 sigma anywhere in the field; those above 7 sigma are all found."""
    rng = np.random.default_rng(11)
    noise, coding = (simulated()[name].squeeze() for name in ("noise", "pcode"))
    pulls, forced = [], []
    while len(forced) < 100:
        imx, imy = rng.uniform(-0.9, 0.9), rng.uniform(-0.5, 0.5)
        here = {"imx": imx, "imy": imy}
        if coding.sel(here, method="nearest") < 0.15:
            continue
        sigma = rng.uniform(4, 100)
        rate = sigma * float(noise.sel(here, method="nearest"))
        x, y = (round(float(index)) for index in sky_coords.tangent_to_pixel(noise.to_dataset(), imx, imy))
        image = simulated((rate, imx, imy), seed=len(forced) + 100).isel(
            imx=slice(max(x - 75, 0), x + 76), imy=slice(max(y - 75, 0), y + 76)
        )
        held = image.bat.photometry(imx, imy, frame="tangent").isel(source=0)
        forced.append((held["rate"].item() - rate) / held["rate_err"].item())
        if sigma < 7:
            continue
        found = nearest(image.bat.detect(), imx, imy)
        pulls.append(
            [
                (found["rate"].item() - rate) / found["rate_err"].item(),
                (found["imx"].item() - imx) / found["imx_err"].item(),
                (found["imy"].item() - imy) / found["imy_err"].item(),
            ]
        )
    pulls = np.array(pulls)
    assert np.abs(pulls).max() < 5
    # the standard error of a mean of n is 1/sqrt(n), of a width 1/sqrt(2 n)
    n = len(pulls)
    assert np.abs(pulls.mean(axis=0)).max() < 3.5 / np.sqrt(n)
    assert np.abs(pulls.std(axis=0) - 1).max() < 3.5 / np.sqrt(2 * n)
    assert abs(np.mean(forced)) < 0.35
    assert abs(np.std(forced) - 1) < 0.25


@pytest.mark.slow
def test_rates_where_there_is_no_source_scatter_as_their_errors_say():
    image = simulated(seed=3)
    imx, imy = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.8, 0.8, 25), np.linspace(-0.4, 0.4, 13)))
    found = image.bat.photometry(imx, imy, frame="tangent")
    n = found.sizes["source"]
    for pull in (found["rate"] / found["rate_err"], found["snr"]):
        assert abs(pull.mean().item()) < 3.5 / np.sqrt(n)
        assert pull.std().item() == pytest.approx(1, abs=3.5 / np.sqrt(2 * n))


@pytest.mark.slow
def test_source_free_images_have_gaussian_tails():
    """Down to a coding of 1 %; local noise that is itself measured, to 4 %, widens the tail by a fifth."""
    counts = np.zeros(3)
    sources = 0
    squares = values = 0.0
    for seed in range(8):
        image = simulated(seed=seed)
        snr = image.bat.background_maps()["snr"].values
        snr = snr[np.isfinite(snr)]
        counts += [snr.size, (snr > 4).sum(), (snr < -4).sum()]
        squares, values = squares + (snr**2).sum(), values + snr.sum()
        sources += image.bat.detect(snr=5.5).sizes["source"]
    expected = counts[0] * norm.sf(4)
    # about nine pixels share their noise: the scatter of the counts is three times that of Poisson
    scatter = 3 / np.sqrt(expected)
    assert np.abs(counts[1:] / (1.2 * expected) - 1).max() < 3.5 * scatter
    assert abs(values / counts[0]) < 0.005
    assert np.sqrt(squares / counts[0]) == pytest.approx(1, abs=0.01)
    assert sources == 0
