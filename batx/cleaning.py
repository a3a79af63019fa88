"""Cleaning of detector images: background and sources fitted and taken away, modules balanced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.attitudes import attitude_path
from batx.calibration_inputs import alignment_for, aperture_for, records
from batx.engines import by_engine
from batx.errors import MissingVariableError, ValueRangeError
from batx.grids import warn
from batx.image_attitudes import image_attitude
from batx.instrument import sky
from batx.instrument.detector import DETECTOR, SHAPE
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.kernels import clean as kernel
from batx.kernels.deconvolve import detector_face
from batx.plane_inputs import PlaneStack, mask_and_geometry, plane_stack, usable_detectors
from batx.provenance import with_calibration
from batx.schema import build, require_kind
from batx.schema.attributes import with_history

__all__ = ["balance", "clean"]

#: what `clean` can return
VERSIONS = ("cleaned", "bkgcleaned", "srccleaned", "fit", "bkgfit", "srcfit")

_N_DETECTOR = SHAPE[0] * SHAPE[1]


@by_engine
def clean(
    plane: xr.Dataset,
    catalog: xr.Dataset | None = None,
    *,
    aperture: xr.Dataset | None = None,
    detector_mask: Any = None,
    attitude: xr.Dataset | None = None,
    alignment: Any = None,
    templates: Any = None,
    background: bool = True,
    min_snr: float = 6.0,
    ignore: Iterable[str] = ("UNKNOWN",),
    lead_edge: bool = False,
    balance: str | Iterable[str] | None = None,
    balance_first: bool = False,
    version: str = "cleaned",
    mask_fit: bool = False,
) -> xr.Dataset:
    """Return detector images from which a background model and known sources have been taken away.

    To every image a sum of smooth background, edges of modules and the shadows of sources is fitted by
    weighted least squares (`batx.kernels.clean.background_templates`), with weights for Poisson counts.

    Parameters
    ----------
    plane
        Kind ``detector_plane`` with ``counts`` or ``rate``, over time, energy, both or neither; chunked
        (dask) planes give a lazy result. Images of which a background was subtracted (attribute ``backapp``)
        are fitted with equal weights.
    catalog
        Kind ``catalog``: sources to be fitted, at ``imx`` and ``imy``, or with an `attitude` at ``ra`` and
        ``dec`` for each time of a stack. Needs `aperture`.
    aperture
        Kind ``aperture``: the coded mask; that of the calibration database (`batx.caldb`) if not given.
    detector_mask
        Kind ``detector_mask``, or bool (173, 286), true = good. A detector whose value is not finite counts
        as bad in that image.
    attitude, alignment
        Kinds ``attitude`` and ``alignment``.
    templates
        Further maps to be fitted, (map, 173, 286) or one map.
    background
        Whether the background model is fitted.
    min_snr
        Sources whose ``snr`` is smaller in every band are left alone; a catalogue without ``snr`` is taken
        whole.
    ignore
        Names of sources to be left alone.
    lead_edge
        Fit the detectors at the edges of modules that face a source apart from its other detectors.
    balance
        As for `batx.balance`, applied to cleaned images; fits hold what it takes away as well.
    balance_first
        Balance before the fit, not after it.
    version
        ``"cleaned"``, ``"bkgcleaned"`` or ``"srccleaned"``: the counts less the whole fit, its background or
        its sources; ``"fit"``, ``"bkgfit"`` or ``"srcfit"``: the fit itself.
    mask_fit
        Give fits on bad detectors too, not 0.
    engine
        ``"native"``; ``"heasoft"`` for the tool batclean, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane`` like `plane`, 0 on bad detectors and in the gaps. Cleaned images have
        ``variance``, that of the counts, for the noise of sky images made from them. With sources also
        ``source_rate`` and ``source_rate_err`` (source, ...): count/s of a fully illuminated detector that
        faces the source, as in light curves and sky images; NaN for a source out of the field.

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
        If images of a stack have no finite value (the result is NaN there), or sources are out of the field.

    Notes
    -----
    Source: algorithms 2.7 (``batclean``).

    Examples
    --------
    >>> import batx
    >>> detectors = batx.simulate.detector_table()
    >>> ev = batx.simulate.events((), duration=20.0, detectors=detectors)
    >>> dpi = batx.detector_plane(ev)
    >>> cleaned = clean(dpi, detector_mask=batx.simulate.detector_mask(detectors))
    >>> abs(float(cleaned.counts.sum() / dpi.counts.sum())) < 0.01
    True
    """
    if version not in VERSIONS:
        raise ValueRangeError(f"version: found {version!r}, expected one of {', '.join(VERSIONS)}")
    stack = plane_stack(plane, operation="clean")
    good = usable_detectors(detector_mask)
    stack.require_values(good)
    names = balances(balance)
    if catalog is not None:
        aperture = aperture_for(aperture, plane, "clean with a catalogue")
        alignment = alignment_for(alignment, attitude, plane)
    plan = _Plan(
        maps=_maps(background, templates),
        sources=_sources(catalog, stack, aperture, attitude, alignment, min_snr, ignore),
        good=good,
        lead_edge=bool(lead_edge),
        equal=bool(plane.attrs.get("backapp", 0)),
        first=names if balance_first else (),
        last=() if balance_first else names,
        version=version,
        mask_fit=bool(mask_fit),
    )
    if not len(plan.maps) and plan.sources is None:
        raise ValueRangeError("clean: found neither a background, templates nor a catalogue, expected one")
    exposure = np.ones((1, 1)) if stack.quantity == "counts" else stack.seconds()
    image, rates, errors = _cleaned(stack, plan, exposure)
    made = _result(plane, stack, plan, image, rates, errors)
    made.attrs = with_calibration(made.attrs, records(aperture=aperture, detector_mask=detector_mask))
    return made


@by_engine
def balance(
    plane: xr.Dataset, groups: str | Iterable[str] = "flight", *, detector_mask: Any = None
) -> xr.Dataset:
    """Return detector images from which the means over groups of detectors are taken away.

    Parameters
    ----------
    plane
        Kind ``detector_plane`` with ``counts`` or ``rate``.
    groups
        Names, as a list or a text separated by commas, applied in turn: ``all`` good detectors; each
        ``module``; inner and outer detectors of each module (``inout``); right and left columns of the
        modules above one another (``shortedges``); front and back rows of the modules side by side
        (``longedges``); ``edges`` for both of these; ``flight`` for edges and then inout.
    detector_mask
        As for `batx.clean`; bad detectors are 0 in the result.
    engine
        ``"native"``; ``"heasoft"`` for the tool batclean, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.Dataset
        Kind ``detector_plane`` like `plane`, with the ``variance`` of the counts.

    Raises
    ------
    KindError, ValueRangeError, EmptySelectionError
        If arguments are of the wrong kind, or no detector is good.

    Notes
    -----
    Source: algorithms 2.7.

    Examples
    --------
    >>> import batx
    >>> dpi = batx.detector_plane(batx.simulate.events((), duration=5.0))
    >>> abs(float(balance(dpi, "all").counts.sum())) < 1e-6
    True
    """
    stack = plane_stack(plane, operation="balance")
    good = usable_detectors(detector_mask)
    stack.require_values(good)
    plan = _Plan(np.empty((0, *SHAPE)), None, good, False, False, (), balances(groups), "cleaned", False)
    image, _, _ = _cleaned(stack, plan, np.ones((1, 1)))
    return _result(plane, stack, plan, image, None, None)


@dataclass(frozen=True)
class _Sources:
    """Where sources are: names, and IMX, IMY at each time, shape ``(time or 1, source)``."""

    names: list[str]
    imx: np.ndarray
    imy: np.ndarray
    cells: np.ndarray
    geometry: MaskGeometry
    height: float

    def shadow(self, time: int, source: int) -> np.ndarray:
        """Return the lit fraction of each detector; 0 everywhere for a source out of the field."""
        imx, imy = self.place(time, source)
        if not np.isfinite(imx) or np.hypot(imx, imy) > self.geometry.field_radius(self.height):
            return np.zeros(SHAPE)
        point = imx * self.height, imy * self.height, self.height
        return illumination(self.cells, self.geometry, point, unbalanced=True)

    def place(self, time: int, source: int) -> tuple[float, float]:
        """Return IMX and IMY; NaN behind the instrument."""
        return float(self.imx[time, source]), float(self.imy[time, source])


@dataclass(frozen=True)
class _Plan:
    """All that cleaning an image needs besides the image, small enough to be sent to workers."""

    maps: np.ndarray
    sources: _Sources | None
    good: np.ndarray
    lead_edge: bool
    equal: bool
    first: tuple[str, ...]
    last: tuple[str, ...]
    version: str
    mask_fit: bool

    @property
    def number(self) -> int:
        """Number of sources."""
        return 0 if self.sources is None else len(self.sources.names)

    def templates(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps to be fitted at a time, and for each its source, -1 for the background."""
        maps, owner = [self.maps], [-1] * len(self.maps)
        for source in range(self.number):
            assert self.sources is not None
            shadow = self.sources.shadow(time, source)
            edges = kernel.facing_edges(*self.sources.place(time, source)) if self.lead_edge else None
            parts = (
                [shadow] if edges is None else [np.where(edges, 0.0, shadow), np.where(edges, shadow, 0.0)]
            )
            maps.append(np.stack(parts))
            owner += [source] * len(parts)
        return np.concatenate(maps), np.array(owner, dtype=int)

    def face(self, time: int) -> np.ndarray:
        """Return the projected area of a detector towards each source, relative to that on the axis."""
        if self.sources is None:
            return np.empty(0)
        places = [self.sources.place(time, source) for source in range(self.number)]
        return np.array([detector_face(imx, imy) for imx, imy in places])


