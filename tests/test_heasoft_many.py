"""Many calls of mission tools, calls made again, and calls whose parent is killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from stand_ins import TASKS, mark_of, template
from test_heasoft_runs import alive

from batx.errors import BatxError, ParameterError, ToolError, WriteError
from batx.heasoft import DryRun, Recorder, Replay, Subprocess, Task, request, run, run_many, tools
from batx.heasoft.locks import FileLock, sweep
from batx.heasoft.making import _workshop


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "in.fits"
    path.write_bytes(template())
    return path


def test_a_working_folder_waits_for_who_looks_whether_it_is_left_over(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("batx.heasoft.making.secrets.token_hex", lambda _: "0")
    other = FileLock(tmp_path / "work-0.lock")
    assert other.acquire()
    threading.Timer(0.2, other.release).start()
    with _workshop(tmp_path) as folder:
        assert folder == tmp_path / "work-0" and folder.is_dir()
        assert sweep(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob(".batx/calls/*.json"))]


def runs(tool: str, infile: Path, folder: Path, count: int, **options: object) -> list:
    folder.mkdir(exist_ok=True)
    return [
        request(TASKS[tool], infile=infile, outfile=folder / f"{i}.fits", mark=i, **options)
        for i in range(count)
    ]


def test_200_parallel_calls_do_not_cross(headas: Path, infile: Path, tmp_path: Path):
    seen = []
    calls = runs("goodtool", infile, tmp_path / "out", 200)
    results = run_many(calls, workers=16, progress=lambda done, total, result: seen.append((done, total)))
    assert [mark_of(result["outfile"]) for result in results] == list(range(200))
    assert all(f"mark {i}\n" in result.log for i, result in enumerate(results))
    assert seen == [(i, 200) for i in range(1, 201)]
    assert "PFILES" not in os.environ
    again = run_many(calls, workers=2)
    assert all(result.cached for result in again)
    assert [result.outputs for result in again] == [result.outputs for result in results]


def test_processes(headas: Path, infile: Path, tmp_path: Path):
    calls = runs("goodtool", infile, tmp_path / "out", 4)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        results = run_many(calls, executor=pool)
    assert [mark_of(result["outfile"]) for result in results] == [0, 1, 2, 3]


def test_one_failure_among_many(headas: Path, infile: Path, tmp_path: Path):
    calls = runs("goodtool", infile, tmp_path / "out", 6)
    bad = request(TASKS["failtool"], infile=infile, outfile=tmp_path / "out" / "bad.fits")
    calls.insert(2, bad)
    found = run_many(calls, workers=2, errors="return")
    assert isinstance(found[2], ToolError)
    assert [mark_of(one["outfile"]) for one in found if not isinstance(one, BatxError)] == list(range(6))
    with pytest.raises(ToolError, match="return code 3"):
        run_many(calls, workers=1)
    for wrong in ({"workers": 0}, {"errors": "ignore"}):
        with pytest.raises(ParameterError):
            run_many(calls, **wrong)


def test_a_call_is_made_again_only_if_something_changed(headas: Path, infile: Path, tmp_path: Path):
    def go(**options):
        return run(TASKS["goodtool"], infile=infile, outfile=tmp_path / "a.fits", **options)

    assert not go(mark=1).cached
    assert go(mark=1).cached and go(mark="1", level=1.5).cached
    assert not go(mark=1, again=True).cached
    # another request, over what the first one made: only if that is asked for
    with pytest.raises(WriteError, match="overwrite=True"):
        go(mark=2)
    assert mark_of(go(mark=2, overwrite=True)["outfile"]) == 2
    # the first request again: its output is not as it was
    with pytest.raises(WriteError):
        go(mark=1)
    assert mark_of(go(mark=1, overwrite=True)["outfile"]) == 1
    # the same name with another content
    infile.write_bytes(template() + bytes(2880))
    assert not go(mark=1, overwrite=True).cached
    # another version of the tool
    program = headas / "bin" / "goodtool"
    program.write_text(program.read_text() + "# newer\n")
    assert not go(mark=1, overwrite=True).cached
    (tmp_path / "a.fits").unlink()
    assert not go(mark=1).cached
    # a record that is cut short is no record
    for record in tmp_path.glob(".batx/calls/*.json"):
        record.write_text(record.read_text()[:50])
    with pytest.raises(WriteError):
        go(mark=1)


def test_what_a_record_says(headas: Path, infile: Path, tmp_path: Path):
    result = run(
        TASKS["envtool"],
        infile=infile,
        outfile=tmp_path / "a.fits",
        environment={"MY_WORD": "opensesame", "CALDB": "https://user:pa55word@host/caldb"},
    )
    (record,) = records(tmp_path)
    assert record["state"] == "done" and record["task"] == "envtool" and record["version"] == result.version
    assert record["inputs"]["infile"][0]["sha256"] and record["outputs"]["outfile"][0]["bytes"] == 8640
    assert record["parameters"]["level"] == "1.5" and record["environment"] == ["CALDB", "MY_WORD"]
    for text in (result.log, json.dumps(record), result.log_file.read_text(), repr(result)):
        assert "opensesame" not in text and "pa55word" not in text
    # the tool had them, and what it needs to keep to itself, and nothing of ours
    assert "MY_WORD=[MY_WORD]" in result.log and "https://***@host/caldb" in result.log
    assert "HEADASNOQUERY=" in result.log and "PFILES=" in result.log
    assert "PYTEST_CURRENT_TEST" not in result.log
    for path in (tmp_path / ".batx", *(tmp_path / ".batx").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_folders_and_answers(headas: Path, infile: Path, tmp_path: Path):
    (tmp_path / "obs").mkdir()
    (tmp_path / "obs" / "a.evt").write_bytes(template())
    result = run(TASKS["foldertool"], indir=tmp_path / "obs", outdir=tmp_path / "made")
    assert sorted(path.name for path in result.products["images"]) == ["image_1.img", "image_2.img"]
    assert all(path.is_file() for path in result.products["images"])
    assert run(TASKS["foldertool"], indir=tmp_path / "obs", outdir=tmp_path / "made").cached
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    with pytest.raises(WriteError, match="no earlier call made it"):
        run(TASKS["foldertool"], indir=tmp_path / "obs", outdir=tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "precious").exists()
    (tmp_path / "obs" / "b.evt").write_bytes(template())
    assert not run(
        TASKS["foldertool"], indir=tmp_path / "obs", outdir=tmp_path / "made", overwrite=True
    ).cached
    answer = run(TASKS["answertool"], intime="600000000")
    assert answer.values["outtime"] == "2021-01-02" and not answer.outputs


def test_a_lock_left_behind_is_no_lock(headas: Path, infile: Path, tmp_path: Path):
    options = {"infile": infile, "outfile": tmp_path / "a.fits", "mark": 3}
    run(TASKS["goodtool"], **options)
    (tmp_path / "a.fits").unlink()
    (record,) = tmp_path.glob(".batx/calls/*.json")
    record.with_suffix(".lock").write_text("4194000")
    work = tmp_path / ".batx" / "calls" / "work"
    (work / "work-0").mkdir()
    (work / "work-0" / "half").touch()
    (work / "work-0.lock").touch()
    begin = time.monotonic()
    assert mark_of(run(TASKS["goodtool"], **options)["outfile"]) == 3
    assert time.monotonic() - begin < 5
    assert not list(work.iterdir()) and not list(tmp_path.glob(".batx/calls/*.lock"))


def test_the_same_call_twice_at_a_time_is_made_once(headas: Path, infile: Path, tmp_path: Path):
    call = request(TASKS["slowtool"], infile=infile, outfile=tmp_path / "a.fits", level=0.3)
    found = run_many([call, call, call], workers=3)
    assert sorted(result.cached for result in found) == [False, True, True]


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from stand_ins import TASKS
from batx.heasoft import Subprocess, request, run_many
backend = Subprocess({headas!r})
calls = [request(TASKS["goodtool"], infile={infile!r}, outfile={out!r} + f"/{{i}}.fits", mark=i,
                 backend=backend) for i in range(3)]
run_many(calls, workers=1)
print("ready", flush=True)
run_many([request(TASKS["hangtool"], infile={infile!r}, outfile={out!r} + f"/h{{i}}.fits", mark=50000 + i,
                  backend=backend) for i in range(2)], workers=2)
"""


