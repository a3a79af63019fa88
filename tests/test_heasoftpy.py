"""Tools through heasoftpy (a stand-in of it): what works, what fails, and that nothing is crossed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from stand_ins import TASKS, mark_of, template
from test_heasoft_runs import alive, go

from batx.errors import ParameterError, ToolError, ToolMissingError
from batx.heasoft import request, run_many

STAND_IN = str(Path(__file__).parent / "heasoftpy_standin")


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "in [1], odd+name.fits"
    path.write_bytes(template())
    return path


@pytest.fixture(autouse=True)
def heasoftpy(headas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", STAND_IN)
    monkeypatch.setenv("BATX_HEASOFTPY_PYTHON", sys.executable)


def test_a_good_tool(infile: Path, tmp_path: Path):
    before = infile.read_bytes()
    result = go("goodtool", infile, tmp_path / "out.fits", mark=42, backend="heasoftpy")
    assert mark_of(result["outfile"]) == 42
    assert "mark 42" in result.log
    assert result.backend == "heasoftpy"
    assert result.values["mark"] == "42"
    assert result.version.endswith("(heasoftpy)")
    assert infile.read_bytes() == before


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("failtool", ["return code 3", "no such extension"]),
        ("emptytool", ["return code 0, but its output outfile"]),
        ("prompttool", ["return code 4"]),
        ("halftool", ["return code 137"]),
    ],
)
def test_failures(infile: Path, tmp_path: Path, tool: str, words: list[str]):
    with pytest.raises(ToolError) as caught:
        go(tool, infile, tmp_path / "out.fits", backend="heasoftpy")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "out.fits").exists()


def test_a_hang_is_ended_with_all_children(infile: Path, tmp_path: Path):
    with pytest.raises(ToolError, match="did not end within 2 s"):
        go("hangtool", infile, tmp_path / "out.fits", timeout=2.0, mark=40011, backend="heasoftpy")
    assert not alive("sleep 40011")


def test_calls_in_parallel_are_not_crossed(infile: Path, tmp_path: Path):
    requests = [
        request(TASKS["goodtool"], infile=infile, outfile=tmp_path / f"{k}.fits", mark=k, backend="heasoftpy")
        for k in range(6)
    ]
    results = run_many(requests, workers=4)
    assert [mark_of(result["outfile"]) for result in results] == list(range(6))


def test_refused_before_the_run(infile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ParameterError, match="mark"):
        go("goodtool", infile, tmp_path / "out.fits", mark="many", backend="heasoftpy")
    with pytest.raises(ParameterError, match="no options"):
        go("goodtool", infile, tmp_path / "out.fits", options=("-V", "4"), backend="heasoftpy")
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(ToolMissingError, match=r"has no module heasoftpy.*BATX_HEASOFTPY_PYTHON"):
        go("goodtool", infile, tmp_path / "out.fits", backend="heasoftpy")
