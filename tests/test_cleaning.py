"""Cleaning and balancing: agreement with the tool, fits of simulated planes, stacks, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batx
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.kernels import clean as kernel
from batx.schema import build

APERTURE = batx.simulate.aperture()
GEOMETRY = MaskGeometry.from_attrs(APERTURE.attrs, APERTURE["mask"].shape)
PLACES = [(0.25, 0.10), (-0.4, 0.2)]
TEMPLATES = kernel.background_templates()

# ---------------------------------------------------------------- agreement with the tool

RUNS = {
    "clean_bkg": {},
    "clean_src": {"catalog": True},
    "bkgonly": {"catalog": True, "version": "bkgfit"},
    "clean_balshort": {"balance": "ShortEdges,LongEdges", "lead_edge": True},
}


def load(path, variable="counts"):
    return batx.open_dataset(path)[variable].squeeze().values


@pytest.fixture(scope="module")
def inputs(heasoft):
    return {
        "plane": batx.open_dataset(heasoft / "dpi" / "burst_1b.dpi.gz").load(),
        "aperture": batx.open_dataset(heasoft / "inputs" / "aperture.fits.gz").load(),
        "detector_mask": batx.open_dataset(heasoft / "hotpix" / "hot_default.mask.gz").load(),
        "catalog": batx.open_dataset(heasoft / "det" / "cat.fits.gz").load(),
    }


def run(inputs, catalog=False, **options):
    used = {key: inputs[key] for key in ("aperture", "detector_mask")}
    if catalog:
        used |= {"catalog": inputs["catalog"], "ignore": ()}
    return inputs["plane"].bat.clean(**used, **options)


@pytest.mark.parametrize("name", RUNS)
def test_agrees_with_the_tool(heasoft, inputs, name):
    """1e-4 of the largest count is asked for; these agree to 1e-5 of it."""
    found = run(inputs, **RUNS[name])["counts"].squeeze().values
    expected = load(heasoft / "clean" / f"{name}.dpi.gz")
    assert np.abs(found - expected).max() <= 1e-5 * inputs["plane"]["counts"].values.max()
    assert (found[~DETECTOR] == 0).all()


def test_balance_agrees_with_the_tool(heasoft, inputs):
    """The tool's balanced image from the image that it balanced."""
    start = batx.open_dataset(heasoft / "clean" / "clean_bkg.dpi.gz").load()
    found = start.bat.balance("ShortEdges,LongEdges", detector_mask=inputs["detector_mask"])
    expected = load(heasoft / "clean" / "clean_balshort.dpi.gz")
    np.testing.assert_allclose(found["counts"].squeeze().values, expected, rtol=0, atol=4e-7)
    assert found.attrs["balapp"] == 1


def test_real_detector_image(shared, heasoft):
    plane = batx.open_dataset(shared / "data" / "dpis" / "grb_00519256000_batbinevt.dpi").load()
    good = batx.open_dataset(heasoft / "real" / "grb_00519256000_hot.mask.gz").load()
    found = plane.bat.clean(detector_mask=good)["counts"].squeeze().values
    expected = load(heasoft / "real" / "grb_00519256000_clean.dpi.gz")
    assert np.abs(found - expected).max() <= 1e-4 * plane["counts"].values.max()


def test_rate_of_the_source_is_that_of_the_image(inputs):
    """The tool's catalogue has the counts of the image, 1.454; the fit gives the same on average."""
    found = run(inputs, catalog=True)
    rate, error = float(found["source_rate"].squeeze()), float(found["source_rate_err"].squeeze())
    assert abs(rate * 25 - 1.4766 / 1.0163) < 2e-4
    assert abs(error * 25 - 0.0198 / 1.0163) < 2e-4
    assert abs(rate * 25 - 1.454) < 0.2 * error * 25
    assert found["name"].values.tolist() == ["UNKNOWN"]
    assert found["source_rate"].dims[0] == "source"


# ---------------------------------------------------------------- simulations


