"""When a burst happened and how long it lasted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.options import Edges, result_options, source_options
from batx.commands.products import limits_of, refuse_existing, weighted, write
from batx.commands.screen import Command, progress, table
from batx.errors import KindError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["duration"]


@click.command(cls=Command)
@source_options
@click.option("--energy", type=Edges(), default="15,350", show_default=True, help="Edges of the band, keV.")
@click.option("--dt", type=float, default=0.064, show_default=True, help="Width of the bins of events, s.")
@click.option("--background/--no-background", default=None, help="Subtract a line.  [default: for counts]")
@click.option("--prior", type=float, help="What each block costs.  [default: 6]")
@click.option("--false-rate", type=float, help="In place of --prior: how often noise may give a block.")
@click.option("--txx", type=float, multiple=True, help="A further duration, per cent; may be repeated.")
@click.option("--peak", type=float, default=1.0, show_default=True, help="Length of the peak interval, s.")
@click.option(
    "--method",
    type=click.Choice(["tool", "bootstrap", "pulses"]),
    default="tool",
    show_default=True,
    help="How errors are found; pulses count the faint tail too.",
)
@click.option("--compat", type=click.Choice(["heasoft"]), help="Behave as battblocks.")
@result_options
def duration(source: Path, energy: list[float], dt: float, method: str, **options: Any) -> None:
    """Find the blocks of constant rate of a burst, and its T90, T50, T100 and peak.

    SOURCE is a light curve, an event file or the directory of an observation. The output is the table of
    durations (.nc, .zarr), or the intervals as good time (.fits).
    """
    import batx

    results = {name: options.pop(name) for name in ("output", "plot", "overwrite")}
    refuse_existing(results["overwrite"], results["output"], results["plot"])
    with progress() as step:
        step(f"opening {source.name}")
        lc = _light_curve(source, energy, dt, step, options)
        how = {name: options[name] for name in ("prior", "false_rate", "compat")}
        subtract = options["background"]
        subtract = lc.attrs.get("weighting") == "none" if subtract is None else subtract
        step("dividing into blocks")
        blocks = batx.bayesian_blocks(lc, **how)
        step("durations")
        found = batx.duration(
            lc,
            blocks=blocks,
            background=subtract,
            peak=options["peak"],
            txx=options["txx"],
            method=method,
            compat=how["compat"],
        )
        written = _write(lc, found, blocks, subtract, **results)
    table(summary(found), source.name)
    for path in written:
        click.echo(f"wrote {path}")


def _light_curve(
    source: Path, energy: list[float], dt: float, step: Any, options: dict[str, Any]
) -> xr.Dataset:
    """Return a light curve with one band."""
    import batx

    if not source.is_dir():
        ds = batx.open_dataset(source)
        if batx.identify(ds) == "lightcurve":
            return _one_band(ds)
    parts = weighted(source, step, options)
    step("binning")
    ends = [energy[0], energy[-1]]
    return batx.lightcurve(
        parts["events"], dt=dt, energy=ends, detector_mask=parts.get("detector_mask"), **limits_of(options)
    )


def _one_band(lc: xr.Dataset) -> xr.Dataset:
    """Return a light curve with its bands summed."""
    import batx

    if "source" in lc.dims:
        raise KindError("the light curve has several sources; select one in Python: lc.isel(source=0)")
    if lc.sizes.get("energy", 1) == 1:
        return lc
    bounds = lc["energy_bnds"].values
    return batx.rebin_energy(lc, [float(bounds.min()), float(bounds.max())])


def summary(found: xr.Dataset) -> dict[str, str]:
    """Return durations and intervals to be read by a person, times from the trigger if there is one."""
    trigger = found.attrs.get("trigger_time", 0.0)
    value = {name: float(found[name]) for name in map(str, found.data_vars) if not found[name].dims}

    def ends(name: str) -> str:
        return f"{value[f'{name}_start'] - trigger:.3f} to {value[f'{name}_stop'] - trigger:.3f} s"

    names = [name.removesuffix("_err") for name in value if name.startswith("t") and name.endswith("_err")]
    rows = {
        name.upper(): f"{value[name]:.3f} +- {value[f'{name}_err']:.3f} s, {ends(name)}" for name in names
    }
    return rows | {
        "T100": f"{value['t100']:.3f} s, {ends('t100')}",
        "peak": ends("peak"),
        "fluence": f"{value['fluence']:.5g} +- {value['fluence_err']:.2g} count",
        "best signal-to-noise": f"{value['window_snr']:.1f}, {ends('window')}",
        "blocks": f"{value['n_blocks']:.0f}",
        "times": f"from the trigger, MET {trigger:.3f}" if trigger else "MET",
    }


def _write(
    lc: xr.Dataset,
    found: xr.Dataset,
    blocks: xr.Dataset,
    background: bool,
    *,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
) -> list[Path]:
    """Write what was asked for; return the files."""
    import batx

    written = []
    if output is not None:
        table_only = output.suffix.lower() in (".nc", ".zarr")
        written.append(write(found if table_only else batx.duration_gti(found), output, overwrite))
    if plot is not None:
        from batx.plots.duration import plot_duration
        from batx.plots.page import save

        def draw(ds: xr.Dataset, page: Any) -> None:
            plot_duration(ds, found, blocks, page, background=background)

        written.append(save(lc, plot, overwrite=overwrite, draw=draw))
    return written
