"""Good time of survey histograms against batsurvey-gti; which filter does what; errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from stand_ins import add_tool, make_headas

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
from batx.provenance import calibration_of
from batx.schema import build

REFERENCE = Path(__file__).parent / "reference"
START, LENGTH = 6e8, 299.8
PARAMETERS = """indir,f,a,"",,,"Input directory"
dphfiles,f,a,"",,,"Histograms"
outdir,f,a,"",,,"Output directory"
sepdph,b,h,no,,,"Each histogram apart"
detthresh,i,h,22000,0,,"Number of detectors"
elimits,s,h,"14-195",,,"Band of the rate"
saofiltexpr,s,h,"ELV > 30.0",,,"Filter"
"""
#: our names of the filters, and those of the tool's files
FILES = {
    "flags": "dataflags",
    "global": "global",
    "pointing": "ten_arcmin",
    "detectors": "array_on",
    "tracker": "startracker_locked",
    "tracker_loss": "startracker_lossfcn",
    "rate": "low_rate",
    "elevation": "earthconstraints",
}
MODES = [("snapshot", "gti"), ("histogram", "gti_sep")]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Housekeeping of the simulated observation, and what the tool made of it."""
    with np.load(REFERENCE / "gti.npz") as made, np.load(REFERENCE / "survey.npz") as others:
        return dict(made) | {name: others[name] for name in ("total_counts", "total_rate")}


def histogram(row: int, counts: int, **changes: float) -> xr.Dataset:
    """A histogram with all counts in one detector, in a channel of 20 keV."""
    start = START + 300.0 * row + changes.get("shift", 0.0)
    values = np.zeros((1, 2, 173, 286), np.int32)
    values[0, 0, 0, 0] = counts
    values[0, 1, 0, 0] = 10**8  # in a channel that is out of the band
    return build(
        "detector_plane",
        {
            "counts": (("time", "energy", "dety", "detx"), values, {"units": "count"}),
            "exposure": (("time",), [LENGTH]),
            "data_flags": (("time",), [int(changes.get("flags", 0))]),
            "time": [start + LENGTH / 2],
            "time_bnds": [[start, start + LENGTH]],
            "energy": [20.0, 250.0],
            "energy_bnds": [[14.0, 26.0], [195.0, 300.0]],
        },
        {"telescope": "SWIFT", "instrument": "BAT", "obs_id": "00099999001"},
    )


def table(time: np.ndarray, **columns: np.ndarray) -> xr.Dataset:
    return build("housekeeping", {"time": time, **{k: (("time",), v) for k, v in columns.items()}})


@pytest.fixture
def observation(arrays: dict[str, np.ndarray]) -> xr.DataTree:
    """The observation as it is in the reference folder, without what good time does not need."""
    still = np.tile([0.0, 0.0, 0.0, 1.0], (arrays["ten_arcmin_time"].size, 1))
    flag = {"ten_arcmin": (("time",), arrays["ten_arcmin_value"][:, 0].astype(bool))}
    nodes = {
        "attitude": build("attitude", {"time": arrays["ten_arcmin_time"], "quaternion": still, **flag}),
        "housekeeping/ben": table(arrays["array_on_time"], bdihkngooddets=arrays["array_on_value"]),
        "housekeeping/sao": table(arrays["earthconstraints_time"], elv=arrays["earthconstraints_value"]),
        "housekeeping/sen/hk011x001": table(
            arrays["startracker_locked_time"],
            sac_modestat=arrays["startracker_locked_value"],
            sac_aderr=arrays["startracker_aderr"],
        ),
        "housekeeping/sen/hk014x001": table(
            arrays["startracker_lossfcn_time"], stast_lossfcn=arrays["startracker_lossfcn_value"]
        ),
    }
    nodes |= {f"survey/{row}": histogram(row, int(n)) for row, n in enumerate(arrays["total_counts"])}
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in nodes.items()})


@pytest.fixture
def instrument() -> xr.Dataset:
    """Global good time: the second row is of bad quality."""
    rows = {"start": [1e8, 600.1e6], "stop": [600.1e6, 9e8], "quality": (("gti",), [0, 2])}
    return build("gti", rows)


def pairs(gti: xr.Dataset) -> np.ndarray:
    return np.column_stack([gti["start"].values, gti["stop"].values])


def of_filter(gti: xr.Dataset, name: str) -> np.ndarray:
    rows = (gti["filter"] == name).values
    return np.column_stack([gti["filter_start"].values[rows], gti["filter_stop"].values[rows]])


@pytest.mark.parametrize(("each", "mode"), MODES)
def test_every_filter_and_the_result_are_those_of_the_tool(observation, instrument, arrays, each, mode):
    made = batx.survey_gti(observation, each=each, global_gti=instrument)
    for ours, theirs in FILES.items():
        np.testing.assert_array_equal(of_filter(made, ours), arrays[f"{mode}_{theirs}"], err_msg=ours)
    np.testing.assert_array_equal(pairs(made), arrays[f"{mode}_master"])
    assert made.attrs["histogram_exposure"] == pytest.approx(4 * LENGTH)
    assert batx.identify(made) == "gti"


