"""The survey pipeline after kills: no process is left, and the same command comes to the same products."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from survey_inputs import DAY, OWN, STANDARD, START, Archive, Pointing, tree

from batx.pipelines import Pipeline, survey

OPTIONS = {"own_sources": OWN, "targets": ["Bright X-1"], "nside": 64, "figures": False, "workers": 2}
SETUP = """
from batx.pipelines import survey

def build(output):
    return survey({source!r}, output=output, **{options!r})
"""
RUN = SETUP + "build({output!r}).run('pointings')\n"
#: a run ends by SIGKILL at a change of the file system in a step; then the next one begins
KILLS = (
    SETUP
    + """
import os, signal
import batx.pipelines.surveys.products  # loaded once, for all children

places = [("spectra", 1), ("mosaics", 1), ("mosaics", 3), ("report", 3)]

def killed(step, number):
    child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    left, at_work = [number], [False]

    def mortal(function):
        def call(*args, **options):
            left[0] -= at_work[0]
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)
        return call

    def progress(status):
        at_work[0] = status.name == step and status.state == "running"

    for name in ("replace", "rename", "mkdir"):
        setattr(os, name, mortal(getattr(os, name)))
    build({output!r}).run(step, progress=progress)
    os._exit(0)

# early in a step, and while its products are put in place
ends = [killed(*place) for place in places]
assert set(ends) == {{signal.SIGKILL}}, ends
print("killed", len(ends))
"""
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three observations, with images."""
    with pytest.MonkeyPatch.context() as patch:
        made = Archive(tmp_path_factory.mktemp("survey"), patch)
        for number in range(3):
            start = START + 5 * number * DAY
            made.add(f"0001234500{number}", [Pointing(start, sources=STANDARD, seed=number)], images=True)
        yield made


@pytest.fixture(scope="module")
def whole(archive) -> dict[str, bytes]:
    """Products of a run that nothing stopped."""
    output = archive.root / "whole"
    found = build(archive, output).run()
    assert {status.state for status in found} == {"done", "skipped"}
    return products(output)


def build(archive: Archive, output: Path) -> Pipeline:
    return survey(archive.folder, output=output, **OPTIONS)


def products(folder: Path) -> dict[str, bytes]:
    """Every product, as if the folder had the name of the first."""
    held = {name: data for name, data in tree(folder).items() if ".batx" not in name}
    return {name: data.replace(str(folder).encode(), b"OUT") for name, data in held.items()}


def alive(words: str) -> list[int]:
    """Processes with these words in their command."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if words.encode() in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def text(archive: Archive, output: Path, code: str) -> str:
    return code.format(source=str(archive.folder), output=str(output), options=OPTIONS)


def test_killed_amid_parallel_calls_of_batsurvey(archive, whole):
    output = archive.root / "processing"
    hold = archive.root / "results" / "wait"
    before = len(archive.calls)
    hold.touch()
    try:
        with subprocess.Popen([sys.executable, "-c", text(archive, output, RUN)]) as parent:
            # two calls at a time; neither has come to an end
            wait_for(lambda: len(archive.calls) == before + 2)
            assert len(alive(f"outdir={output}")) >= 2
            parent.send_signal(signal.SIGKILL)
        wait_for(lambda: not alive(str(output)), 20.0)
    finally:
        hold.unlink()
    assert not list((output / "batsurvey").glob("0*"))
    found = build(archive, output).run()
    assert {status.state for status in found} == {"done", "skipped"} and len(archive.calls) == before + 2 + 3
    assert products(output) == whole
    assert not list((output / "batsurvey" / ".batx" / "calls" / "work").iterdir())


def test_killed_at_steps(archive, whole):
    output = archive.root / "steps"
    run = subprocess.run(
        [sys.executable, "-c", text(archive, output, KILLS)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "killed 4\n"
    calls = len(archive.calls)
    found = build(archive, output).run()
    assert {status.state for status in found} == {"done", "skipped"} and len(archive.calls) == calls
    assert products(output) == whole
    assert not [path for path in (output / ".batx" / "staging").rglob("*") if path.is_file()]
