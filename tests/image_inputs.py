"""Inputs and outputs of the reference runs of imaging and cleaning, from the committed arrays."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import weight_inputs
import xarray as xr
from reference_events import packed_arrays, unpacked_mask

from batx.schema import build

PIXEL_STEP, DETECTOR_STEP = 307, 23
KEYWORDS = ("CRVAL1", "CRVAL2", "CROTA2", "CDELT1", "CDELT2", "CRPIX1T", "CRPIX2T", "CDELT1T", "CDELT2T")


@cache
def arrays() -> dict[str, np.ndarray]:
    """Outputs of the tool on every so many pixels, and what else the runs need."""
    with np.load(Path(__file__).parent / "reference" / "images.npz") as stored:
        return dict(stored)


@cache
def inputs() -> dict[str, xr.Dataset]:
    """Aperture, detector mask, attitude and alignment, as arguments."""
    return {
        "aperture": weight_inputs.aperture(),
        "detector_mask": build("detector_mask", {"good": unpacked_mask(packed_arrays()["hot_default/good"])}),
        "attitude": weight_inputs.attitude(),
        "alignment": weight_inputs.alignment(),
    }


def make_plane(counts: np.ndarray, start: float, stop: float) -> xr.Dataset:
    return build(
        "detector_plane",
        {
            "counts": (("dety", "detx"), counts.astype(np.int32)),
            "exposure": ((), stop - start),
            "time": ((), (start + stop) / 2),
            "time_bnds": (("bnds",), np.array([start, stop])),
        },
        {"telescope": "SWIFT", "tstart": start, "tstop": stop},
    )


@cache
def burst() -> xr.Dataset:
    """The image of the 25 s of the burst."""
    return make_plane(packed_arrays()["burst_1b"], 6e8 + 50, 6e8 + 75)


@cache
def background() -> xr.Dataset:
    """The image of 15 s before it."""
    return make_plane(arrays()["bkg_1b"], 6e8, 6e8 + 15)


def catalog() -> xr.Dataset:
    """The source, where the tool found it."""
    imx, imy, snr = arrays()["source"]
    variables = {"name": np.array(["burst"]), "ra": np.zeros(1), "dec": np.zeros(1)}
    variables |= {"imx": ("source", [imx], {"units": "1"}), "imy": ("source", [imy], {"units": "1"})}
    return build("catalog", {**variables, "snr": np.array([snr])})
