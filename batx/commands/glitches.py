"""Glitches of one or many observations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import NEW, NewFile, Number
from batx.commands.pipelines import run_pipeline
from batx.commands.products import refuse_existing
from batx.commands.screen import Command, progress, sheet, table
from batx.errors import MissingFileError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["glitches"]

_MOST = 20


@click.command(cls=Command)
@click.argument("sources", nargs=-1, type=NEW)
@click.option(
    "--output",
    "-o",
    type=NewFile(".zarr", ""),
    help="Store to write (.zarr), or folder for all results; what is in it is not searched again.",
)
@click.option("--guano", is_flag=True, help="Search the GUANO dumps from --since to --until; needs a folder.")
@click.option("--data", type=NEW, help="Directory of data, for observation ids and dumps.")
@click.option("--offline", is_flag=True, help="Use what is in the directory of data, and fetch nothing.")
@click.option("--since", type=Number(), help="Only observations that begin then or later: UTC date or MET s.")
@click.option("--until", type=Number(), help="Only observations that begin before: UTC date or MET s.")
@click.option("--max-observations", type=click.IntRange(1), help="Stop when so many have been searched.")
@click.option("--max-glitches", type=click.IntRange(1), help="Stop when so many have been found.")
@click.option(
    "--workers", type=click.IntRange(1), help="Files searched at the same time.  [default: processors]"
)
@click.option("--snr", type=float, help="Least significance.  [default: 8, or 10 with --compat]")
@click.option(
    "--min-score", type=float, default=0.5, show_default=True, help="Least score; 0 keeps bursts too."
)
@click.option("--compat", type=click.Choice(["batanalysis"]), help="Search by the public procedure.")
@click.option("--plot", "-p", type=NewFile(".png", ".pdf", ".svg"), help="Picture of the most significant.")
@click.option("--overwrite", is_flag=True, help="Replace the picture if it exists.")
def glitches(
    sources: tuple[Path, ...], output: Path | None, plot: Path | None, guano: bool, **options: Any
) -> None:
    """Find heat-pipe glitches: when they are, and their detector images.

    SOURCES are event files, directories of observations, or directories of many of these; with a folder for
    the results also observation ids, whose events are fetched. One dataset for all is written as it grows;
    when interrupted, the same command goes on.
    """
    import batx

    places = {name: options.pop(name) for name in ("data", "offline")}
    if output is not None and not output.suffix:
        _run(sources, output, plot, guano, options | places)
        return
    if guano:
        raise click.UsageError("--guano needs a folder for the results: -o FOLDER")
    missing = [str(source) for source in sources if not source.exists()]
    if missing or not sources:
        what = f"found no {missing[0]}" if missing else "found no SOURCES"
        raise click.UsageError(f"{what}; observation ids and --guano need a folder for the results (-o)")
    refuse_existing(options.pop("overwrite"), plot)
    files = batx.event_files(*sources, since=options.pop("since"), until=options.pop("until"))
    with tempfile.TemporaryDirectory() as folder, progress() as step:
        step("looking for event files")
        path = output or Path(folder) / "glitches.zarr"
        try:
            found = batx.glitch_catalog(files, path, progress=step, **options).load()
        except batx.errors.EmptySelectionError as error:
            raise MissingFileError(f"{', '.join(map(str, sources))}: {error}") from error
        if plot is not None and found.sizes["glitch"]:
            from batx.plots.page import save

            step(f"drawing {plot.name}")
            save(found, plot, overwrite=True)
    _print(found, sources)
    if output is not None:
        click.echo(f"wrote {output}")
    if plot is not None:
        click.echo(f"wrote {plot}" if found.sizes["glitch"] else "no glitch, no picture")


def _run(
    sources: tuple[Path, ...], output: Path, plot: Path | None, guano: bool, options: dict[str, Any]
) -> None:
    """Run the pipeline: list, search, report."""
    from batx.pipelines import glitches as pipeline_of_glitches

    since, until = options.pop("since"), options.pop("until")
    overwrite = options.pop("overwrite")
    most = [options.pop(name) for name in ("max_observations", "max_glitches")]
    if any(most) or plot is not None or overwrite:
        raise click.UsageError("--max-observations, --max-glitches, --plot and --overwrite are for a store")
    if (since is None) == guano or (until is None) == guano:
        raise click.UsageError("--guano, --since and --until belong together, where the output is a folder")
    span = (since, until) if guano else None
    run_pipeline(pipeline_of_glitches(output, *sources, time=span, **options), None, None, False)
    click.echo((output / "result.txt").read_text(encoding="utf-8"), nl=False)
    click.echo(f"wrote {output}")


def _print(found: xr.Dataset, sources: tuple[Path, ...]) -> None:
    """Write what was found, the most significant first."""
    hours = float(found["exposure"].sum()) / 3600.0
    n = found.sizes["glitch"]
    title = sources[0].name if len(sources) == 1 else f"{len(sources)} places"
    rows = {
        "observations": f"{found.sizes['observation']}, {3600 * hours:.0f} s of good time",
        "glitches": f"{n}, {n / hours:.3g} per hour" if hours else str(n),
        "time lost": f"{float((found['glitch_stop'] - found['glitch_start']).sum()):.2f} s",
    }
    table(rows, title)
    if not n:
        return
    order = (-found["snr_low"].values).argsort(kind="stable")[:_MOST]
    columns = ("obs_id", "MET (s)", "length (s)", "snr", "above 50 keV", "score")
    lines = []
    for i in order:
        row = found.isel(glitch=int(i))
        value = {
            name: float(row[name]) for name in ("glitch_start", "glitch_stop", "snr_low", "snr_high", "score")
        }
        lines.append(
            (
                str(row["obs_id"].item()),
                f"{value['glitch_start']:.3f}",
                f"{value['glitch_stop'] - value['glitch_start']:.3f}",
                f"{value['snr_low']:.1f}",
                f"{value['snr_high']:.1f}",
                f"{value['score']:.2f}",
            )
        )
    sheet(f"{n} glitches, the first {len(lines)}" if n > len(lines) else "", columns, lines)
