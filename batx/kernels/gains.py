"""Pulse heights to energies, on plain arrays (algorithms, section 8, ``bateconvert``).

Every method is a cubic polynomial of the pulse height with coefficients of the detector: they are worked out
once for all detectors, and an event costs one look-up and three multiplications.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from batx.compiling import njit

__all__ = ["METHODS", "NULL_PI", "Maps", "energies", "polynomials", "single_energies"]

METHODS = ("linear", "quadratic", "cubic", "fixeddac", "directcubic")
#: channel of an event without an energy
NULL_PI = -32768
#: channels are 0.1 keV wide and numbered from 0
CHANNEL = 0.1
N_CHANNELS = 5000


class Maps(NamedTuple):
    """Gain and offset of every detector, two arrays of one shape."""

    gain: np.ndarray
    offset: np.ndarray


def polynomials(
    method: str,
    onboard: Maps,
    dac: float,
    flight: Maps | None = None,
    ground: Maps | None = None,
    residual: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Return the energy of every detector as a polynomial of the pulse height.

    With g, o the on-board gain (keV/ADU) and offset (ADU), f = 1/GAIN and f₀ = OFFSET of the pulser in
    flight, p and p₀ of the pulser on ground, r = g/f and q = o - (DAC - f₀)/r::

        linear       E = g (o - PHA)
        others       E = r p (q + (DAC - p₀)/r - PHA) + p (c₀ + v (c₁ + v (c₂ + v c₃)))
        directcubic  E = p (c₀ + PHA (c₁ + PHA (c₂ + PHA c₃)) - p₀)

    v is PHA for quadratic (c₃ = 0) and cubic; for fixeddac it is (DAC - r (PHA - q) - LIN_OFFSET)/LIN_GAIN,
    with c₀ less LIN_OFFSET and c₁ less LIN_GAIN.

    Parameters
    ----------
    method
        One of `METHODS`.
    onboard, flight, ground
        As above, arrays (detector,); the pulsers are not needed for linear, `flight` not for directcubic.
    dac
        DAC setting at which the on-board calibration fixes the scale (OFFPULSE).
    residual
        ``offset``, ``gain``, ``gain2``, ``gain3`` (c₀ to c₃), for fixeddac ``lin_offset`` and ``lin_gain``;
        arrays (detector,). The coefficients of a detector are taken as 0 where one of them is null, gain2 or
        gain3 is above 1, or the linear part has no slope.

    Returns
    -------
    numpy.ndarray
        (detector, 4) float64: coefficients of 1, PHA, PHA², PHA³ in keV; NaN for detectors without
        calibration (a gain, offset or pulser that is null, or a gain of 0).

    Examples
    --------
    >>> polynomials("linear", Maps(np.array([0.2, 0.0]), np.array([3200.0, 0.0])), 300.0).tolist()
    [[640.0, -0.2, 0.0, 0.0], [nan, nan, 0.0, 0.0]]
    """
    g, o = _usable(onboard)
    if method == "linear":
        zero = np.zeros_like(g)
        return _stacked(g * o, -g, zero, zero)
    if ground is None:
        raise ValueError("polynomials: no ground pulser")
    scale, p0 = _usable(ground)
    p = 1 / scale
    if method == "directcubic":
        c0, c1, c2, c3 = _coefficients(residual, g.shape)[:4]
        return _stacked(p * (c0 - p0), p * c1, p * c2, p * c3) + 0 * (g + o)[:, None]
    if flight is None:
        raise ValueError("polynomials: no flight pulser")
    scale, f0 = _usable(flight)
    r = g * scale
    q = o - (dac - f0) / r
    c0, c1, c2, c3, lin_offset, lin_gain = _coefficients(residual, g.shape, linear=method == "fixeddac")
    line = r * p * q + p * (dac - p0), -r * p
    if method == "quadratic":
        c3 = np.zeros_like(c3)
    if method == "fixeddac":
        # v = start + step PHA
        start, step = (dac + r * q - lin_offset) / lin_gain, -r / lin_gain
        c0, c1 = c0 - lin_offset, c1 - lin_gain
        c0, c1, c2, c3 = (
            c0 + start * (c1 + start * (c2 + start * c3)),
            step * (c1 + start * (2 * c2 + 3 * start * c3)),
            step**2 * (c2 + 3 * start * c3),
            step**3 * c3,
        )
    return _stacked(line[0] + p * c0, line[1] + p * c1, p * c2, p * c3)


