"""The pipeline of events: products, reasons, resumption, bad input, command line."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import caldb_tree
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.time import Time
from click.testing import CliRunner
from native_tools import NativeTools

import batx
from batx import simulate
from batx.cli import main
from batx.errors import CalibrationError, MissingFileError, UnitsError, ValueRangeError
from batx.heasoft import Engine
from batx.pipelines import Pipeline, Status, Work, events, glitches
from batx.pipelines.bursts import figures, images, light, report, spectra, times
from batx.provenance import calibration_of

RA, DEC, START, TRIGGER = 165.0, 24.0, 6e8, 40.0
NAME = "sw00044444000b"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def simulated(folder: Path) -> Path:
    pointing = simulate.attitude(START, 1.0, (155.0, 22.0, 40.0))
    place = batx.field_position(pointing, RA, DEC, times=[START], alignment=simulate.alignment())
    burst = simulate.Source(
        0.05,
        ra=RA,
        dec=DEC,
        light_curve=simulate.Fred(TRIGGER, 1.0, 8.0),
        spectrum=simulate.Cutoff(index=1.0, peak=120.0),
        response=batx.response(imx=float(place.imx[0]), imy=float(place.imy[0])),
        name="burst",
    )
    return simulate.observation(
        folder,
        [burst],
        simulate.Background(rate=0.002),
        obs_id="00044444000",
        duration=90.0,
        trigger=TRIGGER,
        target=(155.0, 22.0, 40.0),
        slews=[simulate.Slew(47.0, 58.0, RA, DEC, 40.0)],
        detectors=simulate.detector_table(hot=20, cold=10, seed=2),
        seed=3,
    )


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("observed"))


class Interrupted(BaseException):
    """What nothing catches."""


def interrupt(pipeline: Pipeline, name: str, patch: pytest.MonkeyPatch) -> None:
    """Run until a step names its first product, of which half is written."""
    named = Work.output

    def output(work: Work, product: str) -> Path:
        path = named(work, product)
        if work.folder.name == name:
            path.write_bytes(b"half a file")
            raise Interrupted
        return path

    patch.setattr(Work, "output", output)
    with pytest.raises(Interrupted):
        pipeline.run()


@pytest.fixture(scope="module")
def pipeline(observed: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """All products, by a run that was interrupted in every step."""
    made = events(observed, tmp_path_factory.mktemp("whole") / "out", figures=False)
    for step in made.steps:
        if step.name != "figures":
            with pytest.MonkeyPatch.context() as patch:
                interrupt(made, step.name, patch)
    made.run()
    return made


@pytest.fixture
def copied(observed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(observed, tmp_path / observed.name))


def states(found: list[Status]) -> dict[str, str]:
    return {status.name: status.state for status in found}


def product(pipeline: Pipeline, name: str) -> Any:
    return batx.open_dataset(pipeline.folder / name).load()


# ---------------------------------------------------------------- products


def test_every_step_is_done(pipeline: Pipeline):
    found = states(pipeline.status())
    assert found.pop("figures") == "skipped"
    assert set(found.values()) == {"done"}


def test_the_standard_products_are_there(pipeline: Pipeline):
    expected = {
        "events": ["uf.evt", "all.evt"],
        "auxil": ["all.evaux", "qmap.fits"],
        "gti": ["acs.gti", "battblocks.gti", "bb.gti"],
        "lc": [
            *("1chan_4ms.lc", "1chan_64ms.lc", "1chan_1s.lc", "4chan_64ms.lc", "4chan_1s.lc"),
            *("1chan_bb.lc", "4chan_bb.lc", "1chan_4ms_raw.lc"),
        ],
        "pha": [
            *("total.pha", "t90.pha", "t50.pha", "peak.pha", "preslew.pha", "slew.pha", "postslew.pha"),
            *("totflu.pha", "peakflu.pha", "preslew.rsp", "postslew.rsp", "slew.rsp", "total.rsp"),
        ],
        "dpi": [f"{when}_{n}chan.dpi" for when in ("preburst", "preslew", "postslew") for n in (1, 4)],
        "img": [f"{when}_1chan.img" for when in ("preburst", "preslew", "postslew")]
        + ["preslew.pcode", "postslew.pcode", "preslew_1chan_stamp.img"],
    }
    missing = [
        f"{folder}/{name}"
        for folder, names in expected.items()
        for name in names
        if not (pipeline.folder / folder / f"{NAME}_{name}").is_file()
    ]
    assert not missing
    assert (pipeline.folder / "auxil" / f"{NAME}.att").is_file()


@pytest.fixture(scope="module")
def direct(observed: Path) -> dict[str, Any]:
    """The same by calls of the functions."""
    obs = batx.open_observation(observed)
    ev = obs["events"].to_dataset().load()
    good = np.isin(ev["event_flags"], (0, 16))
    ev = ev.isel(event=np.flatnonzero(good)).drop_vars("mask_weight")
    (enable_map,) = (observed / "bat" / "hk").glob("*bdecb*")
    one = ev.assign(energy=ev["energy"] * 0 + 20.0)
    enabled = batx.open_dataset(enable_map)
    mask = batx.detector_plane(one).bat.hot_pixels(detector_mask=enabled)
    frame = {name: obs[name].to_dataset() for name in ("attitude", "aperture", "alignment")}
    frame["detector_mask"] = mask
    return {"mask": mask, "events": ev.bat.mask_weight(RA, DEC, **frame), "frame": frame, "plain": ev}


def gti(pipeline: Pipeline, file: str, name: str) -> Any:
    return batx.open_datatree(pipeline.folder / "gti" / f"{NAME}_{file}.gti")[f"GTI_{name}"].to_dataset()


def test_detectors_and_weights_are_those_of_the_functions(pipeline: Pipeline, direct: dict[str, Any]):
    mask = product(pipeline, f"auxil/{NAME}_qmap.fits")
    assert np.array_equal(mask.good, direct["mask"].good)
    facts = {status.name: status.facts for status in pipeline.status()}["quality"]
    found = {name: int((mask.quality == value).sum()) for name, value in (("cold", 1), ("hot", 2))}
    assert {name: facts[name] for name in found} == found and found["hot"] > 0
    weighted = product(pipeline, f"events/{NAME}_all.evt")
    assert np.array_equal(weighted.mask_weight, direct["events"].mask_weight)
    assert np.array_equal(weighted.time, direct["events"].time)


@pytest.mark.parametrize(
    ("name", "dt", "energy", "weighting"),
    [
        ("1chan_4ms", 0.004, [15, 350], "mask"),
        ("4chan_64ms", 0.064, [15, 25, 50, 100, 350], "mask"),
        ("1chan_1s", 1.0, [15, 350], "mask"),
        ("1chan_4ms_raw", 0.004, [15, 350], "none"),
    ],
)
def test_light_curves_are_those_of_the_functions(
    pipeline: Pipeline, direct: dict[str, Any], name: str, dt: float, energy: list[float], weighting: str
):
    made = product(pipeline, f"lc/{NAME}_{name}.lc")
    curve = batx.lightcurve(direct["events"], dt=dt, energy=energy, weighting=weighting, quantity="rate")
    assert np.array_equal(made.rate, curve.rate)
    assert np.array_equal(made.rate_err, curve.rate_err)
    assert np.array_equal(made.energy_bnds, curve.energy_bnds)


def test_durations_follow_the_rule(pipeline: Pipeline, direct: dict[str, Any]):
    facts = {status.name: status.facts for status in pipeline.status()}["durations"]
    accepted, longest = None, 0.0
    for dt in (0.004, 0.016, 0.064, 1.0, 16.0):
        curve = batx.lightcurve(direct["events"], dt=dt, energy=[15, 350])
        try:
            blocks = batx.bayesian_blocks(curve, lookback=10.0 if dt < 0.5 else 0.0)
            found = batx.duration(curve, blocks=blocks, background=True)
        except batx.errors.EmptySelectionError:
            continue
        t90 = float(found.t90)
        if t90 > 2.1 * dt and t90 > 1.3 * longest:
            accepted, longest, width = found, t90, dt
    assert accepted is not None and facts["found"]
    assert (facts["bin"], facts["t90"], facts["t100_start"]) == (
        width,
        float(accepted.t90),
        float(accepted.t100_start),
    )
    spans = {name: gti(pipeline, "battblocks", name) for name in ("TOT", "BKG1", "BKG2", "T90", "PEAK")}
    assert float(spans["TOT"].start[0]) == float(spans["BKG1"].stop[0]) == facts["t100_start"]
    assert float(spans["BKG2"].start[0]) == float(spans["TOT"].stop[0])
    assert float(spans["BKG1"].start[0]) == -1e307
    # the burst that was put in
    assert abs(facts["t100_start"] - START - TRIGGER) < 2.0 and 10.0 < facts["t90"] < 30.0


def test_intervals_are_those_of_the_flags(pipeline: Pipeline, observed: Path):
    attitude = batx.open_observation(observed)["attitude"].to_dataset()
    near, settled = attitude.ten_arcmin, attitude.settled
    pointed = batx.gti_from_housekeeping(attitude, near)
    slewing = batx.gti_from_housekeeping(attitude, ~near & ~settled)
    for name, expected in (
        ("PRESLEW", (pointed.start[0], pointed.stop[0])),
        ("SLEW", (slewing.start[0], slewing.stop[0])),
        ("POSTSLEW", (pointed.start[1], pointed.stop[1])),
    ):
        found = gti(pipeline, "acs", name)
        assert (float(found.start[0]), float(found.stop[0])) == tuple(map(float, expected)), name


@pytest.mark.parametrize("name", ["total", "t90", "peak", "preslew", "slew", "postslew"])
def test_spectra_are_those_of_the_functions(pipeline: Pipeline, direct: dict[str, Any], name: str):
    tot = gti(pipeline, "battblocks", "TOT")
    times = {
        "total": tot,
        "slew": gti(pipeline, "acs", "SLEW"),
        **{span: gti(pipeline, "battblocks", span.upper()) for span in ("t90", "peak")},
        **{
            span: batx.gti_intersection(gti(pipeline, "acs", span.upper()), tot)
            for span in ("preslew", "postslew")
        },
    }[name]
    made = product(pipeline, f"pha/{NAME}_{name}.pha")
    expected = batx.spectrum(direct["events"], gti=times, detector_mask=direct["mask"])
    assert np.array_equal(made.rate, expected.rate) and np.array_equal(made.stat_err, expected.stat_err)
    assert float(made.exposure) == float(expected.exposure)
    assert np.allclose(made.sys_err, expected.bat.add_systematics().sys_err, rtol=1e-6)
    assert made.attrs["respfile"] == f"{NAME}_{name}.rsp" and "pcodefr" in made.attrs
    matrix = product(pipeline, f"pha/{NAME}_{name}.rsp")
    assert np.allclose(matrix.matrix, batx.response(expected).matrix, rtol=1e-6)


def test_fluences_have_four_channels_of_counts(pipeline: Pipeline, direct: dict[str, Any]):
    made = product(pipeline, f"pha/{NAME}_totflu.pha")
    assert made.energy_bnds.values.tolist() == [[15, 25], [25, 50], [50, 100], [100, 350]]
    times = gti(pipeline, "battblocks", "TOT")
    edges = [15, 25, 50, 100, 350]
    expected = batx.spectrum(direct["events"], gti=times, energy=edges, quantity="counts")
    assert np.array_equal(made.counts, expected.counts)


def test_images_are_those_of_the_functions(pipeline: Pipeline, direct: dict[str, Any]):
    planes = {}
    for name, span in (("preburst", "BKG1"), ("preslew", "TOT")):
        times = batx.gti_intersection(gti(pipeline, "acs", "PRESLEW"), gti(pipeline, "battblocks", span))
        planes[name] = batx.detector_plane(
            direct["plain"], gti=times, energy=[15, 350], detector_mask=direct["mask"]
        )
        made = product(pipeline, f"dpi/{NAME}_{name}_1chan.dpi").counts.squeeze()
        assert np.array_equal(made, planes[name].counts.squeeze())
    image = batx.sky_image(
        planes["preslew"], background=planes["preburst"], pcode_min=0.05, **direct["frame"]
    )
    made = product(pipeline, f"img/{NAME}_preslew_1chan.img")
    assert np.allclose(made.rate.squeeze(), image.rate.squeeze(), rtol=1e-5, atol=1e-6, equal_nan=True)


def test_the_burst_is_fitted_and_placed(pipeline: Pipeline):
    facts = {status.name: status.facts for status in pipeline.status()}
    fitted = facts["fits"]["total"]
    index, low, high = fitted["peakpl"]["parameters"]["index"]
    assert index - 4 * low < 1.0 < index + 4 * high
    flux = fitted[fitted["preferred"]]["flux"]
    assert flux[1] < flux[0] < flux[2]
    refined = facts["detection"]["refined"]
    assert refined["moved"] < 3 * refined["radius_90"]
    assert refined["radius_90"] == pytest.approx(10.92 * refined["snr"] ** -0.7)


@pytest.mark.parametrize(
    "name",
    [
        "events/{}_all.evt",
        "lc/{}_1chan_1s.lc",
        "pha/{}_total.pha",
        "pha/{}_total_powerlaw.nc",
        "img/{}_preslew_1chan.img",
    ],
)
def test_products_say_which_calibration_served(pipeline: Pipeline, observed: Path, name: str):
    found = calibration_of(product(pipeline, name.format(NAME)))
    for purpose, file in (("aperture", "aperture.fits"), ("alignment", "teldef.fits")):
        content = (observed / "caldb" / file).read_bytes()
        assert found[purpose]["file"] == file
        assert found[purpose]["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_result_is_readable(pipeline: Pipeline):
    facts = json.loads((pipeline.folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert facts["trigger"]["time"] == START + TRIGGER
    assert facts["steps"]["figures"] == {
        "state": "skipped",
        "reason": "figures were not asked for",
        "notes": [],
    }
    assert "T90" in (pipeline.folder / "result.txt").read_text()
    kinds = {"lightcurves/1chan_1s": "lightcurve", "spectra/total": "spectrum", "fits/total": "fit"}
    for group, kind in kinds.items():
        with xr.open_dataset(pipeline.folder / f"{NAME}.nc", engine="h5netcdf", group=group) as node:
            assert node.bat.kind == kind
            assert str(pipeline.folder) not in json.dumps({k: str(v) for k, v in node.attrs.items()})


def test_the_tools_may_do_it(
    observed: Path, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = {status.name: status.facts for status in pipeline.status()}
    width = said["durations"]["bin"]
    # a few of the products, for speed
    monkeypatch.setattr(light, "_CURVES", {"4chan_64ms": light._CURVES["4chan_64ms"]})
    monkeypatch.setattr(light, "_RAW", {})
    monkeypatch.setattr(times, "_BINS", (width,))
    monkeypatch.setattr(spectra, "_RATES", {"preslew": spectra._RATES["preslew"]})
    monkeypatch.setattr(images, "_TIMES", {name: images._TIMES[name] for name in ("preburst", "preslew")})
    tools = NativeTools()
    made = events(observed, tmp_path / "out", engine=Engine(tools), figures=False)
    found = {status.name: status for status in made.run("lightcurves", "spectra", "detection")}
    assert {name: one.reason for name, one in found.items() if one.state != "done"} == {}
    assert found["quality"].facts == said["quality"]
    assert found["durations"].facts["t90"] == pytest.approx(said["durations"]["t90"], abs=1e-6)
    names = {
        "events/{}_all.evt": "mask_weight",
        "lc/{}_4chan_64ms.lc": "rate",
        "lc/{}_1chan_bb.lc": "rate",
        "pha/{}_preslew.pha": "sys_err",
        "pha/{}_preslew.rsp": "matrix",
        "pha/{}_totflu.pha": "counts",
        "dpi/{}_preslew_4chan.dpi": "counts",
        "img/{}_preslew_1chan.img": "rate",
    }
    for name, variable in names.items():
        ours, theirs = (product(one, name.format(NAME))[variable].squeeze() for one in (made, pipeline))
        # the response of the tool is for the mean place, that of batx for the way along the settling
        near = (1e-3 if name.endswith("rsp") else 1e-5) * float(np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=near, err_msg=name)
    refined, other = found["detection"].facts["refined"], said["detection"]["refined"]
    assert refined["ra"] == pytest.approx(other["ra"], abs=1e-3) and refined["snr"] > 6
    assert {name for name, _ in tools.calls} == {
        *("bathotpix", "batmaskwtevt", "batbinevt", "battblocks", "batfftimage", "batcelldetect"),
        *("batupdatephakw", "batphasyserr", "batdrmgen"),
    }


def test_figures_are_drawn_and_shown(
    pipeline: Pipeline, observed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen = [row for row in figures._PICTURES if row[0] in ("duration", "detector_mask", "ray_trace")]
    monkeypatch.setattr(figures, "_PICTURES", chosen)
    monkeypatch.setattr(report, "_TREE", ())
    folder = shutil.copytree(pipeline.folder, tmp_path / "out")
    made = events(observed, folder)
    found = states(made.run())
    assert found["figures"] == found["report"] == "done"
    drawn = sorted(path.name for path in (folder / "figures").iterdir())
    assert drawn == ["detector_mask.png", "duration.png", "ray_trace.png"]
    page = (folder / "report.html").read_text()
    assert all(f'<img src="figures/{name}"' in page for name in drawn) and "T90" in page


def test_texts_of_files_do_no_harm_in_the_page(copied: Path):
    header(copied, OBJECT="<script>x</script>")
    remove(copied, "auxil/*", "caldb/*", "bat/hk/*")
    made = events(copied, copied.parent / "out", figures=False)
    made.run()
    page = (made.folder / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page


# ---------------------------------------------------------------- again, and after a kill

RESUME = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from batx.pipelines import Work, events
from batx.pipelines.records import Records
import batx.pipelines.bursts.report  # loaded once, for all children

source, out = sys.argv[1:]
steps = ["weights"]

def die(): os._exit(9)

def run_until(step, inside):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if inside:
        # when the step names its second product, or ends; the first one may be half written
        named = Work.output
        def output(self, name):
            path = named(self, name)
            path.write_bytes(b"half a file")
            if self.folder.name == step:
                die()
            path.unlink()
            return path
        Work.output = output
    else:
        place = Records.place
        def stop(self, record, staging):
            if record.step == step:
                replace, left = os.replace, [2]
                def once(*names):
                    left[0] -= 1
                    if left[0] < 0:
                        die()
                    return replace(*names)
                os.replace = once
            return place(self, record, staging)
        Records.place = stop
    events(source, out, figures=False).run("durations", "lightcurves")
    os._exit(0)

codes = [run_until(step, inside) for step in steps for inside in (True, False)]
assert codes == [9, 9], codes
events(source, out, figures=False).run("durations", "lightcurves")
"""


