"""When a source can be seen, and what part of an image was hidden: the tools, and geometry."""

from __future__ import annotations

import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import GCRS, SkyCoord, get_body

import batx
from batx import simulate
from batx.archive.coding import field_position
from batx.errors import (
    AttitudeError,
    BatxWarning,
    GtiError,
    KindError,
    OrbitError,
    PositionError,
    ValueRangeError,
)
from batx.kernels import occult
from batx.met import met_to_time, to_met
from batx.orbits import OrbitTable, attitude_of_orbit

T0 = 6e8
UTCF = {"utcf": -22.5}


@pytest.fixture(scope="module")
def gti_folder(shared: Path) -> Path:
    return shared / "reference" / "survey" / "batoccultgti"


@pytest.fixture(scope="module")
def map_folder(shared: Path) -> Path:
    return shared / "reference" / "survey" / "batoccultmap"


def orbit(earth_ra, step: float = 60.0, distance: float = 6950.0, **columns) -> xr.Dataset:
    """Return an orbit with the Earth at these right ascensions on the equator, Sun and Moon far from it."""
    earth = np.asarray(earth_ra, float)
    full = {
        "earth_ra": earth,
        "earth_dec": 0 * earth,
        "sun_ra": 0 * earth + 200.0,
        "sun_dec": 0 * earth + 60.0,
        "moon_ra": 0 * earth + 200.0,
        "moon_dec": 0 * earth - 60.0,
        "sat_alt": 0 * earth + distance,
        **columns,
    }
    variables = {name: ("time", np.broadcast_to(value, earth.shape)) for name, value in full.items()}
    return xr.Dataset(variables, {"time": T0 + step * np.arange(earth.size)}, UTCF)


# --- the tools ---------------------------------------------------------------------------------------------


def test_places_and_good_time_are_those_of_batoccultgti(gti_folder: Path) -> None:
    tool = batx.open_dataset(gti_folder / "calc.fits")
    seen = batx.visibility(185.0, 10.0, orbit=gti_folder / "sao.fits")
    for name in ("imx", "imy"):
        np.testing.assert_allclose(seen[name].values, tool[name].values, rtol=0, atol=4e-8)
    np.testing.assert_allclose(seen["theta"].values, tool["theta"].values, rtol=0, atol=2e-6)
    found = batx.visibility_gti(185.0, 10.0, orbit=gti_folder / "sao.fits", constraints="earth,moon,sun")
    expected = batx.open_dataset(gti_folder / "unocc.gti")
    np.testing.assert_array_equal(found["start"], expected["start"])
    np.testing.assert_array_equal(found["stop"], expected["stop"])


@pytest.mark.parametrize(
    ("image", "result", "options"),
    [
        ("sky.img", "image_time.occ", {"tolerance": 0, "compat": "heasoft"}),
        ("sky.img", "image_pos.occ", {"constraints": "earth", "method": "position", "tolerance": 5}),
        (
            "sky.img",
            "contour_pos.occ",
            {"constraints": "earth", "method": "position", "tolerance": 5, "algorithm": "contour"},
        ),
        ("sky.img", "any.occ", {"constraints": "earth", "always": True}),
        ("short.img", "short.occ", {"constraints": "earth"}),
    ],
)
def test_maps_are_those_of_batoccultmap(map_folder: Path, image: str, result: str, options: dict) -> None:
    made = batx.open_dataset(map_folder / image).bat.occultation(map_folder / "sao.fits", **options)
    from astropy.io import fits

    tool = fits.getdata(map_folder / result)
    shown = np.isfinite(tool)
    assert shown.mean() > 0.9
    # the tool adds in single precision
    limit = 5e-8 if "contour" in result else 3e-8
    np.testing.assert_allclose(made.values[shown], tool[shown], rtol=0, atol=limit)


