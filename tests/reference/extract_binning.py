"""Write ``binning.npz``: events and what the BAT tools made of them, from the reference folder.

Run ``python tests/reference/extract_binning.py FOLDER`` with the folder that holds ``heasoft/``. The numbers
were computed by HEASoft 6.20 from our own synthetic observation. Times are whole units of 100 microseconds
since MET 600000000 and energies whole PI channels of 0.1 keV, both exactly those of the file; this script
checks it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

MET0 = 600000000.0
LIGHTCURVES = ("lc_w_4b_10", "lc_raw_4b_10", "lc_w_1b_10", "lc_tlim", "lc_snr6", "lc_highsnr6")
TOTALS_ONLY = ("lc_w_4b_0064", "lc_raw_1b_0064")
SPECTRA = ("spec_w", "spec_raw")


def extract(heasoft: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    arrays: dict[str, np.ndarray] = {}
    with fits.open(heasoft / "inputs/events.fits.gz") as hdus:
        events, gti = hdus["EVENTS"].data, hdus["STDGTI"].data
        ticks = np.rint((events["TIME"] - MET0) * 1e4).astype(np.int64)
        steps = np.diff(ticks, prepend=0)
        assert np.array_equal(MET0 + ticks * 1e-4, events["TIME"])
        assert steps.min() >= 0
        assert steps.max() < 2**16
        pi = events["PI"].astype(np.uint16)
        assert np.array_equal((pi / np.float64(10)).astype(np.float32), events["ENERGY"])
        arrays |= {
            "time_steps": steps.astype(np.uint16),
            "pi": pi,
            "detx": events["DETX"].astype(np.uint16),
            "dety": events["DETY"].astype(np.uint8),
            "event_flags": events["EVENT_FLAGS"].astype(np.uint8),
            "gti_start": gti["START"].astype(np.float64),
            "gti_stop": gti["STOP"].astype(np.float64),
        }
    with fits.open(heasoft / "mwevt/mask_weight.fits.gz") as hdus:
        weight = hdus["EVENTS"].data["MASK_WEIGHT"].astype(np.float32)
    # one weight a detector while the pointing is stable: kept as a map, 0 where the flag rejects the event
    plane = np.zeros((173, 286), np.float32)
    accepted = weight != 0
    plane[arrays["dety"][accepted], arrays["detx"][accepted]] = weight[accepted]
    recovered = np.where(accepted, plane[arrays["dety"], arrays["detx"]], 0)
    different = np.flatnonzero(recovered != weight)
    arrays |= {
        "weight_map": plane,
        "weight_zero": np.packbits(~accepted),
        "weight_other": different.astype(np.int32),
        "weight_other_value": weight[different],
    }
    arrays["detector_mask"] = np.packbits(fits.getdata(heasoft / "inputs/detmask.fits.gz", 0) == 0)
    for name in LIGHTCURVES:
        with fits.open(heasoft / f"lc/{name}.lc.gz") as hdus:
            for column in hdus["RATE"].columns.names:
                values = hdus["RATE"].data[column]
                arrays[f"{name}/{column}"] = values.astype(values.dtype.newbyteorder("="))
    for name in TOTALS_ONLY:
        arrays[f"{name}/TOTCOUNTS"] = fits.getdata(heasoft / f"lc/{name}.lc.gz", "RATE")["TOTCOUNTS"].astype(
            np.int32
        )
    for name in SPECTRA:
        table = fits.getdata(heasoft / f"pha/{name}.pha.gz", "SPECTRUM")
        arrays |= {f"{name}/{column}": table[column].astype(np.float64) for column in ("RATE", "STAT_ERR")}
    for name in ("all_1b", "burst_1b"):
        arrays[f"{name}"] = fits.getdata(heasoft / f"dpi/{name}.dpi.gz", 0).astype(np.uint16)
    for name in ("hot_default", "hot_burst"):
        with fits.open(heasoft / f"hotpix/{name}.mask.gz") as hdus:
            arrays[f"{name}/good"] = np.packbits(hdus[0].data == 0)
            table = hdus["BADPIX"].data
            quality = np.zeros((173, 286), np.uint8)
            quality[table["DETY"], table["DETX"]] = table["QUALITY"]
            arrays[f"{name}/quality"] = quality
    return arrays


if __name__ == "__main__":
    target = Path(__file__).with_name("binning.npz")
    np.savez_compressed(target, **extract(Path(sys.argv[1]) / "heasoft"))
    print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB")
