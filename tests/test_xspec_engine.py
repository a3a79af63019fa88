"""Fits that pyXspec makes: what it is asked, what comes back, and that its manners stay where they are.

The stand-in (``tests/pyxspec``) fits by itself, or gives the answers that XSPEC 12.9.1 has given.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from fit_inputs import counts, expected, rates, response
from test_sessions import is_gone
from xspec_inputs import CASES, RECORDED, ranges, reference, unpack_recorded

import batx
from batx.cli import main
from batx.errors import EngineError, EngineTimeoutError, MissingPackageError, ModelError, ValueRangeError
from batx.xspec import Xspec, probe

STAND_IN = str(Path(__file__).parent / "pyxspec")
SPECTRUM = counts(expected("powerlaw", [1.9, 1.0, 50.0]))


@pytest.fixture(autouse=True)
def pyxspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", STAND_IN)
    monkeypatch.setenv("BATX_XSPEC_PYTHON", sys.executable)


@pytest.fixture(scope="module")
def engine() -> Iterator[Xspec]:
    """One XSPEC for many fits; what one leaves behind must not reach the next."""
    with Xspec() as engine:
        yield engine


def fitted(engine: Any, *spectra: Any, **how: Any) -> xr.Dataset:
    settings = {"response": response(), "flux": (15, 150), **how}
    return batx.fit(spectra[0] if len(spectra) == 1 else list(spectra), engine=engine, **settings)


def assert_same(mine: xr.Dataset, native: xr.Dataset, flux: float = 2e-3) -> None:
    """Both have the same variables; values within 0.01 sigma, errors and ranges within 2 %."""
    assert set(mine.variables) == set(native.variables)
    assert all(mine[name].dims == native[name].dims for name in native.variables)
    assert mine["statistic"].item() == pytest.approx(native["statistic"].item(), rel=1e-4)
    assert mine["dof"].item() == native["dof"].item()
    assert mine["converged"].item()
    error = native["error"].values
    free = ~native["frozen"].values
    assert (np.abs(mine["value"].values - native["value"].values)[free] < 0.01 * error[free]).all()
    np.testing.assert_allclose(mine["value"].values[~free], native["value"].values[~free], rtol=1e-12)
    for name in ("error", "error_low", "error_high"):
        np.testing.assert_allclose(
            mine[name].values[free], native[name].values[free], rtol=0.02, err_msg=name
        )
    correlation = native["covariance"].values[np.ix_(free, free)] / np.outer(error[free], error[free])
    there = mine["covariance"].values[np.ix_(free, free)] / np.outer(error[free], error[free])
    np.testing.assert_allclose(there, correlation, atol=0.03)
    for name in ("flux", "photon_flux", "flux_err", "photon_flux_err", "flux_low", "flux_high"):
        if name not in native:
            continue
        np.testing.assert_allclose(mine[name].values, native[name].values, rtol=0.02, err_msg=name)
    np.testing.assert_allclose(mine["flux"].values, native["flux"].values, rtol=flux)
    np.testing.assert_allclose(mine["bin_model"].values, native["bin_model"].values, rtol=2e-3)
    np.testing.assert_array_equal(mine["bin_rate"].values, native["bin_rate"].values)
    np.testing.assert_allclose(mine["curve"].values, native["curve"].values, rtol=2e-2)


# ---------------------------------------------------------------- what XSPEC said


@pytest.fixture(scope="module")
def replaying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Xspec, Path]]:
    answers = tmp_path_factory.mktemp("answers") / "answers.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", STAND_IN)
        patch.setenv("BATX_XSPEC_PYTHON", sys.executable)
        patch.setenv("STANDIN_ANSWERS", str(answers))
        answers.write_text("{}")
        engine = Xspec()
        engine._running()
    with engine:
        yield engine, answers


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded fits that come with the tests."""
    return unpack_recorded(tmp_path_factory.mktemp("xspec") / "recorded")


@pytest.mark.parametrize(("name", "block"), CASES)
def test_all_recorded_fits(shared: Path, replaying: tuple[Xspec, Path], name: str, block: str) -> None:
    """The stand-in answers only if parameters, ties, bins and statistics are those of the recorded fit."""
    assert_replayed(shared / "reference/xspec", *replaying, name, block)


