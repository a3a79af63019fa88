"""What is known of survey sources, a row for each source and group of pointings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.met import met_to_mjd
from batx.schema import require_kind
from batx.time_averages import one_source

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_clock", "survey_table"]

#: columns of numbers: heading, digits or format
_SHOWN = {
    "source": "source",
    "group": "group",
    "start_mjd": "start (MJD)",
    "stop_mjd": "stop (MJD)",
    "n_pointings": "pointings",
    "exposure": "exposure (s)",
    "rate": "rate (count/s)",
    "rate_err": "error",
    "snr": "SNR",
    "index": "index",
    "index_err": "error",
    "flux": "flux (erg/cm2/s)",
    "flux_err": "error",
    "flux_limit": "limit",
}
_FORMS = {
    "start_mjd": "{:.5f}", "stop_mjd": "{:.5f}", "n_pointings": "{:.0f}", "exposure": "{:.0f}",
    "rate": "{:.3e}", "rate_err": "{:.1e}", "snr": "{:.2f}", "index": "{:.2f}", "index_err": "{:.2f}",
    "flux": "{:.3e}", "flux_err": "{:.1e}", "flux_limit": "{:.3e}",
}  # fmt: skip


def survey_table(
    rates: xr.Dataset | Sequence[xr.Dataset],
    fit: Any = None,
    limit: Any = None,
    *,
    snr: float = 5.0,
    format: str = "dataframe",
) -> Any:
    """Return rates, fits and limits of survey sources as a table.

    Parameters
    ----------
    rates
        Kind ``lightcurve`` of one band (`batx.average_times` with ``energy=``), of one or several sources; or
        a list of those of single sources.
    fit, limit
        Kind ``fit`` (`batx.fit_series`) and ``limit`` (`batx.upper_limit`) of the spectra of the same groups,
        for a single source; a list of them (or `None`) where `rates` is one. Times that are not in them
        have no values.
    snr
        Significance of the rate from which on a source counts as detected: then the table has the flux of the
        fit, otherwise the limit.
    format
        ``"dataframe"``, ``"text"``, or ``"latex"`` (a ``tabular``).

    Returns
    -------
    pandas.DataFrame or str
        A row for each source and time: ``source``, ``group``, ``tstart``, ``tstop`` (MET s), ``start_mjd``,
        ``stop_mjd`` (UTC), ``n_pointings``, ``exposure`` (s), ``rate``, ``rate_err``, ``noise`` (count/s
        per fully illuminated detector), ``snr``, ``detected``, and of fits ``index``, ``index_err``,
        ``flux``, ``flux_err``, ``statistic``, ``dof``, ``flux_limit`` (erg/cm**2/s). A source that was not
        observed has no rate.

    Raises
    ------
    KindError
        If something is of another kind.
    ValueRangeError
        If the rates are of several bands, or there are not as many fits or limits as rates.

    Examples
    --------
    >>> from batx.schema import build
    >>> rates = build("lightcurve", {"time": [5.0], "time_bnds": [[0, 10]], "energy": [104.5],
    ...     "energy_bnds": [[14, 195]], "exposure": [10.0], "fracexp": [1.0],
    ...     "rate": (("time", "energy"), [[3e-3]]), "rate_err": (("time", "energy"), [[2e-4]])},
    ...     {"statistic": "gaussian", "weighting": "mask", "object": "Cyg X-1", "utcf": 0.0})
    >>> survey_table(rates)[["source", "rate", "snr", "detected"]].values.tolist()
    [['Cyg X-1', 0.003, 15.0, True]]
    """
    import pandas as pd

    if format not in ("dataframe", "text", "latex"):
        raise ValueRangeError(f"format: found {format!r}, expected 'dataframe', 'text' or 'latex'")
    listed = [rates] if isinstance(rates, xr.Dataset) else list(rates)
    fits, limits = (_as_many(given, len(listed), name) for given, name in ((fit, "fit"), (limit, "limit")))
    rows: list[dict[str, Any]] = []
    for curve, own_fit, own_limit in zip(listed, fits, limits, strict=True):
        require_kind(curve, "lightcurve", operation="survey_table")
        if curve.sizes.get("energy") != 1:
            raise ValueRangeError(
                f"survey_table: found {curve.sizes.get('energy')} bands, expected one; sum them: "
                "batx.average_times(rates, energy=[14, 195])"
            )
        count = curve.sizes.get("source", 1)
        if count > 1 and (own_fit is not None or own_limit is not None):
            raise ValueRangeError("survey_table: fits and limits are of single sources; give lists of them")
        for number in range(count):
            one = one_source(curve, number if "source" in curve.dims else None, "survey_table")
            rows += _rows(one, own_fit, own_limit, snr)
    table = pd.DataFrame(rows)
    return table if format == "dataframe" else written(table, format)


def _as_many(given: Any, count: int, name: str) -> list[Any]:
    listed = list(given) if isinstance(given, (list, tuple)) else [given] * count
    if len(listed) != count or (count > 1 and given is not None and not isinstance(given, (list, tuple))):
        raise ValueRangeError(f"{name}: found {len(listed)} for {count} light curves, expected one for each")
    return listed


def _rows(
    one: xr.Dataset, fit: xr.Dataset | None, limit: xr.Dataset | None, least: float
) -> list[dict[str, Any]]:
    bounds = one["time_bnds"].values
    mjd = by_clock(one, bounds, met_to_mjd)
    rate, error = one["rate"].values[:, 0], one["rate_err"].values[:, 0]
    noise = one["noise"].values[:, 0] if "noise" in one.variables else error
    exposure = one["source_exposure" if "source_exposure" in one.variables else "exposure"].values
    groups = one["group"].values if "group" in one.coords else np.arange(len(bounds)).astype(str)
    pointings = one["n_pointings"].values if "n_pointings" in one.variables else np.ones(len(bounds))
    name = str(one["name"].values) if "name" in one.coords else str(one.attrs.get("object", ""))
    fitted, limited = (_by_time(part) for part in (fit, limit))
    rows = []
    for number, span in enumerate(bounds):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.divide(rate[number], noise[number]))
        detected = bool(ratio >= least)
        row: dict[str, Any] = {
            "source": name,
            "group": str(groups[number]),
            "tstart": float(span[0]),
            "tstop": float(span[1]),
            "start_mjd": float(mjd[number, 0]),
            "stop_mjd": float(mjd[number, 1]),
            "n_pointings": int(pointings[number]),
            "exposure": float(exposure[number]),
            "rate": float(rate[number]),
            "rate_err": float(error[number]),
            "noise": float(noise[number]),
            "snr": ratio,
            "detected": detected,
        }
        if fit is not None or limit is not None:
            key = tuple(span.tolist())
            row |= _of_fit(fit, fitted.get(key), detected) | _of_limit(limit, limited.get(key), detected)
        rows.append(row)
    return rows


def by_clock(one: xr.Dataset, met: np.ndarray, convert: Callable[..., np.ndarray]) -> np.ndarray:
    """Return times of rows converted with the correction of the clock of each, where that is known.

    Parameters
    ----------
    one
        With ``utcf`` along time, or one in its attributes.
    met
        MET of each row, (time, ...).
    convert
        `batx.met.met_to_mjd` or one like it.
    """
    if "utcf" not in one.coords:
        return convert(met, attrs=one.attrs)
    utcf = one["utcf"].values
    made: np.ndarray | None = None
    for value in np.unique(utcf):
        rows = np.isnan(utcf) if np.isnan(value) else utcf == value
        own = {} if np.isnan(value) else {"utcf": float(value), "tstart": float(met[rows].min())}
        part = convert(met[rows], attrs=one.attrs | own)
        if made is None:
            made = np.empty(met.shape, part.dtype)
        made[rows] = part
    assert made is not None  # there are rows
    return made


def _by_time(part: xr.Dataset | None) -> dict[tuple[float, ...], int]:
    """Return the number of each entry along time, by its span."""
    if part is None:
        return {}
    return {
        tuple(span): number for number, span in enumerate(np.atleast_2d(part["time_bnds"].values).tolist())
    }


def _of_fit(fit: xr.Dataset | None, number: int | None, wanted: bool) -> dict[str, float]:
    names = ("index", "index_err", "flux", "flux_err", "statistic", "dof")
    if fit is None or number is None or not wanted:
        return dict.fromkeys(names, float("nan"))
    require_kind(fit, "fit", operation="survey_table: fit")
    one = fit.isel(time=number) if "time" in fit.dims else fit
    one = one.isel(band=0) if "band" in one.dims else one
    held = {name: float(one[name]) for name in ("flux", "flux_err", "statistic", "dof") if name in one}
    if "index" in one["parameter"].values:
        index = one.sel(parameter="index")
        held |= {"index": float(index["value"]), "index_err": float(index["error"])}
    return {name: held.get(name, float("nan")) for name in names}


def _of_limit(limit: xr.Dataset | None, number: int | None, detected: bool) -> dict[str, float]:
    if limit is None or number is None or detected:
        return {"flux_limit": float("nan")}
    require_kind(limit, "limit", operation="survey_table: limit")
    one = limit.isel(time=number) if "time" in limit.dims else limit
    return {"flux_limit": float(one["flux_limit"])}


def written(table: pd.DataFrame, format: str) -> str:
    """Return a table of `survey_table` as aligned text, or as a ``tabular``."""
    columns = [name for name in _SHOWN if name in table.columns]
    heads = [_SHOWN[name] for name in columns]
    body = [[_cell(name, row[name]) for name in columns] for _, row in table.iterrows()]
    if format == "latex":
        lines = [rf"\begin{{tabular}}{{{'l' * min(2, len(columns))}{'r' * (len(columns) - 2)}}}", r"\hline"]
        lines += [" & ".join(_tex(head) for head in heads) + r" \\", r"\hline"]
        lines += [" & ".join(_tex(cell) for cell in row) + r" \\" for row in body]
        return "\n".join([*lines, r"\hline", r"\end{tabular}"])
    widths = [max(map(len, column)) for column in zip(heads, *body, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *body]
    )


def _cell(name: str, value: Any) -> str:
    if name not in _FORMS:
        return str(value)
    return _FORMS[name].format(value) if np.isfinite(value) else "-"


def _tex(text: str) -> str:
    number = re.fullmatch(r"(-?\d\.\d+)e([+-]\d+)", text)
    if number:
        return rf"${number[1]} \times 10^{{{int(number[2])}}}$"
    for mark in "\\":
        text = text.replace(mark, r"\textbackslash ")
    for mark in "_%&#$":
        text = text.replace(mark, f"\\{mark}")
    return text
