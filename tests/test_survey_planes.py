"""Detector image and mask of a survey snapshot: which histograms, which detectors; against batsurvey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import BatxError, EmptySelectionError, GtiError, KindError, ValueRangeError
from batx.schema import build
from batx.survey_spectra import SURVEY_EDGES

START, LENGTH = 6e8, 300.0
PLANE = ("dety", "detx")


@pytest.fixture(scope="module")
def histograms() -> xr.Dataset:
    """Four histograms in two bands; the second is flagged, the third is shorter."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(60, (4, 2, 173, 286)).astype(np.float32)
    start = START + LENGTH * np.arange(4)
    exposure = np.array([300.0, 300.0, 100.0, 300.0])
    return build(
        "detector_plane",
        {
            "counts": (("time", "energy", *PLANE), counts, {"units": "count"}),
            "exposure": (("time",), exposure),
            "data_flags": (("time",), np.array([0, 2, 0, 0])),
            "time": start + exposure / 2,
            "time_bnds": np.stack([start, start + exposure], 1),
            "energy": [17.0, 22.0],
            "energy_bnds": [[14.0, 20.0], [20.0, 24.0]],
            "quality": (PLANE, np.zeros((173, 286), np.uint8), {"units": "1"}),
        },
        {"telescope": "SWIFT", "instrument": "BAT", "obs_id": "00099999001"},
    )


def test_sums_of_counts_and_of_exposures(histograms):
    plane = batx.survey_plane(histograms, (START, START + 1200.0))
    counts = histograms["counts"].values
    expected = (counts[0].astype(float) + counts[2] + counts[3]) / 700.0
    np.testing.assert_array_equal(plane["rate"], expected.astype(np.float32))
    assert float(plane["exposure"]) == 700.0 and plane.attrs["n_histograms"] == 3
    np.testing.assert_array_equal(plane["gti_start"], START + np.array([0.0, 600.0, 900.0]))
    np.testing.assert_array_equal(plane["time_bnds"], [START, START + 1200.0])
    xr.testing.assert_identical(histograms.bat.survey_plane((START, START + 1200.0)), plane)
    flagged = batx.survey_plane(histograms, (START, START + 1200.0), flags=False)
    assert float(flagged["exposure"]) == 1000.0


def test_bands_must_be_the_same(histograms):
    """As many bands, but others: their sum would mean nothing."""
    other = histograms.assign_coords(energy_bnds=(("energy", "bnds"), [[14.0, 24.0], [24.0, 35.0]]))
    for plane in (other, histograms.isel(energy=[0])):
        with pytest.raises(ValueRangeError, match="expected the same bands"):
            batx.survey_plane([histograms, plane], (START, START + 1200.0))


def test_a_histogram_that_is_there_twice(histograms):
    with pytest.raises(ValueRangeError, match=r"of the same time, 600000000\.000 to 600000300\.000 s"):
        batx.survey_plane([histograms, histograms.isel(time=[0])], (START, START + 1200.0))


@pytest.mark.parametrize(
    ("gti", "options", "rows"),
    [
        ([(30.0, 1200.0)], {}, [0, 2, 3]),  # 30 s outside of 300: 0.9
        ([(36.0, 1200.0)], {}, [2, 3]),  # more than 35 s outside
        ([(36.0, 1200.0)], {"min_overlap": 0.75, "max_outside": 40.0}, [0, 2, 3]),
        ([(616.0, 1200.0)], {}, [3]),  # 0.84 of 100 s
        ([(614.0, 1200.0)], {}, [2, 3]),
        ([(0.0, 140.0), (150.0, 280.0)], {}, [0]),  # 30 s outside, in two parts
        ([(0.0, 140.0), (140.0, 300.0), (100.0, 200.0)], {}, [0]),  # overlapping intervals count once
    ],
)
def test_which_histograms_are_taken(histograms, gti, options, rows):
    plane = batx.survey_plane(histograms, np.array(gti) + START, **options)
    np.testing.assert_array_equal(plane["gti_start"], START + LENGTH * np.array(rows))


def test_bad_detectors_of_every_sort(histograms):
    plane = batx.survey_plane(histograms, (START, START + 1200.0))
    rate, quality = plane["rate"].values.copy(), np.zeros((173, 286), np.uint8)
    rate[1, 0, 0] = 5.0  # hot in the second band
    rate[0, 1, 0] = 0.01  # cold in the first band
    rate[:, 2, 0] = 0.0  # dead: found as cold
    rate[1, 7, 0] = np.nan
    quality[3, 0], quality[4, 0] = 1, 8
    enabled, known = np.ones((173, 286), bool), np.ones((173, 286), bool)
    enabled[5, 0], known[6, 0] = False, False
    plane = plane.assign(rate=plane["rate"].copy(data=rate), quality=plane["quality"].copy(data=quality))
    mask = batx.survey_mask(plane, enabled, build("detector_mask", {"good": known}))
    usual = batx.survey_mask(batx.survey_plane(histograms, (START, START + 1200.0)))["good"].values
    lost = usual & ~mask["good"].values
    assert sorted(map(tuple, np.argwhere(lost).tolist())) == [(row, 0) for row in range(8)]
    assert mask.attrs["n_good"] == mask["good"].values.sum() and mask.attrs["n_hot"] >= 1


