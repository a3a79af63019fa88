"""Names that come from elsewhere: which may become names of files below a folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from batx.errors import DownloadError

__all__ = ["base_name", "inside", "safe_name"]

_LONGEST = 255
_DEEPEST = 32
#: names that mean a device to some systems, whatever their ending
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe_name(name: str, source: str = "the server") -> str:
    """Return a relative name with ``/`` between its parts, if a file may be called so.

    Raises
    ------
    DownloadError
        If the name is absolute, climbs (``..``), names a drive or device, hides in control characters,
        begins with a dot (such are the names of unfinished files), or is far too long.

    Examples
    --------
    >>> safe_name("bat/event/sw.evt.gz")
    'bat/event/sw.evt.gz'
    """
    parts = name.split("/")
    wrong = (
        not name
        or len(parts) > _DEEPEST
        or re.search(
            r"[\x00-\x1f\x7f-\x9f\\:*?\"<>|\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", name
        )
        or any(
            not part
            or part.startswith((".", "~"))
            or part != part.strip()
            or part.endswith(".")
            or len(part.encode("utf-8", "replace")) > _LONGEST
            or _DEVICES.fullmatch(part)
            for part in parts
        )
    )
    if wrong:
        text = ascii(name if len(name) < 80 else name[:77] + "...")
        raise DownloadError(f"refused the name {text} of {source}: expected a plain name below the folder")
    return name


def base_name(link: str) -> str | None:
    """Return the name that a link of a directory page means, None if it leaves the page.

    Examples
    --------
    >>> base_name("sw00012345000bevshsp_uf.evt.gz"), base_name("../up"), base_name("?C=N;O=D")
    ('sw00012345000bevshsp_uf.evt.gz', None, None)
    """
    name = unquote(link.removeprefix("./"))
    if "/" in name or "?" in link or "#" in link:
        return None
    try:
        return safe_name(name)
    except DownloadError:
        return None


def inside(folder: Path, name: str, source: str = "the server") -> Path:
    """Return the path of a safe name below a folder, whose parents are really below it.

    Raises
    ------
    DownloadError
        If the name is not safe, or a folder on the way is a link that leads out.

    Examples
    --------
    >>> inside(Path("data"), "a/b.fits").as_posix()
    'data/a/b.fits'
    """
    path = folder / PurePosixPath(safe_name(name, source))
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise DownloadError(f"refused {name} of {source}: {path.parent} is a link out of {folder}")
    return path
