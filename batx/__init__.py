"""Swift/BAT gamma-ray data as labelled, lazy arrays.

Importing batx registers the ``.bat`` accessor and nothing else: every function below is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from batx.accessors import register_accessors

__version__ = "0.1.0"

#: public name -> the module that defines it
_PUBLIC = {
    "open_dataset": "batx.io.open",
    "open_datatree": "batx.io.open",
    "open_observation": "batx.io.observation",
    "event_files": "batx.io.listing",
    "fetch": "batx.archive.plans",
    "scaled_map": "batx.io.scaled_maps",
    "to_fits": "batx.io.write",
    "to_region": "batx.io.write_region",
    "to_script": "batx.io.write_fit",
    "to_netcdf": "batx.io.store",
    "to_zarr": "batx.io.store",
    "from_pandas": "batx.interop.pandas",
    "to_pandas": "batx.interop.pandas",
    "from_stingray": "batx.interop.stingray",
    "to_stingray": "batx.interop.stingray",
    "join_events": "batx.events",
    "calibrate_energy": "batx.energy_scales",
    "mask_weight": "batx.weights",
    "mask_weight_image": "batx.weights",
    "ray_trace": "batx.weights",
    "pointing": "batx.attitudes",
    "field_position": "batx.attitudes",
    "gti_of_slews": "batx.attitudes",
    "visibility": "batx.visibilities",
    "visibility_gti": "batx.visibilities",
    "occultation": "batx.occultations",
    "lightcurve": "batx.lightcurves",
    "join_lightcurves": "batx.lightcurves",
    "count_image": "batx.count_images",
    "in_region": "batx.count_images",
    "region_lightcurve": "batx.region_curves",
    "flare_gti": "batx.flares",
    "write_links": "batx.io.write_links",
    "plot_epochs": "batx.plots.epochs",
    "plot_rates": "batx.plots.epochs",
    "plot_survey": "batx.plots.survey",
    "plot_selection": "batx.plots.epochs",
    "response": "batx.detector_responses",
    "spectrum": "batx.spectra",
    "to_spectrum": "batx.band_spectra",
    "group": "batx.channel_groups",
    "channel_bins": "batx.channel_groups",
    "add_systematics": "batx.spectrum_errors",
    "add_position": "batx.spectrum_errors",
    "detector_plane": "batx.detector_planes",
    "clean": "batx.cleaning",
    "balance": "batx.cleaning",
    "sky_image": "batx.sky_images",
    "hot_pixels": "batx.detector_masks",
    "combine_masks": "batx.detector_masks",
    "exposure": "batx.intervals",
    "gti_complement": "batx.intervals",
    "gti_from_housekeeping": "batx.intervals",
    "gti_gaps": "batx.intervals",
    "gti_intersection": "batx.intervals",
    "gti_of": "batx.intervals",
    "gti_pad": "batx.intervals",
    "gti_union": "batx.intervals",
    "detect": "batx.sources",
    "photometry": "batx.sources",
    "at": "batx.sources",
    "combine_spectra": "batx.spectrum_sums",
    "spectrum_table": "batx.spectrum_sums",
    "fit_series": "batx.resolved_fits",
    "peak_energy": "batx.resolved_fits",
    "upper_limit": "batx.limits",
    "significance": "batx.limits",
    "sensitivity": "batx.limits",
    "background_maps": "batx.sources",
    "match": "batx.source_matching",
    "background": "batx.backgrounds",
    "subtract_background": "batx.backgrounds",
    "ramps": "batx.backgrounds",
    "rate_trigger": "batx.triggers",
    "rebin_time": "batx.rebinning",
    "rebin_energy": "batx.rebinning",
    "bayesian_blocks": "batx.timing",
    "duration": "batx.durations",
    "duration_gti": "batx.durations",
    "fluence_fraction": "batx.durations",
    "z_search": "batx.periods",
    "epoch_folding": "batx.periods",
    "power_spectrum": "batx.power_spectra",
    "barycenter": "batx.barycentring",
    "pulse_frequency": "batx.pulsars",
    "pulse_profile": "batx.pulsars",
    "fit_pulses": "batx.pulse_fits",
    "hardness": "batx.hardness_ratios",
    "lag": "batx.lags",
    "variability": "batx.variabilities",
    "glitches": "batx.glitch_search",
    "glitch_score": "batx.glitch_scores",
    "glitch_catalog": "batx.glitch_catalogs",
    "to_healpix": "batx.healpix",
    "mosaic": "batx.mosaics",
    "merge": "batx.mosaic_sums",
    "finalize": "batx.mosaic_sums",
    "slew_mosaic": "batx.slews",
    "pointing_cuts": "batx.pointings",
    "open_survey": "batx.survey_folders",
    "survey_images": "batx.survey_folders",
    "survey_table": "batx.survey_tables",
    "survey_gti": "batx.survey_times",
    "calibrate_histogram": "batx.survey_energies",
    "survey_pointing": "batx.survey_pointings",
    "survey_observation": "batx.survey_observations",
    "survey_plane": "batx.survey_planes",
    "survey_mask": "batx.survey_planes",
    "steady_attitude": "batx.steady_attitudes",
    "steady_gti": "batx.steady_attitudes",
    "mosaic_rates": "batx.mosaic_sources",
    "survey_catalog": "batx.survey_catalogs",
    "survey_rates": "batx.survey_merging",
    "average_times": "batx.time_averages",
    "survey_spectrum": "batx.survey_spectra",
    "survey_response": "batx.survey_spectra",
    "candidates": "batx.searching",
    "credible_region": "batx.searching",
    "probability_map": "batx.searching",
    "to_moc": "batx.searching",
    "fit": "batx.fitting",
    "fit_contour": "batx.fit_studies",
    "fit_goodness": "batx.fit_studies",
    "fit_samples": "batx.fit_studies",
    "compare_models": "batx.fit_studies",
    "fit_table": "batx.fit_tables",
    "spectral_model": "batx.spectral_models",
    "plot": "batx.plots.dispatch",
    "plot_duration": "batx.plots.duration",
    "plot_contour": "batx.plots.fit",
    "plot_fit_series": "batx.plots.fit",
    "plot_triggers": "batx.plots.triggers",
    "plot_hardness": "batx.plots.hardness",
    "plot_lag": "batx.plots.lag",
    "plot_pulses": "batx.plots.pulses",
    "check": "batx.schema",
    "validate": "batx.schema",
    "build": "batx.schema",
    "identify": "batx.schema",
    "BatxError": "batx.errors",
    "BatxWarning": "batx.errors",
}
_MODULES = (
    "archive",
    "caldb",
    "errors",
    "heasoft",
    "intervals",
    "met",
    "pile_up",
    "pipelines",
    "regions",
    "schema",
    "simulate",
    "units",
    "xspec",
)

__all__ = ["__version__", *_PUBLIC, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
    elif name in _MODULES:
        value = import_module(f"batx.{name}")
    else:
        raise AttributeError(f"module 'batx' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


register_accessors()
