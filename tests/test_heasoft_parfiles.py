"""Parameter files, the list of tools, and what keeps credentials out of logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batx.errors import BatxWarning, FileFormatError, MissingFileError, ParameterError
from batx.heasoft import Parameter, Sas, Task, tools
from batx.heasoft.parfiles import read_par, read_sas_par
from batx.heasoft.redact import redact
from batx.heasoft.tasklist import TASKS

#: lines as the tools of BAT, XRT and NuSTAR have them
REAL = r"""# General parameters
infile, s, a, "", , , "Input event file name(s), or @file.list "
outfile,f,a,,,,"Name of output file "
timedel,r, a, 1, 0, ,  "Histogram time bin size [sec] "
timepixr, r, h, -1.0, -1, 1, "Reference point (0.0=begin; 0.5=center; -1=default) "
tstart, s, h, "INDEF", , , "Histogram start time (MET, or INDEF) "
filtexpr, s, h, "(EVENT_FLAGS == 0) || (EVENT_FLAGS == 16)", , , "Event filtering expression (or NONE) "
maskoffx, r, h, +0.0, , ,   "Offset of mask in BAT_X (cm) "
buffersize, i, h, 16384, 8, 33554432, "Input read buffer size "
burst_tstart, r, h, INDEF,,,"Manual override (MET sec; or INDEF) "
orbmode,s,h,"TLE_TEXT2","TLE_TEXT2|TLE_FITS",,"Orbit mode"
insystem,s,a,"",m|MET|t|TT|u|UTC,,"Input system (MET, TT, UTC)"
rigfile,s,h,"$HEADAS/refdata/rigidity.data",,,"Name of the input atFunctions rigidity file""
#commented,s,h,"@x",,,""

