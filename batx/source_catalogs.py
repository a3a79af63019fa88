"""Catalogues of sources from the columns of single images: names, order, units, images joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError
from batx.positions import designation
from batx.provenance import calibration_of, with_calibration
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs, with_history
from batx.source_fields import Field, Targets

__all__ = ["catalog_of", "joined", "with_absent"]

_BANDED = (
    "rate", "rate_err", "snr", "noise", "background", "background_err", "local_background", "contamination",
    "centre_rate", "centre_snr", "chi2", "dof",
)  # fmt: skip
_FLAGS = {
    "flag_masks": [1, 2, 4, 8, 16, 32],
    "flag_meanings": "imx_held imy_held rate_held width_held fitted_in_group not_fitted",
}


def catalog_of(field: Field, columns: dict[str, Any]) -> xr.Dataset:
    """Return the columns of one image as a Dataset, new sources by falling significance."""
    best = np.nan_to_num(columns["snr"]).max(axis=1, initial=0.0)
    order = np.lexsort((-np.where(columns["known"], np.inf, best),))
    banded = "energy" in field.image[field.name if field.name in field.image else "counts"].dims
    variables: dict[str, Any] = {}
    for name, values in columns.items():
        if name == "inside":
            continue
        if name in _BANDED:
            unit = "1" if name in ("snr", "centre_snr", "chi2", "dof") else field.units
            ordered = values[order] if banded else values[order, 0]
            dims: tuple[str, ...] = ("source", "energy") if banded else ("source",)
            target = name if field.name == "rate" else name.replace("rate", "counts")
            variables[target] = (dims, ordered, {"units": unit})
        else:
            variables[name] = ("source", values[order])
    variables["name"] = ("source", _names(variables))
    variables["known"] = ("source", columns["known"][order])
    variables["flags"] = ("source", columns["flags"][order], {"units": "1", **_FLAGS})
    if banded:
        variables |= {
            name: (field.image[name].dims, field.image[name].values, {"units": "keV"})
            for name in ("energy", "energy_bnds")
            if name in field.image.variables
        }
    for name in ("time", "exposure"):
        if name in field.image.variables and field.image[name].ndim == 0:
            variables[name] = (
                "source",
                np.full(len(order), float(field.image[name])),
                {"units": "s"},
            )
    return build("catalog", variables)


def _names(variables: dict[str, Any]) -> np.ndarray:
    """Return names; sources without one are named after their position."""
    ra, dec = variables["ra"][1], variables["dec"][1]
    names = [
        str(name) or (designation(a, d) if np.isfinite(a) else f"NEW_{number}")
        for number, (name, a, d) in enumerate(zip(variables["name"][1], ra, dec, strict=True), 1)
    ]
    return np.array(names, dtype=str)


def with_absent(part: xr.Dataset, targets: Targets, inside: np.ndarray) -> xr.Dataset:
    """Return a catalogue with a row for every position, NaN for those that are outside."""
    if inside.all():
        return part
    row = np.where(inside, np.cumsum(inside) - 1, -1)
    padded = part.pad(source=(0, 1)).isel(source=row)
    for name, dtype in ((name, part[name].dtype) for name in part.variables if "source" in part[name].dims):
        if dtype.kind in "iub":
            padded[name] = padded[name].fillna(0).astype(dtype).assign_attrs(part[name].attrs)
    padded["name"] = ("source", np.where(targets.name == "", padded["name"], targets.name).astype(str))
    padded["ra"] = padded["ra"].where(
        xr.DataArray(inside, dims="source"), xr.DataArray(targets.ra, dims="source")
    )
    padded["dec"] = padded["dec"].where(
        xr.DataArray(inside, dims="source"), xr.DataArray(targets.dec, dims="source")
    )
    return padded.assign_attrs(part.attrs)


def joined(parts: list[xr.Dataset], image: xr.Dataset, line: str) -> xr.Dataset:
    """Return the catalogues of all times as one."""
    if not parts:
        raise KindError("sky image: found no image along time, expected at least one")
    catalog = (
        parts[0]
        if len(parts) == 1
        else xr.concat(
            parts, "source", data_vars="minimal", coords="minimal", compat="override", join="override"
        )
    )
    kept = kept_attrs(image.attrs, *ORIGIN, "tstart", "tstop", "history")
    return catalog.assign_attrs(with_calibration(with_history(kept, f"batx.{line}"), calibration_of(image)))
