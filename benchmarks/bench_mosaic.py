"""Survey mosaics: time and peak memory against the number of full-size pointings, two workers against one.

``python benchmarks/bench_mosaic.py`` writes synthetic pointings (954 x 1760 pixels, 8 bands) to a temporary
folder and sums each set in a process of its own, so that peak memory is that of the sum alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SHAPE = (954, 1760)
EDGES = np.array([14, 20, 24, 35, 50, 75, 100, 150, 195.0])


def pointing(number: int, folder: Path) -> Path:
    """Write one pointing as the survey tools do: flux, noise and coding, in a direction of its own."""
    from astropy.io import fits

    from batx.sky_coords import image_cards

    rng = np.random.default_rng(number)
    imx, imy = np.linspace(1.85, -1.85, SHAPE[1]), np.linspace(-1.0, 1.0, SHAPE[0])
    dx, dy = imx[1] - imx[0], imy[1] - imy[0]
    direction = rng.uniform(0, 360), np.rad2deg(np.arcsin(rng.uniform(-1, 1))), rng.uniform(0, 360)
    header = fits.Header.fromstring(
        image_cards((1 - imx[0] / dx, 1 - imy[0] / dy), (dx, dy), direction), sep="\n"
    )
    header.update({"TELESCOP": "SWIFT", "INSTRUME": "BAT", "EXPOSURE": 300.0, "BUNIT": "count/s"})
    header.update({"TSTART": 1000.0 * number, "TSTOP": 1000.0 * number + 300.0, "OBS_ID": "00012345000"})
    coding = np.clip(1.3 - np.hypot(abs(imx)[None, :] / 1.5, abs(imy)[:, None] / 0.8), 0, 1)
    hdus = []
    for name, kind in (("BAT_IMAGE", "INTENSITY"), ("BAT_VARMAP", "BKG_STDDEV")):
        for band in range(8):
            noise = np.ones(SHAPE, np.float32)
            values = rng.standard_normal(SHAPE, np.float32) if name == "BAT_IMAGE" else noise
            hdu = fits.ImageHDU(values, header, name=f"{name}_{band + 1}")
            hdu.header.update({"E_MIN": EDGES[band], "E_MAX": EDGES[band + 1], "IMATYPE": kind})
            hdus.append(hdu)
    hdus.append(fits.ImageHDU(coding.astype(np.float32), header, name="BAT_PCODE"))
    path = folder / f"{number:04d}.img"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


RUN = """
import json, resource, sys, time
import dask
import batx
from batx.sky_grids import galactic_facets

folder, first, count, workers, nside, out, scheduler, parts = json.loads(sys.argv[1])
paths = [f"{folder}/{i:04d}.img" for i in range(first, first + count)]
options = {"wcs": galactic_facets()} if nside == 0 else {"nside": nside}
batx.mosaic(paths[:1], 16, memory=1e5).compute(scheduler="synchronous")  # compiled, imported
start, before = time.perf_counter(), time.process_time()
with dask.config.set(scheduler=scheduler, num_workers=workers):
    mosaic = batx.mosaic(paths, path=parts or None, **options)
    planned = time.perf_counter() - start
    batx.to_zarr(mosaic, out) if out else mosaic.compute()
print(json.dumps([time.perf_counter() - start, time.process_time() - before, planned,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def run(folder: Path, count: int, workers: int, nside: int, **options: object) -> None:
    """Print seconds, CPU seconds, seconds of planning and peak MB of one mosaic in a fresh process."""
    out, parts = options.get("out", ""), options.get("parts", "")
    settings = [str(folder), 0, count, workers, nside, str(out), "threads", str(parts)]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(settings)], capture_output=True, text=True, check=True
    )
    seconds, processor, planned, memory = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{count:9d} {workers:8d} {nside or 'facets':>6} {seconds:9.1f} {seconds / count:12.2f} "
        f"{processor / count:14.2f} {planned:11.2f} {memory:8.0f}",
        flush=True,
    )


def main() -> None:
    """Print a table of the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 50])
    parser.add_argument("--fine", action="store_true", help="also nside 1024 and the six galactic facets")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(max(arguments.counts)):
            pointing(number, folder)
        print("pointings  workers  nside  s in all  s a pointing  CPU a pointing  planning s  peak MB")
        for count in arguments.counts:
            for workers in (1, 2):
                run(folder, count, workers, 512)
        if arguments.fine:
            for nside in (1024, 0):
                where = {"out": folder / f"{nside}.zarr", "parts": folder / f"{nside}.parts"}
                run(folder, min(arguments.counts), 2, nside, **where)


if __name__ == "__main__":
    main()
