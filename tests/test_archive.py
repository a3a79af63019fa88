"""Questions to tables, plans and fetches, against an archive on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from web_server import Request, Site, serving

import batx
from batx import archive
from batx.archive.coding import field_position, pointing_coding
from batx.archive.layouts import MISSIONS, mirror_list
from batx.archive.tables import start_times
from batx.errors import (
    BatxWarning,
    DownloadError,
    FileFormatError,
    MissingFileError,
    PositionError,
    QueryError,
    UnitsError,
    ValueRangeError,
)
from batx.instrument.outline import flight_coding
from batx.transfer import Limits

pytest.importorskip("requests")

QUICK = Limits(timeout=2.0, stall=2.0, retries=1, pause=0.01)
FITS = b"SIMPLE  =                    T" + bytes(3000)
GZIP = b"\x1f\x8b" + bytes(500)
OBS = "00012345000"
ROOT = f"/FTP/swift/data/obs/2021_12/{OBS}"
FILES = {
    f"bat/event/sw{OBS}bevshsp_uf.evt.gz": GZIP,
    f"bat/hk/sw{OBS}bdecb.hk": FITS,
    f"bat/rate/sw{OBS}brtms.lc": FITS,
    f"auxil/sw{OBS}sat.fits": FITS,
    f"tdrss/sw{OBS}msbce.fits": FITS,
    f"xrt/event/sw{OBS}xpcw3po_uf.evt": FITS,
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no configuration of the user, and nothing outside."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("BATX_DATA", raising=False)
    monkeypatch.delenv("BATX_MIRRORS", raising=False)


def votable(table: Table, status: str = "OK", text: str = "") -> bytes:
    """Return the answer of a TAP service."""
    import io

    out = io.BytesIO()
    table.write(out, format="votable")
    info = f'<INFO name="QUERY_STATUS" value="{status}">{text}</INFO>'.encode()
    return out.getvalue().replace(b"<TABLE", info + b"<TABLE", 1)


def swift_rows() -> Table:
    """Return three observations: of the source, with it at the edge of the field, and with it behind."""
    table = Table(
        {
            "name": ["Crab", "GRB 211211A", "far"],
            "obsid": [OBS, "00012345001", "00012345002"],
            "ra": [83.6, 83.6, 263.6],
            "dec": [22.0, 62.0, -22.0],
            "roll_angle": [10.0, 0.0, 0.0],
            "start_time": [59560.5, 59559.25, 59561.0],
            "stop_time": [59560.6, 59559.35, 59561.1],
            "bat_exposure": [1000.0, 2000.0, 3000.0],
        }
    )
    for name, unit in (("ra", "deg"), ("dec", "deg"), ("bat_exposure", "s"), ("start_time", "d")):
        table[name].unit = unit
    return table


@pytest.fixture
def site() -> Iterator[Site]:
    files = {f"{ROOT}/{name}": data for name, data in FILES.items()}
    with serving(Site(files)) as served:
        served.handlers["/tap/sync"] = lambda request, server: server.answer(200, votable(swift_rows()))
        yield served


@pytest.fixture
def tap(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The archive that is asked for months, too."""
    monkeypatch.setattr("batx.archive.tables.SERVICE", f"{site.url}/tap")
    return site


def asked(site: Site) -> str:
    """The question that the service got last."""
    from urllib.parse import parse_qs

    body = next(request.body for request in reversed(site.asked) if request.path == "/tap/sync")
    return parse_qs(body.decode())["QUERY"][0]


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- questions


def test_observations(site: Site):
    found = archive.observations(
        (83.633, 22.0145),
        radius=50,
        time=("2021-12-11", "2021-12-14"),
        name="o'brien*",
        service=f"{site.url}/tap",
    )
    assert asked(site) == (
        "SELECT * FROM swiftmastr AS cat WHERE CONTAINS("
        "POINT('ICRS', cat.ra, cat.dec), CIRCLE('ICRS', 83.633, 22.0145, 50.0)) = 1 "
        "AND UPPER(cat.name) LIKE 'O''BRIEN%' AND cat.start_time >= 59559.0 AND cat.start_time <= 59562.0"
    )
    assert list(found["obsid"]) == ["00012345001", OBS, "00012345002"]
    assert found["start"][0] == pd.Timestamp("2021-12-11 06:00")
    assert found["separation"][1] == pytest.approx(0.0338, abs=1e-3)
    assert found.attrs["units"]["bat_exposure"] == "s" and found.attrs["units"]["separation"] == "deg"
    assert "coded_fraction" not in found


