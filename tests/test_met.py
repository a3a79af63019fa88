"""Mission elapsed time against UTC, TT and MJD: the tool ``swifttime``, real headers, and properties."""

from __future__ import annotations

import datetime
import re
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from astropy.io import fits
from astropy.time import Time, TimeDelta
from hypothesis import given, settings
from hypothesis import strategies as st

from batx.errors import (
    BatxWarning,
    FileFormatError,
    MissingFileError,
    MissingKeywordError,
    UnitsError,
    ValueRangeError,
)
from batx.met import ClockFile, met_to_mjd, met_to_time, met_to_utc, read_clock, to_met

MET = 612354468.864
UTCF = -25.0171
ATTRS = {"telescope": "SWIFT", "trigger_time": MET, "tstart": MET - 100, "utcf": UTCF}

#: the first call loads astropy's tables, whatever the machine is busy with
UNTIMED = settings(deadline=None)

#: seconds of UTC days since 2001.0 at the midnights that followed a leap second
LEAP_MIDNIGHTS = [157766400.0, 252460800.0, 362793600.0, 457401600.0, 504921600.0]

#: MET in 2008-12-31T23:59:58.8 at which the tool is one second late: by its clock the leap second is over,
#: which in truth the drift of the clock (-2.4 s) puts off, and it shows the number of one second before
TOOL_LATE = 252460802.2
#: MET in the first second of 2006; here too the tool shows the number of one second before, and is right:
#: the second 23:59:60 and the second 00:00:00 after it have the same number
TOOL_SAME_NUMBER = 157766401.5


def utc_seconds(time: Time) -> np.ndarray:
    """Seconds of UTC days since 2001.0, as ``swifttime`` writes them; 23:59:60.5 is 86400.5 of its day."""
    fields = time.utc.ymdhms
    date = datetime.date(int(fields["year"]), int(fields["month"]), int(fields["day"]))
    days = (date - datetime.date(2001, 1, 1)).days
    return 86400.0 * days + 3600.0 * fields["hour"] + 60.0 * fields["minute"] + fields["second"]


def tt_seconds(time: Time) -> np.ndarray:
    """TT seconds since MJD 51910."""
    return (time.tt - Time(51910, 0, format="mjd", scale="tt")).to_value("s")


@pytest.fixture(scope="session")
def swifttime(shared: Path) -> Path:
    return shared / "reference" / "survey" / "swifttime"


@pytest.fixture
def clock(tmp_path: Path) -> ClockFile:
    """A clock file with two sections, three leap seconds (2006, 2009, 2012) and a drift as in flight."""
    return read_clock(write_text_clock(tmp_path / "clock.dat"))


ROWS = [  # section day, end, c0, c1, c2 of the text version; steps of 1 s at the leap seconds
    (1800.0, 26.0000115, -100_000.0, 1800.0, 0.5),
    (1800.0, 1000.0, 900_000.0, 1800.0, 0.5),
    (2800.0, 122.0000115, 3_200_000.0, 2800.0, 0.2),
    (2800.0, 1399.000023, 4_200_000.0, 2800.0, 0.2),
    (2800.0, 1500.0, 5_200_000.0, 2800.0, 0.2),
]


def write_text_clock(path: Path) -> Path:
    lines = []
    for day in (1800.0, 2800.0):
        lines.append(f"{day} 0.0 -1 -1")
        lines += [f"{c0} {c1} {c2} {end}" for start, end, c0, c1, c2 in ROWS if start == day]
    lines += ["-1 -1 -1 -1", "# a comment", ""]
    path.write_text("\n".join(lines))
    return path


def write_fits_clock(path: Path) -> Path:
    day, end, c0, c1, c2 = map(np.array, zip(*ROWS, strict=True))
    columns = [
        fits.Column("TSTART", "D", array=day * 86400),
        fits.Column("TSTOP", "D", array=(day + end) * 86400),
        *(fits.Column(name, "D", array=c) for name, c in (("C0", c0), ("C1", c1), ("C2", c2))),
    ]
    fits.BinTableHDU.from_columns(columns, name="CLOCK_CORRECT").writeto(path)
    return path


# ---------------------------------------------------------------- against the tool and real files


