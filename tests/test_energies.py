"""Energies of events: against ``bateconvert``, the other methods by their definition, and odd calibration."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import energy_inputs as inputs
import numpy as np
import pytest
import xarray as xr

import batx
from batx import simulate
from batx.errors import (
    BatxWarning,
    KindError,
    MissingFileError,
    MissingKeywordError,
    MissingVariableError,
    ValueRangeError,
)
from batx.kernels import gains
from batx.provenance import calibration_of

MAPS = inputs.reference_maps()
PARTS = {name: MAPS[name] for name in ("pulser", "flight_pulser", "residual")}
COLUMN = ("detx", "dety", "pha")


def calibrated(events: xr.Dataset | None = None, **options) -> xr.Dataset:
    return batx.calibrate_energy(
        inputs.events() if events is None else events,
        **{"gain_offset": MAPS["gain_offset"], **PARTS, **options},
    )


def exact(events: xr.Dataset, method: str) -> np.ndarray:
    """Return keV by the formulae of algorithms-survey 4.7, event by event, without any rearrangement."""
    y, x, h = events["dety"].values, events["detx"].values, events["pha"].values.astype(float)

    def at(name: str, column: str) -> np.ndarray:
        return MAPS[name][column].values[y, x].astype(float)

    g, o = at("gain_offset", "gain"), at("gain_offset", "offset")
    f, f0 = 1 / at("flight_pulser", "gain"), at("flight_pulser", "offset")
    p, p0 = 1 / at("pulser", "gain"), at("pulser", "offset")
    c0, c1, c2, c3 = (at("residual", name) for name in ("offset", "gain", "gain2", "gain3"))
    lo, lg = at("residual", "lin_offset"), at("residual", "lin_gain")
    dac, fc = 300.0, g / f
    q = o - (dac - f0) / fc
    if method == "linear":
        return g * (o - h)
    if method == "directcubic":
        return p * (c0 + c1 * h + c2 * h**2 + c3 * h**3 - p0)
    v = h
    if method == "fixeddac":
        v = (dac - fc * (h - q) - lo) / lg
        c0, c1 = c0 - lo, c1 - lg
    if method == "quadratic":
        c3 = 0.0
    return fc * p * (q + (dac - p0) / fc - h) + p * (c0 + v * (c1 + v * (c2 + v * c3)))


# --- the reference run -------------------------------------------------------------------------------------


def test_channels_are_those_of_the_tool() -> None:
    found, expected = calibrated()["pi"].values, inputs.reference_channels()
    difference = found.astype(int) - expected
    assert (difference == 0).mean() >= 0.999
    assert np.abs(difference).max() <= 1
    np.testing.assert_array_equal(found == gains.NULL_PI, expected == gains.NULL_PI)
    # those that differ lie within 0.0002 keV, the rounding of float32, of the edge between two channels
    energy = exact(inputs.events(), "fixeddac")[difference != 0] * 10
    assert energy.size and np.abs(energy - np.rint(energy)).max() < 2e-3


def test_channels_of_the_whole_reference_run_differ_only_by_rounding(heasoft: Path) -> None:
    folder = heasoft / "econv"
    for name, file in (("gain_offset", "gain_offset"), ("pulser", "pulser"), ("flight_pulser", "fltpulser")):
        stored = batx.open_dataset(folder / f"{file}.fits.gz")
        for column in ("gain", "offset"):
            np.testing.assert_array_equal(stored[column].values, MAPS[name][column].values)
    events = batx.open_dataset(folder / "events_noenergy.fits.gz").load()
    options = {
        "gain_offset": folder / "gain_offset.fits.gz",
        "pulser": folder / "pulser.fits.gz",
        "flight_pulser": folder / "fltpulser.fits.gz",
    }
    made = calibrated(events, **options)
    expected = batx.open_dataset(folder / "energy.fits.gz", hdu=1)["pi"].values
    difference = made["pi"].values - expected
    assert (difference == 0).mean() >= 0.999
    # the others lie within float32 rounding of the edge between two channels
    other = difference != 0
    assert set(difference[other].tolist()) <= {-1, 1}
    energy = exact(events, "fixeddac")[other] * 10
    assert np.abs(energy - np.rint(energy)).max() < 2e-3
    same = ~other & (expected >= 0)
    assert np.array_equal(made["energy"].values[same], (expected[same] * 0.1).astype(np.float32))
    assert calibration_of(made)["pulser"]["file"] == "pulser.fits.gz"


@pytest.mark.parametrize("method", gains.METHODS)
def test_methods_are_their_definition(method: str) -> None:
    events = inputs.events()
    made = calibrated(events, method=method, rounded=False)
    expected = exact(events, method)
    inside = (expected >= 0) & (expected < 500)
    assert np.array_equal(made["pi"].values >= 0, inside)
    np.testing.assert_allclose(made["energy"].values[inside], expected[inside], rtol=3e-7, atol=1e-5)
    assert made.attrs["gainmeth"] == method.upper()
    assert made.attrs["gainapp"] == 1


def test_the_residual_file_names_the_method() -> None:
    for named, method in (("FULLCUBIC", "FIXEDDAC"), ("CUBIC", "CUBIC"), ("QUADRATIC ", "QUADRATIC")):
        made = calibrated(residual=MAPS["residual"].assign_attrs(gainmeth=named))
        assert made.attrs["gainmeth"] == method
    with pytest.raises(ValueRangeError, match="GAINMETH 'QUARTIC'"):
        calibrated(residual=MAPS["residual"].assign_attrs(gainmeth="quartic"))


def test_the_tool_does_fixeddac_when_asked_for_directcubic() -> None:
    quirk = calibrated(method="directcubic", compat="heasoft")
    xr.testing.assert_equal(quirk, calibrated(method="fixeddac"))
    assert quirk.attrs["gainmeth"] == "FIXEDDAC"
    assert not np.array_equal(quirk["pi"], calibrated(method="directcubic")["pi"])


def test_energy_is_that_of_the_channel_unless_asked_otherwise() -> None:
    rounded, full = calibrated(), calibrated(rounded=False)
    np.testing.assert_array_equal(rounded["pi"], full["pi"])
    good = rounded["pi"].values >= 0
    np.testing.assert_array_equal(
        rounded["energy"].values[good], (rounded["pi"].values[good] * 0.1).astype(np.float32)
    )
    step = full["energy"].values[good] - rounded["energy"].values[good]
    assert step.min() > -1e-4
    assert step.max() < 0.1 + 1e-4
    assert np.isnan(full["energy"].values[~good]).all()


# --- which map ---------------------------------------------------------------------------------------------


def several(times: list[float]) -> xr.Dataset:
    """Return gain maps of several times; the gain of each is its number."""
    parts = [
        inputs.table(gain=np.full(inputs.SHAPE, k + 1.0), offset=np.full(inputs.SHAPE, 3200.0))
        for k in range(len(times))
    ]
    maps = xr.concat(parts, "time").assign_attrs(offpulse=300)
    return maps.assign_coords(time=("time", np.array(times), {"units": "s"}))


@pytest.mark.parametrize(
    ("times", "gain", "gap"),
    [([6e8 - 500, 6e8 + 400], 2.0, 400.0), ([6e8 - 300, 6e8 + 300], 1.0, -300.0), ([6e8 + 9e5], 1.0, 9e5)],
)
def test_the_nearest_map_in_time_serves(times: list[float], gain: float, gap: float) -> None:
    event = inputs.events(detx=np.array([3]), dety=np.array([4]), pha=np.array([3190]))
    together = several(times)
    forms = [together, [together.isel(time=k) for k in range(len(times))]]
    for candidates in forms:
        made = batx.calibrate_energy(event, candidates, method="linear")
        assert float(made["energy"][0]) == pytest.approx(10 * gain)
        assert made.attrs["gain_offset_gap"] == gap
        assert calibration_of(made)["gain_offset"]["gap"] == gap
    assert "from MET 600000000" in made.attrs["history"]


def test_the_time_can_be_given_and_is_else_that_of_the_first_event() -> None:
    event = inputs.events(detx=np.array([3]), dety=np.array([4]), pha=np.array([3190]))
    maps = several([5e8, 6e8])
    assert batx.calibrate_energy(event, maps, method="linear", time=5.1e8).attrs["gain_offset_gap"] == -1e7
    del event.attrs["tstart"]
    assert batx.calibrate_energy(event, maps, method="linear").attrs["gain_offset_gap"] == 0


def test_a_folder_of_maps_is_searched_and_broken_files_are_named(tmp_path: Path) -> None:
    for number, met in enumerate((6e8 - 7e4, 6e8 + 2e4)):
        one = several([met]).isel(time=0).assign_attrs(extname="GAIN_OFFSET_MAP", offpulse=300)
        (tmp_path / f"{number}" / "hk").mkdir(parents=True)
        batx.to_fits(one, tmp_path / f"{number}" / "hk" / f"sw0000000000{number}bgocb.hk")
    (tmp_path / "sw9bgocb.hk").write_text("no FITS")
    event = inputs.events(detx=np.array([3]), dety=np.array([4]), pha=np.array([3190]))
    with pytest.warns(BatxWarning, match="left out a gain map"):
        made = batx.calibrate_energy(event, tmp_path, method="linear")
    record = calibration_of(made)["gain_offset"]
    assert record["file"] == "sw00000000001bgocb.hk"
    assert made.attrs["gain_offset_gap"] == 2e4


# --- odd calibration ---------------------------------------------------------------------------------------


def test_detectors_without_calibration_give_no_energy() -> None:
    maps = {name: ds.copy(deep=True) for name, ds in MAPS.items()}
    maps["gain_offset"]["gain"][0, 0] = 0.0
    maps["gain_offset"]["offset"][0, 1] = np.nan
    maps["pulser"]["gain"][0, 2] = 0.0
    maps["flight_pulser"]["offset"][0, 3] = np.nan
    maps["residual"]["gain2"][0, 4] = np.nan
    maps["residual"]["gain3"][0, 5] = 1e10
    events = inputs.events(
        detx=np.arange(8, dtype=np.int16), dety=np.zeros(8, np.int16), pha=np.full(8, 3000, np.int16)
    )
    with pytest.warns(BatxWarning, match="4 of 8 events fell on detectors without calibration"):
        made = batx.calibrate_energy(events, **maps)
    assert (made["pi"].values == gains.NULL_PI).tolist() == [True] * 4 + [False] * 4
    assert np.isnan(made["energy"].values[:4]).all()
    flat = {name: np.zeros(inputs.SHAPE) for name in ("offset", "gain2", "gain3", "lin_offset")}
    one = np.ones(inputs.SHAPE)
    nothing = {**maps, "residual": inputs.table(gain=one, lin_gain=one, **flat)}
    plain = batx.calibrate_energy(events.isel(event=[4, 5, 6]), **nothing, method="fixeddac", rounded=False)
    np.testing.assert_allclose(
        plain["energy"].values[:2],
        batx.calibrate_energy(events.isel(event=[4, 5]), **maps, rounded=False)["energy"].values,
        rtol=1e-6,
    )


def test_swapped_columns_and_files_are_told() -> None:
    swapped = {"gain": "offset", "offset": "gain"}
    with pytest.warns(BatxWarning, match=r"outside 0 to 500 keV .*GAIN and OFFSET"):
        calibrated(gain_offset=MAPS["gain_offset"].rename(swapped))
    flight = MAPS["flight_pulser"].assign_attrs(ccnm0001="PULSER_GAIN", cbd10001='SOURCE("FLIGHT")')
    with pytest.warns(BatxWarning, match="pulser: found a file that is for flight_pulser"):
        calibrated(pulser=flight)
    calibrated(flight_pulser=flight)


def test_events_off_the_plane_or_without_pulse_height_have_no_energy() -> None:
    events = inputs.events(
        detx=np.array([-1, 286, 5, 5, 5]),
        dety=np.array([5, 5, 173, 5, 5]),
        pha=np.array([3000, 3000, 3000, -1, 3000]),
    )
    with pytest.warns(BatxWarning, match="3 of 5"):
        made = calibrated(events)
    assert (made["pi"].values >= 0).tolist() == [False, False, False, False, True]


def test_null_channels_count_in_no_band() -> None:
    pha = np.array([3000, 600, 3230], dtype=np.int16)
    events = inputs.events(detx=np.full(3, 5, np.int16), dety=np.full(3, 5, np.int16), pha=pha)
    events = events.assign(gti_start=("gti", [6e8]), gti_stop=("gti", [6e8 + 201]))
    made = calibrated(events)
    assert (made["pi"].values >= 0).tolist() == [True, False, False]
    for column in ("energy", "pi"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BatxWarning)
            curve = batx.lightcurve(
                made, dt=201.0, energy=[0, 500], weighting="none", quantity="counts", energy_column=column
            )
        assert float(curve["counts"].sum()) == 1


def test_missing_calibration_is_said_with_the_remedy() -> None:
    events = inputs.events()
    with pytest.raises(MissingFileError, match=r"bgocb.*nearest in time"):
        batx.calibrate_energy(events)
    with pytest.warns(BatxWarning, match="'linear'"):
        linear = batx.calibrate_energy(events, MAPS["gain_offset"])
    assert linear.attrs["gainmeth"] == "LINEAR"
    with pytest.raises(MissingFileError, match="no pulser calibration"):
        batx.calibrate_energy(events, MAPS["gain_offset"], method="fixeddac")
    pulsers = {name: MAPS[name] for name in ("pulser", "flight_pulser")}
    with pytest.warns(BatxWarning, match="no residuals"):
        made = batx.calibrate_energy(events, MAPS["gain_offset"], **pulsers)
    assert made.attrs["gainmeth"] == "FIXEDDAC"
    with pytest.raises(MissingKeywordError, match="OFFPULSE"):
        calibrated(gain_offset=MAPS["gain_offset"].drop_attrs())
    with pytest.raises(MissingVariableError, match="GAIN3"):
        calibrated(residual=MAPS["residual"].drop_vars("gain3"))
    with pytest.raises(ValueRangeError, match="expected one of linear"):
        calibrated(method="splines")
    with pytest.raises(MissingFileError, match="no such file"):
        calibrated(gain_offset="nowhere.fits")
    for wrong in (5, {"a": 1}, [5]):
        with pytest.raises(KindError, match="calibration: found"):
            batx.calibrate_energy(events, MAPS["gain_offset"], calibration=wrong)
    with pytest.raises(ValueRangeError, match="2 times"):
        calibrated(time=[1.0, 2.0])
    with pytest.raises(KindError):
        batx.calibrate_energy(MAPS["pulser"], MAPS["gain_offset"])
    with pytest.raises(MissingVariableError, match="PHA"):
        calibrated(events.drop_vars("pha"))
    with pytest.raises(KindError, match="detector plane"):
        calibrated(pulser=MAPS["pulser"].isel(detx=slice(100)))


def test_inputs_are_left_as_they_are_and_dask_stays_lazy() -> None:
    events = inputs.events()
    before = events.copy(deep=True)
    made = calibrated(events)
    xr.testing.assert_identical(events, before)
    swapped = events.assign(pha=("event", events["pha"].values.astype(">i2")))
    np.testing.assert_array_equal(calibrated(swapped)["pi"], made["pi"])
    lazy = calibrated(events.chunk(event=1000))
    assert lazy["energy"].chunks is not None
    xr.testing.assert_equal(lazy.compute(), made)
    numbers = events.drop_vars(["detx", "dety"]).assign(
        detid=("event", xr.zeros_like(events["pha"]).values.astype(np.int32) + 12345)
    )
    x, y = batx.instrument.detector.detid_to_xy(12345)
    same = events.assign(detx=events["detx"] * 0 + int(x), dety=events["dety"] * 0 + int(y))
    np.testing.assert_array_equal(calibrated(numbers)["pi"], calibrated(same)["pi"])


def test_an_observation_is_calibrated_from_its_own_files(tmp_path: Path) -> None:
    folder = simulate.observation(
        tmp_path, simulate.Source(0.05, imx=0.2, imy=0.1), simulate.Background(0.02), duration=20.0
    )
    tree = batx.open_observation(folder)
    made = tree.bat.calibrate_energy()
    original = tree["events"].to_dataset()
    # pulse heights are whole numbers: energies come back to half of one
    step = (made["energy"] - original["energy"]).values
    assert np.nanmax(np.abs(step)) < 0.25
    record = calibration_of(made)
    assert record["pulser"]["file"] == "pulser.fits"
    assert record["flight_pulser"]["file"] == "fltpulser.fits"
    assert record["gain_offset"]["gap"] == -500.0
    again = original.bat.calibrate_energy(folder / "bat" / "hk", calibration=folder / "caldb")
    np.testing.assert_array_equal(made["pi"], again["pi"])
    back = batx.open_dataset(batx.to_fits(made, tmp_path / "calibrated.evt"))
    assert back.attrs["gainmeth"] == "FIXEDDAC"
    np.testing.assert_array_equal(back["pi"], made["pi"])
    assert calibration_of(back) == record


def test_ten_million_events_take_less_than_a_second() -> None:
    n = 1_000_000
    rng = np.random.default_rng(0)
    columns = {
        "detx": rng.integers(0, 286, n).astype(np.int16),
        "dety": rng.integers(0, 173, n).astype(np.int16),
        "pha": rng.integers(500, 3200, n).astype(np.int16),
    }
    table = gains.polynomials("linear", gains.Maps(np.full(286 * 173, 0.2), np.full(286 * 173, 3200.0)), 0.0)
    gains.energies(table, *(columns[name][:10] for name in COLUMN), 286)
    start = time.perf_counter()
    gains.energies(table, *(columns[name] for name in COLUMN), 286)
    assert time.perf_counter() - start < 0.1
