"""Datasets as pandas data frames, and back.

A frame has one row for each cell of what is binned or listed. Its index holds the axes:

* light curve: time and energy, a MultiIndex of intervals; ``df["rate"].unstack("energy")`` has a column a
band; * spectrum: energy (intervals; the channel number where there are no energies), below time if there
are several; * good time: the interval from start to stop; * events, attitude, ray tracing, housekeeping:
time; catalogue: name; triggers, table: number of the row.

Intervals are closed on the left, as everywhere in batx. What has fewer axes than the frame is repeated (the
exposure of a time bin, in every band); what has more has a column for each element, counted from 0
(``quaternion_0``).

``df.attrs`` is plain data, which survives JSON and Parquet: ``kind``, ``units`` of the columns, ``attrs``
of the Dataset, ``gti`` (pairs of start and stop), and ``layout``, from which `from_pandas` makes an
identical Dataset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from batx.errors import KindError, MissingVariableError, SchemaError, ValueRangeError
from batx.schema import KINDS, build, require_kind, validate
from batx.schema.axes import with_axes

__all__ = ["from_pandas", "to_pandas"]

#: kind -> dimensions of the rows, those in square brackets only where there are several
_ROWS = {
    "events": ("event",),
    "gti": ("gti",),
    "attitude": ("time",),
    "ray_trace": ("[source]", "time"),
    "housekeeping": ("time",),
    "catalog": ("source",),
    "table": ("row",),
    "triggers": ("trigger",),
    "lightcurve": ("[source]", "time", "energy"),
    "spectrum": ("[source]", "[time]", "channel"),
    "periodogram": ("[frequency_dot]", "frequency", "[energy]"),
    "pulse_profile": ("phase", "energy"),
}
#: dimension -> coordinates that may label it, best first, where that is not the one of its own name
_LABELS = {"event": ("time",), "source": ("name",), "channel": ("energy", "channel")}
_GOOD_TIME = ("gti_start", "gti_stop")


def to_pandas(ds: xr.Dataset) -> pd.DataFrame:
    """Return a Dataset as a data frame: a row for each cell, axes in the index, units in its ``attrs``.

    Parameters
    ----------
    ds
        A Dataset of kind events, gti, lightcurve, spectrum, attitude, ray_trace, housekeeping, catalog,
        triggers, periodogram, pulse_profile or table. All of it is read into memory.

    Returns
    -------
    pandas.DataFrame
        As described in `batx.interop.pandas`. ``from_pandas(to_pandas(ds))`` is identical to `ds`.

    Raises
    ------
    KindError
        If `ds` is of another kind.

    Examples
    --------
    >>> gti = build("gti", {"start": [0.0, 20.0], "stop": [10.0, 30.0]})
    >>> df = to_pandas(gti)
    >>> float(df.loc[25.0, "stop"]), df.attrs["units"]["stop"]
    (30.0, 's')
    """
    kind = require_kind(ds, *_ROWS, operation="to_pandas")
    if not set(ds.dims) & {name.strip("[]") for name in _ROWS[kind]}:
        ds = with_axes(ds, KINDS[kind])  # a single value: one row
    axes = [dim for dim in (name.strip("[]") for name in _ROWS[kind]) if dim in ds.dims]
    labels = {dim: _label(ds, dim) for dim in axes}
    in_index = {*labels.values(), *(f"{label}_bnds" for label in labels.values())}
    columns: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    records: dict[str, dict[str, Any]] = {}
    for name in map(str, ds.variables):
        variable = ds[name].variable
        record = records[name] = _record(variable, name in ds.coords)
        if name in in_index:
            record["centre"] = _centre(ds, name)
        elif not set(variable.dims) & set(axes):
            if name not in _GOOD_TIME:
                record["data"] = variable.values.tolist()
        else:
            made = _columns(name, variable, axes, {dim: ds.sizes[dim] for dim in axes})
            record["columns"] = list(made)
            record["elements"] = [ds.sizes[dim] for dim in variable.dims if dim not in axes]
            columns |= made
            units |= {column: variable.attrs["units"] for column in made if "units" in variable.attrs}
    df = pd.DataFrame(columns, index=_index(ds, axes, labels))
    df.attrs = {
        "kind": kind,
        "units": units,
        "attrs": _plain(ds.attrs),
        "layout": {"axes": axes, "labels": labels, "variables": records},
    }
    if "gti_start" in ds:
        df.attrs["gti"] = np.stack([ds[name].values for name in _GOOD_TIME], axis=1).tolist()
    return df


def from_pandas(
    df: pd.DataFrame, kind: str | None = None, attrs: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Return a data frame as a Dataset.

    A frame made by `to_pandas`, also with rows taken out or columns added, goes back to what it was. Of any
    other frame, columns (or index levels) with the names of the data model are taken as they are:

    * bins of time or energy: an interval column or level ``time``, or columns ``time_start`` and
    ``time_stop``
      (``energy_min`` and ``energy_max``), or the centres ``time`` with equal spacing or with
      ``attrs["timedel"]``; a light curve of one band may have it in ``attrs["e_min"]`` and
      ``attrs["e_max"]``;
    * a light curve without ``exposure`` is taken as fully exposed; * ``statistic`` is poisson for counts
    without errors, gaussian otherwise, and ``weighting`` none, unless `attrs`
      says else;
    * a spectrum takes its exposure from a column or from ``attrs["exposure"]``.

    Further columns are kept. Units other than those of the data model are given in ``df.attrs["units"]``.

    Parameters
    ----------
    df
        The frame; it is not changed.
    kind
        Kind of the Dataset; that of ``df.attrs["kind"]`` if not given.
    attrs
        Attributes of the Dataset, in addition to ``df.attrs["attrs"]``.

    Returns
    -------
    xarray.Dataset
        Of the kind, checked.

    Raises
    ------
    KindError
        If the kind is not given, or has no form as a frame.
    MissingVariableError
        If a column that the kind needs is absent.
    SchemaError
        If the rows do not fill every cell once, or the result does not follow the data model.
    ValueRangeError
        If bins cannot be told from their centres.

    Examples
    --------
    >>> df = pd.DataFrame({"time": [0.5, 1.5, 2.5], "rate": [1.0, 3.0, 2.0], "rate_err": [0.1, 0.1, 0.1]})
    >>> lc = from_pandas(df, kind="lightcurve", attrs={"e_min": 15.0, "e_max": 150.0})
    >>> lc["rate"].shape, lc["time_bnds"].values[0].tolist()
    ((3, 1), [0.0, 1.0])
    """
    recorded = df.attrs.get("kind")
    kind = kind or recorded
    if kind not in _ROWS:
        raise KindError(f"from_pandas: found kind {kind!r}, expected kind= one of {', '.join(_ROWS)}")
    if recorded == kind and "layout" in df.attrs:
        ds = _restored(df).assign_attrs(attrs or {})
        validate(ds, kind)
        return ds
    return _from_plain(df, kind, attrs)


