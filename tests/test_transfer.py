"""Transfers from servers that are slow, cut, wrong, busy or hostile; all of them on this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_server import Request, Site, serving

from batx.errors import DownloadError, MissingFileError, ValueRangeError, WriteError
from batx.transfer import (
    Entry,
    Item,
    Limits,
    data_directory,
    download,
    download_all,
    entries,
    exists,
    read_bytes,
)
from batx.transfer.names import base_name, safe_name

pytest.importorskip("requests")

QUICK = Limits(timeout=2.0, stall=1.0, retries=3, pause=0.01, longest_pause=0.05, longest_wait=2.0)
DATA = b"SIMPLE  =                    T" + bytes(range(256)) * 4000  # 1 MB
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()
#: a job in the background of a shell hands on that interrupts are ignored
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/a/x.fits": DATA})) as served:
        yield served


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_whole(site: Site, tmp_path: Path):
    seen: list[tuple[str, int, Any]] = []
    found = download(
        f"{site.url}/a/x.fits",
        tmp_path / "new" / "x.fits",
        size=len(DATA),
        checksum=SHA,
        limits=QUICK,
        progress=lambda *state: seen.append(state),
    )
    assert found.read_bytes() == DATA
    assert files(tmp_path) == ["new/x.fits"]
    assert seen[-1] == ("x.fits", len(DATA), len(DATA))
    download(f"{site.url}/a/x.fits", found, limits=QUICK)
    assert site.count("/a/x.fits") == 1, "what is there is not fetched again"
    with pytest.raises(WriteError, match="overwrite=True"):
        download(f"{site.url}/a/x.fits", found, size=3, limits=QUICK)
    assert found.read_bytes() == DATA


@pytest.mark.parametrize("validators", [True, False])
def test_cut_and_resumed(site: Site, tmp_path: Path, validators: bool):
    """Broken off again and again; only the rest is asked for, if the server tells the version."""
    site.validators = validators
    cuts = iter([300_000, 200_000, 10, None, None])
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(request, DATA, cut=next(cuts))
    assert download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    assert files(tmp_path) == ["x.fits"]
    starts = [request.headers.get("Range") for request in site.asked]
    assert starts == ([None, "bytes=300000-", "bytes=500000-", "bytes=500010-"] if validators else [None] * 4)


def test_resumed_by_a_later_call(site: Site, tmp_path: Path):
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(request, DATA, cut=100_000)
    quick = Limits(pause=0.0, retries=0)
    with pytest.raises(DownloadError, match="goes on from there"):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=quick)
    assert not (tmp_path / "x.fits").exists()
    del site.handlers["/a/x.fits"]
    assert download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=quick).read_bytes() == DATA
    assert site.asked[-1].headers["Range"] == "bytes=100000-"
    assert files(tmp_path) == ["x.fits"]


def test_another_version_starts_anew(site: Site, tmp_path: Path):
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(request, DATA, cut=100_000)
    with pytest.raises(DownloadError):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=Limits(retries=0))
    del site.handlers["/a/x.fits"]
    site.files["/a/x.fits"] = other = DATA[:80_000] + b"new"
    assert download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == other


def test_ranges_ignored_or_refused(site: Site, tmp_path: Path):
    cuts = iter([300_000, None])
    site.ranges = False
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(request, DATA, cut=next(cuts))
    assert download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    site.ranges = True

    def wrong(request: Request, server: Any) -> None:
        if "Range" in request.headers:
            server.answer(206, DATA[5:], {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"})
        else:
            server.send_file(request, DATA, cut=None if len(site.asked) > 5 else 1000)

    site.handlers["/a/x.fits"] = wrong
    site.asked.clear()
    with pytest.raises(DownloadError, match="another part"):
        download(f"{site.url}/a/x.fits", tmp_path / "y.fits", limits=QUICK)
    assert not (tmp_path / "y.fits").exists()


def test_damaged(site: Site, tmp_path: Path):
    site.files["/a/x.fits"] = DATA[:-1] + b"!"
    with pytest.raises(DownloadError, match="damaged"):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", checksum=SHA, limits=QUICK)
    assert files(tmp_path) == []
    site.files["/b/x.fits"] = DATA
    mirrors = [f"{site.url}/a/x.fits", f"{site.url}/b/x.fits"]
    assert download(mirrors, tmp_path / "x.fits", checksum=SHA, limits=QUICK).read_bytes() == DATA
    with pytest.raises(DownloadError, match="found 1024030 bytes, expected 7"):
        download(mirrors[0], tmp_path / "y.fits", size=7, limits=QUICK)


def test_damaged_part_is_not_kept(site: Site, tmp_path: Path):
    """A wrong beginning, left by something else, costs one more fetch and no wrong file."""
    (tmp_path / ".x.fits.part").write_bytes(b"x" * 1000)
    found = download(f"{site.url}/a/x.fits", tmp_path / "x.fits", checksum=SHA, limits=QUICK)
    assert found.read_bytes() == DATA
    assert [request.headers.get("Range") for request in site.asked] == ["bytes=1000-", None]


def test_busy_server_is_obeyed(site: Site, tmp_path: Path):
    def busy(request: Request, server: Any) -> None:
        if len(site.asked) == 1:
            server.answer(429, b"", {"Retry-After": "1"})
        elif len(site.asked) == 2:
            server.answer(503, b"")
        else:
            server.send_file(request, DATA)

    site.handlers["/a/x.fits"] = busy
    begin = time.monotonic()
    download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert time.monotonic() - begin >= 1.0
    site.handlers["/b.fits"] = lambda request, server: server.answer(503, b"", {"Retry-After": "86400"})
    begin = time.monotonic()
    with pytest.raises(DownloadError, match="asks to wait 86400 s"):
        download(f"{site.url}/b.fits", tmp_path / "b.fits", limits=QUICK)
    assert time.monotonic() - begin < 1.0


def test_retries_end(site: Site, tmp_path: Path):
    site.handlers["/a/x.fits"] = lambda request, server: server.answer(500)
    with pytest.raises(DownloadError, match="answered 500"):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert len(site.asked) == 4
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [(404, MissingFileError, "not there"), (403, DownloadError, "refused"), (401, DownloadError, "netrc")],
)
def test_final_answers_are_not_repeated(site: Site, tmp_path: Path, status: int, error: type, text: str):
    site.handlers["/a/x.fits"] = lambda request, server: server.answer(status)
    with pytest.raises(error, match=text):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert len(site.asked) == 1
    assert exists(f"{site.url}/nothing.fits", limits=QUICK) is False
    del site.handlers["/a/x.fits"]
    assert exists(f"{site.url}/a/x.fits", limits=QUICK) is True


def test_stalled_and_dripping(site: Site, tmp_path: Path):
    def stall(request: Request, server: Any) -> None:
        server.send_file(request, DATA, step=100, cut=100, pause=3.0)

    def drip(request: Request, server: Any) -> None:
        server.send_file(request, DATA, step=1, cut=100, pause=0.05)

    limits = Limits(stall=0.3, retries=0, slowest=1000.0)
    for handler, text in ((stall, "nothing came for 0.3 s"), (drip, "slower than 1000 bytes/s")):
        site.handlers["/a/x.fits"] = handler
        begin = time.monotonic()
        with pytest.raises(DownloadError, match=text):
            download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=limits)
        assert time.monotonic() - begin < 2.0
    site.handlers["/silent"] = lambda request, server: time.sleep(2.0)
    with pytest.raises(DownloadError, match="no answer within"):
        download(f"{site.url}/silent", tmp_path / "x.fits", limits=limits)


def test_no_server(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match="no connection"):
        download(f"http://127.0.0.1:{port}/x.fits", tmp_path / "x.fits", limits=QUICK)
    with pytest.raises(DownloadError, match="host is unknown"):
        download("http://nowhere.invalid/x.fits", tmp_path / "x.fits", limits=QUICK)


def test_mirrors_in_order(site: Site, tmp_path: Path):
    local = tmp_path / "mirror"
    local.mkdir()
    (local / "x.fits").write_bytes(DATA)
    mirrors = [f"{site.url}/none/x.fits", str(local / "x.fits"), f"{site.url}/a/x.fits"]
    assert download(mirrors, tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    assert [request.path for request in site.asked] == ["/none/x.fits"]
    with pytest.raises(MissingFileError, match="is not in the archive"):
        download([f"{site.url}/none/x.fits", str(local / "y.fits")], tmp_path / "y.fits", limits=QUICK)


# ---------------------------------------------------------------- redirects


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/hostname",
        "ftp://127.0.0.1/x",
        "gopher://x",
        "data:text/plain,x",
        "http://:x/",
        "s3://bucket/key",
        "",
    ],
)
def test_redirects_lead_to_the_web_only(site: Site, tmp_path: Path, target: str):
    site.handlers["/a/x.fits"] = lambda request, server: server.answer(302, b"", {"Location": target})
    with pytest.raises(DownloadError, match="refused a redirect"):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert files(tmp_path) == []


def test_redirects_are_followed_and_counted(site: Site, tmp_path: Path):
    site.handlers["/old"] = lambda request, server: server.answer(301, b"", {"Location": "/a/x.fits"})
    site.handlers["/endless"] = lambda request, server: server.answer(
        301, b"", {"Location": "/a/x.fits", "Content-Length": str(10**12)}
    )
    download(f"{site.url}/endless", tmp_path / "z.fits", limits=QUICK)
    site.handlers["/round"] = lambda request, server: server.answer(302, b"", {"Location": "/round"})
    assert download(f"{site.url}/old", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        download(f"{site.url}/round", tmp_path / "y.fits", limits=QUICK)
    assert site.count("/round") == 6


def test_https_needs_a_trusted_certificate_and_is_never_left(site: Site, tmp_path: Path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    limits = Limits(timeout=2.0, stall=2.0, retries=0, ca_file=str(trusted))
    with serving(Site({"/x.fits": DATA}), context) as safe:
        with pytest.raises(DownloadError, match="certificate is not trusted"):
            download(f"{safe.url}/x.fits", tmp_path / "x.fits", limits=QUICK)
        assert download(f"{safe.url}/x.fits", tmp_path / "x.fits", limits=limits).read_bytes() == DATA
        away = f"{site.url}/a/x.fits"
        safe.handlers["/down"] = lambda request, server: server.answer(302, b"", {"Location": away})
        with pytest.raises(DownloadError, match="redirect from https"):
            download(f"{safe.url}/down", tmp_path / "y.fits", limits=limits)
    assert not site.asked


def test_secrets_are_neither_shown_nor_sent_elsewhere(site: Site, tmp_path: Path):
    with serving(Site({"/x.fits": DATA})) as other:
        place = site.url.replace("http://", "http://user:secret1@")
        away = other.url.replace("127.0.0.1", "localhost") + "/x.fits"
        site.handlers["/go"] = lambda request, server: server.answer(302, b"", {"Location": away})
        download(f"{place}/go?token=secret2", tmp_path / "x.fits", limits=QUICK)
        assert site.asked[0].headers["Authorization"].startswith("Basic ")
        assert "Authorization" not in other.asked[0].headers
    with pytest.raises(MissingFileError) as caught:
        download(f"{place}/none.fits?token=secret2", tmp_path / "y.fits", limits=QUICK)
    assert "secret" not in repr(caught.value)
    site.handlers["/cut"] = lambda request, server: server.send_file(request, DATA, cut=1000)
    with pytest.raises(DownloadError) as failed:
        download(f"{place}/cut?token=secret2", tmp_path / "z.fits", limits=Limits(retries=0))
    assert "secret" not in repr(failed.value)
    assert "secret" not in (tmp_path / ".z.fits.part.json").read_text()


def test_proxy_is_used(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The name of the host is for the proxy alone."""
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    site.handlers["/p/x.fits"] = lambda request, server: server.send_file(request, DATA)
    assert download("http://archive.invalid/p/x.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    assert site.asked[0].headers["Host"] == "archive.invalid"


# ---------------------------------------------------------------- contents, sizes


def test_wrong_type(site: Site, tmp_path: Path):
    page = b"<!DOCTYPE html><html>Please log in</html>"
    site.handlers["/x.fits"] = lambda request, server: server.answer(200, page, {"Content-Type": "text/html"})
    site.files |= {
        "/x.evt.gz": DATA,
        "/x.lc": b"not FITS" * 100,
        "/x.txt": page,
        "/x.tar": DATA,
        "/empty.fits": b"",
    }
    for name, text in {
        "x.fits": "web page", "x.evt.gz": "not a gzip file", "x.lc": "not a FITS file", "x.txt": "web page",
        "x.tar": "not a tar archive", "empty.fits": "not a FITS file",
    }.items():  # fmt: skip
        with pytest.raises(DownloadError, match=text):
            download(f"{site.url}/{name}", tmp_path / name, limits=QUICK)
    assert files(tmp_path) == []
    assert (
        download(f"{site.url}/x.lc", tmp_path / "x.lc", kind="unchecked", limits=QUICK).stat().st_size == 800
    )


def test_oversized(site: Site, tmp_path: Path):
    with pytest.raises(DownloadError, match="max_bytes"):
        download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=Limits(max_bytes=1e5, retries=0))

    def endless(request: Request, server: Any) -> None:
        server.send_response(200)
        server.send_header("Transfer-Encoding", "chunked")
        server.end_headers()
        while True:
            server.wfile.write(b"10000\r\n" + DATA[: 1 << 16] + b"\r\n")

    site.handlers["/endless.fits"] = endless
    with pytest.raises(DownloadError, match="max_bytes"):
        download(f"{site.url}/endless.fits", tmp_path / "x.fits", limits=Limits(max_bytes=3e6, retries=0))
    with pytest.raises(DownloadError, match="max_total"):
        download(f"{site.url}/endless.fits", tmp_path / "x.fits", limits=Limits(max_total=3e6, retries=0))
    with pytest.raises(DownloadError, match="larger than 1000 bytes"):
        read_bytes(f"{site.url}/endless.fits", max_bytes=1000, limits=QUICK)
    assert not (tmp_path / "x.fits").exists()


