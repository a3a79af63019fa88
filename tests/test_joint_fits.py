"""The search for a lower minimum of a joint fit, which must not lose the fit that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from batx.errors import ModelError
from batx.pipelines.frame import Work
from batx.pipelines.missions import joint

USED = {"a": Path("a.pha"), "b": Path("b.pha")}


def result(statistic: float, **values: float) -> xr.Dataset:
    held = np.array(list(values.values()))
    return xr.Dataset(
        {"statistic": ((), statistic), "value": ("parameter", held)}, {"parameter": list(values)}
    )


def lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: Any, **given: Any
) -> tuple[xr.Dataset, Work]:
    monkeypatch.setattr(joint, "fit_spectra", fits)
    work = Work(tmp_path, {}, {}, lambda _: None, tmp_path, tmp_path)
    found = result(120.0, **{"nh": 150.0, "index[a]": 1.0, "index[b]": 9.0})
    how = {"energy": (1.0, 9.0), "statistic": "cstat", "errors": "profile", "flux": None}
    return joint._lower(work, found, USED, "tbabs*powerlaw", given, ["index"], how), work


def test_a_spectrum_that_cannot_be_fitted_alone_leaves_the_joint_fit(tmp_path, monkeypatch):
    def fails(*_: Any, **__: Any) -> xr.Dataset:
        raise ModelError("more parameters than bins")

    found, work = lower(tmp_path, monkeypatch, fails)
    assert float(found.statistic) == 120.0
    assert work.notes == [
        "whether there is a lower minimum of the fit is not known: more parameters than bins"
    ]


def test_what_is_shared_is_held_within_the_limits_that_were_given(tmp_path, monkeypatch):
    calls = []

    def fits(spectra: Any, _: str, **how: Any) -> xr.Dataset:
        calls.append((spectra, how))
        if spectra is USED:
            return result(100.0, **{"nh": 150.0, "index[a]": 1.0, "index[b]": 2.0})
        return result(50.0, nh=150.0, index={"a": 1.0, "b": 2.0}[Path(spectra).stem])

    found, work = lower(tmp_path, monkeypatch, fits, nh={"value": 100.0, "max": 500.0}, index={"min": -1.0})
    assert float(found.statistic) == 100.0 and work.notes == []
    (_, alone), _, (_, again) = calls
    assert alone["parameters"]["nh"] == {"value": 150.0, "max": 500.0, "frozen": True}
    assert again["parameters"]["nh"] == {"value": 100.0, "max": 500.0}
    assert again["parameters"]["index[b]"] == {"value": 2.0, "min": -1.0}
    assert again["errors"] == "profile" and alone["errors"] == "covariance"
