"""Mission elapsed time (MET) to and from UTC, TT and MJD, with the spacecraft clock correction.

MET is a float64 number of seconds by the spacecraft clock since 2001-01-01 00:00:00 UTC (MJD 51910, TT - UTC
= 64.184 s). The clock drifts, so

    TT = MJDREF + MET + TTCF,    TTCF = UTCF + n,

where n is the number of leap seconds since the reference date. UTCF is what Swift products carry in the
keyword ``UTCFINIT`` (attribute ``utcf``) and what the clock file tabulates: away from leap seconds, UTC = MET
+ UTCF. TTCF is continuous, UTCF steps by -1 s at a leap second; all arithmetic here is done with TTCF, and
astropy turns TT into UTC, so that times inside a leap second (23:59:60) come out as such.

Source of the definitions: algorithms of the tool ``swifttime`` and the clock files ``swclockcor`` /
``swco.dat`` of the Swift calibration.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batx.errors import (
    BatxWarning,
    FileFormatError,
    MissingFileError,
    MissingKeywordError,
    UnitsError,
    ValueRangeError,
)
from batx.units import to_value

__all__ = ["ClockFile", "met_to_mjd", "met_to_time", "met_to_utc", "read_clock", "to_met"]

MJDREF_INT = 51910
"""Reference date of Swift MET: 2001-01-01."""
MJDREF_SECONDS = 64.184
"""TT - UTC on the reference date, the rest of MJDREF."""
DAY = 86400.0
UTCF_LIMIT = 999.0
"""A UTCF keyword of a larger magnitude is unphysical and stands for 'unknown'."""
EXTRAPOLATION_LIMIT = 90 * DAY
"""How far past the end of the clock file the drift model is used."""
FARTHEST = 1e11
"""The largest MET of which a date is made, some 3000 years."""
SCALES = ("utc", "tt", "tdb")


@dataclass(frozen=True)
class ClockFile:
    """The correction of the Swift clock as tabulated in the clock file; made by `read_clock`.

    Attributes
    ----------
    start
        First time covered (seconds of UTC days since 2001.0).
    stop
        End of each row, increasing; a row holds from the end of the row before it.
    origin
        Time from which the polynomial of a row counts.
    coefficients
        (row, 3): corr = c0 + c1 x + c2 x**2 in microseconds, x in days since `origin`.
    leap_seconds
        Leap seconds contained in the correction of each row.
    """

    start: float
    stop: np.ndarray
    origin: np.ndarray
    coefficients: np.ndarray
    leap_seconds: np.ndarray

    def ttcf(self, met: Any) -> np.ndarray:
        """Return TTCF in seconds at MET: the drift of the clock, to be added to MET.

        The correction is truncated to a whole microsecond. Up to 90 days past the end of the file it is
        continued with the drift rate 2e-5 / -(799.39929 - 9.0770826e-7 u) (u = seconds since 2001.0), as
        ``swifttime`` does.

        Parameters
        ----------
        met
            Times in seconds, of any shape.

        Raises
        ------
        ValueRangeError
            For times before the first row, or more than 90 days past the last one.
        """
        seconds = to_met(met)
        u = seconds - _leap_seconds_before(seconds)
        beyond = u - self.stop[-1]
        if np.any((u < self.start) | (beyond > EXTRAPOLATION_LIMIT)):
            raise ValueRangeError(
                f"clock file: found times from {np.min(u):.1f} to {np.max(u):.1f}, expected "
                f"{self.start:.1f} to {self.stop[-1] + EXTRAPOLATION_LIMIT:.1f} (its end and 90 days); "
                "use a newer file or UTCF"
            )
        inside = np.minimum(u, self.stop[-1])
        row = np.searchsorted(self.stop, inside, side="left")
        table = self.leap_seconds[row] - np.trunc(self._microseconds(inside, row)) * 1e-6
        drift = 2e-5 / -(799.39929 - 9.0770826e-7 * u)
        return table + np.maximum(beyond, 0.0) * drift

    def utcf(self, met: Any) -> np.ndarray:
        """Return UTCF in seconds at MET, as in keyword ``UTCFINIT``: TTCF less the leap seconds."""
        ttcf = self.ttcf(met)
        return ttcf - _leap_seconds_before(to_met(met) + ttcf)

    def _microseconds(self, u: np.ndarray, row: np.ndarray) -> np.ndarray:
        x = (u - self.origin[row]) / DAY
        c = self.coefficients[row]
        return c[..., 0] + x * (c[..., 1] + x * c[..., 2])


def read_clock(path: str | Path) -> ClockFile:
    """Read a Swift clock file: the FITS table ``CLOCK_CORRECT`` or its text version.

    A second by which the tabulated correction steps between two rows is a leap second.

    Parameters
    ----------
    path
        ``swclockcor*.fits`` (may be gzipped) or ``swco.dat``.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        If it is neither of the two.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"clock file: found nothing at {path}; expected a file")
    with path.open("rb") as stream:
        binary = stream.read(6)
    fits_like = binary == b"SIMPLE" or binary[:2] == b"\x1f\x8b"
    start, stop, origin, coefficients = _fits_rows(path) if fits_like else _text_rows(path)
    finite = np.isfinite(start) and np.isfinite(stop).all() and np.isfinite(coefficients).all()
    if stop.size == 0 or not finite or np.any(np.diff(stop) <= 0):
        raise FileFormatError(
            f"{path}: found {stop.size} rows, expected rows of finite numbers with increasing end times"
        )
    draft = ClockFile(start, stop, origin, coefficients, np.zeros(stop.size))
    rows = np.arange(stop.size)
    ends = stop[:-1]
    steps = np.rint((draft._microseconds(ends, rows[1:]) - draft._microseconds(ends, rows[:-1])) * 1e-6)
    first = _leap_seconds_before(np.asarray(start))
    return ClockFile(start, stop, origin, coefficients, first + np.concatenate([[0.0], np.cumsum(steps)]))


