"""Recognise, check and build Datasets of the kinds that batx knows; nothing here loads data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, SchemaError
from batx.schema.axes import with_axes
from batx.schema.kinds import KINDS
from batx.schema.spec import Kind, Variable
from batx.units import to_value

__all__ = [
    "CONVENTIONS",
    "SCHEMA_VERSION",
    "Issue",
    "build",
    "check",
    "identify",
    "require_bat",
    "require_kind",
    "validate",
]

SCHEMA_VERSION = "1"
CONVENTIONS = "CF-1.13 batx-1"

_DTYPE_KINDS = {"float": "f", "real": "iuf", "integer": "iu", "bool": "b", "string": "UOST"}
_SIZES = {"bnds": 2, "q": 4, "bat": 3, "spacecraft": 3}


@dataclass(frozen=True)
class Issue:
    """One departure from the data model: where, what was found, what was expected."""

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, expected {self.expected}"


def identify(ds: xr.Dataset) -> str | None:
    """Return the kind of a Dataset from its structure, `None` if it is none that batx knows.

    Attributes are only used where the structure fits several kinds, because arithmetic on xarray objects
    carries them to results that are something else, and where one value of an axis is selected
    (``lc.isel(energy=0)``).

    Parameters
    ----------
    ds
        Any Dataset; nothing is loaded.

    Examples
    --------
    >>> import xarray as xr
    >>> identify(xr.Dataset({"start": ("gti", [0.0]), "stop": ("gti", [9.0])}))
    'gti'
    """
    hint = ds.attrs.get("batx_kind")
    fitting = [name for name, kind in KINDS.items() if _fits(ds, kind)]
    if "row" in ds.dims:
        fitting.append("table")
    if hint in KINDS and hint not in fitting and _fits(with_axes(ds, KINDS[hint]), KINDS[hint]):
        return str(hint)
    if hint in fitting:
        return str(hint)
    return fitting[0] if fitting else None


def _fits(ds: xr.Dataset, kind: Kind) -> bool:
    return any(
        all(name in ds.variables and set(dims) <= set(ds[name].dims) for name, dims in mark.items())
        for mark in kind.marks
    )


def require_kind(ds: Any, *kinds: str, operation: str) -> str:
    """Return the kind of `ds` if it is one of `kinds`; raise `KindError` with the remedy otherwise."""
    if not isinstance(ds, xr.Dataset):
        remedy = ""
        if isinstance(ds, xr.DataTree):
            remedy = "; select a node of the tree first"
        elif isinstance(ds, (str, os.PathLike)):
            remedy = "; open the file with batx.open_dataset first"
        raise KindError(
            f"{operation} works on a Dataset of kind {' or '.join(kinds)}; found {type(ds).__name__}{remedy}"
        )
    kind = identify(ds)
    if kind not in kinds:
        found = (
            f"kind '{kind}'"
            if kind
            else f"a Dataset of no known kind with variables {sorted(map(str, ds.data_vars))}"
        )
        raise KindError(f"{operation} works on kind {' or '.join(kinds)}; found {found}")
    return kind


def require_bat(ds: Any, *kinds: str, operation: str) -> str:
    """Return the kind of `ds` as `require_kind` does, if it is not of another instrument than Swift/BAT.

    Files of other instruments open as the kind that they are, but their detector positions, channels and
    flags mean something else. What does not say where it comes from is taken as BAT's.

    Raises
    ------
    KindError
        If the kind is another, or the attribute `telescope` or `instrument` names another.
    """
    kind = require_kind(ds, *kinds, operation=operation)
    expected = {"telescope": "SWIFT", "instrument": "BAT"}
    found = {name: str(ds.attrs.get(name, "")).strip() for name in expected}
    if any(value and value.upper() != expected[name] for name, value in found.items()):
        made_by = " ".join(filter(None, found.values()))
        raise KindError(
            f"{operation} works on data of Swift/BAT; found kind '{kind}' of {made_by} (attributes telescope "
            "and instrument). Open the BAT file of the observation; to_pandas, to_fits, gti_of and exposure "
            "work on any instrument"
        )
    return kind


def check(obj: xr.Dataset | xr.DataTree, kind: str | None = None) -> list[Issue]:
    """Return every departure of an object from the data model, each with its path; nothing is loaded.

    Parameters
    ----------
    obj
        A Dataset, or a DataTree of which every node that holds variables is checked (with the coordinates
        that it inherits); the path then begins with that of the node.
    kind
        The kind that it should be; recognised from the structure if not given.

    Returns
    -------
    list of Issue
        Empty where the object conforms.
    """
    if isinstance(obj, xr.DataTree):
        return [
            Issue(f"{node.path}:{issue.path}", issue.found, issue.expected)
            for node in obj.subtree
            if node.has_data
            for issue in check(node.to_dataset())
        ]
    name = kind or identify(obj)
    if name is None:
        return [Issue("dims", f"{dict(obj.sizes)}", f"the structure of one of {', '.join(KINDS)}")]
    if name not in KINDS:
        return [Issue("attrs['batx_kind']", repr(name), f"one of {', '.join(KINDS)}")]
    return list(_issues(with_axes(obj, KINDS[name]), KINDS[name]))


def _issues(ds: xr.Dataset, kind: Kind) -> Iterator[Issue]:
    for variable in kind.variables:
        if variable.name in ds.variables:
            yield from _variable_issues(ds, variable)
        elif variable.required:
            place = "coords" if variable.coord else "data_vars"
            yield Issue(
                f"{place}['{variable.name}']", "nothing", f"dimensions {variable.dims}: {variable.doc}"
            )
    for group in kind.one_of:
        if not any(name in ds.variables for name in group):
            yield Issue(
                "data_vars", f"{sorted(map(str, ds.data_vars))}", f"at least one of {', '.join(group)}"
            )
    for name in ds.variables:
        bounds = ds.variables[name].attrs.get("bounds")
        if bounds is not None and bounds not in ds.variables:
            yield Issue(f"{name}.attrs['bounds']", repr(bounds), "the name of a variable of the Dataset")
    yield from _attribute_issues(ds, kind)


def _variable_issues(ds: xr.Dataset, spec: Variable) -> Iterator[Issue]:
    array = ds.variables[spec.name]
    path = f"{'coords' if spec.name in ds.coords else 'data_vars'}['{spec.name}']"
    if spec.coord != (spec.name in ds.coords):
        yield Issue(path, "a data variable" if spec.coord else "a coordinate", "the other of the two")
    if not spec.allows(tuple(map(str, array.dims))):
        yield Issue(f"{path}.dims", f"{array.dims}", f"{spec.dims}")
    for dim in array.dims:
        if dim in _SIZES and array.sizes[dim] != _SIZES[dim]:
            yield Issue(f"{path}.sizes['{dim}']", f"{array.sizes[dim]}", f"{_SIZES[dim]}")
    if _is_quantity(array):
        yield Issue(path, "an astropy Quantity", "plain numbers with attrs['units']")
    wanted = _DTYPE_KINDS.get(spec.dtype)
    if wanted and array.dtype.kind not in wanted:
        yield Issue(f"{path}.dtype", f"{array.dtype}", spec.dtype)
    if spec.dtype == "float" and array.dtype.kind == "f" and array.dtype.itemsize < 8:
        yield Issue(f"{path}.dtype", f"{array.dtype}", "float64")
    units = array.attrs.get("units")
    if spec.units is not None and units != spec.units:
        yield Issue(f"{path}.attrs['units']", repr(units), repr(spec.units))


def _attribute_issues(ds: xr.Dataset, kind: Kind) -> Iterator[Issue]:
    for spec in kind.attributes:
        path = f"attrs['{spec.name}']"
        if spec.name not in ds.attrs:
            if spec.required:
                yield Issue(path, "nothing", spec.doc)
            continue
        value = ds.attrs[spec.name]
        types: tuple[type, ...] = spec.type if isinstance(spec.type, tuple) else (spec.type,)
        if float in types:
            types = (*types, int, np.floating, np.integer)
        if not isinstance(value, types):
            yield Issue(path, f"{value!r} ({type(value).__name__})", " or ".join(t.__name__ for t in types))
        elif spec.values and value not in spec.values:
            yield Issue(path, repr(value), " or ".join(map(repr, spec.values)))
    if ds.attrs.get("batx_kind", kind.name) != kind.name:
        yield Issue("attrs['batx_kind']", repr(ds.attrs["batx_kind"]), repr(kind.name))
    for owner, attrs in [("", ds.attrs), *((f"{name}.", ds.variables[name].attrs) for name in ds.variables)]:
        for key, value in attrs.items():
            if not storable(value):
                yield Issue(
                    f"{owner}attrs['{key}']", f"{type(value).__name__}", "str, int, float or a list of them"
                )


def storable(value: Any) -> bool:
    """Whether a value may be an attribute: text, a number, or a flat list of them."""
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, (list, tuple)):
        return all(storable(item) and not isinstance(item, (list, tuple)) for item in value)
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iufU"
    return isinstance(value, (str, int, float, np.integer, np.floating))


def validate(obj: xr.Dataset | xr.DataTree, kind: str | None = None) -> xr.Dataset | xr.DataTree:
    """Return the object unchanged if it follows the data model; raise `SchemaError` otherwise.

    Parameters
    ----------
    obj, kind
        As for `check`.

    Raises
    ------
    SchemaError
        With all issues in its text and in its attribute `issues`.
    """
    issues = check(obj, kind)
    if issues:
        lines = "\n  ".join(map(str, issues))
        raise SchemaError(f"{len(issues)} departure(s) from the data model:\n  {lines}", issues)
    return obj


def build(kind: str, variables: Mapping[str, Any], attrs: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Return a Dataset of a kind, with dimensions, dtypes, units and descriptions from the specification.

    Parameters
    ----------
    kind
        Name of the kind.
    variables
        Variable or coordinate name to an array, or to ``(dims, array)`` or ``(dims, array, attrs)``. A plain
        array takes the dimensions of the specification (all of them, or those not in brackets). A
        ``Quantity`` is converted to the unit of the specification.
    attrs
        Dataset attributes; entries that are `None` are left out.

    Returns
    -------
    xarray.Dataset
        Checked; dask arrays stay lazy, and so do columns of files unless they must become float64.

    Raises
    ------
    SchemaError
        If the result does not follow the data model.
    KindError
        If there is no such kind.
    UnitsError
        If a quantity cannot be converted.

    Examples
    --------
    >>> gti = build("gti", {"start": [0.0, 20.0], "stop": [10.0, 30.0]})
    >>> gti["start"].attrs["units"]
    's'
    """
    if kind not in KINDS:
        raise KindError(f"build: found kind {kind!r}, expected one of {', '.join(KINDS)}")
    spec = KINDS[kind]
    made = {name: _variable(spec, name, value) for name, value in variables.items() if value is not None}
    coords = {
        name: variable for name, variable in made.items() if name in spec.by_name and spec.by_name[name].coord
    }
    data = {name: variable for name, variable in made.items() if name not in coords}
    kept = {key: value for key, value in (attrs or {}).items() if value is not None}
    kept |= {"Conventions": CONVENTIONS, "batx_kind": kind, "batx_schema": SCHEMA_VERSION}
    try:
        ds = xr.Dataset(data, coords, kept)
    except ValueError as error:
        raise SchemaError(f"{kind}: the variables do not go together: {error}") from error
    for name in list(ds.coords):
        bounds = f"{name}_bnds"
        if bounds in ds.variables:
            ds[name].attrs["bounds"] = bounds
    validate(ds, kind)
    return ds


