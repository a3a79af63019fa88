"""What the Swift mission's own services know: triggers, dumps of event data (GUANO), and the clock.

Triggers are asked of the table ``swifttdrss`` of HEASARC; GUANO and the clock of the Swift TOO services,
through the package swifttools.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batx.archive.layouts import several
from batx.archive.tables import ask, id_condition, time_conditions, with_times
from batx.errors import QueryError, ValueRangeError
from batx.optional import optional
from batx.transfer import Limits
from batx.units import to_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["clock", "guano", "triggers"]


def triggers(
    time: Sequence[Any] | None = None,
    *,
    trigger: int | Iterable[int] | None = None,
    where: str | None = None,
    limit: int = 100_000,
    service: str | None = None,
    limits: Limits | None = None,
) -> pd.DataFrame:
    """Return on-board triggers of BAT, failed ones included, in order of time.

    Parameters
    ----------
    time
        First and last time, as for `batx.archive.observations`.
    trigger
        One or several trigger numbers.
    where, limit, service, limits
        As for `batx.archive.observations`.

    Returns
    -------
    pandas.DataFrame
        The columns of the table ``swifttdrss``, and ``start``: the trigger time as UTC. ``obsid`` is the
        number under which `batx.archive.fetch_trigger` finds the messages.

    Raises
    ------
    QueryError
        As `batx.archive.ask`; if there are more rows than `limit`.
    ValueRangeError
        If no condition is given, or one makes no sense.

    Examples
    --------
    >>> triggers()
    Traceback (most recent call last):
    batx.errors.ValueRangeError: found no condition; give a time, trigger numbers or where
    """
    conditions = [] if time is None else time_conditions("cat.time", time)
    if trigger is not None:
        conditions.append(id_condition(trigger_id(one) for one in several(trigger, "trigger")))
    if where:
        conditions.append(f"({where})")
    if not conditions:
        raise ValueRangeError("found no condition; give a time, trigger numbers or where")
    query = f"SELECT * FROM swifttdrss AS cat WHERE {' AND '.join(conditions)}"
    frame = ask(query, service=service, limit=limit, limits=limits)
    if not frame.attrs["complete"]:
        raise QueryError(f"more than {limit} triggers fit; narrow the question or raise the limit")
    attrs = frame.attrs
    frame = with_times(frame, ("time", None)).sort_values("start", kind="stable", ignore_index=True)
    frame["obsid"] = frame["obsid"].str.zfill(11)  # tables may have it as a number
    frame.attrs = attrs
    return frame


def trigger_id(trigger: Any) -> str:
    """Return the observation id of a trigger: its number and segment 000.

    Raises
    ------
    ValueRangeError
        If it is no trigger number.

    Examples
    --------
    >>> trigger_id(1104692)
    '01104692000'
    """
    text = str(trigger).strip()
    if len(text) == 11 and text.isdecimal() and text.isascii():
        return text
    if not (text.isdecimal() and text.isascii() and 0 < len(text) <= 8 and int(text)):
        raise ValueRangeError(f"trigger: found {text[:40]!r}, expected a number of at most 8 digits")
    return f"{int(text):08d}000"


def guano(
    time: Sequence[Any] | None = None,
    *,
    kind: str | None = None,
    subthreshold: bool = False,
    limit: int | None = None,
    **login: str,
) -> pd.DataFrame:
    """Return dumps of event data that were asked for from ground (GUANO), in order of time.

    Parameters
    ----------
    time
        First and last trigger time, as for `batx.archive.observations`; None for no limit.
    kind
        What asked for them, as the service names it.
    subthreshold
        Whether to ask for dumps of triggers below the threshold; needs a login.
    limit
        Most rows.
    **login
        ``username`` and ``shared_secret`` of the Swift TOO service; anonymous if not given.

    Returns
    -------
    pandas.DataFrame
        A row for each dump: ``trigger_time``, ``begin`` and ``end`` (UTC), ``kind``, ``obsid`` (of the
        observation in which the data are; missing as long as there are none), ``offset``, ``duration`` and
        ``exposure`` (s),
        ``ra`` and ``dec`` (degrees), ``utcf`` (s), ``pointing`` (``"pointing"``, ``"slewing"``, ``"mixed"``),
        ``gtis`` (their number), ``files``, ``subthreshold``. ``attrs["units"]`` has the units.

    Raises
    ------
    QueryError
        If the service cannot be reached or refuses.
    MissingPackageError
        If swifttools is not installed.
    ValueRangeError
        If neither a time, a kind nor a limit is given, one makes no sense, or the login is missing.

    Notes
    -----
    The service has these times in UTC, and they are returned as it has them. Releases 4.0 of swifttools take
    them for times of the spacecraft's clock and shift them by its correction, some 30 s; that step is left
    out.

    Examples
    --------
    >>> guano(("2022-04-01", "2022-05-01"))  # doctest: +SKIP
    """
    if time is None and kind is None and limit is None:
        raise ValueRangeError("found no condition; give a time, a kind or a limit")
    if limit is not None and not limit > 0:
        raise ValueRangeError(f"limit: found {limit!r}, expected a positive number of rows")
    if subthreshold and not {"username", "shared_secret"} <= login.keys():
        raise ValueRangeError(
            "subthreshold: found no login; give username= and shared_secret= of the Swift TOO service"
        )
    options: dict[str, Any] = {"triggertype": kind, "limit": limit, **login}
    if time is not None:
        time_conditions("time", time)  # two times in order
        options |= {
            key: _datetimes([one])[0]
            for key, one in zip(("begin", "end"), time, strict=True)
            if one is not None
        }
    if subthreshold:
        options["subthreshold"] = True
    answer = _dumps(**{name: value for name, value in options.items() if value is not None})
    _check(answer, "GUANO")
    return _guano_table(answer.entries)


def _service(operation: str) -> Any:
    """Return the module of swifttools that asks the service."""
    try:
        return optional("swifttools.swift_too", "archive", operation)
    except OSError as error:
        raise QueryError(
            f"{operation}: swifttools cannot be loaded ({error}); it keeps a file in ~/.cache/swift_too, "
            "which has to be a folder that can be written"
        ) from error


def _dumps(**options: Any) -> Any:
    """Ask for dumps; their dates stay as the service has them, which is UTC."""
    base: Any = _service("a question about GUANO").GUANO

    class _AsSent(base):
        def clock_correct(self) -> None:
            """Leave out a correction that is for dates of the spacecraft's clock."""

    return _AsSent(**options)


