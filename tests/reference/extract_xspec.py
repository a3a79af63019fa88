"""Write xspec.json: fits that XSPEC 12.9.1 made of synthetic spectra, from the reference folder.

Run as ``python tests/reference/extract_xspec.py SHARED``. The spectra were folded by us, with noise; the
response, that of batdrmgen at the middle of the field, is left out: the packaged one stands for it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from astropy.io import fits

CASES = ("bat80_po_chi", "bat80_cutoffpl_chi", "bat80_wstat")
_CARDS = ("EXPOSURE", "POISSERR", "BACKSCAL", "AREASCAL", "BACKFILE", "CHANTYPE", "DETCHANS", "TLMIN1")
_RESULTS = ("params", "statmethod", "stat", "dof", "noticed", "covariance", "flux_erg_cm2_s", "flux_ph_cm2_s")


def spectrum(path: Path) -> dict[str, Any]:
    """Return the columns and the cards of a spectrum."""
    with fits.open(path) as hdus:
        table = next(hdu for hdu in hdus if hdu.name == "SPECTRUM")
        columns = {name: table.data[name].tolist() for name in table.columns.names}
        cards = {name: table.header[name] for name in _CARDS if name in table.header}
    return {"columns": columns, "cards": cards}


def record(folder: Path) -> dict[str, Any]:
    """Return what is kept of a case."""
    blocks = json.loads((folder / "results.json").read_text())["blocks"]
    return {
        "run.xcm": (folder / "run.xcm").read_text(),
        "spectra": {path.name: spectrum(path) for path in sorted(folder.glob("*.pha"))},
        "blocks": {tag: {name: block[name] for name in _RESULTS} for tag, block in blocks.items()},
    }


if __name__ == "__main__":
    source = Path(sys.argv[1]) / "reference/xspec"
    made = {case: record(source / case) for case in CASES}
    (Path(__file__).parent / "xspec.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
