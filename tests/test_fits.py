"""Fits of spectra whose truth is known, and everything that can go wrong with them."""

from __future__ import annotations

import ast
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fit_inputs import counts, expected, rates, response
from scipy import optimize, stats

import batx
from batx.errors import ModelError, ValueRangeError
from batx.fit_inputs import Settings, problem_of
from batx.kernels import fit_statistics
from batx.kernels.models import Bins

RSP = response()
TRUTH = [1.7, 1.0, 500.0]
MEAN = expected("powerlaw", TRUTH)


# ---------------------------------------------------------------- statistics


@pytest.fixture(scope="module")
def xspec() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "reference/fits.npz") as file:
        return dict(file)


@pytest.mark.parametrize("case", ["bat80_po_chi", "bat8_po_chi_sysBA"])
def test_chi_square_of_xspec(xspec: dict[str, np.ndarray], case: str) -> None:
    data, error, model = (xspec[f"{case}_{key}"] for key in ("counts", "counts_err", "counts_model"))
    made = fit_statistics.chi_square(data, model, error**2, 0.0)
    assert made == pytest.approx(xspec[f"{case}_statistic"].item(), rel=1e-10)
    assert fit_statistics.gaussian(data, model, error**2, 0.0) - made == pytest.approx(
        np.sum(np.log(2 * np.pi * error**2))
    )


def test_cash_statistic_of_xspec(xspec: dict[str, np.ndarray]) -> None:
    case = "bat8_cflux_cstat_BAstyle"
    made = fit_statistics.cstat(xspec[f"{case}_counts"], xspec[f"{case}_counts_model"])
    assert made == pytest.approx(xspec[f"{case}_statistic"].item(), rel=1e-8)


@pytest.mark.parametrize(("observed", "background"), [(0, 0), (0, 4), (5, 0), (5, 4), (1, 30), (40, 1)])
@pytest.mark.parametrize("expected_counts", [0.05, 1.0, 12.0])
def test_backgrounds_are_profiled_out(observed: float, background: float, expected_counts: float) -> None:
    """W and PG are the smallest values over all backgrounds, where XSPEC's formulae say so too."""
    one, ratio, variance = np.ones(1), 0.4, 3.0

    def cash(count: float, mean: float) -> float:
        return 2 * (mean - count + (count * np.log(count / mean) if count > 0 else 0.0))

    def poisson(level: float) -> float:
        return cash(observed, expected_counts + ratio * level) + cash(background, level)

    def gaussian(level: float) -> float:
        return cash(observed, expected_counts + ratio * level) + (background - level) ** 2 / variance

    w = optimize.minimize_scalar(poisson, bounds=(1e-12, 100), method="bounded", options={"xatol": 1e-10}).fun
    made = fit_statistics.wstat(observed * one, background * one, ratio * one, expected_counts * one)
    assert made == pytest.approx(w, abs=1e-6)
    lowest = -expected_counts / ratio + 1e-9 if observed > 0 else -100.0
    pg = optimize.minimize_scalar(
        gaussian, bounds=(lowest, 100), method="bounded", options={"xatol": 1e-10}
    ).fun
    made = fit_statistics.pgstat(
        observed * one, background * one, variance * one, ratio * one, expected_counts * one
    )
    assert made == pytest.approx(pg, abs=1e-6)


# ---------------------------------------------------------------- one spectrum


def test_perfect_data_give_the_truth() -> None:
    fit = counts(MEAN, seed=None).bat.fit("powerlaw", response=RSP)
    assert fit.bat.kind == "fit"
    np.testing.assert_allclose(fit["value"], TRUTH, rtol=1e-5)
    assert fit["statistic"].item() < 1e-8
    assert fit["dof"].item() == 28
    assert bool(fit["converged"])
    assert fit.attrs["message"] == ""
    np.testing.assert_allclose(fit["bin_model"], fit["bin_rate"], rtol=1e-5)


