"""The data model as code: recognition by structure, checks with paths, construction; nothing is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import astropy.units as u
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from makers import MAKERS, make, make_tree
from xarray.backends import BackendArray
from xarray.core import indexing

import batx
from batx.errors import FileFormatError, KindError, SchemaError, UnitsError
from batx.schema import KINDS, Issue, build, check, identify, require_kind, tables, validate
from batx.schema.spec import Kind, Variable

#: kind of each maker: those of variants are named differently
VARIANTS = {
    "events_sources": "events",
    "weight_image": "detector_plane",
    "lightcurve_counts": "lightcurve",
    "lightcurve_net": "lightcurve",
    "spectrum_counts": "spectrum",
    "spectra": "spectrum",
    "redistribution": "response",
}


class Untouchable(BackendArray):
    """A column of a file that must not be read."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.float64) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("data were read")


def untouchable(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: Any = np.float64, **attrs: Any
) -> xr.Variable:
    return xr.Variable(dims, indexing.LazilyIndexedArray(Untouchable(shape, dtype)), attrs)


def refuse(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("dask was run")


def paths(issues: list[Issue]) -> list[str]:
    return [issue.path for issue in issues]


# ---------------------------------------------------------------- recognition


@pytest.mark.parametrize("name", MAKERS)
def test_every_kind_is_recognised_by_structure(name: str):
    ds = make(name)
    kind = VARIANTS.get(name, name)
    assert identify(ds) == ds.bat.kind == kind
    bare = ds.copy()
    bare.attrs = {}
    assert identify(bare) == kind
    misleading = ds.copy()
    misleading.attrs["batx_kind"] = "mosaic" if kind != "mosaic" else "gti"
    assert identify(misleading) == kind


def test_every_kind_has_an_example():
    assert {VARIANTS.get(name, name) for name in MAKERS} == set(KINDS)


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: make("lightcurve") * 2, "lightcurve"),
        (lambda: make("lightcurve").isel(time=slice(3)), "lightcurve"),
        (lambda: make("lightcurve").mean("time", keep_attrs=True), None),
        (lambda: make("lightcurve").isel(time=0), "lightcurve"),
        (lambda: make("lightcurve").rename(time="phase"), None),
        (lambda: make("events").isel(event=slice(0)), "events"),
        (lambda: make("events").drop_vars("time"), None),
        (lambda: make("detector_plane").sum(("dety", "detx"), keep_attrs=True), "lightcurve"),
        (lambda: make("sky_image")[["rate"]], "sky_image"),
        (lambda: make("spectrum").rename(channel="c"), None),
        (lambda: xr.Dataset(), None),
        (lambda: xr.Dataset(attrs={"batx_kind": "events"}), None),
        (lambda: xr.Dataset({"a": ("row", [1, 2])}), "table"),
    ],
)
def test_what_became_of_an_object_counts_not_its_attributes(made, kind: str | None):
    with xr.set_options(keep_attrs=True):
        assert identify(made()) == kind


def test_attributes_decide_where_the_structure_fits_several():
    ds = xr.Dataset({"ra": ("source", [1.0]), "dec": ("source", [2.0]), "a": ("row", [1])})
    assert identify(ds) == "catalog"
    assert identify(ds.assign_attrs(batx_kind="table")) == "table"
    assert identify(ds.assign_attrs(batx_kind="gti")) == "catalog"


def test_require_kind():
    assert require_kind(make("events"), "events", "gti", operation="cut") == "events"
    with pytest.raises(KindError, match="cut works on kind events or gti; found kind 'lightcurve'"):
        require_kind(make("lightcurve"), "events", "gti", operation="cut")
    with pytest.raises(KindError, match=r"no known kind with variables \['a'\]"):
        require_kind(xr.Dataset({"a": 1}), "events", operation="cut")
    with pytest.raises(KindError, match="DataTree; select a node"):
        require_kind(make_tree(), "events", operation="cut")
    with pytest.raises(KindError, match="found ndarray"):
        require_kind(np.zeros(3), "events", operation="cut")


