"""Point sources fitted to images: profile, model of a group of sources, and constrained least squares.

Formulae: algorithms, section 2.4. Places and widths are in one unit, here the tangent plane's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["FWHM_PER_SIGMA", "SHAPES", "Fit", "Guess", "Parameters", "Profile", "SharedNoise", "fit_sources"]

SHAPES = ("mask", "gaussian", "pyramid", "truncated_cone")

#: full width at half maximum of a Gaussian over its sigma, as the tools round it
FWHM_PER_SIGMA = 2.35

_ITERATIONS = 200
#: a fit has ended when no parameter moves by more than this fraction of its error
_MOVED = 1e-5
_X, _Y, _WIDTH = range(3)


@dataclass(frozen=True)
class Profile:
    """Shape of a point source, 1 at its centre.

    Attributes
    ----------
    shape
        One of `SHAPES`. ``"mask"`` is what deconvolution makes of a point: in X and in Y the convolution of
        four boxes, the mask cell and the detector on the side of the sky, the mask cell and the detector
        pitch on that of the image.
    top
        Width of the flat top of the last two shapes.
    boxes
        Widths of the four boxes in X and in Y, shape ``(2, 4)``; for the shape ``"mask"`` only.
    """

    shape: str
    top: float = 0.0
    boxes: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    @property
    def natural_width(self) -> float:
        """Full width at half maximum of the four boxes, the mean of that in X and in Y."""
        return float(np.mean([_half_maximum(widths) for widths in self.boxes]))

    def __call__(self, dx: np.ndarray, dy: np.ndarray, fwhm: float) -> tuple[np.ndarray, np.ndarray]:
        """Return values and their derivatives with respect to x and y of the centre and the width.

        Parameters
        ----------
        dx, dy
            Distance from the centre, shape ``(pixel,)``.
        fwhm
            Full width at half maximum.

        Returns
        -------
        values : numpy.ndarray
            Shape ``(pixel,)``.
        derivatives : numpy.ndarray
            Shape ``(3, pixel)``.

        Examples
        --------
        >>> values, _ = Profile("pyramid", 0.2)(np.array([0.0, 0.5]), np.zeros(2), 1.0)
        >>> values.tolist()
        [1.0, 0.5]
        """
        if self.shape == "gaussian":
            inverse = (FWHM_PER_SIGMA / fwhm) ** 2
            u = (dx * dx + dy * dy) * inverse
            p = np.exp(-0.5 * u)
            return p, np.stack([p * dx * inverse, p * dy * inverse, p * u / fwhm])
        if self.shape == "mask":
            scale = fwhm / self.natural_width
            (fx, fx_x), (fy, fy_y) = (
                _boxes(d / scale, widths) for d, widths in zip((dx, dy), self.boxes, strict=True)
            )
            by_width = -(fx_x * dx * fy + fy_y * dy * fx) / (scale * fwhm)
            return fx * fy, np.stack([-fx_x * fy / scale, -fy_y * fx / scale, by_width])
        if self.shape == "pyramid":
            fx, fx_r, fx_w = self._ramp(np.abs(dx), fwhm)
            fy, fy_r, fy_w = self._ramp(np.abs(dy), fwhm)
            return fx * fy, np.stack(
                [-fx_r * np.sign(dx) * fy, -fy_r * np.sign(dy) * fx, fx_w * fy + fx * fy_w]
            )
        r = np.hypot(dx, dy)
        f, f_r, f_w = self._ramp(r, fwhm)
        slope = -f_r / np.where(r > 0, r, 1.0)
        return f, np.stack([slope * dx, slope * dy, f_w])

    def along(self, axis: int, d: np.ndarray, fwhm: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the factor of X (axis 0) or Y of a shape that is a product of these, and its derivative.

        Examples
        --------
        >>> [float(value[0]) for value in Profile("gaussian").along(0, np.zeros(1), 1.0)]
        [1.0, -0.0]
        """
        if self.shape == "gaussian":
            inverse = (FWHM_PER_SIGMA / fwhm) ** 2
            p = np.exp(-0.5 * d * d * inverse)
            return p, -p * d * inverse
        scale = fwhm / self.natural_width
        f, slope = _boxes(d / scale, self.boxes[axis])
        return f, slope / scale

    def _ramp(self, r: np.ndarray, fwhm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ``clip((w2 - (w1 + r)/2) / (w2 - w1), 0, 1)`` and its derivatives by `r` and `fwhm`.

        w2 = fwhm / 2 and w1 = top / 2.
        """
        depth = 0.5 * (fwhm - self.top)
        numerator = 0.5 * fwhm - 0.5 * (0.5 * self.top + r)
        value = numerator / depth
        sloping = (value > 0) & (value < 1)
        by_width = np.where(sloping, 0.5 * (depth - numerator) / depth**2, 0.0)
        return np.clip(value, 0, 1), np.where(sloping, -0.5 / depth, 0.0), by_width

    def support(self, dx: np.ndarray, dy: np.ndarray, fwhm: float) -> np.ndarray:
        """Return where the background of a source is fitted: within 3 sigma, or 1.5 widths of the others."""
        scale = fwhm / FWHM_PER_SIGMA if self.shape == "gaussian" else 0.5 * fwhm
        return dx * dx + dy * dy < 9 * scale * scale


def _boxes(d: np.ndarray, widths: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the convolution of four boxes, 1 in the middle, and its derivative.

    It is the sum of cubes of truncated distances: ``sum +-(d + (+-w1 +-w2 +-w3 +-w4) / 2)_+ ** 3``.
    """
    signs = np.array(list(itertools.product((1, -1), repeat=len(widths))))
    shifts, parity = signs @ np.asarray(widths) / 2, np.prod(signs, axis=1)
    middle = parity @ np.maximum(shifts, 0) ** 3
    distance = np.maximum(shifts[:, None] - np.abs(d), 0)
    return parity @ distance**3 / middle, -3 * np.sign(d) * (parity @ distance**2) / middle


@lru_cache(maxsize=32)
def _half_maximum(widths: tuple[float, ...]) -> float:
    """Return the full width at half maximum of four boxes."""
    low, high = 0.0, sum(widths) / 2
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = _boxes(np.array([middle]), widths)[0][0] > 0.5
        low, high = (middle, high) if above else (low, middle)
    return 2 * low


@dataclass
class Parameters:
    """Parameters of a group of sources.

    Attributes
    ----------
    common
        Shape ``(source, 3)``: x, y and width, shared by the bands.
    band
        Shape ``(band, source, 2)``: amplitude and constant.
    """

    common: np.ndarray
    band: np.ndarray

    def flat(self) -> np.ndarray:
        """Return all of them as one vector, the common ones first."""
        return np.concatenate([self.common.ravel(), self.band.ravel()])

    def filled(self, vector: np.ndarray) -> Parameters:
        """Return parameters of this shape with the values of a vector."""
        common, band = np.split(vector, [self.common.size])
        return Parameters(common.reshape(self.common.shape), band.reshape(self.band.shape))


@dataclass(frozen=True)
class Guess:
    """Start values of a fit, which of the parameters are free (bool), and their limits."""

    start: Parameters
    free: Parameters
    low: Parameters
    high: Parameters

    def bands(self, band: slice) -> Guess:
        """Return the same for some of the bands."""
        parts = (self.start, self.free, self.low, self.high)
        return Guess(*(Parameters(part.common, part.band[band]) for part in parts))


class SharedNoise:
    """Noise that neighbouring pixels of a band share.

    Parameters
    ----------
    correlation
        Correlation of two pixels by their distance in rows and columns: odd array with 1 in the middle.
    rows, columns
        The pixels.
    own
        Variance of a part that each pixel has for itself, relative to the noise. It keeps structures finer
        than a source, in which there is little noise, from having much weight.
    """

    def __init__(self, correlation: np.ndarray, rows: np.ndarray, columns: np.ndarray, own: float) -> None:
        self.own = own
        reach_y, reach_x = (length // 2 for length in correlation.shape)
        place = np.full((np.ptp(rows) + 1 + 2 * reach_y, np.ptp(columns) + 1 + 2 * reach_x), -1)
        y, x = rows - rows.min() + reach_y, columns - columns.min() + reach_x
        place[y, x] = np.arange(len(rows))
        dy, dx = np.nonzero(correlation)
        other = place[y[:, None] + dy - reach_y, x[:, None] + dx - reach_x]
        pixel, offset = np.nonzero(other >= 0)
        matrix = own * np.eye(len(rows))
        matrix[pixel, other[pixel, offset]] += correlation[dy[offset], dx[offset]]
        self._inverse = np.linalg.inv(matrix)

    def solve(self, columns: np.ndarray, n_bands: int) -> np.ndarray:
        """Return the inverse of the correlation times columns over the pixels of one band after another."""
        blocks = columns.reshape(n_bands, -1, columns.shape[1])
        solved = np.zeros_like(blocks)
        for block, result in zip(blocks, solved, strict=True):
            used = block.any(axis=0)  # the amplitudes of a band mean nothing to the others
            result[:, used] = self._inverse @ block[:, used]
        return solved.reshape(columns.shape)


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Attributes
    ----------
    values
        Best parameters.
    covariance
        Of the vector of all parameters; 0 for those that were held or are at a limit.
    at_limit
        Which parameters ended at a limit.
    chi2, dof
        Sum of squared residuals of each band, and pixels of a band minus the parameters it has free.
    """

    values: Parameters
    covariance: np.ndarray
    at_limit: Parameters
    chi2: np.ndarray
    dof: int


def fit_sources(
    x: np.ndarray,
    y: np.ndarray,
    data: np.ndarray,
    sigma: np.ndarray,
    guess: Guess,
    profile: Profile,
    noise: SharedNoise | None = None,
) -> Fit:
    """Return the least-squares fit of a group of sources to the pixels around them, within limits.

    With noise C that pixels share, ``r' C^-1 r`` is minimised in place of ``r' r``, r being the residuals
    over sigma.

    The model of a band is ``sum A p(x - x0, y - y0) + b``, with b that of the first source whose `support`
    holds the pixel, 0 outside all. Damped normal equations (Levenberg-Marquardt, analytic derivatives);
    parameters that press against a limit are held for the step, and a step ends where the first other one
    meets its limit.

    Parameters
    ----------
    x, y
        Places of the pixels, shape ``(pixel,)``.
    data, sigma
        Values and their standard deviations, shape ``(band, pixel)``.
    guess
        Start values, which are free, and limits.
    profile
        Shape of a point source.
    noise
        Noise that pixels share; independent of each other if not given.

    Examples
    --------
    >>> y, x = (axis.ravel() for axis in np.mgrid[-5.0:6, -5.0:6])
    >>> profile = Profile("gaussian", 0.0)
    >>> data = 3 * profile(x - 0.3, y, 3.0)[0][None] + 0.0
    >>> first = Parameters(np.array([[0.0, 0.0, 3.0]]), np.array([[[1.0, 0.0]]]))
    >>> vary = Parameters(np.array([[True, True, False]]), np.array([[[True, True]]]))
    >>> wide = first.filled(np.full(5, np.inf))
    >>> guess = Guess(first, vary, wide.filled(-wide.flat()), wide)
    >>> fit = fit_sources(x, y, data, np.ones_like(data), guess, profile)
    >>> fit.values.common[0, 0].round(6), fit.values.band[0, 0, 0].round(6)
    (np.float64(0.3), np.float64(3.0))
    """
    start = guess.start
    vary, lowest, highest = guess.free.flat().astype(bool), guess.low.flat(), guess.high.flat()
    vector = np.where(vary, np.clip(start.flat(), lowest, highest), start.flat())
    here = _linearised(x, y, data, sigma, start.filled(vector), profile, noise)
    damping = 1e-3
    for _ in range(_ITERATIONS):
        gradient = here.gradient
        pressed = ((vector <= lowest) & (gradient < 0)) | ((vector >= highest) & (gradient > 0))
        active = vary & ~pressed
        step = np.zeros_like(vector)
        scale, scaled = here.normal(active)
        step[active] = (
            np.linalg.solve(scaled + damping * np.eye(len(scaled)), gradient[active] / scale) / scale
        )
        step *= _fraction(vector, step, lowest, highest)
        trial = np.where(vary, np.clip(vector + step, lowest, highest), vector)
        there = _linearised(x, y, data, sigma, start.filled(trial), profile, noise)
        moved = np.abs((trial - vector)[active] * scale).max(initial=0.0)
        if there.badness <= here.badness:
            vector, here = trial, there
            damping = max(damping / 10, 1e-12)
            if moved < _MOVED:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    at_limit = vary & ((vector <= lowest) | (vector >= highest))
    active = vary & ~at_limit
    covariance = np.zeros((vector.size, vector.size))
    covariance[np.ix_(active, active)] = here.covariance(active, 0.0 if noise is None else noise.own)
    chi2 = (here.residual.reshape(data.shape) ** 2).sum(axis=1)
    n_free = int(vary[: start.common.size].sum() + vary[start.common.size :].sum() / len(data))
    return Fit(start.filled(vector), covariance, start.filled(at_limit), chi2, x.size - n_free)


def _fraction(vector: np.ndarray, step: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the fraction of a step at which the first parameter that is not there yet meets a limit."""
    room = np.where(step > 0, high - vector, vector - low)
    meets = (step != 0) & (room > 0) & (room < np.abs(step))
    return float((room[meets] / np.abs(step[meets])).min(initial=1.0))


@dataclass(frozen=True)
class _Linear:
    """Residuals and derivatives of the model over sigma, bands after each other, and the derivatives times
    the inverse of the correlation of the noise; `badness` is what is minimised.
    """

    residual: np.ndarray
    jacobian: np.ndarray
    weighted: np.ndarray
    badness: float

    @property
    def gradient(self) -> np.ndarray:
        return self.weighted.T @ self.residual

    def normal(self, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scales of parameters and the normal matrix in units of them."""
        matrix = self.jacobian[:, active].T @ self.weighted[:, active]
        scale = np.sqrt(np.maximum(np.diagonal(matrix), 0))
        scale = np.where(scale > 0, scale, 1.0)
        return scale, matrix / np.outer(scale, scale)

    def covariance(self, active: np.ndarray, own: float) -> np.ndarray:
        """Return the covariance of parameters from noise without the part `own`, which only the weights have:
        ``H^-1 - own H^-1 (W J)' W J H^-1``.
        """
        scale, scaled = self.normal(active)
        inverse = np.linalg.pinv(scaled, hermitian=True) / np.outer(scale, scale)
        spread = self.weighted[:, active] @ inverse
        return inverse - own * (spread.T @ spread)


def _linearised(
    x: np.ndarray,
    y: np.ndarray,
    data: np.ndarray,
    sigma: np.ndarray,
    values: Parameters,
    profile: Profile,
    noise: SharedNoise | None,
) -> _Linear:
    """Return the model at some values of its parameters."""
    n_bands, n_pixels = data.shape
    n_sources = len(values.common)
    model = np.zeros_like(data)
    common = np.zeros((n_bands, n_pixels, n_sources, 3))
    band = np.zeros((n_bands, n_pixels, n_bands, n_sources, 2))
    taken = np.zeros(n_pixels, bool)
    for source, (x0, y0, width) in enumerate(values.common):
        dx, dy = x - x0, y - y0
        shape, derivatives = profile(dx, dy, width)
        own = profile.support(dx, dy, width) & ~taken
        taken |= own
        for number in range(n_bands):
            amplitude, constant = values.band[number, source]
            model[number] += amplitude * shape + constant * own
            common[number, :, source] = amplitude * derivatives.T
            band[number, :, number, source, 0] = shape
            band[number, :, number, source, 1] = own
    jacobian = np.concatenate(
        [common.reshape(n_bands, n_pixels, -1), band.reshape(n_bands, n_pixels, -1)], axis=-1
    )
    jacobian /= sigma[..., None]
    jacobian = jacobian.reshape(n_bands * n_pixels, -1)
    residual = ((data - model) / sigma).ravel()
    if noise is None:
        return _Linear(residual, jacobian, jacobian, float(residual @ residual))
    solved = noise.solve(np.column_stack([residual, jacobian]), n_bands)
    return _Linear(residual, jacobian, solved[:, 1:], float(residual @ solved[:, 0]))
