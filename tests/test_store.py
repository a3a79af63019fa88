"""netCDF and Zarr round trips, and that nothing is ever half written or written over an input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import MAKERS, events, gti, lightcurve, make, make_tree

from batx.errors import BatxError, FileFormatError, KindError, MissingFileError, SchemaError, WriteError
from batx.io.atomic import atomic_path, input_files
from batx.io.store import is_store, open_store, open_store_tree, to_netcdf, to_zarr

WRITERS = {"nc": to_netcdf, "zarr": to_zarr}


@pytest.fixture(params=WRITERS)
def suffix(request) -> str:
    return request.param


def written(ds, folder: Path, suffix: str, name: str = "out", **options) -> Path:
    return WRITERS[suffix](ds, folder / f"{name}.{suffix}", **options)


def assert_same(left: xr.Dataset, right: xr.Dataset) -> None:
    xr.testing.assert_identical(left, right)
    for name in left.variables:
        if left[name].dtype.kind in "biufc":
            assert left[name].dtype == right[name].dtype, name


@pytest.mark.parametrize("kind", MAKERS)
def test_round_trip(kind, tmp_path, suffix):
    ds = make(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = written(ds, tmp_path, suffix)
        with open_store(path) as back:
            assert_same(ds, back)
            assert back.bat.kind == ds.bat.kind
            assert back.bat.check() == []
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", MAKERS)
def test_round_trip_by_plain_xarray(kind, tmp_path, suffix):
    ds = make(kind)
    path = written(ds, tmp_path, suffix)
    options = {"engine": "zarr", "consolidated": False} if suffix == "zarr" else {}
    with xr.open_dataset(path, **options) as back:
        assert_same(ds, back)


def test_tree_round_trip(tmp_path, suffix):
    tree = make_tree()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = written(tree, tmp_path, suffix)
        with open_store_tree(path) as back:
            xr.testing.assert_identical(tree, back)
            for node in tree.subtree:
                assert_same(node.to_dataset(), back[node.path].to_dataset())


def test_reading_is_lazy(tmp_path, suffix):
    path = written(events(), tmp_path, suffix)
    with open_store(path) as back:
        assert not back["energy"].variable._in_memory


def test_accessor_writes(tmp_path):
    ds = gti()
    with open_store(ds.bat.to_netcdf(tmp_path / "a.nc")) as back:
        assert_same(ds, back)
    with open_store_tree(make_tree().bat.to_zarr(tmp_path / "a.zarr")) as back:
        assert back["events"].to_dataset().bat.kind == "events"


def test_dask_is_written_chunk_by_chunk(tmp_path, suffix):
    import dask.array as da

    seen = []

    def block(info):
        low, high = info[None]["array-location"][0]
        seen.append(high - low)
        return np.arange(low, high, dtype=np.float64)

    time_ = da.map_blocks(lambda block_info=None: block(block_info), chunks=((250,) * 4,), dtype=np.float64)
    ds = events(1000).assign_coords(time=("event", time_, {"units": "s"}))
    path = written(ds, tmp_path, suffix)
    assert sorted(seen)[-4:] == [250] * 4
    with open_store(path) as back:
        np.testing.assert_array_equal(back["time"], np.arange(1000.0))


@pytest.mark.parametrize("chunks", [(100, 300, 100), (250, 250), (499, 1), (1, 499)])
def test_irregular_chunks(tmp_path, suffix, chunks):
    ds = events().chunk(event=chunks)
    path = written(ds, tmp_path, suffix)
    assert ds["energy"].chunks == (chunks,)
    with open_store(path) as back:
        assert_same(events(), back)


def test_empty_dimension(tmp_path, suffix):
    ds = events().isel(event=slice(0, 0))
    with open_store(written(ds, tmp_path, suffix)) as back:
        assert_same(ds, back)


def test_encodings_of_the_object_stay_and_compression_is_used(tmp_path):
    ds = lightcurve()
    ds["rate"].encoding = {
        "zlib": True,
        "complevel": 4,
        "dtype": "int16",
        "scale_factor": 0.1,
        "source": "a.lc",
    }
    before = dict(ds["rate"].encoding)
    with open_store(to_netcdf(ds, tmp_path / "a.nc")) as back:
        assert_same(ds, back)
        assert back["rate"].encoding["complevel"] == 4
    assert ds["rate"].encoding == before


def test_from_netcdf_to_zarr_and_back(tmp_path):
    ds = lightcurve()
    with (
        open_store(to_netcdf(ds, tmp_path / "a.nc")) as first,
        open_store(to_zarr(first, tmp_path / "a.zarr")) as second,
    ):
        third = to_netcdf(second, tmp_path / "b.nc")
    with open_store(third) as back:
        assert_same(ds, back)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(width=32), min_size=0, max_size=8),
    attr=st.one_of(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.lists(st.floats(), min_size=2, max_size=4),
        st.lists(st.text(st.characters(exclude_characters="\x00", codec="ascii")), min_size=2, max_size=3),
    ),
)
def test_any_values_and_attributes(tmp_path, suffix, values, attr):
    n = len(values)
    ds = events().isel(event=slice(0, n))
    ds["energy"] = ("event", np.array(values, dtype=np.float32), ds["energy"].attrs)
    ds.attrs["note"] = attr
    ds["energy"].attrs["note"] = attr
    path = written(ds, tmp_path, suffix, overwrite=True)
    with open_store(path) as back:
        assert_same(ds, back)


# -- what cannot be stored -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "NoneType"),
        (True, "bool"),
        ({"a": 1}, "dict"),
        (Path("a"), "Path"),
        ([1, "a"], "all strings or all numbers"),
        ([5], "the single element itself"),
        ("a\x00b", "NUL"),
        (2**70, "64 bits"),
        (np.ones((2, 2)), "ndarray"),
    ],
)
@pytest.mark.parametrize("owner", ["dataset", "variable"])
def test_attributes_that_files_cannot_hold(tmp_path, suffix, value, said, owner):
    ds = lightcurve()
    (ds if owner == "dataset" else ds["rate"]).attrs["strange"] = value
    with pytest.raises(SchemaError, match="strange") as caught:
        written(ds, tmp_path, suffix)
    assert said in str(caught.value)
    assert ("rate." in str(caught.value)) == (owner == "variable")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["_FillValue", "scale_factor", "missing_value", "dtype", "coordinates"])
def test_reserved_attributes(tmp_path, suffix, name):
    ds = lightcurve()
    ds["rate"].attrs[name] = "1"
    with pytest.raises(SchemaError, match=name):
        written(ds, tmp_path, suffix)


def test_names_that_files_cannot_hold(tmp_path, suffix):
    with pytest.raises(SchemaError, match="a/b"):
        written(lightcurve().assign({"a/b": 1.0}), tmp_path, suffix)


def test_every_problem_of_a_tree_is_named(tmp_path, suffix):
    tree = make_tree()
    tree["survey/gti"].attrs["x"] = None
    tree["events"].attrs["y"] = None
    with pytest.raises(SchemaError) as caught:
        written(tree, tmp_path, suffix)
    assert "/survey/gti:attrs['x']" in str(caught.value)
    assert len(caught.value.issues) == 2


def test_nan_attributes_are_kept(tmp_path, suffix):
    ds = gti().assign_attrs(ra_obj=np.nan)
    with open_store(written(ds, tmp_path, suffix)) as back:
        assert_same(ds, back)


def test_not_a_dataset(tmp_path, suffix):
    with pytest.raises(KindError, match="DataArray"):
        written(lightcurve()["rate"], tmp_path, suffix)


# -- nothing half written, nothing written over ----------------------------------------------------


def test_refuses_to_replace(tmp_path, suffix):
    path = written(gti(), tmp_path, suffix)
    with pytest.raises(WriteError, match="overwrite=True"):
        written(lightcurve(), tmp_path, suffix)
    with open_store(path) as back:
        assert_same(gti(), back)
    written(lightcurve(), tmp_path, suffix, overwrite=True)
    with open_store(path) as back:
        assert_same(lightcurve(), back)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_never_writes_over_its_own_source(tmp_path, suffix):
    path = written(gti(), tmp_path, suffix)
    link = tmp_path / f"link.{suffix}"
    link.symlink_to(path)
    with open_store(path) as back:
        for name in (path, link, tmp_path / "." / path.name):
            with pytest.raises(WriteError, match="inputs are never modified"):
                WRITERS[suffix](back, name, overwrite=True)
        with pytest.raises(WriteError, match="inputs are never modified"):
            WRITERS[suffix](xr.DataTree.from_dict({"/a": back}), path, overwrite=True)
        with pytest.raises(WriteError, match="inputs are never modified"):
            WRITERS[suffix](back.assign_attrs(object="new name"), path, overwrite=True)
        assert_same(gti(), back)


def test_never_writes_over_a_recorded_input(tmp_path, suffix):
    path = written(gti(), tmp_path, suffix, "input")
    ds = lightcurve().assign_attrs(provenance=f'{{"inputs": [{{"path": "{path}"}}]}}')
    assert input_files(ds) == [path]
    with pytest.raises(WriteError, match="inputs are never modified"):
        WRITERS[suffix](ds, path, overwrite=True)


def test_a_folder_that_holds_an_input_is_never_replaced(tmp_path):
    folder = to_zarr(gti(), tmp_path / "data.zarr")
    source = to_netcdf(gti(), folder / "source.nc")
    with open_store(source) as ds, pytest.raises(WriteError, match="inputs are never modified"):
        to_zarr(ds, folder, overwrite=True)
    assert source.exists()


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path, suffix):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("...")
    with pytest.raises(WriteError, match="not a Zarr store"):
        WRITERS[suffix](gti(), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def failing(ds: xr.Dataset, error: BaseException) -> xr.Dataset:
    """Return `ds` with a variable of which the second chunk raises."""
    import dask.array as da

    def block(block_info=None):
        low, high = block_info[None]["array-location"][0]
        if low:
            raise error
        return np.zeros(high - low)

    return ds.assign(bad=("event", da.map_blocks(block, chunks=((250, 250),), dtype=np.float64)))


@pytest.mark.parametrize(
    "error", [RuntimeError("disk on fire"), KeyboardInterrupt(), OSError(28, "No space left")]
)
def test_failure_in_the_middle_leaves_nothing(tmp_path, suffix, error):
    path = written(gti(), tmp_path, suffix)
    expected = WriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        written(failing(events(), error), tmp_path, suffix, overwrite=True)
    with pytest.raises(expected):
        written(failing(events(), error), tmp_path, suffix, "fresh")
    with open_store(path) as back:
        assert_same(gti(), back)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("directory", [False, True])
def test_kill_in_the_middle_keeps_the_old_file(tmp_path, directory):
    target = tmp_path / "out"
    if directory:
        to_zarr(gti(), target)
    else:
        target.write_text("old")
    program = f"""
        import time
        from pathlib import Path
        from batx.io.atomic import atomic_path
        with atomic_path({str(target)!r}, overwrite=True) as temporary:
            if {directory}:
                temporary.mkdir()
                temporary = temporary / "zarr.json"
            temporary.write_text("half")
            Path({str(tmp_path)!r}, "ready").touch()
            time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if directory:
        with open_store(target) as back:
            assert_same(gti(), back)
    else:
        assert target.read_text() == "old"


