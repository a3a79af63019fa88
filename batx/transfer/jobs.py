"""What the transfers of one job share: connections, the stop sign, and the count of bytes."""

from __future__ import annotations

import threading
from types import TracebackType

from batx.transfer.limits import Limits, address, scheme
from batx.transfer.stores import Store
from batx.transfer.trouble import AttemptError, backoff
from batx.transfer.web import Answer, Web

__all__ = ["Job"]


class Job:
    """Connections to web servers, buckets and folders, opened on use; for several threads.

    Parameters
    ----------
    limits
        What the job may take.

    Examples
    --------
    >>> with Job() as job:
    ...     job.stop.is_set()
    False
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._web: Web | None = None
        self._stores: dict[str, Store] = {}
        self._got = 0

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all waiting, and close all connections."""
        self.stop.set()
        if self._web is not None:
            self._web.close()

    @property
    def web(self) -> Web:
        """The connections to web servers."""
        with self._lock:
            if self._web is None:
                self._web = Web(self.limits, self.stop)
            return self._web

    def store(self, url: str) -> Store:
        """Return the file system of an address."""
        kind = scheme(url)
        with self._lock:
            if kind not in self._stores:
                self._stores[kind] = Store(kind, self.limits)
            return self._stores[kind]

    def get(self, url: str, *, start: int = 0, validator: str = "") -> Answer:
        """Ask for a file at an address of any kind; raises `AttemptError`."""
        place = self.web if scheme(address(url)) in ("http", "https") else self.store(url)
        return place.get(url, start=start, validator=validator)

    def count(self, size: int) -> None:
        """Add bytes that arrived; raises `AttemptError` if the job has become too large or is stopped."""
        if self.stop.is_set():
            raise AttemptError("stopped", final=True)
        with self._lock:
            self._got += size
            much = self._got > self.limits.max_total
        if much:
            raise AttemptError(
                f"more than {self.limits.max_total:.3g} bytes in one job (max_total)", final=True
            )

    def again(self, trouble: AttemptError, failures: int) -> bool:
        """Wait before the next try; return whether there should be one.

        A host that cannot be reached at all is tried twice only.
        """
        most = min(1, self.limits.retries) if trouble.unreachable else self.limits.retries
        if trouble.final or failures > most:
            return False
        # a wait that the server asks for is kept by the connections, for all transfers from that host
        return not self.stop.wait(0.0 if trouble.wait is not None else backoff(failures, self.limits))