def test_observations_with_a_source_in_the_coded_field(site: Site):
    service = f"{site.url}/tap"
    found = archive.observations(SkyCoord(83.633, 22.0145, unit="deg"), coded=0.0, service=service)
    assert list(found["obsid"]) == ["00012345001", OBS]
    assert found["coded_fraction"][1] == 1.0
    assert 0 < found["coded_fraction"][0] < 0.3
    assert found["coded_exposure"].tolist() == (found["coded_fraction"] * found["bat_exposure"]).tolist()
    assert len(archive.observations((83.633, 22.0145), coded=0.5, service=service)) == 1
    with pytest.raises(ValueRangeError, match="coded"):
        archive.observations(coded=0.5, service=service)


def test_coding_is_that_of_the_instrument():
    """The same places as from the quaternions of an attitude, for any roll."""
    from batx.instrument.sky import NOMINAL_ALIGNMENT, sky_to_tangent
    from batx.simulate import attitude

    rng = np.random.default_rng(1)
    for _ in range(8):
        pointing = rng.uniform(0, 360), rng.uniform(-80, 80), rng.uniform(0, 360)
        ra, dec = pointing[0] + rng.uniform(-20, 20), np.clip(pointing[1] + rng.uniform(-20, 20), -90, 90)
        quaternion = attitude(6e8, 0.2, pointing, jitter=0.0, margin=0.0)["quaternion"].values[0]
        imx, imy, _ = sky_to_tangent(ra, dec, quaternion, NOMINAL_ALIGNMENT)
        x, y, _ = field_position(ra, dec, *([value] for value in pointing))
        assert (x[0], y[0]) == pytest.approx((float(imx), float(imy)), abs=1e-9)
    assert pointing_coding(0.0, 0.0, np.array([180.0, 0.0]), np.zeros(2), np.zeros(2)).tolist() == [0.0, 1.0]


def test_coded_fractions_are_those_of_a_real_map():
    """Places of the map of an observation of 2015, plain fractions; all of it where the data are."""
    places = np.array([(0.754, -0.008, 0.726), (-0.003, 0.497, 0.573), (-0.003, -0.495, 0.481),
                       (-0.995, 0.244, 0.515), (1.006, -0.495, 0.160), (1.258, 0.497, 0.251)])  # fmt: skip
    np.testing.assert_allclose(flight_coding(*places.T[:2]), places[:, 2], atol=0.03)
    assert np.isnan(flight_coding(np.nan, np.nan))


def test_coded_fractions_are_those_of_a_whole_real_map(shared: Path):
    real = batx.open_dataset(shared / "data" / "imaging" / "pcode_map.img.gz").squeeze()
    real = real.isel(imx=slice(None, None, 10), imy=slice(None, None, 10))
    imx, imy = np.meshgrid(real["imx"], real["imy"])
    # the written map has the factor of the flat field, and nothing below 0.05
    sides = [np.minimum(0.15, 0.05 / np.abs(one)) * np.abs(one) for one in (imx, imy)]
    plain = real["pcode"].values / ((1 + sides[0] + sides[1]) / np.sqrt(1 + imx**2 + imy**2))
    seen = plain > 0.06
    off = flight_coding(imx, imy) - plain
    assert np.sqrt((off[seen] ** 2).mean()) < 0.017 and np.abs(off[seen]).max() < 0.065
    assert flight_coding(imx, imy)[real["pcode"].values == 0].max() < 0.065


