"""The command line: each command calls one function of the library and writes or prints what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.archives import fetch
from batx.commands.calibration import calibrate, calibration
from batx.commands.glitches import glitches
from batx.commands.missions import nustar, xmm, xrt
from batx.commands.options import EXISTING, NEW, Edges, result_options, source_options
from batx.commands.pipelines import run
from batx.commands.products import dataset_info, product
from batx.commands.questions import find
from batx.commands.rates import trigger
from batx.commands.screen import Commands, console, debug_option, progress, sheet, table
from batx.commands.sky import image, mosaic
from batx.commands.spectra import fit, limit, response
from batx.commands.survey import survey
from batx.commands.timing import duration
from batx.errors import BatxError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batx", message="batx %(version)s")
def main() -> None:
    """Swift/BAT gamma-ray data: from event files to light curves, spectra, images of the sky and mosaics.

    SOURCE is an event file or the directory of an observation. Times are mission elapsed time (MET) in
    seconds, energies keV, angles degrees. Each command has its own --help.
    """


main.params.append(debug_option())
main.add_command(image)
main.add_command(mosaic)
main.add_command(duration)
main.add_command(trigger)
main.add_command(fit)
main.add_command(limit)
main.add_command(response)
main.add_command(glitches)
main.add_command(calibrate)
main.add_command(calibration)
main.add_command(xrt)
main.add_command(nustar)
main.add_command(xmm)
main.add_command(run)
main.add_command(fetch)
main.add_command(find)
main.add_command(survey)


@main.command()
@click.argument("path", type=EXISTING)
def info(path: Path) -> None:
    """Say what a file or an observation directory holds."""
    import batx
    from batx.io.store import is_store

    if path.is_dir() and not is_store(path):
        _observation_info(batx.open_observation(path))
        return
    dataset_info(batx.open_dataset(path), path.name)
    tree = batx.open_datatree(path)
    if len(tree.children) > 1:
        _node_table(tree, "also in the file")


def _node_table(tree: xr.DataTree, title: str, files: bool = False) -> None:
    """List the parts of a tree, one a line, and the files they come from."""
    from batx.schema import identify
    from batx.summary import sizes

    rows = []
    for node in tree.subtree:
        if node.has_data:
            ds = node.to_dataset(inherit=False)
            source = [Path(str(ds.encoding.get("source", ""))).name] if files else []
            rows.append([node.path, identify(ds) or "unknown", sizes(ds), *source])
    sheet(title, ("part", "kind", "dimensions", *(["file"] if files else [])), rows)


def _observation_info(tree: xr.DataTree) -> None:
    from rich.text import Text

    from batx.summary import describe, describe_times

    root = tree.to_dataset()
    events = tree["events"].to_dataset() if "events" in tree.children else root
    rows = {"observation": str(tree.attrs.get("obs_id", "")), "object": str(tree.attrs.get("object", ""))}
    rows |= describe_times(events) | {"exposure": describe(events).get("exposure", "")}
    table({label: text for label, text in rows.items() if text}, "Observation")
    _node_table(tree, "", files=True)
    missing = tree.attrs.get("missing")
    if missing:
        lines = [f"  {line}" for line in str(missing).splitlines()]
        console().print(Text("\n".join(["missing:", *lines]), style="yellow"))


def _sequence(
    events: xr.Dataset, dt: float, tstart: Any = None, tstop: Any = None, t0: Any = None
) -> np.ndarray:
    """Return MET edges every `dt` seconds from `tstart` to `tstop`, by default those of the good time."""
    import numpy as np

    from batx.met import to_met

    start = to_met(tstart, events.attrs, t0) if tstart is not None else events["gti_start"].min()
    stop = to_met(tstop, events.attrs, t0) if tstop is not None else events["gti_stop"].max()
    return np.append(np.arange(float(start), float(stop) - 1e-6, dt), float(stop))


@main.command()
@source_options
@click.option(
    "--energy", type=Edges(), default="15,25,50,100,350", show_default=True, help="Band edges, keV."
)
@click.option("--dt", type=float, help="Width of the bins, s.  [default: 1, unless --snr is given]")
@click.option(
    "--snr", type=float, help="Bins that reach this signal-to-noise ratio; --dt is then the longest."
)
@result_options
def lightcurve(
    source: Path, energy: list[float], dt: float | None, snr: float | None, **options: Any
) -> None:
    """Bin events in time and energy bands.

    With --ra and --dec the events are mask-weighted for that position (rates are per fully illuminated
    detector); without, the weights of the file are used where it has them, and raw counts otherwise.
    """
    import batx

    binning = {"dt": 1.0 if dt is None and snr is None else dt, "snr": snr}
    chosen = {name: value for name, value in binning.items() if value is not None}

    def make(events: xr.Dataset, **limits: Any) -> xr.Dataset:
        return batx.lightcurve(events, energy=energy, **chosen, **limits)

    product(source, make, options)


@main.command()
@source_options
@click.option("--energy", type=Edges(), help="Channel edges, keV.  [default: the 80 BAT channels]")
@click.option("--dt", type=float, help="Make a sequence of spectra of this length, s.")
@result_options
def spectrum(source: Path, energy: list[float] | None, dt: float | None, **options: Any) -> None:
    """Bin events in energy channels, over the whole time or in a sequence.

    Positions and weights are as for the light curve.
    """
    import batx

    def make(events: xr.Dataset, detector_mask: xr.Dataset | None, **limits: Any) -> xr.Dataset:
        if dt is not None:
            limits = {"time": _sequence(events, dt, **limits)}
        return batx.spectrum(events, energy=energy, detector_mask=detector_mask, **limits)

    product(source, make, options)


@main.command()
@source_options
@click.option("--energy", type=Edges(), default="15,150", show_default=True, help="Band edges, keV.")
@click.option("--dt", type=float, help="Make a sequence of images of this length, s.")
@result_options
def dpi(source: Path, energy: list[float], dt: float | None, **options: Any) -> None:
    """Count events in each detector: detector-plane images, always unweighted."""
    import batx

    def make(events: xr.Dataset, **limits: Any) -> xr.Dataset:
        return batx.detector_plane(events, dt=dt, energy=energy, **limits)

    product(source, make, options)


@main.command()
@click.argument("folder", type=NEW)
@click.option(
    "--obsid", "obs_id", default="00012345000", show_default=True, help="Observation id, eleven digits."
)
@click.option("--duration", type=float, default=200.0, show_default=True, help="Length, s.")
@click.option("--trigger", type=float, help="Trigger and start of the burst, s.  [default: duration / 4]")
@click.option(
    "--ra", type=float, default=165.0, show_default=True, help="Right ascension of the burst, degrees."
)
@click.option("--dec", type=float, default=24.0, show_default=True, help="Declination of the burst, degrees.")
@click.option("--rate", type=float, default=0.4, show_default=True, help="Its peak, count/s per detector.")
@click.option("--background", type=float, default=0.25, show_default=True, help="count/s per detector.")
@click.option(
    "--pointing",
    type=(float, float, float),
    metavar="RA DEC ROLL",
    default=(150.0, 30.0, 40.0),
    show_default=True,
    help="Right ascension, declination and roll of the telescope, degrees.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same observation.")
@click.option("--overwrite", is_flag=True, help="Replace an observation that exists.")
def simulate(folder: Path, rate: float, ra: float, dec: float, background: float, **options: Any) -> None:
    """Write a simulated burst observation, in the archive's layout, into FOLDER."""
    from batx.simulate import Background, Fred, Source, observation

    with progress() as step:
        step(f"simulating {options['duration']:g} s")
        folder.mkdir(parents=True, exist_ok=True)
        options["trigger"] = options["duration"] / 4 if options["trigger"] is None else options["trigger"]
        pulse = Fred(options["trigger"], 1.0, 8.0)
        burst = Source(rate, ra=ra, dec=dec, light_curve=pulse, response="packaged", name="burst")
        target = options.pop("pointing")
        made = observation(folder, burst, Background(rate=background), target=target, **options)
    click.echo(f"wrote {made}")


