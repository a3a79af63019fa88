"""Bursts in raw rate files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import EXISTING, NewFile
from batx.commands.products import refuse_existing, write
from batx.commands.screen import Command, progress, sheet, table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["trigger"]

_PICTURES = (".png", ".pdf", ".svg")


@click.command(cls=Command)
@click.argument("files", type=EXISTING, nargs=-1, required=True)
@click.option("--false-rate", type=float, help="How often noise may trigger in the curve.  [default: 0.01]")
@click.option("--false-per-day", type=float, help="In place of it: false triggers in a day of exposure.")
@click.option("--longest", type=float, default=64.0, show_default=True, help="Longest timescale, s.")
@click.option("--ramps/--no-ramps", default=False, help="Search ramps of the background as well.")
@click.option("--output", "-o", type=NewFile(".nc", ".zarr"), help="Table of triggers; .nc or .zarr.")
@click.option("--plot", "-p", type=NewFile(*_PICTURES), help="Picture to write; .png, .pdf or .svg.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def trigger(
    files: tuple[Path, ...],
    ramps: bool,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    **limits: Any,
) -> None:
    """Search raw light curves for bursts, on all timescales and bands.

    FILES are rate files (brtms, brt1s) or other raw light curves with the same bins and bands; several are
    joined. Steep ramps, as near the South Atlantic Anomaly, are left out.
    """
    import batx

    refuse_existing(overwrite, output, plot)
    with progress() as step:
        step(f"opening {len(files)} file(s)")
        lc = batx.join_lightcurves(*files)
        bounds = lc["time_bnds"].values
        quiet = None
        if not ramps and (steep := batx.ramps(lc)).sizes["gti"]:
            quiet = batx.gti_complement(steep, float(bounds[0, 0]), float(bounds[-1, 1]))
        step("searching")
        found = batx.rate_trigger(lc, gti=quiet, **limits)
        written = [write(found, output, overwrite)] if output else []
        if plot:
            written.append(_draw(lc, found, plot, overwrite))
    if found.sizes["trigger"]:
        sheet("", _HEADINGS, _rows(found))
    skipped = float(lc["exposure"].sum()) - found.attrs["searched"]
    facts = {
        "triggers": f"{found.sizes['trigger']}",
        "threshold": f"{found.attrs['threshold']:.2f} sigma",
        "searched": f"{found.attrs['searched']:.0f} s; {skipped:.0f} s without a background or in ramps",
    }
    table(facts)
    for path in written:
        click.echo(f"wrote {path}")


_HEADINGS = ("MET", "UTC", "timescale", "band", "excess", "snr", "false alarms")


def _rows(found: xr.Dataset) -> list[list[str]]:
    """Return a line of text for each trigger."""
    from batx.met import met_to_utc

    rows = []
    for k in range(found.sizes["trigger"]):
        one = {
            name: float(found[name][k])
            for name in map(str, found.data_vars)
            if found[name].dims == ("trigger",)
        }
        utc = str(met_to_utc(one["start"], attrs=found.attrs))[:19] if "utcf" in found.attrs else ""
        rows.append(
            [
                f"{one['start']:.3f}",
                utc,
                f"{one['timescale']:.4g} s",
                f"{one['energy_low']:g}-{one['energy_high']:g} keV",
                f"{one['counts'] - one['background']:.0f}",
                f"{one['snr']:.1f}",
                f"{one['false_alarm_probability']:.1e}",
            ]
        )
    return rows


def _draw(lc: xr.Dataset, found: xr.Dataset, path: Path, overwrite: bool) -> Path:
    """Draw the curve with its triggers."""
    from batx.plots.page import save
    from batx.plots.triggers import plot_triggers

    def draw(ds: xr.Dataset, page: Any) -> None:
        plot_triggers(ds, found, None, page)

    return save(lc, path, overwrite=overwrite, draw=draw)
