"""The response of the survey, spectra of its catalogues."""

from __future__ import annotations

import numpy as np
import pytest

import batx
from batx.errors import (
    KindError,
    MissingFileError,
    MissingVariableError,
    ValueRangeError,
)
from batx.instrument.response_grid import coding_efficiency
from batx.schema import build
from batx.survey_spectra import SURVEY_EDGES, SURVEY_SYSTEMATICS

#: counts of power laws of index 1, 2, 3 and a norm of 1 in the bands: those of the published responses
INDEX = (1.0, 2.0, 3.0)


def counts_of(response, index: float) -> np.ndarray:
    low, high = response.energy_in_bnds.values.T
    photons = np.log(high / low) if index == 1 else (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    return photons @ response.matrix.values.astype(float)


@pytest.mark.parametrize(
    ("months", "name"), [(105, "swiftbat_survey_full.rsp"), (157, "swiftbat_survey_full_157m.rsp")]
)
def test_response_is_that_of_the_survey(shared, months, name):
    published = batx.open_dataset(shared / "data/survey" / name)
    own = batx.survey_response(months=months)
    np.testing.assert_allclose(own.energy_bnds, published.energy_bnds)
    np.testing.assert_array_equal(own.channel, published.channel)
    for index in (1.0, 1.5, 2.0, 2.5, 3.0):
        np.testing.assert_allclose(counts_of(own, index) / counts_of(published, index), 1, atol=0.0026)


def test_response_stands_alone():
    made = batx.survey_response()
    assert made.bat.kind == "response"
    assert made.bat.check() == []
    assert "157 months" in made.attrs["history"]
    one = batx.response(imx=0.5, imy=0.0, norm=1.0, channels=SURVEY_EDGES)
    ratio = counts_of(made, 2.0) / counts_of(one, 2.0)
    assert (ratio > 0.78).all() and (ratio < 0.93).all()
    with pytest.raises(ValueRangeError, match="months=70, expected 105 or 157"):
        batx.survey_response(months=70)


def test_the_last_band_ends_at_195():
    """0.1 keV beyond what the table resolves: more than up to 194.9, by the width."""
    wide = batx.response(imx=0.0, imy=0.0, channels=[150, 195]).matrix.values[:, 0]
    narrow = batx.response(imx=0.0, imy=0.0, channels=[150, 194.9]).matrix.values[:, 0]
    row = 170
    assert narrow[row] < wide[row] < 1.004 * narrow[row]
    with pytest.raises(ValueRangeError, match="does not resolve"):
        batx.response(imx=0.0, imy=0.0, channels=[150, 196])


def test_source_862(shared):
    """With the response made here in place of that of the file; the last band is left out."""
    path = shared / "data/survey/bat_index_862.pha"
    own = batx.fit(path, "powerlaw", energy=(14, 160), flux=(14, 195))
    made = batx.fit(
        path, "powerlaw", energy=(14, 160), flux=(14, 195), response=batx.survey_response(months=105)
    )
    index, other = (float(fit.sel(parameter="index").value) for fit in (own, made))
    assert index == pytest.approx(2.17, abs=0.01)
    assert float(own.statistic) == pytest.approx(2.55, abs=0.01)
    assert int(own.dof) == 5
    assert other == pytest.approx(index, abs=0.005)
    assert float(made.flux / own.flux) == pytest.approx(1, abs=0.005)
    for fit in (own, made):
        assert np.isfinite(fit.flux_low) and np.isfinite(fit.flux_high)
    without = batx.open_dataset(path).assign_attrs(respfile="none")
    again = without.bat.fit("powerlaw", energy=(14, 160), flux=(14, 195))
    newer = without.bat.fit("powerlaw", energy=(14, 160), flux=(14, 195), response=batx.survey_response())
    np.testing.assert_allclose(again.value, newer.value)
    lost = batx.open_dataset(path)
    lost.encoding["source"] = "/nowhere/bat_index_862.pha"
    with pytest.raises(MissingFileError, match=r"response=batx\.survey_response\(\)"):
        lost.bat.fit("powerlaw")


def catalog(times=(6e8, 7e8), name=("Crab", "Crab")):
    n = len(times)
    rate = 0.01 / np.arange(1, 9)
    return build(
        "catalog",
        {
            "name": list(name),
            "ra": np.full(n, 83.6),
            "dec": np.full(n, 22.0),
            "imx": np.linspace(0.25, -0.4, n),
            "imy": np.full(n, 0.1),
            "pcodefr": ("source", np.full(n, 1.0156), {"units": "1"}),
            "time": ("source", np.array(times), {"units": "s"}),
            "exposure": ("source", np.full(n, 900.0), {"units": "s"}),
            **dict.fromkeys(
                ("rate", "cent_rate"), (("source", "energy"), np.tile(rate, (n, 1)), {"units": "count/s"})
            ),
            "bkg_var": (("source", "energy"), np.full((n, 8), 1e-4), {"units": "count/s"}),
        },
    )


def spectra(catalog, source=None, **options):
    return batx.survey_rates(catalog).bat.survey_spectrum(source=source, **options)


def test_spectrum_of_one_pointing(tmp_path):
    series = spectra(catalog().isel(source=[0]))
    assert series.bat.check() == []
    assert series.rate.dims == ("time", "channel")
    made = series.isel(time=0)
    np.testing.assert_allclose(made.rate, 0.01 / np.arange(1, 9))
    np.testing.assert_allclose(made.sys_err, SURVEY_SYSTEMATICS)
    assert float(made.bat_xobj / made.bat_zobj) == pytest.approx(0.25)
    assert float(made.pcodefr) == pytest.approx(min(1.0156 / coding_efficiency(0.25, 0.1), 1))
    assert float(made.mskwtsqf) == pytest.approx(1 / coding_efficiency(0.25, 0.1))
    direct = batx.response(imx=0.25, imy=0.1, channels=SURVEY_EDGES).matrix
    np.testing.assert_allclose(series.bat.response().matrix[0], direct)
    np.testing.assert_allclose(batx.survey_rates(catalog()).bat.survey_response().matrix[0], direct)
    path = series.bat.to_fits(tmp_path / "pointing.pha")
    read, own = (
        batx.fit_series(one, "powerlaw", flux=(14, 195)) for one in (batx.open_dataset(path), series)
    )
    np.testing.assert_allclose(read.value, own.value, rtol=1e-5)
    assert int(own.dof[0]) == 6
    assert "sys_err" not in spectra(catalog(), systematics=None)


def test_spectra_of_many_pointings_are_fitted_each_with_its_response():
    # as catalogues come: not in the order of time
    series = spectra(catalog((7e8, 6e8)), "  crab ")
    assert series.bat.check() == []
    assert (np.diff(series.time) > 0).all()
    made = series.bat.fit_series("powerlaw", flux=(14, 195))
    assert made.converged.all()
    first = spectra(catalog((7e8, 6e8)).isel(source=[1])).bat.fit_series("powerlaw", flux=(14, 195))
    np.testing.assert_allclose(made.value[0], first.value[0], rtol=1e-6)
    assert abs(float(made.flux[1] / made.flux[0]) - 1) > 0.003


def test_catalogue_of_the_tool(shared):
    path = shared / "reference/survey/batsurvey/golden/point_20200061040_2.cat"
    table = batx.open_dataset(path)
    made = spectra(path, "simsrc1").isel(time=0)
    row = int(np.flatnonzero([str(name).strip() == "SIMSRC1" for name in table.name.values])[0])
    np.testing.assert_array_equal(made.rate, table.rate[row])
    np.testing.assert_array_equal(made.stat_err, table.bkg_var[row])
    assert float(made.exposure) == pytest.approx(899.4)
    # theta and phi say the same place: (cos phi sin theta, -sin phi sin theta, cos theta)
    theta, phi = (np.radians(float(table[name][row])) for name in ("theta", "phi"))
    place = np.array([float(made[f"bat_{axis}obj"]) for axis in "xyz"])
    wanted = [np.cos(phi) * np.sin(theta), -np.sin(phi) * np.sin(theta), np.cos(theta)]
    np.testing.assert_allclose(place / np.linalg.norm(place), wanted, atol=1e-6)
    # the place alone, and the responses that are averaged, give the same
    series = spectra(path, "simsrc1")
    whole = batx.survey_rates(path).bat.survey_response(source="SIMSRC1")
    alone, given = (series.bat.fit_series("powerlaw", **options) for options in ({}, {"response": whole}))
    assert alone.converged.all()
    np.testing.assert_allclose(alone.value, given.value, rtol=1e-6)


def test_bad_catalogues():
    two = catalog(name=("Crab", "Vela X-1"))
    with pytest.raises(ValueRangeError, match="found 2 sources, expected one"):
        spectra(two)
    with pytest.raises(ValueRangeError, match="'Cyg X-1'"):
        spectra(two, "Cyg X-1")
    with pytest.raises(MissingVariableError, match="no columns bkg_var"):
        spectra(two.drop_vars("bkg_var"), "Crab")
    with pytest.raises(ValueRangeError, match="found 4 bands, expected 8"):
        spectra(two.isel(energy=slice(4)), "Crab")
    with pytest.raises(ValueRangeError, match="8 bands"):
        spectra(two, "Crab", systematics=[0.1, 0.2])
    with pytest.raises(KindError):
        batx.survey_rates(batx.survey_response())
    with pytest.raises(KindError):
        batx.survey_spectrum(two)
    with pytest.raises(ValueRangeError, match="no rates"):
        batx.survey_response(source="Crab")
