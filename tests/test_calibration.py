"""Are the numbers of the analysis right? Simulations with a known answer, through the public functions.

`efficiency` below is what the weights make of the noiseless shadow of a source of 1 count per fully lit
detector. With ``normalisation="geometry"`` it is 1, and recovered counts are tested against the injected
ones. The default divides by the analytic expectation of the tools (algorithms 2.1, step 4), which leaves up
to 6 per cent: tested are the recovered counts against the injected ones times `efficiency`, and `efficiency`
against 1 separately.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import batx
from batx import simulate
from batx.instrument.mask import FAR, MaskGeometry, weight_map
from batx.simulate import Background, Fred, PowerLaw, Slew, Source

T0 = 6e8
PERFECT = simulate.detector_table(disabled=0, hot=0, cold=0)
MASK = simulate.aperture(seed=20)
ALIGNMENT = simulate.alignment()
FLAT = {"gradient": (0.0, 0.0), "curvature": (0.0, 0.0), "edge": 0.0}
BAND = [10, 500]
#: tangent-plane step that leaves no lag of the shadow during slews
FINE = 3e-5

#: places on the tangent plane over the whole field, coding fractions 1 to 0.1
PLACES = [
    (0.0, 0.0),
    (0.25, 0.10),
    (-0.45, -0.15),
    (0.6, 0.3),
    (-0.8, 0.2),
    (0.0, 0.6),
    (0.1, -0.7),
    (1.0, 0.0),
    (-1.1, -0.3),
    (1.2, 0.5),
    (-0.7, 0.75),
    (1.4, 0.1),
    (-1.5, -0.25),
    (0.2, 0.9),
    (1.65, 0.0),
    (-1.7, 0.2),
]


def simulated(sources, background: Background, duration: float, seed: int, **options) -> xr.Dataset:
    common = {"aperture": MASK, "alignment": ALIGNMENT, "detectors": PERFECT, "calibration": 0.0}
    return simulate.events(sources, background, duration=duration, seed=seed, **{**common, **options})


def weighted(events: xr.Dataset, imx, imy, normalisation: str = "tool") -> xr.Dataset:
    return batx.mask_weight(events, imx, imy, frame="tangent", aperture=MASK, normalisation=normalisation)


@cache
def maps(imx: float, imy: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return weights, relative counts of a source, and coding fraction."""
    cells = MASK["mask"].values
    geometry = MaskGeometry.from_attrs(MASK.attrs, cells.shape)
    place = (imx * FAR, imy * FAR, FAR)
    weight, pcode, _, _ = weight_map(cells, geometry, place)
    corrections = ("forward", "unbalanced", "flatfield")
    return weight, weight_map(cells, geometry, place, corrections=corrections, rebalance=False)[0], pcode


def efficiency(imx: float, imy: float) -> float:
    weight, shadow, _ = maps(imx, imy)
    return float((weight * shadow).sum())


def is_standard_normal(pulls: np.ndarray) -> None:
    n = len(pulls)
    assert abs(pulls.mean()) < 4 / np.sqrt(n)
    assert abs(pulls.var() - 1) < 5 * np.sqrt(2 / n)
    assert stats.kstest(pulls, "norm").pvalue > 1e-4


@pytest.mark.parametrize("form", ["flat", "curved"])
def test_source_free_positions_have_mean_zero_and_unit_pulls(form: str) -> None:
    background = Background(0.25, **FLAT) if form == "flat" else Background(0.25)
    events = simulated((), background, 250.0, seed=1)
    places = np.array(PLACES)
    curve = batx.lightcurve(weighted(events, places[:, 0], places[:, 1]), dt=0.5, energy=BAND)
    assert curve["rate"].dims == ("source", "time", "energy")
    for source, (imx, imy) in enumerate(PLACES):
        rate, error = (curve[name].values[source, :, 0] for name in ("rate", "rate_err"))
        # a background that is not flat leaves a small constant, which the geometry tells
        weight, uneven = maps(imx, imy)[0], background.shape() - 1
        left_over = 0.25 * float((weight * background.shape()).sum())
        is_standard_normal((rate - left_over) / error)
        if form == "flat":
            mean_error = np.sqrt((error**2).sum()) / len(error)
            assert abs(left_over) < 1e-12
            assert abs(rate.mean()) < 4 * mean_error
        else:
            # as of weights without regard to the unevenness
            assert abs(left_over) < 4 * 0.25 * np.sqrt((weight**2 * uneven**2).sum())


