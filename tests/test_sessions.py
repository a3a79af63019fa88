"""Processes that hang, flood, ask, crash and leave children behind: nothing of it reaches this one."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from batx.errors import EngineError, EngineTimeoutError
from batx.sessions import Session

WORKERS = Path(__file__).parent / "workers"
#: elsewhere, children in sessions of their own are not found
ELSEWHERE = not sys.platform.startswith("linux")
SCRIPTS = Path(__file__).parent.parent / "batx/sessions/scripts"


def bad(**how: Any) -> Session:
    settings = {key: how.pop(key) for key in list(how) if key.isupper()}
    return Session("bad_worker", environment={**os.environ, "PYTHONPATH": str(WORKERS), **settings}, **how)


def is_gone(pid: int, patience: float = 60.0) -> bool:
    """Whether a process ends within some seconds; a zombie has ended."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_any_json_comes_back():
    with Session("echo_worker") as session:
        for value in (None, 1.5, "Größe\n", [1, [2]], {"a": {"b": []}}, "x" * 3_000_000):
            assert session.request("echo", {"value": value}) == {"value": value}
        folder = session.folder
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    with pytest.raises(EngineError, match="closed"):
        session.request("echo")


@pytest.mark.parametrize("deaf", [False, True])
def test_a_hang_ends_with_its_children(deaf: bool):
    with bad(timeout=0.4) as session:
        with pytest.raises(EngineTimeoutError, match=r"no answer to 'hang' in 0\.4 s.*child"):
            session.request("hang", {"deaf": deaf})
        assert is_gone(int(session.output.split("child ")[1].split()[0]))
        assert session.request("wrong", {"value": {"again": 1}}) == {"again": 1}


@pytest.mark.parametrize(
    "apart", [False, pytest.param(True, marks=pytest.mark.skipif(ELSEWHERE, reason="Linux"))]
)
def test_children_end_with_the_session(apart: bool):
    with bad() as session:
        made = session.request("child", {"apart": apart})
    assert is_gone(made["child"])
    assert is_gone(made["worker"])


def test_a_flood_is_drained_and_cut():
    with bad(timeout=30) as session:
        session.request("flood", {"lines": 100_000})
        time.sleep(0.1)
        assert len(session.output) <= 65_536
        assert session.output.rstrip().endswith("the end")


def test_questions_get_no_answer():
    with bad(timeout=5) as session:
        assert session.request("ask") == {"answers": ["", "", ""]}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "exit code 3"),
        ("os", "exit code 4"),
        ("signal", "SIGSEGV"),
        ("raise", "failed with Exception: XSPEC Exception: it did not work"),
    ],
)
def test_an_end_is_told_and_the_next_request_works(how: str, said: str):
    with bad() as session:
        with pytest.raises(EngineError, match=f"{said}.*about to end"):
            session.request("end", {"how": how})
        assert session.request("wrong", {"value": {}}) == {}


def test_starts_that_fail():
    with (
        pytest.raises(EngineTimeoutError, match="'start'"),
        bad(BAD_START="hang", start_timeout=0.3) as session,
    ):
        session.start()
    with pytest.raises(EngineError, match="exit code 7"), bad(BAD_START="exit") as session:
        session.start()
    with pytest.raises(EngineError, match="cannot be started"), bad(python="/nowhere/python") as session:
        session.start()
    with pytest.raises(EngineError, match=r"process ended|failed"), bad(python="/bin/false") as session:
        session.start()
    with (
        pytest.raises(EngineError, match="ModuleNotFoundError") as caught,
        Session("no_such_worker") as session,
    ):
        session.start()
    assert (caught.value.kind, caught.value.module) == ("ModuleNotFoundError", "no_such_worker")


def test_unknown_verbs_and_numbers_that_json_lacks():
    with bad() as session:
        with pytest.raises(EngineError, match="KeyError"):
            session.request("nonsense")
        assert str(session.request("wrong", {"value": {"x": float("nan")}})["x"]) == "nan"


def test_several_threads_take_turns():
    answers = []
    with Session("echo_worker") as session:
        threads = [
            threading.Thread(target=lambda k=k: answers.append(session.request("echo", {"k": k})["k"]))
            for k in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == list(range(20))


PARENT = """
import json, os, sys, time
sys.path.insert(0, {tests!r})
from test_sessions import bad
session = bad()
made = session.request("child", {{"apart": {apart}}}) | {{"folder": str(session.folder)}}
print(json.dumps(made), flush=True)
if {busy}:
    session.request("hang", {{"deaf": True}})
time.sleep(1000)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_no_orphan_is_left_when_the_parent_is_killed(busy: bool):
    text = PARENT.format(tests=str(Path(__file__).parent), busy=busy, apart=busy and not ELSEWHERE)
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    made = json.loads(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(made["worker"])
    assert is_gone(made["child"])
    until = time.monotonic() + 20
    while Path(made["folder"]).exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert not Path(made["folder"]).exists()


def test_the_end_of_a_worker_leaves_the_folder():
    with bad() as session:
        session.start()
        with pytest.raises(EngineError):
            session.request("nonsense")
        assert session.folder.is_dir() and session.start()


def test_a_forked_process_has_its_own():
    with Session("echo_worker") as session:
        first = session.start()["pid"]
        child = os.fork()
        if child == 0:
            other = session.start()["pid"]
            session._end()
            os._exit(0 if other != first else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert session.request("echo", {"k": 1}) == {"k": 1}
        assert session.start()["pid"] == first


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_run_in_older_interpreters_without_batx(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    used = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert used <= sys.stdlib_module_names | {"xspec", "heasoftpy", "family"}
    assert "strict=" not in path.read_text(encoding="utf-8")
