"""Sky images: agreement with the tool, positions, fluxes and noise on simulations, stacks, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sky_inputs import APERTURE, EXPOSURE, GRID, sky_plane

import batx
from batx import sky_coords
from batx.instrument import sky
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import MaskGeometry
from batx.kernels import deconvolve
from batx.kernels.deconvolve import flat_field, image_grid
from batx.kernels.peaks import false_alarm
from batx.kernels.precision import keep_bits
from batx.schema import build

# ---------------------------------------------------------------- agreement with the tool

#: output of the reference run -> arguments of sky_image
RUNS = {
    "burst": {},
    "burst_bkgsub": {"background": "bkg_1b"},
    "burst_near": {"distance": 5000.0},
    "burst_none": {"corrections": "none", "rebalance": False},
    "burst_os1": {"oversampling": 1},
}
#: those of the tool that looked up an attitude
CELESTIAL = ("burst", "burst_bkgsub")


@pytest.fixture(scope="module")
def inputs(heasoft):
    def load(name):
        return batx.open_dataset(heasoft / f"{name}.gz").load()

    return {
        "aperture": load("inputs/aperture.fits"),
        "detector_mask": load("hotpix/hot_default.mask"),
        "attitude": load("inputs/attitude.fits"),
        "alignment": load("inputs/teldef.fits"),
    }


@pytest.fixture(scope="module")
def reference(heasoft):
    def load(name):
        made = batx.open_dataset(heasoft / "img" / f"{name}.gz").load()
        value = next(
            name for name in ("counts", "noise", "pcode") if name in made and "imx" in made[name].dims
        )
        return made, made[value].squeeze().values.astype(np.float64)

    return load


def plane(heasoft, name="burst_1b"):
    return batx.open_dataset(heasoft / "dpi" / f"{name}.dpi.gz")


def run(heasoft, inputs, name, **more):
    options = dict(RUNS[name]) | more
    if "background" in options:
        options["background"] = plane(heasoft, options["background"])
    used = dict(inputs)
    if name not in CELESTIAL:
        used["attitude"] = used["alignment"] = None
    return plane(heasoft).bat.sky_image(**used, compat="heasoft", **options)


def assert_image_agrees(found, expected, pcode, near, far):
    """Compare with the largest value; a pixel at the threshold of coding may fall either way."""
    defined = np.isfinite(found) & np.isfinite(expected)
    edge = np.abs(pcode - 0.01) < 1e-6
    assert not np.any((np.isfinite(found) != np.isfinite(expected)) & ~edge)
    peak = np.nanmax(np.abs(expected))
    difference = np.where(defined, np.abs(found - expected), 0.0) / peak
    assert difference[pcode > 0.05].max() <= near
    assert difference[pcode <= 0.05].max() <= far


def plain_pcode(image: xr.Dataset) -> np.ndarray:
    """The coding fraction itself of an image made with compat="heasoft"."""
    grid = image_grid(MaskGeometry.from_attrs(image.attrs, (243, 487)))
    return image["pcode"].values / flat_field(grid)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("output", "name"), [("burst_allbits", "burst"), *((n, n) for n in RUNS if n != "burst")]
)
def test_images_agree_with_the_tool(heasoft, inputs, reference, output, name, dtype):
    found = run(heasoft, inputs, name, dtype=dtype)
    header, expected = reference(f"{output}.img")
    pcode = batx.sky_image(
        plane(heasoft),
        aperture=inputs["aperture"],
        detector_mask=inputs["detector_mask"],
        noise=False,
        pcode_min=0.0,
        **{key: value for key, value in RUNS[name].items() if key in ("distance", "oversampling")},
    )["pcode"].values
    assert found["counts"].dtype == dtype
    assert_image_agrees(found["counts"].squeeze().values, expected, pcode, near=3e-5, far=1e-4)
    for axis in ("imx", "imy"):
        np.testing.assert_allclose(found[axis], header[axis], rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_agrees_with_the_tool(heasoft, inputs, reference, dtype):
    found = run(heasoft, inputs, "burst", dtype=dtype)
    _, expected = reference("burst_allbits.var")
    noise, pcode = found["noise"].squeeze().values, plain_pcode(found)
    coded = pcode > 0.05
    np.testing.assert_allclose(noise[coded], expected[coded], rtol=1e-5)
    # the variance is exact to 1e-6 of its largest value, which is more of a small one: see the next test
    low = (pcode > 0) & ~coded & np.isfinite(expected)
    np.testing.assert_allclose(noise[low], expected[low], rtol=3e-5)
    flat = flat_field(image_grid(MaskGeometry.from_attrs(found.attrs, (243, 487))))
    ours, theirs = ((values * pcode * flat) ** 2 for values in (noise, expected))
    assert np.nanmax(np.abs(ours - theirs)[low]) < 1e-6 * np.nanmax(ours)


def test_noise_of_little_coding_is_limited_by_single_precision(heasoft, inputs, reference):
    """The recipe of the tool, computed in single precision, departs from the exact noise as the tool does.

    The transforms make an error of the variance that is the same everywhere, so that of the noise grows
    towards the edge of the field. In single precision 1e-5 cannot be reached where the coding is below 0.05.
    """
    exact = run(heasoft, inputs, "burst", dtype="float64")
    _, tool = reference("burst_allbits.var")
    noise, pcode = exact["noise"].squeeze().values, plain_pcode(exact)
    geometry = MaskGeometry.from_attrs(inputs["aperture"].attrs, inputs["aperture"]["mask"].shape)
    grid = image_grid(geometry)
    transforms = deconvolve.aperture_transforms(inputs["aperture"]["mask"].values, grid)
    counts = plane(heasoft)["counts"].squeeze().values * inputs["detector_mask"]["good"].values

    def variance(dtype):
        squares = transforms.square.astype(np.result_type(dtype, np.complex64))
        found = deconvolve.correlate(counts.astype(dtype), squares, grid.transform)
        image = np.empty(grid.shape)
        deconvolve._arrange(found, np.ones(grid.shape), 2, *grid.cells, grid.mirrored, np.nan, image)
        return image

    with np.errstate(invalid="ignore", divide="ignore"):
        single = np.sqrt(variance(np.float32) / variance(np.float64)) - 1
        departs = tool / noise - 1
    for low, high in ((0.01, 0.012), (0.012, 0.02), (0.02, 0.05)):
        here = (pcode > low) & (pcode <= high) & np.isfinite(departs)
        assert departs[here].std() < 3 * single[here].std()
        assert abs(departs[here].mean()) < 1.5e-6
    edge = (pcode > 0.01) & (pcode <= 0.05) & np.isfinite(departs)
    assert np.abs(single[edge]).max() > 1e-5


def test_coding_agrees_with_the_tool(heasoft, inputs, reference):
    found = run(heasoft, inputs, "burst", noise=False)
    _, expected = reference("burst.pcode")
    exact = run(heasoft, inputs, "burst", noise=False, pcode_min=0.0)
    edge = np.abs(plain_pcode(exact) - 0.01) < 1e-6
    np.testing.assert_allclose(found["pcode"].values[~edge], expected[~edge], rtol=0, atol=1e-5)
    assert np.count_nonzero(edge) < 30


def test_significance_is_flux_over_noise(heasoft, inputs):
    found = run(heasoft, inputs, "burst")
    ratio = (found["counts"] / found["noise"]).squeeze()
    inside = np.isfinite(ratio.values)
    np.testing.assert_allclose(found["snr"].squeeze().values[inside], ratio.values[inside], rtol=2e-6)
    assert inside.sum() == np.isfinite(found["snr"].values).sum()


@pytest.mark.parametrize("name", CELESTIAL)
def test_celestial_coordinates_agree_with_the_tool(heasoft, inputs, reference, name):
    from astropy.io.fits import Header

    found = run(heasoft, inputs, name, noise=False)
    header, _ = reference("burst_allbits.img" if name == "burst" else f"{name}.img")
    ours, theirs = (Header.fromstring(ds["wcs"].item(), sep="\n") for ds in (found, header))
    for key in ("CRVAL1", "CRVAL2", "CROTA2", "CDELT1", "CDELT2", "CDELT1T", "CDELT2T"):
        assert abs(ours[key] - theirs[key]) < 1e-12, key
    for key in ("CRPIX1", "CRPIX2", "CRPIX1T", "CRPIX2T"):
        assert abs(ours[key] - theirs[key]) < 1e-10, key
    for key in ("CTYPE1", "CTYPE2", "CTYPE1T", "CTYPE2T", "CUNIT1"):
        assert ours[key] == theirs[key]


def test_keywords_agree_with_the_tool(heasoft, inputs, reference):
    found = run(heasoft, inputs, "burst", noise=False)
    header, _ = reference("burst.img")
    for name in ("ffapp", "pcodeapp", "ngpixapp", "mskwtapp", "acolapp", "nbatdets", "oversmpx", "oversmpy"):
        assert found.attrs[name] == header.attrs[name], name
    assert abs(found.attrs["mskwtsqf"] - header.attrs["mskwtsqf"]) < 1e-14
    assert run(heasoft, inputs, "burst_bkgsub", noise=False).attrs["backapp"] == 1
    near = run(heasoft, inputs, "burst_near", noise=False).attrs
    assert abs(near["mskwtsqf"] - 0.27219019522792) < 1e-14
    assert near["bat_zobj"] == 5000.0


def test_default_is_a_rate_with_plain_coding(heasoft, inputs):
    """The defaults differ from the tool as the data model says: counts per second, coding without factor."""
    ours = batx.sky_image(plane(heasoft), **inputs)
    tool = run(heasoft, inputs, "burst")
    np.testing.assert_allclose(ours["rate"] * 25.0, tool["counts"], rtol=0, atol=2e-5 * tool["noise"].max())
    np.testing.assert_allclose(ours["noise"] * 25.0, tool["noise"], rtol=1e-5)
    np.testing.assert_allclose(ours["snr"], tool["snr"], rtol=0, atol=4e-5)
    np.testing.assert_allclose(ours["pcode"], plain_pcode(tool), rtol=1e-6)
    assert ours["rate"].attrs["units"] == "count/s"
    assert ours["rate"].attrs["per"] == "detector"
    assert 0.98 < ours["pcode"].max() < 1.02
    source = sky_coords.sky_to_pixel(ours, 165.76360901, 24.39815269)
    peak = ours["snr"].squeeze().argmax(...)
    assert abs(float(peak["imx"]) - source[0]) < 1
    assert abs(float(peak["imy"]) - source[1]) < 1


def test_grid_of_a_real_image(shared):
    """A map of the archive, made with the flight mask: 497 x 253 cells, other offsets and height."""
    real = batx.open_dataset(shared / "data" / "imaging" / "pcode_map.img.gz")
    aperture = batx.simulate.aperture("flight")
    for name in ("maskbatz", "maskoffx", "maskoffy", "maskoffz", "maskcelx", "maskcelz"):
        assert aperture.attrs[name] == real.attrs[name]
    grid = image_grid(MaskGeometry.from_attrs(aperture.attrs, aperture["mask"].shape))
    assert grid.shape == (real.sizes["imy"], real.sizes["imx"])
    for found, axis in zip(grid.tangent(), ("imx", "imy"), strict=True):
        np.testing.assert_allclose(found, real[axis], rtol=0, atol=1e-11)


# ---------------------------------------------------------------- simulations


def stack(planes, dim="time") -> xr.Dataset:
    """Images one after the other in time, or in bands."""
    if dim == "energy":
        edges = np.arange(len(planes) + 1) * 10.0 + 15.0
        joined = xr.concat([p["counts"] for p in planes], "energy")
        bands = {"energy": edges[:-1] + 5.0, "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1)}
        rest = {name: planes[0][name].variable for name in ("time", "time_bnds", "exposure")}
        return build("detector_plane", {"counts": joined, **bands, **rest})
    start = 6e8 + 10.0 * np.arange(len(planes))
    return build(
        "detector_plane",
        {
            "counts": xr.concat([p["counts"].drop_vars("time") for p in planes], "time"),
            "time": start + 5.0,
            "time_bnds": np.stack([start, start + 10.0], axis=1),
            "exposure": np.full(len(planes), EXPOSURE),
        },
    )


def place(column, row):
    imx, imy = GRID.tangent()
    return float(imx[column]), float(imy[row])


def test_sources_come_back_at_their_place_with_their_flux():
    """Each has 20 to 60 sigma at the centre of a pixel, where images give 0.975 to 1 of the flux."""
    pixels = [(868, 464), (600, 500), (1100, 380), (1300, 600), (420, 420)]
    sources = [(0.15 + 0.05 * k, *place(*pixel)) for k, pixel in enumerate(pixels)]
    image = sky_plane(sources, seed=3).bat.sky_image(aperture=APERTURE)
    for (column, row), (rate, _, _) in zip(pixels, sources, strict=True):
        around = image.isel(imx=slice(column - 8, column + 9), imy=slice(row - 8, row + 9))
        peak = around["rate"].argmax(...)
        assert (int(peak["imx"]), int(peak["imy"])) == (8, 8)
        found, error = (float(around[name][8, 8]) for name in ("rate", "noise"))
        assert 15 < found / error < 100
        assert 0.975 * rate - 4 * error < found < rate + 4 * error
    far = np.hypot(*np.meshgrid(image.imx - sources[0][1], image.imy - sources[0][2])) > 0.01
    for _, imx, imy in sources[1:]:
        far &= np.hypot(*np.meshgrid(image.imx - imx, image.imy - imy)) > 0.01
    inside = far & (image["pcode"].values > 0.15)
    assert image["snr"].values[inside].max() < 8


def test_source_at_its_place_on_the_sky():
    attitude = batx.simulate.attitude(start=6e8, duration=20.0, seed=2)
    alignment = batx.simulate.alignment()
    imx, imy = place(1000, 500)
    image = sky_plane([(0.3, imx, imy)]).bat.sky_image(
        aperture=APERTURE, attitude=attitude, alignment=alignment, pcode_min=0.1
    )
    path = batx.attitudes.attitude_path(attitude, alignment)
    quaternion = sky.slerp(6e8 + 5.0, path.times, path.quaternions)
    ra, dec = sky.tangent_to_sky(imx, imy, quaternion, path.alignment)
    peak = image["snr"].argmax(...)
    found = sky_coords.pixel_to_sky(image, int(peak["imx"]), int(peak["imy"]))
    np.testing.assert_allclose(found, (ra, dec), atol=1e-9)


def test_noise_of_source_free_images():
    """The scatter of the mean of one image is 0.0011, that of its width 0.005 (300 images)."""
    flat = stack([sky_plane(background=2.0, seed=100 + k) for k in range(20)])
    image = flat.bat.sky_image(aperture=APERTURE)
    snr = image["snr"].values[:, image["pcode"].values > 0.15].astype(np.float64)
    assert abs(snr.mean()) < 5 * 0.0011 / np.sqrt(20)
    assert abs(np.sqrt((snr**2).mean()) - 1) < 5 * 0.005 / np.sqrt(20)
    expected = snr.size * 3.167e-5
    assert abs((snr > 4).sum() - expected) < 5 * np.sqrt(9 * expected)  # 9 pixels to an independent one

    # the largest values: their probabilities are uniform, 0.5 ± 0.29, by a fifth too cautious (300 images)
    used = image["pcode"].values > 0.15
    maps = image["snr"].values.astype(np.float64)
    steps = (
        np.diff(maps, axis=2)[:, used[:, 1:] & used[:, :-1]],
        np.diff(maps, axis=1)[:, used[1:] & used[:-1]],
    )
    rough = float(np.sqrt(np.prod([-2 * np.log(1 - (step**2).mean() / 2) for step in steps])))
    largest = np.concatenate([snr.max(axis=1), -snr.min(axis=1)])
    _, chance = false_alarm(largest, used.sum(), used.sum(), rough, 1)
    assert abs(chance.mean() - 0.55) < 4 * 0.29 / np.sqrt(40)
    assert 0.15 < chance.std() < 0.45


# ---------------------------------------------------------------- stacks


@pytest.fixture(scope="module")
def planes():
    return [sky_plane([(0.2, *place(900, 450))], seed=k) for k in range(3)]


def test_stack_is_its_images(planes):
    alone = [p.bat.sky_image(aperture=APERTURE) for p in planes]
    for dim in ("time", "energy"):
        together = stack(planes, dim).bat.sky_image(aperture=APERTURE)
        assert together["rate"].dims == (dim, "imy", "imx")
        for index, image in enumerate(alone):
            for name in ("rate", "noise", "snr"):
                np.testing.assert_array_equal(together[name].isel({dim: index}), image[name])
        np.testing.assert_array_equal(together["pcode"], alone[0]["pcode"])


def test_chunked_planes_give_lazy_images_that_are_the_same(planes):
    attitude, alignment = batx.simulate.attitude(start=6e8, duration=40.0), batx.simulate.alignment()
    whole = stack(planes)
    options = {"aperture": APERTURE, "attitude": attitude, "alignment": alignment}
    lazy = whole.chunk(time=1).bat.sky_image(**options)
    assert lazy["rate"].chunks is not None
    assert lazy["snr"].data.numblocks[0] == 3
    xr.testing.assert_identical(lazy.compute(), whole.bat.sky_image(**options))
    small = whole.chunk(time=2, dety=100).bat.sky_image(aperture=APERTURE, noise=False)
    np.testing.assert_array_equal(small["rate"], whole.bat.sky_image(aperture=APERTURE)["rate"])
    assert "noise" not in small


def test_rates_are_counts_over_exposure(planes):
    counts = planes[0]
    rate = counts.assign(rate=(counts["counts"] / EXPOSURE).assign_attrs(units="count/s")).drop_vars("counts")
    one, other = (p.bat.sky_image(aperture=APERTURE, dtype="float64") for p in (counts, rate))
    for name in ("rate", "noise", "snr"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12)


def test_right_handed_images_are_mirrored(planes):
    left, right = (planes[0].bat.sky_image(aperture=APERTURE, handedness=hand) for hand in ("left", "right"))
    np.testing.assert_allclose(right["imx"], left["imx"][::-1], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(right["rate"], left["rate"][:, ::-1])


def test_transforms_are_made_once(planes):
    from batx import sky_images

    first = planes[0].bat.sky_image(aperture=APERTURE)
    before = sky_images._made.cache_info()
    again = planes[0].bat.sky_image(aperture=APERTURE)
    after = sky_images._made.cache_info()
    assert after.misses == before.misses
    assert after.hits > before.hits
    assert after.maxsize <= 4
    xr.testing.assert_identical(first, again)


def test_background_is_taken_off(planes):
    model = sky_plane(seed=9).assign(exposure=((), 4 * EXPOSURE, {"units": "s"}))
    net = planes[0].bat.sky_image(aperture=APERTURE, background=model, dtype="float64")
    plain = planes[0].bat.sky_image(aperture=APERTURE, dtype="float64")
    other = model.bat.sky_image(aperture=APERTURE, dtype="float64")
    inside = plain["pcode"].values > 0.05
    for name in ("rate", "noise"):
        a, b, c = (ds[name].values[inside] for ds in (net, plain, other))
        expected = b - c if name == "rate" else np.sqrt(b**2 + c**2)
        np.testing.assert_allclose(a, expected, rtol=1e-9, atol=1e-10)
    exact = model.assign_attrs(hduclas2="PREDICTED")
    certain = planes[0].bat.sky_image(aperture=APERTURE, background=exact, dtype="float64")
    np.testing.assert_allclose(certain["noise"], plain["noise"], rtol=1e-12)
    np.testing.assert_allclose(certain["rate"], net["rate"], rtol=1e-12)
    assert net.attrs["backapp"] == 1


def test_bands_of_a_background_must_be_those_of_the_images(planes):
    bands = stack(planes, "energy")
    flat = sky_plane(seed=5)
    net = bands.bat.sky_image(aperture=APERTURE, background=flat, noise=False)
    assert net["rate"].sizes["energy"] == 3
    stack(planes).bat.sky_image(aperture=APERTURE, background=flat, noise=False)
    bands.bat.sky_image(aperture=APERTURE, background=bands, noise=False)
    with pytest.raises(batx.BatxError, match="background: found 2 values along energy"):
        bands.bat.sky_image(aperture=APERTURE, background=bands.isel(energy=[0, 1]))
    with pytest.raises(batx.BatxError, match="background"):
        bands.bat.sky_image(aperture=APERTURE, background=bands.assign_coords(energy=bands.energy + 5))
    with pytest.raises(batx.BatxError, match="background"):
        flat.bat.sky_image(aperture=APERTURE, background=bands)


# ---------------------------------------------------------------- attitude


def turning(rate, seconds=10.0):
    """An attitude that turns about spacecraft Z by `rate` degrees a second, and its alignment."""
    times = 6e8 + np.arange(-10, seconds + 11)
    half = np.deg2rad(rate) * (times - 6e8) / 2
    quaternion = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1)
    return build("attitude", {"time": times, "quaternion": quaternion}), sky.NOMINAL_ALIGNMENT


@pytest.mark.parametrize("rate", [0.0, 0.0015, 1.0])
def test_attitude_of_an_image(rate):
    """A uniform turn has its mean in the middle; with good time in the first half only it is before that."""
    attitude, alignment = turning(rate)
    options = {"aperture": APERTURE, "attitude": attitude, "alignment": alignment, "noise": False}
    image = sky_plane().bat.sky_image(**options)
    assert abs(float(image["motion"]) - 10 * rate) < 1e-9
    assert image["motion"].attrs["units"] == "deg"
    ra, dec = sky_coords.tangent_to_sky(image, 0.0, 0.0)
    assert abs((ra - 5 * rate + 180) % 360 - 180) < 1e-9
    assert abs(dec) < 1e-9
    first_half = sky_plane(gti_start=np.array([6e8]), gti_stop=np.array([6e8 + 4.0]))
    image = first_half.bat.sky_image(**options)
    middle = 2 * rate if 4 * rate > 1 / 60 else 5 * rate
    assert abs((sky_coords.tangent_to_sky(image, 0.0, 0.0)[0] - middle + 180) % 360 - 180) < 1e-6
    assert abs(float(image["motion"]) - 4 * rate) < 1e-9
    tool = first_half.bat.sky_image(**options, compat="heasoft")
    assert abs((sky_coords.tangent_to_sky(tool, 0.0, 0.0)[0] - 5 * rate + 180) % 360 - 180) < 1e-9


def test_stack_over_a_slew_has_an_attitude_each(planes, tmp_path):
    attitude, alignment = turning(0.5, 30.0)
    image = stack(planes).bat.sky_image(
        aperture=APERTURE, attitude=attitude, alignment=alignment, noise=False
    )
    assert image["wcs"].dims == ("time",)
    ra, _ = sky_coords.tangent_to_sky(image, 0.0, 0.0)
    np.testing.assert_allclose(ra, [2.5, 7.5, 12.5], atol=1e-9)
    np.testing.assert_allclose(image["motion"], 5.0, atol=1e-9)
    part = image.isel(time=1, imx=slice(100, 200))
    assert part["wcs"].ndim == 0
    assert abs(sky_coords.tangent_to_sky(part, 0.0, 0.0)[0] - 7.5) < 1e-9
    for form in ("netcdf", "zarr"):
        getattr(image.bat, f"to_{form}")(tmp_path / form)
        again = batx.open_dataset(tmp_path / form)
        np.testing.assert_array_equal(sky_coords.tangent_to_sky(again, 0.0, 0.0)[0], ra)
        np.testing.assert_array_equal(again["rate"], image["rate"])
        again.close()


def test_image_without_attitude_has_places_on_the_plane_only(planes):
    image = planes[0].bat.sky_image(aperture=APERTURE, noise=False)
    assert not sky_coords.has_sky(image)
    assert "motion" not in image
    with pytest.raises(batx.BatxError, match="attitude="):
        sky_coords.pixel_to_sky(image, 0, 0)


# ---------------------------------------------------------------- bad input


def test_detectors_without_a_finite_value_are_bad(planes):
    dead = DETECTOR & (np.random.default_rng(1).random(DETECTOR.shape) < 0.1)
    holes = planes[0].assign(counts=planes[0]["counts"].where(~dead))
    found = holes.bat.sky_image(aperture=APERTURE)
    masked = planes[0].bat.sky_image(aperture=APERTURE, detector_mask=DETECTOR & ~dead)
    for name in ("rate", "noise", "snr"):
        np.testing.assert_array_equal(found[name], masked[name])


def test_images_without_data_are_nan_and_said(planes):
    empty = planes[1].assign(counts=planes[1]["counts"] * np.nan)
    with pytest.warns(batx.BatxWarning, match="1 of 3 detector images"):
        image = stack([planes[0], empty, planes[2]]).bat.sky_image(aperture=APERTURE)
    assert np.isnan(image["rate"][1]).all()
    np.testing.assert_array_equal(image["rate"][2], planes[2].bat.sky_image(aperture=APERTURE)["rate"])
    unexposed = stack(planes)
    unexposed["exposure"][1] = 0.0
    with pytest.warns(batx.BatxWarning, match="no exposure"):
        image = unexposed.bat.sky_image(aperture=APERTURE)
    assert np.isnan(image["snr"][1]).all()


def refused(plane, match, **options):
    options = {"aperture": APERTURE} | options
    with pytest.raises(batx.BatxError, match=match):
        plane.bat.sky_image(**options)


def test_refusals(planes):
    one = planes[0]
    refused(one.assign(counts=one["counts"] * np.nan), "without a finite value")
    refused(one, "no good detector", detector_mask=np.zeros(DETECTOR.shape, bool))
    refused(one, "no good detector", detector_mask=~DETECTOR)
    refused(one, "true where the detector is good", detector_mask=np.ones((10, 10), bool))
    refused(one.isel(detx=slice(100)), "detx=286")
    refused(one.expand_dims(source=2), "source")
    refused(one.drop_vars("exposure"), "exposure")
    refused(one.assign(counts=-one["counts"]), "variance")
    refused(one.drop_vars("counts").assign(weight=one["counts"] * 1.0), "weights")
    refused(one, "aperture", aperture=one)
    refused(one, "open", aperture=APERTURE.assign(mask=APERTURE["mask"] * 0))
    refused(one.isel(detx=[]), "detx")
    refused(stack(planes).isel(time=[]), "expected an image")
    for name, value, text in (
        ("oversampling", 0, "1 to 16"),
        ("oversampling", 1.5, "1 to 16"),
        ("pcode_min", 1.0, "below 1"),
        ("pcode_min", float("nan"), "below 1"),
        ("handedness", "up", "left"),
        ("corrections", "flat", "flatfield"),
        ("dtype", "int32", "float32"),
        ("distance", 50.0, "mask"),
        ("origin", float("nan"), "expected"),
        ("origin", [1.0, 2.0], "expected a number"),
        ("gain", float("nan"), "above -1"),
        ("compat", "idl", "heasoft"),
    ):
        refused(one, text, **{name: value})


def test_directions_to_near_sources_may_start_elsewhere(planes):
    options = {"aperture": APERTURE, "noise": False, "distance": 1100.0}
    image = batx.sky_image(planes[0], **options)
    shifted = batx.sky_image(planes[0], **options, origin=100.0)
    # the tangent of a pixel at BAT_X: from the origin of the instrument X/1100, from above X/1000; the shift
    # between mask and detectors is not scaled by the tool
    np.testing.assert_allclose(np.diff(shifted["imx"]), 1.1 * np.diff(image["imx"]), rtol=1e-9)
    np.testing.assert_allclose(shifted["imx"], 1.1 * image["imx"], atol=1e-4)
    np.testing.assert_array_equal(
        batx.sky_image(planes[0], aperture=APERTURE, noise=False, origin=100.0)["imx"],
        batx.sky_image(planes[0], aperture=APERTURE, noise=False)["imx"],
    )


def test_refusals_of_attitudes(planes):
    attitude, alignment = turning(0.0)
    late = attitude.assign_coords(time=attitude["time"] + 1000)
    refused(planes[0], "outside", attitude=late, alignment=alignment)
    image = planes[0].bat.sky_image(
        aperture=APERTURE, attitude=late, alignment=alignment, extrapolate=True, noise=False
    )
    assert sky_coords.has_sky(image)
    timeless = planes[0].drop_vars(("time", "time_bnds"))
    refused(timeless, "time_bnds", attitude=attitude, alignment=alignment)
    refused(planes[0], "attitude", attitude=planes[0], alignment=alignment)
    with pytest.warns(batx.BatxWarning, match="alignment"):
        planes[0].bat.sky_image(aperture=APERTURE, attitude=attitude, noise=False)
    with pytest.warns(batx.BatxWarning, match="attitude="):
        planes[0].bat.sky_image(aperture=APERTURE, alignment=alignment, noise=False)


# ---------------------------------------------------------------- files


def test_precision_is_reduced_as_by_the_tool(heasoft, reference):
    """burst.img is burst_allbits.img with 7 bits, to the last one."""
    _, full = reference("burst_allbits.img")
    _, noise = reference("burst_allbits.var")
    _, short = reference("burst.img")
    np.testing.assert_array_equal(keep_bits(full.astype(np.float32), 7, noise.astype(np.float32)), short)


def file_of(image, path, **options):
    image.bat.to_fits(path, **options)
    return batx.open_dataset(path)


@pytest.mark.parametrize("dim", ["time", "energy", None])
def test_fits(planes, tmp_path, dim):
    attitude, alignment = turning(0.5, 30.0)
    source = planes[0] if dim is None else stack(planes, dim)
    image = source.bat.sky_image(aperture=APERTURE, attitude=attitude, alignment=alignment, pcode_min=0.2)
    again = file_of(image, tmp_path / "burst.img.gz")
    for name in ("rate", "noise", "snr", "pcode"):
        np.testing.assert_array_equal(again[name].squeeze(), image[name].squeeze())
        assert again[name].dtype == np.float32
        assert again[name].attrs["units"] == image[name].attrs["units"]
    for name in ("imx", "imy"):
        np.testing.assert_array_equal(again[name], image[name])
    for name in ("exposure", "motion"):
        np.testing.assert_array_equal(again[name].squeeze(), image[name])
    np.testing.assert_array_equal(again["time_bnds"].squeeze(), image["time_bnds"])
    if dim == "energy":
        np.testing.assert_array_equal(again["energy_bnds"], image["energy_bnds"])
    if dim == "time":
        assert again["wcs"].dims == ("time",)
    found, expected = (sky_coords.tangent_to_sky(ds, 0.3, -0.2) for ds in (again, image))
    np.testing.assert_allclose(np.squeeze(found), np.squeeze(expected), atol=1e-12)


def test_fits_layout_is_that_of_the_tool(heasoft, inputs, tmp_path):
    from astropy.io import fits

    image = run(heasoft, inputs, "burst").bat
    image.to_fits(tmp_path / "burst.img.gz", keepbits=7)
    with fits.open(tmp_path / "burst.img.gz") as ours, fits.open(heasoft / "img" / "burst.img.gz") as theirs:
        assert [hdu.name for hdu in ours] == [
            *("BAT_IMAGE_1", "BAT_VARMAP_1", "BAT_SIGNIF_1", "BAT_PCODE_1", "EBOUNDS", "STDGTI")
        ]
        for key in (
            *("BUNIT", "HDUCLASS", "HDUCLAS1", "HDUCLAS2", "IMATYPE", "E_MIN", "E_MAX", "EXPOSURE", "TSTART"),
            *(
                "TSTOP",
                "NBATDETS",
                "OVERSMPX",
                "FFAPP",
                "PCODEAPP",
                "ACOLAPP",
                "BACKAPP",
                "CTYPE1",
                "CTYPE1T",
            ),
            *("CTYPE1T", "TELESCOP", "OBS_ID", "MJDREFI", "TRIGTIME", "WCSNAMET"),
        ):
            assert ours[0].header[key] == theirs[0].header[key], key
        assert ours[1].header["HDUCLAS2"] == "BKG_STDDEV"
        assert ours[2].header["HDUCLAS2"] == "SIGNIFICANCE"
        assert ours[3].header["HDUCLAS2"] == "VIGNETTING"
        found, expected = ours[0].data, theirs[0].data
        same = np.isfinite(found) & np.isfinite(expected)
        step = np.nanmax(ours[1].data) / 128
        assert np.abs(found[same] - expected[same]).max() < 2 * step
        assert np.mean(found[same] == expected[same]) > 0.99  # the others round to the neighbouring value
        for first, second in zip(ours["EBOUNDS"].data[0], theirs["EBOUNDS"].data[0], strict=True):
            assert abs(first - second) <= 1  # channels from 0 or 1


def test_fewer_bits_make_smaller_files_with_small_errors(planes, tmp_path):
    image = planes[0].bat.sky_image(aperture=APERTURE, pcode_min=0.2)
    sizes = {}
    for bits in (None, 10, 5):
        again = file_of(image, tmp_path / f"image_{bits}.img.gz", keepbits=bits)
        sizes[bits] = (tmp_path / f"image_{bits}.img.gz").stat().st_size
        if bits is not None:
            error = np.abs(again["rate"].squeeze() - image["rate"].squeeze()) / image["noise"].squeeze()
            assert float(error.max()) <= 2.0**-(bits)
            for name in ("noise", "pcode"):
                inside = image["pcode"].values > 0
                ratio = again[name].squeeze().values[inside] / image[name].squeeze().values[inside]
                assert np.abs(ratio - 1).max() <= 2.0**-bits
            assert float(np.abs(again["snr"].squeeze() - image["snr"].squeeze()).max()) <= 2.0**-bits
    assert sizes[5] < 0.5 * sizes[10] < 0.5 * sizes[None]


def test_part_of_an_image_in_a_file(planes, tmp_path):
    attitude, alignment = turning(0.0)
    image = planes[0].bat.sky_image(aperture=APERTURE, attitude=attitude, alignment=alignment)
    part = image.isel(imx=slice(800, 900), imy=slice(400, 500))
    again = file_of(part, tmp_path / "part.img")
    np.testing.assert_allclose(again["imx"], part["imx"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        sky_coords.pixel_to_sky(again, 7, 9), sky_coords.pixel_to_sky(image, 807, 409), atol=1e-10
    )
    with pytest.raises(batx.BatxError, match="keepbits"):
        image.bat.to_fits(tmp_path / "a.img", keepbits=0)
    with pytest.raises(batx.BatxError, match="keepbits"):
        planes[0].bat.to_fits(tmp_path / "a.dpi", keepbits=7)
    tangent = planes[0].bat.sky_image(aperture=APERTURE, noise=False)
    assert not sky_coords.has_sky(file_of(tangent, tmp_path / "tangent.img"))
