"""Groups of channels, systematic errors, positions: the tools' numbers, what is asked for, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from makers import lightcurve

import batx
from batx.errors import KindError, MissingVariableError, ValueRangeError
from batx.kernels.grouping import optimal_width, resolution
from batx.schema import build
from batx.spectra import STANDARD_EDGES
from batx.spectrum_errors import STANDARD_SYSTEMATICS

PACKED = Path(__file__).parent / "reference" / "groups.npz"
BAT = {"telescope": "SWIFT", "instrument": "BAT"}


@pytest.fixture(scope="module")
def packed():
    with np.load(PACKED) as file:
        return dict(file)


def counted(counts: np.ndarray, quality: np.ndarray | None = None, **variables: object) -> xr.Dataset:
    """A Poisson spectrum of 1 keV channels."""
    n = len(counts)
    edges = np.arange(n + 1.0)
    values = {
        "channel": np.arange(n),
        "energy": edges[:-1] + 0.5,
        "energy_bnds": np.stack([edges[:-1], edges[1:]], axis=1),
        "counts": np.asarray(counts),
        "exposure": ((), 100.0),
    }
    if quality is not None:
        values["quality"] = ("channel", np.asarray(quality, np.int16))
    return build("spectrum", values | variables, {"statistic": "poisson", "weighting": "none"})


def rated(channels: np.ndarray, **variables: object) -> xr.Dataset:
    """A mask-weighted spectrum of BAT."""
    n = len(channels)
    values = {
        "channel": np.arange(n),
        "energy": channels.mean(axis=1),
        "energy_bnds": channels,
        "rate": np.full(n, 0.1),
        "stat_err": np.full(n, 0.02),
        "exposure": ((), 100.0),
    }
    return build("spectrum", values | variables, BAT | {"statistic": "gaussian", "weighting": "mask"})


def gaussian_response(n: int, sigma: float) -> xr.Dataset:
    """A redistribution of constant width on 1 keV channels."""
    middle = np.arange(n) + 0.5
    matrix = np.exp(-0.5 * ((middle - middle[:, None]) / sigma) ** 2)
    values = {
        "energy_in": middle,
        "energy_in_bnds": np.stack([middle - 0.5, middle + 0.5], axis=1),
        "channel": np.arange(n),
        "matrix": (("energy_in", "channel"), matrix, {"units": "cm**2"}),
    }
    return build("response", values)


def sums(spectrum: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Sums of the groups that are not left over."""
    starts = np.flatnonzero(spectrum.grouping.values == 1)
    good = spectrum.quality.values[starts] == 0
    return np.add.reduceat(values, starts)[good]


# --- the tools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "bad"),
    [("xrt_min20", []), ("xrt_min1", []), ("target_min1", []), ("xrt_bad_min20", [(0, 29), (1000, 1023)])],
)
def test_least_counts_as_grppha(packed, case, bad):
    counts = packed[f"{case}/counts"]
    quality = np.zeros(len(counts), int)
    for first, last in bad:
        quality[first : last + 1] = 5
    made = batx.group(counted(counts, quality), min_counts=20 if "20" in case else 1)
    np.testing.assert_array_equal(made.grouping, packed[f"{case}/grouping"])
    np.testing.assert_array_equal(made.quality, packed[f"{case}/quality"])


def test_fixed_size_as_grppha(packed):
    """Groups of 10 from channel 30 to 999; the others stay as they are."""
    made = batx.group(counted(packed["xrt_fixed/counts"]), size=10, energy=(30, 1000))
    np.testing.assert_array_equal(made.grouping, packed["xrt_fixed/grouping"])
    np.testing.assert_array_equal(made.quality, packed["xrt_fixed/quality"])


@pytest.mark.parametrize("name", ["off", "far8"])
def test_systematics_as_batphasyserr(packed, name):
    spectrum = rated(packed[f"systematics/{name}/channels"].astype(float))
    made = batx.add_systematics(spectrum, packed["systematics/errors"], packed["systematics/energy"])
    np.testing.assert_array_equal(made.sys_err, packed[f"systematics/{name}/sys_err"])
    assert made.bat.check() == []


def test_systematics_of_the_archive(shared):
    for part in ("ps", "as", "sl"):
        spectrum = batx.open_dataset(shared / f"data/grb200528A/sw00974827000bev{part}.pha")
        made = spectrum.drop_vars("sys_err").bat.add_systematics()
        np.testing.assert_allclose(made.sys_err, spectrum.sys_err, atol=1e-6)
    lines = (shared / "data/tables/bat-chan-sys-err-fracs.txt").read_text().splitlines()
    wanted = [float(line.split()[1]) for line in lines if not line.startswith("#")]
    np.testing.assert_allclose(STANDARD_SYSTEMATICS, wanted, atol=5e-5)


