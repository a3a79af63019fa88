"""Files fetched so that they are there whole and checked, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from batx.errors import (
    BatxError,
    DownloadError,
    MissingFileError,
    UnreachableError,
    ValueRangeError,
    WriteError,
)
from batx.transfer.items import Item, Progress
from batx.transfer.jobs import Job
from batx.transfer.limits import Limits, address, shown
from batx.transfer.names import inside
from batx.transfer.parts import Part, check_sum_text, file_sum, locked_part
from batx.transfer.tries import Try
from batx.transfer.trouble import AttemptError

__all__ = ["download", "download_all", "is_good"]


def download(
    urls: str | os.PathLike[str] | Sequence[str],
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    checksum: str | None = None,
    overwrite: bool = False,
    kind: str | None = None,
    check: Callable[[Path], str] | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file from the first of several mirrors that has it.

    What arrives is kept in ``.NAME.part`` beside the target until it is whole, and a later call goes on from
    there if the server still has the same version. Failures that may pass are tried again after growing
    pauses; ``Retry-After`` is obeyed. Servers may redirect only to http and https, and not from https to
    http. Proxies (``$HTTPS_PROXY``, ``$NO_PROXY``) and logins (``.netrc``) are used.

    Parameters
    ----------
    urls
        One or several addresses: ``https://``, ``http://``, ``s3://bucket/key`` (asked without a login),
        ``file://`` or a path.
    path
        Where the file shall be; its folder is made.
    size, checksum
        Bytes and checksum (``"sha256:..."``, ``"md5:..."``, ``"sha1:..."``, ``"sha512:..."``) that it must
        have.
    overwrite
        Fetch it even if it is there. Otherwise a file that is there is returned as it is.
    kind
        ``"fits"``, ``"gzip"``, ``"tar"``, ``"zip"``, ``"any"`` (but no web page), ``"unchecked"``; by default
        judged from the name.
    check
        Called with the whole file before it gets its name, as in `Item`; a mirror whose file is bad counts as
        one that does not have it.
    limits
        What the transfer may take.
    progress
        Called with name, bytes and total while it goes on.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DownloadError
        If no mirror gives it, or it is not what it should be; `UnreachableError` if there is no connection to
        any.
    MissingFileError
        If every mirror says that there is no such file.
    WriteError
        If it cannot be written, or another file is there and `overwrite` is false.
    ValueRangeError
        If an address or checksum is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "here.txt").write_text("calibration")
    >>> download(folder / "here.txt", folder / "there.txt").read_text()
    'calibration'
    """
    target = Path(path).expanduser()
    many = [urls] if isinstance(urls, (str, os.PathLike)) else list(urls)
    item = Item(target.name, [address(url) for url in many], size, checksum, kind, check)
    with Job(limits) as job, _no_empty_folders([target]):
        return _fetched(job, item, target, overwrite, progress)


