"""What is looked at for ``batx doctor``: tools, calibration, network, folders, also where they misbehave."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import caldb_tree as trees
import pytest
import stand_ins
from web_server import Site, serving

from batx.doctor import Finding, findings, folders, looking, network, tools

pytest.importorskip("requests")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("HEADAS", "SAS_DIR", "SAS_CCFPATH", "CALDB", "CALDBCONFIG", "BATX_DATA", "BATX_MIRRORS")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    for name in (*names, *proxies, "BATX_XSPEC_PYTHON", "BATX_HEASOFTPY_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("BATX_CACHE", str(tmp_path / "cache"))


def only(lines: Iterator[Finding], name: str = "") -> Finding:
    """The one line, or the one of this name."""
    found = [one for one in lines if not name or one.name == name]
    assert len(found) == 1, found
    return found[0]


def whole(lines: list[Finding]) -> None:
    assert all(one.status in ("ok", "absent", "broken") and one.detail for one in lines)
    assert all(one.remedy for one in lines if one.status != "ok")
    assert not any("\n" in one.detail or "Traceback" in one.detail for one in lines)


def test_every_line_is_whole() -> None:
    lines = list(findings(network=False))
    assert {one.section for one in lines} == {"Python", "Tools", "Calibration", "Files", "What runs"}
    whole(lines)


def runs(online: bool = False) -> dict[str, Finding]:
    return {one.name.split(" (")[0]: one for one in findings(online) if one.section == "What runs"}


def test_what_runs_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = runs()
    assert lines["events"].status == "absent" and "batx calibration --fetch" in lines["events"].remedy
    for name, words in (
        ("survey by batsurvey", "$HEADAS"),
        ("XRT", "$HEADAS"),
        ("NuSTAR", "$HEADAS"),
        ("XMM-Newton", "$SAS_DIR"),
    ):
        assert f"{words} is not set" in lines[name].detail and words in lines[name].remedy
    survey = lines["survey"]
    assert survey.detail == "no aperture, alignment, pulser, flight_pulser, residual"
    assert survey.status == "absent" and survey.remedy == "batx calibration --fetch"
    xspec = lines["fits with XSPEC"]
    assert xspec.status == "absent" and "$BATX_XSPEC_PYTHON" in xspec.remedy
    assert "fetching" not in lines, "nobody looked"
    monkeypatch.setattr("batx.doctor.packages.version", lambda name: "0.0.1")
    assert "too old: astropy" in runs()["fits, images, light curves, mosaics of batx itself"].detail


# --- tools -------------------------------------------------------------------------------------------------


def add(headas: Path, *names: str) -> None:
    for name in names:
        stand_ins.add_tool(headas, name, "outfile,f,a,,,,Output\n", "pass\n")


def test_tools_are_those_that_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    headas = stand_ins.make_headas(tmp_path, ())
    monkeypatch.setenv("HEADAS", str(headas))
    one = only(tools.suite("HEASoft"))
    assert one.status == "broken" and "no bin/batbinevt that can be run" in one.detail
    add(headas, "batbinevt", "xrtpipeline", "xrtexpomap", "xrtproducts", "nupipeline")
    one = only(tools.suite("HEASoft"))
    assert one.status == "ok" and one.detail.startswith("6.99, ") and ": 5 of the " in one.detail
    assert "not there" in one.remedy
    (headas / "bin" / "nupipeline").chmod(0o644)
    assert ": 4 of the " in only(tools.suite("HEASoft")).detail
    # tools without what says which parameters they have
    (headas / "syspfiles" / "xrtpipeline.par").unlink()
    (headas / "syspfiles" / "xrtexpomap.par").write_bytes(b"\xff\xfe\0")
    one = only(tools.suite("HEASoft"))
    assert one.status == "broken" and "syspfiles that can be read: xrtexpomap, xrtpipeline" in one.detail
    assert "no xrtpipeline, xrtexpomap that can be called" in runs()["XRT"].detail


def test_tools_need_their_calibration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    headas = stand_ins.make_headas(tmp_path / "tools", ())
    add(headas, "xrtpipeline", "xrtexpomap", "xrtproducts", "nupipeline")
    monkeypatch.setenv("HEADAS", str(headas))
    monkeypatch.setenv("CALDB", str(tmp_path))
    assert "no nuproducts" in runs()["NuSTAR"].detail
    assert "$CALDB has no data/swift/xrt" in runs()["XRT"].detail
    (tmp_path / "data" / "swift" / "xrt").mkdir(parents=True)
    assert "$CALDBCONFIG names no file" in runs()["XRT"].detail and "caldbinit" in runs()["XRT"].remedy
    (tmp_path / "caldb.config").touch()
    monkeypatch.setenv("CALDBCONFIG", str(tmp_path / "caldb.config"))
    assert runs()["XRT"].status == "ok" and not runs()["XRT"].remedy


def test_sas_needs_its_calibration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sas = stand_ins.make_sas(tmp_path)
    for name in (
        *("cifbuild", "odfingest", "evselect", "tabgtigen", "merge", "backscale", "arfgen", "rmfgen"),
        *("epatplot", "epiclccorr", "epproc"),
    ):
        stand_ins.add_sas_task(sas, name, "", "pass\n")
    monkeypatch.setenv("SAS_DIR", str(sas))
    assert only(tools.suite("SAS"), "SAS").status == "ok"
    assert "$SAS_CCFPATH is not set" in only(tools.suite("SAS"), "SAS calibration").detail
    assert "$SAS_CCFPATH is not set" in runs()["XMM-Newton"].detail
    monkeypatch.setenv("SAS_CCFPATH", f"/nowhere{os.pathsep}{tmp_path / 'ccf'}")
    (tmp_path / "ccf").mkdir()
    assert "no calibration file" in runs()["XMM-Newton"].detail
    (tmp_path / "ccf" / "EPN_BADPIX_0001.CCF").touch()
    assert runs()["XMM-Newton"].status == "ok"
    assert [one.name for one in tools.suite("SAS")] == ["SAS"]


def test_interpreters_that_hang_are_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nsleep 60\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    begin = time.monotonic()
    one = only(tools.module("xspec", 1.0))
    assert time.monotonic() - begin < 2.0
    assert one.status == "absent" and f"{python}: no answer" in one.detail
    monkeypatch.setenv("BATX_XSPEC_PYTHON", str(python))
    assert only(tools.module("xspec", 0.3)).status == "broken"


# --- calibration -------------------------------------------------------------------------------------------


def calibration(online: bool = True) -> dict[str, Finding]:
    return {one.name: one for one in findings(online) if one.section in ("Calibration", "What runs")}


def test_a_database_on_disk_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = trees.caldb(tmp_path / "db")
    monkeypatch.setenv("CALDB", str(root))
    lines = calibration(False)
    assert lines["CALDB"].status == "ok"
    assert "12 files in its index, 1 of them not there" in lines["CALDB"].detail
    assert lines["aperture"].status == "ok" and "aper_flux_v3.fits" in lines["aperture"].detail
    index = root / trees.BAT / "caldb.indx"
    index.write_bytes(index.read_bytes()[:5000])
    line = calibration(False)["CALDB"]
    assert line.status == "broken" and "caldb.indx" in line.detail and "install" in line.remedy
    index.unlink()
    assert "has no caldb.indx" in calibration(False)["CALDB"].detail
    monkeypatch.setenv("CALDB", str(tmp_path / "nowhere"))
    assert "is not a folder" in calibration(False)["CALDB"].detail
    monkeypatch.setenv("CALDB", "~nobody_of_this_name/caldb")
    assert "is not a folder" in calibration(False)["CALDB"].detail


def test_a_database_that_is_a_url_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("batx.archive.tables.SERVICE", "http://127.0.0.1:9/tap")
    monkeypatch.setenv("BATX_MIRRORS", str(tmp_path))
    monkeypatch.setenv("CALDB", "http://me:secret@127.0.0.1:9/caldb")
    lines = calibration()
    assert lines["CALDB"].status == "absent" and "no connection" in lines["CALDB"].detail
    assert lines["events (batx run)"].status == "absent", "a server that does not answer serves nothing"
    assert "secret" not in repr(lines)
    assert "not asked" in calibration(False)["CALDB"].detail
    with serving(Site({f"/caldb/{trees.BAT}/caldb.indx": b"x"})) as site:
        monkeypatch.setenv("CALDB", f"{site.url}/caldb/")
        lines = calibration()
        assert lines["CALDB"].status == "ok" and "answers within" in lines["CALDB"].detail
        assert lines["events (batx run)"].status == "ok"
        monkeypatch.setenv("CALDB", f"{site.url}/elsewhere")
        assert "answers, but has no data/swift/bat/caldb.indx" in calibration()["CALDB"].detail
    monkeypatch.setenv("CALDB", "gopher://old/caldb")
    assert calibration()["CALDB"].status != "ok"


# --- network -----------------------------------------------------------------------------------------------


def drip(request: object, server: object) -> None:
    """Never come to the end of a header."""
    for _ in range(40):
        server.wfile.write(b"X")  # type: ignore[attr-defined]
        server.wfile.flush()  # type: ignore[attr-defined]
        time.sleep(0.1)


def test_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that answers, one that is not there, one that never ends its header, and a folder."""
    with serving(Site({"/FTP/x": b"x"})) as site:
        site.handlers["/drip/"] = drip
        monkeypatch.setattr("batx.archive.tables.SERVICE", f"{site.url}/tap")
        secret = site.url.replace("//", "//user:secret@")
        monkeypatch.setenv("BATX_MIRRORS", f"{secret}/FTP {site.url}/drip {site.url}/none {tmp_path}")
        (tmp_path / "x").touch()
        begin = time.monotonic()
        lines = list(network.look(1.5))
        assert time.monotonic() - begin < 3.0
    assert [one.status for one in lines] == ["ok", "absent", "absent", "ok", "absent"]
    assert "no answer" in lines[1].detail or "broke off" in lines[1].detail
    assert "not there" in lines[2].detail
    assert all(one.remedy for one in lines if one.status == "absent")
    assert "secret" not in repr(lines)
    monkeypatch.setenv("BATX_MIRRORS", "http://user:secret@127.0.0.1:9/x")
    assert next(iter(network.look(1.0))).detail.count("127.0.0.1:9/x") == 1
    monkeypatch.setenv("BATX_MIRRORS", "ftp://x")
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "me:secret@127.0.0.1:8")
    monkeypatch.setenv("no_proxy", "localhost")
    lines = list(network.look(1.0))
    assert lines[0].status == "broken"
    assert lines[1].detail == "http://127.0.0.1:8, http://127.0.0.1:9: asked for what follows"
    assert "secret" not in repr(lines)


