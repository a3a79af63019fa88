"""Candidates, false alarms and probabilities in mosaics."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from map_inputs import EDGES, sky_image
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr
from sky_inputs import APERTURE, sky_plane

import batx
from batx.errors import BatxError, EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.kernels import peaks
from batx.schema import check
from batx.sky_coords import sky_to_pixel

PSF_FWHM = 0.37413  # of the sources and the noise of these images, degrees
WIDTH = np.rad2deg(1) * 0.002  # one pixel, degrees
SMOOTH = PSF_FWHM * peaks.SIGMA / WIDTH  # of the point-spread function, pixels


def psf_noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Noise of unit width, correlated as the point-spread function (as in coded-mask images)."""
    white = rng.standard_normal((shape[0] + 40, shape[1] + 40))
    # a filter of width s correlates as a Gaussian of width s √2
    sigma = SMOOTH / np.sqrt(2)
    return (gaussian_filter(white, sigma) * 2 * np.sqrt(np.pi) * sigma)[20:-20, 20:-20]


def image(
    seed: int, sources: list[tuple[float, float, list[float]]], start: float = 0.0, **options
) -> xr.Dataset:
    """Image of 0.2 x 0.3 on the tangent plane, noise 1 in every band, and sources (ra, dec, heights)."""
    made = sky_image(shape=(151, 201), half=(0.15, 0.2), start=start, seed=None, dtype="f8", **options)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:151, :201]
    bands = []
    for band in range(3):
        plane = psf_noise(rng, (151, 201))
        for ra, dec, heights in sources:
            px, py = sky_to_pixel(made, ra, dec)
            plane += heights[band] * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SMOOTH**2))
        bands.append(plane)
    made["rate"] = (("energy", "imy", "imx"), np.stack(bands), {"units": "count/s"})
    made["noise"] = (("energy", "imy", "imx"), np.ones((3, 151, 201)), {"units": "count/s"})
    made["pcode"] = (("imy", "imx"), np.ones((151, 201)))
    return made


def test_noise_is_as_wide_and_correlated_as_meant():
    noise = np.concatenate([psf_noise(np.random.default_rng(i), (300, 300)).ravel() for i in range(5)])
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_sources_are_found_where_they_are():
    sources = [
        (150.0, 30.0, [20.0, 10.0, 5.0]),
        (146.0, 27.0, [8.0, 8.0, 8.0]),
        (153.0, 33.0, [0.0, 0.0, 30.0]),
    ]
    sums = batx.mosaic([image(1, sources)], 512)
    known = batx.build("catalog", {"name": ["Known"], "ra": [150.02], "dec": [30.01]})
    found = batx.candidates(sums, 6.0, catalog=known, psf_fwhm=PSF_FWHM)
    assert check(found) == [] and found.sizes["source"] == 3
    assert (np.diff(found.significance) < 0).all()
    for ra, dec, heights in sources:
        apart = np.hypot((found.ra - ra) * np.cos(np.deg2rad(dec)), found.dec - dec)
        row = int(np.argmin(apart.values))
        assert float(apart[row]) < 4 * float(found.err_rad[row])
        for band, height in enumerate(heights):
            assert float(found.rate[row, band]) == pytest.approx(height, abs=4)
            assert float(found.snr[row, band]) == pytest.approx(height, abs=4.5)
    assert found.known.values.sum() == 1 and "Known" in found.match_name.values
    assert float(found.err_rad_90[0]) == pytest.approx(2.146 * float(found.err_rad[0]), rel=1e-3)
    # equal bands do best in the sum, a single band alone
    at = dict(zip(found.ra.values.round(), found.best_band.values, strict=True))
    assert at[146] == "14-195" and at[153] == "50-195"


def test_a_bright_source_is_one_candidate():
    found = batx.candidates(batx.mosaic([image(2, [(150.0, 30.0, [300.0, 10.0, 5.0])])], 512), 6.0)
    assert found.sizes["source"] == 1 and int(found.n_pixels[0]) > 10


def test_nothing_is_an_empty_table():
    found = batx.candidates(batx.mosaic([image(3, [])], 512), 7.0)
    assert found.sizes["source"] == 0 and check(found) == []
    known = batx.build("catalog", {"name": ["Known"], "ra": [150.0], "dec": [30.0]})
    assert batx.candidates(batx.mosaic([image(3, [])], 512), 7.0, catalog=known).sizes["source"] == 0


