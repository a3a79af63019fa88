"""Time the pipeline of events on a simulated observation of 1.4 million events, step by step."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import batx
from batx import simulate
from batx.pipelines import Status, events


def observed(folder: str) -> Path:
    """Simulate 200 s with a burst and a slew."""
    pointing = simulate.attitude(6e8, 1.0, (155.0, 22.0, 40.0))
    place = batx.field_position(pointing, 165.0, 24.0, times=[6e8], alignment=simulate.alignment())
    burst = simulate.Source(
        0.4,
        ra=165.0,
        dec=24.0,
        light_curve=simulate.Fred(40.0, 1.0, 8.0),
        spectrum=simulate.Cutoff(index=1.0, peak=120.0),
        response=batx.response(imx=float(place.imx[0]), imy=float(place.imy[0])),
    )
    return simulate.observation(
        folder,
        burst,
        simulate.Background(rate=0.2),
        trigger=40.0,
        target=(155.0, 22.0, 40.0),
        slews=[simulate.Slew(80.0, 100.0, 165.0, 24.0, 40.0)],
        seed=3,
    )


def main() -> None:
    """Print the time of each step."""
    with tempfile.TemporaryDirectory() as folder:
        made = observed(folder)
        last = [time.perf_counter(), time.process_time()]

        def show(one: Status) -> None:
            if one.state != "running":
                now = [time.perf_counter(), time.process_time()]
                print(
                    f"{one.name:<12} {now[0] - last[0]:6.2f} s, {now[1] - last[1]:6.2f} s of processor time"
                )
                last[:] = now

        begin = time.perf_counter(), time.process_time()
        events(made, Path(folder) / "results").run(progress=show)
        print(
            f"all {time.perf_counter() - begin[0]:.1f} s, {time.process_time() - begin[1]:.1f} s of processor"
        )


if __name__ == "__main__":
    main()
