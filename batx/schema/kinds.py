"""The kinds of batx data, as code; the tables of the documentation are generated from this module."""

from __future__ import annotations

from batx.schema.spec import COMMON_ATTRIBUTES, GTI_VARIABLES, TRACE_VARIABLES, Attribute, Kind, Variable

__all__ = ["KINDS"]

_V = Variable
_A = Attribute


def _axis(
    name: str, units: str, doc: str, required: bool = True, optional: bool = False
) -> tuple[Variable, ...]:
    """Return the centre coordinate of an interval axis and its CF bounds."""
    dim = f"[{name}]" if optional else name
    return (
        _V(name, (dim,), units, f"{doc} (centre)", coord=True, required=required),
        _V(f"{name}_bnds", (dim, "bnds"), units, f"{doc} (edges)", coord=True, required=required),
    )


EVENTS = Kind(
    "events",
    "time-tagged events",
    (
        _V("time", ("event",), "s", "event time (MET)", coord=True, required=True, fits="TIME"),
        _V("energy", ("event",), "keV", "energy", "real", fits="ENERGY"),
        _V("pi", ("event",), None, "energy channel", "integer", fits="PI"),
        _V("pha", ("event",), None, "raw pulse height", "integer", fits="PHA"),
        _V("detid", ("event",), "1", "detector number, 0 to 32767", "integer", fits="DET_ID"),
        _V("detx", ("event",), None, "detector column, 0 to 285", "integer", fits="DETX"),
        _V("dety", ("event",), None, "detector row, 0 to 172", "integer", fits="DETY"),
        _V(
            "event_flags",
            ("event",),
            "1",
            "0 good, 16 good, others calibration or bad",
            "integer",
            fits="EVENT_FLAGS",
        ),
        _V("mask_weight", ("[source]", "event"), "1", "mask weight", "real", fits="MASK_WEIGHT"),
        _V("wcs", (), None, "FITS WCS cards of x and y, of imaging telescopes", "any", coord=True),
        *GTI_VARIABLES,
        *TRACE_VARIABLES,
    ),
    marks=({"time": ("event",)},),
    attributes=COMMON_ATTRIBUTES,
)

GTI = Kind(
    "gti",
    "good-time intervals, half-open",
    (
        _V("start", ("gti",), "s", "start (MET, included)", required=True, fits="START"),
        _V("stop", ("gti",), "s", "end (MET, excluded)", required=True, fits="STOP"),
    ),
    marks=({"start": ("gti",), "stop": ("gti",)},),
    attributes=COMMON_ATTRIBUTES,
)

ATTITUDE = Kind(
    "attitude",
    "spacecraft attitude against time",
    (
        _V("time", ("time",), "s", "time (MET)", coord=True, required=True, fits="TIME"),
        _V(
            "quaternion",
            ("time", "q"),
            "1",
            "sky to spacecraft rotation, scalar last",
            required=True,
            fits="QPARAM",
        ),
        _V("ra", ("time",), "deg", "right ascension of the pointing", "real", fits="POINTING(1)"),
        _V("dec", ("time",), "deg", "declination of the pointing", "real", fits="POINTING(2)"),
        _V("roll", ("time",), "deg", "roll of the pointing", "real", fits="POINTING(3)"),
        _V("ten_arcmin", ("time",), None, "within 10 arcmin of the target", "bool", fits="FLAGS(1)"),
        _V("settled", ("time",), None, "pointing settled", "bool", fits="FLAGS(2)"),
        _V("in_saa", ("time",), None, "in the South Atlantic Anomaly", "bool", fits="FLAGS(3)"),
        _V("safe_hold", ("time",), None, "spacecraft in safe hold", "bool", fits="FLAGS(4)"),
    ),
    marks=({"quaternion": ("time", "q")},),
    attributes=COMMON_ATTRIBUTES,
)

