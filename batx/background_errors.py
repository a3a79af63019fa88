"""Errors of curves whose background is a fitted polynomial; kept in a form that adds up over bins and bands.

The background of a bin is design · coefficients, so the error that it brings is common to all bins. Counts,
background and design add up over bins, coefficients and covariance over bands; the errors follow from these
at the end, for single bins as for sums of them. Private to `batx.backgrounds` and `batx.rebinning`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from batx.errors import MissingVariableError

__all__ = ["SUMMED_OVER_ENERGY", "SUMMED_OVER_TIME", "dispersion_of_sum", "with_background_errors"]

SUMMED_OVER_TIME = ("background", "background_design")
SUMMED_OVER_ENERGY = ("background", "background_coefficients", "background_covariance")


def with_background_errors(ds: xr.Dataset) -> xr.Dataset:
    """Return a light curve with the errors that its counts, background and covariance give it.

    Var = φ max(n, μ) + d C d, with n counts and μ background (none in a curve of the background itself), φ
    the dispersion, d the design and C the covariance. Light curves without a design are returned as they are.

    Raises
    ------
    MissingVariableError
        If there is a design without covariance, as in files of a format that has no place for it.
    """
    if "background_design" not in ds.variables:
        return ds
    if "background_covariance" not in ds.variables:
        raise MissingVariableError(
            "found background_design without background_covariance, by which the errors of sums are known; "
            "FITS files do not hold it: keep the curve in netCDF or Zarr, or drop background_design to "
            "take the errors of the bins as independent"
        )
    design = ds["background_design"]
    variance = xr.dot(
        design, ds["background_covariance"], design.rename(term="term2"), dim=["term", "term2"], optimize=True
    )
    quantity = "counts" if "counts" in ds.variables else "rate"
    value, exposure = ds[quantity], ds["exposure"]
    if "background" in ds.variables:
        net = value if quantity == "counts" else value * exposure
        gross = np.maximum(net + ds["background"], ds["background"])
        variance = variance + ds["background_dispersion"] * gross.clip(min=0)
    error = np.sqrt(variance).transpose(*value.dims)
    if quantity == "rate":
        error = error / exposure.where(exposure > 0)
    return ds.assign({f"{quantity}_err": (value.dims, error.data, dict(value.attrs))})


def dispersion_of_sum(ds: xr.Dataset, member: xr.DataArray) -> xr.DataArray:
    """Return the dispersion of bands that are summed: the mean, weighted with their background.

    Parameters
    ----------
    ds
        Light curve with ``background_dispersion``.
    member
        (energy, new) part of each band in each of the new ones.
    """
    level = abs(xr.dot(ds["background_design"].sum("time"), ds["background_coefficients"], dim="term"))
    return xr.dot(ds["background_dispersion"] * level, member, dim="energy") / xr.dot(
        level, member, dim="energy"
    )