def test_other_missions(site: Site):
    rows = Table(
        {"obsid": ["80002092002"], "ra": [1.0], "dec": [2.0], "time": [56700.0], "end_time": [56701.0]}
    )
    site.handlers["/tap/sync"] = lambda request, server: server.answer(200, votable(rows))
    found = archive.observations(
        obs_id=80002092002, mission="nustar", columns=["name"], service=f"{site.url}/tap"
    )
    assert asked(site) == (
        "SELECT cat.obsid, cat.time, cat.end_time, cat.ra, cat.dec, cat.name FROM numaster AS cat "
        "WHERE cat.obsid IN ('80002092002')"
    )
    assert found["stop"][0] == pd.Timestamp("2014-02-13")


def refusal(site: Site, status: int, body: bytes, text: str, **options: Any) -> None:
    site.handlers["/tap/sync"] = lambda request, server: server.answer(status, body)
    with pytest.raises(QueryError, match=text):
        archive.observations(name="x", service=f"{site.url}/tap", limits=QUICK, **options)


def test_answers_that_are_none(site: Site):
    error = votable(swift_rows(), "ERROR", "no such column")
    refusal(site, 200, error, "no such column")
    refusal(site, 400, error, "no such column")
    refusal(site, 200, b"<html>Please log in</html>", "no VOTable|no table")
    refusal(site, 200, b"", "no VOTable|no table")
    refusal(site, 200, votable(swift_rows())[:400], "no VOTable|no table")
    refusal(site, 500, b"", "answered 500")
    refusal(site, 200, votable(swift_rows(), "OVERFLOW"), "more than 100000")
    refusal(site, 200, votable(Table({"obsid": [OBS]})), "no column start_time")
    lines = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10 if k else "x" * 10}">' for k in range(10))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE VOTABLE [{lines}]><VOTABLE><DESCRIPTION>&a9;</DESCRIPTION></VOTABLE>'
    )
    refusal(site, 200, bomb.encode(), "no VOTable|no table")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ValueRangeError),
        ({"obs_id": []}, ValueRangeError),
        ({"time": 5}, ValueRangeError),
        ({"position": (1, 2), "radius": "far"}, UnitsError),
        ({"name": "x", "limit": "all"}, ValueRangeError),
        ({"position": (400.0, 95.0)}, PositionError),
        ({"position": ("a", "b")}, PositionError),
        ({"position": (1.0, 2.0), "radius": -1}, ValueRangeError),
        ({"time": "2021"}, ValueRangeError),
        ({"time": ("2021-02-01", "2021-01-01")}, ValueRangeError),
        ({"obs_id": "1'; DROP TABLE x"}, ValueRangeError),
        ({"name": "x", "columns": ["a; b"]}, ValueRangeError),
        ({"name": "x", "limit": 0}, ValueRangeError),
    ],
)
def test_questions_that_make_no_sense(options: dict[str, Any], error: type):
    with pytest.raises(error):
        archive.observations(service="http://127.0.0.1:1/tap", **options)


def test_triggers(site: Site):
    rows = Table({"obsid": ["01104692000"], "target_id": [1104692], "time": [59699.5756]})
    site.handlers["/tap/sync"] = lambda request, server: server.answer(200, votable(rows))
    found = archive.triggers(trigger=[1104692, 7], service=f"{site.url}/tap")
    assert asked(site).endswith("FROM swifttdrss AS cat WHERE cat.obsid IN ('01104692000', '00000007000')")
    assert str(found["start"][0])[:16] == "2022-04-30 13:48"
    rows["obsid"] = [1104692000]
    assert archive.triggers(trigger=1104692, service=f"{site.url}/tap")["obsid"].tolist() == ["01104692000"]
    rows["start_time"] = rows["time"]
    assert start_times(["01104692000"], service=f"{site.url}/tap") == {"01104692000": 59699.5756}
    for wrong in (-1, "x", 123456789, 0):
        with pytest.raises(ValueRangeError, match="trigger"):
            archive.triggers(trigger=wrong, service=f"{site.url}/tap")


# ---------------------------------------------------------------- plans and fetches


