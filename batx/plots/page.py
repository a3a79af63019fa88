"""Pictures as files, without pyplot and without a display."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from batx.errors import ValueRangeError
from batx.io.atomic import atomic_path
from batx.plots.dispatch import plot

__all__ = ["Page", "save"]


class Page(Figure):
    """A figure that takes the size which suits the picture drawn on it."""

    def __init__(self) -> None:
        super().__init__(layout="constrained")

    def fit(self, size: tuple[float, float]) -> None:
        """Take `size` in inches."""
        self.set_size_inches(size)


def save(
    ds: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dpi: int = 150,
    draw: Callable[..., Any] = plot,
    **options: Any,
) -> Path:
    """Draw an object and write the picture, all of it or nothing.

    Parameters
    ----------
    ds, **options
        As for `batx.plot`, or for `draw`.
    path
        File; its suffix is the format: png, pdf, svg or another that matplotlib writes.
    overwrite
        Whether an existing file may be replaced.
    dpi
        Dots per inch of pixel formats.
    draw
        Function that draws `ds` on the figure it is given.

    Raises
    ------
    ValueRangeError
        If the suffix is no format that matplotlib writes.
    WriteError
        If the file exists already or cannot be written.
    """
    page = Page()
    target = Path(path)
    formats = page.canvas.get_supported_filetypes()
    kind = target.suffix.lstrip(".").lower()
    if kind not in formats:
        raise ValueRangeError(
            f"{target}: found suffix '{target.suffix}', expected one of {', '.join(formats)}"
        )
    draw(ds, page, **options)
    with atomic_path(target, overwrite=overwrite) as temporary:
        page.savefig(temporary, format=kind, dpi=dpi)
    return target
