"""Whether what a tool promised is there and is what it should be."""

from __future__ import annotations

from pathlib import Path

from batx.errors import BatxError

__all__ = ["fault_of", "matching"]

_PICTURES = (b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"%!", b"%PDF", b"<svg", b"<?xml")


def fault_of(path: Path, kind: str) -> str:
    """Return what is wrong with an output, empty if nothing is.

    Parameters
    ----------
    path
        The file or folder.
    kind
        ``"fits"``, ``"text"``, ``"picture"``, ``"any"`` or ``"folder"``.

    Examples
    --------
    >>> fault_of(Path("/nowhere/a.fits"), "fits")
    'is not there'
    """
    if path.is_symlink():
        return "is only a link"
    if not path.exists():
        return "is not there"
    if kind == "folder":
        if not path.is_dir():
            return "is no folder"
        return "" if any(path.iterdir()) else "is an empty folder"
    if not path.is_file():
        return "is no file"
    if path.stat().st_size == 0:
        return "is empty"
    if kind == "fits":
        return _fits_fault(path)
    with open(path, "rb") as file:
        head = file.read(4096)
    if kind == "picture" and not head.lstrip().startswith(_PICTURES):
        return "is no picture"
    if kind == "text" and b"\0" in head:
        return "is no text"
    return ""


def _fits_fault(path: Path) -> str:
    from batx.io.fits import read_hdus

    try:
        read_hdus(path)
    except BatxError as error:
        return f"does not open as FITS: {error}"
    return ""


def matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Return the files below a folder that fit any of the patterns; what batx put there is left out.

    Examples
    --------
    >>> matching(Path("/nowhere"), ("*.fits",))
    []
    """
    own = ("in", "pfiles", "tmp", "log")
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in found if path.relative_to(folder).parts[0] not in own)
