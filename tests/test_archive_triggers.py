"""Triggers: their messages, maps and events, put together with what is nearest in time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner
from test_archive import QUICK, below, votable
from web_server import Request, Site, serving

import batx
from batx import archive
from batx.archive.assembly import trigger_time
from batx.cli import main
from batx.errors import BatxWarning, FileFormatError, MissingFileError, ValueRangeError, WriteError
from batx.instrument.detector import DETID
from batx.met import met_to_mjd
from batx.simulate import Background, Box, Source, observation

pytest.importorskip("requests")

START = 6.9e8
TRIGGER = "01104692000"
#: MJD of the trigger, and the folder of the month
MJD, MONTH = 59895.5, "2022_11"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An observation with a bright source that is on for 4 of 8 seconds."""
    place = tmp_path_factory.mktemp("simulated")
    burst = Source(0.5, ra=155.0, dec=28.0, light_curve=Box(2.0, 4.0))
    return observation(
        place, burst, Background(rate=0.05), start=START, duration=8.0, trigger=2.0, obs_id="00015129012"
    )


def times(path: Path, shift: float) -> None:
    """Move a housekeeping file in time."""
    with fits.open(path, mode="update") as hdus:
        for hdu in hdus:
            for key in ("TSTART", "TSTOP"):
                if key in hdu.header:
                    hdu.header[key] += shift