def test_fits_images_are_searched_as_well():
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---ZEA", "DEC--ZEA"], [150.0, 30.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [100.5, 100.5], [-0.08, 0.08]
    wcs.array_shape = (200, 200)
    found = batx.candidates(batx.mosaic([image(4, [(150.3, 30.2, [15.0, 15.0, 15.0])])], wcs=wcs), 7.0)
    assert found.sizes["source"] == 1
    assert float(found.ra[0]) == pytest.approx(150.3, abs=0.05)
    assert float(found.dec[0]) == pytest.approx(30.2, abs=0.05)


def test_significance_is_more_than_that_of_a_cell():
    """A cell centre misses the peak, and interpolated noise is narrower than 1."""
    sums = batx.mosaic([image(5, [(150.1, 30.1, [30.0, 0.0, 0.0])])], 256).compute()
    found = batx.candidates(sums, 10.0)
    cell = float(batx.finalize(sums).snr.max())
    assert float(found.significance[0]) > cell


@pytest.mark.slow
def test_positions_and_significances_have_unit_pulls():
    pulls, heights = [], []
    rng = np.random.default_rng(6)
    for seed in range(40):
        ra, dec = rng.uniform(146, 154), rng.uniform(27, 33)
        sums = batx.mosaic([image(100 + seed, [(ra, dec, [12.0, 0.0, 0.0])])], 512)
        found = batx.candidates(sums.isel(energy=[0]), 6.0, psf_fwhm=PSF_FWHM)
        assert found.sizes["source"] >= 1
        pulls.append((float(found.ra[0]) - ra) * np.cos(np.deg2rad(dec)) / float(found.err_rad[0]))
        pulls.append((float(found.dec[0]) - dec) / float(found.err_rad[0]))
        heights.append(float(found.significance[0]) - 12.0)
    assert abs(np.mean(pulls)) < 0.3 and 0.75 < np.std(pulls) < 1.25
    assert abs(np.mean(heights)) < 0.8 and 0.6 < np.std(heights) < 1.5


@pytest.mark.slow
def test_a_simulated_burst_from_events_to_candidate(tmp_path):
    """Four images of a burst: found where it is, with twice the significance of one.

    Interpolated noise is 8 % narrower than that of pixels.
    """
    from batx.simulate import Background, Source, observation

    burst = Source(0.15, ra=165.0, dec=24.0)
    folder = observation(tmp_path / "obs", burst, Background(rate=0.2), duration=20.0, seed=3)
    obs = batx.open_observation(folder)
    parts = {name: obs[name].to_dataset() for name in ("aperture", "detector_mask", "attitude", "alignment")}
    events = obs["events"].to_dataset()
    start = float(events.gti_start.min())
    cube = events.bat.detector_plane(time=start + np.arange(0, 17, 4.0), energy=[15, 150])
    images = cube.chunk(time=1).bat.sky_image(**parts)
    sums = batx.mosaic(images, 512).compute()
    found = batx.candidates(sums, 7.0)
    assert float(found.ra[0]) == pytest.approx(165.0, abs=0.03)
    assert float(found.dec[0]) == pytest.approx(24.0, abs=0.03)
    one = images.isel(time=0).compute()
    single = batx.to_healpix(one, 512)
    height = float(batx.candidates(single, 7.0).significance[0])
    assert float(found.significance[0]) / height == pytest.approx(2.0, rel=0.1)
    cells, pixels = batx.finalize(single).snr.values, one.snr.where(one.pcode > 0.15).values
    widths = [peaks.robust_width(values[np.isfinite(values)]) for values in (cells, pixels)]
    assert 0.88 < widths[0] / widths[1] < 0.96


@pytest.mark.slow
def test_false_alarms_come_as_often_as_they_should():
    """The largest peak of pure noise: its false-alarm probability is uniform."""
    from scipy.spatial import cKDTree

    nside, lmax = 64, 191
    cells = healpy.nside2npix(nside)
    tree = cKDTree(np.stack(healpy.pix2vec(nside, np.arange(cells)), axis=-1))
    probabilities, rough = [], []
    for seed in range(80):
        np.random.seed(seed)  # noqa: NPY002 - healpy takes no generator
        spectrum = np.exp(-np.arange(lmax + 1) * (np.arange(lmax + 1) + 1) * np.deg2rad(2.0) ** 2)
        noise = healpy.synfast(spectrum, nside, lmax=lmax, new=True)
        noise /= noise.std()
        rough.append(peaks.roughness(tree, noise, 1.0))
        _, probability = peaks.false_alarm(noise.max(), cells, 41252.96, rough[-1], 1)
        probabilities.append(float(probability))
    # correlation exp(-d²/4 s²) with s = 2 degrees
    assert np.mean(rough) == pytest.approx(1 / (2 * 2.0**2), rel=0.1)
    assert np.mean(probabilities) == pytest.approx(0.5, abs=0.13)
    assert np.mean(np.array(probabilities) < 0.2) == pytest.approx(0.2, abs=0.14)


