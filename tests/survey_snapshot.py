"""The detector image of a simulated snapshot and all that its processing needs, as kept with the tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from batx.instrument.distortion import DistortionMap
from batx.schema import build

REFERENCE = Path(__file__).parent / "reference"
EDGES = np.array([14.0, 20.0, 24.0, 35.0, 50.0, 75.0, 100.0, 150.0, 195.0])
START, LENGTH = 6e8, 299.8
#: keywords of the mask of the simulation, cm
MASK = {
    "maskbatx": 0.0, "maskbaty": 0.0, "maskbatz": 100.1,
    "maskoffx": 0.05, "maskoffy": 0.143, "maskoffz": -0.05,
    "maskcelx": 0.5, "maskcely": 0.5, "maskcelz": 0.1, "detbatx": 0.0, "detbaty": 0.0, "detbatz": 0.35,
    "detoffx": 0.0, "detoffy": 0.0, "detoffz": 0.0, "detcelx": 0.42, "detcely": 0.42, "detsizex": 0.4,
    "detsizey": 0.4, "maskcell0x": -121.75, "maskcell0y": -60.75,
}  # fmt: skip


@cache
def arrays() -> dict[str, np.ndarray]:
    """What is kept of the snapshot."""
    with np.load(REFERENCE / "survey_snapshot.npz") as made, np.load(REFERENCE / "survey.npz") as others:
        return dict(made) | {
            "quaternion": others["snapshot_quaternion"],
            "pointing": others["snapshot_pointing"],
        }


def mask(name: str) -> np.ndarray:
    """Good detectors: those ``known`` before, or ``left`` at the end."""
    return np.unpackbits(arrays()[f"mask_{name}"])[: 173 * 286].reshape(173, 286).astype(bool)


def plane() -> xr.Dataset:
    """The detector image of three histograms."""
    start = START + 300.0 * np.arange(3)
    ends = np.array([start[0], start[-1] + LENGTH])
    return build(
        "detector_plane",
        {
            "rate": (("energy", "dety", "detx"), arrays()["rate"], {"units": "count/s"}),
            "exposure": ((), float(arrays()["row_exposure"])),
            "time": ((), ends.mean()),
            "time_bnds": (("bnds",), ends),
            "energy": 0.5 * (EDGES[1:] + EDGES[:-1]),
            "energy_bnds": np.stack([EDGES[:-1], EDGES[1:]], 1),
            "gti_start": start,
            "gti_stop": start + LENGTH,
        },
        {
            "telescope": "SWIFT",
            "instrument": "BAT",
            "obs_id": "00099999001",
            "tstart": ends[0],
            "tstop": ends[1],
        },
    )


def aperture(name: str = "flux") -> xr.Dataset:
    """The mask, or its edge."""
    cells = arrays()[f"aperture_{name}"]
    variables: dict[str, Any] = {"mask": (("mask_y", "mask_x"), cells)}
    for axis, count in (("x", cells.shape[1]), ("y", cells.shape[0])):
        edges = (
            MASK[f"maskoff{axis}"] + MASK[f"maskcell0{axis}"] + MASK[f"maskcel{axis}"] * np.arange(count + 1)
        )
        variables[f"mask_{axis}"] = 0.5 * (edges[1:] + edges[:-1])
        variables[f"mask_{axis}_bnds"] = np.stack([edges[:-1], edges[1:]], 1)
    return build("aperture", variables, {"telescope": "SWIFT", "instrument": "BAT", **MASK})


def attitude() -> xr.Dataset:
    """The steady attitude of the snapshot."""
    place = {name: (("time",), arrays()["pointing"][:, k]) for k, name in enumerate(("ra", "dec", "roll"))}
    rows = {"time": [START, START + 600.0 + LENGTH], "quaternion": arrays()["quaternion"]}
    return build("attitude", rows | place)


def catalog() -> xr.Dataset:
    """The three sources of the simulation."""
    kept = {
        name.removeprefix("given_"): values for name, values in arrays().items() if name.startswith("given_")
    }
    variables = {"name": kept["name"].astype(str), "ra": kept["ra_obj"], "dec": kept["dec_obj"]}
    others = {name: (("source",), kept[name]) for name in ("catnum", "err_rad", "always_clean")}
    return build("catalog", variables | others)


def inputs() -> dict[str, Any]:
    """Keywords of `batx.survey_pointing`."""
    orbit = {name.removeprefix("orbit_"): v for name, v in arrays().items() if name.startswith("orbit_")}
    time = orbit.pop("time")
    return {
        "detector_mask": mask("known"),
        "attitude": attitude(),
        "aperture": aperture(),
        "mask_edges": aperture("edge"),
        "alignment": arrays()["alignment"],
        "orbit": build("housekeeping", {"time": time, **{k: (("time",), v) for k, v in orbit.items()}}),
        "distortion": DistortionMap(arrays()["distortion"], (-2.0, -1.2), (0.04, 0.04)),
    }