outtime,s,hl,"",,,"Converted time (output)"
ebinquant, r, h, 0.1, 1e-6, 1e6, "Default energy bin quantization [keV] "
clobber, b, h, "NO", , , "Overwrite existing output file? "
mode,    s, h, "ql",   , , "Mode "
"""

#: tools that must be known
NAMES = (
    "bateconvert batdetmask bathotpix batmaskwtevt batmaskwtimg batbinevt battblocks batfftimage "
    "batcelldetect batclean batphasyserr batupdatephakw batphasimerr batdrmgen baterebin batsurvey "
    "batsurvey_catmux batsurvey_gti batsurvey_aspect batsurvey_detmask batgrbproduct batoccultmap "
    "batoccultgti swifttime ftgrouppha grppha ftmerge ftcoco ftsort ftcopy ftselect xrtpipeline "
    "xrtexpomap xrtproducts nupipeline nuproducts cifbuild odfingest epchain epproc merge evselect "
    "tabgtigen backscale arfgen rmfgen specgroup epatplot epiclccorr rgsproc rgscombine "
)


@pytest.fixture
def par(tmp_path: Path):
    path = tmp_path / "tool.par"
    path.write_text(REAL)
    return read_par(path)


def test_lines_of_real_files(par):
    assert len(par.parameters) == 16
    assert par["infile"].required and par["infile"].default is None
    assert par["outtime"].required is False
    assert par["timedel"] == Parameter(
        "timedel", "real", "1", minimum=0.0, required=True, prompt="Histogram time bin size [sec]"
    )
    assert (par["timepixr"].minimum, par["timepixr"].maximum) == (-1.0, 1.0)
    assert par["filtexpr"].default == "(EVENT_FLAGS == 0) || (EVENT_FLAGS == 16)"
    assert par["insystem"].choices == ("m", "MET", "t", "TT", "u", "UTC")
    assert par["ebinquant"].maximum == 1e6
    assert par["rigfile"].default == "$HEADAS/refdata/rigidity.data"
    assert "commented" not in par


def test_values_are_checked_and_written(par):
    given = {"infile": "a", "outfile": "b", "insystem": "met", "TIMEDEL": np.float64(0.064), "clobber": True}
    assert par.checked(given) == {
        "infile": "a",
        "outfile": "b",
        "timedel": "0.064",
        "insystem": "MET",
        "clobber": "yes",
    }
    assert par.complete({"infile": "a"})["timedel"] == "1"
    assert par["burst_tstart"].text("INDEF") == "INDEF"
    assert par["buffersize"].text(64.0) == "64"
    for name, value, words in (
        ("buffersize", 64.5, "integer"),
        ("buffersize", 7, "at least 8"),
        ("timedel", True, "number"),
        ("timedel", float("nan"), "finite"),
        ("timedel", "1e999", "finite"),
        ("clobber", 2, "yes or no"),
        ("tstart", object(), "text, a number"),
        ("tstart", "a\0b", "control"),
    ):
        with pytest.raises(ParameterError, match=words):
            par[name].text(value)
    with pytest.raises(ParameterError, match="needs outfile, insystem"):
        par.checked({"infile": "a"})
    with pytest.raises(ParameterError, match="did you mean timedel"):
        par.checked({"timedelta": 1})


def test_numbers_as_tools_write_and_read_them(tmp_path: Path):
    path = tmp_path / "odd.par"
    path.write_text(
        '\ufeffwidth,r,h,1.0D0,1.0D-3,1d3,"a width"\r\nblock,i,h,1,1|2|4,,"block"\r\n'
        "step,r,h,1.0,0.5|1.0|2.0,,\nrows,i,h,)block,1,9,\nlist,*struct,h,,,,\nset,pset,h,,,,\n",
        encoding="utf-8",
    )
    par = read_par(path)
    assert (par["width"].minimum, par["width"].maximum) == (1e-3, 1e3)
    assert par["width"].text(" 5D2 ") == "5D2" and par["rows"].text(")block") == ")block"
    assert par["step"].text(2) == "2.0" and par["block"].text(4.0) == "4"
    assert par["list"].type == par["set"].type == "text"
    for name, value, words in (
        ("width", "1_0", "number of type real"),
        ("width", "2d3", "at most 1000"),
        ("width", "１", "number of type real"),
        ("rows", "1_0", "number of type integer"),
        ("rows", "0x1", "number of type integer"),
        ("rows", "1.0", "number of type integer"),
        ("block", 3, "one of 1, 2, 4"),
    ):
        with pytest.raises(ParameterError, match=words):
            par[name].text(value)


@pytest.mark.parametrize("text", ["infile f a\n", 'a,s,h,"no end,,,\n', "a,q,h,1,,,\n", "x y,s,h,1,,,\n"])
def test_what_is_no_parameter_file(tmp_path: Path, text: str):
    path = tmp_path / "tool.par"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"tool\.par, line 1"):
        read_par(path)


def test_a_parameter_file_that_is_not_there_or_huge(tmp_path: Path):
    with pytest.raises(MissingFileError, match="is the tool installed"):
        read_par(tmp_path / "none.par")
    (tmp_path / "big.par").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(FileFormatError, match="larger than 1 MB"):
        read_par(tmp_path / "big.par")


def test_files_of_sas(tmp_path: Path):
    path = tmp_path / "evselect.par"
    path.write_text(
        """<?xml version="1.0" encoding="UTF-8"?><FILE><CONFIGFILE>
        <PARAM id="table" type="table" mandatory="yes" default="" list="no">
        <DESCRIPTION>events</DESCRIPTION></PARAM>
        <PARAM id="withrateset" type="bool" mandatory="no" default="no">
        <CASE><PARAM id="rateset" type="dataset" mandatory="yes" default=""/></CASE></PARAM>
        <PARAM id="timebinsize" type="real" mandatory="no" default="1.0"/>
        <PARAM id="columns" type="string" list="yes" default=""/></CONFIGFILE></FILE>"""
    )
    par = read_sas_par(path)
    assert par["table"].required and par["table"].prompt == "events"
    assert not par["rateset"].required
    assert par["withrateset"].text(True) == "yes"
    assert par["columns"].text(["PI", "TIME"]) == "PI TIME"
    with pytest.raises(ParameterError, match="real"):
        par["timebinsize"].text("long")


@pytest.mark.parametrize(
    "text", ["not xml", "<FILE/>", '<!DOCTYPE a [<!ENTITY b "c">]><FILE><PARAM id="x"/></FILE>']
)
def test_what_is_no_file_of_sas(tmp_path: Path, text: str):
    path = tmp_path / "task.par"
    path.write_text(text)
    with pytest.raises(FileFormatError):
        read_sas_par(path)


def test_a_task_of_sas_whose_parameters_cannot_be_read_still_runs(sas_dir: Path):
    program = sas_dir / "bin" / "evselect"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.warns(BatxWarning, match="not checked"):
        assert Sas().parameters(Task("evselect", suite="sas")) is None


def test_every_tool_that_was_asked_for_is_known():
    names = NAMES.split()
    assert all(callable(getattr(tools, name)) for name in names)
    assert set(names) <= set(dir(tools))
    assert "position of the source" in tools.batupdatephakw.__doc__.lower()
    with pytest.raises(AttributeError, match="did you mean batbinevt"):
        tools.batbinevnt  # noqa: B018


def test_specifications_are_sound():
    for task in TASKS.values():
        read = {*task.inputs, *task.either, *task.edits, *task.copies}
        assert not read & set(task.outputs), task.name
        assert set(task.lists) <= set(task.inputs), task.name
        assert set(task.outputs.values()) <= {"fits", "text", "picture", "any", "folder"}, task.name
        for patterns in task.products.values():
            heads = {pattern.partition("/")[0] for pattern in patterns if "/" in pattern}
            assert heads <= set(task.outputs) and len(heads) <= 1, task.name


def test_credentials_stay_out_of_texts():
    text = redact(
        "CALDB=https://user:pa55@host/caldb http_proxy=http://u:p@proxy:80 Authorization: Bearer abc.def "
        "MY_TOKEN=12345 password: 'x y' level=5 said opensesame",
        {"WORD": "opensesame", "SAS_ODF": "/data/odf-123456", "N": "5"},
    )
    for secret in ("pa55", "u:p@", "abc.def", "12345", "x y", "opensesame"):
        assert secret not in text
    assert "level=5" in text
