"""Make ``images.npz`` from the reference runs: what the tests of sky images and cleaning compare with.

Run ``python tests/reference/extract_images.py SHARED`` after the reference folder has changed. Sky images are
stored on every 307th pixel, cleaned planes on every 23rd detector, as float32; keywords of the coordinates as
they are. Mask, alignment and attitude are in ``weights.npz``, the detector image and the good detectors in
``binning.npz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

IMAGES = {
    "burst": "burst.img",
    "burst_allbits": "burst_allbits.img",
    "burst_noise": "burst_allbits.var",
    "burst_pcode": "burst.pcode",
    "burst_bkgsub": "burst_bkgsub.img",
    "burst_near": "burst_near.img",
    "burst_none": "burst_none.img",
    "burst_os1": "burst_os1.img",
}
PLANES = ("clean_bkg", "clean_src", "bkgonly", "clean_balshort")
KEYWORDS = ("CRVAL1", "CRVAL2", "CROTA2", "CDELT1", "CDELT2", "CRPIX1T", "CRPIX2T", "CDELT1T", "CDELT2T")
PIXEL_STEP, DETECTOR_STEP = 307, 23


def main(shared: Path) -> None:
    folder = shared / "reference" / "heasoft"
    out: dict[str, np.ndarray] = {}
    for name, file in IMAGES.items():
        with fits.open(folder / "img" / f"{file}.gz") as hdus:
            out[name] = hdus[0].data.ravel()[::PIXEL_STEP].astype(np.float32)
            out[f"{name}/peak"] = np.array(np.nanmax(np.abs(hdus[0].data)), dtype=np.float64)
            out[f"{name}/keywords"] = np.array([float(hdus[0].header.get(key, 0)) for key in KEYWORDS])
    for name in PLANES:
        data = fits.getdata(folder / "clean" / f"{name}.dpi.gz")
        out[name] = data.ravel()[::DETECTOR_STEP].astype(np.float32)
    source = fits.getdata(folder / "det" / "cat.fits.gz", 1)
    out["source"] = np.array([source["IMX"][0], source["IMY"][0], source["SNR"][0]])
    out["bkg_1b"] = fits.getdata(folder / "dpi" / "bkg_1b.dpi.gz").astype(np.uint8)
    target = Path(__file__).with_name("images.npz")
    np.savez_compressed(target, **out)
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
