"""Images of the sky from events or detector images, and mosaics of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.computing import computing
from batx.commands.options import (
    EXISTING,
    FITS_SUFFIXES,
    NEW,
    STORE_SUFFIXES,
    Edges,
    NewFile,
    calibration_options,
    result_options,
    time_options,
    together,
)
from batx.commands.products import (
    dataset_info,
    limits_of,
    open_parts,
    refuse_existing,
    require_parts,
    write,
    write_results,
)
from batx.commands.screen import Command, progress, sheet
from batx.errors import EmptySelectionError, KindError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["image", "mosaic"]

_CLEANED = {"background": "bkgcleaned", "sources": "srccleaned", "all": "cleaned"}
_MAPS = ("snr", "flux", "flux_err", "exposure", "pcode_exposure", "n_images")

_detect_option = click.option("--detect", is_flag=True, help="Find sources and fit their positions.")
_snr_option = click.option(
    "--snr", type=float, default=6.0, show_default=True, help="Significance from which on a source is one."
)
_source_file = click.option(
    "--sources",
    type=NewFile(*STORE_SUFFIXES, *FITS_SUFFIXES, ".reg"),
    help="File for the sources found; .nc, .fits, or .reg (regions of ds9).",
)
_zoom_options = together(
    click.option(
        "--center",
        type=(float, float),
        metavar="RA DEC",
        help="Middle of the picture, degrees; with --radius a part of it.",
    ),
    click.option("--radius", type=float, help="Half the width of the picture, degrees."),
)


@click.command(cls=Command)
@click.argument("source", type=EXISTING)
@time_options
@calibration_options
@click.option("--energy", type=Edges(), help="Band edges of events, keV.  [default: 15,150]")
@click.option("--dt", type=float, help="Make a sequence of images of this length from events, s.")
@click.option(
    "--oversampling", type=click.IntRange(1, 16), default=2, show_default=True, help="Pixels to a detector."
)
@click.option(
    "--hot/--keep-hot",
    default=True,
    show_default=True,
    help="Leave out detectors that count far too much or too little.",
)
@click.option(
    "--clean",
    type=click.Choice(list(_CLEANED)),
    help="Fit a smooth background, and the sources of --catalog; take away one of them, or both.",
)
@click.option("--catalog", type=EXISTING, help="File of known sources (kind catalog).")
@_detect_option
@_snr_option
@_source_file
@_zoom_options
@result_options
def image(source: Path, **options: Any) -> None:
    """Make images of the sky, and find sources in them.

    SOURCE is an event file, a detector image or the directory of an observation. Rates are per fully
    illuminated detector.
    """
    results = {name: options[name] for name in ("output", "plot", "overwrite")}
    refuse_existing(options["overwrite"], options["output"], options["plot"], options["sources"])
    _require_center(options)
    if options["clean"] in ("sources", "all") and options["catalog"] is None:
        raise click.UsageError(f"--clean {options['clean']} needs --catalog, which says where sources are")
    with progress() as step:
        step(f"opening {source.name}")
        made, found = _image(source, step, options)
        picture: dict[str, Any] = {"catalog": found}
        if options["center"] is not None:
            picture |= {"center": options["center"], "radius": options["radius"] or 5.0}
        written = write_results(made, step, **results, **picture)
        if options["sources"] is not None and found is not None:
            step(f"writing {options['sources'].name}")
            written.append(write(found, options["sources"], options["overwrite"]))
    dataset_info(made, source.name)
    if found is not None:
        _print_sources(found)
    for path in written:
        click.echo(f"wrote {path}")


def _require_center(options: dict[str, Any]) -> None:
    if options["radius"] is not None and options["center"] is None:
        raise click.UsageError("give --center with --radius")


def _image(
    source: Path, step: Callable[[str], None], options: dict[str, Any]
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the images, and the sources if they are wanted."""
    import batx

    parts = open_parts(source, options)
    step("detector images")
    plane = _plane(parts, options).load()
    require_parts(parts, "aperture", task="a sky image")
    mask = parts.get("detector_mask")
    if options["hot"]:
        mask = batx.hot_pixels(plane, mask)
    known = None if options["catalog"] is None else batx.open_dataset(options["catalog"])
    frame = {name: parts.get(name) for name in ("attitude", "alignment")}
    frame |= {"aperture": parts["aperture"], "detector_mask": mask}
    if options["clean"] is not None:
        step("cleaning")
        plane = batx.clean(plane, known, version=_CLEANED[options["clean"]], **frame)
    step("images of the sky")
    made = batx.sky_image(plane, oversampling=options["oversampling"], **frame).compute()
    if not (options["detect"] or options["sources"] is not None):
        return made, None
    step("finding sources")
    return made, batx.detect(made, snr=options["snr"], catalog=known)