def _cleaned(stack: PlaneStack, plan: _Plan, exposure: np.ndarray) -> tuple[Any, Any, Any]:
    """Return images, and rates and errors of sources over the stack with a last axis of sources."""
    lead = stack.values.shape[:-2]
    seconds = np.broadcast_to(exposure, (*lead, 1, 1))
    moving = plan.sources is not None and len(plan.sources.imx) > 1
    times = np.arange(lead[0]).reshape(-1, *[1] * (len(lead) + 1)) if moving else np.zeros(1, int)
    times = np.broadcast_to(times, (*lead, 1, 1))
    if isinstance(stack.values, np.ndarray):
        packed = _clean_block(stack.values, seconds, times, plan)
    else:
        import dask.array as da

        chunks = stack.values.chunks[:-2]
        ones = ((1,), (1,))
        packed = da.map_blocks(
            _clean_block,
            stack.values,
            da.from_array(seconds, chunks=(*chunks, *ones)),
            da.from_array(times, chunks=(*chunks, *ones)),
            plan,
            dtype=np.float64,
            chunks=(*chunks, (_N_DETECTOR + 2 * plan.number,)),
            drop_axis=len(lead) + 1,
            meta=np.empty((0,) * (len(lead) + 1)),
        )
    image = packed[..., :_N_DETECTOR].reshape(*lead, *SHAPE)
    rates = packed[..., _N_DETECTOR : _N_DETECTOR + plan.number]
    return image, rates, packed[..., _N_DETECTOR + plan.number :]