def test_a_killed_parent_leaves_no_orphan_and_resumes(headas: Path, infile: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    text = PARENT.format(
        tests=str(Path(__file__).parent), headas=str(headas), infile=str(infile), out=str(out)
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
        wait_for(lambda: len(alive("sleep 5000")) >= 6)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not alive("sleep 5000") and not alive(str(headas)))
    assert sorted(path.name for path in out.glob("*.fits")) == ["0.fits", "1.fits", "2.fits"]
    work = out / ".batx" / "calls" / "work"
    assert len(list(work.glob("*.lock"))) == 2
    # the same again, and one more: only the new one is made, and what was left lying about is gone
    backend = Subprocess(headas)
    calls = [
        request(TASKS["goodtool"], infile=infile, outfile=out / f"{i}.fits", mark=i, backend=backend)
        for i in range(4)
    ]
    assert [result.cached for result in run_many(calls, workers=2)] == [True, True, True, False]
    assert not list(work.iterdir())


def test_an_interrupt_ends_what_runs(headas: Path, infile: Path, tmp_path: Path):
    calls = runs("hangtool", infile, tmp_path / "out", 2)
    calls[0] = request(TASKS["goodtool"], infile=infile, outfile=tmp_path / "out" / "a.fits")
    calls[1].given["mark"] = 60001

    def interrupt(*_: object) -> None:
        wait_for(lambda: alive("sleep 60001"))
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_many(calls, workers=2, progress=interrupt)
    assert not alive("sleep 60001") and time.monotonic() - begin < 60


def test_a_cluster(headas: Path, infile: Path, tmp_path: Path):
    from distributed import Client

    calls = runs("goodtool", infile, tmp_path / "out", 4)
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as client:
        results = run_many(calls, executor=client)
    assert [mark_of(result["outfile"]) for result in results] == [0, 1, 2, 3]


def test_the_calibration_counts(headas: Path, infile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    index = tmp_path / "caldb" / "data" / "swift" / "bat" / "caldb.indx"
    index.parent.mkdir(parents=True)
    index.write_text("1")
    monkeypatch.setenv("CALDB", str(tmp_path / "caldb"))
    options = {"infile": infile, "outfile": tmp_path / "a.fits", "overwrite": True}
    assert not run(TASKS["goodtool"], **options).cached
    assert run(TASKS["goodtool"], **options).cached
    index.write_text("2")
    assert not run(TASKS["goodtool"], **options).cached


EVSELECT = """<PARAM id="table" type="table" mandatory="yes" default=""/>
<PARAM id="rateset" type="dataset" mandatory="no" default=""/>
<PARAM id="timebinsize" type="real" mandatory="no" default="1"/>"""


def test_tasks_of_sas(sas_dir: Path, infile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import stand_ins

    script = 'echo "odf $SAS_ODF ccf $SAS_CCF verbose $1"; fits "$rateset" 00000033; echo x >> "${table%%:*}"'
    stand_ins.add_sas_task(sas_dir, "evselect", EVSELECT, script)
    monkeypatch.setenv("SAS_ODF", "/data/odf")
    before = infile.read_bytes()
    result = tools.evselect(
        table=f"{infile}:EVENTS",
        rateset=tmp_path / "rate.fits",
        timebinsize=10,
        options=["-V", "4"],
        environment={"SAS_CCF": str(tmp_path / "ccf.cif")},
    )
    assert mark_of(result["rateset"]) == 33 and infile.read_bytes() == before
    assert f"odf /data/odf ccf {tmp_path / 'ccf.cif'} verbose -V" in result.log
    assert result.version.startswith("SAS xmmsas_20990101_1200-99.0.0")
    assert "timebinsize=10" in result.command and result.command[3].endswith("in.fits:EVENTS")
    with pytest.raises(ParameterError, match="did you mean timebinsize"):
        tools.evselect(table=infile, timebin=3)
    stand_ins.add_sas_task(
        sas_dir, "epproc", '<PARAM id="x" type="string" default=""/>', "fits a_ImagingEvts.ds; echo > log.txt"
    )
    (tmp_path / "made").mkdir()
    found = tools.epproc(into=tmp_path / "made")
    assert [path.name for path in found.products["events"]] == ["a_ImagingEvts.ds"]
    assert tools.epproc(into=tmp_path / "made").cached
    with pytest.raises(ParameterError, match="into="):
        tools.epproc()


def wait_for(condition, limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def test_a_kill_while_outputs_are_moved_resumes(headas: Path, infile: Path, tmp_path: Path):
    options = {"infile": infile, "outfile": tmp_path / "a.fits", "mark": 5}
    run(TASKS["goodtool"], **options)
    (path,) = tmp_path.glob(".batx/calls/*.json")
    path.write_text(path.read_text().replace('"state": "done"', '"state": "moving"'))
    # what is there is ours, and may be replaced
    result = run(TASKS["goodtool"], **options)
    assert not result.cached and mark_of(result["outfile"]) == 5
    (path,) = tmp_path.glob(".batx/calls/*.json")
    path.write_text(path.read_text().replace('"state": "done"', '"state": "moving"'))
    (tmp_path / "a.fits").write_bytes(b"mine")
    with pytest.raises(WriteError):
        run(TASKS["goodtool"], **options)


def test_dry_runs_show_the_command(headas: Path):
    result = run(
        TASKS["goodtool"], infile="not there.fits", outfile="a.fits", mark=2, backend=DryRun(Subprocess())
    )
    assert result.command == ("goodtool", "infile=not there.fits", "outfile=a.fits", "mark=2")
    assert result.parameters["level"] == "1.5"
    with pytest.raises(ParameterError, match="did you mean mark"):
        run(TASKS["goodtool"], infile="a", outfile="b", marc=2, backend=DryRun(Subprocess()))


def test_recorded_calls_are_given_again(headas: Path, infile: Path, tmp_path: Path):
    recorder = Recorder(Subprocess(), tmp_path / "tape")
    for i in (1, 2):
        made = run(TASKS["goodtool"], infile=infile, outfile=tmp_path / f"{i}.fits", mark=i, backend=recorder)
    (headas / "bin" / "goodtool").unlink()
    replay = Replay(tmp_path / "tape")
    (tmp_path / "again").mkdir()
    given = run(
        TASKS["goodtool"], infile=infile, outfile=tmp_path / "again" / "2.fits", mark=2, backend=replay
    )
    assert given["outfile"].read_bytes() == made["outfile"].read_bytes()
    assert given.log == made.log and given.version == made.version
    with pytest.raises(ToolError, match=r"no recording of this call of goodtool; nearest: mark=3"):
        run(TASKS["goodtool"], infile=infile, outfile=tmp_path / "3.fits", mark=3, backend=replay)
    infile.write_bytes(template() + bytes(2880))
    with pytest.raises(ToolError, match="content of infile"):
        run(TASKS["goodtool"], infile=infile, outfile=tmp_path / "4.fits", mark=2, backend=replay)


def test_backends_of_others(monkeypatch: pytest.MonkeyPatch):
    from importlib import metadata

    class Mine(DryRun):
        name = "mine"

    class Entry:
        name = "mine"

        def __init__(self, made: object) -> None:
            self.made = made

        def load(self):
            return lambda: self.made

    def announced(made: object) -> None:
        found = {"batx.backends": [Entry(made)]}
        monkeypatch.setattr(metadata, "entry_points", lambda group: found.get(group, []))

    announced(Mine())
    assert run(Task("x"), backend="mine").backend == "mine"
    announced(object())
    with pytest.raises(ParameterError, match="entry point 'mine'"):
        run(Task("x"), backend="mine")


def test_backends_by_name():
    with pytest.raises(ParameterError, match="did you mean subprocess"):
        run(Task("x"), backend="subproces")
    with pytest.raises(ParameterError, match=r"expected a name or a batx\.heasoft\.Backend"):
        run(Task("x"), backend=object())