def test_missing_folder(tmp_path, suffix):
    with pytest.raises(MissingFileError, match="create it first"):
        WRITERS[suffix](gti(), tmp_path / "nowhere" / "out")


def test_folder_that_permits_no_writing(tmp_path, suffix):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # a superuser may write anywhere but in the process table
        folder = Path("/proc/self")
    with pytest.raises(BatxError, match="cannot write"):
        WRITERS[suffix](gti(), folder / "out")


def test_atomic_path_with_nothing_written(tmp_path):
    with pytest.raises(WriteError, match="nothing was changed"), atomic_path(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_is_store_and_refusals(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text("SIMPLE")
    assert not is_store(text)
    assert not is_store(tmp_path)
    assert not is_store(tmp_path / "nothing")
    assert is_store(to_netcdf(gti(), tmp_path / "a"))
    assert is_store(to_zarr(gti(), tmp_path / "b"))
    with pytest.raises(FileFormatError, match="no netCDF file"):
        open_store(text)
    with pytest.raises(MissingFileError):
        open_store(tmp_path / "nothing")
    cut = tmp_path / "cut.nc"
    cut.write_bytes((tmp_path / "a").read_bytes()[:2000])
    with pytest.raises(FileFormatError, match=r"cut\.nc"):
        open_store(cut)
