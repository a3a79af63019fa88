"""Sources of a survey image, and the noise around each pixel, from one look at it.

Private to `batx.survey_pointing`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xarray as xr

from batx.source_catalogs import catalog_of, joined
from batx.source_fields import Targets, catalog_targets, image_fields, without_repeats
from batx.source_fits import Settings, observe
from batx.weight_inputs import distortion_map

__all__ = ["searched"]

#: a new source is at least so many pixels that touch each other: fewer are noise
_LEAST_PIXELS = 3


def searched(
    image: xr.Dataset,
    catalog: xr.Dataset | None,
    *,
    snr: float,
    pcode_min: float,
    bkg_pcode_min: float,
    distortion: Any,
    tool: bool,
) -> tuple[xr.Dataset, np.ndarray]:
    """Return what `batx.detect` does, sources at undefined pixels included, and the noise around each pixel.

    Parameters
    ----------
    image
        Kind ``sky_image`` along energy, at one time.
    catalog, snr, pcode_min, bkg_pcode_min, distortion
        As for `batx.detect`.
    tool
        Whether as batcelldetect.

    Returns
    -------
    catalog : xarray.Dataset
        Kind ``catalog``.
    noise : numpy.ndarray
        Shape (energy, imy, imx), float32; NaN where the coding is below `pcode_min`.
    """
    from scipy import fft

    shape: dict[str, Any] = {} if tool else {"psf": "mask", "fwhm": None}
    settings = Settings(snr=snr, min_pixels=_LEAST_PIXELS, edges=True, tool=tool, **shape)
    none = np.empty(0)
    targets = Targets(np.empty(0, dtype=object), none, none, none, none, none)
    if catalog is not None:
        targets = without_repeats(catalog_targets(catalog, "survey_pointing"), "survey_pointing")
    (field,) = image_fields(image, None, pcode_min, bkg_pcode_min, "survey_pointing")
    with fft.set_workers(os.cpu_count() or 1):
        columns, background = observe(field, targets, settings, distortion_map(distortion))
    found = joined([catalog_of(field, columns)], image, f"detect: snr {snr:g}")
    noise = np.where(field.usable, background.std, np.nan).astype(np.float32)
    return found, noise
