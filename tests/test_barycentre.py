"""Times at the barycentre: against an analytic theory, astropy, and a pulsar seen from an orbit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import (
    GCRS,
    ITRS,
    CartesianRepresentation,
    EarthLocation,
    SkyCoord,
    get_body_barycentric,
)
from astropy.time import Time
from pulsar_inputs import counts_curve

import batx
from batx.errors import KindError, MissingVariableError, OrbitError, PositionError, ValueRangeError
from batx.kernels.orbit import GRAVITY, satellite_position
from batx.met import met_to_time

T0 = 612354000.0
ATTRS = {"telescope": "SWIFT", "instrument": "BAT", "utcf": -25.01704, "tstart": T0}
LIGHT = 299792.458
SOURCES = [(40.918, 61.434), (83.633, 22.014), (270.0, 66.56), (176.64, -58.2)]


def circle(time: np.ndarray, radius: float = 6930.0, tilt: float = 20.6) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities on a circular orbit about the Earth, km and km/s."""
    rate = np.sqrt(GRAVITY / radius**3)
    angle = rate * (time - T0)
    tilt = np.radians(tilt)
    along, across = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    position = radius * (np.cos(angle)[:, None] * along + np.sin(angle)[:, None] * across)
    velocity = radius * rate * (np.cos(angle)[:, None] * across - np.sin(angle)[:, None] * along)
    return position, velocity


def orbit(start: float = T0 - 100, stop: float = T0 + 6100, step: float = 10.0) -> xr.Dataset:
    """A prefilter table of a circular orbit."""
    time = np.arange(start, stop, step)
    position, velocity = circle(time)
    return batx.build(
        "housekeeping",
        {
            "time": time,
            "position": (("time", "position_axis"), position.astype(np.float32), {"units": "km"}),
            "velocity": (("time", "velocity_axis"), velocity.astype(np.float32), {"units": "km/s"}),
        },
        ATTRS,
    )


def events(time: np.ndarray, **attrs) -> xr.Dataset:
    ends = {"gti_start": [float(time[0])], "gti_stop": [float(time[-1]) + 1.0]}
    return batx.build("events", {"time": time, "energy": np.full(time.size, 50.0), **ends}, ATTRS | attrs)


def unit(ra: float, dec: float) -> np.ndarray:
    ra, dec = np.radians([ra, dec])
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def planets(instant: Time) -> np.ndarray:
    """Return the place of the Earth relative to the barycentre, km, from the theory of Simon et al. 1994.

    Heliocentric orbits of eight planets (erfa ``plan94``; the Earth good to 6 arcsec or 15 ms) and the series
    of Meeus for the Moon; the Sun is where it must be so that all masses balance.
    """
    import erfa

    inverse_masses = {
        1: 6023600.0,
        2: 408523.71,
        3: 328900.56,
        4: 3098708.0,
        5: 1047.3486,
        6: 3497.898,
        7: 22902.98,
        8: 19412.24,
    }
    places = {k: erfa.plan94(instant.jd1, instant.jd2, k)["p"] for k in inverse_masses}
    total = 1 + sum(1 / mass for mass in inverse_masses.values())
    sun = -sum(places[k] / mass for k, mass in inverse_masses.items()) / total
    moon = erfa.moon98(instant.jd1, instant.jd2)["p"]
    return 149597870.7 * (sun + places[3] - moon * 0.0123000371 / 1.0123000371)


@pytest.mark.parametrize("source", SOURCES)
def test_against_an_analytic_theory(source: tuple[float, float]):
    """Over two years, within the 15 ms of that theory; corrections are up to 500 s."""
    time = T0 + 86400.0 * np.arange(0.0, 730.0, 7.3)
    instant = met_to_time(time, attrs=ATTRS)
    anomaly = np.radians(357.528 + 0.98560028 * (instant.jd1 + instant.jd2 - 2451545.0))
    periodic = 0.001658 * np.sin(anomaly) + 0.000014 * np.sin(2 * anomaly)  # TDB - TT
    expected = (instant - met_to_time(0.0, 0.0)).to_value("s") + periodic
    expected += planets(instant) @ unit(*source) / LIGHT
    found = events(time).bat.barycenter(*source, orbit="geocenter")["time"].values
    assert 15 < np.abs(found - time).max() < 600
    assert np.abs(found - expected).max() < 0.015