RAY_TRACE = Kind(
    "ray_trace",
    "position and coding of a source against time",
    (
        _V("time", ("time",), "s", "time of the trace (MET)", coord=True, required=True, fits="TIME"),
        _V("imx", ("[source]", "time"), "1", "tangent-plane position X/Z", required=True, fits="IMX"),
        _V("imy", ("[source]", "time"), "1", "tangent-plane position Y/Z", required=True, fits="IMY"),
        _V("x", ("[source]", "time"), "cm", "source position X in the BAT frame", fits="BAT_XOBJ"),
        _V("y", ("[source]", "time"), "cm", "source position Y in the BAT frame", fits="BAT_YOBJ"),
        _V("z", ("[source]", "time"), "cm", "source position Z in the BAT frame", fits="BAT_ZOBJ"),
        _V("pcode", ("[source]", "time"), "1", "partial coding fraction", fits="PCODEFR"),
        _V("n_good", ("[source]", "time"), "1", "number of good detectors", "real", fits="NGOODPIX"),
        _V("mask_weight_norm", ("[source]", "time"), "1", "mask weight normalisation", fits="MSKWTSQF"),
    ),
    marks=({"imx": ("time",), "imy": ("time",)},),
    attributes=COMMON_ATTRIBUTES,
)

ALIGNMENT = Kind(
    "alignment",
    "rotation from spacecraft to BAT axes",
    (
        _V("matrix", ("bat", "spacecraft"), "1", "rotation, normalised through a quaternion", required=True),
        _V("matrix_file", ("bat", "spacecraft"), "1", "rotation as stored in the file", fits="ALIGNMij"),
    ),
    marks=({"matrix": ("bat", "spacecraft")},),
    attributes=COMMON_ATTRIBUTES,
)

APERTURE = Kind(
    "aperture",
    "coded mask",
    (
        _V(
            "mask",
            ("mask_y", "mask_x"),
            "1",
            "+1 open, -1 closed, 0 outside the mask",
            "integer",
            required=True,
        ),
        _V("mask_x", ("mask_x",), "cm", "cell centre X in the BAT frame", coord=True, required=True),
        _V("mask_y", ("mask_y",), "cm", "cell centre Y in the BAT frame", coord=True, required=True),
        _V("mask_x_bnds", ("mask_x", "bnds"), "cm", "cell edges X", coord=True, required=True),
        _V("mask_y_bnds", ("mask_y", "bnds"), "cm", "cell edges Y", coord=True, required=True),
    ),
    marks=({"mask": ("mask_y", "mask_x")},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("maskbatx", "mask origin X (cm)", float),
        _A("maskbaty", "mask origin Y (cm)", float),
        _A("maskbatz", "top of the mask tiles Z (cm)", float),
        _A("maskoffx", "mask offset X (cm)", float),
        _A("maskoffy", "mask offset Y (cm)", float),
        _A("maskoffz", "mask offset Z (cm)", float),
        _A("maskcelx", "mask cell size X (cm)", float),
        _A("maskcely", "mask cell size Y (cm)", float),
        _A("maskcelz", "mask tile thickness (cm)", float),
        _A("maskcell0x", "corner of cell (0, 0) X relative to MASKBAT + MASKOFF (cm)", float),
        _A("maskcell0y", "corner of cell (0, 0) Y relative to MASKBAT + MASKOFF (cm)", float),
        _A("detbatx", "detector origin X (cm)", float),
        _A("detbaty", "detector origin Y (cm)", float),
        _A("detbatz", "top of the detectors Z (cm)", float),
        _A("detoffx", "detector offset X (cm)", float),
        _A("detoffy", "detector offset Y (cm)", float),
        _A("detoffz", "detector offset Z (cm)", float),
        _A("detcelx", "detector pitch X (cm)", float),
        _A("detcely", "detector pitch Y (cm)", float),
        _A("detsizex", "detector size X (cm)", float),
        _A("detsizey", "detector size Y (cm)", float),
    ),
)

DETECTOR_MASK = Kind(
    "detector_mask",
    "which detectors are good",
    (
        _V("good", ("dety", "detx"), None, "true where the detector is good", "bool", required=True),
        _V("quality", ("dety", "detx"), "1", "value in the file or reason code", "real"),
    ),
    marks=({"good": ("dety", "detx")},),
    attributes=COMMON_ATTRIBUTES,
)

