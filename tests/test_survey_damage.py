"""The survey pipeline on what goes wrong: damaged files, doubled names, empty fields, bare folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from survey_inputs import DAY, OWN, STANDARD, START, Archive, Pointing, _stats, write_results

import batx
from batx.errors import BatxWarning, FileFormatError, ValueRangeError
from batx.pipelines import Status, survey


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


@pytest.fixture
def results(tmp_path) -> Path:
    """Results of three observations of one pointing each, a day apart, with images."""
    for number in range(3):
        pointing = Pointing(START + number * DAY, sources=STANDARD, seed=number)
        write_results(tmp_path / "results" / str(number), f"0001234500{number}", [pointing], images=True)
    return tmp_path / "results"


def run(sources: Path, *steps: str, **options) -> dict[str, Status]:
    options = {"output": sources.parent / "out", "figures": False} | options
    return {status.name: status for status in survey(sources, **options).run(*steps)}


def edited(path: Path, change) -> None:
    """Write a catalogue again with changed rows."""
    with fits.open(path) as file:
        rows, header = file[1].data.copy(), file[1].header.copy()
    fits.BinTableHDU(change(rows), header=header).writeto(path, overwrite=True)


def test_damaged_tables_and_catalogues_are_left_out(results):
    cut(results / "0" / "stats_point.fits", 3000)
    catalog = cut(next(results.glob("1/*/*_2.cat")), 9000)
    found = run(results, "report", targets=["Bright X-1"])
    assert found["pointings"].facts["used"] == 1 and found["report"].state == "done"
    first, second = found["pointings"].facts["left_out"]
    assert first.startswith("0: ") and "stats_point.fits" in first
    assert second.startswith("00012345001 point_2020007") and "its catalogue cannot be read" in second
    text = (results.parent / "out" / "results.txt").read_text()
    assert text.startswith("1 of 2 pointings, 900 s") and f"left out: {first}" in text
    assert str(catalog) in text
    # as functions: an error, or a warning and what is left
    with pytest.raises(FileFormatError):
        batx.open_survey(results)
    with pytest.warns(BatxWarning, match="left out"):
        tree = batx.open_survey(results, errors="warn")
    assert tree.attrs["unreadable"].startswith("0: ") and tree["pointings"].sizes["row"] == 2
    with pytest.raises(ValueRangeError, match="'raise' or 'warn'"):
        batx.open_survey(results, errors="ignore")
    for name in ("1", "2"):
        cut(results / name / "stats_point.fits", 3000)
    again = run(results, "pointings", targets=["Bright X-1"])
    assert again["pointings"].state == "failed" and "cut short" in again["pointings"].reason


def test_damaged_images_are_left_out(results):
    image = cut(next(results.glob("0/*/*_2.img")), 20000)
    found = run(results, "mosaics", nside=64, targets=["Bright X-1"])
    assert found["mosaics"].facts == {"images": 2}
    assert any(str(image) in note for note in found["mosaics"].notes)
    with pytest.raises(FileFormatError):
        batx.survey_images(batx.open_survey(results))


def test_names_that_are_there_twice(results, tmp_path):
    def doubled(rows):
        rows["NAME"][:] = "Faint X-2"
        return rows

    for path in (results / "1").glob("*/*.cat"):
        edited(path, doubled)
    found = run(results, "rates")
    assert found["rates"].state == "failed" and "'Faint X-2' twice" in found["rates"].reason
    # the other one is not concerned
    found = run(results, "rates", targets=["Bright X-1"])
    assert found["rates"].facts["pointings"] == 3
    rows = pd.read_csv(tmp_path / "out" / "rates" / "Bright_X-1.csv")
    assert len(rows) == 2


def test_catalogues_with_doubled_names_are_refused_before_anything_is_processed(tmp_path, monkeypatch):
    archive = Archive(tmp_path, monkeypatch)
    archive.add("00012345001", [Pointing(START, sources=STANDARD)])
    base = batx.survey_catalog(["Cyg X-1", "Cyg X-3"], [299.59, 308.1], [35.2, 40.96])
    twice = base.assign(name=("source", np.array(["Cyg X-1", "cyg x-1 "])))
    path = twice.bat.to_fits(tmp_path / "twice.cat")
    found = run(archive.folder, "process", catalog=path)
    assert found["catalog"].state == "failed" and "twice" in found["catalog"].reason and not archive.calls
    with pytest.raises(ValueRangeError, match="twice"):
        batx.survey_catalog("Vela X-1", 135.5, -40.6, path)
    # a good one is used as it is, with all its columns and room for the names that batsurvey adds
    good = base.assign(err_rad=("source", [0.01, 0.02], {"units": "deg"})).bat.to_fits(tmp_path / "good.cat")
    run(archive.folder, "catalog", catalog=good)
    assert (tmp_path / "out" / "catalog.fits").read_bytes() == good.read_bytes()
    with fits.open(good) as file:
        assert file[1].columns["NAME"].format == "30A"


def test_the_galactic_centre_is_a_place(tmp_path):
    """A source at galactic longitude and latitude 0 is a source like any other."""
    made = batx.survey_catalog("centre", 266.404988, -28.936178)
    np.testing.assert_allclose([np.sin(np.radians(made.glon_obj[0])), made.glat_obj[0]], 0, atol=1e-6)
    back = batx.open_dataset(made.bat.to_fits(tmp_path / "a.cat"))
    np.testing.assert_allclose([back.ra[0], back.dec[0]], [266.404988, -28.936178])


def test_no_source_in_the_field(results):
    """The catalogue of a pointing without any source has no rows; the others go on."""
    for path in (results / "0").glob("*/*.cat"):
        edited(path, lambda rows: rows[:0])
    found = run(results, "report", targets=["Bright X-1"])
    assert found["pointings"].facts["used"] == 3 and found["rates"].facts["pointings"] == 2
    assert pd.read_csv(results.parent / "out" / "results.csv")["n_pointings"].tolist() == [2]
    for path in results.glob("*/*/*.cat"):
        edited(path, lambda rows: rows[:0])
    again = run(results, "rates", targets=["Bright X-1"])
    assert again["rates"].state == "failed" and "no source was in the field" in again["rates"].reason


def test_two_snapshots_in_one_minute(tmp_path):
    """Batsurvey names folders by the minute, so the files are those of the second."""
    first, second = (Pointing(START + after, exposure=25.0, sources=STANDARD) for after in (0.0, 30.0))
    write_results(tmp_path / "results", "00012345001", [second])
    (tmp_path / "results" / "stats_point.fits").unlink()
    _stats(tmp_path / "results" / "stats_point.fits", "00012345001", [first, second])
    found = run(tmp_path / "results", "rates", cuts=False)
    (line,) = found["pointings"].facts["left_out"]
    assert "another pointing that began in the same minute" in line
    rates = batx.open_dataset(tmp_path / "out" / "rates.nc")
    assert rates.sizes["time"] == 1 and float(rates.time[0]) > START + 30
    # which is not said of pointings at the same time of two observations; these have names of their own
    write_results(tmp_path / "more" / "a", "00012345001", [second])
    write_results(tmp_path / "more" / "b", "00012345002", [second])
    both = batx.survey_rates(tmp_path / "more", "Bright X-1")
    assert both.group.values.tolist() == [f"0001234500{n}_{second.image_id}" for n in (1, 2)]
    mean = batx.average_times(both, "month")
    assert mean.n_pointings.values.tolist() == [[2]] and float(mean.exposure[0]) == 50.0


def test_each_observation_has_its_own_clock(results):
    """The clock drifts by a second a year: times in UTC are by the correction of each observation."""
    for name, value in (("0", -22.5), ("1", -20.0), ("2", None)):
        with fits.open(results / name / "stats_point.fits", mode="update") as file:
            if value is None:
                del file[1].header["UTCFINIT"]
            else:
                file[1].header["UTCFINIT"] = value
    found = run(results, "report", targets=["Bright X-1"], time_bins=None)
    assert found["report"].state == "done"
    rows = pd.read_csv(results.parent / "out" / "rates" / "Bright_X-1.csv")
    clock = np.array([-22.5, -20.0, -22.5])  # where it is not known, that of the first holds
    seconds = (rows["start_mjd"] - 51910.0) * 86400.0 - rows["tstart"]
    np.testing.assert_allclose(seconds, clock, atol=1e-3)
    again = (pd.to_datetime(rows["utc"]) - pd.Timestamp("2001-01-01")).dt.total_seconds() - rows["tstart"]
    np.testing.assert_allclose(again, clock, atol=1e-3)
    table = pd.read_csv(results.parent / "out" / "results.csv")
    np.testing.assert_array_equal(table["start_mjd"], rows["start_mjd"])


def test_folders_without_histograms(tmp_path, monkeypatch):
    archive = Archive(tmp_path, monkeypatch)
    archive.add("00012345001", [Pointing(START, sources=STANDARD)])
    (archive.folder / "00012345002" / "bat" / "survey").mkdir(parents=True)
    found = run(archive.folder, "pointings", own_sources=OWN)
    assert found["inputs"].notes == ("left out: 00012345002: no survey histograms (bat/survey/*.dph*)",)
    assert found["pointings"].facts["left_out"] == ["00012345002: no survey histograms (bat/survey/*.dph*)"]
    alone = run(archive.folder / "00012345002", "inputs", own_sources=OWN, output=tmp_path / "alone")
    assert alone["inputs"].state == "failed" and "found nothing to process" in alone["inputs"].reason
    histogram = next((archive.folder / "00012345001").glob("bat/survey/*"))
    cut(histogram, 200)
    (found, *_) = run(archive.folder, "inputs", own_sources=OWN).values()
    assert f"00012345001: {histogram.name} cannot be read" in found.notes[0]


def test_what_failed_is_in_the_results(tmp_path, monkeypatch):
    archive = Archive(tmp_path, monkeypatch)
    archive.add("00012345001", [Pointing(START, sources=STANDARD)])
    archive.add("00012345002", None)
    run(archive.folder, "report", own_sources=OWN)
    text = (tmp_path / "out" / "results.txt").read_text()
    assert "left out: 00012345002: not processed: batsurvey ended with return code 1" in text
    # results of before are not taken for those of now, when batsurvey fails for all
    for folder in (tmp_path / "results").glob("0*"):
        folder.rename(folder.with_name("gone"))
    found = run(archive.folder, "pointings", own_sources=OWN, parameters={"detthresh": 8000})
    assert found["process"].state == "failed" and found["pointings"].state == "failed"
