"""The sky: images, mosaics, catalogues."""

from __future__ import annotations

from batx.schema.spec import (
    COMMON_ATTRIBUTES,
    GTI_VARIABLES,
    Attribute,
    Kind,
    Variable,
    axis,
)

__all__ = ["CATALOG", "MOSAIC", "MOSAIC_IMAGE", "SKY_IMAGE"]

_V = Variable
_A = Attribute

SKY_IMAGE = Kind(
    "sky_image",
    "sky images on the tangent plane of the instrument",
    (
        *axis("time", "s", "time of the image (MET)", required=False, optional=True),
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("imx", ("imx",), "1", "tangent-plane X", coord=True, required=True),
        _V("imy", ("imy",), "1", "tangent-plane Y", coord=True, required=True),
        _V("rate", ("[time]", "[energy]", "imy", "imx"), "count/s", "rate", "real"),
        _V("counts", ("[time]", "[energy]", "imy", "imx"), "count", "counts", "real"),
        _V("noise", ("[time]", "[energy]", "imy", "imx"), None, "1-sigma noise", "real"),
        _V("background", ("[time]", "[energy]", "imy", "imx"), None, "local background", "real"),
        _V("snr", ("[time]", "[energy]", "imy", "imx"), "1", "significance", "real"),
        _V("pcode", ("[time]", "[energy]", "imy", "imx"), "1", "partial coding fraction", "real"),
        _V("exposure", ("[time]",), "s", "good time"),
        _V("motion", ("[time]",), "deg", "angle by which the instrument turned in the image"),
        _V("wcs", ("[time]",), None, "FITS WCS cards of the image", "any", coord=True),
        *GTI_VARIABLES,
    ),
    marks=(
        {"rate": ("imy", "imx")},
        {"counts": ("imy", "imx")},
        {"noise": ("imy", "imx")},
        {"snr": ("imy", "imx")},
        {"pcode": ("imy", "imx")},
        {"background": ("imy", "imx")},
        {"occultation": ("imy", "imx")},
    ),
    attributes=COMMON_ATTRIBUTES,
)

#: which images were added up, and in which group of times each is
_IMAGES_OF_A_MAP = (
    _V("group", ("time",), None, "name of the group of times", "string", coord=True),
    _V("image_id", ("image",), None, "identity of each image", "string"),
    _V("image_start", ("image",), "s", "start of each image (MET)"),
    _V("image_stop", ("image",), "s", "end of each image (MET)"),
    _V("image_exposure", ("image",), "s", "exposure of each image"),
    _V("image_projection", ("image", "pixel", "icrs"), "1", "from directions (ICRS) to pixels (x, y, 1)"),
    _V("image_used", ("image",), None, "false where a cut left the image out", "bool"),
    _V("image_reason", ("image",), None, "why an image was left out", "string"),
    _V("member", ("time", "image"), None, "whether the image is part of the group", "bool"),
)

MOSAIC = Kind(
    "mosaic",
    "sums on HEALPix cells",
    (
        *axis("time", "s", "time of the sum (MET)", required=False, optional=True),
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("cell_ids", ("cell",), "1", "HEALPix cell number", "integer", coord=True, required=True),
        _V("healpix", (), None, "grid mapping (CF-1.13)", "any", coord=True, required=True),
        _V("sum_w", ("[time]", "[energy]", "cell"), None, "sum of 1/noise**2", "real"),
        _V("sum_wf", ("[time]", "[energy]", "cell"), None, "sum of flux/noise**2", "real"),
        _V("exposure", ("[time]", "cell"), "s", "exposure", "real"),
        _V("pcode_exposure", ("[time]", "cell"), "s", "coding-weighted exposure", "real"),
        _V("n_images", ("[time]", "cell"), "1", "number of images", "real"),
        _V("flux", ("[time]", "[energy]", "cell"), None, "flux", "real"),
        _V("flux_err", ("[time]", "[energy]", "cell"), None, "1-sigma error of flux", "real"),
        _V("snr", ("[time]", "[energy]", "cell"), "1", "significance", "real"),
        _V("probability", ("cell",), "1", "probability", "real"),
        *_IMAGES_OF_A_MAP,
    ),
    marks=({"cell_ids": ("cell",)},),
    attributes=COMMON_ATTRIBUTES,
)

_PIXELS = ("[facet]", "y", "x")

