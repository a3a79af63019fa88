"""Whether the bytes of a file are what its name says."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from typing import IO

from batx.transfer.trouble import AttemptError

__all__ = ["HEAD", "check_contents", "check_whole", "kind_of"]

#: how many bytes must be there to judge
HEAD = 512
_FITS_BLOCK = 2880
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


def check_whole(file: IO[bytes], kind: str, most: float) -> None:
    """Check that a file that no one told the length of does not end too early, from where it is read.

    A gzip file ends with the size and checksum of what is in it, and FITS files are made of blocks; of others
    nothing can be told.

    Parameters
    ----------
    file
        Open for reading.
    kind
        As `kind_of` tells it.
    most
        Most bytes that a gzip file may unpack to.

    Raises
    ------
    AttemptError
        If it does.

    Examples
    --------
    >>> import io
    >>> check_whole(io.BytesIO(gzip.compress(b"text")[:-5]), "gzip", 100)
    Traceback (most recent call last):
    batx.transfer.trouble.AttemptError: the connection broke off, and the server tells no length
    """
    begin = file.tell()
    packed = kind == "gzip" or (kind == "fits" and file.read(2) == _GZIP)
    file.seek(begin)
    if packed:
        whole = _unpacks(file, most)
    else:
        whole = kind != "fits" or (file.seek(0, os.SEEK_END) - begin) % _FITS_BLOCK == 0
    if not whole:
        raise AttemptError("the connection broke off, and the server tells no length")


def _unpacks(file: IO[bytes], most: float) -> bool:
    """Whether a gzip file has its end."""
    left = most
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as packed:
            while piece := packed.read(1 << 20):
                left -= len(piece)
                if left < 0:
                    raise AttemptError(f"it unpacks to more than {most:.3g} bytes (max_bytes)", final=True)
    except (EOFError, zlib.error, OSError):
        return False
    return True


_NAMES = {"gzip": "a gzip file", "fits": "a FITS file", "tar": "a tar archive", "zip": "a zip archive"}
