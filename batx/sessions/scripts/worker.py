"""What a session runs in its own process: answers requests that come through a pipe.

Started by `batx.sessions` as ``python worker.py MODULE REQUESTS REPLIES LIFE FOLDER``, the three before the
last being numbers of pipes. Any Python from 3.8 will do, with its standard library; batx need not be there.
The process divides in two: one does the work; the other only watches, and ends the worker with all its
children once the pipe LIFE is closed, that is when whoever asked has ended, however that came about. Who ends
a session in order writes a byte into LIFE before; without it nobody is left to remove FOLDER, and the watcher
does.

A message is eight bytes, its length, and that many of JSON. A request that raises ends the process: what
state the program behind it is in then, nobody knows.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import selectors
import shutil
import signal
import struct
import sys
import time
import traceback
from types import TracebackType
from typing import Any, BinaryIO

from family import adopt_orphans, descendants

#: how often the watcher looks whether its parent is still there, in seconds
_PATIENCE = 1.0


def main(arguments: list[str]) -> None:
    """Divide into a watcher and a worker; neither returns."""
    name = arguments[0]
    requests, replies, life = map(int, arguments[1:4])
    parent = os.getppid()
    adopt_orphans()
    ended, alive = os.pipe()
    worker = os.fork()
    if worker:
        for pipe in (requests, replies, alive):
            os.close(pipe)
        _watch(worker, parent, life, ended, arguments[4])
    os.setpgid(0, 0)
    for pipe in (life, ended):
        os.close(pipe)
    serve(name, os.fdopen(requests, "rb"), os.fdopen(replies, "wb"))


def _watch(worker: int, parent: int, life: int, ended: int, folder: str) -> None:
    """Wait for the end of the worker, or of whoever asked; then end the worker and its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    for pipe in (life, ended):
        selector.register(pipe, selectors.EVENT_READ)
    patience = _PATIENCE
    while True:
        ready = {key.fd for key, _ in selector.select(patience)}
        done, status = os.waitpid(worker, os.WNOHANG)
        if done:
            break
        if life in ready or os.getppid() != parent:
            _kill(worker)
            status = os.waitpid(worker, 0)[1]
            break
        if ended in ready:  # about to end, but what it does at its exit may hang
            selector.unregister(ended)
            patience = 0.01
    _kill(worker)
    _kill_descendants()
    if folder and _is_abandoned(parent, life):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _is_abandoned(parent: int, life: int) -> bool:
    """Whether whoever asked is gone without a word."""
    ready, _, _ = select.select([life], [], [], 0.0)
    return not os.read(life, 1) if ready else os.getppid() != parent


def _kill(worker: int) -> None:
    """End a worker and all that it started."""
    for end in (os.killpg, os.kill):
        try:
            end(worker, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _kill_descendants() -> None:
    """End what is left below this process."""
    for _ in range(100):
        left = descendants()
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        time.sleep(0.01)


def serve(name: str, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests with the functions of a module until there are no more; never returns.

    Parameters
    ----------
    name
        A module in this folder: ``hello()`` is called once, ``VERBS`` has a function for each verb, which
        takes and returns what JSON can say.
    requests, replies
        Both ends of the conversation.
    """

    def failed(kind: type, error: BaseException, trace: TracebackType | None) -> None:
        _send(
            replies,
            {
                "error": {
                    "kind": kind.__name__,
                    "name": str(getattr(error, "name", None) or ""),
                    "text": str(error),
                    "trace": "".join(traceback.format_exception(kind, error, trace))[-4000:],
                }
            },
        )

    sys.excepthook = failed
    home = os.open(".", os.O_RDONLY)
    module = importlib.import_module(name)
    _send(replies, {"value": dict(module.hello(), pid=os.getpid())})
    while True:
        message = _receive(requests)
        if message is None:
            break
        os.fchdir(home)  # this is the process of the library, which may have left its folder
        value = module.VERBS[message["verb"]](message["payload"])
        _send(replies, {"number": message["number"], "value": value})
    os._exit(0)  # libraries that crash or wait when they are unloaded shall not


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> dict[str, Any] | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    data = stream.read(struct.unpack(">Q", head)[0])
    return json.loads(data)


if __name__ == "__main__":
    main(sys.argv[1:])
