"""Triggers: what is found where, and how often noise is taken for it."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import xarray as xr
from block_inputs import curve, noise
from click.testing import CliRunner
from makers import make
from matplotlib.figure import Figure

import batx
from batx.cli import main
from batx.errors import EmptySelectionError, GtiError, KindError, RebinError, ValueRangeError
from batx.kernels.triggers import excesses, expected_clusters, noise_factor, significance
from batx.trigger_inputs import scales_of


def poisson(level, n: int = 600, bands: int = 1, seed: int = 0, width: float = 1.0, **options) -> xr.Dataset:
    """Return a curve of Poisson counts around a level: a number, (time,) or (time, band)."""
    expected = np.broadcast_to(
        np.asarray(level, dtype=float).reshape(-1, 1 if np.ndim(level) < 2 else bands), (n, bands)
    )
    return curve(np.random.default_rng(seed).poisson(expected), width=width, **options)


def sums(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)


# --- the significance of one foreground ---


def test_significance():
    """Against the formula of Li & Ma (1983), eq. 17, and limits of it."""
    for on, off, alpha in ((20, 100, 0.1), (5, 12, 0.5), (3, 40, 0.1), (1000, 900, 1.0)):
        a = (1 + alpha) / alpha * on / (on + off)
        b = (1 + alpha) * off / (on + off)
        expected = np.sqrt(2) * np.sqrt(on * np.log(a) + off * np.log(b))
        sign = 1 if on > alpha * off else -1
        assert significance(float(on), alpha * off, alpha) == pytest.approx(sign * expected, rel=1e-12)
    assert significance(10.0, 10.0, 0.3) == pytest.approx(0.0, abs=1e-7)
    assert significance(5.0, 0.0, 0.5) == pytest.approx(np.sqrt(2 * 5 * np.log(3)))
    many = significance(1e6 + 5e3, 1e6, 1e-4)
    assert many == pytest.approx(5.0, rel=0.01)  # (n - B)/sqrt(B) where there are many and B is known


def slow_excesses(counts, live, length, step, guard, back):
    """The same sums, written out."""
    rows = []
    n = live.size
    for i in range(0, n - length + 1, step):
        parts = [
            np.arange(i, i + length),
            np.arange(max(i - guard - back, 0), max(i - guard, 0)),
            np.arange(min(i + length + guard, n), min(i + length + guard + back, n)),
        ]
        exposure = [live[part].sum() for part in parts]
        if exposure[0] < 0.5 * length or min(exposure[1:]) < 0.5 * back:
            rows.append((np.nan, np.nan))
            continue
        middle = [(live[part] * part).sum() / live[part].sum() for part in parts]
        rate = [counts[part].sum() / live[part].sum() for part in parts]
        level = np.interp(middle[0], middle[1:], rate[1:])
        weight = (middle[0] - middle[1]) / (middle[2] - middle[1])
        variance = exposure[0] ** 2 * ((1 - weight) ** 2 / exposure[1] + weight**2 / exposure[2])
        rows.append((level * exposure[0], variance / exposure[0]))
    return np.array(rows).T


@pytest.mark.parametrize("scale", [(1, 1, 1, 10), (8, 2, 4, 16), (5, 3, 0, 20)])
def test_windows_with_gaps(scale):
    rng = np.random.default_rng(3)
    live = np.where(rng.random(200) < 0.15, 0.0, np.where(rng.random(200) < 0.1, 0.5, 1.0))
    live[80:95] = 0.0
    counts = rng.poisson(20 * live)
    snr, background, alpha = excesses(
        sums(counts[np.newaxis].astype(float)), sums(live), sums(live * np.arange(200)), *scale
    )
    expected, expected_alpha = slow_excesses(counts, live, *scale)
    np.testing.assert_allclose(background[0], expected, rtol=1e-10)
    np.testing.assert_allclose(alpha, expected_alpha, rtol=1e-10)
    assert np.array_equal(np.isnan(snr[0]), np.isnan(expected))
    assert 0 < np.isnan(snr).sum() < snr.size


def test_a_straight_background_is_no_excess():
    """Without noise, at any slope and with gaps, the background is what is there."""
    live = np.ones(300)
    live[100:110] = 0
    rate = 50 + 3.0 * np.arange(300)
    counts = live * rate
    snr, background, _ = excesses(sums(counts[None]), sums(live), sums(live * np.arange(300)), 4, 1, 2, 16)
    there = np.isfinite(snr[0])
    on = np.array([counts[k : k + 4].sum() for k in range(snr.shape[1])])
    np.testing.assert_allclose(background[0][there], on[there], rtol=1e-12)


# --- how often noise triggers ---


@pytest.mark.parametrize("level", [0.2, 5.0, 1000.0])
def test_number_of_false_triggers(level):
    """The importance sampling against plain simulation, two bands and their sum, 4 timescales."""
    n, threshold = 400, 3.4
    scales = scales_of(1.0, None, 8.0, 20.0, 0.5, 4)
    members = np.array([[True, False], [False, True], [True, True]])
    levels = np.array([level, 0.6 * level])
    live, moment = np.arange(n + 1.0), sums(np.arange(float(n)))
    rng = np.random.default_rng(11)
    found, trials = [], np.zeros(len(scales))
    for _ in range(300):
        counts = sums(members.astype(float) @ rng.poisson(levels[:, None], (2, n)))
        spans = []
        for k, scale in enumerate(scales):
            snr, _, alpha = excesses(counts, live, moment, *scale)
            trials[k] = np.isfinite(alpha).sum()
            starts = scale[1] * np.flatnonzero((snr >= threshold).any(axis=0))
            spans += [(start, start + scale[0]) for start in starts]
        end, number = -1, 0
        for start, stop in sorted(spans):
            number += start >= end
            end = max(end, stop)
        found.append(number)
    expected, error = expected_clusters(
        scales, members, trials, np.tile(levels, (len(scales), 1, 1)), threshold, 6000, 1
    )
    assert error < 0.05 * expected
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(300) + 3 * error


@pytest.mark.parametrize(("level", "slope"), [(2.0, 0.0), (2.0, 0.8), (200.0, 0.8)])
def test_false_rate_is_the_one_asked_for(level, slope):
    """120 curves of noise at 0.5, flat and rising by a factor of 9; the measured table is in the docs."""
    expected = level * (1 + slope * np.linspace(-1, 1, 300))
    limit = (
        poisson(expected, n=300, seed=10**6).bat.rate_trigger(false_rate=0.5, longest=4).attrs["threshold"]
    )
    hit = [
        poisson(expected, n=300, seed=seed).bat.rate_trigger(threshold=limit, longest=4).sizes["trigger"] > 0
        for seed in range(120)
    ]
    assert abs(np.mean(hit) - 0.5) < 0.13


def test_limits_are_related():
    lc = poisson(50.0)
    found = lc.bat.rate_trigger(false_rate=0.3)
    days = found.attrs["searched"] / 86400
    rate = -np.log(0.7) / days
    assert lc.bat.rate_trigger(false_per_day=rate).attrs["threshold"] == pytest.approx(
        found.attrs["threshold"]
    )
    assert lc.bat.rate_trigger(false_rate=0.03).attrs["threshold"] > found.attrs["threshold"] + 0.3
    same = lc.bat.rate_trigger(threshold=found.attrs["threshold"])
    xr.testing.assert_allclose(
        same.drop_vars(["false_alarm_probability", "false_alarms_per_day"]),
        found.drop_vars(["false_alarm_probability", "false_alarms_per_day"]),
    )
    # more timescales and bands are more trials
    assert lc.bat.rate_trigger(false_rate=0.3, longest=2).attrs["threshold"] < found.attrs["threshold"]


def test_probability_of_a_trigger_is_the_rate_at_its_significance():
    lc = poisson(50.0 + 25 * (abs(np.arange(600) - 300) < 4), seed=4)
    found = lc.bat.rate_trigger(false_rate=0.5)
    snr = float(found.snr.max())
    chance = float(found.false_alarm_probability.min())
    again = lc.bat.rate_trigger(false_rate=chance)
    assert again.attrs["threshold"] == pytest.approx(snr, abs=0.05)
    days = found.attrs["searched"] / 86400
    np.testing.assert_allclose(
        found.false_alarms_per_day * days, -np.log1p(-found.false_alarm_probability), rtol=1e-9
    )


# --- what is found ---


def test_a_burst_is_found_on_its_timescale_and_in_its_bands():
    level = np.full((2000, 4), 60.0)
    level[1000:1032, 1:3] += 40
    found = poisson(level, n=2000, bands=4, width=0.064).bat.rate_trigger()
    assert found.sizes["trigger"] == 1
    assert found.timescale.item() == pytest.approx(32 * 0.064)
    assert abs(found.start.item() - 64.0) < 0.6
    edges = np.linspace(15, 350, 5)
    assert (found.energy_low.item(), found.energy_high.item()) == pytest.approx((edges[1], edges[3]))
    assert found.background.item() == pytest.approx(2 * 60 * 32, rel=0.05)
    assert found.background_err.item() == pytest.approx(np.sqrt(found.background.item() * 32 / 500), rel=0.1)
    assert found.event_start.item() <= found.start.item() < found.stop.item() <= found.event_stop.item()
    assert found.n_foregrounds.item() > 10
    assert found.false_alarm_probability.item() < 1e-20
    assert found.bat.kind == "triggers"
    assert found.bat.check() == []


def test_two_bursts_are_two_triggers():
    level = np.full(900, 100.0)
    level[200:204] += 60
    level[600:604] += 60
    found = poisson(level, n=900).bat.rate_trigger()
    assert found.start.values.tolist() == pytest.approx([200, 600], abs=2)


def test_a_slope_and_a_step():
    """A rise by a factor of 9 triggers as rarely as none; a step does trigger."""
    slope = poisson(50 * (1 + 0.8 * np.linspace(-1, 1, 600))).bat.rate_trigger()
    assert slope.sizes["trigger"] == 0
    step = poisson(np.r_[np.full(300, 100), np.full(300, 200)]).bat.rate_trigger(dispersion=1)
    assert step.sizes["trigger"] > 0


def test_time_runs_either_way():
    """With foregrounds at every bin the mirrored curve has the mirrored triggers."""
    lc = poisson(20.0 + 30 * (abs(np.arange(300) - 120) < 5), n=300)
    mirrored = lc.assign(counts=(("time", "energy"), lc.counts.values[::-1]))
    there, back = (one.bat.rate_trigger(phases=8, longest=8) for one in (lc, mirrored))
    np.testing.assert_allclose(there.start, 300 - back.stop.values[::-1])
    np.testing.assert_allclose(there.snr, back.snr[::-1])


def test_gaps_are_not_bridged():
    """The rate jumps over a gap that is longer than a background; a short gap is interpolated across."""
    lower = np.r_[np.arange(400.0), 2000 + np.arange(400.0)]
    found = poisson(np.r_[np.full(400, 50), np.full(400, 90)], n=800, lower=lower).bat.rate_trigger()
    assert (found.sizes["trigger"], found.sizes["stretch"]) == (0, 2)
    level = np.full(400, 50.0)
    level[[190, 191]] += 80
    rows = np.r_[0:185, 189:400]
    found = poisson(level, n=400).isel(time=rows).bat.rate_trigger()
    assert found.sizes["stretch"] == 1
    assert found.start.values == pytest.approx([190], abs=1)


def test_bins_without_exposure_are_gaps():
    lc = poisson(50.0, n=400)
    dark = lc.assign(exposure=lc.exposure.where(abs(lc.time - 200) > 30, 0.0))
    dark["counts"] = dark.counts.where(dark.exposure > 0, 0)
    assert dark.bat.rate_trigger().sizes["trigger"] == 0
    whole, part = (one.bat.rate_trigger().attrs["searched"] for one in (lc, dark))
    assert part < whole - 60
    within = lc.bat.rate_trigger(gti=[(0, 170), (230, 400)])
    assert within.attrs["searched"] == part


def test_counts_that_scatter_more():
    """Four times the counts of a Poisson distribution: dispersion 4; taken for Poisson they trigger."""
    lc = curve(4 * np.random.default_rng(2).poisson(40, 3000))
    found = lc.bat.rate_trigger()
    assert found.sizes["trigger"] == 0
    assert found.noise_factor.values[0, 0, 0] == pytest.approx(2.0, rel=0.05)
    assert lc.bat.rate_trigger(dispersion=1).sizes["trigger"] > 0
    given = lc.bat.rate_trigger(dispersion=4.0)
    np.testing.assert_allclose(given.noise_factor, 2.0)
    assert given.sizes["trigger"] == 0


def test_noise_of_each_stretch_is_its_own():
    rng = np.random.default_rng(5)
    counts = np.r_[rng.poisson(80, 1000), 3 * rng.poisson(30, 1000)]
    lower = np.r_[np.arange(1000.0), 5000 + np.arange(1000.0)]
    found = curve(counts, lower=lower).bat.rate_trigger()
    assert found.noise_factor.values[0].max() < 1.2
    assert found.noise_factor.values[1, 0, 0] == pytest.approx(np.sqrt(3), rel=0.07)
    assert found.stretch_start.values.tolist() == [0, 5000]
    assert found.stretch_stop.values.tolist() == [1000, 6000]


def test_noise_factor_is_not_that_of_a_burst():
    rng = np.random.default_rng(6)
    assert noise_factor(np.r_[rng.normal(size=900), rng.normal(15, 1, 60)]) == pytest.approx(1.0, abs=0.2)
    assert poisson(50 + 100.0 * (abs(np.arange(600) - 300) < 8)).bat.rate_trigger().snr.max() > 25


def test_bands_and_timescales_asked_for():
    lc = poisson(np.full((600, 3), 50.0), bands=3)
    edges = lc.energy_bnds.values
    found = lc.bat.rate_trigger(energy=[edges[0], (edges[0, 0], edges[1, 1])], timescales=[1, 3])
    np.testing.assert_allclose(found.band_high, [edges[0, 1], edges[1, 1]])
    assert found.scale_length.values.tolist() == [1, 3]
    assert found.attrs["trials"] == 2 * sum(
        1 + (600 - 2 * 8 - length + 2 * (8 - 8)) // 1 - 2 * guard - 0 for length, guard in ((1, 1), (3, 2))
    )
    every = lc.bat.rate_trigger()
    assert every.sizes["band"] == 6
    with pytest.raises(ValueRangeError, match="expected sums of the bands"):
        lc.bat.rate_trigger(energy=[15, 100])
    with pytest.raises(ValueRangeError, match="expected multiples of the bins"):
        lc.bat.rate_trigger(timescales=[1.5])
    with pytest.raises(ValueRangeError, match="found a curve of 7 bands"):
        poisson(np.full((600, 7), 50.0), bands=7).bat.rate_trigger()


def test_the_same_again_and_rates():
    lc = poisson(5.0 + 20 * (abs(np.arange(600) - 300) < 3))
    first = lc.bat.rate_trigger()
    xr.testing.assert_identical(first, lc.bat.rate_trigger())
    rates = lc.assign(rate=lc.counts / lc.exposure).drop_vars("counts")
    np.testing.assert_allclose(rates.bat.rate_trigger().snr, first.snr)
    assert first.sizes["trigger"] == 1


# --- real files, command, picture ---


def test_rate_files(shared: Path):
    """Spikes of one orbit, single bins of 64 ms; a pulsar of great amplitude and ramps are none."""
    folder = shared / "data" / "rates"
    orbits = batx.join_lightcurves(*folder.glob("*brt1s*"))
    found = orbits.bat.rate_trigger()
    begin = float(orbits.time_bnds[0, 0])
    assert np.round(found.start.values - begin).tolist() == [555, 6441, 29306, 29936, 40692, 46707, 59830]
    assert 1.3 < np.median(found.noise_factor.values[:, 0, 0]) < 1.5
    days = batx.join_lightcurves(*folder.glob("*brtms*"))
    found = days.bat.rate_trigger()
    assert found.sizes["trigger"] == 3
    assert np.all(found.timescale < 0.2)


def test_command(tmp_path):
    level = np.full((1500, 2), 50.0)
    level[700:716] += 40
    whole = poisson(level, n=1500, bands=2, width=0.064, lower=6e8 + 0.064 * np.arange(1500), utcf=-20.0)
    paths = [
        str(whole.isel(time=rows).bat.to_fits(tmp_path / f"{k}.lc"))
        for k, rows in enumerate((slice(700), slice(700, 1500)))
    ]
    table, picture = tmp_path / "found.nc", tmp_path / "found.png"
    done = CliRunner().invoke(
        main, ["trigger", *paths, "--longest", "8", "-o", str(table), "-p", str(picture)]
    )
    assert done.exit_code == 0, done.output
    assert "1.024 s" in done.output
    assert "2020-01-06T10:40" in done.output
    assert batx.open_dataset(table).sizes["trigger"] == 1
    assert picture.stat().st_size > 10000
    again = CliRunner().invoke(main, ["trigger", *paths, "-o", str(table)])
    assert again.exit_code == 1
    assert "exists" in again.output


def test_picture():
    lc = poisson(np.full((600, 2), 50.0) + 60 * (abs(np.arange(600) - 300) < 5)[:, None], bands=2)
    triggers = lc.bat.rate_trigger()
    page = Figure()
    panels = lc.bat.plot_triggers(triggers, lc.bat.background(on=triggers), page)
    assert len(panels) == 2
    labels = panels[0].get_legend_handles_labels()[1]
    assert {"background", "fitted"} <= set(labels)
    assert any("σ" in label for label in labels)
    alone = lc.isel(energy=0).bat.plot_triggers(ax=Figure())
    assert alone.get_legend() is None
    with pytest.raises(KindError, match="plot_triggers works on kind"):
        lc.bat.plot_triggers(lc)


# --- what is refused ---


@pytest.mark.parametrize(
    ("lc", "error", "message"),
    [
        (curve(np.full(100, np.nan)), EmptySelectionError, "none of the 100 bins"),
        (curve(np.r_[np.full(99, 5.0), -1.0]), ValueRangeError, "1 negative counts"),
        (curve(np.full(100, 5), exposure=np.zeros(100)), ValueRangeError, "exposure 0"),
        (curve(np.full(100, 5)).isel(time=slice(None, None, -1)), ValueRangeError, "in order"),
        (curve([5, 5, 5], lower=[0, 0.5, 2]), ValueRangeError, "do not overlap"),
        (noise(100), ValueRangeError, "expected raw counts"),
        (make("events"), KindError, "works on kind"),
        (make("lightcurve_counts"), RebinError, "expected equal ones"),
        (curve([5]), EmptySelectionError, "no foreground has a background on both sides"),
        (curve(np.full(15, 5)), EmptySelectionError, "the longest stretch has 15 s"),
        (curve(np.full(100, 5)).expand_dims(source=2), KindError, "several sources"),
    ],
    ids=[
        "nan",
        "negative",
        "0s",
        "backwards",
        "overlap",
        "weighted",
        "kind",
        "unequal",
        "one",
        "short",
        "sources",
    ],
)
def test_bad_curves(lc, error, message):
    with pytest.raises(error, match=message):
        lc.bat.rate_trigger()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"false_rate": 0.0}, ValueRangeError, "false_rate: found 0.0"),
        ({"false_rate": 1.0}, ValueRangeError, "false_rate: found 1.0"),
        ({"false_per_day": -1}, ValueRangeError, "false_per_day: found -1.0"),
        ({"threshold": 1.0}, ValueRangeError, "threshold: found 1.0"),
        ({"threshold": 5.0, "false_rate": 0.1}, ValueRangeError, "found false_rate and threshold"),
        ({"phases": 0}, ValueRangeError, "phases: found 0"),
        ({"window": 0.0}, ValueRangeError, "window, guard: found 0.0"),
        ({"longest": 0.1}, ValueRangeError, "longest: found 0.1"),
        ({"dispersion": 0.5}, ValueRangeError, "dispersion: found 0.5"),
        ({"dispersion": "none"}, ValueRangeError, "dispersion: found 'none'"),
        ({"gti": (5, 2)}, GtiError, "before"),
        ({"gti": (1000, 2000)}, EmptySelectionError, "no foreground"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        poisson(20.0, n=100).bat.rate_trigger(**options)


def test_curves_of_one_value_and_of_nothing():
    assert curve(np.full(300, 7)).bat.rate_trigger().sizes["trigger"] == 0
    assert curve(np.zeros(300)).bat.rate_trigger().sizes["trigger"] == 0
