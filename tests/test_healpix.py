"""One sky image on HEALPix cells."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
import xarray as xr
from map_inputs import assert_same, on_sphere, sky_image, slow_sums

import batx
from batx.errors import (
    AttitudeError,
    BatxError,
    EmptySelectionError,
    KindError,
    MissingVariableError,
    ValueRangeError,
)
from batx.schema import check
from batx.sky_coords import sky_to_pixel

NSIDE = 64


@pytest.mark.parametrize("weights", ["after", "before"])
@pytest.mark.parametrize(("order", "frame"), [("nested", "icrs"), ("ring", "galactic")])
def test_sums_are_those_of_the_formulae(weights: str, order: str, frame: str):
    image = sky_image()
    found = batx.to_healpix(image, NSIDE, frame, order=order, weights=weights)
    expected = slow_sums(
        [image], NSIDE, nest=order == "nested", galactic=frame == "galactic", before=weights == "before"
    )
    assert_same(found, expected, rtol=1e-6 if frame == "galactic" else 1e-9)
    assert check(found) == []
    assert found.attrs["frame"] == frame


def test_a_linear_map_is_reproduced():
    image = sky_image(dtype="f8")
    x, y = np.arange(image.sizes["imx"]), np.arange(image.sizes["imy"])[:, None]
    image["rate"] = (("energy", "imy", "imx"), np.stack([2 + 0.3 * x - 0.7 * y] * 3), {"units": "count/s"})
    image["noise"] = (("energy", "imy", "imx"), np.stack([5 + 0.1 * x + 0.2 * y] * 3), {"units": "count/s"})
    sums = batx.to_healpix(image, 256, pcode_min=0.0)
    final = batx.finalize(sums)
    lon, lat = healpy.pix2ang(256, sums.cell_ids.values, nest=True, lonlat=True)
    x, y = sky_to_pixel(image, lon, lat)
    seen = sums.n_images.values > 0
    assert seen.sum() > 5000
    np.testing.assert_allclose(final.flux.values[0, seen], (2 + 0.3 * x - 0.7 * y)[seen], rtol=0, atol=1e-10)
    np.testing.assert_allclose(final.flux_err.values[0, seen], (5 + 0.1 * x + 0.2 * y)[seen], rtol=1e-12)


def test_only_cells_in_view_are_kept_and_all_of_them():
    image = sky_image()
    sums = batx.to_healpix(image, NSIDE)
    lon, lat = healpy.pix2ang(NSIDE, np.arange(12 * NSIDE**2), nest=True, lonlat=True)
    x, y = sky_to_pixel(image, lon, lat)
    inside = (x >= 0) & (x <= image.sizes["imx"] - 1) & (y >= 0) & (y <= image.sizes["imy"] - 1)
    assert np.array_equal(sums.cell_ids.values, np.flatnonzero(inside))


def test_pole_and_zero_of_right_ascension():
    for ra, dec in ((0.0, 90.0), (359.9, -89.0), (0.0, 0.0)):
        image = sky_image(ra, dec)
        assert_same(batx.to_healpix(image, 32), slow_sums([image], 32))


@pytest.mark.parametrize("weights", ["after", "before"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_pixels_poison_nothing(weights: str, bad: float):
    clean, dirty = sky_image(), sky_image()
    rng = np.random.default_rng(5)
    holes = rng.random((24, 40)) < 0.05
    dirty["rate"].values[:, holes] = bad
    dirty["noise"].values[0, ::7, ::5] = bad
    dirty["noise"].values[1, ::7, ::5] = 0.0
    dirty["noise"].values[2, 3, :] = -1.0
    dirty["pcode"].values[10, 10:20] = np.nan
    sums = batx.to_healpix(dirty, NSIDE, weights=weights)
    assert all(np.isfinite(sums[name]).all() for name in ("sum_w", "sum_wf", "exposure", "pcode_exposure"))
    assert_same(sums, slow_sums([dirty], NSIDE, before=weights == "before"))
    # what no bad pixel touches is as it was
    whole = batx.to_healpix(clean, NSIDE, weights=weights)
    same = np.isclose(sums.sum_w, whole.sum_w, rtol=1e-13, atol=0)
    assert same.mean() > 0.4
    np.testing.assert_array_equal(sums.sum_wf.values[same], whole.sum_wf.values[same])


@pytest.mark.parametrize("weights", ["after", "before"])
def test_garbage_at_low_coding_stays_out(weights: str):
    image, wild = sky_image(), sky_image()
    low = image.pcode.values <= 0.3
    wild["rate"].values[:, low] = 1e30
    wild["noise"].values[:, low] = 1e-30
    one, two = (batx.to_healpix(img, NSIDE, pcode_min=0.3, weights=weights) for img in (image, wild))
    xr.testing.assert_identical(one, two)


def test_floor_of_coding_is_that_asked_for():
    image = sky_image()
    area = [float((batx.to_healpix(image, NSIDE, pcode_min=p).exposure > 0).sum()) for p in (0.01, 0.15, 0.6)]
    assert area[0] > area[1] > area[2] > 0
    bare = image.drop_vars("pcode")
    every = batx.to_healpix(bare, NSIDE, pcode_min=None)
    assert (every.exposure == 300).all() and np.allclose(every.pcode_exposure, 300)


def test_ring_and_nested_hold_the_same_values():
    image = sky_image()
    ring, nested = (batx.to_healpix(image, NSIDE, order=order) for order in ("ring", "nested"))
    in_ring = healpy.nest2ring(NSIDE, nested.cell_ids.values)
    assert np.array_equal(np.sort(in_ring), ring.cell_ids.values)
    np.testing.assert_allclose(
        on_sphere(nested, "sum_wf")[:, nested.cell_ids], on_sphere(ring, "sum_wf")[:, in_ring], rtol=1e-10
    )
    odd = batx.to_healpix(image, 50, order="ring")
    assert_same(odd, slow_sums([image], 50, nest=False))
    assert "refinement_level" not in odd.healpix.attrs and odd.attrs["nside"] == 50


def test_energy_sum_adds_flux_and_variance():
    image = sky_image()
    image["rate"].values[1, 5, 5] = np.nan
    found = batx.to_healpix(image, NSIDE, energy_sum=True)
    total = image.isel(energy=[0]).assign(
        rate=image.rate.astype("f8").sum("energy", skipna=False).expand_dims("energy"),
        noise=np.sqrt((image.noise.astype("f8") ** 2).sum("energy")).expand_dims("energy"),
    )
    expected = slow_sums([total], NSIDE)
    np.testing.assert_allclose(on_sphere(found, "sum_w")[-1], expected["sum_w"][0], rtol=1e-9)
    np.testing.assert_allclose(on_sphere(found, "sum_wf")[-1], expected["sum_wf"][0], rtol=1e-9, atol=1e-9)
    assert found.energy_bnds.values[-1].tolist() == [14.0, 195.0]


def test_off_axis_correction():
    image = sky_image()
    factor = np.random.default_rng(2).uniform(0.5, 3.0, image.rate.shape).astype("f4")
    found = batx.to_healpix(image, NSIDE, off_axis=factor)
    by_hand = image.assign(
        rate=(image.rate.dims, image.rate.values.astype("f8") / factor, {"units": "count/s"}),
        noise=(image.rate.dims, image.noise.values.astype("f8") / factor, {"units": "count/s"}),
    )
    assert_same(found, slow_sums([by_hand], NSIDE))
    # means over blocks: a map linear in the pixels comes back away from the edges
    pixels = 1.0 + 0.01 * np.arange(40) + 0.02 * np.arange(24)[:, None]
    blocks = pixels.reshape(6, 4, 10, 4).mean(axis=(1, 3))
    fine, coarse = (
        batx.to_healpix(image, NSIDE, off_axis=np.stack([one] * 3), pcode_min=0.5) for one in (pixels, blocks)
    )
    np.testing.assert_allclose(coarse.sum_w, fine.sum_w, rtol=1e-5)


def test_survey_off_axis_correction(shared):
    correction = batx.open_dataset(shared / "data/survey/offaxis_correction_8band_block4.fits.gz")
    image = sky_image(shape=(954, 1760), half=(0.9, 1.8), bands=1)
    found = batx.finalize(batx.to_healpix(image, 32, off_axis=correction.isel(energy=[0])))
    assert np.isfinite(found.flux).sum() > 500


def test_times_are_sampled_each_on_its_own():
    one, two = sky_image(start=0.0), sky_image(ra=158.0, start=1000.0, seed=1)
    stack = xr.concat(
        [one, two],
        "time",
        data_vars=["rate", "noise", "pcode", "exposure"],
        coords=["time", "time_bnds", "wcs"],
        compat="equals",
    )
    assert stack.wcs.dims == ("time",)
    sums = batx.to_healpix(stack, NSIDE)
    assert sums.sum_w.dims == ("time", "energy", "cell")
    for index, image in enumerate((one, two)):
        assert_same(sums.isel(time=index), slow_sums([image], NSIDE))
    lazy = batx.to_healpix(stack.chunk(time=1), NSIDE)
    assert lazy.sum_w.chunks is not None
    xr.testing.assert_equal(lazy.compute(), sums)


def test_an_image_without_bands():
    image = sky_image()
    sums = batx.to_healpix(image.isel(energy=1), NSIDE)
    assert sums.sum_w.dims == ("cell",) and float(sums.energy) == 37.0 and check(sums) == []
    expected = slow_sums([image.isel(energy=[1])], NSIDE)
    np.testing.assert_allclose(on_sphere(sums, "sum_wf"), expected["sum_wf"][0], rtol=1e-9, atol=1e-9)
    assert batx.finalize(sums).snr.dims == ("cell",)


def test_counts_become_rates():
    image = sky_image()
    counts = image.drop_vars(["rate", "noise"]).assign(
        counts=(image.rate * 300).assign_attrs(units="count"),
        noise=(image.noise * 300).assign_attrs(units="count"),
    )
    expected = batx.to_healpix(image, NSIDE)
    xr.testing.assert_allclose(batx.to_healpix(counts, NSIDE), expected, rtol=1e-5)


def test_reference_image(heasoft):
    """The tool's own files: a source in the flux image keeps its place and its flux."""
    image = batx.open_dataset(heasoft / "img" / "burst_allbits.img.gz")
    noise = batx.open_dataset(heasoft / "img" / "burst_allbits.var.gz")["noise"]
    pcode = batx.open_dataset(heasoft / "img" / "burst.pcode.gz")["pcode"]
    full = image.assign(
        noise=(image.counts.dims, noise.values.reshape(image.counts.shape), noise.attrs),
        pcode=(("imy", "imx"), np.squeeze(pcode.values)),
    )
    final = batx.finalize(batx.to_healpix(full, 512, pcode_min=0.05)).isel(time=0, energy=0)
    best = int(np.nanargmax(final.snr.values))
    ra, dec = healpy.pix2ang(512, int(final.cell_ids[best]), nest=True, lonlat=True)
    true = image.attrs["bat_ra"], image.attrs["bat_dec"]
    assert healpy.rotator.angdist((ra, dec), true, lonlat=True) < np.deg2rad(5 / 60)
    peak = float(image.counts.max()) / 25.0
    assert 0.85 * peak < float(final.flux[best]) <= peak * 1.0001


