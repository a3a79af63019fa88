"""Light curves from tables of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import batx
from batx.errors import FileFormatError, MissingFileError, ValueRangeError


def table(path: Path, rows: np.ndarray, **options: str) -> Path:
    np.savetxt(path, rows, fmt="%.3f", **options)
    return path


ROWS = np.column_stack([-1.0 + 0.064 * np.arange(50), np.tile([0.1, 0.02, 0.3, 0.03], (50, 1))])


def test_table(tmp_path: Path) -> None:
    path = table(tmp_path / "burst.thr", ROWS)
    lc = batx.open_dataset(path, energy=[15, 50, 350], t0=1000.0)
    assert not batx.check(lc)
    assert lc.bat.kind == "lightcurve"
    np.testing.assert_allclose(lc.time, 1000.0 + ROWS[:, 0], atol=1e-3)
    np.testing.assert_allclose(np.diff(lc.time_bnds), 0.064, rtol=1e-6)
    assert np.array_equal(lc.time_bnds[1:, 0], lc.time_bnds[:-1, 1]) or np.allclose(
        lc.time_bnds[1:, 0], lc.time_bnds[:-1, 1], atol=1e-9
    )
    assert lc.energy_bnds.values.tolist() == [[15.0, 50.0], [50.0, 350.0]]
    assert float(lc.rate[3, 1]) == 0.3
    assert float(lc.rate_err[3, 0]) == 0.02
    assert lc.trigger_time == 1000.0
    assert lc.rate.attrs["per"] == "detector"
    assert lc.encoding["source"] == str(path)
    assert "trigger_time" not in batx.open_dataset(path, energy=[(15, 50), (50, 350)]).attrs


def test_missing_rows_are_gaps(tmp_path: Path) -> None:
    path = table(tmp_path / "burst.thr", np.delete(ROWS, [10, 11], axis=0))
    lc = batx.open_dataset(path, energy=[15, 50, 350])
    assert float(lc.time_bnds[10, 0] - lc.time_bnds[9, 1]) == pytest.approx(0.128, rel=1e-3)


def test_what_is_no_table(tmp_path: Path) -> None:
    path = table(tmp_path / "burst.thr", ROWS)
    with pytest.raises(FileFormatError, match="energy="):
        batx.open_dataset(path)
    with pytest.raises(FileFormatError, match="5 columns, expected 3"):
        batx.open_dataset(path, energy=[15, 350])
    with pytest.raises(ValueRangeError, match="energy"):
        batx.open_dataset(path, energy=[350, 15])
    with pytest.raises(MissingFileError):
        batx.open_dataset(tmp_path / "none.thr", energy=[15, 50, 350])
    text = tmp_path / "text.thr"
    text.write_text("time rate error\nno numbers here\n")
    with pytest.raises(FileFormatError, match="no table"):
        batx.open_dataset(text, energy=[15, 350])
    with pytest.raises(FileFormatError, match="SIMPLE"):
        batx.open_dataset(text)
    with pytest.raises(ValueRangeError, match="do not increase"):
        batx.open_dataset(table(tmp_path / "back.thr", ROWS[::-1]), energy=[15, 50, 350])
    with pytest.raises(ValueRangeError, match="do not increase"):
        batx.open_dataset(table(tmp_path / "one.thr", ROWS[:1]), energy=[15, 50, 350])
    uneven = ROWS.copy()
    uneven[25:, 0] += 0.03
    with pytest.raises(ValueRangeError, match="different widths"):
        batx.open_dataset(table(tmp_path / "uneven.thr", uneven), energy=[15, 50, 350])


def test_grb_211227a(shared: Path) -> None:
    path = shared / "data" / "lightcurves" / "GRB20211227_T84726_64ms_BAT.thr"
    lc = batx.open_dataset(path, energy=[15, 25, 50, 100, 350], t0=0.0)
    assert dict(lc.sizes) == {"time": 18782, "energy": 4, "bnds": 2}
    off = (lc.time < -20) | (lc.time > 200)
    pull = (lc.rate / lc.rate_err)[off]
    np.testing.assert_allclose(pull.std("time"), 1.0, atol=0.02)
    # the noise of weighted rates is that of all counts in the band: as in 15-25, 25-50, 50-100, 100-350 keV
    # of the onboard rates, 88 : 90 : 72 : 69
    share = (lc.rate_err**2)[off].mean("time")
    np.testing.assert_allclose(share / share.sum(), np.array([88, 90, 72, 69]) / 319, atol=0.015)
