"""Calibration files, and energies of events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batx.commands.options import EXISTING, FITS_SUFFIXES, STORE_SUFFIXES, NewFile, Number
from batx.commands.products import refuse_existing, write
from batx.commands.screen import Command, sheet, table

__all__ = ["calibrate", "calibration"]

_METHODS = ("fixeddac", "cubic", "quadratic", "linear", "directcubic")


@click.command(cls=Command)
@click.argument("purposes", nargs=-1)
@click.option("--time", type=Number(), help="For data of then: UTC date or MET s.  [default: newest files]")
@click.option("--fetch", is_flag=True, help="Fetch what is missing into the cache.")
@click.option("--caldb", help="Folder or URL of a database, in place of $CALDB.")
def calibration(purposes: tuple[str, ...], time: float | str | None, fetch: bool, caldb: str | None) -> None:
    """Say which calibration files would serve, or fetch them.

    PURPOSES are names such as aperture, alignment, pulser, clock; all if none is given. Files are looked for
    in $CALDB (a folder or URL) and in the cache ($BATX_CACHE); --fetch asks the URL, or else HEASARC.
    """
    import batx

    for name in purposes:
        batx.caldb.purpose_named(name)
    if fetch:
        batx.caldb.fetch(purposes or None, time, caldb=caldb)
    lines = [
        (name, text, "missing" if file is None else str(file.path), "" if file is None else file.valid_from)
        for name, text, file in batx.caldb.listing(time, caldb=caldb)
        if not purposes or name in purposes
    ]
    sheet("Calibration files", ("name", "what", "file", "from"), lines)
    click.echo(f"cache: {batx.caldb.cache_directory()}")
    if any(line[2] == "missing" for line in lines) and not fetch:
        click.echo("missing files come with: batx calibration --fetch")


@click.command(cls=Command)
@click.argument("source", type=EXISTING)
@click.option(
    "--output",
    "-o",
    type=NewFile(*STORE_SUFFIXES, *FITS_SUFFIXES, ".evt"),
    required=True,
    help="File to write.",
)
@click.option(
    "--gain-offset",
    type=EXISTING,
    multiple=True,
    help="Gain map, or folder with such; of several the nearest in time serves.",
)
@click.option("--calibration", type=EXISTING, help="Folder with pulser and residual maps.")
@click.option("--method", type=click.Choice(_METHODS), help="[default: what the residual file says]")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def calibrate(
    source: Path, output: Path, gain_offset: tuple[Path, ...], overwrite: bool, **options: Any
) -> None:
    """Work out the energies of events from their pulse heights.

    SOURCE is an event file or the directory of an observation, whose gain map then serves.
    """
    import batx
    from batx.provenance import calibration_of

    refuse_existing(overwrite, output)
    target = batx.open_observation(source) if source.is_dir() else batx.open_dataset(source)
    events = batx.calibrate_energy(target, list(gain_offset) or None, **options)
    good = int((events["pi"] >= 0).sum())
    rows = {
        "method": events.attrs["gainmeth"],
        "events": f"{events.sizes['event']}, {events.sizes['event'] - good} without an energy",
    }
    if "gain_offset_gap" in events.attrs:
        rows["gain map"] = f"{events.attrs['gain_offset_gap']:+.0f} s from the start of the events"
    rows |= {name: str(record.get("path", "")) for name, record in calibration_of(events).items()}
    table(rows, source.name)
    write(events, output, overwrite)
    click.echo(f"wrote {output}")