def test_after_a_kill_the_result_is_the_same(pipeline: Pipeline, observed: Path, tmp_path: Path):
    code = RESUME.format(tests=str(Path(__file__).parent))
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", code, str(observed), str(out)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    found, expected = tree(out), tree(pipeline.folder)
    assert [name for name in found if found[name] != expected.get(name)] == []
    later = (
        "pha/",
        "dpi/",
        "img/",
        f"{NAME}.nc",
        "report",
        "result",
        f"gti/{NAME}_acs",
        ".batx/steps/",
    )
    assert not [name for name in expected.keys() - found.keys() if not name.startswith(later)]


def test_nothing_is_done_twice_and_inputs_stay(pipeline: Pipeline, observed: Path):
    before, inputs = tree(pipeline.folder), tree(observed)
    running: list[str] = []
    again = events(observed, pipeline.folder, figures=False)
    again.run(progress=lambda one: running.append(one.name) if one.state == "running" else None)
    assert running == [] and tree(pipeline.folder) == before and tree(observed) == inputs


# ---------------------------------------------------------------- bad input


def header(folder: Path, **values: Any) -> None:
    for path in (folder / "bat" / "event").iterdir():
        with fits.open(path, mode="update") as hdus:
            for hdu in hdus:
                for key, value in values.items():
                    hdu.header.remove(key, ignore_missing=True)
                    if value is not None:
                        hdu.header[key] = value


def remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def disable(folder: Path) -> None:
    (path,) = (folder / "bat" / "hk").glob("*bdecb*")
    with fits.open(path, mode="update") as hdus:
        hdus[1].data["FLAG"][:] = 1


def uncalibrated(folder: Path) -> None:
    header(folder, GAINAPP=False)
    remove(folder, "bat/hk/*bgocb*", "caldb/*")


def no_good_time(folder: Path) -> None:
    (path,) = (folder / "bat" / "event").iterdir()
    with fits.open(path) as hdus:
        fits.HDUList([hdu.copy() for hdu in hdus if "GTI" not in hdu.name]).writeto(path, overwrite=True)


def no_events(folder: Path) -> None:
    (path,) = (folder / "bat" / "event").iterdir()
    with fits.open(path) as hdus:
        held = fits.HDUList([hdu.copy() for hdu in hdus])
    held["EVENTS"].data = held["EVENTS"].data[:0]
    held.writeto(path, overwrite=True)


@pytest.mark.parametrize(
    ("harm", "options", "last", "step", "state", "reason"),
    [
        (lambda f: remove(f, "bat/event/*"), {}, "report", "fetch", "failed", "no event file"),
        (no_events, {}, "quality", "calibrate", "failed", "found 0 events"),
        (no_good_time, {}, "calibrate", "calibrate", "failed", "no good time"),
        (uncalibrated, {}, "calibrate", "calibrate", "failed", "gain"),
        (lambda f: remove(f, "auxil/*"), {}, "intervals", "intervals", "failed", "no attitude"),
        (lambda f: remove(f, "auxil/*"), {}, "weights", "weights", "failed", "no attitude"),
        (lambda f: remove(f, "caldb/aper*"), {}, "weights", "weights", "failed", "no coded mask"),
        (lambda f: header(f, RA_OBJ=None), {}, "weights", "weights", "skipped", "no position"),
        (lambda _: None, {"position": "blind"}, "spectra", "spectra", "skipped", "no position"),
        (lambda f: header(f, TRIGTIME=None), {}, "intervals", "intervals", "skipped", "no trigger time"),
        (lambda _: None, {"ra": 345.0, "dec": -22.0}, "weights", "weights", "failed", "outside the coded"),
        (lambda _: None, {"trigger": START + 9e4}, "calibrate", "calibrate", "failed", "within 2000 s"),
        (disable, {}, "weights", "quality", "failed", "of 0 enabled detectors none is good"),
        (disable, {}, "weights", "weights", "blocked", "needs quality"),
    ],
)
def test_what_cannot_be_done_says_why(
    copied: Path,
    harm: Callable[[Path], None],
    options: dict[str, Any],
    last: str,
    step: str,
    state: str,
    reason: str,
):
    harm(copied)
    made = events(copied, copied.parent / "out", figures=False, **options)
    made.run(last)
    found = {status.name: status for status in made.status()}[step]
    assert found.state == state and reason in found.reason