def test_the_map_of_the_survey_chain(shared: Path) -> None:
    """What batsurvey divides its images by, every fourth pixel of it: algorithm CONTOUR."""
    survey = shared / "reference" / "survey"
    golden, inputs = survey / "batsurvey" / "golden", survey / "survey_obs"
    image = batx.sky_image(
        batx.open_dataset(golden / "point_20200061040_1.dpi.gz").isel(energy=[0]),
        aperture=batx.open_dataset(inputs / "aper_flux.fits"),
        attitude=batx.open_dataset(golden / "point_20200061040.att"),
        alignment=batx.open_dataset(inputs / "teldef.fits"),
        noise=False,
        compat="heasoft",
    )
    from astropy.io import fits

    tool = fits.getdata(golden / "occimg_every4th_pixel.fits.gz")
    shown = np.isfinite(tool)
    orbit_file = inputs / "00099999001" / "auxil" / "sw00099999001sao.fits"
    options = {"constraints": "earth", "method": "position", "tolerance": 5}
    drawn = image.bat.occultation(orbit_file, **options, algorithm="contour").values[::4, ::4]
    np.testing.assert_allclose(drawn[shown], tool[shown], rtol=0, atol=1e-7)
    exact = image.bat.occultation(orbit_file, **options).values[::4, ::4]
    differ = np.abs(exact - tool)[shown] > 1e-6
    assert differ.sum() == 138 and shown.sum() == 91490


def test_a_drawn_limb_hides_what_is_smaller_than_a_pixel() -> None:
    inside = np.zeros((5, 5), bool)
    drawn = occult.drawn_lines(np.array([2.1, 1.9, np.nan, 9.0]), np.array([3.0, 3.2, 3.0, 3.0]), (5, 5))
    assert np.argwhere(drawn).tolist() == [[3, 2]]
    assert np.argwhere(occult.filled_outline(drawn, inside)).tolist() == [[3, 2]]
    assert not occult.filled_outline(inside, inside).any() and occult.filled_outline(inside, ~inside).all()


# --- geometry ----------------------------------------------------------------------------------------------


