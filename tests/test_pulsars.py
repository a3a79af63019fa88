"""Frequencies with errors, pulse profiles, and their pictures."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import xarray as xr
from makers import make
from matplotlib.figure import Figure
from pulsar_inputs import (
    FREQUENCY,
    T0,
    counts_curve,
    cycles,
    pulsar_counts,
    pulsar_events,
    rates_curve,
    sinusoid,
)

import batx
from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError

WIDTH = 0.064
LOWER = T0 + WIDTH * np.arange(6525)
MIDDLE = T0 + 0.5 * WIDTH * 6525


def pull(found: xr.Dataset, name: str, true: float) -> float:
    return float((found[name] - true) / found[f"{name}_err"])


# ---------------------------------------------------------------- frequency


def test_frequency_and_error_of_a_sinusoid():
    """σ = 1/(2π s √Z²) for constant exposure."""
    ev = pulsar_events(np.random.default_rng(1), 40.0, [(-200.0, 200.0)], 0.3)
    found = ev.bat.pulse_frequency(0.1015, harmonics=1, noise="counting")
    assert abs(pull(found, "frequency", FREQUENCY)) < 4
    spread = 400 / np.sqrt(12)
    expected = 1 / (2 * np.pi * spread * np.sqrt(float(found["power"])))
    assert float(found["frequency_err"]) == pytest.approx(expected, rel=0.05)
    assert float(found["period"]) == 1 / float(found["frequency"])
    relative = found["frequency_err"] / found["frequency"]
    assert float(found["period_err"] / found["period"]) == pytest.approx(float(relative))
    assert {str(found[name].attrs["units"]) for name in found} == {"Hz", "Hz/s", "s", "1"}


def test_maximum_is_that_of_a_fine_search():
    ev = pulsar_events(np.random.default_rng(2), 40.0, [(-200.0, -50.0), (20.0, 200.0)], 0.3)
    found = ev.bat.pulse_frequency(FREQUENCY, harmonics=2, noise="counting")
    value, error = float(found["frequency"]), float(found["frequency_err"])
    search = ev.bat.z_search(value + error * np.linspace(-2, 2, 81), harmonics=2, noise="counting")
    power = search["power"].values[:, 0]
    assert float(search["frequency"][power.argmax()]) == pytest.approx(value, abs=0.03 * error)
    assert float(found["power"]) == pytest.approx(power.max(), abs=1e-3)
    # Z² falls by 1 within an error
    assert power.max() - np.interp(
        [value - error, value + error], search["frequency"], power
    ) == pytest.approx(1.0, abs=0.1)


def test_frequency_derivative():
    ev = pulsar_events(np.random.default_rng(3), 60.0, [(-200.0, 200.0)], 0.4, derivative=5e-6)
    plain = ev.bat.pulse_frequency(FREQUENCY, harmonics=1)
    found = ev.bat.pulse_frequency(FREQUENCY, harmonics=1, derivative=True)
    assert float(plain["frequency_dot_err"]) == 0.0 < float(found["frequency_dot_err"])
    assert abs(pull(found, "frequency_dot", 5e-6)) < 4
    assert float(found["power"]) > float(plain["power"])
    # at the start of the data, as seen from there
    early = ev.bat.pulse_frequency(FREQUENCY, harmonics=1, derivative=True, epoch=-200.0)
    shift = float(found["frequency_dot"]) * (-200.0 - float(found["epoch"]))
    assert float(early["frequency"]) == pytest.approx(float(found["frequency"]) + shift, rel=1e-9)
    assert float(early["frequency_err"]) > 2 * float(found["frequency_err"])
    assert abs(float(early["correlation"])) > 0.9 > 0.2 > abs(float(found["correlation"]))
    assert abs(pull(early, "frequency", FREQUENCY - 200 * 5e-6)) < 4


def test_search_gives_where_to_begin():
    ev = pulsar_events(np.random.default_rng(4), 60.0, [(-200.0, 200.0)], 0.4, derivative=5e-5)
    search = ev.bat.z_search((0.09, 0.12), frequency_dot=np.linspace(-1e-4, 1e-4, 9), harmonics=1)
    found = ev.bat.pulse_frequency(search, harmonics=1, derivative=True)
    assert abs(pull(found, "frequency_dot", 5e-5)) < 4
    profile = ev.bat.pulse_profile(found)
    assert float(profile["epoch"]) == float(found["epoch"])
    assert float(profile["frequency_dot"]) == float(found["frequency_dot"])


def test_bands_are_taken_together():
    counts = pulsar_counts(np.random.default_rng(5), background=np.ones_like)
    lc = counts_curve(counts, LOWER, WIDTH)
    alone = [lc.isel(energy=[k]).bat.pulse_frequency(FREQUENCY) for k in range(3)]
    together = lc.isel(energy=[0, 1, 2]).bat.pulse_frequency(FREQUENCY)
    assert float(together["frequency_err"]) < min(float(one["frequency_err"]) for one in alone)
    total = sum(float(one["power"]) for one in alone)
    assert float(together["power"]) == pytest.approx(total, abs=6)


@pytest.mark.slow
def test_pulls_have_unit_width():
    """Events with a gap, and binned counts under particle ramps; 100 of each."""
    rng = np.random.default_rng(6)
    pulls = {"events": [], "derivative": [], "rates": []}
    coarse = 0.5 * np.arange(800) + T0
    for _ in range(100):
        ev = pulsar_events(rng, 15.0, [(-200.0, -40.0), (20.0, 200.0)], 0.5)
        pulls["events"].append(pull(ev.bat.pulse_frequency(FREQUENCY, harmonics=1), "frequency", FREQUENCY))
        both = ev.bat.pulse_frequency(FREQUENCY, harmonics=1, derivative=True)
        pulls["derivative"].append(pull(both, "frequency_dot", 0.0))
        counts = pulsar_counts(rng, bins=800, width=0.5, shape=sinusoid)[:, :3].sum(axis=1)
        found = counts_curve(counts, coarse, 0.5).bat.pulse_frequency(FREQUENCY, harmonics=1, baseline=40.0)
        pulls["rates"].append(pull(found, "frequency", FREQUENCY))
    for name, values in pulls.items():
        assert np.std(values) == pytest.approx(1.0, abs=3.2 / np.sqrt(200)), name
        assert abs(np.mean(values)) < 0.35, name


# ---------------------------------------------------------------- profile


def test_profile_of_known_pulses():
    """The rate in each bin of phase is that of the source, with errors that hold, across a gap."""
    gti = [(-200.0, -61.3), (-10.2, 3.1), (20.0, 197.7)]
    ev = pulsar_events(np.random.default_rng(7), 100.0, gti, 0.5, start=T0)
    profile = ev.bat.pulse_profile(FREQUENCY, epoch=T0, n_bins=20, noise="counting")
    assert profile.bat.kind == "pulse_profile"
    assert profile.bat.check() == []
    edges = profile["phase_bnds"].values
    mean = np.diff(np.sin(2 * np.pi * edges), axis=1)[:, 0] / (2 * np.pi * 0.05)
    expected = 100.0 * (1 + 0.5 * mean)
    rate, error = profile["rate"].values[:, 0], profile["rate_err"].values[:, 0]
    assert np.sum(((rate - expected) / error) ** 2) < 45
    assert float(profile["exposure"].sum()) == pytest.approx(sum(b - a for a, b in gti))
    assert int(profile["counts"].sum()) == ev.sizes["event"]
    assert error == pytest.approx(np.sqrt(profile["counts"].values[:, 0]) / profile["exposure"].values)


def test_profile_by_hand():
    ev = pulsar_events(np.random.default_rng(8), 50.0, [(0.0, 100.0)], 0.5)
    profile = ev.bat.pulse_profile(0.1, epoch=0.0, n_bins=10, energy=[15, 50, 350])
    phase, energy = (0.1 * ev["time"].values) % 1.0, ev["energy"].values
    for band, kept in enumerate((energy < 50, energy >= 50)):
        counts = np.histogram(phase[kept], bins=10, range=(0, 1))[0]
        assert profile["counts"].values[:, band].tolist() == counts.tolist()
    assert profile["exposure"].values == pytest.approx(10.0)


def test_profile_of_counts_and_of_rates():
    lower = T0 + 0.5 * np.arange(1000)
    counts = np.random.default_rng(9).poisson(50 + 20 * np.sin(2 * np.pi * 0.05 * (lower + 0.25 - T0)))
    by_counts = counts_curve(counts, lower, 0.5).bat.pulse_profile(0.05, n_bins=10, noise="counting")
    by_rates = rates_curve(counts / 0.5, np.full(1000, 14.0), lower, 0.5).bat.pulse_profile(
        0.05, n_bins=10, noise="counting"
    )
    assert by_rates["rate"].values == pytest.approx(by_counts["rate"].values)
    assert by_rates["rate_err"].values == pytest.approx(14.0 / np.sqrt(100))
    assert "counts" not in by_rates
    assert by_rates["rate"].attrs["per"] == "detector"
    assert by_counts["exposure"].values == pytest.approx(50.0)


def test_profile_without_slow_changes():
    lower = T0 + 0.25 * np.arange(1200)
    slow = 200 + 2.0 * (lower - T0)
    counts = np.random.default_rng(10).poisson(0.25 * slow * (1 + 0 * lower))
    lc = counts_curve(counts, lower, 0.25)
    # 7.3 cycles: the ramp is in the profile, unless it is taken off
    ramp = lc.bat.pulse_profile(7.3 / 300, n_bins=8, noise="counting")
    flat = lc.bat.pulse_profile(7.3 / 300, n_bins=8, noise="counting", baseline=60.0)
    chi = [float(np.sum(((one["rate"] - one["rate"].mean()) / one["rate_err"]) ** 2)) for one in (ramp, flat)]
    assert chi[0] > 50 > 25 > chi[1]
    assert float(flat["rate"].mean()) == pytest.approx(counts.sum() / 300, rel=1e-2)


def test_profile_of_weighted_events():
    rng = np.random.default_rng(11)
    ev = pulsar_events(rng, 200.0, [(0.0, 300.0)], 0.0)
    phase = cycles(ev["time"].values) % 1.0
    weight = rng.choice([-1.0, 1.0], phase.size) + np.where(phase < 0.25, 0.2, 0.0)
    profile = ev.assign(mask_weight=("event", weight)).bat.pulse_profile(FREQUENCY, n_bins=4, epoch=0.0)
    expected = np.array([40.0, 0, 0, 0])
    assert np.abs((profile["rate"].values[:, 0] - expected) / profile["rate_err"].values[:, 0]).max() < 4
    assert profile.attrs["weighting"] == "mask"
    assert profile["rate"].attrs["per"] == "detector"


def test_phase_without_exposure_is_nan():
    ev = pulsar_events(np.random.default_rng(12), 50.0, [(0.0, 6.0)], 0.0)
    profile = ev.bat.pulse_profile(0.1, epoch=0.0, n_bins=10)
    assert np.isfinite(profile["rate"].values[:, 0]).tolist() == [True] * 6 + [False] * 4
    assert profile["exposure"].values.tolist() == pytest.approx([1.0] * 6 + [0.0] * 4)


# ---------------------------------------------------------------- bad input

EV = pulsar_events(np.random.default_rng(13), 20.0, [(0.0, 200.0)], 0.5)
LC = counts_curve(np.full(300, 20), T0 + np.arange(300.0), 1.0)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: EV.bat.pulse_frequency(-0.1), ValueRangeError, "one positive"),
        (lambda: EV.bat.pulse_frequency([0.1, 0.2]), ValueRangeError, "one positive"),
        (lambda: EV.bat.pulse_frequency(np.nan), ValueRangeError, "one positive"),
        (lambda: EV.bat.pulse_frequency(xr.Dataset()), MissingVariableError, "z_search"),
        (lambda: EV.bat.pulse_frequency(0.1, harmonics=0), ValueRangeError, "1 to 20"),
        (lambda: EV.bat.pulse_frequency(0.1, gti=[(300, 400)]), EmptySelectionError, "no good time"),
        (lambda: LC.bat.pulse_frequency(0.3), ValueRangeError, "Nyquist"),
        (lambda: LC.bat.pulse_frequency(0.1), ValueRangeError, "no maximum whose"),
        (lambda: EV.bat.pulse_profile(0.1, n_bins=1), ValueRangeError, "at least 2"),
        (lambda: LC.bat.pulse_profile(0.1, n_bins=16), ValueRangeError, "bins of phase"),
        (lambda: EV.bat.pulse_profile("fast"), batx.errors.UnitsError, "frequency"),
    ],
)
def test_bad_input(call, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()


# ---------------------------------------------------------------- pictures


def labels(figure: Figure) -> str:
    texts = [text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title("left"))]
    notes = [text.get_text() for ax in figure.axes for text in ax.texts]
    return "\n".join(texts + notes)


def test_picture_of_a_search():
    found = EV.bat.z_search((0.05, 0.2), harmonics=1)
    figure = Figure()
    axes = found.bat.plot(figure)
    assert axes.get_legend_handles_labels()[1] == ["false alarm 0.01"]
    assert "Frequency (Hz)" in labels(figure)
    assert "peak at 0.10" in labels(figure)
    level = float(found["threshold"][0])
    assert any(np.allclose(line.get_ydata(), level) for line in axes.lines)


@pytest.mark.parametrize("log", [None, True, False])
def test_picture_of_bands(log: bool | None):
    figure = Figure()
    axes = make("periodogram").bat.plot(figure, log=log)
    assert len(axes) == 4
    assert "SIMGRB" in labels(figure)
    assert "15-25 keV" in labels(figure)


def test_picture_of_a_profile_has_two_cycles():
    figure = Figure()
    axes = make("pulse_profile").bat.plot(figure)
    assert len(axes) == 4
    assert axes[0].get_xlim() == (0.0, 2.0)
    text = labels(figure)
    assert "0.1018 Hz" in text and "Rate\n(count/s)" in text and "UTC, MET 600000100.000" in text
    assert len(axes[0].patches[0].get_data().values) == 32
    relative = make("pulse_profile").bat.plot(Figure(), normalize=True, cycles=1)
    assert relative[0].get_ylabel() == "Rate / mean"
    with pytest.raises(ValueRangeError, match="cycles"):
        make("pulse_profile").bat.plot(Figure(), cycles=0)
