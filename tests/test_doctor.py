"""What is looked at for ``batx doctor``: tools, network and folders, also where these misbehave."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from web_server import Site, serving

from batx import doctor
from batx.doctor import Finding, findings

pytest.importorskip("requests")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("HEADAS", "SAS_DIR", "CALDB", "BATX_DATA", "BATX_MIRRORS", "BATX_XSPEC_PYTHON")
    for name in (*names, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def heasoft() -> Finding:
    return doctor._suite("HEASoft", "HEADAS", "heasoft", "batbinevt", "optional")


def test_every_line_is_whole():
    lines = list(findings(network=False))
    assert {one.section for one in lines} == {"Python", "Tools", "Calibration", "Files", "What runs"}
    assert all(one.status in ("ok", "absent", "broken") and one.detail for one in lines)
    assert all(one.remedy for one in lines if one.status != "ok")
    assert not any("\n" in one.detail for one in lines)


def runs(network: bool = False) -> dict[str, Finding]:
    return {one.name.split(" (")[0]: one for one in findings(network) if one.section == "What runs"}


def test_what_runs_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BATX_CACHE", str(tmp_path / "cache"))
    lines = runs()
    assert lines["events"].status == "absent" and "batx calibration --fetch" in lines["events"].remedy
    for name, words in (
        ("survey", "$HEADAS"),
        ("XRT", "$HEADAS"),
        ("NuSTAR", "$HEADAS"),
        ("XMM-Newton", "$SAS_DIR"),
    ):
        assert f"{words} is not set" in lines[name].detail and words in lines[name].remedy
    assert (
        lines["fits with XSPEC"].status == "absent"
        and "$BATX_XSPEC_PYTHON" in lines["fits with XSPEC"].remedy
    )
    assert "fetching" not in lines, "nobody looked"
    (tmp_path / "bin").mkdir()
    for name in ("xrtpipeline", "xrtexpomap", "xrtproducts", "nupipeline"):
        (tmp_path / "bin" / name).touch()
    monkeypatch.setenv("HEADAS", str(tmp_path))
    monkeypatch.setenv("CALDB", str(tmp_path))
    assert "no nuproducts" in runs()["NuSTAR"].detail
    assert "$CALDB has no data/swift/xrt" in runs()["XRT"].detail
    (tmp_path / "data" / "swift" / "xrt").mkdir(parents=True)
    assert runs()["XRT"].status == "ok" and not runs()["XRT"].remedy
    monkeypatch.setenv("CALDB", "https://me:secret@127.0.0.1:9/caldb")
    monkeypatch.setenv("BATX_MIRRORS", str(tmp_path))
    monkeypatch.setattr("batx.archive.tables.SERVICE", "http://127.0.0.1:9/tap")
    lines = runs(network=True)
    assert lines["events"].status == "ok" and lines["fetching"].status == "ok"
    assert "secret" not in repr(lines)


def test_tools_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    place = tmp_path / "heasoft-6.35.1" / "linux"
    (place / "bin").mkdir(parents=True)
    monkeypatch.setenv("HEADAS", str(place))
    assert heasoft().status == "broken"
    for name in ("batbinevt", "batmaskwtevt"):
        (place / "bin" / name).write_text("")
    one = heasoft()
    assert one.status == "ok" and one.detail.startswith("6.35.1, ") and ": 2 of the " in one.detail
    assert "not there" in one.remedy


def test_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """One that answers, one that is not there, one that never ends its header, and a folder."""

    def drip(request: object, server: object) -> None:
        for _ in range(40):
            server.wfile.write(b"X")  # type: ignore[attr-defined]
            server.wfile.flush()  # type: ignore[attr-defined]
            time.sleep(0.1)

    with serving(Site({"/FTP/x": b"x"})) as site:
        site.handlers["/drip/"] = drip
        monkeypatch.setattr(doctor, "_PATIENCE", 1.5)
        monkeypatch.setattr("batx.archive.tables.SERVICE", f"{site.url}/tap")
        secret = site.url.replace("//", "//user:secret@")
        monkeypatch.setenv("BATX_MIRRORS", f"{secret}/FTP {site.url}/drip {site.url}/none {tmp_path}")
        (tmp_path / "x").touch()
        begin = time.monotonic()
        lines = list(doctor._network())
        assert time.monotonic() - begin < 4.0
    assert [one.status for one in lines] == ["ok", "absent", "absent", "ok", "absent"]
    assert "no answer" in lines[1].detail or "broke off" in lines[1].detail
    assert "not there" in lines[2].detail
    assert all(one.remedy for one in lines if one.status == "absent")
    assert "secret" not in repr(lines)
    monkeypatch.setenv("BATX_MIRRORS", "ftp://x")
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    lines = list(doctor._network())
    assert lines[0].status == "broken" and lines[1].detail == "http://127.0.0.1:9"
    assert "secret" not in repr(lines)


def test_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    place = tmp_path / "data"
    monkeypatch.setenv("BATX_DATA", str(place))
    assert doctor._data().status == "absent"
    (place / "00012345000").mkdir(parents=True)
    one = doctor._data()
    assert one.status == "ok" and ", 1 observations, " in one.detail
    monkeypatch.setattr(doctor, "_LEAST_ROOM", 1e9)
    assert "make room" in doctor._data().remedy
    monkeypatch.delenv("BATX_DATA")
    (tmp_path / "config" / "batx").mkdir(parents=True)
    (tmp_path / "config" / "batx" / "config.toml").write_text("data = 1")
    assert doctor._data().status == "broken"
