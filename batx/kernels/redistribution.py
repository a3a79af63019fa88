"""Response of the CdZnTe detectors behind the coded mask, from the parameters of the calibration.

A photon leaves its energy, or that less an escaping Cd or Te line, at some depth; trapping of the charge
carriers makes the measured energy depend on the depth; passive material and the contrast between open and
lead mask cells set the effective area. Source of every formula: algorithms, section 3 (after ``batdrmgen``,
method MEAN).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import erf

__all__ = ["DepthTable", "detector_response"]

#: thickness of a detector in cm, slices in depth, parts of a channel
THICKNESS, SLICES, PARTS = 0.2, 1000, 10
#: energy in keV that leaves with an escaping line: none, Cd, Te; and the edges above which these exist
ESCAPE = (0.0, 23.172, 27.471)
EDGES = (0.0, 26.72, 31.82)
#: energies just above a node of the depth table are those of the node: the edge lies between two nodes
SNAPPED = ((26.71, 26.711, 26.71), (26.711, 26.72, 26.72), (31.81, 31.813, 31.81), (31.813, 31.82, 31.82))


class DepthTable(NamedTuple):
    """Logarithm of the absorption against depth, as Chebyshev series on a grid of energy and direction."""

    energy: np.ndarray
    """Energies in keV, increasing, shape (e,)."""
    tangent: np.ndarray
    """Tangents of the angle from the axis, the same for both directions, increasing, shape (t,)."""
    coefficients: np.ndarray
    """Shape (e, t, t, 3, 20): energy, larger and smaller tangent, line that escapes, order."""

    @classmethod
    def from_rows(
        cls, energy: np.ndarray, tan_x: np.ndarray, tan_y: np.ndarray, series: np.ndarray
    ) -> DepthTable:
        """Return the table from its rows: energy fastest, then the lower triangle of directions.

        Parameters
        ----------
        energy, tan_x, tan_y
            Shape (row,).
        series
            Shape (row, 3, 20).
        """
        falls = np.flatnonzero(np.diff(energy) < 0)
        n_energy = int(falls[0]) + 1 if falls.size else energy.size
        tangent = np.unique(np.concatenate([tan_x, tan_y]))
        shape = (n_energy, tangent.size, tangent.size, *series.shape[1:])
        coefficients = np.full(shape, np.nan)
        ix, iy = np.searchsorted(tangent, tan_x), np.searchsorted(tangent, tan_y)
        place = np.arange(energy.size) % n_energy
        coefficients[place, ix, iy] = series
        coefficients[place, iy, ix] = series
        return cls(np.asarray(energy[:n_energy], np.float64), tangent, coefficients)

    def profiles(self, energy: float, slopes: tuple[float, float]) -> np.ndarray:
        """Return absorbed fraction per cm of depth without and with escape, in cm²/cm², shape (3, slice)."""
        for low, high, node in SNAPPED:
            energy = node if low < energy <= high else energy
        corners = [
            _corners(grid, value)
            for grid, value in zip((self.energy, self.tangent, self.tangent), (energy, *slopes), strict=True)
        ]
        total = np.zeros((3, SLICES))
        for i, u in corners[0]:
            for j, v in corners[1]:
                for k, w in corners[2]:
                    if u * v * w:
                        total += u * v * w * np.exp(self.coefficients[i, j, k] @ _chebyshev().T)
        exists = energy >= np.asarray(EDGES)
        return np.where(exists[:, None], total, 0.0)


def detector_response(
    edges_in: np.ndarray,
    channels: np.ndarray,
    source: tuple[float, float, float],
    parameters: Mapping[str, float],
    carriers: np.ndarray,
    depth: DepthTable,
    norm: float = 1.0,
    correction: bool = True,
) -> np.ndarray:
    """Return the response matrix in cm² per detector, float64, shape (energy, channel).

    Parameters
    ----------
    edges_in, channels
        Lower and upper edges in keV of the incident energies, shape (energy, 2), and of the channels, shape
        (channel, 2).
    source
        Position x, y, z in cm in the instrument.
    parameters
        Keywords of the parameter file, in lower case.
    carriers
        Shape (3, n): mobility times lifetime of electrons and of holes in cm²/V, and the fraction of the
        detectors that has them.
    depth
        Where photons are absorbed.
    norm
        Factor of the mask weights that was not applied (MSKWTSQF).
    correction
        Multiply with the correction of the channels that makes the Crab a power law.

    Notes
    -----
    Energies and the parts of channels are rounded to single precision, as in the tool: the edges of lines
    fall into the same part of a channel.
    """
    x, y, z = source
    slopes = (abs(x / z), abs(y / z))
    cosine = abs(z) / np.sqrt(x * x + y * y + z * z)
    middle = np.asarray(edges_in, np.float32).sum(axis=1).astype(np.float64) / 2
    low, high = (np.asarray(channels, np.float32)[:, i : i + 1] for i in (0, 1))
    steps = np.arange(PARTS, dtype=np.float32)
    part_low = (low + steps * (high - low) / np.float32(PARTS)).astype(np.float64).ravel()
    part_high = np.append(part_low[1:], np.float64(high[-1, 0]))
    collected = _collection(carriers[0], carriers[1], parameters["voltage"])
    factor = _correction(channels, parameters) if correction else 1.0
    matrix = np.empty((len(middle), len(channels)))
    for row, energy in zip(matrix, middle, strict=True):
        profiles = depth.profiles(energy, slopes) * parameters["norm_adj"] * (THICKNESS / SLICES)
        spectrum = _deposits(energy, profiles, collected, carriers[2], part_high, parameters)
        spectrum = _tail(spectrum, energy, profiles.sum(), part_low, part_high, parameters)
        through = _passive(energy, cosine, parameters) * _contrast(energy, cosine, slopes, parameters) * norm
        share = _resolution(part_low, part_high, channels, _width(energy, parameters))
        row[:] = spectrum @ share * factor * through
    return matrix


def _corners(grid: np.ndarray, value: float) -> list[tuple[int, float]]:
    """Return index and weight of the two nodes about a value."""
    i = int(np.clip(np.searchsorted(grid, value, side="right") - 1, 0, grid.size - 2))
    part = (value - grid[i]) / (grid[i + 1] - grid[i])
    return [(i, 1 - part), (i + 1, part)]


def _depths() -> np.ndarray:
    return (np.arange(SLICES) + 0.5) * (THICKNESS / SLICES)


def _chebyshev() -> np.ndarray:
    z = _depths()
    return np.polynomial.chebyshev.chebvander((2 * z - z[0] - z[-1]) / (z[-1] - z[0]), 19)


def _collection(electrons: np.ndarray, holes: np.ndarray, voltage: float) -> np.ndarray:
    """Return the collected part of the charge against depth, 1 at its largest; shape (carrier, slice)."""
    le, lh = (
        np.asarray(mobility, np.float64)[:, None] * voltage / THICKNESS for mobility in (electrons, holes)
    )

    def collected(z: np.ndarray) -> np.ndarray:
        return (-le * np.expm1(-(THICKNESS - z) / le) - lh * np.expm1(-z / lh)) / THICKNESS

    return collected(_depths()[None, :]) / collected(THICKNESS * lh / (le + lh))


def _gain(energy: float, p: Mapping[str, float]) -> float:
    if p["batfilev"] < 3:
        return p["gain_cff"] * energy ** p["gain_ind"]
    if energy < p["gain_0"]:
        return p["gain_1"] * energy**2 + p["gain_2"] * energy + p["gain_3"]
    return p["gain_4"] * energy + p["gain_5"]


def _deposits(
    energy: float,
    profiles: np.ndarray,
    collected: np.ndarray,
    fraction: np.ndarray,
    high: np.ndarray,
    p: Mapping[str, float],
) -> np.ndarray:
    """Return what is measured in each part of a channel, before the tail and the resolution."""
    spectrum = np.zeros(high.size)
    for escaped, edge, profile in zip(ESCAPE, EDGES, profiles, strict=True):
        if energy > edge:
            measured = (energy - escaped) * collected * _gain(energy, p)
            place = np.searchsorted(high, measured, side="left")
            inside = place < high.size
            weight = np.asarray(fraction, np.float64)[:, None] * profile
            spectrum += np.bincount(place[inside], weight[inside], minlength=high.size)
    return spectrum


def _tail(
    spectrum: np.ndarray,
    energy: float,
    area: float,
    low: np.ndarray,
    high: np.ndarray,
    p: Mapping[str, float],
) -> np.ndarray:
    """Move a part of the counts into an exponential tail below the energy of the photon."""
    part = p["exp_cff"] * (max(energy, 31.0) / 31.0) ** -p["exp_ind"]
    if part <= 0.01:
        return spectrum
    upper, lower = (
        np.exp((np.minimum(edge, energy) - energy) / (energy * p["exp_lamb"])) for edge in (high, low)
    )
    return spectrum * (1 - part) + part * area * (upper - lower)


def _smooth_sum(energy: float, a: float, b: float, c: float, d: float, m: float) -> float:
    return float(((a * energy**b) ** (1 / m) + (c * energy**d) ** (1 / m)) ** m)


def _passive(energy: float, cosine: float, p: Mapping[str, float]) -> float:
    """Return the transmission of what lies between mask and detectors."""
    if p["batfilev"] < 2:
        names = ("psv_lcff", "psv_lind", "psv_hcff", "psv_hind", "psv_smth")
        depth = _smooth_sum(energy, *(p[name] for name in names))
    elif energy < p["psv_2"]:
        depth = p["psv_0"] * energy ** p["psv_1"]
    else:
        first = 3 if energy < p["psv_8"] else 9
        depth = _smooth_sum(energy, *(p[f"psv_{i}"] for i in range(first, first + 5)))
    return float(np.exp(-depth / cosine))


def _lead(energy: float, p: Mapping[str, float]) -> float:
    """Return the absorption of lead in cm²/g as the parameters have it."""
    if energy < 88:
        return p["pb_lcff"] * energy ** p["pb_lind"]
    first, second = (p["pb_hcff"], p["pb_hind"]), (p["pb_hcff"], p["pb_hind"])
    smooth = p.get("pb_smth", 1.0)
    if "pb_vcff" in p:
        second = (p["pb_vcff"], p["pb_vind"])
    elif "pb_mcff" in p:
        first = (p["pb_mcff"], p["pb_mind"])
    powers = (coefficient * energy**index for coefficient, index in (first, second))
    return float(sum(power**smooth for power in powers) ** (1 / smooth))


def _contrast(energy: float, cosine: float, slopes: tuple[float, float], p: Mapping[str, float]) -> float:
    """Return the difference between the light of open and of closed cells, with the edges of the tiles."""
    tau = _lead(energy, p) * p["pb_rho"] / cosine
    half = 0.05 * tau
    edge = p.get("pb_edgen", 1.0) * (1 - (1 - 0.2 * slopes[0]) * (1 - 0.2 * slopes[1]))
    at_edge = (1 - np.exp(-half)) / half - (np.exp(-half) - np.exp(-2 * half)) / half
    return float((1 - edge) * -np.expm1(-0.1 * tau) + edge * at_edge)


def _width(energy: float, p: Mapping[str, float]) -> float:
    """Return the standard deviation in keV of what is measured for photons of an energy."""
    if p["batfilev"] < 4:
        return p["sigma"]
    names = ("sigma_1", "sigma_2", "sigma_3") if energy < p["sigma_0"] else ("sigma_4", "sigma_5", "sigma_6")
    return float(np.polyval([p[name] for name in names], energy))


def _resolution(low: np.ndarray, high: np.ndarray, channels: np.ndarray, sigma: float) -> np.ndarray:
    """Return the share of each channel in what is measured in a part of a channel; shape (part, channel)."""
    edges = np.append(channels[:, 0], channels[-1, 1])
    middle = 0.5 * (low + high)[:, None]
    share = 0.5 * np.diff(erf((edges - middle) / (np.sqrt(2.0) * sigma)), axis=1)
    first = np.searchsorted(edges, np.maximum(middle - 4 * sigma, edges[0]), side="right") - 1
    last = np.searchsorted(edges, np.minimum(middle + 4 * sigma, edges[-1]), side="left") - 1
    number = np.arange(len(channels))
    return np.where((number >= first) & (number <= last), share, 0.0)


def _correction(channels: np.ndarray, p: Mapping[str, float]) -> np.ndarray:
    """Return the factor of each channel: a Chebyshev series in the logarithm of its energy."""
    n = int(p.get("cfunncof", 0))
    if n <= 1:
        return np.ones(len(channels))
    middle = np.clip(channels.mean(axis=1), p.get("cfunemin", 14.0), p.get("cfunemax", 130.0))
    log = np.log10(middle)
    place = (2 * log - log[0] - log[-1]) / (log[-1] - log[0])
    return np.polynomial.chebyshev.chebval(place, [p[f"cfunp{k}"] for k in range(n)])
