"""The response of BAT: the tool's numbers, the packaged table, means along a slew, bad input."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from makers import lightcurve

import batx
from batx.errors import (
    BatxWarning,
    KindError,
    MissingKeywordError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
)
from batx.instrument.response_grid import ResponseGrid, coding_efficiency, response_grid
from batx.schema import build

TOOL = Path(__file__).parent / "reference" / "batdrmgen"
CALIBRATION = {"parameters": TOOL / "cal_v4.fits.gz", "depth": TOOL / "depth.fits.gz"}
INDICES = (1.0, 1.5, 2.0)
BAT = {"telescope": "SWIFT", "instrument": "BAT"}
WEIGHTED = BAT | {"statistic": "gaussian", "weighting": "mask"}


def folded(matrix: np.ndarray, edges: np.ndarray, index: float) -> np.ndarray:
    """Counts in each channel of a power law."""
    low, high = edges.T
    photons = np.log(high / low) if index == 1 else (low ** (1 - index) - high ** (1 - index)) / (index - 1)
    return photons @ matrix


def in_band(channels: np.ndarray) -> np.ndarray:
    return (channels[:, 0] >= 15) & (channels[:, 1] <= 150)


def worst(made: np.ndarray, wanted: np.ndarray, edges: np.ndarray, channels: np.ndarray) -> float:
    band = in_band(channels)
    return max(
        np.abs(folded(made, edges, index) / folded(wanted, edges, index) - 1)[band].max() for index in INDICES
    )


# --- the tool ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "row", "parameters"), [("on", None, "cal_v4"), ("off", None, "cal_v4"), ("type2", 1, "cal_v3")]
)
def test_computed_is_the_tool(name, row, parameters):
    spectrum = batx.open_dataset(TOOL / f"{name}.pha.gz")
    wanted = batx.open_dataset(TOOL / f"{name}.rsp.gz").matrix.values
    made = batx.response(
        spectrum,
        parameters=TOOL / f"{parameters}.fits.gz",
        depth=TOOL / "depth.fits.gz",
        energy_in=TOOL / "einc.fits.gz",
        compat="heasoft",
    )
    assert made.bat.check() == []
    matrix = made.matrix.values if row is None else made.matrix.values[row]
    largest = wanted.max(axis=1, keepdims=True)
    assert (np.abs(matrix - wanted) / largest).max() < 3e-5
    assert np.abs(matrix.sum(axis=1) / wanted.sum(axis=1) - 1).max() < 5e-6


def test_standard_channels_need_no_quirk():
    tool = batx.response(imx=0.3, imy=0.2, compat="heasoft", **CALIBRATION)
    own = batx.response(imx=0.3, imy=0.2, **CALIBRATION)
    np.testing.assert_allclose(own.matrix, tool.matrix, rtol=1e-12)


def test_bands_are_sums_of_fine_channels():
    """Also where a band begins: what is measured below is not counted."""
    bands, energy_in = [15, 25, 50, 100, 150], np.geomspace(12, 300, 25)
    settings = CALIBRATION | {"imx": 0.3, "imy": 0.2, "energy_in": energy_in}
    made = batx.response(channels=bands, **settings)
    fine = batx.response(channels=np.arange(15, 150.5), **settings)
    low = fine.energy_bnds[:, 0].values
    wanted = np.stack(
        [fine.matrix.values[:, (low >= a) & (low < b)].sum(axis=1) for a, b in pairwise(bands)], 1
    )
    for index in INDICES:
        counts = [
            folded(matrix, made.energy_in_bnds.values, index) for matrix in (made.matrix.values, wanted)
        ]
        np.testing.assert_allclose(counts[0], counts[1], rtol=2e-3)


# --- the packaged table ------------------------------------------------------------------------------------


def test_coding_efficiency_of_the_headers():
    grid = response_grid()
    np.testing.assert_allclose(coding_efficiency(*grid.direction.T), grid.efficiency, rtol=1e-7)


def test_a_place_of_the_table_gives_its_response():
    grid = response_grid()
    made = batx.response(imx=grid.direction[:, 0], imy=grid.direction[:, 1], norm=1 / grid.efficiency)
    wanted = np.exp(grid.log_matrix) / grid.efficiency[:, None]
    np.testing.assert_allclose(made.matrix.values[:, grid.filled], wanted, rtol=1e-9)
    assert made.matrix.dims == ("source", "energy_in", "channel")


def test_table_without_one_of_its_places():
    grid = response_grid()
    deviations = []
    for left_out in range(len(grid.direction)):
        kept = np.arange(len(grid.direction)) != left_out
        smaller = ResponseGrid(
            grid.log_matrix[kept],
            grid.filled,
            grid.energy_in,
            grid.channel,
            grid.direction[kept],
            grid.efficiency[kept],
            "",
        )
        place = grid.direction[left_out : left_out + 1].T
        norm = 1 / grid.efficiency[left_out : left_out + 1]
        own = np.ones((1, 1))
        made, wanted = smaller.mean(own, *place, norm)[0], grid.mean(own, *place, norm)[0]
        deviations.append(worst(made, wanted, grid.energy_in, grid.channel))
    assert max(deviations) < 0.013
    assert np.median(deviations) < 0.009


def test_table_is_the_grid(shared):
    for number in ("01", "15", "25", "32"):
        ds = batx.open_dataset(shared / f"data/response_grid/bat_grid_{number}.rsp.gz")
        x, y, z = (ds.attrs[f"bat_{axis}obj"] for axis in "xyz")
        made = batx.response(imx=x / z, imy=y / z, norm=ds.attrs["mskwtsqf"])
        np.testing.assert_allclose(made.matrix, ds.matrix, rtol=2e-6)


@pytest.mark.parametrize(("name", "channel", "total"), [("ps", 0.006, 0.0013), ("as", 0.001, 0.0005)])
def test_burst_with_its_own_response(shared, name, channel, total):
    spectrum = batx.open_dataset(shared / f"data/grb200528A/sw00974827000bev{name}.pha")
    own = batx.open_dataset(shared / f"data/grb200528A/sw00974827000bev{name}.rsp")
    made = batx.response(spectrum)
    edges, channels = made.energy_in_bnds.values, made.energy_bnds.values
    assert worst(made.matrix.values, own.matrix.values, edges, channels) < channel
    band = in_band(channels)
    counts = [folded(matrix, edges, 1.9)[band].sum() for matrix in (made.matrix.values, own.matrix.values)]
    assert counts[0] / counts[1] == pytest.approx(1, abs=total)


def test_mirrored():
    quadrants = batx.response(imx=[0.6, -0.6, 0.6, -0.6], imy=[0.3, 0.3, -0.3, -0.3]).matrix
    np.testing.assert_allclose(quadrants, quadrants[[0, 0, 0, 0]], rtol=1e-12)


def test_channels_add_up():
    standard = batx.response(imx=0.2, imy=0.1)
    edges = np.append(standard.energy_bnds[:, 0], standard.energy_bnds[-1, 1])
    coarse = batx.response(imx=0.2, imy=0.1, channels=edges[[0, 20, 40, 80]])
    np.testing.assert_allclose(coarse.matrix.sum("channel"), standard.matrix.sum("channel"), rtol=1e-12)
    np.testing.assert_allclose(coarse.matrix[:, 1], standard.matrix[:, 20:40].sum("channel"), rtol=1e-9)
    cut = batx.response(imx=0.2, imy=0.1, channels=[20, 25, 25.3, 40])
    whole = batx.response(imx=0.2, imy=0.1, channels=[20, 40])
    np.testing.assert_allclose(cut.matrix.sum("channel"), whole.matrix[:, 0], rtol=1e-9, atol=1e-15)
    assert float(cut.matrix.min()) >= 0


def test_light_curve_bands():
    curve = lightcurve()
    made = batx.response(curve.assign_attrs(bat_xobj=0.0, bat_yobj=0.0, bat_zobj=1e7, mskwtsqf=1.0),
                         channels=[15, 25, 50])  # fmt: skip
    assert made.sizes["channel"] == 2


# --- along a slew ------------------------------------------------------------------------------------------


def slew(n: int = 41) -> xr.Dataset:
    """A source that crosses the field in 40 s."""
    imx = np.linspace(-0.8, 0.8, n)
    imy = np.full(n, 0.2)
    norm = 1 / coding_efficiency(imx, imy)
    values = {"time": np.linspace(100.0, 140.0, n), "imx": imx, "imy": imy, "mask_weight_norm": norm}
    return build(
        "ray_trace", values | {"pcode": np.full(n, 0.5)}, {"telescope": "SWIFT", "instrument": "BAT"}
    )


def series(edges: np.ndarray, **variables: object) -> xr.Dataset:
    """Spectra between some times."""
    channels = np.array([[15.0, 25.0], [25.0, 50.0], [50.0, 100.0]])
    pairs = np.stack([edges[:-1], edges[1:]], axis=1)
    values = {
        "time": pairs.mean(axis=1),
        "time_bnds": pairs,
        "channel": np.arange(3),
        "energy": channels.mean(axis=1),
        "energy_bnds": channels,
        "rate": (("time", "channel"), np.ones((len(pairs), 3))),
        "stat_err": (("time", "channel"), np.ones((len(pairs), 3))),
        "exposure": (("time",), np.diff(edges)),
        "gti_start": np.array([edges[0]]),
        "gti_stop": np.array([edges[-1]]),
    }
    return build("spectrum", values | variables, WEIGHTED)


def test_mean_of_a_source_at_rest():
    still = slew()
    still["imx"][:] = 0.4
    still["mask_weight_norm"][:] = 1 / coding_efficiency(0.4, 0.2)
    made = batx.response(series(np.array([100.0, 111.0, 140.0])), trace=still)
    single = batx.response(imx=0.4, imy=0.2, channels=[15, 25, 50, 100])
    assert made.matrix.dims == ("time", "energy_in", "channel")
    np.testing.assert_allclose(made.matrix, np.stack([single.matrix] * 2), rtol=1e-9)


def test_mean_along_a_slew_is_the_integral():
    """A finer trace changes nothing, and times add up with their exposures."""
    halves = series(np.array([100.0, 112.5, 140.0]))
    coarse, fine = (batx.response(halves, trace=slew(n)).matrix.values for n in (41, 801))
    np.testing.assert_allclose(coarse, fine, atol=1e-4 * fine.max())
    whole = batx.response(series(np.array([100.0, 140.0])), trace=slew(801)).matrix.values[0]
    np.testing.assert_allclose((12.5 * fine[0] + 27.5 * fine[1]) / 40, whole, atol=1e-5 * whole.max())


def test_only_good_time_counts():
    good = {"gti_start": np.array([100.0]), "gti_stop": np.array([110.0])}
    part = batx.response(series(np.array([100.0, 140.0]), **good), trace=slew()).matrix
    alone = batx.response(series(np.array([100.0, 110.0])), trace=slew()).matrix
    np.testing.assert_allclose(part, alone, rtol=1e-9)


def test_no_response_while_out_of_the_field():
    partly = slew()
    partly["pcode"][:21] = 0
    whole = batx.response(series(np.array([100.0, 140.0])), trace=partly).matrix
    inside = batx.response(series(np.array([120.5, 140.0])), trace=slew()).matrix
    np.testing.assert_allclose(whole, inside * 19.5 / 40, rtol=3e-3)


def test_weights_of_the_mean():
    spectrum = series(np.array([100.0, 140.0]))
    at_start = np.zeros(41)
    at_start[0] = 1
    first = batx.response(spectrum, trace=slew(), weights=at_start).matrix[0]
    alone = batx.response(imx=-0.8, imy=0.2, channels=[15, 25, 50, 100]).matrix
    np.testing.assert_allclose(first, alone, rtol=1e-9)
    bounds = np.array([[100.0, 120.0], [120.0, 140.0]])
    curve = build(
        "lightcurve",
        {
            "time": bounds.mean(axis=1),
            "time_bnds": bounds,
            "energy": [40.0],
            "energy_bnds": [[15.0, 100.0]],
            "rate": (("time", "energy"), [[3.0], [1.0]]),
            "rate_err": (("time", "energy"), [[0.1], [0.1]]),
            "exposure": [20.0, 20.0],
            "fracexp": [1.0, 1.0],
        },
        WEIGHTED,
    )
    made = batx.response(spectrum, trace=slew(), weights=curve).matrix[0]
    halves = batx.response(series(np.array([100.0, 120.0, 140.0])), trace=slew()).matrix
    np.testing.assert_allclose(made, 0.75 * halves[0] + 0.25 * halves[1], rtol=1e-9)


# --- from events -------------------------------------------------------------------------------------------


def slewing(**source: object) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """Weighted events of a bright source during a slew of 25 degrees, and what they were made with."""
    parts = {
        "aperture": batx.simulate.aperture(),
        "alignment": batx.simulate.alignment(),
        "attitude": batx.simulate.attitude(
            6e8, 40.0, (150, 30, 40), slews=[batx.simulate.Slew(10, 30, 150, 5, 40)]
        ),
    }
    events = batx.simulate.events(
        batx.simulate.Source(0.3, ra=152.0, dec=2.0, **source), duration=40.0, seed=3, **parts
    )
    return events.bat.mask_weight(152.0, 2.0, **parts), parts


def test_events_know_the_way_of_their_source():
    weighted, parts = slewing()
    edges = 6e8 + np.array([0.0, 9.0, 20.0, 40.0])
    spectra = weighted.bat.spectrum(time=edges)
    assert spectra.bat.check() == []
    own = spectra.bat.response()
    times = 6e8 + np.arange(0, 40.2, 0.2)
    trace = batx.ray_trace(times=times, ra=152.0, dec=2.0, obj=parts["attitude"],
                           aperture=parts["aperture"], alignment=parts["alignment"])  # fmt: skip
    given = spectra.bat.response(trace=trace)
    # the traces that weigh events stand until the source has moved by their tolerance
    np.testing.assert_allclose(own.matrix, given.matrix, atol=3e-3 * float(given.matrix.max()))
    before, _, after = own.matrix.values
    assert np.abs(before - after).max() > 0.05 * after.max()
    whole = weighted.bat.spectrum().bat.response().matrix.values
    mean = np.tensordot(np.diff(edges) / 40, own.matrix.values, 1)
    np.testing.assert_allclose(whole, mean, atol=3e-3 * whole.max())
    first = weighted.bat.spectrum(*edges[:2])
    assert first.sizes["trace"] < weighted.sizes["trace"] / 3
    np.testing.assert_allclose(first.bat.response().matrix, before, rtol=1e-9)


def test_lists_joined_know_the_whole_way():
    weighted, _ = slewing()
    late = weighted.time.values >= 6e8 + 20
    halves = [
        weighted.isel(event=part)
        .drop_dims("gti")
        .assign(gti_start=("gti", [6e8 + start]), gti_stop=("gti", [6e8 + start + 20]))
        for part, start in ((~late, 0), (late, 20))
    ]
    joined = batx.join_events(*halves)
    made, wanted = (ev.bat.spectrum().bat.response().matrix for ev in (joined, weighted))
    np.testing.assert_allclose(made, wanted, rtol=1e-9)


@pytest.mark.slow
def test_power_law_comes_back():
    """From photons to a fit: simulated through the response of a place, weighted, binned, fitted."""
    place = {"imx": 0.4, "imy": -0.25}
    photons = batx.simulate.PowerLaw(1.7, norm=30.0)
    source = batx.simulate.Source(**place, spectrum=photons, response=batx.response(**place))
    aperture = batx.simulate.aperture()
    events = batx.simulate.events(source, duration=60.0, seed=7, aperture=aperture)
    weighted = events.bat.mask_weight(
        0.4, -0.25, frame="tangent", aperture=aperture, normalisation="geometry"
    )
    result = weighted.bat.spectrum().bat.fit("powerlaw", energy=(15, 150))
    names = [str(name) for name in result.parameter.values]
    index, norm = names.index("index"), names.index("norm")
    value, error = result.value.values, result.error.values
    assert result.converged
    assert error[index] < 0.05
    assert abs(value[index] - 1.7) < 3 * error[index]
    assert abs(value[norm] - 30) < 3 * error[norm]


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, PositionError, "no place"),
        ({"imx": 0.1}, PositionError, "go together"),
        ({"imx": 2.5, "imy": 0.0}, PositionError, r"imx, imy = 2.5, 0, expected a source in the field"),
        ({"imx": np.nan, "imy": 0.0}, PositionError, "in the field"),
        ({"imx": [[0.1]], "imy": 0.0}, PositionError, "a number or a list"),
        ({"imx": [0.1, 0.2], "imy": [0.1, 0.2, 0.3]}, PositionError, "shape"),
        ({"imx": 0, "imy": 0, "norm": 0}, ValueRangeError, "above 0"),
        ({"imx": 0, "imy": 0, "channels": [15, 350]}, ValueRangeError, "does not resolve"),
        ({"imx": 0, "imy": 0, "channels": [15, 10]}, ValueRangeError, "increasing"),
        ({"imx": 0, "imy": 0, "energy_in": [10, 20]}, ValueRangeError, "the table has its own"),
        ({"imx": 0, "imy": 0, "depth": "x"}, ValueRangeError, "go together"),
        ({"imx": 0, "imy": 0, "trace": slew()}, PositionError, "one of them"),
        ({"trace": slew(), "weights": "time"}, ValueRangeError, "expected 'exposure'"),
        ({"trace": slew(), "weights": [1.0, 2.0]}, ValueRangeError, "shape"),
        ({"trace": slew().isel(time=slice(None, None, -1))}, ValueRangeError, "increase"),
        ({"trace": series(np.array([0.0, 1.0]))}, KindError, "ray_trace"),
        ({"imx": 0, "imy": 0, "compat": "xspec"}, ValueRangeError, "compat"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        batx.response(**arguments)


def test_never_in_the_field():
    away = slew()
    away["pcode"][:] = 0
    with pytest.raises(PositionError, match="never in the field"):
        batx.response(series(np.array([100.0, 140.0])), trace=away)
    with pytest.raises(PositionError, match="never in the field"):
        batx.response(series(np.array([200.0, 240.0])), trace=slew(), weights=np.zeros(41))


def test_spectrum_without_a_place():
    with pytest.raises(MissingKeywordError, match="bat_xobj"):
        batx.response(series(np.array([100.0, 140.0])))


def test_edge_of_the_field_is_extrapolated():
    with pytest.warns(BatxWarning, match="extrapolated"):
        batx.response(imx=1.7, imy=0.1)


def test_wrong_calibration_files():
    with pytest.raises(MissingVariableError, match="parameters: found no table"):
        batx.response(imx=0, imy=0, parameters=TOOL / "depth.fits.gz", depth=TOOL / "depth.fits.gz")
    with pytest.raises(ValueRangeError, match="the depth file has"):
        batx.response(imx=0, imy=0, energy_in=[5, 6, 7], **CALIBRATION)
    tree = xr.open_datatree(CALIBRATION["parameters"], engine="batx")
    for node in tree.subtree:
        node.attrs.pop("norm_adj", None)
    with pytest.raises(MissingKeywordError, match="NORM_ADJ"):
        batx.response(imx=0, imy=0, parameters=tree, depth=CALIBRATION["depth"])
