"""Write ``fits.npz``: model spectra and statistics that XSPEC computed.

Run ``python tests/reference/extract_fits.py FOLDER`` with the folder that holds ``xspec/``. The numbers were
computed by XSPEC 12.9.1: photons in the energy bins of two grids (``m``: those of a BAT response, ``d``: 200
from 0.2 to 10 keV, abundances of Wilms et al.; ``a``: those of Anders & Grevesse), and for fits of our own
synthetic spectra the statistic with data and folded model of each bin.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

MODELS = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "16")
FITS = ("bat80_po_chi", "bat8_po_chi_sysBA", "bat8_cflux_cstat_BAstyle", "bat80_wstat", "bat80_pgstat_tb1")


def extract(xspec: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    arrays = {}
    blocks = json.loads((xspec / "model_eval/results.json").read_text())["blocks"]
    for prefix, grid in (("m", "grid"), ("d", "dgrid")):
        arrays[f"{prefix}_edges"] = np.array(blocks[grid]["energies"])
        for key in MODELS:
            arrays[f"{prefix}{key}"] = np.array(blocks[f"{prefix}{key}"]["modval"])
    for key in ("11", "12"):
        arrays[f"a{key}"] = np.array(blocks[f"a{key}"]["modval"])
    for case in FITS:
        name = "results_tb2.json" if (xspec / case / "results_tb2.json").exists() else "results.json"
        fit = json.loads((xspec / case / name).read_text())["blocks"]["fit"]
        arrays[f"{case}_statistic"] = np.array(fit["stat"])
        for key in ("counts", "counts_err", "counts_model"):
            arrays[f"{case}_{key}"] = np.array(fit[key]["1"])
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "fits.npz", **extract(Path(sys.argv[1]) / "xspec"))