def test_same_as_scipy() -> None:
    """Minimum, and ends of intervals, of another minimiser of the same statistic."""
    spectrum = counts(MEAN)
    fit = spectrum.bat.fit("powerlaw", response=RSP)
    observed = spectrum["counts"].values

    def statistic(index: float, norm: float) -> float:
        mean = expected("powerlaw", [index, 1.0, norm])
        return 2 * np.sum(mean - observed + observed * np.log(np.maximum(observed, 1e-300) / mean))

    def profile(index: float) -> float:
        return optimize.minimize_scalar(lambda log: statistic(index, np.exp(log)), bracket=(1.0, 2.0)).fun

    best = optimize.minimize_scalar(profile, bounds=(1.0, 3.0), method="bounded", options={"xatol": 1e-8})
    index = fit.sel(parameter="index")
    assert index["value"].item() == pytest.approx(best.x, abs=1e-5)
    assert fit["statistic"].item() == pytest.approx(best.fun, abs=1e-6)
    low, high = (
        optimize.brentq(lambda x: profile(x) - best.fun - 1.0, *bracket)
        for bracket in ((best.x - 0.5, best.x), (best.x, best.x + 0.5))
    )
    assert index["value"].item() - index["error_low"].item() == pytest.approx(low, abs=1e-4)
    assert index["value"].item() + index["error_high"].item() == pytest.approx(high, abs=1e-4)


def test_flux_intervals_are_those_of_cflux() -> None:
    """A multiplier finds the same ends as fitting the flux itself."""
    spectrum = counts(MEAN / 20)
    plain = spectrum.bat.fit("powerlaw", response=RSP, flux=(15, 150))
    direct = spectrum.bat.fit("eflux*powerlaw", response=RSP).sel(parameter="flux")
    assert plain["flux"].item() == pytest.approx(direct["value"].item(), rel=1e-5)
    assert plain["flux_err"].item() == pytest.approx(direct["error"].item(), rel=2e-2)
    assert plain["flux_low"].item() == pytest.approx((direct["value"] - direct["error_low"]).item(), rel=1e-3)
    assert plain["flux_high"].item() == pytest.approx(
        (direct["value"] + direct["error_high"]).item(), rel=1e-3
    )


def test_parameters_many_powers_of_ten_apart() -> None:
    """A flux of 1e-8 and an index of 2 have the errors that they have in any unit."""
    spectrum = counts(MEAN)
    linear, log = (spectrum.bat.fit(f"{name}*powerlaw", response=RSP) for name in ("eflux", "cflux"))
    index = [fit["error"].sel(parameter="index").item() for fit in (linear, log)]
    assert index[0] == pytest.approx(index[1], rel=1e-3)
    part = linear["error"].sel(parameter="flux").item() / linear["value"].sel(parameter="flux").item()
    assert part == pytest.approx(np.log(10) * log["error"].sel(parameter="log_flux").item(), rel=1e-2)


def test_photon_flux_at_a_pivot() -> None:
    fit = counts(MEAN).bat.fit("powerlaw", response=RSP, parameters={"pivot": 50.0})
    plain = counts(MEAN).bat.fit("powerlaw", response=RSP)
    index, norm = (plain["value"].sel(parameter=name).item() for name in ("index", "norm"))
    assert fit["value"].sel(parameter="norm").item() == pytest.approx(norm * 50.0**-index, rel=1e-4)
    errors = [fit["error"].sel(parameter="norm").item() / fit["value"].sel(parameter="norm").item()]
    assert errors[0] < plain["error"].sel(parameter="norm").item() / norm / 3  # it is better known there


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("cutoffpl", [1.0, 60.0, 1.0, 1.0]),
        ("peakpl", [1.0, 60.0, 1.0, 1.0]),
        ("band", [-0.8, -2.6, 50.0, 0.05]),
        ("bbody", [12.0, 1.0]),
        ("bremss", [40.0, 1.0]),
        ("logpar", [1.2, 0.5, 50.0, 0.02]),
    ],
)
def test_every_spectrum_is_recovered(model: str, values: list[float]) -> None:
    mean = expected(model, values, exposure=1e3)
    fit = counts(mean, seed=None, exposure=1e3).bat.fit(model, response=RSP, errors="covariance")
    assert bool(fit["converged"])
    np.testing.assert_allclose(fit["value"], values, rtol=2e-3)


def test_python_function_as_model() -> None:
    def broken(energy, index=1.0, extra=0.5, scale=1.0):  # type: ignore[no-untyped-def]
        return scale * np.where(energy < 50, (energy / 50) ** -index, (energy / 50) ** -(index + extra))

    plain = counts(MEAN).bat.fit("powerlaw", response=RSP)
    fit = counts(MEAN).bat.fit(broken, response=RSP, parameters={"extra": {"value": 0.0, "frozen": True}})
    assert fit["statistic"].item() == pytest.approx(plain["statistic"].item(), abs=1e-5)
    both = batx.spectral_model("constant") * batx.spectral_model(broken)
    assert both.names == ["factor", "index", "extra", "scale"]