def _guano_table(entries: Iterable[Any]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for entry in entries:
        data = getattr(entry, "data", None)
        gti = getattr(data, "gti", None)
        rows.append(
            {
                "trigger_time": _utc(entry.triggertime),
                "kind": entry.triggertype,
                "obsid": _digits(entry.obs_id),
                "offset": _number(entry.offset),
                "duration": _number(entry.duration),
                "exposure": _number(getattr(data, "exposure", None)),
                "begin": _utc(getattr(gti, "begin", None) or getattr(entry, "begin", None)),
                "end": _utc(getattr(gti, "end", None) or getattr(entry, "end", None)),
                "ra": _number(getattr(entry, "ra", None)),
                "dec": _number(getattr(entry, "dec", None)),
                "utcf": _number(getattr(gti, "utcf", None)),
                "pointing": getattr(data, "acs", None),
                "gtis": len(getattr(data, "all_gtis", None) or ()),
                "files": tuple(getattr(data, "filenames", None) or ()),
                "subthreshold": bool(getattr(data, "subthresh", False)),
            }
        )
    names = (
        *("trigger_time", "kind", "obsid", "offset", "duration", "exposure", "begin", "end", "ra", "dec"),
        *("utcf", "pointing", "gtis", "files", "subthreshold"),
    )
    frame = pd.DataFrame(rows, columns=list(names)).sort_values(
        "trigger_time", kind="stable", ignore_index=True
    )
    seconds = dict.fromkeys(("offset", "duration", "exposure", "utcf"), "s")
    frame.attrs = {"units": seconds | {"ra": "deg", "dec": "deg"}}
    return frame


def clock(met: Any = None, *, utc: Any = None) -> pd.DataFrame:
    """Return MET, UTC and their difference as the Swift service has them.

    Parameters
    ----------
    met, utc
        One of them: mission elapsed times in s, or times in UTC (text, ``datetime64``, ``Time``).

    Returns
    -------
    pandas.DataFrame
        Columns ``met`` (s), ``utc`` and ``utcf`` (s).

    Raises
    ------
    QueryError
        If the service cannot be reached or refuses.
    MissingPackageError
        If swifttools is not installed.
    ValueRangeError, UnitsError
        If not exactly one is given, there are no times, or one is no finite time.

    See Also
    --------
    batx.met.read_clock : the same from the clock file, without a network.

    Examples
    --------
    >>> clock(612354468.864)  # doctest: +SKIP
    """
    import pandas as pd

    if (met is None) == (utc is None):
        raise ValueRangeError("found both or neither of met and utc, expected one of them")
    question: dict[str, Any]
    if met is not None:
        times = np.atleast_1d(to_value(met, "s", "met")).ravel()
        if not np.isfinite(times).all():
            raise ValueRangeError("met: found NaN or infinity, expected finite times")
        question = {"met": times.tolist()}
    else:
        many = [utc] if isinstance(utc, str) or np.ndim(utc) == 0 else list(utc)
        question = {"utctime": _datetimes(many)}
    if not all(question.values()):
        raise ValueRangeError("found no times, expected at least one")
    answer = _service("a question about the clock").Clock(**question)
    _check(answer, "clock")
    rows = [(float(one.met), _utc(one.utctime), float(one.utcf)) for one in answer.entries]
    frame = pd.DataFrame(rows, columns=["met", "utc", "utcf"])
    frame.attrs = {"units": {"met": "s", "utcf": "s"}}
    return frame


def _check(answer: Any, name: str) -> None:
    """Raise what the service says went wrong."""
    status = getattr(answer, "status", None)
    state = getattr(status, "status", status)
    if state != "Accepted":
        reasons = "; ".join(str(one) for one in getattr(status, "errors", ()) or ())
        raise QueryError(f"the Swift service for {name} did not answer: {reasons[:500] or state}")


def _datetimes(times: Sequence[Any]) -> list[Any]:
    """Return times as Python's datetimes in UTC."""
    from astropy.time import Time

    from batx.met import met_to_time, to_met

    if isinstance(times, str):
        raise ValueRangeError(f"time: found {times!r}, expected a first and a last time")
    return [
        (
            one if isinstance(one, Time) else met_to_time(to_met(one, {"utcf": 0.0}), utcf=0.0)
        ).utc.to_datetime()
        for one in times
    ]


def _utc(time: datetime.datetime | None) -> np.datetime64:
    """Return a datetime, which is UTC if it has no zone, as numpy has them."""
    if time is None:
        return np.datetime64("NaT", "us")
    plain = time if time.tzinfo is None else time.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(plain, "us")


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    seconds = getattr(value, "total_seconds", None)
    return float(seconds() if seconds else value)


def _digits(value: Any) -> str | None:
    """Return an observation id as the archive writes it."""
    text = "" if value is None else str(value).strip()
    return text.zfill(11) if text.isdecimal() else None
