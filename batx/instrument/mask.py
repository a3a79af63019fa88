"""The coded mask: how a source lights the detectors through it, and the weights that follow.

Lengths are cm in the BAT frame. A source is a point ``(x, y, z)``; one that is far away is its direction
scaled to ``z = FAR``. Formulae: algorithms, section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from batx.errors import PositionError, ValueRangeError
from batx.instrument.detector import DETECTOR, NX, NY
from batx.instrument.shadow import TOUCHING, add_layer, correct_and_balance, overlaps
from batx.instrument.sky import FAR

__all__ = [
    "DEFAULT_CORRECTIONS",
    "DEFAULT_GEOMETRY",
    "FAR",
    "MASK_WEIGHT_GAIN",
    "NORMALISATIONS",
    "MaskGeometry",
    "illumination",
    "parse_corrections",
    "rectangle_coding",
    "weight_map",
    "weight_normalisation",
]

#: allowance for the technique in the weight normalisation of events and weight images
MASK_WEIGHT_GAIN = 0.04

#: size of the steps in which the thickness of a tile is followed, cm
_SUBLAYER_STEP = 0.02

#: lower corner of detector (0, 0) relative to the origin of the detector plane, cm
_DETECTOR_CORNER = (-60.05, -36.32)

#: ways to make a mask-weighted sum the counts of fully open detectors, see `weight_map`
NORMALISATIONS = ("tool", "geometry")

DEFAULT_CORRECTIONS = ("flatfield", "pcode", "ndets", "maskwt")
_CORRECTIONS = (*DEFAULT_CORRECTIONS, "nearfield", "cosine", "rsquare", "forward", "unbalanced")


#: geometry keywords of an aperture, and their values where it lacks them, cm (algorithms section 1)
DEFAULT_GEOMETRY = {
    "maskbatx": 0.0,
    "maskbaty": 0.0,
    "maskbatz": 100.1,
    "maskoffx": 0.0,
    "maskoffy": 0.143,
    "maskoffz": 0.0,
    "maskcelx": 0.5,
    "maskcely": 0.5,
    "maskcelz": 0.1,
    "detbatx": 0.0,
    "detbaty": 0.0,
    "detbatz": 0.35,
    "detoffx": 0.0,
    "detoffy": 0.0,
    "detoffz": 0.0,
    "detcelx": 0.42,
    "detcely": 0.42,
    "detsizex": 0.40,
    "detsizey": 0.40,
}


@dataclass(frozen=True)
class MaskGeometry:
    """Where the mask and the detectors are.

    Attributes
    ----------
    shape
        Mask cells ``(ny, nx)``.
    mask_corner
        X and Y of the lower corner of mask cell (0, 0), cm.
    mask_top
        Z of the top of the tiles, cm.
    mask_cell
        Size of a mask cell in X, Y and its thickness, cm.
    detector_corner
        X and Y of the lower corner of detector (0, 0), cm.
    detector_top
        Z of the top of the detectors, cm.
    detector_pitch, detector_size
        Distance of neighbouring detectors and size of one, X and Y, cm.
    """

    shape: tuple[int, int]
    mask_corner: tuple[float, float]
    mask_top: float
    mask_cell: tuple[float, float, float]
    detector_corner: tuple[float, float]
    detector_top: float
    detector_pitch: tuple[float, float]
    detector_size: tuple[float, float]

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any], shape: tuple[int, int]) -> MaskGeometry:
        """Return the geometry that the attributes of an `aperture` Dataset describe.

        Parameters
        ----------
        attrs
            The keywords of the aperture file in lower case (``maskbatz``, ``maskoffx``, ``maskcell0x``,
            ...). What is absent takes the default of algorithms, section 1; the mask is then centred on its
            origin.
        shape
            Shape of the mask array, ``(ny, nx)``.

        Raises
        ------
        ValueRangeError
            If an attribute is not a finite number, a size is not positive, or the mask is not above the
            detectors.

        Examples
        --------
        >>> MaskGeometry.from_attrs({}, (243, 487)).mask_corner
        (-121.75, -60.607)
        """

        def value(name: str, default: float | None = None) -> float:
            found = attrs.get(name, DEFAULT_GEOMETRY[name] if default is None else default)
            if not isinstance(found, Real) or not np.isfinite(float(found)):
                raise ValueRangeError(f"aperture: found {name} = {found!r}, expected a finite number (cm)")
            return float(found)

        ny, nx = (int(n) for n in shape)
        cell = (value("maskcelx"), value("maskcely"), value("maskcelz"))
        geometry = cls(
            shape=(ny, nx),
            mask_corner=(
                value("maskbatx") + value("maskoffx") + value("maskcell0x", -nx * cell[0] / 2),
                value("maskbaty") + value("maskoffy") + value("maskcell0y", -ny * cell[1] / 2),
            ),
            mask_top=value("maskbatz") + value("maskoffz"),
            mask_cell=cell,
            detector_corner=(
                value("detbatx") + value("detoffx") + _DETECTOR_CORNER[0],
                value("detbaty") + value("detoffy") + _DETECTOR_CORNER[1],
            ),
            detector_top=value("detbatz") + value("detoffz"),
            detector_pitch=(value("detcelx"), value("detcely")),
            detector_size=(value("detsizex"), value("detsizey")),
        )
        sizes = (*cell[:2], *geometry.detector_pitch, *geometry.detector_size)
        if not all(size > 0 for size in sizes) or cell[2] < 0 or geometry.height <= 0:
            raise ValueRangeError(
                f"aperture: found mask cells {cell} cm, detector pitch {geometry.detector_pitch} cm, "
                f"detector size {geometry.detector_size} cm and a mask {geometry.height} cm above the "
                "detectors; expected positive sizes"
            )
        return geometry

    @property
    def height(self) -> float:
        """Distance from the top of the detectors to the middle of the tiles, cm."""
        return self.mask_top - self.mask_cell[2] / 2 - self.detector_top

    def detector_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the X of the columns, shape ``(286,)``, and the Y of the rows, shape ``(173,)``, cm."""
        x, y = (
            corner + pitch * np.arange(n) + size / 2
            for corner, pitch, size, n in zip(
                self.detector_corner, self.detector_pitch, self.detector_size, (NX, NY), strict=True
            )
        )
        return x, y

    def sublayers(self, source: Any, centred: bool = False) -> np.ndarray:
        """Return the Z of the 1 to 8 layers that stand for the thickness of the tiles, cm, top first.

        The first is the top of the tiles, as in the tool, so that their mean is above the middle of the
        tiles; with `centred` it is the middle.
        """
        x, y, z = _point(source)
        slope = (np.hypot(x, y) + 50.0) / (z - 100.0)
        count = int(np.clip(slope * self.mask_cell[2] / _SUBLAYER_STEP + 1.0, 1.0, 8.0))
        return self.mask_top - (np.arange(count) + 0.5 * centred) * self.mask_cell[2] / count

    def field_radius(self, z: float = FAR) -> float:
        """Return a bound on ``hypot(imx, imy)`` of sources at height `z` that shine through the mask."""
        reach = []
        for axis in (0, 1):
            mask_low = self.mask_corner[axis]
            mask = np.array([mask_low, mask_low + self.mask_cell[axis] * self.shape[1 - axis]])
            low = self.detector_corner[axis]
            span = self.detector_pitch[axis] * ((NX, NY)[axis] - 1) + self.detector_size[axis]
            detectors = np.array([low, low + span])
            depth = self.mask_top - self.mask_cell[2] - self.detector_top
            source = detectors + (mask[:, None] - detectors) * (z - self.detector_top) / depth
            reach.append(np.abs(source / z).max())
        return float(np.hypot(*reach))


