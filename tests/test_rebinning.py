"""Re-binning: sums of what is additive, equal to binning the events anew; gaps and edges that do not fit."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_events import MET0, make_events, packed_arrays, packed_events

import batx
from batx.errors import BatxWarning, KindError, MissingVariableError, RebinError, ValueRangeError


@pytest.fixture(scope="module")
def events():
    return packed_events(packed_arrays())


def simulated(seed, gaps=(), n=2000, weighted=False):
    """Return events over 64 s of good time but for the gaps; times in multiples of 2**-13 s."""
    rng = np.random.default_rng(seed)
    edges = np.concatenate([[0.0], *gaps, [64.0]]).reshape(-1, 2)
    columns = {
        "time": MET0 + np.sort(rng.integers(0, 64 * 2**13, n)) / 2**13,
        "energy": rng.uniform(10, 200, n).astype(np.float32),
        "gti_start": MET0 + edges[:, 0],
        "gti_stop": MET0 + edges[:, 1],
    }
    if weighted:
        columns["mask_weight"] = rng.normal(size=n).astype(np.float32)
    return make_events(columns)


def assert_same(one, other):
    """Bins, counts, totals and exposure identical; rates to rounding of their sums."""
    assert dict(one.sizes) == dict(other.sizes)
    for name in other.variables:
        if name in ("rate", "rate_err", "stat_err", "fracexp"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-10, atol=1e-12)
        else:
            np.testing.assert_array_equal(one[name], other[name], err_msg=str(name))
        assert one[name].attrs == other[name].attrs


class TestTime:
    @given(
        seed=st.integers(0, 50),
        factor=st.integers(1, 9),
        width=st.sampled_from([2**-6, 0.25, 1.0]),
        weighted=st.booleans(),
        gap=st.sampled_from([(), ((20.0, 21.5),), ((3.25, 9.75), (40.0, 40.125))]),
        min_fracexp=st.sampled_from([None, 0.0]),
    )
    @settings(max_examples=60, deadline=None)
    def test_is_binning_anew(self, seed, factor, width, weighted, gap, min_fracexp):
        ev = simulated(seed, gap, weighted=weighted)
        kw = {"energy": [15, 50, 150], "min_fracexp": min_fracexp}
        fine = batx.lightcurve(ev, dt=width, **kw)
        coarse = batx.lightcurve(ev, dt=factor * width, **kw)
        rebinned = batx.rebin_time(fine, dt=factor * width)
        kept = rebinned.fracexp.values > (0.1 if min_fracexp is None else -1)
        assert_same(rebinned.isel(time=kept), coarse)
        assert_same(batx.rebin_time(fine, factor=factor).isel(time=kept), coarse)
        spectra = batx.spectrum(ev, time=fine)
        assert_same(batx.rebin_time(spectra, edges=rebinned), batx.spectrum(ev, time=rebinned))

    @given(seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 255), min_size=1, max_size=8))
    @settings(max_examples=30, deadline=None)
    def test_edges_conserve_sums(self, seed, cuts):
        fine = batx.lightcurve(simulated(seed, ((20.0, 21.5),)), dt=0.25, min_fracexp=0)
        edges = MET0 + np.unique([0, *cuts, 256]) / 4
        wide = batx.rebin_time(fine, edges=edges)
        np.testing.assert_array_equal(wide.counts.sum("time"), fine.counts.sum("time"))
        assert int(wide.totcounts.sum()) == int(fine.totcounts.sum())
        assert float(wide.exposure.sum()) == 62.5
        assert_same(wide, batx.lightcurve(simulated(seed, ((20.0, 21.5),)), time=edges))

    def test_reference(self, events):
        fine = batx.lightcurve(events, dt=0.064)
        for rebinned in (fine.bat.rebin_time(dt=1.024), fine.bat.rebin_time(factor=16)):
            coarse = batx.lightcurve(events, dt=1.024)
            resolution = np.spacing(MET0)
            np.testing.assert_allclose(rebinned.time_bnds, coarse.time_bnds, rtol=0, atol=resolution)
            np.testing.assert_array_equal(rebinned.totcounts, coarse.totcounts)
            np.testing.assert_allclose(rebinned.exposure, coarse.exposure, rtol=1e-6)
            np.testing.assert_allclose(rebinned.rate, coarse.rate, rtol=2e-6)
            np.testing.assert_allclose(rebinned.rate_err, coarse.rate_err, rtol=2e-6)

    def test_last_bin_may_be_partly_filled(self, events):
        curve = batx.lightcurve(events, dt=1.0, weighting="none")
        wide = curve.bat.rebin_time(dt=30.0)
        np.testing.assert_array_equal(wide.time_bnds[-1], MET0 + np.array([180.0, 210.0]))
        np.testing.assert_allclose(wide.fracexp[-1], 20 / 30)
        assert_same(wide, batx.lightcurve(events, dt=30.0, weighting="none"))

    def test_edge_inside_a_bin(self, events):
        curve = batx.lightcurve(events, dt=1.0, weighting="none")
        with pytest.raises(RebinError, match="inside the bin 600000001"):
            curve.bat.rebin_time(dt=1.5)
        shared = curve.bat.rebin_time(dt=1.5, split=True)
        np.testing.assert_allclose(shared.counts.sum("time"), curve.counts.sum("time"))
        np.testing.assert_allclose(shared.counts[0], curve.counts[0] + 0.5 * curve.counts[1])
        np.testing.assert_allclose(float(shared.exposure.sum()), 199.5)
        weighted = batx.lightcurve(events, dt=1.0)
        halves = weighted.bat.rebin_time(dt=0.5, split=True)
        np.testing.assert_allclose(halves.rate[:2], np.stack([weighted.rate[0]] * 2))
        np.testing.assert_allclose(halves.rate_err[0], weighted.rate_err[0] * np.sqrt(2))

    def test_missing_bins_are_a_gap(self, events):
        curve = batx.lightcurve(events, dt=1.0, weighting="none").isel(time=[0, 1, 2, 3, 6, 7, 8, 9])
        for how in ({"dt": 5.0}, {"factor": 5}, {"edges": MET0 + np.array([0, 5.0, 10])}):
            with pytest.raises(
                RebinError, match=r"none from 600000004\.0 to 60000000[56]\.0 s, although it holds good time"
            ):
                curve.bat.rebin_time(**how)
        wide = curve.bat.rebin_time(dt=10.0, across_gaps=True)
        assert float(wide.exposure[0]) == 8
        assert float(wide.fracexp[0]) == 0.8
        assert int(wide.totcounts[0]) == int(curve.totcounts.sum())
        assert curve.bat.rebin_time(edges=MET0 + np.array([0.0, 4.0])).sizes["time"] == 1
        pairs = curve.bat.rebin_time(edges=MET0 + np.array([[0, 4.0], [6.0, 10]]))
        np.testing.assert_array_equal(pairs.exposure, [4, 4])

    def test_gap_of_unknown_good_time(self, events):
        curve = batx.lightcurve(events, dt=0.064, weighting="none")
        bare = curve.drop_vars(["gti_start", "gti_stop"])
        with pytest.raises(RebinError, match="nothing is known about good time"):
            bare.bat.rebin_time(factor=16)
        assert curve.bat.rebin_time(factor=16).sizes["time"] == 196

    def test_beyond_the_data(self, events):
        curve = batx.lightcurve(events, dt=1.0).isel(time=slice(50, 100))
        with pytest.raises(RebinError, match="although it holds good time"):
            curve.bat.rebin_time(edges=MET0 + np.array([40.0, 60.0]))

    def test_other_bins(self, events):
        curve = batx.lightcurve(events, dt=1.0, weighting="none")
        blocks = batx.lightcurve(events, time=MET0 + np.array([0, 40.0, 85, 200]), weighting="none")
        assert_same(curve.bat.rebin_time(blocks=blocks), blocks)
        gti = batx.build("gti", {"start": [MET0 + 10.0], "stop": [MET0 + 20.0]})
        assert float(curve.bat.rebin_time(blocks=gti).exposure[0]) == 10
        assert_same(curve.bat.rebin_time(edges=[-50, -10, 35, 150], t0="trigger"), blocks)

    def test_signal_to_noise(self, events):
        curve = batx.lightcurve(events, dt=0.064)
        wide = curve.bat.rebin_time(snr=8)
        snr = np.abs(wide.rate.sum("energy")) / np.sqrt((wide.rate_err**2).sum("energy"))
        last = np.isin(np.arange(wide.sizes["time"]), [wide.sizes["time"] - 1])
        ends_at_gap = wide.time_bnds.values[:, 1] == curve.time_bnds.values[1406, 1]
        assert (snr.values > 8)[~(last | ends_at_gap)].all()
        assert ends_at_gap.any()
        assert int(wide.totcounts.sum()) == int(curve.totcounts.sum())

    def test_lazy(self, events):
        with dask.config.set(scheduler="synchronous"):
            lazy = (
                batx.lightcurve(events.chunk(event=50_000), dt=0.5)
                .bat.rebin_time(dt=2.0)
                .bat.rebin_energy([15, 350])
            )
            assert lazy.rate.chunks is not None
            eager = batx.lightcurve(events, dt=0.5).bat.rebin_time(dt=2.0).bat.rebin_energy([15, 350])
            xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-12)

    def test_detector_plane(self, events):
        fine = batx.detector_plane(events, dt=20.0, energy=[15, 50, 150])
        both = fine.bat.rebin_time(dt=100.0).bat.rebin_energy([15, 150])
        direct = batx.detector_plane(events, dt=100.0)
        np.testing.assert_array_equal(both.counts, direct.counts)
        np.testing.assert_array_equal(both.exposure, [99.5, 100])
        np.testing.assert_array_equal(both.detid, direct.detid)
        rate = batx.detector_plane(events, dt=20.0, quantity="rate").bat.rebin_time(dt=100.0)
        np.testing.assert_allclose(rate.rate * rate.exposure, direct.counts, atol=1e-9)

    def test_sources(self, events):
        both = events.assign(mask_weight=(("source", "event"), np.stack([events.mask_weight] * 2)))
        made = batx.lightcurve(both, dt=1.0).bat.rebin_time(dt=10.0)
        assert made.rate.dims == ("source", "time", "energy")
        np.testing.assert_allclose(made.rate[1], batx.lightcurve(events, dt=10.0).rate, rtol=1e-9)

    def test_unknown_values_stay_unknown(self, events):
        curve = batx.lightcurve(events, dt=1.0)
        curve["rate"][3] = np.nan
        made = curve.bat.rebin_time(dt=10.0)
        assert np.isnan(made.rate[0]).all()
        assert np.isfinite(made.rate[1:]).all()
        holes = batx.lightcurve(events, dt=0.064, min_fracexp=0)
        assert np.isnan(holes.rate).any()
        assert np.isfinite(holes.bat.rebin_time(factor=125).rate).all()

    def test_rates_need_exposure(self, events):
        plane = batx.detector_plane(events, dt=20.0, quantity="rate").drop_vars("exposure")
        with pytest.raises(MissingVariableError, match="without 'exposure'"):
            plane.bat.rebin_time(factor=2)

    def test_other_variables_are_named(self, events):
        curve = batx.lightcurve(events, dt=1.0).assign(pcode=("time", np.ones(200), {"units": "1"}))
        with pytest.warns(BatxWarning, match="pcode cannot be summed"):
            assert "pcode" not in curve.bat.rebin_time(dt=10.0)

    def test_bad_input(self, events):
        curve = batx.lightcurve(events, dt=1.0)
        for arguments, match in [
            ({}, "nothing to make bins"),
            ({"dt": 2.0, "factor": 2}, "dt and factor"),
            ({"dt": -1.0}, "positive"),
            ({"factor": 0}, "whole number"),
            ({"factor": 1.5}, "whole number"),
            ({"edges": MET0 + np.array([5.0, 1.0])}, "increasing"),
            ({"snr": 0.0}, "positive"),
        ]:
            with pytest.raises(ValueRangeError, match=match):
                curve.bat.rebin_time(**arguments)
        with pytest.raises(KindError, match="rebin_time works on kind"):
            events.bat.rebin_time(dt=1.0)
        with pytest.raises(MissingVariableError, match="no time axis"):
            batx.spectrum(events).bat.rebin_time(dt=1.0)
        with pytest.raises(RebinError, match="overlap or are not in order"):
            curve.isel(time=[3, 2, 1]).bat.rebin_time(factor=3)


class TestEnergy:
    def test_is_binning_anew(self, events):
        for weighting in ("mask", "none"):
            fine = batx.lightcurve(events, dt=10.0, weighting=weighting)
            wide = batx.lightcurve(events, dt=10.0, weighting=weighting, energy=[15, 50, 350])
            assert_same(fine.bat.rebin_energy([15, 50, 350]), wide)
            spectrum = batx.spectrum(events, weighting=weighting)
            edges = [16.0, 24.0, 62.0, 141.0]
            direct = batx.spectrum(events, weighting=weighting, energy=edges)
            made = spectrum.bat.rebin_energy(edges)
            assert_same(made.drop_vars("totcounts", errors="ignore"), direct.drop_vars("totcounts"))

    def test_gap_between_bands(self, events):
        """Selecting 15-25 and 50-100 keV and calling it 15-100 is the defect that this guards against."""
        curve = batx.lightcurve(events, dt=10.0, energy=[(15, 25), (50, 100), (100, 350)])
        with pytest.raises(RebinError, match="nothing from 25 to 50 keV"):
            curve.bat.rebin_energy([15, 100])
        made = curve.bat.rebin_energy([(15, 25), (50, 350)])
        np.testing.assert_array_equal(made.energy_bnds, [[15, 25], [50, 350]])
        np.testing.assert_array_equal(made.totcounts, curve.totcounts)
        with pytest.raises(RebinError, match="nothing from 10 to 15 keV"):
            curve.bat.rebin_energy([10, 25])

    def test_edge_inside_a_band(self, events):
        curve = batx.lightcurve(events, dt=10.0, weighting="none")
        with pytest.raises(RebinError, match="inside the bin"):
            curve.bat.rebin_energy([15, 75, 350])
        shared = curve.bat.rebin_energy([15, 75, 350], split=True)
        np.testing.assert_allclose(shared.counts.sum("energy"), curve.counts.sum("energy"))
        np.testing.assert_allclose(
            shared.counts[:, 0], curve.counts[:, :2].sum("energy") + curve.counts[:, 2] / 2
        )

    def test_bands_left_out(self, events):
        counts = batx.lightcurve(events, dt=10.0, weighting="none").bat.rebin_energy([15, 50])
        np.testing.assert_array_equal(counts.totcounts, counts.counts[:, 0])
        assert "totcounts" not in batx.lightcurve(events, dt=10.0).bat.rebin_energy([15, 50])

    def test_overlapping_bands(self, events):
        curve = batx.lightcurve(events, dt=10.0, energy=[(15, 50), (25, 100)])
        with pytest.raises(RebinError, match="overlap"):
            curve.bat.rebin_energy([15, 100])

    def test_single_precision_edges_of_files(self, events):
        curve = batx.lightcurve(events, dt=10.0, energy=[14.1, 24.9, 50.3])
        stored = curve.assign_coords(energy_bnds=curve.energy_bnds.astype("f4").astype("f8"))
        assert stored.bat.rebin_energy([14.1, 50.3]).sizes["energy"] == 1

    def test_spectrum_columns(self, events):
        spectrum = batx.spectrum(events, energy=[15, 20, 40, 50]).assign(
            sys_err=("channel", [0.1, 0.2, 0.3], {"units": "1"}),
            quality=("channel", np.array([0, 2, 0], np.int16), {"units": "1"}),
            grouping=("channel", np.array([1, -1, 1], np.int16), {"units": "1"}),
        )
        made = spectrum.bat.rebin_energy([15, 40, 50])
        np.testing.assert_allclose(made.sys_err, [(0.1 * 5 + 0.2 * 20) / 25, 0.3])
        np.testing.assert_array_equal(made.quality, [2, 0])
        assert "grouping" not in made
        assert made.bat.check() == []
