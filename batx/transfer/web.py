"""Answers of HTTP servers: redirects followed with care, waits obeyed, bodies read as they come."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from batx.errors import ValueRangeError
from batx.transfer.limits import Limits, address, scheme, shown
from batx.transfer.trouble import AttemptError
from batx.transfer.wires import Wires, session_with

__all__ = ["BLOCK", "Answer", "Web"]

BLOCK = 1 << 18
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MEANING = {
    400: "the request is refused (400)",
    401: "the server wants a login (401); give it in a .netrc file",
    403: "access is refused (403)",
    404: "not there (404)",
    407: "the proxy wants a login (407); give it in $HTTPS_PROXY",
    410: "not there any more (410)",
    429: "too many requests (429)",
    503: "the server is busy (503)",
}


@dataclass
class Answer:
    """The body of a file from `start` on.

    Attributes
    ----------
    start, total
        Where the body begins, and size of the whole file in bytes if the server tells.
    validator
        What the server tells of this version of the file, to ask for the rest of the same one.
    pieces
        The bytes.
    close
        Ends the answer.
    html
        Whether the server calls it a web page.
    coding
        Its ``Content-Encoding``, ``""`` for none.
    delimited
        Whether the server marks the end of the body, by a length or chunks; if not, one that broke off looks
        whole.
    """

    start: int
    total: int | None
    validator: str
    pieces: Iterator[bytes]
    close: Callable[[], object]
    html: bool = False
    coding: str = ""
    delimited: bool = True


class Web:
    """HTTP connections of one job; may be used by several threads.

    Parameters
    ----------
    limits
        Timeouts, redirects and certificates.
    stop
        Set to end all waiting.
    """

    def __init__(self, limits: Limits, stop: threading.Event | None = None) -> None:
        import requests

        self._requests = requests
        self.limits = limits
        self.stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._not_before: dict[str, float] = {}
        self._local = threading.local()
        self._open: list[tuple[Any, Wires]] = []

    def close(self) -> None:
        """Close all connections; whatever waits for bytes ends."""
        with self._lock:
            for session, wires in self._open:
                wires.cut()
                session.close()
            self._open.clear()
            self._local = threading.local()

    def get(
        self,
        url: str,
        *,
        start: int = 0,
        validator: str = "",
        parameters: Mapping[str, str] | None = None,
        method: str = "GET",
        also: tuple[int, ...] = (),
    ) -> Answer:
        """Ask for a file, from byte `start` on if it is still the one with this validator.

        Answers with a status in `also` are taken for a file too.

        Raises
        ------
        AttemptError
            If there is no answer with a body.
        """
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if validator:
                headers["If-Range"] = validator
        response = self._follow(method, url, headers, parameters, also)
        with ExitStack() as stack:
            stack.callback(response.close)
            answer = self._answer(response, start)
            stack.pop_all()
        return answer

    def _answer(self, response: Any, start: int) -> Answer:
        length = _number(response.headers.get("Content-Length"))
        begin, end, total = 0, length, length
        if response.status_code == 206:
            begin, end, total = _range(response.headers.get("Content-Range", ""))
            if not start or begin != start:
                raise AttemptError("the server sent another part than was asked for", restart=True)
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        return Answer(
            start=begin,
            total=total,
            validator=_validator(response.headers),
            pieces=self._pieces(response, end, begin),
            close=response.close,
            html="html" in response.headers.get("Content-Type", "").lower(),
            coding="" if coding == "identity" else coding,
            delimited=end is not None or bool(getattr(response.raw, "chunked", False)),
        )

    def _session(self) -> tuple[Any, Wires]:
        """Return the session of this thread, and its connections."""
        pair = getattr(self._local, "pair", None)
        if pair is None:
            wires = Wires()
            pair = self._local.pair = session_with(wires), wires
            with self._lock:
                self._open.append(pair)
        return pair

    def _follow(
        self, method: str, url: str, headers: dict[str, str], parameters: Any, also: tuple[int, ...]
    ) -> Any:
        """Return the first answer that is no redirect."""
        here = url
        for _ in range(self.limits.redirects + 1):
            self._wait(here)
            response = self._ask(method, here, headers, parameters)
            if response.status_code not in _REDIRECTS:
                return response if response.status_code in also else self._checked(response, here)
            target = response.headers.get("Location", "")
            response.close()
            here = self._redirected(here, target)
            if (
                method == "GET" or response.status_code == 303
            ):  # the address has the question, or names the answer
                method, parameters = "GET", None
        raise AttemptError(f"more than {self.limits.redirects} redirects", final=True)

    def _redirected(self, here: str, target: str) -> str:
        """Return where a redirect leads; only to the web, and never from https to http."""
        try:
            there = urljoin(here, target)
            kind = scheme(there)
            if not target or kind not in ("http", "https"):
                raise AttemptError(f"refused a redirect to {shown(target)[:80]!r}", final=True)
            address(there)
        except (ValueRangeError, ValueError):
            raise AttemptError("refused a redirect to something that is no address", final=True) from None
        if scheme(here) == "https" and kind == "http":
            raise AttemptError(f"refused a redirect from https to {shown(there)}", final=True)
        return there

    def _ask(self, method: str, url: str, headers: dict[str, str], parameters: Any) -> Any:
        limits = self.limits
        body = {"data" if method == "POST" else "params": parameters}
        session, wires = self._session()
        try:
            with wires.cut_after(limits.timeout + limits.stall) as late:
                response = session.request(
                    method,
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(limits.timeout, limits.stall),
                    verify=limits.ca_file or None,
                    **body,
                )
        # the last two come from addresses of proxies that are none
        except (self._requests.exceptions.RequestException, OSError, UnicodeError, TypeError) as error:
            raise _trouble(error, limits) from None
        if late.is_set():
            response.close()
            raise AttemptError(f"no answer within {limits.timeout + limits.stall:g} s")
        return response

    def _checked(self, response: Any, url: str) -> Any:
        """Return an answer that brings something."""
        status = response.status_code
        if status in (200, 206):
            return response
        wait = _retry_after(response.headers.get("Retry-After", "")) if status in (429, 503) else None
        response.close()
        reason = _MEANING.get(status, f"the server answered {status}")
        if status == 416:
            raise AttemptError("the file is another one than before (416)", restart=True)
        if wait is not None:
            if wait > self.limits.longest_wait:
                raise AttemptError(f"{reason} and asks to wait {wait:.0f} s", final=True)
            with self._lock:
                host = urlsplit(url).netloc
                self._not_before[host] = max(self._not_before.get(host, 0.0), time.monotonic() + wait)
        raise AttemptError(reason, final=status not in _PASSING, missing=status in (404, 410), wait=wait)

    def _wait(self, url: str) -> None:
        """Wait as long as the host asked all of us to."""
        with self._lock:
            until = self._not_before.get(urlsplit(url).netloc, 0.0)
        pause = until - time.monotonic()
        if pause > 0 and self.stop.wait(pause):
            raise AttemptError("stopped", final=True)

    def _pieces(self, response: Any, end: int | None, position: int) -> Iterator[bytes]:
        """Yield what arrives, at least at the slowest rate, up to the promised end."""
        import urllib3

        limits = self.limits
        begin, got = time.monotonic(), 0
        with closing(response):
            while True:
                try:
                    piece = response.raw.read1(BLOCK, decode_content=False)
                except (urllib3.exceptions.TimeoutError, TimeoutError):
                    raise AttemptError(f"nothing came for {limits.stall:g} s") from None
                except (urllib3.exceptions.HTTPError, OSError, ValueError):
                    raise AttemptError("the connection broke off") from None
                if not piece:
                    break
                position += len(piece)
                yield piece
                got += len(piece)
                span = time.monotonic() - begin
                if span > limits.stall:
                    if got < limits.slowest * span:
                        raise AttemptError(f"slower than {limits.slowest:g} bytes/s")
                    begin, got = time.monotonic(), 0
        if end is not None and position < end:
            raise AttemptError(f"the connection broke off after {position} of {end} bytes")


def _trouble(error: BaseException, limits: Limits) -> AttemptError:
    """Return what went wrong before there was an answer.

    What these errors say may hold the whole address, with its secrets; only their kind is told.
    """
    from requests import exceptions as kinds

    if isinstance(error, kinds.SSLError):
        text = (
            "the certificate is not trusted; give the file of a certificate authority (ca_file) if it is one "
            "of your own"
        )
        return AttemptError(text, final=True)
    if isinstance(error, kinds.ProxyError):
        return AttemptError(_proxy_trouble(error), unreachable=True)
    if isinstance(error, kinds.ConnectTimeout):
        return AttemptError(f"no connection within {limits.timeout:g} s", unreachable=True)
    if isinstance(error, kinds.ReadTimeout):
        return AttemptError(f"no answer within {limits.stall:g} s")
    if isinstance(error, kinds.ConnectionError):
        return _no_connection(error)
    if isinstance(error, (kinds.InvalidProxyURL, kinds.InvalidSchema, TypeError)):
        text = (
            "the address of the proxy is none that can be used (SOCKS needs the package PySocks); see "
            "$HTTPS_PROXY and $NO_PROXY"
        )
        return AttemptError(text, unreachable=True, final=True)
    if isinstance(error, (kinds.InvalidURL, kinds.MissingSchema, UnicodeError)):
        return AttemptError("no valid address, its own or the one in $HTTPS_PROXY", final=True)
    return AttemptError(f"the request failed ({type(error).__name__})")


def _no_connection(error: BaseException) -> AttemptError:
    """Tell a name that is unknown and a door that is shut from a connection that broke."""
    text = repr(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return AttemptError("the host is unknown, or there is no network", unreachable=True)
    if "NewConnectionError" in text or "refused" in text:
        return AttemptError("no connection", unreachable=True)
    return AttemptError("the connection broke off")


def _proxy_trouble(error: BaseException) -> str:
    """Tell a proxy that refuses from one that does not answer."""
    refused = re.search(r"Tunnel connection failed: (\d{3})", repr(error))
    if refused is None:
        return "the proxy does not answer; see $HTTPS_PROXY and $NO_PROXY"
    status = int(refused[1])
    return _MEANING[407] if status == 407 else f"the proxy refuses the connection ({status})"


def _range(text: str) -> tuple[int, int | None, int | None]:
    """Return where a part begins and ends, and the size of the whole file; begins at -1 if it is none."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text.strip())
    if found is None or int(found[2]) < int(found[1]):
        return -1, None, None
    return int(found[1]), int(found[2]) + 1, _number(found[3])


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None


def _validator(headers: Mapping[str, str]) -> str:
    """Return the strong entity tag, else the date of the last change."""
    tag = headers.get("ETag", "").strip()
    if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag):
        return tag
    changed = headers.get("Last-Modified", "").strip()
    return changed if re.fullmatch(r"[A-Za-z0-9,: +-]{10,40}", changed) else ""


def _retry_after(text: str) -> float | None:
    """Return the seconds that a header asks for, as a number or a date."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        then = parsedate_to_datetime(text)
        return max(then.timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
