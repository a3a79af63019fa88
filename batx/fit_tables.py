"""The result of a fit as a table to read."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import ValueRangeError
from batx.schema import require_kind

__all__ = ["fit_table", "rounded"]


def fit_table(fit: xr.Dataset, format: str = "text") -> Any:
    """Return the parameters and fluxes of a fit as a table.

    Parameters
    ----------
    fit
        Kind ``fit``.
    format
        ``"text"``, ``"latex"`` (a ``tabular``), or ``"dataframe"`` (pandas, with a row for each parameter and
        each flux).

    Returns
    -------
    str or pandas.DataFrame
        Values with their errors: those to both sides where there are intervals, otherwise 1-sigma errors.

    Raises
    ------
    KindError
        If `fit` is no fit.
    ValueRangeError
        If there is no such format.

    Examples
    --------
    >>> from batx.schema import build
    >>> result = build("fit", {"parameter": ["index", "norm"], "value": [1.93, 40.4], "error": [0.04, 5.0],
    ...                        "error_low": [0.04, 5.0], "error_high": [0.04, 6.0], "statistic": ((), 40.55),
    ...                        "dof": ((), 56)}, {"model": "powerlaw", "fit_statistic": "chi2"})
    >>> print(fit_table(result))
    model      powerlaw
    statistic  chi2 40.55 / 56
    index      1.930 -0.040 +0.040
    norm       40.4 -5.0 +6.0
    """
    require_kind(fit, "fit", operation="fit_table")
    rows = _rows(fit)
    if format == "dataframe":
        import pandas as pd

        return pd.DataFrame(rows).set_index("name")
    if format == "text":
        return _text(fit, rows)
    if format == "latex":
        return _latex(fit, rows)
    raise ValueRangeError(f"format: found {format!r}, expected 'text', 'latex' or 'dataframe'")


def _rows(fit: xr.Dataset) -> list[dict[str, Any]]:
    """Return name, value, errors and unit of every parameter and flux."""
    names = fit["parameter"].values
    units = fit["unit"].values if "unit" in fit else [""] * names.size
    frozen = fit["frozen"].values if "frozen" in fit else np.zeros(names.size, bool)
    columns = {key: _column(fit, key, names.size) for key in ("value", "error", "error_low", "error_high")}
    rows = [
        {
            "name": str(name),
            **{key: float(values[i]) for key, values in columns.items()},
            "unit": str(units[i]),
            "frozen": bool(frozen[i]),
        }
        for i, name in enumerate(names)
    ]
    return rows + [row for key in ("flux", "photon_flux") if key in fit for row in _flux_rows(fit, key)]


def _column(fit: xr.Dataset, name: str, size: int) -> np.ndarray:
    return fit[name].values if name in fit else np.full(size, np.nan)


def _flux_rows(fit: xr.Dataset, key: str) -> list[dict[str, Any]]:
    labels = fit["spectrum"].values if "spectrum" in fit[key].dims else [""]
    rows = []
    for label in labels:
        for i, (low, high) in enumerate(np.atleast_2d(fit["band_bnds"].values)):
            one = fit.sel(spectrum=label) if label else fit
            one = one.isel(band=i) if "band" in fit[key].dims else one
            value = float(one[key])
            ends = [
                float(one[f"{key}_{side}"]) if f"{key}_{side}" in one else np.nan for side in ("low", "high")
            ]
            rows.append(
                {
                    "name": f"{key} {low:g}-{high:g} keV{f' [{label}]' if label else ''}",
                    "value": value,
                    "error": float(one[f"{key}_err"]) if f"{key}_err" in one else np.nan,
                    "error_low": value - ends[0],
                    "error_high": ends[1] - value,
                    "unit": str(fit[key].attrs.get("units", "")),
                    "frozen": False,
                }
            )
    return rows


def _numbers(row: dict[str, Any]) -> list[str]:
    """Return value and errors rounded to two digits of the smallest error."""
    low, high = row["error_low"], row["error_high"]
    both = [error for error in (low, high) if np.isfinite(error) and error > 0]
    errors = both or [error for error in (row["error"],) if np.isfinite(error) and error > 0]
    scale = max(abs(row["value"]), *errors) if errors else abs(row["value"])
    power = int(np.floor(np.log10(1.002 * scale))) if scale > 0 else 0  # 9.999 is 10
    power = power if abs(power) > 3 else 0
    digits = 2 if not errors else max(0, 1 - int(np.floor(np.log10(min(errors)))) + power)
    suffix = f"e{power:+03d}" if power else ""

    def written(number: float) -> str:
        return f"{number / 10.0**power:.{digits}f}{suffix}"

    if row["frozen"] or not errors:
        return [f"{row['value']:g}"]
    if not both:
        return [written(row["value"]), written(row["error"])]
    ends = [
        f"{sign}{written(error)}" if np.isfinite(error) else f"{sign}?"
        for sign, error in (("-", low), ("+", high))
    ]
    return [written(row["value"]), *ends]


def rounded(parameter: xr.Dataset) -> str:
    """Return name, value and errors of one parameter of a fit, rounded, as a line."""
    keys = ("value", "error", "error_low", "error_high")
    row: dict[str, Any] = {key: float(parameter[key]) if key in parameter else np.nan for key in keys}
    numbers = _numbers(row | {"frozen": bool(parameter["frozen"]) if "frozen" in parameter else False})
    if len(numbers) == 3 and numbers[1][1:] == numbers[2][1:]:
        numbers = [numbers[0], numbers[1][1:]]
    text = " ± ".join(numbers) if len(numbers) == 2 else " ".join(numbers)
    unit = str(parameter["unit"].item()) if "unit" in parameter else ""
    short = unit if unit != "1" and " " not in unit else ""  # those of norms are long
    return f"{parameter['parameter'].item()} {text.replace('-', '−')} {short}".rstrip()


def _text(fit: xr.Dataset, rows: list[dict[str, Any]]) -> str:
    lines = [("model", str(fit.attrs.get("model", ""))), ("statistic", _statistic(fit))]
    if "converged" in fit and not bool(fit["converged"]):
        lines.append(("WARNING", "the fit did not converge"))
    if fit.attrs.get("message"):
        lines.append(("note", str(fit.attrs["message"])))
    for row in rows:
        numbers = _numbers(row)
        text = " +- ".join(numbers) if len(numbers) == 2 else " ".join(numbers)
        unit = row["unit"] if row["unit"] not in ("", "1") else ""
        lines.append((row["name"], f"{text}{' (frozen)' if row['frozen'] else ''} {unit}".rstrip()))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in lines)


def _statistic(fit: xr.Dataset) -> str:
    return (
        f"{fit.attrs.get('fit_statistic', 'statistic')} {float(fit['statistic']):.2f} / {float(fit['dof']):g}"
    )


def _latex(fit: xr.Dataset, rows: list[dict[str, Any]]) -> str:
    body = []
    for row in rows:
        numbers, power = _tex_numbers(row)
        if len(numbers) == 3:
            text = f"{numbers[0]}_{{{numbers[1]}}}^{{{numbers[2]}}}"
        else:
            text = r" \pm ".join(numbers)
        text = f"${text}$" if not power else rf"$({text}) \times 10^{{{power}}}$"
        body.append(
            f"{_tex(row['name'])} & {text}{' (frozen)' if row['frozen'] else ''} & {_tex(row['unit'])} \\\\"
        )
    head = [r"\begin{tabular}{lll}", r"\hline", r"Parameter & Value & Unit \\", r"\hline"]
    foot = [
        r"\hline",
        rf"{_tex(str(fit.attrs.get('model', '')))} & {_tex(_statistic(fit))} & \\",
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join([*head, *body, *foot])


def _tex_numbers(row: dict[str, Any]) -> tuple[list[str], int]:
    """Return value and errors with the power of ten that they share."""
    parts = [number.partition("e") for number in _numbers(row)]
    return [number for number, _, _ in parts], int(parts[0][2] or 0)


def _tex(text: str) -> str:
    for mark in "_%&#$":
        text = text.replace(mark, f"\\{mark}")
    return re.sub(r"\*\*(-?\d+)", r"$^{\1}$", text).replace("*", r"$\times$")
