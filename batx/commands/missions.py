"""The pipelines of X-ray telescopes from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batx.commands.options import EXISTING, Edges, together
from batx.commands.pipelines import run_options, run_pipeline
from batx.commands.screen import Command

__all__ = ["nustar", "xmm", "xrt"]

_SOURCE = together(
    click.option("--ra", type=float, required=True, help="Right ascension of the source, degrees."),
    click.option("--dec", type=float, required=True, help="Declination of the source, degrees."),
    click.option("--region", type=EXISTING, help="Region file of ds9.  [default: a circle]"),
    click.option("--background-region", type=EXISTING, help="Of the background.  [default: an annulus]"),
    click.option("--regions", type=EXISTING, help="Folder of region files of single observations."),
    click.option("--energy", type=(float, float), help="keV."),
    click.option("--dt", type=float, help="Bins of the light curves, s."),
    click.option("--min-exposure", type=float, help="Leave out what is exposed for a shorter time, s."),
    click.option("--model", "-m", help="Model that is fitted to all spectra, as in XSPEC."),
    click.option("--tie", "tied", multiple=True, help="Parameter that all spectra share."),
    click.option("--workers", type=click.IntRange(1), help="Tools that run at a time."),
    click.option("--timeout", type=float, help="Time that a tool may take, s."),
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


@click.command(cls=Command)
@click.argument("observations", type=EXISTING, nargs=-1, required=True)
@_SOURCE
@click.option("--response", type=EXISTING, help="Redistribution, or a folder of them.  [default: in $CALDB]")
@run_options
def xrt(observations: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """Swift-XRT: images, light curves, and spectra of many observations fitted jointly.

    OBSERVATIONS are directories of the archive, or directories of these. HEASoft is needed; what was made is
    not made again.
    """
    from batx.pipelines import xrt as make

    _run(make, observations, output, options)


@click.command(cls=Command)
@click.argument("observations", type=EXISTING, nargs=-1, required=True)
@_SOURCE
@run_options
def nustar(observations: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """NuSTAR: images, light curves, and spectra of both telescopes fitted jointly.

    OBSERVATIONS are directories of the archive, or directories of these. HEASoft is needed; what was made is
    not made again.
    """
    from batx.pipelines import nustar as make

    _run(make, observations, output, options)


@click.command(cls=Command)
@click.argument("observations", nargs=-1, required=True)
@_SOURCE
@click.option("--camera", "cameras", multiple=True, type=click.Choice(["pn", "mos"]), help="[default: pn]")
@click.option("--bands", type=Edges(), help="Edges of the bands of light curves, keV.")
@click.option("--rgs", is_flag=True, default=None, help="Spectra of RGS as well.")
@run_options
def xmm(observations: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """XMM-Newton: event lists without flares, spectra without pile-up, light curves in bands, RGS.

    OBSERVATIONS are directories with observation data, archives of them, or ids, which are downloaded. SAS is
    needed; what was made is not made again.
    """
    from batx.pipelines import xmm as make

    _run(make, observations, output, options)
