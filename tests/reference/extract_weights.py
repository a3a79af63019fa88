"""Make ``weights.npz`` from the reference runs: what the mask-weighting tests compare with.

Run ``python tests/reference/extract_weights.py SHARED`` after the reference folder has changed. Inputs (mask,
detector mask, attitude) are stored exactly; weight images as float32 on every 23rd detector; weights of
events for every 50th row.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

IMAGES = [
    *(f"mwimg_{place}/mw_{kind}" for place in ("onaxis", "src", "part", "far")
      for kind in ("default", "nodetmask", "none_noreb", "forward_unbal")),
    "mwimg_near/mw_near",
    "mwimg_sky/mw_sky",
    "mwimg_thetaphi/mw_fswlonlat",
    "misc/mw_dist",
]  # fmt: skip
RUNS = ("mwevt", "mwevt_slew", "mwevt_bigtoler", "mwevt_nocorr")
KEYWORDS = ("PCODEFR", "NGOODPIX", "MSKWTSQF", "BAT_XOBJ", "BAT_YOBJ", "BAT_ZOBJ")


def native(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def main(shared: Path) -> None:
    folder = shared / "reference" / "heasoft"
    out: dict[str, np.ndarray] = {}
    out["aperture"] = native(fits.getdata(folder / "inputs/aperture.fits.gz")).astype(np.int8)
    out["detmask"] = native(fits.getdata(folder / "inputs/detmask.fits.gz")) == 0
    header = fits.getheader(folder / "inputs/teldef.fits.gz")
    out["alignment"] = np.array([[header[f"ALIGNM{i}{j}"] for j in (1, 2, 3)] for i in (1, 2, 3)])
    for name in ("attitude", "attitude_slew"):
        rows = fits.getdata(folder / f"inputs/{name}.fits.gz", "ATTITUDE")
        out[f"{name}/time"] = native(rows["TIME"])
        out[f"{name}/quaternion"] = native(rows["QPARAM"])
        out[f"{name}/pointing"] = native(rows["POINTING"])[::50]
    for name in IMAGES:
        with fits.open(folder / f"{name}.fits.gz") as hdus:
            out[f"{name}/weight"] = native(hdus[0].data).ravel()[::23].astype(np.float32)
            out[f"{name}/keywords"] = np.array([float(hdus[0].header[key]) for key in KEYWORDS])
    for name in ("events", "events_slew"):
        rows = fits.getdata(folder / f"inputs/{name}.fits.gz", "EVENTS")[::50]
        for column in ("TIME", "DETX", "DETY", "EVENT_FLAGS"):
            out[f"{name}/{column}"] = native(rows[column])
    for run in RUNS:
        with fits.open(folder / run / "mask_weight.fits.gz") as hdus:
            out[f"{run}/weight"] = native(hdus[1].data["MASK_WEIGHT"])[::50]
            out[f"{run}/keywords"] = np.array([float(hdus[1].header[key]) for key in KEYWORDS])
        rows = fits.getdata(folder / run / "aux.fits.gz", 1)
        for column in rows.names:
            out[f"{run}/aux/{column}"] = native(rows[column])
    distortion = folder.parent / "survey/survey_obs/distort.fits"
    out["distortion"] = native(fits.getdata(distortion))
    target = Path(__file__).with_name("weights.npz")
    np.savez_compressed(target, **out)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
