"""Survey observations processed by batx itself: the files of batsurvey, and the pipeline that takes them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import batx
from batx.errors import EmptySelectionError, KindError, ValueRangeError
from batx.pipelines import survey
from batx.pipelines.surveys import many
from batx.pipelines.surveys.native import native_settings, process_observation
from batx.schema import build
from batx.simulate import Background, Slew, Source

START = 6e8
PLACE = (155.0, 28.0)
#: what the simulation has no calibration for
WITHOUT: dict[str, Any] = dict.fromkeys(("mask_edges", "distortion", "bad_pixels"))
GOOD = build("gti", {"start": [0.0], "stop": [1e9]})
CATALOG = {"name": ["SRC A", "FAINT"], "ra": [PLACE[0], 148.0], "dec": [PLACE[1], 33.0]}


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three histograms of 60 s; during the last one the spacecraft slews away for good."""
    slew = Slew(130.0, 170.0, 160.0, 20.0, 40.0)
    return batx.simulate.observation(
        tmp_path_factory.mktemp("archive"),
        Source(0.02, ra=PLACE[0], dec=PLACE[1]),
        Background(0.12),
        duration=180.0,
        survey=60.0,
        trigger=None,
        slews=[slew],
    )


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("catalog") / "known.cat"
    columns = {"catnum": (("source",), [7, 8]), "always_clean": (("source",), [False, True])}
    return batx.to_fits(build("catalog", CATALOG | columns), path)


def opened(observation: Path) -> xr.DataTree:
    return batx.open_observation(observation)


def test_snapshots_of_an_observation(observation, catalog):
    made = list(
        batx.survey_observation(
            opened(observation),
            batx.open_dataset(catalog),
            calibration={**WITHOUT, "good_time": GOOD},
            filters={"rate": (1000, 12000)},
            min_exposure=100.0,
            iterations=1,
            maps=False,
        )
    )
    assert [one.attrs["code"] for one in made] == ["ok"]
    tree = made[0]
    row = tree["pointing"].to_dataset()
    # the last histogram lies in good time for a sixth only
    assert row["exposure"].item() == pytest.approx(120.0, abs=1.0) and tree.attrs["histogram_exposure"] > 170
    sources = tree["catalog"].to_dataset()
    assert sources["name"].values.tolist()[:2] == ["SRC A", "FAINT"]
    assert sources["catnum"].values.tolist()[:2] == [7, 8]
    assert sources["cleaned"].values.tolist()[:2] == [True, True]
    assert sources["totsnr"].values[0] > 30 and abs(sources["totsnr"].values[1]) < 6
    assert 0.8 < row["chi2"].values[0].mean() / row["nbatdets"].item() < 1.15
    assert tree["attitude"].to_dataset()["ra"].values[0] == pytest.approx(150.0, abs=0.01)


def test_snapshots_that_cannot_be_used(observation):
    options: dict[str, Any] = {
        "calibration": {**WITHOUT, "good_time": GOOD},
        "filters": {"rate": (1000, 12000), "leave_out": "pointing"},
        "each": "histogram",
        "iterations": 1,
        "maps": False,
    }
    made = list(batx.survey_observation(opened(observation), **options))
    assert [one.attrs["code"] for one in made] == ["expo_small", "expo_small", "dpi2_failed"]
    # two that begin in the same minute, after which batsurvey names them: the second has its seconds
    parts = {
        "gti": [(START, START + 25.0), (START + 26.0, START + 58.0)],
        "max_gap": 0.0,
        "min_duration": 10.0,
    }
    pair = batx.survey_observation(
        opened(observation), **options | {"each": "snapshot", "filters": {**options["filters"], **parts}}
    )
    named = [(one.attrs["image_id"], one.attrs["code"]) for one in pair]
    assert named == [("point_20200061040", "dpi1_failed"), ("point_2020006104026", "dpi1_failed")]
    few = list(batx.survey_observation(opened(observation), **options, min_exposure=10, min_detectors=32000))
    assert [one.attrs["code"] for one in few] == ["ndets_low", "ndets_low", "dpi2_failed"]
    row = few[0]["pointing"].to_dataset()
    assert (
        not row["image_status"].item() and row["exposure"].item() == 0.0 and row["raw_exposure"].item() > 50
    )
    assert row["ra_pnt"].item() == pytest.approx(150.0, abs=0.01)
    nothing = np.zeros((173, 286), bool)
    dark = batx.survey_observation(opened(observation), **options, min_exposure=10, masks=[nothing])
    assert [one.attrs["code"] for one in dark] == ["batdetmask_failed", "batdetmask_failed", "dpi2_failed"]


