"""A process that answers requests, and may hang, print, crash or end without harm to this one."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from batx.errors import EngineError, EngineTimeoutError

__all__ = ["Session"]

_SCRIPTS = Path(__file__).parent / "scripts"
#: what is kept of the output of the program, and the longest answer, in bytes
_TAIL = 65_536
_LONGEST = 256 * 2**20
#: seconds that a process is given to be gone
_GRACE = 5.0


@dataclass
class _Process:
    """A running worker: the pipes to it, and the last of what it printed."""

    process: subprocess.Popen[bytes]
    requests: int
    replies: int
    life: int
    tail: deque[bytes]
    drain: threading.Thread
    owner: int
    worker: int = 0

    def close(self) -> None:
        """Close the pipes, upon which the process ends unless another one holds them open too."""
        for pipe in (self.requests, self.replies, self.life):
            os.close(pipe)

    def end(self, patience: float = 0.0) -> int:
        """End the process with all that it started; return how it ended, by itself if it does so in time."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        with suppress(OSError):
            os.write(self.life, b".")  # the folder is taken care of
        self.close()
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:  # the watcher was stopped
            self.process.kill()
            if self.worker:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.worker, signal.SIGKILL)
            code = self.process.wait()
        self.drain.join(_GRACE)
        return code


class Session:
    """A process that answers requests one at a time, started with the first of them.

    Parameters
    ----------
    script
        Name of a module in ``batx/sessions/scripts``.
    python
        The interpreter that runs it; by default this one.
    environment
        All its environment variables; by default those of this process.
    timeout, start_timeout
        Seconds that an answer, and the start, may take.

    Attributes
    ----------
    folder
        A private folder, in which the process works; it goes with the session.
    hello
        What the process said of itself when it started.

    Notes
    -----
    Messages are JSON in frames over pipes of their own. Standard input is empty; of what the program prints,
    the end is kept (`output`). A request that is not answered in time, that fails, or that is interrupted,
    ends the process with all that it started, and the next request begins a new one. So does the end of
    this process, however it comes. Requests of several threads wait for each other.

    Examples
    --------
    >>> with Session("echo_worker") as session:
    ...     session.request("echo", {"text": "hello"})
    {'text': 'hello'}
    """

    def __init__(
        self,
        script: str,
        *,
        python: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        start_timeout: float = 120.0,
    ) -> None:
        self.script, self.python = script, os.fspath(python or sys.executable)
        self.environment = None if environment is None else dict(environment)
        self.timeout, self.start_timeout = float(timeout), float(start_timeout)
        self.folder = Path(tempfile.mkdtemp(prefix="batx-"))
        self.hello: dict[str, Any] = {}
        self._maker = os.getpid()
        self._number = 0
        self._held: list[_Process] = []
        self._printed = b""
        self._lock = threading.Lock()
        self._closed = weakref.finalize(self, _clean, self.folder, os.getpid(), self._held)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _process(self) -> _Process | None:
        return self._held[0] if self._held else None

    @property
    def output(self) -> str:
        """The end of what the program printed."""
        printed = b"".join(self._process.tail) if self._process is not None else self._printed
        return printed[-_TAIL:].decode(errors="replace")

    def start(self) -> dict[str, Any]:
        """Start the process, if it does not run, and return what it says of itself.

        Raises
        ------
        EngineError, EngineTimeoutError
            As for `request`.
        """
        with self._lock:
            self._running()
        return self.hello

    def request(
        self, verb: str, payload: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Return the answer to a request.

        Parameters
        ----------
        verb, payload
            What is asked, and with what: names, numbers, texts, lists and mappings.
        timeout
            Seconds, if not those of the session.

        Raises
        ------
        EngineTimeoutError
            If there is no answer in time.
        EngineError
            If the process cannot be started, ends, or says that the request failed.
        """
        with self._lock:
            process = self._running()
            self._number += 1
            message = {"number": self._number, "verb": verb, "payload": dict(payload or {})}
            answer = self._exchange(process, message, self.timeout if timeout is None else timeout)
            if answer.get("number") != self._number:
                self._end()
                raise EngineError(f"{self.script}: the answer to {verb!r} is to another question")
            return answer["value"]

    def close(self) -> None:
        """End the process and remove its folder."""
        with self._lock:
            self._end()
            self._closed()

    # ------------------------------------------------------------ conversation

    def _exchange(self, process: _Process, message: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Return the next message, after sending one; whatever goes wrong ends the process."""
        verb = "start" if message is None else message["verb"]
        deadline = time.monotonic() + timeout
        answer = None
        try:
            if message is not None:
                data = json.dumps(message).encode()
                _write(process.requests, struct.pack(">Q", len(data)) + data, deadline)
            size = struct.unpack(">Q", _read(process.replies, 8, deadline))[0]
            if size > _LONGEST:
                raise EngineError(f"{self.script}: an answer of {size} bytes to {verb!r} is refused")
            answer = _decoded(_read(process.replies, size, deadline))
        except TimeoutError as error:
            self._end()
            raise EngineTimeoutError(
                f"{self.script}: no answer to {verb!r} in {timeout:g} s, and the process was ended; allow "
                f"more with timeout=.{self._last_words()}"
            ) from error
        except (EOFError, BrokenPipeError, ConnectionError) as error:
            code = self._end(patience=_GRACE)
            raise EngineError(
                f"{self.script}: the process ended during {verb!r} ({_meaning(code)}).{self._last_words()}"
            ) from error
        finally:
            if answer is None:
                self._end()
        if (failure := answer.get("error")) is not None:
            self._end()
            refusal = EngineError(
                f"{self.script}: {verb!r} failed with {failure['kind']}: {failure['text'].strip()}"
                f"{self._last_words()}"
            )
            refusal.kind, refusal.module = failure["kind"], failure["name"]
            refusal.add_note(f"There: {failure['trace']}")
            raise refusal
        return answer

    def _last_words(self) -> str:
        words = [line.strip() for line in self.output.splitlines() if line.strip()]
        return f" It last printed: {' | '.join(words[-3:])[-400:]}" if words else ""

    # ------------------------------------------------------------ process

    def _running(self) -> _Process:
        """Return the process, which is started if it is not there."""
        if self._process is not None and self._process.owner != os.getpid():
            self._held.pop().close()  # it is the one of the process that this was forked from
        if self._process is not None and self._process.process.poll() is None:
            return self._process
        self._end()
        if not self.folder.is_dir():
            raise EngineError(f"{self.script}: the session is closed; make a new one")
        process = self._started()
        self._held.append(process)
        self.hello = self._exchange(process, None, self.start_timeout)["value"]
        process.worker = int(self.hello.get("pid", 0))
        return process

    def _started(self) -> _Process:
        requests, replies, life = os.pipe(), os.pipe(), os.pipe()
        theirs, ours = (requests[0], replies[1], life[0]), (requests[1], replies[0], life[1])
        command = [self.python, "-B", str(_SCRIPTS / "worker.py"), self.script]
        # a forked process does not remove the folder of the one that it comes from
        command += [*map(str, theirs), str(self.folder) if os.getpid() == self._maker else ""]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                pass_fds=theirs,
                start_new_session=True,
            )
        except OSError as error:
            for pipe in ours:
                os.close(pipe)
            raise EngineError(f"{self.script}: {self.python} cannot be started ({error.strerror})") from error
        finally:
            for pipe in theirs:
                os.close(pipe)
        for pipe in ours[:2]:
            os.set_blocking(pipe, False)
        tail: deque[bytes] = deque()
        assert process.stdout is not None
        drain = threading.Thread(target=_drain, args=(process.stdout, tail), daemon=True)
        drain.start()
        return _Process(process, *ours, tail, drain, os.getpid())

    def _end(self, patience: float = 0.0) -> int | None:
        """End the process with all that it started; return how it ended, by itself if it does so in time."""
        if not self._held:
            return None
        process = self._held.pop()
        code = process.end(patience)
        self._printed = b"".join(process.tail)[-_TAIL:]
        return code


