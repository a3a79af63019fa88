"""Spectra of the eight bands of the survey: the response of its sums, and the rates of its catalogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.detector_responses import response
from batx.errors import EmptySelectionError, MissingVariableError, ValueRangeError
from batx.instrument.response_grid import coding_efficiency
from batx.instrument.sky import FAR
from batx.schema import build, require_kind

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


def survey_response(months: int = 157) -> xr.Dataset:
    """Return the response of the survey: that of its summed sky images, in the eight bands.

    Parameters
    ----------
    months
        Which of the survey's two published calibrations: 157, or 105.

    Returns
    -------
    xarray.Dataset
        Kind ``response``: ``matrix(energy_in, channel)`` in cm**2 per detector, for rates of sources that are
        corrected for where they were in the field (spectra of the catalogues, of mosaics).

    Raises
    ------
    ValueRangeError
        If there is no calibration of so many months.

    Notes
    -----
    The packaged response (`batx.response`) of the place IMX = 0.5, IMY = 0 for a MSKWTSQF of 1, times one
    factor a band, which is measured: the mean ratio, for power laws of index 1 to 3, of the counts that the
    response published with the survey gives to those of the packaged one. With these factors the counts of
    power laws of index 1 to 3 are those of the published response to 0.25 % in every band. For spectra of one
    pointing take the response of its place instead (`survey_spectrum` says where it is).

    Examples
    --------
    >>> made = survey_response()
    >>> made.energy_bnds.values[[0, -1]].tolist(), dict(made.matrix.sizes)
    ([[14.0, 20.0], [150.0, 195.0]], {'energy_in': 204, 'channel': 8})
    """
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


def survey_spectrum(catalog: xr.Dataset, name: str | None = None, *, systematics: Any = None) -> xr.Dataset:
    """Return the spectrum of a source from a catalogue of survey processing, one for each of its pointings.

    Parameters
    ----------
    catalog
        Kind ``catalog`` as ``batsurvey`` writes it (the table of one pointing, or of one source in many):
        with the rates of eight bands, times, exposures and places in the field.
    name
        Source, without regard to case and spaces; not needed if there is one only.
    systematics
        Eight fractional systematic errors; by default `SURVEY_SYSTEMATICS`, which BatAnalysis takes for
        pointings. 0 for none.

    Returns
    -------
    xarray.Dataset
        Kind ``spectrum`` (rate, ``stat_err``, ``sys_err``) with the place of the source in the field, so that
        `batx.response` and `batx.fit` know its response; with dimension ``time`` if the source is there in
        several pointings, for `batx.fit_series`.

    Raises
    ------
    KindError, MissingVariableError
        If `catalog` is of another kind, or lacks rates of eight bands or anything else that is needed.
    EmptySelectionError
        If the source is not there.
    ValueRangeError
        If several sources are there and none is named, or `systematics` are not eight fractions.

    Notes
    -----
    The rate is CENT_RATE, the image at the pixel of the source without its background; the error is BKG_VAR,
    the standard deviation of the image around it (a variance in name only).

    Examples
    --------
    >>> bands = np.ones((1, 8))
    >>> catalog = build("catalog", {"name": ["Crab"], "ra": [83.6], "dec": [22.0], "imx": [0.25],
    ...     "imy": [0.1], "time": ("source", [6e8], {"units": "s"}),
    ...     "exposure": ("source", [900.0], {"units": "s"}),
    ...     "cent_rate": (("source", "energy"), 0.01 * bands, {"units": "count/s"}),
    ...     "bkg_var": (("source", "energy"), 1e-4 * bands, {"units": "count/s"})})
    >>> made = survey_spectrum(catalog, "crab")
    >>> made.sys_err.values[:3].tolist(), round(made.attrs["mskwtsqf"], 4)
    ([0.6, 0.3, 0.15], 0.984)
    """
    require_kind(catalog, "catalog", operation="survey_spectrum")
    needed = ("name", "cent_rate", "bkg_var", "time", "exposure", "imx", "imy")
    if missing := [item for item in needed if item not in catalog.variables]:
        raise MissingVariableError(
            f"survey_spectrum: the catalogue has no {', '.join(missing)}; expected that of survey processing"
        )
    bands = len(SURVEY_EDGES) - 1
    if catalog["cent_rate"].shape[1:] != (bands,):
        raise MissingVariableError(
            f"survey_spectrum: found rates of shape {catalog['cent_rate'].shape}, expected {bands} bands"
        )
    fractions = np.asarray(SURVEY_SYSTEMATICS if systematics is None else systematics, np.float64)
    if fractions.shape not in ((), (bands,)) or not (np.isfinite(fractions) & (fractions >= 0)).all():
        raise ValueRangeError(f"systematics: found {systematics}, expected {bands} fractions, none negative")
    rows = _rows(catalog, name)
    return _spectrum(rows, np.broadcast_to(fractions, bands))


def is_of_survey(spectrum: xr.Dataset) -> bool:
    """Whether a spectrum is of sums of the survey: in its bands, and of no place in the field."""
    if any(name in spectrum.variables or name in spectrum.attrs for name in ("trace_time", "bat_xobj", "x")):
        return False
    edges = np.stack([SURVEY_EDGES[:-1], SURVEY_EDGES[1:]], axis=1)
    if "energy_bnds" not in spectrum.variables or spectrum["energy_bnds"].shape != edges.shape:
        return False
    return bool(np.allclose(spectrum["energy_bnds"].values, edges, atol=0.01))


def _plain(name: Any) -> str:
    return "".join(str(name).split()).casefold()


def _rows(catalog: xr.Dataset, name: str | None) -> xr.Dataset:
    """Return the rows of one source in the order of time."""
    plain = np.array([_plain(item) for item in catalog["name"].values])
    if name is None:
        if len(set(plain)) > 1:
            names = ", ".join(dict.fromkeys(str(item).strip() for item in catalog["name"].values[:20]))
            raise ValueRangeError(f"survey_spectrum: found the sources {names}; name one of them")
        chosen = np.arange(plain.size)
    else:
        chosen = np.flatnonzero(plain == _plain(name))
    if not chosen.size:
        raise EmptySelectionError(f"survey_spectrum: there is no source {name!r} in the catalogue")
    return catalog.isel(source=chosen[np.argsort(catalog["time"].values[chosen], kind="stable")])


def _spectrum(rows: xr.Dataset, systematics: np.ndarray) -> xr.Dataset:
    along = ("time",) if rows.sizes["source"] > 1 else ()

    def of_each(values: np.ndarray, *dims: str, **attrs: str) -> tuple[Any, ...]:
        return ((*along, *dims), values if along else values[0], attrs)

    start = rows["time"].values.astype(np.float64)
    exposure = rows["exposure"].values.astype(np.float64)
    stop = rows["time_stop"].values if "time_stop" in rows else start + exposure
    imx, imy = (rows[axis].values.astype(np.float64) for axis in ("imx", "imy"))
    position = {
        "bat_xobj": imx * FAR,
        "bat_yobj": imy * FAR,
        "bat_zobj": np.full(imx.size, FAR),
        "mskwtsqf": 1.0 / coding_efficiency(imx, imy),
    }
    if "pcodefr" in rows:
        position["pcodefr"] = np.minimum(rows["pcodefr"].values, 1.0)
    edges = np.stack([SURVEY_EDGES[:-1], SURVEY_EDGES[1:]], axis=1)
    variables: dict[str, Any] = {
        "channel": np.arange(1, len(SURVEY_EDGES)),
        "energy": edges.mean(axis=1),
        "energy_bnds": edges,
        "rate": of_each(rows["cent_rate"].values, "channel", units="count/s"),
        "stat_err": of_each(rows["bkg_var"].values, "channel", units="count/s"),
        "sys_err": of_each(np.tile(systematics, (imx.size, 1)), "channel", units="1"),
        "exposure": of_each(exposure, units="s"),
        "time": of_each(0.5 * (start + stop), units="s"),
        "time_bnds": of_each(np.stack([start, stop], axis=-1), "bnds", units="s"),
    }
    attrs: dict[str, Any] = {"telescope": "SWIFT", "instrument": "BAT", "datamode": "SURVEY"}
    attrs |= {"statistic": "gaussian", "weighting": "mask", "object": str(rows["name"].values[0]).strip()}
    if "obs_id" in rows and len(set(rows["obs_id"].values.tolist())) == 1:
        attrs["obs_id"] = str(rows["obs_id"].values[0]).strip()
    attrs["history"] = f"batx.survey_spectrum: {imx.size} pointing(s)"
    if along:
        units = {"bat_xobj": "cm", "bat_yobj": "cm", "bat_zobj": "cm"}
        variables |= {key: ("time", value, {"units": units.get(key, "1")}) for key, value in position.items()}
    else:
        attrs |= {key: float(value[0]) for key, value in position.items()}
    return build("spectrum", variables, attrs)
