"""Searches for periods: the same as by other ways, right in noise, and they find what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pulsar_inputs import (
    FREQUENCY,
    T0,
    archive_rates,
    counts_curve,
    cycles,
    pulsar_counts,
    pulsar_events,
    rates_curve,
)
from scipy.stats import chi2

import batx
from batx.errors import EmptySelectionError, GtiError, KindError, ValueRangeError
from batx.kernels import periods as kernel
from batx.kernels.fourier import Frequencies, Terms, frequencies, transform
from batx.kernels.series import dispersion, fold_lines, slow_line


def best(found: xr.Dataset, band: int = 0) -> float:
    """Frequency of the highest power in a band."""
    return float(found["frequency"].values[found["power"].values[:, band].argmax()])


def waves(time: np.ndarray, frequency: float, n: int) -> np.ndarray:
    phase = 2 * np.pi * frequency * time
    return np.stack([f(k * phase) for k in range(1, n + 1) for f in (np.cos, np.sin)])


# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize("harmonic", [1, 3])
@pytest.mark.parametrize("derivative", [0.0, 3e-7])
def test_sums_on_a_grid_are_those_term_by_term(harmonic: int, derivative: float):
    rng = np.random.default_rng(1)
    terms = Terms.points(rng.uniform(-400, 400, 3000), rng.normal(1, 1, 3000))
    grid = frequencies(0.3 + 7e-4 * np.arange(501))
    assert grid.step > 0
    one_by_one = Frequencies(grid.values, 0.0)
    apart = transform(terms, grid, derivative, harmonic) - transform(terms, one_by_one, derivative, harmonic)
    assert np.abs(apart).max() < 1e-9 * np.abs(terms.weight).sum()


def test_steps_and_ramps():
    terms = Terms(np.array([1.0, 4.0, 1.0, 4.0]), np.array([2.0, -3.5, 0.5, -0.5]), np.array([1, 1, 2, 2]))
    time = np.linspace(1.0, 4.0, 200001)
    value = (2.0 + 0.5 * (time - 1.0)) * np.exp(2j * np.pi * 0.7 * time)
    expected = np.trapezoid(value, time)
    assert abs(transform(terms, frequencies(np.array([0.35])), 0.0, 2)[0] - expected) < 1e-8


def test_good_time_is_divided_exactly():
    start, stop = np.array([-130.0, 20.0, 31.0]), np.array([-7.5, 30.2, 100.0])
    value, slope = np.array([1.0, 2.0, 0.5]), np.array([0.01, 0.0, -0.002])
    fine = np.arange(-130, 100, 5e-4) + 2.5e-4
    inside = np.searchsorted(start, fine, side="right") - 1
    good = fine < stop[inside]
    rate = (value[inside] + slope[inside] * (fine - start[inside])) * good
    phase = cycles(fine, 0.237, 1e-4) % 1.0
    expected = np.bincount((phase * 7).astype(int), rate * 5e-4, 7)
    found = fold_lines(start, stop, value, slope, 0.237, 1e-4, 7)
    assert found == pytest.approx(expected, abs=3e-3)
    assert found.sum() == pytest.approx(rate.sum() * 5e-4, rel=1e-5)


def test_slow_changes():
    """A cubic is found, in each run by itself; waves as fast as the knots are left, to some 5 %."""
    time = np.concatenate([np.arange(0, 300, 0.5), np.arange(400, 650, 0.5)])
    exposure = np.full(time.size, 0.5)
    cubic = 100 + 0.1 * time - 1e-3 * time**2 + 1e-6 * time**3
    line = slow_line(time, cubic * exposure, exposure, 30.0)
    assert np.abs(line.at(time) - cubic).max() < 0.01
    wave = np.sin(2 * np.pi * time / 30.0)
    left = wave - (slow_line(time, (100 + wave) * exposure, exposure, 30.0).at(time) - 100)
    assert 0.93 < 2 * np.mean(left * wave) < 1.01


def test_few_bins_are_constant():
    line = slow_line(np.array([0.0, 1.0, 50.0]), np.array([2.0, 4.0, 5.0]), np.ones(3), 10.0)
    assert line.at(np.array([0.5, 50.0])).tolist() == [3.0, 5.0]


def test_dispersion():
    rng = np.random.default_rng(2)
    time = np.arange(20000.0)
    width = np.ones(time.size)
    slow = 5 * np.sin(time / 300)
    assert dispersion(
        time, rng.normal(0, 2, time.size) + slow, np.full(time.size, 2.0), width
    ) == pytest.approx(2.0, abs=0.07)
    assert dispersion(time[::3], width[::3], width[::3], width[::3]) == 1.0
    wave = 10 * np.sin(2 * np.pi * time / 10)
    assert dispersion(time, wave, width, width) == pytest.approx(50 * 0.0243, rel=0.01)


def test_rises_of_one_harmonic():
    """√(2π) s Δf √z exp(−z/2), as in Baluev 2008, MNRAS 385, 1279."""
    found = kernel.crossings(np.array([20.0]), 1, 120.0, 0.4)[0]
    assert found == pytest.approx(np.sqrt(2 * np.pi) * 120 * 0.4 * np.sqrt(20) * np.exp(-10))


def test_threshold_is_where_it_should_be():
    def number(power: float) -> float:
        return float(kernel.expected_z2(np.asarray(power), 2, 100.0, 0.5, 1000))

    assert number(kernel.threshold(number, 0.01)) == pytest.approx(0.01)


# ---------------------------------------------------------------- Z² by other ways


def test_z2_of_events_without_gaps_is_that_of_the_book():
    rng = np.random.default_rng(3)
    ev = pulsar_events(rng, 20.0, [(0.0, 200.0)], 0.3)
    time = ev["time"].values
    grid = np.arange(8, 40) / 200.0  # whole cycles
    for n in (1, 2, 5):
        found = ev.bat.z_search(grid, harmonics=n, noise="counting", epoch=0.0)
        expected = [2 / time.size * np.sum(waves(time, f, n).sum(axis=1) ** 2) for f in grid]
        assert found["power"].values[:, 0] == pytest.approx(expected, rel=1e-7)
        assert found["probability"].values[:, 0] == pytest.approx(chi2.sf(expected, 2 * n), rel=1e-6)
    h = ev.bat.z_search(grid, harmonics=5, test="h", noise="counting")
    z = [[2 / time.size * np.sum(waves(time, f, n).sum(axis=1) ** 2) for n in range(1, 6)] for f in grid]
    reduced = np.array(z) - 4 * np.arange(5)
    assert h["power"].values[:, 0] == pytest.approx(reduced.max(axis=1), rel=1e-7)
    assert h["harmonics"].values[:, 0].tolist() == (reduced.argmax(axis=1) + 1).tolist()


def test_z2_of_events_is_that_of_stingray():
    from stingray.pulse.pulsar import z_n

    ev = pulsar_events(np.random.default_rng(4), 20.0, [(0.0, 200.0)], 0.1)
    grid = np.arange(20, 30) / 200.0
    found = ev.bat.z_search(grid, harmonics=2, noise="counting")
    expected = [z_n(ev["time"].values * f, 2) for f in grid]
    assert found["power"].values[:, 0] == pytest.approx(expected, rel=1e-9)


def gaps(rng: np.random.Generator, n: int = 500, width: float = 0.5) -> np.ndarray:
    """Lower edges of bins of which a third are not there, with a long gap too."""
    lower = T0 + width * np.arange(n)
    kept = rng.random(n) > 0.3
    kept[n // 2 : n // 2 + n // 7] = False
    return lower[kept]


@pytest.mark.parametrize("n", [1, 3])
def test_z2_of_rates_is_the_gain_in_chi2(n: int):
    """Weighted least squares with n harmonics and a constant, against a constant, with gaps."""
    rng = np.random.default_rng(5)
    lower = gaps(rng)
    time = lower + 0.25 - T0
    error = rng.uniform(0.5, 2.0, time.size)
    rate = 3.0 + np.cos(2 * np.pi * FREQUENCY * time) + rng.normal(0, error)
    grid = np.array([0.011, 0.05, FREQUENCY, 0.19])
    found = rates_curve(rate, error, lower, 0.5).bat.z_search(grid, harmonics=n, noise="counting")
    for j, f in enumerate(grid):
        design = np.vstack([np.ones(time.size), waves(time, f, n)]).T / error[:, None]
        chi = [
            np.sum((rate / error - model @ np.linalg.lstsq(model, rate / error)[0]) ** 2)
            for model in (design[:, :1], design)
        ]
        assert float(found["power"][j, 0]) == pytest.approx(chi[0] - chi[1], rel=1e-8)


def test_z2_of_rates_is_that_of_astropy():
    from astropy.timeseries import LombScargle

    rng = np.random.default_rng(6)
    lower = gaps(rng)
    error = rng.uniform(0.5, 2.0, lower.size)
    rate = 3.0 + rng.normal(0, error)
    grid = 0.05 + 1e-3 * np.arange(100)
    found = rates_curve(rate, error, lower, 0.5).bat.z_search(grid, harmonics=2, noise="counting")
    mean = np.average(rate, weights=error**-2)
    chi = np.sum(((rate - mean) / error) ** 2)
    expected = chi * LombScargle(lower + 0.25 - T0, rate, error, nterms=2).power(grid, method="chi2")
    assert found["power"].values[:, 0] == pytest.approx(expected, rel=1e-7)


def test_z2_of_counts_is_the_score():
    rng = np.random.default_rng(7)
    lower = gaps(rng)
    counts = rng.poisson(20, lower.size)
    time = lower + 0.25 - T0
    grid = np.array([0.004, 0.03, 0.1])
    found = counts_curve(counts, lower, 0.5).bat.z_search(grid, harmonics=2, noise="counting")
    for j, f in enumerate(grid):
        g = waves(time, f, 2)
        centred = g - g.mean(axis=1, keepdims=True)
        u = centred @ counts
        expected = u @ np.linalg.solve(counts.mean() * centred @ centred.T, u)
        assert float(found["power"][j, 0]) == pytest.approx(expected, rel=1e-8)


def test_events_with_gaps_are_as_in_fine_bins():
    rng = np.random.default_rng(8)
    gti = [(0.0, 61.0), (75.5, 130.0), (131.0, 200.0)]
    ev = pulsar_events(rng, 50.0, gti, 0.2, start=T0)
    grid = np.linspace(0.008, 0.3, 60)
    found = ev.bat.z_search(grid, harmonics=2, noise="counting", epoch=T0)
    lower = np.concatenate([np.arange(*pair, 0.001) for pair in gti]) + T0
    rows = np.searchsorted(lower, ev["time"].values, side="right") - 1
    binned = counts_curve(np.bincount(rows, minlength=lower.size), lower, 0.001)
    expected = binned.bat.z_search(grid, harmonics=2, noise="counting", epoch=T0)
    assert found["power"].values == pytest.approx(expected["power"].values, rel=1e-3, abs=5e-3)


def test_weighted_events():
    """Weights of mean 0 have no background to be taken off; scaling them changes nothing."""
    rng = np.random.default_rng(9)
    ev = pulsar_events(rng, 50.0, [(0.0, 300.0)])
    time = ev["time"].values
    weight = rng.choice([-1.0, 1.0], time.size) + 0.3 * np.cos(2 * np.pi * FREQUENCY * time)
    weighted = ev.assign(mask_weight=("event", weight))
    found = weighted.bat.z_search((0.05, 0.2), harmonics=1)
    assert best(found) == pytest.approx(FREQUENCY, abs=1e-3)
    assert float(found["false_alarm"].min()) < 1e-10
    again = ev.assign(mask_weight=("event", 7 * weight)).bat.z_search((0.05, 0.2), harmonics=1)
    assert again["power"].values == pytest.approx(found["power"].values, rel=1e-9)
    unweighted = weighted.bat.z_search((0.05, 0.2), harmonics=1, weighting="none")
    assert float(unweighted["false_alarm"].min()) > 1e-3


def test_bands_and_derivatives_have_axes():
    rng = np.random.default_rng(10)
    ev = pulsar_events(rng, 50.0, [(-200.0, 200.0)], 0.3, derivative=4e-5)
    found = ev.bat.z_search(
        (0.09, 0.11), energy=[15, 50, 350], frequency_dot=[0.0, 4e-5, 8e-5], harmonics=1, epoch=0.0
    )
    assert found["power"].dims == ("frequency_dot", "frequency", "energy")
    assert found.bat.check() == []
    assert found["power"].max(("frequency", "energy")).values.argmax() == 1
    one = ev.bat.z_search((0.09, 0.11), energy=[15, 50, 350], frequency_dot=4e-5, harmonics=1, epoch=0.0)
    assert one["power"].values == pytest.approx(found["power"].values[1], rel=1e-9)
    ratio = found["false_alarm"].values[1] / one["false_alarm"].values
    assert ratio[one["false_alarm"].values < 1e-4] == pytest.approx(3.0, rel=1e-3)


def test_epoch_does_not_matter_without_derivative():
    counts = np.random.default_rng(11).poisson(30, 400)
    lc = counts_curve(counts, T0 + 0.5 * np.arange(400), 0.5)
    one, other = (lc.bat.z_search((0.05, 0.4), epoch=e)["power"].values for e in (None, T0 - 1000.0))
    assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


# ---------------------------------------------------------------- epoch folding


def test_epoch_folding_by_hand():
    rng = np.random.default_rng(12)
    ev = pulsar_events(rng, 50.0, [(0.0, 100.0)], 0.2)
    time = ev["time"].values
    found = ev.bat.epoch_folding(np.array([0.1, 0.2, 0.25]), n_bins=10, noise="counting", epoch=0.0)
    for j, f in enumerate(found["frequency"].values):  # whole cycles: equal exposure
        counts = np.histogram((f * time) % 1.0, bins=10, range=(0, 1))[0]
        mean = time.size / 10
        assert float(found["power"][j, 0]) == pytest.approx(np.sum((counts - mean) ** 2 / mean))


def test_epoch_folding_of_rates():
    rng = np.random.default_rng(13)
    lower = T0 + 0.25 * np.arange(1200)
    rate = 2.0 + 0.5 * np.sin(2 * np.pi * FREQUENCY * (lower + 0.125 - T0)) + rng.normal(0, 1, 1200)
    found = rates_curve(rate, np.ones(1200), lower, 0.25).bat.epoch_folding((0.05, 0.2))
    assert best(found) == pytest.approx(FREQUENCY, abs=1e-3)


# ---------------------------------------------------------------- noise


def false_alarms(n: int, make, **options) -> np.ndarray:
    rng = np.random.default_rng(14)
    return np.array([float(make(rng).bat.z_search(**options)["false_alarm"].min()) for _ in range(n)])


def noise_with_gap(rng: np.random.Generator) -> xr.Dataset:
    lower = np.concatenate([np.arange(0, 60, 0.5), np.arange(100, 200, 0.5)]) + T0
    return counts_curve(rng.poisson(40, lower.size), lower, 0.5)


def few(fraction: float, n: int) -> tuple[float, float]:
    """How often something of a probability happens, to three standard deviations."""
    spread = 3 * np.sqrt(fraction * (1 - fraction) / n)
    return fraction - spread, fraction + spread


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harmonics", "lowest"), [(1, 0.85), (2, 0.65)], ids=["one harmonic", "two harmonics"]
)
def test_false_alarms_are_as_often_as_said(harmonics: int, lowest: float):
    """At most as often as said; for one harmonic as often, for more somewhat less (algorithms 7)."""
    n = 200
    found = false_alarms(n, noise_with_gap, frequency=(0.05, 0.45), harmonics=harmonics, noise="counting")
    for level in (0.1, 0.3):
        assert few(lowest * level, n)[0] <= np.mean(found < level) <= few(level, n)[1]


@pytest.mark.slow
def test_false_alarms_of_a_bright_background_with_gaps():
    """5000 counts/s: without the exposure in the statistic, every search would have a false alarm."""

    def make(rng: np.random.Generator) -> xr.Dataset:
        return pulsar_events(rng, 2000.0, [(0.0, 13.0), (17.0, 30.0), (34.0, 47.0)])

    found = false_alarms(60, make, frequency=(0.2, 1.0), harmonics=1, noise="counting")
    assert np.mean(found < 0.3) <= few(0.3, 60)[1]
    assert found.min() > 1e-4


@pytest.mark.slow
def test_noise_above_counting_noise_is_measured():
    """Counts of twice the variance: with their measured noise as many false alarms as said."""

    def make(rng: np.random.Generator) -> xr.Dataset:
        lower = T0 + 0.25 * np.arange(1200)
        return counts_curve(rng.negative_binomial(40, 0.5, 1200), lower, 0.25)

    search = {"frequency": (0.05, 0.45), "harmonics": 1}
    measured = false_alarms(120, make, noise="measured", **search)
    assert np.mean(measured < 0.1) <= few(0.1, 120)[1]
    assert np.mean(false_alarms(40, make, noise="counting", **search) < 1e-2) > 0.5
    one = make(np.random.default_rng(1)).bat.z_search((0.05, 0.45))
    assert float(one["noise"][0]) == pytest.approx(2.0, abs=0.3)


def test_baseline_takes_particle_ramps_off():
    rng = np.random.default_rng(15)
    counts = pulsar_counts(rng, scale=0.0)
    lc = counts_curve(counts, T0 + 0.064 * np.arange(len(counts)), 0.064)
    assert float(lc.bat.z_search((0.03, 0.5))["false_alarm"].min()) < 1e-3
    assert float(lc.bat.z_search((0.03, 0.5), baseline=40.0)["false_alarm"].min()) > 0.01
    slow = pulsar_events(rng, 1500.0, [(0.0, 150.0), (190.0, 400.0)], slow=lambda t: 1 + 0.5 * (t / 400) ** 3)
    assert float(slow.bat.z_search((0.03, 0.5))["false_alarm"].min()) < 1e-4
    assert float(slow.bat.z_search((0.03, 0.5), baseline=40.0)["false_alarm"].min()) > 0.01


# ---------------------------------------------------------------- the pulsar


def test_pulsar_in_rates_of_the_archive(tmp_path: Path):
    """0.1018 Hz in 64 ms rates with background and particle ramps, written and read as in the archive."""
    path = archive_rates(tmp_path / "sw00000000001brtms.lc", pulsar_counts(np.random.default_rng(16)))
    lc = batx.open_dataset(path)
    assert lc["counts"].dtype == np.uint16
    found = lc.bat.z_search((0.03, 1.0), baseline=40.0)
    assert found.bat.check() == []
    for band in range(3):
        assert best(found, band) == pytest.approx(FREQUENCY, abs=4e-4)
        assert float(found["false_alarm"][:, band].min()) < 1e-6
        assert float(found["power"][:, band].max()) > float(found["threshold"][band])
    assert float(found["false_alarm"][:, 3].min()) > 0.01
    measured = lc.bat.pulse_frequency(found, baseline=40.0)
    assert float(measured["frequency_err"]) < 4e-5
    assert abs(float(measured["frequency"]) - FREQUENCY) < 4 * float(measured["frequency_err"])
    h = lc.bat.z_search((0.05, 0.5), baseline=40.0, test="h")
    folded = lc.isel(energy=[0]).bat.epoch_folding((0.08, 0.12), baseline=40.0)
    assert best(h) == pytest.approx(FREQUENCY, abs=4e-4)
    assert best(folded) == pytest.approx(FREQUENCY, abs=4e-4)


def test_swift_j0243_in_real_rates(shared: Path):
    """The pulsar of 9.8 s is 18 degrees off axis in these rates (published: 0.101773 Hz)."""
    lc = batx.open_dataset(shared / "data/rates/sw00086800006brtms.lc.gz")
    found = lc.bat.z_search((0.05, 1.0), baseline=40.0)
    for band in range(3):
        assert best(found, band) == pytest.approx(0.101773, abs=3e-4)
        assert float(found["false_alarm"][:, band].min()) < 1e-300
    assert float(found["false_alarm"][:, 3].min()) > 0.01
    measured = lc.bat.pulse_frequency(found, baseline=40.0, harmonics=8)
    assert float(measured["frequency"]) == pytest.approx(0.101773, abs=1e-4)


def test_no_period_in_real_rates(shared: Path):
    for name in ("00074044029", "00048759058", "00048787056"):
        lc = batx.open_dataset(shared / f"data/rates/sw{name}brtms.lc.gz")
        found = lc.bat.z_search((0.05, 3.0), baseline=30.0)
        assert float(found["false_alarm"].min()) > 0.01
        assert 1.2 < float(found["noise"][3]) < 1.6


# ---------------------------------------------------------------- bad input

LC = counts_curve(np.random.default_rng(17).poisson(20, 300), T0 + np.arange(300.0), 1.0)
EV = pulsar_events(np.random.default_rng(18), 5.0, [(0.0, 100.0), (150.0, 300.0)])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: LC.bat.z_search((0.1, 0.6)), ValueRangeError, "Nyquist frequency 0.5 Hz"),
        (lambda: LC.bat.z_search((0.01, 0.3), harmonics=2), ValueRangeError, "fewer harmonics"),
        (lambda: LC.bat.epoch_folding((0.1, 0.2)), ValueRangeError, "bins of phase"),
        (lambda: LC.bat.z_search((0.2, 0.1)), ValueRangeError, "0 < low < high"),
        (lambda: LC.bat.z_search((0.0, 0.1)), ValueRangeError, "0 < low < high"),
        (lambda: LC.bat.z_search([0.1, np.nan, 0.2]), ValueRangeError, "positive and finite"),
        (lambda: LC.bat.z_search(-0.1), ValueRangeError, "positive and finite"),
        (lambda: LC.bat.z_search((0.1, 0.2), frequency_dot=1e-3), ValueRangeError, "smaller ones"),
        (lambda: LC.bat.z_search((0.01, 0.2), baseline=50.0), ValueRangeError, "at the lowest"),
        (lambda: LC.bat.z_search((0.1, 0.2), baseline=-5.0), ValueRangeError, "baseline"),
        (lambda: LC.bat.z_search((0.1, 0.2), noise="none"), ValueRangeError, "'measured', 'counting'"),
        (lambda: LC.bat.z_search((0.1, 0.2), test="c"), ValueRangeError, "'z2' or 'h'"),
        (lambda: LC.bat.z_search((0.1, 0.2), harmonics=0), ValueRangeError, "1 to 20"),
        (lambda: LC.bat.z_search((0.1, 0.2), level=2), ValueRangeError, "between 0 and 1"),
        (lambda: LC.bat.z_search((0.1, 0.2), oversample=1e12), ValueRangeError, "narrow the range"),
        (lambda: LC.bat.z_search((0.1, 0.2), energy=[15, 50]), ValueRangeError, "rebin_energy"),
        (lambda: LC.bat.epoch_folding((0.1, 0.2), n_bins=1), ValueRangeError, "at least 2"),
        (lambda: LC.isel(time=[0]).bat.z_search((0.1, 0.2)), EmptySelectionError, "found 1 bins"),
        (lambda: LC.isel(time=[2, 1, 0]).bat.z_search((0.1, 0.2)), ValueRangeError, "sortby"),
        (lambda: (LC * 0).bat.z_search((0.1, 0.2)), EmptySelectionError, "none of the 300 bins"),
        (lambda: LC.bat.z_search((0.1, 0.2), gti=[(0, 1)]), EmptySelectionError, "found 0 bins"),
        (lambda: EV.bat.z_search((0.1, 0.2), gti=[(110, 140)]), EmptySelectionError, "no good time"),
        (lambda: EV.bat.z_search((0.1, 0.2), energy=[300, 340]), EmptySelectionError, "0 events"),
        (lambda: EV.bat.z_search((0.1, 0.2), energy=[[15, 100], [50, 350]]), ValueRangeError, "overlap"),
        (lambda: EV.assign_attrs(timedel=1.0).bat.z_search((0.1, 0.4)), ValueRangeError, "Nyquist"),
        (lambda: EV.assign_attrs(telescope="NUSTAR").bat.z_search((0.1, 0.2)), KindError, "NUSTAR"),
        (lambda: batx.z_search(np.zeros(3), (0.1, 0.2)), KindError, "ndarray"),
        (lambda: EV.bat.z_search((0.1, 0.2), gti=[(9, 3)]), GtiError, "end before they start"),
    ],
)
def test_bad_input(make, error: type[Exception], text: str):
    with pytest.raises(error, match=text), xr.set_options(keep_attrs=True):
        make()


def test_constant_and_nan():
    """A constant curve has no power at all; NaN bins are left out; a band of no counts is an error."""
    flat = LC.assign(counts=LC["counts"] * 0 + 20)
    assert np.abs(flat.bat.z_search((0.05, 0.2))["power"].values).max() < 1e-6
    rate = np.random.default_rng(19).normal(5, 1, 300)
    rates = rates_curve(rate, np.ones(300), T0 + np.arange(300.0), 1.0)
    holes = np.arange(300) % 7 == 3
    with_nan = rates.assign(rate=rates["rate"].where(xr.DataArray(~holes, dims="time")))
    without = rates.isel(time=np.flatnonzero(~holes))
    one, other = (ds.bat.z_search((0.05, 0.2))["power"].values for ds in (with_nan, without))
    assert one == pytest.approx(other)
    with pytest.raises(EmptySelectionError, match="no counts"):
        LC.assign(counts=LC["counts"] * 0).bat.z_search((0.05, 0.2))


def test_unsorted_events_are_the_same():
    order = np.random.default_rng(20).permutation(EV.sizes["event"])
    with pytest.warns(batx.BatxWarning, match="not in order"):
        shuffled = EV.isel(event=order).bat.z_search((0.05, 0.2))
    assert shuffled["power"].values == pytest.approx(EV.bat.z_search((0.05, 0.2))["power"].values)
