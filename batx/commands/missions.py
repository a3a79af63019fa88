"""The pipelines of X-ray telescopes from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from batx.commands.options import EXISTING, Edges, together
from batx.commands.pipelines import run_options, run_pipeline
from batx.commands.screen import Command

__all__ = ["nustar", "xmm", "xrt"]


class Threshold(click.ParamType):
    """The greatest rate of a camera, or of one of its products."""

    name = "camera[.product]=rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float | None]:
        """Return the camera and product, and count/s; `None` for no filter."""
        if isinstance(value, tuple):
            return value
        key, _, rate = value.partition("=")
        try:
            return key, None if rate.lower() == "none" else float(rate)
        except ValueError:
            self.fail(
                f"found {value!r}, expected for example pn=0.4, mos.curve=0.35 or pn.image=none", param, ctx
            )


class Setting(click.ParamType):
    """A further parameter of a tool."""

    name = "tool.parameter=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str, str]:
        """Return tool, parameter and value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        tool, dot, parameter = key.partition(".")
        if not (tool and dot and parameter and equals):
            self.fail(f"found {value!r}, expected for example nupipeline.saamode=optimized", param, ctx)
        return tool, parameter, text


def _source(energy: tuple[float, float], dt: float, min_exposure: float, model: str) -> Callable[[Any], Any]:
    """Return the options that all of these pipelines have, with the defaults of one."""
    shown: dict[str, Any] = {"show_default": True}
    return together(
        click.option("--ra", type=float, required=True, help="Right ascension of the source, degrees."),
        click.option("--dec", type=float, required=True, help="Declination of the source, degrees."),
        click.option("--region", type=EXISTING, help="Region file of ds9.  [default: a circle]"),
        click.option("--background-region", type=EXISTING, help="Of the background.  [default: an annulus]"),
        click.option("--regions", type=EXISTING, help="Folder of region files of single observations."),
        click.option(
            "--energy", type=(float, float), default=energy, help="Of spectra and images, keV.", **shown
        ),
        click.option("--dt", type=float, default=dt, help="Bins of the light curves, s.", **shown),
        click.option(
            "--min-exposure",
            type=float,
            default=min_exposure,
            help="Leave out what is exposed for a shorter time, s.",
            **shown,
        ),
        click.option(
            "--model", "-m", default=model, help="Model that is fitted to all spectra, as in XSPEC.", **shown
        ),
        click.option(
            "--tie", "tied", multiple=True, help="Parameter that all spectra share.  [default: by the model]"
        ),
        click.option("--t0", type=float, help="Day 0 of the figures, MJD (UTC).  [default: the first start]"),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Tools that run at a time.  [default: the number of processors]",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            help="Time that a tool may take, s.  [default: hours, by the tool]",
        ),
    )


def _run(
    make: Callable[..., Any], places: tuple[str | Path, ...], output: Path | None, options: dict[str, Any]
) -> None:
    """Run a pipeline with the options that were given."""
    control = {name: options.pop(name) for name in ("since", "only", "listed")}
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    folder = Path(f"{Path(places[0]).name.partition('.')[0]}-results") if output is None else output
    pipeline = make(places, output=folder, **given)
    run_pipeline(pipeline, **control)
    if not control["listed"]:
        click.echo(f"wrote {pipeline.folder}")


_SET = click.option(
    "--set",
    "settings",
    multiple=True,
    type=Setting(),
    help="Further parameter of a tool, as nupipeline.saamode=optimized.  [default: none]",
)
_HEASOFT = together(
    click.option(
        "--min-counts",
        type=click.FloatRange(0),
        help="Least counts in a group of channels, 0 for no groups.  [default: 1, for NuSTAR 25]",
    ),
    click.option(
        "--statistic",
        type=click.Choice(["auto", "cstat", "chi2"]),
        help="Of the fit.  [default: cstat, for NuSTAR auto]",
    ),
    click.option(
        "--reprocess/--no-reprocess",
        default=True,
        show_default=True,
        help="Whether events are cleaned anew, or those of the archive used.",
    ),
    _SET,
)


def _settings(given: tuple[tuple[str, str, str], ...]) -> dict[str, dict[str, str]]:
    """Return further parameters by tool."""
    found: dict[str, dict[str, str]] = {}
    for tool, parameter, value in given:
        found.setdefault(tool, {})[parameter] = value
    return found