# --- folders -----------------------------------------------------------------------------------------------


def test_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "data"
    monkeypatch.setenv("BATX_DATA", str(place))
    assert only(folders.data()).status == "absent"
    (place / "00012345000").mkdir(parents=True)
    one = only(folders.data())
    assert one.status == "ok" and ", 1 observations, " in one.detail
    monkeypatch.setattr(folders, "_LEAST_ROOM", 1e9)
    assert "make room" in only(folders.data()).remedy
    monkeypatch.delenv("BATX_DATA")
    (tmp_path / "config" / "batx").mkdir(parents=True)
    (tmp_path / "config" / "batx" / "config.toml").write_text("data = 1")
    assert only(folders.data()).status == "broken"


@pytest.mark.parametrize("look", [folders.data, folders.cache])
def test_a_folder_that_cannot_be_made_is_told_before_the_fetch(
    look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("BATX_DATA", str(place))
        monkeypatch.setenv("BATX_CACHE", str(place))
        one = only(look())
        assert one.status == ("broken" if place.name == "file" else "absent")
        assert str(place) in one.detail and "$BATX_" in one.remedy


def test_folders_that_are_gone_or_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    assert only(folders.working()).status == "broken"
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: "/proc")
    one = only(folders.temporary())
    assert one.status == "broken" and "/proc" in one.detail and "$TMPDIR" in one.remedy