def test_sum_of_two_spectra() -> None:
    mean = expected("bbody+powerlaw", [8.0, 3.0, 1.5, 1.0, 2.0], exposure=1e3)
    fit = counts(mean, seed=None, exposure=1e3).bat.fit("bbody+powerlaw", response=RSP, errors="covariance")
    np.testing.assert_allclose(fit["value"], [8.0, 3.0, 1.5, 1.0, 2.0], rtol=1e-2)


def test_gaussian_rates_and_their_counts_agree() -> None:
    """Chi-square of rates with the errors of counts is that of the counts."""
    spectrum = counts(MEAN)
    observed = spectrum["counts"].values
    as_rate = rates(observed, np.sqrt(observed), seed=None)
    one = spectrum.bat.fit("powerlaw", response=RSP, statistic="chi2")
    two = as_rate.bat.fit("powerlaw", response=RSP)
    xr.testing.assert_allclose(one["value"], two["value"])
    assert two.attrs["fit_statistic"] == "chi2"


def test_area_and_exposure_scale_the_norm() -> None:
    plain = counts(MEAN).bat.fit("powerlaw", response=RSP, errors="covariance")
    doubled = counts(MEAN, areascal=2.0).bat.fit("powerlaw", response=RSP, errors="covariance")
    longer = counts(MEAN, exposure=20.0).bat.fit("powerlaw", response=RSP, errors="covariance")
    norm = plain["value"].sel(parameter="norm").item()
    for fit in (doubled, longer):
        assert fit["value"].sel(parameter="norm").item() == pytest.approx(norm / 2, rel=1e-5)


@pytest.mark.parametrize(("energy", "kept"), [
    (None, (0, 30)), ((15.0, 150.0), (0, 29)), ((14.0, 151.0), (0, 30)), ((16.0, 100.0), (1, 24)),
])  # fmt: skip
def test_energies_select_as_ignore_does(energy: tuple[float, float] | None, kept: tuple[int, int]) -> None:
    """A bin that contains or ends at a limit is left out; an upper one at the end drops the last bin."""
    fit = counts(MEAN).bat.fit("powerlaw", response=RSP, energy=energy, errors="covariance")
    bounds = RSP["energy_bnds"].values[slice(*kept)]
    np.testing.assert_array_equal(fit["bin_energy_bnds"], bounds)


def test_quality_and_grouping() -> None:
    grouping = np.where(np.arange(30) % 3 == 0, 1, -1)
    quality = np.zeros(30, np.int64)
    quality[4], quality[10] = 1, 2
    spectrum = counts(MEAN).assign(grouping=("channel", grouping), quality=("channel", quality))
    strict = spectrum.bat.fit("powerlaw", response=RSP, errors="covariance")
    loose = spectrum.bat.fit("powerlaw", response=RSP, errors="covariance", ignore_bad=False)
    assert loose.sizes["bin"] == 10
    assert strict.sizes["bin"] == 9  # the group of channel 10 is bad, that of channel 4 only lacks it
    total = counts(MEAN)["counts"].values.sum()
    assert loose["bin_rate"].sum().item() * 10 == pytest.approx(total - counts(MEAN)["counts"].values[4])


# ---------------------------------------------------------------- background, several spectra


def test_background_of_a_larger_region() -> None:
    level = np.full(30, 40.0)
    source = counts(MEAN + level, seed=3, backscal=0.1)
    behind = counts(level * 10, seed=4, backscal=1.0)
    fit = source.bat.fit("powerlaw", response=RSP, background=behind)
    assert fit.attrs["fit_statistic"] == "wstat"
    pull = (fit["value"] - TRUTH) / fit["error"]
    assert np.abs(pull.sel(parameter=["index", "norm"])).max() < 3
    same = source.bat.fit("powerlaw", response=RSP, background=behind, statistic="cstat")
    assert same.attrs["fit_statistic"] == "wstat"
    gauss = behind.assign(stat_err=("channel", np.sqrt(behind["counts"].values), {"units": "count"}))
    gauss.attrs["statistic"] = "gaussian"
    pg = source.bat.fit("powerlaw", response=RSP, background=gauss)
    assert pg.attrs["fit_statistic"] == "pgstat"
    np.testing.assert_allclose(pg["value"], fit["value"], rtol=2e-2)


