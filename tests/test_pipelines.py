"""The frame of the pipelines: what is done, done again, gone on with, refused."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from batx.errors import BatxError, BatxWarning, MissingFileError, ValueRangeError, WriteError
from batx.pipelines import Pipeline, SkippedError, Step, Work
from batx.pipelines.lock import locked

Make = Callable[[Work], Mapping[str, Any] | None]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


class Words:
    """A pipeline that reads a file of words; counts how often each step was done."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.text = folder / "words.txt"
        if not self.text.exists():
            self.text.write_text("one two three four")
        self.done: list[str] = []
        self.replaced: dict[str, Make] = {}
        self.options = {"text": str(self.text), "letter": "t", "title": "words"} | options
        self.out = folder / "out"

    @property
    def pipeline(self) -> Pipeline:
        steps = [
            Step("split", "split", self.make("split"), options=["text"], outside=lambda o: [Path(o["text"])]),
            Step("choose", "choose words", self.make("choose"), needs=["split"], options=["letter"]),
            Step("count", "count words", self.make("count"), needs=["split"]),
            Step(
                "report",
                "report",
                self.make("report"),
                needs=["split"],
                uses=["choose", "count"],
                options=["title"],
            ),
        ]
        return Pipeline("words", steps, self.out, self.options)

    def make(self, name: str) -> Make:
        def call(work: Work) -> Mapping[str, Any] | None:
            self.done.append(name)
            return self.replaced.get(name, getattr(self, name))(work)

        return call

    def split(self, work: Work) -> dict[str, Any]:
        words = Path(work.options["text"]).read_text().split()
        for number, word in enumerate(words):
            work.output(f"words/{number}.txt").write_text(word)
        return {"words": len(words)}

    def choose(self, work: Work) -> None:
        for path in work.paths("split"):
            word = path.read_text()
            if work.options["letter"] in word:
                work.output(f"chosen/{word}").write_text(word)

    def count(self, work: Work) -> None:
        work.notes.append("counted")
        work.output("count.json").write_text(json.dumps(work.before["split"].facts))

    def report(self, work: Work) -> None:
        lines = [work.options["title"], *(f"{r.step}: {r.state} {r.reason}" for r in work.before.values())]
        lines += [path.name for path in work.paths("choose")]
        work.output("report.txt").write_text("\n".join(lines))


@pytest.fixture
def words(tmp_path: Path) -> Words:
    return Words(tmp_path)


def test_steps_are_done_once(words: Words):
    assert [status.state for status in words.pipeline.status()] == ["to do"] * 4
    found = words.pipeline.run()
    assert [status.state for status in found] == ["done"] * 4
    assert words.done == ["split", "choose", "count", "report"]
    before = tree(words.out)
    assert [status.state for status in words.pipeline.run()] == ["done"] * 4
    assert len(words.done) == 4 and tree(words.out) == before
    assert words.pipeline.status() == found
    assert found[2].notes == ("counted",) and found[0].facts == {"words": 4}
    assert sorted(path.name for path in found[1].products) == ["three", "two"]


def test_what_changed_is_done_again_and_old_products_go(words: Words):
    words.pipeline.run()
    words.done.clear()
    words.options["letter"] = "o"
    assert [status.reason for status in words.pipeline.status()] == [
        "",
        "option letter changed",
        "",
        "after choose",
    ]
    words.pipeline.run()
    assert words.done == ["choose", "report"]
    assert sorted(path.name for path in (words.out / "chosen").iterdir()) == ["four", "one", "two"]
    words.done.clear()
    words.text.write_text("one two")
    words.pipeline.run()
    assert words.done == ["split", "choose", "count", "report"]
    assert sorted(path.name for path in (words.out / "words").iterdir()) == ["0.txt", "1.txt"]
    words.options["letter"] = "x"
    words.pipeline.run()
    assert not (words.out / "chosen").exists()


def test_a_step_that_gives_the_same_leaves_those_after_it(words: Words):
    words.pipeline.run()
    words.done.clear()
    words.text.write_text("one  two  three  four")
    words.pipeline.run()
    assert words.done == ["split"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("other")])
def test_a_product_that_is_gone_or_changed_is_made_again(words: Words, harm: Callable[[Path], Any]):
    words.pipeline.run()
    before = tree(words.out)
    words.done.clear()
    harm(words.out / "words" / "1.txt")
    assert words.pipeline.status()[0].state == "to do"
    words.pipeline.run()
    assert words.done == ["split"] and tree(words.out) == before


def test_steps_by_name(words: Words):
    assert [status.name for status in words.pipeline.run("choose")] == ["split", "choose"]
    words.pipeline.run()
    words.done.clear()
    words.pipeline.run("choose")
    assert words.done == []
    words.pipeline.run("choose", redo=True)
    assert words.done == ["choose"]
    words.done.clear()
    words.pipeline.run(since="choose")
    assert words.done == ["choose", "report"]
    with pytest.raises(ValueRangeError, match="split, choose, count, report"):
        words.pipeline.run("chose")


