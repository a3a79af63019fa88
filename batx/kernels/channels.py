"""Channels of histograms on corrected energies, on plain arrays (algorithms of the survey, 4.1).

On board, pulse heights are sorted into channels with a linear scale of each detector. With the calibration on
ground the edges of the channels move, differently for each detector, and counts are shared out to bands.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from batx.compiling import njit

__all__ = [
    "CHANGED",
    "HIGHEST",
    "HIGH_MISSING",
    "LOW_MISSING",
    "NO_CALIBRATION",
    "corrected_edges",
    "edge_heights",
    "edge_quality",
    "in_order",
    "in_range",
    "share_counts",
]

#: bits of the quality of a detector
LOW_MISSING, HIGH_MISSING, CHANGED, NO_CALIBRATION = 1, 2, 4, 8

#: what gains and offsets of working detectors lie in: keV/ADU and ADU, keV/DAC and keV
_ONBOARD = ((0.08, 0.39), (1500.0, 3750.0))
_PULSER = ((0.05, 0.15), (-80.0, 30.0))
#: the same for the residual coefficients, by method
_RESIDUAL = {
    "fixeddac": {"offset": (5e3, 25e3), "gain": (-30.0, 0.0), "gain2": (-2e-3, 0.01), "gain3": (-1e-6, 5e-7)},
    "cubic": {"offset": (1e3, 13e3), "gain": (-15.0, -0.2), "gain2": (-2e-3, 8e-3), "gain3": (-2e-6, 2e-6)},
    "quadratic": {"offset": (1e3, 9.5e3), "gain": (-12.0, 2.0), "gain2": (1e-4, 1.8e-3)},
}

#: the energies that a detector must reach, keV, and how far its lowest edge may be from the nominal one
_LOWEST, HIGHEST, _FARTHEST = 14.0, 151.9, 50.0
#: width of the threshold, keV
_THRESHOLD = 1.0


def edge_heights(gain: np.ndarray, offset: np.ndarray, nominal: np.ndarray) -> np.ndarray:
    """Return the pulse heights of the edges of channels for each detector, shape (edge, detector), ADU.

    An edge e lies at ``trunc(offset - e / gain + 1) - 1/2``, in single precision as on board.

    Parameters
    ----------
    gain, offset
        On-board map, keV/ADU and ADU, shape (detector,).
    nominal
        Edges, keV, shape (edge,).

    Examples
    --------
    >>> edge_heights(np.array([0.2]), np.array([3200.0]), np.array([14.0, 20.0])).ravel().tolist()
    [3130.5, 3100.5]
    """
    single = np.float32
    with np.errstate(divide="ignore", invalid="ignore"):
        height = offset.astype(single) - nominal.astype(single)[:, None] / gain.astype(single)
        return (np.trunc(height + single(1)) - single(0.5)).astype(np.float64)


def corrected_edges(table: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Return the energies of the edges of channels for each detector, shape (edge, detector), keV.

    Parameters
    ----------
    table
        Of `batx.kernels.gains.polynomials`, shape (detector, 4).
    heights
        Of `edge_heights`.

    Examples
    --------
    >>> table = np.array([[640.0, -0.2, 0.0, 0.0]])
    >>> corrected_edges(table, np.array([[3130.5], [3100.5]])).ravel().round(3)
    array([13.9, 19.9])
    """
    with np.errstate(invalid="ignore"):
        return table[:, 0] + heights * (table[:, 1] + heights * (table[:, 2] + heights * table[:, 3]))


def in_order(edges: np.ndarray) -> np.ndarray:
    """Return for which detectors the edges (edge, detector) are finite and do not decrease.

    Examples
    --------
    >>> in_order(np.array([[1.0, 2.0], [1.5, 1.0]]))
    array([ True, False])
    """
    return np.isfinite(edges).all(axis=0) & (np.diff(edges, axis=0) >= 0).all(axis=0)