def rectangle_coding(imx: Any, imy: Any) -> np.ndarray:
    """Return about which fraction of the detectors the mask shadows for sources far away: that of rectangles.

    With the usual geometry, all detectors in use, and the mask without its cut corners.

    Examples
    --------
    >>> rectangle_coding([0.0, 1.2], 0.0).round(2).tolist()
    [1.0, 0.52]
    """
    height = DEFAULT_GEOMETRY["maskbatz"] - DEFAULT_GEOMETRY["detbatz"]
    fraction: Any = 1.0
    for slope, cells, corner in zip((imx, imy), (487, 243), _DETECTOR_CORNER, strict=True):
        half_mask, half_plane = cells * DEFAULT_GEOMETRY["maskcelx"] / 2, -corner
        shadowed = half_mask + half_plane - height * np.abs(slope)
        fraction = fraction * np.clip(shadowed / (2 * half_plane), 0, 1)
    return np.asarray(fraction)


def parse_corrections(corrections: str | Iterable[str]) -> frozenset[str]:
    """Return the set of corrections that a list, or a text separated by commas, names.

    ``"default"`` stands for flatfield, pcode, ndets and maskwt, ``"none"`` for nothing.

    Raises
    ------
    ValueRangeError
        If a name is unknown, or both flatfield and nearfield are asked for.

    Examples
    --------
    >>> sorted(parse_corrections("forward,unbalanced"))
    ['forward', 'unbalanced']
    """
    if not isinstance(corrections, Iterable):
        raise ValueRangeError(f"corrections: found {corrections!r}, expected names, or 'none'")
    names = corrections.split(",") if isinstance(corrections, str) else list(corrections)
    chosen: set[str] = set()
    for name in (str(name).strip().lower() for name in names):
        if name == "default":
            chosen.update(DEFAULT_CORRECTIONS)
        elif name in _CORRECTIONS:
            chosen.add(name)
        elif name not in ("none", ""):
            raise ValueRangeError(
                f"corrections: found '{name}', expected some of default, none, {', '.join(_CORRECTIONS)}"
            )
    if {"flatfield", "nearfield"} <= chosen:
        raise ValueRangeError(
            "corrections: found both flatfield and nearfield; the second contains the first, give one of them"
        )
    return frozenset(chosen)