def test_trials_of_independent_cells_are_their_number():
    rng = np.random.default_rng(7)
    vectors = np.stack(healpy.pix2vec(64, np.arange(49152)), axis=-1)
    from scipy.spatial import cKDTree

    rough = peaks.roughness(cKDTree(vectors), rng.standard_normal(49152), 1.0)
    trials, probability = peaks.false_alarm(4.0, 49152, 41253.0, rough, 1)
    assert float(trials) == pytest.approx(49152, rel=1e-6)
    assert float(probability) == pytest.approx(-np.expm1(-49152 * ndtr(-4.0)), rel=1e-6)
    assert peaks.false_alarm(5.0, 100, 10.0, 1.0, 3)[0] < 300


def test_probability_map_and_files(tmp_path):
    sums = batx.mosaic([image(8, [(150.0, 30.0, [4.0, 4.0, 4.0])])], 512).compute()
    found = batx.probability_map(sums)
    assert check(found) == [] and float(found.probability.sum()) == pytest.approx(1.0)
    region = batx.credible_region(found, 0.9)
    assert 0.9 <= float(found.probability.values[region.values].sum()) < 1
    ra, dec = healpy.pix2ang(512, found.cell_ids.values[region.values], nest=True, lonlat=True)
    assert np.hypot((ra - 150) * np.cos(np.deg2rad(30)), dec - 30).max() < 1.0
    assert region.attrs["area"] == pytest.approx(
        int(region.sum()) * 41252.96 / healpy.nside2npix(512), rel=1e-5
    )
    path = batx.to_fits(found, tmp_path / "probability.fits")
    full, header = healpy.read_map(path, h=True, nest=None)
    cards = dict(header)
    assert cards["ORDERING"] == "NESTED" and cards["COORDSYS"] == "C" and cards["INDXSCHM"] == "IMPLICIT"
    assert full.sum() == pytest.approx(1) and len(full) == healpy.nside2npix(512)
    assert fits.getheader(path, 1)["TTYPE1"] == "PROB"
    back = batx.open_dataset(path)
    assert back.bat.kind == "mosaic"
    np.testing.assert_allclose(back.probability.values[found.cell_ids.values], found.probability)


def test_ligo_skymap_reads_the_file(tmp_path):
    skymap = pytest.importorskip("ligo.skymap.io")
    found = batx.probability_map(batx.mosaic([image(8, [(150.0, 30.0, [4.0, 4.0, 4.0])])], 64))
    values, _ = skymap.read_sky_map(str(batx.to_fits(found, tmp_path / "map.fits")), nest=True)
    np.testing.assert_allclose(values[found.cell_ids.values], found.probability)


def test_positions_have_the_probability_that_is_claimed():
    inside = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ra, dec = rng.uniform(148, 152), rng.uniform(28.5, 31.5)
        sums = batx.mosaic([image(300 + seed, [(ra, dec, [9.0, 0.0, 0.0])])], 512).isel(energy=[0])
        found = batx.probability_map(sums)
        cell = healpy.ang2pix(512, ra, dec, nest=True, lonlat=True)
        inside += bool(cell in found.cell_ids.values[batx.credible_region(found, 0.5).values])
    assert 7 <= inside <= 26


def test_moc():
    found = batx.probability_map(batx.mosaic([image(9, [(150.0, 30.0, [20.0, 8.0, 8.0])])], 128))
    try:
        import mocpy  # noqa: F401
    except ImportError:
        with pytest.raises(BatxError, match="pip install mocpy"):
            batx.to_moc(found)
        return
    moc = batx.to_moc(found, 0.9)
    area = float(batx.credible_region(found, 0.9).attrs["area"])
    assert moc.sky_fraction * 41252.96 == pytest.approx(area, rel=1e-6)