def test_the_length_of_chunks_is_believed(site: Site, tmp_path: Path):
    def chunks(request: Request, server: Any) -> None:
        server.send_response(200)
        server.send_header("Transfer-Encoding", "chunked")
        server.end_headers()
        for first in range(0, len(DATA), 50_000):
            piece = DATA[first : first + 50_000]
            server.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if request.path == "/whole.fits":
            server.wfile.write(b"0\r\n\r\n")
        server.close_connection = True

    site.handlers |= {"/whole.fits": chunks, "/cut.fits": chunks}
    assert download(f"{site.url}/whole.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
    with pytest.raises(DownloadError, match="broke off"):
        download(f"{site.url}/cut.fits", tmp_path / "y.fits", limits=QUICK)


def test_gz_is_stored_as_it_is(site: Site, tmp_path: Path):
    """Web servers call gzip files compressed pages; they are kept compressed."""
    data = b"\x1f\x8b" + bytes(1000)
    site.handlers["/x.evt.gz"] = lambda request, server: server.answer(
        200, data, {"Content-Encoding": "x-gzip"}
    )
    site.handlers["/x.fits"] = lambda request, server: server.answer(200, data, {"Content-Encoding": "gzip"})
    assert download(f"{site.url}/x.evt.gz", tmp_path / "x.evt.gz", limits=QUICK).read_bytes() == data
    with pytest.raises(DownloadError, match="not asked for"):
        download(f"{site.url}/x.fits", tmp_path / "x.fits", limits=QUICK)


# ---------------------------------------------------------------- names


UNSAFE = [
    *("", "/etc/x", "../x", "a/../../x", "a//b", ".", "a/.", ".hidden", "a\\b", "C:x", "x\x00y", "x\ny"),
    *("nul.fits", "a/con", "x" * 300, "~/x", "\u202egnp.fits", "/".join("a" * 40), "a ", "trailing."),
]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names_are_refused(tmp_path: Path, name: str):
    with pytest.raises(DownloadError, match="refused the name"):
        safe_name(name)
    with pytest.raises(DownloadError):
        download_all([Item(name, "https://host.invalid/x")], tmp_path / "in")
    assert files(tmp_path) == []


def test_a_link_out_of_the_folder_is_not_followed(site: Site, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bat").symlink_to(tmp_path / "out")
    with pytest.raises(DownloadError, match="link out of"):
        download_all([Item("bat/x.fits", f"{site.url}/a/x.fits")], tmp_path / "in", limits=QUICK)
    assert files(tmp_path) == []
    (tmp_path / "in" / ".y.fits.part").symlink_to(tmp_path / "out" / "y")
    with pytest.raises(WriteError):
        download(f"{site.url}/a/x.fits", tmp_path / "in" / "y.fits", limits=QUICK)
    assert not (tmp_path / "out" / "y").exists()


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "https://", "https:///x", "http://a b/c", "http://a:x/", "https://a/\nb"]
)
def test_addresses_are_checked(tmp_path: Path, url: str):
    with pytest.raises(ValueRangeError):
        download(url, tmp_path / "x")


