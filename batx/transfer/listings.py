"""What is in a folder of an archive: directory pages of web servers, prefixes of buckets, local folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import quote, unquote, urljoin, urlsplit

from batx.errors import DownloadError
from batx.transfer.jobs import Job
from batx.transfer.limits import Limits, address, scheme, shown
from batx.transfer.names import base_name
from batx.transfer.reading import read_bytes, tried

__all__ = ["Entry", "entries", "joined"]

_MOST = 100_000
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: size on the line of a directory page: after the date and time
_SIZE = re.compile(
    r"\d\d:\d\d(?::\d\d)?\s+(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$|^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$"
)


@dataclass(frozen=True)
class Entry:
    """A file or folder.

    Attributes
    ----------
    name
        Its name, safe as the name of a file.
    folder
        Whether it is a folder.
    size
        Bytes, None if unknown; directory pages round it.
    exact
        Whether the size is exact.
    """

    name: str
    folder: bool = False
    size: int | None = None
    exact: bool = False


def entries(url: str, *, limits: Limits | None = None) -> list[Entry]:
    """Return what is in a folder, sorted by name.

    Names that could not be names of files below a folder are left out, and so are links that lead elsewhere.

    Parameters
    ----------
    url
        A directory page (``https://``), a prefix in a bucket (``s3://``), or a local folder.
    limits
        What the transfer may take.

    Raises
    ------
    DownloadError
        If it cannot be read, or is no directory page.
    MissingFileError
        If there is none.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "sw.evt").write_bytes(b"12")
    ...     entries(folder)
    [Entry(name='sw.evt', folder=False, size=2, exact=True)]
    """
    address(url)
    if scheme(url) in ("http", "https"):
        found = _page(url, limits)
    else:
        with Job(limits) as job:
            rows = tried(job, url, lambda: job.store(url).names(url))
        found = [
            Entry(name, folder, size, size is not None and not folder)
            for link, folder, size in rows
            if (name := base_name(quote(link))) is not None
        ]
    if len(found) > _MOST:
        raise DownloadError(f"{shown(url)}: found {len(found)} entries, expected at most {_MOST}")
    return sorted({entry.name: entry for entry in found}.values(), key=lambda entry: entry.name)


def joined(url: str, name: str) -> str:
    """Return the address of a relative name below a folder.

    Examples
    --------
    >>> joined("https://host/a", "b c/d.fits")
    'https://host/a/b%20c/d.fits'
    """
    if scheme(url) in ("http", "https"):
        name = quote(name)
    return f"{url.rstrip('/')}/{name}"


def _page(url: str, limits: Limits | None) -> list[Entry]:
    page = read_bytes(url.rstrip("/") + "/", limits=limits).decode("utf-8", "replace")
    if not re.search(r"<a\s", page, re.IGNORECASE) or not re.search(
        r"index of|directory|<pre|<table|<li", page, re.IGNORECASE
    ):
        raise DownloadError(f"{shown(url)}: found no directory page; is it a folder of the archive?")
    found = []
    for number, (link, after) in enumerate(_links(page)):
        if number > 2 * _MOST:
            raise DownloadError(f"{shown(url)}: found more than {2 * _MOST} links on one page")
        name = _below(url, link)
        if name is None:
            continue
        folder = name.endswith("/")
        safe = base_name(quote(name.rstrip("/")))
        if safe is None:
            continue
        size = None if folder else _size(after)
        found.append(Entry(safe, folder, size, False))
    return found


def _below(url: str, link: str) -> str | None:
    """Return the part of a link below the page, None if it leads elsewhere."""
    base = urlsplit(url.rstrip("/") + "/")
    try:
        there = urlsplit(urljoin(base.geturl(), link.strip()))
    except ValueError:
        return None
    if (there.scheme, there.netloc) != (base.scheme, base.netloc) or there.query or there.fragment:
        return None
    path, here = unquote(there.path), unquote(base.path)
    rest = path[len(here) :]
    return rest if path.startswith(here) and rest.strip("/") else None


def _size(text: str) -> int | None:
    for part in reversed([piece.strip() for piece in text.splitlines()[:1] + text.split("\t")]):
        found = _SIZE.search(part)
        if found:
            number, unit = (found[1], found[2]) if found[1] is not None else (found[3], found[4])
            return round(float(number) * _UNITS[unit.upper()])
    return None


def _links(page: str) -> Iterator[tuple[str, str]]:
    """Yield the links of a page, each with the text from its end to the next one, cells apart by a tab.

    The time that this takes grows as the length of the page, whatever is in it.
    """
    first, *others = page.split("<!--")
    visible = first + "".join(part.partition("-->")[2] for part in others)
    link, text, within, end = "", "", False, 0
    for tag in _TAG.finditer(visible):
        if not within and len(text) < _LONGEST_TEXT:
            text += visible[end : min(tag.start(), end + _LONGEST_TEXT)]
            text += "\t" * (tag[1].lower() in ("td", "tr", "li"))
        end = tag.end()
        if tag[1].lower() in ("a", "/a"):
            within = not tag[1].startswith("/")
            target = _HREF.search(tag[2])
            if target:
                if link:
                    yield link, unescape(text)
                link, text = unescape(target[1] or target[2] or target[3] or ""), ""
    if link:
        yield link, unescape(text + visible[end : end + _LONGEST_TEXT])


#: what is within a tag ends at the next one, so that a page without any ">" is read once only
_TAG = re.compile(r"<(/?[a-z][a-z0-9]{0,15})\b([^<>]{0,4000})>", re.IGNORECASE)
_HREF = re.compile(r"""(?:^|\s)href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""", re.IGNORECASE)
_LONGEST_TEXT = 500
