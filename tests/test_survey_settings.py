"""How the survey pipeline sets batsurvey up: presets, noise patterns of the day, what runs it, progress."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from survey_inputs import OWN, STANDARD, START, Archive, Pointing

import batx
from batx.errors import MissingFileError, ParameterError, ValueRangeError
from batx.pipelines import survey
from batx.pipelines.surveys.processing import Crew
from batx.pipelines.surveys.settings import PatternMaps, of_day


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Archive:
    made = Archive(tmp_path, monkeypatch)
    for number in (1, 2):
        made.add(f"0001234500{number}", [Pointing(START, sources=STANDARD, seed=number)])
    return made


def called(archive: Archive) -> dict[str, list[str]]:
    """Parameters that the stand-in was given, by observation."""
    text = Path(f"{archive.log}.parameters").read_text()
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def patterns(folder: Path, *days: str) -> Path:
    """A folder with map and mask of days, as 2020006; each holds its name."""
    folder.mkdir()
    for day in days:
        for ending in (".dpi", "_inbands.detmask"):
            name = f"pattern_noise_survey8a_{day}{ending}"
            (folder / name).write_text(name)
    return folder


def test_presets(archive):
    plain = survey(archive.folder, output=archive.root / "plain", own_sources=OWN)
    plain.run("process")
    assert called(archive)["00012345001"][:4] == ["22000", "16000", "9.0", "NONE"]
    preset = survey(
        archive.folder,
        output=archive.root / "preset",
        own_sources=OWN,
        preset="batanalysis",
        parameters={"detthresh2": 8000},
    )
    assert {status.state for status in preset.run("process")} == {"done"}
    assert called(archive)["00012345001"] == ["10000", "8000", "6", "ALWAYS_CLEAN==T", "NONE", "NONE"]


def test_sources_are_cleaned_by_a_flag_that_is_there(archive):
    bare = batx.survey_catalog("Bright X-1", 149.9, 30.1).drop_vars("always_clean")
    path = bare.bat.to_fits(archive.root / "bare.cat")
    wrong = survey(archive.folder, output=archive.root / "out", catalog=path, preset="batanalysis")
    (found,) = (status for status in wrong.run("process") if status.name == "process")
    assert found.state == "failed" and "ALWAYS_CLEAN, which the catalogue does not have" in found.reason


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"preset": "swift"}, ValueRangeError, "preset: found 'swift'"),
        ({"parameters": {"outdir": "x"}}, ValueRangeError, "set by output="),
        ({"parameters": {"incatalog": "x"}}, ValueRangeError, "set by catalog="),
        ({"parameters": {"energybins": "15-50"}}, ValueRangeError, "eight bands"),
        ({"workers": 0}, ParameterError, "workers = 0"),
        ({"pattern_maps": "nowhere"}, MissingFileError, "no such file"),
    ],
)
def test_wrong_settings(archive, options, error, words):
    with pytest.raises(error, match=words):
        survey(archive.folder, output=archive.root / "out", own_sources=OWN, **options)


def test_noise_patterns_of_the_day(archive):
    """The observations begin on 2020-01-06: map and mask are of that day, or of the nearest one."""
    maps = patterns(archive.root / "maps", "2020005", "2020007", "2019100")
    (maps / "pattern_noise_survey8a_2020006.dpi").write_text("without-mask")
    options = {"output": archive.root / "out", "own_sources": OWN, "pattern_maps": maps}
    found = {status.name: status for status in survey(archive.folder, **options).run("process")}
    near = "pattern_noise_survey8a_2020005"
    assert called(archive)["00012345001"][4:] == [f"{near}.dpi", f"{near}_inbands.detmask"]
    assert f"00012345001: {near}.dpi, the nearest noise pattern, is 1 day(s) away" in found["inputs"].notes
    # the same again after the day's own pattern has come: batsurvey is run again, with it
    (maps / "pattern_noise_survey8a_2020006_inbands.detmask").write_text("mask")
    found = {status.name: status for status in survey(archive.folder, **options).run("process")}
    assert called(archive)["00012345001"][4:] == ["without-mask", "mask"]
    assert not found["inputs"].notes and len(archive.calls) == 4


def test_names_of_the_day_in_parameters(archive):
    maps = patterns(archive.root / "maps", "2020006")
    text = str(maps / "pattern_noise_survey8a_%Y%j")
    parameters = {"global_pattern_map": f"{text}.dpi", "global_pattern_mask": f"{text}_inbands.detmask"}
    options = {"own_sources": OWN, "parameters": parameters}
    found = survey(archive.folder, output=archive.root / "out", **options).run("process")
    assert {status.state for status in found} == {"done"}
    assert called(archive)["00012345002"][4] == "pattern_noise_survey8a_2020006.dpi"
    (maps / "pattern_noise_survey8a_2020006.dpi").unlink()
    (*_, last) = survey(archive.folder, output=archive.root / "other", **options).run("process")
    assert last.state == "failed" and "no file" in last.reason and "for 2020-01-06" in last.reason


def test_days_in_names(tmp_path):
    with pytest.raises(MissingFileError, match=r"found 0 map\(s\) and 0 mask"):
        PatternMaps(patterns(tmp_path / "none")).nearest(date(2020, 1, 1))
    # day 11, not day 1 and a digit; names without leading zeros too
    maps = PatternMaps(patterns(tmp_path / "maps", "2005011", "200512"))
    assert maps.nearest(date(2005, 1, 1))[2] == 10
    assert maps.nearest(date(2005, 1, 12))[0].name.endswith("_200512.dpi")
    patterns(tmp_path / "two", "2005011", "200511")
    with pytest.raises(ValueRangeError, match="one of each day"):
        PatternMaps(tmp_path / "two").nearest(date(2005, 1, 1))
    with pytest.raises(MissingFileError, match="day of the observation is not known"):
        of_day({"global_pattern_map": "a_%Y%j.dpi"}, None)


def test_new_observations_and_new_files_are_noticed(archive):
    """The same command, after more was fetched."""
    options = {"output": archive.root / "out", "own_sources": OWN}
    first = {status.name: status for status in survey(archive.folder, **options).run("pointings")}
    assert first["pointings"].facts["used"] == 2 and len(archive.calls) == 2
    archive.add("00012345003", [Pointing(START + 5000, sources=STANDARD)])
    (archive.folder / "00012345002" / "auxil" / "sw00012345002sat.fits").write_text("attitude")
    second = {status.name: status for status in survey(archive.folder, **options).run("pointings")}
    assert second["pointings"].facts["used"] == 3
    assert archive.calls == ["00012345001", *2 * ["00012345002"], "00012345003"]


def test_results_below_the_observations(archive):
    """Results may be written into the folder of the observations; they are then not taken for given ones."""
    options = {"output": archive.folder / "results", "own_sources": OWN}
    survey(archive.folder, **options).run("pointings")
    found = {status.name: status for status in survey(archive.folder, **options).run("pointings")}
    assert found["inputs"].facts["results"] == [] and found["pointings"].facts["used"] == 2
    with pytest.raises(ValueRangeError, match="lies in the results of batsurvey"):
        survey(archive.root / "results", output=archive.root / "results" / "out")


def test_a_cluster(archive):
    from distributed import Client

    options = {"output": archive.root / "out", "own_sources": OWN}
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as client:
        found = survey(archive.folder, executor=client, **options).run("process")
    assert {status.state for status in found} == {"done"} and len(archive.calls) == 2
    # where it ran does not matter: nothing is done again
    again = survey(archive.folder, workers=1, **options).run("process")
    assert {status.state for status in again} == {"done"} and len(archive.calls) == 2


def test_progress(archive):
    archive.add("00012345003", None)
    lines = []
    pipeline = survey(archive.folder, output=archive.root / "out", own_sources=OWN, workers=1)
    pipeline.run("process", progress=lambda status: lines.append((status.name, status.reason)))
    said = [text for name, text in lines if name == "process" and " of " in text]
    assert [text.split(",")[0] for text in said] == [f"{number} of 3 observations" for number in (1, 2, 3)]
    assert said[0].endswith("left") and said[-1].endswith("1 of them failed")
    assert Crew().workers is None
