"""Calls of mission tools that behave in every way that tools do."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
import stand_ins
from astropy.io import fits
from stand_ins import TASKS, mark_of, template

from batx.errors import (
    FileFormatError,
    MissingFileError,
    ParameterError,
    ToolError,
    ToolMissingError,
    WriteError,
)
from batx.heasoft import Result, Task, run
from batx.heasoft.copies import copy_file


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "in [1], odd+name.fits"
    path.write_bytes(template())
    return path


def alive(pattern: str) -> list[str]:
    """Command lines of running processes that hold a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if pattern in line and int(entry.name) != os.getpid():
                found.append(f"{entry.name}: {line}")
    return found


def go(tool: str, infile: Path, outfile: Path, **options: object) -> Result:
    return run(TASKS[tool], infile=infile, outfile=outfile, **options)


def test_a_good_tool(headas: Path, infile: Path, tmp_path: Path):
    before = infile.read_bytes()
    result = go("goodtool", infile, tmp_path / "out.fits", mark=42)
    assert result["outfile"] == tmp_path / "out.fits"
    assert mark_of(result["outfile"]) == 42
    assert "mark 42" in result.log
    assert result.log_file is not None and "mark 42" in result.log_file.read_text()
    assert result.version.startswith("HEASoft 6.99 ")
    assert result.parameters["level"] == "1.5" and result.parameters["mark"] == "42"
    assert result.values["mark"] == "42"
    assert infile.read_bytes() == before
    assert not list((tmp_path / ".batx" / "calls" / "work").iterdir())
    assert not list(tmp_path.glob(".batx/calls/*.lock"))


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("failtool", ["return code 3", "no such extension"]),
        ("emptytool", ["return code 0, but its output outfile", "is not there", "done"]),
        ("prompttool", ["return code 4"]),
        ("halftool", ["signal 9"]),
        ("cuttool", ["return code 0, but its output outfile", "cut short"]),
    ],
)
def test_failures(headas: Path, infile: Path, tmp_path: Path, tool: str, words: list[str]):
    with pytest.raises(ToolError) as caught:
        go(tool, infile, tmp_path / "out.fits")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert isinstance(caught.value.result, Result)
    assert not (tmp_path / "out.fits").exists()
    assert caught.value.result.log_file.is_file()
    assert not list((tmp_path / ".batx" / "calls" / "work").iterdir())


def test_a_hang_is_ended_with_all_children(headas: Path, infile: Path, tmp_path: Path):
    begin = time.monotonic()
    with pytest.raises(ToolError, match=r"did not end within 0\.5 s"):
        go("hangtool", infile, tmp_path / "out.fits", timeout=0.5, mark=40001)
    assert time.monotonic() - begin < 10
    assert not alive("sleep 40001")


def test_what_a_tool_leaves_running_is_ended(headas: Path, infile: Path, tmp_path: Path):
    assert go("leavetool", infile, tmp_path / "out.fits", mark=40002)["outfile"].is_file()
    assert not alive("sleep 40002")


def test_of_a_flood_the_ends_are_kept(headas: Path, infile: Path, tmp_path: Path):
    result = go("floodtool", infile, tmp_path / "out.fits", log_limit=20000)
    assert result.log.startswith("first\n") and result.log.endswith("last\n")
    assert "bytes of output left out" in result.log
    assert len(result.log) < 21000
    assert result["outfile"].is_file()


def test_what_is_edited_is_a_copy(headas: Path, infile: Path, tmp_path: Path):
    before = infile.read_bytes()
    result = run(TASKS["edittool"], infile=infile, mark=7, outputs={"infile": tmp_path / "new.fits"})
    assert mark_of(result["infile"]) == 7
    assert infile.read_bytes() == before
    with pytest.raises(ParameterError, match="outputs="):
        run(TASKS["edittool"], infile=infile, mark=7)
    with pytest.raises(WriteError, match="inputs are never changed"):
        run(TASKS["edittool"], infile=infile, outputs={"infile": infile})
    assert infile.read_bytes() == before


