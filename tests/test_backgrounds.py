"""Background of raw curves: the likelihood at any number of counts, and its error in every sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from block_inputs import curve, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import make
from scipy.integrate import quad
from scipy.optimize import minimize

import batx
from batx.errors import (
    BatxWarning,
    EmptySelectionError,
    GtiError,
    KindError,
    MissingVariableError,
    ValueRangeError,
)
from batx.kernels.polynomial import fit_counts, legendre_means, steady_slope


def poisson(level, n: int = 300, bands: int = 1, seed: int = 0, **options) -> xr.Dataset:
    """Return a curve of Poisson counts around a level, a number or (time,)."""
    expected = np.broadcast_to(np.asarray(level, dtype=float).reshape(-1, 1), (n, bands))
    return curve(np.random.default_rng(seed).poisson(expected), **options)


# --- the fit ---


@pytest.mark.parametrize("degree", range(7))
def test_means_of_polynomials(degree):
    lower, width = np.array([100.0, 103.0, 107.5]), np.array([3.0, 0.1, 9.0])
    found = legendre_means(lower, width, 110.0, 8.0, degree)[:, degree]
    basis = np.polynomial.legendre.Legendre.basis(degree)
    for k in range(3):
        whole = quad(lambda t: basis((t - 110.0) / 8.0), lower[k], lower[k] + width[k])[0]
        assert found[k] == pytest.approx(whole / width[k], abs=1e-12)


@pytest.mark.parametrize("level", [0.1, 1.0, 40.0])
def test_fit_is_the_maximum_of_the_likelihood(level):
    rng = np.random.default_rng(7)
    x = np.linspace(-0.98, 0.98, 80)
    design = np.column_stack([np.ones(80), x, 1.5 * x**2 - 0.5])
    counts = rng.poisson(level * (1 + 0.5 * x))
    made = fit_counts(design, counts)

    def minus_likelihood(c):
        expected = design @ c
        return np.inf if np.any(expected <= 0) else np.sum(expected - counts * np.log(expected))

    start = [counts.mean(), 0, 0]
    best = minimize(
        minus_likelihood,
        start,
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9999},
    )
    assert minus_likelihood(made.coefficients) <= best.fun + 1e-5
    assert np.all(np.abs(made.coefficients - best.x) < 0.01 * np.sqrt(np.diag(made.covariance)))
    information = design.T @ (design / np.maximum(design @ made.coefficients, 1 / 80)[:, None])
    np.testing.assert_allclose(made.covariance, np.linalg.inv(information), rtol=1e-9)
    assert made.expected.sum() == pytest.approx(counts.sum(), rel=1e-6)  # so without bias


def test_a_fit_on_the_edge_of_what_is_positive_ends():
    """No counts in one half: the best line would be negative there."""
    x = np.linspace(-1, 1, 40)
    made = fit_counts(np.column_stack([np.ones(40), x]), np.where(x > 0.5, 3, 0))
    assert made is None or np.all(made.expected > 0)
    assert fit_counts(np.ones((10, 1)), np.zeros(10)) is None
    assert fit_counts(np.ones((10, 2)), np.ones(10)) is None


def test_weights_of_the_data_would_be_biased():
    """What the likelihood is for: at 2 counts a bin, weights 1/n lose almost one count a bin."""
    lc = poisson(2.0, n=4000, seed=3)
    assert float(lc.bat.background(degree=0).counts[0, 0]) == pytest.approx(float(lc.counts.mean()), rel=1e-6)


# --- errors ---


@pytest.mark.parametrize("level", [0.3, 20.0])
def test_net_counts_have_the_error_stated(level):
    """Curves on a slope, the net counts of 60 bins in the middle: no bias, pulls of width 1."""
    expected = level * (1 + 0.8 * np.linspace(-1, 1, 300))
    net = []
    for seed in range(120):
        lc = poisson(expected, seed=seed)
        total = lc.bat.subtract_background(on=(120, 180), dispersion=1).bat.rebin_time(edges=[120, 180])
        net.append([total.counts.item(), total.counts_err.item()])
    values, errors = np.transpose(net)
    pulls = values / errors
    assert abs(values.mean()) < 4 * errors.mean() / np.sqrt(120)
    assert 0.8 < pulls.std() < 1.15


def test_sums_have_the_common_error():
    """Counts of sums and their background: as if the sums had been made before."""
    lc = poisson(30.0, n=120, bands=3, seed=2)
    bg = lc.bat.background(on=(40, 60), degree=2, dispersion=1)
    net = lc.bat.subtract_background(bg)
    for edges in ([0, 120], [40, 60], [10, 20, 50, 110]):
        wide = net.bat.rebin_time(edges=edges)
        direct = lc.bat.rebin_time(edges=edges).bat.subtract_background(bg)
        for name in ("counts", "counts_err", "background"):
            np.testing.assert_allclose(wide[name], direct[name], rtol=1e-10, atol=1e-9)
    wide, whole = net.bat.rebin_time(edges=[40, 60]), lc.bat.rebin_time(edges=[40, 60])
    independent = np.sqrt(whole.counts.values)
    assert np.all(wide.counts_err.values > 1.05 * independent)  # 20 bins share one background
    # and over bands, whose backgrounds are independent
    both = wide.bat.rebin_energy([15, 350])
    common = wide.counts_err.values**2 - np.maximum(whole.counts.values, wide.background.values)
    variance = max(whole.counts.values.sum(), wide.background.values.sum()) + common.sum()
    assert both.counts_err.item() == pytest.approx(np.sqrt(variance), rel=1e-10)
    np.testing.assert_allclose(
        net.bat.rebin_energy([15, 350]).bat.rebin_time(edges=[40, 60]).counts_err, both.counts_err
    )


def test_error_of_a_constant_by_hand():
    lc = curve([10, 12, 9, 60, 41, 11, 10, 9])
    net = lc.bat.subtract_background(on=(3, 5), degree=0, dispersion=1)
    level = 61 / 6
    np.testing.assert_allclose(net.counts[3], 60 - level)
    np.testing.assert_allclose(net.counts_err[3], np.sqrt(60 + level / 6))
    np.testing.assert_allclose(
        net.counts_err[2], np.sqrt(level + level / 6)
    )  # not less than the background's
    total = net.bat.rebin_time(edges=[3, 5])
    np.testing.assert_allclose(total.counts_err, np.sqrt(101 + 4 * level / 6))
    background = lc.bat.background(on=(3, 5), degree=0, dispersion=1).drop_vars("off")
    background = background.bat.rebin_time(edges=[3, 5])
    np.testing.assert_allclose(background.counts_err, 2 * np.sqrt(level / 6))


def test_a_background_serves_other_bins():
    fine = poisson(5.0, n=400, width=0.25, seed=5)
    bg = fine.bat.rebin_time(dt=1.0).bat.background(on=(40, 60))
    net = fine.bat.subtract_background(bg)
    np.testing.assert_allclose(
        net.bat.rebin_time(dt=1.0).counts, fine.bat.rebin_time(dt=1.0).bat.subtract_background(bg).counts
    )
    assert float(net.background.sum()) == pytest.approx(float(bg.counts.sum()))


def test_rates_are_treated_like_counts():
    counts = poisson(30.0, n=100, width=0.5, exposure=np.r_[np.full(50, 0.5), np.full(50, 0.4)])
    rates = counts.assign(rate=(counts.counts / counts.exposure).assign_attrs(units="count/s"))
    rates = rates.drop_vars("counts")
    for verb in ("background", "subtract_background"):
        one, other = (getattr(lc.bat, verb)(on=(20, 30)) for lc in (counts, rates))
        np.testing.assert_allclose(other.rate * other.exposure, one.counts)
        np.testing.assert_allclose(other.rate_err * other.exposure, one.counts_err)
    np.testing.assert_allclose(
        other.bat.rebin_time(dt=5).rate_err * other.bat.rebin_time(dt=5).exposure,
        one.bat.rebin_time(dt=5).counts_err,
    )


# --- choices ---


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_degree_is_found(degree):
    x = np.linspace(-1, 1, 300)
    lc = poisson(300 * (1 + 0.3 * np.polynomial.legendre.Legendre.basis(degree)(x)), bands=2)
    assert lc.bat.background(on=(100, 140), degree="auto").sizes["term"] - 1 == degree


def test_dispersion():
    assert poisson(50.0).bat.background().background_dispersion.item() == 1.0
    wild = curve(2 * np.random.default_rng(1).poisson(25, 600))
    bg = wild.bat.background()
    assert bg.background_dispersion.item() == pytest.approx(2.0, rel=0.2)
    plain = wild.bat.background(dispersion=1)
    np.testing.assert_allclose(bg.counts_err, plain.counts_err * np.sqrt(bg.background_dispersion.item()))
    assert bg.background_dispersion.item() == pytest.approx(bg.pearson.item() / bg.dof.item())


def test_intervals_in_any_form():
    lc = poisson(20.0, n=100).assign_attrs(trigger_time=50.0)
    expected = lc.bat.background([(0, 40), (60, 100)])
    assert int(expected.off.sum()) == 80
    gti = batx.build("gti", {"start": [0.0, 60.0], "stop": [40.0, 100.0]})
    for made in (
        lc.bat.background(gti),
        lc.bat.background(on=(40, 60)),
        lc.bat.background(on=(-10, 10), t0="trigger"),
        lc.bat.background(on=[(40, 50), (50, 60)]),
    ):
        np.testing.assert_array_equal(made.counts, expected.counts)
    # a bin that reaches into the burst is not fitted
    assert int(lc.bat.background(on=(39.5, 60)).off.sum()) == 79
    assert int(lc.bat.background((0.5, 40)).off.sum()) == 39


def test_whole_events_of_triggers_are_left_out():
    triggers = make("triggers")
    start = float(triggers.event_start.min()) - 20
    lc = poisson(20.0, n=100, lower=start + np.arange(100))
    on = lc.bat.background(on=triggers).off.values
    assert not on[(lc.time > triggers.event_start[1]) & (lc.time < triggers.event_stop[1])].any()
    assert on[0]


def test_round_trips(tmp_path):
    lc = poisson(20.0, n=60, bands=3, obs_id="00012345000", telescope="SWIFT", instrument="BAT")
    net = lc.bat.subtract_background(on=(20, 30))
    assert net.bat.check() == []
    back = batx.open_dataset(net.bat.to_netcdf(tmp_path / "net.nc"))
    xr.testing.assert_identical(back.load(), net)
    np.testing.assert_array_equal(back.bat.rebin_time(dt=10).counts_err, net.bat.rebin_time(dt=10).counts_err)
    read = batx.open_dataset(net.bat.to_fits(tmp_path / "net.lc"))
    assert read.attrs["statistic"] == "gaussian"
    assert read.attrs["weighting"] == "none"
    for name in ("counts", "counts_err", "background"):
        np.testing.assert_array_equal(read[name], net[name])
    with pytest.raises(MissingVariableError, match="background_covariance"):
        net.drop_vars("background_covariance").bat.rebin_time(dt=10)


def test_one_band_selected():
    net = poisson(20.0, n=60, bands=3).bat.subtract_background(on=(20, 30))
    one = net.isel(energy=1).bat.rebin_time(dt=10)
    np.testing.assert_allclose(one.counts_err[:, 0], net.bat.rebin_time(dt=10).counts_err[:, 1])


@given(
    level=st.floats(0.5, 200),
    slope=st.floats(-0.9, 0.9),
    gap=st.integers(0, 20),
    degree=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_fitted_bins_sum_to_what_was_counted(level, slope, gap, degree, seed):
    """At the maximum of the likelihood Σ n = Σ μ, whatever is left out, unless a limit is reached."""
    lower = np.r_[np.arange(40.0), 40.0 + gap + np.arange(40.0)]
    lc = poisson(level * (1 + slope * np.linspace(-1, 1, 80)), n=80, seed=seed, lower=lower)
    bg = lc.bat.background(degree=degree)
    assert float(bg.counts.sum()) == pytest.approx(float(lc.counts.sum()), rel=1e-4)
    assert np.all(bg.counts_err > 0)


# --- ramps ---


def test_ramps():
    level = 5000 + np.clip(np.arange(900) - 300, 0, 200) * 20.0
    found = poisson(level, n=900).bat.ramps()
    assert found.sizes["gti"] == 1
    assert abs(found.start.item() - 300) <= 32
    assert abs(found.stop.item() - 500) <= 32
    quiet = batx.gti_complement(found, 0, 900)
    assert 900 - 64 - 200 < quiet.bat.exposure() < 900 - 200 + 64


@pytest.mark.parametrize("dt", [0.064, 1.0, 8.0])
def test_what_is_no_ramp(dt):
    n = int(900 / dt)
    times = (np.arange(n) + 0.5) * dt
    slow = 5000 * (1 + 4e-4 * times)
    burst = 30000 * np.exp(-0.5 * ((times - 450) / 4) ** 2)
    assert poisson((slow + burst) * dt, n=n, width=dt).bat.ramps().sizes["gti"] == 0
    assert poisson(0.05 * dt, n=n, width=dt).bat.ramps().sizes["gti"] == 0


def test_ramps_do_not_cross_gaps():
    lower = np.r_[np.arange(300.0), 5000 + np.arange(300.0)]
    assert (
        poisson(np.r_[np.full(300, 5000), np.full(300, 9000)], n=600, lower=lower).bat.ramps().sizes["gti"]
        == 0
    )


def test_slope_is_that_of_the_curve():
    level, slope = steady_slope(3.0 + 2.0 * np.arange(10), 4.0)
    np.testing.assert_allclose(slope, 0.5)
    np.testing.assert_allclose(level[2:-2], 3.0 + 2.0 * np.arange(2, 8))


def test_real_ramps(shared: Path):
    """The file of a pass by the Anomaly has three ramps; that of a slow decline after it has none."""
    folder = shared / "data" / "rates"
    lc = batx.open_dataset(folder / "sw00076663006brt1s.lc.gz")
    found = lc.bat.ramps()
    begin = float(lc.time_bnds[0, 0])
    np.testing.assert_array_equal(found.start - begin, [0, 320, 1024])
    np.testing.assert_array_equal(found.stop - begin, [240, 640, 1344])
    assert batx.open_dataset(folder / "sw00021727001brt1s.lc.gz").bat.ramps().sizes["gti"] == 0
    quiet = batx.open_dataset(folder / "sw00074044029brtms.lc.gz").bat.background(degree="auto")
    assert quiet.sizes["term"] > 1  # the band above 100 keV falls by 15 %
    spread = quiet.background_dispersion.values
    assert spread[0] == 1.0
    assert 1.2 < spread[3] < 1.5


# --- what is refused ---

VERBS = ("background", "subtract_background", "ramps")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("lc", "error", "message"),
    [
        (curve(np.full(20, np.nan)), EmptySelectionError, "none of the 20 bins"),
        (curve(np.r_[np.full(19, 5.0), -1.0]), ValueRangeError, "1 negative counts"),
        (curve(np.full(20, 5), exposure=np.zeros(20)), ValueRangeError, "exposure 0"),
        (curve(np.full(20, 0), exposure=np.zeros(20)), EmptySelectionError, "none of the 20 bins"),
        (curve(np.full(20, 5)).isel(time=slice(None, None, -1)), ValueRangeError, "in order"),
        (curve([5, 5, 5], lower=[0, 0.5, 2]), ValueRangeError, "do not overlap"),
        (noise(20), ValueRangeError, "mask-weighted|expected raw counts"),
        (curve(np.ones(20), np.zeros(20)), ValueRangeError, "expected raw counts"),
        (make("events"), KindError, "works on kind"),
        (curve(np.full(20, 5)).expand_dims(source=2), KindError, "several sources"),
    ],
    ids=[
        "nan",
        "negative",
        "counts-0s",
        "0s",
        "backwards",
        "overlap",
        "weighted",
        "zero-err",
        "kind",
        "sources",
    ],
)
def test_bad_curves(verb, lc, error, message):
    with pytest.raises(error, match=message):
        getattr(lc.bat, verb)()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"degree": -1}, ValueRangeError, "degree: found -1"),
        ({"degree": 1.5}, ValueRangeError, "degree: found 1.5"),
        ({"degree": "high"}, ValueRangeError, "degree: found 'high'"),
        ({"degree": 20}, ValueRangeError, "no polynomial of degree 20 can be fitted to 20 bins"),
        ({"dispersion": 0}, ValueRangeError, "dispersion: found 0"),
        ({"dispersion": "big"}, ValueRangeError, "dispersion: found 'big'"),
        ({"off": (100, 200)}, EmptySelectionError, "none of the 20 bins"),
        ({"on": (0, 20)}, EmptySelectionError, "none of the 20 bins"),
        ({"off": (5, 2)}, GtiError, "before"),
        ({"off": [1, 2, 3]}, GtiError, "pairs"),
        ({"off": make("catalog")}, GtiError, "expected gti_start"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        poisson(20.0, n=20).bat.background(**options)


def test_what_does_not_fit_together():
    lc = poisson(20.0, n=20, bands=2)
    bg = lc.bat.background()
    with pytest.raises(KindError, match="sum bands before the fit"):
        lc.bat.rebin_energy([15, 350]).bat.subtract_background(bg)
    with pytest.raises(KindError, match="expected a result of"):
        lc.bat.subtract_background(lc)
    with pytest.raises(KindError, match="expected a result of"):
        lc.bat.subtract_background(lc.bat.subtract_background(bg))
    with pytest.raises(ValueRangeError, match="found a background and degree"):
        lc.bat.subtract_background(bg, degree=1)
    with pytest.raises(ValueRangeError, match="expected raw counts"):
        lc.bat.subtract_background(bg).bat.background()
    with pytest.raises(ValueRangeError, match="can be fitted to 20 bins"):
        curve(np.zeros(20)).bat.background()


def test_curves_of_one_value_or_one_bin():
    assert curve(np.full(20, 7)).bat.background().counts.values == pytest.approx(7.0)
    with pytest.raises(ValueRangeError, match="can be fitted to 1 bins"):
        curve([7]).bat.background(degree=0)
    assert curve([7]).bat.ramps().sizes["gti"] == 0


def test_a_negative_polynomial_is_reported():
    level = np.r_[np.linspace(40, 1, 50), np.full(50, 1)]
    with pytest.warns(BatxWarning, match="is negative in"):
        poisson(level, n=100).bat.background((0, 45))


def test_bins_without_exposure_stay_empty():
    lc = curve(np.full(20, 7.0), exposure=np.r_[np.zeros(2), np.ones(18)])
    lc["counts"][:2] = 0
    net = lc.bat.subtract_background(degree=0)
    assert net.counts_err.values[:2].tolist() == [[0], [0]]
    assert net.background.values[:2].tolist() == [[0], [0]]
    with pytest.raises(ValueRangeError, match="limit: found 0"):
        lc.bat.ramps(limit=0)
