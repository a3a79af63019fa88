"""What a survey snapshot left, as tables: columns of its catalogue, its row in the table of pointings.

Private to the functions that process survey histograms.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import xarray as xr

from batx.kernels.residuals import chi_square
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs

__all__ = ["failed_row", "in_all_bands", "joined_rows", "pointing_row", "snapshot_name", "survey_columns"]

#: column of batsurvey's catalogues -> variable of `batx.detect`
_COLUMNS = {
    "cent_rate": "centre_rate",
    "cent_snr": "centre_snr",
    "contam_rate": "contamination",
    "bkg": "background",
    "bkg_err": "background_err",
    "bkg_var": "noise",
    "bkg_cell": "local_background",
    "vectsnr": "snr",
    "pcodefr": "pcode",
}
#: what is taken of the given catalogue, unless the measured one has it
_PLACES = ("name", "ra", "dec", "energy", "energy_bnds")
_UNKNOWN = -999.0
_EPOCH = datetime.datetime(2001, 1, 1)


def _date(met: float) -> datetime.datetime:
    """Return the date of the mission time, without any correction of the clock."""
    return _EPOCH + datetime.timedelta(seconds=met)


def snapshot_name(start: float, seconds: bool = False) -> str:
    """Return the name of a snapshot, by its start (MET), to the minute or to the second.

    Examples
    --------
    >>> snapshot_name(6e8), snapshot_name(6e8, seconds=True)
    ('point_20200061040', 'point_2020006104000')
    """
    return f"point_{_date(start):%Y%j%H%M%S}"[: None if seconds else -2]


def survey_columns(
    found: xr.Dataset,
    given: xr.Dataset | None,
    plane: xr.Dataset,
    name: str,
    *,
    first: int,
    detectors: int,
) -> xr.Dataset:
    """Return the sources of `batx.detect` with the columns that catalogues of the survey have.

    Parameters
    ----------
    found
        Result of `batx.detect`.
    given
        The catalogue that the known sources are of; its columns are kept.
    plane
        The detector image.
    name
        Of the snapshot.
    first
        Number of the first new source.
    detectors
        Number of good detectors.
    """
    made = found.rename({old: new for new, old in _COLUMNS.items() if old in found})
    for column in set(_COLUMNS) & set(made.variables):
        made[column].attrs.pop("fits_name", None)  # of the variable that it was
    rate, noise = found["rate"].values, found["noise"].values
    with np.errstate(divide="ignore", invalid="ignore"):
        total = rate.sum(axis=1) / np.sqrt((noise**2).sum(axis=1))
        best = np.fmax.reduce(np.column_stack([total, found["snr"].values]), axis=1)
    number = made.sizes["source"]
    ends = float(plane["gti_start"].values.min()), float(plane["gti_stop"].values.max())
    one = {"units": "1"}
    variables: dict[str, Any] = {
        "totsnr": (("source",), total, one),
        "snr": (("source",), best, one),
        "time": (("source",), np.full(number, ends[0]), {"units": "s"}),
        "time_stop": (("source",), np.full(number, ends[1]), {"units": "s"}),
        "exposure": (("source",), np.full(number, float(plane["exposure"])), {"units": "s"}),
        "obs_id": (("source",), np.full(number, str(plane.attrs.get("obs_id", "")))),
        "image_id": (("source",), np.full(number, name)),
        "ngoodpix": (("source",), np.full(number, detectors, np.int32), one),
        "cleaned": (("source",), np.zeros(number, bool)),
    }
    names = made["name"].values.astype(object)
    new = np.flatnonzero(~made["known"].values)
    names[new] = [f"{name.removeprefix('point_')}_{first + count:02d}" for count in range(len(new))]
    variables["name"] = (("source",), names.astype(str))
    made = made.drop_vars([one for one in ("time", "exposure") if one in made.variables]).assign(variables)
    if given is None:
        return made.assign(known=("source", np.zeros(number, bool)))
    return _with_given(made, given)


def _with_given(made: xr.Dataset, given: xr.Dataset) -> xr.Dataset:
    """Return a catalogue with the columns of the given one for the sources that are of it."""
    names = given["name"].values if "name" in given else range(1, given.sizes["source"] + 1)
    labels = [str(name).strip() for name in names]
    row = {label: number for number, label in enumerate(labels)}
    rows = np.array([row.get(str(name).strip(), -1) for name in made["name"].values], dtype=int)
    made["known"] = (("source",), rows >= 0)
    for name, variable in given.variables.items():
        if variable.dims != ("source",) or name in _PLACES or name in made.variables:
            continue
        values = variable.values
        taken = values[np.maximum(rows, 0)] if len(values) else np.zeros(len(rows), values.dtype)
        if (rows < 0).any():
            taken = np.where(rows < 0, _nothing(values.dtype), taken)
        made[name] = (("source",), taken, variable.attrs)
    return made


def _nothing(dtype: np.dtype) -> Any:
    return {"f": np.nan, "b": False, "i": -1, "u": 0}.get(dtype.kind, "")


def pointing_row(
    plane: xr.Dataset,
    name: str,
    attitude: xr.Dataset | None,
    *,
    model: np.ndarray,
    good: np.ndarray,
) -> xr.Dataset:
    """Return the row of a good snapshot: when, where, and how well the model fits each band."""
    rate, seconds = plane["rate"].transpose("energy", "dety", "detx").values, float(plane["exposure"])
    chi2 = chi_square(rate, model, seconds, good)
    counts = rate[:, good].sum(axis=1, dtype=np.float64) * seconds
    ends = float(plane["gti_start"].values.min()), float(plane["gti_stop"].values.max())
    return _row(plane.attrs, name, ends, seconds, seconds, attitude, int(good.sum()), chi2, counts, code="ok")


def failed_row(
    attrs: dict[str, Any],
    name: str,
    ends: tuple[float, float],
    code: str,
    bands: int,
    *,
    exposure: float = 0.0,
    attitude: xr.Dataset | None = None,
) -> xr.Dataset:
    """Return the row of a snapshot that could not be used, with the code of batsurvey for why."""
    nothing = np.zeros(bands)
    return _row(attrs, name, ends, exposure, 0.0, attitude, 0, nothing, nothing, code=code)


def _row(
    attrs: dict[str, Any],
    name: str,
    ends: tuple[float, float],
    raw: float,
    used: float,
    attitude: xr.Dataset | None,
    detectors: int,
    chi2: np.ndarray,
    counts: np.ndarray,
    *,
    code: str,
) -> xr.Dataset:
    place = {
        f"{axis}_pnt": _UNKNOWN if attitude is None else float(attitude[key].values[0])
        for axis, key in (("ra", "ra"), ("dec", "dec"), ("pa", "roll"))
    }
    values: dict[str, tuple[Any, str]] = {
        "obs_id": (str(attrs.get("obs_id", "")), ""),
        "image_id": (name, ""),
        "date_obs": (_date(ends[0]).isoformat(timespec="seconds"), ""),
        "date_end": (_date(ends[1]).isoformat(timespec="seconds"), ""),
        "tstart": (ends[0], "s"),
        "tstop": (ends[1], "s"),
        "raw_exposure": (raw, "s"),
        "exposure": (used, "s"),
        "image_status": (code == "ok", ""),
        "image_descr": (code, ""),
        **{axis: (value, "deg") for axis, value in place.items()},
        "nbatdets": (np.int32(detectors), "1"),
        "numband": (np.int16(len(chi2)), "1"),
    }
    variables: dict[str, Any] = {
        column: (("row",), np.array([value]), {"units": unit} if unit else {})
        for column, (value, unit) in values.items()
    }
    variables["chi2"] = (("row", "energy"), chi2[None], {"units": "1"})
    variables["bkg_counts"] = (("row", "energy"), counts[None], {"units": "count"})
    kept = kept_attrs(attrs, *ORIGIN, "provenance")
    return build("table", variables, kept | {"tstart": ends[0], "tstop": ends[1]})


def in_all_bands(ds: xr.Dataset, plane: xr.Dataset) -> xr.Dataset:
    """Return what was made of the bands that have counts, along all: NaN in the others, counts 0.

    Parameters
    ----------
    ds
        Anything along energy, or not.
    plane
        The detector image: ``rate``, ``energy``, ``energy_bnds``.
    """
    if "energy" not in ds.dims:
        return ds
    filled = np.flatnonzero(plane["rate"].any(("dety", "detx")).values)
    along = {name: variable for name, variable in ds.variables.items() if "energy" in variable.dims}
    spread = {}
    for name, variable in along.items():
        moved = variable.transpose("energy", ...)
        kind = moved.dtype if moved.dtype.kind == "f" else np.dtype(np.float64)
        nothing = 0.0 if name == "bkg_counts" else np.nan
        values = np.full((plane.sizes["energy"], *moved.shape[1:]), nothing, kind)
        values[filled] = moved.values
        spread[name] = xr.Variable(moved.dims, values, moved.attrs).transpose(*variable.dims)
    spread |= {name: plane[name].variable for name in ("energy", "energy_bnds") if name in spread}
    return (
        ds.drop_dims("energy")
        .assign({n: v for n, v in spread.items() if n not in ds.coords})
        .assign_coords({n: v for n, v in spread.items() if n in ds.coords})
    )


def joined_rows(rows: list[xr.Dataset]) -> xr.Dataset:
    """Return rows of pointings as one table."""
    made = xr.concat(rows, "row", combine_attrs="override")
    return made.assign_attrs(
        tstart=float(made["tstart"].values.min()), tstop=float(made["tstop"].values.max())
    )