def by_astropy(time: np.ndarray, ra: float, dec: float) -> np.ndarray:
    """Return the same by the light travel time of astropy to a place on the Earth, without Shapiro delay."""
    instant = met_to_time(time, attrs=ATTRS)
    position = CartesianRepresentation(circle(time)[0].T, unit="km")
    ground = GCRS(position, obstime=instant).transform_to(ITRS(obstime=instant))
    place = EarthLocation.from_geocentric(ground.x, ground.y, ground.z)
    seen = Time(instant.jd1, instant.jd2, format="jd", scale="tt", location=place)
    travel = seen.light_travel_time(SkyCoord(ra, dec, unit="deg"), "barycentric", ephemeris="builtin")
    zero = Time(51910, 64.184 / 86400, format="mjd", scale="tdb")
    return (seen.tdb + travel - zero).to_value("s")


@pytest.mark.parametrize("source", [*SOURCES, (65.5, 21.9), (66.0, 24.0)])
def test_against_the_light_travel_time_of_astropy(source: tuple[float, float]):
    """Same ephemeris, and the Shapiro delay from the place of the Sun, 0.4 to 120 degrees away."""
    time = T0 + np.arange(0.0, 6000.0, 157.0)
    sun, earth = (
        get_body_barycentric(name, met_to_time(T0, attrs=ATTRS), ephemeris="builtin").xyz.to_value("km")
        for name in ("sun", "earth")
    )
    apart = np.arccos((sun - earth) @ unit(*source) / np.linalg.norm(sun - earth))
    delay = -2 * 4.925491e-6 * np.log(1.0 - np.cos(apart))
    found = events(time).bat.barycenter(*source, orbit=orbit())["time"].values
    assert np.abs(found - (by_astropy(time, *source) - delay)).max() < 2e-6
    assert (delay > 9e-5) == (apart < 0.01)


def test_part_of_the_orbit():
    """The way of light from the spacecraft to the centre of the Earth, and 2 µs of v·r/c²."""
    time = T0 + np.arange(0.0, 6000.0, 50.0)
    near, centre = (
        events(time).bat.barycenter(40.918, 61.434, orbit=one)["time"].values
        for one in (orbit(), "geocenter")
    )
    expected = circle(time)[0] @ unit(40.918, 61.434) / LIGHT
    assert 0.02 < np.ptp(near - centre) < 0.047
    assert np.abs(near - centre - expected).max() < 3e-6


def test_clock_correction_is_used():
    time = np.array([T0, T0 + 100.0])
    one, other = (
        events(time, utcf=utcf).bat.barycenter(40.9, 61.4, orbit="geocenter")["time"].values
        for utcf in (-25.0, -26.0)
    )
    assert one - other == pytest.approx(1.0, abs=2e-4)
    given = events(time).bat.barycenter(40.9, 61.4, orbit="geocenter", utcf=-26.0)["time"].values
    assert given.tolist() == other.tolist()
    unknown = events(time)
    del unknown.attrs["utcf"]
    with pytest.warns(batx.BatxWarning, match="no UTCF is known"):
        unknown.bat.barycenter(40.9, 61.4, orbit="geocenter")


def test_everything_with_a_time_is_turned():
    lc = counts_curve(np.arange(100), T0 + np.arange(100.0), 1.0)
    lc = lc.assign(gti_start=("gti", [T0], {"units": "s"}), gti_stop=("gti", [T0 + 100.0], {"units": "s"}))
    lc.attrs |= ATTRS | {"tstop": T0 + 100.0, "trigger_time": T0 + 5.0, "date_obs": "2020-05-28T10:00:00"}
    made = lc.bat.barycenter(40.918, 61.434, orbit=orbit())
    assert made.bat.check() == []
    shift = made["time"].values[0] - lc["time"].values[0]
    assert shift == pytest.approx(-386.3, abs=1.0)
    for name in ("time_bnds", "gti_start", "gti_stop"):
        assert made[name].values - lc[name].values == pytest.approx(shift, abs=0.01)
    assert made.attrs["trigger_time"] - T0 - 5.0 == pytest.approx(shift, abs=0.01)
    assert made.attrs["time_scale"] == "tdb"
    assert made.attrs["timeref"] == "SOLARSYSTEM"
    assert (made.attrs["bary_ra"], made.attrs["bary_dec"]) == (40.918, 61.434)
    assert not {"utcf", "date_obs"} & made.attrs.keys()
    for name in ("exposure", "counts"):
        assert made[name].variable.identical(lc[name].variable)
    assert "batx.barycenter: ra=40.918 dec=61.434" in made.attrs["history"]
    gti = batx.gti_of(lc).bat.barycenter(40.918, 61.434, orbit=orbit())
    assert gti["start"].values.tolist() == made["gti_start"].values.tolist()
    # the UTC of the result is that at the barycentre
    local, there = (met_to_time(ds["time"].values[0], attrs=ds.attrs) for ds in (lc, made))
    assert (there - local.tdb).to_value("s") == pytest.approx(
        -386.3 + 25.017 + 64.184 - 64.184 - 5.0, abs=1.0
    )


