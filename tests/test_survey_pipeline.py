"""The survey pipeline, with a stand-in for batsurvey that leaves simulated results, or those of the tool."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from survey_inputs import (
    DAY,
    OWN,
    STANDARD,
    START,
    Archive,
    Pointing,
    energy_flux,
    months,
    observation,
    tree,
    unpacked,
    write_results,
)

import batx
from batx.cli import main
from batx.errors import MissingFileError, ValueRangeError
from batx.pipelines import Pipeline, survey
from batx.pipelines.surveys import products


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made = Archive(tmp_path_factory.mktemp("survey"), patch)
        pointings = months(5)
        pointings.insert(1, Pointing(pointings[0].start + 5000, "expo_small"))
        made.add("00012345001", pointings[:4], images=True)
        made.add("00012345002", pointings[4:], images=True, filled=20)
        made.add("00012345003", None)
        yield made


@pytest.fixture(scope="module")
def done(archive):
    """A run over three observations, of which one fails."""
    pipeline = survey(archive.folder, output=archive.root / "out", own_sources=OWN, nside=512, workers=2)
    return pipeline, {status.name: status for status in pipeline.run()}


def test_every_step_is_done(done, archive):
    pipeline, found = done
    assert {status.state for status in found.values()} == {"done"}
    assert archive.calls == ["00012345001", "00012345002", "00012345003"]
    assert found["process"].facts["processed"] == ["00012345001", "00012345002"]
    (note,) = found["process"].notes
    assert note.startswith("00012345003: not processed") and "no good time in observation 00012345003" in note
    cut = found["inputs"].facts["cut_short"]
    assert list(cut) == ["00012345002"] and "first 20 of 80 channels" in found["inputs"].notes[0]
    assert found["pointings"].facts["used"] == 5 and found["pointings"].facts["pointings"] == 6
    assert any("expo_small" in note for note in found["pointings"].notes)
    table = pd.read_csv(pipeline.folder / "pointings.csv", dtype={"obs_id": str})
    assert table["used"].tolist() == [True, False, True, True, True, True]
    assert table["cut_reason"][1].startswith("expo_small")


def test_what_comes_out(done):
    pipeline, found = done
    out = pipeline.folder
    made = batx.open_dataset(out / "catalog.fits")
    assert made.name.values.tolist() == [name for name, _, _ in OWN]
    rates = batx.open_dataset(out / "rates.nc")
    assert rates.bat.check() == [] and dict(rates.sizes)["time"] == 5
    rows = pd.read_csv(out / "rates" / "Bright_X-1.csv", dtype={"obs_id": str})
    np.testing.assert_allclose(rows["rate_14_20"], rates.rate[0, :, 0])
    np.testing.assert_allclose(rows["rate_sum_14_195"], rates.rate[0].sum("energy"))
    assert rows["utc"][0].startswith("2019-12-07T")
    curve = batx.open_dataset(out / "lightcurves" / "Bright_X-1_month.lc")
    np.testing.assert_allclose(curve.rate, batx.average_times(rates.isel(source=0), "month").rate)
    assert curve.attrs["object"] == "Bright X-1" and curve.rate.shape == (2, 8)
    results = pd.read_csv(out / "results.csv")
    bright = results[results.source == "Bright X-1"]
    assert bright.detected.all() and bright.flux_limit.isna().all()
    assert (abs(bright.flux - energy_flux(2.0, 6.0)) < 4 * bright.flux_err).all()
    faint = results[results.source == "Faint X-2"]
    assert not faint.detected.any() and (faint.flux_limit > 0).all() and faint.flux.isna().all()
    text = (out / "results.txt").read_text()
    assert text.startswith("5 of 6 pointings, 4500 s") and "left out: 00012345001 point_2019" in text
    assert (out / "results.tex").read_text().startswith(r"\begin{tabular}")
    assert found["report"].facts == {"rows": 4, "detected": 2}
    assert sorted(path.name for path in (out / "figures").iterdir())[0] == "Bright_X-1_month.png"


def test_spectra_are_read_with_their_responses(done):
    pipeline, _ = done
    path = pipeline.folder / "spectra" / "Bright_X-1_month_2019-12.pha"
    fit = batx.fit(path, "powerlaw", flux=(14, 195))
    held = batx.open_dataset(pipeline.folder / "fits" / "Bright_X-1_fit.nc")
    np.testing.assert_allclose(fit.value, held.value[0], rtol=1e-4)
    np.testing.assert_allclose(fit.flux, held.flux[0], rtol=1e-4)


def test_mosaics(done):
    pipeline, found = done
    assert found["mosaics"].facts == {"images": 5}
    rates = batx.open_dataset(pipeline.folder / "mosaics" / "groups_rates.nc")
    assert rates.group.values.tolist() == ["2019-12", "2020-01"]
    total = batx.open_dataset(pipeline.folder / "mosaics" / "total_rates.nc")
    merged = batx.open_dataset(pipeline.folder / "rates.nc")
    mean = batx.average_times(merged, {"all": [[0.0, 2e9]]})
    np.testing.assert_allclose(total.rate[0], mean.rate[0], rtol=0.06, atol=3e-4)  # Gaussian peaks
    names = {path.name for path in (pipeline.folder / "mosaics").iterdir()}
    assert {"Bright_X-1_total_fit.nc", "Faint_X-2_total_limit.nc", "Bright_X-1_groups.lc"} <= names


def test_nothing_is_done_twice_and_what_is_new_is_added(done, archive):
    pipeline, _ = done
    before, calls = tree(pipeline.folder), archive.calls
    again = pipeline.run()
    assert tree(pipeline.folder) == before and archive.calls == calls
    assert {status.state for status in again} == {"done"}
    other = archive.root / "more"
    folder = archive.root / "more-archive" / "00012345009"
    shutil.copytree(archive.folder / "00012345001", archive.root / "more-archive" / "00012345001")
    options = {"output": other, "own_sources": OWN, "cuts": False, "figures": False}
    first = survey(archive.root / "more-archive", **options)
    first.run("pointings")
    assert archive.calls.count("00012345001") == 2
    write_results(
        archive.root / "results" / folder.name, folder.name, [Pointing(START + 40 * DAY, sources=STANDARD)]
    )
    observation(folder.parent, folder.name)
    second = survey(archive.root / "more-archive", **options)
    found = {status.name: status for status in second.run("pointings", since="inputs")}
    assert archive.calls.count("00012345001") == 2 and archive.calls.count(folder.name) == 1
    assert found["pointings"].facts["used"] == 4
    # a catalogue of the results that was changed is noticed, and made again
    product = next((other / "batsurvey" / folder.name).glob("*/*_2.cat"))
    was = product.read_bytes()
    product.write_bytes(was[:-10])
    second.run("pointings")
    assert archive.calls.count(folder.name) == 2 and product.read_bytes() == was


def test_an_interrupted_run_goes_on_to_the_same_results(archive, monkeypatch):
    other, whole = archive.root / "interrupted", archive.root / "whole"

    def build(other: Path = other) -> Pipeline:
        source = archive.folder / "00012345002"
        targets = ["Bright X-1"]
        return survey(source, output=other, own_sources=OWN, targets=targets, nside=128, figures=False)

    calls = len(archive.calls)
    for name in ("fits", "mosaics"):
        make = getattr(products, name)

        def stop(work, make=make) -> None:
            make(work)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(products, name, stop)
            with pytest.raises(KeyboardInterrupt):
                build().run()
    states = {status.name: status.state for status in build().run()}
    assert {state for name, state in states.items() if name != "figures"} == {"done"}
    assert len(archive.calls) == calls + 1
    build(whole).run()
    ours, theirs = tree(other), tree(whole)
    here, there = str(other).encode(), str(whole).encode()
    assert ours.keys() == theirs.keys()
    same = [name for name in ours if ".batx" not in name]
    assert [name for name in same if ours[name].replace(here, there) != theirs[name]] == []


def test_results_alone(archive, tmp_path):
    """What batsurvey left is taken as it is: no catalogue, no tool."""
    folder = archive.root / "results" / "00012345001"
    pipeline = survey(
        folder, output=tmp_path / "out", targets=["faint X-2", "nobody"], time_bins=None, figures=False
    )
    found = {status.name: status for status in pipeline.run()}
    assert found["process"].state == found["catalog"].state == "skipped"
    assert found["rates"].notes == ("nobody: in no catalogue of a pointing that is used",)
    assert found["rates"].facts["sources"] == {"Faint X-2": "Faint_X-2"}
    assert found["report"].facts["rows"] == 3 and found["mosaics"].state == "skipped"


def test_groups_of_a_file(tmp_path):
    """Lines of the same name are one group."""
    folder = write_results(tmp_path / "results", "00012345001", months(5))
    bins = tmp_path / "bins.txt"
    bins.write_text("flares 2019-12-05 2019-12-10  # the first\nrest 2019-12-11 2020-01-01\n\n"
                    "flares 2020-01-14T00:00:00 2020-01-20\n")  # fmt: skip
    arguments = ["survey", str(folder), "-o", str(tmp_path / "out"), "--target", "Bright X-1", "--no-figures"]
    result = CliRunner().invoke(main, [*arguments, "--time-bins", str(bins)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table.group.tolist() == ["flares", "rest"] and table.n_pointings.tolist() == [2, 2]
    for text, words in (("a 1", "expected NAME START STOP"), ("# nothing", "no line")):
        bins.write_text(text)
        wrong = CliRunner().invoke(main, [*arguments, "--time-bins", str(bins)])
        assert wrong.exit_code == 2 and words in " ".join(wrong.output.replace("│", " ").split())


def test_what_is_not_in_the_catalogue_is_listed(tmp_path):
    """Sources that batsurvey finds besides have names of the image, in which they are found once."""
    new = {"20200061040_01": (-1, 151.0, 31.0, 0.02, -0.04, 2.0, 3.0)}
    first, second = (Pointing(START + n * DAY, sources=STANDARD | extra) for n, extra in enumerate((new, {})))
    write_results(tmp_path / "results", "00012345001", [first, second])
    pipeline = survey(tmp_path / "results", output=tmp_path / "out", figures=False)
    found = {status.name: status for status in pipeline.run("rates")}
    assert list(found["rates"].facts["sources"]) == list(STANDARD)
    (note,) = found["rates"].notes
    assert note.startswith("1 detection(s) of sources that are not in the catalogue")
    (row,) = pd.read_csv(tmp_path / "out" / "new_sources.csv").to_dict("records")
    assert (row["name"], row["ra"], row["dec"]) == ("20200061040_01", 151.0, 31.0)
    assert row["image_id"] == first.image_id and row["snr"] == pytest.approx(row["rate"] / row["noise"])
    assert row["snr"] > 20
    named = survey(tmp_path / "results", output=tmp_path / "b", targets=["20200061040_01"], figures=False)
    found = {status.name: status for status in named.run("rates")}
    assert list(found["rates"].facts["sources"]) == ["20200061040_01"]


def test_reference_results(archive, shared, tmp_path):
    """End to end with what the tool itself made of an observation."""
    unpacked(shared / "reference/survey/batsurvey/golden_dph", archive.root / "results" / "00099999001")
    source = shared / "reference/survey/survey_obs/00099999001"
    catalog = shared / "reference/survey/survey_obs/cat.fits"
    pipeline = survey(
        source,
        output=tmp_path / "out",
        catalog=catalog,
        parameters={"timesep": "DPH", "ncleaniter": 1},
        figures=False,
    )
    found = {status.name: status for status in pipeline.run()}
    assert {found[name].state for name in ("process", "pointings", "rates", "fits", "report")} == {"done"}
    assert "00099999001 1" in archive.log.read_text()
    assert not found["inputs"].facts["cut_short"]
    assert found["pointings"].facts["left_out"][0].startswith("00099999001 point_20200061055: dpi1_failed")
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert results.detected.tolist() == [True, True, False] and results.n_pointings.tolist() == [3, 3, 3]
    raw = [batx.open_dataset(path) for path in sorted((archive.root / "results/00099999001").glob("*_1.cat"))]
    weight = [1 / (one.bkg_var.values**2).sum(axis=1) for one in raw]
    mean = sum(w * one.rate.values.sum(axis=1) for w, one in zip(weight, raw, strict=True)) / sum(weight)
    np.testing.assert_allclose(results["rate"], mean, rtol=1e-9)
    np.testing.assert_allclose(results["snr"], mean * np.sqrt(sum(weight)), rtol=1e-9)


def test_all_observations_fail(archive, tmp_path):
    pipeline = survey(archive.folder / "00012345003", output=tmp_path / "out", own_sources=OWN)
    found = {status.name: status for status in pipeline.run()}
    assert found["process"].state == "failed" and "no good time" in found["process"].reason
    assert found["pointings"].state == "failed" and found["rates"].state == "blocked"


def test_without_the_tool_or_a_catalogue(archive, tmp_path, monkeypatch):
    one = survey(archive.folder, output=tmp_path / "a")
    found = {status.name: status for status in one.run("catalog")}
    assert found["catalog"].state == "failed" and "needs a catalogue" in found["catalog"].reason
    monkeypatch.delenv("HEADAS")
    two = survey(archive.folder, output=tmp_path / "b", own_sources=OWN)
    found = {status.name: status for status in two.run()}
    assert found["process"].state == "failed" and "headas-init.sh" in found["process"].reason
    wrong = survey(archive.folder, output=tmp_path / "c", own_sources=OWN, parameters={"detthres": 1})
    monkeypatch.setenv("HEADAS", str(next((archive.root / "software").glob("*/x86_64"))))
    found = {status.name: status for status in wrong.run("process")}
    assert "did you mean detthresh" in found["process"].reason


def test_wrong_requests(archive, tmp_path):
    for sources, options, error, words in (
        ([], {}, MissingFileError, "no folder"),
        ([tmp_path / "nothing"], {}, MissingFileError, "no such file"),
        ([tmp_path], {"time_axis": "jd"}, ValueRangeError, "time_axis"),
        ([tmp_path], {"own_sources": [("A", 1.0, 1.0), ("a", 9.0, 1.0)]}, ValueRangeError, "twice"),
        ([tmp_path], {"catalog": tmp_path / "none.cat"}, MissingFileError, "no such file"),
    ):
        with pytest.raises(error, match=words):
            survey(*sources, output=tmp_path / "out", **options)
    (empty := tmp_path / "empty").mkdir()
    (found, *_) = survey(empty, output=tmp_path / "out").run("inputs")
    assert found.state == "failed" and "neither survey histograms" in found.reason
    both = survey(archive.folder, archive.folder / "00012345001", output=tmp_path / "two")
    (found, *_) = both.run("inputs")
    assert found.state == "failed" and "00012345001 twice" in found.reason


def test_observations_by_number_are_fetched(archive, tmp_path, monkeypatch):
    asked = []

    def fetch(ids, **options):
        asked.append((list(ids), options["instruments"], options["offline"]))
        return [archive.folder / one for one in ids]

    monkeypatch.setattr("batx.archive.fetch", fetch)
    pipeline = survey("00012345001", output=tmp_path / "out", own_sources=OWN, data=tmp_path, offline=True)
    (found, *_) = pipeline.run("inputs")
    assert asked == [(["00012345001"], ("bat", "auxil"), True)]
    assert found.facts["observations"] == {"00012345001": str(archive.folder / "00012345001")}


def test_command(archive, tmp_path):
    folder = archive.root / "results" / "00012345001"
    arguments = ["survey", str(folder), "-o", str(tmp_path / "out"), "--target", "Bright X-1"]
    result = CliRunner().invoke(main, [*arguments, "--time-bins", "20", "--no-cuts", "--time-axis", "utc"])
    assert result.exit_code == 0, result.output
    assert "3 of 4 pointings" in result.output and "Bright X-1" in result.output
    listed = CliRunner().invoke(main, [*arguments, "--list"])
    assert listed.exit_code == 0 and "option cuts changed" in listed.output
    for wrong in (["--time-bins", "weekly"], ["-P", "x"], ["--time-axis", "jd"]):
        assert CliRunner().invoke(main, [*arguments, *wrong]).exit_code == 2
    bad = CliRunner().invoke(main, ["survey", str(tmp_path / "nothing"), "-o", str(tmp_path / "x")])
    assert bad.exit_code == 1 and "no such file" in bad.output and "Traceback" not in bad.output
    failed = CliRunner().invoke(main, ["survey", str(tmp_path), "-o", str(tmp_path / "y")])
    assert failed.exit_code == 1 and "inputs" in failed.output
