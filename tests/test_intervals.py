"""Good time: the tools ``maketime`` and ``batsurvey-gti``, interval arithmetic, forms of input, errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

import batx
from batx.errors import GtiError, KindError, MissingVariableError, UnitsError, ValueRangeError
from batx.intervals import (
    exposure,
    gti_arrays,
    gti_complement,
    gti_from_housekeeping,
    gti_gaps,
    gti_intersection,
    gti_of,
    gti_pad,
    gti_union,
)
from batx.kernels import gti as kernel
from batx.schema import build

#: the first call compiles
UNTIMED = settings(deadline=None)
REFERENCE = Path(__file__).parent / "reference"
SURVEY_FILTERS = (
    "array_on",
    "dataflags",
    "earthconstraints",
    "global",
    "low_rate",
    "startracker_locked",
    "startracker_lossfcn",
    "ten_arcmin",
)


def pairs(gti: xr.Dataset) -> np.ndarray:
    return np.column_stack([gti["start"].values, gti["stop"].values])


def housekeeping(time: np.ndarray, **columns: np.ndarray) -> xr.Dataset:
    variables = {name: (("time", "bit")[: np.ndim(values)], values) for name, values in columns.items()}
    return build("housekeeping", {"time": time, **variables})


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """Inputs and outputs of the tools, as committed."""
    with np.load(REFERENCE / "gti.npz") as arrays:
        return dict(arrays)


# ---------------------------------------------------------------- against the tools


def test_committed_arrays_are_those_of_the_reference_folder(shared: Path, reference: dict[str, np.ndarray]):
    spec = importlib.util.spec_from_file_location("extract_gti", REFERENCE / "extract_gti.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    fresh = script.extract(shared)
    assert fresh.keys() == reference.keys()
    for name, array in fresh.items():
        np.testing.assert_array_equal(array, reference[name], err_msg=name)


@pytest.mark.parametrize("fractions", ["0_0", "0_1", "0.5_0.5", "1_1"])
def test_maketime_is_exact(reference: dict[str, np.ndarray], fractions: str):
    prefr, postfr = map(float, fractions.split("_"))
    hk = housekeeping(reference["maketime_time"], flag=reference["maketime_flag"])
    made = gti_from_housekeeping(hk, hk.flag, prefr=prefr, postfr=postfr)
    np.testing.assert_array_equal(pairs(made), reference[f"maketime_{fractions}"])


def test_intersection_of_three_lists_is_exact(reference: dict[str, np.ndarray]):
    common = gti_intersection(*(reference[f"merge_{name}"] for name in "abc"))
    np.testing.assert_array_equal(pairs(common), reference["merge_m"])


@pytest.mark.parametrize("mode", ["gti", "gti_sep"])
def test_combined_filters_of_the_survey_are_exact(reference: dict[str, np.ndarray], mode: str):
    raw = gti_intersection(*(reference[f"{mode}_{name}"] for name in SURVEY_FILTERS))
    np.testing.assert_array_equal(pairs(raw), reference[f"{mode}_raw"])
    master = gti_union(raw, max_gap=5.0) if mode == "gti" else gti_pad(raw, 1.0, 1.0)
    master = master.isel(gti=(master["stop"] - master["start"]).values > 30.0)
    np.testing.assert_array_equal(pairs(master), reference[f"{mode}_master"])


def test_filters_of_the_survey_from_housekeeping_are_exact(reference: dict[str, np.ndarray]):
    def rows(name: str) -> xr.Dataset:
        return housekeeping(reference[f"{name}_time"], value=reference[f"{name}_value"])

    attitude, detectors, orbit, tracker, loss = map(
        rows, ("ten_arcmin", "array_on", "earthconstraints", "startracker_locked", "startracker_lossfcn")
    )
    tracker["aderr"] = "time", reference["startracker_aderr"]
    loss = loss.isel(time=(abs(loss["value"] - 65535e-12) > 1e-12).values)
    made = {
        "ten_arcmin": gti_from_housekeeping(attitude, attitude["value"].isel(bit=0), prefr=0, postfr=0),
        "array_on": gti_from_housekeeping(detectors, ("value", ">", 22000)),
        "earthconstraints": gti_from_housekeeping(orbit, ("value", ">", 30), prefr=0, postfr=0),
        "startracker_locked": gti_pad(
            gti_from_housekeeping(tracker, lambda ds: ((ds["value"] // 32) % 2 == 1) & (ds["aderr"] < 0.2)),
            35,
            35,
        ),
        "startracker_lossfcn": gti_pad(gti_from_housekeeping(loss, [("value", "<", 1e-9)]), 35, 35),
    }
    for name, gti in made.items():
        np.testing.assert_array_equal(pairs(gti), reference[f"gti_{name}"], err_msg=name)


# ---------------------------------------------------------------- interval arithmetic

SECOND = st.integers(0, 40)
LISTS = st.lists(st.tuples(SECOND, SECOND).map(sorted), max_size=8).map(
    lambda items: np.array(items, dtype=float).reshape(-1, 2)
)
GRID = np.arange(-2, 43, 0.5)


def holds(intervals: np.ndarray, times: np.ndarray = GRID) -> np.ndarray:
    """Membership by definition: some interval has start <= t < stop."""
    return ((intervals[:, :1] <= times) & (times < intervals[:, 1:])).any(axis=0)


def stacked(intervals: kernel.Intervals) -> np.ndarray:
    return np.column_stack(intervals)


@UNTIMED
@given(LISTS, LISTS)
def test_set_operations_are_those_of_membership(a: np.ndarray, b: np.ndarray):
    both = stacked(kernel.intersection(a.T, b.T))
    either = stacked(kernel.union(*np.concatenate([a, b]).T))
    neither = stacked(kernel.complement(*np.concatenate([a, b]).T, -1.0, 42.0))
    within = (GRID >= -1) & (GRID < 42)
    np.testing.assert_array_equal(holds(both), holds(a) & holds(b))
    np.testing.assert_array_equal(holds(either), holds(a) | holds(b))
    np.testing.assert_array_equal(holds(neither), ~holds(either) & within)
    np.testing.assert_array_equal(kernel.membership(GRID, *a.T), holds(a))


@UNTIMED
@given(LISTS, LISTS)
def test_laws(a: np.ndarray, b: np.ndarray):
    def length(intervals: kernel.Intervals) -> float:
        return float(np.sum(intervals[1] - intervals[0]))

    lo, hi = 0.0, 40.0
    union, common = kernel.union(*np.concatenate([a, b]).T), kernel.intersection(a.T, b.T)
    # idempotence, order, measure
    np.testing.assert_array_equal(kernel.union(*union), union)
    np.testing.assert_array_equal(kernel.intersection(a.T, a.T), kernel.union(*a.T))
    np.testing.assert_array_equal(kernel.intersection(b.T, a.T), common)
    assert length(union) + length(common) == length(kernel.union(*a.T)) + length(kernel.union(*b.T))
    assert np.all(union[0] < union[1])
    assert np.all(union[1][:-1] < union[0][1:])
    # de Morgan
    not_a, not_b = kernel.complement(*a.T, lo, hi), kernel.complement(*b.T, lo, hi)
    np.testing.assert_array_equal(kernel.complement(*union, lo, hi), kernel.intersection(not_a, not_b))
    np.testing.assert_array_equal(
        kernel.complement(*common, lo, hi), kernel.union(*np.concatenate([not_a, not_b], axis=1))
    )
    np.testing.assert_array_equal(kernel.complement(*not_a, lo, hi), kernel.union(*a.T))
    # gaps and intervals make up the whole span
    starts, stops = kernel.union(*a.T)
    if starts.size:
        assert length(kernel.gaps(*a.T)) + length((starts, stops)) == stops[-1] - starts[0]


@UNTIMED
@given(LISTS, st.lists(st.tuples(SECOND, SECOND).map(sorted), max_size=8))
def test_exposure_of_bins_is_their_overlap(a: np.ndarray, bins: list):
    lo, hi = np.array(bins, dtype=float).reshape(-1, 2).T
    times = GRID
    inside = [holds(a) & (times >= first) & (times < last) for first, last in zip(lo, hi, strict=True)]
    expected = [0.5 * np.sum(part) for part in inside]
    np.testing.assert_array_equal(kernel.overlap(lo, hi, *a.T), expected)


@UNTIMED
@given(LISTS, st.integers(0, 5), st.integers(0, 5))
def test_padding_and_shrinking(a: np.ndarray, before: int, after: int):
    grown = kernel.pad(*a.T, before, after)
    inside = kernel.pad(*grown, -before, -after)
    kept = a[(a[:, 1] + after) > (a[:, 0] - before)]
    np.testing.assert_array_equal(stacked(inside), kept[kept[:, 1] > kept[:, 0]])


@UNTIMED
@given(LISTS, st.integers(0, 10))
def test_joining_over_short_gaps(a: np.ndarray, max_gap: int):
    start, stop = kernel.union(*a.T, max_gap)
    gaps = kernel.gaps(*a.T)
    long = gaps[1] - gaps[0] > max_gap
    np.testing.assert_array_equal(stop[:-1], gaps[0][long])
    np.testing.assert_array_equal(start[1:], gaps[1][long])


@UNTIMED
@given(
    st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=30),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_maketime_follows_its_rule(rows: list, prefr: float, postfr: float):
    """The rule written as a loop over runs."""
    t = np.cumsum([step for step, _ in rows])
    good = [flag for _, flag in rows]
    expected = []
    i = 0
    while i < len(rows):
        j = i
        if good[i]:
            while j + 1 < len(rows) and good[j + 1]:
                j += 1
            start = t[i] - prefr * (t[i] - t[i - 1]) if i > 0 else t[i]
            stop = t[j] + postfr * (t[j + 1] - t[j]) if j + 1 < len(rows) else t[j]
            if start != stop:
                expected.append((start, stop))
        i = j + 1
    made = stacked(kernel.maketime(t, np.array(good, dtype=bool), prefr, postfr))
    np.testing.assert_array_equal(made, np.array(expected).reshape(-1, 2))


def test_step_back_in_time_ends_a_run():
    made = kernel.maketime([0.0, 1, 2, 1.5, 2.5, 3.5], [1, 1, 1, 1, 1, 0], 0.5, 0.5)
    np.testing.assert_array_equal(stacked(made), [[0, 2], [1.5, 3.0]])


def test_intervals_without_end():
    everything = np.array([-np.inf]), np.array([np.inf])
    start, stop = kernel.intersection(everything, ([1.0], [2.0]))
    assert (start.tolist(), stop.tolist()) == ([1.0], [2.0])
    assert kernel.overlap([3.0], [5.0], *everything).tolist() == [2.0]
    assert exposure([(-1e307, 5.0)]) == 1e307


def test_membership_of_nan_and_shapes():
    times = np.array([[np.nan, 5.0], [10.0, 9.999]])
    np.testing.assert_array_equal(kernel.membership(times, [0.0], [10.0]), [[False, True], [False, True]])
    assert kernel.membership([], [0.0], [10.0]).shape == (0,)
    assert not kernel.membership([1.0], [], []).any()
    assert kernel.overlap(np.zeros((2, 3)), 1.0, [0.5], [9.0]).tolist() == [[0.5] * 3] * 2


def test_big_endian_arrays_from_fits():
    start, stop = np.array([0.0, 20.0], dtype=">f8"), np.array([10.0, 30.0], dtype=">f8")
    times = np.array([5.0, 15.0], dtype=">f8")
    assert kernel.membership(times, start, stop).tolist() == [True, False]
    assert kernel.overlap(times, times + 10, start, stop).tolist() == [5.0, 5.0]


# ---------------------------------------------------------------- labelled functions

ATTRS = {
    "telescope": "SWIFT",
    "obs_id": "00012345000",
    "utcf": -25.0,
    "tstart": 612352000.0,
    "statistic": "poisson",
}
T = Time("2020-05-28T10:00:00")


def events() -> xr.Dataset:
    return build(
        "events",
        {"time": [1.0, 2.0], "gti_start": [20.0, 0.0, 5.0], "gti_stop": [30.0, 10.0, 12.0]},
        ATTRS | {"gainapp": 1, "history": "made"},
    )


@pytest.mark.parametrize(
    "gti",
    [
        build("gti", {"start": [0.0, 20.0], "stop": [10.0, 30.0]}),
        [(0, 10), (20, 30)],
        np.array([[0, 10], [20, 30]]),
        [[0, 10] * u.s, (20 * u.s, 0.5 * u.min)],
        np.array([[0, 10], [20, 30]]) / 60 * u.min,
        build("events", {"time": [1.0], "gti_start": [0.0, 20.0], "gti_stop": [10.0, 30.0]}),
    ],
    ids=["dataset", "pairs", "array", "quantities", "quantity", "events"],
)
def test_forms_of_good_time(gti):
    start, stop = gti_arrays(gti)
    np.testing.assert_allclose(start, [0, 20])
    np.testing.assert_allclose(stop, [10, 30])
    assert exposure(gti) == pytest.approx(20.0)


def test_dates_use_the_clock_of_the_dataset():
    good = build("gti", {"start": [0.0], "stop": [1e9]}, ATTRS)
    cut = gti_intersection([(T, T + 60 * u.s)], good)
    # UTC = MET + UTCF, days since 2001-01-01
    assert float(cut["start"][0]) == pytest.approx(7087 * 86400 + 36000 + 25, abs=1e-5)
    assert exposure(cut) == pytest.approx(60.0, abs=1e-5)
    assert cut.attrs["obs_id"] == "00012345000"


def test_a_single_pair_and_none():
    np.testing.assert_array_equal(stacked(gti_arrays((5, 9))), [[5, 9]])
    assert stacked(gti_arrays([])).shape == (0, 2)
    assert exposure([]) == 0.0


def test_gti_of_events():
    gti = gti_of(events())
    assert gti.bat.kind == "gti"
    np.testing.assert_array_equal(pairs(gti), [[20, 30], [0, 10], [5, 12]])
    assert gti.attrs["utcf"] == -25.0
    assert "gainapp" not in gti.attrs
    assert "statistic" not in gti.attrs
    assert gti.attrs["history"] == "made"


def test_algebra_keeps_labels_and_writes_history():
    ev = events()
    both = gti_intersection(ev, [(5, 25)])
    np.testing.assert_array_equal(pairs(both), [[5, 12], [20, 25]])
    assert both.attrs["obs_id"] == "00012345000"
    assert both.attrs["history"] == "made\ngti_intersection"
    assert both["start"].attrs["units"] == "s"
    np.testing.assert_array_equal(pairs(gti_union(ev)), [[0, 12], [20, 30]])
    np.testing.assert_array_equal(pairs(gti_union(ev, max_gap=8 * u.s)), [[0, 30]])
    np.testing.assert_array_equal(pairs(gti_complement(ev, -5, 0.5 * u.min)), [[-5, 0], [12, 20]])
    np.testing.assert_array_equal(pairs(gti_gaps(ev)), [[12, 20]])
    np.testing.assert_array_equal(pairs(gti_pad(ev, 1 * u.s, -6)), [[19, 24], [-1, 4], [4, 6]])
    assert ev.attrs["history"] == "made"


def test_nothing_in_common():
    gti = gti_intersection([(0, 10)], [(10, 20)])
    assert gti.sizes["gti"] == 0
    assert exposure(gti) == 0.0
    assert gti_gaps([(0, 10)]).sizes["gti"] == 0


def test_accessor_verbs_and_public_names():
    ev = events()
    gti = ev.bat.gti_of()
    assert ev.bat.exposure() == gti.bat.exposure() == 22.0
    xr.testing.assert_identical(gti.bat.union(), batx.gti_union(gti))
    xr.testing.assert_identical(gti.bat.union([(40, 50)]), batx.gti_union(gti, [(40, 50)]))
    xr.testing.assert_identical(gti.bat.intersection([(5, 25)]), batx.gti_intersection(gti, [(5, 25)]))
    xr.testing.assert_identical(gti.bat.complement(0, 40), batx.gti_complement(gti, 0, 40))
    xr.testing.assert_identical(gti.bat.gaps(), batx.gti_gaps(gti))
    xr.testing.assert_identical(gti.bat.pad(1, 1), batx.gti_pad(gti, 1, 1))


# ---------------------------------------------------------------- housekeeping

HK = build(
    "housekeeping",
    {
        "time": np.arange(6.0),
        "elv": ("time", [10.0, 40.0, 50.0, np.nan, 60.0, 70.0], {"units": "deg"}),
        "rate": ("time", [1, 2, 3, 4, 5, 6], {"units": "count/s"}),
    },
    ATTRS,
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("elv", ">", 30), [[0.5, 2.5], [3.5, 5]]),
        (("elv", ">", 0.5 * u.rad), [[0.5, 2.5], [3.5, 5]]),
        ([("elv", ">", 30), ("rate", "<=", 5)], [[0.5, 2.5], [3.5, 4.5]]),
        ([("rate", "!=", 4), ("rate", ">=", 2), ("rate", "<", 7)], [[0.5, 2.5], [3.5, 5]]),
        (("rate", "==", 1), [[0, 0.5]]),
        (HK["elv"] > 30, [[0.5, 2.5], [3.5, 5]]),
        (lambda ds: ds["rate"] % 2 == 0, [[0.5, 1.5], [2.5, 3.5], [4.5, 5]]),
    ],
    ids=["triple", "quantity", "all of", "operators", "equal", "array", "function"],
)
def test_conditions(condition, expected):
    gti = gti_from_housekeeping(HK, condition)
    np.testing.assert_array_equal(pairs(gti), expected)
    assert gti.attrs["utcf"] == -25.0
    xr.testing.assert_identical(gti, HK.bat.gti_from_housekeeping(condition))


def test_only_the_columns_of_the_condition_are_read():
    import dask
    import dask.array as da

    def refuse(*args, **kwargs):
        raise AssertionError("read")

    lazy = HK.assign(big=("time", da.ones(6, chunks=2)))
    with dask.config.set(scheduler=refuse):
        assert gti_from_housekeeping(lazy, ("rate", ">", 0)).sizes["gti"] == 1
    np.testing.assert_array_equal(
        pairs(gti_from_housekeeping(lazy.chunk(time=2), ("elv", ">", 65))), [[4.5, 5]]
    )


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("gti", "text"),
    [
        ([(10, 0)], "before they start"),
        (build("events", {"time": [1.0]}), "gti_start"),
        ([1, 2, 3], r"\(n, 2\)"),
        (np.zeros((2, 3)), r"\(n, 2\)"),
        (build("gti", {"start": [0.0, np.nan], "stop": [1.0, 2.0]}), "NaN in 1 of 2"),
    ],
)
def test_malformed_good_time(gti, text: str):
    for function in (exposure, gti_union, gti_of, gti_gaps):
        with pytest.raises(GtiError, match=text):
            function(gti)


def test_other_errors():
    with pytest.raises(KindError, match="select the node"):
        gti_of(xr.DataTree())
    with pytest.raises(UnitsError, match="GTI"):
        gti_union([(1 * u.keV, 2 * u.keV)])
    with pytest.raises(ValueRangeError, match="NaN"):
        gti_union([(1, np.nan)])
    with pytest.raises(GtiError, match="at least one"):
        gti_union()
    with pytest.raises(GtiError, match="before they start"):
        gti_complement([(0, 1)], 5, 0)
    with pytest.raises(GtiError, match="shapes"):
        kernel.as_intervals([0.0], [1.0, 2.0])
    with pytest.raises(UnitsError, match="after"):
        gti_pad([(0, 1)], 0, 1 * u.keV)


@pytest.mark.parametrize(
    ("ds", "condition", "error", "text"),
    [
        (HK, ("alt", ">", 1), MissingVariableError, "'alt'"),
        (HK, ("elv", "~", 1), ValueRangeError, "operator"),
        (HK, ("elv", ">", 3 * u.s), UnitsError, "elv"),
        (HK, HK["elv"], ValueRangeError, "float64"),
        (HK, HK["elv"].isel(time=slice(3)) > 1, ValueRangeError, "'time': 3"),
        (HK.drop_vars("time"), ("elv", ">", 1), MissingVariableError, "'time'"),
        (HK.assign_coords(time=HK["time"] * np.nan), ("elv", ">", 1), ValueRangeError, "NaN"),
    ],
)
def test_bad_conditions(ds: xr.Dataset, condition, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        gti_from_housekeeping(ds, condition)


def test_bad_fractions():
    with pytest.raises(ValueRangeError, match="prefr"):
        gti_from_housekeeping(HK, ("elv", ">", 1), prefr=2.0)