def test_joint_fit_of_two() -> None:
    """The index of both, a norm for each."""
    one, two = counts(MEAN, seed=5), counts(3 * MEAN, seed=6)
    fit = batx.fit({"a": one, "b": two}, "powerlaw", response=RSP, untied=["norm"], flux=(15, 150))
    assert list(fit["parameter"].values) == ["index", "pivot", "norm[a]", "norm[b]"]
    assert fit["flux"].dims == ("spectrum",)
    assert (fit["flux"].sel(spectrum="b") / fit["flux"].sel(spectrum="a")).item() == pytest.approx(
        3, rel=0.05
    )
    assert fit["error"].sel(parameter="index") < one.bat.fit("powerlaw", response=RSP)["error"][0]
    assert fit["dof"].item() == 57
    tied = batx.fit([one, two], "powerlaw", response=RSP, untied=["norm"], tied={"norm[1]": "norm[0]"})
    plain = batx.fit([one, two], "powerlaw", response=RSP)
    assert tied["statistic"].item() == pytest.approx(plain["statistic"].item(), abs=1e-5)


def test_profiles_of_many_parameters() -> None:
    """Held at the ends of its interval, a parameter leaves the others a statistic that is higher by 1."""
    spectra = [counts((0.02 + 0.02 * i) * MEAN, seed=i) for i in range(7)]
    how = {"response": RSP, "untied": ["norm"]}
    fit = batx.fit(spectra, "powerlaw", **how)
    for name in ("index", "norm[0]", "norm[6]"):
        found = fit.sel(parameter=name)
        for end in (found["value"] - found["error_low"], found["value"] + found["error_high"]):
            held = {name: {"value": end.item(), "frozen": True}}
            other = batx.fit(spectra, "powerlaw", parameters=held, errors="covariance", **how)
            assert (other["statistic"] - fit["statistic"]).item() == pytest.approx(1.0, abs=0.01)


def test_each_spectrum_its_own() -> None:
    """Responses, statistics, energies by label or in order."""
    one, two = counts(MEAN, seed=5), counts(2 * MEAN, seed=6)
    fit = batx.fit(
        [one, two],
        "constant*powerlaw",
        response=[RSP, response(area=20.0)],
        statistic={"1": "chi2"},
        energy=[(20, 100), None],
        untied=["factor"],
        parameters={"factor[0]": {"value": 1.0, "frozen": True}},
    )
    assert fit.attrs["fit_statistic"] == "cstat+chi2"
    assert fit["value"].sel(parameter="factor[1]").item() == pytest.approx(1.0, abs=0.05)
    assert (fit["bin_spectrum"] == "0").sum() < 30


# ---------------------------------------------------------------- what else is asked of a fit


def test_contour_touches_the_intervals() -> None:
    """The extent of the contour at 1 is the interval of one parameter."""
    spectrum = counts(MEAN)
    fit = spectrum.bat.fit("powerlaw", response=RSP)
    index = fit.sel(parameter="index")
    best = fit["value"].sel(parameter="norm").item()
    grid = (index["value"].item() + np.linspace(-0.03, 0.03, 61), best * np.linspace(0.9, 1.1, 81))
    made = spectrum.bat.fit_contour("powerlaw", ("index", "norm"), grid=grid, response=RSP)
    assert made.dims == ("index", "norm")
    inside = made["index"].values[(made.min("norm") < 1.0).values]
    assert inside.min() == pytest.approx((index["value"] - index["error_low"]).item(), abs=0.0015)
    assert inside.max() == pytest.approx((index["value"] + index["error_high"]).item(), abs=0.0015)


def test_contour_fits_the_other_parameters() -> None:
    spectrum = counts(expected("cutoffpl", [1.0, 60.0, 1.0, 1.0]), seed=8)
    made = spectrum.bat.fit_contour("cutoffpl", ("index", "e_cut"), size=7, response=RSP)
    assert made.min().item() > -1e-3
    assert made.sel(index=made.attrs["best"][0], e_cut=made.attrs["best"][1], method="nearest").item() < 0.5


