"""The rates of sources at known places in mosaics, against time where there are groups: seen or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from batx.errors import KindError, MissingVariableError, PositionError, ValueRangeError
from batx.instrument.sky import radec_to_vector
from batx.kernels.peaks import chord, robust_width
from batx.map_peaks import RING, MapImages, mask_profile, measure
from batx.mosaic_sums import finalize
from batx.schema import build, require_kind
from batx.schema.attributes import CLOCK, kept_attrs, with_history
from batx.searching import cell_area, grid_of
from batx.sky_grids import frame_to_icrs
from batx.units import to_value

__all__ = ["mosaic_rates"]


def mosaic_rates(mosaic: xr.Dataset | xr.DataTree, ra: Any, dec: Any = None) -> xr.Dataset:
    """Return the rates of sources at given positions in mosaics, by the fit of a point source to the cells.

    Parameters
    ----------
    mosaic
        Kind ``mosaic`` or ``mosaic_image`` with its sums, of one or several times; or the tree that
        `batx.mosaic` gives with groups, whose groups are taken. Loaded here.
    ra, dec
        A catalogue (kind ``catalog``) or SkyCoord as `ra` alone, or degrees; one position or several.

    Returns
    -------
    xarray.Dataset
        Kind ``lightcurve`` with dimensions ``(source, time, energy)``: ``rate`` and ``rate_err``, whose error
        is that of the fit with the noise of the cells around; NaN where no cell at the source has a value.
        ``source_exposure`` (source, time) at the source; ``exposure`` the longest of these. As `rates` of
        `batx.survey_spectrum` (with ``systematics=None``) it gives spectra.

    Raises
    ------
    KindError, MissingVariableError
        If `mosaic` is none, or has no sums, bands or times.
    PositionError
        If positions are malformed.

    Notes
    -----
    The position is held; the fit is that of `batx.candidates`: a source as the images of the mosaic sample
    it, over the mean and with the width of S/√W in a ring around it. Rates are of the images: divide these by
    the off-axis correction (``off_axis`` of `batx.mosaic`) for rates as on axis.

    Examples
    --------
    >>> import healpy
    >>> z = np.random.default_rng(0).standard_normal(healpy.nside2npix(64))
    >>> grid = {"grid_mapping_name": "healpix", "refinement_level": 6, "indexing_scheme": "nested"}
    >>> sums = build("mosaic", {"cell_ids": np.arange(len(z)), "healpix": ((), 0, grid),
    ...     "energy": [104.5], "energy_bnds": [[14.0, 195.0]], "exposure": ("cell", np.full(len(z), 1e3)),
    ...     "sum_w": (("energy", "cell"), np.full((1, len(z)), 1e6)),
    ...     "sum_wf": (("energy", "cell"), 1e3 * z[None])}, {"tstart": 0.0, "tstop": 1e3})
    >>> rates = mosaic_rates(sums, 150.0, 30.0)
    >>> bool(abs(rates.rate[0, 0, 0]) < 5 * rates.rate_err[0, 0, 0]), float(rates.exposure[0])
    (True, 1000.0)
    """
    if isinstance(mosaic, xr.DataTree):
        if "groups" not in mosaic.children:
            raise KindError("mosaic_rates: the tree has no groups; give a mosaic, such as tree['total'].ds")
        mosaic = mosaic["groups"].to_dataset()
    require_kind(mosaic, "mosaic", "mosaic_image", operation="mosaic_rates")
    missing = [
        name for name in ("sum_w", "sum_wf", "exposure", "energy_bnds") if name not in mosaic.variables
    ]
    if missing:
        raise MissingVariableError(f"mosaic_rates: the mosaic has no {', '.join(missing)}")
    names, lon, lat = _positions(ra, dec)
    vectors = radec_to_vector(lon, lat)
    bounds = _times(mosaic)
    planes = (
        [mosaic.isel(time=number) for number in range(len(bounds))] if "time" in mosaic.dims else [mosaic]
    )
    bands = mosaic["energy_bnds"].values.reshape(-1, 2)
    shape = len(names), len(planes), len(bands)
    rate, error = np.full((2, *shape), np.nan)
    exposure = np.zeros(shape[:2])
    for number, plane in enumerate(planes):
        rate[:, number], error[:, number], exposure[:, number] = _measured(
            plane.compute(), vectors, len(bands)
        )
    unit = {"units": str(mosaic["sum_w"].attrs.get("flux_units", "count/s"))}
    longest = exposure.max(axis=0)
    variables: dict[str, Any] = {
        "time": bounds.mean(axis=1),
        "time_bnds": bounds,
        "energy": bands.mean(axis=1),
        "energy_bnds": bands,
        "rate": (("source", "time", "energy"), rate, unit),
        "rate_err": (("source", "time", "energy"), error, unit),
        "exposure": longest,
        "fracexp": longest / (bounds[:, 1] - bounds[:, 0]),
        "source_exposure": (("source", "time"), exposure, {"units": "s"}),
    }
    kept = kept_attrs(mosaic.attrs, "telescope", *CLOCK, "tstart", "tstop", "provenance", "history")
    attrs = with_history(kept, f"batx.mosaic_rates: {len(names)} position(s)")
    made = build("lightcurve", variables, attrs | {"statistic": "gaussian", "weighting": "mask"})
    degrees = {"units": "deg"}
    coords = {"ra": ("source", lon, degrees), "dec": ("source", lat, degrees), "name": ("source", names)}
    if "group" in mosaic.coords:
        coords["group"] = ("time", np.array([str(name) for name in np.atleast_1d(mosaic["group"].values)]))
    return made.assign_coords(coords)


def _positions(ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return names and positions in degrees."""
    names = None
    if isinstance(ra, xr.Dataset):
        require_kind(ra, "catalog", operation="mosaic_rates: positions")
        names = np.array([str(name) for name in ra["name"].values]) if "name" in ra.variables else None
        ra, dec = ra["ra"].values, ra["dec"].values
    elif dec is None and hasattr(ra, "icrs"):
        ra, dec = ra.icrs.ra, ra.icrs.dec
    if dec is None:
        raise PositionError("mosaic_rates: found no dec; give ra and dec, a SkyCoord, or a catalogue")
    lon, lat = (np.atleast_1d(to_value(value, "deg", name)) for value, name in ((ra, "ra"), (dec, "dec")))
    if lon.shape != lat.shape or lon.ndim != 1 or not (np.isfinite(lon) & (np.abs(lat) <= 90)).all():
        raise PositionError("mosaic_rates: expected as many ra as dec, finite, dec from -90 to 90 degrees")
    if names is None:
        names = np.array([f"{a:.4f}{b:+.4f}" for a, b in zip(lon, lat, strict=True)])
    return names, lon, lat


