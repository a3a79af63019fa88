"""The command line: each command calls one function of the library and writes or prints what it gives."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.errors import BatxError, BatxWarning, MissingFileError, WriteError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from rich.console import Console

__all__ = ["main"]

_FITS_SUFFIXES = (".fits", ".fit", ".lc", ".pha", ".pi", ".dpi", ".dph", ".gz")
_PICTURE_SUFFIXES = (".png", ".pdf", ".svg")
_INTERRUPTED = 130


class _Number(click.ParamType):
    """Seconds, or an instant (ISO date, or the word ``trigger``)."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        try:
            return float(value)
        except ValueError:
            return str(value)


class _Edges(click.ParamType):
    """Increasing numbers separated by commas."""

    name = "keV,keV,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        if isinstance(value, list):
            return value
        try:
            edges = [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(
                f"found {value!r}, expected numbers separated by commas, for example 15,25,50", param, ctx
            )
        if len(edges) < 2:
            self.fail(f"found {value!r}, expected at least two edges", param, ctx)
        return edges


class _NewFile(click.Path):
    """A file to be written, whose suffix says what it will hold."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        path = Path(value)
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"found suffix '{path.suffix}', expected one of {', '.join(self.suffixes)}", param, ctx)
        return path


class _Command(click.Command):
    """A command that also takes ``--debug``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(_debug_option())


class _Commands(click.Group):
    """Say in one line what went wrong; warnings too."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            show = warnings.showwarning
            warnings.showwarning = lambda message, category, *where: (
                _say(str(message), "yellow", "warning: ")
                if issubclass(category, BatxWarning)
                else show(message, category, *where)
            )
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                _say("interrupted; files are complete or not there", "yellow")
                ctx.exit(_INTERRUPTED)
            except (BatxError, OSError) as error:
                if ctx.meta.get("debug") or getattr(error, "errno", None) == errno.EPIPE:
                    raise
                _say(str(error), "red", "error: ")
                ctx.exit(1)


def _debug_option() -> click.Option:
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


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def _say(text: str, style: str, label: str = "") -> None:
    from rich.text import Text

    _console(stderr=True).print(Text.assemble((label, f"bold {style}"), (text, style if not label else "")))


@contextmanager
def _progress(total: int | None = None) -> Iterator[Callable[[str], None]]:
    """Give a function that announces the next step on the error stream, with the time spent."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = [BarColumn(bar_width=24)] if total else []
    columns = (SpinnerColumn(), *bar, TextColumn("{task.description}"), TimeElapsedColumn())
    console = _console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        started = False

        def step(text: str) -> None:
            nonlocal started
            progress.update(task, description=text, advance=1 if started else 0)
            started = True

        yield step


def _table(rows: dict[str, str], title: str = "") -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows.items():
        grid.add_row(label, Text(text))
    console = _console()
    if title:
        console.print(Text(title, style="bold"))
    console.print(grid)


def _together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_existing = click.Path(exists=True, path_type=Path)
_new = click.Path(path_type=Path)

_source_options = _together(
    click.argument("source", type=_existing),
    click.option("--ra", type=float, help="Right ascension of the source, degrees (ICRS)."),
    click.option("--dec", type=float, help="Declination of the source, degrees (ICRS)."),
    click.option("--tstart", type=_Number(), help="Start: MET s, a UTC date, or s from --t0."),
    click.option("--tstop", type=_Number(), help="End: MET s, a UTC date, or s from --t0."),
    click.option(
        "--t0", type=_Number(), help="Origin of --tstart and --tstop: MET s, a UTC date, or 'trigger'."
    ),
    click.option(
        "--calibration", type=_existing, help="Folder with mask and alignment files, for a directory."
    ),
    click.option("--attitude", type=_existing, help="Attitude file."),
    click.option("--aperture", type=_existing, help="Coded mask (aperture) file."),
    click.option("--teldef", type=_existing, help="Telescope definition (alignment) file."),
    click.option("--detector-mask", type=_existing, help="Detector mask file: which detectors are good."),
)
_result_options = _together(
    click.option(
        "--output",
        "-o",
        type=_NewFile(".nc", ".zarr", *_FITS_SUFFIXES),
        help="File to write; .nc, .zarr, or .fits/.lc/.pha/.dpi (OGIP FITS).",
    ),
    click.option(
        "--plot", "-p", type=_NewFile(*_PICTURE_SUFFIXES), help="Picture to write; .png, .pdf or .svg."
    ),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="batx", message="batx %(version)s")
def main() -> None:
    """Swift/BAT gamma-ray data: light curves, spectra and detector images from event files.

    SOURCE is an event file or the directory of an observation. Times are mission elapsed time (MET) in
    seconds, energies keV, angles degrees. Each command has its own --help.
    """


main.params.append(_debug_option())


@main.command()
@click.argument("path", type=_existing)
def info(path: Path) -> None:
    """Say what a file or an observation directory holds."""
    import batx
    from batx.io.store import is_store

    if path.is_dir() and not is_store(path):
        _observation_info(batx.open_observation(path))
        return
    _dataset_info(batx.open_dataset(path), path.name)
    tree = batx.open_datatree(path)
    if len(tree.children) > 1:
        _node_table(tree, "also in the file")


def _dataset_info(ds: xr.Dataset, title: str) -> None:
    from batx.summary import describe

    _table(describe(ds), title)


def _node_table(tree: xr.DataTree, title: str, files: bool = False) -> None:
    """List the parts of a tree, one a line, and the files they come from."""
    from rich.table import Table
    from rich.text import Text

    from batx.schema import identify
    from batx.summary import sizes

    table = Table(box=None, pad_edge=False, header_style="cyan", title=title or None, title_justify="left")
    for heading in ("part", "kind", "dimensions", *(["file"] if files else [])):
        table.add_column(heading, overflow="fold")
    for node in tree.subtree:
        if node.has_data:
            ds = node.to_dataset(inherit=False)
            source = [Path(str(ds.encoding.get("source", ""))).name] if files else []
            table.add_row(node.path, identify(ds) or "unknown", *map(Text, [sizes(ds), *source]))
    _console().print(table)


def _observation_info(tree: xr.DataTree) -> None:
    from rich.text import Text

    from batx.summary import describe, describe_times

    root = tree.to_dataset()
    events = tree["events"].to_dataset() if "events" in tree.children else root
    rows = {"observation": str(tree.attrs.get("obs_id", "")), "object": str(tree.attrs.get("object", ""))}
    rows |= describe_times(events) | {"exposure": describe(events).get("exposure", "")}
    _table({label: text for label, text in rows.items() if text}, "Observation")
    _node_table(tree, "", files=True)
    missing = tree.attrs.get("missing")
    if missing:
        lines = [f"  {line}" for line in str(missing).splitlines()]
        _console().print(Text("\n".join(["missing:", *lines]), style="yellow"))


def _events(
    source: Path, step: Callable[[str], None], **options: Any
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the events of a file or observation, weighted if a position is given, and the detector mask."""
    import batx

    ra, dec = options["ra"], options["dec"]
    if (ra is None) != (dec is None):
        raise click.UsageError("give both --ra and --dec, or neither")
    if options["calibration"] is not None and not source.is_dir():
        raise click.UsageError("--calibration is for a directory; give --aperture and --teldef with a file")
    step(f"opening {source.name}")
    nodes: dict[str, xr.Dataset] = {}
    if source.is_dir():
        tree = batx.open_observation(source, calibration=options["calibration"])
        nodes = {name: node.to_dataset() for name, node in tree.children.items() if node.has_data}
    for name, key in (
        ("attitude", "attitude"),
        ("aperture", "aperture"),
        ("alignment", "teldef"),
        ("detector_mask", "detector_mask"),
    ):
        if options[key] is not None:
            nodes[name] = batx.open_dataset(options[key])
    events = nodes.get("events") if source.is_dir() else batx.open_dataset(source)
    if events is None:
        raise MissingFileError(f"{source}: found no event file (bat/event/*.evt*) in the observation")
    mask = nodes.get("detector_mask")
    if ra is not None:
        for name, remedy in (("attitude", "--attitude"), ("aperture", "--aperture or --calibration")):
            if name not in nodes:
                raise MissingFileError(
                    f"mask weights need the {name}: found none for {source}; give {remedy}"
                )
        step(f"mask weights of {events.sizes.get('event', 0)} events")
        frame = {name: nodes.get(name) for name in ("attitude", "aperture", "detector_mask", "alignment")}
        events = batx.mask_weight(events, ra, dec, **frame)
    elif "mask_weight" in events and not events["mask_weight"].any():
        events = events.drop_vars("mask_weight")
    return events, mask


def _finish(ds: xr.Dataset, output: Path | None, plot: Path | None, overwrite: bool, step: Any) -> list[Path]:
    """Write what was asked for; return the files."""
    import batx

    ds = ds.compute()
    written = []
    if output is not None:
        step(f"writing {output.name}")
        writers = {".nc": batx.to_netcdf, ".zarr": batx.to_zarr}
        write = writers.get(output.suffix.lower(), batx.to_fits)
        write(ds, output, overwrite=overwrite)
        written.append(output)
    if plot is not None:
        from batx.plots.page import save

        step(f"drawing {plot.name}")
        written.append(save(ds, plot, overwrite=overwrite))
    return written


def _product(source: Path, make: Callable[..., xr.Dataset], options: dict[str, Any]) -> None:
    """Open, weight, make the product, write it and say what it is."""
    results = {name: options.pop(name) for name in ("output", "plot", "overwrite")}
    for path in (results["output"], results["plot"]):
        if path is not None and path.exists() and not results["overwrite"]:
            raise WriteError(f"{path} exists; give --overwrite to replace it, or choose another name")
    with _progress() as step:
        events, mask = _events(source, step, **options)
        step("binning")
        limits = {name: options[name] for name in ("tstart", "tstop", "t0") if options[name] is not None}
        product = make(events, detector_mask=mask, **limits)
        written = _finish(product, **results, step=step)
    _dataset_info(product, source.name)
    for path in written:
        click.echo(f"wrote {path}")


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
@_source_options
@click.option(
    "--energy", type=_Edges(), default="15,25,50,100,350", show_default=True, help="Band edges, keV."
)
@click.option("--dt", type=float, help="Width of the bins, s.  [default: 1, unless --snr is given]")
@click.option(
    "--snr", type=float, help="Bins that reach this signal-to-noise ratio; --dt is then the longest."
)
@_result_options
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

    _product(source, make, options)


@main.command()
@_source_options
@click.option("--energy", type=_Edges(), help="Channel edges, keV.  [default: the 80 BAT channels]")
@click.option("--dt", type=float, help="Make a sequence of spectra of this length, s.")
@_result_options
def spectrum(source: Path, energy: list[float] | None, dt: float | None, **options: Any) -> None:
    """Bin events in energy channels, over the whole time or in a sequence.

    Positions and weights are as for the light curve.
    """
    import batx

    def make(events: xr.Dataset, detector_mask: xr.Dataset | None, **limits: Any) -> xr.Dataset:
        if dt is not None:
            limits = {"time": _sequence(events, dt, **limits)}
        return batx.spectrum(events, energy=energy, detector_mask=detector_mask, **limits)

    _product(source, make, options)


@main.command()
@_source_options
@click.option("--energy", type=_Edges(), default="15,150", show_default=True, help="Band edges, keV.")
@click.option("--dt", type=float, help="Make a sequence of images of this length, s.")
@_result_options
def dpi(source: Path, energy: list[float], dt: float | None, **options: Any) -> None:
    """Count events in each detector: detector-plane images, always unweighted."""
    import batx

    def make(events: xr.Dataset, **limits: Any) -> xr.Dataset:
        return batx.detector_plane(events, dt=dt, energy=energy, **limits)

    _product(source, make, options)


@main.command()
@click.argument("folder", type=_new)
@click.option("--obs-id", default="00012345000", show_default=True, help="Observation id, eleven digits.")
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
    default=(150.0, 30.0, 40.0),
    show_default=True,
    help="Right ascension, declination and roll of the telescope, degrees.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same observation.")
def simulate(folder: Path, rate: float, ra: float, dec: float, background: float, **options: Any) -> None:
    """Write a simulated burst observation, in the archive's layout, into FOLDER."""
    from batx.simulate import Background, Fred, Source, observation

    with _progress() as step:
        step(f"simulating {options['duration']:g} s")
        folder.mkdir(parents=True, exist_ok=True)
        options["trigger"] = options["duration"] / 4 if options["trigger"] is None else options["trigger"]
        pulse = Fred(options["trigger"], 1.0, 8.0)
        burst = Source(rate, ra=ra, dec=dec, light_curve=pulse, name="burst")
        target = options.pop("pointing")
        made = observation(folder, burst, Background(rate=background), target=target, **options)
    click.echo(f"wrote {made}")


@main.command()
def doctor() -> None:
    """Look at Python, packages, optional tools, calibration and folders; say what works and what to do."""
    from rich.text import Text

    from batx.doctor import findings

    console = _console()
    marks = {
        "ok": ("ok      ", "green"),
        "absent": ("absent  ", "yellow"),
        "broken": ("broken  ", "bold red"),
    }
    section, broken = "", 0
    for finding in findings():
        if finding.section != section:
            section = finding.section
            console.print(Text(section, style="bold"))
        console.print(
            Text.assemble("  ", marks[finding.status], (finding.name, "cyan"), f"  {finding.detail}")
        )
        if finding.remedy:
            console.print(Text(f"          {finding.remedy}", style="dim"))
        broken += finding.status == "broken"
    if broken:
        raise BatxError(f"{broken} of these must be mended first")
    click.echo("\nNative analysis works: events to light curves, spectra and detector images.")


@main.command()
@click.option(
    "--output", "-o", type=_new, default="batx_demo", show_default=True, help="Folder for the results."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
def demo(output: Path, seed: int) -> None:
    """Simulate a burst in the archive's layout, analyse it, and leave files and pictures."""
    from time import perf_counter

    from batx.demo import STEPS, run

    begin = perf_counter()
    times: list[tuple[float, str]] = []
    with _progress(STEPS) as advance:

        def step(text: str) -> None:
            times.append((perf_counter(), text))
            advance(text)

        done = run(output, step, seed)
    ends = [start for start, _ in times[1:]] + [perf_counter()]
    _table(done.facts, "Simulated GRB")
    _table(
        {text: f"{end - start:6.2f} s" for (start, text), end in zip(times, ends, strict=True)}, "Time spent"
    )
    _table(
        {"observation": str(done.observation), "products": f"{len(done.files)} files in {output}"}, "Files"
    )
    for path in done.files:
        click.echo(f"  {path.name}")
    click.echo(f"Done in {perf_counter() - begin:.1f} s. Next: batx info {done.observation}")