def illumination(
    mask: np.ndarray,
    geometry: MaskGeometry,
    source: Any,
    unbalanced: bool = False,
    centred: bool = False,
) -> np.ndarray:
    """Return which fraction of each detector a source lights through open, minus through closed, mask cells.

    The shadow of a layer of the mask is a rectangular grid on the detector plane, so the overlap of cell and
    detector is the product of an overlap in X and one in Y; the result is the mean over the layers that
    stand for the thickness of the tiles. Formula: algorithms, section 2.1, step 1.

    Parameters
    ----------
    mask
        Shape ``(ny, nx)``: +1 open, -1 closed, 0 outside the mask.
    geometry
        Where mask and detectors are.
    source
        ``(x, y, z)``, cm.
    unbalanced
        Count closed cells as 0: the result is the lit fraction, 0 to 1.
    centred
        Whether the layers are symmetric about the middle of the tiles, as shadows are; those of the tool
        begin at their top.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(173, 286)``, -1 to 1; 0 in the gaps and where no part of the mask is in the way.

    Raises
    ------
    PositionError
        If the source is not above the mask.
    ValueRangeError
        If `mask` has another shape than the geometry.

    Examples
    --------
    >>> geometry = MaskGeometry.from_attrs({}, (243, 487))
    >>> lit = illumination(np.ones((243, 487), np.int8), geometry, (0.0, 0.0, FAR), unbalanced=True)
    >>> float(lit[0, 0].round(6)), float(lit[0, 16])
    (1.0, 0.0)
    """
    x, y, z = _point(source)
    cells = np.ascontiguousarray(mask, dtype=np.int8)
    if cells.shape != geometry.shape:
        raise ValueRangeError(
            f"mask: found shape {cells.shape}, expected {geometry.shape} as in the geometry"
        )
    if not z > geometry.mask_top:
        raise PositionError(
            f"source: found a height of {z} cm above the BAT origin, expected one above the mask, "
            f"which is at {geometry.mask_top} cm"
        )
    lit = np.zeros((NY, NX))
    layers = geometry.sublayers(source, centred)
    for layer in layers:
        ratio = (geometry.detector_top - layer) / (z - layer)
        columns = overlaps(NX, *_axis(geometry, 0), 1.0 - ratio, x * ratio)
        rows = overlaps(NY, *_axis(geometry, 1), 1.0 - ratio, y * ratio)
        add_layer(cells, unbalanced, *columns, *rows, lit)
    lit /= len(layers)
    lit[~DETECTOR] = 0.0
    return lit