# --- whatever happens --------------------------------------------------------------------------------------


def test_a_check_that_fails_or_hangs_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("Files", "a", "ok", "there")
        raise ZeroDivisionError("of all things")

    def hangs() -> Iterator[Finding]:
        yield Finding("Files", "b", "ok", "there")
        time.sleep(20)

    monkeypatch.setattr(folders, "CHECKS", {"fails": fails, "hangs": hangs, "hangs too": hangs})
    begin = time.monotonic()
    lines = list(findings(network=False, patience=2.0))
    assert time.monotonic() - begin < 3.5
    whole(lines)
    found = [one for one in lines if one.section == "Files"]
    assert [one.name for one in found] == ["a", "fails", "b", "hangs", "b", "hangs too"]
    assert "of all things" in found[1].detail and "not known after 2 s" in found[3].detail


def test_judging_that_fails_or_hangs_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_a_disk(error: Exception | None) -> Iterator[tuple[str, str, str]]:
        yield "events (batx run)", "", ""
        if error is not None:
            raise error
        time.sleep(20)

    monkeypatch.setattr(looking, "_JUDGING", 0.2)
    for error, said in ((PermissionError("not allowed"), "not allowed"), (None, "not known after")):
        monkeypatch.setattr(looking, "abilities", lambda _, error=error: of_a_disk(error))
        begin = time.monotonic()
        lines = list(findings(network=False, patience=1.0))
        assert time.monotonic() - begin < 3
        whole(lines)
        first, last = (one for one in lines if one.section == "What runs")
        assert first.status == "ok" and last.status == "broken" and said in last.detail