@pytest.mark.parametrize(("name", "block"), RECORDED)
def test_recorded_fits(recorded: Path, replaying: tuple[Xspec, Path], name: str, block: str) -> None:
    """The same for some of them, with the packaged response."""
    assert_replayed(recorded, *replaying, name, block)


@pytest.mark.parametrize(("name", "block"), RECORDED)
def test_recorded_fits_natively(recorded: Path, name: str, block: str) -> None:
    """XSPEC's numbers without XSPEC, within what the packaged response differs from that of the tool."""
    case = reference(recorded, name, block)
    fit = batx.fit(case.spectra, case.model, compat="xspec", **case.how)
    assert fit["statistic"].item() == pytest.approx(case.statistic, rel=2e-4)
    assert fit["dof"].item() == case.dof
    for parameter, entry in case.found.items():
        mine = fit.sel(parameter=parameter)
        assert abs(mine["value"].item() - entry["value"]) < 0.01 * entry["sigma"]
        ends = mine["value"].item() + np.array([-mine["error_low"].item(), mine["error_high"].item()])
        np.testing.assert_allclose(ends, ranges(entry), atol=0.02 * entry["sigma"])
    flux = np.atleast_1d(fit["flux"].values.squeeze())
    np.testing.assert_allclose(flux, [case.flux[band][0] for band in sorted(case.flux)], rtol=1e-3)


def assert_replayed(folder: Path, engine: Xspec, answers: Path, name: str, block: str) -> None:
    case = reference(folder, name, block)
    recorded = json.loads((folder / name / "results.json").read_text())["blocks"][block]
    answers.write_text(json.dumps(recorded))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", batx.BatxWarning)
        fit = batx.fit(case.spectra, case.model, compat="xspec", engine=engine, **case.how)
    assert fit.attrs["engine"].startswith("XSPEC")
    assert fit["statistic"].item() == recorded["stat"]
    assert fit["dof"].item() == recorded["dof"]
    found = {key: entry for key, entry in recorded["params"].items() if "err_lo" in entry}
    assert len(case.found) == len(found)
    for (parameter, _), entry in zip(case.found.items(), found.values(), strict=True):
        mine = fit.sel(parameter=parameter)
        assert mine["value"].item() == pytest.approx(entry["value"], rel=1e-12)
        ends = mine["value"].item() + np.array([-mine["error_low"].item(), mine["error_high"].item()])
        np.testing.assert_allclose(ends, ranges(entry), rtol=1e-9, err_msg=parameter)
    free = [str(value) for value in fit["parameter"].values[~fit["frozen"].values]]
    order = list(case.found)
    size = len(order)
    triangle = np.zeros((size, size))
    triangle[np.tril_indices(size)] = recorded["covariance"]
    whole = xr.DataArray(
        np.where(np.tri(size, dtype=bool), triangle, triangle.T),
        coords={"parameter": order, "other": order},
        dims=("parameter", "other"),
    ).sel(parameter=free, other=free)
    used = np.flatnonzero(~fit["frozen"].values)
    np.testing.assert_allclose(fit["covariance"].values[np.ix_(used, used)], whole.values, rtol=1e-8)
    mine = fit["flux"].values.reshape(-1, len(case.flux))
    for i, band in enumerate(sorted(case.flux)):
        wanted = recorded["flux_erg_cm2_s"]["_".join(f"{edge:g}" for edge in band)]
        known = np.isfinite(mine[:, i])  # not outside the grid, where XSPEC leaves an old value
        np.testing.assert_array_equal(
            mine[known, i], np.array([wanted[key] for key in sorted(wanted)])[known]
        )
        assert known.any()


# ---------------------------------------------------------------- the same as natively


