"""The detector plane: numbers, positions, gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batx.errors import ValueRangeError
from batx.instrument import detector


def test_every_number_has_its_own_place() -> None:
    detid = np.arange(detector.N_DETECTORS)
    detx, dety = detector.detid_to_xy(detid)
    assert len(set(zip(detx.tolist(), dety.tolist(), strict=True))) == detector.N_DETECTORS
    np.testing.assert_array_equal(detector.xy_to_detid(detx, dety), detid)
    assert detector.DETECTOR[dety, detx].all()


def test_gaps_are_where_modules_end() -> None:
    dety, detx = np.indices(detector.SHAPE)
    np.testing.assert_array_equal(detector.DETECTOR, (detx % 18 <= 15) & (dety % 11 <= 7))
    assert detector.DETECTOR.sum() == detector.N_DETECTORS
    assert (detector.xy_to_detid(detx, dety)[~detector.DETECTOR] == -1).all()
    assert detector.DETID.dtype == np.int32


def test_sides_are_arrays_of_16_by_8() -> None:
    block, module, side, channel = detector.decompose(np.arange(detector.N_DETECTORS))
    assert (block.max(), module.max(), side.max(), channel.max()) == (15, 7, 1, 127)
    detx, dety = detector.detid_to_xy(np.arange(detector.N_DETECTORS))
    label = (block * 8 + module) * 2 + side
    for number in range(256):
        inside = label == number
        assert inside.sum() == 128
        assert (np.ptp(detx[inside]), np.ptp(dety[inside])) == (15, 7)


def test_blocks_are_half_a_plane_high() -> None:
    block = detector.decompose(np.arange(detector.N_DETECTORS))[0]
    detx, dety = detector.detid_to_xy(np.arange(detector.N_DETECTORS))
    for number in range(16):
        inside = block == number
        assert (np.ptp(detx[inside]) + 1, np.ptp(dety[inside]) + 1) == (34, 85)


def test_the_plane_turned_by_half_a_turn_is_itself() -> None:
    """Block 15 - n is block n turned by 180 degrees."""
    detid = np.arange(detector.N_DETECTORS)
    detx, dety = detector.detid_to_xy(detid)
    turned = detector.xy_to_detid(detector.NX - 1 - detx, detector.NY - 1 - dety)
    np.testing.assert_array_equal(turned >> 11, 15 - (detid >> 11))
    np.testing.assert_array_equal(turned & 2047, detid & 2047)


@given(st.integers(0, detector.N_DETECTORS - 1))
def test_scalar_and_array_agree(detid: int) -> None:
    x, y = detector.detid_to_xy(detid)
    assert (x, y) == tuple(part[0] for part in detector.detid_to_xy(np.array([detid])))
    assert detector.DETID[y, x] == detid


@pytest.mark.parametrize("bad", [-1, 32768, np.array([0, 40000]), 1.5])
def test_numbers_out_of_range_are_refused(bad: object) -> None:
    with pytest.raises(ValueRangeError, match="detid"):
        detector.detid_to_xy(bad)


@pytest.mark.parametrize(("x", "y", "name"), [(286, 0, "detx"), (0, 173, "dety"), (-1, 0, "detx")])
def test_places_out_of_range_are_refused(x: int, y: int, name: str) -> None:
    with pytest.raises(ValueRangeError, match=name):
        detector.xy_to_detid(x, y)


def test_tables_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        detector.DETID[0, 0] = 5


def test_real_events(shared: Path) -> None:
    rows = np.load(shared / "data" / "tables" / "sampleevents.np", allow_pickle=False)
    assert len(rows) == 990
    detid, detx, dety = (rows[name].astype(np.int64) for name in ("DET_ID", "DETX", "DETY"))
    x, y = detector.detid_to_xy(detid)
    np.testing.assert_array_equal(x, detx)
    np.testing.assert_array_equal(y, dety)
    np.testing.assert_array_equal(detector.xy_to_detid(detx, dety), detid)