def weight_normalisation(geometry: MaskGeometry, z: float, gain: float = MASK_WEIGHT_GAIN) -> float:
    """Return the factor N that on average makes a mask-weighted sum the counts of fully open detectors.

    Half the mean of the squared illumination over all phases of a random mask, half of it open, as the tools
    estimate it, times ``1 + gain``. Formula: algorithms, section 2.1, step 4.

    Examples
    --------
    >>> round(weight_normalisation(MaskGeometry.from_attrs({}, (243, 487)), FAR), 6)
    0.270402
    """
    shadow = (z - geometry.height) / z
    lx, ly = (
        size / cell * shadow
        for size, cell in zip(geometry.detector_size, geometry.mask_cell[:2], strict=True)
    )
    full = 0.5 * ((1 - lx) * (1 - ly) + 0.5 * ((1 - lx) * ly + (1 - ly) * lx) + lx * ly / 8)
    return (1 + 4 * full) / 6 * (1 + gain)


def weight_map(
    mask: np.ndarray,
    geometry: MaskGeometry,
    source: Any,
    good: np.ndarray | None = None,
    corrections: str | Iterable[str] = DEFAULT_CORRECTIONS,
    rebalance: bool = True,
    gain: float = MASK_WEIGHT_GAIN,
    normalisation: str = "tool",
    centred: bool = False,
) -> tuple[np.ndarray, float, int, float]:
    """Return the mask weight of every detector for a source.

    Formula: algorithms, section 2.1, steps 1 to 5.

    Parameters
    ----------
    mask, geometry, source
        As for `illumination`.
    good
        Shape ``(173, 286)``, true for detectors in use; all of them if not given. Gaps are never good.
    corrections
        Names as for `parse_corrections`.
    rebalance
        Subtract a multiple of the correction of each detector so that the weights of all good, coded
        detectors sum to 0.
    gain
        Of `weight_normalisation`.
    normalisation
        What the correction maskwt divides by. ``"tool"``: N of `weight_normalisation`, a mean over random
        masks; ``"geometry"``: what a source of 1 count per fully open detector leaves for this mask, source
        and `good`, so that the weighted counts of such a source are exactly 1 (`gain` has no part in it).
        Weights are 0 where the coded detectors are all lit alike.
    centred
        As for `illumination`.

    Returns
    -------
    weight : numpy.ndarray
        float64, shape ``(173, 286)``; 0 for detectors that are not good or not coded.
    pcode : float
        Coded fraction of the good detectors (partial coding).
    n_good : int
        Number of good detectors.
    mask_weight_norm : float
        Product of the normalising factors that were not applied (MSKWTSQF).

    Raises
    ------
    PositionError
        If the source is not above the mask.
    ValueRangeError
        If `normalisation` is neither of the two.

    Examples
    --------
    >>> geometry = MaskGeometry.from_attrs({}, (243, 487))
    >>> mask = np.where(np.random.default_rng(1).random((243, 487)) < 0.5, 1, -1)
    >>> weight, pcode, n_good, norm = weight_map(mask, geometry, (0.1 * FAR, 0.0, FAR))
    >>> pcode, n_good, abs(float(weight.sum())) < 1e-12
    (1.0, 32768, True)
    """
    chosen = parse_corrections(corrections)
    if normalisation not in NORMALISATIONS:
        raise ValueRangeError(f"normalisation: found {normalisation!r}, expected 'tool' or 'geometry'")
    x, y, z = _point(source)
    usable = DETECTOR if good is None else DETECTOR & np.asarray(good, dtype=bool)
    weight = illumination(mask, geometry, source, "unbalanced" in chosen, centred)
    correction = _correction_map(geometry, (x, y, z), chosen)
    n_good = int(np.count_nonzero(usable))
    n_coded = correct_and_balance(weight, usable, correction, rebalance)
    pcode = n_coded / n_good if n_good else 0.0
    if normalisation == "tool":
        response = weight_normalisation(geometry, z, gain)
    else:
        shadow = illumination(mask, geometry, source, unbalanced=True, centred=centred)
        shadow *= correction if "forward" in chosen else 1.0 / correction
        response = _response(weight, shadow, n_coded)
    factors = {"pcode": pcode, "ndets": float(n_good), "maskwt": response}
    applied = float(np.prod([factor for name, factor in factors.items() if name in chosen]))
    left = float(np.prod([factor for name, factor in factors.items() if name not in chosen]))
    if np.isnan(applied):
        weight[:] = 0.0
    elif n_coded:
        weight /= applied
    centre = _correction(np.array([x]), np.array([y]), z - geometry.detector_top, (x, y, z), geometry, chosen)
    return weight, pcode, n_good, float(centre[0, 0]) * left


