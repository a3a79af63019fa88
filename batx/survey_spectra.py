"""Spectra of survey sources, of single pointings or groups of them, and the responses that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.detector_responses import response
from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.instrument.response_grid import coding_efficiency
from batx.instrument.sky import FAR
from batx.schema import build, require_bat
from batx.schema.attributes import with_history
from batx.time_averages import average_times, grouped_sums, one_source, pointing_groups, pointing_weights
from batx.units import to_value

__all__ = ["SURVEY_EDGES", "SURVEY_SYSTEMATICS", "is_of_survey", "survey_response", "survey_spectrum"]

#: edges of the bands of the survey in keV
SURVEY_EDGES = (14.0, 20.0, 24.0, 35.0, 50.0, 75.0, 100.0, 150.0, 195.0)

#: fractional systematic errors of rates of single pointings in these bands (as BatAnalysis has them)
SURVEY_SYSTEMATICS = (0.6, 0.3, 0.15, 0.15, 0.15, 0.15, 0.15, 0.6)
#: place in the field whose response has the shape of that of the survey, for a MSKWTSQF of 1
_PLACE = (0.5, 0.0)
#: months of the survey to what the response of the place is multiplied by, band by band
_FACTORS = {
    105: (0.9037, 0.9111, 0.9206, 0.8887, 0.8826, 0.8868, 0.8683, 0.7889),
    157: (0.8852, 0.8967, 0.9104, 0.8775, 0.8720, 0.8799, 0.8662, 0.7939),
}
#: directions whose responses are computed at a time
_BATCH = 256


def survey_spectrum(
    rates: xr.Dataset,
    time_bins: Any = None,
    *,
    source: str | int | None = None,
    systematics: Any = SURVEY_SYSTEMATICS,
) -> xr.Dataset:
    """Return the spectra of a survey source: one for each pointing, or for each group of pointings.

    Parameters
    ----------
    rates
        Kind ``lightcurve`` of pointings, of `batx.survey_rates`.
    time_bins
        Groups of pointings as for `batx.average_times`; by default every pointing is one.
    source
        Name or number, where there are several.
    systematics
        Fractional systematic errors of the bands; those of the survey by default, `None` for none.

    Returns
    -------
    xarray.Dataset
        Kind ``spectrum`` with dimensions ``(time, channel)``, channels numbered from 1: ``rate`` (count/s
        per fully illuminated detector), ``stat_err`` (the noise of the images), ``sys_err``, ``quality`` (1
        where a band has no value). Pointings and groups without the source are left out. Of single pointings
        also the place of the source, ``bat_xobj``, ``bat_yobj``, ``bat_zobj`` (cm), ``mskwtsqf`` and
        ``pcodefr``; of groups its way through the field, unless the groups overlap. By these `batx.response`,
        and so `batx.fit_series`, find their response; `survey_response` averages that of groups exactly.

    Raises
    ------
    KindError, MissingVariableError
        If `rates` is no light curve of pointings.
    EmptySelectionError
        If the source is in none of them.
    ValueRangeError
        If the source is not there or the errors are not one for each band.

    Notes
    -----
    The statistical error is ``noise`` and not ``rate_err``, as spectra of the survey are commonly made.

    Examples
    --------
    >>> rates = build("lightcurve", {"time": [5.0], "time_bnds": [[0, 10]], "exposure": [10.0],
    ...     "energy": [17.0, 22.0], "energy_bnds": [[14, 20], [20, 24]], "fracexp": [1.0],
    ...     "rate": (("time", "energy"), [[1e-3, 2e-3]]), "rate_err": (("time", "energy"), [[2e-4, 2e-4]]),
    ...     "noise": (("time", "energy"), [[1e-4, 1e-4]])}, {"statistic": "gaussian", "weighting": "mask"})
    >>> made = survey_spectrum(rates, systematics=[0.6, 0.3])
    >>> made.stat_err.values.tolist(), made.sys_err.values.tolist()
    ([[0.0001, 0.0001]], [[0.6, 0.3]])
    """
    require_bat(rates, "lightcurve", operation="survey_spectrum")
    one = one_source(rates, source, "survey_spectrum")
    mean = average_times(one, time_bins)
    seen = np.isfinite(mean["rate"].values).any(axis=1)
    if not seen.any():
        raise EmptySelectionError(
            f"survey_spectrum: {_name(one) or 'the source'} is in none of the pointings"
        )
    mean = mean.isel(time=np.flatnonzero(seen))
    values, noise = mean["rate"].values, mean["noise"].values
    bad = ~np.isfinite(values)
    shape = values.shape
    dims = ("time", "channel")
    variables: dict[str, Any] = {
        "time": mean["time"].values,
        "time_bnds": mean["time_bnds"].values,
        "channel": np.arange(1, shape[1] + 1),
        "energy": ("channel", mean["energy"].values),
        "energy_bnds": (("channel", "bnds"), mean["energy_bnds"].values),
        "rate": (dims, np.where(bad, 0.0, values), {"units": "count/s", "per": "detector"}),
        "stat_err": (dims, np.where(bad, 0.0, noise), {"units": "count/s"}),
        "sys_err": None
        if systematics is None
        else (dims, np.tile(_errors(systematics, shape[1]), (shape[0], 1))),
        "quality": (dims, bad.astype(np.int16)) if bad.any() else None,
        "exposure": mean["exposure"].values,
        "n_pointings": (("time",), mean["n_pointings"].values, {"units": "1"}),
        "gti_start": mean["gti_start"].values,
        "gti_stop": mean["gti_stop"].values,
    }
    if time_bins is None:
        variables |= _places(one, np.flatnonzero(seen))
    else:
        variables |= _way(one, mean["time_bnds"].values)
    line = f"batx.survey_spectrum: {shape[0]} spectra"
    attrs = {key: value for key, value in mean.attrs.items() if not key.startswith("hduclas")}
    attrs = with_history(attrs, line)
    attrs |= {"object": _name(one)} if _name(one) else {}
    attrs |= {f"{name}_obj": float(one[name]) for name in ("ra", "dec") if name in one.coords}
    made = build("spectrum", variables, attrs)
    return made.assign_coords(group=("time", mean["group"].values))


def survey_response(
    rates: xr.Dataset | None = None,
    time_bins: Any = None,
    *,
    source: str | int | None = None,
    months: int = 157,
    **options: Any,
) -> xr.Dataset:
    """Return the responses of spectra of the survey: of pointings, or the published one of its sums.

    With `rates`: for each spectrum of `survey_spectrum`, that of the place of the source in the field,
    averaged as the rates are. Without: the one published with the survey, for rates that are corrected for
    where the source was in the field (spectra of published catalogues, and of mosaics with ``off_axis``).

    Parameters
    ----------
    rates, time_bins, source
        As for `survey_spectrum`; `rates` with ``imx`` and ``imy``.
    months
        Without `rates`: which of the survey's two published calibrations, 157 or 105.
    **options
        ``parameters``, ``depth`` and ``energy_in`` of `batx.response`, which computes the responses from the
        files of the calibration in place of the packaged table.

    Returns
    -------
    xarray.Dataset
        Kind ``response``, cm**2 per detector, with dimensions ``(time, energy_in, channel)`` for the same
        times as the spectra; the published one without ``time``.

    Raises
    ------
    MissingVariableError
        If the rates do not say where the source was.
    EmptySelectionError, ValueRangeError
        As for `survey_spectrum`; if there is no calibration of so many months.

    Notes
    -----
    Channel c of a group has Σ R_c/σ_c² / Σ 1/σ_c² over its pointings, with R the response at the place of
    the source and σ the noise of the rates: what a source of constant flux gives in the mean rates, exactly.
    Rates of the survey are corrected for the flat field, as mask-weighted spectra are: MSKWTSQF is
    the inverse of the coding efficiency.

    The published response: the packaged one of the place IMX = 0.5, IMY = 0 for a MSKWTSQF of 1, times one
    factor a band, which is measured: the mean ratio, for power laws of index 1 to 3, of the counts that the
    response published with the survey gives to those of the packaged one. With these factors the counts of
    power laws of index 1 to 3 are those of the published response to 0.25 % in every band.

    Examples
    --------
    >>> rates = build("lightcurve", {"time": [5.0], "time_bnds": [[0, 10]], "exposure": [10.0],
    ...     "energy": [17.0, 22.0], "energy_bnds": [[14, 20], [20, 24]], "fracexp": [1.0],
    ...     "imx": ("time", [0.1]), "imy": ("time", [0.0]),
    ...     "rate": (("time", "energy"), [[1e-3, 2e-3]]), "rate_err": (("time", "energy"), [[1e-4, 1e-4]])},
    ...     {"statistic": "gaussian", "weighting": "mask"})
    >>> survey_response(rates).matrix.sizes["channel"]
    2
    >>> survey_response().energy_bnds.values[[0, -1]].tolist()
    [[14.0, 20.0], [150.0, 195.0]]
    """
    if rates is None:
        if time_bins is not None or source is not None or options:
            raise ValueRangeError("survey_response: found options of spectra of pointings, but no rates")
        return _published(months)
    require_bat(rates, "lightcurve", operation="survey_response")
    one = one_source(rates, source, "survey_response")
    missing = [name for name in ("imx", "imy") if name not in one.variables]
    if missing:
        raise MissingVariableError(f"survey_response: the rates have no {', '.join(missing)}")
    noise = one["noise" if "noise" in one.variables else "rate_err"].values
    groups, members = pointing_groups(one, time_bins)
    weight = pointing_weights(one["rate"].values, noise)
    place = np.stack([one["imx"].values, one["imy"].values], axis=-1)
    weight = np.where(np.isfinite(place).all(axis=1)[:, None], weight, 0.0)
    total = grouped_sums(weight[None], members)[0]
    kept = np.flatnonzero((total > 0).any(axis=1))
    if not kept.size:
        raise EmptySelectionError(
            f"survey_response: {_name(one) or 'the source'} is in none of the pointings"
        )
    edges = one["energy_bnds"].values
    group_of = [[] for _ in range(len(place))]  # type: list[list[int]]
    for row, number in enumerate(kept):
        for pointing in members[number]:
            group_of[pointing].append(row)
    used = np.flatnonzero((weight > 0).any(axis=1) & np.array([bool(groups) for groups in group_of]))
    share = weight / np.max(weight, initial=1e-300)
    matrix: np.ndarray | None = None
    example = None
    for first in range(0, used.size, _BATCH):
        batch = used[first : first + _BATCH]
        example = response(imx=place[batch, 0], imy=place[batch, 1], channels=edges, **options)
        values = example["matrix"].transpose("source", "energy_in", "channel").values
        if matrix is None:
            matrix = np.zeros((kept.size, *values.shape[1:]))
        for pointing, own in zip(batch, values, strict=True):
            for row in group_of[pointing]:
                matrix[row] += own * share[pointing]
    assert matrix is not None and example is not None
    norm = (total / np.max(weight))[kept][:, None, :]
    matrix = np.divide(matrix, norm, out=np.zeros_like(matrix), where=norm > 0)
    bounds = np.array([groups[number].bounds for number in kept])
    variables: dict[str, Any] = {
        name: example[name].variable for name in ("energy_in", "energy_in_bnds") if name in example.variables
    }
    variables |= {
        "channel": np.arange(1, len(edges) + 1),
        "energy": ("channel", edges.mean(axis=1)),
        "energy_bnds": (("channel", "bnds"), edges),
        "matrix": (("time", "energy_in", "channel"), matrix, {"units": "cm**2"}),
        "time": bounds.mean(axis=1),
        "time_bnds": bounds,
    }
    attrs = {key: example.attrs[key] for key in example.attrs if not key.startswith(("bat_", "mskwt"))}
    return build("response", variables, attrs)


def _name(one: xr.Dataset) -> str:
    return str(one["name"].values) if "name" in one.coords and one["name"].ndim == 0 else ""


def _errors(systematics: Any, count: int) -> np.ndarray:
    errors = to_value(systematics, "1", "systematics")
    if errors.shape != (count,) or not (np.isfinite(errors) & (errors >= 0)).all():
        raise ValueRangeError(
            f"systematics: found {errors.tolist()}, expected one fraction for each of {count} bands"
        )
    return errors


def is_of_survey(spectrum: xr.Dataset) -> bool:
    """Whether a spectrum is of sums of the survey: in its bands, and of no place in the field."""
    if any(name in spectrum.variables or name in spectrum.attrs for name in ("trace_time", "bat_xobj", "x")):
        return False
    edges = np.stack([SURVEY_EDGES[:-1], SURVEY_EDGES[1:]], axis=1)
    if "energy_bnds" not in spectrum.variables or spectrum["energy_bnds"].shape != edges.shape:
        return False
    if str(spectrum.attrs.get("ratesof", "")) == "pointings":
        return False
    return bool(np.allclose(spectrum["energy_bnds"].values, edges, atol=0.01))


def _published(months: int) -> xr.Dataset:
    """Return the response that was published with the survey."""
    if months not in _FACTORS:
        raise ValueRangeError(
            f"survey_response: found months={months}, expected {' or '.join(map(str, sorted(_FACTORS)))}"
        )
    made = response(imx=_PLACE[0], imy=_PLACE[1], norm=1.0, channels=SURVEY_EDGES)
    made = made.assign_coords(channel=made["channel"].copy(data=np.arange(1, len(SURVEY_EDGES))))
    scaled = made["matrix"] * xr.Variable("channel", np.array(_FACTORS[months]))
    line = f"batx.survey_response: packaged response, scaled to that of the survey of {months} months"
    attrs = {key: value for key, value in made.attrs.items() if not key.startswith("bat_")}
    out = made.assign(matrix=scaled.assign_attrs(made["matrix"].attrs))
    out.attrs = attrs | {"history": line}
    return out


def _places(one: xr.Dataset, kept: np.ndarray) -> dict[str, Any]:
    """Return where the source was in each pointing, as spectra say it."""
    if "imx" not in one.variables or "imy" not in one.variables:
        return {}
    imx, imy = (one[name].values[kept] for name in ("imx", "imy"))
    centimetres = {"units": "cm"}
    made: dict[str, Any] = {
        "bat_xobj": (("time",), imx * FAR, centimetres),
        "bat_yobj": (("time",), imy * FAR, centimetres),
        "bat_zobj": (("time",), np.full(len(imx), FAR), centimetres),
        "mskwtsqf": (("time",), 1.0 / coding_efficiency(imx, imy), {"units": "1"}),
    }
    if "pcode" in one.variables:
        made["pcodefr"] = (("time",), one["pcode"].values[kept], {"units": "1"})
    return made


def _way(one: xr.Dataset, groups: np.ndarray) -> dict[str, Any]:
    """Return the way of the source through the field: where it was at the ends of each pointing."""
    order = np.argsort(groups[:, 0])
    if "imx" not in one.variables or (groups[order[1:], 0] < groups[order[:-1], 1]).any():
        return {}
    imx, imy = (one[name].values for name in ("imx", "imy"))
    pcode = one["pcode"].values if "pcode" in one.variables else np.ones(len(imx))
    seen = np.flatnonzero(np.isfinite(imx) & np.isfinite(one["rate"].values).any(axis=1))
    ends = one["time_bnds"].values[seen]
    if not (np.diff(ends.ravel()) >= 0).all():
        return {}
    # a moment inside, so that times increase where pointings touch
    inner = 1e-6 * (ends[:, 1:] - ends[:, :1]) * np.array([1.0, -1.0])
    columns = {"imx": imx, "imy": imy, "pcode": pcode, "norm": 1.0 / coding_efficiency(imx, imy)}
    made = {f"trace_{name}": ("trace", np.repeat(values[seen], 2)) for name, values in columns.items()}
    return made | {"trace_time": ("trace", (ends + inner).ravel())}