DETECTOR_PLANE = Kind(
    "detector_plane",
    "detector-plane images and histograms",
    (
        *_axis("time", "s", "time of the bin (MET)", required=False, optional=True),
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("detid", ("dety", "detx"), "1", "detector number, -1 in the gaps", "integer", coord=True),
        _V("counts", ("[time]", "[energy]", "dety", "detx"), "count", "counts", "real", fits="BAT_DPI"),
        _V("rate", ("[time]", "[energy]", "dety", "detx"), "count/s", "count rate", "real", fits="BAT_DPI"),
        _V("weight", ("[source]", "[time]", "[energy]", "dety", "detx"), "1", "mask weight of each detector"),
        _V("variance", ("[time]", "[energy]", "dety", "detx"), None, "variance of counts or rate", "real"),
        _V("source_rate", ("source", "[time]", "[energy]"), "count/s", "fitted rate of the source"),
        _V("source_rate_err", ("source", "[time]", "[energy]"), "count/s", "1-sigma error of source_rate"),
        _V("name", ("source",), None, "source name", "string", coord=True),
        _V("exposure", ("[time]",), "s", "good time", fits="EXPOSURE"),
        *GTI_VARIABLES,
    ),
    marks=({"counts": ("dety", "detx")}, {"rate": ("dety", "detx")}, {"weight": ("dety", "detx")}),
    attributes=COMMON_ATTRIBUTES,
    one_of=(("counts", "rate", "weight"),),
)

DETECTOR_TABLE = Kind(
    "detector_table",
    "per-detector calibration",
    (_V("detid", ("dety", "detx"), "1", "detector number, -1 in the gaps", "integer", coord=True),),
    marks=({"gain": ("dety", "detx")}, {"offset": ("dety", "detx")}, {"enabled": ("dety", "detx")}),
    attributes=COMMON_ATTRIBUTES,
)

GLITCHES = Kind(
    "glitches",
    "surges of soft counts that are no light, with their detector images",
    (
        _V("time", ("glitch",), "s", "time of the image (MET, centre)", coord=True, required=True),
        _V("time_bnds", ("glitch", "bnds"), "s", "time of the image (edges)", coord=True, required=True),
        _V("obs_id", ("glitch",), None, "observation id", "string", coord=True, required=True),
        _V("glitch_start", ("glitch",), "s", "start of the time that is no good (MET)", required=True),
        _V("glitch_stop", ("glitch",), "s", "end of the time that is no good (MET)", required=True),
        _V("snr_low", ("glitch",), "1", "significance of the counts up to 25 keV", required=True),
        _V("snr_high", ("glitch",), "1", "significance of the counts above 50 keV", required=True),
        _V("counts_low", ("glitch",), "count", "counts up to 25 keV in the bins that stand out"),
        _V("counts_high", ("glitch",), "count", "counts above 50 keV in the same bins"),
        _V("expected_low", ("glitch",), "count", "expected counts up to 25 keV"),
        _V("expected_high", ("glitch",), "count", "expected counts above 50 keV"),
        _V("score", ("glitch",), "1", "from 0, a burst, to 1, a glitch, by the image alone"),
        _V("image", ("glitch", "dety", "detx"), "count", "counts of the detectors, 15-350 keV", "integer"),
        *_axis("energy", "keV", "energy of the bands of sandwich", required=False),
        _V(
            "sandwich",
            ("glitch", "energy", "sandwich_y", "sandwich_x"),
            "count",
            "counts of the sandwiches of 128 detectors",
            "integer",
        ),
        _V("channel_energy", ("channel",), "keV", "energy of the channels of spectrum (centre)", coord=True),
        _V("channel_energy_bnds", ("channel", "bnds"), "keV", "the same (edges)", coord=True),
        _V("spectrum", ("glitch", "channel"), "count", "counts against energy", "integer"),
        _V("observation", ("observation",), None, "id of each observation searched", "string", coord=True),
        _V("file", ("observation",), None, "name of its event file", "string", coord=True),
        _V("observation_start", ("observation",), "s", "start of its good time (MET)"),
        _V("observation_stop", ("observation",), "s", "end of its good time (MET)"),
        _V("exposure", ("observation",), "s", "good time searched"),
        _V("n_events", ("observation",), "1", "number of events searched", "integer"),
        _V("n_detectors", ("observation",), "1", "number of detectors on", "integer"),
        _V("n_glitches", ("observation",), "1", "number of glitches found", "integer"),
        _V("gti_obs_id", ("gti",), None, "observation of each interval of good time", "string"),
        *GTI_VARIABLES,
    ),
    marks=({"snr_low": ("glitch",), "snr_high": ("glitch",)},),
    attributes=COMMON_ATTRIBUTES,
)

