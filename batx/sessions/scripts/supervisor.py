"""Run one program under supervision: `python -E -s -S supervisor.py`; started by `batx.heasoft.processes`.

The request comes on standard input, which then stays open: when it closes, or the parent is another process
than at the start, whoever asked is gone, and the program is ended with everything it started. It imports
nothing but the built-in and few standard modules, so that it starts in about 10 ms.
"""

from __future__ import annotations

import os
import select
import signal
import time

from family import adopt_orphans, descendants, die_with_parent

__all__: list[str] = []

_POLL = 0.2
_GRACE = 2.0
_PATIENCE = 10.0
_BLOCK = 65536


def _read_request() -> dict[str, str]:
    r"""Read ``size\n`` and as many bytes of ``name\0value\0...``."""
    size = b""
    while not size.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(70)
        size += byte
    data = b""
    while len(data) < int(size):
        part = os.read(0, int(size) - len(data))
        if not part:
            raise SystemExit(70)
        data += part
    words = os.fsdecode(data).split("\0")
    return {words[place]: words[place + 1] for place in range(0, len(words) - 1, 2)}


def _limit(name: str, value: int) -> None:
    import resource

    number = getattr(resource, name)
    _, hard = resource.getrlimit(number)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (soft, hard))


def _become(request: dict[str, str], output: int, parent: int) -> None:
    """Turn this forked process into the program; never returns."""
    try:
        os.setsid()
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(75)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 256)
        _limit("RLIMIT_CORE", 0)
        if int(request["file_limit"]) > 0:
            _limit("RLIMIT_FSIZE", int(request["file_limit"]))
        arguments = [request[f"argument{i}"] for i in range(int(request["arguments"]))]
        environment = {name[4:]: value for name, value in request.items() if name.startswith("env:")}
        os.execve(request["program"], arguments, environment)
    except OSError as error:
        os.write(2, f"cannot start {request['program']}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


class _Log:
    """The first and the last part of a stream; what lies between is counted and dropped."""

    def __init__(self, path: str, limit: int) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.room = self.half = max(limit // 2, 1)
        self.tail = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        """Take a block of output."""
        if self.room:
            self._write(data[: self.room])
            data, self.room = data[self.room :], max(self.room - len(data), 0)
        self.tail += data
        if len(self.tail) > 2 * self.half:
            self._shorten()

    def _shorten(self) -> None:
        excess = len(self.tail) - self.half
        if excess > 0:
            self.dropped += excess
            del self.tail[:excess]

    def close(self) -> None:
        """Write the last part, and how much is left out before it."""
        self._shorten()
        if self.dropped:
            self._write(b"\n[... %d bytes of output left out ...]\n" % self.dropped)
        self._write(bytes(self.tail))
        os.close(self.file)

    def _write(self, data: bytes) -> None:
        """Write to the file; a full disk must not end the supervision."""
        try:
            while data:
                data = data[os.write(self.file, data) :]
        except OSError:
            self.dropped += len(data)


def _signal_all(group: int, number: int) -> None:
    """Signal the process group of the program, and what left the group."""
    for target in [-group, *descendants()]:
        try:  # noqa: SIM105  (contextlib would cost start-up time)
            os.kill(target, number)
        except (ProcessLookupError, PermissionError):
            pass


def _reap(group: int, status: int | None) -> tuple[int | None, bool]:
    """Collect ended children; return the status of the program and whether any child is left."""
    while True:
        try:
            process, found = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if process == 0:
            return status, True
        if process == group:
            status = found


class _Watch:
    """What ends a run before its time: the time limit, a signal to stop, or that nobody waits any more."""

    def __init__(self, timeout: float) -> None:
        self.parent = os.getppid()
        self.deadline = time.monotonic() + timeout if timeout > 0 else float("inf")
        self.stopped = False

    def stop(self, *_: object) -> None:
        """Note a signal."""
        self.stopped = True

    def reason(self, closed: bool) -> str:
        """Return why to end, empty if there is no reason."""
        if closed or self.stopped or os.getppid() != self.parent:
            return "abandoned"
        return "timeout" if time.monotonic() > self.deadline else ""


def _follow(group: int, pipe: int, log: _Log, watch: _Watch) -> tuple[int | None, str]:
    """Read the output until the program ends or there is a reason to end it."""
    status: int | None = None
    reading = True
    while True:
        ready, _, _ = select.select([0, pipe] if reading else [0], [], [], _POLL if reading else 0.02)
        if pipe in ready:
            data = os.read(pipe, _BLOCK)
            log.add(data)
            reading = bool(data)
        closed = 0 in ready and not os.read(0, _BLOCK)
        status, _ = _reap(group, status)
        if status is not None:
            return status, ""
        if reason := watch.reason(closed):
            return None, reason


def _end(group: int, status: int | None) -> int | None:
    """End whatever still runs, gently first; return the status of the program."""
    end = time.monotonic() + (_GRACE if status is None else 0.0)
    _signal_all(group, signal.SIGTERM)
    while True:
        status, left = _reap(group, status)
        # what even SIGKILL does not end (a dead disk) is left to the operating system
        if not left or time.monotonic() > end + _PATIENCE:
            return status
        if time.monotonic() > end:
            _signal_all(group, signal.SIGKILL)
        time.sleep(0.01)


def _drain(pipe: int, log: _Log) -> None:
    """Take what is still in the pipe; everything that could write more has ended."""
    os.set_blocking(pipe, False)
    try:
        while data := os.read(pipe, _BLOCK):
            log.add(data)
    except BlockingIOError:
        pass


def main() -> None:
    """Run the program of the request and write ``code signal reason seconds dropped`` to standard output."""
    request = _read_request()
    adopt_orphans()
    watch = _Watch(float(request["timeout"]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, watch.stop)
    log = _Log(request["log"], int(request["log_limit"]))
    pipe, output = os.pipe()
    begin = time.monotonic()
    supervisor = os.getpid()
    group = os.fork()
    if group == 0:
        _become(request, output, supervisor)
    os.close(output)
    status, reason = None, "abandoned"
    try:
        status, reason = _follow(group, pipe, log, watch)
    finally:
        status = _end(group, status)
    _drain(pipe, log)
    log.close()
    code = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
    answer = f"{max(code, -1)} {max(-code, 0)} {reason or '-'} {time.monotonic() - begin:.3f} {log.dropped}\n"
    try:  # noqa: SIM105
        os.write(1, answer.encode())
    except OSError:
        pass


if __name__ == "__main__":
    main()