# ---------------------------------------------------------------- checks


@pytest.mark.parametrize("name", MAKERS)
def test_examples_conform(name: str):
    ds = make(name)
    assert check(ds) == ds.bat.check() == []
    assert validate(ds) is ds


def drop_attr(ds: xr.Dataset, variable: str, name: str) -> xr.Dataset:
    del ds[variable].attrs[name]
    return ds


def with_attr(ds: xr.Dataset, variable: str, name: str, value: Any) -> xr.Dataset:
    ds[variable].attrs[name] = value
    return ds


LC = make("lightcurve")
DEPARTURES = [
    (lambda: LC.drop_vars("exposure"), "data_vars['exposure']", "nothing", "good time in the bin"),
    (lambda: LC.drop_vars("energy_bnds"), "coords['energy_bnds']", "nothing", "(edges)"),
    (lambda: LC.drop_vars("energy_bnds"), "energy.attrs['bounds']", "'energy_bnds'", "name of a variable"),
    (
        lambda: LC.transpose("energy", "time", ...),
        "data_vars['rate'].dims",
        "('energy', 'time')",
        "'time', 'energy'",
    ),
    (lambda: LC.assign(rate=LC.rate.astype(complex)), "data_vars['rate'].dtype", "complex128", "float"),
    (lambda: LC.assign(rate=LC.rate.astype("f4")), "data_vars['rate'].dtype", "float32", "float64"),
    (lambda: LC.assign(rate=LC.rate.astype("i4")), "data_vars['rate'].dtype", "int32", "float"),
    (
        lambda: with_attr(LC.copy(), "rate", "units", "count"),
        "data_vars['rate'].attrs['units']",
        "'count'",
        "count/s",
    ),
    (
        lambda: drop_attr(LC.copy(), "exposure", "units"),
        "data_vars['exposure'].attrs['units']",
        "None",
        "'s'",
    ),
    (
        lambda: LC.reset_coords("time_bnds"),
        "data_vars['time_bnds']",
        "a data variable",
        "the other of the two",
    ),
    (lambda: LC.set_coords("exposure"), "coords['exposure']", "a coordinate", "the other of the two"),
    (
        lambda: LC.drop_vars(["time_bnds", "energy_bnds"]).assign_coords(
            time_bnds=(("time", "bnds"), np.zeros((LC.sizes["time"], 3)), {"units": "s"}),
        ),
        "coords['time_bnds'].sizes['bnds']",
        "3",
        "2",
    ),
    (
        lambda: LC.assign(exposure=("time", np.ones(LC.sizes["time"]) * u.s)),
        "data_vars['exposure']",
        "Quantity",
        "plain",
    ),
    (
        lambda: LC.assign_attrs(statistic="normal"),
        "attrs['statistic']",
        "'normal'",
        "'poisson' or 'gaussian'",
    ),
    (lambda: LC.assign_attrs(obs_id=12345000), "attrs['obs_id']", "12345000 (int)", "str"),
    (lambda: LC.assign_attrs(utcf="-22"), "attrs['utcf']", "'-22' (str)", "float"),
    (lambda: LC.assign_attrs(time_scale="utc"), "attrs['time_scale']", "'utc'", "'tt' or 'tdb'"),
    (lambda: LC.assign_attrs(batx_kind="events"), "attrs['batx_kind']", "'events'", "'lightcurve'"),
    (lambda: LC.assign_attrs(clockapp=False), "attrs['clockapp']", "bool", "a list of them"),
    (lambda: LC.assign_attrs(pos={"ra": 1}), "attrs['pos']", "dict", "a list of them"),
    (lambda: LC.assign_attrs(pos=None), "attrs['pos']", "NoneType", "a list of them"),
    (lambda: LC.assign_attrs(pos=[[1, 2], [3, 4]]), "attrs['pos']", "list", "a list of them"),
    (lambda: LC.assign_attrs(pos=np.zeros((2, 2))), "attrs['pos']", "ndarray", "a list of them"),
    (lambda: with_attr(LC.copy(), "rate", "per", None), "rate.attrs['per']", "NoneType", "a list of them"),
    (lambda: make("spectrum").drop_vars("rate"), "data_vars", "'exposure'", "at least one of counts, rate"),
    (lambda: make("attitude").isel(q=slice(3)), "data_vars['quaternion'].sizes['q']", "3", "4"),
    (lambda: make("detector_mask").astype(int), "data_vars['good'].dtype", "int64", "bool"),
]


