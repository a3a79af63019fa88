"""What an object is, in a few lines: kind, sizes, times, exposure, energies. Behind ``batx info``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.instrument.sky import radec_to_vector
from batx.positions import designation
from batx.schema import identify

__all__ = ["describe", "describe_source", "describe_times", "distinct", "separation", "sizes"]


def describe(ds: xr.Dataset) -> dict[str, str]:
    """Return what is worth knowing about a Dataset, by label; columns of events are not read.

    Parameters
    ----------
    ds
        Any Dataset.

    Returns
    -------
    dict
        Label to text, in the order in which to show them; what the object does not have is left out.

    Examples
    --------
    >>> import batx
    >>> gti = batx.build("gti", {"start": [0.0, 20.0], "stop": [10.0, 30.0]})
    >>> describe(gti)["exposure"]
    '20 s in 2 good-time intervals'
    """
    rows = {
        "kind": identify(ds) or "unknown",
        "instrument": _words(ds.attrs.get("telescope"), ds.attrs.get("instrument")),
        "object": _words(ds.attrs.get("object")),
        "observation": _words(ds.attrs.get("obs_id")),
        "dimensions": ", ".join(
            f"{name} {size}" for name, size in ds.sizes.items() if name not in ("bnds", "q")
        ),
        **describe_times(ds),
        "exposure": _exposure(ds),
        "energy": _energy(ds),
        "values": _words(ds.attrs.get("statistic"), _weighting(ds)),
        "variables": ", ".join(str(name) for name in ds.data_vars),
    }
    return {label: text for label, text in rows.items() if text}


def sizes(ds: xr.Dataset) -> str:
    """Return the dimensions and their sizes, without those of edges and quaternions."""
    return ", ".join(f"{name} {size}" for name, size in ds.sizes.items() if name not in ("bnds", "q"))


def describe_times(ds: xr.Dataset) -> dict[str, str]:
    """Return start, stop and trigger in MET and, where the clock correction is known, in UTC."""
    start, stop = _span(ds)
    trigger = ds.attrs.get("trigger_time")
    rows = {}
    if start is not None and stop is not None:
        rows["start"] = _instant(start, ds.attrs)
        rows["stop"] = f"{_instant(stop, ds.attrs)}   ({stop - start:.6g} s later)"
    if trigger is not None and np.isfinite(trigger):
        rows["trigger"] = _instant(float(trigger), ds.attrs)
    return rows


def distinct(catalog: xr.Dataset, apart: float = 0.5, most: int = 20) -> xr.Dataset:
    """Return the most significant source of each place, named after the place if it has no name.

    Parameters
    ----------
    catalog
        Kind ``catalog`` with `ra` and `dec`, such as the candidates of a search, where a place occurs often.
    apart
        Sources closer than this (degrees) to a more significant one are left out.
    most
        Greatest number of sources.

    Examples
    --------
    >>> import batx
    >>> catalog = batx.build("catalog", {
    ...     "ra": ("source", [10.0, 10.1, 50.0]), "dec": ("source", [0.0, 0.0, 0.0]),
    ...     "snr": ("source", [7.0, 9.0, 8.0])})
    >>> distinct(catalog)["ra"].values.tolist()
    [10.1, 50.0]
    """
    snr = catalog["snr"].max("energy") if "energy" in catalog["snr"].dims else catalog["snr"]
    ra, dec = catalog["ra"].values, catalog["dec"].values
    chosen: list[int] = []
    for i in np.argsort(-snr.values, kind="stable"):
        if len(chosen) == most:
            break
        if not chosen or (separation(ra[i], dec[i], ra[chosen], dec[chosen]) > apart).all():
            chosen.append(int(i))
    chosen_ones = catalog.isel(source=chosen)
    if "name" in catalog.variables:
        return chosen_ones
    names = [designation(ra[i], dec[i]) for i in chosen]
    return chosen_ones.assign_coords(name=("source", np.array(names, dtype=object)))


def separation(ra: Any, dec: Any, other_ra: Any, other_dec: Any) -> np.ndarray:
    """Return the angle (degrees) between positions (degrees).

    Examples
    --------
    >>> float(separation(10.0, 0.0, 10.0, 1.5).round(9))
    1.5
    """
    one, two = radec_to_vector(ra, dec), radec_to_vector(other_ra, other_dec)
    across = np.linalg.norm(np.cross(one, two), axis=-1)
    return np.rad2deg(np.arctan2(across, np.sum(one * two, axis=-1)))


def describe_source(catalog: xr.Dataset, index: int) -> dict[str, str]:
    """Return a source of a catalogue, by label: its place, its best band, and its time from the trigger.

    Examples
    --------
    >>> import batx
    >>> catalog = batx.build("catalog", {
    ...     "ra": ("source", [10.0]), "dec": ("source", [0.0]), "snr": ("source", [7.0])})
    >>> describe_source(catalog, 0)
    {'ra (deg)': '10.0000', 'dec (deg)': '+0.0000', 'snr': '7.0'}
    """
    one = catalog.isel(source=index)
    snr = np.atleast_1d(one["snr"].values) if "snr" in one else np.zeros(1)
    band = int(np.nanargmax(snr)) if np.isfinite(snr).any() else 0
    scale = {"err_rad": 60.0}
    formats = {
        "ra": ("ra (deg)", ".4f"),
        "dec": ("dec (deg)", "+.4f"),
        "err_rad": ("arcmin", ".2f"),
        "significance": ("sigma", ".1f"),
        "snr": ("snr", ".1f"),
        "rate": ("count/s", ".5f"),
        "rate_err": ("+-", ".5f"),
        "pcode": ("coding", ".2f"),
        "false_alarms": ("chance", ".1g"),
        "false_alarm_probability": ("chance", ".1g"),
    }
    names = {"name": str(one["name"].values)} if "name" in one.variables else {}
    values = {
        label: format(
            scale.get(name, 1.0) * float(np.atleast_1d(one[name].values)[band * one[name].ndim]), style
        )
        for name, (label, style) in formats.items()
        if name in one
    }
    if "energy_bnds" in catalog.variables and snr.size > 1:
        values["keV"] = "-".join(f"{edge:g}" for edge in catalog["energy_bnds"].values[band])
    zero = float(catalog.attrs.get("trigger_time", 0.0))
    if "time" in catalog.variables and catalog["time"].dims == ("source",):
        values["time (s)"] = f"{float(one['time']) - zero:.1f}"
    if {"window_start", "window_stop"} <= set(one.data_vars):
        values["window (s)"] = f"{float(one.window_start) - zero:.1f}-{float(one.window_stop) - zero:.1f}"
    return names | values


def _words(*values: Any) -> str:
    return " ".join(text for value in values if value is not None and (text := str(value).strip()))


def _span(ds: xr.Dataset) -> tuple[float | None, float | None]:
    """Return first and last MET: of the bins, the good time, the header, or the rows."""
    if "time_bnds" in ds and ds["time_bnds"].size:
        return float(ds["time_bnds"].min()), float(ds["time_bnds"].max())
    for first, last in (("gti_start", "gti_stop"), ("start", "stop")):
        if first in ds and ds[first].size:
            return float(ds[first].min()), float(ds[last].max())
    if "tstart" in ds.attrs and "tstop" in ds.attrs:
        return float(ds.attrs["tstart"]), float(ds.attrs["tstop"])
    if "time" in ds.coords and ds["time"].ndim == 1 and ds["time"].size:
        return float(ds["time"][0]), float(ds["time"][-1])
    return None, None


def _instant(met: float, attrs: dict[Any, Any]) -> str:
    text = f"MET {met:.6f}".rstrip("0").rstrip(".")
    if "utcf" not in attrs:
        return text
    from batx.met import met_to_utc

    return f"{text} = {str(met_to_utc(met, attrs=attrs)).replace('T', ' ')} UTC"


def _exposure(ds: xr.Dataset) -> str:
    for first, last in (("gti_start", "gti_stop"), ("start", "stop")):
        if first in ds and ds[first].ndim == 1:
            n = ds[first].size
            total = float((ds[last] - ds[first]).sum())
            return f"{total:.9g} s in {n} good-time interval{'' if n == 1 else 's'}"
    if "image_exposure" in ds:
        used = ds["image_exposure"].where(ds["image_used"]) if "image_used" in ds else ds["image_exposure"]
        n = int(used.notnull().sum())
        return f"{float(used.sum()):.9g} s in {n} image{'' if n == 1 else 's'}"
    whole = "exposure" in ds and set(ds["exposure"].dims) <= {"time"}
    return f"{float(ds['exposure'].sum()):.9g} s" if whole else ""


def _energy(ds: xr.Dataset) -> str:
    if "energy_bnds" not in ds or not ds["energy_bnds"].size:
        return ""
    bounds = ds["energy_bnds"].values.reshape(-1, 2)
    edges = [*bounds[:, 0], bounds[-1, 1]]
    touching = np.array_equal(bounds[1:, 0], bounds[:-1, 1])
    if len(bounds) <= 8 and touching:
        return f"{'-'.join(f'{edge:g}' for edge in edges)} keV"
    return f"{bounds.min():g}-{bounds.max():g} keV in {len(bounds)} bands"


def _weighting(ds: xr.Dataset) -> str:
    weighting = ds.attrs.get("weighting")
    return {"mask": "mask-weighted", "none": "unweighted"}.get(str(weighting), "")