def test_light_of_a_burst_does_not_appear_before_it() -> None:
    burst = Source(2.0, imx=0.6, imy=0.3, light_curve=Fred(100.0, 1.0, 10.0))
    events = simulated(burst, Background(0.25, **FLAT), 160.0, seed=2)
    curve = batx.lightcurve(weighted(events, 0.6, 0.3), dt=0.2, energy=BAND)
    before = curve["time"].values < T0 + 99.9
    is_standard_normal((curve["rate"] / curve["rate_err"]).values[before, 0])


@pytest.mark.parametrize(
    ("seed", "normalisation"), [(3, "tool"), (4, "tool"), (3, "geometry"), (5, "geometry")]
)
def test_recovered_counts_are_unbiased_at_every_coding_fraction(seed: int, normalisation: str) -> None:
    background = Background(0.05, **FLAT)
    pulls, ratios, coding = [], [], []
    for number, (imx, imy) in enumerate(PLACES):
        duration, rate = 20.0, 1.0
        source = Source(rate, imx=imx, imy=imy, spectrum=PowerLaw(1.7, 15, 150))
        simulation = simulated(source, background, duration, seed=100 * seed + number)
        events = weighted(simulation, imx, imy, normalisation)
        spectrum = batx.spectrum(events, energy=BAND)
        counts = float(spectrum["rate"].sum()) * duration
        error = float(np.sqrt((spectrum["stat_err"] ** 2).sum())) * duration
        assert events.attrs["pcodefr"] == pytest.approx(maps(imx, imy)[2], rel=1e-6)
        expected = efficiency(imx, imy) if normalisation == "tool" else 1.0
        pulls.append((counts - rate * duration * expected) / error)
        ratios.append(counts / (rate * duration))
        coding.append(events.attrs["pcodefr"])
    assert min(coding) > 0.1
    assert min(coding) < 0.2
    assert max(coding) == 1.0
    pulls_array = np.array(pulls)
    assert abs(pulls_array.mean()) < 4 / np.sqrt(len(pulls))
    assert stats.chi2(len(pulls)).sf((pulls_array**2).sum()) > 1e-4
    assert np.max(np.abs(pulls)) < 4.5
    assert np.abs(np.array(ratios) - 1).max() < 0.10


def test_the_analytic_normalisation_is_right_to_a_few_per_cent() -> None:
    """Over the field and over masks: what no statistics can show, as the tools define the weights."""
    values = np.array([efficiency(*place) for place in PLACES])
    assert np.abs(values - 1).max() < 0.07
    assert abs(values.mean() - 1) < 0.03
    central = [efficiency(*place) for place in PLACES if maps(*place)[2] == 1]
    assert np.abs(np.array(central) - 1).max() < 0.025


def test_normalised_by_geometry_the_noiseless_shadow_gives_its_counts() -> None:
    """Through the public weight image, and with a quarter of the detectors switched off."""
    good = np.random.default_rng(3).random((173, 286)) < 0.75
    places = np.array(PLACES)
    position = (places[:, 0], places[:, 1])
    for detectors in (None, good):
        common = {"frame": "tangent", "aperture": MASK, "detector_mask": detectors}
        image = batx.mask_weight_image(MASK, *position, normalisation="geometry", **common)
        shadow = np.stack([maps(*place)[1] for place in PLACES])
        np.testing.assert_allclose((image["weight"].values * shadow).sum(axis=(1, 2)), 1.0, rtol=1e-12)
        default = batx.mask_weight_image(MASK, *position, **common)
        ratio = (default["weight"] / image["weight"]).where(image["weight"] != 0)
        assert float((ratio.max(("dety", "detx")) - ratio.min(("dety", "detx"))).max()) < 1e-9
        np.testing.assert_array_equal(image["mask_weight_norm"], default["mask_weight_norm"])