def expected_plane(rates, gradient=0.0, level=2.0):
    """Counts of a background with a gradient and of sources at PLACES, by detector."""
    x = (np.arange(286) - 142.5) / 142.5
    plane = np.broadcast_to(level * (1 + gradient * x), DETECTOR.shape).copy()
    for rate, (imx, imy) in zip(rates, PLACES, strict=False):
        lit = illumination(APERTURE["mask"].values, GEOMETRY, (imx * FAR, imy * FAR, FAR), unbalanced=True)
        face = (1 + min(0.15 * abs(imx), 0.05) + min(0.15 * abs(imy), 0.05)) / np.sqrt(1 + imx**2 + imy**2)
        plane += rate * lit * face
    return np.where(DETECTOR, plane, 0.0)


def planes(number=1, rates=(), exposure=10.0, seed=0, **options) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected_plane(rates, **options) * exposure, (number, *DETECTOR.shape))
    start = 6e8 + exposure * np.arange(number)
    return build(
        "detector_plane",
        {
            "counts": (("time", "dety", "detx"), counts),
            "time": start + exposure / 2,
            "time_bnds": np.stack([start, start + exposure], axis=1),
            "exposure": np.full(number, exposure),
        },
        {"telescope": "SWIFT"},
    )


def catalog(**more) -> xr.Dataset:
    variables = {
        "name": np.array(["one", "two"]),
        "ra": np.zeros(2),
        "dec": np.zeros(2),
        "imx": ("source", np.array([p[0] for p in PLACES]), {"units": "1"}),
        "imy": ("source", np.array([p[1] for p in PLACES]), {"units": "1"}),
    }
    return build("catalog", variables | more)


def test_rates_of_sources_have_unit_pulls():
    rates = (0.05, 0.10)
    found = planes(40, rates, seed=5).bat.clean(catalog(), aperture=APERTURE)
    pulls = (found["source_rate"] - np.array(rates)[:, None]) / found["source_rate_err"]
    assert found["source_rate"].shape == (2, 40)
    assert abs(float(pulls.mean())) < 5 / np.sqrt(pulls.size)
    assert abs(float(pulls.std()) - 1) < 5 / np.sqrt(2 * pulls.size)
    assert float((found["source_rate"] / found["source_rate_err"]).min()) > 5


def test_noise_of_images_after_cleaning_a_gradient():
    """A background that falls by 30 % over the plane leaves no trace in the sky."""
    snr = []
    flat = planes(12, gradient=0.15, seed=6)
    image = flat.bat.clean().bat.sky_image(aperture=APERTURE)
    snr = image["snr"].values[:, image["pcode"].values > 0.15].astype(np.float64)
    assert abs(snr.mean()) < 5 * 0.0011 / np.sqrt(12)
    assert abs(snr.std() - 1) < 0.02
    raw = flat.isel(time=[0]).bat.sky_image(aperture=APERTURE)["snr"].values
    assert np.nanstd(raw) > 1.02


def test_versions_add_up():
    plane = planes(1, (0.2, 0.3), seed=1)
    made = {
        version: plane.bat.clean(catalog(), aperture=APERTURE, version=version)["counts"].values
        for version in ("cleaned", "bkgcleaned", "srccleaned", "fit", "bkgfit", "srcfit")
    }
    counts = np.where(DETECTOR, plane["counts"].values, 0)
    np.testing.assert_allclose(made["bkgfit"] + made["srcfit"], made["fit"], atol=1e-10)
    for cleaned, fit in (("cleaned", "fit"), ("bkgcleaned", "bkgfit"), ("srccleaned", "srcfit")):
        np.testing.assert_allclose(made[cleaned] + made[fit], counts, atol=1e-10)


def test_fit_reaches_masked_detectors_if_asked():
    good = DETECTOR & (np.random.default_rng(1).random(DETECTOR.shape) < 0.9)
    plane = planes(1)
    alone = plane.bat.clean(detector_mask=good, version="bkgfit")["counts"][0].values
    filled = plane.bat.clean(detector_mask=good, version="bkgfit", mask_fit=True)["counts"][0].values
    assert (alone[~good] == 0).all()
    np.testing.assert_array_equal(alone[good], filled[good])
    assert (filled[DETECTOR & ~good] > 10).all()
    assert (filled[~DETECTOR] == 0).all()