@pytest.mark.parametrize(
    ("model", "values", "how"),
    [
        ("powerlaw", [1.9, 1.0, 50.0], {"statistic": "chi2"}),
        ("powerlaw", [1.9, 1.0, 50.0], {"delta": 2.706, "energy": (20, 100)}),
        ("powerlaw", [1.9, 1.0, 50.0], {"parameters": {"index": {"value": 2.0, "frozen": True}}}),
        ("cutoffpl", [1.0, 80.0, 1.0, 5.0], {}),
        ("bbody", [12.0, 10.0], {"compat": "xspec"}),
        (
            "constant*bremss",
            [1.0, 40.0, 20.0],
            {"compat": "xspec", "parameters": {"factor": {"frozen": True}}},
        ),
        ("grbm", [-1.0, -2.6, 60.0, 0.3], {"compat": "xspec", "parameters": {"beta": {"frozen": True}}}),
        ("cflux*powerlaw", [15.0, 150.0, -6.5, 1.9, 1.0, 1.0], {"compat": "xspec"}),
        ("eflux*powerlaw", [15.0, 150.0, 3e-7, 1.9, 1.0, 1.0], {"compat": "xspec"}),
        ("cpflux*powerlaw", [15.0, 150.0, 5.0, 1.9, 1.0, 1.0], {"compat": "xspec"}),
        ("logpar", [1.6, 0.5, 50.0, 0.03], {"parameters": {"pivot": 50.0}}),
        ("powerlaw+bbody", [1.5, 1.0, 5.0, 10.0, 8.0], {"compat": "xspec", "errors": "covariance"}),
    ],
)
def test_same_as_natively(engine: Xspec, model: str, values: list[float], how: dict[str, Any]) -> None:
    spectrum = counts(expected(model, values, exposure=100.0), exposure=100.0)
    native = fitted("native", spectrum, model=model, **how)
    assert_same(fitted(engine, spectrum, model=model, **how), native)


def test_rates_with_groups_qualities_and_systematics(engine: Xspec) -> None:
    mean = expected("powerlaw", [1.9, 1.0, 50.0])
    spectrum = rates(mean, np.sqrt(mean) + 1)
    grouping = np.ones(30, np.int16)
    grouping[[5, 6, 11, 29]] = -1
    quality = np.zeros(30, np.int16)
    quality[[0, 17]], quality[20] = 1, 2
    spectrum = spectrum.assign(
        grouping=("channel", grouping, {"units": "1"}),
        quality=("channel", quality, {"units": "1"}),
        sys_err=("channel", np.linspace(0.02, 0.1, 30), {"units": "1"}),
    )
    how = {"model_error": 0.03, "energy": (17, 140)}
    assert_same(fitted(engine, spectrum, **how), fitted("native", spectrum, **how))


@pytest.mark.parametrize(
    ("model", "parameters", "grid"),
    [
        ("powerlaw", ("index", "norm"), None),
        ("powerlaw", ("norm", "index"), (np.linspace(600, 1400, 3), np.linspace(1.8, 2.1, 4))),
        ("cutoffpl", ("index", "e_cut"), None),
    ],
)
def test_contours(engine: Xspec, model: str, parameters: tuple[str, str], grid: Any) -> None:
    """On the same grid both rise alike; without one each has its own, by its own covariance."""
    how: dict[str, Any] = {"response": response(), "parameters": {"pivot": {"value": 1.0, "frozen": True}}}
    spectrum = SPECTRUM if model == "powerlaw" else counts(expected("cutoffpl", [1.0, 60.0, 30.0, 50.0]))
    mine = batx.fit_contour(spectrum, model, parameters, grid=grid, size=5, engine=engine, **how)
    assert mine.attrs["engine"].startswith("XSPEC") and mine.dims == parameters
    axes = tuple(mine[name].values for name in parameters)
    native = batx.fit_contour(spectrum, model, parameters, grid=axes, **how)
    np.testing.assert_allclose(mine.values, native.values, atol=0.02, rtol=0.01)
    np.testing.assert_allclose(mine.attrs["best"], native.attrs["best"], rtol=1e-3)
    if grid is None:
        own = batx.fit_contour(spectrum, model, parameters, size=5, **how)
        for name in parameters:
            span = float(np.ptp(own[name].values))
            np.testing.assert_allclose(mine[name], own[name], atol=0.02 * span)


@pytest.mark.parametrize(
    ("model", "parameters", "grid", "error", "said"),
    [
        ("powerlaw", ("index", "alpha"), None, ModelError, "two of the free parameters"),
        ("peakpl", ("index", "e_peak"), None, ModelError, "cannot step"),
        ("powerlaw", ("index", "norm"), ([1, 2, 4], [1, 2]), ValueRangeError, "even steps"),
        ("powerlaw", ("index", "norm"), ([1, 2],), ValueRangeError, "two parameters"),
    ],
)
def test_contours_that_xspec_cannot_make(
    engine: Xspec, model: str, parameters: Any, grid: Any, error: type, said: str
) -> None:
    how: dict[str, Any] = {"response": response()}
    if model == "powerlaw":
        how["parameters"] = {"pivot": {"value": 1.0, "frozen": True}}
    with pytest.raises(error, match=said):
        batx.fit_contour(SPECTRUM, model, parameters, grid=grid, engine=engine, **how)


