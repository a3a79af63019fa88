"""Compiled functions where their code can and cannot be kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numba.core import caching

import batx
from batx.compiling import njit
from batx.errors import BatxWarning

#: named with an underscore in older versions
CACHE = getattr(caching, "CacheImpl", None) or caching._CacheImpl


def total(values: np.ndarray) -> float:
    made = 0.0
    for value in values:
        made += value
    return made


def test_a_function_runs_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CACHE, "_locator_classes", [])
    with pytest.warns(BatxWarning, match=r"cannot be kept.*\$NUMBA_CACHE_DIR"):
        compiled = njit(cache=True, nogil=True)(total)
    assert compiled(np.arange(4.0)) == 6.0


def test_all_functions_are_compiled_this_way() -> None:
    """Numba itself ends the import of batx where nothing can be written."""
    folder = Path(batx.__file__).parent
    others = [path.name for path in folder.rglob("*.py") if "from numba import" in path.read_text("utf-8")]
    assert others == []


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(CACHE, "__init__", fails)
    with pytest.raises(RuntimeError, match="something else"):
        njit(cache=True)(total)
