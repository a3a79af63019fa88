"""Files of the calibration database: which one serves, from where, and what is said when none does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import caldb_tree as trees
import numpy as np
import pytest
from web_server import Site, serving

import batx
from batx import caldb, simulate
from batx.caldb.boundaries import matches, parse_boundaries
from batx.caldb.index import read_index
from batx.caldb.purposes import purpose_of
from batx.errors import BatxWarning, CalibrationError, FileFormatError, MissingFileError, ValueRangeError
from batx.provenance import calibration_of
from batx.transfer import Limits

QUICK = Limits(timeout=2.0, stall=1.0, retries=0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep to a cache of this test and to no proxy."""
    monkeypatch.setenv("BATX_CACHE", str(tmp_path / "cache"))
    for name in ("CALDB", "CALDBCONFIG", "HTTP_PROXY", "http_proxy", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.caldb(tmp_path_factory.mktemp("caldb"))


@pytest.fixture
def site(tree: Path) -> Iterator[Site]:
    pytest.importorskip("requests")
    files = {
        f"/caldb/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()
    }
    with serving(Site(files)) as served:
        yield served


# --- which file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("purpose", "time", "name"),
    [
        ("aperture", "2008-01-01", "aper_flux_v1.fits"),
        ("aperture", "2010-05-31T23:59:00", "aper_flux_v1.fits"),
        ("aperture", "2010-06-01T00:01:00", "aper_flux_v2.fits"),
        ("aperture", 6e8, "aper_flux_v2.fits"),
        ("aperture", None, "aper_flux_v3.fits"),
        ("mask_edges", 6e8, "aper_edge.fits"),
        ("pulser", 6e8, "ground.fits"),
        ("flight_pulser", 6e8, "flight.fits"),
        ("depth", 6e8, "newer.fits"),
        ("clock", 6e8, "swclock.fits"),
    ],
)
def test_the_file_is_that_of_the_rules(tree: Path, purpose: str, time, name: str) -> None:
    found = caldb.find(purpose, time, caldb=tree)
    assert found.path.name == name
    assert found.purpose == purpose
    assert found.path.is_file()


def test_boundaries_choose(tree: Path) -> None:
    assert caldb.find("distortion", caldb=tree, energy=20).path.name == "low.fits"
    assert caldb.find("distortion", caldb=tree, energy=(60, 100)).path.name == "high.fits"
    with pytest.raises(CalibrationError, match="none of them good"):
        caldb.find("distortion", caldb=tree, energy=(20, 100))
    # without a condition both hold; the index decides
    assert caldb.find("distortion", caldb=tree).path.name == "high.fits"
    assert caldb.find("aperture", 6e8, caldb=tree, apertype="mask_edges").path.name == "aper_edge.fits"


def test_boundary_expressions_are_read() -> None:
    found = parse_boundaries(
        [
            'APERTYPE("FLUX", "DETECTION")',
            "THETA(0.0-1.5E1)arcmin",
            "PHI(-30-30)deg",
            "CHAN(1-5,7)",
            "NONE",
            "",
            "junk",
        ]
    )
    assert set(found) == {"APERTYPE", "THETA", "PHI", "CHAN"}
    assert matches(found, {"APERTYPE": "detection", "theta": 0.2, "phi": (-20, 20), "chan": 7, "other": 1})
    assert not matches(found, {"theta": 0.3})
    assert not matches(found, {"chan": 6})
    assert not matches(found, {"APERTYPE": "MASK_EDGES"})


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("ENERG(0.2-12)keV", [0.2, 12, (1, 5)], [0.1, 12.5, (5, 13)]),
        ("ENERGY( 14 - 195 )keV", [14, 100.0], [13.99]),
        ("TEMP(-120--110)C", [-120, -115.5], [-121, 115]),
        ("TEMP(-120)C", [-120], [120]),
        ("VOLT(1.5e2-2E+2,300)V", [150, 200, 300, "300"], [250, 299]),
        ('CODE("A-B","C, D")', ["a-b", "C, D"], ["A", "B", "C", 1.0]),
        ("POSITION(CENTER)", ["center"], ["EDGE"]),
        ("THETA(0-10)arcmin", [0, 10 / 60], [1.0]),
    ],
)
def test_a_condition_covers_what_it_says(text: str, inside: list, outside: list) -> None:
    (boundary,) = parse_boundaries([text]).values()
    assert [boundary.covers(value) for value in inside] == [True] * len(inside)
    assert [boundary.covers(value) for value in outside] == [False] * len(outside)


