"""Fits along time: own responses, failures, fluences, schedulers, peak energies."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import BatxWarning, EmptySelectionError, KindError, ModelError
from batx.instrument.response_grid import response_grid
from batx.schema import build

INDEX = np.array([1.2, 1.6, 2.0, 2.4])
NORM = 400.0


def true_rates(place: np.ndarray) -> np.ndarray:
    """Rates of power laws that soften while the source crosses the field."""
    matrices = batx.response(imx=place, imy=0.1).matrix.values
    low, high = response_grid().energy_in.T
    photons = NORM * (low ** (1 - INDEX[:, None]) - high ** (1 - INDEX[:, None])) / (INDEX[:, None] - 1)
    return np.einsum("te,tec->tc", photons, matrices)


@pytest.fixture(scope="module")
def moving() -> xr.Dataset:
    """Four spectra of 10 s at four places, with the way of their source."""
    place = np.array([-0.6, -0.2, 0.2, 0.6])
    rate = true_rates(place)
    error = 0.03 * rate + 1e-4
    grid = response_grid()
    start = np.arange(0.0, 40.0, 10.0)
    # the source jumps from place to place between the spectra
    way_time = np.sort(np.concatenate([start + 1e-3, start + 9.999]))
    values = {
        "channel": np.arange(80),
        "energy": grid.channel.mean(axis=1),
        "energy_bnds": grid.channel,
        "time": start + 5,
        "time_bnds": np.stack([start, start + 10], axis=1),
        "exposure": np.full(4, 8.0),
        "rate": (("time", "channel"), rate + np.random.default_rng(2).normal(0, error)),
        "stat_err": (("time", "channel"), error),
        "trace_time": way_time,
        "trace_imx": np.repeat(place, 2),
        "trace_imy": np.full(8, 0.1),
        "trace_pcode": np.full(8, 0.9),
        "trace_norm": 1 / np.repeat(batx.instrument.response_grid.coding_efficiency(place, 0.1), 2),
    }
    attrs = {"telescope": "SWIFT", "instrument": "BAT", "statistic": "gaussian", "weighting": "mask"}
    return build("spectrum", values, attrs)


def test_each_has_its_own_response(moving):
    made = moving.bat.fit_series("powerlaw", energy=(15, 150), flux=(15, 150))
    assert made.bat.kind == "fit"
    assert made.bat.check() == []
    assert made.converged.all()
    index = made.sel(parameter="index")
    assert (np.abs(index.value - INDEX) < 4 * index.error).all()
    norm = made.sel(parameter="norm")
    assert (np.abs(norm.value - NORM) < 4 * norm.error).all()
    for number in range(4):
        single = moving.isel(time=number).bat.fit("powerlaw", energy=(15, 150))
        np.testing.assert_allclose(made.value[number], single.value, rtol=1e-6)
        np.testing.assert_allclose(made.flux[number], single.flux, rtol=1e-6)
    np.testing.assert_allclose(made.fluence, made.flux * 10)
    np.testing.assert_allclose(made.fluence_err, made.flux_err * 10)
    one = batx.response(imx=-0.6, imy=0.1)
    wrong = batx.fit_series(moving, "powerlaw", energy=(15, 150), response=one)
    assert float(wrong.value.sel(parameter="index")[0]) == pytest.approx(float(index.value[0]), rel=1e-4)
    assert abs(float((wrong.value - made.value).sel(parameter="index")[2])) > 1e-3


def test_failed_fits_do_not_stop_the_others(moving):
    broken = moving.copy(deep=True)
    broken["exposure"][2] = 0.0
    with pytest.warns(BatxWarning, match="1 of 4 spectra"):
        made = broken.bat.fit_series("powerlaw", energy=(15, 150))
    assert made.converged.values.tolist() == [True, True, False, True]
    assert np.isnan(made.value[2]).all()
    assert "exposure" in str(made.message.values[2])
    assert np.isfinite(made.flux[[0, 1, 3]]).all()
    broken["exposure"][:] = 0.0
    with pytest.raises(batx.errors.BatxError, match="exposure"):
        broken.bat.fit_series("powerlaw", energy=(15, 150))


def test_schedulers_agree(moving):
    alone = moving.bat.fit_series("powerlaw", energy=(15, 150), errors="covariance")
    with dask.config.set(scheduler="threads"):
        threads = moving.bat.fit_series("powerlaw", energy=(15, 150), errors="covariance")
    xr.testing.assert_identical(alone, threads)


def test_responses_along_time(moving):
    several = moving.bat.response()
    given = batx.fit_series(moving, "powerlaw", response=several, energy=(15, 150), errors="covariance")
    own = batx.fit_series(moving, "powerlaw", energy=(15, 150), errors="covariance")
    np.testing.assert_allclose(given.value, own.value, rtol=1e-9)
    with pytest.raises(KindError, match="2 responses along time for 4 spectra"):
        batx.fit_series(moving, response=several.isel(time=[0, 1]))
    with pytest.raises(KindError, match="1 responses for 4 spectra"):
        batx.fit_series(moving, response=[several.isel(time=0)])


def test_bad_input(moving):
    with pytest.raises(KindError, match="no time axis"):
        batx.fit_series(moving.isel(time=0))
    with pytest.raises(EmptySelectionError):
        batx.fit_series(moving.isel(time=[]))
    with pytest.raises(ModelError):
        batx.fit_series(moving, "nonsense")


def test_peak_energy():
    made = batx.peak_energy([1.5, 2.0, 1.0], [0.1, 0.1, 0.1])
    np.testing.assert_allclose(made.peak_energy[:2], 10 ** (3.258 - 0.829 * np.array([1.5, 2.0])))
    assert np.isnan(made.peak_energy[2])
    assert (made.peak_energy_low[:2] < made.peak_energy[:2]).all()
    assert (made.peak_energy_high[:2] > made.peak_energy[:2]).all()