def test_contours_far_from_the_fit_are_those_of_fits_with_both_held() -> None:
    """Where the model vanishes at the norm of the point before, it is found again."""
    spectrum = counts(expected("powerlaw", [1.9, 1.0, 50.0]))
    grid = (np.array([1.4, 1.9, 2.4]), np.array([1.0, 5000.0]))
    how = {"response": RSP, "parameters": {"pivot": {"value": 1.0, "frozen": True}}}
    made = batx.fit_contour(spectrum, "cutoffpl", ("index", "e_cut"), grid=grid, **how)
    lowest = batx.fit(spectrum, "cutoffpl", errors="covariance", **how)["statistic"].item()
    for index, e_cut in ((1.4, 1.0), (1.9, 1.0), (2.4, 1.0), (2.4, 5000.0)):
        held = {
            name: {"value": value, "frozen": True} for name, value in (("index", index), ("e_cut", e_cut))
        }
        fixed = {"response": RSP, "parameters": {**how["parameters"], **held}, "errors": "covariance"}
        own = batx.fit(spectrum, "cutoffpl", **fixed)["statistic"].item()
        rise = made.sel(index=index, e_cut=e_cut).item()
        assert rise == pytest.approx(own - lowest, rel=1e-5, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        *({"grid": ([1.0, 2.0],)}, {"grid": (1.0, 2.0)}, {"grid": ("a", "b")}, {"grid": ([np.nan], [1.0])}),
        *({"grid": ([], [])}, {"grid": (np.ones((2, 2)), [1.0])}, {"size": 0}, {"size": 1}, {"size": "many"}),
        *({"pair": None}, {"pair": "index"}, {"pair": ("index",)}, {"pair": ("index", "index")}),
    ],
    ids=str,
)
def test_contours_that_cannot_be(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ModelError if name == "pair" else ValueRangeError):
        batx.fit_contour(counts(MEAN), "powerlaw", **{"pair": ("index", "norm"), **wrong}, response=RSP)


def test_goodness_tells_a_wrong_model() -> None:
    right = counts(MEAN, seed=9).bat.fit_goodness("powerlaw", simulations=100, seed=1, response=RSP)
    assert 0.02 < right["p_value"].item() <= 1
    assert abs(right["simulated"].mean().item() - 28) < 4
    assert right["failed"].item() == 0
    wrong = counts(expected("bbody", [12.0, 8.0])).bat.fit_goodness(
        "powerlaw", simulations=30, seed=1, response=RSP
    )
    assert wrong["p_value"].item() == pytest.approx(1 / 31)


@pytest.mark.slow
def test_comparison_of_models() -> None:
    spectrum = counts(expected("cutoffpl", [1.0, 60.0, 1.0, 30.0]), seed=8)
    made = spectrum.bat.compare_models(["powerlaw", "cutoffpl"], simulations=20, seed=2, response=RSP)
    cut = made.sel(model="cutoffpl")
    assert cut["improvement"].item() > 20
    assert cut["p_chi2"].item() == pytest.approx(stats.chi2.sf(cut["improvement"].item(), 1))
    assert cut["p_simulated"].item() == pytest.approx(1 / 21)
    assert made["aic"].values.argmin() == 1
    np.testing.assert_allclose(made["bic"] - made["statistic"], made["free"] * np.log(30))


def test_samples_have_the_width_of_the_errors() -> None:
    spectrum = counts(MEAN)
    fit = spectrum.bat.fit("powerlaw", response=RSP)
    drawn = spectrum.bat.fit_samples("powerlaw", draws=6000, seed=3, response=RSP)
    wanted = fit.sel(parameter=drawn["parameter"])
    np.testing.assert_allclose(drawn["value"].std("draw"), wanted["error"], rtol=0.15)
    np.testing.assert_array_less(np.abs(drawn["value"].mean("draw") - wanted["value"]), 0.4 * wanted["error"])
    assert 0.3 < drawn["acceptance"].item() < 0.9
    again = spectrum.bat.fit_samples("powerlaw", draws=100, seed=3, response=RSP)
    xr.testing.assert_equal(again["value"], drawn["value"][:100])


def test_tables() -> None:
    fit = counts(MEAN).bat.fit("cflux*powerlaw", response=RSP, flux=[(15, 150), (14, 195)])
    text = fit.bat.fit_table()
    assert "log_flux" in text and "flux 14-195 keV" in text and "(frozen)" in text
    assert r"\begin{tabular}" in fit.bat.fit_table("latex")
    assert r"keV$^{-1}$" in fit.bat.fit_table("latex")
    frame = fit.bat.fit_table("dataframe")
    assert frame.loc["index", "value"] == pytest.approx(fit["value"].sel(parameter="index").item())
    with pytest.raises(batx.BatxError, match="expected 'text'"):
        fit.bat.fit_table("html")


def test_result_is_stored_as_it_is(tmp_path: Path) -> None:
    fit = batx.fit([counts(MEAN), counts(MEAN, seed=2)], "powerlaw", response=RSP, untied=["norm"])
    fit.bat.to_netcdf(tmp_path / "fit.nc")
    xr.testing.assert_identical(batx.open_dataset(tmp_path / "fit.nc").load(), fit)
    assert json.loads(fit.attrs["inputs"])[1]["statistic"] == "cstat"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, mean in (("a", MEAN), ("b", 2 * MEAN)):
        counts(mean).bat.to_fits(folder / f"{name}.pha")
    RSP.bat.to_fits(folder / "r.rsp")
    return folder