def _plane(parts: dict[str, xr.Dataset], options: dict[str, Any]) -> xr.Dataset:
    """Return the detector images: those of the file, or made of the events."""
    import batx

    limits = limits_of(options)
    if "events" in parts:
        return batx.detector_plane(
            parts["events"], dt=options["dt"], energy=options["energy"] or [15.0, 150.0], **limits
        )
    if "detector_plane" not in parts:
        raise KindError(
            f"image: found {', '.join(sorted(parts))}, expected events, a detector image or the directory of "
            "an observation"
        )
    if limits or options["energy"] or options["dt"]:
        raise click.UsageError(
            "--energy, --dt, --tstart and --tstop are for events; this is a detector image"
        )
    return parts["detector_plane"]


def _print_sources(catalog: xr.Dataset, most: int = 20) -> None:
    """Write sources as lines."""
    from batx.summary import describe_source

    number = catalog.sizes["source"]
    if not number:
        click.echo("no source found")
        return
    rows = [describe_source(catalog, i) for i in range(min(number, most))]
    title = f"{number} source{'' if number == 1 else 's'}" + (f", the first {most}" if number > most else "")
    sheet(title, list(rows[0]), [list(row.values()) for row in rows])


@click.command(cls=Command)
@click.argument("images", nargs=-1, type=EXISTING)
@click.option(
    "--events",
    type=EXISTING,
    help="Event file or observation: images of --step s of its slews, or from --tstart to --tstop, added up "
    "over windows of all lengths.",
)
@time_options
@calibration_options
@click.option(
    "--energy", type=Edges(), default="15,25,50,100,350", show_default=True, help="Bands, with --events."
)
@click.option(
    "--step", type=float, default=0.2, show_default=True, help="Length of images, s, with --events."
)
@click.option("--nside", type=click.IntRange(1), default=512, show_default=True, help="HEALPix resolution.")
@click.option("--frame", type=click.Choice(["icrs", "galactic"]), default="icrs", show_default=True)
@click.option(
    "--pcode-min",
    type=float,
    default=0.15,
    show_default=True,
    help="Least partial coding of pixels that count.",
)
@click.option("--time-bins", help="A map for each 'month', 'year' or number of seconds too.")
@click.option("--energy-sum", is_flag=True, help="Add a band more, the sum of all.")
@click.option("--resume", type=NEW, help="Folder of partial sums: what is in it is not computed again.")
@click.option(
    "--scheduler",
    help="Address of a dask scheduler, or 'threads'.  [default: processes here, if distributed is installed]",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes or threads.  [default: processors]"
)
@click.option("--catalog", type=EXISTING, help="File of known sources (kind catalog).")
@click.option(
    "--variable", type=click.Choice(_MAPS), default="snr", show_default=True, help="Map of the picture."
)
@_detect_option
@_snr_option
@_source_file
@_zoom_options
@result_options
def mosaic(images: tuple[Path, ...], events: Path | None, **options: Any) -> None:
    """Add up sky images on the sphere, or search the events of a slew.

    IMAGES are files of kind sky_image. Sums, flux, error and significance are written; mosaics of different
    images can be merged.
    """
    if bool(images) == (events is not None):
        raise click.UsageError("give sky images, or --events with an event file or observation")
    _require_center(options)
    refuse_existing(options["overwrite"], options["output"], options["plot"], options["sources"])
    results = {name: options[name] for name in ("output", "plot", "overwrite")}
    picture = {name: options[name] for name in ("variable", "center", "radius") if options[name] is not None}
    with progress() as step:
        if events is None:
            obj, shown, found = _mosaic(images, step, options)
        else:
            shown, found = _slew(events, step, options)
            obj = shown
        written = write_results(obj, step, **results, shown=shown, catalog=found, **picture)
        if options["sources"] is not None and found is not None:
            written.append(write(found, options["sources"], options["overwrite"]))
    dataset_info(shown, f"{len(images)} files" if events is None else events.name)
    if found is not None:
        _print_sources(found)
    for path in written:
        click.echo(f"wrote {path}")


