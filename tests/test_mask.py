"""The shadow of the mask and detector weights: reference images, an independent ray tracer, conservation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import weight_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from batx.errors import PositionError, ValueRangeError
from batx.instrument.detector import DETECTOR, NX, NY
from batx.instrument.mask import (
    FAR,
    MaskGeometry,
    illumination,
    parse_corrections,
    weight_map,
    weight_normalisation,
)
from batx.instrument.sky import theta_phi_to_tangent

#: keywords of a flight mask (497 x 253 cells)
FLIGHT = {
    "maskbatz": 100.3,
    "maskoffx": -0.145,
    "maskoffy": 0.114,
    "maskoffz": 0.05,
    "maskcell0x": -124.25,
    "maskcell0y": -63.25,
}

PLACES = {"onaxis": (0.0, 0.0), "src": (0.25, 0.10), "part": (-1.0, 0.45), "far": (1.5, -0.6)}
KINDS = {
    "default": ("default", True, True),
    "nodetmask": ("default", True, False),
    "none_noreb": ("none", False, True),
    "forward_unbal": ("forward,unbalanced,flatfield", False, True),
}


def far(imx: float, imy: float) -> tuple[float, float, float]:
    return imx * FAR, imy * FAR, FAR


def cases() -> dict[str, tuple]:
    """Source, corrections, rebalance, with detector mask, of each reference weight image."""
    table: dict[str, tuple] = {
        f"mwimg_{place}/mw_{kind}": (far(*position), *options)
        for place, position in PLACES.items()
        for kind, options in KINDS.items()
    }
    table["mwimg_near/mw_near"] = ((50.0, 20.0, 500.0), "nearfield,pcode,ndets,maskwt", True, True)
    imx, imy = theta_phi_to_tangent(20.0, 30.0)
    table["mwimg_thetaphi/mw_fswlonlat"] = (far(float(imx), float(imy)), "default", True, True)
    return table


def random_mask(shape: tuple[int, int] = (243, 487), seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(shape) < 0.5, 1, -1).astype(np.int8)


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, MaskGeometry, np.ndarray]:
    stored = weight_inputs.arrays()
    mask = stored["aperture"]
    return mask, MaskGeometry.from_attrs(weight_inputs.GEOMETRY, mask.shape), stored["detmask"]


def assert_agrees(
    name: str, made: tuple, weight: np.ndarray, keywords: np.ndarray, picked: np.ndarray
) -> None:
    limit = 1e-3 if "near" in name else 1e-6
    assert np.abs(picked - weight).max() <= limit * np.abs(weight).max()
    np.testing.assert_array_equal(picked != 0, weight != 0)
    np.testing.assert_allclose(made[1:], keywords[:3], rtol=1e-6)


@pytest.mark.parametrize("name", cases())
def test_weight_images_agree_with_the_tool(name: str, reference: tuple) -> None:
    mask, geometry, good = reference
    source, corrections, rebalance, masked = cases()[name]
    made = weight_map(mask, geometry, source, good if masked else None, corrections, rebalance)
    stored = weight_inputs.arrays()
    picked = made[0].ravel()[:: weight_inputs.IMAGE_STEP]
    assert_agrees(name, made, stored[f"{name}/weight"], stored[f"{name}/keywords"], picked)


@pytest.mark.parametrize("name", cases())
def test_every_detector_of_the_weight_images(name: str, reference: tuple, heasoft: Path) -> None:
    from astropy.io import fits

    mask, geometry, good = reference
    source, corrections, rebalance, masked = cases()[name]
    made = weight_map(mask, geometry, source, good if masked else None, corrections, rebalance)
    with fits.open(heasoft / f"{name}.fits.gz") as hdus:
        keywords = np.array([hdus[0].header[key] for key in ("PCODEFR", "NGOODPIX", "MSKWTSQF")])
        assert_agrees(name, made, hdus[0].data, keywords, made[0])


def trace_slowly(
    mask: np.ndarray, geometry: MaskGeometry, source: tuple, detectors: np.ndarray, rays: int, seed: int
) -> np.ndarray:
    """Follow straight lines from random points of detectors to the source; return the value of the cell
    that each meets.

    Independent of the code under test: no projection, no overlap. The layer is drawn at random.
    """
    rng = np.random.default_rng(seed)
    shape = (len(detectors), rays)
    x = geometry.detector_corner[0] + 0.42 * detectors[:, 1, None] + 0.40 * rng.random(shape)
    y = geometry.detector_corner[1] + 0.42 * detectors[:, 0, None] + 0.40 * rng.random(shape)
    z = geometry.detector_top
    layers = int(
        np.clip((np.hypot(*source[:2]) + 50) / (source[2] - 100) * geometry.mask_cell[2] / 0.02 + 1, 1, 8)
    )
    height = geometry.mask_top - rng.integers(0, layers, shape) * geometry.mask_cell[2] / layers
    step = (height - z) / (source[2] - z)
    column = np.floor((x + step * (source[0] - x) - geometry.mask_corner[0]) / geometry.mask_cell[0]).astype(
        int
    )
    row = np.floor((y + step * (source[1] - y) - geometry.mask_corner[1]) / geometry.mask_cell[1]).astype(int)
    inside = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
    return np.where(inside, mask[np.where(inside, row, 0), np.where(inside, column, 0)], 0)


@pytest.mark.parametrize(
    ("source", "attrs", "shape"),
    [
        (far(0.25, 0.1), {}, (243, 487)),
        (far(-1.0, 0.45), {}, (243, 487)),
        (far(0.1, -0.3), FLIGHT, (253, 497)),
        ((50.0, 20.0, 500.0), {}, (243, 487)),
        ((0.0, -30.0, 150.0), FLIGHT, (253, 497)),
        (far(0.3, 0.2), {"maskcelx": 0.13, "maskcely": 0.11}, (400, 600)),
    ],
    ids=["far", "partial", "flight", "near", "very near", "small cells"],
)
def test_illumination_agrees_with_straight_lines(source: tuple, attrs: dict, shape: tuple) -> None:
    mask = random_mask(shape)
    geometry = MaskGeometry.from_attrs(attrs, shape)
    lit = illumination(mask, geometry, source)
    rng = np.random.default_rng(2)
    dety, detx = np.nonzero(DETECTOR)
    some = rng.choice(len(detx), 500, replace=False)
    detectors = np.column_stack([dety[some], detx[some]])
    rays = 2000
    values = trace_slowly(mask, geometry, source, detectors, rays, seed=3)
    expected = lit[detectors[:, 0], detectors[:, 1]]
    # the variance of values -1, 0, 1 with mean m is at least |m| - m**2, also where no ray met a rare cell
    variance = np.maximum(values.var(axis=1), np.abs(expected) - expected**2)
    pull = (values.mean(axis=1) - expected) / np.sqrt(np.maximum(variance, 1e-4) / rays)
    assert np.abs(pull).max() < 5
    assert abs(pull.mean()) < 4 / np.sqrt(len(pull))
    assert pull.std() < 1.15


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), st.sampled_from([FAR, 3000.0]))
def test_light_through_one_cell_is_its_shadow(imx: float, imy: float, z: float) -> None:
    """With detectors that touch, the lit area is that of the shadow, if it falls inside a module."""
    geometry = MaskGeometry.from_attrs({"detsizex": 0.42, "detsizey": 0.42, "maskcelz": 0.0}, (243, 487))
    scale = (z - geometry.detector_top) / (z - geometry.mask_top)
    # the cell whose shadow falls on the middle of the module at columns 126 to 141, rows 77 to 84
    shadow = np.array([geometry.detector_corner[0] + 0.42 * 134, geometry.detector_corner[1] + 0.42 * 81])
    ratio = (geometry.detector_top - geometry.mask_top) / (z - geometry.mask_top)
    place = (shadow - np.array([imx, imy]) * z * ratio) / scale
    column, row = np.floor((place - geometry.mask_corner) / 0.5).astype(int)
    mask = np.zeros((243, 487), np.int8)
    mask[row, column] = 1
    lit = illumination(mask, geometry, (imx * z, imy * z, z))
    assert lit.sum() * 0.42**2 == pytest.approx((0.5 * scale) ** 2, rel=1e-9)
    assert illumination(-mask, geometry, (imx * z, imy * z, z)).sum() == pytest.approx(-lit.sum())


def test_all_open_mask_lights_everything() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    lit = illumination(np.ones((243, 487), np.int8), geometry, far(0.1, 0.1))
    np.testing.assert_allclose(lit[DETECTOR], 1, atol=1e-12)
    assert not lit[~DETECTOR].any()


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_mask_and_source_give_a_mirrored_shadow(axis: int) -> None:
    geometry = MaskGeometry.from_attrs({"maskoffy": 0.0}, (243, 487))
    mask = random_mask()
    lit = illumination(mask, geometry, far(0.31, 0.12))
    sign = (1, -1) if axis == 0 else (-1, 1)
    mirrored = illumination(np.flip(mask, axis).copy(), geometry, far(0.31 * sign[0], 0.12 * sign[1]))
    np.testing.assert_allclose(np.flip(mirrored, axis), lit, atol=1e-9)


def test_unbalanced_is_the_open_part() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    mask = random_mask()
    both = illumination(mask, geometry, far(0.2, 0.1))
    opened = illumination(mask, geometry, far(0.2, 0.1), unbalanced=True)
    np.testing.assert_allclose(2 * opened[DETECTOR] - 1, both[DETECTOR], atol=1e-12)


def test_far_field_limit() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    mask = random_mask()
    maps = [weight_map(mask, geometry, (0.2 * z, 0.1 * z, z))[0] for z in (1e6, 1e7, 1e9)]
    steps = [np.abs(a - maps[-1]).max() / np.abs(maps[-1]).max() for a in maps[:-1]]
    assert steps[0] > 5 * steps[1]
    assert steps[1] < 5e-3


@pytest.mark.parametrize(
    ("source", "count"),
    [
        (far(0.0, 0.0), 1),
        (far(0.19, 0.0), 1),
        (far(0.2, 0.01), 2),
        (far(0.7, 0), 4),
        (far(3, 0), 8),
        ((0, 0, 150.0), 6),
    ],
)
def test_sublayers(source: tuple, count: int) -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    layers = geometry.sublayers(source)
    assert len(layers) == count
    assert layers[0] == geometry.mask_top
    assert layers[-1] > geometry.mask_top - geometry.mask_cell[2]


@settings(deadline=None, max_examples=20)
@given(st.floats(-1.4, 1.4), st.floats(-0.7, 0.7), st.booleans())
def test_balanced_weights_sum_to_zero(imx: float, imy: float, forward: bool) -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    names = ("default", "forward") if forward else ("default",)
    good = np.random.default_rng(3).random((NY, NX)) < 0.9
    weight, pcode, n_good, _ = weight_map(random_mask(), geometry, far(imx, imy), good, names)
    assert abs(weight.sum()) <= 1e-9 * np.abs(weight).sum()
    assert not weight[~(good & DETECTOR)].any()
    assert n_good == np.count_nonzero(good & DETECTOR)
    assert np.count_nonzero(weight) == round(pcode * n_good)


def test_weights_recover_the_counts_of_a_source() -> None:
    """Expected counts summed with their weights: one count per open detector, nothing from background."""
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    mask = random_mask()
    source = far(0.2, 0.1)
    weight = weight_map(mask, geometry, source, corrections="pcode,ndets,maskwt")[0]
    lit = illumination(mask, geometry, source, unbalanced=True)
    assert (weight * lit).sum() == pytest.approx(1.0, abs=0.02)
    assert (weight * DETECTOR).sum() == pytest.approx(0.0, abs=1e-12)


def test_no_corrections_is_the_illumination() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    mask = random_mask()
    weight, pcode, n_good, norm = weight_map(
        mask, geometry, far(0.2, 0.1), corrections="none", rebalance=False
    )
    np.testing.assert_array_equal(weight, illumination(mask, geometry, far(0.2, 0.1)))
    assert norm == pytest.approx(pcode * n_good * weight_normalisation(geometry, FAR))


@pytest.mark.parametrize("names", ["default", "nearfield,pcode,maskwt", "maskwt", "default,unbalanced"])
@pytest.mark.parametrize("rebalance", [True, False])
def test_normalised_by_the_geometry(names: str, rebalance: bool) -> None:
    """A noiseless source of 1 count per fully open detector gives 1, whatever else is asked for."""
    geometry, mask, source = MaskGeometry.from_attrs({}, (243, 487)), random_mask(), far(-0.9, 0.4)
    good = np.random.default_rng(5).random((NY, NX)) < 0.8
    weight, pcode, n_good, _ = weight_map(
        mask, geometry, source, good, names, rebalance, normalisation="geometry"
    )
    projected = "forward," + ("nearfield" if "near" in names else "flatfield" if "default" in names else "")
    shadow = weight_map(mask, geometry, source, corrections=f"{projected},unbalanced", rebalance=False)[0]
    left_out = (1 if "pcode" in names or "default" in names else pcode) * (
        1 if "default" in names else n_good
    )
    assert (weight * shadow).sum() == pytest.approx(left_out, rel=1e-12)


def test_detectors_that_are_all_lit_alike_have_no_weight_by_the_geometry() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    mask = np.ones((243, 487), np.int8)
    weight, pcode, _, _ = weight_map(mask, geometry, far(0, 0), normalisation="geometry")
    assert pcode == 1
    assert not weight.any()
    weight, pcode, _, _ = weight_map(mask, geometry, far(5, 5), normalisation="geometry")
    assert pcode == 0
    assert not weight.any()


def test_outside_the_field_nothing_is_coded() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    radius = geometry.field_radius()
    weight, pcode, _, _ = weight_map(random_mask(), geometry, far(1.001 * radius, 0.0))
    assert pcode == 0
    assert not weight.any()
    corner = np.array([1.82, 0.97])
    assert np.hypot(*corner) < radius


def test_no_good_detector() -> None:
    geometry = MaskGeometry.from_attrs({}, (243, 487))
    weight, pcode, n_good, _ = weight_map(random_mask(), geometry, far(0, 0), np.zeros((NY, NX), bool))
    assert (pcode, n_good) == (0.0, 0)
    assert not weight.any()


class TestBadInput:
    geometry = MaskGeometry.from_attrs({}, (243, 487))

    def test_source_below_the_mask(self) -> None:
        with pytest.raises(PositionError, match="above the mask"):
            illumination(random_mask(), self.geometry, (0, 0, 50.0))

    def test_source_not_finite(self) -> None:
        with pytest.raises(PositionError, match="finite"):
            weight_map(random_mask(), self.geometry, (np.nan, 0, FAR))

    def test_shape_of_the_mask(self) -> None:
        with pytest.raises(ValueRangeError, match="shape"):
            illumination(random_mask((5, 5)), self.geometry, far(0, 0))

    def test_unknown_normalisation(self) -> None:
        with pytest.raises(ValueRangeError, match="'mean', expected 'tool' or 'geometry'"):
            weight_map(random_mask(), self.geometry, far(0, 0), normalisation="mean")

    def test_unknown_correction(self) -> None:
        with pytest.raises(ValueRangeError, match=r"'subpixelate'.*flatfield"):
            parse_corrections("flatfield,subpixelate")

    def test_two_flat_fields(self) -> None:
        with pytest.raises(ValueRangeError, match="both"):
            parse_corrections(("default", "nearfield"))

    @pytest.mark.parametrize("attrs", [{"maskcelx": 0.0}, {"maskbatz": 0.1}, {"detsizey": -1.0}])
    def test_impossible_geometry(self, attrs: dict) -> None:
        with pytest.raises(ValueRangeError, match="aperture"):
            MaskGeometry.from_attrs(attrs, (243, 487))
