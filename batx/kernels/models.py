"""Photon spectra: densities in photons/cm**2/s/keV and their integrals over energy bins.

A density takes energies in keV and the parameters of its model. Bins are integrated by the antiderivative
where there is one, and otherwise by Gauss-Legendre quadrature with as many points as the width of a bin asks
for: 1e-9 of the integral for the smooth spectra of this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

import numpy as np

__all__ = [
    "ERG_PER_KEV",
    "Bins",
    "band",
    "band_bins",
    "black_body",
    "bremsstrahlung",
    "cut_off_power_law",
    "grbm_bins",
    "log_parabola",
    "peaked_power_law",
    "power_law",
    "power_law_bins",
    "trapezoid",
    "xspec_flux",
]

#: CODATA 2018, exact
ERG_PER_KEV = 1.602176634e-9

#: points of the quadrature for bins up to a ratio of their edges; the last for any wider one
_ORDERS = ((1.008, 2), (1.03, 3), (1.15, 5), (1.6, 8), (np.inf, 24))

#: how many recent spectra are kept for a grid of bins
_RECENT = 24

_MOST = 700.0
"""No exponent beyond this: exp is finite."""


class Bins:
    """Energy bins, with what their integrals need prepared once.

    Parameters
    ----------
    edges
        (n + 1,) increasing, above 0, in keV.
    """

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = np.ascontiguousarray(edges, np.float64)
        self.low, self.high = self.edges[:-1], self.edges[1:]
        self.log_low = np.log(self.low)
        self.log_ratio = np.log(self.high / self.low)
        self.nodes, self.weights, self.starts = _quadrature(self.edges)
        self._cache: dict[str, np.ndarray] = {}
        self._recent: dict[Hashable, tuple[object, np.ndarray]] = {}

    def cached(self, name: str, make: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return what `make` gives for the edges, made once for each name."""
        if name not in self._cache:
            self._cache[name] = make(self.edges)
        return self._cache[name]

    def recent(self, key: Hashable, owner: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what `make` gives, or gave for the same key and owner a short while ago."""
        held = self._recent.get(key)
        if held is not None and held[0] is owner:
            return held[1]
        if len(self._recent) >= _RECENT:
            self._recent.pop(next(iter(self._recent)))
        made = make()
        self._recent[key] = (owner, made)
        return made

    def integrate(self, values: np.ndarray) -> np.ndarray:
        """Return the integral over each bin of a function given at `nodes`."""
        return np.add.reduceat(values * self.weights, self.starts)

    def total(self, values: np.ndarray) -> float:
        """Return the integral over all bins of a function given at `nodes`."""
        return float(values @ self.weights)


def _quadrature(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points and weights of Gauss-Legendre in the logarithm of energy, and the first of each bin."""
    ratio = edges[1:] / edges[:-1]
    order = np.array([next(points for limit, points in _ORDERS if value <= limit) for value in ratio])
    nodes, weights = [], []
    for low, high, points in zip(np.log(edges[:-1]), np.log(edges[1:]), order, strict=True):
        place, weight = _LEGENDRE[int(points)]
        node = np.exp(low + (high - low) * place)
        nodes.append(node)
        weights.append((high - low) * weight * node)
    return np.concatenate(nodes), np.concatenate(weights), np.cumsum(order) - order


def _legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and weights on (0, 1)."""
    place, weight = np.polynomial.legendre.leggauss(points)
    return (place + 1.0) / 2.0, weight / 2.0


_LEGENDRE = {points: _legendre(points) for _, points in _ORDERS}


def trapezoid(edges: np.ndarray, density: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the mean of the densities at both edges times the width: the two-point rule of XSPEC.

    Examples
    --------
    >>> trapezoid(np.array([1.0, 2.0, 4.0]), lambda energy: energy)
    array([1.5, 6. ])
    """
    values = density(edges)
    return 0.5 * (values[:-1] + values[1:]) * np.diff(edges)


def xspec_flux(photons: np.ndarray, edges: np.ndarray, low: float, high: float, energy: bool) -> float:
    """Return the flux in a band as XSPEC's ``flux`` and ``cflux`` count it, in erg or photons /cm**2/s.

    Photons are spread evenly within a bin, bins at the ends of the band count by their overlap with it, and
    what lies outside the grid of the response counts nothing; 1 keV is 1.602192e-9 erg.

    Examples
    --------
    >>> xspec_flux(np.array([1.0, 1.0]), np.array([1.0, 2.0, 3.0]), 1.0, 2.5, energy=False)
    1.5
    """
    above, below = np.maximum(edges[:-1], low), np.minimum(edges[1:], high)
    part = np.clip(below - above, 0.0, None) / np.diff(edges)
    weight = part * (0.801096e-9 * (above + below) if energy else 1.0)
    return float(photons @ weight)


# ---------------------------------------------------------------- power laws


def power_law(energy: np.ndarray, index: float, pivot: float, norm: float) -> np.ndarray:
    """Return norm (E / pivot)^-index."""
    return norm * (energy / pivot) ** -index


def power_law_bins(bins: Bins, index: float, pivot: float, norm: float) -> np.ndarray:
    """Return the integral of `power_law` over each bin, exact also where index is near 1.

    Examples
    --------
    >>> power_law_bins(Bins(np.array([1.0, 2.0])), 1.0, 1.0, 1.0)  # ln 2
    array([0.69314718])
    """
    a = 1.0 - index
    rise = np.expm1(a * bins.log_ratio) / a if abs(a) > 1e-12 else bins.log_ratio
    return norm * np.exp(a * bins.log_low + index * math.log(pivot)) * rise


def cut_off_power_law(
    energy: np.ndarray, index: float, e_cut: float, pivot: float, norm: float
) -> np.ndarray:
    """Return norm (E / pivot)^-index exp(-E / e_cut)."""
    exponent = -index * np.log(energy / pivot) - energy / e_cut
    return norm * np.exp(np.minimum(exponent, _MOST))


def peaked_power_law(
    energy: np.ndarray, index: float, e_peak: float, pivot: float, norm: float
) -> np.ndarray:
    """Return norm (E / pivot)^-index exp(-(2 - index) E / e_peak): E² N peaks at e_peak where index < 2."""
    exponent = -index * np.log(energy / pivot) - (2.0 - index) * energy / e_peak
    return norm * np.exp(np.minimum(exponent, _MOST))


def log_parabola(energy: np.ndarray, alpha: float, beta: float, pivot: float, norm: float) -> np.ndarray:
    """Return norm (E / pivot)^-(alpha + beta log10(E / pivot))."""
    x = np.log(energy / pivot)
    return norm * np.exp(np.clip(-(alpha + beta * x / np.log(10.0)) * x, -_MOST, _MOST))


# ---------------------------------------------------------------- Band


def band(energy: np.ndarray, alpha: float, beta: float, e_fold: float, norm: float) -> np.ndarray:
    """Return the function of Band et al. (1993, ApJ 413, 281), norm at 100 keV.

    norm (E/100)^alpha exp(-E/e_fold) below (alpha - beta) e_fold, and above it the power law of index beta
    that continues it smoothly. E² N peaks at (2 + alpha) e_fold.
    """
    x = np.log(energy / 100.0)
    bend = _bend(alpha, beta, e_fold)
    low = alpha * x - energy / e_fold
    high = (alpha - beta) * (np.log(bend / 100.0) - 1.0) + beta * x
    return norm * np.exp(np.clip(np.where(energy < bend, low, high), -_MOST, _MOST))


def _bend(alpha: float, beta: float, e_fold: float) -> float:
    """Return the energy at which the two parts of the Band function meet; above 0 for any parameters."""
    return max(alpha - beta, 1.0 / e_fold) * e_fold


def band_bins(bins: Bins, alpha: float, beta: float, e_fold: float, norm: float) -> np.ndarray:
    """Return the integral of `band` over each bin; the bin with the bend is integrated in two parts."""
    made = bins.integrate(band(bins.nodes, alpha, beta, e_fold, norm))
    bend = _bend(alpha, beta, e_fold)
    place = int(np.searchsorted(bins.edges, bend)) - 1
    if 0 <= place < bins.low.size:
        parts = Bins(np.unique([bins.low[place], bend, bins.high[place]]))
        made[place] = parts.total(band(parts.nodes, alpha, beta, e_fold, norm))
    return made


def grbm_bins(edges: np.ndarray, alpha: float, beta: float, e_fold: float, norm: float) -> np.ndarray:
    """Return XSPEC's ``grbm``: the two-point rule for bins that begin below the bend, exact above it."""
    made = trapezoid(edges, lambda energy: band(energy, alpha, beta, e_fold, norm))
    above = edges[:-1] > _bend(alpha, beta, e_fold)
    if above.any():
        tail = Bins(np.append(edges[:-1][above], edges[-1]))
        bend = _bend(alpha, beta, e_fold)
        scale = norm * np.exp((alpha - beta) * (np.log(bend / 100.0) - 1.0))
        made[above] = power_law_bins(tail, -beta, 100.0, scale)
    return made


# ---------------------------------------------------------------- thermal


def black_body(energy: np.ndarray, kt: float, norm: float) -> np.ndarray:
    """Return norm 8.0525 E² / (kT⁴ (exp(E/kT) - 1)), norm = L39 / D10² (luminosity in 1e39 erg/s at 10 kpc).

    8.0525 is what XSPEC's ``bbody`` has; the density is that of Planck.
    """
    x = energy / kt
    return norm * 8.0525 * x * x / (kt * kt) / np.expm1(np.clip(x, 1e-12, _MOST))


def bremsstrahlung(energy: np.ndarray, kt: float, norm: float, smooth: bool = True) -> np.ndarray:
    """Return thermal bremsstrahlung of hydrogen with 8.5 % helium by number.

    norm (g(Z=1) + 4 · 0.085 g(Z=2)) exp(-E/kT) / (E √kT), norm = 3.02e-15 / (4π D²) ∫ n_e n_H dV, D in cm:
    the definition of XSPEC's ``bremss``. g is the Gaunt factor of `gaunt_factor`; it ends at E = 50 kT.
    """
    from scipy.special import k0e

    x = energy / kt
    born = 0.5513 * k0e(x / 2.0)
    gaunt = gaunt_factor(x, kt, 1, born, smooth) + 4.0 * 0.085 * gaunt_factor(x, kt, 2, born, smooth)
    return norm * gaunt * np.exp(-np.minimum(x, _MOST)) / (energy * np.sqrt(kt)) * (x < 50.0)


def gaunt_factor(x: np.ndarray, kt: float, charge: int, born: np.ndarray, smooth: bool) -> np.ndarray:
    """Return the free-free Gaunt factor averaged over velocities, at x = E/kT for a bare nucleus.

    With g = 13.58 eV · 1000 Z² / kT: below g = 1 the Born approximation, `born` = √3/π exp(x/2) K0(x/2);
    above it, times quadratic polynomials in x that follow the tables of Karzas & Latter (1961), linear
    between their temperatures (Kellogg, Baldwin & Koch 1975, ApJ 199, 299); above g = 100 the table of Kurucz
    (1970), linear in the logarithms and 0 outside of it. Where one of these follows another they differ, by
    up to 3e-3 between polynomials and several per cent at g = 1 and 100. With `smooth` they are mixed there
    (5 % in x to both sides, g from 0.9 to 1 and from 80 to 100), since fits get caught at jumps; XSPEC does
    not mix them.
    """
    g = 13.58 * charge * charge / kt
    if g > 100.0:
        return _cold_gaunt(x, 1e-3 * g)
    start = 0.9 if smooth else 1.0
    if g < start:
        return born
    warm = born * _polynomials(x, max(g, 1.0), smooth)
    if not smooth or 1.0 <= g <= 80.0:
        return warm
    part, other = ((1.0 - g) / 0.1, born) if g < 1.0 else ((g - 80.0) / 20.0, _cold_gaunt(x, 0.1))
    return warm + part * (other - warm)


def _polynomials(x: np.ndarray, g: float, smooth: bool) -> np.ndarray:
    """Return the ratio of Gaunt factor and Born approximation for g from 1 to 100."""
    u = np.maximum(x, 0.003)
    column = int(np.searchsorted(_G_FROM[1:] if smooth else _G_LIMITS, g))
    part = (g - _G_FROM[column]) / _G_STEP[column]
    table = (1.0 - part) * _KELLOGG[:, column] + part * _KELLOGG[:, column + 1]
    if not smooth:
        row = np.searchsorted(_U_LIMITS, u)
        return table[0][row] + u * (table[1][row] + u * table[2][row])
    place = np.interp(np.log(u), _MIXED_AT, _MIXED_ROW)
    row = np.minimum(place.astype(np.int64), 4)
    lower = table[0][row] + u * (table[1][row] + u * table[2][row])
    upper = table[0][row + 1] + u * (table[1][row + 1] + u * table[2][row + 1])
    return lower + (place - row) * (upper - lower)


#: limits of E/kT and of 1000 Z² Ry / kT between the polynomials
_U_LIMITS = np.array([0.03, 0.3, 1.0, 5.0, 15.0])
_MIXED_AT = (np.log(_U_LIMITS)[:, np.newaxis] + [-0.05, 0.05]).ravel()
_MIXED_ROW = (np.arange(5.0)[:, np.newaxis] + [0.0, 1.0]).ravel()
_G_LIMITS = np.array([1.773, 3.0, 5.6234, 10.0, 30.0])
_G_FROM = np.array([1.0, 1.7783, 3.0, 5.6234, 10.0, 30.0])
_G_STEP = np.array([0.7783, 1.2217, 2.6234, 4.3766, 20.0, 70.0])
# fmt: off
#: (power of x, temperature, range of x)
_KELLOGG = np.array([
    [[1.001, 1.004, 1.017, 1.036, 1.056, 1.121],
     [1.001, 1.005, 1.017, 1.046, 1.073, 1.115],
     [0.9991, 1.005, 1.03, 1.055, 1.102, 1.176],
     [0.997, 1.005, 1.035, 1.069, 1.134, 1.186],
     [0.9962, 1.004, 1.042, 1.1, 1.193, 1.306],
     [0.9874, 0.9962, 1.047, 1.156, 1.327, 1.485],
     [0.9681, 0.9755, 1.02, 1.208, 1.525, 1.965]],
    [[0.3029, 0.1616, 0.04757, 0.013, 0.0049, -0.0032],
     [0.4905, 0.2155, 0.08357, 0.02041, 0.00739, 0.00029],
     [0.654, 0.2833, 0.08057, 0.03257, 0.00759, -0.00151],
     [1.029, 0.391, 0.1266, 0.05149, 0.01274, 0.00324],
     [0.9569, 0.4891, 0.1764, 0.05914, 0.01407, -0.00024],
     [1.236, 0.7579, 0.326, 0.1077, 0.028, 0.00548],
     [1.327, 1.017, 0.6017, 0.205, 0.0605, 0.00187]],
    [[-1.323, -0.254, -0.01571, -0.001, -0.000184, 0.00008],
     [-4.762, -0.3386, -0.03571, -0.001786, -0.0003, 0.00001],
     [-6.349, -0.4206, -0.02571, -0.003429, -0.000234, 0.00005],
     [-13.231, -0.59, -0.04571, -0.005714, -0.000445, -0.00004],
     [-7.672, -0.6852, -0.0643, -0.005857, -0.00042, 0.00004],
     [-7.143, -0.9947, -0.12, -0.01007, -0.000851, -0.00004],
     [-3.175, -1.116, -0.227, -0.01821, -0.001729, 0.00023]],
])
#: Gaunt factors at log10 E/kT = -4, -3.5 ... 1.5 (rows) and log10 Z² Ry/kT = -1, -0.5 ... 2 (columns)
_KURUCZ = np.array([
    [5.40, 5.25, 5.00, 4.69, 4.48, 4.16, 3.85], [4.77, 4.63, 4.40, 4.13, 3.87, 3.52, 3.27],
    [4.15, 4.02, 3.80, 3.57, 3.27, 2.98, 2.70], [3.54, 3.41, 3.22, 2.97, 2.70, 2.45, 2.20],
    [2.94, 2.81, 2.65, 2.44, 2.21, 2.01, 1.81], [2.41, 2.32, 2.19, 2.02, 1.84, 1.67, 1.50],
    [1.95, 1.90, 1.80, 1.68, 1.52, 1.41, 1.30], [1.55, 1.56, 1.51, 1.42, 1.33, 1.25, 1.17],
    [1.17, 1.30, 1.32, 1.30, 1.20, 1.15, 1.11], [0.86, 1.00, 1.15, 1.18, 1.15, 1.11, 1.08],
    [0.59, 0.76, 0.97, 1.09, 1.13, 1.10, 1.08], [0.38, 0.53, 0.76, 0.96, 1.08, 1.09, 1.09],
])
# fmt: on


def _cold_gaunt(x: np.ndarray, gamma: float) -> np.ndarray:
    column = 2.0 * np.log10(gamma) + 2.0
    row = 2.0 * np.log10(np.maximum(x, 1e-30)) + 8.0
    j = int(column)
    if j >= 6:
        return np.zeros_like(x)
    k = np.clip(row.astype(np.int64), 0, 10)
    t, u = column - j, row - k
    lower = (1.0 - t) * _KURUCZ[k, j] + t * _KURUCZ[k, j + 1]
    upper = (1.0 - t) * _KURUCZ[k + 1, j] + t * _KURUCZ[k + 1, j + 1]
    return np.where(row < 11.0, (1.0 - u) * lower + u * upper, 0.0)
