"""What a model leaves of detector images and sky images, on plain arrays (algorithms of the survey, 1.6)."""

from __future__ import annotations

import numpy as np

__all__ = ["chi_square", "copy_discs", "outlying_detectors"]

#: added to the model, count/s, so that it can be divided by
_LEAST = 1e-20


def outlying_detectors(rate: np.ndarray, model: np.ndarray, exposure: float, limit: float) -> np.ndarray:
    """Return which detectors are off the model in any band by more than `limit` Poisson standard deviations.

    Parameters
    ----------
    rate, model
        Count/s, shape (band, y, x).
    exposure
        Seconds.
    limit
        In standard deviations of the counts that the model expects.

    Examples
    --------
    >>> outlying_detectors(np.array([[[1.0, 1.5]]]), np.ones((1, 1, 2)), 100.0, 4.0).tolist()
    [[False, True]]
    """
    with np.errstate(invalid="ignore"):
        off = np.abs(rate - model) * np.sqrt(exposure / (model + _LEAST))
    return (off > limit).any(axis=0)


def chi_square(rate: np.ndarray, model: np.ndarray, exposure: float, good: np.ndarray) -> np.ndarray:
    """Return Pearson's chi-square of each band over the good detectors.

    Parameters
    ----------
    rate, model, exposure
        As for `outlying_detectors`.
    good
        Shape (y, x).

    Examples
    --------
    >>> chi_square(np.array([[[1.0, 1.5]]]), np.ones((1, 1, 2)), 100.0, np.array([[True, True]])).tolist()
    [25.0]
    """
    seen, expected = rate[:, good].astype(np.float64), model[:, good].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return ((seen - expected) ** 2 / expected).sum(axis=1) * exposure


def copy_discs(
    target: np.ndarray,
    source: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray],
    places: np.ndarray,
    radius: float,
) -> np.ndarray:
    """Return images in which discs around places are those of other images.

    Parameters
    ----------
    target, source
        Shape (band, y, x).
    axes
        Coordinates of the columns (x,) and rows (y,).
    places
        Middles of the discs, shape (n, 2).
    radius
        Pixels nearer than this are taken from `source`.

    Examples
    --------
    >>> image = np.zeros((1, 1, 4))
    >>> copy_discs(image, image + 1, (np.arange(4.0), np.zeros(1)), np.array([[1.0, 0.0]]), 1.5).tolist()
    [[[1.0, 1.0, 1.0, 0.0]]]
    """
    made = target.copy()
    x, y = axes
    for centre_x, centre_y in places:
        columns = np.flatnonzero(np.abs(x - centre_x) < radius)
        rows = np.flatnonzero(np.abs(y - centre_y) < radius)
        near = (x[columns] - centre_x) ** 2 + (y[rows, None] - centre_y) ** 2 < radius**2
        row, column = np.nonzero(near)
        made[:, rows[row], columns[column]] = source[:, rows[row], columns[column]]
    return made
