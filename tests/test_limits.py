"""Limits of a flux: formulae, coverage, the peer's factor; significances; bad input."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from makers import lightcurve
from scipy.stats import norm, poisson

import batx
from batx.errors import BatxWarning, KindError, ModelError, ValueRangeError
from batx.kernels.limits import best_amplitude, credible_limit, li_ma, over_gaussian, profile_limit
from batx.schema import build

EDGES = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0], [100.0, 150.0]])
N = len(EDGES)
AREA = np.array([0.1, 0.15, 0.12, 0.06])


def response() -> xr.Dataset:
    """A channel for each energy bin."""
    values = {
        "energy_in": EDGES.mean(axis=1),
        "energy_in_bnds": EDGES,
        "channel": np.arange(N),
        "energy_bnds": EDGES,
        "matrix": (("energy_in", "channel"), np.diag(AREA), {"units": "cm**2"}),
    }
    return build("response", values)


def weighted(rate: np.ndarray, error: np.ndarray, exposure: float = 100.0, **attrs: object) -> xr.Dataset:
    values = {
        "channel": np.arange(N),
        "energy": EDGES.mean(axis=1),
        "energy_bnds": EDGES,
        "rate": np.asarray(rate, float),
        "stat_err": np.asarray(error, float),
        "exposure": ((), exposure),
    }
    return build("spectrum", values, {"statistic": "gaussian", "weighting": "mask", **attrs})


def counted(counts: np.ndarray, exposure: float = 100.0) -> xr.Dataset:
    values = {
        "channel": np.arange(N),
        "energy": EDGES.mean(axis=1),
        "energy_bnds": EDGES,
        "counts": np.asarray(counts),
        "exposure": ((), exposure),
    }
    return build("spectrum", values, {"statistic": "poisson", "weighting": "none"})


def power_law(index: float) -> np.ndarray:
    """Rates of a power law with a norm of 1."""
    low, high = EDGES.T
    photons = np.log(high / low) if index == 1 else (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    return photons * AREA


def energy_flux(index: float) -> float:
    """erg/cm**2/s of a power law with a norm of 1, 15-150 keV."""
    return (
        (150 ** (2 - index) - 15 ** (2 - index)) / (2 - index) if index != 2 else np.log(10)
    ) * 1.602176634e-9


ERROR = np.array([0.02, 0.01, 0.015, 0.03])


@pytest.mark.parametrize("index", [1.0, 1.5, 2.0])
def test_rate_limit_is_its_definition(index):
    made = batx.upper_limit(
        weighted([0.5, -0.1, 0, 0.3], ERROR), index=index, sigma=5, method="rate", response=response()
    )
    band = 5 * np.sqrt(np.sum(ERROR**2))
    assert float(made.rate_limit) == pytest.approx(band, rel=1e-9)
    wanted = band / power_law(index).sum() * energy_flux(index)
    assert float(made.flux_limit) == pytest.approx(wanted, rel=1e-6)
    assert made.bat.kind == "limit"
    assert made.bat.check() == []


def test_gaussian_limits_are_those_of_the_matched_rate():
    rng = np.random.default_rng(1)
    shape = power_law(2.0)
    for amplitude in (0.0, 0.05, 0.5):
        rate = amplitude * shape + rng.normal(0, ERROR)
        weight = shape**2 / ERROR**2
        best, error = np.sum(rate * shape / ERROR**2) / weight.sum(), weight.sum() ** -0.5
        profile = batx.upper_limit(weighted(rate, ERROR), method="profile", response=response())
        assert float(profile.flux_limit) == pytest.approx((best + 3 * error) * energy_flux(2), rel=1e-5)
        assert float(profile.flux) == pytest.approx(best * energy_flux(2), rel=1e-4, abs=1e-14)
        assert float(profile.flux_err) == pytest.approx(error * energy_flux(2), rel=1e-4)
        assert float(profile.snr) == pytest.approx(best / error, rel=1e-4, abs=1e-4)
        bayesian = batx.upper_limit(weighted(rate, ERROR), response=response())
        beyond = norm.logsf(3) + norm.logcdf(best / error)
        wanted = best - error * norm.ppf(np.exp(beyond))
        assert float(bayesian.flux_limit) == pytest.approx(wanted * energy_flux(2), rel=2e-4)


def test_templates_and_bands():
    spectrum = weighted([0, 0, 0, 0], ERROR)
    made = batx.upper_limit(spectrum, template=["soft", "normal", "hard", 1.7], response=response())
    assert made.template.values.tolist() == ["soft", "normal", "hard", "1.7"]
    # harder sources than the soft one give fewer counts for their energy
    assert (made.flux_limit[1:] > made.flux_limit[0]).all()
    narrow = batx.upper_limit(spectrum, index=2.0, flux=(15, 50), response=response())
    wide = batx.upper_limit(spectrum, index=2.0, flux=(15, 150), response=response())
    ratio = float(narrow.flux_limit / wide.flux_limit)
    assert ratio == pytest.approx(np.log(50 / 15) / np.log(10), rel=1e-6)
    assert (narrow.attrs["emin"], narrow.attrs["emax"]) == (15, 50)
    same = batx.upper_limit(spectrum, model="powerlaw", parameters={"index": 2.0}, response=response())
    assert float(same.flux_limit) == pytest.approx(float(wide.flux_limit), rel=1e-9)


def test_against_time():
    one = weighted([0.1, 0.1, 0, 0], ERROR)
    other = weighted([0, 0, 0, 0], 2 * ERROR)
    both = xr.concat([one, other], xr.Variable("time", [5.0, 15.0], {"units": "s"}), data_vars="all")
    both = both.assign_coords(time_bnds=(("time", "bnds"), [[0.0, 10.0], [10.0, 20.0]], {"units": "s"}))
    both["energy_bnds"] = one.energy_bnds
    made = batx.upper_limit(both, response=response())
    singles = [float(batx.upper_limit(entry, response=response()).flux_limit) for entry in (one, other)]
    np.testing.assert_allclose(made.flux_limit, singles)
    assert batx.significance(both, response=response()).snr.dims == ("time",)


def test_peers_limit_is_root_n_brighter():
    """Every channel at five times its error at once: √n for equal channels of the shape of the source."""
    error = np.full(N, 0.01)
    flat = response()
    flat["matrix"].values[:] = np.diag(0.1 / power_law(2.0) * AREA)
    spectrum = weighted(np.zeros(N), error)
    with pytest.warns(BatxWarning):
        peer = batx.upper_limit(spectrum, sigma=5, compat="batanalysis", response=flat, flux=(15, 150))
    own = batx.upper_limit(spectrum, sigma=5, method="rate", response=flat, flux=(15, 150))
    assert float(peer.flux_limit / own.flux_limit) == pytest.approx(np.sqrt(N), rel=2e-3)


def test_sensitivity_against_coding_and_exposure():
    spectrum = weighted(np.zeros(N), ERROR, pcodefr=0.5)
    made = batx.sensitivity(spectrum, [1.0, 0.5, 0.125], exposure=400.0, response=response())
    own = batx.upper_limit(spectrum, sigma=5, method="rate", response=response())
    np.testing.assert_allclose(
        made.flux_limit / float(own.flux_limit), np.sqrt(0.5 / np.array([1, 0.5, 0.125]) / 4), rtol=1e-9
    )
    assert made.bat.check() == []


# --- kernels -----------------------------------------------------------------------------------------------


def test_best_amplitude_is_found_from_far():
    for where in (-40.0, 0.3, 500.0):
        found = best_amplitude(lambda value, where=where: (value - where) ** 2, 0.5, 1.0)
        assert found == pytest.approx(where, abs=1e-3)


def test_profile_limit_covers():
    rng = np.random.default_rng(3)
    best = rng.normal(1.0, 1.0, 4000)
    limits = [profile_limit(lambda a, b=b: (a - b) ** 2, b, 1.0, 1.2816) for b in best[:800]]
    assert np.mean(np.array(limits) > 1.0) == pytest.approx(0.9, abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "low", "high"), [(0.0, 1.0, 1.0), (4.0, 0.9, 0.98), (80.0, 0.87, 0.93)])
def test_credible_limit_covers(truth, low, high):
    """As asked for bright sources, more for those that are faint compared with the noise."""

    def statistic(amplitude: float, n: int) -> float:
        return 2 * (amplitude + 3.0 - n * np.log(amplitude + 3.0))

    counts = np.random.default_rng(4).poisson(truth + 3.0, 700)
    found = {
        n: credible_limit(lambda a, n=n: statistic(a, n), max(n - 3.0, 0.0), max(n, 3) ** 0.5, 0.9)
        for n in np.unique(counts)
    }
    assert low <= np.mean([found[n] > truth for n in counts]) <= high


def test_credible_limit_of_counts_without_background():
    """The posterior of a Poisson mean is a gamma distribution."""
    for n in (0, 3, 20):
        found = credible_limit(
            lambda a, n=n: 2 * (a - n * np.log(max(a, 1e-300))) if n else 2 * a,
            float(n),
            max(n, 1.0) ** 0.5,
            0.95,
        )
        assert poisson.cdf(n, found) == pytest.approx(0.05, abs=2e-4)


def test_li_ma():
    assert li_ma(140, 200, 0.5) == pytest.approx(3.017, abs=1e-3)
    assert li_ma(60, 200, 0.5) < 0
    assert li_ma(100, 200, 0.5) == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(5)
    values = [
        li_ma(on, off, 0.25) for on, off in zip(rng.poisson(50, 4000), rng.poisson(200, 4000), strict=True)
    ]
    assert np.std(values) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("on", "mean", "sigma"), [(140, 100, 7.0), (60, 100, 7.0), (3, 0.5, 0.4), (0, 2, 0.5), (9, 4, 0)]
)
def test_counts_over_a_gaussian_background(on, mean, sigma):
    """The likelihood ratio, with the likeliest background found by brute force."""
    level = np.linspace(1e-4, 3 * max(on, mean), 400001) if sigma else np.array([float(mean)])
    poisson = 2 * (level - on + (on * np.log(on / level) if on else 0))
    worst = np.min(poisson + ((level - mean) / sigma) ** 2 if sigma else poisson)
    made = over_gaussian(on, mean, sigma)
    assert abs(made) == pytest.approx(np.sqrt(worst), rel=1e-4)
    assert np.sign(made) == np.sign(on - mean)


def test_significance_over_rates_of_a_background():
    on = counted([30, 40, 20, 10])
    off = weighted([0.2, 0.2, 0.1, 0.1], [0.01, 0.01, 0.01, 0.01])
    off = off.assign_attrs(weighting="none")
    made = batx.significance(on, (10, 200), background=off, response=response())
    assert float(made.snr) == pytest.approx(over_gaussian(100, 60, 2.0), rel=1e-6)


def test_significance():
    spectrum = weighted([0.1, 0.1, 0.1, 0.1], ERROR)
    made = batx.significance(spectrum, (10, 200), response=response())
    assert float(made.snr) == pytest.approx(0.4 / np.sqrt(np.sum(ERROR**2)))
    assert float(made.p_value) == pytest.approx(norm.sf(float(made.snr)))
    # systematic errors are no noise
    systematic = spectrum.assign(sys_err=("channel", np.full(N, 0.5), {"units": "1"}))
    again = batx.significance(systematic, (10, 200), response=response())
    assert float(again.snr) == pytest.approx(float(made.snr))
    on, off = counted([30, 40, 20, 10]), counted([50, 60, 40, 20], exposure=200.0)
    made = batx.significance(on, (10, 200), background=off, response=response())
    assert float(made.snr) == pytest.approx(li_ma(100, 170, 0.5), rel=1e-6)


def test_false_positives_as_claimed():
    rng = np.random.default_rng(6)
    snr = rng.normal(0, ERROR, (3000, N)).sum(axis=1) / np.sqrt(np.sum(ERROR**2))
    made = [
        float(batx.significance(weighted(row, ERROR), (10, 200), response=response()).p_value)
        for row in rng.normal(0, ERROR, (150, N))
    ]
    assert np.mean(np.array(made) < 0.2) == pytest.approx(0.2, abs=0.09)
    assert np.mean(norm.sf(snr) < 0.05) == pytest.approx(0.05, abs=0.013)


@pytest.mark.slow
def test_limits_of_counts_over_a_background_cover():
    rng = np.random.default_rng(7)
    shape = power_law(2.0)
    unit = energy_flux(2.0)
    for amplitude in (30.0, 90.0):
        covered = []
        for _ in range(150):
            on = counted(rng.poisson(100 * (amplitude * shape + 0.2)))
            off = counted(rng.poisson(400 * 0.2 * np.ones(N)), exposure=400.0)
            options = {"background": off, "response": response()}
            made = batx.upper_limit(on, sigma=1.2816, method="profile", **options)
            covered.append(float(made.flux_limit) > amplitude * unit)
        assert np.mean(covered) == pytest.approx(0.9, abs=0.075)


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sigma": 0}, ValueRangeError, "sigma"),
        ({"method": "guess"}, ValueRangeError, "method: found 'guess'"),
        ({"template": "medium"}, ValueRangeError, "template: found 'medium'"),
        ({"template": "soft", "index": 1.0}, ValueRangeError, "one choice"),
        ({"flux": (150, 15)}, ValueRangeError, "flux: found"),
        ({"compat": "xspec"}, ValueRangeError, "compat: found 'xspec'"),
        ({"ra": 10.0}, ValueRangeError, "give no position"),
        ({"model": "nonsense"}, ModelError, "nonsense"),
    ],
)
def test_bad_requests(arguments, error, message):
    with pytest.raises(error, match=message):
        batx.upper_limit(weighted(np.zeros(N), ERROR), response=response(), **arguments)


def test_bad_spectra():
    with pytest.raises(KindError):
        batx.upper_limit(lightcurve())
    with pytest.raises(ValueRangeError, match="no background"):
        batx.significance(counted([1, 2, 3, 4]), response=response())
    with pytest.raises(ValueRangeError, match="pcodefr"):
        batx.sensitivity(weighted(np.zeros(N), ERROR), 0.5, response=response())
    with pytest.raises(ValueRangeError, match="above 0"):
        batx.sensitivity(weighted(np.zeros(N), ERROR, pcodefr=1.0), 1.5, response=response())