def removed(attribute: str) -> Any:
    def make_it() -> xr.Dataset:
        ds = LC.copy()
        del ds.attrs[attribute]
        return ds

    return make_it


DEPARTURES += [
    (removed(name), f"attrs['{name}']", "nothing", "")
    for name in ("Conventions", "batx_kind", "batx_schema", "statistic", "weighting")
]


@pytest.mark.parametrize(("made", "path", "found", "expected"), DEPARTURES)
def test_each_departure_is_reported_with_its_path(made, path: str, found: str, expected: str):
    kind = "spectrum" if path == "data_vars" else None
    issues = [issue for issue in check(made(), kind) if issue.path == path]
    assert len(issues) >= 1, paths(check(made(), kind))
    assert any(found in issue.found and expected in issue.expected for issue in issues), issues


def test_the_original_is_free_of_the_departures_above():
    assert check(LC) == []


@pytest.mark.parametrize(
    "value", ["text", 1, 1.5, np.int32(3), np.float32(1.5), [1, 2.5], ("a", "b"), np.zeros(3)]
)
def test_attributes_that_may_be_stored(value: Any):
    assert check(LC.assign_attrs(extra=value)) == []


def test_validate_lists_every_departure():
    ds = LC.drop_vars("exposure").assign_attrs(statistic="normal", clockapp=True)
    ds["rate"].attrs["units"] = "count"
    with pytest.raises(SchemaError, match="4 departure") as caught:
        validate(ds)
    assert paths(caught.value.issues) == paths(check(ds))
    for issue in check(ds):
        assert str(issue) in str(caught.value)
    with pytest.raises(SchemaError):
        ds.bat.validate()


def test_a_given_kind_is_checked_against():
    issues = check(make("gti"), "lightcurve")
    assert {"coords['time']", "data_vars['exposure']", "attrs['batx_kind']"} <= set(paths(issues))
    assert check(xr.Dataset({"a": ("x", [1])}))[0].path == "dims"
    assert check(make("gti"), "light_curve")[0].expected.startswith("one of events, gti")


def test_tree_paths():
    tree = make_tree()
    assert tree.bat.check() == []
    assert validate(tree) is tree
    tree["survey/gti"] = tree["survey/gti"].to_dataset().drop_vars("stop")
    tree["events"].attrs["obs_id"] = 7
    found = paths(check(tree))
    assert "/events:attrs['obs_id']" in found
    assert any(path.startswith("/survey/gti:") for path in found)
    with pytest.raises(SchemaError, match="/events:"):
        validate(tree)


def test_tree_nodes_are_checked_with_inherited_coordinates():
    lc = make("lightcurve")
    tree = xr.DataTree.from_dict({"/": lc, "/raw": lc})
    assert "time" not in tree["raw"].to_dataset(inherit=False).coords
    assert check(tree) == []


# ---------------------------------------------------------------- nothing is loaded


