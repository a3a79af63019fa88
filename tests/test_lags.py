"""Spectral lags: the correlation by its definition, lags that are known, errors that hold, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from block_inputs import curve

import batx
from batx.errors import BatxWarning, EmptySelectionError, KindError, ValueRangeError
from batx.kernels import correlate as kernel

STEP = 0.1
TIME = (np.arange(500) + 0.5) * STEP


def bump(shift: float = 0.0, width: float = 2.0) -> np.ndarray:
    """Return a pulse that rises faster than it decays, of height 1."""
    apart = TIME - 20.0 - shift
    return np.exp(-0.5 * (apart / np.where(apart < 0, 0.5 * width, width)) ** 2)


def two_bands(shift: float = 0.4, height: float = 20.0, seed: int | None = 1, **more: float) -> xr.Dataset:
    """Return a soft band that comes `shift` later than the hard one, with errors of 1."""
    values = height * np.column_stack([bump(shift, **more), 0.8 * bump(**more)])
    noise = 0.0 if seed is None else np.random.default_rng(seed).normal(size=values.shape)
    return curve(values + noise, np.ones(len(values)), width=STEP)


# --- correlation -------------------------------------------------------------------------------------------


def test_linear_correlation_is_its_definition() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 40))
    found = kernel.linear_correlation(a, b, 7)
    expected = [
        [sum(a[k, i] * b[k, i + d] for i in range(40) if 0 <= i + d < 40) for d in range(-7, 8)]
        for k in range(3)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_discrete_correlation_is_its_definition() -> None:
    random = np.random.default_rng(0)
    time = np.sort(random.uniform(0, 30, 60))
    a, b = random.normal(size=(2, 2, 60))
    found, pairs = kernel.discrete_correlation(time, a, b, 0.5, 6)
    apart = time[np.newaxis, :] - time[:, np.newaxis]
    for d in range(-6, 7):
        i, j = np.nonzero((apart >= (d - 0.5) * 0.5) & (apart < (d + 0.5) * 0.5))
        assert pairs[d + 6] == i.size
        np.testing.assert_allclose(found[:, d + 6], (a[:, i] * b[:, j]).mean(axis=1), atol=1e-12)


def test_discrete_is_linear_on_even_bins() -> None:
    lc = two_bands()
    linear, discrete = (lc.bat.lag(method=way, n_samples=30, seed=1) for way in ("linear", "discrete"))
    assert (linear.attrs["ccf_method"], discrete.attrs["ccf_method"]) == ("linear", "discrete")
    for name in ("ccf", "lag", "lag_err", "significance"):
        np.testing.assert_allclose(linear[name], discrete[name], rtol=1e-6, atol=1e-9)


def test_edelson_krolik_is_its_definition() -> None:
    lc = two_bands()
    found = lc.bat.lag(interval=(5, 45), method="edelson-krolik", n_samples=10, seed=1)
    soft, hard = lc.rate.values[50:450].T
    a, b = hard - hard.mean(), soft - soft.mean()
    norm = np.sqrt((a.var() - 1.0) * (b.var() - 1.0))
    for d in (-20, 0, 7):
        pairs = a[max(0, -d) : 400 - max(0, d)] * b[max(0, d) : 400 + min(0, d)]
        at = float(found.ccf.sel(delay=d * STEP, method="nearest")[0])
        assert at == pytest.approx(pairs.mean() / norm, rel=1e-9)


def test_normalisation() -> None:
    """Without noise a curve has a correlation of 1 with itself, by any definition."""
    values = np.column_stack([bump(), 3.0 * bump()])
    lc = curve(values, np.full(len(values), 1e-4), width=STEP)
    for method in ("linear", "discrete", "edelson-krolik"):
        found = lc.bat.lag(interval=(2.0, 48.0), method=method, n_samples=10, seed=1)
        at_zero = float(found.ccf.sel(delay=0.0, method="nearest")[0])
        assert at_zero == pytest.approx(1.0, abs=1e-6), method
        assert abs(float(found.lag[0])) < 1e-6


def test_noise_shares_by_brute_force() -> None:
    random = np.random.default_rng(0)
    time = np.sort(random.uniform(0, 20, 50))
    a, b = random.normal(size=(2, 50))
    va, vb = random.uniform(0.5, 2.0, size=(2, 50))
    response = random.normal(size=5)
    single, both = kernel.noise_shares(time, a, b, va, vb, response, -1, 0.5)
    lag = np.floor((time[np.newaxis, :] - time[:, np.newaxis]) / 0.5 + 0.5).astype(int) + 1
    r = np.where((lag >= 0) & (lag < 5), response[np.clip(lag, 0, 4)], 0.0)
    assert single == pytest.approx(np.sum(vb * (a @ r) ** 2) + np.sum(va * (r @ b) ** 2))
    assert both == pytest.approx(va @ r**2 @ vb)


def test_fits_find_what_they_are_given() -> None:
    x = np.linspace(-3.0, 3.0, 41)
    truth = np.array([0.1, 0.7, 0.3, np.log(0.8), np.log(1.7)])
    found, good = kernel.fit_gaussians(x, kernel.gaussian(truth, x)[np.newaxis], 1.0)
    assert good.all()
    np.testing.assert_allclose(found[0], truth, atol=1e-4)
    cubic = np.array([[1.0, 0.2, -0.9, 0.1]])
    u = x / 3.0
    coefficients, place, good = kernel.fit_polynomials(x, cubic @ np.vander(u, 4, increasing=True).T, 3)
    np.testing.assert_allclose(coefficients, cubic, atol=1e-12)
    assert good.all()
    top = np.roots([0.3, -1.8, 0.2]).min() * 3.0
    assert place[0] == pytest.approx(top, abs=1e-9)
    assert not kernel.fit_polynomials(x, x[np.newaxis] ** 2, 2)[2].any()


@pytest.mark.parametrize("shape", ["gaussian", "polynomial"])
def test_response_of_the_place(shape: str) -> None:
    x = np.linspace(-3.0, 3.0, 25)
    values = kernel.gaussian(np.array([0.1, 0.7, 0.3, np.log(0.8), np.log(1.7)]), x)

    def place(curve_: np.ndarray) -> float:
        if shape == "gaussian":
            return float(kernel.fit_gaussians(x, curve_[np.newaxis], 1.0)[0][0, 2])
        return float(kernel.fit_polynomials(x, curve_[np.newaxis], 4)[1][0])

    if shape == "gaussian":
        response = kernel.gaussian_response(kernel.fit_gaussians(x, values[np.newaxis], 1.0)[0][0], x)
    else:
        coefficients, top, _ = kernel.fit_polynomials(x, values[np.newaxis], 4)
        response = kernel.polynomial_response(coefficients[0], float(top[0]), x)
    for k in (3, 12, 20):
        move = np.where(np.arange(x.size) == k, 1e-4, 0.0)
        slope = (place(values + move) - place(values - move)) / 2e-4
        assert response[k] == pytest.approx(slope, abs=2e-3), k


# --- lags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"fit": "polynomial"}, {"fit": "polynomial", "order": 4}])
def test_a_known_lag(how: dict) -> None:
    found = two_bands(height=50.0).bat.lag(n_samples=200, seed=1, **how)
    assert abs(float(found.lag[0]) - 0.4) < 3.0 * float(found.lag_err[0])
    assert float(found.lag_err[0]) < 0.05
    assert found.lag.attrs["units"] == "s"
    assert found.soft_bnds.values[0, 0] < found.hard_bnds.values[0, 0]
    assert float(found.lag_err[0]) == pytest.approx(0.5 * float(found.lag_err_low[0] + found.lag_err_high[0]))
    xr.testing.assert_identical(found, two_bands(height=50.0).bat.lag(n_samples=200, seed=1, **how))


def test_sign_time_and_scale() -> None:
    """Soft after hard is positive; backwards in time the sign turns; the scale does not matter."""
    lc = two_bands(seed=None, height=50.0)
    forth = lc.bat.lag(interval=(1.0, 49.0), n_samples=20, seed=1)
    assert float(forth.lag[0]) == pytest.approx(0.4, abs=0.01)
    back = lc.copy(deep=True)
    back["rate"] = ("time", "energy"), lc.rate.values[::-1]
    turned = back.bat.lag(interval=(1.0, 49.0), n_samples=20, seed=1)
    assert float(turned.lag[0]) == pytest.approx(-float(forth.lag[0]), abs=1e-4)
    other = lc.assign(rate=7.0 * lc.rate, rate_err=7.0 * lc.rate_err)
    np.testing.assert_allclose(
        other.bat.lag(interval=(1.0, 49.0), n_samples=20, seed=1).lag, forth.lag, rtol=1e-6
    )


def test_pairs_by_number_and_energy() -> None:
    values = np.column_stack([bump(0.6), bump(0.3), bump()]) * 50.0
    lc = curve(values + np.random.default_rng(0).normal(size=values.shape), np.ones(500), width=STEP)
    found = lc.bat.lag(n_samples=50, seed=1)
    assert found.sizes["pair"] == 3
    np.testing.assert_allclose(found.lag, [0.3, 0.6, 0.3], atol=0.1)
    bands = lc.energy_bnds.values
    for pairs in ([(2, 0)], [(0, -1)], [(tuple(bands[2]), tuple(bands[0]))], [(0, list(bands[2]))]):
        one = lc.bat.lag(pairs, n_samples=50, seed=1)
        assert one.sizes["pair"] == 1
        assert float(one.lag[0]) == pytest.approx(float(found.lag[1]), abs=1e-9), pairs
    for wrong in ([(0, 0)], [(0, 5)], [(0, 1, 2)], [((15, 16), 1)], [], [3]):
        with pytest.raises(ValueRangeError, match="pairs"):
            lc.bat.lag(wrong)


def test_counts_need_their_background() -> None:
    model = 4.0 * np.column_stack([bump(0.4), bump()]) * 10.0
    lc = curve(np.random.default_rng(3).poisson(model + 50.0), width=STEP)
    found = lc.bat.lag(background=True, n_samples=200, seed=1)
    assert abs(float(found.lag[0]) - 0.4) < 3.0 * float(found.lag_err[0])
    assert float(found.lag_err[0]) < 0.2
    with pytest.raises(EmptySelectionError, match="background=True"):
        lc.bat.lag(interval=(-1.0, 60.0), background=True)


def test_gaps_make_it_discrete() -> None:
    lc = two_bands(height=50.0)
    lc["rate"][230:233] = np.nan
    found = lc.bat.lag(n_samples=100, seed=1)
    assert found.attrs["ccf_method"] == "discrete"
    assert abs(float(found.lag[0]) - 0.4) < 3.0 * float(found.lag_err[0])
    with pytest.raises(ValueRangeError, match="discrete"):
        lc.bat.lag(method="linear")
    uneven = lc.isel(time=np.sort(np.random.default_rng(0).choice(500, 400, replace=False)))
    assert float(uneven.bat.lag(interval=(5, 45), n_samples=50, seed=1).lag[0]) == pytest.approx(
        0.4, abs=0.15
    )


def test_narrow_peak_on_a_broad_one() -> None:
    """Fine structure in both bands gives its own lag, not that of the envelope."""
    random = np.random.default_rng(5)
    envelope = np.exp(-0.5 * ((TIME - 25.0) / 8.0) ** 2)
    places, heights = random.uniform(15, 35, 12), random.uniform(0.5, 1.0, 12)
    spikes = np.exp(-0.5 * ((TIME[:, np.newaxis] - places) / 0.3) ** 2) @ heights
    soft = 30.0 * np.roll(envelope, 10) + 20.0 * np.roll(spikes, 1)
    hard = 30.0 * envelope + 20.0 * spikes
    values = np.column_stack([soft, hard])
    lc = curve(values + random.normal(size=values.shape), np.ones(500), width=STEP)
    found = lc.bat.lag(interval=(2, 48), n_samples=100, seed=1)
    assert float(found.fit_stop[0] - found.fit_start[0]) < 8.0
    assert abs(float(found.lag[0]) - 0.1) < 0.05
    assert float(found.lag_err[0]) < 0.05
    broad = lc.bat.lag(interval=(2, 48), fit_range=(-8, 10), n_samples=100, seed=1)
    assert float(broad.lag[0]) > float(found.lag[0]) + 0.1


def test_interval_in_any_form() -> None:
    lc = two_bands(height=50.0)
    lc.attrs["trigger_time"] = 20.0
    du = lc.bat.rebin_energy([[15.0, 350.0]]).bat.duration()
    by_duration = lc.bat.lag(interval=du, n_samples=20, seed=1)
    assert float(by_duration.start) == float(du.t100_start)
    assert float(by_duration.stop) == float(du.t100_stop)
    for wrong in ((5.0, 3.0), (1.0, 2.0, 3.0), 4.0):
        with pytest.raises(ValueRangeError, match="interval"):
            lc.bat.lag(interval=wrong)
    with pytest.raises(KindError, match="t100_start"):
        lc.bat.lag(interval=lc)


@pytest.mark.slow
def test_errors_hold() -> None:
    """Pulls of the lag of a known shift have unit width, also where noise in both bands counts."""
    for height, low, high in ((5.0, 0.7, 1.25), (20.0, 0.75, 1.25)):
        pulls = []
        for seed in range(60):
            lc = two_bands(height=height, seed=seed)
            found = lc.bat.lag(interval=(14, 34), n_samples=100, seed=1)
            pulls.append(float((found.lag[0] - 0.4) / found.lag_err[0]))
        assert low < np.std(pulls) < high, height
        assert abs(np.mean(pulls)) < 0.4, height


def test_grb_211227a(shared: Path) -> None:
    path = shared / "data" / "lightcurves" / "GRB20211227_T84726_64ms_BAT.thr"
    lc = batx.open_dataset(path, energy=[15, 25, 50, 100, 350], t0=0.0)
    found = lc.bat.lag([(0, 1), (0, 2), (1, 2)], n_samples=200, seed=1)
    assert np.all(found.lag_err < 0.15)
    assert np.all(np.abs(found.lag) < 2.5 * found.lag_err)
    np.testing.assert_allclose(found.lag, [-0.005, -0.031, -0.020], atol=0.002)


# --- bad input ---------------------------------------------------------------------------------------------


def test_too_little() -> None:
    lc = two_bands()
    with pytest.raises(KindError, match="at least two"):
        lc.isel(energy=[0]).bat.lag()
    with pytest.raises(KindError, match="at least two"):
        lc.isel(energy=0).bat.lag()
    with pytest.raises(EmptySelectionError, match="at least 10"):
        lc.isel(time=[3]).bat.lag(interval=(0, 50))
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.isel(time=[3]).bat.lag()
    with pytest.raises(EmptySelectionError, match="finite"):
        lc.assign(rate=lc.rate * np.nan).bat.lag()
    with pytest.raises(EmptySelectionError, match="interval"):
        two_bands(height=0.0).bat.lag()


def test_constant_and_noise() -> None:
    lc = two_bands()
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.assign(rate=0.0 * lc.rate + 3.0).bat.lag()
    with pytest.raises(ValueRangeError, match="constant"):
        lc.assign(rate=0.0 * lc.rate + 3.0).bat.lag(interval=(5, 45))
    with pytest.raises((EmptySelectionError, ValueRangeError)):
        two_bands(height=0.0, seed=4).bat.lag(interval=(5, 45), n_samples=20)


def test_a_faint_pair_is_nan() -> None:
    lc = two_bands(height=50.0)
    noise = np.random.default_rng(8).normal(size=(500, 1))
    three = curve(np.concatenate([lc.rate.values, noise], axis=1), np.ones(500), width=STEP)
    with pytest.warns(BatxWarning, match="NaN"):
        found = three.bat.lag(interval=(5, 45), n_samples=50, seed=1, max_lag=4.0)
    assert np.isfinite(found.lag.values).tolist() == [True, False, False]
    assert np.isnan(found.lag_err.values[1:]).all()


def test_bins_and_errors() -> None:
    lc = two_bands()
    with pytest.raises(ValueRangeError, match="before bin"):
        lc.isel(time=slice(None, None, -1)).bat.lag()
    with pytest.raises(ValueRangeError, match="no error above 0"):
        lc.assign(rate_err=0.0 * lc.rate_err).bat.lag()
    with pytest.raises(ValueRangeError, match="negative"):
        lc.assign(rate_err=-lc.rate_err).bat.lag()
    counts = curve(np.full((500, 2), 3.0), width=STEP)
    counts["counts"][4] = -1.0
    with pytest.raises(ValueRangeError, match="negative counts"):
        counts.bat.lag()


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "fft"},
        {"fit": "cubic"},
        {"order": 1},
        {"n_samples": 1},
        {"max_lag": 0.1},
        {"fit_range": (0.0, 0.2)},
        {"fit_range": 3.0},
    ],
)
def test_arguments_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueRangeError, match=next(iter(wrong))):
        two_bands().bat.lag(**wrong)


# --- picture -----------------------------------------------------------------------------------------------


def test_picture() -> None:
    from matplotlib.figure import Figure

    values = np.column_stack([bump(0.6), bump(0.3), bump()]) * 50.0
    lc = curve(values + np.random.default_rng(0).normal(size=values.shape), np.ones(500), width=STEP)
    found = lc.bat.lag(n_samples=50, seed=1)
    panels = found.bat.plot_lag(Figure())
    assert len(panels) == 3
    assert "lag" in panels[0].texts[0].get_text()
    single = found.isel(pair=[0]).bat.plot_lag(Figure(), whole=True)
    assert single.get_xlim()[1] == pytest.approx(float(found.delay[-1]))
    with pytest.raises(KindError, match="plot_lag"):
        lc.bat.plot_lag()
