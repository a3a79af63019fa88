"""The reference events as Datasets: from the committed arrays, and from the reference folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from batx.schema import build

MET0 = 600000000.0
BANDS = (15, 25, 50, 100, 350)
SHAPE = (173, 286)
PACKED = Path(__file__).parent / "reference" / "binning.npz"


def make_events(columns: Mapping[str, np.ndarray], **attrs: object) -> xr.Dataset:
    """Build a Dataset of events from arrays; MET, keV and so on."""
    units = {"energy": "keV", "pi": "1", "detx": "1", "dety": "1"}
    variables = {
        name: (("event",), values, {"units": units[name]}) if name in units else values
        for name, values in columns.items()
    }
    return build("events", variables, {"trigger_time": MET0 + 50, **attrs})


def packed_arrays() -> dict[str, np.ndarray]:
    """Return the committed arrays."""
    with np.load(PACKED) as file:
        return dict(file)


def packed_events(arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Return the pointed reference events from the committed arrays."""
    accepted = ~np.unpackbits(arrays["weight_zero"], count=arrays["pi"].size).astype(bool)
    detx, dety = arrays["detx"].astype(np.int16), arrays["dety"].astype(np.int16)
    weight = np.where(accepted, arrays["weight_map"][dety, detx], np.float32(0))
    weight[arrays["weight_other"]] = arrays["weight_other_value"]
    return make_events(
        {
            "time": MET0 + np.cumsum(arrays["time_steps"], dtype=np.int64) * 1e-4,
            "energy": (arrays["pi"] / np.float64(10)).astype(np.float32),
            "pi": arrays["pi"].astype(np.int16),
            "detx": detx,
            "dety": dety,
            "event_flags": arrays["event_flags"],
            "mask_weight": weight,
            "gti_start": arrays["gti_start"],
            "gti_stop": arrays["gti_stop"],
        }
    )


def unpacked_mask(bits: np.ndarray) -> np.ndarray:
    """Return a detector mask (173, 286), true = good."""
    return np.unpackbits(bits, count=SHAPE[0] * SHAPE[1]).astype(bool).reshape(SHAPE)


def folder_events(heasoft: Path, slew: bool = False) -> xr.Dataset:
    """Return reference events, with the weights of the tool, from the reference folder."""
    from astropy.io import fits

    suffix = "_slew" if slew else ""
    native = lambda column: column.astype(column.dtype.newbyteorder("="))  # noqa: E731
    with fits.open(heasoft / f"inputs/events{suffix}.fits.gz") as hdus:
        table, gti = hdus["EVENTS"].data, hdus["STDGTI"].data
        columns = {
            name: native(table[fits_name])
            for name, fits_name in {
                "time": "TIME",
                "energy": "ENERGY",
                "pi": "PI",
                "detx": "DETX",
                "dety": "DETY",
                "event_flags": "EVENT_FLAGS",
            }.items()
        }
        columns |= {"gti_start": native(gti["START"]), "gti_stop": native(gti["STOP"])}
    with fits.open(heasoft / f"mwevt{suffix}/mask_weight.fits.gz") as hdus:
        columns["mask_weight"] = native(hdus["EVENTS"].data["MASK_WEIGHT"])
    return make_events(columns)


def folder_mask(heasoft: Path) -> np.ndarray:
    """Return the input detector mask of the reference runs, true = good."""
    from astropy.io import fits

    return fits.getdata(heasoft / "inputs/detmask.fits.gz", 0) == 0