def test_energies_are_worked_out_where_they_were_not(copied: Path, pipeline: Pipeline):
    header(copied, GAINAPP=False)
    made = events(copied, copied.parent / "out")
    found = made.run("calibrate")[-1]
    assert "GAINAPP" in found.notes[0] and "500 s before" in found.notes[1]
    ours, theirs = (product(one, f"events/{NAME}_uf.evt") for one in (made, pipeline))
    both = np.isin(theirs.time, ours.time)
    assert both.sum() == ours.sizes["event"] > 0.999 * theirs.sizes["event"]
    # the simulation rounds energies to channels, which are 0.1 keV wide
    assert np.mean(np.abs(ours.energy.values - theirs.energy.values[both]) < 0.2) > 0.99


def test_without_events_there_still_is_a_result(copied: Path):
    remove(copied, "bat/event/*")
    made = events(copied, copied.parent / "out")
    made.run()
    assert (made.folder / "result.txt").read_text().count("no event file") == 1


def test_events_that_are_cut_short_are_told_from_none(copied: Path):
    (path,) = (copied / "bat" / "event").iterdir()
    path.write_bytes(path.read_bytes()[:100000])
    (found,) = events(copied, copied.parent / "out").run("fetch")
    assert "no event file" in found.reason and f"{path.name} HDU 1 (EVENTS)" in found.reason


