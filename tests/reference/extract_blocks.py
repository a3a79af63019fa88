"""Write ``blocks.npz``: light curves of our synthetic observation and what ``battblocks`` made of them.

Run ``python tests/reference/extract_blocks.py FOLDER`` with the folder that holds ``heasoft/``. The numbers were
computed by HEASoft 6.20 from our own synthetic observation; the events of one run are those of
``binning.npz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

MET0 = 600000000.0
CURVES = ("lc_w_1b_10", "lc_w_1b_0064", "lc_raw_1b_10", "lc_raw_1b_0064")
RUNS = ("w1s", "w64ms", "w1s_bs", "raw1s", "raw64", "lookback", "evt")
KEYWORDS = (
    *("T90DUR", "T90ERR", "T50DUR", "T50ERR", "TPEAK", "TOTDUR", "TOTSTART", "TOTSTOP", "CNTFLU"),
    *("BKGRATE1", "BKGRATE2"),
)
INTERVALS = ("T90", "T50", "TXX", "PEAK", "TOT")


def extract(heasoft: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    arrays: dict[str, np.ndarray] = {}
    for name in CURVES:
        with fits.open(heasoft / f"lc/{name}.lc.gz") as hdus:
            table, width = hdus[1].data, hdus[1].header["TIMEDEL"]
            steps = np.rint((table["TIME"] - MET0) / width).astype(np.int64)
            assert np.abs(MET0 + steps * width - table["TIME"]).max() < 2.4e-7
            arrays[f"{name}_time"] = table["TIME"].astype(np.float64)
            if "RATE" in table.names:
                arrays[f"{name}_rate"] = table["RATE"].astype(np.float64)
                arrays[f"{name}_error"] = table["ERROR"].astype(np.float64)
            else:
                arrays[f"{name}_counts"] = table["COUNTS"].astype(np.uint16)
                assert np.array_equal(arrays[f"{name}_counts"], table["COUNTS"])
            arrays[f"{name}_fracexp"] = table["FRACEXP"].astype(np.float64)
    for run in RUNS:
        with fits.open(heasoft / f"bb/gti_{run}.gti.gz") as hdus:
            start, stop = hdus[1].data["START"], hdus[1].data["STOP"]
            assert np.array_equal(start[1:], stop[:-1])
            arrays[f"{run}_edges"] = np.append(start, stop[-1]).astype(np.float64)
            arrays[f"{run}_values"] = np.array([hdus[1].header[key] for key in KEYWORDS])
        with fits.open(heasoft / f"bb/dur_{run}.gti.gz") as hdus:
            for name in INTERVALS:
                if f"GTI_{name}" in hdus:
                    row = hdus[f"GTI_{name}"].data[0]
                    arrays[f"{run}_{name.lower()}"] = np.array([row["START"], row["STOP"]])
    return arrays


if __name__ == "__main__":
    target = Path(__file__).with_name("blocks.npz")
    np.savez_compressed(target, **extract(Path(sys.argv[1]) / "heasoft"))
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")
