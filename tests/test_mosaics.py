"""Mosaics: sums over images, groups of times, partial sums on disk, merging."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from map_inputs import DAY, assert_same, on_sphere, sky_image, slow_sums

import batx
from batx import mosaics
from batx.errors import (
    BatxError,
    EmptySelectionError,
    KindError,
    MissingVariableError,
    ValueRangeError,
    WriteError,
)
from batx.met import to_met
from batx.schema import check
from batx.sky_grids import galactic_facets
from batx.sky_views import Sums

NSIDE = 32
SUMS = ("sum_w", "sum_wf", "exposure", "pcode_exposure", "n_images")


def fields(count: int = 6, **options) -> list[xr.Dataset]:
    """Overlapping fields along a great circle, a day apart."""
    return [
        sky_image(140.0 + 9 * i, 5.0 * i - 10, 30.0 * i, seed=i, start=DAY * i, exposure=100.0 + i, **options)
        for i in range(count)
    ]


def close(one: xr.Dataset, two: xr.Dataset, rtol: float = 1e-12) -> None:
    assert np.array_equal(one.cell_ids, two.cell_ids)
    for name in SUMS:
        scale = abs(two[name].values).max()
        np.testing.assert_allclose(one[name], two[name], rtol=rtol, atol=rtol * scale, err_msg=name)


# --- sums --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["after", "before"])
@pytest.mark.parametrize("memory", [64e6, 2e4])
def test_sums_are_those_of_the_formulae(weights: str, memory: float):
    images = fields()
    found = batx.mosaic(images, NSIDE, weights=weights, memory=memory)
    assert found.sum_w.chunks is not None and check(found) == []
    assert_same(found.compute(), slow_sums(images, NSIDE, before=weights == "before"))


def test_union_of_two_fields_is_covered():
    """BatAnalysis 2.1.0 covers the intersection: one field's NaN reaches every cell."""
    images = [sky_image(150.0, 0.0, seed=1, half=(0.6, 1.0)), sky_image(165.0, 0.0, seed=2, half=(0.6, 1.0))]
    single = [batx.to_healpix(image, NSIDE) for image in images]
    both = batx.finalize(batx.mosaic(images, NSIDE).compute())
    seen = [set(one.cell_ids.values[one.exposure.values > 0].tolist()) for one in single]
    covered = set(both.cell_ids.values[np.isfinite(both.flux.values).all(axis=0)].tolist())
    assert covered == seen[0] | seen[1]
    assert len(covered) > 1.2 * len(seen[0] & seen[1]) > 0


def test_a_steady_source_grows_with_the_root_of_the_number():
    image = [sky_image(seed=i, start=1000.0 * i) for i in range(16)]
    for one in image:
        one["noise"] = one.noise * 0 + 1.0
        one["rate"] = one.noise * 0 + 2.0
    one, many = (batx.finalize(batx.mosaic(image[:n], NSIDE).compute()).snr.max() for n in (1, 16))
    assert float(many / one) == pytest.approx(4.0, rel=1e-6)


def test_files_chunked_images_and_one_stack_give_the_same(tmp_path):
    images = fields(3)
    expected = batx.mosaic(images, NSIDE).compute()
    paths = [batx.to_netcdf(image, tmp_path / f"{i}.nc") for i, image in enumerate(images)]
    close(batx.mosaic(paths, NSIDE).compute(), expected)
    close(batx.mosaic((image.chunk() for image in images), NSIDE).compute(), expected)
    stack = xr.concat(
        images,
        "time",
        data_vars=["rate", "noise", "pcode", "exposure"],
        coords=["time", "time_bnds", "wcs"],
        compat="equals",
    )
    for one in (stack, stack.chunk(time=1)):
        found = batx.mosaic(one, NSIDE).compute()
        close(found, expected)
        assert found.image_id.values.tolist() == expected.image_id.values.tolist()
    close(batx.mosaic(batx.to_netcdf(stack, tmp_path / "stack.nc"), NSIDE).compute(), expected)