def test_rates_are_cleaned_like_counts():
    plane = planes(2, (0.2, 0.1))
    rate = plane.assign(rate=(plane["counts"] / 10.0).assign_attrs(units="count/s")).drop_vars("counts")
    one = plane.bat.clean(catalog(), aperture=APERTURE)
    other = rate.bat.clean(catalog(), aperture=APERTURE)
    np.testing.assert_allclose(other["rate"], one["counts"] / 10.0, atol=1e-10)
    np.testing.assert_allclose(other["source_rate"], one["source_rate"], rtol=1e-9)
    np.testing.assert_allclose(other["variance"], one["variance"] / 100.0, rtol=1e-12)
    images = [p.bat.sky_image(aperture=APERTURE, dtype="float64") for p in (one, other)]
    for name in ("rate", "noise", "snr"):
        np.testing.assert_allclose(images[0][name], images[1][name], rtol=1e-7, atol=1e-9)


def test_noise_of_a_cleaned_image_is_that_of_its_counts():
    plane = planes(1, seed=3)
    cleaned = plane.bat.clean()
    raw, net = (p.bat.sky_image(aperture=APERTURE) for p in (plane, cleaned))
    np.testing.assert_allclose(net["noise"], raw["noise"], rtol=1e-6)
    model = plane.bat.clean(version="bkgfit")
    other = plane.bat.sky_image(aperture=APERTURE, background=model)
    np.testing.assert_allclose(other["rate"], net["rate"], rtol=0, atol=2e-5 * np.nanmax(net["noise"]))
    np.testing.assert_allclose(other["noise"], net["noise"], rtol=1e-6)
    with pytest.raises(batx.BatxError, match="variance"):
        cleaned.drop_vars("variance").bat.sky_image(aperture=APERTURE)
    cleaned.drop_vars("variance").bat.sky_image(aperture=APERTURE, noise=False)


def test_own_maps_are_fitted():
    pattern = np.where(DETECTOR, np.random.default_rng(2).random(DETECTOR.shape), 0.0)
    plane = planes(1)
    plane["counts"] = plane["counts"] + 20 * pattern
    plain = plane.bat.clean()["counts"].values[0][DETECTOR].std()
    assert plane.bat.clean(templates=pattern)["counts"].values[0][DETECTOR].std() < 0.95 * plain
    alone = plane.bat.clean(templates=[pattern], background=False, version="fit")["counts"].values[0]
    np.testing.assert_allclose(alone / np.where(DETECTOR, pattern, 1), alone[0, 0] / pattern[0, 0] * DETECTOR)


def test_edges_that_face_a_source_are_fitted_apart():
    lit = illumination(
        APERTURE["mask"].values, GEOMETRY, (PLACES[0][0] * FAR, PLACES[0][1] * FAR, FAR), unbalanced=True
    )
    edges = kernel.facing_edges(*PLACES[0])
    plane = planes(1)
    plane["counts"] = plane["counts"] + 5 * lit + 10 * lit * edges
    one = catalog().isel(source=[0])
    together = plane.bat.clean(one, aperture=APERTURE)["counts"].values[0]
    apart = plane.bat.clean(one, aperture=APERTURE, lead_edge=True)
    assert apart["counts"].values[0][DETECTOR].std() < 0.98 * together[DETECTOR].std()
    mean = (5 * lit.sum() + 10 * (lit * edges).sum()) / lit.sum() / 10 / 1.0163
    assert abs(float(apart["source_rate"][0, 0]) - mean) < 5 * float(apart["source_rate_err"][0, 0])


# ---------------------------------------------------------------- balancing