@pytest.mark.parametrize("name", ["type1", "type2"])
def test_position_as_batupdatephakw(shared, name):
    folder = shared / "reference/survey/batupdatephakw"
    spectrum = batx.open_dataset(folder / f"{name}.pha")
    names = ("bat_xobj", "bat_yobj", "bat_zobj", "pcodefr", "ngoodpix", "mskwtsqf")
    single = name == "type1"
    wanted = [spectrum.attrs[key] if single else spectrum[key].values for key in names]
    bare = spectrum.drop_attrs(deep=False).assign_attrs(
        {key: value for key, value in spectrum.attrs.items() if key not in names}
    )
    made = batx.add_position(
        bare if single else bare.drop_vars(names), batx.open_dataset(folder / "aux.fits")
    )
    found = [made.attrs[key] if single else made[key].values for key in names]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)


# --- groups ------------------------------------------------------------------------------------------------


def test_groups_keep_the_counts():
    counts = np.random.default_rng(1).poisson(3, 200)
    for arguments in ({"min_counts": 15}, {"min_snr": 4}, {"size": 7}, {"edges": [0, 13, 40, 200]}):
        made = batx.group(counted(counts), tail="join", **arguments)
        assert sums(made, counts).sum() == counts.sum()
        assert made.bat.check() == []


def test_least_signal_to_noise_with_background():
    rng = np.random.default_rng(2)
    background = counted(rng.poisson(8, 300)).assign(exposure=((), 400.0))
    source = counted(rng.poisson(4, 300))
    made = batx.group(source, min_snr=5, background=background)
    net = source.counts.values - background.counts.values / 4
    variance = source.counts.values + background.counts.values / 16
    ratio = sums(made, net) / np.sqrt(sums(made, variance))
    assert ratio.min() >= 5
    # one channel less would not do
    starts = np.flatnonzero(made.grouping.values == 1)[:-1]
    ends = np.append(starts[1:], len(net))
    groups = [
        (i, j - 1) for i, j in zip(starts, ends, strict=True) if j - i > 1 and not made.quality.values[i]
    ]
    shorter = [net[i:j].sum() < 5 * np.sqrt(variance[i:j].sum()) for i, j in groups]
    assert all(shorter[:-1])


def test_rates_use_their_errors():
    channels = np.stack([np.arange(20.0), np.arange(1, 21.0)], axis=1)
    made = batx.group(rated(channels), min_snr=10)
    # a channel has 5 sigma: four of them 10
    np.testing.assert_array_equal(np.flatnonzero(made.grouping == 1), [0, 4, 8, 12, 16])


@pytest.mark.parametrize(
    ("tail", "starts", "left"), [("bad", [0, 2, 4], 1), ("join", [0, 2], 0), ("keep", [0, 2, 4], 0)]
)
def test_tails(tail, starts, left):
    made = batx.group(counted([1, 1, 1, 1, 1]), size=2, tail=tail)
    np.testing.assert_array_equal(np.flatnonzero(made.grouping == 1), starts)
    assert int((made.quality == 2).sum()) == left


def test_no_group_over_a_bad_channel():
    made = batx.group(counted(np.ones(9, int), [0, 0, 0, 5, 0, 0, 0, 0, 0]), size=2, tail="join")
    np.testing.assert_array_equal(made.grouping, [1, -1, -1, 1, 1, -1, 1, -1, -1])
    np.testing.assert_array_equal(made.quality, [0, 0, 0, 5, 0, 0, 0, 0, 0])


def test_grouping_again_forgets_the_first():
    first = batx.group(counted(np.ones(9, int)), size=4)
    again = batx.group(first, size=3)
    np.testing.assert_array_equal(np.flatnonzero(again.grouping == 1), [0, 3, 6])
    assert not again.quality.any()


def test_resolution_of_a_gaussian():
    response = gaussian_response(200, 6.0)
    bounds = np.stack([np.arange(200.0), np.arange(1, 201.0)], axis=1)
    fwhm = resolution(response.matrix.values, response.energy_in.values, bounds)
    np.testing.assert_allclose(fwhm[40:160], 2.3548 * 6, rtol=5e-3)