def test_a_skycoord_and_a_file(tmp_path: Path):
    time = T0 + np.arange(0.0, 100.0, 10.0)
    path = batx.to_fits(orbit(), tmp_path / "sao.fits")
    one = events(time).bat.barycenter(SkyCoord(40.918, 61.434, unit="deg"), orbit=path)
    other = events(time).bat.barycenter(40.918, 61.434, orbit=orbit())
    assert one["time"].values.tolist() == other["time"].values.tolist()


def test_round_trip_through_fits(tmp_path: Path):
    made = events(T0 + np.arange(20.0)).bat.barycenter(40.918, 61.434, orbit=orbit())
    back = batx.open_dataset(batx.to_fits(made, tmp_path / "bary.evt"))
    assert back["time"].values.tolist() == made["time"].values.tolist()
    for name in ("time_scale", "timeref", "bary_ra", "plephem", "clockapp"):
        assert back.attrs[name] == made.attrs[name]


def test_pulsar_seen_from_an_orbit():
    """Pulses that are exactly periodic at the barycentre are so again, over a day, and not before."""
    rng = np.random.default_rng(1)
    table = orbit(T0 - 100, T0 + 86500, 60.0)
    time = np.sort(rng.uniform(T0, T0 + 86400, 40000))
    there = events(time).bat.barycenter(83.633, 22.014, orbit=table)["time"].values
    frequency = 30.0
    kept = rng.random(time.size) < 0.5 * (1 + np.cos(2 * np.pi * frequency * (there - there[0])))
    seen = events(time[kept])
    corrected = seen.bat.barycenter(83.633, 22.014, orbit=table)
    step = 1e-5
    powers = [
        float(
            ds.bat.z_search(frequency + step * np.arange(-300, 301), harmonics=1, noise="counting")[
                "power"
            ].max()
        )
        for ds in (seen, corrected)
    ]
    n = kept.sum()
    assert powers[1] == pytest.approx(n / 2, rel=0.05)
    assert powers[0] < 0.3 * powers[1]
    found = corrected.bat.pulse_frequency(frequency, harmonics=1, noise="counting")
    assert abs(float(found["frequency"]) - frequency) < 4 * float(found["frequency_err"])


def test_between_and_beyond_the_rows():
    """Cubics between rows, and a fall beyond them, are as good as the docstring says."""
    for step, limit in ((10.0, 1e-6), (100.0, 0.005), (300.0, 0.4)):
        rows = T0 + step * np.arange(20)
        time = T0 + np.linspace(0, rows[-1] - T0, 1001)
        assert np.abs(satellite_position(time, rows, *circle(rows)) - circle(time)[0]).max() < limit
    beyond = np.concatenate([T0 - np.arange(1.0, 60.0), rows[-1] + np.arange(1.0, 60.0)])
    apart = np.abs(satellite_position(beyond, rows, *circle(rows)) - circle(beyond)[0]).max()
    assert 0.1 < apart < 0.4
    single = satellite_position(T0 + np.array([0.0, 30.0]), rows[:1], *circle(rows[:1]))
    assert np.abs(single - circle(T0 + np.array([0.0, 30.0]))[0]).max() < 0.05


