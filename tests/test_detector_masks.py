"""Detector masks: combination, and hot pixels as bathotpix finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_events import SHAPE, folder_mask, packed_arrays, unpacked_mask

import batx
from batx.detector_masks import COLD, GAP, HOT, MASKED
from batx.errors import KindError, ValueRangeError
from batx.instrument.detector import DETECTOR
from batx.schema import build

#: reference file -> (image, with the input mask, options)
RUNS = {
    "hot_default": ("all_1b", True, {}),
    "hot_nodm": ("all_1b", False, {}),
    "hot_burst": (
        "burst_1b",
        True,
        {"keep_fraction": 0.9, "guard_fraction": 0.1, "guard_value": 1, "zero_threshold": 1.0},
    ),
}


@pytest.fixture(scope="module")
def packed():
    return packed_arrays()


def plane_of(counts):
    values = (("dety", "detx"), np.asarray(counts), {"units": "count"})
    return build("detector_plane", {"counts": values, "exposure": ((), 10.0)})


def new_quality(mask):
    """Return 1 cold, 2 hot, 0 for all others."""
    return np.where(np.isin(mask.quality, (COLD, HOT)), mask.quality, 0)


@pytest.mark.parametrize("name", ["hot_default", "hot_burst"])
def test_packed(packed, name):
    image, _, options = RUNS[name]
    mask = batx.hot_pixels(plane_of(packed[image]), unpacked_mask(packed["detector_mask"]), **options)
    np.testing.assert_array_equal(mask.good, unpacked_mask(packed[f"{name}/good"]))
    np.testing.assert_array_equal(new_quality(mask), packed[f"{name}/quality"])


@pytest.mark.parametrize("name", RUNS)
def test_folder(heasoft, name):
    from astropy.io import fits

    image, masked, options = RUNS[name]
    plane = plane_of(fits.getdata(heasoft / f"dpi/{image}.dpi.gz", 0).astype("f4"))
    mask = batx.hot_pixels(plane, folder_mask(heasoft) if masked else None, **options)
    with fits.open(heasoft / f"hotpix/{name}.mask.gz") as hdus:
        header, table = hdus[0].header, hdus["BADPIX"].data
        np.testing.assert_array_equal(mask.good, hdus[0].data == header["GOODVAL"])
        quality = np.zeros(SHAPE, int)
        quality[table["DETY"], table["DETX"]] = table["QUALITY"]
        np.testing.assert_array_equal(new_quality(mask), quality)
        counts = plane.counts.values[table["DETY"], table["DETX"]]
        np.testing.assert_array_equal(counts, table["COUNTS"])
        found = (mask.attrs["n_good"], mask.attrs["n_hot"], mask.attrs["n_cold"])
        assert found == (header["NGOODPIX"], header["NHOTPIX"], header["NCOLDPIX"])
        assert int(np.isin(mask.quality, (MASKED, GAP)).sum()) == header["NDISPIX"]


def test_real_image(shared):
    from astropy.io import fits

    plane = plane_of(fits.getdata(shared / "data/dpis/grb_00519256000_batbinevt.dpi", 0).astype("f4"))
    mask = batx.hot_pixels(plane)
    with fits.open(shared / "reference/heasoft/real/grb_00519256000_hot.mask.gz") as hdus:
        np.testing.assert_array_equal(mask.good, hdus[0].data == hdus[0].header["GOODVAL"])


def test_planes_are_summed(packed):
    counts = packed["all_1b"].astype(np.int64)
    parts = np.stack([counts // 3, counts - counts // 3])
    dims = ("energy", "dety", "detx")
    cube = build(
        "detector_plane",
        {
            "counts": (dims, parts),
            "energy": [20.0, 60.0],
            "energy_bnds": (("energy", "bnds"), [[15.0, 25.0], [25.0, 95.0]]),
            "exposure": ((), 10.0),
        },
    )
    rate = cube.assign(rate=(dims, parts / 10.0, {"units": "count/s"})).drop_vars("counts")
    expected = batx.hot_pixels(plane_of(counts))
    np.testing.assert_array_equal(batx.hot_pixels(cube).quality, expected.quality)
    np.testing.assert_array_equal(batx.hot_pixels(rate).n_good, expected.n_good)


def test_few_counts_are_all_good():
    assert batx.hot_pixels(plane_of(np.ones(SHAPE, int))).good.sum() == 32768


@given(seed=st.integers(0, 1000), n_hot=st.integers(0, 30))
@settings(max_examples=10, deadline=None)
def test_planted_hot_detectors_are_found(seed, n_hot):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(60, SHAPE).clip(30, 90)
    rows, columns = np.nonzero(DETECTOR)
    chosen = rng.choice(rows.size, n_hot, replace=False)
    counts[rows[chosen], columns[chosen]] = 1000
    mask = batx.hot_pixels(plane_of(counts))
    hot = np.zeros(SHAPE, bool)
    hot[rows[chosen], columns[chosen]] = True
    np.testing.assert_array_equal(mask.quality == HOT, hot)
    assert not mask.good.values[~DETECTOR].any()


def test_combine_masks(packed):
    first = unpacked_mask(packed["detector_mask"])
    second = np.ones(SHAPE, bool)
    second[:20] = False
    mask = batx.combine_masks(build("detector_mask", {"good": first}), second, ~np.zeros(SHAPE, bool))
    np.testing.assert_array_equal(mask.good, first & second & DETECTOR)
    assert mask.bat.check() == []
    enabled = build("detector_table", {"enabled": (("dety", "detx"), second, {"units": "1"})})
    np.testing.assert_array_equal(batx.combine_masks(enabled).good, second & DETECTOR)


def test_bad_input():
    with pytest.raises(ValueRangeError, match="no masks"):
        batx.combine_masks()
    with pytest.raises(ValueRangeError, match="mask 1"):
        batx.combine_masks(np.ones(SHAPE, bool), np.ones((2, 2), bool))
    with pytest.raises(KindError, match="detector_mask"):
        batx.combine_masks(plane_of(np.ones(SHAPE)))
    with pytest.raises(KindError, match="hot_pixels"):
        batx.hot_pixels(build("detector_mask", {"good": np.ones(SHAPE, bool)}))
    with pytest.raises(ValueRangeError, match="keep_fraction"):
        batx.hot_pixels(plane_of(np.ones(SHAPE)), keep_fraction=0)
    with pytest.raises(ValueRangeError, match="shape"):
        batx.hot_pixels(plane_of(np.ones((4, 4))))