def _fits_rows(path: Path) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            table = hdus["CLOCK_CORRECT"].data
            columns = [
                np.array(table[name], dtype=np.float64) for name in ("TSTART", "TSTOP", "C0", "C1", "C2")
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path}: expected a clock file with a table CLOCK_CORRECT; {error}") from error
    return float(columns[0][0]), columns[1], columns[0], np.stack(columns[2:], axis=-1)


def _text_rows(path: Path) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Read the text version: sections headed ``day 0.0 -1 -1`` of lines ``c0 c1 c2 end``, both in days."""
    day = np.nan
    rows = []
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            if not (words := line.partition("#")[0].split()):
                continue
            a, b, c, d = map(float, words)
            if (c, d) == (-1.0, -1.0):
                day = a
            else:
                rows.append(((day + d) * DAY, day * DAY, a, b, c))
    except ValueError as error:
        raise FileFormatError(f"{path}: expected a clock file with lines of four numbers; {error}") from error
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    start = table[0, 1] if len(table) else np.nan
    return float(start), table[:, 0], table[:, 1], table[:, 2:]


def to_met(
    value: Any,
    attrs: Mapping[str, Any] | None = None,
    t0: Any = None,
    utcf: float | ClockFile | None = None,
    name: str = "time",
) -> np.ndarray:
    """Return times, given in any form, as MET.

    Parameters
    ----------
    value
        Numbers, a time ``Quantity`` or ``timedelta``: MET, or relative to `t0` if that is given. An astropy
        ``Time``, ``datetime``, ``datetime64`` or ISO string is an instant (UTC unless it says otherwise),
        whatever `t0`. ``"trigger"`` is the trigger time. Lists may mix these.
    attrs
        Attributes of the Dataset that the times are meant for: ``utcf``, ``tstart``, ``trigger_time`` and the
        reference date are taken from it.
    t0
        Origin of relative times, in any form accepted for `value`, for example ``"trigger"``.
    utcf
        UTCF in seconds or a clock file (`read_clock`), in place of ``attrs["utcf"]``.
    name
        What the value is, for error messages.

    Returns
    -------
    numpy.ndarray
        MET in seconds, float64, of the shape of `value` (0-dimensional for a single time).

    Raises
    ------
    UnitsError
        For quantities that are not times, and for what is no number.
    ValueRangeError
        For NaN, and for strings that are no date.
    MissingKeywordError
        For ``"trigger"`` where `attrs` has no ``trigger_time``.

    Warns
    -----
    BatxWarning
        If an instant is given and no UTCF is known: the clock is then taken to be perfect.

    Examples
    --------
    >>> import astropy.units as u
    >>> attrs = {"trigger_time": 612354468.864, "utcf": -25.0171}
    >>> float(to_met(2 * u.min, attrs, t0="trigger"))
    612354588.864
    >>> round(float(to_met("2020-05-28T10:27:23.847", attrs)), 3)
    612354468.864
    """
    attrs = attrs or {}
    if value is None:
        raise UnitsError(f"{name}: found None, expected a time: MET, a Quantity, a Time or a date")
    if isinstance(value, str) and value == "trigger":
        if "trigger_time" not in attrs:
            raise MissingKeywordError(
                f"{name}: found 'trigger' but no attribute trigger_time; give the trigger time itself"
            )
        value, t0 = attrs["trigger_time"], None
    if isinstance(value, (list, tuple)) and not all(isinstance(item, (int, float)) for item in value):
        made = [to_met(item, attrs, t0, utcf, name) for item in value]
        if len({item.shape for item in made}) > 1:
            raise ValueRangeError(f"{name}: found rows of different lengths, expected the same in all")
        return np.array(made, dtype=np.float64)
    instant = _instant(value, name)
    if instant is not None:
        met = _time_to_met(instant, attrs, utcf)
    else:
        met = _seconds(value, name)
        if t0 is not None:
            met = met + to_met(t0, attrs, utcf=utcf, name="t0")
    if np.any(np.isnan(met)):
        raise ValueRangeError(f"{name}: found {np.isnan(met).sum()} NaN, expected finite times")
    return np.asarray(met)


def met_to_time(
    met: Any, utcf: float | ClockFile | None = None, attrs: Mapping[str, Any] | None = None
) -> Any:
    """Return MET as an astropy ``Time`` (scale TT; its ``.utc`` and ``.mjd`` are the other forms).

    Parameters
    ----------
    met
        MET in seconds: a number, array, DataArray or ``Quantity``.
    utcf
        UTCF in seconds or a clock file (`read_clock`), in place of ``attrs["utcf"]``. A UTCF holds at
        ``attrs["tstart"]``, or at the earliest of the times: the leap seconds contained in it are those of
        that date.
    attrs
        Attributes of the Dataset that the times belong to (``utcf``, ``tstart``, reference date).

    Returns
    -------
    astropy.time.Time
        Of the shape of `met`, exact to the resolution of float64 MET (0.1 microsecond).

    Raises
    ------
    UnitsError, ValueRangeError
        For values that are no times, for those that are not finite or thousands of years away, and for a UTCF
        that is no time.

    Warns
    -----
    BatxWarning
        If no UTCF is known (the clock is then taken to be perfect), or if it is unphysical (above 999 s:
        taken as 0).

    Examples
    --------
    >>> met_to_time(612354468.864, utcf=-25.0171).utc.isot
    '2020-05-28T10:27:23.847'
    """
    attrs = attrs or {}
    seconds = to_met(met)
    if np.any(np.abs(seconds) > FARTHEST):
        raise ValueRangeError(
            f"time: found {seconds.ravel()[np.abs(seconds).argmax()]:g} s, expected finite times within "
            f"{FARTHEST:g} s of 2001"
        )
    return _reference(attrs) + _time_delta(seconds + _ttcf(seconds, attrs, utcf))


def met_to_utc(
    met: Any,
    utcf: float | ClockFile | None = None,
    attrs: Mapping[str, Any] | None = None,
    precision: int = 3,
) -> np.ndarray:
    """Return MET as ISO 8601 UTC strings, rounded to `precision` decimals of a second.

    Parameters
    ----------
    met, utcf, attrs
        As for `met_to_time`, which also lists errors and warnings.
    precision
        Number of decimals, 0 to 9.

    Examples
    --------
    >>> str(met_to_utc(612354468.864, utcf=-25.0171))
    '2020-05-28T10:27:23.847'
    """
    if precision not in range(10):
        raise ValueRangeError(f"precision: found {precision!r}, expected 0 to 9 decimals")
    utc = met_to_time(met, utcf, attrs).utc
    utc.precision = precision
    return np.asarray(utc.isot)


def met_to_mjd(
    met: Any,
    utcf: float | ClockFile | None = None,
    attrs: Mapping[str, Any] | None = None,
    scale: str = "utc",
) -> np.ndarray:
    """Return MET as modified Julian date, float64 (resolution 0.6 microseconds).

    Parameters
    ----------
    met, utcf, attrs
        As for `met_to_time`, which also lists errors and warnings.
    scale
        ``"utc"`` (a day with a leap second has 86401 s, spread evenly), ``"tt"`` or ``"tdb"``.

    Examples
    --------
    >>> round(float(met_to_mjd(612354468.864, utcf=-25.0171)), 6)
    58997.435693
    """
    if scale not in SCALES:
        raise ValueRangeError(f"scale: found {scale!r}, expected one of {', '.join(SCALES)}")
    return np.asarray(getattr(met_to_time(met, utcf, attrs), scale).mjd, dtype=np.float64)


def _seconds(value: Any, name: str) -> np.ndarray:
    """Return plain numbers, a quantity or a difference of times in seconds."""
    if isinstance(value, datetime.timedelta):
        return np.asarray(value.total_seconds())
    if hasattr(value, "jd1"):
        return np.asarray(value.to_value("s"), dtype=np.float64)
    if getattr(getattr(value, "dtype", None), "kind", None) == "m":
        return np.asarray(value / np.timedelta64(1, "s"), dtype=np.float64)
    return to_value(value, "s", name)


def _instant(value: Any, name: str) -> Any:
    """Return the astropy ``Time`` that `value` stands for, `None` if it is a number or a length of time."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if not (hasattr(value, "jd1") or isinstance(value, (str, datetime.datetime)) or kind in ("M", "U")):
        return None
    from astropy.time import Time, TimeDelta

    if isinstance(value, TimeDelta):
        return None
    if isinstance(value, Time):
        if value.scale == "local" or np.any(value.mask):
            raise ValueRangeError(
                f"{name}: found a Time of local scale or with masked values; give UTC or TT"
            )
        return value
    try:
        return Time(np.asarray(value) if kind else value, scale="utc")
    except ValueError as error:
        raise ValueRangeError(
            f"{name}: found {value!r}, expected seconds, or a date such as '2020-05-28T10:27:24'"
        ) from error


