"""Survey histograms on corrected energies against baterebin; what the limits of a calibration are; errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import (
    BatxError,
    BatxWarning,
    EmptySelectionError,
    KindError,
    MissingFileError,
    MissingVariableError,
    ValueRangeError,
)
from batx.heasoft import Engine, Recording, Replay
from batx.kernels import channels
from batx.schema import build

REFERENCE = Path(__file__).parent / "reference"
BANDS = [0.0, 14.0, 20.0, 24.0, 35.0, 50.0, 75.0, 100.0, 150.0, 195.0, 350.0]
PLANE = ("dety", "detx")
MAPS = ("gain_offset", "pulser", "flight_pulser", "residual")
#: the tool calculates in single precision: what that does to counts of a detector, and of all detectors
OF_ONE, OF_ALL = 3.5e-3, 2e-6


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(REFERENCE / "survey.npz") as made:
        return dict(made)


@pytest.fixture(scope="module")
def histogram(arrays: dict[str, np.ndarray]) -> xr.Dataset:
    """Two histograms with the counts of the detectors that are kept, and none elsewhere."""
    kept = arrays["channel_counts"]
    counts = np.zeros((*kept.shape[::2], 173 * 286), np.int16)
    counts[..., arrays["detector"]] = kept.transpose(0, 2, 1)
    edges = arrays["channel_edges"].astype(float).round(4)
    starts = 6e8 + 300.0 * np.arange(2)
    return build(
        "detector_plane",
        {
            "counts": (("time", "energy", *PLANE), counts.reshape(2, -1, 173, 286), {"units": "count"}),
            "exposure": (("time",), [299.8, 299.8]),
            "time": starts + 149.9,
            "time_bnds": np.stack([starts, starts + 299.8], 1),
            "energy": 0.5 * (edges[1:] + edges[:-1]),
            "energy_bnds": np.stack([edges[:-1], edges[1:]], 1),
        },
        {"telescope": "SWIFT", "instrument": "BAT", "gainmeth": "FLIGHT"},
    )


@pytest.fixture(scope="module")
def calibration(arrays: dict[str, np.ndarray]) -> dict[str, xr.Dataset]:
    """Gain map, pulsers and residuals of the detectors that are kept, null elsewhere."""
    made = {}
    for name in MAPS:
        columns = {}
        for key, values in arrays.items():
            if key.startswith(f"{name}_"):
                plane = np.full(173 * 286, np.nan, np.float32)
                plane[arrays["detector"]] = values
                columns[key.removeprefix(f"{name}_")] = (PLANE, plane.reshape(173, 286))
        attrs = (
            {"offpulse": 400, "tstart": 6e8 - 500.0} if name == "gain_offset" else {"gainmeth": "FULLCUBIC"}
        )
        made[name] = build("detector_table", columns, attrs)
    return made


def at(ds: xr.Dataset, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Counts of the kept detectors, (time, detector, band)."""
    values = ds["counts"].transpose("time", "energy", *PLANE).values
    return values.reshape(*values.shape[:2], -1)[..., arrays["detector"]].transpose(0, 2, 1)


def close(made: np.ndarray, tool: np.ndarray) -> None:
    np.testing.assert_allclose(made, tool, rtol=0, atol=OF_ONE)
    assert np.abs(made - tool).sum() < OF_ALL * tool.sum()


