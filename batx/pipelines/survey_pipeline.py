"""The pipeline of the survey: from histograms of many observations to light curves, spectra and mosaics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from batx.archive.layouts import mirror_list
from batx.errors import MissingFileError, ValueRangeError
from batx.heasoft import Backend
from batx.pipelines.frame import Pipeline, Step
from batx.pipelines.surveys import processing, products, selection
from batx.pipelines.surveys.names import existing, is_id, is_result, result_files
from batx.pipelines.surveys.settings import checked_parameters
from batx.survey_catalogs import survey_catalog
from batx.transfer import data_directory

__all__ = ["survey"]

_FETCHED = ["sources", "data", "offline", "output"]
_AXES = ("relative", "met", "utc", "mjd")


def _steps(mirrors: list[str] | None, crew: processing.Crew) -> list[Step]:
    """Return the steps, in order; records do not hold mirrors, which may have logins, and where tools run."""
    return [
        Step(
            "inputs",
            "observations, results, histograms",
            partial(processing.inputs, mirrors=mirrors),
            options=[*_FETCHED, "pattern_maps"],
            outside=processing.given_files,
        ),
        Step(
            "catalog",
            "the catalogue of sources",
            processing.catalog,
            needs=["inputs"],
            options=["catalog", "own_sources"],
            outside=lambda options: [Path(options["catalog"])] if options["catalog"] else [],
        ),
        Step(
            "process",
            "each observation: batsurvey, or batx itself",
            partial(processing.process, crew=crew),
            needs=["inputs", "catalog"],
            options=["output", "engine", "parameters"],
            outside=processing.processed_files,
        ),
        Step(
            "pointings",
            "which pointings are good, and why others are not",
            selection.pointings,
            needs=["inputs"],
            uses=["process"],
            options=["sources", "output", "cuts"],
            outside=result_files,
        ),
        Step(
            "rates",
            "rates of the sources in every pointing",
            products.rates,
            needs=["pointings"],
            options=["sources", "output", "targets", "own_sources"],
            outside=result_files,
        ),
        Step(
            "lightcurves",
            "light curves",
            products.lightcurves,
            needs=["rates"],
            options=["time_bins"],
        ),
        Step("spectra", "spectra and responses", products.spectra, needs=["rates"], options=["time_bins"]),
        Step(
            "fits",
            "fits or limits",
            products.fits,
            needs=["rates", "spectra"],
            options=["model", "snr", "sigma", "index"],
        ),
        Step(
            "mosaics",
            "mosaics",
            products.mosaics,
            needs=["pointings"],
            options=["sources", "output", "nside", "off_axis", "time_bins"],
            outside=products.images_read,
        ),
        Step(
            "mosaic_products",
            "sources in the mosaics",
            products.mosaic_products,
            needs=["rates", "mosaics"],
            options=["mosaic_response", "model", "snr", "sigma", "index"],
            outside=lambda options: [Path(options["mosaic_response"])] if options["mosaic_response"] else [],
        ),
        Step(
            "figures",
            "figures",
            products.figures,
            needs=["rates", "lightcurves"],
            uses=["fits"],
            options=["figures", "time_axis", "time_bins", "snr"],
            revision=2,
        ),
        Step(
            "report",
            "table of results",
            products.report,
            needs=["pointings", "rates", "lightcurves"],
            uses=["fits"],
            options=["time_bins", "snr", "sigma", "index"],
        ),
    ]


def survey(
    *sources: str | os.PathLike[str],
    output: str | os.PathLike[str],
    catalog: str | os.PathLike[str] | None = None,
    own_sources: Sequence[tuple[str, float, float]] = (),
    targets: Sequence[str] | None = None,
    time_bins: Any = "month",
    cuts: bool = True,
    model: str = "powerlaw",
    index: float = 2.0,
    snr: float = 5.0,
    sigma: float = 5.0,
    nside: int | None = None,
    off_axis: str | os.PathLike[str] | None = None,
    mosaic_response: str | os.PathLike[str] | None = None,
    figures: bool = True,
    time_axis: str = "mjd",
    engine: str | None = None,
    preset: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    pattern_maps: str | os.PathLike[str] | None = None,
    backend: str | Backend | None = None,
    workers: int | None = None,
    executor: Any = None,
    timeout: float | None = None,
    data: str | os.PathLike[str] | None = None,
    mirrors: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    offline: bool = False,
) -> Pipeline:
    """Return the pipeline from survey observations to light curves, spectra, fits and mosaics of sources.

    Nothing is done until it is run. What ``batsurvey`` makes is kept in the folder ``batsurvey`` of the
    results, an observation a folder; observations that were processed are not processed again when others
    are added.

    Parameters
    ----------
    *sources
        Folders of observations with survey histograms (``bat/survey``), folders of many of these, numbers of
        observations (eleven digits), which are fetched, or results of batsurvey (``stats_point.fits``), which
        are taken as they are.
    output
        Folder for the results.
    catalog
        Catalogue for batsurvey; not needed for results.
    own_sources
        Name, right ascension and declination (degrees) of sources that are added to it (`survey_catalog`).
    targets
        Names of the sources for which products are made; by default those of `own_sources`, or else all of
        the catalogue. What batsurvey finds besides, in each image anew, is only listed (``new_sources.csv``).
    time_bins
        Groups of pointings for light curves, spectra, fits and mosaics, as for `batx.average_times`; `None`
        for single pointings. Light curves of single pointings are always made.
    cuts
        Whether pointings must pass `batx.pointing_cuts`.
    model
        Of the fits.
    index
        Photon index for which fluxes are limited.
    snr
        Significance of the rate in 14-195 keV from which on a source is detected and its spectrum is fitted.
    sigma
        Confidence of limits, as for `batx.upper_limit`.
    nside
        Resolution of mosaics; `None` for none.
    off_axis
        File of the off-axis correction of fluxes in each band, for mosaics.
    mosaic_response
        Response for spectra of mosaics; by default the one published with the survey
        (`batx.survey_response`), which is for mosaics with `off_axis`.
    figures
        Whether light curves are drawn.
    time_axis
        Of the figures: ``"met"``, ``"utc"``, ``"mjd"`` or ``"relative"``.
    engine
        What processes observations: ``"heasoft"``, the tool batsurvey; ``"native"``, batx itself, with the
        same numbers (`batx.survey_observation`, ``compat="heasoft"``); by default the tool if it is there.
    preset
        Parameters of batsurvey under one name: ``"batanalysis"`` takes those that BatAnalysis sets
        (``detthresh`` and ``detthresh2`` 10000, ``cleansnr`` 6, ``cleanexpr`` ``ALWAYS_CLEAN==T``); by
        default those of the tool hold (22000, 16000, 9, none).
    parameters
        Further parameters of batsurvey, which replace those of the preset; batx itself takes those that it
        has something for. ``global_pattern_map`` and
        ``global_pattern_mask`` may hold codes of ``strftime`` for the day of the observation (``%Y%j``).
    pattern_maps
        Folder with a map (``.dpi``) and a mask (``.detmask``) of the noise pattern of each day, such as
        ``pattern_noise_survey8a_2020006.dpi``: those of the day on which an observation begins are taken, or
        of the nearest one, which is then said.
    backend, timeout
        How batsurvey is run: see `batx.heasoft.run`; seconds for each observation.
    workers, executor
        Observations at a time, by default as many as processors; or what runs them in place of threads here,
        as for `batx.heasoft.run_many`: a `distributed.Client` of a cluster that shares the disk, or a pool of
        `concurrent.futures`.
    data, mirrors, offline
        For numbers of observations, as for `batx.fetch`.

    Returns
    -------
    Pipeline
        With the steps inputs, catalog, process, pointings, rates, lightcurves, spectra, fits, mosaics,
        mosaic_products, figures, report.

    Raises
    ------
    MissingFileError
        If a folder or file is not there, or none is given.
    ValueRangeError, PositionError
        If one of `own_sources` makes no sense, `time_axis` or `preset` is unknown, a parameter is one that
        the pipeline sets, or `output` lies in results of batsurvey that are given.
    ParameterError
        If there are not some workers.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "stats_point.fits").write_bytes(b"")
    >>> pipeline = survey(folder, output=folder.parent / "products")
    >>> [step.name for step in pipeline.steps][:4]
    ['inputs', 'catalog', 'process', 'pointings']
    """
    if not sources:
        raise MissingFileError(
            "survey: found no folder; give those of observations, or of results of batsurvey"
        )
    if time_axis not in _AXES:
        raise ValueRangeError(f"time_axis: found {time_axis!r}, expected one of {', '.join(_AXES)}")
    if engine not in (None, "native", "heasoft"):
        raise ValueRangeError(f"engine: found {engine!r}, expected 'native' or 'heasoft'")
    own = [(str(name), float(ra), float(dec)) for name, ra, dec in own_sources]
    if own:
        survey_catalog([name for name, _, _ in own], [ra for _, ra, _ in own], [dec for _, _, dec in own])
    given = [_place(os.fspath(source)) for source in sources]
    folder = Path(output).expanduser().absolute()
    _require_apart(folder, given)
    options = {
        "sources": given,
        "data": str(data_directory(data)) if any(map(is_id, given)) else None,
        "offline": bool(offline),
        "output": str(folder),
        "catalog": None if catalog is None else str(existing(os.fspath(catalog))),
        "own_sources": own,
        "targets": None if targets is None else [targets] if isinstance(targets, str) else list(targets),
        "time_bins": time_bins,
        "cuts": bool(cuts),
        "model": model,
        "index": float(index),
        "snr": float(snr),
        "sigma": float(sigma),
        "nside": nside,
        "off_axis": None if off_axis is None else str(existing(os.fspath(off_axis))),
        "mosaic_response": None if mosaic_response is None else str(existing(os.fspath(mosaic_response))),
        "figures": bool(figures),
        "time_axis": time_axis,
        "engine": engine,
        "parameters": checked_parameters(preset, parameters),
        "pattern_maps": None if pattern_maps is None else str(existing(os.fspath(pattern_maps))),
    }
    crew = processing.Crew(backend, workers, executor, timeout)
    places = None if mirrors is None else mirror_list(mirrors)
    return Pipeline("survey", _steps(places, crew), folder, options)


def _require_apart(output: Path, given: list[str]) -> None:
    """Raise if the folder for the results lies in one of results: what is made would be taken for given."""
    for source in given:
        if output.is_relative_to(source) and is_result(Path(source), output):
            raise ValueRangeError(
                f"output: found {output}, which lies in the results of batsurvey in {source}; give a folder "
                "outside them"
            )


def _place(source: str) -> str:
    """Return the absolute path of a folder, or the number of an observation that is no folder here."""
    return source if is_id(source) and not Path(source).exists() else str(existing(source))