def single_energies(
    method: str,
    onboard: Maps,
    dac: float,
    flight: Maps,
    ground: Maps,
    residual: Mapping[str, np.ndarray] | None,
    heights: np.ndarray,
) -> np.ndarray:
    """Return energies of pulse heights in single precision, step by step, as ``baterebin`` works them out.

    Parameters
    ----------
    method, onboard, dac, flight, ground, residual
        As for `polynomials`; quadratic, cubic or fixeddac.
    heights
        Pulse heights, shape (..., detector).

    Returns
    -------
    numpy.ndarray
        keV, float64 (of single precision), of the shape of `heights`.

    Examples
    --------
    >>> maps = Maps(np.array([10.0]), np.array([-20.0]))
    >>> board = Maps(np.array([0.2]), np.array([3000.0]))
    >>> single_energies("cubic", board, 400.0, maps, maps, None, np.array([2900.0])).round(3).tolist()
    [20.0]
    """
    single = np.float32
    coefficients = _coefficients(residual, onboard.gain.shape, linear=method == "fixeddac")
    c0, c1, c2, c3, lin_offset, lin_gain = (row.astype(single) for row in coefficients)
    (g, o), (f, f0), (p, p0) = (
        tuple(array.astype(single) for array in _usable(maps)) for maps in (onboard, flight, ground)
    )
    pha, level = heights.astype(single), single(dac)
    f, p = single(1) / f, single(1) / p
    r = g / f
    q = o - (level - f0) / r
    v = pha
    if method == "fixeddac":
        v = (level - r * (pha - q) - lin_offset) / lin_gain
        c0, c1 = c0 - lin_offset, c1 - lin_gain
    line = r * p * (q + (level - p0) / r - pha)
    if method == "quadratic":
        c3 = np.zeros_like(c3)
    return np.asarray(line + p * (c0 + v * (c1 + v * (c2 + v * c3)))).astype(np.float64)


def _usable(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """Return gain and offset as float64, NaN where one of them is null or the gain is 0."""
    gain, offset = (np.asarray(array, dtype=np.float64) for array in maps)
    good = np.isfinite(gain) & np.isfinite(offset) & (gain != 0)
    return np.where(good, gain, np.nan), np.where(good, offset, np.nan)


def _coefficients(
    residual: Mapping[str, np.ndarray] | None, shape: tuple[int, ...], linear: bool = False
) -> list[np.ndarray]:
    """Return c₀ to c₃, LIN_OFFSET and LIN_GAIN; what adds nothing where there is no usable residual."""
    nothing = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0] if not linear else [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    if residual is None:
        return [np.full(shape, value) for value in nothing]
    names = ("offset", "gain", "gain2", "gain3", "lin_offset", "lin_gain")
    rows = [
        np.asarray(residual[name], np.float64) if name in residual else np.full(shape, value)
        for name, value in zip(names, nothing, strict=True)
    ]
    used = rows if linear else rows[:4]
    good = np.logical_and.reduce([np.isfinite(row) for row in used]) & (rows[2] <= 1) & (rows[3] <= 1)
    if linear:
        good &= rows[5] != 0
    return [np.where(good, row, value) for row, value in zip(rows, nothing, strict=True)]


def _stacked(*coefficients: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.stack(coefficients, axis=-1))


def energies(
    table: np.ndarray, detx: np.ndarray, dety: np.ndarray, pha: np.ndarray, width: int, rounded: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return channel and energy of events.

    The channel is ⌊E / 0.1⌋; it is `NULL_PI`, and the energy NaN, where it would not be in 0 to 4999, for
    detectors without calibration, outside the plane, and for a negative pulse height.

    Parameters
    ----------
    table
        Result of `polynomials`, rows in the order ``dety * width + detx``.
    detx, dety, pha
        Events (event,), integers.
    width
        Number of columns of the detector plane.
    rounded
        Whether the energy is that of the channel (channel × 0.1), as ``bateconvert`` writes it.

    Returns
    -------
    pi, energy
        (event,) int16 and float32 (keV).

    Examples
    --------
    >>> table = np.array([[640.0, -0.2, 0.0, 0.0]])
    >>> pi, energy = energies(table, np.array([0, 0]), np.array([0, 0]), np.array([3000, 3300]), 1)
    >>> pi.tolist(), energy.tolist()
    ([400, -32768], [40.0, nan])
    """
    pi = np.empty(pha.shape, dtype=np.int16)
    energy = np.empty(pha.shape, dtype=np.float32)
    _convert(table, detx, dety, pha, width, table.shape[0] // width, rounded, pi, energy)
    return pi, energy


@njit(cache=True, nogil=True)
def _convert(
    table: np.ndarray,
    detx: np.ndarray,
    dety: np.ndarray,
    pha: np.ndarray,
    width: int,
    height: int,
    rounded: bool,
    pi: np.ndarray,
    energy: np.ndarray,
) -> None:
    for k in range(pha.shape[0]):
        pi[k] = NULL_PI
        energy[k] = np.nan
        x, y, h = int(detx[k]), int(dety[k]), float(pha[k])
        if x < 0 or y < 0 or x >= width or y >= height or h < 0:
            continue
        row = table[y * width + x]
        value = row[0] + h * (row[1] + h * (row[2] + h * row[3]))
        channel = np.floor(value / CHANNEL)
        if channel >= 0 and channel < N_CHANNELS:
            pi[k] = np.int16(channel)
            energy[k] = np.float32(channel * CHANNEL) if rounded else np.float32(value)
