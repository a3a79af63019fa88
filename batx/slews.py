"""Bursts looked for while the instrument slews: short images mosaicked over windows of every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import attitude_path
from batx.calibration_inputs import alignment_for, aperture_for, records
from batx.errors import EmptySelectionError, PositionError, ValueRangeError
from batx.grids import good_time
from batx.instrument import sky
from batx.positions import sky_position
from batx.schema import build, require_bat
from batx.sky_grids import HealpixGrid, frame_to_icrs
from batx.slew_images import SlewImages, Steps
from batx.units import to_value
from batx.window_search import Search

__all__ = ["slew_mosaic"]


def slew_mosaic(
    events: xr.Dataset,
    tstart: Any = None,
    tstop: Any = None,
    *,
    aperture: xr.Dataset | None = None,
    attitude: xr.Dataset,
    alignment: Any = None,
    step: Any = 0.2,
    energy: Any = (15.0, 25.0, 50.0, 100.0, 350.0),
    ra: Any = None,
    dec: Any = None,
    shortest: Any = None,
    longest: Any = None,
    snr_min: float = 6.0,
    nside: int = 512,
    order: str = "nested",
    frame: str = "icrs",
    pcode_min: float = 0.15,
    detector_mask: Any = None,
    background: xr.Dataset | None = None,
    t0: Any = None,
    gti: Any = None,
    total: bool = False,
    extrapolate: bool = False,
    memory: float = 6e8,
) -> xr.DataTree:
    """Return the window of time, and the place on the sky, in which events of a slew show most of a source.

    Images of `step` seconds or shorter, each with its mean attitude, are projected on HEALPix cells and added
    up over windows of 1, 2, 4, ... steps up to the whole span, that overlap by half. In each window the most
    significant place is found, in every band and in their sum, and its position is fitted.

    Parameters
    ----------
    events
        Kind ``events``; need not be sorted. Columns in a file or in chunks are read for some images at
        a time if the times are in order.
    tstart, tstop
        Limits of the time that is searched; all good time if not given.
    aperture, attitude, alignment
        Kinds ``aperture``, ``attitude`` and ``alignment``; the first and the last are those of the
        calibration database (`batx.caldb`) if not given.
    step
        Length of a step, s: windows are of whole steps. Steps in which the instrument turns by more than
        0.14 degrees are imaged in parts: a source loses at most 5 % of its significance.
    energy
        Band edges in keV (band + 1,), or (lower, upper) pairs.
    ra, dec
        Measure this position (degrees, Quantity, or a SkyCoord as `ra`) in every window in place of a search.
    shortest, longest
        Lengths of the shortest and of the longest window, s; `step` and the whole span if not given.
    snr_min
        Further peaks of a window are listed above this significance; the best one always is.
    nside, order, frame, pcode_min
        Of the cells, as in `batx.to_healpix`. At 512 a cell is 7 arcmin wide.
    detector_mask, background
        As in `batx.detector_plane` and `batx.sky_image`.
    t0, gti
        As in `batx.detector_plane`. Images without good time are left out.
    total
        Return the mosaic of the whole span as well.
    extrapolate
        Take the attitude as constant beyond its ends; otherwise that is an error.
    memory
        Bytes of the sums that are held at a time. Where they take more, the sky is searched part by part, and
        the images are made anew for each.

    Returns
    -------
    xarray.DataTree
        ``best``: kind ``mosaic``, the sums over the best window, float32. ``candidates``: kind ``catalog``,
        for each window its best place and those above `snr_min`, by falling significance, with `ra`, `dec`,
        `err_rad`, `window_start`, `window_stop`, `band`, and `snr`, `rate`, `rate_err` for all bands and,
        as the last, their sum; `err_rad` is 0 at a given position; `false_alarms` is the number of noise
        peaks of this significance that are expected in all windows and bands. ``total``: kind ``mosaic``, if
        asked for.

    Raises
    ------
    EmptySelectionError
        If there is no event in the time and the bands.
    AttitudeError
        If there is no attitude or it does not cover the images.
    PositionError
        If `ra`, `dec` is in no image.
    KindError, MissingVariableError, ValueRangeError, GtiError
        As `batx.detector_plane`, `batx.sky_image` and `batx.to_healpix`.

    Notes
    -----
    Source: algorithms 2.8 (sums on cells, fit of a peak) and 2.9 (windows, trials). S/√W of a single cell is
    lower than the significance: bilinear sampling lowers the peak by 9 %, smooths the noise by about 8 %,
    which W does not know, and a cell misses the peak.

    Examples
    --------
    >>> import batx
    >>> from batx.simulate import Slew, Source, Box, alignment, aperture, attitude, events
    >>> parts = dict(aperture=aperture(), alignment=alignment(),
    ...     attitude=attitude(6e8, 4.0, (150, 30, 40), slews=[Slew(0, 4, 150.5, 30, 40)]))
    >>> burst = Source(2.0, ra=155.0, dec=24.0, light_curve=Box(1.0, 2.0))
    >>> ev = events(burst, duration=4.0, **parts)
    >>> found = slew_mosaic(ev, step=0.5, nside=128, energy=(15, 150), **parts)
    >>> best = found["candidates"].to_dataset().isel(source=0)
    >>> round(float(best.window_start) - 6e8, 2), abs(float(best.ra) - 155.0) < 0.2
    (1.0, True)
    """
    require_bat(events, "events", operation="slew_mosaic")
    if not events.sizes["event"]:
        raise EmptySelectionError("slew_mosaic: found no events, expected some")
    if not 0 <= pcode_min < 1:
        raise ValueRangeError(f"pcode_min: found {pcode_min!r}, expected 0 to 1")
    aperture = aperture_for(aperture, events, "slew_mosaic")
    alignment = alignment_for(alignment, attitude, events)
    good = good_time(events, gti, tstart, tstop, t0)
    steps = Steps.of(step, good, attitude_path(attitude, alignment), extrapolate)
    limits = (
        0.0 if shortest is None else _positive(shortest, "s", "shortest"),
        np.inf if longest is None else _positive(longest, "s", "longest"),
    )
    if limits[0] > min(limits[1], steps.length * len(steps)):
        raise ValueRangeError(
            f"shortest: found {shortest!r}, expected at most longest ({longest!r}) and the span of "
            f"{steps.length * len(steps):g} s"
        )
    snr_min = _positive(snr_min, "1", "snr_min")
    images = SlewImages(
        events=events,
        steps=steps,
        grid=HealpixGrid(nside, order, frame),
        pcode_min=pcode_min,
        plane={"energy": energy, "gti": gti, "detector_mask": detector_mask},
        image={"aperture": aperture, "detector_mask": detector_mask, "background": background},
        served=records(alignment=alignment),
    )
    target = None if ra is None else _target(ra, dec, images)
    search = Search(images, limits, snr_min, target)
    search.run(_positive(memory, "1", "memory"), total)
    if not search.peaks:
        raise EmptySelectionError("slew_mosaic: no window has enough cells around any place to measure it")
    tree = {"best": images.mosaic(search.best.sums, search.best.steps), "candidates": _catalog(search)}
    if total:
        tree["total"] = images.mosaic(search.total.sums, (0, len(steps)))
    return xr.DataTree.from_dict(tree)


def _catalog(search: Search) -> xr.Dataset:
    """Return the peaks of all windows, by falling significance."""
    images = search.images
    peaks = sorted(search.peaks, key=lambda peak: -peak.highest)
    vectors = np.array([peak.vector for peak in peaks]) @ frame_to_icrs(images.grid.frame).T
    ra, dec = sky.vector_to_radec(vectors)
    error = np.array([peak.error for peak in peaks])
    spans = np.array([images.steps.span(peak.steps) for peak in peaks])
    bounds = images.bounds
    highest = np.array([peak.highest for peak in peaks])
    variables: dict[str, Any] = {
        "ra": ("source", ra),
        "dec": ("source", dec),
        "err_rad": ("source", error),
        "window_start": ("source", spans[:, 0], {"units": "s", "long_name": "start of the window (MET)"}),
        "window_stop": ("source", spans[:, 1], {"units": "s", "long_name": "end of the window (MET)"}),
        "energy": ("energy", bounds.mean(axis=1)),
        "energy_bnds": (("energy", "bnds"), bounds),
        "band": (
            "source",
            np.array([peak.band for peak in peaks]),
            {"units": "1", "long_name": "most significant band, index along energy"},
        ),
        "false_alarms": (
            "source",
            search.false_alarms(highest),
            {"units": "1", "long_name": "peaks of noise above this snr expected in the whole search"},
        ),
    }
    for name in ("snr", "rate", "rate_err"):
        variables[name] = (("source", "energy"), np.array([getattr(peak, name) for peak in peaks]))
    attrs = images.attrs() | {"n_windows": search.n_windows}
    return build("catalog", variables, attrs)


def _positive(value: Any, unit: str, name: str) -> float:
    number = float(to_value(value, unit, name))
    if not (np.isfinite(number) and number > 0):
        raise ValueRangeError(f"{name}: found {value!r}, expected a positive number")
    return number


def _target(ra: Any, dec: Any, images: SlewImages) -> np.ndarray:
    """Return the direction (3,) of a position in the frame of the cells."""
    lon, lat = sky_position(ra, dec)
    if lon.ndim:
        raise ValueRangeError(f"ra, dec: found {lon.size} positions, expected one")
    vector = sky.radec_to_vector(lon, lat)
    if not images.shows(vector):
        raise PositionError(
            f"slew_mosaic: ra {float(lon):.4f}, dec {float(lat):.4f} is in none of the {len(images.steps)} "
            f"images where the coding is above {images.pcode_min:g}"
        )
    return frame_to_icrs(images.grid.frame).T @ vector
