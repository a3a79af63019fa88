"""How counts lie on the detector plane: sums over sandwiches, and numbers that tell a glitch from a burst.

A sandwich is an array of 16 x 8 detectors; there are 16 x 16. Images have the shape ``(n, 173, 286)``.
Formulae: algorithms, section 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from batx.instrument.detector import DETECTOR, NX, NY

__all__ = ["FEATURES", "SANDWICHES", "Judgement", "features", "judge", "sandwich_sums", "shares"]

#: number of sandwiches along each axis, and detectors with gaps from one to the next (X, Y)
SANDWICHES = 16
_PITCH = 18, 11
_DETECTORS = 16, 8

#: names of the numbers, in their order
FEATURES = ("edge", "lower_edge", "hottest", "hot", "hot_edge", "strip")

#: rows of the lower part of the edge
_LOWER = slice(0, 9)

#: columns of sandwiches in which glitches are not
_SHARED = slice(2, SANDWICHES)

#: images judged at once
_AT_ONCE = 256


def sandwich_sums(images: np.ndarray) -> np.ndarray:
    """Return the counts of each sandwich, ``(..., 16, 16)``: edges 0, 18, … 270, 285 and 0, 11, … 165, 172.

    Both last edges are included, so every cell of the plane is in one sandwich.

    Examples
    --------
    >>> image = np.zeros((173, 286), int)
    >>> image[172, 285] = image[0, 17] = 1
    >>> sums = sandwich_sums(image)
    >>> int(sums[15, 15]), int(sums[0, 0]), sums.shape
    (1, 1, (16, 16))
    """
    whole = np.zeros((*images.shape[:-2], SANDWICHES * _PITCH[1], SANDWICHES * _PITCH[0]), images.dtype)
    whole[..., :NY, :NX] = images
    parts = whole.reshape(*images.shape[:-2], SANDWICHES, _PITCH[1], SANDWICHES, _PITCH[0])
    return parts.sum(axis=(-3, -1))


def _detectors(images: np.ndarray) -> np.ndarray:
    """Return the images by sandwich, ``(n, 16, 16, 128)``."""
    whole = np.zeros((len(images), SANDWICHES * _PITCH[1], SANDWICHES * _PITCH[0]), np.float32)
    whole[:, :NY, :NX] = images
    parts = whole.reshape(len(images), SANDWICHES, _PITCH[1], SANDWICHES, _PITCH[0])
    parts = parts[:, :, : _DETECTORS[1], :, : _DETECTORS[0]]
    return parts.transpose(0, 1, 3, 2, 4).reshape(len(images), SANDWICHES, SANDWICHES, -1)


def features(images: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers of `FEATURES` for each image, ``(n, 6)``.

    With S the number of detectors hit in a part of the plane, and E the number of active ones, the contrast
    of two parts is ln((S + k) / (S' E / E' + k)).

    ``edge``
        Contrast of the first column of sandwiches (smallest DETX) to the next three, k = 4.
    ``lower_edge``
        Contrast of the lower nine sandwiches of the first column to all from the third column on, k = 2.
    ``hottest``
        The largest x above 4, at most 8, where x is the square root of the excess of the hottest detector of
        a sandwich over 1 + 3 times the mean of the others: 18 counts or more in one detector.
    ``hot``, ``hot_edge``
        ln(1 + x) for the mean of the next two x, and of the four largest in the first two columns.
    ``strip``
        Contrast of the second and third column to the fifth and later, k = 4, above 0.2: a source far
        outside lights a strip that is not one sandwich wide.

    Parameters
    ----------
    images
        Counts.
    active
        Which detectors are on, ``(173, 286)`` or one map an image; all of them if `None`.
    """
    on = _detectors(np.broadcast_to(DETECTOR if active is None else active, images.shape))
    counts = _detectors(images) * on
    hit, possible = np.minimum(counts, 1.0).sum(axis=-1), on.sum(axis=-1)

    def contrast(part: tuple, other: tuple, k: float) -> np.ndarray:
        (s, e), (s2, e2) = (
            [a[(slice(None), *p)].sum(axis=(1, 2)) for a in (hit, possible)] for p in (part, other)
        )
        return np.log((s + k) / (s2 * e / np.maximum(e2, 1.0) + k))

    every = slice(None)
    top = counts.max(axis=-1)
    others = (counts.sum(axis=-1) - top) / np.maximum(possible - 1.0, 1.0)
    excess = np.sqrt(np.maximum(top - 1.0 - 3.0 * others, 0.0))
    highest = -np.sort(-excess.reshape(len(images), -1), axis=1)
    at_edge = -np.sort(-excess[:, :, :2].reshape(len(images), -1), axis=1)
    return np.column_stack(
        [
            contrast((every, slice(0, 1)), (every, slice(1, 4)), 4.0),
            contrast((_LOWER, slice(0, 1)), (every, _SHARED), 2.0),
            np.clip(highest[:, 0] - 4.0, 0.0, 8.0),
            np.log1p(highest[:, 1:3].mean(axis=1)),
            np.log1p(at_edge[:, :4].mean(axis=1)),
            np.maximum(contrast((every, slice(1, 3)), (every, slice(4, SANDWICHES)), 4.0) - 0.2, 0.0),
        ]
    )


def shares(images: np.ndarray) -> np.ndarray:
    """Return the part of the detectors hit that each sandwich from the third column on has, ``(n, 224)``."""
    hit = sandwich_sums(np.minimum(images, 1))[..., _SHARED].reshape(len(images), -1).astype(np.float64)
    return hit / np.maximum(hit.sum(axis=1, keepdims=True), 1.0)


class Judgement(NamedTuple):
    """A logistic of the numbers of an image.

    Attributes
    ----------
    weights
        One for each of `FEATURES`.
    zero
        Added to their sum.
    shares
        Logarithm of the ratio of the shares of each sandwich in glitches and in bursts, ``(224,)``.
    shares_weight
        Weight of their mean over the detectors hit; used if it is not known which detectors are on.
    """

    weights: np.ndarray
    zero: float
    shares: np.ndarray
    shares_weight: float

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> Judgement:
        """Return the judgement that a mapping of numbers describes."""
        return cls(
            np.array([numbers["weights"][name] for name in FEATURES]),
            float(numbers["zero"]),
            np.array(numbers["shares"], dtype=np.float64),
            float(numbers["shares_weight"]),
        )


def judge(images: np.ndarray, judgement: Judgement, active: np.ndarray | None = None) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) for each image, x the weighted sum of its numbers; NaN without counts.

    Images are taken in parts, so that memory stays bounded.
    """
    result = np.full(len(images), np.nan)
    for first in range(0, len(images), _AT_ONCE):
        part = images[first : first + _AT_ONCE]
        x = features(part, active) @ judgement.weights + judgement.zero
        if active is None:
            x = x + judgement.shares_weight * (shares(part) @ judgement.shares)
        seen = part.any(axis=(1, 2))
        result[first : first + _AT_ONCE] = np.where(seen, 1.0 / (1.0 + np.exp(-x)), np.nan)
    return result