def test_fits_files(tmp_path):
    """Plain and gzipped, flux, noise and coding as extensions, as the tools write them."""
    from astropy.io import fits

    images = fields(3)
    expected = batx.mosaic(images, NSIDE).compute()
    paths = []
    for number, image in enumerate(images):
        header = fits.Header.fromstring(image.wcs.item(), sep="\n")
        header.update({"TELESCOP": "SWIFT", "EXPOSURE": float(image.exposure), "BUNIT": "count/s"})
        header.update({"TSTART": DAY * number, "TSTOP": DAY * number + 100 + number})
        hdus = []
        for name, variable in (("BAT_IMAGE", "rate"), ("BAT_VARMAP", "noise")):
            for band in range(3):
                hdu = fits.ImageHDU(image[variable].values[band], header, name=f"{name}_{band + 1}")
                hdu.header["E_MIN"], hdu.header["E_MAX"] = image.energy_bnds.values[band]
                hdus.append(hdu)
        hdus.append(fits.ImageHDU(image.pcode.values, header, name="BAT_PCODE"))
        paths.append(tmp_path / f"{number}.img{'.gz' if number == 1 else ''}")
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(paths[-1])
    found = batx.mosaic(paths, NSIDE)
    close(found.compute(), expected)
    with dask.config.set(scheduler="processes", num_workers=2):
        close(batx.mosaic(paths, NSIDE).compute(), expected)


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(mosaics, "add_image", lambda *arguments: calls.append(1))
    lazy = batx.finalize(batx.mosaic(fields(2), NSIDE))
    assert calls == [] and lazy.snr.chunks is not None


def test_large_sums_are_arrays_like_others():
    """Sums of a region have memory of their own, which goes back to the system when they are let go."""
    sums = Sums.zeros(8, 50_000)
    other = sums.copy()
    other.sum_w[3, 7] = 2.0
    other.n_images[:] += 1
    assert not any(array.any() for array in sums)
    assert [array.dtype for array in sums] == [array.dtype for array in Sums.zeros(1, 1)]
    again = pickle.loads(pickle.dumps(other))
    sums.add(again)
    sums.add(again, slice(None))
    assert sums.sum_w.sum() == 4.0 and (sums.n_images == 2).all()


def test_cuts_leave_images_out_and_say_why():
    images = fields(3)
    rows = {"chi2": np.full((3, 8), 0.9), "nbatdets": [1.0, 1.0, 1.0], "exposure": [300.0, 100.0, 300.0]}
    rows |= {"ra_pnt": [10.0] * 3, "dec_pnt": [60.0] * 3, "pa_pnt": [0.0] * 3}
    found = batx.mosaic(images, NSIDE, cuts=batx.pointing_cuts(rows)).compute()
    expected = slow_sums([images[0], images[2]], NSIDE)
    assert_same(found, expected)
    assert found.image_used.values.tolist() == [True, False, True]
    assert found.image_reason.values.tolist() == ["", "short", ""]
    assert_same(batx.mosaic(images, NSIDE, cuts=[True, False, True]).compute(), expected)
    with pytest.raises(ValueRangeError, match="bool for each of 3"):
        batx.mosaic(images, NSIDE, cuts=[True])
    with pytest.raises(EmptySelectionError, match="none of 3"):
        batx.mosaic(images, NSIDE, cuts=[False] * 3)


# --- FITS images -------------------------------------------------------------------------------------------


def zea(lon: float, lat: float, size: int, step: float, frame: str = "RA DEC") -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{name:-<4}-ZEA" for name in frame.split()]
    wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = [lon, lat], [-step, step], [size / 2 + 0.5] * 2
    wcs.array_shape = (size, size)
    return wcs


@pytest.mark.parametrize("memory", [64e6, 1e4])
def test_fits_grid(memory: float):
    images = [sky_image(150, 30, seed=1, dtype="f8"), sky_image(155, 33, seed=2, start=1e4, dtype="f8")]
    wcs = zea(152, 31, 40, 1.0)
    found = batx.mosaic(images, wcs=wcs, memory=memory, pcode_min=0.0).compute()
    assert check(found) == [] and found.sum_w.dims == ("energy", "y", "x")
    from scipy.ndimage import map_coordinates

    from batx.sky_coords import sky_to_pixel

    y, x = np.mgrid[:40, :40]
    lon, lat = wcs.all_pix2world(x, y, 0)
    exposure = np.zeros((40, 40))
    for image in images:
        px, py = sky_to_pixel(image, lon, lat)
        noise = map_coordinates(image.noise.values[0], [py, px], order=1, cval=np.nan)
        coded = map_coordinates((image.pcode.values > 0).astype(float), [py, px], order=1, cval=0)
        exposure += 300.0 * (np.isfinite(noise) & (coded > 1 - 1e-9))
    np.testing.assert_array_equal(found.exposure, exposure)
    assert WCS(found.wcs.item()).wcs.crval.tolist() == [152.0, 31.0]