@click.command(cls=Command)
@click.argument("observations", type=EXISTING, nargs=-1, required=True)
@_source((0.3, 10.0), 500.0, 100.0, "tbabs*(bbody+bremss)")
@click.option("--response", type=EXISTING, help="Redistribution, or a folder of them.  [default: in $CALDB]")
@_HEASOFT
@run_options
def xrt(observations: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """Swift-XRT: images, light curves, and spectra of many observations fitted jointly.

    OBSERVATIONS are directories of the archive, or directories of these. HEASoft is needed; what was made is
    not made again.
    """
    from batx.pipelines import xrt as make

    options["settings"] = _settings(options["settings"])
    _run(make, observations, output, options)


@click.command(cls=Command)
@click.argument("observations", type=EXISTING, nargs=-1, required=True)
@_source((3.0, 79.0), 500.0, 0.0, "constant*tbabs*powerlaw")
@_HEASOFT
@run_options
def nustar(observations: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """NuSTAR: images, light curves, and spectra of both telescopes fitted jointly.

    OBSERVATIONS are directories of the archive, or directories of these. HEASoft is needed; what was made is
    not made again.
    """
    from batx.pipelines import nustar as make

    options["settings"] = _settings(options["settings"])
    _run(make, observations, output, options)


_XMM_EVENTS = together(
    click.option(
        "--camera",
        "cameras",
        multiple=True,
        type=click.Choice(["pn", "mos"]),
        default=("pn",),
        show_default=True,
        help="Camera, or both.",
    ),
    click.option(
        "--exposure", "exposures", multiple=True, help="Exposure to choose from, as S003.  [default: all]"
    ),
    click.option(
        "--chain",
        type=click.Choice(["epproc", "epchain"]),
        default="epproc",
        show_default=True,
        help="Task that makes the event lists of pn.",
    ),
    click.option(
        "--merge/--no-merge",
        default=True,
        show_default=True,
        help="Whether to merge exposures in one mode and filter.",
    ),
    click.option(
        "--threshold",
        "thresholds",
        multiple=True,
        type=Threshold(),
        help="Greatest rate above 10 keV (count/s) of a camera, or of its spectrum, curve or image; none for "
        "no filter.  [default: pn=0.4, mos=0.35]",
    ),
    click.option(
        "--flare-dt",
        type=float,
        default=100.0,
        show_default=True,
        help="Bins of the light curve of flares, s.",
    ),
    click.option(
        "--pileup-rule",
        type=click.Choice(["either", "singles", "doubles", "none"]),
        default="either",
        show_default=True,
        help="What is pile-up: singles (too many, or too few doubles), doubles (the opposite, as the manual "
        "of epatplot says), or either; none does not look for it.",
    ),
    click.option(
        "--pileup-sigma", type=float, default=3.0, show_default=True, help="Its size, standard deviations."
    ),
    click.option(
        "--largest-core",
        type=float,
        default=15.0,
        show_default=True,
        help="Largest radius that is cut out of a source that is piled up, arcsec.",
    ),
)
_XMM_CURVES = together(
    click.option(
        "--bands",
        type=Edges(),
        metavar="LOW,...,HIGH",
        default="0.3,10",
        show_default=True,
        help="Edges of the bands of light curves; with --number the limits of all bands.",
    ),
    click.option(
        "--bands-by",
        type=click.Choice(["energy", "channel"]),
        default="energy",
        show_default=True,
        help="What the edges are: keV, or channels of the spectra (5 eV).",
    ),
    click.option(
        "--number",
        type=click.IntRange(1),
        help="Make so many bands from the mean spectrum of all observations.",
    ),
    click.option(
        "--spacing",
        type=click.Choice(["counts", "log", "linear"]),
        default="counts",
        show_default=True,
        help="Of these bands: equal counts, or equal steps.",
    ),
    click.option(
        "--corrections",
        type=click.Choice(["absolute", "relative"]),
        default="absolute",
        show_default=True,
        help="Of the light curves.",
    ),
)


@click.command(cls=Command)
@click.argument("observations", nargs=-1, required=True)
@_source((0.3, 10.0), 100.0, 1000.0, "tbabs*powerlaw")
@_XMM_EVENTS
@_XMM_CURVES
@click.option("--rgs", is_flag=True, help="Spectra of RGS as well.")
@_SET
@run_options
def xmm(observations: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """XMM-Newton: event lists without flares, spectra without pile-up, light curves in bands, RGS.

    OBSERVATIONS are directories with observation data, archives of them, or ids, which are downloaded. SAS is
    needed; what was made is not made again.
    """
    from batx.pipelines import xmm as make
    from batx.pipelines.xmm_pipeline import THRESHOLDS

    options["thresholds"] = {**THRESHOLDS, **dict(options["thresholds"])}
    options["settings"] = _settings(options["settings"])
    options["bands"] = _bands(options["bands"], options.pop("number"), options.pop("spacing"), options)
    _run(make, observations, output, options)


def _bands(edges: list[float], number: int | None, spacing: str, options: dict[str, Any]) -> Any:
    """Return edges of bands, or how they are made of the mean spectrum."""
    given = click.get_current_context().get_parameter_source
    by_user = {name: given(name) is not ParameterSource.DEFAULT for name in ("bands", "spacing")}
    if number is None:
        if by_user["spacing"]:
            raise click.UsageError("--spacing is of the bands that --number makes; give that, too")
        if options["bands_by"] == "channel" and not by_user["bands"]:
            raise click.UsageError("--bands-by channel needs --bands, edges in channels, or --number")
        return edges
    if len(edges) != 2:
        raise click.UsageError(f"found {len(edges)} edges in --bands; with --number give the two limits")
    made: dict[str, Any] = {"n": number, "spacing": spacing, "axis": options["bands_by"]}
    return made | ({"limits": edges} if by_user["bands"] else {})
