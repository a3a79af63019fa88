"""Write ``sources.npz``: a piece of a sky image and what batcelldetect made of it, from the reference folder.

Run ``python tests/reference/extract_sources.py FOLDER`` with the folder that holds ``heasoft/``. The numbers
were computed by HEASoft 6.20 from our own synthetic observation. The piece reaches 75 pixels from the source,
so that background, fits and positions at the source are those of the whole image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

#: of the piece in the image, from 0: rows and columns; and of the maps within the piece
ROWS, COLUMNS = slice(436, 587), slice(674, 825)
INNER = slice(66, 85)
RUNS = ("allbits", "smooth", "square", "fwhmfit", "nobkgfit", "pyr", "forced")
NAMES = (
    "IMX", "IMY", "IMX_ERR", "IMY_ERR", "RA_OBJ", "DEC_OBJ", "RA_OBJ_ERR", "DEC_OBJ_ERR", "ERR_RAD", "COUNTS",
    "COUNTS_ERR", "CENT_COUNTS", "CENT_SNR", "BKG", "BKG_ERR", "BKG_VAR", "BKG_CELL", "CONTAM_COUNTS", "SNR",
    "CHI2", "DOF", "NPIXSOU", "PCODEFR", "CONSTRAINT_FLAG", "IMX_FWHM",
)  # fmt: skip


def extract(heasoft: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    arrays: dict[str, np.ndarray] = {"names": np.array(NAMES)}
    with fits.open(heasoft / "img/burst_allbits.img.gz") as hdus:
        header = hdus[0].header
        arrays["image"] = hdus[0].data[ROWS, COLUMNS].astype(np.float32)
        for axis, start in ((1, COLUMNS.start), (2, ROWS.start)):
            arrays[f"axis{axis}"] = np.array(
                [header[f"CRPIX{axis}"] - start, header[f"CDELT{axis}T"], header[f"CRVAL{axis}"]]
            )
        arrays["roll"] = np.array(header["CROTA2"])
        arrays["exposure"] = np.array(header["EXPOSURE"])
    with fits.open(heasoft / "img/burst.pcode.gz") as hdus:
        arrays["pcode"] = hdus[0].data[ROWS, COLUMNS].astype(np.float32)
    for name in ("bkg", "var", "snr"):
        with fits.open(heasoft / f"det/cat_allbits.{name}.gz") as hdus:
            arrays[f"map_{name}"] = hdus[0].data[ROWS, COLUMNS][INNER, INNER].astype(np.float32)
    for run in RUNS:
        with fits.open(heasoft / f"det/cat_{run}.fits.gz") as hdus:
            row = hdus[1].data[0]
            arrays[f"cat_{run}"] = np.array([float(row[name]) for name in NAMES])
    return arrays


if __name__ == "__main__":
    path = Path(__file__).with_name("sources.npz")
    np.savez_compressed(path, **extract(Path(sys.argv[1]) / "heasoft"))
    print(path, path.stat().st_size)