def test_galactic_facets_cover_the_sky():
    facets = galactic_facets(180.0)
    found = batx.mosaic(fields(), wcs=facets).compute()
    assert found.sum_w.dims == ("energy", "facet", "y", "x") and found.wcs.dims == ("facet",)
    assert found.attrs["frame"] == "galactic"
    healpix = batx.mosaic(fields(), NSIDE).compute()
    # the same sky: solid angle of exposure, within the pixels of the edge (facets overlap a little)
    area = float((found.exposure > 0).sum()) * 9.0
    assert area > float((healpix.exposure > 0).sum()) * 41253 / (12 * NSIDE**2)
    standard = galactic_facets()
    assert [wcs.array_shape for wcs in standard] == [(1998, 1998)] * 6
    assert [tuple(wcs.wcs.crval) for wcs in standard[:3]] == [(90.0, 0.0), (0.0, 0.0), (270.0, 0.0)]


def test_fits_grids_that_are_refused():
    wcs = zea(150, 30, 10, 1.0)
    wcs.array_shape = None
    with pytest.raises(ValueRangeError, match="NAXIS1"):
        batx.mosaic(fields(1), wcs=wcs)
    with pytest.raises(ValueRangeError, match="frames"):
        batx.mosaic(fields(1), wcs=[zea(0, 0, 9, 1.0), zea(0, 0, 9, 1.0, "GLON GLAT")])
    with pytest.raises(ValueRangeError, match="RA and DEC"):
        batx.mosaic(fields(1), wcs=zea(0, 0, 9, 1.0, "ELON ELAT"))
    with pytest.raises(ValueRangeError, match="either nside"):
        batx.mosaic(fields(1))
    for size in (0, -5.0, float("nan"), 100.0):
        with pytest.raises(ValueRangeError, match="at least"):
            batx.mosaic(fields(1), 512, memory=size)
    with pytest.raises(ValueRangeError, match="at most 8192"):
        batx.mosaic(fields(1), 2**20)
    with pytest.raises(ValueRangeError, match="found list"):
        batx.mosaic(32, fields(1))


# --- groups of times ---------------------------------------------------------------------------------------


def months() -> list[xr.Dataset]:
    attrs = sky_image().attrs
    dates = ["2005-01-15T00:00:00", "2005-06-30T23:59:59", "2005-07-01T00:00:00", "2005-12-15T12:00:00"]
    return [
        sky_image(150 + 3 * i, seed=i, start=float(start), exposure=3000.0)
        for i, start in enumerate(to_met(dates, attrs))
    ]


def test_calendar_months_have_a_december():
    """BatAnalysis 2.1.0 drops all December data where the data end in December."""
    images = months()
    tree = batx.mosaic(images, NSIDE, time_bins="month").compute()
    groups = tree["groups"].to_dataset()
    assert groups.group.values.tolist() == ["2005-01", "2005-06", "2005-07", "2005-12"]
    assert_same(tree["total"].to_dataset(), slow_sums(images, NSIDE))
    for index, image in enumerate(images):  # a pointing across the end of a month belongs where it starts
        assert_same(groups.isel(time=index), slow_sums([image], NSIDE))
    assert np.array_equal(groups.member, np.eye(4, dtype=bool))
    assert check(groups) == []


def test_years_widths_edges_and_unions():
    images = months()
    years = batx.mosaic(images, NSIDE, time_bins="year")
    assert years["groups"].group.values.tolist() == ["2005"]
    close(years["groups"].to_dataset().isel(time=0).compute(), years["total"].to_dataset().compute())
    starts = [float(image.time_bnds[0]) for image in images]
    days = batx.mosaic(images, NSIDE, time_bins=30 * DAY)["groups"]
    assert days.member.values.sum(axis=1).tolist() == [1, 2, 1] or days.member.values.sum() == 4
    edges = batx.mosaic(images, NSIDE, time_bins=[starts[0], starts[1], starts[3]])["groups"]
    assert edges.member.values.tolist() == [[True, False, False, False], [False, True, True, False]]
    union = {
        "ends": [
            [starts[0], starts[0] + 1],
            [starts[3] - 10, starts[3] + 10],
            [starts[3] - 1, starts[3] + 1],
        ],
        "all": [starts[0], starts[3] + 1],
        "none": [0.0, 1.0],
    }
    tree = batx.mosaic(images, NSIDE, time_bins=union).compute()
    groups = tree["groups"].to_dataset()
    assert groups.group.values.tolist() == ["ends", "all", "none"]
    assert_same(groups.isel(time=0), slow_sums([images[0], images[3]], NSIDE))  # each once
    assert_same(groups.isel(time=1), slow_sums(images, NSIDE))
    assert float(groups.isel(time=2).exposure.max()) == 0
    assert_same(tree["total"].to_dataset(), slow_sums(images, NSIDE))


