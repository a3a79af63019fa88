"""From an event file or an observation to a product on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batx.commands.screen import progress, table
from batx.errors import MissingFileError, WriteError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "dataset_info",
    "limits_of",
    "open_parts",
    "product",
    "refuse_existing",
    "require_parts",
    "weighted",
    "write",
    "write_results",
]

_REMEDIES = {
    "attitude": "--attitude",
    "aperture": "--aperture or --calibration",
    "alignment": "--teldef or --calibration",
    "events": "a directory with an event file (bat/event/*.evt*), or the file itself",
}


def dataset_info(ds: xr.Dataset, title: str) -> None:
    """Say what a Dataset is."""
    from batx.summary import describe

    table(describe(ds), title)


def open_parts(source: Path, options: dict[str, Any]) -> dict[str, xr.Dataset]:
    """Return what is needed to analyse an event file, a detector image or an observation, by name.

    Parameters
    ----------
    source
        File (the part is then named as its kind) or directory.
    options
        Values of `calibration_options`; files named there go before those of the directory.
    """
    import batx

    if options["calibration"] is not None and not source.is_dir():
        raise click.UsageError("--calibration is for a directory; give --aperture and --teldef with a file")
    if source.is_dir():
        tree = batx.open_observation(source, calibration=options["calibration"])
        parts = {name: node.to_dataset() for name, node in tree.children.items() if node.has_data}
    else:
        ds = batx.open_dataset(source)
        parts = {batx.identify(ds) or "unknown": ds}
    for name, key in (
        ("attitude", "attitude"),
        ("aperture", "aperture"),
        ("alignment", "teldef"),
        ("detector_mask", "detector_mask"),
    ):
        if options[key] is not None:
            parts[name] = batx.open_dataset(options[key])
    return parts


def require_parts(parts: dict[str, xr.Dataset], *names: str, task: str) -> None:
    """Raise `MissingFileError` if a part is missing that a task needs."""
    for name in names:
        if name not in parts:
            raise MissingFileError(
                f"{task} needs the {name}: found {', '.join(sorted(parts))}; give {_REMEDIES[name]}"
            )


def limits_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the limits in time that were given."""
    return {name: options[name] for name in ("tstart", "tstop", "t0") if options[name] is not None}


def refuse_existing(overwrite: bool, *paths: Path | None) -> None:
    """Raise `WriteError` before any work is done, if a file is there that may not be replaced."""
    for path in paths:
        if path is not None and path.exists() and not overwrite:
            raise WriteError(f"{path} exists; give --overwrite to replace it, or choose another name")


def write(obj: Any, path: Path, overwrite: bool) -> Path:
    """Write a Dataset or tree in the form that the suffix names."""
    import batx

    writers: dict[str, Callable[..., Any]] = {
        ".nc": batx.to_netcdf,
        ".zarr": batx.to_zarr,
        ".reg": batx.to_region,
    }
    writers.get(path.suffix.lower(), batx.to_fits)(obj, path, overwrite=overwrite)
    return path


def write_results(
    obj: Any,
    step: Callable[[str], None],
    *,
    output: Path | None,
    plot: Path | None,
    overwrite: bool,
    shown: xr.Dataset | None = None,
    **picture: Any,
) -> list[Path]:
    """Write what was asked for; return the files.

    Parameters
    ----------
    obj
        Dataset or tree to write, and to draw unless `shown` is given.
    **picture
        Options of the picture.
    """
    written = []
    if output is not None:
        step(f"writing {output.name}")
        written.append(write(obj, output, overwrite))
    if plot is not None:
        from batx.plots.page import save

        step(f"drawing {plot.name}")
        written.append(save(obj if shown is None else shown, plot, overwrite=overwrite, **picture))
    return written


def product(source: Path, make: Callable[..., xr.Dataset], options: dict[str, Any]) -> None:
    """Open, weight, make the product, write it and say what it is."""
    results = {name: options.pop(name) for name in ("output", "plot", "overwrite")}
    refuse_existing(results["overwrite"], results["output"], results["plot"])
    with progress() as step:
        step(f"opening {source.name}")
        parts = weighted(source, step, options)
        step("binning")
        mask = parts.get("detector_mask")
        made = make(parts["events"], detector_mask=mask, **limits_of(options)).compute()
        written = write_results(made, step, **results)
    dataset_info(made, source.name)
    for path in written:
        click.echo(f"wrote {path}")


def weighted(source: Path, step: Callable[[str], None], options: dict[str, Any]) -> dict[str, xr.Dataset]:
    """Return the parts of a file or observation, the events weighted if a position is given."""
    import batx

    ra, dec = options["ra"], options["dec"]
    if (ra is None) != (dec is None):
        raise click.UsageError("give both --ra and --dec, or neither")
    parts = open_parts(source, options)
    events = parts.get("events") if source.is_dir() else next(iter(parts.values()))
    if events is None:
        raise MissingFileError(f"{source}: found no event file (bat/event/*.evt*) in the observation")
    if ra is not None:
        require_parts(parts, "attitude", "aperture", task="mask weighting")
        step(f"mask weights of {events.sizes.get('event', 0)} events")
        frame = {name: parts.get(name) for name in ("attitude", "aperture", "detector_mask", "alignment")}
        events = batx.mask_weight(events, ra, dec, **frame)
    elif "mask_weight" in events and not events["mask_weight"].any():
        events = events.drop_vars("mask_weight")
    return parts | {"events": events}
