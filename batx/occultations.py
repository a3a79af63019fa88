"""How long each place of a sky image was free of the Earth, the Moon and the Sun."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from batx.engines import by_engine
from batx.errors import GtiError, OrbitError, ValueRangeError
from batx.grids import warn
from batx.instrument.sky import radec_to_vector, vector_to_radec
from batx.kernels import occult
from batx.orbits import BODIES, OrbitTable, opened_orbit
from batx.provenance import calibration_of, with_calibration
from batx.reduction import compat_of
from batx.schema import require_kind
from batx.sky_coords import pixel_to_sky, sky_to_pixel
from batx.units import to_value
from batx.visibilities import constraints_of

__all__ = ["occultation"]

_COORDINATES = ("ra", "dec", "roll")
#: points of a limb that is drawn: of the Earth; of the Moon and the Sun, which are no larger than this (deg)
_POINTS, _FEW_POINTS, _DISC = 200, 50, 1.0


@by_engine
def occultation(
    image: xr.Dataset,
    orbit: Any,
    *,
    gti: xr.Dataset | None = None,
    constraints: str | Iterable[str] = BODIES,
    atmosphere: Any = occult.ATMOSPHERE,
    method: str = "time",
    tolerance: Any = 10.0,
    always: bool = False,
    algorithm: str = "image",
    compat: str | None = None,
) -> xr.DataArray:
    """Return the part of the exposure of a sky image for which each pixel was free.

    Multiply exposures by it, or divide rates.

    Parameters
    ----------
    image
        Kind ``sky_image`` with a place on the sky; one image.
    orbit
        Prefilter table, Dataset or path.
    gti
        Good time; that of the image if not given (its ``time_bnds`` if it has none).
    constraints
        Bodies that hide: some of ``"earth"``, ``"moon"``, ``"sun"``.
    atmosphere
        Depth of the atmosphere that hides as well, km.
    method
        Which rows of the orbit are used: ``"time"``, those at least `tolerance` (s) after the one used
        before; ``"position"``, those where pointing, roll, and directions of the bodies have changed by
        `tolerance` arcmin in all (a tenth of the sum of the changes).
    tolerance
        0 uses all rows.
    always
        0 wherever a pixel was hidden at any time, 1 elsewhere.
    algorithm
        ``"image"``: a pixel is hidden if its middle is; ``"contour"``: if it is on the limb, drawn with
        lines between 200 points (50 for Moon and Sun), or within; as in the survey by ``batsurvey``.
    compat
        ``"heasoft"``: an interval with a single row weighs as the whole exposure, and a tolerance below 1 is
        10 s or 3 arcmin.
    engine
        ``"native"``; ``"heasoft"`` for the tool batoccultmap, or a `batx.heasoft.Engine`.

    Returns
    -------
    xarray.DataArray
        ``free`` (imy, imx), 0 to 1; NaN where the tangent plane shows no sky.

    Raises
    ------
    KindError
        If `image` is no sky image.
    GtiError
        If there is no good time.
    OrbitError
        If no row of the orbit lies near the good time.
    ValueRangeError
        If there are several images, or no such method or algorithm.

    Notes
    -----
    Each row of the orbit stands for the good time that is nearest to it. Source: definition of the tool
    ``batoccultmap`` with its two algorithms, IMAGE and CONTOUR (algorithms, section 10). With the second, up
    to half a pixel more of the sky is hidden along the limb.
    """
    compat = compat_of(compat)
    require_kind(image, "sky_image", operation="occultation")
    wanted = constraints_of(constraints)
    if algorithm not in ("image", "contour"):
        raise ValueRangeError(f"algorithm: found {algorithm!r}, expected 'image' or 'contour'")
    starts, stops = _good_time(image, gti)
    ds = opened_orbit(orbit)
    table = OrbitTable.of(ds)
    steps = _Steps.of(table, ds, method, tolerance, compat)
    rows, weights = _samples(table, steps, starts, stops, compat)
    if not rows.size:
        raise OrbitError(
            f"occultation: found no row of the orbit in the good time, {starts[0]:.3f} to {stops[-1]:.3f} s; "
            f"the orbit has {table.times[0]:.3f} to {table.times[-1]:.3f} s"
        )
    depth = float(to_value(atmosphere, "km", "atmosphere"))
    bodies = [(table.vectors[body][rows], table.radii(body, depth)[rows]) for body in wanted]
    y, x = np.meshgrid(np.arange(image.sizes["imy"]), np.arange(image.sizes["imx"]), indexing="ij")
    single = _single(image)
    lon, lat = pixel_to_sky(single, x.ravel(), y.ravel())
    redrawn = partial(_redrawn, single) if algorithm == "contour" else None
    free = occult.unocculted_fraction(radec_to_vector(lon, lat), bodies, weights, redrawn)
    if always:
        free = np.where(free < 1, 0.0, 1.0)
    free = np.where(np.isfinite(lon), free, np.nan).reshape(y.shape)
    return xr.DataArray(
        free,
        {name: image[name] for name in ("imy", "imx")},
        ("imy", "imx"),
        "free",
        with_calibration(
            {"units": "1", "long_name": f"part of the exposure free of {', '.join(wanted)}"},
            calibration_of(image),
        ),
    )


def _redrawn(image: xr.Dataset, behind: np.ndarray, body: np.ndarray, radius: float) -> np.ndarray:
    """Return the pixels of an image within the drawn limb of a body, in one axis."""
    shape = (image.sizes["imy"], image.sizes["imx"])
    points = occult.limb(body, radius, _POINTS if radius > _DISC else _FEW_POINTS)
    x, y = sky_to_pixel(image, *vector_to_radec(points))
    return occult.filled_outline(occult.drawn_lines(x, y, shape), behind.reshape(shape)).ravel()


def _single(image: xr.Dataset) -> xr.Dataset:
    for name in ("time", "energy"):
        if image.sizes.get(name, 1) > 1 and (name == "time" or "time" not in image["wcs"].dims):
            if name == "time":
                raise ValueRangeError(
                    f"occultation: found {image.sizes[name]} images, expected one: image.isel(time=0)"
                )
            continue
        if name in image.dims and image.sizes[name] == 1:
            image = image.isel({name: 0})
    return image


def _good_time(image: xr.Dataset, gti: xr.Dataset | None) -> tuple[np.ndarray, np.ndarray]:
    if gti is not None:
        require_kind(gti, "gti", operation="occultation (gti=)")
        starts, stops = gti["start"].values, gti["stop"].values
    elif "gti_start" in image:
        starts, stops = image["gti_start"].values, image["gti_stop"].values
    elif "time_bnds" in image.variables:
        starts, stops = np.atleast_2d(image["time_bnds"].values).T
    else:
        raise GtiError("occultation: the image says no time; give gti=")
    good = stops > starts
    if not good.any():
        raise GtiError("occultation: found no good time in the image or gti=, expected some")
    order = np.argsort(starts[good])
    return starts[good][order].astype(np.float64), stops[good][order].astype(np.float64)


class _Steps:
    """Which rows of the orbit are far enough from each other."""

    def __init__(self, coordinates: np.ndarray, tolerance: float) -> None:
        self.coordinates, self.tolerance = coordinates, tolerance

    @classmethod
    def of(
        cls, table: OrbitTable, orbit: xr.Dataset, method: str, tolerance: Any, compat: str | None
    ) -> _Steps:
        if method not in ("time", "position"):
            raise ValueRangeError(f"method: found {method!r}, expected 'time' or 'position'")
        unit, least = ("s", 10.0) if method == "time" else ("arcmin", 3.0)
        value = float(to_value(tolerance, unit, "tolerance"))
        if compat and value < 1:
            value = least
        if method == "time":
            return cls(table.times[:, None], value)
        _, first = np.unique(orbit["time"].values, return_index=True)
        if first.size != table.times.size:
            raise ValueRangeError("method: 'position' needs an orbit without repeated or empty rows")
        names = [*_COORDINATES, *(f"{body}_{axis}" for body in BODIES for axis in ("ra", "dec"))]
        columns = [orbit[name].values[first].astype(np.float64) for name in names if name in orbit]
        columns.append(table.radii("earth"))
        return cls(0.1 * np.stack(columns, axis=-1), value / 60)

    def thinned(self, rows: np.ndarray) -> np.ndarray:
        return occult.thinned(self.coordinates, rows, self.tolerance)


def _samples(
    table: OrbitTable, steps: _Steps, starts: np.ndarray, stops: np.ndarray, compat: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the orbit that are used, and the fraction of the good time of each."""
    total = float((stops - starts).sum())
    rows, weights, unknown = [], [], 0.0
    for start, stop in zip(starts, stops, strict=True):
        chosen = steps.thinned(occult.nearest_rows(table.times, start, stop))
        if not chosen.size:
            unknown += stop - start
            continue
        rows.append(chosen)
        if compat and chosen.size == 1:
            weights.append(np.ones(1))
        else:
            weights.append(occult.sample_weights(table.times[chosen], start, stop) / total)
    if unknown and rows:
        warn(
            f"occultation: the orbit has no row near {unknown:.1f} of {total:.1f} s of good time, which "
            "count as free"
        )
    if not rows:
        return np.array([], int), np.array([])
    return np.concatenate(rows), np.concatenate(weights)
