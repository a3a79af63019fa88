"""Names, bands and bins of the standard products of a burst (``batgrbproduct``), and the way to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import xarray as xr

from batx.io.open import open_dataset, open_datatree
from batx.pipelines.frame import Work

__all__ = ["BANDS", "FLUENCE", "Files", "interval", "one", "some"]

#: bands of light curves and detector images, keV
BANDS = {"1chan": (15.0, 350.0), "4chan": (15.0, 25.0, 50.0, 100.0, 350.0)}
#: band of fits and fluxes, keV
FLUENCE = (15.0, 150.0)


@dataclass(frozen=True)
class Files:
    """Names of the products of an observation, below the folder of results."""

    obs_id: str

    @classmethod
    def of(cls, work: Work) -> Files:
        """Return the names for the observation that was found."""
        return cls(str(work.before["fetch"].facts["obs_id"]))

    def name(self, folder: str, rest: str) -> str:
        """Return ``folder/sw<obsid>b_<rest>``; a dot comes without the underscore."""
        return f"{folder}/sw{self.obs_id}b{'' if rest.startswith('.') else '_'}{rest}"


def one(work: Work, step: str, pattern: str) -> xr.Dataset:
    """Return the product of a step that matches a pattern, in memory and without its way through files."""
    return _detached(open_dataset(work.path(step, pattern)).load())


def some(work: Work, step: str, pattern: str) -> xr.Dataset | None:
    """Return the product of a step that matches a pattern, `None` if there is none."""
    return one(work, step, pattern) if work.paths(step, pattern) else None


def _detached(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset that does not remember the file it was read from."""
    ds.encoding.pop("source", None)
    for variable in ds.variables.values():
        variable.encoding.pop("source", None)
    return ds


def interval(work: Work, name: str) -> xr.Dataset | None:
    """Return good time by its name (``preslew``, ``slew``, ``postslew``, ``tot``, ``t90``, ``bkg1`` …).

    `None` if the step that finds it did not.
    """
    for step, pattern in (("intervals", "*_acs.gti"), ("durations", "*_battblocks.gti")):
        if step in work.before:
            for path in work.paths(step, pattern):
                node: Any = open_datatree(path).children.get(f"GTI_{name.upper()}")
                if node is not None:
                    return _detached(node.to_dataset().load())
    return None
