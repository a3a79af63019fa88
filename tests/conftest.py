"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _servers_are_asked_anew() -> None:
    """Let no test know which servers of calibration did not answer in another one."""
    from batx.caldb.silence import ask_again

    ask_again()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference runs and real files, named by ``BATX_SHARED``; without it these tests skip."""
    name = os.environ.get("BATX_SHARED")
    if not name:
        pytest.skip("BATX_SHARED is not set: full comparisons with the reference folder are off")
    folder = Path(name).resolve()
    if not folder.is_dir():
        pytest.fail(f"BATX_SHARED={name} is not a folder")
    return folder


@pytest.fixture(scope="session")
def heasoft(shared: Path) -> Path:
    """Reference runs of the BAT tools."""
    return shared / "reference" / "heasoft"


@pytest.fixture
def headas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``$HEADAS`` of stand-ins; see `stand_ins`."""
    import stand_ins

    folder = stand_ins.make_headas(tmp_path / "software")
    monkeypatch.setenv("HEADAS", str(folder))
    return folder


@pytest.fixture
def sas_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``$SAS_DIR`` without tasks; see `stand_ins.add_sas_task`."""
    import stand_ins

    folder = stand_ins.make_sas(tmp_path / "software")
    monkeypatch.setenv("SAS_DIR", str(folder))
    return folder
