"""The commands of the X-ray telescopes: what they hand to the pipelines; nothing is run."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from batx import pipelines
from batx.cli import main
from batx.commands import missions

SOURCE = ("--ra", "10", "--dec", "-5")


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Function from words of the command line to the options of the pipeline that is made, or the error."""
    held = []
    monkeypatch.setattr(missions, "run_pipeline", lambda pipeline, **_: held.append(pipeline))
    place = tmp_path / "0693760101"
    place.mkdir()

    def call(name, *words):
        held.clear()
        ran = CliRunner().invoke(main, [name, str(place), *SOURCE, "-o", str(tmp_path / "out"), *words])
        return held[0].options if held else ran.output

    call.place = place
    return call


@pytest.mark.parametrize("name", ["xrt", "nustar", "xmm"])
def test_defaults_are_those_of_the_function(made, name, tmp_path):
    by_hand = getattr(pipelines, name)(str(made.place), 10.0, -5.0, output=tmp_path / "out")
    assert made(name) == by_hand.options


def test_help_shows_every_default():
    """Each option is required, a flag, a control of the run, or says its default."""
    bare = {"--region", "--background-region", "--regions", "--number", "--rgs", "--from", "--only", "--list"}
    for name in ("xrt", "nustar", "xmm"):
        for one in main.commands[name].params:
            if one.param_type_name != "option" or one.required or one.opts[0] in bare | {"--debug"}:
                continue
            assert one.show_default or "[default: " in one.help, (name, one.opts)


def test_parts_of_the_xmm_pipeline(made):
    words = "--threshold pn.curve=none --threshold mos1=0.2 --flare-dt 50 --pileup-rule singles --dt 10"
    more = "--pileup-sigma 4 --largest-core 20 --corrections relative --camera mos --camera pn --no-merge"
    found = made("xmm", *words.split(), *more.split(), "--exposure", "S003", "--chain", "epchain")
    assert found["thresholds"] == {"pn": 0.4, "mos": 0.35, "pn.curve": None, "mos1": 0.2}
    names = ("flare_dt", "pileup_rule", "pileup_sigma", "largest_core", "corrections", "cameras", "merge")
    assert [found[one] for one in names] == [50.0, "singles", 4.0, 20.0, "relative", ["mos", "pn"], False]
    assert (found["exposures"], found["chain"], found["dt"]) == (["S003"], "epchain", 10.0)


@pytest.mark.parametrize(
    ("words", "bands", "axis"),
    [
        ("--bands 0.5,2,8", [0.5, 2.0, 8.0], "energy"),
        ("--bands 100,400,1600 --bands-by channel", [100.0, 400.0, 1600.0], "channel"),
        ("--number 4", {"n": 4, "spacing": "counts", "axis": "energy"}, "energy"),
        (
            "--number 4 --bands 100,1600 --bands-by channel --spacing log",
            {"n": 4, "spacing": "log", "axis": "channel", "limits": [100.0, 1600.0]},
            "channel",
        ),
    ],
)
def test_bands(made, words, bands, axis):
    found = made("xmm", *words.split())
    assert (found["bands"], found["bands_by"]) == (bands, axis)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--threshold pn", "expected for example pn=0.4"),
        ("--threshold pn=much", "expected for example pn=0.4"),
        ("--threshold epn=0.4", "expected for example 'pn' or 'mos1.curve'"),
        ("--threshold pn=-1", "expected count/s above 0"),
        ("--threshold pn=nan", "expected count/s above 0"),
        ("--number 3 --bands 1,2,3", "give the two limits"),
        ("--spacing log", "--number"),
        ("--bands-by channel", "needs --bands"),
        ("--largest-core 2", "expected at least 3"),
        ("--pileup-sigma 0", "expected a number above 0"),
        ("--flare-dt -5", "expected a number above 0"),
        ("--pileup-rule both", "'both' is not one of"),
        ("--exposure 3", "expected for example 'S003'"),
    ],
)
def test_options_that_make_no_sense(made, words, said):
    assert said in " ".join(made("xmm", *words.split()).split())


def test_arguments_in_other_forms(tmp_path):
    """One name for a list, numbers without a point, arrays, a generator of observations."""
    place = {"output": tmp_path / "out", "dt": 100}
    found = pipelines.xmm(
        (f"069376010{n}" for n in (1, 2)), 10, -5, tied="nh", bands=np.array([1, 2]), **place
    )
    assert [path[-10:] for path in found.options["observations"]] == ["0693760101", "0693760102"]
    assert (found.options["tied"], found.options["bands"]) == (["nh"], [1.0, 2.0])
    assert "output" not in found.options