def test_what_is_wrong_is_said(observation):
    tree = opened(observation)

    def refused(error: type[Exception], words: str, tree: Any = tree, **options: Any) -> None:
        with pytest.raises(error, match=words):
            next(batx.survey_observation(tree, **options))

    known = {**WITHOUT, "good_time": GOOD}
    refused(KindError, "expected the tree of an observation", tree=GOOD)
    refused(KindError, "catalog", catalog=GOOD)
    refused(ValueRangeError, "max_unsteady: found 150.0 and 3", max_unsteady=3)
    refused(ValueRangeError, "min_exposure, .* found 'long'", min_exposure="long")
    refused(ValueRangeError, "filters: found 3", filters=3)
    refused(ValueRangeError, "calibration: found 'teldef'", calibration={"teldef": None})
    refused(EmptySelectionError, "rates are .* count/s", calibration=known, filters={"rate": (9e4, 1e5)})
    nodes = {
        node.path: node.to_dataset() for node in tree.subtree if node.has_data and node.path != "/attitude"
    }
    filters = {"leave_out": "pointing", "rate": (1000, 12000)}
    refused(KindError, "no attitude", tree=xr.DataTree.from_dict(nodes), calibration=known, filters=filters)


def test_parameters_of_batsurvey(tmp_path):
    good = batx.to_fits(GOOD, tmp_path / "own.gti")
    made = native_settings(
        {"detthresh": "10000", "cleanexpr": "ALWAYS_CLEAN==T", "pulserfile": "CALDB", "ncleaniter": "3",
         "keep_sky_images": "NONE", "aperture": "mask.fits", "gtifile": str(good),
         "energybins": "14-20,20-50"}
    )  # fmt: skip
    assert made["filters"]["min_detectors"] == 10000 and made["filters"]["gti"].sizes["gti"] == 1
    assert made["calibration"] == {"aperture": "mask.fits"} and made["images"] is False
    assert made["clean_flagged"] is True and native_settings({"cleanexpr": "NONE"}) == {
        "clean_flagged": False
    }
    assert native_settings({"global_pattern_map": "NONE", "aperture": "CALDB:FLUX"}) == {}
    assert made["energy"].tolist() == [[14, 20], [20, 50]] and made["iterations"] == 3
    for parameters, words in (
        ({"global_pattern_map": "a.dpi"}, "engine='heasoft'"),
        ({"cleanexpr": "SNR>3"}, "engine='heasoft'"),
        ({"cleansnr": "many"}, "expected a number"),
        ({"timesep": "ORBIT"}, "SNAPSHOT or DPH"),
        ({"keep_sky_images": "ALL"}, "LAST or NONE"),
        ({"energybins": "14-20-30"}, "bands such as"),
    ):
        with pytest.raises(ValueRangeError, match=words):
            native_settings(parameters)


PARAMETERS = {"expothresh": 100, "ncleaniter": 1, "keep_sky_images": "NONE", "cleanexpr": "ALWAYS_CLEAN==T"}


@pytest.mark.filterwarnings("ignore::batx.BatxWarning")
def test_an_interrupt_waits_for_a_snapshot_not_for_an_observation(
    observation, catalog, tmp_path, monkeypatch
):
    done: list[str] = []

    def process(folder, target, known, parameters, progress):
        if Path(target).name == "first":
            raise KeyboardInterrupt
        for number in range(1000):
            progress(f"snapshot {number}")
            done.append(Path(target).name)
            time.sleep(0.01)

    monkeypatch.setattr(many, "process_observation", process)
    work = SimpleNamespace(path=lambda name: catalog, notes=[], progress=lambda text: None)
    given = {name: (str(observation), {}) for name in ("first", "second", "third")}
    with pytest.raises(KeyboardInterrupt):
        many.process_many(work, given, tmp_path, workers=2)
    assert len(done) < 500 and not any(tmp_path.iterdir())