@pytest.mark.parametrize("name", ["swco.dat", "swco.fits"])
def test_met_to_utc_agrees_with_swifttime(swifttime: Path, name: str):
    clock = read_clock(swifttime / name)
    text = (swifttime / "conversions.txt").read_text()
    pairs = [tuple(map(float, pair)) for pair in re.findall(rf"{name} ([\d.]+) -> UTC s ([\d.]+)", text)]
    assert len(pairs) == {"swco.dat": 24, "swco.fits": 8}[name]
    for met, tool in pairs:
        expected = tool + 1.0 if met == TOOL_LATE else tool
        assert utc_seconds(met_to_time(met, clock)) == pytest.approx(expected, abs=1e-4), met


def test_the_rows_after_a_leap_second(swifttime: Path):
    clock = read_clock(swifttime / "swco.dat")
    assert str(met_to_utc(TOOL_SAME_NUMBER - 1, clock)) == "2005-12-31T23:59:60.571"
    assert str(met_to_utc(TOOL_SAME_NUMBER, clock)) == "2006-01-01T00:00:00.571"
    assert str(met_to_utc(TOOL_LATE - 1, clock)) == "2008-12-31T23:59:57.820"
    assert str(met_to_utc(TOOL_LATE, clock)) == "2008-12-31T23:59:58.820"


@pytest.mark.parametrize("name", ["swco.dat", "swco.fits"])
def test_utc_to_met_and_tt_agree_with_swifttime(swifttime: Path, name: str):
    clock = read_clock(swifttime / name)
    text = (swifttime / "conversions.txt").read_text()
    pairs = re.findall(r"UTC->MET ([\d.]+) ([\d.]+)", text)
    assert len(pairs) == 3
    for utc, tool in pairs:
        days, seconds = divmod(float(utc), 86400.0)
        instant = Time(51910 + days, seconds / 86400, format="mjd", scale="utc")
        assert float(to_met(instant, utcf=clock)) == pytest.approx(float(tool), abs=1e-4)
    assert "Converted time: 300000060.92881" in text
    assert tt_seconds(met_to_time(300000000.7, clock)) == pytest.approx(300000060.92881, abs=1e-4)
    assert "last TTCF from swco.dat is -13.41488 s at 505317258.3456" in text
    assert float(clock.ttcf(clock.stop[-1] + 5)) == pytest.approx(-13.41488, abs=1e-5)
    assert "504999981.6033" in text
    assert utc_seconds(met_to_time(505000000.0, clock)) == pytest.approx(504999981.6033, abs=1e-4)


def test_beyond_the_clock_file_is_refused_where_swifttime_leaves_the_clock_uncorrected(swifttime: Path):
    clock = read_clock(swifttime / "swco.dat")
    assert "Cannot extrapolate clock correction by 169.9 days" in (swifttime / "conversions.txt").read_text()
    with pytest.raises(ValueRangeError, match="newer"):
        met_to_time(520000000.0, clock)


def test_text_and_fits_clock_files_agree(swifttime: Path):
    text, table = read_clock(swifttime / "swco.dat"), read_clock(swifttime / "swco.fits")
    met = np.linspace(text.start + 10, text.stop[-1] + 80 * 86400, 20001)
    np.testing.assert_allclose(text.ttcf(met), table.ttcf(met), rtol=0, atol=2e-6)
    # no step anywhere, leap seconds and the gap in 2016 included
    assert np.abs(np.diff(text.ttcf(met))).max() < 2e-3


def test_keyword_stands_for_the_clock_file_to_the_drift_of_an_observation(swifttime: Path):
    clock = read_clock(swifttime / "swco.dat")
    met = 450000000.0 + np.linspace(0, 5000, 11)
    keyword = float(clock.utcf(met[0]))
    assert keyword == pytest.approx(-14.4, abs=1.5)
    difference = met_to_time(met, keyword) - met_to_time(met, clock)
    assert np.abs(difference.to_value("s")).max() < 5e-4


def test_dates_of_real_headers_are_those_of_a_perfect_clock(shared: Path):
    for name in ("grb200528A/sw00974827000bevps.pha", "lightcurves/grb_231117A_1chan_1s.lc.gz"):
        header = fits.getheader(shared / "data" / name)
        date = met_to_utc(header["TSTART"], attrs={"clockapp": 1}, precision=0)
        assert str(date)[:18] == header["DATE-OBS"][:18]