def test_no_burst_gives_the_given_interval_and_limits(copied: Path):
    away = {"ra": 140.0, "dec": 30.0, "foreground": (0.0, 20.0), "background": (-30.0, -2.0)}
    made = events(copied, copied.parent / "out", figures=False, **away)
    found = {status.name: status for status in made.run("fits")}
    facts = found["durations"].facts
    assert not facts["found"] and "no burst was found" in found["durations"].notes[0]
    zero = START + TRIGGER
    assert facts["spans"] == {
        "tot": [zero, zero + 20.0],
        "bkg1": [-1e307, zero - 2.0],
        "bkg2": [zero + 80.0, 1e307],
    }
    limit = found["fits"].facts["total"]["limit"]
    assert limit["sigma"] == 5.0 and all(flux > 0 for flux in limit["flux"])
    assert found["fits"].facts["total"]["snr"] < 5


def test_a_slew_is_told_without_flags(copied: Path):
    (path,) = copied.glob("auxil/*sat*")
    with fits.open(path) as hdus:
        fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != "ACS_DATA"]).writeto(path, overwrite=True)
    made = events(copied, copied.parent / "out", figures=False)
    found = {status.name: status for status in made.run("intervals")}["intervals"]
    assert "no flags" in found.notes[0]
    ((start, stop),) = found.facts["slew"]
    assert abs(start - START - 47.0) < 3 and abs(stop - START - 58.0) < 3