def test_what_failed_is_said_and_the_rest_goes_on(words: Words):
    def fail(_: Work) -> None:
        raise MissingFileError("no dictionary")

    words.replaced["choose"] = fail
    states = {status.name: status for status in words.pipeline.run()}
    assert states["choose"].state == "failed" and states["choose"].reason == "no dictionary"
    assert states["report"].state == "done"
    assert "choose: failed no dictionary" in (words.out / "report.txt").read_text()
    words.done.clear()
    words.pipeline.run()
    assert words.done == ["choose"]  # tried again; the report would say the same
    words.done.clear()
    del words.replaced["choose"]
    assert [status.state for status in words.pipeline.run()] == ["done"] * 4
    assert words.done == ["choose", "report"]


@pytest.mark.parametrize(
    ("error", "state", "blocked"), [(BatxError, "failed", "blocked"), (SkippedError, "skipped", "skipped")]
)
def test_what_needs_a_step_that_is_not_done(words: Words, error: type[BatxError], state: str, blocked: str):
    def stop(work: Work) -> None:
        work.output("half.txt").write_text("half")
        raise error("no words")

    words.replaced["split"] = stop
    found = words.pipeline.run()
    assert [status.state for status in found] == [state, *[blocked] * 3]
    assert found[1].reason == "needs split: no words"
    assert not (words.out / "half.txt").exists()


def test_products_stay_while_a_step_that_they_need_fails(words: Words):
    """Hours of work are not lost for a tool that is away for a day; what is read is never of before."""

    def away(_: Work) -> None:
        raise BatxError("no tool")

    words.pipeline.run()
    count = (words.out / "count.json").read_bytes()
    words.replaced["split"] = away
    text = words.text.read_text()
    words.text.write_text("five six")
    found = {status.name: status for status in words.pipeline.run()}
    assert found["split"].state == "failed" and not (words.out / "words").exists()
    assert found["count"].state == "blocked" and found["count"].reason == "needs split: no tool"
    assert found["count"].notes == ("what is there is of an earlier run",) and not found["count"].products
    assert (words.out / "count.json").read_bytes() == count
    assert [status.state for status in words.pipeline.status()] == ["failed", "to do", "to do", "to do"]
    # back to what it was: nothing that is there is made again
    words.replaced.clear()
    words.text.write_text(text)
    words.done.clear()
    assert [status.state for status in words.pipeline.run()] == ["done"] * 4
    assert words.done == ["split"]
    # otherwise it is
    words.text.write_text("five six")
    words.done.clear()
    words.pipeline.run()
    assert words.done == ["split", "choose", "count", "report"]
    assert json.loads((words.out / "count.json").read_text()) == {"words": 2}


def test_other_errors_end_the_run_and_the_next_goes_on(words: Words):
    def break_off(_: Work) -> None:
        raise ZeroDivisionError

    words.replaced["count"] = break_off
    with pytest.raises(ZeroDivisionError):
        words.pipeline.run()
    assert [status.state for status in words.pipeline.status()] == ["done", "done", "to do", "to do"]
    words.done.clear()
    words.replaced.clear()
    words.pipeline.run()
    assert words.done == ["count", "report"]


def test_what_a_step_reads_may_be_told_by_texts(tmp_path: Path):
    state, done = {"size": "1"}, []
    step = Step("a", "a", lambda _: done.append(1), outside=lambda _: state)
    pipeline = Pipeline("p", [step], tmp_path / "out")
    pipeline.run()
    pipeline.run()
    assert len(done) == 1
    state["size"] = "2"
    assert pipeline.status()[0].reason == "file size changed"
    pipeline.run()
    assert len(done) == 2


def test_warnings_are_kept_as_notes(words: Words):
    def warn(_: Work) -> None:
        warnings.warn("odd words", BatxWarning, stacklevel=1)
        warnings.warn("odd words", BatxWarning, stacklevel=1)

    words.replaced["count"] = warn
    assert words.pipeline.run()[2].notes == ("warning: odd words",)


def test_partial_results_are_kept_for_the_next_run(words: Words):
    def slow(work: Work) -> None:
        part = work.scratch / "part"
        if not part.exists():
            part.write_text("half")
            raise KeyboardInterrupt
        work.output("whole").write_text(part.read_text() + "whole")

    words.replaced["count"] = slow
    with pytest.raises(KeyboardInterrupt):
        words.pipeline.run()
    assert words.pipeline.run()[2].state == "done"
    assert (words.out / "whole").read_text() == "halfwhole"
    assert not list((words.out / ".batx" / "scratch").glob("*/*"))


