"""The pipeline of NuSTAR: observations of a source to spectra of both telescopes fitted jointly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batx.heasoft import Backend
from batx.pipelines.frame import Pipeline, Step
from batx.pipelines.missions import joint
from batx.pipelines.missions import nustar_steps as steps
from batx.pipelines.missions.places import regions_given, settled
from batx.pipelines.missions.toolbox import Toolbox

__all__ = ["nustar"]

TOOLS = ("nupipeline", "nuproducts")
_REGIONS = ("observations", "ra", "dec", "region", "background_region", "regions")


def nustar(
    observations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    ra: float,
    dec: float,
    *,
    output: str | os.PathLike[str],
    region: str | os.PathLike[str] | None = None,
    background_region: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | None = None,
    energy: tuple[float, float] = (3.0, 79.0),
    dt: float = 500.0,
    min_exposure: float = 0.0,
    min_counts: float = 25.0,
    least_counts: float = 50.0,
    model: str = "constant*tbabs*powerlaw",
    tied: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    statistic: str = "auto",
    errors: str = "covariance",
    t0: float | None = None,
    reprocess: bool = True,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    backend: str | Backend | None = None,
    workers: int | None = None,
    timeout: float | None = None,
) -> Pipeline:
    """Return the pipeline of NuSTAR observations of a source.

    Steps: ``regions``; ``pipeline`` (nupipeline); ``products`` (nuproducts, for FPMA and FPMB); ``group``;
    ``fit``, of all spectra together; ``summary``; ``curves``, with images; ``figures``.

    Parameters
    ----------
    observations
        Folders of observations in the archive's layout (with ``event_uf``), or of many of these.
    ra, dec, output, dt, least_counts, t0, settings, backend, workers, timeout
        As for `batx.pipelines.xrt_pipeline.xrt`.
    region, background_region
        Region files of ds9, for all; by default a circle of 60″ and an annulus from 120″ to 200″.
    regions
        Folder of region files ``<obsid>A_source.reg``, ``<obsid>A_background.reg``, and those with B.
    energy
        (low, high) keV.
    min_exposure
        Observations exposed for a shorter time (s) are not used.
    min_counts
        Least counts in a group of channels.
    model, tied, parameters, statistic, errors
        Of the fit; see `batx.fit`. `tied` are the parameters that all spectra share: by default all but a
        constant, which is 1 for the first.
    reprocess
        Whether nupipeline is run; otherwise the cleaned events of the archive (``event_cl``) are used.

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
    >>> pipeline = nustar("data/30501003002", 135.5029, -40.5547, output="out")
    >>> [step.name for step in pipeline.steps][:3]
    ['regions', 'pipeline', 'products']
    """
    given = dict(locals())  # the arguments, before there is anything else
    from batx.spectral_models import spectral_model

    shared = [name for name in spectral_model(model).names if name != "factor"]
    options = settled("nustar", given, TOOLS)
    if tied is None:
        options["tied"] = shared
    return Pipeline("nustar", _steps(steps.Nustar(Toolbox(backend, workers, timeout))), Path(output), options)


def _steps(tools: steps.Nustar) -> list[Step]:
    """Return the steps, in order."""
    return [
        Step(
            "regions",
            "regions of source and background",
            steps.regions,
            options=_REGIONS,
            outside=regions_given,
        ),
        Step(
            "pipeline",
            "cleaned events",
            tools.pipeline,
            options=["observations", "min_exposure", "reprocess", "nupipeline_settings"],
            outside=steps.event_lists,
        ),
        Step(
            "products",
            "spectra, curves and responses",
            tools.products,
            needs=["regions", "pipeline"],
            options=["energy", "dt", "nuproducts_settings"],
        ),
        Step("group", "group spectra", steps.group, needs=["products"], options=["energy", "min_counts"]),
        Step("fit", "fit all spectra together", joint.fit, needs=["group"], options=joint.FITTED),
        Step("summary", "table of the spectra", steps.summarise, needs=["group"], options=["min_exposure"]),
        Step(
            "curves",
            "light curves and images",
            steps.curves,
            needs=["regions", "pipeline"],
            uses=["products"],
            options=["energy", "dt", "ra", "dec"],
        ),
        Step("figures", "figures", steps.figures, needs=["regions", "curves"], options=["t0", "energy"]),
    ]
