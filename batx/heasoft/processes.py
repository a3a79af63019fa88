"""Run a program with an end: a time limit, a bounded log, and no process left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from batx.errors import ToolError

__all__ = ["Ending", "supervise"]

_SUPERVISOR = Path(__file__).parents[1] / "sessions" / "scripts" / "supervisor.py"
#: how much longer than the time limit the supervisor itself may take
_SLACK = 30.0
_POLL = 0.5
_OWN = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes
    ----------
    code
        Return code; -1 if a signal ended it.
    signal
        Number of that signal, else 0.
    reason
        ``""`` (it ended by itself), ``"timeout"`` or ``"abandoned"``.
    seconds
        Wall-clock time.
    dropped
        Bytes of output that the log leaves out.
    """

    code: int
    signal: int = 0
    reason: str = ""
    seconds: float = 0.0
    dropped: int = 0


def supervise(
    program: str | os.PathLike[str],
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: str | os.PathLike[str],
    log: str | os.PathLike[str],
    timeout: float = 0.0,
    log_limit: int = 2**20,
    file_limit: int = 0,
    stop: Event | None = None,
) -> Ending:
    r"""Run a program to its end, with everything that it starts.

    A small process of its own stands between this one and the program. It ends the program's process group
    and all its descendants when the time is up, when the program itself has ended, and when this process is
    gone, however it went. Standard input is empty; standard output and error go to the log, of which the
    first and the last half of `log_limit` bytes are kept.

    Parameters
    ----------
    program
        Path of the executable.
    arguments
        What follows the program's name.
    environment
        All of its environment.
    folder
        Where it runs.
    log
        File to be made for its output.
    timeout
        Seconds; 0 means no limit.
    log_limit, file_limit
        Largest size of the log and of any file that the program writes, in bytes; 0 means no limit of files.
    stop
        When it is set, the program is ended.

    Returns
    -------
    Ending
        How it ended.

    Raises
    ------
    ToolError
        If the supervising process cannot be started or does not answer, or `stop` is set.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> ending = supervise("/bin/echo", ["hello"], environment={}, folder=place, log=place / "log")
    >>> ending.code, (place / "log").read_text()
    (0, 'hello\n')
    """
    words = ["program", os.fspath(program), "timeout", repr(float(timeout)), "log", os.fspath(log)]
    words += ["log_limit", str(log_limit), "file_limit", str(file_limit)]
    words += ["arguments", str(len(arguments) + 1), "argument0", os.fspath(program)]
    for place, argument in enumerate(arguments, 1):
        words += [f"argument{place}", argument]
    for name, value in environment.items():
        words += [f"env:{name}", value]
    if any("\0" in word for word in words):
        raise ToolError(f"cannot run {program}: an argument or environment value holds a NUL character")
    answer = _ask(os.fsencode("\0".join(words)), os.fspath(folder), timeout, stop)
    code, number, reason, seconds, dropped = answer.split()
    return Ending(int(code), int(number), "" if reason == "-" else reason, float(seconds), int(dropped))


def _ask(request: bytes, folder: str, timeout: float, stop: Event | None) -> str:
    if not sys.executable:
        raise ToolError("cannot run a tool: this Python does not know its own interpreter (sys.executable)")
    try:
        process = subprocess.Popen(
            [sys.executable, "-E", "-s", "-S", "-B", str(_SUPERVISOR)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            # of this environment only what this Python itself may need to start
            env={name: os.environ[name] for name in _OWN if name in os.environ},
        )
    except OSError as error:
        raise ToolError(f"cannot start a process to run a tool: {error.strerror or error}") from error
    assert process.stdin and process.stdout and process.stderr
    try:
        process.stdin.write(b"%d\n" % len(request) + request)
        process.stdin.flush()
        answer = _answer(process, timeout, stop)
        process.wait(timeout=_SLACK)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"the process that supervises a tool did not answer: {error}") from error
    finally:
        # closing its standard input makes the supervisor end the program, also after an interrupt
        process.stdin.close()
        _finish(process)
        complaint = os.fsdecode(process.stderr.read(2000))
        process.stdout.close()
        process.stderr.close()
    if len(answer.split()) != 5:
        raise ToolError(f"the process that supervises a tool ended without an answer: {complaint}")
    return answer


def _answer(process: subprocess.Popen[bytes], timeout: float, stop: Event | None) -> str:
    """Wait for the one line of the supervisor, somewhat longer than the program may take."""
    import select

    assert process.stdout
    end = time.monotonic() + timeout + _SLACK if timeout > 0 else float("inf")
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    while not poll.poll(1000 * _POLL):
        if stop is not None and stop.is_set():
            raise ToolError("the tool was ended: the call is no longer wanted")
        if time.monotonic() > end:
            raise subprocess.TimeoutExpired(str(_SUPERVISOR), timeout + _SLACK)
    return os.fsdecode(process.stdout.readline())


def _finish(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_SLACK)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
