"""Bayesian blocks: exact against the plain dynamic programme, and the same as the tool's."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from block_inputs import RUNS, curve, edges_of, noise, packed, reference_curve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batx
from batx.block_inputs import TICK
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.kernels.blocks import BERNOULLI, GAUSSIAN, POISSON, best_partition, partition_values

#: MET doubles are 1.2e-7 s apart
EDGE = 2e-7


def prefix(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def plain_partition(
    model: int, constants: np.ndarray, a: np.ndarray, b: np.ndarray, prior: float, lookback: int
) -> list[int]:
    """Return the best division by trying every last block, written from the formulae alone."""
    n_bands, n = a.shape[0], a.shape[1] - 1

    def evidence(band: int, start: int, stop: int) -> float:
        total, weight = a[band, stop] - a[band, start], b[band, stop] - b[band, start]
        if model == GAUSSIAN:
            return 0.5 * total * total / weight - 0.5 * math.log(0.5 * weight) + constants[band]
        if model == POISSON:
            return math.lgamma(total + 1.0) - (total + 1.0) * math.log(weight)
        return math.lgamma(total + 1.0) + math.lgamma(weight - total + 1.0) - math.lgamma(weight + 2.0)

    best, last = [0.0], []
    for stop in range(1, n + 1):
        winner, top = -1, -np.inf
        for start in range(max(0, stop - lookback) if lookback else 0, stop):
            informed = [k for k in range(n_bands) if b[k, stop] > b[k, start]]
            gain = 0.0
            for band in informed:
                gain += evidence(band, start, stop)
            value = best[start] + (gain if informed else -np.inf) - prior
            if winner < 0 or value > top:
                winner, top = start, value
        best.append(top)
        last.append(winner)
    starts, stop = [], n
    while stop > 0:
        stop = last[stop - 1]
        starts.append(stop)
    return starts[::-1]


@st.composite
def problems(draw: st.DrawFn) -> tuple:
    """Cells of any of the models: noise, steps, bursts, cells without weight, integers that tie."""
    model = draw(st.sampled_from([GAUSSIAN, POISSON, BERNOULLI]))
    n = draw(st.integers(1, 400))
    n_bands = draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level = np.repeat(random.uniform(0.1, 30.0, 40), random.integers(1, 60, 40))[:n]
    level = np.resize(level, n) if draw(st.booleans()) else np.full(n, level[0])
    if model == GAUSSIAN:
        x = random.normal(size=(n_bands, n)) * draw(st.sampled_from([0.1, 1.0, 5.0])) + level
        x = np.round(x) if draw(st.booleans()) else x
        weight = random.uniform(0.2, 3.0, (n_bands, n)) * (random.random((n_bands, n)) > draw(st.sampled_from([0.0, 0.2])))
        a, b = weight * x, weight
        constants = 0.5 * np.log(np.pi) - np.log(np.maximum(np.ptp(x, axis=1), 1.0))
    else:
        a = random.poisson(level, size=(n_bands, n)).astype(float)
        b = a + random.integers(1, 1000, size=(n_bands, n))
        constants = np.zeros(n_bands)
    return model, constants, prefix(a), prefix(b), draw(st.sampled_from([0.0, 1.0, 6.0, 15.0])), draw(
        st.sampled_from([0, 0, 1, 7, 60])
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_tiles_change_nothing(problem: tuple) -> None:
    assert best_partition(*problem).tolist() == plain_partition(*problem)


def test_exact_on_a_burst_in_a_long_background() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(1, 6000))
    x[0, 2900:3200] += 8.0 * np.exp(-np.arange(300) / 60.0)
    constants = np.array([0.5 * np.log(np.pi) - np.log(np.ptp(x))])
    a, b = prefix(x), prefix(np.ones_like(x))
    starts = best_partition(GAUSSIAN, constants, a, b, 6.0, 0)
    # every boundary of the exact division: moving or removing one makes it worse, and so does a further one
    total = partition_values(GAUSSIAN, constants, a, b, starts).sum() - 6.0 * starts.size
    for k in range(1, starts.size):
        for other in (np.delete(starts, k), *(np.sort(np.append(np.delete(starts, k), starts[k] + s)) for s in (-1, 1))):
            assert partition_values(GAUSSIAN, constants, a, b, other).sum() - 6.0 * other.size <= total
    assert 2895 <= starts[1] <= 2905


def _seconds(n: int) -> float:
    random = np.random.default_rng(1)
    x = random.normal(size=(1, n))
    x[0, n // 2 : n // 2 + 1000] += 10.0 * np.exp(-np.arange(1000) / 200.0)
    constants = np.array([0.5 * np.log(np.pi) - np.log(np.ptp(x))])
    begin = time.perf_counter()
    best_partition(GAUSSIAN, constants, prefix(x), prefix(np.ones_like(x)), 6.0, 0)
    return time.perf_counter() - begin


def test_speed_and_growth() -> None:
    _seconds(2000)
    short, long = (min(_seconds(n) for _ in range(2)) for n in (25_000, 100_000))
    assert min(_seconds(50_000) for _ in range(2)) < 1.0
    assert long < 9.0 * short  # 16 if quadratic


@pytest.mark.parametrize("run", RUNS)
def test_reference_edges(run: str) -> None:
    name, how, _ = RUNS[run]
    found = edges_of(batx.bayesian_blocks(reference_curve(name), compat="heasoft", **how))
    expected = packed()[f"{run}_edges"]
    assert found.size == expected.size
    assert np.abs(found - expected).max() < EDGE


#: reference runs that differ without compat, and why
DIFFERENT = {
    "raw1s": "one bin is half in good time, which the tool counts whole",
    "lookback": "the change after the first block is dropped by the tool",
    "evt": "the tool takes flagged events of every energy, and at most one event a tick",
}


@pytest.mark.parametrize("run", RUNS)
def test_reference_edges_without_quirks(run: str) -> None:
    name, how, _ = RUNS[run]
    found = edges_of(batx.bayesian_blocks(reference_curve(name), **how))
    expected = packed()[f"{run}_edges"]
    same = found.size == expected.size and np.abs(found - expected).max() < EDGE
    assert same == (run not in DIFFERENT)
    if run == "lookback":
        assert np.isclose(np.setdiff1d(found.round(3), expected.round(3)), expected[0] + 17.984).all()


def real_rows(shared: Path) -> list[dict[str, str]]:
    with (shared / "reference/heasoft/bb/real_lightcurves_battblocks.csv").open() as file:
        return list(csv.DictReader(file))


def test_real_light_curves(shared: Path) -> None:
    rows = real_rows(shared)
    assert len(rows) == 84
    for row in rows[::2]:
        lc = batx.open_dataset(shared / "data/lightcurves" / (row["file"] + ".gz"))
        expected = np.array(row["edges"].split(), dtype=float)
        for compat in ("heasoft", None):
            found = edges_of(batx.bayesian_blocks(lc, compat=compat))
            assert found.size == expected.size, row["file"]
            assert np.abs(found - expected).max() < EDGE, row["file"]


def test_dropped_change_point_only_with_compat() -> None:
    values = np.zeros(200)
    values[0] = 50.0
    lc = curve(values, np.ones(200))
    assert edges_of(batx.bayesian_blocks(lc, coalesce=0)).tolist() == [0.0, 1.0, 200.0]
    assert edges_of(batx.bayesian_blocks(lc, coalesce=0, compat="heasoft")).tolist() == [0.0, 200.0]


def test_coalescing() -> None:
    values = np.zeros(200)
    values[0] = values[-1] = 50.0
    lc = curve(values, np.ones(200))
    assert edges_of(batx.bayesian_blocks(lc, coalesce=0)).tolist() == [0.0, 1.0, 199.0, 200.0]
    assert edges_of(batx.bayesian_blocks(lc)).tolist() == [0.0, 200.0]


def test_blocks_are_a_light_curve() -> None:
    lc = noise(300, n_bands=2, seed=1, burst=4.0)
    blocks = lc.bat.bayesian_blocks()
    assert blocks.bat.kind == "lightcurve"
    assert not blocks.bat.check()
    assert blocks.attrs["block_prior"] == 6.0
    assert blocks.rate.values[1] == pytest.approx(lc.rate.values[135:165].mean(axis=0), abs=0.3)
    assert blocks.exposure.values.sum() == pytest.approx(300.0)


def test_bands_together_see_what_one_does_not() -> None:
    height = 1.2
    together = noise(300, n_bands=4, seed=5, burst=height)
    assert batx.bayesian_blocks(together).sizes["time"] == 3
    assert batx.bayesian_blocks(together.isel(energy=[0])).sizes["time"] <= 3
    burst = np.zeros((200, 2))
    burst[80:120, 0], burst[80:120, 1] = 3.0, -3.0
    opposite = curve(burst + np.random.default_rng(2).normal(size=burst.shape), np.ones(200))
    summed = curve(opposite.rate.values.sum(axis=1), np.full(200, np.sqrt(2.0)))
    assert np.allclose(edges_of(batx.bayesian_blocks(opposite)), [0, 80, 120, 200], atol=1)
    assert batx.bayesian_blocks(summed).sizes["time"] == 1


def make_events(random: np.random.Generator) -> xr.Dataset:
    times = np.sort(np.concatenate([random.uniform(0, 100, 20_000), random.uniform(40, 45, 6_000)]))
    return batx.build(
        "events",
        {
            "time": np.round(times / TICK) * TICK,
            "energy": random.uniform(15, 100, times.size),
            "gti_start": [0.0],
            "gti_stop": [100.0],
        },
    )


def test_events_and_counts_agree() -> None:
    events = make_events(np.random.default_rng(4))
    found = edges_of(events.bat.bayesian_blocks(spill=16))
    assert np.allclose(found, [0, 40, 45, 100], atol=0.1)
    counted = events.bat.lightcurve(dt=0.02, energy=[15, 350]).bat.bayesian_blocks()
    assert np.allclose(edges_of(counted), [0, 40, 45, 100], atol=0.1)


def test_events_in_bands_and_gaps() -> None:
    events = make_events(np.random.default_rng(6))
    split = events.assign(gti_start=("gti", [0.0, 60.0]), gti_stop=("gti", [50.0, 100.0]))
    found = split.bat.bayesian_blocks(energy=[15, 50, 100], spill=32)
    assert np.allclose(edges_of(found), [0, 40, 45, 100], atol=0.2)
    assert found.exposure.values.sum() == pytest.approx(90.0)


@pytest.mark.slow
def test_a_million_events() -> None:
    random = np.random.default_rng(7)
    times = np.sort(np.concatenate([random.uniform(0, 1000, 900_000), 500 + random.exponential(5.0, 100_000)]))
    events = batx.build(
        "events",
        {"time": times, "energy": np.full(times.size, 50.0), "gti_start": [0.0], "gti_stop": [1100.0]},
    )
    batx.bayesian_blocks(events.isel(event=slice(0, 2000)), spill=16)
    begin = time.perf_counter()
    batx.bayesian_blocks(events, spill=16)
    assert time.perf_counter() - begin < 10.0


@pytest.mark.parametrize("n", [600, 1500])
def test_false_blocks_of_noise_at_prior_6(n: int) -> None:
    n_curves = 400
    false = sum(batx.bayesian_blocks(noise(n, seed=seed)).sizes["time"] > 1 for seed in range(n_curves))
    assert false <= 0.01 * n_curves


@pytest.mark.parametrize("n_bands", [1, 2])
def test_prior_asked_for_by_its_rate(n_bands: int) -> None:
    n_curves, rate = 400, 0.1
    found = [batx.bayesian_blocks(noise(300, n_bands, seed), false_rate=rate, coalesce=0) for seed in range(n_curves)]
    false = sum(blocks.sizes["time"] > 1 for blocks in found)
    assert abs(false - rate * n_curves) < 4.0 * math.sqrt(rate * n_curves)


def test_prior_by_rate_for_counts() -> None:
    random = np.random.default_rng(8)
    n_curves, rate = 400, 0.1
    made = [curve(random.poisson(20.0, 300), width=0.064, timedel=0.064) for _ in range(n_curves)]
    false = sum(batx.bayesian_blocks(lc, false_rate=rate, coalesce=0).sizes["time"] > 1 for lc in made)
    assert abs(false - rate * n_curves) < 4.0 * math.sqrt(rate * n_curves)


def test_prior_and_rate_exclude_each_other() -> None:
    with pytest.raises(ValueRangeError, match="one of them"):
        batx.bayesian_blocks(noise(10), prior=6, false_rate=0.01)
    with pytest.raises(ValueRangeError, match="false_rate"):
        batx.bayesian_blocks(noise(10), false_rate=2.0)


# --- bad input ---------------------------------------------------------------------------------------------


def test_one_block_where_nothing_varies() -> None:
    constant = curve(np.full(50, 0.3), np.ones(50))
    assert edges_of(batx.bayesian_blocks(constant)).tolist() == [0.0, 50.0]
    assert edges_of(batx.bayesian_blocks(constant, false_rate=0.01)).tolist() == [0.0, 50.0]
    assert edges_of(batx.bayesian_blocks(curve([1.0], [0.1]))).tolist() == [0.0, 1.0]
    assert edges_of(batx.bayesian_blocks(curve([3]))).tolist() == [0.0, 1.0]
    assert edges_of(batx.bayesian_blocks(curve(np.zeros(40)))).tolist() == [0.0, 40.0]
    one_band_constant = noise(100, n_bands=2, burst=5.0)
    one_band_constant["rate"][:, 1] = 0.0
    assert batx.bayesian_blocks(one_band_constant).sizes["time"] == 3


def test_nan_bins_are_left_out() -> None:
    lc = noise(200, seed=2, burst=5.0)
    holes = lc.copy(deep=True)
    holes["rate"][[0, 20, 100, 199]] = np.nan
    found = edges_of(batx.bayesian_blocks(holes))
    assert found[1:-1] == pytest.approx(edges_of(batx.bayesian_blocks(lc))[1:-1])
    assert found[[0, -1]].tolist() == [1.0, 199.0]
    with pytest.raises(EmptySelectionError, match="finite"):
        batx.bayesian_blocks(curve(np.full(5, np.nan), np.ones(5)))


def test_zero_errors() -> None:
    lc = noise(200, seed=2, burst=5.0)
    some = lc.copy(deep=True)
    some["rate_err"][[0, 1, 50, 199]] = 0.0
    assert batx.bayesian_blocks(some).sizes["time"] == 3
    some["rate_err"][:] = 0.0
    with pytest.raises(ValueRangeError, match="no error above 0"):
        batx.bayesian_blocks(some)
    some["rate_err"][:] = -1.0
    with pytest.raises(ValueRangeError, match="negative errors"):
        batx.bayesian_blocks(some)


def test_bins_out_of_order_or_overlapping() -> None:
    lc = noise(20)
    with pytest.raises(ValueRangeError, match="before bin"):
        batx.bayesian_blocks(lc.isel(time=slice(None, None, -1)))
    wide = lc.assign_coords(time_bnds=lc.time_bnds + xr.DataArray([0.0, 0.5], dims="bnds"))
    with pytest.raises(ValueRangeError, match="overlap"):
        batx.bayesian_blocks(wide)


def test_counts_that_are_not_poisson() -> None:
    with pytest.raises(ValueRangeError, match="negative counts"):
        batx.bayesian_blocks(curve([5, -1, 4]))
    with pytest.raises(ValueRangeError, match="exposure 0"):
        batx.bayesian_blocks(curve([5, 1, 4], exposure=[1.0, 0.0, 1.0]))
    assert batx.bayesian_blocks(curve([5, 0, 4], exposure=[1.0, 0.0, 1.0])).exposure.values.tolist() == [2.0]
    with pytest.raises(ValueRangeError, match="rates, not counts"):
        batx.bayesian_blocks(noise(20), statistic="poisson")
    with pytest.raises(ValueRangeError, match="statistic"):
        batx.bayesian_blocks(noise(20), statistic="cauchy")


def test_kinds_and_bands() -> None:
    with pytest.raises(KindError, match="2 bands"):
        batx.bayesian_blocks(noise(20, n_bands=2), compat="heasoft")
    with pytest.raises(KindError, match="several sources"):
        batx.bayesian_blocks(noise(20).expand_dims(source=2))
    with pytest.raises(KindError):
        batx.bayesian_blocks(xr.Dataset({"x": ("y", [1.0])}))
    with pytest.raises(ValueRangeError, match="rebin_energy"):
        batx.bayesian_blocks(noise(20), energy=[15, 50])


@pytest.mark.parametrize(
    "wrong", [{"lookback": -1.0}, {"coalesce": 1.5}, {"prior": np.nan}, {"compat": "xspec"}]
)
def test_arguments_out_of_range(wrong: dict) -> None:
    with pytest.raises(ValueRangeError):
        batx.bayesian_blocks(noise(20), **wrong)
    with pytest.raises(ValueRangeError, match="spill"):
        batx.bayesian_blocks(make_events(np.random.default_rng(0)), spill=0)
