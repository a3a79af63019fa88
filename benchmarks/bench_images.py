"""Sky images: time of one further image with noise, and the statistics of source-free images.

Run ``python benchmarks/bench_images.py [N_IMAGES]``. The yardstick is the bare cost of 3 forward and 12
inverse real FFTs of 1024 x 512 in the same precision with the same threads; transforms of the mask are made
before.
With N_IMAGES (300 take half a minute) that many images of Poisson noise are made on a flat background, and as
many on one that falls by 30 % over the plane, cleaned; printed are mean and width of the significance where
the coding is above 0.15, the pixels above 4 sigma, and the largest value of an image.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import scipy.fft
import xarray as xr
from common import median_time

import batx
from batx.instrument.detector import DETECTOR
from batx.schema import build

#: fraction of a Gaussian above 4 sigma
_ABOVE_4 = 3.167124e-5


def planes(number: int, seed: int = 0, gradient: float = 0.0, level: float = 20.0) -> xr.Dataset:
    """Return Poisson noise on a background that is flat, or falls from left to right."""
    slope = 1 + gradient * (np.arange(DETECTOR.shape[1]) / DETECTOR.shape[1] - 0.5)
    counts = np.random.default_rng(seed).poisson(level * slope * DETECTOR, (number, *DETECTOR.shape))
    start = 6e8 + 10.0 * np.arange(number)
    return build(
        "detector_plane",
        {
            "counts": (("time", "dety", "detx"), counts.astype(np.int32)),
            "time": start + 5,
            "time_bnds": np.stack([start, start + 10], axis=1),
            "exposure": np.full(number, 10.0),
        },
    )


def yardstick(dtype: str, threads: int) -> float:
    """Return the time of 3 forward and 12 inverse real FFTs of 1024 x 512, s."""
    image = np.random.default_rng(1).random((512, 1024)).astype(dtype)
    transform = scipy.fft.rfft2(image)

    def work() -> None:
        for _ in range(3):
            scipy.fft.rfft2(image, workers=threads)
        for _ in range(12):
            scipy.fft.irfft2(transform, s=image.shape, workers=threads)

    return median_time(work)


def speed() -> None:
    aperture = batx.simulate.aperture()
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    one, stack = planes(1).isel(time=0), planes(8)
    for dtype in ("float32", "float64"):
        bare = yardstick(dtype, threads)
        options = {"aperture": aperture, "dtype": dtype}
        single = median_time(lambda: one.bat.sky_image(**options))  # noqa: B023
        each = median_time(lambda: stack.bat.sky_image(**options)) / 8  # noqa: B023
        quick = median_time(lambda: one.bat.sky_image(**options, noise=False))  # noqa: B023
        print(f"{dtype}, {threads} threads: 3 + 12 FFTs of 1024 x 512 {1e3 * bare:.1f} ms")
        print(f"  one further image with noise   {1e3 * single:6.1f} ms, ratio {single / bare:.2f}")
        print(f"  one of a stack of 8            {1e3 * each:6.1f} ms, ratio {each / bare:.2f}")
        print(f"  one without noise              {1e3 * quick:6.1f} ms, ratio {quick / bare:.2f}")
    cleaning = median_time(lambda: one.bat.clean())
    print(f"background cleaning of one detector image {1e3 * cleaning:.1f} ms")


def statistics(number: int) -> None:
    aperture = batx.simulate.aperture()
    for name, gradient in (("flat background", 0.0), ("cleaned, background falls by 30 %", -0.3)):
        total = square = above = count = 0.0
        largest = []
        for seed in range(0, number, 10):
            plane = planes(min(10, number - seed), seed, gradient)
            plane = plane.bat.clean() if gradient else plane
            image = plane.bat.sky_image(aperture=aperture)
            snr = image["snr"].values[:, image["pcode"].values > 0.15].astype(np.float64)
            total, square, count = total + snr.sum(), square + (snr**2).sum(), count + snr.size
            above += np.count_nonzero(snr > 4)
            largest += snr.max(axis=1).tolist()
        mean = total / count
        print(f"{number} images, {name}: significance {mean:+.5f} +- {np.sqrt(square / count - mean**2):.4f}")
        print(f"  pixels above 4 sigma {above:.0f}, Gaussian {count * _ABOVE_4:.0f}")
        print(f"  largest of an image {np.mean(largest):.2f} +- {np.std(largest):.2f}")


if __name__ == "__main__":
    speed()
    if len(sys.argv) > 1:
        statistics(int(sys.argv[1]))