ODD = {
    "no home": {"HOME": None},
    "home that cannot be written": {"HOME": "/proc"},
    "nothing set": dict.fromkeys(("HOME", "PATH", "TMPDIR", "LANG", "USER", "SHELL")),
    "places of other kinds": {
        **dict.fromkeys(("HEADAS", "SAS_DIR", "CALDB", "CALDBCONFIG", "SAS_CCFPATH"), "/dev/null"),
        **dict.fromkeys(
            ("BATX_DATA", "BATX_CACHE", "BATX_XSPEC_PYTHON", "BATX_HEASOFTPY_PYTHON"), "/dev/null"
        ),
    },
    "words that are no places": {
        **dict.fromkeys(
            ("HEADAS", "SAS_DIR", "CALDB", "BATX_MIRRORS", "BATX_DATA", "BATX_CACHE"), "~no\udcff\n"
        ),
        "TMPDIR": "/nowhere",
        "https_proxy": "http://[bad",
    },
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_environments_give_lines_and_no_traceback(odd: str, tmp_path: Path) -> None:
    """The command, in a folder that is removed under it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **ODD[odd]}
    code = f"""
import os
os.rmdir({str(tmp_path / "gone")!r})
from batx.cli import main
main(["doctor", "--offline"])
"""
    (tmp_path / "gone").mkdir()
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={name: value for name, value in environment.items() if value is not None},
        cwd=tmp_path / "gone",
        capture_output=True,
        timeout=60,
        check=False,
    )
    taken = time.monotonic() - begin
    said = run.stdout.decode() + run.stderr.decode()
    assert "Traceback" not in said
    assert "What runs" in said and "working directory" in said
    assert taken < 15


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A named pipe where a file is expected: to open it waits for ever."""
    place = tmp_path / trees.BAT
    place.mkdir(parents=True)
    (tmp_path / trees.CONFIG).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / trees.CONFIG)
    assert stat.S_ISFIFO(os.stat(tmp_path / trees.CONFIG).st_mode)
    code = (
        "import time; begin = time.monotonic(); from batx.doctor import findings; list(findings(False, 1.5))"
    )
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; print(time.monotonic() - begin)"],
        env={**os.environ, "CALDB": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert time.monotonic() - begin < 10
    assert float(run.stdout) < 5
    assert looking._ANSWERS < 1