def turned_image(number: int, rate: float, ra: float, dec: float) -> xr.Dataset:
    """Image of counts with a source, its pointing and roll at random; a part of it around the source."""
    rng, start = np.random.default_rng(number), 6e8 + 100.0 * number
    target = ra + rng.uniform(-12, 12), dec + rng.uniform(-10, 10), rng.uniform(0, 360)
    frame = {
        "attitude": batx.simulate.attitude(start, 10.0, target),
        "alignment": batx.simulate.alignment(),
    }
    place = batx.field_position(frame["attitude"], ra, dec, [start + 5], alignment=frame["alignment"])
    plane = sky_plane([(rate, float(place.imx[0]), float(place.imy[0]))], seed=number)
    plane = plane.assign_coords(time=start + 5.0, time_bnds=("bnds", [start, start + 10.0]))
    made = plane.bat.sky_image(aperture=APERTURE, **frame)
    x, y = (int(pixel) for pixel in sky_to_pixel(made, ra, dec))
    return made.isel(imx=slice(max(x - 60, 0), x + 60), imy=slice(max(y - 60, 0), y + 60))


@pytest.mark.slow
def test_images_of_a_steady_source_gain_the_root_of_their_number():
    """16 images of 18 sigma, each turned another way: S/√W where the source is, and the fitted peak."""
    ra, dec = 165.0, 24.0
    images = [turned_image(number, 0.12, ra, dec) for number in range(16)]
    cell, found = healpy.ang2pix(512, ra, dec, nest=True, lonlat=True), []
    for some in ([one] for one in images):
        found.append(batx.finalize(batx.mosaic(some, 512).compute()))
    total = batx.finalize(batx.mosaic(images, 512).compute())
    plain = [float(one.snr.values.squeeze()[one.cell_ids.values == cell][0]) for one in (*found, total)]
    assert plain[-1] == pytest.approx(4 * np.mean(plain[:-1]), rel=0.02)
    fitted = [float(one.bat.candidates(6).significance[0]) for one in (*found, total)]
    assert fitted[-1] == pytest.approx(4 * np.mean(fitted[:-1]), rel=0.05)


@pytest.mark.parametrize(
    "options",
    [{}, {"frame": "galactic", "order": "ring"}, {"energy_sum": True}, {"order": "ring", "nside": 50}],
)
def test_mosaics_come_back_from_fits(tmp_path, options):
    """Frame, bands, images and sums, so that what was read can be divided, searched, drawn and merged."""
    images = [image(10, [(150.0, 30.0, [9.0, 9.0, 9.0])]), image(11, [], start=1e4)]
    sums = batx.finalize(batx.mosaic(images, **{"nside": 64, **options})).compute()
    back = batx.open_dataset(batx.to_fits(sums, tmp_path / "sums.fits"))
    assert check(back) == [] and set(back.variables) == set(sums.variables)
    for name in sums.variables:
        assert back[name].dims == sums[name].dims
        np.testing.assert_array_equal(back[name], sums[name], err_msg=name)
        assert back[name].attrs.get("units") == sums[name].attrs.get("units")
    assert back.healpix.attrs == sums.healpix.attrs
    assert {name: back.attrs[name] for name in sums.attrs} == sums.attrs
    one, two = (
        batx.to_fits(batx.mosaic([one], **{"nside": 64, **options}), tmp_path / f"{number}.fits")
        for number, one in enumerate(images)
    )
    whole = batx.merge(batx.open_dataset(one), batx.open_dataset(two))
    np.testing.assert_allclose(whole.sum_wf, sums.sum_wf, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueRangeError, match="count twice"):
        batx.merge(back, batx.open_dataset(one))


def test_groups_of_times_have_an_extension_each(tmp_path):
    images = [image(number, [], start=1e5 * number) for number in range(3)]
    tree = batx.mosaic(images, 64, time_bins={"early": [0.0, 1.5e5], "late": [1.5e5, 3e5]}).compute()
    path = tree.bat.to_fits(tmp_path / "groups.fits")
    total = batx.open_dataset(path)
    np.testing.assert_array_equal(total.sum_w, tree["total"].sum_w)
    groups = tree["groups"].to_dataset()
    for number, name in enumerate(("early", "late")):
        part = batx.open_dataset(path, hdu=f"HEALPIX_{name}")
        seen = groups.n_images.values[number] > 0
        np.testing.assert_array_equal(part.cell_ids, groups.cell_ids.values[seen])
        np.testing.assert_array_equal(part.sum_wf, groups.sum_wf.values[number][:, seen])
        assert part.sizes["image"] == 2 - number and part.attrs["group"] == name
        assert [part.attrs["tstart"], part.attrs["tstop"]] == groups.time_bnds.values[number].tolist()
    with fits.open(path) as file:
        assert [hdu.name for hdu in file].count("EBOUNDS") == 1
    from batx.sky_grids import galactic_facets

    facets = batx.mosaic(images, wcs=galactic_facets(300.0), time_bins="month")
    with fits.open(batx.to_fits(facets, tmp_path / "facets.fits")) as file:
        header = file["SUM_W_C2_3_2001-01"].header
        assert header["TSTOP"] - header["TSTART"] == pytest.approx(31 * 86400)
        assert "SUM_W_C2_3" in file


