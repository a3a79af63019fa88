"""Whole analyses from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import EXISTING, NEW, Number, calibration_options, together
from batx.commands.screen import Command, console, progress, say, table
from batx.errors import BatxError

if TYPE_CHECKING:
    from batx.pipelines import Pipeline, Status

__all__ = ["run", "run_options", "run_pipeline"]

#: of a step that are shown
_NOTES = 8
_STYLES = {"done": "green", "skipped": "yellow", "failed": "red", "blocked": "red", "to do": "cyan"}

run_options = together(
    click.option("--output", "-o", type=NEW, help="Folder for the results.  [default: NAME-results]"),
    click.option("--from", "since", metavar="STEP", help="Do this step again, and all that follow from it."),
    click.option("--only", metavar="STEP", help="Do this step again, and only what it needs and is missing."),
    click.option("--list", "listed", is_flag=True, help="Show the steps and where they stand; do nothing."),
)


@click.command(cls=Command)
@click.argument("source")
@click.option("--ra", type=float, help="Right ascension of the burst, degrees (ICRS).")
@click.option("--dec", type=float, help="Declination of the burst, degrees (ICRS).")
@click.option(
    "--position",
    type=click.Choice(["bat", "xrt", "header", "blind"]),
    help="Whose position without --ra and --dec; blind: none, images only.  [default: the first there is]",
)
@click.option("--trigger", type=Number(), help="Trigger time: MET s or a UTC date.")
@click.option(
    "--foreground",
    type=(float, float),
    metavar="START STOP",
    help="Start and stop of the burst, s from the trigger.",
)
@click.option(
    "--background",
    type=(float, float),
    metavar="START STOP",
    help="Start and stop of the background before it.",
)
@click.option(
    "--snr", type=float, default=5.0, show_default=True, help="Spectra below so many sigma get a limit."
)
@click.option("--compat", type=click.Choice(["heasoft"]), help="The numbers of the tools.")
@click.option(
    "--engine",
    default="native",
    show_default=True,
    help="heasoft: by the tools of BAT where they have a counterpart; xspec: fits by XSPEC.",
)
@click.option("--figures/--no-figures", default=True, show_default=True, help="Whether to draw figures.")
@click.option("--failed", is_flag=True, help="SOURCE is the number of a failed trigger, to be put together.")
@click.option("--data", type=NEW, help="Directory of data, for an observation id.")
@click.option("--mirror", "mirrors", multiple=True, help="Root of the archive: https://, s3:// or a folder.")
@click.option("--offline", is_flag=True, help="Use what is in the directory of data, and fetch nothing.")
@calibration_options
@click.option("--gain-offset", type=EXISTING, help="Gain map or a folder of them, for uncalibrated events.")
@run_options
def run(source: str, output: Path | None, **options: Any) -> None:
    """Make all products of a burst: durations, light curves, spectra and fits, images, a report.

    SOURCE is an observation id, the directory of an observation, or an event file. What is there already is
    not made again, so the same command goes on after an interruption.
    """
    from batx.pipelines import events

    control = {name: options.pop(name) for name in ("since", "only", "listed")}
    options["mirrors"] = options["mirrors"] or None
    pipeline = events(source, output, **options)

    def result() -> None:
        report = pipeline.folder / "result.txt"
        if report.is_file():
            click.echo(report.read_text(encoding="utf-8"), nl=False)
            click.echo(f"wrote {pipeline.folder}")

    run_pipeline(pipeline, **control, result=result)


def run_pipeline(
    pipeline: Pipeline,
    since: str | None,
    only: str | None,
    listed: bool,
    result: Callable[[], None] = lambda: None,
) -> None:
    """Run a pipeline with progress on the error stream, or list its steps.

    Parameters
    ----------
    pipeline
        To be run.
    since, only, listed
        The options of `run_options`.
    result
        Tells what came out, when the steps are done, also if one failed.

    Raises
    ------
    BatxError
        At the end, if a step failed.
    """
    if listed:
        table({one.name: _described(one) for one in pipeline.status()}, str(pipeline.folder))
        return
    if only is not None and since is not None:
        raise click.UsageError("give --only or --from, not both")
    names = [only] if only is not None else []
    live = console(stderr=True).is_terminal
    width = max(14, *(len(step.name) + 2 for step in pipeline.steps))
    begin = perf_counter()
    running: set[str] = set()
    told: set[str] = set()
    lines: list[tuple[str, str]] = []
    blocked: dict[str, list[str]] = {}
    with progress() as announce:

        def show(one: Status) -> None:
            nonlocal begin
            if one.state == "running":
                running.add(one.name)
                announce(f"{one.name}: {one.reason}")
                return
            if one.name in running or one.state != "done":
                described = _described(one)
                cause, _, why = one.reason.partition(": ")
                if one.state == "blocked" and why in told:
                    blocked.setdefault(cause, []).append(one.name)
                    return
                if one.state == "skipped" and why in told:
                    described = f"{one.state}: {cause}"
                told.update((one.reason, why))
                text = f"{one.name:<{width}}{described}   {perf_counter() - begin:.1f} s"
                new = [(text, _STYLES.get(one.state, "")), *((line, "yellow") for line in _notes(one))]
                lines.extend(new)
                for line in new if not live else []:
                    say(*line)
            begin = perf_counter()

        found = pipeline.run(*names, since=since, redo=only is not None, progress=show)
    waiting = [
        (f"{'blocked':<{width}}{cause}: {', '.join(names)}", "red") for cause, names in blocked.items()
    ]
    for line in [*(lines if live else []), *waiting]:
        say(*line)
    if any(one.state == "done" for one in found if one.name != pipeline.steps[-1].name):
        result()  # else all that it could tell are the reasons above
    failed = [one.name for one in found if one.state == "failed"]
    if failed:
        raise BatxError(f"not done: {', '.join(failed)}; the reasons are above, and in the results")


def _notes(one: Status) -> list[str]:
    """Return the notes of a step, a line each; of many the first and how many more there are."""
    shown = [f"{'':<14}{' '.join(note.split())}" for note in one.notes[:_NOTES]]
    more = len(one.notes) - len(shown)
    return shown + ([f"{'':<14}and {more} more notes"] if more else [])


def _described(one: Status) -> str:
    return f"{one.state}: {one.reason}" if one.reason else one.state