def test_fetch(tap: Site, tmp_path: Path):
    options = {"data": tmp_path / "data", "mirrors": f"{tap.url}/FTP", "limits": QUICK}
    made = archive.plan(OBS, **options)
    assert len(made.left) == 5 and made.size == pytest.approx(
        sum(len(FILES[name]) for name in FILES if "xrt" not in name), rel=0.05
    )
    assert not (tmp_path / "data").exists()
    assert "5 of 5 files" in str(made)
    folder = tmp_path / "data" / OBS
    assert made.fetch() == [folder]
    assert below(folder) == sorted(name for name in FILES if not name.startswith("xrt"))
    assert all((folder / name).read_bytes() == FILES[name] for name in below(folder))
    before = len(tap.asked)
    assert not archive.plan(OBS, **options).left
    batx.fetch(OBS, **options)
    assert not any(request.path.endswith((".fits", ".gz", ".lc", ".hk")) for request in tap.asked[before:])
    batx.fetch(int(OBS), instruments="xrt", **options)
    assert (folder / f"xrt/event/sw{OBS}xpcw3po_uf.evt").is_file()


def test_selection_and_tables(site: Site, tmp_path: Path):
    options = {"data": tmp_path, "mirrors": f"{site.url}/FTP", "limits": QUICK}
    table = archive.observations(name="x", service=f"{site.url}/tap")[1:2]
    before = len(site.asked)
    batx.fetch(table, match="*bevsh*", **options)
    assert below(tmp_path) == [f"{OBS}/bat/event/sw{OBS}bevshsp_uf.evt.gz"]
    assert not any(request.path == "/tap/sync" for request in site.asked[before:]), (
        "the table tells the month"
    )
    with pytest.raises(MissingFileError, match="no files"):
        batx.fetch(table, match="*nothing*", quicklook=False, **options)
    with pytest.raises(ValueRangeError, match="instruments"):
        batx.fetch(table, instruments="bat,cat", **options)
    with pytest.raises(ValueRangeError, match="11 digits"):
        batx.fetch("../../x", **options)
    with pytest.raises(ValueRangeError, match="none"):
        batx.fetch([], **options)


def test_tables_of_any_kind(tap: Site, tmp_path: Path):
    """Of pandas, astropy and xarray; without a time the archive is asked."""
    import xarray as xr

    columns = {"obsid": [OBS], "start_time": [np.nan]}
    options = {"data": tmp_path, "mirrors": f"{tap.url}/FTP", "limits": QUICK, "instruments": "auxil"}
    for table in (
        pd.DataFrame(columns),
        Table(columns),
        xr.Dataset({key: ("n", value) for key, value in columns.items()}),
        np.array([OBS]),
        pd.Series([OBS]),
    ):
        assert batx.fetch(table, **options) == [tmp_path / OBS]
    assert tap.count("/tap/sync") == 5


def test_the_month_beside(site: Site, tmp_path: Path):
    """An observation that began in the last hours of a month may be in either folder."""
    table = {"obsid": [OBS], "start_time": [59548.9]}  # 2021-11-30
    found = batx.fetch(table, data=tmp_path, mirrors=f"{site.url}/FTP", limits=QUICK)
    assert found == [tmp_path / OBS]


def test_mirrors(site: Site, tmp_path: Path):
    """Not at the first, damaged there, and so from a folder."""
    local = tmp_path / "mirror"
    for name, data in FILES.items():
        path = local / f"swift/data/obs/2021_12/{OBS}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    table = {"obsid": [OBS], "start": [np.datetime64("2021-12-12")]}
    made = archive.plan(table, data=tmp_path / "a", mirrors=[f"{site.url}/none", str(local)], limits=QUICK)
    assert all(file.exact for file in made.files)
    made.fetch()
    page = b"<!DOCTYPE html><html>down for maintenance</html>"
    site.files[f"{ROOT}/auxil/sw{OBS}sat.fits"] = page
    batx.fetch(table, data=tmp_path / "b", mirrors=[f"{site.url}/FTP", str(local)], limits=QUICK)
    assert (tmp_path / "b" / OBS / "auxil" / f"sw{OBS}sat.fits").read_bytes() == FITS