def _mosaic(
    images: tuple[Path, ...], step: Callable[[str], None], options: dict[str, Any]
) -> tuple[Any, xr.Dataset, xr.Dataset | None]:
    """Return what is to be written, the sum of all images, and the sources in it or those that are known."""
    import xarray as xr

    import batx

    step(f"opening {len(images)} files")
    bins = options["time_bins"]
    sums = batx.mosaic(
        [path.absolute() for path in images],
        nside=options["nside"],
        frame=options["frame"],
        pcode_min=options["pcode_min"],
        energy_sum=options["energy_sum"],
        time_bins=bins if bins is None or bins in ("month", "year") else _seconds(bins),
        path=options["resume"],
    )
    tree = isinstance(sums, xr.DataTree)
    lazy = {name: node.to_dataset() for name, node in sums.children.items()} if tree else {"total": sums}
    with computing(options["scheduler"], options["workers"]) as compute:
        done = compute(list(lazy.values()), lambda part: step(f"adding up, {100 * part:.0f} %"))
    if not done[0]["n_images"].any():
        raise EmptySelectionError(
            f"mosaic: none of {len(images)} files has a pixel with finite flux, positive noise and a coding "
            f"above {options['pcode_min']:g}"
        )
    made = {name: batx.finalize(ds) for name, ds in zip(lazy, done, strict=True)}
    found = known = None if options["catalog"] is None else batx.open_dataset(options["catalog"])
    if options["detect"] or options["sources"] is not None:
        step("finding sources")
        found = batx.candidates(made["total"], options["snr"], catalog=known)
    return (xr.DataTree.from_dict(made) if tree else made["total"]), made["total"], found


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"--time-bins: found {text!r}, expected month, year or seconds") from None


def _slew(
    source: Path, step: Callable[[str], None], options: dict[str, Any]
) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the mosaic of the best window, and the best candidate of each place."""
    import batx
    from batx.summary import distinct

    step(f"opening {source.name}")
    parts = open_parts(source, options)
    require_parts(parts, "events", "attitude", "aperture", task="the search of a slew")
    limits = limits_of(options) or _slews(parts)
    step("searching the slew")
    tree = batx.slew_mosaic(
        parts["events"],
        step=options["step"],
        energy=options["energy"],
        nside=options["nside"],
        frame=options["frame"],
        pcode_min=options["pcode_min"],
        snr_min=options["snr"],
        **{name: parts.get(name) for name in ("attitude", "aperture", "alignment", "detector_mask")},
        **limits,
    )
    found = tree["candidates"].to_dataset().compute()
    seen = found["snr"].max("energy").values >= options["snr"]
    return batx.finalize(tree["best"].to_dataset()), distinct(found.isel(source=seen))


def _slews(parts: dict[str, xr.Dataset]) -> dict[str, Any]:
    """Return the good time of events in which the spacecraft slews, as an option; none if it does not."""
    import batx

    slews = batx.gti_intersection(batx.gti_of(parts["events"]), batx.gti_of_slews(parts["attitude"]))
    if not slews.sizes["gti"]:
        click.echo("no slew in the good time of the events: all of it is searched")
        return {}
    for start, stop in zip(slews["start"].values, slews["stop"].values, strict=True):
        click.echo(f"slew from MET {start:.1f} to {stop:.1f}, {stop - start:.1f} s")
    return {"gti": slews}