def test_progress(words: Words):
    seen: list[tuple[str, str, str]] = []
    words.pipeline.run("choose", progress=lambda one: seen.append((one.name, one.state, one.reason)))
    assert seen == [
        ("split", "running", "split"),
        ("split", "done", ""),
        ("choose", "running", "choose words"),
        ("choose", "done", ""),
    ]


def test_other_folders_are_refused(words: Words):
    words.out.mkdir()
    (words.out / "mine.txt").write_text("mine")
    with pytest.raises(WriteError, match="not empty"):
        words.pipeline.run()
    (words.out / "mine.txt").unlink()
    words.pipeline.run()
    with pytest.raises(WriteError, match="'words', not of 'other'"):
        Pipeline("other", [], words.out).run()


def test_a_folder_that_cannot_be_made_is_said(words: Words):
    words.out.write_text("a file")
    with pytest.raises(WriteError, match="cannot make the folder"):
        words.pipeline.run()
    assert words.out.read_text() == "a file"


def test_a_file_that_the_step_did_not_make_is_not_replaced(words: Words):
    words.pipeline.run("split")
    (words.out / "count.json").write_text("mine")
    with pytest.raises(WriteError, match=r"count\.json exists and was not made by the step 'count'"):
        words.pipeline.run()
    assert (words.out / "count.json").read_text() == "mine"


def test_two_runs_at_once_are_refused(words: Words):
    words.pipeline.run("split")
    with locked(words.out / ".batx" / "lock"), pytest.raises(WriteError, match="another run is at work"):
        words.pipeline.run()
    words.pipeline.run()


def test_options_and_steps_are_checked(tmp_path: Path):
    step = Step("a", "a", lambda _: None, options=["x"])
    with pytest.raises(ValueRangeError, match="'x'"):
        Pipeline("p", [step], tmp_path)
    with pytest.raises(ValueRangeError, match="twice"):
        Pipeline("p", [step, step], tmp_path, {"x": 1})
    with pytest.raises(ValueRangeError, match="JSON"):
        Pipeline("p", [step], tmp_path, {"x": object()})


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_pipelines import Words, tree
os.fsync = lambda descriptor: None  # a kill of the process loses nothing that was not flushed

root = Path(sys.argv[1])

def prepare(name):
    folder = root / name
    folder.mkdir()
    (folder.parent / "words.txt").write_text("one two three four")
    words = Words(folder, text=str(folder.parent / "words.txt"), letter="t")
    words.pipeline.run()
    (folder.parent / "words.txt").write_text("one two three four five six")
    words.options["letter"] = "o"
    return words

def run_until(words, number):
    # the process ends at the given change of the file system
    child = os.fork()
    if child == 0:
        left = [number]
        def mortal(function):
            def call(*args, **options):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return function(*args, **options)
            return call
        for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
            setattr(os, name, mortal(getattr(os, name)))
        words.pipeline.run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

whole = prepare("whole")
whole.pipeline.run()
expected = tree(whole.out)
number = 0
while True:
    words = prepare(str(number))
    code = run_until(words, number)
    words.done.clear()
    assert [status.state for status in words.pipeline.run()] == ["done"] * 4
    found = tree(words.out)
    assert found == expected, (number, set(found) ^ set(expected))
    number += 1
    if code == 0:
        break
print(number)
"""


def test_after_a_kill_at_any_place_the_next_run_gives_the_same(tmp_path: Path):
    code = KILLED.format(tests=str(Path(__file__).parent))
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 30


@pytest.mark.parametrize("name", ["../victim.txt", "{folder}/victim.txt", "link/victim.txt"])
def test_a_record_cannot_name_files_elsewhere(words: Words, tmp_path: Path, name: str):
    words.pipeline.run()
    victim = tmp_path / "victim.txt"
    victim.write_text("of somebody")
    (words.out / "link").symlink_to(tmp_path)
    record = words.out / ".batx" / "steps" / "count.json"
    held = json.loads(record.read_text())
    held["products"][name.format(folder=tmp_path)] = ""
    record.write_text(json.dumps(held))
    with pytest.raises(WriteError, match="was not made by the step"):
        words.pipeline.run()
    (words.out / "count.json").unlink()
    words.pipeline.run()
    assert victim.read_text() == "of somebody"


def test_what_the_system_refuses_is_said(words: Words):
    words.pipeline.run()
    (words.out / "chosen" / "two").unlink()
    (words.out / "chosen" / "three").unlink()
    (words.out / "chosen").rmdir()
    (words.out / "chosen").write_text("a file")
    with pytest.raises(WriteError, match="cannot write"):
        words.pipeline.run()

    def full(work: Work) -> None:
        raise OSError(28, "No space left on device", "words/0.txt")

    words.replaced["split"] = full
    with pytest.raises(WriteError, match=r"step 'split'.*No space left"):
        words.pipeline.run(since="split")
