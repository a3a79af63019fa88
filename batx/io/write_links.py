"""Spectra copied with other links: the names of their background, response and area in the header."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from batx.errors import FileFormatError, MissingFileError, ValueRangeError
from batx.io.atomic import atomic_path

__all__ = ["write_links"]

_LINKS = ("backfile", "respfile", "ancrfile", "corrfile")


def write_links(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    **links: str | None,
) -> Path:
    """Write a copy of a spectrum with other links; all else in it stays as it is.

    Parameters
    ----------
    source
        The spectrum, FITS.
    path
        File to write.
    overwrite
        Whether an existing file may be replaced; never `source` itself.
    **links
        ``backfile``, ``respfile``, ``ancrfile``, ``corrfile``: names, at most 68 characters; `None` for none.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    MissingFileError
        If there is no such spectrum.
    FileFormatError
        If it has no extension SPECTRUM.
    ValueRangeError
        If a link has another name, or is too long for a header.
    WriteError
        If the file exists, is the spectrum itself, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from batx.schema import build
    >>> from batx.io.write import to_fits
    >>> folder = Path(tempfile.mkdtemp())
    >>> one = build("spectrum", {"channel": [0, 1], "counts": [5, 3], "exposure": ((), 10.0)},
    ...             {"statistic": "poisson", "weighting": "none"})
    >>> made = write_links(to_fits(one, folder / "a.pha"), folder / "b.pha", respfile="b.rsp")
    >>> from astropy.io import fits
    >>> fits.getval(made, "RESPFILE", "SPECTRUM")
    'b.rsp'
    """
    from astropy.io import fits

    source = Path(source)
    if not source.is_file():
        raise MissingFileError(f"there is no spectrum {source}")
    for key, value in links.items():
        if key not in _LINKS or len(value or "") > 68 or not (value or "").isascii():
            raise ValueRangeError(
                f"write_links: found {key}={value!r}, expected one of {', '.join(_LINKS)}, a name "
                "of at most 68 characters"
            )
    with atomic_path(path, overwrite=overwrite, inputs=[source]) as temporary:
        shutil.copyfile(source, temporary)
        try:
            with fits.open(temporary, mode="update", memmap=False) as hdus:
                header = hdus["SPECTRUM"].header
                for key, value in links.items():
                    header[key.upper()] = "none" if value is None else value
        except (KeyError, OSError) as error:
            raise FileFormatError(f"{source}: found no spectrum to set links in ({error})") from None
    return Path(path)
