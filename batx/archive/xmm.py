"""Observations of XMM-Newton from ESA's own archive, which gives them as one packed file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from batx.archive.layouts import mission_of, obs_id_text
from batx.errors import BatxError, FileFormatError, MissingFileError, ValueRangeError, WriteError
from batx.transfer import Limits, Progress, data_directory, download, unpack

__all__ = ["SERVICE", "fetch_xmm"]

#: "aio" of the XMM-Newton Science Archive
SERVICE = "https://nxsa.esac.esa.int/nxsa-sl/servlet/data-action-aio"
_LEVELS = ("ODF", "PPS")


def fetch_xmm(
    observation: str | int,
    level: str = "ODF",
    *,
    data: str | os.PathLike[str] | None = None,
    offline: bool = False,
    service: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch and unpack an observation of XMM-Newton from ESA's archive.

    ``batx.fetch(..., mission="xmm")`` takes the same from HEASARC, file by file.

    Parameters
    ----------
    observation
        Observation id, ten digits.
    level
        ``"ODF"`` (what SAS starts from) or ``"PPS"`` (products).
    data, offline, limits, progress
        As for `batx.fetch`.
    service
        Address of the service, in place of ESA's.

    Returns
    -------
    pathlib.Path
        ``<data>/<obsid>/<level>``; packed files within the packed file are unpacked too. If it is there it is
        returned as it is.

    Raises
    ------
    ValueRangeError
        If the number or the level is none.
    MissingFileError
        Offline, if it is not there.
    DownloadError, FileFormatError, WriteError
        As `batx.transfer.download` and `batx.transfer.unpack`.

    Examples
    --------
    >>> fetch_xmm("0123700101", "XYZ")
    Traceback (most recent call last):
    batx.errors.ValueRangeError: level: found 'XYZ', expected ODF or PPS
    """
    if level not in _LEVELS:
        raise ValueRangeError(f"level: found {level!r}, expected {' or '.join(_LEVELS)}")
    obs_id = obs_id_text(observation, mission_of("xmm"))
    folder = data_directory(data) / obs_id
    target = folder / level
    if target.is_dir():
        return target
    if offline:
        raise MissingFileError(f"{target} is not there, and nothing else was looked at (offline)")
    address = f"{SERVICE if service is None else service}?obsno={obs_id}&level={level}"
    packed = folder / f"{level}.tar.gz"
    download(address, packed, kind="tar", limits=limits, progress=progress)
    try:
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as scratch:
            made = _unpacked(packed, Path(scratch) / "made")
            if not target.is_dir():  # another process may have been faster
                os.rename(made, target)
        packed.unlink(missing_ok=True)
    except FileFormatError:
        packed.unlink(missing_ok=True)  # so that the next call fetches it anew
        raise
    except OSError as error:
        if isinstance(error, BatxError):
            raise
        raise WriteError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _unpacked(packed: Path, folder: Path) -> Path:
    """Unpack a packed file, and the packed files in it, into a folder; return it."""
    for path in unpack(packed, folder):
        if path.suffix.lower() == ".tar":
            unpack(path, path.parent)
            path.unlink()
    return folder
