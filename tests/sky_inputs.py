"""Simulated detector images with sources on a flat background."""

from __future__ import annotations

import numpy as np
import xarray as xr

import batx
from batx.instrument.detector import DETECTOR
from batx.instrument.mask import FAR, MaskGeometry, illumination
from batx.kernels.deconvolve import image_grid
from batx.schema import build

APERTURE = batx.simulate.aperture()
GEOMETRY = MaskGeometry.from_attrs(APERTURE.attrs, APERTURE["mask"].shape)
GRID = image_grid(GEOMETRY)
EXPOSURE = 10.0


def sky_plane(sources=(), background=2.0, seed=0, good=DETECTOR, **more) -> xr.Dataset:
    """A detector image of sources (rate, imx, imy) on a flat background (count/s), Poisson distributed."""
    expected = np.full(DETECTOR.shape, float(background))
    for rate, imx, imy in sources:
        lit = illumination(APERTURE["mask"].values, GEOMETRY, (imx * FAR, imy * FAR, FAR), unbalanced=True)
        radius = np.sqrt(1 + imx**2 + imy**2)
        face = (1 + min(0.15 * abs(imx), 0.05) + min(0.15 * abs(imy), 0.05)) / radius
        expected += rate * lit * face
    counts = np.random.default_rng(seed).poisson(np.where(good, expected * EXPOSURE, 0.0))
    variables = {"counts": (("dety", "detx"), counts), "exposure": ((), EXPOSURE)}
    variables |= {"time": ((), 6e8 + 5.0), "time_bnds": (("bnds",), np.array([6e8, 6e8 + 10.0]))}
    return build("detector_plane", {**variables, **more}, {"telescope": "SWIFT", "instrument": "BAT"})
