"""Questions to the tables of HEASARC: observations by position, name, time, number, or coded field.

The tables are asked by the Table Access Protocol (IVOA TAP 1.1): the question in ADQL, the answer a VOTable.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batx.archive.coding import FIELD_RADIUS, field_position, pointing_coding
from batx.archive.layouts import mission_of, obs_id_text, several
from batx.archive.targets import target
from batx.errors import DownloadError, QueryError, ValueRangeError
from batx.transfer import Limits, read_bytes
from batx.units import to_value

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SERVICE",
    "ask",
    "id_condition",
    "literal",
    "mjd",
    "observations",
    "start_times",
    "time_conditions",
    "with_times",
]

#: the TAP service of HEASARC
SERVICE = "https://heasarc.gsfc.nasa.gov/xamin/vo/tap"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,60}")
_LARGEST = 512 << 20
_CHUNK = 200
#: columns whose masters are Swift's with a pointing
_POINTING = ("ra", "dec", "roll_angle")


def ask(
    query: str, *, service: str | None = None, limit: int = 100_000, limits: Limits | None = None
) -> pd.DataFrame:
    """Return the answer of a TAP service to a question in ADQL.

    Parameters
    ----------
    query
        ``SELECT ... FROM ...``.
    service
        Address of the service, without ``/sync``; that of HEASARC by default.
    limit
        Most rows.
    limits
        What the transfer may take.

    Returns
    -------
    pandas.DataFrame
        A row for each; ``attrs["units"]`` has the units of the columns, ``attrs["query"]`` and
        ``attrs["service"]`` the question. ``attrs["complete"]`` is false if there are more rows than `limit`.

    Raises
    ------
    QueryError
        If the service cannot be reached, refuses the question, or its answer is no table.
    ValueRangeError
        If the limit is not positive.

    Examples
    --------
    >>> ask("SELECT obsid FROM swiftmastr", limit=0)
    Traceback (most recent call last):
    batx.errors.ValueRangeError: limit: found 0, expected a positive number of rows
    """
    if not isinstance(limit, (int, float, np.number)) or not limit > 0:
        raise ValueRangeError(f"limit: found {limit!r}, expected a positive number of rows")
    service = (SERVICE if service is None else service).rstrip("/")
    parameters = {
        "REQUEST": "doQuery",
        "LANG": "ADQL",
        "FORMAT": "votable",
        "MAXREC": str(int(limit)),
        "QUERY": " ".join(query.split()),
    }
    try:
        answer = read_bytes(
            f"{service}/sync",
            limits=limits,
            max_bytes=_LARGEST,
            parameters=parameters,
            method="POST",
            also=(400, 422),
        )
    except (DownloadError, FileNotFoundError) as error:
        raise QueryError(f"the archive cannot be asked: {error}") from error
    table = _table(answer, service)
    table.attrs |= {"query": parameters["QUERY"], "service": service}
    return table


def _table(answer: bytes, service: str) -> pd.DataFrame:
    """Return the first table of a VOTable; raise what the service says went wrong."""
    import warnings

    from astropy.io import votable

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = votable.parse(io.BytesIO(answer), verify="ignore")
    # astropy raises whatever its parser meets in a document that is none
    except (ValueError, TypeError, IndexError, KeyError, OSError, AttributeError) as error:
        raise QueryError(f"{service}: the answer is no VOTable; it begins with {answer[:60]!r}") from error
    state, text = "OK", ""
    for info in [info for resource in parsed.resources for info in resource.infos] + list(parsed.infos):
        if info.name == "QUERY_STATUS":
            state, text = str(info.value).upper(), str(info.content or "").strip()
            if state == "ERROR":
                raise QueryError(f"{service} refused the question: {text[:500] or 'no reason given'}")
    try:
        first = parsed.get_first_table()
    except IndexError:
        raise QueryError(f"{service}: the answer has no table") from None
    table = first.to_table(use_names_over_ids=True)
    frame = table.to_pandas(index=False)
    units = {name.lower(): str(table[name].unit) for name in table.colnames if table[name].unit is not None}
    frame.columns = [str(name).lower() for name in frame.columns]
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = [one.decode() if isinstance(one, bytes) else one for one in frame[name]]
    frame.attrs = {"units": units, "complete": state != "OVERFLOW"}
    return frame


def observations(
    position: Any = None,
    *,
    mission: str = "swift",
    radius: Any = 0.2,
    coded: float | None = None,
    name: str | None = None,
    time: Sequence[Any] | None = None,
    obs_id: Any = None,
    columns: Iterable[str] | None = None,
    where: str | None = None,
    limit: int = 100_000,
    service: str | None = None,
    limits: Limits | None = None,
) -> pd.DataFrame:
    """Return the observations of a mission that fit, in order of time.

    Parameters
    ----------
    position
        Right ascension and declination (ICRS; degrees or quantities), a ``SkyCoord``, or a text: two numbers,
        hours and degrees, or a name that CDS resolves.
    mission
        ``"swift"``, ``"nustar"`` or ``"xmm"``.
    radius
        Largest distance between `position` and the pointing, degrees or Quantity.
    coded
        In place of `radius`, for Swift: observations with `position` in the coded field of BAT, with at least
        this fraction of the detectors coded (0 to 1).
    name
        Name of the target in the table, ``*`` for any characters; small and capital letters are the same.
    time
        First and last time; the observation has to begin between them. Text in ISO format (UTC), numbers
        (Swift MET, without clock correction), ``datetime64`` or astropy ``Time``; None for no limit.
    obs_id
        One or several observation ids.
    columns
        Columns of the table to return; by default all. Those that batx needs are always there.
    where
        Further conditions in ADQL, such as ``"bat_exposure > 1000"``.
    limit, service, limits
        As for `batx.archive.ask`.

    Returns
    -------
    pandas.DataFrame
        The columns of the archive, and ``start`` (and ``stop``, where the table has it) as UTC. With a
        position also ``separation`` (degrees); with `coded` also ``coded_fraction`` and ``coded_exposure``
        (s, exposure of BAT times coded fraction). The fraction is that of the outline of the flight mask with
        all detectors on, within 0.06, for the pointing of the table, without misalignment.
        ``attrs["units"]`` has the units.

    Raises
    ------
    QueryError
        As `batx.archive.ask`; if there are more rows than `limit`, or a column that is needed is not there.
    PositionError
        If the position is none, or its name is not known.
    ValueRangeError
        If no condition is given, or one makes no sense.

    Examples
    --------
    >>> observations(mission="rosat")
    Traceback (most recent call last):
    batx.errors.ValueRangeError: mission: found 'rosat', expected one of swift, nustar, xmm
    """
    chosen = mission_of(mission)
    coded = None if coded is None else float(to_value(coded, "1", "coded"))
    if coded is not None and (chosen.name != "swift" or position is None or not 0 <= coded <= 1):
        raise ValueRangeError(
            f"coded: found {coded!r}; expected a fraction from 0 to 1, a position, and Swift"
        )
    place = None if position is None else target(position)
    conditions = []
    if place is not None:
        largest = FIELD_RADIUS if coded is not None else float(to_value(radius, "deg", "radius"))
        conditions.append(_circle(*place, largest))
    if name is not None:
        conditions.append(f"UPPER(cat.name) LIKE {literal(str(name).upper().replace('*', '%'))}")
    if time is not None:
        conditions += time_conditions(f"cat.{chosen.times[0]}", time)
    if obs_id is not None:
        conditions.append(id_condition(obs_id_text(one, chosen) for one in several(obs_id, "obs_id")))
    if where:
        conditions.append(f"({where})")
    if not conditions:
        raise ValueRangeError("found no condition; give a position, name, time, obs_id or where")
    wanted = _columns(columns, chosen, coded is not None)
    query = f"SELECT {wanted} FROM {chosen.table} AS cat WHERE {' AND '.join(conditions)}"
    frame = ask(query, service=service, limit=limit, limits=limits)
    if not frame.attrs["complete"]:
        raise QueryError(f"more than {limit} observations fit; narrow the question or raise the limit")
    attrs = frame.attrs
    frame = with_times(frame, chosen.times)
    if place is not None:
        frame = _with_distance(frame, place, attrs["units"], coded)
    frame = frame.sort_values("start", kind="stable", ignore_index=True)
    frame.attrs = attrs
    return frame


def start_times(
    obs_ids: Sequence[str], *, service: str | None = None, limits: Limits | None = None
) -> dict[str, float]:
    """Return when Swift observations began, MJD; those that the archive does not know are left out.

    Raises
    ------
    QueryError
        As `batx.archive.ask`.

    Examples
    --------
    >>> start_times([])
    {}
    """
    mission = mission_of("swift")
    found: dict[str, float] = {}
    for first in range(0, len(obs_ids), _CHUNK):
        which = id_condition(obs_id_text(one, mission) for one in obs_ids[first : first + _CHUNK])
        query = f"SELECT cat.obsid, cat.start_time FROM swiftmastr AS cat WHERE {which}"
        frame = ask(query, service=service, limits=limits)
        _require(frame, "obsid", "start_time")
        found |= {
            obs_id_text(one, mission): float(time)
            for one, time in zip(frame["obsid"], frame["start_time"], strict=True)
        }
    return found


def id_condition(obs_ids: Iterable[str]) -> str:
    """Return the condition that an observation is one of some.

    Raises
    ------
    ValueRangeError
        If there are none.

    Examples
    --------
    >>> id_condition(["00012345000", "00012345001"])
    "cat.obsid IN ('00012345000', '00012345001')"
    """
    many = ", ".join(map(literal, obs_ids))
    if not many:
        raise ValueRangeError("found no numbers of observations or triggers, expected at least one")
    return f"cat.obsid IN ({many})"


def literal(value: str) -> str:
    """Return a text as a literal of ADQL.

    Examples
    --------
    >>> literal("O'Brien")
    "'O''Brien'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def _circle(ra: float, dec: float, radius: float) -> str:
    if not 0 < radius <= 180:
        raise ValueRangeError(f"radius: found {radius!r}, expected degrees from 0 to 180")
    return f"CONTAINS(POINT('ICRS', cat.ra, cat.dec), CIRCLE('ICRS', {ra!r}, {dec!r}, {float(radius)!r})) = 1"


