"""Small files and pages read into memory, and whether a file is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from batx.errors import DownloadError, MissingFileError
from batx.transfer.jobs import Job
from batx.transfer.limits import Limits, address, scheme, shown
from batx.transfer.trouble import AttemptError
from batx.transfer.web import Answer

__all__ = ["exists", "read_bytes", "tried"]

_PAGE = 16 << 20
_Result = TypeVar("_Result")


def read_bytes(
    url: str,
    *,
    limits: Limits | None = None,
    max_bytes: int = _PAGE,
    parameters: Mapping[str, str] | None = None,
    method: str = "GET",
    also: tuple[int, ...] = (),
) -> bytes:
    """Return what is at an address, if it is not too large.

    Parameters
    ----------
    url
        As for `batx.transfer.download`.
    limits
        What the transfer may take.
    max_bytes
        Most bytes that are read.
    parameters
        Of a question to a web service.
    method
        ``"GET"`` or ``"POST"``.
    also
        Statuses of web services, such as 400, with which they send an answer that explains.

    Raises
    ------
    DownloadError
        If it cannot be read or is too large.
    MissingFileError
        If it is not there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b"text"), file.flush()
    ...     read_bytes(file.name)
    b'text'
    """
    with Job(limits) as job:

        def once() -> bytes:
            if scheme(address(url)) in ("http", "https"):
                answer = job.web.get(url, parameters=parameters, method=method, also=also)
            else:
                answer = job.get(url)
            return _whole(answer, max_bytes)

        return tried(job, url, once)


def _whole(answer: Answer, max_bytes: int) -> bytes:
    try:
        if answer.coding:
            raise AttemptError("the server compressed its answer, which was not asked for", final=True)
        found = bytearray()
        for piece in answer.pieces:
            found += piece
            if len(found) > max_bytes:
                raise AttemptError(f"larger than {max_bytes} bytes", final=True)
        return bytes(found)
    finally:
        answer.close()


def exists(url: str, *, limits: Limits | None = None) -> bool:
    """Return whether there is a file or page at an address; its contents are not read.

    Raises
    ------
    DownloadError
        If that cannot be told.

    Examples
    --------
    >>> exists("no such file")
    False
    """
    with Job(limits) as job:

        def once() -> bool:
            job.get(url).close()
            return True

        try:
            return tried(job, url, once)
        except MissingFileError:
            return False


def tried(job: Job, url: str, once: Callable[[], _Result]) -> _Result:
    """Return what `once` gives, called again while its troubles may pass."""
    failures = 0
    while True:
        try:
            return once()
        except AttemptError as trouble:
            failures += 1
            if not job.again(trouble, failures):
                kind = MissingFileError if trouble.missing else DownloadError
                raise kind(f"{shown(url)}: {trouble.reason}") from None