def _clean(folder: Path, owner: int, held: list[_Process]) -> None:
    """End a process and remove its folder, but not those of the process that this one was forked from."""
    if os.getpid() == owner:
        while held:
            held.pop().end()
        shutil.rmtree(folder, ignore_errors=True)


def _drain(stream: IO[bytes], tail: deque[bytes]) -> None:
    """Read a stream to its end and keep the last of it."""
    kept = 0
    with stream:
        while data := os.read(stream.fileno(), 65_536):
            tail.append(data)
            kept += len(data)
            while kept - len(tail[0]) >= _TAIL:
                kept -= len(tail.popleft())


def _write(pipe: int, data: bytes, deadline: float) -> None:
    """Write all of it, or raise `TimeoutError`."""
    left = memoryview(data)
    while left:
        _wait(pipe, selectors.EVENT_WRITE, deadline)
        with suppress(BlockingIOError):
            left = left[os.write(pipe, left[:65_536]) :]


def _read(pipe: int, size: int, deadline: float) -> bytes:
    """Read so many bytes, or raise `TimeoutError`, or `EOFError` if there are no more."""
    parts, left = [], size
    while left:
        _wait(pipe, selectors.EVENT_READ, deadline)
        with suppress(BlockingIOError):
            data = os.read(pipe, min(left, 1 << 20))
            if not data:
                raise EOFError
            parts.append(data)
            left -= len(data)
    return b"".join(parts)


def _wait(pipe: int, event: int, deadline: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        while not selector.select(min(max(deadline - time.monotonic(), 0.0), 3600.0)):
            if time.monotonic() >= deadline:
                raise TimeoutError


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except ValueError as error:
        raise EngineError(f"an answer is no JSON: {data[:80]!r}") from error
    if not isinstance(message, dict):
        raise EngineError(f"an answer is no message: {data[:80]!r}")
    return message


def _meaning(code: int | None) -> str:
    """Say what an exit code means."""
    if code is None:
        return "how is not known"
    if code > 128 or code < 0:
        number = abs(code) - 128 * (code > 0)
        with suppress(ValueError):
            return f"signal {signal.Signals(number).name}"
    return f"exit code {code}"