def test_bands_of_the_tool(histogram, calibration, arrays):
    made = batx.calibrate_histogram(histogram, energy=BANDS, compat="heasoft", **calibration)
    np.testing.assert_allclose(at(made, arrays), arrays["band_counts"], rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(made["quality"].values.ravel()[arrays["detector"]], arrays["quality"])
    assert set(np.unique(arrays["quality"])) == {0, 1, 8}
    others = np.delete(made["quality"].values.ravel(), arrays["detector"])
    assert np.all(others == channels.NO_CALIBRATION)
    assert made.attrs["gainmeth"] == "FIXEDDAC" and made.attrs["gain_offset_gap"] == -500.0


def test_the_bands_of_the_survey_need_no_band_below(histogram, calibration, arrays):
    made = batx.calibrate_histogram(histogram, **calibration)
    close(at(made, arrays), arrays["band_counts"][..., 1:-1])
    # what is below the first band is not put into it, nor what is below the threshold
    with pytest.warns(BatxWarning, match="nothing is in 195-350"):
        wide = batx.calibrate_histogram(histogram, energy=BANDS, **calibration)
    good = arrays["quality"] < channels.CHANGED
    lost = arrays["band_counts"][:, good, 0] - at(wide, arrays)[:, good, 0]
    assert np.all(lost >= arrays["channel_counts"][:, good, 0] - OF_ONE)


def test_whole_file(shared: Path):
    folder = shared / "reference/survey"
    tree = batx.open_observation(folder / "survey_obs/00099999001")
    names = {"pulser": "pulser", "flight_pulser": "fltpulser", "residual": "resid"}
    files = {name: folder / f"survey_obs/ecal/{file}.fits.gz" for name, file in names.items()}
    file = tree["survey/bsvpb000g0040"].to_dataset()
    first = batx.calibrate_histogram(file, tree["gain_offset"].to_dataset(), **files)
    tool = batx.open_dataset(folder / "baterebin/erebin.dph.gz")
    close(first["counts"].values, tool["counts"].values[:, 1:-1])
    same = batx.calibrate_histogram(
        file, tree["gain_offset"].to_dataset(), energy=BANDS, compat="heasoft", **files
    )
    np.testing.assert_allclose(same["counts"], tool["counts"], rtol=3e-7, atol=6e-5)
    quality = batx.open_dataset(folder / "baterebin/erebin.mask.gz")["quality"].values
    np.testing.assert_array_equal(first["quality"].values, quality)
    both = batx.calibrate_histogram(tree, **files)
    assert both.sizes["time"] == 4 and both.sizes["gti"] == 4
    np.testing.assert_array_equal(both["counts"].values[:2], first["counts"].values)
    np.testing.assert_array_equal(both["quality"], first["quality"])


def test_counts_are_kept(histogram, calibration, arrays):
    """Bands over all energies have all counts of the channels that have an energy."""
    with pytest.warns(BatxWarning, match="the end is missing of 30-8000"):
        made = batx.calibrate_histogram(histogram, energy=[0.0, 30.0, 8000.0], **calibration)
    good = arrays["quality"] < channels.CHANGED
    inner = arrays["channel_counts"][:, good, 1:-1].sum(axis=-1)
    assert inner.sum() > 1e4
    np.testing.assert_allclose(at(made, arrays)[:, good].sum(axis=-1), inner, rtol=1e-6)
    assert not at(made, arrays)[:, ~good].any()


def test_a_histogram_without_overflow_channel(histogram, calibration, arrays):
    """The last channel of one that was cut short is an ordinary one."""
    cut = histogram.isel(energy=slice(0, 20))
    with pytest.warns(BatxWarning, match="nothing is in 50-75 .* end is missing of 35-50"):
        made = batx.calibrate_histogram(cut, **calibration)
    whole = at(batx.calibrate_histogram(histogram, **calibration), arrays)
    np.testing.assert_allclose(at(made, arrays)[..., :3], whole[..., :3], atol=1e-5)
    assert 0 < at(made, arrays)[..., 3].sum() < whole[..., 3].sum()
    assert not at(made, arrays)[..., 4:].any()
    # that the highest energies are missing is so for all, so the tool has no good detector
    np.testing.assert_array_equal(made["quality"].values.ravel()[arrays["detector"]], arrays["quality"])
    tool = batx.calibrate_histogram(cut, energy=BANDS, compat="heasoft", **calibration)
    assert tool["quality"].values.all()


def test_histograms_of_which_the_first_channels_were_sent(histogram, calibration, arrays):
    """All 80 channels, with nothing in those after the 20th: what moved edges put above 50 keV is no band."""
    first = (histogram["energy"] < 48.9).transpose("energy")
    cut = histogram.assign(counts=histogram["counts"].where(first, 0).astype(np.int16))
    with pytest.warns(BatxWarning, match=r"from 10 to 48\.9 keV: nothing is in 50-75 75-100 100-150 150-195"):
        made = batx.calibrate_histogram(cut, **calibration)
    whole = batx.calibrate_histogram(histogram, **calibration)
    np.testing.assert_allclose(at(made, arrays)[..., :3], at(whole, arrays)[..., :3], atol=1e-5)
    assert not made["counts"].isel(energy=slice(4, None)).values.any()


def test_bands_out_of_the_channels(histogram, calibration, arrays):
    with pytest.warns(BatxWarning, match="nothing is in 1-5 300-400, the end is missing of 150-250"):
        made = batx.calibrate_histogram(histogram, energy=[(1, 5), (150, 250), (300, 400)], **calibration)
    assert not at(made, arrays)[..., [0, 2]].any() and at(made, arrays)[..., 1].any()
    with pytest.raises(ValueRangeError, match=r"from 10 to 194\.9 keV, and all bands are out of that"):
        batx.calibrate_histogram(histogram, energy=[8000, 9000], **calibration)


def limits(method: str = "fixeddac", **changes: float) -> bool:
    """Whether a detector with a usual calibration, but for some changes, counts as calibrated."""
    values = {"gain": 0.2, "offset": 3200.0, "slope": 10.0, "zero": 1.0, "flight": 10.0, "flight_zero": 1.0}
    residual = {"fixeddac": (12e3, -15.0, 1e-3, 1e-8), "cubic": (8e3, -5.0, 1e-3, 1e-8)}
    c = dict(
        zip(("offset", "gain", "gain2", "gain3"), residual.get(method, (5e3, -5.0, 1e-3, 0.0)), strict=True)
    )
    values |= {f"c_{name}": value for name, value in c.items()} | changes
    v: dict[str, Any] = {name: np.array([value]) for name, value in values.items()}
    pulsers = (v["flight"], v["flight_zero"]), (v["slope"], v["zero"])
    coefficients = {name: v[f"c_{name}"] for name in c}
    return bool(channels.in_range(method, (v["gain"], v["offset"]), pulsers, coefficients)[0])


@pytest.mark.parametrize("method", ["fixeddac", "cubic", "quadratic"])
def test_limits_of_a_calibration(method: str):
    assert limits(method)
    for change in ({"gain": 0.07}, {"gain": 0.4}, {"offset": 1400.0}, {"slope": 25.0}, {"zero": 31.0},
                   {"flight": 5.0}, {"flight_zero": -81.0}, {"c_offset": 30e3}, {"c_gain": 5.0},
                   {"c_gain2": 0.011}, {"gain": np.nan}):  # fmt: skip
        assert not limits(method, **change), change
    assert limits(method, c_gain3=1e-2) == (method == "quadratic")
    assert not limits(method, c_offset=0.0, c_gain=0.0, c_gain2=0.0)


def test_quality_of_edges():
    bits = channels.edge_quality(
        np.array([12.9, 13.1, 70.0, 12.0, np.nan]), np.array([152.0, 152.0, 194.0, 151.0, 0.0]), 10.0,
        np.array([True, True, True, True, False]),
    )  # fmt: skip
    assert bits.tolist() == [0, 1, 1 + 4, 2, 8]


def test_edges_that_meet():
    """A channel without width is all in the band where it is; negative counts are none."""
    edges = np.array([[10.0], [20.0], [20.0], [30.0]])
    counts = np.array([[[5], [7], [-3]]])
    bands = np.array([0.0, 20.0]), np.array([20.0, 40.0])
    shared = channels.share_counts(counts, edges, *bands, np.array([True]))
    assert shared[0, :, 0].tolist() == [5.0, 7.0]
    assert channels.in_order(np.array([[1.0, 1.0, np.nan], [1.0, 0.0, 2.0]])).tolist() == [True, False, False]


def test_calibration_that_fits_no_detector_is_told(histogram, calibration):
    """A gain map in other units: all detectors are out of range, and nothing would be counted in silence."""
    wrong = calibration["gain_offset"].copy()
    wrong["gain"] = 1000 * wrong["gain"]
    with pytest.warns(BatxWarning, match="no detector has a calibration"):
        made = batx.calibrate_histogram(histogram, **{**calibration, "gain_offset": wrong})
    assert made["counts"].sum() == 0
    assert set(np.unique(made["quality"])) == {channels.NO_CALIBRATION}


def test_what_is_wrong_is_said(histogram, calibration, monkeypatch, tmp_path):
    monkeypatch.setenv("CALDB", str(tmp_path))

    def refused(error: type[BatxError], words: str, plane: Any = histogram, **options: Any) -> None:
        with pytest.raises(error, match=words):
            batx.calibrate_histogram(plane, **{**calibration, **options})

    done = batx.calibrate_histogram(histogram, **calibration)
    refused(ValueRangeError, "corrected already .GAINMETH FIXEDDAC", plane=done)
    refused(ValueRangeError, "of 20 and 80 channels", plane=[histogram, histogram.isel(energy=slice(20))])
    refused(ValueRangeError, "with gaps", plane=histogram.isel(energy=[0, 1, 5]))
    rates = histogram.assign(rate=histogram["counts"] / histogram["exposure"]).drop_vars("counts")
    refused(MissingVariableError, "found rates", plane=rates.assign_attrs(histogram.attrs))
    refused(ValueRangeError, "bands without gaps", energy=[(14, 20), (24, 35)], compat="heasoft")
    refused(ValueRangeError, "expected one of linear", method="cubick")
    refused(MissingFileError, "no such file", pulser="nowhere.fits")
    refused(MissingFileError, "found no gain map", gain_offset=[])
    refused(EmptySelectionError, "no survey histogram", plane=histogram.isel(time=slice(0, 0)))
    refused(KindError, "detector_plane", plane=calibration["pulser"])
    refused(
        ValueRangeError,
        "expected time, energy",
        plane=histogram.isel(time=0, time_bnds=0, missing_dims="ignore"),
    )


def test_the_tool_as_engine(shared: Path, histogram, calibration):
    folder = shared / "reference/survey/baterebin"
    outputs = {"outfile": folder / "erebin.dph.gz", "outmap": folder / "erebin.mask.gz"}
    engine = Engine(Replay([Recording("baterebin", {}, outputs)]))
    theirs = batx.calibrate_histogram(histogram, engine=engine, **calibration)
    assert theirs["counts"].shape == (2, 8, 173, 286)
    np.testing.assert_array_equal(theirs["energy_bnds"].values[[0, -1]], [[14, 20], [150, 195]])
    assert set(np.unique(theirs["quality"])) == {0, 1, 8}
    with pytest.raises(ValueRangeError, match="needs the gain map"):
        batx.calibrate_histogram(histogram, engine=engine)
    with pytest.raises(ValueRangeError, match="one file at a time"):
        batx.calibrate_histogram([histogram, histogram], engine=engine)