def test_maps_to_fits(tmp_path):
    sums = batx.mosaic([image(10, [])], 64).compute()
    path = batx.to_fits(sums, tmp_path / "sums.fits")
    with fits.open(path) as file:
        table = file["HEALPIX"].data
        assert np.array_equal(table["PIXEL"], sums.cell_ids)
        assert np.array_equal(table["SUM_WF_2"], sums.sum_wf.values[1])
        assert file["EBOUNDS"].data["E_MAX"].tolist() == EDGES[1:].tolist()
    from batx.sky_grids import galactic_facets

    facets = batx.finalize(batx.mosaic([image(10, [])], wcs=galactic_facets(120.0)).compute())
    with fits.open(batx.to_fits(facets, tmp_path / "facets.fits")) as file:
        assert file["SNR_C2_3"].header["E_MIN"] == 50.0
        np.testing.assert_array_equal(file["SNR_C2_3"].data, facets.snr.values[2, 2])
        assert file["EXPOSURE_C0"].header["CTYPE1"] == "GLON-ZEA"


@pytest.mark.parametrize(("frame", "order"), [("icrs", "nested"), ("galactic", "ring")])
def test_what_is_found_survives_fits(tmp_path, frame: str, order: str):
    """Bands, frame, images and all: what is found in the file is what is found in the mosaic."""
    given = [image(seed, [(150.0, 30.0, [9.0, 9.0, 9.0])], start=1000.0 * seed) for seed in (1, 2)]
    sums = batx.mosaic(given, 256, frame=frame, order=order).compute()
    back = batx.open_dataset(batx.to_fits(sums, tmp_path / "sums.fits")).load()
    assert check(back) == [] and back.bat.kind == "mosaic"
    assert set(sums.variables) <= set(back.variables) and back.sizes == sums.sizes
    for name, array in sums.variables.items():
        assert back[name].dims == array.dims
        np.testing.assert_array_equal(back[name].values, array.values)
        if "units" in array.attrs:
            assert back[name].attrs["units"] == array.attrs["units"]
    assert (back.attrs["frame"], back.attrs["nside"]) == (frame, 256)
    xr.testing.assert_equal(batx.candidates(back, 7.0), batx.candidates(sums, 7.0))
    with pytest.raises(ValueRangeError, match="twice"):
        batx.merge(sums, back)
    finished = batx.finalize(sums)
    again = batx.open_dataset(batx.to_fits(finished, tmp_path / "maps.fits"))
    np.testing.assert_array_equal(again.snr.transpose(*finished.snr.dims), finished.snr)


@pytest.mark.parametrize(
    ("error", "change", "options", "says"),
    [
        (KindError, lambda ds: sky_image(), {}, "mosaic"),
        (MissingVariableError, lambda ds: ds.drop_vars("sum_w"), {}, "sum_w"),
        (ValueRangeError, lambda ds: ds.expand_dims("time"), {}, "isel"),
        (EmptySelectionError, lambda ds: ds.assign(sum_w=ds.sum_w * 0), {}, "no cell"),
        (ValueRangeError, None, {"snr": -1}, "snr"),
        (ValueRangeError, None, {"psf_fwhm": 0}, "psf_fwhm"),
        (MissingVariableError, None, {"catalog": sky_image()}, "catalog"),
    ],
)
def test_what_is_refused(error: type[BatxError], change, options: dict, says: str):
    sums = batx.mosaic([sky_image()], 32).compute()
    with pytest.raises(error, match=says):
        batx.candidates(sums if change is None else change(sums), **options)


def test_regions_that_are_refused():
    sums = batx.mosaic([sky_image()], 32).compute()
    with pytest.raises(MissingVariableError, match="probability_map"):
        batx.credible_region(sums)
    found = batx.probability_map(sums)
    with pytest.raises(ValueRangeError, match="level"):
        batx.credible_region(found, 1.5)