def download_all(
    items: Iterable[Item],
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Fetch many files into a folder, several at a time.

    An interruption or an error leaves whole files and unfinished ones, which the next call goes on with.

    Parameters
    ----------
    items
        The files; their names are checked before anything is fetched.
    folder
        Where they shall be; it is made.
    overwrite, limits, progress
        As for `download`; ``limits.connections`` is the number of transfers at a time.

    Returns
    -------
    list of pathlib.Path
        The files, in the order of `items`.

    Raises
    ------
    DownloadError
        If some could not be fetched, after all others were; names the first few and why.
    WriteError, MissingFileError, ValueRangeError
        As `download`.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("a")
    >>> [path.name for path in download_all([Item("b/a.txt", str(folder / "a.txt"))], folder / "data")]
    ['a.txt']
    """
    wanted = list(items)
    root = Path(folder).expanduser()
    targets = [inside(root, item.name) for item in wanted]
    twice = (
        {target for target in targets if targets.count(target) > 1}
        if len(set(targets)) < len(targets)
        else set()
    )
    if twice:
        raise ValueRangeError(f"{min(twice)}: found two files of this name, expected one each")
    for item in wanted:
        for url in [item.urls] if isinstance(item.urls, str) else item.urls:
            address(url)
    limits = limits or Limits()
    with (
        _no_empty_folders(targets),
        Job(limits) as job,
        ThreadPoolExecutor(int(limits.connections)) as pool,
    ):
        futures = [
            pool.submit(_fetched, job, item, target, overwrite, progress)
            for item, target in zip(wanted, targets, strict=True)
        ]
        try:
            return _results(futures, wanted)
        finally:  # all are done, or it is interrupted
            job.close()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _no_empty_folders(targets: list[Path]) -> Iterator[None]:
    """Remove the folders of files that were made meanwhile and stayed empty."""
    above = {folder for target in targets for folder in target.parents}
    new = [folder for folder in above if not folder.exists()]
    try:
        yield
    finally:
        for folder in sorted(new, key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):  # it has files, or was not made
                folder.rmdir()


def _results(futures: list[Future[Path]], items: list[Item]) -> list[Path]:
    """Wait for all; raise what went wrong."""
    left = set(futures)
    while left:  # in steps, so that an interruption is seen on every system
        _, left = wait(left, timeout=1.0, return_when=FIRST_COMPLETED)
    failed = [
        (item, error)
        for item, future in zip(items, futures, strict=True)
        if (error := future.exception()) is not None
    ]
    if not failed:
        return [future.result() for future in futures]
    for _, error in failed:
        if not isinstance(error, (DownloadError, MissingFileError)):
            raise error
    if len(failed) == 1:
        raise failed[0][1]
    lines = [f"  {error}" for _, error in failed[:5]] + (["  ..."] if len(failed) > 5 else [])
    text = "\n".join([f"{len(failed)} of {len(items)} files could not be fetched:", *lines])
    every = all(isinstance(error, MissingFileError) for _, error in failed)
    raise (MissingFileError if every else DownloadError)(text)


def is_good(path: Path, size: int | None, checksum: str | None) -> bool:
    """Return whether a file has the size and the checksum it should.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     is_good(Path(file.name), 0, "md5:d41d8cd98f00b204e9800998ecf8427e")
    True
    """
    if size is not None and path.stat().st_size != size:
        return False
    if checksum is None:
        return True
    kind, digits = check_sum_text(checksum)
    with open(path, "rb") as file:
        return file_sum(file, kind) == digits


def _fetched(job: Job, item: Item, target: Path, overwrite: bool, progress: Progress | None) -> Path:
    """Return the target, fetched if it has to be."""
    if item.checksum is not None:
        check_sum_text(item.checksum)
    try:
        if not overwrite and _is_there(item, target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with locked_part(target, job.stop) as part:
                # another process may have brought it while this one waited
                if overwrite or not _is_there(item, target):
                    _from_mirrors(job, item, part, target, progress)
        except AttemptError as trouble:  # stopped while it waited
            raise DownloadError(f"{item.name}: {trouble.reason}") from None
    except BatxError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _is_there(item: Item, target: Path) -> bool:
    if not target.exists():
        return False
    if target.is_file() and is_good(target, item.size, item.checksum):
        return True
    raise WriteError(
        f"{target} is there and is not the file that was asked for (size or checksum); "
        "give overwrite=True to replace it, or move it away"
    )


def _from_mirrors(job: Job, item: Item, part: Part, target: Path, progress: Progress | None) -> None:
    """Fetch a file from the first mirror that gives it."""
    urls = [item.urls] if isinstance(item.urls, str) else list(item.urls)
    if not urls:
        raise MissingFileError(f"{item.name}: there is no address to fetch it from")
    reasons, missing, unreachable = [], True, True
    for url in urls:
        try:
            _from_one(job, item, url, part, progress)
        except AttemptError as trouble:
            reasons.append(f"{shown(url)}: {trouble.reason}")
            missing = missing and trouble.missing
            unreachable = unreachable and trouble.unreachable
            if job.stop.is_set():
                break
        else:
            part.finish(target)
            return
    text = "; ".join(reasons)
    if missing:
        raise MissingFileError(f"{item.name} is not in the archive: {text}")
    raise (UnreachableError if unreachable else DownloadError)(
        f"{item.name} was not fetched: {text}; what arrived is kept, the next call goes on from there"
        if part.size()
        else f"{item.name} was not fetched: {text}"
    )


def _from_one(job: Job, item: Item, url: str, part: Part, progress: Progress | None) -> None:
    """Fetch a file from one mirror, in as many tries as it takes; raises `AttemptError`."""
    failures, renewed = 0, False
    while True:
        before = part.size()
        try:
            Try(job, item, url, part, progress).run()
            return
        except AttemptError as trouble:
            if trouble.restart:
                part.cut()
                if renewed or trouble.final:
                    raise
                renewed = True
                continue
            failures = 1 if part.size() - before >= _WORTH else failures + 1
            if not job.again(trouble, failures):
                raise


#: a try that brings so many bytes is no failure in a row
_WORTH = 1 << 20
