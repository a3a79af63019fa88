"""Hardness ratios: against closed forms and published definitions, intervals that hold, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from block_inputs import curve
from scipy import stats

import batx
from batx.errors import EmptySelectionError, KindError, RebinError, ValueRangeError
from batx.kernels.ratios import fieller, poisson_share

LEVELS = np.array([0.15866, 0.5, 0.84134])


# --- kernels -----------------------------------------------------------------------------------------------


def test_share_of_clean_counts_is_beta() -> None:
    soft, hard = np.array([0.0, 3.0, 40.0]), np.array([2.0, 0.0, 90.0])
    zero = np.zeros((2, 3))
    for prior in (0.5, 1.0):
        found = poisson_share(soft, hard, zero, zero, prior, LEVELS)
        expected = stats.beta(hard + prior, soft + prior).ppf(LEVELS[:, np.newaxis])
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_integration_meets_the_closed_form() -> None:
    """A background of almost nothing goes through the integral and gives the beta distribution."""
    soft, hard = np.array([0.0, 1.0, 3.0, 30.0, 1e3, 1e6]), np.array([0.0, 2.0, 0.0, 10.0, 3e3, 5e5])
    zero, tiny = np.zeros((2, 6)), np.full((2, 6), 1e-12)
    exact = poisson_share(soft, hard, zero, zero, 0.5, LEVELS)
    found = poisson_share(soft, hard, tiny, zero, 0.5, LEVELS)
    assert np.max(np.abs(found - exact) / (exact[2] - exact[0])) < 1e-3


def test_share_over_a_background_by_sampling() -> None:
    random = np.random.default_rng(0)
    n, counts, mean, error = 400_000, np.array([14.0, 9.0]), np.array([6.0, 4.0]), np.array([1.5, 0.0])
    # importance sampling of both posteriors: λ from a broad gamma distribution, weights of the likelihood
    drawn = []
    for k in range(2):
        intensity = random.gamma(0.5, 40.0, n)
        off = random.gamma((mean[k] / error[k]) ** 2, error[k] ** 2 / mean[k], n) if error[k] else mean[k]
        weight = stats.poisson.pmf(counts[k], intensity + off) * np.exp(intensity / 40.0)
        drawn.append(random.choice(intensity, n, p=weight / weight.sum()))
    expected = np.quantile(drawn[1] / (drawn[0] + drawn[1]), LEVELS)
    found = poisson_share(*counts[:, np.newaxis], mean[:, np.newaxis], error[:, np.newaxis], 0.5, LEVELS)
    np.testing.assert_allclose(found[:, 0], expected, atol=0.006)


def test_fieller_by_its_definition() -> None:
    a, b, va, vb, cov = 3.0, 8.0, 1.2, 1.5, 0.4
    _, low, high = (float(x) for x in fieller(*map(np.asarray, (a, b, va, vb, cov)), 1.0))
    for end in (low, high):
        assert (a - end * b) ** 2 == pytest.approx(va - 2 * end * cov + end**2 * vb)
    assert low < a / b < high
    _, low, high = fieller(*map(np.asarray, (3.0, 0.9, 1.0, 1.0, 0.0)), 1.0)
    assert (float(low), float(high)) == (-np.inf, np.inf)


# --- values ------------------------------------------------------------------------------------------------


def test_forms_agree() -> None:
    lc = curve([[30, 90], [4, 1]])
    share = {form: lc.bat.hardness(form=form) for form in ("difference", "ratio", "log")}
    for name in ("hardness", "hardness_low", "hardness_high"):
        difference, ratio, log = (share[form][name].values for form in ("difference", "ratio", "log"))
        np.testing.assert_allclose((ratio - 1) / (ratio + 1), difference, rtol=1e-9)
        np.testing.assert_allclose(10**log, ratio, rtol=1e-9)
    assert share["ratio"].hardness.values[0] == pytest.approx([3.0, 0.28], rel=0.05)
    assert share["difference"].attrs["hardness_form"] == "difference"


def test_many_counts_are_gaussian() -> None:
    lc = curve([[40_000, 90_000]])
    found = lc.bat.hardness(form="ratio")
    assert float(found.hardness.squeeze()) == pytest.approx(2.25, rel=1e-3)
    assert float(found.hardness_err.squeeze()) == pytest.approx(2.25 * np.sqrt(1 / 4e4 + 1 / 9e4), rel=1e-3)


def test_rates() -> None:
    lc = curve([[10.0, 30.0], [0.4, 0.2], [5.0, -8.0]], np.ones(3))
    found = lc.bat.hardness()
    value, low, high = (found[f"hardness{end}"].values[0] for end in ("", "_low", "_high"))
    np.testing.assert_allclose(value, [0.5, -1.0 / 3.0, 13.0 / 3.0], rtol=1e-12)
    assert low[0] < 0.5 < high[0]
    assert np.isinf([low[1], high[1]]).all()
    log = lc.bat.hardness(form="log")
    assert np.isnan(log.hardness.values[0, 2])


def test_backgrounds() -> None:
    random = np.random.default_rng(2)
    on = np.zeros((60, 2))
    on[25:35] = [40.0, 80.0]
    lc = curve(random.poisson(on + 50.0))
    by_line = lc.bat.hardness(background=True, interval=(25, 35), form="ratio")
    off = lc.assign(counts=0.0 * lc.counts + 50.0, counts_err=0.0 * lc.counts + 0.5)
    given = lc.bat.hardness(background=off, interval=(25, 35), form="ratio")
    np.testing.assert_allclose(by_line.hardness, given.hardness, atol=0.5)
    assert abs(np.log2(np.median(given.hardness))) - 1.0 < 0.3
    plain = lc.bat.hardness(interval=(25, 35), form="ratio")
    assert np.median(plain.hardness) < np.median(given.hardness)
    wide = lc.assign(counts=0.0 * lc.counts + 50.0, counts_err=0.0 * lc.counts + 15.0)
    assert np.all(
        lc.bat.hardness(background=wide, form="ratio").hardness_err[:, 30] > given.hardness_err[:, 5]
    )
    rates = curve(np.full((60, 2), 9.0), np.ones(60))
    shifted = rates.assign(rate=0.0 * rates.rate + 4.0, rate_err=0.0 * rates.rate)
    net = rates.bat.hardness(background=shifted)
    assert float(net.hardness_err[0, 0]) == pytest.approx(np.sqrt(2.0) / 10.0)


def test_selects_pairs_and_times() -> None:
    lc = curve(np.full((10, 3), 20))
    found = lc.bat.hardness([(0, 2)], interval=(2, 7))
    assert dict(found.sizes) == {"pair": 1, "time": 5, "bnds": 2}
    np.testing.assert_array_equal(found.time_bnds, lc.time_bnds[2:7])
    assert lc.bat.hardness().sizes["pair"] == 3
    empty = curve(np.full((10, 2), 20.0), np.append(np.ones(9), 0.0))
    assert np.isnan(empty.bat.hardness().hardness.values[0, -1])


@pytest.mark.slow
def test_intervals_hold_at_low_counts() -> None:
    """Intervals with the prior of Jeffreys hold 66 to 83 % from one count a band on, 65 to 71 % from ten."""
    random = np.random.default_rng(5)
    for soft, hard, low, high in (
        (1, 1, 0.66, 0.82),
        (3, 1, 0.66, 0.75),
        (10, 10, 0.65, 0.71),
        (30, 10, 0.65, 0.71),
    ):
        found = curve(random.poisson([soft, hard], (3000, 2))).bat.hardness()
        true = (hard - soft) / (hard + soft)
        held = float(np.mean((found.hardness_low < true) & (true < found.hardness_high)))
        assert low < held < high, (soft, hard)
    for soft, hard, off in ((10, 5, 10), (30, 30, 100)):
        counts = random.poisson([soft + off, hard + off], (150, 2))
        lc = curve(counts)
        expected = lc.assign(counts=0.0 * lc.counts + off)
        found = lc.bat.hardness(background=expected)
        true = (hard - soft) / (hard + soft)
        held = float(np.mean((found.hardness_low < true) & (true < found.hardness_high)))
        assert 0.58 < held < 0.84, (soft, hard, off)


def test_fieller_intervals_hold() -> None:
    random = np.random.default_rng(6)
    for soft, hard in ((5.0, 2.0), (20.0, 10.0), (1.0, 0.5)):
        values = np.array([soft, hard]) + random.normal(size=(8000, 2))
        for form, true in (("difference", (hard - soft) / (hard + soft)), ("ratio", hard / soft)):
            found = curve(values, np.ones(8000)).bat.hardness(form=form)
            held = float(np.mean((found.hardness_low < true) & (true < found.hardness_high)))
            assert held > 0.665, (soft, hard, form)
            if soft >= 5.0:
                assert held < 0.70, (soft, hard, form)


# --- bad input ---------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    lc = curve([[30, 90], [4, 1]])
    with pytest.raises(KindError, match="at least two"):
        lc.isel(energy=[0]).bat.hardness()
    with pytest.raises(EmptySelectionError, match="finite"):
        lc.assign(counts=lc.counts * np.nan).bat.hardness()
    with pytest.raises(ValueRangeError, match="negative counts"):
        lc.assign(counts=-lc.counts).bat.hardness()
    with pytest.raises(ValueRangeError, match="before bin"):
        lc.isel(time=[1, 0]).bat.hardness()
    with pytest.raises(ValueRangeError, match="exposure 0"):
        lc.assign(exposure=0.0 * lc.exposure).bat.hardness()
    with pytest.raises(EmptySelectionError, match="interval"):
        lc.bat.hardness(background=True)
    with pytest.raises(EmptySelectionError, match="at least 1"):
        lc.bat.hardness(interval=(10, 20))
    rates = curve([[3.0, 9.0]], [1.0])
    with pytest.raises(ValueRangeError, match="no error above 0"):
        rates.assign(rate_err=0.0 * rates.rate_err).bat.hardness()
    assert rates.bat.hardness().sizes["time"] == 1
    for wrong in ({"form": "hr"}, {"level": 1.0}, {"level": 68.3}, {"prior": 0.0}, {"prior": 3.0}):
        with pytest.raises(ValueRangeError, match=next(iter(wrong))):
            lc.bat.hardness(**wrong)


def test_bad_background() -> None:
    lc = curve([[30, 90], [4, 1]])
    with pytest.raises(RebinError, match="other bins"):
        lc.bat.hardness(background=curve([[30, 90], [4, 1]], width=2.0))
    with pytest.raises(RebinError, match="other bins"):
        lc.bat.hardness(background=lc.isel(energy=[0]))
    with pytest.raises(ValueRangeError, match="negative"):
        lc.bat.hardness(background=lc.assign(counts=-lc.counts))
    with pytest.raises(ValueRangeError, match="finite"):
        lc.bat.hardness(background=lc.assign(counts=np.nan * lc.counts))
    with pytest.raises(KindError, match="hardness works on"):
        lc.bat.hardness(background=xr.Dataset())


def test_picture() -> None:
    from matplotlib.figure import Figure

    lc = curve(np.random.default_rng(0).poisson(30.0, (20, 3)))
    found = lc.bat.rebin_time(factor=2).bat.hardness([(0, 1), (0, 2)])
    top, bottom = lc.bat.plot_hardness(found, Figure())
    assert len(top.get_legend().get_texts()) == 3
    assert len(bottom.get_legend().get_texts()) == 2
    with pytest.raises(KindError, match="plot_hardness"):
        lc.bat.plot_hardness(lc)


def test_public() -> None:
    assert batx.hardness.__name__ == "hardness"