def _time_to_met(instant: Any, attrs: Mapping[str, Any], utcf: float | ClockFile | None) -> np.ndarray:
    """Invert TT = MJDREF + MET + TTCF; with a clock file TTCF depends on MET (drift 1e-7): three steps."""
    reference = _reference(attrs)
    tt = np.asarray((getattr(instant, reference.scale) - reference).to_value("s"), dtype=np.float64)
    met = tt
    for _ in range(3 if isinstance(utcf, ClockFile) else 1):
        met = tt - _ttcf(met, attrs, utcf, corrected=True)
    return met


def _ttcf(
    met: np.ndarray, attrs: Mapping[str, Any], utcf: float | ClockFile | None, corrected: bool = False
) -> np.ndarray | float:
    """Return TTCF; `corrected` says that `met` is TT seconds since the reference, not yet clock time."""
    if isinstance(utcf, ClockFile):
        return utcf.ttcf(met)
    value = attrs.get("utcf") if utcf is None else float(to_value(utcf, "s", "utcf"))
    if value is None:
        if _is_swift(attrs) and not attrs.get("clockapp", 0):
            warnings.warn(
                "no UTCF is known, so the spacecraft clock is taken to be perfect (its error grows to "
                "tens of seconds); give utcf= or a clock file",
                BatxWarning,
                stacklevel=4,
            )
        return 0.0
    if not abs(value) <= UTCF_LIMIT:
        warnings.warn(f"UTCF of {value} s is unphysical and taken as 0", BatxWarning, stacklevel=4)
        value = 0.0
    if "tstart" in attrs:
        return value + _leap_seconds_in_utcf(float(attrs["tstart"]) + value)
    if met.size == 0:
        return value
    earliest = float(np.min(met))
    return value + (_leap_seconds_before(earliest) if corrected else _leap_seconds_in_utcf(earliest + value))


