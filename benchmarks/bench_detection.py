"""Source detection against plain FFT convolution.

Run ``python benchmarks/bench_detection.py [CALLS]``: a sky image of full size (930 × 1736 pixels) with 20
sources, one band and four. The yardstick is three calls of `scipy.signal.fftconvolve` of image and background
window for each pass over each band: number, mean and square of the pixels around each pixel. Figures are
medians after one warm call.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve

from batx.kernels.detect import window

SHAPE = (930, 1736)
STEP = 0.0021063
PASSES = 2


def median_time(function: Callable[[], object], calls: int) -> float:
    """Return the median wall time in seconds of `calls` calls after one that does not count."""
    function()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(calls: int) -> float:
    """Print times and ratios; return the ratio for one band."""
    import batx

    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    values = rng.normal(size=SHAPE)
    for row, column in zip(rng.uniform(60, 870, 20), rng.uniform(60, 1676, 20), strict=True):
        near = np.s_[int(row) - 9 : int(row) + 10, int(column) - 9 : int(column) + 10]
        values[near] += 30 * np.exp(-0.5 * ((x[near] - column) ** 2 + (y[near] - row) ** 2) / 1.32**2)
    axes = {"imx": (np.arange(SHAPE[1]) - 868) * -STEP, "imy": (np.arange(SHAPE[0]) - 465) * STEP}
    kernel = window("circle", 30, 6)
    yardstick = 3 * median_time(lambda: fftconvolve(values, kernel, mode="same"), calls)
    print(f"3 fftconvolve: {1e3 * yardstick:.0f} ms")
    ratios = []
    for bands in (1, 4):
        stack = np.stack([values + rng.normal(scale=0.1, size=SHAPE) for _ in range(bands)])
        image = batx.build("sky_image", {**axes, "rate": (("energy", "imy", "imx"), stack)})
        seconds = median_time(lambda image=image: batx.detect(image, pcode=1, passes=PASSES), calls)
        ratios.append(seconds / (yardstick * PASSES * bands))
        print(
            f"detect, {bands} band(s), {PASSES} passes, 20 sources: {1e3 * seconds:.0f} ms, "
            f"{ratios[-1]:.2f} of 3 fftconvolve a pass and band"
        )
    return ratios[0]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
