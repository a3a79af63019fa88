"""Large event files for measurements of speed."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import xarray as xr

from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, weight_map
from batx.io.write_events import event_parts_to_fits
from batx.simulate import mask as masks
from batx.simulate import photons
from batx.simulate.background import Background
from batx.simulate.checks import positive
from batx.simulate.detectors import detector_table
from batx.simulate.sources import Source

__all__ = ["event_file"]

_START = 6e8
_DURATION = 1000.0
_PLACE = (0.25, 0.10)
_AT_ONCE = 10_000_000


def event_file(
    path: str | PathLike[str], n: int = 10_000_000, *, overwrite: bool = False, seed: int = 0
) -> Path:
    """Write one event file of exactly `n` events of 27 bytes, for measurements of speed.

    The columns are TIME D, DET_ID I, EVENT_FLAGS B, PHA I, DETX I, DETY I, MASK_WEIGHT E, PI I and ENERGY E.
    A tenth of the events are of a source at IMX 0.25, IMY 0.10, the others background, in 1000 s; MASK_WEIGHT
    is the weight for that place through ``aperture(seed=seed)``. Memory is bounded: 10 million events are
    made at a time.

    Parameters
    ----------
    path
        File to write.
    n
        Number of events.
    overwrite
        Whether the file may be replaced.
    seed
        Same seed, same file.

    Raises
    ------
    WriteError
        If the file exists and `overwrite` is false.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.path.getsize(event_file(f"{folder}/events.evt", 1000)) > 27_000
    True
    """
    count = int(positive(n, "1", "n"))
    return event_parts_to_fits(_parts(count, seed), path, overwrite)


def _parts(count: int, seed: int) -> Iterator[xr.Dataset]:
    """Yield exactly `count` events in parts; each goes on where the one before was cut."""
    aperture = masks.aperture(seed=seed)
    cells = aperture["mask"].values
    geometry = MaskGeometry.from_attrs(aperture.attrs, cells.shape)
    weight = weight_map(cells, geometry, (_PLACE[0] * FAR, _PLACE[1] * FAR, FAR))[0].astype(np.float32)
    detectors = detector_table(disabled=0, hot=0, cold=0, seed=seed)
    start, made = _START, 0
    while made < count:
        wanted = min(_AT_ONCE, count - made)
        duration = _DURATION * wanted / count
        rate = (wanted + 6 * np.sqrt(wanted) + 10) / duration
        ev = photons.events(
            Source(0.1 * rate, imx=_PLACE[0], imy=_PLACE[1], per="total"),
            Background(0.9 * rate / np.count_nonzero(DETECTOR)),
            start=start,
            duration=duration,
            calibration=0.0,
            aperture=aperture,
            detectors=detectors,
            seed=seed + made // _AT_ONCE,
        )
        stop = float(ev["time"][wanted]) if wanted < ev.sizes["event"] else float(ev.attrs["tstop"])
        ev = ev.isel(event=slice(wanted)).drop_vars("simlabel")
        ev["mask_weight"].values[:] = weight[ev["dety"].values, ev["detx"].values]
        ev.attrs["tstop"] = stop
        yield ev
        start, made = stop, made + wanted
