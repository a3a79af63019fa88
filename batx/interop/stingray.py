"""Events and light curves as objects of the package stingray, and back.

An object made here holds what the Dataset holds: one array for each column, good time as ``gti``, the rest
(attributes, units, bands) as JSON text in the attribute ``batx``, which stays when the object is cut or
filtered. Objects made elsewhere have times, counts or energies, good time and reference date only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, MissingVariableError, ValueRangeError
from batx.grids import energy_bounds
from batx.met import MJDREF_INT, MJDREF_SECONDS
from batx.optional import optional
from batx.schema import KINDS, build, require_kind, validate
from batx.schema.axes import with_axes

__all__ = ["from_stingray", "to_stingray"]

#: kind -> dimension of its columns
_AXES = {"events": "event", "lightcurve": "time"}
#: what stingray calls the columns that it knows itself
_NAMES = {
    "events": {"time": "time", "energy": "energy", "pi": "pi"},
    "lightcurve": {
        "time": "time",
        "counts": "counts",
        "counts_err": "counts_err",
        "rate": "countrate",
        "rate_err": "countrate_err",
        "fracexp": "frac_exp",
    },
}
_GOOD_TIME = ("gti_start", "gti_stop")
#: bins of one width differ by less than this part of it
_SAME_WIDTH = 1e-3


def to_stingray(ds: xr.Dataset) -> Any:
    """Return events as a ``stingray.EventList``, a light curve of one band as a ``stingray.Lightcurve``.

    Needs the package stingray (``pip install 'batx[timing]'``).

    Parameters
    ----------
    ds
        Kind ``events``, or ``lightcurve`` with one band, no source axis and bins of one width. All of it is
        read into memory.

    Returns
    -------
    stingray.EventList or stingray.Lightcurve
        ``from_stingray(to_stingray(ds))`` is identical to `ds`. A light curve without good time gets its bins
        as ``gti``, so that stingray does not bridge gaps. Rates have ``err_dist="gauss"`` (about which
        stingray warns).

    Raises
    ------
    MissingPackageError
        If stingray is not installed.
    KindError
        If `ds` is of another kind, or has several bands or sources.
    ValueRangeError
        If the light curve holds NaN, or bins of different widths, or out of order.

    Examples
    --------
    >>> ev = build("events", {"time": [1.0, 2.5], "energy": [20.0, 30.0],
    ...                       "gti_start": [0.0], "gti_stop": [4.0]})
    >>> events = to_stingray(ev)
    >>> events.energy.tolist(), events.gti.tolist()
    ([20.0, 30.0], [[0.0, 4.0]])
    >>> from_stingray(events).identical(ev)
    True
    """
    kind = require_kind(ds, *_AXES, operation="to_stingray")
    stingray = optional("stingray", "timing", "to_stingray")
    axis = _AXES[kind]
    made = _lightcurve(stingray, ds) if kind == "lightcurve" else _events(stingray, ds)
    records: dict[str, Any] = {}
    for name, variable in ds.variables.items():
        record = {"dims": list(variable.dims), "attrs": _plain(variable.attrs), "coord": name in ds.coords}
        if variable.dtype.kind in "biuf":
            record["dtype"] = variable.dtype.str
        if name in _GOOD_TIME:
            pass
        elif axis in variable.dims:
            record["column"] = _NAMES[kind].get(str(name)) or _set(made, str(name), _rows(variable, axis))
        else:
            record["data"] = variable.values.tolist()
        records[str(name)] = record
    made.batx = json.dumps({"kind": kind, "attrs": _plain(ds.attrs), "variables": records})
    return made


def _events(stingray: Any, ds: xr.Dataset) -> Any:
    names = [name for name in ("energy", "pi") if name in ds]
    return stingray.EventList(
        time=ds["time"].values,
        **{name: ds[name].values for name in names},
        gti=_gti(ds),
        dt=float(ds.attrs.get("timedel", 0.0)),
        **_reference(ds.attrs),
        timesys=str(ds.attrs.get("time_scale", "tt")).upper(),
        timeref=str(ds.attrs.get("timeref", "LOCAL")),
        skip_checks=True,
    )


def _lightcurve(stingray: Any, ds: xr.Dataset) -> Any:
    whole = with_axes(ds, KINDS["lightcurve"])
    if whole.sizes["energy"] != 1 or "source" in whole.dims:
        raise KindError(
            f"to_stingray: found a light curve of sizes {dict(whole.sizes)}, expected one band and no "
            "source; select them, ds.isel(energy=[0])"
        )
    name = "counts" if "counts" in whole else "rate"
    values = whole[name].values[:, 0]
    errors = whole[f"{name}_err"].values[:, 0] if f"{name}_err" in whole else None
    if not np.all(np.isfinite(values)) or (errors is not None and not np.all(np.isfinite(errors))):
        raise ValueRangeError("to_stingray: found bins that are NaN; drop them (ds.dropna('time'))")
    bounds = whole["time_bnds"].values
    width = np.diff(bounds, axis=1)[:, 0]
    step = float(np.median(width))
    apart = np.diff(bounds[:, 0])
    if np.any(np.abs(width - step) > _SAME_WIDTH * step) or np.any(apart < (1 - _SAME_WIDTH) * step):
        raise ValueRangeError(
            "to_stingray: found bins of different widths, or that overlap or are out of order; re-bin the "
            "light curve (rebin_time), or sort it (sortby)"
        )
    gti = _gti(ds)
    if gti is None:
        first = np.append(0, np.flatnonzero(apart > (1 + _SAME_WIDTH) * step) + 1)
        gti = np.column_stack([bounds[first, 0], bounds[np.append(first[1:] - 1, len(bounds) - 1), 1]])
    return stingray.Lightcurve(
        whole["time"].values,
        values,
        err=errors,
        input_counts=name == "counts",
        err_dist="poisson" if ds.attrs.get("statistic") == "poisson" else "gauss",
        frac_exp=whole["fracexp"].values,
        gti=gti,
        dt=step,
        **_reference(ds.attrs),
        skip_checks=True,
    )


def _gti(ds: xr.Dataset) -> np.ndarray | None:
    return np.column_stack([ds[name].values for name in _GOOD_TIME]) if "gti_start" in ds else None


def _reference(attrs: Mapping[str, Any]) -> dict[str, Any]:
    whole = float(attrs.get("mjdref_int", MJDREF_INT))
    fraction = float(attrs.get("mjdref_frac", MJDREF_SECONDS / 86400.0))
    return {
        "mjdref": whole + fraction,
        "mission": str(attrs.get("telescope", "swift")).lower(),
        "instr": str(attrs.get("instrument", "bat")).lower(),
    }


def _rows(variable: xr.Variable, axis: str) -> np.ndarray:
    """Return a column with the axis of the rows first, and without that of a single band."""
    return variable.transpose(axis, ...).values


def _set(made: Any, name: str, values: np.ndarray) -> str:
    """Set an attribute that the object does not have yet; return its name."""
    while hasattr(made, name):
        name = f"batx_{name}"
    setattr(made, name, values)
    return name


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
        for name, value in attrs.items()
    }


def from_stingray(made: Any, energy: Any = None) -> xr.Dataset:
    """Return a ``stingray.EventList`` or ``stingray.Lightcurve`` as events or a light curve.

    Parameters
    ----------
    made
        An object of `to_stingray`, also one that was cut or filtered since; or any other.
    energy
        Lower and upper edge (keV) of the band of a light curve that was not made by `to_stingray`.

    Returns
    -------
    xarray.Dataset
        Kind ``events`` or ``lightcurve``, checked.

    Raises
    ------
    KindError
        If the object is neither.
    MissingVariableError
        If it holds no times, or is a light curve of an unknown band.

    Examples
    --------
    >>> import stingray
    >>> events = stingray.EventList(time=[1.0, 2.5], energy=[20.0, 30.0], gti=[[0.0, 4.0]], mjdref=51910)
    >>> from_stingray(events).gti_stop.values
    array([4.])
    """
    names = {base.__name__ for base in type(made).__mro__}
    kind = "lightcurve" if "Lightcurve" in names else "events" if "EventList" in names else None
    if kind is None:
        raise KindError(
            f"from_stingray works on a stingray EventList or Lightcurve; found {type(made).__name__}"
        )
    if made.time is None or np.size(made.time) == 0:
        raise MissingVariableError("from_stingray: the object holds no times")
    if isinstance(getattr(made, "batx", None), str):
        record = json.loads(made.batx)
        if record["kind"] == kind:
            return _restored(made, record)
    return _plain_events(made) if kind == "events" else _plain_lightcurve(made, energy)


def _restored(made: Any, record: Mapping[str, Any]) -> xr.Dataset:
    """Return the Dataset that an object was made from, with what the object holds now."""
    kind, axis = record["kind"], _AXES[record["kind"]]
    variables = {}
    for name, one in record["variables"].items():
        dims = one["dims"]
        if name in _GOOD_TIME:
            values = np.asarray(made.gti, dtype=np.float64)[:, _GOOD_TIME.index(name)]
        elif "column" in one:
            values = np.asarray(getattr(made, one["column"]))
        else:
            values = np.array(one["data"])
        if "dtype" in one:
            values = values.astype(one["dtype"])
        if axis in dims:
            first = [axis, *(dim for dim in dims if dim != axis)]
            values = values.reshape(values.shape + (1,) * (len(dims) - values.ndim))
            variables[name] = xr.Variable(first, values, one["attrs"]).transpose(*dims)
        else:
            variables[name] = xr.Variable(dims, values, one["attrs"])
    if kind == "lightcurve" and _moved(variables["time"].values, variables["time_bnds"].values):
        variables["time_bnds"].values = _edges(made)
    coords = {name: value for name, value in variables.items() if record["variables"][name]["coord"]}
    data = {name: value for name, value in variables.items() if name not in coords}
    ds = xr.Dataset(data, coords, record["attrs"])
    validate(ds, kind)
    return ds


def _moved(time: np.ndarray, bounds: np.ndarray) -> bool:
    """Whether times are no longer in the middle of their bins, as after ``Lightcurve.shift``."""
    width = bounds[:, 1] - bounds[:, 0]
    return bool(np.any(np.abs(time - bounds.mean(axis=1)) > _SAME_WIDTH * width))


def _edges(made: Any) -> np.ndarray:
    half = 0.5 * np.broadcast_to(made.dt, np.shape(made.time))
    return np.column_stack([made.time - half, made.time + half])


def _plain_attrs(made: Any) -> dict[str, Any]:
    attrs: dict[str, Any] = {"time_scale": str(getattr(made, "timesys", None) or "tt").lower()}
    if made.mjdref:
        attrs |= {"mjdref_int": int(made.mjdref), "mjdref_frac": float(made.mjdref - int(made.mjdref))}
    for name, own in (("telescope", "mission"), ("instrument", "instr")):
        if getattr(made, own, None):
            attrs[name] = str(getattr(made, own)).upper()
    return attrs


def _plain_gti(made: Any) -> dict[str, np.ndarray]:
    gti = np.asarray(made.gti, dtype=np.float64).reshape(-1, 2)
    return dict(zip(_GOOD_TIME, gti.T, strict=True))


def _plain_events(made: Any) -> xr.Dataset:
    variables: dict[str, Any] = {"time": np.asarray(made.time, dtype=np.float64), **_plain_gti(made)}
    variables |= {
        name: value for name in ("energy", "pi") if (value := getattr(made, name, None)) is not None
    }
    attrs = _plain_attrs(made) | ({"timedel": float(made.dt)} if made.dt else {})
    return build("events", variables, attrs)


def _plain_lightcurve(made: Any, energy: Any) -> xr.Dataset:
    if energy is None:
        raise MissingVariableError(
            "from_stingray: a stingray light curve does not know its band; give energy=(lower, upper) in keV"
        )
    lower, upper = energy_bounds(energy)
    counted = bool(made.input_counts)
    bounds = _edges(made)
    fracexp = np.ones(len(bounds)) if made.frac_exp is None else np.asarray(made.frac_exp, dtype=np.float64)
    dims = ("time", "energy")
    variables = {
        "time": np.asarray(made.time, dtype=np.float64),
        "time_bnds": bounds,
        "energy": 0.5 * (lower + upper),
        "energy_bnds": np.column_stack([lower, upper]),
        "fracexp": fracexp,
        "exposure": fracexp * (bounds[:, 1] - bounds[:, 0]),
        **_plain_gti(made),
    }
    poisson = str(made.err_dist).lower() == "poisson"
    for name in ("counts", "counts_err") if counted else ("rate", "rate_err"):
        values = getattr(made, name.replace("rate", "countrate"))
        if values is not None and not (poisson and name == "counts_err"):
            variables[name] = (dims, np.asarray(values)[:, np.newaxis])
    statistic = "poisson" if counted and poisson else "gaussian"
    return build("lightcurve", variables, _plain_attrs(made) | {"statistic": statistic, "weighting": "none"})
