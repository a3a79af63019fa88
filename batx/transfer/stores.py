"""Files of S3 buckets and of local folders, through fsspec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batx.errors import MissingPackageError
from batx.optional import optional
from batx.transfer.limits import Limits
from batx.transfer.trouble import AttemptError
from batx.transfer.web import Answer

__all__ = ["Store"]

_BLOCK = 8 << 20


class Store:
    """A file system of fsspec, for one job.

    Parameters
    ----------
    kind
        ``"s3"`` (public buckets, asked without a login) or ``"file"``.
    limits
        Timeouts, and the address of the S3 service.
    """

    def __init__(self, kind: str, limits: Limits | None = None) -> None:
        self.kind = kind
        limits = limits or Limits()
        self.errors: tuple[type[BaseException], ...] = (OSError,)
        import fsspec

        if kind == "s3":
            self.errors = (OSError, _needed("botocore.exceptions").BotoCoreError, TimeoutError)
            _needed("s3fs")
            options: dict[str, Any] = {
                "anon": True,
                "endpoint_url": limits.endpoint,
                "config_kwargs": {
                    "connect_timeout": limits.timeout,
                    "read_timeout": limits.stall,
                    "retries": {"max_attempts": 0},
                },
                "client_kwargs": {"verify": limits.ca_file} if limits.ca_file else {},
            }
        else:
            options = {}
        self.system = fsspec.filesystem(kind, skip_instance_cache=True, use_listings_cache=False, **options)

    def get(self, url: str, *, start: int = 0, validator: str = "") -> Answer:
        """Ask for a file, from byte `start` on if it is still the one with this validator.

        Raises
        ------
        AttemptError
            If it is not there or cannot be read.
        """
        path = self.path(url)
        total, now = self._state(path)
        begin = start if 0 < start <= total and (not validator or validator == now) else 0

        def pieces() -> Iterator[bytes]:
            for first in range(begin, total, _BLOCK):
                piece = self._call(self.system.cat_file, path, start=first, end=min(first + _BLOCK, total))
                if len(piece) != min(_BLOCK, total - first):
                    raise AttemptError("the file became shorter while it was read", restart=True)
                yield piece
            if self._state(path) != (total, now):
                raise AttemptError("the file changed while it was read", restart=True)

        return Answer(begin, total, now, pieces(), lambda: None)

    def names(self, url: str) -> list[tuple[str, bool, int | None]]:
        """Return name, whether a folder, and size of what is in a folder.

        Raises
        ------
        AttemptError
            If there is no such folder.
        """
        path = self.path(url).rstrip("/")
        rows = self._call(self.system.ls, path, detail=True)
        found = []
        for row in rows:
            name = str(row["name"]).rstrip("/")
            if name != path and name.startswith(path):
                found.append((name[len(path) :].lstrip("/"), row["type"] == "directory", row.get("size")))
        return found

    def path(self, url: str) -> str:
        """Return the name of a URL within the file system."""
        return str(self.system._strip_protocol(url))

    def _state(self, path: str) -> tuple[int, str]:
        info = self._call(self.system.info, path)
        if info.get("type") == "directory" or info.get("size") is None:
            raise AttemptError("a folder, not a file", missing=True)
        version = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
        return int(info["size"]), str(version)

    def _call(self, function: Any, *args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (FileNotFoundError, NotADirectoryError):
            raise AttemptError("not there", missing=True) from None
        except (PermissionError, IsADirectoryError):
            raise AttemptError("access is refused", final=True) from None
        except self.errors as error:
            unreachable = "Connect" in type(error).__name__
            raise AttemptError(f"reading fails ({type(error).__name__})", unreachable=unreachable) from None


def _needed(module: str) -> Any:
    """Return a module; without it another mirror may still serve."""
    try:
        return optional(module, "archive", "a download from S3")
    except MissingPackageError as error:
        raise AttemptError(str(error), final=True, unreachable=True) from None