def message(path: Path, **keywords: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hdu = fits.PrimaryHDU()
    hdu.header.update({"TELESCOP": "SWIFT", "INSTRUME": "BAT", "OBS_ID": TRIGGER, **keywords})
    hdu.writeto(path)


@pytest.fixture
def trigger(simulated: Path, tmp_path: Path) -> Path:
    """Folder of the trigger: an alert and the events, nothing else."""
    folder = tmp_path / "tdrss" / TRIGGER
    message(folder / f"sw{TRIGGER}msbal.fits", TRIGTIME=START + 2.0, BRA_OBJ=155.0, BDEC_OBJ=28.0)
    events = next((simulated / "bat" / "event").glob("*.evt"))
    with fits.open(events) as hdus:
        for hdu in hdus:
            hdu.header["OBS_ID"] = TRIGGER
        hdus.writeto(folder / f"sw{TRIGGER}msbevshp_uf.evt")
    return folder


def test_assembled(simulated: Path, trigger: Path, tmp_path: Path):
    later = tmp_path / "later"
    for name in ("bgocb", "bdecb"):
        source = next((simulated / "bat" / "hk").glob(f"*{name}*"))
        for hours, folder in ((30, later), (-2, tmp_path / "earlier")):
            folder.mkdir(exist_ok=True)
            copy = folder / f"sw{hours + 50:011d}{name}.hk"
            copy.write_bytes(source.read_bytes())
            times(copy, 3600.0 * hours)
    # maps of the pulser have the columns of the gain map, and the time of the trigger
    support = [later, tmp_path / "earlier", simulated / "auxil", simulated / "caldb"]
    before = {path: path.read_bytes() for path in simulated.rglob("*") if path.is_file()}
    made = archive.assemble(trigger, tmp_path / "made", support=support)
    assert below(made) == [
        archive.assembly.RECORD,
        "auxil/sw00015129012sat.fits",
        f"bat/event/sw{TRIGGER}msbevshp_uf.evt",
        "bat/hk/sw00000000048bdecb.hk",
        "bat/hk/sw00000000048bgocb.hk",
        f"tdrss/sw{TRIGGER}msbal.fits",
    ]
    record = json.loads((made / archive.assembly.RECORD).read_text())
    assert record["time"] == START + 2.0
    assert record["parts"]["gain_offset"]["gap"] == 2 * 3600.0 - 6.0
    assert record["parts"]["attitude"]["gap"] == 0.0
    assert before == {path: path.read_bytes() for path in simulated.rglob("*") if path.is_file()}
    tree = batx.open_observation(made, calibration=simulated / "caldb")
    assert tree.attrs["obs_id"] == TRIGGER and tree.attrs["missing"] == ""
    with pytest.raises(WriteError, match="exists"):
        archive.assemble(trigger, tmp_path / "made", support=support)
    assert archive.assemble(trigger, tmp_path / "made", support=support, overwrite=True) == made
    with pytest.raises(WriteError):
        archive.assemble(trigger, simulated, support=support, overwrite=True)


def test_what_lacks_is_said(simulated: Path, trigger: Path, tmp_path: Path):
    with pytest.warns(BatxWarning) as caught:
        made = archive.assemble(trigger, tmp_path / "made")
    assert [str(one.message).partition("found no file for ")[2] for one in caught] == [
        "the attitude (auxil)", "gains and offsets (bat/hk)", "enabled detectors (bat/hk)"
    ]  # fmt: skip
    assert "attitude" in batx.open_observation(made).attrs["missing"]
    far = tmp_path / "far.fits"
    far.write_bytes(next((simulated / "auxil").glob("*sat.fits")).read_bytes())
    times(far, 5000.0)
    with pytest.warns(BatxWarning, match="lacks 4980 s"):
        archive.assemble(trigger, tmp_path / "other", support=[far, simulated / "bat"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match="no FITS files"):
        archive.assemble(empty, tmp_path / "x")
    with pytest.raises(MissingFileError, match="no such"):
        archive.assemble(trigger, tmp_path / "x", support=tmp_path / "nowhere")


def serve(site: Site, folder: Path, path: str) -> None:
    for name in below(folder):
        site.files[f"{path}/{name}"] = (folder / name).read_bytes()


@pytest.fixture
def site(simulated: Path, trigger: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An archive with the trigger and the observation during which it was."""
    tables = {
        "swifttdrss": Table({"obsid": [TRIGGER], "target_id": [1104692], "time": [MJD]}),
        "swiftmastr": Table(
            {
                "obsid": ["00015129013", "00015129012"],
                "start_time": [MJD + 0.2, MJD - 0.1],
                "stop_time": [MJD + 0.3, MJD + 0.1],
            }
        ),
    }

    def answer(request: Request, server: Any) -> None:
        name = next(name for name in tables if name.encode() in request.body)
        server.answer(200, votable(tables[name]))

    with serving(Site()) as served:
        served.handlers["/tap/sync"] = answer
        serve(served, trigger, f"/FTP/swift/data/tdrss/{MONTH}/{TRIGGER}")
        serve(served, simulated, f"/FTP/swift/data/obs/{MONTH}/00015129012")
        monkeypatch.setattr("batx.archive.tables.SERVICE", f"{served.url}/tap")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield served


def test_fetch_trigger(site: Site, simulated: Path, tmp_path: Path):
    options = {"data": tmp_path / "data", "mirrors": f"{site.url}/FTP", "limits": QUICK}
    made = archive.fetch_trigger(1104692, **options)
    assert made == tmp_path / "data" / "triggers" / TRIGGER
    tree = batx.open_observation(made, calibration=simulated / "caldb")
    assert tree.attrs["missing"] == "" and tree.attrs["obs_id"] == TRIGGER
    assert not list((tmp_path / "data" / "00015129012").rglob("*.evt")), "only housekeeping is fetched"
    before = len(site.asked)
    assert archive.fetch_trigger(TRIGGER, offline=True, **options) == made
    assert len(site.asked) == before
    with pytest.raises(MissingFileError, match="offline"):
        archive.fetch_trigger(1104693, offline=True, **options)
    assert len(archive.plan_triggers(1104692, offline=True, **options).files) == 2
    (made / "auxil").rename(made / "gone")
    assert archive.fetch_trigger(1104692, overwrite=True, **options) == made
    assert (made / "auxil").is_dir() and not (made / "gone").exists()
    command = [
        "fetch",
        "--trigger",
        "1104692",
        "--data",
        str(tmp_path / "other"),
        "--mirror",
        options["mirrors"],
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0 and f"wrote {tmp_path / 'other' / 'triggers' / TRIGGER}" in done.output


def test_maps_are_the_nearest_in_time(site: Site, simulated: Path, tmp_path: Path):
    """Own maps hours before lose to those of the next observation; the attitude is that of a third one."""
    others = {  # days to start and stop, shift of the maps and of the attitude, s
        "00015129012": (-0.2, 0.1, -3 * 3600.0, -5000.0),
        "00015129013": (300 / 86400, 0.01, 400.0, 5000.0),
        "00015129014": (-0.1, -100 / 86400, -30 * 3600.0, 0.0),
        "00015129015": (0.25, 0.3, 22000.0, 9000.0),
    }
    for path in [path for path in site.files if "/00015129012/" in path]:
        del site.files[path]
    for obs_id, (_, _, maps, attitude) in others.items():
        folder = tmp_path / obs_id
        for name in ("bat/hk", "auxil"):
            shutil.copytree(simulated / name, folder / name)
        for path in folder.rglob("*.*"):
            times(path, maps if path.suffix == ".hk" else attitude)
        serve(site, folder, f"/FTP/swift/data/obs/{MONTH}/{obs_id}")
    table = Table(
        {
            "obsid": list(others),
            "start_time": [MJD + one[0] for one in others.values()],
            "stop_time": [MJD + one[1] for one in others.values()],
        }
    )
    known = site.handlers["/tap/sync"]

    def answer(request: Request, server: Any) -> None:
        if b"swiftmastr" in request.body:
            server.answer(200, votable(table))
        else:
            known(request, server)

    site.handlers["/tap/sync"] = answer
    made = archive.fetch_trigger(1104692, data=tmp_path / "d", mirrors=f"{site.url}/FTP", limits=QUICK)
    parts = json.loads((made / archive.assembly.RECORD).read_text())["parts"]
    assert parts["gain_offset"]["gap"] == 398.0 and parts["enabled"]["gap"] == 3602.0
    assert parts["attitude"]["gap"] == 0.0
    asked = {request.path.split("/")[6] for request in site.asked if "/data/obs/" in request.path}
    assert asked == {"00015129012", "00015129013", "00015129014"}


def test_quicklook_triggers(site: Site, trigger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("batx.archive.trigger_data._QUICKLOOK", f"{site.url}/ql")
    serve(site, trigger, "/ql/011046xx/01104699000")
    table = {"obsid": ["01104699000"], "time": [MJD]}
    made = archive.plan_triggers(table, data=tmp_path / "d", mirrors=f"{site.url}/FTP", limits=QUICK)
    assert made.quicklook == ("01104699000",) and len(made.files) == 2
    assert made.fetch() == [tmp_path / "d" / "quicklook" / "tdrss" / "01104699000"]
    with pytest.raises(MissingFileError, match="was not found"):
        archive.plan_triggers(
            table, data=tmp_path / "e", mirrors=f"{site.url}/FTP", limits=QUICK, quicklook=False
        )
    (offline,) = archive.plan_triggers(1104699, data=tmp_path / "d", offline=True).folders.values()
    assert offline == tmp_path / "d" / "quicklook" / "tdrss" / "01104699000"


def test_a_trigger_of_today(site: Site, trigger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The table does not know it yet: its messages tell when it was."""
    monkeypatch.setattr("batx.archive.trigger_data._QUICKLOOK", f"{site.url}/ql")
    serve(site, trigger, "/ql/011046xx/01104699000")
    answer = site.handlers["/tap/sync"]
    none = Table(names=("obsid", "time"), dtype=("U11", "f8"))

    def without(request: Request, server: Any) -> None:
        if b"swifttdrss" in request.body:
            server.answer(200, votable(none))
        else:
            answer(request, server)

    site.handlers["/tap/sync"] = without
    options = {"data": tmp_path, "mirrors": f"{site.url}/FTP", "limits": QUICK}
    with pytest.warns(BatxWarning, match="00015129013 was not found"):
        made = archive.fetch_trigger(1104699, **options)
    parts = json.loads((made / "assembled.json").read_text())["parts"]
    assert set(parts) == {"attitude", "gain_offset", "enabled"} and parts["attitude"]["gap"] == 0.0
    asked = next(request.body for request in reversed(site.asked) if b"swiftmastr" in request.body)
    times = [float(one) for one in re.findall(r"_time [<>]= ([\d.]+)", parse_qs(asked.decode())["QUERY"][0])]
    told = met_to_mjd(trigger_time(trigger), utcf=0.0)
    assert times == pytest.approx([told + 1.0, told - 1.0], abs=1e-6)
    with pytest.raises(MissingFileError, match="swifttdrss"):
        archive.fetch_trigger(1104698, **options)


# ---------------------------------------------------------------- scaled maps


def burst_map(simulated: Path) -> np.ndarray:
    """Counts during the burst minus those of as long before and after it."""
    events = batx.open_observation(simulated)["events"].to_dataset()
    on = batx.detector_plane(events, tstart=START + 2.0, tstop=START + 6.0, energy=[15, 50])["counts"]
    off = batx.detector_plane(events, energy=[15, 50], time=[START, START + 2.0, START + 6.0, START + 8.0])
    counts = off["counts"].values.reshape(3, 173, 286)
    return on.values.reshape(173, 286) - counts[0] - counts[2]


def as_image(values: np.ndarray) -> fits.HDUList:
    return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values, name="SCALED_MAP")])