LIGHTCURVE = Kind(
    "lightcurve",
    "counts or rates against time, in bands",
    (
        *_axis("time", "s", "time of the bin (MET)"),
        *_axis("energy", "keV", "energy of the band"),
        _V("counts", ("[source]", "time", "energy"), "count", "counts", "real", fits="COUNTS"),
        _V("counts_err", ("[source]", "time", "energy"), "count", "1-sigma error of counts", fits="ERROR"),
        _V("rate", ("[source]", "time", "energy"), "count/s", "rate", fits="RATE"),
        _V("rate_err", ("[source]", "time", "energy"), "count/s", "1-sigma error of rate", fits="ERROR"),
        _V("exposure", ("time",), "s", "good time in the bin", required=True),
        _V("fracexp", ("time",), "1", "good fraction of the bin", required=True, fits="FRACEXP"),
        _V(
            "totcounts",
            ("[source]", "time"),
            "count",
            "accepted events in all bands",
            "real",
            fits="TOTCOUNTS",
        ),
        _V("background", ("time", "energy"), "count", "background that was taken off"),
        _V("background_design", ("time", "term"), "s", "what coefficients of 1 add to the background"),
        _V("background_coefficients", ("energy", "term"), "count/s", "polynomial of the background"),
        _V("background_covariance", ("energy", "term", "term2"), "count**2/s**2", "of the coefficients"),
        _V("background_dispersion", ("energy",), "1", "variance of the counts over that of Poisson"),
        *GTI_VARIABLES,
    ),
    marks=({"counts": ("time", "energy")}, {"rate": ("time", "energy")}),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("statistic", "distribution of the values", required=True, values=("poisson", "gaussian")),
        _A("weighting", "weights of the events", required=True, values=("none", "mask")),
    ),
    one_of=(("counts", "rate"),),
)

SPECTRUM = Kind(
    "spectrum",
    "counts or rates against energy channel",
    (
        *_axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
        _V(
            "channel",
            ("channel",),
            "1",
            "channel number",
            "integer",
            coord=True,
            required=True,
            fits="CHANNEL",
        ),
        _V("energy", ("channel",), "keV", "nominal energy (centre)", coord=True),
        _V(
            "energy_bnds",
            ("channel", "bnds"),
            "keV",
            "nominal energy (edges)",
            coord=True,
            fits="E_MIN, E_MAX",
        ),
        _V("counts", ("[source]", "[time]", "channel"), "count", "counts", "real", fits="COUNTS"),
        _V("rate", ("[source]", "[time]", "channel"), "count/s", "rate", fits="RATE"),
        _V("stat_err", ("[source]", "[time]", "channel"), None, "statistical error", fits="STAT_ERR"),
        _V("sys_err", ("[source]", "[time]", "channel"), "1", "fractional systematic error", fits="SYS_ERR"),
        _V("quality", ("[time]", "channel"), "1", "0 good, other bad", "integer", fits="QUALITY"),
        _V(
            "grouping",
            ("[time]", "channel"),
            "1",
            "1 starts a group, -1 continues it",
            "integer",
            fits="GROUPING",
        ),
        _V("exposure", ("[time]",), "s", "good time", required=True, fits="EXPOSURE"),
        *GTI_VARIABLES,
        *TRACE_VARIABLES,
    ),
    marks=({"counts": ("channel",)}, {"rate": ("channel",)}),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("statistic", "distribution of the values", required=True, values=("poisson", "gaussian")),
        _A("weighting", "weights of the events", required=True, values=("none", "mask")),
    ),
    one_of=(("counts", "rate"),),
)

_SEARCH = ("[frequency_dot]", "frequency", "[energy]")

