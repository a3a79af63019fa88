"""What the spacecraft and its detectors record: events, attitude, calibration, detector images."""

from __future__ import annotations

from batx.schema.spec import (
    COMMON_ATTRIBUTES,
    GTI_VARIABLES,
    TRACE_VARIABLES,
    Attribute,
    Kind,
    Variable,
    axis,
)

__all__ = [
    "ALIGNMENT",
    "APERTURE",
    "ATTITUDE",
    "DETECTOR_MASK",
    "DETECTOR_PLANE",
    "DETECTOR_TABLE",
    "EVENTS",
    "GLITCHES",
    "GTI",
    "RAY_TRACE",
]

_V = Variable
_A = Attribute

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
        *axis("time", "s", "time of the bin (MET)", required=False, optional=True),
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
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
        *axis("energy", "keV", "energy of the bands of sandwich", required=False),
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