def test_groups_and_total_sample_each_image_once(monkeypatch):
    calls = []
    add = mosaics.add_image
    monkeypatch.setattr(
        mosaics, "add_image", lambda sums, view, *r: (calls.append(view.identity), add(sums, view, *r))
    )
    bins = {"a": [0.0, 3 * DAY], "b": [DAY, 5 * DAY]}
    with dask.config.set(scheduler="synchronous"):
        tree = batx.mosaic(fields(), NSIDE, time_bins=bins)
        dask.compute(tree["total"].to_dataset(), tree["groups"].to_dataset())
    assert len(calls) == 6 and len(set(calls)) == 6


def test_bins_that_are_refused():
    images = fields(2)
    for bins, says in (
        ("week", "'month', 'year'"),
        (-5.0, "positive"),
        ([5.0, 1.0], "start before stop"),
    ):
        with pytest.raises(ValueRangeError, match=says):
            batx.mosaic(images, NSIDE, time_bins=bins)
    undated = [image.drop_vars(["time", "time_bnds"]) for image in images]
    with pytest.raises(ValueRangeError, match="without a start"):
        batx.mosaic(undated, NSIDE, time_bins="month")


# --- merging -----------------------------------------------------------------------------------------------


def test_merge_is_the_mosaic_of_all():
    images = fields()
    parts = [batx.mosaic(images[a:b], NSIDE) for a, b in ((0, 1), (1, 4), (4, 6))]
    whole = batx.mosaic(images, NSIDE).compute()
    merged = batx.merge(*parts)
    assert merged.sum_w.chunks is not None and check(merged) == []
    close(merged.compute(), whole)
    assert sorted(merged.image_id.values) == sorted(whole.image_id.values)
    for one, two, three in permutations([part.compute() for part in parts]):
        close(batx.merge(one, batx.merge(two, three)), whole)
    a, b = (part.compute() for part in parts[:2])
    xr.testing.assert_equal(batx.merge(a, b), batx.merge(b, a))
    wcs = zea(160, 5, 30, 1.0)
    one, two = (batx.mosaic(some, wcs=wcs).compute() for some in (images[:2], images[2:]))
    np.testing.assert_allclose(
        batx.merge(one, two).sum_wf, batx.mosaic(images, wcs=wcs).sum_wf, rtol=1e-12, atol=1e-12
    )


values = st.floats(1e-3, 1e3)


@st.composite
def sparse_sums(draw, name: str):
    cells = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True).map(sorted))
    weights = draw(st.lists(values, min_size=len(cells), max_size=len(cells)))
    fluxes = draw(st.lists(st.floats(-1e3, 1e3), min_size=len(cells), max_size=len(cells)))
    grid = {"grid_mapping_name": "healpix", "refinement_level": 1, "indexing_scheme": "nested"}
    return batx.build(
        "mosaic",
        {
            "cell_ids": np.array(cells),
            "healpix": ((), np.int8(0), grid),
            "sum_w": ("cell", np.array(weights)),
            "sum_wf": ("cell", np.array(fluxes)),
            "exposure": ("cell", np.array(weights) * 2),
            "pcode_exposure": ("cell", np.array(weights)),
            "n_images": ("cell", np.ones(len(cells), np.int32)),
            "image_id": ("image", np.array([name], dtype=object)),
        },
    )


@settings(max_examples=60, deadline=None)
@given(a=sparse_sums("a"), b=sparse_sums("b"), c=sparse_sums("c"))
def test_merge_is_commutative_and_associative(a, b, c):
    xr.testing.assert_equal(batx.merge(a, b), batx.merge(b, a))
    close(batx.merge(batx.merge(a, b), c), batx.merge(a, batx.merge(b, c)))


