"""Spectra of other missions in files: groups by their response, sums, and the files that they name."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from fit_inputs import counts, expected, response

import batx
from batx.errors import MissingVariableError, ResponseError, ValueRangeError, WriteError
from batx.schema import build

RSP = response()
MEAN = expected("powerlaw", [1.7, 1.0, 500.0])
N = MEAN.size


@pytest.fixture
def files(tmp_path):
    """A folder with a spectrum that names its response and background."""
    folder = tmp_path / "raw"
    folder.mkdir()
    RSP.bat.to_fits(folder / "one.rsp")
    counts(np.full(N, 20.0), seed=5).bat.to_fits(folder / "one_bg.pha")
    named = counts(MEAN, seed=4).assign_attrs(respfile="one.rsp", backfile="one_bg.pha", backscal=0.5)
    named.bat.to_fits(folder / "one.pha")
    return folder


def test_links_of_a_spectrum_written_elsewhere(files, tmp_path):
    """What it names is found from the new folder too; a file of that name there comes first."""
    before = batx.fit(files / "one.pha", "powerlaw")
    elsewhere = tmp_path / "made"
    elsewhere.mkdir()
    grouped = batx.open_dataset(files / "one.pha").bat.group(min_counts=30)
    path = grouped.bat.to_fits(elsewhere / "grouped.pha")
    assert batx.open_dataset(path).attrs["respfile"] == "../raw/one.rsp"
    assert batx.open_dataset(path).attrs["backfile"] == "../raw/one_bg.pha"
    after = batx.fit(path, "powerlaw")
    assert after.attrs["fit_statistic"] == "wstat"
    assert abs(float((after.value - before.value)[0])) < 0.2 * float(before.error[0])
    RSP.bat.to_fits(elsewhere / "one.rsp")
    path = grouped.bat.to_fits(elsewhere / "again.pha")
    assert batx.open_dataset(path).attrs["respfile"] == "one.rsp"
    # next to the first one nothing changes
    path = grouped.bat.to_fits(files / "grouped.pha")
    assert batx.open_dataset(path).attrs["respfile"] == "one.rsp"


def test_files_of_a_sum_name_each_other(files, tmp_path):
    total = batx.combine_spectra([files / "one.pha"] * 3)
    assert "stat_err" not in total["spectrum"]
    path = total.bat.to_fits(tmp_path / "sum.pha")
    assert sorted(entry.name for entry in tmp_path.glob("sum*")) == [
        "sum.pha",
        "sum.rsp",
        "sum_background.pha",
    ]
    single, summed = batx.fit(files / "one.pha", "powerlaw"), batx.fit(path, "powerlaw")
    np.testing.assert_allclose(summed.value, single.value, rtol=2e-4)
    assert float(summed.error[0] / single.error[0]) == pytest.approx(3**-0.5, rel=0.01)
    (tmp_path / "sum.pha").unlink()
    with pytest.raises(WriteError, match=r"sum\.rsp.*exists"):
        total.bat.to_fits(path)
    assert not path.exists()
    total.bat.to_fits(path, overwrite=True)


def test_sum_forgets_what_groups_left_over(files):
    grouped = batx.open_dataset(files / "one.pha").bat.group(min_counts=int(0.3 * MEAN.sum()))
    assert (grouped.quality == 2).any()
    total = batx.combine_spectra([grouped, grouped])
    assert not total["spectrum"].quality.any()


def test_sum_of_net_spectra_adds_errors_in_quadrature():
    """As those of RGS: counts less background, with their errors."""
    net = build(
        "spectrum",
        {"channel": np.arange(N), "counts": np.round(MEAN - 20).astype(int), "exposure": ((), 10.0),
         "stat_err": ("channel", np.sqrt(MEAN + 20), {"units": "count"})},
        {"statistic": "gaussian", "weighting": "none"},
    )  # fmt: skip
    total = batx.combine_spectra([net] * 4, responses=[RSP] * 4, backgrounds=False)["spectrum"].to_dataset()
    assert total.attrs["statistic"] == "gaussian"
    np.testing.assert_allclose(total.stat_err, 2 * np.sqrt(MEAN + 20))
    one, four = net.bat.fit("powerlaw", response=RSP), total.bat.fit("powerlaw", response=RSP)
    assert one.attrs["fit_statistic"] == four.attrs["fit_statistic"] == "chi2"
    np.testing.assert_allclose(four.value, one.value, rtol=1e-4)
    np.testing.assert_allclose(four.error[0], 0.5 * one.error[0], rtol=1e-3)


def test_areas_and_regions_that_change_with_channel():
    """AREASCAL and BACKSCAL as columns: the sum of two alike is fitted as one of them, twice as long."""
    area = np.linspace(0.5, 1.0, N)
    area[5] = 0.0  # a dead channel
    region = np.linspace(2.0, 4.0, N)
    behind = counts(np.full(N, 40.0), seed=8).assign(
        areascal=("channel", np.maximum(area, 0.1)), backscal=("channel", region)
    )
    one = counts(MEAN * area + 40.0 / region, seed=9).assign(areascal=("channel", area))
    one = one.assign(quality=("channel", (area == 0).astype(int)))
    how = {"energy": (20, 100)}
    single = one.bat.fit("powerlaw", response=RSP, background=behind, **how)
    tree = batx.combine_spectra([one, one], responses=[RSP, RSP], backgrounds=[behind, behind])
    total, back = tree["spectrum"].to_dataset(), tree["background"].to_dataset()
    assert total.attrs["areascal"] == 1.0
    assert back.backscal.dims == ("channel",)
    both = total.bat.fit("powerlaw", response=tree["response"].to_dataset(), background=back, **how)
    np.testing.assert_allclose(both.value, single.value, rtol=2e-4)
    np.testing.assert_allclose(both.error[0], single.error[0] / 2**0.5, rtol=2e-3)
    assert float(both.statistic) == pytest.approx(2 * float(single.statistic), rel=1e-4)


def test_energies_of_channels_from_the_response(tmp_path):
    """Spectra of XRT, XMM and NuSTAR do not say them."""
    plain = counts(MEAN, seed=3).drop_vars(["energy_bnds", "energy"], errors="ignore")
    path = RSP.bat.to_fits(tmp_path / "one.rsp")
    edges = np.append(RSP.energy_bnds.values[:, 0], RSP.energy_bnds.values[-1, 1])
    for given in (RSP, path, str(path)):
        made = plain.bat.group(oversample=0.3, response=given, energy=(20, 90))
        assert (made.grouping == -1).any()
        assert "energy_bnds" not in made
    bands = plain.bat.group(edges=edges[[3, 9, 20]], response=RSP)
    assert bands.grouping.values[4:9].tolist() == [-1] * 5
    bins = batx.channel_bins([plain, plain], 5, limits=(edges[2], edges[-2]), response=RSP)
    assert np.isin(bins, edges).all()
    with pytest.raises(MissingVariableError, match="give its response"):
        batx.channel_bins(plain, 5)
    with pytest.raises(ValueRangeError, match="found no spectra"):
        batx.channel_bins([], 5)


def test_rgs_and_xrt(shared, tmp_path):
    """Real RGS spectra with background regions by channel, with a response of one energy a channel."""
    stem = shared / "data/xmm/P0112880201R1S004"
    total, behind = (batx.open_dataset(f"{stem}{part}SPEC1003.FTZ") for part in ("SB", "BG"))
    wavelength = np.linspace(4.0, 40.0, total.sizes["channel"] + 1)[::-1]
    energy = 12.398 / wavelength
    bounds = np.stack([energy[:-1], energy[1:]], axis=1)
    matrix = xr.Variable(("energy_in", "channel"), 50 * np.eye(len(bounds)), {"units": "cm**2"})
    rsp = build(
        "response",
        {"energy_in": bounds.mean(axis=1), "energy_in_bnds": bounds, "channel": total.channel.values,
         "energy": bounds.mean(axis=1), "energy_bnds": bounds, "matrix": matrix},
    )  # fmt: skip
    how = {"energy": (0.5, 1.8), "errors": "covariance"}
    grouped = total.load().bat.group(min_counts=20, response=rsp, energy=(0.5, 1.8))
    one = grouped.bat.fit("powerlaw", response=rsp, background=behind, **how)
    assert one.converged
    tree = batx.combine_spectra([total, total], responses=[rsp, rsp], backgrounds=[behind, behind])
    path = tree.bat.to_fits(tmp_path / "rgs.pha")
    two = batx.open_dataset(path).bat.group(min_counts=40, response=rsp, energy=(0.5, 1.8))
    found = two.bat.fit("powerlaw", **how)
    assert abs(float(found.value[0] - one.value[0])) < 0.3 * float(one.error[0])
    assert float(found.error[0] / one.error[0]) == pytest.approx(2**-0.5, rel=0.15)
    xrt = batx.open_dataset(shared / "data/xrt/interval0pc.pi")
    matrix = shared / "data/xrt/interval0pc.rmf.gz"
    optimal = xrt.bat.group(optimal=True, min_counts=3, response=matrix, energy=(0.3, 10))
    path = optimal.bat.to_fits(tmp_path / "xrt.pi")
    assert batx.fit(path, "tbabs*powerlaw", energy=(0.3, 10), errors="covariance").converged
    assert batx.fit(path, "tbabs*powerlaw", energy=(0.3, 10), errors="covariance").dof < 200
    with pytest.raises(ResponseError):
        batx.fit(path, "powerlaw", response=rsp)
