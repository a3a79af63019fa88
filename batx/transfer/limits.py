"""How politely and how far files are fetched, and how addresses are shown without secrets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from batx.errors import MissingFileError, ValueRangeError

__all__ = ["SCHEMES", "Limits", "address", "scheme", "shown"]

#: what a mirror may be; servers may only redirect to the first two
SCHEMES = ("https", "http", "s3", "file")


@dataclass(frozen=True)
class Limits:
    """What a transfer may take, and when it gives up.

    Attributes
    ----------
    connections
        Transfers at a time.
    timeout
        Longest wait for a connection, s.
    stall
        Longest time without a byte, s; also the time over which `slowest` is measured.
    slowest
        Slowest rate that is accepted, bytes a second.
    retries
        Tries after the first one that may fail in a row.
    pause, longest_pause
        First and longest pause between tries, s; each is about twice the one before, with jitter.
    longest_wait
        Longest ``Retry-After`` that is obeyed; a server that asks for more is given up.
    max_bytes, max_total
        Largest file, and most bytes of one job.
    redirects
        Longest chain of redirects.
    ca_file
        Certificates to trust, PEM; by default those of the system's or requests' choice
        (``$REQUESTS_CA_BUNDLE``).
    endpoint
        Address of an S3 service other than Amazon's.

    Raises
    ------
    ValueRangeError
        If a number is not positive.
    MissingFileError
        If there is no such file of certificates.

    Examples
    --------
    >>> Limits(connections=2).retries
    5
    """

    connections: int = 4
    timeout: float = 10.0
    stall: float = 30.0
    slowest: float = 64.0
    retries: int = 5
    pause: float = 0.5
    longest_pause: float = 30.0
    longest_wait: float = 300.0
    max_bytes: float = 20e9
    max_total: float = 500e9
    redirects: int = 5
    ca_file: str | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        may_be_zero = ("retries", "pause", "redirects", "slowest", "longest_pause", "longest_wait")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("ca_file", "endpoint"):
                continue
            if (
                not isinstance(value, (int, float))
                or not value >= 0
                or (value == 0 and field.name not in may_be_zero)
            ):
                raise ValueRangeError(f"{field.name}: found {value!r}, expected a positive number")
        if self.ca_file is not None and not Path(self.ca_file).is_file():
            raise MissingFileError(f"{self.ca_file}: no such file of certificates (PEM)")


def scheme(url: str) -> str:
    """Return the scheme of a URL, ``"file"`` for a path; letters of drives are no schemes.

    Examples
    --------
    >>> scheme("https://a.b/c"), scheme("folder/file.fits"), scheme("C:/data")
    ('https', 'file', 'file')
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", url)
    return found[1].lower() if found else "file"


def address(place: str | os.PathLike[str]) -> str:
    """Return a mirror's URL or path as text, if it can be one.

    Raises
    ------
    ValueRangeError
        If it is no address of a known scheme, lacks a host, or holds spaces or control characters.

    Examples
    --------
    >>> address("https://heasarc.gsfc.nasa.gov/FTP")
    'https://heasarc.gsfc.nasa.gov/FTP'
    """
    url = os.fspath(place)
    kind = scheme(url)
    if kind not in SCHEMES:
        raise ValueRangeError(f"{shown(url)}: found scheme {kind!r}, expected one of {', '.join(SCHEMES)}")
    if kind != "file":
        try:
            parts = urlsplit(url)
            good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good or re.search(r"[\x00-\x20\x7f\\]", url):
            raise ValueRangeError(f"{shown(url)}: found no valid address, expected {kind}://host/path")
    return url


def shown(url: str) -> str:
    """Return a URL as it may be shown: without user, password, query and fragment.

    Examples
    --------
    >>> shown("https://user:secret@a.b/c?token=1#x")
    'https://a.b/c'
    """
    if scheme(url) == "file":
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{scheme(url)}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