def _response(weight: np.ndarray, shadow: np.ndarray, n_coded: int) -> float:
    """Return what a source of 1 count per fully open detector leaves per coded detector, NaN if nothing.

    Formula: algorithms, section 2.1, step 4.
    """
    left = float(np.sum(weight * shadow)) / max(n_coded, 1)
    return left if left > TOUCHING else float("nan")


def _point(source: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in source)
    if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
        raise PositionError(f"source: found ({x}, {y}, {z}) cm, expected finite numbers")
    return x, y, z


def _axis(geometry: MaskGeometry, axis: int) -> tuple[float, float, float, float, float, int]:
    """Return first detector edge, pitch, detector size, first mask edge, mask cell and their number."""
    return (
        geometry.detector_corner[axis],
        geometry.detector_pitch[axis],
        geometry.detector_size[axis],
        geometry.mask_corner[axis],
        geometry.mask_cell[axis],
        geometry.shape[1 - axis],
    )


def _correction_map(
    geometry: MaskGeometry, source: tuple[float, float, float], chosen: frozenset[str]
) -> np.ndarray:
    x, y = geometry.detector_centres()
    dz = source[2] - geometry.detector_top
    return _correction(source[0] - x, source[1] - y, dz, source, geometry, chosen)


def _correction(
    dx: np.ndarray,
    dy: np.ndarray,
    dz: float,
    source: tuple[float, float, float],
    geometry: MaskGeometry,
    chosen: frozenset[str],
) -> np.ndarray:
    """Return the factor by which the weight is multiplied at points that see the source at ``(dx, dy, dz)``.

    Formula: algorithms, section 2.1, step 2; shape ``(len(dy), len(dx))``.
    """
    inverse_square = 1.0 / (dx * dx + (dy * dy + dz * dz)[:, None])
    inverse = np.sqrt(inverse_square)
    factor = np.ones_like(inverse)
    if chosen & {"flatfield", "nearfield"}:
        factor *= (dz + _side(dx, dz) + _side(dy, dz)[:, None]) * inverse
    if "cosine" in chosen:
        factor *= dz * inverse
    if chosen & {"nearfield", "rsquare"}:
        factor *= inverse_square * float(np.dot(source, source))
    if "nearfield" in chosen:
        x, y = np.array([source[0]]), np.array([source[1]])
        centre = (dz + _side(x, dz) + _side(y, dz)) / np.sqrt(np.dot(source, source))
        factor /= centre
    return factor if "forward" in chosen else 1.0 / factor


def _side(d: np.ndarray, dz: float) -> np.ndarray:
    """Return ``min(.15, .05 dz/d) d``: the part of the side of a detector that is lit, times d."""
    return np.minimum(0.15 * np.abs(d), 0.05 * dz)