PERIODOGRAM = Kind(
    "periodogram",
    "power, or another statistic, against frequency",
    (
        _V("frequency", ("frequency",), "Hz", "frequency", coord=True, required=True),
        _V("frequency_dot", ("[frequency_dot]",), "Hz/s", "frequency derivative", coord=True),
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
        _V("power", _SEARCH, None, "power, or statistic", required=True),
        _V("power_err", _SEARCH, None, "1-sigma error of power"),
        _V("probability", _SEARCH, "1", "of at least this power in noise, at one frequency"),
        _V("false_alarm", _SEARCH, "1", "of at least this power in noise, anywhere in the search"),
        _V("harmonics", _SEARCH, "1", "number of harmonics that fits best", "integer"),
        _V("threshold", ("[energy]",), None, "power that noise exceeds with the probability `level`"),
        _V("noise", ("[energy]",), "1", "variance of the noise, relative to counting noise"),
    ),
    marks=({"power": ("frequency",)},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("method", "what power is", required=True, values=("z2", "h", "epoch_folding", "power_spectrum")),
        _A("level", "probability of a false alarm at the threshold", float),
        _A("epoch", "time of phase 0, at which frequency is that of the grid (MET s)", float),
    ),
)

PULSE_PROFILE = Kind(
    "pulse_profile",
    "counts or rates against phase, in bands",
    (
        *_axis("phase", "1", "phase, from 0 to 1"),
        *_axis("energy", "keV", "energy of the band"),
        _V("rate", ("phase", "energy"), "count/s", "rate", required=True),
        _V("rate_err", ("phase", "energy"), "count/s", "1-sigma error of rate", required=True),
        _V("counts", ("phase", "energy"), "count", "counts", "real"),
        _V("exposure", ("phase",), "s", "good time in the bin", required=True),
        _V("noise", ("energy",), "1", "variance of the noise, relative to counting noise"),
        _V("frequency", (), "Hz", "frequency at the epoch"),
        _V("frequency_dot", (), "Hz/s", "frequency derivative"),
        _V("epoch", (), "s", "time of phase 0 (MET)"),
    ),
    marks=({"rate": ("phase",), "phase_bnds": ("phase", "bnds")},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("statistic", "distribution of the values", required=True, values=("poisson", "gaussian")),
        _A("weighting", "weights of the events", required=True, values=("none", "mask")),
    ),
)

RESPONSE = Kind(
    "response",
    "redistribution and effective area",
    (
        *_axis("time", "s", "time of the response (MET)", required=False, optional=True),
        *_axis("energy_in", "keV", "incident energy"),
        _V("channel", ("channel",), "1", "channel number", "integer", coord=True, fits="CHANNEL"),
        _V("energy", ("channel",), "keV", "nominal energy (centre)", coord=True),
        _V(
            "energy_bnds",
            ("channel", "bnds"),
            "keV",
            "nominal energy (edges)",
            coord=True,
            fits="E_MIN, E_MAX",
        ),
        _V(
            "matrix",
            ("[source]", "[time]", "energy_in", "channel"),
            None,
            "response (cm**2) or redistribution (1)",
            "real",
            fits="MATRIX",
        ),
        _V("area", ("energy_in",), "cm**2", "effective area", "real", fits="SPECRESP"),
    ),
    marks=({"matrix": ("energy_in", "channel")}, {"area": ("energy_in",)}),
    attributes=COMMON_ATTRIBUTES,
    one_of=(("matrix", "area"),),
)

