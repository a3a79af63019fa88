"""The steady attitude of a pointing against the tool aspect, and when it was held."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import AttitudeError, BatxError, GtiError, KindError
from batx.heasoft import Engine, Recording, Replay
from batx.instrument import sky
from batx.kernels.steady import Steps, steady_rotation
from batx.schema import build
from batx.simulate import Slew

REFERENCE = Path(__file__).parent / "reference"
START = 6e8
ARCSEC = 3600.0
#: whole histograms of the snapshot
SNAPSHOT = [(START + 300.0 * row, START + 300.0 * row + 299.8) for row in range(3)]
TARGET = (150.0, 30.0, 40.0)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "survey.npz") as made:
        return dict(made)


@pytest.fixture(scope="module")
def attitude(arrays: dict[str, np.ndarray]) -> xr.Dataset:
    angles = {
        name: (("time",), arrays["attitude_pointing"][:, k]) for k, name in enumerate(("ra", "dec", "roll"))
    }
    rows = {"time": arrays["attitude_time"], "quaternion": arrays["attitude_quaternion"]}
    return build("attitude", rows | angles)


def apart(one: xr.Dataset, pointing: np.ndarray) -> float:
    """Greatest difference of directions and rolls, arcsec."""
    there = sky.radec_to_vector(pointing[..., 0], pointing[..., 1])
    here = sky.radec_to_vector(one["ra"].values, one["dec"].values)
    rolled = np.abs(one["roll"].values - pointing[..., 2]) * ARCSEC
    return float(max(np.rad2deg(np.linalg.norm(there - here, axis=-1)).max() * ARCSEC, rolled.max()))


def test_committed_arrays_are_those_of_the_reference_folder(shared: Path, arrays):
    spec = importlib.util.spec_from_file_location("extract_survey", REFERENCE / "extract_survey.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    fresh = script.extract(shared)
    assert fresh.keys() == arrays.keys()
    for name, array in fresh.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@pytest.mark.parametrize(("name", "gti"), [("aspect", None), ("snapshot", SNAPSHOT)])
def test_the_tools_attitude(attitude, arrays, name, gti):
    steady = batx.steady_attitude(attitude, arrays["aspect_gti"] if gti is None else gti)
    assert apart(steady, arrays[f"{name}_pointing"]) < 1e-4
    np.testing.assert_allclose(steady["quaternion"], arrays[f"{name}_quaternion"], rtol=0, atol=1e-10)
    np.testing.assert_array_equal(steady["time"], arrays[f"{name}_time"])


def test_when_it_was_held(attitude, arrays):
    steady = batx.steady_attitude(attitude, SNAPSHOT)
    tool = batx.steady_gti(attitude, steady, SNAPSHOT, compat="heasoft")
    np.testing.assert_array_equal(np.column_stack([tool.start, tool.stop]), arrays["held"])
    assert tool.attrs["bad_seconds"] == pytest.approx(3 * 299.8 - 879.0, abs=1e-6)
    held = batx.steady_gti(attitude, steady, SNAPSHOT)
    assert held.identical(batx.steady_gti(attitude.drop_vars(["ra", "dec", "roll"]), steady, SNAPSHOT))
    # the two gaps of 0.2 s between histograms are no good time
    assert held.attrs["bad_seconds"] == pytest.approx(tool.attrs["bad_seconds"] + 0.4, abs=1e-6)


def test_a_slew_does_not_move_it():
    path = batx.simulate.attitude(0.0, 300.0, TARGET, slews=[Slew(200.0, 260.0, 200.0, 10.0, 80.0)])
    still = batx.steady_attitude(path, (0.0, 190.0))
    whole = batx.steady_attitude(path, (0.0, 300.0))
    assert apart(whole, np.array([[still["ra"][0], still["dec"][0], still["roll"][0]]])) < 5.0
    held = batx.steady_gti(path, whole, (0.0, 300.0))
    assert 190.0 < held["stop"].values[-1] < 203.0


def test_a_first_guess_far_from_where_it_was_longest():
    """The middle of the only interval is in a pointing of 60 s, 50 degrees from that of 170 s."""
    slews = [Slew(20.0, 50.0, 200.0, 10.0, 80.0), Slew(110.0, 130.0, *TARGET)]
    path = batx.simulate.attitude(0.0, 300.0, TARGET, slews=slews, settle_amplitude=0.0)
    steady = batx.steady_attitude(path, (0.0, 140.0))
    assert apart(steady, np.array([[200.0, 10.0, 80.0]])) < 10.0
    steady = batx.steady_attitude(path, [(0.0, 100.0), (60.0, 108.0), (131.0, 300.0)])
    assert apart(steady, np.array([TARGET])) < 10.0
    assert steady.attrs["steady_seconds"] == pytest.approx(189.0, abs=6.0)


@pytest.mark.filterwarnings("error")
def test_a_slew_by_a_right_angle():
    """Directions in the plane of the axis have no place in the histogram, and make no noise about it."""
    turn = np.pi / 4
    rows = np.array([[0.0, 0.0, 0.0, 1.0], [np.sin(turn), 0.0, 0.0, np.cos(turn)]])
    steps = Steps(rows[[0, 0, 0, 1]], np.array([1.0, 1.0, 1.0, 2.0]))
    rotation, seconds = steady_rotation(steps, rows[0])
    assert seconds == 3.0
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)


def test_rolls_on_the_two_sides_of_360_degrees():
    path = batx.simulate.attitude(0.0, 60.0, (150.0, 30.0, 0.0), jitter=20.0, settle_amplitude=0.0)
    steady = batx.steady_attitude(path, (0.0, 60.0))
    assert batx.steady_gti(path, steady, (0.0, 60.0)).attrs["bad_seconds"] < 2.0
    assert batx.steady_gti(path, steady, (0.0, 60.0), compat="heasoft").attrs["bad_seconds"] > 10.0


@pytest.mark.parametrize(
    ("error", "words", "gti"),
    [
        (GtiError, "found no good time", np.empty((0, 2))),
        (AttitudeError, "none of it in good time", [(0.0, 10.0)]),
        (GtiError, "end before they start", [(10.0, 0.0)]),
    ],
)
def test_what_is_wrong_is_said(attitude, error: type[BatxError], words: str, gti):
    with pytest.raises(error, match=words):
        batx.steady_attitude(attitude, gti)
    with pytest.raises(KindError, match="attitude"):
        batx.steady_gti(build("gti", {"start": [0.0], "stop": [1.0]}), attitude, SNAPSHOT)


def test_the_tool_as_engine(attitude, arrays, shared: Path):
    out = shared / "reference/survey/aspect/out.att"
    engine = Engine(Replay([Recording("aspect", {}, {"newattfile": out})]))
    theirs = batx.steady_attitude(attitude, arrays["aspect_gti"], engine=engine)
    ours = batx.steady_attitude(attitude, arrays["aspect_gti"])
    assert batx.identify(theirs) == batx.identify(ours) == "attitude"
    np.testing.assert_allclose(theirs["quaternion"], ours["quaternion"], rtol=0, atol=1e-10)
    np.testing.assert_array_equal(theirs["time"], ours["time"])