# ---------------------------------------------------------------- leap seconds


@pytest.mark.parametrize("midnight", LEAP_MIDNIGHTS)
@pytest.mark.parametrize("utcf", [-20.25, 0.4])
def test_seconds_through_a_leap_second_are_counted_once_each(midnight: float, utcf: float):
    met = midnight - utcf + np.arange(-2, 4) + 0.5
    attrs = {"utcf": utcf, "tstart": met[0]}
    time = met_to_time(met, attrs=attrs)
    np.testing.assert_allclose(np.diff(tt_seconds(time)), 1.0, atol=1e-9)
    assert [text[17:22] for text in met_to_utc(met, attrs=attrs)] == [
        "58.50",
        "59.50",
        "60.50",
        "00.50",
        "01.50",
        "02.50",
    ]
    np.testing.assert_allclose(to_met(time, attrs), met, rtol=0, atol=2e-7)


def test_without_tstart_the_keyword_holds_at_the_earliest_time():
    met = LEAP_MIDNIGHTS[-1] + 20.0 + np.array([5.0, -5.0])
    time = met_to_time(met, -20.0)
    assert time.utc.isot.tolist() == ["2017-01-01T00:00:04.000", "2016-12-31T23:59:55.000"]


def test_utcf_of_the_clock_file_steps_by_a_leap_second(clock: ClockFile):
    before, after = clock.utcf(LEAP_MIDNIGHTS[1] + np.array([-10.0, 10.0]))
    assert after - before == pytest.approx(-1.0, abs=1e-5)
    assert np.diff(clock.ttcf(LEAP_MIDNIGHTS[1] + np.array([-10.0, 10.0])))[0] == pytest.approx(0, abs=1e-5)


# ---------------------------------------------------------------- clock files


def test_clock_file_follows_its_polynomials(clock: ClockFile, tmp_path: Path):
    met = np.array([1810.0, 1900.0, 2850.0, 4000.0]) * 86400 + 5000.0
    u_days = (met - [0, 1, 1, 2]) / 86400
    x = u_days - np.array([1800, 1800, 2800, 2800])
    c0, c1, c2 = np.array([(-1e5, 1800, 0.5), (9e5, 1800, 0.5), (3.2e6, 2800, 0.2), (4.2e6, 2800, 0.2)]).T
    corr = c0 + x * (c1 + x * c2)
    np.testing.assert_allclose(clock.ttcf(met), [0, 1, 1, 2] - np.trunc(corr) * 1e-6, rtol=0, atol=1e-12)
    same = read_clock(write_fits_clock(tmp_path / "clock.fits"))
    np.testing.assert_allclose(same.ttcf(met), clock.ttcf(met), rtol=0, atol=1e-12)


def test_clock_file_is_continued_for_90_days(clock: ClockFile):
    end = clock.stop[-1]
    leap = 3
    met = end + leap + np.array([0.0, 10 * 86400.0])
    u = end + 10 * 86400.0
    drift = 2e-5 / -(799.39929 - 9.0770826e-7 * u)
    first, later = clock.ttcf(met)
    assert later - first == pytest.approx(10 * 86400.0 * drift, rel=1e-9)
    with pytest.raises(ValueRangeError, match="90 days"):
        clock.ttcf(end + 91 * 86400.0)
    with pytest.raises(ValueRangeError, match="expected"):
        clock.ttcf(clock.start - 10)


