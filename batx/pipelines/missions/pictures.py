"""Pictures that several pipelines draw: images of epochs with regions, rates against days."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from batx.io.open import open_dataset
from batx.pipelines.frame import Work
from batx.pipelines.missions.places import region_files
from batx.plots.epochs import plot_epochs, plot_rates
from batx.plots.page import save
from batx.regions import read_regions

__all__ = ["draw_epochs", "draw_rates", "pages"]


def pages(images: Sequence[Path], panels: int) -> dict[str, list[Path]]:
    """Return the images of each page of a grid in the order of their time: ``epochs``, or ``epochs_1``..."""
    start = {path: float(open_dataset(path).attrs["tstart"]) for path in images}
    ordered = sorted(start, key=start.__getitem__)
    parts = [ordered[first : first + panels] for first in range(0, len(ordered), panels)]
    return {"epochs" if len(parts) == 1 else f"epochs_{page}": paths for page, paths in enumerate(parts, 1)}


def draw_epochs(work: Work, images: Sequence[Path], name: str, **options: Any) -> None:
    """Draw images on a grid, each with the regions of the observation that it is named as.

    Parameters
    ----------
    work
        Of the step, which uses the step ``regions``.
    images
        Files of kind ``image``.
    name
        Of the picture.
    **options
        Of `batx.plot_epochs`.
    """
    own = [[read_regions(file) for file in region_files(work, "regions", path.stem)] for path in images]
    opened = [open_dataset(path) for path in images]
    save(opened, work.output(f"figures/{name}.png"), draw=plot_epochs, own_regions=own, **options)


def draw_rates(work: Work, table: Path, **options: Any) -> None:
    """Draw rates against days from a table; see `batx.plot_rates` for the options."""
    low, high = work.options["energy"]
    rates = pd.read_csv(table, dtype={"obs_id": str})
    label = f"Rate {low:g}-{high:g} keV (count/s)"
    save(rates, work.output("figures/rates.png"), draw=plot_rates, label=label, **options)
