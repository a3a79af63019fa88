"""Names of the private folder in what a tool made, replaced by those that hold afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batx.errors import FileFormatError
from batx.io.source import starts_like_fits

__all__ = ["restore_names"]

#: a text that is longer is none that anybody reads
_LARGEST = 2**24


def restore_names(made: Iterable[Path], names: Mapping[str, Path]) -> None:
    r"""Replace names in files: where links lead, in the values of FITS keywords, and in texts.

    A name that FITS cannot hold (letters beyond ASCII) becomes ``none``, which means that there is no file.

    Parameters
    ----------
    made
        Files and folders that a tool made.
    names
        Name of an input or output, as the tool saw it, to that of the file or folder itself.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "1234_SCX00000SUM.SAS"
    >>> _ = path.write_text("PATH /scratch/in/0/odf/\n")
    >>> restore_names([path], {"/scratch/in/0/odf": Path("/data/odf")})
    >>> path.read_text()
    'PATH /data/odf/\n'
    """
    # one name may be the beginning of another
    names = dict(sorted(names.items(), key=lambda item: -len(item[0])))
    for path in made:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_symlink():
                _relinked(file, names)
            elif not file.is_file():
                continue
            elif starts_like_fits(file):
                _in_header(file, names)
            elif file.stat().st_size <= _LARGEST:
                _in_text(file, names)


def _replaced(text: str, names: Mapping[str, Path]) -> str:
    """Return a text with names replaced; short ones, as seen from the folder of a call, only as a whole."""
    for seen, own in names.items():
        if seen.startswith("/"):
            text = text.replace(seen, str(own))
        elif text == seen:
            return str(own)
    return text


def _relinked(link: Path, names: Mapping[str, Path]) -> None:
    target = os.readlink(link)
    if (new := _replaced(target, names)) != target:
        link.unlink()
        link.symlink_to(new)


def _in_text(path: Path, names: Mapping[str, Path]) -> None:
    before = path.read_bytes()
    if b"\0" in before:
        return
    text = before.decode("utf-8", errors="surrogateescape")
    after = _replaced(text, names)
    if after != text:
        path.write_text(after, encoding="utf-8", errors="surrogateescape", newline="")


def _in_header(path: Path, names: Mapping[str, Path]) -> None:
    """Replace names in the headers of a FITS file; one that holds none of them is not written at all."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            changes = [_changes(hdu.header, names) for hdu in hdus]
        if any(changes):
            with fits.open(path, mode="update", memmap=False) as hdus:
                for hdu, changed in zip(hdus, changes, strict=True):
                    hdu.header.update(changed)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot write the names of inputs into {path.name}: {error}") from error


def _changes(header: Mapping[str, Any], names: Mapping[str, Path]) -> dict[str, str]:
    changed = {}
    for key, value in header.items():
        if isinstance(value, str) and key not in ("HISTORY", "COMMENT", ""):
            text = _replaced(value, names)
            if text != value:
                changed[key] = text if text.isascii() else "none"
    return changed