def test_programs_and_bad_files_are_not_chosen(tmp_path: Path) -> None:
    """CAL_DTYP TASK is no file; CAL_QUAL 5 is bad; of those that hold the one that began last serves."""
    flux = 'APERTYPE("FLUX")'
    rows = [
        trees.row("good.fits", "CODED_MASK", flux, day="2005-01-01"),
        trees.row("task.fits", "CODED_MASK", flux, day="2009-01-01", CAL_DTYP="TASK"),
        trees.row("bad.fits", "CODED_MASK", flux, day="2010-01-01", CAL_QUAL=5),
        trees.row("other.fits", "CODED_MASK", flux, day="2010-01-01", INSTRUME="XRT"),
        trees.row("early.fits", "CODED_MASK", flux, day="2004-01-01", CAL_DATE="2020-01-01"),
        trees.row("old.fits", "CODED_MASK", flux, day="31/12/99", CAL_VST="12:00:00"),
    ]
    root = trees.caldb(tmp_path / "db", rows)
    assert caldb.find("aperture", 6e8, caldb=root).path.name == "good.fits"
    assert caldb.find("aperture", "2004-06-01", caldb=root).path.name == "early.fits"
    assert caldb.find("aperture", "2003-06-01", caldb=root).path.name == "old.fits"
    with pytest.raises(CalibrationError, match="none of them good"):
        caldb.find("aperture", "1999-12-31T11:59:00", caldb=root)


