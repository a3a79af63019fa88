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


# fmt: off
#: edges in keV of the channels that the reference spectra were made with
REFERENCE_CHANNELS = (
    0.0, 10.0, 10.4, 10.8, 11.2, 11.6, 12.1, 12.6, 13.1, 13.6, 14.1, 14.6, 15.2, 15.8, 16.4, 17.0, 17.7,
    18.4, 19.1, 19.8, 20.6, 21.4, 22.2, 23.1, 24.0, 24.9, 25.9, 26.9, 28.0, 29.0, 30.2, 31.3, 32.6, 33.8,
    35.1, 36.5, 37.9, 39.4, 40.9, 42.5, 44.2, 45.9, 47.7, 49.5, 51.4, 53.4, 55.5, 57.6, 59.9, 62.2, 64.6,
    67.1, 69.7, 72.4, 75.3, 78.2, 81.2, 84.4, 87.6, 91.0, 94.6, 98.3, 102.1, 106.0, 110.1, 114.4, 118.9,
    123.5, 128.3, 133.2, 138.4, 143.8, 149.4, 155.2, 161.2, 167.4, 173.9, 180.7, 187.7, 195.0, 6553.6,
)
# fmt: on
