"""Quaternions, alignment, tangent plane; pointing and place in the field against time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import weight_inputs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

import batx
from batx.attitudes import alignment_matrix, attitude_path, field_position, pointing
from batx.errors import AttitudeError, BatxWarning, PositionError, ValueRangeError
from batx.instrument import sky
from batx.instrument.distortion import DistortionMap
from batx.kernels.trace import place_at
from batx.positions import sky_position, source_positions
from batx.schema import build, check

components = st.floats(-1, 1, allow_nan=False)
quaternions = st.tuples(components, components, components, components).filter(
    lambda q: np.linalg.norm(q) > 1e-3
)
angles = st.tuples(st.floats(0, 359.999), st.floats(-89.9, 89.9))


def unit(q: object) -> np.ndarray:
    array = np.asarray(q, dtype=float)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


@given(quaternions)
def test_quaternion_to_matrix_and_back(q: tuple) -> None:
    matrix = sky.quaternion_to_matrix(q)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1)
    again = sky.matrix_to_quaternion(matrix)
    expected = unit(q)
    assert min(np.abs(again - expected).max(), np.abs(again + expected).max()) < 1e-12
    assert again[3] >= 0


@given(quaternions)
def test_matrix_is_the_inverse_rotation_of_scipy(q: tuple) -> None:
    np.testing.assert_allclose(sky.quaternion_to_matrix(q), Rotation.from_quat(q).as_matrix().T, atol=1e-14)


@given(quaternions, quaternions, st.floats(0, 1))
def test_slerp_agrees_with_scipy(q0: tuple, q1: tuple, fraction: float) -> None:
    assume(abs(unit(q0) @ unit(q1)) > 1e-6)  # half a turn has no shorter way
    ours = sky.slerp(fraction, [0.0, 1.0], [q0, q1])
    theirs = Slerp([0.0, 1.0], Rotation.from_quat([q0, q1]))(fraction).as_matrix().T
    np.testing.assert_allclose(sky.quaternion_to_matrix(ours), theirs, atol=1e-9)


@settings(deadline=None)  # the first call compiles
@given(quaternions, quaternions, angles, st.floats(0, 1))
def test_turning_axes_are_slerp(q0: tuple, q1: tuple, place: tuple, fraction: float) -> None:
    assume(abs(unit(q0) @ unit(q1)) > 1e-6)
    rows = build("attitude", {"time": [0.0, 1.0], "quaternion": np.array([q0, q1])})
    path = attitude_path(rows, sky.NOMINAL_ALIGNMENT)
    imx, imy, front = sky.sky_to_tangent(*place, sky.slerp(fraction, [0.0, 1.0], [q0, q1]), path.alignment)
    assume(np.hypot(imx, imy) < 100)
    x, y, ahead = place_at(fraction, *path.motion, sky.radec_to_vector(*place))
    assert ahead == front
    np.testing.assert_allclose([x, y], [imx, imy], atol=1e-9)


def test_slerp_is_constant_outside_and_takes_the_shorter_way() -> None:
    rows = np.array([[0, 0, 0, 1.0], [0, 0, -np.sin(0.1), -np.cos(0.1)]])
    result = sky.slerp([-5.0, 0.5, 9.0], [0.0, 1.0], rows)
    np.testing.assert_allclose(result[0], rows[0])
    np.testing.assert_allclose(result[1], [0, 0, np.sin(0.05), np.cos(0.05)], atol=1e-15)
    np.testing.assert_allclose(np.abs(result[2]), np.abs(rows[1]), atol=1e-15)
    np.testing.assert_allclose(sky.slerp([0.0, 3.0], [1.0], rows[:1]), [rows[0], rows[0]])


@given(quaternions, st.floats(-2, 2), st.floats(-2, 2))
def test_tangent_plane_to_sky_and_back(q: tuple, imx: float, imy: float) -> None:
    matrix = sky.normalised_alignment(sky.NOMINAL_ALIGNMENT)
    ra, dec = sky.tangent_to_sky(imx, imy, q, matrix)
    x, y, front = sky.sky_to_tangent(ra, dec, q, matrix)
    assert front
    np.testing.assert_allclose([x, y], [imx, imy], atol=1e-9)


@given(st.floats(0.01, 80), st.floats(-179, 179))
def test_theta_phi_and_back(theta: float, phi: float) -> None:
    again = sky.tangent_to_theta_phi(*sky.theta_phi_to_tangent(theta, phi))
    np.testing.assert_allclose(again, (theta, phi), atol=1e-8)


@given(angles)
def test_vector_to_radec_and_back(place: tuple) -> None:
    ra, dec = sky.vector_to_radec(sky.radec_to_vector(*place))
    np.testing.assert_allclose([ra, dec], place, atol=1e-9)


def test_behind_the_instrument_is_not_front() -> None:
    imx, imy, front = sky.sky_to_tangent([0.0, 90.0, 180.0], 0.0, [0, 0, 0, 1], sky.NOMINAL_ALIGNMENT)
    assert front.tolist()[::2] == [True, False]
    assert np.isfinite(imx).all()
    assert np.isfinite(imy).all()


def test_normalised_alignment_is_orthonormal() -> None:
    stored = weight_inputs.arrays()["alignment"]
    matrix = sky.normalised_alignment(stored)
    assert np.abs(stored @ stored.T - np.eye(3)).max() > 1e-11
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-15)
    np.testing.assert_allclose(matrix, stored, atol=2e-9)


@pytest.mark.parametrize("name", ["attitude", "attitude_slew"])
def test_pointing_agrees_with_the_columns_of_the_file(name: str) -> None:
    rows = weight_inputs.attitude(name)
    result = pointing(rows)
    assert check(result) == []
    np.testing.assert_allclose(
        np.column_stack([result["ra"], result["dec"], result["roll"]])[::50],
        weight_inputs.arrays()[f"{name}/pointing"],
        atol=1e-9,
    )


def test_pointing_of_a_real_attitude(shared: Path) -> None:
    from astropy.io import fits

    rows = fits.getdata(shared / "data/attitude/attitude.fits.gz", "ATTITUDE")
    result = pointing(
        build("attitude", {"time": rows["TIME"].astype(float), "quaternion": rows["QPARAM"].astype(float)})
    )
    stored = rows["POINTING"].astype(float)
    assert np.abs(result["dec"] - stored[:, 1]).max() < 0.1
    for name, column in (("ra", 0), ("roll", 2)):
        assert np.abs((result[name] - stored[:, column] + 180) % 360 - 180).max() < 0.2


def test_pointing_with_alignment_is_the_bat_axis() -> None:
    rows = weight_inputs.attitude()
    axis = pointing(rows, [6.0e8], alignment=weight_inputs.alignment())
    place = field_position(
        rows, axis["ra"].item(), axis["dec"].item(), [6.0e8], alignment=weight_inputs.alignment()
    )
    assert place["theta"].item() < 1e-6


def test_field_position() -> None:
    rows = weight_inputs.attitude("attitude_slew")
    aux = {
        key.split("/")[-1]: a
        for key, a in weight_inputs.arrays().items()
        if key.startswith("mwevt_slew/aux/")
    }
    single = field_position(
        rows, weight_inputs.RA, weight_inputs.DEC, aux["TIME"], alignment=weight_inputs.alignment()
    )
    np.testing.assert_allclose(single["imx"], aux["IMX"], atol=1e-13)
    np.testing.assert_allclose(single["imy"], aux["IMY"], atol=1e-13)
    several = field_position(
        rows,
        [weight_inputs.RA, weight_inputs.RA + 180],
        [weight_inputs.DEC, -weight_inputs.DEC],
        aux["TIME"],
        alignment=weight_inputs.alignment(),
    )
    assert several["imx"].dims == ("source", "time")
    np.testing.assert_array_equal(several["imx"][0], single["imx"])
    assert not several["front"][1].any()
    assert several["imx"][1].isnull().all()
    np.testing.assert_allclose(several["theta"].sum("source"), 180)


class TestAttitudeInput:
    def test_rows_are_ordered_and_bad_ones_left_out(self) -> None:
        q = np.tile([0.0, 0, 0, 1], (5, 1))
        q[1] = 0
        q[2, 0] = np.nan
        rows = build("attitude", {"time": [3.0, 1.0, 2.0, 0.0, 3.0], "quaternion": q})
        with pytest.warns(BatxWarning, match="2 of 5 rows"):
            path = attitude_path(rows, sky.NOMINAL_ALIGNMENT)
        assert path.times.tolist() == [0.0, 3.0]

    def test_no_usable_row(self) -> None:
        rows = build("attitude", {"time": [0.0], "quaternion": np.zeros((1, 4))})
        with pytest.raises(AttitudeError, match="none of them"):
            attitude_path(rows, sky.NOMINAL_ALIGNMENT)

    def test_absent(self) -> None:
        with pytest.raises(AttitudeError, match="found none"):
            attitude_path(None, sky.NOMINAL_ALIGNMENT)

    def test_times_outside(self) -> None:
        rows = weight_inputs.attitude()
        with pytest.raises(AttitudeError, match=r"1 of 2 times .* extrapolate=True"):
            pointing(rows, [6.0e8, 6.1e8])
        end = pointing(rows, [6.1e8], extrapolate=True)
        np.testing.assert_allclose(end["quaternion"][0], rows["quaternion"][-1], atol=1e-12)

    def test_times_not_finite(self) -> None:
        path = attitude_path(weight_inputs.attitude(), sky.NOMINAL_ALIGNMENT)
        with pytest.raises(ValueRangeError, match="1 of 2"):
            path.require(path.coverage(np.array([6.0e8, np.nan])))

    def test_gap_between_rows_is_a_warning(self) -> None:
        times = np.r_[np.arange(0.0, 20.0), np.arange(100.0, 120.0)]
        path = attitude_path(
            build("attitude", {"time": times, "quaternion": np.tile([0.0, 0, 0, 1], (40, 1))}),
            sky.NOMINAL_ALIGNMENT,
        )
        covered = path.coverage(np.array([5.0, 50.0])) + path.coverage(np.array([60.0, 110.0]))
        with pytest.warns(BatxWarning, match="2 of 4 events"):
            path.require(covered)

    def test_nominal_alignment_is_a_warning(self) -> None:
        with pytest.warns(BatxWarning, match="nominal axes"):
            np.testing.assert_array_equal(alignment_matrix(), sky.NOMINAL_ALIGNMENT)

    @pytest.mark.parametrize("bad", [np.ones((3, 3)), np.diag([1.0, 1, -1]), np.eye(2)])
    def test_alignment_must_be_a_rotation(self, bad: np.ndarray) -> None:
        with pytest.raises(AttitudeError, match="rotation"):
            alignment_matrix(bad)


class TestPositions:
    def test_forms_of_a_sky_position(self) -> None:
        import astropy.units as u
        from astropy.coordinates import SkyCoord

        for given_as in (
            (10.0, -20.0),
            (10.0 * u.deg, -1200.0 * u.arcmin),
            (SkyCoord(10.0, -20.0, unit="deg"), None),
            (SkyCoord(10.0, -20.0, unit="deg").galactic, None),
        ):
            np.testing.assert_allclose(sky_position(*given_as), (10.0, -20.0), atol=1e-9)

    @pytest.mark.parametrize(
        ("position", "text"),
        [
            ((10.0, None), "without dec"),
            ((10.0, 91.0), "-90 to 90"),
            ((np.nan, 0.0), "finite"),
            ((np.zeros((2, 2)), 0.0), "1-D"),
            (([], []), "shape"),
        ],
    )
    def test_bad_sky_positions(self, position: tuple, text: str) -> None:
        with pytest.raises(PositionError, match=text):
            source_positions(*position)

    def test_other_frames(self) -> None:
        np.testing.assert_allclose(
            source_positions(30.0, 20.0, "thetaphi").directions()[0, :2], sky.theta_phi_to_tangent(20.0, 30.0)
        )
        np.testing.assert_allclose(source_positions(50, 20, "cartesian", 500).directions()[0], [0.1, 0.04, 1])
        with pytest.raises(PositionError, match="distance"):
            source_positions(50, 20, "cartesian")
        with pytest.raises(PositionError, match="frame"):
            source_positions(0, 0, "galactic")
        with pytest.raises(PositionError, match="theta"):
            source_positions(0, 95, "thetaphi")


def test_distortion_is_bilinear_and_keeps_its_edge() -> None:
    y, x = np.mgrid[0:3, 0:4]
    grid = DistortionMap(np.stack([0.01 * x, 0.02 * y + 0.001 * x]), (-1.0, -1.0), (0.5, 1.0))
    dx, dy = grid([-1.0, -0.6, 9.0], [-1.0, 0.3, 9.0])
    np.testing.assert_allclose(dx, [0, 0.008, 0.03])
    np.testing.assert_allclose(dy, [0, 0.0268, 0.043])
    true = grid.true(*grid.apparent(0.2, 0.1))
    np.testing.assert_allclose(true, (0.2, 0.1), atol=1e-3)
    with pytest.raises(ValueRangeError, match="shape"):
        DistortionMap(np.zeros((3, 4)), (0, 0), (1, 1))


def test_slews_of_a_real_day(shared: Path) -> None:
    """In a slew the spacecraft is not settled, but for the ends; outside it nearly always is."""
    rows = batx.open_dataset(shared / "data" / "attitude" / "attitude.fits.gz").load()
    flags = batx.open_dataset(shared / "data" / "attitude" / "acs.fits.gz").load()
    slews = rows.bat.gti_of_slews()
    assert batx.check(slews) == [] and slews.sizes["gti"] == 28
    inside = np.zeros(rows.sizes["time"], bool)
    for start, stop in zip(slews.start.values, slews.stop.values, strict=True):
        inside |= (rows.time.values > start) & (rows.time.values < stop)
    settled = np.interp(rows.time, flags.time, flags.settled.astype(float))
    assert settled[inside].mean() < 0.01 and settled[~inside].mean() > 0.75
    assert (slews.stop - slews.start).values.min() > 20


def test_no_slew_is_an_empty_list() -> None:
    still = batx.simulate.attitude(0.0, 60.0, (150, 30, 40), seed=1)
    found = batx.gti_of_slews(still)
    assert batx.check(found) == [] and found.sizes["gti"] == 0
    turn = batx.simulate.attitude(0.0, 60.0, (150, 30, 40), slews=[batx.simulate.Slew(20, 40, 152, 30, 40)])
    assert batx.gti_of_slews(turn, angle=3.0).sizes["gti"] == 0
    assert batx.gti_of_slews(turn).sizes["gti"] == 1