SKY_IMAGE = Kind(
    "sky_image",
    "sky images on the tangent plane of the instrument",
    (
        *_axis("time", "s", "time of the image (MET)", required=False, optional=True),
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
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
        *_axis("time", "s", "time of the sum (MET)", required=False, optional=True),
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
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
        *_axis("time", "s", "time of the sum (MET)", required=False, optional=True),
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
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
        *_axis("energy", "keV", "energy of the band", required=False, optional=True),
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

_PER_FLUX = ("[time]", "[spectrum]", "[band]")

FIT = Kind(
    "fit",
    "result of a spectral fit",
    (
        *_axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
        _V("parameter", ("parameter",), None, "parameter name", "string", coord=True, required=True),
        _V("value", ("[time]", "parameter"), None, "best-fit value", required=True),
        _V("error", ("[time]", "parameter"), None, "symmetric 1-sigma error"),
        _V(
            "error_low",
            ("[time]", "parameter"),
            None,
            "lower error, positive; NaN where the interval is open",
        ),
        _V("error_high", ("[time]", "parameter"), None, "upper error; NaN where the interval is open"),
        _V("unit", ("parameter",), None, "unit of the parameter", "string", coord=True),
        _V("minimum", ("parameter",), None, "lower limit of the parameter"),
        _V("maximum", ("parameter",), None, "upper limit of the parameter"),
        _V("frozen", ("parameter",), None, "not fitted", "bool"),
        _V("covariance", ("[time]", "parameter", "parameter2"), None, "covariance"),
        _V("statistic", ("[time]",), "1", "fit statistic"),
        _V("dof", ("[time]",), "1", "degrees of freedom", "real"),
        _V("converged", ("[time]",), None, "the minimum was found", "bool"),
        _V("band", ("[band]",), "keV", "band of a flux (centre)", coord=True),
        _V("band_bnds", ("[band]", "bnds"), "keV", "band of a flux (edges)", coord=True),
        _V("flux", _PER_FLUX, "erg cm**-2 s**-1", "energy flux"),
        _V("flux_err", _PER_FLUX, "erg cm**-2 s**-1", "its 1-sigma error"),
        _V("flux_low", _PER_FLUX, "erg cm**-2 s**-1", "lower end of the interval of the flux"),
        _V("flux_high", _PER_FLUX, "erg cm**-2 s**-1", "upper end of the interval of the flux"),
        _V("photon_flux", _PER_FLUX, "ph cm**-2 s**-1", "photon flux"),
        _V("photon_flux_err", _PER_FLUX, "ph cm**-2 s**-1", "its 1-sigma error"),
        _V("fluence", _PER_FLUX, "erg cm**-2", "energy flux times the length of the time bin"),
        _V("fluence_err", _PER_FLUX, "erg cm**-2", "its 1-sigma error"),
        _V("exposure", ("[time]",), "s", "good time"),
        _V("message", ("time",), None, "what was wrong with the fit; empty if nothing", "string"),
        _V("bin_spectrum", ("bin",), None, "spectrum that a bin belongs to", "string", coord=True),
        _V("bin_energy", ("bin",), "keV", "nominal energy of a bin (centre)", coord=True),
        _V("bin_energy_bnds", ("bin", "bnds"), "keV", "nominal energy of a bin (edges)", coord=True),
        _V("bin_rate", ("bin",), "count/s", "rate without the background"),
        _V("bin_rate_err", ("bin",), "count/s", "its error, the systematic part included"),
        _V("bin_model", ("bin",), "count/s", "rate of the folded model"),
        _V("curve_energy", ("curve_energy",), "keV", "energy of the model curve", coord=True),
        _V(
            "curve",
            ("[time]", "[spectrum]", "curve_energy"),
            "ph cm**-2 s**-1 keV**-1",
            "photon spectrum of the model",
        ),
        _V(
            "curve_err",
            ("[time]", "[spectrum]", "curve_energy"),
            "ph cm**-2 s**-1 keV**-1",
            "its 1-sigma error",
        ),
    ),
    marks=({"value": ("parameter",)},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("model", "expression of the model"),
        _A("fit_statistic", "name of the statistic, of every spectrum"),
        _A("delta", "rise of the statistic at the ends of the intervals", (int, float)),
        _A("message", "what was wrong with the fit; empty if nothing"),
    ),
)

_TRIGGER = ("trigger",)

TRIGGERS = Kind(
    "triggers",
    "excesses of count rates over the background",
    (
        _V("start", _TRIGGER, "s", "start of the foreground (MET, included)", required=True),
        _V("stop", _TRIGGER, "s", "end of the foreground (MET, excluded)", required=True),
        _V("timescale", _TRIGGER, "s", "length of the foreground"),
        _V("energy_low", _TRIGGER, "keV", "lower edge of the band"),
        _V("energy_high", _TRIGGER, "keV", "upper edge of the band"),
        _V("counts", _TRIGGER, "count", "counts in the foreground", "real"),
        _V("background", _TRIGGER, "count", "background expected there"),
        _V("background_err", _TRIGGER, "count", "1-sigma error of background"),
        _V("snr", _TRIGGER, "1", "significance", required=True),
        _V("false_alarm_probability", _TRIGGER, "1", "that noise makes one as significant in the curve"),
        _V("false_alarms_per_day", _TRIGGER, "1/d", "false triggers as significant in a day"),
        _V("event_start", _TRIGGER, "s", "start of the first overlapping foreground (MET)"),
        _V("event_stop", _TRIGGER, "s", "end of the last overlapping foreground (MET)"),
        _V("n_foregrounds", _TRIGGER, "1", "number of overlapping foregrounds", "integer"),
        _V("noise_factor", ("stretch", "scale", "band"), "1", "width of the noise over that of counts"),
        _V("stretch_start", ("stretch",), "s", "starts of the stretches without gaps (MET)"),
        _V("stretch_stop", ("stretch",), "s", "ends of the stretches without gaps (MET)"),
        _V("scale_length", ("scale",), "s", "timescales searched"),
        _V("band_low", ("band",), "keV", "lower edges of the bands searched"),
        _V("band_high", ("band",), "keV", "upper edges of the bands searched"),
    ),
    marks=({"start": _TRIGGER, "snr": _TRIGGER},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("threshold", "significance above which triggers are listed", float),
        _A("searched", "exposure searched (s)", float),
        _A("trials", "number of foregrounds", float),
    ),
)

_PER_LIMIT = ("[pcode]", "[time]", "[template]")

LIMIT = Kind(
    "limit",
    "upper limits of a flux",
    (
        *_axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
        _V("template", ("template",), None, "shape of the source", "any", coord=True),
        _V("pcode", ("pcode",), "1", "coded fraction", coord=True),
        _V("flux_limit", _PER_LIMIT, "erg cm**-2 s**-1", "upper limit of the energy flux", required=True),
        _V("photon_flux_limit", _PER_LIMIT, "ph cm**-2 s**-1", "upper limit of the photon flux"),
        _V("rate_limit", _PER_LIMIT, "count/s", "upper limit of the rate in the channels used"),
        _V("flux", _PER_LIMIT, "erg cm**-2 s**-1", "likeliest energy flux of the shape"),
        _V("flux_err", _PER_LIMIT, "erg cm**-2 s**-1", "its 1-sigma error, upwards"),
        _V("snr", _PER_LIMIT, "1", "significance of the shape"),
    ),
    marks=({"flux_limit": ()},),
    attributes=(
        *COMMON_ATTRIBUTES,
        _A("sigma", "confidence as that of a Gaussian, one-sided", (int, float)),
        _A("method", "kind of limit"),
        _A("emin", "lower end of the band of the flux (keV)", (int, float)),
        _A("emax", "upper end of the band of the flux (keV)", (int, float)),
    ),
)

IMAGE = Kind(
    "image",
    "any other FITS image",
    (_V("wcs", (), None, "FITS WCS cards of the image", "any", coord=True),),
    marks=({"image": ("y", "x")}, {"image": ("axis0",)}),
    attributes=COMMON_ATTRIBUTES,
)

HOUSEKEEPING = Kind(
    "housekeeping",
    "any archive time series without a kind of its own",
    (_V("time", ("time",), "s", "time (MET)", coord=True, required=True, fits="TIME"),),
    marks=({"time": ("time",)},),
    attributes=COMMON_ATTRIBUTES,
)

TABLE = Kind(
    "table",
    "any other FITS table",
    (),
    marks=(),
    attributes=COMMON_ATTRIBUTES,
)

#: every kind by name, in the order in which structure is tried (the more specific first)
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        EVENTS,
        GTI,
        ATTITUDE,
        RAY_TRACE,
        ALIGNMENT,
        APERTURE,
        DETECTOR_MASK,
        DETECTOR_PLANE,
        DETECTOR_TABLE,
        GLITCHES,
        LIGHTCURVE,
        SPECTRUM,
        PERIODOGRAM,
        PULSE_PROFILE,
        RESPONSE,
        SKY_IMAGE,
        MOSAIC,
        MOSAIC_IMAGE,
        CATALOG,
        FIT,
        LIMIT,
        TRIGGERS,
        IMAGE,
        HOUSEKEEPING,
        TABLE,
    )
}
