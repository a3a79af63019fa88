"""Variability: against its definition, values and errors that hold, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from block_inputs import curve

from batx.errors import BatxWarning, EmptySelectionError, MissingVariableError, ValueRangeError
from batx.kernels.fluctuations import excess_variance, fast_power, shortest_part

TIME = np.arange(300) + 0.5


def spiky(seed: int = 3, height: float = 30.0) -> np.ndarray:
    """Return ten spikes on a hump."""
    random = np.random.default_rng(seed)
    places, heights = random.uniform(110, 190, 10), random.uniform(0.3, 1.0, 10)
    spikes = np.exp(-0.5 * ((TIME[:, np.newaxis] - places) / 1.5) ** 2) @ heights
    return height * (spikes + 0.4 * np.exp(-0.5 * ((TIME - 150.0) / 15.0) ** 2))


def noisy(seed: int, **more: float) -> np.ndarray:
    return spiky(**more) + np.random.default_rng(seed).normal(size=300)


def test_fast_power_is_its_definition() -> None:
    random = np.random.default_rng(0)
    net, variance = noisy(1)[:60] + 3.0, random.uniform(0.5, 2.0, 60)
    inside = (np.arange(60) > 15) & (np.arange(60) < 45)
    length = 5.5
    numerator = 0.0
    for i in np.flatnonzero(inside):
        weights = np.clip(0.5 * length + 0.5 - np.abs(np.arange(60) - i), 0.0, 1.0)
        weights = -weights / weights.sum()
        weights[i] += 1.0
        numerator += (weights @ net) ** 2 - weights**2 @ variance
    denominator = np.sum((net**2 - variance)[inside])
    value, error = fast_power(net, variance, inside, length)
    assert value == pytest.approx(numerator / denominator, rel=1e-10)
    assert error > 0


def test_shortest_part() -> None:
    net, width = np.array([1.0, 8.0, 4.0, 0.0]), np.full(4, 2.0)
    assert shortest_part(net, width, 0.5) == pytest.approx(2.0 * 6.5 / 8.0)
    assert shortest_part(net, width, 10.0 / 13.0) == pytest.approx(2.0 + 2.0 * 2.0 / 4.0)


def test_limits() -> None:
    """A smooth curve has none, alternating bins on nothing have nearly all."""
    smooth = np.exp(-0.5 * ((TIME - 150.0) / 30.0) ** 2)
    inside = np.ones(300, bool)
    assert fast_power(smooth, np.zeros(300), inside, 5.0)[0] < 1e-3
    assert fast_power((-1.0) ** np.arange(300), np.zeros(300), inside, 51.0)[0] == pytest.approx(
        1.0, abs=0.05
    )
    assert excess_variance(np.full(50, 3.0), np.zeros(50))[0] == 0.0


def test_noise_is_taken_off() -> None:
    found = [
        curve(noisy(seed), np.ones(300)).bat.variability(interval=(100, 200), smoothing=12.0)
        for seed in range(40)
    ]
    values = np.array([float(one.variability[0]) for one in found])
    errors = np.array([float(one.variability_err[0]) for one in found])
    inside = (TIME > 100) & (TIME < 200)
    truth, _ = fast_power(spiky(), np.zeros(300), inside, 12.0)
    assert np.mean(values) == pytest.approx(truth, abs=4.0 * np.std(values) / np.sqrt(40))
    assert 0.75 < np.std((values - truth) / errors) < 1.3
    burst = spiky()[inside]
    excess = np.array([float(one.excess_variance[0]) for one in found])
    wrong = np.array([float(one.excess_variance_err[0]) for one in found])
    assert 0.7 < np.std((excess - burst.var(ddof=1) / burst.mean() ** 2) / wrong) < 1.3
    rms = found[0].fractional_rms
    assert float(rms[0]) == pytest.approx(np.sqrt(float(found[0].excess_variance[0])))


def test_default_interval_and_smoothing() -> None:
    lc = curve(noisy(1, height=60.0), np.ones(300))
    found = lc.bat.variability()
    assert 90.0 < float(found.start) < float(found.stop) < 210.0
    truth = shortest_part(spiky(height=60.0), np.ones(300), 0.45)
    assert float(found.smoothing_time[0]) == pytest.approx(truth, rel=0.25)
    assert found.variability.dims == ("energy",)
    assert found.smoothing_time.attrs["units"] == "s"


def test_counts() -> None:
    random = np.random.default_rng(0)
    lc = curve(random.poisson(4.0 * spiky() + 20.0))
    found = lc.bat.variability(interval=(100, 200), background=True, smoothing=12.0)
    inside = (TIME > 100) & (TIME < 200)
    truth, _ = fast_power(spiky(), np.zeros(300), inside, 12.0)
    assert abs(float(found.variability[0]) - truth) < 4.0 * float(found.variability_err[0])


def test_bad_input() -> None:
    lc = curve(noisy(1), np.ones(300))
    with pytest.raises(ValueRangeError, match="constant"):
        lc.assign(rate=0.0 * lc.rate + 2.0).bat.variability(interval=(100, 200))
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.assign(rate=0.0 * lc.rate + 2.0).bat.variability()
    with pytest.raises(EmptySelectionError, match="finite"):
        lc.assign(rate=np.nan * lc.rate).bat.variability()
    with pytest.raises(EmptySelectionError, match="at least 10"):
        lc.bat.variability(interval=(100, 105))
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.isel(time=[150]).bat.variability()
    with pytest.raises(ValueRangeError, match="before bin"):
        lc.isel(time=slice(None, None, -1)).bat.variability()
    with pytest.raises(ValueRangeError, match="no error above 0"):
        lc.assign(rate_err=0.0 * lc.rate_err).bat.variability()
    with pytest.raises(ValueRangeError, match="gaps"):
        lc.drop_isel(time=[150]).bat.variability()
    with pytest.raises(MissingVariableError, match="time_bnds"):
        lc[["rate"]].bat.variability()
    for wrong in ({"fraction": 0.0}, {"smoothing": 0.0}):
        with pytest.raises(ValueRangeError, match=next(iter(wrong))):
            lc.bat.variability(**wrong)
    counts = curve(np.full(300, 3.0))
    counts["counts"][4] = -1.0
    with pytest.raises(ValueRangeError, match="negative counts"):
        counts.bat.variability()


def test_a_band_without_signal_is_nan() -> None:
    noise = np.random.default_rng(2).normal(size=300)
    lc = curve(np.column_stack([noisy(1), noise]), np.ones(300))
    with pytest.warns(BatxWarning, match="NaN"):
        found = lc.bat.variability(interval=(100, 200))
    assert np.isfinite(found.variability.values).tolist() == [True, False]
    with pytest.raises(EmptySelectionError, match="no signal"):
        curve(noise, np.ones(300)).bat.variability(interval=(100, 200))
