"""Inputs of the reference runs of mask weighting as labelled objects, from the committed arrays."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from batx.instrument.sky import normalised_alignment
from batx.schema import build

RA, DEC = 165.76360901, 24.39815269
KEYWORDS = ("pcodefr", "ngoodpix", "mskwtsqf", "bat_xobj", "bat_yobj", "bat_zobj")
IMAGE_STEP = 23

#: keywords of the reference aperture
GEOMETRY = {
    "maskbatz": 100.1,
    "maskoffx": 0.05,
    "maskoffy": 0.143,
    "maskoffz": -0.05,
    "maskcell0x": -121.75,
    "maskcell0y": -60.75,
}


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "reference" / "weights.npz") as stored:
        return dict(stored)


def make_aperture(mask: np.ndarray, **attrs: float) -> xr.Dataset:
    ny, nx = mask.shape
    x, y = np.arange(nx) / 2 - nx / 4 + 0.25, np.arange(ny) / 2 - ny / 4 + 0.25
    return build(
        "aperture",
        {
            "mask": mask.astype(np.int8),
            "mask_x": x,
            "mask_y": y,
            "mask_x_bnds": np.column_stack([x - 0.25, x + 0.25]),
            "mask_y_bnds": np.column_stack([y - 0.25, y + 0.25]),
        },
        attrs,
    )


def aperture() -> xr.Dataset:
    return make_aperture(arrays()["aperture"], **GEOMETRY)


def detector_mask() -> xr.Dataset:
    return build("detector_mask", {"good": arrays()["detmask"]})


def alignment() -> xr.Dataset:
    matrix = arrays()["alignment"]
    return build("alignment", {"matrix": normalised_alignment(matrix), "matrix_file": matrix})


def attitude(name: str = "attitude") -> xr.Dataset:
    stored = arrays()
    return build("attitude", {"time": stored[f"{name}/time"], "quaternion": stored[f"{name}/quaternion"]})


def make_events(columns: dict[str, np.ndarray]) -> xr.Dataset:
    return build(
        "events",
        {
            "time": columns["TIME"],
            "detx": columns["DETX"],
            "dety": columns["DETY"],
            "event_flags": columns["EVENT_FLAGS"],
            "gti_start": np.array([6.0e8, 6.0e8 + 90.5]),
            "gti_stop": np.array([6.0e8 + 90.0, 6.0e8 + 200.0]),
        },
        {"telescope": "SWIFT", "tstart": 6.0e8, "tstop": 6.0e8 + 200.0},
    )


def events(name: str = "events") -> xr.Dataset:
    stored = arrays()
    return make_events({key: stored[f"{name}/{key}"] for key in ("TIME", "DETX", "DETY", "EVENT_FLAGS")})


def inputs(name: str = "attitude") -> dict[str, xr.Dataset]:
    return {
        "attitude": attitude(name),
        "aperture": aperture(),
        "detector_mask": detector_mask(),
        "alignment": alignment(),
    }
