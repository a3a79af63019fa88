"""From a 10 M-event file to a weighted 64 ms, four-band light curve: time and memory against plain reading.

Run ``python benchmarks/bench_events.py [N_EVENTS] [FOLDER]``. Every figure is the median of five calls after
one warm call, all in one run on one machine; what is printed is the ratio to the time that `astropy.io.fits`
(memory-mapped) takes merely to read TIME, ENERGY, DETX, DETY and EVENT_FLAGS into native arrays.

(a) file to light curve, the weights computed for a position in a pointed observation
(b) re-binning in memory with Σw and Σw² against two calls of `numpy.histogram2d`
(c) weights along a slew with some 400 traces: seconds beyond (a)
(d) peak anonymous memory of (a) in a fresh process, as a multiple of the file; and of a chunked run on 2 GB
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import xarray as xr
from common import median_time

EDGES = [15, 25, 50, 100, 350]
COLUMNS = ("TIME", "ENERGY", "DETX", "DETY", "EVENT_FLAGS")


def read_with_astropy(path: Path) -> list[np.ndarray]:
    """Read the five columns into native arrays, memory-mapped."""
    from astropy.io import fits

    with fits.open(path, memmap=True) as hdus:
        data = hdus["EVENTS"].data
        return [data[name].astype(data[name].dtype.newbyteorder("=")) for name in COLUMNS]


def lightcurve_from_file(path: Path, calibration: dict, chunks: dict | None = None) -> object:
    """Open the file, compute weights for the calibration's position, make the light curve."""
    import batx

    events = batx.open_dataset(path, chunks=chunks)
    return events.bat.mask_weight(**calibration).bat.lightcurve(dt=0.064, energy=EDGES).compute()


def position_and_calibration(slew: bool) -> dict:
    """Return the arguments of `mask_weight`; the slew moves the source by some 400 times the tolerance."""
    from batx import simulate

    turn = [simulate.Slew(300.0, 400.0, ra=163.5, dec=26.0, roll=40.0)] if slew else []
    return {
        "ra": 165.764,
        "dec": 24.398,
        "attitude": simulate.attitude(duration=1000.0, slews=turn),
        "aperture": simulate.aperture(),
        "alignment": simulate.alignment(),
        "detector_mask": simulate.detector_mask(),
    }


class PeakMemory(threading.Thread):
    """Highest anonymous resident memory of this process, sampled every millisecond."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.running = 0, True

    def run(self) -> None:
        while self.running:
            with open("/proc/self/status") as status:
                kib = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
            self.peak = max(self.peak, kib * 1024)
            time.sleep(0.001)


def memory_in_fresh_process(path: Path, chunked: bool) -> int:
    """Return the peak anonymous memory in bytes of making the light curve in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(path), str(int(chunked))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare_in_memory(events: xr.Dataset) -> None:
    """Print (b)."""
    time_, energy, weight = (events[name].values for name in ("time", "energy", "mask_weight"))
    start, stop = float(events["gti_start"][0]), float(events["gti_stop"][-1])
    bins = [np.arange(start, stop + 0.064, 0.064), np.array(EDGES, dtype=float)]

    def with_numpy() -> None:
        np.histogram2d(time_, energy, bins=bins, weights=weight)
        np.histogram2d(time_, energy, bins=bins, weights=weight.astype(np.float64) ** 2)

    ours = median_time(lambda: events.bat.lightcurve(dt=0.064, energy=EDGES))
    theirs = median_time(with_numpy)
    print(
        f"(b) re-binning in memory: {ours:.3f} s, numpy {theirs:.3f} s = {theirs / ours:.1f} x (at least 8)"
    )


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        sampler = PeakMemory()
        sampler.start()
        lightcurve_from_file(
            Path(sys.argv[2]), position_and_calibration(False), {} if sys.argv[3] == "1" else None
        )
        sampler.running = False
        sampler.join()
        print(sampler.peak)
        return

    import batx

    n_events = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    pointed = batx.simulate.event_file(folder / "pointed.evt", n_events, overwrite=True)
    calibration = position_and_calibration(slew=False)
    slewing = position_and_calibration(slew=True)
    traces = batx.open_dataset(pointed).bat.ray_trace(**slewing).sizes["time"]

    plain = median_time(lambda: read_with_astropy(pointed))
    print(f"astropy.io.fits reads five columns: {plain:.3f} s")
    weighted = median_time(lambda: lightcurve_from_file(pointed, calibration))
    print(
        f"(a) file to light curve, weights computed: {weighted:.3f} s = {weighted / plain:.2f} x (at most 4)"
    )

    events = batx.open_dataset(pointed).bat.mask_weight(**calibration).load()
    compare_in_memory(events)
    del events

    slew = median_time(lambda: lightcurve_from_file(pointed, slewing))
    print(f"(c) weights along a slew, {traces} traces: {slew - weighted:+.3f} s beyond (a) (at most 1)")

    size = pointed.stat().st_size
    peak = memory_in_fresh_process(pointed, chunked=False)
    print(f"(d) peak anonymous memory: {peak / 1e6:.0f} MB = {peak / size:.2f} x the file (at most 2.5)")
    large = batx.simulate.event_file(folder / "large.evt", int(2e9 / 27), overwrite=True)
    peak = memory_in_fresh_process(large, chunked=True)
    print(f"(d) chunked, {large.stat().st_size / 1e9:.1f} GB file: {peak / 1e6:.0f} MB (under 600)")
    large.unlink()


if __name__ == "__main__":
    main()
