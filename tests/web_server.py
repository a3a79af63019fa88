"""A small archive on 127.0.0.1 for tests: files with ranges and versions, and every kind of misbehaviour."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What a client asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Site:
    """Files by path, handlers by path that come first, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    handlers: dict[str, Callable[[Request, Any], None]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    ranges: bool = True
    validators: bool = True
    url: str = ""
    lock: Any = field(default_factory=threading.Lock)

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(request.path == path for request in self.asked)

    def listing(self, path: str) -> bytes | None:
        """A directory page as Apache makes it, if there are files below."""
        names: dict[str, int | None] = {}
        for name, data in self.files.items():
            if name.startswith(path) and path.endswith("/"):
                first, slash, _ = name[len(path) :].partition("/")
                names[first + slash] = None if slash else len(data)
        if not names:
            return None
        rows = "".join(
            f'<img src="/icons/x.gif" alt="[   ]"> <a href="{name}">{name[:20]}</a>   2021-12-12 01:02  '
            f"{'-' if size is None else size if size < 1024 else f'{size / 1024:.1f}K'}\n"
            for name, size in sorted(names.items())
        )
        head = '<a href="?C=N;O=D">Name</a> <a href="?C=M;O=A">Last modified</a><hr>'
        up = '<a href="/">Parent Directory</a>                -\n'
        return f"<html><title>Index of {path}</title><body><pre>{head}{up}{rows}</pre></body></html>".encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query),
            dict(self.headers.items()),
            self.rfile.read(length),
        )
        site = self.site
        with site.lock:
            site.asked.append(request)
            site.busy += 1
            site.busiest = max(site.busiest, site.busy)
        try:
            if request.path in site.handlers:
                site.handlers[request.path](request, self)
            elif request.path in site.files:
                self.send_file(request, site.files[request.path])
            elif (page := site.listing(request.path)) is not None:
                self.answer(200, page, {"Content-Type": "text/html;charset=UTF-8"})
            else:
                self.answer(404, b"<html>Not Found</html>", {"Content-Type": "text/html"})
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True
        finally:
            with site.lock:
                site.busy -= 1

    do_POST = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a status with a body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(
        self,
        request: Request,
        data: bytes,
        *,
        cut: int | None = None,
        pause: float = 0.0,
        step: int = 1 << 16,
    ) -> None:
        """Send a file or the part of it that is asked for; break off after `cut` bytes."""
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        start, status = 0, 200
        headers = {"ETag": etag} if self.site.validators else {}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        stop = len(data)
        if wanted and self.site.ranges and request.headers.get("If-Range", etag) == etag:
            start, status = int(wanted[1]), 206
            stop = min(stop, int(wanted[2]) + 1) if wanted[2] else stop
            if start >= len(data):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(stop - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = stop if cut is None else min(start + cut, stop)
        for first in range(start, end, step):
            self.wfile.write(data[first : min(first + step, end)])
            self.wfile.flush()
            if pause:
                time.sleep(pause)
        if end < stop:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that went away."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(site: Site, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Serve a site on a free port until the block ends."""
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    site.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
