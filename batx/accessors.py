"""The ``.bat`` namespace on xarray objects: a verb is the function of its name with the object put first.

An accessor holds nothing but the object; what it offers is computed on call. A verb is looked up in its
module when it is used, so its signature and help are those of the function itself.
"""

from __future__ import annotations

from importlib import import_module
from types import MethodType
from typing import Any

import xarray as xr

__all__ = ["BatDataset", "BatTree", "register_accessors"]


class _Verb:
    """A method that is the function ``module:name`` bound to the object of the accessor."""

    def __init__(self, target: str) -> None:
        self.module, _, self.function = target.partition(":")

    def __get__(self, accessor: Any, owner: type) -> Any:
        function = getattr(import_module(self.module), self.function)
        return function if accessor is None else MethodType(function, accessor._obj)


class BatDataset:
    """BAT verbs of a Dataset; ``ds.bat.kind`` says which of them apply."""

    def __init__(self, obj: xr.Dataset) -> None:
        self._obj = obj

    @property
    def kind(self) -> str | None:
        """Name of the kind of data, from its structure; `None` if it is no kind that batx knows."""
        from batx.schema import identify

        return identify(self._obj)

    check = _Verb("batx.schema:check")
    validate = _Verb("batx.schema:validate")
    calibrate_energy = _Verb("batx.energy_scales:calibrate_energy")
    mask_weight = _Verb("batx.weights:mask_weight")
    mask_weight_image = _Verb("batx.weights:mask_weight_image")
    ray_trace = _Verb("batx.weights:ray_trace")
    pointing = _Verb("batx.attitudes:pointing")
    field_position = _Verb("batx.attitudes:field_position")
    lightcurve = _Verb("batx.lightcurves:lightcurve")
    spectrum = _Verb("batx.spectra:spectrum")
    count_image = _Verb("batx.count_images:count_image")
    in_region = _Verb("batx.count_images:in_region")
    region_lightcurve = _Verb("batx.region_curves:region_lightcurve")
    flare_gti = _Verb("batx.flares:flare_gti")
    response = _Verb("batx.detector_responses:response")
    to_spectrum = _Verb("batx.band_spectra:to_spectrum")
    group = _Verb("batx.channel_groups:group")
    channel_bins = _Verb("batx.channel_groups:channel_bins")
    add_systematics = _Verb("batx.spectrum_errors:add_systematics")
    add_position = _Verb("batx.spectrum_errors:add_position")
    detector_plane = _Verb("batx.detector_planes:detector_plane")
    clean = _Verb("batx.cleaning:clean")
    balance = _Verb("batx.cleaning:balance")
    sky_image = _Verb("batx.sky_images:sky_image")
    hot_pixels = _Verb("batx.detector_masks:hot_pixels")
    occultation = _Verb("batx.occultations:occultation")
    detect = _Verb("batx.sources:detect")
    photometry = _Verb("batx.sources:photometry")
    at = _Verb("batx.sources:at")
    fit_series = _Verb("batx.resolved_fits:fit_series")
    upper_limit = _Verb("batx.limits:upper_limit")
    significance = _Verb("batx.limits:significance")
    sensitivity = _Verb("batx.limits:sensitivity")
    background_maps = _Verb("batx.sources:background_maps")
    match = _Verb("batx.source_matching:match")
    rebin_time = _Verb("batx.rebinning:rebin_time")
    rebin_energy = _Verb("batx.rebinning:rebin_energy")
    background = _Verb("batx.backgrounds:background")
    subtract_background = _Verb("batx.backgrounds:subtract_background")
    ramps = _Verb("batx.backgrounds:ramps")
    rate_trigger = _Verb("batx.triggers:rate_trigger")
    bayesian_blocks = _Verb("batx.timing:bayesian_blocks")
    duration = _Verb("batx.durations:duration")
    fluence_fraction = _Verb("batx.durations:fluence_fraction")
    z_search = _Verb("batx.periods:z_search")
    epoch_folding = _Verb("batx.periods:epoch_folding")
    power_spectrum = _Verb("batx.power_spectra:power_spectrum")
    barycenter = _Verb("batx.barycentring:barycenter")
    pulse_frequency = _Verb("batx.pulsars:pulse_frequency")
    pulse_profile = _Verb("batx.pulsars:pulse_profile")
    fit_pulses = _Verb("batx.pulse_fits:fit_pulses")
    hardness = _Verb("batx.hardness_ratios:hardness")
    lag = _Verb("batx.lags:lag")
    variability = _Verb("batx.variabilities:variability")
    glitches = _Verb("batx.glitch_search:glitches")
    glitch_score = _Verb("batx.glitch_scores:glitch_score")
    exposure = _Verb("batx.intervals:exposure")
    gti_of = _Verb("batx.intervals:gti_of")
    gti_of_slews = _Verb("batx.attitudes:gti_of_slews")
    gti_from_housekeeping = _Verb("batx.intervals:gti_from_housekeeping")
    union = _Verb("batx.intervals:gti_union")
    intersection = _Verb("batx.intervals:gti_intersection")
    complement = _Verb("batx.intervals:gti_complement")
    gaps = _Verb("batx.intervals:gti_gaps")
    pad = _Verb("batx.intervals:gti_pad")
    to_healpix = _Verb("batx.healpix:to_healpix")
    merge = _Verb("batx.mosaic_sums:merge")
    finalize = _Verb("batx.mosaic_sums:finalize")
    candidates = _Verb("batx.searching:candidates")
    probability_map = _Verb("batx.searching:probability_map")
    credible_region = _Verb("batx.searching:credible_region")
    to_moc = _Verb("batx.searching:to_moc")
    slew_mosaic = _Verb("batx.slews:slew_mosaic")
    average_times = _Verb("batx.time_averages:average_times")
    mosaic_rates = _Verb("batx.mosaic_sources:mosaic_rates")
    calibrate_histogram = _Verb("batx.survey_energies:calibrate_histogram")
    survey_plane = _Verb("batx.survey_planes:survey_plane")
    survey_mask = _Verb("batx.survey_planes:survey_mask")
    steady_attitude = _Verb("batx.steady_attitudes:steady_attitude")
    steady_gti = _Verb("batx.steady_attitudes:steady_gti")
    survey_table = _Verb("batx.survey_tables:survey_table")
    survey_spectrum = _Verb("batx.survey_spectra:survey_spectrum")
    survey_response = _Verb("batx.survey_spectra:survey_response")
    fit = _Verb("batx.fitting:fit")
    fit_contour = _Verb("batx.fit_studies:fit_contour")
    fit_goodness = _Verb("batx.fit_studies:fit_goodness")
    fit_samples = _Verb("batx.fit_studies:fit_samples")
    compare_models = _Verb("batx.fit_studies:compare_models")
    fit_table = _Verb("batx.fit_tables:fit_table")
    plot = _Verb("batx.plots.dispatch:plot")
    plot_duration = _Verb("batx.plots.duration:plot_duration")
    plot_fit_series = _Verb("batx.plots.fit:plot_fit_series")
    plot_triggers = _Verb("batx.plots.triggers:plot_triggers")
    plot_hardness = _Verb("batx.plots.hardness:plot_hardness")
    plot_lag = _Verb("batx.plots.lag:plot_lag")
    plot_pulses = _Verb("batx.plots.pulses:plot_pulses")
    to_pandas = _Verb("batx.interop.pandas:to_pandas")
    to_stingray = _Verb("batx.interop.stingray:to_stingray")
    to_fits = _Verb("batx.io.write:to_fits")
    to_region = _Verb("batx.io.write_region:to_region")
    to_script = _Verb("batx.io.write_fit:to_script")
    to_netcdf = _Verb("batx.io.store:to_netcdf")
    to_zarr = _Verb("batx.io.store:to_zarr")


class BatTree:
    """BAT verbs of a DataTree, such as an observation."""

    def __init__(self, obj: xr.DataTree) -> None:
        self._obj = obj

    check = _Verb("batx.schema:check")
    validate = _Verb("batx.schema:validate")
    calibrate_energy = _Verb("batx.energy_scales:calibrate_energy")
    calibrate_histogram = _Verb("batx.survey_energies:calibrate_histogram")
    survey_gti = _Verb("batx.survey_times:survey_gti")
    mask_weight = _Verb("batx.weights:mask_weight")
    ray_trace = _Verb("batx.weights:ray_trace")
    merge = _Verb("batx.mosaic_sums:merge")
    finalize = _Verb("batx.mosaic_sums:finalize")
    to_fits = _Verb("batx.io.write:to_fits")
    to_netcdf = _Verb("batx.io.store:to_netcdf")
    to_zarr = _Verb("batx.io.store:to_zarr")


def register_accessors() -> None:
    """Put ``.bat`` on Dataset and DataTree; done once, when batx is imported."""
    xr.register_dataset_accessor("bat")(BatDataset)
    xr.register_datatree_accessor("bat")(BatTree)