def test_a_tool_that_changes_its_input_fails(headas: Path, infile: Path, tmp_path: Path):
    before, state = infile.read_bytes(), infile.stat()
    with pytest.raises(ToolError, match=r"changed its input .*odd\+name.fits.*only a copy"):
        go("rudetool", infile, tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()
    assert infile.read_bytes() == before and infile.stat().st_mtime_ns == state.st_mtime_ns


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    "harm", ['rm "$infile"', 'echo >> "$infile"', 'mv "$outfile" "$infile"; fits "$outfile"']
)
def test_no_tool_reaches_the_file_itself(
    headas: Path, infile: Path, tmp_path: Path, harm: str, absolute: bool
):
    plain = tmp_path / "plain.fits"
    infile.rename(plain)
    plain.chmod(0o400)
    before = plain.read_bytes()
    stand_ins.add_tool(headas, "harmtool", stand_ins.IN_OUT, f'fits "$outfile"; {harm}\n')
    task = Task("harmtool", inputs=("infile",), outputs={"outfile": "fits"}, absolute=absolute)
    with pytest.raises(ToolError, match="changed its input"):
        run(task, infile=plain, outfile=tmp_path / "o")
    assert plain.read_bytes() == before and not (tmp_path / "o").exists()


FOLDER_IN = 'indir,f,a,"",,,"Input folder"\noutfile,f,a,"",,,"Output file"\n'


@pytest.fixture
def observation(tmp_path: Path) -> Path:
    """Return a folder with files, a folder, and links to both of them."""
    folder = tmp_path / "00012345678"
    (folder / "auxil").mkdir(parents=True)
    for name in ("a.evt", "auxil/att.fits", ".hidden"):
        (folder / name).write_bytes(template())
    (folder / "near.evt").symlink_to("a.evt")
    (folder / "auxil" / "up.evt").symlink_to(folder / "a.evt")
    (folder / "bat").symlink_to("auxil")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and ".batx" not in path.parts]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        'echo more >> "$indir/a.evt"',
        'echo more >> "$indir/auxil/up.evt"',
        'rm "$indir/bat/att.fits"',
        'mv "$indir/auxil" "$indir/moved"; rm "$indir/near.evt"',
        'fits "$indir/new.fits"; chmod -R a-w "$indir"',
        'echo more >> "$(readlink -f "$indir")/a.evt"',
    ],
)
def test_what_is_changed_in_a_folder_is_a_copy(
    headas: Path, observation: Path, tmp_path: Path, change: str, absolute: bool
):
    script = f'test -f "$indir/.hidden" && {change} && fits "$outfile" 00000005\n'
    stand_ins.add_tool(headas, "intool", FOLDER_IN, script)
    task = Task("intool", inputs=("indir",), outputs={"outfile": "fits"}, absolute=absolute)
    before = contents(observation)
    assert mark_of(run(task, indir=observation, outfile=tmp_path / "o.fits")["outfile"]) == 5
    assert contents(observation) == before
    assert run(task, indir=observation, outfile=tmp_path / "o.fits").cached
    assert not list((tmp_path / ".batx" / "calls" / "work").iterdir())


