"""Datasets to data frames and back."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import MAKERS, make

from batx.errors import KindError, MissingVariableError, SchemaError, ValueRangeError
from batx.interop.pandas import from_pandas, to_pandas

TABLES = [
    "events",
    "events_sources",
    "gti",
    "attitude",
    "ray_trace",
    "lightcurve",
    "lightcurve_counts",
    "lightcurve_net",
    "spectrum",
    "spectrum_counts",
    "spectra",
    "catalog",
    "triggers",
    "periodogram",
    "pulse_profile",
    "housekeeping",
    "table",
]


def assert_same(left: xr.Dataset, right: xr.Dataset) -> None:
    xr.testing.assert_identical(left, right)
    for name in left.variables:
        assert left[name].dtype == right[name].dtype, name


@pytest.mark.parametrize("name", TABLES)
def test_round_trip(name):
    ds = make(name)
    assert_same(ds, from_pandas(to_pandas(ds)))
    assert_same(ds, ds.bat.to_pandas().pipe(from_pandas))


@pytest.mark.parametrize("name", TABLES)
def test_attrs_are_plain_data(name):
    df = to_pandas(make(name))
    copy = df.copy()
    copy.attrs = json.loads(json.dumps(df.attrs))
    assert_same(make(name), from_pandas(copy))
    pd.concat([df, df])  # pandas compares attrs here: arrays in them would raise


@pytest.mark.parametrize("name", sorted(set(MAKERS) - set(TABLES)))
def test_other_kinds_are_refused(name):
    with pytest.raises(KindError, match="to_pandas works on kind"):
        to_pandas(make(name))


def test_two_sources():
    lc = make("lightcurve")
    both = xr.concat(
        [lc, 2 * lc], "source", data_vars=["rate", "rate_err"], coords="minimal", compat="override"
    )
    both = both.assign_coords(name=("source", np.array(["Crab", "Cyg X-1"])))
    df = to_pandas(both)
    assert df.index.names == ["name", "time", "energy"]
    assert_same(both, from_pandas(df))


def test_light_curve_as_a_user_sees_it():
    lc = make("lightcurve")
    df = to_pandas(lc)
    assert isinstance(df.index.levels[0], pd.IntervalIndex)
    assert df.index.levels[0].closed == "left"
    assert df.index.names == ["time", "energy"]
    assert len(df) == 200
    wide = df["rate"].unstack("energy")
    assert wide.shape == (50, 4)
    np.testing.assert_array_equal(wide.to_numpy(), lc["rate"])
    row = df.loc[(600000005.0, 20.0)]
    assert row["rate"] == lc["rate"].values[1, 0]
    assert row["exposure"] == 4.0
    assert df.attrs["units"] == {
        "rate": "count/s",
        "rate_err": "count/s",
        "exposure": "s",
        "fracexp": "1",
        "totcounts": "count",
    }
    assert df.attrs["gti"] == [[600000000.0, 600000090.0], [600000090.5, 600000200.0]]
    assert df["totcounts"].dtype == np.int32


def test_spectrum_as_a_user_sees_it():
    df = to_pandas(make("spectrum"))
    assert isinstance(df.index, pd.IntervalIndex)
    assert df.loc[13.0, "channel"] == 2
    assert to_pandas(make("spectra")).index.names == ["time", "energy"]


def test_intervals_are_half_open():
    df = to_pandas(make("gti"))
    assert df.index[0].closed == "left"
    assert 600000000.0 in df.index[0]
    assert 600000090.0 not in df.index[0]


def test_rows_taken_out():
    ds = make("events")
    kept = to_pandas(ds).query("energy > 50 and event_flags == 0")
    expected = ds.isel(event=(ds["energy"].values > 50) & (ds["event_flags"].values == 0))
    assert_same(expected, from_pandas(kept))
    lc = make("lightcurve")
    df = to_pandas(lc)
    assert_same(lc.isel(time=slice(10, 20)), from_pandas(df[40:80]))
    assert_same(
        lc.isel(energy=[1, 2]), from_pandas(df[[20 < low < 90 for low in df.index.levels[1].left] * 50])
    )


def test_rows_in_another_order():
    lc = make("lightcurve")
    mixed = to_pandas(lc).sample(frac=1.0, random_state=1).sort_index(level="time", ascending=True)
    back = from_pandas(mixed)
    xr.testing.assert_identical(lc.sortby("energy"), back.sortby("energy"))


def test_columns_added_and_dropped():
    ds = make("events")
    df = to_pandas(ds).assign(phase=0.5)
    df.attrs["units"]["phase"] = "1"
    back = from_pandas(df.drop(columns="pha"))
    assert "pha" not in back
    assert back["phase"].attrs == {"units": "1"}
    assert_same(ds.drop_vars("pha"), back.drop_vars("phase"))


def test_incomplete_cells():
    df = to_pandas(make("lightcurve"))
    with pytest.raises(SchemaError, match="199 rows, expected one for each of 50 x 4 cells"):
        from_pandas(df.drop(df.index[7]))
    with pytest.raises(SchemaError, match="201 rows"):
        from_pandas(pd.concat([df, df[:1]]))


def test_contradicting_cells():
    df = to_pandas(make("lightcurve"))
    df.iloc[5, df.columns.get_loc("exposure")] = 1.0
    with pytest.raises(SchemaError, match="'exposure' must not change along energy"):
        from_pandas(df)


def test_required_column_dropped():
    with pytest.raises(SchemaError, match="exposure"):
        from_pandas(to_pandas(make("lightcurve")).drop(columns="exposure"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(st.floats(0, 1e9, allow_nan=False), min_size=2, max_size=12, unique=True).map(sorted),
    data=st.data(),
)
def test_any_bins(edges, data):
    n = len(edges) - 1
    edges = np.array(edges)
    rate = np.array(data.draw(st.lists(st.floats(), min_size=n, max_size=n)))
    lc = make("lightcurve").isel(time=slice(0, n), energy=[0])
    n = lc.sizes["time"]
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)[:n]
    attrs = {name: lc[name].attrs for name in ("time", "time_bnds", "rate")}
    lc = lc.assign_coords(time_bnds=(("time", "bnds"), bounds, attrs["time_bnds"]))
    lc = lc.assign_coords(
        time=("time", data.draw(st.sampled_from([bounds.mean(1), bounds[:, 0]])), attrs["time"])
    )
    lc["rate"] = (("time", "energy"), rate[:n, np.newaxis], attrs["rate"])
    assert_same(lc, from_pandas(to_pandas(lc)))


# -- plain frames ------------------------------------------------------------------------------------


def plain(**columns) -> pd.DataFrame:
    return pd.DataFrame(
        {"time": [0.5, 1.5, 2.5], "rate": [1.0, 3.0, 2.0], "rate_err": [0.1, 0.2, 0.1], **columns}
    )


def test_plain_light_curve():
    lc = from_pandas(plain(), kind="lightcurve", attrs={"e_min": 15.0, "e_max": 150.0, "weighting": "mask"})
    assert lc.bat.kind == "lightcurve"
    assert lc.bat.check() == []
    np.testing.assert_array_equal(lc["time_bnds"], [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(lc["energy_bnds"], [[15, 150]])
    np.testing.assert_array_equal(lc["exposure"], 1.0)
    np.testing.assert_array_equal(lc["fracexp"], 1.0)
    assert lc.attrs["statistic"] == "gaussian"
    assert lc.attrs["weighting"] == "mask"


def test_plain_light_curve_with_edges_and_counts():
    df = pd.DataFrame(
        {
            "time_start": [0.0, 10.0, 0.0, 10.0],
            "time_stop": [10.0, 11.0, 10.0, 11.0],
            "energy_min": [15.0, 15.0, 25.0, 25.0],
            "energy_max": [25.0, 25.0, 50.0, 50.0],
            "counts": [10, 20, 30, 40],
            "exposure": [9.0, 1.0, 9.0, 1.0],
        }
    )
    lc = from_pandas(df, kind="lightcurve")
    np.testing.assert_array_equal(lc["counts"], [[10, 30], [20, 40]])
    np.testing.assert_allclose(lc["fracexp"], [0.9, 1.0])
    assert lc.attrs["statistic"] == "poisson"


def test_plain_light_curve_with_intervals():
    bins = pd.cut(pd.Series([0.5, 1.5]), [0.0, 1.0, 2.0], right=False).array.categories
    df = pd.DataFrame({"rate": [1.0, 2.0]}, index=pd.IntervalIndex(bins, name="time"))
    lc = from_pandas(df, kind="lightcurve", attrs={"e_min": 15.0, "e_max": 150.0})
    np.testing.assert_array_equal(lc["time_bnds"], [[0, 1], [1, 2]])


def test_plain_widths():
    attrs = {"e_min": 15.0, "e_max": 150.0}
    lc = from_pandas(plain(time=[0.0, 5.0, 9.0], timedel=[1.0, 2.0, 3.0]), kind="lightcurve", attrs=attrs)
    np.testing.assert_array_equal(lc["time_bnds"], [[-0.5, 0.5], [4, 6], [7.5, 10.5]])
    lc = from_pandas(plain(time=[0.0, 5.0, 9.0]), kind="lightcurve", attrs={**attrs, "timedel": 2.0})
    np.testing.assert_array_equal(lc["exposure"], 2.0)
    with pytest.raises(ValueRangeError, match="unevenly spaced"):
        from_pandas(plain(time=[0.0, 5.0, 9.0]), kind="lightcurve", attrs=attrs)


def test_plain_light_curve_in_another_unit_is_refused():
    df = plain()
    df.attrs["units"] = {"rate": "erg/s"}
    with pytest.raises(SchemaError, match=r"erg/s.*count/s"):
        from_pandas(df, kind="lightcurve", attrs={"e_min": 15.0, "e_max": 150.0})


def test_what_is_missing_is_named():
    with pytest.raises(MissingVariableError, match="bands of energy: found columns time, rate"):
        from_pandas(plain(), kind="lightcurve")
    with pytest.raises(MissingVariableError, match="bins of time"):
        from_pandas(plain().drop(columns="time"), kind="lightcurve")
    with pytest.raises(SchemaError, match="at least one of counts, rate"):
        from_pandas(plain().drop(columns="rate"), kind="lightcurve", attrs={"e_min": 15.0, "e_max": 150.0})
    with pytest.raises(MissingVariableError, match="exposure"):
        from_pandas(pd.DataFrame({"counts": [1, 2]}), kind="spectrum")
    with pytest.raises(SchemaError, match="'stop'"):
        from_pandas(pd.DataFrame({"start": [0.0]}), kind="gti")
    with pytest.raises(SchemaError, match="quaternion"):
        from_pandas(pd.DataFrame({"time": [0.0]}), kind="attitude")
    with pytest.raises(KindError, match="found kind None"):
        from_pandas(plain())
    with pytest.raises(KindError, match="mosaic"):
        from_pandas(plain(), kind="mosaic")


def test_plain_spectrum():
    df = pd.DataFrame(
        {"energy_min": [15.0, 25.0], "energy_max": [25.0, 50.0], "rate": [1.0, 2.0], "stat_err": [0.1, 0.2]}
    )
    ds = from_pandas(df, kind="spectrum", attrs={"exposure": 100.0})
    assert ds["stat_err"].attrs["units"] == "count/s"
    assert ds["exposure"].item() == 100.0
    np.testing.assert_array_equal(ds["channel"], [0, 1])
    assert ds.bat.check() == []
    several = from_pandas(
        pd.concat(
            [df.assign(time_start=start, time_stop=start + 10.0, exposure=9.0) for start in (0.0, 10.0)]
        ),
        kind="spectrum",
    )
    assert several["rate"].dims == ("time", "channel")
    np.testing.assert_array_equal(several["exposure"], [9.0, 9.0])


def test_plain_lists():
    ds = from_pandas(pd.DataFrame({"time": [0.0, 1.0], "energy": [20.0, 30.0]}), kind="events")
    assert ds["energy"].attrs["units"] == "keV"
    quaternion = {f"quaternion_{i}": [0.5, 0.5] for i in range(4)}
    ds = from_pandas(pd.DataFrame({"time": [0.0, 1.0], **quaternion}), kind="attitude")
    assert ds["quaternion"].dims == ("time", "q")
    index = pd.IntervalIndex.from_breaks([0.0, 1.0, 2.0], closed="left", name="gti")
    ds = from_pandas(pd.DataFrame(index=index), kind="gti")
    np.testing.assert_array_equal(ds["stop"], [1.0, 2.0])
    ds = from_pandas(
        pd.DataFrame({"ra": [83.6], "dec": [22.0]}, index=pd.Index(["Crab"], name="name")), kind="catalog"
    )
    assert ds["name"].item() == "Crab"
    assert from_pandas(pd.DataFrame({"a": [1, 2]}), kind="table").sizes == {"row": 2}


def test_two_levels_of_columns():
    df = to_pandas(make("lightcurve"))[["rate", "rate_err"]].unstack("energy")
    df.attrs = {}
    with pytest.raises(SchemaError, match=r"df\.stack"):
        from_pandas(df, kind="lightcurve")
    back = from_pandas(df.stack("energy", future_stack=True), kind="lightcurve")
    np.testing.assert_array_equal(back["rate"], make("lightcurve")["rate"])
