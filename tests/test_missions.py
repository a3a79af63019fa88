"""Spectra of bursts, surveys and other missions: real files fitted, many epochs jointly, sums, tables."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from scipy.special import erf

import batx
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.instrument.sky import NOMINAL_ALIGNMENT
from batx.schema import build

# --- bursts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "index", "error", "statistic"), [("ps", 1.92, 0.04, 40.6), ("as", 2.68, 0.15, 58.1)]
)
def test_burst_with_its_own_and_with_the_packaged_response(shared, part, index, error, statistic):
    path = shared / f"data/grb200528A/sw00974827000bev{part}.pha"
    own = batx.fit(path, "powerlaw", energy=(15, 150))
    found = own.sel(parameter="index")
    assert float(found.value) == pytest.approx(index, abs=0.005)
    assert float(found.error) == pytest.approx(error, abs=0.01)
    assert float(own.statistic) == pytest.approx(statistic, abs=0.1)
    assert int(own.dof) == 56
    spectrum = batx.open_dataset(path)
    packaged = spectrum.bat.fit("powerlaw", energy=(15, 150), response=spectrum.bat.response())
    assert float(packaged.sel(parameter="index").value) == pytest.approx(float(found.value), abs=0.005)
    assert float(packaged.flux / own.flux) == pytest.approx(1, abs=0.005)


def test_slew_with_the_mean_response_of_its_way(shared):
    """The spectrum of the slew has no response of its own; the attitude of the prefilter file gives one."""
    folder = shared / "data/grb200528A"
    attitude = batx.open_dataset(folder / "sw00974827000sao.fits")
    spectrum = batx.open_dataset(folder / "sw00974827000bevsl.pha")
    way = batx.field_position(attitude, 176.6439, 58.19214, alignment=NOMINAL_ALIGNMENT)
    mean = spectrum.bat.response(trace=way)
    before, after = (
        batx.open_dataset(folder / f"sw00974827000bev{part}.rsp").matrix.values for part in ("ps", "as")
    )
    row = 60
    low, high = np.sort([before[row].sum(), after[row].sum()])
    assert 0.97 * low < mean.matrix.values[row].sum() < 1.03 * high
    found = spectrum.bat.fit("powerlaw", energy=(15, 150), response=mean)
    index = float(found.sel(parameter="index").value)
    assert found.converged
    # the burst softens from 1.92 before to 2.68 after the slew
    assert 1.92 < index < 2.68
    assert float(found.statistic) < 90


# --- many epochs -------------------------------------------------------------------------------------------


def epochs(n: int, seed: int = 1) -> tuple[dict[str, xr.Dataset], dict[str, xr.Dataset], xr.Dataset]:
    """Spectra of counts of a black body and bremsstrahlung behind one absorber, with backgrounds."""
    rng = np.random.default_rng(seed)
    edges_in = np.geomspace(0.25, 10.5, 241)
    channels = np.linspace(0.3, 10.0, 98)
    middle_in = np.sqrt(edges_in[1:] * edges_in[:-1])
    width = 0.06 * np.sqrt(middle_in)
    cumulative = 0.5 * (1 + erf((channels - middle_in[:, None]) / (np.sqrt(2) * width[:, None])))
    matrix = 120 * np.exp(-((np.log(middle_in / 1.5)) ** 2) / 2)[:, None] * np.diff(cumulative, axis=1)
    response = build(
        "response",
        {
            "energy_in": middle_in,
            "energy_in_bnds": np.stack([edges_in[:-1], edges_in[1:]], axis=1),
            "channel": np.arange(97),
            "energy": 0.5 * (channels[1:] + channels[:-1]),
            "energy_bnds": np.stack([channels[:-1], channels[1:]], axis=1),
            "matrix": (("energy_in", "channel"), matrix, {"units": "cm**2"}),
        },
    )
    model = batx.spectral_model("tbabs*(bbody+bremss)")
    sources, backgrounds = {}, {}
    for number in range(n):
        chosen = np.array([0.5, 0.8 + 0.1 * number, 1e-3, 5.0, 0.08])
        photons = model.density(middle_in, chosen) * np.diff(edges_in)
        expected = photons @ matrix * 3000.0
        common = {"channel": np.arange(97), "quality": ("channel", np.zeros(97, np.int16))}
        bad = np.zeros(97, np.int16)
        bad[:2] = 1
        counts = rng.poisson(expected + 2.0)
        counts[:2] = 5000  # what the bad channels hold must not matter
        poisson = {"statistic": "poisson", "weighting": "none", "obs_id": f"0004099000{number}"}
        sources[f"e{number}"] = build(
            "spectrum", common | {"counts": counts, "exposure": ((), 3000.0), "quality": ("channel", bad)},
            poisson | {"backscal": 1.0},
        )  # fmt: skip
        backgrounds[f"e{number}"] = build(
            "spectrum", common | {"counts": rng.poisson(20.0, 97), "exposure": ((), 3000.0)},
            poisson | {"backscal": 10.0},
        )  # fmt: skip
    return sources, backgrounds, response


@pytest.mark.slow
def test_many_epochs_with_one_absorption():
    """``tbabs*(bbody+bremss)``: absorption shared, the rest free, C-statistic over backgrounds."""
    sources, backgrounds, response = epochs(4)
    model = batx.spectral_model("tbabs*(bbody+bremss)")
    free = [name for name in model.names if name != model.names[0]]
    found = batx.fit(
        sources,
        "tbabs*(bbody+bremss)",
        response=response,
        background=backgrounds,
        statistic="cstat",
        energy=(0.5, 8.0),
        untied=free,
        errors="covariance",
    )
    assert found.converged
    nh = found.sel(parameter=model.names[0])
    assert abs(float(nh.value) - 0.5) < 4 * float(nh.error)
    for number in range(4):
        kt = found.sel(parameter=f"{model.names[1]}[e{number}]")
        assert abs(float(kt.value) - (0.8 + 0.1 * number)) < 4 * float(kt.error)
    assert 0.8 < float(found.statistic / found.dof) < 1.2


def test_real_missions_open_and_fit(shared):
    """XRT with its own files; NuSTAR with files named otherwise; XMM grouped by 20 counts."""
    xrt = batx.fit(shared / "data/xrt/interval0pc.pi", "tbabs*powerlaw", energy=(0.5, 8), errors="covariance")
    assert xrt.converged
    assert 1 < float(xrt.sel(parameter="index").value) < 5
    folder = shared / "data/xmm"
    pn = batx.fit(
        folder / "PN_spectrum_grp20.fits",
        "tbabs*powerlaw",
        response=(str(folder / "PN.rmf.gz"), str(folder / "PN.arf")),
        background=folder / "PNbackground_spectrum.fits",
        energy=(0.5, 8),
        errors="covariance",
    )
    assert pn.converged
    table = batx.spectrum_table(
        [
            shared / "data/xrt/interval0pc.pi",
            shared / "data/nustar/nustar_pha.pha",
            folder / "PN_spectrum_grp20.fits",
        ],
        min_exposure=1e4,
    )
    assert table["obs_id"].tolist() == ["30501003002", "0693760101"]
    assert table["start_mjd"].iloc[0] == pytest.approx(58606.868, abs=0.01)
    assert table["start_mjd"].iloc[1] == pytest.approx(56061.1597, abs=1e-4)


def test_two_components_of_a_real_spectrum(shared):
    """The start decides: from most black bodies the fit ends without any, 211 higher."""
    folder = shared / "data/xmm"
    how = {"energy": (0.3, 10), "errors": "covariance"}
    free = batx.fit(folder / "PN_spectrum_grp20.fits", "tbabs*(bbody+powerlaw)", **how)
    assert free.converged
    assert float(free.statistic) == pytest.approx(129.02, abs=0.05)
    assert float(free.sel(parameter="kt").value) == pytest.approx(0.779, abs=0.01)
    near = batx.fit(
        folder / "PN_spectrum_grp20.fits", "tbabs*(bbody+powerlaw)", parameters={"kt": 0.7}, **how
    )
    np.testing.assert_allclose(free.value, near.value, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_sums_are_found_from_nothing(seed):
    """No fit of simulated counts ends higher than one that starts from the truth."""
    rng = np.random.default_rng(seed)
    _, _, response = epochs(1)
    low, high = response.energy_in_bnds.values.T
    model = batx.spectral_model("tbabs*(bbody+bremss)")
    truth = [10 ** rng.uniform(-2, 0.3), 10 ** rng.uniform(-1, 0.5), 1e-3, 10 ** rng.uniform(0, 1), 0.05]
    photons = model.density(0.5 * (low + high), np.array(truth)) * (high - low)
    drawn = rng.poisson(photons @ response.matrix.values * 3000.0)
    one = build(
        "spectrum",
        {"channel": np.arange(97), "counts": drawn, "exposure": ((), 3000.0)},
        {"statistic": "poisson", "weighting": "none"},
    )
    how = {"response": response, "energy": (0.4, 9), "errors": "covariance"}
    start = dict(zip(model.names, truth, strict=True))
    found, known = one.bat.fit(model, **how), one.bat.fit(model, parameters=start, **how)
    assert float(found.statistic) < float(known.statistic) + 0.1


# --- sums and tables ---------------------------------------------------------------------------------------


def test_sum_of_epochs_is_a_longer_one():
    sources, backgrounds, response = epochs(3)
    total = batx.combine_spectra(
        list(sources.values()), responses=[response] * 3, backgrounds=list(backgrounds.values())
    )
    summed = total["spectrum"].to_dataset()
    np.testing.assert_array_equal(summed.counts, sum(one.counts.values for one in sources.values()))
    assert float(summed.exposure) == 9000
    assert summed.quality.values[:2].tolist() == [1, 1]
    behind = total["background"].to_dataset()
    ratio = float(summed.exposure / behind.exposure) * summed.attrs["backscal"] / behind.attrs["backscal"]
    assert ratio == pytest.approx(0.1)
    np.testing.assert_allclose(total["response"].matrix, response.matrix)
    fitted = batx.fit(
        summed, "tbabs*(bbody+bremss)", response=total["response"].to_dataset(), background=behind,
        energy=(0.5, 8), errors="covariance",
    )  # fmt: skip
    assert fitted.converged


def test_sum_weighs_responses_and_backgrounds():
    sources, backgrounds, response = epochs(2)
    one, other = sources.values()
    longer = other.assign(exposure=((), 9000.0))
    behind = [backgrounds["e0"], backgrounds["e1"].assign_attrs(backscal=5.0)]
    total = batx.combine_spectra([one, longer], responses=[response, 3 * response], backgrounds=behind)
    np.testing.assert_allclose(total["response"].matrix, (0.25 + 0.75 * 3) * response.matrix)
    # what is subtracted has the sum of the single ones
    ratios = [3000 / 3000 / 10, 9000 / 3000 / 5]
    wanted = sum(r * float(entry.counts.sum()) for r, entry in zip(ratios, behind, strict=True))
    source, back = total["spectrum"].to_dataset(), total["background"].to_dataset()
    ratio = float(source.exposure / back.exposure) * source.attrs["backscal"] / back.attrs["backscal"]
    assert ratio * float(back.counts.sum()) == pytest.approx(wanted)


def test_files_of_a_sum(tmp_path):
    sources, backgrounds, response = epochs(2)
    total = batx.combine_spectra(
        list(sources.values()), responses=[response] * 2, backgrounds=list(backgrounds.values())
    )
    links = {"respfile": "sum.rsp", "backfile": "sum_bkg.pha"}
    batx.to_fits(total["response"].to_dataset(), tmp_path / "sum.rsp")
    batx.to_fits(total["background"].to_dataset(), tmp_path / "sum_bkg.pha")
    batx.to_fits(total["spectrum"].to_dataset().assign_attrs(links), tmp_path / "sum.pha")
    found = batx.fit(tmp_path / "sum.pha", "bremss", energy=(0.5, 8), errors="covariance")
    assert found.converged
    assert found.attrs["fit_statistic"] == "wstat"


def test_table():
    sources, _, _ = epochs(2)
    table = batx.spectrum_table(list(sources.values()))
    one = sources["e0"]
    good = one.counts.values[2:].sum()
    assert table["rate"][0] == pytest.approx(good / 3000)
    assert table["rate_err"][0] == pytest.approx(np.sqrt(good) / 3000)
    assert np.isnan(table["start_mjd"][0])


@pytest.mark.parametrize(
    ("dates", "starts"),
    [(("2012-05-14T03:49:58", "2012-05-14T15:34:28"), 56061.15970), (("26/05/98",) * 2, None)],
)
def test_times_of_a_spectrum_that_only_the_primary_header_has(tmp_path, dates, starts):
    """As of XMM-Newton; a table with times of its own keeps to these."""
    sources, _, _ = epochs(1)
    path = batx.to_fits(sources["e0"], tmp_path / "one.pha")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(zip(("DATE-OBS", "DATE-END"), dates, strict=True))
    assert batx.open_dataset(path).attrs["date_end"] == dates[1]
    row = batx.spectrum_table([path]).iloc[0]
    assert row["start_mjd"] == pytest.approx(starts, abs=1e-4) if starts else np.isnan(row["start_mjd"])
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TSTART"] = 4.5e8
    assert "date_end" not in batx.open_dataset(path).attrs


def test_bad_input():
    sources, backgrounds, response = epochs(2)
    both = list(sources.values())
    with pytest.raises(EmptySelectionError):
        batx.combine_spectra([])
    with pytest.raises(ValueRangeError, match="1 responses for 2 spectra"):
        batx.combine_spectra(both, responses=[response], backgrounds=False)
    with pytest.raises(ValueRangeError, match="some of the spectra"):
        batx.combine_spectra(both, responses=[response] * 2, backgrounds=[backgrounds["e0"], None])
    with pytest.raises(ValueRangeError, match="exposures"):
        batx.combine_spectra([both[0].assign(exposure=((), 0.0))], responses=[response], backgrounds=False)
    rates = both[0].rename(counts="rate")
    with pytest.raises(KindError, match="rates"):
        batx.combine_spectra([rates], responses=[response], backgrounds=False)
    with pytest.raises(EmptySelectionError, match="none of 2"):
        batx.spectrum_table(both, min_exposure=1e9)