def time_conditions(column: str, time: Sequence[Any]) -> list[str]:
    """Return the conditions that a column of MJD is between two times, None for no limit.

    Raises
    ------
    ValueRangeError
        If these are not two times in order.

    Examples
    --------
    >>> time_conditions("time", ("2021-12-11", None))
    ['time >= 59559.0']
    """
    if isinstance(time, str) or not hasattr(time, "__len__") or len(time) != 2:
        raise ValueRangeError(f"time: found {time!r}, expected a first and a last time")
    first, last = (None if one is None else mjd(one) for one in time)
    if first is not None and last is not None and first > last:
        raise ValueRangeError(f"time: found {time[0]} after {time[1]}, expected the first time first")
    return [f"{column} >= {first!r}"] * (first is not None) + [f"{column} <= {last!r}"] * (last is not None)


def mjd(time: Any) -> float:
    """Return a time as MJD (UTC).

    Parameters
    ----------
    time
        A date in any form; numbers are MET, without clock correction.

    Raises
    ------
    ValueRangeError, UnitsError
        If it is no time.

    Examples
    --------
    >>> mjd("2021-12-11T06:00:00")
    59559.25
    """
    from batx.met import met_to_mjd, to_met

    return float(met_to_mjd(to_met(time, {"utcf": 0.0}), utcf=0.0))