@pytest.mark.parametrize("name", ["all", "module", "inout", "shortedges", "longedges"])
def test_means_of_groups_are_zero(name):
    good = DETECTOR & (np.random.default_rng(4).random(DETECTOR.shape) < 0.8)
    found = planes(2).bat.balance(name, detector_mask=good)["counts"].values
    assert (found[:, ~good] == 0).all()
    row, column = np.nonzero(good)
    module = (row // 11) * 16 + column // 18
    outer = (column % 18 == 0) | (column % 18 == 15) | (row % 11 == 0) | (row % 11 == 7)
    groups = {
        "all": np.zeros_like(module),
        "module": module,
        "inout": module * 2 + outer,
        "shortedges": np.where(column % 18 == 15, column // 18, np.where(column % 18 == 0, 99, -1)),
        "longedges": np.where(row % 11 == 7, row // 11, np.where(row % 11 == 0, 99, -1)),
    }[name]
    for group in np.unique(groups[groups >= 0]):
        np.testing.assert_allclose(found[:, good][:, groups == group].mean(axis=1), 0.0, atol=1e-12)
    untouched = groups < 0
    np.testing.assert_array_equal(
        found[:, good][:, untouched], planes(2)["counts"].values[:, good][:, untouched]
    )


def test_combined_balances_are_applied_in_turn():
    plane = planes(1)
    flight = plane.bat.balance("flight")["counts"]
    turn = plane.bat.balance("shortedges").bat.balance("longedges").bat.balance("inout")["counts"]
    np.testing.assert_allclose(flight, turn, atol=1e-12)
    np.testing.assert_array_equal(
        plane.bat.balance(["edges"])["counts"], plane.bat.balance("ShortEdges,LongEdges")["counts"]
    )


def test_balance_before_and_after_the_fit():
    plane = planes(1, gradient=0.3)
    after = plane.bat.clean(balance="module")["counts"]
    np.testing.assert_allclose(after, plane.bat.clean().bat.balance("module")["counts"], atol=1e-12)
    before = plane.bat.clean(balance="module", balance_first=True)["counts"]
    assert np.abs(after - before).max() > 0.1


# ---------------------------------------------------------------- stacks


def test_stack_is_its_images():
    plane = planes(3, (0.2, 0.1))
    together = plane.bat.clean(catalog(), aperture=APERTURE, balance="flight")
    for index in range(3):
        alone = plane.isel(time=index).bat.clean(catalog(), aperture=APERTURE, balance="flight")
        for name in ("counts", "source_rate", "source_rate_err"):
            np.testing.assert_allclose(together[name].isel(time=index), alone[name], rtol=1e-10, atol=1e-10)


def test_chunked_planes_give_lazy_results_that_are_the_same():
    plane = planes(4, (0.2, 0.1)).expand_dims(energy=[20.0, 40.0], axis=1)
    plane = plane.assign_coords(energy_bnds=(("energy", "bnds"), [[15.0, 25.0], [25.0, 55.0]]))
    plane["exposure"] = plane["exposure"].isel(energy=0)
    plane["time_bnds"] = plane["time_bnds"]
    whole = plane.bat.clean(catalog(), aperture=APERTURE)
    lazy = plane.chunk(time=1, energy=1).bat.clean(catalog(), aperture=APERTURE)
    assert lazy["counts"].chunks is not None
    assert lazy["source_rate"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), whole, rtol=1e-10)
    assert whole["source_rate"].dims == ("source", "time", "energy")


def test_equal_weights_share_the_normal_matrix():
    """Images whose background was taken off are fitted together, with the same result as one by one."""
    plane = planes(3, (0.2, 0.1)).assign_attrs(backapp=1)
    plane["counts"] = plane["counts"] - 20.0
    together = plane.bat.clean(catalog(), aperture=APERTURE)
    alone = plane.isel(time=[1]).bat.clean(catalog(), aperture=APERTURE)
    np.testing.assert_allclose(together["counts"][1], alone["counts"][0], atol=1e-10)
    np.testing.assert_allclose(together["source_rate"][:, 1], alone["source_rate"][:, 0], rtol=1e-10)
    truth = np.linalg.lstsq(TEMPLATES[:, DETECTOR].T, plane["counts"].values[0][DETECTOR], rcond=None)[0]
    found, _ = kernel.fit_templates(TEMPLATES[:, DETECTOR], plane["counts"].values[0][None, DETECTOR])
    np.testing.assert_allclose(found[0] @ TEMPLATES[:, DETECTOR], truth @ TEMPLATES[:, DETECTOR], atol=1e-9)


def test_sources_follow_the_sky_during_a_slew():
    times = 6e8 + np.arange(-5, 40.0)
    half = np.deg2rad(0.5) * (times - 6e8) / 2
    turn = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1)
    attitude = build("attitude", {"time": times, "quaternion": turn})
    alignment = batx.instrument.sky.NOMINAL_ALIGNMENT
    known = catalog(ra=np.array([2.5, 7.5]), dec=np.array([0.0, 0.0]))
    shadow = illumination(APERTURE["mask"].values, GEOMETRY, (0.0, 0.0, FAR), unbalanced=True)
    plane = planes(2)
    light = np.random.default_rng(7).poisson(5 * shadow, plane["counts"].shape)
    plane["counts"] = plane["counts"] + light  # each source is on the axis in the middle of one image
    found = plane.bat.clean(known, aperture=APERTURE, attitude=attitude, alignment=alignment)
    pull = (found["source_rate"] - 0.5 * np.eye(2)) / found["source_rate_err"]
    assert np.abs(pull).max() < 4
    assert float(found["source_rate"][0, 0] / found["source_rate_err"][0, 0]) > 20


def test_selection_of_sources():
    plane = planes(1, (0.2, 0.1))
    assert "source_rate" not in plane.bat.clean(catalog(snr=np.array([1.0, 2.0])), aperture=APERTURE)
    some = plane.bat.clean(catalog(snr=np.array([10.0, 2.0])), aperture=APERTURE)
    assert some["name"].values.tolist() == ["one"]
    bands = catalog(snr=(("source", "energy"), np.array([[1.0, 2.0], [3.0, 7.0]])))
    assert plane.bat.clean(bands, aperture=APERTURE)["name"].values.tolist() == ["two"]
    assert plane.bat.clean(catalog(), aperture=APERTURE, ignore=["one"])["name"].values.tolist() == ["two"]


def test_source_out_of_the_field_has_no_rate():
    outside = catalog(imx=("source", [0.25, 5.0], {"units": "1"}))
    with pytest.warns(batx.BatxWarning, match="1 of 2 sources are out of the field"):
        found = planes(1, (0.2,)).bat.clean(outside, aperture=APERTURE)
    assert np.isnan(found["source_rate"][1]).all()
    assert np.isfinite(found["source_rate"][0]).all()
    inside = planes(1, (0.2,)).bat.clean(outside.isel(source=[0]), aperture=APERTURE)
    np.testing.assert_allclose(found["counts"], inside["counts"], atol=1e-9)


def test_files(tmp_path):
    found = planes(2, (0.2, 0.1)).bat.clean(catalog(), aperture=APERTURE)
    found.bat.to_netcdf(tmp_path / "clean.nc")
    with batx.open_dataset(tmp_path / "clean.nc") as again:
        np.testing.assert_array_equal(again["counts"], found["counts"])
        np.testing.assert_array_equal(again["source_rate"], found["source_rate"])
    path = found.bat.to_fits(tmp_path / "clean.dpi")
    again = batx.open_dataset(path)
    np.testing.assert_allclose(again["counts"].squeeze(), found["counts"], rtol=1e-7)
    assert again.attrs["hduclas2"] == "RESIDUAL"
    assert again.attrs["backapp"] == 1


# ---------------------------------------------------------------- bad input


def test_refusals():
    plane = planes(1)

    def refused(match, *args, target=plane, **options):
        with pytest.raises(batx.BatxError, match=match):
            target.bat.clean(*args, **options)

    refused("version", version="clean")
    refused("balance: found 'rows'", balance="rows")
    refused("no good detector", detector_mask=np.zeros(DETECTOR.shape, bool))
    refused("without a finite value", target=plane.assign(counts=plane["counts"] * np.nan))
    refused("templates", templates=np.ones((3, 4)))
    refused("aperture=", catalog())
    refused("catalog", plane, aperture=APERTURE)
    refused("imx and imy", catalog().drop_vars(("imx", "imy")), aperture=APERTURE)
    refused("expected one", background=False)
    refused("detx=286", target=plane.isel(detx=slice(10)))
    refused("exposure", catalog(), aperture=APERTURE, target=plane.drop_vars("exposure"))


def test_images_without_data_are_nan_and_said():
    plane = planes(2)
    plane["counts"] = plane["counts"].astype(float).where(plane["time"] > plane["time"][0])
    with pytest.warns(batx.BatxWarning, match="1 of 2"):
        found = plane.bat.clean()
    assert np.isnan(found["counts"][0]).all()
    assert np.isfinite(found["counts"][1]).all()