def test_a_trigger_during_a_slew_has_no_interval_before(copied: Path):
    made = events(copied, copied.parent / "out", figures=False, trigger=START + 52.0)
    found = {status.name: status for status in made.run("planes")}
    assert found["intervals"].facts["preslew"] == [] and found["intervals"].facts["postslew"]
    notes = " ".join(found["planes"].notes)
    assert "no image 'preburst': there is no interval 'preslew'" in notes and "slew_mosaic" in notes
    assert [path.name for path in found["planes"].products if "_1chan" in path.name] == [
        f"{NAME}_postslew_1chan.dpi"
    ]


def test_a_dump_without_trigger_is_searched_as_a_whole(copied: Path):
    header(copied, TRIGTIME=None)
    made = events(copied, copied.parent / "out", ra=RA, dec=DEC, figures=False)
    found = {status.name: status for status in made.run("planes", "spectra")}
    assert found["intervals"].state == "skipped"
    assert found["durations"].facts["found"] and "total" in found["spectra"].facts
    assert "no intervals around a slew" in found["planes"].notes[0] and "total" in found["planes"].facts


def message(folder: Path, name: str, **values: Any) -> None:
    (folder / "tdrss").mkdir(exist_ok=True)
    primary = fits.PrimaryHDU()
    primary.header.update(values)
    primary.writeto(folder / "tdrss" / f"sw00044444000{name}_rw.fit")


def test_messages_say_position_and_interval(copied: Path):
    zero = START + TRIGGER
    alert = {"BRA_OBJ": 170.0, "BDEC_OBJ": 25.0, "TRIGTIME": zero + 1, "TRIGSTOP": zero + 3, "UTCFINIT": 99.0}
    message(copied, "msbal", **alert, BACKSTRT=zero - 30, BACKSTOP=zero - 2)
    message(copied, "msbce", BRA_OBJ=165.1, BDEC_OBJ=24.1, TRIGTIME=zero)
    made = events(copied, copied.parent / "out", figures=False)
    (found,) = made.run("fetch")
    assert found.facts["position"] == {"ra": 165.1, "dec": 24.1, "from": "message sw00044444000msbce_rw.fit"}
    trigger = found.facts["trigger"]
    assert (trigger["time"], trigger["start"], trigger["stop"]) == (zero, zero, zero + 3)
    assert trigger["background_stop"] == zero - 2 and trigger["utcf"] == 0.0
    assert "cannot be" in found.notes[0]


def test_a_short_trigger_gets_an_interval(copied: Path):
    zero = START + TRIGGER
    message(
        copied,
        "msbal",
        TRIGTIME=zero,
        TRIGSATF=10003,
        FOREEXPO=0.512,
        BACKSTRT=zero - 0.2,
        BACKSTOP=zero,
    )
    (found,) = events(copied, copied.parent / "out").run("fetch")
    trigger = found.facts["trigger"]
    assert trigger["start"] == zero - 0.512 and trigger["stop"] == pytest.approx(zero + 0.832, abs=1e-6)
    assert trigger["background_stop"] == zero - 0.512
    assert trigger["background_start"] == pytest.approx(zero - 8.512, abs=1e-6)