def test_wrong_options(tmp_path: Path):
    with pytest.raises(ValueRangeError, match="checksum"):
        download("https://a.invalid/x", tmp_path / "x", checksum="sha256:123")
    with pytest.raises(ValueRangeError, match="retries"):
        Limits(retries=-1)
    with pytest.raises(MissingFileError, match="certificates"):
        Limits(ca_file="nowhere.pem")
    assert base_name("a%2Fb") is None and base_name("%2e%2e") is None


# ---------------------------------------------------------------- many


def test_many_in_parallel_and_politely(site: Site, tmp_path: Path):
    payload = {f"/m/{k}.fits": DATA[: 20_000 + k] for k in range(30)}
    site.files |= payload
    for path in payload:
        site.handlers[path] = lambda request, server: server.send_file(
            request, payload[request.path], pause=0.02
        )
    items = [Item(f"n{k}/x.fits", f"{site.url}/m/{k}.fits") for k in range(30)]
    found = download_all(items, tmp_path, limits=Limits(connections=3, pause=0.01))
    assert [path.read_bytes() for path in found] == list(payload.values())
    assert site.busiest <= 3
    with pytest.raises(ValueRangeError, match="two files"):
        download_all([items[0], items[0]], tmp_path)


def test_one_that_fails_does_not_stop_the_others(site: Site, tmp_path: Path):
    items = [Item(f"{k}.fits", f"{site.url}/{'a/x.fits' if k % 2 else 'none'}") for k in range(6)]
    with pytest.raises(MissingFileError, match="3 of 6 files"):
        download_all(items, tmp_path, limits=QUICK)
    assert files(tmp_path) == ["1.fits", "3.fits", "5.fits"]


