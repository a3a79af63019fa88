"""The pipeline of XMM-Newton: observations to event lists without flares, spectra, light curves in bands."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from batx.errors import ValueRangeError
from batx.heasoft import Backend
from batx.pile_up import PATTERN_RULES, SMALLEST_CORE
from batx.pipelines.frame import Pipeline, Step
from batx.pipelines.missions import joint
from batx.pipelines.missions import xmm_curves as light
from batx.pipelines.missions import xmm_events as early
from batx.pipelines.missions import xmm_products as late
from batx.pipelines.missions.places import regions_given, settled
from batx.pipelines.missions.sas import plain_path
from batx.pipelines.missions.toolbox import Toolbox

__all__ = ["MIRRORS", "xmm"]

#: where observation data are, with the observation id to be filled in
MIRRORS = ("https://nxsa.esac.esa.int/nxsa-sl/servlet/data-action-aio?obsno={obs_id}&level=ODF",)
#: count/s above 10 keV: usual values of the SAS threads for the whole field
THRESHOLDS: Mapping[str, float | None] = {"pn": 0.4, "mos": 0.35}
#: tasks that may be given further parameters, by the step that calls them
_TASKS: Mapping[str, tuple[str, ...]] = {
    "calibrate": ("cifbuild", "odfingest"),
    "events": ("epproc", "epchain", "emproc"),
    "pileup": ("epatplot",),
    "spectra": ("backscale", "rmfgen", "arfgen"),
    "curves": ("epiclccorr",),
    "rgs": ("rgsproc", "rgscombine"),
}
_REGIONS = ("ra", "dec", "region", "background_region", "regions")


def xmm(
    observations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    ra: float,
    dec: float,
    *,
    output: str | os.PathLike[str],
    cameras: Sequence[str] = ("pn",),
    exposures: Sequence[str] = (),
    chain: str = "epproc",
    merge: bool = True,
    min_exposure: float = 1000.0,
    thresholds: Mapping[str, float | None] = THRESHOLDS,
    flare_dt: float = 100.0,
    region: str | os.PathLike[str] | None = None,
    background_region: str | os.PathLike[str] | None = None,
    regions: str | os.PathLike[str] | None = None,
    pileup_sigma: float = 3.0,
    pileup_rule: str = "either",
    largest_core: float = 15.0,
    energy: tuple[float, float] = (0.3, 10.0),
    min_counts: float = 20.0,
    least_counts: float = 50.0,
    model: str = "tbabs*powerlaw",
    tied: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    statistic: str = "cstat",
    errors: str = "covariance",
    bands: Any = (0.3, 10.0),
    bands_by: str = "energy",
    dt: float = 100.0,
    corrections: str = "absolute",
    rgs: bool = False,
    t0: float | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    mirrors: Sequence[str] = MIRRORS,
    backend: str | Backend | None = None,
    workers: int | None = None,
    timeout: float | None = None,
) -> Pipeline:
    """Return the pipeline of XMM-Newton observations of a source.

    Steps: ``unpack``; ``calibrate`` (cifbuild, odfingest); ``events`` (epproc, emproc); ``exposures``, chosen
    and merged; ``flares``; ``regions``; ``pileup`` (epatplot); ``spectra`` (evselect, backscale, rmfgen,
    arfgen); ``group``; ``fit``; ``summary``; ``bands``; ``curves`` (evselect, epiclccorr); ``rgs`` (rgsproc,
    rgscombine); ``images``; ``figures``. Several observations are worked on in parallel, and each band of
    each light curve is a job of its own.

    Parameters
    ----------
    observations
        Folders with observation data files, archives of them (tar, tar.gz, zip), or observation ids (ten
        digits), which are downloaded.
    ra, dec, output, least_counts, t0, backend, workers, timeout
        As for `batx.pipelines.xrt_pipeline.xrt`.
    cameras
        ``"pn"``, ``"mos"`` (both of them).
    exposures
        Names of exposures (``"S003"``, ``"U002"``) to choose from; all if empty.
    chain
        ``"epproc"``, or ``"epchain"``, which is called once for each of `exposures`, or for each exposure of
        pn in an imaging mode.
    merge
        Whether exposures in the mode and filter of the longest one are merged with it.
    min_exposure
        Shorter exposures (s) are not used; nor are, in the summary, shorter spectra.
    thresholds
        Greatest rate above 10 keV (count/s), by camera (``"pn"``, ``"mos"``, ``"mos1"``), and by product with
        ``"pn.spectrum"``, ``"pn.curve"``, ``"pn.image"``; `None` for no filter.
    flare_dt
        Bins of the light curve of flares, s.
    region, background_region
        Region files of ds9, for all; by default a circle of 30″ and an annulus from 60″ to 100″.
    regions
        Folder of region files ``<obsid>_pn_source.reg``, ``<obsid>_pn_background.reg`` and so on: those that
        an earlier run left in its folder ``regions``, or yours.
    pileup_sigma, pileup_rule, largest_core
        See `batx.pile_up.is_piled_up` and `batx.pile_up.excise_core`; `largest_core` in arcsec. With the rule
        ``"none"`` pile-up is not looked for.
    energy
        (low, high) keV of spectra and images.
    min_counts
        Least counts in a group of channels.
    model, tied, parameters, statistic, errors
        Of the fit; see `batx.fit`. `tied` are the parameters that all spectra share, by default those of
        absorption.
    bands
        Edges of the bands of light curves, or how to make them from the mean spectrum of all observations:
        a mapping of ``n``, ``spacing`` (``"counts"``, ``"log"``, ``"linear"``), ``axis`` (``"energy"`` or
        ``"channel"``), ``limits`` (by default `energy`), ``min_channels``; see `batx.channel_bins`. Edges
        are then edges of channels, at the energies of the response.
    bands_by
        Of given edges: ``"energy"`` (keV) or ``"channel"`` (of the spectra, 5 eV each).
    dt
        Bins of the light curves, s.
    corrections
        ``"absolute"`` (vignetting, area, point-spread function) or ``"relative"`` (losses in time only).
    rgs
        Whether spectra of RGS are made, and summed over instruments and observations.
    settings
        Further parameters by task, such as ``{"rgsproc": {"orders": "1 2"}}``.
    mirrors
        URLs of observation data, with ``{obs_id}``.

    Returns
    -------
    Pipeline
        ``pipeline.run()`` does what is to be done.

    Raises
    ------
    ValueRangeError
        If an argument is out of range, there are no observations, or the path of `output` has letters that
        SAS cannot take in an expression.

    Examples
    --------
    >>> pipeline = xmm("0693760101", 359.4611, -32.6190, output="out")
    >>> [step.name for step in pipeline.steps][:4]
    ['unpack', 'calibrate', 'events', 'exposures']
    """
    given = dict(locals())  # the arguments, before there is anything else
    _require(cameras, chain, pileup_rule, corrections, bands_by, bands, thresholds)
    _require_names(exposures)
    sizes = {"flare_dt": flare_dt, "pileup_sigma": pileup_sigma, "largest_core": largest_core}
    for name, value in sizes.items():
        if not value > 0:
            raise ValueRangeError(f"{name}: found {value}, expected a number above 0")
    if largest_core < SMALLEST_CORE:
        raise ValueRangeError(
            f"largest_core: found {largest_core}, expected at least {SMALLEST_CORE:g} arcsec"
        )
    plain_path(Path(output).expanduser().absolute())
    options = settled("xmm", given, [name for tasks in _TASKS.values() for name in tasks])
    urls = [mirrors] if isinstance(mirrors, str) else list(mirrors)
    return Pipeline("xmm", _steps(Toolbox(backend, workers, timeout), urls), Path(output), options)


def _require(
    cameras: Sequence[str],
    chain: str,
    rule: str,
    corrections: str,
    bands_by: str,
    bands: Any,
    thresholds: Mapping[str, Any],
) -> None:
    choices = (
        ("cameras", set(cameras) or {"none"}, ("pn", "mos")),
        ("pileup_rule", {rule}, (*PATTERN_RULES, "none")),
        ("chain", {chain}, ("epproc", "epchain")),
        ("corrections", {corrections}, ("absolute", "relative")),
        ("bands_by", {bands_by}, ("energy", "channel")),
    )
    for name, found, allowed in choices:
        if not found <= set(allowed):
            raise ValueRangeError(
                f"{name}: found {', '.join(sorted(found))}, expected {' or '.join(allowed)}"
            )
    for key, value in thresholds.items():
        camera, _, product = key.partition(".")
        if camera not in ("pn", "mos", "mos1", "mos2") or product not in ("", *early.PRODUCTS):
            raise ValueRangeError(f"thresholds: found {key!r}, expected for example 'pn' or 'mos1.curve'")
        if value is not None and not value > 0:
            raise ValueRangeError(f"thresholds: found {value} for {key}, expected count/s above 0, or None")
    if isinstance(bands, Mapping):
        unknown = set(bands) - {"n", "spacing", "axis", "limits", "min_channels"}
        if unknown or "n" not in bands:
            raise ValueRangeError(
                f"bands: found {dict(bands)}, expected n, and spacing, axis, limits, min_channels"
            )
    elif len(bands) < 2 or not all(low < high for low, high in itertools.pairwise(bands)):
        raise ValueRangeError(f"bands: found {bands}, expected increasing edges")


def _require_names(exposures: Sequence[str]) -> None:
    for name in exposures:
        if not re.fullmatch(r"[SU]\d{3}", name):
            raise ValueRangeError(f"exposures: found {name!r}, expected for example 'S003'")


def _settings(step: str) -> list[str]:
    """Return the options with further parameters of the tasks that a step calls."""
    return [f"{name}_settings" for name in _TASKS[step]]


def _steps(toolbox: Toolbox, mirrors: list[str]) -> list[Step]:
    """Return the steps, in order."""
    events, products, curves = early.Events(toolbox), late.Products(toolbox), light.Curves(toolbox)
    piled = ["pileup_sigma", "pileup_rule", "largest_core"]
    return [
        Step(
            "unpack",
            "observation data",
            partial(early.unpack, mirrors=mirrors),
            options=["observations"],
            outside=early.archives,
        ),
        Step(
            "calibrate",
            "calibration index and summary",
            events.calibrate,
            needs=["unpack"],
            options=_settings("calibrate"),
        ),
        Step(
            "events",
            "event lists",
            events.events,
            needs=["unpack", "calibrate"],
            options=["cameras", "exposures", "chain", *_settings("events")],
            revision=2,
        ),
        Step(
            "exposures",
            "choose and merge exposures",
            events.exposures,
            needs=["calibrate", "events"],
            options=["min_exposure", "merge"],
        ),
        Step(
            "flares",
            "filter flares",
            events.flares,
            needs=["calibrate", "exposures"],
            options=["thresholds", "flare_dt"],
            revision=2,
        ),
        Step(
            "regions",
            "regions of source and background",
            late.regions,
            needs=["flares"],
            options=_REGIONS,
            outside=regions_given,
            revision=2,
        ),
        Step(
            "pileup",
            "pile-up",
            products.pileup,
            needs=["calibrate", "flares", "regions"],
            options=[*piled, *_settings("pileup")],
            revision=2,
        ),
        Step(
            "spectra",
            "spectra and responses",
            products.spectra,
            needs=["calibrate", "flares", "regions", "pileup"],
            options=["ra", "dec", *_settings("spectra")],
        ),
        Step("group", "group spectra", late.group, needs=["spectra"], options=["energy", "min_counts"]),
        Step("fit", "fit all spectra together", joint.fit, needs=["group"], options=joint.FITTED),
        Step("summary", "table of the spectra", late.summarise, needs=["group"], options=["min_exposure"]),
        Step(
            "bands",
            "bands of the light curves",
            light.bands,
            needs=["unpack"],
            uses=["group"],
            options=["bands", "bands_by", "energy"],
            revision=2,
        ),
        Step(
            "curves",
            "light curves in bands",
            curves.curves,
            needs=["calibrate", "flares", "regions", "pileup", "bands"],
            options=["dt", "corrections", "ra", "dec", *_settings("curves")],
            revision=2,
        ),
        Step(
            "rgs",
            "spectra of RGS",
            products.rgs,
            needs=["calibrate"],
            options=["rgs", "ra", "dec", *_settings("rgs")],
            revision=2,
        ),
        Step("images", "images", light.images, needs=["flares"], options=["energy", "ra", "dec"], revision=2),
        Step(
            "figures",
            "figures",
            light.figures,
            needs=["flares"],
            uses=["regions", "pileup", "images", "group", "curves"],
            options=["t0", "min_exposure", "ra", "dec"],
            revision=2,
        ),
    ]