def test_dead_detectors_of_a_short_image(histograms):
    """Where few counts are expected none is found cold; those without any are bad."""
    rate = np.full((2, 173, 286), 0.02, np.float32)
    rate[:, 4, 6] = 0.0
    plane = batx.survey_plane(histograms, (START, START + 1200.0)).assign(rate=(("energy", *PLANE), rate))
    mask = batx.survey_mask(plane)
    assert mask.attrs["n_dead"] == 1 and not mask["good"].values[4, 6] and mask.attrs["n_good"] == 32767


def test_a_detector_at_the_limit_is_good():
    """Counts are those of the rate, not of its rounding: 20 counts are not above a limit of 20."""
    counts = np.random.default_rng(3).poisson(7.0, (1, 173, 286)).clip(max=13).astype(float)
    counts[0, 0, :2], counts[0, 1, 0] = 20.0, 21.0
    for seconds in (299.8, 299.799999952316, 7.3):
        rate = (counts / seconds).astype(np.float32)
        axes = {"exposure": ((), seconds), "energy": [20.0], "energy_bnds": [[14.0, 26.0]]}
        plane = build("detector_plane", {"rate": (("energy", *PLANE), rate), **axes})
        made = batx.hot_pixels(plane)
        assert made.attrs["highest_counts"] == 20.0
        assert made["good"].values[0, :2].all() and not made["good"].values[1, 0]


@pytest.mark.parametrize(
    ("error", "words", "gti", "options"),
    [
        (EmptySelectionError, "no histogram that lies in the good time", [(0.0, 10.0)], {}),
        (EmptySelectionError, "good time is empty", np.empty((0, 2)), {}),
        (GtiError, "end before they start", [(START, 0.0)], {}),
        (ValueRangeError, "min_overlap", [(0.0, 10.0)], {"min_overlap": 0}),
    ],
)
def test_what_is_wrong_with_an_image(histograms, error: type[BatxError], words: str, gti: Any, options: dict):
    with pytest.raises(error, match=words):
        batx.survey_plane(histograms, gti, **options)


def test_what_is_wrong_with_a_mask(histograms):
    plane = batx.survey_plane(histograms, (START, START + 1200.0))
    with pytest.raises(ValueRangeError, match="one image for each"):
        batx.survey_mask(histograms)
    with pytest.raises(KindError, match="detector_plane"):
        batx.survey_mask(build("gti", {"start": [0.0], "stop": [1.0]}))
    with pytest.raises(ValueRangeError, match="true where the detector is good"):
        batx.survey_mask(plane, np.ones((3, 3)))
    with pytest.raises(EmptySelectionError, match="no detector is good"):
        batx.survey_mask(plane, np.zeros((173, 286), bool))


def test_the_snapshot_of_the_tool(shared: Path):
    inputs = shared / "reference/survey/survey_obs"
    golden = shared / "reference/survey/batsurvey/golden/point_20200061040"
    tree = batx.open_observation(inputs / "00099999001")
    names = {"pulser": "pulser", "flight_pulser": "fltpulser", "residual": "resid"}
    files = {name: inputs / f"ecal/{file}.fits.gz" for name, file in names.items()}
    bands = batx.calibrate_histogram(tree, **files)
    known = batx.open_dataset(inputs / "globalgti.fits")
    good = batx.survey_gti(tree, bands, global_gti=known)
    master = batx.open_dataset(golden.parent / "gti/master.gti")
    np.testing.assert_array_equal([good["start"], good["stop"]], [master["start"], master["stop"]])
    plane = batx.survey_plane(bands, good)
    tool = batx.open_dataset(f"{golden}_1.dpi.gz").isel(time=0)
    single = batx.calibrate_histogram(tree, energy=[0, *SURVEY_EDGES], compat="heasoft", **files)
    same = batx.survey_plane(single.isel(energy=slice(1, None)), good)
    np.testing.assert_allclose(same["rate"], tool["rate"], rtol=0, atol=1.2e-7)
    # the tool's energies are in single precision
    np.testing.assert_allclose(plane["rate"], tool["rate"], rtol=0, atol=4e-6)
    assert float(plane["exposure"]) == pytest.approx(float(tool["exposure"]), abs=1e-6)
    enabled, bad = tree["detector_mask"].to_dataset(), batx.open_dataset(inputs / "badpix.fits")
    mask = batx.survey_mask(plane, enabled, bad)
    tool_mask = batx.open_dataset(f"{golden}.detmask.gz")
    np.testing.assert_array_equal(mask["good"], tool_mask["good"])
    # each histogram apart: the last one lies in good time for 60 s only
    parts = batx.survey_gti(tree, bands, global_gti=known, each="histogram")
    taken = [batx.survey_plane(bands, parts.isel(gti=[row])).attrs["n_histograms"] for row in range(3)]
    assert taken == [1, 1, 1] and parts.sizes["gti"] == 4
    with pytest.raises(EmptySelectionError):
        batx.survey_plane(bands, parts.isel(gti=[3]), min_overlap=0.75, max_outside=40.0)
