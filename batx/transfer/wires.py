"""Connections that can be cut from outside: at the end of a job, and when a server does not answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

__all__ = ["Wires", "session_with"]


class Wires:
    """The open connections of one session, which belongs to one thread.

    Examples
    --------
    >>> wires = Wires()
    >>> with wires.cut_after(10.0) as late:
    ...     late.is_set()
    False
    """

    def __init__(self) -> None:
        self.connections: WeakSet[Any] = WeakSet()

    def cut(self) -> None:
        """End every read and write."""
        for connection in list(self.connections):
            sock = getattr(connection, "sock", None)
            if sock is not None:
                with suppress(OSError, ValueError):
                    sock.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def cut_after(self, seconds: float) -> Iterator[threading.Event]:
        """Cut if the block takes longer; a server may send a byte of a header now and then for ever.

        Yields
        ------
        threading.Event
            Set if it was cut: whatever came is not whole then.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            self.cut()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()


def session_with(wires: Wires) -> Any:
    """Return a session of requests whose connections are known to `wires`.

    Examples
    --------
    >>> session_with(Wires()).headers["User-Agent"]
    'batx'
    """
    import requests
    from urllib3 import connectionpool as pools

    def known(base: Any) -> Any:
        class _Known(base):
            def connect(self) -> None:
                super().connect()
                wires.connections.add(self)

        return _Known

    classes = {}
    for scheme, pool in (("http", pools.HTTPConnectionPool), ("https", pools.HTTPSConnectionPool)):
        classes[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": known(pool.ConnectionCls)})

    class _Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = classes

        def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*args, **options)
            manager.pool_classes_by_scheme = classes
            return manager

    session = requests.Session()
    session.headers["User-Agent"] = "batx"
    for scheme in classes:
        session.mount(f"{scheme}://", _Adapter())
    # requests would read the whole body of a redirect, however large; they are followed elsewhere
    session.get_redirect_target = lambda response: None
    return session
