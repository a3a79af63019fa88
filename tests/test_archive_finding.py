"""Where observations are looked for, in which order, and what is said if they are not there."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_archive import FILES, OBS, QUICK
from web_server import Site, serving

import batx
from batx import archive
from batx.archive.months import month_names
from batx.errors import BatxWarning, DownloadError, MissingFileError, QueryError, ValueRangeError
from batx.transfer import download

pytest.importorskip("requests")

NOBODY = "http://127.0.0.1:9/FTP"
TABLE = {"obsid": [OBS], "start_time": [59560.0]}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """An archive without the observation, with two versions of quick-look data; no table answers."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("BATX_DATA", "BATX_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    files = {f"/ql/sw{OBS}.00{n}/{name}": data for n in (1, 2) for name, data in FILES.items()}
    with serving(Site(files)) as served:
        monkeypatch.setattr("batx.archive.finding._QUICKLOOK", f"{served.url}/ql")
        monkeypatch.setattr("batx.archive.tables.SERVICE", "http://127.0.0.1:9/tap")
        yield served


def folder_of(place: Path) -> Path:
    for name, data in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


@pytest.mark.parametrize("form", [str, lambda path: path.as_uri()])
def test_a_mirror_that_is_a_folder_needs_no_question(site: Site, tmp_path: Path, form: Any):
    folder_of(tmp_path / f"mirror/swift/data/obs/2021_12/{OBS}")
    options = {"mirrors": form(tmp_path / "mirror"), "data": tmp_path / "data", "limits": QUICK}
    (found,) = batx.fetch(OBS, **options)
    assert (found / f"auxil/sw{OBS}sat.fits").is_file()
    with pytest.raises(QueryError, match="start_time"):
        archive.plan([OBS, "00012345009"], **options)


def test_quicklook_serves_if_one_mirror_does_not_have_it(site: Site, tmp_path: Path):
    """That the other cannot be reached tells nothing of an observation of today."""
    options = {"data": tmp_path, "limits": QUICK}
    with pytest.warns(BatxWarning, match="quick-look data are used"):
        found = archive.plan(TABLE, mirrors=[f"{site.url}/FTP", NOBODY], **options)
    assert found.folders[OBS] == tmp_path / f"quicklook/{OBS}/002"
    with pytest.raises(DownloadError, match="no connection"):
        archive.plan(TABLE, mirrors=NOBODY, **options)
    many = {"obsid": [OBS, "00012345001", "00012345002"], "start_time": [59560.0] * 3}
    before = site.count("/ql/")
    with pytest.warns(BatxWarning), pytest.raises(MissingFileError, match="no quick-look data"):
        archive.plan(many, mirrors=f"{site.url}/FTP", **options)
    assert site.count("/ql/") == before + 1


def test_what_is_said_of_quicklook(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The archive does not have it, and whether there are quick-look data cannot be told."""
    monkeypatch.setattr("batx.archive.finding._QUICKLOOK", f"{NOBODY}/ql")
    options = {"data": tmp_path, "mirrors": f"{site.url}/FTP", "limits": QUICK}
    with pytest.raises(MissingFileError, match=r"not there \(404\).*9/FTP/ql.*no connection"):
        archive.plan(TABLE, **options)
    with pytest.raises(MissingFileError) as alone:
        archive.plan(TABLE, quicklook=False, **options)
    assert "/ql" not in str(alone.value)


def test_quicklook_on_disk_serves_offline(site: Site, tmp_path: Path):
    folder_of(tmp_path / f"quicklook/{OBS}/001")
    latest = folder_of(tmp_path / f"quicklook/{OBS}/002")
    found = archive.plan(OBS, data=tmp_path, offline=True)
    assert found.folders == {OBS: latest} and found.quicklook == (OBS,) and not found.left
    with pytest.raises(MissingFileError, match="offline"):
        archive.plan(OBS, data=tmp_path, offline=True, quicklook=False)
    folder_of(tmp_path / OBS)
    assert archive.plan(OBS, data=tmp_path, offline=True).folders == {OBS: tmp_path / OBS}


def test_a_bucket_without_its_package(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The mirrors that serve by default end with a bucket; its package is an extra."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    mirrors = [f"{site.url}/FTP", "s3://nasa-heasarc"]
    with pytest.warns(BatxWarning, match="quick-look"):
        archive.plan(TABLE, mirrors=mirrors, data=tmp_path, limits=QUICK)
    with pytest.raises(DownloadError, match=r"404.*pip install 'batx\[archive\]'"):
        archive.plan(TABLE, mirrors=mirrors, data=tmp_path, limits=QUICK, quicklook=False)
    with pytest.raises(DownloadError, match="pip install"):
        download("s3://nasa-heasarc/x.fits", tmp_path / "x.fits", limits=QUICK)


@pytest.mark.parametrize(
    "time",
    [
        59548.9,
        np.float64(59548.9),
        "2021-11-30T21:36",
        np.datetime64("2021-11-30T21:36"),
        pd.Timestamp("2021-11-30T21:36"),
        datetime.datetime(2021, 11, 30, 21, 36),
    ],
)
def test_months(time: Any):
    assert month_names(time) == ("2021_11", "2021_12")
    assert month_names(59559.0) == ("2021_12",)
    with pytest.raises(ValueRangeError):
        month_names("some day")