def script(files: Path, spectra: object, model: str, format: str, **how: object) -> str:
    fit = batx.fit(spectra, model, response=files / "r.rsp", errors="covariance", **how)
    return fit.bat.to_script(files / "script", format, overwrite=True).read_text()


def test_commands_of_xspec(files: Path) -> None:
    """A pivot goes into the norm, a peak into the e-folding energy."""
    fit = batx.fit(files / "a.pha", "powerlaw", response=files / "r.rsp", parameters={"pivot": 50.0})
    text = fit.bat.to_script(files / "one.xcm").read_text()
    index, norm = (fit["value"].sel(parameter=name).item() for name in ("index", "norm"))
    values = [float(part.split(",")[0]) for part in text.splitlines()[-1].split("&")[1:]]
    np.testing.assert_allclose(values, [index, norm * 50.0**index])
    assert f"data 1:1 {files / 'a.pha'}" in text and "statistic cstat 1" in text
    text = script(files, files / "a.pha", "cflux*peakpl", "xspec", energy=(20, 100))
    assert "ignore 1:**-20.0 100.0-**" in text and "model cflux(cutoffpl)" in text
    joint = script(files, [files / "a.pha", files / "b.pha"], "constant*powerlaw", "xspec", untied=["factor"],
                   parameters={"factor[0]": {"value": 1.0, "frozen": True}})  # fmt: skip
    assert joint.splitlines()[-1].split(" & ")[-2:] == ["=p2", "=p3"]
    order = [line.split()[0] for line in joint.splitlines()]
    assert order == ["data", "response", "response", "ignore", "statistic", "statistic", "model"]


def test_commands_of_xspec_carry_what_would_change_the_fit(files: Path) -> None:
    """Limits (those of XSPEC end cutoffpl at 500 keV), links of headers that were not used, bad channels."""
    wide = {"e_cut": {"value": 800.0, "frozen": True}}
    text = script(files, files / "a.pha", "cutoffpl", "xspec", parameters=wide, ignore_bad=False)
    part = text.splitlines()[-1].split(" & ")[2].split(",")
    assert part[:2] == ["800.0", "-8"] and float(part[2]) == 1.0 and float(part[5]) == 1e5
    assert "ignore" not in text
    linked = counts(MEAN).assign_attrs(backfile="b.pha", ancrfile="gone.arf")
    linked.bat.to_fits(files / "linked.pha", overwrite=True)
    text = script(files, files / "linked.pha", "powerlaw", "xspec", background=False)
    assert "backgrnd 1 none" in text and "arf 1 none" in text
    text = script(files, files / "linked.pha", "powerlaw", "xspec", background=files / "b.pha")
    assert f"backgrnd 1 {files / 'b.pha'}" in text


@pytest.mark.filterwarnings("ignore:.*do not determine")  # a background that is stronger than the source
def test_commands_that_would_mean_something_else(files: Path) -> None:
    odd = files / "an odd name.pha"
    odd.write_bytes((files / "a.pha").read_bytes())
    with pytest.raises(batx.BatxError, match=r"does not read .* as the name of a file"):
        script(files, odd, "powerlaw", "xspec")
    both = [files / "a.pha", files / "b.pha"]
    for format in ("xspec", "sherpa"):
        with pytest.raises(batx.BatxError, match="differs from spectrum to spectrum"):
            script(files, both, "powerlaw", format, untied=["index"], parameters={"pivot": 50.0})
    for format in ("sherpa", "3ml"):
        with pytest.raises(batx.BatxError, match="no error of the model"):
            script(files, files / "a.pha", "powerlaw", format, statistic="chi2", model_error=0.02)
    text = script(files, files / "a.pha", "powerlaw", "sherpa", statistic="chi2", background=files / "b.pha")
    assert "use_errors=True" in text and "ui.subtract(1)" in text