def as_vector(values: np.ndarray) -> fits.HDUList:
    ordered = np.zeros(32768, values.dtype)
    ordered[DETID[DETID >= 0]] = values[DETID >= 0]
    column = fits.Column("MAP", "32768I", array=ordered[None])
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])])


def as_rows(values: np.ndarray) -> fits.HDUList:
    columns = [
        fits.Column("DET_ID", "J", array=DETID[DETID >= 0]),
        fits.Column("COUNTS", "I", array=values[DETID >= 0]),
    ]
    return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)])


@pytest.mark.parametrize("form", [as_image, as_vector, as_rows])
def test_scaled_map_images_the_burst(simulated: Path, tmp_path: Path, form: Any):
    counts = burst_map(simulated)
    hdus = form(np.round(counts / 2).astype(np.int16))
    hdus[0].header.update({"TELESCOP": "SWIFT", "INSTRUME": "BAT", "OBS_ID": TRIGGER})
    hdus[0].header.update({"TSTART": START + 2.0, "TSTOP": START + 6.0})
    path = tmp_path / f"sw{TRIGGER}msbsm.fits"
    hdus.writeto(path)
    ds = batx.scaled_map(path, scale=2.0, energy=(15.0, 50.0))
    assert ds.attrs["batx_kind"] == "detector_plane" and ds.attrs["obs_id"] == TRIGGER
    assert np.abs(ds["counts"].values - counts)[DETID >= 0].max() <= 1.0
    assert float(ds["exposure"]) == 4.0 and (ds["counts"] < 0).any()
    if form is not as_image:
        return
    tree = batx.open_observation(simulated)
    parts = {name: tree[name].to_dataset() for name in ("aperture", "detector_mask", "attitude", "alignment")}
    ds = batx.scaled_map(path, scale=2.0, energy=(15.0, 50.0), detector_mask=parts["detector_mask"])
    found = batx.detect(batx.sky_image(ds, **parts), snr=8)
    assert found.sizes["source"] == 1
    distance = np.hypot(
        (float(found["ra"][0]) - 155.0) * np.cos(np.radians(28.0)), float(found["dec"][0]) - 28.0
    )
    assert distance * 60 < 3.0


def test_files_that_are_no_scaled_map(tmp_path: Path):
    path = tmp_path / "x.fits"
    for hdus in (
        fits.HDUList([fits.PrimaryHDU()]),
        fits.HDUList([fits.PrimaryHDU(np.zeros((10, 10)))]),
        fits.HDUList([fits.PrimaryHDU(np.zeros((173, 286))), fits.ImageHDU(np.zeros((173, 286)))]),
    ):
        hdus.writeto(path, overwrite=True)
        with pytest.raises(FileFormatError, match="expected one image"):
            batx.scaled_map(path)
    fits.PrimaryHDU(np.full((173, 286), np.nan)).writeto(path, overwrite=True)
    with pytest.raises(ValueRangeError, match="not finite"):
        batx.scaled_map(path)
    for options in ({"scale": 0.0}, {"time": (5.0, 4.0)}, {"energy": (50.0, 15.0)}):
        fits.PrimaryHDU(np.zeros((173, 286))).writeto(path, overwrite=True)
        with pytest.raises(ValueRangeError):
            batx.scaled_map(path, **options)
    with pytest.raises(MissingFileError):
        batx.scaled_map(tmp_path / "none.fits")