def test_round_trip_through_the_clock_file(clock: ClockFile):
    met = np.linspace(clock.start + 1, clock.stop[-1], 5001)
    np.testing.assert_allclose(to_met(met_to_time(met, clock), utcf=clock), met, rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_bad_clock_files(tmp_path: Path):
    with pytest.raises(MissingFileError, match="nothing"):
        read_clock(tmp_path / "none.dat")
    bad = tmp_path / "bad.dat"
    for text in (
        "hello world\n",
        "",
        "1800.0 0.0 -1 -1\n1 2 3 9\n1 2 3 8\n",
        "1800.0 0.0 -1 -1\nnan 2 3 9\n",
    ):
        bad.write_text(text)
        with pytest.raises(FileFormatError, match="expected"):
            read_clock(bad)
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(FileFormatError, match="CLOCK_CORRECT"):
        read_clock(tmp_path / "other.fits")
    truncated = write_fits_clock(tmp_path / "whole.fits").read_bytes()[:3000]
    (tmp_path / "truncated.fits").write_bytes(truncated)
    with pytest.raises(FileFormatError, match="CLOCK_CORRECT"):
        read_clock(tmp_path / "truncated.fits")


# ---------------------------------------------------------------- forms of time


UTC = "2020-05-28T10:27:23.8469"


@pytest.mark.parametrize(
    "value",
    [
        MET,
        np.float64(MET),
        MET * u.s,
        MET / 86400 * u.day,
        Time(UTC, scale="utc"),
        Time(UTC, scale="utc").tdb,
        UTC,
        np.datetime64(UTC),
        datetime.datetime.fromisoformat(UTC + "00"),
        datetime.datetime.fromisoformat("2020-05-28T12:27:23.846900+02:00"),
        "trigger",
        TimeDelta(MET, format="sec"),
        xr.DataArray(MET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_forms_of_an_instant(value):
    met = to_met(value, ATTRS)
    assert isinstance(met, np.ndarray)
    assert met.shape == ()
    assert met.dtype == np.float64
    assert float(met) == pytest.approx(MET, abs=1e-6)


def test_forms_of_many():
    mixed = to_met([MET, UTC, Time(UTC), "trigger", (MET - 1) * u.s], ATTRS)
    np.testing.assert_allclose(mixed, MET - np.array([0, 0, 0, 0, 1.0]), atol=1e-6)
    pairs = to_met([(UTC, Time(UTC) + 3 * u.s), (0.0, 1 * u.min)], ATTRS)
    np.testing.assert_allclose(pairs, [[MET, MET + 3], [0, 60]], atol=1e-6)
    dates = np.array([UTC, "2020-05-28T10:27:24"], dtype="datetime64[us]")
    np.testing.assert_allclose(to_met(dates, ATTRS), to_met(Time(dates.astype(str)), ATTRS), atol=1e-6)
    np.testing.assert_allclose(to_met(np.array([UTC, UTC]), ATTRS), MET, atol=1e-6)
    for zoned in (pd.DatetimeIndex([UTC]).tz_localize("UTC"), pd.Series(pd.to_datetime([UTC]))):
        np.testing.assert_allclose(to_met(zoned, ATTRS), [MET], atol=1e-6)
    assert to_met(np.arange(6).reshape(2, 3)).shape == (2, 3)
    assert to_met([]).shape == (0,)


def test_relative_times():
    assert float(to_met(-5, ATTRS, t0="trigger")) == MET - 5
    assert float(to_met(2 * u.min, ATTRS, t0=MET)) == MET + 120
    assert float(to_met(TimeDelta(2 * u.min), ATTRS, t0=UTC)) == pytest.approx(MET + 120, abs=1e-6)
    for length in (np.timedelta64(1500, "ms"), datetime.timedelta(seconds=1.5), pd.Timedelta("1.5s")):
        assert float(to_met(length, t0=10)) == 11.5
    np.testing.assert_array_equal(to_met(pd.to_timedelta([1, 2], "s"), t0=10), [11, 12])
    np.testing.assert_array_equal(to_met([1, 2.5], ATTRS, t0="trigger"), [MET + 1, MET + 2.5])
    assert float(to_met(UTC, ATTRS, t0="trigger")) == pytest.approx(MET, abs=1e-6)  # a date is absolute
    assert float(to_met("trigger", ATTRS, t0=1e6)) == MET


def test_results_keep_the_shape():
    met = MET + np.arange(6.0).reshape(2, 3)
    assert met_to_time(met, UTCF).shape == (2, 3)
    assert met_to_utc(met, UTCF).shape == (2, 3)
    assert met_to_mjd(met, UTCF).shape == (2, 3)
    assert met_to_time(np.array([]), UTCF).shape == (0,)
    assert str(met_to_utc(MET * u.s, UTCF, precision=6)) == "2020-05-28T10:27:23.846900"


def test_mjd_in_three_scales():
    utc, tt = met_to_mjd(MET, UTCF), met_to_mjd(MET, UTCF, scale="tt")
    assert (tt - utc) * 86400 == pytest.approx(69.184, abs=2e-6)
    assert float(utc) == pytest.approx(51910 + (MET + UTCF) / 86400, abs=1e-11)
    assert (met_to_mjd(MET, UTCF, scale="tdb") - tt) * 86400 == pytest.approx(0, abs=2e-3)


@UNTIMED
@given(
    met=st.floats(1e8, 1e9),
    utcf=st.floats(-60, 5),
    offset=st.floats(-1e5, 1e5),
)
def test_round_trip(met: float, utcf: float, offset: float):
    attrs = {"utcf": utcf, "tstart": met}
    there = met_to_time(met + offset, attrs=attrs)
    assert float(to_met(there, attrs)) == pytest.approx(met + offset, abs=5e-7)
    assert float(to_met(met_to_time(met, utcf), utcf=utcf)) == pytest.approx(met, abs=5e-7)


@pytest.mark.filterwarnings("ignore:ERFA function")  # dates beyond the known leap seconds
@UNTIMED
@given(met=st.floats(1e8, 1e9), utcf=st.floats(-60, 5))
def test_utc_is_met_plus_utcf_away_from_leap_seconds(met: float, utcf: float):
    if min(abs(met - midnight) for midnight in LEAP_MIDNIGHTS) > 100:
        assert float(utc_seconds(met_to_time(met, utcf))) == pytest.approx(met + utcf, abs=2e-6)


# ---------------------------------------------------------------- other missions, and no UTCF


def test_reference_date_of_other_missions():
    nustar = {"telescope": "NuSTAR", "mjdref_int": 55197, "mjdref_frac": 7.6601852e-4}
    xmm = {"telescope": "XMM", "mjdref_int": 50814, "mjdref_frac": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(met_to_utc(0.0, attrs=nustar)) == "2010-01-01T00:00:00.000"
        assert met_to_time(86400.0, attrs=xmm).tt.isot == "1998-01-02T00:00:00.000"
        assert float(to_met("2010-01-01T00:00:10", nustar)) == pytest.approx(10.0, abs=1e-9)


def test_unknown_utcf_is_said():
    with pytest.warns(BatxWarning, match="perfect"):
        assert str(met_to_utc(MET)) == "2020-05-28T10:27:43.864"
    with pytest.warns(BatxWarning, match="perfect"):
        to_met(UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        met_to_time(MET, attrs={"clockapp": 1})
        to_met(MET)


@pytest.mark.parametrize("value", [1e6, -1234.0, float("nan"), float("inf")])
def test_unphysical_utcf_counts_as_zero(value: float):
    with pytest.warns(BatxWarning, match="unphysical"):
        assert float(utc_seconds(met_to_time(MET, value))) == pytest.approx(MET, abs=1e-6)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("value", [np.nan, [1.0, np.nan], np.nan * u.s])
def test_nan(value):
    with pytest.raises(ValueRangeError, match="NaN"):
        to_met(value, ATTRS)


@pytest.mark.parametrize("value", [3 * u.keV, object(), None, {"a": 1}])
def test_no_time(value):
    with pytest.raises(UnitsError, match="t_x"):
        to_met(value, name="t_x")


def test_no_date():
    with pytest.raises(ValueRangeError, match="yesterday"):
        to_met("yesterday")
    with pytest.raises(ValueRangeError, match="local"):
        to_met(Time(UTC, scale="local"))


def test_no_trigger():
    with pytest.raises(MissingKeywordError, match="trigger_time"):
        to_met(5, {"utcf": 0}, t0="trigger")


@pytest.mark.parametrize("met", [np.inf, -np.inf, [1e8, 1e18], -1e12])
def test_what_is_no_date(met):
    with pytest.raises(ValueRangeError, match="of 2001"):
        met_to_utc(met, utcf=0.0)


def test_wrong_options():
    with pytest.raises(UnitsError, match="utcf"):
        met_to_time(1e8, utcf="x")
    with pytest.raises(ValueRangeError, match="decimals"):
        met_to_utc(1e8, utcf=0.0, precision=10)
    with pytest.raises(ValueRangeError, match="utc, tt, tdb"):
        met_to_mjd(1e8, utcf=0.0, scale="gps")
    assert met_to_utc(1e8, utcf=-0.5 * u.min) == met_to_utc(1e8, utcf=-30.0)