def _variable(kind: Kind, name: str, value: Any) -> xr.Variable:
    spec = kind.by_name.get(name)
    try:
        variable = _undescribed(kind, name, value)
    except ValueError as error:
        raise SchemaError(f"{kind.name}: variable '{name}': {error}") from error
    if _is_quantity(variable):
        quantity = variable.data
        units = (spec.units if spec else None) or str(quantity.unit)
        variable = xr.Variable(
            variable.dims, to_value(quantity, units, name), {"units": units, **variable.attrs}
        )
    if spec is None or "grid_mapping_name" in variable.attrs:  # readers of CF take no further attributes
        return variable
    if spec.dtype == "float" and variable.dtype != np.float64 and variable.dtype.kind in "iuf":
        variable = variable.astype(np.float64)
    described = {"long_name": spec.doc}
    if spec.units is not None:
        described["units"] = spec.units
    if spec.fits:
        described["fits_name"] = spec.fits
    variable.attrs = {**described, **variable.attrs}
    return variable


def _undescribed(kind: Kind, name: str, value: Any) -> xr.Variable:
    """Return what was given for a variable as one, with its dimensions."""
    if isinstance(value, xr.DataArray):
        return value.variable.copy(deep=False)
    if isinstance(value, xr.Variable):
        return value.copy(deep=False)
    if isinstance(value, tuple):
        return xr.Variable(*value)
    array = value if hasattr(value, "dtype") else np.asarray(value)
    spec = kind.by_name.get(name)
    dims = spec.default_dims(array.ndim) if spec else None
    if dims is None:
        raise ValueError(
            f"found {array.ndim} axes, for which the specification names no dimensions; give (dims, array)"
        )
    return xr.Variable(dims, array)


def _is_quantity(variable: xr.Variable) -> bool:
    """Whether a variable wraps a Quantity; looks at the wrapped array: ``.data`` would load a lazy one."""
    return hasattr(variable._data, "unit")
