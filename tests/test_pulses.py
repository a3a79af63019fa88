"""Pulse fits: parameters that are known, errors that hold, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from block_inputs import curve
from scipy.integrate import quad

from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.kernels import pulse_models as models

N = 300
LOWER, WIDTH = np.arange(float(N)), np.ones(N)


def norris(height: float, peak: float, width: float, asymmetry: float) -> np.ndarray:
    return np.array([[np.log(height), peak, np.log(width), np.log(asymmetry / (1.0 - asymmetry))]])


def rates(*pulses: np.ndarray, seed: int = 0) -> np.ndarray:
    model = models.binned_shape(True, np.concatenate(pulses), LOWER, WIDTH)
    return model + np.random.default_rng(seed).normal(size=N)


ONE = norris(20.0, 120.0, 30.0, 0.5)


# --- shapes ------------------------------------------------------------------------------------------------


def test_shape_of_norris_2005() -> None:
    """A e^{2μ} exp(−τ₁/x − x/τ₂), and what is said of its width, asymmetry and fluence."""
    known = models.described("norris2005", ONE[0])
    tau1, tau2, start = known["tau1"], known["tau2"], known["start_time"]
    mu = np.sqrt(tau1 / tau2)

    def value(time: float) -> float:
        x = time - start
        return 20.0 * np.exp(2.0 * mu - tau1 / x - x / tau2) if x > 0 else 0.0

    assert start + np.sqrt(tau1 * tau2) == pytest.approx(120.0)
    assert value(120.0) == pytest.approx(20.0)
    for end in (120.0 - known["rise"], 120.0 + known["decay"]):
        assert value(end) == pytest.approx(20.0 / np.e)
    assert known["width"] == pytest.approx(tau2 * np.sqrt(1.0 + 4.0 * mu))
    assert known["asymmetry"] == pytest.approx((known["decay"] - known["rise"]) / known["width"])
    assert known["fluence"] == pytest.approx(quad(value, start, 1000.0, limit=200)[0], rel=1e-8)
    found = models.binned_shape(True, ONE, LOWER, WIDTH)
    for k in (90, 104, 119, 120, 200):
        assert found[k] == pytest.approx(quad(value, k, k + 1.0)[0], rel=1e-6, abs=1e-9)


def test_shape_of_norris_1996() -> None:
    pulse = np.array([np.log(5.0), 120.3, np.log(4.0), np.log(9.0), np.log(1.4)])
    known = models.described("norris1996", pulse)

    def value(time: float) -> float:
        apart = time - 120.3
        return 5.0 * np.exp(-((abs(apart) / (4.0 if apart < 0 else 9.0)) ** 1.4))

    total = quad(value, 0.0, 120.3)[0] + quad(value, 120.3, 300.0)[0]
    assert known["fluence"] == pytest.approx(total, rel=1e-7)
    found = models.binned_shape(False, pulse[np.newaxis], LOWER, WIDTH)
    assert found[120] == pytest.approx(quad(value, 120.0, 121.0, points=[120.3])[0], rel=1e-4)
    assert found.sum() == pytest.approx(total, rel=1e-4)


def test_sudden_pulses_are_smooth_in_their_parameters() -> None:
    """The mean over a bin changes evenly as a sudden rise moves through it."""
    totals = [
        models.binned_shape(True, norris(10.0, 100.0 + shift, 20.0, 0.98), LOWER, WIDTH)[99:101]
        for shift in np.linspace(0.0, 1.0, 41)
    ]
    steps = np.abs(np.diff(totals, axis=0))
    assert steps.max() < 3.0 * steps.mean()


# --- fits --------------------------------------------------------------------------------------------------


def test_one_pulse() -> None:
    found = curve(rates(ONE), np.ones(N)).bat.fit_pulses()
    assert found.sizes["pulse"] == 1
    assert bool(found.converged)
    truth = models.described("norris2005", ONE[0])
    for name in ("amplitude", "peak_time", "width", "asymmetry", "rise", "decay", "fluence", "tau2"):
        assert abs(float(found[name][0]) - truth[name]) < 3.5 * float(found[f"{name}_err"][0]), name
    assert float(found.statistic) == pytest.approx(
        float(found.dof), abs=4.0 * np.sqrt(2.0 * float(found.dof))
    )
    np.testing.assert_allclose(found.model, found.pulse_model.sum("pulse"), rtol=1e-12)
    half = 0.5 * (found.width_err_low + found.width_err_high)
    assert float(half[0]) == pytest.approx(float(found.width_err[0]))
    assert found.width.attrs["units"] == "s"
    assert found.amplitude.attrs == {"units": "count/s", "per": "detector"}


def test_several_pulses_in_order() -> None:
    lc = curve(rates(norris(25.0, 200.0, 15.0, 0.4), norris(40.0, 100.0, 20.0, 0.6)), np.ones(N))
    found = lc.bat.fit_pulses()
    assert found.sizes["pulse"] == 2
    np.testing.assert_allclose(found.peak_time, [100.0, 200.0], atol=1.0)
    np.testing.assert_allclose(found.amplitude, [40.0, 25.0], rtol=0.1)
    asked = lc.bat.fit_pulses(peaks=[103.0, 196.0])
    np.testing.assert_allclose(asked.width, found.width, rtol=1e-3)
    assert float(asked.statistic) == pytest.approx(float(found.statistic), abs=0.01)
    one = lc.bat.fit_pulses(peaks=[100.0])
    assert float(one.bic) > float(found.bic)


def test_the_other_shape() -> None:
    pulse = np.array([[np.log(20.0), 120.3, np.log(6.0), np.log(15.0), np.log(1.3)]])
    values = models.binned_shape(False, pulse, LOWER, WIDTH) + np.random.default_rng(0).normal(size=N)
    found = curve(values, np.ones(N)).bat.fit_pulses(shape="norris1996", peaks=[120.0])
    for name, truth in (("rise", 6.0), ("decay", 15.0), ("peakedness", 1.3), ("peak_time", 120.3)):
        assert abs(float(found[name][0]) - truth) < 3.5 * float(found[f"{name}_err"][0]), name
    assert found.attrs["pulse_shape"] == "norris1996"


def test_counts_and_baseline() -> None:
    model = models.binned_shape(True, ONE, LOWER, WIDTH) + 8.0 + 0.02 * LOWER
    lc = curve(np.random.default_rng(0).poisson(model))
    found = lc.bat.fit_pulses(baseline=1, interval=(10, 290))
    assert found.attrs["fit_statistic"] == "cstat"
    for name, truth in (("width", 30.0), ("amplitude", 20.0), ("asymmetry", 0.5)):
        assert abs(float(found[name][0]) - truth) < 3.5 * float(found[f"{name}_err"][0]), name
    np.testing.assert_allclose(found.baseline_model, 8.0 + 0.02 * (found.time - 0.5), atol=1.5)
    with pytest.raises(ValueRangeError, match="baseline"):
        lc.bat.fit_pulses()


@pytest.mark.slow
def test_errors_hold() -> None:
    pulls: dict[str, list[float]] = {name: [] for name in models.FITTED["norris2005"]}
    truth = models.described("norris2005", ONE[0])
    for seed in range(50):
        found = curve(rates(ONE, seed=seed), np.ones(N)).bat.fit_pulses(interval=(50, 250), peaks=[120.0])
        for name, row in pulls.items():
            row.append((float(found[name][0]) - truth[name]) / float(found[f"{name}_err"][0]))
    for name, row in pulls.items():
        assert abs(np.mean(row)) < 0.4, name
        assert 0.75 < np.std(row) < 1.3, name


def test_an_open_interval_is_nan() -> None:
    """Nothing tells how fast the rise of a pulse is that rises within a bin."""
    found = curve(rates(norris(15.0, 120.4, 12.0, 0.985)), np.ones(N)).bat.fit_pulses(peaks=[121.0])
    assert np.isnan(float(found.asymmetry_err_high[0]))
    assert np.isnan(float(found.asymmetry_err[0]))
    assert np.isnan(float(found.start_time_err[0]))
    assert np.isfinite(float(found.amplitude_err[0]))


def test_bins_without_error_are_left_out() -> None:
    lc = curve(rates(ONE), np.ones(N))
    lc["rate_err"][130] = 0.0
    found = lc.bat.fit_pulses(interval=(50, 250))
    assert found.sizes["time"] == 199


# --- bad input ---------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    lc = curve(rates(ONE), np.ones(N))
    with pytest.raises(KindError, match="one"):
        curve(np.column_stack([rates(ONE)] * 2), np.ones(N)).bat.fit_pulses()
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.assign(rate=0.0 * lc.rate + 2.0).bat.fit_pulses()
    with pytest.raises(EmptySelectionError, match="finite"):
        lc.assign(rate=np.nan * lc.rate).bat.fit_pulses()
    with pytest.raises(EmptySelectionError, match="no pulse"):
        curve(np.random.default_rng(1).normal(size=N), np.ones(N)).bat.fit_pulses(interval=(50, 250))
    with pytest.raises(EmptySelectionError, match="at least 6"):
        lc.bat.fit_pulses(interval=(100, 104))
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.isel(time=[3]).bat.fit_pulses()
    with pytest.raises(ValueRangeError, match="before bin"):
        lc.isel(time=slice(None, None, -1)).bat.fit_pulses()
    with pytest.raises(ValueRangeError, match="no error above 0"):
        lc.assign(rate_err=0.0 * lc.rate_err).bat.fit_pulses()
    counts = curve(np.full(N, 3.0))
    counts["counts"][4] = -1.0
    with pytest.raises(ValueRangeError, match="negative counts"):
        counts.bat.fit_pulses(baseline=0)
    for wrong in ({"shape": "fred"}, {"baseline": 4}, {"baseline": 0.5}, {"peaks": []}, {"peaks": [1e6]}):
        with pytest.raises(ValueRangeError, match=next(iter(wrong))):
            lc.bat.fit_pulses(**wrong)


def test_picture() -> None:
    from matplotlib.figure import Figure

    lc = curve(rates(ONE), np.ones(N))
    top, bottom = lc.bat.fit_pulses().bat.plot_pulses(Figure())
    assert len(top.lines) >= 2
    assert "Residual" in bottom.get_ylabel()
    with pytest.raises(KindError, match="plot_pulses"):
        lc.bat.plot_pulses()


def test_netcdf(tmp_path: Path) -> None:
    found = curve(rates(ONE), np.ones(N)).bat.fit_pulses()
    found.to_netcdf(tmp_path / "pulses.nc", engine="h5netcdf")
