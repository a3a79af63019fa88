"""Calibration maps of the reference run of ``bateconvert``, made again from their random numbers.

The run (reference/heasoft/econv) kept its events, on-board and pulser maps and its result, but not the map of
residuals. All its maps were drawn from one stream of normal deviates, a plane for each column in the order
below. The stream gives the six columns that were kept to the last bit, which `test_energies` checks; the six
columns of the residuals are of the same stream.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from batx.schema import build

SHAPE = (173, 286)
#: some of the events of the run: detector, pulse height and the channel that the tool gave
PACKED = Path(__file__).parent / "reference" / "energies.npz"


@cache
def reference_maps() -> dict[str, xr.Dataset]:
    """Return the on-board map, the pulser maps and the residuals of the run."""
    draw = np.random.default_rng(7).standard_normal((12, *SHAPE))
    lin_gain, lin_offset = (-0.6 + 0.01 * draw[0]).astype("f4"), (2000 + 30 * draw[1]).astype("f4")
    ground = {"gain": 3 + 0.05 * draw[2], "offset": 100 + 5 * draw[3]}
    flight = {"gain": ground["gain"] * (1 + 0.005 * draw[4]), "offset": ground["offset"] + draw[5]}
    onboard = {"gain": (0.6 + 0.01 * draw[6]) / flight["gain"], "offset": 3200 + 20 * draw[7]}
    residual = {
        "offset": lin_offset.astype("f8") + 2 * draw[8],
        "gain": lin_gain.astype("f8") + 1e-3 * draw[9],
        "gain2": 1e-7 * draw[10],
        "gain3": 1e-11 * draw[11],
        "lin_offset": lin_offset,
        "lin_gain": lin_gain,
    }
    return {
        "gain_offset": table(**onboard).assign_attrs(offpulse=300, tstart=599999500.0),
        "pulser": table(**ground),
        "flight_pulser": table(**flight),
        "residual": table(**residual).assign_attrs(gainmeth="FULLCUBIC"),
    }


def table(**columns: np.ndarray) -> xr.Dataset:
    """Return float32 columns as a detector table."""
    made = {name: (("dety", "detx"), value.astype(np.float32)) for name, value in columns.items()}
    return build("detector_table", made, {"telescope": "SWIFT", "instrument": "BAT"})


def events(**columns: np.ndarray) -> xr.Dataset:
    """Return events with these columns; without any, those of the reference run that are kept here."""
    if not columns:
        with np.load(PACKED) as file:
            columns = {name: file[name] for name in ("detx", "dety", "pha")}
    count = len(next(iter(columns.values())))
    times = 6e8 + np.linspace(0.0, 200.0, count)
    made = {name: (("event",), np.asarray(value)) for name, value in columns.items()}
    return build("events", {"time": times, **made}, {"tstart": 6e8, "utcf": -22.5})


def reference_channels() -> np.ndarray:
    """Return the channel that the tool gave to each event of `events`."""
    with np.load(PACKED) as file:
        return file["pi"]
