"""Sky images: time of one further image with noise, and the statistics of source-free images.

Run ``python benchmarks/bench_images.py [N_IMAGES]``. The yardstick is the bare cost of 3 forward and 12
inverse real FFTs of 1024 x 512 in the same precision with the same threads; transforms of the mask are made
before.
With N_IMAGES (300 take three minutes) that many images of Poisson noise are made on a flat background, and as
many on one that falls by 30 % over the plane, cleaned; printed are mean and width of the significance where
the coding is above 0.15, the pixels above 4 sigma, and the largest value of an image against the effective
number of independent pixels; with the noise that follows from the counts, and with local noise.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import scipy.fft
import xarray as xr
from common import median_time
from scipy.stats import norm

import batx
from batx.instrument.detector import DETECTOR
from batx.kernels.peaks import false_alarm
from batx.schema import build


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


class Significance:
    """Moments, tail and extremes of maps of significance."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.total = self.square = self.above = self.rough = 0.0
        self.largest: list[float] = []

    def add(self, snr: np.ndarray, used: np.ndarray) -> None:
        """Add one map, where `used`."""
        values = snr[used].astype(np.float64)
        self.count += values.size
        self.total += values.sum()
        self.square += (values**2).sum()
        self.above += np.count_nonzero(values > 4)
        self.largest += [values.max(), -values.min()]
        both = [used[:, 1:] & used[:, :-1], used[1:] & used[:-1]]
        steps = [np.diff(snr, axis=1)[both[0]], np.diff(snr, axis=0)[both[1]]]
        # neighbouring pixels have the correlation 1 - <difference squared>/2, that of exp(-λ/2) at distance 1
        self.rough += (
            np.prod([-2 * np.log(1 - (step.astype(np.float64) ** 2).mean() / 2) for step in steps]) ** 0.5
        )

    def report(self) -> None:
        """Print what a Gaussian and the effective number of independent pixels would give."""
        mean, maps = self.total / self.count, len(self.largest) / 2
        width = np.sqrt(self.square / self.count - mean**2)
        pixels, largest = self.count / maps, np.array(self.largest) / width
        _, chance = false_alarm(largest, int(pixels), pixels, self.rough / maps, 1)
        print(f"{self.name}: significance {mean:+.5f} +- {width:.4f}")
        print(f"  pixels above 4 sigma {self.above:.0f}, Gaussian {self.count * norm.sf(4):.0f}")
        middle, rare = np.median(largest), np.mean(chance < 0.05)
        print(
            f"  largest of an image {largest.mean():.2f} +- {largest.std():.2f} widths, median {middle:.2f}"
        )
        print(f"  false-alarm probability: mean {chance.mean():.3f} (0.5), below 0.05: {rare:.3f} of images")


def statistics(number: int) -> None:
    """Print the statistics of source-free images, with the noise of the counts and with local noise."""
    aperture = batx.simulate.aperture()
    maps = [
        Significance(f"{number} images, {name}")
        for name in (
            "flat background",
            "local noise, 30 pixels",
            "local noise, 60 pixels",
            "cleaned, background falls by 30 %",
        )
    ]
    for seed in range(0, number, 10):
        size = min(10, number - seed)
        flat = planes(size, seed).bat.sky_image(aperture=aperture)
        clean = planes(size, seed, -0.3).bat.clean().bat.sky_image(aperture=aperture)
        used = flat["pcode"].values > 0.15
        for index in range(size):
            image = flat.isel(time=index)
            local = [image.bat.background_maps(background_radius=radius) for radius in (30, 60)]
            shown = image, *local, clean.isel(time=index)
            for target, made in zip(maps, shown, strict=True):
                target.add(made["snr"].squeeze().values, used)
    for target in maps:
        target.report()


if __name__ == "__main__":
    speed()
    if len(sys.argv) > 1:
        statistics(int(sys.argv[1]))
