"""Background and sources of detector images by weighted linear least squares, and balancing (algorithms 2.7).

Plain arrays of shape ``(173, 286)`` or lists of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from batx.instrument.detector import DETECTOR, NX, NY

__all__ = [
    "BALANCES",
    "N_BACKGROUND",
    "background_templates",
    "balance",
    "balance_names",
    "facing_edges",
    "fit_templates",
    "poisson_weights",
]

#: modules of 16 x 8 detectors are repeated every 18 columns and 11 rows
_STEP_X, _STEP_Y = 18, 11
_COLUMN, _ROW = np.meshgrid(np.arange(NX), np.arange(NY))
_LEFT, _RIGHT = _COLUMN % _STEP_X == 0, _COLUMN % _STEP_X == 15
_BACK, _FRONT = _ROW % _STEP_Y == 0, _ROW % _STEP_Y == 7

#: number of templates of the background model
N_BACKGROUND = 14

#: eigenvalues of the scaled normal matrix below this fraction of the largest belong to no template
_SINGULAR = 1e-12

_COMBINED = {"flight": ("shortedges", "longedges", "inout"), "edges": ("shortedges", "longedges")}
#: what detectors can be balanced in
BALANCES = ("all", "module", "inout", "shortedges", "longedges", *_COMBINED)


def background_templates() -> np.ndarray:
    """Return the templates of the background model, shape ``(14, 173, 286)``, 0 in the gaps.

    1, X, Y, X², Y², XY over the plane; 1 and X on the left and on the right edges of modules; 1 and Y on
    their front and on their back edges. X and Y are cm from the middle.

    Examples
    --------
    >>> background_templates().shape
    (14, 173, 286)
    """
    x, y = 0.42 * (_COLUMN - 142.5), 0.42 * (_ROW - 86.0)
    one = np.ones_like(x)
    plane = [one, x, y, x * x, y * y, x * y]
    edges = [
        _LEFT * one,
        _LEFT * x,
        _RIGHT * one,
        _RIGHT * x,
        _FRONT * one,
        _FRONT * y,
        _BACK * one,
        _BACK * y,
    ]
    return np.stack([*plane, *edges]) * DETECTOR


def facing_edges(imx: float, imy: float) -> np.ndarray:
    """Return which detectors are on an edge of their module that faces a direction, shape ``(173, 286)``.

    Their sides are lit as well, since no other detector stands in front of them.

    Examples
    --------
    >>> bool(facing_edges(0.5, 0.0)[0, 15]), bool(facing_edges(0.5, 0.0)[1, 0])
    (True, False)
    """
    none = np.zeros_like(DETECTOR)
    across = _RIGHT if imx > 0 else _LEFT if imx < 0 else none
    along = _FRONT if imy > 0 else _BACK if imy < 0 else none
    return DETECTOR & (across | along)


def poisson_weights(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values to be fitted and their weights for which a fit to few counts has no bias.

    c + 1 with variance c + 1 for c > 0, and 0 with variance 1 otherwise (Mighell 1999, ApJ 518, 380).

    Examples
    --------
    >>> [array.tolist() for array in poisson_weights(np.array([0.0, 3.0]))]
    [[0.0, 4.0], [1.0, 0.25]]
    """
    positive = counts > 0
    return np.where(positive, counts + 1.0, 0.0), np.where(positive, 1.0 / (np.abs(counts) + 1.0), 1.0)


def fit_templates(
    templates: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients of templates by weighted least squares, and their covariance.

    Parameters
    ----------
    templates
        Shape ``(template, n)``. Those that are 0 everywhere, or a sum of others, get the solution of least
        norm (0 for the former).
    values
        Shape ``(image, n)``: all images share the weights, so the normal matrix is made once.
    weights
        Shape ``(n,)``: one over the variance of each value; 1 if not given.

    Returns
    -------
    coefficients : numpy.ndarray
        Shape ``(image, template)``.
    covariance : numpy.ndarray
        Shape ``(template, template)``.

    Examples
    --------
    >>> coefficients, covariance = fit_templates(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[3.0, 5.0]]))
    >>> coefficients.tolist(), covariance.diagonal().tolist()
    ([[4.0, 0.0]], [0.5, 0.0])
    """
    root = templates if weights is None else templates * np.sqrt(weights)
    normal = root @ root.T
    scale = np.sqrt(np.diagonal(normal))
    inverse_scale = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    size, direction = np.linalg.eigh(normal * np.outer(inverse_scale, inverse_scale))
    kept = size > _SINGULAR * size.max(initial=0.0)
    basis = direction[:, kept] * inverse_scale[:, None]
    covariance = (basis / size[kept]) @ basis.T
    weighted = values if weights is None else values * weights
    return (weighted @ templates.T) @ covariance, covariance


def balance_names(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the balances that a list, or a text separated by commas, names, in order and taken apart.

    Raises `ValueError` with the unknown name.

    Examples
    --------
    >>> balance_names("Flight")
    ('shortedges', 'longedges', 'inout')
    """
    given = names.split(",") if isinstance(names, str) else list(names or ())
    chosen: list[str] = []
    for name in (str(name).strip().lower() for name in given):
        if name in ("none", ""):
            continue
        if name not in BALANCES:
            raise ValueError(name)
        chosen.extend(_COMBINED.get(name, (name,)))
    return tuple(chosen)


def balance(images: np.ndarray, good: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return images from which the mean over the good detectors of each group is taken.

    Parameters
    ----------
    images
        Shape ``(..., 173, 286)``.
    good
        Shape ``(173, 286)``; others are 0 in the result.
    names
        Of `balance_names`, applied one after the other: ``all`` good detectors; each ``module``; the inner
        and the outer ones of each module (``inout``); the right and the left columns of the modules of a
        column (``shortedges``); the front and the back rows of the modules of a row (``longedges``).

    Examples
    --------
    >>> flat = balance(np.ones((173, 286)), DETECTOR, ["all"])
    >>> float(np.abs(flat).max())
    0.0
    """
    flat = np.where(good, images, 0.0).reshape(*images.shape[:-2], -1)
    for name in names:
        for group in _groups(name):
            _take_means(flat, np.where(good, group, -1).ravel())
    return flat.reshape(images.shape)


def _groups(name: str) -> list[np.ndarray]:
    """Return maps of group numbers, -1 where a detector belongs to none."""
    across, along = _COLUMN // _STEP_X, _ROW // _STEP_Y
    module = along * (NX // _STEP_X + 1) + across
    if name == "all":
        return [np.zeros_like(module)]
    if name == "module":
        return [module]
    if name == "inout":
        return [2 * module + (_LEFT | _RIGHT | _FRONT | _BACK)]
    if name == "shortedges":
        return [np.where(edge, across, -1) for edge in (_RIGHT, _LEFT)]
    return [np.where(edge, along, -1) for edge in (_FRONT, _BACK)]


def _take_means(flat: np.ndarray, group: np.ndarray) -> None:
    """Subtract the mean of each group from images (..., n) in place."""
    member = group >= 0
    number = group[member]
    size = np.bincount(number)
    for image in flat.reshape(-1, flat.shape[-1]):
        mean = np.bincount(number, image[member]) / np.maximum(size, 1)
        image[member] -= mean[number]