def test_oversampled_resolution():
    made = batx.group(
        counted(np.ones(200, int)), oversample=3, response=gaussian_response(200, 6.0), tail="join"
    )
    widths = np.diff(np.flatnonzero(made.grouping == 1))
    assert set(widths[10:30]) == {5}  # 14.1 keV / 3 = 4.7 channels


def test_optimal_groups():
    """Narrower where there are more counts, never wider than the resolution."""
    response = gaussian_response(400, 10.0)
    few = batx.group(counted(np.full(400, 1)), optimal=True, response=response, tail="join")
    many = batx.group(counted(np.full(400, 10000)), optimal=True, response=response, tail="join")
    width_few, width_many = (np.median(np.diff(np.flatnonzero(made.grouping == 1))) for made in (few, many))
    assert width_many < 0.6 * width_few
    assert width_few <= 24


def test_optimal_width_is_continuous():
    """x = 2.119 is where the two branches meet."""
    ones = np.ones(1)
    below, above = (optimal_width(np.exp(x) * ones, ones, ones)[0] for x in (2.118, 2.120))
    assert below == pytest.approx(above, abs=1e-3)


def test_channel_bins():
    counts = np.repeat([10, 2], 50)
    equal = batx.channel_bins([counted(counts)] * 2, 6, axis="channel")
    np.testing.assert_array_equal(np.add.reduceat(counts, equal[:-1]), 100)
    linear = batx.channel_bins(counted(counts), 4, spacing="linear")
    np.testing.assert_array_equal(linear, [0, 25, 50, 75, 100])
    logarithmic = batx.channel_bins(counted(counts), 3, spacing="log", limits=(1, 64))
    np.testing.assert_array_equal(logarithmic, [1, 4, 16, 64])
    wide = batx.channel_bins(counted([1000, *[1] * 19]), 4, axis="channel", min_channels=3)
    assert np.diff(wide).min() >= 3


def test_bands_as_channels():
    curve = lightcurve()
    spectra = curve.bat.to_spectrum()
    assert spectra.bat.check() == []
    assert spectra.bat.kind == "spectrum"
    name = "rate" if "rate" in curve else "counts"
    np.testing.assert_array_equal(spectra[name].values, curve[name].values)
    np.testing.assert_array_equal(spectra.energy_bnds, curve.energy_bnds)


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to group by"),
        ({"min_counts": 0}, "above 0"),
        ({"min_snr": np.nan}, "above 0"),
        ({"size": -2}, "above 0"),
        ({"edges": [0, 10], "size": 2}, "edges say all"),
        ({"edges": [10, 0]}, "increasing"),
        ({"oversample": 3}, "need the response"),
        ({"optimal": True, "response": gaussian_response(7, 1.0)}, "on the channels of the spectrum"),
        ({"size": 2, "tail": "drop"}, "tail: found 'drop'"),
        ({"min_snr": 3, "background": counted([1, 2])}, "the background has 2 channels"),
    ],
)
def test_bad_requests(arguments, message):
    with pytest.raises(ValueRangeError, match=message):
        batx.group(counted(np.ones(10, int)), **arguments)


def test_bad_spectra():
    with pytest.raises(KindError):
        batx.group(lightcurve(), size=2)
    with pytest.raises(ValueRangeError, match="negative"):
        batx.group(counted([1, -2, 3]), min_counts=2)
    with pytest.raises(ValueRangeError, match="one spectrum"):
        batx.group(lightcurve().bat.to_spectrum(), size=2)
    with pytest.raises(MissingVariableError, match="energy_bnds"):
        batx.group(counted([1, 2]).drop_vars(["energy_bnds", "energy"]), edges=[0, 1])
    with pytest.raises(ValueRangeError, match="at least 4 bins of 3"):
        batx.channel_bins(counted(np.ones(10, int)), 4, min_channels=3)
    with pytest.raises(ValueRangeError, match="different channels"):
        batx.channel_bins([counted([1, 2]), counted([1, 2, 3])], 1)
    with pytest.raises(ValueRangeError, match="no counts"):
        batx.channel_bins(counted([0, 0]), 1)
    with pytest.raises(ValueRangeError, match="cannot start at 0"):
        batx.channel_bins(counted([1, 2]), 1, spacing="log")
    standard = rated(np.stack([STANDARD_EDGES[:-1], STANDARD_EDGES[1:]], axis=1))
    with pytest.raises(ValueRangeError, match="none negative"):
        batx.add_systematics(standard, [0.1, -0.1], [0, 10, 20])
    with pytest.raises(ValueRangeError, match="go together"):
        batx.add_systematics(standard, [0.1, 0.1])