def test_normalised_by_geometry_a_source_keeps_its_rate_through_a_slew() -> None:
    attitude = simulate.attitude(T0, 100.0, slews=[Slew(30.0, 70.0, 162.0, 24.0, 45.0)], jitter=2.0, seed=1)
    events = simulated(
        Source(1.0, ra=160.0, dec=27.0),
        Background(0.1, **FLAT),
        100.0,
        seed=11,
        attitude=attitude,
        angular_step=FINE,
    )
    fixed = {"attitude": attitude, "aperture": MASK, "alignment": ALIGNMENT, "tolerance": FINE}
    fixed["normalisation"] = "geometry"
    weights = batx.mask_weight(events, 160.0, 27.0, **fixed)
    chunked = batx.mask_weight(events.chunk(event=100_000), 160.0, 27.0, **fixed)
    np.testing.assert_array_equal(weights["mask_weight"], chunked["mask_weight"])
    curve = batx.lightcurve(weights, dt=2.0, energy=BAND)
    pulls = (curve["rate"].values[:, 0] - 1.0) / curve["rate_err"].values[:, 0]
    assert np.abs(pulls).max() < 4.5
    assert abs(pulls.mean()) < 4 / np.sqrt(len(pulls))
    assert stats.chi2(len(pulls)).sf((pulls**2).sum()) > 1e-4


@pytest.mark.parametrize("rebalance", [True, False])
def test_the_factor_of_the_geometry_can_be_left_out_and_is_in_the_norm(rebalance: bool) -> None:
    position = {"ra": 0.6, "dec": 0.3, "frame": "tangent", "aperture": MASK, "normalisation": "geometry"}
    full = batx.mask_weight_image(MASK, rebalance=rebalance, **position)
    bare = batx.mask_weight_image(MASK, corrections="flatfield,pcode,ndets", rebalance=rebalance, **position)
    factor = bare.attrs["mskwtsqf"] / full.attrs["mskwtsqf"]
    np.testing.assert_allclose(bare["weight"], full["weight"] * factor, rtol=1e-12)
    table = batx.ray_trace(
        MASK, times=[T0], corrections="flatfield,pcode,ndets", rebalance=rebalance, **position
    )
    assert float(table["mask_weight_norm"][0]) == pytest.approx(bare.attrs["mskwtsqf"], rel=1e-12)


@pytest.mark.parametrize(("imx", "imy"), [(0.25, 0.1), (-1.1, -0.3)])
def test_errors_cover_the_truth_as_often_as_they_should(imx: float, imy: float) -> None:
    """A source as bright as the background in the band, bin by bin, in four bands at once."""
    source = Source(0.25, imx=imx, imy=imy, spectrum=PowerLaw(1.6, 15, 150))
    duration, dt = 250.0, 0.25
    events = weighted(simulated(source, Background(0.25, **FLAT), duration, seed=5), imx, imy)
    bands = [15, 25, 50, 100, 150]
    curve = batx.lightcurve(events, dt=dt, energy=bands)
    share = np.diff(np.array(bands, dtype=float) ** -0.6) / (150**-0.6 - 15**-0.6)
    for band in range(4):
        truth = 0.25 * share[band] * efficiency(imx, imy)
        pulls = (curve["rate"].values[:, band] - truth) / curve["rate_err"].values[:, band]
        n = len(pulls)
        for width, probability in ((1.0, 0.6827), (2.0, 0.9545)):
            inside = (np.abs(pulls) < width).mean()
            assert abs(inside - probability) < 4 * np.sqrt(probability * (1 - probability) / n)
        is_standard_normal(pulls)


def test_spectrum_has_the_shape_that_was_put_in() -> None:
    source = Source(2.0, imx=0.25, imy=0.1, spectrum=PowerLaw(2.0, 15, 195))
    events = weighted(simulated(source, Background(0.1, **FLAT), 100.0, seed=6), 0.25, 0.1)
    spectrum = batx.spectrum(events)
    edges = spectrum["energy_bnds"].values
    low, high = np.clip(edges[:, 0], 15, 195), np.clip(edges[:, 1], 15, 195)
    truth = 2.0 * (1 / low - 1 / high) / (1 / 15 - 1 / 195) * efficiency(0.25, 0.1)
    use = spectrum["stat_err"].values > 0
    pulls = (spectrum["rate"].values - truth)[use] / spectrum["stat_err"].values[use]
    assert use.sum() > 70
    is_standard_normal(pulls)