def test_recognition_and_checks_read_nothing():
    n = 10
    ds = xr.Dataset(
        {
            "energy": untouchable(("event",), (n,), "f4", units="keV"),
            "detid": untouchable(("event",), (n,), "i2", units="1"),
            "event_flags": untouchable(("event", "bit"), (n, 8), bool, units="1"),
        },
        {"time": untouchable(("event",), (n,), units="s")},
    )
    assert identify(ds) == "events"
    assert "data_vars['event_flags'].dims" in paths(check(ds))
    assert "attrs['Conventions']" in paths(check(ds))
    require_kind(ds, "events", operation="test")
    tree = xr.DataTree.from_dict({"/a": ds})
    assert len(check(tree)) == len(check(ds))
    with pytest.raises(AssertionError, match="were read"):
        ds["energy"].values  # noqa: B018


def test_build_reads_nothing():
    ds = build(
        "events",
        {
            "time": untouchable(("event",), (10,)),
            "energy": untouchable(("event",), (10,), "f4"),
            "extra": untouchable(("event", "bit"), (10, 8), bool),
        },
    )
    assert ds["energy"].attrs["units"] == "keV"
    with dask.config.set(scheduler=refuse):
        lazy = build(
            "lightcurve",
            {
                "time": np.arange(4.0),
                "time_bnds": np.zeros((4, 2)),
                "energy": [20.0],
                "energy_bnds": [[15.0, 25.0]],
                "rate": da.ones((4, 1), chunks=2, dtype="f4"),
                "exposure": da.ones(4, chunks=2),
                "fracexp": da.ones(4, chunks=2, dtype=">f8"),
            },
            {"statistic": "gaussian", "weighting": "mask"},
        )
        assert check(lazy) == []
    assert lazy["rate"].dtype == np.float64
    assert lazy["rate"].chunks == ((2, 2), (1,))
    assert lazy["fracexp"].dtype.isnative


# ---------------------------------------------------------------- construction


def test_build_fills_in_dims_dtypes_units_and_descriptions():
    ds = build(
        "gti",
        {"start": [0, 20], "stop": np.array([10, 30], dtype=">f4")},
        {"obs_id": "00012345000", "x": None},
    )
    assert ds["start"].dims == ("gti",)
    assert ds["start"].dtype == ds["stop"].dtype == np.float64
    assert ds["stop"].attrs == {"long_name": "end (MET, excluded)", "units": "s", "fits_name": "STOP"}
    assert ds.attrs["batx_kind"] == "gti"
    assert ds.attrs["Conventions"].startswith("CF-")
    assert "x" not in ds.attrs


def test_build_takes_arrays_tuples_variables_and_quantities():
    forms = {
        "plain": np.array([60.0]),
        "tuple": ("gti", [60.0]),
        "described": ("gti", [60.0], {"long_name": "own"}),
        "variable": xr.Variable("gti", [60.0]),
        "array": xr.DataArray([60.0], dims="gti", name="other"),
        "quantity": [1.0] * u.min,
        "in a tuple": ("gti", [1.0] * u.min),
    }
    for name, value in forms.items():
        ds = build("gti", {"start": [0.0], "stop": value})
        assert ds["stop"].item() == 60.0, name
        assert type(ds["stop"].data) is np.ndarray, name
        assert ds["stop"].attrs["units"] == "s"
        assert ds["stop"].attrs["long_name"] == ("own" if name == "described" else "end (MET, excluded)")
    free = build("housekeeping", {"time": [0.0], "speed": ("time", [7.5] * u.km / u.s)})
    assert free["speed"].attrs["units"] == "km / s"
    assert float(free["speed"][0]) == 7.5


def test_build_leaves_its_input_alone():
    variable = xr.Variable("gti", [1.0])
    attrs = {"object": "GRB"}
    build("gti", {"start": variable, "stop": [2.0]}, attrs)
    assert variable.attrs == {}
    assert attrs == {"object": "GRB"}


def test_build_announces_bounds_and_optional_axes():
    values = {"energy": [20.0, 40.0], "energy_bnds": [[15, 25], [25, 50]], "counts": np.zeros((2, 173, 286))}
    bands = build("detector_plane", values | {"counts": (("energy", "dety", "detx"), values["counts"])})
    assert bands["energy"].attrs["bounds"] == "energy_bnds"
    single = build("detector_plane", {"counts": np.zeros((173, 286))})
    assert single["counts"].dims == ("dety", "detx")