def _clean_block(values: np.ndarray, seconds: np.ndarray, times: np.ndarray, plan: _Plan) -> np.ndarray:
    """Return images (flat), source coefficients and their errors of a part of the stack, in one array."""
    lead = values.shape[:-2]
    images, exposures, rows = values.reshape(-1, *SHAPE), seconds.reshape(-1), times.reshape(-1)
    packed = np.empty((len(images), _N_DETECTOR + 2 * plan.number))
    for time in np.unique(rows):
        templates, owner = plan.templates(int(time))
        face = plan.face(int(time))
        for members in _groups(images, np.flatnonzero(rows == time), plan):
            scale = exposures[members, np.newaxis]
            made, amplitude, error = _clean_group(
                images[members] * scale[..., np.newaxis], plan, templates, owner
            )
            packed[members] = np.concatenate([made, amplitude / face, error / face], axis=1) / scale
    return packed.reshape(*lead, -1)


def _groups(images: np.ndarray, members: np.ndarray, plan: _Plan) -> list[np.ndarray]:
    """Return the images that are fitted together, because they have the same weights."""
    if plan.equal and np.isfinite(images[members][:, plan.good]).all():
        return [members]
    return [members[k : k + 1] for k in range(len(members))]


def _clean_group(
    counts: np.ndarray, plan: _Plan, templates: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the wanted version of images with equal weights (flat), the counts of sources and their errors.

    Formula: algorithms, section 2.7. The flux of a source in two parts is the mean of both, weighted with
    the light that they get.
    """
    number = len(counts)
    good = plan.good & np.isfinite(counts[0])
    if not good.any():
        nothing = np.full((number, plan.number), np.nan)
        return np.full((number, _N_DETECTOR), np.nan), nothing, nothing
    counts = kernel.balance(np.where(good, counts, 0.0), good, plan.first)
    used = templates[:, good]
    values, weights = (counts[:, good], None) if plan.equal else _weighted(counts[0, good])
    coefficients, covariance = kernel.fit_templates(used, values, weights)
    own = owner >= 0
    wanted = {"bkg": ~own, "src": own}.get(plan.version[:3], np.ones_like(own))
    model = np.tensordot(coefficients * wanted, templates, 1)
    rest = np.where(good, counts - model, 0.0)
    image = kernel.balance(rest, good, plan.last)
    if plan.version.endswith("fit"):
        image = np.where(good | (plan.mask_fit & DETECTOR), model, 0.0) + (rest - image)
    light = used.sum(axis=1)[own]
    share = (owner[own] == np.arange(plan.number)[:, np.newaxis]) * light
    total = share.sum(axis=1, keepdims=True)
    share = share / np.where(total > 0, total, np.nan)
    variance = np.einsum("si,ij,sj->s", share, covariance[np.ix_(own, own)], share)
    amplitude = coefficients[:, own] @ share.T
    return image.reshape(number, -1), amplitude, np.broadcast_to(np.sqrt(variance), amplitude.shape)


def _weighted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, weights = kernel.poisson_weights(counts)
    return values[np.newaxis], weights


def _result(
    plane: xr.Dataset, stack: PlaneStack, plan: _Plan, image: Any, rates: Any, errors: Any
) -> xr.Dataset:
    dims = (*stack.dims, "dety", "detx")
    unit = {"units": "count" if stack.quantity == "counts" else "count/s"}
    fitted = plan.version.endswith("fit")
    variables: dict[str, Any] = {**stack.axes, stack.quantity: (dims, image, unit)}
    if "detid" in plane.variables:
        variables["detid"] = plane["detid"].variable
    if not fitted:
        variables["variance"] = (dims, stack.spread(), {"units": f"({unit['units']})**2"})
    if plan.sources is not None:
        rate_dims = ("source", *stack.dims)
        described = {"units": "count/s", "per": "detector"}
        wanted = stack.seconds()[..., 0] if stack.quantity == "counts" else 1.0
        for name, values in (("source_rate", rates), ("source_rate_err", errors)):
            moved = np.moveaxis(values / wanted, -1, 0)
            variables[name] = (rate_dims, moved, described)
        variables["name"] = (("source",), np.array(plan.sources.names))
    return build("detector_plane", variables, _attrs(plane, plan, fitted))


def _attrs(plane: xr.Dataset, plan: _Plan, fitted: bool) -> dict[str, Any]:
    names = ",".join(plan.first + plan.last)
    line = f"batx.clean: version={plan.version} templates={len(plan.maps)} sources={plan.number}" + (
        f" balance={names}" if names else ""
    )
    kept = {key: value for key, value in plane.attrs.items() if key not in ("hduclas3", "totcount")}
    own: dict[str, Any] = {"hduclas1": "ARRAY", "hduclas2": "PREDICTED" if fitted else "RESIDUAL"}
    if not fitted and (len(plan.maps) or plan.number):
        own |= {"backapp": 1, "cleanlev": int(plane.attrs.get("cleanlev", 0)) + 1}
    if names and not fitted:
        own["balapp"] = 1
    return with_history(kept | own, line)


def balances(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the groups of detectors that are balanced one after the other; complain of unknown names."""
    try:
        return kernel.balance_names(names)
    except ValueError as error:
        raise ValueRangeError(
            f"balance: found '{error}', expected some of {', '.join(kernel.BALANCES)}"
        ) from None


def _maps(background: bool, templates: Any) -> np.ndarray:
    maps = [kernel.background_templates()] if background else [np.empty((0, *SHAPE))]
    if templates is not None:
        own = np.asarray(templates, dtype=np.float64)
        if own.ndim not in (2, 3) or own.shape[-2:] != SHAPE or not np.isfinite(own[..., DETECTOR]).all():
            raise ValueRangeError(
                f"templates: found an array of shape {own.shape}, expected finite maps of {SHAPE}"
            )
        maps.append(np.where(DETECTOR, own, 0.0).reshape(-1, *SHAPE))
    return np.concatenate(maps)


def _sources(
    catalog: xr.Dataset | None,
    stack: PlaneStack,
    aperture: xr.Dataset | None,
    attitude: xr.Dataset | None,
    alignment: Any,
    min_snr: float,
    ignore: Iterable[str],
) -> _Sources | None:
    if catalog is None:
        return None
    require_kind(catalog, "catalog", operation="clean (catalog=)")
    assert aperture is not None
    cells, geometry = mask_and_geometry(aperture, "clean")
    chosen = _chosen(catalog, float(min_snr), [str(name) for name in ignore])
    if not chosen.sizes["source"]:
        return None
    imx, imy = _places(chosen, stack, attitude, alignment)
    names = _names(chosen)
    out = ~(np.hypot(imx, imy) <= geometry.field_radius()).any(axis=0)
    if out.any():
        warn(
            f"clean: {np.count_nonzero(out)} of {out.size} sources are out of the field at all times "
            f"({', '.join(np.array(names)[out][:5])}); their rates are NaN"
        )
    return _Sources(names, imx, imy, cells, geometry, FAR)


def _names(catalog: xr.Dataset) -> list[str]:
    if "name" not in catalog.variables:
        return [f"source {number}" for number in range(1, catalog.sizes["source"] + 1)]
    return [str(name) for name in catalog["name"].values]


def _chosen(catalog: xr.Dataset, min_snr: float, ignore: Sequence[str]) -> xr.Dataset:
    """Return the sources that are bright enough and not to be ignored."""
    keep = ~np.isin(_names(catalog), [str(name) for name in ignore])
    if "snr" in catalog.variables:
        snr = catalog["snr"]
        brightest = snr.max([dim for dim in snr.dims if dim != "source"]).values
        keep &= brightest >= min_snr
    return catalog.isel(source=np.flatnonzero(keep))


def _places(
    catalog: xr.Dataset, stack: PlaneStack, attitude: xr.Dataset | None, alignment: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return IMX and IMY of sources, shape ``(time or 1, source)``, NaN behind the instrument."""
    if attitude is None:
        if not {"imx", "imy"} <= set(catalog.variables):
            raise MissingVariableError(
                f"catalog: found variables {sorted(map(str, catalog.variables))}, expected imx and imy, or "
                "give attitude= to place sources by ra and dec"
            )
        return catalog["imx"].values[np.newaxis].astype(float), catalog["imy"].values[np.newaxis].astype(
            float
        )
    path = attitude_path(attitude, alignment)
    bounds = stack.require_bounds()
    path.require(path.coverage(bounds), what="ends of images")
    placed = []
    for pair in bounds:
        quaternion, _ = image_attitude(path, pair, stack.good)
        imx, imy, front = sky.sky_to_tangent(
            catalog["ra"].values, catalog["dec"].values, quaternion, path.alignment
        )
        placed.append((np.where(front, imx, np.nan), np.where(front, imy, np.nan)))
    return np.array([imx for imx, _ in placed]), np.array([imy for _, imy in placed])