def test_two_processes_fetch_a_file_once(site: Site, tmp_path: Path) -> None:
    name = "/caldb/data/swift/bat/bcf/aper_flux_v2.fits"
    data = site.files[name]
    site.handlers[name] = lambda request, handler: handler.send_file(request, data, pause=0.2, step=1000)
    code = "import batx, sys; print(batx.caldb.find('aperture', 6e8, caldb=sys.argv[1]).record['sha256'])"
    command = [sys.executable, "-c", code, f"{site.url}/caldb"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = [run.communicate(timeout=60) for run in runs]
    assert said[0][0] == said[1][0] != "", said
    assert site.count(name) == 1
    assert (tmp_path / "cache/caldb/data/swift/bat/bcf/aper_flux_v2.fits").read_bytes() == data
    assert not list((tmp_path / "cache").rglob("*.part*"))


def test_an_interrupted_fetch_goes_on(site: Site, tmp_path: Path) -> None:
    name = "/caldb/data/swift/bat/bcf/aper_flux_v2.fits"
    data, url = site.files[name], f"{site.url}/caldb"
    site.handlers[name] = lambda request, handler: handler.send_file(request, data, cut=3000)
    with pytest.raises(CalibrationError, match="broke off"):
        caldb.find("aperture", 6e8, caldb=url, limits=QUICK)
    assert not list((tmp_path / "cache").rglob("aper_flux_v2.fits"))
    del site.handlers[name]
    assert caldb.fetch("aperture", 6e8, caldb=url)[0].path.read_bytes() == data
    assert "bytes=3000-" in [one.headers.get("Range", "") for one in site.asked if one.path == name]


def test_the_database_named_comes_before_the_environment_and_the_cache(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALDB", str(tree))
    assert caldb.find("aperture", 6e8).database.startswith("$CALDB")
    other = trees.caldb(tmp_path / "other", [trees.row("mine.fits", "CODED_MASK", 'APERTYPE("FLUX")')])
    assert caldb.find("aperture", 6e8, caldb=other).path.name == "mine.fits"
    # what one place does not have, the next one may
    trees.caldb(tmp_path / "cache" / "caldb", [trees.row("ground.fits", "DET_GAIN")])
    assert caldb.find("residual", 6e8).database.startswith("cache")


def test_what_would_leave_the_database_is_no_entry(tree: Path) -> None:
    names = [entry.name for entry in read_index((tree / trees.BAT / "caldb.indx").read_bytes(), "index")]
    assert len(names) == len(trees.ROWS) - 2
    assert not any(".." in name or name.startswith("/") for name in names)
    with pytest.raises(CalibrationError):
        caldb.find("bad_pixels", caldb=tree)


def test_a_missing_calibration_says_what_how_and_what_works(tree: Path) -> None:
    with pytest.raises(CalibrationError) as caught:
        caldb.find("alignment", 6e8, caldb=tree)
    text = str(caught.value)
    for part in (
        "TELDEF",
        "2020-01-06",
        "batx.caldb.fetch('alignment')",
        "nominal axes",
        "gone.teldef",
        "https://",
    ):
        assert part in text
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(ValueRangeError, match="expected one of aperture"):
        caldb.find("mask", caldb=tree)


@pytest.mark.parametrize("damage", ["text", "cut", "other table", "empty"])
def test_an_index_that_cannot_be_read_is_said(tree: Path, tmp_path: Path, damage: str) -> None:
    root = trees.caldb(tmp_path / "damaged")
    index = root / trees.BAT / "caldb.indx"
    if damage == "other table":
        index.write_bytes((root / trees.SC / "bcf/clock/swclock.fits").read_bytes())
    else:
        index.write_bytes({"text": b"hello", "cut": index.read_bytes()[:4000], "empty": b""}[damage])
    with pytest.raises(CalibrationError, match=r"caldb\.indx"):
        caldb.find("aperture", 6e8, caldb=root)
    with pytest.raises(FileFormatError):
        read_index(index.read_bytes(), "index")


def test_what_is_packaged_is_listed_and_there() -> None:
    for item in caldb.packaged():
        assert item.get() is not None
    names = [name for name, _, _ in caldb.listing()]
    assert names == list(caldb.PURPOSES)


def test_files_tell_what_they_are_for() -> None:
    assert purpose_of({"ccnm0001": "CODED_MASK", "cbd10001": 'APERTYPE("FLUX")'}, (), "x") == "aperture"
    assert (
        purpose_of({"ccnm0001": "CODED_MASK", "cbd10001": 'APERTYPE("MASK_EDGES")'}, (), "x") == "mask_edges"
    )
    assert purpose_of({}, ["offset", "gain", "gain2"], "x.fits") == "residual"
    assert purpose_of({}, ["gain", "offset"], "sw0bgocb.hk") is None


# --- servers -----------------------------------------------------------------------------------------------


def test_a_remote_database_is_used_and_kept(site: Site, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CALDB", f"{site.url}/caldb")
    found = caldb.find("aperture", 6e8)
    assert found.path == tmp_path / "cache/caldb/data/swift/bat/bcf/aper_flux_v2.fits"
    asked = len(site.asked)
    assert caldb.find("aperture", 6e8).path == found.path
    assert len(site.asked) == asked, "index and file are in the cache"
    monkeypatch.delenv("CALDB")
    assert caldb.find("aperture", 6e8).path == found.path, "the cache serves without a network"
    with pytest.raises(CalibrationError, match="which is not there"):
        caldb.find("pulser", 6e8)


def test_an_old_index_is_fetched_anew_and_serves_without_a_network(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/caldb"
    caldb.find("aperture", 6e8, caldb=url)
    index = tmp_path / "cache/caldb/data/swift/bat/caldb.indx"
    old = time.time() - 10 * 86400
    os.utime(index, (old, old))
    asked = site.count("/caldb/data/swift/bat/caldb.indx")
    caldb.find("aperture", 6e8, caldb=url)
    assert site.count("/caldb/data/swift/bat/caldb.indx") == asked + 1
    os.utime(index, (old, old))
    site.files.clear()
    assert caldb.find("aperture", 6e8, caldb=url, limits=QUICK).path.is_file()


def test_mirrors_are_tried_in_order_and_a_dead_one_does_not_hang(monkeypatch, site: Site) -> None:
    from batx.caldb import finding, places

    monkeypatch.setattr(places, "MIRRORS", ("http://127.0.0.1:9/caldb", f"{site.url}/caldb"))
    files = caldb.fetch(["aperture", "clock"], 6e8, limits=QUICK)
    assert [file.path.name for file in files] == ["aper_flux_v2.fits", "swclock.fits"]
    monkeypatch.setattr(places, "MIRRORS", ("http://127.0.0.1:9/caldb",))
    start = time.perf_counter()
    no_way = pytest.warns(BatxWarning, match="no connection")
    with no_way, pytest.raises(CalibrationError, match=r"127\.0\.0\.1"):
        caldb.fetch("pulser", 6e8, cache=finding.Path("nowhere"), limits=QUICK)
    assert time.perf_counter() - start < 10
    assert not Path("nowhere").exists() or not any(Path("nowhere").rglob("*.fits"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was asked of servers of calibration."""
    from batx.caldb import places
    from batx.transfer import download

    made: list[object] = []

    def counted(urls: object, *args: object, **options: object) -> Path:
        made.append(urls)
        return download(urls, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(places, "download", counted)
    return made


def test_a_server_that_cannot_be_reached_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[object]
) -> None:
    monkeypatch.setenv("CALDB", "http://me:secret@127.0.0.1:9/caldb")
    with pytest.warns(BatxWarning, match=r"no connection to .*http://127\.0\.0\.1:9/caldb") as caught:
        assert all(file is None for _, _, file in caldb.listing(6e8, download=None, cache=tmp_path / "x"))
    assert len(asked) == len(caught) == 1 and "secret" not in str(caught[0].message)
    assert caldb.served("aperture", 6e8) is None
    with pytest.raises(CalibrationError, match=r"no connection \d+ s ago; it is asked again in") as error:
        caldb.find("aperture", 6e8)
    assert len(asked) == 1 and "secret" not in str(error.value)
    (place,) = caldb.silent()
    assert place == "http://127.0.0.1:9/caldb" and 0 < caldb.silent()[place] <= 60
    # what is asked for is asked for, but once
    with pytest.warns(BatxWarning, match="no connection") as caught, pytest.raises(CalibrationError):
        caldb.fetch(limits=QUICK)
    assert len(asked) == 2 and len(caught) == 1
    caldb.ask_again()
    assert not caldb.silent()
    with pytest.warns(BatxWarning, match="no connection"):
        assert caldb.served("aperture", 6e8) is None
    assert len(asked) == 3
    assert not (tmp_path / "x").exists()


def test_calls_without_a_network_wait_once(
    observation: Path, monkeypatch: pytest.MonkeyPatch, asked: list[object]
) -> None:
    """Every verb looks for mask and alignment by itself."""
    monkeypatch.setenv("CALDB", "http://127.0.0.1:9/caldb")
    events = batx.open_dataset(next((observation / "bat" / "event").iterdir()))
    attitude = batx.open_dataset(next((observation / "auxil").glob("*sat*")))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", BatxWarning)
        for _ in range(2):
            for call in (
                lambda: events.bat.mask_weight(0.2, 0.1, frame="tangent"),
                lambda: events.bat.ray_trace(160.0, 25.0, attitude=attitude),
                lambda: batx.detector_plane(events, energy=[15, 150]).bat.sky_image(),
            ):
                with pytest.raises(batx.BatxError, match=r"aperture: found none"):
                    call()
    assert len(asked) == 1 and len([one for one in said if "no connection" in str(one.message)]) == 1


def test_the_silence_ends_by_itself(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    from batx.caldb import silence

    url = f"{site.url}/caldb"
    monkeypatch.setattr(silence, "PAUSE", 0.3)
    silence.note(url, "no connection")
    with pytest.raises(CalibrationError, match="no connection 0 s ago"):
        caldb.find("aperture", 6e8, caldb=url)
    time.sleep(0.3)
    assert caldb.find("aperture", 6e8, caldb=url).path.is_file()


def test_a_file_that_a_server_does_not_give_is_left_alone_and_others_come(site: Site) -> None:
    name = "/caldb/data/swift/bat/bcf/aper_flux_v2.fits"
    site.handlers[name] = lambda request, handler: handler.answer(500)
    url = f"{site.url}/caldb"
    for _ in range(3):
        with pytest.raises(CalibrationError, match=r"500|not given by the server"):
            caldb.find("aperture", 6e8, caldb=url, limits=QUICK)
    assert site.count(name) == 1
    assert caldb.find("mask_edges", 6e8, caldb=url).path.is_file()
    del site.handlers[name]
    assert caldb.fetch("aperture", 6e8, caldb=url)[0].path.is_file()


def test_a_damaged_file_is_not_kept(site: Site, tmp_path: Path, monkeypatch) -> None:
    name = "/caldb/data/swift/bat/bcf/aper_flux_v2.fits"
    whole = site.files[name]
    damaged = bytearray(whole)
    damaged[2900] ^= 0xFF
    site.files[name] = bytes(damaged)
    url = f"{site.url}/caldb"
    with pytest.raises(CalibrationError, match="damaged: Checksum verification failed"):
        caldb.find("aperture", 6e8, caldb=url)
    assert not list((tmp_path / "cache").rglob("*aper_flux_v2.fits*"))
    # another mirror has a good one
    from batx.caldb import places

    site.files[name.replace("/caldb/", "/copy/")] = whole
    monkeypatch.setattr(places, "MIRRORS", (url, f"{site.url}/copy"))
    found = caldb.fetch("aperture", 6e8)[0]
    assert found.path.read_bytes() == whole
    # what changes on disk afterwards is seen, and fetched again where that is possible
    site.files[name] = whole
    found.path.write_bytes(bytes(damaged))
    with pytest.raises(CalibrationError, match="checksum"):
        caldb.find("aperture", 6e8)
    again = caldb.find("aperture", 6e8, caldb=url)
    assert again.path.read_bytes() == whole


def test_a_damaged_index_does_not_replace_a_good_one(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/caldb"
    caldb.find("aperture", 6e8, caldb=url)
    index = tmp_path / "cache/caldb/data/swift/bat/caldb.indx"
    good, old = index.read_bytes(), time.time() - 10 * 86400
    os.utime(index, (old, old))
    damaged = bytearray(good)
    damaged[-3000] ^= 0xFF
    site.files["/caldb/data/swift/bat/caldb.indx"] = bytes(damaged)
    assert caldb.find("aperture", 6e8, caldb=url).path.is_file()
    assert index.read_bytes() == good


def test_many_at_a_time_get_whole_files(site: Site, tmp_path: Path) -> None:
    results: list[bytes | Exception] = []

    def one() -> None:
        try:
            results.append(caldb.find("aperture", 6e8, caldb=f"{site.url}/caldb").path.read_bytes())
        except Exception as error:  # noqa: BLE001
            results.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == [site.files["/caldb/data/swift/bat/bcf/aper_flux_v2.fits"]] * 8


@pytest.mark.parametrize(
    "place",
    [
        "https://127.0.0.1:9/caldb",
        "ftp://nowhere/caldb",
        "http://[bad",
        "nowhere",
        "http://me:secret@127.0.0.1:9/x",
    ],
)
def test_a_database_that_is_not_there_breaks_nothing(place: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CALDB", place)
    code = "import batx; batx.caldb.PURPOSES; print(batx.__version__)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0
    folder = simulate.observation(tmp_path, (), simulate.Background(0.002), duration=2.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        obs = batx.open_observation(folder)
        assert obs.attrs["missing"] == ""
        with pytest.raises(CalibrationError, match="aperture") as caught:
            caldb.find("aperture", 6e8, limits=QUICK)
        (folder / "caldb").rename(tmp_path / "away")
        missing = batx.open_observation(folder).attrs["missing"].splitlines()
    texts = [str(one.message) for one in said if issubclass(one.category, BatxWarning)]
    assert not any("secret" in text for text in [*texts, str(caught.value)])
    assert any("no connection to the calibration database" in text for text in texts) == ("127" in place)
    assert [line.split(":")[0] for line in missing] == ["alignment", "aperture"]


# --- who uses it -------------------------------------------------------------------------------------------


@pytest.fixture
def observation(tmp_path: Path) -> Path:
    """An observation without calibration, which is in a database by its side."""
    folder = simulate.observation(
        tmp_path, simulate.Source(0.3, imx=0.2, imy=0.1), simulate.Background(0.01), duration=10.0
    )
    bcf = tmp_path / "db" / trees.BAT / "bcf"
    bcf.parent.mkdir(parents=True)
    (folder / "caldb").rename(bcf)
    rows = [
        trees.row("aperture.fits", "CODED_MASK", 'APERTYPE("FLUX")'),
        trees.row("teldef.fits", "TELDEF"),
        trees.row("pulser.fits", "PULSER_GAIN", 'SOURCE("GROUND")', CAL_XNO=1),
        trees.row("fltpulser.fits", "PULSER_GAIN", 'SOURCE("FLIGHT")', CAL_XNO=1),
        trees.row("resid.fits", "DET_GAIN", CAL_XNO=1),
    ]
    trees.write_config(tmp_path / "db")
    trees.write_index(tmp_path / "db" / trees.BAT / "caldb.indx", rows)
    return folder


def test_an_observation_takes_its_calibration_from_the_database(observation: Path, monkeypatch) -> None:
    assert "aperture" in batx.open_observation(observation).attrs["missing"]
    monkeypatch.setenv("CALDB", str(observation.parent / "db"))
    obs = batx.open_observation(observation)
    assert obs.attrs["missing"] == ""
    weighted = obs.bat.mask_weight(0.2, 0.1, frame="tangent")
    record = calibration_of(weighted)["aperture"]
    assert record["file"] == "aperture.fits"
    assert record["codename"] == "CODED_MASK"
    assert len(record["sha256"]) == 64
    assert "alignment" not in calibration_of(weighted), "positions in the field need none"
    curve = weighted.bat.lightcurve(dt=5.0)
    assert calibration_of(curve)["aperture"]["file"] == "aperture.fits"
    calibrated = obs.bat.calibrate_energy()
    assert {"pulser", "flight_pulser", "residual", "gain_offset"} <= set(calibration_of(calibrated))
    assert calibration_of(calibrated)["pulser"]["database"].startswith("$CALDB")
    json.loads(calibrated.attrs["provenance"])


def test_what_is_missing_in_a_call_comes_from_the_database(observation: Path, monkeypatch) -> None:
    events = batx.open_dataset(next((observation / "bat" / "event").iterdir()))
    with pytest.raises(batx.BatxError, match=r"aperture: found none.*batx.caldb.fetch"):
        events.bat.mask_weight(0.2, 0.1, frame="tangent")
    monkeypatch.setenv("CALDB", str(observation.parent / "db"))
    weighted = events.bat.mask_weight(0.2, 0.1, frame="tangent")
    assert calibration_of(weighted)["aperture"]["file"] == "aperture.fits"
    plane = batx.detector_plane(events, energy=[15, 150])
    image = plane.bat.sky_image()
    assert calibration_of(image)["aperture"]["file"] == "aperture.fits"
    assert calibration_of(image.bat.detect(snr=6))["aperture"]["file"] == "aperture.fits"
    response = weighted.bat.spectrum().bat.response()
    assert set(calibration_of(response)) == {"aperture", "response"}
    with pytest.raises(CalibrationError, match="DET_POSCOR"):
        events.bat.mask_weight(0.2, 0.1, frame="tangent", distortion="caldb")
    attitude = batx.open_dataset(next((observation / "auxil").glob("*sat*")))
    traced = events.bat.ray_trace(160.0, 25.0, attitude=attitude)
    assert set(calibration_of(traced)) == {"aperture", "alignment"}
    with pytest.raises(MissingFileError):
        batx.calibrate_energy(events)


def test_the_clock_comes_from_the_database(tree: Path) -> None:
    clock = caldb.clock(caldb=tree)
    assert float(clock.ttcf(6.5e8)) == pytest.approx(-1.0 + clock.leap_seconds[-1])
    with pytest.raises(CalibrationError, match="1999-01-01"):
        caldb.clock(caldb=tree, time="1999-01-01")


def test_a_gzipped_file_serves_for_its_name(tree: Path, tmp_path: Path) -> None:
    import gzip

    root = trees.caldb(tmp_path / "packed", [trees.row("mask.fits", "CODED_MASK", 'APERTYPE("FLUX")')])
    plain = root / trees.BAT / "bcf" / "mask.fits"
    plain.with_name("mask.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    found = caldb.find("aperture", 6e8, caldb=root)
    assert found.path.name == "mask.fits.gz"
    assert np.array_equal(found.open()["mask"].values, np.ones((9, 9)))


# --- command line ------------------------------------------------------------------------------------------


def command(*arguments: str) -> tuple[int, str]:
    from click.testing import CliRunner

    from batx.cli import main

    result = CliRunner().invoke(main, list(arguments), env={"COLUMNS": "300"})
    return result.exit_code, result.output


def test_files_are_listed_and_fetched_on_the_command_line(site: Site, tmp_path: Path, monkeypatch) -> None:
    code, text = command("calibration", "aperture", "alignment")
    assert code == 0
    assert text.count("missing") == 3
    monkeypatch.setenv("CALDB", f"{site.url}/caldb")
    code, text = command("calibration", "--fetch", "--time", "2020-01-06", "aperture", "clock")
    assert code == 0
    assert "aper_flux_v2.fits" in text
    assert "2010-06-01" in text
    monkeypatch.delenv("CALDB")
    assert "swclock.fits" in command("calibration", "clock")[1]
    code, text = command("calibration", "--fetch", "residual", "--caldb", f"{site.url}/caldb")
    assert code != 0


def test_energies_on_the_command_line(observation: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.evt"
    arguments = ("calibrate", str(observation), "--calibration", str(tmp_path / "db" / trees.BAT / "bcf"))
    code, text = command(*arguments, "-o", str(made))
    assert code == 0, text
    assert "FIXEDDAC" in text
    assert "-500 s" in text
    assert batx.open_dataset(made).attrs["gainmeth"] == "FIXEDDAC"
    assert command(*arguments, "-o", str(made))[0] != 0
    linear = command(*arguments, "-o", str(made), "--method", "linear", "--overwrite")
    assert "LINEAR" in linear[1]
