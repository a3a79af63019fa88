"""Servers and proxies that break the rules in ways that could pass for a whole file, or hang the reader."""

from __future__ import annotations

import gzip
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web_server import Request, Site, serving

from batx.errors import DownloadError, UnreachableError
from batx.transfer import Limits, download, entries, read_bytes

pytest.importorskip("requests")

QUICK = Limits(timeout=2.0, stall=2.0, retries=1, pause=0.01)
FITS = b"SIMPLE  =                    T".ljust(80) + os.urandom(2880 * 40 - 80)
GZIP = gzip.compress(FITS)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in _PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(Site()) as served:
        yield served


def send_until_closed(server: Any, data: bytes, status: int = 200, **headers: str) -> None:
    """Send a body whose end is the end of the connection."""
    server.send_response(status)
    for name, value in {**headers, "Connection": "close"}.items():
        server.send_header(name.replace("_", "-"), value)
    server.end_headers()
    server.wfile.write(data)
    server.close_connection = True


# ---------------------------------------------------------------- bodies that end too early


@pytest.mark.parametrize(("name", "data"), [("x.evt.gz", GZIP), ("x.fits", FITS), ("x.fits", GZIP)])
def test_a_body_of_unknown_length_that_is_cut(site: Site, tmp_path: Path, name: str, data: bytes):
    """Only the file itself tells that it is not whole."""
    site.handlers[f"/{name}"] = lambda request, server: send_until_closed(server, data[:60000])
    with pytest.raises(DownloadError, match="tells no length"):
        download(f"{site.url}/{name}", tmp_path / name, limits=QUICK)
    assert not (tmp_path / name).exists()
    site.handlers[f"/{name}"] = lambda request, server: send_until_closed(server, data)
    assert download(f"{site.url}/{name}", tmp_path / name, limits=QUICK).read_bytes() == data


def test_a_bomb_of_unknown_length(site: Site, tmp_path: Path):
    bomb = gzip.compress(bytes(20_000_000))
    site.handlers["/x.evt.gz"] = lambda request, server: send_until_closed(server, bomb)
    limits = Limits(retries=0, max_bytes=1_000_000)
    with pytest.raises(DownloadError, match="unpacks to more"):
        download(f"{site.url}/x.evt.gz", tmp_path / "x.evt.gz", limits=limits)


@pytest.mark.parametrize("total", ["*", str(len(FITS))])
def test_parts_that_are_smaller_than_asked(site: Site, tmp_path: Path, total: str):
    """Some servers send a part of the part; what is missing is asked for until the file is whole."""

    def some(request: Request, server: Any) -> None:
        start = int(re.sub(r"\D", "", request.headers.get("Range", "0")))
        if not start:
            server.send_file(request, FITS, cut=40000)
            return
        stop = min(start + 40000, len(FITS))
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
        server.answer(206, FITS[start:stop], {**headers, "ETag": '"a"'})

    site.handlers["/x.fits"] = some
    with pytest.raises(DownloadError, match=f"of {len(FITS)} bytes"):
        download(f"{site.url}/x.fits", tmp_path / "x.fits", limits=QUICK)
    done = download(f"{site.url}/x.fits", tmp_path / "x.fits", limits=Limits(retries=3, pause=0.01))
    assert done.read_bytes() == FITS


