"""What the pipeline of events takes from messages, scaled maps and housekeeping beside the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from astropy.io import fits

import batx
from batx import simulate
from batx.errors import MissingFileError
from batx.pipelines import Work
from batx.pipelines import events as run_events
from batx.pipelines.bursts.messages import near_field
from batx.pipelines.bursts.triggers import position_of, trigger_of

ZERO = 600000040
OPTIONS = {"ra": None, "dec": None, "position": None, "trigger": None, "foreground": None, "background": None}


def message(folder: Path, name: str, **values: Any) -> None:
    (folder / "tdrss").mkdir(exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header.update(values)
    primary.writeto(folder / "tdrss" / f"sw00044444000{name}_rw.fit")


def scaled_map(folder: Path, **times: int) -> None:
    """Write a scaled map as it is sent: the times of its intervals are in the second table."""
    ends = [f"m{end}{span}" for span in ("Fore", "Back") for end in ("Start", "End")]
    parts = [f"{end}{part}" for end in ends for part in ("Sec", "Subsec")]
    columns = [
        fits.Column(name, "1I" if "Sub" in name else "1J", array=[times.get(name, 0)]) for name in parts
    ]
    tables = [fits.BinTableHDU.from_columns([fits.Column("X", "J", array=[1])], name="OTHER")]
    tables += [fits.BinTableHDU.from_columns(columns, name="MAP")]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(folder / "tdrss" / "sw00044444000msbsm_rw.fits")


def events() -> xr.Dataset:
    attrs = {"trigger_time": ZERO + 0.5, "utcf": -25.0, "ra_obj": 165.0, "dec_obj": 24.0}
    return batx.build("events", {"time": [ZERO - 1.0, ZERO + 1.0]}, attrs)


def work(folder: Path, **options: Any) -> Work:
    return Work(folder, OPTIONS | options, {}, lambda _: None, folder, folder)


def trigger(folder: Path, **options: Any) -> tuple[dict[str, Any], str]:
    """Return what is known of the trigger, and the notes."""
    made = work(folder, **options)
    return trigger_of(made, folder, events()), " ".join(made.notes)


def times(found: dict[str, Any]) -> list[float]:
    names = ("start", "stop", "background_start", "background_stop")
    return [round(found[name] - ZERO, 6) for name in names if name in found]


SHORT = {"TRIGTIME": ZERO, "TRIGSATF": 10003, "FOREEXPO": 0.512}
MAP = {
    "mStartForeSec": ZERO,
    "mStartForeSubsec": 4000,
    "mEndForeSec": ZERO,
    "mEndForeSubsec": 40000 - 65536,  # 16 bits without sign, read with one
    "mStartBackSec": ZERO - 24,
    "mEndBackSec": ZERO - 1,
    "mEndBackSubsec": 25000,
}


def test_the_interval_of_a_short_trigger_is_that_of_its_scaled_map(tmp_path: Path):
    message(tmp_path, "msbal", **SHORT, BACKSTRT=ZERO - 30, BACKSTOP=ZERO)
    scaled_map(tmp_path, **MAP)
    found, notes = trigger(tmp_path)
    assert times(found) == [0.08, 0.8, -24.0, -0.5]
    assert found["time"] == ZERO and "that of the scaled map sw00044444000msbsm" in notes


def test_a_scaled_map_without_intervals_is_passed_over(tmp_path: Path):
    message(tmp_path, "msbal", **SHORT, BACKSTRT=ZERO - 30, BACKSTOP=ZERO)
    scaled_map(tmp_path)
    found, notes = trigger(tmp_path)
    assert times(found) == [-0.512, 0.832, -30.0, -0.512] and "0.512 s before" in notes


def test_other_triggers_keep_the_interval_of_their_message(tmp_path: Path):
    message(tmp_path, "msbal", **SHORT | {"TRIGSATF": 11000}, TRIGSTOP=ZERO + 8)
    scaled_map(tmp_path, **MAP)
    assert times(trigger(tmp_path)[0]) == [0.0, 8.0]


def test_what_is_given_comes_before_messages_and_repair(tmp_path: Path):
    message(tmp_path, "msbal", **SHORT)
    found, _ = trigger(tmp_path, trigger=ZERO - 0.1)
    assert found["time"] == ZERO - 0.1 and times(found) == [-0.1, 0.832]
    found, _ = trigger(tmp_path, foreground=[1.0, 2.0], background=[-9.0, -3.0])
    assert times(found) == [1.0, 2.0, -9.0, -3.0]


def test_the_clock_correction_is_that_of_the_message_if_it_can_be(tmp_path: Path):
    assert trigger(tmp_path)[0]["utcf"] == -25.0
    message(tmp_path, "msbal", TRIGTIME=ZERO, UTCFINIT=-20.5)
    assert trigger(tmp_path)[0]["utcf"] == -20.5
    message(tmp_path, "msbce", TRIGTIME=ZERO, UTCFINIT=-65.5, LEAP2001=-5)
    found, notes = trigger(tmp_path)
    assert found["utcf"] == -5.0 and "-65.5 s, cannot be" in notes


def test_whose_position_it_is(tmp_path: Path):
    def position(**options: Any) -> dict[str, Any]:
        made = work(tmp_path, **options)
        return position_of(made, events(), trigger_of(made, tmp_path, events())["positions"])

    header = {"ra": 165.0, "dec": 24.0, "from": "header of the events"}
    assert position() == position(position="header") == header
    message(tmp_path, "msxce", XRA_OBJ=165.02, XDEC_OBJ=24.02)
    for other in ("msxno", "msxim"):
        message(tmp_path, other, XRA_OBJ=0.0, XDEC_OBJ=0.0)
    xrt = {"ra": 165.02, "dec": 24.02, "from": "message sw00044444000msxce_rw.fit"}
    assert position() == position(position="xrt") == xrt
    with pytest.raises(MissingFileError, match=r"BRA_OBJ.*positions of: xrt, header"):
        position(position="bat")
    message(tmp_path, "msbal", BRA_OBJ=170.0, BDEC_OBJ=25.0, TRIGTIME=ZERO)
    message(tmp_path, "msbce", BRA_OBJ=165.1, TRIGTIME=ZERO)
    assert position() == position(position="bat")
    assert position() == {"ra": 170.0, "dec": 25.0, "from": "message sw00044444000msbal_rw.fit"}
    assert position(position="xrt") == xrt and position(position="header") == header
    assert position(position="blind") == {}
    assert position(ra=10.0, dec=20.0) == {"ra": 10.0, "dec": 20.0, "from": "given"}


def test_texts_in_place_of_numbers_are_told(tmp_path: Path):
    message(tmp_path, "msbal", TRIGTIME="UNKNOWN", TRIGSATF=10003)
    found, notes = trigger(tmp_path)
    assert found["time"] == ZERO + 0.5
    assert "TRIGTIME is 'UNKNOWN'" in notes and "give foreground=" in notes


def test_files_that_cannot_be_read_do_not_end_it(tmp_path: Path):
    message(tmp_path, "msbal", TRIGTIME=ZERO)
    scaled_map(tmp_path, **MAP)
    for path in sorted((tmp_path / "tdrss").iterdir()):
        path.write_bytes(path.read_bytes()[:2000])
    assert trigger(tmp_path)[0]["time"] == ZERO + 0.5


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0.0, 0.0)], {}),
        ([(0.1, 1.0), (0.0, 1.0)], {}),
        ([(0.0, 1.0), (0.1, 1.0)], {"distance": 1100.35, "origin": 100.35}),
    ],
)
def test_the_last_row_tells_of_a_near_source(
    tmp_path: Path, rows: list[tuple[float, float]], expected: dict[str, float]
):
    (tmp_path / "bat" / "hk").mkdir(parents=True)
    columns = [
        fits.Column(name, "D", array=list(values))
        for name, values in zip(("INVDIST", "FLENGTH"), zip(*rows, strict=True), strict=True)
    ]
    table = fits.BinTableHDU.from_columns(columns, name="hk161x001")
    table.writeto(tmp_path / "bat" / "hk" / "sw00044444000ben.hk")
    assert near_field(tmp_path) == pytest.approx(expected)


def test_a_simulated_short_trigger_of_a_near_source(tmp_path: Path):
    messages = simulate.Messages(
        bat=(151.0, 30.5),
        xrt=(151.01, 30.51),
        foreground=(-0.1, 0.4),
        background=(-8.0, -2.0),
        criterion=10003,
    )
    made = simulate.observation(
        tmp_path,
        background=simulate.Background(rate=0.02),
        duration=20.0,
        trigger=10.0,
        messages=messages,
        near=(0.05, 1.0),
    )
    pipeline = run_events(made, tmp_path / "out", position="xrt", figures=False)
    found = {status.name: status for status in pipeline.run("durations", "images")}
    assert {name: one.reason for name, one in found.items() if one.state != "done"} == {}
    # nothing shines: the intervals are those of the scaled map
    zero = 6e8 + 10.0
    spans = found["durations"].facts["spans"]
    assert spans["tot"] == pytest.approx([zero - 0.1, zero + 0.4], abs=2e-5)
    assert spans["bkg1"] == pytest.approx([-1e307, zero - 2.0], abs=2e-5)
    assert spans["bkg2"] == pytest.approx([zero + 60.4, 1e307], abs=2e-5)
    assert "the source was near" in " ".join(found["fetch"].notes)
    weighted = batx.open_dataset(next((tmp_path / "out" / "events").glob("*_all.evt")))
    assert (weighted.attrs["ra_obj"], weighted.attrs["bat_zobj"]) == (151.01, 2100.35)
    image = batx.open_dataset(next((tmp_path / "out" / "img").glob("*_preslew_1chan.img")))
    assert image.attrs["bat_zobj"] == 2100.35 and "origin=100.35" in image.attrs["history"]
