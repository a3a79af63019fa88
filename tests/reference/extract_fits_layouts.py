"""Write fits_layouts.json: columns and OGIP keywords of reference products, for tests without the folder.

python tests/reference/extract_fits_layouts.py $BATX_SHARED
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from astropy.io import fits

PRODUCTS = {
    "events": "reference/heasoft/inputs/events.fits.gz",
    "lightcurve": "reference/heasoft/lc/lc_w_4b_10.lc.gz",
    "lightcurve_counts": "reference/heasoft/lc/lc_raw_1b_0064.lc.gz",
    "lightcurve_bins": "reference/heasoft/lc/lc_snr6.lc.gz",
    "spectrum": "reference/heasoft/pha/spec_w.pha.gz",
    "spectra": "reference/heasoft/pha/spec_type2.pha.gz",
    "detector_plane": "reference/heasoft/dpi/burst_4b.dpi.gz",
    "detector_plane_dpitab": "reference/heasoft/dpi/burst.dpitab.gz",
    "ray_trace": "reference/heasoft/mwevt/aux.fits.gz",
    "response": "data/grb200528A/sw00974827000bevas.rsp",
}
CLASS = re.compile(r"HDUCLAS[S1234]$|HDUVERS\d?$|TIMVERSN|PHAVERSN|RMFVERSN|CHANTYPE|FLUXMETH|BACKAPP|EUNIT")


def layout(hdu: Any) -> dict[str, Any]:
    """Return columns with format and unit, and what the header says of the kind of data."""
    header = hdu.header
    columns = {
        header[f"TTYPE{i}"]: [header[f"TFORM{i}"].removeprefix("1"), header.get(f"TUNIT{i}")]
        for i in range(1, header.get("TFIELDS", 0) + 1)
    }
    return {
        "columns": columns,
        "class": {key: value for key, value in header.items() if CLASS.match(key)},
    }


def main() -> None:
    found = {}
    for name, path in PRODUCTS.items():
        with fits.open(Path(sys.argv[1]) / path) as file:
            found[name] = {hdu.name: layout(hdu) for hdu in file}
    target = Path(__file__).with_name("fits_layouts.json")
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
