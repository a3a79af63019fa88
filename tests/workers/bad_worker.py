"""A worker that misbehaves in every way that a library can."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any


def hello() -> dict[str, Any]:
    if os.environ.get("BAD_START") == "hang":
        time.sleep(1000)
    if os.environ.get("BAD_START") == "exit":
        sys.exit(7)
    print("here I am", flush=True)
    return {}


def child(payload: dict[str, Any]) -> dict[str, Any]:
    """Start something that outlives its parent if it may; say who it is."""
    process = subprocess.Popen(["sleep", "1000"], start_new_session=bool(payload.get("apart")))
    return {"child": process.pid, "worker": os.getpid()}


def hang(payload: dict[str, Any]) -> dict[str, Any]:
    process = subprocess.Popen(["sleep", "1000"])
    print(f"child {process.pid}", flush=True)
    if payload.get("deaf"):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def flood(payload: dict[str, Any]) -> dict[str, Any]:
    for k in range(payload["lines"]):
        print(f"{k:09d} " + 89 * "x", file=sys.stderr if k % 2 else sys.stdout)
    print("the end", flush=True)
    return {}


def ask(payload: dict[str, Any]) -> dict[str, Any]:
    """Ask for a file name until there is one, as XSPEC does; without an end if nothing is said."""
    answers = []
    while len(answers) < payload.get("patience", 3):
        answers.append(sys.stdin.readline())
    return {"answers": answers}


def end(payload: dict[str, Any]) -> dict[str, Any]:
    print("about to end", flush=True)
    how = payload["how"]
    if how == "exit":
        sys.exit(3)
    if how == "os":
        os._exit(4)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    raise Exception("XSPEC Exception: it did not work")


def wrong(payload: dict[str, Any]) -> Any:
    return payload["value"]


VERBS = {"child": child, "hang": hang, "flood": flood, "ask": ask, "end": end, "wrong": wrong}