def _columns(columns: Iterable[str] | None, mission: Any, coding: bool) -> str:
    if columns is None:
        return "*"
    needed = ["obsid", *(time for time in mission.times if time), "ra", "dec"]
    needed += ["roll_angle", mission.exposures[0]] if coding else []
    names = dict.fromkeys([*needed, *([columns] if isinstance(columns, str) else columns)])
    wrong = [name for name in names if not _NAME.fullmatch(name)]
    if wrong:
        raise ValueRangeError(f"columns: found {wrong[0]!r}, expected names of columns")
    return ", ".join(f"cat.{name}" for name in names)


def _require(frame: pd.DataFrame, *names: str) -> None:
    missing = [name for name in names if name not in frame]
    if missing:
        raise QueryError(f"the table has no column {missing[0]}; found {', '.join(map(str, frame.columns))}")


def with_times(frame: pd.DataFrame, times: tuple[str, str | None]) -> pd.DataFrame:
    """Add ``start`` and ``stop`` as dates to a table with columns of MJD.

    Raises
    ------
    QueryError
        If the table has no numbers or starts.

    Examples
    --------
    >>> import pandas as pd
    >>> made = with_times(pd.DataFrame({"obsid": ["1"], "time": [59559.25]}), ("time", None))
    >>> str(made["start"][0])
    '2021-12-11 06:00:00'
    """
    import pandas as pd

    first, last = times
    _require(frame, "obsid", first)
    for name, column in (("start", first), ("stop", last)):
        if column is not None and column in frame:
            days = pd.to_numeric(frame[column], errors="coerce")
            frame[name] = pd.Timestamp("1858-11-17") + pd.to_timedelta(days, unit="D").dt.round("ms")
    frame["obsid"] = frame["obsid"].astype(str).str.strip()
    return frame


def _with_distance(
    frame: pd.DataFrame, place: tuple[float, float], units: dict[str, str], coded: float | None
) -> pd.DataFrame:
    """Add the distance to the pointing and, if asked for, the coded fraction; leave out what is not coded."""
    _require(frame, *_POINTING[: 2 if coded is None else 3])
    ra, dec = (frame[name].to_numpy(dtype=np.float64) for name in ("ra", "dec"))
    roll = frame["roll_angle"].to_numpy(dtype=np.float64) if coded is not None else np.zeros_like(ra)
    frame["separation"] = field_position(*place, ra, dec, roll)[2]
    units["separation"] = "deg"
    if coded is None:
        return frame
    _require(frame, "bat_exposure")
    frame["coded_fraction"] = pointing_coding(*place, ra, dec, roll)
    frame["coded_exposure"] = frame["bat_exposure"].to_numpy(dtype=np.float64) * frame["coded_fraction"]
    units |= {"coded_fraction": "1", "coded_exposure": "s"}
    return frame[(frame["coded_fraction"] >= coded) & (frame["coded_fraction"] > 0)].copy()
