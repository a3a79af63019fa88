"""Commands for spectra, and their pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure

import batx
from batx.cli import main
from batx.errors import KindError, ValueRangeError
from batx.instrument.response_grid import response_grid
from batx.plots.fit import plot_contour, plot_fit, plot_fit_series
from batx.schema import build

INDEX, NORM = 1.7, 30.0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def spectrum():
    """A mask-weighted spectrum of a power law, off axis."""
    grid = response_grid()
    matrix = batx.response(imx=0.3, imy=0.1).matrix.values
    low, high = grid.energy_in.T
    rate = NORM * (low ** (1 - INDEX) - high ** (1 - INDEX)) / (INDEX - 1) @ matrix
    error = 0.05 * rate + 2e-4
    values = {
        "channel": np.arange(80),
        "energy": grid.channel.mean(axis=1),
        "energy_bnds": grid.channel,
        "rate": rate + np.random.default_rng(3).normal(0, error),
        "stat_err": error,
        "exposure": ((), 50.0),
        "time": ((), 25.0),
        "time_bnds": (("bnds",), [0.0, 50.0]),
    }
    attrs = {"telescope": "SWIFT", "instrument": "BAT", "statistic": "gaussian", "weighting": "mask"}
    place = {"bat_xobj": 3e6, "bat_yobj": 1e6, "bat_zobj": 1e7, "object": "SIM", "obs_id": "00012345000"}
    return build("spectrum", values, attrs | place)


@pytest.fixture(scope="module")
def file(spectrum, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spectra") / "source.pha"
    batx.to_fits(spectrum, path)
    return path


def test_fit(file, tmp_path):
    out, picture = tmp_path / "fit.nc", tmp_path / "fit.png"
    done = run("fit", file, "--flux", "15,150", "--flux", "14,195", "-o", out, "-p", picture)
    assert done.exit_code == 0, done.output
    assert "powerlaw" in done.output and "index" in done.output
    found = batx.open_dataset(out)
    index = found.sel(parameter="index")
    assert abs(float(index.value) - INDEX) < 4 * float(index.error)
    assert found.sizes["band"] == 2
    assert picture.stat().st_size > 5000
    again = run("fit", file, "-o", out)
    assert again.exit_code != 0 and "exists" in again.output


def test_fit_with_settings_and_a_response_file(file, tmp_path):
    response, script = tmp_path / "own.rsp", tmp_path / "fit.xcm"
    assert run("response", file, "-o", response).exit_code == 0
    done = run("fit", file, "--set", "index=1.5!", "--response", response, "--script", script)
    assert done.exit_code == 0, done.output
    assert "1.5 (frozen)" in done.output
    assert "model powerlaw" in script.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "index"), "index=2"),
        (("--model", "nonsense"), "nonsense"),
        (("--energy", "500,600"), "no channel"),
        (("--energy", "15", "150"), "expected two numbers with a comma"),
        (("--energy", "15,a"), "expected numbers separated by commas"),
    ],
)
def test_fit_refuses(arguments, words, file):
    done = run("fit", file, *arguments)
    assert done.exit_code != 0
    assert words in done.output
    assert "Traceback" not in done.output


def test_limit(file, tmp_path):
    out = tmp_path / "limit.nc"
    done = run("limit", file, "--template", "soft", "--index", 2, "--sigma", 5, "-o", out)
    assert done.exit_code == 0, done.output
    assert "significance" in done.output and "soft" in done.output
    found = batx.open_dataset(out)
    assert found.bat.kind == "limit"
    assert found.sizes["template"] == 2


@pytest.mark.parametrize("command", ["fit", "limit"])
def test_what_is_no_spectrum(command, tmp_path):
    curve = tmp_path / "blank.nc"
    batx.build(
        "lightcurve",
        {
            "time": [0.5],
            "time_bnds": [[0, 1]],
            "energy": [20.0],
            "energy_bnds": [[15, 25]],
            "counts": (("time", "energy"), [[1]]),
            "exposure": [1.0],
            "fracexp": [1.0],
        },
        {"statistic": "poisson", "weighting": "none", "instrument": "BAT"},
    ).bat.to_netcdf(curve)
    done = run(command, curve)
    assert done.exit_code == 1 and f"{command} works on kind spectrum; found kind 'lightcurve'" in done.output


def test_response_of_a_place(tmp_path):
    out = tmp_path / "place.rsp"
    done = run("response", "--place", 0.5, 0.2, "-o", out)
    assert done.exit_code == 0, done.output
    made = batx.open_dataset(out)
    np.testing.assert_allclose(made.matrix, batx.response(imx=0.5, imy=0.2).matrix, rtol=1e-6, atol=1e-12)
    assert run("response", "-o", tmp_path / "none.rsp").exit_code != 0
    done = run("response", "--survey", "-o", tmp_path / "survey.rsp")
    assert done.exit_code == 0, done.output
    assert batx.open_dataset(tmp_path / "survey.rsp").sizes["channel"] == 8
    assert run("response", "--survey", "--place", 0, 0, "-o", tmp_path / "no.rsp").exit_code == 2


# --- pictures ----------------------------------------------------------------------------------------------


def test_picture_of_a_fit(spectrum):
    found = spectrum.bat.fit(energy=(15, 150))
    top, below = plot_fit(found, Figure())
    assert top.get_title(loc="left") == "SIM, SWIFT BAT, obs 00012345000, powerlaw"
    assert top.get_ylabel() == "Rate (count/s/keV)"
    assert below.get_xlabel() == "Energy (keV)"
    assert below.get_ylabel() == "Residual (σ)"
    unfolded = found.bat.plot(Figure(), unfolded=True)
    assert "erg" in unfolded.get_ylabel()


def test_picture_of_a_joint_fit(spectrum):
    found = batx.fit({"a": spectrum, "b": spectrum}, energy=(15, 150), untied=["norm"])
    top, _ = plot_fit(found, Figure())
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["a", "b"]


def test_picture_of_a_contour(spectrum):
    rise = batx.fit_contour(spectrum, "powerlaw", ("index", "norm"), energy=(15, 150), size=9)
    panel = plot_contour(rise, Figure())
    assert panel.get_ylabel() == "index"
    assert panel.get_xlabel().startswith("norm (ph")
    with pytest.raises(ValueRangeError, match="two parameters"):
        plot_contour(rise[0])


def test_picture_of_a_series(spectrum):
    bounds = np.array([[0.0, 10.0], [10.0, 20.0]])
    values = {name: spectrum[name].variable for name in ("channel", "energy", "energy_bnds")}
    values |= {
        name: (("time", "channel"), np.stack([spectrum[name].values] * 2)) for name in ("rate", "stat_err")
    }
    values |= {"time": bounds.mean(axis=1), "time_bnds": bounds, "exposure": np.full(2, 10.0)}
    both = build("spectrum", values, spectrum.attrs)
    response = batx.response(imx=0.3, imy=0.1)
    series = batx.fit_series(both, energy=(15, 150), response=response)
    panels = plot_fit_series(series, Figure())
    assert len(panels) == 2
    assert panels[1].get_ylabel() == "index"
    assert "Time" in panels[1].get_xlabel()
    with pytest.raises(KindError, match="time axis"):
        plot_fit_series(spectrum.bat.fit(energy=(15, 150)))
    with pytest.raises(KindError, match="no bins"):
        plot_fit(series)
