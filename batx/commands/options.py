"""Types and groups of options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "EXISTING",
    "FITS_SUFFIXES",
    "NEW",
    "STORE_SUFFIXES",
    "Band",
    "Edges",
    "NewFile",
    "Number",
    "calibration_options",
    "result_options",
    "source_options",
    "time_options",
    "together",
]

FITS_SUFFIXES = (".fits", ".fit", ".img", ".lc", ".pha", ".pi", ".dpi", ".dph", ".gz")
STORE_SUFFIXES = (".nc", ".zarr")
_PICTURE_SUFFIXES = (".png", ".pdf", ".svg")
EXISTING = click.Path(exists=True, path_type=Path)
NEW = click.Path(path_type=Path)


class Number(click.ParamType):
    """Seconds, or an instant (ISO date, or the word ``trigger``)."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Return a number where it is one, the text otherwise."""
        try:
            return float(value)
        except ValueError:
            return str(value)


class Edges(click.ParamType):
    """Increasing numbers separated by commas."""

    name = "keV,keV,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        """Return the numbers."""
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


class Band(Edges):
    """Two energies with a comma between them."""

    name = "keV,keV"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the pair."""
        if isinstance(value, tuple):  # a default
            return value
        if value.count(",") != 1:
            self.fail(f"found {value!r}, expected two numbers with a comma, for example 15,150", param, ctx)
        return tuple(super().convert(value, param, ctx))


class NewFile(click.Path):
    """A file to be written, whose suffix says what it will hold."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, if its suffix is known."""
        path = Path(value)
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"found suffix '{path.suffix}', expected one of {', '.join(self.suffixes)}", param, ctx)
        return path


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return one decorator that does what several do, in the order of help."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


time_options = together(
    click.option("--tstart", type=Number(), help="Start: MET s, a UTC date, or s from --t0."),
    click.option("--tstop", type=Number(), help="End: MET s, a UTC date, or s from --t0."),
    click.option(
        "--t0", type=Number(), help="Origin of --tstart and --tstop: MET s, a UTC date, or 'trigger'."
    ),
)
calibration_options = together(
    click.option(
        "--calibration", type=EXISTING, help="Folder with mask and alignment files, for a directory."
    ),
    click.option("--attitude", type=EXISTING, help="Attitude file."),
    click.option("--aperture", type=EXISTING, help="Coded mask (aperture) file."),
    click.option("--teldef", type=EXISTING, help="Telescope definition (alignment) file."),
    click.option("--detector-mask", type=EXISTING, help="Detector mask file: which detectors are good."),
)
source_options = together(
    click.argument("source", type=EXISTING),
    click.option("--ra", type=float, help="Right ascension of the source, degrees (ICRS)."),
    click.option("--dec", type=float, help="Declination of the source, degrees (ICRS)."),
    time_options,
    calibration_options,
)
result_options = together(
    click.option(
        "--output",
        "-o",
        type=NewFile(*STORE_SUFFIXES, *FITS_SUFFIXES),
        help="File to write; .nc, .zarr, or .fits/.lc/.pha/.dpi/.img (OGIP FITS).",
    ),
    click.option(
        "--plot", "-p", type=NewFile(*_PICTURE_SUFFIXES), help="Picture to write; .png, .pdf or .svg."
    ),
    click.option("--overwrite", is_flag=True, help="Replace files that exist."),
)