# -- to pandas ---------------------------------------------------------------------------------------


def _label(ds: xr.Dataset, dim: str) -> str:
    """Return the coordinate that labels the rows of a dimension; the dimension itself if there is none."""
    return next(
        (name for name in _LABELS.get(dim, (dim,)) if name in ds.coords and ds[name].dims == (dim,)), dim
    )


def _index(ds: xr.Dataset, axes: list[str], labels: dict[str, str]) -> pd.Index:
    levels = [_level(ds, dim, labels[dim]) for dim in axes]
    return levels[0] if len(levels) == 1 else pd.MultiIndex.from_product(levels)


def _level(ds: xr.Dataset, dim: str, label: str) -> pd.Index:
    if dim == "gti":
        edges = ds["start"].values, ds["stop"].values
    elif f"{label}_bnds" in ds.variables:
        edges = ds[f"{label}_bnds"].values[:, 0], ds[f"{label}_bnds"].values[:, 1]
    elif label in ds.coords:
        return pd.Index(ds[label].values, name=label)
    else:
        return pd.RangeIndex(ds.sizes[dim], name=label)
    return pd.IntervalIndex.from_arrays(*edges, closed="left", name=label)


def _record(variable: xr.Variable, coord: bool) -> dict[str, Any]:
    return {
        "dims": list(map(str, variable.dims)),
        "dtype": variable.dtype.str if variable.dtype.kind in "biufc" else "str",
        "attrs": _plain(variable.attrs),
        "coord": coord,
    }


