"""The pipeline of events: all standard products of a burst, from an observation or an event file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batx.errors import MissingFileError
from batx.pipelines.bursts import figures, images, inputs, light, report, spectra, times
from batx.pipelines.frame import Pipeline, Step

__all__ = ["events"]


def _steps() -> list[Step]:
    """Return the steps, in order."""
    return [
        Step(
            "fetch",
            "find the files, the trigger and the position",
            inputs.fetch,
            options=inputs.OPTIONS,
            outside=inputs.files_of,
        ),
        Step("calibrate", "energies, and the events around the trigger", light.calibrate, needs=["fetch"]),
        Step("quality", "enabled and hot detectors", light.quality, needs=["fetch", "calibrate"]),
        Step("intervals", "before, in and after the slew", times.intervals, needs=["fetch"]),
        Step(
            "weights",
            "mask weights",
            light.weights,
            needs=["fetch", "calibrate", "quality"],
            options=["compat"],
        ),
        Step(
            "lightcurves", "light curves", light.lightcurves, needs=["fetch", "weights"], options=["compat"]
        ),
        Step(
            "durations",
            "blocks and durations",
            times.durations,
            needs=["fetch", "calibrate"],
            uses=["weights"],
            options=["compat"],
        ),
        Step(
            "spectra",
            "spectra and responses",
            spectra.spectra,
            needs=["fetch", "quality", "weights", "durations"],
            uses=["intervals"],
            options=["compat"],
        ),
        Step("fits", "fits and limits", spectra.fits, needs=["fetch", "spectra"], options=["snr"]),
        Step(
            "planes",
            "detector images",
            images.planes,
            needs=["fetch", "calibrate", "quality", "durations"],
            uses=["intervals"],
            options=["compat"],
        ),
        Step(
            "images",
            "sky images",
            images.sky_images,
            needs=["fetch", "quality", "planes"],
            options=["compat"],
        ),
        Step("detection", "sources", images.detection, needs=["fetch", "images"], options=["compat"]),
        Step(
            "figures",
            "figures",
            figures.figures,
            needs=["fetch", "calibrate"],
            uses=["quality", "weights", "lightcurves", "durations", "fits", "planes", "images", "detection"],
        ),
        Step(
            "report",
            "results as a table, a tree and a page",
            report.report,
            needs=["fetch"],
            uses=[
                "calibrate",
                "quality",
                "intervals",
                "weights",
                "lightcurves",
                "durations",
                "spectra",
                "fits",
                "planes",
                "images",
                "detection",
                "figures",
            ],
        ),
    ]


def events(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    ra: float | None = None,
    dec: float | None = None,
    blind: bool = False,
    trigger: Any = None,
    foreground: Sequence[Any] | None = None,
    background: Sequence[Any] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    attitude: str | os.PathLike[str] | None = None,
    aperture: str | os.PathLike[str] | None = None,
    teldef: str | os.PathLike[str] | None = None,
    detector_mask: str | os.PathLike[str] | None = None,
    snr: float = 5.0,
    compat: str | None = None,
) -> Pipeline:
    """Return the pipeline that makes the standard products of a burst; nothing is done yet."""
    place = Path(source).expanduser()
    if not place.exists():
        raise MissingFileError(f"{place}: no such file or directory")
    stem = place.name if place.is_dir() else place.name.split(".")[0]
    files = {
        "calibration": calibration,
        "attitude": attitude,
        "aperture": aperture,
        "teldef": teldef,
        "detector_mask": detector_mask,
    }
    options = {
        "source": str(place.absolute()),
        "ra": ra,
        "dec": dec,
        "blind": blind,
        "trigger": trigger,
        "foreground": None if foreground is None else list(foreground),
        "background": None if background is None else list(background),
        "snr": snr,
        "compat": compat,
    }
    options |= {
        name: None if path is None else str(Path(path).expanduser().absolute())
        for name, path in files.items()
    }
    return Pipeline(
        "events", _steps(), Path(output) if output is not None else Path(f"{stem}-results"), options
    )