@pytest.mark.parametrize(("each", "mode"), MODES)
def test_whole_files(shared: Path, each: str, mode: str):
    folder = shared / "reference/survey"
    tree = batx.open_observation(folder / "survey_obs/00099999001", folder / "survey_obs/aper_flux.fits")
    known = batx.open_dataset(folder / "survey_obs/globalgti.fits")
    made = batx.survey_gti(tree, each=each, global_gti=known, energy=(14, 194.9))
    for ours, theirs in FILES.items():
        expected = batx.open_dataset(folder / f"batsurvey-gti/{mode}/{theirs}.gti", hdu=1)
        np.testing.assert_array_equal(of_filter(made, ours), pairs(expected), err_msg=ours)
    np.testing.assert_array_equal(
        pairs(made), pairs(batx.open_dataset(folder / f"batsurvey-gti/{mode}/master.gti", hdu=1))
    )
    assert calibration_of(made)["good_time"]["file"] == "globalgti.fits"


def test_the_rate_is_looked_at_in_its_band(observation, instrument, arrays):
    rates = arrays["total_rate"]
    np.testing.assert_allclose(arrays["total_counts"] / LENGTH, rates, rtol=1e-9)
    limits = (rates[0], 1e5)  # the limit itself is not good
    made = batx.survey_gti(observation, global_gti=instrument, rate=limits)
    np.testing.assert_array_equal(of_filter(made, "rate")[:, 0], START + np.array([295.0, 595.0, 895.0]))
    with pytest.raises(EmptySelectionError, match="'rate' leaves no time"):
        batx.survey_gti(observation, global_gti=instrument, energy=(14, 400))


def test_histograms_stay_apart_without_the_filter_of_the_rate(observation, instrument):
    """Each is its own then too; the tool joins those that touch."""
    touching = [histogram(row, 10**6) for row in range(3)]
    for plane in touching:
        plane["exposure"] = plane["exposure"] * 0 + 300.0
    starts = START + 300.0 * np.arange(3)
    leave = "detectors,tracker,tracker_loss,pointing,elevation,global,rate"
    made = batx.survey_gti(observation, touching, each="histogram", leave_out=leave)
    np.testing.assert_array_equal(pairs(made), np.stack([starts, starts + 300.0], 1))
    joined = batx.survey_gti(
        observation, touching, each="histogram", leave_out=leave, compat="heasoft", global_gti=[(0.0, 9e8)]
    )
    np.testing.assert_array_equal(pairs(joined), [[START - 1.0, START + 901.0]])


def test_flags_and_midnight(observation, instrument):
    planes = [histogram(0, 1_500_000), histogram(1, 1_500_000, flags=4), histogram(2, 1_500_000)]
    made = batx.survey_gti(observation, planes, global_gti=instrument)
    np.testing.assert_array_equal(pairs(made), START + np.array([[15.0, 304.8], [595.0, 904.8]]))
    kept = batx.survey_gti(observation, planes, global_gti=instrument, leave_out="flags")
    np.testing.assert_array_equal(pairs(kept), START + np.array([[15.0, 904.8]]))
    # midnight of mission time within the second of three
    late = 86400.0 * np.ceil(START / 86400.0) - START - 400.0
    planes = [histogram(row, 1_500_000, shift=late) for row in range(3)]
    names = "pointing,detectors,tracker,tracker_loss,elevation,global"
    assert batx.survey_gti(observation, planes, leave_out=names).sizes["gti"] == 2
    assert batx.survey_gti(observation, planes, leave_out=f"{names},midnight").sizes["gti"] == 1


def test_good_time_of_ones_own_and_what_is_too_short(observation, instrument):
    own = [(START + 100.0, START + 200.0), (START + 204.0, START + 300.0), (START + 320.0, START + 350.0)]
    made = batx.survey_gti(observation, global_gti=instrument, gti=own)
    np.testing.assert_array_equal(pairs(made), START + np.array([[100.0, 300.0]]))
    assert batx.survey_gti(observation, global_gti=instrument, gti=own, min_duration=29.0).sizes["gti"] == 2


def test_unscaled_loss_function(observation, instrument):
    node = "housekeeping/sen/hk014x001"
    ds = observation[node].to_dataset()
    raw = ds.assign(stast_lossfcn=(("time",), np.where(np.arange(21) < 10, 200.0, 5000.0)))
    observation[node] = xr.DataTree(raw)
    made = batx.survey_gti(observation, global_gti=instrument)
    times = ds["time"].values
    np.testing.assert_array_equal(
        of_filter(made, "tracker_loss"), [[times[0] - 35, 0.5 * (times[9] + times[10]) + 35]]
    )
    assert batx.survey_gti(observation, global_gti=instrument, max_loss=1e-8).stop[-1] > made.stop[-1]
    tool = batx.survey_gti(observation, global_gti=instrument, max_loss=1e-8, compat="heasoft")
    assert tool.stop[-1] == made.stop[-1]


