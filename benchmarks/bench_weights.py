"""Mask weights of 10 M events: pointing, slew with some 400 traces, several positions, lazy columns.

Run ``python benchmarks/bench_weights.py [N_EVENTS]``. The observation is made up here: a random mask,
uniform events over 200 s, an attitude at 5 Hz that stands still or slews by 14 degrees in 30 s. Figures are
the median of five calls after one warm call. Beside each stands its ratio to a plain pass over the columns
(copy of the time and one look-up by detector with numpy), which no weighting can go below.
"""

from __future__ import annotations

import sys

import numpy as np
import xarray as xr
from common import median_time

import batx
from batx.instrument import sky
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination, weight_map
from batx.schema import build

T0 = 6.0e8


def make_events(count: int) -> xr.Dataset:
    rng = np.random.default_rng(1)
    dety, detx = (axis.astype(np.int16) for axis in np.nonzero(DETECTOR))
    picked = rng.integers(0, len(detx), count)
    columns = {
        "time": np.sort(rng.uniform(T0, T0 + 200, count)),
        "detx": detx[picked],
        "dety": dety[picked],
        "event_flags": np.zeros(count, np.uint8),
    }
    return build("events", columns, {"tstart": T0, "tstop": T0 + 200})


def make_attitude(slew: float) -> xr.Dataset:
    """Return a pointing with jitter, turning by `slew` degrees between 110 and 140 s."""
    times = T0 - 20 + 0.2 * np.arange(1200)
    turn = np.deg2rad(slew) * np.clip((times - T0 - 110) / 30, 0, 1)
    jitter = np.random.default_rng(2).normal(0, 2e-5, (len(times), 2))
    vector = np.column_stack([jitter, np.sin(turn / 2)])
    quaternion = np.column_stack([vector, np.cos(turn / 2)])
    return build("attitude", {"time": times, "quaternion": quaternion})


def make_aperture() -> xr.Dataset:
    mask = np.where(np.random.default_rng(3).random((243, 487)) < 0.5, 1, -1)
    x, y = np.arange(487) / 2 - 121.5, np.arange(243) / 2 - 60.5
    return build(
        "aperture",
        {
            "mask": mask,
            "mask_x": x,
            "mask_y": y,
            "mask_x_bnds": np.column_stack([x - 0.25, x + 0.25]),
            "mask_y_bnds": np.column_stack([y - 0.25, y + 0.25]),
        },
    )


def main(count: int = 10_000_000) -> dict[str, float]:
    """Print and return the figures, seconds."""
    events, aperture = make_events(count), make_aperture()
    inputs = {"aperture": aperture, "alignment": sky.NOMINAL_ALIGNMENT}
    pointing = {"attitude": make_attitude(0.0), **inputs}
    slewing = {"attitude": make_attitude(14.0), **inputs}
    position = (12.0, 4.0)
    table = np.zeros(DETECTOR.shape, np.float32)
    columns = [events[name].values for name in ("time", "dety", "detx")]
    traces = events.bat.ray_trace(*position, **slewing).sizes["time"]
    several = (position[0] + np.arange(4.0), position[1] + np.arange(4.0))
    chunked = events.chunk(event=1_000_000)
    figures = {
        "plain pass": median_time(lambda: (columns[0].copy(), table[columns[1], columns[2]])),
        "pointing": median_time(lambda: events.bat.mask_weight(*position, **pointing)),
        f"slew, {traces} traces": median_time(lambda: events.bat.mask_weight(*position, **slewing)),
        "slew, 4 positions": median_time(lambda: events.bat.mask_weight(*several, **slewing)),
        "slew, dask chunks of 1 M": median_time(
            lambda: chunked.bat.mask_weight(*position, **slewing)["mask_weight"].compute()
        ),
    }
    for name, seconds in figures.items():
        print(f"{name:28s} {seconds:7.3f} s   {seconds / figures['plain pass']:6.2f} x plain pass")
    mask = aperture["mask"].values.astype(np.int8)
    geometry = MaskGeometry.from_attrs({}, mask.shape)
    for imx in (0.0, 0.25, 1.5):
        source = (imx * FAR, 0.0, FAR)
        shadow = median_time(lambda source=source: illumination(mask, geometry, source), 50)
        weights = median_time(lambda source=source: weight_map(mask, geometry, source), 50)
        layers = len(geometry.sublayers(source))
        print(f"shadow of {layers} layers {shadow * 1e3:18.3f} ms   with weights {weights * 1e3:.3f} ms")
    return figures


if __name__ == "__main__":
    print(f"batx {batx.__version__}, {sys.argv[1:] or '10 M'} events")
    main(*(int(argument) for argument in sys.argv[1:2]))
