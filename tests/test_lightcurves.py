"""Light curves: the numbers of batbinevt, the correct SNR bins, laziness, awkward input."""

from __future__ import annotations

import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_events import (
    BANDS,
    MET0,
    folder_events,
    folder_mask,
    make_events,
    packed_arrays,
    packed_events,
    unpacked_mask,
)

import batx
from batx.errors import (
    BatxWarning,
    EmptySelectionError,
    GtiError,
    KindError,
    MissingVariableError,
    SchemaError,
    UnitsError,
    ValueRangeError,
)

WHOLE = (15, 350)
RAW = {"weighting": "none", "compat": "heasoft"}
#: reference file -> the call that makes it (COMMANDS.txt)
RUNS = {
    "lc_w_4b_0064": {"dt": 0.064, "energy": BANDS},
    "lc_w_1b_0064": {"dt": 0.064, "energy": WHOLE},
    "lc_raw_4b_0064": {"dt": 0.064, "energy": BANDS, "quantity": "rate", **RAW},
    "lc_raw_1b_0064": {"dt": 0.064, "energy": WHOLE, **RAW},
    "lc_w_4b_10": {"dt": 1.0, "energy": BANDS},
    "lc_w_1b_10": {"dt": 1.0, "energy": WHOLE},
    "lc_raw_4b_10": {"dt": 1.0, "energy": BANDS, "quantity": "rate", **RAW},
    "lc_raw_1b_10": {"dt": 1.0, "energy": WHOLE, **RAW},
    "lc_snr6": {"snr": 6, "dt": 20.0, "energy": BANDS, "compat": "heasoft"},
    "lc_highsnr6": {"high_snr": 6, "dt": 1.0, "energy": BANDS, "compat": "heasoft"},
    "lc_tlim": {"dt": 1.0, "energy": WHOLE, "tstart": MET0 + 10.3, "tstop": MET0 + 150.7},
    "lc_maskwtimg": {"dt": 1.0, "energy": BANDS},
    "lc_pi": {"dt": 1.0, "energy": BANDS, "energy_column": "pi"},
}


@pytest.fixture(scope="module")
def packed():
    return packed_arrays()


@pytest.fixture(scope="module")
def events(packed):
    return packed_events(packed)


@pytest.fixture(scope="module")
def good(packed):
    return unpacked_mask(packed["detector_mask"])


def simple(times, energies=20.0, **more):
    times = np.asarray(times, dtype=np.float64)
    columns = {"time": times, "energy": np.broadcast_to(np.float32(energies), times.shape).copy()}
    return make_events({"gti_start": [0.0], "gti_stop": [100.0], **columns, **more})