def test_global_good_time(observation, monkeypatch, tmp_path):
    monkeypatch.setenv("CALDB", str(tmp_path))
    with pytest.warns(BatxWarning, match="global good time"):
        made = batx.survey_gti(observation)
    assert "global" not in made["filter"].values
    assert made.identical(batx.survey_gti(observation, leave_out=["global"]))
    with pytest.warns(BatxWarning, match="global_gti="):
        batx.survey_gti(observation, leave_out=["global"], compat="heasoft")
    bad = build("gti", {"start": [0.0], "stop": [START + 400.0], "quality": (("gti",), [1])})
    kept = batx.survey_gti(observation, global_gti=bad, leave_out=["global"])
    assert (
        kept["stop"].values[-1]
        > batx.survey_gti(observation, global_gti=bad, leave_out=["global"], compat="heasoft")["stop"].values[
            -1
        ]
        == START + 400.0
    )


def test_what_is_wrong_is_said(observation, instrument):
    def refused(error: type[BatxError], words: str, tree=observation, **options) -> None:
        with pytest.raises(error, match=words):
            batx.survey_gti(tree, **{"global_gti": instrument, **options})

    refused(KindError, "expected the tree of an observation", tree=instrument)
    refused(ValueRangeError, "expected 'snapshot'", each="orbit")
    refused(ValueRangeError, "the two limits", rate=3000.0)
    refused(ValueRangeError, "the two limits", rate=(3000.0,))
    refused(ValueRangeError, "min_detectors: found 'many'", min_detectors="many")
    refused(ValueRangeError, "max_loss: found None", max_loss=None)
    refused(ValueRangeError, "names of filters", leave_out=3)
    refused(ValueRangeError, "leave_out: found 'slew'", leave_out="slew")
    refused(ValueRangeError, "the two ends of a band", energy=[14, 20, 30])
    refused(ValueRangeError, "no channel of the histograms", energy=(500, 600))
    refused(KindError, "detector_plane", histograms=[instrument])
    refused(EmptySelectionError, "'detectors' leaves no time", min_detectors=40000)
    dark = histogram(0, 1).assign(exposure=(("time",), [0.0]))
    names = ["pointing", "detectors", "tracker", "tracker_loss", "flags", "global"]
    refused(EmptySelectionError, "no histogram has any exposure", histograms=[dark], leave_out=names)
    refused(EmptySelectionError, "no good time is left after the filter 'gti'", gti=[(0.0, 10.0)])
    refused(EmptySelectionError, "none longer than", min_duration=5000)
    refused(EmptySelectionError, "no survey histogram", histograms=[])
    refused(MissingVariableError, "without exposure", histograms=[histogram(0, 1).drop_vars("exposure")])


def test_missing_housekeeping(observation, instrument):
    nodes = {node.path: node.to_dataset() for node in observation.subtree if "ben" not in node.path}
    tree = xr.DataTree.from_dict(nodes)
    with pytest.raises(MissingVariableError, match=r"bdihkngooddets.*leave_out='detectors'"):
        batx.survey_gti(tree, global_gti=instrument)
    assert batx.survey_gti(tree, global_gti=instrument, leave_out="detectors").sizes["gti"] == 1


def test_engine_of_the_tool(observation, tmp_path, monkeypatch):
    expected = build("gti", {"start": [START + 15.0], "stop": [START + 960.0]})
    batx.to_fits(expected, tmp_path / "expected.gti")
    headas = make_headas(tmp_path)
    call = f'echo "$elimits $sepdph $saofiltexpr" > {tmp_path}/call.txt\n'
    add_tool(
        headas,
        "batsurvey-gti",
        PARAMETERS,
        f"{call}mkdir -p $outdir; cp {tmp_path}/expected.gti $outdir/master.gti",
    )
    monkeypatch.setenv("HEADAS", str(headas))
    with pytest.raises(MissingFileError, match="reads files"):
        batx.survey_gti(observation, engine="heasoft")
    (tmp_path / "observation").mkdir()
    observation.encoding["source"] = str(tmp_path / "observation")
    made = batx.survey_gti(observation, min_elevation=30, each="histogram", engine="heasoft")
    np.testing.assert_array_equal(pairs(made), pairs(expected))
    assert (tmp_path / "call.txt").read_text() == "14-195 yes ELV > 30.0\n"
    assert "batsurvey-gti" in made.attrs["history"]
    with pytest.raises(ValueRangeError, match="nothing for rate"):
        batx.survey_gti(observation, rate=(0, 1), engine="heasoft")