def in_range(
    method: str,
    onboard: tuple[np.ndarray, np.ndarray],
    pulsers: tuple[tuple[np.ndarray, np.ndarray], ...],
    residual: Mapping[str, np.ndarray] | None,
) -> np.ndarray:
    """Return which detectors have a calibration like that of a working one.

    Parameters
    ----------
    method
        Of `batx.kernels.gains.METHODS`; without limits for the residual coefficients of other methods than
        fixeddac, cubic and quadratic.
    onboard
        Gain and offset, shape (detector,) each.
    pulsers
        The same for each pulser calibration (GAIN in DAC/keV).
    residual
        Coefficients by name, `None` if there are none.

    Examples
    --------
    >>> fine = np.array([0.2, 0.5]), np.array([3200.0, 3200.0])
    >>> in_range("linear", fine, (), None)
    array([ True, False])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        checks = [_between(values, limits) for values, limits in zip(onboard, _ONBOARD, strict=True)]
        for gain, offset in pulsers:
            checks += [_between(1 / gain, _PULSER[0]), _between(offset, _PULSER[1])]
    if residual is not None:
        checks += [_between(residual[name], limits) for name, limits in _RESIDUAL.get(method, {}).items()]
        checks.append((residual["offset"] != 0) | (residual["gain"] != 0) | (residual["gain2"] != 0))
    return np.logical_and.reduce(checks)


def _between(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (values >= limits[0]) & (values <= limits[1])


def edge_quality(low: np.ndarray, high: np.ndarray, nominal: float, usable: np.ndarray) -> np.ndarray:
    """Return the quality bits of detectors, from the ends of the range of energies that they measure.

    Parameters
    ----------
    low, high
        Corrected upper edge of the first channel and lower edge of the last one, keV, shape (detector,).
    nominal
        The lower of these on the nominal scale, keV.
    usable
        Which detectors have a calibration, shape (detector,).

    Examples
    --------
    >>> ends = np.array([10.0, 13.5, 10.0]), np.array([194.0, 194.0, 150.0])
    >>> edge_quality(*ends, 10.0, np.ones(3, bool)).tolist()
    [0, 1, 2]
    """
    threshold = low + _THRESHOLD
    with np.errstate(invalid="ignore"):
        bits = LOW_MISSING * (threshold > _LOWEST)
        bits = bits + HIGH_MISSING * (high < HIGHEST)
        bits = bits + CHANGED * (np.abs(threshold - nominal) > _FARTHEST)
    return np.where(usable, bits, NO_CALIBRATION).astype(np.uint8)


def share_counts(
    counts: np.ndarray,
    edges: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    usable: np.ndarray,
    *,
    channels: tuple[int, int] | None = None,
    fill_first: bool = False,
) -> np.ndarray:
    """Return counts shared out to bands, each channel spread evenly between its edges.

    Parameters
    ----------
    counts
        Shape (time, channel, detector); negative ones count as 0.
    edges
        Of each detector, keV, shape (channel + 1, detector), not decreasing.
    lower, upper
        Bands, keV, shape (band,).
    usable
        Detectors that count, shape (detector,); others are 0.
    channels
        First channel that is shared out, and the one after the last; all if not given.
    fill_first
        Whether what lies below the first band, of channels that end below its upper edge, goes into it too.

    Returns
    -------
    numpy.ndarray
        Shape (time, band, detector), float32.

    Examples
    --------
    >>> edges = np.array([[10.0], [12.0], [14.0]])
    >>> counts = np.array([[[4], [6]]])
    >>> bands = np.array([0.0, 13.0]), np.array([13.0, 20.0])
    >>> share_counts(counts, edges, *bands, np.array([True]))[0, :, 0].tolist()
    [7.0, 3.0]
    """
    first, last = channels if channels is not None else (0, counts.shape[1])
    shared = np.zeros((counts.shape[0], lower.size, counts.shape[2]), dtype=np.float64)
    _share(
        counts,
        np.ascontiguousarray(edges, dtype=np.float64),
        np.asarray(lower, np.float64),
        np.asarray(upper, np.float64),
        np.ascontiguousarray(usable),
        first,
        last,
        fill_first,
        shared,
    )
    return shared.astype(np.float32)


@njit(cache=True, nogil=True)
def _share(
    counts: np.ndarray,
    edges: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    usable: np.ndarray,
    first: int,
    last: int,
    fill_first: bool,
    shared: np.ndarray,
) -> None:
    for channel in range(first, last):
        for detector in range(edges.shape[1]):
            if not usable[detector]:
                continue
            low, high = edges[channel, detector], edges[channel + 1, detector]
            for band in range(lower.size):
                if fill_first and band == 0 and high <= upper[0]:
                    fraction = 1.0
                elif high > low:
                    fraction = max(min(high, upper[band]) - max(low, lower[band]), 0.0) / (high - low)
                else:
                    fraction = 1.0 if lower[band] <= low < upper[band] else 0.0
                if fraction > 0:
                    for time in range(counts.shape[0]):
                        count = counts[time, channel, detector]
                        if count > 0:
                            shared[time, band, detector] += fraction * count
