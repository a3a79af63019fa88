"""The survey from the command line."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from batx.commands.computing import connected
from batx.commands.options import EXISTING, NEW, Number
from batx.commands.pipelines import run_pipeline
from batx.commands.screen import Command

__all__ = ["survey"]


class _Bins(click.ParamType):
    """``month``, ``year``, ``pointing``, days, edges separated by commas, or a file of intervals."""

    name = "bins"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return groups as the library takes them."""
        if not isinstance(value, str) or value in ("month", "year"):
            return value
        if value in ("pointing", "pointings"):
            return None
        if Path(value).is_file():
            return self._unions(Path(value), param, ctx)
        parts = [Number().convert(part.strip(), param, ctx) for part in value.split(",")]
        if len(parts) == 1:
            if not isinstance(parts[0], float) or not parts[0] > 0:
                self.fail(
                    f"found {value!r}, expected month, year, pointing, days, edges (MET or dates), or a file",
                    param,
                    ctx,
                )
            return 86400.0 * parts[0]
        return parts

    def _unions(self, path: Path, param: Any, ctx: Any) -> dict[str, list[list[Any]]]:
        """Return the intervals of a file, of which those with the same name belong together."""
        groups: dict[str, list[list[Any]]] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{path} cannot be read as text: {error}", param, ctx)
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 3:
                self.fail(f"{path}, line {number}: found {line!r}, expected NAME START STOP", param, ctx)
            groups.setdefault(words[0], []).append([Number().convert(word, param, ctx) for word in words[1:]])
        if not groups:
            self.fail(f"{path}: found no line with NAME START STOP", param, ctx)
        return groups


class _Assignment(click.ParamType):
    """NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not sign or not name:
            self.fail(f"found {value!r}, expected NAME=VALUE", param, ctx)
        return name, text


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True)
@click.option("--output", "-o", type=NEW, required=True, help="Folder for the results.")
@click.option("--catalog", type=EXISTING, help="Catalogue for batsurvey.")
@click.option(
    "--source",
    "own_sources",
    type=(str, float, float),
    multiple=True,
    metavar="NAME RA DEC",
    help="Source of one's own, degrees; added to the catalogue. May be given again.",
)
@click.option("--target", "targets", multiple=True, help="Make products of this source of the catalogue.")
@click.option(
    "--time-bins",
    type=_Bins(),
    default="month",
    show_default=True,
    help="Groups of pointings: month, year, pointing, a number of days, edges (MET or UTC dates), or a file "
    "with lines NAME START STOP, where lines of the same name belong together.",
)
@click.option("--cuts/--no-cuts", default=True, show_default=True, help="Leave pointings of low quality out.")
@click.option("--model", default="powerlaw", show_default=True, help="Model of the spectra.")
@click.option("--index", type=float, default=2.0, show_default=True, help="Photon index of limits.")
@click.option("--snr", type=float, default=5.0, show_default=True, help="Detected from so many sigma.")
@click.option("--sigma", type=float, default=5.0, show_default=True, help="Confidence of limits.")
@click.option("--nside", type=int, help="Make mosaics of this resolution.")
@click.option("--off-axis", type=EXISTING, help="Off-axis correction of fluxes, for mosaics.")
@click.option("--mosaic-response", type=EXISTING, help="Response for spectra of mosaics.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Whether to draw figures.")
@click.option(
    "--time-axis",
    type=click.Choice(["met", "utc", "mjd", "relative"]),
    default="mjd",
    show_default=True,
    help="Of the figures.",
)
@click.option(
    "--preset", type=click.Choice(["batanalysis"]), help="Parameters of batsurvey, and rates, of BatAnalysis."
)
@click.option(
    "--engine",
    type=click.Choice(["native", "heasoft"]),
    help="What processes observations: batx itself, or batsurvey.  [default: batsurvey if it is there]",
)
@click.option(
    "--parameter", "-P", "parameters", type=_Assignment(), multiple=True, help="Parameter of batsurvey."
)
@click.option("--pattern-maps", type=EXISTING, help="Folder of daily noise patterns, maps and masks.")
@click.option("--workers", type=click.IntRange(1), help="Observations at a time.  [default: processors]")
@click.option("--scheduler", help="Address of a dask scheduler, whose workers run batsurvey.")
@click.option("--timeout", type=float, help="Seconds that an observation may take.")
@click.option("--data", type=NEW, help="Directory of data, for observation ids.")
@click.option("--mirror", "mirrors", multiple=True, help="Root of the archive: https://, s3:// or a folder.")
@click.option("--offline", is_flag=True, help="Use what is in the directory of data, and fetch nothing.")
@click.option("--from", "since", metavar="STEP", help="Do this step again, and all that follow from it.")
@click.option("--only", metavar="STEP", help="Do this step again, and only what it needs and is missing.")
@click.option("--list", "listed", is_flag=True, help="Show the steps and where they stand; do nothing.")
def survey(sources: tuple[str, ...], output: Path, **options: Any) -> None:
    """Light curves, spectra, fits or limits, and mosaics of sources from survey data.

    SOURCES are folders of observations or of many of these, observation ids, or results of batsurvey. What is
    there already is not made again, so the same command goes on after an interruption.
    """
    from batx.pipelines import survey as pipeline_of

    control = {name: options.pop(name) for name in ("since", "only", "listed")}
    options["targets"] = list(options["targets"]) or None
    options["mirrors"] = list(options["mirrors"]) or None
    options["parameters"] = dict(options["parameters"])
    address = options.pop("scheduler")
    with nullcontext() if address is None else connected(address) as executor:
        pipeline = pipeline_of(*sources, output=output, executor=executor, **options)
        run_pipeline(pipeline, **control)
    report = pipeline.folder / "results.txt"
    if not control["listed"] and report.is_file():
        click.echo(report.read_text(encoding="utf-8"), nl=False)
        click.echo(f"wrote {pipeline.folder}")