def test_a_part_without_length_that_is_cut(site: Site, tmp_path: Path):
    def cut(request: Request, server: Any) -> None:
        if "Range" not in request.headers:
            server.send_file(request, FITS, cut=50000)
            return
        start = int(re.sub(r"\D", "", request.headers["Range"]))
        part = f"bytes {start}-{len(FITS) - 1}/*"
        send_until_closed(server, FITS[start : start + 100], 206, Content_Range=part)

    site.handlers["/x.fits"] = cut
    with pytest.raises(DownloadError, match="broke off after"):
        download(f"{site.url}/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert not (tmp_path / "x.fits").exists()


# ---------------------------------------------------------------- answers in another form


@pytest.mark.parametrize("coding", ["br", "gzip", "deflate, gzip"])
def test_packed_answers_are_refused(site: Site, tmp_path: Path, coding: str):
    """A text would otherwise be stored, or read, as it was packed for the way."""
    headers = {"Content-Encoding": coding}
    page = gzip.compress(b'<pre><a href="x.fits">x.fits</a>')
    site.handlers["/caldb.indx"] = lambda request, server: server.answer(200, b"packed", headers)
    site.handlers["/folder/"] = lambda request, server: server.answer(200, page, headers)
    with pytest.raises(DownloadError, match="compressed"):
        download(f"{site.url}/caldb.indx", tmp_path / "caldb.indx", limits=QUICK)
    with pytest.raises(DownloadError, match="compressed"):
        entries(f"{site.url}/folder", limits=QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("status", "method"), [(301, "POST"), (302, "POST"), (303, "GET"), (307, "POST"), (308, "POST")]
)
def test_a_question_that_is_redirected(site: Site, status: int, method: str):
    """It is asked again, except where the address is that of the answer."""
    site.handlers["/old"] = lambda request, server: server.answer(status, b"", {"Location": "/new"})
    site.handlers["/new"] = lambda request, server: server.answer(200, request.body or b"answer")
    found = read_bytes(f"{site.url}/old", parameters={"QUERY": "x"}, method="POST", limits=QUICK)
    assert site.asked[-1].method == method
    assert found == (b"answer" if method == "GET" else b"QUERY=x")


@pytest.mark.parametrize("filler", [b"<!--", b"<!", b"<", b"<a ", b'<a href="', b"<![CDATA[", b"<script></"])
def test_pages_that_are_slow_to_read(site: Site, filler: bytes):
    page = b'<pre><a href="x.fits">x.fits</a>  2021-12-12 01:02  1.5K\n' + filler * (3_000_000 // len(filler))
    site.handlers["/a/"] = lambda request, server: server.answer(200, page, {"Content-Type": "text/html"})
    begin = time.process_time()
    found = entries(f"{site.url}/a", limits=QUICK)
    assert time.process_time() - begin < 5.0
    assert [(entry.name, entry.size) for entry in found] == [("x.fits", 1536)]


def test_forms_of_directory_pages(site: Site):
    """Capital letters, other quotes, comments, encoded names, and cells of a table."""
    page = (
        "<TABLE><TR><TD><A HREF='a%20b.fits'>a b</A></TD><TD>2021-12-12 01:02</TD><TD>2K</TD></TR>\n"
        '<tr><td><a class="f" href=c.fits>c</a></td><td>&nbsp;</td><td align="right">1.5M&nbsp;</td></tr>\n'
        '<!-- <a href="hidden.fits">no</a> --><tr><td><a data-href="no.fits" href="d&amp;e.fits">d</a></td>'
        '<td>-</td></tr><tr><td><a href="%D0%B6.fits">x</a><tr><td><a href="A.fits">A</a>'
        '<a href="a.fits">a</a>'
    )
    site.handlers["/t/"] = lambda request, server: server.answer(200, page.encode())
    found = {entry.name: entry.size for entry in entries(f"{site.url}/t", limits=QUICK)}
    assert found == {
        "a b.fits": 2048, "c.fits": 1572864, "d&e.fits": None, "ж.fits": None, "A.fits": None, "a.fits": None,
    }  # fmt: skip


# ---------------------------------------------------------------- proxies


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """Serve one answer to everybody; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("status", "text"),
    [("407 Login", r"wants a login \(407\)"), ("403 No", r"refuses the connection \(403\)")],
)
def test_a_proxy_that_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: str,
    text: str,
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as port:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(UnreachableError, match=text) as caught:
            download("https://archive.invalid/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert "secret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "proxy", ["http://me:secret@", "socks5://me:secret@127.0.0.1:1", "http://x y:secret:z"]
)
def test_a_proxy_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(DownloadError, match="HTTPS_PROXY") as caught:
        download("https://archive.invalid/x.fits", tmp_path / "x.fits", limits=QUICK)
    assert "secret" not in str(caught.value)