def test_trees_of_groups_are_merged():
    """Months of which only one mosaic has images keep their sums; those of both are added."""
    images = [*months(), sky_image(160.0, seed=9, start=float(months()[1].time_bnds[0]) - DAY)]
    whole = batx.mosaic(images, NSIDE, time_bins="month").compute()
    parts = [batx.mosaic(some, NSIDE, time_bins="month") for some in (images[:2], images[2:])]
    merged = batx.merge(*parts)
    assert merged["groups"].group.values.tolist() == ["2005-01", "2005-06", "2005-07", "2005-12"]
    assert merged["groups"].sum_w.chunks is not None
    for one, two in (parts, parts[::-1]):
        found = one.bat.merge(two).compute()
        for node in ("total", "groups"):
            close(found[node].to_dataset(), whole[node].to_dataset())
            assert check(found[node].to_dataset()) == []
    found = found.isel(image=np.argsort(found["groups"].image_start.values, kind="stable"))
    order = np.argsort(whole["groups"].image_start.values, kind="stable")
    assert np.array_equal(found["groups"].member, whole["groups"].member.values[:, order])
    final = merged.bat.finalize(energy="all").compute()
    expected = batx.finalize(whole["groups"].to_dataset(), energy="all")
    np.testing.assert_allclose(final["groups"].snr, expected.snr, rtol=1e-12)

    alike = [batx.mosaic([image], NSIDE, time_bins=[0.0, 1e9 + i]) for i, image in enumerate(images[:2])]
    with pytest.raises(ValueRangeError, match="other bounds"):
        batx.merge(*alike)
    with pytest.raises(ValueRangeError, match="both or neither"):
        batx.merge(parts[0]["groups"].to_dataset(), parts[1]["total"].to_dataset())
    with pytest.raises(KindError, match="same nodes"):
        batx.merge(parts[0], parts[1]["total"].to_dataset())


def test_mosaics_that_do_not_add_up():
    images = fields(3)
    one, two = (batx.mosaic([image], NSIDE) for image in images[:2])
    with pytest.raises(ValueRangeError, match="count twice"):
        batx.merge(batx.merge(one, two), one)
    with pytest.raises(ValueRangeError, match="grids"):
        batx.merge(one, batx.mosaic([images[1]], 16))
    with pytest.raises(ValueRangeError, match="frame"):
        batx.merge(one, batx.mosaic([images[1]], NSIDE, frame="galactic"))
    with pytest.raises(ValueRangeError, match="energy_bnds"):
        batx.merge(one, batx.mosaic([sky_image(bands=2)], NSIDE))
    with pytest.raises(KindError, match="FITS images"):
        batx.merge(one, batx.mosaic([images[1]], wcs=zea(150, 30, 10, 1.0)))
    with pytest.raises(KindError, match="mosaic"):
        batx.merge(one, images[0])
    with pytest.raises(MissingVariableError, match="sum_w"):
        batx.merge(batx.finalize(one, energy="all"), two)


# --- finalize ----------------------------------------------------------------------------------------------


def test_finalize_divides_and_never_adds_significances():
    images = fields(3)
    sums = batx.mosaic(images, NSIDE).compute()
    final = batx.finalize(sums)
    seen = sums.sum_w.values > 0
    np.testing.assert_allclose(
        final.flux.values[seen], (sums.sum_wf.values / np.where(seen, sums.sum_w, 1))[seen]
    )
    np.testing.assert_allclose(final.snr.values[seen], (sums.sum_wf / np.sqrt(sums.sum_w)).values[seen])
    assert np.isnan(final.flux.values[~seen]).all() and check(final) == []
    wide = batx.finalize(sums, energy="all")
    np.testing.assert_allclose(wide.flux[0], final.flux.sum("energy", skipna=False))
    np.testing.assert_allclose(wide.flux_err[0] ** 2, (final.flux_err**2).sum("energy", skipna=False))
    assert wide.energy_bnds.values.tolist() == [[14.0, 195.0]] and check(wide) == []
    xr.testing.assert_identical(batx.finalize(final, energy="all"), wide)  # what was divided is divided anew
    two = batx.finalize(sums, energy=[14, 50, 195])
    assert two.sizes["energy"] == 2
    noise = wide.snr.values[np.isfinite(wide.snr.values)]
    assert abs(noise.mean()) < 0.2 and 0.5 < noise.std() < 1.0  # bilinear samples are smoother than pixels
    extra = batx.mosaic(images, NSIDE, energy_sum=True)
    np.testing.assert_allclose(batx.finalize(extra, energy="all").flux.compute(), wide.flux)
    for bad in ([14, 30], [50, 14], [0, 500], 3.0, "most"):
        with pytest.raises(ValueRangeError, match="energy"):
            batx.finalize(sums, energy=bad)


