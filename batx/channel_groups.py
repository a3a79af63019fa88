"""Groups of channels: which channels of a spectrum are fitted together, and bins for several spectra."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import MissingVariableError, ValueRangeError
from batx.grids import energy_bounds
from batx.kernels.grouping import PARTIAL, group_greedily, group_size, optimal_width, resolution
from batx.schema import require_kind
from batx.units import to_value

__all__ = ["channel_bins", "group"]

TAILS = ("bad", "join", "keep")


@by_engine
def group(
    spectrum: xr.Dataset,
    *,
    min_counts: float | None = None,
    min_snr: float | None = None,
    size: int | None = None,
    edges: Any = None,
    oversample: float | None = None,
    optimal: bool = False,
    response: Any = None,
    background: Any = None,
    energy: Any = None,
    tail: str = "bad",
) -> xr.Dataset:
    """Return a spectrum with its channels put into groups, each of which is full by all that is asked for.

    Nothing is summed: ``grouping`` and ``quality`` say what a fit and a plot take together (OGIP/92-007).
    Groups begin at the first channel and never reach over a channel of bad quality.

    Parameters
    ----------
    spectrum
        Kind ``spectrum``, one of them (no time or source axis).
    min_counts
        Least counts in a group.
    min_snr
        Least signal-to-noise ratio of a group: net counts over √(N + s² B) if it is Poisson, B the counts of
        `background` and s its scaling; else rate over the errors in quadrature.
    size
        Number of channels in a group.
    edges
        Edges of the groups in keV, increasing: a channel is in the group that its middle is in. Alone.
    oversample
        Groups at least as wide as the resolution (full width at half maximum) divided by this, to the nearest
        channel. Needs `response`.
    optimal
        The width of Kaastra & Bleeker (2016) at each channel, of the resolution and the counts. Needs
        `response`.
    response
        Kind ``response`` with ``matrix``, or its path: its peaks give the resolution, and it says the
        energies of channels that the spectrum does not.
    background
        Kind ``spectrum``, on the same channels, or its path.
    energy
        (low, high) in keV: only channels with their middle inside are put into groups.
    tail
        What becomes of channels that do not fill a group: ``"bad"`` marks each with quality 2, as ``grppha``;
        ``"join"`` puts them into the group before them; ``"keep"`` makes them a group.
    engine
        ``"native"``; ``"heasoft"`` for the tool grppha or ftgrouppha, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``spectrum`` with ``grouping`` and ``quality``; earlier groups are replaced, and with them the
        quality 2 of their left-over channels. Computed in memory if it was lazy.

    Raises
    ------
    KindError, MissingVariableError
        If something is of another kind, or has no matrix or energies.
    ValueRangeError
        If nothing is asked for, or what is asked for makes no sense, or the counts of a Poisson spectrum
        are negative.

    Examples
    --------
    >>> from batx.schema import build
    >>> spectrum = build("spectrum", {"channel": np.arange(6), "counts": [3, 1, 5, 2, 1, 1],
    ...                  "exposure": ((), 10.0)}, {"statistic": "poisson", "weighting": "none"})
    >>> group(spectrum, min_counts=4).grouping.values
    array([ 1, -1,  1,  1, -1, -1], dtype=int16)
    """
    require_kind(spectrum, "spectrum", operation="group")
    values = spectrum["counts" if "counts" in spectrum else "rate"]
    if values.dims != ("channel",):
        raise ValueRangeError(f"group: found axes {values.dims}, expected one spectrum; select one (isel)")
    if tail not in TAILS:
        raise ValueRangeError(f"tail: found {tail!r}, expected one of {', '.join(TAILS)}")
    response, background = _opened(response), _opened(background)
    given, spectrum = spectrum, with_energies(spectrum, response)
    old = _old_quality(spectrum)
    usable = (old == 0) & channels_inside(spectrum, energy)
    if edges is not None:
        others = (min_counts, min_snr, size, oversample, optimal or None)
        if any(other is not None for other in others):
            raise ValueRangeError("group: edges say all; ask for nothing else with them")
        grouping, left_over = _at_edges(spectrum, edges, usable)
    else:
        criteria = list(
            _criteria(spectrum, min_counts, min_snr, size, oversample, optimal, response, background)
        )
        if not criteria:
            raise ValueRangeError(
                "group: found nothing to group by; give min_counts, min_snr, size, oversample, optimal or "
                "edges"
            )

        def full(first: int, end: int) -> bool:
            return all(enough(first, end) for enough in criteria)

        grouping, left_over = group_greedily(len(usable), full, usable, tail)
    quality = np.where(left_over, PARTIAL, old).astype(np.int16)
    return given.assign(
        grouping=("channel", grouping, {"units": "1", "fits_name": "GROUPING"}),
        quality=("channel", quality, {"units": "1", "fits_name": "QUALITY"}),
    )


def _opened(item: Any) -> Any:
    return xr.open_dataset(item, engine="batx") if isinstance(item, (str, os.PathLike)) else item


def with_energies(spectrum: xr.Dataset, response: xr.Dataset | None) -> xr.Dataset:
    """Return a spectrum that says the energies of its channels, if it or its response does."""
    if response is None or "energy_bnds" in spectrum.variables:
        return spectrum
    require_kind(response, "response", operation="group: response")
    if "energy_bnds" not in response.variables or response.sizes["channel"] != spectrum.sizes["channel"]:
        return spectrum
    bounds = response["energy_bnds"].values
    return spectrum.assign_coords(energy_bnds=(("channel", "bnds"), bounds, {"units": "keV"}))


def _old_quality(spectrum: xr.Dataset) -> np.ndarray:
    """Return the quality of the channels without what an earlier grouping left over."""
    if "quality" not in spectrum:
        return np.zeros(spectrum.sizes["channel"], np.int16)
    quality = np.broadcast_to(spectrum["quality"].values, spectrum.sizes["channel"])
    return np.where(quality == PARTIAL, 0, quality)


def channels_inside(spectrum: xr.Dataset, energy: Any) -> np.ndarray:
    """Return which channels have their middle in (low, high) keV; all of them without a range."""
    if energy is None:
        return np.ones(spectrum.sizes["channel"], bool)
    low, high = (bound[0] for bound in energy_bounds([to_value(energy, "keV", "energy")]))
    middle = _energies(spectrum).mean(axis=1)
    return (middle >= low) & (middle < high)


def _energies(spectrum: xr.Dataset) -> np.ndarray:
    if "energy_bnds" not in spectrum.variables:
        raise MissingVariableError(
            "the spectrum has no energies of its channels (energy_bnds), as those without EBOUNDS; give its "
            "response (response=), which has them"
        )
    return spectrum["energy_bnds"].values.astype(np.float64)


def _at_edges(spectrum: xr.Dataset, edges: Any, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = energy_bounds(edges)
    place = np.searchsorted(np.append(lower, upper[-1]), _energies(spectrum).mean(axis=1), side="right")
    inside = usable & (place > 0) & (place <= len(lower))
    grouping = np.ones(len(place), np.int16)
    grouping[1:][inside[1:] & inside[:-1] & (place[1:] == place[:-1])] = -1
    return grouping, np.zeros(len(place), bool)


def _criteria(
    spectrum: xr.Dataset,
    min_counts: float | None,
    min_snr: float | None,
    size: int | None,
    oversample: float | None,
    optimal: bool,
    response: xr.Dataset | None,
    background: xr.Dataset | None,
) -> Sequence[Callable[[int, int], bool]]:
    """Return what a group must fulfil, each as a function of its first channel and the one behind it."""
    asked = {"min_counts": min_counts, "min_snr": min_snr, "size": size, "oversample": oversample}
    for name, value in asked.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueRangeError(f"{name}: found {value}, expected a number above 0")
    criteria: list[Callable[[int, int], bool]] = []
    if min_counts is not None:
        before = _before(_counts(spectrum))
        criteria.append(lambda first, end: before[end] - before[first] >= min_counts)
    if min_snr is not None:
        signal, variance = (_before(part) for part in _signal(spectrum, background))
        criteria.append(
            lambda first, end: (
                signal[end] - signal[first] >= min_snr * np.sqrt(variance[end] - variance[first])
                and variance[end] > variance[first]
            )
        )
    if size is not None:
        criteria.append(lambda first, end: end - first >= size)
    if oversample is None and not optimal:
        return criteria
    channels = _energies(spectrum)
    fwhm = _resolution(response, channels)
    edges = np.append(channels[:, 0], channels[-1, 1])
    if oversample is not None:
        criteria.append(group_size(edges, fwhm / oversample))
    if optimal:
        criteria.append(group_size(edges, optimal_width(_counts(spectrum), fwhm, np.diff(edges))))
    return criteria


def _before(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _counts(spectrum: xr.Dataset) -> np.ndarray:
    if "counts" in spectrum:
        counts = spectrum["counts"].values.astype(np.float64)
    else:
        counts = spectrum["rate"].values * float(spectrum["exposure"])
    if spectrum.attrs.get("statistic") == "poisson" and (counts < 0).any():
        raise ValueRangeError(f"group: found {(counts < 0).sum()} channels with negative counts")
    return np.nan_to_num(counts)


def _signal(spectrum: xr.Dataset, background: xr.Dataset | None) -> tuple[np.ndarray, np.ndarray]:
    """Return net counts and their variance in each channel."""
    counts = _counts(spectrum)
    if spectrum.attrs.get("statistic") != "poisson":
        error = spectrum["stat_err"].values.astype(np.float64)
        return counts, (error if "counts" in spectrum else error * float(spectrum["exposure"])) ** 2
    if background is None:
        return counts, counts
    require_kind(background, "spectrum", operation="group: background")
    if background.sizes["channel"] != spectrum.sizes["channel"]:
        raise ValueRangeError(
            f"group: the background has {background.sizes['channel']} channels, the spectrum "
            f"{spectrum.sizes['channel']}"
        )
    ratio = float(spectrum["exposure"] / background["exposure"])
    for name in ("areascal", "backscal"):
        ratio *= float(spectrum.attrs.get(name) or 1.0) / float(background.attrs.get(name) or 1.0)
    behind = _counts(background)
    return counts - ratio * behind, counts + ratio**2 * behind


def _resolution(response: xr.Dataset | None, channels: np.ndarray) -> np.ndarray:
    if response is None:
        raise ValueRangeError("group: oversample and optimal need the response of the spectrum (response=)")
    require_kind(response, "response", operation="group")
    if "matrix" not in response or response.sizes.get("channel") != len(channels):
        raise ValueRangeError("group: expected a response with a matrix on the channels of the spectrum")
    return resolution(
        response["matrix"].values.astype(np.float64),
        response["energy_in"].values.astype(np.float64),
        channels,
    )


def channel_bins(
    spectra: xr.Dataset | Sequence[xr.Dataset],
    n: int,
    *,
    spacing: str = "counts",
    axis: str = "energy",
    limits: Any = None,
    min_channels: int = 1,
    response: Any = None,
) -> np.ndarray:
    """Return edges of bins for several spectra: equal counts in their mean, or equal steps or ratios.

    Parameters
    ----------
    spectra
        One or more of kind ``spectrum``, on the same channels.
    n
        Number of bins.
    spacing
        ``"counts"``: as equal as whole channels allow in the mean rate; ``"linear"``, ``"log"``: equal steps,
        or equal ratios, moved to the nearest edge of a channel.
    axis
        ``"energy"`` gives edges in keV, ``"channel"`` numbers of channels, each the first of its bin and at
        last the one behind.
    limits
        (low, high) on that axis; all channels by default.
    min_channels
        Least number of channels in a bin.
    response
        Kind ``response`` of the first, or its path, for the energies of channels that spectra do not say.

    Returns
    -------
    numpy.ndarray
        Edges, increasing, shape (n + 1,).

    Raises
    ------
    ValueRangeError
        If there are fewer channels than `n` bins need, spectra are on different channels, there are no
        counts to divide, or a logarithmic axis starts at 0.

    Examples
    --------
    >>> from batx.schema import build
    >>> spectrum = build("spectrum", {"channel": np.arange(6), "counts": [4, 4, 2, 2, 2, 2],
    ...                  "exposure": ((), 10.0)}, {"statistic": "poisson", "weighting": "none"})
    >>> channel_bins(spectrum, 2, axis="channel")
    array([0, 2, 6])
    """
    several = [spectra] if isinstance(spectra, xr.Dataset) else list(spectra)
    for one in several:
        require_kind(one, "spectrum", operation="channel_bins")
    if not several:
        raise ValueRangeError("channel_bins: found no spectra")
    several[0] = with_energies(several[0], _opened(response))
    if axis not in ("energy", "channel") or spacing not in ("counts", "linear", "log"):
        raise ValueRangeError(
            f"channel_bins: found axis {axis!r} and spacing {spacing!r}, expected 'energy' or 'channel' and "
            "'counts', 'linear' or 'log'"
        )
    edges = _axis_edges(several, axis)
    low, high = (edges[0], edges[-1]) if limits is None else (float(limit) for limit in limits)
    kept = np.flatnonzero((edges >= low - 1e-9) & (edges <= high + 1e-9))
    if n < 1 or min_channels < 1 or len(kept) - 1 < n * min_channels:
        raise ValueRangeError(
            f"channel_bins: found {max(len(kept) - 1, 0)} channels, expected at least {n} bins of "
            f"{min_channels}"
        )
    edges = edges[kept]
    if spacing == "counts":
        mean = np.mean([_counts(one) / float(one["exposure"]) for one in several], axis=0)
        places = _before(np.maximum(mean, 0.0))[kept]
        if places[-1] <= places[0]:
            raise ValueRangeError("channel_bins: the spectra have no counts between the limits")
        wanted = np.linspace(places[0], places[-1], n + 1)
    elif spacing == "log":
        if edges[0] <= 0:
            raise ValueRangeError("channel_bins: logarithmic bins cannot start at 0; give limits")
        places, wanted = np.log(edges), np.linspace(np.log(edges[0]), np.log(edges[-1]), n + 1)
    else:
        places, wanted = edges, np.linspace(edges[0], edges[-1], n + 1)
    return edges[_nearest(places, wanted, min_channels)]


def _axis_edges(several: Sequence[xr.Dataset], axis: str) -> np.ndarray:
    first = several[0]["channel"].values
    if any(not np.array_equal(one["channel"].values, first) for one in several):
        raise ValueRangeError("channel_bins: the spectra have different channels")
    if axis == "channel":
        return np.append(first, first[-1] + 1)
    bounds = _energies(several[0])
    return np.append(bounds[:, 0], bounds[-1, 1])


def _nearest(places: np.ndarray, wanted: np.ndarray, least: int) -> np.ndarray:
    """Return indices of the places next to what is wanted, at least some steps apart, both ends kept."""
    n = len(wanted) - 1
    chosen = [0]
    for number, value in enumerate(wanted[1:-1], 1):
        first, last = chosen[-1] + least, len(places) - 1 - (n - number) * least
        chosen.append(int(np.clip(np.argmin(np.abs(places - value)), first, last)))
    return np.array([*chosen, len(places) - 1])
