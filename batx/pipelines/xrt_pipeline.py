"""The pipeline of Swift-XRT: observations of a source to images, light curves and spectra fitted jointly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batx.heasoft import Backend
from batx.pipelines.frame import Pipeline, Step
from batx.pipelines.missions import joint
from batx.pipelines.missions import xrt_steps as steps
from batx.pipelines.missions.places import regions_given, settled
from batx.pipelines.missions.toolbox import Toolbox

__all__ = ["xrt"]

TOOLS = ("xrtpipeline", "xrtexpomap", "xrtproducts")
_REGIONS = ("ra", "dec", "region", "background_region", "regions")


def xrt(
    observations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    ra: float,
    dec: float,
    *,
    output: str | os.PathLike[str],
    region: str | os.PathLike[str] | None = None,
    background_region: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | None = None,
    response: str | os.PathLike[str] | None = None,
    energy: tuple[float, float] = (0.3, 10.0),
    dt: float = 500.0,
    min_exposure: float = 100.0,
    min_counts: float = 1.0,
    least_counts: float = 20.0,
    model: str = "tbabs*(bbody+bremss)",
    tied: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    statistic: str = "cstat",
    errors: str = "covariance",
    t0: float | None = None,
    reprocess: bool = True,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    backend: str | Backend | None = None,
    workers: int | None = None,
    timeout: float | None = None,
) -> Pipeline:
    """Return the pipeline of Swift-XRT observations of a source, in photon-counting mode.

    Steps: ``select`` observations by exposure; ``regions``; ``pipeline`` (xrtpipeline); ``exposure``
    (xrtexpomap); ``products`` (xrtproducts); ``group``; ``fit``, of all spectra together; ``curves``;
    ``images``; ``figures``. The tools run in parallel. Without tools, and with ``reprocess=False``, there are
    curves, images and figures of what the archive has.

    Parameters
    ----------
    observations
        Folders of observations in the archive's layout, or of many of these.
    ra, dec
        Position of the source, degrees.
    output
        Folder for the results.
    region, background_region
        Region files of ds9, for all observations; by default a circle of 47″ and an annulus from 120″ to
        240″.
    regions
        Folder of region files ``<obsid>_source.reg``, ``<obsid>_background.reg`` for single observations, as
        an earlier run, or ds9, left them.
    response
        Redistribution, or a folder of such files; by default that of ``$CALDB`` that the effective area
        names.
    energy
        (low, high) keV of spectra, images and curves.
    dt
        Bins of the light curves, s.
    min_exposure
        Observations exposed for a shorter time (s) are not used.
    min_counts
        Least counts in a group of channels.
    least_counts
        Spectra with fewer counts are not fitted.
    model, tied, parameters, statistic, errors
        Of the fit; see `batx.fit`. `tied` are the parameters that all observations share, by default those
        of absorption; all others each has for itself.
    t0
        Day 0 of the pictures, MJD (UTC); by default the start of the first observation.
    reprocess
        Whether xrtpipeline and xrtexpomap are run; otherwise the cleaned events and exposure maps of the
        archive are used.
    settings
        Further parameters by tool, such as ``{"xrtpipeline": {"gtiexpr": "CCDTemp<-55"}}``.
    backend, workers, timeout
        Where tools run, how many at a time, and their time limit in s; see `batx.heasoft.run`.

    Returns
    -------
    Pipeline
        ``pipeline.run()`` does what is to be done.

    Raises
    ------
    ValueRangeError
        If a number is out of range, or there are no observations.

    Examples
    --------
    >>> pipeline = xrt("data/00040990001", 257.2465, 21.8856, output="out")
    >>> [step.name for step in pipeline.steps][:3]
    ['select', 'regions', 'pipeline']
    """
    options = settled("xrt", dict(locals()), TOOLS)
    return Pipeline("xrt", _steps(steps.Xrt(Toolbox(backend, workers, timeout))), Path(output), options)


def _steps(tools: steps.Xrt) -> list[Step]:
    """Return the steps, in order."""
    return [
        Step(
            "select",
            "choose observations",
            steps.select,
            options=["observations", "min_exposure", "reprocess", "ra", "dec"],
            outside=steps.event_lists,
        ),
        Step(
            "regions",
            "regions of source and background",
            steps.regions,
            needs=["select"],
            options=_REGIONS,
            outside=regions_given,
        ),
        Step(
            "pipeline",
            "cleaned events",
            tools.pipeline,
            needs=["select"],
            options=["observations", "ra", "dec", "reprocess", "xrtpipeline_settings"],
        ),
        Step(
            "exposure",
            "exposure maps",
            tools.exposure,
            needs=["pipeline"],
            options=["observations", "reprocess", "xrtexpomap_settings"],
        ),
        Step(
            "products",
            "spectra, curves and effective areas",
            tools.products,
            needs=["pipeline", "regions"],
            uses=["exposure"],
            options=["observations", "energy", "dt", "xrtproducts_settings"],
        ),
        Step(
            "group",
            "group spectra",
            steps.group,
            needs=["products"],
            options=["response", "energy", "min_counts"],
            outside=steps.response_files,
        ),
        Step("fit", "fit all spectra together", joint.fit, needs=["group"], options=joint.FITTED),
        Step(
            "curves",
            "light curves",
            steps.curves,
            needs=["pipeline", "regions"],
            uses=["exposure"],
            options=["energy", "dt", "ra", "dec"],
        ),
        Step("images", "images", steps.images, needs=["pipeline"], options=["energy", "ra", "dec"]),
        Step(
            "figures",
            "figures",
            steps.figures,
            needs=["select"],
            uses=["regions", "images", "curves"],
            options=["t0", "energy", "min_exposure"],
        ),
    ]