MOSAIC_IMAGE = Kind(
    "mosaic_image",
    "sums on the pixels of FITS images",
    (
        *axis("time", "s", "time of the sum (MET)", required=False, optional=True),
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("wcs", ("[facet]",), None, "FITS WCS cards of the image", "any", coord=True, required=True),
        _V("sum_w", ("[time]", "[energy]", *_PIXELS), None, "sum of 1/noise**2", "real"),
        _V("sum_wf", ("[time]", "[energy]", *_PIXELS), None, "sum of flux/noise**2", "real"),
        _V("exposure", ("[time]", *_PIXELS), "s", "exposure", "real"),
        _V("pcode_exposure", ("[time]", *_PIXELS), "s", "coding-weighted exposure", "real"),
        _V("n_images", ("[time]", *_PIXELS), "1", "number of images", "real"),
        _V("flux", ("[time]", "[energy]", *_PIXELS), None, "flux", "real"),
        _V("flux_err", ("[time]", "[energy]", *_PIXELS), None, "1-sigma error of flux", "real"),
        _V("snr", ("[time]", "[energy]", *_PIXELS), "1", "significance", "real"),
        *_IMAGES_OF_A_MAP,
    ),
    marks=({"sum_w": ("y", "x")}, {"flux": ("y", "x")}, {"pcode_exposure": ("y", "x")}),
    attributes=COMMON_ATTRIBUTES,
)

CATALOG = Kind(
    "catalog",
    "sources",
    (
        _V("name", ("source",), None, "source name", "string", coord=True),
        _V("ra", ("source",), "deg", "right ascension (ICRS)", "real", required=True, fits="RA_OBJ"),
        _V("dec", ("source",), "deg", "declination (ICRS)", "real", required=True, fits="DEC_OBJ"),
        _V("ra_err", ("source",), "deg", "1-sigma error of ra", "real", fits="RA_OBJ_ERR"),
        _V("dec_err", ("source",), "deg", "1-sigma error of dec", "real", fits="DEC_OBJ_ERR"),
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("err_rad", ("source",), "deg", "1-sigma error of the position", "real", fits="ERR_RAD"),
        _V("imx", ("source",), "1", "tangent-plane X", "real", fits="IMX"),
        _V("imy", ("source",), "1", "tangent-plane Y", "real", fits="IMY"),
        _V("imx_err", ("source",), "1", "1-sigma error of imx", "real", fits="IMX_ERR"),
        _V("imy_err", ("source",), "1", "1-sigma error of imy", "real", fits="IMY_ERR"),
        _V("imx_pixel", ("source",), "1", "column of the image, from 0", "real"),
        _V("imy_pixel", ("source",), "1", "row of the image, from 0", "real"),
        _V("pcode", ("source",), "1", "partial coding fraction", "real"),
        _V("fwhm", ("source",), "deg", "full width at half maximum", "real"),
        _V("fwhm_err", ("source",), "deg", "1-sigma error of fwhm", "real"),
        _V("n_pixels", ("source",), "1", "pixels above the threshold", "integer"),
        _V("n_background", ("source",), "1", "pixels that the background is measured in", "real"),
        _V("flags", ("source",), "1", "what the fit held, bits", "integer"),
        _V("known", ("source",), None, "whether the source is one of the given catalogue", "bool"),
        _V("separation", ("source",), "deg", "distance from the place in the given catalogue", "real"),
        _V("rate", ("source", "[energy]"), "count/s", "rate", "real", fits="RATE"),
        _V("rate_err", ("source", "[energy]"), "count/s", "1-sigma error of rate", "real", fits="RATE_ERR"),
        _V("snr", ("source", "[energy]"), "1", "significance", "real", fits="SNR"),
        _V("noise", ("source", "[energy]"), None, "local standard deviation of the image", "real"),
        _V("background", ("source", "[energy]"), None, "constant under the source", "real"),
        _V("upper_limit", ("source", "[energy]"), None, "upper limit of the rate", "real"),
        _V("chi2", ("source", "[energy]"), "1", "sum of squared residuals", "real", fits="CHI2"),
        _V("dof", ("source", "[energy]"), "1", "degrees of freedom", "real", fits="DOF"),
    ),
    marks=({"ra": ("source",), "dec": ("source",)},),
    attributes=COMMON_ATTRIBUTES,
)
