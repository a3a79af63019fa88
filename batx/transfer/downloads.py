"""Files fetched so that they are there whole and checked, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from batx.errors import (
    BatxError,
    DownloadError,
    MissingFileError,
    UnreachableError,
    ValueRangeError,
    WriteError,
)
from batx.transfer.contents import HEAD, check_contents, kind_of
from batx.transfer.jobs import Job
from batx.transfer.limits import Limits, address, shown
from batx.transfer.names import inside
from batx.transfer.parts import Part, Progressed, check_sum_text, file_sum, locked_part
from batx.transfer.trouble import AttemptError

__all__ = ["Item", "Progress", "download", "download_all", "is_good"]

#: called with the name of a file, how many bytes of it are there, and how many it has if that is known
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Item:
    """A file to fetch.

    Attributes
    ----------
    name
        Its name below the target folder, with ``/``.
    urls
        One address, or several of the same file in the order in which they are tried.
    size
        Bytes, if known for certain.
    checksum
        ``"sha256:..."``, ``"md5:..."`` and so on, if known.
    kind
        What it must be; judged from its name if not given, ``"unchecked"`` for no check.
    check
        Called with the file once all of it is there, under another name yet; returns what is wrong with it,
        empty if nothing is.
    """

    name: str
    urls: str | Sequence[str]
    size: int | None = None
    checksum: str | None = None
    kind: str | None = None
    check: Callable[[Path], str] | None = None


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
            _one_try(job, item, url, part, progress)
            _check_sum(item, part)
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


def _one_try(job: Job, item: Item, url: str, part: Part, progress: Progress | None) -> None:
    """Add what is missing to an unfinished file; raises `AttemptError` if it is not whole then."""
    state, have = part.state(), part.size()
    # without the server's word that it is the same version, only a checksum can tell
    same = bool(state.url == shown(url) and state.validator) or item.checksum is not None
    begin = have if same else 0
    if item.size is not None and begin > item.size:
        begin = 0
    if begin and begin == (item.size if item.size is not None else state.total):
        part.file.seek(0)
        check_contents(part.file.read(HEAD), item.kind or kind_of(item.name))
        return
    answer = job.get(url, start=begin, validator=state.validator if state.url == shown(url) else "")
    try:
        _check_size(answer.total, item, job.limits)
        if answer.start and state.total is not None and answer.total not in (None, state.total):
            raise AttemptError("the file is another one than before", restart=True)
        part.cut(answer.start)
        part.note(Progressed(shown(url), answer.validator, answer.total))
        kind = item.kind or kind_of(item.name)
        if "gzip" in answer.coding and kind != "gzip":
            raise AttemptError(
                "the server compressed the file, which was not asked for", final=True, restart=True
            )
        _room(part.path.parent, answer.total, answer.start)
        done, judged = answer.start, answer.start >= HEAD
        head = b""
        for piece in answer.pieces:
            if not judged:
                head = (head + piece)[:HEAD]
                if len(head) == HEAD:
                    check_contents(head, kind, answer.html)
                    judged = True
            done += len(piece)
            job.count(len(piece))
            _check_size(done, item, job.limits, whole=False)
            part.file.write(piece)
            if progress:
                progress(item.name, done, answer.total)
        if not judged:
            part.file.seek(0)
            check_contents(part.file.read(HEAD), kind, answer.html)
        if not done and answer.total is None and item.size is None:
            raise AttemptError("the connection broke off before the file began")
        if item.size is not None and done < item.size:
            raise AttemptError(f"the connection broke off after {done} of {item.size} bytes")
    finally:
        answer.close()


def _check_size(size: int | None, item: Item, limits: Limits, whole: bool = True) -> None:
    if size is None:
        return
    if size > limits.max_bytes:
        raise AttemptError(f"larger than {limits.max_bytes:.3g} bytes (max_bytes)", final=True, restart=True)
    if item.size is not None and (size != item.size if whole else size > item.size):
        raise AttemptError(f"found {size} bytes, expected {item.size}", final=True, restart=True)


def _check_sum(item: Item, part: Part) -> None:
    """Compare a whole file with its checksum, and see whether it is good otherwise; raises `AttemptError`."""
    if item.checksum is not None:
        kind, digits = check_sum_text(item.checksum)
        found = file_sum(part.file, kind)
        if found != digits:
            raise AttemptError(f"damaged: its {kind} is {found}, expected {digits}", restart=True)
    if item.check is not None:
        part.file.flush()
        if reason := item.check(part.path):
            raise AttemptError(f"damaged: {reason}", restart=True)


def _room(folder: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(folder).free
    if total is not None and total - have > free:
        raise AttemptError(f"{total - have} bytes are to come and {free} are free in {folder}", final=True)
