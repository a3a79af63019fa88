"""What is counted against time and energy, and what is fitted to it: light curves, spectra, results."""

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

__all__ = ["FIT", "LIGHTCURVE", "LIMIT", "PERIODOGRAM", "PULSE_PROFILE", "RESPONSE", "SPECTRUM", "TRIGGERS"]

_V = Variable
_A = Attribute

LIGHTCURVE = Kind(
    "lightcurve",
    "counts or rates against time, in bands",
    (
        *axis("time", "s", "time of the bin (MET)"),
        *axis("energy", "keV", "energy of the band"),
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
        *axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
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
        *axis("energy", "keV", "energy of the band", required=False, optional=True),
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
        *axis("phase", "1", "phase, from 0 to 1"),
        *axis("energy", "keV", "energy of the band"),
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
        *axis("time", "s", "time of the response (MET)", required=False, optional=True),
        *axis("energy_in", "keV", "incident energy"),
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

_PER_FLUX = ("[time]", "[spectrum]", "[band]")

FIT = Kind(
    "fit",
    "result of a spectral fit",
    (
        *axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
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
        *axis("time", "s", "time of the spectrum (MET)", required=False, optional=True),
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