def _is_swift(attrs: Mapping[str, Any]) -> bool:
    return str(attrs.get("telescope", "SWIFT")).upper() == "SWIFT"


def _reference(attrs: Mapping[str, Any]) -> Any:
    """Return the instant of MET 0; its fraction of a day, rounded in headers, is a whole number of ms."""
    from astropy.time import Time

    day = int(attrs.get("mjdref_int", MJDREF_INT))
    fraction = attrs.get("mjdref_frac")
    seconds = MJDREF_SECONDS if fraction is None else round(float(fraction) * DAY, 3)
    return Time(day, seconds / DAY, format="mjd", scale=str(attrs.get("time_scale", "tt")))


def _time_delta(seconds: np.ndarray) -> Any:
    from astropy.time import TimeDelta

    whole = np.floor(seconds)
    return TimeDelta(whole, seconds - whole, format="sec")


def _leap_days() -> np.ndarray:
    """Return the UTC midnights after leap seconds, in seconds of UTC days since 2001.0 (from erfa)."""
    import erfa  # type: ignore[import-untyped]

    table = erfa.leap_seconds.get()
    table = table[table["year"] > 2001]
    dates = [
        datetime.date(int(year), int(month), 1)
        for year, month in zip(table["year"], table["month"], strict=True)
    ]
    return np.array([(date - datetime.date(2001, 1, 1)).days for date in dates], dtype=np.float64) * DAY


def _leap_seconds_before(tt: Any) -> np.ndarray:
    """Return the leap seconds completed at a continuous count of seconds since 2001.0."""
    days = _leap_days()
    return np.searchsorted(days + 1 + np.arange(days.size), tt, side="right").astype(np.float64)


def _leap_seconds_in_utcf(utc: float) -> float:
    """Return the leap seconds at UTC (s of days since 2001.0), each from one second after its midnight."""
    return float(np.searchsorted(_leap_days() + 1, utc, side="right"))