def test_of_several_enable_maps_the_last_before_the_trigger_counts(copied: Path):
    (path,) = (copied / "bat" / "hk").glob("*bdecb*")
    with fits.open(path) as hdus:
        table = hdus[1]
        header, flag = table.header, table.data["FLAG"][0]
    early, late = flag.copy(), flag.copy()
    early[0, :] = 1
    late[1, :] = 1
    rows = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", array=[START - 10, START, START + TRIGGER + 1]),
            fits.Column("FLAG", "49478B", dim="(286,173)", array=[late, early, late]),
        ],
        name=header["EXTNAME"],
    )
    fits.HDUList([fits.PrimaryHDU(), rows]).writeto(path, overwrite=True)
    made = events(copied, copied.parent / "out")
    made.run("fetch")
    good = product(made, f"auxil/{NAME}_enabled.fits").good.values
    assert not good[0].any() and good[1].any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ra": 10.0}, "both or neither"),
        ({"ra": 10.0, "dec": 95.0}, "expected degrees"),
        ({"trigger": "yesterday"}, "date"),
        ({"position": "uvot"}, "bat, xrt, header, blind"),
        ({"position": "blind", "ra": 10.0, "dec": 5.0}, "expected one of them"),
        ({"foreground": (5, 1)}, "start and stop"),
        ({"snr": float("nan")}, "positive"),
        ({"compat": "x"}, "heasoft"),
        ({"engine": "heasofd"}, "native, heasoft"),
        ({"engine": None}, "or an object"),
        ({"engine": 3}, "or an object"),
        ({"engine": Engine}, "Engine.."),
        ({"trigger": [1.0, 2.0]}, "one time"),
        ({"foreground": 5}, "start and stop"),
        ({"ra": [1.0, 2.0], "dec": 3.0}, "expected one"),
    ],
)
def test_bad_arguments_are_refused(observed: Path, tmp_path: Path, options: dict[str, Any], said: str):
    with pytest.raises(ValueRangeError, match=said):
        events(observed, tmp_path / "out", **options)


def test_a_date_in_any_form_is_the_same_trigger(observed: Path, tmp_path: Path):
    with fits.open(next((observed / "bat" / "event").iterdir())) as hdus:
        attrs = {"utcf": hdus["EVENTS"].header["UTCFINIT"]}
    date = str(batx.met.met_to_utc(START + 12.5, attrs=attrs))
    forms = [
        START + 12.5,
        date,
        np.datetime64(date),
        Time(date, scale="utc").tt,
        np.float32(12.5) * u.s + START * u.s,
    ]
    found = [events(observed, tmp_path / "out", trigger=form).run("fetch")[0].facts for form in forms]
    assert [one["trigger"]["time"] for one in found] == pytest.approx([START + 12.5] * len(forms), abs=1e-3)
    made = events(
        observed, tmp_path / "out", foreground=(1 * u.min, np.datetime64(date) + np.timedelta64(1, "D"))
    )
    assert made.options["foreground"][0] == 60.0 and isinstance(made.options["foreground"][1], str)


def test_an_event_file_takes_mask_and_alignment_of_the_calibration(observed: Path, tmp_path: Path):
    single = next((observed / "bat" / "event").iterdir())
    attitude = next((observed / "auxil").glob("*sat*"))
    made = events(single, tmp_path / "out", calibration=observed / "caldb", attitude=attitude, ra=RA, dec=DEC)
    made.run("fetch")
    assert (made.folder / "auxil" / f"{NAME}_aperture.fits").is_file()
    assert (made.folder / "auxil" / f"{NAME}_teldef.fits").is_file()


