"""Durations: the same as the tool's, and what they say of bursts that are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from block_inputs import RUNS, curve, noise, packed, reference_curve
from click.testing import CliRunner

import batx
from batx.cli import main
from batx.errors import EmptySelectionError, KindError, ValueRangeError

#: MET doubles are 1.2e-7 s apart
TIME, RELATIVE = 2e-7, 1e-9
NAMES = {
    "t90": "T90DUR",
    "t90_err": "T90ERR",
    "t90_start": "T90START",
    "t90_stop": "T90STOP",
    "t50": "T50DUR",
    "t50_err": "T50ERR",
    "peak_time": "TPEAK",
    "t100": "TOTDUR",
    "t100_start": "TOTSTART",
    "t100_stop": "TOTSTOP",
    "fluence": "CNTFLU",
}
KEYS = ("T90DUR", "T90ERR", "T50DUR", "T50ERR", "TPEAK", "TOTDUR", "TOTSTART", "TOTSTOP", "CNTFLU")
RELATIVE_ONES = ("t90_err", "t50_err", "fluence")


def differences(found: xr.Dataset, expected: dict[str, float]) -> set[str]:
    """Return the names of the values that are not those of the tool."""
    apart = set()
    for name, key in NAMES.items():
        if key in expected:
            scale, limit = (abs(expected[key]), RELATIVE) if name in RELATIVE_ONES else (1.0, TIME)
            if not abs(float(found[name]) - expected[key]) <= limit * scale:
                apart.add(name)
    return apart


@pytest.mark.parametrize("run", RUNS)
def test_reference_runs(run: str) -> None:
    name, how, more = RUNS[run]
    arrays = packed()
    found = batx.duration(reference_curve(name), compat="heasoft", **how, **more)
    assert not differences(found, dict(zip(KEYS, arrays[f"{run}_values"], strict=False)))
    rates = arrays[f"{run}_values"][len(KEYS) :]
    for k, rate in enumerate(rates):  # the length of a block is known to 1.2e-7 s of 100 s
        assert float(found[f"background{k + 1}_rate"]) == pytest.approx(rate, rel=3e-9)
    for key, ours in (("t90", "t90"), ("t50", "t50"), ("txx", "t80"), ("peak", "peak"), ("tot", "t100")):
        if f"{run}_{key}" in arrays:
            ends = [float(found[f"{ours}_{end}"]) for end in ("start", "stop")]
            assert np.abs(ends - arrays[f"{run}_{key}"]).max() < 2.5e-7, key


#: rows that differ without compat: a time on an edge that rounding puts before it; an interval within a bin
QUIRKS = {
    "grb_180404A_1chan_64ms.lc": {"t90", "t90_start"},
    "grb_231117A_1chan_1s.lc": {"t90_stop"},
}


def test_real_light_curves(shared: Path) -> None:
    with (shared / "reference/heasoft/bb/real_lightcurves_battblocks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 84
    for row in rows:
        lc = batx.open_dataset(shared / "data/lightcurves" / (row["file"] + ".gz")).load()
        expected = {key: float(row[key]) for key in NAMES.values() if row[key]}
        for compat in ("heasoft", None):
            found = batx.duration(lc, background=row["bkgsub"] == "yes", compat=compat)
            quirks = set() if compat else QUIRKS.get(row["file"], set())
            if compat:
                assert np.isnan(found.t90_err) == (row["T90ERR"] == "")
            assert differences(found, expected) == quirks, (row["file"], compat)


def fred(n: int = 600, seed: int = 0, height: float = 30.0, n_bands: int = 1) -> xr.Dataset:
    """Return a fast rise and exponential decay of 10 s from 200 s on, rates of unit error."""
    t = np.arange(n) + 0.5 - 200.0
    shape = np.where(t > 0, height * np.exp(-np.clip(t, 0, None) / 10.0), 0.0)
    values = np.random.default_rng(seed).normal(shape[:, np.newaxis], 1.0, size=(n, n_bands))
    return curve(values, np.ones(n), trigger_time=200.0)


def test_a_known_burst() -> None:
    found = fred(height=300.0).bat.duration(txx=[80, 99.0])
    assert float(found.t90) == pytest.approx(10.0 * np.log(19.0), abs=2.0)
    assert float(found.t50) == pytest.approx(10.0 * np.log(3.0), abs=1.0)
    assert float(found.t80) == pytest.approx(10.0 * np.log(9.0), abs=2.0)
    assert float(found.t99) > float(found.t90)
    assert float(found.peak_start) == 200.0
    assert float(found.fluence) == pytest.approx(3000.0, rel=0.06)
    assert float(found.t100_start) == 200.0
    assert found.t90.attrs["units"] == "s"
    assert float(found.emergence_time) == 1.0


def test_background_is_subtracted() -> None:
    lc = fred(height=50.0)
    plain = lc.bat.duration(background=True)
    lifted = lc.copy(deep=True)
    lifted["rate"] = lc.rate + (20.0 + 0.001 * (lc.time - 300.0))
    found = lifted.bat.duration(background=True, blocks=lc.bat.bayesian_blocks())
    assert float(found.fluence) == pytest.approx(float(plain.fluence), rel=1e-6)
    assert float(found.t90) == float(plain.t90)
    assert float(found.background1_rate) - 19.8 == pytest.approx(float(plain.background1_rate), abs=0.01)
    assert float(plain.fluence_err) > float(lc.bat.duration().fluence_err)


def test_bootstrap() -> None:
    lc = fred(height=25.0)
    found = lc.bat.duration(method="bootstrap", n_samples=300, seed=1)
    again = lc.bat.duration(method="bootstrap", n_samples=300, seed=1)
    xr.testing.assert_identical(found, again)
    samples = found.t90_sample.values
    assert samples.shape == (300,)
    assert float(found.t90_err) == pytest.approx(np.std(samples, ddof=1))
    assert abs(np.mean(samples) - float(found.t90)) < 3.0 * float(found.t90_err) + 1.0
    brighter = fred(height=200.0).bat.duration(method="bootstrap", n_samples=300, seed=1)
    assert float(brighter.t90_err) == 1.0  # one bin


def test_pulses() -> None:
    lc = fred(height=60.0)
    found = lc.bat.duration(method="pulses", n_samples=300, seed=1)
    truth = 10.0 * np.log(19.0)
    assert int(found.n_pulses) <= 4  # its sudden rise is more than one smooth pulse
    assert found.n_pulses_sample.shape == found.t90_sample.shape == (300,)
    assert abs(float(found.t90) - truth) < 3.0 * float(found.t90_err)
    assert float(lc.bat.duration().t90) < truth - 2.0  # blocks cut the tail
    assert float(found.t90) == pytest.approx(np.median(found.t90_sample))
    xr.testing.assert_identical(found, lc.bat.duration(method="pulses", n_samples=300, seed=1))


def test_pulses_of_counts() -> None:
    t = np.arange(600) + 0.5 - 250.0
    shape = 20.0 + 200.0 * np.exp(-0.5 * (t / 8.0) ** 2)
    lc = curve(np.random.default_rng(2).poisson(shape))
    found = lc.bat.duration(method="pulses", background=True, n_samples=200, seed=1)
    assert float(found.t90) == pytest.approx(2.0 * 1.645 * 8.0, abs=4.0 * float(found.t90_err))


def several(random: np.random.Generator) -> tuple[xr.Dataset, float]:
    """Return four overlapping Gaussians in bins of 1 s, signal-to-noise some 80, and their T90."""
    fine = (np.arange(6000) + 0.5) / 20.0
    width, height, place = random.uniform(2, 6, 4), random.uniform(0.3, 1, 4), random.uniform(0, 60, 4)
    shape = np.sum(height * np.exp(-0.5 * ((fine[:, np.newaxis] - 100 - place) / width) ** 2), axis=1)
    rise = np.append(0.0, np.cumsum(shape)) / shape.sum()
    truth = float(np.subtract(*np.interp([0.95, 0.05], rise, np.arange(rise.size) / 20.0)))
    rate = 600.0 * 20.0 * shape.reshape(300, 20).mean(axis=1) / shape.sum() * (truth / 50.0) ** 0.5
    return curve(rate + random.normal(size=300), np.ones(300)), truth


@pytest.mark.slow
def test_pulses_of_overlapping_peaks_hold_their_errors() -> None:
    ranks = []
    for k in range(40):
        lc, truth = several(np.random.default_rng(k))
        found = lc.bat.duration(method="pulses", n_samples=100, seed=k)
        ranks.append(float(np.mean(found.t90_sample.values < truth)))
    apart = np.abs(np.array(ranks) - 0.5)
    assert 0.46 < np.mean(apart < 0.34) < 0.9  # 3 standard deviations of 0.68
    assert np.mean(apart < 0.45) > 0.78


def test_pulses_with_an_uncertain_background() -> None:
    lc = fred(height=60.0)
    lifted = lc.copy(deep=True)
    lifted["rate"] = lc.rate + (2.0 + 0.002 * (lc.time - 300.0))
    how = {"method": "pulses", "n_samples": 300, "seed": 1}
    plain, found = lc.bat.duration(**how), lifted.bat.duration(background=True, **how)
    assert abs(float(found.t90) - float(plain.t90)) < 2.0 * float(found.t90_err)


def test_pulses_do_not_mind_the_binning() -> None:
    t = (np.arange(6000) + 0.5) / 10.0 - 200.0
    since = np.clip(t, 1e-3, None)
    shape = 60.0 * np.exp(-4.0 / since - since / 10.0) * (t > 0)
    rate = np.random.default_rng(4).normal(shape, np.sqrt(10.0))
    fine = curve(rate, np.full(6000, np.sqrt(10.0)), width=0.1)
    coarse = batx.rebin_time(fine, dt=1.0)
    how = {"method": "pulses", "n_samples": 300, "seed": 1}
    one, other = fine.bat.duration(**how), coarse.bat.duration(**how)
    assert abs(float(one.t90) - float(other.t90)) < 1.5 * float(one.t90_err)
    assert float(one.t90_err) == pytest.approx(float(other.t90_err), rel=0.6)


def test_chain_without_data_gives_the_priors() -> None:
    from batx.kernels.pulse_posterior import FURTHER, SPREAD, Data, Priors, sample_sums

    nothing = np.zeros(40)
    data = Data(
        lower=np.arange(40.0),
        width=np.ones(40),
        rate=nothing,
        weight=nothing,
        information=nothing,
        base=nothing,
        counted=False,
        lines=np.zeros((0, 40)),
        line_errors=np.zeros(0),
    )
    priors = Priors(np.array([1.0, 0.0, 1.5, -0.5]), 0.0, 40.0, 1.0)
    begin = np.array([[1.0, 20.0, 1.5, 0.0]])
    pulses, numbers = sample_sums(begin, data, priors, 1000, 20, 15_000, np.random.default_rng(1))
    shares = np.bincount(numbers)[1:5] / numbers.size
    assert shares == pytest.approx((1.0 - FURTHER) * FURTHER ** np.arange(4.0), abs=0.025)
    drawn = np.concatenate([some[:n] for some, n in zip(pulses, numbers, strict=True)])
    assert drawn.mean(axis=0) == pytest.approx([1.0, 20.0, 1.5, -0.5], abs=0.3, rel=0.03)
    assert drawn.std(axis=0) == pytest.approx([SPREAD[0], 40.0 / 12**0.5, SPREAD[2], SPREAD[3]], rel=0.05)


def test_stretches_are_short_near_edges_and_stop_at_gaps() -> None:
    from batx.kernels.pulse_intervals import stretches

    lower = np.concatenate([np.arange(100.0), np.arange(110.0, 200.0)])
    firsts = stretches(lower, np.ones(190), np.array([50.0, 150.0]), 0.1)
    bounds = np.append(firsts, 190)
    assert firsts[0] == 0
    assert 100 in firsts
    lengths = np.diff(bounds)
    assert lengths[np.searchsorted(firsts, 49)] == 1
    assert 1 < lengths.max() <= 5
    near = np.min(np.abs(np.array([50.0, 150.0]) - lower[firsts][:, np.newaxis]), axis=1)
    assert np.all(lengths <= np.maximum(1.0, 0.1 * near))


def test_counts_and_events() -> None:
    random = np.random.default_rng(3)
    times = np.sort(np.concatenate([random.uniform(0, 200, 20_000), 80 + random.exponential(5.0, 8_000)]))
    times = times[times < 200.0]
    events = batx.build(
        "events",
        {"time": times, "energy": np.full(times.size, 50.0), "gti_start": [0.0], "gti_stop": [200.0]},
    )
    lc = events.bat.lightcurve(dt=0.5, energy=[15, 350])
    truth = 5.0 * np.log(19.0)
    for found in (lc.bat.duration(background=True), events.bat.duration(background=True, spill=32)):
        assert float(found.t90) == pytest.approx(truth, abs=3.0)
        assert float(found.fluence) == pytest.approx(8000.0, rel=0.05)
    with pytest.raises(KindError, match="bin the events"):
        events.bat.duration(background=True, method="pulses")
    sampled = lc.bat.duration(background=True, method="bootstrap", n_samples=50, seed=1)
    assert float(sampled.t90_err) > 0


def test_fluence_fraction() -> None:
    lc = fred()
    found = lc.bat.duration()
    part = lc.bat.fluence_fraction(found)
    assert part.fraction.values[[0, -1]].tolist() == [0.0, 1.0]
    assert part.fraction_err.values[[0, -1]].tolist() == [0.0, 0.0]
    middle = part.fraction.sel(time=float(found.t50_start), method="nearest")
    assert float(middle) == pytest.approx(0.25, abs=0.1)


def test_good_time_out(tmp_path: Path) -> None:
    found = fred().bat.duration(txx=80)
    tree = batx.duration_gti(found)
    assert set(tree.children) == {
        "gti_t90",
        "gti_t50",
        "gti_t80",
        "gti_peak",
        "gti_tot",
        "gti_bkg1",
        "gti_bkg2",
    }
    assert all(node.bat.kind == "gti" for node in (child.to_dataset() for child in tree.children.values()))
    path = batx.to_fits(tree, tmp_path / "durations.gti.fits")
    with fits.open(path) as hdus:
        assert hdus["GTI_T90"].data["START"][0] == float(found.t90_start)
        assert hdus["GTI_BKG1"].data["START"][0] == -1e307
        assert hdus["GTI_BKG2"].data["START"][0] == float(found.t100_stop)
    lc = fred()
    selected = batx.rebin_time(lc, edges=np.array([[float(found.t90_start), float(found.t90_stop)]]))
    assert selected.sizes["time"] == 1
    with pytest.raises(KindError, match="duration"):
        batx.duration_gti(lc)


def test_peak_is_in_the_burst() -> None:
    values = np.zeros(300)
    values[150:153] = 50.0
    values[10] = values[20] = 0.5  # noise that a window longer than the burst could reach
    lc = curve(values + 1e-3 * np.arange(300) % 2, np.full(300, 0.3))
    found = lc.bat.duration(peak=200.0)
    assert float(found.t100) == 3.0
    assert float(found.peak_start) + 100.0 == float(found.peak_stop) - 100.0
    assert 149.0 < float(found.peak_time) < 154.0


def test_window_is_the_best() -> None:
    lc = fred(height=5.0)
    found = lc.bat.duration()
    cumulative = np.concatenate([[0.0], np.cumsum(lc.rate.values[:, 0])])
    first, last = int(found.t100_start), int(found.t100_stop)
    best = max(
        (cumulative[j] - cumulative[i]) / np.sqrt(j - i)
        for i in range(first, last + 1)
        for j in range(i + 1, last + 2)
    )
    assert float(found.window_snr) == pytest.approx(best)


# --- bad input ---------------------------------------------------------------------------------------------


def test_no_burst() -> None:
    with pytest.raises(EmptySelectionError, match="at least 3"):
        noise(200).bat.duration()
    with pytest.raises(EmptySelectionError, match="at least 3"):
        curve([1.0], [0.1]).bat.duration()
    with pytest.raises(ValueRangeError, match="fluence"):
        noise(300, burst=-5.0).bat.duration()


def test_too_few_bins_for_pulses() -> None:
    lc = fred(height=60.0)
    with pytest.raises(ValueRangeError, match="finer bins"):
        batx.rebin_time(lc, dt=20.0).bat.duration(method="pulses")


def test_several_bands() -> None:
    with pytest.raises(KindError, match="rebin_energy"):
        fred(n_bands=2).bat.duration()


@pytest.mark.parametrize(
    "wrong", [{"txx": 150}, {"txx": 0}, {"method": "guess"}, {"errors": "none"}, {"peak": -1.0}, {"peak": 0}]
)
def test_arguments_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueRangeError):
        fred().bat.duration(**wrong)
    for method, n_samples in (("bootstrap", 1), ("pulses", 1), ("bootstrap", 10.5)):
        with pytest.raises(ValueRangeError, match="n_samples"):
            fred().bat.duration(method=method, n_samples=n_samples)


def test_blocks_of_another_curve() -> None:
    late = fred()
    late = late.assign_coords(time_bnds=late.time_bnds + 1e5, time=late.time + 1e5)
    with pytest.raises(EmptySelectionError, match="blocks of"):
        fred().bat.duration(blocks=late.bat.bayesian_blocks())


# --- picture and command -----------------------------------------------------------------------------------


def test_picture() -> None:
    from matplotlib.figure import Figure

    lc = fred()
    figure = Figure()
    blocks = lc.bat.bayesian_blocks()
    top, bottom = lc.bat.plot_duration(lc.bat.duration(blocks=blocks), blocks, figure)
    labels = [text.get_text() for text in top.get_legend().get_texts()]
    assert [label.split(" ")[0] for label in labels] == ["background", "T90", "T50", "T100", "blocks"]
    assert bottom.get_ylim()[1] > 1.0


def test_command(tmp_path: Path) -> None:
    path = batx.to_fits(fred(), tmp_path / "burst.lc")
    table, gti, picture = (tmp_path / name for name in ("t.nc", "t.fits", "t.png"))
    run = CliRunner()
    done = run.invoke(main, ["duration", str(path), "-o", str(table), "-p", str(picture), "--txx", "80"])
    assert done.exit_code == 0, done.output
    assert "T90" in done.output
    assert "T80" in done.output
    assert picture.stat().st_size > 0
    assert float(xr.open_dataset(table).t90) == float(fred().bat.duration().t90)
    assert run.invoke(main, ["duration", str(path), "-o", str(gti)]).exit_code == 0
    again = run.invoke(main, ["duration", str(path), "-o", str(gti)])
    assert again.exit_code == 1
    assert "overwrite" in again.output
