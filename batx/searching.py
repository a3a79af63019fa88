"""Searches of mosaics: candidates with positions and false-alarm probabilities, and probability maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from batx.errors import BatxError, EmptySelectionError, KindError, MissingVariableError, ValueRangeError
from batx.instrument.sky import vector_to_radec
from batx.kernels.psf import Profile
from batx.map_peaks import RING, MapImages, mask_profile, measure
from batx.mosaic_sums import finalize
from batx.schema import build, require_kind
from batx.sky_grids import HealpixGrid, SkyGrid, WcsGrid, frame_to_icrs
from batx.source_matching import match
from batx.units import to_value

__all__ = ["candidates", "credible_region", "probability_map", "to_moc"]

#: 90 % of a circular Gaussian lie within this many standard deviations
_RADIUS_90 = 2.145966


def candidates(
    mosaic: xr.Dataset,
    snr: float = 5.0,
    *,
    catalog: xr.Dataset | None = None,
    match_radius: Any = 0.2,
    psf_fwhm: Any = None,
) -> xr.Dataset:
    """Return the sources of a mosaic: clusters of significant cells, band by band and in the sum of bands.

    At each peak the rate of a source is fitted that, sampled as the images of the mosaic were, leaves what is
    in the cells around; its noise is that of S/√W near it, which the cells share. Cells without data in any
    band are left out. Fluxes and variances are summed over bands, significances are not.

    Parameters
    ----------
    mosaic
        Kind ``mosaic`` or ``mosaic_image`` with `sum_w` and `sum_wf`, of one time; loaded here.
    snr
        Least significance in any band or the sum.
    catalog
        Known sources, kind ``catalog``: the nearest within `match_radius` is named.
    match_radius
        Degrees or Quantity.
    psf_fwhm
        Full width at half maximum (degrees or Quantity) of a Gaussian, if sources in the images have that
        shape on the tangent plane; the shape that mask and detectors make if not given.

    Returns
    -------
    xarray.Dataset
        Kind ``catalog`` by falling `significance`, empty if nothing is found: `ra`, `dec` (ICRS) and errors,
        `err_rad` (statistical, 1 σ on each axis), `err_rad_90` (radius of 90 %), `significance` and the band
        (keV) that it is from, `best_band`, `n_pixels` above the threshold, `trials` and
        `false_alarm_probability` for all bands and the sum, and `rate`, `rate_err`, `snr(source, energy)` at
        the position. With `catalog`, `known` and `match_name`, `match_index`, `match_separation`. Attributes:
        `n_independent` (effective number of independent pixels of the map), `n_cells`, `n_maps`, `map_width`
        (width of S/√W).

    Raises
    ------
    KindError, MissingVariableError
        If `mosaic` is no mosaic, or has no sums; if `catalog` is no catalogue.
    ValueRangeError
        If the mosaic has several times, or an option is out of range.
    EmptySelectionError
        If no cell has data.

    Notes
    -----
    Source: algorithms 2.8. At the centre of a cell S/√W is lower than the significance: interpolation has
    lowered the peak and smoothed the noise, and the centre misses the peak. Where the instrument turned
    within images of the mosaic, rates are lower by the smear, which the mosaic does not know.

    Examples
    --------
    >>> from batx.schema import build
    >>> import healpy
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal(healpy.nside2npix(64))
    >>> z[1000] += 20
    >>> grid = {"grid_mapping_name": "healpix", "refinement_level": 6, "indexing_scheme": "nested"}
    >>> sums = build("mosaic", {"cell_ids": np.arange(len(z)), "healpix": ((), 0, grid),
    ...                         "sum_w": ("cell", np.ones(len(z))), "sum_wf": ("cell", z)})
    >>> found = candidates(sums, snr=7)
    >>> found.sizes["source"], bool(found.false_alarm_probability[0] < 1e-12)
    (1, True)
    """
    if not snr > 0:
        raise ValueRangeError(f"snr: found {snr!r}, expected a positive number")
    profile = mask_profile()
    fwhm = profile.natural_width
    if psf_fwhm is not None:
        profile, fwhm = Profile("gaussian"), float(np.deg2rad(to_value(psf_fwhm, "deg", "psf_fwhm")))
    if not 0 < fwhm < 0.5:
        raise ValueRangeError(f"psf_fwhm: found {psf_fwhm} deg, expected more than 0 and less than 30")
    sky = _Sky.of(mosaic, "candidates", profile, fwhm)
    rows = sorted(_found(sky, snr), key=lambda row: -row["significance"])
    result = _table(sky, rows)
    if catalog is None:
        return result
    result = match(result, catalog, match_radius)
    return result.assign(known=result["match_index"] >= 0)


# --- the map -----------------------------------------------------------------------------------------------


@dataclass
class _Map:
    """Flux, error and S/√W of a band (or the sum of bands) at the cells that have data."""

    label: str
    flux: np.ndarray
    error: np.ndarray
    snr: np.ndarray
    width: float


@dataclass
class _Sky:
    """The cells of a mosaic that have data in every band."""

    mosaic: xr.Dataset
    grid: SkyGrid
    cells: np.ndarray
    vectors: np.ndarray
    maps: list[_Map]
    summed: bool
    area: float
    images: MapImages

    @classmethod
    def of(cls, mosaic: xr.Dataset, operation: str, profile: Profile, width: float) -> _Sky:
        """Return the cells of a mosaic of one time, with the shape and width of sources in its images."""
        from batx.kernels.peaks import robust_width

        kind = require_kind(mosaic, "mosaic", "mosaic_image", operation=operation)
        if "time" in mosaic.dims:
            raise ValueRangeError(
                f"{operation}: found {mosaic.sizes['time']} times; select one first: mosaic.isel(time=0)"
            )
        if not {"sum_w", "sum_wf"} <= set(mosaic.data_vars):
            raise MissingVariableError(f"{operation}: the mosaic has no 'sum_w' and 'sum_wf'")
        mosaic = mosaic.compute()
        grid = grid_of(mosaic)
        final = finalize(mosaic)
        bands = final.sizes.get("energy", 1)
        planes = [final.isel(energy=band) if "energy" in final.dims else final for band in range(bands)]
        summed = bands > 1 and "energy_bnds" in final.variables
        if summed:
            planes.append(finalize(mosaic, energy="all").isel(energy=0))
        values = [[plane[name].values.ravel() for name in ("flux", "flux_err", "snr")] for plane in planes]
        valid = np.isfinite([one[2] for one in values]).all(axis=0)
        cells = mosaic["cell_ids"].values if kind == "mosaic" else np.arange(grid.size)
        vectors = np.full((len(cells), 3), np.nan)
        vectors[valid] = grid.vectors(cells[valid]) @ frame_to_icrs(grid.frame).T
        valid &= np.isfinite(vectors[:, 0])
        if not valid.any():
            raise EmptySelectionError(f"{operation}: no cell of the mosaic has data in every band")
        maps = [
            _Map(label, one[0][valid], one[1][valid], one[2][valid], robust_width(one[2][valid]))
            for label, one in zip(_labels(mosaic, len(planes), summed), values, strict=True)
        ]
        area = float(valid.sum()) * cell_area(grid)
        images = MapImages.of(mosaic, profile, width)
        return cls(mosaic, grid, cells[valid], vectors[valid], maps, summed, area, images)


def grid_of(mosaic: xr.Dataset) -> SkyGrid:
    """Return the grid of a mosaic.

    Raises
    ------
    KindError
        If the grid mapping of HEALPix cells is missing or of another kind.
    """
    if "cell_ids" not in mosaic.variables:
        headers = tuple(str(text) for text in np.atleast_1d(mosaic["wcs"].values))
        return WcsGrid(headers, (mosaic.sizes["y"], mosaic.sizes["x"]))
    mapping = mosaic["healpix"].attrs
    nside = mosaic.attrs.get("nside")
    if nside is None and "refinement_level" in mapping:
        nside = 2 ** int(mapping["refinement_level"])
    if nside is None or mapping.get("indexing_scheme") not in ("nested", "ring"):
        raise KindError(f"mosaic: found the grid mapping {mapping}, expected HEALPix, nested or ring")
    return HealpixGrid(int(nside), mapping["indexing_scheme"], str(mosaic.attrs.get("frame", "icrs")))


def cell_area(grid: SkyGrid) -> float:
    """Return the area of a cell in square degrees."""
    if isinstance(grid, HealpixGrid):
        return 4 * np.pi * np.rad2deg(1.0) ** 2 / grid.size
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_area

    return float(proj_plane_pixel_area(WCS(Header.fromstring(grid.headers[0]))))


def _labels(mosaic: xr.Dataset, count: int, summed: bool) -> list[str]:
    if "energy_bnds" not in mosaic.variables:
        return [""] * count
    bounds = mosaic["energy_bnds"].values.reshape(-1, 2)
    rows = [*bounds, [bounds.min(), bounds.max()]] if summed else list(bounds)
    return [f"{low:g}-{high:g}" for low, high in rows]


# --- peaks -------------------------------------------------------------------------------------------------


def _found(sky: _Sky, threshold: float) -> Iterator[dict[str, Any]]:
    """Yield the candidates of all maps, those of several maps at one place once."""
    from scipy.spatial import cKDTree

    from batx.kernels.peaks import chord, false_alarm, local_maxima, roughness

    tree = cKDTree(sky.vectors)
    fwhm = float(np.rad2deg(sky.images.width))
    size = np.sqrt(cell_area(sky.grid))
    # the highest of all maps at each cell, in units of each map's noise
    scaled = np.array([one.snr / one.width for one in sky.maps])
    best = scaled.max(axis=0)
    rough = [roughness(tree, one.snr, one.width) for one in sky.maps]
    # a peak may lie between cells, and the local noise be narrower: look a little lower than asked for
    peaks = local_maxima(tree, best, 0.75 * threshold, max(0.75 * fwhm, 1.6 * size))
    for peak in peaks:
        index = int(np.argmax(scaled[:, peak]))
        near = np.array(tree.query_ball_point(sky.vectors[peak], chord(RING[1] * fwhm)))
        row = _measured(sky, index, peak, near)
        if row is None or row["significance"] < threshold:
            continue
        cluster = tree.query_ball_point(sky.vectors[peak], chord(1.5 * fwhm))
        row["n_pixels"] = int((best[cluster] > threshold).sum())
        trials, probability = false_alarm(
            row["significance"], len(sky.cells), sky.area, max(rough), len(sky.maps)
        )
        yield row | {"trials": float(trials), "false_alarm_probability": float(probability)}


def _measured(sky: _Sky, index: int, peak: int, near: np.ndarray) -> dict[str, Any] | None:
    """Return position, significance and rates of a peak, which is highest in map `index`."""
    flux, error = (np.array([getattr(one, name)[near] for one in sky.maps]) for name in ("flux", "error"))
    width = np.array([one.width for one in sky.maps])
    size = np.sqrt(cell_area(sky.grid))
    found = measure(sky.images.around(sky.vectors[peak]), sky.vectors[near], flux, error, width, size, index)
    if found is None:
        return None
    ra, dec = vector_to_radec(found.vector)
    bands = slice(len(sky.maps) - sky.summed)
    east, north = np.sqrt(np.diagonal(found.covariance))
    return {
        "ra": float(ra),
        "dec": float(dec),
        "ra_err": float(east / np.cos(np.deg2rad(dec))),
        "dec_err": float(north),
        "err_rad": found.error,
        "err_rad_90": _RADIUS_90 * found.error,
        "significance": float(found.snr[index]),
        "best_band": sky.maps[index].label,
        "rate": found.rate[bands],
        "rate_err": found.rate_err[bands],
        "snr": found.snr[bands],
    }


def _table(sky: _Sky, rows: list[dict[str, Any]]) -> xr.Dataset:
    """Return candidates as kind ``catalog``."""
    from scipy.spatial import cKDTree

    from batx.kernels.peaks import independent_cells, roughness

    units = {"err_rad_90": "deg", "significance": "1", "trials": "1", "false_alarm_probability": "1"}
    columns: dict[str, Any] = {}
    for name in ("ra", "dec", "ra_err", "dec_err", "err_rad", *units):
        values = np.array([row[name] for row in rows], np.float64)
        columns[name] = (("source",), values, {"units": units[name]} if name in units else {})
    columns["n_pixels"] = (("source",), np.array([row["n_pixels"] for row in rows], np.int64))
    columns["best_band"] = (("source",), np.array([row["best_band"] for row in rows], dtype=object))
    names = [f"C{number}" for number in range(1, len(rows) + 1)]
    columns["name"] = (("source",), np.array(names, dtype=object))
    bands = len(sky.maps) - sky.summed
    banded = "energy" in sky.mosaic["sum_w"].dims
    unit = {"units": str(sky.mosaic["sum_w"].attrs.get("flux_units", "count/s"))}
    for name, attrs in (("rate", unit), ("rate_err", unit), ("snr", {})):
        values = np.array([row[name] for row in rows], np.float64).reshape(len(rows), bands)
        dims = ("source", "energy") if banded else ("source",)
        columns[name] = (dims, values if banded else values[:, 0], attrs)
    for name in ("energy", "energy_bnds"):
        if banded and name in sky.mosaic.variables:
            columns[name] = sky.mosaic[name].variable
    rough = max(roughness(cKDTree(sky.vectors), one.snr, one.width) for one in sky.maps)
    kept = {key: value for key, value in sky.mosaic.attrs.items() if not key.startswith("batx_")}
    attrs = kept | {
        "n_cells": len(sky.cells),
        "n_independent": independent_cells(len(sky.cells), sky.area, rough),
        "n_maps": len(sky.maps),
        "map_width": sky.maps[-1].width,
    }
    return build("catalog", columns, attrs)


# --- probability -------------------------------------------------------------------------------------------


def probability_map(mosaic: xr.Dataset) -> xr.Dataset:
    """Return the probability that a source of unknown flux is in each cell, if there is one in the map.

    The likelihood of a position, at the best flux there (not negative), is exp(z²/2) with z = S/√W over its
    width in the map; with equal prior probability of every cell it is normalised to a sum of 1. Flux and
    variance are summed over bands first.

    Parameters
    ----------
    mosaic
        Kind ``mosaic`` (HEALPix) of one time, with `sum_w` and `sum_wf`.

    Returns
    -------
    xarray.Dataset
        Kind ``mosaic`` with ``probability(cell)``; cells without data are left out. `batx.to_fits` writes it
        over the full sphere, as ``ligo.skymap`` reads it.

    Raises
    ------
    KindError, MissingVariableError, ValueRangeError, EmptySelectionError
        As `candidates`.

    Notes
    -----
    Source: algorithms 2.8.

    Examples
    --------
    >>> from batx.schema import build
    >>> grid = {"grid_mapping_name": "healpix", "refinement_level": 2, "indexing_scheme": "nested"}
    >>> z = np.where(np.arange(192) == 7, 8.0, np.cos(np.arange(192)))
    >>> sums = build("mosaic", {"cell_ids": np.arange(192), "healpix": ((), 0, grid),
    ...                         "sum_w": ("cell", np.ones(192)), "sum_wf": ("cell", z)})
    >>> probability = probability_map(sums).probability
    >>> int(probability.argmax("cell")), round(float(probability.sum()), 12)
    (7, 1.0)
    """
    require_kind(mosaic, "mosaic", operation="probability_map")
    profile = mask_profile()
    sky = _Sky.of(mosaic, "probability_map", profile, profile.natural_width)
    chosen = sky.maps[-1]
    half = np.maximum(chosen.snr / chosen.width, 0.0) ** 2 / 2
    weight = np.exp(half - half.max())
    grid = sky.mosaic["healpix"]
    variables = {
        "cell_ids": (("cell",), sky.cells, sky.mosaic["cell_ids"].attrs),
        "healpix": ((), grid.values, grid.attrs),
        "probability": (("cell",), weight / weight.sum(), {"grid_mapping": "healpix"}),
    }
    assert isinstance(sky.grid, HealpixGrid)  # the kind has been looked at
    kept = {key: value for key, value in sky.mosaic.attrs.items() if not key.startswith("batx_")}
    return build("mosaic", variables, kept | {"frame": sky.grid.frame, "nside": sky.grid.nside})


def credible_region(probability: xr.Dataset, level: float = 0.9) -> xr.DataArray:
    """Return which cells are in the smallest region that holds a given probability.

    Parameters
    ----------
    probability
        From `probability_map`.
    level
        0 to 1.

    Returns
    -------
    xarray.DataArray
        bool (cell,); its attribute `area` is in square degrees.

    Raises
    ------
    MissingVariableError
        If there is no probability.
    ValueRangeError
        If `level` is not between 0 and 1.

    Examples
    --------
    >>> from batx.schema import build
    >>> grid = {"grid_mapping_name": "healpix", "refinement_level": 0, "indexing_scheme": "nested"}
    >>> cells = build("mosaic", {"cell_ids": np.arange(3), "healpix": ((), 0, grid),
    ...                          "probability": [0.1, 0.7, 0.2]})
    >>> credible_region(cells, 0.8).values
    array([False,  True,  True])
    """
    if "probability" not in probability:
        raise MissingVariableError("credible_region: found no 'probability'; make one with probability_map")
    if not 0 < level < 1:
        raise ValueRangeError(f"level: found {level!r}, expected more than 0 and less than 1")
    values = np.asarray(probability["probability"].values, np.float64)
    order = np.argsort(-values, kind="stable")
    count = int(np.searchsorted(np.cumsum(values[order]), level * values.sum() - 1e-12)) + 1
    inside = np.zeros(len(values), bool)
    inside[order[:count]] = True
    area = float(count * cell_area(grid_of(probability)))
    return xr.DataArray(inside, dims="cell", attrs={"area": area, "level": float(level)})


def to_moc(probability: xr.Dataset, level: float = 0.9) -> Any:
    """Return the smallest region that holds a given probability as a ``mocpy.MOC``.

    Parameters
    ----------
    probability
        From `probability_map`, in the frame ICRS.
    level
        0 to 1.

    Raises
    ------
    MissingVariableError, ValueRangeError
        As `credible_region`; also if the cells are not ICRS or their nside is no power of two.
    BatxError
        If the package mocpy is not there.
    """
    import healpy

    try:
        from mocpy import MOC
    except ImportError as error:
        raise BatxError("to_moc needs the package mocpy, which is not there: pip install mocpy") from error
    inside = credible_region(probability, level)
    grid = grid_of(probability)
    if grid.frame != "icrs" or not isinstance(grid, HealpixGrid) or grid.nside & (grid.nside - 1):
        raise ValueRangeError(
            "to_moc: expected cells in the frame icrs with a power of two as nside; make the mosaic with "
            "frame='icrs'"
        )
    cells = probability["cell_ids"].values[inside.values]
    nested = cells if grid.order == "nested" else healpy.ring2nest(grid.nside, cells)
    depth = grid.nside.bit_length() - 1
    return MOC.from_healpix_cells(nested.astype(np.uint64), depth, depth)
