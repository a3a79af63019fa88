"""Questions and fetches from the command line."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from click.testing import CliRunner, Result
from test_archive import OBS, asked, site, tap  # noqa: F401
from web_server import Site

from batx import archive
from batx.archive.targets import target
from batx.cli import main
from batx.errors import PositionError

pytest.importorskip("requests")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("BATX_DATA", "BATX_MIRRORS", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def batx(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_find_and_fetch(tap: Site):  # noqa: F811
    """What was found needs no further question."""
    found = batx("find", "83.633 22.0145", "--coded", "0.5", "--since", "2021-12-11", "-o", "found.csv")
    assert found.exit_code == 0, found.output
    assert OBS in found.output and "00012345001" not in found.output
    assert "cat.start_time >= 59559.0" in asked(tap)
    table = pd.read_csv("found.csv", dtype={"obsid": str})
    assert table["obsid"].tolist() == [OBS] and table["coded_exposure"][0] == 1000.0
    questions = tap.count("/tap/sync")
    done = batx("fetch", "found.csv", "--mirror", f"{tap.url}/FTP", "--data", "data", "-i", "auxil")
    assert done.exit_code == 0, done.output
    assert Path(f"data/{OBS}/auxil/sw{OBS}sat.fits").is_file()
    assert tap.count("/tap/sync") == questions
    again = batx("find", "83.633 22.0145", "-o", "found.csv")
    assert again.exit_code == 1 and "overwrite" in again.output and tap.count("/tap/sync") == questions


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 1, "found no condition"),
        (("--what", "guano", "--coded", "0.1"), 2, "--coded is not for guano"),
        (("10 20", "--what", "triggers"), 2, "POSITION is not for triggers"),
        (("10 95",), 1, "-90 to 90"),
        (("--since", "yesterday"), 1, "or a date such as"),
        (("--limit", "0"), 2, "--limit"),
    ],
)
def test_questions_that_make_no_sense(tap: Site, words: tuple[str, ...], code: int, text: str):  # noqa: F811
    done = batx("find", *words)
    assert done.exit_code == code and text in done.output


def test_tables_that_are_none(tmp_path: Path):
    Path("bytes.csv").write_bytes(bytes(range(255, 128, -1)))
    Path("other.csv").write_text("a,b\n1,2\n")
    for name, text in {
        "bytes.csv": "found no table",
        "other.csv": "obsid",
        "none.csv": "No such file",
    }.items():
        done = batx("fetch", name, "--data", "data")
        assert done.exit_code == 1 and text in done.output
    assert batx("fetch", "other.csv", OBS).exit_code == 2


@pytest.mark.parametrize(
    "position",
    [
        (83.625, 22.01),
        (83.625 * u.deg, 22.01 * u.deg),
        np.array([83.625, 22.01]),
        SkyCoord(83.625, 22.01, unit="deg").galactic,
        "83.625 22.01",
        "83.625, +22.01",
        "05:34:30 +22:00:36",
        "05h34m30s +22d00m36s",
        "5 34 30 +22 00 36",
    ],
)
def test_positions(position: object):
    assert target(position) == pytest.approx((83.625, 22.01), abs=1e-9)


@pytest.mark.parametrize(
    "position",
    [
        (10.0, 95.0),
        (361.0, 5.0),
        (-181.0, 5.0),
        (1.0,),
        (1, 2, 3),
        ([1.0, 2.0], 3.0),
        "26:00:00 +99:00:00",
        5,
    ],
)
def test_what_is_no_position(position: object):
    with pytest.raises(PositionError):
        target(position)


def test_a_number_of_numpy_is_an_id(tap: Site):  # noqa: F811
    archive.observations(obs_id=np.int64(12345000))
    assert asked(tap).endswith(f"cat.obsid IN ('{OBS}')")
