"""What commands say: results on the output; steps, warnings and errors, a line each, on the error stream."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from batx.errors import BatxError, BatxWarning

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Command", "Commands", "console", "debug_option", "progress", "say", "sheet", "table"]

_INTERRUPTED = 130


class Command(click.Command):
    """A command that also takes ``--debug``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(debug_option())


class Commands(click.Group):
    """Say in one line what went wrong; warnings too."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit with 1 after an error, with 130 when interrupted."""
        with warnings.catch_warnings():
            show = warnings.showwarning
            warnings.showwarning = lambda message, category, *where: (
                say(str(message), "yellow", "warning: ")
                if issubclass(category, BatxWarning)
                else show(message, category, *where)
            )
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                say("interrupted; files are complete or not there", "yellow")
                ctx.exit(_INTERRUPTED)
            except (BatxError, OSError) as error:
                if ctx.meta.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                    raise
                say(str(error), "red", "error: ")
                ctx.exit(1)


def debug_option() -> click.Option:
    """Return the option ``--debug``."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta["debug"] = True

    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error.",
    )


#: characters of a line where the output is no terminal
_SHEET = 120


def console(stderr: bool = False) -> Console:
    """Return the output, or the error stream."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def say(text: str, style: str, label: str = "") -> None:
    """Write a line to the error stream."""
    from rich.text import Text

    console(stderr=True).print(Text.assemble((label, f"bold {style}"), (text, style if not label else "")))


@contextmanager
def progress(total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Give a function that announces the next step on the error stream, with the time spent."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = [BarColumn(bar_width=24)] if total else []
    columns = (SpinnerColumn(), *bar, TextColumn("{task.description}"), TimeElapsedColumn())
    screen = console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=total)
        started = False

        def step(text: str) -> None:
            nonlocal started
            progress.update(task, description=text, advance=1 if started else 0)
            started = True

        yield step


def table(rows: dict[str, str], title: str = "") -> None:
    """Write labels and texts in two columns."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows.items():
        grid.add_row(label, Text(text))
    screen = console()
    if title:
        screen.print(Text(title, style="bold"))
    screen.print(grid)


def sheet(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table with a title and headings."""
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=None,
        pad_edge=False,
        collapse_padding=True,
        header_style="cyan",
        title=title or None,
        title_justify="left",
    )
    for heading in columns:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    screen = console()
    if not screen.is_terminal:
        screen.width = _SHEET
    screen.print(made)
