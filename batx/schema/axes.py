"""Axes that a selection of a single value took away, put back with length 1."""

from __future__ import annotations

import xarray as xr

from batx.schema.spec import Kind

__all__ = ["with_axes"]


def with_axes(ds: xr.Dataset, kind: Kind) -> xr.Dataset:
    """Return a Dataset with the axes that its kind needs and of which one value was selected.

    ``lc.isel(energy=0)`` leaves the energy and its bounds as scalars; the variables that the specification
    puts along energy get the dimension back. Anything else is returned as it is; nothing is loaded.

    Parameters
    ----------
    ds
        Dataset, of that kind but for the axes.
    kind
        Specification; the axes are its coordinates with bounds that are not optional.
    """
    for axis in kind.by_name:
        bounds = f"{axis}_bnds"
        needed = bounds in kind.by_name and axis in kind.by_name[bounds].dims
        if needed and axis in ds.coords and ds[axis].ndim == 0 and bounds in ds.coords:
            ds = _with_axis(ds, kind, axis)
    return ds


def _with_axis(ds: xr.Dataset, kind: Kind, axis: str) -> xr.Dataset:
    along = [spec.name for spec in kind.variables if axis in spec.dims and spec.name in ds.variables]
    made = {}
    for name in along:
        variable = ds[name].variable
        order = [dim.strip("[]") for dim in kind.by_name[name].dims]
        dims = [dim for dim in order if dim == axis or dim in variable.dims]
        rest = [dim for dim in variable.dims if dim not in dims]
        made[name] = variable.to_base_variable().set_dims([axis, *variable.dims]).transpose(*rest, *dims)
    coords = {name: variable for name, variable in made.items() if name in ds.coords}
    data = {name: variable for name, variable in made.items() if name not in coords}
    return ds.drop_vars(list(coords)).assign(data).assign_coords(coords)