def test_bands_that_do_not_add_up():
    sums = batx.mosaic(fields(1), NSIDE).compute()
    gap, overlap = sums.isel(energy=[0, 2]), sums.copy(deep=True)
    with pytest.raises(ValueRangeError, match="whole bands"):
        batx.finalize(gap, energy=[14, 195])
    assert batx.finalize(gap, energy="all").energy_bnds.values.tolist() == [[14.0, 195.0]]  # what there is
    overlap.energy_bnds.values[1, 0] = 20.0
    for energy in ("all", [14, 195]):
        with pytest.raises(ValueRangeError, match="whole bands"):
            batx.finalize(overlap, energy=energy)


# --- partial sums on disk ----------------------------------------------------------------------------------


def count_samples(monkeypatch) -> list[str]:
    calls: list[str] = []
    add = mosaics.add_image

    def counted(sums, view, *rest):
        calls.append(view.identity)
        add(sums, view, *rest)

    monkeypatch.setattr(mosaics, "add_image", counted)
    return calls


@pytest.mark.parametrize("memory", [64e6, 1e5])
def test_partial_sums_are_files_that_are_used_again(tmp_path, monkeypatch, memory: float):
    images = fields()
    expected = batx.mosaic(images, NSIDE).compute()
    calls = count_samples(monkeypatch)
    first = batx.mosaic(images[:4], NSIDE, path=tmp_path / "sums", memory=memory).compute()
    made = len(calls)
    close(first, batx.mosaic(images[:4], NSIDE).compute())
    calls.clear()
    close(batx.mosaic(images[:4], NSIDE, path=tmp_path / "sums", memory=memory).compute(), first)
    assert calls == []  # nothing again
    close(batx.mosaic(images, NSIDE, path=tmp_path / "sums", memory=memory).compute(), expected)
    assert {identity.split()[1] for identity in calls} == {f"{4 * DAY:.6f}", f"{5 * DAY:.6f}"}
    assert made >= 4
    left = list((tmp_path / "sums").glob("*.zarr"))
    regions = {path.name[:5] for path in left}
    assert len(left) == len(regions)  # one file a region
    part = xr.open_zarr(left[0], consolidated=False)
    assert len(part.image_id) <= 6 and part.sum_w.dims == ("energy", "cell")


def test_groups_on_disk(tmp_path):
    images = fields()
    bins = {"a": [0.0, 3 * DAY], "b": [DAY, 5 * DAY]}
    expected = batx.mosaic(images, NSIDE, time_bins=bins).compute()
    for _ in range(2):
        found = batx.mosaic(images, NSIDE, time_bins=bins, path=tmp_path / "sums").compute()
        for node in ("total", "groups"):
            close(found[node].to_dataset(), expected[node].to_dataset())
    with pytest.raises(ValueRangeError, match="one time group"):
        batx.mosaic(images, NSIDE, time_bins={"a": [0.0, 2 * DAY]}, path=tmp_path / "sums")


def test_folders_that_do_not_fit(tmp_path):
    images = fields(3)
    batx.mosaic(images, NSIDE, path=tmp_path / "sums").compute()
    with pytest.raises(ValueRangeError, match="nside"):
        batx.mosaic(images, 16, path=tmp_path / "sums")
    with pytest.raises(ValueRangeError, match="pcode_min, weights"):
        batx.mosaic(images, NSIDE, pcode_min=0.5, weights="before", path=tmp_path / "sums")
    with pytest.raises(ValueRangeError, match="image"):
        batx.mosaic(images[:2], NSIDE, path=tmp_path / "sums")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match="no folder of partial sums"):
        batx.mosaic(images, NSIDE, path=tmp_path / "other")


RUN = """
import sys, time
import dask
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_mosaics import fields
import batx
from batx import mosaics

log, add = Path({log!r}), mosaics.add_image

def slow(sums, view, *rest):
    time.sleep(0.05)
    add(sums, view, *rest)
    with log.open("a") as file:
        file.write(view.identity + "\\n")

mosaics.add_image = slow
with dask.config.set(scheduler="synchronous"):
    batx.mosaic(fields(20), 32, path={path!r}).compute()
"""


