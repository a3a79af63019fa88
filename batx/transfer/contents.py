"""Whether the bytes of a file are what its name says."""

from __future__ import annotations

import re

from batx.transfer.trouble import AttemptError

__all__ = ["HEAD", "check_contents", "kind_of"]

#: how many bytes must be there to judge
HEAD = 512
_GZIP = b"\x1f\x8b"
_COMPRESS = b"\x1f\x9d"
_FITS = re.compile(
    r"\.(fits?|fts|evt|hk|lc|img|pha|rsp|rmf|arf|dph|dpi|ftz)(\.gz)?",
    re.IGNORECASE,
)
_PAGE = re.compile(
    rb"\s*(<!doctype\s+html|<html|<head|<\?xml[^>]*>\s*<(!doctype\s+)?(html|error))", re.IGNORECASE
)


def kind_of(name: str) -> str:
    """Return what a file must be by its name.

    Returns
    -------
    str
        ``"gzip"``, ``"fits"`` (may be compressed as a whole), ``"tar"``, ``"zip"``, ``"page"`` or ``"any"``.

    Examples
    --------
    >>> kind_of("sw.evt.gz"), kind_of("sw.hk"), kind_of("caldb.indx"), kind_of("index.html")
    ('gzip', 'fits', 'any', 'page')
    """
    lower = name.lower()
    if lower.endswith((".gz", ".tgz")):
        return "gzip"
    if re.search(_FITS.pattern + "$", lower, re.IGNORECASE):
        return "fits"
    if lower.endswith(".tar"):
        return "tar"
    if lower.endswith(".zip"):
        return "zip"
    if lower.endswith((".html", ".htm", ".xml", ".xsl")):
        return "page"
    return "any" if lower else "page"


def check_contents(head: bytes, kind: str, html: bool = False) -> None:
    """Check the first bytes of a file; ``"any"`` is no web page, ``"page"`` may be everything.

    Raises
    ------
    AttemptError
        If they are not of this kind.
    """
    if kind in ("page", "unchecked"):
        return
    good = {
        "gzip": head[:2] == _GZIP,
        "fits": head[:9] == b"SIMPLE  =" or head[:2] in (_GZIP, _COMPRESS),
        "tar": head[257:262] == b"ustar" or head[:2] == _GZIP,
        "zip": head[:2] == b"PK",
        "any": True,
    }[kind]
    if _PAGE.match(head) or (html and not good):
        raise AttemptError("the server sent a web page in place of the file", final=True, restart=True)
    if not good:
        raise AttemptError(f"what came is not {_NAMES[kind]}", final=True, restart=True)


_NAMES = {"gzip": "a gzip file", "fits": "a FITS file", "tar": "a tar archive", "zip": "a zip archive"}