def test_the_pipeline_without_the_tool(observation, catalog, tmp_path, monkeypatch):
    monkeypatch.delenv("HEADAS", raising=False)
    monkeypatch.setenv("CALDB", str(tmp_path))
    pipeline = survey(
        observation,
        output=tmp_path / "out",
        catalog=catalog,
        parameters=PARAMETERS,
        cuts=False,
        figures=False,
    )
    steps = {one.name: one for one in pipeline.run("lightcurves")}
    assert steps["process"].state == "done" and "by batx itself" in " ".join(steps["process"].notes)
    assert steps["lightcurves"].state == "done"
    folder = tmp_path / "out/batsurvey" / observation.name
    record = json.loads((folder / "batx.json").read_text())
    before = (folder / "stats_point.fits").stat().st_mtime_ns
    tree = batx.open_survey(folder)
    table = tree["pointings"].to_dataset()
    assert table["image_status"].values.tolist() == [True] and table["code"].values.tolist() == ["ok"]
    assert tree["observations"].to_dataset()["n_images"].item() == 1 and tree["gti"].sizes["gti"] == 1
    sources = batx.open_dataset(table["catalog"].values[0])
    assert sources["cleaned"].values[:2].tolist() == [True, True]
    rates = batx.survey_rates(tree)
    assert {"SRC A", "FAINT"} <= set(rates["name"].values.tolist())
    # what is there is not made again
    options = {"parameters": PARAMETERS, "cuts": False, "figures": False, "engine": "native"}
    again = survey(observation, output=tmp_path / "out", catalog=catalog, **options)
    assert {one.name: one.state for one in again.run("process")}["process"] == "done"
    assert (folder / "stats_point.fits").stat().st_mtime_ns == before
    assert json.loads((folder / "batx.json").read_text()) == record
    with pytest.raises(ValueRangeError, match="engine: found 'nativ'"):
        survey(observation, output=tmp_path / "c", engine="nativ")


def test_what_the_tool_left(shared: Path, tmp_path):
    inputs = shared / "reference/survey/survey_obs"
    files = {"alignment": "teldef", "good_time": "globalgti", "distortion": "distort", "bad_pixels": "badpix"}
    made = process_observation(
        inputs / "00099999001",
        tmp_path / "00099999001",
        inputs / "cat.fits",
        {"aperture": inputs / "aper_flux.fits", "mask_edge_aperture": inputs / "aper_edge.fits",
         "pulserfile": inputs / "ecal/pulser.fits.gz", "fltpulserfile": inputs / "ecal/fltpulser.fits.gz",
         "residfile": inputs / "ecal/resid.fits.gz", "timesep": "DPH", "ncleaniter": 1,
         "keep_sky_images": "NONE"},
        calibration={name: inputs / f"{file}.fits" for name, file in files.items()},
    )  # fmt: skip
    ours, theirs = batx.open_survey(made), batx.open_survey(shared / "reference/survey/batsurvey/golden_dph")
    mine, tool = (tree["pointings"].to_dataset() for tree in (ours, theirs))
    for name in ("image_id", "code", "nbatdets", "image_status", "tstart"):
        np.testing.assert_array_equal(mine[name], tool[name], err_msg=name)
    np.testing.assert_allclose(mine["chi2"], tool["chi2"], rtol=2e-6)
    rates = [batx.survey_rates(tree, ["SIMSRC1", "SIMSRC2", "SIMFAINT"]) for tree in (ours, theirs)]
    for name, limit in (("centre_rate", 1e-3), ("rate", 1.5e-3)):
        assert float(np.abs((rates[0][name] - rates[1][name]) / rates[1]["noise"]).max()) < limit
    np.testing.assert_allclose(rates[0]["noise"], rates[1]["noise"], rtol=1e-4)
    for path, other in zip(mine["catalog"].values[:3], tool["catalog"].values[:3], strict=True):
        detectors = [batx.open_dataset(one)["ngoodpix"].values[:3] for one in (path, other)]
        np.testing.assert_array_equal(*detectors)
    total = ours["observations"].to_dataset(), theirs["observations"].to_dataset()
    for name in ("exposure", "raw_exposure", "n_images", "n_raw_images"):
        np.testing.assert_allclose(total[0][name], total[1][name], err_msg=name)