def test_scripts_of_other_programs(files: Path) -> None:
    """What is written is Python; neither program is here to run it."""
    both = [files / "a.pha", files / "b.pha"]
    sherpa = script(
        files, both, "tbabs*powerlaw", "sherpa", parameters={"nh": {"value": 0.1, "frozen": True}}
    )
    threeml = script(files, both, "powerlaw+bbody", "3ml", energy=(20, 100))
    for text in (sherpa, threeml):
        ast.parse(text)
    assert "ui.link(c2_1.PhoIndex, c1_1.PhoIndex)" in sherpa and "set_xsabund('wilm')" in sherpa
    assert "f0 = Powerlaw()" in threeml and "spectral_shape=f0+f1" in threeml


def test_scripts_that_cannot_be(files: Path) -> None:
    with pytest.raises(batx.BatxError, match="came from no file"):
        counts(MEAN).bat.fit("powerlaw", response=RSP).bat.to_script(files / "x.xcm")
    with pytest.raises(batx.BatxError, match="no counterpart"):
        script(files, files / "a.pha", "bremss", "3ml")
    with pytest.raises(batx.BatxError, match="expected one of"):
        script(files, files / "a.pha", "powerlaw", "isis")
    with pytest.raises(batx.BatxError, match="fit without untied="):
        script(files, [files / "a.pha", files / "b.pha"], "powerlaw", "3ml", untied=["norm"])


# ---------------------------------------------------------------- bad input


def bad(match: str, spectrum: xr.Dataset | None = None, model: str = "powerlaw", **how: object) -> None:
    with pytest.raises(batx.BatxError, match=match):
        (counts(MEAN) if spectrum is None else spectrum).bat.fit(model, **{"response": RSP, **how})


def test_refusals_of_spectra() -> None:
    bad("30 channels, the response 10", response=RSP.isel(channel=slice(0, 10)))
    bad("names no response", response=None)
    bad("not in .*; put it there", counts(MEAN, respfile="absent.rsp"), response=None)
    bad("all 30 channels .* are bad", counts(MEAN).assign(quality=("channel", np.ones(30, np.int64))))
    bad("no channel of spectrum '0' is left", energy=(500, 600))
    bad("exposure of 0 s", counts(MEAN, exposure=0.0))
    bad("error of zero", rates(MEAN, np.zeros(30), seed=None))
    bad("not finite", counts(np.where(np.arange(30) == 3, np.nan, MEAN), seed=None))
    bad("take one of them", counts(MEAN).expand_dims(time=2))
    bad("30 channels, its background 10", background=counts(MEAN[:10]))
    bad("expected lower < upper", energy=(100, 20))


def test_zero_errors_as_xspec_takes_them() -> None:
    fit = rates(MEAN, np.zeros(30), seed=None).bat.fit("powerlaw", response=RSP, compat="xspec")
    np.testing.assert_allclose(fit["value"], TRUTH, rtol=1e-4)


def test_refusals_of_models() -> None:
    bad("there is no component 'gauss'", model="gauss")
    bad("product has factors and one spectrum", model="powerlaw*bbody")
    bad("is a factor and no spectrum", model="constant")
    bad("stands in a sum", model="constant+powerlaw")
    bad("before the spectrum", model="powerlaw*cflux")
    bad("expected names of components", model="powerlaw**2")
    bad("expected names of components", model="(lambda: 0)()")
    bad("no parameter is called 'gamma'", parameters={"gamma": 2})
    bad("lies outside its limits", parameters={"index": 50.0})
    bad("between 0 and inf", model="bbody", parameters={"kt": {"min": -1.0}})
    bad("between -inf and 2", model="peakpl", parameters={"index": {"max": 3.0}})
    bad("two increasing limits", parameters={"index": {"min": 3, "max": 1}})
    bad("expected frozen, max, min, value", parameters={"index": {"start": 1}})
    bad("expected 0 < lower < upper", model="cflux*powerlaw", parameters={"emin": 200.0})
    with pytest.raises(batx.BatxError, match="tied to itself"):
        batx.fit(
            [counts(MEAN)] * 2, "powerlaw", response=RSP, untied=["norm"],
            tied={"norm[1]": "norm[0]", "norm[0]": "norm[1]"},
        )  # fmt: skip
    with pytest.raises(batx.BatxError, match="several parameters are called 'norm'"):
        counts(MEAN).bat.fit("bbody+powerlaw", response=RSP, parameters={"norm": 1})


def test_refusals_of_keywords() -> None:
    bad("expected 'profile' or 'covariance'", errors="minos")
    bad("expected 'auto' or one of", statistic="chisq")
    bad("above 0", delta=0.0)
    bad("a list of them", flux=(150, 15))
    bad("None or 'xspec'", compat="heasoft")
    bad("fraction of the model", model_error=-1.0)
    with pytest.raises(TypeError, match="unknown keyword 'energies'"):
        counts(MEAN).bat.fit_goodness("powerlaw", energies=(15, 150))