def assert_matches(curve, table, rtol):
    """Compare with the columns of a RATE extension: bins and totals exact, values within rtol."""
    quantity = "RATE" if "RATE" in table else "COUNTS"
    value = curve["rate" if quantity == "RATE" else "counts"]
    values = np.asarray(table[quantity]).reshape(value.shape)
    assert curve.sizes["time"] == len(table["TIME"])
    width = curve.time_bnds.values[:, 1] - curve.time_bnds.values[:, 0]
    if "TIMEDEL" in table:
        np.testing.assert_allclose(width, table["TIMEDEL"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(curve.time.values, table["TIME"], rtol=0, atol=2e-7)
    else:
        np.testing.assert_array_equal(curve.time_bnds.values[:, 0], table["TIME"])
    np.testing.assert_array_equal(curve.totcounts.values, table["TOTCOUNTS"])
    np.testing.assert_array_equal(curve.fracexp.values, table["FRACEXP"])
    np.testing.assert_allclose(value.values, values, rtol=rtol, atol=0)
    errors = np.asarray(table["ERROR"]).reshape(value.shape)
    error = curve[f"{value.name}_err"].values if f"{value.name}_err" in curve else np.sqrt(value.values)
    np.testing.assert_allclose(error, errors, rtol=rtol, atol=0)


class TestReference:
    @pytest.mark.parametrize(
        "name", ["lc_w_4b_10", "lc_raw_4b_10", "lc_w_1b_10", "lc_tlim", "lc_snr6", "lc_highsnr6"]
    )
    def test_packed(self, packed, events, good, name):
        table = {key.partition("/")[2]: packed[key] for key in packed if key.startswith(f"{name}/")}
        assert_matches(batx.lightcurve(events, detector_mask=good, **RUNS[name]), table, 1e-12)

    @pytest.mark.parametrize("name", ["lc_w_4b_0064", "lc_raw_1b_0064"])
    def test_packed_totals(self, packed, events, good, name):
        curve = batx.lightcurve(events, detector_mask=good, **RUNS[name])
        np.testing.assert_array_equal(curve.totcounts, packed[f"{name}/TOTCOUNTS"])

    @pytest.mark.parametrize("name", RUNS)
    def test_folder(self, heasoft, name):
        from astropy.io import fits

        ev, mask = folder_events(heasoft), folder_mask(heasoft)
        with fits.open(heasoft / f"lc/{name}.lc.gz") as hdus:
            table = {key: hdus["RATE"].data[key] for key in hdus["RATE"].columns.names}
        if name == "lc_maskwtimg":
            # the tool weights all events, flagged ones too, by an image in single precision
            weights = fits.getdata(heasoft / "mwimg_src/mw_default.fits.gz", 0).astype(np.float32)
            ev = ev.assign(mask_weight=("event", weights[ev.dety, ev.detx])).drop_vars("event_flags")
        assert_matches(batx.lightcurve(ev, detector_mask=mask, **RUNS[name]), table, 1e-6)
        compat = {**RUNS[name], "compat": "heasoft"}
        assert_matches(batx.lightcurve(ev, detector_mask=mask, **compat), table, 1e-12)

    @pytest.mark.parametrize("name", ["lc_w_4b_0064", "lc_w_4b_10"])
    def test_slew(self, heasoft, name):
        from astropy.io import fits

        curve = batx.lightcurve(
            folder_events(heasoft, slew=True), detector_mask=folder_mask(heasoft), **RUNS[name]
        )
        with fits.open(heasoft / f"lc_slew/{name}.lc.gz") as hdus:
            table = {key: hdus["RATE"].data[key] for key in hdus["RATE"].columns.names}
        assert_matches(curve, table, 1e-6)

    def test_flagged_events_are_the_only_difference_of_raw_curves(self, events, good):
        ours = batx.lightcurve(events, dt=1.0, weighting="none", detector_mask=good)
        theirs = batx.lightcurve(events, dt=1.0, weighting="none", detector_mask=good, compat="heasoft")
        flagged = events.isel(event=~np.isin(events.event_flags, (0, 16)))
        extra = batx.lightcurve(flagged, dt=1.0, weighting="none", detector_mask=good, compat="heasoft")
        assert extra.counts.sum() > 0
        np.testing.assert_array_equal(ours.counts + extra.counts, theirs.counts)


class TestLabels:
    def test_weighted(self, events, good):
        curve = batx.lightcurve(events, dt=1.0, detector_mask=good)
        assert curve.bat.kind == "lightcurve"
        assert curve.bat.check() == []
        assert (curve.attrs["statistic"], curve.attrs["weighting"]) == ("gaussian", "mask")
        assert curve.rate.attrs["units"] == "count/s"
        assert curve.rate.attrs["per"] == curve.rate_err.attrs["per"] == "detector"
        np.testing.assert_array_equal(curve.gti_start, events.gti_start)
        assert float(curve.exposure.sum()) == 199.5

    def test_counts(self, events):
        curve = batx.lightcurve(events, dt=1.0, weighting="none")
        assert curve.attrs["statistic"] == "poisson"
        assert curve.counts.dtype == np.int64
        assert "rate" not in curve
        np.testing.assert_array_equal(curve.totcounts, curve.counts.sum("energy"))

    def test_weighted_counts(self, events):
        counts = batx.lightcurve(events, dt=1.0, quantity="counts")
        rate = batx.lightcurve(events, dt=1.0)
        np.testing.assert_allclose(counts.counts, rate.rate * rate.exposure)
        np.testing.assert_allclose(counts.counts_err, rate.rate_err * rate.exposure)

    def test_bands_with_gaps_and_overlaps(self, events):
        parts = batx.lightcurve(events, dt=10.0, weighting="none")
        pairs = [(50, 100), (15, 25), (15, 350), (15, 50)]
        curve = batx.lightcurve(events, dt=10.0, weighting="none", energy=pairs)
        np.testing.assert_array_equal(curve.energy_bnds, pairs)
        n = parts.counts.values
        expected = np.stack([n[:, 2], n[:, 0], n.sum(1), n[:, :2].sum(1)], axis=1)
        np.testing.assert_array_equal(curve.counts, expected)
        np.testing.assert_array_equal(curve.totcounts, parts.totcounts)

    def test_sources(self, events):
        both = events.assign(mask_weight=(("source", "event"), np.stack([events.mask_weight] * 2)))
        both["mask_weight"][1] *= -2
        both = both.assign_coords(source_name=("source", ["a", "b"]))
        curve = batx.lightcurve(both, dt=10.0)
        single = batx.lightcurve(events, dt=10.0)
        assert curve.rate.dims == ("source", "time", "energy")
        np.testing.assert_array_equal(curve.rate[0], single.rate)
        np.testing.assert_allclose(curve.rate[1], -2 * single.rate)
        np.testing.assert_allclose(curve.rate_err[1], 2 * single.rate_err)
        np.testing.assert_array_equal(curve.totcounts[1], single.totcounts)
        assert list(curve.source_name.values) == ["a", "b"]

    def test_relative_times_and_quantities(self, events):
        import astropy.units as u

        direct = batx.lightcurve(events, dt=1.0, tstart=MET0 + 40, tstop=MET0 + 60, energy=[15, 150])
        other = batx.lightcurve(
            events, dt=1000 * u.ms, tstart=-10 * u.s, tstop=10, t0="trigger", energy=[15000, 150000] * u.eV
        )
        xr.testing.assert_identical(direct, other)


class TestTimeBins:
    def test_edges_bounds_and_matching(self, events):
        edges = MET0 + np.array([5.0, 10.0, 12.5, 95.0])
        curve = batx.lightcurve(events, time=edges)
        np.testing.assert_array_equal(curve.exposure, [5, 2.5, 82])
        bounds = np.stack([edges[:-1], edges[1:]], axis=1)
        xr.testing.assert_identical(curve, batx.lightcurve(events, time=bounds))
        xr.testing.assert_identical(curve, batx.lightcurve(events, time=curve))
        xr.testing.assert_identical(curve, batx.lightcurve(events, blocks=curve))
        gti = batx.build("gti", {"start": bounds[:, 0], "stop": bounds[:, 1]})
        assert batx.lightcurve(events, time=gti).sizes["time"] == 1  # touching intervals are one
        xr.testing.assert_identical(curve, batx.lightcurve(events, time=edges - MET0 - 50, t0="trigger"))

    def test_bins_without_good_time(self, events):
        inside_gap = batx.lightcurve(events, time=MET0 + np.array([90.1, 90.4]))
        assert float(inside_gap.exposure[0]) == 0
        assert np.isnan(inside_gap.rate).all()
        assert int(inside_gap.totcounts[0]) == 0
        dropped = batx.lightcurve(events, dt=0.064)
        kept = batx.lightcurve(events, dt=0.064, min_fracexp=0)
        assert (dropped.sizes["time"], kept.sizes["time"]) == (3118, 3125)
        assert np.isnan(kept.rate.values[kept.exposure.values == 0]).all()
        both = kept.isel(time=kept.fracexp.values > 0.1)
        np.testing.assert_array_equal(both.rate, dropped.rate)

    def test_extra_good_time(self, events):
        gti = batx.build("gti", {"start": [MET0 + 20.0, MET0 + 80], "stop": [MET0 + 30.0, MET0 + 100]})
        curve = batx.lightcurve(events, dt=1.0, gti=gti, min_fracexp=0)
        assert float(curve.exposure.sum()) == 29.5
        parts = [
            batx.lightcurve(events, time=MET0 + np.array(pair)) for pair in [(20, 30), (80, 90), (90.5, 100)]
        ]
        assert int(curve.totcounts.sum()) == sum(int(part.totcounts.sum()) for part in parts)

    @given(cuts=st.lists(st.floats(0, 100, allow_subnormal=False), max_size=6))
    @settings(max_examples=30, deadline=None)
    def test_split_good_time_is_the_whole(self, cuts):
        rng = np.random.default_rng(1)
        ev = simple(np.sort(rng.uniform(0, 100, 500)), rng.uniform(10, 360, 500))
        edges = np.unique([0.0, *cuts, 100.0])
        split = ev.drop_dims("gti").assign(gti_start=("gti", edges[:-1]), gti_stop=("gti", edges[1:]))
        xr.testing.assert_equal(
            batx.lightcurve(ev, dt=3.0).drop_dims("gti"), batx.lightcurve(split, dt=3.0).drop_dims("gti")
        )

    @given(seed=st.integers(0, 1000), width=st.sampled_from([0.064, 0.1, 1 / 3, 1.0]))
    @settings(max_examples=20, deadline=None)
    def test_uniform_bins_are_the_division(self, seed, width):
        times = MET0 + np.sort(np.random.default_rng(seed).integers(0, 1_000_000, 2000)) * 1e-4
        ev = make_events(
            {
                "time": times,
                "energy": np.full(2000, 20, np.float32),
                "gti_start": [MET0],
                "gti_stop": [MET0 + 100],
            }
        )
        curve = batx.lightcurve(ev, dt=width, energy=[15, 25], min_fracexp=0)
        expected = np.bincount(np.floor((times - MET0) / width).astype(int), minlength=curve.sizes["time"])
        np.testing.assert_array_equal(curve.counts[:, 0], expected)


class TestEnergies:
    @given(seed=st.integers(0, 1000), dtype=st.sampled_from([np.float32, np.float64]))
    @settings(max_examples=20, deadline=None)
    def test_grid_index_in_single_precision(self, seed, dtype):
        rng = np.random.default_rng(seed)
        energies = np.concatenate(
            [
                rng.integers(-20, 8000, 500) / 10,
                rng.uniform(-1, 400, 500),
                np.nextafter(rng.integers(0, 4000, 500) / 10, rng.choice([-np.inf, np.inf], 500)),
                [-1e9, 1e9, np.inf, -np.inf, -0.05, 0.0],
            ]
        ).astype(dtype)
        bounds = np.array([(0, 10), (14.1, 25), (30.2, 31.3), (100, 350)])
        index = np.floor(energies.astype("f4") / np.float32(0.1) + np.float32(0.01))
        low, high = np.rint(bounds.T[:, :, None] * 10)
        expected = ((index >= low) & (index < high)).sum(axis=1)
        ev = simple(np.linspace(0, 99, energies.size)).assign(energy=("event", energies, {"units": "keV"}))
        made = batx.lightcurve(ev, dt=100.0, energy=bounds)
        np.testing.assert_array_equal(made.counts[0], expected)
        weighted = ev.assign(mask_weight=("event", np.full(energies.size, 2.0)))
        made = batx.lightcurve(weighted, dt=100.0, energy=bounds)
        np.testing.assert_allclose(made.rate[0] * 100, 2 * expected)
        np.testing.assert_allclose(made.rate_err[0] * 100, 2 * np.sqrt(expected))
        assert int(made.totcounts[0]) == expected.sum()


class TestSignalToNoise:
    @pytest.mark.parametrize("mode", [{"snr": 6, "dt": 20.0}, {"high_snr": 6, "dt": 1.0}, {"snr": 10}])
    def test_bins_are_what_their_edges_say(self, events, good, mode):
        curve = batx.lightcurve(events, detector_mask=good, **mode)
        again = batx.lightcurve(events, detector_mask=good, time=curve)
        xr.testing.assert_identical(curve, again)
        bounds = curve.time_bnds.values
        assert (curve.fracexp == 1).all()  # none spans the gap
        assert float(curve.exposure.sum()) == pytest.approx(199.5, abs=1e-6)
        assert set(MET0 + np.array([90, 200])) <= set(bounds[:, 1])
        snr = np.abs(curve.rate.sum("energy")) / np.sqrt((curve.rate_err**2).sum("energy"))
        ended = ~np.isin(bounds[:, 1], MET0 + np.array([90, 200]))
        width = bounds[:, 1] - bounds[:, 0]
        limit = mode.get("dt", np.inf)
        threshold = mode.get("snr", mode.get("high_snr"))
        if "snr" in mode:
            assert ((snr > threshold) | (width > limit))[ended].all()
        else:
            assert ((snr > threshold) & (width > limit))[ended].all()

    def test_no_event_is_counted_twice(self, events, good):
        curve = batx.lightcurve(events, snr=6, dt=20.0, detector_mask=good)
        whole = batx.lightcurve(events, time=MET0 + np.array([0.0, 200.0]), detector_mask=good)
        assert int(curve.totcounts.sum()) == int(whole.totcounts.sum())
        np.testing.assert_allclose(
            (curve.rate * curve.exposure).sum("time"), (whole.rate * whole.exposure)[0]
        )

    def test_simultaneous_events_stay_together(self):
        ev = simple([1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0])
        curve = batx.lightcurve(ev, snr=1.5, energy=[15, 25])
        np.testing.assert_array_equal(curve.time_bnds, [[0, 2], [2, 100]])
        np.testing.assert_array_equal(curve.totcounts, [5, 2])

    def test_unsorted_is_the_same(self, events, good):
        shuffled = events.isel(event=np.random.default_rng(0).permutation(events.sizes["event"]))
        with pytest.warns(BatxWarning, match="order of time"):
            curve = batx.lightcurve(shuffled, snr=6, detector_mask=good, weighting="none")
        xr.testing.assert_identical(
            curve, batx.lightcurve(events, snr=6, detector_mask=good, weighting="none")
        )

    def test_several_sources_are_refused(self, events):
        both = events.assign(mask_weight=(("source", "event"), np.stack([events.mask_weight] * 2)))
        with pytest.raises(ValueRangeError, match="select one source"):
            batx.lightcurve(both, snr=6)


class TestLaziness:
    @pytest.mark.parametrize("chunk", [200_000, 30_001])
    @pytest.mark.parametrize("weighting", ["mask", "none"])
    def test_dask_is_numpy(self, events, good, chunk, weighting):
        kw = {"dt": 0.5, "detector_mask": good, "weighting": weighting}
        expected = batx.lightcurve(events, **kw)
        with dask.config.set(scheduler="synchronous"):
            lazy = batx.lightcurve(events.chunk(event=chunk), **kw)
            name = "rate" if weighting == "mask" else "counts"
            assert lazy[name].chunks is not None
            computed = lazy.compute()
        xr.testing.assert_allclose(computed, expected, rtol=1e-12)
        np.testing.assert_array_equal(computed.totcounts, expected.totcounts)

    def test_some_columns_chunked(self, events, good):
        mixed = events.assign(
            mask_weight=events.mask_weight.chunk(event=70_000), detx=events.detx.chunk(event=41_000)
        )
        lazy = batx.lightcurve(mixed, dt=1.0, detector_mask=good)
        assert lazy.rate.chunks is not None
        xr.testing.assert_allclose(
            lazy.compute(), batx.lightcurve(events, dt=1.0, detector_mask=good), rtol=1e-12
        )

    def test_columns_of_a_file_are_not_kept(self, events, tmp_path):
        events.to_netcdf(tmp_path / "events.nc")
        with xr.open_dataset(tmp_path / "events.nc", decode_times=False) as ev:
            curve = batx.lightcurve(ev, dt=1.0)
            kept = [name for name in ("time", "energy", "mask_weight") if ev[name].variable._in_memory]
            assert kept == []
        np.testing.assert_array_equal(curve.rate, batx.lightcurve(events, dt=1.0).rate)

    def test_order_across_chunks_is_looked_at(self):
        ev = simple([1.0, 2.0, 0.5, 0.6]).chunk(event=2)
        with pytest.warns(BatxWarning, match="order of time"), dask.config.set(scheduler="synchronous"):
            counts = batx.lightcurve(ev, dt=1.0, energy=[15, 25], tstop=3.0).counts.values
        np.testing.assert_array_equal(counts[:, 0], [2, 1, 1])

    @given(seed=st.integers(0, 100))
    @settings(max_examples=10, deadline=None)
    def test_order_does_not_matter(self, seed):
        rng = np.random.default_rng(seed)
        times = np.sort(rng.uniform(0, 100, 400))
        ev = simple(times, rng.uniform(10, 360, 400))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BatxWarning)
            shuffled = batx.lightcurve(ev.isel(event=rng.permutation(400)), dt=0.7)
        xr.testing.assert_identical(shuffled, batx.lightcurve(ev, dt=0.7))


class TestCalibration:
    @pytest.mark.slow
    def test_source_free_position_has_zero_mean_and_unit_pulls(self):
        rng = np.random.default_rng(42)
        n = rng.poisson(600_000)
        weights = rng.choice(np.array([-0.011, 0.004, 0.0125], np.float32), n, p=[0.5, 0.25, 0.25])
        balance = np.float32(-0.011 * 0.5 + 0.004 * 0.25 + 0.0125 * 0.25)
        ev = simple(
            np.sort(rng.uniform(0, 100, n)),
            rng.uniform(15, 350, n).astype("f4"),
            mask_weight=weights - balance,
        )
        curve = batx.lightcurve(ev, dt=0.1)
        pulls = (curve.rate / curve.rate_err).values.ravel()
        assert pulls.size == 4000
        assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size)
        assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)