def test_two_callers_of_one_file(site: Site, tmp_path: Path):
    """The second waits for the first and fetches nothing."""
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(request, DATA, pause=0.01)
    found: list[bytes] = []

    def fetch() -> None:
        found.append(
            download(f"{site.url}/a/x.fits", tmp_path / "x.fits", checksum=SHA, limits=QUICK).read_bytes()
        )

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert len(site.asked) == 1
    assert files(tmp_path) == ["x.fits"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_and_interrupted_runs_go_on_later(site: Site, tmp_path: Path):
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(
        request, DATA, pause=0.1 if "Range" not in request.headers else 0.0
    )
    code = (
        f"{INTERRUPTIBLE}from batx.transfer import *; "
        f"download_all([Item('x.fits', '{site.url}/a/x.fits')], r'{tmp_path}')"
    )
    for stop in ("terminate", "interrupt"):
        run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 20
            part = tmp_path / ".x.fits.part"
            while not (part.exists() and part.stat().st_size > 150_000):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            run.kill() if stop == "terminate" else run.send_signal(2)
            run.communicate(timeout=10)
        finally:
            run.kill()
            run.wait()
        assert files(tmp_path) == [".x.fits.part", ".x.fits.part.json"]
        if stop == "terminate":
            assert download(f"{site.url}/a/x.fits", tmp_path / "x.fits", limits=QUICK).read_bytes() == DATA
            assert int(site.asked[-1].headers["Range"][6:-1]) > 100_000
            (tmp_path / "x.fits").unlink()


# ---------------------------------------------------------------- listings


def test_directory_pages(site: Site):
    site.files |= {"/o/00012345000/bat/event/x.evt.gz": b"12", "/o/00012345000/auxil/y.fits": DATA[:5000]}
    assert entries(f"{site.url}/o/00012345000", limits=QUICK) == [Entry("auxil", True), Entry("bat", True)]
    assert entries(f"{site.url}/o/00012345000/auxil/", limits=QUICK) == [
        Entry("y.fits", False, round(4.9 * 1024))
    ]
    assert entries(f"{site.url}/o/00012345000/bat/event", limits=QUICK) == [Entry("x.evt.gz", False, 2)]
    with pytest.raises(MissingFileError):
        entries(f"{site.url}/o/none/", limits=QUICK)


def test_hostile_directory_pages(site: Site):
    links = [
        *("../../etc/passwd", "/etc/passwd", "http://elsewhere/x.fits", "//elsewhere/x.fits", "%2e%2e/x"),
        *("a%2F..%2Fb", "file:///etc/passwd", "javascript:x", "good.fits", "./fine.fits", "x.fits?y"),
        *("nul", ".part", "sub/deep.fits", "\x00"),
    ]
    page = "<html><title>Index of</title><pre>" + "".join(
        f'<a href="{link}">n</a> 2020-01-01 00:00 1K\n' for link in links
    )
    site.handlers["/h/"] = lambda request, server: server.answer(
        200, page.encode(), {"Content-Type": "text/html"}
    )
    assert [entry.name for entry in entries(f"{site.url}/h", limits=QUICK)] == ["fine.fits", "good.fits"]
    site.handlers["/h/"] = lambda request, server: server.answer(200, b"<html>Welcome</html>")
    with pytest.raises(DownloadError, match="no directory page"):
        entries(f"{site.url}/h", limits=QUICK)


def test_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BATX_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    if sys.platform.startswith("linux"):
        assert data_directory() == tmp_path / "share" / "batx"
    (tmp_path / "batx").mkdir()
    config = tmp_path / "batx" / "config.toml"
    config.write_text(f'data = "{(tmp_path / "conf").as_posix()}"\n')
    assert data_directory() == tmp_path / "conf"
    monkeypatch.setenv("BATX_DATA", str(tmp_path / "env"))
    assert data_directory() == tmp_path / "env"
    assert data_directory(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("BATX_DATA")
    for text in ("data = 5", "data =", "data = ''"):
        config.write_text(text)
        with pytest.raises(Exception, match=r"config\.toml"):
            data_directory()


def test_a_header_without_end(site: Site, tmp_path: Path):
    """A byte now and then is no answer."""

    def drip(request: Request, server: Any) -> None:
        server.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            server.wfile.write(b"x")
            server.wfile.flush()
            time.sleep(0.05)

    site.handlers["/drip.fits"] = drip
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"no answer|broke off"):
        download(
            f"{site.url}/drip.fits", tmp_path / "x.fits", limits=Limits(timeout=0.3, stall=0.3, retries=0)
        )
    assert time.monotonic() - begin < 2.0


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interruption_is_prompt(site: Site, tmp_path: Path):
    """Also while servers are silent, at the head and within a file."""
    site.handlers["/silent.fits"] = lambda request, server: time.sleep(20)
    site.handlers["/a/x.fits"] = lambda request, server: server.send_file(
        request, DATA, cut=1000, step=100, pause=8
    )
    items = f"[Item('x.fits', '{site.url}/a/x.fits'), Item('y.fits', '{site.url}/silent.fits')]"
    code = f"{INTERRUPTIBLE}from batx.transfer import *; download_all({items}, r'{tmp_path}')"
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while len(site.asked) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
        run.send_signal(2)
        begin = time.monotonic()
        errors = run.communicate(timeout=15)[1]
        assert time.monotonic() - begin < 6.0
    finally:
        run.kill()
        run.wait()
    assert b"KeyboardInterrupt" in errors
    assert not (tmp_path / "x.fits").exists()


def test_a_head_that_breaks_off(site: Site, tmp_path: Path):
    """Without a length, nothing is no file."""

    def cut(request: Request, server: Any) -> None:
        server.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
        server.close_connection = True

    site.handlers["/x.txt"] = cut
    with pytest.raises(DownloadError, match="before the file began"):
        download(f"{site.url}/x.txt", tmp_path / "x.txt", limits=QUICK)
    site.handlers["/x.txt"] = lambda request, server: server.answer(200, b"")
    assert download(f"{site.url}/x.txt", tmp_path / "x.txt", limits=QUICK).stat().st_size == 0


def test_directory_pages_with_tables(site: Site):
    rows = "".join(
        f'<tr><td><img></td><td><a href="{name}">{name[:8]}..&gt;</a></td>'
        f'<td align="right">2021-12-12 01:02  </td><td align="right">{size}</td><td>&nbsp;</td></tr>'
        for name, size in (("a.evt.gz", "1.5M"), ("sub/", "  - "), ("b.hk", "512 "))
    )
    page = f"<html><h1>Index of /t</h1><table>{rows}</table></html>".encode()
    site.handlers["/t/"] = lambda request, server: server.answer(200, page, {"Content-Type": "text/html"})
    assert entries(f"{site.url}/t", limits=QUICK) == [
        Entry("a.evt.gz", False, 1572864),
        Entry("b.hk", False, 512),
        Entry("sub", True),
    ]