def test_series_of_fits_share_one_xspec(engine: Xspec) -> None:
    """`fit_series` hands its engine on."""
    pair = xr.concat([SPECTRUM, SPECTRUM.assign(counts=SPECTRUM["counts"] * 2)], "time")
    seconds = {"units": "s"}
    pair = pair.assign_coords(
        time=("time", [5.0, 15.0], seconds),
        time_bnds=(("time", "bnds"), [[0.0, 10.0], [10.0, 20.0]], seconds),
    )
    process = engine._running()._process
    mine = batx.fit_series(pair, "powerlaw", response=response(), engine=engine)
    native = batx.fit_series(pair, "powerlaw", response=response())
    assert engine._running()._process is process, "no fit started another one"
    np.testing.assert_allclose(mine["value"], native["value"], rtol=1e-3)
    np.testing.assert_allclose(mine["error_high"], native["error_high"], rtol=0.02)


@pytest.mark.parametrize("statistic", ["wstat", "pgstat", "chi2"])
def test_backgrounds(engine: Xspec, statistic: str) -> None:
    mean = expected("powerlaw", [1.9, 1.0, 50.0])
    noise = np.full(30, 40.0)
    spectrum = counts(mean + 0.5 * noise, 2).assign_attrs(backscal=0.5)
    background = counts(noise, 3).assign_attrs(backscal=1.0)
    if statistic == "pgstat":
        background = rates(noise, np.sqrt(noise), 3).assign_attrs(backscal=1.0)
    how = {"background": background, "statistic": statistic}
    assert_same(fitted(engine, spectrum, **how), fitted("native", spectrum, **how))


def test_joint_fits_with_ties(engine: Xspec) -> None:
    spectra = [
        counts(expected("tbabs*(powerlaw+bbody)", [5.0, index, 1.0, norm, 20.0, 5.0]), seed)
        for seed, (index, norm) in enumerate([(1.9, 200.0), (1.9, 100.0), (1.9, 150.0)])
    ]
    how = {
        "model": "tbabs*(powerlaw+bbody)",
        "untied": ["powerlaw.norm"],
        "tied": {"powerlaw.norm[2]": "powerlaw.norm[0]"},
        "parameters": {
            "nh": {"value": 5.0, "frozen": True},
            "kt": {"value": 20.0, "frozen": True},
            "bbody.norm": {"value": 5.0, "frozen": True},
        },
        "statistic": {"1": "chi2"},
        "flux": [(15, 150), (15, 50)],
        "compat": "xspec",
    }
    native, mine = fitted("native", *spectra, **how), fitted(engine, *spectra, **how)
    assert_same(mine, native)
    assert mine.sizes["spectrum"] == 3
    assert mine.attrs["tied"] == native.attrs["tied"]


@pytest.mark.parametrize(
    ("model", "values", "parameters", "inexact"),
    [
        ("peakpl", [1.0, 60.0, 1.0, 5.0], {}, {"e_peak"}),
        ("peakpl", [1.0, 60.0, 1.0, 5.0], {"e_peak": {"value": 65.0, "frozen": True}}, set()),
        ("peakpl", [1.0, 60.0, 1.0, 5.0], {"index": {"value": 1.1, "frozen": True}}, set()),
        ("band", [-1.0, -2.6, 60.0, 0.3], {"beta": {"value": -2.6, "frozen": True}}, {"e_peak"}),
        ("powerlaw", [1.9, 50.0, 0.03], {"pivot": 50.0}, {"norm"}),
    ],
)
def test_parameters_that_xspec_has_others_for(
    engine: Xspec, model: str, values: list[float], parameters: dict[str, Any], inexact: set[str]
) -> None:
    """They are converted; the ranges of those that depend on two of XSPEC's are from the covariance."""
    spectrum = counts(expected(model, values, exposure=400.0), exposure=400.0)
    how = {"model": model, "parameters": parameters, "compat": "xspec"}
    native, mine = fitted("native", spectrum, **how), fitted(engine, spectrum, **how)
    for name in inexact:
        assert f"{name}: range from the covariance" in mine.attrs["message"]
        part = mine.sel(parameter=name)
        assert part["error_low"].item() == pytest.approx(part["error"].item())
        for side in ("error_low", "error_high"):
            native[side].loc[{"parameter": name}] = native["error"].sel(parameter=name)
            assert mine[side].sel(parameter=name).item() == pytest.approx(
                native["error"].sel(parameter=name).item(), rel=0.02
            )
    assert_same(mine, native)


