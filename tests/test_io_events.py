"""Event lists of one observation join: every event once, in order, gaps kept."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import BatxWarning, GtiError, KindError, ValueRangeError
from batx.schema import build


def _events(start, stop, n=400, seed=0, gti=True, **attrs):
    rng = np.random.default_rng(seed)
    variables = {
        "time": np.sort(np.round(rng.uniform(start, stop, n), 2)),
        "detid": rng.integers(0, 50, n).astype(np.int16),
        "pha": rng.integers(0, 50, n).astype(np.int16),
        "energy": rng.uniform(15, 150, n).astype(np.float32),
    }
    if gti:
        variables |= {"gti_start": [start], "gti_stop": [stop]}
    known = {
        "telescope": "SWIFT",
        "instrument": "BAT",
        "obs_id": "00012345000",
        "tstart": start,
        "tstop": stop,
    }
    return build("events", variables, known | attrs)


def _rows(ds):
    return list(zip(ds.time.values, ds.detid.values, ds.pha.values, ds.energy.values, strict=True))


@pytest.mark.parametrize("chunks", [None, {"event": 100}])
def test_join_is_the_sorted_set(chunks):
    """Two overlapping lists and one after a gap: what is in both counts once."""
    one, later = _events(0.0, 100.0, seed=1), _events(150.0, 200.0, seed=2)
    again = one.isel(event=slice(300, 400)).assign(gti_start=("gti", [80.0]), gti_stop=("gti", [120.0]))
    again = build("events", dict(again.variables), again.attrs | {"tstart": 80.0, "tstop": 120.0})
    lists = [later, again, one]
    if chunks:
        lists = [ds.chunk(chunks) for ds in lists]
    joined = batx.join_events(*lists)
    assert (joined["energy"].chunks is not None) is bool(chunks)
    expected = sorted({row for ds in (one, later) for row in _rows(ds)})
    assert sorted(_rows(joined)) == expected
    assert (np.diff(joined.time) >= 0).all()
    np.testing.assert_array_equal(joined.gti_start, [0, 150])
    np.testing.assert_array_equal(joined.gti_stop, [120, 200])
    assert joined.attrs["exposure"] == 170.0
    assert (joined.attrs["tstart"], joined.attrs["tstop"]) == (0.0, 200.0)
    assert joined.attrs["obs_id"] == "00012345000"
    assert "100 event(s) that occur twice" in joined.attrs["history"]
    assert batx.check(joined) == []


def test_same_time_is_not_the_same_event():
    one = build("events", {"time": [1.0, 1.0, 1.0], "detid": [5, 6, 5], "pha": [9, 9, 8]})
    assert batx.join_events(one).sizes["event"] == 3
    assert batx.join_events(one, one).sizes["event"] == 3


def test_unsorted_list_is_sorted():
    ds = _events(0.0, 50.0).isel(event=slice(None, None, -1))
    assert (np.diff(batx.join_events(ds).time) >= 0).all()


def test_what_cannot_be_joined():
    one = _events(0.0, 10.0)
    with pytest.raises(ValueRangeError, match="no event lists"):
        batx.join_events()
    with pytest.raises(ValueRangeError, match=r"obs_id.*other_observations"):
        batx.join_events(one, _events(20.0, 30.0, obs_id="00099999000"))
    both = batx.join_events(one, _events(20.0, 30.0, obs_id="00099999000"), other_observations=True)
    assert "obs_id" not in both.attrs
    with pytest.raises(ValueRangeError, match="instrument"):
        batx.join_events(one, _events(20.0, 30.0, instrument="XRT"))
    with pytest.raises(GtiError, match="1 of 2"):
        batx.join_events(one, _events(20.0, 30.0, gti=False))
    with pytest.raises(KindError, match="join_events"):
        batx.join_events(one, build("gti", {"start": [0.0], "stop": [1.0]}))


def test_columns_that_some_lack_are_named():
    with pytest.warns(BatxWarning, match="energy"):
        joined = batx.join_events(_events(0.0, 10.0), _events(20.0, 30.0).drop_vars("energy"))
    assert "energy" not in joined


def test_files_join(tmp_path, heasoft):
    path = heasoft / "inputs" / "events.fits.gz"
    ds = batx.open_dataset(path)
    joined = batx.join_events(path, path)
    assert joined.sizes["event"] == ds.sizes["event"]
    xr.testing.assert_equal(joined["energy"].load(), ds["energy"].load())
    assert joined.attrs["exposure"] == 199.5


def test_events_of_other_instruments_are_told_apart_by_position():
    """All events of a camera frame have one time; the pulse height alone does not identify them."""
    frame = {"time": [1.0, 1.0, 1.0], "pha": [9, 9, 9], "detx": [5, 6, 5], "dety": [1, 1, 1]}
    one = build("events", frame)
    assert batx.join_events(one).sizes["event"] == 2
    nowhere = one.drop_vars(["detx", "dety"])
    assert batx.join_events(nowhere).sizes["event"] == 3


def test_no_events():
    empty = build("events", {"time": np.empty(0), "detid": np.empty(0, np.int16)})
    assert batx.join_events(empty, empty).sizes["event"] == 0
