"""What is wrong with a request for a fit is said, each in its words; what is not wrong is taken."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from fit_inputs import counts, expected, rates, response

import batx
from batx.errors import (
    BatxWarning,
    EmptySelectionError,
    KindError,
    ModelError,
    ResponseError,
    ValueRangeError,
)

RSP = response()
TRUTH = [1.7, 1.0, 500.0]
MEAN = expected("powerlaw", TRUTH)
N = MEAN.size


def fit(spectrum: xr.Dataset | None = None, model: str = "powerlaw", **how: object) -> xr.Dataset:
    return batx.fit(counts(MEAN) if spectrum is None else spectrum, model, **{"response": RSP, **how})


# --- taken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "energy",
    [[20, 100], np.array([20.0, 100.0]), (20, 100) * u.keV, (20e3 * u.eV, 100e3 * u.eV), {"0": (20, 100)}],
)
def test_energies_are_numbers_or_quantities(energy):
    made, wanted = fit(energy=energy, flux=(20, 100)), fit(energy=(20, 100))
    np.testing.assert_allclose(made.value, wanted.value)
    assert int(made.dof) == int(wanted.dof)
    np.testing.assert_allclose(made.flux, wanted.flux)


def test_fluxes_in_other_units():
    made = fit(flux=[(0.02, 0.1), (0.03, 0.1)] * u.MeV)
    np.testing.assert_allclose(made.band_bnds, [[20, 100], [30, 100]])


def test_results_say_which_calibration_served():
    from batx.provenance import calibration_of
    from batx.schema import build
    from batx.spectra import STANDARD_EDGES

    bounds = np.stack([STANDARD_EDGES[:-1], STANDARD_EDGES[1:]], axis=1)
    rate = 0.1 * np.clip(bounds.mean(axis=1), 10, None) ** -1.5
    variables = {"channel": np.arange(80), "energy_bnds": bounds, "rate": rate, "stat_err": 0.1 * rate}
    attrs = {"telescope": "SWIFT", "instrument": "BAT", "statistic": "gaussian", "weighting": "mask"}
    bare = build("spectrum", {**variables, "exposure": ((), 100.0)}, attrs)
    matrix = batx.response(bare, imx=0.0, imy=0.0)
    spectrum = batx.add_systematics(bare)
    assert "packaged systematic errors" in calibration_of(spectrum)["systematics"]["file"]
    given = batx.add_systematics(bare, [0.1, 0.2], [0.0, 50.0, 500.0])
    assert calibration_of(given)["systematics"]["file"] == "given errors"
    expected = calibration_of(spectrum) | calibration_of(matrix)
    assert set(expected) == {"systematics", "response"}
    made = batx.fit(spectrum, "powerlaw", response=matrix, energy=[15, 150], errors="covariance")
    assert calibration_of(made) == expected
    limit = batx.upper_limit(spectrum, response=matrix, energy=[15, 150])
    assert calibration_of(limit) == expected


def test_bad_channels_may_hold_anything():
    """NaN and negative errors where the quality is bad change nothing."""
    quality = ("channel", (np.arange(N) == 3).astype(int))
    clean = rates(MEAN, np.sqrt(MEAN), seed=2).assign(quality=quality)
    rate, error = clean.rate.values.copy(), clean.stat_err.values.copy()
    rate[3], error[3] = np.nan, -1.0
    dirty = clean.assign(rate=clean.rate.copy(data=rate), stat_err=clean.stat_err.copy(data=error))
    np.testing.assert_array_equal(fit(dirty).value, fit(clean).value)
    other = clean.assign(quality=("channel", 2 * (np.arange(N) == 3)))
    dirty = dirty.assign(quality=other.quality)
    np.testing.assert_array_equal(fit(dirty).value, fit(other).value)


# --- refused -----------------------------------------------------------------------------------------------


def test_what_is_no_spectrum():
    with pytest.raises(KindError, match="found NoneType, expected a spectrum"):
        batx.fit(None)
    with pytest.raises(KindError, match="found int"):
        batx.fit([1, 2])
    with pytest.raises(ValueRangeError, match="found no spectrum"):
        batx.fit([])


@pytest.mark.parametrize("energy", [(100, 20), 15, (20, 20), (15, 50, 150), (np.nan, 100)])
def test_energies_that_are_no_band(energy):
    with pytest.raises(ValueRangeError, match="energy"):
        fit(energy=energy)


def test_errors_and_values():
    spectrum = rates(MEAN, np.sqrt(MEAN))
    with pytest.raises(ValueRangeError, match="negative errors"):
        fit(spectrum.assign(stat_err=-spectrum.stat_err))
    with pytest.raises(ValueRangeError, match=r"30 bins .* have an error of zero"):
        fit(rates(MEAN, np.zeros(N)))
    with pytest.raises(ValueRangeError, match="exposure of -5 s"):
        fit(counts(MEAN, exposure=-5.0))
    with pytest.raises(EmptySelectionError, match=r"no channel .* is left: 30 of 30 bins are bad"):
        fit(counts(MEAN).assign(quality=("channel", np.full(N, 2))))


def test_responses_that_do_not_belong():
    moved = RSP.assign_coords(energy_bnds=RSP.energy_bnds + 30.0)
    spectrum = counts(MEAN).assign_coords(energy_bnds=RSP.energy_bnds)
    with pytest.raises(
        ResponseError, match=r"channel \d+ of the spectrum is from .* use the response of this"
    ):
        fit(spectrum, response=moved)
    rounded = RSP.assign_coords(energy_bnds=np.round(RSP.energy_bnds + 0.004, 2))
    assert fit(spectrum, response=rounded).converged
    with pytest.raises(ResponseError, match="is zero in the channels used"):
        fit(response=RSP.assign(matrix=0 * RSP.matrix))
    with pytest.raises(ResponseError, match="is not finite"):
        fit(response=RSP.assign(matrix=np.nan * RSP.matrix))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("two", "found 'two', expected a number"),
        ({"value": None}, "expected a number"),
        ({"min": 3, "max": 1}, "two increasing limits"),
        ({"value": 20, "min": 0, "max": 10}, "lies outside its limits"),
        (np.inf, "where the model has a meaning"),
        ({"start": 2}, "found 'start', expected"),
    ],
)
def test_parameters(setting, words):
    with pytest.raises(ModelError, match=words):
        fit(parameters={"index": setting})


def test_cut_off_that_is_not_above_zero():
    for setting in (-5.0, {"value": 50.0, "min": -5.0}):
        with pytest.raises(ModelError, match="between 0 and inf, where the model has a meaning"):
            fit(model="cutoffpl", parameters={"e_cut": setting})


def test_functions():
    with pytest.raises(ModelError, match=r"for 4 energies it gave shape \(3,\)"):
        fit(model=lambda energy, a=1.0: np.ones(3))


# --- said in the result ------------------------------------------------------------------------------------


def test_no_value_anywhere():
    with pytest.warns(BatxWarning, match="no finite value"):
        made = fit(model=lambda energy, a=1.0: np.nan * energy)
    assert not made.converged
    assert np.isnan(made.statistic)
    assert "did not converge" in made.bat.fit_table()


def test_cut_off_outside_the_band():
    straight = rates(MEAN, 0.01 * MEAN, seed=None)
    made = fit(straight, "cutoffpl", energy=(15, 100))
    assert "e_cut lies outside the energies used" in made.attrs["message"]
    bent = expected("cutoffpl", [1.0, 40.0, 1.0, 100.0])
    made = fit(rates(bent, 0.01 * bent, seed=None), "cutoffpl", energy=(15, 100))
    assert "outside" not in made.attrs["message"]


def test_background_of_a_net_spectrum():
    behind = rates(0.1 * MEAN, np.sqrt(0.1 * MEAN))
    net = rates(MEAN, np.sqrt(MEAN)).assign_attrs(hduclas2="NET")
    with pytest.warns(BatxWarning, match="subtracted again"):
        fit(net, background=behind)


def test_correction_file_is_not_used():
    with pytest.warns(BatxWarning, match=r"scattered\.pha, CORRFILE"):
        fit(counts(MEAN, corrfile="scattered.pha"))


# --- many spectra ------------------------------------------------------------------------------------------


def test_profiles_of_many_parameters_are_those_of_few():
    """Five spectra have eleven free parameters; with the same index fixed each alone has two."""
    several = {str(k): counts((1 + 0.3 * k) * MEAN, seed=k) for k in range(5)}
    joint = batx.fit(several, "powerlaw", response=RSP, untied=["index", "norm"], flux=(20, 100))
    assert joint.converged
    for label, one in several.items():
        alone = fit(one, flux=(20, 100))
        for name in ("index", "norm"):
            there, here = joint.sel(parameter=f"{name}[{label}]"), alone.sel(parameter=name)
            assert abs(float(there.value - here.value)) < 0.01 * float(here.error)
            for end in ("error_low", "error_high"):
                assert float(there[end]) == pytest.approx(float(here[end]), rel=0.01)
        for end in ("flux_low", "flux_high"):
            there = float(joint[end].sel(spectrum=label) - joint.flux.sel(spectrum=label))
            assert there == pytest.approx(float(alone[end] - alone.flux), rel=0.02)


def test_open_end_among_many_parameters():
    """A cut-off that the data do not show has no upper end."""
    several = {str(k): counts(MEAN, seed=10 + k) for k in range(3)}
    joint = batx.fit(several, "cutoffpl", response=RSP, untied=["index", "norm"])
    entry = joint.sel(parameter="e_cut")
    assert np.isfinite(entry.error_low)
    assert np.isnan(entry.error_high)
    assert "e_cut: high end at the limit" in joint.attrs["message"]
