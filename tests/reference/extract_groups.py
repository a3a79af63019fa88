"""Write ``groups.npz``: counts, and what grppha, batphasyserr and batupdatephakw made of them.

Run ``python tests/reference/extract_groups.py FOLDER`` with the folder that holds ``xspec/`` and ``survey/``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

CASES = ("xrt_min20", "xrt_min1", "target_min1", "xrt_bad_min20", "xrt_fixed")


def extract(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    arrays = {}
    for case in CASES:
        run = folder / f"xspec/grppha_{case}"
        made = json.loads((run / "results.json").read_text())
        arrays[f"{case}/counts"] = fits.getdata(run / "in.pha", "SPECTRUM")["COUNTS"].astype(np.int32)
        for name in ("GROUPING", "QUALITY"):
            arrays[f"{case}/{name.lower()}"] = np.array(made[name], np.int8)
    systematics = folder / "survey/batphasyserr"
    table = fits.getdata(systematics / "syserr.fits", 1)
    arrays["systematics/energy"] = np.append(table["E_MIN"], table["E_MAX"][-1]).astype(np.float64)
    arrays["systematics/errors"] = table["SYS_ERR"].astype(np.float64)
    for name in ("off", "far8"):
        with fits.open(systematics / f"{name}.pha") as hdus:
            bounds = hdus["EBOUNDS"].data
            arrays[f"systematics/{name}/channels"] = np.stack([bounds["E_MIN"], bounds["E_MAX"]], axis=1)
            arrays[f"systematics/{name}/sys_err"] = hdus["SPECTRUM"].data["SYS_ERR"].astype(np.float64)
    return arrays


if __name__ == "__main__":
    path = Path(__file__).with_name("groups.npz")
    np.savez_compressed(path, **extract(Path(sys.argv[1])))
    print(path, path.stat().st_size)