@pytest.mark.parametrize("answer", ["refused", "nothing", "half"])
def test_copies_where_the_system_does_not_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str):
    real = os.copy_file_range

    def copied(source: int, target: int, count: int) -> int:
        if answer == "half" and os.lseek(source, 0, os.SEEK_CUR) == 0:
            return real(source, target, count // 2)
        if answer == "nothing":
            return 0
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", copied)
    (tmp_path / "a").write_bytes(template())
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == template()


def test_a_folder_that_is_edited(headas: Path, observation: Path, tmp_path: Path):
    stand_ins.add_tool(headas, "dirtool", 'indir,f,a,"",,,"Folder"\n', 'fits "$indir/a.evt" 00000008\n')
    before = contents(observation)
    result = run(Task("dirtool", edits=("indir",)), indir=observation, outputs={"indir": tmp_path / "new"})
    assert mark_of(result["indir"] / "near.evt") == 8 and contents(observation) == before


def test_outputs_in_an_input_folder(headas: Path, observation: Path):
    options = {"indir": observation, "outdir": observation / "products"}
    for cached in (False, True, True):
        result = run(TASKS["foldertool"], **options)
        assert result.cached == cached and len(result.products["images"]) == 2
    beside = {"indir": observation, "outdir": observation / "more", "records": observation / "records"}
    assert [run(TASKS["foldertool"], **beside).cached for _ in range(2)] == [False, True]
    shutil.rmtree(observation / "records")
    shutil.rmtree(observation / "more")
    # what was made before is no input of the next call: it sees neither that nor its own records
    script = 'ls -A "$indir"; mkdir "$outdir"; fits "$outdir/1.img"\n'
    stand_ins.add_tool(headas, "foldertool", stand_ins.TOOLS["foldertool"][0], script)
    again = run(TASKS["foldertool"], **options, overwrite=True)
    assert again.log.split() == [".hidden", "a.evt", "auxil", "bat", "near.evt"]


def test_links_out_of_a_folder_are_not_followed(
    headas: Path, observation: Path, infile: Path, tmp_path: Path
):
    options = {"indir": observation, "outdir": tmp_path / "made"}
    for link, target in (("out.evt", infile), ("up", ".."), ("gone", "/nowhere/at/all"), ("root", "/etc")):
        (observation / link).symlink_to(target)
        with pytest.raises(FileFormatError, match=rf"link that leads out of it \({link} -> .*cp -rL"):
            run(TASKS["foldertool"], **options)
        (observation / link).unlink()
    os.mkfifo(observation / "pipe")
    with pytest.raises(FileFormatError, match="neither a file nor a folder"):
        run(TASKS["foldertool"], **options)
    assert not list((tmp_path / ".batx" / "calls" / "work").iterdir())


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", ["response.rmf", "r" * 90 + ".rmf", "a [b] c.rmf"])
def test_names_that_are_written_into_products_are_the_own_ones(
    headas: Path, tmp_path: Path, name: str, absolute: bool
):
    """The tool gets a copy all the same, and cannot change the file itself."""
    script = """[ ${#infile} -le 68 ] || exit 8
card=$(printf "RESPFILE= '%s'" "$infile")
fits "$outfile"; LC_ALL=C sed -i "s|^\\(.\\{320\\}\\).\\{80\\}|\\1$(printf '%-80s' "$card")|" "$outfile"
echo "PATH $infile" > list.SAS; echo >> "$infile"; echo "got $infile"
"""
    stand_ins.add_tool(headas, "nametool", stand_ins.IN_OUT, script)
    path = tmp_path / name
    path.write_bytes(template())
    task = Task(
        "nametool",
        inputs=("infile",),
        outputs={"outfile": "fits"},
        products={"list": ("*.SAS",)},
        named=("infile",),
        absolute=absolute,
    )
    options = {"infile": path, "outfile": tmp_path / "o", "into": tmp_path}
    with pytest.raises(ToolError, match=r"changed its input .*only a copy"):
        run(task, **options)
    stand_ins.add_tool(headas, "nametool", stand_ins.IN_OUT, script.replace('echo >> "$infile"; ', ""))
    result = run(task, **options)
    assert f"got {path}" not in result.log and path.read_bytes() == template()
    with fits.open(result["outfile"]) as hdus:
        assert hdus[0].header["RESPFILE"] == str(path)
    if absolute:
        assert result.products["list"][0].read_text() == f"PATH {path}\n"
    assert run(task, **options).cached


def test_wrong_parameters_are_refused_before_the_run(headas: Path, infile: Path, tmp_path: Path):
    for wrong, words in (
        ({"marc": 1}, "no parameter 'marc'; did you mean mark"),
        ({"mark": "many"}, "mark = 'many', expected a number of type integer"),
        ({"mark": -1}, "at least 0"),
        ({"level": 11}, "at most 10"),
        ({"kind": "PHI"}, "one of LC, PHA, DPI; did you mean PHA"),
        ({"clobber": "perhaps"}, "expected yes or no"),
        ({"mark": 1, "MARK": 2}, "twice"),
        ({"kind": "a\nb"}, "control characters"),
    ):
        with pytest.raises(ParameterError, match=words):
            go("goodtool", infile, tmp_path / "out.fits", **wrong)
    with pytest.raises(ParameterError, match="goodtool needs outfile"):
        run(TASKS["goodtool"], infile=infile)
    with pytest.raises(MissingFileError, match="no file"):
        go("goodtool", tmp_path / "nothing.fits", tmp_path / "out.fits")
    with pytest.raises(MissingFileError, match="create it first"):
        go("goodtool", infile, tmp_path / "nowhere" / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_odd_requests_are_refused(headas: Path, infile: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    out = tmp_path / "out.fits"
    for error, words, wrong in (
        (FileFormatError, "neither a file nor a folder", {"infile": tmp_path / "pipe"}),
        (FileFormatError, "neither a file nor a folder", {"infile": "/dev/null"}),
        (ParameterError, "name of a file", {"outfile": "a\nb.fits"}),
        (ParameterError, "name of a file", {"outfile": "!"}),
        (ParameterError, "timeout", {"timeout": "soon"}),
        (ParameterError, "timeout", {"timeout": 0}),
        (ParameterError, "timeout", {"timeout": float("nan")}),
        (ParameterError, "timeout", {"timeout": True}),
        (ParameterError, "options", {"options": "-V 4"}),
        (ParameterError, "environment", {"environment": 3}),
        (ParameterError, "name of a file", {"outfile": tmp_path / ("n" * 256)}),
        (MissingFileError, "no file", {"infile": "n" * 300}),
        (WriteError, "neither a file nor a folder", {"outfile": tmp_path / "pipe", "overwrite": True}),
        (ParameterError, "log_limit", {"log_limit": -1}),
        (ParameterError, "environment", {"environment": {"A": 1}}),
        (ParameterError, "environment", {"environment": {"A=B": "1"}}),
        (ParameterError, "does not change out in place", {"outputs": {"out": "a"}}),
        (ParameterError, "into= has no meaning", {"into": tmp_path}),
        (ParameterError, "one file for infile", {"infile": [infile, infile]}),
        (MissingFileError, "no list of files", {"infile": "@nowhere.lis"}),
        (WriteError, "inputs are never changed", {"outfile": infile}),
    ):
        with pytest.raises(error, match=words):
            run(TASKS["goodtool"], **{"infile": infile, "outfile": out, **wrong})
    assert not out.exists()


def test_lists_of_files(headas: Path, infile: Path, tmp_path: Path):
    task = Task("listtool", inputs=("infile",), lists=("infile",), outputs={"outfile": "fits"})
    stand_ins.add_tool(headas, "listtool", stand_ins.IN_OUT, 'cat "${infile#@}"; fits "$outfile"\n')
    (tmp_path / "some.lis").write_text(f"# files\n{infile}[1]\n\n{infile}\n")
    for files in ([infile, infile], f"@{tmp_path / 'some.lis'}"):
        result = run(task, infile=files, outfile=tmp_path / "out.fits", overwrite=True)
        assert result.log.count("in__1___odd_name.fits") == 2, result.log
    assert "[1]" in result.log


def test_folders_whose_names_tools_cannot_read(headas: Path, infile: Path, tmp_path: Path):
    folder = tmp_path / "a b; c:d [e]"
    folder.mkdir()
    result = go("goodtool", infile, folder / "out (1), of+many.fits", mark=12)
    assert mark_of(folder / "out (1), of+many.fits") == 12
    assert result.values["outfile"] == "out__1___of_many.fits"
    assert go("goodtool", infile, folder / "out (1), of+many.fits", mark=12).cached
    assert not list(folder.glob(".batx/calls/work/*"))


def test_a_tool_that_removes_its_input_fails(headas: Path, infile: Path, tmp_path: Path):
    stand_ins.add_tool(
        headas, "thieftool", stand_ins.IN_OUT, 'fits "$outfile"; rm "$(readlink -f "$infile")"\n'
    )
    with pytest.raises(ToolError, match="changed its input"):
        run(
            Task("thieftool", inputs=("infile",), outputs={"outfile": "fits"}),
            infile=infile,
            outfile=tmp_path / "o",
        )


def test_a_file_without_end_is_limited(headas: Path, infile: Path, tmp_path: Path):
    stand_ins.add_tool(headas, "bigtool", stand_ins.IN_OUT, 'cat /dev/zero > "$outfile"; exit 5\n')
    task = Task("bigtool", inputs=("infile",), outputs={"outfile": "fits"})
    with pytest.raises(ToolError, match="return code 5"):
        run(task, infile=infile, outfile=tmp_path / "o", file_limit=100000, timeout=30)


def test_names_of_the_private_folder_do_not_stay(headas: Path, observation: Path, tmp_path: Path):
    """Links to inputs and outputs, and names in texts, hold after the private folder is gone."""
    script = """mkdir "$outdir"; fits "$outdir/a.img"; ln -s "$indir/auxil" "$outdir/auxil"
ln -s "$outdir/a.img" "$outdir/b"; ln -s a.img "$outdir/c"
echo "$indir/a.evt $outdir/a.img" > "$outdir/log"
"""
    stand_ins.add_tool(headas, "foldertool", stand_ins.TOOLS["foldertool"][0], script)
    out = run(TASKS["foldertool"], indir=observation, outdir=tmp_path / "made")["outdir"]
    assert (out / "auxil").readlink() == observation / "auxil" and (out / "auxil" / "att.fits").is_file()
    assert (out / "b").readlink() == out / "a.img" and (out / "c").readlink() == Path("a.img")
    assert (out / "log").read_text() == f"{observation}/a.evt {out}/a.img\n"


def test_of_files_that_the_tool_names_none_is_moved_if_one_is_there(
    headas: Path, infile: Path, tmp_path: Path
):
    stand_ins.add_tool(headas, "manytool", 'infile,f,a,"",,,"In"\n', "fits a.img; fits b.img 00000002\n")
    task = Task("manytool", inputs=("infile",), products={"images": ("*.img",)})
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "b.img").write_text("mine")
    with pytest.raises(WriteError, match=r"b\.img exists.*overwrite=True"):
        run(task, infile=infile, into=tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").glob("*.img")] == ["b.img"]
    assert (tmp_path / "made" / "b.img").read_text() == "mine"
    made = run(task, infile=infile, into=tmp_path / "made", overwrite=True).products["images"]
    assert [mark_of(path) for path in made] == [1, 2]


def test_a_full_disk(
    headas: Path, observation: Path, infile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was there stays, nothing is left lying about, and the reason is told."""
    from batx.heasoft import copies, making, publishing

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    options = {"indir": observation, "outdir": tmp_path / "made"}
    run(TASKS["foldertool"], **options)
    before = contents(tmp_path / "made")
    for module, name, words in (
        (publishing, "_move", "cannot write .*made: No space left"),
        (copies, "copy_file", r"No space left on device \(somewhere\); give records="),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises((ToolError, WriteError), match=words):
                run(TASKS["foldertool"], **options, again=True)
        assert contents(tmp_path / "made") == before
    with monkeypatch.context() as patch:
        patch.setattr(making, "write_private", lambda *_: full())
        with pytest.raises(OSError, match="No space left"):
            run(TASKS["goodtool"], infile=infile, outfile=tmp_path / "o.fits")
    with monkeypatch.context() as patch:
        patch.setattr(making, "_ROOM", 2**62)
        with pytest.raises(ToolError, match=r"return code 3; the disk of .* is full; it said last"):
            go("failtool", infile, tmp_path / "o.fits")
    names = {path.name for path in tmp_path.iterdir()}
    assert not {name for name in names if name.startswith(".batx-")} and "o.fits" not in names
    assert not list((tmp_path / ".batx" / "calls" / "work").iterdir())


def test_a_link_is_no_output(headas: Path, infile: Path, tmp_path: Path):
    stand_ins.add_tool(headas, "linktool", stand_ins.IN_OUT, 'ln -s /etc/hostname "$outfile"\n')
    with pytest.raises(ToolError, match="only a link"):
        run(
            Task("linktool", inputs=("infile",), outputs={"outfile": "any"}),
            infile=infile,
            outfile=tmp_path / "o",
        )


def test_without_the_software(infile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HEADAS", raising=False)
    with pytest.raises(ToolMissingError, match=r"headas-init\.sh"):
        go("goodtool", infile, tmp_path / "out.fits")
