"""Simulated events against their definition, the analysis geometry, and an independent ray tracer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from makers import make
from scipy import stats

from batx import simulate
from batx.detector_responses import response
from batx.errors import AttitudeError, GtiError, KindError, PositionError, ValueRangeError
from batx.instrument.detector import DETECTOR, DETID, detid_to_xy
from batx.instrument.mask import FAR, MaskGeometry, illumination, weight_map
from batx.instrument.sky import quaternion_to_matrix
from batx.schema import build, check
from batx.simulate import Background, Box, Drift, Fred, Gaussian, Glitch, Line, PowerLaw, Slew, Source

T0 = 6e8
PERFECT = simulate.detector_table(disabled=0, hot=0, cold=0)
DARK = Background(rate=0.0)
QUIET = {"detectors": PERFECT, "calibration": 0.0, "graded": 0.0}


def image(ev: xr.Dataset, label: int) -> np.ndarray:
    mine = ev["simlabel"].values == label
    pixel = ev["dety"].values[mine].astype(int) * 286 + ev["detx"].values[mine]
    return np.bincount(pixel, minlength=173 * 286).reshape(173, 286)


def relative(ev: xr.Dataset, label: int) -> np.ndarray:
    return ev["time"].values[ev["simlabel"].values == label] - T0


def slow_shadow(aperture: xr.Dataset, imx: float, imy: float, side: int = 16, seed: int = 0) -> np.ndarray:
    """Return the lit fraction of every detector by straight lines from points on its face to the source.

    Knows nothing of batx.instrument: numbers of algorithms 1 and 2.1, a look-up in the mask a line and layer.
    """
    a, mask = aperture.attrs, aperture["mask"].values
    rng = np.random.default_rng(seed)
    column, row = np.arange(286), np.arange(173)
    step = np.arange(side)
    x = -60.05 + 0.42 * column[:, None] + 0.40 * (step + rng.random((286, side))) / side
    y = -36.32 + 0.42 * row[:, None] + 0.40 * (step + rng.random((173, side))) / side
    top = a["maskbatz"] + a["maskoffz"]
    n_layer = int(np.clip(np.hypot(imx, imy) * a["maskcelz"] / 0.02 + 1, 1, 8))
    lit = np.zeros((173, 286))
    for layer in range(n_layer):
        rise = top - (layer + 0.5) * a["maskcelz"] / n_layer - a["detbatz"]
        cell_x = np.floor((x + imx * rise - a["maskoffx"] - a["maskcell0x"]) / 0.5).astype(int)
        cell_y = np.floor((y + imy * rise - a["maskoffy"] - a["maskcell0y"]) / 0.5).astype(int)
        for j in row:
            for v in cell_y[j]:
                if 0 <= v < mask.shape[0]:
                    inside = (cell_x >= 0) & (cell_x < mask.shape[1])
                    is_open = inside & (mask[v, np.clip(cell_x, 0, mask.shape[1] - 1)] > 0)
                    lit[j] += is_open.mean(axis=1)
    lit /= side * n_layer
    gap = (column % 18 > 15)[None, :] | (row % 11 > 7)[:, None]
    lit[gap] = 0.0
    return lit


# ---------------------------------------------------------------- the mask


@pytest.mark.parametrize(("form", "shape"), [("reference", (243, 487)), ("flight", (253, 497))])
def test_mask_is_half_open_and_d_shaped(form: str, shape: tuple[int, int]) -> None:
    mask = simulate.aperture(form, seed=3)
    cells = mask["mask"].values
    assert check(mask) == []
    assert cells.shape == shape
    inside = cells != 0
    share = (cells == 1).sum() / inside.sum()
    assert abs(share - 0.5) < 4 * 0.5 / np.sqrt(inside.sum())
    width = inside.sum(axis=1)
    assert (np.diff(width) >= 0).all()
    assert width[0] == shape[1] - 220
    assert width[-1] == shape[1]
    assert (inside == inside[:, ::-1]).all()


def test_mask_keywords_follow_algorithms_section_1() -> None:
    flight = simulate.aperture("flight").attrs
    assert (flight["maskbatz"], flight["maskoffx"], flight["maskoffy"], flight["maskoffz"]) == (
        100.3,
        -0.145,
        0.114,
        0.05,
    )
    assert (flight["maskcell0x"], flight["maskcell0y"]) == (-124.25, -63.25)
    reference = simulate.aperture()
    assert (reference.attrs["maskcell0x"], reference.attrs["maskcell0y"]) == (-121.75, -60.75)
    assert reference["mask_x_bnds"].values[0].tolist() == pytest.approx([-121.7, -121.2])


def test_mask_outline_is_that_of_the_reference_runs(heasoft) -> None:
    from astropy.io import fits

    inside = fits.getdata(heasoft / "inputs" / "aperture.fits.gz") != 0
    assert ((simulate.aperture()["mask"].values != 0) == inside).all()


def test_alignment_is_a_rotation_near_the_ideal_one() -> None:
    ideal = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert np.allclose(simulate.alignment((0, 0, 0))["matrix"], ideal)
    matrix = simulate.alignment()["matrix"].values
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1)
    # the misalignment of the reference runs: algorithms 1
    assert (
        np.abs(
            matrix
            - [[-1.963e-4, 0.999994, 3.3869e-3], [6.6e-6, -3.3869e-3, 0.999994], [1, 1.963e-4, -5.9e-6]]
        )[:].max()
        < 2e-6
    )


# ---------------------------------------------------------------- attitude


def test_pointing_is_where_it_was_asked_for() -> None:
    att = simulate.attitude(T0, 50.0, (150.0, 30.0, 40.0))
    assert check(att) == []
    # quaternion of the reference runs for this pointing
    assert att["quaternion"].values[0] == pytest.approx(
        [0.14941812, -0.38205661, 0.85383415, 0.32042819], abs=1e-8
    )
    for name, value in (("ra", 150.0), ("dec", 30.0), ("roll", 40.0)):
        assert att[name].values == pytest.approx(value, abs=1e-9)
    assert att["settled"].all()
    assert att["ten_arcmin"].all()
    assert att["time"].values[0] <= T0 - 20
    assert att["time"].values[-1] >= T0 + 70


@pytest.mark.parametrize(
    "goal", [(162.0, 24.0, 45.0), (20.0, -70.0, 300.0), (150.0, 30.0, 200.0), (330.0, -30.0, 0.0)]
)
def test_slew_ends_where_it_should_along_a_great_circle(goal: tuple[float, float, float]) -> None:
    att = simulate.attitude(T0, 200.0, (150.0, 30.0, 40.0), slews=[Slew(60.0, 120.0, *goal)])
    t = att["time"].values - T0
    for name, value in zip(("ra", "dec", "roll"), goal, strict=True):
        assert att[name].values[t >= 120] == pytest.approx(value, abs=1e-7)
    x = quaternion_to_matrix(att["quaternion"].values)[:, 0]
    normal = np.cross(x[0], x[-1])
    if np.linalg.norm(normal) > 1e-6:
        assert np.abs(x @ (normal / np.linalg.norm(normal))).max() < 1e-7
    angle = np.arctan2(np.linalg.norm(np.cross(x, x[0]), axis=1), x @ x[0])
    assert (np.diff(angle) > -1e-9).all()
    assert np.array_equal(att["settled"].values, (t < 60) | (t >= 130))
    assert not att["ten_arcmin"].values[(t > 70) & (t < 100) & (angle < angle[-1] - 0.01)].any()


def test_jitter_and_settling() -> None:
    still = simulate.attitude(T0, 2000.0)
    att = simulate.attitude(T0, 2000.0, jitter=3.0, seed=2)
    first, second = (quaternion_to_matrix(a["quaternion"].values)[:, 0] for a in (still, att))
    arcsec = (second - first) @ quaternion_to_matrix(still["quaternion"].values[0])[1:].T * 206264.8
    assert arcsec.std(axis=0) == pytest.approx([3.0, 3.0], rel=0.1)
    assert np.corrcoef(arcsec[:-5, 0], arcsec[5:, 0])[0, 1] == pytest.approx(np.exp(-1), abs=0.1)
    swung = simulate.attitude(T0, 200.0, slews=[Slew(50, 80, 160, 35, 40)], settle_amplitude=120.0)
    t = swung["time"].values - T0
    off = np.hypot((swung["ra"] - 160) * np.cos(np.radians(35)), swung["dec"] - 35).values * 3600
    assert 40 < off[(t > 80) & (t < 90)].max() < 170
    assert off[swung["settled"].values & (t > 80)].max() < 10
    assert off[t > 110].max() < 0.1


def test_flags_of_the_anomaly() -> None:
    att = simulate.attitude(T0, 100.0, saa=[(20.0, 30.0)])
    t = att["time"].values - T0
    assert np.array_equal(att["in_saa"].values, (t >= 20) & (t < 30))


def test_source_position_is_that_of_the_reference_runs() -> None:
    """RA 165.76360901, Dec 24.39815269 is IMX 0.25, IMY 0.10 there (README of the reference runs)."""
    matrix = np.array(
        [
            [-0.000196305411, 0.999994245, 0.003386863],
            [6.56927099e-06, -0.00338686178, 0.999994265],
            [0.999999981, 0.000196326534, -5.9043739e-06],
        ]
    )
    alignment = build("alignment", {"matrix": matrix, "matrix_file": matrix})
    common = {"alignment": alignment, "duration": 2.0, "seed": 4, **QUIET}
    on_sky = simulate.events(Source(2.0, ra=165.76360901119506, dec=24.39815268749114), DARK, **common)
    in_plane = simulate.events(Source(2.0, imx=0.25, imy=0.10), DARK, **common)
    assert on_sky.attrs["ra_obj"] == pytest.approx(in_plane.attrs["ra_obj"], abs=1e-6)
    assert on_sky.attrs["dec_obj"] == pytest.approx(in_plane.attrs["dec_obj"], abs=1e-6)
    assert np.mean(on_sky["detid"].values == in_plane["detid"].values) > 0.999


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize(("imx", "imy"), [(0.25, 0.10), (0.9, -0.3), (-1.3, 0.2)])
def test_illumination_against_the_slow_ray_tracer(imx: float, imy: float) -> None:
    mask = simulate.aperture(seed=8)
    slow = slow_shadow(mask, imx, imy)
    geometry = MaskGeometry.from_attrs(mask.attrs, mask["mask"].shape)
    source = (imx * FAR, imy * FAR, FAR)
    exact = illumination(mask["mask"].values, geometry, source, unbalanced=True, centred=True)
    assert np.abs(slow - exact)[DETECTOR].max() < 0.08
    assert np.abs((slow - exact)[DETECTOR].mean()) < 2e-4

    ev = simulate.events(Source(12.0, imx=imx, imy=imy), DARK, aperture=mask, duration=10.0, seed=1, **QUIET)
    counts = image(ev, 1)
    r = np.sqrt(1 + imx**2 + imy**2)
    sides = (min(0.15, 0.05 / abs(imx)) * abs(imx) + min(0.15, 0.05 / abs(imy)) * abs(imy)) / r
    expected = 120.0 * slow * (1 / r + sides)
    assert counts.sum() == pytest.approx(expected.sum(), abs=4 * np.sqrt(expected.sum()))
    lit = expected > 5
    model_error = 120.0 * 0.012
    chi2 = ((counts - expected)[lit] ** 2 / (expected[lit] + model_error**2)).sum()
    assert abs(chi2 - lit.sum()) < 6 * np.sqrt(2 * lit.sum())
    right = np.corrcoef(counts[DETECTOR], slow[DETECTOR])[0, 1]
    assert right > 0.95
    for wrong in (
        slow_shadow(mask, imx + 0.02, imy, 4),
        slow_shadow(mask, imx, imy - 0.02, 4),
        slow[:, ::-1],
    ):
        assert np.corrcoef(counts[DETECTOR], wrong[DETECTOR])[0, 1] < 0.6 * right


@pytest.mark.parametrize("form", ["reference", "flight"])
@pytest.mark.parametrize(
    ("imx", "imy"), [(0.0, 0.0), (0.25, 0.1), (0.7, -0.2), (1.2, 0.1), (1.6, 0.2), (0.1, 0.8)]
)
def test_weights_recover_the_injected_counts(form: str, imx: float, imy: float) -> None:
    """The weighted counts are the injected ones times what the weights make of the noiseless pattern."""
    mask = simulate.aperture(form, seed=2)
    geometry = MaskGeometry.from_attrs(mask.attrs, mask["mask"].shape)
    source = (imx * FAR, imy * FAR, FAR)
    weight, pcode, _, _ = weight_map(mask["mask"].values, geometry, source)
    assert pcode > 0.1
    ev = simulate.events(Source(20.0, imx=imx, imy=imy), DARK, aperture=mask, duration=5.0, seed=6, **QUIET)
    counts = image(ev, 1)
    corrections = ("forward", "unbalanced", "flatfield")
    pattern = weight_map(
        mask["mask"].values, geometry, source, corrections=corrections, rebalance=False, centred=True
    )[0]
    efficiency = (weight * pattern).sum()
    recovered, error = (weight * counts).sum(), np.sqrt((weight**2 * counts).sum())
    assert abs(recovered - 100.0 * efficiency) < 4 * error
    # the normalisation of the weights is analytic (algorithms 2.1, step 4): right to a few per cent
    assert 0.92 < efficiency < 1.02


def test_rate_per_total_is_the_rate_of_the_file() -> None:
    ev = simulate.events(Source(5000.0, imx=0.8, imy=0.1, per="total"), DARK, duration=10.0, **QUIET)
    assert abs(ev.sizes["event"] - 50000) < 4 * np.sqrt(50000)


def test_labels_and_truth_agree() -> None:
    ev = simulate.events(
        [Source(0.2, imx=0.1, imy=0.1, name="burst"), Source(0.1, imx=-0.4, imy=0.2)],
        Background(0.05),
        duration=20.0,
        glitches=[Glitch(5.0, counts=300)],
        seed=9,
    )
    assert check(ev) == []
    truth = json.loads(ev.attrs["provenance"])["truth"]
    label = ev["simlabel"].values
    for entry in (
        truth["background"],
        truth["noise"],
        truth["calibration"],
        truth["glitch"],
        *truth["sources"],
    ):
        assert entry["recorded"] == entry["drawn"] == (label == entry["label"]).sum()
        assert abs(entry["drawn"] - entry["expected"]) < 5 * np.sqrt(entry["expected"])
    assert [source["name"] for source in truth["sources"]] == ["burst", "source"]
    assert set(np.unique(label)) == {0, 1, 2, 253, 254, 255}


def test_columns_belong_together() -> None:
    ev = simulate.events(Source(0.5, imx=0.1, imy=0.1), Background(0.05), duration=10.0, seed=3)
    x, y = detid_to_xy(ev["detid"].values)
    assert np.array_equal(x, ev["detx"].values)
    assert np.array_equal(y, ev["dety"].values)
    assert np.allclose(ev["energy"].values, ev["pi"].values * 0.1, rtol=1e-6)
    assert (np.diff(ev["time"].values) >= 0).all()
    assert (ev["mask_weight"].values == 0).all()
    grid = (ev["time"].values - T0) / 1e-4
    assert np.abs(grid - np.floor(grid) - 0.5).max() < 2e-3


def test_pulse_heights_give_the_energies_back() -> None:
    """Algorithms 2.8 (fixed DAC, no residual) applied to PHA."""
    table = simulate.detector_table(hot=0, seed=5)
    ev = simulate.events((), Background(0.05, spectrum=PowerLaw(1.0, 15, 300)), duration=10, detectors=table)
    y, x = ev["dety"].values, ev["detx"].values
    g, o, gf, of, gp, op = (
        table[name].values[y, x].astype(float)
        for name in (
            "gain",
            "offset",
            "flight_pulser_gain",
            "flight_pulser_offset",
            "pulser_gain",
            "pulser_offset",
        )
    )
    dac = table.attrs["offpulse"]
    fc = g * gf
    offset = o - (dac - of) / fc
    energy = fc / gp * ((offset + (dac - op) / fc) - ev["pha"].values)
    assert np.abs(energy - ev["energy"].values).max() < 0.5 * (fc / gp).max() + 1e-3


def test_energies_follow_the_spectrum() -> None:
    spectrum = PowerLaw(2.0, 15.0, 150.0)
    ev = simulate.events(
        Source(2.0, imx=0.1, imy=0.1, spectrum=spectrum), DARK, duration=10.0, seed=1, **QUIET
    )
    energy = ev["energy"].values + np.random.default_rng(0).random(ev.sizes["event"]) * 0.1
    assert stats.kstest(energy, lambda e: (1 / 15 - 1 / e) / (1 / 15 - 1 / 150)).pvalue > 1e-3
    line = simulate.events(
        Source(2.0, imx=0.1, imy=0.1, spectrum=Line(60.0, 3.0)), DARK, duration=10.0, **QUIET
    )
    energy = line["energy"].values + np.random.default_rng(0).random(line.sizes["event"]) * 0.1
    assert stats.kstest(energy, stats.norm(60.0, 3.0).cdf).pvalue > 1e-3
    flat = simulate.events(
        Source(2.0, imx=0.1, imy=0.1, spectrum=lambda e: (e > 20) & (e < 40)), DARK, duration=5.0, **QUIET
    )
    assert (flat["energy"].values.min(), flat["energy"].values.max()) == pytest.approx((20.0, 39.9), abs=1e-4)


def test_spectrum_through_a_response() -> None:
    """A diagonal response of 2 cm**2: the counts are the photons, twice."""
    edges = np.arange(10.0, 200.5, 0.5)
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    n = len(bounds)
    response = build(
        "response",
        {
            "energy_in": bounds.mean(axis=1),
            "energy_in_bnds": bounds,
            "channel": np.arange(n),
            "energy": bounds.mean(axis=1),
            "energy_bnds": bounds,
            "matrix": (("energy_in", "channel"), 2.0 * np.eye(n), {"units": "cm**2"}),
        },
    )
    photons = PowerLaw(1.5, 10.0, 200.0, norm=10.0)
    source = Source(imx=0.0, imy=0.0, spectrum=photons, response=response)
    flux = 10.0 / 0.5 * (10.0**-0.5 - 200.0**-0.5)
    assert source.rate == pytest.approx(2 * flux, rel=1e-4)
    ev = simulate.events(source, DARK, duration=2.0, seed=1, **QUIET)
    energy = ev["energy"].values + np.random.default_rng(0).random(ev.sizes["event"]) * 0.1
    cdf = lambda e: (10.0**-0.5 - e**-0.5) / (10.0**-0.5 - 200.0**-0.5)  # noqa: E731
    assert stats.kstest(energy, cdf).statistic < 0.005
    with pytest.raises(KindError):
        Source(1.0, imx=0, imy=0, response=simulate.aperture())


def _cdf(profile, t, end=40.0):
    grid = np.linspace(0, end, 400_001)
    density = np.broadcast_to(np.asarray(profile(grid), dtype=float), grid.shape)
    total = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(t, grid, total / total[-1])


@pytest.mark.parametrize(
    "profile",
    [
        simulate.Constant(),
        Fred(5.0, 0.2, 3.0),
        Gaussian(20.0, 2.0),
        Box(10.0, 11.5),
        Drift(0.01, 0.3, 50.0),
        simulate.Sum([(1.0, Fred(2.0, 0.01, 0.1)), (0.2, Box(20.0, 30.0))]),
        ([0.0, 10.0, 40.0], [0.0, 1.0, 0.2]),
        lambda t: np.where(t < 13.37, 0.1, np.exp(-(t - 13.37))),
    ],
    ids=["constant", "fred", "gaussian", "box", "drift", "sum", "array", "callable"],
)
def test_times_follow_the_light_curve(profile) -> None:
    from batx.simulate.profiles import as_profile

    source = Source(3.0, imx=0.1, imy=0.0, light_curve=profile)
    ev = simulate.events(source, DARK, duration=40.0, seed=11, **QUIET)
    t = relative(ev, 1) + (np.random.default_rng(0).random(ev.sizes["event"]) - 0.5) * 1e-4
    assert stats.kstest(t, lambda x: _cdf(as_profile(profile), x)).pvalue > 1e-3


def test_source_during_a_slew_moves_over_the_detectors() -> None:
    """In each stretch of time the shadow is that of the position the analysis geometry gives for it."""
    from batx.instrument.sky import sky_to_tangent, slerp

    mask, alignment = simulate.aperture(seed=1), simulate.alignment()
    att = simulate.attitude(T0, 40.0, slews=[Slew(10.0, 30.0, 162.0, 24.0, 45.0)])
    source = Source(15.0, ra=158.0, dec=28.0)
    ev = simulate.events(
        source, DARK, duration=40.0, aperture=mask, alignment=alignment, attitude=att, seed=1, **QUIET
    )
    geometry = MaskGeometry.from_attrs(mask.attrs, mask["mask"].shape)
    t = relative(ev, 1)
    for begin, end in ((0.0, 5.0), (14.0, 14.04), (20.0, 20.04), (26.0, 26.04), (35.0, 40.0)):
        middle = T0 + (begin + end) / 2
        q = slerp(middle, att["time"].values, att["quaternion"].values)
        imx, imy, front = sky_to_tangent(158.0, 28.0, q, alignment["matrix"].values)
        assert front
        use = (t >= begin) & (t < end)
        weight = weight_map(mask["mask"].values, geometry, (imx * FAR, imy * FAR, FAR))[0]
        w = weight[ev["dety"].values[use], ev["detx"].values[use]]
        error = np.sqrt((w**2).sum())
        assert w.sum() == pytest.approx(15 * (end - begin), abs=4 * error + 0.5 * (end - begin))


def test_position_that_leaves_the_field_gives_no_counts_there() -> None:
    att = simulate.attitude(T0, 60.0, (150.0, 0.0, 0.0), slews=[Slew(20.0, 40.0, 150.0, 89.0, 0.0)])
    ev = simulate.events(Source(1.0, ra=150.0, dec=-40.0), DARK, duration=60.0, attitude=att, **QUIET)
    t = relative(ev, 1)
    assert (t < 20).sum() > 100
    assert (t > 40).sum() == 0


# ---------------------------------------------------------------- background, detectors, glitches


def test_background_mean_and_variance_per_detector() -> None:
    background = Background(0.5, gradient=(0.2, -0.1), curvature=(0.1, 0.0), edge=0.3)
    ev = simulate.events((), background, duration=200.0, seed=5, **QUIET)
    counts = image(ev, 0)
    assert (counts[~DETECTOR] == 0).all()
    expected = 100.0 * background.shape()
    assert expected[DETECTOR].mean() == pytest.approx(100.0)
    pull = (counts[DETECTOR] - expected[DETECTOR]) / np.sqrt(expected[DETECTOR])
    n = pull.size
    assert abs(pull.mean()) < 4 / np.sqrt(n)
    assert abs(pull.var() - 1) < 4 * np.sqrt(2 / n)
    column = np.arange(286) % 18
    inner = DETECTOR & ((column > 0) & (column < 15)) & (np.isin(np.arange(173) % 11, range(1, 7)))[:, None]
    left = DETECTOR & (column == 0) & (np.isin(np.arange(173) % 11, range(1, 7)))[:, None]
    assert counts[left].mean() / counts[inner].mean() == pytest.approx(1.3, abs=0.02)
    third = slice(0, 90), slice(196, 286)
    low, high = (np.where(inner, counts, np.nan)[:, part] for part in third)
    assert np.nanmean(high) / np.nanmean(low) == pytest.approx(1.32, abs=0.06)


def test_background_drifts_and_is_a_power_law() -> None:
    background = Background(0.2, light_curve=Drift(0.002), spectrum=PowerLaw(1.5, 20.0, 200.0))
    ev = simulate.events((), background, duration=100.0, seed=2, **QUIET)
    t = relative(ev, 0)
    assert stats.kstest(t, lambda x: (x + 0.001 * x**2) / 110.0).statistic < 4e-3
    assert ev.sizes["event"] == pytest.approx(0.2 * 32768 * 110, rel=0.005)
    energy = ev["energy"].values + np.random.default_rng(0).random(ev.sizes["event"]) * 0.1
    cdf = lambda e: (20**-0.5 - e**-0.5) / (20**-0.5 - 200**-0.5)  # noqa: E731
    assert stats.kstest(energy, cdf).statistic < 4e-3


def test_odd_detectors_behave() -> None:
    table = simulate.detector_table(disabled=300, hot=20, cold=30, noisy=5, noisy_rate=50.0, seed=4)
    assert check(table) == []
    ev = simulate.events(Source(0.2, imx=0, imy=0), Background(0.5), duration=40.0, detectors=table, seed=1)
    total = sum(image(ev, label) for label in (0, 1, 253, 254))
    assert total.sum() == ev.sizes["event"]
    assert (total[~table["enabled"].values] == 0).all()
    assert (total[table["cold"].values] == 0).all()
    assert total[table["hot"].values].min() > 150
    usual = table["enabled"].values & ~(table["hot"] | table["cold"] | table["noisy"]).values
    assert total[usual].max() < 100
    good = simulate.detector_mask(table)
    assert check(good) == []
    assert int(good["good"].sum()) == 32768 - 355
    pixel = ev["dety"].values.astype(int) * 286 + ev["detx"].values
    for noisy in np.flatnonzero(table["noisy"].values):
        t = relative(ev.isel(event=pixel == noisy), 253)
        per_second = np.bincount(t.astype(int), minlength=40)
        assert 8 <= (per_second > 25).sum() <= 32
        assert ((per_second > 25) | (per_second == 0)).all()


def test_efficiency_scatter() -> None:
    table = simulate.detector_table(disabled=0, hot=0, cold=0, efficiency_scatter=0.1)
    ev = simulate.events((), Background(2.0), duration=100.0, detectors=table, calibration=0.0)
    ratio = image(ev, 0)[DETECTOR] / (200.0 * Background(2.0).shape()[DETECTOR])
    assert ratio.std() == pytest.approx(np.hypot(0.1, np.sqrt(1 / 200)), rel=0.03)


def test_glitch_is_short_soft_and_in_one_column_of_modules() -> None:
    ev = simulate.events((), DARK, duration=10.0, glitches=[Glitch(4.0, 2000, column=3)], **QUIET)
    assert ev.sizes["event"] == pytest.approx(2000, abs=200)
    t = relative(ev, 255)
    assert t.min() >= 4.0
    assert t.max() < 4.064
    assert set(np.unique(ev["detx"].values // 18)) == {3}
    assert len(np.unique(ev["dety"].values // 11)) == 16
    assert np.median(ev["energy"].values) < 20


def test_flags() -> None:
    ev = simulate.events((), Background(0.5), duration=40.0, calibration=0.02, graded=0.01, seed=3)
    flags, label = ev["event_flags"].values, ev["simlabel"].values
    assert set(np.unique(flags)) == {0, 1, 16}
    assert np.array_equal(flags == 1, label == 254)
    assert (flags == 1).sum() / (label == 0).sum() == pytest.approx(0.02, abs=0.001)
    assert (flags == 16).mean() == pytest.approx(0.01, abs=0.001)


# ---------------------------------------------------------------- time


def test_good_time_gaps_are_empty() -> None:
    gti = [(T0 + 1.00003, T0 + 9.5), (T0 + 10.0, T0 + 12.34567), (T0 + 15.0, T0 + 20.0)]
    ev = simulate.events(Source(1.0, imx=0.1, imy=0.1), Background(0.5), duration=20.0, gti=gti)
    t = ev["time"].values
    inside = np.zeros(len(t), dtype=bool)
    for start, stop in gti:
        inside |= (t >= start) & (t < stop)
    assert inside.all()
    assert ev["gti_start"].values.tolist() == [a for a, _ in gti]
    assert ev["gti_stop"].values.tolist() == [b for _, b in gti]
    good = sum(b - a for a, b in gti)
    assert ev.attrs["exposure"] == pytest.approx(good)
    assert (ev["simlabel"].values == 0).sum() == pytest.approx(0.5 * (32768 - 540) * good, rel=0.02)
    as_dataset = build("gti", {"start": [a for a, _ in gti], "stop": [b for _, b in gti]})
    again = simulate.events(Source(1.0, imx=0.1, imy=0.1), Background(0.5), duration=20.0, gti=as_dataset)
    xr.testing.assert_identical(ev, again)


def test_same_seed_same_events() -> None:
    def make(seed: int, sources: list[Source]) -> xr.Dataset:
        return simulate.events(sources, Background(0.02), duration=10.0, seed=seed)

    one, other = Source(0.1, imx=0.1, imy=0.1), Source(0.3, imx=-0.2, imy=0.0)
    xr.testing.assert_identical(make(1, [one]), make(1, [one]))
    assert make(1, [one])["time"].values.tolist() != make(2, [one])["time"].values.tolist()
    both, alone = make(1, [one, other]), make(1, [one])
    for label in (0, 1):
        mine = [ds.isel(event=ds["simlabel"].values == label) for ds in (both, alone)]
        for name in ("time", "detid", "energy"):
            assert np.array_equal(mine[0][name], mine[1][name])


def test_dead_time_loses_what_it_should() -> None:
    rate, tau = 200.0, 1e-3  # of one sandwich of 128 detectors: 1 in 6 lost
    common = {"duration": 5.0, "seed": 3, **QUIET}
    background = Background(rate / 128, (0, 0), (0, 0), 0.0)
    free = simulate.events((), background, **common)
    dead = simulate.events((), background, dead_time=tau, **common)
    assert dead.sizes["event"] / free.sizes["event"] == pytest.approx(1 / (1 + rate * tau), rel=0.005)
    sandwich = dead["detid"].values >> 7
    for number in (0, 100, 255):
        assert np.diff(dead["time"].values[sandwich == number]).min() >= tau - 1.01e-4
    truth = json.loads(dead.attrs["provenance"])["truth"]["background"]
    assert truth["drawn"] == free.sizes["event"]
    assert truth["recorded"] == dead.sizes["event"]


def test_saturation_limits_the_rate() -> None:
    profile = Box(2.0, 3.0)
    ev = simulate.events(
        Source(10.0, imx=0, imy=0, light_curve=profile),
        Background(0.1),
        duration=5.0,
        saturation=20_000.0,
        **QUIET,
    )
    per_slot = np.histogram(ev["time"].values - T0, np.arange(0, 5.001, 0.01))[0]
    assert per_slot.max() == 200
    assert (per_slot[200:300] == 200).all()
    assert per_slot[:200].mean() == pytest.approx(32.8, rel=0.05)


def test_ten_million_events_in_seconds() -> None:
    import time

    simulate.events((), Background(0.01), duration=1.0)
    begin = time.perf_counter()
    ev = simulate.events(Source(0.5, imx=0.25, imy=0.1), Background(1.5), duration=200.0, detectors=PERFECT)
    assert ev.sizes["event"] > 10_000_000
    assert time.perf_counter() - begin < 15


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Source(-1.0, imx=0, imy=0), ValueRangeError, "above|at least"),
        (lambda: Source(np.nan, imx=0, imy=0), ValueRangeError, "finite"),
        (lambda: Source(1.0), PositionError, "exactly one"),
        (lambda: Source(1.0, ra=1.0, dec=2.0, imx=0.0, imy=0.0), PositionError, "exactly one"),
        (lambda: Source(1.0, ra=1.0, dec=95.0), PositionError, "-90 to 90"),
        (lambda: Source(1.0, imx=0, imy=0, per="module"), ValueRangeError, "per="),
        (lambda: Source(imx=0, imy=0), ValueRangeError, "no rate"),
        (lambda: Source(1.0, imx=0, imy=0, spectrum="band"), ValueRangeError, "spectrum"),
        (lambda: Background(-0.1), ValueRangeError, "background rate"),
        (lambda: Background(gradient=(2.0, 0.0)), ValueRangeError, "negative"),
        (lambda: PowerLaw(2.0, 100.0, 50.0), ValueRangeError, "low < high"),
        (lambda: simulate.Cutoff(2.5), ValueRangeError, "below 2"),
        (lambda: Box(5.0, 5.0), ValueRangeError, "start < stop"),
        (lambda: Fred(0.0, 0.0, 1.0), ValueRangeError, "rise"),
        (lambda: simulate.Sampled([0, 1], [1, -1]), ValueRangeError, "not negative"),
        (lambda: Glitch(1.0, column=16), ValueRangeError, "0 to 15"),
        (lambda: Slew(5.0, 4.0, 0.0, 0.0), ValueRangeError, "start < stop"),
        (lambda: simulate.aperture("square"), ValueRangeError, "reference"),
        (lambda: simulate.detector_table(hot=-1), ValueRangeError, "hot"),
        (lambda: simulate.detector_table(disabled=40000), ValueRangeError, "fewer"),
        (lambda: simulate.attitude(T0, 0.0), ValueRangeError, "duration"),
        (
            lambda: simulate.attitude(T0, 9.0, slews=[Slew(1, 5, 0, 0), Slew(4, 6, 1, 1)]),
            ValueRangeError,
            "overlap",
        ),
    ],
)
def test_bad_descriptions_are_refused(make, error, text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"duration": 0.0}, ValueRangeError, "duration"),
        ({"gti": [(T0, T0 + 5), (T0 + 4, T0 + 9)]}, GtiError, "overlap"),
        ({"gti": [(T0 + 5, T0 + 4)]}, GtiError, "gti|GTI|interval"),
        ({"gti": [(T0 - 5, T0 + 4)]}, GtiError, "inside the observation"),
        ({"gti": []}, GtiError, "gti|GTI|interval"),
        ({"sources": Source(1.0, ra=330.0, dec=-30.0)}, PositionError, "behind"),
        ({"sources": Source(1.0, imx=5.0, imy=0.0)}, PositionError, "outside the field"),
        ({"sources": Source(1.0, imx=0, imy=0, light_curve="fred")}, ValueRangeError, "light curve"),
        ({"sources": Source(1.0, imx=0, imy=0, light_curve=lambda t: t - 5)}, ValueRangeError, "negative"),
        ({"sources": Source(1.0, imx=0, imy=0, spectrum=lambda e: 0 * e)}, ValueRangeError, "positive"),
        ({"attitude": simulate.attitude(T0, 2.0, margin=0.0)}, AttitudeError, "cover"),
        ({"aperture": simulate.alignment()}, KindError, "aperture"),
        ({"dead_time": -1.0}, ValueRangeError, "dead_time"),
        ({"seed": -3}, ValueRangeError, "seed"),
    ],
)
def test_bad_requests_are_refused(options, error, text: str) -> None:
    with pytest.raises(error, match=text):
        simulate.events(**{"background": Background(0.01), "duration": 10.0, **options})


def test_units_are_accepted() -> None:
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    from batx.met import met_to_time

    plain = simulate.events(Source(1.0, ra=150.0, dec=30.0), DARK, duration=60.0, **QUIET)
    place = SkyCoord(150.0, 30.0, unit="deg")
    start = Time(met_to_time(T0, utcf=-22.5))
    same = simulate.events(Source(1.0, place), DARK, start=start, duration=1 * u.min, **QUIET)
    assert same.attrs["tstart"] == pytest.approx(T0, abs=1e-4)
    assert same.sizes == plain.sizes
    assert np.array_equal(DETID[same["dety"], same["detx"]], same["detid"])


@pytest.mark.parametrize("base", [simulate.Spectrum, simulate.Profile])
def test_a_shape_without_a_formula_cannot_be_made(base):
    with pytest.raises(TypeError, match="abstract"):
        base()


def test_a_mixture_of_counts_cannot_be_folded_through_a_response():
    mixture = simulate.Mixture(((0.5, PowerLaw(2.0)), (0.5, Line(60.0))))
    with pytest.raises(ValueRangeError, match="Mixture with a response"):
        Source(imx=0.0, imy=0.0, spectrum=mixture, response=make("response"))


def test_a_packaged_response_is_that_of_the_place():
    """The energies of a source are those of the response where it is, in the rate that was asked for."""
    options = dict(QUIET) | {"duration": 20.0, "seed": 5}
    shape = simulate.Cutoff(index=1.5, peak=80.0)
    at = {"imx": 0.3, "imy": 0.1}
    mine = simulate.events(Source(5.0, **at, spectrum=shape, response="packaged"), DARK, **options)
    given = simulate.events(Source(5.0, **at, spectrum=shape, response=response(**at)), DARK, **options)
    xr.testing.assert_equal(mine["pi"], given["pi"])
    with pytest.raises(ValueRangeError, match="response='batse'"):
        Source(5.0, **at, response="batse")