@pytest.mark.parametrize(
    ("error", "change", "options", "says"),
    [
        (ValueRangeError, None, {"nside": 100}, "power of two"),
        (ValueRangeError, None, {"nside": 0}, "positive"),
        (ValueRangeError, None, {"nside": 64, "order": "spiral"}, "'nested' or 'ring'"),
        (ValueRangeError, None, {"nside": 64, "frame": "fk4"}, "icrs"),
        (ValueRangeError, None, {"nside": 64, "weights": "during"}, "'after' or 'before'"),
        (ValueRangeError, None, {"nside": 64, "pcode_min": 1.5}, "0 to 1"),
        (ValueRangeError, None, {"nside": 64, "off_axis": np.ones((3, 7, 9))}, "planes of"),
        (ValueRangeError, None, {"nside": 64, "off_axis": np.ones((2, 24, 40))}, "3 plane"),
        (EmptySelectionError, lambda ds: ds.assign(rate=ds.rate * np.nan), {"nside": 64}, "has data"),
        (MissingVariableError, lambda ds: ds.drop_vars("noise"), {"nside": 64}, "noise"),
        (MissingVariableError, lambda ds: ds.drop_vars("pcode"), {"nside": 64}, "pcode_min=None"),
        (MissingVariableError, lambda ds: ds.drop_vars("exposure"), {"nside": 64}, "exposure"),
        (MissingVariableError, lambda ds: ds.drop_vars("wcs"), {"nside": 64}, "wcs"),
        (MissingVariableError, lambda ds: ds.drop_vars("rate"), {"nside": 64}, "rate"),
        (ValueRangeError, lambda ds: ds.assign(exposure=0.0), {"nside": 64}, "exposure"),
        (ValueRangeError, lambda ds: ds.isel(imx=[0]), {"nside": 64}, "2 x 2"),
        (ValueRangeError, lambda ds: ds.isel(imx=[0, 1, 5]), {"nside": 64}, "evenly"),
        (AttitudeError, lambda ds: ds.assign_coords(wcs="CTYPE1  = 'IMX     '"), {"nside": 64}, "RA---TAN"),
        (KindError, lambda ds: ds.rename(imx="u"), {"nside": 64}, "sky_image"),
        (KindError, lambda ds: ds.rate, {"nside": 64}, "DataArray"),
    ],
)
def test_what_is_refused(error: type[BatxError], change, options: dict, says: str):
    image = sky_image()
    with pytest.raises(error, match=says):
        batx.to_healpix(image if change is None else change(image), **options)


def test_metadata_is_that_of_cf():
    sums = batx.to_healpix(sky_image(), NSIDE)
    grid = {"grid_mapping_name": "healpix", "refinement_level": 6, "indexing_scheme": "nested"}
    assert sums.healpix.attrs == grid
    assert sums.sum_w.attrs["grid_mapping"] == "healpix"
    assert sums.cell_ids.attrs["standard_name"] == "healpix_index"
    assert sums.attrs["utcf"] == -20.0 and sums.attrs["tstart"] == 0.0 and sums.attrs["tstop"] == 300.0


def test_round_trips(tmp_path):
    sums = batx.to_healpix(sky_image(), NSIDE)
    for write, name in ((batx.to_netcdf, "a.nc"), (batx.to_zarr, "a.zarr")):
        xr.testing.assert_identical(batx.open_dataset(write(sums, tmp_path / name)).load(), sums)


def test_xdggs_reads_it():
    xdggs = pytest.importorskip("xdggs")
    decoded = xdggs.decode(batx.to_healpix(sky_image(), NSIDE), convention="cf")
    assert decoded.dggs.grid_info.level == 6