class TestBadInput:
    def test_nan_energies(self):
        ev = simple([1.0, 2.0, 3.0, 4.0], np.array([20, np.nan, np.nan, 20]))
        with pytest.warns(BatxWarning, match=r"^2 event\(s\) have no energy") as caught:
            counts = batx.lightcurve(ev, dt=100.0, energy=[15, 25]).counts
        assert int(counts.sum()) == 2
        assert caught[0].filename == __file__

    def test_no_events(self):
        with pytest.warns(BatxWarning, match="no events"):
            curve = batx.lightcurve(simple([]), dt=10.0)
        assert curve.sizes["time"] == 10
        assert int(curve.counts.sum()) == 0
        np.testing.assert_array_equal(curve.exposure, 10)

    def test_no_events_weighted_and_by_snr(self):
        empty = simple([], mask_weight=np.zeros(0, np.float32))
        with pytest.warns(BatxWarning, match="no events"):
            assert float(batx.lightcurve(empty, dt=10.0).rate.sum()) == 0
        with pytest.warns(BatxWarning, match="no events"):
            assert batx.lightcurve(empty, snr=6).sizes["time"] == 1

    def test_events_outside_good_time(self):
        ev = simple([-5.0, 0.0, 50.0, 100.0, 120.0, np.nan])
        assert int(batx.lightcurve(ev, dt=100.0).counts.sum()) == 2

    def test_events_on_an_edge_belong_to_the_later_bin(self):
        curve = batx.lightcurve(simple([1.0, 2.0, 2.0]), time=[0, 1, 2, 3], energy=[15, 25])
        np.testing.assert_array_equal(curve.counts[:, 0], [0, 1, 2])

    def test_unsorted_events(self, events, good):
        shuffled = events.isel(event=np.random.default_rng(0).permutation(events.sizes["event"]))
        with pytest.warns(BatxWarning, match="not in order of time") as caught:
            curve = batx.lightcurve(shuffled, dt=0.064, detector_mask=good, weighting="none")
        assert len(caught) == 1
        xr.testing.assert_identical(
            curve, batx.lightcurve(events, dt=0.064, detector_mask=good, weighting="none")
        )

    def test_positions_out_of_range(self, good):
        n = 5
        ev = simple(
            np.arange(1.0, n + 1),
            detx=np.array([0, 286, -1, 16, 0], np.int16),
            dety=np.array([0, 0, 0, 0, 173], np.int16),
        )
        with pytest.warns(BatxWarning, match=r"^4 event\(s\) have a position outside"):
            curve = batx.lightcurve(ev, dt=100.0, detector_mask=np.ones((173, 286), bool))
        assert int(curve.totcounts.sum()) == 1

    def test_good_time_is_needed(self):
        ev = simple([1.0]).drop_dims("gti")
        with pytest.raises(GtiError, match="exposure is unknown"):
            batx.lightcurve(ev, dt=1.0)
        assert float(batx.lightcurve(ev, dt=1.0, tstart=0, tstop=3).exposure.sum()) == 3
        with pytest.warns(BatxWarning, match="TSTART to TSTOP"):
            curve = batx.lightcurve(ev.assign_attrs(tstart=0.0, tstop=4.0), dt=1.0)
        assert float(curve.exposure.sum()) == 4

    @pytest.mark.parametrize(
        ("start", "stop", "match"),
        [
            ([], [], "no time at all"),
            ([5.0], [5.0], "no time at all"),
            ([9.0], [3.0], "end before"),
            ([np.nan], [3.0], "NaN"),
        ],
    )
    def test_malformed_good_time(self, start, stop, match):
        ev = simple([1.0]).drop_dims("gti").assign(gti_start=("gti", start), gti_stop=("gti", stop))
        with pytest.raises(GtiError, match=match):
            batx.lightcurve(ev, dt=1.0)

    def test_overlapping_good_time_counts_once(self):
        ev = (
            simple([1.0, 6.0])
            .drop_dims("gti")
            .assign(gti_start=("gti", [5.0, 0.0]), gti_stop=("gti", [9.0, 7.0]))
        )
        with pytest.warns(BatxWarning, match="overlap and are merged"):
            curve = batx.lightcurve(ev, dt=9.0)
        assert float(curve.exposure[0]) == 9
        assert int(curve.totcounts[0]) == 2

    def test_nothing_selected(self):
        with pytest.raises(EmptySelectionError, match="no good time from 200"):
            batx.lightcurve(simple([1.0]), dt=1.0, tstart=200, tstop=300)
        with pytest.raises(EmptySelectionError, match="none of the 100 bins"):
            batx.lightcurve(simple([1.0]), dt=1.0, min_fracexp=1)
        with pytest.raises(ValueRangeError, match="tstart < tstop"):
            batx.lightcurve(simple([1.0]), dt=1.0, tstart=20, tstop=10)

    def test_wrong_kind(self):
        gti = batx.build("gti", {"start": [0.0], "stop": [1.0]})
        with pytest.raises(KindError, match="kind 'gti'"):
            batx.lightcurve(gti, dt=1.0)

    def test_missing_columns(self):
        ev = simple([1.0])
        with pytest.raises(MissingVariableError, match="mask_weight"):
            batx.lightcurve(ev, dt=1.0, weighting="mask")
        with pytest.raises(MissingVariableError, match="'detx'"):
            batx.lightcurve(ev, dt=1.0, detector_mask=np.ones((173, 286), bool))
        with pytest.raises(MissingVariableError, match="calibrate"):
            batx.lightcurve(ev.drop_vars("energy"), dt=1.0)

    def test_wrong_dimensions(self):
        ev = simple([1.0, 2.0]).assign(mask_weight=("row", np.ones(2)))
        with pytest.raises(SchemaError, match=r"dimensions \('row',\)"):
            batx.lightcurve(ev, dt=1.0)

    def test_wrong_units(self):
        import astropy.units as u

        ev = simple([1.0])
        ev["energy"].attrs["units"] = "MeV"
        with pytest.raises(UnitsError, match="'MeV'"):
            batx.lightcurve(ev, dt=1.0)
        with pytest.raises(UnitsError, match="energy"):
            batx.lightcurve(simple([1.0]), dt=1.0, energy=[15, 150] * u.s)
        with pytest.raises(UnitsError, match="dt"):
            batx.lightcurve(simple([1.0]), dt=1.0 * u.keV)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"dt": 1.0, "energy": [25, 15]}, "increasing"),
            ({"dt": 1.0, "energy": [15]}, "at least two"),
            ({"dt": 1.0, "energy": [15, np.nan]}, "keV from 0"),
            ({"dt": 1.0, "energy": [15, 15.02]}, "narrower than"),
            ({"dt": 0.0}, "positive"),
            ({"dt": 1e-12}, "wider bin"),
            ({"time": [3.0, 2.0]}, "increasing"),
            ({"time": [(0.0, 3.0), (2.0, 4.0)]}, "overlap"),
            ({"time": [1.0]}, "at least two edges"),
            ({}, "nothing to make time bins"),
            ({"dt": 1.0, "time": [0, 1]}, "dt and time"),
            ({"dt": 1.0, "weighting": "yes"}, "weighting"),
            ({"dt": 1.0, "quantity": "flux"}, "quantity"),
            ({"dt": 1.0, "compat": "xspec"}, "compat"),
            ({"dt": 1.0, "energy_column": "pha"}, "energy_column"),
            ({"snr": -1}, "positive"),
        ],
    )
    def test_arguments(self, arguments, match):
        with pytest.raises(ValueRangeError, match=match):
            batx.lightcurve(simple([1.0]), **arguments)

    def test_edges_off_the_grid_are_moved(self):
        ev = simple([1.0, 2.0], np.array([15.0, 15.1]))
        with pytest.warns(BatxWarning, match=r"\[15.04\] keV are moved"):
            curve = batx.lightcurve(ev, dt=100.0, energy=[15.04, 25])
        np.testing.assert_array_equal(curve.energy_bnds, [[15.0, 25.0]])
        assert int(curve.counts[0, 0]) == 2

    def test_mask_of_wrong_shape(self):
        ev = simple([1.0], detx=np.zeros(1, np.int16), dety=np.zeros(1, np.int16))
        with pytest.raises(ValueRangeError, match="bool"):
            batx.lightcurve(ev, dt=1.0, detector_mask=np.ones((286, 173), bool))
        with pytest.raises(ValueRangeError, match="bool"):
            batx.lightcurve(ev, dt=1.0, detector_mask=np.ones((173, 286)))
