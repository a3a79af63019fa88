"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
