"""What the tools make of survey histograms: good time, the steady attitude."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from batx.errors import MissingFileError, ValueRangeError
from batx.heasoft.engine import Bench, number, yes
from batx.intervals import gti_of
from batx.schema import require_kind
from batx.survey_inputs import flat_energies, survey_histograms

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["steady_attitude", "survey_gti"]


def _source(ds: xr.Dataset | xr.DataTree, verb: str, what: str) -> Path:
    """Return the file or folder that something was opened from."""
    name = str(ds.encoding.get("source", ""))
    if not name or not Path(name).exists():
        raise MissingFileError(
            f"{verb}: the engine heasoft reads files, and the {what} was not opened from one that is there; "
            'use engine="native"'
        )
    return Path(name)


def _histogram_files(bench: Bench, histograms: Any) -> list[Path]:
    """Return the files of histograms; those that come from none are written."""
    files = []
    for count, plane in enumerate(survey_histograms(histograms, bench.verb)):
        source = Path(str(plane.encoding.get("source", "")))
        files.append(source if source.is_file() else bench.write(plane, f"{count}.dph", form="dph"))
    return files


def survey_gti(
    engine: Engine,
    observation: xr.DataTree,
    histograms: Any = None,
    *,
    each: str = "snapshot",
    energy: Any = (14.0, 195.0),
    min_detectors: int | None = None,
    min_elevation: Any = None,
    gti: xr.Dataset | None = None,
    max_gap: Any = None,
    min_duration: Any = None,
    compat: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the good time that batsurvey-gti finds; arguments as for `batx.survey_gti`.

    Examples
    --------
    >>> import batx
    >>> batx.survey_gti(xr.DataTree(), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.MissingFileError...
    """
    if each not in ("snapshot", "histogram"):
        raise ValueRangeError(f"each: found {each!r}, expected 'snapshot' or 'histogram'")
    folder = _source(observation, "survey_gti", "observation")
    with engine.bench("survey_gti") as bench:
        bench.refuse(options)
        low, high = flat_energies(energy, "energy")
        degrees = number(min_elevation, "deg", "min_elevation")
        result = bench.run(
            "batsurvey-gti",
            indir=folder,
            dphfiles=_histogram_files(bench, observation if histograms is None else histograms),
            outdir=bench.path("gti"),
            sepdph=yes(each == "histogram"),
            detthresh=min_detectors,
            elimits=f"{low:g}-{high:g}",
            saofiltexpr=None if degrees is None else f"ELV > {degrees!r}",
            gtifile=bench.write_optional(gti, "own.gti"),
            maxgtigap=number(max_gap, "s", "max_gap"),
            mingti=number(min_duration, "s", "min_duration"),
        )
        return bench.done(bench.read(Path(result["outdir"]) / "master.gti", "gti"))


def steady_attitude(engine: Engine, attitude: xr.Dataset, gti: Any, *, alignment: Any = None) -> xr.Dataset:
    """Return the attitude that aspect finds; arguments as for `batx.steady_attitude`.

    Without an alignment the tool takes that of the calibration database.

    Examples
    --------
    >>> import batx
    >>> batx.steady_attitude(batx.schema.build("events", {"time": [0.0]}), (0, 1), engine="heasoft")
    Traceback (most recent call last):
    batx.errors.KindError...
    """
    require_kind(attitude, "attitude", operation="steady_attitude by the engine heasoft")
    with engine.bench("steady_attitude") as bench:
        result = bench.run(
            "aspect",
            attfile=bench.write(attitude, "attitude.fits"),
            gtis=bench.write(gti_of(gti), "good.gti"),
            alignfile=bench.write_optional(alignment, "alignment.fits"),
            newattfile=bench.path("steady.att"),
        )
        return bench.done(bench.read(result["newattfile"], "attitude"))
