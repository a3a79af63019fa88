"""The pipeline of glitches: what is listed, searched, added, resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import batx
from batx.cli import main
from batx.errors import MissingFileError, ValueRangeError
from batx.pipelines import Pipeline, glitches
from batx.simulate import Background, Glitch, observation


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three observations, with 1, 0 and 2 glitches."""
    folder = tmp_path_factory.mktemp("observed")
    for number, times in enumerate(([5.0], [], [3.0, 7.0])):
        surges = [Glitch(time, 500, reach=8, scatter=1.2) for time in times]
        observation(
            folder,
            background=Background(rate=0.05),
            obs_id=f"0003333300{number}",
            duration=10.0,
            trigger=None,
            glitches=surges,
            seed=number,
        )
    return folder


def store(pipeline: Pipeline) -> xr.Dataset:
    return batx.open_dataset(pipeline.folder / "glitches.zarr").load()


def test_folders_are_searched(observed: Path, tmp_path: Path):
    pipeline = glitches(tmp_path / "out", observed)
    assert [status.state for status in pipeline.run()] == ["done"] * 3
    found = store(pipeline)
    assert found.obs_id.values.tolist() == ["00033333000", "00033333002", "00033333002"]
    expected = batx.glitch_catalog(batx.event_files(observed), tmp_path / "direct.zarr").load()
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    facts = json.loads((pipeline.folder / "result.json").read_text())
    assert (facts["observations"], facts["searched"], facts["glitches"]) == (3, 3, 3)
    assert "3 glitches" in (pipeline.folder / "result.txt").read_text()
    assert (pipeline.folder / "figures" / "glitches.png").is_file()
    assert [status.state for status in pipeline.run()] == ["done"] * 3


def test_with_more_sources_only_these_are_searched(
    observed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    searched: list[str] = []
    search = batx.glitch_catalogs.EventSource.search

    def noted(self: Any, options: dict[str, Any]) -> xr.Dataset:
        searched.append(self.obs_id)
        return search(self, options)

    monkeypatch.setattr(batx.glitch_catalogs.EventSource, "search", noted)
    first = observed / "00033333000"
    glitches(tmp_path / "out", first).run("search")
    pipeline = glitches(tmp_path / "out", first, observed / "00033333002")
    pipeline.run("search")
    assert searched == ["00033333000", "00033333002"]
    assert store(pipeline).sizes["glitch"] == 3
    # with other options all are searched again
    glitches(tmp_path / "out", observed / "00033333002", snr=12.0).run("search")
    assert searched[2:] == ["00033333002"]


def test_an_interrupted_search_goes_on(observed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    search = batx.glitch_catalogs.EventSource.search
    searched: list[str] = []

    def stop(self: Any, options: dict[str, Any]) -> xr.Dataset:
        searched.append(self.obs_id)
        if len(searched) == 2:
            raise KeyboardInterrupt
        return search(self, options)

    monkeypatch.setattr(batx.glitch_catalogs, "_SECONDS", 0.0)
    monkeypatch.setattr(batx.glitch_catalogs.EventSource, "search", stop)
    pipeline = glitches(tmp_path / "out", observed, workers=1)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert not (pipeline.folder / "glitches.zarr").exists()
    pipeline.run("search")
    assert searched.count("00033333000") == 1 and searched.count("00033333002") == 1
    assert store(pipeline).sizes["glitch"] == 3


def test_dumps_of_a_time_are_taken_from_the_data(
    observed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def guano(time: Any) -> pd.DataFrame:
        asked.append(time)
        return pd.DataFrame({"obsid": ["00033333000", "00033333002", None, "00099999000"]})

    monkeypatch.setattr("batx.archive.guano", guano)
    data = tmp_path / "data"
    shutil.copytree(observed, data)
    span = ("2020-01-01", "2020-02-01")
    pipeline = glitches(tmp_path / "out", time=span, data=data, offline=True)
    listed, searched, report = pipeline.run()
    assert asked == [list(span)] and "1 of 4 dumps have no data" in listed.notes[0]
    assert searched.state == "done" and searched.facts["glitches"] == 3
    assert any("00099999000" in note for note in searched.notes)
    assert "00099999000" in (pipeline.folder / "result.txt").read_text()
    pipeline.run()
    assert len(asked) == 1
    assert report.state == "done"


def test_command(observed: Path, tmp_path: Path):
    call = CliRunner().invoke
    source, folder = str(observed / "00033333000"), str(tmp_path / "out")
    done = call(main, ["glitches", source, "-o", folder])
    assert done.exit_code == 0 and "1 glitches" in done.output, done.output
    for wrong in (
        ["--guano", "-o", folder],
        ["--guano", "--since", "2020-01-01", "--until", "2020-02-01"],
        [source, "-o", folder, "--since", "2020-01-01"],
        ["nothing"],
        [],
    ):
        refused = call(main, ["glitches", *wrong])
        assert refused.exit_code == 2, wrong


def test_bad_arguments(observed: Path, tmp_path: Path):
    with pytest.raises(ValueRangeError, match="no sources and no time"):
        glitches(tmp_path)
    with pytest.raises(ValueRangeError, match="first and last"):
        glitches(tmp_path, time=["2020-01-01"])
    with pytest.raises(MissingFileError, match="11 digits"):
        glitches(tmp_path, "nothing")
    with pytest.raises(ValueRangeError, match="batanalysis"):
        glitches(tmp_path, observed, compat="x")


def test_nothing_to_search(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    listed, searched, report = glitches(tmp_path / "out", empty).run()
    assert listed.state == "failed" and "no observation with events" in listed.reason
    assert searched.state == report.state == "blocked"
