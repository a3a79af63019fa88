"""Slew search: time and peak anonymous memory from events to the finished mosaic of the best window.

``python benchmarks/bench_slew.py`` searches 15 s of a slew in 75 images of 0.2 s and four bands at nside 512,
twice in one process: the first run compiles what is not in the cache, the second one does not. With
``--workers`` it makes the same images and their mosaic with one and with two workers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

START = 6e8
DURATION = 15.0


def simulated() -> dict[str, Any]:
    """Return events of a slew of 15 degrees with a burst of 3 s, and what is needed to image them."""
    from batx import simulate

    parts = {
        "aperture": simulate.aperture(),
        "alignment": simulate.alignment(),
        "attitude": simulate.attitude(
            START, DURATION, (150, 30, 40), slews=[simulate.Slew(0, 15, 150, 15, 40)]
        ),
    }
    burst = simulate.Source(0.5, ra=155.0, dec=22.0, light_curve=simulate.Box(6.0, 9.0))
    return {"events": simulate.events(burst, duration=DURATION, seed=1, **parts), **parts}


class Memory(Thread):
    """The largest anonymous memory of this process, looked at every 20 ms; bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
            self.peak = max(self.peak, now)


def measure(folder: Path, nside: int) -> list[dict[str, float]]:
    """Return time, processor time and peak memory of two searches of the data in a folder."""
    import batx

    parts = {
        name: batx.open_dataset(folder / f"{name}.nc").load()
        for name in ("events", "aperture", "alignment", "attitude")
    }
    events = parts.pop("events")
    results = []
    for _ in range(2):
        memory = Memory()
        memory.start()
        wall, used = time.perf_counter(), time.process_time()
        found = events.bat.slew_mosaic(step=0.2, energy=(15, 25, 50, 100, 350), nside=nside, **parts)
        results.append({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - used})
        memory.done.set()
        memory.join()
        best = found["candidates"].to_dataset().isel(source=0)
        results[-1] |= {"memory": memory.peak, "snr": float(best.snr.max())}
        results[-1] |= {"ra": float(best.ra), "dec": float(best.dec)}
    return results


def measure_workers(folder: Path, nside: int) -> list[float]:
    """Return seconds from events to the sums of a mosaic, with one and with two workers."""
    import numpy as np

    import batx

    parts = {
        name: batx.open_dataset(folder / f"{name}.nc").load()
        for name in ("aperture", "alignment", "attitude")
    }
    events = batx.open_dataset(folder / "events.nc").load()
    seconds = []
    for images, workers in ((5, 2), (75, 1), (75, 2)):  # the first compiles
        begin = time.perf_counter()
        edges = START + 0.2 * np.arange(images + 1)
        planes = events.bat.detector_plane(time=edges, energy=[15, 25, 50, 100, 350]).chunk(time=5)
        mosaic = batx.mosaic(planes.bat.sky_image(**parts), nside=nside)
        mosaic.compute(scheduler="threads", num_workers=workers)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nside", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="used by the measuring process")
    parser.add_argument("--workers", action="store_true", help="compare one worker with two")
    options = parser.parse_args()
    if options.folder is not None:
        run = measure_workers if options.workers else measure
        print(json.dumps(run(options.folder, options.nside)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, ds in simulated().items():
            ds.bat.to_netcdf(Path(folder) / f"{name}.nc")
        command = [sys.executable, __file__, "--folder", folder, "--nside", str(options.nside)]
        command += ["--workers"] if options.workers else []
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if options.workers:
        one, two = json.loads(answer.splitlines()[-1])
        print(f"one worker {one:.1f} s, two workers {two:.1f} s: {one / two:.2f} times as fast")
        return
    for name, run in zip(("first run", "second run"), json.loads(answer.splitlines()[-1]), strict=True):
        print(
            f"{name}: 75 images x 4 bands, nside {options.nside}: {run['seconds']:.1f} s "
            f"({run['cpu']:.1f} s of processor time), {run['memory'] / 1e9:.2f} GB, "
            f"burst at {run['ra']:.3f} {run['dec']:.3f} (155, 22), {run['snr']:.1f} sigma"
        )


if __name__ == "__main__":
    main()