def test_the_earth_hides_what_is_behind_it() -> None:
    table = orbit([0.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    limb = float(np.rad2deg(np.arcsin(6383.1 / 6950)))
    seen = batx.visibility([0.0, 180.0], 0.0, orbit=table)
    assert seen["earth_angle"].dims == ("source", "time")
    np.testing.assert_allclose(seen["earth_angle"][0], [0, 20, 40, 60, 80, 100], atol=1e-9)
    np.testing.assert_allclose(seen["earth_radius"], limb)
    np.testing.assert_array_equal(seen["earth_occulted"][0], [True, True, True, True, False, False])
    assert not seen["occulted"][1].any()
    good = batx.visibility_gti(0.0, 0.0, orbit=table)
    assert (good["start"].values - T0).tolist() == [210.0]
    assert (good["stop"].values - T0).tolist() == [300.0]
    deep = batx.visibility(0.0, 0.0, orbit=table, atmosphere=500.0)
    assert float(deep["earth_radius"][0]) > limb + 10


def test_sun_and_moon_hide_their_discs() -> None:
    seen = batx.visibility([200.0, 200.0, 200.0], [60.26, 60.28, -60.0], orbit=orbit([0.0, 1.0]))
    assert seen["sun_occulted"][:, 0].values.tolist() == [True, False, False]
    assert seen["moon_occulted"][:, 0].values.tolist() == [False, False, True]
    only = batx.visibility(200.0, 60.0, orbit=orbit([0.0]), constraints="earth")
    assert bool(only["occulted"][0])
    assert bool(only["visible"][0])


def test_directions_are_interpolated_between_rows() -> None:
    table = orbit([0.0, 3.9, 7.8])
    seen = batx.visibility(90.0, 0.0, times=[T0 + 15.0, T0 + 90.0], orbit=table)
    np.testing.assert_allclose(seen["earth_angle"], [90 - 0.975, 90 - 5.85], atol=1e-3)
    with pytest.raises(OrbitError, match="times from"):
        batx.visibility(90.0, 0.0, times=[T0 - 1], orbit=table)
    with pytest.raises(OrbitError, match="no rows for 300 s"):
        batx.visibility(90.0, 0.0, times=[T0 + 10], orbit=orbit([0.0, 20.0], step=300.0))


def test_sun_and_moon_come_from_the_almanac_where_the_orbit_lacks_them() -> None:
    attitude = simulate.attitude(T0, 60.0)
    from batx.simulate.orbit import prefilter

    columns = prefilter(attitude, step=10.0)
    bodies = ("SUN_RA", "SUN_DEC", "MOON_RA", "MOON_DEC")
    directions = {name.lower(): ("time", columns[name]) for name in bodies}
    table = xr.Dataset(
        {
            "position": (("time", "axis"), columns["POSITION"]),
            **directions,
        },
        {"time": columns["TIME"]},
        UTCF,
    )
    held = batx.visibility(150.0, 30.0, orbit=table)
    bare = batx.visibility(150.0, 30.0, orbit=table.drop_vars(["sun_ra", "moon_ra"]))
    # the simulation has low-precision series of the centre of the Earth, of the mean equinox
    assert np.abs(held["sun_angle"] - bare["sun_angle"]).max() < 0.35
    assert np.abs(held["moon_angle"] - bare["moon_angle"]).max() < 2.5
    alone = batx.visibility(150.0, 30.0, times=columns["TIME"], utcf=-22.5, constraints="sun,moon")
    assert np.abs(alone["sun_angle"] - bare["sun_angle"]).max() < 0.01
    assert 1e-4 < np.abs(alone["moon_angle"] - bare["moon_angle"]).max() < 1.1
    with pytest.raises(OrbitError, match="where the earth is seen"):
        batx.visibility(150.0, 30.0, times=[T0], utcf=-22.5)


def test_the_coded_fraction_is_that_of_the_trace() -> None:
    attitude = simulate.attitude(T0, 60.0, slews=[simulate.Slew(20.0, 40.0, 200.0, 10.0, 45.0)])
    aperture, alignment = simulate.aperture(), simulate.alignment()
    times = T0 + np.array([0.0, 10.0, 30.0, 59.0])
    options = {"attitude": attitude, "alignment": alignment, "aperture": aperture}
    seen = batx.visibility(155.0, 25.0, times=times, constraints="field", utcf=-22.5, **options)
    trace = batx.ray_trace(attitude, 155.0, 25.0, times=times, aperture=aperture, alignment=alignment)
    np.testing.assert_array_equal(seen["pcode"], np.nan_to_num(trace["pcode"]))
    assert seen["visible"].values.tolist() == (seen["pcode"] > 0).values.tolist()
    strict = batx.visibility(
        155.0, 25.0, times=times, constraints="field", utcf=-22.5, pcode_min=2.0, **options
    )
    assert not strict["visible"].any()
    behind = batx.visibility(
        330.0, -30.0, times=times[:2], attitude=attitude, alignment=alignment, constraints="field", utcf=-22.5
    )
    assert not behind["visible"].any()
    assert np.isnan(behind["imx"]).all()


def test_a_pointing_that_is_kept_is_an_attitude() -> None:
    times = [T0, T0 + 500.0]
    options = {"times": times, "constraints": "field", "utcf": -22.5}
    seen = batx.visibility(150.0, 30.0, attitude=(150.0, 30.0, 40.0), **options)
    np.testing.assert_allclose(seen["theta"], 0.0, atol=1e-6)
    off = batx.visibility(150.0, 40.0, attitude=(150.0, 30.0, 0.0), aperture=simulate.aperture(), **options)
    np.testing.assert_allclose(off["theta"], 10.0, atol=1e-9)
    np.testing.assert_allclose(off["imy"], np.tan(np.deg2rad(10.0)), atol=1e-12)
    assert bool((off["pcode"] == 1).all())
    with pytest.raises(AttitudeError, match="right ascension, declination and roll"):
        batx.visibility(150.0, 30.0, attitude=(150.0, 30.0), **options)


def test_the_pointing_of_an_orbit_table_is_its_attitude() -> None:
    angles = {"ra": [10.0, 200.0, np.nan], "dec": [-80.0, 30.0, 0.0], "roll": [5.0, 300.0, 0.0]}
    table = orbit([0.0, 1.0, 2.0], **angles)
    attitude = attitude_of_orbit(table)
    assert attitude is not None
    with pytest.warns(BatxWarning, match="1 of 3 rows"):
        found = batx.pointing(attitude, [T0, T0 + 60.0])
    for name in ("ra", "dec", "roll"):
        np.testing.assert_allclose(found[name].values, angles[name][:2], atol=1e-9)


def test_the_share_of_a_sample_is_the_time_nearest_to_it() -> None:
    image = sky((T0, T0 + 100.0))
    # the pixel in the middle is hidden at the first and the last of three rows
    table = orbit([150.0, 0.0, 150.0], step=50.0, earth_dec=np.array([30.0, 0.0, 30.0]))
    free = batx.occultation(image, table, constraints="earth")
    assert float(free.sel(imx=0, imy=0)) == pytest.approx(0.5)
    assert float(batx.occultation(image, table, constraints="earth", always=True).sel(imx=0, imy=0)) == 0
    two = sky((T0, T0 + 100.0), gti=[(T0 - 2.0, T0 + 2.0), (T0 + 20.0, T0 + 60.0)])
    # a single row of a short interval has the share of that interval, unless the tool is asked for
    assert float(batx.occultation(two, table, constraints="earth").sel(imx=0, imy=0)) == pytest.approx(
        40 / 44
    )
    quirk = batx.occultation(two, table, constraints="earth", compat="heasoft").sel(imx=0, imy=0)
    assert float(quirk) == 0


def sky(span: tuple[float, float], gti: list[tuple[float, float]] | None = None) -> xr.Dataset:
    """Return a small image of the sky around (150, 30)."""
    from batx.sky_coords import image_cards

    axis = np.linspace(-0.4, 0.4, 9)
    cards = image_cards((5.0, 5.0), (0.1, 0.1), pointing=(150.0, 30.0, 0.0))
    good = np.array([span] if gti is None else gti)
    return batx.build(
        "sky_image",
        {
            "imx": axis,
            "imy": axis,
            "wcs": ((), np.array(cards)),
            "rate": (("imy", "imx"), np.zeros((9, 9), np.float32)),
            "gti_start": good[:, 0],
            "gti_stop": good[:, 1],
        },
        {"telescope": "SWIFT", "instrument": "BAT"},
    )


def test_samples_are_thinned_as_asked() -> None:
    rows, times = np.arange(6), np.arange(6.0)[:, None]
    assert occult.thinned(times, rows, 2.0).tolist() == [0, 2, 4, 5]
    assert occult.thinned(times, rows, 0.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert occult.thinned(times, rows[:3], 2.0).tolist() == [0, 1, 2]
    assert occult.nearest_rows(np.array([0.0, 10.0]), 8.0, 9.0).tolist() == [1]
    assert occult.nearest_rows(np.array([0.0, 10.0]), 11.0, 12.0).size == 0


# --- bad input ---------------------------------------------------------------------------------------------


def test_bad_input_is_said() -> None:
    table = orbit([0.0, 1.0])
    with pytest.raises(ValueRangeError, match=r"expected some of earth, moon, sun, field"):
        batx.visibility(0.0, 0.0, orbit=table, constraints="mars")
    with pytest.raises(OrbitError, match="prefilter"):
        batx.visibility(0.0, 0.0, orbit=5)
    with pytest.raises(OrbitError, match="neither sat_alt nor position"):
        batx.visibility(0.0, 0.0, orbit=table.drop_vars("sat_alt"))
    with pytest.raises(OrbitError, match="neither earth_ra"):
        batx.visibility(0.0, 0.0, orbit=table.drop_vars("earth_ra"))
    with pytest.raises(OrbitError, match="none with a time"):
        OrbitTable.of(table * np.nan)
    with pytest.raises(OrbitError, match="no times, orbit or attitude"):
        batx.visibility(0.0, 0.0)
    with pytest.raises(PositionError):
        batx.visibility(0.0, 100.0, orbit=table)
    with pytest.raises(AttitudeError, match="no attitude"):
        batx.visibility(0.0, 0.0, orbit=table, aperture=simulate.aperture())
    with pytest.raises(ValueRangeError, match="2 positions"):
        batx.visibility_gti([0.0, 1.0], 0.0, orbit=table)
    image = sky((T0, T0 + 100.0))
    with pytest.raises(KindError):
        batx.occultation(table, table)
    with pytest.raises(GtiError, match="no good time"):
        batx.occultation(sky((T0, T0)), table)
    with pytest.raises(OrbitError, match="no row of the orbit"):
        batx.occultation(sky((T0 + 1e5, T0 + 2e5)), table)
    with pytest.raises(ValueRangeError, match="'time' or 'position'"):
        batx.occultation(image, table, method="often")
    with pytest.raises(ValueRangeError, match="algorithm"):
        batx.occultation(image, table, algorithm="limb")
    with pytest.raises(ValueRangeError, match="expected some of earth, moon, sun, or"):
        batx.occultation(image, table, constraints="field")


@pytest.mark.parametrize(
    "pointing",
    [(10 * u.deg, 20 * u.deg, 0.5 * u.rad), [10.0, 20.0, 28.64788975654116], (10, 20, 28.64788975654116)],
)
def test_forms_of_a_pointing(pointing) -> None:
    seen = batx.visibility(15.0, 25.0, times=[T0], attitude=pointing, constraints="field", utcf=-22.5)
    expected = field_position(15.0, 25.0, [10.0], [20.0], [28.64788975654116])
    assert float(seen["imx"][0]) == pytest.approx(expected[0][0], abs=1e-9)
    assert float(seen["imy"][0]) == pytest.approx(expected[1][0], abs=1e-9)


@pytest.mark.parametrize(
    "pointing", [(10, 20), ("a", 20, 3), (10, 99, 3), (10, 20, np.nan), "text", 5, ([1, 2], 3, 4)]
)
def test_what_is_no_pointing(pointing) -> None:
    with pytest.raises(AttitudeError, match="roll"):
        batx.visibility(15.0, 25.0, times=[T0], attitude=pointing, constraints="field", utcf=-22.5)


@pytest.mark.parametrize("times", [[], [[T0, T0 + 1]], [np.inf]])
def test_what_are_no_times(times) -> None:
    with pytest.raises(ValueRangeError, match="times"):
        batx.visibility(15.0, 25.0, times=times, constraints="sun", utcf=-22.5)


def test_the_order_of_times_does_not_matter() -> None:
    times = T0 + 60.0 * np.arange(10)
    options = {"constraints": "field", "attitude": (10.0, 20.0, 30.0), "utcf": -22.5}
    for order in (times, times[::-1], np.roll(times, 3)):
        free = batx.visibility_gti(15.0, 25.0, times=order, **options)
        assert (free["start"].item(), free["stop"].item()) == (times[0], times[-1])
    with pytest.raises(ValueRangeError, match="one dimension"):
        batx.field_position(
            simulate.attitude(T0, 60.0), 15.0, 25.0, [[T0 + 1]], alignment=simulate.alignment()
        )


def test_dates_are_those_of_the_given_clock() -> None:
    """Without a file that tells the clock, the UTCF given is that of the dates, too; and none is missed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = batx.visibility(15.0, 25.0, times=["2020-01-01"], constraints="sun", utcf=-22.5)
    assert float(seen["time"][0]) == pytest.approx(float(to_met("2020-01-01", utcf=-22.5)))


def test_sun_and_moon_are_those_of_astropy() -> None:
    """Separations in the geocentric frame of date; the rest is aberration, 0.006 degrees."""
    ra, dec = np.array([10.0, 130.0, 250.0]), np.array([-70.0, 5.0, 40.0])
    seen = batx.visibility(ra, dec, times=np.linspace(4e8, 7.5e8, 5), constraints="sun,moon", utcf=-22.5)
    frame = GCRS(obstime=met_to_time(seen["time"], utcf=-22.5))
    source = SkyCoord(ra, dec, unit="deg")[:, None].transform_to(frame)
    for body in ("sun", "moon"):
        expected = source.separation(get_body(body, frame.obstime)).deg
        np.testing.assert_allclose(seen[f"{body}_angle"], expected, rtol=0, atol=0.006)