def _times(mosaic: xr.Dataset) -> np.ndarray:
    """Return start and stop of each time, or of all images."""
    if "time_bnds" in mosaic.variables:
        return mosaic["time_bnds"].values.reshape(-1, 2).astype(np.float64)
    if "image_start" in mosaic.variables and mosaic.sizes.get("image"):
        start, stop = float(mosaic["image_start"].min()), float(mosaic["image_stop"].max())
    elif {"tstart", "tstop"} <= mosaic.attrs.keys():
        start, stop = float(mosaic.attrs["tstart"]), float(mosaic.attrs["tstop"])
    else:
        raise MissingVariableError(
            "mosaic_rates: the mosaic does not say its times (time_bnds, tstart, tstop)"
        )
    if not stop > start:
        raise ValueRangeError(
            f"mosaic_rates: found times {start} to {stop}, expected the start before the end"
        )
    return np.array([[start, stop]])


def _measured(
    mosaic: xr.Dataset, vectors: np.ndarray, bands: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rate and error (source, band) and exposure (source,) in a mosaic of one time."""
    from scipy.spatial import cKDTree

    rate, error = np.full((2, len(vectors), bands), np.nan)
    exposure = np.zeros(len(vectors))
    final = finalize(mosaic)
    flux, sigma = (final[name].values.reshape(bands, -1) for name in ("flux", "flux_err"))
    valid = (np.isfinite(flux) & (sigma > 0)).any(axis=0)
    if not valid.any():
        return rate, error, exposure
    grid = grid_of(mosaic)
    cells = (mosaic["cell_ids"].values if "cell_ids" in mosaic.variables else np.arange(grid.size))[valid]
    places = grid.vectors(cells) @ frame_to_icrs(grid.frame).T
    seconds = mosaic["exposure"].values.ravel()[valid]
    flux, sigma = flux[:, valid], sigma[:, valid]
    profile = mask_profile()
    images = MapImages.of(mosaic, profile, profile.natural_width)
    size = float(np.sqrt(cell_area(grid)))
    tree = cKDTree(places)
    reach = chord(RING[1] * float(np.rad2deg(profile.natural_width)))
    with np.errstate(invalid="ignore"):
        width = np.array([robust_width(row[np.isfinite(row)]) for row in flux / sigma])
    for number, vector in enumerate(vectors):
        distance, nearest = tree.query(vector)
        if distance > chord(size):
            continue
        near = np.array(tree.query_ball_point(vector, reach))
        found = measure(images.around(vector), places[near], flux[:, near], sigma[:, near], width, size, None)
        if found is not None:
            rate[number], error[number] = found.rate, found.rate_err
            exposure[number] = seconds[nearest]
    return rate, error, exposure