def _centre(ds: xr.Dataset, name: str) -> str | list[float]:
    """Return how a label follows from its bounds: the name of a formula, or its values if there is none."""
    if f"{name}_bnds" not in ds.variables:
        return "itself"
    values, bounds = ds[name].values, ds[f"{name}_bnds"].values
    rules = (rule for rule in _CENTRES if np.array_equal(_CENTRES[rule](bounds), values))
    return next(rules, values.tolist())


_CENTRES = {
    "mean": lambda bounds: bounds.mean(axis=1),
    "middle": lambda bounds: bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) / 2,
}


def _columns(
    name: str, variable: xr.Variable, axes: list[str], sizes: dict[str, int]
) -> dict[str, np.ndarray]:
    """Return a variable as columns over all cells: one, or one for each element of its other dimensions."""
    others = [dim for dim in variable.dims if dim not in axes]
    full = variable.set_dims({**sizes, **{dim: variable.sizes[dim] for dim in others}})
    elements = math.prod(variable.sizes[dim] for dim in others)
    values = full.transpose(*axes, *others).values.reshape(math.prod(sizes.values()), elements)
    if not others:
        return {name: values[:, 0]}
    return {f"{name}_{number}": values[:, number] for number in range(values.shape[1])}


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes with Python numbers and lists in place of those of NumPy."""
    return {
        str(key): value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
        for key, value in attrs.items()
    }


# -- from a frame of to_pandas -----------------------------------------------------------------------


class _Cells:
    """Rows of a frame as the cells of a product of axes, found from one array of keys an axis."""

    def __init__(self, axes: Iterable[str], keys: Iterable[Any]) -> None:
        self.axes = list(axes)
        codes, self.first = [], []
        for key in keys:
            code = pd.factorize(key)[0] if len(self.axes) > 1 else np.arange(len(key))
            codes.append(code)
            self.first.append(np.unique(code, return_index=True)[1])
        self.sizes = tuple(len(first) for first in self.first)
        rows = len(codes[0])
        cell = np.ravel_multi_index(codes, self.sizes) if rows else np.zeros(0, dtype=np.intp)
        if rows != math.prod(self.sizes) or len(np.unique(cell)) != rows:
            raise SchemaError(
                f"found {rows} rows, expected one for each of {' x '.join(map(str, self.sizes))} cells of "
                f"{' and '.join(self.axes)}; complete the frame or drop what repeats"
            )
        self.order = np.argsort(cell, kind="stable")

    def values(self, array: np.ndarray, dims: list[str], name: str) -> np.ndarray:
        """Return a column over the axes in `dims`; along the others it must not change."""
        cube = array[self.order].reshape(self.sizes + array.shape[1:])
        for axis, dim in reversed(list(enumerate(self.axes))):
            if dim not in dims:
                one = np.take(cube, [0], axis=axis)
                if not bool(np.all((cube == one) | ((cube != cube) & (one != one)))):
                    raise SchemaError(f"column '{name}' must not change along {dim}, but it does")
                cube = np.squeeze(one, axis=axis)
        return cube


def _restored(df: pd.DataFrame) -> xr.Dataset:
    layout = df.attrs["layout"]
    axes, labels = layout["axes"], layout["labels"]
    levels = [df.index.get_level_values(number) for number in range(df.index.nlevels)]
    if len(levels) != len(axes):
        expected = ", ".join(labels.values())
        raise SchemaError(f"found {len(levels)} index level(s), expected {len(axes)}: {expected}")
    cells = _Cells(axes, levels)
    made: dict[str, xr.Variable] = {}
    for dim, level, first in zip(axes, levels, cells.first, strict=True):
        made |= _label_variables(dim, labels[dim], level[first], layout["variables"])
    done: set[str] = set()
    for name, record in layout["variables"].items():
        columns = record.get("columns", [])
        if columns and set(columns) <= set(df.columns):
            done |= set(columns)
            made[name] = _from_columns(df, cells, name, record, columns)
        elif "data" in record:
            made[name] = xr.Variable(record["dims"], np.array(record["data"], dtype=record["dtype"]))
    for name, pair in zip(_GOOD_TIME, np.array(df.attrs.get("gti", [])).reshape(-1, 2).T, strict=True):
        if name in layout["variables"]:
            made[name] = xr.Variable("gti", pair)
    for name in map(str, df.columns.difference(list(done))):
        unit = df.attrs.get("units", {}).get(name)
        attrs = {} if unit is None else {"units": unit}
        made[name] = xr.Variable(axes, cells.values(df[name].to_numpy(), axes, name), attrs)
    records = layout["variables"]
    ordered = [name for name in records if name in made] + [name for name in made if name not in records]
    for name in records.keys() & made.keys():
        made[name].attrs = dict(records[name]["attrs"])
    coords = {name: made[name] for name in ordered if name in records and records[name]["coord"]}
    return xr.Dataset(
        {name: made[name] for name in ordered if name not in coords}, coords, dict(df.attrs.get("attrs", {}))
    )


def _label_variables(
    dim: str, label: str, level: pd.Index, records: Mapping[str, Mapping[str, Any]]
) -> dict[str, xr.Variable]:
    """Return the coordinate that labels an axis, with its bounds, from a level of the index."""
    if dim == "gti" or label not in records:
        return {}
    if not isinstance(level, pd.IntervalIndex):
        return {label: xr.Variable(dim, _typed(level.to_numpy(), records[label]["dtype"]))}
    bounds = np.stack([level.left.to_numpy(), level.right.to_numpy()], axis=1)
    rule = records[label]["centre"]
    if isinstance(rule, str):
        centre = _CENTRES[rule](bounds)
    else:
        centre = np.array(rule) if len(rule) == len(bounds) else bounds.mean(axis=1)
    return {label: xr.Variable(dim, centre), f"{label}_bnds": xr.Variable((dim, "bnds"), bounds)}


def _from_columns(
    df: pd.DataFrame, cells: _Cells, name: str, record: Mapping[str, Any], columns: list[str]
) -> xr.Variable:
    own = [dim for dim in cells.axes if dim in record["dims"]]
    others = [dim for dim in record["dims"] if dim not in cells.axes]
    if not others:
        array = cells.values(df[columns[0]].to_numpy(), own, name)
    else:
        array = np.stack([cells.values(df[column].to_numpy(), own, column) for column in columns], axis=-1)
        array = array.reshape(*array.shape[:-1], *record["elements"])
    return xr.Variable((*own, *others), _typed(array, record["dtype"])).transpose(*record["dims"])


def _typed(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(str) if dtype == "str" else array.astype(dtype)


# -- from any other frame ----------------------------------------------------------------------------


def _from_plain(df: pd.DataFrame, kind: str, attrs: Mapping[str, Any] | None) -> xr.Dataset:
    if df.columns.nlevels > 1:
        raise SchemaError(f"found {df.columns.nlevels} levels of columns, expected one; use df.stack() first")
    named = [name for name in df.index.names if name is not None and name not in df.columns]
    table = df.reset_index(level=named) if named else df
    described = {**df.attrs.get("attrs", {}), **(attrs or {})}
    units = df.attrs.get("units", {})
    if kind == "lightcurve":
        variables, described = _plain_lightcurve(table, units, described)
    elif kind == "spectrum":
        variables, described = _plain_spectrum(table, units, described)
    else:
        variables = _plain_list(table, kind, units)
    if "gti" in df.attrs and kind != "gti":
        pairs = np.array(df.attrs["gti"], dtype=np.float64).reshape(-1, 2)
        variables |= dict(zip(_GOOD_TIME, pairs.T, strict=True))
    return build(kind, variables, described)


def _plain_list(table: pd.DataFrame, kind: str, units: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of a list, those of a vector (``quaternion_0`` ...) put together."""
    dim = _ROWS[kind][-1]
    variables: dict[str, Any] = {}
    used: set[str] = set()
    if kind == "gti" and "gti" in table and isinstance(table["gti"].dtype, pd.IntervalDtype):
        variables |= dict(zip(("start", "stop"), _edges(table["gti"]), strict=True))
        used = {"gti", "start", "stop"}
    for spec in KINDS[kind].variables:
        others = [name for name in spec.dims if name != dim and not name.startswith("[")]
        parts = [name for name in map(str, table.columns) if re.fullmatch(rf"{spec.name}_\d+", name)]
        if spec.dims[:1] == (dim,) and len(others) == 1 and parts:
            parts.sort(key=lambda name: int(name.rpartition("_")[2]))
            variables[spec.name] = ((dim, *others), table[parts].to_numpy())
            used |= set(parts)
    for name in map(str, table.columns):
        if name not in used:
            variables[name] = ((dim,), _array(table[name]), _unit_attrs(units, name))
    return variables


