"""What the tools make of survey histograms: good time, steady attitude, energies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from batx.errors import MissingFileError, ValueRangeError
from batx.grids import energy_bounds
from batx.heasoft.engine import Bench, edges_of, number, yes
from batx.intervals import gti_of
from batx.schema import require_kind
from batx.survey_inputs import flat_energies, survey_histograms
from batx.survey_spectra import SURVEY_EDGES

if TYPE_CHECKING:
    from batx.heasoft.engine import Engine

__all__ = ["calibrate_histogram", "steady_attitude", "survey_gti"]


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


def calibrate_histogram(
    engine: Engine,
    histogram: Any,
    gain_offset: Any = None,
    *,
    energy: Any = None,
    pulser: Any = None,
    flight_pulser: Any = None,
    residual: Any = None,
    compat: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return histograms in bands made by baterebin; arguments as for `batx.calibrate_histogram`.

    The tool is given a band more at each end, as it puts what is below the first band into it. What is not
    given is looked for by the tool in its own CALDB; the gain map must be given.

    Examples
    --------
    >>> import batx
    >>> batx.calibrate_histogram(xr.Dataset(), engine="heasoft")
    Traceback (most recent call last):
    batx.errors...
    """
    planes = survey_histograms(histogram, "calibrate_histogram")
    if len(planes) > 1:
        raise ValueRangeError(
            f"calibrate_histogram: the engine heasoft takes one file at a time, found {len(planes)}"
        )
    if isinstance(histogram, xr.DataTree) and gain_offset is None and "gain_offset" in histogram:
        gain_offset = histogram["gain_offset"].to_dataset()
    if gain_offset is None:
        raise ValueRangeError("calibrate_histogram: the engine heasoft needs the gain map (gain_offset)")
    lower, upper = energy_bounds(SURVEY_EDGES if energy is None else energy)
    bounds = planes[0]["energy_bnds"].values
    edges = edges_of(lower, upper)
    before = edges_of(bounds[:1, 0], lower[:1]) if lower[0] > bounds[0, 0] else []
    after = edges_of(upper[-1:], bounds[-1:, 1]) if upper[-1] < bounds[-1, 1] else []
    maps = {
        "calfile": gain_offset,
        "pulserfile": pulser,
        "fltpulserfile": flight_pulser,
        "residfile": residual,
    }
    with engine.bench("calibrate_histogram") as bench:
        bench.refuse(options)
        result = bench.run(
            "baterebin",
            infile=bench.write(planes[0], "histogram.dph", form="dph"),
            outfile=bench.path("bands.dph"),
            outmap=bench.path("quality.fits"),
            ebins=",".join([*before, *edges, *after]),
            **{
                name: bench.write(one, f"{name}.fits") if isinstance(one, xr.Dataset) else one or "CALDB"
                for name, one in maps.items()
            },
        )
        made = bench.done(bench.read(result["outfile"], "detector_plane"))
        quality = bench.read(result["outmap"], "detector_mask")["quality"].values
    made = made.isel(energy=slice(len(before), made.sizes["energy"] - len(after)))
    made["quality"] = (("dety", "detx"), quality.astype("uint8"), {"units": "1"})
    return made
