"""Sky images from detector images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import AttitudePath, attitude_path
from batx.calibration_inputs import alignment_for, aperture_for, records
from batx.engines import by_engine
from batx.errors import MissingVariableError, ValueRangeError
from batx.grids import warn
from batx.image_attitudes import image_attitude
from batx.instrument import sky
from batx.instrument.mask import MaskGeometry, weight_normalisation
from batx.kernels import deconvolve
from batx.plane_inputs import PlaneStack, mask_and_geometry, plane_stack, usable_detectors
from batx.provenance import with_calibration
from batx.reduction import compat_of
from batx.schema import build
from batx.schema.attributes import with_history
from batx.sky_coords import axis_direction, card_axes, image_cards
from batx.units import to_value

__all__ = ["sky_image"]

#: attributes of a detector plane that describe its table and would be wrong on an image of the sky
_OF_THE_PLANE = {"extname", "hduclas1", "hduclas2", "hduclas3", "datamode", "totcount", "dphlevel", "date"}


@by_engine
def sky_image(
    plane: xr.Dataset,
    *,
    aperture: xr.Dataset | None = None,
    detector_mask: Any = None,
    attitude: xr.Dataset | None = None,
    alignment: Any = None,
    oversampling: int = 2,
    rebalance: bool = True,
    corrections: str | Iterable[str] = "default",
    background: xr.Dataset | None = None,
    distance: Any = None,
    origin: Any = 0.0,
    pcode_min: float = 0.01,
    handedness: str = "left",
    gain: float = deconvolve.IMAGE_GAIN,
    noise: bool = True,
    dtype: str = "float32",
    extrapolate: bool = False,
    compat: str | None = None,
) -> xr.Dataset:
    """Return images of the sky, with noise and significance, for any stack of detector images.

    The detector image is correlated with the mask by FFTs. What depends on mask and detectors only is made
    once for a stack and kept for further calls. An image takes 20 MB; chunk the planes of a long stack.

    Parameters
    ----------
    plane
        Kind ``detector_plane`` with ``counts`` or ``rate``, over time, energy, both or neither; their
        ``variance`` (of cleaned planes) or, without it, that of Poisson counts makes the noise. Chunked
        (dask) planes give lazy images; others are computed in threads.
    aperture
        Kind ``aperture``: the coded mask; that of the calibration database (`batx.caldb`) if not given.
    detector_mask
        Kind ``detector_mask``, or bool (173, 286), true = good; all detectors if not given. A detector
        whose value is not finite counts as bad in that image.
    attitude, alignment
        Kinds ``attitude`` and ``alignment``. Without an attitude the image has tangent-plane coordinates
        only, and nothing can be said about places on the sky.
    oversampling
        Pixels to a detector pitch in both directions; the step of 2 is 7.2 arcmin on the axis.
    rebalance
        Take the mean off mask and detector image, so that a flat background gives 0.
    corrections
        Some of flatfield, pcode, autocollim, maskwt, ndets, as names or a text separated by commas;
        ``"default"`` is all, ``"none"`` none.
    background
        Kind ``detector_plane``, with the bands of `plane`: taken off, scaled by exposure; its variance is
        added unless its attribute ``hduclas2`` is ``PREDICTED`` (a model).
    distance
        BAT_Z in cm of sources that are near; Quantity or number.
    origin
        BAT_Z of the point that directions are measured from where sources are near, cm or Quantity.
    pcode_min
        Least partial coding; images are NaN below it.
    handedness
        ``"left"`` for columns against BAT_X (as the sky is seen from inside), ``"right"`` for along it.
    gain
        Allowance for the technique in the normalisation of fluxes.
    noise
        Whether ``noise`` and ``snr`` are wanted; without them it takes half the time.
    dtype
        ``"float32"`` or ``"float64"``: precision of transforms and images. In single precision images are
        right to 2e-5 of their noise, and noise to 2e-6.
    extrapolate
        Take the attitude as constant beyond its ends; otherwise an image there is an error.
    compat
        ``"heasoft"`` for the behaviour of ``batfftimage``: counts from counts, ``pcode`` times the flat
        field, attitude at the middle of the image even while it moves, celestial steps of ``atan(step)``, NaN
        only where a coding that is too low was divided by.
    engine
        ``"native"``; ``"heasoft"`` for the tool batfftimage, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``sky_image`` with the dimensions ``([time,] [energy,] imy, imx)``: ``rate`` (count/s for a fully
        illuminated detector; ``counts`` with `compat`), ``noise`` (1 sigma, from the counts) and ``snr``;
        ``pcode`` (imy, imx); ``exposure``; ``motion`` ([time]), the angle in degrees by which the
        instrument turned. NaN where the coding is below `pcode_min`. The coordinates are ``imx``, ``imy``
        and ``wcs``, with the FITS cards of the celestial and the tangent-plane coordinates, along time if
        there is a time axis (see `batx.sky_coords`).

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError
        If arguments are of the wrong kind, or their shapes do not fit.
    EmptySelectionError
        If no detector is good, or no value finite.
    AttitudeError
        If the attitude does not cover the images.

    Warns
    -----
    BatxWarning
        If some images of a stack have no finite value (they are NaN), or there is no alignment.

    Notes
    -----
    Source: algorithms 2.3 (``batfftimage``). The attitude is that at the middle of the image if the
    instrument turns by less than 1 arcmin, else the mean over its good time.

    Examples
    --------
    >>> import batx
    >>> ev = batx.simulate.events(batx.simulate.Source(2.0, imx=0.2, imy=0.1), duration=5.0)
    >>> dpi = batx.detector_plane(ev)
    >>> image = sky_image(dpi, aperture=batx.simulate.aperture(), pcode_min=0.1)
    >>> peak = image.snr.isel(energy=0).argmax(...)
    >>> [round(float(image[axis][peak[axis]]), 2) for axis in ("imx", "imy")]
    [0.2, 0.1]
    """
    compat = compat_of(compat)
    stack = plane_stack(plane, operation="sky_image", background=background)
    if noise and stack.variance is None and not compat:
        _require_raw(plane, stack)
    aperture = aperture_for(aperture, plane, "sky_image")
    alignment = alignment_for(alignment, attitude, plane)
    mask, geometry = mask_and_geometry(aperture, "sky_image")
    recipe = _Recipe(
        mask=mask.tobytes(),
        geometry=geometry,
        good=usable_detectors(detector_mask).tobytes(),
        oversampling=_whole(oversampling),
        rebalance=bool(rebalance),
        corrections=image_corrections(corrections),
        distance=_distance(distance, geometry),
        origin=_origin(origin, distance),
        threshold=_fraction(pcode_min),
        left_handed=_left(handedness),
        gain=_gain(gain),
        dtype=_precision(dtype),
        keep_all=compat is not None,
    )
    quantity = "counts" if compat and stack.quantity == "counts" else "rate"
    counts, variance = stack.measured(quantity)
    stack.require_values(recipe.good_detectors)
    grid = recipe.grid
    imx, imy = card_axes(image_cards(grid.pixel, grid.step), grid.shape)
    dims = (*stack.dims, "imy", "imx")
    unit = {"units": "count" if quantity == "counts" else "count/s"}
    if {"pcode", "ndets"} <= recipe.corrections:
        unit["per"] = "detector"
    flux, sigma, snr = _images(recipe, counts, variance, noise)
    pcode = _decoder(recipe).pcode
    if compat:
        pcode = (pcode * deconvolve.flat_field(grid)).astype(pcode.dtype)
    variables: dict[str, Any] = {
        **stack.axes,
        **_directions(stack, attitude, alignment, grid, extrapolate, compat),
        "imx": imx,
        "imy": imy,
        quantity: (dims, flux, unit),
        "pcode": (("imy", "imx"), pcode),
    }
    if noise:
        variables |= {"noise": (dims, sigma, unit), "snr": (dims, snr)}
    served = records(aperture=aperture, alignment=alignment, detector_mask=detector_mask)
    return build("sky_image", variables, with_calibration(_attrs(plane, recipe, background), served))


def _require_raw(plane: xr.Dataset, stack: PlaneStack) -> None:
    """Raise an error if the values are no counts of events, such as what cleaning left: no noise follows."""
    if isinstance(stack.values, np.ndarray) and (stack.values < 0).any():
        raise ValueRangeError(
            f"sky_image: found negative {stack.quantity} and no 'variance', so the noise cannot be known; "
            "give their variance (plane.assign(variance=...)), or noise=False"
        )
    if str(plane.attrs.get("hduclas2", "")).upper() in ("RESIDUAL", "PREDICTED"):
        raise MissingVariableError(
            "sky_image: found a cleaned or modelled detector plane without 'variance', from which the noise "
            "cannot be known; give noise=False, or the counts with background= (batx.clean with "
            'version="bkgfit"), or clean with batx.clean, which keeps the variance'
        )


@dataclass(frozen=True)
class _Recipe:
    """What a decoder is made of, as plain values: small to send to workers, and the key of the cache."""

    mask: bytes
    geometry: MaskGeometry
    good: bytes
    oversampling: int
    rebalance: bool
    corrections: frozenset[str]
    distance: float | None
    origin: float
    threshold: float
    left_handed: bool
    gain: float
    dtype: str
    keep_all: bool

    @property
    def cells(self) -> np.ndarray:
        """Mask cells (ny, nx)."""
        return np.frombuffer(self.mask, np.int8).reshape(self.geometry.shape)

    @property
    def good_detectors(self) -> np.ndarray:
        """Good detectors (173, 286)."""
        return np.frombuffer(self.good, bool).reshape(-1, deconvolve.NX)

    @property
    def grid(self) -> deconvolve.ImageGrid:
        """Pixels of the image."""
        return deconvolve.image_grid(
            self.geometry,
            self.oversampling,
            self.distance,
            self.left_handed,
            "autocollim" in self.corrections,
            self.origin,
        )


_CACHE = Lock()


@lru_cache(maxsize=2)
def _transforms(
    mask: bytes, geometry: MaskGeometry, grid: deconvolve.ImageGrid, rebalance: bool, dtype: str
) -> deconvolve.ApertureTransforms:
    cells = np.frombuffer(mask, np.int8).reshape(geometry.shape)
    return deconvolve.aperture_transforms(cells, grid, rebalance, np.dtype(dtype))


@lru_cache(maxsize=4)
def _made(recipe: _Recipe) -> deconvolve.Decoder:
    grid = recipe.grid
    return deconvolve.decoder(
        recipe.cells,
        recipe.geometry,
        grid,
        _transforms(recipe.mask, recipe.geometry, grid, recipe.rebalance, recipe.dtype),
        recipe.good_detectors,
        corrections=recipe.corrections,
        rebalance=recipe.rebalance,
        threshold=recipe.threshold,
        distance=recipe.distance,
        gain=recipe.gain,
        dtype=np.dtype(recipe.dtype),
        undefined=0.0 if recipe.keep_all else np.nan,
        workers=_cpus(),
    )


def _decoder(recipe: _Recipe) -> deconvolve.Decoder:
    """Return the decoder of a recipe, made once in a process as long as few are in use."""
    with _CACHE:
        return _made(recipe)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def image_corrections(corrections: str | Iterable[str]) -> frozenset[str]:
    """Return the set of corrections of an image that a list, or a text separated by commas, names.

    Raises
    ------
    ValueRangeError
        If a name is unknown.

    Examples
    --------
    >>> sorted(image_corrections("flatfield,maskwt"))
    ['flatfield', 'maskwt']
    """
    names = corrections.split(",") if isinstance(corrections, str) else list(corrections)
    chosen: set[str] = set()
    for name in (str(name).strip().lower() for name in names):
        if name == "default":
            chosen.update(deconvolve.IMAGE_CORRECTIONS)
        elif name in deconvolve.IMAGE_CORRECTIONS:
            chosen.add(name)
        elif name not in ("none", ""):
            raise ValueRangeError(
                f"corrections: found {name!r}, expected some of default, none, "
                f"{', '.join(deconvolve.IMAGE_CORRECTIONS)}"
            )
    return frozenset(chosen)


def _images(recipe: _Recipe, counts: Any, variance: Any, noise: bool) -> tuple[Any, Any, Any]:
    """Return flux, noise and significance over the stack, as dask arrays if the input is one."""
    _decoder(recipe)
    if isinstance(counts, np.ndarray):
        return _decode(counts, variance, recipe, noise)
    import dask.array as da

    lead = counts.ndim - 2
    shape = recipe.grid.shape
    maps = 3 if noise else 1
    chunks = (*counts.chunks[:lead], (maps,), (shape[0],), (shape[1],))
    made = da.map_blocks(
        _decode_block,
        counts,
        variance,
        recipe,
        noise,
        dtype=np.dtype(recipe.dtype),
        chunks=chunks,
        new_axis=lead,
        meta=np.empty((0,) * (lead + 3), recipe.dtype),
    )
    parts = [made[(..., number, slice(None), slice(None))] for number in range(maps)]
    return (*parts, *[None] * (3 - maps))


def _decode_block(counts: np.ndarray, variance: np.ndarray, recipe: _Recipe, noise: bool) -> np.ndarray:
    """Return the maps of a chunk in one array, with an axis for flux, noise and significance."""
    maps = _decode(counts, variance, recipe, noise, threads=1)
    return np.stack(maps[: 3 if noise else 1], axis=-3)


def _decode(
    counts: np.ndarray, variance: np.ndarray, recipe: _Recipe, noise: bool, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lead, shape = counts.shape[:-2], recipe.grid.shape
    number = int(np.prod(lead))
    maps = [np.empty((number, *shape), recipe.dtype) for _ in range(3 if noise else 1)]
    images, spreads = counts.reshape(number, *counts.shape[-2:]), variance.reshape(number, *counts.shape[-2:])
    cpus = threads or _cpus()

    def work(index: int) -> None:
        decoder, targets = _decoder_of(recipe, images[index]), [target[index] for target in maps]
        if decoder is not None:
            decoder.image(images[index], spreads[index], targets, workers=max(1, cpus // number))
            return
        for target in targets:
            target[:] = np.nan

    if number < 2 or cpus < 2:
        for index in range(number):
            work(index)
    else:
        with ThreadPoolExecutor(min(cpus, number)) as pool:
            list(pool.map(work, range(number)))
    flux, *others = (values.reshape(*lead, *shape) for values in maps)
    sigma, snr = others or (np.empty(0), np.empty(0))
    return flux, sigma, snr


def _decoder_of(recipe: _Recipe, image: np.ndarray) -> deconvolve.Decoder | None:
    """Return the decoder of an image, in which detectors without a finite value are bad; none if all are."""
    good = recipe.good_detectors
    finite = good & np.isfinite(image)
    if finite.sum() == good.sum():
        return _decoder(recipe)
    if not finite.any():
        return None
    return _decoder(replace(recipe, good=finite.tobytes()))


def _directions(
    stack: PlaneStack,
    attitude: xr.Dataset | None,
    alignment: Any,
    grid: deconvolve.ImageGrid,
    extrapolate: bool,
    compat: str | None,
) -> dict[str, Any]:
    """Return the coordinate `wcs`, and how far the instrument turned in each image."""
    if attitude is None:
        if alignment is not None:
            warn("alignment: found one without attitude=; the image has no place on the sky")
        return {"wcs": ((), np.array(image_cards(grid.pixel, grid.step)))}
    path = attitude_path(attitude, alignment)
    bounds = stack.require_bounds()
    path.require(path.coverage(bounds), extrapolate or compat is not None, "ends of images")
    found = [image_attitude(path, pair, stack.good, middle=compat is not None) for pair in bounds]
    pointings = _pointings(path, np.array([quaternion for quaternion, _ in found]))
    cards = [image_cards(grid.pixel, grid.step, pointing, compat is not None) for pointing in pointings]
    motion = np.array([turn for _, turn in found])
    described = {"long_name": "angle by which the instrument turned", "units": "deg"}
    if "time" in stack.dims:
        return {"wcs": (("time",), np.array(cards)), "motion": (("time",), motion, described)}
    return {"wcs": ((), np.array(cards[0])), "motion": ((), motion[0], described)}


def _pointings(path: AttitudePath, quaternions: np.ndarray) -> list[tuple[float, float, float]]:
    rotation = path.alignment @ sky.quaternion_to_matrix(quaternions)
    return [(float(a), float(d), float(r)) for a, d, r in zip(*axis_direction(rotation), strict=True)]


def _attrs(plane: xr.Dataset, recipe: _Recipe, background: xr.Dataset | None) -> dict[str, Any]:
    kept = {key: value for key, value in plane.attrs.items() if key.lower() not in _OF_THE_PLANE}
    names = ",".join(sorted(recipe.corrections)) or "none"
    line = (
        f"batx.sky_image: oversampling={recipe.oversampling} rebalance={int(recipe.rebalance)} "
        f"corrections={names} pcode_min={recipe.threshold:g}"
        + ("" if recipe.distance is None else f" distance={recipe.distance:g} origin={recipe.origin:g}")
    )
    applied = {
        keyword: int(name in recipe.corrections)
        for keyword, name in (
            ("ffapp", "flatfield"),
            ("pcodeapp", "pcode"),
            ("ngpixapp", "ndets"),
            ("mskwtapp", "maskwt"),
            ("acolapp", "autocollim"),
        )
    }
    number = int(np.count_nonzero(recipe.good_detectors))
    far = sky.FAR if recipe.distance is None else recipe.distance
    own = {
        **applied,
        "nfapp": 0,
        "bdistapp": 0,
        "backapp": int(background is not None),
        "nbatdets": number,
        "ngoodpix": number,
        "mskwtsqf": weight_normalisation(recipe.geometry, far, recipe.gain),
        "oversmpx": recipe.oversampling,
        "oversmpy": recipe.oversampling,
        "bat_zobj": far,
    }
    return with_history(kept | own, line)


def _gain(gain: Any) -> float:
    value = float(to_value(gain, "1", "gain"))
    if not -1 < value < np.inf:
        raise ValueRangeError(f"gain: found {gain!r}, expected a number above -1")
    return value


def _whole(oversampling: Any) -> int:
    if isinstance(oversampling, bool) or oversampling != int(oversampling) or not 1 <= oversampling <= 16:
        raise ValueRangeError(f"oversampling: found {oversampling!r}, expected a whole number from 1 to 16")
    return int(oversampling)


def _fraction(pcode_min: Any) -> float:
    value = float(pcode_min)
    if not 0 <= value < 1:
        raise ValueRangeError(f"pcode_min: found {pcode_min!r}, expected a fraction from 0 to below 1")
    return value


def _left(handedness: str) -> bool:
    if handedness not in ("left", "right"):
        raise ValueRangeError(f"handedness: found {handedness!r}, expected 'left' or 'right'")
    return handedness == "left"


def _precision(dtype: Any) -> str:
    name = str(np.dtype(dtype)) if dtype in ("float32", "float64", np.float32, np.float64) else str(dtype)
    if name not in ("float32", "float64"):
        raise ValueRangeError(f"dtype: found {dtype!r}, expected 'float32' or 'float64'")
    return name


def _distance(distance: Any, geometry: MaskGeometry) -> float | None:
    if distance is None:
        return None
    value = float(to_value(distance, "cm", "distance"))
    if not value > geometry.mask_top:
        raise ValueRangeError(
            f"distance: found BAT_Z = {value} cm, expected more than that of the mask, {geometry.mask_top} cm"
        )
    return value


def _origin(origin: Any, distance: Any) -> float:
    """Return BAT_Z of what directions are measured from; 0 where sources are far away."""
    value = to_value(origin, "cm", "origin")
    far = np.inf if distance is None else float(to_value(distance, "cm", "distance"))
    if value.size != 1 or not value < far:
        raise ValueRangeError(
            f"origin: found BAT_Z = {origin!r} cm, expected a number less than the distance {far}"
        )
    return float(value.reshape(())) if np.isfinite(far) else 0.0