def test_hostile_listing(site: Site, tmp_path: Path):
    """Names that lead out are not followed, folders without end neither."""
    links = b'<a href="../../../../up.fits">up</a><a href="%2e%2e%2fup.fits">up</a>'
    page = b"<title>Index of</title><pre>" + links
    loop = b'<title>Index of</title><pre><a href="sub/">sub</a></pre>'
    site.handlers[f"{ROOT}/tdrss/"] = lambda request, server: server.answer(200, page)
    path = f"{ROOT}/auxil/"
    for _ in range(12):
        site.handlers[path] = lambda request, server: server.answer(200, loop)
        path += "sub/"
    table = {"obsid": [OBS], "start_time": [59560.0]}
    options = {"data": tmp_path / "data", "mirrors": f"{site.url}/FTP", "limits": QUICK, "quicklook": False}
    batx.fetch(table, instruments=["tdrss", "xrt"], **options)
    assert below(tmp_path) == [f"data/{OBS}/xrt/event/sw{OBS}xpcw3po_uf.evt"]
    with pytest.raises(DownloadError, match="without end"):
        batx.fetch(table, instruments="auxil", **options)


@pytest.mark.parametrize(
    "found", [None, 3.5, np.float64(3.5), True, b"00012345000", object(), [], [None], {"a": [1]}, {}, "x"]
)
def test_what_is_no_observation(found: Any, tmp_path: Path):
    for ask in (archive.plan, batx.fetch):
        with pytest.raises(ValueRangeError, match=r"observations?: found .*expected"):
            ask(found, data=tmp_path, offline=True)
    with pytest.raises(ValueRangeError, match="trigger"):
        archive.plan_triggers(found, data=tmp_path, offline=True)
    with pytest.raises(ValueRangeError):
        archive.fetch_xmm(found, data=tmp_path, offline=True)


def test_a_failed_fetch_leaves_no_empty_folders(tap: Site, tmp_path: Path):
    made = archive.plan(OBS, data=tmp_path / "a" / "data", mirrors=f"{tap.url}/FTP", limits=QUICK)
    gone = {name: tap.files.pop(name) for name in list(tap.files) if f"/{OBS}/" in name}
    with pytest.raises(MissingFileError):
        made.fetch()
    assert not (tmp_path / "a").exists()
    (tmp_path / "a" / "data").mkdir(parents=True)
    kept = next(name for name in gone if "/auxil/" in name)
    tap.files[kept] = gone[kept]
    with pytest.raises(DownloadError if len(made.left) == 1 else MissingFileError):
        made.fetch()
    assert [path.name for path in (tmp_path / "a" / "data" / OBS).iterdir()] == ["auxil"]


def test_offline(tap: Site, tmp_path: Path):
    options = {"data": tmp_path, "mirrors": f"{tap.url}/FTP", "limits": QUICK}
    with pytest.raises(MissingFileError, match="not in the data directory"):
        batx.fetch(OBS, offline=True, **options)
    batx.fetch(OBS, instruments=["bat", "auxil"], **options)
    before = len(tap.asked)
    assert batx.fetch(OBS, offline=True, **options) == [tmp_path / OBS]
    with pytest.raises(MissingFileError, match="in xrt"):
        batx.fetch(OBS, offline=True, instruments="xrt", **options)
    (tmp_path / OBS / "auxil" / ".y.fits.part").write_bytes(b"")
    with pytest.raises(MissingFileError, match="1 unfinished"):
        batx.fetch(OBS, offline=True, **options)
    assert len(tap.asked) == before


