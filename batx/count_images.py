"""Images of counts from the event lists of X-ray telescopes, with the coordinates of the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import EmptySelectionError, ValueRangeError
from batx.grids import energy_bounds, good_time
from batx.imaging_telescopes import channels_of, in_band, live_fraction, require_imaging, sky_of
from batx.kernels.gti import membership
from batx.regions import as_regions, circle, in_pixels, inside
from batx.schema import build
from batx.schema.attributes import ORIGIN, kept_attrs

__all__ = ["count_image", "in_region"]

_LARGEST = 2**26


def in_region(events: xr.Dataset, region: Any) -> xr.DataArray:
    """Return which events are in a region.

    Parameters
    ----------
    events
        Kind ``events`` with ``x`` and ``y``.
    region
        What `batx.regions.circle` and the like return, or a file of ds9.

    Returns
    -------
    xarray.DataArray
        bool (event); ``events.sel(event=in_region(events, region))`` selects.

    Raises
    ------
    KindError, MissingVariableError
        If these are no events of an imaging telescope.
    MissingFileError, FileFormatError, ValueRangeError, PositionError
        If the region is none, or on a sky that the events do not have.

    Examples
    --------
    >>> from batx.regions import circle
    >>> events = build("events", {"time": [0.0, 1.0], "x": ("event", [5.0, 9.0]), "y": ("event", [5.0, 5.0])})
    >>> in_region(events, circle(5, 5, 2, frame="physical")).values
    array([ True, False])
    """
    require_imaging(events, "in_region")
    shapes = in_pixels(as_regions(region), sky_of(events))
    held = inside(shapes, events["x"].values.astype(np.float64), events["y"].values.astype(np.float64))
    return xr.DataArray(held, dims="event", name="in_region")


def count_image(
    events: xr.Dataset,
    *,
    bin: float = 1,
    energy: Any = None,
    channels: Any = None,
    center: Any = None,
    size: int | None = None,
    gti: Any = None,
    tstart: Any = None,
    tstop: Any = None,
    t0: Any = None,
) -> xr.Dataset:
    """Return the image of an event list: counts in pixels, with the sky and the physical pixels.

    Parameters
    ----------
    events
        Kind ``events`` with ``x`` and ``y``.
    bin
        Size of the pixels of the image in pixels of the event list.
    energy
        (low, high) in keV, where the energies of the channels are known (`batx.imaging_telescopes`).
    channels
        (first, last) PI channel instead, both included.
    center
        Middle of the image: (ra, dec) in degrees or a SkyCoord. By default the image is the smallest that
        holds all events and is aligned with the pixels of the event list.
    size
        Pixels on a side, with `center`.
    gti, tstart, tstop, t0
        As for `batx.lightcurve`.

    Returns
    -------
    xarray.Dataset
        Kind ``image``: ``image(y, x)`` in counts, ``wcs``, ``attrs["exposure"]`` (live time, s),
        ``attrs["e_min"]`` and ``["e_max"]`` (keV) of a band.

    Raises
    ------
    KindError, MissingVariableError
        If these are no events of an imaging telescope.
    ValueRangeError
        If `bin` or `size` is out of range, or the image were larger than 67 million pixels.
    EmptySelectionError
        If there are no events, and so no size.
    GtiError
        If good time is unknown.

    Notes
    -----
    Live time is good time times the mean fraction that the header states (``DEADC``). Counts are not
    corrected for anything.

    Examples
    --------
    >>> events = build("events", {"time": [0.0, 1.0], "x": ("event", [5.0, 6.0]), "y": ("event", [3.0, 3.0]),
    ...     "gti_start": [0.0], "gti_stop": [2.0]})
    >>> count_image(events).image.values
    array([[1, 1]], dtype=int32)
    """
    require_imaging(events, "count_image")
    if not (np.isfinite(bin) and bin > 0):
        raise ValueRangeError(f"bin: found {bin}, expected a size above 0 pixels")
    good = good_time(events, gti, tstart, tstop, t0)
    kept = membership(events["time"].values, *good)
    if energy is not None or channels is not None:
        kept &= in_band(events, _one_band(events, energy, channels))
    x, y = (events[name].values.astype(np.float64)[kept] for name in ("x", "y"))
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    sky = sky_of(events)
    first, shape = _frame(events, x, y, bin, center, size, sky)
    column, row = (
        np.floor((value - low) / bin).astype(np.int64) for value, low in ((x, first[0]), (y, first[1]))
    )
    held = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    image = np.bincount(row[held] * shape[1] + column[held], minlength=shape[0] * shape[1])
    exposure = float(np.sum(good[1] - good[0]))
    attrs = _attrs(events, good) | {"exposure": exposure * live_fraction(events)}
    if energy is not None:
        low, high = energy_bounds(energy)
        attrs |= {"e_min": float(low[0]), "e_max": float(high[0])}
    variables = {
        "image": (("y", "x"), image.reshape(shape).astype(np.int32), {"units": "count"}),
        "wcs": ((), _cards(sky, first, bin)),
    }
    return build("image", variables, attrs)


def _one_band(events: xr.Dataset, energy: Any, channels: Any) -> np.ndarray:
    """Return first and last channel of the one band asked for."""
    if energy is not None and channels is not None:
        raise ValueRangeError("count_image: found energy and channels, expected one of them")
    bands = channels_of(events, energy) if channels is None else np.atleast_2d(np.asarray(channels))
    if bands.shape != (1, 2) or not bands[0, 0] <= bands[0, 1]:
        raise ValueRangeError(
            f"count_image: found {energy if channels is None else channels}, expected one band, (low, high)"
        )
    return bands[0]


def _frame(
    events: xr.Dataset, x: np.ndarray, y: np.ndarray, bin: float, center: Any, size: int | None, sky: Any
) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return the lower edge of the first pixel in x and y, and the shape (rows, columns)."""
    if center is not None:
        if size is None or not size >= 1:
            raise ValueRangeError(f"size: found {size}, expected a number of pixels, with center")
        ra, dec = (center, None) if hasattr(center, "icrs") else center
        middle = in_pixels(circle(ra, dec, 1.0, frame="icrs"), sky)[0].values[:2]
        # on the grid of the event list's pixels, whose middles are whole numbers
        first = tuple(float(np.round(value - size * bin / 2 - 0.5)) + 0.5 for value in middle)
        shape = int(size), int(size)
    elif not x.size:
        raise EmptySelectionError("count_image: there are no events that are selected; give center and size")
    else:
        lowest = [float(np.floor(value.min())) - 0.5 for value in (x, y)]
        first = lowest[0], lowest[1]
        rows, columns = (int((value.max() - low) // bin) + 1 for value, low in ((y, first[1]), (x, first[0])))
        shape = rows, columns
    if shape[0] * shape[1] > _LARGEST:
        raise ValueRangeError(
            f"count_image: found {shape[0]} x {shape[1]} pixels; use a larger bin, or center"
        )
    return (first[0], first[1]), shape


def _attrs(events: xr.Dataset, good: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    attrs = kept_attrs(events.attrs, *ORIGIN, "radecsys", "equinox", "date_obs", "date_end")
    return attrs | {"tstart": float(good[0][0]), "tstop": float(good[1][-1])}


def _cards(sky: Any, first: tuple[float, float], bin: float) -> str:
    """Return the cards of the sky, and of the physical pixels, of an image."""
    from astropy.io.fits import Header

    header = Header()
    if sky is not None:
        moved = sky.deepcopy()
        moved.wcs.crpix = (moved.wcs.crpix - np.array(first)) / bin + 0.5
        moved.wcs.cdelt = moved.wcs.cdelt * bin
        header = moved.to_header()
        header.remove("MJDREF", ignore_missing=True)  # of no use without a time axis, and 0
    for axis, low in enumerate(first, 1):
        header[f"LTM{axis}_{axis}"] = 1.0 / bin
        header[f"LTV{axis}"] = 0.5 - low / bin
    return "\n".join(str(card).rstrip() for card in header.cards)