def test_real_orbit(shared: Path):
    """Positions are on axes of J2000: only then has the orbit the inclination of 20.556° of the elements."""
    import erfa

    table = batx.open_dataset(shared / "data/grb200528A/sw00974827000sao.fits").load()
    position, velocity = (table[name].values.astype(float) for name in ("position", "velocity"))
    normal = np.cross(position, velocity)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    instant = met_to_time(float(table["time"][0]), attrs=table.attrs)
    of_date = normal @ erfa.pnm06a(instant.jd1, instant.jd2).T
    tilts = [np.degrees(np.arccos(one[:, 2])) for one in (normal, of_date)]
    middle = [0.5 * (tilt.min() + tilt.max()) for tilt in tilts]
    assert middle[1] == pytest.approx(20.556, abs=0.003)
    assert abs(middle[0] - 20.556) > 0.02
    time = np.linspace(table.attrs["tstart"], table.attrs["tstop"], 200)
    made = batx.build("events", {"time": time, "energy": np.full(200, 50.0)}, table.attrs)
    made = made.bat.barycenter(table.attrs["ra_obj"], table.attrs["dec_obj"], orbit=table)
    assert made["time"].values[0] - time[0] == pytest.approx(-85.4, abs=0.2)


# ---------------------------------------------------------------- bad input

EV = events(T0 + np.arange(10.0))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: EV.bat.barycenter(10.0, 20.0, orbit=orbit(T0 + 200, T0 + 400)), OrbitError, "not covered"),
        (lambda: EV.bat.barycenter(10.0, 20.0, orbit=orbit(T0 - 400, T0 + 900, 500.0)), OrbitError, "apart"),
        (lambda: EV.bat.barycenter(1.0, 2.0, orbit=orbit().drop_vars("velocity")), OrbitError, "no velocity"),
        (lambda: EV.bat.barycenter(10.0, 20.0, orbit=orbit().isel(time=[])), OrbitError, "no row"),
        (lambda: EV.bat.barycenter(10.0, 20.0, orbit=3.0), OrbitError, "prefilter file"),
        (lambda: EV.bat.barycenter(10.0, 20.0, orbit="nowhere.fits"), FileNotFoundError, "nowhere"),
        (lambda: EV.bat.barycenter(10.0, 95.0, orbit=orbit()), PositionError, "-90 to 90"),
        (lambda: EV.bat.barycenter(np.nan, 5.0, orbit=orbit()), PositionError, "finite"),
        (lambda: EV.bat.barycenter([1.0, 2.0], 5.0, orbit=orbit()), PositionError, "expected one"),
        (lambda: EV.bat.barycenter(10.0, orbit=orbit()), PositionError, "without dec"),
        (lambda: EV.drop_vars(["time", "gti_start", "gti_stop"]).bat.barycenter(1, 2, orbit=orbit()),
         MissingVariableError, "expected a time"),
        (lambda: EV.bat.barycenter(1, 2, orbit="geocenter").bat.barycenter(1, 2, orbit="geocenter"),
         ValueRangeError, "already"),
        (lambda: batx.barycenter(np.zeros(3), 1, 2, orbit=orbit()), KindError, "ndarray"),
        (lambda: EV.assign_coords(time=EV["time"] * np.nan).bat.barycenter(1, 2, orbit=orbit()),
         ValueRangeError, "finite"),
    ],
)  # fmt: skip
def test_bad_input(call, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()


def test_what_is_made_of_times_at_the_barycentre_is_there_already():
    """Good time and blocks say so by their time scale."""
    there = EV.bat.barycenter(1, 2, orbit="geocenter")
    good = batx.gti_union(batx.gti_intersection(there, (0, 1e10)))
    assert good.attrs["time_scale"] == "tdb"
    with pytest.raises(ValueRangeError, match="already"):
        batx.barycenter(good, 1, 2, orbit="geocenter")


def test_orbit_in_other_units():
    table = orbit()
    metres = table.assign(position=(table["position"].dims, table["position"].values * 1e3, {"units": "m"}))
    one, other = (EV.bat.barycenter(40.9, 61.4, orbit=o)["time"].values for o in (table, metres))
    assert one == pytest.approx(other, abs=1e-6)
    wrong = table.assign(position=table["position"] * 1e-3)
    with pytest.raises(OrbitError, match="check the units"):
        EV.bat.barycenter(40.9, 61.4, orbit=wrong)