@main.command()
@click.option("--offline", is_flag=True, help="Do not see whether the archive answers.")
def doctor(offline: bool) -> None:
    """Look at Python, packages, tools, calibration, network and folders; say what works and what to do."""
    from rich.text import Text

    from batx.doctor import findings

    screen = console()
    marks = {
        "ok": ("ok      ", "green"),
        "absent": ("absent  ", "yellow"),
        "broken": ("broken  ", "bold red"),
    }
    section, broken = "", 0
    for finding in findings(network=not offline):
        if finding.section != section:
            section = finding.section
            screen.print(Text(section, style="bold"))
        screen.print(
            Text.assemble("  ", marks[finding.status], (finding.name, "cyan"), f"  {finding.detail}")
        )
        if finding.remedy:
            screen.print(Text(f"          {finding.remedy}", style="dim"))
        broken += finding.status == "broken"
    if broken:
        raise BatxError(f"{broken} of these must be mended first")


@main.command()
@click.option(
    "--output", "-o", type=NEW, default="batx_demo", show_default=True, help="Folder for the results."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
def demo(output: Path, seed: int) -> None:
    """Simulate a burst in the archive's layout, analyse it, and leave files and pictures."""
    from time import perf_counter

    from batx.demo import STEPS, run

    begin = perf_counter()
    times: list[tuple[float, str]] = []
    with progress(STEPS) as advance:

        def step(text: str) -> None:
            times.append((perf_counter(), text))
            advance(text)

        done = run(output, step, seed)
    ends = [start for start, _ in times[1:]] + [perf_counter()]
    table(done.facts, "Simulated GRB")
    table(
        {text: f"{end - start:6.2f} s" for (start, text), end in zip(times, ends, strict=True)}, "Time spent"
    )
    table({"observation": str(done.observation), "products": f"{len(done.files)} files in {output}"}, "Files")
    for path in done.files:
        click.echo(f"  {path.name}")
    click.echo(f"Done in {perf_counter() - begin:.1f} s. Next: batx info {done.observation}")