def _plain_lightcurve(
    table: pd.DataFrame, units: Mapping[str, str], attrs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    time, used = _bins(table, "time", ("time_start", "time_stop"), attrs)
    energy, more = _bins(table, "energy", ("energy_min", "energy_max"), attrs)
    if time is None:
        raise MissingVariableError(
            f"a light curve needs bins of time: found columns {_names(table)}, expected an interval column "
            "'time', 'time_start' and 'time_stop', or the centres 'time'"
        )
    if energy is None:
        raise MissingVariableError(
            f"a light curve needs bands of energy: found columns {_names(table)}, expected an interval "
            "column 'energy', 'energy_min' and 'energy_max', or attrs={'e_min': ..., 'e_max': ...}"
        )
    cells = _Cells(("time", "energy"), (time[:, 0], energy[:, 0]))
    variables = _axis("time", time[cells.first[0]]) | _axis("energy", energy[cells.first[1]])
    variables |= _on_cells(table, "lightcurve", cells, used | more, units)
    width = np.diff(variables["time_bnds"][1], axis=1)[:, 0]
    if "exposure" not in variables:
        variables["exposure"] = width * variables["fracexp"][1] if "fracexp" in variables else width
    if "fracexp" not in variables:
        exposure = variables["exposure"]
        variables["fracexp"] = (exposure[1] if isinstance(exposure, tuple) else exposure) / width
    return variables, _statistics(variables, "counts_err") | attrs


def _plain_spectrum(
    table: pd.DataFrame, units: Mapping[str, str], attrs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    time, used = _bins(table, "time", ("time_start", "time_stop"), attrs)
    energy, more = _bins(table, "energy", ("energy_min", "energy_max"), {})
    row = _array(table["channel"]) if "channel" in table else None
    if row is None:
        row = energy[:, 0] if energy is not None else np.arange(len(table))
    keys = {"channel": row} if time is None else {"time": time[:, 0], "channel": row}
    cells = _Cells(keys, keys.values())
    of_channel = cells.first[-1]
    number = row[of_channel] if "channel" in table else np.arange(len(of_channel))
    variables: dict[str, Any] = {"channel": number.astype(np.int64)}
    if energy is not None:
        variables |= _axis("energy", energy[of_channel], "channel")
    if time is not None:
        variables |= _axis("time", time[cells.first[0]])
    variables |= _on_cells(table, "spectrum", cells, {*used, *more, "channel"}, units)
    if "exposure" not in variables:
        if "exposure" not in attrs:
            raise MissingVariableError(
                f"a spectrum needs its exposure: found columns {_names(table)}, expected 'exposure' or "
                "attrs={'exposure': ...} in seconds"
            )
        rows = [] if time is None else [len(cells.first[0])]
        variables["exposure"] = (("time",)[: len(rows)], np.full(rows, float(attrs["exposure"])))
    value_unit = "count/s" if "rate" in variables else "count"
    if "stat_err" in variables:
        dims, values, described = variables["stat_err"]
        variables["stat_err"] = (dims, values, {"units": value_unit, **described})
    return variables, _statistics(variables, "stat_err") | attrs


def _bins(
    table: pd.DataFrame, name: str, edges: tuple[str, str], attrs: Mapping[str, Any]
) -> tuple[np.ndarray | None, set[str]]:
    """Return lower and upper edge of the bin of every row, and the columns that they came from."""
    if name in table and isinstance(table[name].dtype, pd.IntervalDtype):
        return np.stack(_edges(table[name]), axis=1), {name, *edges}
    if set(edges) <= set(table.columns):
        return np.stack([_array(table[edge]).astype(np.float64) for edge in edges], axis=1), {name, *edges}
    if name == "energy":
        if "e_min" not in attrs or "e_max" not in attrs:
            return None, set()
        return np.tile([float(attrs["e_min"]), float(attrs["e_max"])], (len(table), 1)), set()
    if name not in table:
        return None, set()
    centre = _array(table[name]).astype(np.float64)
    if "timedel" in table:
        width = _array(table["timedel"])
    else:
        width = np.asarray(attrs["timedel"] if "timedel" in attrs else _spacing(centre))
    return np.stack([centre - width / 2, centre + width / 2], axis=1), {name, "timedel"}


def _spacing(centre: np.ndarray) -> float:
    """Return the distance of evenly spaced centres."""
    steps = np.diff(np.unique(centre))
    rounding = 4 * np.spacing(np.abs(centre).max(initial=0.0))
    if steps.size == 0 or np.ptp(steps) > max(rounding, 1e-6 * steps.min()):
        raise ValueRangeError(
            "the bins of 'time' cannot be told from unevenly spaced centres; give 'time_start' and "
            "'time_stop', a column 'timedel', or attrs={'timedel': ...}"
        )
    return float(np.median(steps))


def _edges(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    intervals = column.array
    return np.asarray(intervals.left, dtype=np.float64), np.asarray(intervals.right, dtype=np.float64)


def _axis(name: str, bounds: np.ndarray, dim: str | None = None) -> dict[str, Any]:
    dim = dim or name
    return {name: ((dim,), bounds.mean(axis=1)), f"{name}_bnds": ((dim, "bnds"), bounds)}


def _on_cells(
    table: pd.DataFrame, kind: str, cells: _Cells, used: set[str], units: Mapping[str, str]
) -> dict[str, Any]:
    """Return the columns not yet `used` over the axes that the data model gives them, or over all."""
    variables = {}
    for name in map(str, table.columns):
        if name in used:
            continue
        spec = KINDS[kind].by_name.get(name)
        own = [axis for axis in cells.axes if spec is None or {axis, f"[{axis}]"} & set(spec.dims)]
        variables[name] = (tuple(own), cells.values(_array(table[name]), own, name), _unit_attrs(units, name))
    return variables


def _statistics(variables: Mapping[str, Any], error: str) -> dict[str, str]:
    poisson = "counts" in variables and "rate" not in variables and error not in variables
    return {"statistic": "poisson" if poisson else "gaussian", "weighting": "none"}


def _unit_attrs(units: Mapping[str, str], name: str) -> dict[str, str]:
    return {"units": units[name]} if name in units else {}


def _array(column: pd.Series) -> np.ndarray:
    array = column.to_numpy()
    return array.astype(str) if array.dtype == object else array


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))
