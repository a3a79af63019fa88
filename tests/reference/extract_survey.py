"""Take from the reference folder what tests of the survey compare with: ``python extract_survey.py FOLDER``.

The arrays are what the tools made of a simulated observation of four histograms, and so much of the inputs as
is needed to make the same of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits


def native(array: np.ndarray) -> np.ndarray:
    """Return an array in the byte order of the machine."""
    array = np.asarray(array)
    return array.astype(array.dtype.newbyteorder("="))


def extract(shared: Path) -> dict[str, np.ndarray]:
    """Return the arrays by name."""
    survey = shared / "reference" / "survey"
    arrays: dict[str, np.ndarray] = {}
    rates = fits.getdata(survey / "batsurvey-gti" / "gti" / "total.lc", 1)
    arrays["total_counts"] = native(rates["TOTCOUNTS"])
    arrays["total_rate"] = native(rates["RATE"])

    attitude = fits.getdata(survey / "aspect" / "sat.fits", "ATTITUDE")
    golden = survey / "batsurvey" / "golden" / "point_20200061040"
    for name, table in (
        ("attitude", attitude),
        ("aspect", fits.getdata(survey / "aspect" / "out.att", "ATTITUDE")),
        ("snapshot", fits.getdata(f"{golden}.att", "ATTITUDE")),
    ):
        arrays[f"{name}_time"] = native(table["TIME"])
        arrays[f"{name}_pointing"] = native(table["POINTING"])
        arrays[f"{name}_quaternion"] = native(table["QPARAM"])
    for name, path in (("aspect_gti", survey / "aspect" / "in.gti"), ("held", f"{golden}_pnt1.gti")):
        rows = fits.getdata(path, 1)
        arrays[name] = np.column_stack([native(rows["START"]), native(rows["STOP"])])
    return arrays


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("survey.npz"), **extract(Path(sys.argv[1])))
