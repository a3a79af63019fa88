"""The Swift TOO services: the real swifttools asks a stand-in of the service on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from web_server import Request, Site, serving

from batx import archive
from batx.archive.swift_tools import _utc
from batx.errors import QueryError, UnitsError, ValueRangeError

pytest.importorskip("swifttools")

UTCF = -25.0171
ACCEPTED = {"status": "Accepted", "errors": []}


def reply(server: Any, body: dict[str, Any], status: int = 200) -> None:
    server.answer(
        status, json.dumps({"status": ACCEPTED} | body).encode(), {"Content-Type": "application/json"}
    )


def clock(request: Request, server: Any) -> None:
    """Answer as the clock of the service does, with one UTCF for all times."""
    epoch = datetime(2001, 1, 1)

    def seconds(name: str) -> list[float]:
        return [(datetime.fromisoformat(one) - epoch).total_seconds() for one in request.query.get(name, [])]

    mets = [float(one) for one in request.query.get("met", [])] + seconds("swifttime")
    rows = [{"met": met, "utcf": UTCF, "isutc": False} for met in mets]
    rows += [{"met": utc - UTCF, "utcf": UTCF, "isutc": True} for utc in seconds("utctime")]
    reply(server, {"entries": rows})


GTI = {"begin": "2022-04-30T13:48:00", "end": "2022-04-30T13:51:19", "utcf": -29.05, "exposure": 199.0}
DUMP = {
    "triggertype": "Fermi", "triggertime": "2022-04-30T13:48:45", "offset": 50.0, "duration": 200.0,
    "obs_id": "00015129012", "ra": 10.0, "dec": -20.0,
    "data": {"all_gtis": [GTI], "gti": GTI, "exposure": 199.0, "acs": "slewing", "filenames": ["a.evt"]},
}  # fmt: skip
PENDING = {"triggertype": "IceCube", "triggertime": "2022-04-29T13:48:45", "offset": 0.0, "duration": 90.0}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    from swifttools.swift_too.base import common

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Site()) as served:
        monkeypatch.setattr(common.TOOAPIBaseclass, "_api_base", served.url)
        served.handlers["/swift/clock"] = clock
        served.handlers["/swift/guano"] = lambda request, server: reply(server, {"entries": [DUMP, PENDING]})
        yield served


def test_guano(site: Site):
    """The service has UTC; what it sends must not be shifted by the correction of the spacecraft's clock."""
    found = archive.guano(("2022-04-01", "2022-05-01"))
    query = site.asked[0].query
    assert (query["begin"], query["end"]) == (["2022-04-01 00:00:00"], ["2022-05-01 00:00:00"])
    assert site.count("/swift/clock") == 0
    assert list(found["kind"]) == ["IceCube", "Fermi"]
    assert found["obsid"].isna().tolist() == [True, False] and found["obsid"][1] == "00015129012"
    last = found.iloc[1]
    assert (last["exposure"], last["pointing"], last["gtis"], last["utcf"]) == (199.0, "slewing", 1, -29.05)
    assert last["trigger_time"] == pd.Timestamp("2022-04-30T13:48:45")
    assert (last["begin"], last["end"]) == (pd.Timestamp(GTI["begin"]), pd.Timestamp(GTI["end"]))
    # without data, the interval that was asked for
    assert found["begin"][0] == pd.Timestamp("2022-04-29T13:48:00")
    assert found["files"].tolist() == [(), ("a.evt",)]


def test_guano_from_a_time_on(site: Site):
    archive.guano(("2022-04-01", None), kind="Fermi", limit=5)
    query = site.asked[0].query
    assert "end" not in query and query["begin"] == ["2022-04-01 00:00:00"]
    assert (query["triggertype"], query["limit"]) == (["Fermi"], ["5"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 0},
        {"time": ("2022-05-01", "2022-04-01")},
        {"time": "2022-05-01"},
        {"limit": 3, "subthreshold": True},
        {"limit": 3, "subthreshold": True, "username": "me"},
    ],
)
def test_questions_that_make_no_sense(site: Site, options: dict[str, Any]):
    with pytest.raises(ValueRangeError):
        archive.guano(**options)
    assert not site.asked


def test_clock(site: Site):
    found = archive.clock(612354468.864)
    assert found["utcf"][0] == UTCF
    assert found["utc"][0] == pd.Timestamp("2020-05-28 10:27:23.846900")  # to the microsecond
    assert len(archive.clock([612354468.864, 612354469.0])) == 2
    back = archive.clock(utc=["2020-05-28T10:27:23.8469", "2020-05-29"])
    assert abs(back["met"][0] - 612354468.864) < 1e-6
    for options in ({}, {"met": 1.0, "utc": "2020-01-01"}, {"met": [np.nan]}, {"met": []}, {"utc": []}):
        with pytest.raises(ValueRangeError):
            archive.clock(**options)
    with pytest.raises(UnitsError):
        archive.clock("yesterday")


def test_a_service_that_fails(site: Site):
    site.handlers["/swift/clock"] = lambda request, server: server.answer(500, b"out of order")
    site.handlers["/swift/guano"] = lambda request, server: server.answer(200, b"<html>")
    with pytest.raises(QueryError, match="out of order"):
        archive.clock(1e8)
    with pytest.raises(QueryError, match="GUANO"):
        archive.guano(limit=1)
    site.handlers["/swift/guano"] = lambda request, server: reply(
        server, {"status": {"status": "Rejected", "errors": ["no such user"]}}
    )
    with pytest.raises(QueryError, match="no such user"):
        archive.guano(limit=1)


def test_a_home_that_cannot_be_written(tmp_path: Path):
    """swifttools makes a folder in it when it is loaded."""
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    code = """
from batx import archive, errors
try:
    archive.clock(1e8)
except errors.QueryError as error:
    print(error)
"""
    environment = {**os.environ, "HOME": str(blocked), "BATX_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "~/.cache/swift_too" in done.stdout, done.stderr


def test_dates_with_a_zone():
    there = datetime(2022, 4, 30, 15, 48, 45, tzinfo=timezone(timedelta(hours=2)))
    assert _utc(there) == _utc(datetime(2022, 4, 30, 13, 48, 45)) == _utc(there.astimezone(UTC))