def test_an_interrupted_sum_is_the_same_to_the_last_bit(tmp_path, monkeypatch):
    """Images are added in the order in which they would have been, in batches and sums of batches."""
    images = fields(40)
    with dask.config.set(scheduler="synchronous"):
        whole = batx.mosaic(images, 16, path=tmp_path / "whole").compute()
        add, seen = mosaics.add_image, []

        def stopped(*arguments):
            seen.append(1)
            if len(seen) in (21, 38):
                raise KeyboardInterrupt
            add(*arguments)

        monkeypatch.setattr(mosaics, "add_image", stopped)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                batx.mosaic(images, 16, path=tmp_path / "sums").compute()
        found = batx.mosaic(images, 16, path=tmp_path / "sums").compute()
    assert len(seen) == len(images) + 2
    for name in ("sum_w", "sum_wf", "exposure", "n_images"):
        np.testing.assert_array_equal(found[name], whole[name])


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    log, path = tmp_path / "log", tmp_path / "sums"
    code = RUN.format(tests=str(Path(__file__).parent), log=str(log), path=str(path))
    run = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 18):
        assert run.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = log.read_text().splitlines()
    assert 18 <= len(done) < 20
    calls = count_samples(monkeypatch)
    with dask.config.set(scheduler="synchronous"):
        found = batx.mosaic(fields(20), NSIDE, path=path).compute()
    # the one that was being written when the run was killed may be done again, no other
    assert len(set(calls) & set(done[:-1])) == 0 and 20 - len(done) <= len(calls) <= 21 - len(done)
    monkeypatch.undo()
    close(found, batx.mosaic(fields(20), NSIDE).compute())
    assert not list(path.glob(".*"))


# --- schedulers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_schedulers_agree(tmp_path, scheduler: str):
    images = fields()
    expected = batx.mosaic(images, NSIDE).compute(scheduler="synchronous")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        close(batx.mosaic(images, NSIDE, memory=1e5).compute(), expected)
        close(batx.mosaic(images, NSIDE, path=tmp_path / "sums").compute(), expected)


def test_distributed_with_a_worker_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    images = fields(20)
    expected = batx.mosaic(images, NSIDE).compute(scheduler="synchronous")
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        close(batx.mosaic(images, NSIDE, memory=1e5).compute(), expected)
        lazy = batx.mosaic(images, NSIDE, memory=1e5, path=tmp_path / "sums").persist()
        pids = list(client.run(lambda: __import__("os").getpid()).values())
        signal_pid(pids[0])
        close(lazy.compute(), expected)


def signal_pid(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "images", "says"),
    [
        (EmptySelectionError, lambda: [], "no image"),
        (ValueRangeError, lambda: [sky_image(), sky_image()], "count twice"),
        (ValueRangeError, lambda: [sky_image(), sky_image(bands=2, start=1e4)], "same bands"),
        (ValueRangeError, lambda: [sky_image(), sky_image(start=1e4, shape=(30, 30))], "one geometry"),
        (ValueRangeError, lambda: [sky_image(), per_area(sky_image(start=1e4))], "one unit"),
        (KindError, lambda: [sky_image(), sky_image().rename(imx="u")], "sky_image"),
        (KindError, lambda: 5, "sequence"),
        (KindError, lambda: xr.DataTree(), "DataTree"),
    ],
)
def test_images_that_do_not_go_together(error: type[BatxError], images, says: str):
    with pytest.raises(error, match=says):
        batx.mosaic(images(), NSIDE)


def per_area(image: xr.Dataset) -> xr.Dataset:
    image["rate"].attrs["units"] = "count/s/cm**2"
    return image


def test_images_of_other_sizes_add_up():
    images = [sky_image(), sky_image(152.0, start=1e4).isel(imx=slice(3, 30), imy=slice(10, 24))]
    assert_same(batx.mosaic(images, NSIDE).compute(), slow_sums(images, NSIDE))
    with pytest.raises(ValueRangeError, match="off_axis"):
        batx.mosaic(images, NSIDE, off_axis=np.ones((3, 24, 40)))


def test_time_and_kind_survive_files(tmp_path):
    tree = batx.mosaic(months(), NSIDE, time_bins="month").compute()
    path = batx.to_netcdf(tree, tmp_path / "months.nc")
    back = batx.open_datatree(path).load()
    assert float(abs(on_sphere(back["total"].to_dataset(), "sum_w")).sum()) > 0
    assert back["groups"].to_dataset().bat.kind == "mosaic"