def test_poisson_statistic_of_rates_is_warned_of() -> None:
    with pytest.warns(batx.BatxWarning, match="use statistic='chi2'"):
        rates(MEAN, np.sqrt(MEAN)).bat.fit("powerlaw", response=RSP, statistic="cstat")


def test_more_parameters_than_bins_are_warned_of() -> None:
    with pytest.warns(batx.BatxWarning, match="freeze some|singular"):
        counts(MEAN).bat.fit("bbody+bremss+powerlaw", response=RSP, energy=(17, 23), errors="covariance")


def test_undetermined_parameters_are_said() -> None:
    """Two norms of the same shape: the fit cannot tell them apart."""
    with pytest.warns(batx.BatxWarning, match="message"):
        fit = counts(MEAN).bat.fit(
            "powerlaw+powerlaw",
            response=RSP,
            parameters={
                name: {"value": 1.7, "frozen": True} for name in ("powerlaw1.index", "powerlaw2.index")
            },
        )
    assert not bool(fit["converged"])
    assert fit.attrs["message"]
    assert "WARNING" in fit.bat.fit_table()


def test_cut_off_beyond_the_band_is_said() -> None:
    """The cut-off of a power law has no upper end."""
    fit = counts(MEAN, seed=12).bat.fit("cutoffpl", response=RSP)
    assert "e_cut" in fit.attrs["message"]
    assert np.isnan(fit["error_high"].sel(parameter="e_cut").item())


def test_no_signal_has_an_open_end() -> None:
    empty = rates(np.zeros(30), np.full(30, 3.0), seed=21)
    fit = empty.bat.fit("powerlaw", response=RSP, parameters={"index": {"value": 2.0, "frozen": True}})
    norm = fit.sel(parameter="norm")
    assert norm["value"].item() - norm["error"].item() < 0.0
    assert np.isnan(norm["error_low"].item()) and norm["error_high"].item() > 0
    assert "norm: low end at the limit 0" in fit.attrs["message"]


# ---------------------------------------------------------------- calibration


@pytest.mark.slow
@pytest.mark.parametrize("poisson", [True, False])
def test_pulls_have_width_one(poisson: bool) -> None:
    """The full runs are in benchmarks/fit_calibration.py."""
    spectrum = counts(MEAN, seed=None) if poisson else rates(MEAN, np.sqrt(MEAN), seed=None)
    problem = problem_of(spectrum, "powerlaw", Settings(response=RSP))
    truth = np.array(TRUTH)
    rng = np.random.default_rng(31)
    pulls = []
    for _ in range(300):
        found, _ = problem.simulated(truth, rng).minimise(truth)
        pulls.append((found.values - truth)[problem.free] / np.sqrt(np.diag(found.covariance))[problem.free])
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.12)
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0.0, atol=0.2)


def test_no_warning_of_a_good_fit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts(MEAN).bat.fit("powerlaw", response=RSP)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cutoffpl", "peakpl", "bbody", "bremss"])
def test_no_fit_is_worse_than_the_truth(model: str) -> None:
    """Spectra of 10 to 160 sigma in the response of BAT: the minimum is found and said to be."""
    answer = batx.response(imx=0.0, imy=0.0)
    edges = np.append(answer["energy_in_bnds"].values[:, 0], answer["energy_in_bnds"].values[-1, 1])
    made = batx.spectral_model(model)
    rng = np.random.default_rng(5)
    settings = {"pivot": 50.0} if "pivot" in made.names else {}
    for _ in range(12):
        truth = {
            "index": rng.uniform(0.0, 1.8),
            "e_cut": rng.uniform(20, 300),
            "e_peak": rng.uniform(20, 300),
            "kt": rng.uniform(10, 40),
            "pivot": 50.0,
            "norm": 1.0,
        }
        values = np.array([truth[name] for name in made.names])
        counted = made.photons(Bins(edges), values) @ answer["matrix"].values
        values[-1] = 10 ** rng.uniform(1, 2.2) * np.sqrt(58) / counted[4:62].sum()
        spectrum = rates(counted * values[-1], np.ones(80), seed=int(rng.integers(1000)), exposure=1.0)
        problem = problem_of(spectrum, model, Settings(answer, energy=(15, 150), parameters=settings))
        found, _ = problem.minimise()
        assert found.converged, found.message
        assert found.statistic < problem.statistic(values) + 1e-3
