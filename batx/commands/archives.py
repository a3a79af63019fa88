"""Data from the archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import NEW
from batx.commands.screen import Command, console, progress, sheet
from batx.errors import FileFormatError

if TYPE_CHECKING:
    from batx.archive import Plan

__all__ = ["fetch"]

_MISSIONS = ("swift", "nustar", "xmm")


@click.command(cls=Command)
@click.argument("observations", nargs=-1, required=True)
@click.option("--mission", type=click.Choice(_MISSIONS), default="swift", show_default=True, help="Mission.")
@click.option(
    "--instrument",
    "-i",
    "instruments",
    multiple=True,
    help="Folder of an observation; several are possible.  [default for Swift: bat, auxil, tdrss]",
)
@click.option(
    "--match", multiple=True, help="Pattern of file names, such as '*bevsh*'; several are possible."
)
@click.option(
    "--data",
    type=NEW,
    help="Data directory.  [default: $BATX_DATA, or data in the configuration, or a folder of the user]",
)
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    help="Root of the archive: https://, s3:// or a folder; several are tried in order.",
)
@click.option(
    "--trigger", is_flag=True, help="OBSERVATIONS are numbers of on-board triggers, also failed ones."
)
@click.option(
    "--quicklook/--no-quicklook", default=True, help="Look for quick-look data of new observations."
)
@click.option("--offline", is_flag=True, help="Only see whether the data are there.")
@click.option("--overwrite", is_flag=True, help="Replace files that differ from those in the archive.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched.")
@click.option(
    "--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at a time."
)
def fetch(
    observations: tuple[str, ...],
    mission: str,
    instruments: tuple[str, ...],
    match: tuple[str, ...],
    data: Path | None,
    mirrors: tuple[str, ...],
    trigger: bool,
    quicklook: bool,
    offline: bool,
    overwrite: bool,
    dry_run: bool,
    connections: int,
) -> None:
    """Fetch observations from the archive into the data directory.

    OBSERVATIONS are observation ids, or a table (.csv) of `batx find`. What is there is not fetched again;
    when interrupted, the same command goes on.
    """
    from batx import archive
    from batx.transfer import Limits

    wanted = _wanted(observations)
    limits = Limits(connections=connections)
    common: dict[str, Any] = {
        "data": data,
        "mirrors": mirrors or None,
        "quicklook": quicklook,
        "limits": limits,
    }
    with progress() as step:
        if trigger:
            made = archive.plan_triggers(wanted, offline=offline, step=step, **common)
        else:
            made = archive.plan(
                wanted,
                mission=mission,
                instruments=instruments or None,
                match=match or None,
                offline=offline,
                overwrite=overwrite,
                step=step,
                **common,
            )
    _show(made)
    if dry_run:
        return
    with _bar(made) as advance:
        made.fetch(advance)
    folders = list(dict.fromkeys(made.folders.values()))
    if trigger:
        with progress() as step:
            for number in made.folders:
                step(f"fetching what is near trigger {number}")
                folders.append(archive.fetch_trigger(number, offline=offline, **common))
    for folder in folders if made.left or trigger else []:
        click.echo(f"wrote {folder}")


def _wanted(observations: tuple[str, ...]) -> Any:
    """Return ids, or the rows of a table that have one."""
    tables = [name for name in observations if name.lower().endswith(".csv")]
    if not tables:
        return observations
    if len(observations) > 1:
        raise click.UsageError("give one table, or ids")
    import pandas as pd

    try:
        table = pd.read_csv(tables[0], dtype={"obsid": str})
    except ValueError as error:  # what pandas cannot parse, or is no text
        raise FileFormatError(f"{tables[0]}: found no table of `batx find`: {error}") from error
    return table[table["obsid"].notna()] if "obsid" in table else table


def _show(made: Plan) -> None:
    """Say what there is and what is to be fetched."""
    rows = []
    for obs_id, folder in made.folders.items():
        files = [file for file in made.files if file.obs_id == obs_id]
        left = [file for file in made.left if file.obs_id == obs_id]
        kind = "quick-look" if obs_id in made.quicklook else ""
        size = sum(file.size or 0 for file in left)
        rows.append([obs_id, kind, str(len(files)), str(len(left)), f"{size / 1e6:.1f} MB", str(folder)])
    sheet("", ("observation", "", "files", "to fetch", "size", "folder"), rows)


@contextmanager
def _bar(made: Plan) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show how many bytes of how many are there."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    screen = console(stderr=True)
    columns = (BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    arrived: dict[str, int] = {}
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as shown:
        task = shown.add_task("", total=made.size or None)

        def advance(name: str, done: int, total: int | None) -> None:
            arrived[name] = done
            shown.update(task, completed=sum(list(arrived.values())))

        yield advance
