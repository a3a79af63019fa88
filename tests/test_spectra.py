"""Spectra: the numbers of batbinevt, channels, time axis."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from reference_events import (
    MET0,
    REFERENCE_CHANNELS,
    folder_events,
    folder_mask,
    packed_arrays,
    packed_events,
    unpacked_mask,
)

import batx
from batx.errors import EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.instrument.response_grid import response_grid
from batx.spectra import STANDARD_EDGES

BURST = (MET0 + 45, MET0 + 85)
RAW = {"weighting": "none", "quantity": "rate", "compat": "heasoft"}


@pytest.fixture(scope="module")
def packed():
    return packed_arrays()


@pytest.fixture(scope="module")
def events(packed):
    return packed_events(packed)


@pytest.fixture(scope="module")
def good(packed):
    return unpacked_mask(packed["detector_mask"])


@pytest.mark.parametrize(("name", "arguments"), [("spec_w", {}), ("spec_raw", RAW)])
def test_packed(packed, events, good, name, arguments):
    made = batx.spectrum(events, *BURST, energy=REFERENCE_CHANNELS, detector_mask=good, **arguments)
    assert made.bat.check() == []
    np.testing.assert_allclose(made.rate, packed[f"{name}/RATE"], rtol=1e-12)
    np.testing.assert_allclose(made.stat_err, packed[f"{name}/STAT_ERR"], rtol=1e-12)


@pytest.mark.parametrize(("name", "arguments"), [("spec_w", {}), ("spec_raw", RAW)])
def test_type_one(heasoft, name, arguments):
    from astropy.io import fits

    arguments = arguments | {"energy": REFERENCE_CHANNELS, "detector_mask": folder_mask(heasoft)}
    made = batx.spectrum(folder_events(heasoft), *BURST, **arguments)
    with fits.open(heasoft / f"pha/{name}.pha.gz") as hdus:
        table, bounds, header = hdus["SPECTRUM"].data, hdus["EBOUNDS"].data, hdus["SPECTRUM"].header
        np.testing.assert_array_equal(made.energy_bnds[:, 0].astype("f4"), bounds["E_MIN"])
        np.testing.assert_array_equal(made.energy_bnds[:, 1].astype("f4"), bounds["E_MAX"])
        np.testing.assert_array_equal(made.channel, table["CHANNEL"])
        np.testing.assert_allclose(made.rate, table["RATE"], rtol=1e-12)
        np.testing.assert_allclose(made.stat_err, table["STAT_ERR"], rtol=1e-12)
        assert float(made.exposure) == header["EXPOSURE"]
        assert made.time_bnds.values.tolist() == [header["TSTART"], header["TSTOP"]]
    assert made.rate.dims == ("channel",)


@pytest.mark.parametrize(("name", "slew"), [("spec_type2", False), ("spec_slew2", True)])
def test_type_two(heasoft, name, slew):
    from astropy.io import fits

    with fits.open(heasoft / f"pha/{name}.pha.gz") as hdus:
        table, bounds = hdus["SPECTRUM"].data, hdus["EBOUNDS"].data
    edges = np.round(np.append(bounds["E_MIN"], bounds["E_MAX"][-1]).astype(np.float64), 1)
    made = batx.spectrum(
        folder_events(heasoft, slew),
        time=MET0 + np.arange(0, 201, 10.0),
        energy=edges,
        detector_mask=folder_mask(heasoft),
    )
    np.testing.assert_array_equal(made.time_bnds, np.stack([table["TIME"], table["TIME_STOP"]], axis=1))
    np.testing.assert_array_equal(made.exposure, table["EXPOSURE"])
    np.testing.assert_array_equal(made.totcounts, table["TOTCOUNTS"])
    np.testing.assert_allclose(made.rate, table["RATE"], rtol=1e-12)
    np.testing.assert_allclose(made.stat_err, table["STAT_ERR"], rtol=1e-12)


def test_standard_channels(events):
    """As in the spectra of the archive and the responses that are packaged."""
    made = batx.spectrum(events)
    edges = np.stack([STANDARD_EDGES[:-1], STANDARD_EDGES[1:]], axis=1)
    np.testing.assert_array_equal(made.energy_bnds, edges)
    np.testing.assert_allclose(edges, response_grid().channel, atol=1e-4)


def test_standard_channels_of_the_archive(shared):
    spectrum = batx.open_dataset(shared / "data/grb200528A/sw00974827000bevps.pha")
    np.testing.assert_allclose(spectrum.energy_bnds[:, 0], STANDARD_EDGES[:-1], atol=1e-4)
    np.testing.assert_allclose(spectrum.energy_bnds[:, 1], STANDARD_EDGES[1:], rtol=1e-6)


def test_counts_and_own_channels(events):
    made = batx.spectrum(events, weighting="none", energy=[(15, 50), (100, 150)])
    assert made.counts.dtype == np.int64
    assert made.attrs["statistic"] == "poisson"
    np.testing.assert_array_equal(made.energy_bnds, [[15, 50], [100, 150]])
    curve = batx.lightcurve(
        events, time=MET0 + np.array([0, 200.0]), weighting="none", energy=[15, 50, 100, 150]
    )
    np.testing.assert_array_equal(made.counts, curve.counts.values[0, [0, 2]])
    assert int(made.totcounts) == int(made.counts.sum())
    assert float(made.exposure) == 199.5


def test_time_axis_is_single_spectra(events):
    series = batx.spectrum(events, time=[(0, 20), (80, 100)], t0=MET0)
    single = batx.spectrum(events, MET0 + 80, MET0 + 100)
    assert series.rate.dims == ("time", "channel")
    np.testing.assert_array_equal(series.exposure, [20, 19.5])
    np.testing.assert_array_equal(series.rate[1], single.rate)


def test_sources(events):
    both = events.assign(mask_weight=(("source", "event"), np.stack([events.mask_weight] * 2)))
    made = batx.spectrum(both, *BURST)
    assert made.rate.dims == ("source", "channel")
    assert made.bat.check() == []
    np.testing.assert_array_equal(made.rate[1], batx.spectrum(events, *BURST).rate)


def test_dask_is_numpy(events, good):
    with dask.config.set(scheduler="synchronous"):
        lazy = batx.spectrum(events.chunk(event=50_000), *BURST, detector_mask=good)
        assert lazy.rate.chunks is not None
        computed = lazy.compute()
    xr.testing.assert_allclose(computed, batx.spectrum(events, *BURST, detector_mask=good), rtol=1e-12)


def test_bad_input(events):
    with pytest.raises(KindError, match="spectrum works on kind events"):
        batx.spectrum(batx.spectrum(events))
    with pytest.raises(EmptySelectionError, match="no good time"):
        batx.spectrum(events, 0.0, 1.0)
    with pytest.raises(ValueRangeError, match="increasing"):
        batx.spectrum(events, energy=[50, 15])
    with pytest.raises(ValueRangeError, match="overlap"):
        batx.spectrum(events, time=[(0, 20), (10, 30)], t0=MET0)
    with pytest.raises(MissingVariableError, match="mask_weight"):
        batx.spectrum(events.drop_vars("mask_weight"), weighting="mask")