@pytest.mark.parametrize(
    ("kind", "variables", "error", "text"),
    [
        ("gtis", {"start": [0.0]}, KindError, "'gtis'"),
        ("gti", {"start": [0.0]}, SchemaError, r"data_vars\['stop'\]"),
        ("gti", {"start": [0.0], "stop": [1.0, 2.0]}, SchemaError, "do not go together"),
        ("gti", {"start": [0.0], "stop": [[1.0]]}, SchemaError, "found 2 axes"),
        ("gti", {"start": [0.0], "stop": (("gti", "x"), [1.0])}, SchemaError, "'stop'"),
        ("gti", {"start": [0.0], "stop": [1.0], "extra": [1.0]}, SchemaError, "'extra'"),
        ("gti", {"start": [0.0], "stop": ["now"]}, SchemaError, "dtype"),
        ("gti", {"start": [0.0], "stop": [1.0] * u.keV}, UnitsError, "stop"),
    ],
)
def test_build_refuses(kind: str, variables: dict, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        build(kind, variables)


# ---------------------------------------------------------------- the specification itself


def test_dimensions_in_brackets_may_be_absent():
    spec = Variable("counts", ("[time]", "[energy]", "dety", "detx"), "count", "counts")
    for dims in (
        ("dety", "detx"),
        ("time", "dety", "detx"),
        ("energy", "dety", "detx"),
        ("time", "energy", "dety", "detx"),
    ):
        assert spec.allows(dims)
    for dims in (
        ("detx", "dety"),
        ("energy", "time", "dety", "detx"),
        ("dety",),
        ("row", "dety", "detx"),
        (),
    ):
        assert not spec.allows(dims)
    assert spec.default_dims(4) == ("time", "energy", "dety", "detx")
    assert spec.default_dims(2) == ("dety", "detx")
    assert spec.default_dims(3) is None
    assert Variable("any", ("...",), None, "free").allows(("a", "b"))
    assert Variable("any", ("...",), None, "free").default_dims(1) is None


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_specification_is_consistent(kind: Kind):
    assert len(kind.by_name) == len(kind.variables), "a name twice"
    for mark in kind.marks:
        for name, dims in mark.items():
            if name in kind.by_name:
                known = {spec.strip("[]") for spec in kind.by_name[name].dims}
                assert set(dims) <= known
    for group in kind.one_of:
        assert set(group) <= kind.by_name.keys()
    for variable in kind.variables:
        assert variable.doc
        if variable.name.endswith("_bnds"):
            assert variable.units == kind.by_name[variable.name.removesuffix("_bnds")].units


PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "data-model.md"


def test_page_of_the_data_model_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert tables.renew(page) == page, "run: python -m batx.schema.tables docs/reference/data-model.md"


def test_command_renews_the_page(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"By hand.\n\n{tables.MARK}\nstale")
    run = subprocess.run(
        [sys.executable, "-m", "batx.schema.tables", str(page)], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert page.read_text() == tables.renew(f"By hand.\n\n{tables.MARK}")


def test_tables_name_everything():
    text = tables.tables()
    for kind in KINDS.values():
        section = text.partition(f"### `{kind.name}`\n")[2].partition("\n### ")[0]
        for variable in kind.variables:
            assert f"`{variable.name}`" in section
        for group in kind.one_of:
            assert "At least one of" in section
            assert all(f"`{name}`" in section for name in group)


def test_page_without_the_mark_is_refused():
    with pytest.raises(FileFormatError, match="generated below"):
        tables.renew("# Data model")


def test_public_names():
    for name in ("build", "check", "identify", "validate"):
        assert getattr(batx, name) is getattr(batx.schema, name)