def test_limits_are_kept_and_named(engine: Xspec) -> None:
    mine = fitted(engine, SPECTRUM, parameters={"index": {"value": 1.5, "max": 1.7}})
    native = fitted("native", SPECTRUM, parameters={"index": {"value": 1.5, "max": 1.7}})
    assert mine["value"].sel(parameter="index").item() == pytest.approx(1.7, abs=1e-4)
    assert np.isnan(mine["error_high"].sel(parameter="index"))
    assert "high end at the limit" in mine.attrs["message"]
    assert mine["statistic"].item() == pytest.approx(native["statistic"].item(), rel=1e-4)


def test_nothing_to_fit(engine: Xspec) -> None:
    held = {"index": {"value": 1.9, "frozen": True}, "norm": {"value": 50.0, "frozen": True}}
    mine = fitted(engine, SPECTRUM, parameters=held)
    native = fitted("native", SPECTRUM, parameters=held)
    assert mine["statistic"].item() == pytest.approx(native["statistic"].item(), rel=1e-9)
    assert mine["dof"].item() == 30


def test_fluxes_beyond_the_response(engine: Xspec) -> None:
    """XSPEC sums over the bins of the response; batx has them extended, but not for compat="xspec"."""
    native = fitted("native", SPECTRUM, flux=(5, 300))
    assert fitted(engine, SPECTRUM, flux=(5, 300))["flux"].item() == pytest.approx(
        native["flux"].item(), rel=1e-3
    )
    inside = fitted("native", SPECTRUM, flux=(15, 150), compat="xspec")
    cut = fitted(engine, SPECTRUM, flux=(5, 300), compat="xspec")
    assert cut["flux"].item() == pytest.approx(inside["flux"].item(), rel=1e-4)
    assert np.isnan(fitted(engine, SPECTRUM, flux=(200, 300), compat="xspec")["flux"])


@pytest.mark.filterwarnings("ignore:.*names a correction file")
def test_files_are_read_by_xspec_itself(engine: Xspec, tmp_path: Path) -> None:
    """Under names that no program can misread, with the links of the request and not of the header."""
    folder = tmp_path / "a folder, with {odd} names [1]"
    folder.mkdir()
    matrix = batx.to_fits(response(), folder / "my response+1.rsp")
    gone = {key: f"gone.{key}" for key in ("respfile", "backfile", "ancrfile", "corrfile")}
    data = SPECTRUM.assign_attrs(gone)
    path = batx.to_fits(data, folder / "my spectrum.pha")
    before = path.read_bytes()
    mine = fitted(engine, path, response=matrix, background=False)
    assert_same(mine, fitted("native", path, response=matrix, background=False))
    assert path.read_bytes() == before
    assert json.loads(mine.attrs["inputs"])[0]["data"] == str(path)
    assert sorted(entry.name for entry in folder.iterdir()) == ["my response+1.rsp", "my spectrum.pha"]


