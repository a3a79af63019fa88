"""The sources of survey pointings, pointing by pointing: many catalogues as one table of rates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.grids import energy_bounds, warn
from batx.instrument.response_grid import coding_efficiency
from batx.io.open import open_dataset
from batx.schema import build, require_kind
from batx.schema.attributes import kept_attrs
from batx.survey_folders import good_rows, open_survey
from batx.survey_spectra import SURVEY_EDGES

__all__ = ["plain_name", "survey_rates"]

#: variable -> column of the catalogues, with a value for each band
_BANDED = {
    "rate": "rate",
    "rate_err": "rate_err",
    "noise": "bkg_var",
    "snr": "vectsnr",
    "centre_rate": "cent_rate",
}
_UNITS = {"snr": "1"}
_NEEDED = ("name", "time", "exposure", "rate", "cent_rate", "bkg_var", "imx", "imy")


def survey_rates(
    survey: Any,
    sources: str | Sequence[str] | None = None,
    *,
    cuts: Any = None,
    energy: Any = None,
    compat: str | None = None,
) -> xr.Dataset:
    """Return the rates of sources in every pointing of the survey, merged from its catalogues.

    Parameters
    ----------
    survey
        Tree of `batx.open_survey`; the folder of the results, or several; or catalogues (kind ``catalog``
        with the columns of the survey, or their paths), of a pointing each, or of a source in many.
    sources
        Names of the sources wanted, in order; case and blanks do not matter. All by default, in the order in
        which they come; with many sources and pointings choose some, since the result has a value for each
        source, pointing and band.
    cuts
        Which pointings of a tree are used: bool for each row of ``pointings``, or the result of
        `batx.pointing_cuts`.
    energy
        Edges of the bands in keV, where they are not the eight of the survey: catalogues do not say them.
    compat
        ``"batanalysis"`` takes the image at the nearest pixel (CENT_RATE) for the rate, as BatAnalysis does.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve`` with dimensions ``(source, time, energy)`` and a bin for each good pointing, in
        order; NaN where a source was not in the field, or a band is empty. Pointings whose catalogue has no
        row are not there. ``rate`` (RATE: the amplitude of the point source that is fitted at the place of
        the source; count/s per fully illuminated detector), ``rate_err`` (RATE_ERR, its error), ``noise``
        (BKG_VAR: the standard deviation of the image around the source, in spite of its name), ``snr``
        (VECTSNR), ``centre_rate`` (CENT_RATE: the image at the nearest pixel, less the background).
        ``imx``, ``imy``, ``pcode`` (source, time): place and coded fraction (``pcode_file``: as the
        catalogue has it, times the projection factor, so that it may be above 1). ``obs_id``, ``image_id``
        and ``group`` (the image, with the observation and a number where names would be the same) along time,
        and ``utcf``, the correction of the clock, where it is known; ``name``, ``ra``, ``dec``, ``catnum``
        along source.

    Raises
    ------
    EmptySelectionError
        If there are no good pointings, or none has any source.
    ValueRangeError
        If a source that is wanted is in none of the catalogues, or twice in one; if a pointing is there
        twice; if bands are not as many as `energy` says; if `compat` is unknown.
    KindError, MissingVariableError, MissingFileError
        If something is no catalogue of the survey, or missing.

    Warns
    -----
    BatxWarning
        If bands of good pointings are empty, as in histograms that were sent down cut short.

    Notes
    -----
    The nearest pixel is up to half a pixel from the source in either direction, so that ``centre_rate`` is
    low by up to a seventh, by another factor in every pointing: of 14 simulated pointings it found 0.937
    (0.912 to 0.970) of the counts, the fit 0.994 (0.964 to 1.034, which the noise explains). ``rate_err`` is
    1.1 to 1.2 times ``noise``; the latter is what fitted rates vary by, and what spectra take for their
    error.
    Bands and pointings are combined by `batx.average_times`.

    Examples
    --------
    >>> band = (("source", "energy"), np.full((1, 8), 2e-3))
    >>> columns = {name: band for name in ("rate", "cent_rate", "rate_err", "bkg_var", "vectsnr")}
    >>> columns |= {name: (("source",), [0.1]) for name in ("imx", "imy", "pcodefr")}
    >>> pointing = build("catalog", columns | {"name": ["Cyg X-1"], "ra": [299.6], "dec": [35.2],
    ...     "time": (("source",), [6e8]), "time_stop": (("source",), [6.00001e8]),
    ...     "exposure": (("source",), [900.0])})
    >>> rates = survey_rates([pointing], "cyg x-1")
    >>> rates.rate.dims, float(rates.exposure[0]), rates.energy_bnds.values[0].tolist()
    (('source', 'time', 'energy'), 900.0, [14.0, 20.0])
    """
    if compat not in (None, "batanalysis"):
        raise ValueRangeError(f"compat: found {compat!r}, expected None or 'batanalysis'")
    survey = _opened(survey)
    pointings = _pointings(survey, cuts)
    low, high = energy_bounds(SURVEY_EDGES if energy is None else energy)
    catalogs = _in_order([part for item in pointings for part in _parts(item, len(low))])
    if not catalogs:
        raise EmptySelectionError(
            f"survey_rates: none of {len(pointings)} catalogue(s) has a row: no source was in the field"
        )
    wanted = _wanted(catalogs, sources)
    shape = len(wanted), len(catalogs), len(low)
    banded = {name: np.full(shape, np.nan) for name in _BANDED}
    single = {name: np.full(shape[:2], np.nan) for name in ("imx", "imy", "pcode_file")}
    of_source = {name: np.full(shape[0], np.nan) for name in ("ra", "dec", "catnum")}
    for number, catalog in enumerate(catalogs):
        catalog.fill(number, wanted, banded, single, of_source)
    _warn_of_empty(banded["noise"], low, high)
    if compat:
        banded["rate"] = banded["centre_rate"]
    single["pcode"] = np.clip(
        single["pcode_file"] / coding_efficiency(single["imx"], single["imy"]), 0.0, 1.0
    )
    bounds = np.array([[catalog.start, catalog.stop] for catalog in catalogs])
    exposure = np.array([catalog.exposure for catalog in catalogs])
    variables: dict[str, Any] = {
        "time": bounds.mean(axis=1),
        "time_bnds": bounds,
        "energy": 0.5 * (low + high),
        "energy_bnds": np.stack([low, high], axis=1),
        "exposure": exposure,
        "fracexp": exposure / (bounds[:, 1] - bounds[:, 0]),
        "gti_start": bounds[:, 0],
        "gti_stop": bounds[:, 1],
    }
    rate = {"units": "count/s", "per": "detector"}
    for name, values in banded.items():
        attrs = {"units": "1"} if name in _UNITS else rate
        variables[name] = (("source", "time", "energy"), values, attrs)
    variables |= {name: (("source", "time"), values, {"units": "1"}) for name, values in single.items()}
    text = {
        name: np.array([getattr(catalog, name) for catalog in catalogs]) for name in ("obs_id", "image_id")
    }
    coords: dict[str, Any] = {name: ("time", values) for name, values in text.items()}
    coords["group"] = ("time", _own_names(text["obs_id"], text["image_id"]))
    clock = np.array([catalog.utcf for catalog in catalogs])
    coords |= {"utcf": ("time", clock, {"units": "s"})} if np.isfinite(clock).any() else {}
    coords |= {"name": ("source", np.array([str(name) for name in wanted.values()]))}
    degrees = {"ra": "deg", "dec": "deg", "catnum": "1"}
    coords |= {name: ("source", of_source[name], {"units": unit}) for name, unit in degrees.items()}
    made = build("lightcurve", variables, _attrs(survey, catalogs))
    return made.assign_coords(coords)


def _opened(survey: Any) -> Any:
    """Return the tree of a folder of results, or of several; anything else as it is."""
    if isinstance(survey, (str, os.PathLike)) and not os.path.isfile(survey):
        return open_survey(survey)
    if isinstance(survey, (list, tuple)) and survey and all(_is_folder(item) for item in survey):
        return open_survey(*survey)
    return survey


def _pointings(survey: Any, cuts: Any) -> list[dict[str, Any]]:
    """Return what is known of each pointing that is to be used."""
    if not isinstance(survey, xr.DataTree):
        if cuts is not None:
            raise ValueRangeError("survey_rates: cuts are of the pointings of a tree (batx.open_survey)")
        if isinstance(survey, (xr.Dataset, str, os.PathLike)):
            survey = [survey]
        if not isinstance(survey, Iterable):
            raise KindError(
                f"survey_rates: found {type(survey).__name__}, expected a tree of batx.open_survey, folders "
                "or catalogues"
            )
        items = [{"catalog": item} for item in survey]
        if not items:
            raise EmptySelectionError("survey_rates: found no catalogue")
        return items
    if "pointings" not in survey.children:
        raise KindError("survey_rates: the tree has no pointings; expected one of batx.open_survey")
    table = survey["pointings"].to_dataset()
    used = table["image_status"].values.astype(bool) & (table["catalog"].values != "")
    if cuts is not None:
        used &= good_rows(cuts, used.size)
    if not used.any():
        why = str(survey.attrs.get("failed", "")).splitlines()
        raise EmptySelectionError(
            f"survey_rates: none of {used.size} pointing(s) is good{': ' + why[0] if why else ''}"
        )
    wanted = ("obs_id", "image_id", "exposure", "bkg_counts", "utcf")
    names = [name for name in wanted if name in table.variables]
    return [
        {"catalog": str(table["catalog"].values[row])} | {name: table[name].values[row] for name in names}
        for row in np.flatnonzero(used)
    ]


def _is_folder(item: Any) -> bool:
    return isinstance(item, (str, os.PathLike)) and os.path.isdir(item)


def _parts(item: dict[str, Any], bands: int) -> list[_Catalog]:
    """Return the pointings of a catalogue: one, or one for each of its times; none if it is empty."""
    given = item["catalog"]
    path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    ds = (open_dataset(path) if path is not None else given).load()
    label = path or str(ds.encoding.get("source", "")) or "catalogue"
    require_kind(ds, "catalog", operation=f"survey_rates: {label}")
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        raise MissingVariableError(
            f"{label}: found no columns {', '.join(missing)}; is it a catalogue of batsurvey?"
        )
    if not ds.sizes["source"]:
        return []
    times = ds["time"].values
    if (times == times[0]).all():
        return [_Catalog(item, ds, label, bands)]
    rows = [np.flatnonzero(times == time) for time in np.unique(times)]
    return [_Catalog(item, ds.isel(source=one), label, bands) for one in rows]


class _Catalog:
    """The catalogue of one pointing, its rows by the plain names of their sources."""

    def __init__(self, item: dict[str, Any], ds: xr.Dataset, label: str, bands: int) -> None:
        self.ds, self.label, self.others = ds, label, list[_Catalog]()
        found = self.ds["rate"].shape[1:]
        if found != (bands,):
            raise ValueRangeError(
                f"{self.label}: found {'x'.join(map(str, found)) or 'no'} bands, expected {bands}; give "
                "their edges (energy=)"
            )
        self.start, self.exposure = (float(self.ds[name].values[0]) for name in ("time", "exposure"))
        self.stop = self.start + self.exposure
        if "time_stop" in self.ds.variables:
            self.stop = float(self.ds["time_stop"].values[0])
        if not self.stop > self.start or not self.exposure > 0:
            raise ValueRangeError(
                f"{self.label}: found times {self.start} to {self.stop} and {self.exposure} s of exposure, "
                "expected a start before the end"
            )
        self.obs_id, self.image_id = (self._text(item, name) for name in ("obs_id", "image_id"))
        self.utcf = float(item.get("utcf", ds.attrs.get("utcf", np.nan)))
        counts = item.get("bkg_counts")
        self.empty = np.zeros(bands, bool) if counts is None else np.asarray(counts) <= 0
        self.names = [" ".join(str(name).split()) for name in self.ds["name"].values]
        self.rows = {plain_name(name): row for row, name in enumerate(self.names)}

    def _require_once(self, wanted: dict[str, str]) -> None:
        """Raise if one of the sources wanted is there twice: which of the two is meant is not known."""
        if len(self.rows) == len(self.names):
            return
        plain = [plain_name(name) for name in self.names]
        for key, name in wanted.items():
            if plain.count(key) > 1:
                raise ValueRangeError(
                    f"{self.label}: found the source {name!r} twice; choose others (sources=), or give "
                    "each a name of its own in the catalogue for batsurvey"
                )

    def _text(self, item: dict[str, Any], name: str) -> str:
        if name in item:
            return str(item[name]).strip()
        return str(self.ds[name].values[0]).strip() if name in self.ds.variables else ""

    def fill(
        self,
        number: int,
        wanted: dict[str, str],
        banded: dict[str, np.ndarray],
        single: dict[str, np.ndarray],
        of_source: dict[str, np.ndarray],
    ) -> None:
        """Put the values of the wanted sources into the arrays of a pointing."""
        self._require_once(wanted)
        for other in self.others:
            other.fill(number, wanted, banded, single, of_source)
        pairs = [(source, self.rows[key]) for source, key in enumerate(wanted) if key in self.rows]
        if not pairs:
            return
        to, rows = np.array(pairs).T
        ds = self.ds
        for name, column in _BANDED.items():
            if column in ds.variables:
                banded[name][to, number] = np.where(self.empty, np.nan, ds[column].values[rows])
        if "rate_err" not in ds.variables:
            banded["rate_err"][to, number] = banded["noise"][to, number]
        for name, column in (("imx", "imx"), ("imy", "imy"), ("pcode_file", "pcodefr")):
            if column in ds.variables:
                single[name][to, number] = ds[column].values[rows]
        for name, values in of_source.items():
            if name in ds.variables:
                values[to] = np.where(np.isnan(values[to]), ds[name].values[rows], values[to])


def plain_name(name: str) -> str:
    """Return a name without the case of its letters and without blanks."""
    return "".join(str(name).casefold().split())


def _wanted(catalogs: list[_Catalog], sources: str | Sequence[str] | None) -> dict[str, str]:
    """Return plain names of the sources in order, with their names as the catalogues have them."""
    known: dict[str, str] = {}
    for catalog in catalogs:
        for name in (name for one in (catalog, *catalog.others) for name in one.names):
            known.setdefault(plain_name(name), name)
    if sources is None:
        return known
    asked = [sources] if isinstance(sources, str) else list(sources)
    keys = [plain_name(name) for name in asked]
    missing = [name for name, key in zip(asked, keys, strict=True) if key not in known]
    if missing or not keys:
        raise ValueRangeError(
            f"sources: found {', '.join(map(repr, missing)) or 'no name'}, which none of {len(catalogs)} "
            f"pointing(s) has; they have {len(known)} sources, such as {', '.join(list(known.values())[:5])}"
        )
    return {key: known[key] for key in keys}


def _in_order(catalogs: list[_Catalog]) -> list[_Catalog]:
    """Return a catalogue for each pointing in the order of time; others of the same pointing go with it.

    Raises
    ------
    ValueRangeError
        If two of a pointing have the same source.
    """
    first: dict[tuple[str, float], _Catalog] = {}
    for catalog in sorted(catalogs, key=lambda one: one.start):
        known = first.setdefault((catalog.obs_id, catalog.start), catalog)
        if known is catalog:
            continue
        for other in (known, *known.others):
            if same := sorted(other.rows.keys() & catalog.rows.keys()):
                raise ValueRangeError(
                    f"survey_rates: found {catalog.names[catalog.rows[same[0]]]!r} in the pointing "
                    f"{catalog.image_id or catalog.start} of observation {catalog.obs_id} twice "
                    f"({other.label}, {catalog.label}); it would count twice"
                )
        known.others.append(catalog)
    return list(first.values())


def _own_names(obs_ids: np.ndarray, image_ids: np.ndarray) -> np.ndarray:
    """Return a name for each pointing, all different."""
    plain = [str(image) or str(number) for number, image in enumerate(image_ids)]
    often = Counter(plain)
    names: dict[str, None] = {}
    for obs_id, name in zip(obs_ids, plain, strict=True):
        full = name if often[name] == 1 else f"{obs_id}_{name}"
        own, number = full, 1
        while own in names:
            number += 1
            own = f"{full}_{number}"
        names[own] = None
    return np.array(list(names))


def _warn_of_empty(noise: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Warn if bands are empty in pointings where others are not."""
    known = np.isfinite(noise) & (noise > 0)
    observed = known.any(axis=2)
    empty = observed[..., None] & ~known
    if empty.any():
        bands = [f"{a:g}-{b:g}" for a, b, bad in zip(low, high, empty.any(axis=(0, 1)), strict=True) if bad]
        warn(
            f"survey_rates: {int(empty.any(axis=(0, 2)).sum())} of {noise.shape[1]} pointing(s) have nothing "
            f"in {', '.join(bands)} keV: their histograms were cut short"
        )


def _attrs(survey: Any, catalogs: list[_Catalog]) -> dict[str, Any]:
    attrs: dict[str, Any] = {"telescope": "SWIFT", "instrument": "BAT"}
    known: dict[str, Any] = {"mjdref_int": 51910, "mjdref_frac": 7.428703703703703e-4, "time_scale": "tt"}
    held = [catalog.ds.attrs for catalog in catalogs]
    if isinstance(survey, xr.DataTree) and "pointings" in survey.children:
        held.insert(0, survey["pointings"].attrs)
    for own in reversed(held):
        known |= kept_attrs(own, "mjdref_int", "mjdref_frac", "utcf")
    line = f"batx.survey_rates: {len(catalogs)} pointing(s)"
    span = {"tstart": min(c.start for c in catalogs), "tstop": max(c.stop for c in catalogs)}
    return (
        attrs
        | known
        | span
        | {"statistic": "gaussian", "weighting": "mask", "ratesof": "pointings", "history": line}
    )
