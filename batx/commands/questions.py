"""Questions to the archives: which observations, triggers and dumps of event data there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import NewFile, Number
from batx.commands.screen import Command, progress, say, sheet
from batx.errors import WriteError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find"]

_COLUMNS = (
    *("obsid", "trigger_time", "start", "name", "kind", "begin", "offset", "duration", "pointing"),
    *("bat_exposure", "xrt_exposure", "exposure_a", "exposure"),
    *("ra", "dec", "separation", "coded_fraction", "coded_exposure"),
)


@click.command(cls=Command)
@click.argument("position", required=False)
@click.option(
    "--what",
    type=click.Choice(("observations", "triggers", "guano")),
    default="observations",
    show_default=True,
    help="Observations, on-board triggers of BAT, or dumps of event data asked for from ground.",
)
@click.option(
    "--mission",
    type=click.Choice(("swift", "nustar", "xmm")),
    default="swift",
    show_default=True,
    help="Mission.",
)
@click.option("--radius", type=float, default=0.2, show_default=True, help="Degrees from POSITION.")
@click.option("--coded", type=float, help="Least coded fraction of POSITION in the field of BAT, 0 to 1.")
@click.option("--name", help="Name of the target; * for any characters.")
@click.option("--since", "first", type=Number(), help="First time: a UTC date, or MET s.")
@click.option("--until", "last", type=Number(), help="Last time: a UTC date, or MET s.")
@click.option("--obsid", "obs_ids", multiple=True, help="Observation id; several are possible.")
@click.option("--trigger", "numbers", multiple=True, help="Trigger number; several are possible.")
@click.option("--where", help="Further conditions, ADQL: 'bat_exposure > 1000'.")
@click.option("--limit", type=click.IntRange(min=1), default=10000, show_default=True, help="Most rows.")
@click.option("--output", "-o", type=NewFile(".csv"), help="Table to write, .csv; `batx fetch` takes it.")
@click.option("--overwrite", is_flag=True, help="Replace a table that exists.")
def find(
    position: str | None,
    what: str,
    first: Any,
    last: Any,
    obs_ids: tuple[str, ...],
    numbers: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Ask the archives which observations there are.

    POSITION is right ascension and declination in degrees ("83.63 22.01"), in hours and degrees
    ("05:34:32 +22:00:52"), or a name that CDS knows.
    """
    options["time"] = None if first is None and last is None else (first, last)
    options |= {"position": position, "obs_id": obs_ids or None, "trigger": numbers or None}
    if output is not None and output.exists() and not overwrite:  # before the question, which may take long
        raise WriteError(f"{output} exists; give --overwrite to replace it")
    with progress() as step:
        step(f"asking for {what}")
        table = _asked(what, options)
    _show(table)
    say(f"{len(table)} {what if what != 'guano' else 'dumps'}", "cyan")
    if output is not None:
        from batx.io.atomic import atomic_path

        with atomic_path(output, overwrite=overwrite) as path:
            table.to_csv(path, index=False)
        click.echo(f"wrote {output}")


#: options that are for one kind of question, besides those of time
_OWN = {
    "observations": ("position", "mission", "radius", "coded", "name", "obs_id", "where", "limit"),
    "triggers": ("trigger", "where", "limit"),
    "guano": ("limit",),
}


def _asked(what: str, options: dict[str, Any]) -> pd.DataFrame:
    """Return the answer; options that are for another question are refused."""
    from batx import archive

    context = click.get_current_context()
    for name in set().union(*_OWN.values()) - set(_OWN[what]):
        key = {"obs_id": "obs_ids", "trigger": "numbers"}.get(name, name)
        if context.get_parameter_source(key) == click.core.ParameterSource.COMMANDLINE:
            shown = name.upper() if name == "position" else f"--{name.replace('_', '')}"
            raise click.UsageError(f"{shown} is not for {what}")
    return getattr(archive, what)(time=options["time"], **{name: options[name] for name in _OWN[what]})


def _show(table: pd.DataFrame) -> None:
    """Write the columns that most people look at."""
    names = [name for name in _COLUMNS if name in table]
    sheet("", names, ([_text(row[name]) for name in names] for row in table.to_dict("records")))


def _text(value: Any) -> str:
    """Return a value as short as it may be read."""
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)[:19] if hasattr(value, "isoformat") else str(value)