# ---------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"model": lambda energy, a=1.0: a * energy**-2.0}, ModelError, "no counterpart of the component"),
        ({"statistic": "gaussian"}, ValueRangeError, "XSPEC has no 'gaussian'"),
        ({"model": "tbabs*phabs_angr*powerlaw"}, ModelError, "one table of abundances"),
        (
            {"parameters": {"pivot": {"value": 2.0, "frozen": False}}},
            ModelError,
            "no counterpart of the parameter",
        ),
        (
            {"model": "powerlaw+bbody", "parameters": {"pivot": 50.0, "powerlaw.norm": {"frozen": True}}},
            ModelError,
            "frozen at a pivot",
        ),
        ({"model": "peakpl", "parameters": {"e_peak": {"max": 90.0}}}, ModelError, "cannot keep it between"),
        ({"model": "nonsense"}, ModelError, "there is no component"),
        ({"engine": "sherpa"}, ValueRangeError, "expected one of 'native'"),
        ({"engine": object()}, ValueRangeError, "does not do this"),
    ],
)
def test_refused_before_xspec_starts(how: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        batx.fit(SPECTRUM, **{"response": response(), "engine": "xspec", **how})


def test_ties_that_xspec_cannot_make() -> None:
    how = {"parameters": {"pivot": 50.0}, "untied": ["index"], "response": response()}
    with pytest.raises(ModelError, match=r"cannot share where pivot, index differ"):
        batx.fit([SPECTRUM, SPECTRUM], engine="xspec", **how)


# ---------------------------------------------------------------- manners


@pytest.mark.parametrize(
    ("manner", "error", "said"),
    [
        ("perform:hang", EngineTimeoutError, "no answer to 'fit'"),
        ("data:prompt", EngineTimeoutError, "Enter something"),
        ("import:hang", EngineTimeoutError, "no answer to 'start'"),
        ("perform:exit", EngineError, "exit code 5.*XSPEC: fatal"),
        ("perform:osexit", EngineError, "exit code 6"),
        ("model:segv", EngineError, "SIGSEGV"),
        ("perform:raise", EngineError, "Exception: Error: perform did not work"),
        ("import:raise", EngineError, "'start' failed"),
    ],
)
def test_manners(monkeypatch: pytest.MonkeyPatch, manner: str, error: type, said: str) -> None:
    monkeypatch.setenv("STANDIN_MISBEHAVE", manner)
    start_timeout = 1.0 if manner == "import:hang" else 60.0
    timeout = 1.0 if error is EngineTimeoutError else 30.0
    with Xspec(timeout=timeout, start_timeout=start_timeout) as engine:
        start = time.monotonic()
        with pytest.raises(error, match=said):
            fitted(engine, SPECTRUM)
        assert time.monotonic() - start < 120
        if manner.startswith("perform:raise"):  # the next one begins anew
            with pytest.raises(error, match=said):
                fitted(engine, SPECTRUM)


@pytest.mark.parametrize(
    "manner", ["flux:elsewhere", "perform:elsewhere", "perform:bytes", "perform:silent", "import:elsewhere"]
)
def test_what_a_fit_leaves_behind_does_not_reach_the_next(
    engine: Xspec, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """It goes to another folder, prints what is no text, or loses its output."""
    want = fitted(engine, SPECTRUM)
    monkeypatch.setenv("STANDIN_MISBEHAVE", manner)
    with Xspec(timeout=30.0) as other:
        for _ in range(2):
            xr.testing.assert_allclose(fitted(other, SPECTRUM), want, rtol=1e-9)


@pytest.mark.parametrize(
    ("manner", "error", "said"),
    [
        ("perform:closes", EngineError, "process ended"),
        ("perform:stops", EngineTimeoutError, "no answer"),
        ("model:deep", EngineError, "RecursionError"),
        ("steppar:raise", EngineError, "steppar did not work"),
    ],
)
def test_further_manners(monkeypatch: pytest.MonkeyPatch, manner: str, error: type, said: str) -> None:
    """It closes what it does not own, is stopped, breaks the interpreter, fails in a later step."""
    monkeypatch.setenv("STANDIN_MISBEHAVE", manner)
    with Xspec(timeout=2.0 if error is EngineTimeoutError else 30.0) as engine:
        folder = engine._running().folder
        how = {"response": response(), "engine": engine}
        with pytest.raises(error, match=said):
            batx.fit_contour(SPECTRUM, "cutoffpl", ("index", "e_cut"), size=3, **how)
    assert not folder.exists()


def test_noise_and_remains_of_others_change_nothing(
    engine: Xspec, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    want = fitted(engine, SPECTRUM)
    monkeypatch.setenv("STANDIN_MISBEHAVE", "perform:flood data:flood")
    monkeypatch.setenv("STANDIN_STATE", "1")
    environment, folder = dict(os.environ), Path.cwd()
    mine = fitted("xspec", SPECTRUM)
    xr.testing.assert_allclose(mine, want, rtol=1e-9)
    assert capfd.readouterr() == ("", "")
    assert (dict(os.environ), Path.cwd()) == (environment, folder)


def test_a_range_that_fails_leaves_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_MISBEHAVE", "error:raise")
    mine = fitted("xspec", SPECTRUM)
    native = fitted("native", SPECTRUM)
    assert mine["value"].values == pytest.approx(native["value"].values, rel=1e-3)
    assert "error 1: Error: error did not work" in mine.attrs["message"]


def test_a_process_for_many_fits(engine: Xspec) -> None:
    fitted(engine, SPECTRUM)
    first = engine._running().hello["pid"]
    fitted(engine, SPECTRUM, model="cflux*powerlaw")
    again = fitted(engine, SPECTRUM)
    assert engine._running().hello["pid"] == first
    assert_same(again, fitted("native", SPECTRUM))


def test_an_engine_that_is_forgotten_ends() -> None:
    engine = Xspec()
    session = engine._running()
    worker, folder = session.hello["pid"], session.folder
    del engine, session
    gc.collect()
    assert is_gone(worker)
    assert not folder.exists()


def test_threads_share_an_engine(engine: Xspec) -> None:
    spectra = [counts(expected("powerlaw", [index, 1.0, 50.0])) for index in (1.5, 1.9, 2.3)]
    with ThreadPoolExecutor(3) as pool:
        mine = list(pool.map(lambda spectrum: fitted(engine, spectrum, errors="covariance"), spectra))
    for fit, spectrum in zip(mine, spectra, strict=True):
        native = fitted("native", spectrum, errors="covariance")
        assert fit["statistic"].item() == pytest.approx(native["statistic"].item(), rel=1e-4)


def test_wrong_settings_are_refused() -> None:
    for how in ({"errors": "none"}, {"delta": -1.0}):
        with pytest.raises(ValueRangeError):
            fitted("xspec", SPECTRUM, **how)
    with pytest.raises(ValueRangeError, match="timeout"):
        Xspec(timeout=0.0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batx.to_fits(SPECTRUM, tmp_path / "a.pha")
    batx.to_fits(response(), tmp_path / "r.rsp")
    words = [
        "fit",
        tmp_path / "a.pha",
        "--response",
        tmp_path / "r.rsp",
        "--energy",
        "15,150",
        "--engine",
        "xspec",
    ]
    made = CliRunner().invoke(main, [str(word) for word in [*words, "-o", tmp_path / "fit.nc"]])
    assert made.exit_code == 0, made.output
    assert "flux 15-150 keV" in made.output
    assert batx.open_dataset(tmp_path / "fit.nc").attrs["engine"].startswith("XSPEC")
    monkeypatch.delenv("PYTHONPATH")
    refused = CliRunner().invoke(main, [str(word) for word in words])
    assert refused.exit_code != 0
    assert "has no module xspec" in refused.output + str(refused.exception)


# ---------------------------------------------------------------- finding it


def test_no_pyxspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")
    found = probe()
    assert found.python is None
    assert "has no module xspec" in found.problem
    with pytest.raises(MissingPackageError, match=r"has no module xspec.*BATX_XSPEC_PYTHON"):
        fitted("xspec", SPECTRUM)
    monkeypatch.delenv("BATX_XSPEC_PYTHON")
    assert probe().python is None


def test_a_broken_pyxspec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "xspec.py").write_text(
        "raise ImportError('libXSFunctions.so: cannot open shared object file')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingPackageError, match=r"cannot be loaded .*libXSFunctions.*headas-init"):
        fitted("xspec", SPECTRUM)


@pytest.mark.parametrize(
    ("text", "said"),
    [("sleep 100", "no answer in 0.3 s"), ("echo nonsense", "is no Python 3"), ("exit 3", "exit code 3")],
)
def test_probing_never_hangs(tmp_path: Path, text: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    start = time.monotonic()
    found = probe(python, timeout=0.3)
    assert time.monotonic() - start < 3
    assert found.python is None
    assert said in found.problem


def test_heasoft_that_was_not_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its Python packages are found below $HEADAS; this process keeps its environment."""
    library = tmp_path / "lib/python"
    library.mkdir(parents=True)
    (library / "xspec.py").write_text("")
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setenv("HEADAS", str(tmp_path))
    assert probe().place == str(library / "xspec.py")
    assert "PYTHONPATH" not in os.environ


def test_probing_leaves_no_process(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/number; wait\n")
    python.chmod(0o755)
    assert "no answer" in probe(python, timeout=2.0).problem
    assert is_gone(int((tmp_path / "number").read_text()))