@pytest.mark.parametrize(("first", "second"), [((0.25, 0.1), (0.3, 0.12)), ((0.25, 0.1), (-0.8, 0.2))])
def test_two_sources_leak_no_more_than_geometry_predicts(first, second) -> None:
    """A source twenty times brighter than the other, in the same field."""
    rates, duration = (4.0, 0.2), 60.0
    sources = [Source(rate, imx=x, imy=y) for rate, (x, y) in zip(rates, (first, second), strict=True)]
    events = simulated(sources, Background(0.1, **FLAT), duration, seed=7)
    places = np.array([first, second])
    spectrum = batx.spectrum(weighted(events, places[:, 0], places[:, 1]), energy=BAND)
    for number, place in enumerate((first, second)):
        weight = maps(*place)[0]
        made = [
            rate * float((weight * maps(*other)[1]).sum())
            for rate, other in zip(rates, (first, second), strict=True)
        ]
        rate = float(spectrum["rate"].isel(source=number).sum())
        error = float(spectrum["stat_err"].isel(source=number).sum())
        assert abs(rate - sum(made)) < 4 * error
        other = 1 - number
        # no more than the random correlation of two shadows of a random mask
        assert abs(made[other]) < 5 * rates[other] * np.sqrt(
            (weight**2 * maps(*(first, second)[other])[1]).sum()
        )
    alone = simulated(sources[1:], Background(0.1, **FLAT), duration, seed=8)
    quiet = batx.spectrum(weighted(alone, *second), energy=BAND)
    assert float(quiet["rate"].sum()) == pytest.approx(
        rates[1] * efficiency(*second), abs=4 * float(quiet["stat_err"].sum())
    )


def test_recovered_rate_during_a_slew() -> None:
    attitude = simulate.attitude(T0, 100.0, slews=[Slew(30.0, 70.0, 162.0, 24.0, 45.0)], jitter=2.0, seed=1)
    source = Source(1.0, ra=160.0, dec=27.0)
    events = simulated(source, Background(0.1, **FLAT), 100.0, seed=9, attitude=attitude, angular_step=FINE)
    fixed = {"attitude": attitude, "aperture": MASK, "alignment": ALIGNMENT}
    weights = batx.mask_weight(events, 160.0, 27.0, tolerance=FINE, **fixed)
    curve = batx.lightcurve(weights, dt=2.0, energy=BAND)
    table = batx.ray_trace(events, 160.0, 27.0, times=curve["time"].values, **fixed)
    expected = np.array(
        [efficiency(float(x), float(y)) for x, y in zip(table["imx"], table["imy"], strict=True)]
    )
    pulls = (curve["rate"].values[:, 0] - expected) / curve["rate_err"].values[:, 0]
    assert np.abs(pulls).max() < 4.5
    assert stats.chi2(len(pulls)).sf((pulls**2).sum()) > 1e-4
    coarse = batx.lightcurve(batx.mask_weight(events, 160.0, 27.0, **fixed), dt=2.0, energy=BAND)
    slewing = (curve["time"] > T0 + 35) & (curve["time"] < T0 + 65)
    lost = 1 - float(coarse["rate"][slewing].mean() / curve["rate"][slewing].mean())
    assert 0.002 < lost < 0.03, "the shadow of the last trace lags by up to the tolerance of the tools"
    wrong = batx.lightcurve(batx.mask_weight(events, 160.0, 27.5, **fixed), dt=2.0, energy=BAND)
    assert abs(float(wrong["rate"].mean())) < 0.02


def test_raw_light_curve_counts_the_events() -> None:
    """Unweighted: every good event of the band, in Poisson bins of the right mean."""
    events = simulated((), Background(0.2), 100.0, seed=10, gti=[(T0, T0 + 40), (T0 + 41, T0 + 100)])
    curve = batx.lightcurve(events, dt=0.1, energy=BAND, weighting="none", quantity="counts")
    assert float(curve["counts"].sum()) == events.sizes["event"]
    full = curve["fracexp"].values > 0.999999
    counts = curve["counts"].values[full, 0]
    mean = 0.2 * 32768 * 0.1
    is_standard_normal((counts - mean) / np.sqrt(mean))