def test_calibration_that_comes_later_is_used(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.move(copied / "caldb", tmp_path / "caldb")
    made = events(copied, tmp_path / "out")
    assert "found no aperture" in " ".join(made.run("fetch")[0].notes)
    database = caldb_tree.caldb(tmp_path / "database", [caldb_tree.row("bad.fits", "BADPIX")])
    folder = database / caldb_tree.BAT / "bcf"
    rows = [caldb_tree.row("bad.fits", "BADPIX")]
    for path in sorted((tmp_path / "caldb").iterdir()):
        name = {"aperture": "CODED_MASK", "alignment": "TELDEF"}.get(batx.open_dataset(path).batx_kind)
        if name is not None:
            shutil.copy(path, folder / path.name)
            limits = ['APERTYPE("FLUX")'] if name == "CODED_MASK" else []
            rows.append(caldb_tree.row(path.name, name, *limits))
    bad = np.ones((173, 286), bool)
    bad[:5] = False
    with pytest.raises(CalibrationError):
        batx.combine_masks(bad, "caldb", time=START)
    batx.combine_masks(bad).bat.to_fits(folder / "bad.fits", overwrite=True)
    caldb_tree.write_index(database / caldb_tree.BAT / "caldb.indx", rows)
    monkeypatch.setenv("CALDB", str(database))
    fetched, _, quality = made.run("quality")
    assert "found no aperture" not in " ".join(fetched.notes)
    assert (made.folder / "auxil" / f"{NAME}_aperture.fits").is_file()
    mask = product(made, f"auxil/{NAME}_qmap.fits")
    assert not mask.good[:5].any() and quality.facts["enabled"] > quality.facts["good"] > 0
    record = calibration_of(mask)["bad_pixels"]
    assert record["file"] == "bad.fits" and record["codename"] == "BADPIX"
    listed = batx.combine_masks(mask, "caldb")
    assert not listed.good[:5].any() and calibration_of(listed)["bad_pixels"] == record
    with pytest.raises(ValueRangeError, match="'caldb'"):
        batx.combine_masks(mask, "database")


def test_numbers_may_be_quantities_and_texts_are_refused(observed: Path, tmp_path: Path):
    made = events(observed, tmp_path / "out", ra=np.int64(10), dec=1800 * u.arcmin, snr=np.float32(4))
    assert (made.options["ra"], made.options["dec"], made.options["snr"]) == (10.0, 30.0, 4.0)
    for options in ({"ra": "ten", "dec": 1.0}, {"snr": "high"}):
        with pytest.raises(UnitsError, match="found"):
            events(observed, tmp_path / "out", **options)


def test_logins_of_mirrors_are_not_recorded(tmp_path: Path):
    table = {"data": tmp_path / "data", "mirrors": "https://user:s3cret@127.0.0.1:9/FTP", "offline": True}
    for made in (
        events("00044444000", tmp_path / "out", **table),
        glitches(tmp_path / "two", 44444000, **table),
    ):
        made.run()
        assert not any(b"s3cret" in content for content in tree(made.folder).values())


def test_results_do_not_go_into_the_observation(observed: Path):
    with pytest.raises(ValueRangeError, match="outside of it"):
        events(observed, observed / "bat" / "results")


def test_an_observation_id_is_looked_for_in_the_data(observed: Path, tmp_path: Path):
    data = tmp_path / "data"
    places = {"data": data, "calibration": observed / "caldb", "figures": False, "offline": True}
    with pytest.raises(MissingFileError, match="11 digits"):
        events("0004444400", **places)
    made = events("00044444000", tmp_path / "out", **places)
    assert "offline" in made.run("fetch")[0].reason
    shutil.copytree(observed, data / observed.name)
    assert [status.state for status in made.run("quality")] == ["done"] * 3
    assert made.run("fetch")[0].facts["place"] == str(data / observed.name)


def test_a_failed_trigger_is_put_together(observed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def fetch_trigger(number: str, *, data: str, mirrors: Any, offline: bool, progress: Any) -> Path:
        asked.append((number, offline))
        return Path(shutil.copytree(observed, Path(data) / "triggers" / number))

    monkeypatch.setattr("batx.archive.fetch_trigger", fetch_trigger)
    made = events(44444, tmp_path / "out", data=tmp_path / "data", failed=True)
    assert made.run("calibrate")[-1].state == "done"
    assert made.run("calibrate")[-1].state == "done" and asked == [("00044444000", False)]


def test_the_only_observation_in_a_folder_is_taken(observed: Path, tmp_path: Path):
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "00044444000").symlink_to(observed, target_is_directory=True)
    (status,) = events(tmp_path / "above", tmp_path / "out", ra=RA, dec=DEC).run("fetch")
    assert status.state == "done" and len(status.facts["events"]) == 1


def test_a_source_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(MissingFileError, match="no such file"):
        events(tmp_path / "nothing")


# ---------------------------------------------------------------- command line


def test_command(observed: Path, pipeline: Pipeline, tmp_path: Path):
    call = CliRunner().invoke
    out = ["-o", str(tmp_path / "out")]
    listed = call(main, ["run", str(observed), *out, "--list"])
    assert listed.exit_code == 0 and "to do" in listed.output and not (tmp_path / "out").exists()
    only = call(main, ["run", str(observed), *out, "--only", "quality"])
    assert only.exit_code == 0, only.output
    assert (tmp_path / "out" / "auxil" / f"{NAME}_qmap.fits").is_file()
    wrong = call(main, ["run", str(observed), *out, "--only", "qualty"])
    assert wrong.exit_code == 1 and "expected one of fetch, calibrate" in wrong.output
    single = str(next((observed / "bat" / "event").iterdir()))
    failed = call(main, ["run", single, "-o", str(tmp_path / "single"), "--no-figures"])
    assert failed.exit_code == 1 and "not done: intervals, weights, images" in failed.output
    assert (
        "needs weights: lightcurves, spectra" in " ".join(failed.output.split())
        and f"observation       {NAME[2:13]}" in failed.output
    )
    assert "found no attitude" in (tmp_path / "single" / "result.txt").read_text()