def test_no_way_to_the_archive(tap: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = {"data": tmp_path, "limits": QUICK}
    batx.fetch(OBS, mirrors=f"{tap.url}/FTP", **options)
    table = {"obsid": [OBS], "start_time": [59560.0]}
    with pytest.warns(BatxWarning, match="what is on disk is used"):
        assert batx.fetch(table, mirrors="http://127.0.0.1:9/FTP", **options) == [tmp_path / OBS]
    monkeypatch.setattr("batx.archive.tables.SERVICE", "http://127.0.0.1:9/tap")
    with pytest.warns(BatxWarning, match="what is on disk is used"):
        assert batx.fetch(OBS, mirrors="http://127.0.0.1:9/FTP", **options) == [tmp_path / OBS]
    with pytest.raises(DownloadError, match="no connection"):
        batx.fetch(
            {"obsid": ["00012345001"], "start_time": [59560.0]}, mirrors="http://127.0.0.1:9/FTP", **options
        )


def test_quicklook(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    new = "00015129012"
    site.files |= {
        f"/ql/sw{new}.{k:03d}/{name.replace(OBS, new)}": data for name, data in FILES.items() for k in (3, 4)
    }
    monkeypatch.setattr("batx.archive.finding._QUICKLOOK", f"{site.url}/ql")
    table = {"obsid": [new], "start_time": [59560.0]}
    options = {"data": tmp_path, "mirrors": f"{site.url}/FTP", "limits": QUICK}
    with pytest.warns(BatxWarning, match="quick-look"):
        found = batx.fetch(table, **options)
    assert found == [tmp_path / "quicklook" / new / "004"]
    assert (found[0] / f"bat/event/sw{new}bevshsp_uf.evt.gz").is_file()
    with pytest.raises(MissingFileError, match="was not found"):
        batx.fetch(table, quicklook=False, **options)


def test_layouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert MISSIONS["nustar"].path("80002092002") == "nustar/data/obs/00/8/80002092002"
    assert MISSIONS["xmm"].path("0123700101") == "xmm/data/rev0/0123700101"
    with pytest.raises(ValueRangeError):
        MISSIONS["swift"].path(OBS, "2021_13")
    assert mirror_list()[1] == "s3://nasa-heasarc"
    (tmp_path / "config" / "batx").mkdir(parents=True)
    (tmp_path / "config" / "batx" / "config.toml").write_text('mirrors = ["https://example.org/x"]\n')
    assert mirror_list() == ["https://example.org/x"]
    monkeypatch.setenv("BATX_MIRRORS", "https://a.org s3://b")
    assert mirror_list() == ["https://a.org", "s3://b"]


def test_bucket(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for S3: lists of keys, heads, and parts of files, asked without a login."""
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    site.files |= {f"/bucket/{path.removeprefix('/FTP/')}": data for path, data in list(site.files.items())}
    event = f"/bucket/swift/data/obs/2021_12/{OBS}/bat/event/sw{OBS}bevshsp_uf.evt.gz"
    site.files[event] = GZIP * 20_000

    def keys(request: Request, server: Any) -> None:
        prefix = request.query.get("prefix", [""])[0]
        names = [name.removeprefix("/bucket/") for name in site.files if name.startswith(f"/bucket/{prefix}")]
        rest = {name: name[len(prefix) :].partition("/") for name in names}
        folders = sorted({f"{prefix}{first}/" for first, slash, _ in rest.values() if slash})
        body = "".join(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>" for name in folders)
        for name in names:
            if not rest[name][1]:
                size = len(site.files[f"/bucket/{name}"])
                body += f'<Contents><Key>{name}</Key><Size>{size}</Size><ETag>"x"</ETag></Contents>'
        page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{body}</ListBucketResult>"
        server.answer(200, page.encode(), {"Content-Type": "application/xml"})

    site.handlers |= {"/bucket": keys, "/bucket/": keys}
    limits = Limits(timeout=5.0, stall=5.0, retries=1, pause=0.01, endpoint=site.url)
    table = {"obsid": [OBS], "start_time": [59560.0]}
    made = archive.plan(table, data=tmp_path, mirrors="s3://bucket", limits=limits)
    assert len(made.files) == 5 and all(file.exact for file in made.files)
    assert made.fetch() == [tmp_path / OBS]
    assert (tmp_path / OBS / event.partition(f"{OBS}/")[2]).read_bytes() == GZIP * 20_000
    assert not any("Authorization" in request.headers for request in site.asked)
    with pytest.raises(MissingFileError, match="was not found"):
        archive.plan(
            {"obsid": ["00012345009"], "start_time": [59560.0]},
            data=tmp_path, mirrors="s3://bucket", limits=limits, quicklook=False,
        )  # fmt: skip


def test_command(tap: Site, tmp_path: Path):
    from click.testing import CliRunner

    from batx.cli import main

    common = ["fetch", OBS, "--data", str(tmp_path), "--mirror", f"{tap.url}/FTP"]
    shown = CliRunner().invoke(main, [*common, "--dry-run"])
    assert shown.exit_code == 0 and OBS in shown.output and not list(tmp_path.iterdir())
    done = CliRunner().invoke(main, [*common, "-i", "auxil", "-i", "tdrss"])
    assert done.exit_code == 0 and f"wrote {tmp_path / OBS}" in done.output
    assert len(below(tmp_path)) == 2
    again = CliRunner().invoke(main, [*common, "--offline", "-i", "bat"])
    assert again.exit_code == 1 and "no files that were asked for in bat" in again.output
    wrong = CliRunner().invoke(main, ["fetch", "x", "--data", str(tmp_path)])
    assert wrong.exit_code == 1 and "expected the 11 digits" in wrong.output


def test_xmm_from_esa(site: Site, tmp_path: Path):
    """A packed file within a packed file, its name only in the question."""
    import io
    import tarfile

    def tar(members: dict[str, bytes], mode: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as made:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
        return out.getvalue()

    inner = tar({"0082_0123700101_PNS00301IME.FIT": FITS, "MANIFEST.1": b"x"}, "w")
    packed = tar({"0123700101/odf/0082_0123700101.TAR": inner, "0123700101/readme.txt": b"x"}, "w:gz")
    site.handlers["/aio"] = lambda request, server: server.send_file(request, packed)
    options = {"data": tmp_path, "service": f"{site.url}/aio", "limits": QUICK}
    found = archive.fetch_xmm("0123700101", **options)
    assert found == tmp_path / "0123700101" / "ODF"
    assert site.asked[0].query == {"obsno": ["0123700101"], "level": ["ODF"]}
    assert below(tmp_path) == [
        "0123700101/ODF/0123700101/odf/0082_0123700101_PNS00301IME.FIT",
        "0123700101/ODF/0123700101/odf/MANIFEST.1",
        "0123700101/ODF/0123700101/readme.txt",
    ]
    archive.fetch_xmm("0123700101", offline=True, **options)
    assert len(site.asked) == 1
    damaged = packed[:-20]
    site.handlers["/aio"] = lambda request, server: server.send_file(request, damaged)
    with pytest.raises(FileFormatError, match="damaged"):
        archive.fetch_xmm("0123700103", **options)
    site.handlers["/aio"] = lambda request, server: server.send_file(request, packed)
    assert len(below(archive.fetch_xmm("0123700103", **options))) == 3, "what was damaged is fetched anew"
    site.handlers["/aio"] = lambda request, server: server.answer(200, b"<html>No data</html>")
    with pytest.raises(DownloadError, match="web page"):
        archive.fetch_xmm("0123700102", **options)
    with pytest.raises(MissingFileError, match="offline"):
        archive.fetch_xmm("0123700102", offline=True, **options)


def test_files_that_differ_are_kept_or_replaced(site: Site, tmp_path: Path):
    table = {"obsid": [OBS], "start_time": [59560.0]}
    options = {"data": tmp_path, "mirrors": f"{site.url}/FTP", "limits": QUICK, "instruments": "auxil"}
    (folder,) = batx.fetch(table, **options)
    path = folder / f"auxil/sw{OBS}sat.fits"
    path.write_bytes(FITS[:-1])
    assert not archive.plan(table, **options).left, "one byte is within the rounding of a page"
    path.write_bytes(b"my own")
    with pytest.warns(BatxWarning, match="another size than in the archive and are kept"):
        batx.fetch(table, **options)
    assert path.read_bytes() == b"my own"
    assert len(archive.plan(table, overwrite=True, **options).left) == 1
    batx.fetch(table, overwrite=True, **options)
    assert path.read_bytes() == FITS
