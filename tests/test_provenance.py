"""Every product says which calibration served it: a walk over all public functions."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import batx
from batx import simulate
from batx.provenance import calibration_of

T0 = 6e8
BAND = {"energy": (15, 150)}
ON_SKY = {"aperture", "alignment", "detector_mask"}
ENERGIES = {"gain_offset", "pulser", "flight_pulser", "residual"}
#: of weights of energies that were worked out
WEIGHTED = ON_SKY | ENERGIES


class World:
    """An observation and what is made of it, each once."""

    def __init__(self, folder: Path) -> None:
        burst = simulate.Source(
            3.0, ra=160.0, dec=25.0, light_curve=simulate.Fred(8.0, 1.0, 4.0), response="packaged"
        )
        self.obs = batx.open_observation(
            simulate.observation(folder, burst, simulate.Background(0.02), duration=20.0, survey=10.0)
        )
        self.made: dict[str, Any] = {}

    @property
    def halves(self) -> list[xr.Dataset]:
        whole = self.calibrate_energy
        middle = whole.sizes["event"] // 2
        return [whole.isel(event=slice(0, middle)), whole.isel(event=slice(middle, None))]

    def node(self, name: str) -> xr.Dataset:
        return self.obs[name].to_dataset()

    @property
    def sky(self) -> dict[str, xr.Dataset]:
        return {name: self.node(name) for name in ("aperture", "attitude", "alignment")}

    @property
    def orbit(self) -> xr.Dataset:
        return self.node("housekeeping/sao")

    def __getattr__(self, name: str) -> Any:
        """Return the product of a public function."""
        if name not in self.made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", batx.BatxWarning)
                self.made[name] = (CALLS | FURTHER)[name][0](self)
        return self.made[name]


def image(world: World, events: xr.Dataset | None = None) -> xr.Dataset:
    part = world.calibrate_energy if events is None else events
    plane = batx.detector_plane(
        part, energy=[15, 50, 150], tstart=float(part.time[0]), tstop=float(part.time[-1])
    )
    return plane.bat.sky_image(detector_mask=world.node("detector_mask"), **world.sky)


#: what is made, and the purposes of the files that served it
CALLS: dict[str, tuple[Callable[[World], Any], set[str]]] = {
    "calibrate_energy": (lambda w: batx.calibrate_energy(w.obs), ENERGIES),
    "join_events": (lambda w: batx.join_events(*w.halves), ENERGIES),
    "mask_weight": (
        lambda w: batx.mask_weight(
            w.calibrate_energy, 160.0, 25.0, detector_mask=w.node("detector_mask"), **w.sky
        ),
        WEIGHTED,
    ),
    "mask_weight_image": (lambda w: batx.mask_weight_image(w.obs, 160.0, 25.0, time=T0), ON_SKY),
    "ray_trace": (lambda w: batx.ray_trace(w.obs, 160.0, 25.0), ON_SKY),
    "pointing": (
        lambda w: batx.pointing(w.node("attitude"), alignment=w.node("alignment")),
        {"alignment"},
    ),
    "field_position": (
        lambda w: batx.field_position(w.node("attitude"), 160.0, 25.0, alignment=w.node("alignment")),
        {"alignment"},
    ),
    "visibility": (
        lambda w: batx.visibility(160.0, 25.0, orbit=w.orbit, **w.sky),
        {"aperture", "alignment"},
    ),
    "visibility_gti": (
        lambda w: batx.visibility_gti(160.0, 25.0, orbit=w.orbit, pcode_min=0.1, **w.sky),
        {"aperture", "alignment"},
    ),
    # light curves
    "lightcurve": (lambda w: batx.lightcurve(w.mask_weight, dt=0.5, energy=[14, 24, 50, 100]), WEIGHTED),
    "join_lightcurves": (lambda w: batx.join_lightcurves(w.lightcurve), WEIGHTED),
    "rebin_time": (lambda w: batx.rebin_time(w.lightcurve, factor=2), WEIGHTED),
    "rebin_energy": (lambda w: batx.rebin_energy(w.lightcurve, [14, 50, 100]), WEIGHTED),
    "background": (lambda w: batx.background(w.counts), ENERGIES),
    "subtract_background": (lambda w: batx.subtract_background(w.counts, w.background), ENERGIES),
    "rate_trigger": (lambda w: batx.rate_trigger(w.counts), ENERGIES),
    "bayesian_blocks": (lambda w: batx.bayesian_blocks(w.band), WEIGHTED),
    "duration": (lambda w: batx.duration(w.band), WEIGHTED),
    "duration_gti": (lambda w: batx.duration_gti(w.duration), WEIGHTED),
    "fluence_fraction": (lambda w: batx.fluence_fraction(w.band, w.duration), WEIGHTED),
    "hardness": (lambda w: batx.hardness(w.lightcurve.isel(energy=[0, 1])), WEIGHTED),
    "lag": (lambda w: batx.lag(w.lightcurve.isel(energy=[0, 1])), WEIGHTED),
    "variability": (lambda w: batx.variability(w.band), WEIGHTED),
    "power_spectrum": (lambda w: batx.power_spectrum(w.band), WEIGHTED),
    "fit_pulses": (lambda w: batx.fit_pulses(w.band), WEIGHTED),
    "z_search": (lambda w: batx.z_search(w.unweighted, np.linspace(1, 2, 5)), ENERGIES),
    "epoch_folding": (lambda w: batx.epoch_folding(w.unweighted, np.linspace(1, 2, 5)), ENERGIES),
    "pulse_profile": (lambda w: batx.pulse_profile(w.unweighted, 1.0), ENERGIES),
    "pulse_frequency": (lambda w: batx.pulse_frequency(w.unweighted, 1.0), ENERGIES),
    "average_times": (lambda w: batx.average_times(w.band, 2), WEIGHTED),
    # spectra
    "spectrum": (lambda w: batx.spectrum(w.mask_weight), WEIGHTED),
    "to_spectrum": (lambda w: batx.to_spectrum(w.lightcurve), WEIGHTED),
    "group": (lambda w: batx.group(w.spectrum, size=2), WEIGHTED),
    "add_systematics": (lambda w: batx.add_systematics(w.spectrum), {*WEIGHTED, "systematics"}),
    "combine_spectra": (
        lambda w: batx.combine_spectra([w.raw] * 2, responses=[batx.response(imx=0, imy=0)] * 2),
        {*ENERGIES, "response"},
    ),
    "response": (lambda w: batx.response(w.spectrum), {*WEIGHTED, "response"}),
    "survey_response": (lambda w: batx.survey_response(), {"response"}),
    "fit": (lambda w: batx.fit(w.add_systematics, **BAND), {*WEIGHTED, "systematics", "response"}),
    "fit_series": (lambda w: batx.fit_series(w.spectra, **BAND), {*WEIGHTED, "response"}),
    "fit_contour": (
        lambda w: batx.fit_contour(w.spectrum, "powerlaw", ("index", "norm"), size=3, **BAND),
        {*WEIGHTED, "response"},
    ),
    "fit_goodness": (
        lambda w: batx.fit_goodness(w.spectrum, "powerlaw", simulations=5, seed=1, **BAND),
        {*WEIGHTED, "response"},
    ),
    "fit_samples": (
        lambda w: batx.fit_samples(w.spectrum, "powerlaw", draws=20, burn=5, seed=1, **BAND),
        {*WEIGHTED, "response"},
    ),
    "compare_models": (
        lambda w: batx.compare_models(w.spectrum, ["powerlaw", "cutoffpl"], **BAND),
        {*WEIGHTED, "response"},
    ),
    "upper_limit": (lambda w: batx.upper_limit(w.spectrum, index=2.0, **BAND), {*WEIGHTED, "response"}),
    "significance": (lambda w: batx.significance(w.spectrum), WEIGHTED),
    "sensitivity": (
        lambda w: batx.sensitivity(w.spectrum, 0.5, index=2.0, **BAND),
        {*WEIGHTED, "response"},
    ),
    # planes, images, the sky
    "detector_plane": (lambda w: batx.detector_plane(w.calibrate_energy, energy=[15, 150]), ENERGIES),
    "hot_pixels": (lambda w: batx.hot_pixels(w.detector_plane), ENERGIES),
    "clean": (
        lambda w: batx.clean(w.detector_plane, aperture=w.node("aperture")),
        {*ENERGIES, "aperture"},
    ),
    "balance": (lambda w: batx.balance(w.detector_plane), ENERGIES),
    "sky_image": (image, WEIGHTED),
    "detect": (lambda w: batx.detect(w.sky_image), WEIGHTED),
    "photometry": (lambda w: batx.photometry(w.sky_image, 160.0, 25.0), WEIGHTED),
    "at": (lambda w: batx.at(w.sky_image, 160.0, 25.0), WEIGHTED),
    "background_maps": (lambda w: batx.background_maps(w.sky_image), WEIGHTED),
    "occultation": (lambda w: batx.occultation(w.sky_image, w.orbit), WEIGHTED),
    "match": (lambda w: batx.match(w.detect, w.detect, 0.1), WEIGHTED),
    "to_healpix": (lambda w: batx.to_healpix(w.sky_image, nside=64), WEIGHTED),
    "mosaic": (lambda w: batx.mosaic([w.sky_image], nside=64), WEIGHTED),
    "merge": (
        lambda w: batx.merge(*(batx.to_healpix(image(w, one), nside=64) for one in w.halves)),
        WEIGHTED,
    ),
    "finalize": (lambda w: batx.finalize(w.to_healpix), WEIGHTED),
    "candidates": (lambda w: batx.candidates(w.to_healpix), WEIGHTED),
    "probability_map": (lambda w: batx.probability_map(w.to_healpix), WEIGHTED),
    "mosaic_rates": (lambda w: batx.mosaic_rates(w.to_healpix, 160.0, 25.0), WEIGHTED),
    "slew_mosaic": (
        lambda w: batx.slew_mosaic(w.calibrate_energy, T0, T0 + 2, step=1.0, nside=64, **w.sky),
        {*ENERGIES, "aperture", "alignment"},
    ),
    # survey
    "calibrate_histogram": (lambda w: batx.calibrate_histogram(w.obs), ENERGIES),
    "survey_plane": (lambda w: batx.survey_plane(w.calibrate_histogram, (T0, T0 + 20)), ENERGIES),
    "survey_mask": (
        lambda w: batx.survey_mask(w.survey_plane, w.node("detector_mask")),
        {*ENERGIES, "detector_mask"},
    ),
    "steady_attitude": (
        lambda w: batx.steady_attitude(w.node("attitude"), (T0, T0 + 20), alignment=w.node("alignment")),
        {"alignment"},
    ),
    "survey_pointing": (
        lambda w: batx.survey_pointing(w.survey_plane, detector_mask=w.survey_mask, iterations=1, **w.sky),
        WEIGHTED,
    ),
    "glitches": (lambda w: batx.glitches(w.calibrate_energy, T0, T0 + 5), {*ENERGIES, "glitch_score"}),
}

#: the same functions with other arguments, and inputs of those above
FURTHER: dict[str, tuple[Callable[[World], Any], set[str]]] = {
    "band": (lambda w: batx.lightcurve(w.mask_weight, dt=0.5, energy=[15, 150]), WEIGHTED),
    "counts": (
        lambda w: batx.lightcurve(w.calibrate_energy, dt=0.5, energy=[15, 150], weighting="none"),
        ENERGIES,
    ),
    "raw": (lambda w: batx.spectrum(w.calibrate_energy, weighting="none"), ENERGIES),
    "spectra": (lambda w: batx.spectrum(w.mask_weight, time=np.array([T0 + 7, T0 + 10, T0 + 14])), WEIGHTED),
    "limit by the peer's recipe": (
        lambda w: batx.upper_limit(w.spectrum, compat="batanalysis", **BAND),
        {*WEIGHTED, "response"},
    ),
    "limit by the rate": (
        lambda w: batx.upper_limit(w.spectrum, index=2.0, method="rate", **BAND),
        {*WEIGHTED, "response"},
    ),
    "limits of many": (
        lambda w: batx.upper_limit(w.spectra, index=[1.0, 2.0], **BAND),
        {*WEIGHTED, "response"},
    ),
    "limit of a place": (lambda w: batx.upper_limit(w.sky_image, 160.0, 25.0), WEIGHTED),
    "significances of many": (lambda w: batx.significance(w.spectra), WEIGHTED),
    "unweighted": (lambda w: w.calibrate_energy.drop_vars("mask_weight"), ENERGIES),
    "fit of two": (
        lambda w: batx.fit({"a": w.spectrum, "b": w.spectra.isel(time=0)}, **BAND),
        {*WEIGHTED, "response"},
    ),
    "score of a plane": (lambda w: batx.glitch_score(w.detector_plane), {*ENERGIES, "glitch_score"}),
}

#: what makes no product: files and tables as they are, masks, times and figures of what was made elsewhere
OTHERS = {
    *("open_dataset", "open_datatree", "open_observation", "event_files", "fetch", "scaled_map"),
    *("to_fits", "to_region", "to_script", "to_netcdf", "to_zarr", "write_links"),
    *("from_pandas", "to_pandas", "from_stingray", "to_stingray"),
    *("spectrum_table", "fit_table", "survey_table", "check", "validate", "build", "identify"),
    *("BatxError", "BatxWarning", "spectral_model", "channel_bins", "in_region", "credible_region", "to_moc"),
    *("exposure", "gti_complement", "gti_from_housekeeping", "gti_gaps", "gti_intersection", "gti_of"),
    *("gti_pad", "gti_union", "gti_of_slews", "flare_gti", "combine_masks", "pointing_cuts"),
    *("plot", "plot_contour", "plot_duration", "plot_epochs", "plot_fit_series", "plot_hardness"),
    *("plot_lag", "plot_pulses", "plot_rates", "plot_selection", "plot_triggers", "plot_survey"),
    # of telescopes that are not coded, or of the folders of batsurvey, which used its own CALDB
    *("count_image", "region_lightcurve", "barycenter", "open_survey", "survey_images", "survey_catalog"),
    *("survey_rates", "survey_spectrum", "add_position"),
    # good time, and what is made of the products above
    *("survey_gti", "steady_gti", "survey_observation"),
    # numbers and functions of what is given
    *("peak_energy", "ramps"),
    # tested below under another name; what was found already, collected
    *("glitch_score", "glitch_catalog"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("observation"))


def test_no_function_is_left_out() -> None:
    assert CALLS.keys() | OTHERS == set(batx._PUBLIC)
    assert not CALLS.keys() & OTHERS


def named(attrs: Any) -> dict[str, list[str]]:
    """Which files served which purpose."""
    return {
        purpose: record.get("files") or [record.get("file", "")]
        for purpose, record in calibration_of(attrs).items()
    }


@pytest.mark.parametrize("name", CALLS | FURTHER)
def test_the_files_are_named(world: World, name: str) -> None:
    product = getattr(world, name)
    wanted = (CALLS | FURTHER)[name][1]
    parts = product.subtree if isinstance(product, xr.DataTree) else [product]
    found: dict[str, list[str]] = {}
    for part in parts:
        if isinstance(part, xr.DataTree) and not part.has_data:
            continue
        json.loads(part.attrs["provenance"])
        found |= named(dict(part.attrs))
    assert found.keys() == wanted, f"{name}: {sorted(found.keys() ^ wanted)}"
    assert all(file for files in found.values() for file in files)
    if "aperture" in wanted:
        assert found["aperture"] == ["aperture.fits"]
